//! SMTP and LMTP as one state machine over bytes: no socket, no clock, no task.
//!
//! Bytes go in, [`Action`]s come out, in the same order whatever the cuts between the bytes. The
//! one thing that is taken from outside is room for letters ([`Budget`]). Whoever drives a session
//! carries the actions out, one after the other, and answers [`Action::StartTls`] with
//! [`Session::secured`] and [`Action::Deliver`] with [`Session::delivered`].
//!
//! SMTP: RFC 5321, with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), STARTTLS
//! (RFC 3207) and enhanced status codes (RFC 2034). LMTP: RFC 2033. Not offered: CHUNKING,
//! BINARYMIME, SMTPUTF8, DSN, AUTH, ETRN.

mod commands;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::budget::{Budget, Lease};
use super::dot::{DotReceiver, Fault};
use super::settings::Settings;
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
    tls: Tls,
    state: State,
    actions: VecDeque<Action>,
    line: Vec<u8>,
    helo: Option<Personal<String>>,
    mail_from: Option<Personal<String>>,
    rcpt_to: Vec<Personal<String>>,
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
    /// The letter is with the driver; its room is given back with the verdict.
    Delivering(#[expect(dead_code, reason = "held until the verdict")] Lease),
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
            errors: 0,
            idle: 0,
        }
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
                    if receiver.receive(bytes) {
                        self.end_letter();
                    }
                }
                State::Handshake => {
                    self.say(replies::INJECTED);
                    self.close();
                }
                State::Delivering(_) | State::Closed => return None,
            }
        }
    }

    /// Whether the bytes that come next belong to a letter.
    #[must_use]
    pub fn in_letter(&self) -> bool {
        matches!(self.state, State::Letter(_))
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
        if !matches!(self.state, State::Delivering(_)) {
            return;
        }
        if verdict == Verdict::Accepted {
            self.errors = 0;
            self.idle = 0;
        }
        self.say_for_letter(match verdict {
            Verdict::Accepted => replies::OK,
            Verdict::TryLater => replies::TRY_LATER,
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
            Ok(command) if command.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                self.command(command, &line);
            }
            _ => self.fail(replies::BAD_LINE),
        }
    }

    fn end_letter(&mut self) {
        let State::Letter(receiver) = std::mem::replace(&mut self.state, State::Command) else {
            return;
        };
        match receiver.finish() {
            Ok((raw, lease)) => {
                let envelope = self.envelope();
                self.actions.push_back(Action::Deliver(Delivery {
                    envelope,
                    raw,
                    trusted: self.trusted,
                }));
                self.state = State::Delivering(lease);
            }
            Err(fault) => {
                self.say_for_letter(match fault {
                    Fault::BareByte => replies::BARE_BYTE,
                    Fault::LineTooLong => replies::LONG_TEXT_LINE,
                    Fault::TooBig => replies::TOO_BIG,
                    Fault::NoRoom => replies::NO_ROOM,
                });
                self.reset();
                if fault != Fault::NoRoom {
                    self.count_error();
                }
            }
        }
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
mod tests;
