//! What shows who asks: gathered at the desk from the letters, the people on file and what members
//! recorded. A person accepts it, or doubts; both are entries of the case.
//!
//! The list of people and the texts are opened here, each a look. What a letter says inside its
//! encryption about its author is no evidence: nobody stands for that but a signature.

use std::collections::HashMap;
use std::fmt;

use super::client::{CaseView, Client, Error as ClientError, LetterView, NoteView};
use super::copies;
use super::sealing::Sealing;
use crate::casebook::detail::{ItemDetail, NoteSubject};
use crate::casebook::{Act, same_address};
use crate::identity::ladder::{self, Doubt, Evidence, Field, Kind, Level, NotAccepted, Proof};
use crate::identity::next::{Found, Standing};
use crate::identity::numbers::told::{Told, told};
use crate::identity::people::{self, Match, People, Person};
use crate::ids::{CaseId, ItemId};
use crate::letter::{Finding, Role};
use crate::request::deadline;
use crate::secret::Personal;

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server or the vault said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The evidence does not do.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    /// The words tell what is forgotten with a copy of an identity document, and would stay.
    #[error("the words hold {0}: they stay when the copy is forgotten")]
    Told(Told),
    /// An item that holds nothing by itself is no copy of anything.
    #[error("an enclosed message is kept as its parts, and is no copy by itself")]
    Enclosed,
    /// What a letter says is no copy, and would be forgotten like one.
    #[error("that is the text of a letter, or what is around its parts, and no picture")]
    Text,
    /// It is not said which item was checked, and there are some of which nobody said that it is none.
    #[error("the case has attachments, and none is known to be a copy of an identity document")]
    Unnamed,
    /// Several copies are there, and it is not said which was checked.
    #[error("the case has several copies of identity documents")]
    Several,
}

/// Whether the words may stay.
fn may_stay(words: &str) -> Result<(), Error> {
    told(words).map_or(Ok(()), |what| Err(Error::Told(what)))
}

/// Who asks, as far as it shows.
pub struct Asker {
    /// The case.
    pub case: CaseId,
    /// Who sent the letter that counts; none if no letter names one author.
    pub sender: Option<Sender>,
    /// How they are found among the people on file.
    pub found: Found,
    /// How many people have the address.
    pub sharing: usize,
    /// Whom of them it may be.
    pub person: Option<Person>,
    /// Since when the address is on file, in days since 1970, if the file says so.
    pub since: Option<i32>,
    /// Whether that is so short that it proves little.
    pub is_new: bool,
    /// Letters of the case that somebody else may have sent: from another address than the one that
    /// counts, or from it without its domain standing for them.
    pub others: usize,
    /// Evidence that was found in the letters.
    pub seen: Vec<Evidence>,
    /// Evidence that members recorded, with their words.
    pub recorded: Vec<(Evidence, Personal<String>)>,
    /// What was accepted, oldest first.
    pub proofs: Vec<Proof>,
    /// Doubts, oldest first, with their reasons.
    pub doubts: Vec<(Doubt, Personal<String>)>,
    /// The texts that were opened.
    pub texts: HashMap<ItemId, String>,
}

/// Who sent a letter.
#[derive(Clone)]
pub struct Sender {
    /// The name in `From`; empty if there is none.
    pub name: Personal<String>,
    /// The address in `From`.
    pub address: Personal<String>,
    /// Whether its domain stands for the letter; none if nobody looked.
    pub stands: Option<bool>,
    /// When it came, in minutes since 1970.
    pub minute: u64,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("case", &self.case).finish_non_exhaustive()
    }
}

impl Asker {
    /// All evidence there is.
    #[must_use]
    pub fn evidence(&self) -> Vec<Evidence> {
        let recorded = self.recorded.iter().map(|(evidence, _)| evidence);
        self.seen.iter().chain(recorded).cloned().collect()
    }

    /// The level that it reaches.
    #[must_use]
    pub fn reached(&self) -> Level {
        ladder::reached(&self.evidence())
    }

    /// What is known beside the evidence.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { found: self.found, doubted: !self.doubts.is_empty() }
    }

    /// The highest level that somebody accepted.
    #[must_use]
    pub fn accepted(&self) -> Option<Level> {
        self.proofs.iter().map(Proof::level).max()
    }
}

