//! Asks clamd whether something is malware (clamd(8): a session of PING and FILDES or INSTREAM). What
//! was not looked at was not scanned, and is said to be so: a letter is never refused for it.
//!
//! A clamd on this machine is handed a file that exists in memory only. What is streamed to it
//! instead it would first write, unsealed, into its own directory.
//!
//! Of a file that is longer than its `MaxFileSize` clamd says, unseen, that it is clean. So what is
//! longer than `longest` it is not asked about.

use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
    Interest,
};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Endpoint, LONGEST_SCANNED};
use crate::letter::Scan;

/// Where clamd of this machine listens on Debian, if nothing is said.
pub const USUAL_PLACE: &str = "/run/clamav/clamd.ctl";
/// Conversations with clamd at a time: each holds one of its threads, and a copy of what it looks
/// at.
const AT_ONCE: usize = 4;
/// Bytes of one piece on the way.
const PIECE: usize = 64 * 1024;
/// Bytes of an answer: no name of a signature is as long.
const LONGEST_ANSWER: u64 = 4096;
/// How long a clamd that did not say in time that it is there is not asked again.
const REST: Duration = Duration::from_secs(30);
/// How long one that does not answer keeps its place: it still has what it was given.
const LETS_GO: Duration = Duration::from_secs(600);
/// The part of the deadline in which one has to say that it is there, so that what nobody hears within
/// it says something of clamd, also where who asked has no more time than the deadline.
const TO_GREET: u32 = 2;

/// Asks one clamd.
pub struct Scanner {
    place: Endpoint,
    deadline: Duration,
    longest: u64,
    places: Arc<Semaphore>,
    rests_until: Mutex<Option<Instant>>,
}

impl Scanner {
    /// Asks the clamd that listens there about what is not longer than `longest` bytes; one answer
    /// may take as long as `deadline`.
    #[must_use]
    pub fn new(place: Endpoint, deadline: Duration, longest: u64) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { place, deadline, longest, places, rests_until: Mutex::new(None) }
    }

    /// The clamd of this machine, if it has one where Debian puts it.
    #[must_use]
    pub fn of_this_machine(deadline: Duration) -> Option<Self> {
        let place = PathBuf::from(USUAL_PLACE);
        place.exists().then(|| Self::new(Endpoint::Unix(place), deadline, LONGEST_SCANNED))
    }

    /// What clamd says of these bytes.
    pub async fn scan(&self, bytes: &[u8]) -> Scan {
        if bytes.len() as u64 > self.longest || self.rests() {
            return Scan::NotScanned;
        }
        let end = Instant::now() + self.deadline;
        let places = Arc::clone(&self.places);
        let Ok(Ok(place)) = timeout_at(end, places.acquire_owned()).await else {
            return Scan::NotScanned;
        };
        if self.rests() {
            return Scan::NotScanned;
        }
        let answer = match &self.place {
            Endpoint::Unix(path) => self.by_descriptor(path, bytes, end, place).await,
            Endpoint::Tcp(address) => self.by_stream(*address, bytes, end, place).await,
        };
        answer.map_or(Scan::NotScanned, |answer| read(&answer))
    }

    async fn by_descriptor(
        &self,
        path: &Path,
        bytes: &[u8],
        end: Instant,
        place: OwnedSemaphorePermit,
    ) -> Option<Vec<u8>> {
        let mut talk = self.greet(UnixStream::connect(path), end).await?;
        let file = timeout_at(end, in_memory(bytes)).await.ok()?.ok()?;
        let answer = async move { talk.hand_over(file).await };
        in_its_place(answer, place, end).await
    }

    async fn by_stream(
        &self,
        address: SocketAddr,
        bytes: &[u8],
        end: Instant,
        place: OwnedSemaphorePermit,
    ) -> Option<Vec<u8>> {
        let mut talk = self.greet(TcpStream::connect(address), end).await?;
        // One that is left before the end of the stream throws away what it has; from there on it
        // looks at it to the end, also when nobody listens any more.
        timeout_at(end, talk.stream(bytes)).await.ok()?.ok()?;
        let answer = async move { talk.answer().await };
        in_its_place(answer, place, end).await
    }

    /// Whether clamd answers.
    pub async fn is_there(&self) -> bool {
        let end = Instant::now() + self.deadline;
        match &self.place {
            Endpoint::Unix(path) => self.greet(UnixStream::connect(path), end).await.is_some(),
            Endpoint::Tcp(to) => self.greet(TcpStream::connect(to), end).await.is_some(),
        }
    }

    fn rests(&self) -> bool {
        let until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// A conversation with a clamd that is awake: one that listens and says nothing is given nothing
    /// that it could keep. If it had time enough it is left alone for a while.
    async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connected: impl Future<Output = io::Result<S>>,
        end: Instant,
    ) -> Option<Talk<S>> {
        let greeting = async { Talk::begin(connected.await?).await };
        let enough = Instant::now() + self.deadline / TO_GREET;
        let greeted = timeout_at(end.min(enough), greeting).await;
        // Who waited for a place may have a moment left, of which clamd is not to blame.
        if greeted.is_err() && enough <= end {
            tracing::warn!("clamd does not answer: nothing is scanned for a while");
            let mut rests = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
            *rests = Some(Instant::now() + REST);
        }
        greeted.ok()?.ok()
    }
}

