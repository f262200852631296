//! Takes dead records out of closed packs (vault-format §2): the flag, a barrier, then the hole.
//!
//! ```text
//! index to the copies that stay → head of the pack marked, fdatasync → records flagged, fdatasync
//!   → index → payloads punched
//! a pack with nothing else in it: index to the copies → unlinked, directory durable → index
//! ```
//!
//! Records never move. Whatever the moment of a crash, doing the same again finishes it. Which
//! records are dead is the business of `upkeep`; what is checked here is that each is still the one
//! that was judged, and of a copy, byte for byte, that the one which stays is true. No byte of new
//! room is needed for any of this.

use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use super::disk::{Durable, File};
use super::frame::{self, Bad, GRAIN, HEADER, Header};
use super::packs::{Closing, Head, PackId, Packs, Row, Sort, Spot, UNIT, header_at};
use super::shared::Shared;
use super::{Error, Store};
use crate::ids::{Address, Digest};
use crate::lab::step;

/// The steps of removing records that a crash must survive, in order for one pack: of a pack that
/// stays all but the last, of one that goes the last.
pub const REMOVE_STEPS: &[&str] = &[
    "sweep:head-flagged",
    "sweep:flagged",
    "sweep:flag-synced",
    "sweep:punched",
    "sweep:unlinked",
];

/// How much of a payload tells whether it was punched: at its start and at its end.
const PROBE: usize = 64;

/// A pack that is closed, with what its table lists.
pub struct ClosedPack {
    /// Its name.
    pub id: PackId,
    /// BLAKE3 of its table: another pack of this name has another.
    pub table: Digest,
    /// Its records, in the order of the table.
    pub records: Vec<Listed>,
    head: Head,
    end: u64,
}

/// A record of a closed pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its address.
    pub address: Address,
    /// Where it is.
    pub spot: Spot,
    /// What is left of it.
    pub state: State,
}

/// What is left of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Whole,
    /// It is called dead, and its payload still there: a crash, or a file system without holes.
    Dead,
    /// It is dead, and its payload gone.
    Gone,
    /// Its header is not what was written.
    Damaged,
}

/// A record to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Which of the pack's records.
    pub record: usize,
    /// Where an equal record stays, if it is removed as a copy of that; else nothing refers to it.
    pub copy_of: Option<Spot>,
}

/// What was removed, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Records.
    pub records: u64,
    /// Of these, copies of one that stays.
    pub copies: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Packs, whole.
    pub packs: u64,
    /// Bytes that the file system did not take back.
    pub unpunched: u64,
    /// Copies that stay, for their bytes are not those of the other.
    pub differing: u64,
    /// Records that stay, for they, or the copy that would remain, are damaged.
    pub damaged: u64,
}

impl Removed {
    /// Adds what was removed elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.copies += other.copies;
        self.bytes += other.bytes;
        self.packs += other.packs;
        self.unpunched += other.unpunched;
        self.differing += other.differing;
        self.damaged += other.damaged;
    }
}

impl Store {
    /// The packs that are closed and counted, with the number of their records, by name. Those of a
    /// staging at work are not among them, even where a part of it was committed: what it stores
    /// next may rest on their chunks.
    ///
    /// # Errors
    /// Only where the system refuses.
    pub fn closed_packs(&self) -> Result<Vec<(PackId, u64)>, Error> {
        let packs = &self.shared.packs;
        let mut closed = Vec::new();
        for id in packs.not_held(packs.list()?) {
            let Some((file, length)) = packs.open_if_there(id)? else { continue };
            let closing =
                Packs::closing(&file, length).map_err(|bad| bad.at(&packs.path(id), 0))?;
            if let Closing::Table { records, .. } = closing {
                closed.push((id, records));
            }
        }
        Ok(closed)
    }

