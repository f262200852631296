//! Mends what a recogniser or a person got wrong, as far as that is honest: only where a field can hold
//! nothing else, at most two places nobody could read, and only if one candidate alone satisfies
//! every check digit. What was changed is listed. A name has no check digit: mended, it is unproven.

use jiff::civil::Date;

use super::date::{MrzDate, OnBirth};
use super::layout::{Format, at, bare, judge};
use super::names::Names;
use super::{Mrz, PersonNumber};
use crate::identity::numbers::{NationalNumber, Sex};

/// One character that was changed. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Repair {
    /// The line, from 1.
    pub line: u8,
    /// The column in the mended line, from 1.
    pub column: u8,
    /// What was there; nothing if one was put in.
    pub from: Option<char>,
    /// What counts; nothing if one was taken out.
    pub to: Option<char>,
    /// Whether it is in a name.
    pub is_name: bool,
}

impl std::fmt::Debug for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair").field("line", &self.line).finish_non_exhaustive()
    }
}

/// Lines that are looked at.
const MOST_LINES: usize = 24;
/// Characters that a line may have too many or too few.
const MOST_OFF: usize = 2;
/// Places nobody could read that are searched.
const MOST_UNKNOWN: usize = 2;
/// Stands for a character that nobody could read.
const UNKNOWN: char = '?';
/// The shortest line of any format, less what may be missing.
const SHORTEST: usize = 30 - MOST_OFF;
/// Letters that fillers are read as (and are in no name three times at its end).
const LIKE_FILLER: [char; 7] = ['K', 'C', 'S', 'E', 'X', 'L', 'G'];
/// Fillers at the end of a name that may be read as letters, at least.
const LEAST_RUN: usize = 3;
/// Numbers that look alike, listed at most.
const MOST_LOOK_ALIKES: usize = 8;

/// The lines of the text that may belong to a zone: upper case, fillers for what is read instead of
/// them, `?` for what is nothing, merged lines apart.
pub(super) fn normalised(text: &str) -> Vec<String> {
    let text = text.replace("&lt;", "<");
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut out = String::with_capacity(line.len());
        for character in line.chars().filter(|character| !character.is_whitespace()) {
            match character.to_ascii_uppercase() {
                upper @ ('A'..='Z' | '0'..='9' | '<') => out.push(upper),
                '«' => out.push_str("<<"),
                '‹' | '〈' | '＜' | '_' | '-' | '\u{2010}'..='\u{2015}' => out.push('<'),
                _ => out.push(UNKNOWN),
            }
        }
        let piece = match out.len() {
            90 | 60 => 30,
            72 => 36,
            88 => 44,
            length => length.max(1),
        };
        for start in (0..out.len()).step_by(piece) {
            if lines.len() < MOST_LINES && out.len() - start >= SHORTEST.min(piece) {
                lines.push(out[start..(start + piece).min(out.len())].to_owned());
            }
        }
    }
    lines.retain(|line| line.len() >= SHORTEST);
    lines
}

/// A way to read lines.
#[derive(Clone)]
struct Candidate {
    format: Format,
    lines: Vec<String>,
    repairs: Vec<Repair>,
}

/// The zone among these lines: all of its checks right, or as many as can be, with the fewest
/// changes.
pub(super) fn best(lines: &[String], today: Date) -> Option<Mrz> {
    let mut found: Vec<(Candidate, usize)> = Vec::new();
    for format in Format::ALL {
        let (count, length) = format.shape();
        for window in lines.windows(count) {
            if window.iter().all(|line| line.len().abs_diff(length) <= MOST_OFF) {
                found.extend(candidates(format, window).into_iter().map(with_failures));
            }
        }
    }
    let rank = |(candidate, failures): &(Candidate, usize)| {
        (*failures > 0, *failures, candidate.repairs.len())
    };
    let best = found.iter().map(rank).min()?;
    let mut first: Vec<Candidate> =
        found.into_iter().filter(|one| rank(one) == best).map(|(one, _)| one).collect();
    first.dedup_by(|a, b| a.lines == b.lines);
    let differ = first.iter().any(|one| one.lines != first[0].lines);
    // Several ways to mend it are as good: none is taken for granted.
    let is_ambiguous = differ && best.2 > 0;
    Some(filled(first.swap_remove(0), is_ambiguous, today))
}

