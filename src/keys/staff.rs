//! A member's key: an age identity of their own, or an `ssh-ed25519` key they have already.
//!
//! It rests on the member's machine under a passphrase, as a file that stock `age -d -i` takes. In
//! memory it lies in locked pages. The gateway only ever sees the recipient.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::passphrase::{self, Passphrase, UnlockError};
use super::{NotForThisKey, epoch, file};
use crate::ids::Digest;
use crate::secret::Secret;

/// The public half of a member's key: `age1…` or `ssh-ed25519 …`.
#[derive(Clone)]
pub struct StaffRecipient {
    /// As it is written in the roster; two recipients are equal if this is.
    text: String,
    key: Recipient,
}

#[derive(Clone)]
enum Recipient {
    Age(age::x25519::Recipient),
    Ssh(Box<age::ssh::Recipient>),
}

impl StaffRecipient {
    /// Wraps `message` so that only this key opens it: a stock age file, binary.
    #[must_use]
    pub fn wrap(&self, message: &[u8]) -> Vec<u8> {
        epoch::wrap_to([self.for_age()], message)
    }

    /// BLAKE3 of it as the roster writes it: how the ledger names a key.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::new(*blake3::hash(self.text.as_bytes()).as_bytes())
    }

    pub(super) fn for_age(&self) -> &dyn age::Recipient {
        match &self.key {
            Recipient::Age(recipient) => recipient,
            Recipient::Ssh(recipient) => recipient.as_ref(),
        }
    }
}

impl From<age::x25519::Recipient> for StaffRecipient {
    fn from(recipient: age::x25519::Recipient) -> Self {
        Self { text: recipient.to_string(), key: Recipient::Age(recipient) }
    }
}

/// Why a written recipient was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a recipient: age1… or ssh-ed25519 … is")]
pub struct BadRecipient;

impl FromStr for StaffRecipient {
    type Err = BadRecipient;

    /// Reads one line; the comment of an ssh key is passed over.
    fn from_str(text: &str) -> Result<Self, BadRecipient> {
        let text = text.trim();
        if text.starts_with("ssh-ed25519 ") {
            let recipient: age::ssh::Recipient = text.parse().map_err(|_| BadRecipient)?;
            Ok(Self { text: recipient.to_string(), key: Recipient::Ssh(Box::new(recipient)) })
        } else {
            text.parse::<age::x25519::Recipient>().map(Self::from).map_err(|_| BadRecipient)
        }
    }
}

impl fmt::Display for StaffRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for StaffRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for StaffRecipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for StaffRecipient {}

/// A member's secret key, unlocked. A backup key is one too.
pub struct StaffKey {
    recipient: StaffRecipient,
    held: Held,
}

enum Held {
    Age(epoch::Held),
    Ssh(Box<age::ssh::Identity>),
}

/// The most content that is unwrapped with a member's key: secrets and challenges are small.
pub const LONGEST_MESSAGE: u64 = 1 << 20;
/// What a private key file of OpenSSH begins with.
const OPENSSH: &[u8] = b"-----BEGIN OPENSSH PRIVATE KEY-----";

impl StaffKey {
    /// A fresh age identity.
    #[must_use]
    pub fn generate() -> Self {
        Self::of(&age::x25519::Identity::generate())
    }

    fn of(identity: &age::x25519::Identity) -> Self {
        Self { recipient: identity.to_public().into(), held: Held::Age(epoch::Held::new(identity)) }
    }

    /// The public half.
    #[must_use]
    pub fn recipient(&self) -> &StaffRecipient {
        &self.recipient
    }

    /// The secret of an age identity; an ssh key has none that could be split.
    pub(super) fn secret(&self) -> Option<Secret<[u8; 32]>> {
        match &self.held {
            Held::Age(held) => Some(held.secret()),
            Held::Ssh(_) => None,
        }
    }

    /// The age identity of a secret.
    pub(super) fn from_secret(secret: &Secret<[u8; 32]>) -> Self {
        Self::of(&epoch::Held::of_secret(secret).identity())
    }

    /// Reads an age identity that lies in a file in clear.
    ///
    /// # Errors
    /// [`UnlockError::NotAKey`], also for a file under a passphrase; see [`UnlockError`].
    pub fn read_clear(path: &Path) -> Result<Self, UnlockError> {
        let bytes = passphrase::read(path)?;
        identity_in(&bytes).map(|identity| Self::of(&identity)).ok_or(UnlockError::NotAKey)
    }

