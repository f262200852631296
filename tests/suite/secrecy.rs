//! What rests, what is logged and what the server's memory holds say nothing of who wrote and
//! what; and nothing is read with one key of the two.
//!
//! Random words are sent through everything that handles a letter, then looked for in every form
//! that bytes of a mail may take. What is expected to be found is looked for, too: a search that
//! finds nothing proves nothing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use data_encoding::{BASE64_MIME, HEXLOWER};
use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::identity::ladder;
use kluis::ids::random;
use kluis::keys::epoch::EpochSecret;
use kluis::keys::wrapped;
use kluis::ledger::entry::MESSAGE_ID_KEY;
use kluis::reply::Language;
use kluis::secret::Reach;
use kluis::staff::answers::{self, Draft};
use kluis::staff::client::{CaseView, Client};
use kluis::staff::sealing::Sealing;
use kluis::vault::seal::{self, Kind};

use crate::mail_client::Client as Sender;
use crate::thief::{Search, Thief, copy, files};
use crate::way::{deliver, raw, runtime, skipped};
use crate::world::{MAILBOX, Process, World, passphrase};

/// A word for each place where a person may say something.
struct Words {
    sender: String,
    name: String,
    subject: String,
    body: String,
    attachment_name: String,
    attachment: String,
    note: String,
    answer: String,
    proof: String,
}

impl Words {
    fn random() -> Self {
        let plain = || format!("zq{}", HEXLOWER.encode(&random::<9>()));
        let word = || format!("é{}ü", plain());
        Self {
            sender: plain(),
            name: word(),
            subject: word(),
            body: word(),
            attachment_name: word(),
            attachment: word(),
            note: word(),
            answer: word(),
            proof: word(),
        }
    }

