//! Answers: from the desk, under a lock, to one person, once; and refused where there is no lock.
//!
//! GnuPG, Sequoia's `sq` and stock `age` open what arrives; a second inbox takes it over SMTP.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::identity::ladder;
use kluis::ids::{CaseId, ItemId};
use kluis::inbox::{self, Delivery, Kind, Listener, Recipients, Settings, Verdict};
use kluis::ledger::entry::Fact;
use kluis::reply::answer::Attachment;
use kluis::reply::openpgp::KeyProblem;
use kluis::reply::{ComposeError, Language, Outgoing};
use kluis::secret::Personal;
use kluis::staff::answers::{self, Draft, Error, Sent};
use kluis::staff::client::{Client, Error as ClientError};
use kluis::staff::sealing::Sealing;
use mail_parser::{Message, MessageParser, MimeHeaders as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::opened::{PERSON, gpg, only_case};
use crate::openpgp::{DAY, Gpg, age_opens, now, run, try_run};
use crate::way::{count, deliver, runtime, skipped};
use crate::world::{MAILBOX, Server, World};

const SUBJECT: &str = "Uw loonfiches: alles wat wij hebben, é";
const TEXT: &str = "Beste Lotte,\n\nHier is alles.\n.\nGroeten, Zoë\n";
const FILE_NAME: &str = "loonfiche mei \"2026\" – Lotte.pdf";

fn file() -> Vec<u8> {
    (0..=255).cycle().take(70_000).collect()
}

/// A request in clear with a file, which the answer gives back.
fn request(subject: &str) -> Vec<u8> {
    format!(
        "From: Lotte <{PERSON}>\r\nTo: {MAILBOX}\r\nSubject: {subject}\r\n\
         Message-ID: <{}.asked@client.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nGraag inzage.\r\n\
         --b\r\nContent-Type: application/pdf\r\n\
         Content-Disposition: attachment; filename=\"attest.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQgYXR0ZXN0\r\n--b--\r\n",
        subject.len()
    )
    .into_bytes()
}

/// Serves, takes one request, and logs anna in.
fn with_request(world: &World, runtime: &Runtime) -> (Server, Client, CaseId) {
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &request("inzage")), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna).card.case;
    (server, anna, case)
}

pub(crate) fn draft(case: CaseId, items: Vec<ItemId>, with_code: bool) -> Draft {
    Draft {
        case,
        subject: SUBJECT.into(),
        text: TEXT.into(),
        items,
        files: vec![Attachment {
            name: Personal::new(FILE_NAME.into()),
            media_type: "application/pdf".into(),
            content: Personal::new(file()),
        }],
        language: Language::Nl,
        proof: Some((ladder::Kind::Match, "date of birth and the last payslip".into())),
        with_code,
    }
}

/// The attachment of the request.
fn attest(client: &mut Client) -> ItemId {
    let case = only_case(client);
    let detail = case.letters[0].detail.as_ref().expect("opens");
    let card = detail.items.iter().find(|card| card.media_type == "application/pdf");
    card.expect("is there").id
}

fn answer(client: &mut Client, case: CaseId, with_code: bool) -> Sent {
    let item = attest(client);
    answers::send(client, draft(case, vec![item], with_code), now()).expect("is on its way")
}

fn confirm(client: &mut Client, case: CaseId, gpg: &Gpg) -> String {
    let certificate = gpg.export(PERSON);
    let confirmed = answers::confirm_key(client, case, &certificate, now());
    confirmed.expect("is confirmed").expose().clone()
}

/// Waits until something is so, for as long as a slow machine may need.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The one mail in the folder, and its envelope.
fn delivered(world: &World) -> (Vec<u8>, serde_json::Value) {
    wait_until("a mail", || !world.delivered().is_empty());
    let mut all = world.delivered();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn parse(mail: &[u8]) -> Message<'_> {
    MessageParser::new().parse(mail).expect("is a mail")
}

/// A part of a mail by its name.
pub(crate) fn part(mail: &[u8], name: &str) -> Vec<u8> {
    let read = parse(mail);
    let found = read.parts.iter().find(|part| part.attachment_name() == Some(name));
    found.expect("has the part").contents().to_vec()
}

