//! Who asks: what shows it, what is missing, and what a member accepts of it.

pub(super) mod copies;
mod words;

use clap::Args;
use serde_json::{Value, json};

use super::answer::Spoken;
use super::session::{self, Connection};
use super::{Error, Report, case, pictures, print};
use crate::casebook::CaseCard;
use crate::identity::ladder::{Field, Kind, Level, Proof};
use crate::identity::next::{Found, Step, next};
use crate::identity::numbers::find::masked;
use crate::identity::people::Person;
use crate::identity::policy::{Policy, Right};
use crate::identity::words::Tongue;
use crate::ids::ItemId;
use crate::ids::{CaseId, StaffId};
use crate::keys::roster::Roster;
use crate::reply::{Language, copy};
use crate::staff::client::Client;
use crate::staff::copies as who_copies;
use crate::staff::pictures::{Pictures, Shown, is_document};
use crate::staff::who::{self, Asker, Checked};
use words::Say;

/// Show who asks: what evidence there is, what each right needs, and what to ask for next
///
/// Opens the list of people on file and the texts of the case, each a look in the ledger. Nothing is
/// decided by itself: --accept makes what there is a proof, which `kluis answer` wants. Details are
/// compared that are on file anyway, never digits of a national number. No copy of an identity document
/// is asked for as a rule; one that came may be used. It is forgotten by itself once the case is decided
/// and the time of the policy is over (`forget_copy_after`, 72 hours unless the settings say otherwise);
/// `kluis forget` does it before. What stays is who checked it, and when.
///
/// Which items are copies the reader of pictures says, or you do: --copy ITEM says that one is, --no-copy
/// ITEM and why that one is none, and stays. Every other item of the case that is the same file counts as
/// that one. The newest word counts.
///
/// A copy can be asked for where a doubt was written down with its reason (--doubt): --copy-letter then
/// prints the text, with what to black out.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis who K-7F3Q-9M2X --right access\n  kluis who K-7F3Q-9M2X --record challenge the code came back by text message\n  kluis who K-7F3Q-9M2X --record match --field birth-date --field client said by telephone\n  kluis who K-7F3Q-9M2X --record id --item 1f0a33c2 name and birth date agree\n  kluis who K-7F3Q-9M2X --no-copy 1f0a33c2 a payslip\n  kluis who K-7F3Q-9M2X --accept L3\n  kluis who K-7F3Q-9M2X --doubt two people of this name wrote within an hour\n\nKinds of evidence:\n  address     the letter came, authenticated, from the address on file (found by itself)\n  challenge   a code sent to a contact on file came back\n  match       details that are on file agree: birth-date, client, start-date\n  signature   a signature with a key known to be theirs (eID, itsme, OpenPGP, S/MIME)\n  in-person   the person was there (also: seen)\n  id          a masked copy of an identity document agrees\n  checkdoc    Checkdoc was asked about the document, and has no hit\n  other       something else, which the words explain"
)]
pub(super) struct Who {
    /// The case number
    #[arg(value_name = "CASE")]
    case: CaseId,
    /// Only what this right needs: access, erasure, account …
    #[arg(long, value_name = "RIGHT")]
    right: Option<Right>,
    /// Record evidence that you have; the words say how
    #[arg(long, value_name = "KIND", conflicts_with_all = ["accept", "doubt", "copy_letter"])]
    record: Option<Kind>,
    /// With --record match: which detail agrees; again for another
    #[arg(long = "field", value_name = "DETAIL", requires = "record")]
    fields: Vec<Field>,
    /// Accept what there is at this level, L0 to L4; if it does not reach that, the words say why
    #[arg(long, value_name = "LEVEL", conflicts_with_all = ["doubt", "copy_letter"])]
    accept: Option<Level>,
    /// Write down that you doubt who asks; the words say why
    #[arg(long, conflicts_with = "copy_letter")]
    doubt: bool,
    /// With --record id: which item was checked; else the only copy of the case
    #[arg(long, value_name = "ITEM", requires = "record")]
    item: Option<String>,
    /// With --record id: the copy that was checked is no item of this case
    #[arg(long, requires = "record", conflicts_with = "item")]
    elsewhere: bool,
    /// Say that an item is a copy of an identity document, which is forgotten after the decision
    #[arg(long, value_name = "ITEM", conflicts_with_all = ["record", "accept", "doubt", "copy_letter", "no_copy"])]
    copy: Option<String>,
    /// Say that an item is no copy of an identity document; the words say what it is
    #[arg(long, value_name = "ITEM", conflicts_with_all = ["record", "accept", "doubt", "copy_letter"])]
    no_copy: Option<String>,
    /// Print the letter that asks for a masked copy: only after --doubt
    #[arg(long)]
    copy_letter: bool,
    /// The language; else that of your terminal, of the letter for --copy-letter
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<Spoken>,
    /// How, or why; - reads them from standard input
    words: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Who {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let is_mark = self.copy.is_some() || self.no_copy.is_some();
        let takes_words = self.record.is_some() || self.accept.is_some() || self.doubt || is_mark;
        if !takes_words && !self.words.is_empty() {
            return Err(Error::usage("words without --record, --accept, --doubt or --no-copy")
                .hint("`kluis note` remembers something by itself"));
        }
        let is_silent = self.accept.is_some() || self.copy.is_some();
        let words = match is_silent {
            true if self.words.is_empty() => String::new(),
            _ if takes_words => case::said(&self.words)?,
            _ => String::new(),
        };
        match self.record {
            Some(Kind::Match) if self.fields.is_empty() => {
                return Err(Error::usage("--record match says that details agree, but not which")
                    .hint("--field birth-date, client or start-date; again for another"));
            }
            Some(Kind::Match) | None => {}
            Some(_) if !self.fields.is_empty() => {
                return Err(Error::usage("--field goes with --record match alone")
                    .hint("leave it out; the words say what there was"));
            }
            Some(_) => {}
        }
        if (self.item.is_some() || self.elsewhere) && self.record != Some(Kind::Id) {
            return Err(Error::usage("--item and --elsewhere go with --record id alone")
                .hint("it says which copy of an identity document was checked"));
        }
        let mut client = self.connection.open()?;
        if let Some(kind) = self.record {
            if kind == Kind::Id {
                let which = (self.item.as_deref(), self.elsewhere);
                return record_id(&mut client, self.case, which, &words);
            }
            let evidence = (kind, self.fields);
            let position = who::record(&mut client, self.case, evidence, &words, session::now())?;
            return Ok(done_report(self.case, &format!("recorded: {}", kind.word()), position));
        }
        if let Some(start) = self.copy.as_ref().or(self.no_copy.as_ref()) {
            return mark(&mut client, self.case, start, self.copy.is_some(), &words);
        }
        if self.doubt {
            let position = who::doubt(&mut client, self.case, &words, session::now())?;
            let done =
                "the doubt is written down; --copy-letter prints what asks for a masked copy";
            return Ok(done_report(self.case, done, position));
        }
        if self.copy_letter {
            return copy_letter(&mut client, self.case, self.language.map(Language::from));
        }
        let policy = client.policy()?;
        let view = client.case(self.case)?;
        let asker = who::gather(&mut client, &view, policy.new_address_days)?;
        if let Some(level) = self.accept {
            let reason = (!words.is_empty()).then_some(words.as_str());
            let evidence = asker.evidence();
            let accepted = (level, reason);
            let (proof, position) =
                who::accept(&mut client, self.case, &evidence, accepted, session::now())?;
            let done = format!("accepted: {}", proof.summary());
            return Ok(done_report(self.case, &done, position));
        }
        let language = self.language.map_or_else(of_terminal, Language::from);
        let rights: Vec<Right> = match self.right {
            Some(right) => vec![right],
            None => Right::WORDS.iter().map(|(_, right)| *right).collect(),
        };
        let needs: Vec<Need> = rights.iter().map(|right| need(*right, &policy, &asker)).collect();
        let roster = client.roster()?.roster;
        let seen = pictures::sealed(&mut client, &view, &asker.texts)?;
        let card = &view.card;
        let text = as_text(&asker, card, &seen, &needs, &roster, language);
        let mut json = as_json(&asker, card, &needs, &roster);
        json["identity"] = pictures::to_json(&seen, false);
        json["available"] = available(&seen);
        Ok(Report::new(text, json))
    }
}

