//! Whether two names may be of one person, as people, mail programs and payrolls write them.
//!
//! `Jürgen Müller` is also `MUELLER Juergen` and `Muller, Jurgen`: letters are folded to what a
//! machine-readable zone would have for them (ICAO 9303-3 §6.A), digraphs to one letter, and the
//! order of words does not matter. Meant to help a person choose: it is no evidence. Pure.

use crate::identity::mrz::names::{NameMatch, forms};

/// Words of a name that are compared, and letters of each.
const MOST_WORDS: usize = 16;
const MOST_LETTERS: usize = 40;
/// Two letters that stand for one elsewhere.
const DIGRAPHS: [(&str, &str); 4] = [("AE", "A"), ("OE", "O"), ("UE", "U"), ("AA", "A")];

/// How two names go together.
#[must_use]
pub fn compare(one: &str, other: &str) -> NameMatch {
    let (one, other) = (words(one), words(other));
    if one.is_empty() || other.is_empty() {
        return NameMatch::Differs;
    }
    // `Van den Broeck Jan`, `Jan Vandenbroeck`.
    let whole = other.concat();
    let turned = |by: usize| [&one[by..], &one[..by]].concat().concat();
    if (0..one.len()).any(|by| turned(by) == whole) {
        return NameMatch::Agrees;
    }
    let (few, many) = if one.len() < other.len() { (&one, &other) } else { (&other, &one) };
    let common = few.iter().filter(|word| many.contains(word)).count();
    if common == few.len() && common > 1 {
        return NameMatch::Agrees;
    }
    let is_name = |word: &&String| word.len() > 1 && many.contains(word);
    if few.iter().any(|word| is_name(&word)) { NameMatch::Partly } else { NameMatch::Differs }
}

/// One form for all ways to write a name: what it is looked up by.
#[must_use]
pub fn key(name: &str) -> String {
    let mut words = words(name);
    words.sort_unstable();
    words.concat()
}

fn words(name: &str) -> Vec<String> {
    let apart = name.split(|c: char| c.is_whitespace() || "-‐‑–,;/.".contains(c));
    let folded = apart.map(|word| {
        let shortest = |letter| forms(letter).into_iter().min_by_key(String::len);
        let word: String = word.chars().take(MOST_LETTERS).filter_map(shortest).collect();
        DIGRAPHS.iter().fold(word, |word, (two, one)| word.replace(two, one))
    });
    folded.filter(|word| !word.is_empty()).take(MOST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_known_in_every_spelling_and_another_is_not() {
        for (one, other, found) in [
            ("Jürgen Müller", "MUELLER, Juergen", NameMatch::Agrees),
            ("Jürgen Müller", "Jurgen Muller", NameMatch::Agrees),
            ("Jan Van den Broeck", "Vandenbroeck Jan", NameMatch::Agrees),
            ("Søren Łuczak", "soeren luczak", NameMatch::Agrees),
            ("Charles d'Artagnan", "Dartagnan Charles", NameMatch::Agrees),
            ("Lotte Maria Peeters", "Lotte Peeters", NameMatch::Agrees),
            ("Petra Schmitz-Krüger", "Petra Krüger", NameMatch::Agrees),
            ("Petra Schmitz", "Petra Krüger", NameMatch::Partly),
            ("Lotte", "Lotte Peeters", NameMatch::Partly),
            ("L. Peeters", "Lotte Peeters", NameMatch::Partly),
            ("Jan Claes", "Lotte Peeters", NameMatch::Differs),
            ("", "Lotte Peeters", NameMatch::Differs),
            ("李 伟", "Lotte Peeters", NameMatch::Differs),
        ] {
            assert_eq!(compare(one, other), found, "{one} / {other}");
            assert_eq!(compare(other, one), found, "{other} / {one}");
        }
        assert_eq!(key("Jürgen Müller"), key("MUELLER Juergen"));
        assert_ne!(key("Jan Claes"), key("Jan Claesen"));
    }
}
