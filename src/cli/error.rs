//! Why a command failed, what to do about it, and the exit code: the edge where errors of every
//! part are translated, each in one place.

use std::fmt::Display;
use std::io;

use super::print;
use crate::case::Refusal;
use crate::casebook;
use crate::config::ConfigError;
use crate::gateway;
use crate::keys::{UnlockError, roster, staff as staff_key};
use crate::ledger::{self, certificate};
use crate::staff::home::HomeError;
use crate::staff::{agent, answers, client, found, who};
use crate::{store, upkeep};

/// Done, and nothing is wrong.
pub(super) const OK: u8 = 0;
/// It failed, or problems were found.
pub(super) const FAILED: u8 = 1;
/// The command line or a file that it names does not say what it must.
pub(super) const USAGE: u8 = 2;
/// Try later: the server does not answer, or something else is at work (sysexits EX_TEMPFAIL).
pub(super) const LATER: u8 = 75;
/// Not permitted: a wrong key or passphrase, a role that does not allow it (EX_NOPERM).
pub(super) const DENIED: u8 = 77;

/// A failure as the person at the terminal sees it. Carries no content of a letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Error {
    /// What went wrong: one sentence.
    pub(super) text: String,
    /// What to do; empty if there is nothing to say.
    pub(super) hint: String,
    /// The exit code.
    pub(super) code: u8,
}

impl Error {
    /// Something failed.
    #[must_use]
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: String::new(), code: FAILED }
    }

    /// The command line does not say what it must.
    #[must_use]
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(text) }
    }

    /// With a hint.
    #[must_use]
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// With another exit code.
    #[must_use]
    pub(super) fn code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// The system's answer about a file or a folder.
    #[must_use]
    pub(super) fn io(what: impl Display, error: &io::Error) -> Self {
        let this = Self::new(format!("{what}: {error}"));
        match error.kind() {
            io::ErrorKind::NotFound => this.hint("is the path right?"),
            io::ErrorKind::PermissionDenied => {
                this.code(DENIED).hint("run it as the user that the file belongs to")
            }
            io::ErrorKind::AlreadyExists => {
                this.hint("nothing is ever overwritten: name another place, or move it away")
            }
            io::ErrorKind::StorageFull => this.code(LATER).hint("make room on that disk"),
            _ => this,
        }
    }

    /// As one line of JSON.
    #[must_use]
    pub(super) fn to_json(&self) -> String {
        print::json_line(&serde_json::json!({ "error": self.text, "hint": self.hint }))
    }

    /// As lines for people.
    #[must_use]
    pub(super) fn to_text(&self) -> String {
        let hint = if self.hint.is_empty() {
            String::new()
        } else {
            format!("hint: {}\n", print::terminal_safe(&self.hint))
        };
        format!("error: {}\n{hint}", print::terminal_text(&self.text, "").trim_end())
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string()).hint(error.hint)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        let this = Self::new(error.to_string());
        match error {
            store::Error::InUse => this
                .code(LATER)
                .hint("`kluis serve` or another command has it open; stop it, or ask it instead"),
            store::Error::NotAVault => {
                this.code(USAGE).hint("name the folder that `kluis init` made")
            }
            store::Error::Full => this.code(LATER).hint("make room on the disk of the vault"),
            store::Error::NotRotated(_) => this.code(LATER).hint(NOT_ROTATED),
            store::Error::Older { .. } => this.hint(
                "an old copy was put back: put a newer one there; docs/operating.md says what else",
            ),
            store::Error::Absent { .. } => {
                this.hint("put that file back; docs/operating.md says what belongs together")
            }
            store::Error::Damaged { .. } => {
                this.hint("change nothing there; docs/operating.md says how to put a copy back")
            }
            store::Error::OlderWhole { .. } => this.hint(
                "copy both folders as they are; docs/operating.md, \"It does not start\", says how to \
                 go back to the cabinet of before",
            ),
            store::Error::Later { .. } => this.hint("use the newest version of kluis"),
            store::Error::Unsettled => this.hint(
                "`kluis restore replay DIR --erasures NOTE…`, or --no-erasures with the reason",
            ),
            store::Error::Dead => this.code(LATER).hint("start `kluis serve` again"),
            store::Error::Io { ref source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                this.code(DENIED).hint("run it as the user that the vault belongs to")
            }
            store::Error::Io { ref source, .. } if source.kind() == io::ErrorKind::NotFound => {
                this.hint("is the disk of the vault mounted, and are all of its folders there?")
            }
            store::Error::Vault(_) | store::Error::Io { .. } => {
                this.hint("`kluis doctor` looks at the machine, `kluis check` at the vault")
            }
        }
    }
}

