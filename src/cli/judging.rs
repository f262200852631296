//! Whether what somebody wants out of the vault is a copy of an identity document, and its mask: by what
//! was seen when it came, by what a member said, else by looking now.
//!
//! What is a picture or a PDF by its first bytes is judged by its pixels, whatever it is called. What
//! nobody could look at is not taken for something else.

use indicatif::ProgressBar;
use memchr::memmem;
use zeroize::Zeroizing;

use super::masking::{self, Behind, MOST_LOOKS, Masking, NO_MODELS, OUT_OF_TIME, TOO_MANY};
use super::{Error, unmask};
use crate::casebook::detail::ItemDetail;
use crate::identity::document::Sight;
use crate::identity::picture::decode::{DecodeError, Kind};
use crate::ids::ItemId;
use crate::letter::{self, Finding, Inside, Item};
use crate::sandbox::MAX_REQUEST;
use crate::staff::client::{self, CaseView, Client, LetterView, SealedItem};
use crate::staff::pictures;

/// What of a file is a copy.
pub(super) enum Judged {
    /// It is one, and its mask.
    Copy(Masking),
    /// It is one, and nothing of it can be shown.
    Black,
    /// It is none.
    Other,
    /// It is something that can hold one, in a way in which nobody looks; it is given, and that is said.
    MayHold,
    /// Nobody could look, and why.
    NotSeen(String),
}

impl Judged {
    fn unseen(why: &str) -> Self {
        Self::NotSeen(why.to_owned())
    }
}

/// A GIF no longer than so many bytes is a logo: hardly a line of a document could be read on it.
const LOGO: u64 = 16_000;

/// Who judges, for one command.
pub(super) struct Judge<'a> {
    client: &'a mut Client,
    case: &'a CaseView,
    looks: usize,
}

impl<'a> Judge<'a> {
    /// Of items of this case.
    pub(super) const fn new(client: &'a mut Client, case: &'a CaseView) -> Self {
        Self { client, case, looks: MOST_LOOKS }
    }

    /// What speaks most against giving an item for what was taken out of it.
    ///
    /// # Errors
    /// What the server says.
    pub(super) fn inside(&mut self, item: &SealedItem) -> Result<Judged, Error> {
        let letter = self.case.letters.iter().find(|letter| letter.id() == item.letter);
        let inside = letter.map(|letter| letter.inside(item.id)).unwrap_or_default();
        self.all(&inside)
    }

