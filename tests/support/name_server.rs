//! A name server on loopback that answers what it is told to, lies and is silent; and DKIM signatures
//! whose keys it publishes.
//!
//! Shared by tests and `examples/load.rs`; each uses a part of it.
#![allow(dead_code, reason = "every includer uses a part")]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;

const TXT: u16 = 16;
const CNAME: u16 = 5;

/// What the server says to a question.
#[derive(Clone)]
pub(crate) enum Say {
    Text(String),
    Alias(String),
    Fail,
    Nothing,
    Garbage,
    /// The answer to another question, under another number.
    Other(String),
    /// The text, but only after [`SLOW`].
    Slow(String),
    /// That it is too long for UDP; the text over TCP.
    Long(String),
    /// That it is too long for UDP; over TCP it takes the question and says nothing.
    Hangs,
}

/// How long a slow answer takes.
pub(crate) const SLOW: Duration = Duration::from_millis(700);
/// Between two looks at whether the server is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A name server on loopback, gone when dropped.
pub(crate) struct Names {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Names {
    pub(crate) fn serve(zone: &[(&str, Say)]) -> Self {
        Self::serve_at("127.0.0.1:0".parse().expect("an address"), zone)
    }

    pub(crate) fn serve_at(address: SocketAddr, zone: &[(&str, Say)]) -> Self {
        let zone: HashMap<String, Say> =
            zone.iter().map(|(name, say)| (format!("{name}."), say.clone())).collect();
        let is_long = |say: &Say| matches!(say, Say::Long(_) | Say::Hangs);
        let (socket, listener) = bind(address, zone.values().any(is_long));
        socket.set_read_timeout(Some(LOOK)).expect("is set");
        let address = socket.local_addr().expect("is bound");
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let zone = Arc::new(zone);
        let mut threads = Vec::new();
        if let Some(listener) = listener {
            let (zone, ends) = (Arc::clone(&zone), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || serve_tcp(&listener, &zone, &ends)));
        }
        let (count, ends) = (Arc::clone(&asked), Arc::clone(&stop));
        threads.push(std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !ends.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let Some(answer) = answer(&buffer[..length], &zone, false) else { continue };
                if answer.is_slow {
                    let socket = socket.try_clone().expect("clones");
                    std::thread::spawn(move || {
                        std::thread::sleep(SLOW);
                        let _ = socket.send_to(&answer.bytes, from);
                    });
                } else {
                    let _ = socket.send_to(&answer.bytes, from);
                }
            }
        }));
        Self { address, asked, stop, threads }
    }
}

/// UDP and, where it is needed, TCP on the same port.
fn bind(address: SocketAddr, also_tcp: bool) -> (UdpSocket, Option<TcpListener>) {
    for _ in 0..100 {
        let socket = UdpSocket::bind(address).expect("binds");
        if !also_tcp {
            return (socket, None);
        }
        if let Ok(listener) = TcpListener::bind(socket.local_addr().expect("is bound")) {
            return (socket, Some(listener));
        }
    }
    panic!("no port is free for both");
}

/// Answers over TCP; where nothing is to be said it holds the connection.
fn serve_tcp(listener: &TcpListener, zone: &HashMap<String, Say>, ends: &AtomicBool) {
    listener.set_nonblocking(true).expect("is set");
    std::thread::scope(|scope| {
        while !ends.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => drop(scope.spawn(move || answer_tcp(stream, zone, ends))),
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    });
}

fn answer_tcp(mut stream: TcpStream, zone: &HashMap<String, Say>, ends: &AtomicBool) {
    stream.set_nonblocking(false).expect("is set");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("is set");
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut question).is_err() {
            return;
        }
        let Some(answer) = answer(&question, zone, true) else {
            while !ends.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
            }
            return;
        };
        let length = u16::try_from(answer.bytes.len()).expect("fits").to_be_bytes();
        if stream.write_all(&[&length[..], &answer.bytes].concat()).is_err() {
            return;
        }
    }
}

