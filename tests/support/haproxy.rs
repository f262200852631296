//! A HAProxy of a test's own: settings in a folder of the test's, free ports of loopback.
#![allow(dead_code, reason = "a release build has fewer tests than a lab build")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::disks::has_program;
use crate::world::free_port;

/// Where Debian has it.
const PROGRAM: &str = "/usr/sbin/haproxy";

/// A running HAProxy; ends when dropped.
pub(crate) struct HaProxy {
    dir: tempfile::TempDir,
    child: Child,
    ports: BTreeMap<String, SocketAddr>,
}

impl HaProxy {
    /// Starts one with these ways to a server: a name for each, where it goes, what stands behind the
    /// server's address, and what else stands in its section.
    pub(crate) fn start(ways: &[(&str, SocketAddr, &str, &str)]) -> Result<Self, &'static str> {
        if !has_program("haproxy") {
            return Err("haproxy is not installed");
        }
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = format!(
            "global\n  stats socket {}/admin.sock mode 600 level user\n\
             defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n\
             \x20 timeout server 60s\n  timeout check 10s\n",
            dir.path().display()
        );
        let mut ports = BTreeMap::new();
        for (name, server, words, more) in ways {
            let port = free_port();
            config += &format!(
                "listen {name}\n  bind {port}\n  {more}\n  server kluis {server} {words}\n"
            );
            ports.insert((*name).to_owned(), port);
        }
        let file = dir.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("is written");
        let child = Command::new(PROGRAM)
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).expect("a log"))
            .spawn()
            .expect("starts");
        Ok(Self { dir, child, ports })
    }

    /// Where this way begins.
    pub(crate) fn port(&self, name: &str) -> SocketAddr {
        self.ports[name]
    }

    /// What the last check of the server found, and how many failed.
    fn checked(&self, name: &str) -> Option<(String, u32)> {
        let mut stream = UnixStream::connect(self.dir.path().join("admin.sock")).ok()?;
        stream.write_all(b"show stat\n").ok()?;
        let mut table = String::new();
        stream.read_to_string(&mut table).ok()?;
        let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next()?;
        let at = |word: &str| names.iter().position(|name| name.ends_with(word));
        let row = lines.find(|row| row.first() == Some(&name) && row.get(1) == Some(&"kluis"))?;
        let failed = row.get(at("chkfail")?)?.parse().ok()?;
        Some(((*row.get(at("check_status")?)?).to_owned(), failed))
    }

    /// Waits until the checks of this way say so.
    pub(crate) fn wait_for_check(&self, name: &str, status: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        let mut last = None;
        while Instant::now() < end {
            last = self.checked(name);
            if last.as_ref().is_some_and(|(found, failed)| found == status && *failed == 0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        panic!("{name}: {last:?}, and not {status}\n{log}");
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
