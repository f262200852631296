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
use super::issuer;
use super::judge::LIKELY_SCORE;
use super::shape::Shape;
use crate::identity::mrz;
use crate::identity::picture::lattice::{self, Allowed, LETTERS, Settled};
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
    /// Whether two readings of the number were the same, or one was sure.
    #[cbor(n(7), default)]
    pub number_is_sure: bool,
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
            number_is_sure: true,
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
/// Fillers of a name, one of which may be a letter, that are tried.
const MOST_ODD: usize = 12;
/// Preparations after which what was read clearly and does not fit is taken as it is.
const CLEARLY_READ: usize = 3;
/// Preparations that are read, at most, until names agree.
const MOST_READ: usize = 4;
/// A path that scores less is other text, whose check digits may fit by chance: a zone on the poorest
/// picture scores more.
const LEAST_SCORE: f32 = LIKELY_SCORE;
/// A change that costs more than this was not misheard.
const DEAREST: f32 = 6.0;
/// Changes that are looked at, the cheapest first.
const MOST_CHANGES: usize = 60;
/// How much cheaper than any other the accepted change must be.
const CHEAPER: f32 = 0.7;
/// What was heard more surely than this is no doubt of the reader.
const CLEAR: f32 = 2.5;
/// A shape that goes this much worse with what was heard first is tried too: of a passport whose fillers
/// run together the check digits fit a shorter line as well.
const NEXT_SHAPE: f32 = 0.1;
/// The day does not matter to check digits.
const ANY_DAY: Date = jiff::civil::date(2026, 1, 1);

type Steps = Vec<[f32; 38]>;

