//! What this member knows of a vault: the checkpoint seen last and the keys it was met with.
//!
//! A server that was rolled back or forked cannot prove that its ledger extends the checkpoint, and
//! then nothing is opened. The key that checkpoints are signed with and the admin's key are pinned
//! when a vault is first met, in the member's own directory; `kluis whoami` shows the first, to be
//! compared with what the admin was shown at `init`.

use std::io;
use std::path::{Path, PathBuf};

use super::client::Error;
use crate::ids::{Digest, VaultId};
use crate::keys::admins::Admins;
use crate::keys::file;
use crate::keys::note::Vkey;
use crate::ledger::checkpoint::{self, Checkpoint};
use crate::ledger::tree;

/// Where checkpoints seen are kept.
#[derive(Clone)]
pub struct Seen {
    dir: PathBuf,
    /// The vault may have gone back to an admin key that was handed over since.
    may_go_back: bool,
}

impl Seen {
    /// In this directory, made when it is first needed.
    #[must_use]
    pub fn in_dir(dir: PathBuf) -> Self {
        Self { dir, may_go_back: false }
    }

    /// For a vault that was restored from a backup: an admin key that this member knew before is not
    /// refused. Nothing is remembered of it before [`go_back`](Self::go_back).
    pub(super) fn of_restored(&self) -> Self {
        Self { may_go_back: true, ..self.clone() }
    }

    fn path(&self, vault: VaultId) -> PathBuf {
        self.dir.join(format!("{vault}.checkpoint"))
    }

