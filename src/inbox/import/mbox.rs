//! Cuts an mbox file into its messages: mboxo, mboxrd, mboxcl and mboxcl2, told apart per file.
//!
//! Streamed: one message is in memory at a time, and none that is longer than the limit. No byte is
//! lost: what lies in the file is in a message but for the `From ` lines, the blank line that ends
//! each message, and the `>` that was put before a line, which is taken off only where the dialect
//! is sure. Where it is not, the line stays as it stands and the message says so.
//!
//! A `Content-Length` counts only if it leads to the next `From ` line or to the end of the file.

use std::io::{self, BufRead as _, BufReader, Read, Seek};

use super::from_line::{self, FromLine};

/// How a writer of mbox files keeps lines of text that begin with `From ` apart from its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `From ` is written `>From `; what was `>From ` before looks the same.
    Mboxo,
    /// One `>` more before every line of any number of `>` and `From `.
    Mboxrd,
    /// As mboxo, and a `Content-Length` in each message.
    Mboxcl,
    /// A `Content-Length` in each message, and lines as they are.
    Mboxcl2,
}

/// One message of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Where its `From ` line begins in the file.
    pub offset: u64,
    /// Where the message itself begins.
    pub start: u64,
    /// Its length in the file, in bytes.
    pub length: u64,
    /// Its bytes; none if they are more than the limit.
    pub raw: Option<Vec<u8>>,
    /// The first word of its `From ` line: the reverse-path, as most writers have it.
    pub sender: Vec<u8>,
    /// What its `From ` line says of the time, in seconds since 1970.
    pub seconds: Option<u64>,
    /// It has lines that begin with `>From `, and whether somebody wrote them so nobody can tell.
    pub doubt: bool,
}

/// The messages of a file, one after the other.
pub struct Messages<R> {
    from: BufReader<R>,
    at: u64,
    end: u64,
    limit: u64,
    dialect: Option<Dialect>,
    is_forced: bool,
    /// The first `From ` line says no date: then none has to, but each needs a blank line before.
    is_lax: bool,
    has_begun: bool,
    next: Option<(u64, FromLine)>,
    line: Vec<u8>,
    /// The piece in `line` is the beginning of a line.
    starts: bool,
    /// The piece in `line` is not the last one of its line.
    goes_on: bool,
    /// The line before was blank.
    after_blank: bool,
    seen: Seen,
}

/// What the messages of a file have in them, to tell its dialect.
#[derive(Default)]
struct Seen {
    messages: u64,
    by_length: u64,
    quoted: bool,
    quoted_twice: bool,
    bare: bool,
}

/// Bytes that are read at a time.
const BUFFER: usize = 256 * 1024;
/// A line longer than this is read in pieces.
const PIECE: u64 = 64 * 1024;
/// Blank lines that may stand between a message of known length and the next `From ` line.
const BLANKS: usize = 2;

