//! What runs with a person's key: the other side of the glass.

pub mod openpgp;
