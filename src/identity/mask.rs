//! The masked picture of an identity document: new pixels, black but for the lines that were read as
//! names, as the last day of validity and as who issued it.
//!
//! Nothing of the file is kept but those pixels, and of them only grey ones, made smaller. Which lines
//! they are was settled when the document was read ([`Window`]); what was not
//! read is black. [`pages`] runs in a confined child, for it decodes; [`png`] runs outside, so that
//! whatever the child gives, it gives pixels and no metadata.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use minicbor::{Decode, Encode};

use super::document::{Page, Sight, What, Window};
use super::picture::decode::MOST_PAGES;
use super::picture::{Grey, Quad};

/// The longer side of a masked page, at most.
pub const MOST_EDGE: usize = 1600;
/// How much of a page is shown, of a hundred: names and a date are less.
const MOST_SHOWN: usize = 15;
/// Pixels between two pages.
const GAP: usize = 8;
/// Pixels of a picture of which nothing was read.
const NOTHING: (usize, usize) = (320, 200);

/// A masked page.
#[derive(Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Masked {
    /// Pixels across.
    #[n(0)]
    pub width: u32,
    /// Pixels down.
    #[n(1)]
    pub height: u32,
    /// Row by row, grey.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub pixels: Vec<u8>,
    /// What is shown.
    #[n(3)]
    pub shown: Vec<What>,
}

impl std::fmt::Debug for Masked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masked({}x{}, {:?})", self.width, self.height, self.shown)
    }
}

impl Masked {
    /// Whether it is of a size that a mask has, and has all of its pixels.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let sides = [self.width as usize, self.height as usize];
        sides.iter().all(|side| (1..=MOST_EDGE).contains(side))
            && self.pixels.len() == sides[0] * sides[1]
    }
}

/// Masks pages, each by what was read of it. What was not read is black, and so is a page that is not
/// of the size that was read.
#[must_use]
pub fn pages(pages: &[Grey], sight: &Sight) -> Vec<Masked> {
    let one = |(nr, grey): (usize, &Grey)| page(grey, sight.pages.get(nr));
    pages.iter().take(MOST_PAGES).enumerate().map(one).collect()
}

fn page(grey: &Grey, read: Option<&Page>) -> Masked {
    let size = (grey.width as u32, grey.height as u32);
    // Whoever gave the sight, what is shown is no more than a reader shows, and is not near the zone.
    let window = read.filter(|page| (page.width, page.height) == size).map(Window::believed);
    let mut black = Grey::new(grey.width, grey.height, 0);
    let mut shown = Vec::new();
    if let Some(window) = window {
        let hidden: Vec<Quad> = window.hidden.iter().map(|corners| Quad(*corners)).collect();
        let mut room = grey.pixels.len() * MOST_SHOWN / 100;
        for one in &window.shown {
            let places = held(grey, &Quad(one.place), &hidden);
            if places.is_empty() || places.len() > room {
                continue;
            }
            room -= places.len();
            for at in places {
                black.pixels[at] = grey.pixels[at];
            }
            if !shown.contains(&one.what) {
                shown.push(one.what);
            }
        }
    }
    // Made smaller when all else is black: what lies beside a line has no part in any pixel.
    let small = black.within(MOST_EDGE);
    Masked { width: small.width as u32, height: small.height as u32, pixels: small.pixels, shown }
}

/// The pixels whose middle lies in this quadrilateral and in none of the others.
fn held(grey: &Grey, quad: &Quad, hidden: &[Quad]) -> Vec<usize> {
    let corners = quad.0.map(|(x, y)| [x, y]);
    if corners.iter().flatten().any(|part| !part.is_finite()) {
        return Vec::new();
    }
    let reach = |axis: usize, end: usize| {
        let all = corners.iter().map(|corner| corner[axis]);
        let (low, high) = (all.clone().fold(f32::MAX, f32::min), all.fold(f32::MIN, f32::max));
        (low.clamp(0.0, end as f32) as usize)..(high.ceil().clamp(0.0, end as f32) as usize)
    };
    let mut places = Vec::new();
    for y in reach(1, grey.height) {
        for x in reach(0, grey.width) {
            let middle = (x as f32 + 0.5, y as f32 + 0.5);
            // Nothing is said of a corner that is no number: it hides all.
            let is_hidden = |other: &Quad| {
                other.holds(middle)
                    || other.0.iter().any(|(x, y)| !(x.is_finite() && y.is_finite()))
            };
            if quad.holds(middle) && !hidden.iter().any(is_hidden) {
                places.push(y * grey.width + x);
            }
        }
    }
    places
}

