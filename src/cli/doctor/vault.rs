//! The vault's settings, and the places that its files lie in.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;

use super::{Check, Finding, problem, warning, well};
use crate::config::{After, Config, Imap};
use crate::store::{self, Room};

/// What the settings say that may be wrong.
pub(super) fn judge_settings(config: &Config) -> Vec<Finding> {
    let mut findings = addresses(config);
    findings.push(
        if config.tls.is_none() && config.listen.smtp.iter().any(|at| !at.ip().is_loopback()) {
            warning(
                Check::Tls,
                "mail is taken from outside without TLS",
                "[tls] in kluis.toml: a certificate and its key",
            )
        } else {
            well(Check::Tls, "no mail is taken from outside without TLS")
        },
    );
    findings.extend(mailboxes(&config.imap));
    findings
}

/// Whether letters stay elsewhere in clear, and who may read what opens the mailboxes.
fn mailboxes(mailboxes: &[Imap]) -> Vec<Finding> {
    let mut kept = Vec::new();
    for mailbox in mailboxes.iter().filter(|mailbox| mailbox.after != After::Delete) {
        kept.push(warning(
            Check::Mailboxes,
            format!(
                "the mail server keeps the letters of {} in clear, whatever is forgotten here",
                mailbox.name
            ),
            "after = \"delete\" in its [[imap]] part of kluis.toml",
        ));
    }
    if kept.is_empty() {
        kept.push(well(Check::Mailboxes, "no letter stays in a mailbox after it is sealed"));
    }
    let mut open = Vec::new();
    for file in mailboxes.iter().flat_map(Imap::secrets) {
        let shown = file.display();
        match std::fs::metadata(file) {
            Err(error) => open.push(problem(
                Check::MailSecrets,
                format!("{shown}: {error}"),
                "put it there, or correct the path in kluis.toml",
            )),
            Ok(found) if found.mode() & 0o077 != 0 => open.push(problem(
                Check::MailSecrets,
                format!("others may read {shown}"),
                format!("chmod 600 {shown}"),
            )),
            Ok(_) => {}
        }
    }
    if open.is_empty() {
        open.push(well(Check::MailSecrets, "what opens a mailbox is its owner's alone"));
    }
    kept.into_iter().chain(open).collect()
}

fn addresses(config: &Config) -> Vec<Finding> {
    let (mut dotless, mut misspelt) = (Vec::new(), Vec::new());
    let domain_of = |address: &str| {
        address.rsplit_once('@').map_or(String::new(), |(_, domain)| domain.to_owned())
    };
    let ours = config.addresses.first().map(|first| domain_of(first)).unwrap_or_default();
    for address in &config.addresses {
        let domain = domain_of(address);
        if !domain.contains('.') {
            dotless.push(warning(
                Check::Domains,
                format!("{address}: mail from outside does not reach a domain without a dot"),
                "addresses in kluis.toml",
            ));
        } else if domain != ours && distance(&domain, &ours) <= NEAR {
            misspelt.push(warning(
                Check::Spelling,
                format!("{address} looks like a misspelling of {ours}"),
                "if people use it: is the domain yours, and does its mail come here? \
                 if not, remove it",
            ));
        }
    }
    if dotless.is_empty() {
        dotless.push(well(Check::Domains, "mail from outside can reach every domain"));
    }
    if misspelt.is_empty() {
        misspelt.push(well(Check::Spelling, "no address looks like a misspelling of the first"));
    }
    dotless.into_iter().chain(misspelt).collect()
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

/// A folder, as the system describes it.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// What is there, or what the system says instead.
    pub(super) found: Result<Described, String>,
}

/// What the system says of a folder.
#[derive(Clone)]
pub(super) struct Described {
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) device: u64,
    /// The number of the kind of file system (`statfs(2)`).
    pub(super) kind: u64,
}

impl Folder {
    pub(super) fn read(path: &Path) -> Self {
        let describe = || -> std::io::Result<Described> {
            let found = std::fs::metadata(path)?;
            // The type has another width on each platform; none of ours needs more than 32 bits.
            let kind = rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff;
            Ok(Described { mode: found.mode(), owner: found.uid(), device: found.dev(), kind })
        };
        Self { path: path.to_owned(), found: describe().map_err(|error| error.to_string()) }
    }

    /// Whether it is its owner's alone, and the owner the one who asks.
    fn judge(&self, asking: u32) -> Vec<Finding> {
        let shown = self.path.display();
        let found = match &self.found {
            Ok(found) => found,
            Err(error) => {
                return vec![problem(
                    Check::Folders,
                    format!("{shown}: {error}"),
                    "put it back from where it lies, or correct the path in kluis.toml",
                )];
            }
        };
        let modes = if found.mode & 0o077 != 0 {
            problem(
                Check::Modes,
                format!("others may look into {shown}"),
                format!("chmod 700 {shown}"),
            )
        } else {
            well(Check::Modes, format!("{shown} is its owner's alone"))
        };
        let owners = if found.owner == asking {
            well(Check::Owners, format!("{shown} belongs to who asks"))
        } else {
            warning(
                Check::Owners,
                format!("{shown} belongs to another user"),
                "run the doctor as the user that serves",
            )
        };
        vec![well(Check::Folders, format!("{shown} is there")), modes, owners]
    }
}

