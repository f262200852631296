//! Mends what a recogniser or a person got wrong, as far as that is honest: only where a field can hold
//! nothing else, at most two places nobody could read, and only if one candidate alone satisfies
//! every check digit. Where none does, what was read stays as it was read. What was changed is listed. A
//! name has no check digit: mended, it is unproven.

use jiff::civil::Date;

use super::date::{MrzDate, OnBirth};
use super::layout::{Format, at, bare, judge};
use super::names::Names;
use super::{Mrz, PersonNumber, fillers, person};
use crate::identity::numbers::Sex;

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
    /// Other ways to read the names.
    other_names: Vec<Names>,
}

impl Candidate {
    /// Check digits that do not fit.
    fn failures(&self) -> usize {
        judge(self.format, &self.lines).checks.iter().filter(|check| !check.fits).count()
    }

    /// Whether every check digit fits, and every place holds what it may.
    fn is_right(&self) -> bool {
        let held = held(self.format, &self.lines);
        let mut places =
            self.lines.iter().zip(&held).flat_map(|(line, held)| line.chars().zip(held));
        places.all(|(character, holds)| *holds == Holds::Name || holds.takes(character))
            && self.failures() == 0
    }

    /// With these lines, which differ in names, and what that changes.
    fn with_names(mut self, lines: Vec<String>) -> Self {
        for (nr, (old, new)) in self.lines.iter().zip(&lines).enumerate() {
            for (column, (from, to)) in old.chars().zip(new.chars()).enumerate() {
                if from != to {
                    self.repairs.push(Repair {
                        line: one_based(nr),
                        column: one_based(column),
                        from: Some(from),
                        to: Some(to),
                        is_name: true,
                    });
                }
            }
        }
        Self { lines, ..self }
    }

    /// Changes that check digits must bear out.
    fn changes(&self) -> usize {
        self.repairs.iter().filter(|repair| !repair.is_name).count()
    }
}

/// The zone among these lines, mended if that makes all of it right and nothing else does; else as it was
/// read, of several ways the one with the fewest faults.
pub(super) fn best(lines: &[String], today: Date) -> Option<Mrz> {
    let mut read: Vec<Candidate> = Vec::new();
    for format in Format::ALL {
        let (count, length) = format.shape();
        for window in lines.windows(count) {
            if window.iter().all(|line| line.len().abs_diff(length) <= MOST_OFF) {
                read.extend(of_format(format, window));
            }
        }
    }
    let as_read: Vec<Candidate> = read.iter().map(named).collect();
    let is_whole = |one: &&Candidate| one.changes() == 0 && one.is_right();
    if let Some(whole) = as_read.iter().find(is_whole) {
        return Some(filled(whole.clone(), false, today));
    }
    // A T or a Y is a 7 only if nothing else makes it right.
    for digits in [Digits::Sure, Digits::Likely] {
        let typed = read.iter().flat_map(|one| typed(one, digits));
        let mut right: Vec<Candidate> =
            typed.map(|one| named(&one)).filter(Candidate::is_right).collect();
        right.sort_by_key(|one| one.repairs.len());
        if let Some(first) = right.first() {
            let is_other =
                |one: &Candidate| (one.format, &one.lines) != (first.format, &first.lines);
            let is_ambiguous = right.iter().any(is_other);
            return Some(filled(first.clone(), is_ambiguous, today));
        }
    }
    let faults = |one: &Candidate| (one.failures(), one.repairs.len());
    as_read.into_iter().min_by_key(faults).map(|least| filled(least, false, today))
}

