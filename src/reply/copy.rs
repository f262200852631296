//! The letter that asks for a masked copy of an identity document: the last rung, and the only letter
//! of ours that asks for one.
//!
//! It wants a [`Doubt`], which exists only where somebody wrote down why they doubt who asks (GDPR Art.
//! 12(6)). What to black out stands in the letter itself, not in a policy elsewhere (EDPB Guidelines
//! 01/2022 no. 76; the breach that was upheld against DPG Media, 2023). Pure.

use super::Language;
use crate::identity::ladder::Doubt;

/// The text, for the case that the doubt is about.
#[must_use]
pub fn text(doubt: &Doubt, language: Language) -> String {
    let template = match language {
        Language::Nl => include_str!("letters/nl/copy.txt"),
        Language::Fr => include_str!("letters/fr/copy.txt"),
        Language::De => include_str!("letters/de/copy.txt"),
        Language::En => include_str!("letters/en/copy.txt"),
    };
    template.replace("{case}", &doubt.case().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CaseId, StaffId};
    use crate::reply::language;

    #[test]
    fn the_letter_names_the_case_and_what_to_black_out_in_each_language() {
        let case: CaseId = "K-0000-0000".parse().expect("a number");
        let note = Doubt::note(case, StaffId(1), 0);
        let doubt = Doubt::recorded(&note, case).expect("reads back");
        for (language, words) in [
            (Language::Nl, ["rijksregisternummer", "foto", "voorkant", "MRZ", "wissen"]),
            (Language::Fr, ["registre national", "photo", "recto", "MRZ", "effaçons"]),
            (Language::De, ["Nationalregisternummer", "Foto", "Vorderseite", "MRZ", "löschen"]),
            (Language::En, ["national register number", "photo", "front", "MRZ", "erase"]),
        ] {
            let text = text(&doubt, language);
            for word in words.into_iter().chain(["K-0000-0000"]) {
                assert!(text.contains(word), "{language:?} {word}");
            }
            assert!(!text.contains(['{', '}']), "{language:?}");
            assert_eq!(language::guess(&text), language);
        }
    }
}
