//! Where lines of text are: PP-OCRv4 detection, and rectangles around what it marks.

use rten::{Model, NodeId, Value};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView};

use super::{Grey, Point, Quad};

/// Pixels that the model is shown, about: more takes longer and finds smaller letters.
const SHOWN: f32 = 850_000.0;
/// The longer side of what it is shown, at most.
const LONGEST_SHOWN: f32 = 1600.0;
/// How much a small picture is enlarged for it.
const MOST_ENLARGED: f32 = 1.1;
/// Sides are multiples of this.
const STEP: usize = 32;
/// A pixel belongs to text from this probability on; a line needs this mean.
const PIXEL: f32 = 0.3;
const LINE: f32 = 0.5;
/// How far a line reaches beyond what is marked of it: area by circumference, times this.
const REACH: f32 = 1.7;
/// Lines of a picture, the largest first.
const MOST_LINES: usize = 200;
/// Pixels of the shorter side of what is marked, at least.
const THINNEST: f32 = 2.5;

/// Finds lines.
pub struct Detector {
    model: Model,
    input: NodeId,
    output: NodeId,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Detector")
    }
}

impl Detector {
    /// With the weights in this ONNX file.
    #[must_use]
    pub fn new(onnx: Vec<u8>) -> Option<Self> {
        let model = Model::load(onnx).ok()?;
        let (input, output) = (*model.input_ids().first()?, *model.output_ids().first()?);
        Some(Self { model, input, output })
    }

    /// The lines of text of a picture; which way up each is read is not known yet, but it runs along
    /// its longer side.
    #[must_use]
    pub fn lines(&self, grey: &Grey) -> Vec<Quad> {
        let area = (grey.width * grey.height) as f32;
        let scale =
            (SHOWN / area).sqrt().min(LONGEST_SHOWN / grey.edge() as f32).min(MOST_ENLARGED);
        let side =
            |length: usize| ((length as f32 * scale / STEP as f32).round() as usize).max(1) * STEP;
        let (width, height) = (side(grey.width), side(grey.height));
        let Some(map) = self.marked(&grey.resized(width, height)) else { return Vec::new() };
        let ratio = (grey.width as f32 / width as f32, grey.height as f32 / height as f32);
        let mut lines = rectangles(&map, width, height);
        for Quad(corners) in &mut lines {
            for corner in corners {
                *corner = (corner.0 * ratio.0, corner.1 * ratio.1);
            }
        }
        lines
    }

    /// How probably each pixel is text.
    fn marked(&self, grey: &Grey) -> Option<Vec<f32>> {
        let (width, height) = (grey.width, grey.height);
        let plane: Vec<f32> =
            grey.pixels.iter().map(|pixel| f32::from(*pixel) / 127.5 - 1.0).collect();
        let input = NdTensor::from_data([1, 3, height, width], plane.repeat(3));
        let mut out =
            self.model.run(vec![(self.input, input.into())], &[self.output], None).ok()?;
        let value: Value = out.pop()?;
        let map: NdTensor<f32, 4> = value.try_into().ok()?;
        let view: NdTensorView<'_, f32, 4> = map.view();
        (view.shape() == [1, 1, height, width]).then(|| view.iter().copied().collect())
    }
}

