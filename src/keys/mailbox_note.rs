//! Which OpenPGP keys the mailbox has: for each a text file that the admin signs.
//!
//! ```text
//! kluis mailbox 1
//! vault 00112233445566778899aabbccddeeff
//! number 2
//! fingerprint <of the OpenPGP key, hexadecimal>
//! certificate <BLAKE3 of <n>.asc, hexadecimal>
//! file <BLAKE3 of <n>.age, hexadecimal>
//! reader lotte age1…
//! recovery age1…
//! ```
//!
//! What a server offers as the mailbox's key is believed only if its fingerprint stands in such a
//! note: else whoever has the server could publish a key of their own and read what is encrypted to
//! it.

use super::admin::AdminKey;
use super::readers::Readers;
use super::roster::{Error, LAYOUT, Lines, Roster, Rule, signed_text};
use crate::ids::{Digest, VaultId};

/// What the admin says of a key of the mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxNote {
    /// The vault it is for.
    pub vault: VaultId,
    /// Its number, above every earlier one: the highest is in force, all decrypt.
    pub number: u32,
    /// The fingerprint of the OpenPGP key, upper-case hexadecimal.
    pub fingerprint: String,
    /// BLAKE3 of the certificate's file.
    pub certificate: Digest,
    /// BLAKE3 of `<n>.age` as it was first wrapped.
    pub file: Digest,
    /// Whom the secret was wrapped to.
    pub readers: Readers,
}

/// The longest fingerprint, in hexadecimal digits: of version 6 (RFC 9580 §5.5.4).
const LONGEST_FINGERPRINT: usize = 64;

impl MailboxNote {
    /// The note of a key whose certificate is `certificate` and whose secret was wrapped, as `file`,
    /// to `roster`.
    #[must_use]
    pub fn new(
        number: u32,
        fingerprint: &str,
        certificate: &str,
        file: &[u8],
        roster: &Roster,
    ) -> Self {
        Self {
            vault: roster.vault,
            number,
            fingerprint: fingerprint.to_ascii_uppercase(),
            certificate: hash(certificate.as_bytes()),
            file: hash(file),
            readers: Readers::of(roster),
        }
    }

    /// Whether these are the files it speaks of.
    #[must_use]
    pub fn is_of(&self, certificate: &str, file: &[u8]) -> bool {
        self.certificate == hash(certificate.as_bytes()) && self.file == hash(file)
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
        let mut lines = Lines::of(text, "kluis mailbox ")?;
        let read = Self {
            vault: lines.parsed("vault ")?,
            number: lines.number("number ")?,
            fingerprint: lines.parsed("fingerprint ")?,
            certificate: lines.parsed("certificate ")?,
            file: lines.parsed("file ")?,
            readers: Readers::parse(&mut lines)?,
        };
        lines.end()?;
        let is_digit = |c: u8| c.is_ascii_digit() || (b'A'..=b'F').contains(&c);
        let fingerprint = read.fingerprint.as_bytes();
        if !(1..=LONGEST_FINGERPRINT).contains(&fingerprint.len())
            || !fingerprint.iter().copied().all(is_digit)
        {
            return Err(Error::Malformed);
        }
        Ok(read)
    }

    /// The one way to write it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("kluis mailbox {LAYOUT}\nvault {}\n", self.vault);
        text.push_str(&format!("number {}\nfingerprint {}\n", self.number, self.fingerprint));
        text.push_str(&format!("certificate {}\nfile {}\n", self.certificate, self.file));
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
        let zero = (self.number == 0).then_some(Rule::Version);
        zero.or_else(|| self.readers.broken_rule()).map_or(Ok(()), |rule| Err(Error::Rule(rule)))
    }
}

fn hash(bytes: &[u8]) -> Digest {
    Digest::new(*blake3::hash(bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::roster::tests::sample;

    #[test]
    fn a_mailbox_note_binds_number_fingerprint_and_files() {
        let (roster, _) = sample();
        let admin = AdminKey::generate();
        let made = MailboxNote::new(2, "ab01", "armor", b"age", &roster);
        let note = made.sign(&admin).expect("follows the rules");
        let read = MailboxNote::parse_signed(&note, &admin.public()).expect("reads");
        assert_eq!((&read, read.fingerprint.as_str()), (&made, "AB01"));
        assert!(read.is_of("armor", b"age"));
        assert!(!read.is_of("armour", b"age") && !read.is_of("armor", b"rage"));
        let other = AdminKey::generate().public();
        assert_eq!(MailboxNote::parse_signed(&note, &other).err(), Some(Error::Signature));
        for (from, to, wanted) in [
            ("number 2", "number 0", Error::Rule(Rule::Version)),
            ("number 2", "number 02", Error::Malformed),
            ("mailbox 1", "mailbox 9", Error::FutureVersion),
            ("AB01", "ab01", Error::Malformed),
            ("AB01", "", Error::Malformed),
            ("kluis mailbox", "kluis epoch", Error::Malformed),
        ] {
            let changed = admin.sign_note(&made.to_text().replacen(from, to, 1));
            let read = MailboxNote::parse_signed(&changed, &admin.public());
            assert_eq!(read.err(), Some(wanted), "{to}");
        }
    }
}
