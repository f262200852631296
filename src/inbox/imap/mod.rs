//! Fetches letters from mailboxes on other servers (RFC 9051), for whom mail cannot be delivered to.
//!
//! A letter is sealed first and only then deleted, moved or left where it lies. How far a mailbox was
//! fetched stands in the ledger, in the frame of the letter itself
//! ([`Fetched`](crate::casebook::fetched::Fetched)), so no mail is fetched twice and none is lost,
//! whenever the process dies. Nobody's flags are looked at and none are set but on what is to be
//! deleted.
//!
//! `poll` decides what is fetched and `settle` what becomes of it, over the trait in `source`;
//! `session` is that trait over IMAP, `wire` the connection, `sieve` what stands between a server's
//! oddities and the client library, `token` asks for access tokens, `pause` says how long a try waits
//! for the next, [`run`] keeps connections up. No LOGOUT is ever said: a connection ends by closing it.

mod folder;
mod pause;
mod poll;
mod session;
mod settle;
pub mod sieve;
mod source;
mod token;
mod watch;
mod wire;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use self::pause::Pauses;
use self::poll::{Hands, Polled, Poller};
use self::session::Dialer;
pub use self::source::Fault;
use self::source::{Access, Connect, MailSource};
pub use self::watch::{Remark, State, Watch};
use super::budget::Budget;
use super::{Delivery, Verdict};
use crate::casebook::fetched::{MailId, Place};
use crate::ids::Digest;
use crate::secret::Personal;

/// A mailbox to fetch from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the settings call it.
    pub name: String,
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// A file of certificates that count beside the system's.
    pub ca: Option<PathBuf>,
    /// The folder.
    pub folder: String,
    /// Who logs in.
    pub username: String,
    /// How.
    pub login: Login,
    /// What becomes of a letter that is sealed.
    pub after: After,
    /// From one poll to the next, whatever the server tells in between; an IDLE is as long.
    pub every: Duration,
    /// What arrived before this second since 1970 is left alone.
    pub since: Option<u64>,
    /// The longest letter, in bytes.
    pub max_letter: usize,
    /// Whom the letters are for.
    pub recipient: Personal<String>,
    /// How long things may take.
    pub pace: Pace,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// STARTTLS, required.
    Starttls,
    /// Not at all: loopback only.
    None,
}

/// How a log-in is proven. Secrets are read from their files at every log-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// With a password, the first line of this file.
    Password(PathBuf),
    /// With an access token.
    OAuth2(OAuth2),
}

/// Where access tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// Its secret, in the first line of this file.
    pub client_secret_file: Option<PathBuf>,
    /// What for.
    pub grant: Grant,
    /// For what, in the provider's words.
    pub scope: Option<String>,
}

/// What an access token is given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The program itself may read the mailbox.
    Client,
    /// A person allowed it, with a refresh token: the first line of this file.
    Refresh(PathBuf),
}

/// What becomes of a mail whose letter is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// It stays.
    Keep,
    /// It is removed.
    Delete,
    /// It goes into this folder.
    Move(String),
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A connection with its log-in.
    pub connect: Duration,
    /// A command.
    pub command: Duration,
    /// The pause after a first failure; it doubles from there.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// The pause before a mail that could not be taken here is fetched again; it doubles from there.
    pub first_wait: Duration,
    /// The longest of these.
    pub longest_wait: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(60),
            command: Duration::from_secs(120),
            first_pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(5 * 60),
            first_wait: Duration::from_secs(60),
            longest_wait: Duration::from_secs(60 * 60),
        }
    }
}

impl Account {
    /// Which mailbox it is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::of(&self.name, &self.host, self.port, &self.username, &self.folder)
    }
}