fn with_failures(candidate: Candidate) -> (Candidate, usize) {
    let checks = judge(candidate.format, &candidate.lines).checks;
    let failures = checks.iter().filter(|check| !check.fits).count();
    (candidate, failures)
}

/// The ways to read these lines in this format.
fn candidates(format: Format, lines: &[String]) -> Vec<Candidate> {
    let (_, length) = format.shape();
    let mut found = vec![Candidate { format, lines: Vec::new(), repairs: Vec::new() }];
    for (nr, line) in lines.iter().enumerate() {
        let each = of_length(line, length, nr);
        let mut next = Vec::new();
        for candidate in &found {
            for (line, repairs) in &each {
                let mut longer = candidate.clone();
                longer.lines.push(line.clone());
                longer.repairs.extend(repairs.iter().cloned());
                next.push(longer);
            }
        }
        found = next;
    }
    found.retain(|one| format.begins(&one.lines[0].replace('1', "I")));
    found.into_iter().flat_map(typed).collect()
}

/// The line with its proper length: as it is, or with fillers put in or taken out where that is
/// likely.
fn of_length(line: &str, length: usize, nr: usize) -> Vec<(String, Vec<Repair>)> {
    let change = |column: usize, from, to| Repair {
        line: one_based(nr),
        column: one_based(column),
        from,
        to,
        is_name: false,
    };
    if line.len() == length {
        return vec![(line.to_owned(), Vec::new())];
    }
    let mut found = Vec::new();
    let (start, run) = longest_run(line);
    if line.len() < length {
        let missing = length - line.len();
        // The filler behind a code of one letter is lost most often.
        if missing == 1 && nr == 0 && line.len() > 1 {
            let fixed = format!("{}<{}", &line[..1], &line[1..]);
            found.push((fixed, vec![change(1, None, Some('<'))]));
        }
        let mut fixed = line.to_owned();
        fixed.insert_str(start + run, &"<".repeat(missing));
        let columns = start + run..start + run + missing;
        found.push((fixed, columns.map(|column| change(column, None, Some('<'))).collect()));
    } else {
        let surplus = line.len() - length;
        if run > surplus {
            let mut fixed = line.to_owned();
            fixed.replace_range(start..start + surplus, "");
            let repairs = (0..surplus).map(|_| change(start, Some('<'), None)).collect();
            found.push((fixed, repairs));
        }
    }
    found
}

/// Where the longest run of fillers begins, and how long it is; the end of the line if there is none.
fn longest_run(line: &str) -> (usize, usize) {
    let (mut best, mut run) = ((line.len(), 0), 0);
    for (at, byte) in line.bytes().enumerate() {
        run = if byte == b'<' { run + 1 } else { 0 };
        if run > best.1 {
            best = (at + 1 - run, run);
        }
    }
    best
}

/// What a place may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Anything,
    Digits,
    Letters,
    Name,
    /// Of German documents: no vowels, nothing that looks like a digit.
    German,
}

impl Holds {
    /// The character that it must have been, if this one cannot be there.
    fn mended(self, character: char) -> char {
        let digit = match character {
            'O' | 'Q' | 'D' => '0',
            'I' | 'L' => '1',
            'Z' => '2',
            'S' => '5',
            'G' => '6',
            'T' | 'Y' => '7',
            'B' => '8',
            other => other,
        };
        let letter = match character {
            '0' => 'O',
            '1' => 'I',
            '2' => 'Z',
            '5' => 'S',
            '6' => 'G',
            '8' => 'B',
            other => other,
        };
        match self {
            Self::Anything => character,
            Self::Digits => digit,
            Self::Letters | Self::Name => letter,
            Self::German if self.takes(character) => character,
            Self::German => digit,
        }
    }

    fn takes(self, character: char) -> bool {
        match self {
            Self::Anything => true,
            Self::Digits => character.is_ascii_digit() || character == '<',
            Self::Letters | Self::Name => character.is_ascii_uppercase() || character == '<',
            Self::German => "0123456789CFGHJKLMNPRTVWXYZ<".contains(character),
        }
    }
}

