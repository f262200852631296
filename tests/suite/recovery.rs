//! The recovery key on paper, by the command line: split, tried, and with stock `age` and a second
//! reader of the sheets; whatever is wrong with a sheet changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kluis::casebook::Filter;
use kluis::casebook::state::Wrapped;
use kluis::ids::{EpochId, StaffId};
use kluis::keys::admin::AdminKey;
use kluis::keys::note::Vkey;
use kluis::keys::roster::{Member, Role, Roster};
use kluis::keys::shares::{combine, split};
use kluis::keys::sheet::{Sheet, parse};
use kluis::keys::staff::StaffKey;
use kluis::keys::wrapped::{self, Kind};
use kluis::ledger::entry::Fact;
use kluis::staff::recovery::{Error, Files};
use serde_json::Value;

use crate::mail_client::letter;
#[cfg(kluis_lab)]
use crate::thief::copy;
use crate::way::{deliver, entries, runtime};
use crate::world::{KLUIS, MAILBOX, World, passphrase};

/// The passphrase of every key of a `World`.
const WORDS: &str = "correct horse battery staple\n";

/// A vault, and a folder where somebody at a terminal works.
struct Desk {
    world: World,
    place: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let world = World::found();
        let place = world.root.path().join("desk");
        fs::create_dir(&place).expect("made");
        fs::write(place.join("words"), WORDS).expect("written");
        Self { world, place }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(KLUIS);
        command
            .args(["keys"].iter().chain(arguments))
            .current_dir(&self.place)
            .env("KLUIS_HOME", self.place.join("home"))
            .env("RUST_LOG", "off")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("kluis runs")
    }

    /// Runs what must succeed; gives its JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Runs what must fail so; gives error and hint.
    fn fails(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        let value: Value = serde_json::from_slice(&output.stderr).expect("JSON on stderr");
        let word = |name: &str| value[name].as_str().expect("a text").to_owned();
        assert!(!word("hint").is_empty(), "{arguments:?}: {error}");
        (word("error"), word("hint"))
    }

    /// Splits the vault's recovery key into five sheets, three of which rebuild it.
    fn split(&self, folder: &str) -> Value {
        let identity = self.key_file("recovery");
        self.json(&[
            "split",
            "--shares",
            "5",
            "--threshold",
            "3",
            "--out",
            folder,
            "--identity",
            &identity,
            "--passphrase-file",
            "words",
        ])
    }

    fn key_file(&self, name: &str) -> String {
        self.world.root.path().join(format!("keys/{name}.key")).display().to_string()
    }

    fn state(&self) -> String {
        self.world.state().display().to_string()
    }

    /// The options of a member who asks the server.
    fn as_member(&self, name: &str) -> Vec<String> {
        let socket = self.world.state().join("kluis.sock").display().to_string();
        let key = self.key_file(name);
        ["--server", &socket, "--member", name, "--key-file", &key, "--passphrase-file", "words"]
            .map(str::to_owned)
            .into()
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.place.join(file)).expect("reads")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.place.join(file), text).expect("written");
    }
}

/// Every file below a folder with its bytes; what is no file by its name.
fn all_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = if path.is_file() { fs::read(&path).expect("reads") } else { vec![] };
                found.insert(path, bytes);
            }
        }
    }
    found
}

fn sheet(number: u8) -> String {
    format!("sheets/sheet-{number}-of-5.txt")
}

/// Whether a program is there. In CI it has to be.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(found || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} is missing");
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

