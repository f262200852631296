//! The agent itself: one key, one socket, one client at a time.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};

use super::wire::{self, Report, Request, Timed};
use super::{Error, LONGEST_FILE, PATIENCE};
use crate::keys::staff::StaffKey;
use crate::keys::wrapped;
use crate::secret::clear_stack;
use crate::staff::home;

/// A listening agent. Dropping it removes the socket.
pub struct Agent {
    listener: UnixListener,
    /// `None` once the socket is removed: another agent may have made its own there since.
    socket: Option<PathBuf>,
}

impl Agent {
    /// Makes the socket, mode 0600, in a folder of this user's alone. One that a dead agent left
    /// behind is replaced.
    ///
    /// # Errors
    /// [`Error::Unlocked`] if an agent listens there already; [`Error::Home`] if others may enter
    /// the folder.
    pub fn listen(socket: &Path) -> Result<Self, Error> {
        let folder = socket.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        home::private(folder)?;
        // Two that start at once would each take the other's socket for a dead one's.
        let guard = File::open(folder)?;
        flock(&guard, FlockOperation::LockExclusive).map_err(io::Error::from)?;
        if UnixStream::connect(socket).is_ok() {
            return Err(Error::Unlocked);
        }
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(socket).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::Unlocked,
            _ => Error::Io(error),
        })?;
        let agent = Self { listener, socket: Some(socket.to_owned()) };
        fs::set_permissions(socket, Permissions::from_mode(0o600))?;
        agent.listener.set_nonblocking(true)?;
        Ok(agent)
    }

    /// Serves until it is told to lock or `life` is over.
    ///
    /// # Errors
    /// The system's, from waiting for clients. What a single client does wrong is its own loss.
    pub fn serve(mut self, key: &StaffKey, member: &str, life: Duration) -> io::Result<()> {
        let life = Life::new(life);
        while let Some(left) = life.left() {
            let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
            let wait = Timespec::try_from(left.min(SLICE)).map_err(io::Error::other)?;
            match poll(&mut fds, Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                ready => ready?,
            };
            let Ok((stream, _)) = self.listener.accept() else { continue };
            // Asked anew: after a sleep the time may be over since the wait began.
            let ends = life.left().is_some_and(|left| self.attend(&stream, key, member, left));
            clear_stack();
            if ends {
                break;
            }
        }
        Ok(())
    }

    /// Serves one client; `true` if it was told to lock.
    fn attend(
        &mut self,
        stream: &UnixStream,
        key: &StaffKey,
        member: &str,
        left: Duration,
    ) -> bool {
        if !wire::is_own_user(stream).unwrap_or(false) || stream.set_nonblocking(false).is_err() {
            return false;
        }
        let mut stream = Timed::new(stream, Instant::now() + PATIENCE.min(left));
        let Ok(frame) = wire::read(&mut stream) else { return false };
        let request = minicbor::decode(&frame);
        let message = match &request {
            Ok(Request::Unwrap(file)) if file.len() <= LONGEST_FILE => {
                wrapped::open(file, key).ok()
            }
            _ => None,
        };
        let report = match &request {
            Ok(Request::Unwrap(_)) => {
                message.as_ref().map_or(Report::NotForThisKey, |message| Report::Unwrapped(message))
            }
            Ok(Request::Status) => Report::Status(member, left.as_secs()),
            Ok(Request::Lock) => {
                self.unlink();
                Report::Locked
            }
            Err(_) => Report::Malformed,
        };
        // A client that went away has lost its answer and nothing else.
        let _ = wire::write(&mut stream, &report);
        matches!(request, Ok(Request::Lock))
    }

    fn unlink(&mut self) {
        if let Some(socket) = self.socket.take() {
            let _ = fs::remove_file(socket);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// The longest wait before the time is looked at again, so that a wake-up from sleep is noticed.
const SLICE: Duration = Duration::from_secs(5);

/// A span that began at the unlocking. Two clocks, the shorter rest counts: the monotonic one
/// stands still while the machine sleeps, the other may be set back.
struct Life {
    began: (Instant, SystemTime),
    whole: Duration,
}

impl Life {
    fn new(whole: Duration) -> Self {
        Self { began: (Instant::now(), SystemTime::now()), whole }
    }

    /// `None` when it is over.
    fn left(&self) -> Option<Duration> {
        let by_the_wall = self.began.1.elapsed().unwrap_or_default();
        let passed = self.began.0.elapsed().max(by_the_wall);
        self.whole.checked_sub(passed).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_slept_has_used_up_the_time() {
        let whole = Duration::from_secs(900);
        let mut life = Life::new(whole);
        assert!(life.left().is_some_and(|left| left > Duration::from_secs(890)));
        life.began.1 -= Duration::from_secs(901);
        assert_eq!(life.left(), None);
        life.began.1 += Duration::from_secs(100_000);
        assert!(life.left().is_some(), "a clock set back does not end it");
        let passed = Duration::from_secs(901);
        if let Some(earlier) = Instant::now().checked_sub(passed) {
            life.began.0 = earlier;
            assert_eq!(life.left(), None, "nor does it prolong it");
        }
    }
}
