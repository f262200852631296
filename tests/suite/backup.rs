//! A backup holds all that the ledger's copy names, and nothing in clear; a vault made of it opens all
//! that was in it, and what was forgotten stays so. Whatever interrupts either, the one before is whole.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::clock::Clock;
use kluis::gateway::{self, Gateway};
use kluis::ids::ItemId;
use kluis::ledger::entry::{CHECKPOINT_KEY, Entry, Fact};
use kluis::ledger::erasures::Erasures;
use kluis::staff::agent::Opener;
use kluis::staff::client::{CaseView, Client, Error as ClientError};
use kluis::staff::restored::Gone;
use kluis::staff::sealing::Sealing;
use kluis::staff::seen::Seen;
use kluis::store::{self, Batch, Store};
use kluis::upkeep;
use kluis::upkeep::backup::Summary;
use kluis::upkeep::catalog::Head;
use kluis::upkeep::replay::{self, Settled, Since};
use kluis::upkeep::restore::{Backup, Restored, Target};
use kluis::upkeep::verify::{Flaw, Verified};
use kluis::vault::seal::Kind;
use serde_json::Value;

use crate::mail_client::letter;
use crate::thief::{Thief, copy, files};
use crate::way::{deliver, raw, runtime};
use crate::world::{KLUIS, MAILBOX, Server, World};

const SEED: u64 = 71;

/// Where the backups of this world go.
pub(crate) fn dest(world: &World) -> PathBuf {
    world.root.path().join("backup")
}

/// Runs `kluis` with these environment variables; gives what it printed.
pub(crate) fn output(arguments: &[&OsStr], variables: &[(&str, &str)]) -> Output {
    Command::new(KLUIS)
        .arg("--json")
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("runs")
}

/// Exit code and JSON.
pub(crate) fn kluis(arguments: &[&OsStr]) -> (i32, Value) {
    let output = output(arguments, &[]);
    let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    let value = serde_json::from_slice(text);
    let value = value.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(text)));
    (output.status.code().expect("it was not killed"), value)
}

/// `kluis backup` of this world.
pub(crate) fn back_up(world: &World) -> Value {
    let (code, value) = kluis(&backup_arguments(&world.state(), &dest(world)));
    assert_eq!(code, 0, "{value}");
    value
}

pub(crate) fn backup_arguments<'a>(state: &'a Path, dest: &'a Path) -> [&'a OsStr; 4] {
    [OsStr::new("backup"), dest.as_os_str(), OsStr::new("--dir"), state.as_os_str()]
}

/// The same in this process, of an open vault.
pub(crate) fn back_up_here(
    gateway: &Gateway,
    dest: &Path,
) -> Result<Summary, kluis::casebook::Error> {
    gateway.back_up(dest, false, &|_, _| true)
}

pub(crate) fn verify(world: &World, key: Option<&str>) -> Verified {
    let key = key.map(|name| world.key(name));
    let backup = Backup::open(&dest(world)).expect("holds together");
    backup.verify(key.as_ref(), &|_, _| true).expect("is read")
}

/// The vault breaks: what is left of it lies in `lost`.
pub(crate) fn lose(world: &World) -> PathBuf {
    let lost = world.root.path().join("lost");
    std::fs::create_dir(&lost).expect("a folder");
    std::fs::rename(world.state(), lost.join("state")).expect("is moved");
    std::fs::rename(world.cabinet_key(), lost.join("state.cabinet-key")).expect("is moved");
    lost
}

/// Makes the vault again where it was.
pub(crate) fn restore_with(world: &World, key: &str) -> Result<Restored, upkeep::Error> {
    let (dir, cabinet_key) = (world.state(), world.cabinet_key());
    let target = Target { dir: &dir, cabinet_key: &cabinet_key, despite_damage: false };
    Backup::open(&dest(world))?.restore(&target, &world.key(key), false, &|_, _| true)
}

fn replay(world: &World, since: &Since<'_>) -> Result<Settled, upkeep::Error> {
    replay_with(world, since, &[])
}

/// The same, with what was signed after the backup.
pub(crate) fn replay_with(
    world: &World,
    since: &Since<'_>,
    signed: &[String],
) -> Result<Settled, upkeep::Error> {
    let (dir, keys, minute) = (world.state(), world.cabinet_key(), Clock::System.minutes());
    replay::replay(&dir, &keys, minute, since, signed)
}

/// A member on a machine that never saw this vault.
pub(crate) fn stranger(world: &World, name: &str) -> Client {
    as_stranger(world, name).expect("logs in")
}

/// The same, for somebody who may be nobody there.
pub(crate) fn as_stranger(world: &World, name: &str) -> Result<Client, ClientError> {
    let folder = world.root.path().join(format!("seen-by-{name}-elsewhere"));
    let _ = std::fs::remove_dir_all(&folder);
    let (socket, seen) = (world.state().join("kluis.sock"), Seen::in_dir(folder));
    Client::connect(&socket, name, Opener::Key(world.key(name)), Some(&seen))
}

/// Accepts that the vault was restored, with what this world's members remember.
pub(crate) fn accept(world: &World, name: &str) -> Result<Option<Gone>, ClientError> {
    let seen = Seen::in_dir(world.root.path().join("seen"));
    let socket = world.state().join("kluis.sock");
    Client::accept_restored(&socket, name, Opener::Key(world.key(name)), &seen)
}

#[test]
fn a_ledger_that_was_not_restored_is_not_accepted() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    world.log_in("anna").expect("logs in");
    // The member saw more than there is: a server that was set back.
    let seed = server.casebook.server_key(CHECKPOINT_KEY).expect("is there");
    let (size, root) = (900, kluis::ids::Digest::new([7; 32]));
    let more = kluis::ledger::Checkpoint { vault: world.vault, size, root }.sign(seed.expose());
    let file = world.root.path().join(format!("seen/{}.checkpoint", world.vault));
    std::fs::write(&file, format!("{}\n{more}", world.checkpoint_key)).expect("writes");
    assert!(matches!(world.log_in("anna"), Err(ClientError::Forked)));
    assert!(matches!(accept(&world, "anna"), Err(ClientError::Forked)));
    assert!(std::fs::read_to_string(&file).expect("is read").ends_with(&more));
    runtime.block_on(server.stop());
}

