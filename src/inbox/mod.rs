//! Takes letters off the wire: SMTP and LMTP in, or IMAP, a [`Delivery`] and its envelope out.
//!
//! Promises: 250 is said only after the delivery's verdict was [`Verdict::Accepted`]; a letter ends
//! where every careful server says that it ends; memory, time and connections are bounded, whoever
//! calls. Knows nothing of what is in a letter and keeps none: no file is written here. What is
//! logged are connection numbers and reply codes, never an address, a name or a content.
//!
//! `smtp` is the conversation over bytes, `dot` finds the end of a letter and `bdat` counts to it,
//! `text` is what both keep, `budget` counts memory and `clients` who takes how much; `proxy` reads
//! whom a proxy speaks for, `connection` drives one conversation over a socket, [`run`] accepts and
//! stops. `pipe` is for the one letter that a mail server pipes.

mod bdat;
pub mod budget;
pub mod clients;
mod connection;
pub mod dot;
pub mod imap;
pub mod import;
pub mod origin;
pub mod pipe;
pub mod proxy;
mod replies;
pub mod scan;
pub mod settings;
pub mod smtp;
mod text;
pub mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use self::budget::Share;
use self::clients::Clients;
use self::connection::Wire;
pub use self::settings::{BareNewlines, Network, Recipients, Settings};
pub use self::smtp::Kind;
use crate::casebook::fetched::Fetched;
use crate::letter::Envelope;

/// A letter as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What the connection said before.
    pub envelope: Envelope,
    /// The DATA bytes, dots taken out, the CRLF of the last line included, before any header of
    /// ours. Every line ends with CRLF and there is no NUL.
    pub raw: Vec<u8>,
    /// Whether the client is one of ours, which took it from somebody else: a server in front of
    /// this one, whose word about the sender counts, and whose address says nothing.
    pub trusted: bool,
    /// From where it was fetched, if it was: then its lines are as they lay there.
    pub fetched: Option<Fetched>,
    /// The memory that it may take, for as long as somebody holds it.
    pub share: Share,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivery({} bytes)", self.raw.len())
    }
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sealed and durable: 250, and it is ours.
    Accepted,
    /// It could not be kept now: 451, and the sender keeps it.
    TryLater,
    /// The same of every letter, until somebody sees to it here: 451, and the sender keeps it.
    NotReady,
    /// The disk is full: 452, and the sender keeps it.
    NoRoom,
    /// It is not wanted: 554, for good.
    Refused,
    /// It has come by too often: 554, for good (RFC 5321 §6.3).
    Loop,
}

/// Who keeps the letters. The future runs to its end even when the client is gone or the server
/// stops; what it does about time is its own affair.
pub type Deliver =
    Arc<dyn Fn(Delivery) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

/// How long a failing accept is left alone (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client that finds no place may take to hear so.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// A socket that listens, the protocol it speaks, and with whom.
pub struct Listener {
    door: Door,
    socket: Socket,
}

/// With whom a listener speaks, and how.
struct Door {
    kind: Kind,
    /// Whether its clients are strangers, whatever their address.
    faces_world: bool,
    /// The networks of the proxies that every connection comes through; none if it comes by itself.
    proxies: Vec<Network>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a TCP socket, for servers in front of this one: clients in the networks of
    /// [`Settings::trusted`] are trusted.
    #[must_use]
    pub const fn tcp(kind: Kind, socket: TcpListener) -> Self {
        let door = Door { kind, faces_world: false, proxies: Vec::new() };
        Self { door, socket: Socket::Tcp(socket) }
    }

    /// Takes mail from the world, by SMTP: no client is trusted. With `proxies`, every connection
    /// has to come from one of these networks and begin with the header of a proxy; without them
    /// none may.
    #[must_use]
    pub const fn mx(socket: TcpListener, proxies: Vec<Network>) -> Self {
        let door = Door { kind: Kind::Smtp, faces_world: true, proxies };
        Self { door, socket: Socket::Tcp(socket) }
    }

