//! The queue: what someone has to do something about, soonest due first.

use clap::Args;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::session::{self, Connection};
use super::{Error, Report, models, pictures, print, scanner};
use crate::casebook::{CaseCard, Filter};
use crate::identity::numbers::find::masked;
use crate::ids::CaseId;
use crate::letter::{Finding, Protection, Role, Scan};
use crate::request::deadline;
use crate::staff::client::{self, CaseView, Client, LetterView};
use crate::staff::letters::{self, Asked, Outcome};
use crate::staff::pictures::AskReader;

/// List the cases, soonest due first
///
/// Opens the letters' headers, which is one entry in the ledger. Letters that came encrypted are
/// opened on the way; which could not be, and why, stands below the list. When a question is open
/// there are two dates: the one that counts, and the one if the pause holds.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis queue\n  kluis queue --next 20\n  kluis queue --all --json"
)]
pub(super) struct Queue {
    /// Closed cases, too
    #[arg(long)]
    all: bool,
    /// So many and no more: those that are due soonest
    #[arg(long, value_name = "COUNT", conflicts_with = "all")]
    next: Option<u32>,
    #[command(flatten)]
    connection: Connection,
}

/// An encrypted letter that stays closed.
pub(super) struct Closed {
    case: CaseId,
    letter: String,
    why: String,
}

impl Closed {
    pub(super) fn line(&self) -> String {
        format!("{}: letter {} was not opened: {}", self.case, self.letter, self.why)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "case": self.case.to_string(), "letter": self.letter, "why": self.why })
    }
}

impl Queue {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let filter = match self.next {
            Some(count) => Filter::Next(count),
            None if self.all => Filter::All,
            None => Filter::Open,
        };
        let mut client = self.connection.open()?;
        let (cases, closed) = open_and_list(&mut client, filter)?;
        let today = deadline::received_on(session::now());
        let rows: Vec<Vec<String>> = cases.iter().map(|case| row(case, today)).collect();
        let mut text = if rows.is_empty() {
            "Nothing is waiting.\n".to_owned()
        } else {
            print::table(&HEADING, &rows)
        };
        if !closed.is_empty() {
            text.push('\n');
            for closed in &closed {
                text.push_str(&closed.line());
                text.push('\n');
            }
        }
        let cases: Vec<Value> = cases.iter().map(|case| to_json(case, today)).collect();
        let closed: Vec<Value> = closed.iter().map(Closed::to_json).collect();
        Ok(Report::new(text, json!({ "cases": cases, "not_opened": closed })))
    }
}

