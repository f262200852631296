//! Power cuts: the real program at work on a disk that writes down every write and flush, and then
//! the disk as it could have been at each flush, opened and checked.
//!
//! Letters come in over several connections, attachments are forgotten, the cabinet's key is rotated
//! beside them, all boxes are sealed anew to another epoch, their content too, and the old secret is
//! destroyed; the process is killed and started again; whenever something is answered, the length of
//! the log is noted. A state has everything up to a flush and a random, torn part of what was not
//! flushed yet. Whatever was answered before must be in it: every letter whole, what was forgotten
//! gone, and a ledger that is the beginning of the one that came to be. States that the file system
//! itself cannot make sense of are counted apart.
//!
//! The harness can fail: with one barrier left out (src/lab.rs) it must find something.

#[path = "powercut/copies.rs"]
mod copies;
#[path = "powercut/device.rs"]
mod device;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::ids::{Address, CaseId, EpochId};
use kluis::ledger::Checkpoint;
use kluis::ledger::entry::{Entry, Fact};
use kluis::staff::client::{CaseView, Client};
use kluis::staff::sealing::Sealing;
use kluis::staff::seen::Seen;
use kluis::store::{Batch, Store};
use kluis::vault::seal;

use crate::disks::Kind;
use crate::mail_client::{Client as Sender, Numbers, letter};
use crate::oracles::{self, Found, Sent};
use crate::tally::tally;
use crate::way::skipped;
use crate::world::{MAILBOX, World};
use device::{Cut, Log, Recorder, Recording, Replay};

/// States of each file system in a quick run; KLUIS_POWERCUT_STATES says how many else.
const STATES: usize = 250;
/// States in which a missing barrier must be noticed.
const STATES_TO_NOTICE: usize = 60;
/// Letters before, while and after something is forgotten, and connections.
const LETTERS: [u64; 3] = [16, 16, 8];
const CONNECTIONS: u64 = 4;
const SIZES: [usize; 3] = [6_000, 20_000, 300_000];
/// How long a sender tries.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every so many states something is committed, too.
const GOES_ON: usize = 8;

/// What was answered, and how long the log was by then.
#[derive(Default)]
struct Answered {
    /// Letters by number.
    letters: BTreeMap<u64, u64>,
    /// Letters whose attachment was forgotten, by number.
    forgotten: BTreeMap<u64, u64>,
    /// Rotations of the cabinet's key.
    rotations: Vec<u64>,
    /// Epochs whose secret was destroyed.
    destroyed: BTreeMap<EpochId, u64>,
    checkpoints: Vec<(u64, Checkpoint)>,
}

/// The program at work on the disk.
struct Work {
    world: World,
    smtp: SocketAddr,
    log: Log,
    seed: u64,
    answered: Mutex<Answered>,
}

impl Work {
    fn raw(&self, n: u64) -> Vec<u8> {
        letter(self.seed, n, SIZES[(n % SIZES.len() as u64) as usize])
    }

