//! The one binary of integration tests; each module opens with what it holds the program to.

mod deadline;
mod docs;
mod imports;
mod openpgp;
#[cfg(kluis_lab)]
mod sandbox;
mod tree;
