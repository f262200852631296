//! Where the fields of each format stand, and what their check digits say (ICAO Doc 9303 parts 4 to
//! 7; the French cards before 2021 have a layout of their own).

use std::ops::Range;

use super::{Check, Checked, LongRule};

/// A layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Cards: three lines of 30.
    Td1,
    /// Larger cards: two lines of 36.
    Td2,
    /// Passports: two lines of 44.
    Td3,
    /// Visas of two lines of 44.
    MrvA,
    /// Visas of two lines of 36.
    MrvB,
    /// French identity cards before 2021: two lines of 36, other fields.
    OldFrench,
}

impl Format {
    /// All, in the order in which they are tried.
    pub(super) const ALL: [Self; 6] =
        [Self::Td1, Self::OldFrench, Self::MrvB, Self::Td2, Self::MrvA, Self::Td3];

    /// As it is called in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Td1 => "TD1",
            Self::Td2 => "TD2",
            Self::Td3 => "TD3",
            Self::MrvA => "MRV-A",
            Self::MrvB => "MRV-B",
            Self::OldFrench => "FRA-OLD",
        }
    }

    /// Lines and characters of each.
    #[must_use]
    pub const fn shape(self) -> (usize, usize) {
        match self {
            Self::Td1 => (3, 30),
            Self::Td2 | Self::MrvB | Self::OldFrench => (2, 36),
            Self::Td3 | Self::MrvA => (2, 44),
        }
    }

    /// Whether a first line may begin one of these.
    pub(super) fn begins(self, first: &str) -> bool {
        match self {
            Self::Td1 => first.starts_with(['A', 'C', 'I']),
            Self::OldFrench => first.starts_with("IDFRA"),
            Self::MrvA | Self::MrvB => first.starts_with('V'),
            Self::Td2 => first.starts_with(['A', 'C', 'I', 'P']),
            Self::Td3 => first.starts_with('P'),
        }
    }

    pub(super) const fn places(self) -> &'static Places {
        match self {
            Self::Td1 => &TD1,
            Self::Td2 => &TD2,
            Self::Td3 => &TD3,
            Self::MrvA => &MRV_A,
            Self::MrvB => &MRV_B,
            Self::OldFrench => &OLD_FRENCH,
        }
    }
}

/// A field: its line and its columns, from 0.
pub(super) type Place = (usize, Range<usize>);

/// Where things stand.
pub(super) struct Places {
    pub(super) number: Place,
    pub(super) nationality: Option<Place>,
    pub(super) birth: Place,
    pub(super) sex: Place,
    pub(super) expiry: Option<Place>,
    pub(super) optional: [Option<Place>; 2],
    /// The name, or the surname and the given names.
    pub(super) names: (Place, Option<Place>),
    /// What the composite covers, and where it stands.
    pub(super) composite: Option<(&'static [Place], Place)>,
}

const TD1: Places = Places {
    number: (0, 5..14),
    nationality: Some((1, 15..18)),
    birth: (1, 0..6),
    sex: (1, 7..8),
    expiry: Some((1, 8..14)),
    optional: [Some((0, 15..30)), Some((1, 18..29))],
    names: ((2, 0..30), None),
    composite: Some((&[(0, 5..30), (1, 0..7), (1, 8..15), (1, 18..29)], (1, 29..30))),
};

const TD2: Places = Places {
    number: (1, 0..9),
    nationality: Some((1, 10..13)),
    birth: (1, 13..19),
    sex: (1, 20..21),
    expiry: Some((1, 21..27)),
    optional: [Some((1, 28..35)), None],
    names: ((0, 5..36), None),
    composite: Some((&[(1, 0..10), (1, 13..20), (1, 21..35)], (1, 35..36))),
};

const TD3: Places = Places {
    optional: [Some((1, 28..42)), None],
    names: ((0, 5..44), None),
    composite: Some((&[(1, 0..10), (1, 13..20), (1, 21..43)], (1, 43..44))),
    ..TD2
};

const MRV_A: Places = Places {
    optional: [Some((1, 28..44)), None],
    names: ((0, 5..44), None),
    composite: None,
    ..TD2
};

const MRV_B: Places = Places { optional: [Some((1, 28..36)), None], composite: None, ..TD2 };

const OLD_FRENCH: Places = Places {
    number: (1, 0..12),
    nationality: None,
    birth: (1, 27..33),
    sex: (1, 34..35),
    expiry: None,
    optional: [Some((0, 30..36)), None],
    names: ((0, 5..30), Some((1, 13..27))),
    composite: Some((&[(0, 0..36), (1, 0..35)], (1, 35..36))),
};

/// The check digit over these characters: 7, 3, 1 again and again, mod 10; a letter counts 10 and
/// more, a filler 0 (ICAO 9303-3 §4.9). `None` for anything else.
#[must_use]
pub fn check_digit<'a>(parts: impl IntoIterator<Item = &'a str>) -> Option<u8> {
    let mut weights = [7, 3, 1].into_iter().cycle();
    let mut sum = 0;
    for byte in parts.into_iter().flat_map(str::bytes) {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'<' => 0,
            _ => return None,
        };
        sum += u32::from(value) * weights.next()?;
    }
    u8::try_from(sum % 10).ok()
}

