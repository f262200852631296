//! The list as people export it: CSV with a heading, read tolerantly, refused with line numbers.
//!
//! | column | also called | what |
//! |---|---|---|
//! | `name` | naam, nom, Name, last_name … | with `first_name` in front if there is one |
//! | `email` | e-mail, mail, courriel … | one or more, apart by spaces, `;`, `,` or `\|`; `email2` too |
//! | `phone` | telefoon, gsm, téléphone … | one or more, apart by `;`, `,`, `/` or `\|`; `phone2` too |
//! | `birth_date` | geboortedatum, date de naissance … | a date |
//! | `start`, `end` | begin, einde, début, fin … | first and last day of work |
//! | `client` | klant, Kunde … | the client they worked for last |
//! | `language` | taal, langue, Sprache | nl, fr, de or en |
//! | `address_since` | | since when the addresses are on file, if it is known |
//!
//! Dates are `2026-11-30`, `30/11/2026`, `30-11-2026` or `30.11.2026`. Fields are apart by comma,
//! semicolon or tab, whichever the heading has, and may stand in quotes; UTF-8 or Windows-1252. Other
//! columns are left out: a national number has no business here. Pure.

use jiff::civil::Date;

use super::{Address, People, Person, days};
use crate::letter::text_of_file;
use crate::secret::Personal;

/// A list that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Who stands in it.
    pub people: People,
    /// Headings of columns that were left out.
    pub ignored: Vec<String>,
}

/// What is wrong with a line. Says nothing of what stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Fault {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong.
    pub what: &'static str,
}

/// People in one list, at most.
pub const MOST_PEOPLE: usize = 200_000;
/// The longest file, in bytes.
pub const LONGEST: usize = 32 << 20;
/// Faults that are told.
const MOST_FAULTS: usize = 20;
/// The longest mail address (RFC 5321 §4.5.3.1.3).
const LONGEST_ADDRESS: usize = 254;
/// Characters of a field.
const LONGEST_FIELD: usize = 500;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    FirstName,
    Name,
    Email,
    Phone,
    Birth,
    Start,
    End,
    Client,
    Language,
    Since,
}

/// Headings, in lower case and with letters only.
const HEADINGS: [(Column, &[&str]); 10] = [
    (Column::FirstName, &["firstname", "givenname", "voornaam", "prenom", "prénom", "vorname"]),
    (
        Column::Name,
        &["name", "naam", "nom", "lastname", "surname", "familienaam", "achternaam", "nachname"],
    ),
    (
        Column::Email,
        &["email", "mail", "emailadres", "mailadres", "courriel", "adresseemail", "emailadresse"],
    ),
    (
        Column::Phone,
        &["phone", "mobile", "telefoon", "gsm", "telephone", "téléphone", "telefon", "handy"],
    ),
    (
        Column::Birth,
        &["birthdate", "dateofbirth", "geboortedatum", "datedenaissance", "geburtsdatum"],
    ),
    (Column::Start, &["start", "startdate", "startdatum", "begin", "begindatum", "debut", "début"]),
    (Column::End, &["end", "enddate", "einde", "einddatum", "fin", "ende", "enddatum"]),
    (Column::Client, &["client", "lastclient", "klant", "laatsteklant", "dernierclient", "kunde"]),
    (Column::Language, &["language", "taal", "langue", "sprache"]),
    (Column::Since, &["addresssince", "emailsince"]),
];

/// Reads a list.
///
/// # Errors
/// What is wrong, the first lines of it; nothing is taken then.
pub fn parse(bytes: &[u8]) -> Result<Table, Vec<Fault>> {
    let fault = |line, what| vec![Fault { line, what }];
    if bytes.len() > LONGEST {
        return Err(fault(1, "the file is longer than 32 MiB"));
    }
    let text = text_of_file(bytes);
    let heading = text.lines().next().unwrap_or_default();
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(heading))
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let heading = match records.next() {
        Some(Ok(heading)) => heading,
        _ => return Err(fault(1, "there is no heading")),
    };
    let columns: Vec<Option<Column>> = heading.iter().map(column).collect();
    if !columns.contains(&Some(Column::Name)) {
        return Err(fault(1, "no column is called `name`: the first line must be a heading"));
    }
    if !columns.iter().flatten().any(|one| matches!(one, Column::Email | Column::Phone)) {
        return Err(fault(1, "no column is called `email` or `phone`"));
    }
    let ignored = heading
        .iter()
        .zip(&columns)
        .filter(|(name, column)| column.is_none() && !name.trim().is_empty());
    let ignored = ignored.map(|(name, _)| name.trim().to_owned()).collect();
    let (mut people, mut faults) = (Vec::new(), Vec::new());
    for record in records {
        let Ok(record) = record else { return Err(fault(1, "the file is no CSV")) };
        let line = || line_of(&text, record.position().map_or(0, csv::Position::byte));
        if record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        match person(&columns, &record) {
            Ok(_) if people.len() == MOST_PEOPLE => {
                return Err(fault(line(), "more than 200,000 people"));
            }
            Ok(person) => people.push(person),
            Err(what) => faults.push(Fault { line: line(), what }),
        }
        if faults.len() == MOST_FAULTS {
            break;
        }
    }
    if people.is_empty() && faults.is_empty() {
        return Err(fault(1, "nobody stands in it"));
    }
    if faults.is_empty() { Ok(Table { people: People { people }, ignored }) } else { Err(faults) }
}

