//! The casebook: the only door between deciding and keeping.
//!
//! `receive` seals a letter and commits it as one batch; `listing` and `look` disclose, after the
//! fact is durable; `record` takes what the staff side sealed; `forget` drops keys. Nothing else
//! writes to the vault. `import` takes what did not come over the wire. The state is a fold over
//! the ledger (`state`), made again at every start.
//!
//! Left to others: the wire (`inbox`), the way out (`reply`), who asks (`socket` checks the
//! log-in), what a person decides.

pub mod backup;
pub mod canary;
pub mod copies;
pub mod detail;
pub mod exchange;
pub mod fetched;
mod forget;
pub mod founding;
pub mod hand_in;
pub mod import;
pub mod keyring;
pub mod looking;
mod outsiders;
mod overdue;
mod people;
mod presence;
pub mod protocol;
mod read;
mod receive;
mod record;
pub mod recovery;
pub mod same;
mod scanning;
pub mod socket;
pub mod state;
mod sweep;
mod telling;
mod unmask;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use crate::case::{self, Approval};
use crate::clock::Clock;
use crate::identity::document::Sight;
use crate::identity::policy::CopyTime;
use crate::ids::{CaseId, Digest, EpochId, ItemId, LetterId, StaffId, VaultId};
use crate::keys::epoch::EpochPublic;
use crate::ledger::certificate::{BACKUP_DAYS, ROTATION_DAYS};
use crate::ledger::entry::{Entry, Fact};
use crate::letter::Scan;
use crate::sandbox::Sandbox;
use crate::secret::{Personal, Secret, clear_stack};
use crate::store::{self, Batch, Opening, Store};
use crate::upkeep;
use crate::vault;
use crate::vault::chunk::{self, Base};
use crate::vault::manifest::Manifest;
use crate::vault::seal::{self, SealedBox};

pub use crate::store::PutError;
use detail::ContactDetail;
pub use looking::Bringer;
pub use outsiders::Dispatch;
pub use read::{CaseCard, Filter, LetterCard, Opened, Standing};
pub use receive::{AskRoom, Mail, Receipt, Room};
pub use record::{Act, Due, NewBox, NewChunk, Recording};
use state::{BoxRecord, Sending, State};
pub use telling::Handed;
pub use upkeep::sweep::{Stage as SweepStage, Summary as SweepSummary};