    /// Sends letters over several connections, each until it is answered 250.
    fn send(&self, numbers: std::ops::Range<u64>) {
        let next = AtomicU64::new(numbers.start);
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= numbers.end {
                            return;
                        }
                        self.send_one(n);
                    }
                });
            }
        });
    }

    fn send_one(&self, n: u64) {
        let (raw, start) = (self.raw(n), Instant::now());
        let once = || -> std::io::Result<bool> {
            let mut sender = Sender::greet(self.smtp, false)?;
            let answers = sender.send("lotte@client.example", &[MAILBOX], &raw)?;
            Ok(answers.iter().all(|answer| answer.code == 250))
        };
        while !once().is_ok_and(|kept| kept) {
            assert!(start.elapsed() < PATIENCE, "letter {n} is not taken");
            std::thread::sleep(Duration::from_millis(20));
        }
        let count = self.log.count();
        self.answered().letters.insert(n, count);
    }

    fn answered(&self) -> std::sync::MutexGuard<'_, Answered> {
        self.answered.lock().expect("no holder panics")
    }

    /// Forgets the attachment of a letter; notes the checkpoint that came with the log-in, too.
    fn forget(&self, n: u64, now: bool) {
        let mut anna = self.world.log_in("anna").expect("logs in");
        let seen = Seen::in_dir(self.world.root.path().join("seen"));
        let checkpoint = seen.last(self.world.vault).expect("is read").expect("was seen");
        let count = self.log.count();
        self.answered().checkpoints.push((count, checkpoint));
        let cases = anna.queue(Filter::All).expect("lists");
        let case = cases.iter().find(|case| number(case) == n).expect("is there");
        let detail = case.letters[0].detail.as_ref().expect("a letter box opens");
        let is_it = |media_type: &str| media_type == "application/octet-stream";
        let item = detail.items.iter().find(|card| is_it(&card.media_type)).expect("one").id;
        let mut sealing = Sealing::new(case.card.case, Act::Note, anna.sealing().expect("proven"));
        sealing.note(NoteSubject::Reason, "asked for", None, Vec::new());
        anna.forget(vec![item], sealing.finish(), now).expect("forgets");
        let count = self.log.count();
        let mut answered = self.answered();
        answered.forgotten.insert(n, count);
        if now {
            answered.rotations.push(count);
        }
    }

    /// The cabinet gets another key, whatever was forgotten.
    fn rotate(&self) {
        self.world.log_in("adam").expect("logs in").rotate_cabinet().expect("rotates");
        let count = self.log.count();
        self.answered().rotations.push(count);
    }

    /// Every box is sealed to another epoch, with its content, and the old one destroyed.
    fn change_epoch(&self) {
        let mut adam = self.world.log_in("adam").expect("logs in");
        let in_force = adam.roster().expect("is in force");
        adam.add_epoch(&in_force, &self.world.admin()).expect("is taken");
        let mut anna = self.world.log_in("anna").expect("logs in and proves");
        let done = anna.reseal_with_content(u64::MAX, &mut |_| ()).expect("seals");
        assert!(done.boxes > 0 && done.bytes > 0 && done.unopened == 0, "{done:?}");
        self.rotate();
        let destroyed = adam.destroy_epochs().expect("nothing is sealed to it");
        assert_eq!(destroyed, [EpochId(1)]);
        let count = self.log.count();
        self.answered().destroyed.insert(EpochId(1), count);
    }

    /// All of it. Gives the length of the log when it began.
    fn run(&self, variables: &[(&str, &str)]) -> u64 {
        let begin = self.log.count();
        let [first, second, third] = LETTERS;
        let server = self.world.spawn(variables);
        assert!(server.smtp.is_some(), "it does not start");
        self.send(0..first);
        self.forget(0, false);
        std::thread::scope(|scope| {
            scope.spawn(|| self.send(first..first + second));
            self.forget(1, true);
            self.rotate();
            self.forget(2, false);
            self.forget(3, true);
            self.rotate();
        });
        self.change_epoch();
        // Killed in the middle of letters: what the restart mends is cut off as well.
        std::thread::scope(|scope| {
            scope.spawn(|| self.send(first + second..first + second + third));
            std::thread::sleep(Duration::from_millis(60));
            server.kill();
            let again = self.world.spawn(variables);
            assert!(again.smtp.is_some(), "it does not start again");
            self.forget(4, true);
            // Kept until the senders are done.
            while self.answered().letters.len() < LETTERS.iter().sum::<u64>() as usize {
                std::thread::sleep(Duration::from_millis(10));
            }
            again.kill();
        });
        begin
    }
}

