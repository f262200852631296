//! Who wrote: evidence, and what a person accepted of it.
//!
//! A [`Proof`] is evidence that a member of the staff accepted. What carries personal data out
//! (`reply::answer`) demands one, so that forgetting the check does not compile. Which level evidence
//! reaches is the business of [`ladder`], which level each right needs that of [`policy`]; [`people`]
//! is who is on file.

pub mod document;
pub mod evidence;
pub mod ladder;
pub mod mask;
pub mod mrz;
pub mod next;
pub mod numbers;
pub mod origin;
pub mod people;
pub mod picture;
pub mod policy;
pub mod words;

pub use ladder::Proof;
