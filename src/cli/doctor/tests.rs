//! Every check is provoked, from what a machine, a folder, a ledger or a roster may say; and every
//! check is quiet where there is nothing to say. `tests/suite/doctor.rs` does the same to the program.

use std::path::Path;

use super::custody::Newest;
use super::machine::Kernel;
use super::mailboxes::Looked;
use super::vault::{Described, Folder};
use super::*;
use crate::casebook::fetched::Watermark;
use crate::config::{Endpoint, Imap};
use crate::ids::{Digest, StaffId, VaultId};
use crate::inbox::imap::{Fault, Found};
use crate::keys::roster::{BackupKey, Member, Role, Roster};
use crate::keys::staff::StaffKey;
use crate::ledger::{Entry, Fact};
use crate::secret::Reach;
use crate::store::Room;

/// 2 November 2026, ten in the morning in Brussels, in seconds since 1970.
const NOW: u64 = 1_793_610_000;
const DAY: u64 = 24 * 60;
const SWAPS: &str = "Filename\tType\tSize\tUsed\tPriority\n";
const GIB: u64 = 1 << 30;

/// A machine with nothing to say against it, whose files lie in a folder.
fn sound_machine() -> Machine {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in [
        ("proc/swaps", SWAPS),
        ("sys/power/state", "freeze mem disk\n"),
        ("proc/sys/kernel/core_pattern", "core\n"),
    ] {
        let file = root.path().join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("is made");
        std::fs::write(file, text).expect("is written");
    }
    Machine {
        kernel: Kernel::read(root.path()),
        reach: Reach::Secret,
        lockable: Some(64 << 20),
        now: NOW,
        confined: Ok(6),
        has_ocb: true,
        has_models: true,
    }
}

fn machine(change: impl FnOnce(&mut Machine)) -> Vec<Finding> {
    let mut machine = sound_machine();
    change(&mut machine);
    machine.judge()
}

fn swapping(to: &str) -> Option<String> {
    Some(format!("{SWAPS}{to}\tpartition\t1048572\t0\t-2\n"))
}

fn settings(change: impl FnOnce(&mut Config)) -> Vec<Finding> {
    let mut config =
        Config::default_for(Path::new("/srv/vault"), &["a@jobexpert.be"]).expect("fits");
    change(&mut config);
    vault::judge_settings(&config)
}

/// A mailbox with a password that is not there.
fn mailbox(more: &str) -> Imap {
    let text = format!(
        "name = \"office\"\nhost = \"imap.jobexpert.be\"\nusername = \"office\"\n\
         password_file = \"/srv/vault/absent\"\n{more}"
    );
    toml::from_str(&text).expect("parses")
}

/// A mailbox that opens, and whose server can do everything.
fn looked(change: impl FnOnce(&mut Looked)) -> Vec<Finding> {
    let mut office = Looked {
        name: "office".into(),
        in_clear: false,
        removes: true,
        found: Some(Ok(Found { mails: 1, removes_alone: true })),
        mark: Some(Watermark { validity: 7, last: 9, letters: 8, aside: 0 }),
    };
    change(&mut office);
    mailboxes::judge(&[office])
}

#[test]
fn how_far_a_mailbox_was_fetched_is_said() {
    let said = |change: fn(&mut Looked)| -> Vec<String> {
        let findings = looked(change);
        assert!(findings.iter().all(|finding| finding.level == Level::Well));
        findings.into_iter().map(|finding| finding.what).collect()
    };
    assert_eq!(
        said(|_| ()),
        [
            "office: opens by TLS; 1 mail in it",
            "office: fetched up to UID 9 of UIDVALIDITY 7, 8 letters"
        ]
    );
    let other = said(|office| {
        (office.in_clear, office.mark, office.removes) = (true, None, false);
        office.found = Some(Ok(Found { mails: 0, removes_alone: false }));
    });
    assert_eq!(
        other,
        [
            "office: opens without TLS, on this machine; 0 mails in it",
            "office: nothing of it was fetched yet"
        ]
    );
    assert_eq!(said(|office| office.found = None).len(), 2);
    // What opens it cannot be read: `mail-secrets` says so.
    assert_eq!(said(|office| office.found = Some(Err(Fault::File))).len(), 1);
}

