//! Every check of the doctor is provoked in the program itself, on a machine that says so: files of
//! the kernel are covered by others in a mount namespace of its own, limits are lowered, calls are
//! refused, folders change hands. A vault in which nothing is amiss on a sound machine is well
//! throughout. What each check makes of odd cases is in `src/cli/doctor/tests.rs`.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use landlock::{AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
use rustix::process::{Resource, getrlimit};

use kluis::clock::Clock;
use kluis::keys::roster::{Role, Roster};
use kluis::keys::staff::StaffRecipient;
use kluis::ledger::{Entry, Fact};
use kluis::sandbox::models;
use kluis::store::Batch;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use serde_json::Value;

use crate::disks::has_program;
use crate::imap_server::{ImapServer, Twist};
use crate::outsiders::send_checkpoints_to;
use crate::way::skipped;
use crate::world::{KLUIS, World};

const DAY: u64 = 24 * 60;
/// Level, what and what mends it.
type Said = (String, String, String);

/// A vault in which nothing is amiss, and how the doctor is started for it.
struct Patient {
    world: World,
    /// What is run before, by a shell in the folder of the world.
    before: String,
    /// With mounts that nobody else sees.
    is_apart: bool,
    variables: Vec<(&'static str, String)>,
    /// A system call that is answered with this error.
    refused: Option<(i64, i32)>,
    /// The state directory is named.
    names_vault: bool,
    /// A server of mailboxes that runs as long as this is here.
    mail_server: Option<ImapServer>,
}

impl Patient {
    /// The last checkpoint, backup, drill and restore are so many minutes old.
    fn with(past: [Option<u64>; 4]) -> Self {
        let world = World::found();
        send_checkpoints_to(&world, &["dpo@outside.example"]);
        std::fs::copy(world.state().join("kluis.toml"), world.root.path().join("folder.toml"))
            .expect("is copied");
        world.send_to(2525);
        let gateway = world.open();
        let kinds = [Fact::CheckpointSent, Fact::BackupMade, Fact::RecoveryDrilled, Fact::Restored];
        let now = Clock::System.minutes();
        for (kind, age) in kinds.into_iter().zip(past) {
            if let Some(age) = age {
                let batch = Batch::of(vec![Entry::new(kind, now - age)]);
                gateway.casebook.store().commit(batch).expect("is entered");
            }
        }
        drop(gateway);
        Self {
            world,
            before: String::new(),
            is_apart: false,
            variables: Vec::new(),
            refused: None,
            names_vault: true,
            mail_server: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("is written");
    }

    /// Changes the settings.
    fn set(&self, change: impl FnOnce(String) -> String) {
        let file = self.world.state().join("kluis.toml");
        let text = change(std::fs::read_to_string(&file).expect("is read"));
        std::fs::write(&file, text).expect("is written");
    }

    /// Signs another roster.
    fn sign(&self, change: impl FnOnce(&mut Roster)) {
        let folder = self.world.state().join("roster");
        let note = std::fs::read_to_string(folder.join("1.note")).expect("is read");
        let admin = std::fs::read_to_string(self.world.state().join("admin.pub")).expect("is read");
        let admin: kluis::keys::note::Vkey = admin.trim().parse().expect("a key");
        let mut roster = Roster::parse_signed(&note, &admin.public).expect("is signed");
        roster.version = 2;
        change(&mut roster);
        let note = roster.sign(&self.world.admin()).expect("keeps the rules");
        std::fs::write(folder.join("2.note"), note).expect("is written");
    }

    /// Covers a file of the kernel by another.
    fn cover(&mut self, file: &str, text: &str) {
        let name = file.trim_start_matches('/').replace('/', "-");
        self.write(&name, text);
        self.before.push_str(&format!("mount --bind '{name}' {file}\n"));
        self.is_apart = true;
    }

    /// A /sys in which nothing but this lies.
    fn power_state(&mut self, text: &str) {
        self.before.push_str(&format!(
            "mount -t tmpfs none /sys\nmkdir /sys/power\necho '{text}' > /sys/power/state\n"
        ));
        self.is_apart = true;
    }

    /// A machine of which nothing is to be said.
    fn on_a_sound_machine(&mut self) {
        self.cover("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
        self.cover("/proc/sys/kernel/core_pattern", "core\n");
        self.power_state("freeze mem disk");
        let key = self.world.cabinet_key();
        self.before.push_str(&format!("mount -t tmpfs -o mode=700 none '{}'\n", key.display()));
    }

    fn command(&self) -> Command {
        let script = format!("{}exec \"$0\" \"$@\"", self.before);
        let mut words: Vec<&str> = Vec::new();
        if self.is_apart {
            words.extend(["unshare", "--mount"]);
            words.extend((!rustix::process::geteuid().is_root()).then_some("--map-root-user"));
        }
        if !self.before.is_empty() {
            words.extend(["sh", "-ec", &script]);
        }
        words.extend([KLUIS, "doctor", "--json"]);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(self.names_vault.then(|| self.world.state()))
            .current_dir(self.world.root.path())
            .env("KLUIS_HOME", self.path("home"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        if let Some((call, error)) = self.refused {
            refuse(&mut command, call, error);
        }
        command
    }

    /// What the doctor says, by the name of the check.
    fn ask(&self) -> BTreeMap<String, Vec<Said>> {
        let output = self.command().output().expect("runs");
        let error = String::from_utf8_lossy(&output.stderr);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("not a report: {error}"));
        let mut said: BTreeMap<_, Vec<Said>> = BTreeMap::new();
        for finding in report["findings"].as_array().expect("findings") {
            let word = |name: &str| finding[name].as_str().expect("a text").to_owned();
            said.entry(word("check")).or_default().push((
                word("level"),
                word("what"),
                word("mend"),
            ));
        }
        let problems = said.values().flatten().filter(|said| said.0 == "problem").count();
        let expected = i32::from(problems > 0);
        assert_eq!(output.status.code(), Some(expected), "{said:?} {error}");
        assert_eq!(report["problems"], problems);
        said
    }

    /// What it finds amiss about this check.
    fn amiss(&self, check: &str) -> Vec<Said> {
        let said = self.ask().remove(check).unwrap_or_default();
        said.into_iter().filter(|said| said.0 != "well").collect()
    }
}

/// Has the program started so that the kernel answers this call with this error.
#[allow(unsafe_code, reason = "a filter is laid upon the child before it becomes the program")]
fn refuse(command: &mut Command, call: i64, error: i32) {
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("is known");
    let refused = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new([(call, vec![])].into(), SeccompAction::Allow, refused, arch);
    let program: BpfProgram = filter.expect("is a filter").try_into().expect("is a program");
    let lay = move || apply_filter(&program).map_err(std::io::Error::other);
    // SAFETY: between fork and exec it makes two system calls and takes no memory.
    unsafe { command.pre_exec(lay) };
}

/// Whether a text is as a pattern says, in which each `*` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let (start, rest) =
        pattern.split_once('*').map_or((pattern, None), |(s, rest)| (s, Some(rest)));
    let Some(text) = text.strip_prefix(start) else { return false };
    match rest {
        None => text.is_empty(),
        Some(rest) => {
            let mut tails = text.char_indices().map(|(at, _)| &text[at..]).chain([""]);
            tails.any(|tail| is_like(tail, rest))
        }
    }
}

/// One way to provoke a check, and what it must say then. STATE and KEY are the folders.
struct Provocation {
    check: &'static str,
    level: &'static str,
    what: &'static str,
    mend: &'static str,
    /// How old the last checkpoint, backup, drill and restore are.
    past: [Option<u64>; 4],
    /// Why this machine cannot be made to say so.
    missing: fn() -> Option<&'static str>,
    provoke: fn(&mut Patient),
}

const FRESH: [Option<u64>; 4] = [Some(0), Some(0), Some(0), None];

fn never() -> Option<&'static str> {
    None
}

fn needs_mounts() -> Option<&'static str> {
    let mut apart = Command::new("unshare");
    apart.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        apart.arg("--map-root-user");
    }
    let works = apart.arg("true").stderr(Stdio::null()).status().is_ok_and(|ended| ended.success());
    (!works).then_some("no mount namespace can be had")
}

