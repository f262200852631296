//! Fetches letters from mailboxes on other servers into the casebook: the settings as `inbox::imap`
//! wants them, and what that knows of the ledger.

use std::sync::Arc;
use std::time::Duration;

use crate::casebook::fetched::{MailId, Place};
use crate::casebook::{self, Casebook, protocol};
use crate::config::{After, Config, Imap, ImapTls};
use crate::ids::Digest;
use crate::inbox::imap::{
    self, Account, Grant, Keeper, Login, OAuth2, Pace, Security, Task, Watch,
};
use crate::inbox::{Deliver, Delivery, Verdict};
use crate::secret::Personal;

/// The mailboxes of the settings.
#[must_use]
pub fn accounts(config: &Config) -> Vec<Account> {
    config.imap.iter().map(|mailbox| account(config, mailbox)).collect()
}

fn account(config: &Config, mailbox: &Imap) -> Account {
    let login = match (&mailbox.oauth2, &mailbox.password_file) {
        (Some(oauth2), _) => Login::OAuth2(OAuth2 {
            token_url: oauth2.token_url.clone(),
            client_id: oauth2.client_id.clone(),
            client_secret_file: oauth2.client_secret_file.clone(),
            grant: oauth2.refresh_token_file.clone().map_or(Grant::Client, Grant::Refresh),
            scope: oauth2.scope.clone(),
        }),
        (None, password) => Login::Password(password.clone().unwrap_or_default()),
    };
    // A day begins in Belgium, as everywhere else here.
    let start = |day: jiff::civil::Date| {
        let zoned = day.in_tz("Europe/Brussels").ok()?;
        u64::try_from(zoned.timestamp().as_second()).ok()
    };
    let poll = Duration::from_secs(60 * u64::from(mailbox.poll_minutes));
    Account {
        name: mailbox.name.clone(),
        host: mailbox.host.clone(),
        port: mailbox.port,
        security: match mailbox.tls {
            ImapTls::Implicit => Security::Implicit,
            ImapTls::Starttls => Security::Starttls,
            ImapTls::None => Security::None,
        },
        ca: mailbox.ca.clone(),
        folder: mailbox.folder.clone(),
        username: mailbox.username.clone(),
        login,
        after: match (mailbox.after, &mailbox.move_to) {
            (After::Delete, _) => imap::After::Delete,
            (After::Move, Some(folder)) => imap::After::Move(folder.clone()),
            _ => imap::After::Keep,
        },
        every: poll,
        since: mailbox.since.and_then(start),
        max_letter: usize::try_from(config.limits.letter_bytes).unwrap_or(usize::MAX),
        recipient: Personal::new(config.addresses.first().cloned().unwrap_or_default()),
        pace: Pace::default(),
    }
}

/// Says at the start which promise a setting breaks.
pub(super) fn warn(accounts: &[Account]) {
    for account in accounts {
        let name = &account.name;
        match &account.after {
            imap::After::Delete => {}
            imap::After::Keep => tracing::warn!(
                account = name,
                "letters stay on the mail server after they are sealed: what is forgotten here is \
                 there in clear"
            ),
            imap::After::Move(_) => tracing::warn!(
                account = name,
                "letters stay in another folder of the mail server after they are sealed: what is \
                 forgotten here is there in clear"
            ),
        }
    }
}

/// The mailboxes to watch.
pub(super) fn watch(accounts: &[Account]) -> Watch {
    Watch::of(accounts.iter().map(|account| (account.name.clone(), account.place())))
}

/// How it stands with them, for whoever asks.
pub(super) fn standing(casebook: &Casebook, watch: &Watch) -> Vec<protocol::Mailbox> {
    let standing = |state: imap::State| protocol::Mailbox {
        name: state.name,
        polled: state.polled,
        fault: state.fault.map(|fault| fault.to_string()),
        aside: casebook.count_set_aside(casebook.mailbox(state.place)),
        left: state.left,
        remark: state.remark.map(|remark| remark.to_string()),
    };
    watch.states().into_iter().map(standing).collect()
}

/// The casebook as the polling knows it.
pub(super) struct Shelf {
    pub(super) casebook: Arc<Casebook>,
    pub(super) deliver: Deliver,
}

impl Shelf {
    fn enter<T: Send + 'static>(
        &self,
        entry: impl FnOnce(&Casebook) -> Result<T, casebook::Error> + Send + 'static,
    ) -> Task<Option<T>> {
        let casebook = Arc::clone(&self.casebook);
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || entry(&casebook)).await {
                Ok(Ok(entered)) => Some(entered),
                Ok(Err(error)) => {
                    tracing::error!(%error, "what was fetched could not be entered");
                    None
                }
                Err(_) => None,
            }
        })
    }

    fn is_entered(
        &self,
        entry: impl FnOnce(&Casebook) -> Result<(), casebook::Error> + Send + 'static,
    ) -> Task<bool> {
        let entered = self.enter(entry);
        Box::pin(async move { entered.await.is_some() })
    }
}

impl Keeper for Shelf {
    fn bind(&self, places: Vec<Place>) -> Task<Option<Vec<Digest>>> {
        self.enter(move |casebook| casebook.bind_mailboxes(&places))
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.casebook.store().expect_room(bytes).is_ok()
    }

    fn deliver(&self, delivery: Delivery) -> Task<Verdict> {
        (self.deliver)(delivery)
    }

    fn up_to(&self, mailbox: Digest, validity: u32) -> Option<u32> {
        self.casebook.fetched_up_to(mailbox, validity)
    }

    fn knows(&self, mailbox: Digest) -> bool {
        self.casebook.knows_mailbox(mailbox)
    }

    fn is_letter(&self, mail: MailId) -> bool {
        self.casebook.is_letter(mail)
    }

    fn letters(&self, mailbox: Digest, validity: u32) -> Vec<(u32, Option<u64>)> {
        self.casebook.letters_in(mailbox, validity)
    }

    fn aside(&self, mailbox: Digest, validity: u32) -> Vec<(u32, u64)> {
        self.casebook.set_aside_in(mailbox, validity)
    }

    fn pass_over(&self, mail: MailId) -> Task<bool> {
        self.is_entered(move |casebook| casebook.pass_over(mail))
    }

    fn set_aside(&self, mail: MailId) -> Task<bool> {
        self.is_entered(move |casebook| casebook.set_aside(mail))
    }

    fn now(&self) -> u64 {
        self.casebook.now() / 60
    }
}
