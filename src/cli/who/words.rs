//! What `kluis who` says, in the four languages of the staff: Dutch, French, German, English.

use crate::identity::ladder::{Field, Kind, Level};
use crate::identity::next::Step;
use crate::identity::policy::Right;
use crate::reply::Language;

/// Something that stands on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    From,
    NoAuthor,
    Domain,
    Stands,
    DoesNotStand,
    NobodyLooked,
    Beware,
    Others,
    NotOnFile,
    OnFile,
    ByAddress,
    ByName,
    BySeveral,
    ByNothing,
    NoList,
    Contacts,
    Address,
    Since,
    SinceNew,
    Found,
    Available,
    Recorded,
    Reaches,
    Accepted,
    Doubt,
    NothingNeeded,
    IsAccepted,
    NoCopy,
    Copy,
    CopyWaits,
    CopyGoes,
    CopyHeld,
    CopyGone,
    NotACopy,
    Checked,
    CheckedBy,
}

/// Dutch, French, German, English.
type Words = [&'static str; 4];

fn of(words: Words, language: Language) -> &'static str {
    words[match language {
        Language::Nl => 0,
        Language::Fr => 1,
        Language::De => 2,
        Language::En => 3,
    }]
}

pub(super) fn say(say: Say, language: Language) -> &'static str {
    let words: Words = match say {
        Say::From => ["van", "de", "von", "from"],
        Say::NoAuthor => [
            "geen brief noemt één afzender",
            "aucune lettre ne nomme un seul expéditeur",
            "kein Brief nennt genau einen Absender",
            "no letter names one author",
        ],
        Say::Domain => ["domein", "domaine", "Domain", "domain"],
        Say::Stands => [
            "staat in voor de brief (DMARC of DKIM)",
            "répond de la lettre (DMARC ou DKIM)",
            "steht für den Brief ein (DMARC oder DKIM)",
            "stands for the letter (DMARC or DKIM)",
        ],
        Say::DoesNotStand => [
            "staat niet in voor de brief: de afzender kan vals zijn",
            "ne répond pas de la lettre : l'expéditeur peut être faux",
            "steht nicht für den Brief ein: der Absender kann falsch sein",
            "does not stand for the letter: the sender may be forged",
        ],
        Say::NobodyLooked => [
            "niet nagegaan: de afzender kan vals zijn",
            "non vérifié : l'expéditeur peut être faux",
            "nicht geprüft: der Absender kann falsch sein",
            "was not looked at: the sender may be forged",
        ],
        Say::Beware => ["let op", "attention", "Achtung", "beware"],
        Say::Others => [
            "{count} brieven van dit dossier kan iemand anders hebben gestuurd",
            "{count} lettres de ce dossier ont pu être envoyées par quelqu'un d'autre",
            "{count} Briefe dieses Falls kann jemand anders geschickt haben",
            "{count} letters of this case may have been sent by somebody else",
        ],
        Say::NotOnFile => [
            "een antwoord zou naar een adres gaan dat niet van een bepaalde persoon in het bestand is",
            "une réponse irait à une adresse qui n'est pas au fichier d'une personne certaine",
            "eine Antwort ginge an eine Adresse, die in der Datei nicht zu genau einer Person gehört",
            "an answer would go to an address that is not one person's on file",
        ],
        Say::OnFile => ["in bestand", "au fichier", "in der Datei", "on file"],
        Say::ByAddress => {
            ["heeft dit adres", "a cette adresse", "hat diese Adresse", "has this address"]
        }
        Say::ByName => [
            "alleen de naam is dezelfde, het adres niet",
            "seul le nom est le même, pas l'adresse",
            "nur der Name ist derselbe, die Adresse nicht",
            "only the name is the same, the address is not",
        ],
        Say::BySeveral => [
            "{count} mensen hebben dit adres",
            "{count} personnes ont cette adresse",
            "{count} Personen haben diese Adresse",
            "{count} people have this address",
        ],
        Say::ByNothing => [
            "niemand heeft dit adres of deze naam",
            "personne n'a cette adresse ni ce nom",
            "niemand hat diese Adresse oder diesen Namen",
            "nobody has this address or this name",
        ],
        Say::NoList => {
            ["er is geen lijst", "il n'y a pas de liste", "es gibt keine Liste", "there is no list"]
        }
        Say::Contacts => ["contact", "contact", "Kontakt", "contacts"],
        Say::Address => ["adres", "adresse", "Adresse", "address"],
        Say::Since => [
            "in bestand sinds {date}",
            "au fichier depuis le {date}",
            "in der Datei seit {date}",
            "on file since {date}",
        ],
        Say::SinceNew => [
            "pas in bestand sinds {date}: er is meer nodig",
            "au fichier depuis le {date} seulement : il faut davantage",
            "erst seit {date} in der Datei: es braucht mehr",
            "on file only since {date}: more is needed",
        ],
        Say::Available => ["beschikbaar", "disponible", "verfügbar", "available"],
        Say::Found => ["gevonden", "trouvé", "gefunden", "found"],
        Say::Recorded => ["genoteerd", "noté", "notiert", "recorded"],
        Say::Reaches => ["bereikt", "atteint", "erreicht", "reaches"],
        Say::Accepted => ["aanvaard", "accepté", "anerkannt", "accepted"],
        Say::Doubt => ["twijfel", "doute", "Zweifel", "doubt"],
        Say::NothingNeeded => {
            ["niets nodig", "rien n'est nécessaire", "nichts nötig", "nothing is needed"]
        }
        Say::IsAccepted => ["aanvaard", "accepté", "anerkannt", "accepted"],
        Say::NoCopy => [
            "Een kopie van de identiteitskaart is niet nodig. Is er een gekomen, gebruik ze en vergeet ze dan.",
            "Une copie de la carte d'identité n'est pas nécessaire. S'il en est venu une, utilisez-la puis oubliez-la.",
            "Eine Ausweiskopie ist nicht nötig. Kam eine, so wird sie benutzt und dann vergessen.",
            "No copy of an identity card is needed. One that came is used, and then forgotten.",
        ],
        Say::Copy => ["kopie", "copie", "Kopie", "copy"],
        Say::CopyWaits => [
            "{item} is een identiteitsbewijs: wordt na de beslissing vanzelf vergeten",
            "{item} est une pièce d'identité : oubliée d'elle-même après la décision",
            "{item} ist ein Ausweis: wird nach der Entscheidung von selbst vergessen",
            "{item} is an identity document: forgotten by itself after the decision",
        ],
        Say::CopyGoes => [
            "{item} is een identiteitsbewijs: wordt vanzelf vergeten op {date}",
            "{item} est une pièce d'identité : oubliée d'elle-même le {date}",
            "{item} ist ein Ausweis: wird von selbst vergessen am {date}",
            "{item} is an identity document: forgotten by itself on {date}",
        ],
        Say::CopyHeld => [
            "{item} is een identiteitsbewijs: blijft zolang het dossier bewaard moet blijven",
            "{item} est une pièce d'identité : reste tant que le dossier doit être conservé",
            "{item} ist ein Ausweis: bleibt, solange der Fall aufbewahrt werden muss",
            "{item} is an identity document: stays as long as the legal hold is on the case",
        ],
        Say::CopyGone => [
            "{item} was een identiteitsbewijs: vergeten op {date}",
            "{item} était une pièce d'identité : oubliée le {date}",
            "{item} war ein Ausweis: vergessen am {date}",
            "{item} was an identity document: forgotten on {date}",
        ],
        Say::NotACopy => [
            "{item} is geen identiteitsbewijs",
            "{item} n'est pas une pièce d'identité",
            "{item} ist kein Ausweis",
            "{item} is no identity document",
        ],
        Say::Checked => ["nagekeken", "vérifiée", "geprüft", "checked"],
        Say::CheckedBy => [
            "identiteitsbewijs nagekeken door {member}, {date}",
            "pièce d'identité vérifiée par {member}, {date}",
            "Ausweis geprüft von {member}, {date}",
            "identity document checked by {member}, {date}",
        ],
    };
    of(words, language)
}

