//! Opens encrypted letters at the desk: decrypt, parse in a confined child, seal the parts, record.
//!
//! The gateway cannot do it: it has no key, and must not become an oracle. What cannot be opened
//! says why and stays.

use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::client::{CaseView, Client, Error, LetterView};
use super::openpgp::{self, Signature, Undecryptable};
use super::pictures::AskReader;
use super::sealing::Sealing;
use crate::casebook::detail::{ItemDetail, LetterDetail, NoteSubject};
use crate::casebook::{Act, looking};
use crate::ids::{CaseId, ItemId, LetterId};
use crate::letter::skeleton::{self, Skeleton};
use crate::letter::{self, Finding, Letter, Protection, Scan};
use crate::reply::openpgp::{Certificate, MailboxKey};
use crate::sandbox::Sandbox;

/// What became of an encrypted letter.
pub enum Outcome {
    /// It was opened: this is the letter that was inside.
    Opened(LetterId),
    /// It stays closed, and why.
    Closed(Undecryptable),
}

/// What a virus scanner of this machine says.
pub type AskScanner<'a> = dyn Fn(&[u8]) -> Scan + 'a;

/// Who is asked on this machine about what was inside, which nobody could see before.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    /// A virus scanner.
    pub scanner: Option<&'a AskScanner<'a>>,
    /// What reads pictures.
    pub reader: Option<&'a AskReader<'a>>,
}

/// The item that holds the ciphertext, if the letter is encrypted and was not opened yet.
#[must_use]
pub fn ciphertext(letter: &LetterView) -> Option<ItemId> {
    let detail = letter.detail.as_ref().filter(|_| !letter.card.opened)?;
    match detail.protection {
        Protection::OpenPgp(at) => detail.items.get(at as usize).map(|card| card.id),
        _ => None,
    }
}

/// Opens every encrypted letter of a case that was not opened yet. Gives the outcomes with the
/// outer letters.
///
/// Runs children of `sandbox` in a runtime of its own: call it outside of any.
///
/// # Errors
/// See [`Error`]; what was opened before the error is recorded.
pub fn open_encrypted(
    client: &mut Client,
    sandbox: &Sandbox,
    asked: Asked<'_>,
    case: &CaseView,
    now: u64,
) -> Result<Vec<(LetterId, Outcome)>, Error> {
    let closed: Vec<(&LetterView, ItemId)> = case
        .letters
        .iter()
        .filter_map(|letter| ciphertext(letter).map(|item| (letter, item)))
        .collect();
    if closed.is_empty() {
        return Ok(Vec::new());
    }
    let keys = client.mailbox_keys()?;
    let senders = confirmed_keys(client, case.card.case)?;
    let parser = Parser::new(sandbox, asked);
    let mut outcomes = Vec::with_capacity(closed.len());
    for (letter, item) in closed {
        let outcome =
            open_letter(client, &parser, case.card.case, letter, item, (&keys, &senders), now)?;
        outcomes.push((letter.id(), outcome));
    }
    Ok(outcomes)
}

fn open_letter(
    client: &mut Client,
    parser: &Parser<'_>,
    case: CaseId,
    letter: &LetterView,
    item: ItemId,
    (keys, senders): (&[MailboxKey], &[Certificate]),
    now: u64,
) -> Result<Outcome, Error> {
    let view = client.look(&[item])?.pop().ok_or(Error::Unexpected)?;
    let outer = letter.detail.as_ref().ok_or(Error::Unexpected)?;
    let decrypted = match openpgp::decrypt(&view.content(), keys, senders, now) {
        Ok(decrypted) => decrypted,
        Err(why) => {
            note_closed(client, case, letter.id(), why)?;
            return Ok(Outcome::Closed(why));
        }
    };
    let heading = heading(outer, &view.media_type, &decrypted.plaintext);
    let (mut inner, skeleton, contents) = parser.parse(heading, &decrypted.plaintext);
    let around = parser.scan(&mut inner, &skeleton, &contents, &view.detail);
    parser.look(&mut inner, &contents);
    let mut sealing = Sealing::new(case, Act::OpenLetter, client.sealing()?);
    let signature = in_words(&decrypted.signature);
    let opened = sealing.letter(item, outer, &inner, (&skeleton, around), &contents, &signature);
    client.record(sealing.finish())?;
    Ok(Outcome::Opened(opened))
}

/// The header to read the content under: none if it has its own. People also encrypt a text and put
/// the armor where the text was, or a file and attach it: their first lines are no header, whatever
/// they look like.
fn heading(outer: &LetterDetail, media_type: &str, content: &[u8]) -> &'static [u8] {
    let is_text = media_type.starts_with("text/");
    // RFC 3156 §4: what stands in its place is an entity, even one whose header is empty.
    let in_place = !is_text && !outer.findings.contains(&Finding::MangledEncryption);
    match is_text {
        _ if in_place || is_entity(content) => b"",
        true => b"Content-Type: text/plain\r\n\r\n",
        false => {
            b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        }
    }
}

