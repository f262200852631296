//! A mailbox over IMAP (RFC 9051, RFC 3501): the commands, each with its time.
//!
//! The client library keeps tags and state; what it reads has been through the sieve. UNSEEN is a
//! human's flag and never looked at; ENVELOPE and BODYSTRUCTURE are never asked for, for servers get
//! them wrong; QRESYNC is never switched on.

use std::sync::Arc;
use std::time::Duration;

use async_imap::imap_proto::{AttributeValue, MailboxDatum, Response, ResponseCode, Status};
use async_imap::{Authenticator, Client};
use jiff::fmt::strtime;
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use super::sieve::Found;
use super::source::{Access, Connect, Fault, Listed, Listing, MailSource, Opened, Piece, Sealed};
use super::token::Tokens;
use super::wire::{Shared, Wire};
use super::{Account, Login, folder, secret_in};

/// Bytes that a response may have in literals when no content was asked for.
const FEW: usize = 64 * 1024;

/// Makes sessions.
pub(super) struct Dialer {
    account: Arc<Account>,
    tokens: Tokens,
}

impl Dialer {
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self { tokens: Tokens::new(Arc::clone(&account)), account }
    }
}

impl Connect for Dialer {
    type Source = Session;

    async fn connect(&self) -> Result<Session, Fault> {
        // The token first: a server that waits for a log-in does not wait long.
        let secret = match &self.account.login {
            Login::Password(file) => secret_in(file)?,
            Login::OAuth2(_) => self.tokens.token().await?,
        };
        let dial = async {
            let (wire, shared, greeted) = Wire::connect(&self.account).await?;
            Session::log_in(wire, shared, greeted, Arc::clone(&self.account), &secret).await
        };
        timeout(self.account.pace.connect, dial).await.unwrap_or(Err(Fault::Slow))
    }

    fn forget_token(&self) {
        self.tokens.forget();
    }
}

/// A connection that is logged in.
pub(super) struct Session {
    session: async_imap::Session<Wire>,
    shared: Arc<Shared>,
    account: Arc<Account>,
    can_idle: bool,
}

/// Says one thing, and then nothing: an empty answer to what a server adds when it refuses a token
/// makes it say NO.
struct Once(Option<Zeroizing<String>>);

impl Authenticator for Once {
    type Response = Zeroizing<String>;

    fn process(&mut self, _challenge: &[u8]) -> Zeroizing<String> {
        self.0.take().unwrap_or_default()
    }
}

impl Session {
    pub(super) async fn log_in(
        wire: Wire,
        shared: Arc<Shared>,
        greeted: bool,
        account: Arc<Account>,
        secret: &str,
    ) -> Result<Self, Fault> {
        shared.allow(FEW);
        let mut client = Client::new(wire);
        if !greeted {
            match client.read_response().await {
                Ok(Some(greeting)) => match greeting.parsed() {
                    Response::Data { status: Status::Ok, .. } => {}
                    _ => return Err(Fault::Protocol),
                },
                _ => return Err(Fault::Lost),
            }
        }
        let asked = client.run_command_and_check_ok("CAPABILITY", None).await;
        asked.map_err(|error| fault(&error, &shared))?;
        let can = |what: &str| shared.heard().capabilities.contains(what);
        let user = &account.username;
        let session = match &account.login {
            Login::OAuth2(_) => {
                let said = format!("user={user}\x01auth=Bearer {secret}\x01\x01");
                client.authenticate("XOAUTH2", Once(Some(Zeroizing::new(said)))).await
            }
            Login::Password(_) if can("AUTH=PLAIN") => {
                let said = format!("\0{user}\0{secret}");
                client.authenticate("PLAIN", Once(Some(Zeroizing::new(said)))).await
            }
            Login::Password(_) if can("LOGINDISABLED") => return Err(Fault::Denied),
            Login::Password(_) => client.login(user, secret).await,
        };
        let session = session.map_err(|(error, _)| match fault(&error, &shared) {
            Fault::No if shared.heard().token_expired => Fault::Expired,
            Fault::No => Fault::Denied,
            other => other,
        })?;
        let mut session = Self { session, shared, account, can_idle: false };
        // It may be able to do more for those whom it knows.
        session.command("CAPABILITY", FEW, |_| ()).await?;
        session.can_idle = session.can("IDLE");
        Ok(session)
    }

