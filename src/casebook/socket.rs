//! The staff side's door: a Unix socket, a challenge, then requests (design §10).
//!
//! A connection that has not answered its challenge gets nothing. Roles are looked up in the
//! signed roster for every single request, so a member who was dropped gets nothing more.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use minicbor::bytes::ByteVec;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::backup;
use super::canary;
use super::exchange::{AT_ONCE, Exchange};
use super::hand_in::{self, HandIn};
use super::import::{RunId, wire};
use super::keyring::MOST_RESEALED;
pub use super::presence::Presence;
use super::presence::Present;
use super::protocol::{
    Flaw, Looked, MAX_BEFORE_LOG_IN, MAX_MESSAGE, Mailbox, Request, Response, Status, Unproven,
    frame,
};
use super::record::Act;
use super::recovery::Drills;
use super::state::Wrapped;
use super::{Casebook, Error, blocking};
use crate::case::{Approval, Ground};
use crate::identity::policy::Policy;
use crate::ids::{Address, CaseId, EpochId, StaffId, random};
use crate::keys::admins::Admins;
use crate::keys::challenge::Challenge;
use crate::keys::note::Vkey;
use crate::keys::roster::{Member, Roster};
use crate::ledger::entry::Fact;
use crate::vault::seal::Inner;

/// Gives a fresh message id of ours for a case.
pub type NewMessageId = dyn Fn(CaseId) -> String + Send + Sync;

/// When each outsider took a checkpoint last, in minutes since 1970, in the order of the settings;
/// none if not since the start.
pub type LastTaken = dyn Fn() -> Vec<Option<u64>> + Send + Sync;
/// How looking at pictures goes; none if nobody looks.
pub type Looking = dyn Fn() -> Option<Looked> + Send + Sync;
/// How it stands with each mailbox that letters are fetched from.
pub type Standing = dyn Fn() -> Vec<Mailbox> + Send + Sync;

/// What the staff's door needs beside the casebook.
pub struct Desk {
    /// The casebook.
    pub casebook: Arc<Casebook>,
    /// The signed roster.
    pub roster: RwLock<Roster>,
    /// The state directory: wrapped secrets lie in `epochs/` and `mailbox/`.
    pub dir: PathBuf,
    /// The folder of the cabinet's key, where no backup goes.
    pub cabinet_key: PathBuf,
    /// Makes message ids.
    pub message_id: Box<NewMessageId>,
    /// The mailbox's address.
    pub mailbox: String,
    /// The public key of checkpoints, as text.
    pub checkpoint_key: String,
    /// The founding admin's pinned public key.
    pub founding_admin: Vkey,
    /// Whose signature counts.
    pub admins: RwLock<Admins>,
    /// Held while something signed or wrapped is taken over.
    pub key_changes: Mutex<()>,
    /// Who is connected.
    pub presence: Arc<Presence>,
    /// Tests of the recovery key that were handed out.
    pub drills: Drills,
    /// Who took checkpoints.
    pub outsiders: Box<LastTaken>,
    /// What takes letters, once it does.
    pub hand_in: OnceLock<Box<HandIn>>,
    /// What sends canaries, once it does.
    pub canaries: OnceLock<Box<canary::Fly>>,
    /// How it stands with the mailboxes that letters are fetched from.
    pub mailboxes: Box<Standing>,
    /// How looking at pictures goes.
    pub pictures: Box<Looking>,
    /// What each right needs.
    pub policy: Policy,
}

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// Time for a log-in, challenge and answer together.
const LOG_IN_TIME: Duration = Duration::from_secs(60);
/// Time without a request after which a connection ends.
const IDLE_TIME: Duration = Duration::from_secs(15 * 60);
/// Time to take one answer.
const WRITE_TIME: Duration = Duration::from_secs(5 * 60);
/// How long a failing accept is left alone (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Items of one look: a letter of the most items, skeleton included, several times over.
const MAX_LOOKS: usize = 4096;
/// Chunks that a connection may ask for at a time: beyond these, only those of its last look.
const MAX_LOOKED_AT: usize = 1 << 20;
/// The longest inner layer in bytes: with the server's layer it is no longer than a box may be.
const MAX_INNER: usize = 64 << 20;
/// Ledger entries in one answer.
const ENTRIES_AT_ONCE: usize = 4096;