/// Lists cases after opening what came encrypted.
pub(super) fn open_and_list(
    client: &mut Client,
    filter: Filter,
) -> Result<(Vec<CaseView>, Vec<Closed>), Error> {
    let cases = client.queue(filter)?;
    let has_ciphertext = |case: &&CaseView| {
        case.card.closed.is_none()
            && case.letters.iter().any(|letter| letters::ciphertext(letter).is_some())
    };
    let encrypted: Vec<&CaseView> = cases.iter().filter(has_ciphertext).collect();
    if encrypted.is_empty() {
        return Ok((cases, Vec::new()));
    }
    let sandbox = session::parser()?;
    let scanner = scanner::Here::find()?;
    let ask = |content: &[u8]| scanner.as_ref().map_or(Scan::NotScanned, |here| here.ask(content));
    let reader = models::Here::find()?;
    let look = |content: &[u8]| reader.as_ref().and_then(|here| here.look(content));
    let asked = Asked {
        scanner: scanner.as_ref().map(|_| &ask as &letters::AskScanner<'_>),
        reader: reader.as_ref().map(|_| &look as &AskReader<'_>),
    };
    let mut closed = Vec::new();
    let mut opened = false;
    for case in encrypted {
        let outcomes = match letters::open_encrypted(client, &sandbox, asked, case, session::now())
        {
            Ok(outcomes) => outcomes,
            // Who may read and not answer is not given the mailbox's key.
            Err(client::Error::Refused(why)) => {
                let stay = case.letters.iter().filter(|l| letters::ciphertext(l).is_some());
                closed.extend(stay.map(|letter| Closed {
                    case: case.card.case,
                    letter: print::brief(&letter.id()),
                    why: why.clone(),
                }));
                continue;
            }
            Err(other) => return Err(other.into()),
        };
        for (letter, outcome) in outcomes {
            match outcome {
                Outcome::Opened(_) => opened = true,
                Outcome::Closed(why) => closed.push(Closed {
                    case: case.card.case,
                    letter: print::brief(&letter),
                    why: why.to_string(),
                }),
            }
        }
    }
    let cases = if opened { client.queue(filter)? } else { cases };
    Ok((cases, closed))
}

const HEADING: [&str; 8] = ["DUE", "DAYS", "CASE", "STATE", "FROM", "SUBJECT", "FILES", "FINDINGS"];

fn row(case: &CaseView, today: Date) -> Vec<String> {
    let card = &case.card;
    let (due, days) = match (card.closed, days_left(card, today)) {
        (None, days) => (print::date(card.due).to_string(), days.to_string()),
        (Some(closed), _) => (print::date(closed).to_string(), "-".into()),
    };
    let newest = shown_letter(case);
    let findings = findings(case);
    vec![
        due,
        days,
        card.case.to_string(),
        state(card),
        newest.map_or_else(|| "(not readable)".into(), |letter| print::short(&from(letter), 32)),
        newest.and_then(subject).map_or_else(String::new, |subject| print::short(&subject, 40)),
        attachments(case).to_string(),
        findings.iter().map(print::words).collect::<Vec<_>>().join(", "),
    ]
}

pub(super) fn to_json(case: &CaseView, today: Date) -> Value {
    let card = &case.card;
    let day = |days: i32| print::date(days).to_string();
    let newest = shown_letter(case);
    json!({
        "case": card.case.to_string(),
        "received": day(card.received),
        "due": day(card.due),
        "due_with_pause": card.due_with_pause.map(day),
        "days_left": days_left(card, today),
        "state": standing(card),
        "extended": card.extended,
        "held": card.held,
        "decided": card.decided.map(day),
        "closed": card.closed.map(day),
        "answers": {
            "sent": card.answers.0, "delivered": card.answers.1, "failed": card.answers.2
        },
        "notices_held": card.notices_held,
        "notices": {
            "sent": card.notices.0, "refused": card.notices.1, "unknown": card.notices.2
        },
        "returned": card.returned,
        "reports": card.is_reports,
        "notes": card.notes,
        "letters": card.letters.len(),
        "from": newest.map(from),
        "subject": newest.and_then(subject),
        "attachments": attachments(case),
        "pictures": pictures::counted(case),
        "findings": findings(case).iter().map(print::words).collect::<Vec<_>>(),
    })
}

/// The newest letter that can be read, one taken out of encryption before its envelope.
fn shown_letter(case: &CaseView) -> Option<&LetterView> {
    case.letters.iter().rev().find(|letter| letter.detail.is_some())
}

/// Name and address of the sender, as they are shown: national numbers masked.
pub(super) fn from(letter: &LetterView) -> String {
    masked(&from_as_written(letter))
}

/// Name and address of the sender as the header says them; the envelope's if it says nothing.
pub(super) fn from_as_written(letter: &LetterView) -> String {
    let Some(detail) = &letter.detail else { return "(not readable)".into() };
    match detail.headers.from.first() {
        Some(mailbox) => super::show::mailbox(mailbox),
        None if detail.envelope.mail_from.expose().is_empty() => "(nobody)".into(),
        None => detail.envelope.mail_from.expose().clone(),
    }
}

/// The subject, as it is shown: national numbers masked.
pub(super) fn subject(letter: &LetterView) -> Option<String> {
    subject_as_written(letter).map(|subject| masked(&subject))
}

pub(super) fn subject_as_written(letter: &LetterView) -> Option<String> {
    let headers = &letter.detail.as_ref()?.headers;
    headers.subject.as_ref().map(|subject| subject.expose().clone())
}

/// Attachments; the parts of an encrypted letter are its wrapping, and count once it is opened.
fn attachments(case: &CaseView) -> usize {
    let details = case.letters.iter().filter_map(|letter| letter.detail.as_ref());
    let plain = details.filter(|detail| {
        !matches!(detail.protection, Protection::OpenPgp(_) | Protection::Smime(_))
    });
    plain.flat_map(|detail| &detail.items).filter(|item| item.role == Role::Attachment).count()
}

/// Each finding once.
fn findings(case: &CaseView) -> Vec<Finding> {
    let details = case.letters.iter().filter_map(|letter| letter.detail.as_ref());
    let mut findings: Vec<Finding> =
        details.flat_map(|detail| detail.findings.iter().copied()).collect();
    findings.sort_unstable();
    findings.dedup();
    findings
}

fn days_left(card: &CaseCard, today: Date) -> i64 {
    print::date(card.due).duration_since(today).as_hours() / 24
}

/// One word: where the case stands.
pub(super) fn standing(card: &CaseCard) -> &'static str {
    if card.is_reports {
        "reports"
    } else if card.closed.is_some() {
        "closed"
    } else if card.asked {
        "asked"
    } else if card.answers.0 > card.answers.2 {
        "answered"
    } else if card.answers.2 > 0 {
        "failed"
    } else if card.decided.is_some() {
        "decided"
    } else {
        "open"
    }
}

/// Where it stands, and what goes beside it.
pub(super) fn state(card: &CaseCard) -> String {
    let mut state = standing(card).to_owned();
    if card.extended {
        state.push_str(", extended");
    }
    if card.held {
        state.push_str(", held");
    }
    if card.returned > 0 {
        state.push_str(", mail came back");
    }
    if card.notices.2 > 0 {
        state.push_str(", notice unknown");
    }
    if let Some(paused) = card.due_with_pause {
        state.push_str(&format!(" (or {} if paused)", print::date(paused)));
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn card() -> CaseCard {
        CaseCard {
            case: CaseId::random(),
            received: 20_000,
            due: 20_031,
            due_with_pause: None,
            closed: None,
            asked: false,
            extended: false,
            held: false,
            decided: None,
            answers: (0, 0, 0),
            notices_held: 0,
            notes: 0,
            letters: Vec::new(),
            notices: (0, 0, 0),
            returned: 0,
            is_reports: false,
            copies: Vec::new(),
            checks: Vec::new(),
        }
    }

    #[test]
    fn a_paused_case_shows_both_dates_and_a_failed_answer_is_not_an_answer() {
        let mut card = card();
        assert_eq!(state(&card), "open");
        card.answers = (1, 0, 0);
        assert_eq!(state(&card), "answered");
        card.answers = (1, 0, 1);
        assert_eq!(state(&card), "failed");
        card.asked = true;
        card.due_with_pause = Some(20_041);
        card.held = true;
        assert_eq!(state(&card), "asked, held (or 2024-11-14 if paused)");
        card.closed = Some(20_030);
        assert!(state(&card).starts_with("closed"));
        assert_eq!(days_left(&card, print::date(20_000)), 31);
        assert_eq!(days_left(&card, print::date(20_033)), -2);
    }

    #[test]
    fn a_case_of_which_nothing_opens_still_has_its_row() {
        let case = CaseView { card: card(), letters: Vec::new() };
        let row = row(&case, print::date(20_030));
        assert_eq!(&row[..2], ["2024-11-04", "1"]);
        assert_eq!(row[4], "(not readable)");
        assert_eq!(to_json(&case, print::date(20_030))["days_left"], 1);
    }
}
