//! The inbox over real sockets: a hand-made client, swaks, and many senders at once.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::mail_client::{Client, Plan, letter, send_all, stuffed};
use kluis::inbox::budget::{Budget, Share};
use kluis::inbox::{
    self, BareNewlines, Deliver, Delivery, Kind, Listener, Recipients, Settings, Verdict,
};
use kluis::letter::Source;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
};

pub(crate) const OURS: &str = "backoffice@jobexpert.be";
pub(crate) const SENDER: &str = "lotte@client.example";

pub(crate) fn settings() -> Settings {
    Settings {
        hostname: "mx.example".into(),
        recipients: Recipients::new([OURS, "desk@jobexpert.be"], true),
        room: Budget::new(64 << 20),
        ..Settings::default()
    }
}

pub(crate) type Fate = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A server on a thread of its own; stops when dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    letters: Arc<Mutex<Vec<Delivery>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Keeps every letter.
    pub(crate) fn start(kind: Kind, settings: Settings) -> Self {
        Self::deciding(kind, None, settings, |_| Box::pin(async { Verdict::Accepted }))
    }

    /// Asks `decide` about every letter, and keeps it if that says so.
    pub(crate) fn deciding(
        kind: Kind,
        unix: Option<&Path>,
        settings: Settings,
        decide: impl Fn(&Delivery) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self::listening(|socket| Listener::tcp(kind, socket), unix, settings, decide)
    }

    /// Takes mail from the world, with `proxies` only through them; keeps every letter.
    pub(crate) fn facing_world(settings: Settings, proxies: &[&str]) -> Self {
        let proxies = proxies.iter().map(|network| network.parse().expect("a network")).collect();
        let keep = |_: &Delivery| -> Fate { Box::pin(async { Verdict::Accepted }) };
        Self::listening(|socket| Listener::mx(socket, proxies), None, settings, keep)
    }

    fn listening(
        listener: impl FnOnce(TcpListener) -> Listener,
        unix: Option<&Path>,
        settings: Settings,
        decide: impl Fn(&Delivery) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let letters = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&letters);
        let deliver: Deliver = Arc::new(move |delivery| {
            let fate = decide(&delivery);
            let kept = Arc::clone(&kept);
            Box::pin(async move {
                // All of it, with its room.
                let mut delivery = delivery;
                let verdict = fate.await;
                if verdict == Verdict::Accepted {
                    // What is kept here takes no room any more.
                    delivery.share = Share::default();
                    kept.lock().expect("no keeper panics").push(delivery);
                }
                verdict
            })
        });
        let runtime = Runtime::new().expect("a runtime");
        let socket = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let addr = socket.local_addr().expect("an address");
        let mut listeners = vec![listener(socket)];
        if let Some(path) = unix {
            let _inside = runtime.enter();
            listeners.push(Listener::unix(path).expect("a Unix socket"));
        }
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let shutdown = async { drop(stopped.await) };
            runtime.block_on(inbox::run(listeners, Arc::new(settings), deliver, shutdown));
        });
        Self { addr, letters, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn client(&self, lmtp: bool) -> Client {
        Client::greet(self.addr, lmtp).expect("the server greets")
    }

    pub(crate) fn letters(&self) -> Vec<Delivery> {
        self.letters.lock().expect("no keeper panics").clone()
    }

    fn tell_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    fn end(&mut self) {
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends well");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn code(client: &mut Client, command: &str) -> u16 {
    client.say(command).expect("an answer").code
}

/// Certificate and key of `mx.example` for the server, and who trusts it.
fn tls() -> (Arc<tokio_rustls::rustls::ServerConfig>, Arc<ClientConfig>) {
    let dir = tempfile::tempdir().expect("a directory");
    let trust = certificate(dir.path());
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let offered = inbox::tls::Offered::load(&certificate, &key).expect("a pair that works");
    (offered.config(), trust)
}

/// Makes `cert.pem` and `key.pem` of `mx.example` in a directory; gives who trusts it.
pub(crate) fn certificate(dir: &Path) -> Arc<ClientConfig> {
    let pair = rcgen::generate_simple_self_signed(vec!["mx.example".into()]).expect("a pair");
    std::fs::write(dir.join("cert.pem"), pair.cert.pem()).expect("written");
    std::fs::write(dir.join("key.pem"), pair.signing_key.serialize_pem()).expect("written");
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).expect("a root");
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(client)
}

