//! Who is connected, so that somebody who is dropped from the roster can be cut off at once.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::ids::StaffId;

/// How long a change of the roster waits for the connections that it ends. They end at once, but for
/// a machine that hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections of one member at a time: nobody keeps the others out.
const MAX_OF_ONE: usize = 16;

/// The open connections, by member.
pub struct Presence {
    connections: Mutex<Connections>,
    left: Condvar,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Connections {
    /// How often the roster has changed.
    changes: u64,
    /// By member, and how often it had changed when they came.
    open: HashMap<(StaffId, u64), usize>,
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
    key: (StaffId, u64),
}

impl Presence {
    /// A member's connection begins, unless there are too many of them. Each change of the roster
    /// after this is told to the receiver.
    pub(super) fn enter(
        self: &Arc<Self>,
        staff: StaffId,
    ) -> Option<(Present, watch::Receiver<()>)> {
        let mut connections = self.lock();
        let open = connections.open.iter().filter(|((known, _), _)| *known == staff);
        if open.map(|(_, count)| count).sum::<usize>() >= MAX_OF_ONE {
            return None;
        }
        let key = (staff, connections.changes);
        *connections.open.entry(key).or_default() += 1;
        Some((Present { presence: Arc::clone(self), key }, self.changed.subscribe()))
    }

    /// Tells every connection to look into the roster again, and waits until those of `gone` that
    /// were there have ended; but not for the one of `by` that this is asked on.
    pub(super) fn dismiss(&self, gone: &[StaffId], by: StaffId) {
        let mut connections = self.lock();
        connections.changes += 1;
        let changes = connections.changes;
        self.changed.send_replace(());
        let end = Instant::now() + PATIENCE;
        let stays = |connections: &Connections, staff: &StaffId| {
            let before =
                connections.open.iter().filter(|((known, at), _)| known == staff && *at < changes);
            before.map(|(_, count)| count).sum::<usize>() > usize::from(*staff == by)
        };
        while gone.iter().any(|staff| stays(&connections, staff)) {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                tracing::error!("a connection of a member who was revoked does not end");
                return;
            };
            let waited = self.left.wait_timeout(connections, left);
            connections = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut connections = self.presence.lock();
        if let Some(count) = connections.open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                connections.open.remove(&self.key);
            }
        }
        self.presence.left.notify_all();
    }
}
