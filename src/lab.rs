//! What only a lab build does: die at a named step, leave out a barrier, and remember every key with
//! its message.
//!
//! In a release all of these calls are empty. A lab build (`KLUIS_LAB=1` at build time, see `build.rs`) is
//! what `make test` runs, so that "every step of a commit survives a crash" and "one key, one
//! message" are observed over the whole suite and not argued.
//!
//! * `KLUIS_LAB_KILL=<step>:<n>`: the n-th time the process reaches that step, SIGKILL to itself.
//! * `KLUIS_LAB_NO_SYNC=<name>`: never wait for what this barrier makes durable: `packs`, `ledger`,
//!   `cabinet`, `key`, `dir`, `quarantine`, `backup`. A harness that cuts the power proves with it that it can
//!   fail.
//! * `KLUIS_LAB_FAIL_SYNC=<name>:<n>`: the n-th of these barriers fails, as on a bad disk.
//! * `KLUIS_LAB_STEPS=<file>`: append the name of each step reached, one a line.
//! * `KLUIS_LAB_RECORD=<file>`: append BLAKE3(key) ‖ BLAKE3(all the cipher saw), 64 bytes a seal.
//! * `KLUIS_LAB_MEMORY=mlock|unlocked`: secrets are no further out of reach, as on an older kernel.
//! * `KLUIS_LAB_OPEN=<64 hexadecimal digits>`: the process leaves a core dump, and keeps these 32
//!   bytes in ordinary memory: whoever looks into it must find them.
//! * `KLUIS_LAB_TIME=<seconds>`: for the server and the doctor it is this long after 1970, and stays so.
//! * `KLUIS_LAB_HURRY=<n>`: upkeep comes round so many times as often, and time goes by as quickly for it.
//! * `KLUIS_LAB_ROOM=<bytes>`: letters may take so much memory, and not a part of the machine's.
//! * `KLUIS_LAB_LINGER=1`: a command that is done waits for the end of its standard input.
//! * `KLUIS_LAB_SECRETS=<file>`: append each secret that rests nowhere else, in hexadecimal.

/// Marks a step that a crash must survive.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub fn step(_name: &'static str) {}

/// Whether the barrier of this name is to be left out.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub fn skips(_barrier: &'static str) -> bool {
    false
}

/// Whether the barrier of this name is to fail now.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub fn fails(_barrier: &'static str) -> bool {
    false
}

/// Remembers that `key` sealed the message made of `parts`.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub fn sealed(_key: &[u8], _parts: &[&[u8]]) {}

/// How far secrets may be out of reach at best.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub(crate) fn best_reach() -> Reach {
    Reach::Secret
}

/// Whether the process is not to be closed to onlookers.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub(crate) fn stays_open() -> bool {
    false
}

/// Waits until the lab has looked at a command that is done.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub(crate) fn linger() {}

/// The clock of the server and the doctor.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub(crate) fn clock() -> Clock {
    Clock::System
}

/// How many times as often upkeep comes round.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub(crate) fn hurry() -> u32 {
    1
}

/// The memory that letters may take, where the lab says so.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub(crate) fn room() -> Option<usize> {
    None
}

/// Tells the lab a secret that rests nowhere else.
#[cfg(not(kluis_lab))]
#[inline(always)]
pub(crate) fn tell(_secret: &[u8; 32]) {}

/// Whether this is a lab build.
pub const IS_LAB: bool = cfg!(kluis_lab);

#[cfg(kluis_lab)]
pub(crate) use on::{best_reach, clock, hurry, linger, room, stays_open, tell};
#[cfg(kluis_lab)]
pub use on::{fails, sealed, skips, step};

use crate::clock::Clock;
use crate::secret::Reach;

#[cfg(kluis_lab)]
mod on {
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use data_encoding::HEXLOWER;

    use super::{Clock, Reach};