    /// Speaks LMTP on a Unix socket at `path`, open to its owner and group. A socket that a
    /// process left behind is replaced, one that still answers is not. Call it inside a runtime.
    ///
    /// # Errors
    /// The system's refusal; `AddrInUse` if something else has the path.
    pub fn unix(path: &Path) -> io::Result<Self> {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            let dead = found.file_type().is_socket()
                && std::os::unix::net::UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !dead {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let socket = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        let door = Door { kind: Kind::Lmtp, faces_world: false, proxies: Vec::new() };
        Ok(Self { door, socket: Socket::Unix(socket) })
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<(Box<dyn Wire>, Option<IpAddr>)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Some(peer.ip())))
            }
            Self::Unix(socket) => Ok((Box::new(socket.accept().await?.0), None)),
        }
    }
}

/// What all connections have in common.
struct Shared {
    settings: Arc<Settings>,
    deliver: Deliver,
    /// Places of servers of ours, and of strangers: neither takes the other's.
    places: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    clients: Clients,
    connections: AtomicU64,
}

impl Shared {
    /// A place for a connection from `peer`, if there is one.
    fn place(&self, door: &Door, peer: Option<IpAddr>) -> Option<OwnedSemaphorePermit> {
        let is_stranger = door.faces_world || !self.settings.trusts(peer);
        let places = if is_stranger { &self.strangers } else { &self.places };
        Arc::clone(places).try_acquire_owned().ok()
    }
}

/// Serves the listeners until `shutdown` is done. Connections that wait are told 421 then, letters
/// that came to their end are delivered and answered; returns when all of that is over.
///
/// Dropping the future instead cuts every connection at once.
pub async fn run(
    listeners: Vec<Listener>,
    settings: Arc<Settings>,
    deliver: Deliver,
    shutdown: impl Future<Output = ()>,
) {
    let shared = Arc::new(Shared {
        places: Arc::new(Semaphore::new(settings.max_connections)),
        strangers: Arc::new(Semaphore::new(settings.max_connections)),
        clients: Clients::default(),
        connections: AtomicU64::new(0),
        settings,
        deliver,
    });
    let (stop, stopped) = watch::channel(false);
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(accept(listener, Arc::clone(&shared), stopped.clone()));
    }
    shutdown.await;
    stop.send_replace(true);
    while acceptors.join_next().await.is_some() {}
}

async fn accept(listener: Listener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let Listener { door, socket } = listener;
    let door = Arc::new(door);
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            biased;
            () = stopping(&mut stopped) => break,
            Some(ended) = connections.join_next() => {
                note_end(&ended);
                continue;
            }
            incoming = socket.accept() => match incoming {
                Ok(incoming) => incoming,
                Err(error) => {
                    tracing::warn!(kind = ?error.kind(), "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let id = shared.connections.fetch_add(1, Ordering::Relaxed);
        let Some(place) = shared.place(&door, incoming.1) else {
            tracing::warn!(connection = id, "no place for a connection");
            refuse(incoming.0, replies::TOO_MANY_CONNECTIONS).await;
            continue;
        };
        let (door, shared, stopped) = (Arc::clone(&door), Arc::clone(&shared), stopped.clone());
        connections.spawn(async move {
            connection::serve(id, &door, incoming, shared, stopped).await;
            drop(place);
        });
    }
    drop(socket);
    while let Some(ended) = connections.join_next().await {
        note_end(&ended);
    }
}

/// Done when the server is to stop, or is gone.
async fn stopping(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn refuse(mut wire: Box<dyn Wire>, reply: &'static str) {
    use tokio::io::AsyncWriteExt as _;
    let said = async {
        wire.write_all(reply.as_bytes()).await?;
        wire.shutdown().await
    };
    let _ = tokio::time::timeout(REFUSAL_TIME, said).await;
}

fn note_end(ended: &Result<(), JoinError>) {
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        tracing::error!("a connection ended in a panic");
    }
}
