//! Bringing in what did not come by mail now: old mailboxes, stored mails, scanned paper.
//!
//! Works on the vault itself while nothing serves it; else the server is asked over its socket, as
//! the same user. What is printed is what the operator typed, and counts.

use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use data_encoding::HEXLOWER;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::Date;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::error::LATER;
use super::{Error, Report, STATE_DIR, print, session};
use crate::casebook;
use crate::casebook::import::{About, Taken};
use crate::clock::Clock;
use crate::config::{Config, FILE};
use crate::gateway::{self, Gateway};
use crate::ids::CaseId;
use crate::inbox::import::mbox::Dialect;
use crate::inbox::import::{self, Door, Failure, Kind, Order, Outcome, Progress, Remark};
use crate::request::deadline;
use crate::store;

/// Take in mailboxes, mails and documents from files and folders
///
/// A mailbox (mbox of any dialect, Maildir) and a `.eml` give letters, as if they came by mail; any
/// other file in a folder is a document, a letter of its own: a scanned request, say. Each new
/// letter opens a case, whose time counts from the day of receipt: what the topmost Received field
/// says, else the `From ` line or the file's time. No notice is sent for what is imported.
///
/// What is there already is recognised for seven days, counted and not taken again: a run that was
/// stopped can simply be started again. What cannot be read is listed, and
/// the rest goes on; exit code 1 then.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  sudo -u kluis kluis import old-inbox.mbox\n  sudo -u kluis kluis import --received 2026-11-20 scans/\n  sudo -u kluis kluis import --as maildir --dry-run Maildir/"
)]
pub(super) struct Import {
    /// Mailboxes, mails, documents, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// What the paths are, if it should not be told from them
    #[arg(long = "as", value_name = "KIND", value_enum)]
    kind: Option<KindArg>,
    /// Look at everything, say what would be taken, and keep nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
}

/// Put files into the vault by hand, together as one letter
///
/// Scanned pages of one request, an ID copy that came by another way. They open one case, received
/// today, or go into the case that is named.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  sudo -u kluis kluis put letter.pdf id-copy.jpg\n  sudo -u kluis kluis put --case K-7F3Q-9M2X --received 2026-11-20 attest.pdf"
)]
pub(super) struct Put {
    /// The files, in the order of the pages
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Where it goes, and since when it counts.
#[derive(Args)]
struct Place {
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    dir: PathBuf,
    /// Put everything into this case
    #[arg(long, value_name = "CASE")]
    case: Option<CaseId>,
    /// The day of receipt, of everything
    #[arg(long, value_name = "DATE")]
    received: Option<Date>,
}

/// A kind, as it is typed.
#[derive(Clone, Copy)]
struct KindArg(Kind);

const KINDS: [(&str, &str, Kind); 8] = [
    ("mbox", "a mailbox in one file; the dialect is told from it", Kind::Mbox(None)),
    ("mboxo", "mbox with `From ` written `>From `", Kind::Mbox(Some(Dialect::Mboxo))),
    ("mboxrd", "mbox with one `>` more before each such line", Kind::Mbox(Some(Dialect::Mboxrd))),
    ("mboxcl", "mboxo with Content-Length", Kind::Mbox(Some(Dialect::Mboxcl))),
    ("mboxcl2", "Content-Length alone", Kind::Mbox(Some(Dialect::Mboxcl2))),
    ("maildir", "a folder with cur and new", Kind::Maildir),
    ("eml", "one mail", Kind::Eml),
    ("documents", "every file is a document", Kind::Documents),
];

impl ValueEnum for KindArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [KindArg; KINDS.len()] = {
            let mut all = [KindArg(Kind::Eml); KINDS.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = KindArg(KINDS[at].2);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help, _) = KINDS.iter().find(|(_, _, kind)| *kind == self.0)?;
        Some(PossibleValue::new(name).help(help))
    }
}

impl Import {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        let opened = self.place.open(self.dry_run)?;
        let order = Order {
            paths: self.paths,
            kind: self.kind.map(|kind| kind.0),
            about: self.place.about(),
            limit: opened.limit,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let (progress, stop) = (Arc::new(Progress::default()), Arc::new(AtomicBool::new(false)));
        stop_at_interrupt(&stop)?;
        let bar = Bar::draw(&order, &progress, json);
        let outcome = import::run(&order, &opened.door, &progress, &stop);
        drop(bar);
        report(outcome, self.dry_run, stop.load(Ordering::Relaxed))
    }
}

impl Put {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let opened = self.place.open(false)?;
        let about = self.place.about();
        match import::put(&self.files, about, opened.limit, &opened.door)? {
            Ok(Taken::New(case)) => {
                let files = print::count(self.files.len() as u64, "file", "files");
                Ok(Report::new(
                    format!("{case}  {files} put in"),
                    json!({ "case": case.to_string(), "taken": true, "files": self.files.len() }),
                ))
            }
            Ok(Taken::There) => Ok(Report::new(
                "these files are there already: nothing was put in",
                json!({ "case": null, "taken": false, "files": self.files.len() }),
            )),
            Err(problems) => {
                let lines: Vec<String> = problems.iter().map(line).collect();
                Err(Error::new(format!("nothing was put in\n{}", lines.join("\n")))
                    .hint("all files of one letter go in together; correct these and try again"))
            }
        }
    }
}

