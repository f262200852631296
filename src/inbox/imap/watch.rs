//! How it stands with each mailbox that letters are fetched from, for whoever asks the server.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::source::Fault;
use crate::ids::Digest;

/// How it stands with one mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What the settings call it.
    pub name: String,
    /// What the ledger calls it.
    pub mailbox: Digest,
    /// When it was looked through last, in minutes since 1970; none if not since the start.
    pub polled: Option<u64>,
    /// What failed since.
    pub fault: Option<Fault>,
    /// Letters that are sealed and could not be deleted or moved.
    pub left: u64,
}

/// How it stands with all mailboxes.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Vec<State>>);

impl Watch {
    /// Of mailboxes by name, and as the ledger calls them.
    #[must_use]
    pub fn of(mailboxes: impl IntoIterator<Item = (String, Digest)>) -> Self {
        let state = |(name, mailbox)| State { name, mailbox, polled: None, fault: None, left: 0 };
        Self(Mutex::new(mailboxes.into_iter().map(state).collect()))
    }

    /// Of each, in the order of the settings.
    #[must_use]
    pub fn states(&self) -> Vec<State> {
        self.all().clone()
    }

    fn all(&self) -> MutexGuard<'_, Vec<State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, name: &str, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.all().iter_mut().find(|state| state.name == name) {
            change(state);
        }
    }

    pub(super) fn polled(&self, name: &str, minute: u64) {
        self.note(name, |state| (state.polled, state.fault) = (Some(minute), None));
    }

    pub(super) fn failed(&self, name: &str, fault: Fault) {
        self.note(name, |state| state.fault = Some(fault));
    }

    pub(super) fn left(&self, name: &str, left: u64) {
        self.note(name, |state| state.left = left);
    }
}
