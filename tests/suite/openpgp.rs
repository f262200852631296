//! Mail that others encrypt to us and open from us: GnuPG, Sequoia's `sq` and stock `age`.
//!
//! A missing program is skipped aloud; where `CI=true` that is a failure.

#![allow(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use kluis::identity::Proof;
use kluis::identity::ladder::{self, Level};
use kluis::ids::{CaseId, StaffId};
use kluis::reply::answer::{Answer, Attachment, Lock, compose};
use kluis::reply::code::Code;
use kluis::reply::openpgp::{Certificate, KeyProblem, MailboxKey};
use kluis::reply::{ComposeError, Heading, Language, Outgoing};
use kluis::secret::Personal;
use kluis::staff::openpgp::{Signature, Undecryptable, decrypt};
use mail_parser::{MessageParser, MimeHeaders as _};
use tempfile::TempDir;

const MAILBOX: &str = "privacy@example.org";
const PERSON: &str = "lotte@example.net";
pub(crate) const DAY: u64 = 86_400;

/// Whether a program is there. Says so if not, and insists where everything must be.
fn peer(program: &str) -> bool {
    let is_there = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !is_there {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is missing");
        println!("SKIPPED {program} is not installed");
    }
    is_there
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Runs a program with something to read; it must succeed.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let output = try_run(command, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output.stdout
}

pub(crate) fn try_run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    output
}

/// A GnuPG of its own, whose agent ends with it.
pub(crate) struct Gpg {
    pub(crate) home: TempDir,
}

impl Gpg {
    pub(crate) fn new() -> Option<Self> {
        peer("gpg").then(|| Self { home: tempfile::Builder::new().prefix("g").tempdir().unwrap() })
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.home.path()).args([
            "--batch",
            "--quiet",
            "--no-tty",
            "--trust-model",
            "always",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]);
        command.args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        run(&mut self.command(args), input)
    }

    /// Makes a key; its certificate.
    pub(crate) fn generate(&self, address: &str, how: &[&str]) -> Vec<u8> {
        self.run(&[&["--quick-generate-key", address], how].concat(), b"");
        self.export(address)
    }

    pub(crate) fn export(&self, address: &str) -> Vec<u8> {
        self.run(&["--armor", "--export", address], b"")
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        let _ = end.arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).status();
    }
}

pub(crate) fn answer(date: u64) -> Answer {
    Answer {
        heading: Heading {
            from: Personal::new(MAILBOX.into()),
            to: Personal::new(PERSON.into()),
            message_id: "k.test@example.org".into(),
            in_reply_to: Some(Personal::new("asked@example.net".into())),
            references: vec![],
            date,
        },
        case: CaseId::random(),
        language: Language::Nl,
        subject: Personal::new("Inzage: al uw gegevens, é".into()),
        text: Personal::new("Beste Lotte,\n\nWij bewaren uw loonfiche.\n.\nGroeten, Zoë\n".into()),
        attachments: vec![Attachment {
            name: Personal::new("loonfiche mei \"2026\" – Lotte.pdf".into()),
            media_type: "application/pdf".into(),
            content: Personal::new((0..=255).cycle().take(100_000).collect()),
        }],
    }
}

pub(crate) fn proof() -> Proof {
    ladder::accept(CaseId::random(), (StaffId(1), 0), &[], Level::L0, Some("a test"))
        .expect("reasoned")
}

/// Nothing of the answer stands in the mail that carries it.
fn assert_sealed(outgoing: &Outgoing) {
    let mail = std::str::from_utf8(outgoing.mail()).unwrap();
    for word in ["Inzage", "loonfiche", "Beste", "QmVzdGU", "SW56YWdl", "bG9vbmZpY2hl"] {
        assert!(!mail.contains(word), "{word}");
    }
    assert!(
        mail.is_ascii()
            && mail.ends_with("\r\n")
            && !mail.replace("\r\n", "").contains(['\r', '\n'])
    );
    assert_eq!(outgoing.envelope_to().expose(), PERSON);
    assert_eq!(outgoing.envelope_from().expose(), MAILBOX);
}

