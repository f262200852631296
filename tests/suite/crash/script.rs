//! One day of the desk, killed at every step that it has: a letter comes, is listed, looked at, its
//! attachment forgotten and the cabinet rotated. After each restart the attachment opens, or the
//! ledger says that it was forgotten and nothing opens it; every other item opens; there is one
//! generation of the cabinet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::ids::{ItemId, SlotId};
use kluis::ledger::entry::{Entry, Fact};
use kluis::staff::client::{CaseView, Client, Error};
use kluis::staff::sealing::Sealing;
use kluis::store::{COMMIT_STEPS, FORGET_STEPS, ROTATE_STEPS};

use super::is_sigkill;
use crate::mail_client::{Client as Sender, letter};
use crate::oracles;
use crate::world::{MAILBOX, World};

const SIZE: usize = 4_000;
const SENDER: &str = "lotte@client.example";
/// A day's letter and how far the day came.
struct Day {
    raw: Vec<u8>,
    /// Answered 250.
    kept: bool,
    /// A certificate came.
    certified: bool,
}

struct Desk {
    world: World,
    smtp: SocketAddr,
    seed: u64,
    days: Vec<Day>,
}

impl Desk {
    fn new() -> Self {
        let world = World::found();
        let [smtp, _] = world.fix_ports();
        Self { world, smtp, seed: super::seed(), days: Vec::new() }
    }

    /// Lives through a day; where the server is killed it ends.
    fn day(&mut self) {
        let raw = letter(self.seed, self.days.len() as u64, SIZE);
        let sent =
            Sender::greet(self.smtp, false).and_then(|mut s| s.send(SENDER, &[MAILBOX], &raw));
        let kept = sent.is_ok_and(|answers| answers.iter().all(|answer| answer.code == 250));
        self.days.push(Day { raw, kept, certified: false });
        if kept {
            let certified = match self.forget_attachment() {
                Ok(()) => true,
                Err(Error::NoServer(_) | Error::Broken(_)) => false,
                Err(error) => panic!("the desk is told: {error}"),
            };
            self.days.last_mut().expect("it began").certified = certified;
        }
    }

    fn forget_attachment(&self) -> Result<(), Error> {
        let mut anna = self.world.log_in("anna")?;
        let case = self.newest_case(&mut anna)?.expect("was answered 250");
        let item = attachment(&case);
        assert_eq!(anna.look(&[item])?.len(), 1);
        let mut sealing = Sealing::new(case.card.case, Act::Note, anna.sealing()?);
        sealing.note(NoteSubject::Reason, "asked for", None, Vec::new());
        let certificates = anna.forget(vec![item], sealing.finish(), true)?;
        assert_eq!(certificates.len(), 1);
        Ok(())
    }

    fn newest_case(&self, client: &mut Client) -> Result<Option<CaseView>, Error> {
        let subject = format!("Letter {} of {}", self.days.len() - 1, self.seed);
        let is_it = |case: &CaseView| {
            let detail = case.letters[0].detail.as_ref().expect("a letter box opens");
            detail.headers.subject.as_ref().is_some_and(|s| *s.expose() == subject)
        };
        Ok(client.queue(Filter::All)?.into_iter().find(is_it))
    }

    /// The steps that a day has, in order.
    fn trace(&mut self) -> Vec<String> {
        let file = self.world.root.path().join("steps");
        let path = file.to_str().expect("a plain path").to_owned();
        let server = self.world.spawn(&[("KLUIS_LAB_STEPS", path.as_str())]);
        self.day();
        server.kill();
        let text = std::fs::read_to_string(file).expect("is read");
        text.lines().map(str::to_owned).collect()
    }

    /// One day that is killed when it comes to this step for the `count`-th time.
    fn killed_day(&mut self, step: &str, count: usize) {
        let wish = format!("{step}:{count}");
        let mut server = self.world.spawn(&[("KLUIS_LAB_KILL", wish.as_str())]);
        self.day();
        let ended = server.ended_within(Duration::from_secs(5));
        assert!(ended.is_some_and(is_sigkill), "{wish}: {ended:?}");
    }

