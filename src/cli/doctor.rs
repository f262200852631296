//! What is missing or unsafe on this machine and in this vault, each with what mends it.
//!
//! Nothing is changed, and nothing is opened: the doctor needs no key and may run while the vault
//! is served.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use rustix::process::{Resource, getrlimit};
use serde_json::json;

use super::session;
use super::{Error, Report, STATE_DIR, keys, print};
use crate::config::{Config, FILE, Outgoing};
use crate::keys::roster::Roster;
use crate::ledger::Fact;
use crate::reply::openpgp;
use crate::secret::{self, Reach};
use crate::staff::home::Home;
use crate::store;

/// Say what is missing or unsafe here, and what mends it
///
/// Looks at the machine, and at the vault if there is one. Exit code 1 if something must be mended;
/// a warning alone leaves it at 0.
#[derive(Args)]
#[command(after_help = "Example:\n  sudo -u kluis kluis doctor /var/lib/kluis")]
pub(super) struct Doctor {
    /// The state directory; else /var/lib/kluis if it is there
    dir: Option<PathBuf>,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Well,
    Warning,
    Problem,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Well => "well",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One thing looked at.
struct Finding {
    level: Level,
    what: String,
    mend: String,
}

fn well(what: impl Into<String>) -> Finding {
    Finding { level: Level::Well, what: what.into(), mend: String::new() }
}

fn warning(what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { level: Level::Warning, what: what.into(), mend: mend.into() }
}

fn problem(what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { level: Level::Problem, what: what.into(), mend: mend.into() }
}

impl Doctor {
    /// Runs it.
    ///
    /// # Errors
    /// Only where this program itself cannot be found.
    pub(super) fn run(self) -> Result<Report, Error> {
        let mut findings = vec![swap(), hibernation(), core_dumps(), secrets(), clock()];
        findings.push(landlock()?);
        findings.push(ocb());
        let usual = PathBuf::from(STATE_DIR);
        let dir = self.dir.or_else(|| usual.join(FILE).exists().then_some(usual));
        match &dir {
            Some(dir) => vault(dir, &mut findings),
            None => findings
                .push(warning("no vault was looked at", "name its folder: kluis doctor DIR")),
        }
        Ok(report(&findings))
    }
}

fn report(findings: &[Finding]) -> Report {
    let mut text = String::new();
    for Finding { level, what, mend } in findings {
        text.push_str(&format!("{:<8} {}\n", level.word(), print::terminal_safe(what)));
        if !mend.is_empty() {
            text.push_str(&format!("{:<8} mend: {}\n", "", print::terminal_safe(mend)));
        }
    }
    let of = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (of(Level::Problem), of(Level::Warning));
    text.push_str(&format!(
        "{}, {}\n",
        print::count(problems as u64, "problem", "problems"),
        print::count(warnings as u64, "warning", "warnings")
    ));
    let listed: Vec<_> = findings
        .iter()
        .map(|f| json!({ "level": f.level.word(), "what": f.what, "mend": f.mend }))
        .collect();
    let json = json!({ "findings": listed, "problems": problems, "warnings": warnings });
    Report { problems: problems > 0, ..Report::new(text, json) }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Places that memory is swapped to, by the text of /proc/swaps; compressed memory is none.
fn swaps(text: &str) -> Vec<&str> {
    let rows = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    rows.filter(|place| !place.starts_with("/dev/zram")).collect()
}

fn swap() -> Finding {
    let text = read("/proc/swaps");
    match swaps(&text).as_slice() {
        [] => well("no swap"),
        places => warning(
            format!(
                "memory is swapped to {}: what is not locked may come to rest there",
                places.join(", ")
            ),
            "swapoff -a, or swap to a device that is encrypted with a fresh key at each start",
        ),
    }
}

fn hibernation() -> Finding {
    let can = read("/sys/power/state").split_whitespace().any(|word| word == "disk");
    if can && !swaps(&read("/proc/swaps")).is_empty() {
        return warning(
            "the machine can hibernate: its whole memory would come to rest",
            "systemctl mask hibernate.target hybrid-sleep.target",
        );
    }
    well("no hibernation")
}

fn core_dumps() -> Finding {
    let pattern = read("/proc/sys/kernel/core_pattern");
    let pattern = pattern.trim();
    if pattern.starts_with('|') {
        return warning(
            "crashed programs hand their memory to a collector; kluis forbids it for itself only",
            "sysctl -w kernel.core_pattern=core",
        );
    }
    well(format!(
        "core dumps go to no collector (core_pattern is {pattern}), and kluis leaves none"
    ))
}

/// Locked memory that the server and the agent need: room for thirty thousand keys at once.
const LOCKED: u64 = 1 << 20;

/// How far secrets are out of reach on this machine, and how many of them.
fn secrets() -> Finding {
    let reach = secret::reach();
    let limit = getrlimit(Resource::Memlock).current;
    let room = limit.map_or("any amount".to_owned(), |limit| format!("{} KiB", limit >> 10));
    let means = match reach {
        Reach::Secret => "not even root can read them",
        Reach::Locked => {
            "never swapped out and in no core dump, but root can read them: a kernel of 6.5 or \
             newer, or secretmem.enable=1 at its start, would keep them from root, too"
        }
        Reach::Unlocked => "they may be swapped out, and root can read them",
    };
    let what = format!("secrets lie in {} memory: {means}; {room} can be locked", reach.word());
    if reach == Reach::Unlocked || limit.is_some_and(|limit| limit < LOCKED) {
        warning(what, "LimitMEMLOCK=64M in the service, or ulimit -l")
    } else {
        well(what)
    }
}

/// The first day that this version can run on: 2026-01-01, in seconds since 1970.
const EARLIEST: u64 = 1_767_225_600;
/// A clock beyond this is wrong: 2100-01-01.
const LATEST: u64 = 4_102_444_800;

fn clock() -> Finding {
    let now = session::now();
    if (EARLIEST..LATEST).contains(&now) {
        well(format!("the clock says {}", print::moment(now / 60)))
    } else {
        problem(
            format!("the clock says {}: due dates would be wrong", print::moment(now / 60)),
            "set it, and keep it right: timedatectl set-ntp true",
        )
    }
}

fn landlock() -> Result<Finding, Error> {
    let sandbox = session::parser()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("starting a confined child", &error))?;
    Ok(match runtime.block_on(sandbox.landlock()) {
        Ok(0) => warning(
            "letters are parsed under seccomp and resource limits alone: the kernel has no Landlock",
            "a kernel of 5.13 or newer, with landlock among the security modules (lsm=)",
        ),
        Ok(version) => well(format!("letters are parsed under seccomp and Landlock {version}")),
        Err(error) => problem(
            format!("letters cannot be parsed: {error}"),
            "seccomp must be allowed here; some container settings forbid it",
        ),
    })
}

fn ocb() -> Finding {
    if openpgp::has_ocb() {
        well("OpenPGP with authenticated encryption (OCB)")
    } else {
        warning(
            "OpenPGP without OCB: people are not invited to the newer form of encryption",
            "an OpenSSL that has OCB (3.0 or newer, as Debian builds it)",
        )
    }
}

fn vault(dir: &Path, findings: &mut Vec<Finding>) {
    let config = match Config::load(&dir.join(FILE)) {
        Ok(config) => config,
        Err(error) => {
            findings.push(problem(error.to_string(), error.hint));
            return;
        }
    };
    findings.push(well(format!("{} is well formed", dir.join(FILE).display())));
    addresses(&config, findings);
    privacy(dir, findings);
    privacy(&config.cabinet_key, findings);
    cabinet_key(dir, &config.cabinet_key, findings);
    clock_went_back(dir, findings);
    room(dir, config.limits.reserve_bytes, findings);
    findings.push(outsiders(dir, &config));
    if !config.checkpoints.to.is_empty() && matches!(config.outgoing, Outgoing::Folder(_)) {
        findings.push(warning(
            "checkpoints for outsiders go into a folder, from which nothing leaves by itself",
            "[outgoing.smtp] in kluis.toml, or something that carries them out",
        ));
    }
    match keys::roster(dir) {
        Ok(roster) => people(&roster, dir, findings),
        Err(error) => findings.push(problem(error.text, error.hint)),
    }
}

/// Whether a folder is its owner's alone, and the owner the one who asks.
fn privacy(folder: &Path, findings: &mut Vec<Finding>) {
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Err(error) => findings.push(problem(
            format!("{shown}: {error}"),
            "put it back from where it lies, or correct the path in kluis.toml",
        )),
        Ok(found) if found.mode() & 0o077 != 0 => findings
            .push(problem(format!("others may look into {shown}"), format!("chmod 700 {shown}"))),
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => findings.push(warning(
            format!("{shown} belongs to another user"),
            "run the doctor as the user that serves",
        )),
        Ok(_) => findings.push(well(format!("{shown} is its owner's alone"))),
    }
}

