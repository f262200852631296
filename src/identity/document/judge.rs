//! What a sight of a document comes to: the zone judged as if it had been typed, and the front as a
//! second source.
//!
//! A field that front and zone agree on is borne out; one that they disagree on is contradicted only
//! where the front was read surely, else it is merely not borne out. A zone that does not check and
//! was not read clearly says nothing against the document: it is unreadable.

use super::issuer::is_issuer;
use super::{Front, Page, Said, Sight, Zone};
use crate::identity::evidence::{
    self, Evidence, Field, FieldName, Known, Reason, Standing, Verdict,
};
use crate::identity::mrz::{self, Mrz, MrzDate, Names, Repair};
use crate::identity::numbers::NationalNumber;
use crate::identity::picture::decode::DecodeError;

/// What was found out about a file.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// The sum and the fields.
    pub evidence: Evidence,
    /// Fields that are contradicted, whatever the verdict.
    pub contradicted: Vec<FieldName>,
    /// The zone, if there is one.
    pub mrz: Option<Mrz>,
    /// Why a file could not be read at all.
    pub refused: Option<DecodeError>,
}

impl Conclusion {
    /// Nothing was read, or nothing is there.
    #[must_use]
    pub const fn empty(verdict: Verdict) -> Self {
        let evidence = Evidence { verdict, fields: Vec::new() };
        Self { evidence, contradicted: Vec::new(), mrz: None, refused: None }
    }
}

/// Check digits of a zone that fit, at least, before a picture is called a document.
const LEAST_FITTING: usize = 2;
/// A front by itself is a document with its title and this many labels, or without it and with
/// this many.
const LABELS_WITH_TITLE: u8 = 3;
const LABELS_WITHOUT: u8 = 6;
/// From here on a line of the front is read surely.
const SURE: f32 = 0.97;
/// A zone whose path scores worse than this is other text.
pub(super) const LIKELY_SCORE: f32 = -0.9;

/// How a zone was read.
#[derive(Clone, Copy)]
struct How {
    is_clear: bool,
    is_mended: bool,
    names_agree: bool,
    number_is_sure: bool,
}

/// Judges what was seen.
#[must_use]
pub fn conclude(sight: &Sight, known: Known<'_>) -> Conclusion {
    let empty = Conclusion::empty;
    if sight.refused.is_some() {
        return Conclusion { refused: sight.refused, ..empty(Verdict::Unreadable) };
    }
    let read = |page: &Page| -> Option<(Mrz, How)> {
        let zone = page.zone.as_ref()?;
        let mrz = mrz_of(zone, known)?;
        let fitting = mrz.checks.iter().filter(|check| check.fits).count();
        let how = How {
            is_clear: zone.is_clear || zone.fits,
            is_mended: !zone.mended.is_empty(),
            names_agree: zone.names_agree,
            number_is_sure: zone.number_is_sure,
        };
        (fitting >= LEAST_FITTING.min(mrz.checks.len()) && is_issuer(&mrz.issuer))
            .then_some((mrz, how))
    };
    let zones: Vec<Option<(Mrz, How)>> = sight.pages.iter().map(read).collect();
    let holders: Vec<Option<Holder>> =
        zones.iter().map(|zone| zone.as_ref().map(|(mrz, _)| Holder::of(mrz))).collect();
    let best = zones.into_iter().flatten().max_by_key(|(mrz, how)| (mrz.fits(), how.is_clear));
    let front = merged(sight);
    if let Some((mrz, how)) = best {
        let found = with_zone(mrz, how, &front, known);
        return if is_of_several(sight, &holders, &found) { several(found) } else { found };
    }
    let is_front = front.has_title && front.labels >= LABELS_WITH_TITLE
        || front.labels >= LABELS_WITHOUT && front.national.is_some();
    if is_front {
        let found = front_only(&front, known);
        return if is_of_several(sight, &holders, &found) { several(found) } else { found };
    }
    let is_likely = |page: &Page| page.zone.as_ref().is_some_and(|zone| zone.score > LIKELY_SCORE);
    if sight.pages.iter().any(is_likely) || front.has_title {
        empty(Verdict::Unreadable)
    } else if sight.is_cut || sight.has_more {
        // What was not reached may show one.
        empty(Verdict::NotRead)
    } else {
        empty(Verdict::NotADocument)
    }
}

