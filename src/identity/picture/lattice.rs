//! A line of a known length: which signs, of those that may stand at each place, fit best with all
//! that the recogniser heard.
//!
//! Ordinary decoding takes the best letter of each step and cannot count: of a run of fillers it
//! drops some. Here the number of signs is given, and what each place may hold; the best path
//! through all steps with just that many signs is found by dynamic programming, exactly.

use super::recognise::SIGNS;

/// Which signs may stand at a place: a bit for each of [`SIGNS`].
pub type Allowed = u64;
/// 0 to 9.
pub const DIGITS: Allowed = (1 << 10) - 1;
/// A to Z.
pub const LETTERS: Allowed = ((1 << 26) - 1) << 10;
/// `<`.
pub const FILLER: Allowed = 1 << 36;
/// Any of them.
pub const ANY: Allowed = DIGITS | LETTERS | FILLER;

/// The signs of the class `none` comes behind.
const NONE: usize = SIGNS.len();
/// No path.
const NEVER: f32 = f32::MIN / 4.0;

/// A line that was settled.
#[derive(Clone)]
pub struct Settled {
    /// Its signs.
    pub text: String,
    /// The logarithm of how probable the whole path is, by the number of steps.
    pub score: f32,
    /// For each place, what each sign would cost there instead: the difference of logarithms, 0 for
    /// the one that was taken.
    pub costs: Vec<[f32; 37]>,
}

impl Settled {
    /// How sure the least sure place of these is: the cost of what comes next there.
    #[must_use]
    pub fn least_margin(&self, places: std::ops::Range<usize>) -> f32 {
        let margin = |costs: &[f32; 37]| {
            costs.iter().copied().filter(|cost| *cost > 0.0).fold(f32::MAX, f32::min)
        };
        self.costs[places].iter().map(margin).fold(f32::MAX, f32::min)
    }
}

/// Where a state came from.
#[derive(Clone, Copy)]
enum From {
    Stay,
    Gap,
    Sign(u8),
}

/// The best line with exactly as many signs as there are places. `None` if there are too few steps.
#[must_use]
pub fn settle(steps: &[[f32; 38]], places: &[Allowed]) -> Option<Settled> {
    let (count, signs) = (places.len(), SIGNS.len());
    if count == 0 || steps.len() < count {
        return None;
    }
    // on[n][c]: n signs so far, the last of them c, and still on it; gap[n]: n signs and none since.
    let mut on = vec![[NEVER; 37]; count + 1];
    let mut gap = vec![NEVER; count + 1];
    gap[0] = 0.0;
    let mut of_on = vec![From::Stay; steps.len() * (count + 1) * signs];
    // The sign that was left for a gap, or none if it was one before.
    let mut of_gap = vec![None::<u8>; steps.len() * (count + 1)];
    for (at, step) in steps.iter().enumerate() {
        let best: Vec<[(f32, u8); 2]> = on.iter().map(two_best).collect();
        let (first, last) = (count.saturating_sub(steps.len() - at), (at + 1).min(count));
        for n in (first..=last).rev() {
            let row = (at * (count + 1) + n) * signs;
            let left = best[n][0];
            if n > 0 {
                let before = best[n - 1];
                for sign in 0..signs {
                    if places[n - 1] & (1 << sign) == 0 {
                        on[n][sign] = NEVER;
                        continue;
                    }
                    let other =
                        if usize::from(before[0].1) == sign { before[1] } else { before[0] };
                    let (mut value, mut from) = (on[n][sign], From::Stay);
                    if gap[n - 1] > value {
                        (value, from) = (gap[n - 1], From::Gap);
                    }
                    if other.0 > value {
                        (value, from) = (other.0, From::Sign(other.1));
                    }
                    on[n][sign] = value + step[sign];
                    of_on[row + sign] = from;
                }
            }
            // What was on a sign before this step may leave it now; `best` is of before.
            let (value, from) =
                if left.0 > gap[n] { (left.0, Some(left.1)) } else { (gap[n], None) };
            gap[n] = value + step[NONE];
            of_gap[at * (count + 1) + n] = from;
        }
    }
    let (value, sign) = two_best(&on[count])[0];
    let ends_on = value > gap[count];
    let score = value.max(gap[count]);
    if score <= NEVER {
        return None;
    }
    // Back along the path: the steps of each sign.
    let mut n = count;
    let mut sign = ends_on.then_some(sign);
    let mut taken = vec![(0u8, 0usize, 0usize); count];
    for at in (0..steps.len()).rev() {
        match sign {
            Some(is) => {
                let place = &mut taken[n - 1];
                if place.2 == 0 {
                    *place = (is, at, at + 1);
                }
                place.1 = at;
                match of_on[(at * (count + 1) + n) * signs + usize::from(is)] {
                    From::Stay => {}
                    From::Gap => {
                        n -= 1;
                        sign = None;
                    }
                    From::Sign(other) => {
                        n -= 1;
                        sign = (n > 0).then_some(other);
                    }
                }
            }
            None => sign = of_gap[at * (count + 1) + n],
        }
    }
    let costs = taken.iter().map(|(is, from, to)| costs(&steps[*from..*to], *is)).collect();
    let text = taken.iter().map(|(sign, ..)| char::from(SIGNS[usize::from(*sign)])).collect();
    Some(Settled { text, score: score / steps.len() as f32, costs })
}

