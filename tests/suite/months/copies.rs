//! Backups, a vault that is lost and restored from the newest one, and the recovery key.
//!
//! A backup remembers the model as it was. Whoever has the folder of backups and a backup key opens
//! what one of its files of keys holds, with the epoch's secret: nothing that was dropped more than a
//! week before the newest backup. Without a backup key they open nothing at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use kluis::casebook::backup::Said;
use kluis::casebook::protocol::{self, Request};
use kluis::casebook::state::Wrapped;
use kluis::ids::{EpochId, SlotId, StaffId};
use kluis::keys::admin::AdminKey;
use kluis::keys::box_keys::Opened;
use kluis::keys::epoch::EpochSecret;
use kluis::keys::roster::Role;
use kluis::keys::shares::{combine, split};
use kluis::keys::staff::StaffKey;
use kluis::ledger::entry::{CHECKPOINT_KEY, Entry};
use kluis::staff::agent::Opener;
use kluis::staff::client::{Client, Error};
use kluis::staff::recovery::Files;
use kluis::staff::seen::Seen;
use kluis::upkeep;
use kluis::upkeep::backup::KEEP_DAYS;
use kluis::upkeep::replay::{self, Since};
use kluis::upkeep::restore::{Backup, Target};

use super::Walk;
use super::acts::Act;
use super::model::{Change, Event, Model};
use crate::thief::{Thief, files};
use crate::world::{KLUIS, Server, World};

/// The folder of backups.
#[derive(Default)]
pub(super) struct Copies {
    /// What the newest backup holds.
    pub(super) newest: Option<Copied>,
    /// What the one holds that is being made.
    making: Option<Copied>,
    /// Which slots each file of keys has.
    keys: BTreeMap<String, BTreeSet<SlotId>>,
    /// Entries that an outsider was sent the erasures of.
    pub(super) told: u64,
    /// The admin key was handed over since the backup that the vault was restored from.
    is_back: bool,
    /// Something was copied since it was searched.
    pub(super) is_new: bool,
}

impl Copies {
    pub(super) fn dest(&self, world: &World) -> PathBuf {
        world.root.path().join("backup")
    }
}

/// What a backup holds.
pub(super) struct Copied {
    /// Entries of the ledger; none before it is known.
    size: u64,
    model: Model,
    /// Admin keys there were.
    admins: usize,
}

impl Walk {
    fn dest(&self) -> PathBuf {
        self.copies.dest(&self.world)
    }

    /// Asks the server for a backup, as `kluis backup` does.
    pub(super) fn back_up(&mut self) -> Result<(), Error> {
        let (model, admins) = (self.model.clone(), self.admins.len());
        self.copies.making = Some(Copied { size: 0, model, admins });
        let socket = self.world.state().join("kluis.sock");
        let mut stream = UnixStream::connect(socket).map_err(Error::NoServer)?;
        let dest = self.dest().as_os_str().as_bytes().to_vec();
        protocol::write(&mut stream, &Request::Backup { dest, dry: false })?;
        let summary = loop {
            match protocol::read(&mut stream)? {
                Said::Progress { .. } => {}
                Said::Done { summary } => break summary,
                // The one before has answered, and is about to end.
                Said::Refused { later: true, .. } => {
                    std::thread::sleep(Duration::from_millis(2));
                    return self.back_up();
                }
                refused @ Said::Refused { .. } => panic!("{refused:?}"),
            }
        };
        assert_eq!((summary.missing, summary.flaws.len()), (0, 0));
        self.note_backup();
        assert_eq!(self.copies.newest.as_ref().map(|copied| copied.size), Some(summary.entries));
        // What has served its time is gone by then.
        let minute = self.minute();
        for name in self.copies.keys.keys() {
            let made: u64 =
                name.split('-').nth(1).and_then(|text| text.parse().ok()).expect("its minute");
            assert!(made + KEEP_DAYS * 24 * 60 > minute, "{name} is there in minute {minute}");
        }
        if self.one_in(3) {
            let backup = Backup::open(&self.dest()).expect("holds together");
            let found =
                backup.verify(Some(&self.world.key("dirk")), &|_, _| true).expect("is read");
            assert_eq!((found.flaws.as_slice(), found.lost), (&[][..], 0));
            assert_eq!(found.opened, Some(found.boxes));
        }
        Ok(())
    }

