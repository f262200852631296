//! Writes what letters carry other things in: TNEF streams (MS-OXTNEF) and zip archives, well formed
//! or with one fault.

use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// A file inside a TNEF stream.
#[derive(Clone, Default)]
pub(crate) struct Attached {
    /// `attAttachTitle`, in the stream's code page: an 8.3 name as a rule.
    pub(crate) title: Option<Vec<u8>>,
    /// `PR_ATTACH_LONG_FILENAME`.
    pub(crate) long_name: Option<Text>,
    /// `PR_ATTACH_MIME_TAG`.
    pub(crate) mime_tag: Option<&'static str>,
    pub(crate) content: Vec<u8>,
    /// The content is a TNEF stream, attached as a message.
    pub(crate) is_message: bool,
}

/// A text of a property.
#[derive(Clone)]
pub(crate) enum Text {
    /// Eight bits, in the stream's code page.
    Narrow(Vec<u8>),
    /// UTF-16.
    Wide(&'static str),
}

/// A TNEF stream.
#[derive(Clone, Default)]
pub(crate) struct Tnef {
    pub(crate) code_page: Option<u32>,
    pub(crate) attached: Vec<Attached>,
    /// `attBody`.
    pub(crate) body: Option<Vec<u8>>,
    /// `PR_BODY_HTML`, as binary, and the code page that it is in.
    pub(crate) html: Option<(Vec<u8>, u32)>,
    /// `PR_RTF_COMPRESSED`, not compressed.
    pub(crate) rtf: Option<Vec<u8>>,
}

impl Tnef {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut stream = [&0x223e_9f78u32.to_le_bytes()[..], &[1, 0]].concat();
        attribute(&mut stream, 1, 0x0008_9006, &0x0001_0000u32.to_le_bytes());
        if let Some(page) = self.code_page {
            attribute(&mut stream, 1, 0x0006_9007, &[page.to_le_bytes(), [0; 4]].concat());
        }
        attribute(&mut stream, 1, 0x0007_8008, b"IPM.Microsoft Mail.Note\0");
        if let Some(body) = &self.body {
            attribute(&mut stream, 1, 0x0002_800c, body);
        }
        let mut message = Properties::default();
        // What nobody asks for stands between, in every shape.
        message.fixed(0x0003, 0x0023, &[0; 4]);
        message.named("keywords", &[b"one", b"three"]);
        message.fixed(0x0040, 0x0039, &[0; 8]);
        if let Some((html, page)) = &self.html {
            message.fixed(0x0003, 0x3fde, &page.to_le_bytes());
            message.variable(0x0102, 0x1013, html);
        }
        if let Some(rtf) = &self.rtf {
            let length = u32::try_from(rtf.len()).expect("a small text");
            let head = [(length + 12).to_le_bytes(), length.to_le_bytes(), *b"MELA", [0; 4]];
            message.variable(0x0102, 0x1009, &[&head.concat(), rtf.as_slice()].concat());
        }
        attribute(&mut stream, 1, 0x0006_9003, &message.bytes());
        for attached in &self.attached {
            attached.write(&mut stream);
        }
        stream
    }
}

impl Attached {
    fn write(&self, stream: &mut Vec<u8>) {
        attribute(stream, 2, 0x0006_9002, &[0; 14]);
        if let Some(title) = &self.title {
            attribute(stream, 2, 0x0001_8010, &[title.as_slice(), b"\0"].concat());
        }
        let mut properties = Properties::default();
        match &self.long_name {
            Some(Text::Narrow(name)) => {
                properties.variable(0x001e, 0x3707, &[name.as_slice(), b"\0"].concat());
            }
            Some(Text::Wide(name)) => {
                let units = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
                properties.variable(0x001f, 0x3707, &units.collect::<Vec<_>>());
            }
            None => {}
        }
        if let Some(tag) = self.mime_tag {
            properties.variable(0x001e, 0x370e, &[tag.as_bytes(), b"\0"].concat());
        }
        if self.is_message {
            properties.variable(0x000d, 0x3701, &[&[7; 16], self.content.as_slice()].concat());
        } else {
            attribute(stream, 2, 0x0006_800f, &self.content);
        }
        attribute(stream, 2, 0x0006_9005, &properties.bytes());
    }
}

fn attribute(stream: &mut Vec<u8>, level: u8, id: u32, data: &[u8]) {
    stream.push(level);
    stream.extend(id.to_le_bytes());
    stream.extend(u32::try_from(data.len()).expect("a small stream").to_le_bytes());
    stream.extend(data);
    let sum = data.iter().fold(0u16, |sum, &byte| sum.wrapping_add(byte.into()));
    stream.extend(sum.to_le_bytes());
}

/// A list of MAPI properties.
#[derive(Default)]
pub(crate) struct Properties(u32, Vec<u8>);

impl Properties {
    fn head(&mut self, kind: u16, id: u16) {
        self.0 += 1;
        self.1.extend([kind.to_le_bytes(), id.to_le_bytes()].concat());
    }

    fn fixed(&mut self, kind: u16, id: u16, value: &[u8]) {
        self.head(kind, id);
        self.1.extend(value);
    }

    fn variable(&mut self, kind: u16, id: u16, value: &[u8]) {
        self.head(kind, id);
        self.1.extend(1u32.to_le_bytes());
        self.value(value);
    }

    /// One with a name and several values.
    fn named(&mut self, name: &str, values: &[&[u8]]) {
        self.head(0x101e, 0x8000);
        self.1.extend([3; 16]);
        self.1.extend(1u32.to_le_bytes());
        self.value(&name.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        self.1.extend(u32::try_from(values.len()).expect("a few").to_le_bytes());
        values.iter().for_each(|value| self.value(value));
    }

    fn value(&mut self, value: &[u8]) {
        self.1.extend(u32::try_from(value.len()).expect("a small value").to_le_bytes());
        self.1.extend(value);
        self.1.resize(self.1.len().next_multiple_of(4), 0);
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.0.to_le_bytes()[..], &self.1].concat()
    }
}

