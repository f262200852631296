//! Splits a raw message into leaf bodies.
//!
//! One pass over the lines with a stack of open multiparts: nothing recurses, and every byte is
//! looked at a bounded number of times. A delimiter stands at the start of a line and is followed
//! by nothing but white space (RFC 2046 §5.1.1); the line end before it belongs to it. The
//! delimiter of an enclosing multipart ends the inner ones too. What a body is is the business of
//! `leaf`, whether the letter is encrypted that of `protection`.

use memchr::{memchr, memrchr};

use super::delivery::{self, DeliveryReport, Returned};
use super::header::{self, Block};
use super::leaf::{self, Packing, Part};
use super::marks;
use super::protection::{self, Group, Trace};
use super::transfer::line_end;
use super::{
    Finding, Item, Letter, MAX_DEPTH, MAX_HEADER, MAX_ITEMS, MAX_SAME_FINDING, MAX_TEXTS, unpack,
};

/// Parses a raw message. Total, linear in its length; see [`Letter::parse`].
pub(super) fn parse(raw: &[u8]) -> Letter {
    let mut splitter = Splitter::new(raw, Findings::default());
    if memchr(0, raw).is_some() {
        splitter.findings.add(Finding::Nul);
    }
    splitter.split();
    splitter.letter()
}

/// The leaves of a message that was taken out of an item, and what each is made of. What is odd is
/// added to what is odd around it.
pub(super) fn leaves(raw: &[u8], findings: &mut Findings) -> (Vec<Item>, Vec<Packing>) {
    let mut splitter = Splitter::new(raw, std::mem::take(findings));
    splitter.split();
    *findings = splitter.findings;
    let packings = splitter.traces.iter().map(|trace| trace.packing).collect();
    (splitter.items, packings)
}

/// What was odd so far, and how much is kept beside the message.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    counts: [usize; Finding::AmbiguousArchive as usize + 1],
    /// Bytes of the texts and names that are kept.
    kept: usize,
}

impl Findings {
    /// Notes one more, unless it was noted often enough.
    pub(super) fn add(&mut self, finding: Finding) {
        let count = &mut self.counts[finding as usize];
        if *count < MAX_SAME_FINDING {
            *count += 1;
            self.list.push(finding);
        }
    }

    /// Whether a text or a name may be kept, by its length; notes that it may not.
    pub(super) fn keeps(&mut self, length: usize) -> bool {
        let fits = length <= MAX_TEXTS - self.kept;
        if fits {
            self.kept += length;
        } else {
            self.add(Finding::OverLimit);
        }
        fits
    }

    /// In the order they were met.
    pub(super) fn into_list(self) -> Vec<Finding> {
        self.list
    }
}

/// Where an entity stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// Enclosing message/rfc822 layers.
    pub depth: u8,
    /// Enclosing multiparts and messages, all told.
    nest: usize,
    /// The multipart it is a part of.
    pub group: Group,
    /// Its type is message/rfc822 unless it says otherwise (RFC 2046 §5.1.5).
    digest: bool,
    /// It is an enclosed message itself, and no part of one.
    message: bool,
}

/// A multipart whose closing delimiter has not come yet.
struct Level {
    boundary: Vec<u8>,
    part: Part,
    place: Place,
    /// Where its body begins.
    body: usize,
    /// A delimiter was met.
    opened: bool,
}

/// Why a body ends.
#[derive(Clone, Copy)]
enum Stop {
    /// The message does.
    End,
    /// A delimiter of this level, on a line that begins at `start`.
    Delimiter { level: usize, close: bool, start: usize },
}

struct Splitter<'a> {
    raw: &'a [u8],
    /// The start of the line that comes next.
    at: usize,
    levels: Vec<Level>,
    outer: Option<Block<'a>>,
    /// The charset of the first text of the outermost message.
    hint: Option<String>,
    items: Vec<Item>,
    traces: Vec<Trace>,
    findings: Findings,
    signed: bool,
    report: Option<DeliveryReport>,
    /// What the first enclosed header says: the mail that a report is about.
    returned: Returned,
    /// The last item took the rest of the message.
    full: bool,
}

impl<'a> Splitter<'a> {
    fn new(raw: &'a [u8], findings: Findings) -> Self {
        Self {
            raw,
            at: 0,
            levels: Vec::new(),
            outer: None,
            hint: None,
            items: Vec::new(),
            traces: Vec::new(),
            findings,
            signed: false,
            report: None,
            returned: Returned::default(),
            full: false,
        }
    }

    fn split(&mut self) {
        let mut place = Some(Place::default());
        while let Some(here) = place {
            place = self.entity(here);
        }
    }

