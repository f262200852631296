//! The text of one letter as it is kept, however it is framed: its limits, its room, and the bytes
//! that are not forgiven.
//!
//! A bare LF, a bare CR or a NUL is where servers disagree on what a line is, so a letter with one
//! of them is read to its true end and refused. Once a fault is found, nothing is kept any more.

use memchr::memchr3;

use super::budget::Lease;
use super::settings::BareNewlines;

/// Bytes of one line of a letter, its CRLF included. RFC 5321 asks for 1000; real mail has more.
pub(super) const MAX_TEXT_LINE: usize = 64 * 1024;

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

/// What is kept of a letter so far.
pub(super) struct Text {
    raw: Vec<u8>,
    /// Bytes in the line so far.
    line: usize,
    fault: Option<Fault>,
    limit: usize,
    newlines: BareNewlines,
    lease: Lease,
}

impl Text {
    /// Nothing yet; it may become `limit` bytes.
    pub(super) fn new(limit: usize, newlines: BareNewlines, lease: Lease) -> Self {
        Self { raw: Vec::new(), line: 0, fault: None, limit, newlines, lease }
    }

    /// Why it is refused, if it is.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The letter with its share of the budget, or why it is refused.
    pub(super) fn finish(self) -> Result<(Vec<u8>, Lease), Fault> {
        match self.fault {
            None => Ok((self.raw, self.lease)),
            Some(fault) => Err(fault),
        }
    }

    /// A byte that is no part of a line's end.
    pub(super) fn byte(&mut self, byte: u8) {
        match byte {
            b'\n' => self.bare(byte),
            0 => self.refuse(Fault::BareByte),
            _ => self.keep(&[byte]),
        }
    }

    /// A CR or LF that stands alone.
    pub(super) fn bare(&mut self, byte: u8) {
        match (self.newlines, byte) {
            (BareNewlines::Reject, _) => self.refuse(Fault::BareByte),
            (BareNewlines::Normalize, b'\n') => self.end_line(),
            // A space, not a line end: a CR alone must not be able to make a line.
            (BareNewlines::Normalize, _) => self.keep(b" "),
        }
    }

    /// The end of a line.
    pub(super) fn end_line(&mut self) {
        self.keep(b"\r\n");
        self.line = 0;
    }

    /// Ends the last line, if it is not ended.
    pub(super) fn end_last_line(&mut self) {
        if !self.raw.is_empty() && !self.raw.ends_with(b"\r\n") {
            self.end_line();
        }
    }

    /// From here on nothing is kept. The first fault counts.
    pub(super) fn refuse(&mut self, fault: Fault) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.raw = Vec::new();
            self.lease.end();
        }
    }

    /// Bytes of a line, none of them CR, LF or NUL; or its end.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
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
    pub(super) fn keep_lines(&mut self, lines: &[u8]) -> bool {
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

/// Bytes of whole lines at the front that are kept as they are: no byte that stands alone, none too
/// long, and none that begins with `stop`.
pub(super) fn plain_lines(bytes: &[u8], stop: Option<u8>) -> usize {
    let mut end = 0;
    loop {
        let line = &bytes[end..];
        if stop.is_some() && line.first().copied() == stop {
            return end;
        }
        match memchr3(b'\r', b'\n', 0, line) {
            Some(at) if at + 2 <= MAX_TEXT_LINE && line[at..].starts_with(b"\r\n") => end += at + 2,
            _ => return end,
        }
    }
}

/// Bytes at the front that are inside a line.
pub(super) fn inside_line(bytes: &[u8]) -> usize {
    memchr3(b'\r', b'\n', 0, bytes).unwrap_or(bytes.len())
}
