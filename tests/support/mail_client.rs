//! A mail client that behaves like a sending server: distinct letters from a seed, connections kept
//! open, retries with patience, and a list of what was answered 250.
//!
//! Shared by tests and `examples/load.rs`; each uses a part of it.
#![allow(dead_code, reason = "every includer uses a part")]

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;

/// How long the client waits for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The first pause before a retry; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A stream of numbers that depends on the seed alone (SplitMix64).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Letter number `n` of the seed: a text and one attachment of random bytes, about `size` bytes in
/// all. Every line ends with CRLF.
pub(crate) fn letter(seed: u64, n: u64, size: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(n));
    let boundary = format!("{:016x}", numbers.draw());
    let mut text = String::with_capacity(size + 1024);
    write!(
        text,
        "From: Load <load@client.example>\r\nTo: <backoffice@jobexpert.be>\r\n\
         Subject: Letter {n} of {seed}\r\nMessage-ID: <{n}.{seed}@client.example>\r\n\
         Date: Mon, 2 Nov 2026 09:00:00 +0100\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         Please send me what you have about me ({n}).\r\n\
         --{boundary}\r\nContent-Type: application/octet-stream; name=\"{n}.bin\"\r\n\
         Content-Disposition: attachment; filename=\"{n}.bin\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n",
    )
    .expect("a string takes text");
    let mut line = [0; 57];
    while text.len() + 60 < size {
        for eight in line.chunks_mut(8) {
            eight.copy_from_slice(&numbers.draw().to_le_bytes()[..eight.len()]);
        }
        BASE64.encode_append(&line, &mut text);
        text.push_str("\r\n");
    }
    write!(text, "--{boundary}--\r\n").expect("a string takes text");
    text.into_bytes()
}

/// One answer: its code and its text, lines and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) text: String,
}

/// One connection.
pub(crate) struct Client<S: Read + Write = TcpStream> {
    stream: BufReader<S>,
    lmtp: bool,
}

impl Client {
    /// Connects, and reads the greeting.
    pub(crate) fn connect(addr: SocketAddr, lmtp: bool) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, ANSWER_TIME)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.set_write_timeout(Some(ANSWER_TIME))?;
        Self::over(stream, lmtp)
    }

    /// Connects, reads the greeting, and greets.
    pub(crate) fn greet(addr: SocketAddr, lmtp: bool) -> io::Result<Self> {
        let mut client = Self::connect(addr, lmtp)?;
        client.hello()?;
        Ok(client)
    }
}

impl<S: Read + Write> Client<S> {
    /// Talks over a stream that is open already, and reads the greeting.
    pub(crate) fn over(stream: S, lmtp: bool) -> io::Result<Self> {
        let mut client = Self::resume(stream, lmtp);
        expect(&client.answer()?, 220)?;
        Ok(client)
    }

    /// Talks over a stream on which no greeting comes (after STARTTLS).
    pub(crate) fn resume(stream: S, lmtp: bool) -> Self {
        Self { stream: BufReader::with_capacity(16 * 1024, stream), lmtp }
    }

    /// EHLO or LHLO.
    pub(crate) fn hello(&mut self) -> io::Result<Answer> {
        let word = if self.lmtp { "LHLO" } else { "EHLO" };
        let answer = self.say(&format!("{word} client.example"))?;
        expect(&answer, 250)?;
        Ok(answer)
    }

    /// One command (without its CRLF) and its answer.
    pub(crate) fn say(&mut self, command: &str) -> io::Result<Answer> {
        self.write(format!("{command}\r\n").as_bytes())?;
        self.answer()
    }

    /// Bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let mut text = String::new();
        loop {
            let start = text.len();
            if self.stream.read_line(&mut text)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = &text[start..];
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let Some(code) = code.filter(|_| line.ends_with("\r\n")) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            if line.as_bytes()[3] == b' ' {
                return Ok(Answer { code, text });
            }
        }
    }

    /// Whether the other side has closed.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }

    /// The stream underneath.
    pub(crate) fn into_stream(self) -> S {
        self.stream.into_inner()
    }

    /// Sends one letter, pipelined; the answers to its end, one for each accepted recipient in
    /// LMTP. An answer that stops the letter earlier stands alone.
    pub(crate) fn send(&mut self, from: &str, to: &[&str], raw: &[u8]) -> io::Result<Vec<Answer>> {
        self.send_wire(from, to, &stuffed(raw))
    }

    /// As [`send`](Self::send), for a letter as [`stuffed`] made it.
    pub(crate) fn send_wire(
        &mut self,
        from: &str,
        to: &[&str],
        wire: &[u8],
    ) -> io::Result<Vec<Answer>> {
        let mut head = format!("MAIL FROM:<{from}>\r\n");
        for to in to {
            write!(head, "RCPT TO:<{to}>\r\n").expect("a string takes text");
        }
        head.push_str("DATA\r\n");
        self.write(head.as_bytes())?;
        let mail = self.answer()?;
        let recipients = to.iter().map(|_| self.answer()).collect::<io::Result<Vec<_>>>()?;
        let accepted = recipients.iter().filter(|answer| answer.code == 250).count();
        let data = self.answer()?;
        if data.code != 354 {
            let refused = recipients.into_iter().find(|answer| answer.code != 250);
            let first = if mail.code != 250 { mail } else { refused.unwrap_or(data) };
            return Ok(vec![first]);
        }
        self.write(wire)?;
        (0..if self.lmtp { accepted } else { 1 }).map(|_| self.answer()).collect()
    }
}

