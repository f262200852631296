//! What did not come over the wire: stored mail, scanned paper, files that were handed in.
//!
//! A [`Run`] takes letters from many threads. Each is sealed on the thread that brings it and laid
//! on a pile; whoever makes the pile high enough commits it. (A single document is sealed where it
//! will be written from, by way of `lane`.) A letter counts when its pile is committed, at the latest
//! when the run is [finished](Run::finish); one that did not come so far is new to the next run, one
//! that did is recognised by its fingerprint (design §7).
//!
//! All attachments of a run share one base, so equal chunks are written once. No notice is composed:
//! who wrote may have been answered long ago. `wire` is the same over the staff's socket.

mod lane;
mod papers;
pub mod wire;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::civil::Date;

use lane::Lanes;
use papers::Fingerprint;
pub use papers::Paper;

use super::detail::ContactDetail;
use super::receive::{Arrival, Cut, Sealed, fingerprint};
use super::{Casebook, Error, blocking, lock};
use crate::ids::{Address, CaseId, Digest, random};
use crate::ledger::entry::Entry;
use crate::letter::{Envelope, Source};
use crate::request::deadline;
use crate::sandbox::Failure;
use crate::secret::Personal;
use crate::store::Batch;
use crate::vault::chunk::Base;

/// Names a run to those who join it.
pub type RunId = [u8; 16];

/// Where a letter belongs, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The day of receipt; today if it is not said, or later than today.
    pub received: Option<Date>,
    /// The case it is put into; else it opens one, or joins the one that it answers to.
    pub case: Option<CaseId>,
}

/// What became of a letter that was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new, and belongs to this case.
    New(CaseId),
    /// It is there already, or was brought before in this run.
    There,
}

/// One run of imports; only one is at work at a time.
pub struct Run {
    /// Dropped before the casebook: what they staged and did not commit is removed.
    lanes: Lanes,
    casebook: Arc<Casebook>,
    id: RunId,
    is_dry: bool,
    base: Arc<Base>,
    under_way: Mutex<UnderWay>,
    pile: Mutex<Pile>,
    /// Chunks that this run made durable.
    written: Mutex<HashSet<Address>>,
    /// Until this minute since 1970 they are counted on.
    counted_until: u64,
    kept: AtomicU64,
}

/// What was brought and is not committed yet.
#[derive(Default)]
struct UnderWay {
    fingerprints: HashSet<Digest>,
    cases: HashSet<CaseId>,
}

/// What is committed together.
#[derive(Default)]
struct Pile {
    batch: Batch,
    /// Chunks in it that a later letter of this run may refer to.
    shared: HashSet<Address>,
    contacts: Vec<(Entry, ContactDetail)>,
    places: Vec<(Digest, CaseId)>,
    bytes: usize,
}

/// A pile of so many bytes is committed: long writes, few barriers; a few of them are in memory.
const PILE_BYTES: usize = 12 << 20;
/// A pile of so many letters is committed.
const PILE_LETTERS: usize = 256;
/// Minutes for which a run counts on its earlier chunks: less than a sweep takes to remove what was
/// forgotten meanwhile (design §9).
const COUNTED_ON: u64 = 24 * 60;
/// Addresses that a run remembers; equal chunks beyond that are written twice and merged later.
const MOST_WRITTEN: usize = 1 << 18;

impl Run {
    /// Begins a run. A dry one looks at everything and keeps nothing.
    ///
    /// # Errors
    /// `Busy` while another run is at work, `NoEpoch` if nothing can be sealed.
    pub fn begin(casebook: &Arc<Casebook>, is_dry: bool) -> Result<Arc<Self>, Error> {
        casebook.epoch()?;
        let mut running = lock(&casebook.importing);
        if running.strong_count() > 0 {
            return Err(Error::Busy);
        }
        let run = Arc::new(Self {
            lanes: Lanes::default(),
            casebook: Arc::clone(casebook),
            id: random(),
            is_dry,
            base: Arc::new(Base::fresh()),
            under_way: Mutex::default(),
            pile: Mutex::default(),
            written: Mutex::default(),
            counted_until: casebook.clock.minutes() + COUNTED_ON,
            kept: AtomicU64::new(0),
        });
        *running = Arc::downgrade(&run);
        Ok(run)
    }