/// Says STARTTLS and talks on over it.
pub(crate) fn secured(
    mut client: Client,
    trust: Arc<ClientConfig>,
    lmtp: bool,
) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    assert_eq!(code(&mut client, "STARTTLS"), 220);
    let name = "mx.example".try_into().expect("a name");
    let tls = ClientConnection::new(trust, name).expect("a client");
    Client::resume(StreamOwned::new(tls, client.into_stream()), lmtp)
}

/// A ticket of one listener must not open a session at another, which may trust whom it knows (RFC
/// 8446 §4.6.1).
#[test]
fn no_tls_session_is_resumed() {
    let dir = tempfile::tempdir().expect("a directory");
    certificate(dir.path());
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let offered = inbox::tls::Offered::load(&certificate, &key).expect("a pair that works");
    let server = Server::start(Kind::Smtp, Settings { tls: Some(offered.config()), ..settings() });
    for version in [&TLS12, &TLS13] {
        let mut roots = RootCertStore::empty();
        let pem = CertificateDer::from_pem_file(&certificate).expect("a certificate");
        roots.add(pem).expect("a root");
        let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Arc::new(client);
        for _ in 0..3 {
            let plain = server.client(false);
            let mut secure = secured(plain, Arc::clone(&client), false);
            assert_eq!(secure.hello().expect("an answer").code, 250);
            assert_eq!(secure.say("QUIT").expect("an answer").code, 221);
            let tls = secure.into_stream().conn;
            assert_eq!(tls.protocol_version(), Some(version.version));
            assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[test]
fn a_letter_comes_in_bit_for_bit() {
    let server = Server::start(Kind::Smtp, settings());
    let mut client = server.client(false);
    let raw = b".\r\n..x\r\n\r\nb\xe9\xff\r\n".to_vec();
    let answers = client.send("", &[OURS, "postmaster"], &raw).expect("answers");
    assert_eq!(answers[0].text, "250 2.0.0 OK\r\n");
    assert_eq!(code(&mut client, "QUIT"), 221);
    assert!(client.is_closed());
    let [Delivery { envelope, raw: came, .. }] = &server.letters()[..] else {
        panic!("one letter")
    };
    assert_eq!(came, &raw);
    assert_eq!(envelope.mail_from.expose(), "");
    assert_eq!(envelope.rcpt_to.len(), 2);
    assert_eq!(envelope.helo.expose(), "client.example");
    assert_eq!(envelope.client.as_ref().map(|ip| ip.expose().as_str()), Some("127.0.0.1"));
    assert_eq!((envelope.source, envelope.tls), (Source::Smtp, false));
}

#[test]
fn pipelined_commands_and_letters_are_answered_in_order() {
    let server = Server::start(Kind::Smtp, settings());
    let mut client = server.client(false);
    let raw = letter(1, 0, 300_000);
    let head = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<no@x>\r\nRCPT TO:<{OURS}>\r\nDATA\r\n");
    let both = [head.as_bytes(), &stuffed(&raw)].concat().repeat(2);
    let mut stream = client.into_stream();
    let mut reader = Client::resume(stream.try_clone().expect("a clone"), false);
    let writer = thread::spawn(move || {
        stream.write_all(&both)?;
        stream.write_all(b"QUIT\r\n")
    });
    let codes: Vec<_> = (0..11).map(|_| reader.answer().expect("an answer").code).collect();
    assert_eq!(codes, [250, 550, 250, 354, 250, 250, 550, 250, 354, 250, 221]);
    writer.join().expect("written").expect("written");
    assert!(server.letters().iter().all(|letter| letter.raw == raw));
    assert_eq!(server.letters().len(), 2);
    client = server.client(false);
    assert_eq!(code(&mut client, "NOOP"), 250);
}

#[test]
fn a_letter_comes_in_over_starttls_and_nothing_said_before_counts() {
    let (certificate, trust) = tls();
    let server = Server::start(Kind::Smtp, Settings { tls: Some(certificate), ..settings() });
    let mut client = Client::connect(server.addr, false).expect("connected");
    assert!(client.hello().expect("an answer").text.contains("250-STARTTLS\r\n"));
    assert_eq!(code(&mut client, &format!("MAIL FROM:<{SENDER}>")), 250);
    let mut client = secured(client, trust, false);
    assert_eq!(client.say(&format!("RCPT TO:<{OURS}>")).expect("an answer").code, 503);
    assert!(!client.hello().expect("an answer").text.contains("STARTTLS"));
    let raw = letter(2, 0, 500_000);
    assert_eq!(client.send(SENDER, &[OURS], &raw).expect("answers")[0].code, 250);
    assert_eq!(client.say("QUIT").expect("an answer").code, 221);
    let letters = server.letters();
    assert!(letters.len() == 1 && letters[0].raw == raw && letters[0].envelope.tls);
}

#[test]
fn what_is_slipped_in_behind_starttls_is_refused() {
    let (certificate, _) = tls();
    let server = Server::start(Kind::Smtp, Settings { tls: Some(certificate), ..settings() });
    let mut client = server.client(false);
    client.write(b"STARTTLS\r\nRSET\r\n").expect("written");
    assert_eq!(client.answer().expect("an answer").code, 554);
    assert!(client.is_closed());

    // Alone it is answered, and what comes then in clear is no handshake.
    let mut client = server.client(false);
    assert_eq!(code(&mut client, "STARTTLS"), 220);
    client.write(format!("MAIL FROM:<{SENDER}>\r\n").as_bytes()).expect("written");
    assert_ne!(client.answer().map(|answer| answer.code).ok(), Some(250));
}

#[test]
fn lmtp_answers_every_recipient_over_tcp_and_over_a_unix_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lmtp.sock");
    let refuse_odd = |delivery: &Delivery| -> Fate {
        let odd = delivery.raw.starts_with(b"odd");
        Box::pin(async move { if odd { Verdict::TryLater } else { Verdict::Accepted } })
    };
    let server = Server::deciding(Kind::Lmtp, Some(&path), settings(), refuse_odd);
    let to = [OURS, "nobody@jobexpert.be", "desk@jobexpert.be"];
    let codes = |answers: Vec<crate::mail_client::Answer>| {
        answers.iter().map(|answer| answer.code).collect::<Vec<_>>()
    };
    let mut tcp = server.client(true);
    assert_eq!(codes(tcp.send(SENDER, &to, b"even\r\n").expect("answers")), [250, 250]);
    assert_eq!(codes(tcp.send(SENDER, &to, b"odd\r\n").expect("answers")), [451, 451]);
    assert_eq!(codes(tcp.send(SENDER, &to[1..2], b"even\r\n").expect("answers")), [550]);
    assert_eq!(code(&mut tcp, "EHLO x"), 500);

    let stream = UnixStream::connect(&path).expect("connected");
    let mut unix = Client::over(stream, true).expect("a greeting");
    unix.hello().expect("an answer");
    assert_eq!(codes(unix.send(SENDER, &to, b"even\r\n").expect("answers")), [250, 250]);
    let letters = server.letters();
    assert!(letters.iter().all(|letter| letter.envelope.source == Source::Lmtp));
    assert_eq!(letters[0].envelope.rcpt_to.len(), 2);
    assert!(letters[0].envelope.client.is_some() && letters[1].envelope.client.is_none());
}

#[test]
fn a_unix_socket_that_was_left_behind_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lmtp.sock");
    let server = Server::deciding(Kind::Lmtp, Some(&path), settings(), |_| {
        Box::pin(async { Verdict::Refused })
    });
    let runtime = Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let taken = Listener::unix(&path).err().map(|error| error.kind());
    assert_eq!(taken, Some(io::ErrorKind::AddrInUse));
    drop(server);
    assert!(path.exists(), "the socket is left behind");
    assert!(Listener::unix(&path).is_ok());
    let file = dir.path().join("file");
    std::fs::write(&file, "precious").expect("written");
    assert!(Listener::unix(&file).is_err());
    assert_eq!(std::fs::read(&file).expect("still there"), b"precious");
}

#[test]
fn a_letter_that_is_too_big_is_refused_before_or_at_its_end() {
    let server = Server::start(Kind::Smtp, Settings { max_letter: 100_000, ..settings() });
    let mut client = server.client(false);
    assert_eq!(code(&mut client, &format!("MAIL FROM:<{SENDER}> SIZE=100001")), 552);
    for (size, answer) in [(90_000, 250), (5_000_000, 552), (90_000, 250)] {
        let raw = letter(3, 0, size);
        assert_eq!(client.send(SENDER, &[OURS], &raw).expect("answers")[0].code, answer);
    }
    assert_eq!(server.letters().len(), 2);
}

#[test]
fn letters_beyond_the_memory_for_them_are_put_off() {
    let gate = Arc::new(Semaphore::new(0));
    let at_gate = Arc::new(AtomicU64::new(0));
    let (pass, waiting) = (Arc::clone(&gate), Arc::clone(&at_gate));
    let settings = Settings { room: Budget::new(300_000), ..settings() };
    let server = Server::deciding(Kind::Smtp, None, settings, move |_| {
        let pass = Arc::clone(&pass);
        waiting.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            pass.acquire().await.expect("the gate stands").forget();
            Verdict::Accepted
        })
    });
    let raw = letter(4, 0, 200_000);
    let mut first = server.client(false);
    let mut second = server.client(false);
    thread::scope(|scope| {
        let raw = &raw;
        let held = scope.spawn(move || first.send(SENDER, &[OURS], raw).expect("answers")[0].code);
        while at_gate.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let answers = second.send(SENDER, &[OURS], raw).expect("answers");
        assert_eq!(answers[0].text, "452 4.3.1 No room now, try again later\r\n");
        gate.add_permits(2);
        assert_eq!(held.join().expect("the first sender"), 250);
        assert_eq!(second.send(SENDER, &[OURS], raw).expect("answers")[0].code, 250);
    });
    assert_eq!(server.letters().len(), 2);
}

