//! What a document says, field by field, and how far it is borne out.
//!
//! A check digit bears out what it covers and nothing else: none covers a name, the sex, the issuer or
//! the nationality. Such a field is consistent only where a second source says the same: the national
//! number, the sender's name. One verdict sums it up. It never says that a document is genuine: a
//! picture shows that somebody has a picture. Pure.

use jiff::civil::Date;

use super::mrz::names::NameMatch;
use super::mrz::{Checked, Mrz, PersonNumber};
use super::numbers::{self, NationalNumber};

/// A field of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldName {
    /// The number of the document.
    DocumentNumber,
    /// Surname.
    Surname,
    /// Given names.
    GivenNames,
    /// Birth date.
    BirthDate,
    /// Last day of validity.
    ExpiryDate,
    /// Sex.
    Sex,
    /// Nationality.
    Nationality,
    /// Who issued it.
    Issuer,
}

impl FieldName {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::DocumentNumber,
        Self::Surname,
        Self::GivenNames,
        Self::BirthDate,
        Self::ExpiryDate,
        Self::Sex,
        Self::Nationality,
        Self::Issuer,
    ];

    /// As it is called in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::DocumentNumber => "document_number",
            Self::Surname => "surname",
            Self::GivenNames => "given_names",
            Self::BirthDate => "birth_date",
            Self::ExpiryDate => "expiry_date",
            Self::Sex => "sex",
            Self::Nationality => "nationality",
            Self::Issuer => "issuer",
        }
    }
}

/// How far a field is borne out, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something else says the same.
    Consistent(Reason),
    /// It was read; nothing bears it out.
    Unproven(Reason),
    /// Something else says otherwise.
    Inconsistent(Reason),
}

impl Standing {
    /// As it is called in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Consistent(_) => "consistent",
            Self::Unproven(_) => "unproven",
            Self::Inconsistent(_) => "inconsistent",
        }
    }

    /// Why.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Consistent(reason) | Self::Unproven(reason) | Self::Inconsistent(reason) => {
                reason
            }
        }
    }
}

/// Why a field stands as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its check digit fits.
    CheckDigit,
    /// Its check digit does not fit.
    WrongCheckDigit,
    /// It has no check digit, and nothing else says the same.
    NoCheckDigit,
    /// Characters that look alike would fit as well.
    LookAlikes,
    /// The number of a Belgian card breaks its own rule, as those of specimens do.
    CardNumber,
    /// The national number says the same.
    NationalNumber,
    /// The national number says otherwise.
    OtherNationalNumber,
    /// The national number on a Belgian card breaks its own rule.
    BrokenNationalNumber,
    /// The name that the letter gives is the same.
    NameOfSender,
    /// The letter gives another name.
    OtherName,
    /// Only a part of the name could be compared.
    PartOfName,
    /// It was mended from what was read.
    Mended,
    /// It is no date.
    NoDate,
    /// The document does not say all of it.
    NotSaid,
    /// The front of the document says the same.
    Front,
    /// The front of the document says nearly the same: a letter may have been misread.
    NearFront,
    /// The front of the document says otherwise.
    OtherFront,
    /// It could not be read clearly.
    NotClear,
    /// Only the front says it.
    FrontOnly,
}

impl Reason {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::CheckDigit => "its check digit fits",
            Self::WrongCheckDigit => "its check digit does not fit",
            Self::NoCheckDigit => "it has no check digit, and nothing else says the same",
            Self::LookAlikes => "characters that look alike would fit as well",
            Self::CardNumber => "the number of a Belgian card has other last digits",
            Self::NationalNumber => "the national number says the same",
            Self::OtherNationalNumber => "the national number says otherwise",
            Self::BrokenNationalNumber => "the national number has other last digits",
            Self::NameOfSender => "the letter gives the same name",
            Self::OtherName => "the letter gives another name",
            Self::PartOfName => "only a part of the name could be compared",
            Self::Mended => "it was mended from what was read",
            Self::NoDate => "it is no date",
            Self::NotSaid => "the document does not say all of it",
            Self::Front => "the front of the document says the same",
            Self::NearFront => "the front of the document says nearly the same",
            Self::OtherFront => "the front of the document says otherwise",
            Self::NotClear => "it could not be read clearly",
            Self::FrontOnly => "it stands on the front alone",
        }
    }
}

