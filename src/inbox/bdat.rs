//! The bytes of BDAT chunks (RFC 3030): a letter whose end is counted, not searched.
//!
//! A chunk has as many bytes as its command said; where chunks meet changes nothing, not even
//! between CR and LF. No dot is taken out, and no byte ends anything. What a letter may hold is the
//! same as after DATA: text in lines that end with CRLF (RFC 3030 §3), nothing that stands alone.

use super::budget::Lease;
use super::settings::BareNewlines;
use super::text::{Fault, Text, inside_line, plain_lines};

/// Chunks since the last accepted letter, at most.
pub(super) const MAX_CHUNKS: u32 = 10_000;

/// Where in a line the receiver stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// After CRLF.
    Start,
    /// Inside a line.
    Text,
    /// After a CR that is not kept yet.
    Cr,
}

/// Takes one letter, chunk after chunk.
pub(super) struct ChunkReceiver {
    place: Place,
    text: Text,
    limit: usize,
    /// Bytes of all its chunks so far, as announced.
    announced: usize,
}

impl ChunkReceiver {
    /// Ready for the first chunk; all together may have `limit` bytes.
    pub(super) fn new(limit: usize, newlines: BareNewlines, lease: Lease) -> Self {
        let text = Text::new(limit, newlines, lease);
        Self { place: Place::Start, text, limit, announced: 0 }
    }

    /// A chunk of so many bytes comes.
    pub(super) fn announce(&mut self, size: usize) {
        self.announced = self.announced.saturating_add(size);
        if self.announced > self.limit {
            self.text.refuse(Fault::TooBig);
        }
    }

    /// Why the letter is refused, if it is.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.text.fault()
    }

    /// Bytes that came or were announced, and are gone.
    pub(super) fn discarded(&self) -> usize {
        if self.fault().is_some() { self.announced } else { 0 }
    }

    /// Takes bytes of a chunk, all of them.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.fault().is_some() {
                return;
            }
            if self.place == Place::Start {
                let (lines, after) = rest.split_at(plain_lines(rest, None));
                if !lines.is_empty() && self.text.keep_lines(lines) {
                    rest = after;
                    continue;
                }
            }
            if self.place == Place::Text {
                let (run, after) = rest.split_at(inside_line(rest));
                if !run.is_empty() {
                    self.text.keep(run);
                    rest = after;
                    continue;
                }
            }
            rest = after;
            self.step(byte);
        }
    }

    /// The letter with its share of the budget, or why it is refused. A last line without an end
    /// gets one, as every server between us and the reader would give it.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Lease), Fault> {
        if self.place == Place::Cr {
            self.text.bare(b'\r');
        }
        self.text.end_last_line();
        self.text.finish()
    }

    fn step(&mut self, byte: u8) {
        self.place = match (self.place, byte) {
            (Place::Cr, b'\n') => {
                self.text.end_line();
                Place::Start
            }
            (Place::Start | Place::Text, b'\r') => Place::Cr,
            (Place::Cr, b'\r') => {
                self.text.bare(b'\r');
                Place::Cr
            }
            (Place::Cr, _) => {
                self.text.bare(b'\r');
                self.text.byte(byte);
                Place::Text
            }
            (Place::Start | Place::Text, _) => {
                self.text.byte(byte);
                Place::Text
            }
        };
    }
}

