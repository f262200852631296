//! docs/vault-format.md is enough: a second reader that was written from it alone, in another
//! language and with other libraries, reads what the program wrote, and refuses what it refuses.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kluis::casebook::{Act, Filter};
use kluis::ids::EpochId;
use kluis::keys::epoch::EpochSecret;
use kluis::keys::wrapped;
use kluis::ledger::entry::Fact;

use crate::mail_client::letter;
use crate::readout::{self, Content, Place};
use crate::way::{count, deliver, runtime};
use crate::world::{MAILBOX, World};

/// A directory in memory where the machine has such a place: nothing here is about disks.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// The second reader, if this machine can run it.
fn second_reader(name: &str) -> Option<Command> {
    let there = Command::new("python3")
        .args(["-c", "import cryptography"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        println!("SKIPPED {name} python3 with python3-cryptography is not installed");
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-B", "-X", "utf8"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vault/reader"));
    Some(command)
}

fn epochs(world: &World) -> HashMap<EpochId, EpochSecret> {
    let of = |number| {
        let file = std::fs::read(world.state().join(format!("epochs/{number}.age"))).ok()?;
        let secret = wrapped::unwrap_epoch(&file, &world.key("anna")).expect("anna reads");
        Some((EpochId(number), secret))
    };
    (1..=2).map_while(of).collect()
}

/// What the second reader makes of the vault.
fn second_reading(reader: &mut Command, world: &World, keys: &Path) -> Content {
    let identity = world.root.path().join("epoch.txt");
    let secrets: Vec<String> =
        epochs(world).values().map(|secret| secret.to_text().to_string()).collect();
    std::fs::write(&identity, secrets.join("\n")).expect("is written");
    let out = tempfile::tempdir().expect("a directory");
    let done = reader
        .args([world.state(), keys.to_owned(), identity, out.path().to_owned()])
        .output()
        .expect("runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let files = std::fs::read_dir(out.path()).expect("a directory");
    let files = files.map(|entry| entry.expect("an entry").path());
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    files.map(|path| (name(&path), std::fs::read(&path).expect("is read"))).collect()
}

#[test]
fn the_second_reader_reads_what_the_program_wrote_bit_for_bit() {
    let name = "the_second_reader_reads_what_the_program_wrote_bit_for_bit";
    let Some(mut reader) = second_reader(name) else { return };
    let (world, runtime) = (World::found(), runtime());
    // The sender of the first is told that it came.
    crate::notices::believe(&world);
    let server = runtime.block_on(world.serve());
    let mut sent: Vec<Vec<u8>> = (1..=3).map(|n| letter(17, n, 90_000 * n as usize)).collect();
    for entry in ["apple-double", "forwarded-base64", "name-raw-1252"] {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/letters");
        sent.push(std::fs::read(corpus.join(format!("{entry}.eml"))).expect("is read"));
    }
    let lotte = "lotte@example.net";
    sent.push(crate::notices::letter_from(lotte, "1", "", "Dag"));
    assert_eq!(crate::way::deliver_from(&server, lotte, &sent[sent.len() - 1]), [250]);
    for raw in &sent[..sent.len() - 1] {
        assert_eq!(deliver(&server, true, &[MAILBOX], raw), [250]);
    }
    assert_eq!(deliver(&server, false, &[MAILBOX], &sent[0]), [250], "it comes again");
    assert_eq!(count(&server, Fact::Redelivered), 1);
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let case = &cases[0];
    let reason = crate::forget::recording(&anna, case.card.case, Act::Note);
    let detail = case.letters[0].detail.as_ref().expect("opens");
    let item = detail.items.last().expect("has items").id;
    anna.forget(vec![item], reason, true).expect("forgets, and rotates at once");
    let forgotten = case.letters[0].id();
    drop(anna);
    // Another admin, another roster, another epoch, and some boxes sealed to it.
    crate::keyring::shake(&world);
    assert!(count(&server, Fact::Resealed) > 0 && count(&server, Fact::ReWrapped) > 0);
    runtime.block_on(server.stop());
    let (place, epochs) = (world.state(), epochs(&world));
    let place =
        Place { dir: &place, keys: &world.cabinet_key(), epochs: &epochs, checkpoint: None };
    let second = second_reading(&mut reader, &world, place.keys);
    let (content, refused) = readout::read(&place);
    assert_eq!(refused, []);
    same(&content, &second);
    let raws: Vec<&Vec<u8>> =
        content.iter().filter(|(n, _)| n.starts_with("raw.")).map(|(_, raw)| raw).collect();
    assert_eq!(raws.len(), sent.len());
    assert_eq!(sent.iter().filter(|raw| raws.contains(raw)).count(), sent.len() - 1);
    assert!(!sent.contains(&content[&format!("raw.{forgotten}")]));
    assert!(
        content.keys().any(|n| n.starts_with("4.")) && content.keys().any(|n| n.starts_with("5."))
    );
}

fn same(first: &Content, second: &Content) {
    let names: Vec<_> = first.keys().collect();
    assert_eq!(names, second.keys().collect::<Vec<_>>());
    for (name, bytes) in first {
        assert!(second[name] == *bytes, "{name}");
    }
}

/// The vectors of `tests/vault`: a base vault, and what differs from it in each.
struct Vectors {
    epochs: HashMap<String, String>,
    vectors: Vec<Vector>,
}

struct Vector {
    name: String,
    /// The answer, its file and its offset, as far as the document fixes them.
    expect: (String, Option<String>, Option<u64>),
    checkpoint: Option<String>,
    epochs: Vec<u32>,
    change: serde_json::Map<String, serde_json::Value>,
}

fn vault_files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vault")
}

