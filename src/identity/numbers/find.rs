//! Finds national numbers in running text, and masks them: such a number may not be used for
//! answering a request (law of 8-8-1983 Art. 8), so nobody needs to see it.
//!
//! Eleven digits in groups of 2, 2, 2, 3 and 2, with or without something between them, are one if
//! their check digits fit. About two in a hundred of other numbers of that shape fit as well; a dot
//! too many is better than a number too many. With other check digits it is one if a word near by
//! says so: a slip of the pen. Pure; linear in the text.

use std::ops::Range;

use super::{NationalNumber, is_separator};

/// What stands for a digit that is masked.
pub const MASK: char = '•';

/// Digits of each group, as they are printed.
const GROUPS: [usize; 5] = [2, 2, 2, 3, 2];
/// Separators between two groups, at most: `85.07.30 - 033.28`, a line's end among them.
const MOST_SEPARATORS: usize = 4;
/// How far from a number the word that announces it may stand, in bytes.
const NEAR: usize = 48;
/// Words that announce a national number, in lower case, wherever they stand in a word.
const ANNOUNCE: [&str; 13] = [
    "rijksregister",
    "registre national",
    "registre-national",
    "nationalregister",
    "national register",
    "national number",
    "numéro national",
    "numero national",
    "nationaal nummer",
    "identificatienummer",
    "nationalnummer",
    "insz",
    "niss",
];
/// The same, only as a word of its own: `bis` is also half of many others.
const ANNOUNCE_ALONE: [&str; 3] = ["nrn", "rrn", "bis"];

/// The national numbers in the text, in order and apart, as ranges of bytes.
#[must_use]
pub fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut before, mut from) = (None, 0);
    for (at, character) in text.char_indices() {
        // A telephone number begins with a plus.
        let is_start = !before.replace(character).is_some_and(|c| c.is_alphanumeric() || c == '+');
        if at < from || !is_start || !character.is_ascii_digit() {
            continue;
        }
        let Some(length) = groups_at(&text[at..]) else { continue };
        let end = at + length;
        let digits: String = text[at..end].chars().filter(char::is_ascii_digit).collect();
        if NationalNumber::parse(&digits).is_ok() || is_announced(text, &(at..end)) {
            found.push(at..end);
            from = end;
        }
    }
    found
}

/// The text with the digits of every national number masked; none if it holds no such number.
#[must_use]
pub fn mask(text: &str) -> Option<String> {
    let found = find(text);
    if found.is_empty() {
        return None;
    }
    let mut masked = String::with_capacity(text.len() + found.len() * GROUPS.len() * 6);
    let mut from = 0;
    for range in found {
        masked.push_str(&text[from..range.start]);
        let digits = text[range.clone()].chars();
        masked.extend(digits.map(|c| if c.is_ascii_digit() { MASK } else { c }));
        from = range.end;
    }
    masked.push_str(&text[from..]);
    Some(masked)
}

/// The text as staff see it: with the digits of every national number masked.
#[must_use]
pub fn masked(text: &str) -> String {
    mask(text).unwrap_or_else(|| text.to_owned())
}

/// The length of digits in the groups, with or without something between them; what stands behind
/// is no letter and no digit.
fn groups_at(text: &str) -> Option<usize> {
    let mut at = 0;
    for (nr, digits) in GROUPS.iter().enumerate() {
        if nr > 0 {
            let rest = text.get(at..)?;
            let is_between = |c: &char| is_separator(*c) || c.is_whitespace();
            let between = rest.chars().take_while(is_between).take(MOST_SEPARATORS);
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

/// Whether a word near `range` says that this is a national number.
fn is_announced(text: &str, range: &Range<usize>) -> bool {
    let mut start = range.start.saturating_sub(NEAR);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let mut end = text.len().min(range.end + NEAR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    [&text[start..range.start], &text[range.end..end]].into_iter().any(|near| {
        let near = near.to_lowercase();
        let mut words = near.split(|c: char| !c.is_alphanumeric());
        ANNOUNCE.iter().any(|word| near.contains(word))
            || words.any(|word| ANNOUNCE_ALONE.contains(&word))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        find(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn numbers_are_found_however_people_write_them() {
        for (text, number) in [
            ("Mijn rijksregisternummer: 85.07.30-033.28.", "85.07.30-033.28"),
            ("NISS 85073003328", "85073003328"),
            ("85073003328", "85073003328"),
            ("(85 07 30 033 28)", "85 07 30 033 28"),
            ("85.07.30 – 033.28", "85.07.30 – 033.28"),
            ("85.07.30-\r\n033.28", "85.07.30-\r\n033.28"),
            ("85\u{a0}07\u{a0}30\u{a0}033\u{a0}28", "85\u{a0}07\u{a0}30\u{a0}033\u{a0}28"),
            ("BIS-nummer 75.46.08-980.95", "75.46.08-980.95"),
            ("copie-85.07.30-033.28.pdf", "85.07.30-033.28"),
        ] {
            assert_eq!(texts(text), [number], "{text}");
        }
    }

    #[test]
    fn a_number_with_a_slip_of_the_pen_is_found_beside_a_word_that_announces_it() {
        for text in [
            "Nationalregisternr. 85.07.30-033.29",
            "numéro de registre national 85.07.30-033.29",
            "INSZ: 85073003329",
            "mijn BIS is 85 07 30 033 29",
            "85.07.30-033.29 is mijn rijksregisternummer",
        ] {
            assert_eq!(texts(text).len(), 1, "{text}");
        }
        let far = "x".repeat(NEAR);
        for text in
            ["85.07.30-033.29", "bisschop 85.07.30-033.29", &format!("INSZ {far} 85.07.30-033.29")]
        {
            assert!(texts(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn other_digits_are_left_alone() {
        for text in [
            "tel. 0470 12 34 56, 02 274 48 00",
            "tel. +85073003328",
            "185073003328",
            "850730033281",
            "a85073003328",
            "op BE71 0961 2345 6769",
            "kaart 591-1917064-58",
            "2026-11-25 12:30:45",
            "",
        ] {
            assert!(texts(text).is_empty(), "{text}");
            assert_eq!(mask(text), None);
        }
    }

    #[test]
    fn only_the_digits_of_the_number_are_masked() {
        let text = "Zoë, 85.07.30-033.28 en 85073003328; tel. 0470 12 34 56";
        assert_eq!(
            mask(text).as_deref(),
            Some("Zoë, ••.••.••-•••.•• en •••••••••••; tel. 0470 12 34 56")
        );
        assert_eq!(masked("niets"), "niets");
    }

    proptest! {
        #[test]
        fn whatever_stands_there_only_digits_are_masked_and_nothing_is_left_to_mask(
            text in "[0-9 .\\-–\u{a0}•xé\n]{0,80}",
            number in prop::sample::select(vec!["85.07.30-033.28", "85073003328"]),
        ) {
            let text = format!("{text} {number} {text}");
            let shown = masked(&text);
            prop_assert!(find(&shown).is_empty(), "{shown}");
            prop_assert!(!shown.contains(number));
            for (before, after) in text.chars().zip(shown.chars()) {
                prop_assert!(before == after || before.is_ascii_digit() && after == MASK);
            }
            prop_assert_eq!(text.chars().count(), shown.chars().count());
        }
    }
}
