//! The server: builds its parts from the configuration, runs them, and stops them.
//!
//! Holds public keys only. Every signed file is verified against the pinned admin key and against
//! the ledger before it is used; what does not fit stops the start. `live` is what a running server
//! takes anew, `outsiders` mails them checkpoints, `fetching` gets letters from mailboxes
//! elsewhere. Left to others: all the work.

mod canaries;
pub mod fetching;
mod live;
mod looking;
mod outsiders;
mod sockets;

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::casebook::hand_in::{HandIn, HandedIn, Said, WHILE_READ};
use crate::casebook::recovery::Drills;
use crate::casebook::socket::{self, Desk};
use crate::casebook::state::Wrapped;
use crate::casebook::{self, Casebook, Handed, Lent, NoticeFacts, Room};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Endpoint};
use crate::ids::{CaseId, Digest, LetterId, StaffId, random};
use crate::inbox::budget::{Budget, Share};
use crate::inbox::imap;
use crate::inbox::origin::Checker;
use crate::inbox::scan::Scanner;
use crate::inbox::{self, Delivery, Kind, Listener, Recipients, Verdict};
use crate::keys::admins::Admins;
use crate::keys::note::Vkey;
use crate::keys::roster::{self, Roster};
use crate::lab;
use crate::ledger::checkpoint;
use crate::ledger::entry::{CHECKPOINT_KEY, MESSAGE_ID_KEY};
use crate::reply::notice::Notice;
use crate::reply::send::{self, SendError, Transport};
use crate::reply::{Heading, Outgoing, language, token};
use crate::sandbox::{Limits, Sandbox};
use crate::secret::{Personal, Secret};
use crate::store::{self, Opening};
use crate::upkeep;

pub use live::Live;
pub use outsiders::Mailer;
use sockets::Sockets;

/// Why the server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The casebook.
    #[error(transparent)]
    Casebook(#[from] casebook::Error),
    /// A signed file.
    #[error("{file}: {source}", file = file.display())]
    Signed {
        /// Which.
        file: PathBuf,
        /// Why.
        source: roster::Error,
    },
    /// A signed file is not the one that the ledger names.
    #[error("{}: not the file that the ledger names", .0.display())]
    NotInLedger(PathBuf),
    /// The roster holds a key that is published with the sources.
    #[error("the roster holds a throwaway key that everybody can read")]
    Throwaway,
    /// Something of the system.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// TLS certificate or key.
    #[error(transparent)]
    Tls(#[from] inbox::tls::TlsError),
    /// A write failed and nothing can be promised any more.
    #[error("a write to the vault failed: nothing more is accepted; start again to replay")]
    Dead,
}

/// The server's parts, before they run.
pub struct Gateway {
    /// The casebook.
    pub casebook: Arc<Casebook>,
    /// What the start found.
    pub opening: Opening,
    desk: Arc<Desk>,
    config: Config,
    live: Arc<Live>,
    watch: Arc<imap::Watch>,
    ids: MessageIds,
}

/// Where a running server can be reached.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// SMTP, as bound.
    pub smtp: Vec<SocketAddr>,
    /// SMTP for the world, as bound.
    pub mx: Vec<SocketAddr>,
    /// LMTP over TCP, as bound.
    pub lmtp: Vec<SocketAddr>,
    /// The staff side's socket.
    pub socket: PathBuf,
}

/// Time for one letter, from the end of its data to the commit (design §2).
const LETTER_TIME: Duration = Duration::from_secs(60);
/// Between two looks at what is due to be sent, forgotten or rotated.
const TICK: Duration = Duration::from_secs(60);
/// How often the pause between two tries of a notice doubles: up to about two hours.
const MOST_DOUBLINGS: u32 = 7;
/// Between two looks at whether the store still lives.
const DEATH_WATCH: Duration = Duration::from_millis(100);
/// Time that a mail under way is given when the server stops; it is due again at the next start.
const SEND_GRACE: Duration = Duration::from_secs(5);
/// Minutes after which a mail that nobody takes is given up (RFC 5321 §4.5.4.1).
const GIVE_UP_AFTER: u64 = 5 * 24 * 60;
/// Minutes after which a notice says nothing new.
const NOTICE_OLD: u64 = 24 * 60;
/// `Received` fields in a letter that has come by too often (RFC 5321 §6.3).
const MAX_RECEIVED: usize = 50;

