//! A logged-in connection for the commands of the staff side.
//!
//! Which server and which member: what `kluis unlock` remembered, unless the command line says
//! otherwise. The key: the agent's if one runs, else the member's passphrase is asked once. Only
//! here ids are completed from their first characters.

use std::path::PathBuf;

use clap::Args;

use super::{Error, key, print};
use crate::cli::error::{DENIED, USAGE};
use crate::clock::Clock;
use crate::ids::{ItemId, LetterId};
use crate::keys::staff::StaffKey;
use crate::ledger::Entry;
use crate::sandbox::{Limits, Sandbox};
use crate::secret::harden_process;
use crate::staff::agent::{self, AgentClient, Opener};
use crate::staff::client::{self, CaseView, Client};
use crate::staff::home::{Home, Profile};
use crate::staff::restored::Gone;
use crate::staff::seen::Seen;

/// Where the server is, and who asks.
#[derive(Args, Default)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The server's socket; else the one that `kluis unlock` remembered
    #[arg(long, value_name = "SOCKET")]
    pub(super) server: Option<PathBuf>,
    /// Your name in the roster; else the one that `kluis unlock` remembered
    #[arg(long, value_name = "NAME")]
    pub(super) member: Option<String>,
    /// Your key file; else the one that `kluis unlock` remembered
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// Read the passphrase from the first line of this file instead of asking
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
}

impl Connection {
    /// The member's folders, and the profile with what the command line changes in it.
    ///
    /// # Errors
    /// No server or no member is known.
    pub(super) fn profile(&self) -> Result<(Home, Profile), Error> {
        let home = Home::find()?;
        let unknown = |what: &str, option: &str| {
            Error::new(format!("no {what} is known"))
                .code(USAGE)
                .hint(format!("`kluis unlock --server SOCKET --member NAME`, or {option} here"))
        };
        let mut profile = match (Profile::load(&home)?, &self.server, &self.member) {
            (Some(profile), _, _) => profile,
            (None, Some(server), Some(member)) => Profile::new(server, member),
            (None, None, _) => return Err(unknown("server", "--server")),
            (None, _, None) => return Err(unknown("member", "--member")),
        };
        if let Some(server) = &self.server {
            profile.socket = absolute(server)?;
        }
        if let Some(member) = &self.member {
            profile.member.clone_from(member);
        }
        if let Some(key) = &self.key_file {
            profile.key = Some(absolute(key)?);
        }
        Ok((home, profile))
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// The server is absent, the key does not open, the log-in is refused.
    pub(super) fn open(&self) -> Result<Client, Error> {
        let (home, profile) = self.profile()?;
        harden()?;
        let opener = self.opener(&home, &profile)?;
        let seen = Seen::in_dir(home.checkpoints());
        let client = Client::connect(&profile.socket, &profile.member, opener, Some(&seen));
        let mut client = client.map_err(|error| {
            let is_refused = matches!(error, client::Error::Refused(_));
            let error = Error::from(error);
            if is_refused {
                error.code(DENIED).hint(format!(
                    "you asked as `{}`; is that the name in the roster, and this its key?",
                    profile.member
                ))
            } else {
                error
            }
        })?;
        // What the admin has signed since, and only a reader can do.
        if client.stale {
            client.rewrap()?;
        }
        Ok(client)
    }

    /// Accepts a server that was restored from a backup; see [`Client::accept_restored`].
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub(super) fn accept_restored(&self) -> Result<Option<Gone>, Error> {
        let (home, profile) = self.profile()?;
        harden()?;
        let opener = self.opener(&home, &profile)?;
        let seen = Seen::in_dir(home.checkpoints());
        Ok(Client::accept_restored(&profile.socket, &profile.member, opener, &seen)?)
    }

    fn opener(&self, home: &Home, profile: &Profile) -> Result<Opener, Error> {
        if self.key_file.is_none() {
            match AgentClient::find(&home.agent_socket()) {
                Ok(agent) if agent.status()?.member == profile.member => {
                    return Ok(Opener::Agent(agent));
                }
                Ok(_) | Err(agent::Error::Locked) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let file = profile.key_file(home);
        if !file.exists() {
            return Err(crate::keys::UnlockError::NoFile.into());
        }
        let question = format!("Passphrase of {}", profile.member);
        let passphrase = key::passphrase(&question, self.passphrase_file.as_deref(), false)?;
        Ok(Opener::Key(StaffKey::unlock(&file, &passphrase)?))
    }
}

/// Closes the process to onlookers before a secret is in it.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn harden() -> Result<(), Error> {
    harden_process().map_err(|error| {
        Error::new(format!("the process cannot be closed to onlookers: {error}"))
            .hint("nothing secret was touched")
    })
}

/// A path that means the same from every folder.
pub(super) fn absolute(path: &std::path::Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::io(path.display(), &error))
}

/// Where opened letters are parsed: one confined child of this program.
///
/// # Errors
/// This program cannot be found again.
pub(super) fn parser() -> Result<Sandbox, Error> {
    let program = program()?;
    Ok(Sandbox::new(program, vec![super::CONFINED_PARSE.into()], 1, Limits::default()))
}

/// What runs this very program again. Not its path: after an upgrade another version lies there, which
/// may understand its parent in another way.
///
/// # Errors
/// There is no /proc.
pub(super) fn program() -> Result<PathBuf, Error> {
    let this = PathBuf::from(THIS_PROGRAM);
    match std::fs::metadata(&this) {
        Ok(_) => Ok(this),
        Err(error) => Err(Error::io("finding this program", &error)),
    }
}

/// The program of whoever follows this link, in a child the one of its parent.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Seconds since 1970.
#[must_use]
pub(super) fn now() -> u64 {
    Clock::System.seconds()
}

/// The fewest characters of an id that are completed.
const FEWEST: usize = 4;

/// The one of `known` that begins with `start`.
///
/// # Errors
/// None does, or more than one.
pub(super) fn complete<I: Copy + Eq + ToString>(
    known: impl IntoIterator<Item = I>,
    start: &str,
    what: &'static str,
) -> Result<I, Error> {
    let lower = start.to_ascii_lowercase();
    if lower.len() < FEWEST || !lower.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(Error::usage(format!(
            "`{}` is not the beginning of an id",
            print::short(start, 40)
        ))
        .hint(format!(
            "at least {FEWEST} of its hexadecimal digits; `kluis show CASE` shows them"
        )));
    }
    let mut found: Option<I> = None;
    for id in known {
        if id.to_string().starts_with(&lower) && found.is_none_or(|one| one != id) {
            if found.is_some() {
                return Err(Error::usage(format!("more than one {what} begins with {lower}"))
                    .hint("write more digits of it"));
            }
            found = Some(id);
        }
    }
    found.ok_or_else(|| {
        Error::new(format!("no {what} begins with {lower}"))
            .hint("`kluis show CASE` lists the items of a case")
    })
}

