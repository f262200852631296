//! Splits a raw message into leaf bodies.
