//! Takes letters from files: mailboxes, single mails, and documents that were paper.
//!
//! One thread walks and cuts mailboxes into mails, several read, seal and bring what it finds to the
//! [`Door`]. What cannot be read or is too long is noted and the rest goes on; only what the vault
//! says no to ends the run. Memory is bounded, however long a mailbox is. Nothing of a letter is
//! logged; what is said of one is the path that the operator gave, and where in the file it is.
//!
//! `walk` finds, `mbox` and `from_line` cut, `heading` tells since when the law counts, `door` leads
//! into the vault that is open here or served by another process.

mod door;
pub(super) mod from_line;
mod heading;
pub mod mbox;
mod room;
mod walk;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

pub use door::{Door, Failure};
pub use walk::Kind;

use crate::casebook::import::{About, Taken};
use crate::ids::CaseId;
use crate::request::deadline;
use door::Taker;
use mbox::{Message, Messages};
use room::{Room, Share};
use walk::{Found, Passed, What, Why};

/// What is imported, and how.
pub struct Order {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// What they are; else it is told from them.
    pub kind: Option<Kind>,
    /// Day of receipt and case, if they are said.
    pub about: About,
    /// The longest letter in bytes.
    pub limit: u64,
    /// Threads that read and seal.
    pub workers: usize,
}

/// How far a run has come, for whoever watches.
#[derive(Default)]
pub struct Progress {
    /// Bytes looked at; those of a mailbox twice.
    pub bytes: AtomicU64,
    /// Letters that were taken or were there.
    pub letters: AtomicU64,
}

/// What became of a run.
#[derive(Default)]
pub struct Outcome {
    /// Letters that are new and were taken; in a dry run, that would be.
    pub taken: u64,
    /// Letters that were there already.
    pub there: u64,
    /// The cases of the first letters taken.
    pub cases: Vec<CaseId>,
    /// What was not taken, and why.
    pub problems: Vec<Remark>,
    /// What was taken and is worth a word, and what was left out on purpose.
    pub remarks: Vec<Remark>,
    /// Problems and remarks beyond what is listed.
    pub more: u64,
    /// Why the run ended before its time.
    pub failure: Option<Failure>,
}

/// Something about one file, or one message in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The file.
    pub path: PathBuf,
    /// Where in it, if it has more than one letter.
    pub offset: Option<u64>,
    /// What: our own words, or the system's.
    pub what: String,
}

/// Problems, and remarks, that are listed one by one.
const MOST_REMARKS: usize = 10_000;
/// Cases that are listed one by one.
const MOST_CASES: usize = 20;
/// Bytes of letters at work, all threads together; a longer letter is at work alone.
const IN_WORK: u64 = 32 << 20;
/// A letter takes so many times its length while it is parsed, cut and sealed.
const COPIES: u64 = 3;

/// Jobs that wait for each thread: else all of them wait for the one that walks.
const AHEAD: usize = 16;

/// What a worker is given.
enum Job<'a> {
    File(Found, Share<'a>),
    Message { path: Arc<Path>, seconds: Option<u64>, message: Message, share: Share<'a> },
}

/// What all threads of a run share.
struct Shared<'a> {
    order: &'a Order,
    door: &'a Door,
    progress: &'a Progress,
    stop: &'a AtomicBool,
    room: Room,
    outcome: Mutex<Outcome>,
}

