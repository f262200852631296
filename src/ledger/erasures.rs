//! Erasure notes: which keys were dropped, signed, for whoever restores a backup (vault-format §9).
//!
//! ```text
//! kluis erasures 1
//! vault <vault id, hex>
//! from <size, decimal>
//! to <size, decimal>
//! slot <slot id, hex>                 in the order of the ledger
//!
//! — kluis/<vault id, hex> <base64(key id ‖ signature)>
//! ```
//!
//! It names the slots of every box that entries from `from` on and before `to` call forgotten: the one
//! that held its key in the end, and those that held it before it was sealed anew, for an older backup
//! has those. (What a reseal drops is not forgotten, and not named.) A slot id is random and says
//! nothing about anyone, so that notes can be mailed and kept like checkpoints. A restored vault wants
//! notes that follow one another without a gap from the size that its backup covers.

use super::Error;
use super::checkpoint::origin;
use crate::ids::{SlotId, VaultId};
use crate::keys::note;

/// The keys that were dropped between two sizes of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasures {
    /// The vault.
    pub vault: VaultId,
    /// The first entry that was looked at.
    pub from: u64,
    /// Entries there were: the first one that was not looked at.
    pub to: u64,
    /// The slots of what was forgotten, in the order of the ledger; at most [`MOST`].
    pub slots: Vec<SlotId>,
}

/// The most slots that one note names: what erases more is written as several notes.
pub const MOST: usize = 20_000;

/// The first line.
const FIRST: &str = "kluis erasures 1";

impl Erasures {
    /// Signs it with the key of this seed, which signs checkpoints, and gives the note.
    ///
    /// # Panics
    /// If it names more than [`MOST`] slots.
    #[must_use]
    pub fn sign(&self, seed: &[u8; 32]) -> String {
        assert!(self.slots.len() <= MOST, "a note has bounds");
        note::sign(&self.to_text(), &origin(self.vault), seed)
    }

    /// Verifies a note with the public key of checkpoints and reads what it says.
    ///
    /// # Errors
    /// [`Error::FutureVersion`]; [`Error::BadErasures`] if it is no such note or not signed with that
    /// key.
    pub fn verify(note: &str, vault: VaultId, public: &[u8; 32]) -> Result<Self, Error> {
        let text = note::verify(note, &origin(vault), public).ok_or(Error::BadErasures)?;
        let first = text.lines().next().unwrap_or_default();
        if first != FIRST && first.starts_with("kluis erasures ") {
            return Err(Error::FutureVersion);
        }
        let this = Self::parse(text).ok_or(Error::BadErasures)?;
        // There is one way to write it.
        if this.vault == vault && this.to_text() == text {
            Ok(this)
        } else {
            Err(Error::BadErasures)
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut word = |word: &str| lines.next()?.strip_prefix(word);
        word(FIRST)?;
        let vault = word("vault ")?.parse().ok()?;
        let (from, to) = (word("from ")?.parse().ok()?, word("to ")?.parse().ok()?);
        let slots: Option<Vec<SlotId>> =
            lines.map(|line| line.strip_prefix("slot ")?.parse().ok()).collect();
        let slots = slots.filter(|slots| slots.len() <= MOST)?;
        (from <= to).then_some(Self { vault, from, to, slots })
    }

    fn to_text(&self) -> String {
        let Self { vault, from, to, slots } = self;
        let mut text = format!("{FIRST}\nvault {vault}\nfrom {from}\nto {to}\n");
        slots.iter().for_each(|slot| text.push_str(&format!("slot {slot}\n")));
        text
    }
}

/// The notes in a text: a file of them, or a mail that carries them in its lines.
#[must_use]
pub fn in_text(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n");
    let mut notes = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("kluis erasures ") {
        let note = &rest[at..];
        let Some(end) = note.find("\n\n") else { break };
        let signatures = note[end + 2..].split_inclusive('\n');
        let signed: usize =
            signatures.take_while(|line| line.starts_with('\u{2014}')).map(str::len).sum();
        let length = end + 2 + signed;
        if signed > 0 && (at == 0 || rest[..at].ends_with('\n')) {
            let mut note = note[..length].to_owned();
            if !note.ends_with('\n') {
                note.push('\n');
            }
            notes.push(note);
        }
        rest = &rest[at + length..];
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::checkpoint;

    const SEED: [u8; 32] = [5; 32];

    fn vault() -> VaultId {
        VaultId::new([7; 16])
    }

    fn public() -> [u8; 32] {
        checkpoint::public_key(&SEED)
    }

    fn sample() -> Erasures {
        let slots = vec![SlotId::new([2; 16]), SlotId::new([1; 16])];
        Erasures { vault: vault(), from: 3, to: 9, slots }
    }

    #[test]
    fn a_note_verifies_with_its_key_and_for_its_vault_only() {
        let note = sample().sign(&SEED);
        assert_eq!(Erasures::verify(&note, vault(), &public()), Ok(sample()));
        let other = checkpoint::public_key(&[6; 32]);
        assert_eq!(Erasures::verify(&note, vault(), &other), Err(Error::BadErasures));
        let elsewhere = Erasures::verify(&note, VaultId::new([8; 16]), &public());
        assert_eq!(elsewhere, Err(Error::BadErasures));
        let later = note::sign("kluis erasures 2\n", &checkpoint::origin(vault()), &SEED);
        assert_eq!(Erasures::verify(&later, vault(), &public()), Err(Error::FutureVersion));
    }

    #[test]
    fn any_changed_byte_of_a_note_is_refused_and_a_checkpoint_is_none() {
        let note = sample().sign(&SEED);
        for at in 0..note.len() - 1 {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(Erasures::verify(&changed, vault(), &public()).is_err(), "{at}");
            }
        }
        let head = checkpoint::Checkpoint {
            vault: vault(),
            size: 1,
            root: crate::ids::Digest::new([0; 32]),
        };
        let head = head.sign(&SEED);
        assert_eq!(Erasures::verify(&head, vault(), &public()), Err(Error::BadErasures));
        assert!(checkpoint::Checkpoint::verify(&note, &public()).is_err());
        let name = checkpoint::origin(vault());
        let text = sample().to_text().replace("from 3", "from 03");
        let odd = note::sign(&text, &name, &SEED);
        assert_eq!(Erasures::verify(&odd, vault(), &public()), Err(Error::BadErasures));
    }

    #[test]
    fn notes_are_found_in_a_mail() {
        let one = sample().sign(&SEED);
        let two = Erasures { from: 9, to: 12, slots: Vec::new(), ..sample() }.sign(&SEED);
        let mail = format!("Subject: kluis erasures of today\n\nHello,\n\n{one}\n{two}\nBye\n");
        for text in [mail.clone(), mail.replace('\n', "\r\n")] {
            assert_eq!(in_text(&text), [one.clone(), two.clone()]);
        }
        assert_eq!(in_text(one.trim_end()), [one]);
        assert!(in_text("kluis erasures 1\nno end").is_empty());
    }
}
