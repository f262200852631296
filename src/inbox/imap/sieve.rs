//! Reads what a server sends, and writes anew what is asked for (RFC 9051 §7).
//!
//! The client library ends at the first response that it cannot read, and takes up to half a
//! gigabyte for one. Servers do send such responses: `(UID 5 )`, two spaces, no text behind OK, dates
//! that are NIL. So it gets none of theirs. Each response is cut off the stream within a limit, and of
//! the few kinds that matter here what they say is written again in the plainest form; all others go
//! no further. A FETCH of which nothing can be made out is counted, so that nobody takes the mail it
//! was about for absent.

use std::collections::BTreeSet;

/// Bytes of a response beside its literals, at most: a list of a few hundred thousand UIDs.
const LINE: usize = 4 << 20;

/// Things that a server can do, at most.
const CAPABILITIES: usize = 256;
/// Bytes of the name of one of them; a longer one is none that matters here.
const NAME: usize = 64;
/// UIDs that the answers to one search may name.
const FOUND: usize = 200_000;
/// Bytes that may come behind a literal along with its end.
const BEHIND: usize = 32 * 1024;

/// Cuts a stream of bytes into responses.
#[derive(Debug, Default)]
pub struct Cutter {
    bytes: Vec<u8>,
    /// From here on nobody looked for the end of a line yet.
    looked: usize,
    /// Where the line that is being looked at begins; behind a literal that is in mid-response.
    line: usize,
    /// Bytes of literals in it so far.
    literals: usize,
    /// So many bytes are there when the literal is whole that is waited for.
    wanted: usize,
}

/// A response is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Cutter {
    /// More of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether nothing is left over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next response, its line ends included, if it is there; its literals may have `most` bytes.
    ///
    /// # Errors
    /// It is too long: the stream is of no more use.
    pub fn next(&mut self, most: usize) -> Result<Option<Vec<u8>>, TooLong> {
        if self.bytes.len() < self.wanted {
            return Ok(None);
        }
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.bytes[self.looked..]) else {
                self.looked = self.bytes.len();
                return if self.bytes.len() - self.literals > LINE {
                    Err(TooLong)
                } else {
                    Ok(None)
                };
            };
            let end = self.looked + end + 1;
            // Behind a literal no status begins: its first line says whether one is.
            let line = &self.bytes[self.line..end];
            let literal = if self.line == 0 && is_status(line) { None } else { literal_of(line) };
            let Some(length) = literal else {
                let rest = self.bytes.split_off(end);
                let response = std::mem::replace(&mut self.bytes, rest);
                (self.looked, self.line, self.literals, self.wanted) = (0, 0, 0, 0);
                return if end > LINE + most { Err(TooLong) } else { Ok(Some(response)) };
            };
            let length = usize::try_from(length).map_err(|_| TooLong)?;
            if length > most.saturating_sub(self.literals) {
                return Err(TooLong);
            }
            let behind = end + length;
            if self.bytes.len() < behind {
                // The line is looked at again when the literal is there.
                (self.looked, self.wanted) = (end - 1, behind);
                // All that is left to come: a vector that doubles holds twice what it has room for.
                self.bytes.reserve_exact(behind + BEHIND - self.bytes.len());
                return Ok(None);
            }
            self.literals += length;
            (self.looked, self.line) = (behind, behind);
        }
    }
}

/// Whether the response is a word and free text, in which no literal can stand.
fn is_status(response: &[u8]) -> bool {
    let mut words = response.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    match words.next() {
        Some(b"*") => words.next().is_some_and(|word| status(trimmed(word)).is_some()),
        _ => true,
    }
}

/// The length of the literal that a line announces at its end: `{5}`, `{5+}`, `~{5}`.
fn literal_of(line: &[u8]) -> Option<u64> {
    let inside = trimmed(line).strip_suffix(b"}")?;
    let inside = inside.strip_suffix(b"+").unwrap_or(inside);
    let digits = inside.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, number) = inside.split_at(inside.len() - digits);
    before.strip_suffix(b"{")?;
    if digits == 0 {
        return None;
    }
    // One that is no number is longer than anything.
    Some(std::str::from_utf8(number).ok()?.parse().unwrap_or(u64::MAX))
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