/// The item of this case that begins so.
///
/// # Errors
/// See [`complete`].
pub(super) fn item_of(case: &CaseView, start: &str) -> Result<ItemId, Error> {
    let items = case.letters.iter().flat_map(|letter| letter.card.items.iter().map(|item| item.0));
    complete(items, start, "item of this case")
}

/// The letter of this case that begins so.
///
/// # Errors
/// See [`complete`].
pub(super) fn letter_of(case: &CaseView, start: &str) -> Result<LetterId, Error> {
    complete(case.letters.iter().map(client::LetterView::id), start, "letter of this case")
}

/// The item that begins so, of any case. Reads the ledger, which discloses nothing.
///
/// # Errors
/// See [`complete`].
pub(super) fn item_anywhere(client: &mut Client, start: &str) -> Result<ItemId, Error> {
    if let Ok(whole) = start.to_ascii_lowercase().parse() {
        return Ok(whole);
    }
    let (entries, _) = client.ledger()?;
    let items = entries.iter().filter_map(|bytes| {
        let entry = Entry::from_bytes(bytes).ok()?;
        // Notes and letters have boxes too, but are no items.
        entry
            .boxed
            .and(entry.item)
            .filter(|item| entry.letter.is_some_and(|letter| letter.as_bytes() != item.as_bytes()))
    });
    complete(items, start, "item")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_completed_when_only_one_begins_so() {
        let id = |text: &str| text.parse::<ItemId>().expect("an id");
        let one = id("00112233445566778899aabbccddeeff");
        let two = id("0011aa33445566778899aabbccddeeff");
        let known = [one, two, one];
        assert_eq!(complete(known, "001122", "item"), Ok(one));
        assert_eq!(complete(known, "0011AA", "item"), Ok(two));
        assert_eq!(complete(known, "00112233445566778899aabbccddeeff", "item"), Ok(one));
        for (start, code) in [("0011", USAGE), ("001", USAGE), ("xyz0", USAGE), ("ffff", 1)] {
            let error = complete(known, start, "item").expect_err(start);
            assert_eq!(error.code, code, "{start}");
            assert!(!error.hint.is_empty());
        }
    }
}