    /// The newest generation of the cabinet of which there is a file.
    fn generation(&self) -> u64 {
        generations(&self.world.state(), |name| name.strip_prefix("cabinet."))
            .pop_last()
            .expect("a cabinet")
    }

    /// A restart that is killed when it comes to this step. Says whether it came there.
    fn killed_restart(&self, step: &str) -> bool {
        let wish = format!("{step}:1");
        let mut server = self.world.spawn(&[("KLUIS_LAB_KILL", &wish)]);
        if server.smtp.is_some() {
            server.kill();
            return false;
        }
        let ended = server.ended_within(Duration::from_secs(5));
        assert!(ended.is_some_and(is_sigkill), "{wish}: {ended:?}");
        true
    }

    /// What must hold after the restart; `step` is where the day was killed. Gives the steps that
    /// the restart took to finish what was interrupted.
    fn look_after(&self, step: &str, before: u64) -> Vec<String> {
        let file = self.world.root.path().join("recovery");
        let path = file.to_str().expect("a plain path");
        // It is made at the first step, which may come after the start.
        let _ = std::fs::remove_file(&file);
        let server = self.world.spawn(&[("KLUIS_LAB_STEPS", path)]);
        let took = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(server.smtp.is_some(), "{step}: it does not start: {}", self.log());
        let mut anna = self.world.log_in("anna").expect("logs in");
        let entries = entries(&mut anna);
        let case = self.newest_case(&mut anna).expect("lists");
        let day = self.days.last().expect("a day");
        assert!(case.is_some() || !day.kept, "{step}: lost");
        let forgotten =
            case.is_some_and(|case| self.assert_whole_or_forgotten(&mut anna, &case, &entries));
        let recorded = FORGET_STEPS.contains(&step) || step.starts_with("rotate:");
        assert!(forgotten || !(recorded || day.certified), "{step}: not forgotten");

        let cabinets = generations(&self.world.state(), |name| name.strip_prefix("cabinet."));
        let keys = generations(&self.world.cabinet_key(), |name| match name {
            "checkpoint" => None,
            key => key.strip_suffix(".key").or(Some(key)),
        });
        let rotations = entries.iter().filter(|entry| entry.kind == Fact::CabinetRotated).count();
        let current = BTreeSet::from([rotations as u64 + 1]);
        assert_eq!((&cabinets, &keys), (&current, &current), "{step}");
        let switched = ROTATE_STEPS.iter().position(|name| *name == "rotate:renamed");
        if let Some(at) = ROTATE_STEPS.iter().position(|name| *name == step) {
            let expected = before + u64::from(Some(at) >= switched);
            assert_eq!(current, [expected].into(), "{step}");
        }
        server.kill();
        took.lines().map(str::to_owned).collect()
    }

    /// Whether the attachment was forgotten; whatever is not forgotten opens.
    fn assert_whole_or_forgotten(
        &self,
        anna: &mut Client,
        case: &CaseView,
        entries: &[Entry],
    ) -> bool {
        let item = attachment(case);
        let is_it = |entry: &&Entry| entry.kind == Fact::Forgotten && entry.item == Some(item);
        let forgotten = entries.iter().any(|entry| is_it(&entry));
        let listed = case.letters[0].card.items.iter();
        let others: Vec<ItemId> = listed.map(|(id, ..)| *id).filter(|id| *id != item).collect();
        assert_eq!(anna.look(&others).expect("opens").len(), 2);
        if forgotten {
            assert!(matches!(anna.look(&[item]), Err(Error::Forgotten)), "it still opens");
        } else {
            let raw = oracles::rebuilt(anna, &case.letters[0]).expect("opens");
            assert!(raw == self.days.last().expect("a day").raw);
        }
        forgotten
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.world.log()).expect("is read")
    }
}

