//! Pictures as they are read: grey pixels, and what geometry does with them.
//!
//! [`decode`] makes them of a file, [`detect`] finds lines of text in them, [`recognise`] reads a
//! line, [`lattice`] settles what a line of a known length says. All of it is pure: the weights of
//! the models are passed in, nothing looks at a clock or a disk. It runs in a confined child only
//! (`sandbox`): whoever sends a picture may want more than to have it read.

pub mod decode;
pub mod detect;
pub mod lattice;
pub mod recognise;

/// A point: across and down, in pixels.
pub type Point = (f32, f32);

/// Pixels without colour.
#[derive(Clone, PartialEq, Eq)]
pub struct Grey {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row.
    pub pixels: Vec<u8>,
}

impl std::fmt::Debug for Grey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Grey({}x{})", self.width, self.height)
    }
}

impl Grey {
    /// All of one shade.
    #[must_use]
    pub fn new(width: usize, height: usize, shade: u8) -> Self {
        Self { width, height, pixels: vec![shade; width * height] }
    }

    /// The longer side.
    #[must_use]
    pub fn edge(&self) -> usize {
        self.width.max(self.height)
    }

    /// The shade between four pixels; outside, that of the border.
    #[must_use]
    pub fn at(&self, (x, y): Point) -> f32 {
        let x = (x - 0.5).clamp(0.0, (self.width - 1) as f32);
        let y = (y - 0.5).clamp(0.0, (self.height - 1) as f32);
        let (left, top) = (x as usize, y as usize);
        let (right, below) = ((left + 1).min(self.width - 1), (top + 1).min(self.height - 1));
        let (fx, fy) = (x - left as f32, y - top as f32);
        let row = &self.pixels[top * self.width..];
        let next = &self.pixels[below * self.width..];
        let upper = f32::from(row[left]) * (1.0 - fx) + f32::from(row[right]) * fx;
        let lower = f32::from(next[left]) * (1.0 - fx) + f32::from(next[right]) * fx;
        upper * (1.0 - fy) + lower * fy
    }

    /// The same in another size: each pixel is the mean of what it covers.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let across = spans(self.width, width);
        let mut rows = vec![0f32; width * self.height];
        for (row, out) in self.pixels.chunks_exact(self.width).zip(rows.chunks_exact_mut(width)) {
            for ((from, weights), out) in across.iter().zip(out) {
                let part = &row[*from..*from + weights.len()];
                *out = part
                    .iter()
                    .zip(weights)
                    .map(|(pixel, weight)| f32::from(*pixel) * weight)
                    .sum();
            }
        }
        let mut pixels = Vec::with_capacity(width * height);
        let mut sums = vec![0f32; width];
        for (from, weights) in spans(self.height, height) {
            sums.fill(0.0);
            for (nr, weight) in weights.iter().enumerate() {
                let row = &rows[(from + nr) * width..(from + nr + 1) * width];
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value * weight;
                }
            }
            pixels.extend(sums.iter().map(|sum| (sum + 0.5) as u8));
        }
        Self { width, height, pixels }
    }

    /// At most this long on its longer side.
    #[must_use]
    pub fn within(self, edge: usize) -> Self {
        if self.edge() <= edge {
            return self;
        }
        let scale = edge as f32 / self.edge() as f32;
        let side = |length: usize| ((length as f32 * scale).round() as usize).max(1);
        self.resized(side(self.width), side(self.height))
    }

    /// What a quadrilateral holds, laid straight.
    #[must_use]
    pub fn straightened(&self, quad: &Quad, width: usize, height: usize) -> Self {
        let mut out = Self::new(width, height, 0);
        let [a, b, c, d] = quad.0;
        // Bilinear between the corners: over the height of a line no eye tells it from perspective.
        for (y, row) in out.pixels.chunks_exact_mut(width).enumerate() {
            let down = (y as f32 + 0.5) / height as f32;
            let (left, right) = (between(a, d, down), between(b, c, down));
            for (x, pixel) in row.iter_mut().enumerate() {
                let across = (x as f32 + 0.5) / width as f32;
                *pixel = (self.at(between(left, right, across)) + 0.5) as u8;
            }
        }
        out
    }

    /// The shades spread over all there are, leaving out the darkest and lightest hundredth.
    #[must_use]
    pub fn stretched(mut self) -> Self {
        let mut count = [0usize; 256];
        for pixel in &self.pixels {
            count[usize::from(*pixel)] += 1;
        }
        let least = self.pixels.len() / 100;
        let reach = |shades: &[usize]| {
            let mut seen = 0;
            let is_reached = |shade: &&usize| {
                seen += count[**shade];
                seen > least
            };
            shades.iter().find(is_reached).copied().unwrap_or(0) as f32
        };
        let mut shades: Vec<usize> = (0..256).collect();
        let low = reach(&shades);
        shades.reverse();
        let high = reach(&shades);
        if high > low {
            for pixel in &mut self.pixels {
                let spread = (f32::from(*pixel) - low) * 255.0 / (high - low);
                *pixel = spread.clamp(0.0, 255.0) as u8;
            }
        }
        self
    }

    /// The light below the letters taken out: each pixel by the brightest of its surroundings.
    #[must_use]
    pub fn evened(&self, reach: usize) -> Self {
        let light = self.brightest(reach);
        let pixels = self.pixels.iter().zip(&light.pixels);
        let evened = pixels.map(|(pixel, light)| {
            let part = (f32::from(*pixel) + 1.0) / (f32::from(*light) + 1.0);
            (part * 255.0).clamp(0.0, 255.0) as u8
        });
        Self { width: self.width, height: self.height, pixels: evened.collect() }
    }

    /// The brightest of each column in strips, softened along the row: the paper.
    fn brightest(&self, reach: usize) -> Self {
        let mut top = vec![0u8; self.width];
        for row in self.pixels.chunks_exact(self.width) {
            for (most, pixel) in top.iter_mut().zip(row) {
                *most = (*most).max(*pixel);
            }
        }
        let around = |at: usize| at.saturating_sub(reach)..(at + reach + 1).min(top.len());
        let paper: Vec<u8> = (0..top.len())
            .map(|at| {
                let near = &top[around(at)];
                (near.iter().map(|shade| usize::from(*shade)).sum::<usize>() / near.len()) as u8
            })
            .collect();
        Self { width: self.width, height: self.height, pixels: paper.repeat(self.height) }
    }
}

