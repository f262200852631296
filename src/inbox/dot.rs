//! The bytes after 354: finds the end of a letter and takes the dots out.
//!
//! A letter ends with CRLF.CRLF and with nothing else; the CRLF of the DATA line counts as the
//! first one (RFC 5321 §4.1.1.4). Servers that disagree on this let one letter be taken for two
//! (CVE-2023-51764 and its kin), so a bare LF, a bare CR or a NUL is never forgiven silently: the
//! letter is read to its true end and refused. How the bytes were cut on their way changes nothing.

use memchr::memchr3;

use super::budget::Lease;
use super::settings::BareNewlines;

/// Bytes of one line of a letter, its CRLF included. RFC 5321 asks for 1000; real mail has more.
pub const MAX_TEXT_LINE: usize = 64 * 1024;

/// Room for a letter grows by at least this much.
const GROWTH: usize = 64 * 1024;

/// Why a letter is refused; its bytes are gone by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A CR or LF that stands alone, or a NUL.
    BareByte,
    /// A line above [`MAX_TEXT_LINE`].
    LineTooLong,
    /// More bytes than one letter may have.
    TooBig,
    /// More bytes than all letters in flight may have together.
    NoRoom,
}

/// Where in a line the receiver stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// After CRLF.
    Start,
    /// After CRLF and a dot, which is not kept.
    Dot,
    /// After CRLF, a dot and CR.
    DotCr,
    /// Inside a line.
    Text,
    /// After a CR that is not kept yet.
    Cr,
}

/// Takes one letter.
pub(super) struct DotReceiver {
    place: Place,
    raw: Vec<u8>,
    /// Bytes in the line so far.
    line: usize,
    fault: Option<Fault>,
    limit: usize,
    newlines: BareNewlines,
    lease: Lease,
}

impl DotReceiver {
    /// Ready for the first byte after 354; a letter may have `limit` bytes, dots taken out.
    pub(super) fn new(limit: usize, newlines: BareNewlines, lease: Lease) -> Self {
        Self { place: Place::Start, raw: Vec::new(), line: 0, fault: None, limit, newlines, lease }
    }

    /// Takes bytes off the front, at most to the end of the letter; `true` when that was met.
    pub(super) fn receive(&mut self, bytes: &mut &[u8]) -> bool {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.place == Place::Start {
                let (lines, rest) = bytes.split_at(plain_lines(bytes));
                if !lines.is_empty() && self.keep_lines(lines) {
                    *bytes = rest;
                    continue;
                }
            }
            if self.place == Place::Text {
                let run = memchr3(b'\r', b'\n', 0, bytes).unwrap_or(bytes.len());
                if run > 0 {
                    let (text, rest) = bytes.split_at(run);
                    self.keep(text);
                    *bytes = rest;
                    continue;
                }
            }
            *bytes = rest;
            if self.step(byte) {
                return true;
            }
        }
        false
    }

    /// The letter with its share of the budget, or why it is refused.
    pub(super) fn finish(self) -> Result<(Vec<u8>, Lease), Fault> {
        match self.fault {
            None => Ok((self.raw, self.lease)),
            Some(fault) => Err(fault),
        }
    }

    fn step(&mut self, byte: u8) -> bool {
        self.place = match (self.place, byte) {
            (Place::DotCr, b'\n') => return true,
            (Place::Cr, b'\n') => {
                self.keep(b"\r\n");
                self.line = 0;
                Place::Start
            }
            (Place::Start, b'.') => Place::Dot,
            (Place::Dot, b'\r') => Place::DotCr,
            (Place::Start | Place::Text, b'\r') => Place::Cr,
            (Place::Cr | Place::DotCr, b'\r') => {
                self.bare(b'\r');
                Place::Cr
            }
            (Place::Cr | Place::DotCr, _) => {
                self.bare(b'\r');
                self.text(byte);
                Place::Text
            }
            (Place::Start | Place::Dot | Place::Text, _) => {
                self.text(byte);
                Place::Text
            }
        };
        false
    }

    fn text(&mut self, byte: u8) {
        match byte {
            b'\n' => self.bare(byte),
            0 => self.refuse(Fault::BareByte),
            _ => self.keep(&[byte]),
        }
    }

    fn bare(&mut self, byte: u8) {
        match (self.newlines, byte) {
            (BareNewlines::Reject, _) => self.refuse(Fault::BareByte),
            (BareNewlines::Normalize, b'\n') => {
                self.keep(b"\r\n");
                self.line = 0;
            }
            // A space, not a line end: a CR alone must not be able to make a line.
            (BareNewlines::Normalize, _) => self.keep(b" "),
        }
    }

    fn refuse(&mut self, fault: Fault) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.raw = Vec::new();
            self.lease.end();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        // Whichever limit the earlier byte breaks is the fault, however the bytes were cut.
        let line_room = MAX_TEXT_LINE.saturating_sub(self.line);
        let letter_room = self.limit - self.raw.len();
        if bytes.len() > letter_room.min(line_room) {
            let fault = if letter_room <= line_room { Fault::TooBig } else { Fault::LineTooLong };
            return self.refuse(fault);
        }
        if !self.make_room(bytes.len()) {
            return self.refuse(Fault::NoRoom);
        }
        self.line += bytes.len();
        self.raw.extend_from_slice(bytes);
    }

    /// Keeps whole lines at once; `false`, and nothing changes, if a limit stands against it.
    fn keep_lines(&mut self, lines: &[u8]) -> bool {
        if self.fault.is_some() {
            return true;
        }
        let fits = lines.len() <= self.limit - self.raw.len() && self.make_room(lines.len());
        if fits {
            self.raw.extend_from_slice(lines);
        }
        fits
    }

    /// The room is leased before it is allocated.
    fn make_room(&mut self, more: usize) -> bool {
        let length = self.raw.len() + more;
        let room = self.raw.capacity();
        if length <= room {
            return true;
        }
        let wanted = (room + GROWTH.max(room / 4)).min(self.limit).max(length);
        if !self.lease.cover(wanted) {
            return false;
        }
        self.raw.reserve_exact(wanted - self.raw.len());
        true
    }
}

