//! One look through a mailbox: what is new is fetched, sealed, and then dealt with as the settings say.
//!
//! Mails are taken in the order of their UIDs, and each is entered in the ledger before the next is
//! begun: everything up to the highest UID that the ledger names was dealt with. So a mail that cannot
//! be fetched is either tried again now or given up in the ledger; it stays in the mailbox, and is
//! tried again every day. One that cannot be taken here, for want of room or of what seals it, is never
//! given up: it waits, longer each time. One that ends before the length that its server told, or
//! whose length it does not tell, is sealed as far as it came, and entered as one that stays where it
//! is: what is missing may lie there.

use std::collections::HashMap;

use tokio::time::Instant;

use super::pause::Pauses;
use super::source::{Access, Fault, Listed, MailSource, Piece};
use super::watch::Remark;
use super::{Account, After, Keeper, Watch};
use crate::casebook::fetched::{Fetched, MailId};
use crate::ids::Digest;
use crate::inbox::budget::{Budget, Lease};
use crate::inbox::{Delivery, Verdict};
use crate::lab;
use crate::letter::{Envelope, Source};
use crate::secret::Personal;

/// Bytes fetched at once.
const SLICE: u32 = 1 << 20;
/// Bytes that an answer may be longer than what was asked for.
const SLACK: usize = 64 * 1024;
/// Slices of a mail that may be as short as their server likes; of more than these each brings so many
/// bytes on average.
const SHORT_SLICES: usize = 64;
const LEAST_SLICE: usize = 4 * 1024;
/// Lists that one look may need until it is known which mails cannot be listed, and mails that these
/// may name.
const MOST_LISTS: u32 = 2_000;
const MOST_LISTED: usize = 200_000;
/// Mails that went before they came which are looked for once more.
const MOST_MISSING: usize = 1_000;
/// Tries of a mail that fails, before it is given up; and of deleting or moving one.
pub(super) const TRIES: u32 = 3;
/// Times that a mail is not taken here before somebody is told; and, if that may be the mail's fault,
/// before it is given up.
const WAITS: u32 = 3;
const BUSY: u32 = 8;
/// Minutes until a mail that was given up is tried again.
pub(super) const AGAIN: u64 = 24 * 60;

/// Whether all was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// It was.
    All,
    /// Something has to wait, for memory, the disk or a parser here.
    Later(Fault),
}

/// A mail that could not be taken here.
#[derive(Debug)]
struct Waiting {
    uid: u32,
    times: u32,
    why: Fault,
    until: Instant,
    pauses: Pauses,
}

/// A mail that is sealed and could not be deleted or moved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Left {
    /// How often that failed.
    pub(super) tries: u32,
    /// Whether a copy is in the other folder.
    pub(super) is_copied: bool,
    /// When it was tried last, in minutes since 1970.
    pub(super) tried: u64,
}

/// What is remembered from one connection to the next. Nothing of it need survive the process.
#[derive(Debug, Default)]
pub(super) struct Hands {
    /// The UIDVALIDITY that this is about.
    pub(super) validity: u32,
    /// How often each mail failed.
    failed: HashMap<u32, u32>,
    /// UIDs listed at once, while a server fails at more.
    window: Option<u32>,
    /// The mail that waits for room here; those behind it wait, too.
    waiting: Option<Waiting>,
    /// Mails that were listed and not there any more: a server may have said so by mistake.
    missing: Vec<u32>,
    /// When each mail that was given up was tried again, in minutes since 1970.
    again: HashMap<u32, u64>,
    /// Sealed, and not deleted or moved yet.
    pub(super) left: HashMap<u32, Left>,
    /// Nobody looked yet what earlier connections left.
    pub(super) is_fresh: bool,
    /// Looking for what they left ended a connection: the next one fetches first.
    left_is_hard: bool,
    /// The server said that it began its UIDs again, and was not asked once more.
    seems_to_begin_again: bool,
    /// What others marked as deleted keeps sealed mails from being removed.
    pub(super) is_hindered: bool,
    /// Mails given up since one came.
    in_a_row: u32,
    progress: u64,
    polls: u64,
}

