//! A disk in memory that keeps what a barrier made durable and owes nothing else.
//!
//! * A file is its durable content and the writes since its last barrier; a directory its durable
//!   names and the changes since. Reads see everything, like the system's cache.
//! * Barriers are as weak as POSIX has them: that of a file says nothing of its name.
//! * [`SimDisk::crash`] decides what of the rest is there: nothing, all, a prefix for each file, or
//!   any pieces of 512 or 4096 bytes of it, with or without the length; and any of the names.
//! * [`SimDisk::plan`] makes one call fail, or every call from there on ([`Wrong`]). A barrier that
//!   fails has lost what it should have kept, and later ones say that all is well: so does Linux.
//!
//! One seed, one course of events: whoever uses it from one thread at a time sees the same again.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rng::Rng;
use crate::store::disk::{Durable, Errno, parent};
use crate::store::frame::SECTOR;

/// What is asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Call {
    MakeDir,
    Create,
    Open,
    Exists,
    Names,
    Rename,
    Remove,
    SyncDir,
    Read,
    Write,
    SetLen,
    Length,
    Sync,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Wrong {
    /// EIO.
    Broken,
    /// ENOSPC; a write first takes a part.
    Full,
    /// A read or a write does a part of what it was asked.
    Short,
    /// EINTR where a caller sees it; every other call only.
    Interrupted,
    /// EMFILE.
    NoMoreFiles,
    /// The process ends: neither this call nor any later one happens.
    Killed,
}

impl Wrong {
    pub(in crate::store) const ALL: [Wrong; 6] = [
        Wrong::Broken,
        Wrong::Full,
        Wrong::Short,
        Wrong::Interrupted,
        Wrong::NoMoreFiles,
        Wrong::Killed,
    ];

    /// Whether the system can answer `call` so.
    pub(in crate::store) fn befalls(self, call: Call) -> bool {
        use Call::{Create, MakeDir, Names, Open, Read, Rename, Sync, SyncDir, Write};
        match self {
            Wrong::Broken | Wrong::Killed => true,
            Wrong::Full => matches!(call, MakeDir | Create | Rename | Write | Sync | SyncDir),
            Wrong::Short | Wrong::Interrupted => matches!(call, Read | Write),
            Wrong::NoMoreFiles => matches!(call, Create | Open | Names | SyncDir),
        }
    }

    /// Whether a caller must not notice.
    pub(in crate::store) fn is_harmless(self) -> bool {
        matches!(self, Wrong::Short | Wrong::Interrupted)
    }
}

/// A fault to come.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Fault {
    /// The number of the call, from 1.
    pub(in crate::store) at: u64,
    pub(in crate::store) wrong: Wrong,
    pub(in crate::store) for_ever: bool,
}

/// What a crash leaves of what no barrier made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Crash {
    /// Everything, durable or not: the process was killed, the machine went on.
    Process,
    /// Nothing.
    Nothing,
    /// Of each file and directory the first changes; the last of them torn.
    Prefix,
    /// Any pieces of so many bytes; any names.
    Pieces(u64),
    /// The lengths, with zeros for bytes; any names.
    Lengths,
}

impl Crash {
    pub(in crate::store) const ALL: [Crash; 6] = [
        Crash::Process,
        Crash::Nothing,
        Crash::Prefix,
        Crash::Pieces(SECTOR),
        Crash::Pieces(4096),
        Crash::Lengths,
    ];
}

/// The disk.
pub(in crate::store) struct SimDisk(Mutex<State>);

struct State {
    rng: Rng,
    files: BTreeMap<u64, Inode>,
    dirs: BTreeMap<PathBuf, Names>,
    calls: u64,
    fault: Option<Fault>,
    /// The process was killed.
    is_gone: bool,
    /// A full disk has taken a part of a write: the rest is refused.
    is_refusing: bool,
    /// No call counts and no fault strikes: several threads are at it.
    is_calm: bool,
    /// A fault has struck.
    struck: bool,
    /// A barrier has failed.
    lost: bool,
    /// One of packs, since the machine was started.
    has_lost_packs: bool,
    /// Barriers of this sort do nothing.
    ignored: Option<Durable>,
    /// Where packs end, if they are smaller here than elsewhere.
    packs_end_at: Option<u64>,
    trace: Vec<Call>,
    index: Index,
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
    since: Vec<Change>,
}

enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, written) => {
                let (from, end) = (*offset as usize, *offset as usize + written.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[from..end].copy_from_slice(written);
            }
            Change::SetLen(length) => bytes.resize(*length as usize, 0),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    File(u64),
    Dir,
}

#[derive(Default)]
struct Names {
    durable: BTreeMap<String, Node>,
    now: BTreeMap<String, Node>,
    since: Vec<Naming>,
}

enum Naming {
    Put(String, Node),
    Remove(String),
    Rename(String, String, Node),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Naming::Put(name, node) => {
                names.insert(name.clone(), *node);
            }
            Naming::Remove(name) => {
                names.remove(name);
            }
            Naming::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Names {
    fn change(&mut self, naming: Naming) {
        naming.apply(&mut self.now);
        self.since.push(naming);
    }
}

/// A key and what was said of it; nothing takes it away.
type Said = (Vec<u8>, Option<Vec<u8>>);

/// The index of a simulation: what was put, in order, so that a crash can leave an older one.
#[derive(Default)]
struct Index {
    puts: Vec<Vec<Said>>,
    /// So many of them are durable.
    flushed: usize,
    now: HashMap<Vec<u8>, Vec<u8>>,
}

impl SimDisk {
    /// Slots that are copied at once: few, so that something can happen between them.
    pub(in crate::store) const SLOTS_AT_ONCE: usize = 4;

