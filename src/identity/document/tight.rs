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
/// How wide a letter is at most on average, in heights of the letters, and how often ink begins and
/// ends in it.
const WIDEST_LETTER: f32 = 1.45;
const STROKES: usize = 5;
/// Around the letters, of their height.
const MARGIN: f32 = 0.08;

/// A line cut close to its letters; nothing if it holds more than those.
pub(super) fn tight(grey: &Grey, quad: &Quad, letters: usize) -> Option<Quad> {
    let (length, height) = (quad.length(), quad.height());
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
    let strokes = |y: usize| row(y)[left..right].windows(2).filter(|two| two[0] != two[1]).count();
    let most = (top..bottom).map(strokes).max()?;
    let is_longer = (right - left) as f32 > (letters as f32 + 0.5) * WIDEST_LETTER * tall;
    if is_longer || most > letters * STROKES + 4 {
        return None;
    }
    let margin = (tall * MARGIN).max(1.0);
    let part = |at: f32, of: usize| (at / of as f32).clamp(0.0, 1.0);
    let (x0, x1) = (part(left as f32 - margin, wide), part(right as f32 + margin, wide));
    let (y0, y1) = (part(top as f32 - margin, high), part(bottom as f32 + margin, high));
    let [a, b, c, d] = quad.0;
    let at = |x: f32, y: f32| between(between(a, d, y), between(b, c, y), x);
    Some(Quad([at(x0, y0), at(x1, y0), at(x1, y1), at(x0, y1)]))
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
