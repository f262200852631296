//! Who looks at the pictures that come in: one confined child at a time for the whole server, a fresh one
//! for each picture. How it goes is counted: what fails again and again is broken here, and says so.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::casebook::protocol::Looked;
use crate::casebook::{AskReader, Bringer};
use crate::identity::document::Sight;
use crate::identity::picture::decode::DecodeError;
use crate::inbox::clients;
use crate::letter::Envelope;
use crate::sandbox::models::{self, Reader};

/// For one picture; then the child is ended, and the picture cannot be read.
const PICTURE_TIME: Duration = Duration::from_secs(18);
/// Pictures that wait for the child: more are not looked at, so that a flood of them costs the letters
/// of others no time.
const MOST_WAITING: usize = 8;
/// Those of one who brings letters: so many leave the others a place.
const MOST_OF_ONE: usize = 2;
/// A child may die of what it reads. So many in a row die of something else.
const FAILING: u64 = 3;
/// From one warning to the next.
const WARNED_FOR: Duration = Duration::from_secs(60 * 60);

/// What the server's child is asked through.
struct Desk {
    reader: Reader,
    waiting: Waiting,
    tally: Arc<Tally>,
}

/// Whose pictures wait, and how many of each.
#[derive(Default)]
struct Waiting(Mutex<HashMap<Bringer, usize>>);

/// One that waits, or is looked at.
struct Place<'a>(&'a Waiting, Bringer);

impl Waiting {
    /// A place for a picture that this one brought, if there is one.
    fn take(&self, bringer: Bringer) -> Option<Place<'_>> {
        let mut waiting = self.lock();
        let all: usize = waiting.values().sum();
        let own = waiting.get(&bringer).copied().unwrap_or(0);
        if all >= MOST_WAITING || own >= MOST_OF_ONE {
            return None;
        }
        waiting.insert(bringer, own + 1);
        Some(Place(self, bringer))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bringer, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        match waiting.get_mut(&self.1) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(waiting.remove(&self.1)),
        }
    }
}

/// How looking went since the start.
#[derive(Default)]
pub(super) struct Tally {
    read: AtomicU64,
    failed: AtomicU64,
    passed_over: AtomicU64,
    /// Failures since a picture was read last.
    in_a_row: AtomicU64,
    warned: Mutex<Option<Instant>>,
}