/// What each sign would cost over the steps of the one that was taken: at the best of them.
fn costs(steps: &[[f32; 38]], taken: u8) -> [f32; 37] {
    let most = |sign: usize| steps.iter().map(|step| step[sign]).fold(f32::MIN, f32::max);
    let is = most(usize::from(taken));
    std::array::from_fn(
        |sign| if sign == usize::from(taken) { 0.0 } else { (is - most(sign)).max(0.01) },
    )
}

fn two_best(values: &[f32; 37]) -> [(f32, u8); 2] {
    let mut best = [(NEVER, 0u8), (NEVER, 0u8)];
    for (sign, value) in values.iter().enumerate() {
        if *value > best[0].0 {
            best = [(*value, sign as u8), best[0]];
        } else if *value > best[1].0 {
            best[1] = (*value, sign as u8);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(letter: u8) -> usize {
        SIGNS.iter().position(|sign| *sign == letter).expect("is one")
    }

    /// Steps at which these are heard, `.` for none, each with nine chances of ten.
    fn heard(text: &str) -> Vec<[f32; 38]> {
        text.bytes()
            .map(|letter| {
                let mut step = [(0.1f32 / 37.0).ln(); 38];
                step[if letter == b'.' { NONE } else { sign(letter) }] = 0.9f32.ln();
                step
            })
            .collect()
    }

    #[test]
    fn a_run_of_fillers_has_as_many_as_are_asked_for() {
        let steps = heard("A..B<<<<.<<");
        for (count, wanted) in [(4, "AB<<"), (5, "AB<<<"), (6, "AB<<<<")] {
            let mut places = vec![FILLER; count];
            places[..2].fill(LETTERS);
            let settled = settle(&steps, &places).expect("fits");
            assert_eq!(settled.text, wanted, "{count}");
        }
        assert!(settle(&steps, &[ANY; 12]).is_none(), "more signs than steps");
    }

    #[test]
    fn the_same_sign_twice_needs_a_gap_and_a_place_holds_what_it_may() {
        assert_eq!(settle(&heard("..A.A."), &[ANY; 2]).expect("fits").text, "AA");
        assert_eq!(settle(&heard("AABB"), &[ANY; 2]).expect("fits").text, "AB");
        let mut steps = heard("O.S");
        steps[0][sign(b'0')] = 0.05f32.ln();
        steps[2][sign(b'5')] = 0.05f32.ln();
        let settled = settle(&steps, &[DIGITS, LETTERS]).expect("fits");
        assert_eq!(settled.text, "0S");
        let cost = settled.costs[0][sign(b'O')];
        assert!(cost <= 0.01, "the other was heard better: {cost}");
        assert!(settled.least_margin(1..2) > 1.0);
    }
}
