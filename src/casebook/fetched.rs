//! Mails of mailboxes on other servers: how far each mailbox was fetched (design §6).
//!
//! A mail is named by its mailbox, the mailbox's UIDVALIDITY and its UID (RFC 9051 §2.3.1.1): numbers
//! that its server gave it, and a hash of what the settings call the mailbox. Nothing of that says
//! something about a person, so it stands in the ledger, in the same frame as the letter: there is no
//! moment at which one is kept and the other is not. What was fetched is a fold over the ledger like
//! everything else, so neither a restart nor a lost index has a mail fetched twice.
//!
//! How mails are fetched is the business of `inbox::imap`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Casebook, Error};
use crate::ids::Digest;
use crate::ledger::entry::{Entry, Fact};

/// A mail in a mailbox of another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MailId {
    /// Which mailbox: see [`mailbox`].
    pub mailbox: Digest,
    /// UIDVALIDITY: while it stays, no UID is given to a second mail.
    pub validity: u32,
    /// UID. 0 is no mail: it says that the UIDs of this UIDVALIDITY began again.
    pub uid: u32,
}

/// What the ledger calls the mailbox that the settings name so. Only their own name for the account
/// and the folder go into it, no user and no host.
#[must_use]
pub fn mailbox(account: &str, folder: &str) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("kluis v1 mailbox");
    for part in [account, folder] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    Digest::new(*hasher.finalize().as_bytes())
}

impl MailId {
    /// The mail that an entry names.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let (mailbox, count) = (entry.hash?, entry.count?);
        let (validity, uid) = (u32::try_from(count >> 32).ok()?, count as u32);
        Some(Self { mailbox, validity, uid })
    }

    /// The entry that says so of it.
    pub(super) fn enter(self, entry: Entry) -> Entry {
        let count = u64::from(self.validity) << 32 | u64::from(self.uid);
        Entry { hash: Some(self.mailbox), count: Some(count), ..entry }
    }
}

/// A letter that was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// As what.
    pub mail: MailId,
    /// When the mailbox got it, in seconds since 1970, if its server says so: the law counts from
    /// then.
    pub arrived: Option<u64>,
}

/// How far one UIDVALIDITY of a mailbox was fetched.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Every mail up to this UID was dealt with.
    last: u32,
    /// Those that are letters here.
    letters: BTreeSet<u32>,
    /// Those that could not be fetched, and when that was given up, in minutes since 1970.
    aside: BTreeMap<u32, u64>,
}

/// How far all mailboxes were fetched.
#[derive(Clone, Debug, Default)]
pub struct Mailboxes {
    by_validity: HashMap<(Digest, u32), Progress>,
    /// The UIDVALIDITY that was seen last.
    current: HashMap<Digest, u32>,
}

impl Mailboxes {
    pub(super) fn apply(&mut self, entry: &Entry) {
        let Some(MailId { mailbox, validity, uid }) = MailId::of(entry) else { return };
        self.current.insert(mailbox, validity);
        let progress = self.by_validity.entry((mailbox, validity)).or_default();
        if uid == 0 {
            *progress = Progress::default();
            return;
        }
        progress.last = progress.last.max(uid);
        if entry.kind == Fact::MailSetAside {
            progress.aside.insert(uid, entry.minute);
            return;
        }
        progress.aside.remove(&uid);
        if entry.letter.is_some() {
            progress.letters.insert(uid);
        }
    }

    fn progress(&self, mailbox: Digest, validity: u32) -> Option<&Progress> {
        self.by_validity.get(&(mailbox, validity))
    }
}

impl Casebook {
    /// Every mail up to this UID was dealt with; none if nothing of this UIDVALIDITY was.
    #[must_use]
    pub fn fetched_up_to(&self, mailbox: Digest, validity: u32) -> Option<u32> {
        self.state().mailboxes.progress(mailbox, validity).map(|progress| progress.last)
    }

    /// Whether something of this mailbox was ever dealt with.
    #[must_use]
    pub fn knows_mailbox(&self, mailbox: Digest) -> bool {
        self.state().mailboxes.current.contains_key(&mailbox)
    }

