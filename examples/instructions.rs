//! A fixed amount of put, get or parse, to count its instructions: `.ci/instructions` runs it under
//! valgrind. One thread, no disk, no clock; what is random (keys) does not change the count.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use kluis::letter::Letter;
use kluis::store::bench;
use kluis::vault::chunk::{self, Base, ChunkKey, SealedChunk};
use kluis::vault::{self, content};

/// Bytes that are sealed and opened: 16 full bodies and a short one.
const LENGTH: usize = (4 << 20) + 5000;
/// Times that each letter is parsed.
const PARSED: usize = 20;
/// Letters of every kind; more would only take longer.
const LETTERS: [&[u8]; 6] = [
    include_bytes!("../tests/letters/forwarded.eml"),
    include_bytes!("../tests/letters/pgp-inline.eml"),
    include_bytes!("../tests/letters/parameters-malformed.eml"),
    include_bytes!("../tests/letters/zip-and-office.eml"),
    include_bytes!("../tests/letters/charset-labels.eml"),
    include_bytes!("../tests/letters/tnef.eml"),
];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("put") => put(),
        Some("get") => get(),
        Some("parse") => parse(),
        // What the others begin with, to be taken off.
        Some("content") => drop(black_box(bytes())),
        Some("sealed") => drop(black_box(sealed())),
        _ => {
            eprintln!("usage: instructions put|get|parse|content|sealed");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn put() {
    let bytes = bytes();
    let stored = bench::put_alone(&bytes.as_slice()).expect("sealed");
    assert_eq!(stored.length, LENGTH as u64);
}

fn get() {
    let (keys, chunks) = sealed();
    let next = AtomicUsize::new(0);
    let fetch = |buffer: &mut [u8]| {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(chunk) = chunks.get(index) else { return Ok(None) };
        buffer[..chunk.bytes().len()].copy_from_slice(chunk.bytes());
        Ok::<_, vault::Error>(Some((index, 0..chunk.bytes().len())))
    };
    let mut length = 0;
    let mut sink = |part: &[u8]| {
        length += black_box(part).len();
        Ok(())
    };
    content::open(&keys, LENGTH as u64, NonZeroUsize::MIN, &fetch, &mut sink).expect("opens");
    assert_eq!(length, LENGTH);
}

fn sealed() -> (Vec<ChunkKey>, Vec<SealedChunk>) {
    chunk::seal(&Base::fresh(), &bytes(), NonZeroUsize::MIN)
}

fn parse() {
    for letter in LETTERS {
        for _ in 0..PARSED {
            black_box(Letter::parse(black_box(letter)));
        }
    }
}

/// Bytes that do not repeat.
fn bytes() -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    let mut state = 1u64;
    for word in bytes.chunks_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    bytes
}
