//! The erasure certificate: a file that proves, by itself and with a public key alone, that a vault's
//! ledger says that something was forgotten (vault-format §9).
//!
//! What it says in words is made from the entries that it proves, and one that says anything else is
//! refused: nobody can be shown one thing and proven another. Whether it is provisional follows from
//! the entries, too. What it cannot prove is said where it is verified (`cli::audit`).

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use minicbor::{Decode, Encode};

use super::proof::{self, Proof};
use super::{Checkpoint, Entry, Fact};
use crate::ids::VaultId;

/// Days that a backup of the cabinet is kept (design §8): part of the erasure horizon.
pub const BACKUP_DAYS: u64 = 7;
/// Days between two rotations of the cabinet's key, once something was forgotten.
pub const ROTATION_DAYS: u64 = 1;

const DAY: u64 = 24 * 60;
/// The words before the version of the layout in the first line.
const TITLE: &str = "kluis erasure certificate ";
/// The version of the layout.
const VERSION: u64 = 1;
/// The longest certificate that is read, in bytes: three proofs, each with a few witnesses.
pub const LONGEST: usize = 128 << 10;
/// The proofs in a certificate, at most.
const MOST_PROOFS: usize = 3;

/// A certificate as it travels: nothing in it is verified yet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Certificate {
    /// The signed head of the ledger that all its proofs lead to.
    #[n(0)]
    pub checkpoint: String,
    /// That something was forgotten.
    #[n(1)]
    pub forgotten: Proof,
    /// Which box it was: the entry that brought its key into the cabinet.
    #[n(2)]
    pub sealed: Option<Proof>,
    /// That the cabinet got a new key afterwards.
    #[n(3)]
    pub rotated: Option<Proof>,
}

/// What a certificate proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The vault.
    pub vault: VaultId,
    /// Entries that its checkpoint covers.
    pub covered: u64,
    /// The entry that says that something was forgotten.
    pub forgotten: Entry,
    /// The entry that says which box it was.
    pub sealed: Option<Entry>,
    /// The first entry afterwards that says that the cabinet got a new key, as far as it is shown.
    pub rotated: Option<Entry>,
}

/// A part of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A line, counted from 1.
    Line(usize),
    /// The form of a proof, all counted from 1.
    Form(usize),
    /// The entry of a proof.
    Entry(usize),
    /// The index of a proof.
    Index(usize),
    /// The path of a proof.
    Path(usize),
    /// The checkpoint of a proof: not what this key signed.
    Checkpoint(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Line(line) => write!(f, "line {line} is not what the proven entries say"),
            Part::Form(proof) => write!(f, "proof {proof} is not in the form {}", proof::HEADER),
            Part::Entry(proof) => write!(f, "the entry in proof {proof} is not in the ledger"),
            Part::Index(proof) => write!(f, "the index in proof {proof} is not that of its entry"),
            Part::Path(proof) => write!(f, "the path in proof {proof} does not lead to the root"),
            Part::Checkpoint(proof) => {
                write!(f, "this key did not sign the checkpoint of proof {proof}")
            }
        }
    }
}

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is something else.
    #[error("not an erasure certificate")]
    NotACertificate,
    /// It says something that only a later version knows.
    #[error("written by a later version of kluis")]
    FutureVersion,
    /// The key is that of another vault.
    #[error("it is about vault {of}, and the key is that of vault {key}")]
    OtherVault {
        /// The vault that it is about.
        of: VaultId,
        /// The vault of the key.
        key: VaultId,
    },
    /// Something in it was altered, or was signed by another key.
    #[error("altered, or never true: {0}")]
    Altered(Part),
    /// The entry is in the ledger and says something else.
    #[error("entry {0} of the ledger does not say what a certificate must")]
    OtherFact(u64),
}

impl Certificate {
    /// The file: what it says in words, then the proofs.
    ///
    /// # Errors
    /// [`Error::OtherFact`] or [`Error::Altered`] if its entries are no certificate's.
    pub fn to_text(&self) -> Result<String, Error> {
        let vault = origin(&self.checkpoint).ok_or(Error::Altered(Part::Checkpoint(1)))?;
        Ok(self.written(&self.read(vault, 0)?))
    }

    fn written(&self, says: &Proven) -> String {
        let mut text = words(says);
        for proof in self.proofs() {
            text.push('\n');
            text.push_str(&proof.to_text(&self.checkpoint));
        }
        text
    }

    fn proofs(&self) -> impl Iterator<Item = &Proof> {
        std::iter::once(&self.forgotten).chain(&self.sealed).chain(&self.rotated)
    }

