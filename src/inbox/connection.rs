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
        Some(peer)
    } else {
        behind_proxy(door, &mut wire, peer, &shared, stopped.clone(), &mut early).await
    };
    let Some(client) = named else {
        // A proxy that only looks whether we are there hangs up without a word, every few seconds.
        if early.is_empty() {
            tracing::debug!(connection = id, "not a word");
        } else {
            tracing::info!(connection = id, "no header of a proxy of ours");
        }
        return;
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

/// Whom the proxy at the other end speaks for; none if it is no proxy of ours, or does not say so in
/// time. What came behind its header goes into `early`.
async fn behind_proxy(
    door: &Door,
    wire: &mut Box<dyn Wire>,
    peer: Option<IpAddr>,
    shared: &Shared,
    mut stopped: watch::Receiver<bool>,
    early: &mut Vec<u8>,
) -> Option<Option<IpAddr>> {
    if !peer.is_some_and(|peer| door.proxies.iter().any(|network| network.contains(peer))) {
        return None;
    }
    let read = async {
        loop {
            match proxy::heading(early) {
                Heading::Client(length, client) => {
                    early.drain(..length);
                    return Some(client.or(peer));
                }
                Heading::Malformed => return None,
                Heading::Unfinished => {}
            }
            let mut buffer = [0; 1024];
            match wire.read(&mut buffer).await {
                Ok(length) if length > 0 => early.extend_from_slice(&buffer[..length]),
                _ => return None,
            }
        }
    };
    tokio::select! {
        read = timeout(shared.settings.proxy_timeout, read) => read.ok().flatten(),
        () = stopping(&mut stopped) => None,
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
