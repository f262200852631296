//! The configuration of the server: one strict file, `kluis.toml`.
//!
//! Every field is explained in `docs/config.toml`, which is also what `init` writes, and whose
//! values a test holds equal to the defaults here. An unknown field is an error. Paths to secrets
//! stand in it, never secrets; there is no cryptographic setting, and none for how long a repeated
//! letter is recognised or how a child process is confined.

mod imap;

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use crate::identity::policy::{MOST_DAYS, Policy};

pub use imap::{After, Imap, ImapTls, OAuth2};

/// The file's name in the state directory.
pub const FILE: &str = "kluis.toml";
/// The staff side's socket, in the state directory unless the file says otherwise.
pub const STAFF_SOCKET: &str = "kluis.sock";

/// What `kluis.toml` says, with every path made absolute.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(skip)]
    dir: PathBuf,
    /// The name that the server greets with.
    #[serde(default)]
    pub hostname: String,
    /// The mailboxes that letters are taken for, as written; the domain in lower case.
    pub addresses: Vec<String>,
    /// Further addresses that stand somewhere in print, misspelled ones too: mail to them should come
    /// here by way of others.
    #[serde(default)]
    pub published: Vec<String>,
    /// The folder of the cabinet's key.
    #[serde(default)]
    pub cabinet_key: PathBuf,
    /// Where mail is taken.
    #[serde(default)]
    pub listen: Listen,
    /// The certificate for STARTTLS.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// How much at once.
    #[serde(default)]
    pub limits: Limits,
    /// Where mail goes out.
    #[serde(default)]
    pub outgoing: Outgoing,
    /// Who keeps checkpoints of the ledger for us.
    #[serde(default)]
    pub checkpoints: Checkpoints,
    /// How the origin of letters is looked at.
    #[serde(default)]
    pub origin: Origin,
    /// What senders are told by itself.
    #[serde(default)]
    pub notices: Notices,
    /// Who looks for malware.
    #[serde(default)]
    pub scan: ScanFor,
    /// How sure it must be who asks, for each right.
    #[serde(default)]
    pub identity: Policy,
    /// Mailboxes on other servers that letters are fetched from.
    #[serde(default)]
    pub imap: Vec<Imap>,
}

/// Who looks for malware.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScanFor {
    /// Where clamd listens; nobody looks if it is not said.
    pub clamd: Option<Endpoint>,
    /// Seconds for one item.
    pub seconds: u64,
    /// Bytes of the longest item that clamd looks at.
    pub longest_bytes: u64,
}

/// Bytes of the longest item that a clamd looks at as Debian installs it (`MaxFileSize 25M`).
pub const LONGEST_SCANNED: u64 = 25 << 20;

impl Default for ScanFor {
    fn default() -> Self {
        Self { clamd: None, seconds: 10, longest_bytes: LONGEST_SCANNED }
    }
}

/// How the origin of letters is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Origin {
    /// Whether SPF, DKIM and DMARC are asked of the DNS.
    pub check: bool,
    /// The server in front whose `Authentication-Results` count instead.
    pub upstream: String,
    /// Whom to ask; the system's resolvers if there is none.
    pub resolvers: Vec<SocketAddr>,
    /// Seconds for one letter.
    pub seconds: u64,
}

impl Default for Origin {
    fn default() -> Self {
        Self { check: true, upstream: String::new(), resolvers: Vec::new(), seconds: 8 }
    }
}

/// What senders are told by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notices {
    /// Whether a new case is acknowledged.
    pub send: bool,
}

impl Default for Notices {
    fn default() -> Self {
        Self { send: true }
    }
}

/// Who keeps checkpoints of the ledger for us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoints {
    /// Mail addresses outside the vault.
    pub to: Vec<String>,
}

/// Addresses that checkpoints are mailed to, at most.
const MOST_OUTSIDERS: usize = 16;

