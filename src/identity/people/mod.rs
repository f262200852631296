//! Who is on file: the contacts that a request is held against.
//!
//! A list that the organisation brings from its personnel or candidate files ([`table`]), with what
//! is needed to know somebody again and no more; never a national number. It rests sealed to the
//! staff. What a letter says is compared with it on the staff side only. Pure.

pub mod names;
pub mod table;

use std::collections::HashMap;

use jiff::ToSpan as _;
use jiff::civil::Date;
use minicbor::{Decode, Encode};

use super::ladder::Field;
use super::mrz::names::NameMatch;
use crate::secret::Personal;

/// Everybody on file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct People {
    /// They.
    #[n(0)]
    pub people: Vec<Person>,
}

/// One person on file. Dates are days since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Person {
    /// The name, as it is written there.
    #[n(0)]
    pub name: Personal<String>,
    /// Mail addresses.
    #[n(1)]
    pub addresses: Vec<Address>,
    /// Telephone numbers, as they are written there.
    #[n(2)]
    pub phones: Vec<Personal<String>>,
    /// The birth date.
    #[n(3)]
    pub birth: Option<Personal<i32>>,
    /// The first day of work.
    #[n(4)]
    pub start: Option<Personal<i32>>,
    /// The last day of work.
    #[n(5)]
    pub end: Option<Personal<i32>>,
    /// The client they worked for last.
    #[n(6)]
    pub client: Option<Personal<String>>,
    /// The language, two letters.
    #[n(7)]
    pub language: Option<Personal<String>>,
}

/// A mail address on file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Address {
    /// The address.
    #[n(0)]
    pub address: Personal<String>,
    /// The day since which it is on file; none if it always was, as far as anybody knows.
    #[n(1)]
    pub since: Option<i32>,
}

/// Whom a sender may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match<'a> {
    /// The one person who has this address on file.
    Address(&'a Person),
    /// Several people have it, and the name does not tell whom of them.
    Several(usize),
    /// Nobody has the address, and one person has the name.
    Name(&'a Person),
    /// Nobody can be told from address and name.
    Nobody,
}

impl People {
    /// Who writes from this address under this name. Of several who share an address the name decides.
    #[must_use]
    pub fn who(&self, address: &str, name: &str) -> Match<'_> {
        let has = |person: &&Person| person.since(address).is_some();
        let found: Vec<&Person> = self.people.iter().filter(has).collect();
        let named = |people: &[&'_ Person], level: NameMatch| -> Vec<usize> {
            let is_so = |at: &usize| names::compare(people[*at].name.expose(), name) == level;
            (0..people.len()).filter(is_so).collect()
        };
        match &found[..] {
            [one] => return Match::Address(one),
            [] => {}
            several => {
                return match named(several, NameMatch::Agrees)[..] {
                    [at] => Match::Address(several[at]),
                    _ => Match::Several(several.len()),
                };
            }
        }
        let all: Vec<&Person> = self.people.iter().collect();
        match named(&all, NameMatch::Agrees)[..] {
            [at] => Match::Name(all[at]),
            _ => Match::Nobody,
        }
    }

    /// Whether somebody has this address on file, and had it `days` before `day` (in days since 1970).
    #[must_use]
    pub fn knows(&self, address: &str, day: i32, days: u32) -> bool {
        let has =
            |person: &Person| person.since(address).is_some() && !person.is_new(address, day, days);
        self.people.iter().any(has)
    }

    /// Takes over since when addresses are on file from the list before: one that a known person did
    /// not have there is new `today` (in days since 1970).
    pub fn carry_on(&mut self, before: &Self, today: i32) {
        let mut known: HashMap<(String, Option<i32>), &Person> = HashMap::new();
        let mut by_address: HashMap<String, &Person> = HashMap::new();
        for person in &before.people {
            known.insert(person.key(), person);
            for address in &person.addresses {
                by_address.insert(folded(address.address.expose()), person);
            }
        }
        for person in &mut self.people {
            let by_name = known.get(&person.key());
            let mut addresses = person.addresses.iter();
            let found = by_name.or_else(|| {
                addresses.find_map(|one| by_address.get(&folded(one.address.expose())))
            });
            let Some(found) = found else { continue };
            for address in person.addresses.iter_mut().filter(|one| one.since.is_none()) {
                address.since = match found.since(address.address.expose()) {
                    Some(since) => since,
                    None => Some(today),
                };
            }
        }
    }
}

impl Person {
    /// Since when an address is on file, in days since 1970, if it is: inside none, if it always was.
    #[must_use]
    pub fn since(&self, address: &str) -> Option<Option<i32>> {
        let wanted = folded(address);
        let found = self.addresses.iter().find(|one| folded(one.address.expose()) == wanted);
        found.map(|one| one.since)
    }

