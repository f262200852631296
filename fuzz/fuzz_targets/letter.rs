//! Any bytes are a letter, and come back bit for bit from skeleton and items.

#![no_main]

use kluis::letter::skeleton::{Skeleton, cut};
use kluis::letter::{Letter, MAX_ITEMS, content};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    let letter = Letter::parse(raw);
    assert!(!letter.items.is_empty() && letter.items.len() <= MAX_ITEMS);
    let (skeleton, contents) = cut(raw, &letter).expect("an honest letter can be cut");
    for ((item, hole), stored) in letter.items.iter().zip(&skeleton.holes).zip(&contents) {
        assert!(item.storage == hole.storage);
        let _ = content(item, stored);
    }
    let all: Vec<_> = contents.iter().map(|content| Some(content.as_slice())).collect();
    assert!(skeleton.rebuild(&all) == raw);
    assert!(Skeleton::decode(&skeleton.encode()) == Some(skeleton));
    let _ = Skeleton::decode(raw);
});