fn vectors() -> Vectors {
    let text = std::fs::read(vault_files().join("vectors.json")).expect("is read");
    let json: serde_json::Value = serde_json::from_slice(&text).expect("is JSON");
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let epochs = json["epochs"].as_object().expect("a map");
    let epochs = epochs.iter().map(|(n, secret)| (n.clone(), text(secret).expect("text")));
    let vector = |json: &serde_json::Value| Vector {
        name: text(&json["name"]).expect("a name"),
        expect: (
            text(&json["expect"]).expect("an answer"),
            text(&json["file"]),
            json["offset"].as_u64(),
        ),
        checkpoint: text(&json["checkpoint"]),
        epochs: json["epochs"].as_array().map_or(vec![1, 2], |numbers| {
            numbers.iter().filter_map(|n| n.as_u64().map(|n| n as u32)).collect()
        }),
        change: json["change"].as_object().expect("a map").clone(),
    };
    let list = json["vectors"].as_array().expect("a list");
    Vectors { epochs: epochs.collect(), vectors: list.iter().map(vector).collect() }
}

/// The base vault, by path.
fn base() -> std::collections::BTreeMap<String, Vec<u8>> {
    let root = vault_files().join("base");
    let mut files = std::collections::BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).expect("is below").display().to_string();
                files.insert(name, std::fs::read(&path).expect("is read"));
            }
        }
    }
    files
}

/// Lays a vector out below `root`: the state in `state`, the cabinet's key in `keys`.
fn lay(root: &Path, base: &std::collections::BTreeMap<String, Vec<u8>>, vector: &Vector) {
    let mut files = base.clone();
    for (path, change) in &vector.change {
        if change.is_null() {
            files.remove(path);
        } else if let Some(other) = change["copy"].as_str() {
            files.insert(path.clone(), base[other].clone());
        } else {
            let bytes = files.entry(path.clone()).or_default();
            for splice in change.as_array().expect("a list") {
                let at = splice[0].as_u64().expect("a number") as usize;
                let taken = splice[1].as_u64().expect("a number") as usize;
                let put = splice[2].as_str().expect("text").as_bytes();
                let put = data_encoding::BASE64.decode(put).expect("base 64");
                bytes.splice(at..at + taken, put);
            }
        }
    }
    for folder in ["state/packs", "state/ledger", "state/quarantine", "keys"] {
        std::fs::create_dir_all(root.join(folder)).expect("is made");
    }
    std::fs::write(root.join("state/lock"), b"").expect("is written");
    for (path, bytes) in files {
        let path = match path.strip_prefix("keys/") {
            Some(name) => root.join("keys").join(name),
            None => root.join("state").join(path),
        };
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("is made");
        std::fs::write(path, bytes).expect("is written");
    }
}

/// What the library answers: the first refusal, or `success`.
fn answer(
    root: &Path,
    vectors: &Vectors,
    vector: &Vector,
) -> (String, Option<String>, Option<u64>) {
    let secret = |n: &u32| {
        let secret = EpochSecret::from_text(&vectors.epochs[&n.to_string()]).expect("a secret");
        (EpochId(*n), secret)
    };
    let epochs: HashMap<_, _> = vector.epochs.iter().map(secret).collect();
    let (dir, keys) = (root.join("state"), root.join("keys"));
    let place =
        Place { dir: &dir, keys: &keys, epochs: &epochs, checkpoint: vector.checkpoint.as_deref() };
    let (_, refused) = readout::read(&place);
    match refused.into_iter().next() {
        None => ("success".into(), None, None),
        Some(refusal) => (refusal.what.into(), refusal.file, refusal.offset),
    }
}

