//! What a check says: what is wrong, what is touched by it, and what would mend it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Error;
use super::frame::Bad;
use crate::ids::{Address, CaseId, ItemId, LetterId};
use crate::ledger::Entry;

/// Problems that are listed; further ones are counted.
const MOST_PROBLEMS: usize = 1000;
/// Boxes that are listed with a problem; further ones are counted.
const MOST_HARMED: usize = 20;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
    /// What cannot be read for it, at most 20.
    pub harmed: Vec<Harmed>,
    /// What else cannot be read for it.
    pub more_harmed: u64,
    /// What would mend it.
    pub remedy: Option<Remedy>,
    /// The record, if it is one of a known address.
    pub(super) address: Option<Address>,
}

/// Something that cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harmed {
    /// Its case.
    pub case: Option<CaseId>,
    /// Its letter, mail or note.
    pub letter: Option<LetterId>,
    /// The item; none for a box that is none.
    pub item: Option<ItemId>,
}

impl Harmed {
    pub(super) fn of(entry: &Entry) -> Self {
        Self { case: entry.case, letter: entry.letter, item: entry.item }
    }
}

/// What would mend a problem. Nothing here is ever done by deleting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing is harmed: an equal record is whole elsewhere, and read in its place.
    EqualCopy {
        /// The pack.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
    },
    /// A good copy of this file, from a backup, in its place.
    GoodCopy(PathBuf),
    /// A good copy of the pack that held it; nothing here says which that was.
    LostPack,
    /// The index made again.
    Rebuild,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remedy::EqualCopy { file, offset } => write!(
                f,
                "an equal record is whole in {} at byte {offset} and read in its place",
                file.display()
            ),
            Remedy::GoodCopy(file) => write!(f, "a good copy of {} heals it", file.display()),
            Remedy::LostPack => f.write_str("a good copy of the pack that held it heals it"),
            Remedy::Rebuild => f.write_str("`kluis check --rebuild` makes the index again"),
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Chunks and boxes in the packs.
    pub records: u64,
    /// Records that a sweep removed, in packs that hold others.
    pub dead: u64,
    /// Bytes of packs and ledger that were read.
    pub bytes: u64,
    /// Entries in the ledger.
    pub entries: u64,
    /// Keys in the cabinet.
    pub slots: u64,
    /// Boxes whose outer layer opened.
    pub boxes: u64,
    /// Boxes that were forgotten.
    pub forgotten: u64,
    /// Boxes and own keys whose slot is not in the cabinet, though they were never forgotten.
    pub lost: u64,
    /// What is wrong, at most 1000 of it, by file and offset.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub more_problems: u64,
    /// How often the index was waited for.
    pub(super) waits: u32,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn add(&mut self, file: &Path, offset: u64, what: &'static str) {
        self.push(Problem {
            file: file.to_owned(),
            offset,
            what,
            harmed: Vec::new(),
            more_harmed: 0,
            remedy: None,
            address: None,
        });
    }

    /// A record of this address is not whole; what it harms is found out later.
    pub(super) fn add_record(
        &mut self,
        file: &Path,
        offset: u64,
        what: &'static str,
        address: Address,
    ) {
        self.add(file, offset, what);
        if let Some(problem) = self.problems.last_mut().filter(|_| self.more_problems == 0) {
            problem.address = Some(address);
        }
    }

    /// The index does not lead to a record that is whole.
    pub(super) fn add_strange(&mut self, file: &Path, offset: u64) {
        self.add(file, offset, "a record that the index does not know");
        if let Some(problem) = self.problems.last_mut().filter(|_| self.more_problems == 0) {
            problem.remedy = Some(Remedy::Rebuild);
        }
    }

    /// An entry's box cannot be read.
    pub(super) fn add_entry(
        &mut self,
        (file, offset): (PathBuf, u64),
        what: &'static str,
        entry: &Entry,
        remedy: Option<Remedy>,
    ) {
        let harmed = vec![Harmed::of(entry)];
        self.push(Problem { file, offset, what, harmed, more_harmed: 0, remedy, address: None });
    }

    fn push(&mut self, problem: Problem) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    /// Takes damage into the report; anything else stays an error.
    pub(super) fn take(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Damaged { file, offset, what } => self.add(&file, offset, what),
            Error::Later { file, offset } => self.add(&file, offset, Bad::Later.what()),
            Error::Absent { file, what } => self.add(&file, 0, what),
            other => return Err(other),
        }
        Ok(())
    }

    /// Takes in what another worker found.
    pub(super) fn absorb(&mut self, other: Report) {
        self.records += other.records;
        self.dead += other.dead;
        self.bytes += other.bytes;
        self.boxes += other.boxes;
        self.forgotten += other.forgotten;
        self.more_problems += other.more_problems;
        other.problems.into_iter().for_each(|problem| self.push(problem));
    }

    /// The order in which problems are told.
    pub(super) fn sort(&mut self) {
        self.problems.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
    }
}

impl Problem {
    pub(super) fn harms(&mut self, harmed: Harmed) {
        if self.harmed.len() < MOST_HARMED {
            self.harmed.push(harmed);
        } else {
            self.more_harmed += 1;
        }
    }
}
