//! What was forgotten after a backup, said of a restored vault: it is forgotten again, and the vault opens.

use std::collections::HashSet;
use std::path::Path;

use super::{Error, copying};
use crate::ids::{Digest, SlotId};
use crate::ledger::erasures::Erasures;
use crate::store::{self, Pending, Replayed, Stated};

/// What a person says of the time after a backup.
pub enum Since<'a> {
    /// These signed notes name what was forgotten.
    Notes(&'a [String]),
    /// Nothing was forgotten, for this reason.
    Nothing(&'a str),
}

/// What a replay did.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// What was dropped.
    pub replayed: Replayed,
    /// Entries that the backup covers.
    pub size: u64,
    /// Up to which entry of the lost ledger erasures are known.
    pub known_to: u64,
}

/// Says what was forgotten after the backup of the restored vault in `dir`: it is forgotten, entered,
/// and the vault opens from now on.
///
/// # Errors
/// [`Error::Settled`], [`Error::Note`], [`Error::Gap`], [`Error::NoReason`]; where the system refuses. The
/// vault stays shut then, and the same call goes on.
pub fn replay(
    dir: &Path,
    cabinet_key: &Path,
    minute: u64,
    since: &Since<'_>,
) -> Result<Settled, Error> {
    let pending = Pending::find(dir)?.ok_or_else(|| Error::Settled(dir.to_owned()))?;
    let Said { text, drops, known_to } = said(&pending, since)?;
    let hash = Digest::new(*blake3::hash(text.as_bytes()).as_bytes());
    let folder = dir.join("restored");
    copying::make_dir(&folder)?;
    copying::put(&folder.join(format!("{hash}.txt")), text.as_bytes(), "replay:noted")?;
    let stated = Stated { hash, known_to };
    let replayed = store::settle(dir, cabinet_key, minute, &stated, &drops)?;
    let size = pending.size;
    Ok(Settled { replayed, size, known_to: known_to.unwrap_or(size) })
}

/// What notes or a reason come to.
struct Said {
    text: String,
    drops: HashSet<SlotId>,
    known_to: Option<u64>,
}

fn said(pending: &Pending, since: &Since<'_>) -> Result<Said, Error> {
    let notes = match since {
        Since::Nothing(reason) => {
            let reason = reason.trim();
            if reason.is_empty() || reason.chars().any(char::is_control) {
                return Err(Error::NoReason);
            }
            let text = format!("{reason}\n");
            return Ok(Said { text, drops: HashSet::new(), known_to: None });
        }
        Since::Notes(notes) => notes,
    };
    let mut read = Vec::with_capacity(notes.len());
    for note in *notes {
        read.push(Erasures::verify(note, pending.vault, pending.public.as_bytes())?);
    }
    read.sort_by_key(|note| (note.from, note.to));
    let mut known_to = None;
    let mut drops = HashSet::new();
    for note in read {
        let covered = known_to.unwrap_or(pending.size);
        if note.from > covered {
            return Err(Error::Gap { from: covered, to: note.from });
        }
        drops.extend(note.slots);
        // One that ends before the backup says nothing of the time since.
        if note.to >= covered {
            known_to = Some(note.to);
        }
    }
    let known_to = known_to.ok_or(Error::Gap { from: pending.size, to: pending.size })?;
    Ok(Said { text: notes.join("\n"), drops, known_to: Some(known_to) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VaultId;
    use crate::keys::note::public_of;

    const SEED: [u8; 32] = [3; 32];

    fn pending() -> Pending {
        let public = Digest::new(public_of(&SEED));
        Pending { vault: VaultId::new([1; 16]), size: 100, public }
    }

    fn note(from: u64, to: u64, slot: u8) -> String {
        let slots = vec![SlotId::new([slot; 16])];
        Erasures { vault: pending().vault, from, to, slots }.sign(&SEED)
    }

    fn known(notes: &[String]) -> Result<(u64, usize), Error> {
        said(&pending(), &Since::Notes(notes))
            .map(|said| (said.known_to.expect("notes say so"), said.drops.len()))
    }

    #[test]
    fn notes_must_begin_where_the_backup_ends_and_follow_one_another() {
        let all = [note(120, 130, 3), note(90, 110, 1), note(110, 120, 2)];
        assert_eq!(known(&all).expect("whole"), (130, 3));
        assert_eq!(known(&[note(100, 100, 1)]).expect("whole"), (100, 1));
        for (notes, from, to) in [
            (vec![note(101, 110, 1)], 100, 101),
            (vec![note(90, 110, 1), note(111, 120, 2)], 110, 111),
            (vec![note(50, 99, 1)], 100, 100),
            (vec![], 100, 100),
        ] {
            let refused = known(&notes);
            assert!(
                matches!(refused, Err(Error::Gap { from: f, to: t }) if (f, t) == (from, to)),
                "{from} {to}"
            );
        }
        let forged = Erasures { vault: pending().vault, from: 100, to: 110, slots: Vec::new() };
        assert!(matches!(known(&[forged.sign(&[4; 32])]), Err(Error::Note(_))));
    }

    #[test]
    fn a_reason_is_words() {
        let said = |reason| said(&pending(), &Since::Nothing(reason)).map(|said| said.text);
        assert_eq!(
            said(" the disk broke the same hour ").expect("words"),
            "the disk broke the same hour\n"
        );
        for bad in ["", "  ", "two\nlines"] {
            assert!(matches!(said(bad), Err(Error::NoReason)));
        }
    }
}
