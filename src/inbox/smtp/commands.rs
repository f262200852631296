//! The commands of a session: which one is meant, whether its time has come, what is answered.
//!
//! `smtp-proto` reads the syntax; what it forgives and we do not (ends of lines, arguments where
//! there are none, quotes it takes off an address) is checked here or before.

use std::borrow::Cow;

use smtp_proto::{
    Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME, MAIL_SMTPUTF8, MailFrom,
    RcptTo, Request,
};

use super::super::bdat::{self, ChunkReceiver, MAX_CHUNKS};
use super::super::dot::DotReceiver;
use super::super::replies;
use super::super::settings::BareNewlines;
use super::{Action, Kind, Session, State, Tls};
use crate::secret::Personal;

impl Session {
    /// `line` is `command` with its CRLF.
    pub(super) fn command(&mut self, command: &str, line: &[u8]) {
        let verb = command.split(' ').next().unwrap_or_default();
        let is = |word: &str| verb.eq_ignore_ascii_case(word);
        // A browser that was led here: what it sends on is not its own. And a proxy that names a
        // client where none may: what follows is not its own, either.
        if ["GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS", "PROXY"].into_iter().any(is) {
            return self.close();
        }
        if announces_chunk(command.as_bytes()) {
            return self.bdat(command);
        }
        // Only addresses can be in UTF-8, and only where MAIL says so.
        if !command.is_ascii() && !is("MAIL") && !is("RCPT") {
            return self.fail(replies::BAD_LINE);
        }
        let alone = command.trim_end().len() == verb.len();
        if !alone && ["", "RSET", "QUIT", "STARTTLS"].into_iter().any(is) {
            return self.fail(replies::BAD_ARGUMENTS);
        }
        match Request::parse(&mut line.iter()) {
            Ok(Request::Ehlo { host }) if self.kind == Kind::Smtp => self.hello(&host, true),
            Ok(Request::Helo { host }) if self.kind == Kind::Smtp => self.hello(&host, false),
            Ok(Request::Lhlo { host }) if self.kind == Kind::Lmtp => self.hello(&host, true),
            Ok(Request::Ehlo { .. } | Request::Helo { .. } | Request::Lhlo { .. }) => {
                self.fail(replies::OTHER_GREETING);
            }
            Ok(Request::Mail { from }) => self.mail(&from, path(command)),
            Ok(Request::Rcpt { to }) => self.rcpt(&to, path(command)),
            Ok(Request::Data) => self.data(alone),
            Ok(Request::Rset) => {
                self.reset();
                self.answer_idle(replies::OK);
            }
            Ok(Request::Noop { .. }) => self.answer_idle(replies::OK),
            Ok(Request::Vrfy { .. }) => self.answer_idle(replies::PERHAPS),
            Ok(Request::Quit) => {
                self.say(replies::GOODBYE);
                self.close();
            }
            Ok(Request::StartTls) => self.start_tls(),
            Ok(_) => self.fail(replies::NOT_SERVED),
            Err(error) => self.fail(match error {
                Error::UnknownCommand => replies::UNKNOWN_COMMAND,
                Error::InvalidSenderAddress => replies::BAD_SENDER,
                Error::InvalidRecipientAddress => replies::BAD_RECIPIENT,
                Error::UnsupportedParameter { .. } => replies::PARAMETER_NOT_SERVED,
                _ if is("EXPN") || is("AUTH") => replies::NOT_SERVED,
                _ => replies::BAD_ARGUMENTS,
            }),
        }
    }

    fn hello(&mut self, name: &str, extended: bool) {
        self.reset();
        self.helo = Some(Personal::new(name.to_owned()));
        let host = &self.settings.hostname;
        if !extended {
            let reply = format!("250 {host}\r\n");
            return self.answer_idle(reply);
        }
        let tls = if self.tls == Tls::Offered { "250-STARTTLS\r\n" } else { "" };
        let reply = format!(
            "250-{host}\r\n250-PIPELINING\r\n250-SIZE {}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
             250-CHUNKING\r\n{tls}250 ENHANCEDSTATUSCODES\r\n",
            self.settings.max_letter,
        );
        self.answer_idle(reply);
    }

    fn mail(&mut self, from: &MailFrom<Cow<'_, str>>, path: Option<&str>) {
        let served = MailFrom {
            address: from.address.clone(),
            size: from.size,
            flags: from.flags & (MAIL_BODY_7BIT | MAIL_BODY_8BITMIME | MAIL_SMTPUTF8),
            ..MailFrom::default()
        };
        let Some(path) = path else {
            return self.fail(replies::BAD_SENDER);
        };
        if self.helo.is_none() || self.mail_from.is_some() {
            self.fail(replies::BAD_SEQUENCE);
        } else if from.flags & MAIL_BODY_BINARYMIME != 0 {
            self.fail(replies::BODY_NOT_SERVED);
        } else if *from != served {
            self.fail(replies::PARAMETER_NOT_SERVED);
        } else if from.size > self.settings.max_letter {
            self.fail(replies::TOO_BIG);
        } else if !path.is_ascii() && from.flags & MAIL_SMTPUTF8 == 0 {
            self.fail(replies::NEEDS_UTF8);
        } else if self.ration.as_ref().is_some_and(|ration| !ration.take()) {
            self.answer_idle(replies::TOO_MANY_LETTERS);
        } else {
            self.reset();
            self.mail_from = Some(Personal::new(path.to_owned()));
            self.is_utf8 = from.flags & MAIL_SMTPUTF8 != 0;
            self.answer_idle(replies::SENDER_OK);
        }
    }

