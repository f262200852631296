//! What the clock says is over, twice: nothing that cannot be undone hangs on one reading of it.
//!
//! A server's clock may be wrong for a moment, and the policy's time may be mistyped. So what is over has
//! to be seen so by two rounds that are really that far apart, by a clock that nobody sets; and where the
//! clock on the wall was set in between, all that was seen before counts for nothing. Pure: both clocks
//! are passed in. It is kept in memory alone, so that every start begins anew.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::ids::ItemId;

/// The least time, by a clock that nobody sets, between the first and the last round that see that the
/// time of something is over.
pub const SEEN_AGAIN: Duration = Duration::from_secs(30 * 60);
/// By so much the clock on the wall may go off from the other one, between two rounds and in all since
/// the first sight.
const MOST_SET: Duration = Duration::from_secs(60 * 60);

/// A round: what both clocks said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Seconds since 1970, by the clock on the wall.
    pub(super) wall: u64,
    /// Time since whenever, by the one that nobody sets.
    pub(super) steady: Duration,
}

impl Moment {
    /// By how much the clock on the wall was set since `before`.
    fn set_since(&self, before: &Self) -> Duration {
        let wall = i128::from(self.wall) - i128::from(before.wall);
        let steady = i128::from(self.steady.as_secs()) - i128::from(before.steady.as_secs());
        let by = (wall - steady).unsigned_abs();
        Duration::from_secs(u64::try_from(by).unwrap_or(u64::MAX))
    }
}

/// The clock on the wall was set: this round does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockSet {
    /// By how much.
    pub(super) by: Duration,
    /// Whether it is to be told: not if it was within the hour.
    pub(super) is_news: bool,
}

/// What earlier rounds saw.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    last: Option<Moment>,
    /// Since which round each is seen to be over by every one.
    seen: HashMap<ItemId, Moment>,
    /// When a set clock was told of last.
    told: Option<Duration>,
}