/// File systems on which overwriting leaves the old bytes where they were.
const COPY_ON_WRITE: [(u64, &str); 3] =
    [(0x9123_683e, "btrfs"), (0x2fc1_2fc1, "zfs"), (0x794c_7630, "overlay")];

fn cabinet_key(dir: &Path, folder: &Path, findings: &mut Vec<Finding>) {
    let shown = folder.display();
    if let Ok(found) = rustix::fs::statfs(folder) {
        // The type has another width on each platform; none of ours needs more than 32 bits.
        let kind = found.f_type as u64 & 0xffff_ffff;
        match COPY_ON_WRITE.iter().find(|(number, _)| *number == kind) {
            Some((_, name)) => findings.push(problem(
                format!(
                    "the cabinet's key lies on {name}, where what is overwritten stays readable"
                ),
                "cabinet_key in kluis.toml: a folder on ext4 or xfs",
            )),
            None => findings.push(well("the cabinet's key lies where overwriting overwrites")),
        }
    }
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    if device(dir).is_some() && device(dir) == device(folder) {
        findings.push(warning(
            format!("{shown} is on the same device as the vault: one copy of it holds both"),
            "cabinet_key in kluis.toml: a folder on another device, in no backup and no snapshot",
        ));
    }
}

/// Whether letters have room, and what is kept back for the day when they have none.
fn room(dir: &Path, reserve: u64, findings: &mut Vec<Finding>) {
    let room = store::room(dir, reserve);
    let bytes = |number| HumanBytes(number).to_string();
    let free = bytes(room.free);
    findings.push(if room.wanting > 0 {
        problem(
            format!("the disk is nearly full ({free} free): letters are answered 452"),
            format!(
                "free {} on the disk of {}; letters are then taken again by themselves",
                bytes(room.wanting),
                dir.display()
            ),
        )
    } else if room.free < reserve {
        warning(
            format!("only {free} free: letters are answered 452 before that is used up"),
            format!("make room on the disk of {}", dir.display()),
        )
    } else if room.reserve < reserve {
        warning(
            format!("{} of {} are kept back for a full disk", bytes(room.reserve), bytes(reserve)),
            "`kluis serve` makes the rest, at its start and every minute while there is room",
        )
    } else {
        let kept = bytes(room.reserve);
        well(format!("{free} free, and {kept} kept back so that a full disk can forget"))
    });
}