/// For each of `to` pixels, the first of `from` pixels that it covers and how much it takes of each.
fn spans(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let ratio = from as f32 / to as f32;
    let one = |nr: usize| {
        // Enlarged, a pixel lies between two; shrunk, it covers several.
        let (low, high) = if ratio < 1.0 {
            let middle = (nr as f32 + 0.5) * ratio;
            (middle - 0.5, middle + 0.5)
        } else {
            (nr as f32 * ratio, (nr + 1) as f32 * ratio)
        };
        let (low, high) = (low.max(0.0), high.min(from as f32));
        let first = (low as usize).min(from - 1);
        let last = (high.ceil() as usize).clamp(first + 1, from);
        let cover = |at: usize| (high.min((at + 1) as f32) - low.max(at as f32)).max(0.0);
        let mut weights: Vec<f32> = (first..last).map(cover).collect();
        let sum: f32 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        } else {
            weights.truncate(1);
            weights[0] = 1.0;
        }
        (first, weights)
    };
    (0..to).map(one).collect()
}

/// The point that lies at this part of the way.
#[must_use]
pub fn between((ax, ay): Point, (bx, by): Point, part: f32) -> Point {
    (ax + (bx - ax) * part, ay + (by - ay) * part)
}

/// Four corners: where the text begins at the top, where it ends, then below that, then below the
/// first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quad(pub [Point; 4]);

impl Quad {
    /// Along the text.
    #[must_use]
    pub fn length(&self) -> f32 {
        let (left, right) = self.ends();
        distance(left, right)
    }

    /// Across it.
    #[must_use]
    pub fn height(&self) -> f32 {
        let [a, b, c, d] = self.0;
        (distance(a, d) + distance(b, c)) / 2.0
    }

    /// Where the middle of the line begins and ends.
    #[must_use]
    pub fn ends(&self) -> (Point, Point) {
        let [a, b, c, d] = self.0;
        (between(a, d, 0.5), between(b, c, 0.5))
    }

    /// The middle.
    #[must_use]
    pub fn middle(&self) -> Point {
        let (left, right) = self.ends();
        between(left, right, 0.5)
    }