/// Where mail is taken, and from whom it comes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// SMTP (RFC 5321), from servers in front of this one.
    pub smtp: Vec<SocketAddr>,
    /// SMTP from the world.
    pub mx: Vec<Mx>,
    /// LMTP (RFC 2033).
    pub lmtp: Vec<Endpoint>,
    /// The staff side's socket.
    pub staff: PathBuf,
    /// The networks of servers in front of this one.
    pub trusted: Vec<Network>,
    /// What happens to a letter with a CR or LF that stands alone, by LMTP from one of those.
    pub bare_newlines: BareNewlines,
}

/// What happens to a letter with a CR or LF that stands alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BareNewlines {
    /// It is refused.
    #[default]
    Reject,
    /// LF becomes CRLF, CR becomes a space: for a mail server of ours that hands such letters on.
    /// Only over LMTP from a trusted client; the bytes kept are then not the bytes sent, and a
    /// signature over them may break. Neither ever ends a letter.
    Normalize,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            smtp: vec![SocketAddr::from(([127, 0, 0, 1], 2525))],
            mx: Vec::new(),
            lmtp: Vec::new(),
            staff: STAFF_SOCKET.into(),
            trusted: Network::loopback(),
            bare_newlines: BareNewlines::Reject,
        }
    }
}

/// Where mail is taken from the world: nobody is trusted there, whatever the address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mx {
    /// Where it listens.
    pub address: SocketAddr,
    /// The networks of the proxies that every connection comes through; none if it comes by itself.
    #[serde(default)]
    pub proxy_from: Vec<Network>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How much at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest letter, in bytes.
    pub letter_bytes: u64,
    /// Connections at the same time.
    pub connections: u32,
    /// Connections at the same time of one client that is not trusted.
    pub connections_per_client: u32,
    /// Letters that one client may send to an `mx` listener in an hour.
    pub letters_per_hour: u32,
    /// Recipients of one letter.
    pub recipients: u32,
    /// Seconds that a silent client is waited for.
    pub idle_seconds: u64,
    /// Child processes that letters are parsed in.
    pub parsers: u32,
    /// Bytes kept back on the vault's disk for the day when it is full, at least.
    pub reserve_bytes: u64,
}

/// The longest letter that can be allowed, in bytes: letters in flight lie in memory (design §10).
pub const LONGEST_LETTER: u64 = 64 << 20;

/// What can be kept back, in bytes: less would not hold a rotation of the cabinet.
const LEAST_RESERVE: u64 = 1 << 20;
const MOST_RESERVE: u64 = 1 << 40;

impl Default for Limits {
    fn default() -> Self {
        Self {
            letter_bytes: LONGEST_LETTER,
            connections: 100,
            connections_per_client: 10,
            letters_per_hour: 60,
            recipients: 100,
            idle_seconds: 300,
            parsers: 2,
            reserve_bytes: 64 << 20,
        }
    }
}

/// Where mail goes out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outgoing {
    /// Into a folder.
    Folder(PathBuf),
    /// To a mail server.
    Smtp(Smarthost),
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::Folder("outgoing".into())
    }
}

/// The mail server that mail goes out through.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smarthost {
    /// Its name or address.
    pub host: String,
    /// 587 unless it is said.
    #[serde(default = "submission")]
    pub port: u16,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: SmtpTls,
    /// For authentication, with `password_file`.
    #[serde(default)]
    pub username: Option<String>,
    /// A file with the password in its first line; read at the start.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

fn submission() -> u16 {
    587
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// STARTTLS, required (RFC 3207).
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// Not at all; loopback only.
    None,
}

/// Where LMTP listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Endpoint {
    /// An address and port.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

impl TryFrom<String> for Endpoint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| "neither address:port nor a path with a / in it")
    }
}

/// Addresses that share their first bits: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// A network is written as an address, or as an address, a slash and a number of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network: an address, or an address, a slash and a number of bits")]
pub struct BadNetwork;

