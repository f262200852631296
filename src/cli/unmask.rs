//! Copies of identity documents that staff take out of the vault: masked, or as they came, with a reason.
//!
//! What is a picture or a PDF by its first bytes is masked if it is a copy, whatever it is called. A
//! copy is given as it came only when the ledger says who had it and a note says why. What nobody
//! could look at is given, for most of it is no copy, and that is said.

use std::io::Write as _;

use clap::Args;
use zeroize::Zeroizing;

use super::masking::{self, Masking};
use super::{Error, case};
use crate::casebook::detail::ItemDetail;
use crate::identity::document::Sight;
use crate::identity::mask;
use crate::identity::picture::decode::{DecodeError, Kind, MOST_PAGES};
use crate::ids::{CaseId, ItemId, LetterId};
use crate::letter::{self, Role};
use crate::sandbox::MAX_REQUEST;
use crate::staff::client::{self, CaseView, Client, LetterView, SealedItem};

/// How a copy of an identity document is taken out as it came.
#[derive(Args)]
pub(super) struct Unmasking {
    /// Give copies of identity documents as they came, not masked: the ledger says so
    #[arg(long, requires = "reason")]
    unmasked: bool,
    /// Why a copy is needed unmasked, in your own words: a note of the case
    #[arg(long, value_name = "WORDS", requires = "unmasked")]
    reason: Option<String>,
}

impl Unmasking {
    /// Whether it was asked for.
    pub(super) const fn is_wanted(&self) -> bool {
        self.unmasked
    }

    /// The reason, if it was asked for.
    ///
    /// # Errors
    /// There are no words in it, or they tell what is forgotten with the copy.
    fn words(&self) -> Result<Option<String>, Error> {
        let Some(words) = &self.reason else { return Ok(None) };
        let words = case::said(std::slice::from_ref(words))?;
        case::may_stay(&words)?;
        Ok(Some(words))
    }

    /// Enters it, if it was asked for: nothing may be given before. Says whether it was.
    ///
    /// # Errors
    /// There are no words in the reason; what the server says.
    pub(super) fn enter(
        &self,
        client: &mut Client,
        case: CaseId,
        of: (LetterId, Vec<ItemId>),
    ) -> Result<bool, Error> {
        let Some(words) = self.words()? else { return Ok(false) };
        client.unmask(case, of, &words)?;
        Ok(true)
    }
}

/// What becomes of an item that somebody wants.
pub(super) enum Given {
    /// A picture in its place, and what is shown on it.
    Masked(Zeroizing<Vec<u8>>, String),
    /// It, and what is to be said of that.
    AsItCame(Option<String>),
}

impl Given {
    /// What is to be said of it.
    pub(super) fn remark(&self) -> Option<String> {
        match self {
            Self::Masked(_, shown) => {
                Some(format!("masked   {shown}; --unmasked --reason WORDS gives the copy itself"))
            }
            Self::AsItCame(remark) => remark.clone(),
        }
    }
}

/// What of a file is a copy.
enum Judged {
    Copy(Masking),
    /// It is a copy, and nothing of it can be shown.
    Black,
    /// It is none, as far as its pages were looked at: whether there may be more of them.
    Other(bool),
    /// Nobody could look, and why.
    NotSeen(String),
}

