//! Names that a letter gives to its sender, as far as they can be held against a document.
//!
//! What stands in `From` and below the letter are claims: a document with another name contradicts
//! them. A name in between may be anybody's: where nothing is claimed it bears a document out, and it
//! denies none.

use crate::identity::mrz::{self, Names};

/// Words of one name, at most.
const MOST_WORDS: usize = 5;
/// Bytes of all texts of a letter that are searched for names.
const MOST_TEXT: usize = 64 * 1024;
/// Letters of a word from which on it is taken for a name though it is written small.
const LONG: usize = 5;
/// Places of a text at which a name is looked for.
const MOST_PLACES: usize = 2000;
/// Lines behind the words that end a letter among which the name stands.
const BELOW: usize = 2;

/// Words that end a letter; what stands below is its sender's name.
const ENDINGS: [&str; 13] = [
    "groet",
    "hoogachtend",
    "regards",
    "wishes",
    "sincerely",
    "faithfully",
    "grüße",
    "grüßen",
    "gruß",
    "hochachtungsvoll",
    "cordialement",
    "salutations",
    "sentiments",
];
/// Words that stand where a name might, and are none.
const NO_NAMES: [&str; 22] = [
    "met",
    "vriendelijke",
    "mit",
    "freundlichen",
    "besten",
    "bien",
    "ihre",
    "ihr",
    "kundin",
    "kunde",
    "info",
    "desk",
    "dienst",
    "service",
    "team",
    "familie",
    "famille",
    "family",
    "belgium",
    "belgië",
    "belgique",
    "belgien",
];
/// Beginnings of lines from which on a letter is somebody else's.
const QUOTES: [&str; 7] = [">", "-----", "________", "Van:", "De :", "Von:", "From:"];
/// Words in a name that are written small.
const SMALL: [&str; 16] = [
    "van", "von", "de", "den", "der", "du", "des", "di", "da", "la", "le", "ten", "ter", "el",
    "al", "ben",
];

/// As much of the texts as is searched.
#[must_use]
pub(super) fn within_bounds<'a>(texts: &[&'a str]) -> Vec<&'a str> {
    let mut left = MOST_TEXT;
    let part = |text: &&'a str| {
        let part = &text[..text.floor_char_boundary(left)];
        left -= part.len();
        part
    };
    texts.iter().map(part).filter(|text| !text.is_empty()).collect()
}

/// The names that a letter claims for its sender: of `From`, and below its texts.
#[must_use]
pub(super) fn claimed(from: &[&str], texts: &[&str]) -> Vec<String> {
    let from = from.iter().copied().filter(|name| is_name(name)).map(ToOwned::to_owned);
    from.chain(texts.iter().filter_map(|text| below(text))).collect()
}

/// The name below a letter, if one is.
fn below(text: &str) -> Option<String> {
    let own = text
        .lines()
        .map(str::trim)
        .take_while(|line| !QUOTES.iter().any(|begin| line.starts_with(begin)));
    let lines: Vec<&str> = own.filter(|line| !line.is_empty()).collect();
    let is_ending = |line: &&str| {
        let line = line.to_lowercase();
        line.chars().count() < 60 && ENDINGS.iter().any(|word| line.contains(word))
    };
    let at = lines.iter().position(is_ending)?;
    let after = lines[at + 1..].iter().take(BELOW);
    // On the line itself, behind a comma: `Met vriendelijke groeten, Lotte Vermeulen`.
    let beside = lines[at].split_once(',').map(|(_, rest)| rest.trim());
    beside.into_iter().chain(after.copied()).find(|line| is_name(line)).map(ToOwned::to_owned)
}

/// Whether a line is nothing but somebody's name: a surname and another, and no word that is none.
fn is_name(line: &str) -> bool {
    let words: Vec<&str> =
        line.split_whitespace().map(|word| word.trim_matches(['"', ',', '.', '\''])).collect();
    let is_word = |word: &&str| {
        let is_written = word.chars().all(|sign| sign.is_alphabetic() || "-'’.".contains(sign));
        let begins = word.chars().next().is_some_and(char::is_uppercase);
        let small = word.to_lowercase();
        let is_other = NO_NAMES.contains(&small.as_str())
            || ENDINGS.iter().any(|ending| small.contains(ending));
        !word.is_empty() && is_written && !is_other && (begins || SMALL.contains(word))
    };
    // An initial is a part of a name, and `Lotte V.` is none that could be another.
    let is_large = |word: &&&str| !SMALL.contains(word) && word.chars().count() > 1;
    let large = words.iter().filter(is_large).count();
    large >= 2 && words.len() <= MOST_WORDS && words.iter().all(is_word)
}