impl Hands {
    /// Counts what makes the next try another one than this was.
    pub(super) fn progress(&self) -> u64 {
        self.progress
    }

    /// Counts looks through the whole mailbox.
    pub(super) fn polls(&self) -> u64 {
        self.polls
    }

    pub(super) fn went_well(&mut self) {
        self.polls += 1;
    }

    fn of(&mut self, validity: u32) {
        if self.validity != validity {
            let (progress, polls) = (self.progress, self.polls);
            let is_hindered = self.is_hindered;
            let new = Self { validity, progress, polls, is_hindered, ..Self::default() };
            *self = Self { is_fresh: true, ..new };
        }
    }
}

/// Looks through one mailbox.
pub(super) struct Poller<'a> {
    pub(super) account: &'a Account,
    /// What the ledger calls it.
    pub(super) mailbox: Digest,
    pub(super) keeper: &'a dyn Keeper,
    pub(super) room: &'a Budget,
    pub(super) watch: &'a Watch,
    pub(super) hands: &'a mut Hands,
}

/// What came of one mail.
enum Taken {
    /// It is sealed.
    Kept,
    /// What came of it is sealed, and that is less than its server says that there is.
    Cut,
    /// It is not there any more.
    Gone,
    /// It cannot be taken now.
    Later(Fault),
    /// It is longer than a letter may be.
    TooLong,
}