#[test]
fn a_client_that_trickles_is_cut_off() {
    let fast = Settings {
        command_timeout: Duration::from_millis(400),
        letter_timeout: Duration::from_millis(800),
        rate_grace: Duration::from_millis(300),
        minimum_rate: 1_000,
        ..settings()
    };
    let server = Server::start(Kind::Smtp, fast);
    // (before, what trickles, how many bytes each 20 ms, the answers before 421)
    let letter = format!("MAIL FROM:<>\r\nRCPT TO:<{OURS}>\r\nDATA\r\n");
    for (before, bytes, answers, least, most) in
        [("", 1, 0, 300, 700), (&letter[..], 1, 3, 200, 700), (&letter[..], 400, 3, 700, 1200)]
    {
        let mut client = server.client(false);
        client.write(before.as_bytes()).expect("written");
        let start = Instant::now();
        let mut stream = client.into_stream();
        let mut reader = Client::resume(stream.try_clone().expect("a clone"), false);
        let writer = thread::spawn(move || {
            while stream.write_all(&vec![b'x'; bytes]).is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        for _ in 0..answers {
            assert!(reader.answer().expect("an answer").code < 400);
        }
        assert_eq!(reader.answer().expect("an answer").text, "421 4.4.2 Timeout, closing\r\n");
        let elapsed = start.elapsed().as_millis();
        // The machine may have other things to do; that much later it would not be by chance.
        assert!((least..most + 5_000).contains(&elapsed), "{bytes}: {elapsed} ms");
        drop(reader);
        writer.join().expect("the writer ends when we are gone");
    }
}

#[test]
fn a_client_too_many_hears_421_and_a_free_place_is_used_again() {
    let server = Server::start(Kind::Smtp, Settings { max_connections: 2, ..settings() });
    let mut first = server.client(false);
    let second = server.client(false);
    let stream = TcpStream::connect(server.addr).expect("connected");
    assert_eq!(Client::resume(stream, false).answer().expect("an answer").code, 421);
    drop(second);
    let mut tries = 0;
    while Client::greet(server.addr, false).is_err() {
        tries += 1;
        assert!(tries < 100, "the place is never free again");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(code(&mut first, "NOOP"), 250);
}

/// Strangers take the places of strangers; a server of ours finds its own.
#[test]
fn a_crowd_of_strangers_leaves_our_own_servers_their_places() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lmtp.sock");
    let few = Settings { max_connections: 3, max_connections_per_client: 100, ..settings() };
    let keep = |_: &Delivery| -> Fate { Box::pin(async { Verdict::Accepted }) };
    // Facing the world even loopback is a stranger; on a socket of ours it is none.
    let mx = |socket| Listener::mx(socket, Vec::new());
    let server = Server::listening(mx, Some(&path), few.clone(), keep);
    let crowd: Vec<Client> = (0..3).map(|_| server.client(false)).collect();
    let full = |addr| {
        let stream = TcpStream::connect(addr).expect("connected");
        Client::resume(stream, false).answer().expect("an answer").code == 421
    };
    assert!(full(server.addr));
    let ours: Vec<_> = (0..3)
        .map(|_| {
            let stream = UnixStream::connect(&path).expect("connected");
            let mut client = Client::over(stream, true).expect("a place");
            client.hello().expect("an answer");
            assert_eq!(client.send(SENDER, &[OURS], b"x\r\n").expect("answers")[0].code, 250);
            client
        })
        .collect();
    let stream = UnixStream::connect(&path).expect("connected");
    assert_eq!(Client::resume(stream, true).answer().expect("an answer").code, 421);
    drop(crowd);
    let mut tries = 0;
    while full(server.addr) {
        tries += 1;
        assert!(tries < 100, "ours take no place of theirs");
        thread::sleep(Duration::from_millis(20));
    }
    drop(ours);

    // Who is none of ours counts as a stranger at a socket for ours, too.
    let few = Settings { trusted: vec!["127.0.0.2".parse().expect("a network")], ..few };
    let server = Server::deciding(Kind::Smtp, Some(&dir.path().join("other.sock")), few, keep);
    let crowd: Vec<Client> = (0..3).map(|_| server.client(false)).collect();
    assert!(full(server.addr));
    let stream = UnixStream::connect(dir.path().join("other.sock")).expect("connected");
    assert!(Client::over(stream, true).is_ok());
    drop(crowd);
}

#[test]
fn whoever_never_sends_a_letter_is_not_listened_to_for_ever() {
    let short = Settings { fruitless_time: Duration::from_secs(4), ..settings() };
    let server = Server::start(Kind::Smtp, short);
    let timed_out = |client: &mut Client, word: &str| {
        let start = Instant::now();
        loop {
            match client.say(word) {
                Ok(answer) if answer.code < 400 => thread::sleep(Duration::from_millis(200)),
                Ok(answer) => break assert_eq!(answer.text, "421 4.4.2 Timeout, closing\r\n"),
                // The answer may cross with what we say.
                Err(_) => break,
            }
            assert!(start.elapsed() < Duration::from_secs(60), "it listens for ever");
        }
        start.elapsed()
    };
    thread::scope(|scope| {
        for word in ["NOOP", "RSET", "EHLO x"] {
            let (timed_out, server) = (&timed_out, &server);
            scope.spawn(move || {
                let listened = timed_out(&mut server.client(false), word);
                assert!(listened >= Duration::from_secs(3), "{word}: {listened:?}");
            });
        }
    });
    // Each letter gives as much time again, and one that was begun has its own.
    let mut client = server.client(false);
    for _ in 0..3 {
        thread::sleep(Duration::from_secs(2));
        assert_eq!(client.send(SENDER, &[OURS], b"x\r\n").expect("answers")[0].code, 250);
    }
    for command in [format!("MAIL FROM:<{SENDER}>"), format!("RCPT TO:<{OURS}>")] {
        assert_eq!(code(&mut client, &command), 250);
    }
    assert_eq!(code(&mut client, "DATA"), 354);
    let mut chunks = server.client(false);
    for command in [format!("MAIL FROM:<{SENDER}>"), format!("RCPT TO:<{OURS}>")] {
        assert_eq!(code(&mut chunks, &command), 250);
    }
    assert_eq!(code(&mut chunks, "BDAT 0"), 250);
    thread::sleep(Duration::from_secs(5));
    client.write(b"slow\r\n.\r\n").expect("written");
    assert_eq!(client.answer().expect("an answer").code, 250);
    assert_eq!(code(&mut chunks, "BDAT 0 LAST"), 250);
    assert_eq!(server.letters().len(), 5);
    assert_eq!(Settings::default().fruitless_time, Duration::from_secs(20 * 60));
}

#[test]
fn strangers_wait_for_bad_news_and_trusted_peers_do_not() {
    let patience = |trusted| {
        let tarpit = Duration::from_millis(700);
        let server = Server::start(Kind::Smtp, Settings { tarpit, trusted, ..settings() });
        let mut client = server.client(false);
        let start = Instant::now();
        for _ in 0..8 {
            assert_eq!(code(&mut client, "XYZZY"), 500);
        }
        start.elapsed()
    };
    assert!(patience(Vec::new()) >= Duration::from_millis(2_100));
    assert!(patience(settings().trusted) < Duration::from_millis(2_000));
}

#[test]
fn a_stop_tells_who_waits_and_finishes_what_is_under_way() {
    let gate = Arc::new(Semaphore::new(0));
    let at_gate = Arc::new(AtomicU64::new(0));
    let (pass, waiting) = (Arc::clone(&gate), Arc::clone(&at_gate));
    let mut server = Server::deciding(Kind::Smtp, None, settings(), move |_| {
        let pass = Arc::clone(&pass);
        waiting.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            pass.acquire().await.expect("the gate stands").forget();
            Verdict::Accepted
        })
    });
    let mut idle = server.client(false);
    let mut busy = server.client(false);
    let head = format!("MAIL FROM:<>\r\nRCPT TO:<{OURS}>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n");
    busy.write(head.as_bytes()).expect("written");
    while at_gate.load(Ordering::SeqCst) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    server.tell_to_stop();
    assert_eq!(
        idle.answer().expect("an answer").text,
        "421 4.3.2 Shutting down, try again later\r\n"
    );
    assert!(idle.is_closed());
    while Client::connect(server.addr, false).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
    gate.add_permits(1);
    let codes: Vec<_> = (0..5).map(|_| busy.answer().expect("an answer").code).collect();
    assert_eq!(codes, [250, 250, 354, 250, 421]);
    server.end();
    assert_eq!(server.letters().len(), 1);
}