#[test]
fn a_vault_from_before_a_hand_over_or_a_newer_roster_is_followed_once_a_person_accepts_it() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    world.log_in("anna").expect("logs in");
    // Open while the backup is made: what is signed in it is newer than the ledger seen last.
    let mut open = world.log_in("adam").expect("logs in");
    back_up(&world);
    crate::keyring::dismiss(&world, &mut open, "olga");
    drop(open);
    runtime.block_on(server.stop());
    let restore = || {
        let (dir, keys) = (world.state(), world.cabinet_key());
        for folder in [&dir, &keys] {
            std::fs::remove_dir_all(folder).expect("is removed");
        }
        restore_with(&world, "carla").expect("is restored");
        replay(&world, &Since::Nothing("a test")).expect("is settled");
    };
    restore();
    let server = runtime.block_on(world.serve());
    assert!(matches!(world.log_in("adam"), Err(ClientError::Older("roster"))));
    let gone = accept(&world, "adam").expect("is accepted").expect("something is gone");
    assert_eq!((gone.roster, gone.admin_is_back), (2, false));
    let mut adam = world.log_in("adam").expect("goes on");
    assert_eq!(accept(&world, "adam").expect("continues"), None);

    // Another admin key, and the vault from before it.
    let new = kluis::keys::admin::AdminKey::generate();
    let in_force = adam.roster().expect("is in force");
    adam.hand_over(&in_force, &world.admin(), &new).expect("is taken");
    drop(adam);
    world.log_in("anna").expect("follows");
    runtime.block_on(server.stop());
    restore();
    let server = runtime.block_on(world.serve());
    assert!(matches!(world.log_in("anna"), Err(ClientError::OtherAdmin)));
    let gone = accept(&world, "anna").expect("is accepted").expect("something is gone");
    assert!(gone.admin_is_back);
    let mut adam = world.log_in("adam").expect("goes on");
    assert_eq!(adam.admin_key(), world.admin().vkey().to_string());
    let in_force = adam.roster().expect("is in force");
    adam.hand_over(&in_force, &world.admin(), &new).expect("is handed over once more");
    drop(adam);
    assert_eq!(world.log_in("anna").expect("follows").admin_key(), new.vkey().to_string());
    runtime.block_on(server.stop());
}

/// Every letter that opens, raw; and how many do not.
fn letters(client: &mut Client) -> Vec<Vec<u8>> {
    let cases = client.queue(Filter::All).expect("lists");
    let mut all: Vec<_> = cases.iter().map(|case| raw(client, case)).collect();
    all.sort();
    all
}

pub(crate) fn send(server: &Server, n: u64) -> Vec<u8> {
    let raw = letter(SEED, n, 90_000);
    assert_eq!(deliver(server, false, &[MAILBOX], &raw), [250]);
    raw
}

fn sorted(mut letters: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    letters.sort();
    letters
}

/// Forgets the attachment of letter `n`; gives its id.
pub(crate) fn forget(client: &mut Client, n: u64, now: bool) -> ItemId {
    let cases = client.queue(Filter::All).expect("lists");
    let is_it = |case: &&CaseView| {
        let detail = case.letters[0].detail.as_ref().expect("opens");
        let subject = detail.headers.subject.as_ref().expect("has one");
        *subject.expose() == format!("Letter {n} of {SEED}")
    };
    let case = cases.iter().find(is_it).expect("is in the queue");
    let detail = case.letters[0].detail.as_ref().expect("opens");
    let is_it = |media_type: &str| media_type == "application/octet-stream";
    let item = detail.items.iter().find(|card| is_it(&card.media_type)).expect("is there").id;
    let mut sealing = Sealing::new(case.card.case, Act::Note, client.sealing().expect("proven"));
    sealing.note(NoteSubject::Reason, "asked for", None, Vec::new());
    client.forget(vec![item], sealing.finish(), now).expect("forgets");
    item
}

/// The letters of which nothing is forgotten, raw.
pub(crate) fn whole(client: &mut Client) -> Vec<Vec<u8>> {
    let cases = client.queue(Filter::All).expect("lists");
    let is_whole =
        |case: &&CaseView| case.letters[0].card.items.iter().all(|(_, _, forgotten)| !forgotten);
    cases.iter().filter(is_whole).map(|case| raw(client, case)).collect()
}

/// The erasure note of a vault that still opens, from an entry on.
pub(crate) fn note(world: &World, from: u64) -> String {
    let gateway = world.open();
    let store = gateway.casebook.store();
    let seed = gateway.casebook.server_key(CHECKPOINT_KEY).expect("is there");
    let mut notes = gateway.casebook.erasures(from, store.size()).expect("reads");
    assert_eq!(notes.len(), 1);
    notes.remove(0).sign(seed.expose())
}

pub(crate) fn facts(world: &World) -> Vec<Entry> {
    let gateway = world.open();
    gateway.casebook.store().entries(0, usize::MAX).expect("reads")
}

