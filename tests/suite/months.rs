//! Months of a desk, from a seed: letters come, staff come and go, epochs and the cabinet get new
//! keys, items are forgotten, boxes sealed anew, the admin key is handed over, sheets of the recovery
//! key let somebody in, the server is killed; backups are made, the vault is lost and restored. Every
//! day who can open what is what the model says (`model`): for members by what the server hands out,
//! for those who left by a copy of the whole disk, of the backups and every secret that they took
//! along.
//!
//! Each act says beforehand what it will enter. The ledger must hold exactly that; after a crash a
//! beginning of it, of which nothing is missing that was answered.
//!
//! KLUIS_MONTHS says how many seeds, KLUIS_SEED the first one (one alone without the other).

mod acts;
mod copies;
mod looks;
mod model;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kluis::casebook::state::Wrapped;
use kluis::ids::{EpochId, ItemId, StaffId};
use kluis::keys::admin::AdminKey;
use kluis::keys::roster::Role;
use kluis::keys::staff::StaffKey;
use kluis::keys::wrapped;
use kluis::ledger::Checkpoint;
use kluis::ledger::entry::Entry;
use kluis::staff::client::Error;
use kluis::staff::seen::Seen;
use kluis::store::COMMIT_STEPS;
use tokio::runtime::Runtime;

use crate::mail_client::Numbers;
use crate::oracles;
use crate::tally::tally;
use crate::way::runtime;
use crate::world::{Server, World};
use acts::Act;
use copies::Copies;
use model::{Change, Event, Group, Member, Model};

/// Seeds of a usual run.
const SEEDS: u64 = 3;
/// Days of each.
const DAYS: u64 = 40;
/// 4 January 2027, seven in the morning in Brussels.
const START: u64 = 1_799_042_400;
const DAY: u64 = 86_400;
/// Bytes of a letter.
const SIZE: usize = 1_200;
/// Members at a time.
const MOST_MEMBERS: usize = 9;
/// A kill from outside comes within this time, in microseconds.
const OUTSIDE_TIME: u64 = 40_000;
/// Every so many days everything is looked at, by everybody there ever was.
const THOROUGH: u64 = 5;
/// On one day of so many the vault is lost, if there is a backup; on one the recovery key is needed.
const LOST: usize = 14;
const RECOVERED: usize = 20;
/// On these days in any case.
const LOST_ON: u64 = 27;
const RECOVERED_ON: u64 = 11;
/// Seeds of which everything that there is happens to one.
const MANY: usize = 10;
/// Upkeep is done within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// One seed's months.
struct Walk {
    seed: u64,
    numbers: Numbers,
    runtime: Runtime,
    world: World,
    model: Model,
    /// Everybody's key by name, whoever left included.
    keys: HashMap<String, StaffKey>,
    /// People who came so far.
    newcomers: u32,
    /// Whom a restored vault does not know any more.
    strangers: Vec<Member>,
    /// The admin keys, each handed over to the next; one that may be the next; all that were.
    admins: Vec<Rc<AdminKey>>,
    next_admin: Option<Rc<AdminKey>>,
    old_admins: Vec<Rc<AdminKey>>,
    copies: Copies,
    /// Whom the admin dismissed, in any vault that was lost.
    dismissed: BTreeSet<String>,
    /// Each epoch's secret, as a member could have kept it.
    secrets: BTreeMap<EpochId, String>,
    /// What the ledger must say by now, and what it may say beyond.
    entered: Vec<Group>,
    pending: Vec<Group>,
    /// Entries that were compared.
    compared: u64,
    letters: Vec<Vec<u8>>,
    contents: HashMap<ItemId, Vec<u8>>,
    /// Wrapped files before somebody began to wrap them anew.
    files_before: BTreeMap<Wrapped, Vec<u8>>,
    seen: Vec<Checkpoint>,
    day: u64,
    doing: String,
    counts: BTreeMap<String, u64>,
}

impl Drop for Walk {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("KLUIS_SEED={} fails on day {}: {}", self.seed, self.day, self.doing);
        }
    }
}

