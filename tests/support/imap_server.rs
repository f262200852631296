//! An IMAP server of a few mails that does what it is told, wrong things included.
//!
//! Every command goes by a `Twist`, which may answer in the server's place. What was asked and how many
//! bytes of content went out is counted.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// What becomes of a command.
pub(crate) enum Twist {
    /// It is answered as it should be.
    Usual,
    /// These bytes are the answer; `TAG` in them is the command's tag.
    Say(Vec<u8>),
    /// The connection is closed.
    Close,
    /// These bytes are said, and then it is closed.
    Leave(Vec<u8>),
    /// These bytes are said, and then nothing any more; the connection stays as it is, as if its other
    /// end had lost its power.
    Hang(Vec<u8>),
}

/// Says so of a command, without its tag.
pub(crate) type Twisted = fn(&mut Mailbox, &str) -> Twist;

/// A mailbox, and what happened to it.
pub(crate) struct Mailbox {
    pub(crate) validity: u32,
    pub(crate) next: u32,
    pub(crate) mails: BTreeMap<u32, Vec<u8>>,
    pub(crate) flagged: Vec<u32>,
    pub(crate) moved: Vec<Vec<u8>>,
    /// Beside IMAP4rev1.
    pub(crate) capabilities: &'static str,
    /// When every mail arrived.
    pub(crate) date: &'static str,
    pub(crate) commands: Vec<String>,
    /// Bytes of content that were sent.
    pub(crate) sent: usize,
    /// How often a twist did what it does only so often.
    pub(crate) twists: u32,
    /// How long the client stayed where it hung, once it has left.
    pub(crate) stayed: Option<Duration>,
    /// What a twist still has to do, a number each.
    pub(crate) script: Vec<u8>,
    /// Mails that were removed or moved.
    pub(crate) removed: Vec<Vec<u8>>,
    version: u64,
}

impl Mailbox {
    /// One more mail; gives its UID.
    pub(crate) fn add(&mut self, raw: Vec<u8>) -> u32 {
        let uid = self.next;
        self.mails.insert(uid, raw);
        self.next += 1;
        self.version += 1;
        uid
    }

    /// Whoever waits is told that there is something.
    pub(crate) fn wake(&mut self) {
        self.version += 1;
    }

    /// How often a command that begins so was given.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.commands.iter().filter(|command| command.starts_with(start)).count()
    }

    /// Bytes of content that were sent, and how often content was asked for.
    pub(crate) fn looked_at(&self) -> (usize, usize) {
        (self.sent, self.fetches())
    }

    /// How often the content of a mail was asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.commands.iter().filter(|command| command.contains("BODY.PEEK")).count()
    }
}

/// The server; it stops when it is dropped.
pub(crate) struct ImapServer {
    pub(crate) port: u16,
    mailbox: Arc<Mutex<Mailbox>>,
    stops: Arc<AtomicBool>,
}

impl ImapServer {
    pub(crate) fn start(twisted: Twisted) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mailbox = Arc::new(Mutex::new(Mailbox {
            validity: 7,
            next: 1,
            mails: BTreeMap::new(),
            flagged: Vec::new(),
            moved: Vec::new(),
            capabilities: "IDLE UIDPLUS",
            date: "02-Nov-2026 10:00:00 +0100",
            commands: Vec::new(),
            sent: 0,
            twists: 0,
            stayed: None,
            script: Vec::new(),
            removed: Vec::new(),
            version: 0,
        }));
        let stops = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&mailbox), Arc::clone(&stops));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (mailbox, stops) = (Arc::clone(&shared), Arc::clone(&stopped));
                thread::spawn(move || Talk { stream, mailbox, stops, twisted }.run());
            }
        });
        Self { port, mailbox, stops }
    }

    pub(crate) fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().expect("no holder panics")
    }
}

impl Drop for ImapServer {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::SeqCst);
        // Whoever waits for a connection finds one, and that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One connection.
struct Talk {
    stream: TcpStream,
    mailbox: Arc<Mutex<Mailbox>>,
    stops: Arc<AtomicBool>,
    twisted: Twisted,
}

