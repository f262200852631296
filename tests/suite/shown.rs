//! No byte of a letter reaches a terminal or a path as it is: a hostile letter, and every command that
//! shows something of it or writes a file because of it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;

use data_encoding::BASE64;

use crate::cli::Office;
use crate::containers::{Entry, zip};

/// What a terminal obeys, an eye is misled by, a shell, a spreadsheet or a file system takes for
/// something else.
const HOSTILE: [&str; 14] = [
    "\u{1b}[2J\u{1b}[31m",
    "\u{1b}]0;title\u{7}",
    "\u{1b}]52;c;cm0gLXJm\u{7}",
    "\u{9b}2J\u{9d}0;x\u{9c}",
    "\u{202e}gpj.exe",
    "\u{2066}a\u{2069}",
    "zero\u{200b}width\u{feff}",
    "\u{e0041}\u{e007f}",
    "a\r\nqueue is empty\n",
    "a\u{2028}b\u{85}c\u{b}d\u{c}",
    "../../../../etc/passwd",
    "nul\0byte",
    "=cmd|'/c calc'!A1",
    "\u{8}\u{8}\u{8}\u{7f}",
];

/// Characters that must be in nothing that is shown, line ends and tabs aside.
fn misleads(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_harmless(what: &str, output: &Output) {
    for (stream, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{what}: {stream}"));
        let found: BTreeSet<char> = text.chars().filter(|c| misleads(*c)).collect();
        assert!(found.is_empty(), "{what}: {found:?} on {stream}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("queue is empty")), "{what}: {text}");
    }
}

/// Everything in a folder, and what is beside it.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            all.insert(path);
        }
    }
    all
}

/// A letter whose every field and name is hostile.
fn letter(hostile: &str) -> String {
    let word = |text: &str| format!("=?utf-8?B?{}?=", BASE64.encode(text.as_bytes()));
    let percent: String = hostile.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let text = BASE64.encode(format!("Beste {hostile}\n{hostile}").as_bytes());
    let archive = BASE64.encode(&zip(&[Entry::new(hostile.as_bytes(), b"%PDF-1.4 x")]));
    // As it is, too, as far as a line of a header can be written with it.
    let raw = hostile.replace(['\r', '\n', '\0'], " ");
    format!(
        "From: {0} <lotte@example.org>\r\nTo: {0} <a@b.example>\r\nReply-To: \"{raw}\" <x@y.example>\r\n\
         Subject: {0} {raw}\r\nMessage-ID: <{raw}@x.example>\r\nX-Raw: {raw}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{text}\r\n\
         --b\r\nContent-Type: application/pdf; name*=utf-8''{percent}\r\n\
         Content-Disposition: attachment; filename=\"{raw}\"; filename*=utf-8''{percent}\r\n\r\n%PDF-1.4\r\n\
         --b\r\nContent-Type: application/zip; name={raw}\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         {archive}\r\n--b--\r\n",
        word(hostile),
    )
}

fn send(smtp: SocketAddr, letter: &str) {
    let mut stream = TcpStream::connect(smtp).expect("connects");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("is set");
    let mut answer = |command: &str, code: &str| {
        stream.write_all(command.as_bytes()).expect("is sent");
        let mut said = Vec::new();
        let mut byte = [0];
        loop {
            said.clear();
            while !said.ends_with(b"\n") {
                stream.read_exact(&mut byte).expect("is answered");
                said.push(byte[0]);
            }
            if said.get(3) == Some(&b' ') {
                break;
            }
        }
        assert!(
            said.starts_with(code.as_bytes()),
            "{command:?}: {}",
            String::from_utf8_lossy(&said)
        );
    };
    answer("", "220");
    answer("EHLO x\r\n", "250");
    answer("MAIL FROM:<lotte@example.org>\r\n", "250");
    answer("RCPT TO:<backoffice@jobexpert.be>\r\n", "250");
    answer("DATA\r\n", "354");
    answer(&format!("{letter}\r\n.\r\n"), "250");
}