fn needs_root() -> Option<&'static str> {
    (!rustix::process::geteuid().is_root()).then_some("only root can give folders away")
}

fn needs_compiler() -> Option<&'static str> {
    (!has_program("cc")).then_some("there is no compiler")
}

fn needs_lab() -> Option<&'static str> {
    (!kluis::lab::IS_LAB).then_some("it is no lab build")
}

fn needs_no_vault() -> Option<&'static str> {
    std::path::Path::new("/var/lib/kluis/kluis.toml").exists().then_some("there is a vault here")
}

/// An OpenSSL that has no cipher, between the program and the true one.
fn without_ciphers(patient: &mut Patient) {
    patient.write("none.c", "void *EVP_CIPHER_fetch(void) { return 0; }\n");
    let (source, library) = (patient.path("none.c"), patient.path("none.so"));
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).args([&library, &source]);
    assert!(compile.status().expect("runs").success());
    patient.variables.push(("LD_PRELOAD", library.display().to_string()));
}

fn published() -> StaffRecipient {
    let listed = include_str!("../../keys/test/recipients.txt");
    listed.lines().find_map(|line| line.parse().ok()).expect("a public key")
}

#[rustfmt::skip]
const PROVOCATIONS: &[Provocation] = &[
    Provocation {
        check: "swap",
        level: "warning",
        what: "memory is swapped to /dev/vda2, /swapfile: what is not locked may come to rest there",
        mend: "swapoff -a, or swap to a device that is encrypted with a fresh key at each start",
        past: FRESH,
        missing: needs_mounts,
        provoke: |patient| {
            patient.cover("/proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 9\n/dev/vda2 partition 1 0 -2\n/swapfile file 1 0 -3\n");
        },
    },
    Provocation {
        check: "hibernation",
        level: "warning",
        what: "the machine can hibernate: its whole memory would come to rest",
        mend: "systemctl mask hibernate.target hybrid-sleep.target",
        past: FRESH,
        missing: needs_mounts,
        provoke: |patient| {
            patient.cover("/proc/swaps", "Filename Type Size Used Priority\n/dev/vda2 partition 1 0 -2\n");
            patient.power_state("freeze mem disk");
        },
    },
    Provocation {
        check: "core-dumps",
        level: "warning",
        what: "crashed programs hand their memory to a collector; kluis forbids it for itself only",
        mend: "sysctl -w kernel.core_pattern=core",
        past: FRESH,
        missing: needs_mounts,
        provoke: |patient| patient.cover("/proc/sys/kernel/core_pattern", "|/lib/systemd/systemd-coredump %P\n"),
    },
    Provocation {
        check: "locked-memory",
        level: "warning",
        what: "secrets lie in * memory: *; 256 KiB can be locked",
        mend: "LimitMEMLOCK=64M in the service, or ulimit -l",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.before.push_str("ulimit -l 256\n"),
    },
    Provocation {
        check: "locked-memory",
        level: "warning",
        what: "secrets lie in unlocked memory: they may be swapped out, and root can read them; * can be locked",
        mend: "LimitMEMLOCK=64M in the service, or ulimit -l",
        past: FRESH,
        missing: needs_lab,
        provoke: |patient| patient.variables.push(("KLUIS_LAB_MEMORY", "unlocked".into())),
    },
    Provocation {
        check: "clock",
        level: "problem",
        what: "the clock says 2001-09-09 03:46: due dates would be wrong",
        mend: "set it, and keep it right: timedatectl set-ntp true",
        past: FRESH,
        missing: needs_lab,
        provoke: |patient| patient.variables.push(("KLUIS_LAB_TIME", "1000000000".into())),
    },
    Provocation {
        check: "parser",
        level: "problem",
        what: "letters cannot be parsed: no confined child could be started",
        mend: "seccomp must be allowed here; some container settings forbid it",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.refused = Some((libc::SYS_seccomp, libc::EPERM)),
    },
    Provocation {
        check: "landlock",
        level: "warning",
        what: "letters are parsed under seccomp and resource limits alone: the kernel has no Landlock",
        mend: "a kernel of 5.13 or newer, with landlock among the security modules (lsm=)",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.refused = Some((libc::SYS_landlock_create_ruleset, libc::ENOSYS)),
    },
    Provocation {
        check: "ocb",
        level: "warning",
        what: "OpenPGP without OCB: people are not invited to the newer form of encryption",
        mend: "an OpenSSL that has OCB (3.0 or newer, as Debian builds it)",
        past: FRESH,
        missing: needs_compiler,
        provoke: without_ciphers,
    },
    Provocation {
        check: "models",
        level: "warning",
        what: "copies of identity documents are not read: the models are not there",
        mend: "kluis doctor --fetch-models, and start the server again",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.variables.push(("KLUIS_MODELS", "/nowhere".to_owned())),
    },
    Provocation {
        check: "vault",
        level: "warning",
        what: "no vault was looked at",
        mend: "name its folder: kluis doctor DIR",
        past: FRESH,
        missing: needs_no_vault,
        provoke: |patient| patient.names_vault = false,
    },
    Provocation {
        check: "settings",
        level: "problem",
        what: "STATE/kluis.toml:1: hostnames: unknown field `hostnames`, expected one of *",
        mend: "`kluis config` prints the annotated sample",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.set(|text| format!("hostnames = \"a\"\n{text}")),
    },
    Provocation {
        check: "domains",
        level: "warning",
        what: "backoffice@jobexpert: mail from outside does not reach a domain without a dot",
        mend: "addresses in kluis.toml",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.set(|text| text.replace("[\"backoffice@jobexpert.be\"]", "[\"backoffice@jobexpert\"]")),
    },
    Provocation {
        check: "spelling",
        level: "warning",
        what: "b@jobexerpert.be looks like a misspelling of jobexpert.be",
        mend: "if people use it: is the domain yours, and does its mail come here? if not, remove it",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.set(|text| text.replace("[\"backoffice@jobexpert.be\"]", "[\"backoffice@jobexpert.be\", \"b@jobexerpert.be\"]")),
    },
    Provocation {
        check: "tls",
        level: "warning",
        what: "mail is taken from outside without TLS",
        mend: "[tls] in kluis.toml: a certificate and its key",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.set(|text| text.replacen("smtp = [\"127.0.0.1:0\"]", "smtp = [\"0.0.0.0:0\"]", 1)),
    },
    Provocation {
        check: "mailboxes",
        level: "warning",
        what: "the mail server keeps the letters of office in clear, whatever is forgotten here",
        mend: "after = \"delete\" in its [[imap]] part of kluis.toml",
        past: FRESH,
        missing: never,
        provoke: |patient| {
            let there = ImapServer::start(|_, _| Twist::Usual);
            crate::imap::add_account(&patient.world, "office", there.port, "");
            patient.mail_server = Some(there);
        },
    },
    Provocation {
        check: "mailboxes",
        level: "problem",
        what: "office: the server refused the log-in",
        mend: "username and password_file in its [[imap]] part; are passwords allowed?",
        past: FRESH,
        missing: never,
        provoke: |patient| {
            let there = ImapServer::start(|_, command| match command.starts_with("LOGIN") {
                true => Twist::Say(b"TAG NO\r\n".to_vec()),
                false => Twist::Usual,
            });
            crate::imap::add_account(&patient.world, "office", there.port, "after = \"delete\"\n");
            patient.mail_server = Some(there);
        },
    },
    Provocation {
        check: "mailboxes",
        level: "warning",
        what: "office: its server has no UIDPLUS: *",
        mend: "keep everybody else out of that mailbox",
        past: FRESH,
        missing: never,
        provoke: |patient| {
            let there = ImapServer::start(|_, _| Twist::Usual);
            there.mailbox().capabilities = "IDLE";
            crate::imap::add_account(&patient.world, "office", there.port, "after = \"delete\"\n");
            patient.mail_server = Some(there);
        },
    },
    Provocation {
        check: "mail-secrets",
        level: "problem",
        what: "others may read STATE/imap.password",
        mend: "chmod 600 STATE/imap.password",
        past: FRESH,
        missing: never,
        provoke: |patient| {
            crate::imap::add_account(&patient.world, "office", 143, "after = \"delete\"\n");
            let open = std::fs::Permissions::from_mode(0o640);
            let file = patient.world.state().join("imap.password");
            std::fs::set_permissions(file, open).expect("is opened");
        },
    },
    Provocation {
        check: "folders",
        level: "problem",
        what: "KEY: No such file or directory (os error 2)",
        mend: "put it back from where it lies, or correct the path in kluis.toml",
        past: FRESH,
        missing: never,
        provoke: |patient| std::fs::rename(patient.world.cabinet_key(), patient.path("elsewhere")).expect("is moved"),
    },
    Provocation {
        check: "modes",
        level: "problem",
        what: "others may look into STATE",
        mend: "chmod 700 STATE",
        past: FRESH,
        missing: never,
        provoke: |patient| {
            let open = std::fs::Permissions::from_mode(0o750);
            std::fs::set_permissions(patient.world.state(), open).expect("is opened");
        },
    },
    Provocation {
        check: "owners",
        level: "warning",
        what: "KEY belongs to another user",
        mend: "run the doctor as the user that serves",
        past: FRESH,
        missing: needs_root,
        provoke: |patient| chown(patient.world.cabinet_key(), Some(65_534), None).expect("is given away"),
    },
    Provocation {
        check: "overwriting",
        level: "problem",
        what: "the cabinet's key lies on overlay, where what is overwritten stays readable",
        mend: "cabinet_key in kluis.toml: a folder on ext4 or xfs",
        past: FRESH,
        missing: needs_mounts,
        provoke: |patient| {
            let key = patient.world.cabinet_key();
            patient.before.push_str(&format!(
                "mkdir layers\nmount -t tmpfs none layers\ncd layers\nmkdir -m 700 below above work\n\
                 mount -t overlay -o lowerdir=below,upperdir=above,workdir=work none '{}'\n",
                key.display()
            ));
            patient.is_apart = true;
        },
    },
    Provocation {
        check: "devices",
        level: "warning",
        what: "KEY is on the same device as the vault: one copy of it holds both",
        mend: "cabinet_key in kluis.toml: a folder on another device, in no backup and no snapshot",
        past: FRESH,
        missing: never,
        provoke: |_| (),
    },
    Provocation {
        check: "ledger-time",
        level: "problem",
        what: "the ledger was written later than the clock says it is now",
        mend: "set the clock: timedatectl set-ntp true",
        past: FRESH,
        missing: never,
        provoke: |patient| {
            let ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
            for entry in std::fs::read_dir(patient.world.state().join("ledger")).expect("lists") {
                let file = std::fs::File::options().write(true).open(entry.expect("an entry").path());
                file.expect("opens").set_modified(ahead).expect("is set");
            }
        },
    },
    Provocation {
        check: "room",
        level: "problem",
        what: "the disk is nearly full (* free): letters are answered 452",
        mend: "free * on the disk of STATE; letters are then taken again by themselves",
        past: FRESH,
        missing: needs_mounts,
        provoke: |patient| {
            patient.set(|text| text.replace("reserve_bytes = 1048576", "reserve_bytes = 134217728"));
            let state = patient.world.state();
            patient.before.push_str(&format!(
                "mkdir small\nmount -t tmpfs -o size=128m,mode=700 none small\ncp -a '{0}/.' small\n\
                 mount --bind small '{0}'\n",
                state.display()
            ));
            patient.is_apart = true;
        },
    },
    Provocation {
        check: "reserve",
        level: "warning",
        what: "0 B of 1.00 MiB are kept back for a full disk",
        mend: "`kluis serve` makes the rest, at its start and every minute while there is room",
        past: FRESH,
        missing: never,
        provoke: |patient| std::fs::remove_dir_all(patient.world.state().join("reserve")).expect("is removed"),
    },
    Provocation {
        check: "outsiders",
        level: "warning",
        what: "nobody outside is mailed checkpoints: a ledger that was replaced as a whole, or set back, is noticed by members' machines alone",
        mend: "[checkpoints] in kluis.toml: the data protection officer, a mailbox elsewhere; then SIGHUP",
        past: FRESH,
        missing: never,
        provoke: |patient| send_checkpoints_to(&patient.world, &[]),
    },
    Provocation {
        check: "way-out",
        level: "warning",
        what: "checkpoints for outsiders go into a folder, from which nothing leaves by itself",
        mend: "[outgoing.smtp] in kluis.toml, or something that carries them out",
        past: FRESH,
        missing: never,
        provoke: |patient| {
            let folder = std::fs::read_to_string(patient.path("folder.toml")).expect("is read");
            patient.set(|_| folder);
        },
    },
    Provocation {
        check: "ledger",
        level: "problem",
        what: "when the vault was last copied and tried is not to be read: there is no vault in this directory",
        mend: "run the doctor as the user that serves; is the vault in this folder?",
        past: FRESH,
        missing: never,
        provoke: |patient| std::fs::rename(patient.world.state().join("ledger"), patient.path("away")).expect("is moved"),
    },
    Provocation {
        check: "checkpoint",
        level: "warning",
        what: "no checkpoint was ever mailed to outsiders",
        mend: "does the server run, and does its log say why the mail server takes none?",
        past: [None, Some(0), Some(0), None],
        missing: never,
        provoke: |_| (),
    },
    Provocation {
        check: "checkpoint",
        level: "warning",
        what: "the last checkpoint was mailed to outsiders *, 3 days ago: one is due every day",
        mend: "does the server run, and does its log say why the mail server takes none?",
        past: [Some(3 * DAY), Some(0), Some(0), None],
        missing: never,
        provoke: |_| (),
    },
    Provocation {
        check: "backup",
        level: "warning",
        what: "no backup was ever made: what is here is lost with the disk",
        mend: "`kluis backup DEST`, every day from a timer, onto another disk",
        past: [Some(0), None, Some(0), None],
        missing: never,
        provoke: |_| (),
    },
    Provocation {
        check: "backup",
        level: "warning",
        what: "the last backup was made *, 3 days ago: what came since is lost with the disk",
        mend: "`kluis backup DEST`, every day from a timer, onto another disk",
        past: [Some(0), Some(3 * DAY), Some(0), None],
        missing: never,
        provoke: |_| (),
    },
    Provocation {
        check: "drill",
        level: "warning",
        what: "whether the sheets rebuild the recovery key was never tried",
        mend: "`kluis keys drill -` with a member's key and sheets from paper, once a year",
        past: [Some(0), Some(0), None, None],
        missing: never,
        provoke: |_| (),
    },
    Provocation {
        check: "drill",
        level: "warning",
        what: "the recovery key was last tried *, 400 days ago, more than a year",
        mend: "`kluis keys drill -` with a member's key and sheets from paper, once a year",
        past: [Some(0), Some(0), Some(400 * DAY), None],
        missing: never,
        provoke: |_| (),
    },
    Provocation {
        check: "restored",
        level: "warning",
        what: "the vault was restored *, 3 days ago, and its roster is the backup's: who was revoked in \
               between can log in",
        mend: "`kluis keys list`; then `kluis keys revoke`, or sign the roster anew with `kluis keys add`",
        past: [Some(0), Some(0), Some(0), Some(3 * DAY)],
        missing: never,
        provoke: |_| (),
    },
    Provocation {
        check: "roster",
        level: "problem",
        what: "STATE/roster: no roster that the admin signed",
        mend: "put back the files that `kluis init` made",
        past: FRESH,
        missing: never,
        provoke: |patient| {
            let file = patient.world.state().join("roster/1.note");
            let note = std::fs::read_to_string(&file).expect("is read");
            std::fs::write(&file, note.replace("backup carla", "backup clara")).expect("is written");
        },
    },
    Provocation {
        check: "throwaway",
        level: "problem",
        what: "the roster holds a key that is published with the sources",
        mend: "make keys of your own with `kluis key new`, and a vault with `kluis init`",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.sign(|roster| roster.members[0].recipient = published()),
    },
    Provocation {
        check: "one-person",
        level: "warning",
        what: "dora holds both halves: a member's key and a backup key",
        mend: "give the backup key to somebody who does not read letters",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.sign(|roster| roster.backups[1].name = "dora".into()),
    },
    Provocation {
        check: "admin",
        level: "warning",
        what: "no member has the admin role: only the nightly rotation renews the cabinet's key",
        mend: "a roster with one (`kluis init --admin NAME`)",
        past: FRESH,
        missing: never,
        provoke: |patient| patient.sign(|roster| roster.members[4].roles = [Role::Auditor].into()),
    },
    Provocation {
        check: "one-machine",
        level: "warning",
        what: "the user that serves holds a member's key: whoever takes the server over has both",
        mend: "members are other users, and better on other machines",
        past: FRESH,
        missing: never,
        provoke: |patient| {
            std::fs::create_dir_all(patient.path("home")).expect("is made");
            std::fs::copy(patient.path("keys/anna.key"), patient.path("home/staff.key")).expect("is copied");
        },
    },
];