impl Talk {
    fn run(mut self) {
        let _ = self.stream.set_nodelay(true);
        let Ok(stream) = self.stream.try_clone() else { return };
        let mut lines = BufReader::new(stream);
        let greeting = self.mailbox().twist(self.twisted, "");
        let greeting = match greeting {
            Twist::Say(bytes) => bytes,
            Twist::Close => return,
            Twist::Leave(bytes) => return drop(self.stream.write_all(&bytes)),
            Twist::Hang(bytes) => return self.hang(&bytes),
            Twist::Usual => b"* OK ready\r\n".to_vec(),
        };
        if self.stream.write_all(&greeting).is_err() {
            return;
        }
        loop {
            let mut line = String::new();
            if !matches!(lines.read_line(&mut line), Ok(1..)) {
                return;
            }
            let (tag, command) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
            let (tag, command) = (tag.to_owned(), command.to_owned());
            let twist = self.mailbox().twist(self.twisted, &command);
            let answer = match twist {
                Twist::Close => return,
                Twist::Leave(bytes) => {
                    return drop(self.stream.write_all(&replace(&bytes, b"TAG", tag.as_bytes())));
                }
                Twist::Hang(bytes) => return self.hang(&replace(&bytes, b"TAG", tag.as_bytes())),
                Twist::Say(bytes) => replace(&bytes, b"TAG", tag.as_bytes()),
                Twist::Usual if command == "IDLE" => match self.idle(&mut lines, &tag) {
                    Some(answer) => answer,
                    None => return,
                },
                Twist::Usual if command.starts_with("AUTHENTICATE") => {
                    let mut said = String::new();
                    if self.stream.write_all(b"+ \r\n").is_err()
                        || lines.read_line(&mut said).is_err()
                    {
                        return;
                    }
                    self.mailbox().commands.push(format!("said {}", said.trim_end()));
                    format!("{tag} OK in\r\n").into_bytes()
                }
                Twist::Usual => self.mailbox().answer(&tag, &command),
            };
            if self.stream.write_all(&answer).is_err() {
                return;
            }
        }
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().expect("no holder panics")
    }

    /// Until the client leaves, or the whole server stops.
    fn hang(&mut self, bytes: &[u8]) {
        let since = Instant::now();
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.set_read_timeout(Some(Duration::from_millis(20)));
        let mut said = [0; 1024];
        while !self.stops.load(Ordering::SeqCst) {
            let is_there = match self.stream.read(&mut said) {
                Ok(length) => length > 0,
                Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            };
            if !is_there {
                self.mailbox().stayed = Some(since.elapsed());
                return;
            }
        }
    }

    fn idle(&mut self, lines: &mut BufReader<TcpStream>, tag: &str) -> Option<Vec<u8>> {
        self.stream.write_all(b"+ idling\r\n").ok()?;
        // What came before it idles is looked at by the next poll.
        let mut seen = self.mailbox().version;
        let _ = self.stream.set_read_timeout(Some(Duration::from_millis(20)));
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            match lines.read(&mut byte) {
                Ok(0) => return None,
                Ok(_) => line.extend_from_slice(&byte),
                Err(_) if self.stops.load(Ordering::SeqCst) => return None,
                Err(_) => {}
            }
            if line.ends_with(b"\n") {
                let _ = self.stream.set_read_timeout(None);
                return Some(format!("{tag} OK done\r\n").into_bytes());
            }
            let (version, mails) = {
                let mailbox = self.mailbox();
                (mailbox.version, mailbox.mails.len())
            };
            if version != seen {
                seen = version;
                self.stream.write_all(format!("* {mails} EXISTS\r\n").as_bytes()).ok()?;
            }
        }
    }
}

impl Mailbox {
    fn twist(&mut self, twisted: Twisted, command: &str) -> Twist {
        if !command.is_empty() {
            self.commands.push(command.to_owned());
        }
        twisted(self, command)
    }