impl Gateway {
    /// Opens the vault in `dir` and verifies everything signed.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(dir: &Path, program: &Path, clock: Clock) -> Result<Self, Error> {
        let config = Config::load(&dir.join("kluis.toml"))?;
        let key: Arc<OnceLock<Secret<[u8; 32]>>> = Arc::default();
        let mailbox = config.addresses.first().cloned().unwrap_or_default();
        let compose = MessageIds { key: Arc::clone(&key), domain: domain_of(&mailbox).to_owned() };
        let (reader, tally) = looking::reader(program).unzip();
        let lent = Lent {
            clock,
            sandbox: parser(program, config.limits.parsers as usize),
            notice: notices(compose.clone(), mailbox.clone()),
            case_of: {
                let ids = compose.clone();
                Box::new(move |text| ids.case_of(text))
            },
            scanner: scanner(&config),
            reader,
        };
        let (casebook, opening) = Casebook::open(dir, &config.cabinet_key, lent)?;
        casebook.store().keep_reserve(config.limits.reserve_bytes);
        let own = casebook.server_key(MESSAGE_ID_KEY)?;
        key.set(own).map_err(|_| Error::Dead)?;
        let (roster, founding_admin, admins) = signed_files(dir, &casebook)?;
        if roster.is_throwaway() {
            return Err(Error::Throwaway);
        }
        let signing = casebook.server_key(CHECKPOINT_KEY)?;
        let public = checkpoint::public_key(signing.expose());
        let live = Arc::new(Live::load(&config)?);
        casebook.keep_copies_for(live.copy_time());
        let (taken, ids) = (Arc::clone(&live), compose.clone());
        let watch = Arc::new(fetching::watch(&fetching::accounts(&config)));
        let watched = (Arc::clone(&casebook), Arc::clone(&watch));
        let desk = Arc::new(Desk {
            casebook: Arc::clone(&casebook),
            roster: RwLock::new(roster),
            dir: dir.to_owned(),
            cabinet_key: config.cabinet_key.clone(),
            message_id: Box::new(move |case| compose.fresh(case)),
            mailbox,
            checkpoint_key: checkpoint::vkey(casebook.vault(), &public),
            founding_admin,
            admins: RwLock::new(admins),
            key_changes: Mutex::default(),
            presence: Arc::default(),
            drills: Drills::default(),
            outsiders: Box::new(move || taken.last_taken()),
            hand_in: OnceLock::new(),
            canaries: OnceLock::new(),
            mailboxes: Box::new(move || fetching::standing(&watched.0, &watched.1)),
            pictures: Box::new(move || tally.as_ref().map(|tally| tally.looked())),
            policy: config.identity.clone(),
        });
        desk.finish_key_changes()?;
        Ok(Self { casebook, opening, desk, config, live, watch, ids })
    }

    /// What mails checkpoints to outsiders.
    #[must_use]
    pub fn mailer(&self) -> Mailer {
        let (casebook, live) = (Arc::clone(&self.casebook), self.live());
        Mailer::new(casebook, live, self.desk.mailbox.clone())
    }

    /// What can be taken anew while it runs.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Copies the vault to `dest`, as [`casebook::backup`] says.
    ///
    /// # Errors
    /// See [`Casebook::back_up`].
    pub fn back_up(
        &self,
        dest: &Path,
        is_dry: bool,
        progress: upkeep::backup::Progress<'_>,
    ) -> Result<upkeep::backup::Summary, casebook::Error> {
        casebook::backup::of(&self.desk, dest, is_dry, progress)
    }

    /// Takes over what the recovery key made for a vault that nobody reads any more: see
    /// [`Desk::take_recovered`].
    ///
    /// # Errors
    /// See [`casebook::Error`].
    pub fn take_recovered(
        &self,
        by: StaffId,
        roster: &str,
        files: &[(Wrapped, Vec<u8>)],
    ) -> Result<usize, casebook::Error> {
        self.desk.take_recovered(by, roster, files)
    }

    /// Takes a letter that was handed in, without serving.
    pub async fn hand_in(&self, letter: HandedIn) -> Said {
        let settings = inbox_settings(&self.config, &self.live);
        let hand_in = handed_to(self.taker(), settings.room);
        let said = match hand_in(letter.raw.len()) {
            Some(take) => take(letter).await,
            None => Said::Later,
        };
        self.casebook.dismiss_parsers().await;
        said
    }

    /// Binds every listener, tells where, and serves until `shutdown` is done: letters that came to
    /// their end are kept and answered.
    ///
    /// # Errors
    /// A port in use; `Dead` if a write failed while serving.
    pub async fn run(
        self,
        ready: impl FnOnce(&Addresses),
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let (listeners, addresses) = self.listeners().await?;
        let staff = bind_socket(&addresses.socket)?;
        let settings = inbox_settings(&self.config, &self.live);
        let (stop, stopped) = watch::channel(false);
        let room = settings.room.clone();
        let deliver = self.taker();
        let shelf =
            fetching::Shelf { casebook: Arc::clone(&self.casebook), deliver: Arc::clone(&deliver) };
        let _ = self.desk.hand_in.set(handed_to(Arc::clone(&deliver), room.clone()));
        let _ = self.desk.canaries.set(canaries::fly(
            Arc::clone(&self.casebook),
            self.live(),
            self.ids.clone(),
            self.desk.mailbox.clone(),
            self.config.origin.upstream.clone(),
        ));
        let inbox = tokio::spawn(inbox::run(
            listeners,
            Arc::new(settings),
            deliver,
            until(stopped.clone()),
        ));
        let accounts = fetching::accounts(&self.config);
        fetching::warn(&accounts);
        let fetching = tokio::spawn(imap::run(
            accounts,
            Arc::new(shelf),
            room,
            Arc::clone(&self.watch),
            until(stopped.clone()),
        ));
        let desk = tokio::spawn(socket::run(staff, Arc::clone(&self.desk), until(stopped.clone())));
        let casebook = Arc::clone(&self.casebook);
        let live = Arc::clone(&self.live);
        let sender = tokio::spawn(send_due(casebook, live, until(stopped.clone())));
        let outsiders = tokio::spawn(self.mailer().run(until(stopped.clone())));
        let reserve = self.config.limits.reserve_bytes;
        let (casebook, live) = (Arc::clone(&self.casebook), self.live());
        let upkeep = tokio::spawn(keep_up(casebook, live, reserve, until(stopped)));
        ready(&addresses);
        let died = tokio::select! {
            () = shutdown => false,
            () = death(&self.casebook) => true,
        };
        stop.send_replace(true);
        self.casebook.stop_sweep();
        for part in [inbox, fetching, desk, sender, outsiders, upkeep] {
            if part.await.is_err() {
                tracing::error!("a part of the server ended in a panic");
            }
        }
        self.casebook.dismiss_parsers().await;
        let _ = std::fs::remove_file(&addresses.socket);
        if died { Err(Error::Dead) } else { Ok(()) }
    }

    /// What takes letters, from the wire and from pipes.
    fn taker(&self) -> inbox::Deliver {
        self.tell();
        let origin = Checker::new(origin_settings(&self.config));
        deliver(Arc::clone(&self.casebook), origin)
    }

    /// Whether notices go out, and who we are.
    fn tell(&self) {
        self.casebook.tell(self.config.notices.send, self.config.ours());
    }

    async fn listeners(&self) -> Result<(Vec<Listener>, Addresses), Error> {
        let mut handed = Sockets::of_this_process();
        let mut listeners = Vec::new();
        let mut addresses =
            Addresses { socket: self.config.listen.staff.clone(), ..Addresses::default() };
        for place in &self.config.listen.smtp {
            let (socket, bound) = bind(&mut handed, *place).await?;
            listeners.push(Listener::tcp(Kind::Smtp, socket));
            addresses.smtp.push(bound);
        }
        for mx in &self.config.listen.mx {
            let (socket, bound) = bind(&mut handed, mx.address).await?;
            listeners.push(Listener::mx(socket, mx.proxy_from.clone()));
            addresses.mx.push(bound);
        }
        for place in &self.config.listen.lmtp {
            match place {
                Endpoint::Tcp(place) => {
                    let (socket, bound) = bind(&mut handed, *place).await?;
                    listeners.push(Listener::tcp(Kind::Lmtp, socket));
                    addresses.lmtp.push(bound);
                }
                Endpoint::Unix(path) => {
                    let bound = Listener::unix(path);
                    listeners.push(bound.map_err(|e| cannot_listen(path.display(), e))?);
                }
            }
        }
        handed.complain();
        Ok((listeners, addresses))
    }
}