/// The characters of a field. Lines have the lengths of their format.
pub(super) fn at<'a>(lines: &'a [String], place: &Place) -> &'a str {
    lines.get(place.0).and_then(|line| line.get(place.1.clone())).unwrap_or_default()
}

/// The number, the rule of a long one, and every check digit.
pub(super) struct Judged {
    pub(super) number: String,
    pub(super) long_rule: Option<LongRule>,
    /// How much of the first optional field the number took.
    pub(super) taken: usize,
    pub(super) checks: Vec<Check>,
}

/// Judges lines of the right lengths.
pub(super) fn judge(format: Format, lines: &[String]) -> Judged {
    let places = format.places();
    let mut checks = Vec::with_capacity(5);
    let mut check = |of, parts: &[&str], (line, columns): &Place| {
        let digit = at(lines, &(*line, columns.clone()));
        let fits = check_digit(parts.iter().copied()).is_some_and(|sum| is_digit(digit, sum));
        checks.push(Check { of, fits, at: (one_based(*line), one_based(columns.start)) });
        fits
    };
    let after = |place: &Place| (place.0, place.1.end..place.1.end + 1);
    let short = at(lines, &places.number);
    let (mut number, mut long_rule, mut taken) = (bare(short), None, 0);
    let long = places.optional[0].as_ref().filter(|_| {
        matches!(format, Format::Td1 | Format::Td2) && at(lines, &after(&places.number)) == "<"
    });
    let rest = long.map(|place| (place, at(lines, place).split('<').next().unwrap_or_default()));
    match rest.filter(|(_, rest)| rest.len() >= 2) {
        Some(((line, columns), rest)) => {
            let (rest, digit) = rest.split_at(rest.len() - 1);
            let fits = |parts: &[&str]| {
                check_digit(parts.iter().copied()).is_some_and(|sum| is_digit(digit, sum))
            };
            let may_count = format == Format::Td1 && at(lines, &(0, 2..5)) == "BEL";
            long_rule = match (fits(&[short, rest]), may_count && fits(&[short, "<", rest])) {
                (true, true) => Some(LongRule::Both),
                (true, false) => Some(LongRule::Icao),
                (false, true) => Some(LongRule::WithFiller),
                (false, false) => None,
            };
            taken = rest.len() + 1;
            number.push_str(rest);
            let at = (one_based(*line), one_based(columns.start + rest.len()));
            checks.push(Check { of: Checked::Number, fits: long_rule.is_some(), at });
        }
        None => {
            check(Checked::Number, &[short], &after(&places.number));
        }
    }
    let mut check = |of, parts: &[&str], (line, columns): &Place| {
        let digit = at(lines, &(*line, columns.clone()));
        let fits = check_digit(parts.iter().copied()).is_some_and(|sum| is_digit(digit, sum));
        checks.push(Check { of, fits, at: (one_based(*line), one_based(columns.start)) });
    };
    check(Checked::Birth, &[at(lines, &places.birth)], &after(&places.birth));
    if let Some(expiry) = &places.expiry {
        check(Checked::Expiry, &[at(lines, expiry)], &after(expiry));
    }
    match format {
        // Where there is nothing, the digit may be left out (ICAO 9303-4 §4.2.2.2).
        Format::Td3 => {
            let (data, digit) = (at(lines, &(1, 28..42)), at(lines, &(1, 42..43)));
            if digit != "<" || !data.bytes().all(|byte| byte == b'<') {
                check(Checked::Optional, &[data], &(1, 42..43));
            }
        }
        // Until 2021 a Dutch card had a check digit of its own over the number of the person.
        Format::Td1 if at(lines, &(0, 2..5)) == "NLD" && at(lines, &(0, 29..30)) != "<" => {
            check(Checked::Optional, &[at(lines, &(0, 15..29))], &(0, 29..30));
        }
        _ => {}
    }
    if let Some((covered, place)) = &places.composite {
        let parts: Vec<&str> = covered.iter().map(|place| at(lines, place)).collect();
        check(Checked::Composite, &parts, place);
    }
    Judged { number, long_rule, taken, checks }
}

fn is_digit(text: &str, digit: u8) -> bool {
    text.as_bytes() == [b'0' + digit]
}

fn one_based(number: usize) -> u8 {
    u8::try_from(number + 1).unwrap_or(u8::MAX)
}

/// Without the fillers at its end and within.
pub(super) fn bare(text: &str) -> String {
    text.chars().filter(|character| *character != '<').collect()
}
