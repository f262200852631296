//! The ladder: which level evidence reaches, and what a person accepted of it.
//!
//! | level | reached by |
//! |---|---|
//! | L0 | nothing |
//! | L1 | the letter came from the address on file, and its domain stands for it |
//! | L2 | a single-use code that was sent to a contact on file came back |
//! | L3 | L2 and two details that are on file anyway; or a signature; or the person was there |
//! | L4 | a masked copy of an identity document was checked |
//!
//! Levels are computed, and decide nothing: a [`Proof`] exists only where a person accepted named
//! evidence. There is no detail for the digits of a national number: it may not be used for this (law
//! of 8-8-1983 Art. 8). A copy of a document can be asked for only where a [`Doubt`] was written down
//! with its reason (GDPR Art. 12(6)). Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::Deserialize;

use crate::ids::{CaseId, StaffId};
use crate::secret::Personal;

/// How sure it is who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Deserialize)]
#[cbor(index_only)]
pub enum Level {
    /// Not at all.
    #[n(0)]
    L0,
    /// The address on file wrote.
    #[n(1)]
    L1,
    /// Whoever reads a contact on file wrote.
    #[n(2)]
    L2,
    /// And knows what only they and we know, or signed, or was there.
    #[n(3)]
    L3,
    /// A copy of an identity document was checked.
    #[n(4)]
    L4,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl FromStr for Level {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.to_ascii_uppercase().as_str() {
            "L0" => Self::L0,
            "L1" => Self::L1,
            "L2" => Self::L2,
            "L3" => Self::L3,
            "L4" => Self::L4,
            _ => return Err("a level is one of L0, L1, L2, L3, L4"),
        })
    }
}

/// What kind of evidence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// The letter came from the address on file, and its domain stands for it.
    #[n(0)]
    Address,
    /// A single-use code, sent to a contact on file, came back.
    #[n(1)]
    Challenge,
    /// Details that the organisation already holds agree.
    #[n(2)]
    Match,
    /// A signature with a key known to be the person's (eID, itsme, OpenPGP, S/MIME).
    #[n(3)]
    Signature,
    /// A masked copy of an identity document agrees with what is on file.
    #[n(4)]
    Id,
    /// The person was there.
    #[n(5)]
    InPerson,
    /// Something else, explained in words. It reaches no level by itself.
    #[n(6)]
    Other,
    /// Checkdoc was asked about the document, and has no hit. It goes with a document, and reaches no
    /// level by itself.
    #[n(7)]
    Checkdoc,
}

impl Kind {
    /// Every kind, with the word that stands for it on the command line.
    pub const WORDS: [(&'static str, Self); 8] = [
        ("address", Self::Address),
        ("challenge", Self::Challenge),
        ("match", Self::Match),
        ("signature", Self::Signature),
        ("id", Self::Id),
        ("in-person", Self::InPerson),
        ("checkdoc", Self::Checkdoc),
        ("other", Self::Other),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What people also say.
        let text = if text == "seen" { "in-person" } else { text };
        let found = Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, kind)| *kind);
        found.ok_or_else(|| {
            let known = Self::WORDS.map(|(word, _)| word).join(", ");
            format!("the kind is one of {known}")
        })
    }
}

/// A detail that is on file anyway, and can be compared. Never a digit of a national number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Field {
    /// The birth date.
    #[n(0)]
    BirthDate,
    /// The client they worked for last, and when.
    #[n(1)]
    Client,
    /// The day they started.
    #[n(2)]
    StartDate,
}

impl Field {
    /// Every one, with the word that stands for it on the command line.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("birth-date", Self::BirthDate),
        ("client", Self::Client),
        ("start-date", Self::StartDate),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, field)| *field == self).map_or("", |(word, _)| word)
    }
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, field)| *field);
        found.ok_or_else(|| {
            let known = Self::WORDS.map(|(word, _)| word).join(", ");
            format!("a detail is one of {known}; a national number is none")
        })
    }
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Evidence {
    /// What it is.
    #[n(0)]
    pub kind: Kind,
    /// For details that agree: which.
    #[n(1)]
    pub fields: Vec<Field>,
    /// Who recorded it; nobody if the program found it in the letter.
    #[n(2)]
    pub by: Option<StaffId>,
    /// When, in minutes since 1970.
    #[n(3)]
    pub minute: u64,
}