    /// Of UIDPLUS, MOVE and IDLE; IMAP4rev2 has all three (RFC 9051, appendix E).
    fn can(&self, what: &str) -> bool {
        let capabilities = &self.shared.heard().capabilities;
        capabilities.contains(what) || capabilities.contains("IMAP4REV2")
    }

    /// Runs a command to its end; `see` is shown what comes before.
    async fn command(
        &mut self,
        command: &str,
        most: usize,
        mut see: impl FnMut(&Response<'_>),
    ) -> Result<(), Fault> {
        self.shared.allow(most);
        let (session, shared) = (&mut self.session, &self.shared);
        let run = async {
            let sent = session.run_command(command).await;
            let id = sent.map_err(|error| fault(&error, shared))?;
            loop {
                let ended = next(session, shared, |response| match response {
                    Response::Done { tag, status, .. } if *tag == id => Some(*status == Status::Ok),
                    other => {
                        see(other);
                        None
                    }
                });
                match ended.await? {
                    Some(true) => return Ok(()),
                    Some(false) => return Err(Fault::No),
                    None => {}
                }
            }
        };
        timeout(self.account.pace.command, run).await.unwrap_or(Err(Fault::Slow))
    }

    async fn flag_deleted(&mut self, uid: u32) -> Result<(), Fault> {
        let command = format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)");
        self.command(&command, FEW, |_| ()).await
    }

    /// Removes what is flagged. Without UIDPLUS that removes all mails that anybody flagged, so it is
    /// only done if all of them are sealed. This one was flagged just now, so an answer that does not
    /// name it says nothing about the others, either.
    async fn expunge(&mut self, uid: u32, sealed: &Sealed<'_>) -> Result<(), Fault> {
        if self.can("UIDPLUS") {
            return self.command(&format!("UID EXPUNGE {uid}"), FEW, |_| ()).await;
        }
        let flagged = self.search("DELETED").await?.unwrap_or_default();
        if !flagged.contains(&uid) || flagged.iter().any(|&other| !sealed(other)) {
            return Err(Fault::Marked);
        }
        self.command("EXPUNGE", FEW, |_| ()).await
    }

    /// What there is; none if the server did not say, or not so that it can be read.
    async fn search(&mut self, what: &str) -> Result<Option<Vec<u32>>, Fault> {
        self.shared.heard().found = Found::default();
        self.command(&format!("UID SEARCH {what}"), FEW, |_| ()).await?;
        Ok(std::mem::take(&mut self.shared.heard().found).uids())
    }

    /// IDLE (RFC 2177) until something came or the time is over.
    async fn idle(&mut self, at_most: Duration) -> Result<(), Fault> {
        self.shared.allow(FEW);
        let (session, shared) = (&mut self.session, &self.shared);
        let (time, until) = (self.account.pace.command, Instant::now() + at_most);
        let begun = async {
            let sent = session.run_command("IDLE").await;
            let id = sent.map_err(|error| fault(&error, shared))?;
            loop {
                let begun = next(session, shared, |response| match response {
                    Response::Continue(_) => Some(true),
                    // It does not want to after all.
                    Response::Done { tag, .. } if *tag == id => Some(false),
                    _ => None,
                });
                if let Some(begun) = begun.await? {
                    return Ok((id, begun));
                }
            }
        };
        let (id, idles) = timeout(time, begun).await.unwrap_or(Err(Fault::Slow))?;
        if !idles {
            self.can_idle = false;
            return Ok(());
        }
        loop {
            let came = next(session, shared, |response| match response {
                Response::MailboxData(MailboxDatum::Exists(_)) => Some(true),
                Response::Done { tag, .. } if *tag == id => Some(false),
                _ => None,
            });
            match timeout_at(until, came).await {
                Ok(came) => match came? {
                    Some(true) => break,
                    // It ended the IDLE by itself.
                    Some(false) => return Ok(()),
                    None => {}
                },
                Err(_) => break,
            }
        }
        let done = async {
            let sent = session.run_command_untagged("DONE").await;
            sent.map_err(|error| fault(&error, shared))?;
            let is_end = |response: &Response<'_>| matches!(response, Response::Done { tag, .. } if *tag == id);
            while !next(session, shared, is_end).await? {}
            Ok(())
        };
        timeout(time, done).await.unwrap_or(Err(Fault::Slow))
    }
}

