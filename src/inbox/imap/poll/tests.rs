use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::super::source::{Connect, Listing, Opened, Sealed};
use super::super::{Login, Pace, Security, Task, keep_fetching};
use super::*;
use crate::casebook::fetched::Place;

/// A mailbox in memory: a mail fails as often as it is said, and one in `gone_deaf` ends every list
/// that it would be in.
#[derive(Default)]
struct Fake {
    validity: u32,
    next: u32,
    mails: BTreeMap<u32, Vec<u8>>,
    failing: HashMap<u32, u32>,
    /// What is said of the size of a mail, if it is not what it is.
    claims: HashMap<u32, Option<u32>>,
    /// That is said in the first list only.
    claims_once: bool,
    /// Others, who take so many bytes of memory as soon as a mail is asked for.
    others: Option<(Lease, usize)>,
    gone_deaf: Option<u32>,
    /// The next answers about what is behind a first slice are empty.
    empty: u32,
    /// When every mail came, in seconds since 1970.
    arrived: u64,
    /// Somebody changes a flag while mails are listed: of each its UID is said once more.
    echoes: bool,
    /// There is something in every list that cannot be read.
    is_unreadable: bool,
    /// The longest slice, if it is not what was asked for.
    longest_slice: Option<usize>,
    /// What cannot be removed ends the connection.
    is_stuck: bool,
    /// The question which mails are there does.
    is_mute: bool,
    fetched: Vec<u32>,
    lists: u32,
}

impl Fake {
    fn of(uids: &[u32]) -> Self {
        let mails = uids.iter().map(|uid| (*uid, format!("Subject: {uid}\r\n\r\n").into_bytes()));
        let next = uids.iter().max().map_or(1, |uid| uid + 1);
        Self { validity: 7, next, mails: mails.collect(), arrived: CAME * 60, ..Self::default() }
    }
}

impl MailSource for Fake {
    async fn open(&mut self, _: Access) -> Result<Opened, Fault> {
        let mails = u32::try_from(self.mails.len()).expect("few");
        Ok(Opened { validity: Some(self.validity), next: Some(self.next), mails })
    }

    async fn list(&mut self, from: u32, to: Option<u32>) -> Result<Listing, Fault> {
        self.lists += 1;
        let top = to.unwrap_or(u32::MAX);
        if self.gone_deaf.is_some_and(|uid| (from..=top).contains(&uid)) {
            return Err(Fault::Lost);
        }
        let last = self.mails.keys().next_back().copied();
        // Of `n:*` the last is always in it.
        let first = if to.is_none() { last.map_or(from, |last| last.min(from)) } else { from };
        let listed = self.mails.range(first..=top).map(|(uid, raw)| Listed {
            uid: *uid,
            size: self.claims.get(uid).copied().unwrap_or(u32::try_from(raw.len()).ok()),
            arrived: Some(self.arrived),
        });
        let mut mails: Vec<Listed> = listed.collect();
        if self.claims_once {
            self.claims.clear();
        }
        if self.echoes {
            let echoes = mails.iter().map(|mail| Listed { size: None, arrived: None, ..*mail });
            let echoes: Vec<Listed> = echoes.collect();
            mails.extend(echoes);
        }
        Ok(Listing { mails, has_unreadable: self.is_unreadable })
    }

    async fn slice(&mut self, uid: u32, at: u32, length: u32, _: usize) -> Result<Piece, Fault> {
        if let Some(failing) = self.failing.get_mut(&uid).filter(|failing| **failing > 0) {
            *failing -= 1;
            return Err(Fault::Slow);
        }
        self.fetched.push(uid);
        if let Some((lease, bytes)) = &self.others {
            assert!(lease.cover(*bytes));
        }
        if at > 0 && self.empty > 0 {
            self.empty -= 1;
            return Ok(Piece::Bytes(Vec::new()));
        }
        let rest = self.mails[&uid].get(at as usize..).unwrap_or_default();
        let length = self.longest_slice.unwrap_or(length as usize);
        Ok(Piece::Bytes(rest[..rest.len().min(length)].to_vec()))
    }

    async fn present(&mut self, from: u32, to: u32) -> Result<Vec<u32>, Fault> {
        if self.is_mute {
            return Err(Fault::Slow);
        }
        Ok(self.mails.range(from..=to).map(|(uid, _)| *uid).collect())
    }