#[test]
fn whatever_a_letter_is_called_no_command_shows_it_or_writes_it_as_it_is() {
    let office = Office::new();
    office.found();
    let server = office.serve();
    office.unlock();
    for hostile in HOSTILE {
        send(server.smtp(), &letter(hostile));
    }
    let run = |arguments: &[&str]| {
        let text = office.run(arguments);
        is_harmless(&format!("{arguments:?}"), &text);
        let json = office.run(&[arguments, &["--json"]].concat());
        is_harmless(&format!("{arguments:?} --json"), &json);
        (text, json)
    };
    let does = |arguments: &[&str]| {
        let (text, json) = run(arguments);
        for output in [text, json] {
            let why = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {why}");
        }
    };
    let queue = office.json(&["queue"]);
    let cases: Vec<String> = queue["cases"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|case| case["case"].as_str().expect("a number").to_owned())
        .collect();
    assert_eq!(cases.len(), HOSTILE.len());
    for words in [&["queue"][..], &["queue", "--all"], &["queue", "--next", "3"]] {
        assert!(run(words).0.status.success());
    }
    let before = files(office.path(".").as_path());
    let mut expected = BTreeSet::new();
    for (nr, case) in cases.iter().enumerate() {
        let shown = run(&["show", case]).1;
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
        let letter = shown["letters"][0]["letter"].as_str().expect("an id");
        for item in shown["letters"][0]["items"].as_array().expect("items") {
            let id = &item["item"].as_str().expect("an id")[..8];
            // Some of them begin like a picture and are none.
            let get = ["get", id, "--case", case, "--unmasked", "--reason", "it is needed whole"];
            let got = office.run(&get);
            is_harmless(&format!("get {id}"), &got);
            assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
            expected.insert(format!("{case}-{id}"));
            // Again it is not overwritten, and named it is written there.
            is_harmless("get again", &office.run(&get));
            let named = office.run(&[&get[..], &["-o", "named", "--json"]].concat());
            is_harmless("get -o", &named);
            std::fs::remove_file(office.path("named")).expect("is there");
        }
        does(&["note", case, HOSTILE[nr].replace('\0', " ").as_str()]);
        does(&["show", case]);
        run(&["forget", case, "0000", "--reason", "x", "--dry-run"]);
        run(&["show", case, "--raw", "0000"]);
        // Into a pipe it is as it came.
        let whole = ["show", case, "--raw", letter, "--unmasked", "--reason", "it is needed whole"];
        assert!(office.run(&whole).status.success());
        does(&["decide", case, HOSTILE[nr].replace('\0', " ").as_str()]);
        does(&["audit", "log", "--case", case]);
    }
    let mut made = files(office.path(".").as_path());
    made.retain(|path| !before.contains(path));
    made.retain(|path| !["./vault", "./home"].iter().any(|own| path.starts_with(office.path(own))));
    let own_name = |path: &PathBuf| {
        assert_eq!(path.parent(), Some(office.path(".").as_path()));
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let (stem, ending) = name.split_once('.').expect("an ending");
        assert!(ending.len() <= 4 && ending.bytes().all(|b| b.is_ascii_alphanumeric()), "{name}");
        stem.to_owned()
    };
    let made: BTreeSet<String> = made.iter().map(own_name).collect();
    assert_eq!(made, expected, "files of our own names, here and nowhere else");
    for words in [
        &["audit", "log"][..],
        &["audit", "verify"],
        &["get", "--verify-all"],
        &["check", "vault"],
        &["keys", "status"],
        &["whoami"],
    ] {
        does(words);
    }
    // A case that is closed is not closed again.
    for (case, more) in [(&cases[0], &[][..]), (&cases[1], &["--json"][..])] {
        let closed = office.run(&[&["close", case.as_str(), HOSTILE[0]][..], more].concat());
        is_harmless("close", &closed);
        assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stderr));
    }
    let exported = office.run(&["audit", "export", "ledger.txt"]);
    is_harmless("audit export", &exported);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let bytes = std::fs::read(office.path("ledger.txt")).expect("is written");
    let text = String::from_utf8_lossy(&bytes);
    assert!(!HOSTILE.iter().any(|hostile| text.contains(hostile)), "nothing of a letter is in it");
    office.json(&["lock"]);
    let log = server.stop();
    assert!(!log.chars().any(|c| misleads(c) && c != '\u{1b}'), "{log:?}");
    assert!(!HOSTILE.iter().any(|hostile| log.contains(hostile)), "{log:?}");
}

#[test]
fn whatever_a_file_is_called_that_is_brought_in_its_name_is_told_harmlessly() {
    let office = Office::new();
    office.found();
    std::fs::create_dir(office.path("in")).expect("a folder");
    let mut names = Vec::new();
    for hostile in HOSTILE {
        let name: String = hostile.chars().filter(|c| !matches!(c, '/' | '\0')).collect();
        std::fs::write(office.path("in").join(&name), format!("%PDF {name}")).expect("is written");
        // One that cannot be taken is told of.
        let empty = office.path("in").join(format!("{name}.eml"));
        std::fs::write(&empty, "").expect("is written");
        names.push(name);
    }
    for more in [&["--dry-run"][..], &[]] {
        let arguments = [&["import", "--dir", "vault"][..], more, &["in"]].concat();
        let output = office.run(&arguments);
        is_harmless(&format!("{arguments:?}"), &output);
        is_harmless("in JSON", &office.run(&[&arguments[..], &["--json"]].concat()));
    }
    for name in &names {
        let path = format!("in/{name}.eml");
        is_harmless("put", &office.run(&["put", "--dir", "vault", &path, "in/nowhere\u{1b}[2J"]));
    }
}