    fn all(&self) -> [(&'static str, &str); 9] {
        [
            ("sender", &self.sender),
            ("name", &self.name),
            ("subject", &self.subject),
            ("body", &self.body),
            ("attachment's name", &self.attachment_name),
            ("attachment", &self.attachment),
            ("note", &self.note),
            ("answer", &self.answer),
            ("proof", &self.proof),
        ]
    }

    fn address(&self) -> String {
        format!("{}@client.example", self.sender)
    }

    /// A letter with these words: a text in quoted-printable, one as it is, a large attachment.
    fn letter(&self) -> Vec<u8> {
        let encoded = |text: &str| {
            let bytes = text.bytes().map(|byte| format!("={byte:02X}"));
            bytes.collect::<String>()
        };
        let percent = encoded(&self.attachment_name).replace('=', "%");
        let content = format!("{} {}", self.attachment, "lorem ipsum ".repeat(8_000));
        format!(
            "From: =?utf-8?q?{}?= <{}>\r\nTo: {MAILBOX}\r\nSubject: =?utf-8?b?{}?=\r\n\
             Message-ID: <{}>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=b\r\n\r\n\
             --b\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n{}=\r\n\r\n\
             --b\r\nContent-Type: text/html; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n<p>{}</p>\r\n\
             --b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment; filename*=utf-8''{percent}.pdf\r\n\r\n{}\r\n--b--\r\n",
            encoded(&self.name),
            self.address(),
            data_encoding::BASE64.encode(self.subject.as_bytes()),
            self.address(),
            encoded(&self.body),
            self.body,
            BASE64_MIME.encode(content.as_bytes()),
        )
        .into_bytes()
    }
}

/// Reads everything of the one case, as staff do, and says what the letter and the notes hold.
fn read_all(client: &mut Client) -> (CaseView, Vec<u8>) {
    let case = client.queue(Filter::Open).expect("lists").pop().expect("is there");
    let mut read = raw(client, &case);
    let detail = case.letters[0].detail.as_ref().expect("opens");
    let ids: Vec<_> = detail.items.iter().map(|card| card.id).collect();
    for view in client.look(&ids).expect("opens") {
        read.extend_from_slice(view.name.expose());
        read.extend_from_slice(&view.content());
    }
    let name = detail.headers.from[0].name.as_ref().expect("has a name");
    let subject = detail.headers.subject.as_ref().expect("has a subject");
    for text in [name, subject] {
        read.extend_from_slice(text.expose().as_bytes());
    }
    for note in client.notes(case.card.case).expect("lists") {
        read.extend_from_slice(note.detail.words.expose().as_bytes());
    }
    (case, read)
}

/// Notes something, and answers with a code.
fn note_and_answer(client: &mut Client, case: &CaseView, words: &Words) {
    let number = case.card.case;
    let mut sealing = Sealing::new(number, Act::Note, client.sealing().expect("is proven"));
    sealing.note(NoteSubject::Remark, &words.note, None, Vec::new());
    client.record(sealing.finish()).expect("records");
    let detail = case.letters[0].detail.as_ref().expect("opens");
    let draft = Draft {
        case: number,
        subject: words.answer.clone(),
        text: words.answer.clone(),
        items: detail.items.iter().map(|card| card.id).collect(),
        files: Vec::new(),
        language: Language::Nl,
        proof: Some((ladder::Kind::Match, words.proof.clone())),
        with_code: true,
    };
    answers::send(client, draft, 1_793_610_000).expect("is recorded");
}

/// The mail that the server handed over.
fn delivered(world: &World) -> Vec<u8> {
    let start = Instant::now();
    loop {
        let mails = files(&world.outgoing());
        let mail = mails.iter().find(|file| {
            let is_whole = file.parent() == Some(world.outgoing().as_path());
            is_whole && file.extension().is_some_and(|extension| extension == "eml")
        });
        if let Some(mail) = mail {
            return std::fs::read(mail).expect("can be read");
        }
        assert!(start.elapsed() < Duration::from_secs(30), "nothing was delivered");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the search finds in the files under `path`, `outgoing/` left out, as `file: what`.
fn found_in_files(search: &Search, world: &World, path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in files(path).iter().filter(|file| !file.starts_with(world.outgoing())) {
        let bytes = std::fs::read(file).expect("can be read");
        let name = file.display();
        found.extend(search.find(&bytes).iter().map(|what| format!("{name}: {what}")));
        found.extend(
            search.find(name.to_string().as_bytes()).iter().map(|what| format!("{name}: {what}")),
        );
    }
    found
}

/// A server in a process of its own that logs everything.
struct Watched {
    process: Process,
    log: PathBuf,
}

impl Watched {
    fn serve(world: &World) -> Self {
        Self { process: world.spawn(&[("RUST_LOG", "trace")]), log: world.log() }
    }

    fn deliver(&self, lmtp: bool, from: &str, raw: &[u8]) {
        let address = if lmtp { self.process.lmtp } else { self.process.smtp };
        let mut sender = Sender::greet(address.expect("serves"), lmtp).expect("greets");
        let answers = sender.send(from, &[MAILBOX], raw).expect("answers");
        assert_eq!(answers.iter().map(|answer| answer.code).collect::<Vec<_>>(), [250]);
    }

    /// Ends it and gives its whole log.
    fn end(mut self) -> Vec<u8> {
        self.process.child.kill().expect("is killed");
        self.process.child.wait().expect("ends");
        std::fs::read(&self.log).expect("is read")
    }
}

#[test]
fn no_word_of_a_letter_a_note_or_an_answer_rests_in_a_file_or_the_log() {
    let world = World::found();
    let server = Watched::serve(&world);
    let words = Words::random();
    let search = Search::for_words(words.all());
    // The second time, another way, it is recognised.
    server.deliver(false, &words.address(), &words.letter());
    server.deliver(true, &words.address(), &words.letter());
    let mut anna = world.log_in("anna").expect("logs in");
    let (case, _) = read_all(&mut anna);
    note_and_answer(&mut anna, &case, &words);
    let mail = delivered(&world);
    let (_, read) = read_all(&mut anna);

    // Every word went in, and staff read every word: the search knows them when it meets them.
    for (name, _) in words.all() {
        let is_read = search.find(&read).contains(&format!("{name}: as it is").as_str());
        assert!(is_read, "{name} was not read");
    }
    // The mail tells its way and nothing else.
    let told = search.find(&mail);
    assert!(told.contains(&"sender: as it is"));
    assert!(told.iter().all(|what| what.starts_with("sender: ")), "{told:?}");

    let at_work = found_in_files(&search, &world, world.root.path());
    assert!(at_work.is_empty(), "{at_work:#?}");
    let log = server.end();
    let at_rest = found_in_files(&search, &world, world.root.path());
    assert!(at_rest.is_empty(), "{at_rest:#?}");

    let text = String::from_utf8_lossy(&log);
    assert!(text.contains("letter kept"), "the log says what happened: {text}");
    assert_eq!(search.find(&log), Vec::<&str>::new());

    // A file that holds a word is found where the others were looked through.
    std::fs::write(world.state().join("packs/planted"), words.letter()).expect("writes");
    let planted = found_in_files(&search, &world, world.root.path());
    for (name, _) in &words.all()[..6] {
        assert!(planted.iter().any(|line| line.contains(&format!(": {name}: "))), "{name}");
    }
}

/// The 32 bytes in `AGE-SECRET-KEY-1…` (Bech32, BIP 173).
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";
    let data = text.strip_prefix("AGE-SECRET-KEY-1").expect("a secret key");
    let bits: Vec<bool> = data[..data.len() - 6]
        .bytes()
        .map(|c| ALPHABET.iter().position(|&x| x == c).expect("Bech32"))
        .flat_map(|value| (0..5).rev().map(move |bit| value >> bit & 1 == 1))
        .collect();
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
    bits.chunks_exact(8).map(byte).collect()
}

/// The secret in a member's key file, as stock age gives it.
pub(crate) fn secret_text(world: &World, name: &str) -> String {
    let file = std::fs::read(world.root.path().join(format!("keys/{name}.key"))).expect("is there");
    let words = passphrase().expose().to_owned();
    let identity = age::scrypt::Identity::new(words.into());
    let text = age::decrypt(&identity, &file).expect("opens");
    let text = String::from_utf8(text).expect("is text");
    text.lines().find(|line| line.starts_with("AGE-")).expect("holds a key").to_owned()
}

pub(crate) fn epoch(world: &World) -> EpochSecret {
    let file = std::fs::read(world.state().join("epochs/1.age")).expect("is there");
    wrapped::unwrap_epoch(&file, &world.key("anna")).expect("anna reads")
}

/// What the search finds in the memory of a process; nothing if the system does not let us look.
fn found_in_memory(search: &Search, pid: u32) -> Option<Vec<&str>> {
    const PIECE: u64 = 1 << 20;
    const OVERLAP: u64 = 256;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        if !rights.starts_with('r') || line.contains("[v") {
            continue;
        }
        let (from, to) = range.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut at = from;
        while at < to {
            let mut piece = vec![0; (to - at).min(PIECE + OVERLAP) as usize];
            let length = memory.read_at(&mut piece, at).unwrap_or(0);
            found.extend(search.find_unbroken(&piece[..length]));
            at += PIECE;
        }
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

#[test]
fn the_servers_memory_holds_no_key_of_the_staff() {
    let test = "the_servers_memory_holds_no_key_of_the_staff";
    let world = World::found();
    let message_id = {
        let gateway = world.open();
        let key = gateway.casebook.server_key(MESSAGE_ID_KEY).expect("is there");
        key.expose().to_vec()
    };
    let server = Watched::serve(&world);
    let words = Words::random();
    server.deliver(false, &words.address(), &words.letter());
    let mut anna = world.log_in("anna").expect("logs in");
    let (case, _) = read_all(&mut anna);
    note_and_answer(&mut anna, &case, &words);
    delivered(&world);
    world.log_in("bert").expect("logs in");

    let mut needles = vec![
        ("the message-id key".to_owned(), message_id),
        ("the mailbox".to_owned(), MAILBOX.as_bytes().to_vec()),
    ];
    let epoch = epoch(&world).to_text().to_string();
    let mut secrets = vec![("epoch".to_owned(), epoch)];
    secrets.extend(["anna", "bert"].map(|name| (name.to_owned(), secret_text(&world, name))));
    for (name, text) in &secrets {
        needles.push((format!("{name}, its bytes"), bytes_of(text)));
        needles.push((format!("{name}, its text"), text.as_bytes().to_vec()));
    }
    let search = Search::for_bytes(needles);
    let found = found_in_memory(&search, server.process.child.id());
    let own = found_in_memory(&search, std::process::id());
    let (Some(found), Some(own)) = (found, own) else {
        return skipped(test, "the system does not let this user look into a process");
    };
    // What the server does hold is found, and what this process holds, too. Its own keys lie where
    // nobody can look, if the kernel has such pages.
    let own_key: &[&str] =
        if kluis::secret::reach() < Reach::Secret { &["the message-id key"] } else { &[] };
    assert_eq!(found, [&["the mailbox"], own_key].concat());
    for (name, _) in &secrets {
        assert!(own.contains(&format!("{name}, its bytes").as_str()), "{name}");
    }
    drop(server);
}

#[test]
fn one_key_of_the_two_opens_nothing_that_staff_read() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let words = Words::random();
    assert_eq!(deliver(&server, false, &[MAILBOX], &words.letter()), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let (case, _) = read_all(&mut anna);
    note_and_answer(&mut anna, &case, &words);
    delivered(&world);
    runtime.block_on(server.stop());
    let search = Search::for_words(words.all());
    // A copy of everything on the server but the cabinet key.
    let stolen = tempfile::tempdir().expect("a directory");
    copy(&world.state(), stolen.path());

    let staff_alone = Thief::default().with(stolen.path()).knowing(epoch(&world));
    let boxes = staff_alone.boxes();
    for kind in [Kind::Letter, Kind::Item, Kind::Contact, Kind::Note, Kind::Outgoing] {
        assert!(boxes.iter().any(|entry| entry.box_kind == Some(kind)), "{kind:?}");
    }
    for entry in &boxes {
        assert!(staff_alone.sealed(entry).is_some(), "entry {}", entry.seq);
        assert!(staff_alone.outer(entry).is_none(), "entry {}", entry.seq);
    }

    let cabinet_alone = Thief::default().with(stolen.path()).with(&world.cabinet_key());
    for entry in &boxes {
        let kind = entry.box_kind.expect("a box has a kind");
        let inner = cabinet_alone.outer(entry).expect("the server's layer opens");
        assert_eq!(cabinet_alone.open(entry).is_some(), kind.is_server_sealed(), "{kind:?}");
        if !kind.is_server_sealed() {
            assert_eq!(search.find(&inner.sealed), Vec::<&str>::new(), "{kind:?}");
            let recorded = entry.content.expect("a box has a content");
            assert!(seal::open_for_server(&inner, recorded).is_err(), "{kind:?}");
        }
    }
    // Another epoch's key is no key.
    let other = Thief::default()
        .with(stolen.path())
        .with(&world.cabinet_key())
        .knowing(EpochSecret::generate());
    let opened = boxes.iter().filter(|entry| other.open(entry).is_some());
    assert!(opened.into_iter().all(|entry| entry.box_kind.is_some_and(Kind::is_server_sealed)));

    // With both keys the same copies say every word.
    let both =
        Thief::default().with(stolen.path()).with(&world.cabinet_key()).knowing(epoch(&world));
    let mut read = Vec::new();
    for entry in &boxes {
        let (manifest, content) = both.open(entry).expect("opens");
        for part in [manifest.name.as_slice(), &manifest.detail, &content] {
            read.extend_from_slice(part);
        }
    }
    for (name, _) in words.all() {
        assert!(search.find(&read).contains(&format!("{name}: as it is").as_str()), "{name}");
    }
    // The staff's files alone open nothing without a member's key.
    let file = std::fs::read(stolen.path().join("epochs/1.age")).expect("is there");
    assert!(wrapped::unwrap_epoch(&file, &world.key("olga")).is_err());
    assert!(wrapped::unwrap_epoch(&file, &world.key("carla")).is_err());
}