/// What the answers to one search named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    uids: Vec<u32>,
    was_said: bool,
    is_unreadable: bool,
}

impl Found {
    /// What was found; none if there was no answer, or one that cannot be read: it may name anything.
    #[must_use]
    pub fn uids(self) -> Option<Vec<u32>> {
        (self.was_said && !self.is_unreadable).then_some(self.uids)
    }

    /// Takes these in; whether there is room for all of them.
    fn add(&mut self, uids: impl Iterator<Item = u32>) -> bool {
        let room = FOUND - self.uids.len();
        // One more than there is room for says that there were more.
        self.uids.extend(uids.take(room + 1));
        let all_fit = self.uids.len() <= FOUND;
        self.uids.truncate(FOUND);
        all_fit
    }

    /// `SEARCH 2 5` (RFC 3501 §7.2.5). Whether there is room for all of them.
    fn search(&mut self, line: &[u8]) -> bool {
        self.was_said = true;
        let words = || line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        self.is_unreadable |= words().any(|word| number(word).is_none());
        self.add(words().filter_map(number))
    }

    /// `ESEARCH (TAG "A1") UID ALL 2,5:9` (RFC 9051 §7.3.4); without ALL there are none. Whether there
    /// is room for all of them.
    fn esearch(&mut self, reader: &mut Reader<'_>) -> bool {
        self.was_said = true;
        let (mut is_uids, mut all_fit) = (false, true);
        reader.skip_spaces();
        if reader.skip(b'(') {
            reader.skip_list();
        }
        loop {
            reader.skip_spaces();
            let name = reader.item();
            if name.is_empty() {
                self.is_unreadable |= !is_uids || !reader.0.trim_ascii().is_empty();
                return all_fit;
            }
            if name.eq_ignore_ascii_case(b"UID") {
                is_uids = true;
                continue;
            }
            let value = reader.value();
            if !name.eq_ignore_ascii_case(b"ALL") {
                continue;
            }
            let Value::Atom(set) = value else {
                self.is_unreadable = true;
                continue;
            };
            for part in set.split(|&byte| byte == b',') {
                let mut ends = part.splitn(2, |&byte| byte == b':').map(number);
                match (ends.next().flatten(), ends.next()) {
                    (Some(uid), None) => all_fit &= self.add(std::iter::once(uid)),
                    (Some(one), Some(Some(other))) => {
                        all_fit &= self.add(one.min(other)..=one.max(other));
                    }
                    _ => self.is_unreadable = true,
                }
            }
        }
    }
}

/// What a server said beside the answers that go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What it can do, in capitals.
    pub capabilities: BTreeSet<String>,
    /// What a search found.
    pub found: Found,
    /// It says that it can do more, or found more, than there may be.
    pub is_too_much: bool,
    /// Responses about mails of which nothing could be made out.
    pub unreadable: u64,
    /// It said that the access token is not good any more.
    pub token_expired: bool,
    /// It says good-bye.
    pub is_leaving: bool,
}

impl Heard {
    /// Takes a response in; gives it written anew if it goes on.
    pub fn sift(&mut self, response: &[u8]) -> Option<Vec<u8>> {
        if memchr::memmem::find(response, b"AccessTokenExpired").is_some() && is_status(response) {
            self.token_expired = true;
        }
        let mut reader = Reader(response);
        match reader.word() {
            // What a challenge says is of no use to any way of logging in that is known here.
            b"+" => Some(b"+ \r\n".to_vec()),
            b"*" => self.sift_untagged(&mut reader),
            tag if is_tag(tag) => {
                let status = status(reader.word())?;
                let text = reader.0;
                self.note_capabilities(text);
                Some(line(&[tag, status.as_bytes(), b"."]))
            }
            _ => None,
        }
    }

