//! The code that opens an answer for a person without a key: sixteen digits and a check.
//!
//! `1234-5678-9012-3456-7`, said by telephone, sent by post or as a text message, never by mail.
//! Sixteen random digits are 53 bits; with the work factor of the file that they lock, trying a
//! fair share of them costs more than what a letter of this kind is worth to anyone.

use zeroize::{Zeroize, Zeroizing};

use crate::ids::random;
use crate::secret::Secret;

/// Random digits in a code; the check follows them.
const DIGITS: usize = 16;

/// A code. Shown with [`expose`](Code::expose), otherwise never.
pub struct Code {
    digits: Secret<[u8; DIGITS + 1]>,
}

/// What was typed is no code, or has a wrong digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid code")]
pub struct BadCode;

impl Code {
    /// A fresh one, from the kernel; every code is equally likely.
    #[must_use]
    pub fn random() -> Self {
        const ALL: u64 = 10u64.pow(DIGITS as u32);
        let mut value = loop {
            let value = u64::from_le_bytes(random());
            if value < u64::MAX / ALL * ALL {
                break value % ALL;
            }
        };
        let mut digits = [0; DIGITS + 1];
        for digit in digits[..DIGITS].iter_mut().rev() {
            *digit = (value % 10) as u8;
            value /= 10;
        }
        digits[DIGITS] = check(&digits[..DIGITS]);
        let secret = Secret::new(digits);
        digits.zeroize();
        Self { digits: secret }
    }

    /// Reads a code back as people type it: spaces and dashes do not matter.
    ///
    /// # Errors
    /// `BadCode` if it is not seventeen digits, or one is wrong, or two neighbours are swapped.
    pub fn parse(text: &str) -> Result<Self, BadCode> {
        let mut digits = Zeroizing::new([0; DIGITS + 1]);
        let mut count = 0;
        for c in text.chars().filter(|c| !c.is_whitespace() && !DASHES.contains(c)) {
            let digit = c.to_digit(10).ok_or(BadCode)?;
            *digits.get_mut(count).ok_or(BadCode)? = digit as u8;
            count += 1;
        }
        if count != DIGITS + 1 || check(&digits[..DIGITS]) != digits[DIGITS] {
            return Err(BadCode);
        }
        Ok(Self { digits: Secret::new(*digits) })
    }

    /// The code in groups of four: what is shown, said, and typed as the passphrase.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(DIGITS + 1 + DIGITS / 4));
        for (i, digit) in self.digits.expose().iter().enumerate() {
            if i > 0 && i % 4 == 0 {
                text.push('-');
            }
            text.push(char::from(b'0' + digit));
        }
        text
    }
}

/// Hyphens and dashes that keyboards and word processors put between groups.
const DASHES: [char; 5] = ['-', '\u{2010}', '\u{2011}', '\u{2013}', '\u{2014}'];

/// Damm's check digit (H. M. Damm, *Total anti-symmetrische Quasigruppen*, 2004): unlike ISO 7064
/// MOD 11-10 and Luhn it finds every swap of two neighbours, besides every single wrong digit.
fn check(digits: &[u8]) -> u8 {
    const TABLE: [[u8; 10]; 10] = [
        [0, 3, 1, 7, 5, 9, 8, 6, 4, 2],
        [7, 0, 9, 2, 1, 5, 4, 8, 6, 3],
        [4, 2, 0, 6, 8, 7, 1, 3, 5, 9],
        [1, 7, 5, 0, 9, 8, 3, 4, 2, 6],
        [6, 1, 2, 3, 0, 4, 5, 9, 7, 8],
        [3, 6, 7, 4, 2, 0, 9, 5, 8, 1],
        [5, 8, 6, 9, 7, 2, 0, 1, 3, 4],
        [8, 9, 4, 5, 3, 6, 2, 0, 1, 7],
        [9, 4, 3, 8, 6, 1, 7, 2, 0, 5],
        [2, 5, 8, 1, 4, 3, 6, 7, 9, 0],
    ];
    digits.iter().fold(0, |interim, &digit| TABLE[usize::from(interim)][usize::from(digit)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_as_people_type_it() {
        for _ in 0..200 {
            let code = Code::random();
            let shown = code.expose();
            assert_eq!(shown.len(), 21);
            for typed in [
                shown.to_string(),
                shown.replace('-', ""),
                shown.replace('-', " – "),
                format!("  {}\n", shown.replace('-', " ")),
            ] {
                assert_eq!(*Code::parse(&typed).ok().unwrap().expose(), *shown);
            }
        }
    }

    #[test]
    fn one_wrong_digit_or_two_swapped_are_noticed() {
        assert_eq!(check(&[5, 7, 2]), 4);
        for _ in 0..50 {
            let text = Code::random().expose().replace('-', "").into_bytes();
            let parses = |bytes: &[u8]| Code::parse(std::str::from_utf8(bytes).unwrap()).is_ok();
            for at in 0..text.len() {
                for digit in b'0'..=b'9' {
                    let mut changed = text.clone();
                    changed[at] = digit;
                    assert_eq!(parses(&changed), changed == text);
                }
                if at > 0 {
                    let mut swapped = text.clone();
                    swapped.swap(at - 1, at);
                    assert_eq!(parses(&swapped), swapped == text);
                }
            }
        }
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for text in ["", "1234-5678-9012-3456", "1234567890123456789012", "12a4", "１２３４"] {
            assert!(Code::parse(text).is_err(), "{text}");
        }
    }
}