/// A way into the vault, and what it takes.
struct Opened {
    door: Door,
    limit: u64,
}

impl Place {
    fn about(&self) -> About {
        About { received: self.received, case: self.case }
    }

    /// Opens the vault, or asks the server that has it open.
    fn open(&self, is_dry: bool) -> Result<Opened, Error> {
        let today = deadline::received_on(session::now());
        if self.received.is_some_and(|day| day > today) {
            return Err(Error::usage("the day of receipt is in the future")
                .hint("write it as year-month-day"));
        }
        let program = session::program()?;
        session::harden()?;
        let dir = session::absolute(&self.dir)?;
        let config = Config::load(&dir.join(FILE))?;
        let limit = config.limits.letter_bytes;
        let door = match Gateway::open(&dir, &program, Clock::System) {
            Ok(gateway) => Door::here(gateway.casebook, is_dry)?,
            Err(gateway::Error::Casebook(casebook::Error::Store(store::Error::InUse))) => {
                match Door::there(&config.listen.staff, is_dry) {
                    // Something else has it open, and it does not serve.
                    Err(Failure::Broken(_)) => return Err(store::Error::InUse.into()),
                    door => door?,
                }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Opened { door, limit })
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Casebook(error) => error.into(),
            Failure::Refused { why, later } => {
                let this = Self::new(why);
                if later { this.code(LATER).hint("start it again to go on") } else { this }
            }
            other => Self::new(other.to_string()).code(LATER).hint("start it again to go on"),
        }
    }
}

/// What a run has to say: counts, then what was not taken, line by line.
fn report(outcome: Outcome, is_dry: bool, is_stopped: bool) -> Result<Report, Error> {
    let Outcome { taken, there, cases, problems, remarks, more, failure } = outcome;
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    let letters = print::count(taken, "letter", "letters");
    let verb = if is_dry { "would be taken" } else { "taken" };
    let mut lines = vec![format!("{letters} {verb}, {there} there already")];
    if is_stopped {
        lines.push("stopped before its end: start it again to go on".into());
    }
    if !problems.is_empty() {
        lines
            .push(format!("{} not taken:", print::count(problems.len() as u64, "thing", "things")));
        lines.extend(problems.iter().map(line));
    }
    if !remarks.is_empty() {
        lines.push("to note:".into());
        lines.extend(remarks.iter().map(line));
    }
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let json = json!({
        "taken": taken,
        "there": there,
        "dry_run": is_dry,
        "stopped": is_stopped,
        "cases": cases.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "problems": problems.iter().map(to_json).collect::<Vec<_>>(),
        "remarks": remarks.iter().map(to_json).collect::<Vec<_>>(),
        "more": more,
    });
    let is_bad = is_stopped || !problems.is_empty();
    Ok(Report { problems: is_bad, ..Report::new(lines.join("\n"), json) })
}

fn line(remark: &Remark) -> String {
    let path = print::terminal_safe(&remark.path.to_string_lossy());
    let at = remark.offset.map_or_else(String::new, |offset| format!(" at byte {offset}"));
    format!("  {path}{at}: {}", remark.what)
}

fn to_json(remark: &Remark) -> Value {
    let mut value = json!({
        "path": remark.path.to_string_lossy(),
        "offset": remark.offset,
        "what": remark.what,
    });
    if remark.path.to_str().is_none() {
        value["path_hex"] = json!(HEXLOWER.encode(remark.path.as_os_str().as_bytes()));
    }
    value
}

/// Sets `stop` at SIGINT or SIGTERM: what is under way is made durable, then the run ends.
fn stop_at_interrupt(stop: &Arc<AtomicBool>) -> Result<(), Error> {
    let failed = |error| Error::io("listening for signals", &error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let entered = runtime.enter();
    let signals = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    drop(entered);
    let (mut interrupt, mut terminate) = signals.map_err(failed)?;
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
    Ok(())
}

/// A bar on standard error with rate and time left, until it is dropped; none without a terminal.
struct Bar {
    done: Arc<AtomicBool>,
    drawer: Option<std::thread::JoinHandle<()>>,
}

/// Between two looks at how far it is.
const TICK: Duration = Duration::from_millis(100);

impl Bar {
    fn draw(order: &Order, progress: &Arc<Progress>, json: bool) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        if json || !std::io::stderr().is_terminal() {
            return Self { done, drawer: None };
        }
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left, {msg}";
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(import::bytes(order)).with_style(style);
        let (progress, ended) = (Arc::clone(progress), Arc::clone(&done));
        let drawer = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                bar.set_position(progress.bytes.load(Ordering::Relaxed));
                let letters = progress.letters.load(Ordering::Relaxed);
                bar.set_message(print::count(letters, "letter", "letters"));
                std::thread::park_timeout(TICK);
            }
            bar.finish_and_clear();
        });
        Self { done, drawer: Some(drawer) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(drawer) = self.drawer.take() {
            drawer.thread().unpark();
            let _ = drawer.join();
        }
    }
}