/// A future that somebody else runs.
pub type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Who keeps what is fetched, and knows what was.
pub trait Keeper: Send + Sync {
    /// What the ledger calls these mailboxes; none if that could not be entered.
    fn bind(&self, places: Vec<Place>) -> Task<Option<Vec<Digest>>>;
    /// Whether there is room on the disk for a mail of so many bytes.
    fn has_room(&self, bytes: u64) -> bool;
    /// Seals a letter, and enters that it was fetched.
    fn deliver(&self, delivery: Delivery) -> Task<Verdict>;
    /// Every mail up to this UID was dealt with; none if nothing of this UIDVALIDITY was.
    fn up_to(&self, mailbox: Digest, validity: u32) -> Option<u32>;
    /// Whether something of the mailbox was ever dealt with.
    fn knows(&self, mailbox: Digest) -> bool;
    /// Whether the mail is a letter here.
    fn is_letter(&self, mail: MailId) -> bool;
    /// UIDs of all mails that are letters here, in their order, and when the mailbox got each, in
    /// minutes since 1970, if that is known.
    fn letters(&self, mailbox: Digest, validity: u32) -> Vec<(u32, Option<u64>)>;
    /// Mails that were given up, and when, in minutes since 1970.
    fn aside(&self, mailbox: Digest, validity: u32) -> Vec<(u32, u64)>;
    /// Enters that a mail makes no letter; whether that is durable.
    fn pass_over(&self, mail: MailId) -> Task<bool>;
    /// Enters that a mail is given up; whether that is durable.
    fn set_aside(&self, mail: MailId) -> Task<bool>;
    /// Minutes since 1970.
    fn now(&self) -> u64;
}

/// Polls that a connection may be asked for at once without anything new.
const AT_ONCE: u32 = 3;
/// Failures in a row that somebody is told of, whatever they are.
const ALERT: u32 = 3;

/// What a look at a mailbox found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many mails there are.
    pub mails: u32,
    /// Whether a sealed mail can be removed, or moved, without regard to what others marked as deleted.
    pub removes_alone: bool,
}

/// Connects to a mailbox and looks whether it opens. Nothing there is changed.
///
/// # Errors
/// What went wrong.
pub async fn look(account: Account) -> Result<Found, Fault> {
    let moves = matches!(account.after, After::Move(_));
    let mut source = Dialer::new(Arc::new(account)).connect().await?;
    let mails = source.open(Access::Look).await?.mails;
    Ok(Found { mails, removes_alone: source.removes_alone(moves) })
}

/// Fetches from all of these mailboxes until `shutdown` is done. Whatever is under way then is as if
/// it had never begun, unless it is sealed.
pub async fn run(
    accounts: Vec<Account>,
    keeper: Arc<dyn Keeper>,
    room: Budget,
    watch: Arc<Watch>,
    shutdown: impl Future<Output = ()>,
) {
    tokio::pin!(shutdown);
    let mailboxes = tokio::select! {
        mailboxes = bound(&accounts, &*keeper) => mailboxes,
        () = &mut shutdown => return,
    };
    let mut fetching = tokio::task::JoinSet::new();
    for (account, mailbox) in accounts.into_iter().zip(mailboxes) {
        let (keeper, room, watch) = (Arc::clone(&keeper), room.clone(), Arc::clone(&watch));
        let account = Arc::new(account);
        fetching.spawn(async move {
            let dialer = Dialer::new(Arc::clone(&account));
            let mut hands = Hands::default();
            let poller = Poller {
                account: &account,
                mailbox,
                keeper: &*keeper,
                room: &room,
                watch: &watch,
                hands: &mut hands,
            };
            keep_fetching(&dialer, poller).await;
        });
    }
    shutdown.await;
    fetching.shutdown().await;
}

