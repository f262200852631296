//! Carries a mail out: to a smarthost, or into a folder.
//!
//! One recipient a transaction. Whatever the mail is, the server sees nothing but lines ended by
//! CRLF: a mail with a bare CR or LF could end early for a lax server and smuggle a second one
//! (RFC 5321 §2.3.8), so it is refused here, whoever composed it.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as LettreTls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{
    Address, AsyncFileTransport, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
};

use super::Outgoing;
use crate::ids::LetterId;
use crate::secret::Secret;

/// How long a server may keep us waiting for one reply.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Characters of a line without its end (RFC 5321 §4.5.3.1.6).
const MAX_LINE: usize = 998;
/// Where a folder's mail is written before it appears under its name.
const PARTIAL: &str = ".partial";

/// Where mail goes.
pub enum Transport {
    /// A folder: one `.eml` a mail, its envelope beside it as `.json`.
    Folder(PathBuf),
    /// A smarthost.
    Smtp(Smarthost),
}

/// A server that takes our mail.
pub struct Smarthost {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// User and password; sent over TLS that was required, or to this machine.
    pub credentials: Option<(String, Secret<String>)>,
    /// The name we give in EHLO; a null reverse-path is judged by it (RFC 7208 §2.4).
    pub helo: String,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// STARTTLS where the server has it.
    Opportunistic,
    /// STARTTLS or nothing (RFC 3207).
    Required,
    /// From the first byte (RFC 8314).
    Implicit,
    /// None: to this machine only.
    None,
}

/// Why a mail was not taken. Carries no address and nothing the server said but its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Try again later.
    Temporary(Option<u16>),
    /// Trying again will not help.
    Permanent(Option<u16>),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, code) = match self {
            SendError::Temporary(code) => ("for now", code),
            SendError::Permanent(code) => ("for good", code),
        };
        write!(f, "the mail was refused {word}")?;
        code.map_or(Ok(()), |code| write!(f, " ({code})"))
    }
}

impl std::error::Error for SendError {}

/// Sends one mail. When this returns, the server has taken it, or it is durable in the folder.
///
/// # Errors
/// `Permanent` for a mail that must not go out, a setting that would expose it, or a 5xx reply;
/// `Temporary` for everything else, a lost connection included.
pub async fn send(transport: &Transport, outgoing: &Outgoing) -> Result<(), SendError> {
    if !is_clean(outgoing.mail()) {
        return Err(SendError::Permanent(None));
    }
    let envelope = envelope(outgoing).ok_or(SendError::Permanent(None))?;
    match transport {
        Transport::Folder(folder) => put(folder, &envelope, outgoing.mail()).await,
        Transport::Smtp(smarthost) => submit(smarthost, &envelope, outgoing.mail()).await,
    }
}

/// ASCII lines of bearable length, each ended by CRLF, and no CR or LF elsewhere.
fn is_clean(mail: &[u8]) -> bool {
    std::str::from_utf8(mail).is_ok_and(|text| {
        text.is_ascii()
            && text.ends_with("\r\n")
            && text
                .split("\r\n")
                .all(|line| line.len() <= MAX_LINE && !line.contains(['\r', '\n', '\0']))
    })
}

fn envelope(outgoing: &Outgoing) -> Option<Envelope> {
    let from = match outgoing.envelope_from().expose().as_str() {
        "" => None,
        from => Some(from.parse::<Address>().ok()?),
    };
    let to = outgoing.envelope_to().expose().parse::<Address>().ok()?;
    Envelope::new(from, vec![to]).ok()
}

/// Whether the server answers: asked before a mail that must not go out twice is begun.
pub async fn is_there(transport: &Transport) -> bool {
    match transport {
        Transport::Folder(_) => true,
        Transport::Smtp(smarthost) => match dial(smarthost) {
            Ok(server) => server.test_connection().await.unwrap_or(false),
            // Said again, with its reason, by sending itself.
            Err(_) => true,
        },
    }
}

