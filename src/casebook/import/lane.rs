//! Documents of usual length, sealed where they will be written from.
//!
//! A thread of a run has a lane while it brings one: a staging, whose unit the document is read into
//! and sealed in, and a pile of what is committed with it. Once it is hashed it shows whether it is
//! there already; then it is not sealed. A lane is committed when it has enough letters, so its chunks are not
//! held in memory, and its packs are of a good length. Nothing may rest on what another lane has not
//! committed; so what is on another lane already is put on that one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};

use zeroize::Zeroizing;

use super::papers::Paper;
use super::{About, Error, Fingerprint, PILE_LETTERS, Pile, Run, Taken, lock};
use crate::ids::Address;
use crate::secret::clear_stack;
use crate::store::{Batch, PutError, Repeats, Short, ShortPut, Source, Staging};
use crate::vault::chunk::{self, Base, ChunkKey};

/// A lane is committed when so many bytes of content are on it, with their padding.
const LANE_BYTES: u64 = 96 << 20;
/// Bytes of a document that are looked at to tell what it is.
const BEGINNING: u64 = 1024;

/// All lanes of a run.
#[derive(Default)]
pub(super) struct Lanes {
    all: Mutex<Vec<Arc<Mutex<Lane>>>>,
    /// The number of the lane that each chunk is on, or is being put on.
    places: Mutex<HashMap<Address, usize>>,
}

impl Lanes {
    /// Gives a chunk its lane, unless it has one; says which it has.
    fn claim(&self, chunk: Address, number: usize) -> usize {
        *lock(&self.places).entry(chunk).or_insert(number)
    }

    /// Chunks are not on this lane any more.
    fn leave(&self, chunks: &[Address], number: usize) {
        let mut places = lock(&self.places);
        for chunk in chunks {
            if let Entry::Occupied(place) = places.entry(*chunk)
                && *place.get() == number
            {
                place.remove();
            }
        }
    }
}

/// What one thread has sealed and not committed.
pub(super) struct Lane {
    number: usize,
    staging: Staging<'static>,
    pile: Pile,
}

/// What became of a document on a lane.
enum Put {
    Short(Short),
    /// It is too long, or not wanted.
    No,
    /// A part of it is on the lane of this number.
    Elsewhere(usize),
}

impl Run {
    /// Takes one document as a letter; `name` is the name of its file. Gives nothing if it is longer
    /// than a few chunks, or a virus scanner is to see it first: that is for [`Run::paper`] or
    /// [`Run::long_paper`].
    ///
    /// # Errors
    /// It cannot be read; or as [`Run::mail`], as an error of the casebook.
    pub fn document(
        &self,
        about: About,
        name: &[u8],
        source: &dyn Source,
    ) -> Result<Result<Option<Taken>, std::io::Error>, Error> {
        if self.casebook.scans() && !self.is_dry {
            return Ok(Ok(None));
        }
        let lane = self.lane();
        let mut taken = self.on_lane(&mut lock(&lane), about, name, source, true);
        if let Err(Refusal::Elsewhere(number)) = taken {
            let other = Arc::clone(&lock(&self.lanes.all)[number]);
            taken = self.on_lane(&mut lock(&other), about, name, source, false);
        }
        clear_stack();
        match taken {
            Ok(taken) => Ok(Ok(taken)),
            Err(Refusal::Source(error)) => Ok(Err(error)),
            Err(Refusal::Casebook(error)) => Err(error),
            Err(Refusal::Elsewhere(_)) => Ok(Ok(None)),
        }
    }