#[test]
fn a_restored_vault_opens_all_that_was_in_it_and_serves_only_after_the_replay() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let sent: Vec<_> = (0..3).map(|n| send(&server, n)).collect();
    let mut anna = world.log_in("anna").expect("logs in");
    let before = forget(&mut anna, 1, false);
    drop(anna);
    runtime.block_on(server.stop());
    let made = back_up(&world);
    assert_eq!(
        (made["keys_missing"].as_u64(), made["flaws"].as_array().map(Vec::len)),
        (Some(0), Some(0))
    );
    let found = verify(&world, Some("carla"));
    assert_eq!((found.flaws.as_slice(), found.lost), (&[][..], 0));
    assert_eq!(found.opened, Some(found.boxes));
    lose(&world);

    let restored = restore_with(&world, "carla").expect("is restored");
    assert!(restored.lost.is_empty() && restored.keys > 0 && restored.from_older == 0);
    // It is shut for every program.
    let shut = |error| matches!(error, store::Error::Unsettled);
    assert!(Store::open(&world.state(), &world.cabinet_key()).err().is_some_and(shut));
    let opened = Gateway::open(&world.state(), Path::new(KLUIS), Clock::System);
    let Err(gateway::Error::Casebook(kluis::casebook::Error::Store(error))) = opened else {
        panic!("a vault that nobody settled opens")
    };
    assert!(shut(error));
    let (code, said) = kluis(&[OsStr::new("serve"), world.state().as_os_str()]);
    assert_eq!(code, 1);
    assert!(said["hint"].as_str().expect("a hint").contains("kluis restore replay"), "{said}");

    let settled = replay(&world, &Since::Nothing("it broke at once")).expect("is settled");
    assert_eq!((settled.replayed.dropped, settled.known_to), (0, restored.entries));
    assert!(matches!(replay(&world, &Since::Nothing("again")), Err(upkeep::Error::Settled(_))));
    let server = runtime.block_on(world.serve());
    let mut anna = stranger(&world, "anna");
    assert!(matches!(anna.look(&[before]), Err(ClientError::Forgotten)));
    let kept = whole(&mut anna);
    assert!(kept.len() == 2 && kept.iter().all(|letter| sent.contains(letter)));
    // It goes on as a vault does.
    let more = send(&server, 9);
    assert!(whole(&mut anna).contains(&more));
    let report = server.casebook.store().check(false, &|_, _| {}).expect("is read");
    assert!(report.is_clean(), "{:?}", report.problems);
    drop(anna);
    runtime.block_on(server.stop());
    let facts = facts(&world);
    let entry = facts.iter().find(|entry| entry.kind == Fact::Restored).expect("it says so");
    let reason = world.state().join(format!("restored/{}.txt", entry.hash.expect("of the reason")));
    assert_eq!(std::fs::read_to_string(reason).expect("is beside"), "it broke at once\n");
    assert_eq!(
        (entry.count, entry.position, entry.seq),
        (None, Some(restored.entries), restored.entries)
    );
}

#[test]
fn a_vault_with_another_admin_roster_and_epoch_than_at_first_is_restored_with_them() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let sent = sorted((0..3).map(|n| send(&server, n)).collect());
    crate::keyring::shake(&world);
    runtime.block_on(server.stop());
    back_up(&world);
    let found = verify(&world, Some("carla"));
    assert_eq!((found.flaws.as_slice(), found.lost), (&[][..], 0));
    lose(&world);
    restore_with(&world, "carla").expect("is restored");
    replay(&world, &Since::Nothing("it broke at once")).expect("is settled");
    let server = runtime.block_on(world.serve());
    for name in ["anna", "dora"] {
        assert_eq!(letters(&mut stranger(&world, name)), sent);
    }
    let mut anna = stranger(&world, "anna");
    assert_eq!(anna.mailbox_keys().expect("opens").len(), 1);
    assert_ne!(anna.admin_key(), world.admin().vkey().to_string());
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn a_second_backup_copies_only_what_is_new_and_never_changes_what_is_there() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    send(&server, 1);
    runtime.block_on(server.stop());
    let first = back_up(&world);
    assert_eq!(first["packs_there"], 0);
    let packs = first["packs"].as_u64().expect("a number");
    let before: BTreeMap<PathBuf, Vec<u8>> = files(&dest(&world).join("packs"))
        .into_iter()
        .map(|file| (file.clone(), std::fs::read(&file).expect("is read")))
        .collect();
    let ledger = std::fs::read(dest(&world).join("ledger/0000000000000000.log")).expect("is read");

    // Nothing happened but the backup itself, which is an entry.
    let second = back_up(&world);
    assert_eq!((second["packs"].as_u64(), second["packs_there"].as_u64()), (Some(0), Some(packs)));
    assert!(second["bytes"].as_u64().expect("a number") < 1024, "{second}");

    let server = runtime.block_on(world.serve());
    send(&server, 2);
    runtime.block_on(server.stop());
    let third = back_up(&world);
    assert_eq!(third["packs_there"].as_u64(), Some(packs));
    let new = third["bytes"].as_u64().expect("a number");
    assert!((60_000..400_000).contains(&new), "{new} bytes for a letter of 90,000");
    for (file, bytes) in &before {
        assert!(std::fs::read(file).expect("is there") == *bytes, "{} changed", file.display());
    }
    let grown = std::fs::read(dest(&world).join("ledger/0000000000000000.log")).expect("is read");
    assert!(grown.len() > ledger.len() && grown.starts_with(&ledger));
    assert!(verify(&world, Some("dirk")).flaws.is_empty());
    // A dry run says what it would be, and writes nothing, there or in the vault.
    let listed = |path: &Path| {
        files(path)
            .into_iter()
            .map(|f| (f.clone(), f.metadata().expect("is there").len()))
            .collect::<BTreeMap<_, _>>()
    };
    let all = (listed(&dest(&world)), listed(&world.state().join("ledger")));
    let mut arguments = backup_arguments(&world.state(), &world.root.path().join("backup"))
        .map(OsStr::to_owned)
        .to_vec();
    arguments.push("--dry-run".into());
    let (code, dry) = kluis(&arguments.iter().map(|a| a.as_os_str()).collect::<Vec<_>>());
    assert_eq!((code, dry["dry_run"].as_bool(), dry["packs"].as_u64()), (0, Some(true), Some(0)));
    assert!(all == (listed(&dest(&world)), listed(&world.state().join("ledger"))));
    let made = facts(&world).iter().filter(|entry| entry.kind == Fact::BackupMade).count();
    assert_eq!(made, 3);
}