/// Shows the next response.
async fn next<T>(
    session: &mut async_imap::Session<Wire>,
    shared: &Shared,
    see: impl FnOnce(&Response<'_>) -> T,
) -> Result<T, Fault> {
    match session.read_response().await {
        Ok(Some(response)) => match response.parsed() {
            Response::Data { status: Status::Bye, .. } => Err(left(shared)),
            other => Ok(see(other)),
        },
        Ok(None) => Err(left(shared)),
        Err(error) => Err(fault(&error.into(), shared)),
    }
}

/// Why a server went.
fn left(shared: &Shared) -> Fault {
    if shared.heard().token_expired { Fault::Expired } else { Fault::Lost }
}

fn fault(error: &async_imap::error::Error, shared: &Shared) -> Fault {
    use async_imap::error::Error;
    match error {
        Error::No(_) | Error::Bad(_) => Fault::No,
        Error::Parse(_) | Error::Validate(_) | Error::Append => Fault::Protocol,
        _ if shared.is_too_long() => Fault::TooLong,
        _ if shared.is_too_many() => Fault::TooMany,
        _ => left(shared),
    }
}

impl MailSource for Session {
    async fn open(&mut self, access: Access) -> Result<Opened, Fault> {
        let verb = match access {
            Access::Look => "EXAMINE",
            Access::Change => "SELECT",
        };
        let command = format!("{verb} {}", folder::quoted(&self.account.folder));
        let mut opened = Opened::default();
        let done = self
            .command(&command, FEW, |response| match response {
                Response::MailboxData(MailboxDatum::Exists(mails)) => opened.mails = *mails,
                Response::Data { outcome, .. } => match outcome.code {
                    Some(ResponseCode::UidValidity(validity)) => opened.validity = Some(validity),
                    Some(ResponseCode::UidNext(next)) => opened.next = Some(next),
                    _ => {}
                },
                _ => {}
            })
            .await;
        done.map(|()| opened)
    }

    async fn list(&mut self, from: u32, to: Option<u32>) -> Result<Listing, Fault> {
        let before = self.shared.heard().unreadable;
        let to = to.map_or("*".to_owned(), |to| to.to_string());
        let command = format!("UID FETCH {from}:{to} (UID RFC822.SIZE INTERNALDATE)");
        let mut mails = Vec::new();
        self.command(&command, FEW, |response| {
            if let Response::Fetch(_, attributes) = response {
                mails.extend(listed(attributes));
            }
        })
        .await?;
        let has_unreadable = self.shared.heard().unreadable > before;
        Ok(Listing { mails, has_unreadable })
    }

    async fn slice(
        &mut self,
        uid: u32,
        offset: u32,
        length: u32,
        most: usize,
    ) -> Result<Piece, Fault> {
        let before = self.shared.heard().unreadable;
        let command = format!("UID FETCH {uid} (UID BODY.PEEK[]<{offset}.{length}>)");
        let mut piece = Piece::Nothing;
        self.command(&command, most, |response| {
            if let Response::Fetch(_, attributes) = response
                && let Some(bytes) = part_of(attributes, uid, offset)
            {
                piece = Piece::Bytes(bytes);
            }
        })
        .await?;
        if piece == Piece::Nothing && self.shared.heard().unreadable > before {
            return Err(Fault::Unreadable);
        }
        Ok(piece)
    }

    async fn present(&mut self, from: u32, to: u32) -> Result<Vec<u32>, Fault> {
        self.search(&format!("UID {from}:{to}")).await?.ok_or(Fault::Unreadable)
    }

    fn removes_alone(&self, moves: bool) -> bool {
        self.can("UIDPLUS") || (moves && self.can("MOVE"))
    }

    async fn delete(&mut self, uid: u32, sealed: &Sealed<'_>) -> Result<(), Fault> {
        self.flag_deleted(uid).await?;
        self.expunge(uid, sealed).await
    }

    async fn move_to(
        &mut self,
        uid: u32,
        into: &str,
        is_copied: &mut bool,
        sealed: &Sealed<'_>,
    ) -> Result<(), Fault> {
        let into = folder::quoted(into);
        if self.can("MOVE") {
            return self.command(&format!("UID MOVE {uid} {into}"), FEW, |_| ()).await;
        }
        // One that is flagged was copied before: by a process that died since.
        let was_copied = *is_copied || {
            let flagged = self.search(&format!("UID {uid} DELETED")).await?;
            flagged.is_some_and(|flagged| flagged.contains(&uid))
        };
        if !was_copied {
            self.command(&format!("UID COPY {uid} {into}"), FEW, |_| ()).await?;
        }
        *is_copied = true;
        self.delete(uid, sealed).await
    }

    async fn wait(&mut self, at_most: Duration) -> Result<(), Fault> {
        if self.can_idle {
            let until = Instant::now() + at_most;
            self.idle(at_most).await?;
            if self.can_idle {
                return Ok(());
            }
            tokio::time::sleep_until(until).await;
        } else {
            tokio::time::sleep(at_most).await;
        }
        Ok(())
    }
}

fn listed(attributes: &[AttributeValue<'_>]) -> Option<Listed> {
    let uid = attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Uid(uid) => Some(*uid),
        _ => None,
    })?;
    let size = attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Rfc822Size(size) => Some(*size),
        _ => None,
    });
    let arrived = attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::InternalDate(date) => seconds(date),
        _ => None,
    });
    Some(Listed { uid, size, arrived })
}

