//! Where the lines of a machine-readable zone are among the lines of text: pieces that belong to one
//! line put together, lines that lie below each other taken as one band, and its edges made straight.
//!
//! A detector splits a line at a wide gap and stops short of its last fillers. All lines of a zone
//! begin and end below each other, so the longest of them tell where the others end.

use super::Seen;
use crate::identity::picture::{Point, Quad, between};

/// Lines of a band, with the same edges, the first on top.
#[derive(Clone, Debug)]
pub(super) struct Band {
    /// Where each line is, all of the same length.
    pub(super) lines: Vec<Quad>,
    /// Letters of a zone that were heard in it: the more, the likelier it is one.
    pub(super) weight: usize,
}

/// Signs that a piece needs, at least, to be one by itself.
const SHORTEST: usize = 6;
/// Fillers, or else signs and digits, that tell a zone from other text.
const FILLERS: usize = 2;
const LONG: usize = 18;
const DIGITS: usize = 5;
/// How far a piece may lie off a line, and how far the next line may be: in heights of a line.
const OFF: f32 = 0.45;
const STEP: std::ops::Range<f32> = 0.7..3.2;
/// How far a piece may be behind the end of a line that it continues.
const GAP: f32 = 6.0;
/// How much of a line's length the next one must lie below.
const OVERLAP: f32 = 0.4;
/// How far beyond its ends a line is read, in heights.
const MARGIN: f32 = 0.45;
/// Lines further apart than this, in heights, have room for another one between them.
const WIDE: f32 = 2.1;
/// The steepest edge, across by along.
const STEEPEST: f32 = 0.5;

/// Whether a line of text looks like a part of a zone.
pub(super) fn is_like(text: &str) -> bool {
    let signs: Vec<char> = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let count = |is: fn(&char) -> bool| signs.iter().filter(|sign| is(sign)).count();
    let good = count(|sign| sign.is_ascii_uppercase() || sign.is_ascii_digit() || *sign == '<');
    let fillers = count(|sign| *sign == '<');
    let digits = count(char::is_ascii_digit);
    let is_gapped = text.chars().filter(|letter| *letter == ' ').count() * 6 > signs.len();
    signs.len() >= SHORTEST
        && good * 100 >= signs.len() * 80
        && (fillers >= FILLERS && !(is_gapped && fillers * 4 < signs.len())
            || signs.len() >= LONG && digits >= DIGITS && !is_gapped)
}

/// One line, its pieces put together.
#[derive(Clone)]
struct Line {
    left: Point,
    right: Point,
    height: f32,
    weight: usize,
}

impl Line {
    fn of(seen: &Seen) -> Self {
        let (left, right) = seen.quad.ends();
        let weight = seen.text.chars().filter(|letter| !letter.is_whitespace()).count();
        Self { left, right, height: seen.quad.height(), weight }
    }

    fn along(&self) -> Point {
        Quad([self.left, self.right, self.right, self.left]).along()
    }

    fn middle(&self) -> Point {
        ((self.left.0 + self.right.0) / 2.0, (self.left.1 + self.right.1) / 2.0)
    }

    /// Where a point is, seen from the left end: along the line and off it.
    fn place(&self, (x, y): Point) -> (f32, f32) {
        let (ux, uy) = self.along();
        let (dx, dy) = (x - self.left.0, y - self.left.1);
        (dx * ux + dy * uy, dy * ux - dx * uy)
    }

    fn length(&self) -> f32 {
        self.place(self.right).0
    }

    /// Whether a piece continues this line.
    fn takes(&self, other: &Self) -> bool {
        let height = self.height.max(other.height);
        let (from, _) = self.place(other.left);
        let (to, _) = self.place(other.right);
        let (_, off) = self.place(other.middle());
        let ratio = self.height / other.height.max(1.0);
        let gap = (from - self.length()).max(-to);
        off.abs() < OFF * height && gap < GAP * height && (0.55..1.8).contains(&ratio)
    }

    fn join(&mut self, other: &Self) {
        let weight = self.weight.max(1) as f32 + other.weight as f32;
        self.height =
            (self.height * self.weight.max(1) as f32 + other.height * other.weight as f32) / weight;
        let (from, to) = (self.place(other.left).0, self.place(other.right).0);
        let length = self.length();
        if from < 0.0 {
            self.left = other.left;
        }
        if to > length {
            self.right = other.right;
        }
        self.weight += other.weight;
    }
}

