//! What the pictures of a case show, judged at the desk: with the names that the letter gives, the
//! other side of the same paper, and whether it came in another case as well.
//!
//! What was seen when a letter came lies in the item's own box; the picture itself stays sealed then.
//! One that nobody looked at is opened and read here, if it is asked for. Nothing is decided by it.

use std::collections::HashMap;

use jiff::civil::Date;

use super::client::{CaseView, Client, Error, LetterView};
use super::sealing::Sealing;
use crate::casebook::Act;
use crate::casebook::detail::{ItemCard, ItemDetail, Picture};
use crate::casebook::looking::may_show;
use crate::identity::document::case::{self, Letter};
use crate::identity::document::{Conclusion, Sight};
use crate::identity::evidence::Verdict;
use crate::identity::picture::decode::DecodeError;
use crate::ids::{CaseId, ItemId, LetterId};
use crate::letter::{Role, Scan};

pub use crate::casebook::looking::AskNow as AskReader;

/// What is read.
pub enum Reading<'a> {
    /// What was seen when the letters came.
    Sealed,
    /// Also what nobody looked at, by this reader if there is one: all of it, or this item.
    Now(Option<&'a AskReader<'a>>, Option<ItemId>),
}

/// A picture of a case.
pub struct Shown {
    /// The item.
    pub item: ItemId,
    /// Its letter.
    pub letter: LetterId,
    /// What it comes to.
    pub conclusion: Conclusion,
    /// The item that is its other side.
    pub other_side: Option<ItemId>,
    /// Other open cases in which the same picture came.
    pub also_in: Vec<CaseId>,
    /// Whether it was read just now.
    pub is_new: bool,
}

/// The pictures of a case.
#[derive(Default)]
pub struct Pictures {
    /// Those that may be copies of a document, and those that were asked for.
    pub shown: Vec<Shown>,
    /// Pictures that nobody looked at.
    pub not_read: usize,
    /// Whether a copy that was found just now is noted, so that it is forgotten after the decision;
    /// none if there is none.
    pub is_noted: Option<bool>,
}

impl Pictures {
    /// The one verdict of the case.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let conclusions: Vec<&Conclusion> = self.shown.iter().map(|one| &one.conclusion).collect();
        case::summed(&conclusions, self.not_read > 0)
    }
}

/// One that was found, before it is judged.
struct Found {
    item: ItemId,
    sight: Option<Sight>,
    is_new: bool,
}

/// What the pictures of a case show. `texts` are those of its letters that were opened. Each box that is
/// opened is a look in the ledger.
///
/// # Errors
/// See [`Error`].
pub fn of(
    client: &mut Client,
    case: &CaseView,
    texts: &HashMap<ItemId, String>,
    today: Date,
    reading: &Reading<'_>,
) -> Result<Pictures, Error> {
    let mut pictures = Pictures::default();
    let mut copies = Vec::new();
    for letter in &case.letters {
        let found = find(client, case, letter, reading, &mut pictures.not_read)?;
        let new = found.iter().filter(|one| one.is_new);
        let new = new.filter(|one| one.sight.as_ref().is_some_and(Sight::shows_document));
        copies.extend(new.map(|one| one.item).filter(|item| said_of(case, *item).is_none()));
        pictures.shown.extend(judge(letter, &found, texts, today));
    }
    if !copies.is_empty() {
        pictures.is_noted = Some(note(client, case.card.case, &copies)?);
    }
    let is_copy = |one: &Shown| is_document(&one.conclusion.evidence.verdict);
    if pictures.shown.iter().any(is_copy) {
        for same in client.same_copies(case.card.case)? {
            let shown = pictures.shown.iter_mut().find(|one| one.item == same.item);
            if let Some(one) = shown {
                one.also_in.push(same.case);
            }
        }
    }
    Ok(pictures)
}

