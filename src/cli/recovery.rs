//! The recovery key on paper: split into sheets, and tried.
//!
//! Nothing secret is written but where it was asked for, and no sheet goes into JSON.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::init::private_folder;
use super::session::{self, Connection};
use super::{Error, Report, key, keys, print};
use crate::cli::error::{DENIED, USAGE};
use crate::keys::file;
use crate::keys::shares::{self, combine, split};
use crate::keys::sheet::{self, Draft, Misread, Sheet};
use crate::keys::staff::{StaffKey, StaffRecipient};
use crate::staff::recovery::{self, Files};

/// Split the recovery key into printed sheets, any few of which rebuild it
///
/// Makes a fresh recovery key unless one is named, and shows its public half for `kluis init
/// --recovery`. The secret half is nowhere but on the sheets. They are shown at the terminal, or
/// written as one page each into a folder, which should lie in memory: print from there and wipe it.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis keys split --shares 5 --threshold 3 --out /dev/shm/sheets\n  kluis keys split --shares 3 --threshold 2 --identity recovery.key --out /dev/shm/sheets"
)]
pub(super) struct Split {
    /// How many sheets, 2 to 16
    #[arg(long, value_name = "N")]
    shares: u8,
    /// How many of them rebuild the key, 2 or more
    #[arg(long, value_name = "K")]
    threshold: u8,
    /// Write the sheets into this folder, each into a file of its own; nothing is overwritten
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Split the age identity in this file instead of a fresh one
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// That file holds the identity in clear, without a passphrase
    #[arg(long, requires = "identity", conflicts_with = "passphrase_file")]
    clear: bool,
    /// Read the passphrase of that file from the first line of this one
    #[arg(long, value_name = "FILE", requires = "identity")]
    passphrase_file: Option<PathBuf>,
}

/// Prove that sheets would open the vault, and change nothing
///
/// Rebuilds the recovery key from enough sheets of one ceremony and tries it on every epoch and
/// every key of the mailbox, as the server keeps them wrapped. That it was done is entered in the
/// ledger. With --dir nothing is asked of a server, and nothing is entered: for a copy of the state
/// directory's admin.pub, admin, roster, epochs and mailbox on a machine without network.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis keys drill -\n  kluis keys drill --dir /media/copy sheet-1.txt sheet-4.txt sheet-5.txt"
)]
pub(super) struct Drill {
    /// Files with sheets as they were printed or scanned; - to type them in
    #[arg(value_name = "SHEET", required = true)]
    sheets: Vec<PathBuf>,
    /// Try them on the admin key's copy in this file, too: admin.recovery.age
    #[arg(long, value_name = "FILE")]
    admin_copy: Option<PathBuf>,
    /// Try them on the files in this folder instead of asking the server
    #[arg(long, value_name = "FOLDER", conflicts_with = "server")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// The longest file with sheets, in bytes.
const LONGEST_FILE: usize = 1 << 20;
/// The files of a file system that has no disk (`statfs(2)`): tmpfs, ramfs.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

impl Split {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, as_json: bool) -> Result<Report, Error> {
        session::harden()?;
        if self.out.is_none() && (as_json || !std::io::stdout().is_terminal()) {
            return Err(Error::usage("sheets are shown at a terminal or written into a folder")
                .hint("--out FOLDER, best one in memory: --out /dev/shm/sheets"));
        }
        let key = self.key()?;
        let sheets = split(&key, self.threshold, self.shares)?;
        let recipient = key.recipient();
        let pages: Vec<Zeroizing<String>> =
            sheets.iter().map(|sheet| sheet.page(recipient)).collect();
        proves(&pages, usize::from(self.threshold), recipient)?;
        let ceremony = sheets[0].ceremony;
        let (threshold, count) = (self.threshold, self.shares);
        let summary = format!(
            "recovery  {recipient}\n          any {threshold} of {count} sheets, ceremony {ceremony}\n"
        );
        let next = format!(
            "Next:\n  kluis init … --recovery {recipient}\n\
             Try the sheets from paper before you rely on them: kluis keys drill -\n"
        );
        let json = json!({
            "recipient": recipient.to_string(),
            "threshold": threshold,
            "shares": count,
            "ceremony": ceremony.to_string(),
        });
        let Some(folder) = &self.out else {
            let mut text = Zeroizing::new(String::with_capacity(pages.len() * 8192));
            for page in &pages {
                text.push_str(page);
                text.push_str("- - - - - - - - - - cut here - - - - - - - - - -\n\n");
            }
            print::write_out(text.as_bytes())?;
            let text = format!(
                "{summary}\nClose this terminal when the sheets are on paper: it keeps what it showed.\n\n{next}"
            );
            return Ok(Report::new(text, json));
        };
        let files = write(folder, &pages)?;
        let is_in_memory =
            rustix::fs::statfs(folder).is_ok_and(|found| IN_MEMORY.contains(&found.f_type));
        let mut text = format!("{summary}\n");
        for file in &files {
            text.push_str(&format!("written   {}\n", file.display()));
        }
        if !is_in_memory {
            text.push_str(
                "\nThat folder lies on a disk, which may keep what is deleted: write sheets to \
                 /dev/shm.\n",
            );
        }
        text.push_str(&format!(
            "\nPrint each page by itself, each into its own envelope, then wipe them: shred -u {}/*\n\n{next}",
            folder.display()
        ));
        let mut json = json;
        json["files"] = files.iter().map(|file| json!(file)).collect();
        json["in_memory"] = is_in_memory.into();
        Ok(Report::new(text, json))
    }

