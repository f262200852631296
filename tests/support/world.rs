//! A small agency for the tests: a founded vault, its people's keys, and the server around it.
//!
//! Everything is real: keys are made, files are signed, the gateway listens on port 0 of loopback.
#![allow(dead_code, reason = "a release build has fewer tests than a lab build")]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kluis::casebook::{Casebook, founding};
use kluis::clock::Clock;
use kluis::config::Config;
use kluis::gateway::{Addresses, Gateway};
use kluis::ids::{StaffId, VaultId};
use kluis::keys::admin::AdminKey;
use kluis::keys::passphrase::Passphrase;
use kluis::keys::roster::{BackupKey, Member, Role, Roster};
use kluis::keys::staff::StaffKey;
use kluis::staff::agent::Opener;
use kluis::staff::client::{Client, Error as ClientError};
use kluis::staff::found::found;
use kluis::staff::seen::Seen;

/// The mailbox of the tests.
pub(crate) const MAILBOX: &str = "backoffice@jobexpert.be";
/// What each vault of the tests keeps back for a full disk, in bytes.
pub(crate) const RESERVE: u64 = 1 << 20;
/// The admin's key file.
const ADMIN: &str = "admin-signing";
/// The program under test.
pub(crate) const KLUIS: &str = env!("CARGO_BIN_EXE_kluis");

/// Ports that stay are taken from here: the kernel gives none of these to a client, which could
/// hold it, or reach itself, while the server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A founded vault and its people's keys, gone when dropped.
pub(crate) struct World {
    /// What is not the server's lies in here: people's keys, and what they remember.
    pub(crate) root: tempfile::TempDir,
    /// What is the server's lies in here: at first the same place.
    place: PathBuf,
    /// The vault.
    pub(crate) vault: VaultId,
    /// The public key of checkpoints.
    pub(crate) checkpoint_key: String,
    clock: Clock,
}

impl World {
    /// Founds a vault; epoch 1 is proven by anna.
    pub(crate) fn found() -> Self {
        Self::found_with(Clock::System, true, None)
    }

    /// Founds a vault whose files, the cabinet's key and the log included, lie in `place`; so many
    /// bytes are kept back there for the day when the disk is full.
    pub(crate) fn found_on(place: &Path, reserve: u64) -> Self {
        Self::found_with(Clock::System, true, Some((place, reserve)))
    }

    /// Founds a vault at this time (seconds since 1970-01-01T00:00:00Z), which stands still until
    /// [`set_time`](Self::set_time).
    pub(crate) fn found_at(time: u64) -> Self {
        Self::found_with(Clock::Fixed(time), true, None)
    }

    /// From the next start on it is this late.
    pub(crate) fn set_time(&mut self, time: u64) {
        self.clock = Clock::Fixed(time);
    }

    /// From the next start on in this process it is as late as stands there.
    pub(crate) fn moves_with(&mut self, time: &'static AtomicU64) {
        self.clock = Clock::Moved(time);
    }

    /// From the next start on mail goes to this port of loopback.
    pub(crate) fn send_to(&self, port: u16) {
        let file = self.state().join("kluis.toml");
        let text = std::fs::read_to_string(&file).expect("is read");
        let (before, after) = text.split_once("\n[outgoing").expect("the table");
        let after = after.split_once("\n\n").expect("its end").1;
        let smarthost = format!("host = \"127.0.0.1\"\nport = {port}\ntls = \"none\"");
        let text = format!("{before}\n[outgoing.smtp]\n{smarthost}\n\n{after}");
        std::fs::write(&file, text).expect("is written");
    }

    /// The mails that were delivered into the folder, with their envelopes.
    pub(crate) fn delivered(&self) -> Vec<(Vec<u8>, serde_json::Value)> {
        let Ok(listed) = std::fs::read_dir(self.outgoing()) else { return Vec::new() };
        let files = listed.map(|entry| entry.expect("an entry").path());
        let mails = files.filter(|file| file.extension().is_some_and(|kind| kind == "eml"));
        mails
            .map(|mail| {
                let envelope = std::fs::read(mail.with_extension("json")).expect("is beside it");
                let envelope = serde_json::from_slice(&envelope).expect("is JSON");
                (std::fs::read(&mail).expect("is read"), envelope)
            })
            .collect()
    }

    /// Founds a vault whose epoch nobody proved yet.
    pub(crate) fn found_unproven() -> Self {
        Self::found_with(Clock::System, false, None)
    }

