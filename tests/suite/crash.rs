//! Crashes: whatever the moment, what was answered is kept once and whole, what was forgotten stays
//! forgotten, and no checkpoint is contradicted.
//!
//! The program is killed from within, at each named step of a commit, of forgetting and of a
//! rotation (src/lab.rs), and from outside at any moment, under eight senders that try again as mail
//! servers do and staff that look and forget. What has the step at which it is to die is done
//! meanwhile: the cabinet gets another key, epochs follow one another, boxes are sealed anew, their
//! content too, and old secrets are destroyed. A kill loses nothing that the system was given to
//! write: what a power cut adds to this is in `powercut`.
//!
//! KLUIS_KILLS and KLUIS_LETTERS ask for a longer storm (`make soak`).

#[path = "crash/barrier.rs"]
mod barrier;
#[path = "crash/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::ids::{CaseId, random};
use kluis::ledger::Checkpoint;
use kluis::ledger::entry::{Entry, Fact};
use kluis::staff::client::{CaseView, Client, Error};
use kluis::staff::sealing::Sealing;
use kluis::staff::seen::Seen;
use kluis::store::{COMMIT_STEPS, ROTATE_STEPS};

use crate::mail_client::{Numbers, Outcome, Plan, letter, send_all};
use crate::oracles::{self, Found, Sent};
use crate::tally::tally;
use crate::world::{MAILBOX, Process, World};

/// Kills in all, the same number at each step of a commit and from outside.
const KILLS: u32 = 154;
/// Letters at least, and letters of a wave.
const LETTERS: u64 = 300;
const WAVE: u64 = 16;
/// Senders at the same time, beside those that try only once.
const SENDERS: usize = 8;
/// Letters of a wave that are sent again after it.
const AGAIN: u64 = 3;
/// Times that a patient sender tries a letter; it waits up to a second in between.
const TRIES: u32 = 60;
/// Rows of the table: killed from outside, while it starts and while it serves.
const STARTING: &str = "from outside, starting";
const SERVING: &str = "from outside, serving";
/// Killed from outside while boxes are sealed anew, and while their content is.
const RESEALING: &str = "from outside, resealing";
const RENEWING: &str = "from outside, resealing with content";
/// Steps of epochs.
const ADDED: &str = "keys:epoch-written";
const DESTROYING: &str = "keys:destroying-entered";
/// All boxes are sealed anew before an epoch is destroyed.
const LONG_PATIENCE: Duration = Duration::from_secs(30);
/// Sealing anew is killed within this time, in microseconds.
const RESEAL_TIME: u64 = 60_000;
/// A kill from outside comes within this time, in microseconds: about that of a start.
const OUTSIDE_TIME: u64 = 150_000;
/// A server that has no work does not come to its step.
const PATIENCE: Duration = Duration::from_secs(3);
/// The whole storm, for each of its kills.
const STORM_TIME: Duration = Duration::from_millis(2_500);
/// A restart (reference: reliability R4).
const START_TIME: Duration = Duration::from_secs(2);