    /// Whether the address came into the file less than `days` before `day`, or after it.
    #[must_use]
    pub fn is_new(&self, address: &str, day: i32, days: u32) -> bool {
        let since = self.since(address).flatten();
        since.is_some_and(|since| i64::from(since) > i64::from(day) - i64::from(days))
    }

    /// The details on file that these texts mention. A date counts with all four digits of its year only,
    /// so that none is read out of a national number.
    #[must_use]
    pub fn mentioned<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Vec<Field> {
        let mut found = Vec::new();
        for text in texts {
            let words = words(text);
            let has = |day: &Option<Personal<i32>>| {
                day.as_ref().is_some_and(|day| has_date(&words, *day.expose()))
            };
            if has(&self.birth) {
                found.push(Field::BirthDate);
            }
            if has(&self.start) {
                found.push(Field::StartDate);
            }
            if self.has_client(&words) {
                found.push(Field::Client);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether the client is named, and a year of the time there.
    fn has_client(&self, words: &[String]) -> bool {
        let Some(client) = &self.client else { return false };
        let client = self::words(client.expose());
        let is_named = !client.is_empty() && words.windows(client.len()).any(|some| some == client);
        let mut days = [&self.start, &self.end].into_iter().flatten();
        is_named
            && days.any(|day| {
                let year = date(*day.expose()).year().to_string();
                words.contains(&year)
            })
    }

    fn key(&self) -> (String, Option<i32>) {
        (names::key(self.name.expose()), self.birth.as_ref().map(|day| *day.expose()))
    }
}

/// An address as it is compared: without regard to case, as every provider that people write from
/// treats it.
fn folded(address: &str) -> String {
    address.trim().to_lowercase()
}

/// The date of so many days since 1970.
#[must_use]
pub fn date(days: i32) -> Date {
    Date::constant(1970, 1, 1).saturating_add(i64::from(days).days())
}

/// Days since 1970.
#[must_use]
pub fn days(date: Date) -> i32 {
    let hours = date.duration_since(Date::constant(1970, 1, 1)).as_hours();
    i32::try_from(hours / 24).unwrap_or(i32::MAX)
}

/// Words of a text that are looked at.
const MOST_WORDS: usize = 50_000;
/// Words between the parts of a date.
const BETWEEN: [&str; 5] = ["of", "de", "den", "the", "du"];
/// How the months begin in four languages, in lower case.
const MONTHS: [&[&str]; 12] = [
    &["jan"],
    &["feb", "fév", "fev"],
    &["maart", "mrt", "mars", "mär", "maer", "march"],
    &["apr", "avr"],
    &["mei", "mai", "may"],
    &["jun", "juin"],
    &["jul", "juil"],
    &["aug", "aoû", "aou"],
    &["sep"],
    &["okt", "oct"],
    &["nov"],
    &["dec", "déc", "dez"],
];

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words = words.map(str::to_lowercase).filter(|word| !BETWEEN.contains(&word.as_str()));
    words.take(MOST_WORDS).collect()
}

/// Whether a date is written among these words: `8.12.1987`, `1987-12-08`, `8 december 1987`.
fn has_date(words: &[String], wanted: i32) -> bool {
    let wanted = date(wanted);
    let number = |word: &str| {
        // `1er`, `8th`
        let digits = word.trim_end_matches(|c: char| c.is_alphabetic());
        digits.parse::<i16>().ok()
    };
    let is_day = |word: &str| number(word) == Some(i16::from(wanted.day()));
    let is_year = |word: &str| word.parse() == Ok(wanted.year()) && word.len() == 4;
    let names = MONTHS[usize::from(wanted.month().unsigned_abs()) - 1];
    let is_month = |word: &str| {
        word.parse() == Ok(wanted.month()) || names.iter().any(|name| word.starts_with(name))
    };
    words.windows(3).any(|three| {
        let [a, b, c] = [&three[0], &three[1], &three[2]].map(String::as_str);
        is_month(b) && (is_day(a) && is_year(c) || is_year(a) && is_day(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> i32 {
        days(text.parse().expect("a date"))
    }

    fn person(name: &str, addresses: &[&str]) -> Person {
        Person {
            name: Personal::new(name.into()),
            addresses: addresses
                .iter()
                .map(|one| Address { address: Personal::new((*one).into()), since: None })
                .collect(),
            birth: Some(Personal::new(day("1987-12-08"))),
            start: Some(Personal::new(day("2024-03-04"))),
            end: Some(Personal::new(day("2024-08-30"))),
            client: Some(Personal::new("Bakkerij De Korenaar".into())),
            ..Person::default()
        }
    }

    fn list(people: Vec<Person>) -> People {
        People { people }
    }

    #[test]
    fn the_address_tells_who_writes_and_of_several_the_name_does() {
        let lotte = person("Lotte Peeters", &["lotte@example.org", "family@example.org"]);
        let jan = person("Jan Peeters", &["family@example.org"]);
        let people = list(vec![lotte.clone(), jan.clone()]);
        for (address, name, found) in [
            ("Lotte@Example.ORG", "whoever", Match::Address(&lotte)),
            ("family@example.org", "PEETERS Jan", Match::Address(&jan)),
            ("family@example.org", "Peeters", Match::Several(2)),
            ("family@example.org", "", Match::Several(2)),
            ("new@example.org", "Lotte Peeters", Match::Name(&lotte)),
            ("new@example.org", "Peeters", Match::Nobody),
            ("new@example.org", "", Match::Nobody),
            ("", "Marie Claes", Match::Nobody),
        ] {
            assert_eq!(people.who(address, name), found, "{address} {name}");
        }
        let twice = list(vec![lotte.clone(), lotte]);
        assert_eq!(twice.who("x@example.org", "Lotte Peeters"), Match::Nobody, "two of the name");
    }

    #[test]
    fn details_on_file_are_found_as_people_write_them() {
        let lotte = person("Lotte Peeters", &[]);
        let all = |text: &str| lotte.mentioned([text]);
        for text in [
            "Mein Geburtsdatum: 08.12.1987.",
            "né le 8 décembre 1987",
            "geboren op 8/12/1987",
            "8 dec. 1987",
            "born on the 8th of December 1987",
            "1987-12-08",
        ] {
            assert_eq!(all(text), [Field::BirthDate], "{text}");
        }
        assert_eq!(all("begonnen op 4 maart 2024"), [Field::StartDate]);
        assert_eq!(all("in 2024 bij bakkerij De Korenaar"), [Field::Client]);
        let both = all("8-12-1987; BAKKERIJ DE KORENAAR, 4/3/2024");
        assert_eq!(both, [Field::BirthDate, Field::Client, Field::StartDate]);
        let apart = lotte.mentioned(["8-12-1987", "8-12-1987 4/3/2024"]);
        assert_eq!(apart, [Field::BirthDate, Field::StartDate]);
        for text in [
            "",
            "12.08.1987",
            "8 december 1978",
            "8.12.87",
            "bij bakkerij De Korenaar",
            "Bakkerij De Gouden Korenaar 2024",
            // The birth date inside a national number is none of these.
            "87.12.08-001.12",
        ] {
            assert_eq!(all(text), [], "{text}");
        }
        assert_eq!(Person::default().mentioned(["8-12-1987"]), []);
    }

    #[test]
    fn an_address_that_a_known_person_had_not_before_is_new() {
        let before = list(vec![
            person("Lotte Peeters", &["lotte@example.org"]),
            person("Jan Claes", &["jan@example.org"]),
        ]);
        let mut now = list(vec![
            person("PEETERS Lotte", &["lotte@example.org", "new@example.org"]),
            person("Jan Claes-Maes", &["JAN@example.org", "maes@example.org"]),
            person("Marie Dubois", &["marie@example.org"]),
        ]);
        let today = day("2026-11-30");
        now.carry_on(&before, today);
        let since: Vec<_> = now
            .people
            .iter()
            .map(|p| p.addresses.iter().map(|a| a.since).collect::<Vec<_>>())
            .collect();
        let new = Some(today);
        assert_eq!(since, [vec![None, new], vec![None, new], vec![None]]);
        // The next list keeps the day.
        let mut next = list(vec![person("Lotte Peeters", &["new@example.org"])]);
        next.carry_on(&now, today + 10);
        assert_eq!(next.people[0].since("New@example.org"), Some(new));
        let lotte = &next.people[0];
        let is_new = |after: i32| lotte.is_new("new@example.org", today + after, 30);
        assert_eq!([-1, 0, 29, 30].map(is_new), [true, true, true, false]);
        assert!(!now.people[0].is_new("lotte@example.org", today, 30), "it always was");
        assert!(next.knows("new@example.org", today + 30, 30));
        assert!(!next.knows("new@example.org", today, 30), "too new");
        assert!(!next.knows("lotte@example.org", today, 30), "not there any more");
        // What the file itself says wins.
        let mut said = list(vec![person("Lotte Peeters", &["new@example.org"])]);
        said.people[0].addresses[0].since = Some(7);
        said.carry_on(&now, today);
        assert_eq!(said.people[0].since("new@example.org"), Some(Some(7)));
    }

    #[test]
    fn dates_before_1970_are_days_too() {
        for text in ["1969-12-31", "1934-02-28", "1970-01-01", "2027-03-01"] {
            assert_eq!(date(day(text)).to_string(), text);
        }
    }
}