    fn rcpt(&mut self, to: &RcptTo<Cow<'_, str>>, path: Option<&str>) {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return self.fail(replies::BAD_RECIPIENT);
        };
        let served = RcptTo { address: to.address.clone(), ..RcptTo::default() };
        // The parser takes the quotes off an address, and makes nothing of a lone `postmaster`.
        let address = if to.address.is_empty() { path } else { &to.address };
        if self.mail_from.is_none() || self.chunked.is_some() {
            self.fail(replies::BAD_SEQUENCE);
        } else if *to != served {
            self.fail(replies::PARAMETER_NOT_SERVED);
        } else if !path.is_ascii() && !self.is_utf8 {
            self.fail(replies::NEEDS_UTF8);
        } else if !self.settings.recipients.accept(address) {
            self.fail(replies::NO_SUCH_RECIPIENT);
        } else if self.rcpt_to.len() >= self.settings.max_recipients {
            // Not a mistake: whoever sends to many goes on with the rest in the next letter.
            self.answer_idle(replies::TOO_MANY_RECIPIENTS);
        } else {
            self.rcpt_to.push(Personal::new(path.to_owned()));
            self.say(replies::RECIPIENT_OK);
        }
    }

    fn data(&mut self, alone: bool) {
        if !alone || self.rcpt_to.is_empty() || self.chunked.is_some() {
            self.reset();
            let reply = if alone { replies::BAD_SEQUENCE } else { replies::BAD_ARGUMENTS };
            return self.fail(reply);
        }
        let (limit, lease) = (self.settings.max_letter, self.lease());
        self.say(replies::GO_ON);
        self.state = State::Letter(DotReceiver::new(limit, self.newlines(), lease));
    }

    /// What happens to newlines that stand alone, coming from this peer.
    fn newlines(&self) -> BareNewlines {
        let forgiving = self.kind == Kind::Lmtp && self.trusted;
        if forgiving { self.settings.bare_newlines } else { BareNewlines::Reject }
    }

    /// A chunk follows: its bytes are read before it is answered, whatever the answer.
    fn bdat(&mut self, command: &str) {
        let Some((size, is_last)) = bdat::announced(command) else {
            self.say(replies::BAD_CHUNK);
            return self.close();
        };
        self.chunks += 1;
        if self.chunks > MAX_CHUNKS {
            self.say(replies::TOO_MANY_CHUNKS);
            return self.close();
        }
        let most = self.settings.max_discarded.saturating_sub(self.discarded);
        let mut receiver = None;
        if self.rcpt_to.is_empty() {
            self.discarded = self.discarded.saturating_add(size);
            if size > most {
                self.say(replies::TOO_MUCH);
                return self.close();
            }
        } else {
            let mut letter = self.chunked.take().unwrap_or_else(|| {
                let (limit, lease) = (self.settings.max_letter, self.lease());
                ChunkReceiver::new(limit, self.newlines(), lease)
            });
            letter.announce(size);
            if letter.discarded() > most {
                self.say(replies::TOO_BIG);
                return self.close();
            }
            receiver = Some(letter);
        }
        self.state = State::Chunk { left: size, is_last, receiver };
        if size == 0 {
            self.end_chunk();
        }
    }

    fn start_tls(&mut self) {
        match self.tls {
            Tls::Unavailable => self.fail(replies::NOT_SERVED),
            Tls::Active => self.fail(replies::BAD_SEQUENCE),
            Tls::Offered => {
                self.state = State::Handshake;
                self.actions.push_back(Action::StartTls(replies::READY.as_bytes()));
            }
        }
    }
}

/// Whether the bytes of a chunk follow this line, as far as any server could think.
pub(super) fn announces_chunk(line: &[u8]) -> bool {
    let word = line.trim_ascii_start().get(..4);
    word.is_some_and(|word| word.eq_ignore_ascii_case(b"BDAT"))
}

/// The path of a MAIL or RCPT command as it was written: between the angle brackets, without a
/// source route (RFC 5321 §4.1.2). The command was parsed before; this keeps the quotes.
fn path(command: &str) -> Option<&str> {
    let (_, from) = command.split_once('<')?;
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    for (at, byte) in from.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b':' if !quoted && from.starts_with('@') && start == 0 => start = at + 1,
            b'>' if !quoted => return from.get(start..at),
            _ => {}
        }
    }
    None
}
