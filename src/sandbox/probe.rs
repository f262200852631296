//! Lab only: a child that tries to do harm, so that tests see it fail.
//!
//! Each probe is one raw system call with the arguments of an attack. `Works` marks what does no
//! harm and succeeds for anyone without confinement: the control that shows that a probe can
//! succeed at all.

use std::ffi::CStr;

use landlock::ABI;

use super::{child, confine};

/// One attempt to get out.
pub struct Probe {
    /// The request that asks for it.
    pub name: &'static str,
    /// Whether it must succeed in a child that is not confined.
    pub works: bool,
    run: fn() -> Result<(), i32>,
}

/// The life of a probing child. One argument says how far it is confined: `bare` not at all,
/// `unfiltered` all but the filter, `landlock=N` fully, at Landlock version N at most. What follows
/// marks the process for whoever counts them.
pub fn child_main(mut args: impl Iterator<Item = String>) -> ! {
    let how = args.next().unwrap_or_default();
    match how.as_str() {
        "bare" => child(answer, || Ok(0), || Ok(())),
        "unfiltered" => {
            child(answer, || confine::shut(confine::NEWEST), || confine::limit(confine::MEMORY))
        }
        _ => {
            let version = how.strip_prefix("landlock=").and_then(|n| n.parse::<i32>().ok());
            let abi = version.map_or(confine::NEWEST, |n| confine::NEWEST.min(ABI::from(n)));
            let narrow = || confine::limit(confine::MEMORY).and_then(|()| confine::filter());
            child(answer, move || confine::shut(abi), narrow)
        }
    }
}

/// What a letter that poisons the parser does to it: tests send one whose first line names it.
pub fn poison(letter: &[u8]) {
    let line = letter.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let how = line.strip_prefix(b"X-Kluis-Lab: ");
    if let Some(how @ (b"abort" | b"panic" | b"overflow" | b"allocate" | b"hang")) = how {
        answer(how);
    }
}

fn answer(request: &[u8]) -> Vec<u8> {
    if let Some(rest) = request.strip_prefix(b"echo:") {
        return rest.to_vec();
    }
    match request {
        b"abort" => std::process::abort(),
        b"panic" => panic!("as asked"),
        b"overflow" => recurse(0).to_le_bytes().to_vec(),
        b"hang" => loop {
            std::hint::spin_loop();
        },
        // Without costing time of the processor, by a call that is allowed.
        b"wait" => loop {
            std::thread::park();
        },
        b"allocate" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1u8; 1 << 20]);
            }
        }
        b"churn" => churn(),
        b"flood" => vec![0; 2 << 20],
        b"lie" => {
            let _ =
                call(libc::SYS_write, [1, u32::MAX.to_le_bytes().as_ptr() as usize, 4, 0, 0, 0]);
            Vec::new()
        }
        name => {
            match PROBES.iter().find(|probe| probe.name.as_bytes() == name).map(|p| (p.run)()) {
                Some(Ok(())) => b"ok".to_vec(),
                Some(Err(errno)) => format!("errno {errno}").into_bytes(),
                None => b"no such probe".to_vec(),
            }
        }
    }
}

/// Takes and gives back memory in every size, so that the allocator grows, trims and maps.
fn churn() -> Vec<u8> {
    for round in 0..40 {
        let blocks: Vec<Vec<u8>> = (0..200).map(|i| vec![round; (i * 997) << (i % 5)]).collect();
        let mut grown = Vec::new();
        for block in &blocks {
            grown.extend_from_slice(&block[..block.len().min(100_000)]);
        }
    }
    b"ok".to_vec()
}

#[allow(unconditional_recursion, reason = "running out of stack is the point")]
fn recurse(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    recurse(depth + 1).wrapping_add(here[7])
}

