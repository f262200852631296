//! A small disk whose every write and flush is written down, in order (`blklogwrites` of QEMU,
//! exported by FUSE, behind a loop device), and what it held when the power went.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::disks::{self, Kind, Mounted};
use crate::mail_client::Numbers;

/// Bytes of the disk: the smaller, the cheaper is a state.
pub(super) const DISK: u64 = 64 << 20;
/// Where images lie: in memory, if there is such a place.
const PLACE: &str = "/dev/shm";
const SECTOR: usize = 512;
/// What a disk writes whole or not at all, at best.
const BLOCK: usize = 4096;
const DAEMON: &str = "qemu-storage-daemon";
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no such disk here.
pub(super) fn missing(kind: Kind) -> Option<&'static str> {
    kind.missing().or_else(|| {
        if !Path::new("/dev/fuse").exists() {
            return Some("there is no /dev/fuse");
        }
        (!disks::has_program(DAEMON)).then_some("qemu-storage-daemon is not installed")
    })
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(PLACE).or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// The log of a disk as it grows.
pub(super) struct Log(File);

impl Log {
    /// Entries so far. The count is brought up to date with each flush, before the flush is
    /// answered: what was durable when this was asked is in the entries before it.
    pub(super) fn count(&self) -> u64 {
        let mut count = [0; 8];
        self.0.read_exact_at(&mut count, 16).expect("the log has a head");
        u64::from_le_bytes(count)
    }
}

/// A disk at work.
pub(super) struct Recorder {
    // In this order: unmounted, then without its daemon, then removed.
    mounted: Mounted,
    daemon: Daemon,
    folder: tempfile::TempDir,
    base: Vec<u8>,
}