/// The number of a letter, by its subject.
fn number(case: &CaseView) -> u64 {
    let detail = case.letters[0].detail.as_ref().expect("a letter box opens");
    let subject = detail.headers.subject.as_ref().expect("has a subject").expose();
    subject.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// What came to be in the end, and what each state is held against.
struct Truth {
    answered: Answered,
    entries: Vec<Vec<u8>>,
    /// Where each letter was received, by number.
    received: BTreeMap<u64, usize>,
    /// Entries that forget, by slot.
    forgets: Vec<(usize, kluis::ids::SlotId)>,
    /// The bytes behind each address that some entry's box needs, by hash.
    content: HashMap<Address, blake3::Hash>,
    /// What each entry's box needs: the box and its chunks.
    needs: Vec<(usize, Vec<Address>)>,
}

impl Truth {
    /// Looks at the vault as it is at last: every letter is there, whole and once.
    fn of(work: &Work) -> Self {
        let server = work.world.spawn(&[]);
        let mut anna = work.world.log_in("anna").expect("logs in");
        let answered = std::mem::take(&mut *work.answered());
        let received = assert_all_kept(work, &answered, &mut anna);
        server.kill();
        let state = work.world.state();
        let (store, _) = Store::open(&state, &work.world.cabinet_key()).expect("opens");
        let entries = store.entry_bytes(0, usize::MAX).expect("reads");
        let mut truth = Self {
            answered,
            entries,
            received,
            forgets: Vec::new(),
            content: HashMap::new(),
            needs: Vec::new(),
        };
        truth.read(&store);
        truth
    }

    fn read(&mut self, store: &Store) {
        for (seq, bytes) in self.entries.iter().enumerate() {
            let entry = Entry::from_bytes(bytes).expect("an entry");
            let Some(slot) = entry.slot else { continue };
            if entry.empties_slot() {
                self.forgets.push((seq, slot));
            }
            let (Some(address), Some(place)) = (entry.boxed, entry.place(store.vault())) else {
                continue;
            };
            let sealed = store.read_box(&address).expect("is there");
            let mut needs = vec![address];
            self.content.insert(address, blake3::hash(&sealed));
            // Of what was forgotten by now nobody can tell the chunks any more.
            if let Ok(key) = store.box_key(slot) {
                let inner = seal::open_outer(&sealed, &place, slot, &key).expect("opens");
                for chunk in inner.chunks {
                    let bytes = store.read_chunk(&chunk).expect("is there");
                    self.content.insert(chunk, blake3::hash(&bytes));
                    needs.push(chunk);
                }
            }
            self.needs.push((seq, needs));
        }
    }

    /// Everything that is wrong with a vault whose power went after `durable` entries of the log.
    fn violations(&self, place: &Path, durable: u64, goes_on: bool) -> Vec<String> {
        let state = place.join("state");
        let keys = place.join("state.cabinet-key");
        let (store, opening) = match Store::open(&state, &keys) {
            Ok(opened) => opened,
            Err(error) => return vec![format!("it does not open: {error}")],
        };
        let mut wrong = Vec::new();
        if opening.lost > 0 {
            wrong.push(format!("{} keys are lost", opening.lost));
        }
        match store.check(false, &|_, _| {}) {
            Ok(report) => wrong.extend(report.problems.iter().map(|p| format!("check: {p:?}"))),
            Err(error) => wrong.push(format!("check: {error}")),
        }
        let entries = store.entry_bytes(0, usize::MAX).unwrap_or_default();
        wrong.extend(self.ledger(&entries, durable));
        wrong.extend(self.content(&store, entries.len()));
        wrong.extend(self.epochs(&state, &entries, durable));
        let generations = |dir: &Path, is_one: fn(&str) -> bool| {
            let names = std::fs::read_dir(dir).expect("is read").map(|e| e.expect("e").file_name());
            names.filter(|name| name.to_str().is_some_and(is_one)).count()
        };
        let cabinets = generations(&state, |name| name.starts_with("cabinet."));
        let keys = generations(&keys, |name| name.ends_with(".key"));
        if (cabinets, keys) != (1, 1) {
            wrong.push(format!("{cabinets} cabinets and {keys} keys are left"));
        }
        if goes_on && let Err(error) = store.commit(Batch::of(vec![Entry::new(Fact::LoggedIn, 1)]))
        {
            wrong.push(format!("it does not go on: {error}"));
        }
        wrong
    }

    /// The ledger is the beginning of what it came to be, and nothing that was answered is missing.
    fn ledger(&self, entries: &[Vec<u8>], durable: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        let known = |bytes: &Vec<u8>| Entry::from_bytes(bytes).map(|entry| entry.kind);
        for (seq, bytes) in entries.iter().enumerate() {
            // A rotation that was cut off before it was entered is entered by the start.
            let is_new = seq + 1 == entries.len() && known(bytes) == Ok(Fact::CabinetRotated);
            if self.entries.get(seq) != Some(bytes) && !is_new {
                wrong.push(format!("ledger: entry {seq} is not the one that was written"));
                break;
            }
        }
        let size = entries.len();
        let answered = &self.answered;
        for (n, _) in answered.letters.iter().filter(|(_, at)| **at <= durable) {
            if self.received[n] >= size {
                wrong.push(format!("lost: letter {n} was answered 250"));
            }
        }
        for (_, checkpoint) in answered.checkpoints.iter().filter(|(at, _)| *at <= durable) {
            if checkpoint.size > size as u64 {
                wrong.push(format!("rolled back: {} entries were shown", checkpoint.size));
            }
        }
        let count = |fact| entries.iter().filter(|bytes| known(bytes) == Ok(fact)).count();
        let forgotten = answered.forgotten.values().filter(|at| **at <= durable).count();
        if count(Fact::Forgotten) < forgotten {
            wrong.push("back: a certificate was given, and it is not forgotten".into());
        }
        let rotated = answered.rotations.iter().filter(|at| **at <= durable).count();
        if count(Fact::CabinetRotated) < rotated {
            wrong.push("back: the cabinet was rotated, and it is not".into());
        }
        wrong
    }

    /// The secret of each epoch is there, until it was destroyed; then it is not.
    fn epochs(&self, state: &Path, entries: &[Vec<u8>], durable: u64) -> Vec<String> {
        let of = |fact| {
            let read = entries.iter().filter_map(|bytes| Entry::from_bytes(bytes).ok());
            let read = read.filter(move |entry| entry.kind == fact);
            read.filter_map(|entry| entry.epoch).collect::<BTreeSet<EpochId>>()
        };
        let (signed, destroyed) = (of(Fact::EpochSigned), of(Fact::EpochDestroyed));
        let lies = |epoch: &EpochId, kind: &str| {
            let file = state.join(format!("epochs/{}.{kind}", epoch.0));
            std::fs::read(file).is_ok_and(|bytes| !bytes.is_empty())
        };
        let mut wrong = Vec::new();
        for epoch in signed.difference(&destroyed) {
            if !lies(epoch, "age") || !lies(epoch, "note") {
                wrong.push(format!("lost: the secret of epoch {}", epoch.0));
            }
        }
        for (epoch, _) in self.answered.destroyed.iter().filter(|(_, at)| **at <= durable) {
            if !destroyed.contains(epoch) || lies(epoch, "age") {
                wrong.push(format!("back: the secret of epoch {}", epoch.0));
            }
        }
        wrong
    }

    /// What is in the ledger is there, byte for byte; what it calls forgotten has no key.
    fn content(&self, store: &Store, size: usize) -> Vec<String> {
        let mut wrong = Vec::new();
        for (_, addresses) in self.needs.iter().filter(|(seq, _)| *seq < size) {
            let (boxed, chunks) = addresses.split_first().expect("a box");
            let bytes = chunks.iter().map(|chunk| (chunk, store.read_chunk(chunk)));
            for (address, bytes) in bytes.chain([(boxed, store.read_box(boxed))]) {
                if !bytes.is_ok_and(|bytes| blake3::hash(&bytes) == self.content[address]) {
                    wrong.push(format!("half: {address:?} is missing or altered"));
                }
            }
        }
        for (_, slot) in self.forgets.iter().filter(|(seq, _)| *seq < size) {
            if store.box_key(*slot).is_ok() {
                wrong.push("back: the key of something forgotten is there".into());
            }
        }
        wrong
    }
}

/// Every letter as staff find it: whole and once, but for what was forgotten. Gives where each was
/// received.
fn assert_all_kept(work: &Work, answered: &Answered, anna: &mut Client) -> BTreeMap<u64, usize> {
    let mut found = Found::by(anna).expect("opens");
    let cases = anna.queue(Filter::All).expect("lists");
    let numbers: HashMap<_, _> = cases.iter().map(|case| (case.card.case, number(case))).collect();
    let is_forgotten = |case: &CaseId| answered.forgotten.contains_key(&numbers[case]);
    let gone: BTreeSet<_> = found.cases.keys().copied().filter(is_forgotten).collect();
    assert_eq!(gone.len(), answered.forgotten.len());
    for case in &gone {
        found.cases.remove(case);
        found.opened.remove(case);
        found.received -= 1;
    }
    let kept = answered.letters.keys().filter(|n| !answered.forgotten.contains_key(n));
    let sent = Sent { kept: kept.map(|n| work.raw(*n)).collect(), ..Sent::default() };
    assert_eq!(oracles::letters(&sent, &found), [""; 0]);
    let (entries, _) = anna.ledger().expect("gives the ledger");
    let mut received = BTreeMap::new();
    for (seq, bytes) in entries.iter().enumerate() {
        let entry = Entry::from_bytes(bytes).expect("an entry");
        if entry.kind == Fact::LetterReceived {
            received.insert(numbers[&entry.case.expect("has a case")], seq);
        }
    }
    received
}

/// What became of the states.
#[derive(Default)]
struct Outcome {
    states: usize,
    /// The file system itself could not make sense of them.
    refused: usize,
    /// One or more in a state.
    bad: usize,
    first: Vec<String>,
}

/// The program at work, recorded.
fn recorded(kind: Kind, seed: u64, variables: &[(&str, &str)]) -> (Truth, Recording, u64) {
    let recorder = Recorder::new(kind);
    let world = World::found_on(recorder.path(), 1 << 20);
    let [smtp, _] = world.fix_ports();
    let work = Work { world, smtp, log: recorder.log(), seed, answered: Mutex::default() };
    let begin = work.run(variables);
    let truth = Truth::of(&work);
    drop(work);
    (truth, recorder.finish(), begin)
}

/// The cuts of `states` states in the order of time, each with a number of its own; every flush is
/// cut once before any is cut twice.
fn plan(cuts: &[Cut], states: usize, numbers: &mut Numbers) -> Vec<(Cut, usize)> {
    let mut left: Vec<usize> = Vec::new();
    let mut chosen = Vec::new();
    for round in 0.. {
        if chosen.len() == states {
            break;
        }
        if left.is_empty() {
            left = (0..cuts.len()).collect();
        }
        let at = left.swap_remove((numbers.draw() % left.len() as u64) as usize);
        chosen.push((at, round / cuts.len()));
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|(at, round)| (cuts[at], round)).collect()
}

fn replayed(
    kind: Kind,
    seed: u64,
    truth: &Truth,
    recording: &Recording,
    begin: u64,
    states: usize,
) -> Outcome {
    let mut numbers = Numbers::new(seed);
    let cuts = recording.cuts(begin);
    let mut replay = Replay::new(kind, recording);
    let mut outcome = Outcome::default();
    for (cut, round) in plan(&cuts, states, &mut numbers) {
        outcome.states += 1;
        // Of three cuts one is clean, two are torn.
        let torn = (round + outcome.states) % 3 > 0;
        let Some(mounted) = replay.state(cut, torn.then_some(&mut numbers)) else {
            outcome.refused += 1;
            continue;
        };
        let goes_on = outcome.states.is_multiple_of(GOES_ON);
        let wrong = truth.violations(mounted.path(), cut.durable, goes_on);
        if !wrong.is_empty() {
            outcome.bad += 1;
            let context = format!("state {} after entry {}", outcome.states, cut.durable);
            outcome.first.extend(wrong.into_iter().map(|line| format!("{context}: {line}")));
            outcome.first.truncate(20);
        }
    }
    outcome
}

fn states() -> usize {
    let wished = std::env::var("KLUIS_POWERCUT_STATES").ok().and_then(|text| text.parse().ok());
    wished.unwrap_or(STATES)
}

/// Records once and cuts as often as asked.
fn survives(kind: Kind) {
    if let Some(reason) = device::missing(kind) {
        return skipped(&format!("power cut on {}", kind.name()), reason);
    }
    let (start, seed) = (Instant::now(), crate::crash::seed());
    let (truth, recording, begin) = recorded(kind, seed, &[]);
    let recorded = start.elapsed();
    let outcome = replayed(kind, seed, &truth, &recording, begin, states());
    println!(
        "{}: {} states of {} flushes ({} entries in the log, {} in the ledger), {} refused by the \
         file system itself, {} bad; recorded in {recorded:.1?}, all in {:.1?}",
        kind.name(),
        outcome.states,
        recording.cuts(begin).len(),
        recording.len(),
        truth.entries.len(),
        outcome.refused,
        outcome.bad,
        start.elapsed(),
    );
    tally(
        &format!("power cut, {}", kind.name()),
        &[
            ("states", outcome.states as u64),
            ("refused by the file system", outcome.refused as u64),
            ("letters", truth.answered.letters.len() as u64),
            ("violations", outcome.bad as u64),
        ],
    );
    assert_eq!(outcome.bad, 0, "KLUIS_SEED={seed}\n{}", outcome.first.join("\n"));
    assert!(outcome.refused * 4 < outcome.states, "most states were not looked at");
}

#[test]
fn whenever_the_power_goes_on_ext4_what_was_answered_is_kept_and_what_was_forgotten_is_gone() {
    survives(Kind::Ext4);
}

#[test]
fn whenever_the_power_goes_on_xfs_what_was_answered_is_kept_and_what_was_forgotten_is_gone() {
    survives(Kind::Xfs);
}

/// One barrier is left out, and the harness sees it.
fn notices(barrier: &str) {
    if let Some(reason) = device::missing(Kind::Ext4) {
        return skipped(&format!("power cut without {barrier}"), reason);
    }
    let seed = crate::crash::seed();
    let (truth, recording, begin) = recorded(Kind::Ext4, seed, &[("KLUIS_LAB_NO_SYNC", barrier)]);
    let outcome = replayed(Kind::Ext4, seed, &truth, &recording, begin, STATES_TO_NOTICE);
    let (states, bad, refused) = (outcome.states, outcome.bad, outcome.refused);
    println!("without the barrier of {barrier}: {bad} of {states} bad, {refused} refused");
    assert!(bad > 0, "a missing barrier was not noticed in {states} states");
}

#[test]
fn a_program_that_does_not_wait_for_packs_is_caught() {
    notices("packs");
}

#[test]
fn a_program_that_does_not_wait_for_the_cabinet_is_caught() {
    notices("cabinet");
}

#[test]
fn a_program_that_does_not_wait_for_the_ledger_is_caught() {
    notices("ledger");
}
