//! `kluis demo`: everything at work in a throwaway vault, on this machine, in a minute.
//!
//! Nothing is staged: the gateway is a process of its own, the letters go over SMTP, and what is
//! shown as `$ kluis …` is that command, run as a member of the staff would run it.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use lettre::address::Envelope;
use lettre::{SmtpTransport, Transport as _};
use serde_json::{Value, json};

use super::{Error, Report, session};
use crate::casebook::founding;
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::ladder::{self, Level};
use crate::ids::{CaseId, StaffId, VaultId};
use crate::keys::Passphrase;
use crate::keys::admin::AdminKey;
use crate::keys::roster::{BackupKey, Member, Role, Roster};
use crate::keys::staff::StaffKey;
use crate::reply::answer::{self, Answer, Lock};
use crate::reply::openpgp::{Certificate, MailboxKey};
use crate::reply::{Heading, Language};
use crate::sandbox::models;
use crate::secret::Personal;
use crate::staff::found::found;

/// See it at work: a throwaway vault, real letters in, an answer out
///
/// Makes a vault with two members of staff, an admin and a recovery key; starts the gateway on
/// loopback; sends it four letters over SMTP; then reads, answers, forgets and verifies as the back
/// office would. Everything is gone afterwards, unless you keep it.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis demo\n  kluis demo --dir /tmp/agency --serve")]
pub(super) struct Demo {
    /// Where to make the vault; kept afterwards. Must not exist yet
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the vault afterwards
    #[arg(long)]
    keep: bool,
    /// Go on serving afterwards, until Ctrl-C; keeps the vault
    #[arg(long)]
    serve: bool,
}

const MAILBOX: &str = "backoffice@jobexpert.be";
/// Bytes that its vault keeps back for a full disk: the least that is allowed.
const RESERVE: u64 = 1 << 20;
/// The passphrase of every key in a demo: they protect nothing.
const PASSPHRASE: &str = "nothing here is secret";
/// Binary logarithm of the scrypt cost of these keys.
const WORK_FACTOR: u8 = 10;
/// How long something may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);

impl Demo {
    /// Runs it.
    ///
    /// # Errors
    /// The step that failed, and what it said.
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        let keep = self.keep || self.serve || self.dir.is_some();
        let dir = self.dir.clone().unwrap_or_else(|| {
            std::env::temp_dir().join(format!("kluis-demo-{}", std::process::id()))
        });
        let dir = session::absolute(&dir)?;
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(|error| {
            Error::io(dir.display(), &error)
                .hint("the demo makes its own directory: name one that does not exist")
        })?;
        let stage = Stage { program: session::program()?, dir, cases: Vec::new(), json };
        self.play(stage, keep).map(|told| Report::new(String::new(), told))
    }

    fn play(&self, mut stage: Stage, keep: bool) -> Result<Value, Error> {
        let result = stage.play(self.serve);
        // No agent runs if it failed before the unlocking.
        let _ = stage.run("lock", &["lock"]);
        if keep {
            stage.farewell();
        } else if let Err(error) = fs::remove_dir_all(&stage.dir) {
            stage.say(&format!("{} was not removed: {error}", stage.dir.display()));
        }
        result?;
        let dir = keep.then(|| stage.dir.display().to_string());
        Ok(json!({ "cases": stage.cases, "dir": dir }))
    }
}

/// The demo's own world.
struct Stage {
    program: PathBuf,
    dir: PathBuf,
    cases: Vec<String>,
    /// Standard output is for the report: the story goes beside it.
    json: bool,
}

/// Ends the gateway with the demo, however that ends.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