/// An entry of a zip archive.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) deflated: bool,
    /// Flags beside those that are due.
    pub(crate) flags: u16,
    /// The length that the directory says, if it lies.
    pub(crate) says: Option<u32>,
    pub(crate) spoil_crc: bool,
    /// Its bytes are those of the first entry: nothing of its own is written.
    pub(crate) shares: bool,
    /// The directory does not name it.
    pub(crate) hidden: bool,
    /// Bytes that count as packed ones of it and that its content does not need.
    pub(crate) more: Vec<u8>,
    /// Sum and sizes stand behind its bytes, too.
    pub(crate) behind: Option<Behind>,
    /// The sizes of zip64 stand before its bytes, too, both larger by this.
    pub(crate) zip64: Option<u64>,
    /// Extra fields in the directory, and before its bytes.
    pub(crate) extra: [Vec<u8>; 2],
    /// A comment in the directory.
    pub(crate) comment: Vec<u8>,
    /// What stands before its bytes instead of what should, and where in there.
    pub(crate) local: &'static [(usize, &'static [u8])],
}

/// How sum and sizes are told behind the bytes of an entry.
#[derive(Clone, Copy, Default)]
pub(crate) struct Behind {
    /// With a mark before them.
    pub(crate) marked: bool,
    /// Sizes of eight bytes.
    pub(crate) wide: bool,
    /// The length is said to be larger by this.
    pub(crate) off: u64,
}

impl Behind {
    fn write(self, sum: u32, size: usize, length: usize) -> Vec<u8> {
        let mut bytes = if self.marked { b"PK\x07\x08".to_vec() } else { Vec::new() };
        bytes.extend(sum.to_le_bytes());
        for number in [size as u64, length as u64 + self.off] {
            bytes.extend(&number.to_le_bytes()[..if self.wide { 8 } else { 4 }]);
        }
        bytes
    }
}

impl Entry {
    pub(crate) fn new(name: &[u8], content: &[u8]) -> Self {
        Self {
            name: name.to_vec(),
            content: content.to_vec(),
            deflated: true,
            flags: 0,
            says: None,
            spoil_crc: false,
            shares: false,
            hidden: false,
            more: Vec::new(),
            behind: None,
            zip64: None,
            extra: [Vec::new(), Vec::new()],
            comment: Vec::new(),
            local: &[],
        }
    }
}

/// A zip archive of these entries.
pub(crate) fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut packed =
            if entry.deflated { deflate(&entry.content) } else { entry.content.clone() };
        packed.extend(&entry.more);
        let mut crc = Crc::new();
        crc.update(&entry.content);
        let sum = crc.sum() ^ u32::from(entry.spoil_crc);
        let number = |length: usize| u32::try_from(length).expect("a small archive");
        let mut common = [20u16, entry.flags, if entry.deflated { 8 } else { 0 }, 0, 0]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect::<Vec<_>>();
        common.extend(sum.to_le_bytes());
        common.extend(number(packed.len()).to_le_bytes());
        common.extend(entry.says.unwrap_or(number(entry.content.len())).to_le_bytes());
        common.extend(u16::try_from(entry.name.len()).expect("a short name").to_le_bytes());
        let short = |length: usize| u16::try_from(length).expect("short").to_le_bytes();
        let mut extra = entry.zip64.map_or_else(Vec::new, |off| {
            let sizes =
                [entry.content.len(), packed.len()].map(|size| (size as u64 + off).to_le_bytes());
            [&[1, 0, 16, 0][..], &sizes.concat()].concat()
        });
        extra.extend(&entry.extra[1]);
        let at = if entry.shares { 0 } else { number(archive.len()) };
        if !entry.shares {
            archive.extend(b"PK\x03\x04");
            archive.extend(&common);
            archive.extend(short(extra.len()));
            archive.extend(&entry.name);
            archive.extend(&extra);
            for (offset, bytes) in entry.local {
                let from = at as usize + offset;
                archive[from..from + bytes.len()].copy_from_slice(bytes);
            }
            archive.extend(&packed);
            if let Some(behind) = entry.behind {
                archive.extend(behind.write(sum, packed.len(), entry.content.len()));
            }
        }
        if entry.hidden {
            continue;
        }
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend(short(entry.extra[0].len()));
        directory.extend(short(entry.comment.len()));
        directory.extend([0; 8]);
        directory.extend(at.to_le_bytes());
        directory.extend([&entry.name[..], &entry.extra[0], &entry.comment].concat());
    }
    let count = entries.iter().filter(|entry| !entry.hidden).count();
    let count = u16::try_from(count).expect("few entries");
    let end = u32::try_from(archive.len()).expect("a small archive");
    let size = u32::try_from(directory.len()).expect("a small archive");
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    archive.extend([size.to_le_bytes(), end.to_le_bytes()].concat());
    archive.extend([0, 0]);
    archive
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

/// A letter with one attachment.
pub(crate) fn letter_with(media_type: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let coded = data_encoding::BASE64.encode(content).into_bytes();
    let lines: Vec<u8> = coded.chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..]);
    let head = format!(
        "From: Jan Jans <jan@worker.example>\r\nSubject: a\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\n\r\nzie bijlage\r\n--b\r\nContent-Type: {media_type}\r\n\
         Content-Disposition: attachment; filename=\"{name}\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n"
    );
    [head.as_bytes(), &lines, b"\r\n--b--\r\n"].concat()
}