impl Overdue {
    /// Takes in the round `now`, which sees that the time of `over` is over; gives those of them that are
    /// surely so.
    pub(super) fn round(
        &mut self,
        now: Moment,
        over: &HashSet<ItemId>,
    ) -> Result<HashSet<ItemId>, ClockSet> {
        let by = self.last.replace(now).map_or(Duration::ZERO, |last| now.set_since(&last));
        if by > MOST_SET {
            self.seen.clear();
            let is_news = self.told.is_none_or(|told| now.steady.abs_diff(told) > MOST_SET);
            if is_news {
                self.told = Some(now.steady);
            }
            return Err(ClockSet { by, is_news });
        }
        self.seen.retain(|item, first| over.contains(item) && now.set_since(first) <= MOST_SET);
        for item in over {
            self.seen.entry(*item).or_insert(now);
        }
        let is_sure = |first: &Moment| now.steady.saturating_sub(first.steady) >= SEEN_AGAIN;
        Ok(self.seen.iter().filter(|(_, first)| is_sure(first)).map(|(item, _)| *item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const YEAR: u64 = 365 * 24 * HOUR;

    /// Rounds of one server, and the copy that they look at.
    struct Rounds {
        overdue: Overdue,
        item: ItemId,
    }

    impl Rounds {
        fn new() -> Self {
            Self { overdue: Overdue::default(), item: ItemId::random() }
        }

        /// Whether a round with these clocks, in seconds, forgets the copy that it sees is over; nothing
        /// if it does nothing at all.
        fn at(&mut self, wall: u64, steady: u64) -> Option<bool> {
            self.sees(wall, steady, true).ok()
        }

        fn sees(&mut self, wall: u64, steady: u64, is_over: bool) -> Result<bool, ClockSet> {
            let over = is_over.then_some(self.item).into_iter().collect();
            let now = Moment { wall: YEAR + wall, steady: Duration::from_secs(steady) };
            self.overdue.round(now, &over).map(|sure| sure.contains(&self.item))
        }
    }

    #[test]
    fn what_is_over_goes_once_two_rounds_half_an_hour_apart_say_so() {
        let mut rounds = Rounds::new();
        let said: Vec<_> =
            [0, 1, 15, 29, 30, 31].map(|at| rounds.at(at * MINUTE, at * MINUTE)).into();
        let [not, yes] = [Some(false), Some(true)];
        assert_eq!(said, [not, not, not, not, yes, yes]);
        // A start begins anew.
        assert_eq!(Rounds::new().at(YEAR, 99), not);
    }

    #[test]
    fn what_one_round_in_between_does_not_see_as_over_begins_again() {
        let mut rounds = Rounds::new();
        assert_eq!(rounds.at(0, 0), Some(false));
        // A longer time in the settings, a hold, the word that it is no copy.
        assert_eq!(rounds.sees(29 * MINUTE, 29 * MINUTE, false), Ok(false));
        assert_eq!(rounds.at(30 * MINUTE, 30 * MINUTE), Some(false));
        assert_eq!(rounds.at(59 * MINUTE, 59 * MINUTE), Some(false));
        assert_eq!(rounds.at(60 * MINUTE, 60 * MINUTE), Some(true));
    }

    #[test]
    fn a_clock_that_is_set_for_a_moment_makes_rounds_that_do_nothing_and_is_told_of_once() {
        let mut rounds = Rounds::new();
        assert_eq!(rounds.sees(0, 0, false), Ok(false));
        let told = |said: Result<bool, ClockSet>| said.map_err(|set| (set.by, set.is_news));
        let years = Duration::from_secs(70 * YEAR);
        assert_eq!(told(rounds.sees(70 * YEAR + 60, 60, true)), Err((years, true)));
        assert_eq!(told(rounds.sees(70 * YEAR + 120, 120, true)), Ok(false));
        assert_eq!(told(rounds.sees(180, 180, false)), Err((years, false)), "it was told already");
        assert_eq!(told(rounds.sees(HOUR, HOUR, false)), Ok(false));
        // Backwards is as odd, and later it is news again.
        let back = Duration::from_secs(2 * HOUR);
        assert_eq!(told(rounds.sees(60, 2 * HOUR + 60, true)), Err((back, true)));
    }

    #[test]
    fn what_was_seen_before_the_clock_was_set_counts_for_nothing() {
        let mut rounds = Rounds::new();
        assert_eq!(rounds.at(0, 0), Some(false));
        assert_eq!(rounds.at(2 * HOUR, MINUTE), None);
        assert_eq!(rounds.at(2 * HOUR + 30 * MINUTE, 31 * MINUTE), Some(false));
        assert_eq!(
            rounds.at(3 * HOUR, 61 * MINUTE),
            Some(true),
            "a wrong clock that stays is right"
        );
    }

    #[test]
    fn a_clock_that_creeps_away_round_by_round_is_one_that_is_set() {
        let mut rounds = Rounds::new();
        // Fifty minutes in each minute: no two rounds in a row are far enough apart.
        for round in 0..500 {
            assert_eq!(rounds.at(round * 51 * MINUTE, round * MINUTE), Some(false), "{round}");
        }
        // An hour that is put forward in summer is none that a clock in UTC knows; so much is borne.
        let mut rounds = Rounds::new();
        assert_eq!(rounds.at(0, 0), Some(false));
        assert_eq!(rounds.at(90 * MINUTE, 30 * MINUTE), Some(true));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_confirms_nothing() {
        let mut rounds = Rounds::new();
        assert_eq!(rounds.at(0, 5 * HOUR), Some(false));
        assert_eq!(rounds.at(0, 5 * HOUR), Some(false));
        assert_eq!(rounds.at(0, 5 * HOUR - 30 * MINUTE), Some(false));
        assert_eq!(rounds.at(u64::MAX - YEAR, 0), None);
        assert_eq!(rounds.at(0, u64::MAX), None);
    }
}