/// Gathers what shows who asks. `new_days`: for how many days an address on file is new.
///
/// # Errors
/// See [`Error`].
pub fn gather(client: &mut Client, case: &CaseView, new_days: u32) -> Result<Asker, ClientError> {
    let id = case.card.case;
    let list = client.people()?;
    let texts = texts(client, case)?;
    let notes = client.notes(id)?;
    let mut asker = Asker {
        case: id,
        sender: None,
        found: Found::NoList,
        sharing: 0,
        person: None,
        since: None,
        is_new: false,
        others: 0,
        seen: Vec::new(),
        recorded: evidence_in(&notes),
        proofs: proofs_in(&notes, id),
        doubts: doubts_in(&notes, id),
        texts,
    };
    let senders: Vec<Sender> = case.letters.iter().filter_map(sender).collect();
    // The letter that says most counts: one from an address on file that its domain stands for.
    let proves = |sender: &Sender| {
        let is_on_file = list.as_ref().is_some_and(|list| {
            let found = list.who(sender.address.expose(), sender.name.expose());
            matches!(found, Match::Address(_))
        });
        (is_on_file, sender.stands == Some(true))
    };
    let best = senders.iter().rev().max_by_key(|sender| proves(sender)).cloned();
    asker.others = best.as_ref().map_or(0, |best| {
        let is_best = |one: &&Sender| {
            same_address(one.address.expose(), best.address.expose()) && one.stands == best.stands
        };
        senders.len() - senders.iter().filter(is_best).count()
    });
    if let (Some(list), Some(sender)) = (&list, &best) {
        asker.find(list, sender, new_days);
    }
    if let Some(person) = &asker.person {
        let fields = person.mentioned(asker.texts.values().map(String::as_str));
        let minute = best.as_ref().map_or(0, |sender| sender.minute);
        if !fields.is_empty() {
            asker.seen.push(Evidence { fields, ..Evidence::of(Kind::Match, None, minute) });
        }
    }
    asker.sender = best;
    Ok(asker)
}

impl Asker {
    fn find(&mut self, list: &People, sender: &Sender, new_days: u32) {
        let address = sender.address.expose();
        let person = match list.who(address, sender.name.expose()) {
            Match::Address(person) => {
                self.found = Found::Address;
                let day = people::days(deadline::received_on(sender.minute * 60));
                self.since = person.since(address).flatten();
                self.is_new = person.is_new(address, day, new_days);
                if sender.stands == Some(true) {
                    self.seen.push(Evidence::of(Kind::Address, None, sender.minute));
                }
                Some(person)
            }
            Match::Several(count) => {
                (self.found, self.sharing) = (Found::Several, count);
                None
            }
            Match::Name(person) => {
                self.found = Found::Name;
                Some(person)
            }
            Match::Nobody => {
                self.found = Found::Nobody;
                None
            }
        };
        self.person = person.cloned();
    }
}

/// Who sent a letter, if it came from outside as it is and names one author.
fn sender(letter: &LetterView) -> Option<Sender> {
    // What was taken out of encryption says of its author what it likes, while the origin is that of
    // the letter around it.
    let detail = letter.detail.as_ref().filter(|_| letter.card.boxed.container.is_none())?;
    // Of two authors each may be the one that was judged.
    let [from] = &detail.headers.from[..] else { return None };
    if detail.findings.contains(&Finding::OddFrom) {
        return None;
    }
    let (_, domain) = from.address.expose().rsplit_once('@')?;
    let stands = detail.origin.as_ref().map(|origin| origin.is_vouched_for(domain));
    Some(Sender {
        name: from.name.clone().unwrap_or_default(),
        address: from.address.clone(),
        stands,
        minute: letter.card.boxed.minute,
    })
}

/// The texts of all letters, as far as they open. Each is a look.
fn texts(client: &mut Client, case: &CaseView) -> Result<HashMap<ItemId, String>, ClientError> {
    let mut texts = HashMap::new();
    for letter in &case.letters {
        let Some(detail) = &letter.detail else { continue };
        let is_kept = |id: ItemId| {
            letter.card.items.iter().any(|(item, _, forgotten)| *item == id && !forgotten)
        };
        let bodies = detail.items.iter().filter(|item| item.role == Role::Body);
        for id in bodies.map(|item| item.id).filter(|id| is_kept(*id)) {
            match client.look(&[id]) {
                Ok(items) => texts.extend(items.into_iter().filter_map(|item| match item.detail {
                    ItemDetail::Leaf(leaf) => Some((item.id, leaf.text?.into_exposed())),
                    ItemDetail::Skeleton(_) => None,
                })),
                Err(ClientError::Vault(_) | ClientError::Forgotten) => {}
                Err(other) => return Err(other),
            }
        }
    }
    Ok(texts)
}