/// What each place of each line may hold, as the format and the issuer say.
fn held(format: Format, lines: &[String]) -> Vec<Vec<Holds>> {
    let (count, length) = format.shape();
    let mut held = vec![vec![Holds::Anything; length]; count];
    let mut set = |line: usize, columns: std::ops::Range<usize>, holds: Holds| {
        held[line][columns].fill(holds);
    };
    let places = format.places();
    set(0, 0..5, Holds::Letters);
    let issuer = mended(at(lines, &(0, 2..5)), Holds::Letters);
    for place in [Some(&places.names.0), places.names.1.as_ref()].into_iter().flatten() {
        set(place.0, place.1.clone(), Holds::Name);
    }
    for place in [Some(&places.birth), places.expiry.as_ref()].into_iter().flatten() {
        set(place.0, place.1.start..place.1.end + 1, Holds::Digits);
    }
    if let Some((line, columns)) = &places.nationality {
        set(*line, columns.clone(), Holds::Letters);
    }
    set(places.sex.0, places.sex.1.clone(), Holds::Letters);
    if let Some((_, (line, columns))) = &places.composite {
        set(*line, columns.clone(), Holds::Digits);
    }
    let (line, number) = &places.number;
    if format != Format::OldFrench {
        set(*line, number.end..number.end + 1, Holds::Digits);
    }
    match (format, issuer.as_str()) {
        (Format::Td1, "BEL") => {
            // Residence cards begin with a letter; the 13 or 14 places behind it are digits.
            let first = at(lines, &(0, 5..6));
            let is_residence = first == "B" && at(lines, &(0, 15..18)).ends_with('<');
            set(0, if is_residence { 6..30 } else { 5..30 }, Holds::Digits);
            set(1, 18..29, Holds::Digits);
        }
        (Format::OldFrench, _) => {
            set(1, 0..4, Holds::Digits);
            set(1, 7..13, Holds::Digits);
        }
        (_, "D<<") => set(*line, number.clone(), Holds::German),
        (Format::Td1, "NLD") => {
            set(0, 5..7, Holds::Letters);
            set(0, 13..14, Holds::Digits);
        }
        _ => {}
    }
    held
}

fn mended(text: &str, holds: Holds) -> String {
    text.chars().map(|character| holds.mended(character)).collect()
}

/// The candidate with its fields mended where they can hold nothing else, once for each way to read
/// what nobody could.
fn typed(candidate: Candidate) -> Vec<Candidate> {
    let Candidate { format, lines, mut repairs } = candidate;
    let held = held(format, &lines);
    let mut fixed = Vec::with_capacity(lines.len());
    let mut unknown = Vec::new();
    for (nr, line) in lines.iter().enumerate() {
        let mut out = String::with_capacity(line.len());
        for (column, character) in line.chars().enumerate() {
            let holds = held[nr][column];
            let to = holds.mended(character);
            if to != character {
                repairs.push(Repair {
                    line: one_based(nr),
                    column: one_based(column),
                    from: Some(character),
                    to: Some(to),
                    is_name: holds == Holds::Name,
                });
            }
            if to == UNKNOWN && holds != Holds::Name {
                unknown.push((nr, column, holds));
            }
            out.push(to);
        }
        fixed.push(out);
    }
    let places = format.places();
    for place in [Some(&places.names.0), places.names.1.as_ref()].into_iter().flatten() {
        mend_name(&mut fixed[place.0], place, &mut repairs);
    }
    if unknown.len() > MOST_UNKNOWN {
        unknown.clear();
    }
    let mut found = vec![Candidate { format, lines: fixed, repairs }];
    for (nr, column, holds) in unknown {
        let mut next = Vec::new();
        for candidate in &found {
            for byte in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ<" {
                let to = char::from(*byte);
                // A filler counts as much as a 0: among digits it would leave a doubt each time.
                if !holds.takes(to) || (holds == Holds::Digits && to == '<') {
                    continue;
                }
                let mut one = candidate.clone();
                one.lines[nr].replace_range(column..=column, &to.to_string());
                one.repairs.push(Repair {
                    line: one_based(nr),
                    column: one_based(column),
                    from: Some(UNKNOWN),
                    to: Some(to),
                    is_name: false,
                });
                next.push(one);
            }
        }
        found = next;
    }
    found
}