    fn on_lane(
        &self,
        lane: &mut Lane,
        about: About,
        name: &[u8],
        source: &dyn Source,
        may_move: bool,
    ) -> Result<Option<Taken>, Refusal> {
        let length = source.length().map_err(Refusal::Source)?;
        let mut beginning = Zeroizing::new([0; BEGINNING as usize]);
        let beginning = &mut beginning[..length.min(BEGINNING) as usize];
        source.copy_at(beginning, 0).map_err(Refusal::Source)?;
        let mut paper = Paper::of(name, length, beginning);
        let fresh;
        let base = if paper.converges() {
            &*self.base
        } else {
            fresh = Base::fresh();
            &fresh
        };
        let mut asked = None;
        let wants = &mut |length: u64, keys: &[ChunkKey]| {
            let mut fingerprint = Fingerprint::new();
            fingerprint.add(name, length, keys.iter().map(ChunkKey::hash));
            let fingerprint = fingerprint.finish(about);
            let place = self.place(fingerprint, about);
            let is_wanted = !self.is_dry && matches!(place, Ok(Some(_)));
            asked = Some((fingerprint, place));
            is_wanted
        };
        let put = lane.put(self, base, source, wants, may_move)?;
        if let Put::Elsewhere(number) = put {
            return Err(Refusal::Elsewhere(number));
        }
        let Some((fingerprint, place)) = asked else { return Ok(None) };
        let (short, place) = match (put, place?) {
            (Put::Short(short), Some(place)) => (short, place),
            (_, place) => {
                return Ok(Some(place.map_or(Taken::There, super::Place::only_counted)));
            }
        };
        // It may have become longer since it was looked at.
        paper.length = short.stored.length;
        paper.keys.clone_from(&short.stored.keys);
        let papers = vec![paper];
        let arrival = self.arrival(about, place.case);
        let mut batch = Batch::default();
        let sealed = match self.casebook.seal_papers(&mut batch, &arrival, papers, fingerprint) {
            Ok(sealed) => sealed,
            Err(error) => {
                lane.take_back(self, short);
                return Err(error.into());
            }
        };
        let case = sealed.case;
        lane.pile.bytes += usize::try_from(chunk::padded(short.stored.length)).unwrap_or_default();
        lane.pile.shared.extend(short.added);
        lane.pile.add(batch, &lock(&self.written));
        lane.pile.contacts.push(sealed.contact);
        lane.pile.places.push((fingerprint, arrival.fresh));
        let is_full =
            lane.pile.bytes as u64 >= LANE_BYTES || lane.pile.places.len() >= PILE_LETTERS;
        let laid = if is_full { self.commit_lane(lane) } else { Ok(()) };
        Ok(place.keep(laid.map(|()| case)).map(Some)?)
    }

    /// A lane that nobody is on.
    fn lane(&self) -> Arc<Mutex<Lane>> {
        let mut lanes = lock(&self.lanes.all);
        // Somebody may be faster; then it is waited for.
        if let Some(lane) = lanes.iter().find(|lane| lane.try_lock().is_ok()) {
            return Arc::clone(lane);
        }
        let staging = self.casebook.store().lasting_staging(Repeats::Write);
        let lane = Lane { number: lanes.len(), staging, pile: Pile::default() };
        let lane = Arc::new(Mutex::new(lane));
        lanes.push(Arc::clone(&lane));
        lane
    }

    /// Commits what is on all lanes, once nobody is on them.
    pub(super) fn finish_lanes(&self) -> Result<(), Error> {
        let lanes = lock(&self.lanes.all).clone();
        lanes.iter().try_for_each(|lane| {
            let mut lane: MutexGuard<'_, Lane> = lock(lane);
            if lane.pile.places.is_empty() { Ok(()) } else { self.commit_lane(&mut lane) }
        })
    }

    fn commit_lane(&self, lane: &mut Lane) -> Result<(), Error> {
        let mut pile = std::mem::take(&mut lane.pile);
        pile.batch.staged.push(lane.staging.take()?);
        let chunks: Vec<Address> = pile.shared.iter().copied().collect();
        self.commit(pile)?;
        self.lanes.leave(&chunks, lane.number);
        Ok(())
    }
}

impl Lane {
    /// Seals a document into the unit, without chunks that this run has written already. It is asked
    /// for its place only here, where it stays: whoever meets it in its place may count on it.
    fn put(
        &mut self,
        run: &Run,
        base: &Base,
        source: &dyn Source,
        wants: &mut dyn FnMut(u64, &[ChunkKey]) -> bool,
        may_move: bool,
    ) -> Result<Put, PutError> {
        let here = &self.pile.shared;
        let is_there =
            |address: &Address| here.contains(address) || lock(&run.written).contains(address);
        let (mut claimed, mut elsewhere) = (Vec::new(), None);
        let mut stays = |length: u64, keys: &[ChunkKey]| {
            for address in keys.iter().map(ChunkKey::address) {
                if is_there(&address) {
                    continue;
                }
                let number = run.lanes.claim(address, self.number);
                if number == self.number {
                    claimed.push(address);
                } else {
                    elsewhere = Some(number);
                }
            }
            (elsewhere.is_none() || !may_move) && wants(length, keys)
        };
        let put = self.staging.put_short(base, source, &mut stays, &is_there);
        if let Ok(ShortPut::Put(short)) = put {
            return Ok(Put::Short(short));
        }
        run.lanes.leave(&claimed, self.number);
        put.map(|_| elsewhere.filter(|_| may_move).map_or(Put::No, Put::Elsewhere))
    }

    fn take_back(&mut self, run: &Run, short: Short) {
        run.lanes.leave(&short.added, self.number);
        self.staging.take_back(short);
    }
}

/// Why a document was not taken.
enum Refusal {
    Source(std::io::Error),
    Casebook(Error),
    Elsewhere(usize),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Casebook(error)
    }
}

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Source(error) => Refusal::Source(error),
            PutError::Store(error) => Refusal::Casebook(error.into()),
        }
    }
}