/// The socket at this address: handed over, or bound.
async fn bind(handed: &mut Sockets, place: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = async {
        let socket = match handed.take(place)? {
            Some(socket) => socket,
            None => TcpListener::bind(place).await?,
        };
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    bound.await.map_err(|source| cannot_listen(place, source))
}

fn cannot_listen(place: impl Display, source: io::Error) -> Error {
    Error::Io { what: format!("cannot listen on {place}"), source }
}

/// What the configuration says to the inbox.
fn inbox_settings(config: &Config, live: &Live) -> inbox::Settings {
    inbox::Settings {
        hostname: config.hostname.clone(),
        recipients: Recipients::new(&config.addresses, true),
        max_letter: usize::try_from(config.limits.letter_bytes).unwrap_or(usize::MAX),
        max_connections: config.limits.connections as usize,
        max_connections_per_client: config.limits.connections_per_client as usize,
        letters_per_hour: config.limits.letters_per_hour,
        max_recipients: config.limits.recipients as usize,
        command_timeout: Duration::from_secs(config.limits.idle_seconds),
        trusted: config.listen.trusted.clone(),
        bare_newlines: config.listen.bare_newlines,
        tls: live.tls(),
        ..inbox::Settings::default()
    }
}

/// What asks the configuration's clamd.
fn scanner(config: &Config) -> Option<Box<casebook::AskScanner>> {
    let place = config.scan.clamd.clone()?;
    let deadline = Duration::from_secs(config.scan.seconds);
    let scanner = Arc::new(Scanner::new(place, deadline, config.scan.longest_bytes));
    Some(Box::new(move |bytes| {
        let scanner = Arc::clone(&scanner);
        Box::pin(async move { scanner.scan(bytes).await })
    }))
}

/// What the configuration says about looking at where letters come from.
fn origin_settings(config: &Config) -> inbox::origin::Settings {
    inbox::origin::Settings {
        hostname: config.hostname.clone(),
        ask: config.origin.check,
        upstream: config.origin.upstream.clone(),
        resolvers: config.origin.resolvers.clone(),
        deadline: Duration::from_secs(config.origin.seconds),
    }
}

/// The pool of confined children that parse letters.
#[must_use]
pub fn parser(program: &Path, workers: usize) -> Sandbox {
    Sandbox::new(program.to_owned(), vec!["confined-parse".into()], workers, Limits::default())
}

/// The staff side's socket, for the service user and its group; a dead one is replaced.
fn bind_socket(path: &Path) -> Result<UnixListener, Error> {
    let bind = || {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(listener)
    };
    bind().map_err(|source| cannot_listen(path.display(), source))
}

/// Reads admin keys, roster and epochs: an admin signed them, and the ledger names them.
fn signed_files(dir: &Path, casebook: &Casebook) -> Result<(Roster, Vkey, Admins), Error> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|source| Error::Io { what: format!("reading {}", path.display()), source })
    };
    let named = |file: PathBuf, hash: Digest| -> Result<(PathBuf, String), Error> {
        let text = read(&file)?;
        if roster::digest(&text) == hash { Ok((file, text)) } else { Err(Error::NotInLedger(file)) }
    };
    let pinned = dir.join("admin.pub");
    let founding: Vkey = read(&pinned)?.trim().parse().map_err(|_| Error::Io {
        what: format!("{}: not a public key", pinned.display()),
        source: io::ErrorKind::InvalidData.into(),
    })?;
    let signed = casebook.signed();
    let mut admins = Admins::founding(casebook.vault(), founding.clone());
    for (number, hash) in signed.admins {
        let (file, text) = named(dir.join("admin").join(format!("{number}.note")), hash)?;
        admins.follow(&text).map_err(|source| Error::Signed { file, source })?;
    }
    for (id, hash) in signed.epochs {
        let (file, text) = named(dir.join("epochs").join(format!("{}.note", id.0)), hash)?;
        let note =
            admins.epoch(&text).map_err(|source| Error::Signed { file: file.clone(), source })?;
        if note.vault != casebook.vault() || note.number != id {
            return Err(Error::NotInLedger(file));
        }
        casebook.add_epoch(id, note.public());
    }
    Ok((newest_roster(dir, &admins, signed.roster, casebook)?, founding, admins))
}