/// `17-Jul-1996 02:44:25 -0700`, with a space for the first digit of the day (RFC 9051 §9, date-time).
fn seconds(date: &str) -> Option<u64> {
    let parsed = strtime::parse("%d-%b-%Y %H:%M:%S %z", date.trim_start()).ok()?;
    u64::try_from(parsed.to_timestamp().ok()?.as_second()).ok()
}

/// The part of the mail that was asked for. A server that cuts nothing sends the whole without saying
/// where it begins.
fn part_of(attributes: &[AttributeValue<'_>], uid: u32, offset: u32) -> Option<Vec<u8>> {
    let is_other = attributes
        .iter()
        .any(|attribute| matches!(attribute, AttributeValue::Uid(other) if *other != uid));
    if is_other {
        return None;
    }
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::BodySection { section: None, index, data: Some(data) } => {
            let is_whole = index.is_none() || *index == Some(0);
            let is_it = *index == Some(offset) || (index.is_none() && offset == 0);
            // Asked for what is behind the start, it sends the whole again: what is behind counts.
            match (is_it, is_whole) {
                (true, _) => Some(data.to_vec()),
                (false, true) => Some(data.get(offset as usize..).unwrap_or_default().to_vec()),
                _ => None,
            }
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_arrival_is_read_in_every_form_that_servers_write() {
        for (text, wanted) in [
            ("17-Jul-1996 02:44:25 -0700", Some(837_596_665)),
            (" 7-Jul-1996 02:44:25 -0700", Some(836_732_665)),
            ("7-Jul-1996 02:44:25 +0000", Some(836_707_465)),
            ("01-Jan-1960 00:00:00 +0000", None),
            ("32-Jul-1996 02:44:25 -0700", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), wanted, "{text}");
        }
    }
}