impl Conclusion {
    /// Whether front and zone are of one document: they say the same number and birth date, and nothing
    /// that was read surely is another; or the same name, or surname and birth date, and nothing at all is.
    /// A name may have a letter that was misread.
    #[must_use]
    pub fn is_of_one(&self) -> bool {
        let fields = &self.evidence.fields;
        let is_same = |name: FieldName| {
            let mut fields = fields.iter().filter(|field| field.name == name);
            fields.any(|field| field.standing.reason() == Reason::Front)
        };
        let is_contradicted =
            fields.iter().any(|field| field.standing == Standing::Inconsistent(Reason::OtherFront));
        let is_other = fields.iter().any(|field| field.standing.reason() == Reason::OtherFront);
        let is_one = is_same(FieldName::DocumentNumber) && is_same(FieldName::BirthDate);
        let is_theirs = is_same(FieldName::Surname)
            && (is_same(FieldName::GivenNames) || is_same(FieldName::BirthDate));
        is_one && !is_contradicted || is_theirs && !is_other
    }
}

/// Whose document a zone is.
pub(super) struct Holder {
    names: Names,
    birth: MrzDate,
    /// The number, if all check digits fit without a change.
    number: Option<String>,
}

impl Holder {
    pub(super) fn of(mrz: &Mrz) -> Self {
        let is_read = mrz.fits() && mrz.repairs.is_empty();
        let number = is_read.then(|| mrz.number.clone());
        Self { names: mrz.names.clone(), birth: mrz.birth, number }
    }

    /// Whether they are the same person, as far as a reader that errs can tell. Twins have two given names,
    /// which may be near: with another number it is somebody else's who is called otherwise. A name that
    /// was cut off, or left out in part, is no other one.
    pub(super) fn is(&self, other: &Self) -> bool {
        let is_other_paper = match (&self.number, &other.number) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        };
        let is_same = |one: &str, other: &str| {
            if is_other_paper { is_beginning(one, other) } else { is_near(one, other) }
        };
        self.birth == other.birth
            && is_same(&self.names.surname, &other.names.surname)
            && is_same(&self.names.given, &other.names.given)
    }
}

/// Whether this is so of any two: what is near to a third need not be near to each other.
pub(super) fn are_any_two<T>(all: &[T], is_so: impl Fn(&T, &T) -> bool) -> bool {
    all.iter().enumerate().any(|(nr, one)| all[nr + 1..].iter().any(|other| is_so(one, other)))
}

/// Letters from which on a name may be one that was cut off in its first word.
const CUT: usize = 8;

/// Whether two names may be one: a letter in four that is another is how a recogniser errs, and a second
/// line is easily missed, or was cut off where the line of a zone ends.
pub(super) fn is_near(one: &str, other: &str) -> bool {
    let (all, all_other) = (letters(one), letters(other));
    let longer = all.len().max(all_other.len());
    distance(&all, &all_other) * 4 <= longer || is_beginning(one, other)
}

/// Whether one of two names is the other, or its beginning: to the end of a word, or cut off in a later one,
/// or long. What parts words in one may be nothing in the other: `D'Hondt`, `DHONDT`.
fn is_beginning(one: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<Vec<char>> {
        let words = text.split(|sign: char| !sign.is_alphanumeric()).map(letters);
        words.filter(|word| !word.is_empty()).collect()
    };
    /// How many letters there are up to the end of each word.
    fn ends(words: &[Vec<char>]) -> Vec<usize> {
        words
            .iter()
            .scan(0, |sum, word| {
                *sum += word.len();
                Some(*sum)
            })
            .collect()
    }
    let begins = |long: &[Vec<char>], short: &[Vec<char>]| {
        let (all, part) = (long.concat(), short.concat());
        if part.is_empty() || !all.starts_with(&part) {
            return all.is_empty() && part.is_empty();
        }
        let (of_long, of_short) = (ends(long), ends(short));
        let is_cut = of_short.iter().rev().nth(1).is_some_and(|end| of_long.contains(end));
        of_long.contains(&part.len()) || is_cut || part.len() >= CUT
    };
    let (one, other) = (words(one), words(other));
    begins(&one, &other) || begins(&other, &one)
}