/// Nothing of the answer can be read, and it goes to one person.
fn assert_closed(mail: &[u8], envelope: &serde_json::Value) {
    assert_eq!(envelope["forward_path"], serde_json::json!([PERSON]));
    assert_eq!(envelope["reverse_path"], MAILBOX);
    let text = str::from_utf8(mail).expect("is ASCII");
    for word in ["Beste", "QmVzdGU", "Zo=C3", "loonfiche", "bG9vbmZpY2hl", "attest", "JVBERi0xLjQ"]
    {
        assert!(!text.contains(word), "{word}");
    }
    let read = parse(mail);
    assert_eq!(read.to().expect("has To").as_list().map(<[_]>::len), Some(1));
    assert!(read.cc().is_none() && read.bcc().is_none());
    assert_eq!(read.in_reply_to().as_text(), Some("6.asked@client.example"));
}

/// What the person reads is what was written, to the byte.
fn assert_answer(opened: &[u8]) {
    let read = parse(opened);
    assert_eq!(read.subject(), Some(SUBJECT));
    let text = read.body_text(0).expect("has a text").replace("\r\n", "\n");
    assert_eq!(text.trim_end(), TEXT.trim_end());
    let files: Vec<_> =
        read.attachments().map(|part| (part.attachment_name(), part.contents())).collect();
    let file = file();
    let expected = [(Some(FILE_NAME), file.as_slice()), (Some("attest.pdf"), b"%PDF-1.4 attest")];
    assert!(files == expected, "{} files", files.len());
}

#[test]
fn an_answer_to_a_confirmed_key_is_opened_by_gnupg_and_sq_with_a_good_signature() {
    let (world, runtime) = (World::found(), runtime());
    let test = "an_answer_to_a_confirmed_key_is_opened_by_gnupg_and_sq_with_a_good_signature";
    let Some(gpg) = gpg(&world, test) else { return };
    let (server, mut anna, case) = with_request(&world, &runtime);
    let fingerprint = confirm(&mut anna, case, &gpg);
    let sent = answer(&mut anna, case, false);
    assert!(sent.code.is_none());
    assert_eq!(sent.key.map(Personal::into_exposed), Some(fingerprint));
    let (mail, envelope) = delivered(&world);
    assert_closed(&mail, &envelope);
    assert_eq!(parse(&mail).subject(), Some("[...]"));

    let armor = part(&mail, "encrypted.asc");
    let output = try_run(&mut gpg.command(["--status-fd", "2", "--decrypt"]), &armor);
    let status = String::from_utf8_lossy(&output.stderr);
    let signer = anna.mailbox_keys().expect("unwraps")[0].certificate().fingerprint();
    assert!(status.contains("GOODSIG"), "{status}");
    assert!(status.contains(&format!("VALIDSIG {}", signer.expose())), "{status}");
    assert_eq!(status.matches("ENC_TO").count(), 1, "to nobody else: {status}");
    assert_answer(&output.stdout);
    opened_by_sq(&world, &gpg, &armor);

    // What was done is remembered, and sealed.
    let notes = anna.notes(case).expect("lists");
    let subjects: Vec<_> = notes.iter().map(|note| note.detail.subject).collect();
    assert_eq!(subjects, [NoteSubject::ConfirmedKey, NoteSubject::Proof, NoteSubject::Answer]);
    wait_until("the entry", || count(&server, Fact::OutgoingDelivered) == 1);
    assert_eq!(anna.case(case).expect("is there").card.answers, (1, 1, 0));
    runtime.block_on(server.stop());
}

fn opened_by_sq(world: &World, gpg: &Gpg, armor: &[u8]) {
    if Command::new("sq").arg("--version").output().is_err() {
        return skipped("opened_by_sq", "sq is not installed");
    }
    let secret = world.root.path().join("person.pgp");
    std::fs::write(&secret, gpg.run(&["--export-secret-keys", PERSON], b"")).expect("writes");
    let mut sq = Command::new("sq");
    sq.args(["decrypt", "--recipient-key"]).arg(&secret);
    sq.arg("--signer-cert").arg(world.state().join("mailbox.asc"));
    assert_answer(&run(&mut sq, armor));
}