/// What an item is given as.
///
/// # Errors
/// It holds copies inside, so that it cannot be masked; what the server says.
pub(super) fn given(
    client: &mut Client,
    item: &SealedItem,
    unmasking: &Unmasking,
) -> Result<Given, Error> {
    if unmasking.enter(client, item.case, (item.letter, vec![item.id]))? {
        return Ok(Given::AsItCame(Some(
            "as it came: the ledger says who had it, a note why".into(),
        )));
    }
    let ItemDetail::Leaf(leaf) = &item.detail else { return Ok(Given::AsItCame(None)) };
    let begun = beginning(client, item)?;
    let is_picture = Kind::of(&begun).is_some();
    if !is_picture && leaf.role == Role::Body {
        return Ok(Given::AsItCame(None));
    }
    let view = client.case(item.case)?;
    if !is_picture && !is_marked(&view, item.id) {
        let letter = view.letters.iter().find(|letter| letter.id() == item.letter);
        let inside = letter.map(|letter| inside(letter, item.id)).unwrap_or_default();
        let said = no_copies(client, &view, (&inside, "this item"))?;
        let types = [Some(item.media_type()), leaf.magic.as_deref()];
        let is_other = types.into_iter().flatten().any(|word| word.starts_with("image/"));
        let other = is_other.then(|| unseen(&DecodeError::NoPicture.to_string()));
        return Ok(Given::AsItCame(said.or(other)));
    }
    Ok(match judged(client, &view, item)? {
        Judged::Copy(masking) => {
            Given::Masked(Zeroizing::new(mask::png(&masking.pages)), masking.words())
        }
        Judged::Black => Given::Masked(Zeroizing::new(mask::png(&[])), "all black".into()),
        Judged::Other(false) => Given::AsItCame(None),
        Judged::Other(true) => Given::AsItCame(Some(pages())),
        Judged::NotSeen(why) => Given::AsItCame(Some(unseen(&why))),
    })
}

fn pages() -> String {
    format!("as it came: nobody looked behind the first {MOST_PAGES} pages")
}

fn unseen(why: &str) -> String {
    format!("as it came: nobody looked whether it is a copy of an identity document ({why})")
}

/// That something cannot be given as it is.
fn refused(what: &str) -> Error {
    Error::new(format!("{what} holds a copy of an identity document, which cannot be masked in it")).hint(
        "`kluis get ITEM` gives the copy masked; --unmasked --reason WORDS gives all of this as it \
         came, and the ledger says so",
    )
}

/// Whether the whole of a letter may be given: none of its items is a copy of an identity document, or
/// the ledger says who wants them. Each item is a look.
///
/// # Errors
/// It holds copies; what the server says.
pub(super) fn may_leave(
    client: &mut Client,
    (case, letter): (&CaseView, &LetterView),
    unmasking: &Unmasking,
) -> Result<(), Error> {
    let kept = |id: &ItemId| {
        !letter.card.items.iter().any(|(item, _, forgotten)| item == id && *forgotten)
    };
    let cards = letter.detail.iter().flat_map(|detail| &detail.items);
    let items: Vec<ItemId> =
        cards.filter(|card| card.role != Role::Body).map(|card| card.id).filter(kept).collect();
    if unmasking.is_wanted() {
        // Which of them are copies nobody has to find out then: all of them leave.
        let skeleton = letter.detail.iter().filter_map(|detail| detail.skeleton);
        let all = if items.is_empty() { skeleton.collect() } else { items };
        return unmasking.enter(client, case.card.case, (letter.id(), all)).map(drop);
    }
    let said = no_copies(client, case, (&items, "the letter"))?;
    said.iter().for_each(|said| note(said));
    Ok(())
}

/// What is to be said if none of these items is a copy. Each that is asked about is a look.
///
/// # Errors
/// One of them is; what the server says.
fn no_copies(
    client: &mut Client,
    case: &CaseView,
    (items, of): (&[ItemId], &str),
) -> Result<Option<String>, Error> {
    let mut said = None;
    for id in items {
        let item = match client.look_at(&[*id]) {
            Ok(mut items) => items.pop(),
            // It is not there, so it is not given either.
            Err(client::Error::Forgotten) => None,
            Err(client::Error::Vault(error)) => {
                said = Some(unseen(&error.to_string()));
                None
            }
            Err(error) => return Err(error.into()),
        };
        let Some(item) = item else { continue };
        if !is_marked(case, *id) && Kind::of(&beginning(client, &item)?).is_none() {
            continue;
        }
        match judged(client, case, &item)? {
            Judged::Copy(_) | Judged::Black => return Err(refused(of)),
            Judged::Other(false) => {}
            Judged::Other(true) => said = Some(pages()),
            Judged::NotSeen(why) => said = Some(unseen(&why)),
        }
    }
    Ok(said)
}

