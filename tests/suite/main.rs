//! The whole suite as one binary: what the parts do together, and with the tools of others.

mod keys;
