//! The time, from the system, fixed, or as a simulation moves it.
//!
//! Deciding code never asks for the time; whoever calls it passes the reading of a `Clock` on. A
//! fixed clock makes a test's due dates the same on every day it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Where the time comes from.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// Always this many seconds after 1970-01-01T00:00:00Z.
    Fixed(u64),
    /// As many seconds after it as stand there: a simulation lives through weeks in a minute.
    Moved(&'static AtomicU64),
}

impl Clock {
    /// Seconds since 1970-01-01T00:00:00Z. A system clock before 1970 reads as 0.
    #[must_use]
    pub fn seconds(self) -> u64 {
        match self {
            Clock::System => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
            }
            Clock::Fixed(seconds) => seconds,
            Clock::Moved(seconds) => seconds.load(Ordering::Relaxed),
        }
    }

    /// What a clock that nobody sets says: time since whenever, that of sleep included. A simulation moves
    /// it with the other; beside a fixed time it goes on.
    #[must_use]
    pub fn steady(self) -> Duration {
        match self {
            Clock::System | Clock::Fixed(_) => {
                let time = clock_gettime(ClockId::Boottime);
                let part = |number: i64| u64::try_from(number).unwrap_or(0);
                Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
            }
            Clock::Moved(seconds) => Duration::from_secs(seconds.load(Ordering::Relaxed)),
        }
    }

    /// Whole minutes since 1970-01-01T00:00:00Z: the grain of the ledger (design: facts carry the
    /// minute, not the second).
    #[must_use]
    pub fn minutes(self) -> u64 {
        self.seconds() / 60
    }
}
