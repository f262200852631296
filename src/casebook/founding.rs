//! The first entries of a vault: who may do what, the first epoch, the server's own keys.
//!
//! The staff side makes everything secret and hands over what is wrapped or public; here it is put
//! in place and entered. `kluis.toml` is written last: a directory without it is no vault.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::Error;
use crate::clock::Clock;
use crate::ids::{Digest, EpochId, SlotId, StaffId, VaultId};
use crate::keys::roster;
use crate::ledger::checkpoint;
use crate::ledger::entry::{CHECKPOINT_KEY, Entry, Fact, MESSAGE_ID_KEY};
use crate::secret::Secret;
use crate::store::{self, Batch, Store};

/// What the staff side made for a new vault; nothing of it is a secret in clear.
pub struct Foundation {
    /// The vault's id, which the signed files name.
    pub vault: VaultId,
    /// The admin's public key, as text: pinned.
    pub admin: String,
    /// The signed roster.
    pub roster: String,
    /// The signed note of epoch 1.
    pub epoch_note: String,
    /// `1.age`.
    pub epoch_file: Vec<u8>,
    /// The member whose key opened `1.age` in this very process; none if there was none.
    pub proven_by: Option<StaffId>,
    /// The signed note of the mailbox's first key.
    pub mailbox_note: String,
    /// The mailbox's wrapped OpenPGP secret.
    pub mailbox_file: Vec<u8>,
    /// The mailbox's certificate, armored.
    pub mailbox_certificate: String,
    /// `kluis.toml`.
    pub config: String,
}

/// Makes the state directory `dir` and the cabinet key's directory, and keeps back `reserve_bytes`
/// for a full disk if there is room; gives the public key that checkpoints are signed with.
///
/// # Errors
/// What the system or the store says. `dir` must be empty or absent.
pub fn lay(
    dir: &Path,
    cabinet_key: &Path,
    foundation: &Foundation,
    reserve_bytes: u64,
    clock: Clock,
) -> Result<String, Error> {
    let vault = foundation.vault;
    let store = Store::create(dir, cabinet_key, vault)?;
    // Now, where somebody waits anyway, and not at the first letter.
    store.keep_reserve(reserve_bytes);
    let own = || -> io::Result<()> {
        for folder in ["roster", "epochs", "mailbox"] {
            fs::DirBuilder::new().mode(0o700).create(dir.join(folder))?;
        }
        write_new(&dir.join("admin.pub"), foundation.admin.as_bytes())?;
        write_new(&dir.join("roster/1.note"), foundation.roster.as_bytes())?;
        write_new(&dir.join("epochs/1.age"), &foundation.epoch_file)?;
        write_new(&dir.join("epochs/1.note"), foundation.epoch_note.as_bytes())?;
        write_new(&dir.join("mailbox/1.age"), &foundation.mailbox_file)?;
        write_new(&dir.join("mailbox/1.note"), foundation.mailbox_note.as_bytes())?;
        write_new(&dir.join("mailbox/1.asc"), foundation.mailbox_certificate.as_bytes())?;
        write_new(&dir.join("mailbox.asc"), foundation.mailbox_certificate.as_bytes())
    };
    own().map_err(|source| store::Error::Io { what: "writing the keys' files", source })?;
    let signing = Secret::random();
    let public = checkpoint::public_key(signing.expose());
    store.commit(first_batch(foundation, clock, signing, public))?;
    let key = checkpoint::vkey(vault, &public);
    let last = || {
        write_new(&dir.join("checkpoint.pub"), format!("{key}\n").as_bytes())?;
        write_new(&dir.join("kluis.toml"), foundation.config.as_bytes())
    };
    last().map_err(|source| store::Error::Io { what: "writing kluis.toml", source })?;
    Ok(key)
}

fn first_batch(
    foundation: &Foundation,
    clock: Clock,
    signing: Secret<[u8; 32]>,
    public: [u8; 32],
) -> Batch {
    let now = clock.minutes();
    let epoch = Some(EpochId(1));
    let hash_of = |note: &str| Some(roster::digest(note));
    let message_id = Secret::<[u8; 32]>::random();
    let (signing_slot, message_slot) = (SlotId::random(), SlotId::random());
    let own_key = |number, slot, hash| Entry {
        count: Some(number),
        slot: Some(slot),
        hash: Some(hash),
        ..Entry::new(Fact::ServerKey, now)
    };
    let mut entries = vec![
        Entry::new(Fact::VaultCreated, now),
        Entry { hash: hash_of(&foundation.roster), ..Entry::new(Fact::RosterSigned, now) },
        Entry {
            epoch,
            hash: hash_of(&foundation.epoch_note),
            ..Entry::new(Fact::EpochSigned, now)
        },
        Entry {
            count: Some(1),
            hash: hash_of(&foundation.mailbox_note),
            ..Entry::new(Fact::MailboxSigned, now)
        },
        own_key(CHECKPOINT_KEY, signing_slot, Digest::new(public)),
        own_key(
            MESSAGE_ID_KEY,
            message_slot,
            Digest::new(*blake3::hash(message_id.expose()).as_bytes()),
        ),
    ];
    if foundation.proven_by.is_some() {
        let proven = Entry::new(Fact::EpochProven, now);
        entries.push(Entry { epoch, staff: foundation.proven_by, ..proven });
    }
    let keys = vec![(signing_slot, signing), (message_slot, message_id)];
    Batch { entries, keys, ..Batch::default() }
}

/// Writes a new file of mode 0600 and makes it and its directory entry durable.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}