fn folder(path: &str, device: u64) -> Folder {
    let found = Described { mode: 0o040_700, owner: 998, device, kind: 0xef53 };
    Folder { path: path.into(), found: Ok(found) }
}

fn places(change: impl FnOnce(&mut Places)) -> Vec<Finding> {
    let mut places = Places {
        state: folder("/srv/vault", 1),
        cabinet_key: folder("/srv/key", 2),
        asking: 998,
        written: Some(NOW as i64 + 60),
        room: Room { free: 8 * GIB, reserve: GIB, wanting: 0 },
        reserve: GIB,
    };
    change(&mut places);
    places.judge(NOW)
}

/// Changes what the system says of the cabinet key's folder.
fn key_folder(change: impl FnOnce(&mut Described)) -> Vec<Finding> {
    places(|places| change(places.cabinet_key.found.as_mut().expect("is there")))
}

/// The digest of the recovery key in force.
const RECOVERY: Digest = Digest::new([7; 32]);

fn entry(kind: Fact, minutes_ago: u64) -> Option<Entry> {
    Some(Entry { hash: Some(RECOVERY), ..Entry::new(kind, NOW / 60 - minutes_ago) })
}

/// A restore so many minutes ago, entered behind the newest roster.
fn after(newest: &Newest, minutes_ago: u64) -> Option<Entry> {
    let signed = newest.signed.as_ref()?.seq;
    Some(Entry { seq: signed + 7, ..entry(Fact::Restored, minutes_ago)? })
}

fn past(change: impl FnOnce(&mut Past, &mut Newest)) -> Vec<Finding> {
    let mut past = Past { has_outsiders: true, into_folder: false, newest: Err(String::new()) };
    let mut newest = Newest {
        checkpoint: entry(Fact::CheckpointSent, 2 * DAY),
        backup: entry(Fact::BackupMade, 2 * DAY),
        drill: entry(Fact::RecoveryDrilled, 365 * DAY),
        restored: None,
        signed: entry(Fact::RosterSigned, 400 * DAY),
    };
    change(&mut past, &mut newest);
    past.newest = Ok(newest);
    past.judge(Some(RECOVERY), NOW / 60)
}

fn custody(change: impl FnOnce(&mut Custody)) -> Vec<Finding> {
    let key = || StaffKey::generate().recipient().clone();
    let member = |id, name: &str, role| Member {
        id: StaffId(id),
        name: name.into(),
        roles: [role].into(),
        recipient: key(),
    };
    let roster = Roster {
        version: 3,
        vault: VaultId::random(),
        members: vec![
            member(1, "anna", Role::Backoffice),
            member(2, "bert", Role::Dpo),
            member(3, "adam", Role::Admin),
        ],
        recovery: key(),
        // The admin reads no letter.
        backups: ["adam", "dirk"]
            .map(|name| BackupKey { name: name.into(), recipient: key() })
            .into(),
    };
    let mut custody = Custody { roster, server_holds_key: false };
    change(&mut custody);
    custody.judge()
}

/// A folder with settings in it and nothing else, or with settings that are wrong.
fn bare(settings: &str) -> Vec<Finding> {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("vault");
    std::fs::create_dir(&dir).expect("is made");
    let text = Config::text_for(&dir, &["a@jobexpert.be"]);
    std::fs::write(dir.join(FILE), format!("{settings}{text}")).expect("is written");
    let place = folder.path().display().to_string();
    let mut found = look_at(Some(&dir), NOW);
    found.iter_mut().for_each(|finding| finding.what = finding.what.replace(&place, "/srv"));
    found
}

/// What is found, and what must be said of it: check, level, what and what mends it.
type Provoked = (Vec<Finding>, Check, Level, &'static str, &'static str);