#[test]
fn sheets_are_pages_of_their_own_and_any_three_would_open_the_vault() {
    let desk = Desk::new();
    let made = desk.split("sheets");
    let recipient = desk.world.key("recovery").recipient().to_string();
    assert_eq!(made["recipient"], recipient.as_str());
    assert_eq!((made["shares"].as_u64(), made["threshold"].as_u64()), (Some(5), Some(3)));
    let ceremony = made["ceremony"].as_str().expect("a ceremony");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&desk.place.join("sheets")), 0o700);
    for number in 1..=5 {
        assert_eq!(mode(&desk.place.join(sheet(number))), 0o600);
        let page = desk.text(&sheet(number));
        assert!(page.starts_with(&format!("KLUIS RECOVERY SHEET {number} OF 5\n")), "{page}");
        assert!(page.contains(&recipient) && page.contains(ceremony), "{page}");
    }

    let before = all_of(&desk.world.state());
    let state = desk.state();
    for (a, b, c) in [(1, 2, 3), (5, 3, 1), (2, 4, 5)] {
        let tried = desk.json(&["drill", "--dir", &state, &sheet(a), &sheet(b), &sheet(c)]);
        assert_eq!(tried["recipient"], recipient.as_str());
        let secrets = tried["secrets"].as_array().expect("a list");
        let named: Vec<&str> = secrets.iter().filter_map(|one| one["secret"].as_str()).collect();
        assert_eq!(named, ["epoch 1", "mailbox key 1"]);
        assert!(secrets.iter().all(|one| one["opens"] == true), "{tried}");
        assert!(tried["entry"].is_null());
    }
    // All five, in one file, and as a scanner reads the codes.
    let pages: String = (1..=5).map(|number| desk.text(&sheet(number))).collect();
    desk.write("all.txt", &pages);
    desk.json(&["drill", "--dir", &state, "all.txt"]);
    let codes: String =
        parse(&pages).expect("reads").iter().map(|s| s.scanned().to_string() + "\n").collect();
    desk.write("codes.txt", &codes);
    desk.json(&["drill", "--dir", &state, "codes.txt"]);
    assert!(all_of(&desk.world.state()) == before, "nothing was changed");
}

#[test]
fn a_fresh_key_is_nowhere_but_on_its_sheets() {
    let desk = Desk::new();
    let split = ["split", "--shares", "3", "--threshold", "2", "--out", "sheets"];
    let output = desk.run(&[&split[..], &["--json"]].concat());
    assert!(output.status.success());
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8(said).expect("UTF-8");
    let pages: String =
        (1..=3).map(|number| desk.text(&format!("sheets/sheet-{number}-of-3.txt"))).collect();
    for page in parse(&pages).expect("reads") {
        for line in page.lines().lines().skip(2) {
            assert!(!said.contains(&line[3..]), "{said}");
        }
    }
    assert_eq!(fs::read_dir(desk.place.join("sheets")).expect("lists").count(), 3);
    assert!(!desk.place.join("home").exists(), "nothing is remembered");
    let made: Value = serde_json::from_str(&said).expect("JSON");
    let recipient = made["recipient"].as_str().expect("one");
    let rebuilt = combine(&parse(&pages).expect("reads")).expect("rebuilds");
    assert_eq!(rebuilt.recipient().to_string(), recipient);

    // Nothing is overwritten, and no half of another ceremony stays beside it.
    fs::remove_file(desk.place.join("sheets/sheet-1-of-3.txt")).expect("removed");
    let before = all_of(&desk.place.join("sheets"));
    desk.fails(&split, 1);
    assert!(all_of(&desk.place.join("sheets")) == before);
}

#[test]
fn sheets_go_only_where_they_were_asked_for() {
    let desk = Desk::new();
    let clear = "# a key\nAGE-SECRET".to_owned() + "-KEY-1" + &"Q".repeat(58) + "\n";
    desk.write("nonsense.key", &clear);
    for (arguments, code) in [
        (&["--shares", "5", "--threshold", "3"][..], 2),
        (&["--shares", "5", "--threshold", "6", "--out", "sheets"], 2),
        (&["--shares", "5", "--threshold", "1", "--out", "sheets"], 2),
        (&["--shares", "17", "--threshold", "3", "--out", "sheets"], 2),
        (&["--shares", "3", "--threshold", "2", "--out", "sheets", "--clear"], 2),
        (&["--shares", "3", "--threshold", "2", "--out", "sheets", "--identity", "none.key"], 1),
        (
            &[
                "--shares",
                "3",
                "--threshold",
                "2",
                "--out",
                "sheets",
                "--identity",
                "nonsense.key",
                "--clear",
            ],
            1,
        ),
    ] {
        desk.fails(&[&["split"], arguments].concat(), code);
        assert!(!desk.place.join("sheets").exists(), "{arguments:?}");
    }
    let identity = desk.key_file("recovery");
    let named = ["--shares", "3", "--threshold", "2", "--out", "sheets", "--identity", &identity];
    desk.write("wrong", "not these words\n");
    desk.fails(&[&["split"], &named[..], &["--passphrase-file", "wrong"]].concat(), 77);
    desk.fails(&[&["split"], &named[..], &["--clear"]].concat(), 1);
    assert!(!desk.place.join("sheets").exists());
}

