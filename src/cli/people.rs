//! The people on file: the list that requests are held against.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::session::{self, Connection};
use super::{Error, Report, case, print};
use crate::cli::error::USAGE;
use crate::identity::people::{days, table};
use crate::request::deadline;

/// The people on file, whom requests are held against: how many, and since when
///
/// The list is sealed to the staff; the server cannot read it. Nothing of a person is shown here:
/// `kluis who CASE` shows whom a letter may be from.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  kluis people\n  kluis people import staff.csv --dry-run"
)]
pub(super) struct People {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Change {
    Import(Import),
}

/// Take a list over, in place of the one before, which is forgotten
///
/// A CSV file with a heading, as a spreadsheet or a payroll program exports it: name, email, phone,
/// birth_date, start, end, client, language, address_since; only the name and one of email and phone
/// are needed. Comma, semicolon or tab, quotes, UTF-8 or Windows-1252. Other columns are left out; a
/// national number is never taken. An address that a person did not have in the list before counts as
/// new. Delete the file afterwards.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis people import staff.csv")]
struct Import {
    /// The CSV file
    file: PathBuf,
    /// Only read it, and say what would be taken
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

impl People {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        match self.change {
            Some(Change::Import(import)) => import.run(),
            None => status(&self.connection),
        }
    }
}

fn status(connection: &Connection) -> Result<Report, Error> {
    let status = connection.open()?.status()?;
    let Some((minute, count)) = status.people else {
        let text = "No list of people on file: `kluis people import FILE.csv` brings one.";
        return Ok(Report::new(text, json!({ "people": null, "since": null })));
    };
    let people = print::count(count, "person", "people");
    Ok(Report::new(
        format!("{people} on file, as of {}", print::moment(minute)),
        json!({ "people": count, "since": print::timestamp(minute) }),
    ))
}

impl Import {
    fn run(self) -> Result<Report, Error> {
        let bytes = case::read_at_most(&self.file, table::LONGEST as u64)?;
        let table = table::parse(&bytes).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Error::new(format!("{}: nothing was taken\n{}", self.file.display(), lines.join("\n")))
                .code(USAGE)
                .hint("`kluis people import --help` says what the columns are")
        })?;
        let mut people = table.people;
        let count = people.people.len();
        let told = print::count(count as u64, "person", "people");
        let left_out: Vec<String> =
            table.ignored.iter().map(|name| print::short(name, 40)).collect();
        let mut text = String::new();
        if !left_out.is_empty() {
            text = format!("left out: the columns {}\n", left_out.join(", "));
        }
        if self.dry_run {
            text.push_str(&format!("{told} would be taken"));
        } else {
            let mut client = self.connection.open()?;
            if let Some(before) = client.people()? {
                let today = deadline::received_on(session::now());
                people.carry_on(&before, days(today));
            }
            client.import_people(&people)?;
            text.push_str(&format!("{told} on file; the list before is forgotten"));
        }
        let json = json!({ "people": count, "left_out": left_out, "dry_run": self.dry_run });
        Ok(Report::new(text, json))
    }
}
