//! Power cuts of the disk that a backup goes to: whenever it is cut, the backup that was made last is
//! there and whole, or the next one; what says that it is whole opens every box, and the next backup
//! goes on in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use kluis::clock::Clock;
use kluis::gateway::Gateway;
use kluis::keys::staff::StaffKey;
use kluis::upkeep::Error;
use kluis::upkeep::restore::Backup;

use super::device::{self, Recorder, Recording, Replay};
use super::{STATES_TO_NOTICE, plan};
use crate::backup::{back_up_here, backup_arguments, output, put};
use crate::disks::Kind;
use crate::mail_client::Numbers;
use crate::tally::tally;
use crate::thief::files;
use crate::way::skipped;
use crate::world::World;

/// States on ext4 and on xfs in a quick run; KLUIS_POWERCUT_STATES says how many else.
const STATES: usize = 24;
const STATES_XFS: usize = 8;
/// Backups, and days from one to the next: keys of the oldest are destroyed meanwhile.
const BACKUPS: u64 = 5;
const DAYS: u64 = 3;
/// Every so many states a further backup goes on.
const GOES_ON: usize = 5;

/// A backup that said that it is made.
struct Made {
    /// How long the log was by then.
    at: u64,
    head: Vec<u8>,
    /// Files of keys that were destroyed by then.
    destroyed: BTreeSet<String>,
}

/// What was done, and the vault as it is at last.
struct Truth {
    world: World,
    key: StaffKey,
    made: Vec<Made>,
}

fn head(dest: &Path) -> Option<Vec<u8>> {
    std::fs::read(dest.join("head.note")).ok()
}

fn names_of_keys(dest: &Path) -> BTreeSet<String> {
    let files = files(&dest.join("keys")).into_iter();
    files.map(|file| file.file_name().expect("a name").to_string_lossy().into_owned()).collect()
}

