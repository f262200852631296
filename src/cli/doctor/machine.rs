//! What the machine does with memory, whether its clock can be right, and what its kernel and its
//! libraries have.

use std::io;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::{Check, Finding, problem, warning, well};
use crate::cli::{Error, print, session};
use crate::reply::openpgp;
use crate::sandbox::models;
use crate::secret::{self, Reach};

/// What the machine says of itself.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) kernel: Kernel,
    /// How far secrets are out of reach.
    pub(super) reach: Reach,
    /// Bytes that may be locked; none if there is no limit.
    pub(super) lockable: Option<u64>,
    /// Seconds since 1970.
    pub(super) now: u64,
    /// The version of Landlock that letters are parsed under, 0 for none; or why they are not.
    pub(super) confined: Result<u8, String>,
    /// Whether OpenPGP has OCB here.
    pub(super) has_ocb: bool,
    /// Whether the models that read pictures are there.
    pub(super) has_models: bool,
}

/// What the kernel says in files; none where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// /proc/swaps
    pub(super) swaps: Option<String>,
    /// /sys/power/state
    pub(super) power: Option<String>,
    /// /proc/sys/kernel/core_pattern
    pub(super) core_pattern: Option<String>,
}

impl Kernel {
    /// Reads them below `root`.
    pub(super) fn read(root: &Path) -> Self {
        let read = |path| std::fs::read_to_string(root.join(path)).ok();
        Self {
            swaps: read("proc/swaps"),
            power: read("sys/power/state"),
            core_pattern: read("proc/sys/kernel/core_pattern"),
        }
    }
}

/// Locked memory that the server and the agent need: room for thirty thousand keys at once.
const LOCKED: u64 = 1 << 20;
/// The first day that this version can run on: 2026-01-01, in seconds since 1970.
const EARLIEST: u64 = 1_767_225_600;
/// A clock beyond this is wrong: 2100-01-01.
const LATEST: u64 = 4_102_444_800;
/// What hides files of /proc from a service.
const HIDDEN: &str = "run the doctor outside of the service (its unit may say ProcSubset=pid)";

impl Machine {
    /// Asks it; files of the kernel are read below `root`.
    ///
    /// # Errors
    /// Only where this program itself cannot be found.
    pub(super) fn read(root: &Path) -> Result<Self, Error> {
        let sandbox = session::parser()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let confined = runtime.map_err(|error: io::Error| error.to_string()).and_then(|runtime| {
            runtime.block_on(sandbox.landlock()).map_err(|error| error.to_string())
        });
        Ok(Self {
            kernel: Kernel::read(root),
            reach: secret::reach(),
            lockable: getrlimit(Resource::Memlock).current,
            now: crate::lab::clock().seconds(),
            confined,
            has_ocb: openpgp::has_ocb(),
            has_models: models::are_there(&models::folder()),
        })
    }

    /// What there is to say of it.
    pub(super) fn judge(&self) -> Vec<Finding> {
        let swaps = self.kernel.swaps.as_deref();
        let mut findings = vec![
            swap(swaps),
            hibernation(self.kernel.power.as_deref(), swaps),
            core_dumps(self.kernel.core_pattern.as_deref()),
            secrets(self.reach, self.lockable),
            clock(self.now),
        ];
        findings.extend(parser(&self.confined));
        findings.push(ocb(self.has_ocb));
        findings.push(pictures(self.has_models));
        findings
    }
}

/// Places that memory is swapped to, by the text of /proc/swaps; compressed memory is none.
fn swap_places(text: &str) -> Vec<&str> {
    let rows = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    rows.filter(|place| !place.starts_with("/dev/zram")).collect()
}

fn swap(swaps: Option<&str>) -> Finding {
    let Some(text) = swaps else {
        return warning(
            Check::Swap,
            "whether memory is swapped cannot be seen: there is no /proc/swaps",
            HIDDEN,
        );
    };
    match swap_places(text).as_slice() {
        [] => well(Check::Swap, "no swap"),
        places => warning(
            Check::Swap,
            format!(
                "memory is swapped to {}: what is not locked may come to rest there",
                places.join(", ")
            ),
            "swapoff -a, or swap to a device that is encrypted with a fresh key at each start",
        ),
    }
}

