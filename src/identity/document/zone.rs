//! The lines of a zone, read in several preparations until all check digits fit.
//!
//! Each line is settled with the number of signs and the kinds of signs that its format has
//! (`lattice`). Where a check digit does not fit, other preparations of the same strip are read, and
//! lines of one put together with lines of another. What is still wrong is mended only if one change
//! alone, or two, make every check digit fit, and no other does as well: it is listed like any other
//! mending. A name has no check digit: the reading that most preparations agree on counts.

use jiff::civil::Date;
use minicbor::{Decode, Encode};
use rayon::prelude::*;

use super::band::Band;
use crate::identity::mrz::{self, check_digit};
use crate::identity::picture::lattice::{self, ANY, Allowed, DIGITS, FILLER, LETTERS, Settled};
use crate::identity::picture::recognise::{HEIGHT, Recogniser, SIGNS, strip};
use crate::identity::picture::{Grey, Quad};

/// A zone as it was read.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Zone {
    /// Its lines.
    #[n(0)]
    pub lines: Vec<String>,
    /// What was changed to make the check digits fit.
    #[n(1)]
    pub mended: Vec<Mended>,
    /// Whether what does not fit was read clearly, so that the document says so and not the reader.
    #[n(2)]
    pub is_clear: bool,
    /// Whether every check digit fits.
    #[n(3)]
    pub fits: bool,
    /// How well the whole path goes with what was heard: near 0 is well.
    #[n(4)]
    pub score: f32,
    /// Where it is on the page: its four corners.
    #[n(5)]
    pub place: [(f32, f32); 4],
    /// Whether two readings of the names were the same: no check digit says how well they were read.
    #[n(6)]
    pub names_agree: bool,
}

#[cfg(test)]
impl Zone {
    /// One that was read clearly and fits, with these lines.
    pub(super) fn clear(lines: &[&str]) -> Self {
        Self {
            lines: lines.iter().map(ToString::to_string).collect(),
            mended: Vec::new(),
            is_clear: true,
            fits: true,
            score: -0.1,
            place: [(0.0, 0.0); 4],
            names_agree: true,
        }
    }
}

impl std::fmt::Debug for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zone").field("fits", &self.fits).finish_non_exhaustive()
    }
}

/// A sign that was changed. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Mended {
    /// The line, from 1.
    #[n(0)]
    pub line: u8,
    /// The column, from 1.
    #[n(1)]
    pub column: u8,
    /// What was heard.
    #[n(2)]
    pub from: char,
    /// What counts.
    #[n(3)]
    pub to: char,
}

impl std::fmt::Debug for Mended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mended").field("line", &self.line).finish_non_exhaustive()
    }
}

/// A way to prepare a strip: how high it is cut, how wide it is shown, whether its light is evened.
#[derive(Clone, Copy)]
struct Preparation {
    high: f32,
    wide: f32,
    is_evened: bool,
}

const fn prepared(high: f32, wide: f32, is_evened: bool) -> Preparation {
    Preparation { high, wide, is_evened }
}

/// In the order in which they are tried.
const PREPARATIONS: [Preparation; 7] = [
    prepared(1.0, 1.0, false),
    prepared(1.2, 1.15, true),
    prepared(0.85, 1.0, true),
    prepared(1.1, 1.0, true),
    prepared(1.0, 1.3, false),
    prepared(1.35, 1.35, false),
    prepared(0.95, 0.85, true),
];
/// Preparations that are read in any case, so that names are read more than once.
const LEAST_READ: usize = 2;
/// Preparations after which what was read clearly and does not fit is taken as it is.
const CLEARLY_READ: usize = 3;
/// Preparations that are read, at most, until names agree.
const MOST_READ: usize = 4;
/// The least that a path scores that can be a zone.
const LEAST_SCORE: f32 = -2.0;
/// A change that costs more than this was not misheard.
const DEAREST: f32 = 6.0;
/// Changes that are looked at, the cheapest first.
const MOST_CHANGES: usize = 60;
/// How much cheaper than any other the accepted change must be.
const CHEAPER: f32 = 0.7;
/// What was heard more surely than this is no doubt of the reader.
const CLEAR: f32 = 2.5;
/// The day does not matter to check digits.
const ANY_DAY: Date = jiff::civil::date(2026, 1, 1);

/// A format by its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Td1,
    Td2,
    Td3,
    OldFrench,
}

impl Shape {
    const fn lines(self) -> (usize, usize) {
        match self {
            Self::Td1 => (3, 30),
            Self::Td2 | Self::OldFrench => (2, 36),
            Self::Td3 => (2, 44),
        }
    }