/// The line on which a record begins that is looked for from this byte on: empty lines count.
fn line_of(text: &str, from: u64) -> u64 {
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(text.len());
    let ends = text.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let begins = text.as_bytes()[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    let begins = from + begins.count();
    ends.take_while(|(at, _)| *at < begins).count() as u64 + 1
}

/// What stands between the fields of the heading: whichever of the three there is most of.
fn delimiter(heading: &str) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    for byte in heading.bytes() {
        quoted ^= byte == b'"';
        for (delimiter, count) in &mut counts {
            *count += u32::from(!quoted && byte == *delimiter);
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(byte, _)| byte)
}

fn column(heading: &str) -> Option<Column> {
    let letters = heading.chars().filter(|c| c.is_alphabetic());
    let heading: String = letters.flat_map(char::to_lowercase).collect();
    let known = HEADINGS.iter().find(|(_, names)| names.contains(&heading.as_str()));
    known.map(|(column, _)| *column)
}

fn person(columns: &[Option<Column>], record: &csv::StringRecord) -> Result<Person, &'static str> {
    if record.len() > columns.len() {
        return Err("has more fields than the heading: one with a separator in it needs quotes");
    }
    if record.len() < columns.len() {
        return Err("has fewer fields than the heading");
    }
    let mut person = Person::default();
    let (mut first, mut last, mut since) = (String::new(), String::new(), None);
    for (column, field) in columns.iter().zip(record) {
        let field = field.trim();
        let Some(column) = column.filter(|_| !field.is_empty()) else { continue };
        if field.chars().count() > LONGEST_FIELD {
            return Err("a field is too long");
        }
        match column {
            Column::FirstName => first = field.to_owned(),
            Column::Name => last = field.to_owned(),
            Column::Email => {
                for address in field.split([';', ',', '|', ' ']).filter(|one| !one.is_empty()) {
                    if !is_address(address) {
                        return Err("the e-mail address is none");
                    }
                    let address = Personal::new(address.to_owned());
                    person.addresses.push(Address { address, since: None });
                }
            }
            Column::Phone => {
                let phones = field.split([';', ',', '|', '/']).map(str::trim);
                let phones = phones.filter(|one| !one.is_empty());
                person.phones.extend(phones.map(|one| Personal::new(one.to_owned())));
            }
            Column::Birth => person.birth = Some(day(field).ok_or("the birth date is no date")?),
            Column::Start => person.start = Some(day(field).ok_or("the start is no date")?),
            Column::End => person.end = Some(day(field).ok_or("the end is no date")?),
            Column::Client => person.client = Some(Personal::new(field.to_owned())),
            Column::Language => person.language = Some(Personal::new(language(field)?)),
            Column::Since => since = Some(day(field).ok_or("address_since is no date")?),
        }
    }
    if last.is_empty() {
        return Err("the name is empty");
    }
    person.name = Personal::new(format!("{first} {last}").trim().to_owned());
    for address in &mut person.addresses {
        address.since = since.as_ref().map(|since| *since.expose());
    }
    Ok(person)
}

fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_plain = |part: &str| !part.chars().any(|c| c.is_whitespace() || c.is_control());
    text.len() <= LONGEST_ADDRESS
        && !local.is_empty()
        && !local.contains('@')
        && is_plain(local)
        && is_plain(domain)
        && domain.split('.').count() > 1
        && domain.split('.').all(|label| !label.is_empty())
}

fn language(text: &str) -> Result<String, &'static str> {
    let text = text.to_lowercase();
    let known = ["nl", "fr", "de", "en"];
    let found = known.iter().find(|code| text.starts_with(*code));
    found.map(|code| (*code).to_owned()).ok_or("the language is none of nl, fr, de, en")
}

/// Years that a date on file can have.
const YEARS: std::ops::RangeInclusive<i16> = 1900..=2100;

