//! Which epochs there are: for each a text file that the admin signs.
//!
//! ```text
//! kluis epoch 1
//! vault 00112233445566778899aabbccddeeff
//! number 2
//! public age1…
//! file <BLAKE3 of <n>.age, hexadecimal>
//! reader lotte age1…
//! reader piet ssh-ed25519 AAAA…
//! recovery age1…
//! ```
//!
//! Like the roster it is written in one way only: readers by the number they have in the roster.

use super::admin::AdminKey;
use super::epoch::{EpochPublic, EpochSecret};
use super::readers::Readers;
use super::roster::{Error, LAYOUT, Lines, Roster, Rule, signed_text};
use crate::ids::{Digest, EpochId, VaultId};

/// What the admin says of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochNote {
    /// The vault it is for.
    pub vault: VaultId,
    /// Its number, above every earlier one.
    pub number: EpochId,
    /// The public half, as age writes it.
    public: String,
    /// BLAKE3 of `<n>.age`.
    pub file: Digest,
    /// Whom the secret was wrapped to.
    pub readers: Readers,
}

impl EpochNote {
    /// The note of an epoch whose secret was wrapped, as `file`, to `roster`.
    #[must_use]
    pub fn new(number: EpochId, public: &EpochPublic, roster: &Roster, file: &[u8]) -> Self {
        Self {
            vault: roster.vault,
            number,
            public: public.to_string(),
            file: Digest::new(*blake3::hash(file).as_bytes()),
            readers: Readers::of(roster),
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> EpochPublic {
        self.public.parse().expect("it was parsed when the note was made")
    }

    /// Whether `file` is the `<n>.age` it speaks of.
    #[must_use]
    pub fn is_of(&self, file: &[u8]) -> bool {
        blake3::hash(file) == *self.file.as_bytes()
    }

    /// Whether `secret` is the other half.
    #[must_use]
    pub fn is_opened_by(&self, secret: &EpochSecret) -> bool {
        secret.public().to_string() == self.public
    }

    /// Reads a note that the admin signed.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse_signed(note: &str, admin: &[u8; 32]) -> Result<Self, Error> {
        let text = signed_text(note, admin)?;
        let read = Self::parse(text)?;
        if read.to_text() != text {
            return Err(Error::Malformed);
        }
        read.check()?;
        Ok(read)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = Lines::of(text, "kluis epoch ")?;
        let vault = lines.parsed("vault ")?;
        let number = EpochId(lines.number("number ")?);
        let public = lines.parsed::<EpochPublic>("public ")?.to_string();
        let file = lines.parsed("file ")?;
        let readers = Readers::parse(&mut lines)?;
        lines.end()?;
        Ok(Self { vault, number, public, file, readers })
    }

    /// The one way to write it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("kluis epoch {LAYOUT}\nvault {}\n", self.vault);
        text.push_str(&format!("number {}\npublic {}\n", self.number.0, self.public));
        text.push_str(&format!("file {}\n", self.file));
        self.readers.write(&mut text);
        text
    }

    /// Checks and signs it; gives the note.
    ///
    /// # Errors
    /// [`Error::Rule`].
    pub fn sign(&self, admin: &AdminKey) -> Result<String, Error> {
        self.check()?;
        Ok(admin.sign_note(&self.to_text()))
    }

    fn check(&self) -> Result<(), Error> {
        let zero = (self.number.0 == 0).then_some(Rule::Version);
        zero.or_else(|| self.readers.broken_rule()).map_or(Ok(()), |rule| Err(Error::Rule(rule)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::roster::digest;
    use crate::keys::roster::tests::sample;
    use crate::keys::wrapped;

    #[test]
    fn an_epoch_note_binds_number_key_and_file() {
        let (roster, keys) = sample();
        let admin = AdminKey::generate();
        let secret = EpochSecret::generate();
        let file = wrapped::wrap_epoch(&secret, &roster);
        let made = EpochNote::new(EpochId(4), &secret.public(), &roster, &file);
        let note = made.sign(&admin).expect("follows the rules");
        let read = EpochNote::parse_signed(&note, &admin.public()).expect("reads");
        assert_eq!(read, made);
        assert_eq!((read.number, read.vault), (EpochId(4), roster.vault));
        assert_eq!(read.readers.members.len(), 2, "the auditor reads nothing");
        assert!(read.is_of(&file) && !read.is_of(b"other"));
        let opened = wrapped::unwrap_epoch(&file, &keys.dpo).expect("opens");
        assert!(read.is_opened_by(&opened) && !read.is_opened_by(&EpochSecret::generate()));
        assert_eq!(read.public().to_string(), secret.public().to_string());

        assert_ne!(digest(&note), digest(&made.to_text()));
        let other = AdminKey::generate().public();
        assert_eq!(EpochNote::parse_signed(&note, &other).err(), Some(Error::Signature));
        let as_roster = Roster::parse_signed(&note, &admin.public());
        assert_eq!(as_roster.err(), Some(Error::Malformed));
        for (from, to, wanted) in [
            ("number 4", "number 0", Error::Rule(Rule::Version)),
            ("number 4", "number 4 ", Error::Malformed),
            ("epoch 1", "epoch 9", Error::FutureVersion),
            ("public age1", "public age2", Error::Malformed),
        ] {
            let changed = admin.sign_note(&made.to_text().replacen(from, to, 1));
            let read = EpochNote::parse_signed(&changed, &admin.public());
            assert_eq!(read.err(), Some(wanted), "{to}");
        }
    }
}
