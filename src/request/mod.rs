//! A request: what a letter asks for, and by when the law wants an answer.
//!
//! `deadline` is the legal month. Pure: no I/O, no clock; whoever calls passes the date on.

pub mod deadline;