/// Pages below each other as a PNG: grey pixels, no metadata. One that is not sound is left out; if
/// none is left it is a small black picture.
#[must_use]
pub fn png(pages: &[Masked]) -> Vec<u8> {
    let pages: Vec<&Masked> =
        pages.iter().filter(|page| page.is_sound()).take(MOST_PAGES).collect();
    let width = pages.iter().map(|page| page.width as usize).max().unwrap_or(NOTHING.0);
    let gaps = pages.len().saturating_sub(1) * GAP;
    let height = pages.iter().map(|page| page.height as usize).sum::<usize>() + gaps;
    let height = if pages.is_empty() { NOTHING.1 } else { height };
    let mut all = Grey::new(width, height, 0);
    let mut top = 0;
    for page in pages {
        let across = page.width as usize;
        for (nr, row) in page.pixels.chunks_exact(across).enumerate() {
            let from = (top + nr) * width;
            all.pixels[from..from + across].copy_from_slice(row);
        }
        top += page.height as usize + GAP;
    }
    let mut out = Vec::new();
    let written = PngEncoder::new(&mut out).write_image(
        &all.pixels,
        width as u32,
        height as u32,
        ExtendedColorType::L8,
    );
    written.expect("memory takes a picture of a size that was checked");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::document::{Corners, Shown, Window, Zone};

    /// Grey pixels, none of them black.
    fn paper(width: usize, height: usize) -> Grey {
        let pixels = (0..width * height).map(|at| 100 + (at % 101) as u8).collect();
        Grey { width, height, pixels }
    }

    fn line(left: f32, top: f32, right: f32, bottom: f32) -> Corners {
        [(left, top), (right, top), (right, bottom), (left, bottom)]
    }

    fn read(grey: &Grey, shown: &[Corners], hidden: &[Corners]) -> Page {
        const ALL: [What; 4] = [What::Surname, What::Given, What::Expiry, What::Issuer];
        let one = |(nr, place): (usize, &Corners)| Shown { what: ALL[nr % 4], place: *place };
        let shown = shown.iter().enumerate().map(one).collect();
        let window = Window { shown, hidden: hidden.to_vec() };
        let (width, height) = (grey.width as u32, grey.height as u32);
        Page { width, height, window, ..Page::default() }
    }

    fn masked(grey: &Grey, page: Page) -> Masked {
        let sight = Sight { pages: vec![page], ..Sight::default() };
        pages(std::slice::from_ref(grey), &sight).remove(0)
    }

    fn is_black(masked: &Masked) -> bool {
        masked.pixels.iter().all(|pixel| *pixel == 0) && masked.shown.is_empty()
    }

    #[test]
    fn what_was_read_is_as_it_was_and_all_else_is_black() {
        let grey = paper(400, 300);
        let place = line(20.0, 30.0, 120.0, 50.0);
        let hidden = line(100.0, 0.0, 140.0, 300.0);
        let masked = masked(&grey, read(&grey, &[place], &[hidden]));
        assert_eq!(masked.shown, [What::Surname]);
        for (at, pixel) in masked.pixels.iter().enumerate() {
            let (x, y) = (at % 400, at / 400);
            let is_shown = (20..100).contains(&x) && (30..50).contains(&y);
            assert_eq!(*pixel, if is_shown { grey.pixels[at] } else { 0 }, "{x} {y}");
        }
    }

    #[test]
    fn no_pixel_beside_a_line_has_a_part_in_one_that_is_shown() {
        // White around it, so that any of it would show.
        let mut grey = Grey::new(4000, 900, 255);
        for y in 301..341 {
            grey.pixels[y * 4000 + 501..y * 4000 + 900].fill(60);
        }
        let place = line(501.0, 301.0, 900.0, 341.0);
        let masked = masked(&grey, read(&grey, &[place], &[]));
        assert_eq!((masked.width, masked.height), (1600, 360));
        assert_eq!(masked.pixels.iter().max(), Some(&60), "none is lighter than the line");
    }

    #[test]
    fn what_was_not_read_or_is_no_sound_place_is_black() {
        let grey = paper(200, 100);
        let place = line(20.0, 30.0, 60.0, 40.0);
        assert!(is_black(&pages(std::slice::from_ref(&grey), &Sight::default())[0]));
        assert!(!is_black(&masked(&grey, read(&grey, &[place], &[]))));
        // Another size than was read: another picture, or another reader.
        let other = Page { width: 201, ..read(&grey, &[place], &[]) };
        assert!(is_black(&masked(&grey, other)));
        let nan = [(f32::NAN, 0.0), (60.0, 30.0), (60.0, 40.0), (20.0, 40.0)];
        assert!(is_black(&masked(&grey, read(&grey, &[nan], &[]))));
        assert!(is_black(&masked(&grey, read(&grey, &[place], &[nan]))));
        // A line that is the page is no line, and neither are five of them; four of them are too much.
        assert!(is_black(&masked(&grey, read(&grey, &[line(0.0, 0.0, 200.0, 100.0)], &[]))));
        let lines = |count: usize| -> Vec<Corners> {
            let at = |nr: usize| 20.0 * nr as f32;
            (0..count).map(|nr| line(0.0, at(nr), 200.0, at(nr) + 9.0)).collect()
        };
        assert!(is_black(&masked(&grey, read(&grey, &lines(5), &[]))));
        let most = masked(&grey, read(&grey, &lines(4), &[]));
        let lit = most.pixels.iter().filter(|pixel| **pixel > 0).count();
        assert!(lit > 0 && lit * 100 <= most.pixels.len() * MOST_SHOWN, "{lit} pixels");
        for far in [line(-9e9, -9e9, 9e9, 9e9), line(900.0, 900.0, 990.0, 910.0)] {
            assert!(is_black(&masked(&grey, read(&grey, &[far], &[]))));
        }
    }

    #[test]
    fn what_a_sight_has_shown_over_its_own_zone_is_black_all_the_same() {
        let grey = paper(400, 300);
        let (name, of_zone) = (line(20.0, 30.0, 120.0, 50.0), line(20.0, 232.0, 380.0, 250.0));
        let zone = |place: Corners| Zone {
            lines: vec!["IDBEL592345678<9815<<<<<<<<<<<".into(); 3],
            mended: Vec::new(),
            is_clear: true,
            fits: true,
            score: -0.1,
            place,
            names_agree: true,
            number_is_sure: true,
        };
        let shown = |page: Page| masked(&grey, page).shown;
        let page = read(&grey, &[name, of_zone], &[]);
        assert_eq!(shown(page.clone()), [What::Surname, What::Given], "where no zone is");
        let zone = zone(line(10.0, 200.0, 390.0, 260.0));
        let with = Page { zone: Some(zone), ..page };
        assert_eq!(shown(with.clone()), [What::Surname]);
        // The line above the zone may be one of it that was overlooked.
        let mut above = with;
        above.window.shown[1].place = line(20.0, 170.0, 380.0, 185.0);
        assert_eq!(shown(above), [What::Surname]);
    }

    /// The kinds of the chunks of a PNG.
    fn chunks(png: &[u8]) -> Vec<String> {
        let mut at = 8;
        let mut kinds = Vec::new();
        while at < png.len() {
            let length = u32::from_be_bytes(png[at..at + 4].try_into().expect("four")) as usize;
            kinds.push(String::from_utf8_lossy(&png[at + 4..at + 8]).into_owned());
            at += length + 12;
        }
        assert_eq!(at, png.len(), "nothing stands behind the last");
        kinds
    }

    #[test]
    fn pages_lie_below_each_other_in_a_png_of_nothing_but_pixels() {
        let one = |width: u32, height: u32, shade: u8| Masked {
            width,
            height,
            pixels: vec![shade; (width * height) as usize],
            shown: Vec::new(),
        };
        let file = png(&[one(40, 30, 7), one(20, 10, 9), one(30, 20, 8)]);
        let mut kinds = chunks(&file);
        kinds.dedup();
        assert_eq!(kinds, ["IHDR", "IDAT", "IEND"]);
        let picture = image::load_from_memory(&file).expect("is a picture").into_luma8();
        assert_eq!(picture.dimensions(), (40, 30 + 10 + 20 + 16));
        let at = |x, y| picture.get_pixel(x, y).0[0];
        assert_eq!([at(39, 29), at(0, 30), at(19, 38), at(20, 38), at(29, 75)], [7, 0, 9, 0, 8]);
        // What a child cannot have meant: no pixels, too many of them, sizes that multiply to nothing.
        let wrong = [
            Masked::default(),
            one(1601, 1, 5),
            Masked { width: u32::MAX, ..one(1, 1, 5) },
            Masked { width: 2, height: 2, pixels: vec![5; 3], shown: Vec::new() },
        ];
        let file = png(&wrong);
        let picture = image::load_from_memory(&file).expect("is a picture").into_luma8();
        assert_eq!(picture.dimensions(), (320, 200));
        assert!(picture.pixels().all(|pixel| pixel.0 == [0]));
    }
}