/// One field.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// Which.
    pub name: FieldName,
    /// What it says; empty where it says nothing.
    pub value: String,
    /// How far that is borne out.
    pub standing: Standing,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Field")
            .field("name", &self.name)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

/// The sum of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing contradicts anything.
    Consistent,
    /// These fields are contradicted, or their check digits wrong.
    Inconsistent(Vec<FieldName>),
    /// Several ways to mend what was read are as good.
    Ambiguous,
    /// Consistent, and no longer valid. That is no reason to refuse a request.
    Expired,
    /// It says of itself that it is a specimen.
    Specimen,
    /// There may be a document, but it cannot be read.
    Unreadable,
    /// Nothing of it is a document that is known here.
    NotADocument,
    /// It was not looked at: the models are not there.
    NotRead,
    /// There is no copy of a document at all.
    Absent,
}

impl Verdict {
    /// As it is called in output.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Consistent => "consistent",
            Self::Inconsistent(_) => "inconsistent",
            Self::Ambiguous => "ambiguous",
            Self::Expired => "expired",
            Self::Specimen => "specimen",
            Self::Unreadable => "unreadable",
            Self::NotADocument => "not a document",
            Self::NotRead => "not read",
            Self::Absent => "absent",
        }
    }
}

/// What is known besides the document.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The day.
    pub today: Date,
    /// Names that the letter gives to its sender.
    pub names: &'a [&'a str],
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("today", &self.today).finish_non_exhaustive()
    }
}

/// What a document says and how that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The sum.
    pub verdict: Verdict,
    /// Each field, in the order of [`FieldName::ALL`].
    pub fields: Vec<Field>,
}

/// Judges what a machine-readable zone says.
#[must_use]
pub fn judge(mrz: &Mrz, known: Known<'_>) -> Evidence {
    let fields: Vec<Field> =
        FieldName::ALL.into_iter().map(|name| field(mrz, known, name)).collect();
    let mut contradicted: Vec<FieldName> = fields
        .iter()
        .filter(|field| matches!(field.standing, Standing::Inconsistent(_)))
        .map(|field| field.name)
        .collect();
    // A composite or optional digit that alone is wrong says that something is, not what.
    let is_wrong = |of| mrz.check(of) == Some(false);
    if contradicted.is_empty() && (is_wrong(Checked::Composite) || is_wrong(Checked::Optional)) {
        contradicted.push(FieldName::DocumentNumber);
    }
    let expired = mrz.expiry.and_then(|expiry| expiry.date).is_some_and(|day| day < known.today);
    let verdict = if mrz.is_specimen {
        Verdict::Specimen
    } else if mrz.is_ambiguous {
        Verdict::Ambiguous
    } else if !contradicted.is_empty() {
        Verdict::Inconsistent(contradicted)
    } else if expired {
        Verdict::Expired
    } else {
        Verdict::Consistent
    };
    Evidence { verdict, fields }
}

