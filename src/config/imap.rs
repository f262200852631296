//! `[[imap]]`: mailboxes on other servers that letters are fetched from.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::civil::Date;
use serde::Deserialize;

use super::{SEE_SAMPLE, fields, is_hostname};

/// A mailbox that letters are fetched from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imap {
    /// What it is called in the log and, hashed with host, port, user and folder, in the ledger.
    pub name: String,
    /// The server's name or address.
    pub host: String,
    /// 993 unless it is said.
    #[serde(default = "imaps")]
    pub port: u16,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: ImapTls,
    /// A file of certificates in PEM that count beside the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The folder.
    #[serde(default = "inbox")]
    pub folder: String,
    /// Who logs in.
    pub username: String,
    /// A file with the password in its first line; or `oauth2`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Where access tokens come from.
    #[serde(default)]
    pub oauth2: Option<OAuth2>,
    /// What becomes of a mail whose letter is sealed.
    #[serde(default)]
    pub after: After,
    /// The folder for `after = "move"`.
    #[serde(default)]
    pub move_to: Option<String>,
    /// Minutes from one look to the next.
    #[serde(default = "five")]
    pub poll_minutes: u8,
    /// Mail that arrived before this day is left alone.
    #[serde(default)]
    pub since: Option<Date>,
}

fn imaps() -> u16 {
    993
}

fn inbox() -> String {
    "INBOX".to_owned()
}

fn five() -> u8 {
    5
}

/// How the connection to an IMAP server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImapTls {
    /// TLS from the first byte (RFC 8314).
    #[default]
    Implicit,
    /// STARTTLS, required.
    Starttls,
    /// Not at all; loopback only.
    None,
}

/// What becomes of a mail whose letter is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// It stays where it is, in clear.
    #[default]
    Keep,
    /// It is removed.
    Delete,
    /// It goes into another folder, in clear.
    Move,
}

/// Where access tokens come from (RFC 6749).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// A file with the client's secret in its first line. Without a refresh token the client asks for
    /// itself.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// A file with a refresh token in its first line; a newer one is written into it.
    #[serde(default)]
    pub refresh_token_file: Option<PathBuf>,
    /// For what, in the provider's words.
    #[serde(default)]
    pub scope: Option<String>,
}

/// Which mailbox, its field, what is wrong, and what to do.
type Wrong = (usize, &'static str, &'static str, &'static str);

impl Imap {
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let oauth2 = self.oauth2.iter_mut().flat_map(|oauth2| {
            oauth2.client_secret_file.iter_mut().chain(oauth2.refresh_token_file.iter_mut())
        });
        self.ca.iter_mut().chain(self.password_file.iter_mut()).chain(oauth2)
    }

    /// The files that hold its secrets.
    pub fn secrets(&self) -> impl Iterator<Item = &PathBuf> {
        let oauth2 = self.oauth2.iter().flat_map(|oauth2| {
            oauth2.client_secret_file.iter().chain(oauth2.refresh_token_file.iter())
        });
        self.password_file.iter().chain(oauth2)
    }

    fn check(&self) -> Result<(), (&'static str, &'static str, &'static str)> {
        let is_said = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control());
        let address = self.host.parse::<IpAddr>();
        let in_clear = self.tls == ImapTls::None;
        let is_moved = self.after == After::Move;
        let oauth2 = self.oauth2.as_ref();
        let secret_beside = "the secret stands in a file of its own, never here";
        let checks = [
            ("imap.name", is_name(&self.name), "1 to 32 letters, digits, - and _", SEE_SAMPLE),
            (
                "imap.host",
                address.is_ok() || is_hostname(&self.host),
                "not a host name or an address",
                SEE_SAMPLE,
            ),
            ("imap.port", self.port != 0, "must not be 0", SEE_SAMPLE),
            (
                "imap.tls",
                !in_clear || is_loopback(&self.host),
                "only a loopback host may do without TLS",
                "write tls = \"implicit\" or tls = \"starttls\"",
            ),
            ("imap.folder", is_said(&self.folder), "must be the name of a folder", SEE_SAMPLE),
            ("imap.username", is_said(&self.username), "must be who logs in", SEE_SAMPLE),
            (
                "imap.username",
                self.password_file.is_some() != oauth2.is_some(),
                "needs password_file or [imap.oauth2] beside it, one of the two",
                secret_beside,
            ),
            (
                "imap.after",
                is_moved == self.move_to.is_some(),
                "move_to goes with after = \"move\", and only with that",
                SEE_SAMPLE,
            ),
            (
                "imap.move_to",
                self.move_to.as_ref().is_none_or(|to| is_said(to) && *to != self.folder),
                "must be another folder",
                SEE_SAMPLE,
            ),
            (
                "imap.poll_minutes",
                (1..=9).contains(&self.poll_minutes),
                "must be 1 to 9",
                "routers forget connections that are silent for longer",
            ),
            (
                "imap.oauth2.token_url",
                oauth2.is_none_or(|oauth2| is_endpoint(&oauth2.token_url)),
                "must begin with https://, or with http:// and a loopback host",
                SEE_SAMPLE,
            ),
            (
                "imap.oauth2.client_id",
                oauth2.is_none_or(|oauth2| is_said(&oauth2.client_id)),
                "must be the name of the client",
                SEE_SAMPLE,
            ),
            (
                "imap.oauth2.client_id",
                oauth2.is_none_or(|oauth2| {
                    oauth2.client_secret_file.is_some() || oauth2.refresh_token_file.is_some()
                }),
                "needs client_secret_file or refresh_token_file beside it",
                secret_beside,
            ),
        ];
        for (field, is_good, problem, hint) in checks {
            if !is_good {
                return Err((field, problem, hint));
            }
        }
        Ok(())
    }
}

