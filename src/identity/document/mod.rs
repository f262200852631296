//! A picture of an identity document: found, read, and what it says judged.
//!
//! [`look`] is what a confined child does with the bytes of a file; it gives a [`Sight`], letters and
//! places and no pixels. [`conclude`] judges that outside. Pure: the weights of the models and the
//! time that is left are passed in.

mod band;
pub mod case;
mod copy;
mod front;
mod issuer;
mod judge;
mod sender;
mod shape;
mod shown;
mod tight;
mod zone;

use std::sync::atomic::{AtomicBool, Ordering};

use minicbor::{Decode, Encode};
use rayon::prelude::*;

pub use front::{Front, Said};
pub use judge::{Conclusion, conclude};
pub use shown::{Corners, Shown, What, Window};
pub use zone::{Mended, Zone};

use super::picture::decode::{self, DecodeError, Pages};
use super::picture::detect::Detector;
use super::picture::recognise::Recogniser;
use super::picture::{Grey, Point, Quad};

/// The two models.
#[derive(Debug)]
pub struct Eyes {
    detector: Detector,
    recogniser: Recogniser,
}

impl Eyes {
    /// With the weights in these two ONNX files: detection, recognition.
    #[must_use]
    pub fn new(detection: Vec<u8>, recognition: Vec<u8>) -> Option<Self> {
        Some(Self {
            detector: Detector::new(detection)?,
            recogniser: Recogniser::new(recognition)?,
        })
    }
}

/// A line of text on a page.
#[derive(Clone)]
pub struct Seen {
    /// What it says.
    pub text: String,
    /// How sure the reader is, from 0 to 1.
    pub sure: f32,
    /// Where it is.
    pub quad: Quad,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen").field("sure", &self.sure).finish_non_exhaustive()
    }
}

/// What a file shows.
#[derive(Clone, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Sight {
    /// Its pages, or the one picture.
    #[n(0)]
    pub pages: Vec<Page>,
    /// Why there are none.
    #[n(1)]
    pub refused: Option<DecodeError>,
    /// Whether the time was over before all of them were read.
    #[cbor(n(2), default)]
    pub is_cut: bool,
    /// Whether there are pages behind these, which nobody looked at.
    #[cbor(n(3), default)]
    pub has_more: bool,
}

/// What one page shows.
#[derive(Clone, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Page {
    /// Pixels across, as it was read.
    #[n(0)]
    pub width: u32,
    /// Pixels down.
    #[n(1)]
    pub height: u32,
    /// Lines of text that were found.
    #[n(2)]
    pub lines: u32,
    /// The machine-readable zone.
    #[n(3)]
    pub zone: Option<Zone>,
    /// The rest.
    #[n(4)]
    pub front: Front,
    /// What of it a mask leaves to be seen.
    #[cbor(n(5), default)]
    pub window: Window,
}

/// Lines of a page that are read, the longest first.
const MOST_READ: usize = 70;
/// Bands that are tried.
const MOST_BANDS: usize = 2;
/// Lines that tell which way up a page is.
const TELLING: usize = 3;
/// They are about this many times longer than high: long enough to tell, short enough to be quick.
const TELLING_LENGTH: f32 = 8.0;
/// A line this many times longer than high runs surely in the direction in which it is read.
const LONG: f32 = 3.0;

/// Reads a file. `may_go_on` says whether there is time left; what was read by then is given.
#[must_use]
pub fn look(eyes: &Eyes, bytes: &[u8], may_go_on: &(dyn Fn() -> bool + Sync)) -> Sight {
    match decode::pages(bytes, 0) {
        Ok(pages) => look_at(eyes, &pages, may_go_on),
        Err(refused) => Sight::refused(refused),
    }
}

/// Reads pages that are decoded.
#[must_use]
pub fn look_at(eyes: &Eyes, pages: &Pages, may_go_on: &(dyn Fn() -> bool + Sync)) -> Sight {
    // Whoever asks has more to read, and leaves it.
    let is_cut = AtomicBool::new(false);
    let may_go_on = || {
        let is_time = may_go_on();
        is_cut.fetch_or(!is_time, Ordering::Relaxed);
        is_time
    };
    let mut found = Vec::new();
    for grey in &pages.drawn {
        if !found.is_empty() && !may_go_on() {
            break;
        }
        found.push(page(eyes, grey, &may_go_on));
    }
    let is_cut = is_cut.load(Ordering::Relaxed);
    Sight { pages: found, refused: None, is_cut, has_more: pages.has_more }
}