    /// The run that is at work, if it is this one.
    pub(super) fn join(casebook: &Casebook, id: RunId) -> Result<Arc<Self>, Error> {
        let running = lock(&casebook.importing).upgrade();
        running.filter(|run| run.id == id).ok_or(Error::Unknown("import"))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Letters that are durable.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Acquire)
    }

    /// Takes a stored mail: `mail_from` is the reverse-path as far as it is known.
    ///
    /// # Errors
    /// `Unknown` case, `NoParser`, or what the store says: then nothing more should be brought.
    pub async fn mail(
        self: &Arc<Self>,
        about: About,
        mail_from: String,
        raw: Vec<u8>,
    ) -> Result<Taken, Error> {
        let envelope = Envelope {
            mail_from: Personal::new(mail_from),
            rcpt_to: Vec::new(),
            helo: Personal::new(String::new()),
            client: None,
            source: Source::File,
            tls: false,
        };
        let fingerprint = into_case(fingerprint(&envelope, &raw), about.case);
        let Some(place) = self.place(fingerprint, about)? else { return Ok(Taken::There) };
        if self.is_dry {
            return Ok(place.only_counted());
        }
        let answer = match self.casebook.sandbox.run(&raw).await {
            Err(Failure::Unavailable) => return Err(Error::NoParser),
            answer => answer.ok(),
        };
        let mut cut = blocking(move || Cut::of(answer.as_deref(), &raw)).await;
        self.casebook.scan(&mut cut).await;
        let (this, arrival) = (Arc::clone(self), self.arrival(about, place.case));
        place.keep(
            blocking(move || {
                let mut batch = Batch::default();
                let casebook = &this.casebook;
                let sealed =
                    casebook.seal_mail(&mut batch, &arrival, envelope, &cut, fingerprint)?;
                this.lay(batch, sealed, fingerprint, arrival.fresh)
            })
            .await,
        )
    }

    /// Takes documents that belong together as one letter.
    ///
    /// # Errors
    /// As [`Run::mail`].
    pub fn papers(&self, about: About, papers: Vec<Paper>) -> Result<Taken, Error> {
        let fingerprint = Fingerprint::of(&papers, about);
        let Some(place) = self.place(fingerprint, about)? else { return Ok(Taken::There) };
        if self.is_dry {
            return Ok(place.only_counted());
        }
        let arrival = self.arrival(about, place.case);
        let seal = || {
            let mut batch = Batch::default();
            let sealed = self.casebook.seal_papers(&mut batch, &arrival, papers, fingerprint)?;
            self.lay(batch, sealed, fingerprint, arrival.fresh)
        };
        place.keep(seal())
    }

    /// Makes durable what is not yet. Gives how many letters of this run are.
    ///
    /// # Errors
    /// What the store says.
    pub fn finish(&self) -> Result<u64, Error> {
        let pile = std::mem::take(&mut *lock(&self.pile));
        if !pile.places.is_empty() {
            self.commit(pile)?;
        }
        self.finish_lanes()?;
        Ok(self.kept())
    }

    fn arrival(&self, about: About, fresh: CaseId) -> Arrival {
        let today = deadline::received_on(self.casebook.now());
        Arrival {
            received: about.received.map_or(today, |day| day.min(today)),
            base: Arc::clone(&self.base),
            fresh,
            into: about.case,
            origin: None,
            is_new: false,
        }
    }

    /// A place for the letter with this fingerprint, and a case number; none if it has one already.
    fn place(&self, fingerprint: Digest, about: About) -> Result<Option<Place<'_>>, Error> {
        if about.case.is_some_and(|case| !self.casebook.state().cases.contains_key(&case)) {
            return Err(Error::Unknown("case"));
        }
        let mut under_way = lock(&self.under_way);
        if self.is_there(&under_way, &fingerprint) {
            return Ok(None);
        }
        let mut case = self.casebook.fresh_case();
        while !under_way.cases.insert(case) {
            case = self.casebook.fresh_case();
        }
        under_way.fingerprints.insert(fingerprint);
        Ok(Some(Place { run: self, fingerprint, case, is_kept: false }))
    }

    /// Whether a letter came before, in this run or another.
    fn is_there(&self, under_way: &UnderWay, fingerprint: &Digest) -> bool {
        // In this order: what is committed meanwhile is remembered before it leaves `under_way`.
        under_way.fingerprints.contains(fingerprint) || self.casebook.delivered_before(fingerprint)
    }

    /// Lays a sealed letter on the pile, and commits the pile if it is high enough.
    fn lay(
        &self,
        batch: Batch,
        sealed: Sealed,
        fingerprint: Digest,
        fresh: CaseId,
    ) -> Result<CaseId, Error> {
        let case = sealed.case;
        let full = {
            let mut pile = lock(&self.pile);
            pile.add(batch, &lock(&self.written));
            pile.contacts.push(sealed.contact);
            pile.places.push((fingerprint, fresh));
            let is_full = pile.bytes >= PILE_BYTES || pile.places.len() >= PILE_LETTERS;
            is_full.then(|| std::mem::take(&mut *pile))
        };
        if let Some(pile) = full {
            self.commit(pile)?;
        }
        Ok(case)
    }

    fn commit(&self, pile: Pile) -> Result<(), Error> {
        let Pile { batch, shared, contacts, places, .. } = pile;
        self.casebook.commit(batch)?;
        for (entry, contact) in &contacts {
            self.casebook.remember_entry(entry, contact);
        }
        self.kept.fetch_add(places.len() as u64, Ordering::AcqRel);
        {
            let mut written = lock(&self.written);
            if self.casebook.clock.minutes() >= self.counted_until {
                written.clear();
            } else if written.len() < MOST_WRITTEN {
                written.extend(shared);
            }
        }
        let mut under_way = lock(&self.under_way);
        for (fingerprint, case) in places {
            under_way.fingerprints.remove(&fingerprint);
            under_way.cases.remove(&case);
        }
        Ok(())
    }
}

