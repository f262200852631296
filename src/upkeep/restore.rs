//! A vault made of a backup again (design §7).
//!
//! ```text
//! head, catalog, ledger, tree hold → packs → ledger → small files → cabinet under a fresh key, shut
//!   → named DIR = it is there
//! ```
//!
//! The vault is made beside its place and named when it is whole; an interrupted restore goes on
//! where it was. It stays shut ([`store::Error::Unsettled`]) until `replay`: a backup knows nothing of
//! what was forgotten after it.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::backup::{Bar, Layout, Progress, is_empty, names, read_head};
use super::catalog::{Catalog, Head};
use super::verify::Flaw;
use super::{Error, copying};
use crate::ids::{Address, CaseId, Digest, ItemId, LetterId, SlotId, VaultId};
use crate::keys::box_keys::Opened;
use crate::keys::staff::StaffKey;
use crate::lab::step;
use crate::ledger::entry::CHECKPOINT_KEY;
use crate::ledger::{Entry, Fact};
use crate::store::{self, Cabinet, Copied};
use crate::vault::seal::Place;

/// The steps of a restore that a crash must survive, in order; the step of the cabinet is the store's.
pub const RESTORE_STEPS: &[&str] = &[
    "restore:begun",
    "restore:pack-named",
    "restore:packs-copied",
    "restore:ledger-named",
    "restore:file-named",
    "restore:key-written",
    "restore:cabinet-written",
    "restore:named",
    "restore:unmarked",
];

/// The name of the file that says whose the folder beside is. A crash may leave it in the vault.
const MARK: &str = "restoring";

/// A backup whose head, catalog and ledger hold together.
pub struct Backup {
    dir: PathBuf,
    /// Its head.
    pub head: Head,
    pub(super) catalog: Catalog,
    pub(super) copied: Copied,
    pub(super) fold: Fold,
}

/// What the ledger says of a slot that is not emptied.
pub(super) struct Filled {
    pub(super) seq: u64,
    case: Option<CaseId>,
    letter: Option<LetterId>,
    item: Option<ItemId>,
    pub(super) boxed: Option<(Address, Place)>,
}

/// What a restore needs of the ledger.
#[derive(Default)]
pub(super) struct Fold {
    pub(super) live: HashMap<SlotId, Filled>,
    generation: u64,
    public: Vec<Digest>,
    pub(super) roster: Option<Digest>,
    /// The other signed files that a start asks for: hand-overs, epochs, keys of the mailbox.
    pub(super) signed: Vec<Digest>,
}

impl Fold {
    fn take(&mut self, vault: VaultId, entry: &Entry) {
        match (entry.kind, entry.count, entry.hash) {
            (Fact::CabinetRotated, Some(generation), _) => self.generation = generation,
            (Fact::ServerKey, Some(CHECKPOINT_KEY), Some(hash)) => self.public.push(hash),
            (Fact::RosterSigned, _, hash) => self.roster = hash,
            (Fact::AdminSigned | Fact::EpochSigned | Fact::MailboxSigned, _, hash) => {
                self.signed.extend(hash);
            }
            _ => {}
        }
        let Some(slot) = entry.slot else { return };
        if entry.empties_slot() {
            self.live.remove(&slot);
        } else if entry.fills_slot() {
            let Entry { seq, case, letter, item, .. } = *entry;
            let boxed = entry.boxed.zip(entry.place(vault));
            self.live.insert(slot, Filled { seq, case, letter, item, boxed });
        }
    }
}

/// Something that the ledger names and the backup has no key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Position of its entry.
    pub seq: u64,
    /// Its case.
    pub case: Option<CaseId>,
    /// Its letter, mail or note.
    pub letter: Option<LetterId>,
    /// The item; none for a box that is none.
    pub item: Option<ItemId>,
}