#[test]
fn a_key_in_clear_is_split_when_that_is_said() {
    if !is_there("age-keygen") {
        return;
    }
    let desk = Desk::new();
    let made =
        Command::new("age-keygen").args(["-o", "clear.key"]).current_dir(&desk.place).output();
    assert!(made.expect("runs").status.success());
    let named = [
        "split",
        "--shares",
        "3",
        "--threshold",
        "2",
        "--out",
        "sheets",
        "--identity",
        "clear.key",
    ];
    let (_, hint) = desk.fails(&[&named[..], &["--passphrase-file", "words"]].concat(), 1);
    assert!(hint.contains("--clear"), "{hint}");
    let made = desk.json(&[&named[..], &["--clear"]].concat());
    let shown = desk.text("clear.key");
    assert!(shown.contains(made["recipient"].as_str().expect("one")), "age-keygen writes it, too");
}

/// The lines of a sheet that are typed.
fn lines(desk: &Desk, number: u8) -> Vec<String> {
    let sheets = parse(&desk.text(&sheet(number))).expect("reads");
    sheets[0].lines().lines().map(str::to_owned).collect()
}

#[test]
fn what_is_wrong_with_a_sheet_is_named_and_nothing_is_changed() {
    let desk = Desk::new();
    desk.split("sheets");
    let state = desk.state();
    let drill =
        |sheets: &[&str], code| desk.fails(&[&["drill", "--dir", &state], sheets].concat(), code);
    let (one, two, three) = (sheet(1), sheet(2), sheet(3));
    let before = all_of(&desk.world.state());

    let (error, hint) = drill(&[&one, &two], 2);
    assert_eq!(error, "2 of the 3 sheets that it takes");
    assert!(hint.contains("more sheets"), "{hint}");
    let (error, _) = drill(&[&one, &two, &one], 2);
    assert_eq!(error, "sheet 1 is there twice");

    let again = split(&desk.world.key("recovery"), 3, 5).expect("splits");
    desk.write("again.txt", &again[2].lines());
    let (error, hint) = drill(&[&one, &two, "again.txt"], 2);
    let ceremony = again[2].ceremony.to_string();
    assert!(error.starts_with("sheet 3 is of another ceremony") && error.contains(&ceremony));
    assert!(hint.contains("same ceremony"), "{hint}");

    let typed = lines(&desk, 3);
    let with = |at: usize, line: &str| {
        let mut typed = typed.clone();
        typed[at] = line.to_owned();
        desk.write("typed.txt", &typed.join("\n"));
        drill(&[&one, &two, "typed.txt"], 2)
    };
    let swapped = {
        let mut line = typed[3].clone().into_bytes();
        let at = (3..line.len())
            .find(|&at| line[at] != line[at - 1] && line[at - 1] != b' ' && line[at] != b' ');
        let at = at.expect("two that differ");
        line.swap(at, at - 1);
        String::from_utf8(line).expect("ASCII")
    };
    let (error, hint) = with(3, &swapped);
    assert_eq!(
        error,
        "typed.txt, sheet 1: line 4 is not as it was printed: its check does not fit"
    );
    assert!(hint.contains("compare"), "{hint}");
    let (error, _) = with(4, &typed[4][..typed[4].len() - 1]);
    assert_eq!(error, "typed.txt, sheet 1: line 5 has 19 letters and digits where 20 belong");
    let (error, _) = with(2, &format!("{}U", &typed[2][..typed[2].len() - 1]));
    assert_eq!(error, "typed.txt, sheet 1: line 3, group 5: a character that is on no sheet");
    let (error, _) = with(5, "");
    assert_eq!(error, "typed.txt, sheet 1: line 6 of the sheet is missing");
    let (error, _) = with(3, &lines(&desk, 2)[3]);
    assert!(error.contains("not of one sheet"), "{error}");

    // Of another vault; of none.
    let other = StaffKey::generate();
    let pages: String =
        split(&other, 2, 2).expect("splits").iter().map(|s| s.lines().to_string()).collect();
    desk.write("other.txt", &pages);
    let (error, hint) = drill(&["other.txt"], 77);
    assert!(error.contains(&desk.world.key("recovery").recipient().to_string()), "{error}");
    assert!(hint.contains("another vault"), "{hint}");
    desk.write("empty.txt", "nothing\n");
    let (error, _) = drill(&["empty.txt"], 2);
    assert!(error.contains("no sheet"), "{error}");
    drill(&["absent.txt"], 2);
    drill(&["-"], 2);
    desk.fails(&["drill", "--dir", "nowhere", &one, &two, &three], 1);
    assert!(all_of(&desk.world.state()) == before, "nothing was changed");
}