    /// What speaks most against giving these items. Each that is asked about is a look.
    ///
    /// # Errors
    /// What the server says.
    pub(super) fn all(&mut self, items: &[ItemId]) -> Result<Judged, Error> {
        let mut worst = Judged::Other;
        for id in items {
            let item = match self.client.look_at(&[*id]) {
                Ok(mut items) => items.pop(),
                // It is not there, so it is not given either.
                Err(client::Error::Forgotten) => None,
                Err(client::Error::Vault(error)) => {
                    worst = worse(worst, Judged::NotSeen(error.to_string()));
                    None
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(item) = item {
                worst = worse(worst, self.one(&item)?);
            }
            if matches!(worst, Judged::Copy(_) | Judged::Black) {
                break;
            }
        }
        Ok(worst)
    }

    /// What of an item is a copy, without what was taken out of it.
    ///
    /// # Errors
    /// What the server says.
    pub(super) fn one(&mut self, item: &SealedItem) -> Result<Judged, Error> {
        let ItemDetail::Leaf(leaf) = &item.detail else { return Ok(Judged::Other) };
        let said = self.case.card.copies.iter().find(|copy| copy.item == item.id);
        match said.map(|copy| copy.is_copy) {
            // A member who looked knows better than the reader.
            Some(false) => return Ok(Judged::Other),
            Some(true) => return self.picture(item, leaf, true),
            None => {}
        }
        let begun = beginning(self.client, item)?;
        if Kind::of(&begun).is_some() {
            return self.picture(item, leaf, false);
        }
        let letter = self.case.letters.iter().find(|letter| letter.id() == item.letter);
        let other = other((item, &begun), leaf, letter);
        if item.media_type() != "text/html" || !matches!(other, Judged::Other) {
            return Ok(other);
        }
        if item.length() > MAX_REQUEST as u64 {
            return Ok(Judged::MayHold);
        }
        let content = content(self.client, item)?.to_ascii_lowercase();
        let has_picture = [&b"data:image/"[..], b"data:application/"]
            .iter()
            .any(|it| memmem::find(&content, it).is_some());
        Ok(if has_picture { Judged::MayHold } else { Judged::Other })
    }

    /// A picture or a PDF, or what somebody said is one.
    fn picture(
        &mut self,
        item: &SealedItem,
        leaf: &Item,
        is_marked: bool,
    ) -> Result<Judged, Error> {
        let sight = Sight::of(leaf).filter(|sight| sight.refused.is_none());
        let is_copy = is_marked || sight.as_ref().is_some_and(Sight::may_show_document);
        let is_none = |sight: &Sight| !is_copy && !sight.is_cut && !sight.has_more;
        if sight.as_ref().is_some_and(is_none) {
            return Ok(Judged::Other);
        }
        // What somebody marked, and what was seen to be one, is never given for want of a mask.
        let without = |why: &str| if is_copy { Judged::Black } else { Judged::unseen(why) };
        if item.length() > MAX_REQUEST as u64 {
            return Ok(without("it is too large"));
        }
        let content = content(self.client, item)?;
        let sight = sight.filter(|sight| is_copy || !sight.is_cut);
        let is_further = |sight: &Sight| sight.has_more && !sight.may_show_document();
        if sight.as_ref().is_some_and(is_further) {
            // One look is left for the pages that were read.
            let left = usize::from(is_copy && self.looks > 0);
            self.looks -= left;
            let behind = self.behind(item, &content)?;
            self.looks += left;
            // Of what somebody marked the pages that were read are masked, if it is on none of the others.
            if !is_copy || matches!(behind, Judged::Copy(_)) {
                return Ok(behind);
            }
        }
        if self.looks == 0 {
            return Ok(without(TOO_MANY));
        }
        self.looks -= 1;
        Ok(match waiting(|| masking::mask(&content, sight.as_ref()))? {
            None => without(NO_MODELS),
            Some(masking) => match &masking.sight {
                Sight { refused: Some(refused), .. } => without(&refused.to_string()),
                _ if is_copy => Judged::Copy(masking),
                seen if seen.may_show_document() => self.found(item, masking),
                Sight { is_cut: true, .. } => Judged::unseen(OUT_OF_TIME),
                Sight { has_more: true, .. } => return self.behind(item, &content),
                _ => Judged::Other,
            },
        })
    }

    /// What was found to be a copy just now is noted, if this member may: it is forgotten after the decision.
    fn found(&mut self, item: &SealedItem, masking: Masking) -> Judged {
        let is_said = self.case.card.copies.iter().any(|copy| copy.item == item.id);
        if masking.sight.shows_document() && !is_said {
            // The mask is given all the same.
            if let Err(error) = pictures::note(self.client, item.case, &[item.id]) {
                unmask::note(&format!("that this is a copy could not be noted: {error}"));
            }
        }
        Judged::Copy(masking)
    }

    /// A PDF of which the first pages show no copy: the pages behind them.
    fn behind(&mut self, item: &SealedItem, content: &[u8]) -> Result<Judged, Error> {
        match waiting(|| masking::all_behind(content, &mut self.looks))? {
            Behind::Shows(masking) => Ok(self.found(item, masking)),
            Behind::Nothing => Ok(Judged::Other),
            Behind::NotSeen(why) => Ok(Judged::NotSeen(why)),
        }
    }
}

/// What is neither a picture that is read here nor a PDF.
fn other((item, begun): (&SealedItem, &[u8]), leaf: &Item, letter: Option<&LetterView>) -> Judged {
    let has = |finding: Finding| {
        let detail = letter.and_then(|letter| letter.detail.as_ref());
        detail.is_none_or(|detail| detail.findings.contains(&finding))
    };
    let is_empty = letter.is_none_or(|letter| letter.inside(item.id).is_empty());
    let types = [Some(item.media_type()), leaf.magic.as_deref()];
    let is_logo = leaf.magic.as_deref() == Some("image/gif") && item.length() <= LOGO;
    if types.iter().flatten().any(|word| word.starts_with("image/")) && !is_logo {
        return Judged::unseen(&DecodeError::NoPicture.to_string());
    }
    let inside = match letter::inside(leaf) {
        Inside::Office if is_locked(begun) => Inside::Packed,
        inside => inside,
    };
    match inside {
        _ if has(Finding::Unparsed) => Judged::unseen("the letter could not be taken apart"),
        Inside::Packed if is_empty && has(Finding::NotUnpacked) => {
            Judged::unseen("it could not be unpacked")
        }
        Inside::Sealed => Judged::unseen("it is of a kind that is not unpacked"),
        Inside::Office if is_empty && has(Finding::NotUnpacked) => Judged::MayHold,
        Inside::Hidden => Judged::MayHold,
        _ => Judged::Other,
    }
}

/// Whether the first entry of a zip file is locked (APPNOTE 4.4.4): no office program writes that.
fn is_locked(begun: &[u8]) -> bool {
    begun.starts_with(b"PK\x03\x04") && begun.get(6).is_some_and(|flags| flags & 1 != 0)
}

/// What speaks more against giving something.
pub(super) fn worse(a: Judged, b: Judged) -> Judged {
    let weight = |judged: &Judged| match judged {
        Judged::Copy(_) | Judged::Black => 3,
        Judged::NotSeen(_) => 2,
        Judged::MayHold => 1,
        Judged::Other => 0,
    };
    if weight(&b) > weight(&a) { b } else { a }
}

/// Does what takes seconds, and shows on a terminal that something is done.
fn waiting<T>(work: impl FnOnce() -> T) -> T {
    let bar = ProgressBar::new_spinner().with_message("looking whether it is a copy");
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    let done = work();
    bar.finish_and_clear();
    done
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
