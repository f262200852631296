//! The numbers that Belgian papers carry, and the digits by which they check themselves.
//!
//! | number | digits | check |
//! |---|---|---|
//! | national number, BIS number | 11 | 97 − (the first nine mod 97), see [`national`] |
//! | electronic identity card | 12 | the first ten mod 97, 0 is 97 |
//! | enterprise (KBO/BCE) | 10, the first 0 or 1 | 97 − (the first eight mod 97) |
//! | account (IBAN, ISO 13616) | `BE` and 14 | mod 97, and the old account's own: as the card |
//! | structured communication (OGM/VCS) | 12 | as the card |
//!
//! A number that checks is no proof that it was given out. Pure.

pub mod find;
pub mod national;
pub mod told;

use thiserror::Error;

pub use national::{Birth, NationalKind, NationalNumber, Sex};

/// Why something is no such number.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NumberError {
    /// Something else than digits and the usual separators.
    #[error("it holds characters that no such number has")]
    Characters,
    /// Too few or too many digits.
    #[error("it has not the right number of digits")]
    Length,
    /// It begins as none does.
    #[error("it begins as no such number does")]
    Prefix,
    /// A month that does not exist.
    #[error("it has a month that does not exist")]
    Month,
    /// A counter that is given to nobody: 000 or 999.
    #[error("its counter is given to nobody")]
    Counter,
    /// The check digits are others.
    #[error("its check digits do not fit")]
    Check,
}

/// The digits of the number, without what people put between them.
fn digits<const N: usize>(text: &str) -> Result<[u8; N], NumberError> {
    let mut found = [0; N];
    let mut count = 0;
    for character in text.trim().chars().filter(|c| !is_separator(*c)) {
        let digit = character.to_digit(10).ok_or(NumberError::Characters)?;
        *found.get_mut(count).ok_or(NumberError::Length)? = u8::try_from(digit).unwrap_or(0);
        count += 1;
    }
    if count == N { Ok(found) } else { Err(NumberError::Length) }
}

/// What people put between the digits of a number.
const fn is_separator(character: char) -> bool {
    matches!(character, ' ' | '.' | '-' | '/' | '\u{a0}' | '\u{202f}' | '\u{2010}'..='\u{2014}')
}

fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(*digit))
}

/// Whether the last two digits are what remains of the others, mod 97, with 97 for 0.
fn remainder_fits<const N: usize>(digits: &[u8; N]) -> Result<(), NumberError> {
    let (number, check) = digits.split_at(N - 2);
    let rest = match value(number) % 97 {
        0 => 97,
        rest => rest,
    };
    if value(check) == rest { Ok(()) } else { Err(NumberError::Check) }
}

/// The number of an electronic identity card, `592-3456789-81`. Specimens break the rule: a failure
/// is a warning, not a refusal.
///
/// # Errors
/// Says in what it is none.
pub fn card(text: &str) -> Result<(), NumberError> {
    remainder_fits(&digits::<12>(text)?)
}

/// A structured communication, `+++010/8068/17183+++`.
///
/// # Errors
/// Says in what it is none.
pub fn communication(text: &str) -> Result<(), NumberError> {
    let text = text.trim();
    let bare = ["+++", "***"]
        .iter()
        .find_map(|mark| text.strip_prefix(mark)?.strip_suffix(mark))
        .unwrap_or(text);
    remainder_fits(&digits::<12>(bare)?)
}

/// An enterprise number, `0449.516.509`, also with `BE` before it or in the old form of nine digits.
///
/// # Errors
/// Says in what it is none.
pub fn enterprise(text: &str) -> Result<(), NumberError> {
    let text = text.trim();
    let bare = match text.get(..2) {
        Some(country) if country.eq_ignore_ascii_case("be") => &text[2..],
        _ => text,
    };
    let digits = match digits::<9>(bare) {
        Ok(old) => {
            let mut all = [0; 10];
            all[1..].copy_from_slice(&old);
            all
        }
        Err(_) => digits::<10>(bare)?,
    };
    if digits[0] > 1 || digits[..8] == [0; 8] {
        return Err(NumberError::Prefix);
    }
    let check = 97 - value(&digits[..8]) % 97;
    if value(&digits[8..]) == check { Ok(()) } else { Err(NumberError::Check) }
}