/// Backups onto a disk that writes down what it is told: here, or by the program without a barrier.
fn recorded(kind: Kind, variables: &[(&str, &str)]) -> (Truth, Recording) {
    let recorder = Recorder::new(kind);
    let log = recorder.log();
    let dest = recorder.path().join("new/backup");
    let start = 60 * (Clock::System.minutes() - BACKUPS * DAYS * 24 * 60);
    let mut world = World::found_at(start);
    let (mut made, mut seen) = (Vec::new(), BTreeSet::new());
    for n in 0..BACKUPS {
        put(&world, usize::try_from(n).expect("few"));
        if variables.is_empty() {
            world.set_time(start + n * DAYS * 86_400);
            let gateway = world.open();
            back_up_here(&gateway, &dest).expect("is made");
        } else {
            let output = output(&backup_arguments(&world.state(), &dest), variables);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let (at, head) = (log.count(), head(&dest).expect("has a head"));
        let there = names_of_keys(&dest);
        seen.extend(there.iter().cloned());
        made.push(Made { at, head, destroyed: &seen - &there });
    }
    let key = world.key("carla");
    (Truth { world, key, made }, recorder.finish())
}

impl Truth {
    /// What is wrong with a backup whose power went after `durable` entries of the log.
    fn violations(&self, dest: &Path, durable: u64, next: Option<&Gateway>) -> Vec<String> {
        let made = self.made.iter().filter(|made| made.at <= durable).count();
        let mut wrong = Vec::new();
        match Backup::open(dest) {
            Ok(backup) => {
                let there = head(dest);
                // The last that was made, or the one that was being made.
                let known = self.made.iter().skip(made.saturating_sub(1)).take(2);
                if !known.map(|made| Some(&made.head)).any(|head| head == there.as_ref()) {
                    wrong.push(format!("{made} were made, and the head is of another"));
                }
                wrong.extend(self.flaws(&backup));
            }
            Err(Error::NoBackup(_)) if made == 0 => {}
            Err(error) => wrong.push(format!("{made} were made, and none opens: {error}")),
        }
        if let Some(before) = made.checked_sub(1) {
            let there = names_of_keys(dest);
            if !there.is_disjoint(&self.made[before].destroyed) {
                wrong.push("back: keys that were destroyed are there".into());
            }
        }
        if let Some(gateway) = next {
            match back_up_here(gateway, dest).map(|_| Backup::open(dest)) {
                Ok(Ok(backup)) => wrong.extend(self.flaws(&backup)),
                Ok(Err(error)) => wrong.push(format!("the next one does not open: {error}")),
                Err(error) => wrong.push(format!("it does not go on: {error}")),
            }
        }
        wrong
    }

    fn flaws(&self, backup: &Backup) -> Vec<String> {
        match backup.verify(Some(&self.key), &|_, _| true) {
            Ok(found) if found.flaws.is_empty() => {
                let is_whole = found.lost == 0 && found.opened == Some(found.boxes);
                (!is_whole).then(|| format!("{} keys are lost", found.lost)).into_iter().collect()
            }
            Ok(found) => found.flaws.iter().map(|flaw| format!("{flaw:?}")).collect(),
            Err(error) => vec![format!("verify: {error}")],
        }
    }
}

/// How many states were bad, how many the file system refused, and what was wrong with the first.
/// Stops when `enough` were bad.
fn replayed(
    kind: Kind,
    seed: u64,
    truth: &Truth,
    recording: &Recording,
    states: usize,
    enough: usize,
) -> (usize, usize, Vec<String>) {
    let mut numbers = Numbers::new(seed);
    let mut replay = Replay::new(kind, recording);
    let (mut bad, mut refused, mut first) = (0, 0, Vec::new());
    let gateway = truth.world.open();
    let cuts = plan(&recording.cuts(0), states, &mut numbers);
    for (state, (cut, round)) in cuts.into_iter().enumerate() {
        let torn = (round + state) % 3 > 0;
        let Some(mounted) = replay.state(cut, torn.then_some(&mut numbers)) else {
            refused += 1;
            continue;
        };
        let next = state.is_multiple_of(GOES_ON).then_some(&gateway);
        let wrong = truth.violations(&mounted.path().join("new/backup"), cut.durable, next);
        if !wrong.is_empty() {
            bad += 1;
            let context = format!("state {state} after entry {}", cut.durable);
            first.extend(wrong.into_iter().map(|line| format!("{context}: {line}")));
            first.truncate(20);
        }
        if bad == enough {
            break;
        }
    }
    (bad, refused, first)
}

fn survives(kind: Kind, states: usize) {
    if let Some(reason) = device::missing(kind) {
        return skipped(&format!("power cut of a backup on {}", kind.name()), reason);
    }
    let (begun, seed) = (Instant::now(), crate::crash::seed());
    let wished = std::env::var("KLUIS_POWERCUT_STATES").ok().and_then(|text| text.parse().ok());
    let states = wished.unwrap_or(states);
    let (truth, recording) = recorded(kind, &[]);
    let destroyed = truth.made.last().map_or(0, |made| made.destroyed.len());
    assert!(destroyed > 0, "keys are destroyed meanwhile");
    let (bad, refused, first) = replayed(kind, seed, &truth, &recording, states, usize::MAX);
    println!(
        "{}: {BACKUPS} backups, {states} states of {} flushes, {refused} refused by the file system \
         itself, {bad} bad; all in {:.1?}",
        kind.name(),
        recording.cuts(0).len(),
        begun.elapsed(),
    );
    tally(
        &format!("power cut of a backup, {}", kind.name()),
        &[
            ("states", states as u64),
            ("refused by the file system", refused as u64),
            ("violations", bad as u64),
        ],
    );
    assert_eq!(bad, 0, "KLUIS_SEED={seed}\n{}", first.join("\n"));
    assert!(refused * 4 < states, "most states were not looked at");
}

#[test]
fn whenever_the_power_goes_on_ext4_the_backup_before_is_whole_or_the_next() {
    survives(Kind::Ext4, STATES);
}

#[test]
fn whenever_the_power_goes_on_xfs_the_backup_before_is_whole_or_the_next() {
    survives(Kind::Xfs, STATES_XFS);
}

#[test]
fn a_backup_that_does_not_wait_for_the_disk_is_caught() {
    if let Some(reason) = device::missing(Kind::Ext4) {
        return skipped("power cut of a backup without a barrier", reason);
    }
    let (truth, recording) = recorded(Kind::Ext4, &[("KLUIS_LAB_NO_SYNC", "backup")]);
    let seed = crate::crash::seed();
    let (bad, _, first) = replayed(Kind::Ext4, seed, &truth, &recording, STATES_TO_NOTICE, 1);
    println!("without the barriers of a backup: {first:?}");
    assert!(bad > 0, "missing barriers were not noticed in {STATES_TO_NOTICE} states");
}