#[test]
fn a_reply_to_our_mail_joins_its_case_whoever_sends_it_and_a_forged_one_does_not() {
    let (world, runtime) = (World::found(), runtime());
    let test = "a_reply_to_our_mail_joins_its_case_whoever_sends_it_and_a_forged_one_does_not";
    let Some(gpg) = gpg(&world, test) else { return };
    let (server, mut anna, case) = with_request(&world, &runtime);
    confirm(&mut anna, case, &gpg);
    answer(&mut anna, case, false);
    let (mail, _) = delivered(&world);
    let id = parse(&mail).message_id().expect("has one").to_owned();
    assert!(id.starts_with(&format!("k.{case}.")) && id.ends_with("@jobexpert.be"), "{id}");
    let reply = |reference: &str, n: u8| {
        let mail = format!(
            "From: lotte.thuis@other.example\r\nTo: {MAILBOX}\r\nSubject: dank u\r\n\
             Message-ID: <{n}@other.example>\r\nIn-Reply-To: <{reference}>\r\n\r\nDank u.\r\n"
        );
        assert_eq!(deliver(&server, false, &[MAILBOX], mail.as_bytes()), [250]);
    };
    reply(&id, 1);
    assert_eq!(anna.case(case).expect("is there").letters.len(), 2);
    let (named, mac) = id.split_once('@').expect("an id").0.rsplit_once('.').expect("a MAC");
    let other = if mac.starts_with('a') { "b" } else { "a" };
    reply(&format!("{named}.{other}{}@jobexpert.be", &mac[1..]), 2);
    assert_eq!(anna.case(case).expect("is there").letters.len(), 2);
    assert_eq!(anna.queue(Filter::All).expect("lists").len(), 2);
    runtime.block_on(server.stop());
}

#[test]
fn an_answer_under_a_code_is_opened_by_stock_age_and_the_code_is_kept_nowhere() {
    for program in ["age", "script"] {
        if Command::new(program).arg("--version").output().is_err() {
            let test = "an_answer_under_a_code_is_opened_by_stock_age_and_the_code_is_kept_nowhere";
            return skipped(test, &format!("{program} is not installed"));
        }
    }
    let (world, runtime) = (World::found(), runtime());
    let (server, mut anna, case) = with_request(&world, &runtime);
    let sent = answer(&mut anna, case, true);
    let code = sent.code.expect("has a code").expose().to_string();
    assert!(sent.key.is_none());
    let (mail, envelope) = delivered(&world);
    assert_closed(&mail, &envelope);
    assert_eq!(parse(&mail).subject(), Some(format!("[{case}]").as_str()));
    let folder = world.root.path().join("person");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("answer.age"), part(&mail, "answer.age")).expect("writes");
    assert!(age_opens(&folder, "0000-0000-0000-0000-0").is_none());
    assert_answer(&age_opens(&folder, &code).expect("age opens it"));

    runtime.block_on(server.stop());
    for spelling in [code.clone(), code.replace('-', "")] {
        assert!(!holds(&mail, spelling.as_bytes()));
        assert_eq!(files_with(&world.state(), spelling.as_bytes()), Vec::<String>::new());
    }
    // The search finds what is there.
    assert!(!files_with(&world.state(), case.to_string().as_bytes()).is_empty());
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The files below a directory that hold these bytes.
fn files_with(dir: &Path, wanted: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("lists") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(files_with(&entry.path(), wanted));
        } else if kind.is_file() && holds(&std::fs::read(entry.path()).expect("reads"), wanted) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

/// Nothing was recorded that an answer leaves behind, and nothing waits to be sent.
fn assert_nothing_leaves(world: &World, server: &Server) {
    assert_eq!(count(server, Fact::Answered), 0);
    assert!(server.casebook.unfinished().is_empty());
    assert!(world.delivered().is_empty());
}

