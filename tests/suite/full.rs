//! A full disk: letters wait with their senders, everything else goes on, and nothing is lost.
//!
//! On small disks of our own, under the real program: filled by letters until it says 452, then by
//! others until not one byte is free; looking, forgetting, rotating and checking work all the same;
//! and once there is room letters are taken again, by themselves.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::{Act, Filter};
use kluis::ids::{CaseId, ItemId};
use kluis::staff::client::{CaseView, Client, Error};
use kluis::staff::sealing::Sealing;

use crate::disks::{Disk, Kind, fill};
use crate::mail_client::{Answer, Client as Sender, letter};
use crate::oracles::{self, Found, Sent};
use crate::way::skipped;
use crate::world::{KLUIS, MAILBOX, World};

const MIB: u64 = 1 << 20;
/// The disks.
const DISK: u64 = 48 * MIB;
/// Kept back on them.
const KEPT: u64 = 8 * MIB;
/// Letters of about this size, in bytes.
const SIZE: usize = 300_000;
/// Letters that are refused one after the other before the disk counts as full.
const REFUSALS: u32 = 5;
/// Time within which letters are taken again once there is room.
const AGAIN: Duration = Duration::from_secs(10);

struct Desk {
    // In this order: the vault is left before its disk.
    world: World,
    disk: Disk,
    smtp: SocketAddr,
    sent: Sent,
    next: u64,
}

impl Desk {
    fn on(disk: Disk) -> Self {
        let world = World::found_on(disk.path(), KEPT);
        let [smtp, _] = world.fix_ports();
        Self { world, disk, smtp, sent: Sent::default(), next: 0 }
    }

