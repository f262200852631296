//! What happens between a card and the file that arrives: a phone aslant over a desk, a scanner, a
//! photocopier, a poor JPEG.

use std::io::Cursor;

use image::{ExtendedColorType, ImageEncoder as _};

use super::canvas::{Canvas, Colour};
use super::card::{Card, SCALE, Side, letter_height};
use super::chance::Chance;
use super::{Part, Picture, Place, Third};

/// Space between two sides, in millimetres.
const GAP: f32 = 6.0;
/// Around a part of a document, in millimetres.
const AROUND: f32 = 1.0;
/// A page, in millimetres.
const A4: (f32, f32) = (210.0, 297.0);

/// What lies in the plane of the document.
struct Scene {
    /// Each side, shrunk to about what will be seen of it, its pixels of a millimetre, and where it
    /// begins.
    sides: Vec<(Canvas, f32, (f32, f32))>,
    /// The page below, if there is one: it begins at (0, 0).
    sheet: Option<(f32, f32)>,
    desk: Desk,
    /// The corners of the zone.
    zone: [(f32, f32); 4],
    /// Where the parts of the document are.
    parts: Vec<(Part, [f32; 4])>,
    size: (f32, f32),
}

/// What lies below.
struct Desk {
    colour: Colour,
    grain: f32,
    turn: f32,
}

impl Desk {
    fn any(chance: &mut Chance) -> Self {
        let colour = chance.pick(&[
            [150u8, 112, 78],
            [92, 70, 54],
            [190, 186, 180],
            [60, 62, 68],
            [210, 206, 196],
            [120, 130, 126],
        ]);
        Self { colour, grain: chance.between(2.0, 16.0), turn: chance.between(0.0, 3.1) }
    }

    fn at(&self, x: f32, y: f32) -> [f32; 3] {
        let along = x * self.turn.cos() + y * self.turn.sin();
        let across = y * self.turn.cos() - x * self.turn.sin();
        let shade = ((across * 0.9 + (along * 0.05).sin() * 3.0).sin()
            + (across * 2.7).sin() * 0.5)
            * self.grain;
        self.colour.map(|part| f32::from(part) + shade)
    }
}

/// How the plane is seen.
struct View {
    /// Aslant about the two axes, and turned, in degrees.
    aslant: (f32, f32),
    turned: f32,
    /// Pixels of a letter of the zone, at least.
    letter: f32,
    /// Of the size, around it.
    margin: f32,
}

/// A matrix of nine, by rows.
type Nine = [f32; 9];

