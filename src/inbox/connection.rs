//! Drives one conversation over a socket: reads, writes, waits, shakes hands, hands over.
//!
//! Every wait has an end. A command has `command_timeout` from our last answer, however slowly its
//! bytes trickle; a letter has `letter_timeout` from 354, or from its first chunk, and has to keep up
//! a minimum rate; the header of a proxy has `proxy_timeout`; and a conversation that brings no letter
//! has `fruitless_time`, however lively it is.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::clients::Present;
use super::proxy::{self, Heading};
use super::smtp::{Action, Session};
use super::{Door, Shared, Verdict, refuse, replies, stopping};
use crate::secret::wipe;

/// Bytes read at a time.
const READ: usize = 64 * 1024;
/// How long, and for how many bytes, a closed connection is listened to, so that our last words
/// are not lost in a reset.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1024 * 1024;
/// How long a peer that owes us something can hold up a stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A stream of bytes both ways.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// One connection.
pub(super) struct Connection {
    id: u64,
    session: Session,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    /// Written before we wait for anything.
    due: Vec<u8>,
    /// The last action, and the bytes that came since.
    since: Instant,
    came: u64,
    /// When the letter that is coming was begun.
    begun: Option<Instant>,
    /// The beginning, or the last accepted letter.
    fruit: Instant,
    letters: u64,
    /// Its place among those of the same client.
    _present: Option<Present>,
}

/// Finds out who is there, and talks, if there is a place for one more of them.
pub(super) async fn serve(
    id: u64,
    door: &Door,
    (mut wire, peer): (Box<dyn Wire>, Option<IpAddr>),
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
) {
    let mut early = Vec::new();
    let named = if door.proxies.is_empty() {
        Ok(peer)
    } else {
        let waits = shared.settings.proxy_timeout;
        behind_proxy(door, &mut wire, peer, waits, stopped.clone(), &mut early).await
    };
    let client = match named {
        Ok(client) => client,
        Err(unnamed) if unnamed.is_routine() => {
            return tracing::debug!(connection = id, "{unnamed}");
        }
        Err(unnamed) => return tracing::info!(connection = id, "{unnamed}"),
    };
    let settings = Arc::clone(&shared.settings);
    let is_stranger = door.faces_world || !settings.trusts(client);
    let mut present = None;
    if let Some(address) = client.filter(|_| is_stranger) {
        present = shared.clients.enter(address, settings.max_connections_per_client);
        if present.is_none() {
            tracing::warn!(connection = id, "no place for one more connection of a client");
            return refuse(wire, replies::TOO_MANY_OF_ONE).await;
        }
    }
    let per_hour = settings.letters_per_hour;
    let room = settings.room.clone();
    let mut session = Session::new(door.kind, settings, room, client);
    if let Some(address) = client.filter(|_| door.faces_world) {
        session = session.from_the_world(shared.clients.ration(address, per_hour));
    }
    let connection = Connection {
        id,
        session,
        shared,
        stopped,
        due: Vec::new(),
        since: Instant::now(),
        came: 0,
        begun: None,
        fruit: Instant::now(),
        letters: 0,
        _present: present,
    };
    connection.serve(wire, early).await;
}

/// Why nobody is named behind a proxy. The words are the operator's, who looks for a mistake in two
/// settings that have to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unnamed {
    #[error("a connection to a listener with proxy_from, and not from one of these addresses")]
    Unlisted,
    #[error("a proxy hung up without a word")]
    HungUp,
    #[error("a proxy sent no whole PROXY header in time: does it send one?")]
    Late,
    #[error("a proxy sent something else than a PROXY header")]
    Malformed,
    #[error("stopped before a proxy said whom it speaks for")]
    Stopping,
}

impl Unnamed {
    /// A proxy that only looks whether we are there does so every few seconds.
    const fn is_routine(self) -> bool {
        matches!(self, Self::HungUp | Self::Stopping)
    }
}

/// Whom the proxy at the other end speaks for. What came behind its header goes into `early`.
async fn behind_proxy(
    door: &Door,
    wire: &mut Box<dyn Wire>,
    peer: Option<IpAddr>,
    waits: Duration,
    mut stopped: watch::Receiver<bool>,
    early: &mut Vec<u8>,
) -> Result<Option<IpAddr>, Unnamed> {
    if !peer.is_some_and(|peer| door.proxies.iter().any(|network| network.contains(peer))) {
        return Err(Unnamed::Unlisted);
    }
    let read = async {
        loop {
            match proxy::heading(early) {
                Heading::Client(length, client) => {
                    early.drain(..length);
                    return Ok(client.or(peer));
                }
                Heading::Malformed => return Err(Unnamed::Malformed),
                Heading::Unfinished => {}
            }
            let mut buffer = [0; 1024];
            match wire.read(&mut buffer).await {
                Ok(length) if length > 0 => early.extend_from_slice(&buffer[..length]),
                _ if early.is_empty() => return Err(Unnamed::HungUp),
                _ => return Err(Unnamed::Malformed),
            }
        }
    };
    tokio::select! {
        read = timeout(waits, read) => read.unwrap_or(Err(Unnamed::Late)),
        () = stopping(&mut stopped) => Err(Unnamed::Stopping),
    }
}