    fn sift_untagged(&mut self, reader: &mut Reader<'_>) -> Option<Vec<u8>> {
        let first = reader.word();
        if let Some(status) = status(first) {
            self.is_leaving |= status == "BYE";
            self.note_capabilities(reader.0);
            let code = ["UIDVALIDITY", "UIDNEXT"].into_iter().find_map(|name| {
                let number = number_behind(reader.0, name)?;
                Some(format!("[{name} {number}] "))
            });
            let code = code.unwrap_or_default() + ".";
            return Some(line(&[b"*", status.as_bytes(), code.as_bytes()]));
        }
        if first.eq_ignore_ascii_case(b"CAPABILITY") {
            self.add_capabilities(reader.0);
            return None;
        }
        if first.eq_ignore_ascii_case(b"SEARCH") {
            self.is_too_much |= !self.found.search(reader.0);
            return None;
        }
        if first.eq_ignore_ascii_case(b"ESEARCH") {
            self.is_too_much |= !self.found.esearch(reader);
            return None;
        }
        let number = number(first)?;
        let kind = reader.word();
        if kind.eq_ignore_ascii_case(b"EXISTS") {
            return Some(format!("* {number} EXISTS\r\n").into_bytes());
        }
        if !kind.eq_ignore_ascii_case(b"FETCH") {
            return None;
        }
        let fetch = Fetch::read(reader);
        if fetch.says_nothing() {
            self.unreadable += 1;
            return None;
        }
        Some(fetch.written(number))
    }

    /// Some servers say what they can do in a code, unasked: after a log-in it may be more.
    fn note_capabilities(&mut self, text: &[u8]) {
        let Some(inside) = text.trim_ascii_start().strip_prefix(b"[") else { return };
        let inside = &inside[..memchr::memchr(b']', inside).unwrap_or(inside.len())];
        let mut reader = Reader(inside);
        if reader.word().eq_ignore_ascii_case(b"CAPABILITY") {
            self.capabilities.clear();
            self.add_capabilities(reader.0);
        }
    }

    fn add_capabilities(&mut self, text: &[u8]) {
        for word in words(text).filter(|word| word.len() <= NAME) {
            if self.capabilities.len() == CAPABILITIES && !self.capabilities.contains(&word) {
                self.is_too_much = true;
                return;
            }
            self.capabilities.insert(word);
        }
    }
}

/// Whether the client library reads this as one whole response.
#[must_use]
pub fn is_read(response: &[u8]) -> bool {
    matches!(async_imap::imap_proto::Response::parse(response), Ok((b"", _)))
}

/// What a FETCH says of a mail, as far as anybody asked.
#[derive(Debug, Default)]
struct Fetch<'a> {
    uid: Option<u32>,
    size: Option<u32>,
    date: Option<&'a [u8]>,
    body: Option<Body<'a>>,
    /// Something in it could not be made out.
    is_broken: bool,
}

#[derive(Debug)]
struct Body<'a> {
    offset: Option<u32>,
    bytes: Option<std::borrow::Cow<'a, [u8]>>,
}

impl<'a> Fetch<'a> {
    fn read(reader: &mut Reader<'a>) -> Self {
        let mut fetch = Self::default();
        reader.skip_spaces();
        reader.skip(b'(');
        loop {
            reader.skip_spaces();
            let name = reader.item();
            if name.is_empty() {
                fetch.is_broken |= !matches!(reader.0.first(), None | Some(b')' | b'\r' | b'\n'));
                return fetch;
            }
            let (name, offset) = split_offset(name);
            let value = reader.value();
            if name.eq_ignore_ascii_case(b"UID") {
                fetch.uid = value.number().filter(|&uid| uid > 0);
            } else if name.eq_ignore_ascii_case(b"RFC822.SIZE") {
                fetch.size = value.number();
            } else if name.eq_ignore_ascii_case(b"INTERNALDATE") {
                fetch.date = value.plain();
            } else if name.eq_ignore_ascii_case(b"BODY[]") || name.eq_ignore_ascii_case(b"RFC822") {
                let bytes = value.bytes();
                fetch.body = Some(Body { offset, bytes });
            }
        }
    }