#[test]
fn a_stop_does_not_wait_long_for_a_handshake_or_half_a_letter() {
    let (certificate, _) = tls();
    let mut server = Server::start(Kind::Smtp, Settings { tls: Some(certificate), ..settings() });
    let mut silent = server.client(false);
    assert_eq!(code(&mut silent, "STARTTLS"), 220);
    let mut half = server.client(false);
    let head = format!("MAIL FROM:<>\r\nRCPT TO:<{OURS}>\r\nDATA\r\nx\r\n");
    half.write(head.as_bytes()).expect("written");
    let codes: Vec<_> = (0..3).map(|_| half.answer().expect("an answer").code).collect();
    assert_eq!(codes, [250, 250, 354]);
    let start = Instant::now();
    server.end();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(half.answer().expect("an answer").code, 421);
    assert!(server.letters().is_empty());
}

#[test]
fn a_keeper_that_panics_costs_one_connection_and_no_letter() {
    let calls = AtomicU64::new(0);
    let settings = Settings { room: Budget::new(300_000), ..settings() };
    let server = Server::deciding(Kind::Smtp, None, settings, move |_| {
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move {
            assert!(!first, "as if a letter had broken something");
            Verdict::Accepted
        })
    });
    let raw = letter(5, 0, 200_000);
    let mut client = server.client(false);
    assert!(client.send(SENDER, &[OURS], &raw).is_err());
    let mut client = server.client(false);
    assert_eq!(client.send(SENDER, &[OURS], &raw).expect("room again")[0].code, 250);
}