fn field(mrz: &Mrz, known: Known<'_>, name: FieldName) -> Field {
    let (value, standing) = match name {
        FieldName::DocumentNumber => (mrz.number.clone(), number(mrz)),
        FieldName::Surname => (mrz.names.surname.clone(), name_standing(mrz, known)),
        FieldName::GivenNames => (mrz.names.given.clone(), name_standing(mrz, known)),
        FieldName::BirthDate => {
            let date = mrz.birth.date;
            let full = date.map(|date| date.to_string());
            let year = mrz.birth.year.map(|year| year.to_string());
            (full.or(year).unwrap_or_default(), birth(mrz))
        }
        FieldName::ExpiryDate => match mrz.expiry {
            None => (String::new(), Standing::Unproven(Reason::NotSaid)),
            Some(expiry) => {
                let standing = date_standing(mrz, Checked::Expiry, expiry.is_sound, expiry.date);
                (expiry.date.map(|date| date.to_string()).unwrap_or_default(), standing)
            }
        },
        FieldName::Sex => {
            (mrz.sex.map(|sex| sex.letter().to_string()).unwrap_or_default(), sex(mrz))
        }
        FieldName::Nationality => {
            (mrz.nationality.clone().unwrap_or_default(), Standing::Unproven(Reason::NoCheckDigit))
        }
        FieldName::Issuer => {
            let is_borne_out = mrz.issuer == "BEL" && belgian(mrz).is_some() && is_card_number(mrz);
            let standing = if is_borne_out {
                Standing::Consistent(Reason::NationalNumber)
            } else {
                Standing::Unproven(Reason::NoCheckDigit)
            };
            (mrz.issuer.clone(), standing)
        }
    };
    let standing = match standing {
        Standing::Unproven(_) if value.is_empty() => Standing::Unproven(Reason::NotSaid),
        // Each of several repairs makes it fit.
        Standing::Consistent(Reason::CheckDigit | Reason::NationalNumber) if mrz.is_ambiguous => {
            Standing::Unproven(Reason::LookAlikes)
        }
        other => other,
    };
    Field { name, value, standing }
}

const fn belgian(mrz: &Mrz) -> Option<&NationalNumber> {
    match &mrz.person {
        Some(PersonNumber::Belgian(number)) => Some(number),
        _ => None,
    }
}

fn is_card_number(mrz: &Mrz) -> bool {
    numbers::card(&mrz.number).is_ok()
}

fn number(mrz: &Mrz) -> Standing {
    let is_card = mrz.issuer == "BEL" && mrz.number.bytes().all(|byte| byte.is_ascii_digit());
    if mrz.check(Checked::Number) != Some(true) {
        Standing::Inconsistent(Reason::WrongCheckDigit)
    } else if !mrz.look_alikes.is_empty() {
        Standing::Unproven(Reason::LookAlikes)
    } else if is_card && mrz.number.len() == 12 && !is_card_number(mrz) {
        Standing::Unproven(Reason::CardNumber)
    } else {
        Standing::Consistent(Reason::CheckDigit)
    }
}

fn date_standing(mrz: &Mrz, of: Checked, is_sound: bool, date: Option<Date>) -> Standing {
    if mrz.check(of) != Some(true) {
        Standing::Inconsistent(Reason::WrongCheckDigit)
    } else if !is_sound {
        Standing::Inconsistent(Reason::NoDate)
    } else if date.is_none() {
        Standing::Unproven(Reason::NotSaid)
    } else {
        Standing::Consistent(Reason::CheckDigit)
    }
}

fn birth(mrz: &Mrz) -> Standing {
    let by_digit = date_standing(mrz, Checked::Birth, mrz.birth.is_sound, mrz.birth.date);
    let (Standing::Consistent(_) | Standing::Unproven(_)) = by_digit else { return by_digit };
    match mrz.person {
        // Whoever changes a birth date and breaks the number that has it, too, must not be better off for
        // it. Those of specimens are broken as they come.
        Some(PersonNumber::BelgianUnproven) if !mrz.is_specimen => {
            return Standing::Inconsistent(Reason::BrokenNationalNumber);
        }
        // Foreigners have a number there that has no date in it.
        Some(PersonNumber::Bulgarian(false)) if mrz.nationality.as_deref() == Some("BGR") => {
            return Standing::Inconsistent(Reason::OtherNationalNumber);
        }
        _ => {}
    }
    let Some(born) = belgian(mrz).and_then(NationalNumber::birth) else { return by_digit };
    let same = |known: Option<u8>, read: Option<i8>| {
        known.is_none() || read.is_none() || known == read.and_then(|read| u8::try_from(read).ok())
    };
    // Both may leave parts open; what both say must be the same.
    let year = mrz.birth.year.is_none_or(|year| year % 100 == born.year % 100);
    let month = same(born.month, mrz.birth.month.and_then(|month| i8::try_from(month).ok()));
    let day = same(born.day, mrz.birth.date.map(Date::day));
    match (year && month && day, born.date()) {
        (false, _) => Standing::Inconsistent(Reason::OtherNationalNumber),
        (true, Some(date)) if mrz.birth.date == Some(date) => {
            Standing::Consistent(Reason::NationalNumber)
        }
        (true, _) => by_digit,
    }
}