fn of_the_machine() -> Vec<Provoked> {
    use Level::{Problem, Warning};
    let disk = "swapoff -a, or swap to a device that is encrypted with a fresh key at each start";
    let hidden = "run the doctor outside of the service (its unit may say ProcSubset=pid)";
    let lock = "LimitMEMLOCK=64M in the service, or ulimit -l";
    let set = "set it, and keep it right: timedatectl set-ntp true";
    vec![
        (
            machine(|m| m.kernel.swaps = swapping("/dev/vda2")),
            Check::Swap,
            Warning,
            "memory is swapped to /dev/vda2: what is not locked may come to rest there",
            disk,
        ),
        (
            machine(|m| m.kernel = Kernel::read(Path::new("/absent"))),
            Check::Swap,
            Warning,
            "whether memory is swapped cannot be seen: there is no /proc/swaps",
            hidden,
        ),
        (
            machine(|m| m.kernel.swaps = swapping("/swapfile")),
            Check::Hibernation,
            Warning,
            "the machine can hibernate: its whole memory would come to rest",
            "systemctl mask hibernate.target hybrid-sleep.target",
        ),
        (
            machine(|m| m.kernel.core_pattern = Some("|/usr/lib/collector %P %u\n".into())),
            Check::CoreDumps,
            Warning,
            "crashed programs hand their memory to a collector; kluis forbids it for itself only",
            "sysctl -w kernel.core_pattern=core",
        ),
        (
            machine(|m| m.kernel = Kernel::read(Path::new("/absent"))),
            Check::CoreDumps,
            Warning,
            "where core dumps go cannot be seen: there is no /proc/sys/kernel/core_pattern",
            hidden,
        ),
        (
            machine(|m| m.reach = Reach::Unlocked),
            Check::LockedMemory,
            Warning,
            "secrets lie in unlocked memory: they may be swapped out, and root can read them; \
             65536 KiB can be locked",
            lock,
        ),
        (
            machine(|m| m.lockable = Some((1 << 20) - 1)),
            Check::LockedMemory,
            Warning,
            "secrets lie in memfd_secret memory: not even root can read them; 1023 KiB can be \
             locked",
            lock,
        ),
        (
            machine(|m| m.now = 1_767_225_599),
            Check::Clock,
            Problem,
            "the clock says 2026-01-01 00:59: due dates would be wrong",
            set,
        ),
        (
            machine(|m| m.now = 4_102_444_800),
            Check::Clock,
            Problem,
            "the clock says 2100-01-01 01:00: due dates would be wrong",
            set,
        ),
        (
            machine(|m| m.confined = Err("no confined child could be started".into())),
            Check::Parser,
            Problem,
            "letters cannot be parsed: no confined child could be started",
            "seccomp must be allowed here; some container settings forbid it",
        ),
        (
            machine(|m| m.confined = Ok(0)),
            Check::Landlock,
            Warning,
            "letters are parsed under seccomp and resource limits alone: the kernel has no Landlock",
            "a kernel of 5.13 or newer, with landlock among the security modules (lsm=)",
        ),
        (
            machine(|m| m.has_ocb = false),
            Check::Ocb,
            Warning,
            "OpenPGP without OCB: people are not invited to the newer form of encryption",
            "an OpenSSL that has OCB (3.0 or newer, as Debian builds it)",
        ),
        (
            machine(|m| m.has_models = false),
            Check::Models,
            Warning,
            "copies of identity documents are not read: the models are not there",
            "kluis doctor --fetch-models, and start the server again",
        ),
    ]
}

