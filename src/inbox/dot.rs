//! The bytes after 354: finds the end of a letter and takes the dots out.
//!
//! A letter ends with CRLF.CRLF and with nothing else; the CRLF of the DATA line counts as the
//! first one (RFC 5321 §4.1.1.4). Servers that disagree on this let one letter be taken for two
//! (CVE-2023-51764 and its kin), so a bare LF, a bare CR or a NUL is never forgiven silently: the
//! letter is read to its true end and refused (`text`). How the bytes were cut on their way changes nothing.

use super::budget::Lease;
use super::settings::BareNewlines;
use super::text::{Fault, Text, inside_line, plain_lines};

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
    text: Text,
    /// Bytes that came, dots and all.
    came: usize,
}

impl DotReceiver {
    /// Ready for the first byte after 354; a letter may have `limit` bytes, dots taken out.
    pub(super) fn new(limit: usize, newlines: BareNewlines, lease: Lease) -> Self {
        Self { place: Place::Start, text: Text::new(limit, newlines, lease), came: 0 }
    }

    /// Takes bytes off the front, at most to the end of the letter; `true` when that was met.
    pub(super) fn receive(&mut self, bytes: &mut &[u8]) -> bool {
        let before = bytes.len();
        let is_end = self.take(bytes);
        self.came += before - bytes.len();
        is_end
    }

    /// Bytes that came and are gone.
    pub(super) fn discarded(&self) -> usize {
        if self.text.fault().is_some() { self.came } else { 0 }
    }

    /// The letter with its share of the budget, or why it is refused.
    pub(super) fn finish(self) -> Result<(Vec<u8>, Lease), Fault> {
        self.text.finish()
    }

    fn take(&mut self, bytes: &mut &[u8]) -> bool {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.place == Place::Start {
                let (lines, rest) = bytes.split_at(plain_lines(bytes, Some(b'.')));
                if !lines.is_empty() && self.text.keep_lines(lines) {
                    *bytes = rest;
                    continue;
                }
            }
            if self.place == Place::Text {
                let (run, rest) = bytes.split_at(inside_line(bytes));
                if !run.is_empty() {
                    self.text.keep(run);
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

    fn step(&mut self, byte: u8) -> bool {
        self.place = match (self.place, byte) {
            (Place::DotCr, b'\n') => return true,
            (Place::Cr, b'\n') => {
                self.text.end_line();
                Place::Start
            }
            (Place::Start, b'.') => Place::Dot,
            (Place::Dot, b'\r') => Place::DotCr,
            (Place::Start | Place::Text, b'\r') => Place::Cr,
            (Place::Cr | Place::DotCr, b'\r') => {
                self.text.bare(b'\r');
                Place::Cr
            }
            (Place::Cr | Place::DotCr, _) => {
                self.text.bare(b'\r');
                self.text.byte(byte);
                Place::Text
            }
            (Place::Start | Place::Dot | Place::Text, _) => {
                self.text.byte(byte);
                Place::Text
            }
        };
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::text::MAX_TEXT_LINE;
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
        assert_eq!(second.text.fault(), Some(Fault::NoRoom));
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