/// Minutes without a checkpoint mail after which something is wrong: one is due every day.
const STALE: u64 = 2 * 24 * 60;

/// Whether somebody outside keeps checkpoints, and has a fresh one.
fn outsiders(dir: &Path, config: &Config) -> Finding {
    let now = session::now() / 60;
    if config.checkpoints.to.is_empty() {
        return warning(
            "nobody outside is mailed checkpoints: a ledger that was replaced as a whole, or set \
             back, is noticed by members' machines alone",
            "[checkpoints] in kluis.toml: the data protection officer, a mailbox elsewhere; \
             then SIGHUP",
        );
    }
    match store::newest(dir, Fact::CheckpointSent, now.saturating_sub(STALE)) {
        Ok(Some(sent)) if sent.minute + STALE >= now => well(format!(
            "outsiders were mailed a checkpoint, the last one {}",
            print::moment(sent.minute)
        )),
        Ok(sent) => warning(
            sent.map_or_else(
                || "no checkpoint was mailed to outsiders in the last two days".to_owned(),
                |sent| {
                    let at = print::moment(sent.minute);
                    format!(
                        "the last checkpoint was mailed to outsiders {at}, two days ago or more"
                    )
                },
            ),
            "does the server run, and does its log say why the mail server takes none?",
        ),
        Err(error) => warning(
            format!("when a checkpoint was mailed last is not to be read: {error}"),
            "run the doctor as the user that serves",
        ),
    }
}

