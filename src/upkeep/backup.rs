//! The backup (design §7, §8): what is new is copied to another folder, the keys of boxes as an age
//! file to the backup keys.
//!
//! ```text
//! snapshot between two commits → packs that are not there yet → what is new of the ledger, read back
//!   → small files → box keys, sealed → catalog → head replaced = the backup is made
//!   → what it does not name any more is removed → `BackupMade`
//! ```
//!
//! A file has its name when it is whole and durable; packs and the copied part of the ledger never
//! change. So whatever interrupts a backup leaves the one before as it was, and the next try goes on.
//! What the ledger's copy names lies in packs that were complete when the snapshot was taken, and is
//! copied before the head says so. Layout: vault-format §11.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use minicbor::{Decode, Encode};

use super::Error;
use super::box_keys::{is_over, seal_keys};
use super::catalog::{Catalog, FOLDERS, Head, SMALL, Sum, is_plain};
use super::copying::{self, NEW};
use crate::ids::{Digest, SlotId, VaultId};
use crate::keys::roster::Roster;
use crate::lab::step;
use crate::ledger::entry::CHECKPOINT_KEY;
use crate::ledger::{Checkpoint, Entry, Fact};
use crate::store::{self, Batch, Copied, PackFile, PackId, Snapshot, Store};
use crate::vault;

/// Days that keys of boxes stay in a backup (design §8): part of the erasure horizon.
pub const KEEP_DAYS: u64 = crate::ledger::certificate::BACKUP_DAYS;
/// The steps of a backup that a crash must survive, in order.
pub const BACKUP_STEPS: &[&str] = &[
    "backup:begun",
    "backup:pack-named",
    "backup:packs-copied",
    "backup:ledger-written",
    "backup:ledger-copied",
    "backup:file-named",
    "backup:keys-written",
    "backup:keys-named",
    "backup:catalog-named",
    "backup:head-named",
    "backup:made",
    "backup:pruned",
    "backup:recorded",
];

/// Entries read at once.
pub(super) const ENTRIES_AT_ONCE: usize = 4096;
/// How often small files are read until they stand still.
const MOST_READS: usize = 10;
/// The longest small file, in bytes.
const LONGEST_SMALL: u64 = 64 << 20;
/// Flaws that are listed.
const MOST_FLAWS: usize = 100;

/// Told bytes done, and of how many. Says whether to go on.
pub type Progress<'a> = &'a dyn Fn(u64, u64) -> bool;

/// What is backed up.
#[derive(Clone, Copy)]
pub struct Vault<'a> {
    /// The open store.
    pub store: &'a Store,
    /// The state directory.
    pub dir: &'a Path,
    /// The folder of the cabinet's key.
    pub cabinet_key: &'a Path,
    /// The roster in force: its backup keys.
    pub roster: &'a Roster,
}

/// Where the parts of a backup lie.
pub(super) struct Layout<'a>(pub(super) &'a Path);

impl Layout<'_> {
    pub(super) fn head(&self) -> PathBuf {
        self.0.join("head.note")
    }

    pub(super) fn catalog(&self, hash: Digest) -> PathBuf {
        self.0.join("catalog").join(format!("{hash}.txt"))
    }

    pub(super) fn pack(&self, id: PackId) -> PathBuf {
        self.0.join("packs").join(format!("{}.pack", data_encoding::HEXLOWER.encode(&id.0)))
    }

    pub(super) fn ledger(&self, first: u64) -> PathBuf {
        self.0.join("ledger").join(format!("{first:016x}.log"))
    }

    pub(super) fn file(&self, hash: Digest) -> PathBuf {
        self.0.join("files").join(hash.to_string())
    }

    pub(super) fn keys(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(name)
    }

    fn vault(&self) -> PathBuf {
        self.0.join(MARK)
    }
}

/// The file that says whose backup a folder holds.
const MARK: &str = "vault";
/// The folders of a backup.
const PARTS: [&str; 5] = ["packs", "ledger", "files", "keys", "catalog"];

