//! How it stands with each mailbox that letters are fetched from, for whoever asks the server.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::source::Fault;
use crate::casebook::fetched::Place;

/// How it stands with one mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What the settings call it.
    pub name: String,
    /// Which mailbox it is.
    pub place: Place,
    /// When it was looked through last, in minutes since 1970; none if not since the start.
    pub polled: Option<u64>,
    /// What failed since.
    pub fault: Option<Fault>,
    /// Letters that are sealed and could not be deleted or moved.
    pub left: u64,
    /// What its server cannot do.
    pub remark: Option<Remark>,
}

/// What a server cannot do, and what that means for mails whose letters are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// It removes all mails that anybody marked as deleted, or none.
    OnlyTogether,
    /// And there are some that are no letters here, or it does not say which: nothing is removed.
    OthersMarked,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyTogether => {
                "its server has no UIDPLUS: sealed mails are removed only while nobody else marks \
                 mails as deleted there"
            }
            Self::OthersMarked => {
                "its server has no UIDPLUS, and others marked mails as deleted there, or it does not \
                 say which are: sealed mails are marked, too, and stay until no other is"
            }
        })
    }
}

/// How it stands with all mailboxes.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Vec<State>>);

impl Watch {
    /// Of mailboxes by name, and which each is.
    #[must_use]
    pub fn of(mailboxes: impl IntoIterator<Item = (String, Place)>) -> Self {
        let state =
            |(name, place)| State { name, place, polled: None, fault: None, left: 0, remark: None };
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

    /// Gives whether it is another remark than before.
    pub(super) fn remark(&self, name: &str, remark: Option<Remark>) -> bool {
        let mut is_new = false;
        self.note(name, |state| {
            is_new = state.remark != remark;
            state.remark = remark;
        });
        is_new
    }
}
