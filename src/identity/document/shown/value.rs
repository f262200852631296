//! Which lines of a page hold a name, the last day of validity or the issuer, and nothing else.
//!
//! That a line stands below a label makes it no name yet: its nearest label must be that one, and the
//! zone of the page, if there is one, must have that name. Where nothing bears a line out and it can be
//! something else, it is none.

use jiff::civil::Date;

use super::words;
use super::{SURE, What};
use crate::identity::document::front::{self, Front, Label, Said};
use crate::identity::document::judge::distance;
use crate::identity::document::{Seen, Zone};
use crate::identity::mrz::names::{Names, forms};
use crate::identity::mrz::{self, Mrz};
use crate::identity::picture::Point;

/// Letters of a name, at most.
const LONGEST_NAME: usize = 60;
/// No document that ended before is of any use, and many people were born before.
const EARLIEST_EXPIRY: i16 = 2015;
/// The day does not matter to what a zone says.
const ANY_DAY: Date = jiff::civil::date(2026, 1, 1);
/// Letters in which a name and that of the zone may differ: one of so many, and so many at most.
const ONE_WRONG_OF: usize = 4;
const MOST_WRONG: usize = 2;
/// Letters of a name that was cut off, at least, so that what begins with them is that name.
const LEAST_OF_CUT: usize = 4;
/// Two letters that stand for one elsewhere.
const DIGRAPHS: [(&str, &str); 4] = [("AE", "A"), ("OE", "O"), ("UE", "U"), ("AA", "A")];
/// How far above the names the issuer stands at most, and how far off the title: in heights of a line.
const ABOVE: f32 = 14.0;
const BESIDE: f32 = 3.0;

/// The lines that hold what may be shown, and nothing else.
pub(super) fn candidates<'a>(
    seen: &'a [Seen],
    front: &Front,
    zone: Option<&Zone>,
) -> Vec<(What, &'a Seen)> {
    let mrz = zone.and_then(|zone| mrz::read(&zone.lines.join("\n"), ANY_DAY).ok());
    let page = Read { seen, front, zone, mrz };
    let one_of = |what, said: &Option<Said>, label, is_value: &dyn Fn(&Seen) -> bool| {
        let line = page.line(said, label).filter(|one| is_value(one));
        line.map(|one| (what, one))
    };
    let is_name = |one: &Seen| page.is_name(front::value(&one.text));
    let is_expiry = |one: &Seen| page.is_expiry(front::value(&one.text));
    [
        one_of(What::Surname, &front.surname, Label::Surname, &is_name),
        one_of(What::Given, &front.given, Label::Given, &is_name),
        one_of(What::Expiry, &front.expiry, Label::Expiry, &is_expiry),
        page.issuer().map(|one| (What::Issuer, one)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All that was read of a page.
struct Read<'a, 'b> {
    seen: &'a [Seen],
    front: &'b Front,
    zone: Option<&'b Zone>,
    /// What the zone says, if it can be read.
    mrz: Option<Mrz>,
}

impl<'a> Read<'a, '_> {
    /// The line of a value, if it was read surely and its nearest label is this one.
    fn line(&self, said: &Option<Said>, label: Label) -> Option<&'a Seen> {
        let place = said.as_ref()?.place;
        let one = self.seen.iter().find(|one| one.quad.0 == place && one.sure >= SURE)?;
        // All of the line is shown, what stands before its value, too.
        let own = front::own_label(&one.text);
        let before = one.text.trim_end().strip_suffix(front::value(&one.text)).unwrap_or_default();
        let is_clean = own.is_none()
            || !front::has_number_in_label(&one.text) && !words::is_more_than_label(before);
        let above = || self.label_above(one).filter(|text| !words::is_other_label(text));
        let found = own.or_else(|| front::label(above()?));
        (is_clean && found == Some(label)).then_some(one)
    }

    /// The text of the nearest label below which a line stands.
    fn label_above(&self, one: &Seen) -> Option<&'a str> {
        let is_label = |text: &str| front::label(text).is_some() || words::is_other_label(text);
        self.seen
            .iter()
            .filter(|other| is_label(&other.text))
            .filter_map(|other| Some((front::below(other, one)?, other.text.as_str())))
            .min_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, text)| text)
    }

    /// Whether a text is nothing but names: those of the zone, if it has any, else of none of the words
    /// that stand beside names.
    fn is_name(&self, text: &str) -> bool {
        if !is_letters(text) {
            return false;
        }
        let mrz = self.mrz.as_ref().filter(|mrz| !mrz.names.surname.is_empty());
        match mrz {
            Some(mrz) => {
                let mut all = std::iter::once(&mrz.names).chain(&mrz.other_names);
                all.any(|names| is_in(names, text))
            }
            None => !words::is_no_name(text),
        }
    }

    /// Whether a date below the label of the validity is its last day, and not the birth date of a
    /// child: the zone has the same, or the birth date stands elsewhere on the page.
    fn is_expiry(&self, text: &str) -> bool {
        let Some(said) =
            self.front.expiry.as_ref().filter(|said| front::is_only_date(text, &said.value))
        else {
            return false;
        };
        let Ok(day) = said.value.parse::<Date>() else { return false };
        let birth = |said: &Option<Said>| said.as_ref()?.value.parse::<Date>().ok();
        let is_before = birth(&self.front.birth).is_none_or(|birth| birth < day);
        if day.year() < EARLIEST_EXPIRY || !is_before {
            return false;
        }
        let Some(zone) = self.zone else {
            return self.line(&self.front.birth, Label::Birth).is_some();
        };
        // Six digits of the zone, of which the last two are no century: the front has all of them.
        let six = format!("{:02}{:02}{:02}", day.year() % 100, day.month(), day.day());
        let mut births = zone_births(&zone.lines).peekable();
        let is_birth = births.peek().is_none() || births.any(|birth| birth == six);
        let Some(mrz) = self.mrz.as_ref().filter(|_| !is_birth) else { return false };
        mrz.birth.date != Some(day)
            && match mrz.expiry {
                Some(expiry) => expiry.date == Some(day),
                // Old French cards have none in their zone.
                None => mrz.birth.is_sound,
            }
    }

    /// The line that is nothing but the issuer: the name of a state, or its letters as the zone has
    /// them. It stands above the names; elsewhere it is where somebody was born, or what they are.
    fn issuer(&self) -> Option<&'a Seen> {
        let code = self.zone.and_then(|zone| zone.lines.first()?.get(2..5));
        let code = code.map(|code| code.trim_end_matches('<'));
        let places = [&self.front.surname, &self.front.given].map(|said| said.as_ref());
        let is_named = |one: &&Seen| places.iter().flatten().any(|said| said.place == one.quad.0);
        let names: Vec<&Seen> = self.seen.iter().filter(is_named).collect();
        let is_state = |one: &Seen| {
            words::state(&one.text).is_some_and(|state| code.is_none_or(|code| code == state))
        };
        let is_code = |one: &Seen| !names.is_empty() && code == Some(one.text.trim());
        let is_at_top = |one: &Seen| match names.is_empty() {
            true => self.seen.iter().any(|title| is_beside(one, title)),
            false => names.iter().all(|name| is_above(one, name)),
        };
        let values = self.front.places();
        self.seen.iter().find(|one| {
            one.sure >= SURE
                && (is_state(one) || is_code(one))
                && is_at_top(one)
                && !values.contains(&one.quad.0)
                && self.label_above(one).is_none()
        })
    }
}