#[test]
fn a_drill_over_the_socket_is_entered_and_one_that_fails_is_not() {
    let desk = Desk::new();
    desk.split("sheets");
    let runtime = runtime();
    let server = runtime.block_on(desk.world.serve());
    let (one, three, five) = (sheet(1), sheet(3), sheet(5));
    let drill = |name: &str, sheets: &[&str]| -> Vec<String> {
        let sheets = sheets.iter().map(|&sheet| sheet.to_owned());
        ["drill".to_owned()].into_iter().chain(desk.as_member(name)).chain(sheets).collect()
    };
    let drilled = || {
        let all = entries(&server);
        let of: Vec<_> = all.into_iter().filter(|e| e.kind == Fact::RecoveryDrilled).collect();
        of.iter().map(|entry| (entry.staff, entry.count)).collect::<Vec<_>>()
    };
    fn words(of: &[String]) -> Vec<&str> {
        of.iter().map(String::as_str).collect()
    }
    let right = [one.as_str(), &three, &five];
    for name in ["anna", "dora"] {
        let tried = desk.json(&words(&drill(name, &right)));
        let last = entries(&server).last().expect("entries").seq;
        assert_eq!(tried["entry"].as_u64(), Some(last));
    }
    assert_eq!(drilled(), [(Some(StaffId(1)), Some(1)), (Some(StaffId(4)), Some(1))]);

    // The auditor may not; too few sheets are noticed before anybody is asked.
    desk.fails(&words(&drill("olga", &right)), 77);
    let size = entries(&server).len();
    desk.fails(&words(&drill("anna", &right[..2])), 2);
    assert_eq!(entries(&server).len(), size, "no log-in, nothing");

    // An epoch's file that is another one: it is said, and not entered as a drill.
    let file = desk.world.state().join("epochs/1.age");
    let kept = fs::read(&file).expect("reads");
    let stranger = kluis::keys::epoch::EpochSecret::generate();
    let roster = roster_of(&desk.world);
    fs::write(&file, wrapped::wrap_epoch(&stranger, &roster)).expect("written");
    let output = desk.run(&words(&drill("anna", &right)));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("epoch 1         DOES NOT OPEN"), "{said}");
    fs::write(&file, kept).expect("put back");
    assert_eq!(drilled().len(), 2);
    desk.json(&words(&drill("bert", &right)));
    assert_eq!(drilled().len(), 3);
    runtime.block_on(server.stop());
}

fn roster_of(world: &World) -> Roster {
    let note = fs::read_to_string(world.state().join("roster/1.note")).expect("reads");
    Roster::parse_signed(&note, &admin_of(world).public).expect("signed")
}

fn admin_of(world: &World) -> Vkey {
    let text = fs::read_to_string(world.state().join("admin.pub")).expect("reads");
    text.trim().parse().expect("a key")
}

#[test]
fn sheets_typed_at_a_terminal_are_asked_for_line_by_line() {
    if !is_there("script") {
        return;
    }
    let desk = Desk::new();
    desk.split("sheets");
    let state = desk.state();
    let mut typed = String::new();
    for number in [2, 5, 4] {
        for line in lines(&desk, number) {
            // Once with a slip; with the number of the line, and without it.
            if number == 5 {
                let slip = if line.ends_with('7') { '8' } else { '7' };
                typed.push_str(&format!(
                    "{}{slip}\n{}\n",
                    &line[3..line.len() - 1],
                    line.to_lowercase()
                ));
            } else {
                typed.push_str(&format!("{}\n", &line[3..]));
            }
        }
    }
    let command = format!("{KLUIS} keys drill --dir {state} -");
    let mut child = Command::new("timeout")
        .args(["120", "script", "-qec", &command, "/dev/null"])
        .current_dir(&desk.place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut keyboard = child.stdin.take().expect("is piped");
    keyboard.write_all(typed.as_bytes()).expect("typed");
    let output = child.wait_with_output().expect("ends");
    drop(keyboard);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("sheet 2, line 4: ") && said.contains("sheet 3, line 6: "), "{said}");
    assert_eq!(said.matches("type it once more").count(), 6, "{said}");
    assert!(said.contains("mailbox key 1   opens"), "{said}");
}