    /// Reads one entity and goes on to the next: its place, or nothing at the end.
    fn entity(&mut self, place: Place) -> Option<Place> {
        let (block, stop) = self.header();
        let part = Part::read(&block, place.digest, &mut self.findings);
        if place.message && place.depth == 1 {
            self.returned.block(&block);
        }
        if self.outer.is_none() {
            self.outer = Some(block);
        }
        if let Some(stop) = stop {
            let at = self.start_of(stop);
            self.leaf(&part, at..at, place);
            return self.after(stop);
        }
        let body = self.at;
        let deep = place.nest >= MAX_DEPTH;
        if deep && (part.is_multipart() || part.is_message()) {
            self.findings.add(Finding::OverLimit);
        } else if let Some(boundary) = part.boundary() {
            return self.multipart(part, boundary, place);
        } else if part.is_message() {
            // The message itself: nothing of its own, its parts follow one layer deeper.
            self.leaf(&part, body..body, place);
            if self.full {
                return None;
            }
            return Some(Place {
                depth: place.depth + 1,
                nest: place.nest + 1,
                digest: false,
                message: true,
                ..place
            });
        }
        let stop = self.seek();
        self.leaf(&part, body..self.end_before(body, stop), place);
        self.after(stop)
    }

    fn multipart(&mut self, part: Part, boundary: Vec<u8>, place: Place) -> Option<Place> {
        self.signed |= place.depth == 0 && part.media_type == "multipart/signed";
        let inside = Place {
            nest: place.nest + 1,
            group: Group { kind: part.group_kind(), outermost: place.nest == 0 },
            digest: part.media_type == "multipart/digest",
            message: false,
            ..place
        };
        let body = self.at;
        self.levels.push(Level { boundary, part, place: inside, body, opened: false });
        let stop = self.seek();
        if matches!(stop, Stop::Delimiter { level, close: false, .. } if level + 1 == self.levels.len())
        {
            self.stray(body, stop);
        }
        self.after(stop)
    }

    /// Reads the lines up to the blank one. A delimiter or the end of the message ends a header
    /// too: then there is no body.
    fn header(&mut self) -> (Block<'a>, Option<Stop>) {
        let start = self.at;
        let mut stop = None;
        let end = loop {
            let (from, line) = (self.at, self.line());
            if line.is_empty() {
                stop = Some(Stop::End);
            } else if let Some((level, close)) = self.delimiter(line) {
                stop = Some(Stop::Delimiter { level, close, start: from });
            }
            self.at += line.len();
            if stop.is_some() || line.len() == line_end(line) {
                break from;
            }
        };
        let mut read = &self.raw[start..end.min(start + MAX_HEADER)];
        if end - start > MAX_HEADER
            && let Some(last) = memrchr(b'\n', read)
        {
            // Half a line would look like a body that no blank line announces.
            read = &read[..=last];
        }
        let mut block = Block::cut(read);
        if let Some(body) = block.body {
            self.at = start + body;
            stop = None;
        } else if end - start > MAX_HEADER {
            self.findings.add(Finding::OverLimit);
            block = Block::over();
        }
        for (odd, finding) in
            [(block.odd, Finding::BadHeader), (block.eight_bit, Finding::EightBitHeader)]
        {
            if odd {
                self.findings.add(finding);
            }
        }
        (block, stop)
    }