#[test]
fn without_a_key_that_is_fit_and_without_a_code_nothing_leaves_and_the_reason_is_said() {
    let (world, runtime) = (World::found(), runtime());
    let test = "without_a_key_that_is_fit_and_without_a_code_nothing_leaves_and_the_reason_is_said";
    let Some(gpg) = gpg(&world, test) else { return };
    let (server, mut anna, case) = with_request(&world, &runtime);
    let send = |client: &mut Client, at: u64| {
        let refused = answers::send(client, draft(case, Vec::new(), false), at);
        refused.expect_err("is refused")
    };
    let refused = send(&mut anna, now());
    assert!(matches!(refused, Error::NoLock));
    assert!(refused.to_string().contains("nothing leaves in clear"), "{refused}");
    let notes = anna.notes(case).expect("lists").len();

    // Fit when it was confirmed, not any more.
    let expires = gpg.generate("expires@client.example", &["future-default", "default", "2d"]);
    answers::confirm_key(&mut anna, case, &expires, now()).expect("is confirmed");
    let refused = send(&mut anna, now() + 3 * DAY);
    assert!(matches!(refused, Error::Compose(ComposeError::Key(KeyProblem::Expired))), "{refused}");
    let again = answers::confirm_key(&mut anna, case, &expires, now() + 3 * DAY);
    assert!(matches!(again, Err(Error::Compose(ComposeError::Key(KeyProblem::Expired)))));

    let revoked = revoked(&gpg);
    let refused = answers::confirm_key(&mut anna, case, &revoked, now() + 1);
    assert!(matches!(refused, Err(Error::Compose(ComposeError::Key(KeyProblem::Revoked)))));
    assert_eq!(anna.notes(case).expect("lists").len(), notes + 1, "one was confirmed");
    let mut note = Sealing::new(case, Act::Note, anna.sealing().expect("an epoch"));
    note.note(NoteSubject::ConfirmedKey, "", None, revoked);
    anna.record(note.finish()).expect("records");
    let refused = send(&mut anna, now() + 1);
    assert!(matches!(refused, Error::Compose(ComposeError::Key(KeyProblem::Revoked))), "{refused}");
    assert_eq!(anna.notes(case).expect("lists").len(), notes + 2);
    assert_nothing_leaves(&world, &server);
    runtime.block_on(server.stop());
}

/// A certificate that its owner revoked, in binary.
fn revoked(gpg: &Gpg) -> Vec<u8> {
    gpg.generate("revoked@client.example", &["future-default", "default", "0"]);
    let list = gpg.run(&["--with-colons", "--list-keys", "revoked@client.example"], b"");
    let list = String::from_utf8(list).expect("is text");
    let line = list.lines().find(|line| line.starts_with("fpr:")).expect("a fingerprint");
    let fingerprint = line.split(':').nth(9).expect("its field");
    let file = gpg.home.path().join("openpgp-revocs.d").join(format!("{fingerprint}.rev"));
    let revocation = std::fs::read_to_string(file).expect("is there").replace(":---", "---");
    gpg.run(&["--import"], revocation.as_bytes());
    gpg.run(&["--export", "revoked@client.example"], b"")
}

#[test]
fn an_answer_that_cannot_be_composed_leaves_nothing_behind() {
    let (world, runtime) = (World::found(), runtime());
    let (server, mut anna, case) = with_request(&world, &runtime);
    let spoilers: [fn(&mut Draft); 4] = [
        |draft| draft.subject = "a\r\nBcc: mallory@evil.example".into(),
        |draft| draft.files[0].name = Personal::new("a\nb".into()),
        |draft| draft.files[0].content = Personal::new(vec![0; 36 << 20]),
        |draft| draft.items = vec![ItemId::random()],
    ];
    for spoil in spoilers {
        let mut spoilt = draft(case, Vec::new(), true);
        spoil(&mut spoilt);
        answers::send(&mut anna, spoilt, now()).expect_err("is refused");
    }
    // Another person's item.
    assert_eq!(deliver(&server, false, &[MAILBOX], &request("een andere")), [250]);
    let cases = anna.queue(Filter::All).expect("lists");
    let theirs = cases.iter().find(|view| view.card.case != case).expect("another case");
    let item = theirs.letters[0].detail.as_ref().expect("opens").items[0].id;
    let refused = answers::send(&mut anna, draft(case, vec![item], true), now());
    assert!(matches!(refused, Err(Error::Client(ClientError::Unknown(_)))));
    assert_nothing_leaves(&world, &server);
    runtime.block_on(server.stop());
}