pub(super) fn level(level: Level, language: Language) -> &'static str {
    let words: Words = match level {
        Level::L0 => [
            "niets toont wie het is",
            "rien ne montre qui c'est",
            "nichts zeigt, wer es ist",
            "nothing shows who it is",
        ],
        Level::L1 => [
            "het adres in het bestand schreef",
            "l'adresse au fichier a écrit",
            "die Adresse in der Datei schrieb",
            "the address on file wrote",
        ],
        Level::L2 => [
            "wie het contact in het bestand leest, schreef",
            "la personne qui lit le contact au fichier a écrit",
            "wer den Kontakt in der Datei liest, schrieb",
            "whoever reads the contact on file wrote",
        ],
        Level::L3 => [
            "en weet wat alleen wij samen weten, of tekende, of was hier",
            "et sait ce que nous sommes seuls à savoir, ou a signé, ou est venue",
            "und weiß, was nur wir beide wissen, oder unterschrieb, oder war hier",
            "and knows what only we both know, or signed, or was here",
        ],
        Level::L4 => [
            "een identiteitsbewijs is nagekeken",
            "une pièce d'identité a été vérifiée",
            "ein Ausweis wurde geprüft",
            "an identity document was checked",
        ],
    };
    of(words, language)
}

pub(super) fn kind(kind: Kind, language: Language) -> &'static str {
    let words: Words = match kind {
        Kind::Address => [
            "de brief komt van het adres in het bestand",
            "la lettre vient de l'adresse au fichier",
            "der Brief kommt von der Adresse in der Datei",
            "the letter came from the address on file",
        ],
        Kind::Challenge => {
            ["een code kwam terug", "un code est revenu", "ein Code kam zurück", "a code came back"]
        }
        Kind::Match => {
            ["gegevens kloppen", "des détails concordent", "Angaben stimmen", "details agree"]
        }
        Kind::Signature => ["handtekening", "signature", "Signatur", "signature"],
        Kind::Id => [
            "een gemaskeerde kopie klopt",
            "une copie masquée concorde",
            "eine geschwärzte Kopie stimmt",
            "a masked copy agrees",
        ],
        Kind::InPerson => ["persoonlijk gezien", "vu en personne", "persönlich da", "in person"],
        Kind::Checkdoc => [
            "Checkdoc: geen treffer",
            "Checkdoc : pas de résultat",
            "Checkdoc: kein Treffer",
            "Checkdoc: no hit",
        ],
        Kind::Other => ["iets anders", "autre chose", "etwas anderes", "something else"],
    };
    of(words, language)
}

