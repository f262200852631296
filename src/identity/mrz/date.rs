//! Dates of two digits a year, of which parts may be unknown (ICAO 9303-3 §4.8).

use jiff::civil::Date;

/// A date as the zone has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MrzDate {
    /// All of it, where all of it is known and exists.
    pub date: Option<Date>,
    /// The year, where it is known.
    pub year: Option<u16>,
    /// The month, 1 to 12, where it is known.
    pub month: Option<u8>,
    /// Whether it is written as a date is: digits, fillers for what is unknown, and it exists.
    pub is_sound: bool,
}

/// What decides between two centuries of birth.
#[derive(Clone, Copy, Debug)]
pub struct OnBirth {
    /// Today: nobody is born later.
    pub today: Date,
    /// The century, 1900 or 2000, where the number of the person tells it.
    pub century: Option<u16>,
}

/// Years that a worker may be old, where nothing else decides.
const WORKING_AGE: std::ops::RangeInclusive<i16> = 15..=100;

impl MrzDate {
    /// A last day of validity: always after 2000.
    pub(super) fn expiry(text: &str) -> Self {
        Self::with(text, |_, _| Some(2000))
    }

    /// A birth date: not after today. Where both centuries are possible the number of the person
    /// decides, else the age of a worker, else nothing.
    pub(super) fn birth(text: &str, on: OnBirth) -> Self {
        Self::with(text, |year, rest| {
            let earliest = |century: i16| {
                let (month, day) = rest.unwrap_or((1, 1));
                Date::new(century + year, month, day)
                    .or_else(|_| Date::new(century + year, 1, 1))
                    .ok()
            };
            let age = |century: i16| {
                let born = earliest(century).filter(|born| *born <= on.today)?;
                let had_birthday = (on.today.month(), on.today.day()) >= (born.month(), born.day());
                Some(on.today.year() - born.year() - i16::from(!had_birthday))
            };
            if let Some(century) = on.century.and_then(|century| i16::try_from(century).ok()) {
                return age(century).map(|_| century);
            }
            let possible: Vec<i16> =
                [1900, 2000].into_iter().filter(|c| age(*c).is_some()).collect();
            if let [one] = possible.as_slice() {
                return Some(*one);
            }
            let mut likely = possible
                .into_iter()
                .filter(|century| age(*century).is_some_and(|age| WORKING_AGE.contains(&age)));
            let first = likely.next()?;
            likely.next().is_none().then_some(first)
        })
    }

    /// Reads `YYMMDD`; `century` says which, of a year and, where they are known, month and day.
    fn with(text: &str, century: impl Fn(i16, Option<(i8, i8)>) -> Option<i16>) -> Self {
        let two = |at: usize| -> Result<Option<i8>, ()> {
            match text.get(at..at + 2) {
                Some("<<") => Ok(None),
                Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    digits.parse().map(Some).map_err(|_| ())
                }
                _ => Err(()),
            }
        };
        let (Ok(year), Ok(month), Ok(day)) = (two(0), two(2), two(4)) else {
            return Self::default();
        };
        let month_fits = month.is_none_or(|month| (1..=12).contains(&month));
        let day_fits = day.is_none_or(|day| (1..=31).contains(&day));
        // A leap day exists or not by its century: 00 and 4, 8 … are leap years in both.
        let exists = match (year, month, day) {
            (Some(year), Some(month), Some(day)) => {
                Date::new(2000 + i16::from(year), month, day).is_ok()
            }
            (None, Some(month), Some(day)) => Date::new(2000, month, day).is_ok(),
            _ => true,
        };
        let is_sound = month_fits && day_fits && exists;
        let rest = month.zip(day).filter(|_| is_sound);
        let full = year.and_then(|year| Some(century(i16::from(year), rest)? + i16::from(year)));
        let date = full.zip(rest).and_then(|(y, (m, d))| Date::new(y, m, d).ok());
        Self {
            date,
            year: full.and_then(|year| u16::try_from(year).ok()),
            month: month.filter(|_| month_fits).and_then(|month| u8::try_from(month).ok()),
            is_sound,
        }
    }
}
