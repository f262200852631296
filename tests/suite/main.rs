//! The one binary of integration tests; each module opens with what it holds the program to.

mod docs;
mod imports;
mod tree;
