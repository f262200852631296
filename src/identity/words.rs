//! Verdicts and reasons in the four languages of those who read them.

use super::evidence::{Reason, Verdict};
use super::picture::decode::DecodeError;

/// A language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tongue {
    /// Dutch.
    Nl,
    /// French.
    Fr,
    /// German.
    De,
    /// English.
    #[default]
    En,
}

impl Tongue {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Nl, Self::Fr, Self::De, Self::En];

    const fn of(self, [nl, fr, de, en]: [&str; 4]) -> &str {
        match self {
            Self::Nl => nl,
            Self::Fr => fr,
            Self::De => de,
            Self::En => en,
        }
    }
}

/// Why a field stands as it does.
#[must_use]
pub const fn reason(reason: Reason, tongue: Tongue) -> &'static str {
    tongue.of(match reason {
        Reason::CheckDigit => [
            "het controlecijfer klopt",
            "le chiffre de contrôle est juste",
            "die Prüfziffer stimmt",
            reason.words(),
        ],
        Reason::WrongCheckDigit => [
            "het controlecijfer klopt niet",
            "le chiffre de contrôle est faux",
            "die Prüfziffer stimmt nicht",
            reason.words(),
        ],
        Reason::NoCheckDigit => [
            "het heeft geen controlecijfer, en niets anders zegt hetzelfde",
            "il n'a pas de chiffre de contrôle, et rien d'autre ne le confirme",
            "es hat keine Prüfziffer, und nichts anderes sagt dasselbe",
            reason.words(),
        ],
        Reason::LookAlikes => [
            "tekens die erop lijken zouden ook passen",
            "des caractères semblables conviendraient aussi",
            "ähnlich aussehende Zeichen würden auch passen",
            reason.words(),
        ],
        Reason::CardNumber => [
            "het nummer van een Belgische kaart heeft andere laatste cijfers",
            "le numéro d'une carte belge a d'autres derniers chiffres",
            "die Nummer einer belgischen Karte hat andere letzte Ziffern",
            reason.words(),
        ],
        Reason::NationalNumber => [
            "het rijksregisternummer zegt hetzelfde",
            "le numéro de registre national le confirme",
            "die Nationalregisternummer sagt dasselbe",
            reason.words(),
        ],
        Reason::OtherNationalNumber => [
            "het rijksregisternummer zegt iets anders",
            "le numéro de registre national dit autre chose",
            "die Nationalregisternummer sagt etwas anderes",
            reason.words(),
        ],
        Reason::BrokenNationalNumber => [
            "het rijksregisternummer heeft andere laatste cijfers",
            "le numéro de registre national a d'autres derniers chiffres",
            "die Nationalregisternummer hat andere letzte Ziffern",
            reason.words(),
        ],
        Reason::NameOfSender => [
            "de brief geeft dezelfde naam",
            "la lettre donne le même nom",
            "der Brief nennt denselben Namen",
            reason.words(),
        ],
        Reason::OtherName => [
            "de brief geeft een andere naam",
            "la lettre donne un autre nom",
            "der Brief nennt einen anderen Namen",
            reason.words(),
        ],
        Reason::PartOfName => [
            "maar een deel van de naam kon worden vergeleken",
            "une partie du nom seulement a pu être comparée",
            "nur ein Teil des Namens konnte verglichen werden",
            reason.words(),
        ],
        Reason::Mended => [
            "het werd verbeterd na het lezen",
            "il a été corrigé après la lecture",
            "es wurde nach dem Lesen verbessert",
            reason.words(),
        ],
        Reason::NoDate => {
            ["het is geen datum", "ce n'est pas une date", "es ist kein Datum", reason.words()]
        }
        Reason::NotSaid => [
            "het document zegt het niet helemaal",
            "le document ne le dit pas entièrement",
            "das Dokument sagt es nicht ganz",
            reason.words(),
        ],
        Reason::Front => [
            "de voorkant van het document zegt hetzelfde",
            "le recto du document dit la même chose",
            "die Vorderseite des Dokuments sagt dasselbe",
            reason.words(),
        ],
        Reason::NearFront => [
            "de voorkant van het document zegt bijna hetzelfde",
            "le recto du document dit presque la même chose",
            "die Vorderseite des Dokuments sagt fast dasselbe",
            reason.words(),
        ],
        Reason::OtherFront => [
            "de voorkant van het document zegt iets anders",
            "le recto du document dit autre chose",
            "die Vorderseite des Dokuments sagt etwas anderes",
            reason.words(),
        ],
        Reason::NotClear => [
            "het kon niet duidelijk worden gelezen",
            "cela n'a pas pu être lu clairement",
            "es konnte nicht deutlich gelesen werden",
            reason.words(),
        ],
        Reason::FrontOnly => [
            "het staat alleen op de voorkant",
            "cela figure au recto seulement",
            "es steht nur auf der Vorderseite",
            reason.words(),
        ],
    })
}