    /// What each place of a line may hold; more is known once the issuer is.
    fn places(self, line: usize, begun: Option<&str>) -> Vec<Allowed> {
        let (_, length) = self.lines();
        let name = LETTERS | FILLER;
        let date = DIGITS | FILLER;
        let sexes = of("MF<");
        let mut places = vec![ANY; length];
        let mut set = |range: std::ops::Range<usize>, allowed: Allowed| places[range].fill(allowed);
        match (self, line) {
            (Self::Td1, 0) => {
                set(0..1, of("ACI"));
                set(1..5, name);
                // A number begins at once: a filler there is a K.
                set(5..6, DIGITS | LETTERS);
                set(14..15, date);
            }
            (Self::Td1, 1) => {
                set(0..6, date);
                set(6..7, DIGITS);
                set(7..8, sexes);
                set(8..14, date);
                set(14..15, DIGITS);
                set(15..18, name);
                set(29..30, DIGITS);
            }
            (Self::Td1, _) => set(0..30, name),
            (Self::Td2, 0) => {
                set(0..1, of("ACIP"));
                set(1..36, name);
            }
            (Self::Td3, 0) => {
                set(0..1, of("P"));
                set(1..44, name);
            }
            (Self::Td2 | Self::Td3, _) => {
                set(0..1, DIGITS | LETTERS);
                set(9..10, DIGITS);
                set(10..13, name);
                set(13..19, date);
                set(19..20, DIGITS);
                set(20..21, sexes);
                set(21..27, date);
                set(27..28, DIGITS);
                set(length - 1..length, DIGITS);
                if self == Self::Td3 {
                    set(42..43, date);
                }
            }
            (Self::OldFrench, 0) => {
                for (at, letter) in ["I", "D", "F", "R", "A"].iter().enumerate() {
                    set(at..at + 1, of(letter));
                }
                set(5..30, name);
            }
            (Self::OldFrench, _) => {
                set(0..4, DIGITS);
                set(7..13, DIGITS);
                set(13..27, name);
                set(27..34, DIGITS);
                set(34..35, of("MF"));
                set(35..36, DIGITS);
            }
        }
        if let Some(first) = begun {
            self.narrow(line, first, &mut places);
        }
        places
    }

    /// What the issuer's own documents hold.
    fn narrow(self, line: usize, first: &str, places: &mut [Allowed]) {
        let issuer = &first[2..5];
        let german = of("0123456789CFGHJKLMNPRTVWXYZ<");
        match (self, line, issuer) {
            (Self::Td1, 0, "BEL") => {
                let is_residence = first.as_bytes()[5] == b'B';
                let digits = if is_residence { 6..14 } else { 5..14 };
                places[digits].fill(DIGITS);
                places[15..19].fill(DIGITS | FILLER);
                places[19..30].fill(FILLER);
                if !is_residence {
                    places[14] = FILLER;
                    places[15..19].fill(DIGITS);
                }
            }
            (Self::Td1, 1, "BEL") => places[18..29].fill(DIGITS),
            (Self::Td1, 0, "D<<") => {
                places[5..14].iter_mut().for_each(|place| *place &= german);
            }
            (Self::Td2 | Self::Td3, 1, "D<<") => {
                places[0..9].iter_mut().for_each(|place| *place &= german);
            }
            _ => {}
        }
    }

    /// Whether the digits of birth, expiry and all together fit.
    fn has_digits(self, lines: &[String]) -> bool {
        let fits = |parts: &[&str], digit: &str| {
            check_digit(parts.iter().copied()).is_some_and(|sum| Ok(sum) == digit.parse())
        };
        let [one, two] = [&lines[0], &lines[1]];
        let end = two.len() - 1;
        match self {
            Self::Td1 => {
                fits(&[&two[..6]], &two[6..7])
                    && fits(&[&two[8..14]], &two[14..15])
                    && fits(&[&one[5..], &two[..7], &two[8..15], &two[18..29]], &two[29..])
            }
            Self::Td2 | Self::Td3 => {
                fits(&[&two[13..19]], &two[19..20])
                    && fits(&[&two[21..27]], &two[27..28])
                    && fits(&[&two[..10], &two[13..20], &two[21..end]], &two[end..])
            }
            Self::OldFrench => {
                fits(&[&two[27..33]], &two[33..34]) && fits(&[one, &two[..end]], &two[end..])
            }
        }
    }

    /// Whether a line holds names that no check digit covers.
    const fn has_names(self, line: usize) -> bool {
        match self {
            Self::Td1 => line == 2,
            Self::Td2 | Self::Td3 => line == 0,
            Self::OldFrench => false,
        }
    }

