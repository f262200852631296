//! What a letter weighs: a large one takes at most four times its size in memory, in the server and
//! in the confined child together; with an archive in it, in each of them.

use std::collections::HashMap;

use crate::containers::{Entry, letter_with, zip};
use crate::mail_client::{Client as Sender, letter};
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

/// What is taken out is there twice, and so is what is sealed of it.
#[test]
fn a_large_archive_takes_at_most_five_times_its_letter_in_each_process() {
    let photo: Vec<u8> = letter(3, 3, SIZE / 4);
    let photos = (0..3).map(|_| Entry { deflated: false, ..Entry::new(b"a.jpg", &photo) });
    let archive = zip(&photos.collect::<Vec<_>>());
    let each = grown_by(&letter_with("application/zip", "a.zip", &archive));
    println!("times its size, in the server and in children: {each:.2?}");
    assert!(each.iter().all(|times| *times <= 5.0), "{each:?}");
}
