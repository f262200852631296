//! Reading: one case in full, and single items. Every item that is opened is a look in the ledger.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use data_encoding::HEXLOWER;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::queue::{self, Closed};
use super::session::{self, Connection};
use super::unfinished::Unfinished;
use super::unmask::{self, Given, Unmasking};
use super::who::copies;
use super::{Error, Report, check, pictures, print, scanner};
use crate::case::notice::Silence;
use crate::casebook::detail::{ItemCard, ItemDetail, NoteSubject};
use crate::casebook::{Filter, Standing};
use crate::config::LONGEST_SCANNED;
use crate::identity::numbers::find::{find, masked};
use crate::identity::origin::{Origin, Outcome, Witness};
use crate::ids::{CaseId, ItemId};
use crate::inbox::scan;
use crate::letter::skeleton::Skeleton;
use crate::letter::{self, Mailbox, Role, Scan};
use crate::reply::Language;
use crate::reply::openpgp::Certificate;
use crate::request::deadline;
use crate::staff::client::{self, CaseView, Client, ItemView, LetterView, NoteView, SealedItem};
use crate::staff::verify::{Verified, verify_all};

/// Show one case: its letters with their texts, what is attached, notes and answers
///
/// Each text that is opened is a look in the ledger. Attachments are listed and not opened: `kluis
/// get` does that. Ids are shown by their first eight digits, which is enough to name them. National
/// numbers are masked in texts, subjects, names and notes: they may not be used for answering.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis show K-7F3Q-9M2X\n  kluis show K-7F3Q-9M2X --raw 1f0a > letter.eml"
)]
pub(super) struct Show {
    /// The case number
    #[arg(value_name = "CASE")]
    case: CaseId,
    /// Only this letter, byte for byte as it came; what was forgotten leaves a mark
    #[arg(long, value_name = "LETTER")]
    raw: Option<String>,
    /// Give the raw letter although the virus scanner warns of something in it, or could not be asked:
    /// the ledger says so
    #[arg(long, requires = "raw")]
    despite_scan: bool,
    /// Show national numbers as they were written: the ledger says so
    #[arg(long, conflicts_with = "raw")]
    numbers: bool,
    #[command(flatten)]
    unmasking: Unmasking,
    #[command(flatten)]
    connection: Connection,
}

/// Take an item out of the vault, decoded, into a file
///
/// The file gets a name of our own, never the sender's, and only when all of it was checked; no file
/// is overwritten. On standard output every piece was checked before it is written, but a later one
/// may not hold: then the exit code says so.
///
/// Instead of a copy of an identity document you get a picture that is black but for names, validity
/// and issuer; --unmasked with a reason gives the copy itself, and the ledger says so. What nobody could
/// look at needs that, too.
///
/// With --verify-all nothing is taken out: everything that you may read is opened and held against
/// the ledger, which gets a look for each item. Exit code 1 if something does not verify.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis get 1f0a33c2\n  kluis get 1f0a33c2 -o copy.pdf\n  kluis get 1f0a33c2 --unmasked --reason 'the name on the mask is cut'\n  kluis get --verify-all"
)]
pub(super) struct Get {
    /// The item: the first digits of its id are enough
    #[arg(required_unless_present = "verify_all")]
    item: Option<String>,
    /// Open everything, or all of one case, and write nothing
    #[arg(long, conflicts_with_all = ["item", "output", "unmasked"])]
    verify_all: bool,
    /// The file to write, or - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The case it belongs to: then only that case is looked through
    #[arg(long, value_name = "CASE")]
    case: Option<CaseId>,
    /// Take it out although the virus scanner warns of it, or could not be asked: the ledger says so
    #[arg(long)]
    despite_scan: bool,
    /// The socket of the clamd that looks at what was not scanned
    #[arg(long, value_name = "SOCKET", default_value = scan::USUAL_PLACE)]
    clamd: PathBuf,
    #[command(flatten)]
    unmasking: Unmasking,
    #[command(flatten)]
    connection: Connection,
}