/// Why the casebook did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No epoch is proven yet: nothing can be sealed.
    #[error("no epoch is proven yet")]
    NoEpoch,
    /// No confined parser starts.
    #[error("no confined parser starts on this machine")]
    NoParser,
    /// What a parser made of a letter finds no room in memory now.
    #[error("no memory for the letter now")]
    NoMemory,
    /// There is no such case, letter or item.
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// The member's role does not allow it.
    #[error("your role does not allow this")]
    Forbidden,
    /// The case does not allow it now.
    #[error(transparent)]
    Refused(#[from] crate::case::Refusal),
    /// A change of keys was refused.
    #[error(transparent)]
    Keys(#[from] keyring::Refusal),
    /// Upkeep did nothing.
    #[error(transparent)]
    Upkeep(upkeep::Error),
    /// Only one import is at work at a time.
    #[error("another import is at work")]
    Busy,
    /// Only one reader seals content anew at a time.
    #[error("content is being sealed anew already, over another connection")]
    Renewing,
    /// A backup is at work: one at a time, and nothing is swept meanwhile.
    #[error("a backup is at work")]
    Copying,
    /// What the staff side sent does not fit together.
    #[error("the request does not fit together: {0}")]
    Malformed(&'static str),
    /// What goes is not what a person was shown. Nothing was forgotten.
    #[error("what would be forgotten changed meanwhile")]
    Changed,
}

impl From<vault::Error> for Error {
    fn from(error: vault::Error) -> Self {
        Self::Store(store::Error::Vault(error))
    }
}

impl From<upkeep::Error> for Error {
    fn from(error: upkeep::Error) -> Self {
        match error {
            upkeep::Error::Store(error) => Self::Store(error),
            other => Self::Upkeep(other),
        }
    }
}

/// What a notice is composed from: no personal data but where it goes.
pub struct NoticeFacts<'a> {
    /// The case number.
    pub case: CaseId,
    /// The last day of the first month.
    pub due: jiff::civil::Date,
    /// Text of the letter, to tell its language.
    pub text: &'a str,
    /// Where the notice would go.
    pub to: &'a str,
    /// The `Message-ID` it replies to.
    pub in_reply_to: Option<&'a str>,
    /// Seconds since 1970.
    pub now: u64,
}

/// Composes a notice, or says that there is none; gives the mail as it would be sent.
pub type ComposeNotice = dyn Fn(&NoticeFacts<'_>) -> Option<Vec<u8>> + Send + Sync;
/// Tells which case one of our own message ids names, if its MAC is valid.
pub type CaseOfMessageId = dyn Fn(&str) -> Option<CaseId> + Send + Sync;

/// Asks a virus scanner about content.
pub type AskScanner =
    dyn for<'a> Fn(&'a [u8]) -> Pin<Box<dyn Future<Output = Scan> + Send + 'a>> + Send + Sync;

/// A look at a picture: what it shows, or nothing if nobody could look.
pub type Look<'a> = Pin<Box<dyn Future<Output = Option<Sight>> + Send + 'a>>;
/// Has a picture looked at that this one brought.
pub type AskReader = dyn for<'a> Fn(Bringer, &'a [u8]) -> Look<'a> + Send + Sync;

/// What the gateway lends the casebook.
pub struct Lent {
    /// The time.
    pub clock: Clock,
    /// Where letters are parsed.
    pub sandbox: Sandbox,
    /// Composes notices.
    pub notice: Box<ComposeNotice>,
    /// Reads our own message ids.
    pub case_of: Box<CaseOfMessageId>,
    /// Asks a virus scanner, if there is one.
    pub scanner: Option<Box<AskScanner>>,
    /// Has pictures looked at, if they can be read.
    pub reader: Option<Box<AskReader>>,
}

/// Hashes of the files that an admin signed.
pub struct SignedFiles {
    /// Of the roster in force.
    pub roster: Option<Digest>,
    /// Of each epoch's note.
    pub epochs: HashMap<EpochId, Digest>,
    /// Of each hand-over of the admin key, by the number of the new one, in order.
    pub admins: BTreeMap<u32, Digest>,
}

/// Everything that happened, and the only way to add to it.
pub struct Casebook {
    store: Store,
    vault: VaultId,
    clock: Clock,
    sandbox: Sandbox,
    notice: Box<ComposeNotice>,
    case_of: Box<CaseOfMessageId>,
    scanner: Option<Box<AskScanner>>,
    reader: Option<Box<AskReader>>,
    epochs: RwLock<HashMap<EpochId, EpochPublic>>,
    window: Mutex<Window>,
    state: RwLock<State>,
    contacts: RwLock<Contacts>,
    tells: RwLock<telling::Tells>,
    claims: Arc<Mutex<telling::Claims>>,
    aloft: Mutex<canary::Aloft>,
    /// The case that reports share which belong to none, and since when.
    reports: Mutex<Option<(CaseId, u64)>>,
    turns: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Held from asking whether an act is allowed until it is recorded.
    acts: Mutex<()>,
    /// Held by every batch; alone by what makes an epoch unusable.
    sealing: RwLock<()>,
    outgoing: tokio::sync::Notify,
    /// The import that is at work.
    importing: Mutex<Weak<import::Run>>,
    /// The content that is being sealed anew.
    renewing: Mutex<Weak<exchange::Exchange>>,
    tests: Mutex<Vec<(EpochId, blake3::Hash)>>,
    /// Held while a backup copies: nothing is swept meanwhile.
    copying: Mutex<()>,
    /// Held while a sweep takes a step; when it did, in minutes since 1970.
    sweep_tried: Mutex<Option<u64>>,
    /// When the cabinet's key could not be rotated, in minutes since 1970, if it could not be since.
    rotation_failed: Mutex<Option<u64>>,
    stopping: AtomicBool,
    /// How long copies of identity documents are kept once their case is decided.
    copy_time: Mutex<CopyTime>,
    /// The copies that earlier rounds saw are to go.
    overdue: Mutex<overdue::Overdue>,
}

