//! The commands of a session: which one is meant, whether its time has come, what is answered.
//!
//! `smtp-proto` reads the syntax; what it forgives and we do not (ends of lines, arguments where
//! there are none, quotes it takes off an address) is checked here or before.

use std::borrow::Cow;

use smtp_proto::{
    Error, MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME, MailFrom, RcptTo, Request,
};

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
        // A browser that was led here: what it sends on is not its own.
        if ["GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS"].into_iter().any(is) {
            return self.close();
        }
        // The bytes of the chunk would follow and be taken for commands (RFC 3030 §2).
        if is("BDAT") {
            self.say(replies::NOT_SERVED);
            return self.close();
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
            "250-{host}\r\n250-PIPELINING\r\n250-SIZE {}\r\n250-8BITMIME\r\n{tls}\
             250 ENHANCEDSTATUSCODES\r\n",
            self.settings.max_letter,
        );
        self.answer_idle(reply);
    }

    fn mail(&mut self, from: &MailFrom<Cow<'_, str>>, path: Option<&str>) {
        let served = MailFrom {
            address: from.address.clone(),
            size: from.size,
            flags: from.flags & (MAIL_BODY_7BIT | MAIL_BODY_8BITMIME),
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
        } else {
            self.mail_from = Some(Personal::new(path.to_owned()));
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
        if self.mail_from.is_none() {
            self.fail(replies::BAD_SEQUENCE);
        } else if *to != served {
            self.fail(replies::PARAMETER_NOT_SERVED);
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
        if !alone || self.rcpt_to.is_empty() {
            self.reset();
            let reply = if alone { replies::BAD_SEQUENCE } else { replies::BAD_ARGUMENTS };
            return self.fail(reply);
        }
        let forgiving = self.kind == Kind::Lmtp && self.trusted;
        let newlines = if forgiving { self.settings.bare_newlines } else { BareNewlines::Reject };
        let lease = self.budget.lease();
        self.say(replies::GO_ON);
        self.state = State::Letter(DotReceiver::new(self.settings.max_letter, newlines, lease));
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