fn newest_roster(
    dir: &Path,
    admins: &Admins,
    named: Option<Digest>,
    casebook: &Casebook,
) -> Result<Roster, Error> {
    let folder = dir.join("roster");
    let listed = std::fs::read_dir(&folder)
        .map_err(|source| Error::Io { what: format!("reading {}", folder.display()), source })?;
    for entry in listed.flatten() {
        let file = entry.path();
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        if Some(roster::digest(&text)) != named {
            continue;
        }
        let roster =
            admins.roster(&text).map_err(|source| Error::Signed { file: file.clone(), source })?;
        if roster.vault != casebook.vault() {
            return Err(Error::NotInLedger(file));
        }
        return Ok(roster);
    }
    Err(Error::NotInLedger(folder))
}

/// Makes and reads our own message ids, once the key is at hand.
#[derive(Clone)]
struct MessageIds {
    key: Arc<OnceLock<Secret<[u8; 32]>>>,
    domain: String,
}

impl MessageIds {
    fn fresh(&self, case: CaseId) -> String {
        let key = self.key.get().expect("set before anything is served");
        token::compose_id(key.expose(), case, random(), &self.domain)
    }

    fn case_of(&self, text: &str) -> Option<CaseId> {
        token::verify_id(self.key.get()?.expose(), text)
    }
}

fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("localhost", |(_, domain)| domain)
}

/// Composes notices; one that cannot be composed (an address that cannot stand in a mail) is none.
fn notices(ids: MessageIds, mailbox: String) -> Box<casebook::ComposeNotice> {
    Box::new(move |facts: &NoticeFacts<'_>| {
        let replied = facts.in_reply_to.map(|id| Personal::new(id.to_owned()));
        let notice = Notice {
            heading: Heading {
                from: Personal::new(mailbox.clone()),
                to: Personal::new(facts.to.to_owned()),
                message_id: ids.fresh(facts.case),
                references: replied.clone().into_iter().collect(),
                in_reply_to: replied,
                date: facts.now,
            },
            case: facts.case,
            due: facts.due,
            language: language::guess(facts.text),
        };
        minicbor::to_vec(notice.compose().ok()?).ok()
    })
}

/// What the inbox hands letters to: the casebook's answer as a verdict.
///
/// A letter's share of the memory goes with it. One that ran out of its time is still at work, though
/// its sender was told so: a sender that tries again while parsers are slow must not pile copies up.
fn deliver(casebook: Arc<Casebook>, origin: Checker) -> inbox::Deliver {
    let origin = Arc::new(origin);
    Arc::new(move |delivery: Delivery| {
        let (casebook, origin) = (Arc::clone(&casebook), Arc::clone(&origin));
        Box::pin(async move {
            // What lies in a mailbox goes in no circle.
            if delivery.fetched.is_none() && received_fields(&delivery.raw) > MAX_RECEIVED {
                return Verdict::Loop;
            }
            let store = casebook.store();
            if !delivery.share.cover_work(delivery.raw.len())
                || store.expect_room(delivery.raw.len() as u64).is_err()
            {
                return Verdict::NoRoom;
            }
            let origin = origin.look(&delivery).await;
            let Delivery { envelope, raw, trusted, fetched, share } = delivery;
            let bringer = looking::bringer(&envelope, trusted, fetched.is_some());
            let (size, grown) = (raw.len(), share.clone());
            let room = move |parsed: usize, items: usize| match size.saturating_add(parsed) {
                bytes if grown.cover_items(bytes, items) => Room::Made,
                bytes if grown.fits_alone(bytes) => Room::Later,
                _ => Room::Never,
            };
            let mail = casebook::Mail { envelope, raw, origin, fetched, bringer };
            // A task of its own: running out of time must not cut a commit in two. What is kept
            // all the same is recognised when the sender tries again.
            let here = Arc::clone(&casebook);
            let receive = tokio::spawn(async move {
                let received = here.receive_within(mail, &room).await;
                drop(share);
                received
            });
            match tokio::time::timeout(LETTER_TIME, receive).await {
                Ok(Ok(Ok(receipt))) => {
                    let casebook::Receipt { case, letter, again } = receipt;
                    tracing::info!(%case, %letter, again, "letter kept");
                    Verdict::Accepted
                }
                Ok(Ok(Err(
                    casebook::Error::Store(store::Error::Full) | casebook::Error::NoMemory,
                ))) => Verdict::NoRoom,
                Ok(Ok(Err(error))) => {
                    tracing::error!(%error, "a letter could not be kept");
                    match error {
                        casebook::Error::NoEpoch | casebook::Error::NoParser => Verdict::NotReady,
                        _ => Verdict::TryLater,
                    }
                }
                Ok(Err(_)) | Err(_) => Verdict::TryLater,
            }
        }) as Pin<Box<dyn Future<Output = Verdict> + Send>>
    })
}