    /// Whether the mail is a letter here.
    #[must_use]
    pub fn is_letter(&self, mail: MailId) -> bool {
        let state = self.state();
        let progress = state.mailboxes.progress(mail.mailbox, mail.validity);
        progress.is_some_and(|progress| progress.letters.contains(&mail.uid))
    }

    /// Mails that could not be fetched, and when that was given up, in minutes since 1970.
    #[must_use]
    pub fn set_aside_in(&self, mailbox: Digest, validity: u32) -> Vec<(u32, u64)> {
        let state = self.state();
        let progress = state.mailboxes.progress(mailbox, validity);
        progress.map_or_else(Vec::new, |p| p.aside.iter().map(|(uid, at)| (*uid, *at)).collect())
    }

    /// How many mails of a mailbox could not be fetched, of the UIDVALIDITY that was seen last.
    #[must_use]
    pub fn count_set_aside(&self, mailbox: Digest) -> u64 {
        let state = self.state();
        let boxes = &state.mailboxes;
        let progress = boxes.current.get(&mailbox).and_then(|v| boxes.progress(mailbox, *v));
        progress.map_or(0, |progress| progress.aside.len() as u64)
    }

    /// Enters that a mail was dealt with and makes no letter: with UID 0, that UIDs began again.
    ///
    /// # Errors
    /// What the store says.
    pub fn pass_over(&self, mail: MailId) -> Result<(), Error> {
        self.record_fact(mail.enter(self.entry(Fact::MailFetched))).map(drop)
    }

    /// Enters that a mail cannot be fetched and stays where it is.
    ///
    /// # Errors
    /// What the store says.
    pub fn set_aside(&self, mail: MailId) -> Result<(), Error> {
        self.record_fact(mail.enter(self.entry(Fact::MailSetAside))).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LetterId;

    #[test]
    fn what_was_fetched_is_a_fold_over_the_ledger() {
        let mailbox = mailbox("office", "INBOX");
        let mut boxes = Mailboxes::default();
        let mut enter = |kind, validity, uid, is_letter: bool, minute| {
            let letter = is_letter.then(LetterId::random);
            let entry = Entry { letter, ..Entry::new(kind, minute) };
            boxes.apply(&MailId { mailbox, validity, uid }.enter(entry));
            boxes.clone()
        };
        let is = |boxes: &Mailboxes, validity| {
            let progress = boxes.progress(mailbox, validity).expect("was seen").clone();
            let letters: Vec<u32> = progress.letters.into_iter().collect();
            (progress.last, letters, progress.aside.into_iter().collect::<Vec<_>>())
        };
        let boxes = enter(Fact::MailFetched, 7, 3, true, 1);
        assert_eq!(is(&boxes, 7), (3, vec![3], vec![]));
        assert!(boxes.progress(mailbox, 8).is_none());
        enter(Fact::MailSetAside, 7, 4, false, 2);
        let boxes = enter(Fact::MailFetched, 7, u32::MAX, false, 3);
        assert_eq!(is(&boxes, 7), (u32::MAX, vec![3], vec![(4, 2)]));
        // What was set aside came after all, and lowers nothing.
        let boxes = enter(Fact::MailFetched, 7, 4, true, 4);
        assert_eq!(is(&boxes, 7), (u32::MAX, vec![3, 4], vec![]));
        let boxes = enter(Fact::MailFetched, u32::MAX, 1, true, 5);
        assert_eq!((is(&boxes, 7).0, is(&boxes, u32::MAX).0), (u32::MAX, 1));
        let boxes = enter(Fact::MailFetched, 7, 0, false, 6);
        assert_eq!(is(&boxes, 7), (0, vec![], vec![]));
    }

    #[test]
    fn mailboxes_differ_by_account_and_by_folder() {
        let names = [("a", "bc"), ("ab", "c"), ("a", "b"), ("b", "a"), ("", "abc")];
        let all: BTreeSet<_> = names.map(|(a, f)| *mailbox(a, f).as_bytes()).into();
        assert_eq!(all.len(), names.len());
    }
}