impl Backup {
    /// Opens the backup in `dir`: its head is signed by the vault, the catalog is the one of the head,
    /// and the ledger has the root that the head says.
    ///
    /// # Errors
    /// [`Error::NoBackup`]; [`Error::Damaged`] with the file.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let layout = Layout(dir);
        let read = read_head(&layout)?;
        let Some((note, head, catalog)) = read else { return Err(Error::NoBackup(dir.to_owned())) };
        let copied = Copied::open(dir).map_err(|error| match error {
            store::Error::NotAVault => {
                Error::damaged(&layout.ledger(0), 0, "a file of the ledger is not there")
            }
            other => other.into(),
        })?;
        let files: Vec<_> = catalog.ledger.iter().map(|(first, len)| (*first, *len)).collect();
        let mut fold = Fold::default();
        let vault = copied.vault();
        let tree = copied.ledger(&files, &mut |entry| fold.take(vault, entry))?;
        let is_signed = |public: &Digest| Head::is_signed(&note, head.vault, public.as_bytes());
        if vault != head.vault || !fold.public.iter().any(is_signed) {
            return Err(Error::damaged(&layout.head(), 0, "a head that the vault did not sign"));
        }
        if (tree.size(), tree.root(tree.size())) != (head.entries, Some(head.root)) {
            let what = "the tree is not the one over these entries";
            return Err(Error::damaged(&layout.ledger(0), 0, what));
        }
        Ok(Self { dir: dir.to_owned(), head, catalog, copied, fold })
    }

    /// The public key of checkpoints, as the copied ledger has it.
    #[must_use]
    pub fn checkpoint_key(&self) -> String {
        let public = self.fold.public.last().map_or([0; 32], |public| *public.as_bytes());
        crate::ledger::checkpoint::vkey(self.head.vault, &public)
    }

    pub(super) fn layout(&self) -> Layout<'_> {
        Layout(&self.dir)
    }

    /// Bytes of everything that is named.
    pub(super) fn bytes(&self) -> u64 {
        let sums = self.catalog.packs.values().chain(self.catalog.files.values());
        sums.map(|sum| sum.length).sum::<u64>() + self.catalog.ledger.values().sum::<u64>()
    }

    /// The newest file of keys.
    pub(super) fn newest_keys(&self) -> Result<&str, Error> {
        let newest = self.catalog.keys.keys().next_back();
        newest.map(String::as_str).ok_or_else(|| Error::NoBackup(self.dir.join("keys")))
    }

    /// Shows every key of a file to `visit`.
    pub(super) fn each_key(
        &self,
        path: &Path,
        key: &StaffKey,
        visit: &mut dyn FnMut(SlotId, u64, &[u8; 32]),
    ) -> Result<(), Error> {
        let file = std::fs::File::open(path).map_err(Error::at(path))?;
        let opened = Opened::begin(BufReader::new(file), key);
        let mut opened = opened.map_err(|_| Error::WrongKey(path.to_owned()))?;
        if opened.about.vault != self.head.vault {
            return Err(Error::damaged(path, 0, "keys of another vault"));
        }
        loop {
            match opened.next_row() {
                Ok(Some(row)) => visit(row.slot, row.minute, &row.key),
                Ok(None) => return Ok(()),
                Err(_) => return Err(Error::damaged(path, 0, "a damaged file of keys")),
            }
        }
    }
}

/// Where a restored vault goes.
pub struct Target<'a> {
    /// The state directory; not there, or empty.
    pub dir: &'a Path,
    /// The folder of the cabinet's key; not there, or empty.
    pub cabinet_key: &'a Path,
    /// Goes on where packs of the backup are damaged: what they held is lost.
    pub despite_damage: bool,
}

/// What was restored, or would be.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Whether it was only looked at.
    pub is_dry: bool,
    /// Entries of the ledger.
    pub entries: u64,
    /// When the backup was made, in minutes since 1970.
    pub minute: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes.
    pub bytes: u64,
    /// Keys in the new cabinet.
    pub keys: u64,
    /// Of these, keys that only an older file had.
    pub from_older: u64,
    /// What the ledger names and no file has a key for.
    pub lost: Vec<Lost>,
    /// Packs that are damaged, if that was to be overlooked.
    pub flaws: Vec<Flaw>,
}