#[test]
fn what_was_forgotten_after_the_backup_is_forgotten_again_by_the_notes() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let sent: Vec<_> = (0..3).map(|n| send(&server, n)).collect();
    runtime.block_on(server.stop());
    let size = back_up(&world)["entries"].as_u64().expect("a number");
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let forgotten = forget(&mut anna, 1, true);
    // A letter that came after the backup is forgotten, too: it is not in it.
    send(&server, 7);
    forget(&mut anna, 7, false);
    drop(anna);
    runtime.block_on(server.stop());
    let note = note(&world, size);
    lose(&world);
    restore_with(&world, "dirk").expect("is restored");

    // A note that leaves something out, one of another key, one of another time.
    let gap = Erasures { vault: world.vault, from: size + 1, to: size + 9, slots: Vec::new() };
    let seed = [9; 32];
    for bad in [gap.sign(&seed), note.replace("to ", "to 1")] {
        assert!(matches!(replay(&world, &Since::Notes(&[bad])), Err(upkeep::Error::Note(_))));
    }
    assert!(Store::open(&world.state(), &world.cabinet_key()).is_err());

    // As it comes by mail.
    let file = world.root.path().join("mail.txt");
    std::fs::write(&file, format!("Hello,\r\n\r\n{}\r\nBye\r\n", note.replace('\n', "\r\n")))
        .expect("writes");
    let state = world.state();
    let (code, said) = kluis(&[
        OsStr::new("restore"),
        OsStr::new("replay"),
        state.as_os_str(),
        OsStr::new("--erasures"),
        file.as_os_str(),
    ]);
    assert_eq!(
        (code, said["dropped"].as_u64(), said["unknown"].as_u64()),
        (0, Some(1), Some(1)),
        "{said}"
    );
    let server = runtime.block_on(world.serve());
    // Anna saw more than the backup has; bert never was here.
    assert!(matches!(world.log_in("anna"), Err(ClientError::Forked)));
    let gone = accept(&world, "anna").expect("is accepted").expect("something is gone");
    assert!(gone.from == size && gone.to > size && gone.known_to.is_some_and(|known| known > size));
    world.log_in("anna").expect("goes on");
    assert_eq!(accept(&world, "anna").expect("continues"), None);
    let mut bert = stranger(&world, "bert");
    assert!(matches!(bert.look(&[forgotten]), Err(ClientError::Forgotten)));
    assert_eq!(bert.queue(Filter::All).expect("lists").len(), 3);
    let kept = whole(&mut bert);
    assert!(kept.len() == 2 && kept.iter().all(|letter| sent.contains(letter)));
    let report = server.casebook.store().check(false, &|_, _| {}).expect("is read");
    assert!(report.is_clean() && report.lost == 0, "{:?}", report.problems);
    drop(bert);
    runtime.block_on(server.stop());
    let facts = facts(&world);
    let restored = facts.iter().find(|entry| entry.kind == Fact::Restored).expect("it says so");
    assert_eq!(restored.count, Some(1));
    assert!(restored.position.is_some_and(|position| position > size));
    let again = facts.iter().find(|entry| entry.kind == Fact::Forgotten).expect("it says so");
    assert_eq!((again.item, again.staff), (Some(forgotten), None));
}

#[test]
fn nothing_forgotten_before_the_backup_is_in_it_and_no_key_of_a_box_in_clear() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    send(&server, 1);
    send(&server, 2);
    let mut anna = world.log_in("anna").expect("logs in");
    let thief = Thief::default().with(&world.state()).with(&world.cabinet_key());
    let keys: Vec<_> = thief
        .boxes()
        .iter()
        .map(|entry| (entry.clone(), thief.key(entry).expect("opens")))
        .collect();
    let item = forget(&mut anna, 2, true);
    drop(anna);
    runtime.block_on(server.stop());
    back_up(&world);
    let (_, gone) = keys.iter().find(|(entry, _)| entry.item == Some(item)).expect("was there");
    let holds = |path: &Path, key: &[u8]| {
        files(path).iter().any(|file| {
            let bytes = std::fs::read(file).expect("is read");
            bytes.windows(key.len()).any(|window| window == key)
        })
    };
    for (_, key) in &keys {
        assert!(!holds(&dest(&world), key), "a key of a box lies in the backup in clear");
    }
    // The search finds what is there.
    assert!(holds(&dest(&world), world.vault.to_string().as_bytes()));
    lose(&world);
    restore_with(&world, "carla").expect("is restored");
    let thief = Thief::default().with(&world.state()).with(&world.cabinet_key());
    let found: Vec<_> = keys.iter().filter(|(entry, _)| thief.key(entry).is_some()).collect();
    assert!(!found.is_empty() && found.iter().all(|(_, key)| key != gone));
    // Waiting files are of mode 0600, folders 0700.
    use std::os::unix::fs::PermissionsExt as _;
    for file in files(&world.state()).iter().chain(&files(&dest(&world))) {
        let mode = |path: &Path| path.metadata().expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode(file), 0o600, "{}", file.display());
        assert_eq!(mode(file.parent().expect("a folder")), 0o700, "{}", file.display());
    }
}

/// The power went while the first backup wrote whose it is: nothing but the beginning of that is there.
#[test]
fn a_backup_whose_power_went_at_its_first_file_is_begun_again() {
    let world = World::found();
    let dest = dest(&world);
    std::fs::create_dir(&dest).expect("a folder");
    std::fs::write(dest.join("vault.new"), b"a backup of the va").expect("writes");
    back_up(&world);
    assert!(!dest.join("vault.new").exists());
    Backup::open(&dest).expect("is a backup");
}

#[test]
fn a_wrong_key_another_vault_and_a_folder_in_the_vault_are_refused() {
    let world = World::found();
    back_up(&world);
    for name in ["anna", "recovery", "dora"] {
        lose_nothing(&world, name);
    }
    let other = World::found();
    let gateway = other.open();
    let refused = |dest: &Path| back_up_here(&gateway, dest).expect_err("is refused");
    let upkeep = |error| match error {
        kluis::casebook::Error::Upkeep(error) => error,
        other => panic!("{other}"),
    };
    assert!(matches!(upkeep(refused(&dest(&world))), upkeep::Error::OtherVault(_)));
    assert!(matches!(upkeep(refused(&other.state())), upkeep::Error::Inside(_)));
    assert!(matches!(upkeep(refused(&other.state().join("new/er"))), upkeep::Error::Inside(_)));
    assert!(matches!(upkeep(refused(other.root.path())), upkeep::Error::Inside(_)));
    let full = tempfile::tempdir().expect("a folder");
    std::fs::write(full.path().join("holiday.jpg"), b"sun").expect("writes");
    assert!(matches!(upkeep(refused(full.path())), upkeep::Error::NotEmpty(_)));
    assert_eq!(files(full.path()).len(), 1);
    drop(gateway);
    // Another history of the same vault.
    let here = dest(&world);
    let older = world.root.path().join("older");
    copy(&world.state(), &older.join("state"));
    copy(&world.cabinet_key(), &older.join("state.cabinet-key"));
    for folder in ["packs", "quarantine"] {
        std::fs::create_dir_all(older.join("state").join(folder)).expect("a folder");
    }
    // The first of these still covers what the copy has, the second an entry that it never had.
    back_up(&world);
    back_up(&world);
    let text = std::fs::read_to_string(older.join("state/kluis.toml")).expect("is read");
    let text = text.replace(
        world.state().to_str().expect("text"),
        older.join("state").to_str().expect("text"),
    );
    std::fs::write(older.join("state/kluis.toml"), text).expect("writes");
    let (code, said) = kluis(&backup_arguments(&older.join("state"), &here));
    assert_eq!(code, 1);
    assert!(said["error"].as_str().expect("text").contains("does not continue"), "{said}");
}

