//! Months of a desk, from a seed: letters come, staff come and go, epochs and the cabinet get new
//! keys, items are forgotten, boxes sealed anew, the server is killed. Every day who can open what is
//! what the model says (`model`): for members by what the server hands out, for those who left by a
//! copy of the whole disk and every secret that they took along.
//!
//! Each act says beforehand what it will enter. The ledger must hold exactly that; after a crash a
//! beginning of it, of which nothing is missing that was answered.
//!
//! KLUIS_MONTHS asks for more seeds, KLUIS_SEED for one.

mod model;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kluis::casebook::state::Wrapped;
use kluis::casebook::{Act as CaseAct, Filter};
use kluis::ids::{EpochId, ItemId, StaffId};
use kluis::keys::epoch::EpochSecret;
use kluis::keys::roster::{Member as Listed, Role, Roster};
use kluis::keys::staff::StaffKey;
use kluis::keys::wrapped;
use kluis::ledger::Checkpoint;
use kluis::ledger::entry::Entry;
use kluis::letter::skeleton::Skeleton;
use kluis::staff::client::{Client, Error};
use kluis::staff::keys::InForce;
use kluis::staff::seen::Seen;
use kluis::store::{COMMIT_STEPS, FORGET_STEPS, ROTATE_STEPS};
use kluis::vault::seal::Kind;
use tokio::runtime::Runtime;

use crate::forget::recording;
use crate::mail_client::{Client as Sender, Numbers, letter};
use crate::oracles;
use crate::thief::{Thief, files};
use crate::way::runtime;
use crate::world::{MAILBOX, Server, World};
use model::{Boxed, Change, Event, Group, Member, Model};

/// Seeds of a usual run.
const SEEDS: u64 = 3;
/// Days of each.
const DAYS: u64 = 60;
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
/// Upkeep is done within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// What somebody does.
#[derive(Clone, Debug)]
enum Act {
    /// A letter comes.
    Deliver,
    /// A member logs in: proves a new epoch, wraps anew what waits, looks.
    Visit(StaffId),
    /// An item is forgotten, perhaps with a rotation of the cabinet at once.
    Forget(StaffId, ItemId, bool),
    Hire(Role),
    Dismiss(StaffId),
    /// A new epoch is signed.
    AddEpoch,
    /// A new key of the mailbox is signed.
    AddMailbox,
    /// So many boxes are sealed anew.
    Reseal(StaffId, u64),
    DestroyEpochs,
    RotateCabinet,
    /// A roster that is not newer is offered.
    Replay,
}

impl Act {
    /// The steps at which it may be killed, beside those of a commit.
    fn steps(&self) -> &'static [&'static str] {
        match self {
            Act::Deliver | Act::Reseal(..) => COMMIT_STEPS,
            Act::Visit(_) => &["file:drafted", "keys:kept-before", "keys:wrapped-written"],
            Act::Forget(_, _, true) | Act::RotateCabinet => ROTATE_STEPS,
            Act::Forget(_, _, false) => FORGET_STEPS,
            Act::Hire(_) | Act::Dismiss(_) => &["file:drafted", "keys:roster-written"],
            Act::AddEpoch => &["file:drafted", "keys:epoch-written"],
            Act::AddMailbox => &["file:drafted", "keys:mailbox-written", "keys:mailbox-entered"],
            Act::DestroyEpochs => &["keys:destroying-entered"],
            Act::Replay => COMMIT_STEPS,
        }
    }
}

/// One seed's months.
struct Walk {
    seed: u64,
    numbers: Numbers,
    runtime: Runtime,
    world: World,
    model: Model,
    keys: HashMap<StaffId, StaffKey>,
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
        let keys = founders.map(|(id, name, _)| (StaffId(id), world.key(name))).into();
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
        let key = &self.keys[reader.first().expect("has readers")];
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
            group.iter().for_each(|event| self.model.take_keys(event));
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
        for group in &self.pending {
            let entries = new.get(at..at + group.len()).unwrap_or_default();
            if entries.is_empty() || !group.iter().zip(entries).all(|(e, entry)| e.is(entry, vault))
            {
                break;
            }
            for (event, entry) in group.iter().zip(entries) {
                self.model.take_keys(event);
                self.model.take_box(event, entry, vault);
                if let Event::Signed(epoch) = event {
                    signed.push(*epoch);
                }
            }
            at += group.len();
            taken += 1;
        }
        self.pending.drain(..taken);
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

