//! A line cut close to its letters, so that nothing of what is beside it comes along.
//!
//! A barcode is read from a strip of a few pixels: so rows and columns are taken only as far as the
//! letters reach, and a line in which more strokes begin and end than letters have is none.

use crate::identity::picture::{Grey, Quad, between};

/// Pixels of a strip in which a line is looked at.
const STRIP: (usize, usize) = (48, 2400);
/// Shades between paper and ink, at least.
const CONTRAST: f32 = 30.0;
/// How dark ink is, of the way from paper to the darkest.
const INK: f32 = 0.45;
/// Of a hundred pixels of a row, those that may be specks in a quiet one; of the height, how thin a
/// quiet part between a letter and its accent is.
const SPECKS: f32 = 0.8;
const ACCENT: f32 = 0.09;
/// Between words, in heights of the letters.
const WORDS_APART: f32 = 1.5;
/// How wide a letter is at most on average, in heights of the letters.
const WIDEST_LETTER: f32 = 1.45;
/// How often ink begins and ends on a row besides what its letters have: specks.
const MORE_EDGES: usize = 4;
/// Where strokes are followed from row to row, of the height of the letters, and how many may run
/// straight on beside each other: bars do, and of letters only a few like `Ill`. In half of the height
/// there are more of them.
const FOLLOWED: [([f32; 3], usize); 3] =
    [([0.15, 0.5, 0.85], 6), ([0.1, 0.25, 0.4], 12), ([0.6, 0.75, 0.9], 12)];
/// How far off a stroke may be on the next of these rows, and how far all of them lean: in pixels.
const WOBBLE: i32 = 2;
const LEAN: i32 = 10;
/// Around the letters, of their height.
const MARGIN: f32 = 0.08;

/// A line that says this, cut close to its letters; nothing if it holds more than those.
pub(super) fn tight(grey: &Grey, quad: &Quad, text: &str) -> Option<Quad> {
    let (length, height) = (quad.length(), quad.height());
    let letters = text.chars().filter(|letter| !letter.is_whitespace()).count();
    if !(length.is_finite() && height >= 4.0 && letters > 0) {
        return None;
    }
    let high = STRIP.0;
    let wide = ((high as f32 * length / height).round() as usize).clamp(high / 2, STRIP.1);
    let strip = grey.straightened(quad, wide, high);
    let ink = ink(&strip)?;
    let row = |y: usize| &ink[y * wide..(y + 1) * wide];
    let count = |y: usize| row(y).iter().filter(|is| **is).count();
    let quiet = (wide as f32 * SPECKS / 100.0).ceil() as usize;
    let middle =
        (high / 4..high * 3 / 4).max_by_key(|y| count(*y)).filter(|y| count(*y) > quiet)?;
    let apart = (high as f32 * ACCENT) as usize;
    let reach = |rows: &mut dyn Iterator<Item = usize>| {
        let mut last = middle;
        for y in rows {
            if count(y) > quiet {
                last = y;
            } else if y.abs_diff(last) > apart {
                break;
            }
        }
        last
    };
    let (top, bottom) = (reach(&mut (0..middle).rev()), reach(&mut (middle + 1..high)) + 1);
    let tall = (bottom - top) as f32;
    let columns: Vec<usize> =
        (0..wide).filter(|x| (top..bottom).any(|y| ink[y * wide + x])).collect();
    let (left, right) = longest(&columns, (tall * WORDS_APART) as usize)?;
    let part = |y: usize| &row(y)[left..right];
    let edges = |y: usize| part(y).windows(2).filter(|two| two[0] != two[1]).count();
    let most: usize = text.chars().map(edges_of).sum::<usize>() + letters / 4 + MORE_EDGES;
    let is_longer = (right - left) as f32 > (letters as f32 + 0.5) * WIDEST_LETTER * tall;
    let inked = |y: &usize| part(*y).iter().filter(|is| **is).count() > quiet;
    let own = ((top..bottom).find(inked)?, (top..bottom).rfind(inked)? + 1);
    if is_longer || (top..bottom).any(|y| edges(y) > most) || has_bars(own, &part) {
        return None;
    }
    let margin = (tall * MARGIN).max(1.0);
    let of = |at: f32, all: usize| (at / all as f32).clamp(0.0, 1.0);
    let (x0, x1) = (of(left as f32 - margin, wide), of(right as f32 + margin, wide));
    let (y0, y1) = (of(top as f32 - margin, high), of(bottom as f32 + margin, high));
    let [a, b, c, d] = quad.0;
    let at = |x: f32, y: f32| between(between(a, d, y), between(b, c, y), x);
    Some(Quad([at(x0, y0), at(x1, y0), at(x1, y1), at(x0, y1)]))
}

/// How often ink begins and ends on a row through a letter, at most.
const fn edges_of(letter: char) -> usize {
    match letter {
        ' ' => 0,
        'i' | 'I' | 'l' | 't' | 'f' | 'r' | 'T' | '.' | ',' | '-' | '\'' | '’' | '`' => 2,
        'm' | 'N' => 6,
        'M' | 'W' | 'w' => 8,
        _ => 4,
    }
}

/// Whether strokes run straight on from row to row, many beside each other and nothing between them.
fn has_bars<'a>((top, bottom): (usize, usize), part: &dyn Fn(usize) -> &'a [bool]) -> bool {
    let at = |of: f32| strokes(part(top + ((bottom - top - 1) as f32 * of) as usize));
    FOLLOWED.iter().any(|(rows, most)| {
        let [above, middle, below] = rows.map(at);
        let is_on = |row: &[(i32, i32)], (from, to): (i32, i32), lean: i32| {
            let is_near = |one: i32, other: i32| (one + lean - other).abs() <= WOBBLE;
            row.iter().any(|stroke| is_near(from, stroke.0) && is_near(to, stroke.1))
        };
        (-LEAN..=LEAN).any(|lean| {
            let mut run = 0;
            middle.iter().any(|stroke| {
                let goes_on = is_on(&above, *stroke, -lean) && is_on(&below, *stroke, lean);
                run = if goes_on { run + 1 } else { 0 };
                run > *most
            })
        })
    })
}

/// Where strokes begin and end on a row.
fn strokes(row: &[bool]) -> Vec<(i32, i32)> {
    let mut found: Vec<(i32, i32)> = Vec::new();
    for (x, _) in row.iter().enumerate().filter(|(_, is_ink)| **is_ink) {
        let x = x as i32;
        match found.last_mut() {
            Some((_, end)) if *end == x => *end = x + 1,
            _ => found.push((x, x + 1)),
        }
    }
    found
}

/// Which pixels of a strip are ink, on paper that is lighter.
fn ink(strip: &Grey) -> Option<Vec<bool>> {
    let mut shades = strip.pixels.clone();
    shades.sort_unstable();
    let (dark, paper) =
        (f32::from(shades[shades.len() / 30]), f32::from(shades[shades.len() * 7 / 10]));
    let least = paper - (paper - dark) * INK;
    (paper - dark >= CONTRAST)
        .then(|| strip.pixels.iter().map(|shade| f32::from(*shade) < least).collect())
}

/// Of columns with ink the longest run without a wide gap: where it begins, and the column behind it.
fn longest(columns: &[usize], apart: usize) -> Option<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for x in columns {
        match runs.last_mut() {
            Some((_, end)) if *x <= *end + apart => *end = x + 1,
            _ => runs.push((*x, x + 1)),
        }
    }
    runs.into_iter().max_by_key(|(from, to)| to - from)
}
