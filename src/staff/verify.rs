//! Opens everything that a member may read, and keeps nothing of it.
//!
//! The ledger says what there must be: each box that was never forgotten, with BLAKE3(M). It is
//! held against its signed checkpoint first, so that a server cannot leave anything out. Then every
//! letter, item and note is asked for, opened, and its content verified chunk by chunk. Asking is
//! disclosure: each listing and each look is in the ledger before the server answers, the looks of
//! one request in one commit.

use std::collections::HashMap;

use super::client::{Client, Error};
use crate::casebook::state::item_of;
use crate::casebook::{CaseCard, Filter, Opened, Standing};
use crate::ids::{CaseId, Digest, ItemId, LetterId};
use crate::ledger::{self, Entry, Fact, checkpoint};
use crate::vault::seal::Kind;

/// Items of one look: one commit of the server's.
const AT_ONCE: usize = 64;
/// Faults that are listed; further ones are counted.
const MOST_FAULTS: usize = 1000;

/// What was verified.
#[derive(Debug, Default)]
pub struct Verified {
    /// Boxes that opened and whose content is what was sealed: letters, items, notes.
    pub boxes: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Boxes that were forgotten.
    pub forgotten: u64,
    /// Boxes that the server alone opens: reply addresses, mail on its way. `kluis check` opens them.
    pub servers: u64,
    /// What does not verify.
    pub faults: Vec<Fault>,
    /// Faults beyond these.
    pub more_faults: u64,
}

/// Something that does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub kind: Kind,
    /// Its case, if the ledger or the server names one.
    pub case: Option<CaseId>,
    /// Its letter; a note's own id.
    pub letter: LetterId,
    /// The item; the letter's id for a box that is no item.
    pub item: ItemId,
    /// Why.
    pub why: String,
}

/// A box that the ledger says is there.
struct Expected {
    content: Digest,
    case: Option<CaseId>,
    letter: LetterId,
    /// What the progress counts it for, in bytes.
    weight: u64,
}

/// Verifies everything, or one case. `progress` is told bytes done and bytes in all, as far as the
/// ledger tells sizes.
///
/// # Errors
/// The connection, the log-in, or a ledger that is not the one that was signed; what does not verify
/// is no error but a fault.
pub fn verify_all(
    client: &mut Client,
    case: Option<CaseId>,
    progress: &dyn Fn(u64, u64),
) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    let expected = expected(client, case, &mut verified)?;
    let total = expected.values().map(|expected| expected.weight).sum();
    let mut round = Round { client, expected, verified, done: 0, total, progress };
    let filter = case.map_or(Filter::All, Filter::Case);
    for card in round.client.cards(filter)? {
        round.case(card)?;
    }
    if case.is_none()
        && let Some(list) = round.client.opened_people()?
    {
        round.opened(&list)?;
    }
    Ok(round.finish())
}

/// What the ledger says is there for members to read.
fn expected(
    client: &mut Client,
    case: Option<CaseId>,
    verified: &mut Verified,
) -> Result<HashMap<(Kind, ItemId), Expected>, Error> {
    let (entries, note) = client.ledger()?;
    let signed = checkpoint::parse_vkey(&client.checkpoint_key)
        .and_then(|(_, public)| {
            ledger::audit(entries.iter().map(Vec::as_slice), &note, None, &public)
        })
        .is_ok_and(|audit| audit.vault == client.vault);
    if !signed {
        return Err(Error::Forked);
    }
    let (mut expected, mut by_slot) = (HashMap::new(), HashMap::new());
    for entry in entries.iter().filter_map(|bytes| Entry::from_bytes(bytes).ok()) {
        if case.is_some() && entry.case != case {
            continue;
        }
        if entry.kind == Fact::Forgotten {
            verified.forgotten += 1;
            entry.slot.and_then(|slot| by_slot.remove(&slot)).map(|key| expected.remove(&key));
            continue;
        }
        let (Some(place), Some(content), Some(slot)) =
            (entry.place(client.vault), entry.content, entry.slot)
        else {
            continue;
        };
        if place.kind.is_server_sealed() {
            verified.servers += 1;
            continue;
        }
        let weight = 1 << entry.size.unwrap_or(0).min(62);
        let key = (place.kind, place.item);
        by_slot.insert(slot, key);
        expected.insert(key, Expected { content, case: entry.case, letter: place.letter, weight });
    }
    Ok(expected)
}