/// File systems on which overwriting leaves the old bytes where they were.
const COPY_ON_WRITE: [(u64, &str); 3] =
    [(0x9123_683e, "btrfs"), (0x2fc1_2fc1, "zfs"), (0x794c_7630, "overlay")];

/// Where the vault's files lie.
#[derive(Clone)]
pub(super) struct Places {
    pub(super) state: Folder,
    pub(super) cabinet_key: Folder,
    /// The user who asks.
    pub(super) asking: u32,
    /// When a file of the ledger was last written, in seconds since 1970.
    pub(super) written: Option<i64>,
    pub(super) room: Room,
    /// Bytes that are to be kept back.
    pub(super) reserve: u64,
}

impl Places {
    pub(super) fn read(dir: &Path, config: &Config) -> Self {
        let files = std::fs::read_dir(dir.join("ledger")).into_iter().flatten().flatten();
        let written = files.filter_map(|entry| entry.metadata().ok()).map(|found| found.mtime());
        Self {
            state: Folder::read(dir),
            cabinet_key: Folder::read(&config.cabinet_key),
            asking: rustix::process::geteuid().as_raw(),
            written: written.max(),
            room: store::room(dir, config.limits.reserve_bytes),
            reserve: config.limits.reserve_bytes,
        }
    }

    /// What there is to say of them; `now` in seconds since 1970.
    pub(super) fn judge(&self, now: u64) -> Vec<Finding> {
        let mut findings = self.state.judge(self.asking);
        findings.extend(self.cabinet_key.judge(self.asking));
        if let Ok(found) = &self.cabinet_key.found {
            findings.push(overwriting(found.kind));
        }
        findings.extend(self.devices());
        findings.push(ledger_time(self.written, now));
        findings.extend(room(&self.room, self.reserve, &self.state.path));
        findings
    }

    fn devices(&self) -> Option<Finding> {
        let (state, key) = (self.state.found.as_ref().ok()?, self.cabinet_key.found.as_ref().ok()?);
        Some(if state.device == key.device {
            warning(
                Check::Devices,
                format!(
                    "{} is on the same device as the vault: one copy of it holds both",
                    self.cabinet_key.path.display()
                ),
                "cabinet_key in kluis.toml: a folder on another device, in no backup and no snapshot",
            )
        } else {
            well(Check::Devices, "the cabinet's key is on another device than the vault")
        })
    }
}

fn overwriting(kind: u64) -> Finding {
    match COPY_ON_WRITE.iter().find(|(number, _)| *number == kind) {
        Some((_, name)) => problem(
            Check::Overwriting,
            format!("the cabinet's key lies on {name}, where what is overwritten stays readable"),
            "cabinet_key in kluis.toml: a folder on ext4 or xfs",
        ),
        None => well(Check::Overwriting, "the cabinet's key lies where overwriting overwrites"),
    }
}

/// Whether something in the vault is newer than the clock.
fn ledger_time(written: Option<i64>, now: u64) -> Finding {
    if written.is_some_and(|written| written > now as i64 + 60) {
        problem(
            Check::LedgerTime,
            "the ledger was written later than the clock says it is now",
            "set the clock: timedatectl set-ntp true",
        )
    } else {
        well(Check::LedgerTime, "the ledger is no newer than the clock")
    }
}

/// Whether letters have room, and what is kept back for the day when they have none.
fn room(room: &Room, reserve: u64, dir: &Path) -> [Finding; 2] {
    let bytes = |number| HumanBytes(number).to_string();
    let free = bytes(room.free);
    let kept = bytes(room.reserve);
    let is_whole = room.reserve >= reserve;
    [
        if room.wanting > 0 {
            problem(
                Check::Room,
                format!("the disk is nearly full ({free} free): letters are answered 452"),
                format!(
                    "free {} on the disk of {}; letters are then taken again by themselves",
                    bytes(room.wanting),
                    dir.display()
                ),
            )
        } else if room.free < reserve {
            warning(
                Check::Room,
                format!("only {free} free: letters are answered 452 before that is used up"),
                format!("make room on the disk of {}", dir.display()),
            )
        } else {
            well(Check::Room, format!("{free} free for letters"))
        },
        if is_whole {
            well(Check::Reserve, format!("{kept} kept back so that a full disk can forget"))
        } else {
            warning(
                Check::Reserve,
                format!("{kept} of {} are kept back for a full disk", bytes(reserve)),
                "`kluis serve` makes the rest, at its start and every minute while there is room",
            )
        },
    ]
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
}