    fn ballast(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn send(&self, raw: &[u8]) -> Answer {
        let mut sender = Sender::greet(self.smtp, false).expect("greets");
        sender.send("lotte@client.example", &[MAILBOX], raw).expect("answers").remove(0)
    }

    /// One more letter; whether it was taken. It is, or the sender is told that there is no room.
    fn letter(&mut self) -> bool {
        let raw = letter(77, self.next, SIZE);
        self.next += 1;
        let answer = self.send(&raw);
        match answer.code {
            250 => self.sent.kept.insert(raw),
            _ => {
                assert!(answer.text.starts_with("452 4.3.1 "), "{}", answer.text);
                self.sent.given_up.insert(raw);
                false
            }
        }
    }

    /// Letters until there is no room for them; how many were taken.
    fn fill_with_letters(&mut self) -> usize {
        let (before, mut refused) = (self.sent.kept.len(), 0);
        while refused < REFUSALS {
            if !self.letter() {
                refused += 1;
            }
        }
        self.sent.kept.len() - before
    }

    /// Tries one letter until it is taken.
    fn resume(&mut self) {
        let start = Instant::now();
        while !self.letter() {
            assert!(start.elapsed() < AGAIN, "letters are not taken again");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.world.log()).expect("is read")
    }

    /// Bytes of the reserve.
    fn reserve(&self) -> u64 {
        kluis::store::room(&self.world.state(), KEPT).reserve
    }

    /// Checks the vault while nothing serves it; gives what it found beside the counts.
    fn check(&self) -> Vec<String> {
        let ran = Command::new(KLUIS).arg("check").arg(self.world.state()).output();
        let ran = ran.expect("starts");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(said.contains(" open, "), "{said}{}", String::from_utf8_lossy(&ran.stderr));
        said.lines().skip(1).map(str::to_owned).collect()
    }

    fn assert_clean(&self) {
        let found = self.check();
        assert!(found.len() == 1 && found[0].ends_with("nothing is wrong"), "{found:?}");
    }

    fn doctor(&self) -> String {
        let ran = Command::new(KLUIS).arg("doctor").arg(self.world.state()).output();
        String::from_utf8_lossy(&ran.expect("starts").stdout).into_owned()
    }

    /// Everything that was answered is there, whole and once, but for what was forgotten.
    fn assert_kept(&self, forgotten: &BTreeSet<CaseId>) {
        let mut anna = self.world.log_in("anna").expect("logs in");
        let mut found = Found::by(&mut anna).expect("opens");
        for case in forgotten {
            let gone = found.cases.remove(case).expect("the case is there");
            assert!(gone.letters.iter().all(Result::is_err), "what was forgotten opens");
            found.opened.remove(case);
            found.received -= 1;
        }
        let there: BTreeSet<_> =
            found.cases.values().flat_map(|case| case.letters.iter().flatten().cloned()).collect();
        let lost: BTreeSet<_> = self.sent.kept.difference(&there).cloned().collect();
        assert_eq!(lost.len(), forgotten.len(), "letters are missing");
        let kept = self.sent.kept.difference(&lost).cloned().collect();
        let sent = Sent { kept, given_up: self.sent.given_up.clone() };
        assert_eq!(oracles::letters(&sent, &found), [""; 0]);
        let log = self.log();
        assert!(!log.contains("panicked") && !log.contains("the store stops"), "{log}");
    }
}

fn attachment(case: &CaseView) -> ItemId {
    let detail = case.letters[0].detail.as_ref().expect("a letter box opens");
    let is_it = |media_type: &str| media_type == "application/octet-stream";
    detail.items.iter().find(|card| is_it(&card.media_type)).expect("has an attachment").id
}

/// Forgets the attachment of a case that still has it; gives the case.
fn forget_one(client: &mut Client, forgotten: &BTreeSet<CaseId>, now: bool) -> CaseId {
    let cases = client.queue(Filter::All).expect("lists");
    let case = cases.iter().find(|case| !forgotten.contains(&case.card.case)).expect("is there");
    let item = attachment(case);
    assert_eq!(client.look(&[item]).expect("looks").len(), 1);
    let mut sealing = Sealing::new(case.card.case, Act::Note, client.sealing().expect("proven"));
    sealing.note(NoteSubject::Reason, "asked for", None, Vec::new());
    let certificates = client.forget(vec![item], sealing.finish(), now).expect("forgets");
    assert_eq!((certificates.len(), certificates[0].rotated.is_some()), (1, now));
    assert!(matches!(client.look(&[item]), Err(Error::Forgotten)));
    case.card.case
}

/// The whole story, on this disk.
fn fills_up_and_goes_on(kind: Kind) {
    let mut desk = Desk::on(Disk::new(kind, DISK, &[]));
    let ballast = desk.ballast("ballast");
    std::fs::write(&ballast, vec![1; 20 * MIB as usize]).expect("there is room");
    let server = desk.world.spawn(&[]);
    assert_eq!(desk.reserve(), KEPT, "{}", desk.log());
    assert!(desk.doctor().contains("kept back so that a full disk can forget"));

    // At the low-water mark, before any write failed.
    let taken = desk.fill_with_letters();
    assert!(taken > 20, "{taken} letters were taken");
    assert_eq!(desk.reserve(), KEPT, "letters do not use the reserve");
    let log = desk.log();
    assert!(
        log.contains("the disk is nearly full") && !log.contains("reserve was let go"),
        "{log}"
    );
    assert!(desk.doctor().contains("letters are answered 452 before that is used up"));

    // Others take the rest: not one byte is free.
    fill(&desk.ballast("more"));
    assert!(!desk.letter());
    let said = desk.doctor();
    assert!(said.contains("letters are answered 452\n") && said.contains("mend: free "), "{said}");
    let mut forgotten = BTreeSet::new();
    let mut anna = desk.world.log_in("anna").expect("logs in");
    for now in [false, true] {
        forgotten.insert(forget_one(&mut anna, &forgotten, now));
        assert!(!desk.letter(), "letters do not use what the reserve gave");
    }
    assert!(desk.log().contains("reserve was let go"));
    assert_eq!(anna.check().expect("checks").1, []);
    drop(anna);

    // It starts there, too, and can be checked, even when what the reserve gave is gone as well.
    server.kill();
    fill(&desk.ballast("still more"));
    let found = desk.check();
    let is_index = |line: &String| line.contains("the index cannot be used");
    let is_well = |line: &String| line.ends_with("nothing is wrong");
    assert!(found.len() == 1 && (is_index(&found[0]) || is_well(&found[0])), "{found:?}");
    let server = desk.world.spawn(&[]);
    assert!(server.smtp.is_some(), "{}", desk.log());
    assert!(!desk.letter());

    // There is room again, and nobody has to say so.
    for name in ["ballast", "more", "still more"] {
        std::fs::remove_file(desk.ballast(name)).expect("is removed");
    }
    desk.resume();
    assert_eq!(desk.reserve(), KEPT, "the reserve is made again");
    let log = desk.log();
    assert!(log.contains("there is room on the disk again"), "{log}");
    assert!((0..5).all(|_| desk.letter()));
    desk.assert_kept(&forgotten);
    server.kill();
    desk.assert_clean();
    println!(
        "{}: {} kept, {} refused",
        kind.name(),
        desk.sent.kept.len(),
        desk.sent.given_up.len()
    );
}

#[test]
fn a_full_tmpfs_answers_452_forgets_checks_and_takes_letters_again() {
    match Kind::Tmpfs.missing() {
        Some(reason) => skipped("full tmpfs", reason),
        None => fills_up_and_goes_on(Kind::Tmpfs),
    }
}

#[test]
fn a_full_ext4_answers_452_forgets_checks_and_takes_letters_again() {
    match Kind::Ext4.missing() {
        Some(reason) => skipped("full ext4", reason),
        None => fills_up_and_goes_on(Kind::Ext4),
    }
}

#[test]
fn a_disk_without_inodes_answers_452_forgets_and_takes_letters_again() {
    if let Some(reason) = Kind::Ext4.missing() {
        return skipped("no inodes", reason);
    }
    let mut desk = Desk::on(Disk::new(Kind::Ext4, DISK, &["-N", "256"]));
    let server = desk.world.spawn(&[]);
    assert!(desk.letter() && desk.letter() && desk.letter());
    let folder = desk.ballast("many");
    std::fs::create_dir(&folder).expect("is made");
    let mut count = 0;
    while std::fs::write(folder.join(count.to_string()), b"").is_ok() {
        count += 1;
    }
    assert!(count > 100 && !desk.letter(), "{count}");
    // A fresh process: it has no pack open to write to.
    server.kill();
    let server = desk.world.spawn(&[]);
    assert!(server.smtp.is_some(), "{}", desk.log());
    assert!(!desk.letter());
    let mut anna = desk.world.log_in("anna").expect("logs in");
    let forgotten = BTreeSet::from([forget_one(&mut anna, &BTreeSet::new(), true)]);
    drop(anna);
    std::fs::remove_dir_all(&folder).expect("is removed");
    desk.resume();
    desk.assert_kept(&forgotten);
    server.kill();
    desk.assert_clean();
}

/// The reserve is there from the first start on, and takes its room.
#[test]
fn the_reserve_is_made_with_the_vault_and_again_at_a_start_that_misses_it() {
    let world = World::found();
    let folder = world.state().join("reserve");
    let size = |path: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).expect("is there").blocks() * 512
    };
    let kept = || {
        let files = std::fs::read_dir(&folder).expect("is there");
        files.map(|entry| size(&entry.expect("one").path())).sum::<u64>()
    };
    assert!(kept() >= crate::world::RESERVE);
    std::fs::remove_dir_all(&folder).expect("removed");
    let server = world.spawn(&[]);
    assert!(kept() >= crate::world::RESERVE);
    server.kill();
}
