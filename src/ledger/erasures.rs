//! Erasure notes: which keys were dropped, signed, for whoever restores a backup (vault-format §9).
//!
//! ```text
//! kluis erasures 1
//! vault <vault id, hex>
//! from <size, decimal>
//! to <size, decimal>
//! slot <slot id, hex>                 by the order of the ledger
//!
//! — kluis/<vault id, hex> <base64(key id ‖ signature)>
//! ```
//!
//! It names the slots of every box that entries from `from` on and before `to` call forgotten: the one
//! that held its key in the end, and those that held it before it was sealed anew, for an older backup
//! has those. (What a reseal drops is not forgotten, and not named.) A slot id is random and says
//! nothing about anyone, so that notes can be mailed and kept like checkpoints. A restored vault wants
//! notes that follow one another without a gap from the size that its backup covers.

use std::collections::HashMap;
use std::ops::Range;

use super::checkpoint::origin;
use super::{Entry, Error, Fact};
use crate::ids::{ItemId, LetterId, SlotId, VaultId};
use crate::keys::note;
use crate::vault::seal::Kind;

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

/// Shows the entries of a range of the ledger, in order.
pub type Reading<'a, E> = &'a mut dyn FnMut(Range<u64>, &mut dyn FnMut(&Entry)) -> Result<(), E>;

/// The first line.
const FIRST: &str = "kluis erasures 1";

impl Erasures {
    /// What the entries `from..to` forget: one note, or more where one would be too long. They follow
    /// one another. `read` shows entries of the ledger in order: those of the range, and all before
    /// `to` once more if something is forgotten.
    ///
    /// # Errors
    /// What `read` says.
    pub fn of<E>(vault: VaultId, from: u64, to: u64, read: Reading<'_, E>) -> Result<Vec<Self>, E> {
        let mut forgotten: Vec<(u64, SlotId)> = Vec::new();
        read(from..to, &mut |entry| {
            if entry.kind == Fact::Forgotten {
                forgotten.extend(entry.slot.map(|slot| (entry.seq, slot)));
            }
        })?;
        let before = if forgotten.is_empty() {
            HashMap::new()
        } else {
            before(vault, to, &forgotten, read)?
        };
        let mut notes = vec![Self { vault, from, to: from, slots: Vec::new() }];
        for (seq, slot) in forgotten {
            let older = before.get(&slot).map_or(&[][..], Vec::as_slice);
            let note = notes.last_mut().expect("one is begun");
            if note.slots.len() + older.len() + 1 > MOST {
                note.to = seq;
                notes.push(Self { vault, from: seq, to: seq, slots: Vec::new() });
            }
            let note = notes.last_mut().expect("one is begun");
            note.slots.extend(older);
            note.slots.push(slot);
        }
        notes.last_mut().expect("one is begun").to = to;
        Ok(notes)
    }

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

/// Where a box belongs: it stays there when it is sealed anew.
type Spot = (Kind, LetterId, ItemId);

fn spot(vault: VaultId, entry: &Entry) -> Option<Spot> {
    entry.place(vault).map(|place| (place.kind, place.letter, place.item))
}

/// The slots that held the key of a box before the one that is forgotten.
fn before<E>(
    vault: VaultId,
    to: u64,
    forgotten: &[(u64, SlotId)],
    read: Reading<'_, E>,
) -> Result<HashMap<SlotId, Vec<SlotId>>, E> {
    // Most never are sealed anew: first those that were.
    let mut wanted: HashMap<SlotId, Option<Spot>> =
        forgotten.iter().map(|(_, slot)| (*slot, None)).collect();
    read(0..to, &mut |entry| {
        if let Some(place) = entry.slot.and_then(|slot| wanted.get_mut(&slot))
            && entry.kind == Fact::Resealed
        {
            *place = spot(vault, entry);
        }
    })?;
    let mut places: HashMap<Spot, Vec<SlotId>> =
        wanted.values().flatten().map(|place| (*place, Vec::new())).collect();
    if places.is_empty() {
        return Ok(HashMap::new());
    }
    read(0..to, &mut |entry| {
        if let Some(slots) = spot(vault, entry).and_then(|place| places.get_mut(&place)) {
            slots.extend(entry.slot);
        }
    })?;
    let older = |(slot, place): (SlotId, Option<Spot>)| {
        let slots = places.get(&place?)?;
        Some((slot, slots.iter().copied().filter(|other| *other != slot).collect()))
    };
    Ok(wanted.into_iter().filter_map(older).collect())
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
    use crate::ids::Address;
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

    fn slot(n: u64) -> SlotId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        SlotId::new(id)
    }

    /// An entry that records the box of item `item`.
    fn sealed(kind: Fact, item: u8, in_slot: u64) -> Entry {
        Entry {
            letter: Some(LetterId::new([9; 16])),
            item: Some(ItemId::new([item; 16])),
            boxed: Some(Address::new([item; 32])),
            box_kind: Some(Kind::Item),
            slot: Some(slot(in_slot)),
            ..Entry::new(kind, 1)
        }
    }

    fn emptied(kind: Fact, n: u64) -> Entry {
        Entry { slot: Some(slot(n)), ..Entry::new(kind, 1) }
    }

    fn notes(entries: &[Entry], from: u64) -> Vec<Erasures> {
        let to = entries.len() as u64;
        let read = &mut |range: Range<u64>, visit: &mut dyn FnMut(&Entry)| {
            for seq in range {
                visit(&Entry { seq, ..entries[seq as usize].clone() });
            }
            Ok::<(), ()>(())
        };
        Erasures::of(vault(), from, to, read).expect("memory reads")
    }

    #[test]
    fn a_note_names_every_slot_that_ever_held_the_key_of_what_is_forgotten_and_no_other() {
        let entries = [
            sealed(Fact::BoxSealed, 1, 1),
            sealed(Fact::BoxSealed, 2, 2),
            // Both are sealed anew, the first one twice; only the first is forgotten.
            sealed(Fact::Resealed, 1, 11),
            emptied(Fact::SlotDropped, 1),
            sealed(Fact::Resealed, 2, 12),
            emptied(Fact::SlotDropped, 2),
            sealed(Fact::Resealed, 1, 21),
            emptied(Fact::SlotDropped, 11),
            emptied(Fact::Forgotten, 21),
            emptied(Fact::SlotDropped, 99),
        ];
        for from in [0, 2, 8] {
            let notes = notes(&entries, from);
            assert_eq!((notes.len(), notes[0].from, notes[0].to), (1, from, 10));
            assert_eq!(notes[0].slots, [slot(1), slot(11), slot(21)], "from {from}");
        }
        assert!(notes(&entries, 9)[0].slots.is_empty());
    }

    #[test]
    fn long_notes_are_several_that_follow_one_another() {
        let count = MOST as u64 + 8;
        let entries: Vec<Entry> = (0..2 * count)
            .map(|n| emptied(if n % 2 == 0 { Fact::Forgotten } else { Fact::Looked }, n))
            .collect();
        let notes = notes(&entries, 10);
        assert_eq!((notes.len(), notes[0].from, notes[1].to), (2, 10, 2 * count));
        assert_eq!(notes[0].to, notes[1].from);
        let named: usize = notes.iter().map(|note| note.slots.len()).sum();
        assert_eq!(named as u64, count - 5);
        for note in &notes {
            assert_eq!(Erasures::verify(&note.sign(&SEED), vault(), &public()).as_ref(), Ok(note));
        }
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
