//! Opens encrypted letters at the desk: decrypt, parse in a confined child, seal the parts, record.
//!
//! The gateway cannot do it: it has no key, and must not become an oracle. What cannot be opened
//! says why and stays.

use zeroize::Zeroizing;

use super::client::{CaseView, Client, Error, LetterView};
use super::openpgp::{self, Signature, Undecryptable};
use super::sealing::Sealing;
use crate::casebook::Act;
use crate::casebook::detail::NoteSubject;
use crate::ids::{CaseId, ItemId, LetterId};
use crate::letter::skeleton::{self, Skeleton};
use crate::letter::{Letter, Protection};
use crate::reply::openpgp::{Certificate, MailboxKey};
use crate::sandbox::Sandbox;

/// What became of an encrypted letter.
pub enum Outcome {
    /// It was opened: this is the letter that was inside.
    Opened(LetterId),
    /// It stays closed, and why.
    Closed(Undecryptable),
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
/// # Errors
/// See [`Error`]; what was opened before the error is recorded.
pub fn open_encrypted(
    client: &mut Client,
    sandbox: &Sandbox,
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
    let mut outcomes = Vec::with_capacity(closed.len());
    for (letter, item) in closed {
        let outcome =
            open_letter(client, sandbox, case.card.case, letter, item, (&keys, &senders), now)?;
        outcomes.push((letter.id(), outcome));
    }
    Ok(outcomes)
}

fn open_letter(
    client: &mut Client,
    sandbox: &Sandbox,
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
    let (inner, skeleton, contents) = parse(sandbox, &decrypted.plaintext);
    let mut sealing = Sealing::new(case, Act::OpenLetter, client.sealing()?);
    let signature = in_words(&decrypted.signature);
    let opened = sealing.letter(item, outer, &inner, &skeleton, &contents, &signature);
    client.record(sealing.finish())?;
    Ok(Outcome::Opened(opened))
}

/// Parses in a confined child; whole if that fails.
fn parse(sandbox: &Sandbox, content: &Zeroizing<Vec<u8>>) -> (Letter, Skeleton, Vec<Vec<u8>>) {
    let parsed = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()
        .and_then(|runtime| runtime.block_on(sandbox.run(content)).ok())
        .and_then(|bytes| minicbor::decode::<Letter>(&bytes).ok());
    skeleton::cut_or_whole(parsed, content)
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