/// The opened answer is the one that was written.
fn assert_answer(opened: &[u8], answer: &Answer) {
    let read = MessageParser::new().parse(opened).unwrap();
    assert_eq!(read.subject(), Some(answer.subject.expose().as_str()));
    assert_eq!(read.from().unwrap().first().unwrap().address(), Some(MAILBOX));
    assert_eq!(read.to().unwrap().first().unwrap().address(), Some(PERSON));
    assert_eq!(read.message_id(), Some("k.test@example.org"));
    let text = read.body_text(0).unwrap().replace("\r\n", "\n");
    assert_eq!(text.trim_end(), answer.text.expose().trim_end());
    let file = read.attachment(0).unwrap();
    assert_eq!(file.attachment_name(), Some(answer.attachments[0].name.expose().as_str()));
    assert!(file.contents() == *answer.attachments[0].content.expose());
    assert_eq!(read.attachment_count(), 1);
}

/// `encrypted.asc` of a mail.
fn encrypted(outgoing: &Outgoing) -> Vec<u8> {
    let read = MessageParser::new().parse(outgoing.mail()).unwrap();
    let parts = read.parts.iter().filter(|part| part.attachment_name() == Some("encrypted.asc"));
    let [part] = parts.collect::<Vec<_>>()[..] else { panic!("one encrypted part") };
    part.contents().to_vec()
}

#[test]
fn what_gnupg_encrypts_and_signs_is_opened_and_its_signer_known() {
    let Some(gpg) = Gpg::new() else { return };
    let keys = [
        MailboxKey::generate(MAILBOX, now()).unwrap(),
        MailboxKey::generate("old@example.org", now()).unwrap(),
    ];
    for key in &keys {
        gpg.run(&["--import"], key.public_armored().unwrap().as_bytes());
    }
    let sender =
        Certificate::parse(&gpg.generate(PERSON, &["future-default", "default", "0"])).unwrap();
    let letter = b"Content-Type: text/plain\r\n\r\nIk wil inzage.\r\n".repeat(2000);
    let open = |message: &[u8], senders: &[Certificate]| decrypt(message, &keys, senders, now());
    for (to, form) in [(MAILBOX, "--armor"), ("old@example.org", "--no-armor")] {
        let message = gpg.run(&[form, "--encrypt", "--sign", "-u", PERSON, "-r", to], &letter);
        let opened =
            open(&message, std::slice::from_ref(&sender)).unwrap_or_else(|e| panic!("{e}"));
        assert!(*opened.plaintext == letter && !opened.repaired);
        assert_eq!(opened.signature, Signature::Good(sender.fingerprint()));
        let unknown = open(&message, &[]).ok().unwrap().signature;
        assert!(matches!(unknown, Signature::UnknownKey(Some(_))));
    }
    let message = gpg.run(&["--armor", "--encrypt", "-r", MAILBOX], &letter);
    assert_eq!(open(&message, &[]).ok().unwrap().signature, Signature::None);
    let hidden = gpg.run(&["--armor", "--encrypt", "-R", PERSON, "-R", MAILBOX], &letter);
    assert!(*open(&hidden, &[]).ok().unwrap().plaintext == letter);

    let not_ours = gpg.run(&["--armor", "--encrypt", "-r", PERSON], &letter);
    assert_eq!(open(&not_ours, &[]).err(), Some(Undecryptable::NoKeyOfOurs));
    let with_password = gpg.run(&["--symmetric", "--passphrase", "x"], &letter);
    assert_eq!(open(&with_password, &[]).err(), Some(Undecryptable::NoKeyOfOurs));
    let only_signed = gpg.run(&["--sign", "-u", PERSON], &letter);
    assert_eq!(open(&only_signed, &[]).err(), Some(Undecryptable::Malformed));
    let unprotected = gpg.run(
        &["--rfc2440", "--disable-mdc", "--cipher-algo", "AES", "--encrypt", "-r", MAILBOX],
        &letter,
    );
    assert_eq!(open(&unprotected, &[]).err(), Some(Undecryptable::Unauthenticated));
    let cut = &message[..message.len() / 2];
    assert_eq!(open(cut, &[]).err(), Some(Undecryptable::Truncated));
}

