//! What of a page a mask leaves to be seen: lines that were read as names, as the last day of validity
//! or as who issued the document. Where they are, cut close to their letters, and nothing else.
//!
//! In doubt a line stays black: if its text is more than the value or may be something else, if a zone
//! is near, if other text takes too much of it, if it is longer than its letters, if something with many
//! strokes (a barcode is read from a strip of a few pixels) is in it.

mod value;
mod words;

use minicbor::{Decode, Encode};

use super::band::Band;
use super::front::Front;
use super::tight::tight;
use super::{Page, Seen, Zone};
use crate::identity::picture::{Grey, Point, Quad, between, distance};

/// Four corners, as those of a [`Quad`].
pub type Corners = [Point; 4];

/// What a line that is shown says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum What {
    /// The surname.
    #[n(0)]
    Surname,
    /// The given names.
    #[n(1)]
    Given,
    /// The last day of validity.
    #[n(2)]
    Expiry,
    /// Who issued the document.
    #[n(3)]
    Issuer,
}

impl What {
    /// As it is called in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Surname => "surname",
            Self::Given => "given_names",
            Self::Expiry => "expiry_date",
            Self::Issuer => "issuer",
        }
    }
}

/// A line that is shown.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Shown {
    /// What it says.
    #[n(0)]
    pub what: What,
    /// Where.
    #[n(1)]
    pub place: Corners,
}

/// What a mask needs to know of a page.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Window {
    /// What is shown.
    #[n(0)]
    pub shown: Vec<Shown>,
    /// What stays black where it lies over that: other lines and what surrounds a zone.
    #[n(1)]
    pub hidden: Vec<Corners>,
}

impl Window {
    /// The window of a page, as far as [`of_page`] can have made it: one that it cannot have made shows
    /// nothing, and nothing is shown near a zone. A reader that was taken over says anything.
    pub(in crate::identity) fn believed(page: &Page) -> Self {
        let Self { shown, hidden } = &page.window;
        let is_twice = |nr: usize| shown[..nr].iter().any(|other| other.what == shown[nr].what);
        let places = shown.iter().map(|one| &one.place).chain(hidden);
        let is_sound = shown.len() <= MOST_LINES
            && hidden.len() <= MOST_HIDDEN
            && !(0..shown.len()).any(is_twice)
            && places.flatten().all(|(x, y)| x.is_finite() && y.is_finite())
            && shown.iter().all(|one| is_line(&Quad(one.place), (page.width, page.height)));
        if !is_sound {
            return Self::default();
        }
        let zone = page.zone.as_ref().and_then(around_zone);
        let mut window = page.window.clone();
        window.shown.retain(|one| zone.is_none_or(|zone| !zone.meets(&Quad(one.place))));
        window
    }
}

/// Whether it is no higher than a line of a page of this size.
fn is_line(quad: &Quad, (width, height): (u32, u32)) -> bool {
    quad.height() * HIGHEST <= width.min(height) as f32
}

/// Lines that are shown: one of each kind.
const MOST_LINES: usize = 4;
/// How many lines of the height of one that is shown a page has room for, at least.
const HIGHEST: f32 = 8.0;
/// Other lines over those that are shown, at most: a page with more of them is not shown at all.
const MOST_HIDDEN: usize = 60;
/// From here on a line is read surely enough to say that it holds nothing else.
const SURE: f32 = 0.85;
/// How far around a zone nothing is shown, in heights of its lines: one may have been overlooked.
const AROUND_ZONE: f32 = 1.3;
/// How much of a line others may take before it is not shown, of a hundred.
const MOST_TAKEN: usize = 25;

/// What of a page may be shown. `quads` is all that looks like text, read or not.
pub(super) fn of_page(
    grey: &Grey,
    (quads, seen): (&[Quad], &[Seen]),
    (bands, zone): (&[Band], Option<&Zone>),
    front: &Front,
) -> Window {
    let mut hidden: Vec<Quad> = bands.iter().filter_map(around_band).collect();
    hidden.extend(zone.and_then(around_zone));
    let zones = hidden.len();
    let mut shown: Vec<(Shown, Quad)> = Vec::new();
    let size = (grey.width as u32, grey.height as u32);
    for (what, line) in value::candidates(seen, front, zone) {
        let Some(tight) = tight(grey, &line.quad, &line.text) else { continue };
        if is_line(&tight, size) && !hidden[..zones].iter().any(|zone| zone.meets(&tight)) {
            shown.push((Shown { what, place: tight.0 }, line.quad));
        }
    }
    let is_shown =
        |quad: &Quad| shown.iter().any(|(_, own)| distance(own.middle(), quad.middle()) < 1.0);
    hidden.extend(quads.iter().filter(|quad| !is_shown(quad)));
    hidden.retain(|quad| shown.iter().any(|(one, _)| quad.meets(&Quad(one.place))));
    shown.retain(|(one, _)| taken(&Quad(one.place), &hidden) <= MOST_TAKEN);
    if hidden.len() > MOST_HIDDEN {
        return Window::default();
    }
    Window {
        shown: shown.into_iter().map(|(one, _)| one).collect(),
        hidden: hidden.into_iter().map(|quad| quad.0).collect(),
    }
}

/// Corners around the lines of a band.
fn around_band(band: &Band) -> Option<Quad> {
    let (first, last) = (band.lines.first()?, band.lines.last()?);
    Some(grown(&Quad([first.0[0], first.0[1], last.0[2], last.0[3]]), first.height()))
}

fn around_zone(zone: &Zone) -> Option<Quad> {
    let quad = Quad(zone.place);
    let height = quad.height() / zone.lines.len().max(1) as f32;
    (height > 0.0).then(|| grown(&quad, height))
}

/// Larger on every side by so many heights of a line.
fn grown(quad: &Quad, line: f32) -> Quad {
    let by = line * AROUND_ZONE;
    let (ux, uy) = quad.along();
    let [a, b, c, d] = quad.0;
    let moved = |(x, y): Point, along: f32, across: f32| {
        (x + (ux * along - uy * across) * by, y + (uy * along + ux * across) * by)
    };
    Quad([moved(a, -1.0, -1.0), moved(b, 1.0, -1.0), moved(c, 1.0, 1.0), moved(d, -1.0, 1.0)])
}

/// How much of a quadrilateral others take, of a hundred.
fn taken(quad: &Quad, others: &[Quad]) -> usize {
    const STEPS: usize = 20;
    let [a, b, c, d] = quad.0;
    let mut count = 0;
    for down in 0..STEPS {
        for across in 0..STEPS {
            let part = |nr: usize| (nr as f32 + 0.5) / STEPS as f32;
            let (left, right) = (between(a, d, part(down)), between(b, c, part(down)));
            let point = between(left, right, part(across));
            count += usize::from(others.iter().any(|other| other.holds(point)));
        }
    }
    count * 100 / (STEPS * STEPS)
}

#[cfg(test)]
mod tests;
