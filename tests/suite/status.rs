//! `kluis keys status` says when a checkpoint was mailed, a backup made and the recovery key tried,
//! how old the cabinet's key is, and where one person or one machine holds both halves. Each line is
//! shown of a vault in which it never happened, and of one in which it did, by a server whose clock
//! stands still.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kluis::keys::shares::split;
use kluis::ledger::Fact;
use serde_json::{Value, json};

use crate::outsiders::send_checkpoints_to;
use crate::way::{entries, runtime};
use crate::world::{KLUIS, World, passphrase};

/// 2 November 2026, ten in the morning in Brussels.
const START: u64 = 1_793_610_000;
const DAY: u64 = 24 * 60 * 60;
const DPO: &str = "dpo@jobexpert.example";
const AUDITOR: &str = "auditor@outside.example";

/// A member at another machine: only the socket is seen from there.
struct Desk<'a> {
    world: &'a World,
}

impl<'a> Desk<'a> {
    fn of(world: &'a World) -> Self {
        let desk = Self { world };
        std::fs::write(desk.path("words"), passphrase().expose()).expect("written");
        let socket = world.state().join("kluis.sock");
        std::os::unix::fs::symlink(socket, desk.path("forwarded.sock")).expect("is made");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.root.path().join(name)
    }

    fn command(&self, member: &str, arguments: &[&str], socket: &Path) -> Command {
        let mut command = Command::new(KLUIS);
        command
            .args(arguments)
            .args(["--member", member, "--passphrase-file", "words"])
            .arg("--key-file")
            .arg(self.path(&format!("keys/{member}.key")))
            .arg("--server")
            .arg(socket)
            .current_dir(self.world.root.path())
            .env("KLUIS_HOME", self.path(&format!("home-{member}")));
        command
    }