    /// An answer must say which mail it is about, or be the content that was asked for.
    fn says_nothing(&self) -> bool {
        self.uid.is_none() && self.body.is_none() || (self.is_broken && self.body.is_none())
    }

    fn written(&self, number: u32) -> Vec<u8> {
        let mut items = Vec::new();
        items.extend(self.uid.map(|uid| format!("UID {uid}")));
        items.extend(self.size.map(|size| format!("RFC822.SIZE {size}")));
        if let Some(date) = self.date.and_then(|date| std::str::from_utf8(date).ok()) {
            items.push(format!("INTERNALDATE \"{date}\""));
        }
        let mut body: &[u8] = &[];
        if let Some(part) = &self.body {
            let offset = part.offset.map_or(String::new(), |offset| format!("<{offset}>"));
            items.push(match &part.bytes {
                Some(bytes) => {
                    body = bytes;
                    format!("BODY[]{offset} {{{}}}\r\n", bytes.len())
                }
                None => format!("BODY[]{offset} NIL"),
            });
        }
        let mut written = format!("* {number} FETCH ({}", items.join(" ")).into_bytes();
        written.extend_from_slice(body);
        written.extend_from_slice(b")\r\n");
        written
    }
}

/// `BODY[]<0>`: the name and the number; a length behind it, `<0.5>`, counts for nothing.
fn split_offset(name: &[u8]) -> (&[u8], Option<u32>) {
    let Some(inside) = name.strip_suffix(b">") else { return (name, None) };
    let Some(at) = memchr::memrchr(b'<', inside) else { return (name, None) };
    let digits = inside[at + 1..].split(|&byte| byte == b'.').next().unwrap_or_default();
    (&name[..at], number(digits))
}

/// What stands behind the name of an item.
enum Value<'a> {
    Atom(&'a [u8]),
    Quoted(&'a [u8]),
    Literal(&'a [u8]),
    List,
}

impl<'a> Value<'a> {
    fn number(&self) -> Option<u32> {
        match self {
            Self::Atom(text) | Self::Quoted(text) => number(text),
            Self::Literal(_) | Self::List => None,
        }
    }

    /// A quoted text in which nothing needs a backslash.
    fn plain(&self) -> Option<&'a [u8]> {
        let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && !b"\"\\".contains(byte);
        match self {
            Self::Quoted(text) if text.iter().all(is_plain) => Some(text),
            _ => None,
        }
    }

    /// A content; none for NIL and whatever else it may be.
    fn bytes(self) -> Option<std::borrow::Cow<'a, [u8]>> {
        match self {
            Self::Literal(bytes) => Some(bytes.into()),
            Self::Quoted(text) if !text.contains(&b'\\') => Some(text.into()),
            Self::Quoted(text) => {
                let mut plain = Vec::with_capacity(text.len());
                let mut bytes = text.iter();
                while let Some(&byte) = bytes.next() {
                    plain.push(if byte == b'\\' { *bytes.next().unwrap_or(&b'\\') } else { byte });
                }
                Some(plain.into())
            }
            Self::Atom(_) | Self::List => None,
        }
    }
}