    /// A closed pack of this vault; nothing if it is gone, open, damaged at its head or its table,
    /// or of another vault: such a pack is not judged.
    ///
    /// # Errors
    /// Only where the system refuses.
    pub fn closed_pack(&self, id: PackId) -> Result<Option<ClosedPack>, Error> {
        let packs = &self.shared.packs;
        let Some((file, length)) = packs.open_if_there(id)? else { return Ok(None) };
        let closing = Packs::closing(&file, length).map_err(|bad| bad.at(&packs.path(id), 0))?;
        let Closing::Table { offset, .. } = closing else { return Ok(None) };
        let read = || -> Result<(Head, Vec<Row>, Header), Bad> {
            let head = packs.head(&file)?;
            Ok((head, Packs::table(id, &file, length, offset)?, header_at(&file, offset)?))
        };
        let Ok((head, rows, table)) = read() else { return Ok(None) };
        let listed = |(address, spot): Row| {
            let state = match head.has_dead {
                true => state(&file, head.sort, address, spot)?,
                false => State::Whole,
            };
            Ok(Listed { address, spot, state })
        };
        let records = rows.into_iter().map(listed).collect::<Result<_, Error>>()?;
        Ok(Some(ClosedPack { id, table: Digest::new(table.address), records, head, end: offset }))
    }

    /// Removes records of a pack; all of them, and the pack itself goes. A copy is removed only
    /// after it and the record that stays were read and found to be true and equal.
    ///
    /// # Errors
    /// Where the system refuses; a failed barrier ends the store. What was removed before stays
    /// removed, and the same call again does the rest.
    pub fn remove(&self, pack: &ClosedPack, removals: &[Removal]) -> Result<Removed, Error> {
        let path = self.shared.packs.path(pack.id);
        let file = self.shared.packs.disk().open(&path)?;
        let mut removed = Removed::default();
        let mut chosen = Vec::with_capacity(removals.len());
        // Records that nothing refers to and that cannot be marked: they go with their pack only.
        let mut unmarkable = HashSet::new();
        let all: HashSet<Spot> = removals.iter().map(|r| pack.records[r.record].spot).collect();
        self.settle_copies(removals)?;
        for removal in removals {
            let record = &pack.records[removal.record];
            let state = state(&file, pack.head.sort, record.address, record.spot)?;
            let goes = match (state, removal.copy_of) {
                (State::Gone, _) => false,
                (State::Damaged, None) => {
                    unmarkable.insert(removal.record);
                    false
                }
                (_, None) => true,
                (_, Some(other)) if all.contains(&other) => false,
                (_, Some(other)) => {
                    self.is_copy(pack, &file, (record, state), other, &mut removed)?
                }
            };
            if goes {
                chosen.push(*removal);
            }
            if goes && state == State::Whole {
                removed.records += 1;
                removed.copies += u64::from(removal.copy_of.is_some());
                removed.bytes += record.spot.length;
            }
        }
        let going: BTreeSet<usize> = chosen.iter().map(|removal| removal.record).collect();
        let stays = |(i, record): (usize, &Listed)| {
            record.state != State::Gone && !going.contains(&i) && !unmarkable.contains(&i)
        };
        let is_whole = !pack.records.iter().enumerate().any(stays);
        self.point_to_copies(pack, &chosen, is_whole);
        if is_whole {
            self.or_stop(self.shared.packs.disk().remove(&path))?;
            removed.packs = 1;
            step("sweep:unlinked");
            self.point_nowhere(pack, &chosen);
        } else if !chosen.is_empty() {
            self.flag(pack, &file, &chosen)?;
            self.point_nowhere(pack, &chosen);
            removed.unpunched = punch(pack, &file, &going)?;
            step("sweep:punched");
        }
        removed.damaged += if removed.packs == 0 { unmarkable.len() as u64 } else { 0 };
        Ok(removed)
    }

