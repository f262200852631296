//! Giving back the room of what nothing refers to any more, in two steps three days apart.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::session::Connection;
use super::{Error, Report, STATE_DIR, print};
use crate::casebook::{SweepStage, SweepSummary};
use crate::clock::Clock;
use crate::config::{Config, FILE};
use crate::store::{self, Store};
use crate::upkeep::sweep;

/// Give back the room of what was forgotten and of copies, in two steps three days apart
///
/// The first look notes what nothing refers to, the second removes what both found. If one box that
/// was not forgotten does not open, nothing is removed. The server does this by itself; what is
/// forgotten is gone with its key and does not wait for it. Works on the state directory while
/// nothing serves it; a running server is asked over its socket, which needs a member with the admin
/// role.
#[derive(Args)]
#[command(after_help = "Example:\n  sudo -u kluis kluis sweep --dry-run /var/lib/kluis")]
pub(super) struct Sweep {
    /// The state directory
    #[arg(default_value = STATE_DIR)]
    dir: PathBuf,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Sweep {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(mut self, json: bool) -> Result<Report, Error> {
        let config = Config::load(&self.dir.join(FILE))?;
        let summary = match Store::open(&self.dir, &config.cabinet_key) {
            Ok((store, _)) => self.offline(&store, json)?,
            Err(store::Error::InUse) => {
                self.connection.server.get_or_insert(config.listen.staff);
                self.ask()?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(shown(&summary))
    }

    fn offline(&self, store: &Store, json: bool) -> Result<SweepSummary, Error> {
        let bar = progress(json);
        let minute = Clock::System.minutes();
        let tell = |done, total| {
            bar.set_length(total);
            bar.set_position(done);
            true
        };
        let plan = sweep::plan(store, minute, &tell)?;
        let summary = if self.dry_run {
            SweepSummary::of(&plan)
        } else {
            sweep::apply(store, &plan, minute, &tell)?
        };
        bar.finish_and_clear();
        Ok(summary)
    }

    fn ask(&self) -> Result<SweepSummary, Error> {
        let mut client = self.connection.open().map_err(|error| {
            let text =
                format!("something has this vault open, and it was not asked: {}", error.text);
            Error { text, ..error }
        })?;
        Ok(client.sweep(self.dry_run)?)
    }
}

fn shown(summary: &SweepSummary) -> Report {
    let found = summary.found;
    let what = format!(
        "{} ({}), {} of them copies, in {}",
        print::count(found.records, "record", "records"),
        print::bytes(found.bytes),
        found.copies,
        print::count(found.packs, "pack", "packs"),
    );
    let until = summary.until.map(print::moment).unwrap_or_default();
    let text = match (summary.stage, summary.is_dry) {
        (SweepStage::Nothing, _) => "nothing is dead: every record is needed".to_owned(),
        (SweepStage::First, true) => format!("a first look would note as dead: {what}"),
        (SweepStage::First, false) => {
            format!("noted as dead: {what}\nremoved by a second look that agrees, from {until} on")
        }
        (SweepStage::Waits, _) => {
            format!("a first look noted as dead: {what}\nthe second look waits until {until}")
        }
        (SweepStage::Second, true) => format!("would be removed, both looks agree: {what}"),
        (SweepStage::Second, false) => removed(summary, &what),
    };
    let json = json!({
        "stage": match summary.stage {
            SweepStage::Nothing => "nothing",
            SweepStage::First => "first",
            SweepStage::Waits => "waits",
            SweepStage::Second => "second",
        },
        "dry_run": summary.is_dry,
        "records": found.records,
        "copies": found.copies,
        "bytes": found.bytes,
        "packs": found.packs,
        "until": summary.until.map(print::timestamp),
        "packs_removed": summary.packs_gone,
        "bytes_not_returned": summary.unpunched,
        "copies_that_differ": summary.differing,
        "damaged": summary.damaged,
    });
    let is_bad = summary.differing + summary.damaged > 0;
    Report { problems: is_bad, ..Report::new(text, json) }
}

fn removed(summary: &SweepSummary, what: &str) -> String {
    let mut text = format!("removed: {what}");
    let mut add = |number: u64, line: String| {
        if number > 0 {
            text.push('\n');
            text.push_str(&line);
        }
    };
    add(
        summary.packs_gone,
        format!("{} removed whole", print::count(summary.packs_gone, "pack", "packs")),
    );
    add(
        summary.unpunched,
        format!("the file system did not take {} back", print::bytes(summary.unpunched)),
    );
    add(summary.differing, format!("{} of equal address and other bytes, kept", summary.differing));
    add(summary.damaged, format!("{} damaged, kept: see kluis check", summary.damaged));
    text
}

/// A bar on standard error; none for programs, and none where there is no terminal.
fn progress(json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}