/// What of a response was not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn take_while(&mut self, is_part: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.0.iter().position(|&byte| !is_part(byte)).unwrap_or(self.0.len());
        self.take(length)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_there = self.0.first() == Some(&byte);
        self.take(usize::from(is_there));
        is_there
    }

    fn skip_spaces(&mut self) {
        self.take_while(|byte| byte == b' ' || byte == b'\t');
    }

    /// Up to the next space or the end of the line, and the spaces behind.
    fn word(&mut self) -> &'a [u8] {
        self.skip_spaces();
        let word = self.take_while(|byte| !b" \t\r\n".contains(&byte));
        self.skip_spaces();
        word
    }

    /// The name of an item: `BODY[HEADER.FIELDS (X)]<0>` with what is in its brackets.
    fn item(&mut self) -> &'a [u8] {
        let all = self.0;
        let mut inside = false;
        let end = all.iter().position(|&byte| {
            match byte {
                b'[' => inside = true,
                b']' => inside = false,
                b'\r' | b'\n' => return true,
                b' ' | b'(' | b')' | b'"' | b'{' if !inside => return true,
                _ => {}
            }
            false
        });
        self.take(end.unwrap_or(all.len()))
    }

    fn value(&mut self) -> Value<'a> {
        self.skip_spaces();
        if self.skip(b'"') {
            return Value::Quoted(self.quoted());
        }
        if self.skip(b'(') {
            self.skip_list();
            return Value::List;
        }
        match self.literal() {
            Some(bytes) => Value::Literal(bytes),
            None => Value::Atom(self.take_while(|byte| !b" ()\r\n".contains(&byte))),
        }
    }

    /// Up to the quote that ends it; behind that.
    fn quoted(&mut self) -> &'a [u8] {
        let mut escaped = false;
        let end = self.0.iter().position(|&byte| {
            let is_end = !escaped && matches!(byte, b'"' | b'\r' | b'\n');
            escaped = byte == b'\\' && !escaped;
            is_end
        });
        let text = self.take(end.unwrap_or(self.0.len()));
        self.skip(b'"');
        text
    }

    /// A literal, if one is announced here: `{5}` and the end of the line.
    fn literal(&mut self) -> Option<&'a [u8]> {
        // Asked of every byte of a list: nothing is looked at but what may be an announcement.
        let inside = self.0.strip_prefix(b"~").unwrap_or(self.0).strip_prefix(b"{")?;
        let digits = inside.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let behind = &inside[digits..];
        let behind = behind.strip_prefix(b"+").unwrap_or(behind).strip_prefix(b"}")?;
        let blank = behind.iter().position(|&byte| byte == b'\n' || !byte.is_ascii_whitespace())?;
        let line = &self.0[..self.0.len() - behind.len() + blank + 1];
        let length = literal_of(line).filter(|_| line.ends_with(b"\n"))?;
        self.take(line.len());
        Some(self.take(usize::try_from(length).unwrap_or(usize::MAX)))
    }

    /// Behind the bracket that closes what is open.
    fn skip_list(&mut self) {
        let mut depth = 1u32;
        while depth > 0 {
            if self.skip(b'"') {
                self.quoted();
            } else if self.literal().is_none() {
                match self.take(1) {
                    b"(" => depth += 1,
                    b")" => depth -= 1,
                    [] => return,
                    _ => {}
                }
            }
        }
    }
}

fn status(word: &[u8]) -> Option<&'static str> {
    let known = ["OK", "NO", "BAD", "BYE", "PREAUTH"];
    known.into_iter().find(|status| word.eq_ignore_ascii_case(status.as_bytes()))
}

fn is_tag(word: &[u8]) -> bool {
    (1..=32).contains(&word.len()) && word.iter().all(u8::is_ascii_alphanumeric)
}

fn number(digits: &[u8]) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// The number of a code in brackets: `[UIDNEXT 5]`.
fn number_behind(text: &[u8], name: &str) -> Option<u32> {
    let inside = text.trim_ascii_start().strip_prefix(b"[")?;
    let mut reader = Reader(&inside[..memchr::memchr(b']', inside)?]);
    reader.word().eq_ignore_ascii_case(name.as_bytes()).then_some(())?;
    number(reader.word())
}

/// The words of a line, in capitals, as far as they are ASCII that can be seen.
fn words(line: &[u8]) -> impl Iterator<Item = String> {
    let words = line.split(|byte| byte.is_ascii_whitespace());
    let words = words.filter(|word| !word.is_empty() && word.iter().all(u8::is_ascii_graphic));
    words.map(|word| String::from_utf8_lossy(word).to_ascii_uppercase())
}

