//! What a person knows, and files that only open with it.
//!
//! A protected file is a stock age file with an scrypt stanza: `age -d` opens it. How much work a
//! guess costs is measured when the file is written, about one second on that machine.

use std::io;
use std::path::Path;

use age::secrecy::{ExposeSecret as _, SecretString};
use minicbor::{CborLen, Decode, Encode};
use zeroize::{Zeroize as _, Zeroizing};

use super::{epoch, file};

/// A passphrase: wiped at the end, without `Debug`. Comes from a prompt or a file, never from an
/// argument or the environment.
#[derive(Clone)]
pub struct Passphrase(SecretString);

/// The fewest characters of a new passphrase.
pub const SHORTEST: usize = 10;
/// The longest passphrase file, in bytes.
const LONGEST: usize = 4096;

impl Passphrase {
    /// Takes `text` as it is.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// Asks at the terminal, without echo. With `confirm` it is a new one: asked twice, and at
    /// least [`SHORTEST`] characters.
    ///
    /// # Errors
    /// No terminal, or [`io::ErrorKind::InvalidInput`] with a text for the person who typed.
    pub fn prompt(question: &str, confirm: bool) -> io::Result<Self> {
        let first = Self(rpassword::prompt_password(format!("{question}: "))?.into());
        if confirm {
            let second = Self(rpassword::prompt_password(format!("{question}, again: "))?.into());
            first.check_new()?;
            if first.expose() != second.expose() {
                return Err(invalid("the two passphrases differ"));
            }
        }
        first.checked()
    }

    /// Reads the first line of a file.
    ///
    /// # Errors
    /// The file does not open, is no UTF-8, or holds nothing.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let bytes = file::read(path, LONGEST)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid("not UTF-8 text"))?;
        Self(text.lines().next().unwrap_or_default().into()).checked()
    }

    /// Whether it may protect a new key.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if it is shorter than [`SHORTEST`].
    pub fn check_new(&self) -> io::Result<()> {
        if self.expose().chars().count() < SHORTEST {
            return Err(invalid("a passphrase has at least 10 characters; four words are good"));
        }
        Ok(())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The text for age, which keeps its own copy and wipes it.
    pub(super) fn secret(&self) -> SecretString {
        self.0.clone()
    }

    fn checked(self) -> io::Result<Self> {
        if self.expose().is_empty() { Err(invalid("the passphrase is empty")) } else { Ok(self) }
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Why a key did not unlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Encode, Decode, CborLen)]
#[cbor(index_only)]
pub enum UnlockError {
    /// There is no such file.
    #[error("there is no key file there")]
    #[n(0)]
    NoFile,
    /// There is one, but it cannot be read.
    #[error("the key file cannot be read")]
    #[n(1)]
    Unreadable,
    /// It holds no key of a kind that is used here, or it is damaged.
    #[error("the file holds no key that can be used here, or it is damaged")]
    #[n(2)]
    NotAKey,
    /// It holds a key in clear. Keys rest under a passphrase.
    #[error("the key is not protected by a passphrase")]
    #[n(3)]
    Unprotected,
    /// Another passphrase.
    #[error("the passphrase does not open it")]
    #[n(4)]
    WrongPassphrase,
    /// Written to cost more work than is done here.
    #[error("opening it would take too much work")]
    #[n(5)]
    TooMuchWork,
}

/// The longest key file, in bytes.
const LONGEST_FILE: usize = 64 << 10;
/// The most work done to open a file, as stock age has it: 2^22 blocks of 1 KiB. A busy machine
/// measures itself slower than it is, so the bound is fixed and not measured.
const MOST_WORK: u8 = 22;

/// Reads a key file.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, UnlockError> {
    file::read(path, LONGEST_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => UnlockError::NoFile,
        io::ErrorKind::FileTooLarge => UnlockError::NotAKey,
        _ => UnlockError::Unreadable,
    })
}

/// Whether `bytes` begin like an age file.
pub(super) fn is_protected(bytes: &[u8]) -> bool {
    bytes.starts_with(b"age-encryption.org/v1\n")
}

/// Protects `text` with a passphrase. `work_factor` is the binary logarithm of the scrypt cost, for
/// tests and throwaway vaults; `None` measures.
pub(super) fn protect(text: &[u8], passphrase: &Passphrase, work_factor: Option<u8>) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new(passphrase.secret());
    if let Some(log_n) = work_factor {
        recipient.set_work_factor(log_n.clamp(1, MOST_WORK));
    }
    epoch::wrap_to([&recipient as &dyn age::Recipient], text)
}

/// Opens what [`protect`] or stock age made.
pub(super) fn unprotect(
    bytes: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, UnlockError> {
    use age::DecryptError;
    use std::io::Read as _;

    let decryptor = age::Decryptor::new(bytes).map_err(|_| UnlockError::NotAKey)?;
    if !decryptor.is_scrypt() {
        return Err(UnlockError::NotAKey);
    }
    let mut identity = age::scrypt::Identity::new(passphrase.secret());
    identity.set_max_work_factor(MOST_WORK);
    let reader =
        decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(|error| {
            match error {
                DecryptError::DecryptionFailed => UnlockError::WrongPassphrase,
                DecryptError::ExcessiveWork { .. } => UnlockError::TooMuchWork,
                _ => UnlockError::NotAKey,
            }
        })?;
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let read = reader.take(LONGEST_FILE as u64).read_to_end(&mut text);
    if read.is_err() {
        text.zeroize();
        return Err(UnlockError::NotAKey);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_file_gives_its_first_line_and_an_empty_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("passphrase");
        for (content, wanted) in [
            ("correct horse\n", Some("correct horse")),
            ("correct horse\r\nmore\n", Some("correct horse")),
            (" spaces stay ", Some(" spaces stay ")),
            ("\n", None),
            ("", None),
        ] {
            std::fs::write(&path, content).expect("written");
            let read = Passphrase::from_file(&path).ok();
            assert_eq!(read.as_ref().map(Passphrase::expose), wanted, "{content:?}");
        }
        assert!(Passphrase::new("short".into()).check_new().is_err());
        assert!(Passphrase::new("long enough".into()).check_new().is_ok());
    }

    #[test]
    fn a_protected_text_opens_with_its_passphrase_only_and_damage_is_told_apart() {
        let right = Passphrase::new("right one".into());
        let sealed = protect(b"text", &right, Some(2));
        assert_eq!(unprotect(&sealed, &right).expect("opens").as_slice(), b"text");
        let wrong = Passphrase::new("wrong one".into());
        assert_eq!(unprotect(&sealed, &wrong).err(), Some(UnlockError::WrongPassphrase));
        for length in 0..sealed.len() {
            let read = unprotect(&sealed[..length], &right);
            assert_eq!(read.err(), Some(UnlockError::NotAKey), "cut at {length}");
        }
        let text = String::from_utf8_lossy(&sealed).replacen(" 2\n", " 40\n", 1);
        let costly = text.split("\n---").next().unwrap_or_default().as_bytes();
        let rest = &sealed[sealed.windows(4).position(|w| w == b"\n---").expect("has a mac")..];
        let costly = [costly, rest].concat();
        assert_eq!(unprotect(&costly, &right).err(), Some(UnlockError::TooMuchWork));
    }
}