/// Reads a page: once as it is, and where that gives no zone that fits, with its light evened.
fn page(eyes: &Eyes, grey: &Grey, may_go_on: &(dyn Fn() -> bool + Sync)) -> Page {
    let quads = eyes.detector.lines(grey);
    let seen = read_lines(eyes, grey, quads.clone(), may_go_on);
    let mut zone: Option<Zone> = None;
    let better = |zone: &mut Option<Zone>, band: &band::Band| {
        let next = zone::read(&eyes.recogniser, grey, band, may_go_on);
        let is_better = |next: &Zone| {
            zone.as_ref().is_none_or(|had| next.fits || (!had.fits && next.score > had.score))
        };
        if next.as_ref().is_some_and(is_better) {
            *zone = next;
        }
        zone.as_ref().is_some_and(|zone| zone.fits || zone.is_clear)
    };
    let bands = band::find(&seen);
    let is_done = bands.iter().take(MOST_BANDS).any(|band| better(&mut zone, band));
    if !is_done {
        let _ = bands
            .iter()
            .take(MOST_BANDS)
            .flat_map(band::Band::with_one_more)
            .any(|band| may_go_on() && better(&mut zone, &band));
    }
    let rest: Vec<Seen> = seen.iter().filter(|one| !band::is_like(&one.text)).cloned().collect();
    let front = front::read(&rest);
    let window = shown::of_page(grey, (&quads, &seen), (&bands, zone.as_ref()), &front);
    let (width, height, lines) = (grey.width as u32, grey.height as u32, seen.len() as u32);
    Page { width, height, lines, zone, front, window }
}

/// What each line says, all of them turned so that they are read from their beginning.
fn read_lines(
    eyes: &Eyes,
    grey: &Grey,
    quads: Vec<Quad>,
    may_go_on: &(dyn Fn() -> bool + Sync),
) -> Vec<Seen> {
    let mut quads = quads;
    quads.sort_by(|a, b| b.length().total_cmp(&a.length()));
    let axis = axis(&quads);
    let is_long = |quad: &Quad| quad.length() > LONG * quad.height();
    for quad in &mut quads {
        let (x, y) = quad.along();
        let with = x * axis.0 + y * axis.1;
        if !is_long(quad) && with.abs() < 0.7 {
            // A short word whose longer side is its height.
            let [a, b, c, d] = quad.0;
            *quad = Quad([b, c, d, a]);
        }
        let (x, y) = quad.along();
        if x * axis.0 + y * axis.1 < 0.0 {
            *quad = quad.turned();
        }
    }
    quads.retain(|quad| {
        let (x, y) = quad.along();
        x * axis.0 + y * axis.1 > 0.7
    });
    let read = |quad: &Quad| {
        let heard = eyes.recogniser.read(grey, quad)?;
        Some(Seen { text: heard.text, sure: heard.sure, quad: *quad })
    };
    let mut telling: Vec<usize> = (0..quads.len()).filter(|at| is_long(&quads[*at])).collect();
    let odd =
        |at: &usize| (quads[*at].length() / quads[*at].height().max(1.0) - TELLING_LENGTH).abs();
    telling.sort_by(|a, b| odd(a).total_cmp(&odd(b)));
    telling.truncate(TELLING);
    let weight = |seen: &Option<Seen>| {
        seen.as_ref().map_or(0.0, |seen| seen.sure * seen.text.chars().count() as f32)
    };
    // Two lines at a time are quicker than two threads on one.
    let all = |quads: Vec<Quad>| -> Vec<Option<Seen>> {
        let one = |quad: &Quad| if may_go_on() { read(quad) } else { None };
        rten::thread_pool().run(|| quads.par_iter().map(one).collect())
    };
    let both: Vec<Quad> = telling.iter().flat_map(|at| [quads[*at], quads[*at].turned()]).collect();
    let told = all(both);
    let sum = |from: usize| told.iter().skip(from).step_by(2).map(weight).sum::<f32>();
    let is_turned = sum(1) > sum(0);
    let ahead = |quad: &Quad| if is_turned { quad.turned() } else { *quad };
    let rest = quads.iter().take(MOST_READ).enumerate();
    let rest = rest.filter(|(at, _)| !telling.contains(at)).map(|(_, quad)| ahead(quad)).collect();
    let known = told.into_iter().skip(usize::from(is_turned)).step_by(2);
    let mut seen: Vec<Seen> =
        known.chain(all(rest)).flatten().filter(|one| !one.text.is_empty()).collect();
    seen.sort_by(|a, b| b.quad.length().total_cmp(&a.quad.length()));
    seen
}

/// The direction in which most of the text runs; from which end is not known.
fn axis(quads: &[Quad]) -> Point {
    // Twice the angle: opposite directions are the same.
    let (mut x, mut y) = (0.0, 0.0);
    for quad in quads {
        if quad.length() > LONG * quad.height() {
            let (ux, uy) = quad.along();
            x += (ux * ux - uy * uy) * quad.length();
            y += 2.0 * ux * uy * quad.length();
        }
    }
    if x == 0.0 && y == 0.0 {
        return (1.0, 0.0);
    }
    let half = y.atan2(x) / 2.0;
    (half.cos(), half.sin())
}