impl Stage {
    fn play(&mut self, serve: bool) -> Result<(), Error> {
        self.head("A vault, two members of staff, an admin, a recovery key");
        self.found()?;
        let (gateway, smtp) = self.start()?;
        self.say(&format!("The gateway is process {} and takes mail at {smtp}.", gateway.0.id()));

        self.head("Four people write");
        let tess = self.send_letters(smtp)?;

        self.head("Anna of the back office unlocks her key and looks at the queue");
        let socket = self.state().join("kluis.sock").display().to_string();
        let key = self.key_file("anna").display().to_string();
        let passphrase = self.dir.join("passphrase").display().to_string();
        self.show(&[
            "unlock",
            "--server",
            &socket,
            "--member",
            "anna",
            "--key-file",
            &key,
            "--passphrase-file",
            &passphrase,
        ])?;
        self.show(&["queue"])?;
        let queue = self.ask(&["queue"])?;

        self.head("One letter, and what came with it");
        let (dutch, english) = (self.case_of(&queue, "lotte")?, self.case_of(&queue, "tess")?);
        self.show(&["show", &dutch])?;
        let picture = self.item(&dutch, "image/jpeg")?;
        let copy = self.dir.join("identity-card.jpg");
        let copy_text = copy.display().to_string();
        let masked = self.dir.join("identity-card-masked.png").display().to_string();
        let get = ["get", &picture, "-o", &masked];
        // Without the models nobody knows what it is, and it does not leave without a reason.
        match models::are_there(&models::folder()) {
            true => self.show(&get)?,
            false => self.show_refusal(&get)?,
        }
        let why = "to show that it is what was sent";
        self.show(&["get", &picture, "-o", &copy_text, "--unmasked", "--reason", why])?;
        self.compare(&copy)?;

        self.head("The letter that came encrypted was opened at the desk; the gateway cannot");
        self.show(&["show", &english])?;

        self.head("An answer leaves encrypted");
        self.answer(&english, &tess)?;

        self.head("The identity card was looked at; it is forgotten");
        let reason = "identity checked, the copy is not needed any more";
        let forget = ["forget", &dutch, &picture, "--reason", reason];
        let looks = [&forget[..], &["--dry-run"]].concat();
        self.show(&looks)?;
        let plan = self.ask(&looks)?["plan"].as_str().unwrap_or_default().to_owned();
        self.show(&[&forget[..], &["--plan", &plan]].concat())?;
        self.show_refusal(&["get", &picture, "-o", &format!("{copy_text}.again")])?;

        self.head("Is everything there, and is it what was written?");
        let state = self.state().display().to_string();
        self.show(&["check", &state])?;
        self.show(&["audit", "verify"])?;
        if serve {
            self.say("\nServing until Ctrl-C.");
            let mut gateway = gateway;
            gateway.0.wait().map_err(|error| Error::io("the gateway", &error))?;
        }
        Ok(())
    }

    fn say(&self, line: &str) {
        // The demo goes on if nobody reads it any more.
        let _ = if self.json {
            writeln!(io::stderr().lock(), "{line}")
        } else {
            writeln!(io::stdout().lock(), "{line}")
        };
    }

    fn head(&self, title: &str) {
        self.say(&format!("\n== {title}"));
    }

    fn indented(&self, text: &str) {
        for line in text.lines() {
            self.say(&format!("  {line}"));
        }
    }

    fn state(&self) -> PathBuf {
        self.dir.join("vault")
    }

    fn key_file(&self, name: &str) -> PathBuf {
        self.dir.join("keys").join(format!("{name}.key"))
    }

    /// Makes keys and vault; the epoch is proven with anna's key.
    fn found(&self) -> Result<(), Error> {
        let passphrase = Passphrase::new(PASSPHRASE.into());
        for folder in ["keys", "home"] {
            let made = fs::DirBuilder::new().mode(0o700).create(self.dir.join(folder));
            made.map_err(|error| Error::io(folder, &error))?;
        }
        self.write("passphrase", format!("{PASSPHRASE}\n").as_bytes())?;
        let make = |name: &str| -> Result<StaffKey, Error> {
            let (key, path) = (StaffKey::generate(), self.key_file(name));
            key.save(&path, &passphrase, Some(WORK_FACTOR))
                .map_err(|error| Error::io(path.display(), &error))?;
            Ok(key)
        };
        let (anna, bert) = (make("anna")?, make("bert")?);
        let member = |id, name: &str, roles: &[Role], key: &StaffKey| Member {
            id: StaffId(id),
            name: name.into(),
            roles: roles.iter().copied().collect(),
            recipient: key.recipient().clone(),
        };
        let backup = |name: &str| -> Result<BackupKey, Error> {
            let recipient = make(&format!("backup-{name}"))?.recipient().clone();
            Ok(BackupKey { name: name.into(), recipient })
        };
        let roster = Roster {
            version: 1,
            vault: VaultId::random(),
            members: vec![
                member(1, "anna", &[Role::Backoffice, Role::Admin], &anna),
                member(2, "bert", &[Role::Backoffice], &bert),
            ],
            recovery: make("recovery")?.recipient().clone(),
            backups: vec![backup("carla")?, backup("dirk")?],
        };
        let admin = AdminKey::generate();
        let path = self.key_file("admin");
        admin
            .save(&path, &passphrase, Some(WORK_FACTOR))
            .map_err(|error| Error::io(path.display(), &error))?;
        let config = Config::text_for(&self.state(), &[MAILBOX])
            .replace("\"127.0.0.1:2525\"", "\"127.0.0.1:0\"")
            .replace("reserve_bytes = 67108864", &format!("reserve_bytes = {RESERVE}"));
        let foundation =
            found(&roster, &admin, MAILBOX, Some(&anna), config, Clock::System.seconds())?;
        let cabinet_key = self.dir.join("vault.cabinet-key");
        founding::lay(&self.state(), &cabinet_key, &foundation, RESERVE, Clock::System)?;
        self.say(&format!(
            "made in {}: keys/ is the people's, vault/ the server's",
            self.dir.display()
        ));
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.dir.join(name);
        fs::write(&path, bytes).map_err(|error| Error::io(path.display(), &error))?;
        Ok(path)
    }