/// What a backup would copy.
pub struct Plan {
    dest: PathBuf,
    previous: Option<Previous>,
    snapshot: Snapshot,
    packs: Vec<PackFile>,
    summary: Summary,
}

/// The backup that lies there.
struct Previous {
    note: String,
    catalog: Catalog,
}

/// What a backup did, or would do; to be printed and to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Summary {
    /// Whether it was only looked at.
    #[n(0)]
    pub is_dry: bool,
    /// Entries of the ledger that it covers.
    #[n(1)]
    pub entries: u64,
    /// Packs copied.
    #[n(2)]
    pub packs: u64,
    /// Packs that were there already.
    #[n(3)]
    pub packs_there: u64,
    /// Bytes copied of packs and ledger.
    #[n(4)]
    pub bytes: u64,
    /// Keys of boxes that it holds.
    #[n(5)]
    pub keys: u64,
    /// Keys that the ledger names, nobody forgot, and the cabinet does not have.
    #[n(6)]
    pub missing: u64,
    /// Older files of keys that were removed.
    #[n(7)]
    pub keys_removed: u64,
    /// What is wrong with packs of the vault: file, byte, what; the first of them.
    #[n(8)]
    pub flaws: Vec<(String, u64, String)>,
    /// It lies on the same device as the vault.
    #[n(9)]
    pub same_device: bool,
}

/// Finds out what a backup into `dest` would copy. Unless `is_dry` open packs of the vault are closed
/// for it; nothing else is changed.
///
/// # Errors
/// [`Error::NotEmpty`], [`Error::OtherVault`], [`Error::Forked`], [`Error::Inside`]; [`Error::Damaged`]
/// if the backup there does not read.
pub fn plan(vault: &Vault<'_>, dest: &Path, is_dry: bool) -> Result<Plan, Error> {
    apart(vault, dest)?;
    let id = vault.store.vault();
    check_folder(dest, id)?;
    let previous = previous(vault.store, dest)?;
    let snapshot = vault.store.snapshot(!is_dry)?;
    let layout = Layout(dest);
    let mut summary = Summary { is_dry, entries: snapshot.size, ..Summary::default() };
    let mut packs = Vec::new();
    for pack in vault.store.packs_of(&snapshot)? {
        if is_there(&layout, &pack)? {
            summary.packs_there += 1;
        } else {
            summary.packs += 1;
            summary.bytes += pack.length;
        }
        packs.push(pack);
    }
    for file in &snapshot.ledger {
        summary.bytes +=
            file.length - have(&layout, previous.as_ref(), file.first).min(file.length);
    }
    summary.same_device = device(dest).is_some_and(|there| device(vault.dir) == Some(there));
    Ok(Plan { dest: dest.to_owned(), previous, snapshot, packs, summary })
}

impl Plan {
    /// What it would do.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

/// Refuses a folder that lies in the vault or around it: the copy would be copied, and its keys would
/// lie beside those of the cabinet.
fn apart(vault: &Vault<'_>, dest: &Path) -> Result<(), Error> {
    let dest = real(dest)?;
    for folder in [vault.dir, vault.cabinet_key] {
        let folder = real(folder)?;
        if dest.starts_with(&folder) || folder.starts_with(&dest) {
            return Err(Error::Inside(dest));
        }
    }
    Ok(())
}

/// The path without links, of a folder that may not be there yet.
fn real(path: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(path).map_err(Error::at(path))?;
    let mut ancestors = absolute.ancestors();
    let there = ancestors.find_map(|some| Some((some, std::fs::canonicalize(some).ok()?)));
    let (some, real) = there.unwrap_or((Path::new("/"), PathBuf::from("/")));
    Ok(real.join(absolute.strip_prefix(some).unwrap_or(Path::new(""))))
}

fn device(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let there = path.ancestors().find(|some| some.exists())?;
    std::fs::metadata(there).ok().map(|metadata| metadata.dev())
}

/// Whether a backup of this vault may go there: it is empty, or holds one.
fn check_folder(dest: &Path, vault: VaultId) -> Result<(), Error> {
    let marked = Layout(dest).vault();
    match std::fs::read_to_string(&marked) {
        Ok(text) if text == mark_of(vault) => return Ok(()),
        Ok(_) => return Err(Error::OtherVault(dest.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::at(&marked)(error)),
    }
    // A try whose power went while it wrote the mark left what was to become it.
    let begun = copying::with_new(Path::new(MARK));
    if !dest.exists() || is_empty_but_for(dest, &begun)? {
        Ok(())
    } else {
        Err(Error::NotEmpty(dest.to_owned()))
    }
}

/// Whether a folder has nothing but what a file system puts there itself.
pub(super) fn is_empty(dir: &Path) -> Result<bool, Error> {
    is_empty_but_for(dir, Path::new("."))
}

fn is_empty_but_for(dir: &Path, begun: &Path) -> Result<bool, Error> {
    let listed = std::fs::read_dir(dir).map_err(Error::at(dir))?;
    let is_ours = |entry: io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            entry.file_name() != "lost+found" && entry.file_name() != begun.as_os_str()
        })
    };
    Ok(!listed.into_iter().any(is_ours))
}