impl Show {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        if self.unmasking.is_wanted() && self.raw.is_none() {
            return Err(Error::usage("--unmasked is about the raw letter")
                .hint("`kluis show CASE --raw LETTER --unmasked --reason WORDS`"));
        }
        self.unmasking.check()?;
        let mut client = self.connection.open()?;
        if let Some(start) = &self.raw {
            let case = client.case(self.case)?;
            let letter = session::letter_of(&case, start)?;
            let letter = case.letters.iter().find(|view| view.id() == letter);
            let letter = letter.ok_or_else(not_readable)?;
            let (raw, warned) = raw(&mut client, letter, self.despite_scan)?;
            // Bytes that are in this program leave it only behind this.
            unmask::may_leave(&mut client, (&case, letter), &self.unmasking)?;
            for item in warned {
                client.override_warning(item)?;
            }
            return write_raw(&raw);
        }
        let (mut cases, closed) = queue::open_and_list(&mut client, Filter::Case(self.case))?;
        let case = cases.pop().ok_or_else(not_readable)?;
        let texts = texts(&mut client, &case)?;
        let notes = client.notes(self.case)?;
        if self.numbers {
            for letter in case.letters.iter().filter(|letter| has_numbers(letter, &texts)) {
                client.numbers_shown(self.case, letter.id())?;
            }
        }
        let page = Page { texts: &texts, numbers: self.numbers };
        let mut text = as_text(&case, &page, &notes, &closed);
        let mut value = as_json(&case, &page, &notes, &closed);
        let seen = pictures::sealed(&mut client, &case, &texts)?;
        text.push('\n');
        for line in pictures::lines(&seen, self.case) {
            let _ = writeln!(text, "identity {line}");
        }
        value["identity"] = pictures::to_json(&seen, false);
        (value["copies"], value["checked"]) = (json!([]), json!([]));
        if copies::is_any(&case.card) {
            let roster = client.roster()?.roster;
            text.push('\n');
            for (word, said) in copies::lines(&case.card, &roster, Language::En) {
                let _ = writeln!(text, "{word:<7} {said}");
            }
            (value["copies"], value["checked"]) = copies::json(&case.card, &roster);
        }
        Ok(Report::new(text, value))
    }
}

/// What is shown of texts, and how.
struct Page<'a> {
    texts: &'a HashMap<ItemId, String>,
    /// National numbers, too.
    numbers: bool,
}

impl Page<'_> {
    /// Something that somebody wrote, as it is shown.
    fn shown(&self, text: &str) -> String {
        if self.numbers { text.to_owned() } else { masked(text) }
    }

    fn from(&self, letter: &LetterView) -> String {
        self.shown(&queue::from_as_written(letter))
    }

    fn subject(&self, letter: &LetterView) -> Option<String> {
        queue::subject_as_written(letter).map(|subject| self.shown(&subject))
    }

    fn mailboxes(&self, all: &[Mailbox]) -> Vec<String> {
        all.iter().map(|one| self.shown(&mailbox(one))).collect()
    }
}

/// Whether something of a letter that would be shown holds a national number.
fn has_numbers(letter: &LetterView, texts: &HashMap<ItemId, String>) -> bool {
    let Some(detail) = &letter.detail else { return false };
    let headers = &detail.headers;
    let named = [&headers.from, &headers.to, &headers.reply_to].into_iter().flatten().map(mailbox);
    let subject = queue::subject_as_written(letter);
    let bodies = detail.items.iter().filter_map(|item| texts.get(&item.id)).cloned();
    named.chain(subject).chain(bodies).any(|text| !find(&text).is_empty())
}

pub(super) fn not_readable() -> Error {
    Error::new("the letter cannot be read").hint("`kluis check` says what is damaged")
}