    /// Starts the gateway and waits until it says where it listens.
    fn start(&self) -> Result<(Gateway, SocketAddr), Error> {
        let log = fs::File::create(self.dir.join("gateway.log"));
        let log = log.map_err(|error| Error::io("gateway.log", &error))?;
        let mut child = Command::new(&self.program)
            .arg("--json")
            .arg("serve")
            .arg(self.state())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| Error::io(self.program.display(), &error))?;
        let stdout = child.stdout.take();
        let gateway = Gateway(child);
        let mut line = String::new();
        if let Some(stdout) = stdout {
            let read = BufReader::new(stdout).read_line(&mut line);
            read.map_err(|error| Error::io("the gateway", &error))?;
        }
        let ready: Value = serde_json::from_str(&line).unwrap_or_default();
        let smtp = ready["smtp"][0].as_str().and_then(|text| text.parse().ok());
        let log = self.dir.join("gateway.log");
        let smtp = smtp.ok_or_else(|| {
            Error::new("the gateway did not start").hint(format!("{} says why", log.display()))
        })?;
        Ok((gateway, smtp))
    }

    /// Sends the letters over SMTP; gives the key of Tess, who wrote encrypted.
    fn send_letters(&self, smtp: SocketAddr) -> Result<MailboxKey, Error> {
        let mailbox = fs::read(self.state().join("mailbox.asc"))
            .map_err(|error| Error::io("mailbox.asc", &error))?;
        let (tess, encrypted) = letter_from_tess(&mailbox)?;
        let letters: [(&str, &str, &[u8]); 4] = [
            (
                "lotte.vandevelde@voorbeeld.example",
                "in Dutch, with a picture of her identity card",
                include_bytes!("demo/nl.eml"),
            ),
            (
                "camille.dubois@exemple.example",
                "in French, with a PDF",
                include_bytes!("demo/fr.eml"),
            ),
            (
                "jonas.weber@beispiel.example",
                "in German, oddly built: parts without an end, an enclosed message",
                include_bytes!("demo/de.eml"),
            ),
            (TESS, "in English, encrypted with OpenPGP", &encrypted),
        ];
        let transport = SmtpTransport::builder_dangerous(smtp.ip().to_string())
            .port(smtp.port())
            .timeout(Some(PATIENCE))
            .build();
        for (from, what, raw) in letters {
            let address = |text: &str| text.parse().map_err(|_| Error::new("a bad sample address"));
            let envelope = Envelope::new(Some(address(from)?), vec![address(MAILBOX)?])
                .map_err(|_| Error::new("a bad sample envelope"))?;
            transport.send_raw(&envelope, raw).map_err(|error| {
                Error::new(format!("the gateway did not take a letter: {error}"))
            })?;
            self.say(&format!("250  {from} ({what})"));
        }
        Ok(tess)
    }

    /// The case whose newest letter is from someone of this name.
    fn case_of(&mut self, queue: &Value, name: &str) -> Result<String, Error> {
        let cases = queue["cases"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = cases.iter().find(|case| case["from"].to_string().contains(name));
        let case = found.and_then(|case| case["case"].as_str()).map(str::to_owned);
        let case =
            case.ok_or_else(|| Error::new(format!("the letter of {name} is not in the queue")))?;
        self.cases.push(case.clone());
        Ok(case)
    }

    /// The item of this media type in a case.
    fn item(&self, case: &str, media_type: &str) -> Result<String, Error> {
        let shown = self.ask(&["show", case])?;
        let letters = shown["letters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let items = letters.iter().filter_map(|letter| letter["items"].as_array()).flatten();
        let mut of_type = items.filter(|item| item["media_type"] == media_type);
        let id = of_type.next().and_then(|item| item["item"].as_str()).map(str::to_owned);
        id.ok_or_else(|| Error::new(format!("no {media_type} in {case}")))
    }

    /// What came out against what went in.
    fn compare(&self, copy: &Path) -> Result<(), Error> {
        let got = fs::read(copy).map_err(|error| Error::io(copy.display(), &error))?;
        let sent = crate::letter::Letter::parse(include_bytes!("demo/nl.eml"));
        let sent = crate::letter::skeleton::cut(include_bytes!("demo/nl.eml"), &sent)
            .and_then(|(_, contents)| contents.into_iter().nth(1));
        if sent.is_some_and(|sent| sent == got) {
            self.say(&format!("{} bytes, the same as Lotte sent", got.len()));
            Ok(())
        } else {
            Err(Error::new("the attachment is not what was sent"))
        }
    }

    /// Confirms the key of Tess, answers, and opens the answer as she would.
    fn answer(&self, case: &str, tess: &MailboxKey) -> Result<(), Error> {
        let certificate = tess.public_armored().map_err(|e| Error::new(e.to_string()))?;
        let certificate = self.write("tess.asc", certificate.as_bytes())?.display().to_string();
        let words = "Dear Tess,\n\nAttached is what we hold about you, in a form that machines \
                     read.\n\nJob Expert\n";
        let text = self.write("answer.txt", words.as_bytes())?.display().to_string();
        let data = br#"{"name":"Tess Miller","contracts":3,"hours":412}"#;
        let data = self.write("data.json", data)?.display().to_string();
        self.show(&["confirm-key", case, &certificate, "--yes"])?;
        let proof = "signature:the letter is signed with the key confirmed by telephone";
        self.show(&["answer", case, "--text", &text, "--attach", &data, "--proof", proof])?;
        let mail = self.wait_for_mail()?;
        self.say(&format!("The gateway delivered it to {}.", mail.display()));
        self.open_as_tess(&mail, tess)
    }

    fn wait_for_mail(&self) -> Result<PathBuf, Error> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let listed = fs::read_dir(self.state().join("outgoing")).into_iter().flatten();
            let mut mails = listed.flatten().map(|entry| entry.path());
            if let Some(mail) = mails.find(|path| path.extension().is_some_and(|e| e == "eml")) {
                return Ok(mail);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(Error::new("the answer was not delivered").hint("gateway.log says why"))
    }

    /// With gpg if it is installed, in a keyring of its own.
    fn open_as_tess(&self, mail: &Path, tess: &MailboxKey) -> Result<(), Error> {
        let raw = fs::read_to_string(mail).map_err(|error| Error::io(mail.display(), &error))?;
        let from = raw.find("-----BEGIN PGP MESSAGE-----");
        let armor =
            from.map(|from| &raw[from..]).ok_or_else(|| Error::new("it is not encrypted"))?;
        let home = self.dir.join("gnupg");
        let made = fs::DirBuilder::new().mode(0o700).create(&home);
        made.map_err(|error| Error::io(home.display(), &error))?;
        let gpg = |args: &[&str], input: &[u8]| -> io::Result<Output> {
            let mut child = Command::new("gpg")
                .env("GNUPGHOME", &home)
                .args(["--batch", "--quiet", "--pinentry-mode", "loopback"])
                .args(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input)?;
            }
            child.wait_with_output()
        };
        let secret = tess.to_secret_bytes().map_err(|e| Error::new(e.to_string()))?;
        let mailbox = fs::read(self.state().join("mailbox.asc"));
        let mailbox = mailbox.map_err(|error| Error::io("mailbox.asc", &error))?;
        match gpg(&["--import"], &secret).and_then(|_| gpg(&["--import"], &mailbox)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.say("gpg is not installed, so it is not opened here. With it: gpg --decrypt");
                return Ok(());
            }
            other => other.map_err(|error| Error::io("gpg", &error))?,
        };
        self.say("\n$ gpg --decrypt          (as Tess, with her key)");
        let opened = gpg(&["--decrypt"], armor.as_bytes());
        let _ = Command::new("gpgconf").env("GNUPGHOME", &home).args(["--kill", "all"]).status();
        let opened = opened.map_err(|error| Error::io("gpg", &error))?;
        if !opened.status.success() {
            let why = String::from_utf8_lossy(&opened.stderr).trim().replace('\n', "; ");
            return Err(Error::new(format!("gpg did not open the answer: {why}")));
        }
        self.indented(&String::from_utf8_lossy(&opened.stdout));
        let said = String::from_utf8_lossy(&opened.stderr);
        self.indented(
            said.lines().find(|line| line.contains("Good signature")).unwrap_or_default(),
        );
        Ok(())
    }

    /// Runs a command and shows it with what it says.
    fn show(&self, args: &[&str]) -> Result<(), Error> {
        self.say(&format!("\n$ kluis {}", quoted(args)));
        let output = self.run(args[0], args)?;
        self.indented(&String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    /// Runs a command that must be refused, and shows the refusal.
    fn show_refusal(&self, args: &[&str]) -> Result<(), Error> {
        self.say(&format!("\n$ kluis {}", quoted(args)));
        let output = self.command(args).output();
        let output = output.map_err(|error| Error::io(self.program.display(), &error))?;
        if output.status.success() {
            return Err(Error::new(format!("`kluis {}` was not refused", args[0])));
        }
        self.indented(&String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Runs a command for its JSON.
    fn ask(&self, args: &[&str]) -> Result<Value, Error> {
        let mut with_json = vec!["--json"];
        with_json.extend(args);
        let output = self.run(args[0], &with_json)?;
        serde_json::from_slice(&output.stdout)
            .map_err(|_| Error::new(format!("`kluis {}` said no JSON", args[0])))
    }

    fn run(&self, name: &str, args: &[&str]) -> Result<Output, Error> {
        let output = self.command(args).output();
        let output = output.map_err(|error| Error::io(self.program.display(), &error))?;
        if output.status.success() {
            return Ok(output);
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(Error::new(format!("`kluis {name}` failed: {why}")))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KLUIS_HOME", self.dir.join("home")).args(args).stdin(Stdio::null());
        command
    }

    /// How to go on with what was kept.
    fn farewell(&self) {
        self.head("To go on");
        let (dir, state) = (self.dir.display(), self.state());
        let state = state.display();
        self.say(&format!("  kluis serve {state}"));
        self.say(&format!("  export KLUIS_HOME={dir}/home"));
        self.say(&format!(
            "  kluis unlock --passphrase-file {dir}/passphrase    # then: kluis queue, kluis show, kluis answer"
        ));
        self.say(&format!("  rm -r {dir}"));
    }
}

const TESS: &str = "tess.miller@sample.example";

/// An encrypted and signed letter to the mailbox, and the key that signed it. It is written with
/// the code that answers are written with: the same mail, the other way round.
fn letter_from_tess(mailbox: &[u8]) -> Result<(MailboxKey, Vec<u8>), Error> {
    let now = Clock::System.seconds();
    let failed = |error: String| Error::new(format!("the encrypted sample was not made: {error}"));
    let to = Certificate::parse(mailbox).map_err(|error| failed(error.to_string()))?;
    let signer =
        MailboxKey::generate_for_gnupg(TESS, now).map_err(|error| failed(error.to_string()))?;
    let letter = Answer {
        heading: Heading {
            from: Personal::new(TESS.into()),
            to: Personal::new(MAILBOX.into()),
            message_id: "en-1@sample.example".into(),
            in_reply_to: None,
            references: Vec::new(),
            date: now,
        },
        case: CaseId::random(),
        language: Language::En,
        subject: Personal::new("Please move my data to my new agency".into()),
        text: Personal::new(
            "Dear Sir or Madam,\n\nplease send me my data in a form that machines read; I would \
             like to take it to my new agency.\n\nTess Miller\n"
                .into(),
        ),
        attachments: Vec::new(),
    };
    let by = (StaffId(0), 0);
    let sender = ladder::accept(letter.case, by, &[], Level::L0, Some("it is the sender's own"));
    let sender = sender.map_err(|e| failed(e.to_string()))?;
    let lock = Lock::OpenPgp { to: &to, signer: &signer };
    let sent = answer::compose(&letter, &lock, &sender).map_err(|e| failed(e.to_string()))?;
    Ok((signer, sent.mail().to_vec()))
}

fn quoted(args: &[&str]) -> String {
    let quote = |arg: &&str| if arg.contains(' ') { format!("'{arg}'") } else { (*arg).to_owned() };
    args.iter().map(quote).collect::<Vec<_>>().join(" ")
}