    /// The pinned key and the note seen last.
    fn read(&self, vault: VaultId) -> Result<Option<(String, String)>, Error> {
        let text = match std::fs::read_to_string(self.path(vault)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::Broken(error)),
        };
        let (key, note) = text.split_once('\n').ok_or(Error::Forked)?;
        Ok(Some((key.to_owned(), note.to_owned())))
    }

    /// The checkpoint of this vault seen last.
    ///
    /// # Errors
    /// `Forked` if the file was altered.
    pub fn last(&self, vault: VaultId) -> Result<Option<Checkpoint>, Error> {
        let Some((key, note)) = self.read(vault)? else { return Ok(None) };
        let (_, public) = checkpoint::parse_vkey(&key).map_err(|_| Error::Forked)?;
        Checkpoint::verify(&note, &public).map(Some).map_err(|_| Error::Forked)
    }

    /// Verifies a new checkpoint against the pinned key and the last one, and remembers it.
    ///
    /// # Errors
    /// `Forked` if it is signed by another key, or does not extend the last one.
    pub fn advance(
        &self,
        vault: VaultId,
        offered_key: &str,
        note: &str,
        last: Option<&Checkpoint>,
        proof: &[Digest],
    ) -> Result<(), Error> {
        let key = self.read(vault)?.map_or_else(|| offered_key.to_owned(), |(key, _)| key);
        // What is verified later on is verified with the offered one: it must be the pinned one.
        if key != offered_key {
            return Err(Error::Forked);
        }
        let (named, public) = checkpoint::parse_vkey(&key).map_err(|_| Error::Forked)?;
        let new = Checkpoint::verify(note, &public).map_err(|_| Error::Forked)?;
        let extends = last.is_none_or(|last| {
            tree::verify_consistency(last.size, last.root, new.size, new.root, proof)
        });
        if named != vault || new.vault != vault || !extends {
            return Err(Error::Forked);
        }
        self.write(vault, &format!("{key}\n{note}")).map_err(Error::Broken)
    }

    /// Remembers a checkpoint that does not extend the last one, because a person accepts it.
    ///
    /// # Errors
    /// `Forked` if it is signed by another key than the pinned one.
    pub(super) fn accept(
        &self,
        vault: VaultId,
        offered_key: &str,
        note: &str,
    ) -> Result<(), Error> {
        let pinned = self.read(vault)?.filter(|(key, _)| key == offered_key);
        let (key, _) = pinned.ok_or(Error::Forked)?;
        let (_, public) = checkpoint::parse_vkey(&key).map_err(|_| Error::Forked)?;
        let new = Checkpoint::verify(note, &public).map_err(|_| Error::Forked)?;
        if new.vault != vault {
            return Err(Error::Forked);
        }
        self.write(vault, &format!("{key}\n{note}")).map_err(Error::Broken)
    }

    /// Holds a socket to the vault that it was met with first: a server that was set back could
    /// otherwise call itself new, and nothing would be known of it.
    ///
    /// # Errors
    /// `OtherVault`.
    pub fn vault(&self, socket: &Path, offered: VaultId) -> Result<(), Error> {
        let name = blake3::hash(socket.as_os_str().as_encoded_bytes()).to_hex();
        let path = self.dir.join(format!("{}.vault", &name[..32]));
        match std::fs::read_to_string(&path) {
            Ok(pinned) if pinned.trim().parse() == Ok(offered) => Ok(()),
            Ok(_) => Err(Error::OtherVault(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.put(&path, &format!("{offered}\n")).map_err(Error::Broken)
            }
            Err(error) => Err(Error::Broken(error)),
        }
    }

    /// Whose signature counts: the admin's key that this vault was met with, and those that it was
    /// handed over to. `founding` and `hand_overs` are what the server offers; the newest key is
    /// remembered.
    ///
    /// # Errors
    /// `OtherAdmin` if the key that is remembered is not among them, or a hand-over is not signed by
    /// the key before: roster and epochs are not to be believed then.
    pub fn admins(
        &self,
        vault: VaultId,
        founding: &str,
        hand_overs: &[String],
    ) -> Result<Admins, Error> {
        let admins = offered(vault, founding, hand_overs)?;
        let pinned = self.pinned(vault)?;
        let newest = pinned.first();
        if newest == Some(admins.current()) {
            return Ok(admins);
        }
        if newest.is_none_or(|newest| admins.knows(newest)) {
            // For a restore from a backup that does not have them.
            for (number, note) in (2..).zip(hand_overs) {
                let path = self.dir.join(format!("{vault}.admin-{number}.note"));
                self.put(&path, note).map_err(Error::Broken)?;
            }
            return self.pin(vault, &admins, &pinned).map(|()| admins);
        }
        if self.may_go_back && pinned.contains(admins.current()) {
            return Ok(admins);
        }
        Err(Error::OtherAdmin)
    }

    /// Whether the key in force is not the one that this member knows.
    pub(super) fn is_back(&self, vault: VaultId, admins: &Admins) -> Result<bool, Error> {
        Ok(self.pinned(vault)?.first() != Some(admins.current()))
    }

    /// Takes the key in force for the newest again, because a person accepts it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn go_back(&self, vault: VaultId, admins: &Admins) -> Result<(), Error> {
        self.pin(vault, admins, &[])
    }

    /// The admin keys that were remembered, the newest first.
    fn pinned(&self, vault: VaultId) -> Result<Vec<Vkey>, Error> {
        match std::fs::read_to_string(self.admin_path(vault)) {
            Ok(text) => {
                let keys: Result<Vec<Vkey>, _> = text.lines().map(str::parse).collect();
                keys.ok().filter(|keys| !keys.is_empty()).ok_or(Error::OtherAdmin)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::Broken(error)),
        }
    }

    fn pin(&self, vault: VaultId, admins: &Admins, before: &[Vkey]) -> Result<(), Error> {
        let keys = std::iter::once(admins.current()).chain(before);
        let text: String = keys.map(|key| format!("{key}\n")).collect();
        self.put(&self.admin_path(vault), &text).map_err(Error::Broken)
    }

    fn admin_path(&self, vault: VaultId) -> PathBuf {
        self.dir.join(format!("{vault}.admin"))
    }

    /// Keeps the signed roster, if none that is newer is kept: whoever restores the vault from an older
    /// backup needs it, to leave out who was revoked since.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep_roster(&self, vault: VaultId, version: u32, note: &str) -> Result<(), Error> {
        let path = self.roster_file(vault);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let there = kept.lines().find_map(|line| line.strip_prefix("version ")?.parse().ok());
        if kept == note || there.is_some_and(|there: u32| there > version) {
            return Ok(());
        }
        self.put(&path, note).map_err(Error::Broken)
    }

    /// Where the newest signed roster is kept.
    #[must_use]
    pub fn roster_file(&self, vault: VaultId) -> PathBuf {
        self.dir.join(format!("{vault}.roster.note"))
    }

    /// The newest that this member knows of a vault.
    ///
    /// # Errors
    /// What the system says; `Older` if the file was altered.
    pub fn newest(&self, vault: VaultId) -> Result<Newest, Error> {
        match std::fs::read_to_string(self.newest_path(vault)) {
            Ok(text) => Newest::parse(&text).ok_or(Error::Older("roster")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Newest::default()),
            Err(error) => Err(Error::Broken(error)),
        }
    }

    /// Remembers the newest.
    ///
    /// # Errors
    /// What the system says.
    pub fn remember(&self, vault: VaultId, newest: &Newest) -> Result<(), Error> {
        self.put(&self.newest_path(vault), &newest.to_text()).map_err(Error::Broken)
    }

    fn newest_path(&self, vault: VaultId) -> PathBuf {
        self.dir.join(format!("{vault}.newest"))
    }

    /// Whether this vault was met before.
    #[must_use]
    pub fn has_met(&self, vault: VaultId) -> bool {
        self.admin_path(vault).exists()
    }

    fn write(&self, vault: VaultId, text: &str) -> io::Result<()> {
        self.put(&self.path(vault), text)
    }

    fn put(&self, path: &Path, text: &str) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        file::replace(path, text.as_bytes())
    }
}

