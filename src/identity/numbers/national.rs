//! National numbers and BIS numbers.
//!
//! `YYMMDD SSS CC`. The counter SSS is odd for men and even for women, 001 to 998. CC is 97 − (the
//! first nine digits mod 97); for people born from 2000 on a 2 stands before the nine. The two rules
//! differ by a constant, so one of them fits at most: it tells the century (Royal Decree of
//! 8-2-1991; instructions IT000 of the National Register).
//!
//! A BIS number is one of somebody who is not in the register: its month is 40 more, or 20 more
//! where the sex was not known, and then the counter does not tell it.
//!
//! An unknown month or day is 00. Where the counters of a day ran out, month and day went to 00 and
//! the day counts up from there, past 31. So a date that cannot be is no error: the number is
//! valid, and the date is not known. Pure.

use std::fmt;

use super::{NumberError, digits, value};

/// What is added to the month of a BIS number.
const KNOWN_SEX: u8 = 40;
/// See [`KNOWN_SEX`].
const UNKNOWN_SEX: u8 = 20;

/// Whose number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NationalKind {
    /// Of somebody in the National Register.
    Nrn,
    /// Of somebody who is not in it: who works here from across the border, or for a short time.
    Bis,
}

impl NationalKind {
    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nrn => "NRN",
            Self::Bis => "BIS",
        }
    }

    /// What the month says, also of a number that is not valid: 11 digits, not all zero.
    #[must_use]
    pub fn guess(text: &str) -> Option<Self> {
        let digits = digits::<11>(text).ok().filter(|digits| *digits != [0; 11])?;
        Some(if digits[2] < 2 { Self::Nrn } else { Self::Bis })
    }
}

/// What an official register says of somebody's sex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sex {
    /// M.
    Male,
    /// F.
    Female,
}

impl Sex {
    /// M or F.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Male => 'M',
            Self::Female => 'F',
        }
    }
}

/// What a number tells of a birth date. `Display` writes `1985-07-30`, `1972-02` or `1910`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// The year.
    pub year: u16,
    /// The month, 1 to 12, if it is known.
    pub month: Option<u8>,
    /// The day, if it is known and there is one of that number in the month.
    pub day: Option<u8>,
}

impl Birth {
    /// The date, if all of it is known.
    #[must_use]
    pub fn date(&self) -> Option<jiff::civil::Date> {
        date(self.year, self.month?, self.day?)
    }
}

impl fmt::Display for Birth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.year)?;
        if let Some(month) = self.month {
            write!(f, "-{month:02}")?;
        }
        if let Some(day) = self.day {
            write!(f, "-{day:02}")?;
        }
        Ok(())
    }
}

/// A number whose check digits fit. `Debug` does not say which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NationalNumber {
    digits: [u8; 11],
    century: u16,
}

impl fmt::Debug for NationalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NationalNumber")
    }
}

impl NationalNumber {
    /// Reads one, with whatever people put between the digits.
    ///
    /// # Errors
    /// Says in what it is none.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        Self::of(digits::<11>(text)?)
    }

    /// The number of these digits.
    ///
    /// # Errors
    /// `Month`, `Counter` or `Check`.
    pub fn of(digits: [u8; 11]) -> Result<Self, NumberError> {
        let month = digits[2] * 10 + digits[3];
        if !matches!(month, 0..=12 | 20..=32 | 40..=52) {
            return Err(NumberError::Month);
        }
        if matches!(value(&digits[6..9]), 0 | 999) {
            return Err(NumberError::Counter);
        }
        let (number, check) = (value(&digits[..9]), value(&digits[9..]));
        let century = [(1900, number), (2000, 2_000_000_000 + number)]
            .into_iter()
            .find_map(|(century, number)| (97 - number % 97 == check).then_some(century));
        Ok(Self { digits, century: century.ok_or(NumberError::Check)? })
    }

    /// In which register.
    #[must_use]
    pub const fn kind(&self) -> NationalKind {
        if self.digits[2] < 2 { NationalKind::Nrn } else { NationalKind::Bis }
    }

    /// 1900 or 2000.
    #[must_use]
    pub const fn century(&self) -> u16 {
        self.century
    }

    /// The sex, if the number tells it.
    #[must_use]
    pub const fn sex(&self) -> Option<Sex> {
        match self.digits[2] {
            2 | 3 => None,
            _ if self.digits[8] % 2 == 1 => Some(Sex::Male),
            _ => Some(Sex::Female),
        }
    }

    /// The birth date as far as the number tells it: nothing of it where the year is 00 and the month
    /// is unknown, which is how an unknown date is written.
    #[must_use]
    pub fn birth(&self) -> Option<Birth> {
        let two = |at: usize| self.digits[at] * 10 + self.digits[at + 1];
        let year = self.century + u16::from(two(0));
        let month = match two(2) {
            month @ KNOWN_SEX.. => month - KNOWN_SEX,
            month @ UNKNOWN_SEX.. => month - UNKNOWN_SEX,
            month => month,
        };
        if month == 0 {
            return (two(0) != 0).then_some(Birth { year, month: None, day: None });
        }
        let day = Some(two(4)).filter(|day| date(year, month, *day).is_some());
        Some(Birth { year, month: Some(month), day })
    }

    /// Whether it has a month and a day that this month has not: the counter of a day overflowed, or somebody
    /// erred. Days that are left open are 00.
    #[must_use]
    pub fn has_no_such_day(&self) -> bool {
        let is_open = self.digits[4..6] == [0, 0];
        self.birth().is_some_and(|birth| birth.month.is_some() && birth.day.is_none() && !is_open)
    }

    /// The eleven digits.
    #[must_use]
    pub const fn digits(&self) -> &[u8; 11] {
        &self.digits
    }
}