impl<R: Read + Seek> Messages<R> {
    /// The messages of a file of `end` bytes, those of more than `limit` bytes without their
    /// content. Without a dialect the file is read once to tell it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(from: R, end: u64, limit: u64, dialect: Option<Dialect>) -> io::Result<Self> {
        let mut this = Self {
            from: BufReader::with_capacity(BUFFER, from),
            at: 0,
            end,
            limit: 0,
            dialect,
            is_forced: dialect.is_some(),
            is_lax: false,
            has_begun: false,
            next: None,
            line: Vec::new(),
            starts: true,
            goes_on: false,
            after_blank: true,
            seen: Seen::default(),
        };
        if dialect.is_none() {
            while this.next()?.is_some() {}
            let dialect = this.seen.dialect();
            let mut from = this.from.into_inner();
            from.rewind()?;
            this = Self::open(from, end, limit, Some(dialect))?;
            this.is_forced = false;
        }
        this.limit = limit;
        Ok(this)
    }

    /// The dialect that was told, or that it is read as.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect.unwrap_or(Dialect::Mboxo)
    }

    /// How far the file was read, in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next message; none at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    #[allow(clippy::should_implement_trait, reason = "an iterator of results invites to go on")]
    pub fn next(&mut self) -> io::Result<Option<Message>> {
        let Some((offset, from_line)) = self.begin()? else { return Ok(None) };
        let start = if self.line.is_empty() { self.at } else { offset };
        let mut building = Building { limit: self.limit, ..Building::default() };
        if !self.line.is_empty() {
            building.push(&self.line, true);
        }
        if let Some(length) = self.header(&mut building)? {
            match length.and_then(|length| self.at.checked_add(length)) {
                Some(end) if self.counts_length() && self.lands(end)? => {
                    self.body_until(&mut building, end)?;
                }
                _ => self.body(&mut building)?,
            }
        }
        self.seen.take(&building);
        Ok(Some(self.finish(building, (offset, start), from_line)))
    }

    /// The `From ` line that opens the next message. At the beginning of a file that has none, its
    /// first line stays in `line`.
    fn begin(&mut self) -> io::Result<Option<(u64, FromLine)>> {
        if std::mem::replace(&mut self.has_begun, true) {
            self.line.clear();
            return Ok(self.next.take());
        }
        if !self.read_line(u64::MAX)? {
            return Ok(None);
        }
        let first = if self.goes_on { None } else { from_line::parse(&self.line) };
        match &first {
            Some(from_line) => {
                self.is_lax = from_line.seconds.is_none();
                self.line.clear();
            }
            None => self.after_blank = false,
        }
        Ok(Some((0, first.unwrap_or_default())))
    }

    /// Reads the header. None if the message ended in it, else the `Content-Length`, if it says one.
    fn header(&mut self, building: &mut Building) -> io::Result<Option<Option<u64>>> {
        let mut length = None;
        if !building.is_empty() && is_blank(&self.line) {
            building.body_at = building.raw.len();
            return Ok(Some(None));
        }
        while self.read_line(u64::MAX)? {
            if self.ends_message() {
                return Ok(None);
            }
            building.push(&self.line, self.starts);
            if self.starts && is_blank(&self.line) {
                building.body_at = building.raw.len();
                return Ok(Some(length));
            }
            if self.starts && length.is_none() {
                length = content_length(&self.line);
            }
        }
        Ok(None)
    }

    /// Reads a body up to the next `From ` line.
    fn body(&mut self, building: &mut Building) -> io::Result<()> {
        while self.read_line(u64::MAX)? {
            if self.ends_message() {
                return Ok(());
            }
            building.push(&self.line, self.starts);
            building.look(&self.line, self.starts);
        }
        Ok(())
    }

    /// Reads a body whose end is known, and the `From ` line behind it.
    fn body_until(&mut self, building: &mut Building, end: u64) -> io::Result<()> {
        while self.at < end && self.read_line(end)? {
            building.push(&self.line, self.starts);
            building.look(&self.line, self.starts);
            building.bare |= self.starts && self.is_from_line().is_some();
        }
        building.by_length = true;
        self.goes_on = false;
        while self.read_line(u64::MAX)? {
            let at = self.at - self.line.len() as u64;
            if let Some(from_line) = from_line::parse(&self.line) {
                self.next = Some((at, from_line));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads a line, or a piece of a long one, that ends at `end` at the latest. False at the end of
    /// the file.
    fn read_line(&mut self, end: u64) -> io::Result<bool> {
        self.after_blank = !self.goes_on && is_blank(&self.line) || self.at == 0;
        self.starts = !self.goes_on;
        self.line.clear();
        let most = PIECE.min(end.saturating_sub(self.at));
        let read = (&mut self.from).take(most).read_until(b'\n', &mut self.line)?;
        self.goes_on = read > 0 && self.line.last() != Some(&b'\n');
        self.at += read as u64;
        Ok(read > 0)
    }

    /// Whether the line just read opens the next message; then it is kept for that.
    fn ends_message(&mut self) -> bool {
        if !self.starts {
            return false;
        }
        let Some(from_line) = self.is_from_line() else { return false };
        self.next = Some((self.at - self.line.len() as u64, from_line));
        true
    }

    fn is_from_line(&self) -> Option<FromLine> {
        from_line::parse(&self.line)
            .filter(|line| line.seconds.is_some() || (self.is_lax && self.after_blank))
    }

    fn counts_length(&self) -> bool {
        matches!(self.dialect, None | Some(Dialect::Mboxcl | Dialect::Mboxcl2))
    }

    /// Whether a message that ends at `end` is followed by a `From ` line or by nothing.
    fn lands(&mut self, end: u64) -> io::Result<bool> {
        if end > self.end {
            return Ok(false);
        }
        let (here, from) = (self.at, end.saturating_sub(1));
        let mut behind = Vec::with_capacity(from_line::LONGEST + 8);
        self.seek(here, from)?;
        (&mut self.from).take(behind.capacity() as u64).read_to_end(&mut behind)?;
        self.seek(from + behind.len() as u64, here)?;
        let (last, mut rest) = behind.split_at(usize::from(end > 0).min(behind.len()));
        let mut is_line_start = last == b"\n" || end == here;
        for _ in 0..BLANKS {
            let blank = [&b"\n"[..], b"\r\n"].into_iter().find_map(|end| rest.strip_prefix(end));
            let Some(behind) = blank else { break };
            (rest, is_line_start) = (behind, true);
        }
        let line = rest.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
        let opens =
            || from_line::parse(line).is_some_and(|line| line.seconds.is_some() || self.is_lax);
        Ok(rest.is_empty() || (is_line_start && opens()))
    }

    fn seek(&mut self, from: u64, to: u64) -> io::Result<()> {
        let distance = i128::from(to) - i128::from(from);
        let distance = i64::try_from(distance).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.from.seek_relative(distance)
    }

    fn finish(
        &self,
        mut building: Building,
        (offset, start): (u64, u64),
        from_line: FromLine,
    ) -> Message {
        if !building.by_length {
            building.drop_last_blank();
        }
        let dialect = self.dialect();
        let takes_off = match dialect {
            Dialect::Mboxrd => usize::MAX,
            // A line that was `>From ` before it was quoted looks like one that was `From `.
            Dialect::Mboxo | Dialect::Mboxcl if self.is_forced => 1,
            _ => 0,
        };
        let is_plain = building.by_length && dialect == Dialect::Mboxcl2;
        let is_whole = building.length <= self.limit;
        Message {
            offset,
            start,
            length: building.length,
            doubt: building.quoted && takes_off == 0 && !is_plain,
            raw: is_whole.then(|| {
                // The line that ends a header may be the one that ends the message.
                let body_at = building.body_at.min(building.raw.len());
                unquoted(building.raw, body_at, takes_off)
            }),
            sender: from_line.sender,
            seconds: from_line.seconds,
        }
    }
}

/// A message being read.
#[derive(Default)]
struct Building {
    limit: u64,
    raw: Vec<u8>,
    length: u64,
    body_at: usize,
    /// Length of the last line, if it is a blank one.
    blank: usize,
    by_length: bool,
    quoted: bool,
    quoted_twice: bool,
    bare: bool,
}

impl Building {
    fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn push(&mut self, line: &[u8], starts: bool) {
        self.length += line.len() as u64;
        self.blank = if starts && is_blank(line) { line.len() } else { 0 };
        // One blank line more than the limit: it may not belong to the message.
        if self.length <= self.limit.saturating_add(self.blank as u64) {
            self.raw.extend_from_slice(line);
        } else {
            self.raw = Vec::new();
        }
    }

    fn look(&mut self, line: &[u8], starts: bool) {
        match quotes(line) {
            Some(1) if starts => self.quoted = true,
            Some(2..) if starts => self.quoted_twice = true,
            _ => {}
        }
    }

    /// The line that ends a message belongs to the file.
    fn drop_last_blank(&mut self) {
        self.length -= self.blank as u64;
        self.raw.truncate(self.raw.len().saturating_sub(self.blank));
    }
}

impl Seen {
    fn take(&mut self, building: &Building) {
        self.messages += 1;
        self.by_length += u64::from(building.by_length);
        self.quoted |= building.quoted;
        self.quoted_twice |= building.quoted_twice;
        self.bare |= building.bare;
    }

    /// What most of the messages say.
    fn dialect(&self) -> Dialect {
        if self.by_length * 2 > self.messages {
            if self.quoted && !self.bare { Dialect::Mboxcl } else { Dialect::Mboxcl2 }
        } else if self.quoted_twice {
            // No other dialect writes two of them.
            Dialect::Mboxrd
        } else {
            Dialect::Mboxo
        }
    }
}

fn is_blank(line: &[u8]) -> bool {
    line == b"\n" || line == b"\r\n"
}

/// How many `>` stand before `From `; none if the line is another.
fn quotes(line: &[u8]) -> Option<usize> {
    let count = line.iter().take_while(|&&byte| byte == b'>').count();
    line[count..].starts_with(b"From ").then_some(count)
}

/// The number in a `Content-Length` field.
fn content_length(line: &[u8]) -> Option<u64> {
    let at = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (line[..at].trim_ascii_end(), line[at + 1..].trim_ascii());
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let is_named = name.eq_ignore_ascii_case(b"content-length");
    std::str::from_utf8(value).ok().filter(|_| is_named && is_number)?.parse().ok()
}

/// Takes one `>` off the lines of the body that have at most `most` of them before `From `.
fn unquoted(raw: Vec<u8>, body_at: usize, most: usize) -> Vec<u8> {
    let is_quoted = |line: &&[u8]| quotes(line).is_some_and(|count| (1..=most).contains(&count));
    let lines = || raw[body_at..].split_inclusive(|&byte| byte == b'\n');
    if most == 0 || lines().all(|line| !is_quoted(&line)) {
        return raw;
    }
    let mut message = Vec::with_capacity(raw.len());
    message.extend_from_slice(&raw[..body_at]);
    for line in lines() {
        message.extend_from_slice(&line[usize::from(is_quoted(&line))..]);
    }
    message
}