impl Band {
    /// The band with a line more, where one may have been overlooked: between two that are far apart,
    /// below the last, above the first.
    pub(super) fn with_one_more(&self) -> Vec<Self> {
        let (Some(first), Some(last)) = (self.lines.first(), self.lines.last()) else {
            return Vec::new();
        };
        let height = first.height().max(1.0);
        let steps: Vec<f32> = self
            .lines
            .windows(2)
            .map(|pair| {
                let ((a, b), (c, d)) = (pair[0].middle(), pair[1].middle());
                (c - a).hypot(d - b) / height
            })
            .collect();
        let mut found = Vec::new();
        for (nr, step) in steps.iter().enumerate() {
            if *step > WIDE {
                let mut lines = self.lines.clone();
                lines.insert(nr + 1, part(&self.lines[nr], &self.lines[nr + 1], 0.5));
                found.push(Self { lines, weight: self.weight });
            }
        }
        if self.lines.len() >= 2 && found.is_empty() {
            let mut below = self.lines.clone();
            below.push(part(&self.lines[self.lines.len() - 2], last, 2.0));
            let mut above = self.lines.clone();
            above.insert(0, part(first, &self.lines[1], -1.0));
            found.push(Self { lines: below, weight: self.weight });
            found.push(Self { lines: above, weight: self.weight });
        }
        found
    }
}

/// The line that lies at this part of the way from one line to another, or beyond.
fn part(from: &Quad, to: &Quad, way: f32) -> Quad {
    Quad(std::array::from_fn(|corner| between(from.0[corner], to.0[corner], way)))
}

/// The bands among these lines, the likeliest first.
pub(super) fn find(seen: &[Seen]) -> Vec<Band> {
    let mut lines: Vec<Line> = Vec::new();
    let mut rest = Vec::new();
    let mut pieces: Vec<(bool, Line)> =
        seen.iter().map(|seen| (is_like(&seen.text), Line::of(seen))).collect();
    pieces.sort_by(|a, b| b.1.length().total_cmp(&a.1.length()));
    for (is_like, piece) in pieces {
        if !is_like {
            rest.push(piece);
        } else if let Some(line) = lines.iter_mut().find(|line| line.takes(&piece)) {
            line.join(&piece);
        } else {
            lines.push(piece);
        }
    }
    // The short beginning of a line looks like nothing by itself.
    for piece in rest {
        if let Some(line) = lines.iter_mut().find(|line| line.takes(&piece)) {
            line.join(&piece);
        }
    }
    bands(lines)
}

fn bands(mut lines: Vec<Line>) -> Vec<Band> {
    let Some(longest) = lines.iter().max_by_key(|line| line.weight).cloned() else {
        return Vec::new();
    };
    lines.sort_by(|a, b| longest.place(a.middle()).1.total_cmp(&longest.place(b.middle()).1));
    let mut groups: Vec<Vec<Line>> = Vec::new();
    for line in lines {
        let group = groups.iter_mut().find(|group| follows(&group[group.len() - 1], &line));
        match group {
            Some(group) => group.push(line),
            None => groups.push(vec![line]),
        }
    }
    let mut found: Vec<Band> = groups.into_iter().map(|lines| straight(&lines)).collect();
    found.sort_by_key(|band| std::cmp::Reverse(band.weight));
    found
}

fn follows(above: &Line, below: &Line) -> bool {
    let height = f32::midpoint(above.height, below.height).max(1.0);
    let (_, off) = above.place(below.middle());
    let (from, to) = (above.place(below.left).0, above.place(below.right).0);
    let common = to.min(above.length()) - from.max(0.0);
    let ratio = above.height / below.height.max(1.0);
    STEP.contains(&(off / height))
        && common > OVERLAP * above.length().min(to - from)
        && (0.55..1.8).contains(&ratio)
}