/// The names of the checks as docs/operating.md lists them; a test beside the doctor holds that list
/// equal to what it has.
fn documented() -> Vec<&'static str> {
    let text = include_str!("../../docs/operating.md");
    let (_, table) = text.split_once("\n| `doctor` checks |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('`').nth(1)).collect()
}

#[test]
fn every_check_of_the_doctor_is_provoked() {
    let mut names: Vec<_> = PROVOCATIONS.iter().map(|provocation| provocation.check).collect();
    names.dedup();
    assert_eq!(names, documented(), "each check that there is, in its order");

    for Provocation { check, level, what, mend, past, missing, provoke } in PROVOCATIONS {
        if let Some(why) = missing() {
            skipped(&format!("doctor's {check}"), why);
            continue;
        }
        let mut patient = Patient::with(*past);
        let provokes_by_its_own = *past != FRESH || *check == "devices";
        // What the machine would say of itself is covered where it is provoked.
        if !provokes_by_its_own && !patient.is_apart {
            let before = patient.amiss(check);
            let of_the_machine =
                ["swap", "hibernation", "core-dumps", "locked-memory", "landlock", "models"];
            assert!(before.is_empty() || of_the_machine.contains(check), "{before:?}");
        }
        provoke(&mut patient);
        let state = patient.world.state().display().to_string();
        let key = patient.world.cabinet_key().display().to_string();
        let filled = |text: &str| text.replace("STATE", &state).replace("KEY", &key);
        let amiss = patient.amiss(check);
        let [(found_level, found_what, found_mend)] = &amiss[..] else {
            panic!("{check}: {amiss:?}")
        };
        assert_eq!(found_level, level, "{check}");
        assert!(is_like(found_what, &filled(what)), "{found_what}\ninstead of\n{}", filled(what));
        assert!(is_like(found_mend, &filled(mend)), "{found_mend}\ninstead of\n{}", filled(mend));
    }
}

