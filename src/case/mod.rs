//! A case: a request under way, its state and its dates.
//!
//! The state is a fold over what the ledger says happened: [`Case::open`], then [`step`] for each
//! event. The fold is total: an event that does not fit changes what it can and nothing else, and
//! where the order is odd the earlier, safer date counts. Whether a person may do something is
//! asked beforehand, of [`may`] and [`may_forget`]; a person decides, always.
//!
//! Pure: no I/O, no clock. Which letter belongs to which case is the business of `casebook`.

pub mod event;
pub mod notice;

use jiff::ToSpan;
use jiff::civil::Date;

pub use event::{Event, Intent, Refusal, Term};

use crate::ids::{CaseId, Digest, StaffId};
use crate::request::deadline;

/// A question pauses the clock only when it was asked within this many working days of receipt:
/// "without undue delay" (EDPB Guidelines 01/2022 on the right of access).
pub const QUICK_QUESTION: u32 = 3;

/// A request under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its number.
    pub id: CaseId,
    /// The dates that the receipt set; a letter after closing sets new ones.
    pub term: Term,
    /// The day a question was asked that is still open.
    pub asked: Option<Date>,
    /// Days during which the clock was paused, questions that were answered counted together.
    pub paused_days: u32,
    /// The day of an extension told inside the first month.
    pub extended: Option<Date>,
    /// Whether a legal hold is on it.
    pub held: bool,
    /// The day of the latest decision.
    pub decided: Option<Date>,
    /// The day it was closed, if it is.
    pub closed: Option<Date>,
    /// Letters received.
    pub letters: u32,
    /// Answers handed over to be sent in this term.
    pub answers: u32,
    /// Answers of this term known to have arrived.
    pub delivered: u32,
    /// Answers of this term known not to have arrived.
    pub failed: u32,
}

/// Where a case stands. Extension and hold go beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Someone has to do something.
    Open,
    /// A question to the sender is open.
    Asked,
    /// Nothing is left to do.
    Closed,
}

impl Case {
    /// A case with its first letter.
    #[must_use]
    pub fn open(id: CaseId, term: Term) -> Self {
        Self {
            id,
            term,
            asked: None,
            paused_days: 0,
            extended: None,
            held: false,
            decided: None,
            closed: None,
            letters: 1,
            answers: 0,
            delivered: 0,
            failed: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        match (self.closed, self.asked) {
            (Some(_), _) => State::Closed,
            (None, Some(_)) => State::Asked,
            (None, None) => State::Open,
        }
    }

    /// The day that counts: the end of the first month, of the third when extended. Never moved by
    /// a pause, which an authority may see otherwise: plan on this one.
    #[must_use]
    pub fn due(&self) -> Date {
        if self.extended.is_some() { self.term.three_months } else { self.term.one_month }
    }

    /// The day if the pause holds, up to `today` for a question that is still open; shown beside
    /// [`due`](Self::due). `None` when the clock was never paused.
    #[must_use]
    pub fn due_with_pause(&self, today: Date) -> Option<Date> {
        let days = self.paused_days.saturating_add(self.pause_until(today));
        if days == 0 {
            return None;
        }
        let due = deadline::due(self.term.received);
        let raw = if self.extended.is_some() { due.three_months_raw } else { due.one_month_raw };
        let moved = deadline::working_day_from(raw.saturating_add(i64::from(days).days()));
        Some(moved.max(self.due()))
    }

    /// Whether an answer went out that is not known to have failed.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answers > self.failed
    }

    /// Days that the open question has paused the clock for on `today`.
    fn pause_until(&self, today: Date) -> u32 {
        let Some(asked) = self.asked else { return 0 };
        if asked > deadline::working_days_after(self.term.received, QUICK_QUESTION) {
            return 0;
        }
        u32::try_from(today.duration_since(asked).as_hours() / 24).unwrap_or(0)
    }

    fn end_question(&mut self, on: Date) {
        self.paused_days = self.paused_days.saturating_add(self.pause_until(on));
        self.asked = None;
    }

    fn begin_term(&mut self, term: Term) {
        let Self { id, held, letters, .. } = *self;
        *self = Self { held, letters, ..Self::open(id, term) };
    }
}