/// The lines with common edges.
fn straight(lines: &[Line]) -> Band {
    let longest =
        lines.iter().max_by(|a, b| a.length().total_cmp(&b.length())).unwrap_or(&lines[0]);
    let height = {
        let mut heights: Vec<f32> = lines.iter().map(|line| line.height).collect();
        heights.sort_by(f32::total_cmp);
        heights[heights.len() / 2]
    };
    let ends = |pick: fn(&Line) -> Point| -> Vec<(f32, f32)> {
        lines.iter().map(|line| longest.place(pick(line))).map(|(u, v)| (v, u)).collect()
    };
    let left = edge(&ends(|line| line.left).iter().map(|(v, u)| (*v, -u)).collect::<Vec<_>>());
    let right = edge(&ends(|line| line.right));
    let (ux, uy) = longest.along();
    let quads = lines.iter().map(|line| {
        // Its own direction; the edges are where the others end.
        let (u0, v0) = longest.place(line.left);
        let (u1, v1) = longest.place(line.right);
        let slope = if u1 - u0 > height { (v1 - v0) / (u1 - u0) } else { 0.0 };
        let on = |u: f32| v0 + (u - u0) * slope;
        let from = -(left.0 * on(u0) + left.1) - MARGIN * height;
        let to = right.0 * on(u1) + right.1 + MARGIN * height;
        let point = |u: f32, off: f32| {
            let v = on(u) + off;
            (longest.left.0 + u * ux - v * uy, longest.left.1 + u * uy + v * ux)
        };
        let half = height / 2.0;
        Quad([point(from, -half), point(to, -half), point(to, half), point(from, half)])
    });
    Band { lines: quads.collect(), weight: lines.iter().map(|line| line.weight).sum() }
}

/// The line `u = slope · v + shift` that no end lies beyond, as near to them as can be.
fn edge(ends: &[(f32, f32)]) -> (f32, f32) {
    let beyond = |slope: f32| ends.iter().map(|(v, u)| u - slope * v).fold(f32::MIN, f32::max);
    let loose = |(slope, shift): (f32, f32)| -> f32 {
        ends.iter().map(|(v, u)| slope * v + shift - u).sum()
    };
    let mut best = (0.0, beyond(0.0));
    for (nr, (v, u)) in ends.iter().enumerate() {
        for (other_v, other_u) in &ends[nr + 1..] {
            let slope = (other_u - u) / (other_v - v);
            if slope.is_finite() && slope.abs() < STEEPEST {
                let candidate = (slope, beyond(slope));
                // A straight edge unless a slanted one is clearly nearer.
                if loose(candidate) < loose(best) {
                    best = candidate;
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str, from: Point, to: Point, height: f32) -> Seen {
        let half = height / 2.0;
        let quad = Quad([
            (from.0, from.1 - half),
            (to.0, to.1 - half),
            (to.0, to.1 + half),
            (from.0, from.1 + half),
        ]);
        Seen { text: text.into(), sure: 0.9, quad }
    }

    #[test]
    fn a_zone_looks_like_one_and_other_lines_do_not() {
        for text in [
            "IDBEL592345678<9815<<<<<<<<<<<",
            "7801022M2807144BEL780102301237",
            "DUPONT<<JEAN<P",
            "<<<<<<<",
        ] {
            assert!(is_like(text), "{text}");
        }
        for text in [
            "IDENTITY CARD",
            "1234 5678 9012 3456",
            "Naam / Surname",
            "BE71 0961 2345 6769",
            "a<<b c<<d",
        ] {
            assert!(!is_like(text), "{text}");
        }
    }

    #[test]
    fn pieces_become_lines_and_lines_a_band_with_common_edges() {
        let lines = [
            seen("Genk", (10.0, 10.0), (50.0, 10.0), 14.0),
            seen("IDBEL592345678<98", (10.0, 100.0), (200.0, 100.0), 14.0),
            seen("15<<<<<", (210.0, 101.0), (300.0, 101.0), 14.0),
            seen("7801022M2807144BEL780102301237", (10.0, 125.0), (340.0, 125.0), 14.0),
            seen("DUPONT<<JEAN<PIER", (10.0, 150.0), (180.0, 150.0), 14.0),
        ];
        let found = find(&lines);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].lines.len(), 3);
        for line in &found[0].lines {
            let (left, right) = line.ends();
            assert!(left.0 < 10.0 && right.0 > 340.0, "{left:?} {right:?}");
        }
        assert!(find(&lines[..1]).is_empty());
    }
}
