//! What stands on a document besides its zone: names, dates and numbers below their labels, in
//! Dutch, French, German and English.
//!
//! None of it has check digits. It is a second source: what the zone says too is borne out by it.

mod licence;

use jiff::civil::Date;
use minicbor::{Decode, Encode};

use super::Seen;

/// A value, and how sure the reader is of it.
#[derive(Clone, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Said {
    /// As it was read; dates as `YYYY-MM-DD`, numbers as digits and letters only.
    #[n(0)]
    pub value: String,
    /// From 0 to 1.
    #[n(1)]
    pub sure: f32,
    /// Its corners on the page.
    #[n(2)]
    pub place: [(f32, f32); 4],
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Said").field("sure", &self.sure).finish_non_exhaustive()
    }
}

/// What the front says.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Front {
    /// Surname.
    #[n(0)]
    pub surname: Option<Said>,
    /// Given names.
    #[n(1)]
    pub given: Option<Said>,
    /// Birth date.
    #[n(2)]
    pub birth: Option<Said>,
    /// Last day of validity.
    #[n(3)]
    pub expiry: Option<Said>,
    /// `M` or `F`.
    #[n(4)]
    pub sex: Option<Said>,
    /// Nationality, as it is printed.
    #[n(5)]
    pub nationality: Option<Said>,
    /// Number of the document.
    #[n(6)]
    pub number: Option<Said>,
    /// National number.
    #[n(7)]
    pub national: Option<Said>,
    /// Whether it says that it is a specimen.
    #[n(8)]
    pub is_specimen: bool,
    /// Whether it says what kind of document it is, or has the numbers of a driving licence.
    #[n(9)]
    pub has_title: bool,
    /// Labels of different kinds that were found.
    #[n(10)]
    pub labels: u8,
}

impl Front {
    /// Where its values stand.
    pub(super) fn places(&self) -> Vec<[(f32, f32); 4]> {
        let names = [&self.surname, &self.given, &self.expiry];
        let others = [&self.birth, &self.sex, &self.nationality, &self.number, &self.national];
        names.into_iter().chain(others).flatten().map(|said| said.place).collect()
    }
}

/// A kind of label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    Given,
    Surname,
    Birth,
    Expiry,
    Sex,
    Nationality,
    National,
    Number,
}

/// How labels begin, folded to plain small letters without anything between them; the first that
/// fits counts, so that `geboortedatum` is no `datum`.
const LABELS: [(Label, &[&str]); 8] = [
    (
        Label::Given,
        &["voorna", "prenom", "vorname", "givenname", "givennames", "forename", "firstname"],
    ),
    (
        Label::Birth,
        &[
            "geboortedatum",
            "geborenop",
            "datedenaissance",
            "neele",
            "geburtsdatum",
            "geburtstag",
            "dateofbirth",
            "geboren",
        ],
    ),
    (
        Label::Expiry,
        &[
            "geldigtot",
            "geldigtotenmet",
            "vervaldatum",
            "einddatum",
            "expirele",
            "datedexpiration",
            "valablejusqu",
            "gultigbis",
            "giiltigbis",
            "expirydate",
            "dateofexpiry",
            "validuntil",
            "expires",
        ],
    ),
    (Label::Sex, &["geslacht", "sexe", "geschlecht", "sex"]),
    (Label::Nationality, &["nationalit", "staatsangeh", "nationality"]),
    (
        Label::National,
        &[
            "rijksregister",
            "nregistrenational",
            "noregistrenational",
            "registrenational",
            "nationalregister",
            "nrn",
            "insz",
            "niss",
            "identificatienummervanhetrijksregister",
        ],
    ),
    (
        Label::Number,
        &[
            "kaartnummer",
            "kaartnr",
            "ncarte",
            "nocarte",
            "nodecarte",
            "numerodecarte",
            "kartennr",
            "kartennummer",
            "cardno",
            "cardnumber",
            "documentnummer",
            "documentno",
            "documentnumber",
            "passportno",
            "passportnumber",
            "npasseport",
        ],
    ),
    (Label::Surname, &["naam", "nom", "name", "surname", "familienname", "familyname"]),
];

