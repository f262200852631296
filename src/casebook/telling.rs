//! Notices: whether one goes out, and how far it has come (design §13).
//!
//! A notice goes out at most once. That it may is decided with the letter and is one frame with it;
//! that it is about to be handed over is durable before the first byte leaves. What a crash leaves
//! between the two is entered as unknown at the next start and never sent again.

use super::receive::{Arrival, Cut};
use super::record::Due;
use super::state::Sending;
use super::{Casebook, Error, NoticeFacts, lock};
use crate::case::notice::{self, Knock, LOOKS_BACK, Sent, Silence};
use crate::ids::{CaseId, LetterId};
use crate::ledger::entry::{
    Entry, Fact, NOTICE_DEFERRED, NOTICE_REFUSED, NOTICE_TAKEN, NOTICE_UNKNOWN,
};
use crate::letter::{Envelope, Letter};
use crate::request::deadline;
use crate::secret::Personal;

/// A notice on its way into the batch of its letter.
pub(super) struct Telling {
    pub(super) mail: Vec<u8>,
    /// Held until the letter is committed.
    _claim: Claim,
}

/// A share of the budgets, taken before the letter is committed and given back with it: by then the
/// ledger counts it.
struct Claim {
    number: u64,
    claims: std::sync::Arc<std::sync::Mutex<Claims>>,
}

/// What was claimed and is not in the ledger yet.
#[derive(Default)]
pub(super) struct Claims {
    next: u64,
    open: Vec<(u64, u64, Personal<String>)>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.claims).open.retain(|(number, ..)| *number != self.number);
    }
}

/// How handing over a notice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// The next server took it.
    Taken,
    /// It was refused for good.
    Refused,
    /// It was not taken, surely: later.
    Deferred,
    /// Nobody knows.
    Unknown,
}

impl Casebook {
    /// Decides whether the sender of a new case is told: the notice with its claim on the budgets, or
    /// why not.
    pub(super) fn may_tell(
        &self,
        arrival: &Arrival,
        cut: &Cut,
        envelope: &Envelope,
        sender: Option<&Personal<String>>,
        names_case: bool,
    ) -> (Option<Telling>, Option<Silence>) {
        let letter = cut.letter();
        let origin = arrival.origin.as_ref();
        let tells = self.tells.read().expect("no holder panics");
        let knock = Knock { letter, envelope, origin, ours: &tells.ours, names_case };
        let gate = if tells.is_on { notice::gate(&knock) } else { Err(Silence::Off) };
        let told = gate.and_then(|()| {
            let to = sender.ok_or(Silence::NoAuthor)?;
            let claim = self.claim(to)?;
            let mail = self.written(arrival, letter, to.expose()).ok_or(Silence::Unwritable)?;
            Ok(Telling { mail, _claim: claim })
        });
        match told {
            Ok(telling) => (Some(telling), None),
            Err(silence) => (None, Some(silence)),
        }
    }

    fn claim(&self, to: &Personal<String>) -> Result<Claim, Silence> {
        let now = self.clock.minutes();
        let mut claims = lock(&self.claims);
        let state = self.state();
        let contacts = self.contacts.read().expect("no holder panics");
        let same = |to: &str, other: &str| to.eq_ignore_ascii_case(other);
        // Of a case with several senders the one that asks counts.
        let address = |case: &CaseId| {
            let all = contacts.senders.get(case)?;
            let asking = all.iter().find(|one| same(one.expose(), to.expose()));
            asking.or(all.first()).map(|to| to.expose().as_str())
        };
        let known = state.notices.iter().filter(|(minute, _)| minute + LOOKS_BACK > now);
        let known = known.map(|(minute, case)| Sent { minute: *minute, to: address(case) });
        let open = claims.open.iter();
        let open = open.map(|(_, minute, to)| Sent { minute: *minute, to: Some(to.expose()) });
        let sent: Vec<Sent<'_>> = known.chain(open).collect();
        let refused = notice::budget(&sent, to.expose(), now).err();
        drop(sent);
        if refused == Some(Silence::Breaker) {
            tracing::error!(
                "so many notices within an hour that something is wrong: none for a day"
            );
        }
        if let Some(silence) = refused {
            return Err(silence);
        }
        claims.next += 1;
        let number = claims.next;
        claims.open.push((number, now, to.clone()));
        Ok(Claim { number, claims: std::sync::Arc::clone(&self.claims) })
    }

    /// The notice for the sender of a new case; none if it cannot be written to them.
    fn written(&self, arrival: &Arrival, letter: &Letter, to: &str) -> Option<Vec<u8>> {
        let text = letter.items.iter().find_map(|item| item.text.as_ref());
        let answered = letter.headers.message_id.as_ref();
        let facts = NoticeFacts {
            case: arrival.fresh,
            due: deadline::due(arrival.received).one_month_due,
            text: text.map_or("", |t| t.expose().as_str()),
            to,
            in_reply_to: answered.map(|id| id.expose().as_str()),
            now: self.clock.seconds(),
        };
        (self.notice)(&facts)
    }

    /// Whether notices go out at all, and which addresses are our own.
    pub fn tell(&self, is_on: bool, ours: Vec<String>) {
        *self.tells.write().expect("no holder panics") = Tells { is_on, ours };
    }

    /// Enters that a notice is about to be handed over. When this returns, it is durable.
    ///
    /// # Errors
    /// What the store says: nothing may be sent then.
    pub fn begin_notice(&self, due: &Due) -> Result<(), Error> {
        let entry = Entry { letter: Some(due.id), ..self.entry(Fact::NoticeSending) };
        self.record_fact(Entry { case: Some(due.case()), ..entry }).map(drop)
    }

    /// Enters how handing over a notice ended.
    ///
    /// # Errors
    /// What the store says.
    pub fn end_notice(&self, due: &Due, how: Handed) -> Result<(), Error> {
        self.note_notice(due.id, due.case(), how)
    }

    fn note_notice(&self, id: LetterId, case: CaseId, how: Handed) -> Result<(), Error> {
        let count = match how {
            Handed::Taken => NOTICE_TAKEN,
            Handed::Refused => NOTICE_REFUSED,
            Handed::Deferred => NOTICE_DEFERRED,
            Handed::Unknown => NOTICE_UNKNOWN,
        };
        let entry = Entry { letter: Some(id), count: Some(count), ..self.entry(Fact::NoticeEnded) };
        self.record_fact(Entry { case: Some(case), ..entry }).map(drop)
    }

    /// Enters as unknown what the end of another process left between its beginning and its end.
    /// Call it before anything is sent.
    ///
    /// # Errors
    /// What the store says.
    pub fn settle_notices(&self) -> Result<usize, Error> {
        let begun: Vec<(LetterId, CaseId)> = {
            let state = self.state();
            let begun = state.outgoing.iter().filter(|(_, how)| **how == Sending::Begun);
            begun.filter_map(|(id, _)| Some((*id, state.outgoing_case(*id)?))).collect()
        };
        for (id, case) in &begun {
            self.note_notice(*id, *case, Handed::Unknown)?;
        }
        Ok(begun.len())
    }
}

/// Whether notices go out, and who we are.
#[derive(Default)]
pub(super) struct Tells {
    is_on: bool,
    ours: Vec<String>,
}