/// The window secret's base and when it ends. The secret itself is gone at once.
struct Window {
    base: Arc<Base>,
    ends: u64,
}

/// What the open contact boxes say: in memory only, built at start, never written.
#[derive(Default)]
struct Contacts {
    /// Which letter came with this fingerprint, when, and for whom.
    seen: HashMap<Digest, Seen>,
    /// Who a case's letters came from, as [`same_address`] compares.
    senders: HashMap<CaseId, Vec<Personal<String>>>,
    /// Who opened cases, as the budgets of notices count.
    visits: telling::Visits,
}

struct Seen {
    case: CaseId,
    letter: LetterId,
    minute: u64,
    recipients: Vec<Personal<String>>,
}

/// How long equal attachments converge, and how long a re-delivery is recognised: seven days.
const WINDOW_MINUTES: u64 = 7 * 24 * 60;

impl Casebook {
    /// Opens the vault in `dir`, folds its ledger and opens the contact boxes.
    ///
    /// # Errors
    /// What the store says: nothing is served from a ledger that cannot be read.
    pub fn open(
        dir: &Path,
        cabinet_key_dir: &Path,
        lent: Lent,
    ) -> Result<(Arc<Self>, Opening), Error> {
        let mut state = State::default();
        let mut visit = |vault, entry: &Entry| state.apply(vault, entry);
        let (store, opening) = Store::open_and_show(dir, cabinet_key_dir, &mut visit)?;
        let vault = store.vault();
        let now = lent.clock.minutes();
        let casebook = Self {
            vault,
            clock: lent.clock,
            sandbox: lent.sandbox,
            notice: lent.notice,
            case_of: lent.case_of,
            scanner: lent.scanner,
            reader: lent.reader,
            epochs: RwLock::default(),
            window: Mutex::new(Window {
                base: Arc::new(Base::fresh()),
                ends: now + WINDOW_MINUTES,
            }),
            state: RwLock::new(state),
            contacts: RwLock::default(),
            tells: RwLock::default(),
            claims: Arc::default(),
            reports: Mutex::default(),
            aloft: Mutex::default(),
            turns: Mutex::default(),
            acts: Mutex::default(),
            sealing: RwLock::default(),
            outgoing: tokio::sync::Notify::new(),
            importing: Mutex::default(),
            renewing: Mutex::default(),
            tests: Mutex::default(),
            copying: Mutex::default(),
            sweep_tried: Mutex::default(),
            rotation_failed: Mutex::default(),
            stopping: AtomicBool::new(false),
            copy_time: Mutex::default(),
            overdue: Mutex::default(),
            store,
        };
        casebook.catch_up()?;
        casebook.open_contacts()?;
        casebook.contacts.write().expect("no holder panics").visits.settle();
        Ok((Arc::new(casebook), opening))
    }

    /// Folds what the opening itself has entered.
    fn catch_up(&self) -> Result<(), Error> {
        let mut state = self.state_mut();
        loop {
            let entries = self.store.entries(state.position(), ENTRIES_AT_ONCE)?;
            if entries.is_empty() {
                return Ok(());
            }
            entries.iter().for_each(|entry| state.apply(self.vault, entry));
        }
    }

