//! What was forgotten after a backup, said of a restored vault: it is forgotten again, and the vault opens.

use std::collections::HashSet;
use std::path::Path;

use super::{Error, backup, copying, restore};
use crate::ids::{Digest, SlotId};
use crate::keys::admins::Admins;
use crate::keys::roster::{self, Member, Roster, Standing};
use crate::ledger::erasures::Erasures;
use crate::store::{self, NewRoster, Pending, Replayed, Stated};

/// The steps of a replay before those of the store ([`store::REPLAY_STEPS`]), in order; the first two
/// if something was signed after the backup.
pub const SIGNED_STEPS: &[&str] =
    &["replay:hand-over-written", "replay:roster-written", "replay:noted"];

/// What a person says of the time after a backup.
pub enum Since<'a> {
    /// These signed notes name what was forgotten.
    Notes(&'a [String]),
    /// Nothing was forgotten, for this reason.
    Nothing(&'a str),
}

/// What a replay did.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What was dropped.
    pub replayed: Replayed,
    /// Entries that the backup covers.
    pub size: u64,
    /// Up to which entry of the lost ledger erasures are known.
    pub known_to: u64,
    /// The roster that is in force from now on.
    pub roster: Roster,
    /// Who was in the backup's roster and is not in this one.
    pub revoked: Vec<String>,
}

/// Says what was forgotten after the backup of the restored vault in `dir`: it is forgotten, entered,
/// and the vault opens from now on. `signed` are notes that the admin signed after the backup: the
/// newest roster, and hand-overs of the admin key before it. Who was revoked by it gets in no more.
///
/// # Errors
/// [`Error::Settled`], [`Error::Note`], [`Error::Gap`], [`Error::NoReason`], [`Error::Signed`],
/// [`Error::OldRoster`], [`Error::UnfitRoster`], [`Error::NoRoster`], [`Error::Throwaway`]; where
/// the system refuses. The vault stays shut then, and the same call goes on.
pub fn replay(
    dir: &Path,
    cabinet_key: &Path,
    minute: u64,
    since: &Since<'_>,
    signed: &[String],
) -> Result<Settled, Error> {
    let pending = Pending::find(dir)?.ok_or_else(|| Error::Settled(dir.to_owned()))?;
    restore::clear_mark(dir)?;
    let Said { text, drops, known_to } = said(&pending, since)?;
    let admins = admins(dir, &pending)?;
    let known = in_force(dir, &pending, &admins)?;
    let newer = newer(dir, &pending, &known, admins, signed)?;
    let new = newer.as_ref().map(|newer| newer.put(dir, &known)).transpose()?;
    let hash = Digest::new(*blake3::hash(text.as_bytes()).as_bytes());
    let folder = dir.join("restored");
    copying::make_dir(&folder)?;
    copying::put(&folder.join(format!("{hash}.txt")), text.as_bytes(), "replay:noted")?;
    let stated = Stated { hash, known_to, roster: new };
    let replayed = store::settle(dir, cabinet_key, minute, &stated, &drops)?;
    let (size, known_to) = (pending.size, known_to.unwrap_or(pending.size));
    let revoked = newer.iter().flat_map(|newer| gone(&known, &newer.roster));
    let revoked = revoked.map(|member| member.name.clone()).collect();
    let roster = newer.map_or(known, |newer| newer.roster);
    Ok(Settled { replayed, size, known_to, revoked, roster })
}

/// The admin keys that the restored ledger names; what else lies there is of a try that was cut off.
fn admins(dir: &Path, pending: &Pending) -> Result<Admins, Error> {
    let text = |path: &Path| std::fs::read_to_string(path).map_err(Error::at(path));
    let path = dir.join("admin.pub");
    let founding = text(&path)?.trim().parse();
    let founding = founding.map_err(|_| Error::damaged(&path, 0, "no key of an admin"))?;
    let mut admins = Admins::founding(pending.vault, founding);
    for hash in &pending.hand_overs {
        let path = dir.join("admin").join(format!("{}.note", admins.number() + 1));
        let note = text(&path)?;
        if roster::digest(&note) != *hash || admins.follow(&note).is_err() {
            return Err(Error::damaged(&path, 0, "not the hand-over that the ledger names"));
        }
    }
    Ok(admins)
}

/// The roster that the restored ledger names.
fn in_force(dir: &Path, pending: &Pending, admins: &Admins) -> Result<Roster, Error> {
    let folder = dir.join("roster");
    for name in backup::names(&folder)? {
        // What is no text is not it.
        let Ok(note) = std::fs::read_to_string(folder.join(name)) else { continue };
        if pending.roster == Some(roster::digest(&note)) {
            return Ok(admins.roster(&note)?);
        }
    }
    Err(Error::damaged(&folder, 0, "the roster that the ledger names is not there"))
}

/// What the admin signed after the backup.
struct Newer<'a> {
    roster: Roster,
    note: &'a str,
    /// Hand-overs of the admin key before it, by number.
    hand_overs: Vec<(u32, &'a str)>,
}