impl From<casebook::Error> for Error {
    fn from(error: casebook::Error) -> Self {
        match error {
            casebook::Error::Store(error) => error.into(),
            casebook::Error::Upkeep(error) => error.into(),
            casebook::Error::Forbidden => Self::new(error.to_string()).code(DENIED),
            casebook::Error::Copying => {
                Self::new(error.to_string()).code(LATER).hint("wait until it is done")
            }
            other => Self::new(other.to_string()),
        }
    }
}

impl From<upkeep::Error> for Error {
    fn from(error: upkeep::Error) -> Self {
        let this = Self::new(error.to_string());
        match error {
            upkeep::Error::Store(error) => error.into(),
            upkeep::Error::Unopened { .. } => {
                this.hint("`kluis check` says what is damaged; what is lost can be forgotten")
            }
            upkeep::Error::Stopped => this.code(LATER).hint("start it again to go on"),
            upkeep::Error::Note(error) => error.into(),
            upkeep::Error::File { ref path, ref source } => Self::io(path.display(), source),
            upkeep::Error::NotEmpty(_) => this.code(USAGE).hint(
                "name a folder that is empty or not there; for a backup also the one of its last time",
            ),
            upkeep::Error::NoBackup(_) => {
                this.code(USAGE).hint("name the folder that `kluis backup` wrote to")
            }
            upkeep::Error::OtherVault(_) => {
                this.code(USAGE).hint("each vault has a folder of its own: name another one")
            }
            upkeep::Error::Forked(_) => this.hint(
                "one of the two was put back from an older copy: leave that folder as it is, and name \
                 another",
            ),
            upkeep::Error::Inside(_) => {
                this.code(USAGE).hint("a backup belongs on another disk: name a folder there")
            }
            upkeep::Error::MountPoint(_) => this.code(USAGE).hint("name a folder in it"),
            upkeep::Error::Busy(_) => this.code(LATER).hint("wait until it is done"),
            upkeep::Error::Damaged { .. } => this.hint(
                "`kluis backup verify` lists all that is damaged; a backup in another folder may be \
                 whole",
            ),
            upkeep::Error::Later(_) => this.hint("use the newest version of kluis"),
            upkeep::Error::WrongKey(_) => this.code(DENIED).hint(
                "it must be a backup key of the roster at that time: `kluis keys list` names them",
            ),
            upkeep::Error::Settled(_) => {
                this.code(USAGE).hint("`kluis serve` starts it; nothing is to be replayed")
            }
            upkeep::Error::Gap { .. } => this.code(USAGE).hint(
                "give all notes from the backup on; if none is missing say so with --no-erasures and \
                 the reason",
            ),
            upkeep::Error::Signed(_) | upkeep::Error::NoRoster => this.code(USAGE).hint(
                "name the newest `roster/<version>.note` of the lost vault, and each `admin/<number>.note` \
                 since the backup, unchanged",
            ),
            upkeep::Error::OldRoster { .. } | upkeep::Error::UnfitRoster { .. } => this.code(USAGE).hint(
                "leave --signed out if nobody was added or revoked after the backup; else find the \
                 newest one",
            ),
            upkeep::Error::Throwaway => this.hint("it is for tests: find the vault's own roster"),
            upkeep::Error::NoReason => this.code(USAGE).hint("why is nothing to be forgotten?"),
        }
    }
}

impl From<certificate::Error> for Error {
    fn from(error: certificate::Error) -> Self {
        let this = Self::new(error.to_string());
        match error {
            certificate::Error::NotACertificate => this.hint(
                "a file of `kluis forget --certificate` or `kluis audit certificate`, unchanged",
            ),
            certificate::Error::FutureVersion => this.hint("use the newest version of kluis"),
            certificate::Error::OtherVault { .. } => {
                this.hint("take the public key that `kluis init` printed for that vault")
            }
            certificate::Error::Altered(_) => this
                .hint("ask for the file again: a changed one proves nothing. Is it the right key?"),
            certificate::Error::OtherFact(_) => {
                this.hint("`kluis audit log` says what that entry is")
            }
        }
    }
}