/// The same for what a mail server of this machine hands in. Its room is leased before it is read.
fn handed_to(deliver: inbox::Deliver, room: Budget) -> Box<HandIn> {
    Box::new(move |size| {
        let (deliver, lease) = (Arc::clone(&deliver), room.lease());
        if !lease.cover_times(WHILE_READ, size) {
            return None;
        }
        let share = Share::from(lease);
        Some(Box::new(move |letter: HandedIn| {
            let (envelope, raw) = letter.into_parts();
            let delivery = Delivery { envelope, raw, trusted: true, fetched: None, share };
            let verdict = deliver(delivery);
            Box::pin(async move {
                match verdict.await {
                    Verdict::Accepted => Said::Kept,
                    Verdict::TryLater | Verdict::NotReady | Verdict::NoRoom => Said::Later,
                    Verdict::Refused | Verdict::Loop => Said::Never,
                }
            })
        }))
    })
}

/// `Received` fields in the header, counted without parsing: the loop must end before that.
fn received_fields(raw: &[u8]) -> usize {
    let mut count = 0;
    for line in raw.split(|&byte| byte == b'\n') {
        if line.is_empty() || line == b"\r" {
            break;
        }
        if line.len() >= 9 && line[..9].eq_ignore_ascii_case(b"received:") {
            count += 1;
        }
    }
    count
}