    /// The direction in which it is read, of length 1.
    #[must_use]
    pub fn along(&self) -> Point {
        let ((ax, ay), (bx, by)) = self.ends();
        let length = (bx - ax).hypot(by - ay).max(1e-6);
        ((bx - ax) / length, (by - ay) / length)
    }

    /// Whether a point lies in it, wherever its corners begin and whichever way they go around.
    #[must_use]
    pub fn holds(&self, (x, y): Point) -> bool {
        let side = |from: usize| {
            let ((ax, ay), (bx, by)) = (self.0[from], self.0[(from + 1) % 4]);
            (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        };
        let sides: [f32; 4] = std::array::from_fn(side);
        sides.iter().all(|side| *side >= 0.0) || sides.iter().all(|side| *side <= 0.0)
    }

    /// Whether two of them lie over each other: no side of one parts them.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let parts = |quad: &Self, from: usize| {
            let (a, b) = (quad.0[from], quad.0[(from + 1) % 4]);
            let axis = (b.1 - a.1, a.0 - b.0);
            let reach = |quad: &Self| {
                let on = quad.0.map(|(x, y)| x * axis.0 + y * axis.1);
                let low = on.iter().copied().fold(f32::MAX, f32::min);
                (low, on.iter().copied().fold(f32::MIN, f32::max))
            };
            let ((low, high), (other_low, other_high)) = (reach(self), reach(other));
            high < other_low || other_high < low
        };
        !(0..4).any(|from| parts(self, from) || parts(other, from))
    }

    /// Read from the other end.
    #[must_use]
    pub const fn turned(&self) -> Self {
        let [a, b, c, d] = self.0;
        Self([c, d, a, b])
    }
}

/// How far two points are apart.
#[must_use]
pub fn distance((ax, ay): Point, (bx, by): Point) -> f32 {
    (ax - bx).hypot(ay - by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shrunk_picture_keeps_its_light_and_an_enlarged_one_its_corners() {
        let mut grey = Grey::new(7, 5, 10);
        grey.pixels[17] = 240;
        let mean = |grey: &Grey| {
            grey.pixels.iter().map(|pixel| f32::from(*pixel)).sum::<f32>()
                / grey.pixels.len() as f32
        };
        assert!((mean(&grey.resized(3, 2)) - mean(&grey)).abs() < 3.0);
        let large = grey.resized(21, 15);
        assert_eq!((large.pixels[0], large.pixels[314]), (10, 10));
        assert!(large.pixels.iter().any(|pixel| *pixel > 200));
        assert_eq!(grey.clone().within(7), grey);
        assert_eq!(grey.within(3).width, 3);
    }

    #[test]
    fn a_quadrilateral_is_laid_straight() {
        // A black bar from the upper right to the lower left, on its side.
        let mut grey = Grey::new(20, 40, 255);
        for row in 5..35 {
            grey.pixels[row * 20 + 8..row * 20 + 12].fill(0);
        }
        let quad = Quad([(12.0, 5.0), (12.0, 35.0), (8.0, 35.0), (8.0, 5.0)]);
        let bar = grey.straightened(&quad, 30, 4);
        assert!(bar.pixels.iter().all(|pixel| *pixel < 130), "{:?}", bar.pixels);
        assert!((quad.length() - 30.0).abs() < 0.1 && (quad.height() - 4.0).abs() < 0.1);
        assert_eq!(quad.turned().turned(), quad);
    }

    #[test]
    fn a_quadrilateral_holds_its_inside_whichever_way_its_corners_go() {
        let slanted = Quad([(10.0, 10.0), (50.0, 20.0), (48.0, 30.0), (8.0, 20.0)]);
        let [a, b, c, d] = slanted.0;
        for quad in [slanted, slanted.turned(), Quad([d, c, b, a])] {
            assert!(quad.holds((30.0, 20.0)) && quad.holds((10.0, 10.0)));
            assert!(!quad.holds((30.0, 12.0)) && !quad.holds((60.0, 22.0)));
            let moved = |x: f32, y: f32| Quad(quad.0.map(|(a, b)| (a + x, b + y)));
            assert!(quad.meets(&moved(5.0, 5.0)) && quad.meets(&quad));
            assert!(!quad.meets(&moved(0.0, 12.0)) && !quad.meets(&moved(60.0, 0.0)));
        }
    }
}