/// What the command announces: bytes, and whether it is the last chunk. None if it does not say
/// so in the one way that everybody reads alike; then nobody knows how many bytes follow.
pub(super) fn announced(command: &str) -> Option<(usize, bool)> {
    let (verb, arguments) = command.split_once(' ')?;
    let mut words = arguments.split(' ').filter(|word| !word.is_empty());
    if !verb.eq_ignore_ascii_case("BDAT") {
        return None;
    }
    let size = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))?;
    let is_last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    let size = size.parse().ok()?;
    words.next().is_none().then_some((size, is_last))
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::text::MAX_TEXT_LINE;
    use super::*;

    fn received(chunks: &[&[u8]], limit: usize, newlines: BareNewlines) -> Result<Vec<u8>, Fault> {
        let mut receiver = ChunkReceiver::new(limit, newlines, Budget::new(1 << 30).lease());
        for chunk in chunks {
            receiver.announce(chunk.len());
            receiver.receive(chunk);
        }
        receiver.finish().map(|(raw, _)| raw)
    }

    fn whole(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let whole = received(&[bytes], 1 << 20, BareNewlines::Reject);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let cut = received(&[head, tail], 1 << 20, BareNewlines::Reject);
            assert_eq!(cut, whole, "cut at {at}");
        }
        whole
    }

    #[test]
    fn what_was_counted_is_the_letter_dots_and_all() {
        for (bytes, letter) in [
            (&b""[..], &b""[..]),
            (b"a\r\n", b"a\r\n"),
            (b".\r\n", b".\r\n"),
            (b"a\r\n.\r\n..\r\nb\r\n", b"a\r\n.\r\n..\r\nb\r\n"),
            (b"a\r\nno end", b"a\r\nno end\r\n"),
            (b"\xff\x80\x01\r\n", b"\xff\x80\x01\r\n"),
        ] {
            assert_eq!(whole(bytes), Ok(letter.to_vec()), "{bytes:?}");
        }
    }

    #[test]
    fn a_byte_that_stands_alone_refuses_the_letter_wherever_chunks_meet() {
        for odd in [
            &b"\n"[..],
            b"\r",
            b"\0",
            b"a\nb",
            b"a\rb",
            b"\r\r\n",
            b"\n\r",
            b"\r\n\0\r\n",
            b"\r\n.\r\r\n",
            b"a\r",
            b"a\n",
        ] {
            assert_eq!(whole(odd), Err(Fault::BareByte), "{odd:?}");
            assert_eq!(whole(&[odd, b"y\r\n"].concat()), Err(Fault::BareByte), "{odd:?}");
        }
    }

    #[test]
    fn normalizing_makes_lines_of_lf_and_spaces_of_cr() {
        for (bytes, letter) in [
            (&b"a\nb\r\n"[..], &b"a\r\nb\r\n"[..]),
            (b"a\n", b"a\r\n"),
            (b"a\rb", b"a b\r\n"),
            (b"a\r", b"a \r\n"),
        ] {
            let kept = received(&[bytes], 1 << 20, BareNewlines::Normalize);
            assert_eq!(kept, Ok(letter.to_vec()), "{bytes:?}");
        }
    }

    #[test]
    fn a_letter_or_a_line_over_its_limit_is_refused() {
        let limited = |chunks: &[&[u8]]| received(chunks, 6, BareNewlines::Reject);
        assert_eq!(limited(&[b"ab", b"\r\n"]), Ok(b"ab\r\n".to_vec()));
        assert_eq!(limited(&[b"abcd\r\n"]), Ok(b"abcd\r\n".to_vec()));
        assert_eq!(limited(&[b"abcd", b"e\r\n"]), Err(Fault::TooBig));
        assert_eq!(limited(&[b"abcde"]), Err(Fault::TooBig), "no room for its end");
        let line = vec![b'x'; MAX_TEXT_LINE];
        assert_eq!(
            received(&[&line, b"\r\n"], 1 << 20, BareNewlines::Reject),
            Err(Fault::LineTooLong)
        );
    }

    #[test]
    fn a_chunk_is_announced_in_one_way_and_never_overflows() {
        for (command, said) in [
            ("BDAT 0", Some((0, false))),
            ("BDAT 0 LAST", Some((0, true))),
            ("bdat 12 last", Some((12, true))),
            ("BDAT  12  LAST ", Some((12, true))),
            ("BDAT 007", Some((7, false))),
            ("BDAT 18446744073709551615", Some((usize::MAX, false))),
            ("BDAT 18446744073709551616", None),
            ("BDAT 99999999999999999999999999999999999999", None),
            ("BDAT", None),
            ("BDAT LAST", None),
            (" BDAT 1", None),
            ("BDATX 1", None),
            ("BDAT -1", None),
            ("BDAT +1", None),
            ("BDAT 0x10", None),
            ("BDAT 1.5", None),
            ("BDAT 5 LAST 5", None),
            ("BDAT 5 FIRST", None),
        ] {
            assert_eq!(announced(command), said, "{command}");
        }
        let mut receiver =
            ChunkReceiver::new(10, BareNewlines::Reject, Budget::new(1 << 20).lease());
        receiver.announce(usize::MAX);
        receiver.announce(usize::MAX);
        assert_eq!(receiver.finish().err(), Some(Fault::TooBig));
    }
}