fn of_the_vault() -> Vec<Provoked> {
    use Level::{Problem, Warning};
    let place = "cabinet_key in kluis.toml: a folder on ext4 or xfs";
    let copied = |kind| key_folder(|found| found.kind = kind);
    vec![
        (
            look_at(None, NOW),
            Check::Vault,
            Warning,
            "no vault was looked at",
            "name its folder: kluis doctor DIR",
        ),
        (
            settings(|config| config.addresses.push("b@jobexpert".into())),
            Check::Domains,
            Warning,
            "b@jobexpert: mail from outside does not reach a domain without a dot",
            "addresses in kluis.toml",
        ),
        (
            settings(|config| config.addresses.push("a@jobexerpert.be".into())),
            Check::Spelling,
            Warning,
            "a@jobexerpert.be looks like a misspelling of jobexpert.be",
            "if people use it: is the domain yours, and does its mail come here? if not, remove it",
        ),
        (
            settings(|config| config.listen.smtp = vec!["0.0.0.0:25".parse().expect("an address")]),
            Check::Tls,
            Warning,
            "mail is taken from outside without TLS",
            "[tls] in kluis.toml: a certificate and its key",
        ),
        (
            settings(|config| {
                config.imap = vec![mailbox("move_to = \"Done\"\nafter = \"move\"\n")]
            }),
            Check::Mailboxes,
            Warning,
            "the mail server keeps the letters of office in clear, whatever is forgotten here",
            "after = \"delete\" in its [[imap]] part of kluis.toml",
        ),
        (
            looked(|office| office.found = Some(Err(Fault::Tls))),
            Check::Mailboxes,
            Problem,
            "office: no TLS, or a certificate that does not hold",
            "host, port and tls in its [[imap]] part; a certificate of its own goes in ca",
        ),
        (
            looked(|office| {
                office.found = Some(Ok(Found { mails: 1, removes_alone: false }));
            }),
            Check::Mailboxes,
            Warning,
            "office: its server has no UIDPLUS: while others mark mails as deleted there, no sealed \
             letter is removed, and all stay in clear",
            "keep everybody else out of that mailbox",
        ),
        (
            looked(|office| office.mark.as_mut().expect("is there").aside = 2),
            Check::Mailboxes,
            Warning,
            "office: 2 mails could not be fetched, or not whole, and lie there",
            "look at them there: `kluis import` takes them",
        ),
        (
            settings(|config| config.imap = vec![mailbox("after = \"delete\"\n")]),
            Check::MailSecrets,
            Problem,
            "/srv/vault/absent: No such file or directory (os error 2)",
            "put it there, or correct the path in kluis.toml",
        ),
        (
            places(|places| places.cabinet_key.found = Err("No such file or directory".into())),
            Check::Folders,
            Problem,
            "/srv/key: No such file or directory",
            "put it back from where it lies, or correct the path in kluis.toml",
        ),
        (
            key_folder(|found| found.mode = 0o040_710),
            Check::Modes,
            Problem,
            "others may look into /srv/key",
            "chmod 700 /srv/key",
        ),
        (
            key_folder(|found| found.owner = 0),
            Check::Owners,
            Warning,
            "/srv/key belongs to another user",
            "run the doctor as the user that serves",
        ),
        // As the kernel numbers them: include/uapi/linux/magic.h, and OpenZFS.
        (
            copied(0x9123_683e),
            Check::Overwriting,
            Problem,
            "the cabinet's key lies on btrfs, where what is overwritten stays readable",
            place,
        ),
        (
            copied(0x2fc1_2fc1),
            Check::Overwriting,
            Problem,
            "the cabinet's key lies on zfs, where what is overwritten stays readable",
            place,
        ),
        (
            copied(0x794c_7630),
            Check::Overwriting,
            Problem,
            "the cabinet's key lies on overlay, where what is overwritten stays readable",
            place,
        ),
        (
            key_folder(|found| found.device = 1),
            Check::Devices,
            Warning,
            "/srv/key is on the same device as the vault: one copy of it holds both",
            "cabinet_key in kluis.toml: a folder on another device, in no backup and no snapshot",
        ),
        (
            places(|places| places.written = Some(NOW as i64 + 61)),
            Check::LedgerTime,
            Problem,
            "the ledger was written later than the clock says it is now",
            "set the clock: timedatectl set-ntp true",
        ),
        (
            places(|places| places.room = Room { free: 1000, reserve: GIB, wanting: GIB / 4 }),
            Check::Room,
            Problem,
            "the disk is nearly full (1000 B free): letters are answered 452",
            "free 256.00 MiB on the disk of /srv/vault; letters are then taken again by themselves",
        ),
        (
            places(|places| places.room.free = GIB - 1),
            Check::Room,
            Warning,
            "only 1024.00 MiB free: letters are answered 452 before that is used up",
            "make room on the disk of /srv/vault",
        ),
        (
            places(|places| places.room.reserve = GIB / 2),
            Check::Reserve,
            Warning,
            "512.00 MiB of 1.00 GiB are kept back for a full disk",
            "`kluis serve` makes the rest, at its start and every minute while there is room",
        ),
    ]
}

