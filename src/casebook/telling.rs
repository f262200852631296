//! Notices: whether one goes out, and how far it has come (design §13).
//!
//! A notice goes out at most once. That it may is decided with the letter and is one frame with it;
//! that it is about to be handed over is durable before the first byte leaves. What a crash leaves
//! between the two is entered as unknown at the next start and never sent again.

use std::collections::{HashMap, HashSet};

use super::receive::{Arrival, Cut};
use super::record::Due;
use super::state::{BoxRecord, Sending};
use super::{Casebook, Error, NoticeFacts, lock};
use crate::case::notice::{self, Counted, Knock, LOOKS_BACK, Past, Silence, Visit};
use crate::ids::{CaseId, Digest, LetterId};
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

/// What was claimed and is not in the ledger yet: its number, its minute, and what it counts as.
#[derive(Default)]
pub(super) struct Claims {
    next: u64,
    open: Vec<(u64, u64, Vec<Key>)>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.claims).open.retain(|(number, ..)| *number != self.number);
    }
}

/// Who opened cases and whom that brought a notice, as budgets count: by digests of what they count as,
/// oldest first, as long as their contact boxes are there. Only of those who were told, and no more of
/// the letters after that than show that nobody rested.
#[derive(Default)]
pub(super) struct Visits {
    of: HashMap<Key, Vec<(CaseId, Visit)>>,
    /// Whether all that were before the start are here, and in their order.
    are_settled: bool,
}

impl Visits {
    /// Notes a letter that opened a case.
    pub(super) fn note(&mut self, address: &str, case: CaseId, visit: Visit) {
        for key in keys(address) {
            if !self.are_settled {
                self.of.entry(key).or_default().push((case, visit));
            } else if visit.is_told {
                follow(self.of.entry(key).or_default(), (case, visit), key.1);
            } else if let Some(known) = self.of.get_mut(&key) {
                follow(known, (case, visit), key.1);
            }
        }
    }

    /// Puts those of the start, which come in no order, into theirs.
    pub(super) fn settle(&mut self) {
        self.are_settled = true;
        self.of.retain(|(_, rest), visits| {
            let mut all = std::mem::take(visits);
            all.sort_by_key(|(_, visit)| visit.minute);
            all.into_iter().for_each(|visit| follow(visits, visit, *rest));
            visits.shrink_to_fit();
            !visits.is_empty()
        });
    }

    /// Forgets those of all other cases.
    pub(super) fn keep(&mut self, kept: &HashSet<CaseId>) {
        self.of.retain(|_, visits| {
            visits.retain(|(case, _)| kept.contains(case));
            !visits.is_empty()
        });
    }

    fn of(&self, key: &Key) -> impl Iterator<Item = Visit> {
        self.of.get(key).into_iter().flatten().map(|(_, visit)| *visit)
    }
}

/// Adds the next visit. Who was not told yet, or rested, begins anew; of letters that brought no notice
/// one is enough where what is before it and behind it is no rest apart.
fn follow(visits: &mut Vec<(CaseId, Visit)>, next: (CaseId, Visit), rest: u64) {
    let since = |before: &(CaseId, Visit)| next.1.minute.saturating_sub(before.1.minute);
    if visits.last().is_some_and(|last| since(last) >= rest) {
        visits.clear();
    }
    if visits.is_empty() && !next.1.is_told {
        return;
    }
    if let [.., before, last] = visits.as_slice()
        && !last.1.is_told
        && since(before) < rest
    {
        visits.pop();
    }
    visits.push(next);
}

/// What an address counts as, as a digest, and how many minutes that has to rest.
type Key = (Digest, u64);

/// What an address counts as: first its sender, then its domain if that counts.
fn keys(address: &str) -> Vec<Key> {
    let Counted { sender, domain } = Counted::of(address);
    let key = |text: &str| Digest::new(*blake3::hash(text.as_bytes()).as_bytes());
    let domain = domain.map(|domain| (key(&format!("@{domain}")), notice::DOMAIN_RESTS));
    std::iter::once((key(&sender), notice::SENDER_RESTS)).chain(domain).collect()
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
        let keys = keys(to.expose());
        let mut claims = lock(&self.claims);
        let mut all = self.notice_minutes(now);
        all.extend(claims.open.iter().map(|(_, minute, _)| *minute));
        let visits = |key: Option<&Key>| -> Vec<Visit> {
            let Some(key) = key else { return Vec::new() };
            let claimed = claims.open.iter().filter(|(.., keys)| keys.contains(key));
            let claimed = claimed.map(|(_, minute, _)| Visit { minute: *minute, is_told: true });
            let contacts = self.contacts.read().expect("no holder panics");
            contacts.visits.of(key).chain(claimed).collect()
        };
        let (of_sender, of_domain) = (visits(keys.first()), visits(keys.get(1)));
        let past = Past { all: &all, of_sender: &of_sender, of_domain: &of_domain };
        let refused = notice::budget(&past, now).err();
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
        claims.open.push((number, now, keys));
        Ok(Claim { number, claims: std::sync::Arc::clone(&self.claims) })
    }

    fn notice_minutes(&self, now: u64) -> Vec<u64> {
        let state = self.state();
        let minutes = state.notices.iter().copied();
        minutes.filter(|minute| minute + LOOKS_BACK > now).collect()
    }

    /// Until when no notice goes out, in minutes since 1970, because too many did within an hour.
    pub(super) fn muted_until(&self) -> Option<u64> {
        let now = self.clock.minutes();
        notice::broken_until(&self.notice_minutes(now)).filter(|until| now < *until)
    }

    /// Notes for the budgets that a letter came, if it opened its case. Call it when it is in the state
    /// and not yet among the contacts.
    pub(super) fn visit(&self, record: &BoxRecord) -> Option<Visit> {
        let state = self.state();
        if !state.tells {
            return None;
        }
        let case = state.cases.get(&record.case)?;
        let opened = case.letters.first() == Some(&record.place.letter) && !case.is_reports;
        opened.then_some(Visit { minute: record.minute, is_told: case.is_told })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Few visits are kept of many, and the budget says the same, in whichever order they came.
    #[test]
    fn of_visits_that_bring_no_notice_no_more_are_kept_than_show_that_nobody_rested() {
        const HOUR: u64 = 60;
        for step in [1, HOUR, 20 * HOUR, 30 * HOUR, 31 * 24 * HOUR] {
            let all: Vec<Visit> = (0..2000)
                .map(|n| Visit { minute: 1_000_000 + n * step, is_told: (3..9).contains(&n) })
                .collect();
            let (mut live, mut started) = (Visits::default(), Visits::default());
            live.settle();
            for (visit, other) in all.iter().zip(all.iter().rev()) {
                live.note("jan@crm.example", CaseId::random(), *visit);
                started.note("jan@crm.example", CaseId::random(), *other);
            }
            started.settle();
            let now = all.last().expect("many").minute + 1;
            for key in keys("jan@crm.example") {
                let told = |visits: &[Visit]| {
                    let past = if key.1 == notice::SENDER_RESTS {
                        Past { of_sender: visits, ..Past::default() }
                    } else {
                        Past { of_domain: visits, ..Past::default() }
                    };
                    notice::budget(&past, now)
                };
                let kept: Vec<Visit> = live.of(&key).collect();
                assert_eq!(told(&kept), told(&all), "{step}");
                assert_eq!(told(&started.of(&key).collect::<Vec<_>>()), told(&all), "{step}");
                assert!(kept.len() as u64 <= 8 + 2 * 2000 * step / key.1, "{step}: {}", kept.len());
            }
        }
    }
}