/// What the ledger calls the mailboxes. Nothing is fetched before that stands in it.
async fn bound(accounts: &[Account], keeper: &dyn Keeper) -> Vec<Digest> {
    let pace = accounts.first().map_or_else(Pace::default, |account| account.pace);
    let mut pauses = Pauses::new(pace.first_pause, pace.longest_pause);
    loop {
        let places = accounts.iter().map(Account::place).collect();
        if let Some(mailboxes) = keeper.bind(places).await {
            return mailboxes;
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

/// Connects, polls and waits, for ever; after a failure with pauses that grow.
async fn keep_fetching<C: Connect>(dialer: &C, mut poller: Poller<'_>) {
    let (account, watch) = (poller.account, poller.watch);
    let mut pauses = Pauses::new(account.pace.first_pause, account.pace.longest_pause);
    // A connection that holds so long is no failure when it ends.
    let a_while = account.every.min(pauses.longest());
    let (mut probed, mut renewed) = (false, false);
    let (mut in_a_row, mut told) = (0, None::<Fault>);
    loop {
        let begun = Instant::now();
        let (progress, polls) = (poller.hands.progress(), poller.hands.polls());
        let fault = match dialer.connect().await {
            Ok(source) => in_session(source, &mut poller, &mut probed).await,
            Err(fault) => fault,
        };
        if poller.hands.polls() != polls {
            (in_a_row, told) = (0, None);
            // What only hangs holds as long, too.
            if begun.elapsed() >= a_while {
                renewed = false;
                pauses.reset();
            }
        }
        if matches!(fault, Fault::Expired | Fault::Denied) {
            dialer.forget_token();
        }
        // The end of a token is no failure, unless the next one is not good for long, either.
        if fault == Fault::Expired && !renewed {
            renewed = true;
            continue;
        }
        watch.failed(&account.name, fault);
        // Closer to a mail that cannot be fetched, or past it: the next try is another one.
        if poller.hands.progress() != progress {
            pauses.reset();
        }
        let pause = pauses.next();
        in_a_row += 1;
        let name = &account.name;
        // One row of failures is told of once, unless it comes to something that somebody must mend.
        if told.is_some_and(|told| told == fault || !fault.needs_somebody()) {
            tracing::debug!(account = name, %fault, ?pause, "fetching still waits");
        } else if fault.needs_somebody() || in_a_row >= ALERT {
            told = Some(fault);
            tracing::error!(
                account = name,
                %fault,
                "letters wait in a mailbox that cannot be fetched from: it is tried again and again"
            );
        } else {
            tracing::warn!(account = name, %fault, ?pause, "fetching waits");
        }
        tokio::time::sleep(pause).await;
    }
}

/// Polls and waits until the connection is of no more use.
async fn in_session<S: MailSource>(
    mut source: S,
    poller: &mut Poller<'_>,
    probed: &mut bool,
) -> Fault {
    let account = poller.account;
    if !*probed {
        match source.open(Access::Look).await {
            Ok(found) => {
                tracing::info!(account = account.name, mails = found.mails, "a mailbox opens");
            }
            Err(fault) => return fault,
        }
        *probed = true;
    }
    poller.begin_session(&source);
    let longest = account.pace.longest_pause.min(account.every);
    let mut pauses = Pauses::new(account.pace.first_pause, longest);
    let mut for_nothing = 0;
    loop {
        let progress = poller.hands.progress();
        let at_most = match poller.poll(&mut source).await {
            Ok(Polled::All) => {
                poller.watch.polled(&account.name, poller.keeper.now());
                account.every
            }
            Ok(Polled::Later(why)) => {
                poller.watch.failed(&account.name, why);
                longest
            }
            Err(fault) => return fault,
        };
        poller.hands.went_well();
        if poller.hands.progress() != progress {
            for_nothing = 0;
        }
        // What comes meanwhile ends an IDLE; a poll comes in any case.
        let begun = Instant::now();
        if let Err(fault) = source.wait(at_most).await {
            return fault;
        }
        // A server that tells of news where there is none is listened to less and less often.
        if begun.elapsed() >= longest {
            for_nothing = 0;
        }
        for_nothing += 1;
        if for_nothing <= AT_ONCE {
            pauses.reset();
        } else {
            tokio::time::sleep(pauses.next()).await;
        }
    }
}

/// The first line of a file.
fn secret_in(file: &Path) -> Result<Zeroizing<String>, Fault> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|_| Fault::File)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { Err(Fault::File) } else { Ok(Zeroizing::new(line.to_owned())) }
}
