//! A backup of the vault that is served, and how the server is asked for it.
//!
//! A connection that opens with [`Request::Backup`](super::protocol::Request::Backup) from the user
//! that this process runs as is told how far the backup is, and in the end what it did. It ends with
//! the connection: the next one goes on. What is copied, and in which order, is in `upkeep::backup`.

use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use minicbor::{Decode, Encode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::import::wire;
use super::protocol::frame;
use super::socket::Desk;
use super::{Casebook, Error, blocking};
use crate::keys::roster::Roster;
use crate::store;
use crate::upkeep::backup::{self, Progress, Summary, Vault};

/// What the server answers, one message after the other.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Said {
    /// How far it is.
    #[n(0)]
    Progress {
        /// Bytes done.
        #[n(0)]
        done: u64,
        /// Of how many.
        #[n(1)]
        total: u64,
    },
    /// It is made, or would be.
    #[n(1)]
    Done {
        /// What it did.
        #[n(0)]
        summary: Summary,
    },
    /// It was not made.
    #[n(2)]
    Refused {
        /// One sentence without content.
        #[n(0)]
        why: String,
        /// It may go better later.
        #[n(1)]
        later: bool,
    },
}

/// Time to take one message.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// Between two messages about how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);

impl Casebook {
    /// Copies what is new of the vault to `dest`; nothing is swept meanwhile. With `is_dry` only says
    /// what would be copied.
    ///
    /// # Errors
    /// `Copying` if a backup is at work; `Upkeep` with what is wrong with `dest`; what the store says.
    pub fn back_up(
        &self,
        (dir, cabinet_key, roster): (&Path, &Path, &Roster),
        dest: &Path,
        is_dry: bool,
        progress: Progress<'_>,
    ) -> Result<Summary, Error> {
        let Ok(_copying) = self.copying.try_lock() else { return Err(Error::Copying) };
        let vault = Vault { store: &self.store, dir, cabinet_key, roster };
        let plan = backup::plan(&vault, dest, is_dry)?;
        if is_dry {
            return Ok(plan.summary().clone());
        }
        let goes_on = |done, total| !self.stopping.load(Ordering::Relaxed) && progress(done, total);
        let summary = backup::apply(&vault, &plan, self.clock.minutes(), &goes_on)?;
        self.take_in(self.store.size(), Vec::new())?;
        Ok(summary)
    }
}

/// Copies the vault of this desk.
pub(crate) fn of(
    desk: &Desk,
    dest: &Path,
    is_dry: bool,
    progress: Progress<'_>,
) -> Result<Summary, Error> {
    let roster = desk.roster.read().expect("no holder panics").clone();
    let place = (desk.dir.as_path(), desk.cabinet_key.as_path(), &roster);
    desk.casebook.back_up(place, dest, is_dry, progress)
}

/// Serves a connection that asks for a backup.
pub(super) async fn serve(
    stream: &mut UnixStream,
    desk: &Arc<Desk>,
    dest: Vec<u8>,
    is_dry: bool,
) -> io::Result<()> {
    if !wire::is_same_user(stream) {
        tracing::warn!("another user asked for a backup");
        let why = "only the user that the server runs as may make a backup".into();
        return write(stream, &Said::Refused { why, later: false }).await;
    }
    let dest = PathBuf::from(std::ffi::OsString::from_vec(dest));
    if !dest.is_absolute() {
        let why = "the folder of a backup must be an absolute path".into();
        return write(stream, &Said::Refused { why, later: false }).await;
    }
    let (tell, mut told) = mpsc::channel(1);
    let here = Arc::clone(desk);
    let work = tokio::spawn(blocking(move || {
        let last = Mutex::new(None::<Instant>);
        let progress = |done, total| {
            let mut last = super::lock(&last);
            if last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
                *last = Some(Instant::now());
                let _ = tell.try_send((done, total));
            }
            !tell.is_closed()
        };
        of(&here, &dest, is_dry, &progress)
    }));
    while let Some((done, total)) = told.recv().await {
        write(stream, &Said::Progress { done, total }).await?;
    }
    let said = match work.await {
        Ok(Ok(summary)) => {
            if !is_dry {
                tracing::info!(packs = summary.packs, bytes = summary.bytes, "a backup was made");
            }
            Said::Done { summary }
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "a backup was not made");
            refused(&error)
        }
        Err(_) => Said::Refused { why: "the backup ended in a panic".into(), later: false },
    };
    write(stream, &said).await
}

fn refused(error: &Error) -> Said {
    let later = matches!(
        error,
        Error::Copying
            | Error::Upkeep(crate::upkeep::Error::Busy(_) | crate::upkeep::Error::Stopped)
            | Error::Store(store::Error::Full | store::Error::Dead)
    );
    Said::Refused { why: error.to_string(), later }
}

async fn write(stream: &mut UnixStream, said: &Said) -> io::Result<()> {
    let frame = frame(said)?;
    let written = tokio::time::timeout(WRITE_TIME, stream.write_all(&frame));
    written.await.map_err(|_| io::ErrorKind::TimedOut)?
}