#[test]
fn an_item_goes_into_an_answer_whatever_its_sender_called_it() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let long = "x".repeat(300);
    let names = [
        ("application/pdf; name=\"=?utf-8?Q?a=0D=0ABcc=3A_m=40evil.example?=\"", "1"),
        ("application/x(y)/z; name=a.pdf", "2"),
        ("APPLICATION/b@d\"; name=a.pdf", "3"),
        (&format!("application/pdf; name=\"{long}.pdf\""), "4"),
        ("text/plain; name=\"=?utf-8?Q?=00=7F?=\"", "5"),
        ("message/rfc822", "6"),
        ("nonsense", "7"),
    ];
    let mut raw = format!(
        "From: {PERSON}\r\nTo: {MAILBOX}\r\nSubject: x\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    );
    for (kind, content) in names {
        raw.push_str(&format!(
            "--b\r\nContent-Type: {kind}\r\nContent-Disposition: attachment\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            data_encoding::BASE64.encode(content.as_bytes())
        ));
    }
    raw.push_str("--b--\r\n");
    assert_eq!(deliver(&server, false, &[MAILBOX], raw.as_bytes()), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna);
    let detail = case.letters[0].detail.as_ref().expect("opens");
    let sent = detail.items.iter().filter(|card| card.container.is_none());
    let items: Vec<ItemId> = sent.map(|card| card.id).collect();
    assert_eq!(items.len(), names.len());
    let case = case.card.case;
    for item in items {
        answers::send(&mut anna, draft(case, vec![item], true), now()).expect("is on its way");
    }
    wait_until("every mail", || world.delivered().len() == names.len());
    runtime.block_on(server.stop());
}

/// A server that takes mail for the person, and what it was given.
struct Receiver {
    port: u16,
    taken: Arc<Mutex<Vec<Delivery>>>,
}

impl Receiver {
    fn listen(runtime: &Runtime, port: u16, recipient: &str, verdict: Verdict) -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&taken);
        let deliver: inbox::Deliver = Arc::new(move |delivery| {
            keep.lock().expect("no holder panics").push(delivery);
            Box::pin(async move { verdict })
        });
        let recipients = Recipients::new([recipient], false);
        let settings = Settings { recipients, ..Settings::default() };
        let port = runtime.block_on(async {
            let socket = TcpListener::bind(("127.0.0.1", port)).await.expect("binds");
            let port = socket.local_addr().expect("is bound").port();
            let listener = Listener::tcp(Kind::Smtp, socket);
            let never = std::future::pending();
            tokio::spawn(inbox::run(vec![listener], Arc::new(settings), deliver, never));
            port
        });
        Self { port, taken }
    }

    fn taken(&self) -> Vec<Delivery> {
        self.taken.lock().expect("no holder panics").clone()
    }
}

/// A port where nothing listens.
fn closed_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    socket.local_addr().expect("is bound").port()
}

/// The composed mail that is due.
fn due(server: &Server) -> Outgoing {
    let [due] = server.casebook.unfinished()[..] else { panic!("one mail is due") };
    minicbor::decode(&server.casebook.mail(&due).expect("opens")).expect("a mail")
}

