//! Copies of identity documents: which items are one, until when they are kept, and that they go.
//!
//! The confined reader says so of an item when it comes, or a member does, and a member can say that it is
//! none: the newest counts. Once the case is decided the copy has the time of the policy left; then the
//! server forgets it by itself, with what it was taken out of, once `overdue` is sure of it. A legal hold
//! stops that. What stays is who checked it, and when.

use std::collections::HashSet;
use std::time::Duration;

use minicbor::{Decode, Encode};

use super::overdue::{ClockSet, Moment};
use super::record::Recording;
use super::state::State;
use super::{Act, Casebook, Error, lock};
use crate::case::{self, Approval, Case};
use crate::identity::policy::CopyTime;
use crate::ids::{CaseId, ItemId, LetterId, StaffId};
use crate::ledger::entry::{Entry, Fact, NO_COPY, READ_AT_DESK};
use crate::store::Batch;
use crate::vault::seal::Kind;

pub use super::overdue::SEEN_AGAIN;

/// Minutes in which a vault that was made anew from a backup forgets no copy by itself.
const AFTER_RESTORE: u64 = 24 * 60;

/// What the ledger says of an item that is, or was said to be, a copy of an identity document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRecord {
    /// The item.
    pub item: ItemId,
    /// Its letter.
    pub letter: LetterId,
    /// Whether the newest word about it is that it is one.
    pub is_copy: bool,
    /// Whose word that is; none if it is the confined reader's.
    pub by: Option<StaffId>,
    /// When its time began, in minutes since 1970, as the clock then said: once it was there and the case
    /// was decided.
    pub since: Option<u64>,
    /// When it was forgotten.
    pub forgotten: Option<u64>,
}

/// That a member checked a copy of an identity document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckRecord {
    /// Who.
    pub staff: StaffId,
    /// When, in minutes since 1970.
    pub minute: u64,
    /// Which item it was, if it was one of the case.
    pub item: Option<ItemId>,
}

/// What the ledger says of the copies of one case.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    /// The items, in the order in which something was said of them first.
    pub items: Vec<CopyRecord>,
    /// The checks, oldest first.
    pub checks: Vec<CheckRecord>,
}

impl Copies {
    /// Takes one entry of the case in, which now stands like this.
    pub(super) fn apply(&mut self, entry: &Entry, case: &Case) {
        match entry.kind {
            Fact::IdentityCopy => self.mark(entry, case),
            Fact::IdentityChecked => {
                let check = |staff| CheckRecord { staff, minute: entry.minute, item: entry.item };
                self.checks.extend(entry.staff.map(check));
                let checked = self.items.iter_mut().find(|copy| Some(copy.item) == entry.item);
                if let Some(copy) = checked.filter(|copy| copy.is_copy && is_decided(case)) {
                    copy.since.get_or_insert(entry.minute);
                }
            }
            // An answer leaves only where somebody accepted who asks.
            Fact::Decided | Fact::Answered | Fact::Closed => {
                for copy in self.items.iter_mut().filter(|copy| copy.is_copy) {
                    copy.since.get_or_insert(entry.minute);
                }
            }
            Fact::Forgotten => {
                let copy = self.items.iter_mut().find(|copy| Some(copy.item) == entry.item);
                if let Some(copy) = copy {
                    copy.forgotten.get_or_insert(entry.minute);
                }
            }
            _ => {}
        }
    }

    fn mark(&mut self, entry: &Entry, case: &Case) {
        let (Some(item), Some(letter)) = (entry.item, entry.letter) else { return };
        let is_copy = entry.count != Some(NO_COPY);
        // Whose machine a reader was on says nothing of what that member saw.
        let by = entry.staff.filter(|_| entry.count != Some(READ_AT_DESK));
        // An answer of before may have asked for it: only what is decided by now starts its time. And only
        // the word of a member, who saw it: what the reader marks waits for somebody.
        let starts = is_copy && by.is_some() && is_decided(case);
        let since = starts.then_some(entry.minute);
        match self.items.iter_mut().find(|copy| copy.item == item) {
            // To say it again gives it no more time.
            Some(copy) if copy.is_copy && is_copy => {
                copy.by = by.or(copy.by);
                copy.since = copy.since.or(since);
            }
            // Who has looked knows better than the reader.
            Some(copy) if copy.by.is_some() && by.is_none() => {}
            Some(copy) => (copy.is_copy, copy.by, copy.since) = (is_copy, by, since),
            None => {
                let forgotten = None;
                self.items.push(CopyRecord { item, letter, is_copy, by, since, forgotten });
            }
        }
    }
}

fn is_decided(case: &Case) -> bool {
    case.decided.is_some() || case.closed.is_some()
}