fn line(words: &[&[u8]]) -> Vec<u8> {
    let mut line = words.join(&b' ');
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_comes_in_pieces_takes_no_more_than_its_length() {
        let size = 3 << 20;
        let head = format!("* 1 FETCH (UID 7 BODY[] {{{size}}}\r\n");
        let all = [head.as_bytes(), &vec![b'x'; size], b")\r\n"].concat();
        let mut cutter = Cutter::default();
        let mut found = None;
        for piece in all.chunks(4096) {
            cutter.push(piece);
            assert!(cutter.bytes.capacity() <= all.len() + BEHIND, "{}", cutter.bytes.capacity());
            found = cutter.next(size).expect("is short enough").or(found);
        }
        assert!(found.is_some_and(|response| response == all));
    }

    /// All that comes out of these bytes, pushed in pieces of this length.
    fn sifted(bytes: &[u8], step: usize, most: usize) -> (Result<Vec<Vec<u8>>, TooLong>, Heard) {
        let (mut cutter, mut heard, mut out) = (Cutter::default(), Heard::default(), Vec::new());
        for piece in bytes.chunks(step) {
            cutter.push(piece);
            loop {
                match cutter.next(most) {
                    Ok(Some(response)) => out.extend(heard.sift(&response)),
                    Ok(None) => break,
                    Err(TooLong) => return (Err(TooLong), heard),
                }
            }
        }
        (Ok(out), heard)
    }

    fn all(bytes: &[u8]) -> String {
        let (out, _) = sifted(bytes, usize::MAX, 1 << 20);
        let out = out.expect("not too long");
        for response in &out {
            assert!(is_read(response), "{:?}", String::from_utf8_lossy(response));
        }
        for step in [1, 2, 3, 7] {
            assert_eq!(sifted(bytes, step, 1 << 20).0.expect("not too long"), out);
        }
        String::from_utf8(out.concat()).expect("UTF-8")
    }

    #[test]
    fn what_servers_send_comes_out_plain() {
        let body = "* 1 FETCH (UID 5 BODY[]<0> {3}\r\na(b)\r\n";
        for (sent, written) in [
            ("* 1 FETCH (UID 5 )\r\n", "* 1 FETCH (UID 5)\r\n"),
            ("* 1  FETCH  (UID  5  RFC822.SIZE  9)\r\n", "* 1 FETCH (UID 5 RFC822.SIZE 9)\r\n"),
            ("* 1 fetch (uid 5 flags (\\Seen $X))\r\n", "* 1 FETCH (UID 5)\r\n"),
            ("* 1 FETCH (UID 5 INTERNALDATE NIL)\r\n", "* 1 FETCH (UID 5)\r\n"),
            (
                "* 1 FETCH (UID 5 INTERNALDATE \" 1-Feb-2026 10:00:00 +0100\" X {2}\r\n() Y (()) RFC822.SIZE 7)\n",
                "* 1 FETCH (UID 5 RFC822.SIZE 7 INTERNALDATE \" 1-Feb-2026 10:00:00 +0100\")\r\n",
            ),
            ("* 1 FETCH (BODY[]<0> {3}\r\na(b UID 5)\r\n", body),
            ("* 1 FETCH (FLAGS () BODY[]<0> {3+}\r\na(b FLAGS (\\Seen) UID 5)\r\n", body),
            ("* 1 FETCH (UID 5 BODY[]<0.9> ~{3}\r\na(b)\r\n", body),
            ("* 1 FETCH UID 5 BODY[]<0> \"a(b\"\r\n", body),
            ("* 1 FETCH (UID 5 BODY[] \"a\\\"b\")\r\n", "* 1 FETCH (UID 5 BODY[] {3}\r\na\"b)\r\n"),
            ("* 1 FETCH (UID 5 RFC822 {0}\r\n)\r\n", "* 1 FETCH (UID 5 BODY[] {0}\r\n)\r\n"),
            ("* 1 FETCH (UID 5 BODY[] NIL)\r\n", "* 1 FETCH (UID 5 BODY[] NIL)\r\n"),
            (
                "* 1 FETCH (UID 5 BODYSTRUCTURE (\"TEXT\" NIL (\"BOUNDARY\" NIL) {3}\r\n\"()) ENVELOPE NIL)\r\n",
                "* 1 FETCH (UID 5)\r\n",
            ),
            ("a1 OK\r\n", "a1 OK .\r\n"),
            ("A0001 no [ALERT] {5}\r\n", "A0001 NO .\r\n"),
            ("* OK\r\n* BYE\r\n* PREAUTH hi\r\n", "* OK .\r\n* BYE .\r\n* PREAUTH .\r\n"),
            ("* OK [UIDVALIDITY 4294967295]\r\n", "* OK [UIDVALIDITY 4294967295] .\r\n"),
            ("* OK [ UIDNEXT  7 ] x {9}\r\n", "* OK [UIDNEXT 7] .\r\n"),
            ("+\r\n+ x\r\n", "+ \r\n+ \r\n"),
            ("* SEARCH 2 5\r\n* SEARCH\r\n* ESEARCH (TAG \"a\") UID ALL 2\r\n", ""),
            ("* 3 EXISTS\r\n* 3 EXPUNGE\r\n* 1 RECENT\r\n* VANISHED 1:9\r\n", "* 3 EXISTS\r\n"),
            (
                "* FLAGS (\\Seen)\r\n* LIST () \"/\" {5}\r\n\r\n()\"\r\n\r\n* 4 EXISTS\r\n",
                "* 4 EXISTS\r\n",
            ),
            ("\r\n\r\nnonsense\r\n", ""),
        ] {
            assert_eq!(all(sent.as_bytes()), written, "{sent}");
        }
    }

    #[test]
    fn what_cannot_be_made_out_is_counted() {
        for (sent, unreadable) in [
            ("* 1 FETCH (UID)\r\n", 1),
            ("* 1 FETCH (UID x RFC822.SIZE 5)\r\n", 1),
            ("* 1 FETCH\r\n", 1),
            ("* 1 FETCH (UID 0)\r\n", 1),
            ("* 1 FETCH (UID 5 \"\" (x))\r\n", 1),
            ("* x FETCH (UID 5)\r\n", 0),
            ("* 1 FETCH (UID 5)\r\n", 0),
        ] {
            let (out, heard) = sifted(sent.as_bytes(), 4, 100);
            assert!(out.is_ok());
            assert_eq!(heard.unreadable, unreadable, "{sent}");
        }
    }

    #[test]
    fn what_a_server_can_do_is_noted_wherever_it_says_so() {
        let (_, heard) = sifted(b"* CAPABILITY IMAP4rev1 idle\r\n* CAPABILITY MOVE\r\n", 5, 0);
        let noted: Vec<_> = heard.capabilities.into_iter().collect();
        assert_eq!(noted, ["IDLE", "IMAP4REV1", "MOVE"]);
        let (_, heard) = sifted(b"a1 OK [CAPABILITY UIDPLUS] in\r\n", 5, 0);
        assert_eq!(heard.capabilities.into_iter().collect::<Vec<_>>(), ["UIDPLUS"]);
        let bye = b"* BYE Session invalidated - AccessTokenExpired\r\n";
        let (_, heard) = sifted(bye, 9, 0);
        assert!(heard.is_leaving && heard.token_expired);
        // A letter that speaks of it changes nothing.
        let letter = b"* 1 FETCH (UID 1 BODY[]<0> {18}\r\nAccessTokenExpired)\r\n";
        let (_, heard) = sifted(letter, 9, 100);
        assert!(!heard.token_expired);
    }

    #[test]
    fn what_a_search_found_is_noted_up_to_a_limit() {
        for (said, found) in [
            ("* SEARCH 2  5 \r\n* SEARCH\r\n* search 7\r\n", Some(&[2, 5, 7][..])),
            ("* SEARCH\r\n", Some(&[])),
            ("* ESEARCH (TAG \"a )\") UID COUNT 4 ALL 2,9:7\r\n", Some(&[2, 7, 8, 9])),
            ("* esearch uid all 3 MODSEQ (5)\r\n", Some(&[3])),
            ("* ESEARCH (TAG \"a\") UID\r\n", Some(&[])),
            // What is not said, or not so that it can be read, may be anything.
            ("", None),
            ("* SEARCH 2 x 5\r\n", None),
            ("* SEARCH 2 4294967296\r\n", None),
            ("* SEARCH 2 5:7\r\n", None),
            ("* ESEARCH (TAG \"a\") ALL 2\r\n", None),
            ("* ESEARCH UID ALL 2:*\r\n", None),
            ("* ESEARCH UID ALL 2,,3\r\n", None),
            ("* ESEARCH UID ALL (2)\r\n", None),
            ("* ESEARCH UID ALL\r\n", None),
            ("* ESEARCH UID ALL 2 )\r\n", None),
        ] {
            let (_, heard) = sifted(said.as_bytes(), 5, 0);
            assert_eq!(heard.found.uids().as_deref(), found, "{said}");
        }
        let (_, heard) = sifted(b"* ESEARCH UID ALL 1:4294967295\r\n", 5, 0);
        assert!(heard.is_too_much && heard.found.uids.len() == FOUND);
        let line = format!("* SEARCH{}\r\n", " 4294967295".repeat(FOUND / 2 + 1));
        let (_, heard) = sifted(line.as_bytes(), 4096, 0);
        assert!(!heard.is_too_much);
        let (_, heard) = sifted(line.repeat(2).as_bytes(), 4096, 0);
        assert!(heard.is_too_much && heard.found.uids.len() == FOUND);
    }

    #[test]
    fn a_server_can_do_so_much_and_no_more() {
        let can = |from: usize, to: usize| -> String {
            let names: String = (from..to).map(|n| format!(" X{n}")).collect();
            format!("* CAPABILITY{names}\r\n* OK [CAPABILITY{names}] in\r\n")
        };
        let (_, heard) = sifted(can(0, CAPABILITIES).as_bytes(), 4096, 0);
        assert!(!heard.is_too_much && heard.capabilities.len() == CAPABILITIES);
        for more in [can(0, CAPABILITIES + 1), can(0, 200) + &can(100, 300).replace("* OK", "x")] {
            let (_, heard) = sifted(more.as_bytes(), 4096, 0);
            assert!(heard.is_too_much && heard.capabilities.len() <= CAPABILITIES);
        }
        let long = format!("* CAPABILITY IDLE {}\r\n", "X".repeat(NAME + 1));
        let (_, heard) = sifted(long.as_bytes(), 4096, 0);
        assert_eq!(heard.capabilities.into_iter().collect::<Vec<_>>(), ["IDLE"]);
    }

    #[test]
    fn a_response_that_is_too_long_ends_the_stream_before_it_is_read() {
        let (most, small) = (1000, b"* 1 FETCH (UID 1 BODY[] {1000}\r\n");
        assert!(sifted(small, 8, most).0.is_ok());
        for long in [
            &b"* 1 FETCH (UID 1 BODY[] {1001}\r\n"[..],
            b"* 1 FETCH (BODY[] {99999999999999999999999}\r\n",
            b"* 1 FETCH (X {1}\r\na BODY[] {1000}\r\n",
        ] {
            assert_eq!(sifted(long, 8, most).0, Err(TooLong));
        }
        let endless = vec![b'x'; LINE + 2];
        assert_eq!(sifted(&endless, 4096, most).0, Err(TooLong));
    }
}
