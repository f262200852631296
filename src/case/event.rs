//! What can happen to a case, and what a person may ask of it.
//!
//! An [`Event`] has happened: it is folded in, whatever the state. An [`Intent`] has not: [`may`]
//! says whether it is open to a person now, before anything is recorded. Neither says what a
//! letter is about: no right, no category, no reason.
//!
//! [`may`]: super::may

use jiff::civil::Date;

use crate::request::deadline;

/// The dates that one receipt sets, as they were recorded: what the ledger says counts, even if a
/// later version would count the days another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The day of receipt in Belgium.
    pub received: Date,
    /// The last day of the first month (GDPR Art. 12(3)).
    pub one_month: Date,
    /// The last day of the third month, counted from receipt.
    pub three_months: Date,
}

impl Term {
    /// What the law sets for something received on this day.
    #[must_use]
    pub fn of(received: Date) -> Self {
        let due = deadline::due(received);
        Self { received, one_month: due.one_month_due, three_months: due.three_months_due }
    }
}

/// Something that happened to a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its first letter came.
    Opened(Term),
    /// Another letter came.
    LetterJoined,
    /// A person asked the sender a reasoned question about who they are (GDPR Art. 12(6)).
    Asked,
    /// The question was answered, by letter or otherwise.
    AnsweredQuestion,
    /// A person told the sender, with reasons, that it takes up to three months.
    Extended,
    /// A legal hold: nothing of the case may be forgotten.
    Held,
    /// The hold ended.
    HoldLifted,
    /// A person decided what is done about the request.
    Decided,
    /// A person approved an answer, and it was handed over to be sent.
    Answered,
    /// An answer was accepted by the receiving server, or given otherwise.
    Delivered,
    /// An answer could not be delivered.
    DeliveryFailed,
    /// A person closed it.
    Closed,
    /// A letter came after it was closed: a new term begins.
    Reopened(Term),
}

/// What a person wants to do to a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Ask a question, which may pause the clock.
    Ask,
    /// Say that the question was answered.
    AnswerQuestion,
    /// Extend to three months.
    Extend,
    /// Put it under a legal hold.
    Hold,
    /// Lift the legal hold.
    LiftHold,
    /// Record who asks: evidence, what is accepted of it, a doubt.
    Identify,
    /// Decide.
    Decide,
    /// Send an answer.
    Answer,
    /// Close it.
    Close,
}

/// Why something is not open to a person now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is closed.
    #[error("the case is closed")]
    Closed,
    /// It is not closed, and what was asked needs that.
    #[error("the case is still open")]
    StillOpen,
    /// A question is open already.
    #[error("a question is open already")]
    AlreadyAsked,
    /// No question is open.
    #[error("no question is open")]
    NothingAsked,
    /// It was extended before; the law extends once.
    #[error("the case was extended already")]
    AlreadyExtended,
    /// The first month is over; an extension must be told inside it (GDPR Art. 12(3)).
    #[error("the first month is over, within which an extension must be told")]
    TooLateToExtend,
    /// A legal hold is on it.
    #[error("a legal hold is on the case")]
    Held,
    /// No legal hold is on it.
    #[error("no legal hold is on the case")]
    NotHeld,
    /// Nobody decided or answered: a case is never closed by silence.
    #[error("nobody has decided or answered yet")]
    Undecided,
}