impl From<gateway::Error> for Error {
    fn from(error: gateway::Error) -> Self {
        let text = error.to_string();
        match error {
            gateway::Error::Config(error) => error.into(),
            gateway::Error::Store(error) => error.into(),
            gateway::Error::Casebook(error) => error.into(),
            gateway::Error::Signed { .. } | gateway::Error::NotInLedger(_) => Self::new(text)
                .hint("somebody changed a signed file: put back what the admin signed"),
            gateway::Error::Throwaway => {
                Self::new(text).hint("make keys of your own with `kluis key new`")
            }
            gateway::Error::Io { ref source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    Self::new(text).code(LATER).hint("something else listens there already")
                }
                io::ErrorKind::PermissionDenied => Self::new(text)
                    .code(DENIED)
                    .hint("ports below 1024 need CAP_NET_BIND_SERVICE; files, the right user"),
                _ => Self::new(text).hint("`kluis doctor` looks for what is missing"),
            },
            gateway::Error::Tls(_) => {
                Self::usage(text).hint("see [tls] in kluis.toml; `kluis config` explains it")
            }
            gateway::Error::Dead => {
                Self::new(text).code(LATER).hint("is the disk well? then start it again")
            }
        }
    }
}

impl From<HomeError> for Error {
    fn from(error: HomeError) -> Self {
        let this = Self::new(error.to_string());
        match error {
            HomeError::Nowhere => this.code(USAGE).hint("set HOME"),
            HomeError::Open(path) => {
                this.code(DENIED).hint(format!("chmod 700 {}", path.display()))
            }
            HomeError::Profile { .. } => {
                this.code(USAGE).hint("correct it, or `kluis unlock` with --server and --member")
            }
            HomeError::Io { .. } => this.hint("is the folder yours, and is there room?"),
        }
    }
}

impl From<UnlockError> for Error {
    fn from(error: UnlockError) -> Self {
        let this = Self::new(error.to_string());
        match error {
            UnlockError::NoFile => {
                this.hint("`kluis key new NAME` makes one; --key-file names another")
            }
            UnlockError::WrongPassphrase => {
                this.code(DENIED).hint("try again; nobody can tell you a forgotten passphrase")
            }
            UnlockError::Unprotected => {
                this.hint("`age -p` or `ssh-keygen -p` puts a passphrase on it")
            }
            UnlockError::NotAKey => this.hint("an age identity or an ssh-ed25519 key is one"),
            UnlockError::Unreadable => this.code(DENIED).hint("is the file yours?"),
            UnlockError::TooMuchWork => this.hint("write it again with `kluis key passwd`"),
        }
    }
}

impl From<staff_key::ChangeError> for Error {
    fn from(error: staff_key::ChangeError) -> Self {
        match error {
            staff_key::ChangeError::Unlock(error) => error.into(),
            staff_key::ChangeError::Write(ref cause)
                if cause.kind() == io::ErrorKind::Unsupported =>
            {
                Self::new("the passphrase of an ssh key is not changed here")
                    .hint("`ssh-keygen -p` changes it")
            }
            staff_key::ChangeError::Write(_) => {
                Self::new(error.to_string()).hint("the old file is as it was")
            }
        }
    }
}

impl From<agent::Error> for Error {
    fn from(error: agent::Error) -> Self {
        let this = Self::new(error.to_string());
        match error {
            agent::Error::Locked => this.hint("`kluis unlock` unlocks it"),
            agent::Error::Unlocked => this.hint("`kluis lock` ends the agent that holds it"),
            agent::Error::Unlock(error) => error.into(),
            agent::Error::NotForThisKey(_) => this.code(DENIED),
            agent::Error::OtherUser => this.code(DENIED).hint("who made that socket?"),
            agent::Error::Malformed => this.hint("`kluis lock`, then `kluis unlock` again"),
            agent::Error::Home(error) => error.into(),
            agent::Error::Io(_) => this.hint("is there room, and is the folder yours?"),
        }
    }
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        let text = error.to_string();
        match error {
            client::Error::NoServer(cause) => Self::new(format!("{text}: {cause}"))
                .code(LATER)
                .hint("is `kluis serve` running, and is --server the path of its socket?"),
            client::Error::Broken(cause) => {
                Self::new(format!("{text}: {cause}")).code(LATER).hint("try again")
            }
            client::Error::Refused(why) => refused(why),
            client::Error::Sink(cause) => Self::io("the content", &cause),
            client::Error::NoKey => Self::new(text)
                .code(DENIED)
                .hint("is it the key that stands in the roster? `kluis whoami` shows yours"),
            client::Error::Forgotten => {
                Self::new(text).hint("nobody can open it any more: its key is gone")
            }
            client::Error::Vault(_) => Self::new(text).hint("`kluis check` says what is damaged"),
            client::Error::Unexpected => {
                Self::new(text).hint("use the same version of kluis on both sides")
            }
            client::Error::NoEpoch => Self::new(text)
                .code(LATER)
                .hint("it is proven when a member who may read logs in: `kluis unlock`"),
            client::Error::OtherVault(_) => Self::new(text).hint(
                "do not go on unless the admin says that the vault is new; then remove that file",
            ),
            client::Error::OtherAdmin | client::Error::NotSigned | client::Error::Older(_) => Self::new(
                text,
            )
                .hint("do not go on: ask the admin in person whether the key was handed over"),
            client::Error::Forked => Self::new(text).hint(
                "do not go on: ask the admin, and compare with a checkpoint that was kept elsewhere; if the \
                 vault was restored from a backup, `kluis whoami --accept-restored` shows what is gone",
            ),
            client::Error::Unknown("case") => {
                Self::new(text).hint("`kluis queue --all` lists the case numbers")
            }
            client::Error::Unknown(_) => {
                Self::new(text).hint("`kluis show CASE` lists its items")
            }
        }
    }
}