/// The sum of it, as a sentence would say it.
#[must_use]
pub const fn verdict(verdict: &Verdict, tongue: Tongue) -> &'static str {
    tongue.of(match verdict {
        Verdict::Consistent => [
            "niets spreekt iets tegen",
            "rien ne se contredit",
            "nichts widerspricht sich",
            "nothing contradicts anything",
        ],
        Verdict::Inconsistent(_) => [
            "er zijn tegenstrijdigheden",
            "il y a des contradictions",
            "es gibt Widersprüche",
            "there are contradictions",
        ],
        Verdict::Ambiguous => [
            "er zijn meerdere lezingen mogelijk",
            "plusieurs lectures sont possibles",
            "mehrere Lesarten sind möglich",
            "it can be read in several ways",
        ],
        Verdict::Expired => [
            "niet meer geldig; dat is geen reden om een verzoek te weigeren",
            "plus valable; ce n'est pas une raison de refuser une demande",
            "nicht mehr gültig; das ist kein Grund, ein Ersuchen abzulehnen",
            "no longer valid; that is no reason to refuse a request",
        ],
        Verdict::Specimen => ["een specimen", "un spécimen", "ein Muster", "a specimen"],
        Verdict::Unreadable => ["onleesbaar", "illisible", "nicht lesbar", "unreadable"],
        Verdict::NotADocument => [
            "geen identiteitsdocument",
            "pas un document d'identité",
            "kein Ausweisdokument",
            "no identity document",
        ],
        Verdict::NotRead => ["niet gelezen", "pas lu", "nicht gelesen", "not read"],
        Verdict::Absent => ["geen kopie", "aucune copie", "keine Kopie", "no copy"],
    })
}

/// Why a file could not be read.
#[must_use]
pub const fn refused(why: DecodeError, tongue: Tongue) -> &'static str {
    tongue.of(match why {
        DecodeError::NoPicture => [
            "het is geen JPEG, PNG, WebP, TIFF of PDF",
            "ce n'est pas un JPEG, PNG, WebP, TIFF ou PDF",
            "es ist kein JPEG, PNG, WebP, TIFF oder PDF",
            "it is no JPEG, PNG, WebP, TIFF or PDF",
        ],
        DecodeError::TooLarge => [
            "het zegt meer dan 50 miljoen pixels te hebben",
            "il dit avoir plus de 50 millions de pixels",
            "es will mehr als 50 Millionen Pixel haben",
            "it claims more than 50 million pixels",
        ],
        DecodeError::Damaged => {
            ["het is beschadigd", "il est endommagé", "es ist beschädigt", "it is damaged"]
        }
        DecodeError::Crashed => [
            "het afgeschermde proces is erop vastgelopen",
            "le processus confiné s'est arrêté",
            "der abgeschirmte Prozess ist abgestürzt",
            "the confined child crashed",
        ],
        DecodeError::TimedOut => [
            "het afgeschermde proces had niet genoeg tijd",
            "le processus confiné a manqué de temps",
            "der abgeschirmte Prozess hatte nicht genug Zeit",
            "the confined child ran out of time",
        ],
    })
}

/// That the same picture came in the case whose number follows.
#[must_use]
pub const fn also_in(tongue: Tongue) -> &'static str {
    tongue.of([
        "dezelfde afbeelding kwam binnen in dossier",
        "la même image est arrivée dans le dossier",
        "dasselbe Bild kam im Vorgang",
        "the same picture came in case",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_said_in_four_languages_and_none_says_genuine() {
        let reasons = [
            Reason::CheckDigit,
            Reason::WrongCheckDigit,
            Reason::NoCheckDigit,
            Reason::LookAlikes,
            Reason::CardNumber,
            Reason::NationalNumber,
            Reason::OtherNationalNumber,
            Reason::BrokenNationalNumber,
            Reason::NameOfSender,
            Reason::OtherName,
            Reason::PartOfName,
            Reason::Mended,
            Reason::NoDate,
            Reason::NotSaid,
            Reason::Front,
            Reason::NearFront,
            Reason::OtherFront,
            Reason::NotClear,
            Reason::FrontOnly,
        ];
        let mut all = std::collections::BTreeSet::new();
        for one in reasons {
            let said = Tongue::ALL.map(|tongue| reason(one, tongue));
            assert_eq!(said[3], one.words());
            for words in said {
                assert!(all.insert(words), "said twice: {words}");
                for never in ["authent", "genuine", "echt", "véritable"] {
                    assert!(!words.contains(never), "{words}");
                }
            }
        }
        assert_eq!(all.len(), 4 * reasons.len());
    }

    #[test]
    fn why_a_file_could_not_be_read_is_said_in_four_languages() {
        let all = [
            DecodeError::NoPicture,
            DecodeError::TooLarge,
            DecodeError::Damaged,
            DecodeError::Crashed,
            DecodeError::TimedOut,
        ];
        let mut said = std::collections::BTreeSet::new();
        for why in all {
            assert_eq!(refused(why, Tongue::En), why.to_string());
            said.extend(Tongue::ALL.map(|tongue| refused(why, tongue)));
        }
        said.extend(Tongue::ALL.map(also_in));
        assert_eq!(said.len(), 4 * (all.len() + 1));
    }

    #[test]
    fn every_verdict_is_said_in_four_languages_and_none_says_genuine() {
        let verdicts = [
            Verdict::Consistent,
            Verdict::Inconsistent(Vec::new()),
            Verdict::Ambiguous,
            Verdict::Expired,
            Verdict::Specimen,
            Verdict::Unreadable,
            Verdict::NotADocument,
            Verdict::NotRead,
            Verdict::Absent,
        ];
        for one in &verdicts {
            let said: std::collections::BTreeSet<&str> =
                Tongue::ALL.iter().map(|tongue| verdict(one, *tongue)).collect();
            assert_eq!(said.len(), 4, "{one:?}");
            for words in said {
                for never in ["authent", "genuine", "echt", "véritable"] {
                    assert!(!words.contains(never), "{words}");
                }
            }
        }
        assert_eq!(reason(Reason::Front, Tongue::En), Reason::Front.words());
    }
}
