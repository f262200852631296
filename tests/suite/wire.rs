//! What strangers do to a socket: proxies that are none, clients that stall, vanish and come in crowds,
//! and letters that never end. Whatever they do, the next client is served.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kluis::inbox::{Kind, Settings, Verdict};

use crate::inbox::{Fate, OURS, SENDER, Server, settings};
use crate::mail_client::{Client, letter};

/// Connects and says this first, before anything is heard.
fn opening_with(addr: SocketAddr, bytes: &[u8]) -> Client {
    let mut stream = TcpStream::connect(addr).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
    stream.write_all(bytes).expect("written");
    Client::resume(stream, false)
}

/// Version 2 of a proxy's header for this IPv4 client.
fn header_v2(command: u8, client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend_from_slice(&[command, 0x11, 0, 12]);
    header.extend_from_slice(&client);
    header.extend_from_slice(&[10, 0, 0, 1, 0x30, 0x39, 0, 25]);
    header
}

/// The same for an IPv6 client, which ends in these two numbers behind 2001:db8.
fn header_v2_of_six(network: u16, host: u16) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend_from_slice(&[0x21, 0x21, 0, 36]);
    let address = |network: u16, host: u16| {
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host).octets()
    };
    header.extend(address(network, host));
    header.extend(address(0, 1));
    header.extend_from_slice(&[0x30, 0x39, 0, 25]);
    header
}

fn clients_of(server: &Server) -> Vec<Option<String>> {
    let client = |letter: &kluis::inbox::Delivery| {
        letter.envelope.client.as_ref().map(|client| client.expose().clone())
    };
    server.letters().iter().map(client).collect()
}

/// A client is served as usual.
fn serves(server: &Server) {
    let mut client = server.client(false);
    let answers = client.send(SENDER, &[OURS], b"Subject: x\r\n\r\nx\r\n").expect("answers");
    assert_eq!(answers[0].code, 250);
}