fn dial(smarthost: &Smarthost) -> Result<AsyncSmtpTransport<Tokio1Executor>, SendError> {
    let Smarthost { host, port, tls, credentials, helo } = smarthost;
    let local = is_local(host);
    let exposed = credentials.is_some() && !matches!(tls, Tls::Required | Tls::Implicit);
    if !local && (*tls == Tls::None || exposed) {
        return Err(SendError::Permanent(None));
    }
    let parameters = || TlsParameters::new(host.clone()).map_err(|_| SendError::Temporary(None));
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(*port)
        .timeout(Some(TIMEOUT))
        .hello_name(ClientId::Domain(helo.clone()))
        .tls(match tls {
            Tls::None => LettreTls::None,
            Tls::Opportunistic => LettreTls::Opportunistic(parameters()?),
            Tls::Required => LettreTls::Required(parameters()?),
            Tls::Implicit => LettreTls::Wrapper(parameters()?),
        });
    if let Some((user, password)) = credentials {
        builder = builder.credentials(Credentials::new(user.clone(), password.expose().clone()));
    }
    Ok(builder.build())
}

async fn submit(smarthost: &Smarthost, envelope: &Envelope, mail: &[u8]) -> Result<(), SendError> {
    // The library ends the last line itself.
    let lines = mail.strip_suffix(b"\r\n").unwrap_or(mail);
    match dial(smarthost)?.send_raw(envelope, lines).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let code = error.status().map(u16::from);
            Err(if error.is_permanent() {
                SendError::Permanent(code)
            } else {
                SendError::Temporary(code)
            })
        }
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Writes mail and envelope aside, makes both durable, then lets them appear: the envelope first,
/// so that a mail that can be seen has one.
async fn put(folder: &Path, envelope: &Envelope, mail: &[u8]) -> Result<(), SendError> {
    let partial = folder.join(PARTIAL);
    let mut private = tokio::fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(&partial).await.map_err(|_| SendError::Temporary(None))?;
    let id = AsyncFileTransport::<Tokio1Executor>::with_envelope(&partial)
        .send_raw(envelope, mail)
        .await
        .map_err(|_| SendError::Temporary(None))?;
    let folder = folder.to_owned();
    let settle = move || -> std::io::Result<()> {
        let name = LetterId::random();
        for kind in ["json", "eml"] {
            let written = partial.join(format!("{id}.{kind}"));
            fs::set_permissions(&written, Permissions::from_mode(0o600))?;
            File::open(&written)?.sync_all()?;
            fs::rename(&written, folder.join(format!("{name}.{kind}")))?;
        }
        File::open(&folder)?.sync_all()
    };
    match tokio::task::spawn_blocking(settle).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(SendError::Temporary(None)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    fn outgoing(from: &str, mail: &[u8]) -> Outgoing {
        Outgoing::new(from, "lotte@example.net", mail.to_vec()).unwrap()
    }

    fn loopback(port: u16) -> Smarthost {
        Smarthost {
            host: "127.0.0.1".into(),
            port,
            tls: Tls::None,
            credentials: None,
            helo: "mail.example.org".into(),
        }
    }

    /// A server for one transaction: says `replies` in turn and gives back what it was told.
    async fn server(replies: &'static [&'static str]) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let (mut told, mut in_content) = (String::new(), false);
            stream.write_all(b"220 test\r\n").await.unwrap();
            let mut replies = replies.iter();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await.unwrap() == 0 {
                    return told;
                }
                told.push_str(&line);
                in_content = in_content && line != ".\r\n";
                if !in_content {
                    let Some(reply) = replies.next() else { return told };
                    in_content = reply.starts_with("354");
                    stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
                }
            }
        });
        (port, served)
    }

    #[tokio::test]
    async fn a_smarthost_gets_one_recipient_and_the_very_lines() {
        let (port, served) =
            server(&["250 hi", "250 ok", "250 ok", "354 go", "250 taken", "221 bye"]).await;
        let mail = outgoing("", b"Subject: a\r\n\r\n.dot\r\n..\r\nend\r\n");
        assert_eq!(send(&Transport::Smtp(loopback(port)), &mail).await, Ok(()));
        let told = served.await.unwrap();
        assert!(told.starts_with("EHLO mail.example.org\r\nMAIL FROM:<>"), "{told}");
        assert_eq!(told.matches("RCPT TO:<lotte@example.net>").count(), 1);
        assert!(told.contains("DATA\r\nSubject: a\r\n\r\n..dot\r\n...\r\nend\r\n.\r\n"), "{told}");
    }

    #[tokio::test]
    async fn a_refusal_says_whether_to_try_again() {
        let mail = outgoing("privacy@example.org", b"a: b\r\n\r\n");
        let (port, _served) = server(&["250 hi", "250 ok", "550 no such user lotte"]).await;
        let refused = send(&Transport::Smtp(loopback(port)), &mail).await.unwrap_err();
        assert_eq!(refused, SendError::Permanent(Some(550)));
        assert_eq!(refused.to_string(), "the mail was refused for good (550)");
        let (port, _served) = server(&["250 hi", "451 later"]).await;
        let refused = send(&Transport::Smtp(loopback(port)), &mail).await;
        assert_eq!(refused, Err(SendError::Temporary(Some(451))));
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let refused = send(&Transport::Smtp(loopback(closed)), &mail).await;
        assert_eq!(refused, Err(SendError::Temporary(None)));
    }

    #[tokio::test]
    async fn what_a_lax_server_could_split_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let transport = Transport::Folder(folder.path().into());
        let long = [b"a".repeat(MAX_LINE + 1), b"\r\n".to_vec()].concat();
        for mail in [
            &b"a: b\r\n\r\nx\n.\r\ny\r\n"[..],
            b"a\r\n\r\nx\r.\r\n",
            b"a\r\n\r\nx\r\r\n",
            b"a\r\n\r\nx",
            b"a\r\n\r\nx\n",
            b"a\0\r\n",
            b"caf\xe9\r\n",
            b"",
            &long,
        ] {
            assert_eq!(
                send(&transport, &outgoing("", mail)).await,
                Err(SendError::Permanent(None))
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_would_cross_the_network_in_clear_is_not_sent() {
        let mail = outgoing("", b"a: b\r\n\r\n");
        let secret = || Some(("user".to_owned(), Secret::new("password".to_owned())));
        for (tls, credentials) in
            [(Tls::None, None), (Tls::None, secret()), (Tls::Opportunistic, secret())]
        {
            let host = "mail.example.invalid".into();
            let away = Smarthost { host, tls, credentials, ..loopback(25) };
            let refused = send(&Transport::Smtp(away), &mail).await;
            assert_eq!(refused, Err(SendError::Permanent(None)));
        }
    }

    #[tokio::test]
    async fn a_folder_gets_mail_and_envelope_under_our_names() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("out/box");
        let transport = Transport::Folder(below.clone());
        let mail = b"To: lotte@example.net\r\n\r\nx\r\n";
        send(&transport, &outgoing("", mail)).await.unwrap();
        send(&transport, &outgoing("privacy@example.org", mail)).await.unwrap();
        let names: Vec<PathBuf> =
            fs::read_dir(&below).unwrap().map(|e| e.unwrap().path()).collect();
        let of =
            |kind: &str| names.iter().filter(|n| n.extension().is_some_and(|e| e == kind)).count();
        assert_eq!((names.len(), of("eml"), of("json")), (5, 2, 2));
        for name in names.iter().filter(|name| name.extension().is_some_and(|e| e == "eml")) {
            assert_eq!(fs::read(name).unwrap(), mail);
            name.file_stem().unwrap().to_str().unwrap().parse::<LetterId>().unwrap();
            let beside = fs::read_to_string(name.with_extension("json")).unwrap();
            assert!(beside.contains("lotte@example.net"));
        }
        assert_eq!(fs::read_dir(below.join(PARTIAL)).unwrap().count(), 0);
    }
}