    fn removes_alone(&self, _: bool) -> bool {
        true
    }

    async fn delete(&mut self, uid: u32, _: &Sealed<'_>) -> Result<(), Fault> {
        if self.is_stuck {
            return Err(Fault::Slow);
        }
        self.mails.remove(&uid).map(drop).ok_or(Fault::No)
    }

    async fn move_to(
        &mut self,
        uid: u32,
        _: &str,
        _: &mut bool,
        sealed: &Sealed<'_>,
    ) -> Result<(), Fault> {
        self.delete(uid, sealed).await
    }

    async fn wait(&mut self, _: Duration) -> Result<(), Fault> {
        Ok(())
    }
}

/// What the ledger calls the mailbox.
const MAILBOX: Digest = Digest::new([7; 32]);

/// When every mail came that is a letter, in minutes since 1970.
const CAME: u64 = 1000;

/// A ledger in memory.
#[derive(Default)]
struct Book(Mutex<Written>);

#[derive(Default)]
struct Written {
    last: HashMap<u32, u32>,
    letters: Vec<MailId>,
    /// Bytes of all of them.
    bytes: usize,
    aside: Vec<(u32, u64)>,
    now: u64,
    /// What becomes of the next deliveries that are not simply taken.
    verdicts: Vec<Verdict>,
    has_no_room: bool,
}

impl Book {
    fn written(&self) -> std::sync::MutexGuard<'_, Written> {
        self.0.lock().expect("no holder panics")
    }

    fn uids(&self) -> Vec<u32> {
        self.written().letters.iter().map(|mail| mail.uid).collect()
    }

    fn enter(&self, mail: MailId) {
        let mut written = self.written();
        let last = written.last.entry(mail.validity).or_default();
        *last = if mail.uid == 0 { 0 } else { mail.uid.max(*last) };
        if mail.uid == 0 {
            written.letters.retain(|letter| letter.validity != mail.validity);
        }
    }
}

impl Keeper for Book {
    fn bind(&self, places: Vec<Place>) -> Task<Option<Vec<Digest>>> {
        Box::pin(async move { Some(vec![MAILBOX; places.len()]) })
    }

    fn has_room(&self, _: u64) -> bool {
        !self.written().has_no_room
    }

    fn letters(&self, _: Digest, validity: u32) -> Vec<(u32, Option<u64>)> {
        let written = self.written();
        let letters = written.letters.iter().filter(|mail| mail.validity == validity);
        let mut uids: Vec<_> = letters.map(|mail| (mail.uid, Some(CAME))).collect();
        uids.sort_unstable();
        uids
    }

    fn deliver(&self, delivery: Delivery) -> Task<Verdict> {
        let Fetched { mail, is_whole, .. } = delivery.fetched.expect("was fetched");
        if let Some(verdict) = self.written().verdicts.pop() {
            return Box::pin(async move { verdict });
        }
        self.enter(mail);
        let mut written = self.written();
        written.letters.push(mail);
        written.bytes += delivery.raw.len();
        written.aside.retain(|(uid, _)| *uid != mail.uid);
        if !is_whole {
            let now = written.now;
            written.aside.push((mail.uid, now));
        }
        Box::pin(async { Verdict::Accepted })
    }

    fn up_to(&self, _: Digest, validity: u32) -> Option<u32> {
        self.written().last.get(&validity).copied()
    }

    fn knows(&self, _: Digest) -> bool {
        !self.written().last.is_empty()
    }

    fn is_letter(&self, mail: MailId) -> bool {
        self.written().letters.contains(&mail)
    }

    fn aside(&self, _: Digest, _: u32) -> Vec<(u32, u64)> {
        self.written().aside.clone()
    }

    fn pass_over(&self, mail: MailId) -> Task<bool> {
        self.enter(mail);
        Box::pin(async { true })
    }

    fn set_aside(&self, mail: MailId) -> Task<bool> {
        self.enter(mail);
        let mut written = self.written();
        let now = written.now;
        written.aside.push((mail.uid, now));
        Box::pin(async { true })
    }

    fn now(&self) -> u64 {
        self.written().now
    }
}

