//! The staff side of the socket: logs in, asks, and opens what it is given.
//!
//! Holds the epoch secrets of this process, unwrapped with the member's key, which itself stays
//! with the agent. Every chunk is checked as it is opened; a manifest must be the one that the
//! ledger recorded. Before anything is opened the server must prove that its ledger extends the
//! checkpoint that this member saw last.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use super::agent::Opener;
use super::sealing::Sealing;
use super::seen::{self, Newest, Seen};
use crate::casebook::detail::{self, ItemDetail, LetterDetail, NoteDetail, NoteSubject};
use crate::casebook::protocol::{self, Flaw, Request, Response, Status, Unproven};
use crate::casebook::same::Same;
use crate::casebook::state::Wrapped;
use crate::casebook::{Act, CaseCard, Filter, LetterCard, Opened, Standing, SweepSummary};
use crate::identity::people::People;
use crate::identity::policy::Policy;
use crate::ids::{CaseId, EpochId, ItemId, LetterId, StaffId, VaultId};
use crate::keys::admins::Admins;
use crate::keys::epoch::{EpochPublic, EpochSecret};
use crate::keys::epoch_note::EpochNote;
use crate::keys::readers::Readers;
use crate::keys::roster::{self, Roster};
use crate::keys::{challenge, wrapped};
use crate::ledger::certificate::Certificate;
use crate::reply::openpgp::MailboxKey;
use crate::secret::{Personal, clear_stack};
use crate::vault::chunk::{self, ChunkKey};
use crate::vault::manifest::Manifest;
use crate::vault::{self, content, seal};

