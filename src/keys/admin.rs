//! The admin key: signs the roster, the epoch notes and nothing else.
//!
//! An Ed25519 seed that rests on the admin's machine under a passphrase. What is protected is the
//! key as Go's `sumdb/note` writes it (`PRIVATE+KEY+…`), so the file serves other tools after a
//! stock `age -d`. The public half is `admin.pub` in the state directory, one line.

use std::io;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

use super::note::{self, Vkey};
use super::passphrase::{self, Passphrase, UnlockError};
use super::staff::{ChangeError, StaffRecipient};
use super::{epoch, file};
use crate::secret::Secret;

/// The name the admin signs with.
pub const NAME: &str = "kluis-admin";
/// What Go's notes begin a secret key with.
const PREFIX: &str = "PRIVATE+KEY+";

/// The admin's signing key, unlocked.
pub struct AdminKey {
    seed: Secret<[u8; 32]>,
    public: [u8; 32],
}

impl AdminKey {
    /// A fresh one.
    #[must_use]
    pub fn generate() -> Self {
        Self::of(Secret::random())
    }

    fn of(seed: Secret<[u8; 32]>) -> Self {
        Self { public: note::public_of(seed.expose()), seed }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The public half as `admin.pub` holds it, without a newline.
    #[must_use]
    pub fn vkey(&self) -> Vkey {
        Vkey { name: NAME.to_owned(), public: self.public }
    }

    /// Signs lines of text; gives the whole note.
    ///
    /// # Panics
    /// If `text` is no text of lines ([`note::is_text`]).
    #[must_use]
    pub fn sign_note(&self, text: &str) -> String {
        note::sign(text, NAME, self.seed.expose())
    }

    /// The key, wrapped to the recovery recipient: the copy that outlives the admin's machine.
    #[must_use]
    pub fn wrap(&self, recovery: &StaffRecipient) -> Vec<u8> {
        epoch::wrap_to([recovery.for_age()], self.to_text().as_bytes())
    }

    /// Reads what lies in the file of [`save`](Self::save) or [`wrap`](Self::wrap), once opened.
    ///
    /// # Errors
    /// [`UnlockError::NotAKey`].
    pub fn from_text(text: &[u8]) -> Result<Self, UnlockError> {
        parse(text).ok_or(UnlockError::NotAKey)
    }

    fn to_text(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(note::encode_key(NAME, &self.public, self.seed.expose()));
        let mut text = Zeroizing::new(String::with_capacity(256));
        for part in ["# kluis admin key\n", PREFIX, &key, "\n"] {
            text.push_str(part);
        }
        text
    }

    /// Writes the key under `passphrase` to a new file; see
    /// [`StaffKey::save`](super::staff::StaffKey::save).
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`]: nothing is overwritten.
    pub fn save(
        &self,
        path: &Path,
        passphrase: &Passphrase,
        work_factor: Option<u8>,
    ) -> io::Result<()> {
        let text = self.to_text();
        file::write_new(path, &passphrase::protect(text.as_bytes(), passphrase, work_factor))
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// See [`UnlockError`].
    pub fn unlock(path: &Path, passphrase: &Passphrase) -> Result<Self, UnlockError> {
        let bytes = passphrase::read(path)?;
        if !passphrase::is_protected(&bytes) {
            let is_clear = parse(&bytes).is_some();
            return Err(if is_clear { UnlockError::Unprotected } else { UnlockError::NotAKey });
        }
        Self::from_text(&passphrase::unprotect(&bytes, passphrase)?)
    }

    /// Writes the key file anew under another passphrase.
    ///
    /// # Errors
    /// The unlocking failed, or the writing; the old file is then as it was.
    pub fn change_passphrase(
        path: &Path,
        old: &Passphrase,
        new: &Passphrase,
        work_factor: Option<u8>,
    ) -> Result<(), ChangeError> {
        let text = Self::unlock(path, old)?.to_text();
        file::replace(path, &passphrase::protect(text.as_bytes(), new, work_factor))?;
        Ok(())
    }
}

fn parse(text: &[u8]) -> Option<AdminKey> {
    let line = std::str::from_utf8(text)
        .ok()?
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let mut parts = line.strip_prefix(PREFIX)?.splitn(3, '+');
    let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = Zeroizing::new(BASE64.decode(key.as_bytes()).ok()?);
    let seed: &[u8; 32] = bytes.strip_prefix(&[1])?.try_into().ok()?;
    let key = AdminKey::of(Secret::filled(|secret| *secret = *seed));
    let wanted = HEXLOWER.encode(&note::key_id(NAME, &key.public));
    (name == NAME && id == wanted).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::staff::StaffKey;

    #[test]
    fn an_admin_key_saves_unlocks_and_signs_alike() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.key");
        let words = |text: &str| Passphrase::new(text.into());
        let key = AdminKey::generate();
        key.save(&path, &words("old"), Some(2)).expect("saved");
        assert!(key.save(&path, &words("old"), Some(2)).is_err(), "nothing is overwritten");
        let wrong = AdminKey::unlock(&path, &words("odd"));
        assert_eq!(wrong.err(), Some(UnlockError::WrongPassphrase));
        AdminKey::change_passphrase(&path, &words("old"), &words("new"), Some(2)).expect("changed");
        let unlocked = AdminKey::unlock(&path, &words("new")).expect("unlocks");
        let note = unlocked.sign_note("a line\n");
        assert_eq!(note, key.sign_note("a line\n"));
        let vkey: Vkey = format!("{}\n", key.vkey()).parse().expect("one line of admin.pub");
        assert_eq!(vkey.verify(&note), Some("a line\n"));
    }

    #[test]
    fn the_recovery_copy_gives_the_same_key() {
        let recovery = StaffKey::generate();
        let key = AdminKey::generate();
        let text = recovery.unwrap(&key.wrap(recovery.recipient())).expect("opens");
        assert_eq!(AdminKey::from_text(&text).expect("parses").public(), key.public());
    }

    #[test]
    fn a_key_of_another_name_or_a_changed_one_is_no_admin_key() {
        let key = AdminKey::generate();
        let text = key.to_text();
        assert!(AdminKey::from_text(text.as_bytes()).is_ok());
        let at = text.len() - 10;
        let digit = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut changed = text.to_string();
        changed.replace_range(at..=at, digit);
        for bad in ["", "PRIVATE+KEY+", &text.replace(NAME, "someone"), &changed] {
            assert_eq!(AdminKey::from_text(bad.as_bytes()).err(), Some(UnlockError::NotAKey));
        }
    }
}