    /// Opens every contact box, on all cores.
    fn open_contacts(&self) -> Result<(), Error> {
        let is_open =
            |record: &&BoxRecord| record.place.kind == seal::Kind::Contact && !record.forgotten;
        let records: Vec<BoxRecord> = self.state().boxes().filter(is_open).copied().collect();
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let share = records.len().div_ceil(workers).max(1);
        std::thread::scope(|scope| {
            let open = |records: &[BoxRecord]| {
                records.iter().try_for_each(|record| self.open_contact(record))
            };
            let parts: Vec<_> =
                records.chunks(share).map(|part| scope.spawn(move || open(part))).collect();
            parts.into_iter().try_for_each(|part| {
                part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }

    fn open_contact(&self, record: &BoxRecord) -> Result<(), Error> {
        match self.open_server_box(record) {
            Ok(manifest) => self.remember(record, &detail::from_bytes(&manifest.detail)?),
            // A damaged contact costs the recognition of one sender, not the start: `check` names
            // it.
            Err(Error::Store(
                store::Error::Vault(_) | store::Error::Damaged { .. } | store::Error::Later { .. },
            )) => {
                tracing::error!(letter = %record.place.letter, "a contact box does not open");
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }

    fn remember(&self, record: &BoxRecord, contact: &ContactDetail) {
        let visit = self.visit(record);
        let mut contacts = self.contacts.write().expect("no holder panics");
        if let Some(address) = &contact.address {
            if let Some(visit) = visit {
                contacts.visits.note(address.expose(), record.case, visit);
            }
            let senders = contacts.senders.entry(record.case).or_default();
            if !senders.iter().any(|known| same_address(known.expose(), address.expose())) {
                senders.push(address.clone());
            }
        }
        let new = || Seen {
            case: record.case,
            letter: record.place.letter,
            minute: record.minute,
            recipients: Vec::new(),
        };
        let seen = contacts.seen.entry(contact.fingerprint).or_insert_with(new);
        // The same bytes after more than a week are a letter of their own: the newest counts.
        if seen.letter != record.place.letter {
            if seen.minute >= record.minute {
                return;
            }
            *seen = new();
        }
        seen.minute = seen.minute.min(record.minute);
        for recipient in &contact.recipients {
            if !seen.recipients.contains(recipient) {
                seen.recipients.push(recipient.clone());
            }
        }
    }

    /// Commits a batch and folds what it recorded.
    ///
    /// # Errors
    /// `NoEpoch` if it is sealed to an epoch whose secret is gone: whoever made it tries again.
    fn commit(&self, batch: Batch) -> Result<u64, Error> {
        let _together = self.sealing.read().expect("no holder panics");
        {
            let state = self.state();
            let is_over = |epoch: &EpochId| state.destroyed.contains(epoch);
            if batch.entries.iter().filter_map(|entry| entry.epoch).any(|epoch| is_over(&epoch)) {
                return Err(Error::NoEpoch);
            }
        }
        self.commit_alone(batch)
    }

    /// Commits while nobody else does, or what concerns no epoch.
    fn commit_alone(&self, batch: Batch) -> Result<u64, Error> {
        let entries = batch.entries.clone();
        let committed = self.store.commit(batch)?;
        self.take_in(committed.first_seq, entries)?;
        Ok(committed.first_seq)
    }

    /// Folds entries that were committed from `first` on. What other threads committed before them
    /// and did not fold yet is folded first, so that the state is always that of a whole beginning
    /// of the ledger.
    fn take_in(&self, first: u64, entries: Vec<Entry>) -> Result<(), Error> {
        let mut state = self.state_mut();
        while state.position() < first {
            let most = usize::try_from(first - state.position()).unwrap_or(usize::MAX);
            let before = self.store.entries(state.position(), most)?;
            if before.is_empty() {
                return Err(vault::Error::Missing.into());
            }
            before.iter().for_each(|entry| state.apply(self.vault, entry));
        }
        for (seq, entry) in (first..).zip(entries) {
            if seq == state.position() {
                state.apply(self.vault, &Entry { seq, ..entry });
            }
        }
        Ok(())
    }

    fn record_fact(&self, entry: Entry) -> Result<u64, Error> {
        self.commit(Batch::of(vec![entry]))
    }

    /// An entry of this kind, now.
    fn entry(&self, kind: Fact) -> Entry {
        Entry::new(kind, self.clock.minutes())
    }

    /// The entry fields that say where a box is.
    fn entry_of(
        &self,
        kind: Fact,
        case: CaseId,
        sealed: &SealedBox,
        content: Digest,
        epoch: Option<EpochId>,
    ) -> Entry {
        let of_box = Entry::of_box(kind, self.clock.minutes(), sealed, content);
        Entry { case: Some(case), epoch, ..of_box }
    }

    /// Says that an item looks like a copy of an identity document.
    fn copy_entry(&self, case: CaseId, letter: LetterId, item: ItemId) -> Entry {
        let (case, letter, item) = (Some(case), Some(letter), Some(item));
        Entry { case, letter, item, ..self.entry(Fact::IdentityCopy) }
    }

    fn epoch(&self) -> Result<(EpochId, EpochPublic), Error> {
        let id = self.state().epoch.ok_or(Error::NoEpoch)?;
        let epochs = self.epochs.read().expect("no holder panics");
        epochs.get(&id).map(|public| (id, public.clone())).ok_or(Error::NoEpoch)
    }

    /// The base of the running window; a new one when seven days are over.
    fn window(&self) -> Arc<Base> {
        let now = self.clock.minutes();
        let mut window = lock(&self.window);
        if now >= window.ends {
            *window = Window { base: Arc::new(Base::fresh()), ends: now + WINDOW_MINUTES };
        }
        Arc::clone(&window.base)
    }

    fn open_box(&self, record: &BoxRecord) -> Result<seal::Inner, Error> {
        if record.forgotten {
            return Err(vault::Error::NoKey.into());
        }
        let key = self.store.box_key(record.slot)?;
        let bytes = self.store.read_box(&record.address)?;
        Ok(seal::open_outer(&bytes, &record.place, record.slot, &key)?)
    }

    fn open_server_box(&self, record: &BoxRecord) -> Result<Manifest, Error> {
        Ok(seal::open_for_server(&self.open_box(record)?, record.content)?)
    }

    /// The whole content of a server-sealed box.
    fn content(&self, manifest: &Manifest) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        for (i, key) in manifest.chunks.iter().enumerate() {
            let address = key.address();
            let mut sealed = self.store.read_chunk(&address)?;
            let body = chunk::open(key, address, &mut sealed)?;
            chunk::unpad(&mut content, body, i, manifest.length)?;
        }
        Ok(content)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("the fold is total and does not panic")
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("the fold is total and does not panic")
    }

    /// The vault's id.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The store, for checks and proofs.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Ends the parsers that wait for letters: before the runtime that they were started in ends.
    pub async fn dismiss_parsers(&self) {
        self.sandbox.dismiss().await;
    }

    /// The time as the casebook reads it, in seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.seconds()
    }

    /// One of the server's own keys, from its slot.
    ///
    /// # Errors
    /// `Unknown` if the ledger names none.
    pub fn server_key(&self, number: u64) -> Result<Secret<[u8; 32]>, Error> {
        let (slot, _) =
            *self.state().server_keys.get(&number).ok_or(Error::Unknown("server key"))?;
        let key = self.store.box_key(slot)?;
        Ok(Secret::filled(|secret| *secret = *key))
    }

    /// The signed head of the ledger, and the size that it covers.
    ///
    /// # Errors
    /// What the store says.
    pub fn checkpoint(&self) -> Result<(String, u64), Error> {
        let note = self.store.checkpoint()?;
        // The size is the second line of a checkpoint (C2SP tlog-checkpoint).
        let size = note.lines().nth(1).and_then(|line| line.parse().ok());
        Ok((note, size.ok_or(vault::Error::Tampered)?))
    }

    /// A case number that is not taken.
    fn fresh_case(&self) -> CaseId {
        let state = self.state();
        loop {
            let id = CaseId::random();
            let is_of_people = state.people.iter().any(|list| list.case == id);
            if !state.cases.contains_key(&id) && !is_of_people {
                return id;
            }
        }
    }

    /// Whether the nightly rotation of the cabinet key is due: a key was dropped, the last rotation
    /// is a day old, and none failed within the hour.
    #[must_use]
    pub fn rotation_is_due(&self) -> bool {
        let now = self.clock.minutes();
        let failed = *lock(&self.rotation_failed);
        if failed.is_some_and(|minute| now.abs_diff(minute) < forget::ROTATION_AGAIN) {
            return false;
        }
        let state = self.state();
        let day = ROTATION_DAYS * 24 * 60;
        state.dropped && now >= state.rotated + day
    }

    /// Hashes of the signed files in force, as the ledger has them.
    #[must_use]
    pub fn signed(&self) -> SignedFiles {
        let state = self.state();
        SignedFiles {
            roster: state.roster,
            epochs: state.epoch_notes.clone(),
            admins: state.admin_notes.clone(),
        }
    }

    /// Makes the public half of a signed epoch known.
    pub fn add_epoch(&self, id: EpochId, public: EpochPublic) {
        self.epochs.write().expect("no holder panics").insert(id, public);
    }

    /// Notes that a member proved an epoch: from now on it is sealed to.
    ///
    /// # Errors
    /// `Unknown` for an epoch without a signed note.
    pub fn prove_epoch(&self, epoch: EpochId, staff: StaffId) -> Result<(), Error> {
        if !self.epochs.read().expect("no holder panics").contains_key(&epoch) {
            return Err(Error::Unknown("epoch"));
        }
        let entry =
            Entry { epoch: Some(epoch), staff: Some(staff), ..self.entry(Fact::EpochProven) };
        self.record_fact(entry).map(drop)
    }
}

impl Casebook {
    /// Clear facts about the vault.
    #[must_use]
    pub fn status(&self) -> protocol::Status {
        let notices_stopped = self.muted_until();
        let state = self.state();
        let mut by_epoch = BTreeMap::new();
        let (mut boxes, mut old_content) = ((0, 0), 0u64);
        for record in state.boxes() {
            if record.forgotten {
                boxes.1 += 1;
                continue;
            }
            boxes.0 += 1;
            if let Some(epoch) = record.epoch {
                *by_epoch.entry(epoch).or_default() += 1;
                if Some(epoch) < state.epoch {
                    let most = 1u64.checked_shl(u32::from(record.size)).unwrap_or(u64::MAX);
                    old_content = old_content.saturating_add(most);
                }
            }
        }
        let open = state.cases.values().filter(|record| record.case.closed.is_none()).count();
        let count = |how| state.outgoing.values().filter(|sending| **sending == how).count() as u64;
        protocol::Status {
            entries: self.store.size(),
            cases: (state.cases.len() as u64, open as u64),
            letters: state.letters.len() as u64,
            boxes,
            outgoing: (count(Sending::Due), count(Sending::Failed), count(Sending::Held)),
            epoch: state.epoch,
            by_epoch: by_epoch.into_iter().collect(),
            old_content,
            horizon_days: BACKUP_DAYS + ROTATION_DAYS,
            cabinet_since: state.rotated.max(state.founded.unwrap_or(0)),
            unproven: state
                .epoch_notes
                .keys()
                .max()
                .copied()
                .filter(|newest| Some(*newest) > state.epoch),
            epochs: {
                let mut epochs: Vec<EpochId> = state.epoch_notes.keys().copied().collect();
                epochs.retain(|epoch| !state.destroyed.contains(epoch));
                epochs.sort_unstable();
                epochs
            },
            now: self.clock.minutes(),
            checkpoint: state.sent.map(|sent| (sent.minute, sent.takers)),
            // Who takes them is the server's to know.
            outsiders: Vec::new(),
            mailboxes: Vec::new(),
            pictures: None,
            backup: state.backup,
            drill: state.drill,
            people: state.people.last().map(|list| (list.minute, list.count)),
            notices_stopped,
        }
    }

    /// Forgets what has served its time: a mail seven days after its delivery; once a case is closed
    /// its contacts and the mails that never left, as soon as they are seven days old (design §5).
    /// Nothing of a case under a legal hold. A list of people that a newer one replaced goes, too; and
    /// copies of identity documents once their case is decided and the policy's time is over, which an
    /// earlier round must have seen, too. Gives how many boxes.
    ///
    /// # Errors
    /// What the store says.
    pub fn tidy(&self) -> Result<usize, Error> {
        self.tidy_at(self.steady())
    }

    /// What the clock that nobody sets says.
    #[must_use]
    pub fn steady(&self) -> Duration {
        self.clock.steady()
    }

    /// As [`tidy`](Self::tidy), when the clock that nobody sets says this.
    ///
    /// # Errors
    /// What the store says.
    pub fn tidy_at(&self, steady: Duration) -> Result<usize, Error> {
        let _turn = lock(&self.acts);
        let approval = Approval::served_its_time();
        let oldest = self.clock.minutes().saturating_sub(WINDOW_MINUTES);
        let mut records: Vec<BoxRecord> = {
            let state = self.state();
            let over = |record: &&BoxRecord| {
                let is_over = state.serves_since(record).is_some_and(|minute| minute < oldest);
                let known = state.cases.get(&record.case);
                is_over && known.is_some_and(|r| case::may_forget(&r.case, &approval).is_ok())
            };
            let old = state.boxes().filter(|r| !r.forgotten && r.minute < oldest);
            old.filter(over).copied().collect()
        };
        records.extend(self.replaced_lists());
        if !records.is_empty() {
            self.drop_keys(&records, &approval)?;
        }
        let copies = self.forget_copies(steady)?;
        self.let_go();
        Ok(records.len() + copies)
    }

    /// Lets go of what is remembered of contacts that were forgotten, and of letters that would not
    /// be taken for a re-delivery any more.
    fn let_go(&self) {
        let now = self.clock.minutes();
        let state = self.state();
        let boxes = state.boxes().filter(|r| r.place.kind == seal::Kind::Contact && !r.forgotten);
        let kept: HashSet<CaseId> = boxes.map(|r| r.case).collect();
        // With the state still in hand: a sender who is remembered meanwhile is in it, or waits.
        let mut contacts = self.contacts.write().expect("no holder panics");
        contacts.senders.retain(|case, _| kept.contains(case));
        contacts.visits.keep(&kept);
        // What was fetched may come again for as long as its server keeps it.
        let is_fetched = |seen: &Seen| kept.contains(&seen.case) && state.is_fetched(seen.letter);
        contacts.seen.retain(|_, seen| now < seen.minute + WINDOW_MINUTES || is_fetched(seen));
    }
}

/// Entries folded at once at start.
const ENTRIES_AT_ONCE: usize = 4096;

/// Whether two addresses are the same mailbox: the domain without regard to case, the local part
/// without it too, as every provider that people write from treats it.
#[must_use]
pub fn same_address(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

/// Runs what blocks, and leaves nothing of it on the stack of the thread that waits for the next.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = || {
        let value = work();
        clear_stack();
        value
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The size bucket of an entry: base-2 logarithm of the padded size, rounded up.
fn bucket(length: u64) -> u8 {
    // What the staff side says of a length is not checked: no bucket is beyond this one.
    let padded = chunk::padded(length.min(1 << 62));
    u8::try_from(padded.next_power_of_two().ilog2()).expect("below 64")
}

/// Hash of a list of ids, which an auditor can compute again.
fn digest_of<'a>(ids: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for id in ids {
        hasher.update(id);
    }
    Digest::new(*hasher.finalize().as_bytes())
}
