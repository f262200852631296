//! Pauses between tries: each about twice the one before, up to a longest, and none quite as long as
//! it says, so that many who were cut off at once do not come back at once.

use std::time::Duration;

/// The pauses of one row of tries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        let first = first.min(longest);
        Self { first, longest, next: first }
    }

    /// The next pause, a quarter longer or shorter at random.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        about(pause)
    }

    /// Begins with the first again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// What counts as long enough that nothing is in a row.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }
}

fn about(pause: Duration) -> Duration {
    let mut byte = [0];
    getrandom::fill(&mut byte).expect("the kernel gives randomness");
    pause * 3 / 4 + pause * u32::from(byte[0]) / 510
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let (first, longest) = (Duration::from_secs(2), Duration::from_secs(30));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let mut pauses = Pauses::new(first, longest);
            for about in [2, 4, 8, 16, 30, 30] {
                let pause = pauses.next().as_secs_f64() / f64::from(about);
                assert!((0.75..=1.25).contains(&pause), "{pause}");
                seen.insert((pause * 1000.0) as u32);
            }
            pauses.reset();
            assert!(pauses.next() <= first * 5 / 4);
        }
        assert!(seen.len() > 50, "they differ: {}", seen.len());
        assert_eq!(Pauses::new(longest, first).longest(), first);
    }
}