/// The bodies that are shown, opened: plain text, and HTML where a letter has nothing else. One
/// that does not open costs its own text only.
pub(super) fn texts(
    client: &mut Client,
    case: &CaseView,
) -> Result<HashMap<ItemId, String>, Error> {
    let mut texts = HashMap::new();
    for id in case.letters.iter().flat_map(bodies) {
        match client.look(&[id]) {
            Ok(items) => texts.extend(items.iter().map(|item| (item.id, text_of(item)))),
            Err(error @ (client::Error::Vault(_) | client::Error::Forgotten)) => {
                texts.insert(id, format!("[kluis: {error}]"));
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(texts)
}

fn bodies(letter: &LetterView) -> Vec<ItemId> {
    let Some(detail) = &letter.detail else { return Vec::new() };
    let bodies: Vec<&ItemCard> = detail
        .items
        .iter()
        .filter(|item| item.role == Role::Body && !is_forgotten(letter, item.id))
        .collect();
    // Plain text stands for the page beside it, not for one of another message.
    let has_plain = |page: &ItemCard| {
        let place = |item: &ItemCard| (item.depth, item.container);
        bodies.iter().any(|item| item.media_type != HTML && place(item) == place(page))
    };
    let shown = bodies.iter().filter(|item| item.media_type != HTML || !has_plain(item));
    shown.map(|item| item.id).collect()
}

const HTML: &str = "text/html";

fn is_forgotten(letter: &LetterView, item: ItemId) -> bool {
    letter.card.items.iter().any(|(id, _, forgotten)| *id == item && *forgotten)
}

fn text_of(item: &ItemView) -> String {
    let text = match &item.detail {
        ItemDetail::Leaf(leaf) => leaf.text.as_ref(),
        ItemDetail::Skeleton(_) => None,
    };
    let too_long = || {
        let id = print::brief(&item.id);
        format!("[kluis: too long to be shown with the other texts; `kluis get {id}` takes it out]")
    };
    text.map_or_else(too_long, |text| text.expose().clone())
}

/// A name and an address, as one line.
pub(super) fn mailbox(mailbox: &Mailbox) -> String {
    match &mailbox.name {
        Some(name) if !name.expose().trim().is_empty() => {
            format!("{} <{}>", name.expose(), mailbox.address.expose())
        }
        _ => mailbox.address.expose().clone(),
    }
}

/// Signatures that are shown of one letter.
const MOST_SIGNATURES: usize = 4;
/// What stands before every line that the sender wrote.
const MARGIN: &str = "  | ";

fn as_text(case: &CaseView, page: &Page<'_>, notes: &[NoteView], closed: &[Closed]) -> String {
    let card = &case.card;
    let mut text = format!(
        "{}  {}\nreceived {}, due {}\n",
        card.case,
        queue::state(card),
        print::date(card.received),
        print::date(card.due),
    );
    if card.notices_held > 0 {
        let held = print::count(card.notices_held, "notice is", "notices are");
        let _ = writeln!(text, "{held} composed and held");
    }
    for (count, words) in [
        (card.notices.0, "a notice went out"),
        (card.notices.1, "a notice was refused, or grew too old"),
        (card.notices.2, "nobody knows whether a notice went out: it is not sent again"),
        (card.returned, "a mail of ours could not be delivered"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{words}");
        }
    }
    for letter in &case.letters {
        letter_text(&mut text, letter, page);
    }
    for closed in closed {
        let _ = writeln!(text, "\n{}", closed.line());
    }
    if !notes.is_empty() {
        text.push_str("\nnotes\n");
    }
    for note in notes {
        let about = print::words(&note.detail.subject);
        let _ = writeln!(text, "  {}  {about}", print::moment(note.minute));
        let words = page.shown(note.detail.words.expose());
        text.push_str(&print::terminal_text(&words, MARGIN));
        if let Some(fingerprint) = fingerprint(note) {
            let _ = writeln!(text, "{MARGIN}key {fingerprint}");
        }
    }
    let (sent, delivered, failed) = card.answers;
    if sent > 0 {
        let sent = print::count(sent, "answer", "answers");
        let _ = writeln!(text, "\n{sent}: {delivered} delivered, {failed} refused");
    }
    text
}

fn letter_text(text: &mut String, letter: &LetterView, page: &Page<'_>) {
    let texts = page.texts;
    let card = &letter.card;
    let _ = write!(
        text,
        "\nletter {}  {}",
        print::brief(&letter.id()),
        print::moment(card.boxed.minute)
    );
    if card.redelivered > 0 {
        let _ =
            write!(text, "  delivered {} more", print::count(card.redelivered, "time", "times"));
    }
    text.push('\n');
    let Some(detail) = &letter.detail else {
        let why = match card.boxed.standing {
            Standing::Forgotten => "forgotten",
            Standing::LeftOut => "left out: the listing would be too long",
            Standing::Kept | Standing::Damaged => "damaged",
        };
        let _ = writeln!(text, "  {why}");
        return;
    };
    let headers = &detail.headers;
    let mut line = |word: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {word:<9} {}", print::terminal_safe(value));
        }
    };
    line("from", &page.from(letter));
    line("to", &page.mailboxes(&headers.to).join(", "));
    line("reply to", &page.mailboxes(&headers.reply_to).join(", "));
    line("envelope", &page.shown(detail.envelope.mail_from.expose()));
    line("subject", &page.subject(letter).unwrap_or_default());
    line("origin", &detail.origin.as_ref().map(origin_line).unwrap_or_default());
    line("no notice", detail.silence.map_or("", |silence| silence.words()));
    line("signed", detail.signature.as_ref().map_or("", |words| words.expose()));
    if card.opened {
        line("encrypted", "yes, and opened");
    }
    let findings: Vec<String> = detail.findings.iter().map(print::words).collect();
    line("findings", &findings.join(", "));
    if !page.numbers && has_numbers(letter, texts) {
        line("numbers", "a national number is masked; --numbers shows it, and the ledger says so");
    }
    for item in detail.items.iter().filter(|item| texts.contains_key(&item.id)) {
        text.push('\n');
        text.push_str(&print::terminal_text(&page.shown(&texts[&item.id]), MARGIN));
    }
    let others: Vec<Vec<String>> = detail
        .items
        .iter()
        .filter(|item| item.role != Role::Body || !texts.contains_key(&item.id))
        .map(|item| item_row(letter, item))
        .collect();
    if !others.is_empty() {
        let table = print::table(&["ITEM", "TYPE", "SIZE", ""], &others);
        text.push('\n');
        for row in table.lines() {
            let _ = writeln!(text, "  {row}");
        }
    }
}

/// What the network says of a sender, in one line.
pub(super) fn origin_line(origin: &Origin) -> String {
    let mut parts = vec![format!("DMARC {}", origin.dmarc.name())];
    if origin.spf != Outcome::None {
        parts.push(format!("SPF {} ({})", origin.spf.name(), origin.spf_domain.expose()));
    }
    for one in origin.dkim.iter().take(MOST_SIGNATURES) {
        parts.push(format!("DKIM {} ({})", one.outcome.name(), one.domain.expose()));
    }
    if !origin.finished {
        parts.push("not finished".into());
    }
    let by = match origin.by {
        Witness::Ourselves => "",
        Witness::Upstream => ", says the server in front",
    };
    format!("{}: {}{by}", origin.author.expose(), parts.join(", "))
}

fn origin_json(origin: &Origin) -> Value {
    let signatures = origin.dkim.iter().map(|one| {
        json!({
            "result": one.outcome.name(),
            "domain": one.domain.expose(),
            "selector": one.selector.expose(),
        })
    });
    json!({
        "by": print::words(&origin.by),
        "author": origin.author.expose(),
        "aligned": origin.is_aligned(origin.author.expose()),
        "spf": { "result": origin.spf.name(), "domain": origin.spf_domain.expose() },
        "dkim": signatures.collect::<Vec<_>>(),
        "dmarc": { "result": origin.dmarc.name(), "policy": origin.policy.as_ref().map(print::words) },
        "finished": origin.finished,
        "fields": origin.fields.iter().map(|field| field.expose()).collect::<Vec<_>>(),
    })
}

fn item_row(letter: &LetterView, item: &ItemCard) -> Vec<String> {
    let stored = letter.card.items.iter().find(|(id, _, _)| *id == item.id);
    let size = stored.map_or_else(String::new, |(_, bucket, _)| print::size(*bucket));
    let mut remarks = Vec::new();
    if is_forgotten(letter, item.id) {
        remarks.push("forgotten".to_owned());
    }
    if item.depth > 0 {
        remarks.push(format!("inside {}", print::count(item.depth, "message", "messages")));
    }
    if let Some(container) = container(letter, item) {
        remarks.push(format!("out of {}", print::brief(&container)));
    }
    let media_type = print::short(&item.media_type, 40);
    vec![print::brief(&item.id), media_type, size, remarks.join(", ")]
}

/// What an item was taken out of.
fn container(letter: &LetterView, item: &ItemCard) -> Option<ItemId> {
    let cards = &letter.detail.as_ref()?.items;
    cards.get(item.container? as usize).map(|card| card.id)
}

fn fingerprint(note: &NoteView) -> Option<String> {
    (note.detail.subject == NoteSubject::ConfirmedKey)
        .then(|| Certificate::parse(&note.detail.attached).ok())?
        .map(|certificate| certificate.fingerprint().into_exposed())
}

fn as_json(case: &CaseView, page: &Page<'_>, notes: &[NoteView], closed: &[Closed]) -> Value {
    let mut value = queue::to_json(case, deadline::received_on(session::now()));
    let letters = case.letters.iter().map(|letter| letter_json(letter, page));
    value["letters"] = letters.collect();
    value["notes"] = notes
        .iter()
        .map(|note| {
            json!({
                "time": print::timestamp(note.minute),
                "about": print::words(&note.detail.subject),
                "words": page.shown(note.detail.words.expose()),
                "letter": note.detail.letter.map(|id| id.to_string()),
                "key": fingerprint(note),
            })
        })
        .collect();
    value["not_opened"] = closed.iter().map(Closed::to_json).collect();
    value
}

fn letter_json(letter: &LetterView, page: &Page<'_>) -> Value {
    let mut value = json!({
        "letter": letter.id().to_string(),
        "received": print::timestamp(letter.card.boxed.minute),
        "redelivered": letter.card.redelivered,
        "standing": print::words(&letter.card.boxed.standing),
        "opened": letter.card.opened,
    });
    let Some(detail) = &letter.detail else { return value };
    let list = |all: &[Mailbox]| page.mailboxes(all);
    let headers = &detail.headers;
    value["from"] = json!(list(&headers.from));
    value["to"] = json!(list(&headers.to));
    value["reply_to"] = json!(list(&headers.reply_to));
    value["envelope_from"] = json!(page.shown(detail.envelope.mail_from.expose()));
    value["envelope_to"] = detail.envelope.rcpt_to.iter().map(|to| to.expose().clone()).collect();
    value["subject"] = json!(page.subject(letter));
    value["numbers_masked"] = json!(!page.numbers && has_numbers(letter, page.texts));
    value["message_id"] = json!(headers.message_id.as_ref().map(|id| id.expose()));
    value["protection"] = json!(print::words(&detail.protection));
    value["signature"] = json!(detail.signature.as_ref().map(|words| words.expose()));
    value["findings"] = detail.findings.iter().map(print::words).collect();
    value["origin"] = json!(detail.origin.as_ref().map(origin_json));
    value["no_notice"] = json!(detail.silence.map(Silence::words));
    value["length"] = json!(detail.length);
    value["items"] = detail
        .items
        .iter()
        .map(|item| {
            let stored = letter.card.items.iter().find(|(id, _, _)| *id == item.id);
            json!({
                "item": item.id.to_string(),
                "role": print::words(&item.role),
                "media_type": item.media_type,
                "size_at_most": stored.map(|(_, bucket, _)| 1u64 << (*bucket).min(63)),
                "forgotten": is_forgotten(letter, item.id),
                "depth": item.depth,
                "container": container(letter, item).map(|id| id.to_string()),
                "text": page.texts.get(&item.id).map(|text| page.shown(text)),
            })
        })
        .collect();
    value
}

/// The raw message, from its skeleton and what is left of its items; and which of them the virus scanner
/// warns of. Each is a look.
fn raw(
    client: &mut Client,
    letter: &LetterView,
    despite_scan: bool,
) -> Result<(Vec<u8>, Vec<ItemId>), Error> {
    let detail = letter.detail.as_ref().ok_or_else(not_readable)?;
    let kept = |id: &ItemId| !is_forgotten(letter, *id);
    let skeleton = detail.skeleton.ok_or_else(|| {
        Error::new("this letter is no mail, but documents").hint("`kluis get ITEM` takes them out")
    })?;
    let parts = || detail.items.iter().filter(|item| item.container.is_none()).map(|item| item.id);
    let mut wanted = vec![skeleton];
    wanted.extend(parts().filter(kept));
    let views = client.look(&wanted)?;
    let is_warned = |view: &&ItemView| !matches!(scan_of(&view.detail), None | Some(Scan::Clean));
    let warned: Vec<ItemId> = views.iter().filter(is_warned).map(|view| view.id).collect();
    if !warned.is_empty() && !despite_scan {
        let words = "the virus scanner warns of something in this letter, or could not be asked";
        return Err(Error::new(words)
            .hint("--despite-scan gives it all the same, and the ledger says who did"));
    }
    let find = |id: ItemId| views.iter().find(|view| view.id == id);
    let skeleton =
        find(skeleton).and_then(|view| Skeleton::decode(&view.stored)).ok_or_else(not_readable)?;
    let contents: Vec<Option<&[u8]>> =
        parts().map(|id| find(id).map(|view| view.stored.as_slice())).collect();
    Ok((skeleton.rebuild(&contents), warned))
}

/// What the virus scanner said of an item, or of what stands around all of them.
fn scan_of(detail: &ItemDetail) -> Option<Scan> {
    match detail {
        ItemDetail::Leaf(leaf) => leaf.scan,
        ItemDetail::Skeleton(scan) => *scan,
    }
}

/// Bytes of a letter: as they are into a file or a pipe, made harmless on a terminal.
fn write_raw(raw: &[u8]) -> Result<Report, Error> {
    if std::io::stdout().is_terminal() {
        let text = print::terminal_text(&String::from_utf8_lossy(raw), "");
        return Ok(Report { text, ..Report::default() });
    }
    print::write_out(raw)?;
    Ok(Report::default())
}

impl Get {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        let Some(start) = &self.item else { return self.verify_all(json) };
        let to_stdout = self.output.as_deref() == Some(Path::new("-"));
        if to_stdout && std::io::stdout().is_terminal() {
            return Err(Error::usage("an item is not written to a terminal")
                .hint("write it to a file with -o, or into a pipe"));
        }
        self.unmasking.check()?;
        // Before anything is disclosed that could then not be written.
        if let Some(path) = self.output.as_ref().filter(|path| !to_stdout && path.exists()) {
            return Err(Error::io(path.display(), &std::io::ErrorKind::AlreadyExists.into()));
        }
        let mut client = self.connection.open()?;
        let item = match self.case {
            Some(case) => session::item_of(&client.case(case)?, start)?,
            None => session::item_anywhere(&mut client, start)?,
        };
        let item = client.look_at(&[item])?.pop().ok_or_else(not_readable)?;
        if is_enclosed_message(&item) {
            return Err(Error::new("an enclosed message is kept as its parts, which are items")
                .hint("`kluis show CASE --raw LETTER` gives the letter with it, byte for byte"));
        }
        let said = scan_of(&item.detail);
        let warning = warning(&mut client, &item, said, &self.clamd)?;
        if let Some(warning) = warning.filter(|_| !self.despite_scan) {
            return Err(Error::new(warning)
                .hint("--despite-scan takes it out all the same, and the ledger says who did"));
        }
        let given = unmask::given(&mut client, &item, &self.unmasking)?;
        if warning.is_some() {
            client.override_warning(item.id)?;
        }
        let remark = given.remark();
        if to_stdout {
            remark.iter().for_each(|remark| unmask::note(remark));
            let mut out = std::io::stdout();
            write_given(&mut client, item, &given, &mut out)?;
            out.flush().map_err(|error| Error::io("standard output", &error))?;
            return Ok(Report::default());
        }
        let path = self.output.unwrap_or_else(|| own_name(&item, &given).into());
        let is_masked = matches!(given, Given::Masked(..));
        let shown = String::from_utf8_lossy(item.name.expose()).into_owned();
        let shown = if is_masked { masked(&shown) } else { shown };
        let mut said = json!({
            "file": path,
            "item": item.id.to_string(),
            "case": item.case.to_string(),
            "name": shown,
            "media_type": item.media_type(),
            "masked": is_masked,
            "remark": remark,
        });
        if !is_masked && std::str::from_utf8(item.name.expose()).is_err() {
            said["name_hex"] = json!(HEXLOWER.encode(item.name.expose()));
        }
        let name = print::terminal_safe(&shown);
        let mut file = Unfinished::new(&path)?;
        let length = write_given(&mut client, item, &given, &mut file.file)?;
        file.finish(&path)?;
        let called = if name.is_empty() { String::new() } else { format!("\nsent as  {name}") };
        let bytes = print::count(length, "byte", "bytes");
        said["bytes"] = length.into();
        let remark = remark.map_or_else(String::new, |remark| format!("\n{remark}"));
        Ok(Report::new(format!("written  {} ({bytes}){called}{remark}", path.display()), said))
    }
}

