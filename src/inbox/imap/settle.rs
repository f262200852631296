//! What becomes of mails whose letters are sealed: deleted, moved, or left where they are.
//!
//! Nothing else is ever touched: each is named in the ledger as a letter, under the UIDVALIDITY that the
//! folder has now.

use std::collections::{BTreeMap, BTreeSet};

use super::After;
use super::poll::{AGAIN, Left, Poller, TRIES};
use super::source::{Fault, MailSource, SPAN};
use super::watch::Remark;
use crate::casebook::fetched::MailId;

impl Poller<'_> {
    /// Deletes or moves a mail whose letter is sealed. A refusal is noted, and tried again with the
    /// next poll. Whether others may be tried now.
    pub(super) async fn finish<S: MailSource>(
        &mut self,
        source: &mut S,
        uid: u32,
    ) -> Result<bool, Fault> {
        let now = self.keeper.now();
        let mut left = self.hands.left.remove(&uid).unwrap_or_default();
        if !left.is_due(now) {
            self.hands.left.insert(uid, left);
            return Ok(true);
        }
        if left.tries >= TRIES {
            left.tries = 0;
        }
        let (keeper, id, cut) = (self.keeper, self.id(uid), self.cut());
        let sealed = move |uid| !cut.contains(&uid) && keeper.is_letter(MailId { uid, ..id });
        let done = match &self.account.after {
            After::Keep => Ok(()),
            After::Delete => source.delete(uid, &sealed).await,
            After::Move(folder) => source.move_to(uid, folder, &mut left.is_copied, &sealed).await,
        };
        if let Err(fault) = done {
            // What others marked may be gone the next time: that is tried for ever.
            left.tries += u32::from(fault != Fault::Marked);
            left.tried = now;
            self.hands.left.insert(uid, left);
            if left.tries == TRIES {
                tracing::error!(
                    account = self.account.name,
                    uid,
                    %fault,
                    "a mail whose letter is sealed cannot be deleted or moved: it stays in clear \
                     where it is, and is tried again every day"
                );
            }
        }
        self.tell_of_left();
        match done {
            Ok(()) | Err(Fault::No) => Ok(true),
            Err(Fault::Marked) => {
                self.hands.is_hindered = true;
                self.remark(Some(Remark::OthersMarked));
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Mails that lie there though they may be letters: not all of them came.
    fn cut(&self) -> BTreeSet<u32> {
        let aside = self.keeper.aside(self.mailbox, self.hands.validity);
        aside.into_iter().map(|(uid, _)| uid).collect()
    }

    /// Says how many could not be deleted or moved, and if there are none, that nothing is in the way.
    pub(super) fn tell_of_left(&mut self) {
        self.watch.left(&self.account.name, self.hands.left.len() as u64);
        if self.hands.left.is_empty() && self.hands.is_hindered {
            self.hands.is_hindered = false;
            self.remark(Some(Remark::OnlyTogether));
        }
    }

    /// Mails that are sealed and still there: the process died before they were deleted or moved, or
    /// the server refused. None of them if one did not come when the one did that is sealed under its
    /// UID: then UIDs were given out again.
    pub(super) async fn left_behind<S: MailSource>(
        &mut self,
        source: &mut S,
    ) -> Result<Option<Vec<u32>>, Fault> {
        let now = self.keeper.now();
        let is_due = self.hands.is_fresh || self.hands.left.values().any(|left| left.is_due(now));
        if self.account.after == After::Keep || !is_due {
            return Ok(Some(Vec::new()));
        }
        let (letters, cut) = (self.keeper.letters(self.mailbox, self.hands.validity), self.cut());
        let letters: BTreeMap<u32, Option<u64>> =
            letters.into_iter().filter(|(uid, _)| !cut.contains(uid)).collect();
        let (mut there, mut is_known) = (BTreeSet::new(), true);
        for (from, to) in spans(letters.keys().copied()) {
            match source.present(from, to).await {
                Ok(present) => {
                    there.extend(present.into_iter().filter(|uid| letters.contains_key(uid)));
                }
                // New mails are fetched all the same.
                Err(Fault::Unreadable) => is_known = false,
                Err(fault) => return Err(fault),
            }
        }
        let mut due = BTreeSet::new();
        for (from, to) in spans(there.iter().copied()) {
            for mail in source.list(from, Some(to)).await?.mails {
                let Some(known) = letters.get(&mail.uid).filter(|_| there.contains(&mail.uid))
                else {
                    continue;
                };
                match (known, mail.arrived.map(|seconds| seconds / 60)) {
                    (Some(known), Some(arrived)) if *known != arrived => return Ok(None),
                    // It may be the one or another.
                    (Some(_), None) => {}
                    _ => {
                        due.insert(mail.uid);
                    }
                }
            }
        }
        is_known &= due == there;
        self.hands.is_fresh = false;
        if is_known {
            self.hands.left.retain(|uid, _| due.contains(uid));
        } else {
            let account = &self.account.name;
            tracing::warn!(account, "the server does not say which sealed mails are there still");
        }
        Ok(Some(due.into_iter().collect()))
    }

    /// Deletes or moves these mails, which are sealed.
    pub(super) async fn settle<S: MailSource>(
        &mut self,
        source: &mut S,
        due: Vec<u32>,
    ) -> Result<(), Fault> {
        for uid in due {
            if !self.finish(source, uid).await? {
                break;
            }
        }
        self.tell_of_left();
        Ok(())
    }
}

impl Left {
    /// Whether it is to be tried now: after so many tries in a row only once a day.
    fn is_due(self, now: u64) -> bool {
        self.tries < TRIES || now >= self.tried.saturating_add(AGAIN)
    }
}

/// Ranges that all of these UIDs are in, so that an answer about one is never too long.
fn spans(uids: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for uid in uids {
        match spans.last_mut() {
            Some((from, to)) if uid - *from < SPAN => *to = uid,
            _ => spans.push((uid, uid)),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_asked_about_in_ranges_that_have_an_answer() {
        assert_eq!(spans([]), []);
        assert_eq!(spans([5, 6, SPAN]), [(5, SPAN)]);
        let apart = [5, SPAN + 5, u32::MAX];
        assert_eq!(spans(apart), apart.map(|uid| (uid, uid)));
    }
}