    /// The usual answer.
    pub(crate) fn answer(&mut self, tag: &str, command: &str) -> Vec<u8> {
        let words: Vec<&str> = command.split(' ').collect();
        let mut said = Vec::new();
        let mut verdict = "OK done";
        match words[..] {
            ["CAPABILITY"] => {
                let line = format!("* CAPABILITY IMAP4rev1 {}\r\n", self.capabilities);
                said.extend_from_slice(line.as_bytes());
            }
            ["SELECT" | "EXAMINE", ..] => {
                let line = format!(
                    "* FLAGS (\\Seen)\r\n* {} EXISTS\r\n* OK [UIDVALIDITY {}] valid\r\n\
                     * OK [UIDNEXT {}] next\r\n",
                    self.mails.len(),
                    self.validity,
                    self.next
                );
                said.extend_from_slice(line.as_bytes());
            }
            ["UID", "FETCH", range, ..] if command.contains("BODY.PEEK[]<") => {
                said.extend(self.content(range, command));
            }
            ["UID", "FETCH", range, ..] => {
                for uid in self.within(range) {
                    said.extend(self.list_line(uid));
                }
            }
            ["UID", "SEARCH", what, ..] => {
                let mut found = match what {
                    "DELETED" => self.flagged.clone(),
                    _ => self.within(words[3]),
                };
                let is_there = |uid: &u32| self.mails.contains_key(uid);
                let only = if words.last() == Some(&"DELETED") { "flagged" } else { "all" };
                found.retain(|uid| is_there(uid) && (only == "all" || self.flagged.contains(uid)));
                let found: String = found.iter().map(|uid| format!(" {uid}")).collect();
                said.extend_from_slice(format!("* SEARCH{found}\r\n").as_bytes());
            }
            ["UID", "STORE", uid, ..] => self.flagged.push(uid.parse().expect("a UID")),
            ["UID", "EXPUNGE", uid] => {
                let uid = uid.parse().expect("a UID");
                if self.flagged.contains(&uid) {
                    self.removed.extend(self.mails.remove(&uid));
                }
            }
            ["EXPUNGE"] => {
                for uid in std::mem::take(&mut self.flagged) {
                    self.removed.extend(self.mails.remove(&uid));
                }
            }
            ["UID", "COPY", uid, ..] => {
                let uid: u32 = uid.parse().expect("a UID");
                self.moved.extend(self.mails.get(&uid).cloned());
            }
            ["UID", "MOVE", uid, ..] => {
                let uid: u32 = uid.parse().expect("a UID");
                let mail = self.mails.remove(&uid);
                self.removed.extend(mail.clone());
                self.moved.extend(mail);
            }
            ["LOGIN", ..] | ["NOOP"] | ["LOGOUT"] => {}
            _ => verdict = "BAD what",
        }
        said.extend_from_slice(format!("{tag} {verdict}\r\n").as_bytes());
        said
    }

    /// What is said of a mail in a list.
    pub(crate) fn list_line(&self, uid: u32) -> Vec<u8> {
        let (size, date) = (self.mails[&uid].len(), self.date);
        let line = format!(
            "* {uid} FETCH (UID {uid} RFC822.SIZE {size} INTERNALDATE \"{date}\" FLAGS (\\Seen))\r\n"
        );
        line.into_bytes()
    }

    /// A range as servers read it: of `n:*` the last is always in it.
    pub(crate) fn within(&self, range: &str) -> Vec<u32> {
        let (low, high) = range.split_once(':').unwrap_or((range, range));
        let last = self.mails.keys().last().copied().unwrap_or(0);
        let number = |text: &str| if text == "*" { last } else { text.parse().expect("a UID") };
        let (low, high) = (number(low), number(high));
        self.mails.range(low.min(high)..=low.max(high)).map(|(uid, _)| *uid).collect()
    }

    /// The slice of a mail that a command asks for.
    pub(crate) fn slice(&self, command: &str) -> Option<(u32, u32, Vec<u8>)> {
        let uid: u32 = command.split(' ').nth(2)?.parse().ok()?;
        let wish = command.split_once('<')?.1.split_once('>')?.0;
        let (offset, length) = wish.split_once('.')?;
        let (offset, length): (usize, usize) = (offset.parse().ok()?, length.parse().ok()?);
        let raw = self.mails.get(&uid)?;
        let rest = raw.get(offset..).unwrap_or_default();
        Some((uid, offset as u32, rest[..rest.len().min(length)].to_vec()))
    }

    fn content(&mut self, range: &str, command: &str) -> Vec<u8> {
        let Some((uid, offset, bytes)) = self.slice(command) else {
            assert!(range.parse::<u32>().is_ok());
            return Vec::new();
        };
        self.sent += bytes.len();
        let head = format!("* 1 FETCH (UID {uid} BODY[]<{offset}> {{{}}}\r\n", bytes.len());
        [head.as_bytes(), &bytes, b")\r\n"].concat()
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}