    /// An empty disk with the directory `/`.
    pub(in crate::store) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            rng: Rng::new(seed),
            files: BTreeMap::new(),
            dirs: BTreeMap::from([(PathBuf::from("/"), Names::default())]),
            calls: 0,
            fault: None,
            is_gone: false,
            is_refusing: false,
            is_calm: false,
            struck: false,
            lost: false,
            has_lost_packs: false,
            ignored: None,
            packs_end_at: None,
            trace: Vec::new(),
            index: Index::default(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every barrier of this sort do nothing.
    pub(in crate::store) fn ignore(&self, durable: Option<Durable>) {
        self.state().ignored = durable;
    }

    /// Has packs end here: small ones are closed often.
    pub(in crate::store) fn end_packs_at(&self, end: u64) {
        self.state().packs_end_at = Some(end);
    }

    /// Where packs end, if that was said.
    pub(in crate::store) fn packs_end_at(&self) -> Option<u64> {
        self.state().packs_end_at
    }

    /// How many calls there were.
    pub(in crate::store) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The calls so far, in order.
    pub(in crate::store) fn trace(&self) -> Vec<Call> {
        self.state().trace.clone()
    }

    /// Plans a fault; none heals the disk.
    pub(in crate::store) fn plan(&self, fault: Option<Fault>) {
        let mut state = self.state();
        (state.fault, state.struck, state.is_refusing) = (fault, false, false);
    }

    /// Whether the fault that was planned last has struck.
    pub(in crate::store) fn struck(&self) -> bool {
        self.state().struck
    }

    /// Whether the fault has struck, and is one that a caller may notice.
    pub(in crate::store) fn struck_hard(&self) -> bool {
        let state = self.state();
        state.struck && state.fault.is_some_and(|fault| !fault.wrong.is_harmless())
    }

    /// Lets something happen in any order, without faults: a check reads on every core.
    pub(in crate::store) fn calmly<T>(&self, what: impl FnOnce() -> T) -> T {
        self.state().is_calm = true;
        let done = what();
        self.state().is_calm = false;
        done
    }

    /// Another process begins.
    pub(in crate::store) fn begin(&self) {
        self.state().lost = false;
    }

    /// Whether the machine must be started again: a barrier of packs has failed.
    pub(in crate::store) fn has_lost_packs(&self) -> bool {
        self.state().has_lost_packs
    }

    /// Whether a barrier has failed for this process.
    pub(in crate::store) fn lost(&self) -> bool {
        self.state().lost
    }

    /// The barriers that failed so far were of something that is given up whole.
    pub(in crate::store) fn forgive(&self) {
        self.state().lost = false;
    }

    /// Whether the process was killed.
    pub(in crate::store) fn is_gone(&self) -> bool {
        self.state().is_gone
    }

    /// Ends the process here.
    pub(in crate::store) fn kill(&self) {
        self.state().is_gone = true;
    }

    /// Decides what is there when the machine starts again, and starts it.
    pub(in crate::store) fn crash(&self, crash: Crash) {
        let mut state = self.state();
        (state.fault, state.is_gone) = (None, false);
        if crash == Crash::Process && !state.has_lost_packs {
            return;
        }
        state.has_lost_packs = false;
        let State { rng, files, dirs, index, .. } = &mut *state;
        for file in files.values_mut() {
            file.crash(crash, rng);
        }
        for names in dirs.values_mut() {
            names.crash(crash, rng);
        }
        let gone: Vec<PathBuf> = dirs.keys().filter(|dir| !is_named(dirs, dir)).cloned().collect();
        dirs.retain(|dir, _| !gone.iter().any(|gone| dir.starts_with(gone)));
        let named: Vec<u64> = dirs
            .values()
            .flat_map(|names| names.now.values())
            .filter_map(|node| if let Node::File(file) = node { Some(*file) } else { None })
            .collect();
        files.retain(|file, _| named.contains(file));
        index.crash(rng);
    }

    /// Changes one place of a file that lies at rest, durably: turns a bit, blanks a sector, or
    /// puts a sector of any file there, as a misdirected write does. Gives the file.
    pub(in crate::store) fn rot(&self) -> Option<PathBuf> {
        let mut state = self.state();
        let State { rng, files, dirs, .. } = &mut *state;
        let all: Vec<(PathBuf, u64)> = dirs
            .iter()
            .flat_map(|(dir, names)| names.now.iter().map(move |(name, node)| (dir, name, node)))
            .filter_map(|(dir, name, node)| match node {
                Node::File(file) if !files[file].now.is_empty() => Some((dir.join(name), *file)),
                _ => None,
            })
            .collect();
        let (path, file) = rng.pick(&all)?.clone();
        let source = files[&rng.pick(&all)?.1].now.clone();
        let bytes = &mut files.get_mut(&file)?.now;
        let at = rng.below(bytes.len() as u64) as usize;
        let sector = at - at % SECTOR as usize;
        let end = bytes.len().min(sector + SECTOR as usize);
        match rng.below(3) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[sector..end].fill(0),
            _ => {
                let from = rng.below(source.len() as u64 / SECTOR + 1) * SECTOR;
                let piece = &source[from as usize..source.len().min((from + SECTOR) as usize)];
                let length = piece.len().min(end - sector);
                bytes[sector..sector + length].copy_from_slice(&piece[..length]);
            }
        }
        let file = files.get_mut(&file)?;
        file.durable.clone_from(&file.now);
        Some(path)
    }

    /// Sixteen bytes for a name.
    pub(in crate::store) fn new_name(&self) -> [u8; 16] {
        self.state().rng.bytes()
    }

    /// Which of two barriers that run side by side is first.
    pub(in crate::store) fn coin(&self) -> bool {
        self.state().rng.chance(50)
    }

    pub(in crate::store) fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter(Call::MakeDir)?;
        let mut missing: Vec<&Path> =
            path.ancestors().take_while(|dir| !state.dirs.contains_key(*dir)).collect();
        while let Some(dir) = missing.pop() {
            state.names(parent(dir))?.change(Naming::Put(name_of(dir), Node::Dir));
            state.dirs.insert(dir.to_owned(), Names::default());
        }
        Ok(())
    }