/// What a member says of an item: that it is a copy of an identity document, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Mark {
    /// The item.
    #[n(0)]
    pub item: ItemId,
    /// Whether it is one.
    #[n(1)]
    pub is_copy: bool,
    /// Whether that is the word of the reader of pictures, and not the member's.
    #[cbor(n(2), default)]
    pub by_reader: bool,
}

/// That a member checked a copy of an identity document: an item of the case, or one that never was in
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Check {
    /// Which item.
    #[n(0)]
    pub item: Option<ItemId>,
}

/// A copy in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CopyCard {
    /// The item.
    #[n(0)]
    pub item: ItemId,
    /// Whether the newest word about it is that it is one.
    #[n(1)]
    pub is_copy: bool,
    /// Whose word that is; none if it is the confined reader's.
    #[n(2)]
    pub by: Option<StaffId>,
    /// When it is forgotten by itself, in minutes since 1970, unless a hold is on the case; none if the
    /// case is not decided.
    #[n(3)]
    pub due: Option<u64>,
    /// When it was forgotten.
    #[n(4)]
    pub forgotten: Option<u64>,
}

/// A check in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CheckCard {
    /// Who.
    #[n(0)]
    pub staff: StaffId,
    /// When, in minutes since 1970.
    #[n(1)]
    pub minute: u64,
    /// Which item it was, if it was one of the case.
    #[n(2)]
    pub item: Option<ItemId>,
}

impl Casebook {
    /// From now on copies are kept so long once their case is decided.
    pub fn keep_copies_for(&self, time: CopyTime) {
        *lock(&self.copy_time) = time;
    }

    /// How long copies are kept once their case is decided.
    pub(super) fn copy_time(&self) -> CopyTime {
        *lock(&self.copy_time)
    }

    /// Forgets copies whose time is surely over, each with what it was taken out of, and what was taken
    /// out of it. Gives how many boxes. The turn is held.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn forget_copies(&self, steady: Duration) -> Result<usize, Error> {
        let approval = Approval::identity_checked();
        let now = Moment { wall: self.clock.seconds(), steady };
        let due = due(&self.state(), now.wall / 60, self.copy_time(), &approval);
        let over: HashSet<ItemId> = due.iter().flat_map(|(_, items)| items).copied().collect();
        let sure = match lock(&self.overdue).round(now, &over) {
            Ok(sure) => sure,
            Err(ClockSet { by, is_news }) => {
                if is_news {
                    let minutes = by.as_secs() / 60;
                    tracing::warn!(
                        minutes,
                        "the clock was set: what it says of copies of identity documents is not \
                         believed for half an hour"
                    );
                }
                return Ok(0);
            }
        };
        let mut count = 0;
        for (case, mut items) in due {
            items.retain(|item| sure.contains(item));
            // One case that does not add up must not keep the copies of all others.
            let records = match self.to_forget(case, &approval, &items) {
                Ok(records) => records,
                Err(error) => {
                    tracing::error!(%case, %error, "copies of identity documents are not forgotten");
                    continue;
                }
            };
            if !records.is_empty() {
                self.drop_keys(&records, &approval)?;
            }
            count += records.len();
        }
        if count > 0 {
            tracing::info!(boxes = count, "copies of identity documents were forgotten");
        }
        Ok(count)
    }

    /// The copies of a case and the checks of them, as a listing has them.
    pub(super) fn copy_cards(&self, copies: &Copies) -> (Vec<CopyCard>, Vec<CheckCard>) {
        let minutes = self.copy_time().minutes();
        let (state, now) = (self.state(), self.clock.minutes());
        let card = |copy: &CopyRecord| {
            let record = state.boxed(Kind::Item, copy.item);
            let came = record.map(|record| record.minute);
            let from = copy.since.map(|since| begun(since, came, now));
            CopyCard {
                item: copy.item,
                is_copy: copy.is_copy,
                by: copy.by,
                due: from.map(|from| from.saturating_add(minutes)),
                forgotten: copy.forgotten,
            }
        };
        let cards = copies.items.iter().map(card);
        let checks = copies.checks.iter();
        let checks =
            checks.map(|&CheckRecord { staff, minute, item }| CheckCard { staff, minute, item });
        (cards.collect(), checks.collect())
    }

    /// Whether what a recording says of copies belongs to it and to its case.
    pub(super) fn marks_fit(&self, recording: &Recording) -> Result<(), Error> {
        let fits = match recording.act {
            Act::Copy => !recording.marks.is_empty() && recording.check.is_none(),
            Act::Evidence => recording.marks.is_empty() || recording.check.is_some(),
            _ => recording.marks.is_empty() && recording.check.is_none(),
        };
        if !fits {
            return Err(Error::Malformed("what it says of copies does not belong here"));
        }
        let state = self.state();
        let is_forgotten = |item: ItemId| {
            let record =
                state.boxed(Kind::Item, item).filter(|record| record.case == recording.case);
            record.map(|record| record.forgotten).ok_or(Error::Unknown("item"))
        };
        for mark in &recording.marks {
            if is_forgotten(mark.item)? {
                return Err(Error::Malformed("the item was forgotten"));
            }
        }
        recording
            .check
            .and_then(|check| check.item)
            .map_or(Ok(()), |item| is_forgotten(item).map(drop))
    }

    /// Enters what a recording says of copies.
    pub(super) fn add_marks(&self, batch: &mut Batch, staff: StaffId, recording: &Recording) {
        let state = self.state();
        let entry = |kind: Fact, item: Option<ItemId>, count: Option<u64>| {
            let record = item.and_then(|item| state.boxed(Kind::Item, item));
            Entry {
                case: Some(recording.case),
                letter: record.map(|record| record.place.letter),
                item,
                staff: Some(staff),
                count,
                ..self.entry(kind)
            }
        };
        let marks = recording.marks.iter();
        batch.entries.extend(marks.map(|mark| {
            let count = match (mark.is_copy, mark.by_reader) {
                (false, _) => Some(NO_COPY),
                (true, true) => Some(READ_AT_DESK),
                (true, false) => None,
            };
            entry(Fact::IdentityCopy, Some(mark.item), count)
        }));
        let check = recording.check.iter();
        batch.entries.extend(check.map(|check| entry(Fact::IdentityChecked, check.item, None)));
    }
}

