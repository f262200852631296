//! What a backup consists of, and the signed head that says so (vault-format §11).
//!
//! The head is small and signed with the key of checkpoints; it names the catalog by its hash, and
//! the catalog names every file. Replacing the head is the moment at which a backup is made.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use data_encoding::HEXLOWER;

use crate::ids::{Digest, VaultId};
use crate::keys::note;
use crate::ledger::checkpoint::origin;
use crate::store::PackId;

/// The first line of a head.
const HEAD: &str = "kluis backup 1";
/// The first line of a catalog.
const CATALOG: &str = "kluis backup catalog 1";

/// The signed head of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The vault.
    pub vault: VaultId,
    /// Entries of the ledger that it covers.
    pub entries: u64,
    /// The root of the tree over them.
    pub root: Digest,
    /// When it was made, in minutes since 1970.
    pub minute: u64,
    /// BLAKE3 of the catalog.
    pub catalog: Digest,
}

impl Head {
    /// Signs it with the key of checkpoints.
    #[must_use]
    pub fn sign(&self, seed: &[u8; 32]) -> String {
        note::sign(&self.to_text(), &origin(self.vault), seed)
    }

    /// What a head says, whoever signed it.
    #[must_use]
    pub fn read(note: &str) -> Option<Self> {
        let mut lines = note.lines();
        let mut word = |word: &str| lines.next()?.strip_prefix(word);
        word(HEAD)?;
        let this = Self {
            vault: word("vault ")?.parse().ok()?,
            entries: word("entries ")?.parse().ok()?,
            root: word("root ")?.parse().ok()?,
            minute: word("minute ")?.parse().ok()?,
            catalog: word("catalog ")?.parse().ok()?,
        };
        note.starts_with(&format!("{}\n", this.to_text())).then_some(this)
    }

    /// Whether this key signed the head in `note`.
    #[must_use]
    pub fn is_signed(note: &str, vault: VaultId, public: &[u8; 32]) -> bool {
        note::verify(note, &origin(vault), public).is_some_and(|text| text.starts_with(HEAD))
    }

    /// Whether a later version wrote it.
    #[must_use]
    pub fn is_later(note: &str) -> bool {
        note.starts_with("kluis backup ") && !note.starts_with(&format!("{HEAD}\n"))
    }

    fn to_text(self) -> String {
        let Self { vault, entries, root, minute, catalog } = self;
        format!(
            "{HEAD}\nvault {vault}\nentries {entries}\nroot {root}\nminute {minute}\n\
             catalog {catalog}\n"
        )
    }
}

/// Length and BLAKE3 of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Bytes.
    pub length: u64,
    /// BLAKE3 of them.
    pub hash: Digest,
}

/// Every file of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Files of the ledger: first entry and bytes that belong to the backup.
    pub ledger: BTreeMap<u64, u64>,
    /// Files of keys, by name: entries, minute and four random bytes, so that the newest comes last.
    pub keys: BTreeMap<String, Sum>,
    /// Small files by their path in the vault. They lie under their hash.
    pub files: BTreeMap<String, Sum>,
    /// Packs.
    pub packs: BTreeMap<PackId, Sum>,
}

impl Catalog {
    /// The one way to write it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{CATALOG}\n");
        let mut line = |word: &str, name: &str, sum: &Sum| {
            let _ = writeln!(text, "{word} {name} {} {}", sum.length, sum.hash);
        };
        self.keys.iter().for_each(|(name, sum)| line("keys", name, sum));
        self.files.iter().for_each(|(path, sum)| line("file", path, sum));
        self.packs.iter().for_each(|(id, sum)| line("pack", &HEXLOWER.encode(&id.0), sum));
        for (first, length) in &self.ledger {
            let _ = writeln!(text, "ledger {first:016x} {length}");
        }
        text
    }

    /// Reads a catalog; nothing if it is not written so, or names what no backup has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut this = Self::default();
        let mut lines = text.lines();
        if lines.next() != Some(CATALOG) {
            return None;
        }
        for line in lines {
            let mut words = line.split(' ');
            let (word, name) = (words.next()?, words.next()?);
            let length = words.next()?.parse().ok()?;
            if word == "ledger" {
                this.ledger.insert(u64::from_str_radix(name, 16).ok()?, length);
                continue;
            }
            let sum = Sum { length, hash: words.next()?.parse().ok()? };
            match word {
                "keys" => this.keys.insert(is_plain(name).then(|| name.to_owned())?, sum),
                "file" => this.files.insert(is_small(name).then(|| name.to_owned())?, sum),
                "pack" => {
                    let id = HEXLOWER.decode(name.as_bytes()).ok()?.try_into().ok()?;
                    this.packs.insert(PackId(id), sum)
                }
                _ => return None,
            };
        }
        (this.to_text() == text).then_some(this)
    }
}

/// Files at the top of a vault that a backup has.
pub(super) const SMALL: [&str; 4] = ["kluis.toml", "admin.pub", "checkpoint.pub", "mailbox.asc"];
/// Folders of small files that a backup has.
pub(super) const FOLDERS: [&str; 5] = ["admin", "epochs", "mailbox", "restored", "roster"];

/// Whether a name leads nowhere else.
pub(super) fn is_plain(name: &str) -> bool {
    let is_fine = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    !name.is_empty() && !name.starts_with('.') && name.len() <= 100 && name.bytes().all(is_fine)
}

/// Whether a path is one of a small file of a vault.
fn is_small(path: &str) -> bool {
    match path.split_once('/') {
        Some((folder, name)) => FOLDERS.contains(&folder) && is_plain(name),
        None => SMALL.contains(&path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::note::public_of;

    fn head() -> Head {
        let (root, catalog) = (Digest::new([2; 32]), Digest::new([3; 32]));
        Head { vault: VaultId::new([1; 16]), entries: 9, root, minute: 77, catalog }
    }

    #[test]
    fn a_head_reads_back_and_any_changed_byte_of_it_is_refused() {
        let (seed, vault) = ([4; 32], head().vault);
        let note = head().sign(&seed);
        assert_eq!(Head::read(&note), Some(head()));
        assert!(Head::is_signed(&note, vault, &public_of(&seed)));
        assert!(!Head::is_signed(&note, vault, &public_of(&[5; 32])));
        for at in 0..note.len() - 1 {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            let is_signed = Head::is_signed(&changed, vault, &public_of(&seed));
            assert!(!is_signed || Head::read(&changed).is_none(), "{at}");
        }
        assert!(Head::is_later("kluis backup 2\n") && !Head::is_later(&note));
    }

    #[test]
    fn a_catalog_reads_back_and_one_that_leads_elsewhere_does_not() {
        let sum = Sum { length: 5, hash: Digest::new([6; 32]) };
        let mut catalog = Catalog::default();
        catalog.ledger.insert(0, 512);
        catalog.keys.insert("0000000000000042-0029000000-00aa11bb.age".into(), sum);
        catalog.files.insert("roster/1.note".into(), sum);
        catalog.files.insert("kluis.toml".into(), sum);
        catalog.packs.insert(PackId([7; 16]), sum);
        let text = catalog.to_text();
        assert_eq!(Catalog::parse(&text), Some(catalog));
        for path in ["../x", "roster/../x", "/etc/x", "roster/", "lock", "roster/a/b", "ledger/1"] {
            assert_eq!(Catalog::parse(&text.replace("roster/1.note", path)), None, "{path}");
        }
        for bad in ["", "kluis backup catalog 2\n", &text[..text.len() - 1], &text.repeat(2)] {
            assert_eq!(Catalog::parse(bad), None);
        }
    }
}