/// What is said, and whether that takes time.
struct Answer {
    bytes: Vec<u8>,
    is_slow: bool,
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn answer(question: &[u8], zone: &HashMap<String, Say>, over_tcp: bool) -> Option<Answer> {
    let (mut name, mut at) = (String::new(), 12);
    while question[at] != 0 {
        let length = usize::from(question[at]);
        name.push_str(&String::from_utf8_lossy(&question[at + 1..at + 1 + length]).to_lowercase());
        name.push('.');
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let asked = &question[12..at + 5];
    let reply = |id: [u8; 2], code: u8, records: &[(u16, Vec<u8>)]| {
        let mut bytes = vec![id[0], id[1], 0x81, 0x80 | code, 0, 1];
        bytes.extend((records.len() as u16).to_be_bytes());
        let says_no = records.is_empty() && matches!(code, 0 | 3);
        bytes.extend([0, u8::from(says_no), 0, 0]);
        bytes.extend(asked);
        for (kind, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
        // Whose zone it is, and how long a no may be remembered (RFC 2308 §3).
        if says_no {
            bytes.extend([0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
            bytes.extend([1u32, 3600, 600, 86_400, 60].map(u32::to_be_bytes).concat());
        }
        bytes
    };
    let id = [question[0], question[1]];
    let text = |text: &str| {
        text.as_bytes().chunks(255).fold(Vec::new(), |mut data, piece| {
            data.push(piece.len() as u8);
            data.extend(piece);
            data
        })
    };
    let label = |name: &str| {
        let mut data = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            data.push(label.len() as u8);
            data.extend(label.as_bytes());
        }
        data.push(0);
        data
    };
    let too_long = || {
        let mut bytes = reply(id, 0, &[]);
        bytes[2] |= 2;
        bytes
    };
    let said = zone.get(&name);
    let bytes = match said {
        Some(Say::Text(said) | Say::Slow(said)) if kind == TXT => {
            reply(id, 0, &[(TXT, text(said))])
        }
        Some(Say::Long(said)) if kind == TXT && over_tcp => reply(id, 0, &[(TXT, text(said))]),
        Some(Say::Hangs) if over_tcp => return None,
        Some(Say::Long(_) | Say::Hangs) if kind == TXT && !over_tcp => too_long(),
        Some(Say::Alias(to)) => reply(id, 0, &[(CNAME, label(to))]),
        Some(Say::Fail) => reply(id, 2, &[]),
        Some(Say::Nothing) => return None,
        Some(Say::Garbage) => vec![0xff; 40],
        Some(Say::Other(said)) if kind == TXT => reply([!id[0], id[1]], 0, &[(TXT, text(said))]),
        Some(_) => reply(id, 0, &[]),
        None => reply(id, 3, &[]),
    };
    Some(Answer { bytes, is_slow: matches!(said, Some(Say::Slow(_))) })
}

/// A key to sign with, and what its domain publishes of it.
pub(crate) fn key() -> (Ed25519Key, String) {
    let (key, _, public) = key_and_bytes();
    (key, public)
}

pub(crate) fn key_and_bytes() -> (Ed25519Key, Vec<u8>, String) {
    let bytes = Ed25519Key::generate_pkcs8().expect("a key");
    let key = Ed25519Key::from_pkcs8_der(&bytes).expect("reads");
    let public = data_encoding::BASE64.encode(&key.public_key());
    (key, bytes, format!("v=DKIM1; k=ed25519; p={public}"))
}

pub(crate) fn signed(key: Ed25519Key, domain: &str, raw: &[u8], whole: bool) -> Vec<u8> {
    let signer = DkimSigner::from_key(key)
        .domain(domain)
        .selector("k1")
        .headers(["From", "Subject"])
        .body_length(!whole);
    let header = signer.sign(raw).expect("signs").to_header();
    [header.as_bytes(), raw].concat()
}
