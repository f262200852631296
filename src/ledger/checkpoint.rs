//! The signed head of the ledger: a C2SP `tlog-checkpoint`, which is a signed note (`keys::note`).
//!
//! ```text
//! kluis/<vault id, hex>
//! <size, decimal>
//! <root, base64>
//!
//! — kluis/<vault id, hex> <base64(key id ‖ signature)>
//! ```
//!
//! A checkpoint kept by an outsider is what makes the ledger provable: whoever holds one finds any
//! edit, drop, reorder or fork of what it covers.

use data_encoding::BASE64;

use super::Error;
use crate::ids::{Digest, VaultId};
use crate::keys::note::{self, Vkey};

/// What a checkpoint says, once its signature is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The vault whose ledger it is.
    pub vault: VaultId,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Digest,
}

/// The longest note that is read, in bytes: a checkpoint and a few signatures of witnesses.
const LONGEST: usize = 16 * 1024;

impl Checkpoint {
    /// Signs the checkpoint with the key of this seed and gives the note.
    #[must_use]
    pub fn sign(&self, seed: &[u8; 32]) -> String {
        let name = origin(self.vault);
        let text = format!("{name}\n{}\n{}\n", self.size, BASE64.encode(self.root.as_bytes()));
        note::sign(&text, &name, seed)
    }

    /// Verifies a note with the public key and reads what it says. Signatures of others
    /// (witnesses) are passed over.
    ///
    /// # Errors
    /// [`Error::BadCheckpoint`] if it is no checkpoint or not signed with that key.
    pub fn verify(note: &str, public: &[u8; 32]) -> Result<Self, Error> {
        let read = || {
            let name = note.lines().next().filter(|_| note.len() <= LONGEST)?;
            let this = Self::parse(note::verify(note, name, public)?)?;
            (origin(this.vault) == name).then_some(this)
        };
        read().ok_or(Error::BadCheckpoint)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let vault = lines.next()?.strip_prefix("kluis/")?.parse().ok()?;
        let written = lines.next()?;
        let size: u64 = written.parse().ok()?;
        let root = BASE64.decode(lines.next()?.as_bytes()).ok()?.try_into().ok()?;
        (size.to_string() == written).then_some(Self { vault, size, root: Digest::new(root) })
    }
}

/// The first checkpoint in a text: by itself, or in the lines of a mail. Only its form is looked at.
#[must_use]
pub fn in_text(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let is_origin =
        |line: &&str| line.strip_prefix("kluis/").is_some_and(|id| id.parse::<VaultId>().is_ok());
    let signed = |from: usize| {
        let head = lines[from..].iter().take_while(|line| !line.is_empty()).count();
        let behind = lines.get(from + head + 1..)?;
        let signatures = behind.iter().take_while(|line| line.starts_with(note::MARK)).count();
        let size = lines.get(from + 1)?;
        let is_head = head >= 3 && signatures > 0 && size.bytes().all(|c| c.is_ascii_digit());
        is_head.then(|| lines[from..=from + head + signatures].join("\n") + "\n")
    };
    (0..lines.len()).filter(|&at| is_origin(&lines[at])).find_map(signed)
}

/// The origin line of a vault's checkpoints, also the name of the key.
#[must_use]
pub fn origin(vault: VaultId) -> String {
    format!("kluis/{vault}")
}

/// The public key of a seed.
#[must_use]
pub fn public_key(seed: &[u8; 32]) -> [u8; 32] {
    note::public_of(seed)
}

/// The public key as outsiders keep it: `name+key id+base64(0x01 ‖ public key)`.
#[must_use]
pub fn vkey(vault: VaultId, public: &[u8; 32]) -> String {
    Vkey { name: origin(vault), public: *public }.to_string()
}

/// Reads what [`vkey`] wrote: the vault and the public key.
///
/// # Errors
/// [`Error::BadCheckpoint`] if it is no such text, or its key id is not that of its key.
pub fn parse_vkey(text: &str) -> Result<(VaultId, [u8; 32]), Error> {
    let key: Vkey = text.trim().parse().map_err(|_| Error::BadCheckpoint)?;
    let vault = key.name.strip_prefix("kluis/").and_then(|id| id.parse().ok());
    Ok((vault.ok_or(Error::BadCheckpoint)?, key.public))
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint { vault: VaultId::new([7; 16]), size: 42, root: Digest::new([9; 32]) }
    }

    #[test]
    fn a_checkpoint_verifies_with_its_key_only() {
        let note = checkpoint().sign(&[1; 32]);
        assert_eq!(Checkpoint::verify(&note, &public_key(&[1; 32])), Ok(checkpoint()));
        assert!(Checkpoint::verify(&note, &public_key(&[2; 32])).is_err());
        assert!(note.starts_with("kluis/07070707070707070707070707070707\n42\nCQkJ"));
    }

    #[test]
    fn a_witness_may_sign_too() {
        let note = checkpoint().sign(&[1; 32]) + "— witness.example/w AAAAAAAA\n";
        assert_eq!(Checkpoint::verify(&note, &public_key(&[1; 32])), Ok(checkpoint()));
    }

    #[test]
    fn a_checkpoint_is_found_in_the_lines_of_a_mail() {
        let one = checkpoint().sign(&[1; 32]);
        let other = Checkpoint { size: 43, ..checkpoint() }.sign(&[1; 32]);
        assert_eq!(in_text(&one), Some(one.clone()));
        let mail = format!("Subject: x\n\nKeep this:\n\n{one}\nThe older one:\n\n{other}\nBye\n");
        assert_eq!(in_text(&mail), Some(one.clone()));
        assert_eq!(in_text(&mail.replace('\n', "  \r\n")), Some(one.clone()));
        assert_eq!(in_text(one.trim_end()), Some(one.clone()));
        let origin = origin(checkpoint().vault);
        for text in ["", "kluis/", &origin, &format!("{origin}\n42\n"), &one.replace("— ", "- ")]
        {
            assert_eq!(in_text(text), None, "{text}");
        }
        let talk = format!("{origin}\nis our vault.\n\n{one}");
        assert_eq!(in_text(&talk), Some(one));
    }

    #[test]
    fn any_changed_byte_of_a_checkpoint_is_refused() {
        let note = checkpoint().sign(&[1; 32]);
        let public = public_key(&[1; 32]);
        for at in 0..note.len() - 1 {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(Checkpoint::verify(&changed, &public).is_err(), "{at}");
            }
        }
        for size in ["042", "+42", "-1", ""] {
            let other = note.replace("\n42\n", &format!("\n{size}\n"));
            assert!(Checkpoint::verify(&other, &public).is_err());
        }
        assert!(Checkpoint::verify("", &public).is_err());
        assert!(Checkpoint::verify(&"\n".repeat(LONGEST + 1), &public).is_err());
    }

    #[test]
    fn the_published_key_reads_back() {
        // The key of RFC 8032 §7.1, test 1.
        let seed: [u8; 32] = HEXLOWER
            .decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .expect("hex")
            .try_into()
            .expect("32 bytes");
        let public = public_key(&seed);
        assert_eq!(
            HEXLOWER.encode(&public),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let vault = VaultId::new([7; 16]);
        let text = vkey(vault, &public);
        assert_eq!(parse_vkey(&text), Ok((vault, public)));
        let (name, key) = text.split_once('+').expect("a name");
        assert!(parse_vkey(&format!("{name}0+{key}")).is_err());
        let (id, rest) = key.split_at(8);
        assert!(parse_vkey(&format!("{name}+{}{rest}", id.replace(&id[..1], "x"))).is_err());
    }
}