struct Round<'a> {
    client: &'a mut Client,
    expected: HashMap<(Kind, ItemId), Expected>,
    verified: Verified,
    done: u64,
    total: u64,
    progress: &'a dyn Fn(u64, u64),
}

impl Round<'_> {
    fn case(&mut self, card: CaseCard) -> Result<(), Error> {
        let mut items = Vec::new();
        let mut left_out = false;
        for letter in &card.letters {
            items.extend(letter.items.iter().filter(|item| !item.2).map(|item| item.0));
            if letter.boxed.standing == Standing::LeftOut {
                left_out = true;
            } else {
                self.opened(&letter.boxed)?;
            }
        }
        if left_out {
            self.left_out(&card)?;
        }
        for some in items.chunks(AT_ONCE) {
            self.look(some)?;
        }
        if card.notes > 0 {
            for note in self.client.opened_notes(card.case)? {
                self.opened(&note)?;
            }
        }
        Ok(())
    }

    /// Letters that had no room in the listing of all cases: their case alone has.
    fn left_out(&mut self, card: &CaseCard) -> Result<(), Error> {
        let first: Vec<_> =
            card.letters.iter().map(|l| (l.boxed.place, l.boxed.standing)).collect();
        for again in self.client.cards(Filter::Case(card.case))? {
            for letter in again.letters {
                if !first.contains(&(letter.boxed.place, Standing::Kept)) {
                    self.opened(&letter.boxed)?;
                }
            }
        }
        Ok(())
    }

    /// Looks at these items; one by one if they are too much for one answer.
    fn look(&mut self, items: &[ItemId]) -> Result<(), Error> {
        match self.client.opened_items(items) {
            Ok(all) => all.iter().try_for_each(|opened| self.opened(opened)),
            Err(Error::Refused(_)) if items.len() > 1 => {
                items.iter().try_for_each(|item| self.look(&[*item]))
            }
            Err(Error::Refused(why)) => {
                let known = self.expected.remove(&(Kind::Item, items[0]));
                if let Some(known) = known {
                    self.fault(Kind::Item, known.case, known.letter, items[0], why);
                }
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    fn opened(&mut self, opened: &Opened) -> Result<(), Error> {
        let place = opened.place;
        let known = self.expected.remove(&(place.kind, place.item));
        self.done += known.as_ref().map_or(0, |known| known.weight);
        let is_recorded = known.is_none_or(|known| known.content == opened.content);
        let verified = match opened.standing {
            // Since the ledger was read.
            Standing::Forgotten => {
                self.verified.forgotten += 1;
                return Ok(());
            }
            _ if !is_recorded => Err("the server names another content than the ledger".into()),
            _ => match self.client.verify(opened) {
                Ok(bytes) => Ok(bytes),
                Err(error @ (Error::Broken(_) | Error::Unexpected)) => return Err(error),
                Err(error) => Err(error.to_string()),
            },
        };
        match verified {
            Ok(bytes) => {
                self.verified.boxes += 1;
                self.verified.bytes += bytes;
            }
            Err(why) => self.fault(place.kind, Some(opened.case), place.letter, place.item, why),
        }
        (self.progress)(self.done.min(self.total), self.total);
        Ok(())
    }

    fn fault(
        &mut self,
        kind: Kind,
        case: Option<CaseId>,
        letter: LetterId,
        item: ItemId,
        why: String,
    ) {
        if self.verified.faults.len() < MOST_FAULTS {
            self.verified.faults.push(Fault { kind, case, letter, item, why });
        } else {
            self.verified.more_faults += 1;
        }
    }

    /// What the ledger records and nobody showed is missing.
    fn finish(mut self) -> Verified {
        let mut missing: Vec<_> = std::mem::take(&mut self.expected).into_iter().collect();
        missing.sort_by_key(|((_, item), known)| (known.case, known.letter, *item));
        for ((kind, item), known) in missing {
            let why = "the ledger has it, and the server does not show it".to_owned();
            self.fault(kind, known.case, known.letter, item, why);
        }
        self.verified
    }
}

impl Fault {
    /// Whether it is about an item, and not about the box of a letter or a note.
    #[must_use]
    pub fn is_of_item(&self) -> bool {
        self.item != item_of(self.letter)
    }
}