/// The newest roster of `signed`, if it is not `known`, and the hand-overs that lead to it.
fn newer<'a>(
    dir: &Path,
    pending: &Pending,
    known: &Roster,
    mut admins: Admins,
    signed: &'a [String],
) -> Result<Option<Newer<'a>>, Error> {
    let (mut left, rosters): (Vec<&str>, Vec<&str>) =
        signed.iter().map(String::as_str).partition(|note| note.starts_with("kluis admin "));
    let mut hand_overs = Vec::new();
    while let Some(at) = left.iter().position(|note| admins.follow(note).is_ok()) {
        hand_overs.push((admins.number(), left.remove(at)));
    }
    // One that the backup has, too, is no harm.
    let names = |number: u32| dir.join("admin").join(format!("{number}.note"));
    let is_there = |note: &str| {
        let before = 2..=admins.number();
        before.map(names).any(|path| std::fs::read_to_string(path).is_ok_and(|text| text == note))
    };
    if left.iter().any(|note| !is_there(note)) {
        return Err(Error::Signed(roster::Error::Signature));
    }
    // Of several the newest counts; older ones are signed by an admin key before, perhaps.
    let mut newest: Option<(Roster, &str)> = None;
    let mut unread = Vec::new();
    for note in &rosters {
        match admins.roster(note) {
            Ok(read) if newest.as_ref().is_none_or(|(best, _)| best.version < read.version) => {
                newest = Some((read, note));
            }
            Ok(_) => {}
            Err(error) if rosters.len() == 1 => return Err(error.into()),
            Err(error) => unread.push((claimed(note), error)),
        }
    }
    // One that may be newer than what is taken is never passed over: a hand-over may be missing.
    let best = newest.as_ref().map(|(best, _)| best.version);
    if let Some((_, error)) =
        unread.into_iter().find(|(claimed, _)| *claimed > best || claimed.is_none())
    {
        return Err(error.into());
    }
    let Some((roster, note)) = newest else {
        return match (hand_overs.is_empty(), rosters.is_empty()) {
            (true, true) => Ok(None),
            (_, true) => Err(Error::NoRoster),
            (_, false) => Err(Error::Signed(roster::Error::Signature)),
        };
    };
    let unfit = |why| Err(Error::UnfitRoster { version: roster.version, why });
    match roster.standing(known) {
        Standing::Same if hand_overs.is_empty() => Ok(None),
        // Nothing would start with it.
        Standing::Newer if roster.is_throwaway() => Err(Error::Throwaway),
        // What a server refuses that serves.
        Standing::Newer if roster.loses_admin(known) => unfit("has no admin any more"),
        Standing::Newer
            if roster.number_taken(known, |id| pending.revoked.contains(id)).is_some() =>
        {
            unfit("gives a number to somebody that belonged to somebody else")
        }
        Standing::Newer => Ok(Some(Newer { roster, note, hand_overs })),
        Standing::Conflicting => unfit("is another one of the version that is in the backup"),
        Standing::OtherVault => unfit("is of another vault"),
        Standing::Older | Standing::Same => {
            Err(Error::OldRoster { offered: roster.version, known: known.version })
        }
    }
}

/// The version that a roster says it has, whoever signed it.
fn claimed(note: &str) -> Option<u32> {
    note.lines().find_map(|line| line.strip_prefix("version ")?.parse().ok())
}

impl Newer<'_> {
    /// Puts the notes where the ledger's entries will look for them, durably.
    fn put(&self, dir: &Path, known: &Roster) -> Result<NewRoster, Error> {
        let folder = dir.join("admin");
        if !self.hand_overs.is_empty() {
            copying::make_dir(&folder)?;
        }
        for (number, note) in &self.hand_overs {
            let path = folder.join(format!("{number}.note"));
            copying::put(&path, note.as_bytes(), "replay:hand-over-written")?;
        }
        let path = dir.join("roster").join(format!("{}.note", self.roster.version));
        copying::put(&path, self.note.as_bytes(), "replay:roster-written")?;
        let hand_overs = self.hand_overs.iter();
        Ok(NewRoster {
            hash: roster::digest(self.note),
            hand_overs: hand_overs.map(|(number, note)| (*number, roster::digest(note))).collect(),
            gone: gone(known, &self.roster).map(|member| member.id).collect(),
        })
    }
}

/// Who is not in the newer one any more.
fn gone<'a>(known: &'a Roster, newer: &'a Roster) -> impl Iterator<Item = &'a Member> {
    let is_gone = |member: &&Member| newer.members.iter().all(|other| other.id != member.id);
    known.members.iter().filter(is_gone)
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
        let vault = VaultId::new([1; 16]);
        let (hand_overs, revoked) = (Vec::new(), HashSet::new());
        Pending { vault, size: 100, public, roster: None, hand_overs, revoked }
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