fn sex(mrz: &Mrz) -> Standing {
    match (mrz.sex, belgian(mrz).and_then(NationalNumber::sex)) {
        (Some(read), Some(known)) if read == known => Standing::Consistent(Reason::NationalNumber),
        (Some(_), Some(_)) => Standing::Inconsistent(Reason::OtherNationalNumber),
        _ => Standing::Unproven(Reason::NoCheckDigit),
    }
}

/// A name that the letter gives bears the name out; if it gives names and none is this, the name is
/// contradicted.
fn name_standing(mrz: &Mrz, known: Known<'_>) -> Standing {
    let ways = || std::iter::once(&mrz.names).chain(&mrz.other_names);
    let matches: Vec<NameMatch> =
        known.names.iter().flat_map(|name| ways().map(|way| way.agrees(name))).collect();
    if matches.contains(&NameMatch::Agrees) {
        Standing::Consistent(Reason::NameOfSender)
    } else if matches.contains(&NameMatch::Partly) {
        Standing::Unproven(Reason::PartOfName)
    } else if !matches.is_empty() {
        Standing::Inconsistent(Reason::OtherName)
    } else if mrz.is_name_mended() {
        Standing::Unproven(Reason::Mended)
    } else {
        Standing::Unproven(Reason::NoCheckDigit)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::identity::mrz::{check_digit, read};

    const TODAY: Date = date(2026, 11, 30);
    const CARD: &str = "IDBEL592345678<9815<<<<<<<<<<<\n7801022M2807144BEL780102301237\n\
                        DUPONT<<JEAN<PIERRE<L<<<<<<<<<";

    fn judged(text: &str, names: &[&str]) -> Evidence {
        judge(&read(text, TODAY).expect("is one"), Known { today: TODAY, names })
    }

    fn standing(evidence: &Evidence, name: FieldName) -> Standing {
        evidence.fields.iter().find(|field| field.name == name).expect("is there").standing
    }

    #[test]
    fn what_is_known_of_a_letter_shows_no_name_where_it_is_printed() {
        let known = Known { today: TODAY, names: &["Jean Dupont"] };
        let printed = format!("{known:?}");
        assert!(printed.contains("2026") && !printed.contains("Dupont"), "{printed}");
    }

    #[test]
    fn a_belgian_card_bears_itself_out_except_for_its_name_and_nationality() {
        let evidence = judged(CARD, &[]);
        assert_eq!(evidence.verdict, Verdict::Consistent);
        for (name, wanted) in [
            (FieldName::DocumentNumber, Standing::Consistent(Reason::CheckDigit)),
            (FieldName::BirthDate, Standing::Consistent(Reason::NationalNumber)),
            (FieldName::ExpiryDate, Standing::Consistent(Reason::CheckDigit)),
            (FieldName::Sex, Standing::Consistent(Reason::NationalNumber)),
            (FieldName::Issuer, Standing::Consistent(Reason::NationalNumber)),
            (FieldName::Surname, Standing::Unproven(Reason::NoCheckDigit)),
            (FieldName::GivenNames, Standing::Unproven(Reason::NoCheckDigit)),
            (FieldName::Nationality, Standing::Unproven(Reason::NoCheckDigit)),
        ] {
            assert_eq!(standing(&evidence, name), wanted, "{name:?}");
        }
    }

    #[test]
    fn the_name_of_the_sender_bears_a_name_out_or_contradicts_it() {
        let evidence = judged(CARD, &["Jean-Pierre Dupont"]);
        let wanted = Standing::Consistent(Reason::NameOfSender);
        assert_eq!(standing(&evidence, FieldName::Surname), wanted);
        let evidence = judged(CARD, &["Lotte Vandevelde"]);
        let which = vec![FieldName::Surname, FieldName::GivenNames];
        assert_eq!(evidence.verdict, Verdict::Inconsistent(which));
        let evidence = judged(CARD, &["J. Dupont", "Dupont"]);
        assert_eq!(evidence.verdict, Verdict::Consistent);
        assert_eq!(standing(&evidence, FieldName::Surname), Standing::Unproven(Reason::PartOfName));
        // One of several names is enough: a married name, a nickname in From.
        let evidence = judged(CARD, &["Jipé", "Jean Dupont"]);
        assert_eq!(evidence.verdict, Verdict::Consistent);
    }

    #[test]
    fn a_sex_or_a_birth_date_that_the_national_number_denies_is_inconsistent() {
        let evidence = judged(&CARD.replace("7801022M", "7801022F"), &[]);
        assert_eq!(evidence.verdict, Verdict::Inconsistent(vec![FieldName::Sex]));
        // Another birth date with right check digits of its own.
        let other =
            CARD.replace("7801022M2807144BEL780102301237", "7802029M2807144BEL780102301231");
        let evidence = judged(&other, &[]);
        let wanted = Standing::Inconsistent(Reason::OtherNationalNumber);
        assert_eq!(standing(&evidence, FieldName::BirthDate), wanted);
    }

    /// The second line with its last check digit, of a card with this first one.
    fn with_composite(first: &str, second: &str) -> String {
        let parts = [&first[5..30], &second[..7], &second[8..15], &second[18..29]];
        format!("{}{}", &second[..29], check_digit(parts).expect("a digit"))
    }

    #[test]
    fn a_national_number_that_breaks_its_own_rule_takes_the_birth_date_with_it() {
        // Birth date and sex are others, and the number was spoilt, so that nothing says otherwise.
        let other = "8001025F2807144BEL780102301244";
        let first = CARD.lines().next().expect("a line");
        assert_eq!(with_composite(first, other), other, "all check digits are right");
        let text = CARD.replace("7801022M2807144BEL780102301237", other);
        let evidence = judged(&text, &[]);
        assert_eq!(evidence.verdict, Verdict::Inconsistent(vec![FieldName::BirthDate]));
        let wanted = Standing::Inconsistent(Reason::BrokenNationalNumber);
        assert_eq!(standing(&evidence, FieldName::BirthDate), wanted);
        // That of a specimen is broken as it comes, and a card without one has none that is.
        let specimen = text.replace("DUPONT<<JEAN<PIERRE<L<<<", "SPECIMEN<<SPECIMEN<<<<<<");
        let evidence = judged(&specimen, &[]);
        assert_eq!(evidence.verdict, Verdict::Specimen);
        let wanted = Standing::Consistent(Reason::CheckDigit);
        assert_eq!(standing(&evidence, FieldName::BirthDate), wanted);
        let without = with_composite(first, "8001025F2807144BEL<<<<<<<<<<<");
        let evidence = judged(&text.replace(other, &without), &[]);
        assert_eq!(evidence.verdict, Verdict::Consistent);
        assert_eq!(standing(&evidence, FieldName::Sex), Standing::Unproven(Reason::NoCheckDigit));
    }

    #[test]
    fn a_bulgarian_number_of_another_birth_date_contradicts_it_unless_it_is_a_foreigner_s() {
        let first = "IDBGR6432101230<<<<<<<<<<<<<<<";
        let of = |second: &str| {
            let second = with_composite(first, second);
            judged(&format!("{first}\n{second}\nPETROVA<<MARIYA<IVANOVA<<<<<<<"), &[])
        };
        assert_eq!(of("8001014F3101012BGR8001014507<").verdict, Verdict::Consistent);
        let evidence = of("8001014F3101012BGR8002014507<");
        assert_eq!(evidence.verdict, Verdict::Inconsistent(vec![FieldName::BirthDate]));
        let wanted = Standing::Inconsistent(Reason::OtherNationalNumber);
        assert_eq!(standing(&evidence, FieldName::BirthDate), wanted);
        assert_eq!(of("8001014F3101012UKR1000512345<").verdict, Verdict::Consistent);
    }

    #[test]
    fn a_name_agrees_in_either_way_to_read_what_may_be_a_filler() {
        let name = "NOVAK<<JANEKKKKKKKKKKKKKKKKKKK";
        let text = CARD.replace("DUPONT<<JEAN<PIERRE<L<<<<<<<<<", name);
        for (sender, wanted) in [
            (&["Jane Novak"][..], Standing::Consistent(Reason::NameOfSender)),
            (&["Janek Novak"], Standing::Consistent(Reason::NameOfSender)),
            (&["Janekk Novak"], Standing::Inconsistent(Reason::OtherName)),
            (&["Jan Novak"], Standing::Inconsistent(Reason::OtherName)),
            (&[], Standing::Unproven(Reason::Mended)),
        ] {
            assert_eq!(
                standing(&judged(&text, sender), FieldName::GivenNames),
                wanted,
                "{sender:?}"
            );
        }
    }

    #[test]
    fn of_several_ways_to_mend_a_field_none_makes_it_consistent() {
        // No letter of it looks like another, and four are as good in one place.
        let number = "AAR347394";
        let digit = check_digit([number]).expect("a digit");
        let second = format!("{number}{digit}BEL9104174F2903013<<<<<<<<<<<<<<0");
        let parts = [&second[..10], &second[13..20], &second[21..43]];
        let digit = check_digit(parts).expect("a digit");
        let text = format!("P<BELVANDEVELDE<<LOTTE<MARIE<<<<<<<<<<<<<<<<\n{second}{digit}");
        for (text, verdict, wanted) in [
            (text.clone(), Verdict::Consistent, Standing::Consistent(Reason::CheckDigit)),
            (
                text.replace(number, "AAR?47394"),
                Verdict::Ambiguous,
                Standing::Unproven(Reason::LookAlikes),
            ),
        ] {
            assert_eq!(read(&text, TODAY).expect("is one").look_alikes, [""; 0]);
            let evidence = judged(&text, &[]);
            assert_eq!(evidence.verdict, verdict);
            assert_eq!(standing(&evidence, FieldName::DocumentNumber), wanted);
        }
        // Nor does the national number, where the sex is one of two that nobody could read.
        let evidence = judged(&CARD.replace("7801022M", "7801022?"), &[]);
        assert_eq!(evidence.verdict, Verdict::Ambiguous);
        assert_ne!(standing(&evidence, FieldName::BirthDate).word(), "consistent");
    }

    #[test]
    fn an_expired_card_is_said_to_be_so_and_a_specimen_too() {
        let text = "I<POLZZC3005673<<<<<<<<<<<<<<<\n8708128F1004153POL<<<<<<<<<<<8\n\
                    NOWAK<<KATARZYNA<<<<<<<<<<<<<<";
        let evidence = judged(text, &[]);
        assert_eq!(evidence.verdict, Verdict::Expired);
        let text = "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\n\
                    ERIKSSON<<ANNA<MARIA<<<<<<<<<<";
        assert_eq!(judged(text, &[]).verdict, Verdict::Specimen);
        assert_eq!(format!("{:?}", judged(text, &[])).matches("ERIKSSON").count(), 0);
    }
}