/// Characters of an IBAN: ISO 13616 allows up to 34, no country has fewer than 15.
const IBAN_LENGTHS: std::ops::RangeInclusive<usize> = 15..=34;
/// Characters of a Belgian one.
const BELGIAN_IBAN: usize = 16;

/// An account number, `BE68 5390 0754 7034`; of a Belgian one the inner check too.
///
/// # Errors
/// Says in what it is none.
pub fn iban(text: &str) -> Result<(), NumberError> {
    let characters: Vec<char> = text
        .trim()
        .chars()
        .filter(|c| !is_separator(*c))
        .map(|c| c.to_ascii_uppercase())
        .take(IBAN_LENGTHS.end() + 1)
        .collect();
    if !characters.iter().all(char::is_ascii_alphanumeric) {
        return Err(NumberError::Characters);
    }
    if !IBAN_LENGTHS.contains(&characters.len()) {
        return Err(NumberError::Length);
    }
    let (front, account) = characters.split_at(4);
    let is_front = front[..2].iter().all(char::is_ascii_uppercase);
    if !is_front || !front[2..].iter().all(char::is_ascii_digit) {
        return Err(NumberError::Prefix);
    }
    let rest = account.iter().chain(front).fold(0, |rest, character| {
        match character.to_digit(36).unwrap_or(0) {
            digit @ 0..10 => (rest * 10 + digit) % 97,
            letter => (rest * 100 + letter) % 97,
        }
    });
    if rest != 1 {
        return Err(NumberError::Check);
    }
    if front[..2] == ['B', 'E'] {
        if characters.len() != BELGIAN_IBAN {
            return Err(NumberError::Length);
        }
        remainder_fits(&digits::<12>(&account.iter().collect::<String>())?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../tests/vectors/identity.json")).expect("JSON")
    }

    fn each(kind: &str, check: impl Fn(&str) -> bool) {
        let vectors = vectors();
        let rows = vectors[kind].as_array().expect("vectors");
        assert!(!rows.is_empty());
        for row in rows {
            let input = row["input"].as_str().expect("input");
            assert_eq!(Some(check(input)), row["valid"].as_bool(), "{kind} {input}");
        }
    }

    #[test]
    fn cards_enterprises_and_accounts_are_judged_as_the_vectors_say() {
        each("card_number_be", |text| card(text).is_ok());
        each("kbo", |text| enterprise(text).is_ok());
        each("iban", |text| iban(text).is_ok());
        each("nrn", |text| NationalNumber::parse(text).is_ok());
    }

    #[test]
    fn more_numbers_that_others_got_wrong() {
        for good in ["1000.003.682", "BE1001686633", "be 0449.516.509", "BE403019261"] {
            assert_eq!(enterprise(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("2000021323", NumberError::Prefix),
            ("0000000097", NumberError::Prefix),
            ("0431150351", NumberError::Check),
            ("04491650", NumberError::Length),
            ("044951650x", NumberError::Characters),
        ] {
            assert_eq!(enterprise(bad), Err(why), "{bad}");
        }
        // The IBAN's own check holds, the old account's does not.
        assert_eq!(iban("BE41091811735141"), Err(NumberError::Check));
        assert_eq!(iban("NL91 ABNA 0417 1643 00"), Ok(()));
        assert_eq!(iban("BE685390075470344"), Err(NumberError::Check));
        assert_eq!(communication("+++010/8068/17183+++"), Ok(()));
        assert_eq!(communication("***010/8068/17183***"), Ok(()));
        assert_eq!(communication("010/8068/17180"), Err(NumberError::Check));
        assert_eq!(communication("+++010/8068/17183***"), Err(NumberError::Characters));
        assert_eq!(card("591-1917064-58"), Ok(()));
    }

    #[test]
    fn each_wrong_digit_of_a_card_and_of_an_account_is_seen() {
        let check = |good: &str, is: fn(&str) -> bool| {
            assert!(is(good));
            for at in good.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at) {
                for other in '0'..='9' {
                    let mut bad = good.to_owned();
                    bad.replace_range(at..=at, &other.to_string());
                    assert_eq!(is(&bad), bad == good, "{bad}");
                }
            }
        };
        check("591-1917064-58", |text| card(text).is_ok());
        check("BE68539007547034", |text| iban(text).is_ok());
        check("0694679950", |text| enterprise(text).is_ok());
    }
}