    /// Whether a check digit covers this place.
    fn is_covered(self, line: usize, column: usize) -> bool {
        match (self, line) {
            (Self::Td1, 0) => column >= 5,
            (Self::Td1, 1) => column != 7 && !(15..18).contains(&column),
            (Self::Td1 | Self::Td2 | Self::Td3, 0 | 2) => false,
            (Self::Td1 | Self::Td2 | Self::Td3, _) => !(10..13).contains(&column) && column != 20,
            // The composite covers the whole of both lines.
            (Self::OldFrench, _) => true,
        }
    }
}

/// The signs of a text, as what a place may hold.
fn of(text: &str) -> Allowed {
    let bit = |sign: u8| SIGNS.iter().position(|one| *one == sign).map_or(0, |at| 1 << at);
    text.bytes().map(bit).fold(0, |all, bit| all | bit)
}

type Steps = Vec<[f32; 38]>;

/// One line in one preparation.
struct Reading {
    settled: Settled,
}

/// Reads a band. `may_go_on` says whether there is time left.
pub(super) fn read(
    recogniser: &Recogniser,
    grey: &Grey,
    band: &Band,
    may_go_on: &(dyn Fn() -> bool + Sync),
) -> Option<Zone> {
    // What every line of the band says, in the first preparation: this decides what it is.
    let heard: Vec<Option<Steps>> =
        band.lines.iter().map(|quad| steps(recogniser, grey, quad, PREPARATIONS[0])).collect();
    let mut shapes = Vec::new();
    for shape in [Shape::Td1, Shape::OldFrench, Shape::Td2, Shape::Td3] {
        let (count, _) = shape.lines();
        for start in 0..(band.lines.len() + 1).saturating_sub(count) {
            let settled: Option<Vec<Settled>> = (0..count)
                .map(|nr| lattice::settle(heard[start + nr].as_ref()?, &shape.places(nr, None)))
                .collect();
            let Some(settled) = settled else { continue };
            let score = settled.iter().map(|one| one.score).sum::<f32>() / count as f32;
            shapes.push((score, shape, start));
        }
    }
    shapes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut best: Option<Zone> = None;
    for (score, shape, start) in shapes.into_iter().take(2) {
        if score < LEAST_SCORE || !may_go_on() {
            break;
        }
        let lines = &band.lines[start..start + shape.lines().0];
        let first = &heard[start..start + shape.lines().0];
        let Some(zone) = shaped(recogniser, grey, lines, first, shape, may_go_on) else { continue };
        if zone.fits || zone.is_clear {
            return Some(zone);
        }
        if best.as_ref().is_none_or(|best| zone.score > best.score) {
            best = Some(zone);
        }
    }
    best
}

fn steps(recogniser: &Recogniser, grey: &Grey, quad: &Quad, how: Preparation) -> Option<Steps> {
    let quad = higher(quad, how.high);
    let width = HEIGHT as f32 * quad.length() / quad.height().max(1.0) * how.wide;
    let mut strip = strip(grey, &quad, (width.round() as usize).clamp(64, 2400));
    if how.is_evened {
        strip = strip.evened(HEIGHT * 2).stretched();
    }
    recogniser.heard(&strip).map(|heard| heard.steps)
}

/// The same line, cut higher or less high.
fn higher(quad: &Quad, by: f32) -> Quad {
    let [a, b, c, d] = quad.0;
    let grow = |from: (f32, f32), to: (f32, f32)| {
        let middle = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
        ((from.0 - middle.0) * by + middle.0, (from.1 - middle.1) * by + middle.1)
    };
    Quad([grow(a, d), grow(b, c), grow(c, b), grow(d, a)])
}

