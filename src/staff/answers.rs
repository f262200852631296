//! Composes an answer at the desk: gathers what goes into it, locks it, records it.
//!
//! Needs evidence that a person accepted, and a lock: a confirmed key or a code. Without either
//! there is no answer, and the reason is said.

use std::fmt;

use super::client::{Client, Error as ClientError};
use super::letters;
use super::sealing::Sealing;
use super::who;
use crate::casebook::Act;
use crate::casebook::detail::{ItemDetail, NoteSubject};
use crate::identity::Proof;
use crate::identity::ladder::{self, Evidence, Kind, Level, NotAccepted};
use crate::identity::numbers::told::{Told, told};
use crate::identity::people;
use crate::ids::{CaseId, ItemId};
use crate::letter::{Item, Scan};
use crate::reply::answer::{self, Answer, Attachment, Lock};
use crate::reply::code::Code;
use crate::reply::openpgp::Certificate;
use crate::reply::{ComposeError, Heading, Language};
use crate::request::deadline;
use crate::secret::Personal;

/// What a person wants to answer.
pub struct Draft {
    /// The case.
    pub case: CaseId,
    /// The subject, seen only by who opens the answer.
    pub subject: String,
    /// The text.
    pub text: String,
    /// Items of the case that go with it.
    pub items: Vec<ItemId>,
    /// Files that go with it.
    pub files: Vec<Attachment>,
    /// The language of what surrounds the answer.
    pub language: Language,
    /// Evidence that is accepted with the answer, and the words that explain it; else the proof that
    /// was accepted last for this case counts.
    pub proof: Option<(Kind, String)>,
    /// Lock it with a code even if there is a key.
    pub with_code: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server or the vault said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It could not be composed.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// Nobody accepted anything that shows who asks.
    #[error("nobody has accepted yet what shows who asks: nothing personal leaves")]
    NoProof,
    /// A copy of an identity document is to be accepted, and no check of one was recorded.
    #[error("nobody recorded yet that a copy of an identity document was checked")]
    NotChecked,
    /// An item that is to go with it is a copy of an identity document, or holds one.
    #[error("an item that is to go with it is a copy of an identity document, or holds one")]
    Copy,
    /// The words of the evidence tell what is forgotten with a copy of an identity document.
    #[error("the words of --proof hold {0}: they stay when the copy is forgotten")]
    Told(Told),
    /// It would go to an address that is not on file, or not for long.
    #[error(
        "the answer would go to an address that is not on file, or not for long: that needs {0}"
    )]
    UnknownAddress(Level),
    /// What is to be accepted with it is nothing.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    /// Neither a confirmed key nor a code.
    #[error("no key is confirmed for this case and no code was asked for: nothing leaves in clear")]
    NoLock,
    /// An item that is to go with it is known to the virus scanner, or was not scanned.
    #[error(
        "the virus scanner knows something in an item that is to go with it, or did not see it"
    )]
    Infected,
}

/// An answer that is on its way.
pub struct Sent {
    /// The code that opens it, for another channel; none if a key does.
    pub code: Option<Code>,
    /// The fingerprint of the key that opens it.
    pub key: Option<Personal<String>>,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sent")
    }
}

/// Confirms that a certificate is the person's of this case: answers are encrypted to the one that
/// was confirmed last. Gives its fingerprint.
///
/// # Errors
/// `Compose` if nothing can be encrypted to it `now` (seconds since 1970-01-01T00:00:00Z);
/// nothing was recorded then.
pub fn confirm_key(
    client: &mut Client,
    case: CaseId,
    certificate: &[u8],
    now: u64,
) -> Result<Personal<String>, Error> {
    let certificate = Certificate::parse(certificate).map_err(ComposeError::Key)?;
    certificate.check(now).map_err(ComposeError::Key)?;
    let attached = certificate.to_bytes().map_err(ComposeError::Key)?;
    let mut sealing = Sealing::new(case, Act::Note, client.sealing()?);
    sealing.note(NoteSubject::ConfirmedKey, "", None, attached);
    client.record(sealing.finish())?;
    Ok(certificate.fingerprint())
}