/// Why a conversation stops.
enum Turn {
    /// To shake hands.
    Secure,
    /// For good.
    End,
}

impl Connection {
    /// Talks until one side has enough; `early` came already. A peer that is gone is no error of
    /// ours.
    async fn serve(mut self, wire: Box<dyn Wire>, early: Vec<u8>) {
        tracing::debug!(connection = self.id, "opened");
        let mut wire = wire;
        let mut secured = false;
        let mut early = early;
        let end = loop {
            match self.converse(&mut wire, std::mem::take(&mut early)).await {
                Ok(Turn::Secure) => match self.secure(wire).await {
                    Ok(tls) => {
                        secured = true;
                        wire = tls;
                    }
                    Err(error) => {
                        tracing::info!(connection = self.id, kind = ?error.kind(), "no handshake");
                        return;
                    }
                },
                Ok(Turn::End) => break self.leave(&mut wire).await,
                Err(error) => break Err(error),
            }
        };
        tracing::info!(
            connection = self.id,
            letters = self.letters,
            tls = secured,
            lost = end.is_err(),
            "closed"
        );
    }

    /// Reads, and carries out what follows from it, until something else has to happen.
    async fn converse(&mut self, wire: &mut Box<dyn Wire>, early: Vec<u8>) -> io::Result<Turn> {
        let mut length = early.len();
        let mut buffer = early;
        buffer.resize(READ.max(length), 0);
        let mut stopped = self.stopped.clone();
        loop {
            let turn = self.carry_out(wire, &buffer[..length]).await?;
            // It may wait for minutes: a letter does not stay in it.
            wipe(&mut buffer[..length]);
            if let Some(turn) = turn {
                return Ok(turn);
            }
            self.write(wire).await?;
            length = tokio::select! {
                biased;
                () = stopping(&mut stopped) => {
                    self.due.extend_from_slice(replies::STOPPING.as_bytes());
                    return Ok(Turn::End);
                }
                read = timeout_at(self.deadline(), wire.read(&mut buffer)) => match read {
                    Ok(read) => read?,
                    Err(_) => {
                        tracing::info!(connection = self.id, code = 421, "timed out");
                        self.due.extend_from_slice(replies::TIMED_OUT.as_bytes());
                        return Ok(Turn::End);
                    }
                },
            };
            if length == 0 {
                return Ok(Turn::End);
            }
            self.came += length as u64;
        }
    }

    async fn carry_out(
        &mut self,
        wire: &mut Box<dyn Wire>,
        bytes: &[u8],
    ) -> io::Result<Option<Turn>> {
        let mut rest = bytes;
        let was_in_letter = self.session.in_letter();
        while let Some(action) = self.session.receive(&mut rest) {
            match action {
                Action::Reply(reply) => self.due.extend_from_slice(&reply),
                Action::Pause => {
                    self.write(wire).await?;
                    sleep(self.shared.settings.tarpit).await;
                }
                Action::StartTls(reply) if rest.is_empty() => {
                    self.due.extend_from_slice(reply);
                    self.write(wire).await?;
                    return Ok(Some(Turn::Secure));
                }
                // The session sees what was slipped in, and ends the conversation.
                Action::StartTls(_) => {}
                Action::Deliver(delivery) => {
                    self.write(wire).await?;
                    let verdict = (self.shared.deliver)(delivery).await;
                    if verdict == Verdict::Accepted {
                        self.letters += 1;
                        self.fruit = Instant::now();
                    }
                    tracing::info!(connection = self.id, ?verdict, "letter");
                    self.session.delivered(verdict);
                    if *self.stopped.borrow() {
                        while let Some(Action::Reply(reply)) = self.session.receive(&mut &[][..]) {
                            self.due.extend_from_slice(&reply);
                        }
                        self.due.extend_from_slice(replies::STOPPING.as_bytes());
                        return Ok(Some(Turn::End));
                    }
                }
                Action::Close => return Ok(Some(Turn::End)),
            }
            self.since = Instant::now();
            self.came = rest.len() as u64;
            self.begun = match self.begun {
                _ if !self.session.has_begun_letter() => None,
                None => Some(self.since),
                begun => begun,
            };
        }
        // A chunk begins without a word of ours: it is given its own time (RFC 3030 §2).
        if !was_in_letter && self.session.in_letter() {
            let now = Instant::now();
            (self.since, self.came) = (now, 0);
            self.begun.get_or_insert(now);
        }
        Ok(None)
    }