    /// Before records are removed: leads the index from those that go to equal ones that stay,
    /// because they came, or died, after the first look. `goes` says of a pack whether any of its
    /// records goes, or of one whether that does. An index that was made again may lead back to
    /// those that go: asked with what the last call gave, it does the same again only then.
    ///
    /// # Errors
    /// Only where the system refuses.
    pub fn lead_elsewhere(
        &self,
        led: Option<u64>,
        goes: &dyn Fn(PackId, Option<usize>) -> bool,
    ) -> Result<Option<u64>, Error> {
        let Shared { packs, index, .. } = &*self.shared;
        let remade = index.remade();
        if led == Some(remade) {
            return Ok(led);
        }
        for id in packs.list()? {
            let mut rows = Vec::new();
            if goes(id, None) {
                let records = self.closed_pack(id)?.map_or_else(Vec::new, |pack| pack.records);
                let stays = |(i, record): &(usize, Listed)| {
                    record.state == State::Whole && !goes(id, Some(*i))
                };
                let staying = records.into_iter().enumerate().filter(stays);
                rows.extend(staying.map(|(_, record)| (record.address, record.spot)));
            } else {
                packs.each(id, self.shared.limit(id), &mut |address, spot| {
                    rows.push((address, spot));
                    Ok(())
                })?;
            }
            rows.sort_unstable_by_key(|(address, _)| *address);
            for (address, spot) in index.strangers(&rows).unwrap_or_default() {
                let _ = match index.spot(address) {
                    Ok(None) => index.put(&[(address, spot)], &[]),
                    Ok(Some(known)) if goes(known.pack, None) => {
                        index.replace(address, known, Some(spot))
                    }
                    _ => Ok(()),
                };
            }
        }
        let _ = index.flush();
        Ok(Some(remade))
    }

    /// Makes the packs durable in which copies stay, and their names: one that was closed a moment
    /// ago, or left behind by a process that was killed, may not be yet.
    fn settle_copies(&self, removals: &[Removal]) -> Result<(), Error> {
        let packs = &self.shared.packs;
        let kept: BTreeSet<PackId> =
            removals.iter().filter_map(|removal| removal.copy_of).map(|spot| spot.pack).collect();
        for &id in &kept {
            // One that is gone is found out when the copy is read.
            if let Some((file, _)) = packs.open_if_there(id)? {
                self.or_stop(file.sync(Durable::Packs))?;
            }
        }
        if kept.is_empty() { Ok(()) } else { self.or_stop(packs.disk().sync_dir(packs.dir())) }
    }

    /// Whether a record is the copy of another: both true, and equal byte for byte. One that was
    /// called dead was compared before; of its payload a crash may have left a part.
    fn is_copy(
        &self,
        pack: &ClosedPack,
        file: &File,
        (record, state): (&Listed, State),
        other: Spot,
        removed: &mut Removed,
    ) -> Result<bool, Error> {
        let kept = self.shared.packs.read(other, record.address, pack.head.sort);
        let copy = payload(file, pack.head.sort, record)?;
        let is_copy = match (kept, copy) {
            (Ok(kept), Some(copy)) => {
                removed.differing += u64::from(kept != copy);
                kept == copy
            }
            (Ok(_), None) if state == State::Dead => true,
            _ => {
                removed.damaged += 1;
                false
            }
        };
        Ok(is_copy)
    }

    /// A barrier that failed is final for the whole store.
    pub(super) fn or_stop<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        done.inspect_err(|_| self.shared.dead.store(true, Ordering::Release))
    }

    /// Marks the head of the pack, then the records, each durably: a record that is called dead
    /// always lies in a pack that says so.
    fn flag(&self, pack: &ClosedPack, file: &File, chosen: &[Removal]) -> Result<(), Error> {
        let set = |at: u64| {
            let written = file.write_all_at(&[frame::DEAD], at + frame::FLAGS);
            written.map_err(Error::write("a record cannot be marked as dead"))
        };
        if !pack.head.has_dead {
            set(0)?;
            self.or_stop(file.sync(Durable::Packs))?;
        }
        step("sweep:head-flagged");
        for removal in chosen {
            let record = &pack.records[removal.record];
            if record.state == State::Whole {
                set(record.spot.offset)?;
            }
        }
        step("sweep:flagged");
        self.or_stop(file.sync(Durable::Packs))?;
        step("sweep:flag-synced");
        Ok(())
    }

    /// The index learns where the copies are that stay, before the others go; of a pack that goes
    /// it forgets that it knew it, so that it is read again should it come back.
    fn point_to_copies(&self, pack: &ClosedPack, chosen: &[Removal], goes_whole: bool) {
        let index = &self.shared.index;
        for removal in chosen {
            if removal.copy_of.is_some() {
                let record = &pack.records[removal.record];
                let _ = index.replace(record.address, record.spot, removal.copy_of);
            }
        }
        if goes_whole {
            let _ = index.leave_out(pack.id);
        }
        let _ = index.flush();
    }

    /// The index lets go of what is gone. A row that is left behind, by a crash or a doubt, points
    /// to a dead record, which no reader takes for an answer.
    fn point_nowhere(&self, pack: &ClosedPack, chosen: &[Removal]) {
        for removal in chosen {
            let record = &pack.records[removal.record];
            let _ = self.shared.index.replace(record.address, record.spot, None);
        }
    }
}

