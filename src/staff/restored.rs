//! A server whose ledger lacks what this member saw, because its vault was restored from a backup.
//!
//! It cannot prove that its ledger extends what was seen: what came after the backup is gone. Whether
//! that is so, a person decides; what the ledger says of it is shown, and must say so at all. A server
//! that was rolled back without a restore says nothing of the kind.

use std::path::{Path, PathBuf};

use super::agent::Opener;
use super::client::{Client, Error};
use super::seen::{Newest, Seen};
use crate::ledger::{self, Entry, Fact, checkpoint};

/// What a restore left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The first entry that is gone: where the ledger says that it was restored.
    pub from: u64,
    /// Entries there were when this member saw the ledger last.
    pub to: u64,
    /// When it was restored, in minutes since 1970.
    pub minute: u64,
    /// Up to which entry of the lost ledger it is known what was forgotten; none if a person stated that
    /// nothing was.
    pub known_to: Option<u64>,
    /// The version of the newest roster that this member knew of; 0 if of none. The restored vault may
    /// have an older one, in which who was revoked since stands again.
    pub roster: u32,
    /// Where that roster is kept, signed.
    pub roster_file: PathBuf,
    /// The admin key was handed over since: the one before counts again.
    pub admin_is_back: bool,
}

impl Client {
    /// Accepts a restored server, and remembers its ledger from now on. Gives nothing if there is nothing
    /// to accept.
    ///
    /// # Errors
    /// `Forked` if its ledger does not say that the vault was restored from a backup that is older than
    /// what this member saw, or is not signed with the key that is pinned.
    pub fn accept_restored(
        socket: &Path,
        member: &str,
        opener: Opener,
        seen: &Seen,
    ) -> Result<Option<Gone>, Error> {
        let (mut client, _) = Self::log_in(socket, member, opener, Some(&seen.of_restored()))?;
        let known = seen.newest(client.vault)?;
        let last = seen.last(client.vault)?.ok_or(Error::Forked)?;
        let admin_is_back = seen.is_back(client.vault, &client.admins)?;
        let is_forked = match client.compare(seen) {
            Ok(()) => false,
            Err(Error::Forked) => true,
            Err(error) => return Err(error),
        };
        // A session that was open while the backup was made knows what was signed after it.
        let is_older = client.is_older(&known)?;
        if !is_forked && !is_older && !admin_is_back {
            return Ok(None);
        }
        let (entries, note) = client.ledger()?;
        let (_, public) =
            checkpoint::parse_vkey(&client.checkpoint_key).map_err(|_| Error::Forked)?;
        let leaves = entries.iter().map(Vec::as_slice);
        let whole = ledger::audit(leaves, &note, None, &public).map_err(|_| Error::Forked)?;
        let covered = usize::try_from(whole.covered).unwrap_or(usize::MAX);
        let mut read =
            entries.iter().take(covered).filter_map(|bytes| Entry::from_bytes(bytes).ok());
        let restored = read.rfind(|entry| entry.kind == Fact::Restored);
        // What was seen must have come after the backup: else the two had the same beginning.
        let fits = |entry: &Entry| !is_forked || entry.seq < last.size;
        let restored = restored.filter(fits).ok_or(Error::Forked)?;
        // Signed files may be those of the backup, too.
        seen.remember(client.vault, &Newest::default())?;
        seen.accept(client.vault, &client.checkpoint_key, &note)?;
        if admin_is_back {
            seen.go_back(client.vault, &client.admins)?;
        }
        Ok(Some(Gone {
            from: restored.seq,
            to: last.size.max(restored.seq),
            minute: restored.minute,
            known_to: restored.count.and(restored.position),
            roster: known.roster.map_or(0, |(version, _)| version),
            roster_file: seen.roster_file(client.vault),
            admin_is_back,
        }))
    }

    /// Whether the server offers an older roster or epoch than this member knows of.
    fn is_older(&mut self, known: &Newest) -> Result<bool, Error> {
        let epoch = self.sealing().map_or(known.epoch, |(epoch, _)| epoch.0);
        match self.roster() {
            Ok(_) => Ok(epoch < known.epoch),
            Err(Error::Older(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}