fn evidence_in(notes: &[NoteView]) -> Vec<(Evidence, Personal<String>)> {
    let notes = notes.iter().filter(|note| note.detail.subject == NoteSubject::Evidence);
    notes
        .filter_map(|note| {
            let evidence = minicbor::decode(&note.detail.attached).ok()?;
            Some((evidence, note.detail.words.clone()))
        })
        .collect()
}

fn proofs_in(notes: &[NoteView], case: CaseId) -> Vec<Proof> {
    let notes = notes.iter().filter(|note| note.detail.subject == NoteSubject::Proof);
    notes.filter_map(|note| Proof::recorded(&note.detail.attached, case)).collect()
}

fn doubts_in(notes: &[NoteView], case: CaseId) -> Vec<(Doubt, Personal<String>)> {
    let notes = notes.iter().filter(|note| note.detail.subject == NoteSubject::Doubt);
    let doubt = |note: &NoteView| Doubt::recorded(&note.detail.attached, case);
    notes.filter_map(|note| Some((doubt(note)?, note.detail.words.clone()))).collect()
}

/// The proof of a case that was accepted last.
///
/// # Errors
/// See [`Error`].
pub fn newest_proof(client: &mut Client, case: CaseId) -> Result<Option<Proof>, ClientError> {
    Ok(proofs_in(&client.notes(case)?, case).pop())
}

/// The newest doubt about who asks.
///
/// # Errors
/// See [`Error`].
pub fn newest_doubt(client: &mut Client, case: CaseId) -> Result<Option<Doubt>, ClientError> {
    Ok(doubts_in(&client.notes(case)?, case).pop().map(|(doubt, _)| doubt))
}

/// Records evidence that a member has, with words that say how. Gives the position of the entry.
///
/// # Errors
/// See [`Error`]; nothing was recorded then.
pub fn record(
    client: &mut Client,
    case: CaseId,
    (kind, fields): (Kind, Vec<Field>),
    words: &str,
    now: u64,
) -> Result<u64, Error> {
    let sealing = evidence(client, case, (kind, fields), words, now)?;
    Ok(client.record(sealing.finish())?)
}

/// Which copy of an identity document was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The only copy of the case; one that never was in it, if the case has no attachment.
    TheOne,
    /// This item.
    Item(ItemId),
    /// One that is no item of the case.
    Elsewhere,
}

/// Records that a copy of an identity document was checked. The item is a copy from now on, if nobody
/// said so before. Gives the item and the position of the entry.
///
/// # Errors
/// See [`Error`]; nothing was recorded then.
pub fn record_id(
    client: &mut Client,
    case: &CaseView,
    checked: Checked,
    words: &str,
    now: u64,
) -> Result<(Option<ItemId>, u64), Error> {
    may_stay(words)?;
    let item = match (checked, &copies::of(case)[..]) {
        (Checked::Item(item), _) => Some(item),
        (Checked::Elsewhere, _) => None,
        // A copy that nobody named would stay.
        (Checked::TheOne, []) if copies::may_be_there(case) => return Err(Error::Unnamed),
        (Checked::TheOne, []) => None,
        (Checked::TheOne, [one]) => Some(*one),
        (Checked::TheOne, _) => return Err(Error::Several),
    };
    let mut sealing = evidence(client, case.card.case, (Kind::Id, Vec::new()), words, now)?;
    let is_known = |item: &ItemId| {
        case.card.copies.iter().any(|copy| copy.item == *item && copy.is_copy)
            || copies::is_forgotten(case, *item)
    };
    if let Some(item) = item.filter(|item| !is_known(item)) {
        sealing.marks(&copies::same_file(client, case, item, true)?, true);
    }
    sealing.check(item);
    let position = client.record(sealing.finish())?;
    Ok((item, position))
}

fn evidence(
    client: &Client,
    case: CaseId,
    (kind, fields): (Kind, Vec<Field>),
    words: &str,
    now: u64,
) -> Result<Sealing, Error> {
    may_stay(words)?;
    let evidence = Evidence { fields, ..Evidence::of(kind, Some(client.staff), now / 60) };
    let attached = crate::casebook::detail::to_bytes(&evidence);
    let mut sealing = Sealing::new(case, Act::Evidence, client.sealing()?);
    sealing.note(NoteSubject::Evidence, words, None, attached);
    Ok(sealing)
}

/// Accepts evidence at a level; needs a reason where it does not reach that. Gives the proof and the
/// position of its entry.
///
/// # Errors
/// See [`Error`]; nothing was recorded then.
pub fn accept(
    client: &mut Client,
    case: CaseId,
    evidence: &[Evidence],
    (level, reason): (Level, Option<&str>),
    now: u64,
) -> Result<(Proof, u64), Error> {
    may_stay(reason.unwrap_or_default())?;
    let proof = ladder::accept(case, (client.staff, now / 60), evidence, level, reason)?;
    let position = keep(client, &proof)?;
    Ok((proof, position))
}