    /// Runs what must succeed; gives what it printed.
    fn done(&self, member: &str, arguments: &[&str], socket: &Path) -> String {
        let output = self.command(member, arguments, socket).output().expect("kluis runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The status as it is printed, and as JSON.
    fn status_at(&self, member: &str, socket: &Path) -> (String, Value) {
        let text = self.done(member, &["keys", "status"], socket);
        let json = self.done(member, &["keys", "status", "--json"], socket);
        (text, serde_json::from_str(&json).expect("JSON"))
    }

    fn status(&self, member: &str) -> (String, Value) {
        self.status_at(member, &self.path("forwarded.sock"))
    }

    /// Splits the recovery key, and tries three of the five sheets as this member.
    fn drill(&self, member: &str) {
        let sheets = split(&self.world.key("recovery"), 3, 5).expect("splits");
        let names = ["sheet-1", "sheet-3", "sheet-5"];
        for (sheet, name) in sheets.iter().step_by(2).zip(names) {
            std::fs::write(self.path(name), sheet.lines().as_bytes()).expect("is written");
        }
        let drill = [&["keys", "drill"][..], &names].concat();
        self.done(member, &drill, &self.path("forwarded.sock"));
    }

    fn back_up(&self) {
        let mut backup = Command::new(KLUIS);
        backup.arg("backup").arg(self.path("backup")).arg("--dir").arg(self.world.state());
        let output = backup.output().expect("kluis runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What stands behind a word, and in the lines below it that have none.
fn lines_of<'a>(status: &'a str, word: &str) -> Vec<&'a str> {
    let mut lines = status.lines().skip_while(|line| line.split(' ').next() != Some(word));
    let first = lines.next().unwrap_or_else(|| panic!("{word} is not in\n{status}"));
    let below = lines.take_while(|line| line.starts_with("    "));
    let said: Vec<_> = std::iter::once(first).chain(below).collect();
    said.into_iter().map(|line| line[15..].trim()).collect()
}

#[test]
fn a_status_says_plainly_what_never_happened() {
    let (world, runtime) = (World::found_at(START), runtime());
    let desk = Desk::of(&world);
    let server = runtime.block_on(world.serve());
    let (text, json) = desk.status("anna");
    assert_eq!(
        lines_of(&text, "checkpoint"),
        ["never mailed: [checkpoints] in kluis.toml names whom outside it goes to"]
    );
    assert_eq!(json["checkpoint"], json!({ "last": null, "takers": null, "outsiders": [] }));
    assert_eq!(
        lines_of(&text, "backup"),
        ["never made: `kluis backup DEST` on the server, every day"]
    );
    let nothing =
        json!({ "last": null, "entries": null, "entries_since": null, "keys_until": null });
    assert_eq!(json["backup"], nothing);
    assert_eq!(
        lines_of(&text, "drill"),
        ["never held: `kluis keys drill -` with sheets from paper"]
    );
    assert_eq!(json["drill"], json!({ "last": null, "epochs": null, "of_key_in_force": null }));
    assert_eq!(lines_of(&text, "halves"), ["no one person and not this machine holds both"]);
    assert_eq!((&json["both_halves"], &json["both_halves_here"]), (&json!([]), &json!([])));
    assert_eq!(lines_of(&text, "cabinet"), ["its key is of 2026-11-02 10:00, just now"]);
    runtime.block_on(server.stop());
}

#[test]
fn a_status_says_when_a_checkpoint_was_mailed_and_to_whom_since_the_start() {
    let (mut world, runtime) = (World::found_at(START), runtime());
    send_checkpoints_to(&world, &[DPO, AUDITOR]);
    let folder = std::fs::read_to_string(world.state().join("kluis.toml")).expect("is read");
    // Nobody answers there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    world.send_to(closed.local_addr().expect("is bound").port());
    drop(closed);
    let server = runtime.block_on(world.serve());
    let (text, json) = Desk::of(&world).status("olga");
    let unsent = "took none since the server was started";
    assert_eq!(
        lines_of(&text, "checkpoint"),
        [
            "never mailed, and 2 outsiders named: one is due a minute after the start; the \
             server's log says why not",
            &format!("outsider 1 of the settings {unsent}"),
            &format!("outsider 2 of the settings {unsent}"),
        ]
    );
    assert_eq!(
        json["checkpoint"],
        json!({ "last": null, "takers": null, "outsiders": [null, null] })
    );
    runtime.block_on(server.stop());

    std::fs::write(world.state().join("kluis.toml"), folder).expect("is written");
    let server = runtime.block_on(world.serve());
    let begun = Instant::now();
    while !entries(&server).iter().any(|entry| entry.kind == Fact::CheckpointSent) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no checkpoint was mailed");
        std::thread::sleep(Duration::from_millis(20));
    }
    let desk = Desk { world: &world };
    let (text, json) = desk.status("olga");
    assert_eq!(
        lines_of(&text, "checkpoint"),
        [
            "mailed 2026-11-02 10:00, just now, to 2 outsiders",
            "outsider 1 of the settings took one 2026-11-02 10:00, just now",
            "outsider 2 of the settings took one 2026-11-02 10:00, just now",
        ]
    );
    let at = "2026-11-02T09:00:00Z";
    let mailed = json!({ "last": at, "takers": 2, "outsiders": [at, at] });
    assert_eq!(json["checkpoint"], mailed);
    runtime.block_on(server.stop());

    // Three hours later, after a restart, and nobody is named any more.
    world.set_time(START + 3 * 60 * 60 + 59);
    send_checkpoints_to(&world, &[DPO]);
    let server = runtime.block_on(world.serve());
    let desk = Desk { world: &world };
    let (text, _) = desk.status("olga");
    assert_eq!(
        lines_of(&text, "checkpoint"),
        [
            "mailed 2026-11-02 10:00, 3 hours ago, to 2 outsiders",
            &format!("outsider 1 of the settings {unsent}"),
        ]
    );
    runtime.block_on(server.stop());
    send_checkpoints_to(&world, &[]);
    let server = runtime.block_on(world.serve());
    let (text, json) = Desk { world: &world }.status("olga");
    assert_eq!(
        lines_of(&text, "checkpoint"),
        ["mailed 2026-11-02 10:00, 3 hours ago, to 2 outsiders; nobody is named now: \
          [checkpoints] in kluis.toml names whom outside it goes to"]
    );
    assert_eq!(json["checkpoint"], json!({ "last": at, "takers": 2, "outsiders": [] }));
    runtime.block_on(server.stop());
}

#[test]
fn a_status_says_when_a_backup_was_made_and_what_came_since() {
    let (mut world, runtime) = (World::found_at(START), runtime());
    let server = runtime.block_on(world.serve());
    Desk::of(&world).back_up();
    let made = entries(&server).into_iter().rfind(|entry| entry.kind == Fact::BackupMade);
    let covers = made.and_then(|made| made.position).expect("says what it covers");
    runtime.block_on(server.stop());

    world.set_time(START + 2 * DAY + 60);
    let server = runtime.block_on(world.serve());
    let desk = Desk { world: &world };
    // Entries behind the one that tells of the backup. Each log-in makes one, and so may upkeep.
    let behind = || entries(&server).len() as u64 - covers - 1;
    let before = behind();
    let (text, json) = desk.status("dora");
    let possible = before + 1..=behind();
    let [made, kept] = lines_of(&text, "backup")[..] else { panic!("{text}") };
    let start = format!("made 2026-11-02 10:00, 2 days ago, of {covers} entries; ");
    let since = made.strip_prefix(&start).and_then(|rest| rest.strip_suffix(" more since"));
    let since = since.and_then(|number| number.parse().ok()).expect(made);
    assert!(possible.contains(&since), "{possible:?}: {made}");
    assert_eq!(
        kept,
        "what is forgotten since stays in it until the first backup after 2026-11-09 10:00"
    );
    let backup = &json["backup"];
    assert_eq!(backup["last"], "2026-11-02T09:00:00Z");
    assert_eq!(backup["entries"], covers);
    assert!(possible.contains(&backup["entries_since"].as_u64().expect("a number")), "{backup}");
    assert_eq!(backup["keys_until"], "2026-11-09T09:00:00Z");
    assert_eq!(lines_of(&text, "cabinet"), ["its key is of 2026-11-02 10:00, 2 days ago"]);
    runtime.block_on(server.stop());
}

#[test]
fn a_status_says_when_the_recovery_key_was_tried_and_that_another_was_not() {
    let (mut world, runtime) = (World::found_at(START), runtime());
    let server = runtime.block_on(world.serve());
    Desk::of(&world).drill("anna");
    runtime.block_on(server.stop());

    world.set_time(START + 90 * DAY);
    let server = runtime.block_on(world.serve());
    let desk = Desk { world: &world };
    let (text, json) = desk.status("adam");
    assert_eq!(
        lines_of(&text, "drill"),
        ["held 2026-11-02 10:00, 90 days ago: 1 epoch would open"]
    );
    let at = "2026-11-02T09:00:00Z";
    assert_eq!(json["drill"], json!({ "last": at, "epochs": 1, "of_key_in_force": true }));

    // After a new ceremony the sheets of the old one prove nothing.
    let recovery = world.make_key("recovery2").recipient().to_string();
    let admin = desk.path("keys/admin-signing.key").display().to_string();
    let replace = ["keys", "replace-recovery", &recovery, "--admin-key", &admin];
    let replace = [&replace[..], &["--admin-passphrase-file", "words"]].concat();
    desk.done("adam", &replace, &desk.path("forwarded.sock"));
    let (text, json) = desk.status("adam");
    assert_eq!(
        lines_of(&text, "drill"),
        [
            "held 2026-11-02 10:00, 90 days ago, of another recovery key; never of the one in force: \
          `kluis keys drill -` with sheets from paper"
        ]
    );
    assert_eq!(json["drill"], json!({ "last": at, "epochs": 1, "of_key_in_force": false }));
    let mut doctor = Command::new(KLUIS);
    let output = doctor.arg("doctor").arg(world.state()).output().expect("runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.contains("was of another recovery key than the one in force"), "{said}");
    runtime.block_on(server.stop());
}

#[test]
fn a_status_names_the_person_and_the_machine_that_hold_both_halves() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let desk = Desk::of(&world);
    // Whoever sees the vault's own folder has it; the auditor reads nothing, and so holds no half.
    let socket = world.state().join("kluis.sock");
    let vault = format!("the vault in {}", world.state().display());
    let both = |what: &str| format!("this machine holds both: a member's key and {what}");
    let (text, json) = desk.status_at("anna", &socket);
    assert_eq!(lines_of(&text, "halves"), [both(&vault)]);
    assert_eq!(json["both_halves_here"], json!([vault]));
    let (text, _) = desk.status_at("olga", &socket);
    assert_eq!(lines_of(&text, "halves"), ["no one person and not this machine holds both"]);

    // A backup key lies beside the member's.
    let backup = desk.path("home-anna/backup.key");
    std::fs::copy(desk.path("keys/carla.key"), &backup).expect("is copied");
    let backup = format!("the backup key {}", backup.display());
    let (text, json) = desk.status("anna");
    assert_eq!(lines_of(&text, "halves"), [both(&backup)]);
    assert_eq!(json["both_halves_here"], json!([backup]));

    // And anna is named to hold one.
    let second = world.make_key("annas-backup").recipient().to_string();
    let admin = desk.path("keys/admin-signing.key").display().to_string();
    let add = ["keys", "add", "anna", &second, "--role", "backup", "--admin-key", &admin];
    let add = [&add[..], &["--admin-passphrase-file", "words"]].concat();
    desk.done("adam", &add, &desk.path("forwarded.sock"));
    let (text, json) = desk.status("anna");
    let person = "anna holds both: a member's key and a backup key";
    assert_eq!(lines_of(&text, "halves"), [person, &both(&backup)]);
    assert_eq!(json["both_halves"], json!(["anna"]));
    let (text, _) = desk.status("dora");
    assert_eq!(lines_of(&text, "halves"), [person]);
    runtime.block_on(server.stop());
}
