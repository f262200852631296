//! Who wrote: evidence, and what a person accepted of it.
//!
//! A [`Proof`] is evidence that a member of the staff accepted. What carries personal data out
//! (`reply::answer`) demands one, so that forgetting the check does not compile.

pub mod evidence;
pub mod mrz;
pub mod numbers;
pub mod origin;

use minicbor::{Decode, Encode};

use crate::ids::StaffId;

/// That a person of the staff is satisfied that the requester is who they say.
///
/// The only way to make one names who accepted and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    by: StaffId,
    kind: ProofKind,
}

impl Proof {
    /// Evidence of this kind was accepted by this member.
    #[must_use]
    pub const fn accepted(by: StaffId, kind: ProofKind) -> Self {
        Self { by, kind }
    }

    /// Who accepted it.
    #[must_use]
    pub const fn by(&self) -> StaffId {
        self.by
    }

    /// What was accepted.
    #[must_use]
    pub const fn kind(&self) -> ProofKind {
        self.kind
    }
}

/// What was accepted as proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ProofKind {
    /// The letter came, authenticated, from the address on file.
    #[n(0)]
    AddressOnFile,
    /// A single-use code, sent to a contact on file, came back.
    #[n(1)]
    Challenge,
    /// Two details that the organisation already holds agree.
    #[n(2)]
    MatchFields,
    /// A signature with a key known to be the person's (eID, itsme, OpenPGP, S/MIME).
    #[n(3)]
    Signature,
    /// A masked copy of an identity document agrees with what is on file.
    #[n(4)]
    IdDocument,
    /// The person was there.
    #[n(5)]
    InPerson,
    /// Something else, explained in a note of the case.
    #[n(6)]
    Other,
}