/// Whether it begins with header fields of which one is about the content (RFC 2045 §3).
fn is_entity(content: &[u8]) -> bool {
    let mut is_about_content = false;
    for line in content.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let is_field = name.len() < line.len() && name.iter().all(u8::is_ascii_graphic);
        if !is_field && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            return false;
        }
        is_about_content |=
            is_field && name.len() > 8 && name[..8].eq_ignore_ascii_case(b"content-");
    }
    is_about_content
}

/// The confined children and a runtime for as long as letters are opened, and who is asked about
/// what they find.
struct Parser<'a> {
    sandbox: &'a Sandbox,
    runtime: Option<Runtime>,
    asked: Asked<'a>,
}

impl<'a> Parser<'a> {
    fn new(sandbox: &'a Sandbox, asked: Asked<'a>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { sandbox, runtime: runtime.ok(), asked }
    }

    /// Has the pictures looked at that were inside, as the server does with those that come in clear.
    fn look(&self, inner: &mut Letter, contents: &[Vec<u8>]) {
        let seen = looking::look_with(inner, contents, self.asked.reader);
        inner.looked(&seen);
    }

    /// Asks the virus scanner about what was inside. Where none is at hand it was not scanned, if
    /// one is asked about what comes in: about `outer`, the ciphertext, at least one was.
    /// Gives what it says of what stands around the items.
    fn scan(
        &self,
        inner: &mut Letter,
        skeleton: &Skeleton,
        contents: &[Vec<u8>],
        outer: &ItemDetail,
    ) -> Option<Scan> {
        let is_due = matches!(outer, ItemDetail::Leaf(leaf) if leaf.scan.is_some());
        let leaves = inner.items.iter().zip(contents.iter().map(Vec::as_slice));
        let contained = inner.contained.iter().map(|one| (&one.item, one.content.as_slice()));
        let said = leaves.chain(contained).map(|(item, stored)| match self.asked.scanner {
            Some(ask) if letter::is_stored_as_content(item) => Some(ask(stored)),
            Some(ask) => Some(ask(&Zeroizing::new(letter::content(item, stored)))),
            None => is_due.then_some(Scan::NotScanned),
        });
        let said: Vec<Option<Scan>> = said.collect();
        let around = match self.asked.scanner {
            _ if skeleton.bytes.is_empty() => None,
            Some(ask) => Some(ask(&skeleton.bytes)),
            None => is_due.then_some(Scan::NotScanned),
        };
        inner.scanned(&said, around);
        around
    }

    /// Parses under `heading`; whole if that fails.
    fn parse(&self, heading: &[u8], content: &[u8]) -> (Letter, Skeleton, Vec<Vec<u8>>) {
        let mut headed = Zeroizing::new(Vec::with_capacity(heading.len() + content.len()));
        headed.extend_from_slice(heading);
        headed.extend_from_slice(content);
        let answer =
            self.runtime.as_ref().map(|runtime| runtime.block_on(self.sandbox.run(&headed)));
        let parsed = answer
            .and_then(Result::ok)
            .and_then(|bytes| Letter::from_answer(&bytes))
            .and_then(|mut letter| {
                for item in &mut letter.items {
                    // A leaf is in no container, whatever the child says.
                    item.container = None;
                    item.start = item.start.checked_sub(heading.len())?;
                    item.end = item.end.checked_sub(heading.len())?;
                }
                Some(letter)
            });
        skeleton::cut_or_whole(parsed, content)
    }
}

impl Drop for Parser<'_> {
    fn drop(&mut self) {
        if let Some(runtime) = &self.runtime {
            runtime.block_on(self.sandbox.dismiss());
        }
    }
}

/// Remembers once that a letter stays closed.
fn note_closed(
    client: &mut Client,
    case: CaseId,
    letter: LetterId,
    why: Undecryptable,
) -> Result<(), Error> {
    let known = client.notes(case)?.iter().any(|note| {
        note.detail.subject == NoteSubject::Undecryptable && note.detail.letter == Some(letter)
    });
    if known {
        return Ok(());
    }
    let mut sealing = Sealing::new(case, Act::Note, client.sealing()?);
    sealing.note(NoteSubject::Undecryptable, &why.to_string(), Some(letter), Vec::new());
    client.record(sealing.finish()).map(drop)
}

/// The certificates that staff confirmed for a case, newest first.
///
/// # Errors
/// See [`Error`].
pub fn confirmed_keys(client: &mut Client, case: CaseId) -> Result<Vec<Certificate>, Error> {
    let notes = client.notes(case)?;
    let confirmed =
        notes.iter().rev().filter(|note| note.detail.subject == NoteSubject::ConfirmedKey);
    Ok(confirmed.filter_map(|note| Certificate::parse(&note.detail.attached).ok()).collect())
}

fn in_words(signature: &Signature) -> String {
    match signature {
        Signature::None => "not signed".into(),
        Signature::Good(fingerprint) => {
            format!("signed by the confirmed key {}", fingerprint.expose())
        }
        Signature::Bad => "signed, and the signature does not hold".into(),
        Signature::UnknownKey(Some(id)) => {
            format!("signed by a key that nobody confirmed: {}", id.expose())
        }
        Signature::UnknownKey(None) => "signed by a key that is not named".into(),
    }
}