fn expect(answer: &Answer, code: u16) -> io::Result<()> {
    if answer.code == code { Ok(()) } else { Err(io::Error::other(answer.text.clone())) }
}

/// The letter as it goes over the wire, its end included (RFC 5321 §4.5.2).
pub(crate) fn stuffed(raw: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(raw.len() + raw.len() / 64 + 8);
    for line in raw.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// What to send, and where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) addr: SocketAddr,
    pub(crate) lmtp: bool,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) seed: u64,
    /// Letters `0..letters` of the seed.
    pub(crate) letters: u64,
    /// Bytes of each.
    pub(crate) size: usize,
    pub(crate) connections: usize,
    /// Times a letter is tried before it counts as failed.
    pub(crate) tries: u32,
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Letters that were answered 250, in the order of the answers.
    pub(crate) accepted: Vec<u64>,
    /// Letters that were given up, or refused for good.
    pub(crate) failed: Vec<u64>,
    /// Tries after a first one.
    pub(crate) retries: u64,
    pub(crate) elapsed: Duration,
}

/// Sends all letters of the plan over its connections. A connection that is lost is opened again,
/// and its letter sent again, even if only the answer was lost: the receiver knows repeats.
pub(crate) fn send_all(plan: &Plan) -> Outcome {
    send_each(plan, |n| Cow::Owned(wire(plan, n)))
}

/// Letter number `n` of the plan, as it goes over the wire.
pub(crate) fn wire(plan: &Plan, n: u64) -> Vec<u8> {
    stuffed(&letter(plan.seed, n, plan.size))
}

/// As [`send_all`], with letters that somebody else made ready.
pub(crate) fn send_each<'a>(plan: &Plan, wire: impl Fn(u64) -> Cow<'a, [u8]> + Sync) -> Outcome {
    let next = AtomicU64::new(0);
    let outcome = Mutex::new(Outcome::default());
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..plan.connections {
            scope.spawn(|| {
                let mut client = None;
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= plan.letters {
                        break;
                    }
                    let (accepted, tries) = send_patiently(plan, &mut client, &wire(n));
                    let mut outcome = outcome.lock().expect("no sender panics");
                    outcome.retries += u64::from(tries.saturating_sub(1));
                    if accepted { outcome.accepted.push(n) } else { outcome.failed.push(n) }
                }
                if let Some(mut client) = client {
                    let _ = client.say("QUIT");
                }
            });
        }
    });
    let mut outcome = outcome.into_inner().expect("no sender panics");
    outcome.elapsed = start.elapsed();
    outcome
}

/// Whether the letter was accepted, and after how many tries.
fn send_patiently(plan: &Plan, client: &mut Option<Client>, wire: &[u8]) -> (bool, u32) {
    let mut pause = FIRST_PAUSE;
    for tries in 1..=plan.tries {
        if tries > 1 {
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let code = try_once(plan, client, wire).map(|answer| answer.code);
        match code {
            Ok(250) => return (true, tries),
            // 421 says that the connection is closing (RFC 5321 §4.2.1).
            Ok(421) | Err(_) => *client = None,
            Ok(500..) => return (false, tries),
            Ok(_) => {}
        }
    }
    (false, plan.tries)
}

fn try_once(plan: &Plan, client: &mut Option<Client>, wire: &[u8]) -> io::Result<Answer> {
    let open = match client {
        Some(open) => open,
        None => client.insert(Client::greet(plan.addr, plan.lmtp)?),
    };
    let mut answers = open.send_wire(&plan.from, &[&plan.to], wire)?;
    answers.pop().ok_or_else(|| io::ErrorKind::InvalidData.into())
}