fn mark_of(vault: VaultId) -> String {
    format!("a backup of the vault {vault}, made by kluis\n")
}

/// The backup that lies there, if there is one: ours, and of this very ledger.
fn previous(store: &Store, dest: &Path) -> Result<Option<Previous>, Error> {
    let layout = Layout(dest);
    let Some((note, head, catalog)) = read_head(&layout)? else { return Ok(None) };
    if head.vault != store.vault() {
        return Err(Error::OtherVault(dest.to_owned()));
    }
    if store.root(head.entries) != Some(head.root) {
        return Err(Error::Forked(dest.to_owned()));
    }
    let signers = Fold::of(store, head.entries)?.public;
    if !signers.iter().any(|public| Head::is_signed(&note, head.vault, public.as_bytes())) {
        return Err(Error::damaged(&layout.head(), 0, "a head that the vault did not sign"));
    }
    Ok(Some(Previous { note, catalog }))
}

/// Head and catalog, held against each other; whoever signed.
pub(super) fn read_head(layout: &Layout<'_>) -> Result<Option<(String, Head, Catalog)>, Error> {
    let path = layout.head();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::at(&path)(error)),
    };
    let note = String::from_utf8(bytes).unwrap_or_default();
    let Some(head) = Head::read(&note) else {
        return Err(if Head::is_later(&note) {
            Error::Later(path)
        } else {
            Error::damaged(&path, 0, "not the head of a backup")
        });
    };
    let path = layout.catalog(head.catalog);
    let bytes = std::fs::read(&path).map_err(Error::at(&path))?;
    let is_named = blake3::hash(&bytes).as_bytes() == head.catalog.as_bytes();
    let catalog = String::from_utf8(bytes).ok().filter(|_| is_named);
    let catalog = catalog.and_then(|text| Catalog::parse(&text));
    let catalog =
        catalog.ok_or_else(|| Error::damaged(&path, 0, "not the catalog that the head names"))?;
    Ok(Some((note, head, catalog)))
}

/// Whether a pack needs no copying: what is closed there never changes.
fn is_there(layout: &Layout<'_>, pack: &PackFile) -> Result<bool, Error> {
    let path = layout.pack(pack.id);
    if store::is_closed_pack(&path)? {
        return Ok(true);
    }
    let length = std::fs::metadata(&path).map(|metadata| metadata.len()).ok();
    Ok(!pack.is_closed && length == Some(pack.length))
}

/// How much of a file of the ledger is copied.
fn have(layout: &Layout<'_>, previous: Option<&Previous>, first: u64) -> u64 {
    let named = previous.and_then(|previous| previous.catalog.ledger.get(&first).copied());
    let there = std::fs::metadata(layout.ledger(first)).map(|metadata| metadata.len());
    named.filter(|named| there.is_ok_and(|there| there >= *named)).unwrap_or(0)
}

/// What a backup needs of the ledger.
pub(super) struct Fold {
    /// Filled and not emptied.
    pub(super) live: HashSet<SlotId>,
    /// The slot of the key that signs checkpoints.
    signing: Option<SlotId>,
    /// The public halves of those that ever did.
    public: Vec<Digest>,
}