fn through(m: &Nine, (x, y): (f32, f32)) -> (f32, f32) {
    let w = m[6] * x + m[7] * y + m[8];
    ((m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w)
}

fn inverse(m: &Nine) -> Nine {
    let [a, b, c, d, e, f, g, h, i] = *m;
    let det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
    [
        e * i - f * h,
        c * h - b * i,
        b * f - c * e,
        f * g - d * i,
        a * i - c * g,
        c * d - a * f,
        d * h - e * g,
        b * g - a * h,
        a * e - b * d,
    ]
    .map(|part| part / det)
}

impl Scene {
    fn of(card: &Card, chance: &mut Chance, pixels_of_mm: f32, on_page: bool) -> Self {
        let shrunk = |side: &Side| {
            let factor = ((SCALE / pixels_of_mm).floor() as usize).max(1);
            (shrink(&side.canvas, factor), SCALE / factor as f32)
        };
        let widest = card.sides.iter().map(|side| side.size.0).fold(0.0, f32::max);
        let mut sides = Vec::new();
        let (mut x, mut y) = (0.0, 0.0);
        if on_page {
            x = chance.between(12.0, A4.0 - widest - 12.0);
            y = chance.between(15.0, 60.0);
        }
        let mut zone = [(0.0, 0.0); 4];
        let mut parts = Vec::new();
        let gap = if on_page { chance.between(8.0, 60.0) } else { GAP };
        for side in &card.sides {
            let (canvas, scale) = shrunk(side);
            if let Some([left, top, right, bottom]) = side.zone {
                zone = [(left, top), (right, top), (right, bottom), (left, bottom)]
                    .map(|(a, b)| (a + x, b + y));
            }
            let moved = |[a, b, c, d]: [f32; 4]| [a + x, b + y, c + x, d + y];
            parts.extend(side.parts.iter().map(|(part, place)| (*part, moved(*place))));
            sides.push((canvas, scale, (x, y)));
            y += side.size.1 + gap;
        }
        let size = if on_page { A4 } else { (widest, y - gap) };
        let desk = Desk::any(chance);
        Self { sides, sheet: on_page.then_some(A4), desk, zone, parts, size }
    }

    fn at(&self, x: f32, y: f32) -> [f32; 3] {
        for (canvas, scale, (left, top)) in &self.sides {
            let (px, py) = ((x - left) * scale - 0.5, (y - top) * scale - 0.5);
            if px >= 0.0
                && py >= 0.0
                && px < (canvas.width - 1) as f32
                && py < (canvas.height - 1) as f32
            {
                let (ix, iy) = (px as usize, py as usize);
                let (fx, fy) = (px - ix as f32, py - iy as f32);
                let row = canvas.width * 3;
                let from = iy * row + ix * 3;
                let p = &canvas.pixels;
                return std::array::from_fn(|part| {
                    let above =
                        f32::from(p[from + part]) * (1.0 - fx) + f32::from(p[from + 3 + part]) * fx;
                    let below = f32::from(p[from + row + part]) * (1.0 - fx)
                        + f32::from(p[from + row + 3 + part]) * fx;
                    above * (1.0 - fy) + below * fy
                });
            }
        }
        match self.sheet {
            Some((width, height)) if x >= 0.0 && y >= 0.0 && x < width && y < height => [246.0; 3],
            _ => self.desk.at(x, y),
        }
    }

    /// What is seen of it, and where.
    fn seen(&self, view: &View) -> (Canvas, Vec<Place>) {
        let (cx, cy) = (self.size.0 / 2.0, self.size.1 / 2.0);
        let [ax, ay, turn] = [view.aslant.0, view.aslant.1, view.turned].map(f32::to_radians);
        let far = 3.2 * self.size.0.max(self.size.1);
        // Turned in the plane, then about the two axes, then seen from `far` away.
        let (st, ct) = turn.sin_cos();
        let (sx, cxr) = ax.sin_cos();
        let (sy, cyr) = ay.sin_cos();
        let rows = [
            [cyr * ct, -cyr * st],
            [cxr * st + sx * sy * ct, cxr * ct - sx * sy * st],
            [sx * st - cxr * sy * ct, sx * ct + cxr * sy * st],
        ];
        let shifted = |row: [f32; 2], add: f32| [row[0], row[1], add - row[0] * cx - row[1] * cy];
        let (x, y, z) = (shifted(rows[0], 0.0), shifted(rows[1], 0.0), shifted(rows[2], far));
        let mut m: Nine = [x[0], x[1], x[2], y[0], y[1], y[2], z[0] / far, z[1] / far, z[2] / far];
        // The smallest letter of the zone, at its corners.
        let small = self
            .zone
            .iter()
            .map(|&(x, y)| {
                let (a, b) = (through(&m, (x, y)), through(&m, (x, y + 1.0)));
                let c = through(&m, (x + 1.0, y));
                (b.0 - a.0).hypot(b.1 - a.1).min((c.0 - a.0).hypot(c.1 - a.1))
            })
            .fold(f32::MAX, f32::min);
        let scale = view.letter / (small * letter_height());
        let corners = [(0.0, 0.0), (self.size.0, 0.0), self.size, (0.0, self.size.1)]
            .map(|at| through(&m, at));
        let low = |pick: fn(&(f32, f32)) -> f32| corners.iter().map(pick).fold(f32::MAX, f32::min);
        let high = |pick: fn(&(f32, f32)) -> f32| corners.iter().map(pick).fold(f32::MIN, f32::max);
        let (left, top) = (low(|c| c.0), low(|c| c.1));
        let (wide, tall) = (high(|c| c.0) - left, high(|c| c.1) - top);
        let (mx, my) = (wide * view.margin, tall * view.margin);
        let place: Nine =
            [scale, 0.0, scale * (mx - left), 0.0, scale, scale * (my - top), 0.0, 0.0, 1.0];
        m = product(&place, &m);
        let back = inverse(&m);
        let (width, height) =
            (((wide + 2.0 * mx) * scale) as usize, ((tall + 2.0 * my) * scale) as usize);
        let mut out = Canvas::new(width.max(64), height.max(64), [0; 3]);
        for row in 0..out.height {
            for column in 0..out.width {
                let (x, y) = through(&back, (column as f32 + 0.5, row as f32 + 0.5));
                let colour = self.at(x, y);
                let from = (row * out.width + column) * 3;
                for part in 0..3 {
                    out.pixels[from + part] = colour[part].clamp(0.0, 255.0) as u8;
                }
            }
        }
        let places = self.places(&m, (out.width as f32, out.height as f32));
        (out, places)
    }

    fn places(&self, m: &Nine, (width, height): (f32, f32)) -> Vec<Place> {
        let corners = |[left, top, right, bottom]: [f32; 4], by: f32| {
            let (left, top, right, bottom) = (left - by, top - by, right + by, bottom + by);
            [(left, top), (right, top), (right, bottom), (left, bottom)].map(|at| {
                let (x, y) = through(m, at);
                (x / width, y / height)
            })
        };
        let place = |(part, at): &(Part, [f32; 4])| Place {
            part: *part,
            corners: corners(*at, 0.0),
            around: corners(*at, AROUND),
        };
        self.parts.iter().map(place).collect()
    }
}

fn product(a: &Nine, b: &Nine) -> Nine {
    std::array::from_fn(|at| {
        let (row, column) = (at / 3, at % 3);
        (0..3).map(|k| a[row * 3 + k] * b[k * 3 + column]).sum()
    })
}

fn shrink(canvas: &Canvas, factor: usize) -> Canvas {
    if factor == 1 {
        return canvas.clone();
    }
    let (width, height) = (canvas.width / factor, canvas.height / factor);
    let mut out = Canvas::new(width, height, [0; 3]);
    let count = (factor * factor) as u32;
    for y in 0..height {
        for x in 0..width {
            for part in 0..3 {
                let mut sum = 0;
                for dy in 0..factor {
                    let row = ((y * factor + dy) * canvas.width + x * factor) * 3 + part;
                    for dx in 0..factor {
                        sum += u32::from(canvas.pixels[row + dx * 3]);
                    }
                }
                out.pixels[(y * width + x) * 3 + part] = (sum / count) as u8;
            }
        }
    }
    out
}

/// The mean of each pixel and those within `reach`, along one axis: three times is nearly a blur.
fn blur(canvas: &mut Canvas, sigma: f32) {
    let kernel: Vec<f32> = {
        let reach = (sigma * 2.5).ceil() as i32;
        let raw: Vec<f32> =
            (-reach..=reach).map(|at| (-(at * at) as f32 / (2.0 * sigma * sigma)).exp()).collect();
        let sum: f32 = raw.iter().sum();
        raw.into_iter().map(|weight| weight / sum).collect()
    };
    let steps: Vec<((i32, i32), f32)> = kernel
        .iter()
        .enumerate()
        .map(|(at, weight)| ((at as i32 - kernel.len() as i32 / 2, 0), *weight))
        .collect();
    smear(canvas, &steps);
    let steps: Vec<((i32, i32), f32)> =
        steps.into_iter().map(|((x, _), weight)| ((0, x), weight)).collect();
    smear(canvas, &steps);
}

fn motion(canvas: &mut Canvas, length: f32, turn: f32) {
    let count = (length.ceil() as i32).max(2);
    let at = |nr: i32| {
        let along = (nr as f32 / (count - 1) as f32 - 0.5) * length;
        ((along * turn.cos()).round() as i32, (along * turn.sin()).round() as i32)
    };
    let steps: Vec<_> = (0..count).map(|nr| (at(nr), 1.0 / count as f32)).collect();
    smear(canvas, &steps);
}

fn smear(canvas: &mut Canvas, steps: &[((i32, i32), f32)]) {
    let from = canvas.pixels.clone();
    let (width, height) = (canvas.width as i32, canvas.height as i32);
    let mut sums = vec![0f32; canvas.width * 3];
    for y in 0..height {
        sums.fill(0.0);
        for ((dx, dy), weight) in steps {
            let row = ((y + dy).clamp(0, height - 1) * width) as usize * 3;
            for x in 0..width {
                let column = (x + dx).clamp(0, width - 1) as usize * 3;
                let source = &from[row + column..row + column + 3];
                let sum = &mut sums[x as usize * 3..x as usize * 3 + 3];
                for part in 0..3 {
                    sum[part] += f32::from(source[part]) * weight;
                }
            }
        }
        let row = (y * width) as usize * 3;
        for (pixel, sum) in canvas.pixels[row..row + canvas.width * 3].iter_mut().zip(&sums) {
            *pixel = sum.clamp(0.0, 255.0) as u8;
        }
    }
}

/// Light that is stronger on one side.
fn uneven(canvas: &mut Canvas, chance: &mut Chance, depth: f32) {
    let turn = chance.between(0.0, std::f32::consts::TAU);
    let (dx, dy) = (turn.cos() * depth, turn.sin() * depth);
    for y in 0..canvas.height {
        for x in 0..canvas.width {
            let (fx, fy) =
                (x as f32 / canvas.width as f32 - 0.5, y as f32 / canvas.height as f32 - 0.5);
            let light = 1.0 + fx * dx + fy * dy - depth * 0.25;
            let from = (y * canvas.width + x) * 3;
            for pixel in &mut canvas.pixels[from..from + 3] {
                *pixel = (f32::from(*pixel) * light).clamp(0.0, 255.0) as u8;
            }
        }
    }
}

/// A lamp in the laminate.
fn glare(canvas: &mut Canvas, chance: &mut Chance, strength: f32) {
    let (w, h) = (canvas.width as f32, canvas.height as f32);
    let centre = (chance.between(0.1, 0.9) * w, chance.between(0.3, 0.95) * h);
    let reach = (chance.between(0.08, 0.28) * w, chance.between(0.05, 0.16) * h);
    for y in 0..canvas.height {
        for x in 0..canvas.width {
            let (dx, dy) = ((x as f32 - centre.0) / reach.0, (y as f32 - centre.1) / reach.1);
            let cover = strength * (-(dx * dx + dy * dy)).exp();
            if cover > 0.01 {
                canvas.blend(x as i32, y as i32, [255; 3], cover);
            }
        }
    }
}

fn noise(canvas: &mut Canvas, chance: &mut Chance, sigma: f32) {
    for pixel in &mut canvas.pixels {
        let bits = chance.next();
        let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        // Four uniform numbers: mean 2, deviation 0.577.
        let normal = (sum as f32 / 65536.0 - 2.0) / 0.577;
        *pixel = (f32::from(*pixel) + normal * sigma).clamp(0.0, 255.0) as u8;
    }
}

/// Black and white, hard, with specks.
fn photocopy(canvas: &mut Canvas, chance: &mut Chance) {
    let (gain, middle) = (chance.between(1.6, 2.8), chance.between(120.0, 150.0));
    let specks = chance.between(0.0002, 0.0015);
    for pixel in canvas.pixels.chunks_exact_mut(3) {
        let grey =
            0.3 * f32::from(pixel[0]) + 0.59 * f32::from(pixel[1]) + 0.11 * f32::from(pixel[2]);
        let mut out = ((grey - middle) * gain + 170.0).clamp(0.0, 255.0);
        if chance.between(0.0, 1.0) < specks {
            out = chance.between(0.0, 120.0);
        }
        pixel.fill(out as u8);
    }
}

/// A photograph of it, as hard to read as this third says.
pub fn photographed(chance: &mut Chance, third: Third, card: Card) -> Picture {
    let Shot { canvas, places, how, quality } = match third {
        Third::Easy => easy(chance, &card),
        Third::Middle => middle(chance, &card),
        Third::Hard => hard(chance, &card),
    };
    let (bytes, extension) = filed(chance, third, &canvas, quality, how);
    let kind = format!("{}, {how}", card.kind);
    Picture { bytes, extension, kind, truth: card.truth, places, altered: card.altered }
}

/// A photograph before it is a file.
struct Shot {
    canvas: Canvas,
    places: Vec<Place>,
    how: &'static str,
    /// Of the JPEG.
    quality: u8,
}

fn easy(chance: &mut Chance, card: &Card) -> Shot {
    let view = View {
        aslant: (chance.between(-2.0, 2.0), chance.between(-2.0, 2.0)),
        turned: chance.between(-2.0, 2.0),
        letter: chance.between(24.0, 36.0),
        margin: chance.between(0.02, 0.12),
    };
    let scene = Scene::of(card, chance, view.letter / letter_height(), false);
    let (mut canvas, places) = scene.seen(&view);
    noise(&mut canvas, chance, 2.0);
    Shot { canvas, places, how: "straight", quality: 80 + chance.below(16) as u8 }
}

fn middle(chance: &mut Chance, card: &Card) -> Shot {
    let quarter = chance.below(4) as f32 * 90.0;
    let view = View {
        aslant: (chance.between(-15.0, 15.0), chance.between(-15.0, 15.0)),
        turned: quarter + chance.between(-5.0, 5.0),
        letter: chance.between(16.0, 28.0),
        margin: chance.between(0.05, 0.25),
    };
    let scene = Scene::of(card, chance, view.letter / letter_height(), false);
    let (mut canvas, places) = scene.seen(&view);
    uneven(&mut canvas, chance, 0.5);
    let softness = chance.between(0.3, 1.1);
    blur(&mut canvas, softness);
    noise(&mut canvas, chance, 4.0);
    Shot { canvas, places, how: "on a desk", quality: 60 + chance.below(31) as u8 }
}

fn hard(chance: &mut Chance, card: &Card) -> Shot {
    let quality = 30 + chance.below(51) as u8;
    let letter = chance.between(12.0, 22.0);
    let quarter = chance.below(4) as f32 * 90.0;
    match chance.below(100) {
        0..60 => {
            let view = View {
                aslant: (chance.between(-25.0, 25.0), chance.between(-25.0, 25.0)),
                turned: quarter + chance.between(-8.0, 8.0),
                letter,
                margin: chance.between(0.05, 0.3),
            };
            let scene = Scene::of(card, chance, letter / letter_height(), false);
            let (mut canvas, places) = scene.seen(&view);
            uneven(&mut canvas, chance, 0.6);
            let how = if chance.percent(55) {
                let strength = chance.between(0.5, 0.85);
                glare(&mut canvas, chance, strength);
                "glare"
            } else {
                let length = letter * chance.between(0.1, 0.28);
                let turn = chance.between(0.0, 3.14);
                motion(&mut canvas, length, turn);
                "motion"
            };
            let softness = chance.between(0.3, 0.9);
            blur(&mut canvas, softness);
            noise(&mut canvas, chance, 6.0);
            Shot { canvas, places, how, quality }
        }
        60..75 => {
            let view = View {
                aslant: (0.0, 0.0),
                turned: quarter + chance.between(-3.0, 3.0),
                letter,
                margin: chance.between(0.05, 0.2),
            };
            let mut scene = Scene::of(card, chance, letter / letter_height(), false);
            scene.desk = Desk { colour: [240; 3], grain: 2.0, turn: 0.0 };
            let (mut canvas, places) = scene.seen(&view);
            blur(&mut canvas, 0.6);
            photocopy(&mut canvas, chance);
            Shot { canvas, places, how: "photocopy", quality }
        }
        nr => {
            // A page from a scanner: 150 to 200 dots an inch.
            let dots = chance.between(150.0, 200.0) / 25.4;
            let view = View {
                aslant: (0.0, 0.0),
                turned: chance.between(-2.0, 2.0) + if chance.percent(25) { 180.0 } else { 0.0 },
                letter: dots * letter_height(),
                margin: 0.0,
            };
            let mut scene = Scene::of(card, chance, dots, true);
            scene.desk = Desk { colour: [250; 3], grain: 0.0, turn: 0.0 };
            let (mut canvas, places) = scene.seen(&view);
            if chance.percent(40) {
                photocopy(&mut canvas, chance);
            }
            noise(&mut canvas, chance, 3.0);
            let how = if nr < 88 { "page" } else { "PDF scan" };
            Shot { canvas, places, how, quality: quality.max(40) }
        }
    }
}

/// The file that arrives.
fn filed(
    chance: &mut Chance,
    third: Third,
    canvas: &Canvas,
    quality: u8,
    how: &str,
) -> (Vec<u8>, &'static str) {
    if how == "PDF scan" {
        return (pdf(&[jpeg(canvas, quality)]), "pdf");
    }
    if third == Third::Easy {
        match chance.below(100) {
            0..8 => return (png(canvas), "png"),
            8..12 => return (webp(canvas), "webp"),
            12..16 => return (tiff(canvas), "tiff"),
            16..26 => return (turned_by_exif(chance, canvas, quality), "jpg"),
            _ => {}
        }
    }
    (jpeg(canvas, quality), "jpg")
}

pub fn jpeg(canvas: &Canvas, quality: u8) -> Vec<u8> {
    let mut out = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality)
        .write_image(
            &canvas.pixels,
            canvas.width as u32,
            canvas.height as u32,
            ExtendedColorType::Rgb8,
        )
        .expect("encodes");
    out
}