    fn key(&self) -> Result<StaffKey, Error> {
        let Some(file) = &self.identity else { return Ok(StaffKey::generate()) };
        if self.clear {
            return Ok(StaffKey::read_clear(file)?);
        }
        // Before the passphrase is asked for.
        if !file.exists() {
            return Err(crate::keys::UnlockError::NoFile.into());
        }
        let words =
            key::passphrase("Passphrase of the key", self.passphrase_file.as_deref(), false)?;
        StaffKey::unlock(file, &words).map_err(|error| match error {
            crate::keys::UnlockError::Unprotected => {
                Error::from(error).hint("--clear, if the key shall lie there in clear")
            }
            error => error.into(),
        })
    }
}

/// Whether the pages, read back, rebuild the key: every sheet takes part.
fn proves(
    pages: &[Zeroizing<String>],
    threshold: usize,
    recipient: &StaffRecipient,
) -> Result<(), Error> {
    for first in 0..pages.len() {
        let mut some = Vec::with_capacity(threshold);
        for page in pages.iter().cycle().skip(first).take(threshold) {
            some.extend(sheet::parse(page).map_err(|at| misread("a page", &at))?);
        }
        if combine(&some)?.recipient() != recipient {
            return Err(shares::Error::NotTheKey.into());
        }
    }
    Ok(())
}

/// Writes each page into a new file; all of them or none.
fn write(folder: &Path, pages: &[Zeroizing<String>]) -> Result<Vec<PathBuf>, Error> {
    private_folder(folder)?;
    let count = pages.len();
    let path = |at: usize| folder.join(format!("sheet-{}-of-{count}.txt", at + 1));
    let files: Vec<PathBuf> = (0..count).map(path).collect();
    for (at, (file, page)) in files.iter().zip(pages).enumerate() {
        if let Err(error) = file::write_new(file, page.as_bytes()) {
            // Sheets that nobody was told of must not lie about.
            for written in &files[..at] {
                let _ = std::fs::remove_file(written);
            }
            return Err(Error::io(file.display(), &error));
        }
    }
    Ok(files)
}

impl Drill {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        session::harden()?;
        let sheets = read(&self.sheets)?;
        let key = combine(&sheets)?;
        let copy = self.admin_copy.as_deref().map(read_file).transpose()?;
        let all = |tried: &[(String, bool)]| tried.iter().all(|(_, opens)| *opens);
        let (tried, entry) = match &self.dir {
            Some(dir) => {
                let wrapped = files_in(dir)?;
                (tried(&wrapped, &key, copy.as_ref().map(|copy| copy.as_slice()))?, None)
            }
            None => {
                let mut client = self.connection.open()?;
                let (wrapped, test) = client.wrapped_files()?;
                let tried = tried(&wrapped, &key, copy.as_ref().map(|copy| copy.as_slice()))?;
                let epochs = wrapped.epochs();
                let is_whole = all(&tried);
                let entry =
                    if is_whole { Some(client.note_drill(&key, &test, epochs)?) } else { None };
                (tried, entry)
            }
        };
        Ok(tried_report(&sheets, key.recipient(), &tried, entry))
    }
}