fn of_custody() -> Vec<Provoked> {
    use Level::{Problem, Warning};
    let log = "does the server run, and does its log say why the mail server takes none?";
    let copy = "`kluis backup DEST`, every day from a timer, onto another disk";
    let drill = "`kluis keys drill -` with a member's key and sheets from paper, once a year";
    let published = include_str!("../../../keys/test/recipients.txt");
    let published = published.lines().find_map(|line| line.parse().ok()).expect("a public key");
    vec![
        (
            past(|past, _| past.has_outsiders = false),
            Check::Outsiders,
            Warning,
            "nobody outside is mailed checkpoints: a ledger that was replaced as a whole, or set \
             back, is noticed by members' machines alone",
            "[checkpoints] in kluis.toml: the data protection officer, a mailbox elsewhere; then \
             SIGHUP",
        ),
        (
            past(|past, _| past.into_folder = true),
            Check::WayOut,
            Warning,
            "checkpoints for outsiders go into a folder, from which nothing leaves by itself",
            "[outgoing.smtp] in kluis.toml, or something that carries them out",
        ),
        (
            past(|_, newest| newest.checkpoint = None),
            Check::Checkpoint,
            Warning,
            "no checkpoint was ever mailed to outsiders",
            log,
        ),
        (
            past(|_, newest| newest.checkpoint = entry(Fact::CheckpointSent, 2 * DAY + 1)),
            Check::Checkpoint,
            Warning,
            "the last checkpoint was mailed to outsiders 2026-10-31 09:59, 2 days ago: one is due \
             every day",
            log,
        ),
        (
            past(|_, newest| newest.backup = None),
            Check::Backup,
            Warning,
            "no backup was ever made: what is here is lost with the disk",
            copy,
        ),
        (
            past(|_, newest| newest.backup = entry(Fact::BackupMade, 2 * DAY + 1)),
            Check::Backup,
            Warning,
            "the last backup was made 2026-10-31 09:59, 2 days ago: what came since is lost with \
             the disk",
            copy,
        ),
        (
            past(|_, newest| newest.restored = after(newest, 30 * DAY)),
            Check::Restored,
            Warning,
            "the vault was restored 2026-10-03 11:00, 30 days ago, and its roster is the backup's: who \
             was revoked in between can log in",
            "`kluis keys list`; then `kluis keys revoke`, or sign the roster anew with `kluis keys add`",
        ),
        (
            past(|_, newest| newest.drill = None),
            Check::Drill,
            Warning,
            "whether the sheets rebuild the recovery key was never tried",
            drill,
        ),
        (
            past(|_, newest| newest.drill = entry(Fact::RecoveryDrilled, 365 * DAY + 1)),
            Check::Drill,
            Warning,
            "the recovery key was last tried 2025-11-02 09:59, 365 days ago, more than a year",
            drill,
        ),
        (
            past(|_, newest| {
                newest.drill.as_mut().expect("is there").hash = Some(Digest::new([8; 32]));
            }),
            Check::Drill,
            Warning,
            "the last drill, 2025-11-02 10:00, 365 days ago, was of another recovery key than the \
             one in force",
            drill,
        ),
        (
            custody(|custody| custody.roster.members[0].recipient = published),
            Check::Throwaway,
            Problem,
            "the roster holds a key that is published with the sources",
            "make keys of your own with `kluis key new`, and a vault with `kluis init`",
        ),
        (
            custody(|custody| custody.roster.backups[1].name = "bert".into()),
            Check::OnePerson,
            Warning,
            "bert holds both halves: a member's key and a backup key",
            "give the backup key to somebody who does not read letters",
        ),
        (
            custody(|custody| custody.roster.members.truncate(2)),
            Check::Admin,
            Warning,
            "no member has the admin role: only the nightly rotation renews the cabinet's key",
            "a roster with one (`kluis init --admin NAME`)",
        ),
        (
            custody(|custody| custody.server_holds_key = true),
            Check::OneMachine,
            Warning,
            "the user that serves holds a member's key: whoever takes the server over has both",
            "members are other users, and better on other machines",
        ),
    ]
}

/// What only a folder can provoke in which a vault should be.
fn of_a_bare_folder() -> Vec<Provoked> {
    vec![
        (
            bare("hostnames = \"a\"\n"),
            Check::Settings,
            Level::Problem,
            "/srv/vault/kluis.toml:1: hostnames: unknown field `hostnames`, expected one of \
             `hostname`, `addresses`, `published`, `cabinet_key`, `listen`, `tls`, `limits`, `outgoing`, \
             `checkpoints`, `origin`, `notices`, `scan`, `identity`, `imap`",
            "`kluis config` prints the annotated sample",
        ),
        (
            bare(""),
            Check::Ledger,
            Level::Problem,
            "when the vault was last copied and tried is not to be read: there is no vault in \
             this directory",
            "run the doctor as the user that serves; is the vault in this folder?",
        ),
        (
            bare(""),
            Check::Roster,
            Level::Problem,
            "/srv/vault/roster: No such file or directory (os error 2)",
            "name the folder that `kluis init` made",
        ),
    ]
}