/// Makes a proof an entry of its case.
pub(super) fn keep(client: &mut Client, proof: &Proof) -> Result<u64, ClientError> {
    let words = match proof.reason() {
        Some(reason) => format!("{}: {}", proof.summary(), reason.expose()),
        None => proof.summary(),
    };
    let mut sealing = Sealing::new(proof.case(), Act::Prove, client.sealing()?);
    sealing.note(NoteSubject::Proof, &words, None, proof.to_bytes());
    client.record(sealing.finish())
}

/// Writes down why somebody doubts who asks. Gives the position of the entry.
///
/// # Errors
/// See [`Error`].
pub fn doubt(client: &mut Client, case: CaseId, reason: &str, now: u64) -> Result<u64, Error> {
    may_stay(reason)?;
    let attached = Doubt::note(case, client.staff, now / 60);
    let mut sealing = Sealing::new(case, Act::Doubt, client.sealing()?);
    sealing.note(NoteSubject::Doubt, reason, None, attached);
    Ok(client.record(sealing.finish())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::casebook::detail::LetterDetail;
    use crate::casebook::state::item_of;
    use crate::casebook::{LetterCard, Opened, Standing as BoxStanding};
    use crate::identity::origin::{Origin, Outcome, Witness};
    use crate::ids::{Digest, LetterId, SlotId, VaultId};
    use crate::letter::{Envelope, Headers, Mailbox, Protection, Source};
    use crate::vault::seal::{self, Place};

    /// A letter with these authors, of whose first one's domain the network says that it stands for it.
    fn letter(from: &[&str], container: Option<ItemId>, findings: &[Finding]) -> LetterView {
        let letter = LetterId::random();
        let mailbox =
            |address: &&str| Mailbox { name: None, address: Personal::new((*address).to_owned()) };
        let headers = Headers { from: from.iter().map(mailbox).collect(), ..Headers::default() };
        let author = from[0].rsplit('@').next().unwrap_or_default().to_owned();
        let origin = Origin::unknown(Witness::Ourselves, author);
        let boxed = Opened {
            place: Place {
                kind: seal::Kind::Letter,
                vault: VaultId::random(),
                letter,
                item: item_of(letter),
            },
            inner: None,
            content: Digest::new([0; 32]),
            epoch: None,
            container,
            case: CaseId::random(),
            minute: 7,
            standing: BoxStanding::Kept,
            slot: SlotId::random(),
        };
        LetterView {
            card: LetterCard {
                boxed,
                items: Vec::new(),
                redelivered: 0,
                opened: false,
                out_of: Vec::new(),
            },
            detail: Some(LetterDetail {
                envelope: Envelope {
                    mail_from: Personal::default(),
                    rcpt_to: Vec::new(),
                    helo: Personal::default(),
                    client: None,
                    source: Source::Smtp,
                    tls: true,
                },
                headers,
                findings: findings.to_vec(),
                protection: Protection::None,
                items: Vec::new(),
                skeleton: None,
                length: 0,
                signature: None,
                origin: Some(Origin { dmarc: Outcome::Pass, ..origin }),
                silence: None,
            }),
        }
    }

    #[test]
    fn only_a_letter_from_outside_with_one_author_says_who_sent_it() {
        let lotte = letter(&["lotte@example.org"], None, &[]);
        let found = sender(&lotte).expect("is one author");
        assert_eq!(
            (found.address.expose().as_str(), found.stands),
            ("lotte@example.org", Some(true))
        );
        // What was inside of encryption may name anybody of the domain that its carrier came from.
        let inside = letter(&["lotte@example.org"], Some(ItemId::random()), &[]);
        assert!(sender(&inside).is_none(), "nobody stands for what is inside");
        let two = letter(&["lotte@example.org", "jan@example.org"], None, &[]);
        let odd = letter(&["lotte@example.org"], None, &[Finding::OddFrom]);
        assert!(sender(&two).is_none() && sender(&odd).is_none(), "of two authors neither counts");
        let none = LetterView { detail: None, ..letter(&["lotte@example.org"], None, &[]) };
        assert!(sender(&none).is_none());
        let mut unseen = letter(&["lotte@example.org"], None, &[]);
        unseen.detail.as_mut().expect("is there").origin = None;
        assert_eq!(sender(&unseen).expect("is one author").stands, None, "nobody looked");
    }
}