/// Records that a copy was checked.
fn record_id(
    client: &mut Client,
    case: CaseId,
    (start, elsewhere): (Option<&str>, bool),
    words: &str,
) -> Result<Report, Error> {
    let view = client.case(case)?;
    let checked = match start {
        Some(start) => Checked::Item(session::item_of(&view, start)?),
        None if elsewhere => Checked::Elsewhere,
        None => Checked::TheOne,
    };
    let (item, position) = who::record_id(client, &view, checked, words, session::now())?;
    let done = match item {
        None => "recorded: id".to_owned(),
        Some(item) => {
            let item = print::brief(&item);
            format!("recorded: id, of {item}, which is forgotten by itself after the decision")
        }
    };
    let mut report = done_report(case, &done, position);
    report.json[0]["item"] = json!(item.map(|item| item.to_string()));
    Ok(report)
}

/// Says that an item is a copy, or none.
fn mark(
    client: &mut Client,
    case: CaseId,
    start: &str,
    is_copy: bool,
    words: &str,
) -> Result<Report, Error> {
    let view = client.case(case)?;
    let item = session::item_of(&view, start)?;
    let (items, position) = who_copies::mark(client, &view, item, is_copy, words)?;
    let named: Vec<String> = items.iter().map(print::brief).collect();
    let done = match is_copy {
        true => format!("forgotten by itself after the decision: {}", named.join(" ")),
        false => format!("no copy of an identity document: {}", named.join(" ")),
    };
    let mut report = done_report(case, &done, position);
    report.json[0]["items"] = items.iter().map(ItemId::to_string).collect();
    Ok(report)
}