    /// What somebody may sensibly do now.
    fn choose(&mut self) -> Option<Act> {
        let able = |model: &Model| -> Vec<StaffId> {
            let able = model.readers().filter(|member| member.role == Role::Backoffice);
            able.map(|member| member.id).filter(|id| model.opens_all(*id)).collect()
        };
        Some(match self.below(100) {
            0..28 => Act::Deliver,
            28..40 => {
                let members = self.model.present().map(|member| member.id).collect();
                Act::Visit(self.pick(members)?)
            }
            40..54 => {
                let who = self.pick(able(&self.model))?;
                let kept = self.model.boxes.iter().filter(|boxed| boxed.is_kept_item());
                let item = self.pick(kept.map(|boxed| boxed.item).collect())?;
                Act::Forget(who, item, self.one_in(3))
            }
            54..62 if self.model.present().count() < MOST_MEMBERS => {
                let roles = vec![Role::Backoffice, Role::Backoffice, Role::Dpo, Role::Auditor];
                Act::Hire(self.pick(roles)?)
            }
            54..70 => {
                let leaving = self.model.present().filter(|member| {
                    member.role != Role::Admin && !self.model.depends_on(member.id)
                });
                Act::Dismiss(self.pick(leaving.map(|member| member.id).collect())?)
            }
            70..78 => Act::AddEpoch,
            78..80 => Act::AddMailbox,
            80..90 => {
                let who = self.pick(able(&self.model))?;
                let most = if self.one_in(2) { u64::MAX } else { self.below(12) as u64 + 1 };
                Act::Reseal(who, most)
            }
            90..95 => Act::DestroyEpochs,
            95..98 => Act::RotateCabinet,
            _ => Act::Replay,
        })
    }