impl Fold {
    fn of(store: &Store, size: u64) -> Result<Self, Error> {
        let mut this = Self { live: HashSet::new(), signing: None, public: Vec::new() };
        let mut from = 0;
        while from < size {
            let most = usize::try_from(size - from).unwrap_or(ENTRIES_AT_ONCE).min(ENTRIES_AT_ONCE);
            let entries = store.entries(from, most)?;
            from += entries.len() as u64;
            if entries.is_empty() {
                return Err(store::Error::from(vault::Error::Missing).into());
            }
            entries.iter().for_each(|entry| this.take(entry));
        }
        Ok(this)
    }

    fn take(&mut self, entry: &Entry) {
        if entry.kind == Fact::ServerKey && entry.count == Some(CHECKPOINT_KEY) {
            self.signing = entry.slot;
            self.public.extend(entry.hash);
        }
        let Some(slot) = entry.slot else { return };
        if entry.fills_slot() {
            self.live.insert(slot);
        } else if entry.empties_slot() {
            self.live.remove(&slot);
        }
    }
}

/// Makes the backup that was planned. Two sweeps and a backup at a time are the caller's to prevent.
///
/// # Errors
/// [`Error::Busy`]; where the system refuses. The backup that was there stays what it was.
pub fn apply(
    vault: &Vault<'_>,
    plan: &Plan,
    minute: u64,
    progress: Progress<'_>,
) -> Result<Summary, Error> {
    let Plan { dest, previous, snapshot, packs, summary } = plan;
    let layout = Layout(dest);
    let _lock = begin(&layout, vault.store.vault(), previous.as_ref())?;
    step("backup:begun");
    let mut done = Summary { is_dry: false, packs: 0, packs_there: 0, ..summary.clone() };
    let mut bar = Bar { done: 0, total: summary.bytes, progress };
    let mut catalog = Catalog::default();
    if let Some(previous) = previous {
        catalog.packs.clone_from(&previous.catalog.packs);
    }
    let fresh = copy_packs(&layout, packs, &mut catalog, &mut done, &mut bar)?;
    step("backup:packs-copied");
    copy_ledger(&layout, previous.as_ref(), snapshot, &mut catalog, &mut bar)?;
    step("backup:ledger-copied");
    check(&layout, snapshot, &fresh, &catalog, &mut done)?;
    for (path, bytes) in small_files(vault.dir)? {
        let hash = Digest::new(*blake3::hash(&bytes).as_bytes());
        let at = layout.file(hash);
        if !std::fs::metadata(&at).is_ok_and(|there| there.len() == bytes.len() as u64) {
            copying::put(&at, &bytes, "backup:file-named")?;
        }
        catalog.files.insert(path, Sum { length: bytes.len() as u64, hash });
    }
    let fold = Fold::of(vault.store, snapshot.size)?;
    let (name, sum) = seal_keys(vault, &layout, &fold, snapshot.size, minute, &mut done)?;
    if let Some(previous) = previous {
        let kept = previous.catalog.keys.iter().filter(|(name, _)| !is_over(name, minute));
        catalog.keys.extend(kept.map(|(name, sum)| (name.clone(), *sum)));
    }
    catalog.keys.insert(name, sum);
    // What a try before this one named and then did not wait for was passed over as there.
    for part in PARTS.map(|part| dest.join(part)) {
        copying::sync_dir(&part).map_err(Error::at(&part))?;
    }
    let hash = put_head(vault.store, &layout, snapshot, &fold, &catalog, minute)?;
    step("backup:made");
    done.keys_removed = prune(&layout, &catalog, hash.1)?;
    step("backup:pruned");
    let entry = Entry {
        hash: Some(hash.0),
        count: Some(done.keys),
        position: Some(snapshot.size),
        ..Entry::new(Fact::BackupMade, minute)
    };
    vault.store.commit(Batch::of(vec![entry]))?;
    step("backup:recorded");
    (bar.progress)(bar.total, bar.total);
    Ok(done)
}