/// Imports everything that was ordered. Ends early when `stop` is set; what was taken by then is
/// made durable all the same.
#[must_use]
pub fn run(order: &Order, door: &Door, progress: &Progress, stop: &AtomicBool) -> Outcome {
    let shared =
        Shared { order, door, progress, stop, room: Room::new(IN_WORK), outcome: Mutex::default() };
    let (jobs, waiting) = mpsc::sync_channel(order.workers * AHEAD);
    let waiting = Mutex::new(waiting);
    std::thread::scope(|scope| {
        for _ in 0..order.workers.max(1) {
            scope.spawn(|| shared.work(&waiting));
        }
        shared.find(&jobs);
        drop(jobs);
    });
    drop(waiting);
    let finished =
        if shared.outcome().failure.is_none() { door.finish().map(drop) } else { Ok(()) };
    if let Err(failure) = finished {
        shared.fail(failure);
    }
    shared.outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that a run of this order will look at, for whoever watches.
#[must_use]
pub fn bytes(order: &Order) -> u64 {
    let mut bytes = 0;
    let mut each = |found: Result<Found, Passed>| {
        if let Ok(found) = found {
            let times = if matches!(found.what, What::Mbox(None)) { 2 } else { 1 };
            bytes += times * found.length;
        }
        ControlFlow::Continue(())
    };
    for path in &order.paths {
        let _ = walk::walk(path, order.kind, &mut each);
    }
    bytes
}

/// Takes files as one letter. All of them, or none.
///
/// # Errors
/// A file cannot be read or they are too long together: one [`Remark`] each. Or why the vault
/// does not take them.
pub fn put(
    files: &[PathBuf],
    about: About,
    limit: u64,
    door: &Door,
) -> Result<Result<Taken, Vec<Remark>>, Failure> {
    let mut taker = door.taker()?;
    let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if taker.takes_long() && files.iter().map(length).sum::<u64>() > limit {
        return put_long(files, about, &mut taker, door);
    }
    let (mut papers, mut problems) = (Vec::new(), Vec::new());
    let mut rest = limit;
    for path in files {
        let mut content = Vec::new();
        let what = match read_whole(path, true, rest, &mut content) {
            Ok(Some(length)) => {
                content.truncate(length);
                rest -= length as u64;
                let name = path.file_name().map_or(&[][..], |name| name.as_bytes());
                papers.push((name, content));
                continue;
            }
            Ok(None) => TOO_LONG.to_owned(),
            Err(error) => in_words(&error),
        };
        problems.push(Remark { path: path.clone(), offset: None, what });
    }
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    let papers: Vec<_> = papers.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    let taken = taker.papers(about, &papers)?;
    door.finish()?;
    Ok(Ok(taken))
}

/// Takes files of any length as one letter.
fn put_long(
    files: &[PathBuf],
    about: About,
    taker: &mut Taker<'_>,
    door: &Door,
) -> Result<Result<Taken, Vec<Remark>>, Failure> {
    let remark = |nr: usize, error: &io::Error| {
        vec![Remark { path: files[nr].clone(), offset: None, what: in_words(error) }]
    };
    let mut opened = Vec::with_capacity(files.len());
    for (nr, path) in files.iter().enumerate() {
        match walk::open(path, true) {
            Ok(file) => opened.push(file),
            Err(error) => return Ok(Err(remark(nr, &error))),
        }
    }
    let name =
        |path: &'_ PathBuf| path.file_name().map_or_else(Vec::new, |n| n.as_bytes().to_vec());
    let names: Vec<Vec<u8>> = files.iter().map(name).collect();
    let papers: Vec<_> = names.iter().map(Vec::as_slice).zip(&opened).collect();
    match taker.long_papers(about, &papers)? {
        Err((nr, error)) => Ok(Err(remark(nr, &error))),
        Ok(taken) => {
            door.finish()?;
            Ok(Ok(taken))
        }
    }
}

const TOO_LONG: &str = "longer than a letter may be";
const TOO_LONG_HERE: &str = "longer than a running server takes: stop it meanwhile";
const EMPTY: &str = "nothing in it";
const NO_FILE: &str = "neither a file nor a folder; symbolic links are not followed";
const DOUBT: &str = "lines that begin with `>From ` are kept as they stand: the file does not say \
                     whether somebody wrote the `>`";
const SHORTER: &str = "it became shorter while it was read";

impl<'a> Shared<'a> {
    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.outcome().failure.is_some()
    }

    fn fail(&self, failure: Failure) {
        self.outcome().failure.get_or_insert(failure);
    }

    fn problem(&self, path: &Path, offset: Option<u64>, what: impl Into<String>) {
        let remark = Remark { path: path.to_owned(), offset, what: what.into() };
        let mut outcome = self.outcome();
        if outcome.problems.len() < MOST_REMARKS {
            outcome.problems.push(remark);
        } else {
            outcome.more += 1;
        }
    }

    fn remark(&self, path: &Path, offset: Option<u64>, what: &str) {
        let remark = Remark { path: path.to_owned(), offset, what: what.to_owned() };
        let mut outcome = self.outcome();
        if outcome.remarks.len() < MOST_REMARKS {
            outcome.remarks.push(remark);
        } else {
            outcome.more += 1;
        }
    }

    /// Walks all paths; mailboxes are cut on the way.
    fn find(&'a self, jobs: &mpsc::SyncSender<Job<'a>>) {
        for path in &self.order.paths {
            let walked = walk::walk(path, self.order.kind, &mut |found| {
                match found {
                    Err(Passed { path, why: Why::NoFile }) => self.remark(&path, None, NO_FILE),
                    Err(Passed { path, why: Why::Unreadable(error) }) => {
                        self.problem(&path, None, in_words(&error));
                    }
                    Ok(Found { what: What::Mbox(_), .. }) => return self.mailbox(&found, jobs),
                    Ok(found) => {
                        // Before it waits in line: who works must not wait for who waits.
                        let share = self.room.take(found.length.min(self.order.limit) * COPIES);
                        self.send(Job::File(found, share), jobs)?;
                    }
                }
                ControlFlow::Continue(())
            });
            if walked.is_break() {
                return;
            }
        }
    }

    fn send(&self, job: Job<'a>, jobs: &mpsc::SyncSender<Job<'a>>) -> ControlFlow<()> {
        if self.is_stopped() || jobs.send(job).is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Cuts a mailbox, and hands its mails on one by one. What cannot be read ends the mailbox.
    fn mailbox(
        &'a self,
        found: &Result<Found, Passed>,
        jobs: &mpsc::SyncSender<Job<'a>>,
    ) -> ControlFlow<()> {
        let Ok(Found { path, what: What::Mbox(dialect), is_given, seconds, .. }) = found else {
            return ControlFlow::Continue(());
        };
        let open = || {
            let file = walk::open(path, *is_given)?;
            let length = file.metadata()?.len();
            let metered = Metered { file, progress: self.progress, stop: self.stop };
            Messages::open(metered, length, self.order.limit, *dialect)
        };
        let mut messages = match open() {
            Ok(messages) => messages,
            Err(error) => return self.unreadable(path, 0, &error),
        };
        let shared_path: Arc<Path> = Arc::from(path.as_path());
        loop {
            let at = messages.position();
            let message = match messages.next() {
                Ok(None) => return ControlFlow::Continue(()),
                Ok(Some(message)) => message,
                Err(error) => return self.unreadable(path, at, &error),
            };
            if message.raw.is_none() {
                self.problem(path, Some(message.offset), TOO_LONG);
                continue;
            }
            let share = self.room.take(message.length * COPIES);
            let job =
                Job::Message { path: Arc::clone(&shared_path), seconds: *seconds, message, share };
            self.send(job, jobs)?;
        }
    }

    fn unreadable(&self, path: &Path, at: u64, error: &io::Error) -> ControlFlow<()> {
        if self.is_stopped() {
            return ControlFlow::Break(());
        }
        self.problem(path, Some(at), in_words(error));
        ControlFlow::Continue(())
    }

    /// What each worker does until there is nothing more.
    fn work(&'a self, waiting: &Mutex<mpsc::Receiver<Job<'a>>>) {
        let mut taker = match self.door.taker() {
            Ok(taker) => Some(taker),
            Err(failure) => {
                self.fail(failure);
                None
            }
        };
        let mut buffer = Vec::new();
        loop {
            let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            let Some(taker) = taker.as_mut().filter(|_| !self.is_stopped()) else { continue };
            if let Err(failure) = self.take(job, taker, &mut buffer) {
                self.fail(failure);
            }
        }
    }

    fn take(
        &self,
        job: Job<'_>,
        taker: &mut Taker<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match job {
            Job::Message { path, seconds, message, share } => {
                let taken = self.message(&path, seconds, message, taker)?;
                drop(share);
                self.count(taken);
            }
            Job::File(found, _share) => {
                let taken = self.file(&found, taker, buffer)?;
                self.progress.bytes.fetch_add(found.length, Ordering::Relaxed);
                self.count(taken);
            }
        }
        Ok(())
    }

    fn count(&self, taken: Option<Taken>) {
        let mut outcome = self.outcome();
        match taken {
            None => return,
            Some(Taken::There) => outcome.there += 1,
            Some(Taken::New(case)) => {
                outcome.taken += 1;
                if outcome.cases.len() < MOST_CASES && !outcome.cases.contains(&case) {
                    outcome.cases.push(case);
                }
            }
        }
        self.progress.letters.fetch_add(1, Ordering::Relaxed);
    }

    fn file(
        &self,
        found: &Found,
        taker: &mut Taker<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Taken>, Failure> {
        // What says that it is empty may be something else than a plain file.
        if let What::Document(name) = &found.what
            && (1..=self.order.limit).contains(&found.length)
        {
            let taken = match walk::open(&found.path, found.is_given) {
                Ok(file) => taker.document(self.about(found.seconds), name, &file)?,
                Err(error) => Err(error),
            };
            match taken {
                Ok(None) => {}
                Ok(taken) => return Ok(taken),
                Err(error) => {
                    self.problem(&found.path, None, in_words(&error));
                    return Ok(None);
                }
            }
        }
        let length = match read_whole(&found.path, found.is_given, self.order.limit, buffer) {
            Ok(Some(length)) => length,
            Ok(None) => return self.long_file(found, taker),
            Err(error) => {
                self.problem(&found.path, None, in_words(&error));
                return Ok(None);
            }
        };
        let content = &buffer[..length];
        match &found.what {
            What::Document(name) => {
                let about = self.about(found.seconds);
                taker.papers(about, &[(name, content)]).map(Some)
            }
            _ => {
                self.mail(&found.path, None, content.to_vec(), String::new(), found.seconds, taker)
            }
        }
    }

    /// A document that is longer than a letter may be. A mail must be parsed, so it may not be long.
    fn long_file(&self, found: &Found, taker: &mut Taker<'_>) -> Result<Option<Taken>, Failure> {
        let What::Document(name) = &found.what else {
            self.problem(&found.path, None, TOO_LONG);
            return Ok(None);
        };
        if !taker.takes_long() {
            self.problem(&found.path, None, TOO_LONG_HERE);
            return Ok(None);
        }
        let taken = match walk::open(&found.path, found.is_given) {
            Ok(file) => taker.long_papers(self.about(found.seconds), &[(name, &file)])?,
            Err(error) => Err((0, error)),
        };
        match taken {
            Ok(taken) => Ok(Some(taken)),
            Err((_, error)) => {
                self.problem(&found.path, None, in_words(&error));
                Ok(None)
            }
        }
    }

    fn message(
        &self,
        path: &Path,
        file: Option<u64>,
        message: Message,
        taker: &mut Taker<'_>,
    ) -> Result<Option<Taken>, Failure> {
        let sender = String::from_utf8(message.sender).unwrap_or_default();
        let sender = if sender.contains('@') { sender } else { String::new() };
        let raw = message.raw.unwrap_or_default();
        let at = Some(message.offset);
        let taken = self.mail(path, at, raw, sender, message.seconds.or(file), taker)?;
        if message.doubt && matches!(taken, Some(Taken::New(_))) {
            self.remark(path, at, DOUBT);
        }
        Ok(taken)
    }

    fn mail(
        &self,
        path: &Path,
        offset: Option<u64>,
        raw: Vec<u8>,
        sender: String,
        seconds: Option<u64>,
        taker: &mut Taker<'_>,
    ) -> Result<Option<Taken>, Failure> {
        if raw.trim_ascii().is_empty() {
            self.remark(path, offset, EMPTY);
            return Ok(None);
        }
        let about = self.about(heading::received(&raw).or(seconds));
        let mail_from = heading::return_path(&raw).unwrap_or(sender);
        taker.mail(about, mail_from, raw).map(Some)
    }

    /// As ordered; else received when the file says.
    fn about(&self, seconds: Option<u64>) -> About {
        let About { received, case } = self.order.about;
        About { received: received.or(seconds.map(deadline::received_on)), case }
    }
}

/// Reads a file into `buffer`, which only grows. Gives its length; none if it is beyond `limit`.
fn read_whole(
    path: &Path,
    is_given: bool,
    limit: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    let mut file = walk::open(path, is_given)?;
    let announced = file.metadata()?.len();
    if announced > limit {
        return Ok(None);
    }
    let mut length = 0;
    let enough = |length: usize| length + 1;
    let announced = usize::try_from(announced).map_err(|_| io::ErrorKind::FileTooLarge)?;
    if buffer.len() < enough(announced) {
        buffer.resize(enough(announced), 0);
    }
    loop {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length as u64 > limit {
            return Ok(None);
        }
        if length == buffer.len() {
            buffer.resize(2 * length, 0);
        }
    }
    if length < announced {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, SHORTER));
    }
    Ok(Some(length))
}

/// The system's words for an error, without a path.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there".into(),
        io::ErrorKind::PermissionDenied => "it may not be read".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        io::ErrorKind::NotADirectory => "it is not a folder".into(),
        io::ErrorKind::UnexpectedEof => SHORTER.into(),
        _ => error.to_string(),
    }
}

/// A mailbox that says how far it was read.
struct Metered<'a> {
    file: File,
    progress: &'a Progress,
    stop: &'a AtomicBool,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        let read = self.file.read(buffer)?;
        self.progress.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
