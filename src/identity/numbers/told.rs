//! Whether words tell what a copy of an identity document does: its number, its holder's national
//! number, a line of its zone.
//!
//! The copy is forgotten after the decision, with all that was read of it; words that a person writes
//! about it stay. Rather a number too many is refused than one that outlives the copy. Pure; linear in
//! the text but for a constant.

use std::fmt;

use super::{card, find, is_separator};

/// What words tell that they must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Told {
    /// A national number.
    NationalNumber,
    /// The number of a Belgian card.
    CardNumber,
    /// A line of a machine-readable zone.
    Zone,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NationalNumber => "a national number",
            Self::CardNumber => "the number of an identity card",
            Self::Zone => "a line of the zone that machines read",
        })
    }
}

/// Digits of a card's number.
const CARD: usize = 12;
/// The longest number with what stands between its digits, in characters.
const MOST_CHARACTERS: usize = CARD * 3;
/// Characters of a line of a zone, as far as nobody shortens it (ICAO 9303: TD1, TD2 and TD3).
const LINES: [usize; 3] = [30, 36, 44];
/// Characters of a piece of such a line, with a filler in it, that is taken for one.
const PIECE: usize = 8;

/// What the words tell, if they tell something.
#[must_use]
pub fn told(words: &str) -> Option<Told> {
    if !find::find(words).is_empty() {
        Some(Told::NationalNumber)
    } else if has_card_number(words) {
        Some(Told::CardNumber)
    } else if has_zone(words) {
        Some(Told::Zone)
    } else {
        None
    }
}

/// Whether twelve digits stand there, with or without something between them, that check as a card's
/// do. An account and a structured communication check in the same way, and are none.
fn has_card_number(words: &str) -> bool {
    let mut before = None;
    words.char_indices().any(|(at, character)| {
        let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '+' | '*');
        let is_start = !before.replace(character).is_some_and(is_inside);
        is_start
            && character.is_ascii_digit()
            && !is_of_account(&words[..at])
            && number_at(&words[at..]).is_some_and(|number| card(number).is_ok())
    })
}

/// Whether the country and the check digits of a Belgian account stand before.
fn is_of_account(before: &str) -> bool {
    let mut last = before.chars().rev().filter(|c| !is_separator(*c));
    let [four, three, two, one] = [(); 4].map(|()| last.next().unwrap_or(' '));
    let is_digit = |c: char| c.is_ascii_digit();
    is_digit(four)
        && is_digit(three)
        && two.eq_ignore_ascii_case(&'e')
        && one.eq_ignore_ascii_case(&'b')
}

/// Twelve digits at the beginning of the text, no more and no fewer.
fn number_at(text: &str) -> Option<&str> {
    let mut digits = 0;
    for (at, character) in text.char_indices().take(MOST_CHARACTERS) {
        if character.is_ascii_digit() {
            digits += 1;
        } else if !is_separator(character) {
            return None;
        }
        if digits == CARD {
            let rest = &text[at + character.len_utf8()..];
            let ends = rest.chars().next().is_none_or(|c| !c.is_alphanumeric());
            return ends.then_some(&text[..at + character.len_utf8()]);
        }
    }
    None
}

/// Whether a line of a zone stands there, or a piece of one: as it is printed, or in small letters, or
/// with the fillers that a text program made of it.
fn has_zone(words: &str) -> bool {
    words.split_whitespace().any(|word| {
        let word = word.replace("&lt;", "<");
        let of_zone = |c: char| c.is_ascii_alphanumeric() || is_filler(c);
        word.split(|c| !of_zone(c)).any(|run| {
            let length = run.chars().count();
            let has = |is: fn(char) -> bool| run.chars().any(is);
            // An address in angle brackets has one at its beginning alone, if it is split there at all.
            let inner = run.trim_start_matches(is_filler);
            let is_piece = length >= PIECE && inner.chars().any(is_filler);
            let is_line = LINES.contains(&length)
                && has(|c| c.is_ascii_digit())
                && has(|c| c.is_ascii_alphabetic());
            is_piece || is_line
        })
    })
}

const fn is_filler(character: char) -> bool {
    matches!(character, '<' | '«' | '‹')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_on_a_card_is_seen_however_it_is_written() {
        for (words, expected) in [
            ("name agrees, 85.07.30-033.28", Told::NationalNumber),
            ("85073003328 on the back", Told::NationalNumber),
            ("card 591-1917064-58 agrees", Told::CardNumber),
            ("card 591191706458", Told::CardNumber),
            ("(591 1917064 58)", Told::CardNumber),
            ("5 9 1 1 9 1 7 0 6 4 5 8", Told::CardNumber),
            ("IDBEL591191706<4586<<<<<<<<<<<", Told::Zone),
            ("it says IDBEL591191706&lt;4586", Told::Zone),
            ("8507300F2801014BEL<<<<<<<<<<<8", Told::Zone),
            ("idbel591191706<4586", Told::Zone),
            ("PEETERS<<LOTTE<<<<<<", Told::Zone),
            ("PEETERS««LOTTE", Told::Zone),
            ("8507300F2801014BEL850730033289", Told::Zone),
        ] {
            assert_eq!(told(words), Some(expected), "{words}");
        }
    }

    #[test]
    fn what_people_say_of_a_check_is_left_alone() {
        for words in [
            "",
            "name and photo agree, masked, seen by two of us",
            "the code came back by text message, 0470 12 34 56",
            "signed PDF, key 0123456789ABCDEF0123456789ABCDEF01234567",
            "from Lotte Peeters <lotte.peeters@example.org>",
            "card 591-1917064-59",
            "5911917064580",
            "paid on BE68 5390 0754 7034, +++010/8068/17183+++",
            "NO HIT, 30-11-2026 14:05",
            "age < 30, a<b",
        ] {
            assert_eq!(told(words), None, "{words}");
        }
    }
}