fn date(year: u16, month: u8, day: u8) -> Option<jiff::civil::Date> {
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    jiff::civil::Date::new(i16::try_from(year).ok()?, month, day).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_what_the_vectors_say() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/identity.json"))
                .expect("JSON");
        for row in vectors["nrn"].as_array().expect("vectors") {
            let input = row["input"].as_str().expect("input");
            let kind = NationalKind::guess(input).map(NationalKind::word);
            assert_eq!(kind, row["kind"].as_str(), "{input}");
            let Ok(number) = NationalNumber::parse(input) else { continue };
            assert_eq!(Some(u64::from(number.century())), row["century"].as_u64(), "{input}");
            let sex = number.sex().map(|sex| sex.letter().to_string());
            assert_eq!(sex.as_deref(), row["sex"].as_str(), "{input}");
            // What stands behind a date explains it.
            let birth = number.birth().map(|birth| birth.to_string());
            let told = row["birth"].as_str().and_then(|text| text.split(' ').next());
            assert_eq!(birth.as_deref(), told, "{input}");
            let must_warn = row["note"].as_str().is_some_and(|note| note.contains("must warn"));
            let has_no_day = row["birth"].as_str().is_some_and(|birth| birth.contains("(day"));
            assert!(number.has_no_such_day() || !must_warn && !has_no_day, "{input}");
        }
    }

    #[test]
    fn numbers_that_others_refuse_or_misread_are_what_they_are() {
        // The counter of a day overflowed: then the month or the day is none.
        for text in ["10000100182", "10400100171", "00003241778"] {
            assert!(NationalNumber::parse(text).is_ok(), "{text}");
        }
        // A BIS number of somebody of whom neither the sex nor the day is known.
        for (text, year) in [("99200199926", 1999), ("01200199934", 2001)] {
            let number = NationalNumber::parse(text);
            if let Ok(number) = number {
                assert_eq!((number.kind(), number.sex()), (NationalKind::Bis, None), "{text}");
                let birth = number.birth().expect("a year");
                assert_eq!((birth.year, birth.date()), (year, None), "{text}");
            } else {
                assert_eq!(number, Err(NumberError::Counter), "{text}");
            }
        }
    }

    /// Half of all wrong numbers would pass if both rules could fit at once.
    #[test]
    fn the_century_is_never_in_doubt() {
        assert_ne!(2_000_000_000_u64 % 97, 0);
        for number in (850_730_001..850_730_998_u64).step_by(7) {
            let checks = [97 - number % 97, 97 - (2_000_000_000 + number) % 97];
            assert_ne!(checks[0], checks[1]);
            for (check, century) in checks.into_iter().zip([1900, 2000]) {
                let read = NationalNumber::parse(&format!("{number}{check:02}")).expect("fits");
                assert_eq!(read.century(), century);
            }
        }
    }

    #[test]
    fn nobody_has_counter_000_or_999_and_the_name_of_a_number_is_not_shown() {
        for (text, why) in [
            ("85061399950", NumberError::Counter),
            ("85533000191", NumberError::Month),
            ("85131300179", NumberError::Month),
            ("85.06.13-001.79", NumberError::Check),
            ("85.06.13-001", NumberError::Length),
            ("85.06.13-001.790", NumberError::Length),
            ("85,06,13", NumberError::Characters),
            ("", NumberError::Length),
        ] {
            assert_eq!(NationalNumber::parse(text), Err(why), "{text}");
        }
        let number = NationalNumber::parse("85073003328").expect("is one");
        assert_eq!(format!("{number:?}"), "NationalNumber");
    }
}