impl Network {
    /// This machine itself.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        vec![
            Self { first: Ipv4Addr::new(127, 0, 0, 0).into(), bits: 8 },
            Self { first: Ipv6Addr::LOCALHOST.into(), bits: 128 },
        ]
    }

    /// Whether `address` lies in it. An IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differ = u32::from(first) ^ u32::from(address);
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differ = u128::from(first) ^ u128::from(address);
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| BadNetwork)?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| BadNetwork)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits <= most { Ok(Self { first, bits }) } else { Err(BadNetwork) }
    }
}

impl TryFrom<String> for Network {
    type Error = BadNetwork;

    fn try_from(text: String) -> Result<Self, BadNetwork> {
        text.parse()
    }
}

/// What is wrong with a configuration, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, if it is one line's fault.
    pub line: Option<usize>,
    /// The field, with the name of its table: `limits.parsers`.
    pub field: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// The longest configuration file, in bytes.
const LONGEST: u64 = 256 << 10;
/// The annotated sample.
const SAMPLE: &str = include_str!("../docs/config.toml");
const SEE_SAMPLE: &str = "`kluis config` prints the annotated sample";

impl Config {
    /// Every address of ours: mailboxes, what is published, whom checkpoints go to, and who logs in to
    /// other mail servers, where that is an address. None of them is a person who asks.
    #[must_use]
    pub fn ours(&self) -> Vec<String> {
        let fetched = self.imap.iter().map(|account| &account.username);
        let sends = match &self.outgoing {
            Outgoing::Smtp(server) => server.username.as_ref(),
            Outgoing::Folder(_) => None,
        };
        let logs_in = fetched.chain(sends).filter(|name| is_address(name));
        let all = self.addresses.iter().chain(&self.published).chain(&self.checkpoints.to);
        all.chain(logs_in).cloned().collect()
    }