#[test]
fn at_a_terminal_the_sheets_are_shown_and_nothing_is_written() {
    if !is_there("script") {
        return;
    }
    let desk = Desk::new();
    let command = format!("{KLUIS} keys split --shares 3 --threshold 2");
    let output = Command::new("timeout")
        .args(["120", "script", "-qec", &command, "/dev/null"])
        .current_dir(&desk.place)
        .stdin(Stdio::null())
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(output.status.success(), "{said}");
    let sheets = parse(&said).expect("reads");
    assert_eq!(sheets.len(), 3);
    let recipient = combine(&sheets).expect("rebuilds").recipient().to_string();
    assert!(said.contains(&format!("kluis init … --recovery {recipient}")), "{said}");
    assert_eq!(fs::read_dir(&desk.place).expect("lists").count(), 1, "the passphrase file alone");
}

/// The code at the foot of a page as a picture, eight points a module: a portable graymap.
fn picture(page: &str) -> Vec<u8> {
    let is_code = |line: &&str| line.chars().all(|c| matches!(c, ' ' | '▀' | '▄' | '█'));
    let rows: Vec<Vec<char>> = page
        .lines()
        .rev()
        .skip_while(|line| line.is_empty())
        .take_while(is_code)
        .map(|line| line.chars().collect())
        .collect();
    let width = rows.iter().map(Vec::len).max().expect("a code");
    let mut picture = format!("P5\n{} {}\n255\n", width * 8, rows.len() * 16).into_bytes();
    for row in rows.iter().rev() {
        for dark in [['▀', '█'], ['▄', '█']] {
            let shade = |at: usize| row.get(at).is_some_and(|c| dark.contains(c));
            let line: Vec<u8> =
                (0..width * 8).map(|x| if shade(x / 8) { 0 } else { 255 }).collect();
            picture.extend(line.repeat(8));
        }
    }
    picture
}

#[test]
fn the_code_on_a_page_is_read_by_another_program() {
    if !is_there("zbarimg") {
        return;
    }
    let desk = Desk::new();
    desk.split("sheets");
    for number in 1..=5 {
        let page = desk.text(&sheet(number));
        fs::write(desk.place.join("code.pgm"), picture(&page)).expect("written");
        let read = Command::new("zbarimg")
            .args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", "code.pgm"])
            .current_dir(&desk.place)
            .output()
            .expect("runs");
        let read = String::from_utf8(read.stdout).expect("UTF-8");
        let printed = parse(&page).expect("reads");
        assert_eq!(read.trim(), *printed[0].scanned(), "page {number}");
        assert_eq!(parse(&read).expect("reads")[0].lines(), printed[0].lines());
    }
}