fn account(after: After) -> Account {
    Account {
        name: "office".into(),
        host: "localhost".into(),
        port: 993,
        security: Security::Implicit,
        ca: None,
        folder: "INBOX".into(),
        username: "office".into(),
        login: Login::Password(PathBuf::new()),
        after,
        every: Duration::from_secs(300),
        since: None,
        max_letter: 4 << 20,
        recipient: Personal::new("privacy@agency.example".into()),
        pace: Pace::default(),
    }
}

/// Polls so often, each time over a new connection.
async fn polls(times: u32, after: After, fake: &mut Fake, book: &Book, hands: &mut Hands) {
    let (account, room, watch) = (account(after), Budget::new(64 << 20), Watch::default());
    for _ in 0..times {
        let mut poller = Poller {
            account: &account,
            mailbox: MAILBOX,
            keeper: book,
            room: &room,
            watch: &watch,
            hands,
        };
        poller.begin_session(fake);
        let _ = poller.poll(fake).await;
    }
}

#[tokio::test]
async fn a_mail_that_fails_is_tried_three_times_given_up_and_fetched_the_next_day() {
    let (mut fake, book, mut hands) = (Fake::of(&[3, 5, 9]), Book::default(), Hands::default());
    fake.failing.insert(5, 3);
    polls(2, After::Keep, &mut fake, &book, &mut hands).await;
    assert_eq!(book.uids(), [3], "what is behind it waits for its tries");
    polls(2, After::Keep, &mut fake, &book, &mut hands).await;
    assert_eq!(book.uids(), [3, 9]);
    assert_eq!(book.written().aside, [(5, 0)]);
    let fetched = fake.fetched.clone();
    book.written().now = AGAIN - 1;
    polls(3, After::Keep, &mut fake, &book, &mut hands).await;
    assert_eq!(fake.fetched, fetched, "nothing is fetched twice, and nothing before its day");
    book.written().now = AGAIN;
    polls(1, After::Keep, &mut fake, &book, &mut hands).await;
    assert_eq!(book.uids(), [3, 9, 5]);
    assert!(book.written().aside.is_empty());
}

#[tokio::test]
async fn a_mail_that_seems_to_end_before_its_end_is_asked_for_again() {
    let (mut fake, book, mut hands) = (Fake::of(&[1]), Book::default(), Hands::default());
    let long = vec![b'x'; SLICE as usize + 1000];
    fake.mails.insert(1, long.clone());
    fake.empty = 1;
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!(book.uids(), [1]);
    assert_eq!(book.written().bytes, long.len());
    assert!(fake.mails.is_empty());
}

#[tokio::test]
async fn a_list_that_ends_the_connection_is_asked_for_in_halves() {
    let uids: Vec<u32> = (1..=40).collect();
    let (mut fake, book, mut hands) = (Fake::of(&uids), Book::default(), Hands::default());
    fake.gone_deaf = Some(27);
    polls(60, After::Keep, &mut fake, &book, &mut hands).await;
    let wanted: Vec<u32> = uids.into_iter().filter(|uid| *uid != 27).collect();
    assert_eq!(book.uids(), wanted);
    assert_eq!(book.written().aside, [(27, 0)]);
}