fn done_report(case: CaseId, done: &str, position: u64) -> Report {
    Report::new(
        format!("{case}: {done} (entry {position})"),
        json!({ "case": case.to_string(), "done": done, "position": position }),
    )
}

/// The letter that asks for a masked copy, in the language of the person on file.
fn copy_letter(
    client: &mut Client,
    case: CaseId,
    language: Option<Language>,
) -> Result<Report, Error> {
    let doubt = who::newest_doubt(client, case)?.ok_or_else(|| {
        Error::new("nobody has written down a doubt about who asks: no copy is asked for").hint(
            "`kluis who CASE` says what else to ask for; --doubt and why, if there is a reason",
        )
    })?;
    let language = match language {
        Some(language) => language,
        None => {
            let view = client.case(case)?;
            let asker = who::gather(client, &view, 0)?;
            let on_file = asker.person.as_ref().and_then(|person| person.language.as_ref());
            on_file.and_then(|code| of_code(code.expose())).unwrap_or_default()
        }
    };
    let text = copy::text(&doubt, language);
    let json = json!({ "case": case.to_string(), "text": text });
    Ok(Report::new(text, json))
}

/// A right, what it needs, and what to do next for it.
struct Need {
    right: Right,
    level: Level,
    is_accepted: bool,
    steps: Vec<Step>,
}

fn need(right: Right, policy: &Policy, asker: &Asker) -> Need {
    let level = policy.needed(right, asker.is_new);
    let is_accepted = level == Level::L0 || asker.accepted() >= Some(level);
    let steps = match is_accepted {
        true => Vec::new(),
        false => next(level, &asker.evidence(), asker.standing()),
    };
    Need { right, level, is_accepted, steps }
}

/// Copies of documents that came. They are shown and accepted by nobody: a member who has looked records
/// that (`--record id --item`).
fn documents(seen: &Pictures) -> impl Iterator<Item = &Shown> {
    seen.shown.iter().filter(|one| is_document(&one.conclusion.evidence.verdict))
}

fn available(seen: &Pictures) -> Value {
    let one = |one: &Shown| {
        json!({
            "kind": Kind::Id.word(),
            "item": one.item.to_string(),
            "verdict": one.conclusion.evidence.verdict.word(),
        })
    };
    documents(seen).map(one).collect()
}

const fn tongue(language: Language) -> Tongue {
    match language {
        Language::Nl => Tongue::Nl,
        Language::Fr => Tongue::Fr,
        Language::De => Tongue::De,
        Language::En => Tongue::En,
    }
}

/// The language of the terminal, if it is one of the four.
fn of_terminal() -> Language {
    let set = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(std::env::var_os);
    let first = set.map(|value| value.to_string_lossy().into_owned()).find(|v| !v.is_empty());
    first.as_deref().and_then(of_code).unwrap_or(Language::En)
}

fn of_code(code: &str) -> Option<Language> {
    let known =
        [("nl", Language::Nl), ("fr", Language::Fr), ("de", Language::De), ("en", Language::En)];
    known.into_iter().find(|(start, _)| code.starts_with(start)).map(|(_, language)| language)
}