pub(super) fn field(field: Field, language: Language) -> &'static str {
    let words: Words = match field {
        Field::BirthDate => ["geboortedatum", "date de naissance", "Geburtsdatum", "birth date"],
        Field::Client => [
            "laatste klant en periode",
            "dernier client et période",
            "letzter Kunde und Zeitraum",
            "last client and period",
        ],
        Field::StartDate => ["startdatum", "date de début", "erster Arbeitstag", "start date"],
    };
    of(words, language)
}

pub(super) fn right(right: Right, language: Language) -> &'static str {
    let words: Words = match right {
        Right::Marketing => {
            ["geen reclame meer", "plus de publicité", "keine Werbung", "no advertising"]
        }
        Right::Unsubscribe => [
            "geen nieuwsbrief meer",
            "plus de lettre d'information",
            "kein Rundbrief",
            "no newsletter",
        ],
        Right::Withdrawal => [
            "toestemming intrekken",
            "retrait du consentement",
            "Widerruf der Einwilligung",
            "withdraw consent",
        ],
        Right::Rectification => ["verbetering", "rectification", "Berichtigung", "rectification"],
        Right::Erasure => [
            "wissen, nooit gewerkt",
            "effacement, jamais travaillé",
            "Löschung, nie gearbeitet",
            "erasure, never worked",
        ],
        Right::Restriction => ["beperking", "limitation", "Einschränkung", "restriction"],
        Right::Objection => ["bezwaar", "opposition", "Widerspruch", "objection"],
        Right::Access => ["inzage", "accès", "Auskunft", "access"],
        Right::Portability => {
            ["overdraagbaarheid", "portabilité", "Übertragbarkeit", "portability"]
        }
        Right::ErasureWorked => [
            "wissen, heeft gewerkt",
            "effacement, a travaillé",
            "Löschung, hat gearbeitet",
            "erasure, has worked",
        ],
        Right::AccessSensitive => [
            "inzage met loon of gezondheid",
            "accès avec paie ou santé",
            "Auskunft mit Lohn oder Gesundheit",
            "access with pay or health",
        ],
        Right::Account => {
            ["ander rekeningnummer", "autre numéro de compte", "anderes Konto", "another account"]
        }
    };
    of(words, language)
}