/// What was taken out of an item, and out of that.
fn inside(letter: &LetterView, item: ItemId) -> Vec<ItemId> {
    let Some(detail) = &letter.detail else { return Vec::new() };
    let mut holders = vec![item];
    // A container comes before what it holds.
    for card in &detail.items {
        let holder = card.container.and_then(|nr| detail.items.get(nr as usize));
        if holder.is_some_and(|holder| holders.contains(&holder.id)) {
            holders.push(card.id);
        }
    }
    holders.remove(0);
    holders
}

/// Whether the server has it that an item is a copy: it was seen to be one, or a member said so.
fn is_marked(case: &CaseView, item: ItemId) -> bool {
    case.card.copies.iter().any(|copy| copy.item == item && copy.is_copy)
}

/// Whether a picture or a PDF is a copy, and its mask: by what was seen when it came, by what a member
/// said, else by looking now.
fn judged(client: &mut Client, case: &CaseView, item: &SealedItem) -> Result<Judged, Error> {
    let ItemDetail::Leaf(leaf) = &item.detail else { return Ok(Judged::Other(false)) };
    let other = |sight: &Sight| Judged::Other(sight.pages.len() >= MOST_PAGES);
    // A member who looked knows better than the reader.
    if case.card.copies.iter().any(|copy| copy.item == item.id && !copy.is_copy) {
        return Ok(Judged::Other(false));
    }
    let is_marked = is_marked(case, item.id);
    let sight = Sight::of(leaf).filter(|sight| sight.refused.is_none());
    if let Some(none) = sight.as_ref().filter(|sight| !is_marked && !sight.may_show_document()) {
        return Ok(other(none));
    }
    // What somebody marked, and what was seen to be one, is never given for want of a mask.
    let is_known = is_marked || sight.is_some();
    let without = |why: String| if is_known { Judged::Black } else { Judged::NotSeen(why) };
    if item.length() > MAX_REQUEST as u64 {
        return Ok(without("it is too large".into()));
    }
    let content = content(client, item)?;
    Ok(match masking::mask(&content, sight.as_ref())? {
        None => without("the models are not there: `kluis doctor --fetch-models`".into()),
        Some(masking) => match masking.sight.refused {
            Some(refused) => without(refused.to_string()),
            None if is_known || masking.sight.may_show_document() => Judged::Copy(masking),
            None => other(&masking.sight),
        },
    })
}

/// First bytes that tell what a file is.
const BEGINNING: usize = 1024;

/// The first bytes of an item as a person gets it.
fn beginning(client: &mut Client, item: &SealedItem) -> Result<Vec<u8>, Error> {
    if !item.is_stored_as_content() {
        let mut content = content(client, item)?;
        content.truncate(BEGINNING);
        return Ok(content.to_vec());
    }
    let mut begun = Vec::with_capacity(BEGINNING);
    let fetched = client.fetch(item, &mut |part| {
        begun.extend_from_slice(&part[..part.len().min(BEGINNING - begun.len())]);
        // The rest is not asked for.
        if begun.len() < BEGINNING { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
    });
    match fetched {
        Err(client::Error::Sink(_)) if begun.len() == BEGINNING => Ok(begun),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(begun),
    }
}

/// An item as a person gets it, in memory.
fn content(client: &mut Client, item: &SealedItem) -> Result<Zeroizing<Vec<u8>>, Error> {
    let length = usize::try_from(item.length()).unwrap_or(0).min(MAX_REQUEST);
    let mut stored = Zeroizing::new(Vec::with_capacity(length));
    client.fetch(item, &mut |part| {
        stored.extend_from_slice(part);
        Ok(())
    })?;
    Ok(match &item.detail {
        ItemDetail::Leaf(leaf) if !item.is_stored_as_content() => {
            Zeroizing::new(letter::content(leaf, &stored))
        }
        _ => stored,
    })
}

/// Says something beside what goes to standard output.
pub(super) fn note(words: &str) {
    // If nobody listens, what was asked for is given all the same.
    let _ = writeln!(std::io::stderr(), "note: {words}");
}
