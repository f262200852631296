//! HEIC pictures, which a program of Debian turns into JPEG: the one program of somebody else that is
//! started beside hostile input.
//!
//! It has a profile of its own. A child of this program takes everything away from itself, and then
//! becomes that program: it reads a file of memory and writes another one, knows the libraries that it
//! is linked with, and no other file, no network, no other process. What it writes is no more trusted than
//! what came: it goes into the ordinary confined child like any other JPEG. Without Landlock nothing
//! keeps it from files, so it is not started then.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, Scope,
};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpOp, SeccompFilter, SeccompRule, TargetArch,
    apply_filter_all_threads,
};

use super::confine::{self, NEWEST, when};
use super::{Failure, MAX_REQUEST};
use crate::ids::random;

/// The program, at the one place where it is looked for.
pub const PROGRAM: &str = "/usr/bin/heif-convert";
/// The hidden command that becomes it.
pub const CONFINED_CONVERT: &str = "confined-convert";

/// For one picture, on the wall; and on the processors together.
const WALL: Duration = Duration::from_secs(20);
const SECONDS: u64 = 20;
/// Address space: a picture of 50 million pixels, decoded and turned.
const MEMORY: u64 = 1 << 30;
/// The longest JPEG.
const LONGEST: u64 = 32 << 20;
/// Open files: libraries while they are loaded, and the two pictures.
const FILES: u64 = 64;
/// How good the JPEG is: letters of a card are not to blur.
const QUALITY: &str = "95";

/// Folders with libraries.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/lib", "/lib64"];
/// Where the loader finds them.
const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// Names by which the program writes its first picture: with more than one in the file it counts them.
const NAMES: [&str; 2] = ["out.jpg", "out-1.jpg"];

/// Whether the program is there.
#[must_use]
pub fn is_there() -> bool {
    Path::new(PROGRAM).exists()
}

/// The picture as a JPEG, by a child that `kluis`, this very program, starts. To give up, drop the
/// future: the child is killed.
///
/// # Errors
/// See [`Failure`]; [`Failure::Unavailable`] without the program, without Landlock, and where no child can
/// be started.
pub async fn as_jpeg(kluis: &Path, picture: &[u8]) -> Result<Vec<u8>, Failure> {
    if picture.len() > MAX_REQUEST {
        return Err(Failure::TooLarge);
    }
    if !is_there() {
        return Err(Failure::Unavailable);
    }
    let links = Links::make().map_err(|_| Failure::Unavailable)?;
    let input = memory(picture).map_err(|_| Failure::Unavailable)?;
    let mut output = memory(&[]).map_err(|_| Failure::Unavailable)?;
    let to_child = output.try_clone().map_err(|_| Failure::Unavailable)?;
    let mut child = tokio::process::Command::new(kluis)
        .arg0("kluis")
        .arg(CONFINED_CONVERT)
        .arg(&links.folder)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(to_child))
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| Failure::Unavailable)?;
    let Ok(ended) = tokio::time::timeout(WALL, child.wait()).await else {
        let _ = child.kill().await;
        return Err(Failure::TimedOut);
    };
    let ended = ended.map_err(|_| Failure::Crashed)?;
    if ended.code() == Some(super::UNCONFINED) {
        return Err(Failure::Unavailable);
    }
    let mut jpeg = Vec::new();
    output.rewind().map_err(|_| Failure::Crashed)?;
    output.take(LONGEST + 1).read_to_end(&mut jpeg).map_err(|_| Failure::Crashed)?;
    if jpeg.len() as u64 > LONGEST {
        return Err(Failure::TooLarge);
    }
    // It may have written one picture of several, and failed at the next, for which there is no place.
    if jpeg.is_empty() { Err(Failure::Crashed) } else { Ok(jpeg) }
}

