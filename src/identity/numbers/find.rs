//! Finds numbers in running text, so that they can be masked: the national number may not be kept for
//! answering a request (law of 8-8-1983 Art. 8). Pure; linear in the text.

use std::ops::Range;

use super::{NationalNumber, card, iban, is_separator};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A national or BIS number whose check digits fit.
    National,
    /// Eleven digits of its shape beside a word that announces one, with other check digits: one with
    /// a slip of the pen.
    NationalUnproven,
    /// The number of an electronic identity card.
    Card,
    /// An account.
    Iban,
}

/// Digits of each group, as they are printed.
const NATIONAL: [usize; 5] = [2, 2, 2, 3, 2];
const CARD: [usize; 3] = [3, 7, 2];
/// Characters of an IBAN that are looked at.
const LONGEST_IBAN: usize = 34;
/// How far before a number the word that announces it may stand, in bytes.
const NEAR: usize = 40;
/// Words that announce a national number, in lower case.
const ANNOUNCE: [&str; 12] = [
    "rijksregister",
    "registre national",
    "nationalregister",
    "national register",
    "national number",
    "numéro national",
    "nationaal nummer",
    "nrn",
    "rrn",
    "insz",
    "niss",
    "bis",
];
/// Separators between two groups, at most: `85.07.30 - 033.28`.
const MOST_SEPARATORS: usize = 3;

/// The numbers in the text, in order and apart: bytes, and what each is.
#[must_use]
pub fn find(text: &str) -> Vec<(Range<usize>, Found)> {
    let mut found = Vec::new();
    let mut before = None;
    let mut from = 0;
    for (at, character) in text.char_indices() {
        let is_start = !before.replace(character).is_some_and(char::is_alphanumeric);
        if at < from || !is_start || !character.is_ascii_alphanumeric() {
            continue;
        }
        if let Some((end, what)) = number_at(text, at) {
            found.push((at..end, what));
            from = end;
        }
    }
    found
}

/// The number that begins here, if one does: its end, and what it is.
fn number_at(text: &str, at: usize) -> Option<(usize, Found)> {
    let rest = &text[at..];
    if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return account_at(rest).map(|length| (at + length, Found::Iban));
    }
    if let Some(length) = groups_at(rest, &NATIONAL) {
        let end = at + length;
        if NationalNumber::parse(&text[at..end]).is_ok() {
            return Some((end, Found::National));
        }
        if is_announced(&text[..at]) {
            return Some((end, Found::NationalUnproven));
        }
    }
    let length = groups_at(rest, &CARD).filter(|length| card(&rest[..*length]).is_ok())?;
    Some((at + length, Found::Card))
}

/// The length of digits in these groups, with or without something between them; what stands behind
/// is no digit.
fn groups_at(text: &str, groups: &[usize]) -> Option<usize> {
    let mut at = 0;
    for (nr, digits) in groups.iter().enumerate() {
        if nr > 0 {
            let rest = text.get(at..)?;
            let between = rest.chars().take_while(|c| is_separator(*c)).take(MOST_SEPARATORS);
            at += between.map(char::len_utf8).sum::<usize>();
        }
        let group = text.get(at..at + digits)?;
        if !group.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        at += digits;
    }
    let ends = text[at..].chars().next().is_none_or(|c| !c.is_alphanumeric());
    ends.then_some(at)
}

fn is_announced(before: &str) -> bool {
    let start = before.len().saturating_sub(NEAR);
    let start = (start..=before.len()).find(|at| before.is_char_boundary(*at)).unwrap_or(0);
    let near = before[start..].to_lowercase();
    ANNOUNCE.iter().any(|word| near.contains(word))
}

/// The length of the longest account number that begins here.
fn account_at(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let front = bytes.get(..4)?;
    let is_front = front[..2].iter().all(u8::is_ascii_alphabetic);
    // `BE68` is written in one; a word of two letters and a number are not.
    if !is_front || !front[2..].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (mut length, mut characters, mut longest) = (0, 0, None);
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            characters += 1;
        } else if !is_separator(character) {
            break;
        }
        length += character.len_utf8();
        if characters > LONGEST_IBAN {
            break;
        }
        let ends = text[length..].chars().next().is_none_or(|c| !c.is_alphanumeric());
        if character.is_ascii_alphanumeric() && ends && iban(&text[..length]).is_ok() {
            longest = Some(length);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(&str, Found)> {
        find(text).into_iter().map(|(range, what)| (&text[range], what)).collect()
    }

    #[test]
    fn numbers_are_found_however_people_write_them() {
        for (text, number, what) in [
            ("Mijn rijksregisternummer: 85.07.30-033.28.", "85.07.30-033.28", Found::National),
            ("NISS 85073003328", "85073003328", Found::National),
            ("(85 07 30 033 28)", "85 07 30 033 28", Found::National),
            ("85.07.30 – 033.28", "85.07.30 – 033.28", Found::National),
            (
                "85\u{a0}07\u{a0}30\u{a0}033\u{a0}28",
                "85\u{a0}07\u{a0}30\u{a0}033\u{a0}28",
                Found::National,
            ),
            ("BIS-nummer 75.46.08-980.95", "75.46.08-980.95", Found::National),
            ("Nationalregisternr. 85.07.30-033.29", "85.07.30-033.29", Found::NationalUnproven),
            ("kaart 591-1917064-58 graag", "591-1917064-58", Found::Card),
            ("op BE71 0961 2345 6769. Kunnen", "BE71 0961 2345 6769", Found::Iban),
            ("be71-0961-2345-6769", "be71-0961-2345-6769", Found::Iban),
        ] {
            assert_eq!(texts(text), [(number, what)], "{text}");
        }
    }

    #[test]
    fn other_digits_are_left_alone() {
        for text in [
            "85.07.30-033.29",
            "tel. 0470 12 34 56, 02 274 48 00",
            "185073003328",
            "850730033281",
            "a85073003328",
            "BE 68",
            "BE68 5390 0754 7035",
            "2026-11-25 12:30:45",
            "",
        ] {
            assert_eq!(texts(text), [], "{text}");
        }
    }

    #[test]
    fn several_numbers_are_found_apart_and_in_order() {
        let text = "85.07.30-033.28 en 85.07.30-033.28, BE71 0961 2345 6769 591-1917064-58";
        let found: Vec<_> = texts(text).into_iter().map(|(_, what)| what).collect();
        assert_eq!(found, [Found::National, Found::National, Found::Iban, Found::Card]);
    }

    #[test]
    fn a_long_text_of_digits_takes_no_longer_than_its_length_wants() {
        let time = |length: usize| {
            let text = "85.07.30-033.2 BE71 ".repeat(length / 20);
            let begun = std::time::Instant::now();
            assert!(find(&text).is_empty());
            begun.elapsed()
        };
        let best = |length| (0..5).map(|_| time(length)).min().expect("five");
        let (one, four) = (best(20_000), best(80_000));
        assert!(four < one * 8 + std::time::Duration::from_millis(20), "{one:?} {four:?}");
    }
}