/// A kernel that cannot hibernate does not say `disk`, and one needs a place to write to.
fn hibernation(power: Option<&str>, swaps: Option<&str>) -> Finding {
    let can = power.unwrap_or_default().split_whitespace().any(|word| word == "disk");
    if can && !swaps.map(swap_places).unwrap_or_default().is_empty() {
        return warning(
            Check::Hibernation,
            "the machine can hibernate: its whole memory would come to rest",
            "systemctl mask hibernate.target hybrid-sleep.target",
        );
    }
    well(Check::Hibernation, "no hibernation")
}

fn core_dumps(pattern: Option<&str>) -> Finding {
    let Some(pattern) = pattern.map(str::trim) else {
        return warning(
            Check::CoreDumps,
            "where core dumps go cannot be seen: there is no /proc/sys/kernel/core_pattern",
            HIDDEN,
        );
    };
    if pattern.starts_with(['|', '@']) {
        return warning(
            Check::CoreDumps,
            "crashed programs hand their memory to a collector; kluis forbids it for itself only",
            "sysctl -w kernel.core_pattern=core",
        );
    }
    well(
        Check::CoreDumps,
        format!("core dumps go to no collector (core_pattern is {pattern}), and kluis leaves none"),
    )
}

/// How far secrets are out of reach on this machine, and how many of them.
fn secrets(reach: Reach, lockable: Option<u64>) -> Finding {
    let room = lockable.map_or("any amount".to_owned(), |limit| format!("{} KiB", limit >> 10));
    let means = match reach {
        Reach::Secret => "not even root can read them",
        Reach::Locked => {
            "never swapped out and in no core dump, but root can read them: a kernel of 6.5 or \
             newer, or secretmem.enable=1 at its start, would keep them from root, too"
        }
        Reach::Unlocked => "they may be swapped out, and root can read them",
    };
    let what = format!("secrets lie in {} memory: {means}; {room} can be locked", reach.word());
    if reach == Reach::Unlocked || lockable.is_some_and(|limit| limit < LOCKED) {
        warning(Check::LockedMemory, what, "LimitMEMLOCK=64M in the service, or ulimit -l")
    } else {
        well(Check::LockedMemory, what)
    }
}

fn clock(now: u64) -> Finding {
    let shown = print::moment(now / 60);
    if (EARLIEST..LATEST).contains(&now) {
        well(Check::Clock, format!("the clock says {shown}"))
    } else {
        problem(
            Check::Clock,
            format!("the clock says {shown}: due dates would be wrong"),
            "set it, and keep it right: timedatectl set-ntp true",
        )
    }
}

fn parser(confined: &Result<u8, String>) -> Vec<Finding> {
    let parsed = well(Check::Parser, "letters are parsed by a confined child under seccomp");
    match confined {
        Ok(0) => vec![
            parsed,
            warning(
                Check::Landlock,
                "letters are parsed under seccomp and resource limits alone: the kernel has no \
                 Landlock",
                "a kernel of 5.13 or newer, with landlock among the security modules (lsm=)",
            ),
        ],
        Ok(version) => vec![
            parsed,
            well(Check::Landlock, format!("that child is under Landlock {version}, too")),
        ],
        Err(why) => vec![problem(
            Check::Parser,
            format!("letters cannot be parsed: {why}"),
            "seccomp must be allowed here; some container settings forbid it",
        )],
    }
}

fn pictures(has_models: bool) -> Finding {
    if has_models {
        well(Check::Models, "copies of identity documents can be read: the models are there")
    } else {
        warning(
            Check::Models,
            "copies of identity documents are not read: the models are not there",
            "kluis doctor --fetch-models, and start the server again",
        )
    }
}

fn ocb(has_ocb: bool) -> Finding {
    if has_ocb {
        well(Check::Ocb, "OpenPGP with authenticated encryption (OCB)")
    } else {
        warning(
            Check::Ocb,
            "OpenPGP without OCB: people are not invited to the newer form of encryption",
            "an OpenSSL that has OCB (3.0 or newer, as Debian builds it)",
        )
    }
}