pub(super) fn check(mailboxes: &[Imap]) -> Result<(), Wrong> {
    let mut names = BTreeSet::new();
    for (nth, mailbox) in mailboxes.iter().enumerate() {
        mailbox.check().map_err(|(field, problem, hint)| (nth, field, problem, hint))?;
        if !names.insert(&mailbox.name) {
            return Err((nth, "imap.name", "is the name of another mailbox", SEE_SAMPLE));
        }
    }
    Ok(())
}

/// The line of a field of the nth mailbox.
pub(super) fn line_with(text: &str, nth: usize, field: &str) -> Option<usize> {
    let is_head = |line: &str| line.trim().starts_with("[[imap]]");
    let mut heads = text.lines().enumerate().filter(|(_, line)| is_head(line));
    let (head, _) = heads.nth(nth)?;
    let end = heads.next().map_or(usize::MAX, |(line, _)| line);
    let inside = |number: &usize| *number > head && *number <= end;
    let found = fields(text).find(|(number, name)| inside(number) && name == field);
    Some(found.map_or(head + 1, |(number, _)| number))
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=32).contains(&text.len()) && text.chars().all(is_part)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_endpoint(url: &str) -> bool {
    let is_plain = url.chars().all(|c| c.is_ascii_graphic());
    let host = |rest: &str| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
        let bare = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
        bare.trim_matches(['[', ']']).to_owned()
    };
    let is_safe = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => !host(rest).is_empty(),
        (_, Some(rest)) => is_loopback(&host(rest)),
        _ => false,
    };
    is_plain && !url.contains('@') && is_safe
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    const BEFORE: &str = "addresses = [\"privacy@agency.example\"]\n";
    const LEAST: &str = "[[imap]]\nname = \"office\"\nhost = \"imap.agency.example\"\n\
                         username = \"privacy\"\npassword_file = \"imap.password\"\n";

    fn parse(text: &str) -> Result<Config, super::super::ConfigError> {
        Config::parse(text, Path::new("/var/lib/kluis/kluis.toml"))
    }

    #[test]
    fn the_sample_says_what_holds_when_a_line_is_left_out() {
        let sample = Config::sample();
        let start = sample.find("# [[imap]]").expect("is in the sample");
        let lines = sample[start..].lines().map(|line| line.trim_start_matches(['#', ' ']));
        let is_setting = |line: &&str| {
            line.starts_with('[')
                || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        };
        let plain = lines.take_while(|line| !line.starts_with("[imap.oauth2]")).filter(is_setting);
        let plain: String = plain.map(|line| format!("{line}\n")).collect();
        let config = parse(&format!("{BEFORE}{plain}")).expect("parses");
        let least = parse(&format!("{BEFORE}{LEAST}")).expect("parses");
        assert_eq!(config.imap, least.imap);
        assert_eq!(
            config.imap[0].password_file.as_deref(),
            Some(Path::new("/var/lib/kluis/imap.password"))
        );
    }

    #[test]
    fn tokens_are_asked_for_where_the_settings_say() {
        let oauth2 = "[imap.oauth2]\ntoken_url = \"https://login.example/token\"\n\
                      client_id = \"kluis\"\nclient_secret_file = \"secret\"\n\
                      refresh_token_file = \"/etc/refresh\"\nscope = \"mail\"\n";
        let text = LEAST.replace("password_file = \"imap.password\"\n", "");
        let config = parse(&format!("{BEFORE}{text}{oauth2}")).expect("parses");
        let secrets: Vec<_> =
            config.imap[0].secrets().map(|path| path.display().to_string()).collect();
        assert_eq!(secrets, ["/var/lib/kluis/secret", "/etc/refresh"]);
        for (url, good) in [
            ("https://login.example/x", true),
            ("http://127.0.0.1:81/x", true),
            ("http://[::1]:81/x", true),
            ("http://localhost/x", true),
            ("http://login.example/x", false),
            ("http://127.0.0.1@login.example/x", false),
            ("http://127.0.0.1.login.example/x", false),
            ("ftp://login.example", false),
            ("https://", false),
            ("https://a b", false),
        ] {
            assert_eq!(is_endpoint(url), good, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_mailbox_is_said_with_its_line() {
        let oauth2 = "[imap.oauth2]\ntoken_url = \"https://a.example/\"\nclient_id = \"k\"\n";
        for (rest, line, field) in [
            ("tls = \"none\"\n", 7, "imap.tls"),
            ("tls = \"ssl\"\n", 7, "imap.tls"),
            ("port = 0\n", 7, "imap.port"),
            ("folder = \"\"\n", 7, "imap.folder"),
            ("folder = \"a\\nb\"\n", 7, "imap.folder"),
            ("after = \"move\"\n", 7, "imap.after"),
            ("move_to = \"Done\"\n", 2, "imap.after"),
            ("after = \"move\"\nmove_to = \"INBOX\"\n", 8, "imap.move_to"),
            ("poll_minutes = 10\n", 7, "imap.poll_minutes"),
            ("poll_minutes = 0\n", 7, "imap.poll_minutes"),
            ("since = \"yesterday\"\n", 7, "imap.since"),
            ("password = \"p\"\n", 7, "imap.password"),
            (oauth2, 5, "imap.username"),
            (
                "[[imap]]\nname = \"office\"\nhost = \"h\"\nusername = \"u\"\npassword_file = \"p\"\n",
                8,
                "imap.name",
            ),
            ("[[imap]]\nname = \"b\"\nhost = \"h\"\nusername = \"u\"\n", 10, "imap.username"),
            (
                "[[imap]]\nname = \"a b\"\nhost = \"h\"\nusername = \"u\"\npassword_file = \"p\"\n",
                8,
                "imap.name",
            ),
        ] {
            let error = parse(&format!("{BEFORE}{LEAST}{rest}")).expect_err(rest);
            let shown = error.to_string();
            assert_eq!(error.field.as_deref(), Some(field), "{shown}");
            assert_eq!(error.line, Some(line), "{shown}");
            assert!(!error.hint.is_empty());
        }
        let local = LEAST.replace("imap.agency.example", "127.0.0.1");
        assert!(parse(&format!("{BEFORE}{local}tls = \"none\"\n")).is_ok());
    }
}