/// Whether the pages of a file may be of several documents: zones of two people, two names, or a front on
/// another page than the zone that does not go with it. `zones` are those that were taken for one, page by
/// page.
fn is_of_several(sight: &Sight, zones: &[Option<Holder>], found: &Conclusion) -> bool {
    let pages = &sight.pages;
    let differ = |of: fn(&Front) -> &Option<Said>, is_same: &dyn Fn(&str, &str) -> bool| {
        let said = pages.iter().filter_map(|page| of(&page.front).as_ref());
        let said: Vec<&str> = said.map(|said| said.value.as_str()).collect();
        are_any_two(&said, |one, other| !is_same(one, other))
    };
    let two_fronts = differ(|front| &front.surname, &is_near)
        || differ(|front| &front.given, &is_near)
        || differ(|front| &front.birth, &|one, other| one == other);
    let holders: Vec<&Holder> = zones.iter().flatten().collect();
    let two_zones = are_any_two(&holders, |one, other| !one.is(other));
    let is_named = |page: &Page| page.front.surname.is_some() || page.front.given.is_some();
    let named = || pages.iter().zip(zones).filter(|(page, _)| is_named(page));
    let is_apart =
        found.mrz.is_some() && named().all(|(_, zone)| zone.is_none()) && named().next().is_some();
    two_fronts || two_zones || is_apart && !found.is_of_one()
}

/// Nothing bears anything out where it may be of somebody else.
fn several(mut found: Conclusion) -> Conclusion {
    for field in &mut found.evidence.fields {
        if matches!(field.standing, Standing::Consistent(_)) {
            field.standing = Standing::Unproven(Reason::OtherFront);
        }
    }
    if !matches!(found.evidence.verdict, Verdict::Inconsistent(_) | Verdict::Specimen) {
        found.evidence.verdict = Verdict::Ambiguous;
    }
    found
}

fn mrz_of(zone: &Zone, known: Known<'_>) -> Option<Mrz> {
    let mut mrz = mrz::read(&zone.lines.join("\n"), known.today).ok()?;
    mrz.repairs.extend(zone.mended.iter().map(|mended| Repair {
        line: mended.line,
        column: mended.column,
        from: Some(mended.from),
        to: Some(mended.to),
        is_name: false,
    }));
    Some(mrz)
}

/// The front of all pages: the surer value of each.
fn merged(sight: &Sight) -> Front {
    let mut all = Front::default();
    let surer = |into: &mut Option<Said>, from: &Option<Said>| {
        if let Some(from) = from
            && into.as_ref().is_none_or(|into| into.sure < from.sure)
        {
            *into = Some(from.clone());
        }
    };
    for Page { front, .. } in &sight.pages {
        surer(&mut all.surname, &front.surname);
        surer(&mut all.given, &front.given);
        surer(&mut all.birth, &front.birth);
        surer(&mut all.expiry, &front.expiry);
        surer(&mut all.sex, &front.sex);
        surer(&mut all.nationality, &front.nationality);
        surer(&mut all.number, &front.number);
        surer(&mut all.national, &front.national);
        all.is_specimen |= front.is_specimen;
        all.has_title |= front.has_title;
        all.labels = all.labels.max(front.labels);
    }
    all
}

fn with_zone(mrz: Mrz, how: How, front: &Front, known: Known<'_>) -> Conclusion {
    let How { is_clear, is_mended, names_agree, number_is_sure } = how;
    let mut evidence = evidence::judge(&mrz, known);
    for field in &mut evidence.fields {
        if !is_clear && matches!(field.standing, Standing::Inconsistent(Reason::WrongCheckDigit)) {
            field.standing = Standing::Unproven(Reason::NotClear);
        }
        // Of two signs that are misread one check digit in ten is right.
        if field.name == FieldName::DocumentNumber
            && !number_is_sure
            && field.standing == Standing::Consistent(Reason::CheckDigit)
        {
            field.standing = Standing::Unproven(Reason::NotClear);
        }
        // A change made to fit a check digit is not borne out by that check digit.
        if is_mended && field.standing == Standing::Consistent(Reason::CheckDigit) {
            field.standing = Standing::Unproven(Reason::Mended);
        }
        if let Some(standing) = beside(field, &mrz, names_agree, front) {
            field.standing = standing;
        }
    }
    let contradicted: Vec<FieldName> = evidence
        .fields
        .iter()
        .filter(|field| matches!(field.standing, Standing::Inconsistent(_)))
        .map(|field| field.name)
        .collect();
    let is_specimen = front.is_specimen || evidence.verdict == Verdict::Specimen;
    evidence.verdict = match evidence.verdict {
        _ if is_specimen => Verdict::Specimen,
        Verdict::Ambiguous => Verdict::Ambiguous,
        _ if !contradicted.is_empty() => Verdict::Inconsistent(contradicted.clone()),
        _ if !mrz.fits() && !is_clear => Verdict::Unreadable,
        // A composite digit that alone is wrong: `judge` names the number for it.
        Verdict::Inconsistent(which) if !mrz.fits() => Verdict::Inconsistent(which),
        Verdict::Expired => Verdict::Expired,
        _ => Verdict::Consistent,
    };
    let contradicted = match (&evidence.verdict, contradicted) {
        (Verdict::Inconsistent(which), _) => which.clone(),
        (_, contradicted) => contradicted,
    };
    Conclusion { evidence, contradicted, mrz: Some(mrz), refused: None }
}

