//! What a child gives up before it sees a byte of a letter.
//!
//! In layers, so that one missing in the kernel leaves the others: inherited descriptors closed,
//! resource limits, Landlock (files, TCP, signals: as far as the kernel has it), and a seccomp
//! filter that needs nothing of the rest: it lists what is allowed, and everything else ends the
//! process. Without seccomp a child refuses to work; without Landlock it works and says so.

use std::collections::BTreeMap;
use std::io;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr as _, Scope,
};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

/// The newest Landlock version whose rights are all asked for; older kernels give what they have.
pub(super) const NEWEST: ABI = ABI::V6;

/// Address space of a child: a letter of 64 MiB several times over, with the program and its stack.
pub(super) const MEMORY: u64 = 1 << 30;

/// What concerns the whole process: no survival of the parent, no debugger, no core, no inherited
/// descriptor, no file. Returns the Landlock version in force, 0 for none.
///
/// # Errors
/// The kernel's refusal; the process must not go on then.
pub(super) fn shut(abi: ABI) -> io::Result<u8> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    crate::secret::harden_process()?;
    close_inherited()?;
    restrict_files(abi)
}

/// Takes the resources away. Threads count as processes, so it comes after the last was started.
///
/// # Errors
/// As [`shut`].
pub(super) fn limit(memory: u64) -> io::Result<()> {
    for (resource, limit) in [
        (Resource::As, memory),
        (Resource::Nofile, 3),
        (Resource::Nproc, 0),
        (Resource::Fsize, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

/// Closes every descriptor above standard error: what a parent leaked is none of a child's.
///
/// # Errors
/// The kernel's refusal.
#[allow(unsafe_code, reason = "closing descriptors that nobody here owns")]
pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: the process has just started; no object of ours holds a descriptor above 2.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A Landlock ruleset without a single rule: everything it knows of is denied.
fn restrict_files(abi: ABI) -> io::Result<u8> {
    if abi == ABI::Unsupported {
        return Ok(0);
    }
    let mut rules =
        Ruleset::default().handle_access(AccessFs::from_all(abi)).map_err(io::Error::other)?;
    if abi >= ABI::V4 {
        rules = rules.handle_access(AccessNet::from_all(abi)).map_err(io::Error::other)?;
    }
    if abi >= ABI::V6 {
        rules = rules.scope(Scope::from_all(abi)).map_err(io::Error::other)?;
    }
    let status = rules
        .create()
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(io::Error::other)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi.min(abi) as u8,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    })
}

/// Lets the process do nothing from here on but compute, take memory, read its standard input,
/// write its two outputs, and leave.
///
/// Any other call kills the process: a decoder that asks for more is broken or taken over, and a
/// dead child is a finding. One exception is answered with EACCES: glibc's allocator tries to open
/// a file of /proc when it gives memory back, and does without. A wrong architecture (32 bit) is
/// killed before the list is read; x32 numbers are on no list.
///
/// # Errors
/// When the kernel has no seccomp filters, or this architecture no table.
pub(super) fn filter() -> io::Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let quiet = BTreeMap::from([(libc::SYS_openat, vec![])]);
    let deny = SeccompAction::Errno(libc::EACCES as u32);
    // Of two filters the stricter answer counts; both see every thread.
    for (rules, otherwise, matched) in [
        (quiet, SeccompAction::Allow, deny),
        (allowed()?, SeccompAction::KillProcess, SeccompAction::Allow),
    ] {
        let program: BpfProgram = SeccompFilter::new(rules, otherwise, matched, arch)
            .and_then(TryInto::try_into)
            .map_err(io::Error::other)?;
        apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// System calls by number; an empty list of rules allows a call with any arguments.
fn allowed() -> io::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let own_process = u64::from(std::process::id());
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_openat, // reaches the other filter's EACCES
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
    ]
    .into_iter()
    .map(|call| (call, vec![]))
    .collect();
    let not_executable = || when(&[(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)]);
    let to_output = |output| when(&[(0, SeccompCmpOp::Eq, output)]);
    // abort(3) signals itself.
    let abort = [(0, SeccompCmpOp::Eq, own_process), (2, SeccompCmpOp::Eq, libc::SIGABRT as u64)];
    calls.extend([
        (libc::SYS_read, vec![when(&[(0, SeccompCmpOp::Eq, 0)])?]),
        (libc::SYS_write, vec![to_output(1)?, to_output(2)?]),
        (libc::SYS_mmap, vec![not_executable()?]),
        (libc::SYS_mprotect, vec![not_executable()?]),
        (libc::SYS_tgkill, vec![when(&abort)?]),
    ]);
    Ok(calls)
}

/// A rule that holds when every (argument, comparison, value) does. Compared are 32 bits, which
/// is what the kernel takes of a descriptor, a protection, a process id and a signal.
pub(super) fn when(conditions: &[(u8, SeccompCmpOp, u64)]) -> io::Result<SeccompRule> {
    conditions
        .iter()
        .cloned()
        .map(|(argument, comparison, value)| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value)
        })
        .collect::<Result<_, _>>()
        .and_then(SeccompRule::new)
        .map_err(io::Error::other)
}

/// Ends the process at once: no unwinding, no handlers.
#[allow(unsafe_code, reason = "leaving without running anything more")]
pub(super) fn leave(code: i32) -> ! {
    // SAFETY: `_exit` touches no memory of ours.
    unsafe { libc::_exit(code) }
}