/// Whoever holds no backup key restores nothing, and leaves nothing.
fn lose_nothing(world: &World, name: &str) {
    let place = world.root.path().join("nowhere");
    let (dir, cabinet_key) = (place.join("state"), place.join("key"));
    let target = Target { dir: &dir, cabinet_key: &cabinet_key, despite_damage: false };
    let backup = Backup::open(&dest(world)).expect("opens");
    let refused = backup.restore(&target, &world.key(name), false, &|_, _| true);
    assert!(matches!(refused, Err(upkeep::Error::WrongKey(_))), "{name}");
    let refused = backup.verify(Some(&world.key(name)), &|_, _| true);
    assert!(matches!(refused, Err(upkeep::Error::WrongKey(_))), "{name}");
    assert!(!place.exists());
}

#[test]
fn every_damaged_or_missing_file_of_a_backup_is_named() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    send(&server, 1);
    runtime.block_on(server.stop());
    back_up(&world);
    let key = world.key("carla");
    let counted = ["head.note", "catalog", "ledger", "packs", "files", "keys"];
    let mut seen = BTreeMap::new();
    for file in files(&dest(&world)) {
        let name = file.strip_prefix(dest(&world)).expect("below").to_owned();
        let part = name
            .components()
            .next()
            .expect("a part")
            .as_os_str()
            .to_str()
            .expect("text")
            .to_owned();
        if !counted.contains(&part.as_str()) {
            continue;
        }
        *seen.entry(part).or_insert(0) += 1;
        let whole = std::fs::read(&file).expect("is read");
        let tries = [
            (0, Some(0)),
            (whole.len() / 2, Some(whole.len() / 2)),
            (whole.len() - 2, Some(whole.len() - 2)),
            (0, None),
        ];
        for (at, flip) in tries {
            match flip {
                Some(at) => {
                    let mut changed = whole.clone();
                    changed[at] ^= 0x04;
                    std::fs::write(&file, changed).expect("writes");
                }
                None => std::fs::remove_file(&file).expect("is removed"),
            }
            // A head of other words leads elsewhere.
            let is_head = file.ends_with("head.note");
            let named = if is_head { dest(&world) } else { file.clone() };
            let told = |text: String| {
                assert!(
                    text.contains(named.to_str().expect("text")),
                    "{text}: byte {at} of {}",
                    file.display()
                );
            };
            match Backup::open(&dest(&world)) {
                Err(error) => told(error.to_string()),
                Ok(backup) => {
                    let found = backup.verify(Some(&key), &|_, _| true);
                    let found = found.expect("is read");
                    let named = found.flaws.iter().any(|flaw| flaw.file == file);
                    assert!(named, "byte {at} of {}: {:?}", file.display(), found.flaws);
                    // What is damaged is not restored silently.
                    let place = world.root.path().join("try");
                    let (dir, keys) = (place.join("state"), place.join("key"));
                    let target = Target { dir: &dir, cabinet_key: &keys, despite_damage: false };
                    assert!(
                        backup.restore(&target, &key, false, &|_, _| true).is_err(),
                        "byte {at} of {}",
                        file.display()
                    );
                    assert!(!dir.exists());
                    let _ = std::fs::remove_dir_all(&place);
                }
            }
            std::fs::write(&file, &whole).expect("writes");
        }
    }
    assert_eq!(seen.len(), counted.len(), "{seen:?}");
    assert!(verify(&world, Some("carla")).flaws.is_empty());
}

/// Puts another head in the place of the backup's.
fn put_head(world: &World, change: impl FnOnce(&mut Head), seed: &[u8; 32]) {
    let file = dest(world).join("head.note");
    let mut head = Head::read(&std::fs::read_to_string(&file).expect("is read")).expect("a head");
    change(&mut head);
    std::fs::write(&file, head.sign(seed)).expect("writes");
}

#[test]
fn a_head_that_the_vault_did_not_sign_is_neither_restored_nor_continued() {
    let world = World::found();
    back_up(&world);
    put_head(&world, |_| {}, &[9; 32]);
    assert!(matches!(Backup::open(&dest(&world)), Err(upkeep::Error::Damaged { .. })));
    let (code, said) = kluis(&backup_arguments(&world.state(), &dest(&world)));
    assert_eq!(code, 1, "{said}");
    assert!(said["error"].as_str().expect("text").contains("did not sign"), "{said}");
}

#[test]
fn a_backup_that_lacks_what_its_ledger_names_is_not_called_whole() {
    let world = World::found();
    put(&world, 0);
    back_up(&world);
    let seed = *world.open().casebook.server_key(CHECKPOINT_KEY).expect("is there").expose();
    let file = files(&dest(&world).join("catalog")).remove(0);
    let text = std::fs::read_to_string(file).expect("is read");
    // Signed by the vault as if there had never been a pack: every file that is named is there.
    let lines = text.lines().filter(|line| !line.starts_with("pack "));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let hash = kluis::ids::Digest::new(*blake3::hash(text.as_bytes()).as_bytes());
    std::fs::write(dest(&world).join(format!("catalog/{hash}.txt")), text).expect("writes");
    put_head(&world, |head| head.catalog = hash, &seed);
    for key in [None, Some("carla")] {
        let found = verify(&world, key);
        let missing = |flaw: &&Flaw| flaw.what == "an entry whose box is missing";
        assert_eq!(found.flaws.iter().filter(missing).count() as u64, found.boxes, "{key:?}");
        assert!(found.boxes > 0 && found.opened.is_none_or(|opened| opened == 0));
    }
}

