//! Who is connected, so that somebody who is dropped from the roster can be cut off at once.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::ids::StaffId;

/// How long a change of the roster waits for the connections that it ends. They end at once, but for
/// a machine that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The open connections, by member.
pub struct Presence {
    connections: Mutex<HashMap<StaffId, usize>>,
    left: Condvar,
    changed: watch::Sender<()>,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            connections: Mutex::default(),
            left: Condvar::new(),
            changed: watch::Sender::new(()),
        }
    }
}

/// A member's connection, for as long as it lives.
pub(super) struct Present {
    presence: Arc<Presence>,
    staff: StaffId,
}

impl Presence {
    /// A member's connection begins. Each change of the roster after this is told to the receiver.
    pub(super) fn enter(self: &Arc<Self>, staff: StaffId) -> (Present, watch::Receiver<()>) {
        *self.lock().entry(staff).or_default() += 1;
        (Present { presence: Arc::clone(self), staff }, self.changed.subscribe())
    }

    /// Tells every connection to look into the roster again, and waits until those of `gone` have
    /// ended; but not for the one of `by` that this is asked on.
    pub(super) fn dismiss(&self, gone: &[StaffId], by: StaffId) {
        self.changed.send_replace(());
        let end = Instant::now() + PATIENCE;
        let mut connections = self.lock();
        while gone.iter().any(|staff| {
            connections.get(staff).is_some_and(|count| *count > usize::from(*staff == by))
        }) {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                tracing::error!("a connection of a member who was revoked does not end");
                return;
            };
            let waited = self.left.wait_timeout(connections, left);
            connections = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StaffId, usize>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut connections = self.presence.lock();
        if let Some(count) = connections.get_mut(&self.staff) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.staff);
            }
        }
        self.presence.left.notify_all();
    }
}
