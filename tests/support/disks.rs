//! Small disks of our own: a file with a file system in it behind a loop device, or a piece of
//! memory. Each is unmounted when it is dropped; the kernel then detaches its loop device by itself.
#![allow(dead_code, reason = "a release build has fewer tests than a lab build")]

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system that programs know by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
    Tmpfs,
}

impl Kind {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Tmpfs => "tmpfs",
        }
    }

    /// Why this machine has none.
    pub(crate) fn missing(self) -> Option<&'static str> {
        if !rustix::process::geteuid().is_root() {
            return Some("only root can mount");
        }
        let tool = match self {
            Kind::Tmpfs => return None,
            Kind::Ext4 => "mkfs.ext4",
            Kind::Xfs => "mkfs.xfs",
        };
        if !Path::new("/dev/loop-control").exists() {
            return Some("there are no loop devices");
        }
        (!has_program(tool)).then_some("mkfs is not installed")
    }
}

/// Whether a program can be found.
pub(crate) fn has_program(name: &str) -> bool {
    // Debian keeps some of them where only root looks.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|folder| Path::new(folder).join(name).exists())
}

/// Runs a program of the system to its end.
pub(crate) fn run(command: &mut Command) {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let ran = command.env("PATH", path).stdin(Stdio::null()).output().expect("starts");
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Makes a file system in an image of so many bytes.
pub(crate) fn make(kind: Kind, image: &Path, bytes: u64, more: &[&str]) {
    let file = File::create(image).expect("is made");
    file.set_len(bytes).expect("takes a length");
    let mut command = Command::new(format!("mkfs.{}", kind.name()));
    match kind {
        // No blocks for root alone: full is full.
        Kind::Ext4 => command.args(["-q", "-F", "-m", "0"]),
        // What is below 300 MB xfs only makes for tests.
        Kind::Xfs => command
            .args(["-q", "-f"])
            .env("TEST_DIR", "1")
            .env("TEST_DEV", "1")
            .env("QA_CHECK_FS", "1"),
        Kind::Tmpfs => panic!("tmpfs has no image"),
    };
    run(command.args(more).arg(image));
}

/// Mounts an image behind a loop device; an error if the file system itself refuses it.
pub(crate) fn mount_image(kind: Kind, image: &Path, at: &Path) -> io::Result<Mounted> {
    let mounted = Command::new("mount")
        .args(["-t", kind.name(), "-o", "loop"])
        .args([image, at])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if mounted.success() { Ok(Mounted(at.to_owned())) } else { Err(io::ErrorKind::Other.into()) }
}

/// A mounted file system, unmounted when dropped.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// What is mounted here already is ours to unmount.
    pub(crate) fn at(place: &Path) -> Self {
        Self(place.to_owned())
    }

    /// Where.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmount = |how: &[&str]| {
            let mut command = Command::new("umount");
            command.args(how).arg(&self.0).stdin(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        // A process that was just ended may hold it for a moment.
        for _ in 0..500 {
            if unmount(&[]) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        unmount(&["--lazy"]);
    }
}

/// A small disk.
pub(crate) struct Disk {
    // In this order: unmounted, then removed.
    mounted: Mounted,
    folder: tempfile::TempDir,
}

impl Disk {
    /// A disk of so many bytes; `more` goes to mkfs, or to the mount of a tmpfs.
    pub(crate) fn new(kind: Kind, bytes: u64, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let place = folder.path().join("disk");
        std::fs::create_dir(&place).expect("a directory");
        let mounted = if kind == Kind::Tmpfs {
            let size = format!("size={bytes}");
            let options = [&[size.as_str()], more].concat().join(",");
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&place));
            Mounted(place)
        } else {
            let image = folder.path().join("image");
            make(kind, &image, bytes, more);
            mount_image(kind, &image, &place).expect("mounts")
        };
        Self { mounted, folder }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Unmounts it; gives the image, and the folder that holds it.
    pub(crate) fn unmount(self) -> (PathBuf, tempfile::TempDir) {
        drop(self.mounted);
        (self.folder.path().join("image"), self.folder)
    }
}

/// Fills a disk until not one byte goes on it, into a file that can be removed.
pub(crate) fn fill(file: &Path) {
    let mut ballast = File::create(file).expect("is made");
    let piece = vec![0x55; 1 << 20];
    let mut size = piece.len();
    while size > 0 {
        match ballast.write(&piece[..size]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => size /= 2,
            Err(error) => panic!("the ballast: {error}"),
        }
    }
    let _ = ballast.sync_all();
}