/// Whether the machine that this runs on lacks what cannot be lent to it.
fn lacks(check: &str) -> bool {
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    match check {
        "landlock" => strict().handle_access(AccessFs::Execute).is_err(),
        "locked-memory" => getrlimit(Resource::Memlock).current.is_some_and(|most| most < 1 << 20),
        "models" => !models::are_there(&models::folder()),
        _ => false,
    }
}

#[test]
fn a_sound_vault_on_a_sound_machine_is_well_throughout() {
    if let Some(why) = needs_mounts() {
        return skipped("the doctor on a sound machine", why);
    }
    let mut patient = Patient::with([Some(DAY), Some(DAY), Some(300 * DAY), None]);
    patient.on_a_sound_machine();
    let said = patient.ask();
    for check in documented() {
        if lacks(check) {
            assert!(said.contains_key(check), "nothing is said of {check}");
            continue;
        }
        let found = said.get(check).unwrap_or_else(|| panic!("nothing is said of {check}"));
        let is_well = |said: &Said| said.0 == "well" && !said.1.is_empty() && said.2.is_empty();
        assert!(found.iter().all(is_well), "{check}: {found:?}");
    }
    assert_eq!(said.len(), documented().len());
}

#[test]
fn a_pattern_is_like_what_it_stands_for() {
    assert!(is_like("a b c", "a * c") && is_like("ab", "a*b") && is_like("a", "a*"));
    assert!(!is_like("a b c d", "a * c") && !is_like("a", "b") && !is_like("ab", "a"));
}
