//! SMTP and LMTP as one state machine over bytes: no socket, no clock, no task.
//!
//! Bytes go in, [`Action`]s come out, in the same order whatever the cuts between the bytes. The
//! one thing that is taken from outside is room for letters ([`Budget`]). Whoever drives a session
//! carries the actions out, one after the other, and answers [`Action::StartTls`] with
//! [`Session::secured`] and [`Action::Deliver`] with [`Session::delivered`].
//!
//! SMTP: RFC 5321, with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), STARTTLS
//! (RFC 3207), CHUNKING (RFC 3030), SMTPUTF8 (RFC 6531) and enhanced status codes (RFC 2034). LMTP:
//! RFC 2033. Not offered: BINARYMIME, DSN, AUTH, ETRN.
//!
//! After a letter was refused, be it by a mistake in DATA or BDAT, by its text or by the verdict, the
//! transaction is over: until the next MAIL neither RCPT nor DATA nor BDAT is followed. The octets of
//! a chunk are read whatever becomes of it; where nobody can know how many there are, or where they
//! are more than a conversation is worth, it ends.

mod commands;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::bdat::ChunkReceiver;
use super::budget::{Budget, Lease};
use super::clients::Ration;
use super::dot::DotReceiver;
use super::settings::Settings;
use super::text::Fault;
use super::{Delivery, Verdict, replies};
use crate::letter::{Envelope, Source};
use crate::secret::Personal;

/// Bytes of a command line, CRLF included (RFC 5321 §4.5.3.1.4 asks for 512 and what extensions
/// add).
pub const MAX_COMMAND_LINE: usize = 2048;

/// Commands that bring no letter nearer, since the last accepted one; each further one counts as a
/// mistake.
const MAX_IDLE_COMMANDS: u32 = 100;

/// Which protocol a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SMTP (RFC 5321): one answer for a letter.
    Smtp,
    /// LMTP (RFC 2033): one answer for each accepted recipient.
    Lmtp,
}