/// A seed that is printed, so that a failure can be run again: the letters and the plan of kills
/// are of the seed, what the threads make of it is not.
pub(crate) fn seed() -> u64 {
    let wished = std::env::var("KLUIS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = wished.unwrap_or_else(|| u64::from(u32::from_le_bytes(random())));
    println!("KLUIS_SEED={seed}");
    seed
}

/// A number that the environment asks for.
fn wished<N: std::str::FromStr>(variable: &str, usual: N) -> N {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn is_sigkill(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

/// A letter whose attachment staff asked to forget.
struct Forgotten {
    case: CaseId,
    raw: Vec<u8>,
    /// A certificate came: it is forgotten. Else it may be.
    certified: bool,
}

/// Everything the storm is made of.
struct Storm {
    world: World,
    places: [SocketAddr; 2],
    seed: u64,
    sent: Mutex<Sent>,
    seen: Mutex<Vec<Checkpoint>>,
    forgotten: Mutex<Vec<Forgotten>>,
    wrong: Mutex<Vec<String>>,
    /// Where the program is to die.
    wanted: Mutex<&'static str>,
    /// Boxes are being sealed anew.
    is_resealing: AtomicBool,
    /// What is sealed to an epoch is sealed before another follows.
    desk: Mutex<()>,
    /// Every step has had its kills.
    enough: AtomicBool,
    /// The senders have had every answer.
    answered: AtomicBool,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let world = World::found();
        let places = world.fix_ports();
        let (enough, answered) = (AtomicBool::new(false), AtomicBool::new(false));
        let (sent, seen, forgotten, wrong, desk) = Default::default();
        let (wanted, is_resealing) = (Mutex::new(STARTING), AtomicBool::new(false));
        Self {
            world,
            places,
            seed,
            sent,
            seen,
            forgotten,
            wrong,
            wanted,
            is_resealing,
            desk,
            enough,
            answered,
        }
    }

    fn complain(&self, what: impl Into<String>) {
        self.wrong.lock().expect("no holder panics").push(what.into());
    }

    fn plan(&self, wave: u64, letters: u64, tries: u32) -> Plan {
        let lmtp = wave % 2 == 1;
        Plan {
            addr: self.places[usize::from(lmtp)],
            lmtp,
            from: "lotte@client.example".into(),
            to: MAILBOX.into(),
            seed: self.seed + wave,
            letters,
            size: [5_000, 12_000, 40_000][(wave % 3) as usize],
            connections: SENDERS,
            tries,
        }
    }

    /// Sends, and remembers what was answered.
    fn send(&self, plan: &Plan) -> Outcome {
        let outcome = send_all(plan);
        let mut sent = self.sent.lock().expect("no holder panics");
        let raw = |n: &u64| letter(plan.seed, *n, plan.size);
        sent.kept.extend(outcome.accepted.iter().map(raw));
        sent.given_up.extend(outcome.failed.iter().map(raw));
        outcome
    }

    /// Waves of letters until there was enough of it: patient senders, and after each wave some of
    /// it again. At last nobody is without an answer.
    fn patient_senders(&self) {
        let waves = wished("KLUIS_LETTERS", LETTERS).div_ceil(WAVE);
        let mut wave = 0;
        while wave < waves || !self.enough.load(Ordering::Relaxed) {
            for letters in [WAVE, AGAIN] {
                if !self.send(&self.plan(wave, letters, TRIES)).failed.is_empty() {
                    self.complain(format!("letters of wave {wave} were refused"));
                    wave = waves;
                }
            }
            wave += 1;
        }
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Senders that try once and never come back.
    fn hasty_senders(&self) {
        let mut wave = 1_000_000;
        while !self.enough.load(Ordering::Relaxed) {
            let plan = Plan { connections: 1, ..self.plan(wave, 1, 1) };
            self.send(&plan);
            wave += 1;
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Staff that come and go, compare checkpoints, read, and check the vault at work.
    fn staff(&self) {
        while !self.answered.load(Ordering::Relaxed) {
            let start = Instant::now();
            let desk = self.desk.lock().expect("no holder panics");
            let visited = self.visit();
            drop(desk);
            match visited {
                // The server is down, or went down meanwhile.
                Ok(()) | Err(Error::NoServer(_) | Error::Broken(_)) => {}
                Err(error) => self.complain(format!("staff: {error}")),
            }
            // A large vault is looked at less often: the server has letters to take.
            thread::sleep(Duration::from_millis(150).max(start.elapsed() * 2));
        }
    }

    /// Whoever holds keys does what has the step at which the program is to die.
    fn key_holders(&self) {
        while !self.enough.load(Ordering::Relaxed) {
            let wanted = *self.wanted.lock().expect("no holder panics");
            let done = match wanted {
                step if step.starts_with("rotate:") => {
                    self.world.log_in("adam").and_then(|mut adam| adam.rotate_cabinet())
                }
                ADDED | DESTROYING | RESEALING | RENEWING => {
                    let _desk = self.desk.lock().expect("no holder panics");
                    let done = self.change_epochs(wanted);
                    self.is_resealing.store(false, Ordering::Relaxed);
                    done
                }
                _ => Ok(()),
            };
            match done {
                Ok(()) | Err(Error::NoServer(_) | Error::Broken(_)) => {}
                Err(error) => self.complain(format!("keys: {error}")),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A new epoch, unless boxes wait for the newest; then all of them are sealed to it, and the older
    /// ones destroyed.
    fn change_epochs(&self, wanted: &str) -> Result<(), Error> {
        let mut adam = self.world.log_in("adam")?;
        let (in_force, status) = (adam.roster()?, adam.status()?);
        let is_settled = status.epoch == Some(in_force.epoch) && status.by_epoch.len() < 2;
        if is_settled || wanted == ADDED {
            adam.add_epoch(&in_force, &self.world.admin())?;
        }
        // Proves it.
        let mut anna = self.world.log_in("anna")?;
        if wanted == ADDED {
            return Ok(());
        }
        self.is_resealing.store(true, Ordering::Relaxed);
        match wanted {
            RENEWING => anna.reseal_with_content(u64::MAX, &mut |_| ())?,
            _ => anna.reseal(u64::MAX, &mut |_| ())?,
        };
        self.is_resealing.store(false, Ordering::Relaxed);
        match adam.destroy_epochs() {
            // A letter was sealed to the older one meanwhile.
            Err(Error::Refused(why)) if why.contains("boxes are still") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Kills it in the middle of sealing anew; says whether it came to that.
    fn kill_resealing(&self, process: &mut Process, moment: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < LONG_PATIENCE {
            if self.is_resealing.load(Ordering::Relaxed) {
                thread::sleep(moment);
                return self.is_resealing.load(Ordering::Relaxed);
            }
            if process.ended_within(Duration::from_millis(1)).is_some() {
                return false;
            }
        }
        false
    }

    fn visit(&self) -> Result<(), Error> {
        let mut anna = self.world.log_in("anna")?;
        let seen = Seen::in_dir(self.world.root.path().join("seen")).last(self.world.vault)?;
        self.seen.lock().expect("no holder panics").extend(seen);
        for view in anna.queue(Filter::All)?.iter().rev().take(3) {
            for letter in &view.letters {
                let is_kept = |raw: &Vec<u8>| raw.starts_with(b"From: Load");
                // A server that dies in between breaks the connection, which the next call tells.
                let is_forgotten = letter.card.items.iter().any(|(_, _, forgotten)| *forgotten);
                match oracles::rebuilt(&mut anna, letter) {
                    Ok(raw) if is_kept(&raw) => self.forget(&mut anna, view, raw)?,
                    _ if is_forgotten => {}
                    _ => {
                        anna.status()?;
                        self.complain("half: staff saw a letter that does not open");
                    }
                }
            }
        }
        let (_, problems, _) = anna.check()?;
        problems.into_iter().for_each(|problem| self.complain(format!("check: {problem}")));
        Ok(())
    }

    /// Forgets the attachment of a letter that was just opened, every other time with a rotation.
    fn forget(&self, anna: &mut Client, view: &CaseView, raw: Vec<u8>) -> Result<(), Error> {
        let case = view.card.case;
        let at = {
            let mut forgotten = self.forgotten.lock().expect("no holder panics");
            if forgotten.len() >= wished("KLUIS_KILLS", KILLS as usize)
                || forgotten.iter().any(|known| known.case == case)
            {
                return Ok(());
            }
            forgotten.push(Forgotten { case, raw, certified: false });
            forgotten.len() - 1
        };
        let mut sealing = Sealing::new(case, Act::Note, anna.sealing()?);
        sealing.note(NoteSubject::Reason, "asked for", None, Vec::new());
        let item = script::attachment(view);
        let certificates = anna.forget(vec![item], sealing.finish(), at % 2 == 1)?;
        self.forgotten.lock().expect("no holder panics")[at].certified = certificates.len() == 1;
        Ok(())
    }

    /// Starts the program again and again and kills it, until every step has had its share.
    fn kill(&self) -> Kills {
        let mut numbers = Numbers::new(self.seed);
        let mut kills = Kills::new();
        let (start, time) = (Instant::now(), STORM_TIME * wished("KLUIS_KILLS", KILLS));
        while let Some(row) = kills.next() {
            if start.elapsed() > time {
                self.complain("the storm took too long");
                break;
            }
            let (visit, moment) = (numbers.draw() % 3 + 1, numbers.draw() % OUTSIDE_TIME);
            *self.wanted.lock().expect("no holder panics") = row;
            let (process, patience) = match row {
                RESEALING | RENEWING => {
                    let mut process = self.world.spawn(&[]);
                    let moment = Duration::from_micros(numbers.draw() % RESEAL_TIME);
                    let came = self.kill_resealing(&mut process, moment);
                    kills.count_from_outside(if came { row } else { SERVING }, process);
                    continue;
                }
                DESTROYING => {
                    (self.world.spawn(&[("KLUIS_LAB_KILL", &format!("{row}:1"))]), LONG_PATIENCE)
                }
                STARTING => (self.world.launch(&[]), Duration::from_micros(moment)),
                SERVING => (self.world.spawn(&[]), Duration::from_micros(moment)),
                step => {
                    let visit = if step.starts_with("commit:") { visit } else { 1 };
                    let wish = format!("{step}:{visit}");
                    (self.world.spawn(&[("KLUIS_LAB_KILL", &wish)]), PATIENCE)
                }
            };
            if let Err(status) = kills.wait(row, process, patience) {
                let log = std::fs::read_to_string(self.world.log()).expect("is read");
                let last = log.lines().last().unwrap_or_default();
                self.complain(format!("the program ended by itself: {status}: {last}"));
                break;
            }
        }
        self.enough.store(true, Ordering::Relaxed);
        kills
    }
}

fn rows() -> impl Iterator<Item = &'static str> {
    let named = COMMIT_STEPS.iter().chain(ROTATE_STEPS).copied().chain([ADDED, DESTROYING]);
    named.chain([STARTING, SERVING, RESEALING, RENEWING])
}

/// How often the program was killed where.
struct Kills {
    rows: BTreeMap<&'static str, u32>,
    starts: Vec<Duration>,
    /// Kills of each row.
    enough: u32,
}

impl Kills {
    fn new() -> Self {
        let rows: BTreeMap<_, _> = rows().map(|row| (row, 0)).collect();
        let enough = wished("KLUIS_KILLS", KILLS).div_ceil(rows.len() as u32);
        Self { rows, starts: Vec::new(), enough }
    }

    fn count(&self) -> u64 {
        self.rows.values().map(|count| u64::from(*count)).sum()
    }

    /// Where the program was killed least, if that is not often enough.
    fn next(&self) -> Option<&'static str> {
        let (row, count) = self.rows.iter().min_by_key(|(_, count)| **count)?;
        (*count < self.enough).then_some(*row)
    }

    /// Waits until it is dead, by its own hand or by ours; any other end is an error.
    fn wait(
        &mut self,
        row: &'static str,
        mut process: Process,
        patience: Duration,
    ) -> Result<(), ExitStatus> {
        if row != STARTING {
            self.starts.push(process.start_time);
        }
        let row = match process.ended_within(patience) {
            Some(status) if !is_sigkill(status) => return Err(status),
            Some(_) => row,
            None => {
                process.kill();
                if row == STARTING { STARTING } else { SERVING }
            }
        };
        *self.rows.entry(row).or_default() += 1;
        Ok(())
    }

    /// Kills it, and counts it here.
    fn count_from_outside(&mut self, row: &'static str, process: Process) {
        self.starts.push(process.start_time);
        process.kill();
        *self.rows.entry(row).or_default() += 1;
    }

    fn print(&self) {
        for row in rows() {
            println!("{row:36} {:4} kills", self.rows[row]);
        }
        let mut starts = self.starts.clone();
        starts.sort();
        let (middle, last) = (starts[starts.len() / 2], starts[starts.len() - 1]);
        println!("{} starts: median {middle:.0?}, longest {last:.0?}", starts.len());
    }
}

#[test]
fn whatever_kills_it_every_letter_answered_is_kept_once_and_whole() {
    let storm = Storm::new(seed());
    let start = Instant::now();
    let kills = thread::scope(|scope| {
        scope.spawn(|| storm.patient_senders());
        scope.spawn(|| storm.hasty_senders());
        scope.spawn(|| storm.staff());
        scope.spawn(|| storm.key_holders());
        let kills = storm.kill();
        let _last = storm.world.spawn(&[]);
        // Whatever came before: something is forgotten.
        let desk = storm.desk.lock().expect("no holder panics");
        storm.visit().expect("nobody kills it");
        drop(desk);
        while !storm.answered.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        kills
    });
    println!("the storm took {:.1?}", start.elapsed());
    kills.print();
    assert_after(&storm, kills.count());
    assert!(kills.rows.values().all(|count| *count >= kills.enough));
    let longest = kills.starts.iter().max().expect("it was started");
    assert!(*longest < START_TIME, "a start took {longest:?}");
}

/// Everything that must hold now.
fn assert_after(storm: &Storm, kills: u64) {
    let start = Instant::now();
    let server = storm.world.spawn(&[]);
    // Known again, though other processes took them.
    let again = storm.send(&storm.plan(0, WAVE, 3));
    assert_eq!(again.accepted.len() as u64, WAVE);
    let mut anna = storm.world.log_in("anna").expect("logs in");
    let mut found = Found::by(&mut anna).expect("opens");
    let (entries, head) = anna.ledger().expect("gives the ledger");
    let (looked_at, problems, _) = anna.check().expect("checks");
    server.kill();
    let [rotations, resealed, destroyed] = changes_of_keys(&storm.world, &entries);

    let mut sent = storm.sent.lock().expect("no holder panics");
    let seen = storm.seen.lock().expect("no holder panics");
    let mut wrong = storm.wrong.lock().expect("no holder panics").clone();
    let letters = sent.kept.len();
    let forgotten = take_forgotten(storm, &mut sent, &mut found, &mut wrong);
    wrong.extend(oracles::letters(&sent, &found));
    wrong.extend(oracles::ledger(&entries, &head, &seen, &storm.world.checkpoint_key));
    wrong.extend(problems.into_iter().map(|problem| format!("check: {problem}")));
    wrong.extend(without_index(&storm.world));
    let log = std::fs::read_to_string(storm.world.log()).expect("is read");
    let is_bad = |line: &&str| line.contains("panicked") || line.contains(" ERROR ");
    wrong.extend(log.lines().filter(is_bad).map(|line| format!("log: {line}")));
    println!(
        "{kills} kills; {rotations} rotations, {resealed} boxes sealed anew, {destroyed} epochs destroyed; \
         {letters} letters answered, {} given up; {} kept in {} entries, {forgotten} \
         forgotten, {} checkpoints seen, {looked_at} records checked; looking took {:.1?}",
        sent.given_up.len(),
        found.received,
        entries.len(),
        seen.len(),
        start.elapsed(),
    );
    tally(
        "kills",
        &[
            ("kills", kills),
            ("letters", letters as u64),
            ("forgotten", forgotten as u64),
            ("rotations", rotations),
            ("boxes sealed anew", resealed),
            ("epochs destroyed", destroyed),
            ("violations", wrong.len() as u64),
        ],
    );
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
    assert!(letters as u64 >= wished("KLUIS_LETTERS", LETTERS) && !sent.given_up.is_empty());
    assert!(!seen.is_empty() && forgotten > 0);
}

/// How often the cabinet got another key, a box was sealed anew, an epoch was destroyed. Of one that
/// was no secret is left.
fn changes_of_keys(world: &World, entries: &[Vec<u8>]) -> [u64; 3] {
    let read: Vec<Entry> =
        entries.iter().map(|bytes| Entry::from_bytes(bytes).expect("an entry")).collect();
    let of = |fact| read.iter().filter(move |entry| entry.kind == fact);
    for epoch in of(Fact::EpochDestroyed).filter_map(|entry| entry.epoch) {
        for kind in ["age", "before.age"] {
            let file = world.state().join(format!("epochs/{}.{kind}", epoch.0));
            assert!(!file.exists(), "{} is of a destroyed epoch", file.display());
        }
    }
    let facts = [Fact::CabinetRotated, Fact::Resealed, Fact::EpochDestroyed];
    let counts = facts.map(|fact| of(fact).count() as u64);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    counts
}

/// Takes out what was forgotten, which does not open again: letters that have a certificate must be
/// so, those that were about to be forgotten when the server died may be. Gives how many are.
fn take_forgotten(
    storm: &Storm,
    sent: &mut Sent,
    found: &mut Found,
    wrong: &mut Vec<String>,
) -> usize {
    let asked = storm.forgotten.lock().expect("no holder panics");
    let mut gone = 0;
    for Forgotten { case, raw, certified } in asked.iter() {
        let opens = found.cases.get(case).is_some_and(|case| case.letters[0].is_ok());
        if opens && *certified {
            wrong.push(format!("back: {case} has a certificate and opens"));
        }
        if !opens {
            found.cases.remove(case);
            found.opened.remove(case);
            found.received -= 1;
            sent.kept.remove(raw);
            gone += 1;
        }
    }
    gone
}

/// The index is made of the rest, and nothing is missing then.
fn without_index(world: &World) -> Vec<String> {
    std::fs::remove_dir_all(world.state().join("index")).expect("is deleted");
    let gateway = world.open();
    let mut wrong = Vec::new();
    if gateway.opening.lost > 0 {
        wrong.push(format!("lost: {} keys are missing", gateway.opening.lost));
    }
    let report = gateway.casebook.store().check(false, &|_, _| {}).expect("checks");
    wrong.extend(report.problems.iter().map(|problem| format!("without index: {problem:?}")));
    wrong
}