    /// Unwraps an age file that was wrapped to the recipient, of at most [`LONGEST_MESSAGE`] bytes
    /// of content.
    ///
    /// # Errors
    /// [`NotForThisKey`], also for a damaged or a longer file.
    pub fn unwrap(&self, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotForThisKey> {
        let unwrap = |identity: &dyn age::Identity| {
            let message = epoch::unwrap_with(identity, file, LONGEST_MESSAGE + 1)?;
            if message.len() as u64 > LONGEST_MESSAGE { Err(NotForThisKey) } else { Ok(message) }
        };
        match &self.held {
            Held::Age(held) => unwrap(&held.identity()),
            Held::Ssh(identity) => unwrap(identity.as_ref()),
        }
    }

    /// Reads an age file of any length with this key.
    pub(super) fn read<R: io::Read>(
        &self,
        file: age::Decryptor<R>,
    ) -> Result<age::stream::StreamReader<R>, NotForThisKey> {
        match &self.held {
            Held::Age(held) => {
                file.decrypt(std::iter::once(&held.identity() as &dyn age::Identity))
            }
            Held::Ssh(identity) => file.decrypt(std::iter::once(identity.as_ref() as _)),
        }
        .map_err(|_| NotForThisKey)
    }

    /// Writes the key under `passphrase` to a new file, mode 0600. `work_factor`, the binary
    /// logarithm of the scrypt cost, is for tests and throwaway vaults; `None` measures about one
    /// second.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`]: nothing is overwritten. [`io::ErrorKind::Unsupported`] for
    /// an ssh key, which stays the file it is.
    pub fn save(
        &self,
        path: &Path,
        passphrase: &Passphrase,
        work_factor: Option<u8>,
    ) -> io::Result<()> {
        file::write_new(path, &self.protect(passphrase, work_factor)?)
    }

    fn protect(&self, passphrase: &Passphrase, work_factor: Option<u8>) -> io::Result<Vec<u8>> {
        let Held::Age(secret) = &self.held else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut text = Zeroizing::new(Vec::with_capacity(256));
        text.extend_from_slice(
            format!("# kluis key\n# public key: {}\n", self.recipient).as_bytes(),
        );
        text.extend_from_slice(secret.text().as_bytes());
        text.push(b'\n');
        Ok(passphrase::protect(&text, passphrase, work_factor))
    }

    /// Reads a key file: an age identity under a passphrase (ours, or what `age -p` made of one),
    /// or an OpenSSH private key of the kind `ssh-ed25519` with a passphrase.
    ///
    /// # Errors
    /// See [`UnlockError`].
    pub fn unlock(path: &Path, passphrase: &Passphrase) -> Result<Self, UnlockError> {
        let bytes = passphrase::read(path)?;
        if passphrase::is_protected(&bytes) {
            let text = passphrase::unprotect(&bytes, passphrase)?;
            identity_in(&text).map(|identity| Self::of(&identity)).ok_or(UnlockError::NotAKey)
        } else if bytes.starts_with(OPENSSH) {
            Self::unlock_ssh(&bytes, passphrase)
        } else if identity_in(&bytes).is_some() {
            Err(UnlockError::Unprotected)
        } else {
            Err(UnlockError::NotAKey)
        }
    }

    fn unlock_ssh(bytes: &[u8], passphrase: &Passphrase) -> Result<Self, UnlockError> {
        use age::ssh::Identity;
        let read = Identity::from_buffer(bytes, None).map_err(|_| UnlockError::NotAKey)?;
        let Identity::Encrypted(key) = read else {
            let is_clear = matches!(read, Identity::Unencrypted(_));
            return Err(if is_clear { UnlockError::Unprotected } else { UnlockError::NotAKey });
        };
        let key = key.decrypt(passphrase.secret()).map_err(|_| UnlockError::WrongPassphrase)?;
        let identity = Identity::from(key);
        let recipient = age::ssh::Recipient::try_from(identity.clone())
            .ok()
            .and_then(|recipient| recipient.to_string().parse().ok())
            .ok_or(UnlockError::NotAKey)?;
        Ok(Self { recipient, held: Held::Ssh(Box::new(identity)) })
    }

    /// Writes the key file anew under another passphrase; a crash leaves the old file or the new.
    ///
    /// # Errors
    /// The unlocking failed, or the writing; the old file is then as it was.
    pub fn change_passphrase(
        path: &Path,
        old: &Passphrase,
        new: &Passphrase,
        work_factor: Option<u8>,
    ) -> Result<(), ChangeError> {
        let key = Self::unlock(path, old)?;
        file::replace(path, &key.protect(new, work_factor)?)?;
        Ok(())
    }
}

/// Why a passphrase was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The key did not unlock.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// The new file was not written. [`io::ErrorKind::Unsupported`] for an ssh key, whose
    /// passphrase `ssh-keygen -p` changes.
    #[error("the new key file was not written: {0}")]
    Write(#[from] io::Error),
}

/// The first identity in an age identity file.
fn identity_in(text: &[u8]) -> Option<age::x25519::Identity> {
    std::str::from_utf8(text)
        .ok()?
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?
        .parse()
        .ok()
}

/// Recipients whose secrets are public: the throwaway keys of the repository's `keys/test`.
const THROWAWAY: &str = include_str!("../../keys/test/recipients.txt");

/// Whether the secret of `recipient` is published with the source. Nothing real is wrapped to it.
#[must_use]
pub fn is_throwaway(recipient: &StaffRecipient) -> bool {
    THROWAWAY.lines().any(|line| line.parse().as_ref() == Ok(recipient))
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;

    fn words(text: &str) -> Passphrase {
        Passphrase::new(text.into())
    }

    #[test]
    fn a_key_unlocks_with_its_passphrase_and_unwraps_what_is_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("staff.key");
        assert_eq!(StaffKey::unlock(&path, &words("x")).err(), Some(UnlockError::NoFile));
        let key = StaffKey::generate();
        key.save(&path, &words("one passphrase"), Some(2)).expect("saved");
        let again = StaffKey::generate().save(&path, &words("x"), Some(2));
        assert_eq!(again.expect_err("refused").kind(), io::ErrorKind::AlreadyExists);

        let wrong = StaffKey::unlock(&path, &words("another passphrase"));
        assert_eq!(wrong.err(), Some(UnlockError::WrongPassphrase));
        let unlocked = StaffKey::unlock(&path, &words("one passphrase")).expect("unlocks");
        assert_eq!(unlocked.recipient(), key.recipient());
        let file = epoch::wrap_to([key.recipient().for_age()], b"a secret");
        assert_eq!(unlocked.unwrap(&file).expect("opens").as_slice(), b"a secret");
        assert!(StaffKey::generate().unwrap(&file).is_err());
        for length in 0..file.len() {
            assert!(unlocked.unwrap(&file[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_changed_passphrase_leaves_the_key_and_a_wrong_old_one_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("staff.key");
        let key = StaffKey::generate();
        key.save(&path, &words("old"), Some(2)).expect("saved");
        let before = std::fs::read(&path).expect("reads");
        let wrong = StaffKey::change_passphrase(&path, &words("odd"), &words("new"), Some(2));
        assert!(matches!(wrong, Err(ChangeError::Unlock(UnlockError::WrongPassphrase))));
        assert_eq!(std::fs::read(&path).expect("reads"), before);
        StaffKey::change_passphrase(&path, &words("old"), &words("new"), Some(2)).expect("changed");
        assert!(StaffKey::unlock(&path, &words("old")).is_err());
        let unlocked = StaffKey::unlock(&path, &words("new")).expect("unlocks");
        assert_eq!(unlocked.recipient(), key.recipient());
    }

    #[test]
    fn a_key_in_clear_and_what_is_no_key_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let clear = age::x25519::Identity::generate().to_string();
        for (content, wanted) in [
            (format!("# mine\n{}\n", clear.expose_secret()), UnlockError::Unprotected),
            (["AGE-SECRET", "-KEY-1QQQ\n"].concat(), UnlockError::NotAKey),
            (["-----BEGIN OPENSSH ", "PRIVATE KEY-----\nAAAA\n"].concat(), UnlockError::NotAKey),
            (String::new(), UnlockError::NotAKey),
            ("#".repeat(1 << 20), UnlockError::NotAKey),
        ] {
            std::fs::write(&path, content).expect("written");
            assert_eq!(StaffKey::unlock(&path, &words("x")).err(), Some(wanted));
        }
    }

    #[test]
    fn a_file_longer_than_any_secret_is_not_unwrapped() {
        let key = StaffKey::generate();
        let just = vec![7; LONGEST_MESSAGE as usize];
        let file = epoch::wrap_to([key.recipient().for_age()], &just);
        assert_eq!(key.unwrap(&file).expect("opens").as_slice(), just);
        let file = epoch::wrap_to([key.recipient().for_age()], &[just, vec![7]].concat());
        assert_eq!(key.unwrap(&file).err(), Some(NotForThisKey));
    }

    #[test]
    fn recipients_read_back_and_others_are_refused() {
        let own = StaffKey::generate().recipient().clone();
        assert_eq!(own.to_string().parse(), Ok(own.clone()));
        assert!(!is_throwaway(&own));
        let ssh =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";
        let read: StaffRecipient = format!("{ssh} lotte@desk\n").parse().expect("parses");
        assert_eq!(read.to_string(), ssh);
        for bad in ["", "age1", "ssh-rsa AAAA", "ssh-ed25519 AAAA", &own.to_string()[1..]] {
            assert_eq!(bad.parse::<StaffRecipient>(), Err(BadRecipient), "{bad}");
        }
    }
}