/// What clamd answers, if it comes until `end`. One of its threads, and what it was given, is held until
/// it lets go, whether somebody waits for its answer or not: the place goes with it, and not with who
/// asked.
async fn in_its_place(
    answer: impl Future<Output = io::Result<Vec<u8>>> + Send + 'static,
    place: OwnedSemaphorePermit,
    end: Instant,
) -> Option<Vec<u8>> {
    let (say, said) = oneshot::channel();
    tokio::spawn(async move {
        let answer = timeout(LETS_GO, answer).await;
        drop(place);
        let _ = say.send(answer);
    });
    timeout_at(end, said).await.ok()?.ok()?.ok()?.ok()
}

/// A session with clamd, in which one thing is asked.
struct Talk<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn begin(stream: S) -> io::Result<Self> {
        let mut talk = Self(BufReader::with_capacity(LONGEST_ANSWER as usize, stream));
        talk.0.write_all(b"zIDSESSION\0zPING\0").await?;
        match talk.answer().await?.as_slice() {
            b"1: PONG" => Ok(talk),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The next answer, without its end.
    async fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        (&mut self.0).take(LONGEST_ANSWER).read_until(0, &mut answer).await?;
        if answer.pop() == Some(0) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Streams what is to be looked at (INSTREAM), with its end.
    async fn stream(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(b"zINSTREAM\0").await?;
        for piece in bytes.chunks(PIECE) {
            let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            self.0.write_all(&length.to_be_bytes()).await?;
            self.0.write_all(piece).await?;
        }
        self.0.write_all(&[0; 4]).await
    }
}

impl Talk<UnixStream> {
    /// Hands over a file (FILDES).
    async fn hand_over(&mut self, file: File) -> io::Result<Vec<u8>> {
        self.0.write_all(b"zFILDES\0").await?;
        let stream = self.0.get_ref();
        stream.async_io(Interest::WRITABLE, || send_descriptor(stream, &file)).await?;
        drop(file);
        self.answer().await
    }
}

/// A file of these bytes that is nowhere but in memory.
async fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(file_in_memory()?);
    for piece in bytes.chunks(PIECE) {
        file.write_all(piece)?;
        tokio::task::consume_budget().await;
    }
    Ok(file)
}

/// A file in memory that nobody can run; older kernels know no such promise.
fn file_in_memory() -> io::Result<OwnedFd> {
    let made = memfd_create("kluis-scan", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL);
    match made {
        Err(Errno::INVAL) => Ok(memfd_create("kluis-scan", MemfdFlags::CLOEXEC)?),
        made => Ok(made?),
    }
}