    /// Reads and checks a configuration; its folder is the state directory.
    ///
    /// # Errors
    /// What is wrong, with file, line, field and a hint.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |problem: String, hint| ConfigError {
            file: path.to_owned(),
            line: None,
            field: None,
            problem,
            hint,
        };
        let mut text = String::new();
        let absolute = fs::File::open(path)
            .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
            .and_then(|_| std::path::absolute(path))
            .map_err(|error| {
                wrong(error.to_string(), "`kluis init DIR` makes a state directory")
            })?;
        if text.len() as u64 > LONGEST {
            return Err(wrong("longer than a configuration can be".to_owned(), SEE_SAMPLE));
        }
        Self::parse(&text, &absolute)
    }

    /// The defaults of a state directory: what [`text_for`](Self::text_for) says.
    ///
    /// # Errors
    /// `addresses` are none.
    pub fn default_for<A: AsRef<str>>(dir: &Path, addresses: &[A]) -> Result<Self, ConfigError> {
        Self::parse(&Self::text_for(dir, addresses), &dir.join(FILE))
    }

    /// The text that `init` writes: the sample, with the addresses, the hostname and the cabinet
    /// key's folder filled in.
    #[must_use]
    pub fn text_for<A: AsRef<str>>(dir: &Path, addresses: &[A]) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let all: Vec<String> = addresses.iter().map(|address| quoted(address.as_ref())).collect();
        let hostname = addresses.first().map_or("", |address| domain(address.as_ref()));
        let filled = [
            ("hostname = ", quoted(hostname)),
            ("addresses = ", format!("[{}]", all.join(", "))),
            ("cabinet_key = ", quoted(&beside(dir).to_string_lossy())),
        ];
        let mut text = String::with_capacity(SAMPLE.len() + 256);
        for line in SAMPLE.lines() {
            match filled.iter().find(|(start, _)| line.starts_with(start)) {
                Some((start, value)) => text.push_str(&format!("{start}{value}\n")),
                None => text.push_str(&format!("{line}\n")),
            }
        }
        text
    }

    /// The annotated sample: the documentation of every field.
    #[must_use]
    pub fn sample() -> &'static str {
        SAMPLE
    }

    /// The state directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map(|span| span.start.min(text.len()));
            ConfigError {
                file: file.to_owned(),
                line: at.map(|at| line_of(text, at)),
                field: at.and_then(|at| field_at(text, at)),
                problem: error.message().to_owned(),
                hint: SEE_SAMPLE,
            }
        })?;
        config.fill(file);
        config.check().map_err(|(field, problem, hint)| ConfigError {
            file: file.to_owned(),
            line: line_with(text, field),
            field: Some(field.to_owned()),
            problem: problem.to_owned(),
            hint,
        })?;
        imap::check(&config.imap).map_err(|(nth, field, problem, hint)| ConfigError {
            file: file.to_owned(),
            line: imap::line_with(text, nth, field),
            field: Some(field.to_owned()),
            problem: problem.to_owned(),
            hint,
        })?;
        Ok(config)
    }

    /// Makes paths absolute and fills in what depends on other fields.
    fn fill(&mut self, file: &Path) {
        self.dir = file.parent().unwrap_or(Path::new("/")).to_owned();
        for address in &mut self.addresses {
            if let Some((local, domain)) = address.rsplit_once('@') {
                *address = format!("{local}@{}", domain.to_ascii_lowercase());
            }
        }
        if self.hostname.is_empty() {
            let first = self.addresses.first().map_or("", |address| domain(address));
            self.hostname = first.to_owned();
        }
        if self.cabinet_key.as_os_str().is_empty() {
            self.cabinet_key = beside(&self.dir);
        }
        let mut paths = vec![&mut self.cabinet_key, &mut self.listen.staff];
        paths.extend(self.listen.lmtp.iter_mut().filter_map(|endpoint| match endpoint {
            Endpoint::Unix(path) => Some(path),
            Endpoint::Tcp(_) => None,
        }));
        paths.extend(self.tls.iter_mut().flat_map(|tls| [&mut tls.certificate, &mut tls.key]));
        match &mut self.outgoing {
            Outgoing::Folder(path) => paths.push(path),
            Outgoing::Smtp(host) => paths.extend(host.password_file.as_mut()),
        }
        paths.extend(self.imap.iter_mut().flat_map(Imap::paths));
        for path in paths {
            *path = without_dots(&self.dir.join(&*path));
        }
    }

    fn check(&self) -> Result<(), (&'static str, &'static str, &'static str)> {
        let limits = &self.limits;
        let in_range = |low: u64, value: u64, high: u64| (low..=high).contains(&value);
        let checks = [
            (
                "addresses",
                !self.addresses.is_empty() && self.addresses.iter().all(|a| is_address(a)),
                "needs one mail address or more",
                "write them as addresses = [\"privacy@agency.example\"]",
            ),
            (
                "published",
                self.published.iter().all(|a| is_address(a)),
                "needs mail addresses",
                "write them as published = [\"privcay@agency.example\"]",
            ),
            ("hostname", is_hostname(&self.hostname), "not a host name", SEE_SAMPLE),
            (
                "cabinet_key",
                !self.cabinet_key.starts_with(&self.dir),
                "lies in the state directory",
                "a copy of the state directory must not hold it; name a folder on another device",
            ),
            (
                "limits.letter_bytes",
                in_range(64 << 10, limits.letter_bytes, LONGEST_LETTER),
                "must be 65536 to 67108864",
                "larger files do not come by mail; `kluis put` takes them",
            ),
            (
                "limits.connections",
                in_range(1, limits.connections.into(), 1000),
                "must be 1 to 1000",
                SEE_SAMPLE,
            ),
            (
                "limits.connections_per_client",
                in_range(1, limits.connections_per_client.into(), 1000),
                "must be 1 to 1000",
                SEE_SAMPLE,
            ),
            (
                "limits.letters_per_hour",
                in_range(1, limits.letters_per_hour.into(), 100_000),
                "must be 1 to 100000",
                "a server in front that hands on more belongs on listen.smtp or listen.lmtp",
            ),
            (
                "limits.recipients",
                in_range(100, limits.recipients.into(), 1000),
                "must be 100 to 1000",
                SEE_SAMPLE,
            ),
            (
                "limits.idle_seconds",
                in_range(10, limits.idle_seconds, 600),
                "must be 10 to 600",
                SEE_SAMPLE,
            ),
            (
                "limits.parsers",
                in_range(1, limits.parsers.into(), 64),
                "must be 1 to 64",
                SEE_SAMPLE,
            ),
            ("scan.seconds", in_range(1, self.scan.seconds, 20), "must be 1 to 20", SEE_SAMPLE),
            (
                "scan.longest_bytes",
                in_range(1 << 20, self.scan.longest_bytes, 2_147_483_647),
                "must be 1048576 to 2147483647",
                SEE_SAMPLE,
            ),
            ("origin.seconds", in_range(1, self.origin.seconds, 30), "must be 1 to 30", SEE_SAMPLE),
            (
                "origin.upstream",
                self.origin.upstream.is_empty() || is_hostname(&self.origin.upstream),
                "not the name of a server",
                "the word that its Authentication-Results fields begin with",
            ),
            (
                "identity",
                self.identity.asks_for_no_copy(),
                "asks for a copy of an identity document as a rule, which is not lawful",
                "L0 to L3: a copy is asked for where a doubt was reasoned, `kluis who --help`",
            ),
            (
                "identity.new_address_days",
                self.identity.new_address_days <= MOST_DAYS,
                "must be 0 to 365",
                SEE_SAMPLE,
            ),
            (
                "limits.reserve_bytes",
                in_range(LEAST_RESERVE, limits.reserve_bytes, MOST_RESERVE),
                "must be 1048576 (1 MiB) to 1099511627776 (1 TiB)",
                SEE_SAMPLE,
            ),
        ];
        let outsiders = &self.checkpoints.to;
        let ours = |to: &String| {
            let to = to.to_ascii_lowercase();
            let is_it = |ours: &String| {
                let ours = ours.to_ascii_lowercase();
                ours == to || to == format!("postmaster@{}", domain(&ours))
            };
            self.addresses.iter().any(is_it)
        };
        let outside = [
            (
                "checkpoints.to",
                outsiders.len() <= MOST_OUTSIDERS && outsiders.iter().all(|to| is_address(to)),
                "needs mail addresses, at most 16",
                "write them as to = [\"dpo@example.be\"]",
            ),
            (
                "checkpoints.to",
                !outsiders.iter().any(ours),
                "is taken in here, as one of `addresses` or their postmaster: each would open a case",
                "name somebody who keeps mail elsewhere",
            ),
        ];
        for (field, is_good, problem, hint) in checks.into_iter().chain(outside) {
            if !is_good {
                return Err((field, problem, hint));
            }
        }
        match &self.outgoing {
            Outgoing::Folder(_) => Ok(()),
            Outgoing::Smtp(host) => host.check(),
        }
    }
}