impl Poller<'_> {
    /// A new connection: what earlier ones left is looked at first.
    pub(super) fn begin_session<S: MailSource>(&mut self, source: &S) {
        self.hands.is_fresh = true;
        self.remark(match (self.removes_alone(source), self.hands.is_hindered) {
            (true, _) => None,
            (false, false) => Some(Remark::OnlyTogether),
            (false, true) => Some(Remark::OthersMarked),
        });
    }

    /// Whether what is sealed is removed, or moved, alone.
    fn removes_alone<S: MailSource>(&self, source: &S) -> bool {
        match self.account.after {
            After::Keep => true,
            After::Delete => source.removes_alone(false),
            After::Move(_) => source.removes_alone(true),
        }
    }

    pub(super) fn remark(&self, remark: Option<Remark>) {
        if self.watch.remark(&self.account.name, remark)
            && let Some(remark) = remark
        {
            tracing::warn!(account = self.account.name, "of this mailbox: {remark}");
        }
    }

    /// Looks through the mailbox once.
    pub(super) async fn poll<S: MailSource>(&mut self, source: &mut S) -> Result<Polled, Fault> {
        let opened = source.open(Access::Change).await?;
        let validity = opened.validity.filter(|&validity| validity > 0).ok_or(Fault::NoIds)?;
        self.hands.of(validity);
        let mailbox = self.mailbox;
        let known = self.keeper.up_to(mailbox, validity);
        if known.is_none() && self.keeper.knows(mailbox) {
            tracing::warn!(
                account = self.account.name,
                "the server numbers its mails anew: all of them are looked at again"
            );
        }
        let mut last = known.unwrap_or(0);
        let next = opened.next.filter(|&next| next > 0);
        let mut left = None;
        if !self.began_again(source, last, next, opened.mails).await? {
            left = if std::mem::take(&mut self.hands.left_is_hard) {
                Some(Vec::new())
            } else {
                self.hands.left_is_hard = true;
                let left = self.left_behind(source).await?;
                self.hands.left_is_hard = false;
                left
            };
        }
        if left.is_none() {
            // A server that is behind, or a copy of it that is, may look so: it is asked once more.
            if !std::mem::replace(&mut self.hands.seems_to_begin_again, true) {
                return Err(Fault::Unreadable);
            }
            tracing::warn!(account = self.account.name, "the server began its UIDs again");
            if !self.keeper.pass_over(MailId { mailbox, validity, uid: 0 }).await {
                return Ok(Polled::Later(Fault::Busy));
            }
            self.hands.of(0);
            self.hands.of(validity);
            last = 0;
        }
        self.hands.seems_to_begin_again = false;
        if opened.mails == 0 {
            self.hands.left.clear();
            self.tell_of_left();
            return Ok(Polled::All);
        }
        let missing = std::mem::take(&mut self.hands.missing);
        // What cannot be removed, or was given up, holds no new mail up.
        let mut fetched = match last {
            u32::MAX => Polled::All,
            last => self.fetch_new(source, last, next).await?,
        };
        if fetched == Polled::All {
            fetched = self.look_again(source, missing).await?;
        }
        let mut left = left.unwrap_or_default();
        if !left.is_empty() && !self.removes_alone(source) {
            // What removed a new one took along what was marked.
            self.hands.is_fresh = true;
            left = self.left_behind(source).await?.unwrap_or_default();
        }
        self.settle(source, left).await?;
        match fetched {
            Polled::All => self.try_given_up(source).await,
            later @ Polled::Later(_) => Ok(later),
        }
    }

    /// Whether a server gives UIDs out again under the same UIDVALIDITY: what is known of them counts
    /// for nothing then. An empty mailbox shows it, too, and is the last to do so.
    async fn began_again<S: MailSource>(
        &self,
        source: &mut S,
        last: u32,
        next: Option<u32>,
        mails: u32,
    ) -> Result<bool, Fault> {
        if last == 0 || next.is_none_or(|next| next > last) {
            return Ok(false);
        }
        if mails == 0 {
            return Ok(true);
        }
        let listing = source.list(last, Some(last)).await?;
        Ok(!listing.has_unreadable && !listing.mails.iter().any(|mail| mail.uid == last))
    }

    pub(super) fn id(&self, uid: u32) -> MailId {
        MailId { mailbox: self.mailbox, validity: self.hands.validity, uid }
    }

    /// Takes what is behind `last`, in the order of the UIDs.
    async fn fetch_new<S: MailSource>(
        &mut self,
        source: &mut S,
        last: u32,
        next: Option<u32>,
    ) -> Result<Polled, Fault> {
        let mut from = last + 1;
        loop {
            let to = self.hands.window.map(|window| from.saturating_add(window - 1));
            let mut mails = match self.list(source, from, to, next).await {
                Ok(mails) => mails,
                Err(fault) => return Err(self.list_failed(from, next, fault).await),
            };
            // Of `n:*` a server gives the last mail even if its UID is below n (RFC 9051 §9).
            mails.retain(|mail| mail.uid >= from && to.is_none_or(|to| mail.uid <= to));
            if let later @ Polled::Later(_) = self.fetch_all(source, mails).await? {
                return Ok(later);
            }
            let top = next.map_or(u32::MAX, |next| next.saturating_sub(1));
            match to {
                Some(to) if to < top => from = to + 1,
                _ => break,
            }
            // What it failed at is behind.
            self.hands.window = self.hands.window.map(|window| window.saturating_mul(2));
        }
        self.hands.window = None;
        Ok(Polled::All)
    }

    async fn fetch_all<S: MailSource>(
        &mut self,
        source: &mut S,
        mails: Vec<Listed>,
    ) -> Result<Polled, Fault> {
        // Of many that came before the date one entry says enough: up to the last of them all are
        // dealt with.
        let mut old = None;
        for mail in mails {
            if self.is_old(&mail) {
                old = Some(mail.uid);
                continue;
            }
            if !self.pass_over(old.take()).await {
                return Ok(Polled::Later(Fault::Busy));
            }
            if let later @ Polled::Later(_) = self.deal_with(source, mail, false).await? {
                return Ok(later);
            }
        }
        let is_entered = self.pass_over(old).await;
        Ok(if is_entered { Polled::All } else { Polled::Later(Fault::Busy) })
    }

    /// Whether it is entered, if there is one, that a mail makes no letter.
    async fn pass_over(&mut self, uid: Option<u32>) -> bool {
        let Some(uid) = uid else { return true };
        let is_entered = self.keeper.pass_over(self.id(uid)).await;
        self.hands.progress += u64::from(is_entered);
        is_entered
    }

    fn is_old(&self, mail: &Listed) -> bool {
        let since = self.account.since;
        since.is_some_and(|since| mail.arrived.is_some_and(|arrived| arrived < since))
    }

    /// What there is from one UID on. If a part of the answer cannot be read it is asked again in
    /// halves until it is known which mail that is about; of that one nothing else is known then.
    async fn list<S: MailSource>(
        &mut self,
        source: &mut S,
        from: u32,
        to: Option<u32>,
        next: Option<u32>,
    ) -> Result<Vec<Listed>, Fault> {
        let listing = source.list(from, to).await?;
        if !listing.has_unreadable {
            return Ok(merged(listing.mails));
        }
        let highest = listing.mails.iter().map(|mail| mail.uid).max().unwrap_or(from);
        let top = to.or(next.map(|next| next.saturating_sub(1))).unwrap_or(u32::MAX).max(highest);
        let (mut mails, mut lists) = (Vec::new(), 0);
        let mut ranges = vec![(from, top)];
        while let Some((low, high)) = ranges.pop() {
            let mut listing = source.list(low, Some(high)).await?;
            listing.mails.retain(|mail| (low..=high).contains(&mail.uid));
            lists += 1;
            if lists > MOST_LISTS || mails.len() + listing.mails.len() > MOST_LISTED {
                return Err(Fault::TooMany);
            }
            if !listing.has_unreadable {
                mails.extend(merged(listing.mails));
            } else if low == high {
                mails.push(Listed { uid: low, size: None, arrived: None });
            } else {
                let middle = low + (high - low) / 2;
                ranges.extend([(middle + 1, high), (low, middle)]);
            }
        }
        Ok(mails)
    }

    /// A list could not be had at all: with the next connection fewer are asked for, down to one,
    /// which is tried as a mail is that cannot be fetched.
    async fn list_failed(&mut self, from: u32, next: Option<u32>, fault: Fault) -> Fault {
        // No mail is there that it could be the fault of.
        if next.is_some_and(|next| next <= from) {
            return fault;
        }
        let most = next.map_or(u32::MAX, |next| next.saturating_sub(from).max(1));
        match self.hands.window {
            Some(1) => {
                self.failed(from, fault).await;
            }
            window => {
                self.hands.window = Some((window.unwrap_or(most).min(most) / 2).max(1));
                self.hands.progress += 1;
            }
        }
        fault
    }

    /// Takes those that were given up a day ago and are still there. Each has its day by itself: one
    /// that ends the connection costs the others nothing but the next one.
    async fn try_given_up<S: MailSource>(&mut self, source: &mut S) -> Result<Polled, Fault> {
        let now = self.keeper.now();
        for (uid, given_up) in self.keeper.aside(self.mailbox, self.hands.validity) {
            let tried = self.hands.again.get(&uid).copied().unwrap_or(given_up);
            // Of one that is a letter as far as it came, a day brings no more.
            if now < tried.saturating_add(AGAIN) || self.keeper.is_letter(self.id(uid)) {
                continue;
            }
            self.hands.again.insert(uid, now);
            let mails = merged(source.list(uid, Some(uid)).await?.mails);
            if let Some(mail) = mails.into_iter().find(|mail| mail.uid == uid)
                && let later @ Polled::Later(_) = self.deal_with(source, mail, true).await?
            {
                return Ok(later);
            }
        }
        Ok(Polled::All)
    }

    /// Takes those that were not there any more the last time, if they are now. What goes wrong with
    /// one is the end of looking for the others.
    async fn look_again<S: MailSource>(
        &mut self,
        source: &mut S,
        missing: Vec<u32>,
    ) -> Result<Polled, Fault> {
        for uid in missing {
            let mails = merged(source.list(uid, Some(uid)).await?.mails);
            if self.keeper.is_letter(self.id(uid)) {
                continue;
            }
            if let Some(mail) = mails.into_iter().find(|mail| mail.uid == uid)
                && let later @ Polled::Later(_) = self.deal_with(source, mail, false).await?
            {
                return Ok(later);
            }
        }
        Ok(Polled::All)
    }

    /// Takes one mail, or gives it up. `given_up` if it was before.
    async fn deal_with<S: MailSource>(
        &mut self,
        source: &mut S,
        mail: Listed,
        given_up: bool,
    ) -> Result<Polled, Fault> {
        if let Some(waiting) = &self.hands.waiting
            && waiting.uid == mail.uid
            && Instant::now() < waiting.until
        {
            return Ok(Polled::Later(waiting.why));
        }
        match self.take(source, &mail).await {
            Ok(Taken::Cut) => {
                self.taken(mail.uid);
                tracing::error!(
                    account = self.account.name,
                    uid = mail.uid,
                    "a mail ends before the length that its server told, or it told none: what came \
                     of it is sealed, and it stays in the mailbox"
                );
                Ok(Polled::All)
            }
            Ok(Taken::Kept) => {
                self.taken(mail.uid);
                lab::step("imap:sealed");
                self.finish(source, mail.uid).await?;
                lab::step("imap:finished");
                Ok(Polled::All)
            }
            Ok(Taken::Gone) => {
                if !given_up && self.hands.missing.len() < MOST_MISSING {
                    self.hands.missing.push(mail.uid);
                }
                Ok(Polled::All)
            }
            // It has its day again, and takes nobody's place until then.
            Ok(Taken::Later(_)) if given_up => Ok(Polled::All),
            Ok(Taken::Later(why)) => Ok(self.waits(mail.uid, why).await),
            Ok(Taken::TooLong) if given_up => Ok(Polled::All),
            Ok(Taken::TooLong) => {
                let why = "a mail is longer than a letter may be: it stays in the mailbox";
                let is_entered = self.give_up(mail.uid, why).await;
                Ok(if is_entered { Polled::All } else { Polled::Later(Fault::Busy) })
            }
            Err(fault) if given_up => {
                self.hands.progress += 1;
                Err(fault)
            }
            Err(fault) => {
                self.failed(mail.uid, fault).await;
                Err(fault)
            }
        }
    }

    /// It is a letter now.
    fn taken(&mut self, uid: u32) {
        self.hands.waiting = None;
        self.hands.failed.remove(&uid);
        self.hands.in_a_row = 0;
        self.hands.progress += 1;
    }

    /// A mail cannot be taken here now: it is not fetched again at once, and less and less often.
    async fn waits(&mut self, uid: u32, why: Fault) -> Polled {
        let pace = &self.account.pace;
        let waiting = self.hands.waiting.take().filter(|waiting| waiting.uid == uid);
        let (times, mut pauses) = waiting.map_or_else(
            || (0, Pauses::new(pace.first_wait, pace.longest_wait)),
            |waiting| (waiting.times, waiting.pauses),
        );
        let (times, pause) = (times + 1, pauses.next());
        let (account, until) = (&self.account.name, Instant::now() + pause);
        if times == WAITS {
            tracing::error!(account, uid, %why, "a mail waits, and all behind it: see to it here");
        } else {
            tracing::warn!(account, uid, %why, ?pause, "a mail could not be taken: it waits");
        }
        // For want of room, or of what seals, no mail is given up: it is not the mail's fault.
        if why == Fault::Busy && times >= BUSY {
            let told = "a mail cannot be taken here: it stays in the mailbox";
            if self.give_up(uid, told).await {
                return Polled::All;
            }
        }
        self.hands.waiting = Some(Waiting { uid, times, why, until, pauses });
        Polled::Later(why)
    }

    /// A mail failed, or the connection over it.
    async fn failed(&mut self, uid: u32, fault: Fault) {
        if fault == Fault::Expired {
            return;
        }
        let failed = self.hands.failed.entry(uid).or_default();
        *failed += 1;
        if *failed >= TRIES {
            tracing::warn!(account = self.account.name, uid, %fault, "the last try of a mail");
            let why = "a mail cannot be fetched: it stays in the mailbox";
            self.give_up(uid, why).await;
        }
    }

    async fn give_up(&mut self, uid: u32, why: &'static str) -> bool {
        let is_entered = self.keeper.set_aside(self.id(uid)).await;
        if is_entered {
            tracing::error!(
                account = self.account.name,
                uid,
                "{why}, and is tried again every day"
            );
            self.hands.failed.remove(&uid);
            self.hands.in_a_row += 1;
            // A server that gives nothing at all is not hurried through the whole mailbox.
            self.hands.progress += u64::from(self.hands.in_a_row <= TRIES);
        }
        is_entered
    }

    async fn take<S: MailSource>(&mut self, source: &mut S, mail: &Listed) -> Result<Taken, Fault> {
        let mail = &self.with_size(source, *mail).await?;
        let size = mail.size.unwrap_or(0) as usize;
        if size > self.account.max_letter {
            return Ok(Taken::TooLong);
        }
        // For what cannot be kept nothing is fetched.
        if !self.keeper.has_room(size as u64) {
            return Ok(Taken::Later(Fault::Full));
        }
        let share = self.room.lease();
        let raw = match self.fetch(source, mail, &share).await {
            Ok(Some(raw)) => raw,
            Ok(None) => return Ok(Taken::Later(Fault::Full)),
            // Gone since it was listed, or refused for a reason of its own.
            Err(fault @ (Fault::No | Fault::Unreadable)) => {
                let listing = source.list(mail.uid, Some(mail.uid)).await?;
                let is_there = listing.mails.iter().any(|listed| listed.uid == mail.uid);
                if is_there || listing.has_unreadable {
                    return Err(fault);
                }
                return Ok(Taken::Gone);
            }
            Err(fault) => return Err(fault),
        };
        if raw.len() > self.account.max_letter {
            return Ok(Taken::TooLong);
        }
        let is_whole = mail.size.is_some_and(|size| raw.len() >= size as usize);
        let fetched = Fetched { mail: self.id(mail.uid), arrived: mail.arrived, is_whole };
        let envelope = self.envelope(&raw);
        let (fetched, share) = (Some(fetched), share.into());
        let delivery = Delivery { envelope, raw, trusted: true, fetched, share };
        let verdict = self.keeper.deliver(delivery).await;
        Ok(match verdict {
            Verdict::Accepted if is_whole => Taken::Kept,
            Verdict::Accepted => Taken::Cut,
            Verdict::NoRoom => Taken::Later(Fault::Full),
            Verdict::NotReady => Taken::Later(Fault::NotReady),
            Verdict::TryLater => Taken::Later(Fault::Busy),
            // Nobody refuses what lies in our own mailbox; if somebody does, it is not lost.
            Verdict::Refused | Verdict::Loop => return Err(Fault::No),
        })
    }

    /// A mail whose size was not told is asked about once more. None has no bytes at all.
    async fn with_size<S: MailSource>(
        &self,
        source: &mut S,
        mail: Listed,
    ) -> Result<Listed, Fault> {
        let is_size = |size: &u32| *size > 0;
        let mut size = mail.size.filter(is_size);
        if size.is_none() {
            let mails = merged(source.list(mail.uid, Some(mail.uid)).await?.mails);
            let again = mails.into_iter().find(|again| again.uid == mail.uid);
            size = again.and_then(|again| again.size).filter(is_size);
        }
        Ok(Listed { size, ..mail })
    }

    /// The bytes of a mail, in slices; `None` if there is no memory for it now. While a slice is asked
    /// for it is there as it came, as it is written anew, and in the hands of the client library.
    async fn fetch<S: MailSource>(
        &self,
        source: &mut S,
        mail: &Listed,
        share: &Lease,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let size = mail.size.unwrap_or(0) as usize;
        let (mut raw, mut asked_twice, mut cuts) = (Vec::new(), false, true);
        for slices in 0.. {
            if slices > SHORT_SLICES && raw.len() < slices * LEAST_SLICE {
                return Err(Fault::Slow);
            }
            // A server that cuts nothing sends all of it at once, and all of it again.
            let all = match cuts {
                _ if raw.is_empty() => size,
                true => 0,
                false => raw.len() + SLICE as usize,
            };
            let most = all.max(SLICE as usize) + SLACK;
            let wish = raw.len() + most;
            if !share.cover_work(wish) {
                // It will not have more than all. What others hold now they give back.
                let ever = self.room.could_ever(wish);
                return if ever { Ok(None) } else { Err(Fault::TooLong) };
            }
            let offset = u32::try_from(raw.len()).map_err(|_| Fault::TooLong)?;
            let piece = match source.slice(mail.uid, offset, SLICE, most).await? {
                Piece::Bytes(piece) => piece,
                // Behind its end a mail may well have nothing; before it, somebody took it away.
                Piece::Nothing if raw.len() < size.max(1) => return Err(Fault::Unreadable),
                Piece::Nothing => Vec::new(),
            };
            cuts &= piece.len() <= SLICE as usize;
            // No more than was leased.
            raw.reserve_exact(piece.len());
            raw.extend_from_slice(&piece);
            if raw.len() > self.account.max_letter {
                return Ok(Some(raw));
            }
            // What a server says of the size may be wrong in both directions, or nothing: it ends where
            // there is nothing more, also when it is asked twice. A short piece alone is no end.
            let is_enough = mail.size.is_some() && raw.len() == size;
            if piece.is_empty() && !is_enough && !asked_twice {
                asked_twice = true;
                continue;
            }
            asked_twice = false;
            if piece.is_empty() || (piece.len() != SLICE as usize && is_enough) {
                break;
            }
        }
        if raw.is_empty() && size > 0 {
            return Err(Fault::Unreadable);
        }
        Ok(Some(raw))
    }

    /// What there was of an envelope: the reverse-path that the last server wrote on top (RFC 5321
    /// §4.4), and our own address.
    fn envelope(&self, raw: &[u8]) -> Envelope {
        Envelope {
            mail_from: Personal::new(return_path(raw).unwrap_or_default()),
            rcpt_to: vec![self.account.recipient.clone()],
            helo: Personal::new(String::new()),
            client: None,
            source: Source::Imap,
            tls: self.account.security != super::Security::None,
        }
    }
}

/// Each mail once, with all that was said of it: when somebody changes a flag meanwhile, a server says
/// a mail's UID once more, and nothing else of it.
fn merged(mut mails: Vec<Listed>) -> Vec<Listed> {
    mails.sort_unstable();
    mails.dedup_by(|next, kept| {
        let is_same = next.uid == kept.uid;
        if is_same {
            kept.size = kept.size.or(next.size);
            kept.arrived = kept.arrived.or(next.arrived);
        }
        is_same
    });
    mails
}

/// The address in the first `Return-Path`, if one stands in the header.
fn return_path(raw: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"return-path:";
    for line in raw.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return None;
        }
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let text = std::str::from_utf8(&line[NAME.len()..]).ok()?.trim();
            let inside = text.strip_prefix('<')?.strip_suffix('>')?;
            let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"<>".contains(c);
            return inside.chars().all(is_plain).then(|| inside.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests;