#[test]
fn twenty_senders_at_once_lose_nothing_and_double_nothing() {
    let calls = AtomicU64::new(0);
    let server = Server::deciding(Kind::Smtp, None, settings(), move |_| {
        let later = calls.fetch_add(1, Ordering::SeqCst) % 7 == 3;
        Box::pin(async move { if later { Verdict::TryLater } else { Verdict::Accepted } })
    });
    let plan = Plan {
        addr: server.addr,
        lmtp: false,
        from: SENDER.into(),
        to: OURS.into(),
        seed: 6,
        letters: 200,
        size: 20_000,
        connections: 20,
        tries: 20,
    };
    let outcome = send_all(&plan);
    assert!(outcome.failed.is_empty() && outcome.retries > 0);
    assert_eq!(outcome.accepted.len(), 200);
    let sent: BTreeSet<_> = (0..200).map(|n| letter(6, n, 20_000)).collect();
    let came: Vec<_> = server.letters().into_iter().map(|letter| letter.raw).collect();
    assert_eq!(came.len(), 200);
    assert_eq!(came.into_iter().collect::<BTreeSet<_>>(), sent);
}

#[test]
fn line_ends_are_mended_for_a_trusted_peer_only_if_told() {
    for (bare_newlines, answer) in [(BareNewlines::Reject, 550), (BareNewlines::Normalize, 250)] {
        let server = Server::start(Kind::Lmtp, Settings { bare_newlines, ..settings() });
        let mut client = server.client(true);
        let answers = client.send(SENDER, &[OURS], b"a\nb\r\n").expect("answers");
        assert_eq!(answers[0].code, answer);
        assert!(server.letters().iter().all(|letter| letter.raw == b"a\r\nb\r\n"));
    }
}