impl Smarthost {
    fn check(&self) -> Result<(), (&'static str, &'static str, &'static str)> {
        let address = self.host.parse::<IpAddr>();
        let is_loopback =
            self.host == "localhost" || address.as_ref().is_ok_and(|address| address.is_loopback());
        if address.is_err() && !is_hostname(&self.host) {
            return Err(("outgoing.smtp.host", "not a host name or an address", SEE_SAMPLE));
        }
        if self.port == 0 {
            return Err(("outgoing.smtp.port", "must not be 0", SEE_SAMPLE));
        }
        if self.tls == SmtpTls::None && !is_loopback {
            return Err((
                "outgoing.smtp.tls",
                "only a loopback host may do without TLS",
                "write tls = \"starttls\" or tls = \"implicit\"",
            ));
        }
        match (&self.username, &self.password_file) {
            (Some(_), None) => Err((
                "outgoing.smtp.username",
                "needs password_file beside it",
                "the password stands in a file of its own, never here",
            )),
            (None, Some(_)) => {
                Err(("outgoing.smtp.password_file", "needs username beside it", SEE_SAMPLE))
            }
            _ => Ok(()),
        }
    }
}

/// `DIR.cabinet-key`.
fn beside(dir: &Path) -> PathBuf {
    let mut path = dir.as_os_str().to_owned();
    path.push(".cabinet-key");
    path.into()
}