    /// The line that begins where we are, with its end; empty at the end of the message.
    fn line(&self) -> &'a [u8] {
        let rest = &self.raw[self.at..];
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        &rest[..end]
    }

    /// The level that `line` is a delimiter of, the innermost first, and whether it closes it.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = line.strip_prefix(b"--")?;
        self.levels.iter().enumerate().rev().find_map(|(nr, level)| {
            let rest = line.strip_prefix(level.boundary.as_slice())?;
            let (rest, close) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
            rest.iter()
                .all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
                .then_some((nr, close))
        })
    }

    /// Passes over lines to behind the next delimiter.
    fn seek(&mut self) -> Stop {
        while self.at < self.raw.len() {
            let (start, line) = (self.at, self.line());
            self.at += line.len();
            if let Some((level, close)) = self.delimiter(line) {
                return Stop::Delimiter { level, close, start };
            }
        }
        Stop::End
    }

    fn start_of(&self, stop: Stop) -> usize {
        match stop {
            Stop::End => self.raw.len(),
            Stop::Delimiter { start, .. } => start,
        }
    }

    /// The end of what begins at `body`: the line end before a delimiter is the delimiter's.
    fn end_before(&self, body: usize, stop: Stop) -> usize {
        match stop {
            Stop::End => self.raw.len(),
            Stop::Delimiter { start, .. } => start - line_end(&self.raw[body..start]),
        }
    }

    /// Closes what a delimiter closes. The place of the next part, or nothing at the end.
    fn after(&mut self, mut stop: Stop) -> Option<Place> {
        loop {
            let keep = match stop {
                Stop::End => 0,
                Stop::Delimiter { level, .. } => level + 1,
            };
            while self.levels.len() > keep && !self.full {
                self.abandon(stop);
            }
            if self.full {
                return None;
            }
            let Stop::Delimiter { close, .. } = stop else { return None };
            if !close {
                let level = self.levels.last_mut()?;
                level.opened = true;
                return Some(level.place);
            }
            if self.levels.last().is_some_and(|level| level.opened) {
                self.levels.pop();
            } else {
                self.abandon(stop);
            }
            let from = self.at;
            stop = self.seek();
            self.stray(from, stop);
        }
    }

    /// Ends the innermost multipart, which was not closed as it should.
    fn abandon(&mut self, stop: Stop) {
        if let Some(level) = self.levels.pop() {
            if level.opened {
                self.findings.add(Finding::Unterminated);
            } else {
                self.leaf(&level.part, level.body..self.end_before(level.body, stop), level.place);
            }
        }
    }

    /// Notes what stands before the first or after the last delimiter.
    fn stray(&mut self, from: usize, stop: Stop) {
        if !self.raw[from..self.start_of(stop)].trim_ascii().is_empty() {
            self.findings.add(Finding::StrayBytes);
        }
    }

    fn leaf(&mut self, part: &Part, range: std::ops::Range<usize>, place: Place) {
        if self.items.len() + 1 == MAX_ITEMS {
            self.findings.add(Finding::OverLimit);
            self.full = true;
            let rest = range.start..self.raw.len();
            let (item, trace) =
                leaf::read(self.raw, rest, &Part::opaque(), place, &mut self.findings);
            self.items.push(item);
            self.traces.push(trace);
            return;
        }
        if part.is_multipart() && place.nest < MAX_DEPTH {
            self.findings.add(Finding::NoDelimiter);
        }
        if place.depth == 0 {
            self.look_for_report(part, range.clone());
        }
        let (item, trace) = leaf::read(self.raw, range, part, place, &mut self.findings);
        if self.hint.is_none() && place.depth == 0 && item.text.is_some() {
            self.hint = part.content.token("charset");
        }
        self.items.push(item);
        self.traces.push(trace);
    }

    fn look_for_report(&mut self, part: &Part, range: std::ops::Range<usize>) {
        let body = &self.raw[range];
        match delivery::kind_of(&part.media_type) {
            Some(kind) if self.report.is_none() => {
                self.report = Some(DeliveryReport::read(kind, &part.beginning(body)));
            }
            None if part.holds_message() || delivery::is_returned_header(&part.media_type) => {
                self.returned.read(&part.beginning(body));
            }
            _ => {}
        }
    }

    fn letter(mut self) -> Letter {
        let outer = self.outer.unwrap_or_default();
        let headers = header::read(&outer, self.hint.as_deref(), &mut self.findings);
        let (protection, mangled) = protection::of(&self.items, &self.traces, self.signed);
        if mangled {
            self.findings.add(Finding::MangledEncryption);
        }
        let marks = marks::read(&outer);
        let report = self.report.map(|report| report.about(self.returned));
        let packings: Vec<Packing> = self.traces.iter().map(|trace| trace.packing).collect();
        let contained = unpack::all(self.raw, &self.items, &packings, &mut self.findings);
        let findings = self.findings.into_list();
        Letter { headers, items: self.items, findings, protection, marks, report, contained }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(raw: &str) -> Vec<&str> {
        Letter::parse(raw.as_bytes()).items.iter().map(|item| &raw[item.start..item.end]).collect()
    }

    fn findings(raw: &str) -> Vec<Finding> {
        let mut list = Letter::parse(raw.as_bytes()).findings;
        list.retain(|finding| *finding != Finding::OddFrom);
        list
    }

    const MIXED: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";

    #[test]
    fn a_delimiter_stands_alone_on_its_line() {
        for line in ["--bX", "--b--More", " --b", "--b --", "x--b", "--b-", "-b", "--B"] {
            let raw = format!("{MIXED}--b\r\n\r\none\r\n{line}\r\ntwo\r\n--b--\r\n");
            assert_eq!(bodies(&raw), [format!("one\r\n{line}\r\ntwo")], "{line}");
        }
        for line in ["--b", "--b ", "--b\t \t"] {
            let raw = format!("{MIXED}--b\r\n\r\none\r\n{line}\r\n\r\ntwo\r\n--b-- \r\n");
            assert_eq!(bodies(&raw), ["one", "two"], "{line}");
        }
    }

    #[test]
    fn the_line_end_before_a_delimiter_is_its_own_and_lf_alone_will_do() {
        let raw = format!("{MIXED}--b\r\n\r\n--b\r\n\r\n\r\n--b\n\none\n\n--b--").to_string();
        assert_eq!(bodies(&raw), ["", "", "one\n"]);
        assert_eq!(bodies(&raw.replace("\r\n", "\n")), ["", "", "one\n"]);
    }

    #[test]
    fn the_delimiter_of_an_outer_multipart_ends_the_inner_ones() {
        let raw = format!(
            "{MIXED}--b\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
        );
        assert_eq!(bodies(&raw), ["one", "two"]);
        assert_eq!(findings(&raw), [Finding::Unterminated]);
    }

    #[test]
    fn a_multipart_without_delimiter_is_one_item_with_its_text() {
        for end in ["", "--b--\r\n"] {
            let raw = format!("{MIXED}Beste,\r\nik schrijf u.\r\n{end}");
            let letter = Letter::parse(raw.as_bytes());
            assert_eq!(letter.items.len(), 1);
            let text = letter.items[0].text.as_ref().expect("it is read as text").expose();
            assert!(text.starts_with("Beste,\r\nik schrijf u."));
            assert_eq!(findings(&raw), [Finding::NoDelimiter]);
        }
    }

    #[test]
    fn headers_that_end_without_a_body_leave_an_empty_item() {
        let raw = format!("{MIXED}--b\r\nContent-Type: text/html\r\n--b\r\n\r\ntwo\r\n--b--\r\n");
        assert_eq!(bodies(&raw), ["", "two"]);
        assert_eq!(bodies(""), [""]);
        assert_eq!(bodies("Subject: a"), [""]);
        assert_eq!(bodies("Subject: a\r\n\r\n"), [""]);
        assert_eq!(bodies("geen kop\r\n\r\nmaar tekst"), ["geen kop\r\n\r\nmaar tekst"]);
    }

    #[test]
    fn bytes_outside_the_parts_are_told_unless_blank() {
        let raw = |before: &str, after: &str| {
            format!("{MIXED}{before}--b\r\n\r\none\r\n--b--\r\n{after}")
        };
        assert_eq!(findings(&raw("\r\n", "\r\n \r\n")), []);
        assert_eq!(findings(&raw("hallo\r\n", "")), [Finding::StrayBytes]);
        assert_eq!(findings(&raw("", "hallo")), [Finding::StrayBytes]);
    }

    #[test]
    fn more_parts_than_allowed_become_one_item_to_the_end() {
        let raw = format!("{MIXED}{}--b--\r\nend", "--b\r\n\r\nx\r\n".repeat(3000));
        let letter = Letter::parse(raw.as_bytes());
        assert_eq!(letter.items.len(), MAX_ITEMS);
        assert_eq!(letter.items.last().map(|item| item.end), Some(raw.len()));
        assert_eq!(letter.findings, [Finding::OverLimit, Finding::OddFrom]);
    }

    #[test]
    fn deeper_nesting_than_allowed_becomes_one_item() {
        let mut raw = String::new();
        for nr in 0..10_000 {
            raw += &format!("Content-Type: multipart/mixed; boundary=b{nr}\r\n\r\n--b{nr}\r\n");
        }
        let letter = Letter::parse(raw.as_bytes());
        assert_eq!(letter.items.len(), 1);
        assert!(letter.findings.contains(&Finding::OverLimit));
        let raw = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
        let letter = Letter::parse(raw.as_bytes());
        // Each message is an item, and the last one holds the rest.
        assert_eq!(letter.items.len(), MAX_DEPTH + 1);
        assert_eq!(usize::from(letter.items[MAX_DEPTH].depth), MAX_DEPTH);
        assert!(letter.items[..MAX_DEPTH].iter().all(|item| item.start == item.end));
    }

    #[test]
    fn a_header_without_end_is_kept_and_not_read() {
        for pad in ["X-Pad: 0123456789\r\n", "X-Pad: x\r\n"] {
            let raw = format!("Subject: a\r\n{}\r\nbody", pad.repeat(60_000));
            let letter = Letter::parse(raw.as_bytes());
            assert_eq!(letter.headers.subject, None);
            assert_eq!(letter.items.len(), 1);
            assert_eq!(&raw[letter.items[0].start..], "body");
            assert_eq!(letter.findings, [Finding::OverLimit, Finding::OddFrom]);
        }
    }

    #[test]
    fn the_same_finding_is_not_listed_without_end() {
        let raw =
            format!("{MIXED}{}", "--b\r\nContent-Transfer-Encoding: x\r\n\r\na\r\n".repeat(100));
        let bad = findings(&raw).iter().filter(|&&one| one == Finding::BadTransferEncoding).count();
        assert_eq!(bad, MAX_SAME_FINDING);
    }
}