#[test]
fn our_answer_is_opened_by_gnupg_with_a_good_signature() {
    let Some(gpg) = Gpg::new() else { return };
    let key = MailboxKey::generate(MAILBOX, now()).unwrap();
    gpg.run(&["--import"], key.public_armored().unwrap().as_bytes());
    for (address, algorithm) in [(PERSON, "future-default"), ("rsa@example.net", "default")] {
        let made = gpg.generate(address, &[algorithm, "default", "0"]);
        let to = Certificate::parse(&made).unwrap();
        assert_eq!(to.check(now()), Ok(()));
        let answer = answer(now());
        let outgoing =
            compose(&answer, &Lock::OpenPgp { to: &to, signer: &key }, &proof()).unwrap();
        assert_sealed(&outgoing);
        let output =
            try_run(&mut gpg.command(["--status-fd", "2", "--decrypt"]), &encrypted(&outgoing));
        let status = String::from_utf8_lossy(&output.stderr);
        for word in ["DECRYPTION_OKAY", "GOODMDC", "GOODSIG", "VALIDSIG"] {
            assert!(status.contains(word), "{word}: {status}");
        }
        assert_eq!(status.matches("ENC_TO").count(), 1, "to nobody else: {status}");
        assert_answer(&output.stdout, &answer);
    }
}

#[test]
fn our_answer_is_opened_by_sq_with_a_good_signature() {
    if !peer("sq") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let sq = |args: &[&OsStr], input: &[u8]| run(Command::new("sq").args(args), input);
    let of = |path: &PathBuf| path.as_os_str().to_owned();
    let (secret, mailbox) = (of(&at("person.pgp")), of(&at("mailbox.asc")));
    sq(
        &["key", "generate", "-u", PERSON, "--export"]
            .map(OsStr::new)
            .into_iter()
            .chain([secret.as_os_str()])
            .collect::<Vec<_>>(),
        b"",
    );
    let public = sq(&[OsStr::new("key"), OsStr::new("extract-cert"), &secret], b"");
    let key = MailboxKey::generate(MAILBOX, now()).unwrap();
    fs::write(&mailbox, key.public_armored().unwrap()).unwrap();
    let to = Certificate::parse(&public).unwrap();
    let answer = answer(now());
    let outgoing = compose(&answer, &Lock::OpenPgp { to: &to, signer: &key }, &proof()).unwrap();
    let args =
        ["decrypt", "--recipient-key"].map(OsStr::new).into_iter().chain([secret.as_os_str()]);
    let args = args.chain(["--signer-cert"].map(OsStr::new)).chain([mailbox.as_os_str()]);
    assert_answer(&sq(&args.collect::<Vec<_>>(), &encrypted(&outgoing)), &answer);
    let as_secret = Certificate::parse(&fs::read(&secret).unwrap());
    assert_eq!(as_secret.err(), Some(KeyProblem::SecretKey));
}

#[test]
fn keys_that_gnupg_made_and_that_are_not_fit_have_their_reason() {
    let Some(gpg) = Gpg::new() else { return };
    let key = MailboxKey::generate(MAILBOX, now()).unwrap();
    let problem = |armored: &[u8], at: u64| {
        let to = Certificate::parse(armored).unwrap();
        let checked = to.check(at);
        let sent = compose(&answer(at), &Lock::OpenPgp { to: &to, signer: &key }, &proof());
        assert_eq!(sent.err(), checked.err().map(ComposeError::Key), "check and compose agree");
        checked.err()
    };
    let expires = gpg.generate("a@example.net", &["future-default", "default", "2d"]);
    assert_eq!(problem(&expires, now()), None);
    assert_eq!(problem(&expires, now() + 3 * DAY), Some(KeyProblem::Expired));
    let fingerprint = Certificate::parse(&expires).unwrap().fingerprint();
    gpg.run(&["--quick-set-expire", fingerprint.expose(), "1y"], b"");
    gpg.run(&["--quick-set-expire", fingerprint.expose(), "1y", "*"], b"");
    assert_eq!(problem(&gpg.export("a@example.net"), now() + 3 * DAY), None, "renewed");

    let signs = gpg.generate("b@example.net", &["ed25519", "sign", "0"]);
    assert_eq!(problem(&signs, now()), Some(KeyProblem::NoEncryptionSubkey));

    gpg.generate("c@example.net", &["future-default", "default", "0"]);
    let revocations = fs::read_dir(gpg.home.path().join("openpgp-revocs.d")).unwrap();
    let whose = Certificate::parse(&gpg.export("c@example.net")).unwrap().fingerprint();
    let revocation = revocations
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().is_some_and(|name| name.contains(whose.expose().as_str())));
    let revocation = fs::read_to_string(revocation.unwrap()).unwrap().replace(":---", "---");
    gpg.run(&["--import"], revocation.as_bytes());
    let revoked = gpg.export("c@example.net");
    assert_eq!(problem(&revoked, now() + 1), Some(KeyProblem::Revoked));

    let sha1 = ["--cert-digest-algo", "SHA1", "--quick-generate-key", "d@example.net"];
    gpg.run(&[&sha1[..], &["future-default", "default", "0"]].concat(), b"");
    assert_eq!(problem(&gpg.export("d@example.net"), now()), Some(KeyProblem::Weak));
    gpg.generate("e@example.net", &["rsa1024", "encr,sign", "0"]);
    assert_eq!(problem(&gpg.export("e@example.net"), now()), Some(KeyProblem::Weak));
    let two = gpg.run(&["--armor", "--export", "a@example.net", "b@example.net"], b"");
    assert_eq!(Certificate::parse(&two).err(), Some(KeyProblem::NotOneCertificate));
}