impl Evidence {
    /// Of a kind that needs nothing more said.
    #[must_use]
    pub const fn of(kind: Kind, by: Option<StaffId>, minute: u64) -> Self {
        Self { kind, fields: Vec::new(), by, minute }
    }
}

/// Details that must agree beside a code that came back.
pub const ENOUGH_FIELDS: usize = 2;

/// The details that agree, each once, whatever said so.
#[must_use]
pub fn fields(evidence: &[Evidence]) -> BTreeSet<Field> {
    let matches = evidence.iter().filter(|one| one.kind == Kind::Match);
    matches.flat_map(|one| one.fields.iter().copied()).collect()
}

/// The level that this evidence reaches (table 5.5 of what the law makes of it, above).
#[must_use]
pub fn reached(evidence: &[Evidence]) -> Level {
    let has = |kind: Kind| evidence.iter().any(|one| one.kind == kind);
    if has(Kind::Id) {
        Level::L4
    } else if has(Kind::Signature)
        || has(Kind::InPerson)
        || has(Kind::Challenge) && fields(evidence).len() >= ENOUGH_FIELDS
    {
        Level::L3
    } else if has(Kind::Challenge) {
        Level::L2
    } else if has(Kind::Address) {
        Level::L1
    } else {
        Level::L0
    }
}

/// That a person of the staff is satisfied that the requester is who they say: at which level, by what
/// evidence, and why if the evidence alone does not reach it.
///
/// There are two ways to one, both in this file: a person accepts ([`accept`]), or a note says that
/// one did, which the ledger has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof(Accepted);

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Accepted {
    #[n(0)]
    case: CaseId,
    #[n(1)]
    by: StaffId,
    #[n(2)]
    minute: u64,
    #[n(3)]
    level: Level,
    #[n(4)]
    reached: Level,
    #[n(5)]
    evidence: Vec<Evidence>,
    #[n(6)]
    reason: Option<Personal<String>>,
}

/// Why nothing was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The evidence does not reach the level, and no reason was given.
    #[error("the evidence reaches {reached}, not {wanted}, and no reason was given")]
    NotReached {
        /// What it reaches.
        reached: Level,
        /// What was to be accepted.
        wanted: Level,
    },
    /// There is no evidence, and no reason was given.
    #[error("there is no evidence that could be accepted")]
    Nothing,
}

/// A member accepts this evidence of a case at a level: only one that it reaches, unless a reason is
/// given, which is kept with it.
///
/// # Errors
/// See [`NotAccepted`].
pub fn accept(
    case: CaseId,
    (by, minute): (StaffId, u64),
    evidence: &[Evidence],
    level: Level,
    reason: Option<&str>,
) -> Result<Proof, NotAccepted> {
    let reached = reached(evidence);
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_none() && evidence.is_empty() {
        return Err(NotAccepted::Nothing);
    }
    if reason.is_none() && reached < level {
        return Err(NotAccepted::NotReached { reached, wanted: level });
    }
    let reason = reason.map(|reason| Personal::new(reason.to_owned()));
    Ok(Proof(Accepted { case, by, minute, level, reached, evidence: evidence.to_vec(), reason }))
}