/// Composes and records; the gateway sends it.
///
/// # Errors
/// See [`Error`]; nothing leaves then, and nothing was recorded but perhaps the proof.
pub fn send(client: &mut Client, draft: Draft, now: u64) -> Result<Sent, Error> {
    let confirmed = letters::confirmed_keys(client, draft.case)?;
    let key = confirmed.first().filter(|_| !draft.with_code);
    if key.is_none() && !draft.with_code {
        return Err(Error::NoLock);
    }
    let proof = proof(client, &draft, now)?;
    let answer = gather(client, &draft, now)?;
    goes_to_a_known_address(client, answer.heading.to.expose(), &proof, now)?;
    let (outgoing, code) = match key {
        Some(to) => {
            let keys = client.mailbox_keys()?;
            let signer = keys.first().ok_or(ClientError::NoKey)?;
            (answer::compose(&answer, &Lock::OpenPgp { to, signer }, &proof)?, None)
        }
        None => {
            let code = Code::random();
            (answer::compose(&answer, &Lock::Code(&code), &proof)?, Some(code))
        }
    };
    if draft.proof.is_some() {
        who::keep(client, &proof)?;
    }
    let mut sealing = Sealing::new(draft.case, Act::Answer, client.sealing()?);
    sealing.note(NoteSubject::Answer, &draft.text, None, Vec::new());
    sealing.mail(minicbor::to_vec(&outgoing).map_err(|_| ClientError::Unexpected)?);
    client.record(sealing.finish())?;
    Ok(Sent { code, key: key.map(|key| key.fingerprint()) })
}

/// What shows who asks: what is accepted with the answer, at the level that it reaches, or what was
/// accepted before.
fn proof(client: &mut Client, draft: &Draft, now: u64) -> Result<Proof, Error> {
    let Some((kind, words)) = &draft.proof else {
        return who::newest_proof(client, draft.case)?.ok_or(Error::NoProof);
    };
    if let Some(what) = told(words) {
        return Err(Error::Told(what));
    }
    // That it was checked, by whom and when, is what stays of a copy.
    if *kind == Kind::Id && client.case(draft.case)?.card.checks.is_empty() {
        return Err(Error::NotChecked);
    }
    let by = (client.staff, now / 60);
    let evidence = [Evidence::of(*kind, Some(by.0), by.1)];
    let level = ladder::reached(&evidence);
    Ok(ladder::accept(draft.case, by, &evidence, level, Some(words))?)
}

/// What a thief of a name wants is an answer at another address: it goes there only if it is as sure as
/// the policy wants of a new one.
fn goes_to_a_known_address(
    client: &mut Client,
    to: &str,
    proof: &Proof,
    now: u64,
) -> Result<(), Error> {
    let Some(list) = client.people()? else { return Ok(()) };
    let policy = client.policy()?;
    let today = people::days(deadline::received_on(now));
    let is_sure = proof.level() >= policy.new_address;
    if is_sure || list.knows(to, today, policy.new_address_days) {
        return Ok(());
    }
    Err(Error::UnknownAddress(policy.new_address))
}

fn gather(client: &mut Client, draft: &Draft, now: u64) -> Result<Answer, Error> {
    let (to, replies_to) = client.reply_to(draft.case)?;
    let message_id = client.message_id(draft.case)?;
    let mut attachments = draft.files.clone();
    if !draft.items.is_empty() {
        let case = client.case(draft.case)?;
        let copies = &case.card.copies;
        let is_copy = |item: ItemId| copies.iter().any(|c| c.item == item && c.is_copy);
        // What a copy was taken out of holds it still.
        let holds = |item: ItemId| {
            let inside = case.letters.iter().flat_map(|letter| letter.inside(item));
            std::iter::once(item).chain(inside).any(is_copy)
        };
        if draft.items.iter().any(|item| holds(*item)) {
            return Err(Error::Copy);
        }
        for item in client.look(&draft.items)? {
            if item.case != draft.case {
                return Err(ClientError::Unknown("item of this case").into());
            }
            let is_fit = |leaf: &Item| matches!(leaf.scan, None | Some(Scan::Clean));
            if !matches!(&item.detail, ItemDetail::Leaf(leaf) if is_fit(leaf)) {
                return Err(Error::Infected);
            }
            let name = String::from_utf8_lossy(item.name.expose());
            let fallback = format!("{}.bin", item.id);
            let content = item.content().to_vec();
            attachments.push(Attachment::received(&name, &fallback, &item.media_type, content));
        }
    }
    let references = replies_to.clone().into_iter().collect();
    Ok(Answer {
        heading: Heading {
            from: Personal::new(client.mailbox.clone()),
            to,
            message_id,
            in_reply_to: replies_to,
            references,
            date: now,
        },
        case: draft.case,
        language: draft.language,
        subject: Personal::new(draft.subject.clone()),
        text: Personal::new(draft.text.clone()),
        attachments,
    })
}