fn shaped(
    recogniser: &Recogniser,
    grey: &Grey,
    lines: &[Quad],
    first: &[Option<Steps>],
    shape: Shape,
    may_go_on: &(dyn Fn() -> bool + Sync),
) -> Option<Zone> {
    // For each line, its readings, by preparation.
    let mut readings: Vec<Vec<Reading>> = lines.iter().map(|_| Vec::new()).collect();
    let mut found: Option<Vec<String>> = None;
    for (nr, how) in PREPARATIONS.iter().enumerate() {
        if nr > 0 && !may_go_on() {
            break;
        }
        // Once every check digit fits, only what none covers is worth another look.
        let is_due = |line: usize| found.is_none() || shape.has_names(line);
        let one = |(line, quad): (usize, &Quad)| match (is_due(line), nr) {
            (false, _) => None,
            (true, 0) => first[line].clone(),
            (true, _) => steps(recogniser, grey, quad, *how),
        };
        let heard: Vec<Option<Steps>> =
            rten::thread_pool().run(|| lines.par_iter().enumerate().map(one).collect());
        let mut begun: Option<String> = readings[0].first().map(|one| one.settled.text.clone());
        for (line, heard) in heard.iter().enumerate() {
            let Some(heard) = heard else { continue };
            if line == 0 && begun.is_none() {
                begun = lattice::settle(heard, &shape.places(0, None)).map(|one| one.text);
            }
            let places = shape.places(line, begun.as_deref());
            if let Some(settled) = lattice::settle(heard, &places) {
                readings[line].push(Reading { settled });
            }
        }
        if readings.iter().any(Vec::is_empty) {
            return None;
        }
        found = found.or_else(|| combined(shape, &readings));
        // Read clearly three times, and wrong: more readings will not make it right.
        if found.is_none()
            && nr + 1 == CLEARLY_READ
            && is_clear(shape, &readings, &voted(&readings))
        {
            break;
        }
        if found.is_some()
            && nr + 1 >= LEAST_READ
            && (agree(shape, &readings) || nr + 1 >= MOST_READ)
        {
            break;
        }
    }
    let score = readings.iter().map(|line| line[0].settled.score).sum::<f32>() / lines.len() as f32;
    let place =
        [lines[0].0[0], lines[0].0[1], lines[lines.len() - 1].0[2], lines[lines.len() - 1].0[3]];
    let done = |mut lines: Vec<String>, mended: Vec<Mended>, fits: bool, is_clear: bool| {
        uncovered(shape, &readings, &mut lines);
        let names_agree = agree(shape, &readings);
        Zone { lines, mended, is_clear, fits, score, place, names_agree }
    };
    if let Some(lines) = found {
        return Some(done(lines, Vec::new(), true, true));
    }
    let voted = voted(&readings);
    if fits(shape, &voted) {
        return Some(done(voted, Vec::new(), true, true));
    }
    // What was read clearly is what stands there: nothing is changed to make it fit.
    let is_clear = is_clear(shape, &readings, &voted);
    if !is_clear && let Some((lines, mended)) = searched(shape, &readings, &voted) {
        return Some(done(lines, mended, true, true));
    }
    Some(done(voted, Vec::new(), false, is_clear))
}

/// Whether two readings of the names, at least, are the same.
fn agree(shape: Shape, readings: &[Vec<Reading>]) -> bool {
    readings.iter().enumerate().filter(|(line, _)| shape.has_names(*line)).all(|(_, of_line)| {
        let is_twice = |text: &str| {
            of_line.iter().filter(|reading| reading.settled.text == text).count() >= LEAST_READ
        };
        of_line.iter().any(|reading| is_twice(&reading.settled.text))
    })
}

/// Whether every check digit of these lines fits.
fn fits(shape: Shape, lines: &[String]) -> bool {
    // Nearly all that is tried fails at one of three digits, which costs next to nothing.
    shape.has_digits(lines)
        && mrz::read(&lines.join("\n"), ANY_DAY)
            .is_ok_and(|read| read.fits() && read.repairs.is_empty() && !read.is_ambiguous)
}

/// Lines of one preparation or another with which every check digit fits; the newest is in it.
fn combined(shape: Shape, readings: &[Vec<Reading>]) -> Option<Vec<String>> {
    let newest = readings.iter().map(Vec::len).max().unwrap_or(1) - 1;
    let mut choice = vec![0; readings.len()];
    loop {
        if choice.contains(&newest) {
            let lines: Vec<String> = choice
                .iter()
                .zip(readings)
                .map(|(nr, line)| line[(*nr).min(line.len() - 1)].settled.text.clone())
                .collect();
            if fits(shape, &lines) {
                return Some(lines);
            }
        }
        let mut at = 0;
        loop {
            if at == choice.len() {
                return None;
            }
            choice[at] += 1;
            if choice[at] <= newest {
                break;
            }
            choice[at] = 0;
            at += 1;
        }
    }
}

/// What most of the readings have at each place, the surer ones more.
fn voted(readings: &[Vec<Reading>]) -> Vec<String> {
    readings
        .iter()
        .map(|line| {
            let cost = summed(line);
            let best = |costs: &[f32; 37]| {
                let least = costs.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
                char::from(SIGNS[least.map_or(36, |(sign, _)| sign)])
            };
            cost.iter().map(best).collect()
        })
        .collect()
}

/// For each place, what each sign costs over all readings.
fn summed(line: &[Reading]) -> Vec<[f32; 37]> {
    let mut sums = vec![[0f32; 37]; line[0].settled.costs.len()];
    for reading in line {
        for (sum, costs) in sums.iter_mut().zip(&reading.settled.costs) {
            for (sum, cost) in sum.iter_mut().zip(costs) {
                // No single reading decides: a step that heard a sign as good as never is a step.
                *sum += cost.min(DEAREST);
            }
        }
    }
    sums
}