    /// When the peer has to be done with what it is at.
    fn deadline(&self) -> Instant {
        let settings = &self.shared.settings;
        let mut deadline = self.since + settings.command_timeout;
        if self.session.in_letter() {
            let paid = Duration::from_secs(self.came / u64::from(settings.minimum_rate.max(1)));
            deadline = self.since + settings.letter_timeout.min(settings.rate_grace + paid);
        }
        // A letter that was begun has its own time; whoever begins none is not listened to for ever.
        let end = match self.begun {
            Some(begun) => begun + settings.letter_timeout,
            None => self.fruit + settings.fruitless_time,
        };
        deadline.min(end)
    }

    async fn write(&mut self, wire: &mut Box<dyn Wire>) -> io::Result<()> {
        if self.due.is_empty() {
            return Ok(());
        }
        let written = async {
            wire.write_all(&self.due).await?;
            wire.flush().await
        };
        self.within(self.shared.settings.command_timeout, written).await?;
        self.due.clear();
        Ok(())
    }

    /// Waits for the peer, at most for `limit`, and not much longer once the server stops.
    async fn within<T>(
        &self,
        limit: Duration,
        done: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let mut stopped = self.stopped.clone();
        let stop = async {
            stopping(&mut stopped).await;
            sleep(STOP_GRACE).await;
        };
        tokio::select! {
            done = timeout(limit, done) => done?,
            () = stop => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn secure(&mut self, wire: Box<dyn Wire>) -> io::Result<Box<dyn Wire>> {
        let Some(config) = self.shared.settings.tls.clone() else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let handshake = TlsAcceptor::from(config).accept(wire);
        let tls = self.within(self.shared.settings.handshake_timeout, handshake).await?;
        self.session.secured();
        self.since = Instant::now();
        self.came = 0;
        Ok(Box::new(tls))
    }

    /// Says what is due, closes our side, and lets the peer finish its sentence.
    async fn leave(&mut self, wire: &mut Box<dyn Wire>) -> io::Result<()> {
        self.write(wire).await?;
        let _ = timeout(LINGER, async {
            wire.shutdown().await?;
            let mut sink = tokio::io::sink();
            tokio::io::copy(&mut wire.take(LINGER_BYTES as u64), &mut sink).await
        })
        .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    /// What is found of a peer that says this, and then hangs up or waits.
    async fn found(peer: &str, words: &[u8], hangs_up: bool) -> Result<Option<IpAddr>, Unnamed> {
        let network = "10.0.0.0/8".parse().expect("a network");
        let door = Door { kind: Kind::Smtp, faces_world: true, proxies: vec![network] };
        let (mut peers, ours) = tokio::io::duplex(1_024);
        let (_stop, stopped) = watch::channel(false);
        peers.write_all(words).await.expect("is written");
        let peers = (!hangs_up).then_some(peers);
        let mut ours: Box<dyn Wire> = Box::new(ours);
        let waits = if hangs_up { Duration::from_secs(60) } else { Duration::from_millis(100) };
        let peer = Some(peer.parse().expect("an address"));
        let found = behind_proxy(&door, &mut ours, peer, waits, stopped, &mut Vec::new()).await;
        drop(peers);
        found
    }

    #[tokio::test]
    async fn only_a_proxy_that_looks_whether_we_are_there_goes_unsaid() {
        let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\r\n";
        let client = Some("192.0.2.7".parse().expect("an address"));
        for hangs_up in [true, false] {
            assert_eq!(found("10.0.0.1", header, hangs_up).await, Ok(client));
            assert_eq!(found("192.0.2.1", header, hangs_up).await, Err(Unnamed::Unlisted));
            assert_eq!(found("192.0.2.1", b"", hangs_up).await, Err(Unnamed::Unlisted));
            assert_eq!(found("10.0.0.1", b"EHLO x\r\n", hangs_up).await, Err(Unnamed::Malformed));
        }
        assert_eq!(found("10.0.0.1", b"", true).await, Err(Unnamed::HungUp));
        assert_eq!(found("10.0.0.1", b"PROXY", true).await, Err(Unnamed::Malformed));
        // Both wait for the other to begin.
        assert_eq!(found("10.0.0.1", b"", false).await, Err(Unnamed::Late));
        assert_eq!(found("10.0.0.1", b"PROXY", false).await, Err(Unnamed::Late));
        let is_said = |unnamed: &Unnamed| {
            matches!(unnamed, Unnamed::Unlisted | Unnamed::Late | Unnamed::Malformed)
        };
        for unnamed in [
            Unnamed::Unlisted,
            Unnamed::HungUp,
            Unnamed::Late,
            Unnamed::Malformed,
            Unnamed::Stopping,
        ] {
            assert_eq!(unnamed.is_routine(), !is_said(&unnamed), "{unnamed}");
        }
    }
}