impl Proof {
    /// What a note about it holds.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(&self.0).expect("writing to memory does not fail")
    }

    /// Reads back what a note of this case holds, which the ledger recorded: none if it holds no proof
    /// of the case.
    #[must_use]
    pub(crate) fn recorded(note: &[u8], case: CaseId) -> Option<Self> {
        let accepted: Accepted = minicbor::decode(note).ok()?;
        (accepted.case == case).then_some(Self(accepted))
    }

    /// The case it is of.
    #[must_use]
    pub const fn case(&self) -> CaseId {
        self.0.case
    }

    /// Who accepted it.
    #[must_use]
    pub const fn by(&self) -> StaffId {
        self.0.by
    }

    /// When, in minutes since 1970.
    #[must_use]
    pub const fn minute(&self) -> u64 {
        self.0.minute
    }

    /// The level that was accepted.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.0.level
    }

    /// The level that the evidence reaches by itself.
    #[must_use]
    pub const fn reached(&self) -> Level {
        self.0.reached
    }

    /// What was accepted.
    #[must_use]
    pub fn evidence(&self) -> &[Evidence] {
        &self.0.evidence
    }

    /// Level and evidence in one line, without the reason: `L3 by challenge, match (birth-date, client)`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for one in self.evidence() {
            let fields: Vec<&str> = one.fields.iter().map(|field| field.word()).collect();
            let word = match &fields[..] {
                [] => one.kind.word().to_owned(),
                fields => format!("{} ({})", one.kind.word(), fields.join(", ")),
            };
            if !words.contains(&word) {
                words.push(word);
            }
        }
        let words = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        format!("{} by {words}", self.level())
    }

    /// Why, if it was said.
    #[must_use]
    pub const fn reason(&self) -> Option<&Personal<String>> {
        self.0.reason.as_ref()
    }
}

/// A reasoned doubt about who asks, written down: without one nobody is asked for a copy of an identity
/// document (GDPR Art. 12(6); EDPB Guidelines 01/2022 no. 73–77).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt(Doubted);

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Doubted {
    #[n(0)]
    case: CaseId,
    #[n(1)]
    by: StaffId,
    #[n(2)]
    minute: u64,
}

impl Doubt {
    /// What a note about a new one holds; the note's words are its reason. It is no `Doubt` before it
    /// is in the ledger.
    #[must_use]
    pub fn note(case: CaseId, by: StaffId, minute: u64) -> Vec<u8> {
        minicbor::to_vec(Doubted { case, by, minute }).expect("writing to memory does not fail")
    }

    /// Reads back what a note of this case holds, which the ledger recorded.
    #[must_use]
    pub(crate) fn recorded(note: &[u8], case: CaseId) -> Option<Self> {
        let doubted: Doubted = minicbor::decode(note).ok()?;
        (doubted.case == case).then_some(Self(doubted))
    }

    /// The case it is about.
    #[must_use]
    pub const fn case(&self) -> CaseId {
        self.0.case
    }

    /// Who doubts.
    #[must_use]
    pub const fn by(&self) -> StaffId {
        self.0.by
    }