pub(super) fn attachment(case: &CaseView) -> ItemId {
    let detail = case.letters[0].detail.as_ref().expect("a letter box opens");
    let is_it = |media_type: &str| media_type == "application/octet-stream";
    detail.items.iter().find(|card| is_it(&card.media_type)).expect("has an attachment").id
}

fn entries(client: &mut Client) -> Vec<Entry> {
    let (bytes, _) = client.ledger().expect("gives the ledger");
    bytes.iter().map(|bytes| Entry::from_bytes(bytes).expect("an entry")).collect()
}

/// The numbers of the files of this kind in `dir`; a name of this kind without one is an error.
fn generations(dir: &Path, number: impl Fn(&str) -> Option<&str>) -> BTreeSet<u64> {
    let names = std::fs::read_dir(dir).expect("is read").map(|e| e.expect("an entry").file_name());
    let names: Vec<_> = names.map(|name| name.into_string().expect("a plain name")).collect();
    let of_kind = names.iter().filter_map(|name| number(name));
    of_kind.map(|number| number.parse().expect("nothing is left over")).collect()
}

#[test]
fn a_day_killed_at_every_step_forgets_what_it_recorded_and_strands_nothing() {
    let start = Instant::now();
    let mut desk = Desk::new();
    let trace = desk.trace();
    let steps: BTreeSet<&str> = trace.iter().map(String::as_str).collect();
    let named = [COMMIT_STEPS, FORGET_STEPS, ROTATE_STEPS].concat();
    assert_eq!(steps, named.into_iter().collect(), "a day has every step");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut restarts: BTreeMap<String, u32> = BTreeMap::new();
    for step in &trace {
        let count = counts.entry(step).or_default();
        *count += 1;
        let before = desk.generation();
        desk.killed_day(step, *count);
        // The restart has steps of its own: the same day again, and its restart killed there.
        for again in desk.look_after(step, before) {
            let before = desk.generation();
            desk.killed_day(step, *count);
            let was_killed = desk.killed_restart(&again);
            // Behind its answer the committer runs beside what comes next, a rotation, say.
            assert!(
                was_killed || step == "commit:answered",
                "{step}:{count}: no restart had {again}"
            );
            desk.look_after(step, before);
            *restarts.entry(again).or_default() += u32::from(was_killed);
        }
    }
    assert_at_last(&desk);
    println!("{} days killed at {} steps in {:.1?}", trace.len(), steps.len(), start.elapsed());
    restarts.iter().for_each(|(step, count)| println!("{step:24} {count:4} restarts killed"));
    for step in FORGET_STEPS.iter().chain(&["rotate:recorded", "rotate:key-destroyed"]) {
        assert!(restarts.contains_key(*step), "no restart had {step}");
    }
}

/// Every slot is there or its box forgotten, by the ledger; the vault is sound.
fn assert_at_last(desk: &Desk) {
    let gateway = desk.world.open();
    let store = gateway.casebook.store();
    let entries = store.entries(0, usize::MAX).expect("reads");
    let emptied: BTreeSet<SlotId> =
        entries.iter().filter(|e| e.empties_slot()).filter_map(|e| e.slot).collect();
    for entry in entries.iter().filter(|entry| entry.fills_slot()) {
        let slot = entry.slot.expect("it fills one");
        assert_eq!(store.box_key(slot).is_ok(), !emptied.contains(&slot), "{:?}", entry.kind);
    }
    assert_eq!(gateway.opening.lost, 0);
    let report = store.check(false, &|_, _| {}).expect("checks");
    assert!(report.is_clean(), "{:?}", report.problems);
    let certified = desk.days.iter().filter(|day| day.certified).count();
    assert!(emptied.len() >= certified.max(FORGET_STEPS.len() + ROTATE_STEPS.len()));
}