impl Walk {
    fn new(seed: u64) -> Self {
        let world = World::found_at(START);
        let founders = [
            (1, "anna", Role::Backoffice),
            (2, "bert", Role::Backoffice),
            (3, "olga", Role::Auditor),
            (4, "dora", Role::Dpo),
            (5, "adam", Role::Admin),
        ];
        let keys = founders.map(|(_, name, _)| (name.into(), world.key(name))).into();
        let members = founders.map(|(id, name, role)| Member {
            id: StaffId(id),
            name: name.into(),
            role,
            is_present: true,
            could_open: BTreeSet::new(),
        });
        let mut walk = Self {
            seed,
            numbers: Numbers::new(seed),
            runtime: runtime(),
            newcomers: 0,
            strangers: Vec::new(),
            admins: vec![Rc::new(world.admin())],
            next_admin: None,
            old_admins: Vec::new(),
            copies: Copies::default(),
            dismissed: BTreeSet::new(),
            world,
            model: Model::new(members.into()),
            keys,
            secrets: BTreeMap::new(),
            entered: Vec::new(),
            pending: Vec::new(),
            compared: 0,
            letters: Vec::new(),
            contents: HashMap::new(),
            files_before: BTreeMap::new(),
            seen: Vec::new(),
            day: 0,
            doing: "founding".into(),
            counts: BTreeMap::new(),
        };
        walk.keep_secret(EpochId(1));
        walk
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.numbers.draw() % bound as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T>(&mut self, mut from: Vec<T>) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = self.below(from.len());
        Some(from.swap_remove(at))
    }

    fn minute(&self) -> u64 {
        (START + self.day * DAY) / 60
    }

