//! Copies of identity documents, as a member names them: which items of a case are one, and what else is
//! the same file.
//!
//! The server cannot tell that two items are equal. Whoever says of one that it is a copy means each of
//! them: the others of that size are opened here and compared, each a look in the ledger.

use super::client::{CaseView, Client, Error as ClientError};
use super::sealing::Sealing;
use crate::casebook::Act;
use crate::casebook::detail::{ItemDetail, NoteSubject};
use crate::casebook::looking::may_show;
use crate::identity::numbers::told::told;
use crate::identity::picture::decode::Kind;
use crate::ids::ItemId;
use crate::letter::Role;
use crate::staff::who::Error;

/// The steps of the padded size by which items are compared that may be the same file: the same bytes
/// come as they are, or in base 64.
const STEPS: u8 = 1;

/// The copies of a case, those that are still there; of a case that has none, those that were forgotten.
#[must_use]
pub fn of(case: &CaseView) -> Vec<ItemId> {
    let copies = || case.card.copies.iter().filter(|copy| copy.is_copy);
    let there: Vec<ItemId> =
        copies().filter(|copy| !is_forgotten(case, copy.item)).map(|copy| copy.item).collect();
    if there.is_empty() { copies().map(|copy| copy.item).collect() } else { there }
}

/// Whether an item was forgotten.
#[must_use]
pub fn is_forgotten(case: &CaseView, item: ItemId) -> bool {
    let mut items = case.letters.iter().flat_map(|letter| &letter.card.items);
    items.any(|(id, _, is_forgotten)| *id == item && *is_forgotten)
}

/// Whether the case has an attachment of which nobody said that it is no copy.
#[must_use]
pub fn may_be_there(case: &CaseView) -> bool {
    let is_none = |item: ItemId| case.card.copies.iter().any(|c| c.item == item && !c.is_copy);
    let details = case.letters.iter().filter_map(|letter| letter.detail.as_ref());
    let mut attached =
        details.flat_map(|detail| &detail.items).filter(|card| card.role != Role::Body);
    attached.any(|card| !is_forgotten(case, card.id) && !is_none(card.id))
}

/// Whether an item may be said to be a copy: the text of a letter, and what is around its parts, would be
/// destroyed by it. A picture is one whatever it is declared as; a text that tells of PDF is none.
fn may_be_copy(detail: &ItemDetail, content: &[u8]) -> bool {
    match detail {
        ItemDetail::Leaf(leaf) if leaf.role == Role::Body => {
            let is_image = leaf.magic.as_deref().is_some_and(may_show);
            is_image || Kind::of(content).is_some_and(|kind| kind != Kind::Pdf || is_pdf(content))
        }
        ItemDetail::Leaf(_) => true,
        ItemDetail::Skeleton(_) => false,
    }
}

/// Whether what has the mark of a PDF near its beginning is one: it begins with it, or is no text.
fn is_pdf(content: &[u8]) -> bool {
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | b' '..=b'~' | 0x80..);
    let begun = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    begun.trim_ascii_start().starts_with(b"%PDF-") || !content.iter().all(is_text)
}

/// The items of the case that hold the same file as this one, itself first, if `is_copy` or not may be
/// said of it.
///
/// # Errors
/// See [`Error`]; [`Error::Enclosed`] if it holds nothing by itself, [`Error::Text`] if it is what the
/// letter says.
pub fn same_file(
    client: &mut Client,
    case: &CaseView,
    item: ItemId,
    is_copy: bool,
) -> Result<Vec<ItemId>, Error> {
    let view = client.look(&[item])?.pop().ok_or(ClientError::Unexpected)?;
    let content = view.content();
    if content.is_empty() {
        return Err(Error::Enclosed);
    }
    if is_copy && !may_be_copy(&view.detail, &content) {
        return Err(Error::Text);
    }
    let digest = blake3::hash(&content);
    drop((content, view));
    let mut same = vec![item];
    for other in candidates(case, item) {
        match client.look(&[other]) {
            Ok(views) => {
                let is_same =
                    |view: &super::client::ItemView| blake3::hash(&view.content()) == digest;
                same.extend(views.iter().filter(|view| is_same(view)).map(|view| view.id));
            }
            // What does not open is no copy that anybody could see.
            Err(ClientError::Vault(_) | ClientError::Forgotten) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(same)
}

/// Items of about the same size that are no text of a letter and no skeleton.
fn candidates(case: &CaseView, item: ItemId) -> Vec<ItemId> {
    let size = case.letters.iter().flat_map(|letter| &letter.card.items);
    let size = size.clone().find(|(id, ..)| *id == item).map_or(0, |(_, size, _)| *size);
    let mut found = Vec::new();
    for letter in &case.letters {
        let Some(detail) = &letter.detail else { continue };
        let is_attached =
            |id: ItemId| detail.items.iter().any(|card| card.id == id && card.role != Role::Body);
        let items = letter.card.items.iter();
        let alike = items.filter(|(id, bucket, is_forgotten)| {
            *id != item && !is_forgotten && bucket.abs_diff(size) <= STEPS && is_attached(*id)
        });
        found.extend(alike.map(|(id, ..)| *id));
    }
    found
}

/// Says of an item, and of every other that is the same file, that it is a copy of an identity document,
/// or none; with words that say why, if there are any. Gives the items and the position of the entry.
///
/// # Errors
/// See [`Error`]; nothing was recorded then.
pub fn mark(
    client: &mut Client,
    case: &CaseView,
    item: ItemId,
    is_copy: bool,
    words: &str,
) -> Result<(Vec<ItemId>, u64), Error> {
    if let Some(what) = told(words) {
        return Err(Error::Told(what));
    }
    let items = same_file(client, case, item, is_copy)?;
    let mut sealing = Sealing::new(case.card.case, Act::Copy, client.sealing()?);
    sealing.marks(&items, is_copy);
    if !words.is_empty() {
        sealing.note(NoteSubject::Copy, words, None, Vec::new());
    }
    let position = client.record(sealing.finish())?;
    Ok((items, position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_tells_of_pdf_is_none() {
        for (content, is) in [
            (&b"%PDF-1.7\n1 0 obj"[..], true),
            (b"\xef\xbb\xbf%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", true),
            (b"junk\0%PDF-1.4\n", true),
            (b"\r\n%PDF-1.4\n1 0 obj", true),
            (b"Mijn caf\xe9 zegt %PDF-1.4", false),
            (b"Beste, mijn printer zegt %PDF-1.4 en niets meer.\r\nGroeten", false),
        ] {
            assert_eq!(is_pdf(content), is, "{}", content.escape_ascii());
            assert_eq!(Kind::of(content), Some(Kind::Pdf));
        }
    }
}