/// The case after `event`, which happened `on` this day in Belgium.
///
/// Total and without judgement: a repeated event changes nothing more, one that does not fit is
/// taken as far as it can be true.
#[must_use]
pub fn step(mut case: Case, on: Date, event: Event) -> Case {
    match event {
        Event::Opened(term) => {
            if term.received < case.term.received {
                case.term = term;
            }
        }
        Event::LetterJoined => {
            case.letters = case.letters.saturating_add(1);
            // It may be the answer that was waited for: the earlier date is the safe one.
            case.end_question(on);
        }
        Event::Asked => case.asked = case.asked.or(Some(on)),
        Event::AnsweredQuestion => case.end_question(on),
        Event::Extended => {
            // Told after the first month it has no effect in law, whatever was recorded.
            if on <= case.term.one_month {
                case.extended = case.extended.or(Some(on));
            }
        }
        Event::Held => case.held = true,
        Event::HoldLifted => case.held = false,
        Event::Decided => case.decided = Some(on),
        Event::Answered => case.answers = case.answers.saturating_add(1),
        Event::Delivered => case.delivered = case.delivered.saturating_add(1),
        Event::DeliveryFailed => case.failed = case.failed.saturating_add(1),
        Event::Closed => {
            case.end_question(on);
            case.closed = case.closed.or(Some(on));
        }
        Event::Reopened(term) => {
            case.letters = case.letters.saturating_add(1);
            if case.closed.is_some() {
                case.begin_term(term);
            } else {
                case.end_question(on);
            }
        }
    }
    case
}

/// Whether a person may do this to the case on `today`.
///
/// # Errors
/// The [`Refusal`] that stands in the way; nothing has changed then.
pub fn may(case: &Case, today: Date, intent: Intent) -> Result<(), Refusal> {
    let refusal = match intent {
        // A hold has nothing to do with where the case stands: it protects what is kept.
        Intent::Hold => case.held.then_some(Refusal::Held),
        Intent::LiftHold => (!case.held).then_some(Refusal::NotHeld),
        _ if case.closed.is_some() => Some(Refusal::Closed),
        Intent::Ask => case.asked.is_some().then_some(Refusal::AlreadyAsked),
        Intent::AnswerQuestion => case.asked.is_none().then_some(Refusal::NothingAsked),
        Intent::Extend if case.extended.is_some() => Some(Refusal::AlreadyExtended),
        Intent::Extend => (today > case.term.one_month).then_some(Refusal::TooLateToExtend),
        Intent::Identify | Intent::Decide | Intent::Answer => None,
        Intent::Close => {
            (case.decided.is_none() && !case.is_answered()).then_some(Refusal::Undecided)
        }
    };
    refusal.map_or(Ok(()), Err)
}

/// Leave to do what cannot be undone. Demanded by whatever forgets; it names a person or a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    staff: Option<StaffId>,
    ground: Ground,
}

/// What an [`Approval`] rests on. Stays out of the ledger where it would tell the right invoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The person asked for erasure, and it was granted (GDPR Art. 17).
    Erasure,
    /// Who asks was settled, and a copy of an identity document is not needed any more (EDPB 01/2022,
    /// no. 78): built in as well, once the case is decided and the time of the policy is over.
    IdentityChecked,
    /// It never should have been kept: misdirected, unasked for, no request.
    NotNeeded,
    /// A retention rule, in the version of the policy with this hash (GDPR Art. 5(1)(e)).
    Retention(Digest),
    /// The other rule that is built in: a mail seven days after it was delivered; a reply address and
    /// a mail that never left once their case is closed and they are seven days old (design §5); a list
    /// of people on file once a newer one took its place. None holds what a person asked for.
    ServedItsTime,
}

impl Approval {
    /// A member of the staff approves, on this ground. For [`Ground::Retention`] it is the member
    /// who signed that version of the policy.
    #[must_use]
    pub fn by(staff: StaffId, ground: Ground) -> Self {
        Self { staff: Some(staff), ground }
    }

    /// The built-in rule approves; no person does.
    #[must_use]
    pub fn served_its_time() -> Self {
        Self { staff: None, ground: Ground::ServedItsTime }
    }

    /// The built-in rule about copies of identity documents approves; no person does.
    #[must_use]
    pub fn identity_checked() -> Self {
        Self { staff: None, ground: Ground::IdentityChecked }
    }

    /// Who approved; nobody for a built-in rule.
    #[must_use]
    pub fn staff(&self) -> Option<StaffId> {
        self.staff
    }

    /// On what ground.
    #[must_use]
    pub fn ground(&self) -> Ground {
        self.ground
    }
}

/// Whether something of this case may be forgotten with this approval.
///
/// # Errors
/// [`Refusal::Held`]: a legal hold beats every approval. [`Refusal::StillOpen`]: a retention rule
/// never reaches into a case under way; a person may.
pub fn may_forget(case: &Case, approval: &Approval) -> Result<(), Refusal> {
    match approval.ground {
        _ if case.held => Err(Refusal::Held),
        Ground::Retention(_) if case.closed.is_none() => Err(Refusal::StillOpen),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
