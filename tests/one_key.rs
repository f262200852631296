//! One key, one message: over everything that the whole suite sealed.
//!
//! Every nonce in the vault is zero, which is safe only while no key seals two messages. The lab
//! build appends BLAKE3(key) ‖ BLAKE3(message) of each seal to the file in `KLUIS_LAB_RECORD`
//! (`src/lab.rs`); this reads it after the suite has run. `make test` does both in that order.

use std::collections::HashMap;

const ROW: usize = 64;
/// A record of fewer keys does not come from a run of the whole suite.
const LEAST_KEYS: usize = 100;

/// What a record shows, or what is wrong with it.
fn verify(record: &[u8]) -> Result<usize, String> {
    let (rows, rest) = record.as_chunks::<ROW>();
    if !rest.is_empty() {
        return Err(format!("{} bytes behind the last whole row", rest.len()));
    }
    let mut messages = HashMap::new();
    for (i, row) in rows.iter().enumerate() {
        let (key, message) = row.split_at(ROW / 2);
        if *messages.entry(key).or_insert(message) != message {
            return Err(format!("row {i}: a key that had sealed another message before"));
        }
    }
    // One key sealing one message over and over would prove little.
    if messages.len() < LEAST_KEYS {
        return Err(format!("{} keys; a whole suite seals with more", messages.len()));
    }
    Ok(messages.len())
}

#[test]
fn no_key_of_the_whole_suite_sealed_two_messages() {
    let path = std::env::var_os("KLUIS_LAB_RECORD").expect("run `make test`: it sets the record");
    let record = std::fs::read(path).expect("run `make test`: the suite writes the record");
    let keys = verify(&record).expect("the record shows one message for each key");
    println!("{keys} keys sealed one message each, in {} seals", record.len() / ROW);
}

#[test]
fn a_key_that_sealed_twice_is_found() {
    let row = |key: usize, message: u8| {
        let mut row = [message; ROW];
        row[..ROW / 2].fill(0);
        row[..8].copy_from_slice(&key.to_le_bytes());
        row
    };
    let sound: Vec<_> = (0..LEAST_KEYS).map(|key| row(key, key as u8)).collect();
    assert_eq!(verify(sound.as_flattened()), Ok(LEAST_KEYS));
    let mut repeated = sound.clone();
    repeated.push(sound[7]);
    assert_eq!(verify(repeated.as_flattened()), Ok(LEAST_KEYS), "the same seal twice is sound");

    let mut reused = sound.clone();
    reused.push(row(7, 8));
    assert!(verify(reused.as_flattened()).is_err_and(|why| why.starts_with("row 100")));
    assert!(verify(sound[1..].as_flattened()).is_err(), "too few");
    assert!(verify(&[]).is_err(), "no lab build");
    assert!(verify(&sound.as_flattened()[1..]).is_err(), "a torn row");
}