#[allow(unsafe_code, reason = "attacks are made of raw calls")]
fn call(number: i64, arguments: [usize; 6]) -> Result<(), i32> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: none is claimed. The process exists to be harmed; pointers are to static strings or
    // to locals that outlive the call.
    if unsafe { libc::syscall(number, a, b, c, d, e, f) } >= 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn text(string: &'static CStr) -> usize {
    string.as_ptr() as usize
}

fn parent() -> usize {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid() as usize)
}

fn open(path: &'static CStr, flags: i32) -> Result<(), i32> {
    call(libc::SYS_openat, [HERE, text(path), flags as usize, 0o600, 0, 0])
}

/// A file of the process that started this one.
fn open_of_parent(file: &str, flags: i32) -> Result<(), i32> {
    let path = format!("/proc/{}/{file}\0", parent());
    call(libc::SYS_openat, [HERE, path.as_ptr() as usize, flags as usize, 0, 0, 0])
}

/// A socket, and a connection of it to a name that no file has.
fn connect_abstract() -> Result<(), i32> {
    socket(libc::AF_UNIX, libc::SOCK_DGRAM)?;
    let name = *b"\x01\0\0kluis";
    call(libc::SYS_connect, [3, name.as_ptr() as usize, name.len(), 0, 0, 0])
}

/// A socket, and a connection of it to where staff talk to the server.
fn connect_server() -> Result<(), i32> {
    socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
    let name = *b"\x01\0/run/kluis/kluis.sock\0";
    call(libc::SYS_connect, [3, name.as_ptr() as usize, name.len(), 0, 0, 0])
}

/// A descriptor of the child's, on its way to whoever reads what it writes (SCM_RIGHTS).
fn send_descriptor() -> Result<(), i32> {
    // cmsghdr: length 20, level and kind 1, and one descriptor; msghdr: that, and nothing else.
    let control = [20u64, 1 | 1 << 32, 0];
    let message = [0, 0, 0, 0, control.as_ptr() as u64, 24, 0];
    call(libc::SYS_sendmsg, [1, message.as_ptr() as usize, 0, 0, 0, 0])
}

/// Runs a program that is in memory alone.
fn execute_memfd() -> Result<(), i32> {
    call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0, 0, 0])?;
    let flags = libc::AT_EMPTY_PATH as usize;
    call(libc::SYS_execveat, [3, text(c""), 0, 0, flags, 0])
}

fn own() -> usize {
    std::process::id() as usize
}

/// Children of children, as many as there can be.
fn fork_bomb() -> Result<(), i32> {
    (0..64).try_for_each(|_| fork())
}

fn socket(family: i32, kind: i32) -> Result<(), i32> {
    call(libc::SYS_socket, [family as usize, kind as usize, 0, 0, 0, 0])
}

/// A child of the child, which leaves at once.
#[allow(unsafe_code, reason = "attacks are made of raw calls")]
fn fork() -> Result<(), i32> {
    // SAFETY: the new process does nothing but leave.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        0 => confine::leave(0),
        pid if pid > 0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

/// A directory that is taken away again at once.
fn mkdir() -> Result<(), i32> {
    let path = c"/tmp/kluis-probe";
    let _ = call(libc::SYS_unlinkat, [HERE, text(path), libc::AT_REMOVEDIR as usize, 0, 0, 0]);
    call(libc::SYS_mkdirat, [HERE, text(path), 0o700, 0, 0, 0])?;
    call(libc::SYS_unlinkat, [HERE, text(path), libc::AT_REMOVEDIR as usize, 0, 0, 0])
}

/// Any descriptor above the three that belong to a child.
fn inherited() -> Result<(), i32> {
    (3..1024)
        .map(|fd| call(libc::SYS_fcntl, [fd, libc::F_GETFD as usize, 0, 0, 0, 0]))
        .find(Result::is_ok)
        .unwrap_or(Err(libc::EBADF))
}

fn map(protection: i32) -> Result<(), i32> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    call(libc::SYS_mmap, [0, 4096, protection as usize, flags as usize, usize::MAX, 0])
}