    /// Does it. An error is a server that died.
    fn perform(&mut self, act: &Act, smtp: SocketAddr) -> Result<(), Error> {
        match act {
            Act::Deliver => {
                self.letters.push(letter(self.seed, self.letters.len() as u64, SIZE));
                self.deliver(smtp, true)
            }
            Act::Visit(who) => self.visit(*who).map(drop),
            Act::Forget(who, item, now) => {
                let mut client = self.visit(*who)?;
                let newest = self.model.newest;
                let looked = client.look(&[*item])?;
                self.learn(*item, &looked[0].stored);
                let boxed = self.model.boxes.iter().find(|boxed| boxed.item == *item);
                let reason = recording(&client, boxed.expect("is kept").case, CaseAct::Note);
                let mut planned =
                    vec![vec![Event::Sealed(Kind::Note, newest)], vec![Event::Forgotten(*item)]];
                planned.extend(now.then(|| vec![Event::Rotated]));
                self.attempt(planned, |_| client.forget(vec![*item], reason, *now)).map(drop)
            }
            Act::Hire(role) => {
                let (mut adam, in_force) = self.admin()?;
                let id = self.model.next_number();
                let name = format!("member{}", id.0);
                let key = self.world.make_key(&name);
                let recipient = key.recipient().clone();
                self.keys.insert(id, key);
                let new = Listed { id, name: name.clone(), roles: [*role].into(), recipient };
                let (role, could_open) = (*role, BTreeSet::new());
                let member = Member { id, name, role, is_present: true, could_open };
                let planned = vec![Event::Roster(Box::new(Change::Hired(member)))];
                self.sign(&mut adam, in_force, planned, |members| members.push(new))
            }
            Act::Dismiss(gone) => {
                let (mut adam, in_force) = self.admin()?;
                let change = Box::new(Change::Dismissed(*gone));
                let planned = vec![Event::Roster(change), Event::Revoked(*gone)];
                let leave = |members: &mut Vec<Listed>| members.retain(|m| m.id != *gone);
                self.sign(&mut adam, in_force, planned, leave)
            }
            Act::AddEpoch => {
                let (mut adam, in_force) = self.admin()?;
                let new = EpochId(self.model.signed.0 + 1);
                let planned = vec![vec![Event::Signed(new)]];
                let added = self.attempt(planned, |w| adam.add_epoch(&in_force, &w.admin()))?;
                assert_eq!(added, (new, false), "the admin reads nothing");
                Ok(())
            }
            Act::AddMailbox => {
                let (mut adam, in_force) = self.admin()?;
                let planned = vec![vec![Event::MailboxSigned(self.model.mailbox + 1)]];
                let now = START + self.day * DAY;
                let add = |w: &World| adam.add_mailbox(&in_force, &w.admin(), now);
                self.attempt(planned, add).map(drop)
            }
            Act::Reseal(who, most) => {
                let mut client = self.visit(*who)?;
                let planned = self.model.reseal(usize::try_from(*most).unwrap_or(usize::MAX));
                let count = planned.iter().map(Vec::len).sum::<usize>() as u64;
                let done = self.attempt(planned, |_| client.reseal(*most, &mut |_| ()))?;
                assert_eq!((done.boxes, done.unopened), (count, 0), "every box opens");
                Ok(())
            }
            Act::DestroyEpochs => {
                let (mut adam, _) = self.admin()?;
                let expected = self.model.over();
                let over = expected.clone().unwrap_or_default();
                let planned: Vec<Group> = match over.is_empty() {
                    true => Vec::new(),
                    false => vec![over.iter().copied().map(Event::Destroyed).collect()],
                };
                let destroyed = self.attempt(planned, |_| match adam.destroy_epochs() {
                    Err(Error::Refused(why)) => Ok(Err(why)),
                    other => other.map(Ok),
                })?;
                match (destroyed, expected) {
                    (Ok(gone), Ok(over)) => assert_eq!(gone, over),
                    (Err(why), Err(used)) => {
                        assert!(why.starts_with(&format!("{used} boxes are still")), "{why}");
                    }
                    (said, expected) => panic!("{said:?}, not {expected:?}"),
                }
                Ok(())
            }
            Act::RotateCabinet => {
                let (mut adam, _) = self.admin()?;
                self.attempt(vec![vec![Event::Rotated]], |_| adam.rotate_cabinet())
            }
            Act::Replay => {
                let (mut adam, in_force) = self.admin()?;
                let replay = |w: &World| match adam.sign_roster(&in_force.roster, &w.admin()) {
                    Err(Error::Refused(why)) if why.contains("not newer") => Ok(()),
                    Err(error @ (Error::NoServer(_) | Error::Broken(_))) => Err(error),
                    other => panic!("{other:?}"),
                };
                self.attempt(vec![vec![Event::Refused]], replay)
            }
        }
    }

    /// Sends the newest letter, which is kept or known already.
    fn deliver(&mut self, smtp: SocketAddr, is_new: bool) -> Result<(), Error> {
        let raw = self.letters.last().expect("one was written").clone();
        let newest = self.model.newest;
        let boxes = [Kind::Letter, Kind::Item, Kind::Item, Kind::Item];
        let sealed = boxes.map(|kind| Event::Sealed(kind, newest)).to_vec();
        self.attempt(if is_new { vec![sealed] } else { Vec::new() }, |_| {
            let mut sender = Sender::greet(smtp, false).map_err(Error::Broken)?;
            let answers = sender.send("lotte@client.example", &[MAILBOX], &raw);
            let answers = answers.map_err(Error::Broken)?;
            assert_eq!(answers[0].code, 250, "{}", answers[0].text);
            Ok(())
        })
    }

    fn log_in(&mut self, who: StaffId) -> Result<Client, Error> {
        let name = self.model.member(who).name.clone();
        self.attempt(self.model.log_in(who), |world| world.log_in(&name))
    }

    /// A log-in as every command makes it: what waits to be wrapped anew is.
    fn visit(&mut self, who: StaffId) -> Result<Client, Error> {
        let mut client = self.log_in(who)?;
        if self.model.member(who).reads() {
            assert_eq!(client.stale, !self.model.stale.is_empty());
            let (planned, left) = self.model.rewrap(who);
            self.files_before = (self.model.stale.iter())
                .map(|what| (*what, std::fs::read(self.wrapped_file(*what)).expect("is there")))
                .collect();
            let count = planned.len();
            let done = self.attempt(planned, |_| client.rewrap())?;
            assert_eq!(done, (count, left));
        }
        Ok(client)
    }