/// What a document says of its kind.
const TITLES: [&str; 14] = [
    "identiteitskaart",
    "cartedidentite",
    "cartenationaledidentite",
    "personalausweis",
    "identitycard",
    "paspoort",
    "passeport",
    "reisepass",
    "passport",
    "verblijfstitel",
    "titredesejour",
    "aufenthaltstitel",
    "residencepermit",
    "verblijfskaart",
];
/// What a specimen says of itself.
const SPECIMENS: [&str; 3] = ["specimen", "spécimen", "musterkarte"];

/// What stands between a label and its value on the same line.
const END_OF_LABEL: [char; 2] = [':', '：'];
/// How far below its label a value stands, and how far to its side: in heights of the label.
const BELOW: std::ops::Range<f32> = 0.35..3.2;
const ASIDE: f32 = 3.0;

/// Reads the front out of the lines of a page.
pub(super) fn read(seen: &[Seen]) -> Front {
    let mut front = Front::default();
    let labels: Vec<Option<Label>> = seen.iter().map(|one| label(&one.text)).collect();
    let mut kinds = Vec::new();
    for (nr, one) in seen.iter().enumerate() {
        let plain = plain(&one.text);
        front.has_title |= is_title(&one.text);
        front.is_specimen |= SPECIMENS.iter().any(|word| plain.contains(word));
        let Some(kind) = labels[nr] else { continue };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
        let below = nearest_below(seen, &labels, nr).map(|at| (&seen[at], seen[at].text.as_str()));
        // On the same line, behind a colon or another sign that ends the label.
        let beside = one.text.split_once(END_OF_LABEL).map(|(_, value)| (one, value.trim()));
        for (value, text) in beside.into_iter().chain(below) {
            let Some(said) = taken(kind, value, text) else { continue };
            let slot = match kind {
                Label::Given => &mut front.given,
                Label::Surname => &mut front.surname,
                Label::Birth => &mut front.birth,
                Label::Expiry => &mut front.expiry,
                Label::Sex => &mut front.sex,
                Label::Nationality => &mut front.nationality,
                Label::National => &mut front.national,
                Label::Number => &mut front.number,
            };
            if slot.as_ref().is_none_or(|had| had.sure < said.sure) {
                *slot = Some(said);
            }
            break;
        }
    }
    front.labels = kinds.len() as u8;
    front.has_title |= licence::is_one(seen);
    front
}

/// The text of a line without the label that it begins with, if a sign ends that.
pub(super) fn value(text: &str) -> &str {
    match text.split_once(END_OF_LABEL) {
        Some((_, value)) if label(text).is_some() => value.trim(),
        _ => text.trim(),
    }
}

/// The label that a line begins with, if a sign ends that.
pub(super) fn own_label(text: &str) -> Option<Label> {
    text.contains(END_OF_LABEL).then(|| label(text)).flatten()
}

/// Whether a line says what kind of document it is.
pub(super) fn is_title(text: &str) -> bool {
    let plain = plain(text);
    TITLES.iter().any(|title| plain.contains(title))
}

/// Whether more than the number of a field stands before the sign that ends a label.
pub(super) fn has_number_in_label(text: &str) -> bool {
    let label = text.split_once(END_OF_LABEL).map_or("", |(label, _)| label);
    label.chars().filter(|c| c.is_numeric()).count() > 1
}

/// The text without accents, capitals and anything but letters.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(char::to_lowercase)
        .filter_map(|letter| match letter {
            'a'..='z' => Some(letter),
            'à' | 'á' | 'â' | 'ä' => Some('a'),
            'è' | 'é' | 'ê' | 'ë' => Some('e'),
            'ì' | 'í' | 'î' | 'ï' => Some('i'),
            'ò' | 'ó' | 'ô' | 'ö' => Some('o'),
            'ù' | 'ú' | 'û' | 'ü' => Some('u'),
            'ç' => Some('c'),
            _ => None,
        })
        .collect()
}

/// The label that a line is, if it is one.
pub(super) fn label(text: &str) -> Option<Label> {
    // A value in capitals and digits is none, and neither is a sentence.
    if text.chars().count() > 60 {
        return None;
    }
    let first = plain(text.split(['/', ':']).next().unwrap_or_default());
    let whole = plain(text);
    LABELS
        .iter()
        .find(|(kind, begins)| {
            begins.iter().any(|begin| match kind {
                // Short words that begin many others.
                Label::Surname | Label::Sex => {
                    first == *begin
                        || whole == *begin
                        || whole == format!("{begin}surname")
                        || whole == format!("{begin}sex")
                }
                _ => first.starts_with(begin) || whole.starts_with(begin),
            })
        })
        .map(|(kind, _)| *kind)
}

