//! What a letter weighs: a large one takes at most four times its size in memory, in the server and
//! in the confined child together; with an archive in it, in each of them. And many at once: those
//! that find no room are told to come back, and the server takes no more than it may.

#[cfg(kluis_lab)]
use std::borrow::Cow;
use std::collections::HashMap;
#[cfg(kluis_lab)]
use std::io::{Read as _, Write as _};
#[cfg(kluis_lab)]
use std::os::unix::net::UnixListener;

use crate::containers::{Entry, letter_with, zip};
use crate::mail_client::{Client as Sender, letter};
#[cfg(kluis_lab)]
use crate::mail_client::{Plan, send_all, send_each, stuffed};
use crate::world::{MAILBOX, World};

/// Bytes of the letter.
const SIZE: usize = 40 << 20;

/// A number of a process's status, in bytes.
fn status(pid: u32, field: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    number.unwrap_or(0) * if field == "PPid" { 1 } else { 1024 }
}

/// The process and its children.
fn family(server: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").expect("/proc is there");
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let children = pids.filter(|&pid| status(pid, "PPid") == server as usize);
    std::iter::once(server).chain(children).collect()
}

fn peaks(server: u32) -> HashMap<u32, usize> {
    family(server).into_iter().map(|pid| (pid, status(pid, "VmHWM"))).collect()
}

/// Delivers a letter to a server of its own; how much each process grew, in times of the letter.
fn grown_by(raw: &[u8]) -> Vec<f64> {
    let world = World::found();
    let server = world.spawn(&[]);
    let send = |raw: &[u8]| {
        let mut sender = Sender::greet(server.smtp.expect("it listens"), false).expect("greets");
        let answers = sender.send("lotte@client.example", &[MAILBOX], raw).expect("answers");
        assert_eq!(answers[0].code, 250);
    };
    send(&letter(1, 1, 1_000));
    let before = peaks(server.child.id());
    assert!(before.len() >= 2, "the child is there");
    send(raw);
    let after = peaks(server.child.id());
    let grown = |pid: &u32| after[pid].saturating_sub(before.get(pid).copied().unwrap_or(0));
    after.keys().map(|pid| grown(pid) as f64 / raw.len() as f64).collect()
}

#[test]
fn a_large_letter_takes_at_most_four_times_its_size() {
    let each = grown_by(&letter(1, 2, SIZE));
    println!("times its size, in the server and in children: {each:.2?}");
    assert!(each.iter().sum::<f64>() <= 4.0, "{each:?}");
    assert!(each.iter().sum::<f64>() >= 1.0, "it was in memory: {each:?}");
}