    fn admin(&mut self) -> Result<(Client, InForce), Error> {
        let mut adam = self.world.log_in("adam")?;
        let in_force = adam.roster()?;
        assert_eq!(in_force.next, self.model.next_number(), "a number is nobody else's");
        assert_eq!((in_force.epoch, in_force.mailbox), (self.model.signed, self.model.mailbox));
        let stale: BTreeSet<Wrapped> = in_force.stale.iter().copied().collect();
        assert_eq!(stale, self.model.stale);
        let listed = in_force.roster.members.iter().map(|m| (m.id, m.name.clone()));
        let present = self.model.present().map(|m| (m.id, m.name.clone()));
        assert_eq!(listed.collect::<BTreeSet<_>>(), present.collect());
        Ok((adam, in_force))
    }

    fn sign(
        &mut self,
        adam: &mut Client,
        in_force: InForce,
        planned: Group,
        edit: impl FnOnce(&mut Vec<Listed>),
    ) -> Result<(), Error> {
        let mut new = Roster { version: in_force.roster.version + 1, ..in_force.roster };
        edit(&mut new.members);
        self.attempt(vec![planned], |world| adam.sign_roster(&new, &world.admin()))
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

    fn learn(&mut self, item: ItemId, stored: &[u8]) {
        match self.contents.get(&item) {
            Some(known) => assert!(known == stored, "another content than before"),
            None => drop(self.contents.insert(item, stored.to_vec())),
        }
    }

    /// Holds the vault to the model while it serves.
    fn look_around(&mut self, server: &Server) {
        self.assert_wrapped();
        let (mut adam, _) = self.admin().expect("logs in");
        let status = adam.status().expect("tells");
        assert_eq!(status.epoch, Some(self.model.newest));
        let mut by_epoch: BTreeMap<EpochId, u64> = BTreeMap::new();
        for boxed in self.model.boxes.iter().filter(|boxed| !boxed.is_forgotten) {
            *by_epoch.entry(boxed.epoch()).or_default() += 1;
        }
        assert_eq!(status.by_epoch, by_epoch.into_iter().collect::<Vec<_>>());
        let (_, problems, more) = adam.check().expect("checks");
        assert_eq!((problems.as_slice(), more), (&[][..], 0));

        let (mut present, gone): (Vec<Member>, Vec<Member>) =
            self.model.members.iter().cloned().partition(|member| member.is_present);
        // The one who left last, and another.
        let other = self.pick(gone.clone());
        for member in gone.last().into_iter().chain(&other) {
            let refused = self.world.log_in(&member.name);
            assert!(matches!(refused, Err(Error::Refused(_))), "{} is out", member.name);
        }
        let blind: Vec<Member> = present.iter().filter(|m| !m.reads()).cloned().collect();
        if let Some(member) = self.pick(blind) {
            let mut client = self.log_in(member.id).expect("logs in");
            let asked = client.queue(Filter::All);
            assert!(matches!(asked, Err(Error::Refused(why)) if why.contains("role")));
        }
        // On some days nobody reads, and a new epoch stays unproven.
        if self.one_in(3) {
            return;
        }
        present.retain(Member::reads);
        let thorough = self.below(present.len());
        for (i, member) in present.iter().enumerate() {
            let mut client = self.log_in(member.id).expect("logs in");
            self.settle(server, false);
            self.read(&mut client, member.id, i == thorough);
        }
    }

    /// Who the wrapped secrets open to, by every key that there ever was.
    fn assert_wrapped(&self) {
        for (what, to) in &self.model.wrapped {
            let file = std::fs::read(self.wrapped_file(*what)).expect("is there");
            for member in self.model.members.iter().filter(|m| m.is_present || self.is_thorough()) {
                let key = &self.keys[&member.id];
                let opens = key.unwrap(&file).is_ok();
                assert_eq!(opens, to.contains(&member.id), "{what:?} and {}", member.name);
                if let (true, Wrapped::Epoch(epoch)) = (opens, what) {
                    let secret = wrapped::unwrap_epoch(&file, key).expect("is an epoch's");
                    assert_eq!(*secret.to_text(), self.secrets[epoch], "the same secret");
                }
            }
        }
        for file in files(&self.world.state().join("epochs")) {
            let name = file.file_name().expect("has one").to_str().expect("a plain name");
            let is_of = |epoch: &EpochId| {
                name.trim_start_matches('.').starts_with(&format!("{}.", epoch.0))
            };
            let is_gone = self.model.destroyed.iter().any(is_of);
            assert!(!is_gone || !name.contains(".age"), "{name} is left of a destroyed epoch");
        }
    }

    /// What a member can read is what the model says, and as it was delivered.
    fn read(&mut self, client: &mut Client, who: StaffId, is_thorough: bool) {
        let kept = self.model.boxes.iter().filter(|boxed| boxed.is_kept_item());
        let (mut open, mut closed): (Vec<&Boxed>, Vec<&Boxed>) =
            kept.partition(|boxed| self.model.opens(who, boxed.epoch()));
        if !is_thorough {
            // One of each epoch: the secret is what opens or not.
            open.dedup_by_key(|boxed| boxed.epoch());
        }
        closed.dedup_by_key(|boxed| boxed.epoch());
        let open: Vec<ItemId> = open.iter().map(|boxed| boxed.item).collect();
        let closed: Vec<ItemId> = closed.iter().map(|boxed| boxed.item).collect();
        if !open.is_empty() {
            for view in &client.look(&open).expect("what is wrapped to them opens") {
                self.learn(view.id, &view.stored);
            }
        }
        for item in closed {
            assert!(matches!(client.look(&[item]), Err(Error::NoKey)), "is not wrapped to them");
            self.count("closed to a new member");
        }
        let is_gone = |boxed: &&Boxed| boxed.kind == Kind::Item && boxed.is_forgotten;
        let gone = self.model.boxes.iter().filter(is_gone).map(|boxed| boxed.item).collect();
        if let Some(item) = self.pick(gone) {
            assert!(matches!(client.look(&[item]), Err(Error::Forgotten)), "was forgotten");
        }
        if is_thorough && self.model.opens_all(who) {
            self.read_letters(client);
        }
    }

    /// Every letter is there once; one of which nothing is forgotten is as it was delivered.
    fn read_letters(&mut self, client: &mut Client) {
        let cases = client.queue(Filter::All).expect("opens");
        let mut found = BTreeSet::new();
        for view in cases.iter().flat_map(|case| &case.letters) {
            let detail = view.detail.as_ref().expect("a letter box opens");
            let subject = detail.headers.subject.as_ref().expect("has a subject").expose();
            let number = subject.split(' ').nth(1).and_then(|word| word.parse().ok());
            let number: usize = number.expect("has a number");
            assert!(found.insert(number), "letter {number} is there twice");
            let skeleton = detail.skeleton.expect("a mail has one");
            let ids: Vec<ItemId> =
                [skeleton].into_iter().chain(detail.items.iter().map(|card| card.id)).collect();
            let known: Option<Vec<_>> = ids.iter().map(|id| self.contents.get(id)).collect();
            let forgotten = view.card.items.iter().any(|(_, _, forgotten)| *forgotten);
            if let (Some(known), false) = (known, forgotten) {
                let skeleton = Skeleton::decode(known[0]).expect("a skeleton");
                let contents: Vec<_> = known[1..].iter().map(|c| Some(c.as_slice())).collect();
                assert!(skeleton.rebuild(&contents) == self.letters[number], "letter {number}");
            }
        }
        assert_eq!(found.len(), self.letters.len());
        if let Some(case) = self.pick(cases) {
            let case = case.card.case;
            let notes = self.model.boxes.iter().filter(|b| b.kind == Kind::Note && b.case == case);
            assert_eq!(client.notes(case).expect("opens").len(), notes.count());
        }
    }

    /// Whoever has the disk as it is now and what these members took along opens what the model says.
    fn assert_thief(&mut self, known: &BTreeSet<EpochId>) {
        let mut thief = Thief::default().with(&self.world.state()).with(&self.world.cabinet_key());
        for epoch in known {
            let secret = EpochSecret::from_text(&self.secrets[epoch]);
            thief = thief.knowing(secret.expect("a secret"));
        }
        let entries: HashMap<u64, Entry> =
            thief.boxes().into_iter().map(|entry| (entry.seq, entry)).collect();
        let (mut still, mut never) = (0, 0);
        for boxed in &self.model.boxes {
            for sealed in &boxed.sealed {
                let entry = entries.get(&sealed.seq).expect("is in the ledger");
                let opened = thief.open(entry);
                let knows = known.contains(&sealed.epoch);
                let may = sealed.dropped.is_none_or(|then| then == self.model.rotations);
                if sealed.dropped.is_none() {
                    assert_eq!(opened.is_some(), knows, "{boxed:?}");
                } else {
                    assert!(opened.is_none() || (knows && may), "a thief opens {boxed:?}");
                    still += u64::from(opened.is_some());
                    never += u64::from(knows && !may);
                }
                if let (Some((_, content)), Some(known)) = (opened, self.contents.get(&boxed.item))
                {
                    assert!(content == *known, "another content");
                }
            }
        }
        *self.counts.entry("dropped boxes open until the rotation".into()).or_default() += still;
        *self.counts.entry("dropped boxes shut to who has their epoch".into()).or_default() +=
            never;
    }

    /// Nobody who left opens a wrapped secret, old file or new, but those that they could before.
    fn assert_left_behind(&self) {
        let wrapped = files(&self.world.state().join("epochs"));
        for file in wrapped.iter().filter(|file| file.to_string_lossy().contains(".age")) {
            let name = file.file_name().expect("has one").to_str().expect("a plain name");
            let number = name.trim_start_matches('.').split('.').next();
            let epoch = EpochId(number.and_then(|text| text.parse().ok()).expect("a number"));
            // Of one that was never signed for good nothing is sealed.
            if epoch > self.model.signed {
                continue;
            }
            let bytes = std::fs::read(file).expect("reads");
            let gone = self.model.members.iter().filter(|member| !member.is_present);
            let some = if self.is_thorough() { usize::MAX } else { 1 };
            for member in gone.rev().take(some) {
                let opens = self.keys[&member.id].unwrap(&bytes).is_ok();
                assert!(!opens || member.could_open.contains(&epoch), "{name}: {}", member.name);
            }
        }
    }

    fn live(&mut self) {
        for day in 0..DAYS {
            self.day = day;
            self.world.set_time(START + day * DAY);
            self.doing = "morning".into();
            let mut server = self.serve();
            self.settle(&server, true);
            if day == 0 {
                // Whoever meets a vault now wraps nothing.
                drop(self.world.log_in("adam").expect("logs in"));
            }
            if self.one_in(4)
                && let Some(act) = self.choose()
            {
                self.doing = format!("{act:?}, killed");
                self.stop(server);
                server = self.crash(&act);
            }
            for _ in 0..self.below(3) + 1 {
                let Some(act) = self.choose() else { continue };
                self.doing = format!("{act:?}");
                self.perform(&act, server.smtp()).unwrap_or_else(|error| panic!("{error}"));
                self.settle(&server, false);
                let name = format!("{act:?}");
                let name = name.split(['(', ' ']).next().unwrap_or_default().to_owned();
                self.count(format!("act: {name}"));
            }
            self.doing = "looking around".into();
            self.look_around(&server);
            let seen = Seen::in_dir(self.world.root.path().join("seen")).last(self.world.vault);
            self.seen.extend(seen.expect("reads"));
            self.stop(server);
            self.doing = "a thief".into();
            self.assert_left_behind();
            let gone = self.model.members.iter().filter(|member| !member.is_present);
            let known = gone.flat_map(|member| member.could_open.iter().copied()).collect();
            self.assert_thief(&known);
            if self.is_thorough() {
                let all = self.secrets.keys().copied().collect();
                self.assert_thief(&all);
            }
        }
        self.doing = "the end".into();
        let server = self.serve();
        let mut adam = self.world.log_in("adam").expect("logs in");
        let (entries, head) = adam.ledger().expect("gives the ledger");
        drop(adam);
        self.stop(server);
        let wrong = oracles::ledger(&entries, &head, &self.seen, &self.world.checkpoint_key);
        assert_eq!(wrong, [""; 0]);
    }
}

/// The seeds that were asked for.
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("KLUIS_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("KLUIS_MONTHS").unwrap_or(SEEDS)).collect(),
    }
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
    let there = |what: &str| counts.keys().any(|key| key.starts_with(what));
    for what in
        ["destroyed", "closed to a new", "dropped boxes open", "dropped boxes shut", "crash:"]
    {
        assert!(there(what), "{what}: it never happened");
    }
}