    /// Verifies it with the public key of the vault's checkpoints.
    ///
    /// # Errors
    /// What does not hold.
    pub fn prove(&self, vault: VaultId, public: &[u8; 32]) -> Result<Proven, Error> {
        let head = match Checkpoint::verify(&self.checkpoint, public) {
            Ok(head) if head.vault == vault => head,
            _ => {
                return Err(match origin(&self.checkpoint) {
                    Some(of) if of != vault => Error::OtherVault { of, key: vault },
                    _ => Error::Altered(Part::Checkpoint(1)),
                });
            }
        };
        for (number, proof) in (1..).zip(self.proofs()) {
            if !proof.leads_to(&head) {
                let at_fault = if proof.says_its_place() { Part::Path } else { Part::Index };
                return Err(Error::Altered(at_fault(number)));
            }
        }
        self.read(vault, head.size)
    }

    /// Where a proof leads nowhere, its entry is at fault if the words say something else.
    fn blame(&self, error: Error, text: &str) -> Error {
        let Error::Altered(Part::Path(number) | Part::Index(number)) = error else {
            return error;
        };
        match origin(&self.checkpoint).map(|vault| self.read(vault, 0)) {
            Some(Ok(says)) if !text.starts_with(&words(&says)) => {
                Error::Altered(Part::Entry(number))
            }
            Some(Err(Error::FutureVersion | Error::OtherFact(_))) => {
                Error::Altered(Part::Entry(number))
            }
            Some(Err(other)) => other,
            _ => error,
        }
    }

    /// What the entries say, if together they are a certificate. Believes them.
    fn read(&self, vault: VaultId, covered: u64) -> Result<Proven, Error> {
        let entry = |number: usize, proof: &Proof| match Entry::from_bytes(&proof.entry) {
            Ok(entry) if entry.seq == proof.index => Ok(entry),
            Ok(_) => Err(Error::Altered(Part::Index(number))),
            Err(super::Error::FutureVersion) => Err(Error::FutureVersion),
            Err(_) => Err(Error::Altered(Part::Entry(number))),
        };
        let forgotten = entry(1, &self.forgotten)?;
        if forgotten.kind != Fact::Forgotten || forgotten.slot.is_none() || forgotten.item.is_none()
        {
            return Err(Error::OtherFact(forgotten.seq));
        }
        let sealed = self.sealed.as_ref().map(|proof| entry(2, proof)).transpose()?;
        let at = 2 + usize::from(sealed.is_some());
        let rotated = self.rotated.as_ref().map(|proof| entry(at, proof)).transpose()?;
        let is_the_box = |entry: &&Entry| {
            entry.boxed.is_some() && entry.slot == forgotten.slot && entry.seq < forgotten.seq
        };
        if let Some(other) = sealed.as_ref().filter(|entry| !is_the_box(entry)) {
            return Err(Error::OtherFact(other.seq));
        }
        let is_later =
            |entry: &&Entry| entry.kind == Fact::CabinetRotated && entry.seq > forgotten.seq;
        if let Some(other) = rotated.as_ref().filter(|entry| !is_later(entry)) {
            return Err(Error::OtherFact(other.seq));
        }
        Ok(Proven { vault, covered, forgotten, sealed, rotated })
    }

    /// Reads a file's form, and the checkpoint of each proof; nothing is verified.
    fn parse(text: &str) -> Result<(Self, Vec<&str>), Error> {
        let written = text.lines().next().and_then(|line| line.strip_prefix(TITLE));
        match written.map(str::parse::<u64>) {
            Some(Ok(VERSION)) => {}
            Some(Ok(later)) if later > VERSION => return Err(Error::FutureVersion),
            _ => return Err(Error::NotACertificate),
        }
        let separator = format!("\n\n{}\n", proof::HEADER);
        let mut starts: Vec<usize> = text.match_indices(&separator).map(|(at, _)| at).collect();
        if starts.is_empty() || starts.len() > MOST_PROOFS {
            return Err(Error::Altered(Part::Form(starts.len().max(1))));
        }
        starts.push(text.len());
        let mut proofs = Vec::new();
        for (number, ends) in (1..).zip(starts.windows(2)) {
            // The newline that ends a proof's last line is the first of the next one's separator.
            let end = if number + 1 == starts.len() { ends[1] } else { ends[1] + 1 };
            let parsed = text.get(ends[0] + 2..end).and_then(Proof::parse);
            proofs.push(parsed.ok_or(Error::Altered(Part::Form(number)))?);
        }
        let notes: Vec<&str> = proofs.iter().map(|(_, note)| *note).collect();
        let checkpoint = notes[0].to_owned();
        let mut proofs = proofs.into_iter().map(|(proof, _)| proof);
        let forgotten = proofs.next().ok_or(Error::NotACertificate)?;
        let is_rotation = |proof: &Proof| {
            Entry::from_bytes(&proof.entry).is_ok_and(|entry| entry.kind == Fact::CabinetRotated)
        };
        let (mut sealed, mut rotated) = (proofs.next(), proofs.next());
        if rotated.is_none() && sealed.as_ref().is_some_and(is_rotation) {
            rotated = sealed.take();
        }
        Ok((Self { checkpoint, forgotten, sealed, rotated }, notes))
    }
}