/// The line that stands below this one, nearest.
fn nearest_below(seen: &[Seen], labels: &[Option<Label>], nr: usize) -> Option<usize> {
    let off = |at: &usize| below(&seen[nr], &seen[*at]);
    (0..seen.len())
        .filter(|at| *at != nr && labels[*at].is_none())
        .filter_map(|at| Some((off(&at)?, at)))
        .min_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, at)| at)
}

/// How far below a label another line stands, in pixels, if it can be a value of it.
pub(super) fn below(label: &Seen, other: &Seen) -> Option<f32> {
    let height = label.quad.height().max(1.0);
    let (left, _) = label.quad.ends();
    let (ux, uy) = label.quad.along();
    let (begin, _) = other.quad.ends();
    let (dx, dy) = (begin.0 - left.0, begin.1 - left.1);
    let (along, off) = ((dx * ux + dy * uy) / height, (dy * ux - dx * uy) / height);
    (along.abs() < ASIDE && BELOW.contains(&off)).then_some(off * height)
}

/// The value of a label, if the text can be one.
fn taken(kind: Label, seen: &Seen, text: &str) -> Option<Said> {
    let signs = |text: &str| -> String {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|sign| sign.to_ascii_uppercase())
            .collect()
    };
    let value = match kind {
        Label::Given | Label::Surname => {
            let is_name = text.chars().filter(|letter| letter.is_alphabetic()).count() >= 2
                && !text.chars().any(|letter| letter.is_ascii_digit() || letter == '<');
            is_name.then(|| text.trim().to_owned())?
        }
        Label::Birth | Label::Expiry => date(text)?.to_string(),
        Label::Sex => match signs(text).as_str() {
            "M" | "MM" => "M".into(),
            "F" | "V" | "W" | "VF" | "WF" | "FF" => "F".into(),
            _ => return None,
        },
        Label::Nationality => {
            let value = signs(text);
            (2..=24).contains(&value.len()).then_some(value)?
        }
        Label::National | Label::Number => {
            let value = signs(text);
            let digits = value.chars().filter(char::is_ascii_digit).count();
            (digits >= 4 && value.len() <= 16).then_some(value)?
        }
    };
    Some(Said { value, sure: seen.sure, place: seen.quad.0 })
}

/// The first three letters of months, without accents, as cards of the four languages write them.
const MONTHS: [&[&str]; 12] = [
    &["jan"],
    &["feb", "fev"],
    &["maa", "mar", "mrt"],
    &["apr", "avr"],
    &["mei", "mai", "may"],
    &["jun", "jui"],
    &["jul"],
    &["aug", "aou"],
    &["sep"],
    &["okt", "oct"],
    &["nov"],
    &["dec", "dez"],
];

/// The date in a text: day, month as digits or as a word, year of four digits.
fn date(text: &str) -> Option<Date> {
    let mut parts: Vec<String> = Vec::new();
    let mut last = None;
    for letter in plain_with_digits(text).chars() {
        let class = if letter.is_ascii_digit() {
            Some(0)
        } else if letter.is_ascii_lowercase() {
            Some(1)
        } else {
            None
        };
        match class {
            Some(_) if class == last => parts.last_mut()?.push(letter),
            Some(_) => parts.push(letter.into()),
            None => {}
        }
        last = class;
    }
    // A month in two languages: `JAN/JAN`.
    parts.dedup_by(|next, before| {
        [next, before].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_lowercase()))
    });
    let number = |text: &str| text.parse::<i16>().ok();
    let made = |day: &str, month: &str, year: &str| {
        let month = match number(month) {
            Some(month) => i8::try_from(month).ok()?,
            None => {
                // `juillet` and `juin` begin alike.
                let begin = if month.starts_with("juil") { "jul" } else { month.get(..3)? };
                (MONTHS.iter().position(|names| names.contains(&begin))? + 1) as i8
            }
        };
        let year = number(year).filter(|year| (1900..2100).contains(year))?;
        Date::new(year, month, i8::try_from(number(day)?).ok()?).ok()
    };
    for three in parts.windows(3) {
        if three[2].len() == 4
            && three[0].len() <= 2
            && let Some(date) = made(&three[0], &three[1], &three[2])
        {
            return Some(date);
        }
    }
    // Points are lost easily.
    let digits: String = parts.concat();
    (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| made(&digits[..2], &digits[2..4], &digits[4..]))?
}