/// Puts fillers back where a name ends in a run of letters that fillers are read as, and between its
/// two parts if nothing parts them.
pub(super) fn mend_name(
    line: &mut String,
    (nr, columns): &(usize, std::ops::Range<usize>),
    repairs: &mut Vec<Repair>,
) {
    let mut letters: Vec<char> = line[columns.clone()].chars().collect();
    let mut set = |letters: &mut Vec<char>, at: usize| {
        if letters[at] != '<' {
            repairs.push(Repair {
                line: one_based(*nr),
                column: one_based(columns.start + at),
                from: Some(letters[at]),
                to: Some('<'),
                is_name: true,
            });
            letters[at] = '<';
        }
    };
    let last = letters.iter().rev().find(|letter| **letter != '<').copied();
    if let Some(letter) = last.filter(|letter| LIKE_FILLER.contains(letter)) {
        let is_run = |other: &&char| **other == letter || **other == '<';
        let run = letters.iter().rev().take_while(is_run).count();
        let read = letters[letters.len() - run..].iter().filter(|one| **one == letter).count();
        if read >= LEAST_RUN {
            for at in letters.len() - run..letters.len() {
                set(&mut letters, at);
            }
        }
    }
    let end = letters.iter().rposition(|letter| *letter != '<').map_or(0, |at| at + 1);
    let is_parted = letters[..end].windows(2).any(|pair| pair == ['<', '<']);
    if !is_parted {
        let is_pair = |at: &usize| {
            letters[*at] == letters[at + 1]
                && LIKE_FILLER.contains(&letters[*at])
                && *at >= 2
                && at + 4 <= end
        };
        let pairs: Vec<usize> = (0..end.saturating_sub(1)).filter(is_pair).collect();
        if let [at] = pairs[..] {
            set(&mut letters, at);
            set(&mut letters, at + 1);
        }
    }
    line.replace_range(columns.clone(), &letters.into_iter().collect::<String>());
}

fn one_based(number: usize) -> u8 {
    u8::try_from(number + 1).unwrap_or(u8::MAX)
}

/// What the lines say.
fn filled(candidate: Candidate, is_ambiguous: bool, today: Date) -> Mrz {
    let Candidate { format, lines, repairs } = candidate;
    let places = format.places();
    let judged = judge(format, &lines);
    let issuer = bare(at(&lines, &(0, 2..5)));
    let raw = |nr: usize| places.optional[nr].as_ref().map_or("", |place| at(&lines, place));
    let taken = if judged.long_rule.is_some() { judged.taken } else { 0 };
    let optional = [bare(raw(0).get(taken..).unwrap_or_default()), bare(raw(1))];
    let birth = at(&lines, &places.birth);
    let person = person_number(format, &issuer, [raw(0), raw(1)], birth);
    let century = match &person {
        Some(PersonNumber::Belgian(number)) => Some(number.century()),
        _ => None,
    };
    let names = match &places.names {
        (both, None) => Names::of_field(at(&lines, both)),
        (surname, Some(given)) => Names::of_fields(at(&lines, surname), at(&lines, given)),
    };
    let issued = (format == Format::OldFrench).then(|| at(&lines, &(1, 0..4))).and_then(|text| {
        let (year, month) = (text[..2].parse::<u16>().ok()?, text[2..].parse::<u8>().ok()?);
        // Such cards were made from 1988 to 2021.
        (1..=12).contains(&month).then_some((if year > 80 { 1900 } else { 2000 } + year, month))
    });
    let is_specimen = issuer == "UTO"
        || names.surname.split(' ').chain(names.given.split(' ')).any(|word| word == "SPECIMEN");
    Mrz {
        code: bare(at(&lines, &(0, 0..2))),
        look_alikes: look_alikes(format, &lines),
        long_rule: judged.long_rule,
        number: judged.number,
        nationality: places.nationality.as_ref().map(|place| bare(at(&lines, place))),
        birth: MrzDate::birth(birth, OnBirth { today, century }),
        expiry: places.expiry.as_ref().map(|place| MrzDate::expiry(at(&lines, place))),
        issued,
        sex: match at(&lines, &places.sex) {
            "M" => Some(Sex::Male),
            "F" => Some(Sex::Female),
            _ => None,
        },
        checks: judged.checks,
        format,
        issuer,
        names,
        optional,
        person,
        lines,
        repairs,
        is_ambiguous,
        is_specimen,
    }
}

