//! Runs a pure function in a confined, long-lived child process.
//!
//! Hostile formats are decoded there and nowhere else: an abort, a stack overflow, a hang or a
//! memory bomb ends one child, never the gateway, and becomes a [`Failure`] that the caller turns
//! into a finding. A child has two pipes and memory: no files, no network, no other processes
//! (`confine`). The parent keeps a few of them and replaces what died (`pool`).
//!
//! Not promised: that a child taken over by one letter cannot see the next one that it is given, but where
//! each request has a child of its own ([`Sandbox::each_alone`]), as pictures have. It has no way out but
//! its answers and their time, and it lives for [`REQUESTS_PER_CHILD`] requests at most.
//!
//! What goes over the pipes, all numbers little endian: the child says `HELLO` and one byte, the
//! Landlock version in force; then, until end of file, a request (length 4, bytes) is answered by
//! (length 4, bytes).

mod confine;
pub mod heif;
pub mod models;
mod pool;
#[cfg(kluis_lab)]
pub mod probe;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

pub(crate) use confine::close_inherited;
pub use pool::Sandbox;

use crate::secret::Stack;

/// The function a child runs: bytes in, bytes out, nothing else.
pub type Job = fn(&[u8]) -> Vec<u8>;

/// Bytes of one request at most: a letter of 64 MiB, and what goes with it.
pub const MAX_REQUEST: usize = 65 << 20;
/// Requests that one child answers; the next gets a fresh one.
pub const REQUESTS_PER_CHILD: u32 = 1000;

/// The child's stack: deep enough for every depth that the parsers allow, far from the guard page
/// that ends a runaway recursion.
const STACK: usize = 16 << 20;
/// What a child says once it is confined; nothing is given to it before.
const HELLO: [u8; 4] = *b"klu1";

/// How a child leaves when it could not confine itself.
const UNCONFINED: i32 = 71;
/// How a child leaves when its job panicked.
const PANICKED: i32 = 70;
/// How a child leaves when the pipes carry something else than was agreed.
const GARBLED: i32 = 76;

/// What one request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time from handing over the request to the last byte of the answer.
    pub wall: Duration,
    /// Bytes of an answer.
    pub answer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { wall: Duration::from_secs(20), answer: 64 << 20 }
    }
}

/// Why there is no answer. The first three are about the request, the last is about this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The child died of it: abort, panic, stack overflow, out of memory, a forbidden call.
    #[error("the confined child crashed")]
    Crashed,
    /// The child took longer than the limit and was killed.
    #[error("the confined child ran out of time")]
    TimedOut,
    /// The request or its answer is over the limit.
    #[error("too large for the confined child")]
    TooLarge,
    /// No child could be started and confined: try again later.
    #[error("no confined child could be started")]
    Unavailable,
}

/// The life of a child: confines itself, then answers requests on its standard input with `job`
/// until end of file. The first thing a process does, before it has threads or opens a file.
pub fn child_main(job: Job) -> ! {
    child(
        job,
        || confine::shut(confine::NEWEST),
        || confine::limit(confine::MEMORY).and_then(|()| confine::filter()),
    )
}

/// As [`child_main`], for a job that needs something from a file, or threads of its own: `bring` reads
/// it before the child is shut, `ready` makes of it what the job uses, when no file can be opened any
/// more and threads still can be started; all of them are held by the filter. `memory` is the address
/// space of the child. Where one of the two fails there is no child.
pub fn child_main_with<T: Send + 'static>(
    bring: impl FnOnce() -> Option<T>,
    ready: impl FnOnce(T) -> bool + Send + 'static,
    job: Job,
    memory: u64,
) -> ! {
    let Some(brought) = bring() else { confine::leave(UNCONFINED) };
    child(
        job,
        || confine::shut(confine::NEWEST),
        move || {
            if !ready(brought) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            confine::limit(memory).and_then(|()| confine::filter())
        },
    )
}

/// `shut` runs first, alone in the process; `narrow` runs on the thread that will do the work.
fn child(
    job: Job,
    shut: impl FnOnce() -> io::Result<u8>,
    narrow: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> ! {
    // For whoever lists processes; it was started by a path that says nothing.
    let _ = rustix::thread::set_name(c"kluis");
    // The default hook would format and unwind: hostile input gets neither.
    std::panic::set_hook(Box::new(|_| confine::leave(PANICKED)));
    let Ok(landlock) = shut() else { confine::leave(UNCONFINED) };
    let work = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        let Ok(stack) = Stack::of_this_thread() else { confine::leave(UNCONFINED) };
        if narrow().is_err() {
            confine::leave(UNCONFINED);
        }
        confine::leave(match serve(job, landlock, &stack) {
            Ok(()) => 0,
            Err(_) => GARBLED,
        })
    });
    if let Ok(work) = work {
        let _ = work.join();
    }
    confine::leave(UNCONFINED)
}

/// Answers requests until end of file. Nothing of one stays while it waits for the next.
fn serve(job: Job, landlock: u8, stack: &Stack) -> io::Result<()> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut from = Pipe(stdin.as_fd());
    let mut to = Pipe(stdout.as_fd());
    to.write_all(&HELLO)?;
    to.write_all(&[landlock])?;
    loop {
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut request = vec![0; length];
        from.read_exact(&mut request)?;
        let answer = job(&request);
        let length = u32::try_from(answer.len()).map_err(io::Error::other)?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(&answer)?;
        drop((request, answer));
        stack.clear();
    }
}

/// An end of a pipe without a buffer, by the plain calls that the filter allows.
struct Pipe<'a>(std::os::fd::BorrowedFd<'a>);

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, buffer)?)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