/// The wrapped secrets in a state directory, or in a copy of it.
pub(super) fn files_in(dir: &Path) -> Result<Files, Error> {
    let roster = keys::roster(dir)?;
    Ok(Files::read(dir, roster.vault, roster.version)?)
}

/// What was tried, and whether it opens.
fn tried(
    wrapped: &Files,
    key: &StaffKey,
    copy: Option<&[u8]>,
) -> Result<Vec<(String, bool)>, Error> {
    let secrets = wrapped.drill(key)?;
    let mut tried: Vec<_> =
        secrets.into_iter().map(|(what, opens)| (recovery::name(what), opens)).collect();
    if let Some(copy) = copy {
        tried.push(("admin key".into(), wrapped.admin_key(copy, key).is_ok()));
    }
    Ok(tried)
}

fn tried_report(
    sheets: &[Sheet],
    recipient: &StaffRecipient,
    tried: &[(String, bool)],
    entry: Option<u64>,
) -> Report {
    let Sheet { ceremony, count, .. } = &sheets[0];
    let mut text = format!(
        "{} of {count} sheets of ceremony {ceremony} rebuild the recovery key\n{recipient}\n\n",
        sheets.len()
    );
    for (secret, opens) in tried {
        let opens = if *opens { "opens" } else { "DOES NOT OPEN" };
        text.push_str(&format!("{secret:<15} {opens}\n"));
    }
    let all = tried.iter().all(|(_, opens)| *opens);
    text.push('\n');
    text.push_str(&match (all, entry) {
        (true, Some(entry)) => {
            format!("Entered in the ledger, {entry}. Nothing else was changed.\n")
        }
        (true, None) => "Nothing was changed, and nothing entered.\n".into(),
        (false, _) => {
            "What does not open is lost with the last reader: have a reader wrap it anew, \
                       or put its copy back. Nothing was changed.\n"
                .into()
        }
    });
    let files: Vec<Value> =
        tried.iter().map(|(secret, opens)| json!({ "secret": secret, "opens": opens })).collect();
    let json = json!({
        "recipient": recipient.to_string(),
        "ceremony": ceremony.to_string(),
        "sheets": sheets.iter().map(|sheet| sheet.index).collect::<Vec<_>>(),
        "secrets": files,
        "entry": entry,
    });
    Report { problems: !all, ..Report::new(text, json) }
}

/// The sheets in these files, in their order.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Sheet>, Error> {
    let mut sheets = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            sheets.extend(typed()?);
            continue;
        }
        sheets.extend(parsed(&file.display().to_string(), &read_file(file)?)?);
    }
    Ok(sheets)
}

/// A file that was named on the command line.
pub(super) fn read_file(file: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    file::read(file, LONGEST_FILE).map_err(|error| Error::io(file.display(), &error).code(USAGE))
}

fn parsed(whence: &str, bytes: &[u8]) -> Result<Vec<Sheet>, Error> {
    let text = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    let sheets = sheet::parse(&text).map_err(|at| misread(whence, &at))?;
    if sheets.is_empty() {
        return Err(Error::usage(format!("{whence}: no sheet is in it"))
            .hint("a sheet has six lines, each with its number first, 1 to 6"));
    }
    Ok(sheets)
}

/// What somebody types, asked for line by line; what a program writes, as it is.
fn typed() -> Result<Vec<Sheet>, Error> {
    let broken = |error: std::io::Error| Error::io("standard input", &error).code(USAGE);
    let mut input = std::io::stdin().lock();
    if !input.is_terminal() {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_FILE));
        input.take(LONGEST_FILE as u64).read_to_end(&mut bytes).map_err(broken)?;
        return parsed("standard input", &bytes);
    }
    let mut sheets: Vec<Sheet> = Vec::new();
    let mut say = std::io::stderr().lock();
    let missing = |sheets: &[Sheet]| {
        sheets.first().is_none_or(|first| sheets.len() < usize::from(first.threshold))
    };
    while missing(&sheets) {
        let mut draft = Draft::default();
        while let Some(line) = draft.next() {
            write!(say, "sheet {}, line {line}: ", sheets.len() + 1).map_err(broken)?;
            say.flush().map_err(broken)?;
            let mut text = Zeroizing::new(String::with_capacity(256));
            if input.read_line(&mut text).map_err(broken)? == 0 {
                return Err(misread("standard input", &at(&sheets, Misread::Missing { line })));
            }
            if let Err(wrong) = draft.line(without_number(&text, line)) {
                writeln!(say, "{wrong}; type it once more").map_err(broken)?;
            }
        }
        let sheet =
            draft.finish().map_err(|wrong| misread("standard input", &at(&sheets, wrong)))?;
        sheets.push(sheet);
    }
    Ok(sheets)
}