/// Makes the folders, takes the lock, and removes what an interrupted backup left.
fn begin(layout: &Layout<'_>, vault: VaultId, previous: Option<&Previous>) -> Result<File, Error> {
    let dest = layout.0;
    copying::make_dir(dest)?;
    if !layout.vault().exists() {
        check_folder(dest, vault)?;
        copying::put(&layout.vault(), mark_of(vault).as_bytes(), "backup:marked")?;
    }
    for part in PARTS {
        copying::make_dir(&dest.join(part))?;
    }
    let path = dest.join("lock");
    let mut lock = File::options();
    let lock = lock.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = lock.map_err(Error::at(&path))?;
    if lock.try_lock().is_err() {
        return Err(Error::Busy(dest.to_owned()));
    }
    // Another one may have come between the plan and the lock.
    let there = read_head(layout)?.map(|(note, ..)| note);
    if there.as_deref() != previous.map(|previous| previous.note.as_str()) {
        return Err(Error::Busy(dest.to_owned()));
    }
    for part in PARTS.map(|part| dest.join(part)).iter().chain([&dest.to_owned()]) {
        for name in names(part)?.iter().filter(|name| name.ends_with(NEW)) {
            let path = part.join(name);
            std::fs::remove_file(&path).map_err(Error::at(&path))?;
        }
    }
    Ok(lock)
}

/// The names in a folder that are valid text, sorted.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let names = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    };
    names().map_err(Error::at(dir))
}

/// Copies what is not there, and catalogs all; gives those that the catalog did not know.
fn copy_packs(
    layout: &Layout<'_>,
    packs: &[PackFile],
    catalog: &mut Catalog,
    done: &mut Summary,
    bar: &mut Bar<'_>,
) -> Result<Vec<PackId>, Error> {
    let mut fresh = Vec::new();
    for pack in packs {
        let to = layout.pack(pack.id);
        let is_there = is_there(layout, pack)?;
        let known = catalog.packs.get(&pack.id).copied();
        if is_there && known.is_some_and(|sum| length_of(&to) == Some(sum.length)) {
            done.packs_there += 1;
            continue;
        }
        let sum = if is_there {
            done.packs_there += 1;
            copying::sum(&to, u64::MAX, &mut |_| bar.goes_on())?
        } else {
            match copying::copy(&pack.path, pack.length, &to, "backup:pack-named", &mut |n| {
                bar.add(n)
            }) {
                // A sweep removed it: nothing refers to it.
                Err(Error::File { path, source })
                    if path == pack.path && source.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                copied => {
                    done.packs += 1;
                    copied?
                }
            }
        };
        catalog.packs.insert(pack.id, sum);
        fresh.push(pack.id);
    }
    Ok(fresh)
}

fn length_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}

fn copy_ledger(
    layout: &Layout<'_>,
    previous: Option<&Previous>,
    snapshot: &Snapshot,
    catalog: &mut Catalog,
    bar: &mut Bar<'_>,
) -> Result<(), Error> {
    for file in &snapshot.ledger {
        let have = have(layout, previous, file.first).min(file.length);
        if have < file.length {
            let to = layout.ledger(file.first);
            copying::append(&file.path, &to, have, file.length, &mut |n| bar.add(n))?;
        }
        catalog.ledger.insert(file.first, file.length);
    }
    Ok(())
}

/// Reads back what was copied: the ledger must be the one of the snapshot; what is wrong with packs
/// was wrong before, and is said.
fn check(
    layout: &Layout<'_>,
    snapshot: &Snapshot,
    fresh: &[PackId],
    catalog: &Catalog,
    done: &mut Summary,
) -> Result<(), Error> {
    let copied = Copied::open(layout.0)?;
    let files: Vec<_> = catalog.ledger.iter().map(|(first, length)| (*first, *length)).collect();
    let tree = copied.ledger(&files, &mut |_| {})?;
    if (tree.size(), tree.root(tree.size())) != (snapshot.size, Some(snapshot.root)) {
        let path = layout.ledger(0);
        return Err(Error::damaged(&path, 0, "the copy of the ledger is not the ledger"));
    }
    for id in fresh {
        let length = catalog.packs.get(id).map_or(0, |sum| sum.length);
        let path = layout.pack(*id);
        copied.check_pack(*id, length, &mut |offset, what| {
            if done.flaws.len() < MOST_FLAWS {
                done.flaws.push((path.display().to_string(), offset, what.to_owned()));
            }
        })?;
    }
    Ok(())
}