/// How a field of the zone stands beside the front; `None` where the front adds nothing.
fn beside(field: &Field, mrz: &Mrz, names_agree: bool, front: &Front) -> Option<Standing> {
    if matches!(field.standing, Standing::Inconsistent(_)) || field.value.is_empty() {
        return None;
    }
    // A name that no two readings of the zone have is not contradicted: it may be the reader's.
    let is_name = matches!(field.name, FieldName::Surname | FieldName::GivenNames);
    // What was not read clearly is not made good by a front that nobody compared letter by letter.
    let said = |said: &Option<Said>, same: &dyn Fn(&str) -> bool, near: &dyn Fn(&str) -> bool| {
        let said = said.as_ref()?;
        Some(if same(&said.value) {
            Standing::Consistent(Reason::Front)
        } else if said.sure >= SURE && !near(&said.value) && (names_agree || !is_name) {
            Standing::Inconsistent(Reason::OtherFront)
        } else {
            match field.standing {
                // Its own check digit is better than a front that is read with a letter wrong.
                Standing::Consistent(_) if near(&said.value) => return None,
                _ if near(&said.value) => Standing::Unproven(Reason::NearFront),
                _ => Standing::Unproven(Reason::OtherFront),
            }
        })
    };
    let near = |value: &str| is_near(value, &field.value);
    let never = |_: &str| false;
    match field.name {
        FieldName::Surname => {
            said(&front.surname, &|value| whole(&mrz.names.surname, value, mrz), &near)
        }
        FieldName::GivenNames => {
            said(&front.given, &|value| whole(&mrz.names.given, value, mrz), &near)
        }
        FieldName::BirthDate => match by_national(front, |number| {
            Some(number.birth()?.date()?.to_string() == field.value)
        }) {
            Some(false) => Some(Standing::Inconsistent(Reason::OtherNationalNumber)),
            _ => said(&front.birth, &|value| value == field.value, &never),
        },
        FieldName::ExpiryDate => said(&front.expiry, &|value| value == field.value, &never),
        FieldName::DocumentNumber => {
            // The front may have the number of something else: it proves, and never contradicts.
            let same = front.number.as_ref().is_some_and(|said| said.value == field.value);
            same.then_some(Standing::Consistent(Reason::Front))
        }
        FieldName::Sex => match by_national(front, |number| {
            Some(number.sex()?.letter().to_string() == field.value)
        }) {
            Some(false) => Some(Standing::Inconsistent(Reason::OtherNationalNumber)),
            _ => said(&front.sex, &|value| value == field.value, &never),
        },
        FieldName::Nationality => {
            let same = front.nationality.as_ref().is_some_and(|said| said.value == field.value);
            same.then_some(Standing::Consistent(Reason::Front))
        }
        FieldName::Issuer => None,
    }
}

/// What the national number of the front says of something, if the number was read surely and its own last
/// digits are right.
fn by_national(front: &Front, says: impl Fn(&NationalNumber) -> Option<bool>) -> Option<bool> {
    let said = front.national.as_ref().filter(|said| said.sure >= SURE)?;
    says(&NationalNumber::parse(&said.value).ok()?)
}

/// Whether every letter of a name of the zone stands on the front, and nothing else does.
fn whole(zone: &str, front: &str, mrz: &Mrz) -> bool {
    let names =
        Names { surname: zone.to_owned(), given: String::new(), may_be_cut: mrz.names.may_be_cut };
    // `Jean-Pierre` and `D'Hondt` are one word here; in a zone they are two, or one.
    let words = |text: &str| text.split_whitespace().count();
    names.agrees(front) != mrz::names::NameMatch::Differs
        && (mrz.names.may_be_cut || words(front) <= words(zone))
}

pub(super) fn letters(text: &str) -> Vec<char> {
    text.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_uppercase).collect()
}

/// Letters to change, put in or leave out to make one of the other.
pub(super) fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (nr, one) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = nr + 1;
        for (at, other) in b.iter().enumerate() {
            let change = before + usize::from(one != other);
            before = row[at + 1];
            row[at + 1] = change.min(before + 1).min(row[at] + 1);
        }
    }
    row[b.len()]
}

