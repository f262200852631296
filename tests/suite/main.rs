//! The one integration test binary.

mod letters;
