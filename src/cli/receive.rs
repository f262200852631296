//! Taking one letter that a mail server pipes: kept, or the server keeps it and tries again.
//!
//! What a mail server does with an exit code decides here. 0 ends it: the letter is ours. 75
//! (EX_TEMPFAIL) leaves it in the queue. Every other code sends it back to who wrote it, so there is
//! only one, 65, for a letter that no second try would change: too long, or in circles. A wrong command
//! line, wrong settings, nothing on standard input are mistakes that somebody here mends, and no letter
//! goes back for them.

use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::Args;

use super::error::LATER;
use super::{Error, Report, STATE_DIR, session};
use crate::casebook::hand_in::{HandedIn, Said};
use crate::config::{Config, FILE};
use crate::gateway::Gateway;
use crate::inbox::pipe::{self, Piped};
use crate::lab;
use crate::secret::Personal;

/// The letter is never taken (EX_DATAERR).
const NEVER: u8 = 65;

/// Take one letter from standard input, for a mail server that pipes
///
/// Exit code 0 when it is sealed and on disk, 75 when the mail server must keep it and try again,
/// whatever the reason, a wrong command line included; 65 when the letter itself can never be taken,
/// since it is too long or goes round in circles, and goes back to its sender. It runs as the service
/// user, beside `kluis serve` or without it. Whom it is for was decided before; no address is refused
/// here.
#[derive(Args)]
#[command(
    after_help = "Example, in Postfix's master.cf:\n  kluis unix - n n - 4 pipe\n    flags=Rq user=kluis null_sender= argv=/usr/local/bin/kluis receive /var/lib/kluis\n    --from=${sender} --to=${recipient}"
)]
pub(super) struct Receive {
    /// The state directory
    #[arg(default_value = STATE_DIR)]
    dir: PathBuf,
    /// Who sent it, empty for a bounce; else $SENDER, else what a `From ` line before it says
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    from: Option<String>,
    /// Whom it is for; may be said again. Else $RECIPIENT
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    to: Vec<String>,
}

impl Receive {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`]; its code is 65 or 75.
    pub(super) fn run(self) -> Result<Report, Error> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.take()));
        let outcome = outcome.unwrap_or_else(|_| Err(Error::new("it ended in a panic")));
        outcome.map_err(|error| if error.code == NEVER { error } else { error.code(LATER) })
    }

    fn take(self) -> Result<Report, Error> {
        let program = session::program()?;
        session::harden()?;
        let dir = session::absolute(&self.dir)?;
        let config = Config::load(&dir.join(FILE))?;
        let letter = self.letter(config.limits.letter_bytes)?;
        let said = match pipe::hand_over(&config.listen.staff, &letter) {
            Ok(said) => said,
            // Nothing serves, so this process may. Anything else may have been taken.
            Err(error) if is_absent(&error) => {
                let runtime = tokio::runtime::Runtime::new()
                    .map_err(|error| Error::io("starting threads", &error))?;
                runtime.block_on(async {
                    let gateway = Gateway::open(&dir, &program, lab::clock())?;
                    Ok::<_, Error>(gateway.hand_in(letter).await)
                })?
            }
            Err(error) => return Err(Error::io("the server's answer", &error)),
        };
        match said {
            Said::Kept => Ok(Report::default()),
            Said::Never => Err(Error::new("the letter is not taken: it goes round in circles")
                .code(NEVER)
                .hint("which two addresses send everything on to each other?")),
            Said::Forbidden => {
                Err(Error::new("another user than the server's wants to hand a letter in")
                    .hint("run it as the service user: in Postfix's master.cf user=kluis"))
            }
            Said::Ready | Said::Later => Err(Error::new("the letter could not be kept now").hint(
                "`kluis doctor` looks for what is missing; the log of `kluis serve` says more",
            )),
        }
    }

    fn letter(&self, limit: u64) -> Result<HandedIn, Error> {
        let mut input = Vec::new();
        // With LF alone it may be shorter than what it becomes, never longer but for its first line.
        let most = limit + pipe::LONGEST_FROM_LINE as u64;
        std::io::stdin()
            .lock()
            .take(most + 1)
            .read_to_end(&mut input)
            .map_err(|error| Error::io("standard input", &error))?;
        if input.is_empty() {
            return Err(Error::new("no letter on standard input")
                .hint("`kluis receive --help` shows how a mail server is told"));
        }
        let Piped { sender, raw } = Piped::of(&input);
        if raw.len() as u64 > limit {
            return Err(Error::new("the letter is longer than limits.letter_bytes allows")
                .code(NEVER)
                .hint("let the mail server refuse it before: message_size_limit in Postfix"));
        }
        let told = |name: &str| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned());
        let from = self.from.clone().or_else(|| told("SENDER")).or(sender).unwrap_or_default();
        let mut to = self.to.clone();
        if to.is_empty() {
            to.extend(told("RECIPIENT"));
        }
        Ok(HandedIn {
            mail_from: Personal::new(pipe::reverse_path(&from).to_owned()),
            rcpt_to: to.into_iter().map(Personal::new).collect(),
            raw,
        })
    }
}

/// Whether nothing listens on the socket.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}