pub fn png(canvas: &Canvas) -> Vec<u8> {
    let mut out = Vec::new();
    image::codecs::png::PngEncoder::new(&mut out)
        .write_image(
            &canvas.pixels,
            canvas.width as u32,
            canvas.height as u32,
            ExtendedColorType::Rgb8,
        )
        .expect("encodes");
    out
}

fn webp(canvas: &Canvas) -> Vec<u8> {
    let mut out = Vec::new();
    image::codecs::webp::WebPEncoder::new_lossless(&mut out)
        .write_image(
            &canvas.pixels,
            canvas.width as u32,
            canvas.height as u32,
            ExtendedColorType::Rgb8,
        )
        .expect("encodes");
    out
}

fn tiff(canvas: &Canvas) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image::codecs::tiff::TiffEncoder::new(&mut out)
        .write_image(
            &canvas.pixels,
            canvas.width as u32,
            canvas.height as u32,
            ExtendedColorType::Rgb8,
        )
        .expect("encodes");
    out.into_inner()
}

/// The picture as a phone stores it: lying on its side, with a note which way is up.
fn turned_by_exif(chance: &mut Chance, canvas: &Canvas, quality: u8) -> Vec<u8> {
    let orientation = chance.pick(&[3u8, 6, 8]);
    let turned = match orientation {
        3 => turn(&turn(canvas)),
        // Shown after a quarter to the right; so it is stored after three.
        6 => turn(&turn(&turn(canvas))),
        _ => turn(canvas),
    };
    with_orientation(&jpeg(&turned, quality), orientation)
}