/// Gives back the room of payloads, each up to the next record or, where only zeros follow, to the
/// end of its unit. Says how many bytes the file system did not take.
fn punch(pack: &ClosedPack, file: &File, going: &BTreeSet<usize>) -> Result<u64, Error> {
    let mut starts: Vec<u64> = pack.records.iter().map(|record| record.spot.offset).collect();
    starts.sort_unstable();
    let mut unpunched = 0;
    for i in going {
        let spot = pack.records[*i].spot;
        let start = spot.offset + HEADER as u64;
        let end = (start + spot.length).next_multiple_of(GRAIN);
        let next = starts.get(starts.partition_point(|&at| at <= spot.offset));
        let end = end.next_multiple_of(UNIT).min(*next.unwrap_or(&pack.end)).min(pack.end);
        match file.punch_hole(start, end - start) {
            Ok(()) => {}
            Err(e) if is_no_hole(e.kind()) => unpunched += spot.length,
            Err(source) => return Err(Error::Io { what: "a hole cannot be punched", source }),
        }
    }
    Ok(unpunched)
}

/// Whether the file system has no holes, or no room to note one.
fn is_no_hole(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unsupported | ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// What is left of the record of `address` at `spot`.
fn state(file: &File, sort: Sort, address: Address, spot: Spot) -> Result<State, Error> {
    let Some(header) = header_of(file, sort, address, spot) else { return Ok(State::Damaged) };
    if !header.is_dead {
        return Ok(State::Whole);
    }
    let is_gone = probes(spot)
        .into_iter()
        .map(|(at, length)| {
            let mut bytes = [0; PROBE];
            file.read_exact_at(&mut bytes[..length], at)?;
            Ok(bytes == [0; PROBE])
        })
        .collect::<std::io::Result<Vec<bool>>>()
        .map_err(Error::io("a record cannot be read"))?
        .into_iter()
        .all(|is_zero| is_zero);
    Ok(if is_gone { State::Gone } else { State::Dead })
}

/// Where the start and the end of a payload are looked at: sealed bytes are never all zero there.
fn probes(spot: Spot) -> [(u64, usize); 2] {
    let start = spot.offset + HEADER as u64;
    let length = spot.length.min(PROBE as u64);
    [(start, length as usize), (start + spot.length - length, length as usize)]
}

fn header_of(file: &File, sort: Sort, address: Address, spot: Spot) -> Option<Header> {
    header_at(file, spot.offset).ok().filter(|header| {
        header.kind == sort.record()
            && header.address == *address.as_bytes()
            && header.length == spot.length
    })
}

/// The payload of a record, dead or not, if it is true.
fn payload(file: &File, sort: Sort, record: &Listed) -> Result<Option<Vec<u8>>, Error> {
    let Some(header) = header_of(file, sort, record.address, record.spot) else { return Ok(None) };
    let mut payload = vec![0; header.length as usize];
    file.read_exact_at(&mut payload, record.spot.offset + HEADER as u64)
        .map_err(Error::io("a record cannot be read"))?;
    Ok(header.holds(&payload).then_some(payload))
}
