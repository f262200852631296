//! One letter that a mail server on this machine pipes: the other way in beside SMTP and LMTP.
//!
//! What comes through a pipe is the letter alone, with LF for its line ends and perhaps a `From ` line
//! before it, as a mailbox has it. It becomes what DATA would have given, and the server that has the
//! vault open is asked to take it as it takes those.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::import::from_line;
use crate::casebook::hand_in::{Ask, HandedIn, Said};
use crate::casebook::protocol::{self, Request};

/// The longest line that is taken for a mailbox's, in bytes.
pub const LONGEST_FROM_LINE: usize = from_line::LONGEST;

/// What came through the pipe.
#[derive(Clone, PartialEq, Eq)]
pub struct Piped {
    /// The reverse-path that a `From ` line named.
    pub sender: Option<String>,
    /// The letter; every LF has its CR.
    pub raw: Vec<u8>,
}

impl Piped {
    /// Takes the `From ` line off, and gives every LF its CR; a last line without an end gets one.
    /// Nothing else is changed, whatever it is: nobody could say so to the sender any more.
    #[must_use]
    pub fn of(input: &[u8]) -> Self {
        let first = input.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
        let opening = from_line::parse(first);
        let text = if opening.is_some() { &input[first.len()..] } else { input };
        let mut raw = Vec::with_capacity(text.len() + text.len() / 32);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            raw.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            raw.extend_from_slice(b"\r\n");
        }
        let sender = opening.map(|line| String::from_utf8_lossy(&line.sender).into_owned());
        Self { sender, raw }
    }
}

/// The reverse-path that a mail server names: some have a word for the empty one.
#[must_use]
pub fn reverse_path(named: &str) -> &str {
    let path = named.strip_prefix('<').and_then(|path| path.strip_suffix('>')).unwrap_or(named);
    if path.eq_ignore_ascii_case("MAILER-DAEMON") { "" } else { path }
}

/// Asks the server that listens on this socket to take the letter.
///
/// # Errors
/// It does not listen, or the connection broke: then nobody knows whether the letter was kept, and it
/// is recognised if it comes again.
pub fn hand_over(socket: &Path, letter: &HandedIn) -> io::Result<Said> {
    let mut stream = UnixStream::connect(socket)?;
    protocol::write(&mut stream, &Request::HandIn)?;
    match protocol::read(&mut stream)? {
        Said::Ready => {}
        said => return Ok(said),
    }
    protocol::write(&mut stream, &Ask::Take { letter: letter.clone() })?;
    protocol::read(&mut stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piped_letter_gets_the_line_ends_of_the_wire() {
        for (input, raw) in [
            (&b"A: b\n\nc\n"[..], &b"A: b\r\n\r\nc\r\n"[..]),
            (b"A: b\r\n\r\nc\r\n", b"A: b\r\n\r\nc\r\n"),
            (b"A: b\n\r\n.\nno end", b"A: b\r\n\r\n.\r\nno end\r\n"),
            (b"A: b\n\nlone \r and \0 stay\n", b"A: b\r\n\r\nlone \r and \0 stay\r\n"),
            (b"From: a@b.example\n\nx\n", b"From: a@b.example\r\n\r\nx\r\n"),
            (b"", b""),
            (b"\n", b"\r\n"),
        ] {
            let piped = Piped::of(input);
            assert!(piped.raw == raw && piped.sender.is_none(), "{input:?}");
        }
    }

    #[test]
    fn the_line_of_a_mailbox_before_it_is_not_the_letters() {
        let piped = Piped::of(b"From lotte@client.example  Mon Nov 30 09:00:00 2026\nA: b\n\nx\n");
        assert_eq!(piped.sender.as_deref(), Some("lotte@client.example"));
        assert!(piped.raw == b"A: b\r\n\r\nx\r\n");
    }

    #[test]
    fn the_words_for_no_sender_are_the_empty_reverse_path() {
        for (named, path) in [
            ("", ""),
            ("<>", ""),
            ("MAILER-DAEMON", ""),
            ("mailer-daemon", ""),
            ("mailer-daemon@b.example", "mailer-daemon@b.example"),
            ("<a@b.example>", "a@b.example"),
            ("a@b.example", "a@b.example"),
        ] {
            assert_eq!(reverse_path(named), path, "{named}");
        }
    }
}