/// Every small file by its path in the vault, as they stand together: they are read until they do not
/// change any more.
fn small_files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut before = read_small(dir)?;
    for _ in 0..MOST_READS {
        let again = read_small(dir)?;
        if again == before {
            break;
        }
        before = again;
    }
    Ok(before)
}

fn read_small(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut paths: Vec<String> = SMALL.map(str::to_owned).to_vec();
    for folder in FOLDERS {
        let path = dir.join(folder);
        if path.is_dir() {
            let names = names(&path)?.into_iter().filter(|name| is_plain(name));
            paths.extend(names.map(|name| format!("{folder}/{name}")));
        }
    }
    let mut files = BTreeMap::new();
    for name in paths {
        let path = dir.join(&name);
        match std::fs::read(&path) {
            Ok(bytes) if bytes.len() as u64 <= LONGEST_SMALL => _ = files.insert(name, bytes),
            Ok(_) => {}
            // It was replaced between the look and the reading, or never was.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::at(&path)(error)),
        }
    }
    Ok(files)
}

/// Puts catalog, head and checkpoint there. Gives the hash of the head, and that of the catalog.
fn put_head(
    store: &Store,
    layout: &Layout<'_>,
    snapshot: &Snapshot,
    fold: &Fold,
    catalog: &Catalog,
    minute: u64,
) -> Result<(Digest, Digest), Error> {
    let signing = fold.signing.ok_or(store::Error::from(vault::Error::NoKey))?;
    let seed = store.box_key(signing)?;
    let text = catalog.to_text();
    let hash = Digest::new(*blake3::hash(text.as_bytes()).as_bytes());
    copying::put(&layout.catalog(hash), text.as_bytes(), "backup:catalog-named")?;
    let (id, Snapshot { size, root, .. }) = (store.vault(), snapshot);
    let head = Head { vault: id, entries: *size, root: *root, minute, catalog: hash };
    let note = head.sign(&seed);
    copying::put(&layout.head(), note.as_bytes(), "backup:head-named")?;
    let checkpoint = Checkpoint { vault: id, size: *size, root: *root }.sign(&seed);
    copying::put(&layout.0.join("checkpoint"), checkpoint.as_bytes(), "backup:checkpoint-named")?;
    Ok((Digest::new(*blake3::hash(note.as_bytes()).as_bytes()), hash))
}

/// Removes what the catalog does not name any more, keys of boxes first; packs and ledger stay for
/// ever. Gives how many files of keys are gone.
fn prune(layout: &Layout<'_>, catalog: &Catalog, hash: Digest) -> Result<u64, Error> {
    let mut gone = 0;
    for name in names(&layout.0.join("keys"))? {
        if !catalog.keys.contains_key(&name) {
            copying::destroy(&layout.keys(&name))?;
            gone += 1;
        }
    }
    let files: HashSet<String> = catalog.files.values().map(|sum| sum.hash.to_string()).collect();
    let catalogs = HashSet::from([format!("{hash}.txt")]);
    for (folder, named) in [("files", files), ("catalog", catalogs)] {
        let folder = layout.0.join(folder);
        for name in names(&folder)?.iter().filter(|name| !named.contains(*name)) {
            let path = folder.join(name);
            std::fs::remove_file(&path).map_err(Error::at(&path))?;
        }
    }
    Ok(gone)
}

/// How far a backup is, in bytes.
pub(super) struct Bar<'a> {
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) progress: Progress<'a>,
}

impl Bar<'_> {
    pub(super) fn add(&mut self, bytes: u64) -> bool {
        self.done += bytes;
        self.goes_on()
    }

    pub(super) fn goes_on(&self) -> bool {
        (self.progress)(self.done.min(self.total), self.total)
    }
}
