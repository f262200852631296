//! Mails of mailboxes on other servers: how far each mailbox was fetched (design §6).
//!
//! A mail is named by its mailbox, the mailbox's UIDVALIDITY and its UID (RFC 9051 §2.3.1.1): numbers
//! that its server gave it, and a hash of what the settings say of the mailbox. Nothing of that says
//! something about a person, so it stands in the ledger, in the same frame as the letter: there is no
//! moment at which one is kept and the other is not. What was fetched is a fold over the ledger like
//! everything else, so neither a restart nor a lost index has a mail fetched twice.
//!
//! The hash is of name, host, port, user and folder: another mailbox under an old name has UIDs of its
//! own, and none of them counts as fetched. Older versions hashed name and folder alone. What they
//! entered is bound to the settings that the first start of this version finds, once
//! (docs/vault-format.md §6).
//!
//! How mails are fetched is the business of `inbox::imap`.

use std::collections::{BTreeMap, HashMap};

use super::{Casebook, Error};
use crate::ids::Digest;
use crate::ledger::entry::{Entry, Fact};

/// A mail in a mailbox of another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MailId {
    /// Which mailbox: what [`Mailboxes::named`] says.
    pub mailbox: Digest,
    /// UIDVALIDITY: while it stays, no UID is given to a second mail.
    pub validity: u32,
    /// UID. 0 is no mail: it says that the UIDs of this UIDVALIDITY began again.
    pub uid: u32,
}

/// What the ledger may call a mailbox of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// By what makes it this one and no other.
    whole: Digest,
    /// By its name and folder alone, as older versions did.
    by_name: Digest,
}

impl Place {
    /// The mailbox that the settings describe so; of a host the case is no matter.
    #[must_use]
    pub fn of(name: &str, host: &str, port: u16, user: &str, folder: &str) -> Self {
        let (host, port) = (host.to_ascii_lowercase(), port.to_string());
        Self {
            whole: hash("kluis v1 mailbox place", &[name, &host, &port, user, folder]),
            by_name: hash("kluis v1 mailbox", &[name, folder]),
        }
    }

    /// The start of its whole hash, as a number.
    fn start(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.whole.as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

fn hash(context: &str, parts: &[&str]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
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

    /// The entry that says that of it.
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
    /// Whether it is all that its server says that there is. Else the mail stays where it is.
    pub is_whole: bool,
}

/// How far one UIDVALIDITY of a mailbox was fetched.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Every mail up to this UID was dealt with.
    last: u32,
    /// Those that are letters here, and when the mailbox got each, in minutes since 1970, if that is
    /// known.
    letters: BTreeMap<u32, Option<u64>>,
    /// Those that could not be fetched, and when that was given up, in minutes since 1970.
    aside: BTreeMap<u32, u64>,
}

/// How far all mailboxes were fetched.
#[derive(Clone, Debug, Default)]
pub struct Mailboxes {
    by_validity: HashMap<(Digest, u32), Progress>,
    /// The UIDVALIDITY that was seen last.
    current: HashMap<Digest, u32>,
    /// Names of older versions, and the start of the hash of the settings that each is bound to.
    bound: HashMap<Digest, u64>,
    /// No name is bound any more.
    is_closed: bool,
}

/// How far a mailbox was fetched, of the UIDVALIDITY that was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// That UIDVALIDITY.
    pub validity: u32,
    /// Every mail up to this UID was dealt with.
    pub last: u32,
    /// How many of them are letters here.
    pub letters: u64,
    /// How many could not be fetched and lie there.
    pub aside: u64,
}

impl Mailboxes {
    /// What the ledger says of the mailboxes of other servers; of other things it is not asked.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut boxes = Self::default();
        entries.into_iter().for_each(|entry| boxes.note(entry));
        boxes
    }

    /// What this entry says of them, if it does.
    pub fn note(&mut self, entry: &Entry) {
        match entry.kind {
            Fact::MailFetched | Fact::MailSetAside => self.apply(entry),
            _ => self.bind(entry),
        }
    }

    /// What the ledger calls this mailbox: by its name what an older version entered of it, if it is
    /// bound to it or still can be.
    #[must_use]
    pub fn named(&self, place: Place) -> Digest {
        let is_old = match self.bound.get(&place.by_name) {
            Some(start) => *start == place.start(),
            None => self.can_bind(place),
        };
        if is_old { place.by_name } else { place.whole }
    }

    /// How far it was fetched; none if nothing of it ever was.
    #[must_use]
    pub fn watermark(&self, place: Place) -> Option<Watermark> {
        let mailbox = self.named(place);
        let validity = *self.current.get(&mailbox)?;
        let progress = self.progress(mailbox, validity)?;
        Some(Watermark {
            validity,
            last: progress.last,
            letters: progress.letters.len() as u64,
            aside: progress.aside.len() as u64,
        })
    }

    fn can_bind(&self, place: Place) -> bool {
        !self.is_closed
            && !self.bound.contains_key(&place.by_name)
            && self.current.contains_key(&place.by_name)
    }

    fn bind(&mut self, entry: &Entry) {
        match (entry.kind, entry.hash, entry.count) {
            // The first one holds.
            (Fact::MailboxBound, Some(name), Some(start)) => {
                self.bound.entry(name).or_insert(start);
            }
            (Fact::MailboxNamesClosed, ..) => self.is_closed = true,
            _ => {}
        }
    }

    fn apply(&mut self, entry: &Entry) {
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
        } else {
            progress.aside.remove(&uid);
        }
        if entry.letter.is_some() {
            progress.letters.insert(uid, entry.position);
        }
    }

    fn progress(&self, mailbox: Digest, validity: u32) -> Option<&Progress> {
        self.by_validity.get(&(mailbox, validity))
    }
}

