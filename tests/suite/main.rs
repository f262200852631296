//! The integration tests, one binary.

mod deadline;
#[cfg(kluis_lab)]
mod sandbox;