fn day(text: &str) -> Option<Personal<i32>> {
    let parts: Vec<&str> = text.split(['-', '/', '.']).map(str::trim).collect();
    let [a, b, c] = parts[..] else { return None };
    let (year, month, day) = if a.len() == 4 { (a, b, c) } else { (c, b, a) };
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if year.len() != 4 || ![year, month, day].into_iter().all(is_number) {
        return None;
    }
    let date = Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    YEARS.contains(&date.year()).then(|| Personal::new(days(date)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Table {
        parse(text.as_bytes()).expect("is read")
    }

    fn faults(text: &str) -> Vec<String> {
        parse(text.as_bytes()).expect_err("is refused").iter().map(Fault::to_string).collect()
    }

    #[test]
    fn a_list_is_read_as_a_spreadsheet_writes_it() {
        let comma = "name,email,phone,birth_date,start,end,client,language,address_since\n\
                     \"Peeters, Lotte\",lotte@example.org,0470 12 34 56,1987-12-08,2024-03-04,\
                     2024-08-30,\"Bakkerij \"\"De Korenaar\"\"\",nl,2026-11-01\n";
        let semicolon = "Voornaam;Naam;E-mail;GSM;Geboortedatum;Begin;Einde;Klant;Taal;Address since\r\n\
                         ;Peeters, Lotte;lotte@example.org;0470 12 34 56;08/12/1987;4/3/2024;\
                         30.08.2024;\"Bakkerij \"\"De Korenaar\"\"\";NL;1-11-2026\r\n\r\n;;;;;;;;;\r\n";
        let (one, other) = (read(comma), read(semicolon));
        assert_eq!(one, other);
        let lotte = &one.people.people[0];
        assert_eq!(lotte.name.expose(), "Peeters, Lotte");
        assert_eq!(lotte.client.as_ref().expect("named").expose(), "Bakkerij \"De Korenaar\"");
        assert_eq!(lotte.birth, Some(Personal::new(days("1987-12-08".parse().expect("a date")))));
        let since = lotte.since("LOTTE@example.org").flatten();
        assert_eq!(since, Some(days("2026-11-01".parse().expect("a date"))));
        assert_eq!(one.people.people.len(), 1, "empty lines are none");
    }

    #[test]
    fn windows_and_mac_encodings_marks_and_tabs_are_read() {
        let utf8 = "\u{feff}naam\te-mail\nZoë Müller\tzoe@example.org\n";
        let windows = b"naam\te-mail\r\nZo\xeb M\xfcller\tzoe@example.org\r\n";
        assert_eq!(read(utf8).people, parse(windows).expect("is read").people);
        assert_eq!(read(utf8).people.people[0].name.expose(), "Zoë Müller");
    }

    proptest! {
        #[test]
        fn any_file_is_a_list_or_has_faults_and_harms_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            rows in prop::collection::vec("[a-z0-9;,\"@.é/\r\n-]{0,40}", 0..6),
        ) {
            for text in [bytes, format!("name;email\n{}", rows.join("\n")).into_bytes()] {
                match parse(&text) {
                    Ok(table) => prop_assert!(!table.people.people.is_empty()),
                    Err(faults) => {
                        prop_assert!(!faults.is_empty() && faults.len() <= MOST_FAULTS);
                        let lines = text.split(|byte| *byte == b'\n').count() as u64;
                        let is_there = |fault: &Fault| (1..=lines).contains(&fault.line);
                        prop_assert!(faults.iter().all(is_there), "{faults:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn several_contacts_are_taken_and_other_columns_left_out() {
        let text = "name;first name;email;email2;phone;Rijksregisternummer;notes\n\
                    Claes;Jan;a@x.example, b@x.example;c@x.example;1 / 2;85.07.30-033.28;x\n";
        let table = read(text);
        assert_eq!(table.ignored, ["Rijksregisternummer", "notes"]);
        let jan = &table.people.people[0];
        let addresses: Vec<&String> = jan.addresses.iter().map(|a| a.address.expose()).collect();
        assert_eq!(addresses, ["a@x.example", "b@x.example", "c@x.example"]);
        assert_eq!((jan.name.expose().as_str(), jan.phones.len()), ("Jan Claes", 2));
        let sealed = minicbor::to_vec(&table.people).expect("memory");
        let has_number = sealed.windows(8).any(|some| some == b"85.07.30");
        assert!(!has_number, "a national number goes nowhere");
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_without_what_stands_there() {
        for (text, told) in [
            ("", "line 1: there is no heading"),
            ("Lotte;lotte@example.org\n", "line 1: no column is called `name`"),
            ("name;taal\nLotte;nl\n", "line 1: no column is called `email` or `phone`"),
            ("name;email\n", "line 1: nobody stands in it"),
            ("name;email\n\nLotte;nonsense\n", "line 3: the e-mail address is none"),
            ("name;email\nLotte;a@b@c.example\n", "line 2: the e-mail address is none"),
            ("name;email;start\nLotte;a@b.example;31/2/2024\n", "line 2: the start is no date"),
            ("name;email;start\nLotte;a@b.example;3/2/24\n", "line 2: the start is no date"),
            ("name;email;taal\nLotte;a@b.example;Klingon\n", "line 2: the language is none"),
            ("name;email\n;a@b.example\n", "line 2: the name is empty"),
            ("name;email\nLotte;a@b.example;x\n", "line 2: has more fields"),
            ("name;email;phone\nLotte;a@b.example\n", "line 2: has fewer fields"),
        ] {
            let all = faults(text);
            assert!(all[0].starts_with(told), "{text}: {all:?}");
            assert!(!all[0].contains("nonsense") && !all[0].contains("Lotte"), "{all:?}");
        }
        let many = format!("name;email\n{}", "Lotte;x\n".repeat(100));
        let all = faults(&many);
        assert_eq!((all.len(), all[0].as_str()), (20, "line 2: the e-mail address is none"));
        // A field of two lines counts as two.
        let text = "name;email\n\"Lotte\nPeeters\";a@b.example\nJan;x\n";
        assert_eq!(faults(text), ["line 4: the e-mail address is none"]);
    }
}