/// After a rotation of the cabinet that was given up.
const NOT_ROTATED: &str = "nothing is lost, and what was forgotten does not open; look at the disk, \
                           then `kluis keys rotate --cabinet`; the server tries again by itself";

/// What the server refused, in its own words. It sends no code beside them, so they are known here.
fn refused(why: String) -> Error {
    if why == casebook::Error::Forbidden.to_string() {
        return Error::new(why).code(DENIED).hint("`kluis whoami` says who you are to the server");
    }
    if why == store::Error::Full.to_string() {
        return Error::new(why).code(LATER).hint(
            "make room on the disk of the vault; looking, deciding and forgetting go on from what \
             is kept back, opening and answering letters wait",
        );
    }
    if why == casebook::Error::Changed.to_string() {
        return Error::new(why).hint(
            "nothing was forgotten; look again: `kluis forget --dry-run` says what goes now",
        );
    }
    if let Some(hint) = of_keys(&why) {
        return Error::new(why).hint(hint);
    }
    if why.starts_with(store::KEEPS_ITS_KEY) {
        return Error::new(why).code(LATER).hint(NOT_ROTATED);
    }
    let hint = [
        (Refusal::Undecided, "`kluis decide CASE WORDS` or `kluis answer CASE` comes first"),
        (Refusal::Held, "`kluis hold --lift CASE WORDS` lifts it, if the law allows"),
        (Refusal::AlreadyAsked, "`kluis resume CASE WORDS` ends the question"),
        (Refusal::TooLateToExtend, "answer now, and say why it is late"),
    ]
    .into_iter()
    .find(|(refusal, _)| why == refusal.to_string())
    .map_or("`kluis queue --all` lists the cases, `kluis show CASE` says where one stands", |it| {
        it.1
    });
    Error::new(why).hint(hint)
}

/// What helps where a change of keys was refused.
fn of_keys(why: &str) -> Option<&'static str> {
    use casebook::keyring::Refusal;
    let starts = |text: &str| why.contains(text);
    if why == Refusal::NotNewer.to_string() || why == Refusal::OtherReaders.to_string() {
        return Some("somebody else changed the roster meanwhile: look at it, and try again");
    }
    if starts("still sealed to older epochs") {
        return Some("`kluis keys reseal` seals them to the newest one");
    }
    if why == Refusal::NoAdmin.to_string() {
        return Some("`kluis keys add NAME KEY --role admin` first");
    }
    if starts("belonged to somebody who was revoked") || starts("throwaway key") {
        return Some("`kluis keys list` shows the roster in force");
    }
    let is_refusal =
        [Refusal::OtherVault, Refusal::OtherFile, Refusal::NotWrapped, Refusal::NotStale];
    let hint = "use the same version of kluis on both sides, and try again";
    is_refusal.iter().any(|refusal| why == refusal.to_string()).then_some(hint)
}

/// What to do about words that tell what stands on an identity document.
pub(super) const WITHOUT_NUMBERS: &str = "say what agrees, without the numbers themselves";