/// Whether an answer is the one that is expected; what the document does not fix may be anything.
fn fits(
    answer: &(String, Option<String>, Option<u64>),
    expect: &(String, Option<String>, Option<u64>),
) -> bool {
    answer.0 == expect.0
        && (expect.1.is_none() || answer.1 == expect.1)
        && (expect.2.is_none() || answer.2 == expect.2)
}

#[test]
fn a_certificate_holds_for_the_second_reader_and_an_altered_one_does_not() {
    let name = "a_certificate_holds_for_the_second_reader_and_an_altered_one_does_not";
    if second_reader(name).is_none() {
        return;
    }
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(41, 1, 9_000)), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = anna.queue(Filter::All).expect("lists").remove(0);
    let item = case.letters[0].card.items[0].0;
    let reason = crate::forget::recording(&anna, case.card.case, Act::Note);
    let waits = anna.forget(vec![item], reason, false).expect("is forgotten").remove(0);
    server.casebook.rotate_cabinet().expect("gets a new key");
    let rotated = anna.certificate(waits.forgotten.index).expect("is made");
    drop(anna);
    runtime.block_on(server.stop());

    let place = |name: &str| world.root.path().join(name);
    std::fs::write(place("key.pub"), &world.checkpoint_key).expect("is written");
    let verify = |text: &str| {
        std::fs::write(place("certificate.txt"), text).expect("is written");
        let mut reader = second_reader(name).expect("is there");
        let reader = reader.arg("--certificate").arg(place("certificate.txt"));
        reader.arg(place("key.pub")).output().expect("runs")
    };
    for certificate in [waits, rotated] {
        let text = certificate.to_text().expect("is a certificate");
        let output = verify(&text);
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(said, item.to_string(), "{}", String::from_utf8_lossy(&output.stderr));
        for (from, to) in
            [("by member 1", "by member 2"), ("provisional", "final"), ("extra", "ex")]
        {
            assert!(!verify(&text.replacen(from, to, 1)).status.success(), "{from}");
        }
    }
}

#[test]
fn every_vector_is_answered_as_it_says_by_the_program_and_by_the_second_reader() {
    let name = "every_vector_is_answered_as_it_says_by_the_program_and_by_the_second_reader";
    let (vectors, base) = (vectors(), base());
    assert!(vectors.vectors.len() >= 350, "{}", vectors.vectors.len());
    let mut second = second_reader(name).map(|mut command| {
        let command = command.arg("--say").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let answers = BufReader::new(child.stdout.take().expect("is piped"));
        (child, answers)
    });
    let mut wrong = Vec::new();
    for vector in &vectors.vectors {
        let root = scratch();
        lay(root.path(), &base, vector);
        if let Some((child, answers)) = &mut second {
            let secrets: Vec<_> =
                vector.epochs.iter().map(|n| vectors.epochs[&n.to_string()].clone()).collect();
            let job = serde_json::json!({
                "directory": root.path().join("state"),
                "keys": root.path().join("keys"),
                "secrets": secrets.join("\n"),
                "checkpoint": vector.checkpoint,
            });
            let jobs = child.stdin.as_mut().expect("is piped");
            writeln!(jobs, "{job}").expect("is taken");
            let mut line = String::new();
            answers.read_line(&mut line).expect("is answered");
            let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let text = |key: &str| json[key].as_str().map(str::to_owned);
            let said = (text("expect").expect("a word"), text("file"), json["offset"].as_u64());
            if !fits(&said, &vector.expect) {
                wrong.push(format!(
                    "{}\n   second {json}\n   expect {:?}",
                    vector.name, vector.expect
                ));
            }
        }
        let said = answer(root.path(), &vectors, vector);
        if !fits(&said, &vector.expect) {
            wrong.push(format!(
                "{}\n   program {said:?}\n   expect {:?}",
                vector.name, vector.expect
            ));
        }
    }
    if let Some((mut child, _)) = second {
        drop(child.stdin.take());
        assert!(child.wait().expect("ends").success());
    }
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
}