#[test]
fn of_two_backups_into_one_folder_the_second_waits_for_another_time() {
    let world = World::found();
    back_up(&world);
    let lock = std::fs::File::options().write(true).open(dest(&world).join("lock"));
    let lock = lock.expect("opens");
    lock.lock().expect("is taken");
    let (code, said) = kluis(&backup_arguments(&world.state(), &dest(&world)));
    assert_eq!(code, 75, "{said}");
    drop(lock);
    back_up(&world);
}

#[test]
fn what_was_damaged_in_the_vault_before_it_was_copied_is_said() {
    let world = World::found();
    put(&world, 0);
    let gateway = world.open();
    // Closed, as a backup wants it.
    back_up_here(&gateway, &world.root.path().join("other")).expect("is made");
    drop(gateway);
    let packs = files(&world.state().join("packs"));
    let pack = packs.into_iter().max_by_key(|pack| pack.metadata().expect("one").len());
    let pack = pack.expect("a pack");
    let mut bytes = std::fs::read(&pack).expect("is read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).expect("writes");
    let (code, said) = kluis(&backup_arguments(&world.state(), &dest(&world)));
    assert_eq!(code, 1, "{said}");
    let flaws = said["flaws"].as_array().expect("a list");
    assert!(!flaws.is_empty(), "{said}");
}

#[test]
fn a_backup_is_made_while_letters_arrive_and_holds_what_its_ledger_names() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let sent = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for n in 0..24 {
                let raw = send(&server, n);
                sent.lock().expect("no panic").push(raw);
            }
        });
        let mut made = 0;
        while !sender.is_finished() || made < 2 {
            // The server is asked over its socket: it has the vault open.
            let value = back_up(&world);
            assert_eq!(
                (value["keys_missing"].as_u64(), value["flaws"].as_array().map(Vec::len)),
                (Some(0), Some(0))
            );
            let found = verify(&world, Some("carla"));
            assert!(found.flaws.is_empty() && found.lost == 0, "{:?}", found.flaws);
            assert_eq!(found.opened, Some(found.boxes));
            made += 1;
        }
        sender.join().expect("sends");
        println!("{made} backups beside 24 letters");
    });
    back_up(&world);
    runtime.block_on(server.stop());
    let sent = sorted(sent.into_inner().expect("no panic"));
    lose(&world);
    restore_with(&world, "carla").expect("is restored");
    replay(&world, &Since::Nothing("nothing came between")).expect("is settled");
    let server = runtime.block_on(world.serve());
    let mut anna = stranger(&world, "anna");
    assert!(letters(&mut anna) == sent);
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn keys_of_boxes_stay_a_week_and_an_older_file_helps_where_the_newest_lacks_some() {
    // The clock of the vault; it counts whole minutes.
    let start = 60 * (Clock::System.minutes() - 8 * 24 * 60);
    let mut world = World::found_at(start);
    put(&world, 0);
    let gateway = world.open();
    let first = back_up_here(&gateway, &dest(&world)).expect("is made");
    assert_eq!(first.keys_removed, 0);
    drop(gateway);
    let names = |world: &World| -> Vec<String> {
        files(&dest(world).join("keys"))
            .iter()
            .map(|file| file.file_name().expect("a name").to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names(&world).len(), 1);
    let oldest = names(&world).remove(0);
    world.set_time(start + 6 * 86_400 + 86_399);
    let gateway = world.open();
    assert_eq!(back_up_here(&gateway, &dest(&world)).expect("is made").keys_removed, 0);
    drop(gateway);
    assert_eq!(names(&world).len(), 2);
    world.set_time(start + 7 * 86_400);
    let gateway = world.open();
    assert_eq!(back_up_here(&gateway, &dest(&world)).expect("is made").keys_removed, 1);
    drop(gateway);
    assert!(names(&world).len() == 2 && !names(&world).contains(&oldest));

    // A cabinet that lost a key: it is said, and the older file has it.
    let gateway = world.open();
    let slot =
        gateway.casebook.store().entries(0, usize::MAX).expect("reads").iter().find_map(|entry| {
            entry.slot.filter(|_| entry.count == Some(kluis::ledger::entry::MESSAGE_ID_KEY))
        });
    drop(gateway);
    let cabinet = files(&world.state()).into_iter().find(|file| {
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cabinet."))
    });
    damage_slot(&cabinet.expect("a cabinet"), slot.expect("is named").as_bytes());
    let (store, _) = Store::open(&world.state(), &world.cabinet_key()).expect("opens");
    // What is dropped since an older file was written, that file has; nobody takes it from there.
    let entries = store.entries(0, usize::MAX).expect("reads");
    let item = entries.iter().find(|entry| entry.box_kind == Some(Kind::Item)).expect("an item");
    let dropped = Entry { slot: item.slot, ..Entry::new(Fact::SlotDropped, start / 60) };
    store.commit(Batch::of(vec![dropped])).expect("commits");
    let roster = roster_of(&world);
    let (dir, cabinet_key, dest) = (world.state(), world.cabinet_key(), dest(&world));
    let vault = upkeep::backup::Vault {
        store: &store,
        dir: &dir,
        cabinet_key: &cabinet_key,
        roster: &roster,
    };
    let plan = upkeep::backup::plan(&vault, &dest, false).expect("is planned");
    let minute = (start + 7 * 86_400) / 60;
    let made = upkeep::backup::apply(&vault, &plan, minute, &|_, _| true).expect("is made");
    assert_eq!(made.missing, 1);
    drop(store);
    lose(&world);
    let restored = restore_with(&world, "dirk").expect("is restored");
    assert_eq!((restored.from_older, restored.lost.len()), (1, 0));
    assert_eq!(restored.keys, made.keys + 1);
}

/// Flips a bit of the sealed key in the slot of this id.
fn damage_slot(cabinet: &Path, id: &[u8; 16]) {
    let mut bytes = std::fs::read(cabinet).expect("is read");
    let at = bytes.windows(16).position(|window| window == id).expect("is there");
    // The id stands at 32 of a frame's header of 64 bytes; behind it the slot.
    bytes[at + 32 + 5] ^= 1;
    let header = at - 32;
    let sum = {
        let mut covered = bytes[header..header + 6].to_vec();
        covered.extend_from_slice(&bytes[header + 8..header + 16]);
        covered.extend_from_slice(&bytes[header + 20..header + 64 + 48]);
        crc32c(&covered)
    };
    bytes[header + 16..header + 20].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(cabinet, bytes).expect("writes");
}

/// CRC-32C, bit by bit (vault-format §1).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(!0, step)
}