fn member(roster: &Roster, staff: StaffId) -> String {
    let known = roster.members.iter().find(|member| member.id == staff);
    known.map_or_else(|| format!("member {}", staff.0), |member| member.name.clone())
}

fn as_text(
    asker: &Asker,
    card: &CaseCard,
    seen: &Pictures,
    needs: &[Need],
    roster: &Roster,
    language: Language,
) -> String {
    let mut lines = vec![asker.case.to_string()];
    let say = |say: Say| words::say(say, language);
    let mut line = |word: Say, value: &str| {
        lines.push(format!("  {:<13} {}", say(word), print::terminal_safe(&masked(value))));
    };
    if let Some(sender) = &asker.sender {
        let name = sender.name.expose();
        let address = sender.address.expose();
        let from = if name.is_empty() { address.clone() } else { format!("{name} <{address}>") };
        line(Say::From, &from);
        line(
            Say::Domain,
            say(match sender.stands {
                Some(true) => Say::Stands,
                Some(false) => Say::DoesNotStand,
                None => Say::NobodyLooked,
            }),
        );
    } else {
        line(Say::From, say(Say::NoAuthor));
    }
    if asker.others > 0 {
        line(Say::Beware, &say(Say::Others).replace("{count}", &asker.others.to_string()));
    }
    if matches!(asker.found, Found::Name | Found::Nobody | Found::Several) {
        line(Say::Beware, say(Say::NotOnFile));
    }
    let found = match asker.found {
        Found::Address => say(Say::ByAddress).to_owned(),
        Found::Name => say(Say::ByName).to_owned(),
        Found::Several => say(Say::BySeveral).replace("{count}", &asker.sharing.to_string()),
        Found::Nobody => say(Say::ByNothing).to_owned(),
        Found::NoList => say(Say::NoList).to_owned(),
    };
    match &asker.person {
        Some(person) => {
            line(Say::OnFile, &format!("{} ({found})", person.name.expose()));
            line(Say::Contacts, &contacts(person).join(", "));
        }
        None => line(Say::OnFile, &found),
    }
    if let Some(since) = asker.since {
        let since = print::date(since).to_string();
        let new = if asker.is_new { Say::SinceNew } else { Say::Since };
        line(Say::Address, &say(new).replace("{date}", &since));
    }
    for one in &asker.seen {
        line(Say::Found, &evidence(one.kind, &one.fields, language));
    }
    for one in documents(seen) {
        let item = print::brief(&one.item);
        let found = pictures::line(one, tongue(language));
        line(Say::Available, &format!("{} {item}, {found}", words::kind(Kind::Id, language)));
        for warning in pictures::warnings(one, tongue(language)) {
            line(Say::Beware, &format!("{item}: {warning}"));
        }
    }
    for (one, words) in &asker.recorded {
        let by = one.by.map(|by| member(roster, by)).unwrap_or_default();
        let what = evidence(one.kind, &one.fields, language);
        let text = format!("{what}, {by}, {}: {}", print::moment(one.minute), words.expose());
        line(Say::Recorded, &text);
    }
    line(
        Say::Reaches,
        &format!("{}: {}", asker.reached(), words::level(asker.reached(), language)),
    );
    for proof in &asker.proofs {
        let by = member(roster, proof.by());
        let reason = proof.reason().map(|r| format!(": {}", r.expose())).unwrap_or_default();
        let when = print::moment(proof.minute());
        line(Say::Accepted, &format!("{}, {by}, {when}{reason}", proof.summary()));
    }
    for (doubt, reason) in &asker.doubts {
        let by = member(roster, doubt.by());
        line(Say::Doubt, &format!("{by}, {}: {}", print::moment(doubt.minute()), reason.expose()));
    }
    for (word, said) in copies::lines(card, roster, language) {
        lines.push(format!("  {word:<13} {said}"));
    }
    lines.push(String::new());
    for need in needs {
        let state = if need.is_accepted {
            say(if need.level == Level::L0 { Say::NothingNeeded } else { Say::IsAccepted }).into()
        } else {
            let steps = need.steps.iter();
            steps
                .map(|step| step_words(*step, need.level, asker, language))
                .collect::<Vec<_>>()
                .join("; ")
        };
        let right = words::right(need.right, language);
        lines.push(format!("  {:<13} {right}: {} {state}", need.right.word(), need.level));
    }
    lines.push(String::new());
    lines.push(say(Say::NoCopy).to_owned());
    lines.join("\n")
}