pub(super) fn step(step: Step, language: Language) -> &'static str {
    let words: Words = match step {
        Step::Accept => [
            "genoeg: aanvaard met --accept {level}",
            "suffisant : acceptez avec --accept {level}",
            "genug: anerkennen mit --accept {level}",
            "enough: accept it with --accept {level}",
        ],
        Step::ImportPeople => [
            "breng de lijst (kluis people import)",
            "apportez la liste (kluis people import)",
            "die Liste bringen (kluis people import)",
            "bring the list (kluis people import)",
        ],
        Step::ChoosePerson => [
            "zoek uit van wie de brief is",
            "cherchez de qui vient la lettre",
            "herausfinden, von wem der Brief ist",
            "find out whose letter it is",
        ],
        Step::AskWhichContact => [
            "vraag met welk adres of nummer wij de persoon kennen",
            "demandez sous quelle adresse ou quel numéro nous connaissons la personne",
            "fragen, unter welcher Adresse oder Nummer wir die Person kennen",
            "ask by which address or number we know the person",
        ],
        Step::WriteFromAddress => [
            "laat van het adres in het bestand schrijven",
            "faites écrire de l'adresse au fichier",
            "von der Adresse in der Datei schreiben lassen",
            "have them write from the address on file",
        ],
        Step::SendCode => [
            "stuur een eenmalige code naar een contact in het bestand (--record challenge)",
            "envoyez un code à usage unique à un contact au fichier (--record challenge)",
            "einen einmaligen Code an einen Kontakt in der Datei schicken (--record challenge)",
            "send a single-use code to a contact on file (--record challenge)",
        ],
        Step::AskDetails => [
            "vraag twee gegevens die wij al hebben: {details} (--record match)",
            "demandez deux détails que nous avons déjà : {details} (--record match)",
            "nach zwei Angaben fragen, die wir schon haben: {details} (--record match)",
            "ask for two details that we hold already: {details} (--record match)",
        ],
        Step::SignOrCome => [
            "of laat met eID of itsme tekenen, of langskomen (--record signature, in-person)",
            "ou faites signer avec eID ou itsme, ou venir (--record signature, in-person)",
            "oder mit eID oder itsme unterschreiben oder vorbeikommen lassen (--record signature, in-person)",
            "or have them sign with eID or itsme, or come by (--record signature, in-person)",
        ],
        Step::AskMaskedCopy => [
            "of, wegens de twijfel, vraag een gemaskeerde kopie (--copy-letter)",
            "ou, à cause du doute, demandez une copie masquée (--copy-letter)",
            "oder wegen des Zweifels um eine geschwärzte Kopie bitten (--copy-letter)",
            "or, because of the doubt, ask for a masked copy (--copy-letter)",
        ],
    };
    of(words, language)
}