#[tokio::test]
async fn what_was_sealed_and_not_deleted_is_deleted_and_nothing_else_is() {
    let (mut fake, book, mut hands) = (Fake::of(&[1, 2, 3]), Book::default(), Hands::default());
    // The process died behind the sealing of 2; 1 was passed over.
    let mailbox = MAILBOX;
    book.written().letters.push(MailId { mailbox, validity: 7, uid: 2 });
    book.enter(MailId { mailbox, validity: 7, uid: 2 });
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!(fake.mails.keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!((fake.fetched.as_slice(), book.uids()), (&[3][..], vec![2, 3]));
    // Under another UIDVALIDITY 2 is another mail.
    let mut other = Fake { validity: 8, ..Fake::of(&[2]) };
    other.failing.insert(2, 9);
    polls(1, After::Delete, &mut other, &book, &mut hands).await;
    assert_eq!(other.mails.len(), 1);
}

#[tokio::test]
async fn a_mail_that_cannot_be_taken_here_is_not_fetched_again_and_again() {
    let (mut fake, book, mut hands) = (Fake::of(&[3, 5]), Book::default(), Hands::default());
    book.written().verdicts = vec![Verdict::NoRoom];
    polls(20, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!((fake.fetched.as_slice(), fake.mails.len()), (&[3][..], 2));
    // Its time has come, and there is no room still: that is known without it.
    hands.waiting.as_mut().expect("waits").until = Instant::now();
    book.written().has_no_room = true;
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!((fake.fetched.as_slice(), fake.mails.len()), (&[3][..], 2));
    for times in 0..40 {
        let waiting = hands.waiting.as_mut().expect("waits");
        assert_eq!((waiting.uid, waiting.times, waiting.why), (3, times + 2, Fault::Full));
        let left = waiting.until - Instant::now();
        assert!(left <= Duration::from_secs(60 * 75), "an hour at most, and a quarter: {left:?}");
        waiting.until = Instant::now();
        polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    }
    assert!(book.written().aside.is_empty(), "it is not the mail's fault");
    book.written().has_no_room = false;
    hands.waiting.as_mut().expect("waits").until = Instant::now();
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!((book.uids(), fake.mails.len()), (vec![3, 5], 0));
    assert!(hands.waiting.is_none());
}

#[tokio::test]
async fn a_mail_that_the_vault_never_takes_is_given_up_and_lies_there() {
    let (mut fake, book, mut hands) = (Fake::of(&[3, 5]), Book::default(), Hands::default());
    book.written().verdicts = vec![Verdict::TryLater; BUSY as usize];
    for times in 1..BUSY {
        polls(3, After::Delete, &mut fake, &book, &mut hands).await;
        assert_eq!(fake.fetched, vec![3; times as usize]);
        hands.waiting.as_mut().expect("waits").until = Instant::now();
    }
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!(book.uids(), [5]);
    assert_eq!(book.written().aside, [(3, 0)]);
    assert_eq!(fake.mails.keys().copied().collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn a_mail_that_ends_before_its_end_is_sealed_and_stays_where_it_is() {
    // Of one whose size is not told nobody knows where it ends, and none is empty.
    for (length, claim) in [
        (100, Some(101)),
        (0, None),
        (1, None),
        (0, Some(0)),
        (1, Some(0)),
        (SLICE as usize + 9, Some(SLICE + 10)),
    ] {
        let (mut fake, book, mut hands) = (Fake::of(&[1, 2]), Book::default(), Hands::default());
        fake.mails.insert(1, vec![b'x'; length]);
        fake.claims.insert(1, claim);
        polls(1, After::Delete, &mut fake, &book, &mut hands).await;
        assert_eq!((book.uids(), book.written().aside.clone()), (vec![1, 2], vec![(1, 0)]));
        let fetched = fake.fetched.clone();
        // Neither a day nor another process makes it whole.
        for mut hands in [hands, Hands::default()] {
            book.written().now += AGAIN;
            polls(2, After::Delete, &mut fake, &book, &mut hands).await;
            assert_eq!(fake.mails.keys().copied().collect::<Vec<_>>(), [1], "{claim:?}");
        }
        assert_eq!(fake.fetched, fetched);
    }
    // One that is longer than was said is whole, also where the server gives less at once.
    for longest_slice in [None, Some(60)] {
        let (mut fake, book, mut hands) = (Fake::of(&[1]), Book::default(), Hands::default());
        fake.mails.insert(1, vec![b'x'; 300]);
        fake.claims.insert(1, Some(99));
        fake.longest_slice = longest_slice;
        polls(1, After::Delete, &mut fake, &book, &mut hands).await;
        assert_eq!((book.uids(), fake.mails.len(), book.written().bytes), (vec![1], 0, 300));
        assert!(book.written().aside.is_empty());
    }
}

#[tokio::test]
async fn a_size_that_was_not_told_is_asked_for_once_more() {
    let (mut fake, book, mut hands) = (Fake::of(&[1]), Book::default(), Hands::default());
    fake.claims.insert(1, None);
    fake.claims_once = true;
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!((book.uids(), fake.mails.len()), (vec![1], 0));
    assert!(book.written().aside.is_empty());
}

#[tokio::test]
async fn a_mail_that_others_leave_no_memory_for_waits_and_is_not_given_up() {
    let (account, watch) = (account(After::Delete), Watch::default());
    for (total, waits) in [(12 << 20, true), (1 << 20, false)] {
        let (mut fake, book, mut hands) = (Fake::of(&[1]), Book::default(), Hands::default());
        let room = Budget::new(total);
        fake.mails.insert(1, vec![b'x'; 3 << 20]);
        fake.claims.insert(1, Some(10));
        // They come when it has begun.
        fake.others = waits.then(|| (room.lease(), 8 << 20));
        for _ in 0..TRIES {
            let mut poller = Poller {
                account: &account,
                mailbox: MAILBOX,
                keeper: &book,
                room: &room,
                watch: &watch,
                hands: &mut hands,
            };
            poller.begin_session(&fake);
            let polled = poller.poll(&mut fake).await;
            let wanted = if waits { Ok(Polled::Later(Fault::Full)) } else { Err(Fault::TooLong) };
            assert_eq!(polled, wanted);
            if let Some(waiting) = &mut hands.waiting {
                waiting.until = Instant::now();
            }
        }
        // What is too long even for all of the memory is told of as one that cannot be fetched.
        assert_eq!(book.written().aside.is_empty(), waits);
        if waits {
            fake.others = None;
            polls(1, After::Delete, &mut fake, &book, &mut hands).await;
            assert_eq!((book.uids(), fake.mails.len()), (vec![1], 0));
        }
    }
}

#[tokio::test]
async fn of_mails_that_were_given_up_one_that_fails_keeps_no_other_for_a_day() {
    let (mut fake, book, mut hands) = (Fake::of(&[1, 2, 3]), Book::default(), Hands::default());
    for uid in 1..=3 {
        let mail = MailId { mailbox: MAILBOX, validity: 7, uid };
        assert!(book.set_aside(mail).await);
    }
    fake.failing.insert(1, 1);
    book.written().now = AGAIN;
    polls(2, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!(book.uids(), [2, 3]);
    polls(2, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!(book.uids(), [2, 3], "it has its own day");
    book.written().now = 2 * AGAIN;
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!(book.uids(), [2, 3, 1]);
}

#[tokio::test]
async fn while_the_vault_takes_no_mail_at_all_none_is_given_up() {
    let (mut fake, book, mut hands) = (Fake::of(&[3, 5]), Book::default(), Hands::default());
    book.written().verdicts = vec![Verdict::NotReady; 2 * BUSY as usize];
    for _ in 0..2 * BUSY {
        polls(1, After::Delete, &mut fake, &book, &mut hands).await;
        let waiting = hands.waiting.as_mut().expect("waits");
        assert_eq!((waiting.uid, waiting.why), (3, Fault::NotReady));
        waiting.until = Instant::now();
    }
    assert!(book.written().aside.is_empty());
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!((book.uids(), fake.mails.len()), (vec![3, 5], 0));
}

#[tokio::test]
async fn a_flag_that_somebody_changes_takes_nothing_from_what_is_known_of_a_mail() {
    let (mut fake, book, mut hands) = (Fake::of(&[1, 2]), Book::default(), Hands::default());
    fake.echoes = true;
    fake.claims.insert(2, Some(5 << 20));
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!((book.uids(), fake.fetched.as_slice()), (vec![1], &[1][..]), "2 is too long");
    assert_eq!(fake.mails.keys().copied().collect::<Vec<_>>(), [2]);
    book.written().now = AGAIN;
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!(fake.fetched, [1], "and so it is the next day");
}

#[tokio::test]
async fn mails_that_came_when_the_ones_that_are_sealed_did_not_are_others_and_none_is_deleted() {
    let sealed = |book: &Book| {
        for uid in 1..=3 {
            let mail = MailId { mailbox: MAILBOX, validity: 7, uid };
            book.written().letters.push(mail);
            book.enter(mail);
        }
    };
    for (arrived, is_other) in [((CAME + 1) * 60, true), (CAME * 60 + 59, false)] {
        let (mut fake, book, mut hands) =
            (Fake::of(&[1, 2, 3, 4]), Book::default(), Hands::default());
        sealed(&book);
        fake.arrived = arrived;
        polls(1, After::Delete, &mut fake, &book, &mut hands).await;
        assert_eq!(fake.mails.len(), if is_other { 4 } else { 0 }, "it is asked once more");
        polls(1, After::Delete, &mut fake, &book, &mut hands).await;
        let fetched: &[u32] = if is_other { &[1, 2, 3, 4] } else { &[4] };
        assert_eq!((fake.fetched.as_slice(), fake.mails.len()), (fetched, 0));
    }
}

#[tokio::test]
async fn a_server_that_is_behind_once_has_not_begun_its_uids_again() {
    for is_empty in [false, true] {
        let (mut fake, book, mut hands) = (Fake::of(&[1, 2, 3]), Book::default(), Hands::default());
        polls(1, After::Keep, &mut fake, &book, &mut hands).await;
        let mails = fake.mails.clone();
        let behind = |fake: &mut Fake| {
            fake.next = 3;
            fake.mails.retain(|uid, _| !is_empty && *uid < 3);
        };
        for _ in 0..3 {
            behind(&mut fake);
            polls(1, After::Keep, &mut fake, &book, &mut hands).await;
            (fake.next, fake.mails) = (4, mails.clone());
            polls(1, After::Keep, &mut fake, &book, &mut hands).await;
        }
        assert_eq!(fake.fetched, [1, 2, 3]);
        behind(&mut fake);
        polls(2, After::Keep, &mut fake, &book, &mut hands).await;
        (fake.next, fake.mails) = (4, mails.clone());
        polls(1, After::Keep, &mut fake, &book, &mut hands).await;
        assert_eq!(book.uids(), [1, 2, 3], "this time it has");
        assert_eq!(fake.fetched, [1, 2, 3, 1, 2, 3]);
    }
}

#[tokio::test]
async fn a_mail_that_is_said_to_be_gone_and_is_there_is_looked_for_once_more() {
    let (mut fake, book, mut hands) = (Fake::of(&[1, 2]), Book::default(), Hands::default());
    hands.of(7);
    hands.missing = vec![1, 5];
    book.enter(MailId { mailbox: MAILBOX, validity: 7, uid: 1 });
    polls(1, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!((book.uids(), fake.mails.len()), (vec![2, 1], 0));
    assert!(hands.missing.is_empty());
}

#[tokio::test]
async fn a_uid_that_cannot_be_is_as_if_nothing_were_said() {
    let (mut fake, book, mut hands) = (Fake::of(&[1, 2]), Book::default(), Hands::default());
    fake.next = 0;
    polls(2, After::Keep, &mut fake, &book, &mut hands).await;
    let mails = std::mem::take(&mut fake.mails);
    polls(3, After::Keep, &mut fake, &book, &mut hands).await;
    fake.mails = mails;
    polls(1, After::Keep, &mut fake, &book, &mut hands).await;
    assert_eq!((book.uids(), fake.fetched.as_slice()), (vec![1, 2], &[1, 2][..]));
}

#[tokio::test]
async fn what_cannot_be_removed_holds_no_new_mail_up_and_is_tried_again_the_next_day() {
    let uids: Vec<u32> = (1..=20).collect();
    let (mut fake, book, mut hands) = (Fake::of(&uids), Book::default(), Hands::default());
    polls(1, After::Keep, &mut fake, &book, &mut hands).await;
    fake.is_stuck = true;
    fake.mails.insert(21, b"Subject: 21\r\n\r\n".to_vec());
    fake.next = 22;
    polls(1, After::Delete, &mut fake, &book, &mut Hands::default()).await;
    assert_eq!(book.uids().last(), Some(&21));
    polls(100, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!(fake.mails.len(), 21);
    fake.is_stuck = false;
    polls(3, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!(fake.mails.len(), 21, "each failed so often that it waits");
    book.written().now += AGAIN;
    polls(3, After::Delete, &mut fake, &book, &mut hands).await;
    assert_eq!((fake.mails.len(), fake.fetched.len()), (0, 21));
}

#[tokio::test]
async fn a_server_that_never_says_what_is_there_is_fetched_from_all_the_same() {
    let (mut fake, book, mut hands) = (Fake::of(&[1]), Book::default(), Hands::default());
    polls(1, After::Keep, &mut fake, &book, &mut hands).await;
    fake.is_mute = true;
    for uid in 2..5 {
        fake.mails.insert(uid, b"Subject: one more\r\n\r\n".to_vec());
        fake.next = uid + 1;
        polls(2, After::Delete, &mut fake, &book, &mut hands).await;
        assert_eq!(book.uids().last(), Some(&uid));
    }
}

#[tokio::test]
async fn behind_what_cannot_be_listed_large_steps_are_taken_again() {
    let far = u32::MAX - 9;
    let (mut fake, book, mut hands) =
        (Fake::of(&[1, 2, 3, far]), Book::default(), Hands::default());
    fake.gone_deaf = Some(2);
    polls(120, After::Keep, &mut fake, &book, &mut hands).await;
    assert_eq!((book.uids(), book.written().aside.clone()), (vec![1, 3, far], vec![(2, 0)]));
    assert!(fake.lists < 400, "{}", fake.lists);
}

#[tokio::test]
async fn a_server_whose_lists_can_never_be_read_is_asked_for_so_many_and_no_more() {
    let (mut fake, book, mut hands) = (Fake::of(&[1, 2]), Book::default(), Hands::default());
    (fake.is_unreadable, fake.next) = (true, u32::MAX);
    polls(1, After::Keep, &mut fake, &book, &mut hands).await;
    assert!(fake.lists <= MOST_LISTS + 2, "{}", fake.lists);
    assert!(book.uids().is_empty());
}

#[tokio::test]
async fn a_mail_that_comes_byte_for_byte_is_given_up() {
    let (mut fake, book, mut hands) = (Fake::of(&[1, 2]), Book::default(), Hands::default());
    fake.mails.insert(1, vec![b'x'; 2 * SHORT_SLICES * LEAST_SLICE]);
    fake.longest_slice = Some(LEAST_SLICE / 2);
    polls(TRIES + 1, After::Keep, &mut fake, &book, &mut hands).await;
    assert_eq!((book.uids(), book.written().aside.clone()), (vec![2], vec![(1, 0)]));
    assert!(
        fake.fetched.len() <= (SHORT_SLICES + 1) * TRIES as usize + 2,
        "{:?}",
        fake.fetched.len()
    );
    // Slices that are short and not that short are no matter.
    fake.longest_slice = Some(LEAST_SLICE);
    book.written().now = AGAIN;
    polls(1, After::Keep, &mut fake, &book, &mut hands).await;
    assert_eq!(book.uids(), [2, 1]);
}

#[test]
fn a_reverse_path_is_what_the_last_server_wrote() {
    for (raw, wanted) in [
        ("Return-Path: <a@b.example>\r\nX: y\r\n\r\n", Some("a@b.example")),
        ("X: y\nreturn-path:<>\n\n", Some("")),
        ("X: y\r\n\r\nReturn-Path: <a@b.example>\r\n", None),
        ("Return-Path: a@b.example\r\n\r\n", None),
        ("Return-Path: <a b@c>\r\n\r\n", None),
        ("", None),
    ] {
        assert_eq!(return_path(raw.as_bytes()).as_deref(), wanted, "{raw}");
    }
}

/// A server that hangs for longer than the time from one poll to the next, and is gone then.
struct Hanging(Mutex<Vec<std::time::Instant>>);

impl Connect for Hanging {
    type Source = Fake;

    async fn connect(&self) -> Result<Fake, Fault> {
        self.0.lock().expect("no holder panics").push(std::time::Instant::now());
        tokio::time::sleep(Duration::from_millis(25)).await;
        Err(Fault::Slow)
    }

    fn forget_token(&self) {}
}

#[tokio::test]
async fn what_only_hangs_is_tried_at_growing_pauses_however_long_it_hangs() {
    const TRIES: usize = 7;
    let first_pause = Duration::from_millis(10);
    let longest_pause = first_pause * 32;
    let pace = Pace { first_pause, longest_pause, ..Pace::default() };
    let every = Duration::from_millis(20);
    let account = Account { every, pace, ..account(After::Keep) };
    let (room, watch, book) = (Budget::new(64 << 20), Watch::default(), Book::default());
    let (dialer, mut hands) = (Hanging(Mutex::default()), Hands::default());
    let poller = Poller {
        account: &account,
        mailbox: MAILBOX,
        keeper: &book,
        room: &room,
        watch: &watch,
        hands: &mut hands,
    };
    let tries = || dialer.0.lock().expect("no holder panics").clone();
    let enough = async {
        while tries().len() < TRIES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = keep_fetching(&dialer, poller) => unreachable!("it never ends"),
        () = enough => {}
    }
    // Each pause is a quarter shorter than it says at most, and the times between tries have it in them.
    for (nr, two) in tries().windows(2).take(TRIES - 1).enumerate() {
        let pause = first_pause * (1 << nr) * 3 / 4;
        assert!(two[1] - two[0] >= pause, "{nr}: {:?}", two[1] - two[0]);
    }
}