/// With its names mended: letters for digits, fillers put back. Few formats have a check digit over a
/// name; where one has, it decides between the ways to do that.
fn named(candidate: &Candidate) -> Candidate {
    let mut lines = candidate.lines.clone();
    let (first, second) = &candidate.format.places().names;
    for (nr, columns) in std::iter::once(first).chain(second) {
        let letters = lines[*nr][columns.clone()].chars();
        let letters: String = letters.map(|one| Holds::Name.mended(one, Digits::Sure)).collect();
        lines[*nr].replace_range(columns.clone(), &letters);
    }
    let ways = fillers::put_back(candidate.format, &lines);
    let mut ways: Vec<Candidate> =
        ways.into_iter().map(|lines| candidate.clone().with_names(lines)).collect();
    if ways.len() > 1 && ways.iter().any(Candidate::is_right) {
        ways.retain(Candidate::is_right);
    }
    let mut one = ways.swap_remove(0);
    one.other_names = ways.iter().map(|way| fillers::names(way.format, &way.lines)).collect();
    one
}

/// The ways to read these lines in this format, nothing mended but their lengths.
fn of_format(format: Format, lines: &[String]) -> Vec<Candidate> {
    let (_, length) = format.shape();
    let mut found =
        vec![Candidate { format, lines: Vec::new(), repairs: Vec::new(), other_names: Vec::new() }];
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
    found
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

/// Which letters are taken for digits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digits {
    /// Those that look like one.
    Sure,
    /// Those that may be one, too.
    Likely,
}

impl Holds {
    /// The character that it must have been, if this one cannot be there.
    fn mended(self, character: char, digits: Digits) -> char {
        let digit = match character {
            'O' | 'Q' | 'D' => '0',
            'I' | 'L' => '1',
            'Z' => '2',
            'S' => '5',
            'G' => '6',
            'T' | 'Y' if digits == Digits::Likely => '7',
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
    let issuer = at(lines, &(0, 2..5)).chars().map(|one| Holds::Letters.mended(one, Digits::Sure));
    let issuer: String = issuer.collect();
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

/// The candidate with its fields mended where they can hold nothing else, once for each way to read
/// what nobody could.
fn typed(candidate: &Candidate, digits: Digits) -> Vec<Candidate> {
    let Candidate { format, lines, mut repairs, other_names } = candidate.clone();
    let held = held(format, &lines);
    let mut fixed = Vec::with_capacity(lines.len());
    let mut unknown = Vec::new();
    let mut is_seven = false;
    for (nr, line) in lines.iter().enumerate() {
        let mut out = String::with_capacity(line.len());
        for (column, character) in line.chars().enumerate() {
            let holds = held[nr][column];
            let is_name = holds == Holds::Name;
            // See `named`.
            let to = if is_name { character } else { holds.mended(character, digits) };
            if to != character {
                repairs.push(Repair {
                    line: one_based(nr),
                    column: one_based(column),
                    from: Some(character),
                    to: Some(to),
                    is_name: false,
                });
                is_seven |= to == '7';
            }
            if to == UNKNOWN && !is_name {
                unknown.push((nr, column, holds));
            }
            out.push(to);
        }
        fixed.push(out);
    }
    if digits == Digits::Likely && !is_seven {
        return Vec::new();
    }
    if unknown.len() > MOST_UNKNOWN {
        unknown.clear();
    }
    let mut found = vec![Candidate { format, lines: fixed, repairs, other_names }];
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

fn one_based(number: usize) -> u8 {
    u8::try_from(number + 1).unwrap_or(u8::MAX)
}

/// What the lines say.
fn filled(candidate: Candidate, is_ambiguous: bool, today: Date) -> Mrz {
    let Candidate { format, lines, repairs, other_names } = candidate;
    let places = format.places();
    let judged = judge(format, &lines);
    let issuer = bare(at(&lines, &(0, 2..5)));
    let raw = |nr: usize| places.optional[nr].as_ref().map_or("", |place| at(&lines, place));
    let taken = if judged.long_rule.is_some() { judged.taken } else { 0 };
    let optional = [bare(raw(0).get(taken..).unwrap_or_default()), bare(raw(1))];
    let birth = at(&lines, &places.birth);
    let person = person::number(format, &issuer, [raw(0), raw(1)], birth);
    let century = match &person {
        Some(PersonNumber::Belgian(number)) => Some(number.century()),
        _ => None,
    };
    let names = fillers::names(format, &lines);
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
        other_names,
        optional,
        person,
        lines,
        repairs,
        is_ambiguous,
        is_specimen,
    }
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
