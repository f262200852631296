//! A Dovecot of our own: private settings, ports of loopback, mails in a folder, ended by its number.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Whose the mails are: Dovecot serves nobody as root.
const OWNER: u32 = 65_534;
/// The user of the tests, and the password.
pub(crate) const USER: &str = "office";
const PASSWORD: &str = "secret words";

/// A running Dovecot.
pub(crate) struct Dovecot {
    dir: tempfile::TempDir,
    /// Without TLS at first, and with STARTTLS.
    pub(crate) imap: u16,
    /// With TLS from the first byte.
    pub(crate) imaps: u16,
    child: Option<Child>,
}

impl Dovecot {
    /// Starts one, or says why there can be none. Access tokens are shown to `tokens`, if there is
    /// one.
    pub(crate) fn start(tokens: Option<&TokenServer>) -> Result<Self, &'static str> {
        Self::start_that_can(tokens, None)
    }

    /// The same; it says that it can do nothing but this.
    pub(crate) fn start_that_can(
        tokens: Option<&TokenServer>,
        capabilities: Option<&str>,
    ) -> Result<Self, &'static str> {
        if Command::new("dovecot").arg("--version").output().is_err() {
            return Err("dovecot is not installed");
        }
        if !geteuid().is_root() {
            return Err("Dovecot is started by root only");
        }
        let dir = tempfile::Builder::new().prefix("dv").tempdir().expect("a directory");
        open_to_all(dir.path());
        let mail = dir.path().join("mail");
        std::fs::create_dir(&mail).expect("is made");
        chown(&mail, Some(OWNER), Some(OWNER)).expect("is given away");
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a pair");
        std::fs::write(dir.path().join("cert.pem"), pair.cert.pem()).expect("is written");
        let key = pair.signing_key.serialize_pem();
        std::fs::write(dir.path().join("key.pem"), key).expect("is written");
        let users = format!("{USER}:{{PLAIN}}{PASSWORD}\n");
        std::fs::write(dir.path().join("users"), users).expect("is written");
        open_to_all(&dir.path().join("users"));
        let [imap, imaps] = [free_port(), free_port()];
        let mut dovecot = Self { dir, imap, imaps, child: None };
        let mut settings = dovecot.settings(tokens);
        settings.extend(capabilities.map(|can| format!("imap_capability = {can}\n")));
        std::fs::write(dovecot.path("dovecot.conf"), settings).expect("is written");
        dovecot.run();
        Ok(dovecot)
    }

    fn settings(&self, tokens: Option<&TokenServer>) -> String {
        let (dir, imap, imaps) = (self.dir.path().display(), self.imap, self.imaps);
        let (mechanism, oauth2) = match tokens {
            None => ("plain login", String::new()),
            Some(tokens) => {
                let (port, file) = (tokens.port, self.path("oauth2.conf"));
                let introspects = format!(
                    "introspection_mode = post\n\
                     introspection_url = http://127.0.0.1:{port}/introspect\n\
                     username_attribute = username\nactive_attribute = active\n\
                     active_value = yes\n"
                );
                std::fs::write(&file, introspects).expect("is written");
                let args = file.display();
                let passdb = format!(
                    "passdb {{\n  driver = oauth2\n  mechanisms = xoauth2\n  args = {args}\n}}\n"
                );
                ("xoauth2", passdb)
            }
        };
        format!(
            "protocols = imap\nlisten = 127.0.0.1\nbase_dir = {dir}/run\nstate_dir = {dir}/state\n\
             log_path = {dir}/log\nauth_verbose = yes\n\
             ssl = yes\nssl_cert = <{dir}/cert.pem\nssl_key = <{dir}/key.pem\n\
             disable_plaintext_auth = no\nauth_mechanisms = {mechanism}\n\
             mail_location = maildir:{dir}/mail/%u\nfirst_valid_uid = {OWNER}\n\
             auth_failure_delay = 0\n\
             {oauth2}\
             passdb {{\n  driver = passwd-file\n  args = {dir}/users\n}}\n\
             userdb {{\n  driver = static\n  args = uid={OWNER} gid={OWNER} home={dir}/mail/%u\n}}\n\
             service imap-login {{\n  inet_listener imap {{\n    port = {imap}\n  }}\n\
             inet_listener imaps {{\n    port = {imaps}\n    ssl = yes\n  }}\n}}\n\
             service stats {{\n  chroot =\n}}\n"
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The certificate that it shows: a trust anchor for itself.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("cert.pem")
    }

    fn run(&mut self) {
        let child = Command::new("dovecot")
            .args(["-F", "-c"])
            .arg(self.path("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        self.child = Some(child);
        let end = Instant::now() + Duration::from_secs(30);
        while !greets(self.imap) {
            assert!(Instant::now() < end, "Dovecot does not serve: {}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let id = i32::try_from(child.id()).expect("a process id");
        let _ = kill_process(Pid::from_raw(id).expect("a process id"), Signal::TERM);
        let _ = child.wait();
    }

    /// Ends it, forgets what it numbered its mails with, and starts it: another UIDVALIDITY.
    pub(crate) fn number_anew(&mut self) {
        self.end();
        let listed = std::fs::read_dir(self.maildir()).expect("is there");
        for entry in listed.flatten() {
            if entry.file_name().to_string_lossy().starts_with("dovecot") {
                std::fs::remove_file(entry.path()).expect("is removed");
            }
        }
        // UIDVALIDITY is the second in which the list is made.
        thread::sleep(Duration::from_millis(1100));
        self.run();
    }

    fn maildir(&self) -> PathBuf {
        self.path("mail").join(USER)
    }

    /// Puts a mail into the mailbox, as a delivery agent does.
    pub(crate) fn deliver(&self, raw: &[u8]) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let maildir = self.maildir();
        for folder in ["", "tmp", "new", "cur"] {
            let folder = maildir.join(folder);
            if !folder.exists() {
                std::fs::create_dir(&folder).expect("is made");
                chown(&folder, Some(OWNER), Some(OWNER)).expect("is given away");
            }
        }
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("{}.{number}.here", std::process::id());
        let partial = maildir.join("tmp").join(&name);
        std::fs::write(&partial, raw).expect("is written");
        chown(&partial, Some(OWNER), Some(OWNER)).expect("is given away");
        std::fs::rename(&partial, maildir.join("new").join(&name)).expect("is moved");
    }

    /// Puts a mail of the year 2020 into the mailbox that somebody marked as deleted; gives its file.
    pub(crate) fn deliver_marked(&self, raw: &[u8]) -> PathBuf {
        let file = self.maildir().join("cur/1577836800.marked.here:2,T");
        std::fs::write(&file, raw).expect("is written");
        chown(&file, Some(OWNER), Some(OWNER)).expect("is given away");
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
        let opened = std::fs::File::options().append(true).open(&file).expect("opens");
        opened.set_modified(then).expect("is dated");
        file
    }

    /// The mails that lie in a folder: `` is the mailbox, `.Done` another.
    pub(crate) fn mails(&self, folder: &str) -> usize {
        let folder = self.maildir().join(folder);
        let count = |name: &str| {
            let listed = std::fs::read_dir(folder.join(name));
            // One that is flagged as deleted is not gone.
            listed.map_or(0, |listed| listed.count())
        };
        count("new") + count("cur")
    }

    /// Makes a folder beside the mailbox.
    pub(crate) fn make_folder(&self, name: &str) {
        for folder in ["", "tmp", "new", "cur"] {
            let folder = self.maildir().join(format!(".{name}")).join(folder);
            std::fs::create_dir_all(&folder).expect("is made");
            chown(&folder, Some(OWNER), Some(OWNER)).expect("is given away");
        }
        chown(self.maildir(), Some(OWNER), Some(OWNER)).expect("is given away");
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        self.end();
    }
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("is opened");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut line = String::new();
    matches!(BufReader::new(stream).read_line(&mut line), Ok(1..)) && line.contains("OK")
}

/// A token endpoint, and what tells Dovecot whether a token is good.
pub(crate) struct TokenServer {
    pub(crate) port: u16,
    state: Arc<Mutex<Given>>,
    stops: Arc<AtomicBool>,
}

/// What a token endpoint gave, and was asked.
#[derive(Default)]
pub(crate) struct Given {
    /// How often a token was asked for.
    pub(crate) asked: u32,
    /// Tokens given so far; the newest is good.
    pub(crate) tokens: u32,
    /// The newest is not good any more, either.
    pub(crate) is_expired: bool,
    /// Nothing is given any more.
    pub(crate) refuses: bool,
    /// A refresh token that comes with an access token.
    pub(crate) refresh: Option<String>,
    /// What was asked, the forms.
    pub(crate) forms: Vec<String>,
}

impl TokenServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (state, stops) = (Arc::<Mutex<Given>>::default(), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&state), Arc::clone(&stops));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                thread::spawn(move || answer(stream, &state));
            }
        });
        Self { port, state, stops }
    }

    pub(crate) fn given(&self) -> std::sync::MutexGuard<'_, Given> {
        self.state.lock().expect("no holder panics")
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<Given>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let Ok(copy) = stream.try_clone() else { return };
    let mut reader = BufReader::new(copy);
    loop {
        let (mut length, mut first) = (0, String::new());
        if !matches!(reader.read_line(&mut first), Ok(1..)) {
            return;
        }
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut form = vec![0; length];
        if reader.read_exact(&mut form).is_err() {
            return;
        }
        let form = String::from_utf8_lossy(&form).into_owned();
        let mut given = state.lock().expect("no holder panics");
        given.asked += u32::from(!first.contains("/introspect"));
        let (status, body) = if first.contains("/introspect") {
            let newest = format!("access-{}", given.tokens);
            let good = !given.is_expired && form.contains(&newest);
            let active = if good { "yes" } else { "no" };
            ("200 OK", format!("{{\"active\":\"{active}\",\"username\":\"office\"}}"))
        } else if given.refuses {
            ("400 Bad Request", "{\"error\":\"invalid_grant\"}".to_owned())
        } else {
            given.forms.push(form);
            given.tokens += 1;
            given.is_expired = false;
            let refresh =
                given.refresh.take().map(|token| format!(",\"refresh_token\":\"{token}\""));
            let token = given.tokens;
            let refresh = refresh.unwrap_or_default();
            let body = format!(
                "{{\"access_token\":\"access-{token}\",\"token_type\":\"Bearer\",\
                 \"expires_in\":3600{refresh}}}"
            );
            ("200 OK", body)
        };
        drop(given);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .is_err()
        {
            return;
        }
    }
}
