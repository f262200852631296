//! The formats of a zone as they are read: how many lines of which length, what each place may hold, where
//! names and codes stand, and what check digits cover (ICAO 9303-4 to -7; French cards until 2021).

use crate::identity::mrz::check_digit;
use crate::identity::picture::lattice::{ANY, Allowed, DIGITS, FILLER, LETTERS};
use crate::identity::picture::recognise::SIGNS;

/// A format by its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Td1,
    Td2,
    Td3,
    OldFrench,
}

impl Shape {
    pub(super) const fn lines(self) -> (usize, usize) {
        match self {
            Self::Td1 => (3, 30),
            Self::Td2 | Self::OldFrench => (2, 36),
            Self::Td3 => (2, 44),
        }
    }

    /// What each place of a line may hold; more is known once the issuer is.
    pub(super) fn places(self, line: usize, begun: Option<&str>) -> Vec<Allowed> {
        let (_, length) = self.lines();
        let name = LETTERS | FILLER;
        let date = DIGITS | FILLER;
        let sexes = of("MF<");
        let mut places = vec![ANY; length];
        let mut set = |range: std::ops::Range<usize>, allowed: Allowed| places[range].fill(allowed);
        match (self, line) {
            (Self::Td1, 0) => {
                set(0..1, of("ACI"));
                set(1..5, name);
                // A number begins at once: a filler there is a K.
                set(5..6, DIGITS | LETTERS);
                set(14..15, date);
            }
            (Self::Td1, 1) => {
                set(0..6, date);
                set(6..7, DIGITS);
                set(7..8, sexes);
                set(8..14, date);
                set(14..15, DIGITS);
                set(15..18, name);
                set(29..30, DIGITS);
            }
            (Self::Td1, _) => set(0..30, name),
            (Self::Td2, 0) => {
                // A passport that has lost a few fillers fits as well.
                set(0..1, of("ACI"));
                set(1..36, name);
            }
            (Self::Td3, 0) => {
                set(0..1, of("P"));
                set(1..44, name);
            }
            (Self::Td2 | Self::Td3, _) => {
                set(0..1, DIGITS | LETTERS);
                set(9..10, DIGITS);
                set(10..13, name);
                set(13..19, date);
                set(19..20, DIGITS);
                set(20..21, sexes);
                set(21..27, date);
                set(27..28, DIGITS);
                set(length - 1..length, DIGITS);
                if self == Self::Td3 {
                    set(42..43, date);
                }
            }
            (Self::OldFrench, 0) => {
                for (at, letter) in ["I", "D", "F", "R", "A"].iter().enumerate() {
                    set(at..at + 1, of(letter));
                }
                set(5..30, name);
            }
            (Self::OldFrench, _) => {
                set(0..4, DIGITS);
                set(7..13, DIGITS);
                set(13..27, name);
                set(27..34, DIGITS);
                set(34..35, of("MF"));
                set(35..36, DIGITS);
            }
        }
        if let Some(first) = begun {
            self.narrow(line, first, &mut places);
        }
        places
    }

    /// What the issuer's own documents hold.
    fn narrow(self, line: usize, first: &str, places: &mut [Allowed]) {
        let issuer = &first[2..5];
        let german = of("0123456789CFGHJKLMNPRTVWXYZ<");
        match (self, line, issuer) {
            (Self::Td1, 0, "BEL") => {
                let is_residence = first.as_bytes()[5] == b'B';
                let digits = if is_residence { 6..14 } else { 5..14 };
                places[digits].fill(DIGITS);
                places[15..19].fill(DIGITS | FILLER);
                places[19..30].fill(FILLER);
                if !is_residence {
                    places[14] = FILLER;
                    places[15..19].fill(DIGITS);
                }
            }
            (Self::Td1, 1, "BEL") => places[18..29].fill(DIGITS),
            (Self::Td1, 0, "D<<") => {
                places[5..14].iter_mut().for_each(|place| *place &= german);
            }
            (Self::Td2 | Self::Td3, 1, "D<<") => {
                places[0..9].iter_mut().for_each(|place| *place &= german);
            }
            _ => {}
        }
    }