impl Casebook {
    /// What the ledger calls this mailbox.
    #[must_use]
    pub fn mailbox(&self, place: Place) -> Digest {
        self.state().mailboxes.named(place)
    }

    /// Binds what older versions entered by name to the mailboxes of these settings, and closes all
    /// other names: once, at the first start. Gives what the ledger calls each from now on.
    ///
    /// # Errors
    /// What the store says.
    pub fn bind_mailboxes(&self, places: &[Place]) -> Result<Vec<Digest>, Error> {
        for place in places {
            if self.state().mailboxes.can_bind(*place) {
                let entry = self.entry(Fact::MailboxBound);
                let (hash, count) = (Some(place.by_name), Some(place.start()));
                self.record_fact(Entry { hash, count, ..entry })?;
            }
        }
        let is_open = {
            let state = self.state();
            let is_fetched_from = !places.is_empty() || !state.mailboxes.current.is_empty();
            is_fetched_from && !state.mailboxes.is_closed
        };
        if is_open {
            self.record_fact(self.entry(Fact::MailboxNamesClosed))?;
        }
        let state = self.state();
        Ok(places.iter().map(|place| state.mailboxes.named(*place)).collect())
    }

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
        progress.is_some_and(|progress| progress.letters.contains_key(&mail.uid))
    }

    /// UIDs of all mails that are letters here, in their order, and when the mailbox got each, in
    /// minutes since 1970, if that is known.
    #[must_use]
    pub fn letters_in(&self, mailbox: Digest, validity: u32) -> Vec<(u32, Option<u64>)> {
        let state = self.state();
        let progress = state.mailboxes.progress(mailbox, validity);
        progress.map_or_else(Vec::new, |p| p.letters.iter().map(|(uid, at)| (*uid, *at)).collect())
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
        let mailbox = office(993).whole;
        let mut boxes = Mailboxes::default();
        let mut enter = |kind, validity, uid, is_letter: bool, minute| {
            let letter = is_letter.then(LetterId::random);
            let entry = Entry { letter, ..Entry::new(kind, minute) };
            boxes.apply(&MailId { mailbox, validity, uid }.enter(entry));
            boxes.clone()
        };
        let is = |boxes: &Mailboxes, validity| {
            let progress = boxes.progress(mailbox, validity).expect("was seen").clone();
            let letters: Vec<u32> = progress.letters.into_keys().collect();
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

    fn office(port: u16) -> Place {
        Place::of("office", "imap.agency.example", port, "privacy", "INBOX")
    }

    #[test]
    fn mailboxes_differ_by_everything_that_makes_them_one() {
        let places = [
            ("a", "h", 1, "u", "f"),
            ("b", "h", 1, "u", "f"),
            ("a", "i", 1, "u", "f"),
            ("a", "h", 2, "u", "f"),
            ("a", "h", 1, "v", "f"),
            ("a", "h", 1, "u", "g"),
            ("ah", "", 1, "u", "f"),
            ("a", "h1", 1, "u", "f"),
            ("a", "h", 11, "u", "f"),
        ];
        let all: std::collections::BTreeSet<_> =
            places.map(|(a, h, p, u, f)| *Place::of(a, h, p, u, f).whole.as_bytes()).into();
        assert_eq!(all.len(), places.len());
        assert_eq!(
            Place::of("a", "H.Example", 1, "u", "f"),
            Place::of("a", "h.example", 1, "u", "f")
        );
    }

    #[test]
    fn what_was_entered_by_name_is_bound_once_and_to_one_mailbox() {
        let (here, other) = (office(993), office(143));
        let mail = MailId { mailbox: here.by_name, validity: 7, uid: 3 };
        let old = [mail.enter(Entry::new(Fact::MailFetched, 1))];
        // Nothing is bound yet: whoever comes first has it.
        let mut boxes = Mailboxes::of(&old);
        assert_eq!([boxes.named(here), boxes.named(other)], [here.by_name; 2]);
        let bound = |place: Place| Entry {
            hash: Some(place.by_name),
            count: Some(place.start()),
            ..Entry::new(Fact::MailboxBound, 2)
        };
        boxes.bind(&bound(here));
        boxes.bind(&bound(other));
        assert_eq!([boxes.named(here), boxes.named(other)], [here.by_name, other.whole]);
        assert_eq!(boxes.watermark(here).map(|mark| mark.last), Some(3));
        assert_eq!(boxes.watermark(other), None);
        // A name that nobody had at the first start is nobody's.
        let mut boxes = Mailboxes::of(&old);
        boxes.bind(&Entry::new(Fact::MailboxNamesClosed, 2));
        assert_eq!(boxes.named(here), here.whole);
        // One that no older version entered is nothing to bind.
        assert_eq!(Mailboxes::default().named(here), here.whole);
    }
}