/// Verifies a file with the public key of a vault's checkpoints; needs nothing else.
///
/// # Errors
/// What is wrong with it, and where.
pub fn verify(file: &[u8], vault: VaultId, public: &[u8; 32]) -> Result<Proven, Error> {
    let starts_so = file.starts_with(TITLE.as_bytes());
    let text = match std::str::from_utf8(file) {
        Ok(text) if file.len() <= LONGEST => text,
        Err(error) if starts_so && file.len() <= LONGEST => {
            let before = &file[..error.valid_up_to()];
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            return Err(Error::Altered(Part::Line(line)));
        }
        _ => return Err(Error::NotACertificate),
    };
    let (certificate, notes) = Certificate::parse(text)?;
    let is_signed = |note: &str| Checkpoint::verify(note, public).is_ok();
    let is_odd = |note: &str| *note != certificate.checkpoint || !is_signed(note);
    // If none is signed it is the key that does not fit, which is said below.
    if let Some(at) = notes.iter().position(|note| is_odd(note))
        && (at > 0 || notes.iter().any(|note| is_signed(note)))
    {
        return Err(Error::Altered(Part::Checkpoint(at + 1)));
    }
    let proven =
        certificate.prove(vault, public).map_err(|error| certificate.blame(error, text))?;
    let wanted = certificate.written(&proven);
    if wanted == text {
        return Ok(proven);
    }
    let same = wanted.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
    Err(Error::Altered(Part::Line(same + 1)))
}

impl Proven {
    /// From this minute since 1970 on no copy of the key should exist any more, backups included, by
    /// the rules of the vault: a week of backups after the cabinet got its new key. Where no new key
    /// is shown, it should have come within a day.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        let rotated = self.rotated.as_ref().map(|entry| entry.minute);
        let expected = || self.forgotten.minute.saturating_add(ROTATION_DAYS * DAY);
        rotated.unwrap_or_else(expected).saturating_add(BACKUP_DAYS * DAY)
    }

    /// Whether, in this minute since 1970, nothing is left to wait for: the new key is shown, and the
    /// horizon is behind.
    #[must_use]
    pub fn is_final(&self, now: u64) -> bool {
        self.rotated.is_some() && now >= self.horizon()
    }
}

/// The vault that a checkpoint names, signed or not.
fn origin(checkpoint: &str) -> Option<VaultId> {
    checkpoint.lines().next()?.strip_prefix("kluis/")?.parse().ok()
}

/// What the entries say, line by line.
fn words(says: &Proven) -> String {
    let Proven { vault, forgotten, sealed, rotated, .. } = says;
    let mut text = format!("{TITLE}{VERSION}\nvault {vault}\n");
    let mut line = |words: fmt::Arguments<'_>| {
        let _ = writeln!(text, "{words}");
    };
    if let Some(case) = forgotten.case {
        line(format_args!("case {case}"));
    }
    if let Some(letter) = forgotten.letter {
        line(format_args!("letter {letter}"));
    }
    if let Some(item) = forgotten.item {
        line(format_args!("item {item}"));
    }
    if let Some(slot) = forgotten.slot {
        line(format_args!("key {slot}"));
    }
    if let Some(entry) = sealed
        && let Some(address) = entry.boxed
    {
        line(format_args!("sealed {} entry {} box {address}", moment(entry.minute), entry.seq));
    }
    let by = forgotten.staff.map_or_else(
        || "the built-in rule for what has served its time".to_owned(),
        |staff| format!("member {}", staff.0),
    );
    line(format_args!("forgotten {} entry {} by {by}", moment(forgotten.minute), forgotten.seq));
    let horizon = moment(says.horizon());
    match rotated {
        Some(entry) => {
            let generation = entry.count.unwrap_or_default();
            let at = moment(entry.minute);
            line(format_args!("new-cabinet-key {at} entry {} number {generation}", entry.seq));
            line(format_args!("provisional until {horizon}"));
        }
        None => line(format_args!(
            "provisional until {horizon} if the cabinet gets a new key within a day"
        )),
    }
    text
}

/// A minute since 1970 as RFC 3339 writes it.
fn moment(minute: u64) -> String {
    i64::try_from(minute.saturating_mul(60))
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("minute {minute}"), |at| at.to_string())
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