/// Makes memory that was writable executable: the second half of an exploit.
fn protect() -> Result<(), i32> {
    let page = Box::leak(vec![0u8; 3 * 4096].into_boxed_slice());
    let aligned = (page.as_ptr() as usize).next_multiple_of(4096);
    let protection = (libc::PROT_READ | libc::PROT_EXEC) as usize;
    call(libc::SYS_mprotect, [aligned, 4096, protection, 0, 0, 0])
}

/// getpid by the 32-bit entrance, past a filter that looks at numbers alone.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "attacks are made of raw calls")]
fn int80() -> Result<(), i32> {
    let mut value: i64 = 20;
    // SAFETY: the call reads no memory.
    unsafe { std::arch::asm!("int 0x80", inout("rax") value) };
    if value > 0 { Ok(()) } else { Err(-value as i32) }
}

const HERE: usize = libc::AT_FDCWD as usize;
const NEW_USER: usize = libc::CLONE_NEWUSER as usize;
const RD: i32 = libc::O_RDONLY;

macro_rules! probes {
    ($($(#[$on:meta])* $name:literal $works:ident $run:expr;)*) => {
        &[$($(#[$on])* Probe { name: $name, works: $works, run: || $run }),*]
    };
}
macro_rules! call {
    ($number:ident $(, $argument:expr)*) => {{
        let mut arguments = [0usize; 6];
        let given: &[usize] = &[$($argument),*];
        arguments[..given.len()].copy_from_slice(given);
        call(libc::$number, arguments)
    }};
}

/// Succeeds for anyone who is not confined, and does no harm.
const WORKS: bool = true;
/// Depends on privileges and kernel, or would do harm where it succeeds.
const VARIES: bool = false;

/// Every attempt, by kind: files, descriptors, network, other processes, new processes, code,
/// kernel interfaces, resources.
pub const PROBES: &[Probe] = probes! {
    "open-passwd" WORKS open(c"/etc/passwd", RD);
    "open-dotdot" WORKS open(c"/proc/../etc/passwd", RD);
    "open-root-path" WORKS open(c"/", libc::O_PATH);
    "open-own-environ" WORKS open(c"/proc/self/environ", RD);
    "open-own-maps" WORKS open(c"/proc/self/maps", RD);
    "open-by-symlink" WORKS open(c"/proc/self/cwd/../../../../../../../../etc/passwd", RD);
    "open-program" WORKS open(c"/proc/self/exe", RD);
    "open-own-mem" WORKS open(c"/proc/self/mem", libc::O_RDWR);
    "open-own-fd" WORKS open(c"/proc/self/fd", libc::O_DIRECTORY);
    "open-of-parent" WORKS open_of_parent("environ", RD);
    "open-memory-of-parent" VARIES open_of_parent("mem", RD);
    "open-files-of-parent" VARIES open_of_parent("fd/0", libc::O_WRONLY);
    "open-root-of-parent" VARIES open_of_parent("root/etc/passwd", RD);
    "open-folder-of-parent" VARIES open_of_parent("cwd", libc::O_PATH);
    "open-memory-map-of-parent" VARIES open_of_parent("maps", RD);
    "open-socket-of-parent" VARIES open_of_parent("fd/1", libc::O_PATH);
    "open-state" VARIES open(c"/var/lib/kluis/cabinet.1", RD);
    "open-own-socket" VARIES open(c"/proc/self/fd/0", libc::O_PATH);
    "open-init" VARIES open(c"/proc/1/environ", RD);
    "open-dev-null" WORKS open(c"/dev/null", libc::O_WRONLY);
    "open-dev-mem" VARIES open(c"/dev/mem", RD);
    "open-dev-tty" VARIES open(c"/dev/tty", libc::O_RDWR);
    "open-dev-shm" VARIES open(c"/dev/shm/kluis-probe", libc::O_CREAT | libc::O_RDWR);
    "open-tmpfile" VARIES open(c"/tmp", libc::O_TMPFILE | libc::O_RDWR);
    "openat2" VARIES call!(SYS_openat2, HERE, text(c"/etc/passwd"), [0u64; 3].as_ptr() as usize, 24);
    "open-by-handle" VARIES call!(SYS_open_by_handle_at, HERE, 0, 0);
    "name-to-handle" VARIES call!(SYS_name_to_handle_at, HERE, text(c"/etc/passwd"), [0u32; 40].as_mut_ptr() as usize, [0i32; 1].as_mut_ptr() as usize, 0);
    "stat" WORKS call!(SYS_statx, HERE, text(c"/etc/passwd"), 0, 0xfff, [0u64; 64].as_mut_ptr() as usize);
    "readlink" WORKS call!(SYS_readlinkat, HERE, text(c"/proc/self/exe"), [0u8; 64].as_mut_ptr() as usize, 64);
    "list" VARIES call!(SYS_getdents64, 0, [0u8; 512].as_mut_ptr() as usize, 512);
    "make-device" VARIES call!(SYS_mknodat, HERE, text(c"/nonexistent/a"), 0o20600, 0x103);
    "change-mode" VARIES call!(SYS_fchmodat, HERE, text(c"/nonexistent/a"), 0o777);
    "change-owner" VARIES call!(SYS_fchownat, HERE, text(c"/nonexistent/a"), 0, 0, 0);
    "set-attribute" VARIES call!(SYS_setxattr, text(c"/nonexistent/a"), text(c"user.x"), text(c"x"), 1, 0);
    "watch" VARIES call!(SYS_fanotify_init, 0, 0);
    #[cfg(target_arch = "x86_64")]
    "old-open" WORKS call!(SYS_open, text(c"/etc/passwd"));
    "access" WORKS call!(SYS_faccessat, HERE, text(c"/etc/passwd"));
    "chdir" WORKS call!(SYS_chdir, text(c"/"));
    "getcwd" WORKS call!(SYS_getcwd, [0u8; 64].as_mut_ptr() as usize, 64);
    "mkdir" WORKS mkdir();
    "unlink" VARIES call!(SYS_unlinkat, HERE, text(c"/nonexistent/file"));
    "link" VARIES call!(SYS_linkat, HERE, text(c"/nonexistent/a"), HERE, text(c"/nonexistent/b"));
    "symlink" VARIES call!(SYS_symlinkat, text(c"/etc/passwd"), HERE, text(c"/nonexistent/b"));
    "rename" VARIES call!(SYS_renameat, HERE, text(c"/nonexistent/a"), HERE, text(c"/nonexistent/b"));
    "truncate" VARIES call!(SYS_truncate, text(c"/nonexistent/a"), 0);
    "chroot" VARIES call!(SYS_chroot, text(c"/nonexistent"));
    "pivot-root" VARIES call!(SYS_pivot_root, text(c"/nonexistent"), text(c"/nonexistent"));
    "mount" VARIES call!(SYS_mount, 0, text(c"/nonexistent"), text(c"tmpfs"));
    "fsopen" VARIES call!(SYS_fsopen, text(c"tmpfs"), 0);
    "open-tree" VARIES call!(SYS_open_tree, HERE, text(c"/"), 1);
    "move-mount" VARIES call!(SYS_move_mount, HERE, text(c"/nonexistent"), HERE, text(c"/nonexistent"), 0);
    "unmount" VARIES call!(SYS_umount2, text(c"/nonexistent"), 0);

    "inherited" WORKS inherited();
    "write-inherited" VARIES call!(SYS_write, 3, text(c"x"), 1);
    "read-inherited" VARIES call!(SYS_read, 3, [0u8; 8].as_mut_ptr() as usize, 8);
    "write-stdin" VARIES call!(SYS_write, 0, text(c"x"), 1);
    "dup" WORKS call!(SYS_dup, 0);
    "pipe" WORKS call!(SYS_pipe2, [0i32; 2].as_mut_ptr() as usize, 0);
    "sendmsg" VARIES call!(SYS_sendmsg, 1, 0, 0);
    "recvmsg" VARIES call!(SYS_recvmsg, 0, 0, 0);
    "send-descriptor" VARIES send_descriptor();
    "read-at" VARIES call!(SYS_pread64, 3, [0u8; 8].as_mut_ptr() as usize, 8, 0);
    "readv" VARIES call!(SYS_readv, 3, 0, 0);
    "send-file" VARIES call!(SYS_sendfile, 1, 0, 0, 1);
    "copy-range" VARIES call!(SYS_copy_file_range, 0, 0, 1, 0, 1, 0);
    "tee" VARIES call!(SYS_tee, 0, 1, 1, libc::SPLICE_F_NONBLOCK as usize);
    "seek" VARIES call!(SYS_lseek, 0, 0, 0);
    "close" VARIES call!(SYS_close, 2);
    "sendto" VARIES call!(SYS_sendto, 1, text(c"x"), 1, 0, 0, 0);
    "writev" VARIES call!(SYS_writev, 1, 0, 0);
    "fcntl" WORKS call!(SYS_fcntl, 0, libc::F_GETFL as usize);
    "splice" VARIES call!(SYS_splice, 0, 0, 1, 0, 1, libc::SPLICE_F_NONBLOCK as usize);
    "ioctl-sti" VARIES call!(SYS_ioctl, 0, libc::TIOCSTI as usize, text(c"x"));

    "socket-inet" WORKS socket(libc::AF_INET, libc::SOCK_STREAM);
    "socket-inet6" WORKS socket(libc::AF_INET6, libc::SOCK_DGRAM);
    "socket-unix" WORKS socket(libc::AF_UNIX, libc::SOCK_STREAM);
    "socket-netlink" WORKS socket(libc::AF_NETLINK, libc::SOCK_RAW);
    "socket-packet" VARIES socket(libc::AF_PACKET, libc::SOCK_RAW);
    "socket-vsock" VARIES socket(libc::AF_VSOCK, libc::SOCK_STREAM);
    "socket-alg" VARIES socket(libc::AF_ALG, libc::SOCK_SEQPACKET);
    "socketpair" WORKS call!(SYS_socketpair, libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, [0i32; 2].as_mut_ptr() as usize);
    "connect" VARIES call!(SYS_connect, 1, 0, 0);
    "connect-abstract" VARIES connect_abstract();
    "connect-server" VARIES connect_server();
    "listen" VARIES call!(SYS_listen, 0, 1);
    "accept" VARIES call!(SYS_accept4, 0, 0, 0, 0);
    "bind" VARIES call!(SYS_bind, 1, 0, 0);

    "kill-parent" WORKS call!(SYS_kill, parent(), 0);
    "kill-all" VARIES call!(SYS_kill, usize::MAX, 0);
    "tgkill-parent" WORKS call!(SYS_tgkill, parent(), parent(), 0);
    "tkill-parent" WORKS call!(SYS_tkill, parent(), 0);
    "sigqueue-parent" VARIES call!(SYS_rt_sigqueueinfo, parent(), 0, 0);
    "pidfd-open" WORKS call!(SYS_pidfd_open, parent(), 0);
    "pidfd-getfd" VARIES call!(SYS_pidfd_getfd, 3, 0, 0);
    "pidfd-signal" VARIES call!(SYS_pidfd_send_signal, 3, 0, 0, 0);
    "tgkill-other-signal" VARIES call!(SYS_tgkill, own(), own(), libc::SIGSTOP as usize);
    "tgkill-parent-abort" VARIES call!(SYS_tgkill, parent(), parent(), libc::SIGABRT as usize);
    "ptrace-me" VARIES call!(SYS_ptrace, libc::PTRACE_TRACEME as usize);
    "ptrace-seize" VARIES call!(SYS_ptrace, 0x4206, parent(), 0, 0);
    "madvise-of-parent" VARIES call!(SYS_process_madvise, 3, 0, 0, 0, 0);
    "wait-for-child" VARIES call!(SYS_wait4, usize::MAX, 0, 1, 0);
    "ptrace" VARIES call!(SYS_ptrace, libc::PTRACE_ATTACH as usize, parent(), 0, 0);
    "vm-readv" VARIES call!(SYS_process_vm_readv, parent(), 0, 0, 0, 0, 0);
    "vm-writev" VARIES call!(SYS_process_vm_writev, parent(), 0, 0, 0, 0, 0);
    "kcmp" VARIES call!(SYS_kcmp, parent(), parent(), 0, 0, 0);
    "getsid" WORKS call!(SYS_getsid, parent());

    "fork" WORKS fork();
    "fork-bomb" VARIES fork_bomb();
    "clone3" VARIES call!(SYS_clone3, 0, 0);
    "clone-user" VARIES call!(SYS_clone, NEW_USER | libc::CLONE_FS as usize);
    "unshare" VARIES call!(SYS_unshare, NEW_USER);
    "unshare-pid" VARIES call!(SYS_unshare, libc::CLONE_NEWPID as usize);
    "unshare-net" VARIES call!(SYS_unshare, libc::CLONE_NEWNET as usize);
    "unshare-mount" VARIES call!(SYS_unshare, libc::CLONE_NEWNS as usize);
    "setns" VARIES call!(SYS_setns, 0, 0);
    "session" VARIES call!(SYS_setsid);
    "execve" VARIES call!(SYS_execve, text(c"/nonexistent"), 0, 0);
    "execve-shell" VARIES call!(SYS_execve, text(c"/bin/sh"), 0, 0);
    "execveat-memfd" VARIES execute_memfd();
    "execveat" VARIES call!(SYS_execveat, 0, text(c""), 0, 0, libc::AT_EMPTY_PATH as usize);
    "memfd" WORKS call!(SYS_memfd_create, text(c"x"), 0);
    "memfd-secret" VARIES call!(SYS_memfd_secret, 0);

    "mmap-exec" WORKS map(libc::PROT_READ | libc::PROT_EXEC);
    "mmap-write-exec" WORKS map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    "mprotect-exec" WORKS protect();
    "mmap-exec-grows" VARIES map(libc::PROT_EXEC | libc::PROT_GROWSDOWN);
    "protect-by-key" VARIES call!(SYS_pkey_mprotect, 0, 0, libc::PROT_EXEC as usize, usize::MAX);
    "remap-pages" VARIES call!(SYS_remap_file_pages, 0, 0, 0, 0, 0);
    "personality" WORKS call!(SYS_personality, 0xffff_ffff);
    #[cfg(target_arch = "x86_64")]
    "int80" VARIES int80();
    #[cfg(target_arch = "x86_64")]
    "x32" VARIES call(0x4000_0000 | libc::SYS_getpid, [0; 6]);
    #[cfg(target_arch = "x86_64")]
    "ldt" VARIES call!(SYS_modify_ldt, 0, 0, 0);

    "io-uring" VARIES call!(SYS_io_uring_setup, 1, [0u8; 256].as_mut_ptr() as usize);
    "io-uring-enter" VARIES call!(SYS_io_uring_enter, 3, 1, 1, 0, 0, 0);
    "io-uring-register" VARIES call!(SYS_io_uring_register, 3, 0, 0, 0);
    "old-async-io" VARIES call!(SYS_io_setup, 1, [0usize; 1].as_mut_ptr() as usize);
    "bpf" VARIES call!(SYS_bpf, 0, 0, 0);
    "perf-event" VARIES call!(SYS_perf_event_open, 0, 0, usize::MAX, usize::MAX, 0);
    "userfaultfd" VARIES call!(SYS_userfaultfd, 1);
    "keyctl" VARIES call!(SYS_keyctl, 0, usize::MAX, 0);
    "keyctl-to-parent" VARIES call!(SYS_keyctl, 18);
    "add-key" VARIES call!(SYS_add_key, text(c"user"), text(c"x"), text(c"x"), 1, usize::MAX);
    "request-key" VARIES call!(SYS_request_key, text(c"user"), text(c"x"), 0, 0);
    "shmget" VARIES call!(SYS_shmget, 0, 4096, 0o600);
    "shmat" VARIES call!(SYS_shmat, 0, 0, 0);
    "keyring-of-session" VARIES call!(SYS_keyctl, 1, 0);
    "msgget" VARIES call!(SYS_msgget, 1, 0);
    "semget" VARIES call!(SYS_semget, 1, 1, 0);
    "mq-open" VARIES call!(SYS_mq_open, text(c"x"), 0);
    "inotify" WORKS call!(SYS_inotify_init1, 0);
    "eventfd" WORKS call!(SYS_eventfd2, 0, 0);
    "epoll" WORKS call!(SYS_epoll_create1, 0);
    "timerfd" WORKS call!(SYS_timerfd_create, 0, 0);
    "init-module" VARIES call!(SYS_init_module, 0, 0, 0);
    "load-module" VARIES call!(SYS_finit_module, 0, 0, 0);
    "reboot" VARIES call!(SYS_reboot, 0, 0, 0, 0);
    "swap" VARIES call!(SYS_swapon, text(c"/nonexistent"), 0);
    "host-name" VARIES call!(SYS_sethostname, 0, 0);
    "clock" VARIES call!(SYS_clock_settime, 99, 0);
    "accounting" VARIES call!(SYS_acct, text(c"/nonexistent"));
    "kexec" VARIES call!(SYS_kexec_load, 0, 0, 0, 0xffff);
    "syslog" VARIES call!(SYS_syslog, 3, 0, 0);
    "uname" WORKS call!(SYS_uname, [0u8; 512].as_mut_ptr() as usize);
    "sysinfo" WORKS call!(SYS_sysinfo, [0u8; 256].as_mut_ptr() as usize);

    "landlock-again" VARIES call!(SYS_landlock_create_ruleset, 0, 0, 1);
    "seccomp-again" VARIES call!(SYS_seccomp, 1, 0, 0);
    "prctl-dumpable" WORKS call!(SYS_prctl, libc::PR_SET_DUMPABLE as usize, 1);
    "prctl-deathsig" WORKS call!(SYS_prctl, libc::PR_SET_PDEATHSIG as usize, 0);
    "setuid" VARIES call!(SYS_setuid, 0);
    "capset" VARIES call!(SYS_capset, 0, 0);
    "raise-limit" WORKS call!(SYS_prlimit64, 0, libc::RLIMIT_AS as usize, 0, [0u64; 2].as_mut_ptr() as usize);
    "set-limit" VARIES call!(SYS_setrlimit, libc::RLIMIT_NPROC as usize, [u64::MAX; 2].as_ptr() as usize);
    "setgroups" VARIES call!(SYS_setgroups, 0, 0);
    "scheduler-of-parent" VARIES call!(SYS_sched_setparam, parent(), [0i32; 1].as_ptr() as usize);
    "setpriority" WORKS call!(SYS_setpriority, 0, 0, 5);
    "scheduler" VARIES call!(SYS_sched_setscheduler, 0, 1, [1i32].as_ptr() as usize);
    "affinity" WORKS call!(SYS_sched_getaffinity, 0, 128, [0u8; 128].as_mut_ptr() as usize);
    "sleep" WORKS call!(SYS_nanosleep, [0i64; 2].as_ptr() as usize, 0);
    "alarm" WORKS call!(SYS_setitimer, 0, [0u64; 4].as_ptr() as usize, 0);
    "sigaction" WORKS call!(SYS_rt_sigaction, 11, 0, 0, 8);
};