/// Whether something in the vault is newer than the clock.
fn clock_went_back(dir: &Path, findings: &mut Vec<Finding>) {
    let newest = std::fs::read_dir(dir.join("ledger"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|found| found.mtime())
        .max();
    let ahead = newest.is_some_and(|newest| newest > session::now() as i64 + 60);
    if ahead {
        findings.push(problem(
            "the ledger was written later than the clock says it is now",
            "set the clock: timedatectl set-ntp true",
        ));
    }
}

fn addresses(config: &Config, findings: &mut Vec<Finding>) {
    let domains: Vec<&str> =
        config.addresses.iter().filter_map(|address| Some(address.rsplit_once('@')?.1)).collect();
    let ours = domains.first().copied().unwrap_or_default();
    for address in &config.addresses {
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        if !domain.contains('.') {
            findings.push(warning(
                format!("{address}: mail from outside does not reach a domain without a dot"),
                "addresses in kluis.toml",
            ));
        } else if domain != ours && distance(domain, ours) <= NEAR {
            findings.push(warning(
                format!("{address} looks like a misspelling of {ours}"),
                "if people use it: is the domain yours, and does its mail come here? \
                 if not, remove it",
            ));
        }
    }
    if config.tls.is_none() && config.listen.smtp.iter().any(|place| !place.ip().is_loopback()) {
        findings.push(warning(
            "mail is taken from outside without TLS",
            "[tls] in kluis.toml: a certificate and its key",
        ));
    }
}

/// Changes of one letter that make two domains look alike.
const NEAR: usize = 2;

/// The edit distance of two short texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

fn people(roster: &Roster, dir: &Path, findings: &mut Vec<Finding>) {
    if roster.is_throwaway() {
        findings.push(problem(
            "the roster holds a key that is published with the sources",
            "make keys of your own with `kluis key new`, and a vault with `kluis init`",
        ));
    }
    let both = roster
        .backups
        .iter()
        .filter(|backup| roster.member(&backup.name).is_some_and(|member| member.may_read()));
    for backup in both {
        findings.push(warning(
            format!("{} holds both halves: a member's key and a backup key", backup.name),
            "give the backup key to somebody who does not read letters",
        ));
    }
    if !roster.members.iter().any(|member| member.may_administer()) {
        findings.push(warning(
            "no member has the admin role: only the nightly rotation renews the cabinet's key",
            "a roster with one (`kluis init --admin NAME`)",
        ));
    }
    let owner = std::fs::metadata(dir).map(|found| found.uid()).ok();
    let holds_key = Home::find().is_ok_and(|home| home.staff_key().exists());
    if holds_key && owner == Some(rustix::process::geteuid().as_raw()) {
        findings.push(warning(
            "the user that serves holds a member's key: whoever takes the server over has both",
            "members are other users, and better on other machines",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_domain_is_near_and_another_is_not() {
        assert_eq!(distance("jobexerpert.be", "jobexpert.be"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn swap_to_disk_is_told_from_compressed_memory() {
        let head = "Filename\tType\tSize\tUsed\tPriority\n";
        assert!(swaps(head).is_empty() && swaps("").is_empty());
        assert!(swaps(&format!("{head}/dev/zram0 partition 1 0 100\n")).is_empty());
        assert_eq!(swaps(&format!("{head}/swapfile file 1 0 -2\n")), ["/swapfile"]);
    }

    #[test]
    fn only_a_problem_makes_the_doctor_fail() {
        assert!(!report(&[well("a"), warning("b", "c")]).problems);
        let report = report(&[problem("a \u{1b}[m", "b")]);
        assert!(report.problems && report.text.contains("mend: b"));
        assert!(!report.text.contains('\u{1b}'));
    }
}