/// Puts what most readings agree on where no check digit decides: names above all.
fn uncovered(shape: Shape, readings: &[Vec<Reading>], lines: &mut [String]) {
    let mut voted = voted(readings);
    for (nr, of_line) in readings.iter().enumerate().filter(|(nr, _)| shape.has_names(*nr)) {
        let count = |one: &Reading| {
            of_line.iter().filter(|other| other.settled.text == one.settled.text).count()
        };
        // A letter that one reading dropped moves all behind it: whole lines are counted first.
        if let Some(most) = of_line.iter().max_by_key(|one| count(one))
            && count(most) >= LEAST_READ
        {
            voted[nr].clone_from(&most.settled.text);
        }
    }
    for (nr, line) in lines.iter_mut().enumerate() {
        let mut out: Vec<u8> = line.bytes().collect();
        for (column, sign) in voted[nr].bytes().enumerate() {
            if !shape.is_covered(nr, column) {
                out[column] = sign;
            }
        }
        *line = String::from_utf8(out).unwrap_or_default();
    }
}

/// What another sign costs, the line and column of its place, and the sign.
type Change = (f32, usize, usize, u8);

/// One or two changes that make every check digit fit, if no others do as cheaply.
fn searched(
    shape: Shape,
    readings: &[Vec<Reading>],
    voted: &[String],
) -> Option<(Vec<String>, Vec<Mended>)> {
    let mut changes: Vec<Change> = Vec::new();
    let begun = Some(voted[0].as_str());
    for (line, of_line) in readings.iter().enumerate() {
        let allowed = shape.places(line, begun);
        for (column, costs) in summed(of_line).iter().enumerate() {
            if !shape.is_covered(line, column) {
                continue;
            }
            let is = voted[line].as_bytes()[column];
            let least = costs.iter().copied().fold(f32::MAX, f32::min);
            for (sign, cost) in costs.iter().enumerate() {
                let cost = (cost - least) / of_line.len() as f32;
                if SIGNS[sign] != is && allowed[column] & (1 << sign) != 0 && cost < DEAREST {
                    changes.push((cost, line, column, SIGNS[sign]));
                }
            }
        }
    }
    changes.sort_by(|a, b| a.0.total_cmp(&b.0));
    changes.truncate(MOST_CHANGES);
    let with = |made: &[&Change]| {
        let mut lines = voted.to_vec();
        for (_, line, column, sign) in made {
            lines[*line].replace_range(*column..*column + 1, &char::from(*sign).to_string());
        }
        lines
    };
    let mut good: Vec<(f32, Vec<&Change>)> = Vec::new();
    for (nr, one) in changes.iter().enumerate() {
        if fits(shape, &with(&[one])) {
            good.push((one.0, vec![one]));
        }
        for two in &changes[nr + 1..] {
            let cost = one.0 + two.0;
            let is_other_place = (one.1, one.2) != (two.1, two.2);
            if is_other_place && cost < DEAREST && fits(shape, &with(&[one, two])) {
                good.push((cost, vec![one, two]));
            }
        }
    }
    good.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (cost, made) = good.first()?;
    if good.get(1).is_some_and(|(next, _)| next - cost < CHEAPER) {
        return None;
    }
    let mended = made
        .iter()
        .map(|(_, line, column, sign)| Mended {
            line: (*line + 1) as u8,
            column: (*column + 1) as u8,
            from: char::from(voted[*line].as_bytes()[*column]),
            to: char::from(*sign),
        })
        .collect();
    Some((with(made), mended))
}

/// Whether every place that check digits cover was heard surely, and the same in each preparation.
fn is_clear(shape: Shape, readings: &[Vec<Reading>], voted: &[String]) -> bool {
    readings.iter().enumerate().all(|(line, of_line)| {
        let columns: Vec<usize> =
            (0..voted[line].len()).filter(|column| shape.is_covered(line, *column)).collect();
        let agrees = |reading: &Reading| {
            columns
                .iter()
                .all(|at| reading.settled.text.as_bytes()[*at] == voted[line].as_bytes()[*at])
        };
        let good = of_line.iter().filter(|reading| agrees(reading)).count();
        let sure = |reading: &Reading| {
            columns.iter().all(|at| reading.settled.least_margin(*at..*at + 1) > CLEAR)
        };
        good * 3 >= of_line.len() * 2 && of_line.iter().any(|one| agrees(one) && sure(one))
    })
}