/// Words of the text that are the name of this document and nothing else, if they stand in it: side by
/// side, with nothing between them, each written large where the name is short enough to be other words.
#[must_use]
pub(super) fn mentioned(text: &str, names: &Names) -> Option<String> {
    let is_of_word = |sign: char| sign.is_alphabetic() || "-'’".contains(sign);
    let pieces = text.split(|sign: char| !is_of_word(sign) && !matches!(sign, ' ' | '\u{a0}'));
    let is_long = |word: &&str| word.chars().count() >= LONG;
    let is_of_name = |word: &&str| {
        let is_large = word.chars().next().is_some_and(char::is_uppercase);
        is_large || is_long(word) || SMALL.contains(word)
    };
    let firsts: Vec<char> = names
        .surname
        .split(' ')
        .chain(names.given.split(' '))
        .filter_map(|word| word.chars().next())
        .collect();
    let may_begin = |word: &str| {
        let first = word.chars().next().map(mrz::names::forms).unwrap_or_default();
        first.iter().filter_map(|form| form.chars().next()).any(|sign| firsts.contains(&sign))
    };
    let mut places = 0;
    for piece in pieces {
        let words: Vec<&str> = piece.split([' ', '\u{a0}']).filter(|w| !w.is_empty()).collect();
        for at in 0..words.len() {
            if !is_of_name(&words[at]) || !may_begin(words[at]) {
                continue;
            }
            places += 1;
            if places > MOST_PLACES {
                return None;
            }
            let found = (2..=MOST_WORDS).find_map(|count| {
                let name = words.get(at..at + count)?;
                let name = name.iter().all(is_of_name).then(|| name.join(" "))?;
                names.is_exactly(&name).then_some(name)
            });
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(surname: &str, given: &str) -> Names {
        Names { surname: surname.into(), given: given.into(), may_be_cut: false }
    }

    #[test]
    fn a_name_is_claimed_in_from_and_below_the_letter_and_nowhere_else() {
        let letter = "Geachte mevrouw Janssens,\n\nGraag inzage. Groet mijn collega Piet Claes.\n\n\
                      Met vriendelijke groeten,\n\nLotte Van den Broeck\nGrote Markt 1\nAntwerpen\n\n\
                      Van: Karel De Smet\nMet vriendelijke groeten\nKarel De Smet\n";
        assert_eq!(claimed(&[], &[letter]), ["Lotte Van den Broeck"]);
        assert_eq!(claimed(&["Lotte Vermeulen"], &[]), ["Lotte Vermeulen"]);
        assert_eq!(claimed(&["Vermeulen, Lotte"], &[]), ["Vermeulen, Lotte"]);
        for none in
            ["lotte87", "Privacy", "info@example.org", "", "Dienst 24 uur", "Lotte V.", "Info Desk"]
        {
            assert_eq!(claimed(&[none], &[]), [""; 0], "{none}");
        }
        for text in [
            "Beste,\nzie bijlage",
            "Kind regards\n",
            "Met vriendelijke groeten\n03 123 45 67",
            "Bedankt, Met Vriendelijke Groeten",
            "Groeten,\nLotte\nDiest Belgium",
            "Mit freundlichen Grüßen\nIhre Kundin",
        ] {
            assert_eq!(claimed(&[], &[text]), [""; 0], "{text}");
        }
        let short = "Dag,\nzie bijlage.\nKind regards, Jürgen Müller";
        assert_eq!(claimed(&[], &[short]), ["Jürgen Müller"]);
    }

    #[test]
    fn a_text_bears_out_a_name_that_stands_in_it_as_one() {
        let card = names("VAN DEN BROECK", "LOTTE MARIE");
        for text in
            ["ik ben lotte van den broeck.", "Van den Broeck Lotte", "voor Lotte Vandenbroeck"]
        {
            assert!(mentioned(text, &card).is_some(), "{text}");
        }
        for text in ["", "Lotte", "Lotte Vermeulen", "van den broeck", "Piet Van den Broeck"] {
            assert_eq!(mentioned(text, &card), None, "{text}");
        }
        assert!(mentioned("namens Jürgen Müller", &names("MUELLER", "JUERGEN")).is_some());
        // Two people, and words that are no name.
        for (text, surname, given) in [
            ("Groeten, Piet Claes en Lotte Maes", "CLAES", "LOTTE"),
            ("dag Jan Peeters. Lotte Maes", "PEETERS", "LOTTE"),
            ("Jan Peeters\nLotte Maes", "PEETERS", "LOTTE"),
            ("do you have an answer, and do an effort", "DO", "AN"),
        ] {
            assert_eq!(mentioned(text, &names(surname, given)), None, "{text}");
        }
    }
}
