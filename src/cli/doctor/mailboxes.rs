//! The mailboxes on other servers that letters are fetched from: whether they open, what their servers
//! can do, and how far each was fetched.
//!
//! Each is connected to and its folder opened for looking only, as the settings say. One whose refresh
//! token the server would replace is not tried: the new one belongs to what serves.

use std::path::Path;
use std::time::Duration;

use super::{Check, Finding, problem, warning, well};
use crate::casebook::fetched::{Mailboxes, Watermark};
use crate::cli::print;
use crate::config::Config;
use crate::gateway::fetching;
use crate::inbox::imap::{self, Account, After, Fault, Found, Grant, Login, Pace, Security};
use crate::store;

/// Time for one mailbox, for connecting and for each command.
const TIME: Duration = Duration::from_secs(10);

/// What there is of one mailbox.
pub(super) struct Looked {
    pub(super) name: String,
    pub(super) in_clear: bool,
    /// Whether sealed mails are to be removed.
    pub(super) removes: bool,
    /// What a look found; none if it was not looked at.
    pub(super) found: Option<Result<Found, Fault>>,
    /// How far it was fetched.
    pub(super) mark: Option<Watermark>,
}

/// Looks at all of them at once.
pub(super) fn read(dir: &Path, config: &Config) -> Vec<Looked> {
    let accounts = fetching::accounts(config);
    if accounts.is_empty() {
        return Vec::new();
    }
    let mut boxes = Mailboxes::default();
    // Where the ledger is not to be read another check says so.
    let _ = store::each(dir, |entry| boxes.note(entry));
    let found = look(&accounts);
    let looked = accounts.iter().zip(found).map(|(account, found)| Looked {
        name: account.name.clone(),
        in_clear: account.security == Security::None,
        removes: account.after != After::Keep,
        found,
        mark: boxes.watermark(account.place()),
    });
    looked.collect()
}

fn look(accounts: &[Account]) -> Vec<Option<Result<Found, Fault>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return vec![None; accounts.len()] };
    runtime.block_on(async {
        let looks: Vec<_> = accounts
            .iter()
            .map(|account| {
                let pace = Pace { connect: TIME, command: TIME, ..account.pace };
                let account = Account { pace, ..account.clone() };
                let is_tried = !matches!(
                    &account.login,
                    Login::OAuth2(oauth2) if matches!(oauth2.grant, Grant::Refresh(_))
                );
                is_tried.then(|| tokio::spawn(imap::look(account)))
            })
            .collect();
        let mut found = Vec::new();
        for look in looks {
            found.push(match look {
                Some(look) => look.await.ok(),
                None => None,
            });
        }
        found
    })
}

/// What there is to say of each.
pub(super) fn judge(mailboxes: &[Looked]) -> Vec<Finding> {
    mailboxes.iter().flat_map(judge_one).collect()
}

fn judge_one(mailbox: &Looked) -> Vec<Finding> {
    let name = &mailbox.name;
    let mut findings = Vec::new();
    match &mailbox.found {
        None => findings.push(well(
            Check::Mailboxes,
            format!("{name}: not looked at, for its token is the server's to renew"),
        )),
        // That is said of the file.
        Some(Err(Fault::File)) => {}
        Some(Err(fault)) => {
            findings.push(problem(Check::Mailboxes, format!("{name}: {fault}"), mend(*fault)));
        }
        Some(Ok(found)) => {
            let mails = print::count(u64::from(found.mails), "mail", "mails");
            let how = if mailbox.in_clear { "without TLS, on this machine" } else { "by TLS" };
            let what = format!("{name}: opens {how}; {mails} in it");
            findings.push(well(Check::Mailboxes, what));
            if mailbox.removes && !found.removes_alone {
                findings.push(warning(
                    Check::Mailboxes,
                    format!(
                        "{name}: its server has no UIDPLUS: while others mark mails as deleted \
                         there, no sealed letter is removed, and all stay in clear"
                    ),
                    "keep everybody else out of that mailbox",
                ));
            }
        }
    }
    findings.push(well(Check::Mailboxes, how_far(name, mailbox.mark)));
    if let Some(mark) = mailbox.mark.filter(|mark| mark.aside > 0) {
        let mails = print::count(mark.aside, "mail", "mails");
        findings.push(warning(
            Check::Mailboxes,
            format!("{name}: {mails} could not be fetched, or not whole, and lie there"),
            "look at them there: `kluis import` takes them",
        ));
    }
    findings
}

fn how_far(name: &str, mark: Option<Watermark>) -> String {
    let Some(mark) = mark else { return format!("{name}: nothing of it was fetched yet") };
    let letters = print::count(mark.letters, "letter", "letters");
    format!("{name}: fetched up to UID {} of UIDVALIDITY {}, {letters}", mark.last, mark.validity)
}

fn mend(fault: Fault) -> &'static str {
    match fault {
        Fault::Tls => {
            "host, port and tls in its [[imap]] part; a certificate of its own goes in ca"
        }
        Fault::Denied => "username and password_file in its [[imap]] part; are passwords allowed?",
        Fault::Token | Fault::Expired => "[imap.oauth2]: does the client's secret hold still?",
        Fault::No | Fault::NoIds => "folder in its [[imap]] part",
        _ => "does that server run? host, port and tls in its [[imap]] part",
    }
}