/// What is to be said before an item leaves. One that was not scanned when it came is scanned now, by
/// the clamd of this machine: the server does not get to see it again.
fn warning(
    client: &mut Client,
    item: &SealedItem,
    said: Option<Scan>,
    clamd: &Path,
) -> Result<Option<&'static str>, Error> {
    const INFECTED: &str = "the virus scanner knows something in this item";
    match said {
        None | Some(Scan::Clean) => return Ok(None),
        Some(Scan::Infected) => return Ok(Some(INFECTED)),
        Some(Scan::NotScanned) => {}
    }
    if item.length() > LONGEST_SCANNED {
        return Ok(Some("this item is too long for a virus scanner: none saw it"));
    }
    let mut content = Vec::new();
    client.fetch(item, &mut |part| {
        content.extend_from_slice(part);
        Ok(())
    })?;
    if let ItemDetail::Leaf(leaf) = &item.detail {
        content = letter::content(leaf, &content);
    }
    Ok(match scanner::Here::at(clamd)?.ask(&content) {
        Scan::Clean => None,
        Scan::Infected => Some(INFECTED),
        Scan::NotScanned => {
            Some("this item was not scanned when it came, and no virus scanner answers here")
        }
    })
}

/// Writes the item, or the picture in its place; says how many bytes.
fn write_given(
    client: &mut Client,
    item: SealedItem,
    given: &Given,
    to: &mut (impl std::io::Write + Send),
) -> Result<u64, Error> {
    let Given::Masked(png, _) = given else { return write_content(client, item, to) };
    to.write_all(png).map_err(client::Error::Sink)?;
    Ok(png.len() as u64)
}

