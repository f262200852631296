//! What fetches letters, with a ledger in memory and times that are short.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kluis::casebook::fetched::{MailId, Place};
use kluis::ids::Digest;
use kluis::inbox::budget::Budget;
use kluis::inbox::imap::{self, Account, After, Keeper, Login, Pace, Security, State, Task, Watch};
use kluis::inbox::{Delivery, Verdict};
use kluis::secret::Personal;
use tokio::runtime::Runtime;

use crate::imap::mail;
use crate::imap_server::{ImapServer, Twisted};
use crate::way::runtime;

/// A time-out here. A loaded machine must not take so long for an answer.
pub(crate) const TIME_OUT: Duration = Duration::from_secs(10);

/// A ledger in memory.
#[derive(Default)]
pub(crate) struct Book(Mutex<Written>);

#[derive(Default)]
pub(crate) struct Written {
    last: HashMap<(Digest, u32), u32>,
    pub(crate) letters: Vec<(MailId, Vec<u8>)>,
    pub(crate) aside: Vec<MailId>,
    /// There is no room, and that is known.
    pub(crate) is_full: bool,
    /// What is said of whatever is delivered, if it is not taken.
    pub(crate) verdict: Option<Verdict>,
}

impl Book {
    pub(crate) fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().expect("no holder panics")
    }

    /// Enters how far the mailbox was dealt with.
    fn enter(&self, mail: MailId) -> MutexGuard<'_, Written> {
        let mut written = self.written();
        let last = written.last.entry((mail.mailbox, mail.validity)).or_default();
        *last = if mail.uid == 0 { 0 } else { mail.uid.max(*last) };
        written.aside.retain(|aside| *aside != mail);
        written
    }

    /// What is sealed, in order.
    pub(crate) fn sealed(&self) -> Vec<Vec<u8>> {
        let mut raws: Vec<_> = self.written().letters.iter().map(|(_, raw)| raw.clone()).collect();
        raws.sort();
        raws
    }
}

impl Keeper for Book {
    fn bind(&self, places: Vec<Place>) -> Task<Option<Vec<Digest>>> {
        let names = places
            .iter()
            .map(|place| Digest::new(*blake3::hash(format!("{place:?}").as_bytes()).as_bytes()));
        let names = names.collect();
        Box::pin(async move { Some(names) })
    }

    fn has_room(&self, _: u64) -> bool {
        !self.written().is_full
    }

    fn deliver(&self, delivery: Delivery) -> Task<Verdict> {
        let fetched = delivery.fetched.expect("was fetched");
        let mail = fetched.mail;
        if let Some(verdict) = self.written().verdict {
            return Box::pin(async move { verdict });
        }
        let mut written = self.enter(mail);
        written.letters.push((mail, delivery.raw));
        if !fetched.is_whole {
            written.aside.push(mail);
        }
        drop(written);
        Box::pin(async { Verdict::Accepted })
    }

    fn up_to(&self, mailbox: Digest, validity: u32) -> Option<u32> {
        self.written().last.get(&(mailbox, validity)).copied()
    }

    fn knows(&self, mailbox: Digest) -> bool {
        self.written().last.keys().any(|(known, _)| *known == mailbox)
    }

    fn is_letter(&self, mail: MailId) -> bool {
        self.written().letters.iter().any(|(letter, _)| *letter == mail)
    }

    fn letters(&self, mailbox: Digest, validity: u32) -> Vec<(u32, Option<u64>)> {
        let written = self.written();
        let ids = written.letters.iter().map(|(mail, _)| mail);
        let ours = ids.filter(|mail| mail.mailbox == mailbox && mail.validity == validity);
        let uids: BTreeSet<u32> = ours.map(|mail| mail.uid).collect();
        uids.into_iter().map(|uid| (uid, None)).collect()
    }

    fn aside(&self, mailbox: Digest, validity: u32) -> Vec<(u32, u64)> {
        let written = self.written();
        let is_ours = |mail: &&MailId| mail.mailbox == mailbox && mail.validity == validity;
        written.aside.iter().filter(is_ours).map(|mail| (mail.uid, 0)).collect()
    }

    fn pass_over(&self, mail: MailId) -> Task<bool> {
        drop(self.enter(mail));
        Box::pin(async { true })
    }

    fn set_aside(&self, mail: MailId) -> Task<bool> {
        self.enter(mail).aside.push(mail);
        Box::pin(async { true })
    }

    fn now(&self) -> u64 {
        0
    }
}

/// What runs for some mailboxes until it is dropped.
pub(crate) struct Worker {
    pub(crate) book: Arc<Book>,
    watch: Arc<Watch>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    _runtime: Runtime,
    _secrets: tempfile::TempDir,
}

impl Worker {
    pub(crate) fn start(accounts: impl FnOnce(PathBuf) -> Vec<Account>) -> Self {
        let secrets = tempfile::tempdir().expect("a directory");
        let password = secrets.path().join("password");
        std::fs::write(&password, "secret words\n").expect("is written");
        let accounts = accounts(password);
        let places = accounts.iter().map(|account| (account.name.clone(), account.place()));
        let (book, watch) = (Arc::<Book>::default(), Arc::new(Watch::of(places)));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let runtime = runtime();
        let keeper: Arc<dyn Keeper> = Arc::clone(&book) as _;
        let (room, watched) = (Budget::new(256 << 20), Arc::clone(&watch));
        runtime.spawn(imap::run(accounts, keeper, room, watched, async { drop(stopped.await) }));
        Self { book, watch, stop: Some(stop), _runtime: runtime, _secrets: secrets }
    }

    pub(crate) fn state(&self, name: &str) -> State {
        let states = self.watch.states();
        states.into_iter().find(|state| state.name == name).expect("is watched")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.stop.take().expect("once").send(());
    }
}

/// A mailbox of a scripted server, with times that are short.
pub(crate) fn account(name: &str, port: u16, password: PathBuf) -> Account {
    Account {
        name: name.into(),
        host: "127.0.0.1".into(),
        port,
        security: Security::None,
        ca: None,
        folder: "INBOX".into(),
        username: "office".into(),
        login: Login::Password(password),
        after: After::Delete,
        every: Duration::from_millis(500),
        since: None,
        max_letter: 1 << 20,
        recipient: Personal::new("privacy@agency.example".into()),
        pace: Pace {
            connect: TIME_OUT,
            command: TIME_OUT,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_millis(400),
            ..Pace::default()
        },
    }
}

/// A server with so many mails.
pub(crate) fn server(
    name: &str,
    mails: u32,
    capabilities: &'static str,
    twisted: Twisted,
) -> ImapServer {
    let there = ImapServer::start(twisted);
    let mut mailbox = there.mailbox();
    mailbox.capabilities = capabilities;
    for number in 1..=mails {
        mailbox.add(mail(name, number));
    }
    drop(mailbox);
    there
}
