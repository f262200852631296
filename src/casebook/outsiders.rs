//! What outsiders keep for us: the signed head of the ledger, and the signed list of the keys that
//! were dropped since (design §6, §7).
//!
//! When the next one is due is a fold over the ledger, so that a restart neither forgets nor repeats
//! one. How it is mailed is the business of `reply::checkpoint` and the gateway.

use super::state::Sent;
use super::{Casebook, Error};
use crate::ids::SlotId;
use crate::ledger::entry::{CHECKPOINT_KEY, Entry, Fact};
use crate::ledger::erasures::{self, Erasures};

/// Minutes from one to the next, if nothing was forgotten.
const DAILY: u64 = 24 * 60;
/// Minutes from one to the next, if something was.
const HOURLY: u64 = 60;
/// Erasure notes in one mail, at most; what was dropped beyond them goes with the next.
const MOST_NOTES: usize = 8;
/// Entries looked through at a time.
const AT_ONCE: usize = 16 * 1024;

/// What is sent: public by what it is made of, signed numbers and hashes. Nothing but the casebook
/// makes one, and it makes it of nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    checkpoint: String,
    erasures: Vec<String>,
    dropped: u64,
    size: u64,
    from: u64,
    told: u64,
}

impl Dispatch {
    /// The signed head.
    #[must_use]
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// Entries that it covers.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The signed lists of keys that were dropped; they follow one another.
    #[must_use]
    pub fn erasures(&self) -> &[String] {
        &self.erasures
    }

    /// How many keys those name.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The entries that they look through: the first, and the first that they do not.
    #[must_use]
    pub fn looked_through(&self) -> (u64, u64) {
        (self.from, self.told)
    }
}

impl Casebook {
    /// Whether outsiders are to be sent something: once a day, and within the hour after something was
    /// forgotten. A clock that was set back by more than a day holds nothing up.
    #[must_use]
    pub fn dispatch_is_due(&self) -> bool {
        let now = self.clock.minutes();
        let state = self.state();
        let Some(Sent { minute, seen, .. }) = state.sent else { return true };
        let has_erased = state.erased > seen;
        let pause = if has_erased { HOURLY } else { DAILY };
        now >= minute.saturating_add(pause) || minute > now.saturating_add(DAILY)
    }

    /// What is to be sent now.
    ///
    /// # Errors
    /// What the store says.
    pub fn dispatch(&self) -> Result<Dispatch, Error> {
        let from = self.state().told;
        let (checkpoint, size) = self.checkpoint()?;
        let seed = self.server_key(CHECKPOINT_KEY)?;
        let notes = self.erasures(from, size)?;
        let dropped = notes.iter().map(|note| note.slots.len() as u64).sum();
        let told = notes.last().map_or(from, |note| note.to);
        let erasures = notes.iter().map(|note| note.sign(seed.expose())).collect();
        Ok(Dispatch { checkpoint, erasures, dropped, size, from, told })
    }

    /// The keys of what the entries `from..size` forgot, in one note or more, of which only so many
    /// are made. A key that a box had before it was sealed anew goes with it: an older backup holds
    /// that one. What was sealed anew and not forgotten keeps its older key there.
    ///
    /// # Errors
    /// What the store says.
    pub fn erasures(&self, from: u64, size: u64) -> Result<Vec<Erasures>, Error> {
        let empty = |from| Erasures { vault: self.vault, from, to: from, slots: Vec::new() };
        let mut notes = Vec::new();
        let mut note = empty(from);
        while note.to < size && notes.len() < MOST_NOTES {
            let most = usize::try_from(size - note.to).unwrap_or(AT_ONCE).min(AT_ONCE);
            let entries = self.store.entries(note.to, most)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let slots = self.forgotten_by(&entry);
                if note.slots.len() + slots.len() > erasures::MOST {
                    let next = empty(note.to);
                    notes.push(std::mem::replace(&mut note, next));
                }
                note.slots.extend(slots);
                note.to = entry.seq + 1;
            }
        }
        notes.push(note);
        notes.truncate(MOST_NOTES);
        Ok(notes)
    }

    fn forgotten_by(&self, entry: &Entry) -> Vec<SlotId> {
        let Some(slot) = entry.slot.filter(|_| entry.kind == Fact::Forgotten) else {
            return Vec::new();
        };
        std::iter::once(slot).chain(self.state().older_slots(slot)).collect()
    }

    /// Notes that so many outsiders took it. Only when `all` did does the next one begin where this
    /// one ended.
    ///
    /// # Errors
    /// What the store says.
    pub fn dispatched(&self, dispatch: &Dispatch, takers: u64, all: bool) -> Result<(), Error> {
        let told = if all { dispatch.told } else { dispatch.from };
        let entry =
            Entry { count: Some(takers), position: Some(told), ..self.entry(Fact::CheckpointSent) };
        self.record_fact(entry).map(drop)
    }
}