/// The path without `.` and `..`, by its text alone: it need not be there yet.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

fn domain(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// Whether it is `local@domain` as it stands in an envelope without quotes (RFC 5321 §4.1.2, with
/// the letters of RFC 6531 in the local part).
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"()<>[]:;@\\,\"".contains(c);
    (1..=64).contains(&local.len()) && local.chars().all(is_plain) && is_hostname(domain)
}

/// Whether it is a host name: labels of letters, digits and inner hyphens (RFC 1123 §2.1).
fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// The lines that set something, each with its number and the field's full name.
fn fields(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut table = String::new();
    text.lines().enumerate().filter_map(move |(number, line)| {
        let line = line.trim();
        if line.starts_with('[')
            && let Some((name, _)) = line.trim_start_matches('[').split_once(']')
        {
            name.trim().clone_into(&mut table);
            return Some((number + 1, table.clone()));
        }
        let (key, _) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        let dot = if table.is_empty() { "" } else { "." };
        Some((number + 1, format!("{table}{dot}{}", key.trim())))
    })
}

fn field_at(text: &str, at: usize) -> Option<String> {
    let line = line_of(text, at);
    fields(text).filter(|(number, _)| *number <= line).last().map(|(_, field)| field)
}

fn line_with(text: &str, field: &str) -> Option<usize> {
    fields(text).find_map(|(number, name)| (name == field).then_some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/var/lib/kluis/kluis.toml"))
    }

    const ADDRESSES: &str = "addresses = [\"privacy@agency.example\"]\n";

    #[test]
    fn a_copy_of_an_identity_document_is_no_rule() {
        let rule = |level: &str| {
            format!("addresses = [\"privacy@agency.example\"]\n[identity]\naccess = \"{level}\"\n")
        };
        assert!(parse(&rule("L3")).is_ok());
        let error = parse(&rule("L4")).expect_err("is refused").to_string();
        assert!(error.contains("asks for a copy of an identity document"), "{error}");
    }

    #[test]
    fn the_sample_parses_and_says_what_holds_without_it() {
        let sample = parse(Config::sample()).expect("parses");
        assert_eq!(sample, parse(ADDRESSES).expect("parses"));
        assert_eq!(sample.dir(), Path::new("/var/lib/kluis"));
        assert_eq!(sample.hostname, "agency.example");
        assert_eq!(sample.outgoing, Outgoing::Folder("/var/lib/kluis/outgoing".into()));
        let relative = format!("{ADDRESSES}cabinet_key = \"../kluis.cabinet-key\"\n");
        assert_eq!(parse(&relative).expect("parses").cabinet_key, sample.cabinet_key);
        let commented = Config::sample().replace("\n# [tls]\n", "\n[tls]\n");
        let commented = commented.replace("# certificate", "certificate").replace("# key", "key");
        let with_tls = parse(&commented).expect("parses");
        let tls = with_tls.tls.as_ref().expect("is there");
        assert_eq!(tls.key, Path::new("/var/lib/kluis/tls/key.pem"));
    }

    #[test]
    fn the_listener_for_the_world_in_the_sample_parses_when_it_is_wanted() {
        let (before, after) = Config::sample().split_once("# [[listen.mx]]").expect("is there");
        let (table, after) = after.split_once("\n\n").expect("its end");
        let table = table.replace("\n# ", "\n");
        let config = parse(&format!("{before}[[listen.mx]]{table}\n\n{after}")).expect("parses");
        let [mx] = &config.listen.mx[..] else { panic!("one listener") };
        assert_eq!(mx.address, "0.0.0.0:25".parse().expect("an address"));
        assert_eq!(mx.proxy_from, ["192.0.2.10".parse().expect("a network")]);
        let alone =
            format!("{ADDRESSES}[listen]\nsmtp = []\n[[listen.mx]]\naddress = \"[::]:25\"\n");
        assert!(parse(&alone).expect("parses").listen.mx[0].proxy_from.is_empty());
    }

    #[test]
    fn the_smarthost_of_the_sample_parses_when_it_is_taken_instead_of_the_folder() {
        let (start, smtp) = Config::sample().split_once("# [outgoing.smtp]").expect("is there");
        let start = start.replace("[outgoing]\nfolder = \"outgoing\"\n", "");
        let smtp = smtp.replace("\n# ", "\n");
        let config = parse(&format!("{start}[outgoing.smtp]{smtp}")).expect("parses");
        let Outgoing::Smtp(host) = config.outgoing else { panic!("a smarthost") };
        assert_eq!((host.port, host.tls), (587, SmtpTls::Starttls));
        assert_eq!(host.password_file.as_deref(), Some(Path::new("/etc/kluis/smtp.password")));
        let both = Config::sample().replace("# [outgoing.smtp]", "[outgoing.smtp]");
        let both = both.replace("# host", "host");
        assert!(parse(&both).is_err(), "a folder or a server, not both");
    }

    #[test]
    fn what_init_writes_reads_back_as_the_defaults() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("a \"state\" directory");
        fs::create_dir(&dir).expect("made");
        let addresses = ["backoffice@Jobs.example", "info@jobs.example"];
        fs::write(dir.join(FILE), Config::text_for(&dir, &addresses)).expect("written");
        let read = Config::load(&dir.join(FILE)).expect("parses");
        assert_eq!(read, Config::default_for(&dir, &addresses).expect("is one"));
        assert_eq!(read.addresses[0], "backoffice@jobs.example");
        assert!(read.cabinet_key.ends_with("a \"state\" directory.cabinet-key"));
        assert!(Config::default_for(&dir, &["nobody"]).is_err());
        assert!(Config::default_for::<&str>(&dir, &[]).is_err());
    }

    #[test]
    fn whatever_address_stands_in_the_settings_is_ours() {
        let text = "addresses = [\"privacy@agency.example\"]\npublished = [\"privcay@agency.example\"]\n\
                    [outgoing.smtp]\nhost = \"mail.example\"\nusername = \"sends@agency.example\"\n\
                    password_file = \"p\"\n[checkpoints]\nto = [\"dpo@example.org\"]\n\
                    [[imap]]\nname = \"a\"\nhost = \"h\"\nusername = \"box@agency.example\"\n\
                    password_file = \"p\"\n[[imap]]\nname = \"b\"\nhost = \"h\"\nusername = \"office\"\n\
                    password_file = \"p\"\n";
        let ours = parse(text).expect("settings").ours();
        let [a, b, c, d, e] = &ours[..] else { panic!("{ours:?}") };
        assert_eq!((a.as_str(), b.as_str()), ("privacy@agency.example", "privcay@agency.example"));
        assert_eq!((c.as_str(), d.as_str()), ("dpo@example.org", "box@agency.example"));
        assert_eq!(e, "sends@agency.example");
    }

    #[test]
    fn a_wrong_line_is_named_with_its_field_and_a_hint() {
        let smtp = "[outgoing.smtp]\nhost = \"mail.example\"\n";
        for (rest, line, field) in [
            ("colour = 1\n", 2, "colour"),
            ("[limits]\nparsers = 0\n", 3, "limits.parsers"),
            ("[limits]\nparsers = \"two\"\n", 3, "limits.parsers"),
            ("[limits]\nletter_bytes = 67108865\n", 3, "limits.letter_bytes"),
            ("[limits]\nidle_seconds = -1\n", 3, "limits.idle_seconds"),
            ("[limits]\nreserve_bytes = 1048575\n", 3, "limits.reserve_bytes"),
            ("[limits]\nconnections_per_client = 0\n", 3, "limits.connections_per_client"),
            ("[limits]\nletters_per_hour = 0\n", 3, "limits.letters_per_hour"),
            ("[[listen.mx]]\naddress = \"mx:25\"\n", 3, "listen.mx.address"),
            ("[[listen.mx]]\naddress = \"[::]:25\"\nproxy = true\n", 4, "listen.mx.proxy"),
            (
                "[[listen.mx]]\naddress = \"[::]:25\"\nproxy_from = [\"10.0.0.0/33\"]\n",
                4,
                "listen.mx.proxy_from",
            ),
            ("[limits]\n\ncipher = \"none\"\n", 4, "limits.cipher"),
            ("[listen]\nsmtp = [\"localhost:25\"]\n", 3, "listen.smtp"),
            ("[listen]\nlmtp = [\"lmtp\"]\n", 3, "listen.lmtp"),
            ("[listen]\ntrusted = [\n  \"::1/128\",\n  \"10.0.0.0/33\",\n]\n", 3, "listen.trusted"),
            ("hostname = \"a_b\"\n", 2, "hostname"),
            ("cabinet_key = \"cabinet\"\n", 2, "cabinet_key"),
            ("[tls]\nkey = \"k\"\n", 2, "tls"),
            (&format!("{smtp}tls = \"none\"\n"), 4, "outgoing.smtp.tls"),
            (&format!("{smtp}username = \"u\"\n"), 4, "outgoing.smtp.username"),
            (&format!("{smtp}password_file = \"p\"\n"), 4, "outgoing.smtp.password_file"),
            (&format!("{smtp}password = \"p\"\n"), 4, "outgoing.smtp.password"),
            ("[checkpoints]\nto = [\"dpo\"]\n", 3, "checkpoints.to"),
            ("[checkpoints]\nto = [\"Privacy@agency.example\"]\n", 3, "checkpoints.to"),
            ("[checkpoints]\nto = [\"postmaster@agency.example\"]\n", 3, "checkpoints.to"),
            ("[checkpoints]\nfrom = \"dpo@agency.example\"\n", 3, "checkpoints.from"),
        ] {
            let error = parse(&format!("{ADDRESSES}{rest}")).expect_err(rest);
            let shown = error.to_string();
            assert_eq!(error.line, Some(line), "{shown}");
            assert_eq!(error.field.as_deref(), Some(field), "{shown}");
            assert!(shown.starts_with(&format!("/var/lib/kluis/kluis.toml:{line}: {field}: ")));
            assert!(!error.hint.is_empty());
        }
        let none = Config::load(Path::new("/nowhere/kluis.toml")).expect_err("is not there");
        assert!(none.hint.contains("init"));
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for bad in ["", "a", "@b.example", "a@", "a b@c.example", "a@b@c.example", "a@-b", "a@b..c"]
        {
            let error = parse(&format!("addresses = [\"{bad}\"]\n")).expect_err(bad);
            assert_eq!((error.line, error.field.as_deref()), (Some(1), Some("addresses")));
        }
        assert!(parse("addresses = [\"vie.privée+x@agency.example\"]\n").is_ok());
        assert!(parse("").is_err());
    }

    #[test]
    fn a_network_contains_what_it_should() {
        let network = |text: &str| Network::try_from(text.to_owned()).expect("a network");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (net, inside, outside) in [
            ("127.0.0.0/8", "127.255.0.1", "128.0.0.1"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1/128", "::1", "::2"),
            ("192.0.2.0/24", "::ffff:192.0.2.7", "::ffff:192.0.3.7"),
        ] {
            assert!(network(net).contains(address(inside)), "{net} {inside}");
            assert!(!network(net).contains(address(outside)), "{net} {outside}");
        }
    }

    #[test]
    fn a_network_contains_what_shares_its_bits() {
        for (network, address, inside) in [
            ("127.0.0.0/8", "127.1.2.3", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.255", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.0/8", "::ffff:10.9.9.9", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let network: Network = network.parse().expect("the network reads");
            let address: IpAddr = address.parse().expect("the address reads");
            assert_eq!(network.contains(address), inside, "{network:?} {address}");
        }
        for text in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Network>(), Err(BadNetwork), "{text}");
        }
    }
}