/// A rectangle around each connected part of the map.
fn rectangles(map: &[f32], width: usize, height: usize) -> Vec<Quad> {
    let mut seen = vec![false; map.len()];
    let mut found: Vec<(f32, Quad)> = Vec::new();
    let mut stack = Vec::new();
    for start in 0..map.len() {
        if seen[start] || map[start] <= PIXEL {
            continue;
        }
        seen[start] = true;
        stack.push(start);
        let (mut sum, mut count) = (0.0, 0usize);
        // The first and last of each row: the rest cannot be on the outline.
        let mut rows: Vec<(usize, usize, usize)> = Vec::new();
        let mut row_of = std::collections::BTreeMap::<usize, usize>::new();
        while let Some(at) = stack.pop() {
            sum += map[at];
            count += 1;
            let (x, y) = (at % width, at / width);
            let row = *row_of.entry(y).or_insert_with(|| {
                rows.push((y, x, x));
                rows.len() - 1
            });
            rows[row].1 = rows[row].1.min(x);
            rows[row].2 = rows[row].2.max(x);
            for dy in [-1isize, 0, 1] {
                for dx in [-1isize, 0, 1] {
                    let (Some(nx), Some(ny)) = (x.checked_add_signed(dx), y.checked_add_signed(dy))
                    else {
                        continue;
                    };
                    if nx < width && ny < height {
                        let next = ny * width + nx;
                        if !seen[next] && map[next] > PIXEL {
                            seen[next] = true;
                            stack.push(next);
                        }
                    }
                }
            }
        }
        if sum / (count as f32) < LINE {
            continue;
        }
        let outline: Vec<Point> = rows
            .iter()
            .flat_map(|(y, low, high)| {
                let (y, low, high) = (*y as f32, *low as f32, *high as f32 + 1.0);
                [(low, y), (high, y), (low, y + 1.0), (high, y + 1.0)]
            })
            .collect();
        if let Some(quad) = around(outline) {
            found.push((quad.length() * quad.height(), quad));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(MOST_LINES);
    found.into_iter().map(|(_, quad)| quad).collect()
}

/// The smallest rectangle around these points, as far beyond them as letters are.
fn around(points: Vec<Point>) -> Option<Quad> {
    let hull = hull(points);
    let mut best: Option<(f32, [Point; 2], [f32; 4])> = None;
    for (nr, from) in hull.iter().enumerate() {
        let to = hull[(nr + 1) % hull.len()];
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        if length < 1e-3 {
            continue;
        }
        let u = ((to.0 - from.0) / length, (to.1 - from.1) / length);
        let v = (-u.1, u.0);
        let mut reach = [f32::MAX, f32::MIN, f32::MAX, f32::MIN];
        for (x, y) in &hull {
            let (along, across) = (x * u.0 + y * u.1, x * v.0 + y * v.1);
            reach[0] = reach[0].min(along);
            reach[1] = reach[1].max(along);
            reach[2] = reach[2].min(across);
            reach[3] = reach[3].max(across);
        }
        let area = (reach[1] - reach[0]) * (reach[3] - reach[2]);
        if best.is_none_or(|(least, ..)| area < least) {
            best = Some((area, [u, v], reach));
        }
    }
    let (area, [mut u, mut v], mut reach) = best?;
    let (length, height) = (reach[1] - reach[0], reach[3] - reach[2]);
    if length.min(height) < THINNEST {
        return None;
    }
    if height > length {
        (u, v) = (v, (-u.0, -u.1));
        reach = [reach[2], reach[3], -reach[1], -reach[0]];
    }
    // Towards the right, or, if it is upright, downwards.
    if u.0 < -0.1 || (u.0.abs() <= 0.1 && u.1 < 0.0) {
        (u, v) = ((-u.0, -u.1), (-v.0, -v.1));
        reach = [-reach[1], -reach[0], -reach[3], -reach[2]];
    }
    let beyond = area * REACH / (2.0 * (length + height));
    let at = |along: f32, across: f32| (along * u.0 + across * v.0, along * u.1 + across * v.1);
    let (left, right) = (reach[0] - beyond, reach[1] + beyond);
    let (top, bottom) = (reach[2] - beyond, reach[3] + beyond);
    Some(Quad([at(left, top), at(right, top), at(right, bottom), at(left, bottom)]))
}

/// The points that no line between two others passes by on the outside.
fn hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    points.dedup();
    if points.len() < 3 {
        return points;
    }
    let turn = |a: Point, b: Point, c: Point| (b.0 - a.0) * (c.1 - a.1) - (b.1 - a.1) * (c.0 - a.0);
    let half = |points: &mut dyn Iterator<Item = Point>| {
        let mut out: Vec<Point> = Vec::new();
        for point in points {
            while out.len() >= 2 && turn(out[out.len() - 2], out[out.len() - 1], point) <= 0.0 {
                out.pop();
            }
            out.push(point);
        }
        out.pop();
        out
    };
    let mut out = half(&mut points.iter().copied());
    out.extend(half(&mut points.iter().rev().copied()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slanted_line_gets_a_slanted_rectangle_that_runs_along_it() {
        let (width, height) = (120, 90);
        let mut map = vec![0.0; width * height];
        for along in 0..800 {
            for across in 0..60 {
                let (a, b) = (along as f32 / 10.0, across as f32 / 10.0);
                let (x, y) = (20.0 + a * 0.9 - b * 0.436, 20.0 + a * 0.436 + b * 0.9);
                map[y as usize * width + x as usize] = 0.9;
            }
        }
        let found = rectangles(&map, width, height);
        assert_eq!(found.len(), 1);
        let (x, y) = found[0].along();
        assert!((y / x - 0.484).abs() < 0.05, "{x} {y}");
        assert!(found[0].length() > 80.0 && found[0].height() > 6.0);
    }

    #[test]
    fn an_upright_line_runs_downwards_and_a_speck_is_none() {
        let mut map = vec![0.0; 64 * 64];
        for y in 8..56 {
            map[y * 64 + 20..y * 64 + 27].fill(0.8);
        }
        map[62 * 64 + 60] = 0.9;
        let found = rectangles(&map, 64, 64);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].along(), (0.0, 1.0));
    }
}
