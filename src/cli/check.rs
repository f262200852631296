//! Checking the vault without keys: every record, frame, slot and box, compared and not changed.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::session::Connection;
use super::{Error, Report, STATE_DIR, print};
use crate::casebook::protocol::Flaw;
use crate::config::{Config, FILE};
use crate::store::{self, Store};

/// Read and compare everything in a vault; change nothing
///
/// Works on the state directory while nothing serves it; a running server is asked to do it over
/// its socket, which needs a member. One line for each problem, with what it harms and what would
/// mend it; exit code 1 if there is one. Nothing is ever deleted.
#[derive(Args)]
#[command(after_help = "Example:\n  sudo -u kluis kluis check /var/lib/kluis")]
pub(super) struct Check {
    /// The state directory
    #[arg(default_value = STATE_DIR)]
    dir: PathBuf,
    /// Make the index again, which is only a copy of what the packs say
    #[arg(long)]
    rebuild: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Check {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(mut self, json: bool) -> Result<Report, Error> {
        let config = Config::load(&self.dir.join(FILE))?;
        match Store::open(&self.dir, &config.cabinet_key) {
            Ok((store, _)) => self.offline(&store, json),
            Err(store::Error::InUse) if self.rebuild => Err(Error::from(store::Error::InUse)
                .hint("stop `kluis serve`: the index is not made again under it")),
            Err(store::Error::InUse) => {
                self.connection.server.get_or_insert(config.listen.staff);
                self.ask()
            }
            Err(error) => Err(error.into()),
        }
    }

    fn offline(&self, store: &Store, json: bool) -> Result<Report, Error> {
        let bar = progress(json);
        let report = store.check(self.rebuild, &|done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let report = report?;
        let problems: Vec<Flaw> = report.problems.iter().map(Flaw::from).collect();
        let looked_at = report.records + report.entries + report.slots;
        let mut shown = found(looked_at, &problems, report.more_problems);
        let summary = format!(
            "{}, {}, {}: {} open, {} forgotten",
            print::count(report.records, "record", "records"),
            print::count(report.entries, "entry", "entries"),
            print::count(report.slots, "key", "keys"),
            print::count(report.boxes, "box", "boxes"),
            report.forgotten,
        );
        shown.text = format!("{summary}\n{}", shown.text);
        shown.json[0]["records"] = report.records.into();
        shown.json[0]["dead"] = report.dead.into();
        shown.json[0]["entries"] = report.entries.into();
        shown.json[0]["slots"] = report.slots.into();
        shown.json[0]["boxes"] = report.boxes.into();
        shown.json[0]["forgotten"] = report.forgotten.into();
        shown.json[0]["bytes"] = report.bytes.into();
        Ok(shown)
    }

    fn ask(&self) -> Result<Report, Error> {
        let mut client = self.connection.open().map_err(|error| {
            let text =
                format!("something has this vault open, and it was not asked: {}", error.text);
            Error { text, ..error }
        })?;
        let (looked_at, problems, more) = client.check()?;
        Ok(found(looked_at, &problems, more))
    }
}

fn found(looked_at: u64, problems: &[Flaw], more: u64) -> Report {
    let mut lines: Vec<String> =
        problems.iter().map(|flaw| print::terminal_safe(&flaw.to_string())).collect();
    if more > 0 {
        lines.push(format!("and {}", print::count(more, "problem more", "problems more")));
    }
    if lines.is_empty() {
        lines.push(format!(
            "{} looked at: nothing is wrong",
            print::count(looked_at, "thing", "things")
        ));
    }
    let json = json!({
        "looked_at": looked_at,
        "problems": problems.iter().map(to_json).collect::<Vec<_>>(),
        "more_problems": more,
    });
    Report { problems: !problems.is_empty(), ..Report::new(lines.join("\n"), json) }
}

fn to_json(flaw: &Flaw) -> Value {
    let id = |id: Option<String>| json!(id);
    let harmed: Vec<Value> = flaw
        .harmed
        .iter()
        .map(|(case, letter, item)| {
            json!({
                "case": id(case.map(|id| id.to_string())),
                "letter": id(letter.map(|id| id.to_string())),
                "item": id(item.map(|id| id.to_string())),
            })
        })
        .collect();
    json!({
        "file": flaw.file,
        "offset": flaw.offset,
        "what": flaw.what,
        "harmed": harmed,
        "more_harmed": flaw.more_harmed,
        "remedy": flaw.remedy,
    })
}

/// A bar on standard error with rate and time left; none for programs, and none where there is no
/// terminal.
pub(super) fn progress(json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let words = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style =
        ProgressStyle::with_template(words).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}