/// Serves until `stop` is done; then every connection ends.
pub async fn run(listener: UnixListener, desk: Arc<Desk>, stop: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let desk = Arc::clone(&desk);
                connections.spawn(async move {
                    let (exchange, looked_at) = (Arc::default(), HashSet::new());
                    let mut connection = Connection { exchange, desk, stream, looked_at };
                    if let Err(error) = connection.serve().await
                        && error.kind() != io::ErrorKind::UnexpectedEof
                    {
                        tracing::info!(kind = %error.kind(), "a staff connection ended");
                    }
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    connections.shutdown().await;
}

/// Who logged in, that they are here, and when to look into the roster again.
type LoggedIn = (Member, Present, watch::Receiver<()>);

struct Connection {
    /// The content that it seals anew.
    exchange: Arc<Mutex<Option<Arc<Exchange>>>>,
    desk: Arc<Desk>,
    stream: UnixStream,
    /// Chunks of the items looked at lately: the only ones this connection is given.
    looked_at: HashSet<Address>,
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        let first = tokio::time::timeout(LOG_IN_TIME, self.read(MAX_BEFORE_LOG_IN));
        let first = first.await.map_err(|_| io::ErrorKind::TimedOut)??;
        if let Request::Import { join, dry } = first {
            return self.import(join, dry).await;
        }
        if let Request::Backup { dest, dry } = first {
            return backup::serve(&mut self.stream, &self.desk, dest, dry).await;
        }
        if let Request::Canaries { addresses, seconds } = first {
            return canary::serve(&mut self.stream, &self.desk, addresses, seconds).await;
        }
        if let Request::HandIn = first {
            return hand_in::serve(&mut self.stream, &self.desk).await;
        }
        let log_in = tokio::time::timeout(LOG_IN_TIME, self.log_in(first));
        let Some((member, _present, mut changed)) =
            log_in.await.map_err(|_| io::ErrorKind::TimedOut)??
        else {
            return Ok(());
        };
        while self.turn(&member, &mut changed).await? {}
        Ok(())
    }

    /// One request and its answer. Says whether there may be another: not once the member is not in
    /// the roster as at the log-in, be it in the middle of a download.
    async fn turn(
        &mut self,
        member: &Member,
        changed: &mut watch::Receiver<()>,
    ) -> io::Result<bool> {
        let desk = Arc::clone(&self.desk);
        let dropped = async {
            while changed.changed().await.is_ok() {
                if desk.member(member.id).as_ref() != Some(member) {
                    return;
                }
            }
        };
        tokio::pin!(dropped);
        let request = tokio::time::timeout(IDLE_TIME, self.read(MAX_MESSAGE));
        let request = tokio::select! {
            () = &mut dropped => return Ok(false),
            request = request => request.map_err(|_| io::ErrorKind::TimedOut)??,
        };
        // Whoever takes themselves out of the roster is told so.
        let is_own_change =
            matches!(request, Request::SignRoster { .. } | Request::HandOver { .. })
                && member.may_administer();
        let answered = async {
            let response = self.answer(member.id, request).await;
            self.write(&response).await?;
            if matches!(response, Response::Exchange) { self.share().await } else { Ok(()) }
        };
        if is_own_change {
            answered.await?;
            return Ok(true);
        }
        tokio::select! {
            () = &mut dropped => Ok(false),
            answered = answered => answered.map(|()| true),
        }
    }

    /// An import, if the user of this process asks for it: no member, and no key.
    async fn import(&mut self, join: Option<RunId>, dry: bool) -> io::Result<()> {
        let casebook = Arc::clone(&self.desk.casebook);
        wire::serve(&mut self.stream, &casebook, join, dry).await
    }

    /// Challenges the member; notes success and failure before it says which it was.
    async fn log_in(&mut self, first: Request) -> io::Result<Option<LoggedIn>> {
        let Request::Hello { member: name } = first else {
            return self.refuse_log_in(None).await;
        };
        let member = self.desk.roster.read().expect("no holder panics").member(&name).cloned();
        let Some(member) = member else { return self.refuse_log_in(None).await };
        // Before the roster is asked again: whatever changes from here on ends the connection.
        let Some((present, changed)) = self.desk.presence.enter(member.id) else {
            let why = "too many connections of this member".into();
            self.write(&Response::Refused { why }).await?;
            return Ok(None);
        };
        let (vault, nonce) = (self.desk.casebook.vault(), random());
        let (challenge, file) =
            Challenge::for_member(vault, &member.name, &member.recipient, &nonce);
        self.write(&Response::Challenge { file, vault, nonce }).await?;
        let Request::Answer { response } = self.read(MAX_BEFORE_LOG_IN).await? else {
            return self.refuse_log_in(Some(member.id)).await;
        };
        if !challenge.verify(&response) {
            return self.refuse_log_in(Some(member.id)).await;
        }
        let (desk, asked) = (Arc::clone(&self.desk), member.clone());
        let noted = blocking(move || {
            // Held: a log-in is entered before the roster that drops the member, or not at all.
            let roster = desk.roster.read().expect("no holder panics");
            if !roster.members.contains(&asked) {
                return Ok(false);
            }
            desk.casebook.note_staff(Fact::LoggedIn, Some(asked.id)).map(|()| true)
        });
        match noted.await {
            Ok(true) => {
                let welcome = self.welcome(&member);
                self.write(&welcome).await?;
                Ok(Some((member, present, changed)))
            }
            Ok(false) => self.refuse_log_in(Some(member.id)).await,
            Err(error) => {
                self.write(&Response::Refused { why: error.to_string() }).await?;
                Ok(None)
            }
        }
    }

    async fn refuse_log_in(&mut self, staff: Option<StaffId>) -> io::Result<Option<LoggedIn>> {
        let casebook = Arc::clone(&self.desk.casebook);
        if let Err(error) = blocking(move || casebook.note_staff(Fact::LogInRefused, staff)).await {
            tracing::error!(%error, "a refused log-in could not be noted");
        }
        let why = "no such member, or not its key".into();
        self.write(&Response::Refused { why }).await?;
        Ok(None)
    }

    fn welcome(&self, member: &Member) -> Response {
        let desk = &self.desk;
        let casebook = &desk.casebook;
        let with_note = |id| desk.epoch_note(id).map(|note| (id, note));
        let epoch = casebook.epoch().ok().and_then(|(id, _)| with_note(id));
        Response::Welcome {
            staff: member.id,
            vault: casebook.vault(),
            // Only a reader can answer one.
            unproven: if member.may_read() { desk.unproven() } else { None },
            epoch,
            stale: !casebook.stale().is_empty(),
            admin: desk.founding_admin.to_string(),
            hand_overs: desk.hand_overs(),
            checkpoint_key: desk.checkpoint_key.clone(),
            mailbox: desk.mailbox.clone(),
        }
    }

    async fn answer(&mut self, staff: StaffId, request: Request) -> Response {
        let asked_for = match &request {
            Request::Chunk { address } => std::slice::from_ref(address),
            Request::Chunks { addresses, .. } => addresses,
            _ => &[],
        };
        if !asked_for.iter().all(|address| self.looked_at.contains(address)) {
            return Response::Refused { why: "a look comes first".into() };
        }
        let (desk, exchange) = (Arc::clone(&self.desk), Arc::clone(&self.exchange));
        // What is only sealed anew is not looked at.
        let opens_content = !matches!(request, Request::ToReseal { with_content: false, .. });
        let response = blocking(move || {
            let roster = desk.roster.read().expect("no holder panics");
            let member = roster.members.iter().find(|member| member.id == staff).cloned();
            // What a member does is entered before the roster that drops them, or not at all.
            let acts = matches!(
                request,
                Request::Record { .. }
                    | Request::ImportPeople { .. }
                    | Request::Forget { .. }
                    | Request::Reseal { .. }
                    | Request::Exchange
                    | Request::Chunks { .. }
                    | Request::Renewed { .. }
                    | Request::Prove { .. }
            );
            let _in_force = acts.then_some(roster);
            match member {
                Some(member) => desk.answer(&member, request, &exchange).unwrap_or_else(refused),
                None => Response::Refused { why: "you are not in the roster any more".into() },
            }
        })
        .await;
        if let Response::Boxes { boxes } = &response
            && opens_content
        {
            let inner = boxes.iter().filter_map(|opened| opened.inner.as_ref());
            let chunks: Vec<Address> =
                inner.flat_map(|inner| inner.chunks.iter().copied()).collect();
            // Who looks at everything goes on from one look to the next.
            if self.looked_at.len() + chunks.len() > MAX_LOOKED_AT {
                self.looked_at.clear();
            }
            self.looked_at.extend(chunks);
        }
        response
    }

    /// Sends the byte behind the answer to an `Exchange`, with the window's descriptor.
    async fn share(&mut self) -> io::Result<()> {
        let Some(exchange) = super::lock(&self.exchange).clone() else { return Ok(()) };
        let send = || exchange.window().send(&self.stream);
        let sent = self.stream.async_io(tokio::io::Interest::WRITABLE, send);
        tokio::time::timeout(WRITE_TIME, sent).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn read(&mut self, limit: usize) -> io::Result<Request> {
        let length = self.stream.read_u32().await? as usize;
        if length > limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = Vec::new();
        (&mut self.stream).take(length as u64).read_to_end(&mut bytes).await?;
        minicbor::decode(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    async fn write(&mut self, response: &Response) -> io::Result<()> {
        let frame = match frame(response) {
            Ok(frame) => frame,
            Err(_) => frame(&Response::Refused { why: "too much for one answer".into() })?,
        };
        // Whoever does not read must not hold a place, and what is disclosed, for ever.
        let written = tokio::time::timeout(WRITE_TIME, self.stream.write_all(&frame));
        written.await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

fn begun(exchange: &Mutex<Option<Arc<Exchange>>>) -> Result<Arc<Exchange>, Error> {
    super::lock(exchange).clone().ok_or(Error::Malformed("no exchange was begun"))
}

fn refused(error: Error) -> Response {
    Response::Refused { why: error.to_string() }
}

impl Desk {
    /// A member as the roster in force has them.
    fn member(&self, staff: StaffId) -> Option<Member> {
        let roster = self.roster.read().expect("no holder panics");
        roster.members.iter().find(|member| member.id == staff).cloned()
    }

    fn answer(
        &self,
        member: &Member,
        request: Request,
        exchange: &Mutex<Option<Arc<Exchange>>>,
    ) -> Result<Response, Error> {
        permitted(member, &request)?;
        bearable(&request)?;
        let casebook = &self.casebook;
        let staff = member.id;
        Ok(match request {
            Request::Hello { .. }
            | Request::Answer { .. }
            | Request::Import { .. }
            | Request::HandIn
            | Request::Canaries { .. }
            | Request::Backup { .. } => {
                return Err(Error::Malformed("logged in already"));
            }
            Request::Queue { filter } => {
                Response::Cases { cases: casebook.listing(staff, filter)? }
            }
            Request::Look { items } => Response::Boxes { boxes: casebook.look(staff, &items)? },
            Request::Override { item } => {
                casebook.override_warning(staff, item)?;
                Response::Recorded { seq: casebook.store().size().saturating_sub(1) }
            }
            Request::Policy => {
                let forget_copy_after = casebook.copy_time();
                Response::Policy { policy: Policy { forget_copy_after, ..self.policy.clone() } }
            }
            Request::People => {
                Response::Boxes { boxes: casebook.people(staff)?.into_iter().collect() }
            }
            Request::ImportPeople { list, count } => {
                Response::Recorded { seq: casebook.import_people(staff, &list, count)? }
            }
            Request::Numbers { case, letter } => {
                Response::Recorded { seq: casebook.numbers_shown(staff, case, letter)? }
            }
            Request::SameCopies { case } => {
                Response::SameCopies { same: casebook.same_copies(case)? }
            }
            Request::Unmask { items, reason } => {
                Response::Recorded { seq: casebook.unmask(staff, &items, reason)? }
            }
            Request::Notes { case } => Response::Boxes { boxes: casebook.notes(staff, case)? },
            Request::Chunk { address } => Response::Bytes { bytes: casebook.chunk(&address)? },
            Request::MailboxFiles => self.mailbox_files()?,
            Request::ReplyTo { case } => {
                let contact = casebook.reply_to(staff, case)?;
                let address = contact.address.ok_or(Error::Unknown("address to answer to"))?;
                Response::Contact { address, message_id: contact.message_id }
            }
            Request::MessageId { case } => Response::Text { text: (self.message_id)(case) },
            Request::Record { recording } => {
                Response::Recorded { seq: casebook.record(staff, recording)? }
            }
            Request::Forget { items, reason, now, planned } => {
                let approval = Approval::by(staff, Ground::Erasure);
                let planned = planned.as_deref();
                let certificates = casebook.forget(&approval, &items, planned, reason, now)?;
                Response::Certificates { certificates }
            }
            Request::Certificate { seq } => {
                Response::Certificates { certificates: vec![casebook.certificate(seq)?] }
            }
            Request::RotateCabinet => {
                casebook.rotate_cabinet()?;
                Response::Recorded { seq: casebook.store().size().saturating_sub(1) }
            }
            Request::Log { from } => Response::Entries {
                entries: casebook
                    .store()
                    .entry_bytes(from, ENTRIES_AT_ONCE)?
                    .into_iter()
                    .map(ByteVec::from)
                    .collect(),
            },
            Request::Checkpoint { since } => {
                let (note, size) = casebook.checkpoint()?;
                let proof = casebook.store().consistency(since, size);
                let proof = proof.ok_or(Error::Malformed("the ledger is shorter than that"))?;
                Response::Checkpoint { note, proof }
            }
            Request::Prove { epoch, content } => {
                casebook.take_proof(epoch, &content, staff)?;
                Response::Recorded { seq: casebook.store().size().saturating_sub(1) }
            }
            Request::Status => {
                let outsiders = (self.outsiders)();
                let mailboxes = (self.mailboxes)();
                let pictures = (self.pictures)();
                let status = Status { outsiders, mailboxes, pictures, ..casebook.status() };
                Response::Status { status }
            }
            Request::Check => {
                let report = casebook.store().check(false, &|_, _| {})?;
                let looked_at = report.records + report.entries + report.slots;
                let problems = report.problems.iter().map(Flaw::from).collect();
                Response::Checked { looked_at, problems, more: report.more_problems }
            }
            Request::Sweep { dry } => Response::Swept { summary: casebook.sweep(dry)? },
            Request::Roster => self.roster_note()?,
            Request::SignRoster { note } => {
                Response::Recorded { seq: self.take_roster(staff, &note)? }
            }
            Request::AddEpoch { note, file } => {
                Response::Recorded { seq: self.take_epoch(staff, &note, &file)? }
            }
            Request::WrappedFile { what } => self.wrapped(what)?,
            Request::Rewrap { what, version, file } => {
                Response::Recorded { seq: self.take_wrapped(staff, what, version, &file)? }
            }
            Request::ToReseal { after, most, with_content } => {
                let most = most as usize;
                Response::Boxes { boxes: casebook.to_reseal(staff, after, most, with_content)? }
            }
            Request::Exchange => {
                let mut own = super::lock(exchange);
                *own = None;
                *own = Some(Exchange::begin(casebook, staff)?);
                Response::Exchange
            }
            Request::Chunks { addresses, slot } => {
                let own = begun(exchange)?;
                let (lengths, bytes) = own.give(&addresses, slot.map(|slot| slot as usize))?;
                Response::Chunks { lengths, bytes }
            }
            Request::Renewed { chunks, slot, bytes } => {
                let slot = slot.map(|slot| slot as usize);
                Response::Kept { count: begun(exchange)?.take(&chunks, slot, &bytes)? }
            }
            Request::Reseal { boxes } => {
                let own = super::lock(exchange).clone();
                Response::Kept { count: casebook.reseal(staff, &boxes, own.as_deref())? }
            }
            Request::AddMailbox { note, certificate, file } => {
                Response::Recorded { seq: self.take_mailbox(staff, &note, &certificate, &file)? }
            }
            Request::HandOver { note, roster } => {
                Response::Recorded { seq: self.take_hand_over(staff, &note, &roster)? }
            }
            Request::Test => Response::Test { unproven: self.unproven() },
            Request::DestroyEpochs => Response::Epochs { epochs: self.destroy_epochs(staff)? },
            Request::ToDrill => self.recovery_files()?,
            Request::Drilled { nonce, answer, epochs } => {
                Response::Recorded { seq: self.take_drill(staff, &nonce, &answer, epochs)? }
            }
        })
    }

    /// A test for the highest epoch, if nobody proved it yet.
    fn unproven(&self) -> Option<Unproven> {
        let proven = self.casebook.state().epoch;
        let (epoch, test) = self.casebook.test_epoch().filter(|(id, _)| Some(*id) > proven)?;
        Some(Unproven { epoch, test, note: self.epoch_note(epoch)? })
    }

    fn roster_note(&self) -> Result<Response, Error> {
        let roster = self.roster.read().expect("no holder panics");
        let file = self.dir.join("roster").join(format!("{}.note", roster.version));
        let note = std::fs::read_to_string(file).map_err(|_| Error::Unknown("roster"))?;
        let casebook = &self.casebook;
        let highest = casebook.state().epoch_notes.keys().max().copied();
        Ok(Response::Roster {
            note,
            next: casebook.next_member(&roster),
            stale: casebook.stale(),
            epoch: highest.ok_or(Error::NoEpoch)?,
            mailbox: casebook.state().mailbox_notes.keys().max().copied().unwrap_or(0),
        })
    }

    /// A wrapped secret with the note that says what it must hold.
    fn wrapped(&self, what: Wrapped) -> Result<Response, Error> {
        let path = self.wrapped_file(what);
        let read = || -> io::Result<Response> {
            let note = std::fs::read_to_string(path.with_extension("note"))?;
            Ok(Response::Wrapped { file: std::fs::read(&path)?, note })
        };
        read().map_err(|_| Error::Unknown("wrapped secret"))
    }

    /// The signed note of an epoch.
    fn epoch_note(&self, epoch: EpochId) -> Option<String> {
        std::fs::read_to_string(self.dir.join("epochs").join(format!("{}.note", epoch.0))).ok()
    }

    /// The mailbox's wrapped secrets with their signed notes, the current one first.
    fn mailbox_files(&self) -> Result<Response, Error> {
        let numbers: Vec<u32> = self.casebook.state().mailbox_notes.keys().rev().copied().collect();
        let (mut files, mut notes) = (Vec::new(), Vec::new());
        for number in numbers {
            let path = self.wrapped_file(Wrapped::Mailbox(number));
            let read = || -> io::Result<(Vec<u8>, String)> {
                Ok((std::fs::read(&path)?, std::fs::read_to_string(path.with_extension("note"))?))
            };
            let (file, note) = read().map_err(|_| Error::Unknown("mailbox key"))?;
            files.push(ByteVec::from(file));
            notes.push(note);
        }
        Ok(Response::Files { files, notes })
    }
}

/// What each role may ask for: the one table (docs/keys.md has the same).
fn permitted(member: &Member, request: &Request) -> Result<(), Error> {
    let allowed = match request {
        Request::Hello { .. }
        | Request::Answer { .. }
        | Request::Import { .. }
        | Request::HandIn
        | Request::Canaries { .. }
        | Request::Backup { .. }
        | Request::Log { .. }
        | Request::Certificate { .. }
        | Request::Checkpoint { .. }
        | Request::Status
        | Request::Roster
        | Request::Check => true,
        Request::Queue { .. }
        | Request::Look { .. }
        | Request::Override { .. }
        | Request::Policy
        | Request::People
        | Request::Numbers { .. }
        | Request::SameCopies { .. }
        | Request::Unmask { .. }
        | Request::Chunk { .. }
        | Request::Notes { .. }
        | Request::WrappedFile { what: Wrapped::Epoch(_) }
        | Request::Rewrap { what: Wrapped::Epoch(_), .. }
        | Request::Test
        | Request::Prove { .. } => member.may_read(),
        Request::Record { recording } if recording.act == Act::Note => member.may_read(),
        Request::MailboxFiles
        | Request::WrappedFile { what: Wrapped::Mailbox(_) }
        | Request::Rewrap { what: Wrapped::Mailbox(_), .. }
        | Request::ToReseal { .. }
        | Request::Exchange
        | Request::Chunks { .. }
        | Request::Renewed { .. }
        | Request::Reseal { .. }
        | Request::ReplyTo { .. }
        | Request::MessageId { .. }
        | Request::Record { .. }
        | Request::ImportPeople { .. }
        | Request::Forget { .. } => member.may_answer(),
        Request::RotateCabinet
        | Request::Sweep { .. }
        | Request::SignRoster { .. }
        | Request::AddEpoch { .. }
        | Request::AddMailbox { .. }
        | Request::HandOver { .. }
        | Request::DestroyEpochs => member.may_administer(),
        Request::ToDrill | Request::Drilled { .. } => member.may_read() || member.may_administer(),
    };
    if allowed { Ok(()) } else { Err(Error::Forbidden) }
}

/// Whether a request is of a size that can be served; what it says is judged by the casebook.
fn bearable(request: &Request) -> Result<(), Error> {
    let recording = match request {
        Request::Look { items } | Request::Unmask { items, .. } if items.len() > MAX_LOOKS => {
            return Err(Error::Malformed("too many items at once"));
        }
        Request::Record { recording }
            if recording.boxes.is_empty()
                && matches!(recording.act, Act::Note | Act::OpenLetter) =>
        {
            return Err(Error::Malformed("nothing is recorded"));
        }
        Request::Reseal { boxes } if boxes.len() > MOST_RESEALED => {
            return Err(Error::Malformed("too many boxes at once"));
        }
        Request::Chunks { addresses, .. } if addresses.len() > AT_ONCE => {
            return Err(Error::Malformed("too many chunks at once"));
        }
        Request::Renewed { chunks, .. } if chunks.len() > AT_ONCE => {
            return Err(Error::Malformed("too many chunks at once"));
        }
        Request::ImportPeople { list, .. } => return short(std::iter::once(&list.inner)),
        Request::Reseal { boxes } => return short(boxes.iter().map(|new| &new.inner)),
        Request::Record { recording }
        | Request::Unmask { reason: recording, .. }
        | Request::Forget { reason: recording, .. } => recording,
        _ => return Ok(()),
    };
    short(recording.boxes.iter().map(|new| &new.inner))
}

/// Whether every box is short enough to be kept.
fn short<'a>(mut layers: impl Iterator<Item = &'a Inner>) -> Result<(), Error> {
    let is_too_long = layers.any(|inner| {
        let addresses = inner.chunks.len().saturating_mul(size_of::<Address>());
        inner.sealed.len().saturating_add(addresses) > MAX_INNER
    });
    if is_too_long { Err(Error::Malformed("a box that is too long")) } else { Ok(()) }
}

/// Tests that were handed out are forgotten after this many.
pub(super) const MAX_TESTS: usize = 16;

impl Casebook {
    /// A test for the highest epoch that nobody proved: random bytes sealed to it.
    fn test_epoch(&self) -> Option<(EpochId, Vec<u8>)> {
        let epochs = self.epochs.read().expect("no holder panics");
        let (epoch, public) = epochs.iter().max_by_key(|(id, _)| **id)?;
        let content: [u8; 32] = random();
        let mut tests = super::lock(&self.tests);
        if tests.len() >= MAX_TESTS {
            tests.remove(0);
        }
        tests.push((*epoch, blake3::hash(&content)));
        Some((*epoch, public.wrap(&content)))
    }

    /// Takes the content of a test back; right, it proves the epoch.
    fn take_proof(&self, epoch: EpochId, content: &[u8; 32], staff: StaffId) -> Result<(), Error> {
        let given = (epoch, blake3::hash(content));
        let mut tests = super::lock(&self.tests);
        let at = tests.iter().position(|test| *test == given);
        let at = at.ok_or(Error::Malformed("not what the test held"))?;
        tests.remove(at);
        drop(tests);
        self.prove_epoch(epoch, staff)
    }
}