    /// Whether the digits of birth, expiry and all together fit.
    pub(super) fn has_digits(self, lines: &[String]) -> bool {
        let fits = |parts: &[&str], digit: &str| {
            check_digit(parts.iter().copied()).is_some_and(|sum| Ok(sum) == digit.parse())
        };
        let [one, two] = [&lines[0], &lines[1]];
        let end = two.len() - 1;
        match self {
            Self::Td1 => {
                fits(&[&two[..6]], &two[6..7])
                    && fits(&[&two[8..14]], &two[14..15])
                    && fits(&[&one[5..], &two[..7], &two[8..15], &two[18..29]], &two[29..])
            }
            Self::Td2 | Self::Td3 => {
                fits(&[&two[13..19]], &two[19..20])
                    && fits(&[&two[21..27]], &two[27..28])
                    && fits(&[&two[..10], &two[13..20], &two[21..end]], &two[end..])
            }
            Self::OldFrench => {
                fits(&[&two[27..33]], &two[33..34]) && fits(&[one, &two[..end]], &two[end..])
            }
        }
    }

    /// Where in a line a name begins.
    pub(super) const fn begins(self, line: usize) -> Option<usize> {
        match (self, line) {
            (Self::Td1, 2) => Some(0),
            (Self::Td2 | Self::Td3 | Self::OldFrench, 0) => Some(5),
            (Self::OldFrench, 1) => Some(13),
            _ => None,
        }
    }

    /// Where in a line a surname, two fillers and given names stand, which no check digit covers.
    pub(super) const fn names(self, line: usize) -> Option<std::ops::Range<usize>> {
        match (self, line) {
            (Self::Td1, 2) => Some(0..30),
            (Self::Td2, 0) => Some(5..36),
            (Self::Td3, 0) => Some(5..44),
            _ => None,
        }
    }

    /// In which line the number of the document stands, and where, with its check digit: a long one goes on
    /// behind a filler in the place of that.
    pub(super) fn number(self, lines: &[String]) -> (usize, std::ops::Range<usize>) {
        match self {
            Self::Td1 if lines[0].as_bytes()[14] == b'<' => (0, 5..30),
            Self::Td1 => (0, 5..15),
            Self::Td2 | Self::Td3 => (1, 0..10),
            Self::OldFrench => (1, 0..13),
        }
    }

    /// Where in a line the code of a state stands: of the issuer, or a nationality.
    pub(super) const fn code(self, line: usize) -> Option<std::ops::Range<usize>> {
        match (self, line) {
            (Self::Td1 | Self::Td2 | Self::Td3, 0) => Some(2..5),
            (Self::Td1, 1) => Some(15..18),
            (Self::Td2 | Self::Td3, 1) => Some(10..13),
            _ => None,
        }
    }

    /// Whether a check digit covers this place.
    pub(super) fn is_covered(self, line: usize, column: usize) -> bool {
        match (self, line) {
            (Self::Td1, 0) => column >= 5,
            (Self::Td1, 1) => column != 7 && !(15..18).contains(&column),
            (Self::Td1 | Self::Td2 | Self::Td3, 0 | 2) => false,
            (Self::Td1 | Self::Td2 | Self::Td3, _) => !(10..13).contains(&column) && column != 20,
            // The composite covers the whole of both lines.
            (Self::OldFrench, _) => true,
        }
    }
}

/// The signs of a text, as what a place may hold.
fn of(text: &str) -> Allowed {
    let bit = |sign: u8| SIGNS.iter().position(|one| *one == sign).map_or(0, |at| 1 << at);
    text.bytes().map(bit).fold(0, |all, bit| all | bit)
}