impl Backup {
    /// Makes a vault of the backup; with `is_dry` only says what it would be.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::WrongKey`]; [`Error::Damaged`] with the file. An interrupted restore
    /// goes on where it was; the backup is only read.
    pub fn restore(
        &self,
        target: &Target<'_>,
        key: &StaffKey,
        is_dry: bool,
        progress: Progress<'_>,
    ) -> Result<Restored, Error> {
        let staging = beside(target.dir);
        let mut bar = Bar { done: 0, total: self.bytes(), progress };
        let mut done = Restored {
            is_dry,
            entries: self.head.entries,
            minute: self.head.minute,
            packs: self.catalog.packs.len() as u64,
            bytes: bar.total,
            ..Restored::default()
        };
        check_target(target, &staging)?;
        let cabinet = self.cabinet(&staging, target.cabinet_key, key, &mut done)?;
        if is_dry {
            return Ok(done);
        }
        begin(target, &staging)?;
        step("restore:begun");
        self.copy_packs(target, &staging, &mut done, &mut bar)?;
        step("restore:packs-copied");
        self.copy_ledger(&staging, &mut bar)?;
        self.copy_files(target, &staging, &mut bar)?;
        cabinet.lay()?;
        step("restore:cabinet-written");
        copying::sync_dir(&staging).map_err(Error::at(&staging))?;
        std::fs::rename(&staging, target.dir).map_err(Error::at(target.dir))?;
        step("restore:named");
        let parent = target.dir.parent().unwrap_or(Path::new("/"));
        copying::sync_dir(parent).map_err(Error::at(parent))?;
        // Last: without it nobody would know whose the folder beside is, and nothing went on in it.
        clear_mark(target.dir)?;
        step("restore:unmarked");
        (bar.progress)(bar.total, bar.total);
        Ok(done)
    }

    /// The cabinet of all keys that are not forgotten: of the newest file, and what only older ones
    /// have.
    fn cabinet(
        &self,
        staging: &Path,
        cabinet_key: &Path,
        key: &StaffKey,
        done: &mut Restored,
    ) -> Result<Cabinet, Error> {
        let generation = self.fold.generation;
        let mut cabinet = Cabinet::begin(staging, cabinet_key, self.head.vault, generation);
        let newest = self.newest_keys()?.to_owned();
        let live = &self.fold.live;
        for name in self.catalog.keys.keys().rev() {
            if cabinet.len() == live.len() as u64 {
                break;
            }
            let path = self.layout().keys(name);
            let read = self.each_key(&path, key, &mut |slot, minute, key| {
                if live.contains_key(&slot) && !cabinet.has(slot) {
                    cabinet.put(slot, minute, key);
                    done.from_older += u64::from(*name != newest);
                }
            });
            // An older file is a help; without the newest a person must decide.
            if *name == newest {
                read?;
            }
        }
        done.keys = cabinet.len();
        let lost = live.iter().filter(|(slot, _)| !cabinet.has(**slot));
        let lost = lost.map(|(_, Filled { seq, case, letter, item, .. })| Lost {
            seq: *seq,
            case: *case,
            letter: *letter,
            item: *item,
        });
        done.lost = lost.collect();
        done.lost.sort_by_key(|lost| lost.seq);
        Ok(cabinet)
    }

    fn copy_packs(
        &self,
        target: &Target<'_>,
        staging: &Path,
        done: &mut Restored,
        bar: &mut Bar<'_>,
    ) -> Result<(), Error> {
        for (&id, sum) in &self.catalog.packs {
            let (from, to) = (self.layout().pack(id), Layout(staging).pack(id));
            // An interrupted try left it, whole and durable; whether it was the right one, it had not
            // yet looked perhaps.
            if to.exists() && copying::sum(&to, u64::MAX, &mut |n| bar.add(n))? == *sum {
                continue;
            }
            let copied =
                copying::copy(&from, sum.length, &to, "restore:pack-named", &mut |n| bar.add(n));
            let what = match copied {
                Ok(copied) if copied == *sum => continue,
                Ok(_) => "not what was copied",
                Err(Error::File { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
                    ) =>
                {
                    "a file that is not there, or ends too early"
                }
                Err(error) => return Err(error),
            };
            let mut at = 0;
            self.copied.check_pack(id, sum.length, &mut |offset, _| {
                at = if at == 0 { offset } else { at };
            })?;
            if !target.despite_damage {
                let _ = std::fs::remove_file(&to);
                return Err(Error::damaged(&from, at, what));
            }
            done.flaws.push(Flaw { file: from, offset: at, what });
        }
        Ok(())
    }

    fn copy_ledger(&self, staging: &Path, bar: &mut Bar<'_>) -> Result<(), Error> {
        for (&first, &length) in &self.catalog.ledger {
            let (from, to) = (self.layout().ledger(first), Layout(staging).ledger(first));
            copying::copy(&from, length, &to, "restore:ledger-named", &mut |n| bar.add(n))?;
        }
        Ok(())
    }

    fn copy_files(
        &self,
        target: &Target<'_>,
        staging: &Path,
        bar: &mut Bar<'_>,
    ) -> Result<(), Error> {
        for (name, sum) in &self.catalog.files {
            let from = self.layout().file(sum.hash);
            let bytes = std::fs::read(&from).map_err(Error::at(&from))?;
            if blake3::hash(&bytes).as_bytes() != sum.hash.as_bytes() {
                return Err(Error::damaged(&from, 0, "not what was copied"));
            }
            let bytes = match name.as_str() {
                crate::config::FILE => with_cabinet_key(&bytes, target.cabinet_key),
                _ => bytes,
            };
            let to = staging.join(name);
            copying::make_dir(to.parent().unwrap_or(staging))?;
            copying::put(&to, &bytes, "restore:file-named")?;
            bar.add(sum.length);
        }
        Ok(())
    }
}

/// The folder beside, in which a vault is made.
fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".restoring");
    name.into()
}