fn step_words(step: Step, level: Level, asker: &Asker, language: Language) -> String {
    let text = words::step(step, language).replace("{level}", &level.to_string());
    let missing = asker.person.as_ref().map(missing_fields).unwrap_or_default();
    let missing: Vec<&str> = missing.iter().map(|field| words::field(*field, language)).collect();
    text.replace("{details}", &missing.join(", "))
}

/// Details that are on file and could be asked for.
fn missing_fields(person: &Person) -> Vec<Field> {
    let on_file = [
        (Field::BirthDate, person.birth.is_some()),
        (Field::Client, person.client.is_some()),
        (Field::StartDate, person.start.is_some()),
    ];
    on_file.into_iter().filter(|(_, is_there)| *is_there).map(|(field, _)| field).collect()
}

fn contacts(person: &Person) -> Vec<String> {
    let addresses = person.addresses.iter().map(|one| one.address.expose().clone());
    addresses.chain(person.phones.iter().map(|phone| phone.expose().clone())).collect()
}

fn evidence(kind: Kind, fields: &[Field], language: Language) -> String {
    let word = words::kind(kind, language);
    if fields.is_empty() {
        return word.to_owned();
    }
    let fields: Vec<&str> = fields.iter().map(|field| words::field(*field, language)).collect();
    format!("{word} ({})", fields.join(", "))
}

fn as_json(asker: &Asker, card: &CaseCard, needs: &[Need], roster: &Roster) -> Value {
    let (copies, checks) = copies::json(card, roster);
    let evidence = |one: &crate::identity::ladder::Evidence| {
        json!({
            "kind": one.kind.word(),
            "fields": one.fields.iter().map(|field| field.word()).collect::<Vec<_>>(),
            "by": one.by.map(|by| member(roster, by)),
            "time": print::timestamp(one.minute),
        })
    };
    let recorded = asker.recorded.iter().map(|(one, words)| {
        let mut value = evidence(one);
        value["words"] = json!(masked(words.expose()));
        value
    });
    let person = asker.person.as_ref().map(|person| {
        json!({
            "name": person.name.expose(),
            "contacts": contacts(person),
            "language": person.language.as_ref().map(|code| code.expose()),
        })
    });
    let proof = |proof: &Proof| {
        json!({
            "level": proof.level().to_string(),
            "reached": proof.reached().to_string(),
            "evidence": proof.evidence().iter().map(evidence).collect::<Vec<_>>(),
            "by": member(roster, proof.by()),
            "time": print::timestamp(proof.minute()),
            "reason": proof.reason().map(|reason| masked(reason.expose())),
        })
    };
    let doubts = asker.doubts.iter().map(|(doubt, reason)| {
        json!({
            "by": member(roster, doubt.by()),
            "time": print::timestamp(doubt.minute()),
            "reason": masked(reason.expose()),
        })
    });
    json!({
        "case": asker.case.to_string(),
        "sender": asker.sender.as_ref().map(|sender| json!({
            "name": masked(sender.name.expose()),
            "address": masked(sender.address.expose()),
            "domain_stands": sender.stands,
        })),
        "on_file": found_word(asker.found),
        "person": person,
        "address_since": asker.since.map(|since| print::date(since).to_string()),
        "address_is_new": asker.is_new,
        "other_letters": asker.others,
        "found": asker.seen.iter().map(evidence).collect::<Vec<_>>(),
        "recorded": recorded.collect::<Vec<_>>(),
        "reaches": asker.reached().to_string(),
        "accepted": asker.proofs.iter().map(proof).collect::<Vec<_>>(),
        "doubts": doubts.collect::<Vec<_>>(),
        "copies": copies,
        "checked": checks,
        "rights": needs.iter().map(|need| json!({
            "right": need.right.word(),
            "needs": need.level.to_string(),
            "accepted": need.is_accepted,
            "next": need.steps.iter().map(|step| step.word()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn found_word(found: Found) -> &'static str {
    match found {
        Found::Address => "address",
        Found::Name => "name",
        Found::Several => "several",
        Found::Nobody => "nobody",
        Found::NoList => "no-list",
    }
}