/// What the driver of a session does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes.
    Reply(Cow<'static, [u8]>),
    /// Write what is due, then wait (`Settings::tarpit`).
    Pause,
    /// If bytes are left, give them to [`Session::receive`]; nothing is secured then. Else write
    /// this reply, shake hands, and call [`Session::secured`].
    StartTls(&'static [u8]),
    /// Hand the letter over and tell [`Session::delivered`] what became of it.
    Deliver(Delivery),
    /// Write what is due and close.
    Close,
}

/// One connection's conversation.
pub struct Session {
    kind: Kind,
    settings: Arc<Settings>,
    budget: Budget,
    client: Option<IpAddr>,
    trusted: bool,
    ration: Option<Ration>,
    tls: Tls,
    state: State,
    actions: VecDeque<Action>,
    line: Vec<u8>,
    helo: Option<Personal<String>>,
    mail_from: Option<Personal<String>>,
    rcpt_to: Vec<Personal<String>>,
    /// Whether MAIL said that addresses may be in UTF-8.
    is_utf8: bool,
    /// The letter whose last chunk has not come, between its chunks.
    chunked: Option<ChunkReceiver>,
    /// Whether a letter in chunks was refused and its other chunks may be under way.
    is_refused: bool,
    /// Chunks, and bytes thrown away, since the last accepted letter.
    chunks: u32,
    discarded: usize,
    errors: u32,
    idle: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Unavailable,
    Offered,
    Active,
}

enum State {
    /// Between commands, or in one.
    Command,
    /// Between 354 and the end of the letter.
    Letter(DotReceiver),
    /// In a chunk, of which so many bytes are to come.
    Chunk {
        left: usize,
        is_last: bool,
        receiver: Option<ChunkReceiver>,
    },
    /// The letter is with the driver.
    Delivering,
    /// The handshake is with the driver.
    Handshake,
    Closed,
}

impl Session {
    /// A conversation with the client at `client`; `None` is a Unix socket.
    #[must_use]
    pub fn new(
        kind: Kind,
        settings: Arc<Settings>,
        budget: Budget,
        client: Option<IpAddr>,
    ) -> Self {
        let offered = settings.tls.is_some() && client.is_some();
        let name = match kind {
            Kind::Smtp => "ESMTP",
            Kind::Lmtp => "LMTP",
        };
        let greeting = format!("220 {} {name}\r\n", settings.hostname);
        Self {
            kind,
            trusted: settings.trusts(client),
            ration: None,
            settings,
            budget,
            client,
            tls: if offered { Tls::Offered } else { Tls::Unavailable },
            state: State::Command,
            actions: VecDeque::from([Action::Reply(Cow::Owned(greeting.into_bytes()))]),
            line: Vec::new(),
            helo: None,
            mail_from: None,
            rcpt_to: Vec::new(),
            is_utf8: false,
            chunked: None,
            is_refused: false,
            chunks: 0,
            discarded: 0,
            errors: 0,
            idle: 0,
        }
    }

    /// The client is anybody, whatever its address, and sends no more than its ration.
    #[must_use]
    pub fn from_the_world(self, ration: Ration) -> Self {
        Self { trusted: false, ration: Some(ration), ..self }
    }

    /// Takes bytes off the front up to the next action. `None`: all are taken and more are wanted,
    /// or the driver owes an answer, or the conversation is over. The first action, the greeting,
    /// takes no bytes.
    pub fn receive(&mut self, bytes: &mut &[u8]) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if bytes.is_empty() {
                return None;
            }
            match &mut self.state {
                State::Command => self.take_line(bytes),
                State::Letter(receiver) => {
                    let most = self.settings.max_discarded.saturating_sub(self.discarded);
                    if receiver.receive(bytes) || receiver.discarded() > most {
                        self.end_letter();
                    }
                }
                State::Chunk { left, receiver, .. } => {
                    let (part, rest) = bytes.split_at(bytes.len().min(*left));
                    if let Some(receiver) = receiver {
                        receiver.receive(part);
                    }
                    *bytes = rest;
                    *left -= part.len();
                    if *left == 0 {
                        self.end_chunk();
                    }
                }
                State::Handshake => {
                    self.say(replies::INJECTED);
                    self.close();
                }
                State::Delivering | State::Closed => return None,
            }
        }
    }

    /// Whether the bytes that come next belong to a letter.
    #[must_use]
    pub fn in_letter(&self) -> bool {
        matches!(self.state, State::Letter(_) | State::Chunk { .. })
    }

    /// Whether a letter was begun and has not come to its end.
    #[must_use]
    pub fn has_begun_letter(&self) -> bool {
        self.in_letter() || self.chunked.is_some()
    }

    /// The handshake succeeded. What was said before is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self) {
        if matches!(self.state, State::Handshake) {
            self.tls = Tls::Active;
            self.state = State::Command;
            self.helo = None;
            self.reset();
        }
    }

    /// What became of the letter that was handed over.
    pub fn delivered(&mut self, verdict: Verdict) {
        if !matches!(self.state, State::Delivering) {
            return;
        }
        if verdict == Verdict::Accepted {
            self.errors = 0;
            self.idle = 0;
            self.chunks = 0;
            self.discarded = 0;
        }
        self.say_for_letter(match verdict {
            Verdict::Accepted => replies::OK,
            Verdict::TryLater | Verdict::NotReady => replies::TRY_LATER,
            Verdict::NoRoom => replies::NO_ROOM,
            Verdict::Refused => replies::REFUSED,
            Verdict::Loop => replies::LOOP,
        });
        self.state = State::Command;
        self.reset();
    }

    fn take_line(&mut self, bytes: &mut &[u8]) {
        const TLS_HANDSHAKE: u8 = 0x16;
        if self.line.is_empty() && bytes.first() == Some(&TLS_HANDSHAKE) {
            return self.close();
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        *bytes = rest;
        if self.line.len() + part.len() > MAX_COMMAND_LINE {
            self.say(replies::LONG_LINE);
            return self.close();
        }
        self.line.extend_from_slice(part);
        if end.is_none() {
            return;
        }
        let line = std::mem::take(&mut self.line);
        // Whoever ends lines in other ways than we do may see other commands than we do.
        let Some(command) = line.strip_suffix(b"\r\n") else {
            self.say(replies::BAD_LINE);
            return self.close();
        };
        match str::from_utf8(command) {
            Ok(command) if !command.chars().any(char::is_control) => self.command(command, &line),
            _ if commands::announces_chunk(command) => {
                self.say(replies::BAD_CHUNK);
                self.close();
            }
            _ => self.fail(replies::BAD_LINE),
        }
    }

    fn end_letter(&mut self) {
        let State::Letter(receiver) = std::mem::replace(&mut self.state, State::Command) else {
            return;
        };
        self.discarded = self.discarded.saturating_add(receiver.discarded());
        match receiver.finish() {
            Ok((raw, lease)) => self.hand_over(raw, lease),
            Err(fault) => self.refuse_letter(fault, true),
        }
    }

    /// All bytes of a chunk were read.
    fn end_chunk(&mut self) {
        let chunk = std::mem::replace(&mut self.state, State::Command);
        let State::Chunk { is_last, receiver, .. } = chunk else { return };
        let Some(receiver) = receiver else { return self.refuse_chunk() };
        if let Some(fault) = receiver.fault() {
            self.discarded = self.discarded.saturating_add(receiver.discarded());
            return self.refuse_letter(fault, is_last);
        }
        if !is_last {
            self.chunked = Some(receiver);
            return self.say(replies::OK);
        }
        match receiver.finish() {
            Ok((raw, lease)) => self.hand_over(raw, lease),
            Err(fault) => self.refuse_letter(fault, true),
        }
    }

    fn hand_over(&mut self, raw: Vec<u8>, lease: Lease) {
        let envelope = self.envelope();
        let (trusted, share) = (self.trusted, lease.into());
        let delivery = Delivery { envelope, raw, trusted, fetched: None, share };
        self.actions.push_back(Action::Deliver(delivery));
        self.state = State::Delivering;
    }

    /// Answers a letter that cannot be taken, and ends its transaction. LMTP answers for every
    /// recipient where the letter ends, and only there (RFC 2033 §4.2).
    fn refuse_letter(&mut self, fault: Fault, is_end: bool) {
        let reply = match fault {
            Fault::BareByte => replies::BARE_BYTE,
            Fault::LineTooLong => replies::LONG_TEXT_LINE,
            Fault::TooBig => replies::TOO_BIG,
            Fault::NoRoom => replies::NO_ROOM,
        };
        if is_end {
            self.say_for_letter(reply);
        } else {
            self.say(reply);
        }
        self.reset();
        self.is_refused = true;
        if self.discarded > self.settings.max_discarded {
            self.close();
        } else if fault != Fault::NoRoom {
            self.count_error();
        }
    }

    /// Answers a chunk that belongs to no letter. Those that were under way when theirs was refused
    /// are no mistakes.
    fn refuse_chunk(&mut self) {
        let is_late = self.is_refused;
        self.reset();
        self.is_refused = true;
        if is_late {
            self.say(replies::BAD_SEQUENCE);
        } else {
            self.fail(replies::BAD_SEQUENCE);
        }
    }

    /// Room for a letter of this client.
    fn lease(&self) -> Lease {
        if self.trusted { self.budget.lease() } else { self.budget.lease_of_stranger() }
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            mail_from: self.mail_from.clone().unwrap_or_default(),
            rcpt_to: self.rcpt_to.clone(),
            helo: self.helo.clone().unwrap_or_default(),
            client: self.client.map(|ip| Personal::new(ip.to_canonical().to_string())),
            source: match self.kind {
                Kind::Smtp => Source::Smtp,
                Kind::Lmtp => Source::Lmtp,
            },
            tls: self.tls == Tls::Active,
        }
    }

    /// Ends the transaction; the greeting stays.
    fn reset(&mut self) {
        self.mail_from = None;
        self.rcpt_to.clear();
        self.is_utf8 = false;
        self.chunked = None;
        self.is_refused = false;
    }

    fn say(&mut self, reply: &'static str) {
        self.actions.push_back(Action::Reply(Cow::Borrowed(reply.as_bytes())));
    }

    /// One reply in SMTP, one for each accepted recipient in LMTP (RFC 2033 §4.2).
    fn say_for_letter(&mut self, reply: &'static str) {
        match self.kind {
            Kind::Smtp => self.say(reply),
            Kind::Lmtp => {
                let replies = reply.repeat(self.rcpt_to.len()).into_bytes();
                self.actions.push_back(Action::Reply(Cow::Owned(replies)));
            }
        }
    }

    /// Answers a command that costs us little and brings no letter.
    fn answer_idle(&mut self, reply: impl Into<Cow<'static, str>>) {
        self.idle += 1;
        self.actions.push_back(Action::Reply(match reply.into() {
            Cow::Borrowed(reply) => Cow::Borrowed(reply.as_bytes()),
            Cow::Owned(reply) => Cow::Owned(reply.into_bytes()),
        }));
        if self.idle > MAX_IDLE_COMMANDS {
            self.count_error();
        }
    }

    /// Refuses a command: after a few slowly, after many for the last time.
    fn fail(&mut self, reply: &'static str) {
        if self.errors >= self.settings.soft_errors && !self.trusted {
            self.actions.push_back(Action::Pause);
        }
        self.say(reply);
        self.count_error();
    }

    fn count_error(&mut self) {
        self.errors += 1;
        if self.errors >= self.settings.hard_errors {
            self.say(replies::TOO_MANY_ERRORS);
            self.close();
        }
    }

    fn close(&mut self) {
        self.actions.push_back(Action::Close);
        self.state = State::Closed;
    }
}

#[cfg(test)]
mod forms;
#[cfg(test)]
mod tests;