/// The settings with another folder of the cabinet's key.
fn with_cabinet_key(settings: &[u8], folder: &Path) -> Vec<u8> {
    let text = String::from_utf8_lossy(settings);
    let value = toml::Value::String(folder.to_string_lossy().into_owned());
    let line = format!("cabinet_key = {value}\n");
    let mut is_there = false;
    let mut written = String::with_capacity(text.len() + line.len());
    for old in text.split_inclusive('\n') {
        let names_it = old.split_once('=').is_some_and(|(word, _)| word.trim() == "cabinet_key");
        if names_it && !is_there {
            written.push_str(&line);
            is_there = true;
        } else {
            written.push_str(old);
        }
    }
    if is_there { written.into_bytes() } else { (line + &written).into_bytes() }
}

/// Whether there is room for a new vault, or the rest of an interrupted restore into the same places.
fn check_target(target: &Target<'_>, staging: &Path) -> Result<(), Error> {
    let is_ours = is_marked(staging, target.cabinet_key);
    if staging.exists() && !is_ours {
        return Err(Error::NotEmpty(staging.to_owned()));
    }
    for (folder, may_hold) in [(target.dir, false), (target.cabinet_key, is_ours)] {
        if folder.exists() && !may_hold && !is_empty(folder)? {
            return Err(Error::NotEmpty(folder.to_owned()));
        }
    }
    // It could not be named there in the end.
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    if device(target.dir).is_some_and(|dev| target.dir.parent().and_then(device) != Some(dev)) {
        return Err(Error::MountPoint(target.dir.to_owned()));
    }
    Ok(())
}

fn mark_of(cabinet_key: &Path) -> String {
    format!("being restored; cabinet key in {}\n", cabinet_key.display())
}

/// Removes the mark from a vault that has its name.
pub(super) fn clear_mark(dir: &Path) -> Result<(), Error> {
    let mark = dir.join(MARK);
    match std::fs::remove_file(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::at(&mark)(error)),
        _ => Ok(()),
    }
}

fn is_marked(staging: &Path, cabinet_key: &Path) -> bool {
    std::fs::read_to_string(staging.join(MARK)).is_ok_and(|text| text == mark_of(cabinet_key))
}

/// Makes the folders; what an earlier try left of a cabinet goes.
fn begin(target: &Target<'_>, staging: &Path) -> Result<(), Error> {
    let goes_on = is_marked(staging, target.cabinet_key);
    copying::make_dir(staging)?;
    if goes_on {
        store::clear_laid(target.cabinet_key)?;
        for name in names(staging)?.iter().filter(|name| name.starts_with("cabinet.")) {
            let path = staging.join(name);
            std::fs::remove_file(&path).map_err(Error::at(&path))?;
        }
    } else {
        copying::put(
            &staging.join(MARK),
            mark_of(target.cabinet_key).as_bytes(),
            "restore:marked",
        )?;
    }
    for folder in ["packs", "ledger", "quarantine"] {
        copying::make_dir(&staging.join(folder))?;
    }
    if !staging.join("lock").exists() {
        copying::put(&staging.join("lock"), b"", "restore:marked")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_name_the_new_folder_of_the_key_once() {
        let with = |text: &str| {
            String::from_utf8(with_cabinet_key(text.as_bytes(), Path::new("/new \"one\"")))
                .expect("text")
        };
        let line = "cabinet_key = '/new \"one\"'\n";
        assert_eq!(
            with("a = 1\ncabinet_key = \"/old\"\n[limits]\n"),
            format!("a = 1\n{line}[limits]\n")
        );
        assert_eq!(with("a = 1\n"), format!("{line}a = 1\n"));
    }
}
