//! The four languages we answer in, and a guess at the one of a letter.

use minicbor::{Decode, Encode};

/// A language of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Language {
    /// Dutch: also where the letter does not say.
    #[default]
    #[n(0)]
    Nl,
    /// French.
    #[n(1)]
    Fr,
    /// German.
    #[n(2)]
    De,
    /// English.
    #[n(3)]
    En,
}

/// Words of a letter that are looked at.
const MAX_WORDS: usize = 2000;

/// Frequent words that the other three do not have, or hardly.
const STOP_WORDS: [(Language, &[&str]); 4] = [
    (
        Language::Nl,
        &[
            "aan", "als", "ben", "bij", "dat", "deze", "een", "en", "geen", "gegevens", "graag",
            "heb", "hebben", "heeft", "het", "ik", "jullie", "kan", "maar", "met", "mijn", "naar",
            "niet", "nog", "om", "onze", "ook", "op", "te", "u", "uit", "uw", "van", "verzoek",
            "voor", "wij", "worden", "zijn",
        ],
    ),
    (
        Language::Fr,
        &[
            "au", "aux", "avec", "bonjour", "ce", "cette", "dans", "de", "des", "donnees",
            "données", "du", "elle", "est", "et", "je", "la", "le", "les", "ma", "mes", "moi",
            "mon", "ne", "nous", "par", "pas", "pour", "que", "qui", "sont", "suis", "sur", "une",
            "vos", "votre", "vous",
        ],
    ),
    (
        Language::De,
        &[
            "auf", "bin", "bitte", "daten", "das", "dem", "den", "der", "des", "die", "ein",
            "eine", "für", "fuer", "habe", "haben", "ich", "ihnen", "ihre", "ist", "kein", "mein",
            "meine", "mich", "mir", "mit", "nicht", "oder", "sehr", "sich", "sie", "sind", "und",
            "von", "werden", "wie", "zu", "zur", "über",
        ],
    ),
    (
        Language::En,
        &[
            "and", "any", "are", "been", "data", "for", "from", "have", "hello", "i", "is", "it",
            "me", "my", "not", "of", "please", "that", "the", "this", "to", "under", "was", "what",
            "which", "will", "with", "would", "you", "your",
        ],
    ),
];

/// The language with the most of its frequent words in `text`; Dutch if none has any, and the
/// first in the order of [`Language`] if two have as many.
#[must_use]
pub fn guess(text: &str) -> Language {
    let mut counts = [0u32; STOP_WORDS.len()];
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    for word in words.take(MAX_WORDS).filter(|word| word.len() <= 16) {
        let word = word.to_lowercase();
        for (count, (_, frequent)) in counts.iter_mut().zip(STOP_WORDS) {
            *count += u32::from(frequent.contains(&word.as_str()));
        }
    }
    let most = counts.into_iter().max().unwrap_or(0);
    counts
        .iter()
        .zip(STOP_WORDS)
        .find(|&(&count, _)| count == most)
        .map_or(Language::Nl, |(_, (l, _))| l)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_answered_in_its_own_language() {
        for (text, language) in [
            ("Geachte, graag had ik inzage in mijn gegevens.", Language::Nl),
            ("Ik wil dat jullie alles wissen wat jullie over mij hebben.", Language::Nl),
            ("Bonjour, je souhaite accéder à mes données personnelles.", Language::Fr),
            ("Veuillez supprimer toutes les informations que vous avez sur moi", Language::Fr),
            ("Ich bitte um Auskunft über meine Daten nach Art. 15 DSGVO.", Language::De),
            ("Bitte löschen Sie das alles.", Language::De),
            ("Please send me a copy of the data you hold about me.", Language::En),
            ("PLEASE DELETE MY ACCOUNT", Language::En),
            ("", Language::Nl),
            ("12345 ☃", Language::Nl),
        ] {
            assert_eq!(guess(text), language, "{text}");
        }
    }

    #[test]
    fn a_very_long_letter_costs_no_more_than_its_beginning() {
        let long =
            format!("{} {}", "the data of ".repeat(MAX_WORDS), "ik ben niet ".repeat(99_999));
        assert_eq!(guess(&long), Language::En);
    }
}