/// Writes what a person gets who opens the item; says how many bytes. What is stored decoded goes
/// through in constant memory.
fn write_content(
    client: &mut Client,
    item: SealedItem,
    to: &mut (impl std::io::Write + Send),
) -> Result<u64, Error> {
    if !item.is_stored_as_content() {
        let content = client.open(item)?.content();
        to.write_all(&content).map_err(client::Error::Sink)?;
        return Ok(content.len() as u64);
    }
    let bar = progress(item.length());
    client.fetch(&item, &mut |part| {
        bar.inc(part.len() as u64);
        to.write_all(part)
    })?;
    bar.finish_and_clear();
    Ok(item.length())
}

/// Content that is worth a progress bar, in bytes.
const LONG: u64 = 32 << 20;

/// A bar on standard error, if it is a terminal and there is something to wait for.
fn progress(length: u64) -> ProgressBar {
    if length < LONG {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

impl Get {
    fn verify_all(&self, json: bool) -> Result<Report, Error> {
        let mut client = self.connection.open()?;
        let bar = check::progress(json);
        let verified = verify_all(&mut client, self.case, &|done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        Ok(verified_report(&verified?))
    }
}

fn verified_report(verified: &Verified) -> Report {
    let mut text = format!(
        "{} verified, {} of content; {} forgotten, {} of the server's own\n",
        print::count(verified.boxes, "box", "boxes"),
        print::count(verified.bytes, "byte", "bytes"),
        verified.forgotten,
        verified.servers,
    );
    let mut faults = Vec::with_capacity(verified.faults.len());
    for fault in &verified.faults {
        let kind = print::words(&fault.kind);
        let item = fault.is_of_item().then(|| fault.item.to_string());
        let case = fault.case.map(|case| case.to_string());
        let named = item.clone().unwrap_or_else(|| fault.letter.to_string());
        let of = case.as_ref().map_or_else(String::new, |case| format!(" of {case}"));
        let line = format!("{kind} {named}{of}: {}", fault.why);
        let _ = writeln!(text, "{}", print::terminal_safe(&line));
        faults.push(json!({
            "kind": kind,
            "case": case,
            "letter": fault.letter.to_string(),
            "item": item,
            "why": fault.why,
        }));
    }
    if verified.more_faults > 0 {
        let _ = writeln!(text, "and {} more", verified.more_faults);
    }
    let json = json!({
        "verified": verified.boxes,
        "bytes": verified.bytes,
        "forgotten": verified.forgotten,
        "servers": verified.servers,
        "problems": faults,
        "more_problems": verified.more_faults,
    });
    Report { problems: !verified.faults.is_empty(), ..Report::new(text, json) }
}

/// Whether it only says that a message is enclosed there (vault-format §7).
fn is_enclosed_message(item: &SealedItem) -> bool {
    let encloses = item.media_type().starts_with("message/");
    let is_whole = matches!(&item.detail, ItemDetail::Leaf(leaf) if leaf.container.is_none());
    encloses && is_whole && item.length() == 0
}

/// A file name of our own: case, item, and an ending by what the bytes are.
fn own_name(item: &SealedItem, given: &Given) -> String {
    if matches!(given, Given::Masked(..)) {
        return format!("{}-{}-masked.png", item.case, print::brief(&item.id));
    }
    let magic = match &item.detail {
        ItemDetail::Leaf(leaf) => leaf.magic.as_deref(),
        ItemDetail::Skeleton(_) => None,
    };
    let ending = crate::letter::media_type::ending(magic.unwrap_or(item.media_type()));
    format!("{}-{}.{ending}", item.case, print::brief(&item.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Personal;

    #[test]
    fn a_sender_is_shown_by_name_and_address() {
        let sender = |name: Option<&str>| Mailbox {
            name: name.map(|name| Personal::new(name.to_owned())),
            address: Personal::new("lotte@example.org".into()),
        };
        assert_eq!(mailbox(&sender(Some("Lotte"))), "Lotte <lotte@example.org>");
        assert_eq!(mailbox(&sender(Some(" "))), "lotte@example.org");
        let page = Page { texts: &HashMap::new(), numbers: false };
        let both = page.mailboxes(&[sender(None), sender(Some("85.07.30-033.28"))]);
        assert_eq!(both, ["lotte@example.org", "••.••.••-•••.•• <lotte@example.org>"]);
    }

    #[test]
    fn a_text_that_was_too_much_is_not_shown_as_it_was_sent() {
        let page = b"<p>Beste</p>";
        let leaf = letter::Letter::unparsed(page).items.remove(0);
        let mut item = ItemView {
            id: ItemId::random(),
            letter: crate::ids::LetterId::random(),
            case: CaseId::random(),
            name: Personal::new(Vec::new()),
            media_type: HTML.into(),
            detail: ItemDetail::Leaf(Box::new(leaf.clone())),
            stored: page.to_vec().into(),
        };
        let said = text_of(&item);
        assert!(said.contains("kluis get") && !said.contains("Beste"), "{said}");
        let text = Some(Personal::new("Beste".to_owned()));
        item.detail = ItemDetail::Leaf(Box::new(letter::Item { text, ..leaf }));
        assert_eq!(text_of(&item), "Beste");
    }
}
