//! A Postfix of a test's own: settings, queue and data in a folder of the test's, a free port of
//! loopback. The system's own is not touched, and what was started is ended by its number.
#![allow(dead_code, reason = "a release build has fewer tests than a lab build")]

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::mail_client::Client;
use crate::world::free_port;

/// Where Debian has its programs.
const PROGRAMS: &str = "/usr/sbin";
const DAEMONS: &str = "/usr/lib/postfix/sbin";

/// What starting or stopping it may take.
const START_TIME: Duration = Duration::from_secs(30);

/// Why no Postfix can be started here, if none can. In CI one can.
pub(crate) fn missing() -> Option<&'static str> {
    let why = if !Path::new(PROGRAMS).join("postfix").exists() {
        "postfix is not installed"
    } else if !rustix::process::geteuid().is_root() {
        "only root can start postfix"
    } else {
        return None;
    };
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
    Some(why)
}

/// A running Postfix; ends when dropped.
pub(crate) struct Postfix {
    /// Everything of it lies in here.
    pub(crate) dir: tempfile::TempDir,
    /// Where it takes mail.
    pub(crate) addr: SocketAddr,
}

impl Postfix {
    /// Starts one that hands all mail for `jobexpert.be` on by `transport`; `services` are lines of its
    /// master.cf beside the usual ones.
    pub(crate) fn start(dir: tempfile::TempDir, transport: &str, services: &str) -> Self {
        let postfix = Self::prepare(dir, transport, services, "");
        postfix.begin();
        postfix
    }