fn roster_of(world: &World) -> kluis::keys::roster::Roster {
    let admin = std::fs::read_to_string(world.state().join("admin.pub")).expect("is read");
    let admin: kluis::keys::note::Vkey = admin.trim().parse().expect("a key");
    let note = std::fs::read_to_string(world.state().join("roster/1.note")).expect("is read");
    kluis::keys::roster::Roster::parse_signed(&note, &admin.public).expect("is signed")
}

/// Puts a document in, through the program.
pub(crate) fn put(world: &World, n: usize) {
    let file = world.root.path().join(format!("document-{n}.txt"));
    std::fs::write(&file, format!("document {n} ").repeat(30_000)).expect("writes");
    let state = world.state();
    let (code, said) =
        kluis(&[OsStr::new("put"), file.as_os_str(), OsStr::new("--dir"), state.as_os_str()]);
    assert_eq!(code, 0, "{said}");
}

/// Whether it was killed at its step, or did not come by it.
#[cfg(kluis_lab)]
pub(crate) fn is_killed(output: &Output) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    let killed = output.status.signal() == Some(9);
    assert!(
        killed || output.status.code() == Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    killed
}

#[cfg(kluis_lab)]
#[test]
fn a_backup_killed_at_any_step_leaves_the_one_before_whole_and_the_next_goes_on() {
    let world = World::found();
    put(&world, 0);
    back_up(&world);
    for (n, step) in (1..).zip(upkeep::backup::BACKUP_STEPS) {
        put(&world, n);
        // A small file is new, too.
        let settings = world.state().join("kluis.toml");
        let text = std::fs::read_to_string(&settings).expect("is read");
        std::fs::write(&settings, format!("{text}# {n}\n")).expect("writes");
        let kill = format!("{step}:1");
        let (state, dest) = (world.state(), dest(&world));
        let output = output(&backup_arguments(&state, &dest), &[("KLUIS_LAB_KILL", &kill)]);
        assert!(is_killed(&output), "{step} is not come by");
        let found = verify(&world, Some("carla"));
        assert!(found.flaws.is_empty() && found.lost == 0, "{step}: {:?}", found.flaws);
        assert_eq!(found.opened, Some(found.boxes), "{step}");
        if n % 2 == 0 {
            back_up(&world);
            assert!(verify(&world, Some("dirk")).flaws.is_empty(), "{step}");
        }
    }
    back_up(&world);
    // No draft is left, and all of it is there.
    assert!(files(&dest(&world)).iter().all(|file| file.extension().is_none_or(|e| e != "new")));
    let documents = upkeep::backup::BACKUP_STEPS.len() + 1;
    lose(&world);
    restore_with(&world, "carla").expect("is restored");
    replay(&world, &Since::Nothing("a test")).expect("is settled");
    let runtime = runtime();
    let server = runtime.block_on(world.serve());
    let mut anna = stranger(&world, "anna");
    assert_eq!(anna.queue(Filter::All).expect("lists").len(), documents);
    drop(anna);
    runtime.block_on(server.stop());
}

/// A hand-over of the admin key, and the next roster, without bert: as files.
#[cfg(kluis_lab)]
fn signed_since(world: &World) -> [PathBuf; 2] {
    use kluis::keys::admin::AdminKey;
    use kluis::keys::admins::HandOver;

    let (old, new) = (world.admin(), AdminKey::generate());
    let hand_over = HandOver {
        vault: world.vault,
        number: 2,
        before: old.vkey(),
        key: new.vkey(),
        epoch: kluis::ids::EpochId(1),
        mailbox: 1,
    };
    let mut roster = roster_of(world);
    roster.version += 1;
    roster.members.retain(|member| member.name != "bert");
    let notes = [hand_over.sign(&old), roster.sign(&new).expect("follows the rules")];
    ["hand-over", "roster"].map(|name| world.root.path().join(name)).map(|file| {
        let note = &notes[usize::from(file.ends_with("roster"))];
        std::fs::write(&file, note).expect("writes");
        file
    })
}