/// Sends what is due, now and after every change; what is refused for now waits a tick. Once the
/// server is to stop no mail is begun, and the one under way gets [`SEND_GRACE`].
async fn send_due(casebook: Arc<Casebook>, live: Arc<Live>, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    match tokio::task::block_in_place(|| casebook.settle_notices()) {
        Ok(0) => {}
        Ok(notices) => {
            tracing::warn!(
                notices,
                "nobody knows whether these notices went out: they are not sent again"
            );
        }
        Err(error) => tracing::error!(%error, "notices that a crash cut off could not be noted"),
    }
    let mut waiting: HashMap<LetterId, (u32, Instant)> = HashMap::new();
    loop {
        let unfinished = casebook.unfinished();
        waiting.retain(|id, _| unfinished.iter().any(|due| due.id == *id));
        for due in unfinished {
            if waiting.get(&due.id).is_some_and(|(_, until)| Instant::now() < *until) {
                continue;
            }
            if due.is_notice {
                // Each try is two entries in the ledger: less and less often.
                let tries = waiting.get(&due.id).map_or(0, |(tries, _)| *tries);
                let pause = TICK.saturating_mul(1 << tries.min(MOST_DOUBLINGS));
                waiting.insert(due.id, (tries + 1, Instant::now() + pause));
            }
            let transport = live.transport();
            let sending = send_one(&casebook, &transport, &due);
            tokio::pin!(sending);
            let (sent, stops) = tokio::select! {
                sent = &mut sending => (Ok(sent), false),
                () = &mut stop => (tokio::time::timeout(SEND_GRACE, sending).await, true),
            };
            if let Ok(Err(error)) = sent {
                tracing::error!(%error, mail = %due.id, "a mail could not be sent");
            }
            if stops {
                return;
            }
        }
        tokio::select! {
            () = &mut stop => return,
            () = casebook.outgoing_changed() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

async fn send_one(
    casebook: &Arc<Casebook>,
    transport: &Transport,
    due: &casebook::Due,
) -> Result<(), casebook::Error> {
    let bytes = tokio::task::block_in_place(|| casebook.mail(due))?;
    let outgoing = minicbor::decode::<Outgoing>(&bytes).ok();
    if due.is_notice {
        return send_notice(casebook, transport, due, outgoing).await;
    }
    let Some(outgoing) = outgoing.filter(Outgoing::is_locked) else {
        tracing::error!(mail = %due.id, "a mail that is not locked does not leave");
        return note_sent(casebook, due, false).await;
    };
    match send::send(transport, &outgoing).await {
        Ok(()) => note_sent(casebook, due, true).await,
        Err(SendError::Temporary(_)) if due.minute + GIVE_UP_AFTER < casebook.now() / 60 => {
            tracing::error!(mail = %due.id, "a mail was not taken for five days");
            note_sent(casebook, due, false).await
        }
        Err(error @ SendError::Temporary(_)) => {
            tracing::warn!(%error, mail = %due.id, "a mail waits");
            Ok(())
        }
        Err(error @ SendError::Permanent(_)) => {
            tracing::error!(%error, mail = %due.id, "a mail was refused for good");
            note_sent(casebook, due, false).await
        }
    }
}

/// Hands a notice over, once at most: that it begins is durable before the first byte leaves, and
/// where nobody knows how it ended it is not tried again. A server that is away is not begun with.
async fn send_notice(
    casebook: &Arc<Casebook>,
    transport: &Transport,
    due: &casebook::Due,
    outgoing: Option<Outgoing>,
) -> Result<(), casebook::Error> {
    let end = |how| tokio::task::block_in_place(|| casebook.end_notice(due, how));
    let is_old = due.minute + NOTICE_OLD < casebook.now() / 60;
    let Some(outgoing) = outgoing.filter(|mail| mail.is_notice() && !is_old) else {
        tracing::error!(mail = %due.id, "a notice that is too old, or none, does not leave");
        return end(Handed::Refused);
    };
    if !send::is_there(transport).await {
        tracing::warn!(mail = %due.id, "a notice waits");
        return Ok(());
    }
    tokio::task::block_in_place(|| casebook.begin_notice(due))?;
    lab::step("notice:begun");
    let sent = send::send(transport, &outgoing).await;
    lab::step("notice:handed-over");
    end(match sent {
        Ok(()) => Handed::Taken,
        Err(SendError::Permanent(_)) => Handed::Refused,
        Err(SendError::Temporary(Some(_))) => Handed::Deferred,
        Err(SendError::Temporary(None)) => Handed::Unknown,
    })
}

/// Notes how sending ended. While the disk is full it waits here: a mail that left and is not noted
/// would leave again with every tick.
async fn note_sent(
    casebook: &Arc<Casebook>,
    due: &casebook::Due,
    delivered: bool,
) -> Result<(), casebook::Error> {
    loop {
        match tokio::task::block_in_place(|| casebook.sent(due, delivered)) {
            Err(casebook::Error::Store(store::Error::Full)) => {
                tracing::error!(mail = %due.id, "the disk is full: what was sent cannot be noted");
                tokio::time::sleep(TICK).await;
            }
            other => return other,
        }
    }
}

/// Forgets what has served its time, rotates the cabinet key nightly, gives room back, and keeps
/// the reserve whole.
async fn keep_up(
    casebook: Arc<Casebook>,
    live: Arc<Live>,
    reserve: u64,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    loop {
        casebook.keep_copies_for(live.copy_time());
        let here = Arc::clone(&casebook);
        let work = move || -> Result<(), casebook::Error> {
            here.store().keep_reserve(reserve);
            here.tidy_at(here.steady().saturating_mul(lab::hurry()))?;
            if here.rotation_is_due()
                && let Err(error) = here.rotate_cabinet()
            {
                tracing::error!(%error, "the nightly rotation failed; it is tried again in an hour");
            }
            if here.sweep_is_due() {
                let summary = here.sweep(false)?;
                tracing::info!("sweep: {summary}");
            }
            Ok(())
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => {}
            Ok(Err(casebook::Error::Upkeep(upkeep::Error::Stopped))) => {}
            Ok(Err(error)) => tracing::error!(%error, "upkeep failed"),
            Err(_) => tracing::error!("upkeep ended in a panic"),
        }
        tokio::select! {
            () = &mut stop => return,
            () = live.reloaded() => {}
            () = tokio::time::sleep(TICK / lab::hurry()) => {}
        }
    }
}

/// Done when a failed write has ended the store, whoever's write it was.
async fn death(casebook: &Casebook) {
    while !casebook.store().is_dead() {
        tokio::time::sleep(DEATH_WATCH).await;
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}