fn at(sheets: &[Sheet], misread: Misread) -> sheet::AtSheet {
    sheet::AtSheet { sheet: sheets.len() + 1, misread }
}

/// A typed line, with or without the number that stands before it on paper.
fn without_number(text: &str, line: u8) -> &str {
    let text = text.trim_start();
    let rest = text.strip_prefix(char::from(b'0' + line));
    rest.and_then(|rest| rest.strip_prefix([' ', '\t', '.', ':', ')'])).unwrap_or(text)
}

fn misread(whence: &str, at: &sheet::AtSheet) -> Error {
    let hint = match at.misread {
        Misread::Missing { .. } => "a sheet has six lines, each with its number first, 1 to 6",
        Misread::Length { .. } => "a line has five groups of four: count them on the paper",
        Misread::Character { .. } => "there are digits and letters but no I, L, O and U",
        Misread::Line { .. } => "compare that line with the paper, group by group",
        Misread::Mixed => "six lines of one sheet, one after the other, then those of the next",
        Misread::FutureVersion => "use the newest version of kluis",
        Misread::Numbers => "it was not printed by `kluis keys split`",
    };
    Error::usage(format!("{whence}, sheet {}: {}", at.sheet, at.misread)).hint(hint)
}

impl From<shares::Error> for Error {
    fn from(error: shares::Error) -> Self {
        let this = Self::usage(error.to_string());
        match error {
            shares::Error::Numbers => this.hint("--shares 5 --threshold 3, say"),
            shares::Error::NotSplit => this.hint("`kluis keys split` without --identity makes one"),
            shares::Error::Twice { .. } => this.hint("give each sheet once, and another one too"),
            shares::Error::OtherCeremony { .. } => {
                this.hint("take sheets on which the same ceremony stands")
            }
            shares::Error::TooFew { .. } => this.hint("fetch more sheets of the same ceremony"),
            shares::Error::NotTheKey => {
                this.hint("try other sheets of the ceremony, until it is known which one is wrong")
            }
        }
    }
}

impl From<recovery::Error> for Error {
    fn from(error: recovery::Error) -> Self {
        let this = Self::new(error.to_string());
        match error {
            recovery::Error::OtherKey(_) => this.code(DENIED).hint(
                "are these sheets of an earlier ceremony, or of another vault? their recipient \
                 stands on every page",
            ),
            recovery::Error::Signed { .. }
            | recovery::Error::OtherNote(_)
            | recovery::Error::OtherVault => {
                this.hint("put back what the admin signed; `kluis doctor` says what is wrong")
            }
            recovery::Error::Closed(_) => {
                this.hint("`kluis keys drill` says what opens; put the file's copy back")
            }
            recovery::Error::Admin(_) => {
                this.code(DENIED).hint("admin.recovery.age, as `kluis init` wrote it")
            }
            recovery::Error::Files(_) => this.hint(
                "admin.pub, admin, roster, epochs and mailbox of the state directory belong together",
            ),
            recovery::Error::Client(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_do_not_rebuild_the_key_are_never_given_out() {
        let (key, other) = (StaffKey::generate(), StaffKey::generate());
        let pages = |key: &StaffKey| -> Vec<_> {
            let sheets = split(key, 2, 4).expect("splits");
            sheets.iter().map(|sheet| sheet.page(key.recipient())).collect()
        };
        let mut mixed = pages(&key);
        proves(&mixed, 2, key.recipient()).expect("rebuild it");
        assert!(proves(&mixed, 2, other.recipient()).is_err());
        // One page of another ceremony is noticed, wherever it lies.
        for at in 0..4 {
            let right = std::mem::replace(&mut mixed[at], pages(&key).swap_remove(at));
            assert!(proves(&mixed, 2, key.recipient()).is_err());
            mixed[at] = right;
        }
    }

    #[test]
    fn a_typed_line_may_begin_with_its_number() {
        for text in ["1  0123 4567", "1. 0123 4567", "0123 4567", " 0123 4567"] {
            assert_eq!(without_number(text, 1).trim(), "0123 4567");
        }
        assert_eq!(without_number("1234 5678", 1), "1234 5678", "a group, not a number");
    }
}