fn all() -> Vec<Provoked> {
    [of_the_machine(), of_the_vault(), of_custody(), of_a_bare_folder()].concat()
}

/// What is found where nothing is amiss.
fn sound() -> Vec<Finding> {
    let compressed = machine(|machine| machine.kernel.swaps = swapping("/dev/zram0"));
    let parts = [
        compressed,
        machine(|machine| machine.reach = Reach::Locked),
        machine(|machine| (machine.lockable, machine.kernel.power) = (None, None)),
        machine(|machine| machine.now = 1_767_225_600),
        machine(|machine| machine.now = 4_102_444_799),
        // The kernel could hibernate, and has nowhere to write to.
        machine(|_| ()),
        settings(|config| config.addresses.push("c@other.example".into())),
        settings(|config| config.listen.lmtp = vec![Endpoint::Unix("/run/lmtp".into())]),
        places(|_| ()),
        places(|places| places.written = None),
        past(|_, _| ()),
        past(|_, newest| newest.drill.as_mut().expect("is there").hash = None),
        past(|_, newest| newest.restored = after(newest, 30 * DAY + 1)),
        past(|_, newest| {
            newest.restored = after(newest, DAY);
            newest.signed.as_mut().expect("is there").seq = 8;
        }),
        custody(|_| ()),
    ];
    parts.concat()
}

#[test]
fn every_check_says_exactly_what_is_amiss_and_what_mends_it() {
    let mut wrong = Vec::new();
    for (found, check, level, what, mend) in all() {
        let amiss = |f: &Finding| f.check == check && f.level != Level::Well;
        let of_it: Vec<_> = found.into_iter().filter(amiss).collect();
        let (what, mend) = (what.to_owned(), mend.to_owned());
        let expected = Finding { check, level, what, mend };
        if of_it != [expected.clone()] {
            wrong.push(format!("{of_it:#?}\ninstead of\n{expected:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn where_nothing_is_amiss_every_check_says_so() {
    for finding in sound() {
        assert_eq!((finding.level, finding.mend.as_str()), (Level::Well, ""), "{finding:?}");
        assert!(!finding.what.is_empty());
    }
    // Settings are well formed, and a vault is looked at, where there is one.
    let found = bare("");
    for check in [Check::Vault, Check::Settings] {
        let of_it: Vec<_> = found.iter().filter(|finding| finding.check == check).collect();
        assert!(matches!(of_it[..], [Finding { level: Level::Well, .. }]), "{of_it:?}");
    }
}

#[test]
fn no_check_is_left_unprovoked_and_none_that_is_never_quiet() {
    let provoked: Vec<_> = all().iter().map(|provoked| provoked.1.name()).collect();
    let quiet: Vec<_> = sound()
        .iter()
        .chain(&bare(""))
        .filter(|f| f.level == Level::Well)
        .map(|f| f.check)
        .collect();
    for check in Check::ALL {
        assert!(provoked.contains(&check.name()), "{} is not provoked", check.name());
        assert!(quiet.contains(check), "{} is never quiet", check.name());
    }
}

/// The names in the table of docs/operating.md.
fn documented() -> Vec<&'static str> {
    let text = include_str!("../../../docs/operating.md");
    let (_, table) = text.split_once("\n| `doctor` checks |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('`').nth(1)).collect()
}

#[test]
fn the_document_lists_every_check() {
    let names: Vec<_> = Check::ALL.iter().map(|check| check.name()).collect();
    assert_eq!(documented(), names);
}

#[test]
fn only_a_problem_makes_the_doctor_fail() {
    assert!(!report(&[well(Check::Swap, "a"), warning(Check::Clock, "b", "c")]).problems);
    let report = report(&[problem(Check::Modes, "a \u{1b}[m", "b")]);
    assert!(report.problems && report.text.contains("mend: b"));
    assert!(!report.text.contains('\u{1b}'));
    assert_eq!(report.json[0]["findings"][0]["check"], "modes");
}