impl Tally {
    /// Takes in how one look ended; whether a warning is due.
    fn note(&self, seen: Option<&Sight>, now: Instant) -> bool {
        let is_failure = seen.is_none_or(|sight| {
            matches!(sight.refused, Some(DecodeError::Crashed | DecodeError::TimedOut))
        });
        if !is_failure {
            self.read.fetch_add(1, Ordering::Relaxed);
            self.in_a_row.store(0, Ordering::Relaxed);
            return false;
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        if self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1 < FAILING {
            return false;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned.is_none_or(|before| now.duration_since(before) >= WARNED_FOR);
        if is_due {
            *warned = Some(now);
        }
        is_due
    }

    /// How it went, for whoever asks.
    pub(super) fn looked(&self) -> Looked {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Looked {
            read: count(&self.read),
            failed: count(&self.failed),
            passed_over: count(&self.passed_over),
            is_failing: count(&self.in_a_row) >= FAILING,
        }
    }
}

/// A look that nobody waited for to the end was passed over.
struct Asked<'a> {
    tally: &'a Tally,
    is_over: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.tally.passed_over.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Desk {
    async fn look(&self, bringer: Bringer, picture: &[u8]) -> Option<Sight> {
        let mut asked = Asked { tally: &self.tally, is_over: false };
        let _place = self.waiting.take(bringer)?;
        let seen = self.reader.look(picture).await;
        asked.is_over = true;
        if self.tally.note(seen.as_ref(), Instant::now()) {
            tracing::warn!(
                failed = self.tally.looked().failed,
                "pictures cannot be read, one after another: copies of identity documents are not \
                 seen as they come (kluis doctor)"
            );
        }
        seen
    }
}

/// What pictures are looked at with, if the models are there, and how that goes.
pub(super) fn reader(program: &Path) -> Option<(Box<AskReader>, Arc<Tally>)> {
    let folder = models::folder();
    let Some(reader) = Reader::new(program.to_owned(), folder.clone(), PICTURE_TIME) else {
        tracing::warn!(
            folder = %folder.display(),
            "copies of identity documents are not read: the models are not there (kluis doctor --fetch-models)"
        );
        return None;
    };
    let tally: Arc<Tally> = Arc::default();
    let desk = Arc::new(Desk { reader, waiting: Waiting::default(), tally: Arc::clone(&tally) });
    let ask: Box<AskReader> = Box::new(move |bringer, picture| {
        let desk = Arc::clone(&desk);
        Box::pin(async move { desk.look(bringer, picture).await })
    });
    Some((ask, tally))
}

/// Who brings a letter: a stranger by their address, the mailboxes that are fetched from all together. A
/// server of ours brings those of everybody: there the domain counts of whom it has it from, which
/// anybody may write, and which few who write without care think of.
pub(super) fn bringer(envelope: &Envelope, is_trusted: bool, is_fetched: bool) -> Bringer {
    let client = envelope.client.as_ref().map(|client| client.expose().as_str());
    if is_fetched {
        return Bringer::of(&["fetched"]);
    }
    if is_trusted {
        let sender = envelope.mail_from.expose();
        let domain = sender.rsplit_once('@').map_or("", |(_, domain)| domain);
        return Bringer::of(&["ours", &domain.to_ascii_lowercase()]);
    }
    let address = client.and_then(|client| client.parse::<IpAddr>().ok()).map(clients::key);
    Bringer::of(&["stranger", &address.map(|address| address.to_string()).unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::Source;
    use crate::secret::Personal;

    fn client(nr: usize) -> Bringer {
        Bringer::of(&[&nr.to_string()])
    }

    #[test]
    fn so_many_wait_and_no_more_and_a_place_is_given_back() {
        let waiting = Waiting::default();
        let places: Vec<_> = (0..MOST_WAITING).map(|nr| waiting.take(client(nr))).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(waiting.take(client(99)).is_none());
        drop(places);
        assert!(waiting.lock().is_empty(), "nobody is remembered");
        assert!(waiting.take(client(99)).is_some());
    }

    #[test]
    fn one_client_takes_two_places_and_leaves_the_others_to_others() {
        let waiting = Waiting::default();
        let places: Vec<_> = (0..MOST_WAITING).map(|_| waiting.take(client(1))).collect();
        assert_eq!(places.iter().flatten().count(), MOST_OF_ONE);
        let other = waiting.take(client(2));
        assert!(other.is_some());
        let mut places: Vec<_> = places.into_iter().flatten().collect();
        drop(places.pop());
        assert!(waiting.take(client(1)).is_some(), "a place is given back");
    }

    #[test]
    fn a_stranger_is_known_by_their_network_and_a_server_of_ours_by_whom_it_speaks_for() {
        let envelope = |client: Option<&str>, from: &str| Envelope {
            mail_from: Personal::new(from.to_owned()),
            rcpt_to: Vec::new(),
            helo: Personal::new("x".to_owned()),
            client: client.map(|client| Personal::new(client.to_owned())),
            source: Source::Smtp,
            tls: false,
        };
        let stranger =
            |client: &str, from: &str| bringer(&envelope(Some(client), from), false, false);
        let is_one = |a: Bringer, b: Bringer| a == b;
        assert!(is_one(stranger("192.0.2.1", "a@x.example"), stranger("192.0.2.1", "b@y.example")));
        assert!(!is_one(stranger("192.0.2.1", ""), stranger("192.0.2.2", "")));
        assert!(is_one(stranger("2001:db8::1", ""), stranger("2001:db8::ffff:1", "")));
        assert!(!is_one(stranger("2001:db8::1", ""), stranger("2001:db8:0:1::1", "")));
        let ours = |client: Option<&str>, from: &str| bringer(&envelope(client, from), true, false);
        assert!(is_one(ours(Some("127.0.0.1"), "a@x.example"), ours(None, "b@X.Example")));
        assert!(!is_one(ours(None, "a@x.example"), ours(None, "a@y.example")));
        assert!(!is_one(ours(None, "a@x.example"), stranger("127.0.0.1", "a@x.example")));
        let fetched = |from: &str| bringer(&envelope(None, from), true, true);
        assert!(is_one(fetched("a@x.example"), fetched("a@y.example")));
    }

    #[test]
    fn failures_are_counted_and_told_once_an_hour_when_they_come_one_after_another() {
        let (tally, start) = (Tally::default(), Instant::now());
        let (good, died) = (Sight::default(), Sight::refused(DecodeError::Crashed));
        let odd = Sight::refused(DecodeError::Damaged);
        let hour = |nr: u32| start + WARNED_FOR * nr;
        // Here and there a picture ends its child.
        for _ in 0..5 {
            let ends = [Some(&died), None, Some(&good), Some(&died), Some(&odd)];
            assert!(ends.iter().all(|end| !tally.note(*end, start)));
        }
        let Looked { read, failed, passed_over, is_failing } = tally.looked();
        assert_eq!((read, failed, passed_over, is_failing), (10, 15, 0, false));
        let late = Sight::refused(DecodeError::TimedOut);
        let told = [None, Some(&late), Some(&died), None, None].map(|end| tally.note(end, start));
        assert_eq!(told, [false, false, true, false, false]);
        assert!(tally.looked().is_failing);
        assert!(!tally.note(None, hour(1) - Duration::from_secs(1)));
        assert!(tally.note(None, hour(1)) && !tally.note(None, hour(1)));
        assert!(!tally.note(Some(&good), hour(2)) && !tally.looked().is_failing);
        drop(Asked { tally: &tally, is_over: false });
        assert_eq!(tally.looked().passed_over, 1);
    }
}