/// Runs `age -d`, which reads its passphrase from a terminal only.
pub(crate) fn age_opens(folder: &Path, passphrase: &str) -> Option<Vec<u8>> {
    let (locked, opened) = (folder.join("answer.age"), folder.join("answer.eml"));
    let command = format!("age -d -o '{}' '{}'", opened.display(), locked.display());
    let terminal = ["--quiet", "--return", "--command", &command, "/dev/null"];
    let output =
        try_run(Command::new("script").args(terminal), format!("{passphrase}\n").as_bytes());
    output.status.success().then(|| fs::read(opened).unwrap())
}

#[test]
fn an_answer_under_a_code_is_opened_by_stock_age() {
    if !peer("age") || !peer("script") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let code = Code::random();
    let answer = answer(now());
    let outgoing = compose(&answer, &Lock::Code(&code), &proof()).unwrap();
    assert_sealed(&outgoing);
    let read = MessageParser::new().parse(outgoing.mail()).unwrap();
    let file = read.attachment(0).unwrap();
    assert_eq!(file.attachment_name(), Some("answer.age"));
    fs::write(folder.path().join("answer.age"), file.contents()).unwrap();
    assert!(file.contents().starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert_eq!(age_opens(folder.path(), "0000-0000-0000-0000-0"), None);
    let opened = age_opens(folder.path(), &code.expose()).expect("age opens it");
    assert_answer(&opened, &answer);
}

#[test]
fn the_cover_of_a_code_says_how_to_open_it_and_nothing_else() {
    let code = Code::random();
    for language in [Language::Nl, Language::Fr, Language::De, Language::En] {
        let answer = Answer { language, ..answer(now()) };
        let outgoing = compose(&answer, &Lock::Code(&code), &proof()).unwrap();
        assert_sealed(&outgoing);
        let read = MessageParser::new().parse(outgoing.mail()).unwrap();
        assert_eq!(read.subject(), Some(format!("[{}]", answer.case).as_str()));
        let text = read.body_text(0).unwrap();
        assert!(text.contains("age -d -o answer.eml answer.age"));
        assert!(text.contains(&answer.case.to_string()) && !text.contains(['{', '}']));
        assert_eq!(kluis::reply::language::guess(&text), language);
        let mail = std::str::from_utf8(outgoing.mail()).unwrap();
        assert!(
            !mail.contains(code.expose().as_str())
                && !mail.contains(&code.expose().replace('-', ""))
        );
    }
}

#[test]
fn an_encrypted_answer_has_the_structure_of_rfc_3156_to_the_letter() {
    let key = MailboxKey::generate(MAILBOX, 1_792_000_000).unwrap();
    let to = MailboxKey::generate(PERSON, 1_792_000_000).unwrap();
    let answer = answer(1_792_000_000);
    let lock = Lock::OpenPgp { to: &to.certificate(), signer: &key };
    let outgoing = compose(&answer, &lock, &proof()).unwrap();
    let mail = std::str::from_utf8(outgoing.mail()).unwrap();
    let boundary = mail.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    let (head, rest) = mail.split_once("-----BEGIN PGP MESSAGE-----\r\n").unwrap();
    let expected = format!(
        "From: {MAILBOX}\r\nTo: {PERSON}\r\nDate: Wed, 14 Oct 2026 17:46:40 +0000\r\n\
         Subject: [...]\r\nMessage-ID: <k.test@example.org>\r\n\
         In-Reply-To: <asked@example.net>\r\nReferences: <asked@example.net>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n \
         boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: application/pgp-encrypted\r\n\
         Content-Description: PGP/MIME version identification\r\n\r\nVersion: 1\r\n\r\n\
         --{boundary}\r\nContent-Type: application/octet-stream; name=\"encrypted.asc\"\r\n\
         Content-Description: OpenPGP encrypted message\r\n\
         Content-Disposition: inline; filename=\"encrypted.asc\"\r\n\r\n"
    );
    assert_eq!(head, expected);
    let (armor, tail) = rest.split_once("-----END PGP MESSAGE-----\r\n").unwrap();
    assert!(armor.starts_with("\r\n") && !armor.contains(':'), "no armor header");
    assert_eq!(tail, format!("\r\n--{boundary}--\r\n"));

    let opened =
        decrypt(&encrypted(&outgoing), &[to], &[key.certificate()], 1_792_000_000).ok().unwrap();
    assert_eq!(opened.signature, Signature::Good(key.certificate().fingerprint()));
    assert!(!opened.repaired);
    assert_answer(&opened.plaintext, &answer);
    let inner = std::str::from_utf8(&opened.plaintext).unwrap();
    let (header, _) = inner.split_once("\r\n\r\n").unwrap();
    for line in [
        "HP-Outer: Subject: [...]",
        "HP-Outer: From: privacy@example.org",
        "HP-Outer: To: lotte@example.net",
        "HP-Outer: Date: Wed, 14 Oct 2026 17:46:40 +0000",
        "HP-Outer: Message-ID: <k.test@example.org>",
        "HP-Outer: In-Reply-To: <asked@example.net>",
        "HP-Outer: References: <asked@example.net>",
        " hp=\"cipher\"; protected-headers=\"v1\"",
    ] {
        assert_eq!(header.split("\r\n").filter(|found| *found == line).count(), 1, "{line}");
    }
    assert!(header.contains("\r\nContent-Type: multipart/mixed; boundary="));
    assert!(!inner.replace("\r\n", "").contains(['\r', '\n']));
}

#[test]
fn no_part_of_an_answer_can_add_a_header_field() {
    let key = MailboxKey::generate(MAILBOX, 1_792_000_000).unwrap();
    let to = key.certificate();
    let spoilers: [fn(&mut Answer); 6] = [
        |a| a.subject = Personal::new("x\r\nBcc: m@evil.example".into()),
        |a| a.heading.to = Personal::new("a@b.example\nBcc: m@evil.example".into()),
        |a| a.heading.from = Personal::new("a@b.example\rX: y".into()),
        |a| a.heading.message_id = "a@b>\r\nX: <y".into(),
        |a| a.attachments[0].name = Personal::new("a\r\n\r\nb".into()),
        |a| a.attachments[0].media_type = "text/plain\r\nX: y".into(),
    ];
    for spoil in spoilers {
        let mut spoilt = answer(1_792_000_000);
        spoil(&mut spoilt);
        for lock in [Lock::OpenPgp { to: &to, signer: &key }, Lock::Code(&Code::random())] {
            let refused = compose(&spoilt, &lock, &proof());
            assert!(matches!(refused, Err(ComposeError::BadField(_))), "{refused:?}");
        }
    }
}

#[test]
fn an_answer_too_large_to_send_is_refused() {
    let mut large = answer(1_792_000_000);
    large.attachments[0].content = Personal::new(vec![0; 36 << 20]);
    let refused = compose(&large, &Lock::Code(&Code::random()), &proof());
    assert_eq!(refused.err(), Some(ComposeError::TooLarge));
}

#[test]
fn a_mail_that_waits_in_a_box_is_read_back_unchanged() {
    let outgoing = compose(&answer(now()), &Lock::Code(&Code::random()), &proof()).unwrap();
    let bytes = minicbor::to_vec(&outgoing).unwrap();
    assert_eq!(minicbor::decode::<Outgoing>(&bytes).unwrap(), outgoing);
    assert_eq!(format!("{outgoing:?}"), format!("Outgoing({} bytes)", outgoing.mail().len()));
}