/// Runs swaks; `None`, said aloud, where it is not installed. In CI it has to be.
fn swaks(arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("swaks");
    let output = command.args(arguments).args(["--timeout", "20s"]).stdin(Stdio::null()).output();
    match output {
        Ok(output) => Some(output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "swaks is missing");
            println!("SKIPPED swaks not installed");
            None
        }
        Err(error) => panic!("swaks does not start: {error}"),
    }
}

#[test]
fn swaks_gets_its_letters_in_over_smtp_starttls_and_lmtp() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lmtp.sock");
    let socket = path.to_str().expect("a path in UTF-8");
    let (certificate, _) = tls();
    let keep = |_: &Delivery| -> Fate { Box::pin(async { Verdict::Accepted }) };
    let secure = Settings { tls: Some(certificate), ..settings() };
    let server = Server::deciding(Kind::Smtp, Some(&path), secure, keep);
    let addr = server.addr.to_string();
    let body = "Dear sir,\n.\n..\nwhat do you have about me?\n";
    let letter = ["--from", SENDER, "--to", OURS, "--helo", "client.example", "--body", body];
    for way in [
        &["--server", &addr][..],
        &["--server", &addr, "--pipeline"],
        &["--server", &addr, "--tls"],
        &["--socket", socket, "--protocol", "LMTP"],
    ] {
        let Some(output) = swaks(&[way, &letter[..]].concat()) else {
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let letters = server.letters();
    let ways: Vec<_> =
        letters.iter().map(|letter| (letter.envelope.source, letter.envelope.tls)).collect();
    let (smtp, lmtp) = (Source::Smtp, Source::Lmtp);
    assert_eq!(ways, [(smtp, false), (smtp, false), (smtp, true), (lmtp, false)]);
    for letter in letters {
        let text = String::from_utf8(letter.raw).expect("swaks writes ASCII");
        assert!(text.contains("\r\n\r\nDear sir,\r\n.\r\n..\r\nwhat do you have about me?\r\n"));
    }
    let unknown = ["--server", &addr, "--from", SENDER, "--to", "nobody@jobexpert.be"];
    assert_eq!(swaks(&unknown).and_then(|output| output.status.code()), Some(24));
}