#[test]
fn a_proxy_names_the_client_and_only_a_proxy_of_ours_does() {
    let server = Server::facing_world(settings(), &["127.0.0.1"]);
    let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\r\n";
    for (header, client) in [
        (v1.to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 12345 25\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (header_v2(0x21, [192, 0, 2, 8]), "192.0.2.8"),
        (header_v2(0x20, [192, 0, 2, 8]), "127.0.0.1"),
    ] {
        // In one piece with what a client in a hurry says, and byte by byte.
        let mut at_once = opening_with(server.addr, &[&header[..], b"EHLO x\r\n"].concat());
        assert_eq!(at_once.answer().expect("a greeting").code, 220);
        assert_eq!(at_once.answer().expect("an answer").code, 250);
        let answers = at_once.send(SENDER, &[OURS], b"x\r\n").expect("answers");
        assert_eq!(answers[0].code, 250);
        let (first, rest) = header.split_at(1);
        let mut slowly = opening_with(server.addr, first);
        for byte in rest {
            slowly.write(&[*byte]).expect("written");
        }
        assert_eq!(slowly.answer().expect("a greeting").code, 220);
        let letters = clients_of(&server);
        assert_eq!(letters.last(), Some(&Some(client.to_owned())));
    }
    assert!(server.letters().iter().all(|letter| !letter.trusted));

    // Without a header, with a broken one, or with one too long: not a word.
    for header in [
        b"EHLO x\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7\r\nEHLO x\r\n".to_vec(),
        [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
        b"\x16\x03\x01\x02\x00\x01".to_vec(),
    ] {
        assert!(opening_with(server.addr, &header).is_closed());
    }
    // From elsewhere, or where none may be: not a word, either.
    let elsewhere = Server::facing_world(settings(), &["192.0.2.1"]);
    assert!(opening_with(elsewhere.addr, v1).is_closed());
    for forbidding in [Server::facing_world(settings(), &[]), Server::start(Kind::Smtp, settings())]
    {
        let mut client = opening_with(forbidding.addr, v1);
        assert_eq!(client.answer().expect("a greeting").code, 220);
        assert!(client.is_closed());
        let mut client = opening_with(forbidding.addr, &header_v2(0x21, [192, 0, 2, 8]));
        assert_eq!(client.answer().expect("a greeting").code, 220);
        while client.answer().is_ok_and(|answer| answer.code == 500) {}
        assert!(client.is_closed());
        serves(&forbidding);
    }
}

#[test]
fn a_proxy_that_says_nothing_is_not_waited_for_long() {
    let hasty = Settings { proxy_timeout: Duration::from_millis(300), ..settings() };
    let server = Server::facing_world(hasty, &["127.0.0.1"]);
    for start in [&b""[..], b"PROXY", b"\r\n\r\n"] {
        let began = Instant::now();
        assert!(opening_with(server.addr, start).is_closed());
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(250), "{waited:?}");
        assert!(waited < Duration::from_secs(20), "{waited:?}");
    }
}

#[test]
fn one_stranger_has_ten_places_and_leaves_the_others_theirs() {
    let few = Settings { max_connections_per_client: 3, ..settings() };
    let server = Server::facing_world(few, &["127.0.0.1"]);
    let header = |last: u8| header_v2(0x21, [192, 0, 2, last]);
    let mut crowd: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let mut client = opening_with(server.addr, &header(1));
        assert_eq!(client.answer().expect("a greeting").code, 220);
        crowd.push(client);
    }
    let mut one_more = opening_with(server.addr, &header(1));
    let refused = one_more.answer().expect("an answer");
    assert_eq!(refused.text, "421 4.7.0 Too many connections from you, try again later\r\n");
    assert!(one_more.is_closed());
    let mut other = opening_with(server.addr, &header(2));
    assert_eq!(other.answer().expect("a greeting").code, 220);
    crowd.pop();
    let mut tries = 0;
    while opening_with(server.addr, &header(1)).answer().expect("an answer").code != 220 {
        tries += 1;
        assert!(tries < 500, "the place is never free again");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(Settings::default().max_connections_per_client, 10);

    // A network of the sixth version is one stranger, whichever of its addresses it has.
    let few = Settings { max_connections_per_client: 3, ..settings() };
    let server = Server::facing_world(few, &["127.0.0.1"]);
    let opened = |network: u16, host: u16| {
        let mut client = opening_with(server.addr, &header_v2_of_six(network, host));
        (client.answer().expect("an answer").code, client)
    };
    let crowd: Vec<(u16, Client)> = (1..=3).map(|host| opened(7, host)).collect();
    assert!(crowd.iter().all(|(code, _)| *code == 220));
    assert_eq!((opened(7, 4).0, opened(8, 4).0), (421, 220));

    // Servers in front of us come as often as they like.
    let trusting = Settings { max_connections_per_client: 1, ..settings() };
    let server = Server::start(Kind::Smtp, trusting);
    let clients: Vec<Client> = (0..20).map(|_| server.client(false)).collect();
    assert_eq!(clients.len(), 20);
}

#[test]
fn an_hours_letters_are_counted_over_all_connections_of_a_client() {
    let few = Settings { letters_per_hour: 5, ..settings() };
    let server = Server::facing_world(few, &[]);
    for n in 0..8 {
        let mut client = server.client(false);
        let answers = client.send(SENDER, &[OURS], b"x\r\n").expect("answers");
        assert_eq!(answers[0].code, if n < 5 { 250 } else { 450 }, "letter {n}");
    }
    assert_eq!(server.letters().len(), 5);
}

#[test]
fn a_letter_comes_in_chunks_bit_for_bit_and_pipelined() {
    let server = Server::start(Kind::Smtp, settings());
    let mut client = server.client(false);
    let raw = letter(41, 0, 300_000);
    let mut said = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{OURS}>\r\n").into_bytes();
    let chunks: Vec<&[u8]> = raw.chunks(7_001).collect();
    for (n, chunk) in chunks.iter().enumerate() {
        let last = if n + 1 == chunks.len() { " LAST" } else { "" };
        said.extend_from_slice(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes());
        said.extend_from_slice(chunk);
    }
    said.extend_from_slice(b"NOOP\r\n");
    client.write(&said).expect("written");
    for _ in 0..chunks.len() + 3 {
        assert_eq!(client.answer().expect("an answer").code, 250);
    }
    assert!(server.letters().len() == 1 && server.letters()[0].raw == raw);
}

#[test]
fn who_trickles_chunks_is_cut_off_like_who_trickles_a_letter() {
    let fast = Settings {
        letter_timeout: Duration::from_millis(600),
        command_timeout: Duration::from_secs(30),
        ..settings()
    };
    let server = Server::start(Kind::Smtp, fast);
    let mut client = server.client(false);
    let begin = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{OURS}>\r\n");
    client.write(begin.as_bytes()).expect("written");
    let began = Instant::now();
    let mut stream = client.into_stream();
    let mut reader = Client::resume(stream.try_clone().expect("a clone"), false);
    let writer = std::thread::spawn(move || {
        while stream.write_all(b"BDAT 1\r\nx").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let last = loop {
        let answer = reader.answer().expect("an answer");
        if answer.code != 250 {
            break answer;
        }
    };
    assert_eq!(last.text, "421 4.4.2 Timeout, closing\r\n");
    assert!(began.elapsed() < Duration::from_secs(20));
    drop(reader);
    writer.join().expect("the writer ends when we are gone");
    assert!(server.letters().is_empty());
}

/// What clients leave behind: nothing, and the letter that came to its end is kept.
#[test]
fn who_breaks_off_leaves_nothing_and_whose_letter_ended_is_heard() {
    let server = Server::start(Kind::Smtp, settings());
    let begin = format!("EHLO x\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{OURS}>\r\n");
    for (rest, is_kept) in [
        ("DATA\r\nSubject: x\r\n\r\nhalf", false),
        ("DATA\r\nSubject: x\r\n\r\nhalf\r\n.", false),
        ("BDAT 100 LAST\r\nhalf", false),
        ("BDAT 4\r\nhalf", false),
        ("DATA\r\nSubject: x\r\n\r\nwhole\r\n.\r\n", true),
        ("BDAT 7 LAST\r\nwhole\r\n", true),
    ] {
        for way in ["reset", "closed", "half closed"] {
            let before = server.letters().len();
            let mut stream = TcpStream::connect(server.addr).expect("connects");
            stream.write_all(format!("{begin}{rest}").as_bytes()).expect("written");
            match way {
                // With bytes unread, a close is a reset.
                "reset" => {
                    stream.read_exact(&mut [0; 3]).expect("a greeting");
                    settle(&server, before, is_kept);
                }
                "closed" => {
                    let mut greeting = [0; 4096];
                    let _ = stream.read(&mut greeting);
                }
                _ => {
                    stream.shutdown(Shutdown::Write).expect("half closed");
                    let mut said = Vec::new();
                    stream.read_to_end(&mut said).expect("is answered");
                    let said = String::from_utf8(said).expect("ASCII");
                    assert_eq!(
                        said.ends_with("250 2.0.0 OK\r\n"),
                        is_kept || rest == "BDAT 4\r\nhalf"
                    );
                }
            }
            drop(stream);
            settle(&server, before, is_kept);
            assert_eq!(server.letters().len(), before + usize::from(is_kept), "{rest:?} {way}");
        }
    }
    serves(&server);
    // Nor did one come later than it was looked for: two of the six kinds end, in three ways each, and
    // one was served just now.
    assert_eq!(server.letters().len(), 2 * 3 + 1);
}

/// Waits until the letter is there, if one is to come; that none comes late is looked at in the end.
fn settle(server: &Server, before: usize, is_kept: bool) {
    let end = Instant::now() + Duration::from_secs(if is_kept { 20 } else { 0 });
    while server.letters().len() == before && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_never_ends_a_line_is_cut_off_in_every_state() {
    let patient = Settings { max_letter: 1 << 20, max_discarded: 8 << 20, ..settings() };
    let server = Server::start(Kind::Smtp, patient);
    let transaction = format!("EHLO x\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{OURS}>\r\n");
    for (before, answers, last) in [
        (String::new(), 1, 500),
        ("EHLO x\r\n".into(), 2, 500),
        (format!("EHLO x\r\nMAIL FROM:<{SENDER}>\r\n"), 3, 500),
        (transaction.clone(), 4, 500),
        (format!("{transaction}DATA\r\n"), 5, 554),
        (format!("{transaction}BDAT 67108864\r\n"), 4, 552),
        (format!("{transaction}BDAT 0\r\n"), 5, 500),
        ("BDAT 67108864 LAST\r\n".into(), 1, 421),
    ] {
        let stream = TcpStream::connect(server.addr).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
        let mut reader = Client::resume(stream.try_clone().expect("a clone"), false);
        let writer = std::thread::spawn(move || -> io::Result<usize> {
            let mut stream = stream;
            stream.write_all(before.as_bytes())?;
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..1024 {
                stream.write_all(&piece)?;
            }
            Ok(64 << 20)
        });
        for _ in 0..answers {
            assert!(reader.answer().expect("an answer").code < 400);
        }
        // What is sent on into a closed connection may take the answer away with a reset.
        if let Ok(answer) = reader.answer() {
            assert_eq!(answer.code, last, "after {answers} answers");
        }
        // Whoever does not hang up is not waited for.
        drop(reader);
        let sent = writer.join().expect("the writer ends");
        assert!(sent.is_err(), "64 MiB without a line end were read to the end");
    }
    assert!(server.letters().is_empty());
    serves(&server);
}

#[test]
fn a_slow_loris_holds_its_places_no_longer_than_it_may() {
    let fast =
        Settings { max_connections: 8, command_timeout: Duration::from_millis(500), ..settings() };
    let server = Server::start(Kind::Smtp, fast);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (stop, addr) = (&stop, server.addr);
            // A byte now and then, and a new connection as soon as one is over.
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(addr) else { continue };
                    while !stop.load(std::sync::atomic::Ordering::Relaxed)
                        && stream.write_all(b"E").is_ok()
                    {
                        std::thread::sleep(Duration::from_millis(40));
                    }
                }
            });
        }
        let mut tries = 0;
        let served = loop {
            let sent = Client::greet(server.addr, false)
                .and_then(|mut client| client.send(SENDER, &[OURS], b"x\r\n"));
            if sent.is_ok_and(|answers| answers[0].code == 250) {
                break true;
            }
            tries += 1;
            if tries > 2_000 {
                break false;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(served, "nobody else is ever served");
    });
}