#[test]
fn what_is_due_survives_a_restart_and_goes_out_once_through_a_server() {
    let (world, runtime) = (World::found(), runtime());
    let port = closed_port();
    world.send_to(port);
    let (server, mut anna, case) = with_request(&world, &runtime);
    answer(&mut anna, case, true);
    let composed = due(&server);
    assert_eq!(anna.status().expect("says").outgoing, (1, 0, 0));
    assert_eq!(anna.case(case).expect("is there").card.answers, (1, 0, 0));
    runtime.block_on(server.stop());

    // It starts and nothing listens yet; then something does, and says first that it cannot now.
    let server = runtime.block_on(world.serve());
    assert!(due(&server) == composed);
    runtime.block_on(server.stop());
    let later = Receiver::listen(&runtime, 0, PERSON, Verdict::TryLater);
    world.send_to(later.port);
    let server = runtime.block_on(world.serve());
    wait_until("the attempt", || later.taken().len() == 1);
    runtime.block_on(server.stop());

    let receiver = Receiver::listen(&runtime, 0, PERSON, Verdict::Accepted);
    world.send_to(receiver.port);
    for _ in 0..2 {
        let server = runtime.block_on(world.serve());
        // The entry is durable a moment before the state has it.
        wait_until("the delivery", || server.casebook.unfinished().is_empty());
        assert_eq!(count(&server, Fact::OutgoingDelivered), 1);
        let mut anna = world.log_in("anna").expect("logs in");
        assert_eq!(anna.status().expect("says").outgoing, (0, 0, 0));
        assert_eq!(anna.case(case).expect("is there").card.answers, (1, 1, 0));
        assert_eq!(count(&server, Fact::OutgoingFailed), 0);
        runtime.block_on(server.stop());
    }
    let taken = receiver.taken();
    let [delivery] = taken.as_slice() else { panic!("taken {} times", taken.len()) };
    assert!(delivery.raw == composed.mail());
    assert_eq!(delivery.envelope.mail_from.expose(), MAILBOX);
    let to: Vec<&str> = delivery.envelope.rcpt_to.iter().map(|to| to.expose().as_str()).collect();
    assert_eq!(to, [PERSON]);
}

#[test]
fn a_folder_that_cannot_be_written_keeps_the_answer_due_until_it_can() {
    let (world, runtime) = (World::found(), runtime());
    let _ = std::fs::remove_dir_all(world.outgoing());
    std::fs::write(world.outgoing(), "in the way").expect("writes");
    let (server, mut anna, case) = with_request(&world, &runtime);
    answer(&mut anna, case, true);
    let composed = due(&server);
    runtime.block_on(server.stop());
    std::fs::remove_file(world.outgoing()).expect("removes");
    for _ in 0..2 {
        let server = runtime.block_on(world.serve());
        wait_until("the delivery", || count(&server, Fact::OutgoingDelivered) == 1);
        runtime.block_on(server.stop());
    }
    let (mail, envelope) = delivered(&world);
    assert!(mail == composed.mail());
    assert_eq!(envelope["forward_path"], serde_json::json!([PERSON]));
}

#[test]
fn an_answer_that_is_refused_for_good_is_told_and_not_tried_again() {
    let (world, runtime) = (World::found(), runtime());
    let receiver = Receiver::listen(&runtime, 0, "nobody@client.example", Verdict::Accepted);
    world.send_to(receiver.port);
    let (server, mut anna, case) = with_request(&world, &runtime);
    answer(&mut anna, case, true);
    wait_until("the refusal", || server.casebook.unfinished().is_empty());
    assert_eq!(count(&server, Fact::OutgoingFailed), 1);
    assert_eq!(anna.status().expect("says").outgoing, (0, 1, 0));
    assert_eq!(anna.case(case).expect("is there").card.answers, (1, 0, 1));
    // Nobody was answered, so the case cannot be closed in silence.
    let mut close = Sealing::new(case, Act::Close, anna.sealing().expect("an epoch"));
    close.note(NoteSubject::Reason, "answered", None, Vec::new());
    let refused = anna.record(close.finish());
    assert!(matches!(&refused, Err(ClientError::Refused(why)) if why.contains("nobody has")));
    runtime.block_on(server.stop());
    let server = runtime.block_on(world.serve());
    assert!(server.casebook.unfinished().is_empty());
    assert_eq!(server.casebook.status().outgoing, (0, 1, 0));
    assert_eq!(count(&server, Fact::OutgoingFailed), 1);
    assert!(receiver.taken().is_empty());
    runtime.block_on(server.stop());
}

#[test]
fn a_server_that_never_answers_does_not_hold_up_the_stop() {
    let (world, runtime) = (World::found(), runtime());
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    world.send_to(silent.local_addr().expect("is bound").port());
    let (server, mut anna, case) = with_request(&world, &runtime);
    for _ in 0..3 {
        answer(&mut anna, case, true);
    }
    let (_connected, _) = silent.accept().expect("is called");
    let start = Instant::now();
    runtime.block_on(server.stop());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let gateway = world.open();
    assert_eq!(gateway.casebook.unfinished().len(), 3);
}