/// A document of which only the front is there: nothing bears it out but a national number.
fn front_only(front: &Front, known: Known<'_>) -> Conclusion {
    let field = |name: FieldName| {
        let said = match name {
            FieldName::DocumentNumber => &front.number,
            FieldName::Surname => &front.surname,
            FieldName::GivenNames => &front.given,
            FieldName::BirthDate => &front.birth,
            FieldName::ExpiryDate => &front.expiry,
            FieldName::Sex => &front.sex,
            FieldName::Nationality => &front.nationality,
            FieldName::Issuer => &None,
        };
        let value = said.as_ref().map(|said| said.value.clone()).unwrap_or_default();
        let by_number = match name {
            FieldName::BirthDate => {
                by_national(front, |number| Some(number.birth()?.date()?.to_string() == value))
            }
            FieldName::Sex => {
                by_national(front, |number| Some(number.sex()?.letter().to_string() == value))
            }
            _ => None,
        };
        let is_sure = said.as_ref().is_some_and(|said| said.sure >= SURE);
        let standing = match by_number {
            _ if value.is_empty() => Standing::Unproven(Reason::NotSaid),
            Some(true) => Standing::Consistent(Reason::NationalNumber),
            Some(false) if is_sure => Standing::Inconsistent(Reason::OtherNationalNumber),
            _ => Standing::Unproven(Reason::FrontOnly),
        };
        Field { name, value, standing }
    };
    let fields: Vec<Field> = FieldName::ALL.into_iter().map(field).collect();
    let is_denied = |field: &&Field| matches!(field.standing, Standing::Inconsistent(_));
    let contradicted: Vec<FieldName> =
        fields.iter().filter(is_denied).map(|field| field.name).collect();
    let is_expired = front
        .expiry
        .as_ref()
        .and_then(|said| said.value.parse::<jiff::civil::Date>().ok())
        .is_some_and(|day| day < known.today);
    let verdict = if front.is_specimen {
        Verdict::Specimen
    } else if !contradicted.is_empty() {
        Verdict::Inconsistent(contradicted.clone())
    } else if is_expired {
        Verdict::Expired
    } else {
        Verdict::Consistent
    };
    Conclusion { evidence: Evidence { verdict, fields }, contradicted, mrz: None, refused: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: jiff::civil::Date = jiff::civil::date(2026, 11, 30);
    const KNOWN: Known<'_> = Known { today: TODAY, names: &[] };
    const CARD: [&str; 3] = [
        "IDBEL592345678<9815<<<<<<<<<<<",
        "7801022M2807144BEL780102301237",
        "DUPONT<<JEAN<PIERRE<L<<<<<<<<<",
    ];

    fn said(value: &str, sure: f32) -> Option<Said> {
        Some(Said { value: value.into(), sure, ..Said::default() })
    }

    fn sight(lines: &[String], is_clear: bool, front: Front) -> Sight {
        let fits = mrz::read(&lines.join("\n"), TODAY).is_ok_and(|mrz| mrz.fits());
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let zone = Zone { is_clear, fits, ..Zone::clear(&lines) };
        let page = Page { zone: Some(zone), front, ..Page::default() };
        Sight { pages: vec![page], ..Sight::default() }
    }

    fn card() -> Vec<String> {
        CARD.map(ToOwned::to_owned).to_vec()
    }

    fn standing(found: &Conclusion, name: FieldName) -> Standing {
        found.evidence.fields.iter().find(|field| field.name == name).expect("is there").standing
    }

    #[test]
    fn a_name_is_borne_out_by_the_front_letter_for_letter_and_by_nothing_less() {
        let front = |surname: &str, given: &str| Front {
            surname: said(surname, 0.99),
            given: said(given, 0.99),
            ..Front::default()
        };
        let found = conclude(&sight(&card(), true, front("Dupont", "Jean-Pierre L")), KNOWN);
        assert_eq!(found.evidence.verdict, Verdict::Consistent);
        assert_eq!(standing(&found, FieldName::Surname), Standing::Consistent(Reason::Front));
        assert_eq!(standing(&found, FieldName::GivenNames), Standing::Consistent(Reason::Front));
        // One given name of three, or a letter that is another: nothing is proven, nothing denied.
        for (surname, given) in [("Dupont", "Jean"), ("Dupond", "Jean Pierre L")] {
            let found = conclude(&sight(&card(), true, front(surname, given)), KNOWN);
            let both = [FieldName::Surname, FieldName::GivenNames];
            let borne_out =
                both.map(|name| matches!(standing(&found, name), Standing::Consistent(_)));
            assert!(borne_out.contains(&false), "{surname} {given}");
        }
        let found = conclude(&sight(&card(), true, front("Vandevelde", "Jean Pierre L")), KNOWN);
        assert_eq!(found.evidence.verdict, Verdict::Inconsistent(vec![FieldName::Surname]));
        // Read badly, another name denies nothing.
        let unsure = Front { surname: said("Vandevelde", 0.8), ..Front::default() };
        let found = conclude(&sight(&card(), true, unsure), KNOWN);
        assert_eq!(standing(&found, FieldName::Surname), Standing::Unproven(Reason::OtherFront));
        // And so does one beside a zone whose names were read in two ways.
        let mut once = sight(&card(), true, front("Vandevelde", "Jean Pierre L"));
        once.pages[0].zone.as_mut().expect("is there").names_agree = false;
        let found = conclude(&once, KNOWN);
        assert_eq!(found.evidence.verdict, Verdict::Consistent);
        assert_eq!(standing(&found, FieldName::Surname), Standing::Unproven(Reason::OtherFront));
    }

    #[test]
    fn a_date_that_the_front_denies_is_contradicted_even_if_its_check_digit_fits() {
        let front = Front { expiry: said("2031-07-14", 0.99), ..Front::default() };
        let found = conclude(&sight(&card(), true, front), KNOWN);
        assert_eq!(found.contradicted, [FieldName::ExpiryDate]);
        let front = Front { expiry: said("2031-07-14", 0.9), ..Front::default() };
        let found = conclude(&sight(&card(), true, front), KNOWN);
        assert_eq!(standing(&found, FieldName::ExpiryDate), Standing::Unproven(Reason::OtherFront));
    }

    #[test]
    fn what_was_not_read_clearly_is_unreadable_and_no_accusation() {
        let mut lines = card();
        lines[1].replace_range(9..10, "3");
        let found = conclude(&sight(&lines, true, Front::default()), KNOWN);
        assert_eq!(found.evidence.verdict, Verdict::Inconsistent(vec![FieldName::ExpiryDate]));
        let found = conclude(&sight(&lines, false, Front::default()), KNOWN);
        assert_eq!(found.evidence.verdict, Verdict::Unreadable);
        assert_eq!(standing(&found, FieldName::ExpiryDate), Standing::Unproven(Reason::NotClear));
        assert!(found.contradicted.is_empty());
    }

    #[test]
    fn what_was_changed_to_fit_a_check_digit_is_not_borne_out_by_it() {
        let mut mended = sight(&card(), true, Front::default());
        let change = super::super::Mended { line: 2, column: 9, from: '3', to: '2' };
        mended.pages[0].zone.as_mut().expect("is there").mended.push(change);
        let found = conclude(&mended, KNOWN);
        assert_eq!(standing(&found, FieldName::ExpiryDate), Standing::Unproven(Reason::Mended));
        assert_eq!(found.mrz.map(|mrz| mrz.repairs.len()), Some(1));
    }

    #[test]
    fn pages_of_two_people_in_one_file_bear_nothing_out() {
        let named = |surname: &str, given: &str| Front {
            surname: said(surname, 0.96),
            given: said(given, 0.96),
            ..Front::default()
        };
        let with = |front: Front| {
            let mut file = sight(&card(), true, Front::default());
            file.pages.push(Page { front, ..Page::default() });
            conclude(&file, KNOWN)
        };
        assert_eq!(with(named("Dupont", "Jean-Pierre L")).evidence.verdict, Verdict::Consistent);
        for front in [named("Vermeulen", "Lotte"), named("Dupont", "Karel")] {
            let found = with(front);
            assert_eq!(found.evidence.verdict, Verdict::Ambiguous);
            for field in &found.evidence.fields {
                assert!(!matches!(field.standing, Standing::Consistent(_)), "{:?}", field.name);
            }
        }
        let mut zones = sight(&card(), true, Front::default());
        let other = ["IDBEL000000004<0077<<<<<<<<<<<", CARD[1], "PEETERS<<AN<<<<<<<<<<<<<<<<<<<"];
        let other: Vec<String> = other.map(ToOwned::to_owned).to_vec();
        zones.pages.extend(sight(&other, true, Front::default()).pages);
        assert_eq!(conclude(&zones, KNOWN).evidence.verdict, Verdict::Ambiguous);
    }

    #[test]
    fn a_letter_that_was_misread_makes_no_second_person_and_proves_no_name() {
        let two_zones = |names: &str, birth_line: &str| {
            let mut file = sight(&card(), true, Front::default());
            let lines = [CARD[0], birth_line, names].map(ToOwned::to_owned).to_vec();
            file.pages.extend(sight(&lines, true, Front::default()).pages);
            conclude(&file, KNOWN).evidence.verdict
        };
        assert_eq!(two_zones(CARD[2], CARD[1]), Verdict::Consistent);
        assert_eq!(two_zones("DUPOMT<<JEAN<PIERRE<L<<<<<<<<<", CARD[1]), Verdict::Consistent);
        // A twin, and somebody who is not as old.
        assert_eq!(two_zones("DUPONT<<KAREL<<<<<<<<<<<<<<<<<", CARD[1]), Verdict::Ambiguous);
        let other = "7801033M2807144BEL780102301236";
        assert_eq!(two_zones(CARD[2], other), Verdict::Ambiguous);
        // What is near to a page between them is not for that near to each other.
        let mut three = sight(&card(), true, Front::default());
        for names in ["DUPOMT<<JEAN<PIERRE<L<<<<<<<<<", "DUMOMT<<JEAN<PIERRE<L<<<<<<<<<"] {
            let lines = [CARD[0], CARD[1], names].map(ToOwned::to_owned).to_vec();
            three.pages.extend(sight(&lines, true, Front::default()).pages);
        }
        assert_eq!(conclude(&three, KNOWN).evidence.verdict, Verdict::Ambiguous);
        // What looks like a zone and is none makes no page the side of another card.
        let mut file = sight(&card(), true, Front::default());
        let lotte = Front {
            surname: said("Vermeulen", 0.96),
            given: said("Lotte", 0.96),
            ..Front::default()
        };
        let mut named = sight(&card(), true, lotte).pages;
        named[0].zone.as_mut().expect("has one").lines.truncate(1);
        file.pages.extend(named);
        assert_eq!(conclude(&file, KNOWN).evidence.verdict, Verdict::Ambiguous);
        // On two pages: surname and birth date are enough, and the given name is not borne out.
        let front = |given: &str, birth: &str| Front {
            surname: said("Dupont", 0.96),
            given: said(given, 0.96),
            birth: said(birth, 0.96),
            ..Front::default()
        };
        let with = |front: Front| {
            let mut file = sight(&card(), true, Front::default());
            file.pages.push(Page { front, ..Page::default() });
            conclude(&file, KNOWN)
        };
        let near = with(front("Jean-Piere L", "1978-01-02"));
        assert_eq!(near.evidence.verdict, Verdict::Consistent);
        assert_eq!(standing(&near, FieldName::Surname), Standing::Consistent(Reason::Front));
        assert_eq!(standing(&near, FieldName::GivenNames), Standing::Unproven(Reason::NearFront));
        let other = with(front("Jean-Piere L", "1978-01-03"));
        assert_ne!(other.evidence.verdict, Verdict::Consistent);
        assert_ne!(standing(&other, FieldName::Surname), Standing::Consistent(Reason::Front));
    }

    #[test]
    fn a_number_that_may_fit_by_chance_bears_nothing_out_unless_the_front_has_it() {
        let with = |number_is_sure: bool, front: Front| {
            let mut sight = sight(&card(), true, front);
            sight.pages[0].zone.as_mut().expect("is there").number_is_sure = number_is_sure;
            standing(&conclude(&sight, KNOWN), FieldName::DocumentNumber)
        };
        assert_eq!(with(true, Front::default()), Standing::Consistent(Reason::CheckDigit));
        assert_eq!(with(false, Front::default()), Standing::Unproven(Reason::NotClear));
        let front = Front { number: said("592345678981", 0.8), ..Front::default() };
        assert_eq!(with(false, front), Standing::Consistent(Reason::Front));
    }

    #[test]
    fn the_national_number_of_a_front_denies_another_birth_date_and_sex_if_it_was_read_surely() {
        let number = |text: &str, sure| Front { national: said(text, sure), ..Front::default() };
        let stands = |front: Front| {
            let found = conclude(&sight(&card(), true, front), KNOWN);
            [FieldName::BirthDate, FieldName::Sex].map(|name| standing(&found, name))
        };
        let denied = Standing::Inconsistent(Reason::OtherNationalNumber);
        let borne_out = Standing::Consistent(Reason::NationalNumber);
        assert_eq!(stands(number("78.01.02-301.23", 0.99)), [borne_out; 2]);
        // Somebody else's: born on another day, a man too; and a woman's.
        assert_eq!(stands(number("85.07.30-033.28", 0.99)), [denied, borne_out]);
        assert_eq!(stands(number("85.07.30-033.28", 0.9)), [borne_out; 2], "it may be misread");
        assert_eq!(stands(number("85.07.30-033.29", 0.99)), [borne_out; 2], "it was misread");
        // By itself it does the same for a front.
        let alone = |birth: &str, sure| {
            let front = Front {
                birth: said(birth, sure),
                national: said("85.07.30-033.28", 0.99),
                has_title: true,
                labels: 4,
                ..Front::default()
            };
            let page = Page { front, ..Page::default() };
            let found = conclude(&Sight { pages: vec![page], ..Sight::default() }, KNOWN);
            (standing(&found, FieldName::BirthDate), found.evidence.verdict)
        };
        assert_eq!(alone("1985-07-30", 0.99), (borne_out, Verdict::Consistent));
        let other = Verdict::Inconsistent(vec![FieldName::BirthDate]);
        assert_eq!(alone("1985-07-31", 0.99), (denied, other));
        let misread = Standing::Unproven(Reason::FrontOnly);
        assert_eq!(alone("1985-07-31", 0.9), (misread, Verdict::Consistent));
    }

    #[test]
    fn names_are_near_by_their_length() {
        for (one, other, near) in [
            ("LI", "LI", true),
            ("LI", "LO", false),
            ("LIS", "LES", false),
            ("JANS", "HANS", true),
            ("JANS", "HANZ", false),
            ("VERHEYEN", "VERHOYEM", true),
            ("VERHEYEN", "VERMOYEM", false),
            ("VANDENBROECKXXXX", "VANDENBR", true),
            ("Van den Broeck", "VAN DEN", true),
            ("Van den Broeck", "VANDENBROECK", true),
            ("D'Hondt Peeters", "DHONDT", true),
            ("Jo An Luc-Marie", "JO AN L", true),
            ("JANSSENS", "JAN", false),
            ("JANSSENS", "", false),
            ("", "", true),
            ("VANDENBROECKPEET", "WANDEMBRUECKPEED", true),
            ("VANDENBROECKPEET", "WANDEMBRUECKREED", false),
        ] {
            assert_eq!((is_near(one, other), is_near(other, one)), (near, near), "{one}");
        }
    }

    #[test]
    fn a_specimen_says_so_and_still_tells_what_is_contradicted() {
        let mut lines = card();
        lines[1].replace_range(9..10, "3");
        let front = Front { is_specimen: true, ..Front::default() };
        let found = conclude(&sight(&lines, true, front), KNOWN);
        assert_eq!(found.evidence.verdict, Verdict::Specimen);
        assert_eq!(found.contradicted, [FieldName::ExpiryDate]);
    }

    #[test]
    fn text_that_is_no_zone_of_any_issuer_is_no_document_and_a_front_alone_is_one() {
        let mut lines = card();
        lines[0].replace_range(2..5, "QQQ");
        let mut other = sight(&lines, true, Front::default());
        other.pages[0].zone.as_mut().expect("is there").score = -1.5;
        assert_eq!(conclude(&other, KNOWN).evidence.verdict, Verdict::NotADocument);
        assert_eq!(conclude(&Sight::default(), KNOWN).evidence.verdict, Verdict::NotADocument);
        let cut = Sight { is_cut: true, ..Sight::default() };
        assert_eq!(conclude(&cut, KNOWN).evidence.verdict, Verdict::NotRead);
        let longer = Sight { has_more: true, ..Sight::default() };
        assert_eq!(conclude(&longer, KNOWN).evidence.verdict, Verdict::NotRead);
        let front =
            Front { has_title: true, labels: 4, surname: said("Dupont", 0.99), ..Front::default() };
        let pages = vec![Page { front, ..Page::default() }];
        let found = conclude(&Sight { pages, ..Sight::default() }, KNOWN);
        assert_eq!(found.evidence.verdict, Verdict::Consistent);
        assert_eq!(standing(&found, FieldName::Surname), Standing::Unproven(Reason::FrontOnly));
        let refused = Sight::refused(DecodeError::Damaged);
        assert_eq!(conclude(&refused, KNOWN).evidence.verdict, Verdict::Unreadable);
    }
}