    /// Since when, in minutes since 1970.
    #[must_use]
    pub const fn minute(&self) -> u64 {
        self.0.minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: StaffId = StaffId(7);

    fn of(kinds: &[Kind]) -> Vec<Evidence> {
        kinds.iter().map(|kind| Evidence::of(*kind, Some(BY), 1)).collect()
    }

    fn agree(fields: &[Field]) -> Evidence {
        Evidence { fields: fields.to_vec(), ..Evidence::of(Kind::Match, None, 1) }
    }

    #[test]
    fn each_rung_is_reached_by_its_evidence_and_by_nothing_less() {
        use Kind::{Address, Challenge, Checkdoc, Id, InPerson, Other, Signature};
        for (kinds, level) in [
            (&[][..], Level::L0),
            (&[Other], Level::L0),
            (&[Checkdoc], Level::L0),
            (&[Address], Level::L1),
            (&[Address, Checkdoc, Other], Level::L1),
            (&[Challenge], Level::L2),
            (&[Address, Challenge], Level::L2),
            (&[InPerson], Level::L3),
            (&[Signature, Address], Level::L3),
            (&[Id], Level::L4),
        ] {
            assert_eq!(reached(&of(kinds)), level, "{kinds:?}");
        }
    }

    #[test]
    fn two_details_raise_a_code_that_came_back_and_nothing_else() {
        let both = agree(&[Field::BirthDate, Field::StartDate]);
        let with = |kinds: &[Kind], more: &[Evidence]| reached(&[&of(kinds)[..], more].concat());
        assert_eq!(with(&[Kind::Challenge], std::slice::from_ref(&both)), Level::L3);
        assert_eq!(with(&[Kind::Address], std::slice::from_ref(&both)), Level::L1);
        assert_eq!(with(&[], std::slice::from_ref(&both)), Level::L0);
        // The same detail twice is one.
        let twice = [agree(&[Field::Client]), agree(&[Field::Client, Field::Client])];
        assert_eq!(with(&[Kind::Challenge], &twice), Level::L2);
        let apart = [agree(&[Field::Client]), agree(&[Field::BirthDate])];
        assert_eq!(with(&[Kind::Challenge], &apart), Level::L3);
        // Fields of evidence that is no comparison count for nothing.
        let odd = Evidence { kind: Kind::Other, ..both };
        assert_eq!(with(&[Kind::Challenge], &[odd]), Level::L2);
    }

    #[test]
    fn more_evidence_never_reaches_less() {
        let all = Kind::WORDS.map(|(_, kind)| kind);
        for mask in 0..1u32 << all.len() {
            let chosen = |nr: &usize| mask & (1 << nr) != 0;
            let kinds: Vec<Kind> = (0..all.len()).filter(chosen).map(|nr| all[nr]).collect();
            for more in all {
                let richer = [&kinds[..], &[more]].concat();
                assert!(reached(&of(&richer)) >= reached(&of(&kinds)), "{kinds:?} {more:?}");
            }
        }
    }

    #[test]
    fn a_proof_needs_evidence_that_reaches_its_level_or_a_reason_that_is_kept() {
        let case = CaseId::random();
        let address = of(&[Kind::Address]);
        let accepted =
            |evidence: &[Evidence], level, reason| accept(case, (BY, 5), evidence, level, reason);
        let proof = accepted(&address, Level::L1, None).expect("it reaches that");
        assert_eq!((proof.by(), proof.minute(), proof.level()), (BY, 5, Level::L1));
        assert_eq!((proof.evidence(), proof.reason()), (&address[..], None));
        for blank in [None, Some(""), Some("  ")] {
            let refused = NotAccepted::NotReached { reached: Level::L1, wanted: Level::L2 };
            assert_eq!(accepted(&address, Level::L2, blank), Err(refused));
            assert_eq!(accepted(&[], Level::L0, blank), Err(NotAccepted::Nothing));
        }
        let proof = accepted(&address, Level::L2, Some(" I know her voice ")).expect("reasoned");
        assert_eq!((proof.level(), proof.reached()), (Level::L2, Level::L1));
        assert_eq!(proof.reason().map(|r| r.expose().as_str()), Some("I know her voice"));
    }

    #[test]
    fn a_note_gives_its_proof_back_for_its_own_case_only() {
        let case = CaseId::random();
        let evidence = [of(&[Kind::Challenge]), vec![agree(&[Field::Client])]].concat();
        let proof = accept(case, (BY, 5), &evidence, Level::L2, Some("x")).expect("reaches");
        assert_eq!(Proof::recorded(&proof.to_bytes(), case), Some(proof.clone()));
        assert_eq!(Proof::recorded(&proof.to_bytes(), CaseId::random()), None);
        assert_eq!(Proof::recorded(b"", case), None);
        let doubt = Doubt::note(case, BY, 5);
        assert_eq!(Doubt::recorded(&doubt, case).map(|doubt| doubt.by()), Some(BY));
        assert_eq!(Doubt::recorded(&doubt, CaseId::random()), None);
        assert_eq!(Proof::recorded(&doubt, case), None, "a doubt is no proof");
    }

    #[test]
    fn words_read_back_and_a_national_number_is_no_detail() {
        for (word, kind) in Kind::WORDS {
            assert_eq!((word.parse(), kind.word()), (Ok(kind), word));
        }
        for (word, field) in Field::WORDS {
            assert_eq!((word.parse(), field.word()), (Ok(field), word));
        }
        assert_eq!("seen".parse(), Ok(Kind::InPerson));
        assert_eq!(("l2".parse(), Level::L2.to_string()), (Ok(Level::L2), "L2".into()));
        for word in ["national-number", "nrn", "rijksregisternummer"] {
            assert!(word.parse::<Field>().is_err_and(|why| why.contains("national number")));
        }
    }
}