/// The JPEG with an EXIF segment behind its first two bytes.
pub fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut out = jpeg[..2].to_vec();
    out.extend([0xff, 0xe1]);
    out.extend((exif.len() as u16 + 2).to_be_bytes());
    out.extend(exif);
    out.extend(&jpeg[2..]);
    out
}

/// A quarter to the right.
pub fn turn(canvas: &Canvas) -> Canvas {
    let mut out = Canvas::new(canvas.height, canvas.width, [0; 3]);
    for y in 0..canvas.height {
        for x in 0..canvas.width {
            let from = (y * canvas.width + x) * 3;
            let to = (x * out.width + (canvas.height - 1 - y)) * 3;
            let pixel = [canvas.pixels[from], canvas.pixels[from + 1], canvas.pixels[from + 2]];
            out.pixels[to..to + 3].copy_from_slice(&pixel);
        }
    }
    out
}

/// A PDF with a page of A4 for each JPEG, as scanners make them.
pub fn pdf(jpegs: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    let pages: Vec<String> = (0..jpegs.len()).map(|nr| format!("{} 0 R", 3 + nr * 3)).collect();
    let mut object = |out: &mut Vec<u8>, head: &str, stream: Option<&[u8]>| {
        places.push(out.len());
        out.extend(format!("{} 0 obj\n{head}\n", places.len()).bytes());
        if let Some(stream) = stream {
            out.extend(b"stream\n");
            out.extend(stream);
            out.extend(b"\nendstream\n");
        }
        out.extend(b"endobj\n");
    };
    object(&mut out, "<< /Type /Catalog /Pages 2 0 R >>", None);
    let kids = format!("<< /Type /Pages /Kids [{}] /Count {} >>", pages.join(" "), pages.len());
    object(&mut out, &kids, None);
    for (nr, jpeg) in jpegs.iter().enumerate() {
        let (width, height) = size_of(jpeg);
        let (content, picture) = (4 + nr * 3, 5 + nr * 3);
        let page = format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {content} 0 R \
             /Resources << /XObject << /P {picture} 0 R >> >> >>"
        );
        object(&mut out, &page, None);
        let draw = b"q 595 0 0 842 0 0 cm /P Do Q";
        object(&mut out, &format!("<< /Length {} >>", draw.len()), Some(draw));
        let head = format!(
            "<< /Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace \
             /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode /Length {} >>",
            jpeg.len()
        );
        object(&mut out, &head, Some(jpeg));
    }
    let table = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", places.len() + 1).bytes());
    for place in &places {
        out.extend(format!("{place:010} 00000 n \n").bytes());
    }
    let end = format!(
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
        places.len() + 1
    );
    out.extend(end.bytes());
    out
}

fn size_of(jpeg: &[u8]) -> (u16, u16) {
    let frame = jpeg.windows(2).position(|pair| pair[0] == 0xff && matches!(pair[1], 0xc0 | 0xc2));
    let at = frame.expect("is a JPEG");
    let number = |at: usize| u16::from_be_bytes([jpeg[at], jpeg[at + 1]]);
    (number(at + 7), number(at + 5))
}

/// Another picture, photographed somehow.
pub fn somehow(chance: &mut Chance, mut canvas: Canvas) -> Vec<u8> {
    if chance.percent(40) {
        let softness = chance.between(0.3, 1.2);
        blur(&mut canvas, softness);
        uneven(&mut canvas, chance, 0.5);
    }
    noise(&mut canvas, chance, 4.0);
    for _ in 0..chance.below(4) {
        canvas = turn(&canvas);
    }
    jpeg(&canvas, 40 + chance.below(55) as u8)
}