    fn is_thorough(&self) -> bool {
        self.day % THOROUGH == THOROUGH - 1
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    fn wrapped_file(&self, what: Wrapped) -> PathBuf {
        match what {
            Wrapped::Epoch(epoch) => self.world.state().join(format!("epochs/{}.age", epoch.0)),
            Wrapped::Mailbox(number) => self.world.state().join(format!("mailbox/{number}.age")),
        }
    }

    /// Keeps an epoch's secret, as each of its readers can.
    fn keep_secret(&mut self, epoch: EpochId) {
        let file = std::fs::read(self.wrapped_file(Wrapped::Epoch(epoch))).expect("is there");
        let reader = &self.model.wrapped[&Wrapped::Epoch(epoch)];
        let reader = self.model.member(*reader.first().expect("has readers"));
        let key = &self.keys[&reader.name];
        let secret = wrapped::unwrap_epoch(&file, key).expect("opens to its reader");
        self.secrets.insert(epoch, secret.to_text().to_string());
    }

    /// Does something that will enter `planned`.
    fn attempt<T>(
        &mut self,
        planned: Vec<Group>,
        run: impl FnOnce(&World) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.pending = planned;
        let done = run(&self.world)?;
        for group in std::mem::take(&mut self.pending) {
            group.iter().for_each(|event| self.take_keys(event));
            self.entered.push(group);
        }
        Ok(done)
    }

    /// Compares the ledger with what was entered. Of what was pending when the server died, a
    /// beginning may be there: gives how many groups. When the server has just started upkeep may
    /// have rotated the cabinet, and has if it was due.
    fn settle(&mut self, server: &Server, has_started: bool) -> usize {
        let mut new = self.new_entries(server);
        let mut at = 0;
        let vault = self.world.vault;
        let mut signed = Vec::new();
        for event in std::mem::take(&mut self.entered).into_iter().flatten() {
            let entry = new.get(at).unwrap_or_else(|| panic!("lost: {event:?}"));
            assert!(event.is(entry, vault), "{event:?} was done; the ledger has {entry:?}");
            self.model.take_box(&event, entry, vault);
            if let Event::Signed(epoch) = event {
                signed.push(epoch);
            }
            at += 1;
        }
        let mut taken = 0;
        let mut pending = std::mem::take(&mut self.pending);
        for group in &pending {
            let entries = new.get(at..at + group.len()).unwrap_or_default();
            if entries.is_empty() || !group.iter().zip(entries).all(|(e, entry)| e.is(entry, vault))
            {
                break;
            }
            for (event, entry) in group.iter().zip(entries) {
                self.take_keys(event);
                self.model.take_box(event, entry, vault);
                if let Event::Signed(epoch) = event {
                    signed.push(*epoch);
                }
            }
            at += group.len();
            taken += 1;
        }
        pending.drain(..taken);
        self.pending = pending;
        if has_started && self.model.rotation_is_due(self.minute()) {
            let end = Instant::now() + PATIENCE;
            while new.len() == at {
                assert!(Instant::now() < end, "the cabinet was not rotated at night");
                thread::sleep(Duration::from_millis(2));
                new.extend(self.new_entries(server));
            }
            assert!(Event::Rotated.is(&new[at], vault), "{:?}", new[at]);
            self.model.take_box(&Event::Rotated, &new[at], vault);
            self.count("rotated at night");
            at += 1;
        }
        assert_eq!(new.get(at), None, "nobody did this");
        signed.into_iter().for_each(|epoch| self.keep_secret(epoch));
        taken
    }

    fn take_keys(&mut self, event: &Event) {
        if matches!(event, Event::AdminSigned(_)) {
            self.old_admins.extend(self.admins.last().cloned());
            self.admins.extend(self.next_admin.take());
        }
        if let Event::Roster(change) = event
            && let Change::Dismissed(gone) = &**change
        {
            self.dismissed.insert(self.model.member(*gone).name.clone());
        }
        self.model.take_keys(event);
    }

    fn new_entries(&mut self, server: &Server) -> Vec<Entry> {
        let entries = server.casebook.store().entries(self.compared, usize::MAX).expect("reads");
        if self.compared == 0 {
            // The founding.
            self.compared = entries.len() as u64;
            return Vec::new();
        }
        self.compared += entries.len() as u64;
        entries.into_iter().filter(Event::concerns).collect()
    }

    fn serve(&mut self) -> Server {
        self.runtime.block_on(self.world.serve())
    }

    fn stop(&self, server: Server) {
        self.runtime.block_on(server.stop());
    }

    /// Does something while the server is killed, and starts it again.
    fn crash(&mut self, act: &Act) -> Server {
        let from_outside = self.one_in(4);
        let steps = act.steps();
        let (step, most) = match self.one_in(3) {
            true => (COMMIT_STEPS[self.below(COMMIT_STEPS.len())], 4),
            false => (steps[self.below(steps.len())], 2),
        };
        let wish = format!("{step}:{}", self.below(most) + 1);
        let moment = Duration::from_micros(self.below(OUTSIDE_TIME as usize) as u64);
        let wishes = [("KLUIS_LAB_KILL", wish.as_str())];
        let mut process = self.world.spawn(if from_outside { &[] } else { &wishes });
        let has_begun = process.smtp.is_some();
        if let Some(smtp) = process.smtp {
            let done = thread::scope(|scope| {
                let killed = from_outside.then(|| {
                    let child = &mut process.child;
                    scope.spawn(move || {
                        thread::sleep(moment);
                        let _ = child.kill();
                    })
                });
                let done = self.perform(act, smtp);
                if let Some(killer) = killed {
                    killer.join().expect("kills");
                }
                done
            });
            match done {
                Ok(()) => self.count("crash: all was answered"),
                Err(Error::NoServer(_) | Error::Broken(_)) => {
                    let place = if from_outside { "from outside" } else { step };
                    self.count(format!("crash: {place}"));
                }
                Err(error) => panic!("{error}"),
            }
        }
        process.kill();
        let server = self.serve();
        let planned = self.pending.len();
        let taken = self.settle(&server, true);
        self.count(format!("crash: {taken} of {planned} groups were there"));
        self.note_backup();
        // A file may be there that the ledger does not know of yet.
        for event in std::mem::take(&mut self.pending).into_iter().flatten() {
            if let Event::ReWrapped(what) = event
                && std::fs::read(self.wrapped_file(what)).expect("is there")
                    != self.files_before[&what]
            {
                self.model.wrapped_to_readers(what);
                self.count("crash: a file wrapped, and no entry");
            }
        }
        // The sender tries again.
        if matches!(act, Act::Deliver) && has_begun {
            let is_new = self.letters.len() > self.model.letters();
            self.deliver(server.smtp(), is_new).expect("is answered");
            self.settle(&server, false);
        }
        server
    }

    fn live(&mut self) {
        for day in 0..DAYS {
            self.day = day;
            self.world.set_time(START + day * DAY);
            self.doing = "morning".into();
            let is_lost = self.copies.newest.is_some() && (self.one_in(LOST) || day == LOST_ON);
            if is_lost {
                self.doing = "losing the vault".into();
                self.lose_and_restore();
            } else if day > 0
                && self.model.present().count() < MOST_MEMBERS
                && (self.one_in(RECOVERED) || day == RECOVERED_ON)
            {
                self.doing = "recovering".into();
                self.recover();
            }
            let mut server = self.serve();
            self.settle(&server, true);
            if day == 0 {
                // Whoever meets a vault now wraps nothing.
                drop(self.world.log_in("adam").expect("logs in"));
            }
            if is_lost {
                self.doing = "accepting what was restored".into();
                self.accept(&server);
            }
            if self.one_in(4)
                && let Some(act) = self.choose()
            {
                self.doing = format!("{act:?}, killed");
                self.stop(server);
                server = self.crash(&act);
            }
            for _ in 0..self.below(3) + 1 {
                if let Some(act) = self.choose() {
                    self.act(&act, &server);
                }
            }
            self.doing = "looking around".into();
            self.look_around(&server);
            let seen = Seen::in_dir(self.world.root.path().join("seen")).last(self.world.vault);
            self.seen.extend(seen.expect("reads"));
            if self.one_in(2) {
                self.copies.told = server.casebook.store().size();
            }
            self.stop(server);
            self.doing = "a thief".into();
            self.search();
        }
        self.doing = "the end".into();
        let server = self.serve();
        // A rotation that is due by now would come in between.
        self.settle(&server, true);
        // By itself the server may enter something between the checkpoint and the entries.
        let mut adam = self.world.log_in("adam").expect("logs in");
        let (entries, head) = (0..10)
            .map(|_| adam.ledger().expect("gives the ledger"))
            .find(|(entries, head)| head.lines().nth(1) == Some(&entries.len().to_string()))
            .expect("once nothing comes between");
        drop(adam);
        self.stop(server);
        let wrong = oracles::ledger(&entries, &head, &self.seen, &self.world.checkpoint_key);
        assert_eq!(wrong, [""; 0]);
    }

    /// Does something at a server that nothing befalls.
    fn act(&mut self, act: &Act, server: &Server) {
        self.doing = format!("{act:?}");
        self.perform(act, server.smtp()).unwrap_or_else(|error| panic!("{error}"));
        self.settle(server, false);
        let name = self.doing.split(['(', ' ']).next().unwrap_or_default().to_owned();
        self.count(format!("act: {name}"));
    }

    /// What whoever left can do with the disk and the backups as they are now.
    fn search(&mut self) {
        let known: BTreeSet<EpochId> =
            self.gone().flat_map(|member| member.could_open.iter().copied()).collect();
        self.assert_left_behind(&[self.world.state().join("epochs")]);
        self.assert_thief(&known);
        if self.copies.is_new || self.is_thorough() {
            self.copies.is_new = false;
            self.assert_left_behind(&[self.copies.dest(&self.world).join("files")]);
            self.assert_thief_with_copies(&known);
        }
        if self.is_thorough() {
            let all = self.secrets.keys().copied().collect();
            self.assert_thief(&all);
            self.assert_thief_with_copies(&all);
        }
    }
}

/// The seeds that were asked for: the first one, and how many.
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("KLUIS_SEED");
    let count = number("KLUIS_MONTHS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    (first.unwrap_or(1)..).take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
}

#[test]
fn over_months_who_can_open_what_is_what_was_signed_wrapped_and_forgotten() {
    let start = Instant::now();
    let seeds = seeds();
    let next = AtomicU64::new(0);
    let counts: Mutex<BTreeMap<String, u64>> = Mutex::default();
    // More than cores: they wait for the disk and for each other's processes.
    let threads = 2 * thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let mut walk = Walk::new(*seed);
                    walk.live();
                    let mut all = counts.lock().expect("no holder panics");
                    for (what, count) in &walk.counts {
                        *all.entry(what.clone()).or_default() += count;
                    }
                    *all.entry("members".into()).or_default() += walk.model.members.len() as u64;
                    *all.entry("boxes".into()).or_default() += walk.model.boxes.len() as u64;
                    *all.entry("epochs".into()).or_default() += u64::from(walk.model.signed.0);
                    *all.entry("destroyed".into()).or_default() +=
                        walk.model.destroyed.len() as u64;
                    *all.entry("rotations".into()).or_default() += walk.model.rotations;
                }
            });
        }
    });
    let counts = counts.into_inner().expect("no holder panics");
    println!("{} seeds of {DAYS} days in {:.1?}", seeds.len(), start.elapsed());
    counts.iter().for_each(|(what, count)| println!("{count:6} {what}"));
    let all = |what: &str| -> u64 {
        counts.iter().filter(|(key, _)| key.starts_with(what)).map(|(_, count)| count).sum()
    };
    tally(
        "months",
        &[
            ("seeds", seeds.len() as u64),
            ("days", seeds.len() as u64 * DAYS),
            ("acts", all("act: ")),
            ("restored", all("restored")),
            ("recovered", counts.get("recovered").copied().unwrap_or(0)),
            ("rotations", all("rotations")),
            ("violations", 0),
        ],
    );
    let there = |what: &str| counts.keys().any(|key| key.starts_with(what));
    // One seed alone has not everything.
    if seeds.len() < SEEDS as usize {
        return;
    }
    let usual = [
        "destroyed",
        "closed to a new",
        "dropped boxes open",
        "dropped boxes shut",
        "dropped boxes gone",
        "backups open",
        "restored",
        "recovered",
        "crash:",
    ];
    let rare =
        ["forgotten again", "dismissed once more", "act: Forge", "act: Drill", "act: HandOver"];
    let rare = rare.into_iter().filter(|_| seeds.len() >= MANY);
    for what in usual.into_iter().chain(rare) {
        assert!(there(what), "{what}: it never happened");
    }
}