/// A file of memory that holds these bytes.
fn memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("kluis-picture", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// A folder with names that the program wants for what it writes, each a link to its standard output:
/// it tells the kind of picture by the name, and a file of memory has none.
struct Links {
    folder: PathBuf,
}

impl Links {
    fn make() -> io::Result<Self> {
        let mark = u64::from_le_bytes(random());
        let folder = std::env::temp_dir().join(format!("kluis-heif-{mark:016x}"));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let links = Self { folder };
        for name in NAMES {
            symlink("/proc/self/fd/1", links.folder.join(name))?;
        }
        Ok(links)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The life of the child: takes everything away from itself, and becomes the program. `links` is the
/// folder with the name that it writes to.
pub fn child(links: &Path) -> ! {
    // Letters come first.
    let _ = rustix::process::nice(super::models::PATIENCE);
    let output = links.join(NAMES[0]);
    let fixed = ["--quiet", "-q", QUALITY, "/proc/self/fd/0"].map(OsStr::new);
    become_program(PROGRAM, &[&fixed[..], &[output.as_os_str()]].concat())
}

/// As [`child`], but becomes another program: for a look at what such a child can do.
#[cfg(kluis_lab)]
pub fn probe(program: &str, arguments: &[std::ffi::OsString]) -> ! {
    let arguments: Vec<&OsStr> = arguments.iter().map(std::ffi::OsString::as_os_str).collect();
    become_program(program, &arguments)
}

fn become_program(path: &str, arguments: &[&OsStr]) -> ! {
    let become_it = || -> io::Result<()> {
        confine::close_inherited()?;
        limit()?;
        restrict_files(path)?;
        filter()?;
        Err(std::process::Command::new(path).args(arguments).env_clear().exec())
    };
    let _ = become_it();
    confine::leave(super::UNCONFINED)
}

fn limit() -> io::Result<()> {
    for (resource, limit) in [
        (Resource::As, MEMORY),
        (Resource::Cpu, SECONDS),
        (Resource::Core, 0),
        (Resource::Fsize, LONGEST + 1),
        (Resource::Nofile, FILES),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

/// The program and its libraries may be read and run; nothing else may be opened by a path. Files of
/// memory lie under none.
fn restrict_files(program: &str) -> io::Result<()> {
    let run = AccessFs::ReadFile | AccessFs::Execute;
    let mut places = vec![(program, run), (LOADER_CACHE, AccessFs::ReadFile.into())];
    places.extend(LIBRARIES.map(|folder| (folder, run | AccessFs::ReadDir)));
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(|rules| rules.create())
        .map_err(io::Error::other)?;
    for (path, access) in places {
        // Not every machine has each of them.
        let Ok(place) = PathFd::new(path) else { continue };
        rules = rules.add_rule(PathBeneath::new(place, access)).map_err(io::Error::other)?;
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } if effective_abi != ABI::Unsupported => {
            Ok(())
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Lets the program load itself, take memory, start threads, read and write what is open, and leave.
/// Any other call is refused: another version of its libraries may ask for more, and does without.
fn filter() -> io::Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    // Its flags cannot be looked at; the C library then takes the call whose can.
    let newer = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    for (rules, otherwise, matched) in
        [(newer, SeccompAction::Allow, absent), (allowed()?, refused, SeccompAction::Allow)]
    {
        let program: BpfProgram = SeccompFilter::new(rules, otherwise, matched, arch)
            .and_then(TryInto::try_into)
            .map_err(io::Error::other)?;
        apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// System calls by number; an empty list of rules allows a call with any arguments.
fn allowed() -> io::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_clone3, // reaches the other filter's ENOSYS
        libc::SYS_close,
        libc::SYS_execve,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_fadvise64,
        libc::SYS_fcntl,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_getcwd,
        libc::SYS_getdents64,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_lseek,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_newfstatat,
        libc::SYS_openat,
        libc::SYS_pread64,
        libc::SYS_prlimit64,
        libc::SYS_read,
        libc::SYS_readlinkat,
        libc::SYS_readv,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        libc::SYS_set_tid_address,
        libc::SYS_sigaltstack,
        libc::SYS_statx,
        libc::SYS_sysinfo,
        libc::SYS_uname,
        libc::SYS_write,
        libc::SYS_writev,
    ]
    .into_iter()
    .map(|call| (call, vec![]))
    .collect();
    #[cfg(target_arch = "x86_64")]
    calls.extend(
        [libc::SYS_access, libc::SYS_arch_prctl, libc::SYS_readlink].map(|call| (call, vec![])),
    );
    // A thread, and no process.
    let thread = libc::CLONE_THREAD as u64;
    calls.insert(libc::SYS_clone, vec![when(&[(0, SeccompCmpOp::MaskedEq(thread), thread)])?]);
    // abort(3) signals itself; execve keeps the process's number.
    let own_process = u64::from(std::process::id());
    let abort = [(0, SeccompCmpOp::Eq, own_process), (2, SeccompCmpOp::Eq, libc::SIGABRT as u64)];
    calls.insert(libc::SYS_tgkill, vec![when(&abort)?]);
    Ok(calls)
}