    static KILL: LazyLock<Option<(String, u64)>> = LazyLock::new(|| counted("KLUIS_LAB_KILL"));
    static FAIL_SYNC: LazyLock<Option<(String, u64)>> =
        LazyLock::new(|| counted("KLUIS_LAB_FAIL_SYNC"));
    static NO_SYNC: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("KLUIS_LAB_NO_SYNC").ok());
    static REACHED: AtomicU64 = AtomicU64::new(0);
    static ASKED: AtomicU64 = AtomicU64::new(0);
    static STEPS: LazyLock<Option<File>> = LazyLock::new(|| append("KLUIS_LAB_STEPS"));
    static RECORD: LazyLock<Option<File>> = LazyLock::new(|| append("KLUIS_LAB_RECORD"));

    static SECRETS: LazyLock<Option<File>> = LazyLock::new(|| append("KLUIS_LAB_SECRETS"));
    /// What is to be found in ordinary memory.
    static CONTROL: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
        let digits = std::env::var("KLUIS_LAB_OPEN").ok()?;
        Some(HEXLOWER.decode(digits.as_bytes()).expect("hexadecimal digits"))
    });

    /// The memory that letters may take, where the lab says so.
    pub(crate) fn room() -> Option<usize> {
        let bytes = std::env::var("KLUIS_LAB_ROOM").ok()?;
        Some(bytes.parse().expect("a number of bytes"))
    }

    /// How far secrets may be out of reach at best.
    pub(crate) fn best_reach() -> Reach {
        match std::env::var("KLUIS_LAB_MEMORY").as_deref() {
            Ok("unlocked") => Reach::Unlocked,
            Ok("mlock") => Reach::Locked,
            _ => Reach::Secret,
        }
    }

    /// Whether the process is not to be closed to onlookers.
    pub(crate) fn stays_open() -> bool {
        CONTROL.is_some()
    }

    /// Waits until the lab has looked at a command that is done.
    pub(crate) fn linger() {
        if std::env::var_os("KLUIS_LAB_LINGER").is_some() {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        }
    }

    /// The clock of the server and the doctor.
    pub(crate) fn clock() -> Clock {
        let wish = std::env::var("KLUIS_LAB_TIME").ok().and_then(|text| text.parse().ok());
        wish.map_or(Clock::System, Clock::Fixed)
    }

    /// How many times as often upkeep comes round.
    pub(crate) fn hurry() -> u32 {
        let times = std::env::var("KLUIS_LAB_HURRY").ok();
        times.map_or(1, |times| times.parse().expect("how many times"))
    }

    /// Tells the lab a secret that rests nowhere else.
    pub(crate) fn tell(secret: &[u8; 32]) {
        if let Some(mut file) = SECRETS.as_ref() {
            let line = HEXLOWER.encode(secret) + "\n";
            file.write_all(line.as_bytes()).expect("the lab's file takes a line");
        }
    }

    /// `<name>:<n>`.
    fn counted(variable: &str) -> Option<(String, u64)> {
        let wish = std::env::var(variable).ok()?;
        let (name, count) = wish.rsplit_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    }

    fn append(variable: &str) -> Option<File> {
        let path = std::env::var_os(variable)?;
        Some(OpenOptions::new().create(true).append(true).open(path).expect("the lab's file opens"))
    }

    /// Marks a step that a crash must survive.
    pub fn step(name: &'static str) {
        if let Some(mut file) = STEPS.as_ref() {
            file.write_all(format!("{name}\n").as_bytes()).expect("the lab's file takes a line");
        }
        if let Some((wanted, count)) = KILL.as_ref()
            && wanted == name
            && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *count
        {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .expect("a process may kill itself");
        }
    }

    /// Whether the barrier of this name is to be left out.
    pub fn skips(barrier: &'static str) -> bool {
        NO_SYNC.as_deref() == Some(barrier)
    }

    /// Whether the barrier of this name is to fail now.
    pub fn fails(barrier: &'static str) -> bool {
        let wish = FAIL_SYNC.as_ref();
        wish.is_some_and(|(name, count)| {
            name == barrier && ASKED.fetch_add(1, Ordering::SeqCst) + 1 == *count
        })
    }

    /// Remembers that `key` sealed the message made of `parts`.
    pub fn sealed(key: &[u8], parts: &[&[u8]]) {
        if let Some(mut file) = RECORD.as_ref() {
            let mut message = blake3::Hasher::new();
            for part in parts {
                message.update(&(part.len() as u64).to_le_bytes());
                message.update(part);
            }
            let mut row = [0; 64];
            row[..32].copy_from_slice(blake3::hash(key).as_bytes());
            row[32..].copy_from_slice(message.finalize().as_bytes());
            file.write_all(&row).expect("the lab's file takes a row");
        }
    }
}