/// The newest that a member knows of a vault's signed files: a server that offers older ones would
/// bring back who was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// Version and hash of the roster; none before one was seen.
    pub roster: Option<(u32, Digest)>,
    /// The epoch that was sealed to.
    pub epoch: u32,
    /// The number of the mailbox's newest key.
    pub mailbox: u32,
}

impl Newest {
    fn to_text(self) -> String {
        let (version, digest) = self.roster.unwrap_or((0, Digest::new([0; 32])));
        format!("{version} {digest} {} {}\n", self.epoch, self.mailbox)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let version: u32 = words.next()?.parse().ok()?;
        let digest: Digest = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse().ok();
        let roster = (version > 0).then_some((version, digest));
        Some(Self { roster, epoch: number()?, mailbox: number()? })
    }
}

/// The admin keys as a server offers them, if each hand-over is signed by the key before.
///
/// # Errors
/// `OtherAdmin`.
pub(super) fn offered(
    vault: VaultId,
    founding: &str,
    hand_overs: &[String],
) -> Result<Admins, Error> {
    let key = founding.trim().parse().map_err(|_| Error::OtherAdmin)?;
    let mut admins = Admins::founding(vault, key);
    for note in hand_overs {
        admins.follow(note).map_err(|_| Error::OtherAdmin)?;
    }
    Ok(admins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EpochId;
    use crate::keys::admin::AdminKey;
    use crate::keys::admins::HandOver;

    fn note(seed: &[u8; 32], leaves: &[&[u8]], vault: VaultId) -> (String, tree::Tree) {
        let mut tree = tree::Tree::default();
        leaves.iter().for_each(|bytes| tree.append(tree::leaf(bytes)));
        let root = tree.root(tree.size()).expect("its own size");
        (Checkpoint { vault, size: tree.size(), root }.sign(seed), tree)
    }

    #[test]
    fn the_admin_that_a_vault_was_met_with_stays_its_admin() {
        let dir = tempfile::tempdir().expect("a directory");
        let seen = Seen::in_dir(dir.path().join("seen"));
        let key = |byte| Vkey { name: "kluis-admin".into(), public: [byte; 32] };
        let (vault, other_vault) = (VaultId::random(), VaultId::random());
        let met = |vault, byte| {
            seen.admins(vault, &key(byte).to_string(), &[]).map(|admins| admins.current().clone())
        };
        assert_eq!(met(vault, 1).expect("is pinned"), key(1));
        assert_eq!(met(vault, 1).expect("is the same"), key(1));
        assert!(matches!(met(vault, 2), Err(Error::OtherAdmin)));
        assert_eq!(met(other_vault, 2).expect("is pinned"), key(2));
    }

    #[test]
    fn a_hand_over_is_followed_once_and_not_taken_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let seen = Seen::in_dir(dir.path().join("seen"));
        let vault = VaultId::random();
        let (one, two) = (AdminKey::generate(), AdminKey::generate());
        let hand_over = HandOver {
            vault,
            number: 2,
            before: one.vkey(),
            key: two.vkey(),
            epoch: EpochId(1),
            mailbox: 1,
        };
        let first = one.vkey().to_string();
        let offer = |notes: &[String]| {
            seen.admins(vault, &first, notes).map(|admins| admins.current().clone())
        };
        assert_eq!(offer(&[]).expect("is pinned"), one.vkey());
        let forged = hand_over.sign(&two);
        assert!(matches!(offer(&[forged]), Err(Error::OtherAdmin)));
        let note = hand_over.sign(&one);
        assert_eq!(offer(std::slice::from_ref(&note)).expect("is signed"), two.vkey());
        assert!(matches!(offer(&[]), Err(Error::OtherAdmin)), "the old key counts no more");
        assert_eq!(offer(std::slice::from_ref(&note)).expect("is the same"), two.vkey());

        // But in a vault that was restored from before it, if a person says so.
        let back = seen.of_restored();
        let old = back.admins(vault, &first, &[]).expect("was known");
        assert!(seen.is_back(vault, &old).expect("reads"));
        assert!(matches!(offer(&[]), Err(Error::OtherAdmin)), "nobody said so yet");
        let stranger = AdminKey::generate().vkey().to_string();
        assert!(matches!(back.admins(vault, &stranger, &[]), Err(Error::OtherAdmin)));
        seen.go_back(vault, &old).expect("is written");
        assert_eq!(offer(&[]).expect("is pinned"), one.vkey());
        assert_eq!(offer(&[note]).expect("is signed"), two.vkey());
    }

    #[test]
    fn the_newest_is_remembered_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let seen = Seen::in_dir(dir.path().join("seen"));
        let vault = VaultId::random();
        assert_eq!(seen.newest(vault).expect("of none"), Newest::default());
        let newest = Newest { roster: Some((3, Digest::new([7; 32]))), epoch: 2, mailbox: 1 };
        seen.remember(vault, &newest).expect("is written");
        assert_eq!(seen.newest(vault).expect("reads"), newest);
    }

    #[test]
    fn the_note_of_the_newest_roster_is_kept_and_no_older_one_takes_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let seen = Seen::in_dir(dir.path().join("seen"));
        let vault = VaultId::random();
        let note = |version, text| format!("kluis roster 1\nversion {version}\n{text}\n");
        let kept = || std::fs::read_to_string(seen.roster_file(vault)).expect("is kept");
        for (version, text, stays) in
            [(2, "a", (2, "a")), (3, "b", (3, "b")), (2, "a", (3, "b")), (3, "c", (3, "c"))]
        {
            seen.keep_roster(vault, version, &note(version, text)).expect("is written");
            assert_eq!(kept(), note(stays.0, stays.1));
        }
    }

    #[test]
    fn a_socket_leads_to_the_vault_that_it_led_to_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let seen = Seen::in_dir(dir.path().join("seen"));
        let (one, other) = (VaultId::random(), VaultId::random());
        let socket = Path::new("/run/kluis/kluis.sock");
        seen.vault(socket, one).expect("is met");
        seen.vault(socket, one).expect("is the same");
        assert!(matches!(seen.vault(socket, other), Err(Error::OtherVault(_))));
        seen.vault(Path::new("/run/other.sock"), other).expect("is another place");
    }

    #[test]
    fn a_ledger_that_grows_is_followed_and_one_that_was_rolled_back_or_forked_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let seen = Seen::in_dir(dir.path().join("seen"));
        let (vault, seed) = (VaultId::random(), [7; 32]);
        let key = checkpoint::vkey(vault, &checkpoint::public_key(&seed));
        let (first, _) = note(&seed, &[b"a", b"b"], vault);
        seen.advance(vault, &key, &first, None, &[]).expect("a first one");
        let last = seen.last(vault).expect("reads").expect("is there");
        let (second, tree) = note(&seed, &[b"a", b"b", b"c"], vault);
        let proof = tree.consistency(2, 3).expect("grew");
        seen.advance(vault, &key, &second, Some(&last), &proof).expect("extends");
        let last = seen.last(vault).expect("reads").expect("is there");

        let fork = |leaves: &[&[u8]], seed: &[u8; 32]| {
            let (forked, tree) = note(seed, leaves, vault);
            let proof = tree.consistency(3.min(tree.size()), tree.size()).unwrap_or_default();
            seen.advance(vault, &key, &forked, Some(&last), &proof)
        };
        assert!(matches!(fork(&[b"a", b"b"], &seed), Err(Error::Forked)));
        assert!(matches!(fork(&[b"a", b"x", b"c", b"d"], &seed), Err(Error::Forked)));
        assert!(matches!(fork(&[b"a", b"b", b"c", b"d"], &[8; 32]), Err(Error::Forked)));
        let (honest, tree) = note(&seed, &[b"a", b"b", b"c", b"d"], vault);
        let proof = tree.consistency(3, 4).expect("grew");
        let other = checkpoint::vkey(vault, &checkpoint::public_key(&[8; 32]));
        let offered = seen.advance(vault, &other, &honest, Some(&last), &proof);
        assert!(matches!(offered, Err(Error::Forked)), "a key that is not the pinned one");
        assert!(fork(&[b"a", b"b", b"c", b"d"], &seed).is_ok());
    }
}
