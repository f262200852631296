//! When the vault gives room back, and by whose order: nightly by itself, or an admin asks.

use std::sync::atomic::Ordering;

use super::state::SweepRecord;
use super::{Casebook, Error};
use crate::upkeep::sweep::{self, Summary, WAIT};

/// Minutes from one sweep, or from a try, to the next.
const EVERY: u64 = 24 * 60;

impl Casebook {
    /// Whether the next step of a sweep is due: a second look once the first is old enough, a first
    /// one a day after the last if anything happened since. One that could not be done is tried
    /// again a day later.
    #[must_use]
    pub fn sweep_is_due(&self) -> bool {
        // Held: one is under way.
        let Ok(tried) = self.sweep_tried.try_lock() else { return false };
        if self.copying.try_lock().is_err() {
            return false;
        }
        let now = self.clock.minutes();
        if tried.is_some_and(|minute| now < minute + EVERY) {
            return false;
        }
        let state = self.state();
        match state.sweep {
            None => state.founded.is_some_and(|minute| now >= minute + EVERY),
            Some(SweepRecord { minute, waits: true, .. }) => now.min(state.last) >= minute + WAIT,
            Some(SweepRecord { minute, seq, .. }) => {
                now >= minute + EVERY && state.position() > seq + 1
            }
        }
    }

    /// Takes the next step of a sweep, or says what it would be.
    ///
    /// # Errors
    /// `Upkeep` if a box that was not forgotten does not open: nothing is removed then. What the
    /// store says. `Copying` while a backup is at work, which reads what a sweep would remove.
    pub fn sweep(&self, is_dry: bool) -> Result<Summary, Error> {
        let Ok(_copying) = self.copying.try_lock() else { return Err(Error::Copying) };
        let mut tried = super::lock(&self.sweep_tried);
        let minute = self.clock.minutes();
        let goes_on = |_, _| !self.stopping.load(Ordering::Relaxed);
        let plan = sweep::plan(&self.store, minute, &goes_on);
        if is_dry {
            return Ok(Summary::of(&plan?));
        }
        *tried = Some(minute);
        let done = sweep::apply(&self.store, &plan?, minute, &goes_on)?;
        self.take_in(self.store.size(), Vec::new())?;
        Ok(done)
    }

    /// Has a sweep that is under way stop at its next step: what it removed stays removed.
    pub fn stop_sweep(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