/// Why the staff side did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens on the socket.
    #[error("the server does not answer")]
    NoServer(#[source] io::Error),
    /// The connection broke.
    #[error("the connection to the server broke")]
    Broken(#[from] io::Error),
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// The member's key does not open what it must.
    #[error("your key does not open this")]
    NoKey,
    /// Something was forgotten.
    #[error("this was forgotten")]
    Forgotten,
    /// What came does not open, or is not what was recorded.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// The server answered something else than was asked.
    #[error("the server answered something unexpected")]
    Unexpected,
    /// No epoch is proven yet, so nothing can be sealed.
    #[error("no epoch is proven yet")]
    NoEpoch,
    /// The server's ledger does not extend what this member saw.
    #[error("the ledger does not extend the checkpoint you saw last: it was rolled back or forked")]
    Forked,
    /// Another vault answers at this socket than before; the file pins the first one.
    #[error("another vault answers at this socket than before ({} names the first)", .0.display())]
    OtherVault(PathBuf),
    /// The server offers another admin's key than it did before.
    #[error("the server names another admin than before: who may do what is not to be believed")]
    OtherAdmin,
    /// The server offers an epoch, or a key of the mailbox, that the admin did not sign.
    #[error("the server offers a key that the admin did not sign")]
    NotSigned,
    /// Who takes the content does not.
    #[error("the content cannot be written: {0}")]
    Sink(#[source] io::Error),
    /// The server offers something older than it did before.
    #[error("the server offers an older {0} than before: it would bring back who was revoked")]
    Older(&'static str),
    /// Nothing was found.
    #[error("there is no such {0}")]
    Unknown(&'static str),
}

/// A letter as staff see it.
pub struct LetterView {
    /// What the server says of it.
    pub card: LetterCard,
    /// What its box says; none if it is forgotten or damaged.
    pub detail: Option<LetterDetail>,
}

impl LetterView {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> LetterId {
        self.card.boxed.place.letter
    }

    /// What was taken out of an item, and out of that.
    #[must_use]
    pub fn inside(&self, item: ItemId) -> Vec<ItemId> {
        let Some(detail) = &self.detail else { return Vec::new() };
        let mut holders = vec![item];
        // A container comes before what it holds.
        for card in &detail.items {
            let holder = card.container.and_then(|nr| detail.items.get(nr as usize));
            if holder.is_some_and(|holder| holders.contains(&holder.id)) {
                holders.push(card.id);
            }
        }
        holders.remove(0);
        holders
    }
}

/// A case as staff see it.
pub struct CaseView {
    /// Clear facts.
    pub card: CaseCard,
    /// Its letters, oldest first.
    pub letters: Vec<LetterView>,
}

/// An item as staff see it.
pub struct ItemView {
    /// Its id.
    pub id: ItemId,
    /// The letter it belongs to.
    pub letter: LetterId,
    /// Its case.
    pub case: CaseId,
    /// The name it came with, its bytes; empty if none.
    pub name: Personal<Vec<u8>>,
    /// The media type as declared.
    pub media_type: String,
    /// What it is.
    pub detail: ItemDetail,
    /// The content as it is stored.
    pub stored: Zeroizing<Vec<u8>>,
}

impl ItemView {
    /// What a person gets who opens it: decoded.
    #[must_use]
    pub fn content(&self) -> Zeroizing<Vec<u8>> {
        match &self.detail {
            ItemDetail::Leaf(item) => Zeroizing::new(crate::letter::content(item, &self.stored)),
            ItemDetail::Skeleton(_) => self.stored.clone(),
        }
    }
}

/// An item that was looked at, its content still sealed: see [`Client::fetch`].
pub struct SealedItem {
    /// Its id.
    pub id: ItemId,
    /// The letter it belongs to.
    pub letter: LetterId,
    /// Its case.
    pub case: CaseId,
    /// The name it came with, its bytes; empty if none.
    pub name: Personal<Vec<u8>>,
    /// What it is.
    pub detail: ItemDetail,
    manifest: Manifest,
}

impl SealedItem {
    /// The media type as declared.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.manifest.media_type
    }

    /// Bytes of the content as it is stored.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.manifest.length
    }

    /// Whether what is stored is what a person gets who opens it.
    #[must_use]
    pub fn is_stored_as_content(&self) -> bool {
        match &self.detail {
            ItemDetail::Leaf(item) => crate::letter::is_stored_as_content(item),
            ItemDetail::Skeleton(_) => true,
        }
    }
}

/// A note as staff see it.
pub struct NoteView {
    /// When, in minutes since 1970.
    pub minute: u64,
    /// What it says.
    pub detail: NoteDetail,
}

/// A logged-in connection.
pub struct Client {
    pub(super) stream: UnixStream,
    pub(super) opener: Opener,
    /// The member's number.
    pub staff: StaffId,
    /// The vault.
    pub vault: VaultId,
    /// The mailbox's address.
    pub mailbox: String,
    /// The public key of checkpoints.
    pub checkpoint_key: String,
    /// Whose signature counts: the admin's key as this vault was first met, and those that it was
    /// handed over to.
    pub(super) admins: Admins,
    /// Whether secrets wait to be wrapped anew to the readers of the roster.
    pub stale: bool,
    sealing: Option<(EpochId, EpochPublic)>,
    /// Whom the epoch that is sealed to was first wrapped to.
    pub(super) wrapped_to: Option<Readers>,
    pub(super) epochs: HashMap<EpochId, EpochSecret>,
    /// What this member remembers of vaults; nowhere, in a throwaway one.
    pub(super) seen: Option<Seen>,
    /// The newest that this member knows of.
    pub(super) newest: Newest,
    /// Whether the admin's key is known from before, so that what it signed can be acted on.
    pub(super) is_met: bool,
}

/// How long the server may take for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(120);

impl Client {
    /// Connects, logs in, compares checkpoints, and proves an epoch that nobody proved.
    ///
    /// # Errors
    /// See [`Error`]; nothing was opened then.
    pub fn connect(
        socket: &Path,
        member: &str,
        opener: Opener,
        seen: Option<&Seen>,
    ) -> Result<Self, Error> {
        let (mut client, unproven) = Self::log_in(socket, member, opener, seen)?;
        if let Some(seen) = seen {
            client.compare(seen)?;
        }
        client.roster()?;
        if let Some((epoch, _)) = client.sealing {
            client.seal_to(epoch)?;
        }
        if let Some(unproven) = unproven {
            let note = client.signed_note(unproven.epoch, &unproven.note)?;
            client.prove(&note, &unproven.test)?;
        }
        Ok(client)
    }

    /// Connects and logs in; what the server's ledger is worth is still to be compared.
    pub(super) fn log_in(
        socket: &Path,
        member: &str,
        opener: Opener,
        seen: Option<&Seen>,
    ) -> Result<(Self, Option<Unproven>), Error> {
        let mut stream = UnixStream::connect(socket).map_err(Error::NoServer)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.set_write_timeout(Some(ANSWER_TIME))?;
        let mut opener = opener;
        protocol::write(&mut stream, &Request::Hello { member: member.to_owned() })?;
        let (file, vault, nonce) = match protocol::read(&mut stream)? {
            Response::Challenge { file, vault, nonce } => (file, vault, nonce),
            Response::Refused { why } => return Err(Error::Refused(why)),
            _ => return Err(Error::Unexpected),
        };
        let message = opener.unwrap(&file).map_err(|_| Error::NoKey)?;
        let response =
            challenge::answer(&message, vault, &nonce, member).ok_or(Error::Unexpected)?;
        protocol::write(&mut stream, &Request::Answer { response })?;
        let Response::Welcome {
            staff,
            vault: welcomed,
            epoch,
            unproven,
            admin,
            checkpoint_key,
            mailbox,
            stale,
            hand_overs,
        } = accepted(protocol::read(&mut stream)?)?
        else {
            return Err(Error::Unexpected);
        };
        if welcomed != vault {
            return Err(Error::Unexpected);
        }
        let is_met = seen.is_some_and(|seen| seen.has_met(vault));
        let admins = match seen {
            Some(seen) => {
                seen.vault(socket, vault)?;
                seen.admins(vault, &admin, &hand_overs)?
            }
            None => seen::offered(vault, &admin, &hand_overs)?,
        };
        let note = match epoch {
            Some((id, note)) => Some(signed(&admins, vault, id, &note)?),
            None => None,
        };
        let sealing = note.as_ref().map(|note| (note.number, note.public()));
        let epochs = HashMap::new();
        let client = Self {
            stream,
            opener,
            staff,
            vault,
            mailbox,
            checkpoint_key,
            admins,
            stale,
            sealing,
            wrapped_to: note.map(|note| note.readers),
            epochs,
            seen: seen.cloned(),
            newest: seen.map_or(Ok(Newest::default()), |seen| seen.newest(vault))?,
            is_met,
        };
        Ok((client, unproven))
    }

    /// An epoch's note, if the admin signed it.
    pub(super) fn signed_note(&self, id: EpochId, note: &str) -> Result<EpochNote, Error> {
        signed(&self.admins, self.vault, id, note)
    }

    pub(super) fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        protocol::write(&mut self.stream, request)?;
        accepted(protocol::read(&mut self.stream)?)
    }

    /// Proves an epoch, if this member reads; says whether.
    pub(super) fn prove(&mut self, note: &EpochNote, test: &[u8]) -> Result<bool, Error> {
        let epoch = note.number;
        // Not every member reads: an auditor proves nothing and needs no epoch.
        let Ok(secret) = self.epoch(epoch) else { return Ok(false) };
        // A file that the server made up is not proven, whatever its test holds.
        if !note.is_opened_by(secret) {
            return Err(Error::NotSigned);
        }
        let content = secret.unwrap(test).map_err(|_| Error::NoKey)?;
        let content = content.as_slice().try_into().map_err(|_| Error::Unexpected)?;
        let public = secret.public();
        if epoch.0 < self.newest.epoch {
            return Err(Error::Older("epoch"));
        }
        self.ask(&Request::Prove { epoch, content })?;
        // Not before: of a server that died meanwhile it may never become true.
        self.seal_to(epoch)?;
        self.sealing = Some((epoch, public));
        Ok(true)
    }

    /// Holds the server to the checkpoint seen last, and remembers the new one.
    pub(super) fn compare(&mut self, seen: &Seen) -> Result<(), Error> {
        let last = seen.last(self.vault)?;
        let since = last.as_ref().map_or(0, |checkpoint| checkpoint.size);
        let (note, proof) = match self.ask(&Request::Checkpoint { since }) {
            Ok(Response::Checkpoint { note, proof }) => (note, proof),
            Ok(_) => return Err(Error::Unexpected),
            // A shorter ledger has no proof to give.
            Err(Error::Refused(_)) if last.is_some() => return Err(Error::Forked),
            Err(error) => return Err(error),
        };
        seen.advance(self.vault, &self.checkpoint_key, &note, last.as_ref(), &proof)
    }

    /// The secret of an epoch, unwrapped with the member's key.
    ///
    /// # Errors
    /// `NoKey` if it is not wrapped to this member.
    pub(super) fn epoch(&mut self, id: EpochId) -> Result<&EpochSecret, Error> {
        if !self.epochs.contains_key(&id) {
            let what = Wrapped::Epoch(id);
            let Response::Wrapped { file, note } = self.ask(&Request::WrappedFile { what })? else {
                return Err(Error::Unexpected);
            };
            let note = self.signed_note(id, &note)?;
            let message = self.opener.unwrap(&file).map_err(|_| Error::NoKey)?;
            let secret = wrapped::epoch_in(&message).map_err(|_| Error::NoKey)?;
            // A file that was swapped for another is not this epoch's, whoever it opens for.
            if !note.is_opened_by(&secret) {
                return Err(Error::NotSigned);
            }
            self.epochs.insert(id, secret);
        }
        self.epochs.get(&id).ok_or(Error::NoKey)
    }

    /// Remembers that `epoch` is sealed to.
    ///
    /// # Errors
    /// `Older` if a newer one was before: somebody who was revoked may have its secret.
    fn seal_to(&mut self, epoch: EpochId) -> Result<(), Error> {
        if epoch.0 < self.newest.epoch {
            return Err(Error::Older("epoch"));
        }
        self.remember(Newest { epoch: epoch.0, ..self.newest })
    }

    pub(super) fn remember(&mut self, newest: Newest) -> Result<(), Error> {
        if newest != self.newest {
            self.newest = newest;
            if let Some(seen) = &self.seen {
                seen.remember(self.vault, &newest)?;
            }
        }
        Ok(())
    }

    /// Remembers the roster in force, and keeps its note.
    pub(super) fn remember_roster(&mut self, roster: &Roster, note: &str) -> Result<(), Error> {
        if let Some(seen) = &self.seen {
            seen.keep_roster(self.vault, roster.version, note)?;
        }
        let known = Some((roster.version, roster::digest(&roster.to_text())));
        self.remember(Newest { roster: known, ..self.newest })
    }

    /// The epoch to seal to.
    ///
    /// # Errors
    /// `NoEpoch` if none is proven.
    pub fn sealing(&self) -> Result<(EpochId, EpochPublic), Error> {
        self.sealing.clone().ok_or(Error::NoEpoch)
    }

    /// Cases with their letters, soonest due first.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn queue(&mut self, filter: Filter) -> Result<Vec<CaseView>, Error> {
        let cases = self.cards(filter)?;
        let mut views = Vec::with_capacity(cases.len());
        for card in cases {
            let mut letters = Vec::with_capacity(card.letters.len());
            for letter in &card.letters {
                let detail = match self.manifest(&letter.boxed) {
                    Ok(manifest) => Some(detail::from_bytes(&manifest.detail)?),
                    Err(Error::Forgotten | Error::Vault(vault::Error::Missing)) => None,
                    Err(other) => return Err(other),
                };
                letters.push(LetterView { card: letter.clone(), detail });
            }
            views.push(CaseView { card, letters });
        }
        Ok(views)
    }

    /// Cases as the server lists them, nothing opened.
    pub(super) fn cards(&mut self, filter: Filter) -> Result<Vec<CaseCard>, Error> {
        match self.ask(&Request::Queue { filter })? {
            Response::Cases { cases } => Ok(cases),
            _ => Err(Error::Unexpected),
        }
    }

    /// One case.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn case(&mut self, case: CaseId) -> Result<CaseView, Error> {
        self.queue(Filter::Case(case))?.pop().ok_or(Error::Unknown("case"))
    }

    /// Looks at items and opens their content.
    ///
    /// # Errors
    /// `Forgotten` if one of them is; see [`Error`].
    pub fn look(&mut self, items: &[ItemId]) -> Result<Vec<ItemView>, Error> {
        let sealed = self.look_at(items)?;
        sealed.into_iter().map(|item| self.open(item)).collect()
    }

    /// Looks at items and leaves their content sealed.
    ///
    /// # Errors
    /// `Forgotten` if one of them is; see [`Error`].
    pub fn look_at(&mut self, items: &[ItemId]) -> Result<Vec<SealedItem>, Error> {
        let boxes = self.opened_items(items)?;
        boxes.iter().map(|opened| self.sealed(opened)).collect()
    }

    /// Says that an item is wanted in spite of a warning. When this returns, the ledger says so.
    ///
    /// # Errors
    /// What the server says.
    pub fn override_warning(&mut self, item: ItemId) -> Result<(), Error> {
        match self.ask(&Request::Override { item })? {
            Response::Recorded { .. } => Ok(()),
            _ => Err(Error::Unexpected),
        }
    }

    /// Says that the national numbers of a letter are shown. When this returns, the ledger says so.
    ///
    /// # Errors
    /// What the server says.
    pub fn numbers_shown(&mut self, case: CaseId, letter: LetterId) -> Result<(), Error> {
        match self.ask(&Request::Numbers { case, letter })? {
            Response::Recorded { .. } => Ok(()),
            _ => Err(Error::Unexpected),
        }
    }

    /// The copies of a case that came in another open case as well.
    ///
    /// # Errors
    /// What the server says.
    pub fn same_copies(&mut self, case: CaseId) -> Result<Vec<Same>, Error> {
        match self.ask(&Request::SameCopies { case })? {
            Response::SameCopies { same } => Ok(same),
            _ => Err(Error::Unexpected),
        }
    }

    /// Says that copies of identity documents of one case are given out without their masks, and why.
    /// When this returns, the ledger says so.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn unmask(
        &mut self,
        case: CaseId,
        (letter, items): (LetterId, Vec<ItemId>),
        reason: &str,
    ) -> Result<u64, Error> {
        let mut sealing = Sealing::new(case, Act::Unmask, self.sealing()?);
        sealing.note(NoteSubject::Unmasking, reason, Some(letter), Vec::new());
        match self.ask(&Request::Unmask { items, reason: sealing.finish() })? {
            Response::Recorded { seq } => Ok(seq),
            _ => Err(Error::Unexpected),
        }
    }

    /// What each right needs.
    ///
    /// # Errors
    /// What the server says.
    pub fn policy(&mut self) -> Result<Policy, Error> {
        match self.ask(&Request::Policy)? {
            Response::Policy { policy } => Ok(policy),
            _ => Err(Error::Unexpected),
        }
    }

    /// The list of people on file, if there is one. A look.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn people(&mut self) -> Result<Option<People>, Error> {
        let Some(opened) = self.opened_people()? else { return Ok(None) };
        let manifest = self.manifest(&opened)?;
        let note: NoteDetail = detail::from_bytes(&manifest.detail)?;
        if note.subject != NoteSubject::People {
            return Err(vault::Error::Tampered.into());
        }
        Ok(Some(detail::from_bytes(&note.attached)?))
    }

    /// The list of people on file, as the server gives it.
    pub(super) fn opened_people(&mut self) -> Result<Option<Opened>, Error> {
        match self.ask(&Request::People)? {
            Response::Boxes { mut boxes } if boxes.len() < 2 => Ok(boxes.pop()),
            _ => Err(Error::Unexpected),
        }
    }

    /// Puts a list of people in the place of the one before, which is forgotten.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn import_people(&mut self, people: &People) -> Result<u64, Error> {
        let list = super::sealing::people(people, self.sealing()?);
        let count = people.people.len() as u64;
        match self.ask(&Request::ImportPeople { list, count })? {
            Response::Recorded { seq } => Ok(seq),
            _ => Err(Error::Unexpected),
        }
    }

    /// Looks at items, as the server gives them.
    pub(super) fn opened_items(&mut self, items: &[ItemId]) -> Result<Vec<Opened>, Error> {
        let Response::Boxes { boxes } = self.ask(&Request::Look { items: items.to_vec() })? else {
            return Err(Error::Unexpected);
        };
        let are_asked_for = boxes.len() == items.len()
            && boxes.iter().zip(items).all(|(opened, item)| opened.place.item == *item);
        if !are_asked_for {
            return Err(Error::Unexpected);
        }
        Ok(boxes)
    }

    /// Opens a box and all of its content, and keeps nothing. Gives the length of the content.
    pub(super) fn verify(&mut self, opened: &Opened) -> Result<u64, Error> {
        let manifest = self.manifest(opened)?;
        self.content(&manifest, &mut |_| Ok(()))?;
        Ok(manifest.length)
    }

    fn sealed(&mut self, opened: &Opened) -> Result<SealedItem, Error> {
        let manifest = self.manifest(opened)?;
        Ok(SealedItem {
            id: opened.place.item,
            letter: opened.place.letter,
            case: opened.case,
            name: Personal::new(manifest.name.clone()),
            detail: detail::from_bytes(&manifest.detail)?,
            manifest,
        })
    }

    /// Opens the content of an item in memory.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(&mut self, item: SealedItem) -> Result<ItemView, Error> {
        let fits = item.length() <= item.manifest.chunks.len() as u64 * chunk::BODY as u64;
        if !fits {
            return Err(vault::Error::Tampered.into());
        }
        // Reserved at once: a vector that grows moves what it holds. The length is authentic, and
        // the chunks are counted against it.
        let mut stored = Zeroizing::new(Vec::with_capacity(item.length() as usize));
        self.fetch(&item, &mut |part| {
            stored.extend_from_slice(part);
            Ok(())
        })?;
        Ok(ItemView {
            id: item.id,
            letter: item.letter,
            case: item.case,
            name: item.name,
            media_type: item.manifest.media_type.clone(),
            detail: item.detail,
            stored,
        })
    }

    /// Gives the content of an item to `sink` as it is stored, in order, piece by piece: constant
    /// memory whatever its size. Every piece was checked before.
    ///
    /// # Errors
    /// See [`Error`]; `sink` may have got a true beginning of the content then.
    pub fn fetch(
        &mut self,
        item: &SealedItem,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), Error> {
        self.content(&item.manifest, sink)
    }

    fn content(
        &mut self,
        manifest: &Manifest,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), Error> {
        let Manifest { chunks: keys, length, .. } = manifest;
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let pipe = Mutex::new(Pipe { stream: &mut self.stream, keys, asked: 0, answered: 0 });
        let lock = || pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let fetched =
            content::open(keys, *length, cores, &|buffer| lock().next(buffer), &mut |part| {
                sink(part).map_err(Error::Sink)
            });
        clear_stack();
        // What was asked for and not taken any more must not be taken for another answer.
        let drained = lock().drain();
        fetched.and(drained)
    }

    fn manifest(&mut self, opened: &Opened) -> Result<Manifest, Error> {
        let inner = match (opened.standing, &opened.inner) {
            (Standing::Kept, Some(inner)) => inner,
            (Standing::Forgotten, _) => return Err(Error::Forgotten),
            _ => return Err(vault::Error::Missing.into()),
        };
        if opened.place.vault != self.vault {
            return Err(vault::Error::Tampered.into());
        }
        let epoch = opened.epoch.ok_or(Error::Unexpected)?;
        let secret = self.epoch(epoch)?;
        let manifest = seal::open_inner(inner, secret, opened.content);
        clear_stack();
        Ok(manifest?)
    }

    /// The notes of a case, oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn notes(&mut self, case: CaseId) -> Result<Vec<NoteView>, Error> {
        let boxes = self.opened_notes(case)?;
        let mut notes = Vec::with_capacity(boxes.len());
        for opened in boxes.iter().filter(|opened| opened.standing == Standing::Kept) {
            let manifest = self.manifest(opened)?;
            let detail = detail::from_bytes(&manifest.detail)?;
            notes.push(NoteView { minute: opened.minute, detail });
        }
        Ok(notes)
    }

    /// The notes of a case, as the server gives them.
    pub(super) fn opened_notes(&mut self, case: CaseId) -> Result<Vec<Opened>, Error> {
        match self.ask(&Request::Notes { case })? {
            Response::Boxes { boxes } => Ok(boxes),
            _ => Err(Error::Unexpected),
        }
    }

    /// The mailbox's OpenPGP keys, the current one first.
    ///
    /// # Errors
    /// `NoKey` if one does not open, `NotSigned` if it is not the one that the admin signed.
    pub fn mailbox_keys(&mut self) -> Result<Vec<MailboxKey>, Error> {
        let Response::Files { files, notes } = self.ask(&Request::MailboxFiles)? else {
            return Err(Error::Unexpected);
        };
        if files.len() != notes.len() {
            return Err(Error::Unexpected);
        }
        let mut keys = Vec::with_capacity(files.len());
        let mut highest = 0;
        let mut newest = u32::MAX;
        for (file, note) in files.iter().zip(&notes) {
            let note = self
                .admins
                .mailbox(note)
                .ok()
                // Each older than the one before: none twice, and the newest first.
                .filter(|note| note.vault == self.vault && note.number < newest)
                .ok_or(Error::NotSigned)?;
            newest = note.number;
            highest = highest.max(newest);
            let message = self.opener.unwrap(file).map_err(|_| Error::NoKey)?;
            let secret =
                wrapped::secret_in(wrapped::Kind::Mailbox, &message).map_err(|_| Error::NoKey)?;
            let key = MailboxKey::from_secret_bytes(&secret).map_err(|_| Error::NoKey)?;
            if !key.certificate().fingerprint().expose().eq_ignore_ascii_case(&note.fingerprint) {
                return Err(Error::NotSigned);
            }
            keys.push(key);
        }
        if highest < self.newest.mailbox {
            return Err(Error::Older("key of the mailbox"));
        }
        self.remember(Newest { mailbox: highest, ..self.newest })?;
        Ok(keys)
    }

    /// Where an answer to a case goes, and the message id that it replies to.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn reply_to(
        &mut self,
        case: CaseId,
    ) -> Result<(Personal<String>, Option<Personal<String>>), Error> {
        match self.ask(&Request::ReplyTo { case })? {
            Response::Contact { address, message_id } => Ok((address, message_id)),
            _ => Err(Error::Unexpected),
        }
    }

    /// A message id of ours for a mail of this case.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn message_id(&mut self, case: CaseId) -> Result<String, Error> {
        match self.ask(&Request::MessageId { case })? {
            Response::Text { text } => Ok(text),
            _ => Err(Error::Unexpected),
        }
    }

    /// Records something; gives the position of its first entry.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn record(&mut self, recording: crate::casebook::Recording) -> Result<u64, Error> {
        match self.ask(&Request::Record { recording })? {
            Response::Recorded { seq } => Ok(seq),
            _ => Err(Error::Unexpected),
        }
    }

    /// Forgets items of a case, and whatever goes with them.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn forget(
        &mut self,
        items: Vec<ItemId>,
        reason: crate::casebook::Recording,
        now: bool,
    ) -> Result<Vec<Certificate>, Error> {
        self.forgotten(Request::Forget { items, reason, now, planned: None })
    }

    /// Forgets items of a case, if what goes with them is just what was `planned`: items, and letter
    /// boxes by their letters' ids.
    ///
    /// # Errors
    /// `Refused` if it changed meanwhile, and nothing is forgotten; see [`Error`].
    pub fn forget_planned(
        &mut self,
        items: Vec<ItemId>,
        planned: Vec<ItemId>,
        reason: crate::casebook::Recording,
        now: bool,
    ) -> Result<Vec<Certificate>, Error> {
        self.forgotten(Request::Forget { items, reason, now, planned: Some(planned) })
    }

    fn forgotten(&mut self, request: Request) -> Result<Vec<Certificate>, Error> {
        match self.ask(&request)? {
            Response::Certificates { certificates } => Ok(certificates),
            _ => Err(Error::Unexpected),
        }
    }

    /// The certificate of a forgetting that is an older entry.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn certificate(&mut self, seq: u64) -> Result<Certificate, Error> {
        match self.ask(&Request::Certificate { seq })? {
            Response::Certificates { mut certificates } if certificates.len() == 1 => {
                Ok(certificates.remove(0))
            }
            _ => Err(Error::Unexpected),
        }
    }

    /// Rotates the cabinet key.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn rotate_cabinet(&mut self) -> Result<(), Error> {
        self.ask(&Request::RotateCabinet).map(drop)
    }

    /// Clear facts about the vault.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn status(&mut self) -> Result<Status, Error> {
        match self.ask(&Request::Status)? {
            Response::Status { status } => Ok(status),
            _ => Err(Error::Unexpected),
        }
    }

    /// Checks the vault without keys: how much was looked at, what is wrong, and how many problems
    /// there are beyond these.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn check(&mut self) -> Result<(u64, Vec<Flaw>, u64), Error> {
        match self.ask(&Request::Check)? {
            Response::Checked { looked_at, problems, more } => Ok((looked_at, problems, more)),
            _ => Err(Error::Unexpected),
        }
    }

    /// Has the server take the next step of a sweep, or say what it would be.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn sweep(&mut self, dry: bool) -> Result<SweepSummary, Error> {
        match self.ask(&Request::Sweep { dry })? {
            Response::Swept { summary } => Ok(summary),
            _ => Err(Error::Unexpected),
        }
    }

    /// All ledger entries as they stand, and a checkpoint that covers them.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ledger(&mut self) -> Result<(Vec<Vec<u8>>, String), Error> {
        let Response::Checkpoint { note, .. } = self.ask(&Request::Checkpoint { since: 0 })? else {
            return Err(Error::Unexpected);
        };
        let mut all: Vec<Vec<u8>> = Vec::new();
        loop {
            let from = all.len() as u64;
            let Response::Entries { entries } = self.ask(&Request::Log { from })? else {
                return Err(Error::Unexpected);
            };
            if entries.is_empty() {
                return Ok((all, note));
            }
            all.extend(entries.into_iter().map(Vec::from));
        }
    }
}