/// A letter whose text is so long, sent in one way or another.
fn text_as(media_type: &str, encoding: &str, line: &str) -> Vec<u8> {
    let head = format!(
        "From: lotte@client.example\r\nContent-Type: {media_type}; charset=utf-8\r\n\
         Content-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    [head.as_bytes(), line.repeat(SIZE / line.len()).as_bytes()].concat()
}

#[test]
fn a_long_text_takes_at_most_four_times_its_size_however_it_is_sent() {
    for (what, raw) in [
        ("text", text_as("text/plain", "8bit", "Graag inzage in mijn gegevens, café.\r\n")),
        ("quoted", text_as("text/plain", "quoted-printable", "caf=C3=A9 =3D inzage =\r\n")),
        ("page", text_as("text/html", "7bit", "<p>inzage <b>in</b> mijn&nbsp;gegevens</p>\r\n")),
        ("base64", text_as("text/plain", "base64", "R3JhYWcgaW56YWdlIGluIG1pam4gZ2VnZXZlbnM=\r\n")),
    ] {
        let each = grown_by(&raw);
        println!("{what}, times its size, in the server and in children: {each:.2?}");
        assert!(each.iter().sum::<f64>() <= 4.0, "{what}: {each:?}");
        assert!(each.iter().sum::<f64>() >= 1.0, "{what} was in memory: {each:?}");
    }
}

/// What is taken out is there twice, and so is what is sealed of it.
#[test]
fn a_large_archive_takes_at_most_four_times_its_letter_in_each_process() {
    let photo: Vec<u8> = letter(3, 3, SIZE / 4);
    let photos = (0..3).map(|_| Entry { deflated: false, ..Entry::new(b"a.jpg", &photo) });
    let archive = zip(&photos.collect::<Vec<_>>());
    let each = grown_by(&letter_with("application/zip", "a.zip", &archive));
    println!("times its size, in the server and in children: {each:.2?}");
    assert!(each.iter().all(|times| *times <= 4.0), "{each:?}");
}

/// What letters may take together in these tests, in bytes.
#[cfg(kluis_lab)]
const ROOM: usize = 96 << 20;
/// What the server may have grown by at its peak: beside the room stand buffers of connections and of
/// the store, the answers of two parsers that are being read, and what the allocator keeps. Without
/// the bound, as many letters as are sent here take more.
#[cfg(kluis_lab)]
const BOUND: usize = 5 * ROOM / 2;

/// What a server of so much room grew by at its peak while `send` sent, in bytes.
#[cfg(kluis_lab)]
fn grown_within(world: &World, room: usize, send: impl FnOnce(std::net::SocketAddr)) -> usize {
    // Each of the allocator's heaps keeps what once was in it, and a machine has heaps by its cores: with
    // two of them it is measured what is held.
    let heaps = ("MALLOC_ARENA_MAX", "2");
    let server = world.spawn(&[("KLUIS_LAB_ROOM", &room.to_string()), heaps]);
    let addr = server.smtp.expect("it listens");
    let mut sender = Sender::greet(addr, false).expect("greets");
    let small = letter(63, 1000, 1_000);
    let answers = sender.send("lotte@client.example", &[MAILBOX], &small).expect("answers");
    assert_eq!(answers[0].code, 250);
    let pid = server.child.id();
    let before = status(pid, "VmHWM");
    send(addr);
    status(pid, "VmHWM") - before
}

#[cfg(kluis_lab)]
fn crowd(addr: std::net::SocketAddr, size: usize) -> Plan {
    Plan {
        addr,
        lmtp: false,
        from: "lotte@client.example".into(),
        to: MAILBOX.into(),
        seed: 63,
        letters: 12,
        size,
        connections: 12,
        tries: 200,
    }
}

#[cfg(kluis_lab)]
#[test]
fn many_large_letters_at_once_are_put_off_and_take_no_more_than_they_may() {
    let grown = grown_within(&World::found(), ROOM, |addr| {
        let outcome = send_all(&crowd(addr, 16 << 20));
        assert!(outcome.failed.is_empty(), "all of them come in, in the end");
        assert!(outcome.retries > 0, "some were told to come back");
    });
    println!("letters of 16 MiB: {} MiB of {} MiB", grown >> 20, ROOM >> 20);
    assert!(grown <= BOUND, "{} MiB", grown >> 20);
}

/// A clamd that says that it is there, and then nothing about whatever it is given.
#[cfg(kluis_lab)]
fn hanging_clamd(place: &std::path::Path) {
    let listener = UnixListener::bind(place).expect("binds");
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut greeting = [0; b"zIDSESSION\0zPING\0".len()];
            if stream.read_exact(&mut greeting).is_ok() && stream.write_all(b"1: PONG\0").is_ok() {
                held.push(stream);
            }
        }
    });
}

