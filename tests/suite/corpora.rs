//! The bodies of the fuzz targets over the corpora that are kept: what was found once is found again.

use std::path::Path;

use crate::mail_client::Numbers;

/// The inputs of a corpus, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora").join(name);
    let mut inputs: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("is read"))
        })
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn every_conversation_of_the_corpus_is_survived_and_so_are_its_neighbours() {
    let inputs = corpus("smtp");
    assert!(inputs.len() >= 30);
    let mut numbers = Numbers::new(1);
    for (name, input) in &inputs {
        println!("{name}");
        crate::smtp_body::run(input);
        for who in 0..128 {
            for length in [1, 2, 3, 13, 255] {
                let mut other = input.clone();
                (other[0], other[1]) = (who, length);
                crate::smtp_body::run(&other);
            }
        }
        for _ in 0..200 {
            let mut other = input.clone();
            for _ in 0..1 + numbers.draw() % 3 {
                let at = (numbers.draw() % other.len() as u64) as usize;
                match numbers.draw() % 3 {
                    0 => other[at] = numbers.draw() as u8,
                    1 => drop(other.remove(at)),
                    _ => other.insert(at, b"\r\n.\0 0<>"[(numbers.draw() % 8) as usize]),
                }
                if other.len() < 4 {
                    break;
                }
            }
            crate::smtp_body::run(&other);
        }
    }
}