#[cfg(kluis_lab)]
#[test]
fn a_restore_and_a_replay_killed_at_any_step_go_on_and_nothing_opens_before() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let sent = sorted((0..2).map(|n| send(&server, n)).collect());
    runtime.block_on(server.stop());
    back_up(&world);
    let signed = signed_since(&world);
    lose(&world);
    let words = world.root.path().join("words");
    std::fs::write(&words, "correct horse battery staple\n").expect("writes");
    let key = world.root.path().join("keys/carla.key");
    let steps = upkeep::restore::RESTORE_STEPS.iter();
    let steps = steps.chain(replay::SIGNED_STEPS).chain(store::REPLAY_STEPS);
    let (mut come_by, mut whole) = (0, 0);
    for step in steps.copied() {
        let kill = format!("{step}:1");
        let variables = [("KLUIS_LAB_KILL", kill.as_str())];
        let (state, dest) = (world.state(), dest(&world));
        let restore = [
            OsStr::new("restore"),
            dest.as_os_str(),
            state.as_os_str(),
            OsStr::new("--key-file"),
            key.as_os_str(),
            OsStr::new("--passphrase-file"),
            words.as_os_str(),
        ];
        let replay = ["restore", "replay"].map(OsStr::new);
        let words = ["--no-erasures", "a test", "--signed"].map(OsStr::new);
        let notes = signed.each_ref().map(|file| file.as_os_str());
        let replay = [&replay[..], &[state.as_os_str()], &words, &notes].concat();
        let mut killed = false;
        if is_killed(&output(&restore, &variables)) {
            killed = true;
            assert!(Store::open(&state, &world.cabinet_key()).is_err(), "{step}");
            if state.exists() {
                // It was named: a second one is refused.
                assert_eq!(kluis(&restore).0, 2, "{step}");
            } else {
                assert_eq!(kluis(&restore).0, 0, "{step}");
            }
        }
        assert!(
            matches!(Store::open(&state, &world.cabinet_key()), Err(store::Error::Unsettled)),
            "{step}"
        );
        let older = world.root.path().join("older");
        copy(&state.join("ledger"), &older.join("ledger"));
        if is_killed(&output(&replay, &variables)) {
            killed = true;
            let open = Store::open(&state, &world.cabinet_key());
            match open {
                Err(store::Error::Unsettled) => assert_eq!(kluis(&replay).0, 0, "{step}"),
                Err(other) => panic!("{step}: {other}"),
                // It was switched: the start did the rest.
                Ok((store, _)) => {
                    whole += 1;
                    drop(store);
                }
            }
        }
        come_by += usize::from(killed);
        let (store, opening) = Store::open(&state, &world.cabinet_key()).expect(step);
        assert_eq!(opening.lost, 0, "{step}");
        let entries = store.entries(0, usize::MAX).expect("reads");
        let new = [Fact::Restored, Fact::AdminSigned, Fact::MemberRevoked, Fact::RosterSigned];
        let counts = new.map(|fact| entries.iter().filter(|entry| entry.kind == fact).count());
        assert_eq!(counts, [1, 1, 1, 2], "{step}: once each, but for the first roster");
        assert!(store.check(false, &|_, _| {}).expect("is read").is_clean(), "{step}");
        drop(store);
        // The ledger as it was before the replay, put back beside the new cabinet.
        let newer = world.root.path().join("newer");
        copy(&state.join("ledger"), &newer);
        let put = |from: &Path| {
            std::fs::remove_dir_all(state.join("ledger")).expect("is removed");
            copy(from, &state.join("ledger"));
        };
        put(&older.join("ledger"));
        let opened = Store::open(&state, &world.cabinet_key());
        assert!(matches!(opened, Err(store::Error::Older { .. })), "{step}: nothing notices it");
        put(&newer);
        [older, newer].iter().for_each(|folder| std::fs::remove_dir_all(folder).expect("removed"));
        assert!(!state.join("restoring").exists(), "{step}: a mark is left");
        let names: Vec<_> = files(&world.cabinet_key());
        assert_eq!(
            names.iter().filter(|file| file.extension().is_some_and(|e| e == "key")).count(),
            1,
            "{step}"
        );
        let server = runtime.block_on(world.serve());
        let mut anna = stranger(&world, "anna");
        assert!(letters(&mut anna) == sent, "{step}");
        assert!(as_stranger(&world, "bert").is_err(), "{step}: he was sent away");
        drop(anna);
        runtime.block_on(server.stop());
        for folder in [world.state(), world.cabinet_key()] {
            std::fs::remove_dir_all(folder).expect("is removed");
        }
    }
    let all = upkeep::restore::RESTORE_STEPS.len()
        + replay::SIGNED_STEPS.len()
        + store::REPLAY_STEPS.len();
    assert!(come_by == all && whole > 0, "{come_by} of {all} steps, {whole} opened at once");
}

#[cfg(kluis_lab)]
#[test]
fn a_restore_killed_before_it_looked_at_a_damaged_pack_looks_at_it_again() {
    let world = World::found();
    put(&world, 0);
    back_up(&world);
    let pack = files(&dest(&world).join("packs")).into_iter().min().expect("a pack");
    let mut bytes = std::fs::read(&pack).expect("is read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, &bytes).expect("writes");
    let words = world.root.path().join("words");
    std::fs::write(&words, "correct horse battery staple\n").expect("writes");
    let (dest, place) = (dest(&world), world.root.path().join("again/state"));
    let key = world.root.path().join("keys/carla.key");
    let [restore, key_file, passphrase] =
        ["restore", "--key-file", "--passphrase-file"].map(OsStr::new);
    let arguments = [
        restore,
        dest.as_os_str(),
        place.as_os_str(),
        key_file,
        key.as_os_str(),
        passphrase,
        words.as_os_str(),
    ];
    assert!(is_killed(&output(&arguments, &[("KLUIS_LAB_KILL", "restore:pack-named:1")])));
    for _ in 0..2 {
        let (code, said) = kluis(&arguments);
        let text = said["error"].as_str().expect("text");
        assert!(code == 1 && text.contains(pack.to_str().expect("text")), "{said}");
        assert!(!place.exists());
    }
    // What was damaged is mended, and the restore goes on where it was.
    bytes[middle] ^= 1;
    std::fs::write(&pack, &bytes).expect("writes");
    assert_eq!(kluis(&arguments).0, 0);
}

#[test]
fn a_server_makes_a_backup_for_its_own_user_and_for_nobody_else() {
    use kluis::casebook::backup::Said;
    use kluis::casebook::protocol::{self, Request};
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;

    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let socket = server.addresses.socket.clone();
    let ask = |socket: &Path, dest: &Path| -> Said {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("connects");
        let dest = dest.as_os_str().as_bytes().to_vec();
        protocol::write(&mut stream, &Request::Backup { dest, dry: true }).expect("asks");
        loop {
            match protocol::read(&mut stream).expect("answers") {
                Said::Progress { .. } => {}
                other => return other,
            }
        }
    };
    let dest = dest(&world);
    assert!(matches!(ask(&socket, &dest), Said::Done { .. }));
    assert!(matches!(ask(&socket, Path::new("backup")), Said::Refused { later: false, .. }));
    // What is wrong with the folder is said in the server's words, with the exit code of a failure.
    let (code, said) = kluis(&backup_arguments(&world.state(), &world.state()));
    assert_eq!(code, 1);
    assert!(said["error"].as_str().expect("text").contains("lie in one another"), "{said}");
    if rustix::process::geteuid().is_root() {
        for (path, mode) in [(world.root.path(), 0o711), (&world.state(), 0o711), (&socket, 0o666)]
        {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("is set");
        }
        let nobody = rustix::process::Uid::from_raw(65_534);
        // The kernel says of a connection who the thread was that made it.
        let said = std::thread::spawn(move || {
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("becomes nobody");
            ask(&socket, &dest)
        });
        let said = said.join().expect("asks");
        let Said::Refused { why, later: false } = said else { panic!("{said:?}") };
        assert!(why.contains("only the user"), "{why}");
    } else {
        crate::way::skipped("a backup for another user", "only root can become another user");
    }
    runtime.block_on(server.stop());
}