/// Small on the wire, and large once they are open; and a virus scanner that does not answer holds them
/// up where they are largest.
#[cfg(kluis_lab)]
#[test]
fn many_archives_at_once_take_no_more_than_they_may() {
    // As dense as an archive may be without being refused as a bomb.
    let mut content = vec![0; 15 << 20];
    let noise = letter(64, 1, 1 << 20);
    for (block, noise) in content.chunks_mut(32 << 10).zip(noise.chunks(700)) {
        block[..noise.len()].copy_from_slice(noise);
    }
    let archive = zip(&[Entry::new(b"a.bin", &content)]);
    let wire = |n: u64| -> Cow<'_, [u8]> {
        let name = format!("{n}.zip");
        Cow::Owned(stuffed(&letter_with("application/zip", &name, &archive)))
    };
    let world = World::found();
    let place = world.root.path().join("clamd.sock");
    hanging_clamd(&place);
    let file = world.state().join("kluis.toml");
    let config = std::fs::read_to_string(&file).expect("is read");
    let scan = format!("[scan]\nclamd = {place:?}\nseconds = 1\n");
    let (before, after) = config.split_once("[scan]\n").expect("the table");
    let after = after.split_once("seconds = 10\n").expect("its end").1;
    std::fs::write(&file, format!("{before}{scan}{after}")).expect("is written");
    let grown = grown_within(&world, ROOM, |addr| {
        assert!(wire(0).len() < 2 << 20, "it is small");
        let plan = Plan { letters: 20, connections: 20, ..crowd(addr, 0) };
        let outcome = send_each(&plan, wire);
        assert!(outcome.failed.is_empty(), "all of them come in, in the end");
        assert!(outcome.retries > 0, "some were told to come back");
    });
    println!("archives of 15 MiB: {} MiB of {} MiB", grown >> 20, ROOM >> 20);
    assert!(grown <= BOUND, "{} MiB", grown >> 20);
}

/// Items of a letter as below: its parts, the archive and what is in it.
#[cfg(kluis_lab)]
const TINY: usize = 990 + 1 + 1000;

/// Letters with as many items as one may have, in it and in an archive, and next to nothing in each.
#[cfg(kluis_lab)]
fn tiny() -> impl Fn(u64) -> Cow<'static, [u8]> + Sync {
    let entries: Vec<Entry> = (0..1000)
        .map(|nr| Entry { deflated: false, ..Entry::new(format!("{nr}").as_bytes(), b"x") })
        .collect();
    let archive = letter_with("application/zip", "a.zip", &zip(&entries));
    let archive = String::from_utf8(archive).expect("text");
    let parts = "--b\r\n\r\nx\r\n".repeat(990);
    let (head, rest) = archive.split_once("--b\r\n").expect("a part");
    let (head, rest) = (head.to_owned(), format!("{parts}--b\r\n{rest}"));
    move |n| Cow::Owned(stuffed(format!("X-Number: {n}\r\n{head}{rest}").as_bytes()))
}

/// What stays in memory of an item for as long as the server runs: where it lies, its key, its facts.
/// The index once kept all that it had replaced, five times as much.
#[cfg(kluis_lab)]
#[test]
fn of_an_item_that_was_sealed_little_stays_in_memory() {
    const MOST: usize = 2_500;
    let world = World::found();
    let server = world.spawn(&[("MALLOC_ARENA_MAX", "2")]);
    let addr = server.smtp.expect("it listens");
    let wire = tiny();
    let held = |first: u64, letters: u64| {
        let plan = Plan { letters, connections: 1, ..crowd(addr, 0) };
        let outcome = send_each(&plan, |n| wire(first + n));
        assert!(outcome.failed.is_empty());
        status(server.child.id(), "VmRSS")
    };
    let before = held(0, 6);
    let after = held(100, 12);
    let each = after.saturating_sub(before) / (12 * TINY);
    println!("bytes that stay of an item: {each}");
    assert!(each <= MOST, "{each}");
    assert!(each >= 100, "they were sealed: {each}");
}

#[cfg(kluis_lab)]
#[test]
fn many_letters_of_tiny_items_at_once_take_no_more_than_they_may() {
    const HALF: usize = ROOM / 2;
    let wire = tiny();
    assert!(wire(0).len() < 128 << 10, "it is small");
    let grown_by = |connections: usize| {
        let mut retries = 0;
        let grown = grown_within(&World::found(), HALF, |addr| {
            let outcome = send_each(&Plan { letters: 24, connections, ..crowd(addr, 0) }, &wire);
            assert!(outcome.failed.is_empty(), "all of them come in, in the end");
            retries = outcome.retries;
        });
        println!("letters of tiny items, {connections} at once: {} MiB", grown >> 20);
        (grown, retries)
    };
    // What the vault remembers of so many items is the same however they come.
    let ((alone, _), (grown, retries)) = (grown_by(1), grown_by(24));
    assert!(grown <= alone + 2 * HALF, "{} MiB more", (grown - alone) >> 20);
    assert!(retries > 0, "some were told to come back");
}
