//! Keeps a member's key unlocked for a while, and lends its use to the same user's programs.
//!
//! `kluis unlock` starts the agent as a process of its own ([`spawn`], [`child`]); `kluis lock` or
//! the end of its time stops it. The key never leaves it: it unwraps challenges and wrapped secrets
//! ([`wrapped::open`]), of at most [`LONGEST_FILE`] bytes, and nothing else. It listens on a socket
//! of mode 0600 in a folder of mode 0700 and asks the kernel who is at the other end.
//!
//! The time counts from the unlocking, not from the last use, and sleeping counts too.

mod process;
mod serve;
mod wire;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

pub use process::{Plan, child, spawn};
pub use serve::Agent;

use crate::ids::VaultId;
use crate::keys::epoch::EpochSecret;
use crate::keys::staff::StaffKey;
use crate::keys::{NotForThisKey, UnlockError, challenge, wrapped};
use crate::staff::home::HomeError;
use wire::{Report, Request, Timed};

/// The longest age file that is unwrapped, in bytes.
pub const LONGEST_FILE: usize = 1 << 20;
/// How long a client waits for the agent; it serves one at a time, each for at most [`PATIENCE`].
const WAIT: Duration = Duration::from_secs(30);
/// How long the agent bears with one client.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the agent did not help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No agent runs.
    #[error("the key is locked")]
    Locked,
    /// One runs already.
    #[error("the key is unlocked already")]
    Unlocked,
    /// The key did not unlock.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// The key does not open the file, or the file is nothing that the agent opens.
    #[error(transparent)]
    NotForThisKey(#[from] NotForThisKey),
    /// Somebody else is at the other end of the socket.
    #[error("the socket is another user's")]
    OtherUser,
    /// The socket's folder is not this user's alone.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The other end did not speak as an agent does.
    #[error("that is no agent of this version")]
    Malformed,
    /// The system refused.
    #[error("the agent's socket: {0}")]
    Io(#[from] io::Error),
}

/// What an agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whose key it holds, by the name in the roster.
    pub member: String,
    /// Whole seconds until it ends itself.
    pub seconds_left: u64,
}

/// A running agent, seen from a program of the same user. Each request is a connection of its own.
pub struct AgentClient {
    socket: PathBuf,
}

impl AgentClient {
    /// Finds the agent of that socket.
    ///
    /// # Errors
    /// [`Error::Locked`] if none runs.
    pub fn find(socket: &Path) -> Result<Self, Error> {
        let client = Self { socket: socket.to_owned() };
        client.status()?;
        Ok(client)
    }

    /// Whose key it holds, and for how long.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn status(&self) -> Result<Status, Error> {
        self.ask(&Request::Status, |report| match report {
            Report::Status(member, seconds_left) => {
                Ok(Status { member: member.to_owned(), seconds_left })
            }
            _ => Err(Error::Malformed),
        })
    }

    /// Unwraps a challenge or a wrapped secret.
    ///
    /// # Errors
    /// [`Error::NotForThisKey`], also for a file that is longer or something else.
    pub fn unwrap(&self, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        if file.len() > LONGEST_FILE {
            return Err(NotForThisKey.into());
        }
        self.ask(&Request::Unwrap(file), |report| match report {
            Report::Unwrapped(message) => Ok(Zeroizing::new(message.to_vec())),
            Report::NotForThisKey => Err(NotForThisKey.into()),
            _ => Err(Error::Malformed),
        })
    }

    /// Ends the agent. When this returns, its socket is gone.
    ///
    /// # Errors
    /// [`Error::Locked`] if none ran.
    pub fn lock(self) -> Result<(), Error> {
        self.ask(&Request::Lock, |report| match report {
            Report::Locked => Ok(()),
            _ => Err(Error::Malformed),
        })
    }

    fn ask<T>(
        &self,
        request: &Request<'_>,
        read: impl FnOnce(Report<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let stream = UnixStream::connect(&self.socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::Locked,
            _ => Error::Io(error),
        })?;
        if !wire::is_own_user(&stream)? {
            return Err(Error::OtherUser);
        }
        let mut stream = Timed::new(&stream, Instant::now() + WAIT);
        wire::write(&mut stream, request)?;
        let frame = wire::read(&mut stream)?;
        read(minicbor::decode(&frame).map_err(|_| Error::Malformed)?)
    }
}

/// What opens files for a member: the agent, or the key itself where a program unlocked it alone.
pub enum Opener {
    /// A running agent.
    Agent(AgentClient),
    /// The key.
    Key(StaffKey),
}

impl Opener {
    /// Unwraps a challenge or a wrapped secret.
    ///
    /// # Errors
    /// [`Error::NotForThisKey`], also for a file that is something else.
    pub fn unwrap(&mut self, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self {
            Opener::Agent(agent) => agent.unwrap(file),
            Opener::Key(key) => Ok(wrapped::open(file, key)?),
        }
    }

    /// Answers a log-in challenge.
    ///
    /// # Errors
    /// [`Error::NotForThisKey`], also for a challenge of another vault or connection.
    pub fn answer(
        &mut self,
        challenge: &[u8],
        vault: VaultId,
        nonce: &[u8; 16],
        member: &str,
    ) -> Result<[u8; 32], Error> {
        let message = self.unwrap(challenge)?;
        Ok(challenge::answer(&message, vault, nonce, member).ok_or(NotForThisKey)?)
    }

    /// Unwraps an epoch's secret from its `<n>.age`.
    ///
    /// # Errors
    /// [`Error::NotForThisKey`].
    pub fn unwrap_epoch(&mut self, file: &[u8]) -> Result<EpochSecret, Error> {
        Ok(wrapped::epoch_in(&self.unwrap(file)?)?)
    }

    /// Unwraps another secret.
    ///
    /// # Errors
    /// [`Error::NotForThisKey`].
    pub fn unwrap_secret(
        &mut self,
        kind: wrapped::Kind,
        file: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        Ok(wrapped::secret_in(kind, &self.unwrap(file)?)?)
    }
}