/// Notes that these items were seen to be copies, so that they are forgotten after the decision, and says
/// whether that was allowed: some may read and not answer.
///
/// # Errors
/// See [`Error`].
pub fn note(client: &mut Client, case: CaseId, copies: &[ItemId]) -> Result<bool, Error> {
    let mut sealing = Sealing::new(case, Act::Copy, client.sealing()?);
    sealing.seen(copies);
    match client.record(sealing.finish()) {
        Ok(_) => Ok(true),
        Err(Error::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a verdict is one of a document.
#[must_use]
pub const fn is_document(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::NotADocument | Verdict::NotRead | Verdict::Absent)
}

/// What was said last of an item: whether it is a copy.
fn said_of(case: &CaseView, item: ItemId) -> Option<bool> {
    case.card.copies.iter().find(|copy| copy.item == item).map(|copy| copy.is_copy)
}

fn find(
    client: &mut Client,
    case: &CaseView,
    letter: &LetterView,
    reading: &Reading<'_>,
    not_read: &mut usize,
) -> Result<Vec<Found>, Error> {
    let Some(detail) = &letter.detail else { return Ok(Vec::new()) };
    let is_kept =
        |id: ItemId| letter.card.items.iter().any(|(item, _, forgotten)| *item == id && !forgotten);
    let mut found = Vec::new();
    for card in detail.items.iter().filter(|card| is_kept(card.id)) {
        let state = state(card);
        let said = said_of(case, card.id);
        let is_asked_for = match reading {
            Reading::Sealed | Reading::Now(_, None) => true,
            Reading::Now(_, Some(only)) => *only == card.id,
        };
        let is_named = matches!(reading, Reading::Now(_, Some(_))) && is_asked_for;
        let is_wanted = match (said, state) {
            _ if is_named => true,
            (Some(said), _) => said,
            (None, Some(Picture::Document | Picture::Unreadable)) => true,
            (None, Some(Picture::NotRead)) => {
                let is_read_now = matches!(reading, Reading::Now(Some(_), _));
                *not_read += usize::from(!is_read_now);
                matches!(reading, Reading::Now(..))
            }
            (None, _) => false,
        };
        if is_wanted && is_asked_for {
            found.extend(look(client, card.id, reading)?);
        }
    }
    Ok(found)
}

/// How far a picture was looked at, as its card says; of an older letter by its declared type.
fn state(card: &ItemCard) -> Option<Picture> {
    let is_picture = card.role != Role::Body && may_show(&card.media_type);
    card.picture.or_else(|| is_picture.then_some(Picture::NotRead))
}

/// Opens the box of an item, and the picture in it if it is to be read now. Nothing if it does not open.
fn look(client: &mut Client, item: ItemId, reading: &Reading<'_>) -> Result<Option<Found>, Error> {
    let sealed = match client.look_at(&[item]) {
        Ok(mut items) => items.pop().ok_or(Error::Unexpected)?,
        Err(Error::Vault(_) | Error::Forgotten) => return Ok(None),
        Err(error) => return Err(error),
    };
    let ItemDetail::Leaf(leaf) = &sealed.detail else { return Ok(None) };
    let sight = Sight::of(leaf);
    // A busy machine may have been too slow for it, and it may have more pages.
    let is_seen = sight.as_ref().is_some_and(|sight| {
        let is_part = (sight.is_cut || sight.has_more) && !sight.shows_document();
        sight.refused != Some(DecodeError::TimedOut) && !is_part
    });
    let reader = match reading {
        Reading::Now(Some(reader), _) if !is_seen && leaf.scan != Some(Scan::Infected) => reader,
        _ => return Ok(Some(Found { item, sight, is_new: false })),
    };
    let read = match client.open(sealed) {
        Ok(view) => reader(&view.content()),
        Err(Error::Vault(_) | Error::Forgotten) => None,
        Err(error) => return Err(error),
    };
    let is_new = read.is_some();
    Ok(Some(Found { item, sight: read.or(sight), is_new }))
}

/// Judges what was found in one letter.
fn judge(
    letter: &LetterView,
    found: &[Found],
    texts: &HashMap<ItemId, String>,
    today: Date,
) -> Vec<Shown> {
    let Some(detail) = &letter.detail else { return Vec::new() };
    let names = detail.headers.from.iter().filter_map(|from| from.name.as_ref());
    let from: Vec<&str> = names.map(|name| name.expose().as_str()).collect();
    // What is enclosed somebody else may have written; some programs put all of a letter into one file.
    let is_own = |item: &&ItemCard| {
        let holder = item.container.and_then(|nr| detail.items.get(nr as usize));
        item.depth == 0 && holder.is_none_or(|holder| holder.media_type == "application/ms-tnef")
    };
    let bodies = detail.items.iter().filter(is_own).filter_map(|item| texts.get(&item.id));
    let texts: Vec<&str> = bodies.map(String::as_str).collect();
    let (seen, not): (Vec<&Found>, Vec<&Found>) = found.iter().partition(|one| one.sight.is_some());
    let sights: Vec<&Sight> = seen.iter().filter_map(|one| one.sight.as_ref()).collect();
    let judged = case::together(&sights, &Letter { today, from: &from, texts: &texts });
    let letter = letter.id();
    let shown = seen.iter().zip(judged).map(|(one, judged)| Shown {
        item: one.item,
        letter,
        conclusion: judged.conclusion,
        other_side: judged.other_side.map(|nr| seen[nr].item),
        also_in: Vec::new(),
        is_new: one.is_new,
    });
    let not_read = not.iter().map(|one| Shown {
        item: one.item,
        letter,
        conclusion: Conclusion::empty(Verdict::NotRead),
        other_side: None,
        also_in: Vec::new(),
        is_new: false,
    });
    shown.chain(not_read).collect()
}