/// Chunks on their way: some are asked for ahead, so that the server reads while this side opens.
struct Pipe<'a> {
    stream: &'a mut UnixStream,
    keys: &'a [ChunkKey],
    asked: usize,
    answered: usize,
}

/// Chunks asked for ahead. The requests fit into the socket's buffer, so nobody waits for the other.
const AHEAD: usize = 8;

impl Pipe<'_> {
    /// Puts the next chunk into `buffer`.
    fn next(&mut self, buffer: &mut [u8]) -> Result<Option<content::Fetched>, Error> {
        while self.asked < self.keys.len().min(self.answered + AHEAD) {
            let address = self.keys[self.asked].address();
            protocol::write(self.stream, &Request::Chunk { address })?;
            self.asked += 1;
        }
        if self.answered == self.keys.len() {
            return Ok(None);
        }
        let Response::Bytes { bytes } = self.answer()? else { return Err(Error::Unexpected) };
        let room = buffer.get_mut(..bytes.len()).ok_or(vault::Error::Tampered)?;
        room.copy_from_slice(&bytes);
        Ok(Some((self.answered - 1, 0..bytes.len())))
    }

    fn answer(&mut self) -> Result<Response, Error> {
        // After a broken connection there are no more answers.
        let response = protocol::read(self.stream).inspect_err(|_| self.asked = self.answered)?;
        self.answered += 1;
        accepted(response)
    }

    fn drain(&mut self) -> Result<(), Error> {
        while self.answered < self.asked {
            match self.answer() {
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An epoch's note, if the admin signed it for this vault under this number: what is sealed is
/// sealed to what the admin signed, not to what a server says.
fn signed(admins: &Admins, vault: VaultId, id: EpochId, note: &str) -> Result<EpochNote, Error> {
    admins
        .epoch(note)
        .ok()
        .filter(|note| note.vault == vault && note.number == id)
        .ok_or(Error::NotSigned)
}

pub(super) fn accepted(response: Response) -> Result<Response, Error> {
    match response {
        Response::Refused { why } => Err(Error::Refused(why)),
        other => Ok(other),
    }
}