    pub(in crate::store) fn create(self: &Arc<Self>, path: &Path) -> io::Result<SimFile> {
        let mut state = self.state();
        state.enter(Call::Create)?;
        if state.names(parent(path))?.now.contains_key(&name_of(path)) {
            return Err(Errno::EXIST.into());
        }
        let inode = state.calls;
        state.files.insert(inode, Inode::default());
        state.names(parent(path))?.change(Naming::Put(name_of(path), Node::File(inode)));
        Ok(SimFile { disk: Arc::clone(self), inode })
    }

    pub(in crate::store) fn open(self: &Arc<Self>, path: &Path) -> io::Result<SimFile> {
        let mut state = self.state();
        state.enter(Call::Open)?;
        match state.names(parent(path))?.now.get(&name_of(path)) {
            Some(Node::File(inode)) => Ok(SimFile { disk: Arc::clone(self), inode: *inode }),
            Some(Node::Dir) => Err(Errno::ISDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    pub(in crate::store) fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.state();
        state.enter(Call::Exists)?;
        Ok(state.names(parent(path)).is_ok_and(|names| names.now.contains_key(&name_of(path))))
    }

    pub(in crate::store) fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.enter(Call::Names)?;
        Ok(state.names(dir)?.now.keys().cloned().collect())
    }

    pub(in crate::store) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter(Call::Rename)?;
        assert_eq!(parent(from), parent(to), "the store renames within a directory");
        let names = state.names(parent(from))?;
        let node = *names.now.get(&name_of(from)).ok_or(Errno::NOENT)?;
        names.change(Naming::Rename(name_of(from), name_of(to), node));
        Ok(())
    }