    /// Looks what became of the backup that was being made: its head names it, or the one before.
    pub(super) fn note_backup(&mut self) {
        let Some(making) = self.copies.making.take() else { return };
        self.copies.is_new = true;
        let there: BTreeSet<String> = files(&self.dest().join("keys"))
            .iter()
            .map(|file| file.file_name().expect("has one").to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".age"))
            .collect();
        self.copies.keys.retain(|name, _| there.contains(name));
        for name in there {
            self.copies.keys.entry(name).or_insert_with(|| making.model.live());
        }
        match Backup::open(&self.dest()) {
            Ok(backup) => {
                let size = backup.head.entries;
                if self.copies.newest.as_ref().is_none_or(|newest| newest.size != size) {
                    self.copies.newest = Some(Copied { size, ..making });
                }
            }
            Err(upkeep::Error::NoBackup(_)) => assert!(self.copies.newest.is_none()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The vault breaks, and is made of the newest backup again. Of what was forgotten since, there
    /// are notes up to some entry; what was forgotten behind it comes back.
    pub(super) fn lose_and_restore(&mut self) {
        let gateway = self.world.open();
        let casebook = &gateway.casebook;
        let lost_size = casebook.store().size();
        let copied = self.copies.newest.take().expect("there is a backup");
        let known_to =
            match self.copies.told >= copied.size && self.numbers.draw().is_multiple_of(3) {
                true => self.copies.told,
                false => lost_size,
            };
        let seed = casebook.server_key(CHECKPOINT_KEY).expect("is there");
        let notes: Vec<String> = casebook
            .erasures(copied.size, known_to)
            .expect("reads")
            .iter()
            .map(|note| note.sign(seed.expose()))
            .collect();
        drop(gateway);
        let (dir, cabinet_key) = (self.world.state(), self.world.cabinet_key());
        for folder in [&dir, &cabinet_key] {
            std::fs::remove_dir_all(folder).expect("is removed");
        }

        let backup = Backup::open(&self.dest()).expect("holds together");
        let name = if self.one_in(2) { "carla" } else { "dirk" };
        let key = self.world.key(name);
        let target = Target { dir: &dir, cabinet_key: &cabinet_key, despite_damage: false };
        let restored = backup.restore(&target, &key, false, &|_, _| true).expect("is restored");
        assert_eq!((restored.entries, restored.lost.as_slice()), (copied.size, &[][..]));
        let (model, again, strangers) = copied.model.restored(&self.model, known_to);
        let since = Since::Notes(&notes);
        let settled =
            replay::replay(&dir, &cabinet_key, self.minute(), &since, &[]).expect("is settled");
        assert_eq!(settled.replayed.dropped, again.len() as u64);
        assert_eq!(settled.known_to, known_to);
        for (what, count) in [("restored", 1), ("forgotten again", again.len() as u64)] {
            *self.counts.entry(what.into()).or_default() += count;
        }

        for stranger in &mut self.strangers {
            stranger.could_open.retain(|epoch| *epoch <= model.signed);
        }
        self.strangers.extend(strangers);
        self.secrets.retain(|epoch, _| *epoch <= model.signed);
        self.copies.is_back = self.admins.len() > copied.admins;
        self.old_admins.extend(self.admins.drain(copied.admins..));
        let current = self.admin_key().public();
        self.old_admins.retain(|old| old.public() != current);
        self.letters.truncate(model.letters());
        self.seen.retain(|seen| seen.size <= copied.size);
        self.compared = copied.size;
        self.copies.told = 0;
        // The start enters that the cabinet has another key.
        self.entered = again.into_iter().chain([Event::Rotated]).map(|event| vec![event]).collect();
        self.copies.newest = Some(copied);
        self.model = model;
    }

    /// Members accept that the vault was restored, and the admin dismisses anew who was dismissed
    /// since the backup.
    pub(super) fn accept(&mut self, server: &Server) {
        let size = self.copies.newest.as_ref().expect("there is a backup").size;
        let seen = Seen::in_dir(self.world.root.path().join("seen"));
        let last = seen.last(self.world.vault).expect("reads").expect("was seen");
        let is_handed_over = self.copies.is_back;
        if last.size > size {
            match self.world.log_in("adam") {
                Err(Error::OtherAdmin) if is_handed_over => self.count("an admin key is back"),
                Err(Error::Forked) if !is_handed_over => {}
                other => panic!("{:?}", other.err()),
            }
            let socket = self.world.state().join("kluis.sock");
            let opener = Opener::Key(self.world.key("adam"));
            let gone =
                Client::accept_restored(&socket, "adam", opener, &seen).expect("is accepted");
            let gone = gone.expect("something is gone");
            assert_eq!((gone.from, gone.to), (size, last.size));
            assert_eq!(gone.admin_is_back, is_handed_over);
        }
        let back = self.model.present().filter(|member| self.dismissed.contains(&member.name));
        let back: Vec<StaffId> = back.map(|member| member.id).collect();
        for member in back {
            if !self.model.depends_on(member) {
                self.act(&Act::Dismiss(member), server);
                self.count("dismissed once more");
            }
        }
    }

    /// The recovery key, from two sheets of three.
    pub(super) fn rebuilt(&mut self) -> StaffKey {
        let mut sheets = split(&self.world.key("recovery"), 2, 3).expect("splits");
        sheets.remove(self.below(3));
        combine(&sheets).expect("rebuilds")
    }

    /// Every secret that lies there opens to the recovery key.
    pub(super) fn assert_drilled(&self, files: &Files, key: &StaffKey) {
        let tried = files.drill(key).expect("is the recovery key");
        let expected = self.model.wrapped.keys().map(|what| (*what, true));
        assert_eq!(tried, expected.collect::<Vec<_>>());
    }

    /// Sheets give a new member access while nothing serves, as when nobody reads any more; what is
    /// taken over is cut off sometimes, and taken again.
    pub(super) fn recover(&mut self) {
        let key = self.rebuilt();
        let state = self.world.state();
        let version = self.model.version;
        let files = Files::read(&state, self.world.vault, version).expect("are signed");
        self.assert_drilled(&files, &key);
        let copy_of = |admin: &AdminKey| admin.wrap(key.recipient());
        let admin = files.admin_key(&copy_of(&self.admin_key()), &key).expect("is the admin's");
        for old in &self.old_admins {
            assert!(files.admin_key(&copy_of(old), &key).is_err(), "it was handed over");
        }
        let (member, listed) = self.newcomer(self.model.next_number(), Role::Backoffice);
        let mut roster = files.roster.clone();
        roster.version += 1;
        roster.members.push(listed);
        let note = roster.sign(&admin).expect("follows the rules");
        let folder = self.world.root.path().join("recovered");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("a folder");
        let mut planned = vec![vec![Event::Roster(Box::new(Change::Hired(member)))]];
        for (what, file) in files.rewrap(&key, &roster).expect("opens") {
            let name = match what {
                Wrapped::Epoch(epoch) => format!("epoch-{}.age", epoch.0),
                Wrapped::Mailbox(number) => format!("mailbox-{number}.age"),
            };
            std::fs::write(folder.join(name), file).expect("writes");
            planned.push(vec![Event::ReWrapped(what)]);
        }
        std::fs::write(folder.join("roster.note"), note).expect("writes");
        let steps =
            ["file:drafted", "keys:roster-written", "keys:kept-before", "keys:wrapped-written"];
        let kill = format!("KLUIS_LAB_KILL={}:{}", steps[self.below(4)], self.below(2) + 1);
        let kill = kill.split_once('=').expect("a variable");
        let kills = if self.one_in(2) { vec![kill] } else { Vec::new() };
        let time = (super::START + self.day * super::DAY).to_string();
        let take = |variables: &[(&str, &str)]| {
            let output = Command::new(KLUIS)
                .args(["keys", "take"])
                .args([&folder, &state])
                .env("KLUIS_LAB_TIME", &time)
                .envs(variables.iter().copied())
                .stdin(Stdio::null())
                .output()
                .expect("runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success(), said)
        };
        if !kills.is_empty() {
            let (is_done, _) = take(&kills);
            self.count(if is_done { "recovered" } else { "recovered at the second try" });
        }
        let (is_done, said) = take(&[]);
        assert!(is_done, "{said}");
        self.count("recovered");
        planned.iter().flatten().for_each(|event| self.take_keys(event));
        self.entered = planned;
    }

    /// Whoever has the backups, a backup key, and these epochs' secrets opens what the files of keys
    /// still have, and nothing else; without a backup key nothing.
    pub(super) fn assert_thief_with_copies(&mut self, known: &BTreeSet<EpochId>) {
        if self.copies.newest.is_none() {
            return;
        }
        let secrets = |mut thief: Thief| {
            for epoch in known {
                let secret = EpochSecret::from_text(&self.secrets[epoch]);
                thief = thief.knowing(secret.expect("a secret"));
            }
            thief
        };
        let alone = secrets(Thief::default().with(&self.dest()));
        assert!(!alone.entries().is_empty());
        assert!(alone.boxes().iter().all(|entry| alone.open(entry).is_none()), "without any key");

        // The ledger of the disk: that of the folder may be of a vault that was lost.
        let ledger = self.world.state().join("ledger");
        let mut thief = secrets(Thief::default().with(&self.dest().join("packs")).with(&ledger));
        let mut held: BTreeSet<SlotId> = BTreeSet::new();
        for (name, slots) in &self.copies.keys {
            held.extend(slots);
            let file = File::open(self.dest().join("keys").join(name)).expect("opens");
            let key = self.world.key("carla");
            // One that was cut off says less.
            let Ok(mut rows) = Opened::begin(BufReader::new(file), &key) else { continue };
            while let Ok(Some(row)) = rows.next_row() {
                thief = thief.holding(row.slot, *row.key);
            }
        }
        let newest = self.copies.newest.as_ref().map(|copied| copied.model.live());
        let newest = newest.expect("there is a backup");
        let entries: BTreeMap<u64, Entry> =
            thief.boxes().into_iter().map(|entry| (entry.seq, entry)).collect();
        let (mut opened, mut gone) = (0, 0);
        for sealed in self.model.boxes.iter().flat_map(|boxed| &boxed.sealed) {
            let opens = thief.open(&entries[&sealed.seq]).is_some();
            let knows = known.contains(&sealed.epoch);
            assert!(!opens || (knows && held.contains(&sealed.slot)), "{sealed:?} opens");
            assert!(opens || !(knows && newest.contains(&sealed.slot)), "{sealed:?} is lost");
            opened += u64::from(opens);
            gone += u64::from(!opens && knows && sealed.dropped.is_some());
        }
        *self.counts.entry("backups open to a backup key".into()).or_default() += opened;
        *self.counts.entry("dropped boxes gone from backups".into()).or_default() += gone;
    }
}
