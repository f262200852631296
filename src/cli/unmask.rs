//! Copies of identity documents that staff take out of the vault: masked, or as they came, with a reason.
//!
//! A copy is given as it came only when the ledger says who had it and a note says why. The same holds for
//! a picture that nobody could look at, and for what cannot be opened to look into it.

use std::io::Write as _;

use clap::Args;
use zeroize::Zeroizing;

use super::judging::{Judge, Judged, worse};
use super::{Error, case};
use crate::identity::mask;
use crate::ids::{CaseId, ItemId, LetterId};
use crate::letter::Role;
use crate::staff::answers;
use crate::staff::client::{CaseView, Client, LetterView, SealedItem};

/// How a copy of an identity document is taken out as it came.
#[derive(Args)]
pub(super) struct Unmasking {
    /// Give copies of identity documents, and what nobody could look at, as they came and not masked: the
    /// ledger says so
    #[arg(long, requires = "reason")]
    unmasked: bool,
    /// Why it is needed so, in your own words: a note of the case
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

    /// Holds the reason to what it must be, before anything is entered or given.
    ///
    /// # Errors
    /// There are no words in it, or they tell what is forgotten with the copy.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.words().map(drop)
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

/// What an item is given as.
///
/// # Errors
/// It holds copies inside, so that it cannot be masked, or nobody could look; what the server says.
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
    let view = client.case(item.case)?;
    let mut judge = Judge::new(client, &view);
    Ok(match judge.one(item)? {
        Judged::Copy(masking) => {
            Given::Masked(Zeroizing::new(mask::png(&masking.pages)), masking.words())
        }
        Judged::Black => Given::Masked(Zeroizing::new(mask::png(&[])), "all black".into()),
        Judged::NotSeen(why) => return Err(not_seen(&why)),
        itself => Given::AsItCame(may_pass(worse(itself, judge.inside(item)?), "this item")?),
    })
}

/// Whether items of a case may go into an answer: none of them is a copy of an identity document, nor
/// holds one, and somebody could look. Each is a look.
///
/// # Errors
/// One may not; what the server says.
pub(super) fn may_be_sent(
    client: &mut Client,
    case: &CaseView,
    items: &[ItemId],
) -> Result<(), Error> {
    let inside =
        |item: &ItemId| case.letters.iter().flat_map(|letter| letter.inside(*item)).collect();
    let inside: Vec<Vec<ItemId>> = items.iter().map(inside).collect();
    let all = [items.to_vec(), inside.concat()].concat();
    match Judge::new(client, case).all(&all)? {
        Judged::Other | Judged::MayHold => Ok(()),
        Judged::NotSeen(why) => Err(not_seen(&why).hint(
            "`kluis who CASE --no-copy ITEM WORDS` says that it is none, and then it goes; `kluis doctor` \
             says whether this machine can read pictures",
        )),
        Judged::Copy(_) | Judged::Black => Err(answers::Error::Copy.into()),
    }
}

/// What is to be said of something that is given as it came, if it may be.
///
/// # Errors
/// It holds a copy, or nobody could look.
fn may_pass(judged: Judged, what: &str) -> Result<Option<String>, Error> {
    match judged {
        Judged::Other => Ok(None),
        Judged::MayHold => Ok(Some(format!("as it came: nobody looked into all of {what}"))),
        Judged::NotSeen(why) => Err(not_seen(&why)),
        Judged::Copy(_) | Judged::Black => Err(refused(what)),
    }
}

/// That nobody could look whether something is a copy.
fn not_seen(why: &str) -> Error {
    Error::new(format!("nobody looked whether it is a copy of an identity document: {why}")).hint(
        "--unmasked --reason WORDS gives it as it came, and the ledger says so; `kluis doctor` says \
         whether this machine can read pictures; `kluis who CASE --no-copy ITEM` says that one is none",
    )
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
/// It holds copies, or nobody could look; what the server says.
pub(super) fn may_leave(
    client: &mut Client,
    (case, letter): (&CaseView, &LetterView),
    unmasking: &Unmasking,
) -> Result<(), Error> {
    let kept = |id: &ItemId| {
        !letter.card.items.iter().any(|(item, _, forgotten)| item == id && *forgotten)
    };
    let cards = letter.detail.iter().flat_map(|detail| &detail.items);
    if unmasking.is_wanted() {
        // Which of them are copies nobody has to find out then: all of them leave.
        let others = cards.filter(|card| card.role != Role::Body).map(|card| card.id);
        let items: Vec<ItemId> = others.filter(kept).collect();
        let skeleton = letter.detail.iter().filter_map(|detail| detail.skeleton);
        let all = if items.is_empty() { skeleton.collect() } else { items };
        return unmasking.enter(client, case.card.case, (letter.id(), all)).map(drop);
    }
    let items: Vec<ItemId> = cards.map(|card| card.id).filter(kept).collect();
    let judged = Judge::new(client, case).all(&items)?;
    let said = may_pass(judged, "the letter")?;
    said.iter().for_each(|said| note(said));
    Ok(())
}

/// Says something beside what goes to standard output.
pub(super) fn note(words: &str) {
    // If nobody listens, what was asked for is given all the same.
    let _ = writeln!(std::io::stderr(), "note: {words}");
}
