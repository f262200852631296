//! The machine-readable zone of identity documents (ICAO Doc 9303 parts 3 to 7), as cards and passports
//! really carry it.
//!
//! [`read`] takes lines as a person or a recogniser hands them over, mends what can be mended
//! honestly (`repair`), and says of every field what it holds and of every check digit whether it
//! fits. A wrong field costs that field only. Check digits are weak: they cannot see a swap within
//! a class (`1 B L V`), and none covers the name of a card or passport. So nothing here says that a
//! document is genuine. Pure.

mod date;
mod fillers;
mod layout;
pub mod names;
mod person;
mod repair;
#[cfg(test)]
mod tests;

use jiff::civil::Date;
use thiserror::Error;

pub use date::{MrzDate, OnBirth};
pub use layout::{Format, check_digit};
pub use names::Names;
pub use repair::Repair;

use super::numbers::{NationalNumber, Sex};

/// Why lines are no machine-readable zone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MrzError {
    /// No lines of a length and form that any format has.
    #[error("these are not the lines of a machine-readable zone")]
    NoSuchFormat,
    /// More text than any zone has.
    #[error("this is more text than a machine-readable zone has")]
    TooLong,
}

/// Which part a check digit covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checked {
    /// The number of the document.
    Number,
    /// The birth date.
    Birth,
    /// The last day of validity.
    Expiry,
    /// The optional data: of passports, and of Dutch cards until 2021.
    Optional,
    /// Several fields together.
    Composite,
}

impl Checked {
    /// As it is called in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Number => "document_number",
            Self::Birth => "birth_date",
            Self::Expiry => "expiry_date",
            Self::Optional => "optional_data",
            Self::Composite => "composite",
        }
    }
}

/// One check digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it covers.
    pub of: Checked,
    /// Whether it fits.
    pub fits: bool,
    /// Where it stands: line and column, from 1.
    pub at: (u8, u8),
}

/// Which rule the check digit of a long document number follows (ICAO 9303-5 §4.2.4): Belgian cards
/// counted the filler in for years, and of no others is that taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongRule {
    /// The filler at position 15 is left out, as the standard says.
    Icao,
    /// The filler counts as a zero and moves the weights behind it.
    WithFiller,
    /// Both rules give the same digit.
    Both,
}

impl LongRule {
    /// As it is called in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Icao => "icao",
            Self::WithFiller => "with_filler",
            Self::Both => "both",
        }
    }
}

/// A number of the person in the optional data.
#[derive(Clone, PartialEq, Eq)]
pub enum PersonNumber {
    /// Belgian, its check digits right.
    Belgian(NationalNumber),
    /// Belgian, its check digits wrong.
    BelgianUnproven,
    /// Dutch: a BSN.
    Dutch,
    /// Bulgarian: an EGN, and whether it begins with the birth date of the card.
    Bulgarian(bool),
    /// Romanian: parts of a CNP.
    Romanian,
    /// Polish: a PESEL.
    Polish,
    /// Spanish: a DNI.
    Spanish,
    /// Finnish: a personal identity code.
    Finnish,
}

impl std::fmt::Debug for PersonNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PersonNumber")
    }
}

/// What the lines say. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Mrz {
    /// Which layout.
    pub format: Format,
    /// The lines as they count, mended.
    pub lines: Vec<String>,
    /// The kind of document, one or two letters.
    pub code: String,
    /// Who issued it: three letters, or `D`.
    pub issuer: String,
    /// The number of the document, without fillers.
    pub number: String,
    /// Numbers that have the same check digit and look alike: nobody can tell them apart here.
    pub look_alikes: Vec<String>,
    /// Of a long number, which rule its check digit follows.
    pub long_rule: Option<LongRule>,
    /// Whose national; none on old French cards.
    pub nationality: Option<String>,
    /// Birth date.
    pub birth: MrzDate,
    /// Last day of validity; none on old French cards.
    pub expiry: Option<MrzDate>,
    /// Year and month of issue, on old French cards only.
    pub issued: Option<(u16, u8)>,
    /// Sex; `None` where it is not said.
    pub sex: Option<Sex>,
    /// The names.
    pub names: Names,
    /// Other ways to read them, where fillers were read as letters: nothing tells which is right.
    pub other_names: Vec<Names>,
    /// What is in the optional data, without fillers: first and second.
    pub optional: [String; 2],
    /// A number of the person in it.
    pub person: Option<PersonNumber>,
    /// Every check digit.
    pub checks: Vec<Check>,
    /// What was mended.
    pub repairs: Vec<Repair>,
    /// Whether several repairs fit as well: the one that was made counts for nothing.
    pub is_ambiguous: bool,
    /// Whether it says of itself that it is a specimen.
    pub is_specimen: bool,
}

impl std::fmt::Debug for Mrz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mrz").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Mrz {
    /// Whether every check digit fits.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.checks.iter().all(|check| check.fits)
    }

    /// Whether the check digit of this part fits; `None` if there is none.
    #[must_use]
    pub fn check(&self, of: Checked) -> Option<bool> {
        self.checks.iter().find(|check| check.of == of).map(|check| check.fits)
    }

    /// Whether the name line was mended: then nothing proves it.
    #[must_use]
    pub fn is_name_mended(&self) -> bool {
        self.repairs.iter().any(|repair| repair.is_name)
    }
}

/// Characters of text that are looked at.
pub const LONGEST: usize = 4096;

/// Reads the zone in this text, one line to a line, whatever stands around it. `today` tells which
/// century a birth was in.
///
/// # Errors
/// `TooLong`, or `NoSuchFormat` if no two or three lines have the form of one.
pub fn read(text: &str, today: Date) -> Result<Mrz, MrzError> {
    if text.len() > LONGEST {
        return Err(MrzError::TooLong);
    }
    let lines = repair::normalised(text);
    repair::best(&lines, today).ok_or(MrzError::NoSuchFormat)
}