/// Sends one descriptor, with the one byte that it must travel with (unix(7), `SCM_RIGHTS`).
fn send_descriptor(stream: &UnixStream, file: &File) -> io::Result<()> {
    let descriptors = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Reads the second answer of a session: `2: stream: OK` or `2: fd[9]: OK`, the same with `NAME
/// FOUND`, or anything else, an error.
fn read(answer: &[u8]) -> Scan {
    let Some(answer) = answer.strip_prefix(b"2: ") else { return Scan::NotScanned };
    if answer.ends_with(b" FOUND") {
        return Scan::Infected;
    }
    let named = answer.strip_suffix(b": OK");
    let number = named.and_then(|named| named.strip_prefix(b"fd[")?.strip_suffix(b"]"));
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if named == Some(b"stream") || number.is_some_and(is_number) {
        Scan::Clean
    } else {
        Scan::NotScanned
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};
    use tokio::sync::{Notify, mpsc};

    use super::*;

    #[test]
    fn only_the_very_words_say_that_it_is_clean() {
        for (answer, scan) in [
            (&b"2: stream: OK"[..], Scan::Clean),
            (b"2: fd[9]: OK", Scan::Clean),
            (b"2: stream: Win.Test.EICAR_HDB-1 FOUND", Scan::Infected),
            (b"2: fd[10]: Win.Test.EICAR_HDB-1 FOUND", Scan::Infected),
            (b"2: stream: OK FOUND", Scan::Infected),
            (b"2: INSTREAM size limit exceeded. ERROR", Scan::NotScanned),
            (b"2: fd[10]: Can't access file ERROR", Scan::NotScanned),
            (b"2: fd[]: OK", Scan::NotScanned),
            (b"2: fd[1]: OK]: OK", Scan::NotScanned),
            (b"2: No file descriptor received. ERROR", Scan::NotScanned),
            (b"2: stream: Can't allocate memory ERROR", Scan::NotScanned),
            (b"UNKNOWN COMMAND", Scan::NotScanned),
            (b"1: stream: OK", Scan::NotScanned),
            (b"stream: OK", Scan::NotScanned),
            (b"OK", Scan::NotScanned),
            (b"", Scan::NotScanned),
            (b"2: stream: OKstream: OK", Scan::NotScanned),
        ] {
            assert_eq!(read(answer), scan, "{}", String::from_utf8_lossy(answer));
        }
    }

    /// A clamd that says these things, each after something came, and then listens on.
    fn liar(says: &'static [&'static [u8]]) -> (tempfile::TempDir, Scanner) {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("clamd.ctl");
        let listener = UnixListener::bind(&path).expect("binds");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 256];
                    for said in says {
                        let _ = stream.read(&mut buffer).await;
                        let _ = stream.write_all(said).await;
                    }
                    while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
                });
            }
        });
        let deadline = Duration::from_millis(300);
        (place, Scanner::new(Endpoint::Unix(path), deadline, 1000))
    }

    #[tokio::test]
    async fn a_clamd_that_lies_or_says_too_much_scanned_nothing() {
        const LIES: [&[&[u8]]; 5] = [
            &[b"1: PONG\0", b"2: stream: Ok\0"],
            &[b"1: PONG\0", b"3: stream: OK\0"],
            &[b"1: PONG\0", &[b'x'; 100_000]],
            &[b"PONG\0", b"2: stream: OK\0"],
            &[&[b'1'; 100_000]],
        ];
        for says in LIES {
            let (_place, scanner) = liar(says);
            assert_eq!(scanner.scan(b"x").await, Scan::NotScanned);
        }
        let (_place, scanner) = liar(&[b"1: PONG\0", b"2: fd[7]: OK\0"]);
        assert_eq!(scanner.scan(b"x").await, Scan::Clean);
        assert_eq!(scanner.scan(&[0; 1001]).await, Scan::NotScanned, "it is not asked");
    }

    #[tokio::test]
    async fn one_that_is_silent_is_given_nothing_and_is_left_alone_for_a_while() {
        let (_place, scanner) = liar(&[]);
        assert_eq!(scanner.scan(b"x").await, Scan::NotScanned);
        assert!(scanner.rests());
        let begun = Instant::now();
        assert_eq!(scanner.scan(b"x").await, Scan::NotScanned);
        assert!(begun.elapsed() < Duration::from_millis(300), "it was not asked");
        assert_eq!(scanner.places.available_permits(), AT_ONCE);
    }

    #[tokio::test]
    async fn what_one_never_answers_for_keeps_its_place() {
        let (_place, scanner) = liar(&[b"1: PONG\0"]);
        for left in (0..AT_ONCE).rev() {
            assert_eq!(scanner.scan(b"x").await, Scan::NotScanned);
            assert_eq!(scanner.places.available_permits(), left);
        }
        assert_eq!(scanner.scan(b"x").await, Scan::NotScanned);
        assert!(!scanner.rests());
    }

    /// A clamd that says of each thing that it was given it, and lets go of none before it is told to.
    fn holder() -> (tempfile::TempDir, Scanner, mpsc::Receiver<()>, Arc<Notify>) {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("clamd.ctl");
        let listener = UnixListener::bind(&path).expect("binds");
        let (tell, told) = mpsc::channel(AT_ONCE);
        let lets_go = Arc::new(Notify::new());
        let go = Arc::clone(&lets_go);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tell, go) = (tell.clone(), Arc::clone(&go));
                tokio::spawn(async move {
                    let mut buffer = [0; 256];
                    let _ = stream.read(&mut buffer).await;
                    let _ = stream.write_all(b"1: PONG\0").await;
                    let _ = stream.read(&mut buffer).await;
                    let go = go.notified();
                    let _ = tell.send(()).await;
                    go.await;
                });
            }
        });
        let deadline = Duration::from_secs(20);
        (place, Scanner::new(Endpoint::Unix(path), deadline, 1000), told, lets_go)
    }

    #[tokio::test]
    async fn what_it_holds_keeps_its_place_though_nobody_waits_for_the_answer_any_more() {
        let (_place, scanner, mut told, lets_go) = holder();
        for left in (0..AT_ONCE).rev() {
            tokio::select! {
                said = scanner.scan(b"x") => panic!("{said:?}"),
                given = told.recv() => given.expect("it listens"),
            }
            assert_eq!(scanner.places.available_permits(), left);
        }
        // And no longer than that.
        lets_go.notify_waiters();
        let all = scanner.places.acquire_many(AT_ONCE as u32);
        let all = timeout(Duration::from_secs(20), all).await;
        assert!(all.is_ok_and(|all| all.is_ok()), "it let go of them");
    }

    /// A clamd behind a port that says to whom it listens, reads `takes` bytes of each stream, says so,
    /// and then reads no more and answers nothing, until it is told to let go.
    async fn holder_behind_a_port(takes: usize) -> (Scanner, mpsc::Receiver<()>, Arc<Notify>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let place = listener.local_addr().expect("is bound");
        let (tell, told) = mpsc::channel(AT_ONCE);
        let lets_go = Arc::new(Notify::new());
        let go = Arc::clone(&lets_go);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tell, go) = (tell.clone(), Arc::clone(&go));
                tokio::spawn(async move {
                    let mut greeting = [0; b"zIDSESSION\0zPING\0".len()];
                    let _ = stream.read_exact(&mut greeting).await;
                    let _ = stream.write_all(b"1: PONG\0").await;
                    let mut taken = vec![0; takes];
                    let _ = stream.read_exact(&mut taken).await;
                    let go = go.notified();
                    let _ = tell.send(()).await;
                    go.await;
                });
            }
        });
        (Scanner::new(Endpoint::Tcp(place), Duration::from_secs(20), u64::MAX), told, lets_go)
    }

    #[tokio::test]
    async fn what_was_streamed_to_its_end_keeps_its_place_though_nobody_waits_any_more() {
        let (scanner, mut told, lets_go) =
            holder_behind_a_port(b"zINSTREAM\0\0\0\0\x01x\0\0\0\0".len()).await;
        for left in (0..AT_ONCE).rev() {
            tokio::select! {
                said = scanner.scan(b"x") => panic!("{said:?}"),
                given = told.recv() => given.expect("it listens"),
            }
            assert_eq!(scanner.places.available_permits(), left);
        }
        lets_go.notify_waiters();
        let all = scanner.places.acquire_many(AT_ONCE as u32);
        let all = timeout(Duration::from_secs(20), all).await;
        assert!(all.is_ok_and(|all| all.is_ok()), "it let go of them");
    }

    #[tokio::test]
    async fn one_that_is_left_in_mid_stream_looks_at_nothing_and_keeps_no_place() {
        let (scanner, mut told, _lets_go) = holder_behind_a_port(PIECE).await;
        // More than the kernel holds on the way.
        let long = vec![b'x'; 64 << 20];
        for _ in 0..2 * AT_ONCE {
            tokio::select! {
                said = scanner.scan(&long) => panic!("{said:?}"),
                given = told.recv() => given.expect("it listens"),
            }
            assert_eq!(scanner.places.available_permits(), AT_ONCE);
        }
    }

    #[tokio::test]
    async fn one_is_left_alone_only_if_it_had_a_fair_time_to_say_that_it_is_there() {
        let (_place, scanner) = liar(&[]);
        // Others had all the places until the last moment.
        let places = Arc::clone(&scanner.places);
        let held = places.acquire_many_owned(AT_ONCE as u32).await.expect("they are free");
        let last_moment = async {
            tokio::time::sleep(scanner.deadline * 3 / 4).await;
            drop(held);
        };
        let (said, ()) = tokio::join!(scanner.scan(b"x"), last_moment);
        assert_eq!(said, Scan::NotScanned);
        assert!(!scanner.rests());
        // Who asked went before the deadline, and it was silent all the same.
        let asked = timeout(scanner.deadline * 3 / 4, scanner.scan(b"x")).await;
        assert_ne!(asked.ok(), Some(Scan::Clean));
        assert!(scanner.rests());
    }
}