impl From<answers::Error> for Error {
    fn from(error: answers::Error) -> Self {
        let this = Self::new(error.to_string());
        match error {
            answers::Error::Client(error) => error.into(),
            answers::Error::Compose(_) => this.hint("nothing was recorded and nothing leaves"),
            answers::Error::Infected => {
                this.hint("answer without it; `kluis get ITEM --despite-scan` takes it out for you")
            }
            answers::Error::NoProof | answers::Error::NotAccepted(_) => this.hint(
                "`kluis who CASE` shows what there is; --accept LEVEL there, or --proof here",
            ),
            answers::Error::NotChecked => this.hint(
                "`kluis who CASE --record id` first: it says which one was checked, and it is forgotten",
            ),
            answers::Error::Copy => this.hint("it is theirs already, and must be forgotten"),
            answers::Error::Told(_) => this.code(USAGE).hint(WITHOUT_NUMBERS),
            answers::Error::UnknownAddress(_) => this.hint(
                "have them write from the address on file; or `kluis who CASE --accept` that level, \
                 with a reason if need be",
            ),
            answers::Error::NoLock => this
                .hint("`kluis confirm-key CASE FILE` confirms a key; --code locks it with a code"),
        }
    }
}

impl From<who::Error> for Error {
    fn from(error: who::Error) -> Self {
        let text = error.to_string();
        match error {
            who::Error::Client(error) => error.into(),
            who::Error::Told(_) => Self::usage(text).hint(WITHOUT_NUMBERS),
            who::Error::Enclosed => {
                Self::usage(text).hint("`kluis show CASE` lists its parts: name the part")
            }
            who::Error::Text => Self::usage(text).hint(
                "name the picture, or the file that holds it; `kluis forget CASE ITEM` forgets a text that \
                 tells too much",
            ),
            who::Error::Unnamed => Self::usage(text).hint(
                "--item ITEM says which one was checked, --elsewhere that it is none of them",
            ),
            who::Error::Several => Self::usage(text).hint("--item says which of them was checked"),
            who::Error::NotAccepted(_) => Self::new(text).hint(
                "`kluis who CASE` says what to ask for; a reason behind --accept is kept with it",
            ),
        }
    }
}

impl From<roster::Error> for Error {
    fn from(error: roster::Error) -> Self {
        Self::usage(error.to_string()).hint("`kluis init --help` says who is needed")
    }
}

impl From<found::Error> for Error {
    fn from(error: found::Error) -> Self {
        match error {
            found::Error::Roster(error) => error.into(),
            other => Self::usage(other.to_string()).hint("see --address"),
        }
    }
}

impl From<ledger::Error> for Error {
    fn from(error: ledger::Error) -> Self {
        let this = Self::new(error.to_string());
        match error {
            ledger::Error::FutureVersion => this.hint("use the newest version of kluis"),
            ledger::Error::BadCheckpoint => {
                this.hint("is it the right key? `kluis init` printed it, `kluis whoami` shows it")
            }
            ledger::Error::Unrelated => this.hint("is it a checkpoint of this vault?"),
            _ => this.hint("do not go on: keep this copy, and tell the data protection officer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_ends_with_its_hint_and_never_carries_what_a_terminal_obeys() {
        let error = Error::usage("not a \u{1b}[1mdate").hint("write it as 2026-11-25");
        let text = error.to_text();
        assert_eq!(text, "error: not a \u{fffd}[1mdate\nhint: write it as 2026-11-25\n");
        let json: serde_json::Value = serde_json::from_str(&error.to_json()).expect("JSON");
        assert_eq!(json["hint"], "write it as 2026-11-25");
        assert_eq!(Error::new("no hint").to_text(), "error: no hint\n");
    }

    #[test]
    fn what_may_pass_by_itself_says_so_with_its_exit_code() {
        let busy: Error = store::Error::InUse.into();
        let absent: Error = client::Error::NoServer(io::ErrorKind::NotFound.into()).into();
        assert_eq!((busy.code, absent.code), (LATER, LATER));
        let denied: Error = client::Error::Refused("your role does not allow this".into()).into();
        assert_eq!(denied.code, DENIED);
        let early: Error = client::Error::Refused(Refusal::Undecided.to_string()).into();
        assert!(early.code == FAILED && early.hint.contains("decide"));
        let changed = casebook::Error::Changed.to_string();
        let changed: Error = client::Error::Refused(changed).into();
        assert!(changed.code == FAILED && changed.hint.contains("--dry-run"));
        let kept = store::Error::NotRotated(Box::new(store::Error::Full));
        let told: Error = client::Error::Refused(kept.to_string()).into();
        assert!(told.code == LATER && told.hint.contains("keys rotate --cabinet"));
        assert_eq!(
            (Error::from(kept).code, told.text),
            (LATER, "the cabinet keeps its key for now: the disk is full".into())
        );
        assert_eq!(Error::from(UnlockError::WrongPassphrase).code, DENIED);
    }
}