/// A byte now and then, inside one chunk or one letter: the rate counts, however it was begun.
#[test]
fn a_slow_loris_in_a_letter_or_in_a_chunk_is_cut_off() {
    let fast = Settings {
        rate_grace: Duration::from_millis(300),
        letter_timeout: Duration::from_secs(60),
        command_timeout: Duration::from_secs(60),
        ..settings()
    };
    let server = Server::start(Kind::Smtp, fast);
    let begin = format!("EHLO x\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{OURS}>\r\n");
    for (last, answers) in [("DATA\r\n", 5), ("BDAT 100000\r\n", 4), ("BDAT 100000 LAST\r\n", 4)] {
        let mut stream = TcpStream::connect(server.addr).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
        stream.write_all(format!("{begin}{last}").as_bytes()).expect("written");
        let mut reader = Client::resume(stream.try_clone().expect("a clone"), false);
        for _ in 0..answers {
            assert!(reader.answer().expect("an answer").code < 400);
        }
        let began = Instant::now();
        let writer = std::thread::spawn(move || {
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let said = reader.answer().expect("an answer");
        assert_eq!(said.text, "421 4.4.2 Timeout, closing\r\n", "{last}");
        assert!(began.elapsed() < Duration::from_secs(30), "{last}");
        drop(reader);
        writer.join().expect("the writer ends when we are gone");
    }
    assert!(server.letters().is_empty());
    serves(&server);
}

/// The other side is gone and nobody says so: wherever it stopped, its place is free again.
#[test]
fn a_half_open_connection_is_given_up_wherever_it_stopped() {
    let fast = Settings {
        max_connections: 6,
        command_timeout: Duration::from_millis(400),
        rate_grace: Duration::from_millis(400),
        ..settings()
    };
    let server = Server::start(Kind::Smtp, fast);
    let begin = format!("EHLO x\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{OURS}>\r\n");
    let silent: Vec<TcpStream> = [
        "",
        "DATA\r\n",
        "DATA\r\nSubject: x\r\n\r\nhalf",
        "BDAT 100\r\nhalf",
        "BDAT 100 LAST\r\nhalf",
        "BDAT 4\r\nhalf",
    ]
    .iter()
    .map(|rest| {
        let mut stream = TcpStream::connect(server.addr).expect("connects");
        stream.write_all(format!("{begin}{rest}").as_bytes()).expect("written");
        stream
    })
    .collect();
    let mut tries = 0;
    loop {
        let sent = Client::greet(server.addr, false)
            .and_then(|mut client| client.send(SENDER, &[OURS], b"x\r\n"));
        if sent.is_ok_and(|answers| answers[0].code == 250) {
            break;
        }
        tries += 1;
        assert!(tries < 1_000, "their places are never free again");
        std::thread::sleep(Duration::from_millis(20));
    }
    // They are still there, as far as anybody can know.
    for stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
        let mut client = Client::resume(stream, false);
        while client.answer().is_ok_and(|answer| answer.code != 421) {}
        assert!(client.is_closed());
    }
    assert_eq!(server.letters().len(), 1);
}

/// Whoever is cut off, after whichever byte, leaves no letter, takes no place and holds no memory.
#[test]
fn a_reset_after_every_byte_leaves_nothing_behind() {
    let places = 8;
    let few = Settings { max_connections: places, ..settings() };
    let room = few.room.clone();
    let server = Server::start(Kind::Smtp, few);
    let begin = format!("EHLO x\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{OURS}>\r\n");
    for end in [
        "DATA\r\nSubject: x\r\n\r\nwhole\r\n.\r\n",
        "BDAT 16 LAST\r\nSubject: x\r\n\r\n\r\n",
        "BDAT 12\r\nSubject: x\r\nBDAT 4 LAST\r\n\r\n\r\n",
    ] {
        let said = format!("{begin}{end}");
        for at in 0..said.len() {
            let mut stream = TcpStream::connect(server.addr).expect("connects");
            // Without a linger time a close is a reset.
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("is set");
            stream.write_all(&said.as_bytes()[..at]).expect("written");
            // Most of it is read before the reset comes.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let end = Instant::now() + Duration::from_secs(30);
    while room.held() > 0 {
        assert!(Instant::now() < end, "memory of letters that are gone");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut all = Vec::new();
    while all.len() < places {
        assert!(Instant::now() < end, "places of clients that are gone");
        match Client::greet(server.addr, false) {
            Ok(client) => all.push(client),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    assert!(server.letters().is_empty());
}

#[test]
fn a_letter_that_comes_byte_by_byte_is_the_same_letter() {
    let server = Server::start(Kind::Smtp, settings());
    let raw = letter(66, 0, 1_500);
    let begin = format!("EHLO x\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{OURS}>\r\n");
    let chunk = format!("BDAT {} LAST\r\n", raw.len());
    for (bytes, answers) in [
        ([begin.as_bytes(), b"DATA\r\n", &crate::mail_client::stuffed(&raw)].concat(), 6),
        ([begin.as_bytes(), chunk.as_bytes(), &raw].concat(), 5),
    ] {
        let mut stream = TcpStream::connect(server.addr).expect("connects");
        stream.set_nodelay(true).expect("is set");
        for byte in bytes {
            stream.write_all(&[byte]).expect("written");
        }
        let mut client = Client::resume(stream, false);
        let codes: Vec<u16> =
            (0..answers).map(|_| client.answer().expect("an answer").code).collect();
        assert_eq!(codes.last(), Some(&250), "{codes:?}");
    }
    assert!(server.letters().len() == 2 && server.letters().iter().all(|one| one.raw == raw));
}

#[test]
fn line_ends_are_mended_where_the_settings_say_so() {
    let (world, runtime) = (crate::world::World::found(), crate::way::runtime());
    let odd = b"From: a@b.example\r\nSubject: x\r\n\r\na\nb\r\n";
    let to = [crate::world::MAILBOX];
    for (word, answers) in [("reject", [[550], [550]]), ("normalize", [[250], [550]])] {
        let file = world.state().join("kluis.toml");
        let config = std::fs::read_to_string(&file).expect("is read");
        let config =
            config.replace("bare_newlines = \"reject\"", &format!("bare_newlines = \"{word}\""));
        std::fs::write(&file, config).expect("is written");
        let server = runtime.block_on(world.serve());
        let said = [true, false].map(|lmtp| crate::way::deliver(&server, lmtp, &to, odd));
        assert_eq!(said, answers.map(|codes| codes.to_vec()), "{word}");
        runtime.block_on(server.stop());
    }
}

/// The last answer is lost, and the letter is brought again, by DATA and by BDAT: it is there once.
#[test]
fn who_vanishes_after_the_end_and_comes_again_has_one_letter() {
    use kluis::casebook::Filter;
    use kluis::ledger::entry::Fact;

    let (world, runtime) = (crate::world::World::found(), crate::way::runtime());
    let server = runtime.block_on(world.serve());
    let mailbox = crate::world::MAILBOX;
    let begin = format!("EHLO x\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{mailbox}>\r\n");
    let mut sent = Vec::new();
    for n in 0..4 {
        let raw = letter(62, n, 40_000);
        let by_chunk = n % 2 == 1;
        let mut said = begin.clone().into_bytes();
        if by_chunk {
            said.extend_from_slice(format!("BDAT {} LAST\r\n", raw.len()).as_bytes());
            said.extend_from_slice(&raw);
        } else {
            said.extend_from_slice(b"DATA\r\n");
            said.extend_from_slice(&crate::mail_client::stuffed(&raw));
        }
        // Gone with the last byte; with answers unread, that is a reset.
        for _ in 0..2 {
            let mut stream = TcpStream::connect(server.smtp()).expect("connects");
            stream.read_exact(&mut [0; 3]).expect("a greeting");
            stream.write_all(&said).expect("written");
            drop(stream);
        }
        let mut stream = TcpStream::connect(server.smtp()).expect("connects");
        stream.write_all(&said).expect("written");
        let mut client = Client::resume(stream, false);
        let codes: Vec<u16> = (0..if by_chunk { 5 } else { 6 })
            .map(|_| client.answer().expect("an answer").code)
            .collect();
        assert_eq!(codes.last(), Some(&250), "{codes:?}");
        sent.push(raw);
    }
    // Those that vanished may still be at it.
    let end = Instant::now() + Duration::from_secs(20);
    let settled = || {
        let received = crate::way::count(&server, Fact::LetterReceived);
        let again = crate::way::count(&server, Fact::Redelivered);
        (received, again)
    };
    let mut last = settled();
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        let now = settled();
        if now == last {
            break;
        }
        last = now;
    }
    assert_eq!(last.0, 4, "{last:?}");
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let mut kept: Vec<_> = cases.iter().map(|case| crate::way::raw(&mut anna, case)).collect();
    kept.sort();
    sent.sort();
    assert!(kept == sent);
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn a_half_open_connection_is_given_up() {
    let fast = Settings { command_timeout: Duration::from_millis(300), ..settings() };
    let keep = |_: &kluis::inbox::Delivery| -> Fate { Box::pin(async { Verdict::Accepted }) };
    let server = Server::deciding(Kind::Smtp, None, fast, keep);
    // It never reads and never says a word; our last word waits in its buffer.
    let silent: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(server.addr).expect("connects")).collect();
    for stream in &silent {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
        let mut client = Client::resume(stream.try_clone().expect("a clone"), false);
        assert_eq!(client.answer().expect("a greeting").code, 220);
        assert_eq!(client.answer().expect("the last word").code, 421);
        assert!(client.is_closed());
    }
    serves(&server);
}