    fn found_with(clock: Clock, proven: bool, place: Option<(&Path, u64)>) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let (place, reserve) = place.unwrap_or((root.path(), RESERVE));
        let place = place.to_owned();
        std::fs::create_dir(root.path().join("keys")).expect("a directory");
        let key = |name: &str| {
            let key = StaffKey::generate();
            key.save(&key_file(root.path(), name), &passphrase(), Some(1)).expect("is saved");
            key
        };
        let member = |id, name: &str, role, key: &StaffKey| Member {
            id: StaffId(id),
            name: name.into(),
            roles: [role].into(),
            recipient: key.recipient().clone(),
        };
        let (anna, bert, olga, dora) = (key("anna"), key("bert"), key("olga"), key("dora"));
        let adam = key("adam");
        let vault = VaultId::random();
        let roster = Roster {
            version: 1,
            vault,
            members: vec![
                member(1, "anna", Role::Backoffice, &anna),
                member(2, "bert", Role::Backoffice, &bert),
                member(3, "olga", Role::Auditor, &olga),
                member(4, "dora", Role::Dpo, &dora),
                member(5, "adam", Role::Admin, &adam),
            ],
            recovery: key("recovery").recipient().clone(),
            backups: ["carla", "dirk"]
                .map(|name| BackupKey {
                    name: name.into(),
                    recipient: key(name).recipient().clone(),
                })
                .into(),
        };
        let state = place.join("state");
        let config = Config::text_for(&state, &[MAILBOX])
            .replace("\"127.0.0.1:2525\"", "\"127.0.0.1:0\"")
            .replace("lmtp = []", "lmtp = [\"127.0.0.1:0\"]")
            .replace("reserve_bytes = 67108864", &format!("reserve_bytes = {reserve}"));
        let admin = AdminKey::generate();
        admin.save(&key_file(root.path(), ADMIN), &passphrase(), Some(1)).expect("is saved");
        let foundation =
            found(&roster, &admin, MAILBOX, proven.then_some(&anna), config, clock.seconds())
                .expect("founds");
        let cabinet_key = place.join("state.cabinet-key");
        let checkpoint_key =
            founding::lay(&state, &cabinet_key, &foundation, reserve, clock).expect("is laid");
        Self { root, place, vault, checkpoint_key, clock }
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.place.join("state")
    }

    /// The cabinet key's directory.
    pub(crate) fn cabinet_key(&self) -> PathBuf {
        self.place.join("state.cabinet-key")
    }

    /// Where answers are delivered.
    pub(crate) fn outgoing(&self) -> PathBuf {
        self.state().join("outgoing")
    }

    /// The admin's key, which signs.
    pub(crate) fn admin(&self) -> AdminKey {
        AdminKey::unlock(&key_file(self.root.path(), ADMIN), &passphrase()).expect("unlocks")
    }

    /// A new key for somebody of this name.
    pub(crate) fn make_key(&self, name: &str) -> StaffKey {
        let key = StaffKey::generate();
        let file = key_file(self.root.path(), name);
        // Somebody who comes back has a new one.
        let _ = std::fs::remove_file(&file);
        key.save(&file, &passphrase(), Some(1)).expect("is saved");
        key
    }

    /// A person's key, unlocked.
    pub(crate) fn key(&self, name: &str) -> StaffKey {
        StaffKey::unlock(&key_file(self.root.path(), name), &passphrase()).expect("unlocks")
    }

    /// Opens the vault in this process, without serving.
    pub(crate) fn open(&self) -> Gateway {
        Gateway::open(&self.state(), Path::new(KLUIS), self.clock).expect("opens")
    }

    /// Serves in this process.
    pub(crate) async fn serve(&self) -> Server {
        let gateway = self.open();
        let casebook = Arc::clone(&gateway.casebook);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let tell = |addresses: &Addresses| {
                let _ = ready.send(addresses.clone());
            };
            gateway.run(tell, async { drop(stopped.await) }).await.expect("serves");
        });
        let addresses = is_ready.await.expect("gets ready");
        Server { addresses, casebook, stop, task }
    }

    /// Takes ports that stay, so that senders find the server again after a restart: SMTP, LMTP.
    pub(crate) fn fix_ports(&self) -> [SocketAddr; 2] {
        let places = [(); 2].map(|()| free_port());
        let file = self.state().join("kluis.toml");
        let mut text = std::fs::read_to_string(&file).expect("is read");
        for place in places {
            text = text.replacen("\"127.0.0.1:0\"", &format!("\"{place}\""), 1);
        }
        std::fs::write(&file, text).expect("is written");
        places
    }

    /// Where the servers in processes of their own log.
    pub(crate) fn log(&self) -> PathBuf {
        self.place.join("server.log")
    }

    /// Serves in a process of its own, with these environment variables; waits until it is ready.
    pub(crate) fn spawn(&self, variables: &[(&str, &str)]) -> Process {
        self.spawn_from(Path::new(KLUIS), variables)
    }

    /// The same for the program at this path.
    pub(crate) fn spawn_from(&self, program: &Path, variables: &[(&str, &str)]) -> Process {
        let start = Instant::now();
        let mut process = self.launch_from(program, variables);
        let mut line = String::new();
        let stdout = process.child.stdout.take().expect("is piped");
        BufReader::new(stdout).read_line(&mut line).expect("is read");
        process.start_time = start.elapsed();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let address = |kind: &str| ready[kind][0].as_str().and_then(|text| text.parse().ok());
        (process.smtp, process.lmtp) = (address("smtp"), address("lmtp"));
        process
    }

    /// Starts it and does not wait.
    pub(crate) fn launch(&self, variables: &[(&str, &str)]) -> Process {
        self.launch_from(Path::new(KLUIS), variables)
    }

    fn launch_from(&self, program: &Path, variables: &[(&str, &str)]) -> Process {
        // A file: a pipe that nobody reads fills up, and the server would wait to log.
        let log = File::options().create(true).append(true).open(self.log()).expect("opens");
        let time = match self.clock {
            Clock::Fixed(time) => Some(("KLUIS_LAB_TIME", time.to_string())),
            Clock::System | Clock::Moved(_) => None,
        };
        let child = Command::new(program)
            .arg("--json")
            .arg("serve")
            .arg(self.state())
            .current_dir(self.root.path())
            .envs(time)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("starts");
        Process { smtp: None, lmtp: None, start_time: Duration::ZERO, child }
    }

    /// Logs a member in.
    pub(crate) fn log_in(&self, name: &str) -> Result<Client, ClientError> {
        let seen = Seen::in_dir(self.root.path().join("seen"));
        let socket = self.state().join("kluis.sock");
        Client::connect(&socket, name, Opener::Key(self.key(name)), Some(&seen))
    }
}