    pub(in crate::store) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter(Call::Remove)?;
        let names = state.names(parent(path))?;
        if !names.now.contains_key(&name_of(path)) {
            return Err(Errno::NOENT.into());
        }
        names.change(Naming::Remove(name_of(path)));
        Ok(())
    }

    pub(in crate::store) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let entered = state.enter(Call::SyncDir);
        let is_ignored = state.ignored == Some(Durable::Names);
        // No descriptor to be had: the barrier never began.
        let has_begun = entered != Err(Errno::MFILE);
        state.lost |= entered.is_err() && has_begun;
        if state.is_gone {
            return Err(Errno::IO.into());
        }
        let names = state.names(dir)?;
        match entered {
            Ok(()) if is_ignored => {}
            Ok(()) => {
                for naming in std::mem::take(&mut names.since) {
                    naming.apply(&mut names.durable);
                }
            }
            Err(_) if has_begun => names.since.clear(),
            Err(_) => {}
        }
        entered.map_err(Into::into)
    }

    /// What the index of this vault says of `key`.
    pub(in crate::store) fn index_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.state().index.now.get(key).cloned()
    }

    /// Puts these into the index, together.
    pub(in crate::store) fn put_in_index(&self, all: Vec<Said>) {
        let mut state = self.state();
        if !state.is_gone {
            state.index.take(&all);
            state.index.puts.push(all);
        }
    }

    /// Makes the index as it is durable.
    pub(in crate::store) fn flush_index(&self) {
        let mut state = self.state();
        if !state.is_gone {
            state.index.flushed = state.index.puts.len();
        }
    }

    /// Begins the index anew.
    pub(in crate::store) fn clear_index(&self) {
        let mut state = self.state();
        if !state.is_gone {
            state.index = Index::default();
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_named(dirs: &BTreeMap<PathBuf, Names>, dir: &Path) -> bool {
    dir == Path::new("/")
        || dirs
            .get(parent(dir))
            .is_some_and(|above| above.now.get(&name_of(dir)) == Some(&Node::Dir))
}

impl State {
    fn names(&mut self, dir: &Path) -> Result<&mut Names, Errno> {
        self.dirs.get_mut(dir).ok_or(Errno::NOENT)
    }

    fn file(&mut self, inode: u64) -> Result<&mut Inode, Errno> {
        self.files.get_mut(&inode).ok_or(Errno::BADF)
    }

    /// Counts a call; says whether and how it fails as a whole.
    fn enter(&mut self, call: Call) -> Result<(), Errno> {
        match self.strike(call) {
            None | Some(Wrong::Short) => Ok(()),
            Some(Wrong::Broken | Wrong::Killed) => Err(Errno::IO),
            Some(Wrong::Full) => Err(Errno::NOSPC),
            Some(Wrong::Interrupted) => Err(Errno::INTR),
            Some(Wrong::NoMoreFiles) => Err(Errno::MFILE),
        }
    }

    /// Counts a call; says what is wrong with it.
    fn strike(&mut self, call: Call) -> Option<Wrong> {
        if self.is_gone {
            return Some(Wrong::Killed);
        }
        if self.is_calm {
            return None;
        }
        self.calls += 1;
        self.trace.push(call);
        let Fault { at, wrong, for_ever } = self.fault?;
        let is_now = self.calls == at || for_ever && self.calls > at;
        let is_between =
            wrong == Wrong::Interrupted && !(self.calls - at.min(self.calls)).is_multiple_of(2);
        if !is_now || is_between || !wrong.befalls(call) {
            return None;
        }
        self.struck = true;
        self.is_gone = wrong == Wrong::Killed;
        Some(wrong)
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.since.push(change);
    }

    fn crash(&mut self, crash: Crash, rng: &mut Rng) {
        let length = self.now.len();
        let since = std::mem::take(&mut self.since);
        match crash {
            Crash::Process | Crash::Nothing => {}
            Crash::Prefix => self.keep_prefix(&since, rng),
            Crash::Pieces(grain) => {
                self.keep_pieces(&since, grain, rng);
                if rng.chance(50) && self.durable.len() < length {
                    self.durable.resize(length, 0);
                }
            }
            Crash::Lengths => {
                if self.durable.len() < length {
                    self.durable.resize(length, 0);
                }
            }
        }
        self.now.clone_from(&self.durable);
    }

    fn keep_prefix(&mut self, since: &[Change], rng: &mut Rng) {
        let whole = rng.below(since.len() as u64 + 1) as usize;
        since[..whole].iter().for_each(|change| change.apply(&mut self.durable));
        if let Some(Change::Write(offset, bytes)) = since.get(whole) {
            let kept = rng.below(bytes.len() as u64 + 1) as usize;
            Change::Write(*offset, bytes[..kept].to_vec()).apply(&mut self.durable);
        }
    }

    fn keep_pieces(&mut self, since: &[Change], grain: u64, rng: &mut Rng) {
        let percent = *rng.pick(&[25, 50, 75, 95]).expect("four");
        for change in since {
            let Change::Write(offset, bytes) = change else {
                if rng.chance(percent) {
                    change.apply(&mut self.durable);
                }
                continue;
            };
            let mut at = 0;
            while at < bytes.len() {
                let start = offset + at as u64;
                let end = bytes.len().min(at + (grain - start % grain) as usize);
                if rng.chance(percent) {
                    Change::Write(start, bytes[at..end].to_vec()).apply(&mut self.durable);
                }
                at = end;
            }
        }
    }
}

impl Names {
    fn crash(&mut self, crash: Crash, rng: &mut Rng) {
        let since = std::mem::take(&mut self.since);
        let kept = match crash {
            Crash::Process | Crash::Nothing => 0,
            _ => rng.below(since.len() as u64 + 1),
        };
        let is_prefix = matches!(crash, Crash::Nothing | Crash::Prefix);
        for (i, naming) in since.iter().enumerate() {
            if if is_prefix { (i as u64) < kept } else { rng.chance(50) } {
                naming.apply(&mut self.durable);
            }
        }
        self.now.clone_from(&self.durable);
    }
}

impl Index {
    fn take(&mut self, all: &[Said]) {
        for (key, value) in all {
            match value {
                Some(value) => self.now.insert(key.clone(), value.clone()),
                None => self.now.remove(key),
            };
        }
    }

    fn crash(&mut self, rng: &mut Rng) {
        let kept = match rng.below(4) {
            0 => 0,
            1 => self.puts.len(),
            _ => rng.below(self.puts.len() as u64 + 1) as usize,
        };
        self.puts.truncate(kept.max(self.flushed));
        self.now.clear();
        for all in std::mem::take(&mut self.puts) {
            self.take(&all);
            self.puts.push(all);
        }
    }
}

/// An open file of a simulated disk.
pub(in crate::store) struct SimFile {
    disk: Arc<SimDisk>,
    inode: u64,
}

impl SimFile {
    pub(in crate::store) fn read_some_at(
        &self,
        bytes: &mut [u8],
        offset: u64,
    ) -> Result<usize, Errno> {
        let mut state = self.disk.state();
        let wrong = state.strike(Call::Read);
        let file = state.file(self.inode)?;
        let there = file.now.get(offset as usize..).unwrap_or_default();
        let length = match wrong {
            Some(Wrong::Short) => there.len().min(bytes.len()).div_ceil(2),
            Some(Wrong::Interrupted) => return Err(Errno::INTR),
            Some(_) => return Err(Errno::IO),
            None => there.len().min(bytes.len()),
        };
        bytes[..length].copy_from_slice(&there[..length]);
        Ok(length)
    }

    pub(in crate::store) fn write_some_at(
        &self,
        slices: &[IoSlice<'_>],
        offset: u64,
    ) -> Result<usize, Errno> {
        let mut state = self.disk.state();
        let was_gone = state.is_gone;
        let wrong = state.strike(Call::Write);
        if std::mem::take(&mut state.is_refusing) {
            return Err(Errno::NOSPC);
        }
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let part = state.rng.below(bytes.len() as u64) as usize;
        match wrong {
            None => {}
            Some(Wrong::Short) => bytes.truncate(bytes.len().div_ceil(2)),
            Some(Wrong::Interrupted) => return Err(Errno::INTR),
            Some(Wrong::Killed) if !was_gone => bytes.truncate(part),
            Some(Wrong::Full) if part > 0 => {
                bytes.truncate(part);
                state.is_refusing = true;
            }
            Some(Wrong::Full) => return Err(Errno::NOSPC),
            Some(_) => return Err(Errno::IO),
        }
        let length = bytes.len();
        state.file(self.inode)?.change(Change::Write(offset, bytes));
        if wrong == Some(Wrong::Killed) { Err(Errno::IO) } else { Ok(length) }
    }

    pub(in crate::store) fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.enter(Call::SetLen)?;
        state.file(self.inode)?.change(Change::SetLen(length));
        Ok(())
    }

    pub(in crate::store) fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        // What a signal cuts short is taken up again below this seam.
        let entered = loop {
            match state.enter(Call::Write) {
                Err(Errno::INTR) => {}
                entered => break entered,
            }
        };
        entered?;
        let file = state.file(self.inode)?;
        let length = (file.now.len() as u64).saturating_sub(offset).min(length);
        file.change(Change::Write(offset, vec![0; length as usize]));
        Ok(())
    }

    pub(in crate::store) fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.enter(Call::Length)?;
        Ok(state.file(self.inode)?.now.len() as u64)
    }

    pub(in crate::store) fn sync(&self, durable: Durable) -> io::Result<()> {
        let mut state = self.disk.state();
        let entered = state.enter(Call::Sync);
        if state.is_gone {
            return Err(Errno::IO.into());
        }
        state.lost |= entered.is_err();
        state.has_lost_packs |= entered.is_err() && durable == Durable::Packs;
        let is_ignored = state.ignored == Some(durable);
        let file = state.file(self.inode)?;
        match entered {
            Ok(()) if is_ignored => {}
            Ok(()) => {
                for change in std::mem::take(&mut file.since) {
                    change.apply(&mut file.durable);
                }
            }
            // What could not be written is marked as clean, and forgotten.
            Err(_) => file.since.clear(),
        }
        entered.map_err(Into::into)
    }
}
