//! The parent's side: a few children, shared by whoever asks, replaced when they die.
//!
//! A child is killed by its own handle and waited for before its place is given on, so there are
//! never more than `workers` of them and no zombie stays. What was asked lives in no log and no
//! error: a child's standard error goes nowhere, its environment is empty.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

use super::{Failure, HELLO, Limits, MAX_REQUEST, REQUESTS_PER_CHILD};

/// How long a child may take until it says that it is confined.
const START: Duration = Duration::from_secs(10);

/// Bytes that fit the pipe to a child: nearly every letter, so that it goes over in one piece and not
/// in turns of 64 KiB.
const PIPE: usize = 1 << 20;

/// A child's first word in the list of processes, whatever it was started by. What the kernel calls it
/// the child sets itself.
const NAME: &str = "kluis";

/// A pool of confined children that all run the same program.
pub struct Sandbox {
    births: mpsc::Sender<Birth>,
    idle: Mutex<Vec<Worker>>,
    places: Semaphore,
    limits: Limits,
    /// After so many a child ends.
    requests: u32,
}

/// A child that has said hello and waits for a request.
struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    landlock: u8,
    served: u32,
}

/// The wish for a new child, and where it goes.
struct Birth {
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Sandbox {
    /// A pool of at most `workers` children (at least one) that run `program` with `args`, which
    /// must end in [`child_main`](super::child_main). Nothing is started before the first request.
    #[must_use]
    pub fn new(program: PathBuf, args: Vec<OsString>, workers: usize, limits: Limits) -> Self {
        let (births, wishes) = mpsc::channel::<Birth>();
        // The kernel kills a child when the thread that started it ends: so one thread, which
        // lives as long as the pool, starts them all. If it cannot be had, its end of the channel
        // is gone and every request is told `Unavailable`.
        let _ = thread::Builder::new().name("sandbox".into()).spawn(move || {
            for wish in wishes {
                let _runtime = wish.runtime.enter();
                let _ = wish.reply.send(command(&program, &args).spawn());
            }
        });
        Self {
            births,
            idle: Mutex::new(Vec::new()),
            places: Semaphore::new(workers.clamp(1, Semaphore::MAX_PERMITS)),
            limits,
            requests: REQUESTS_PER_CHILD,
        }
    }

    /// Gives each request a child of its own: one that was taken over by what it read sees nothing else.
    #[must_use]
    pub fn each_alone(self) -> Self {
        Self { requests: 1, ..self }
    }

    /// Has a child answer `request` (at most [`MAX_REQUEST`] bytes), when one is free. To give up
    /// waiting, drop the future: the child that was at it is killed.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::Crashed`] only after the request crashed a fresh child. The next
    /// request is served as if nothing had been.
    pub async fn run(&self, request: &[u8]) -> Result<Vec<u8>, Failure> {
        if request.len() > MAX_REQUEST {
            return Err(Failure::TooLarge);
        }
        let _place = self.place().await?;
        let mut worker = self.worker().await?;
        loop {
            let used = worker.served > 0;
            let outcome = self.exchange(worker, request).await;
            if !used || outcome != Err(Failure::Crashed) {
                return outcome;
            }
            // It may have died of an earlier request, or while it was idle: what becomes of a
            // letter must not depend on the one before.
            worker = self.birth().await?;
        }
    }

    /// One request to this child, which goes back to the others or, if it failed or has served
    /// long enough, ends.
    async fn exchange(&self, mut worker: Worker, request: &[u8]) -> Result<Vec<u8>, Failure> {
        let outcome = timeout(self.limits.wall, worker.exchange(request, self.limits.answer))
            .await
            .unwrap_or(Err(Failure::TimedOut));
        if outcome.is_ok() && worker.served < self.requests {
            self.idle().push(worker);
        } else {
            worker.end().await;
        }
        outcome
    }

    /// The Landlock version that confines a child, 0 where the kernel has none: then seccomp
    /// and the resource limits alone hold them.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when no child could be started.
    pub async fn landlock(&self) -> Result<u8, Failure> {
        let _place = self.place().await?;
        let worker = self.worker().await?;
        let landlock = worker.landlock;
        self.idle().push(worker);
        Ok(landlock)
    }

    /// Ends the children that wait, and waits for them. A child works in the runtime that it was
    /// started in alone: who drops that one and keeps the pool calls this before.
    pub async fn dismiss(&self) {
        loop {
            let idle = self.idle().pop();
            match idle {
                Some(worker) => worker.end().await,
                None => return,
            }
        }
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.places.acquire().await.map_err(|_| Failure::Unavailable)
    }

    /// A new child, confined.
    async fn birth(&self) -> Result<Worker, Failure> {
        let (reply, child) = oneshot::channel();
        let wish = Birth { runtime: Handle::current(), reply };
        self.births.send(wish).map_err(|_| Failure::Unavailable)?;
        let child = child.await.ok().and_then(Result::ok).ok_or(Failure::Unavailable)?;
        Worker::greet(child).await.ok_or(Failure::Unavailable)
    }

    /// An idle child, else a new one.
    async fn worker(&self) -> Result<Worker, Failure> {
        let idle = self.idle().pop();
        match idle {
            Some(worker) => Ok(worker),
            None => self.birth().await,
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a child is started: nothing of ours but two pipes, in a process group of its own, so that
/// an interrupt at the terminal does not take it away under a letter.
fn command(program: &Path, args: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command
        .arg0(NAME)
        .args(args)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    command
}

impl Worker {
    /// Waits until the child is confined.
    async fn greet(mut child: Child) -> Option<Self> {
        let (stdin, stdout) = (child.stdin.take()?, child.stdout.take()?);
        // A refusal (a user may have so many pages in pipes) only costs time.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE);
        let mut worker = Self { child, stdin, stdout, landlock: 0, served: 0 };
        let mut hello = [0; HELLO.len() + 1];
        let said = timeout(START, worker.stdout.read_exact(&mut hello)).await;
        if matches!(said, Ok(Ok(_))) && hello.starts_with(&HELLO) {
            worker.landlock = hello[HELLO.len()];
            return Some(worker);
        }
        worker.end().await;
        None
    }

    /// One request, one answer.
    async fn exchange(&mut self, request: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
        self.served += 1;
        let length = u32::try_from(request.len()).map_err(|_| Failure::TooLarge)?;
        self.stdin.write_all(&length.to_le_bytes()).await.map_err(|_| Failure::Crashed)?;
        self.stdin.write_all(request).await.map_err(|_| Failure::Crashed)?;
        let length = self.stdout.read_u32_le().await.map_err(|_| Failure::Crashed)? as usize;
        if length > limit {
            return Err(Failure::TooLarge);
        }
        // Room for all of it at once, which costs nothing until it comes: a vector that grows is there
        // twice, and may end up with twice its length.
        let mut answer = Vec::with_capacity(length);
        let mut announced = (&mut self.stdout).take(length as u64);
        announced.read_to_end(&mut answer).await.map_err(|_| Failure::Crashed)?;
        if answer.len() == length { Ok(answer) } else { Err(Failure::Crashed) }
    }

    /// Kills the child, if it lives, and waits for it.
    async fn end(mut self) {
        let _ = self.child.kill().await;
    }
}