impl Pile {
    /// Takes in a letter's batch, without the chunks that are here or durable already.
    fn add(&mut self, batch: Batch, written: &HashSet<Address>) {
        for chunk in batch.chunks {
            let address = chunk.address();
            if !written.contains(&address) && self.shared.insert(address) {
                self.bytes += chunk.bytes().len();
                self.batch.chunks.push(chunk);
            }
        }
        self.bytes += batch.boxes.iter().map(|sealed| sealed.bytes().len()).sum::<usize>();
        self.batch.staged.extend(batch.staged);
        self.batch.boxes.extend(batch.boxes);
        self.batch.entries.extend(batch.entries);
    }
}

/// A letter's place in a run; given back when dropped, unless the letter was laid on the pile.
struct Place<'a> {
    run: &'a Run,
    fingerprint: Digest,
    case: CaseId,
    is_kept: bool,
}

impl Place<'_> {
    fn keep(mut self, laid: Result<CaseId, Error>) -> Result<Taken, Error> {
        self.is_kept = laid.is_ok();
        laid.map(Taken::New)
    }

    /// For a dry run: what comes again is there.
    fn only_counted(mut self) -> Taken {
        self.is_kept = true;
        Taken::New(self.case)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            let mut under_way = lock(&self.run.under_way);
            under_way.fingerprints.remove(&self.fingerprint);
            under_way.cases.remove(&self.case);
        }
    }
}

/// What is put into a case by hand is another letter than the one that came by itself.
fn into_case(fingerprint: Digest, case: Option<CaseId>) -> Digest {
    let Some(case) = case else { return fingerprint };
    let mut hasher = blake3::Hasher::new();
    hasher.update(fingerprint.as_bytes());
    hasher.update(case.to_string().as_bytes());
    Digest::new(*hasher.finalize().as_bytes())
}