/// When the time of a copy began: by a clock that was slow at the decision, not before it came; that it came
/// later than now says a clock that was fast.
fn begun(since: u64, came: Option<u64>, now: u64) -> u64 {
    since.max(came.filter(|came| *came <= now).unwrap_or(0))
}

/// The copies whose time is over, by case; none of a case under a legal hold.
fn due(state: &State, now: u64, time: CopyTime, approval: &Approval) -> Vec<(CaseId, Vec<ItemId>)> {
    let mut due = Vec::new();
    // A restored vault may lack a hold, or the word that an item is no copy: there is a day to say it.
    if state.restored.is_some_and(|minute| now < minute.saturating_add(AFTER_RESTORE)) {
        return due;
    }
    for (&case, known) in &state.cases {
        let is_due = |copy: &&CopyRecord| {
            let record = state.boxed(Kind::Item, copy.item);
            let came = record.map(|record| record.minute);
            let from = copy.since.map(|since| begun(since, came, now));
            let is_over = from.is_some_and(|from| now >= from.saturating_add(time.minutes()));
            copy.is_copy && is_over && record.is_some_and(|r| r.case == case && !r.forgotten)
        };
        let items: Vec<ItemId> =
            known.copies.items.iter().filter(is_due).map(|copy| copy.item).collect();
        if !items.is_empty() && case::may_forget(&known.case, approval).is_ok() {
            due.push((case, items));
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Event, Term, step};
    use jiff::civil::date;

    /// A case with one item, and what is entered of it, minute by minute.
    struct Story {
        case: Case,
        copies: Copies,
        item: ItemId,
        letter: LetterId,
        minute: u64,
    }

    impl Story {
        fn new() -> Self {
            let case = Case::open(CaseId::random(), Term::of(date(2026, 11, 2)));
            let (item, letter) = (ItemId::random(), LetterId::random());
            Self { case, copies: Copies::default(), item, letter, minute: 0 }
        }

        fn entry(mut self, kind: Fact, staff: Option<StaffId>, count: Option<u64>) -> Self {
            self.minute += 10;
            let entry = Entry {
                case: Some(self.case.id),
                letter: Some(self.letter),
                item: Some(self.item),
                staff,
                count,
                ..Entry::new(kind, self.minute)
            };
            let event = match kind {
                Fact::Decided => Some(Event::Decided),
                Fact::Answered => Some(Event::Answered),
                Fact::Closed => Some(Event::Closed),
                Fact::LetterReceived => Some(Event::Reopened(Term::of(date(2026, 12, 2)))),
                _ => None,
            };
            if let Some(event) = event {
                self.case = step(self.case.clone(), date(2026, 11, 3), event);
            }
            self.copies.apply(&entry, &self.case);
            self
        }

        /// The reader of pictures says that it is one.
        fn seen(self) -> Self {
            self.entry(Fact::IdentityCopy, None, None)
        }

        /// A reader on a member's machine says so.
        fn seen_at_desk(self) -> Self {
            self.entry(Fact::IdentityCopy, Some(StaffId(1)), Some(READ_AT_DESK))
        }

        fn said(self, is_copy: bool) -> Self {
            let count = (!is_copy).then_some(NO_COPY);
            self.entry(Fact::IdentityCopy, Some(StaffId(1)), count)
        }

        fn happens(self, kind: Fact) -> Self {
            self.entry(kind, Some(StaffId(1)), None)
        }

        /// Whether it is a copy, and since when its time runs.
        fn stands(&self) -> Option<(bool, Option<u64>)> {
            self.copies.items.first().map(|copy| (copy.is_copy, copy.since))
        }
    }

    #[test]
    fn the_time_of_a_copy_begins_with_what_ends_the_question_who_asks() {
        let one = || Story::new().seen();
        assert_eq!(Story::new().stands(), None);
        assert_eq!(one().stands(), Some((true, None)), "nothing is decided");
        for kind in [Fact::Decided, Fact::Answered, Fact::Closed] {
            assert_eq!(one().happens(kind).stands(), Some((true, Some(20))), "{kind:?}");
        }
        for kind in [Fact::Asked, Fact::Extended, Fact::ProofAccepted, Fact::EvidenceRecorded] {
            assert_eq!(one().happens(kind).stands(), Some((true, None)), "{kind:?}");
        }
        // The first of them counts.
        let twice = one().happens(Fact::Answered).happens(Fact::Decided);
        assert_eq!(twice.stands(), Some((true, Some(20))));
        // It came into a case that was decided already, and a member says so; an answer of before may have
        // asked for it.
        let late = |kind| Story::new().happens(kind).said(true).stands();
        assert_eq!(late(Fact::Decided), Some((true, Some(20))));
        assert_eq!(late(Fact::Closed), Some((true, Some(20))));
        assert_eq!(late(Fact::Answered), Some((true, None)));
        // On the word of the reader alone it waits until somebody checks it, or decides again.
        let unseen = || Story::new().happens(Fact::Decided).seen();
        assert_eq!(unseen().stands(), Some((true, None)));
        for kind in [Fact::IdentityChecked, Fact::Decided, Fact::Closed] {
            assert_eq!(unseen().happens(kind).stands(), Some((true, Some(30))), "{kind:?}");
        }
        // Wherever it read.
        let at_desk = || Story::new().happens(Fact::Decided).seen_at_desk();
        assert_eq!(at_desk().stands(), Some((true, None)));
        assert_eq!(at_desk().copies.items[0].by, None, "the member said nothing");
        assert_eq!(at_desk().said(true).stands(), Some((true, Some(30))));
        assert_eq!(Story::new().said(false).seen_at_desk().stands(), Some((false, None)));
        // And the reader does not overrule a member.
        assert_eq!(Story::new().said(false).seen().stands(), Some((false, None)));
        // What opens the case again waits for another decision; what was there before does not.
        let closed = Story::new().happens(Fact::Closed);
        assert_eq!(closed.happens(Fact::LetterReceived).seen().stands(), Some((true, None)));
        let before = one().happens(Fact::Closed).happens(Fact::LetterReceived);
        assert_eq!(before.stands(), Some((true, Some(20))));
    }

    #[test]
    fn a_clock_that_was_wrong_at_the_decision_does_not_end_its_time_before_it_came() {
        assert_eq!(begun(500, Some(400), 900), 500, "as it should be");
        assert_eq!(begun(0, Some(400), 900), 400, "slow at the decision");
        assert_eq!(begun(500, Some(99_000), 900), 500, "fast when it came");
        assert_eq!(begun(500, None, 900), 500);
    }

    #[test]
    fn the_newest_word_about_an_item_counts_and_saying_it_again_gives_no_more_time() {
        let story = Story::new().seen().said(false);
        assert_eq!(story.stands(), Some((false, None)));
        let story = story.happens(Fact::Decided);
        assert_eq!(story.stands(), Some((false, None)), "no copy, no time");
        let story = story.said(true);
        assert_eq!(story.stands(), Some((true, Some(40))));
        let story = story.said(true).seen().happens(Fact::Closed);
        assert_eq!(story.stands(), Some((true, Some(40))));
        assert_eq!(story.copies.items.len(), 1);
        // A number that a later version may write is a copy: the safe side.
        let odd = Story::new().entry(Fact::IdentityCopy, None, Some(7));
        assert_eq!(odd.stands(), Some((true, None)));
    }

    #[test]
    fn a_check_and_the_end_of_a_copy_are_remembered_with_their_time() {
        let story = Story::new().seen().happens(Fact::IdentityChecked);
        let story = story.happens(Fact::Forgotten).happens(Fact::Forgotten);
        let check = CheckRecord { staff: StaffId(1), minute: 20, item: Some(story.item) };
        assert_eq!(story.copies.checks, [check]);
        assert_eq!(story.copies.items[0].forgotten, Some(30));
    }
}