#[test]
fn a_second_reader_rebuilds_the_key_and_stock_age_opens_an_epoch_with_it() {
    if !is_there("python3") || !is_there("age") || !is_there("age-keygen") {
        return;
    }
    let desk = Desk::new();
    desk.split("sheets");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vault/sheets.py");
    let rebuild = |numbers: &[u8]| {
        let pages: String = numbers.iter().map(|number| desk.text(&sheet(*number))).collect();
        desk.write("pages.txt", &pages);
        let pages = fs::File::open(desk.place.join("pages.txt")).expect("opens");
        Command::new("python3").arg(&script).stdin(pages).output().expect("runs")
    };
    let output = rebuild(&[4, 1, 5]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(desk.place.join("recovery.key"), &output.stdout).expect("written");
    assert!(!rebuild(&[4, 1]).status.success(), "two are too few");

    let at = |name: &str| desk.place.join(name).display().to_string();
    let public = Command::new("age-keygen").args(["-y", &at("recovery.key")]).output();
    let public = String::from_utf8(public.expect("runs").stdout).expect("UTF-8");
    assert_eq!(public.trim(), desk.world.key("recovery").recipient().to_string());
    let epoch = desk.world.state().join("epochs/1.age").display().to_string();
    let opened = Command::new("age").args(["-d", "-i", &at("recovery.key"), &epoch]).output();
    let opened = String::from_utf8(opened.expect("runs").stdout).expect("UTF-8");
    assert!(opened.starts_with("# kluis secret: epoch\n# public key: age1"), "{opened}");
}

#[test]
fn the_ceremony_of_the_runbook_ends_with_every_secret_proven_from_paper() {
    let desk = Desk::new();
    let split = ["split", "--shares", "3", "--threshold", "2", "--out", "sheets"];
    let recipient = desk.json(&split)["recipient"].as_str().expect("one").to_owned();
    let made = Command::new(KLUIS)
        .args(["init", "vault", "--address", "backoffice@jobexpert.be", "--generate", "keys"])
        .args(["--recovery", &recipient, "--passphrase-file", "words"])
        .current_dir(&desk.place)
        .env("KLUIS_HOME", desk.place.join("home"))
        .output()
        .expect("runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let typed = ["sheets/sheet-3-of-3.txt", "sheets/sheet-1-of-3.txt"];
    let drill = ["drill", "--dir", "vault", "--admin-copy"];
    let tried = desk.json(&[&drill[..], &["keys/admin.recovery.age"], &typed].concat());
    let secrets = tried["secrets"].as_array().expect("a list");
    let named: Vec<&str> = secrets.iter().filter_map(|one| one["secret"].as_str()).collect();
    assert_eq!(named, ["epoch 1", "mailbox key 1", "admin key"]);
    assert!(secrets.iter().all(|one| one["opens"] == true), "{tried}");

    // Another file in the envelope.
    let output = desk.run(&[&drill[..], &["keys/admin.key"], &typed].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("admin key       DOES NOT OPEN"), "{said}");
}

#[test]
fn when_nobody_reads_any_more_sheets_give_a_new_member_access() {
    let desk = Desk::new();
    let runtime = runtime();
    let server = runtime.block_on(desk.world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(77, 1, 9_000)), [250]);
    runtime.block_on(server.stop());
    desk.split("sheets");
    let copy = desk.place.join("admin.recovery.age");
    fs::write(&copy, desk.world.admin().wrap(desk.world.key("recovery").recipient()))
        .expect("written");
    let eva = StaffKey::generate();
    let words = passphrase();
    eva.save(Path::new(&desk.key_file("eva")), &words, Some(1)).expect("saved");
    let recipient = eva.recipient().to_string();
    let state = desk.state();
    let before = all_of(&desk.world.state());
    let last = roster_of(&desk.world).members.iter().map(|member| member.id.0).max();
    let number = last.expect("has members") + 1;
    let (one, two, four) = (sheet(1), sheet(2), sheet(4));
    let recover = |sheets: &[&str], more: &[&str]| -> Vec<String> {
        let fixed = [
            "recover",
            "--dir",
            &state,
            "--admin-copy",
            "admin.recovery.age",
            "--out",
            "recovered",
        ];
        [&fixed[..], more, sheets].concat().iter().map(|&word| word.to_owned()).collect()
    };
    fn plain(of: &[String]) -> Vec<&str> {
        of.iter().map(String::as_str).collect()
    }
    let as_eva = ["--member", "eva", "--recipient", &recipient];
    let all = [one.as_str(), &two, &four];

    // Too few sheets, a name or a key that is there already, no name, no copy of the admin's key.
    let anna = desk.world.key("anna").recipient().to_string();
    for (sheets, more, code) in [
        (&all[..2], &as_eva[..], 2),
        (&all, &["--member", "anna", "--recipient", &recipient], 2),
        (&all, &["--member", "eva", "--recipient", &anna], 2),
        (&all, &["--member", "Eva!", "--recipient", &recipient], 2),
        (&all, &["--member", "eva", "--recipient", "age1nonsense"], 2),
    ] {
        desk.fails(&plain(&recover(sheets, more)), code);
        assert!(!desk.place.join("recovered").exists());
    }
    desk.write("other.age", "no copy\n");
    let other = recover(&all, &as_eva).join(" ").replace("admin.recovery.age", "other.age");
    desk.fails(&other.split(' ').collect::<Vec<_>>(), 77);

    let more = ["--admin-key", "admin.key", "--passphrase-file", "words"];
    let made = desk.json(&plain(&recover(&all, &[&as_eva[..], &more].concat())));
    assert_eq!(made["number"], number);
    assert_eq!(made["version"], 2);
    assert!(all_of(&desk.world.state()) == before, "the copy is read only");
    let admin = AdminKey::unlock(&desk.place.join("admin.key"), &words).expect("unlocks");
    assert_eq!(admin.public(), desk.world.admin().public());
    desk.fails(&plain(&recover(&all, &as_eva)), 1);

    // On the server: not while it serves, not a changed roster; then once, and again without harm.
    let server = runtime.block_on(desk.world.serve());
    desk.fails(&["take", "recovered", &state], 75);
    runtime.block_on(server.stop());
    let note = desk.text("recovered/roster.note");
    desk.write("recovered/roster.note", &note.replace(" eva ", " ewa "));
    desk.fails(&["take", "recovered", &state], 2);
    desk.write("recovered/roster.note", &note);
    assert_eq!(desk.json(&["take", "recovered", &state])["taken"].as_u64(), Some(2));
    assert_eq!(desk.json(&["take", "recovered", &state])["taken"].as_u64(), Some(0));

    let server = runtime.block_on(desk.world.serve());
    let mut client = desk.world.log_in("eva").expect("logs in");
    let cases = client.queue(Filter::All).expect("lists");
    let detail = cases[0].letters[0].detail.as_ref().expect("the letter opens");
    assert_eq!(client.look(&[detail.items[0].id]).expect("opens").len(), 1);
    assert!(!client.mailbox_keys().expect("open").is_empty());
    let signed: Vec<_> =
        entries(&server).into_iter().filter(|entry| entry.kind == Fact::RosterSigned).collect();
    assert_eq!(signed.last().and_then(|entry| entry.staff), Some(StaffId(number)));
    runtime.block_on(server.stop());
}

#[cfg(kluis_lab)]
#[test]
fn killed_at_any_step_of_taking_a_recovery_over_the_same_command_finishes_it() {
    use std::os::unix::process::ExitStatusExt as _;

    let desk = Desk::new();
    let runtime = runtime();
    let server = runtime.block_on(desk.world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(78, 1, 9_000)), [250]);
    runtime.block_on(server.stop());
    desk.split("sheets");
    fs::write(
        desk.place.join("admin.recovery.age"),
        desk.world.admin().wrap(desk.world.key("recovery").recipient()),
    )
    .expect("written");
    let eva = StaffKey::generate();
    eva.save(Path::new(&desk.key_file("eva")), &passphrase(), Some(1)).expect("saved");
    let (recipient, state) = (eva.recipient().to_string(), desk.state());
    let sheets = [1, 3, 5].map(sheet);
    let recover = ["recover", "--dir", &state, "--admin-copy", "admin.recovery.age"];
    let who = ["--out", "recovered", "--member", "eva", "--recipient", &recipient];
    desk.json(&[&recover[..], &who, &sheets.each_ref().map(String::as_str)].concat());

    let base = desk.place.join("base");
    let folders = || ["state", "state.cabinet-key"].map(|name| desk.world.root.path().join(name));
    folders().iter().for_each(|from| copy(from, &base.join(from.file_name().expect("a name"))));
    let put_back = || {
        for folder in folders() {
            fs::remove_dir_all(&folder).expect("removed");
            copy(&base.join(folder.file_name().expect("a name")), &folder);
        }
        for folder in ["packs", "quarantine"] {
            fs::create_dir_all(desk.world.state().join(folder)).expect("made");
        }
    };
    let take = ["take", "recovered", &state];
    let steps = desk.place.join("steps");
    let done = desk.command(&take).env("KLUIS_LAB_STEPS", &steps).output().expect("runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let reached = fs::read_to_string(&steps).expect("reads");
    let mut counts = BTreeMap::<&str, u64>::new();
    reached.lines().for_each(|name| *counts.entry(name).or_default() += 1);
    let own = counts.keys().filter(|name| name.starts_with("keys:")).count();
    assert_eq!(own, 3, "{counts:?}");

    let mut killed = 0;
    // Of steps that come twice, as those of wrapping, the second time is the half-way one.
    for (name, count) in counts {
        put_back();
        let wish = format!("{name}:{count}");
        let output = desk.command(&take).env("KLUIS_LAB_KILL", &wish).output().expect("runs");
        assert_eq!(output.status.signal(), Some(9), "{wish} is not come by");
        killed += 1;
        desk.json(&take);
        assert_eq!(desk.json(&take)["taken"].as_u64(), Some(0), "{wish}");
        let gateway = desk.world.open();
        let all = gateway.casebook.store().entries(0, usize::MAX).expect("reads");
        let number = |fact| all.iter().filter(|entry| entry.kind == fact).count();
        let known = (number(Fact::RosterSigned), number(Fact::ReWrapped));
        assert_eq!(known, (2, 2), "{wish}: entered once");
        drop(gateway);
        let epoch = fs::read(desk.world.state().join("epochs/1.age")).expect("reads");
        assert!(wrapped::unwrap_epoch(&epoch, &eva).is_ok(), "{wish}");
        let mailbox = fs::read(desk.world.state().join("mailbox/1.age")).expect("reads");
        assert!(wrapped::unwrap_secret(Kind::Mailbox, &mailbox, &eva).is_ok(), "{wish}");
    }
    assert!(killed >= 8, "{killed} steps");
    let server = runtime.block_on(desk.world.serve());
    let mut client = desk.world.log_in("eva").expect("logs in");
    let cases = client.queue(Filter::All).expect("lists");
    let detail = cases[0].letters[0].detail.as_ref().expect("the letter opens");
    assert_eq!(client.look(&[detail.items[0].id]).expect("opens").len(), 1);
    runtime.block_on(server.stop());
}

#[test]
fn with_the_rebuilt_key_a_new_member_is_given_every_secret() {
    let world = World::found();
    let pages: String = split(&world.key("recovery"), 2, 3)
        .expect("splits")
        .iter()
        .skip(1)
        .map(|sheet: &Sheet| sheet.lines().to_string())
        .collect();
    let key = combine(&parse(&pages).expect("reads")).expect("rebuilds");
    let wrapped = Files::read(&world.state(), world.vault, 1).expect("reads");

    let (eva, anna) = (StaffKey::generate(), world.key("anna"));
    let mut roster = roster_of(&world);
    roster.version += 1;
    let member = |id, name: &str, key: &StaffKey| Member {
        id: StaffId(id),
        name: name.into(),
        roles: [Role::Backoffice].into(),
        recipient: key.recipient().clone(),
    };
    let fred = StaffKey::generate();
    roster.members = vec![member(11, "eva", &eva), member(12, "fred", &fred)];
    let files = wrapped.rewrap(&key, &roster).expect("wraps");
    assert_eq!(files.len(), 2);
    let [(epoch, epoch_file), (mailbox, mailbox_file)] = &files[..] else { panic!("two") };
    assert_eq!((*epoch, *mailbox), (Wrapped::Epoch(EpochId(1)), Wrapped::Mailbox(1)));
    let was = fs::read(world.state().join("epochs/1.age")).expect("reads");
    let was = wrapped::unwrap_epoch(&was, &anna).expect("opens").public().to_string();
    for key in [&eva, &fred, &key] {
        let opened = wrapped::unwrap_epoch(epoch_file, key).expect("opens");
        assert_eq!(opened.public().to_string(), was);
        wrapped::unwrap_secret(Kind::Mailbox, mailbox_file, key).expect("opens");
    }
    assert!(
        wrapped::unwrap_epoch(epoch_file, &anna).is_err(),
        "who is not in it reads nothing new"
    );

    // The admin key's copy, and what is none.
    let other = AdminKey::generate().wrap(key.recipient());
    assert!(matches!(wrapped.admin_key(&other, &key), Err(Error::Admin(_))));
    assert!(matches!(wrapped.admin_key(b"", &key), Err(Error::Admin(_))));

    // Another key than the roster's, another vault's roster, a file that is not the epoch's.
    assert!(matches!(wrapped.rewrap(&anna, &roster), Err(Error::OtherKey(_))));
    let elsewhere = Roster { vault: kluis::ids::VaultId::random(), ..roster.clone() };
    assert!(matches!(wrapped.rewrap(&key, &elsewhere), Err(Error::OtherVault)));
    let stranger = kluis::keys::epoch::EpochSecret::generate();
    let file = wrapped::wrap_epoch(&stranger, &roster_of(&world));
    fs::write(world.state().join("epochs/1.age"), file).expect("written");
    let changed = Files::read(&world.state(), world.vault, 1).expect("reads");
    assert!(matches!(changed.rewrap(&key, &roster), Err(Error::Closed(_))));
    fs::copy(world.state().join("roster/1.note"), world.state().join("epochs/1.note"))
        .expect("swapped");
    assert!(matches!(Files::read(&world.state(), world.vault, 1), Err(Error::Signed { .. })));
}