/// The daemon, and the file that it exports the disk as.
struct Daemon {
    child: Child,
    export: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM: it takes the export away and writes the last of the log.
        let id = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let _ = Command::new("umount").arg("--lazy").arg(&self.export).status();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Recorder {
    pub(super) fn new(kind: Kind) -> Self {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let (disk, log, export, place) = (path("disk"), path("log"), path("export"), path("m"));
        disks::make(kind, &disk, DISK, &[]);
        let base = std::fs::read(&disk).expect("is read");
        File::create(&log).and_then(|file| file.set_len(4 << 30)).expect("is made");
        File::create(&export).expect("is made");
        std::fs::create_dir(&place).expect("is made");
        let node = |text: &str, path: &Path| format!("{text},filename={}", path.display());
        let child = Command::new(DAEMON)
            .arg("--blockdev")
            .arg(node("driver=file,node-name=f,discard=unmap", &disk))
            .arg("--blockdev")
            .arg(node("driver=file,node-name=l", &log))
            .args([
                "--blockdev",
                "driver=blklogwrites,node-name=w,file=f,log=l,log-sector-size=512",
            ])
            .arg("--export")
            .arg(format!(
                "type=fuse,id=e,node-name=w,writable=on,allow-other=off,mountpoint={}",
                export.display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        let mut daemon = Daemon { child, export };
        let start = Instant::now();
        while std::fs::metadata(&daemon.export).map_or(0, |found| found.len()) != DISK {
            let ended = daemon.child.try_wait().expect("is asked");
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "no export: {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mounted = mount_export(kind, &daemon.export, &place);
        Self { mounted, daemon, folder, base }
    }

    pub(super) fn path(&self) -> &Path {
        self.mounted.path()
    }

    pub(super) fn log(&self) -> Log {
        Log(File::open(self.folder.path().join("log")).expect("is there"))
    }

    /// Unmounts the disk and reads what was written down.
    pub(super) fn finish(self) -> Recording {
        drop(self.mounted);
        drop(self.daemon);
        let log = Log(File::open(self.folder.path().join("log")).expect("is there"));
        let count = log.count();
        let recording = Recording { entries: read_log(&log.0, count), base: self.base };
        let disk = std::fs::read(self.folder.path().join("disk")).expect("is read");
        assert!(recording.at_last() == disk, "the log is not what was written to the disk");
        recording
    }
}

/// Mounts the export behind a loop device; nothing is cached in between, the export takes no part in
/// the page cache. The device goes one request after the other: told to go past the page cache
/// itself (--direct-io) it would have several under way, and up to QEMU 10.0 the export then mixes
/// their bytes up. The device is taken away as soon as it is not needed any more.
fn mount_export(kind: Kind, export: &Path, place: &Path) -> Mounted {
    let mut attach = Command::new("losetup");
    attach.args(["--find", "--show"]).arg(export).stdin(Stdio::null());
    let attached = attach.output().expect("starts");
    let device = String::from_utf8(attached.stdout).expect("a path");
    let device = device.trim();
    assert!(device.starts_with("/dev/loop"), "{}", String::from_utf8_lossy(&attached.stderr));
    let mount = Command::new("mount")
        .args(["-t", kind.name(), device])
        .arg(place)
        .status()
        .expect("starts");
    // In use, it goes with its last user.
    disks::run(Command::new("losetup").args(["--detach", device]));
    assert!(mount.success(), "the disk does not mount");
    Mounted::at(place)
}

/// One entry of a log.
struct Written {
    offset: usize,
    data: Vec<u8>,
    is_flush: bool,
}

/// Everything that a disk was told, and what it held before.
pub(super) struct Recording {
    base: Vec<u8>,
    entries: Vec<Written>,
}

/// The format of dm-log-writes: a head, then for each entry a sector that says what, and its data.
fn read_log(file: &File, count: u64) -> Vec<Written> {
    let mut at = SECTOR as u64;
    (0..count)
        .map(|_| {
            let mut head = [0; 32];
            file.read_exact_at(&mut head, at).expect("an entry");
            let number =
                |i: usize| u64::from_le_bytes(head[8 * i..8 * i + 8].try_into().expect("8 bytes"));
            let (sector, sectors, flags) = (number(0), number(1), number(2));
            at += SECTOR as u64;
            let is_discard = flags & 4 != 0;
            let mut data = vec![0; if is_discard { 0 } else { sectors as usize * SECTOR }];
            file.read_exact_at(&mut data, at).expect("its data");
            at += data.len() as u64;
            Written { offset: sector as usize * SECTOR, data, is_flush: flags & 1 != 0 }
        })
        .collect()
}

/// Where the power goes: after this many entries, each of them durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) durable: u64,
    /// What comes after them, up to the next flush, is there in part.
    end: usize,
}

impl Recording {
    /// The disk when all of it was written.
    fn at_last(&self) -> Vec<u8> {
        let mut disk = self.base.clone();
        for entry in &self.entries {
            disk[entry.offset..][..entry.data.len()].copy_from_slice(&entry.data);
        }
        disk
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Every flush from entry `from` on, and what follows it until the next one.
    pub(super) fn cuts(&self, from: u64) -> Vec<Cut> {
        let flushes: Vec<usize> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(at, entry)| entry.is_flush && *at as u64 >= from)
            .map(|(at, _)| at)
            .collect();
        let ends = flushes.iter().skip(1).copied().chain([self.entries.len()]);
        flushes.iter().zip(ends).map(|(at, end)| Cut { durable: *at as u64 + 1, end }).collect()
    }
}

/// A disk as it was when the power went, made cut by cut in the order of time.
pub(super) struct Replay<'a> {
    recording: &'a Recording,
    /// All that was durable at `at`.
    durable: Vec<u8>,
    at: usize,
    folder: tempfile::TempDir,
    kind: Kind,
}

impl<'a> Replay<'a> {
    pub(super) fn new(kind: Kind, recording: &'a Recording) -> Self {
        let folder = folder();
        std::fs::create_dir(folder.path().join("m")).expect("is made");
        Self { recording, durable: recording.base.clone(), at: 0, folder, kind }
    }

    /// The disk after a cut. Without numbers nothing that was not flushed is there; with them a
    /// random part of it is, in whole blocks of 4 KiB, whatever the order it was written in.
    /// Nothing if the file system itself cannot make sense of it.
    pub(super) fn state(&mut self, cut: Cut, numbers: Option<&mut Numbers>) -> Option<Mounted> {
        let upto = cut.durable as usize;
        assert!(upto >= self.at, "cuts come in the order of time");
        for entry in &self.recording.entries[self.at..upto] {
            self.durable[entry.offset..][..entry.data.len()].copy_from_slice(&entry.data);
        }
        self.at = upto;
        let image = self.folder.path().join("image");
        let file = File::create(&image).expect("is made");
        write_sparse(&file, &self.durable);
        if let Some(numbers) = numbers {
            for entry in &self.recording.entries[upto..cut.end] {
                write_torn(&file, entry, numbers);
            }
        }
        drop(file);
        disks::mount_image(self.kind, &image, &self.folder.path().join("m")).ok()
    }
}

fn write_sparse(file: &File, bytes: &[u8]) {
    const PIECE: usize = 256 << 10;
    file.set_len(bytes.len() as u64).expect("takes a length");
    for (i, piece) in bytes.chunks(PIECE).enumerate() {
        if piece.iter().any(|&byte| byte != 0) {
            file.write_all_at(piece, (i * PIECE) as u64).expect("is written");
        }
    }
}

/// Two writes of five are there, two are not, one is torn.
fn write_torn(file: &File, entry: &Written, numbers: &mut Numbers) {
    let fate = numbers.draw() % 5;
    if fate < 2 {
        return;
    }
    for (i, block) in entry.data.chunks(BLOCK).enumerate() {
        if fate < 4 || numbers.draw().is_multiple_of(2) {
            file.write_all_at(block, (entry.offset + i * BLOCK) as u64).expect("is written");
        }
    }
}

#[test]
fn a_cut_keeps_what_was_flushed_and_nothing_that_was_not() {
    let entry = |offset: usize, byte: u8, is_flush: bool| Written {
        offset,
        data: if is_flush { Vec::new() } else { vec![byte; BLOCK] },
        is_flush,
    };
    let recording = Recording {
        base: vec![0; 4 * BLOCK],
        entries: vec![
            entry(0, 1, false),
            entry(0, 0, true),
            entry(BLOCK, 2, false),
            entry(0, 0, true),
            entry(0, 3, false),
        ],
    };
    let cuts = recording.cuts(1);
    assert_eq!(cuts.iter().map(|cut| (cut.durable, cut.end)).collect::<Vec<_>>(), [(2, 3), (4, 5)]);
    assert_eq!(recording.cuts(2).len(), 1);
    // No file system is in it, so that it does not mount; the image is what is looked at.
    let mut replay = Replay::new(Kind::Ext4, &recording);
    let image = replay.folder.path().join("image");
    let mut seen = std::collections::BTreeSet::new();
    for cut in cuts {
        assert!(replay.state(cut, None).is_none());
        let bytes = std::fs::read(&image).expect("is read");
        assert_eq!([bytes[0], bytes[BLOCK]], if cut.durable == 2 { [1, 0] } else { [1, 2] });
        let mut numbers = Numbers::new(7);
        for _ in 0..50 {
            replay.state(cut, Some(&mut numbers));
            let bytes = std::fs::read(&image).expect("is read");
            seen.insert([bytes[0], bytes[BLOCK]]);
        }
    }
    assert_eq!(seen, [[1, 0], [1, 2], [3, 2]].into());
}