/// Bytes of whole lines at the front that are kept as they are: no dot to take out, no byte that
/// stands alone, none too long.
fn plain_lines(bytes: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let line = &bytes[end..];
        if line.starts_with(b".") {
            return end;
        }
        match memchr3(b'\r', b'\n', 0, line) {
            Some(at) if at + 2 <= MAX_TEXT_LINE && line[at..].starts_with(b"\r\n") => end += at + 2,
            _ => return end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;

    /// The letter and the bytes after it, or `None` while no end was met.
    type Received = Option<(Result<Vec<u8>, Fault>, Vec<u8>)>;

    fn received(pieces: &[&[u8]], limit: usize, newlines: BareNewlines) -> Received {
        let mut receiver = DotReceiver::new(limit, newlines, Budget::new(1 << 30).lease());
        for (i, piece) in pieces.iter().enumerate() {
            let mut rest = *piece;
            if receiver.receive(&mut rest) {
                let after = [rest, &pieces[i + 1..].concat()].concat();
                return Some((receiver.finish().map(|(raw, _)| raw), after));
            }
            assert!(rest.is_empty());
        }
        None
    }

    fn whole(bytes: &[u8]) -> Received {
        let whole = received(&[bytes], 1 << 20, BareNewlines::Reject);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let cut = received(&[head, tail], 1 << 20, BareNewlines::Reject);
            assert_eq!(cut, whole, "cut at {at}");
        }
        whole
    }

    #[test]
    fn a_letter_ends_with_crlf_dot_crlf_and_its_dots_come_out() {
        for (bytes, letter) in [
            (&b".\r\n"[..], &b""[..]),
            (b"\r\n.\r\n", b"\r\n"),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..a\r\n.\r\n", b".a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"...\r\n.\r\n", b"..\r\n"),
            (b". \r\n.\r\n", b" \r\n"),
            (b".a\r\n.\r\n", b"a\r\n"),
            (b"a.\r\n.b\r\nc.d\r\n\r\n.\r\n", b"a.\r\nb\r\nc.d\r\n\r\n"),
            (b"\xff\x80\x01\r\n.\r\n", b"\xff\x80\x01\r\n"),
        ] {
            assert_eq!(whole(bytes), Some((Ok(letter.to_vec()), Vec::new())), "{bytes:?}");
            let more = [bytes, b"QUIT\r\n"].concat();
            assert_eq!(whole(&more), Some((Ok(letter.to_vec()), b"QUIT\r\n".to_vec())));
        }
        for bytes in [&b""[..], b".", b".\r", b"a\r\n.", b"a\r\n.\r", b"a.\r\n", b"a\r\n..\r\n"] {
            assert_eq!(whole(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_byte_that_stands_alone_refuses_the_letter_at_its_true_end() {
        for odd in [
            &b"\n"[..],
            b"\r",
            b"\0",
            b"a\nb",
            b"a\rb",
            b"\n.\n",
            b"\n.\r\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\n",
            b"\r\n.\r",
            b"\n.\r",
            b"\r.\n",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
            b"\n\n.\r\n",
            b".\n",
            b".\r\r\n",
        ] {
            let letter = [b"x", odd, b"y\r\n"].concat();
            assert_eq!(whole(&letter), None, "{odd:?}");
            let ended = [&letter[..], b".\r\nQUIT\r\n"].concat();
            let refused = Some((Err(Fault::BareByte), b"QUIT\r\n".to_vec()));
            assert_eq!(whole(&ended), refused, "{odd:?}");
        }
    }

    #[test]
    fn other_line_ends_of_unicode_are_text() {
        let letter = "a\u{85}.\u{85}b\u{2028}.\u{2028}c\r\n".as_bytes();
        let sent = [letter, b".\r\n"].concat();
        assert_eq!(whole(&sent), Some((Ok(letter.to_vec()), Vec::new())));
    }

    #[test]
    fn normalizing_makes_lines_of_lf_spaces_of_cr_and_no_end_of_either() {
        let ends = |bytes: &[u8]| received(&[bytes], 1 << 20, BareNewlines::Normalize);
        for (bytes, letter) in [
            (&b"a\nb\r\n.\r\n"[..], &b"a\r\nb\r\n"[..]),
            (b"a\n.\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n"),
            (b"a\n.\r\n.\r\n", b"a\r\n.\r\n"),
            (b"a\rb\r\r\n.\r\n", b"a b \r\n"),
        ] {
            assert_eq!(ends(bytes), Some((Ok(letter.to_vec()), Vec::new())), "{bytes:?}");
        }
        assert_eq!(ends(b"a\0b\r\n.\r\n"), Some((Err(Fault::BareByte), Vec::new())));
    }

    #[test]
    fn a_letter_or_a_line_over_its_limit_is_read_on_and_refused() {
        let limited = |bytes: &[u8], limit| received(&[bytes], limit, BareNewlines::Reject);
        assert_eq!(limited(b"abc\r\n.\r\n", 5), Some((Ok(b"abc\r\n".to_vec()), Vec::new())));
        assert_eq!(limited(b"abcd\r\n.\r\nx", 5), Some((Err(Fault::TooBig), b"x".to_vec())));
        assert_eq!(limited(b"abcdef\r\n.\r\nx", 5), Some((Err(Fault::TooBig), b"x".to_vec())));
        for (extra, fits) in [(0, true), (1, false)] {
            let mut line = vec![b'x'; MAX_TEXT_LINE - 2 + extra];
            line.extend_from_slice(b"\r\n");
            let sent = [&line[..], b"next\r\n.\r\n"].concat();
            let (letter, after) = limited(&sent, 1 << 20).expect("the end is there");
            assert!(after.is_empty());
            match letter {
                Ok(raw) => assert!(fits && raw.len() == MAX_TEXT_LINE + 6),
                Err(fault) => assert!(!fits && fault == Fault::LineTooLong),
            }
        }
    }

    #[test]
    fn a_letter_without_room_is_read_on_and_gives_its_share_back() {
        let budget = Budget::new(256 * 1024);
        let mut first = DotReceiver::new(1 << 20, BareNewlines::Reject, budget.lease());
        let mut second = DotReceiver::new(1 << 20, BareNewlines::Reject, budget.lease());
        let line = [&[b'x'; 998][..], b"\r\n"].concat();
        let much = line.repeat(200);
        assert!(!first.receive(&mut &much[..]));
        assert!(!second.receive(&mut &much[..]));
        assert_eq!(second.fault, Some(Fault::NoRoom));
        assert!(second.receive(&mut &b".\r\n"[..]));
        assert!(first.receive(&mut &b".\r\n"[..]));
        let (raw, lease) = first.finish().expect("the first had room");
        assert_eq!(raw, much);
        assert!(budget.held() >= raw.len());
        drop(lease);
        drop(second);
        assert_eq!(budget.held(), 0);
    }
}
