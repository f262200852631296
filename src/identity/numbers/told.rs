//! Whether words tell what a copy of an identity document does: its number, its holder's national
//! number, a line of its zone.
//!
//! The copy is forgotten after the decision, with all that was read of it; words that a person writes
//! about it stay. Rather a number too many is refused than one that outlives the copy. Pure; linear in
//! the text but for a constant.

use std::fmt;

use icu_normalizer::ComposingNormalizerBorrowed;

use super::{NationalNumber, card, find, is_separator};

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

/// Digits of a national number.
const NATIONAL: usize = 11;
/// Groups of digits that stand one behind the other and are tried.
const MOST_GROUPS: usize = 64;
/// Digits on either side of the sex in the second line of a zone: a date with its check digit.
const DATED: usize = 7;
/// Digits of the second date that are enough.
const DATE: usize = 6;
/// How the first line of a Belgian card begins.
const BELGIAN: &str = "idbel";
/// Digits behind that.
const BEGUN: usize = 6;
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
    // As it would be typed: digits of full width are digits.
    let words = &ComposingNormalizerBorrowed::new_nfkc().normalize(words);
    if !find::find(words).is_empty() || grouped(words, NATIONAL, &is_national) {
        Some(Told::NationalNumber)
    } else if has_card_number(words) || grouped(words, CARD, &|digits| card(digits).is_ok()) {
        Some(Told::CardNumber)
    } else if has_zone(words) {
        Some(Told::Zone)
    } else {
        None
    }
}

fn is_national(digits: &str) -> bool {
    NationalNumber::parse(digits).is_ok()
}

/// Whether so many digits that `fits` stand there in any groups, letters right before them or not:
/// `rrn85073003328`, `8507 3003 328`. A telephone number, an account and a structured communication are
/// none.
fn grouped(words: &str, count: usize, fits: &dyn Fn(&str) -> bool) -> bool {
    let is_of_run = |c: char| c.is_ascii_digit() || is_separator(c);
    let mut rest = words;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let before = &rest[..start];
        let length = rest[start..].find(|c| !is_of_run(c)).unwrap_or(rest.len() - start);
        let (run, after) = rest[start..].split_at(length);
        let is_other =
            before.ends_with(['+', '*']) || is_of_account(&rest[..start + 2.min(length)]);
        let is_part = |c: char| c.is_ascii_alphabetic();
        let ends = run.ends_with(is_separator) || !after.starts_with(is_part);
        let groups: Vec<&str> =
            run.split(is_separator).filter(|group| !group.is_empty()).take(MOST_GROUPS).collect();
        let is_there = (0..groups.len()).any(|from| {
            let mut digits = String::new();
            groups[from..].iter().any(|group| {
                digits.push_str(group);
                digits.len() == count && fits(&digits)
            })
        });
        if is_there && !is_other && ends {
            return true;
        }
        rest = after;
    }
    false
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
            is_piece || is_line || has_dates(run) || begins_as_card(run)
        })
    })
}

/// Whether a birth date, the sex and a date of validity stand there as in the second line of a zone, which
/// somebody cut, or put a blank into.
fn has_dates(run: &str) -> bool {
    let run = run.as_bytes();
    let is_sex = |c: u8| matches!(c.to_ascii_uppercase(), b'M' | b'F' | b'X' | b'<');
    let are_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    run.windows(DATED + 1 + DATE).any(|part| {
        are_digits(&part[..DATED]) && is_sex(part[DATED]) && are_digits(&part[DATED + 1..])
    })
}

/// Whether the first line of a Belgian card begins there.
fn begins_as_card(run: &str) -> bool {
    let rest = run.get(BELGIAN.len()..).filter(|_| {
        run.get(..BELGIAN.len()).is_some_and(|start| start.eq_ignore_ascii_case(BELGIAN))
    });
    rest.is_some_and(|rest| rest.chars().take_while(char::is_ascii_digit).count() >= BEGUN)
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
            ("8507300F2801014BEL85073003328", Told::NationalNumber),
            ("8507300f2801014 BEL850730033289", Told::Zone),
            ("IDBEL591191706 4586", Told::Zone),
            ("NN85073003328", Told::NationalNumber),
            ("rrn85073003328 agrees", Told::NationalNumber),
            ("8507 3003 328", Told::NationalNumber),
            ("30-11-2026 85 073003328", Told::NationalNumber),
            ("８５０７３００３３２８", Told::NationalNumber),
            ("nr591191706458", Told::CardNumber),
            ("59119 1706458 seen", Told::CardNumber),
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
