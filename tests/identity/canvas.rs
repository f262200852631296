//! A surface to draw on: colours, rectangles, text.

use std::sync::OnceLock;

use ab_glyph::{Font, FontVec, ScaleFont, point};

pub type Colour = [u8; 3];

/// Which font.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Face {
    OcrB,
    Sans,
    SansBold,
    Serif,
    Plain,
    Mono,
}

/// The fonts of Debian's packages `fonts-ocr-b`, `fonts-liberation2` and `fonts-dejavu-core`.
pub const FONTS: [&str; 6] = [
    "/usr/share/fonts/opentype/ocr-b/OCRB.otf",
    "/usr/share/fonts/truetype/liberation2/LiberationSans-Regular.ttf",
    "/usr/share/fonts/truetype/liberation2/LiberationSans-Bold.ttf",
    "/usr/share/fonts/truetype/liberation2/LiberationSerif-Regular.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/liberation2/LiberationMono-Regular.ttf",
];

impl Face {
    fn font(self) -> &'static FontVec {
        static LOADED: OnceLock<Vec<FontVec>> = OnceLock::new();
        let loaded = LOADED.get_or_init(|| {
            let load = |path: &&str| {
                let bytes = std::fs::read(path).unwrap_or_else(|_| panic!("{path} is missing"));
                FontVec::try_from_vec(bytes).expect("is a font")
            };
            FONTS.iter().map(load).collect()
        });
        &loaded[self as usize]
    }

    /// Height of a capital, and width of a letter of the fixed fonts, for a size of 1.
    pub fn measures(self) -> (f32, f32) {
        let font = self.font().as_scaled(1000.0);
        let glyph = font.scaled_glyph('H');
        let wide = font.h_advance(glyph.id) / 1000.0;
        let high =
            self.font().outline_glyph(glyph).map_or(0.7, |o| o.px_bounds().height() / 1000.0);
        (high, wide)
    }
}

/// Pixels in colour.
#[derive(Clone)]
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

impl Canvas {
    pub fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self { width, height, pixels: colour.repeat(width * height) }
    }

    pub fn at(&self, x: usize, y: usize) -> Colour {
        let from = (y * self.width + x) * 3;
        [self.pixels[from], self.pixels[from + 1], self.pixels[from + 2]]
    }

    pub fn blend(&mut self, x: i32, y: i32, colour: Colour, cover: f32) {
        if x < 0 || y < 0 || x as usize >= self.width || y as usize >= self.height {
            return;
        }
        let from = (y as usize * self.width + x as usize) * 3;
        for (pixel, colour) in self.pixels[from..from + 3].iter_mut().zip(colour) {
            let mixed = f32::from(*pixel) * (1.0 - cover) + f32::from(colour) * cover;
            *pixel = mixed.round().clamp(0.0, 255.0) as u8;
        }
    }

    pub fn rectangle(&mut self, x: i32, y: i32, width: i32, height: i32, colour: Colour) {
        for row in y.max(0)..(y + height).min(self.height as i32) {
            for column in x.max(0)..(x + width).min(self.width as i32) {
                let from = (row as usize * self.width + column as usize) * 3;
                self.pixels[from..from + 3].copy_from_slice(&colour);
            }
        }
    }

    pub fn ellipse(&mut self, (cx, cy): (f32, f32), (rx, ry): (f32, f32), colour: Colour) {
        for y in (cy - ry) as i32..=(cy + ry) as i32 {
            for x in (cx - rx) as i32..=(cx + rx) as i32 {
                let (dx, dy) = ((x as f32 - cx) / rx, (y as f32 - cy) / ry);
                if dx * dx + dy * dy <= 1.0 {
                    self.blend(x, y, colour, 1.0);
                }
            }
        }
    }

    /// Text whose first letter begins at `x` and stands on the line `y`; its end.
    pub fn text(
        &mut self,
        face: Face,
        size: f32,
        (x, y): (f32, f32),
        colour: Colour,
        text: &str,
    ) -> f32 {
        self.lettered(face, size, (x, y), colour, 1.0, None, text)
    }

    /// As [`text`](Self::text), with a fixed distance between letters, or a colour that shows through.
    #[allow(clippy::too_many_arguments, reason = "all that text has")]
    pub fn lettered(
        &mut self,
        face: Face,
        size: f32,
        (mut x, y): (f32, f32),
        colour: Colour,
        cover: f32,
        pitch: Option<f32>,
        text: &str,
    ) -> f32 {
        let font = face.font();
        let scaled = font.as_scaled(size);
        for letter in text.chars() {
            let mut glyph = scaled.scaled_glyph(letter);
            let advance = scaled.h_advance(glyph.id);
            glyph.position = point(x, y);
            if let Some(outline) = font.outline_glyph(glyph) {
                let bounds = outline.px_bounds();
                let (left, top) = (bounds.min.x as i32, bounds.min.y as i32);
                outline.draw(|dx, dy, shade| {
                    self.blend(left + dx as i32, top + dy as i32, colour, (shade * cover).min(1.0));
                });
            }
            x += pitch.unwrap_or(advance);
        }
        x
    }

    pub fn put(&mut self, other: &Self, (x, y): (usize, usize)) {
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let width = other.width.min(self.width.saturating_sub(x));
            let from = (row * other.width) * 3;
            let to = ((y + row) * self.width + x) * 3;
            self.pixels[to..to + width * 3].copy_from_slice(&other.pixels[from..from + width * 3]);
        }
    }
}