/// One line in one preparation.
struct Reading {
    settled: Settled,
    /// Whether a letter of it was put where a filler was heard.
    is_changed: bool,
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
    let mut best: Option<(f32, Zone)> = None;
    let top = shapes.first().map_or(LEAST_SCORE, |(score, ..)| *score);
    for (score, shape, start) in shapes.into_iter().take(2) {
        let is_done = best.as_ref().is_some_and(|(_, best)| match best.fits {
            true => best.mended.is_empty() && top - score > NEXT_SHAPE,
            // What was read clearly and does not fit is what stands there.
            false => best.is_clear,
        });
        if score < LEAST_SCORE || is_done || !may_go_on() {
            break;
        }
        let lines = &band.lines[start..start + shape.lines().0];
        let first = &heard[start..start + shape.lines().0];
        let Some((heard, zone)) = shaped(recogniser, grey, lines, first, shape, may_go_on) else {
            continue;
        };
        let is_better = |(had, best): &(f32, Zone)| match best.fits {
            true => {
                let is_mended = !best.mended.is_empty();
                zone.fits && zone.mended.is_empty() && (is_mended || heard > *had)
            }
            false => zone.fits || zone.is_clear || heard > *had,
        };
        if best.as_ref().is_none_or(is_better) {
            best = Some((heard, zone));
        }
    }
    best.map(|(_, zone)| zone)
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

/// The lines of a band as this shape has them, and how well each goes, at its best, with what was heard.
fn shaped(
    recogniser: &Recogniser,
    grey: &Grey,
    lines: &[Quad],
    first: &[Option<Steps>],
    shape: Shape,
    may_go_on: &(dyn Fn() -> bool + Sync),
) -> Option<(f32, Zone)> {
    // For each line, its readings, by preparation.
    let mut readings: Vec<Vec<Reading>> = lines.iter().map(|_| Vec::new()).collect();
    let mut found: Option<Vec<String>> = None;
    for (nr, how) in PREPARATIONS.iter().enumerate() {
        if nr > 0 && !may_go_on() {
            break;
        }
        // Once every check digit fits, only what none covers is worth another look, and a number that may
        // fit by chance.
        let is_due = |line: usize| {
            let is_open = |lines: &Vec<String>| {
                shape.number(lines).0 == line && !is_number_sure(shape, &readings, lines)
            };
            shape.names(line).is_some() || found.as_ref().is_none_or(is_open)
        };
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
            readings[line].extend(named(shape, line, heard, places));
        }
        if readings.iter().any(Vec::is_empty) {
            return None;
        }
        found = found.or_else(|| combined(shape, &readings));
        // Read clearly three times, and wrong: more readings will not make it right.
        if found.is_none()
            && nr + 1 == CLEARLY_READ
            && is_clear(shape, &readings, &voted(shape, &readings))
        {
            break;
        }
        let is_sure = |lines: &Vec<String>| {
            agree(shape, &readings) && is_number_sure(shape, &readings, lines)
        };
        if nr + 1 >= LEAST_READ
            && found.as_ref().is_some_and(|lines| nr + 1 >= MOST_READ || is_sure(lines))
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
        let number_is_sure = is_number_sure(shape, &readings, &lines);
        let of_line =
            |line: &Vec<Reading>| line.iter().map(|one| one.settled.score).fold(f32::MIN, f32::max);
        let heard = readings.iter().map(of_line).sum::<f32>() / lines.len() as f32;
        (heard, Zone { lines, mended, is_clear, fits, score, place, names_agree, number_is_sure })
    };
    if let Some(lines) = found {
        return Some(done(lines, Vec::new(), true, true));
    }
    let voted = voted(shape, &readings);
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

/// Settles a line. A name begins at once, two fillers part surname and given names, one parts two names of
/// either, and no more of them follow each other (ICAO 9303-3 §4.6): where it is otherwise, one of them is a
/// letter that was not heard surely, a K mostly. Some issuers keep to nothing: what was heard surely stays.
fn named(
    shape: Shape,
    line: usize,
    heard: &[[f32; 38]],
    mut places: Vec<Allowed>,
) -> Option<Reading> {
    let plain = lattice::settle(heard, &places)?;
    let cost = |other: &Settled| (plain.score - other.score) * heard.len() as f32;
    let with = |places: &[Allowed], at: usize| {
        let mut places = places.to_vec();
        places[at] = LETTERS;
        lattice::settle(heard, &places).filter(|other| cost(other) < DEAREST)
    };
    let is_filler = |at: &usize| plain.text.as_bytes()[*at] == b'<';
    let begun = shape.begins(line).filter(is_filler);
    let mut best = None;
    if let Some(at) = begun
        && let Some(other) = with(&places, at)
    {
        places[at] = LETTERS;
        best = Some(other);
    }
    if let Some(names) = shape.names(line) {
        let odd = odd_fillers(&best.as_ref().unwrap_or(&plain).text, names.clone());
        let others = odd.into_iter().take(MOST_ODD).filter_map(|at| with(&places, at));
        let sound = others.filter(|other| odd_fillers(&other.text, names.clone()).is_empty());
        best = sound.max_by(|a, b| a.score.total_cmp(&b.score)).or(best);
    }
    let is_changed = best.is_some();
    Some(Reading { settled: best.unwrap_or(plain), is_changed })
}

/// Fillers of the names of a line one of which is a letter, if there are more than may be.
fn odd_fillers(line: &str, names: std::ops::Range<usize>) -> Vec<usize> {
    let signs = &line.as_bytes()[..names.end.min(line.len())];
    let end = signs.iter().rposition(|sign| *sign != b'<').unwrap_or(0);
    let is_filler = |at: &usize| signs[*at] == b'<';
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for at in (names.start..end).filter(is_filler) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    let long = || runs.iter().filter(|run| run.len() > 1);
    if long().count() <= 1 && long().all(|run| run.len() == 2) {
        return Vec::new();
    }
    long().cloned().flatten().collect()
}

/// Whether two readings of the names, at least, are the same, without a letter that nobody heard.
fn agree(shape: Shape, readings: &[Vec<Reading>]) -> bool {
    let is_read_twice = |of_line: &Vec<Reading>| {
        let heard = || of_line.iter().filter(|reading| !reading.is_changed);
        let count = |text: &str| heard().filter(|other| other.settled.text == text).count();
        heard().any(|reading| count(&reading.settled.text) >= LEAST_READ)
    };
    let of_names = readings.iter().enumerate().filter(|(line, _)| shape.names(*line).is_some());
    of_names.map(|(_, of_line)| of_line).all(is_read_twice)
}

/// Whether the number of the document in these lines was read so twice, or surely once. Of two signs that are
/// misread one check digit in ten is right, and the composite has it with the same weights.
fn is_number_sure(shape: Shape, readings: &[Vec<Reading>], lines: &[String]) -> bool {
    let (line, place) = shape.number(lines);
    let is_it =
        |reading: &&Reading| reading.settled.text[place.clone()] == lines[line][place.clone()];
    let same = || readings[line].iter().filter(is_it);
    same().count() >= LEAST_READ
        || same().any(|reading| reading.settled.least_margin(place.clone()) > CLEAR)
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

/// What most of the readings have at each place, the surer ones more, of what may stand there.
fn voted(shape: Shape, readings: &[Vec<Reading>]) -> Vec<String> {
    let begun = readings[0].first().map(|one| one.settled.text.as_str());
    let of_line = |(line, of_line): (usize, &Vec<Reading>)| {
        let places = shape.places(line, begun);
        let best = |(costs, allowed): (&[f32; 37], &Allowed)| {
            let may_be = |(sign, _): &(usize, &f32)| allowed & (1 << sign) != 0;
            let costs = costs.iter().enumerate().filter(may_be);
            let least = costs.min_by(|a, b| a.1.total_cmp(b.1));
            char::from(SIGNS[least.map_or(36, |(sign, _)| sign)])
        };
        summed(of_line).iter().zip(&places).map(best).collect()
    };
    readings.iter().enumerate().map(of_line).collect()
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

/// The code of a state that stands at these places: that of the surest reading, or of half of them, if it is
/// one that there is.
fn code(of_line: &[Reading], places: &std::ops::Range<usize>) -> Option<&'static str> {
    let surest = of_line.iter().map(|reading| reading.settled.score).fold(f32::MIN, f32::max);
    let weight = |code: &str| {
        let has =
            |reading: &&Reading| reading.settled.text[places.clone()].trim_end_matches('<') == code;
        let with_code = || of_line.iter().filter(has);
        let is_surest = with_code().any(|reading| reading.settled.score >= surest);
        let count = with_code().count();
        (count > 0 && (is_surest || count * 2 >= of_line.len())).then_some((count, is_surest))
    };
    issuer::all().filter_map(|code| Some((weight(code)?, code))).max().map(|(_, code)| code)
}

/// Puts what most readings agree on where no check digit decides: names above all.
fn uncovered(shape: Shape, readings: &[Vec<Reading>], lines: &mut [String]) {
    let mut voted = voted(shape, readings);
    for (nr, of_line) in readings.iter().enumerate().filter(|(nr, _)| shape.names(*nr).is_some()) {
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
    for (nr, of_line) in readings.iter().enumerate() {
        if let Some(places) = shape.code(nr)
            && let Some(code) = code(of_line, &places)
        {
            voted[nr].replace_range(places, &format!("{code:<<3}"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::picture::lattice::ANY;

    /// Steps at which these are heard, each with nine chances of ten, and a filler with five of a hundred.
    fn heard(text: &str) -> Vec<[f32; 38]> {
        let sign = |letter: u8| SIGNS.iter().position(|sign| *sign == letter).expect("is one");
        text.bytes()
            .map(|letter| {
                let mut step = [(0.05f32 / 36.0).ln(); 38];
                step[sign(b'<')] = 0.05f32.ln();
                step[if letter == b'.' { SIGNS.len() } else { sign(letter) }] = 0.9f32.ln();
                step
            })
            .collect()
    }

    /// The same of a line: two fillers are two only with something between them.
    fn heard_steps(line: &str) -> Vec<[f32; 38]> {
        heard(&line.replace('<', "<."))
    }

    /// As [`heard`] hears it, but a filler of these columns is one in two that is a K.
    fn doubted(text: &str, columns: &[usize]) -> Vec<[f32; 38]> {
        let mut steps = heard_steps(text);
        let mut fillers = 0;
        let mut column = 0;
        for (step, sign) in steps.iter_mut().zip(text.replace('<', "<.").bytes()) {
            if sign == b'.' {
                continue;
            }
            if columns.contains(&column) {
                step[SIGNS.iter().position(|sign| *sign == b'K').expect("is one")] = 0.3f32.ln();
                fillers += 1;
            }
            column += 1;
        }
        assert_eq!(fillers, columns.len());
        steps
    }

    fn settled(line: &str, doubts: &[usize]) -> String {
        let shape = Shape::Td1;
        let reading = named(shape, 2, &doubted(line, doubts), shape.places(2, None));
        let reading = reading.expect("settles");
        assert!(reading.is_changed, "it counts as heard by nobody");
        reading.settled.text
    }

    #[test]
    fn fillers_that_no_names_have_are_found() {
        for (line, wanted) in [
            ("DUPONT<<JEAN<PIERRE<L<<<<<<<<<", &[][..]),
            ("DUPONT<<<<<<<<<<<<<<<<<<<<<<<<", &[]),
            ("VAN<DEN<BROECK<<JAN<<<<<<<<<<<", &[]),
            ("VAN<DEN<BROECK<<JAN<KAREL<FRAN", &[]),
            ("IVANOV<<<OEN<<<<<<<<<<<<<<<<<<", &[6, 7, 8]),
            ("DUPONT<<JAN<<AREL<<<<<<<<<<<<<", &[6, 7, 11, 12]),
        ] {
            assert_eq!(odd_fillers(line, 0..30), wanted, "{line}");
        }
        let line = "P<UKRIONESCU<<<EVIN<<<<<<<<<<<<<<<<<<<<<<<<<";
        assert_eq!(odd_fillers(line, 5..44), [12, 13, 14]);
        assert!(odd_fillers("P<D<<ADENAUER<<KONRAD", 5..21).is_empty());
    }

    #[test]
    fn a_k_that_was_taken_for_a_filler_is_a_k_where_so_many_fillers_cannot_be() {
        for (line, doubt, wanted) in [
            ("IVANOV<<<OEN<<<<<<<<<<<<<<<<<<", 8, "IVANOV<<KOEN<<<<<<<<<<<<<<<<<<"),
            ("NOVA<<<JAN<<<<<<<<<<<<<<<<<<<<", 4, "NOVAK<<JAN<<<<<<<<<<<<<<<<<<<<"),
            ("DUPONT<<JAN<<AREL<<<<<<<<<<<<<", 12, "DUPONT<<JAN<KAREL<<<<<<<<<<<<<"),
            // A name begins at once.
            ("<AUR<<GRACE<<<<<<<<<<<<<<<<<<<", 0, "KAUR<<GRACE<<<<<<<<<<<<<<<<<<<"),
        ] {
            assert_eq!(settled(line, &[doubt]), wanted);
        }
    }

    #[test]
    fn fillers_that_were_heard_surely_stay() {
        // Some issuers write what they like: no letter is made of what nobody heard.
        for name in ["DUPONT<<<JEAN", "<<AHMADI"] {
            let line = format!("{name:<<30}");
            let sure = |step: [f32; 38]| step.map(|one| if one < -2.0 { -20.0 } else { one });
            let steps: Vec<_> = heard_steps(&line).into_iter().map(sure).collect();
            let reading = named(Shape::Td1, 2, &steps, Shape::Td1.places(2, None));
            let reading = reading.expect("settles");
            assert_eq!((reading.settled.text, reading.is_changed), (line, false));
        }
    }

    #[test]
    fn a_code_is_one_that_there_is() {
        let first = "I<P02ZA51507562<<<<<<<<<<<<<<<";
        // Each with how sure it is of its line.
        let code = |heard: &[(&str, f32)]| {
            let reading = |(code, score): &(&str, f32)| {
                let line = first.replace("P02", code);
                let steps = heard_steps(&line);
                let settled = lattice::settle(&steps, &vec![ANY; line.len()]).expect("settles");
                Reading { settled: Settled { score: *score, ..settled }, is_changed: false }
            };
            super::code(&heard.iter().map(reading).collect::<Vec<_>>(), &(2..5))
        };
        assert_eq!(code(&[("PLZ", -0.3), ("PLZ", -0.2), ("POL", -0.1)]), Some("POL"));
        assert_eq!(code(&[("D<<", -0.2), ("D<<", -0.3), ("DMA", -0.1)]), Some("D"));
        assert_eq!(code(&[("POL", -0.2), ("PLZ", -0.1)]), Some("POL"));
        assert_eq!(code(&[("PLZ", -0.1), ("PLZ", -0.2), ("POL", -0.3)]), None, "it says otherwise");
        assert_eq!(code(&[("QQQ", -0.1), ("ZQX", -0.1)]), None);
    }
}