/// A number of the person that the optional data holds, by issuer.
fn person_number(
    format: Format,
    issuer: &str,
    optional: [&str; 2],
    birth: &str,
) -> Option<PersonNumber> {
    let [first, second] = optional;
    let digits = |text: &str, count: usize| {
        let text = text.trim_end_matches('<');
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_card = format == Format::Td1;
    match issuer {
        "BEL" if is_card && second.bytes().any(|byte| byte != b'<') => {
            let number = NationalNumber::parse(second);
            Some(number.map_or(PersonNumber::BelgianUnproven, PersonNumber::Belgian))
        }
        "NLD" if is_card && digits(first.get(..9)?, 9) => Some(PersonNumber::Dutch),
        "NLD" if !is_card && digits(first, 9) => Some(PersonNumber::Dutch),
        "BGR" if digits(second, 10) => Some(PersonNumber::Bulgarian(is_egn_of(second, birth))),
        "BGR" if digits(first, 10) => Some(PersonNumber::Bulgarian(is_egn_of(first, birth))),
        "ROU" if format == Format::Td2 && digits(first, 7) => Some(PersonNumber::Romanian),
        "POL" if digits(second, 11) || digits(first, 11) => Some(PersonNumber::Polish),
        "ESP" if is_card && first.bytes().any(|byte| byte != b'<') => Some(PersonNumber::Spanish),
        "FIN" if is_card && first.bytes().any(|byte| byte != b'<') => Some(PersonNumber::Finnish),
        _ => None,
    }
}

/// A Bulgarian number begins with the birth date, its month 40 more from 2000 on.
fn is_egn_of(number: &str, birth: &str) -> bool {
    let month = |text: &str| text.get(2..4).and_then(|month| month.parse::<u8>().ok());
    let same = number.get(..2) == birth.get(..2) && number.get(4..6) == birth.get(4..6);
    let (of_number, of_birth) = (month(number), month(birth));
    same && (of_number == of_birth || of_number == of_birth.map(|month| month + 40))
}

/// Numbers that look like this one and satisfy the same check digits.
fn look_alikes(format: Format, lines: &[String]) -> Vec<String> {
    const ALIKE: [(char, char); 8] = [
        ('0', 'O'),
        ('1', 'I'),
        ('1', 'L'),
        ('2', 'Z'),
        ('5', 'S'),
        ('6', 'G'),
        ('8', 'B'),
        ('8', 'S'),
    ];
    let failing = |lines: &[String]| judge(format, lines).checks.iter().any(|check| !check.fits);
    if failing(lines) {
        return Vec::new();
    }
    let held = held(format, lines);
    let (line, columns) = &format.places().number;
    let mut swaps = Vec::new();
    for column in columns.clone() {
        let is = lines[*line].as_bytes()[column];
        for (a, b) in ALIKE {
            let other = match char::from(is) {
                is if is == a => b,
                is if is == b => a,
                _ => continue,
            };
            if held[*line][column].takes(other) {
                swaps.push((column, other));
            }
        }
    }
    let mut found = Vec::new();
    let mut look = |changes: &[(usize, char)]| {
        let mut other = lines.to_vec();
        for (column, to) in changes {
            other[*line].replace_range(*column..=*column, &to.to_string());
        }
        if found.len() < MOST_LOOK_ALIKES && !failing(&other) {
            found.push(judge(format, &other).number);
        }
    };
    for (nr, first) in swaps.iter().enumerate() {
        look(&[*first]);
        for second in &swaps[nr + 1..] {
            if second.0 != first.0 {
                look(&[*first, *second]);
            }
        }
    }
    found
}