/// Whether a text is this date and nothing more: a day, a month, a year.
pub(super) fn is_only_date(text: &str, value: &str) -> bool {
    let is_between = |letter: char| matches!(letter, ' ' | '.' | '-' | '/');
    let is_month =
        |word: &str| MONTHS.iter().any(|names| names.iter().any(|begin| word.starts_with(begin)));
    let plain = plain_with_digits(text);
    let words = plain.split(|letter: char| !letter.is_ascii_lowercase()).filter(|w| !w.is_empty());
    let words: Vec<&str> = words.collect();
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let fits = if words.is_empty() { (7..=8).contains(&digits) } else { (5..=6).contains(&digits) };
    fits && words.len() <= 2
        && words.iter().all(|word| is_month(word))
        && text.chars().all(|letter| letter.is_alphanumeric() || is_between(letter))
        && date(text).is_some_and(|date| date.to_string() == value)
}

fn plain_with_digits(text: &str) -> String {
    text.chars()
        .map(
            |letter| {
                if letter.is_alphabetic() { plain(&letter.to_string()) } else { letter.to_string() }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::picture::Quad;

    fn seen(text: &str, x: f32, y: f32, height: f32) -> Seen {
        let right = x + height * 0.5 * text.chars().count() as f32;
        let quad = Quad([(x, y), (right, y), (right, y + height), (x, y + height)]);
        Seen { text: text.into(), sure: 0.95, quad }
    }

    #[test]
    fn values_are_found_below_their_labels_in_each_language() {
        for (labels, title) in [
            (
                [
                    "Naam / Surname",
                    "Voornamen / Given names",
                    "Geboortedatum",
                    "Geldig tot / Expiry date",
                    "Geslacht / Sex",
                ],
                "IDENTITEITSKAART",
            ),
            (
                [
                    "Nom / Surname",
                    "Prénoms / Given names",
                    "Date de naissance",
                    "Expire le / Expiry date",
                    "Sexe / Sex",
                ],
                "CARTE D'IDENTITE",
            ),
            (
                [
                    "Name / Surname",
                    "Vornamen / Given names",
                    "Geburtsdatum",
                    "Gültig bis / Expiry date",
                    "Geschlecht / Sex",
                ],
                "PERSONALAUSWEIS",
            ),
            (["Surname", "Given names", "Date of birth", "Date of expiry", "Sex"], "IDENTITY CARD"),
        ] {
            let values = ["Van den Broeck", "Jan", "02.01.1978", "14 07 2028", "M"];
            let mut lines = vec![seen(title, 10.0, 2.0, 12.0), seen("SPECIMEN", 200.0, 90.0, 20.0)];
            for (nr, (label, value)) in labels.iter().zip(values).enumerate() {
                lines.push(seen(label, 10.0, 20.0 + 40.0 * nr as f32, 8.0));
                lines.push(seen(value, 11.0, 32.0 + 40.0 * nr as f32, 14.0));
            }
            let front = read(&lines);
            let value = |said: &Option<Said>| {
                said.as_ref().map(|said| said.value.clone()).unwrap_or_default()
            };
            assert_eq!(value(&front.surname), "Van den Broeck", "{title}");
            assert_eq!(value(&front.given), "Jan");
            assert_eq!(value(&front.birth), "1978-01-02");
            assert_eq!(value(&front.expiry), "2028-07-14");
            assert_eq!(value(&front.sex), "M");
            assert!(front.has_title && front.is_specimen && front.labels == 5);
        }
    }

    #[test]
    fn dates_are_read_however_they_are_written() {
        for text in [
            "02.01.1978",
            "02 01 1978",
            "02/01/1978",
            "2 jan 1978",
            "02 JANV 1978",
            "02011978",
            "02 JAN/JAN 1978",
        ] {
            let read = date(text).map(|date| date.to_string());
            assert_eq!(read.as_deref(), Some("1978-01-02"), "{text}");
        }
        assert_eq!(date("14 juillet 2028").map(|date| date.to_string()), Some("2028-07-14".into()));
        for text in ["31.02.2001", "BE71 0961 2345 6769", "", "12.13.2000", "1978"] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