/// Whether a text has nothing but what names are written with.
fn is_letters(text: &str) -> bool {
    let is_sign = |c: char| matches!(c, ' ' | '-' | '\'' | '.' | ',' | '’' | '`');
    text.chars().filter(|letter| letter.is_alphabetic()).count() >= 2
        && text.chars().count() <= LONGEST_NAME
        && text.chars().all(|letter| letter.is_alphabetic() || is_sign(letter))
}

/// Whether a text is names of a zone, all or some that follow each other, but for few letters. What is
/// a word for something else must be the same to the letter.
fn is_in(names: &Names, text: &str) -> bool {
    let text_words = folded(text);
    let own: Vec<char> = text_words.concat().chars().collect();
    let is_other = words::is_no_name(text);
    let near = |part: &[char], joined: &[char]| {
        let most = (part.len().min(joined.len()) / ONE_WRONG_OF).min(MOST_WRONG);
        part.len().abs_diff(joined.len()) <= most
            && if is_other { part == joined } else { distance(part, joined) <= most }
    };
    let all = folded(&format!("{} {}", names.surname, names.given));
    (0..all.len()).any(|from| {
        let mut joined: Vec<char> = Vec::new();
        for word in &all[from..] {
            joined.extend(word.chars());
            if near(&own, &joined) {
                return true;
            }
        }
        // What was cut off in the zone stands whole on the front.
        let is_cut = names.may_be_cut && joined.len() >= LEAST_OF_CUT && own.len() > joined.len();
        is_cut && !is_other && near(&own[..joined.len()], &joined)
    })
}

/// The words of a name as a zone may write them, in one form.
fn folded(text: &str) -> Vec<String> {
    let apart = text.split(|c: char| c.is_whitespace() || "-.,".contains(c));
    let fold = |word: &str| {
        let shortest = |letter| forms(letter).into_iter().min_by_key(String::len);
        let word: String = word.chars().filter_map(shortest).collect();
        DIGRAPHS.iter().fold(word, |word, (two, one)| word.replace(two, one))
    };
    apart.map(fold).filter(|word| !word.is_empty()).collect()
}

/// Where a zone has the birth date, in the layouts that there are.
fn zone_births(lines: &[String]) -> impl Iterator<Item = &str> {
    let second = lines.get(1).map(String::as_str).unwrap_or_default();
    let begins: &[usize] = match (lines.len(), second.len()) {
        (3, _) => &[0],
        (_, 36) => &[13, 27],
        _ => &[13],
    };
    begins.iter().filter_map(move |from| second.get(*from..from + 6))
}

/// How far below the middle of one line another's is, in the direction in which that is read.
fn off(one: &Seen, other: &Seen) -> f32 {
    let ((x, y), (other_x, other_y)): (Point, Point) = (one.quad.middle(), other.quad.middle());
    let (ux, uy) = other.quad.along();
    (other_y - y) * ux - (other_x - x) * uy
}

/// Whether a line stands above another, by its own height at least, and not on another card.
fn is_above(one: &Seen, other: &Seen) -> bool {
    let height = other.quad.height();
    (height..height * ABOVE).contains(&off(one, other))
}

/// Whether a line stands beside, just above or below a title.
fn is_beside(one: &Seen, title: &Seen) -> bool {
    let height = title.quad.height().max(one.quad.height());
    front::is_title(&title.text) && off(one, title).abs() <= height * BESIDE
}