    /// The same, not started yet; `settings` are lines of its main.cf that come last and win.
    pub(crate) fn prepare(
        dir: tempfile::TempDir,
        transport: &str,
        services: &str,
        settings: &str,
    ) -> Self {
        let place = dir.path();
        // Its daemons run as users of their own, and have to get there.
        std::fs::set_permissions(place, Permissions::from_mode(0o711)).expect("permissions");
        for folder in ["etc", "queue", "data"] {
            std::fs::create_dir(place.join(folder)).expect("a directory");
        }
        run(Command::new("chown").arg("postfix").arg(place.join("data")));
        let addr = free_port();
        let shown = place.display();
        let main = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {shown}/queue\ndata_directory = {shown}/data\n\
             command_directory = {PROGRAMS}\ndaemon_directory = {DAEMONS}\n\
             mail_owner = postfix\nsetgid_group = postdrop\n\
             myhostname = mail.example\nmydestination =\nalias_maps =\nalias_database =\n\
             local_recipient_maps =\nrelay_domains = jobexpert.be\nrelay_transport = {transport}\n\
             default_transport = discard:\nmynetworks = 127.0.0.0/8\n\
             smtpd_relay_restrictions = permit_mynetworks, reject\n\
             inet_interfaces = loopback-only\ninet_protocols = ipv4\nsmtpd_peername_lookup = no\n\
             disable_dns_lookups = yes\nsmtpd_tls_security_level = none\n\
             smtp_tls_security_level = none\nmessage_strip_characters = \\0\n\
             hopcount_limit = 100\nmessage_size_limit = 67108864\n\
             minimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n\
             relay_destination_concurrency_failed_cohort_limit = 0\n\
             maillog_file = {shown}/log\nmaillog_file_prefixes = {shown}\n{settings}"
        );
        std::fs::write(place.join("etc/main.cf"), main).expect("is written");
        let master = format!(
            "{addr} inet n - n - - smtpd\n\
             pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\n\
             qmgr unix n - n 1 1 qmgr\nrewrite unix - - n - - trivial-rewrite\n\
             bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
             trace unix - - n - 0 bounce\nverify unix - - n - 1 verify\n\
             flush unix n - n 1000? 0 flush\nproxymap unix - - n - - proxymap\n\
             smtp unix - - n - - smtp\nrelay unix - - n - - smtp\n\
             showq unix n - n - - showq\nerror unix - - n - - error\n\
             retry unix - - n - - error\ndiscard unix - - n - - discard\n\
             lmtp unix - - n - - lmtp\nanvil unix - - n - 1 anvil\n\
             scache unix - - n - 1 scache\npostlog unix-dgram n - n - 1 postlogd\n{services}"
        );
        std::fs::write(place.join("etc/master.cf"), master).expect("is written");
        Self { dir, addr }
    }

    /// Starts it. Its first process may say so much that the queue of its log is full before it has
    /// started who reads that, and then waits for ever: it is started again.
    pub(crate) fn begin(&self) {
        let is_up = || self.log().matches("daemon started").count();
        let before = is_up();
        for _ in 0..3 {
            let started = self.command("start");
            assert!(started.status.success(), "{}\n{}", shown_of(&started), self.log());
            let end = Instant::now() + START_TIME;
            while is_up() == before && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            if is_up() > before {
                return;
            }
            self.kill();
        }
        panic!("postfix does not start\n{}", self.log());
    }

    /// The number of its first process, which all others of its group have, too.
    fn first(&self) -> Option<rustix::process::Pid> {
        let pid = std::fs::read_to_string(self.dir.path().join("queue/pid/master.pid")).ok()?;
        rustix::process::Pid::from_raw(pid.trim().parse().ok()?)
    }

    /// Ends all of it at once.
    fn kill(&self) {
        if let Some(first) = self.first() {
            let _ = rustix::process::kill_process_group(first, rustix::process::Signal::KILL);
        }
    }

    fn command(&self, verb: &str) -> Output {
        Command::new("timeout")
            .arg(START_TIME.as_secs().to_string())
            .arg(Path::new(PROGRAMS).join("postfix"))
            .arg("-c")
            .arg(self.dir.path().join("etc"))
            .arg(verb)
            .stdin(Stdio::null())
            .output()
            .expect("starts")
    }

    /// A greeted connection to it. It may take a moment until it answers.
    pub(crate) fn client(&self) -> Client {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match Client::greet(self.addr, false) {
                Ok(client) => return client,
                Err(error) => {
                    assert!(Instant::now() < end, "{error}\n{}", self.log());
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    /// Letters in its queue; one that moves meanwhile may be missed.
    fn queued(&self) -> usize {
        let queue = self.dir.path().join("queue");
        ["maildrop", "incoming", "active", "deferred"]
            .iter()
            .map(|folder| files(&queue.join(folder)))
            .sum()
    }

    /// Waits until its queue is empty.
    pub(crate) fn drain(&self) {
        let end = Instant::now() + Duration::from_secs(240);
        // Not once but several times in a row: letters move from folder to folder.
        let mut empty = 0;
        while empty < 8 {
            let queued = self.queued();
            assert!(Instant::now() < end, "{queued} letters wait\n{}", self.log());
            empty = if queued == 0 { empty + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let first = self.first();
        let stopped = self.command("stop");
        let Some(first) = first else { return };
        let process = Path::new("/proc").join(first.as_raw_nonzero().to_string());
        let end = Instant::now() + Duration::from_secs(20);
        while process.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !process.exists() {
            return;
        }
        let _ = rustix::process::kill_process_group(first, rustix::process::Signal::KILL);
        if !std::thread::panicking() {
            panic!("postfix does not end: {}", shown_of(&stopped));
        }
    }
}

fn shown_of(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn files(dir: &Path) -> usize {
    let Ok(listed) = std::fs::read_dir(dir) else { return 0 };
    listed
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(kind) => usize::from(kind.is_file()),
            Err(_) => 0,
        })
        .sum()
}

/// A folder for a socket of ours that Postfix reaches: what is made in it belongs to its group.
pub(crate) fn meeting_place(above: &Path) -> PathBuf {
    let place = above.join("meeting");
    std::fs::create_dir(&place).expect("a directory");
    run(Command::new("chgrp").arg("postfix").arg(&place));
    run(Command::new("chmod").arg("2750").arg(&place));
    place
}

/// Runs it; it must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{command:?}: {}", shown_of(&output));
}