/// A free port that no other test of this process was given.
pub(crate) fn free_port() -> SocketAddr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Tests of another process begin elsewhere.
    let begin = (std::process::id() % u32::from(count)) as u16;
    (0..count)
        .map(|_| PORTS.start + (begin + TAKEN.fetch_add(1, Ordering::Relaxed)) % count)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|place| TcpListener::bind(place).is_ok())
        .expect("a free port")
}

fn key_file(root: &Path, name: &str) -> PathBuf {
    root.join("keys").join(format!("{name}.key"))
}

/// The passphrase of every key.
pub(crate) fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery staple".into())
}

/// A server in this process.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) addresses: Addresses,
    /// Its casebook.
    pub(crate) casebook: Arc<Casebook>,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Its SMTP address.
    pub(crate) fn smtp(&self) -> SocketAddr {
        self.addresses.smtp[0]
    }

    /// Its LMTP address.
    pub(crate) fn lmtp(&self) -> SocketAddr {
        self.addresses.lmtp[0]
    }

    /// Stops it and waits.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.expect("ends well");
        // The store's lock goes with the last holder; a connection's task may be one for a moment.
        for _ in 0..200 {
            if Arc::strong_count(&self.casebook) == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A server in a process of its own.
pub(crate) struct Process {
    /// Its SMTP address; none if it died before it was ready.
    pub(crate) smtp: Option<SocketAddr>,
    /// Its LMTP address.
    pub(crate) lmtp: Option<SocketAddr>,
    /// From its start until it was ready, or died.
    pub(crate) start_time: Duration,
    /// The process.
    pub(crate) child: Child,
}

impl Process {
    /// How it ended, if it ends by itself within this time.
    pub(crate) fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + time;
        loop {
            match self.child.try_wait().expect("is waited for") {
                Some(status) => return Some(status),
                None if Instant::now() >= end => return None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Ends it at once, and waits.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
