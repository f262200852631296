//! TNEF (`winmail.dat`, MS-OXTNEF): what Outlook wraps attachments and bodies in.
//!
//! A stream of attributes, of which an attachment's are those between two `attAttachRenddata`; the
//! names that people gave stand in MAPI properties inside. Texts of eight bits are in the code page
//! that the stream names. Whatever does not fit ends the reading, and nothing is taken out.

use super::{MAX_NAME, MAX_TNEF_ATTRIBUTES, Refused, Room, Taken, array, rtf};
use crate::letter::{Role, charset, media_type};

const SIGNATURE: u32 = 0x223e_9f78;

const OEM_CODE_PAGE: u32 = 0x0006_9007;
const BODY: u32 = 0x0002_800c;
const MESSAGE_PROPERTIES: u32 = 0x0006_9003;
const ATTACH_BEGINS: u32 = 0x0006_9002;
const ATTACH_TITLE: u32 = 0x0001_8010;
const ATTACH_DATA: u32 = 0x0006_800f;
const ATTACH_PROPERTIES: u32 = 0x0006_9005;

const PR_BODY: u16 = 0x1000;
const PR_RTF: u16 = 0x1009;
const PR_HTML: u16 = 0x1013;
const PR_DISPLAY_NAME: u16 = 0x3001;
const PR_DATA: u16 = 0x3701;
const PR_SHORT_NAME: u16 = 0x3704;
const PR_LONG_NAME: u16 = 0x3707;
const PR_MIME_TAG: u16 = 0x370e;
const PR_CODE_PAGE: u16 = 0x3fde;

const LONG: u16 = 0x0003;
const OBJECT: u16 = 0x000d;
const TEXT: u16 = 0x001e;
const WIDE: u16 = 0x001f;
const BINARY: u16 = 0x0102;
const MANY: u16 = 0x1000;

/// An object's interface stands before its data.
const INTERFACE: usize = 16;
/// A property with a higher number has a name instead.
const NAMED: u16 = 0x8000;

/// Takes the attachments and the bodies out of a stream, or nothing.
pub(super) fn take(stream: &[u8], room: &Room) -> Result<Vec<Taken>, Refused> {
    let mut reader = Reader(stream);
    if reader.u32()? != SIGNATURE {
        return Err(Refused::Broken);
    }
    reader.take(2)?;
    let mut opened = Opened::default();
    let mut seen = 0;
    while !reader.0.is_empty() {
        seen += 1;
        if seen > MAX_TNEF_ATTRIBUTES {
            return Err(Refused::Swollen);
        }
        reader.take(1)?;
        let (id, length) = (reader.u32()?, reader.u32()? as usize);
        let data = reader.take(length)?;
        // Gateways get the checksum wrong often enough, and it protects from nobody.
        reader.take(2)?;
        opened.attribute(id, data, &mut seen)?;
    }
    opened.into_items(room)
}

/// What was found in a stream so far.
#[derive(Default)]
struct Opened<'a> {
    code_page: u32,
    message: Vec<Property<'a>>,
    body: Option<&'a [u8]>,
    attached: Vec<Attached<'a>>,
}

#[derive(Default)]
struct Attached<'a> {
    title: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    properties: Vec<Property<'a>>,
}

/// A property that anybody asks for, its first value.
struct Property<'a> {
    id: u16,
    kind: u16,
    value: &'a [u8],
}

impl<'a> Opened<'a> {
    fn attribute(&mut self, id: u32, data: &'a [u8], seen: &mut usize) -> Result<(), Refused> {
        match id {
            OEM_CODE_PAGE => self.code_page = Reader(data).u32().unwrap_or(0),
            BODY => self.body = Some(data),
            MESSAGE_PROPERTIES => self.message = properties(data, seen)?,
            ATTACH_BEGINS => self.attached.push(Attached::default()),
            ATTACH_TITLE | ATTACH_DATA | ATTACH_PROPERTIES => {
                let Some(attached) = self.attached.last_mut() else { return Err(Refused::Broken) };
                match id {
                    ATTACH_TITLE => attached.title = Some(data),
                    ATTACH_DATA => attached.data = Some(data),
                    _ => attached.properties = properties(data, seen)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn into_items(self, room: &Room) -> Result<Vec<Taken>, Refused> {
        let mut items = self.bodies(room)?;
        for attached in &self.attached {
            items.push(self.attachment(attached)?);
        }
        if items.len() > room.items {
            return Err(Refused::Swollen);
        }
        Ok(items)
    }

    /// The bodies, where the stream has any: the letter around it may have none.
    fn bodies(&self, room: &Room) -> Result<Vec<Taken>, Refused> {
        let mut bodies = Vec::new();
        let plain = find(&self.message, PR_BODY).map(|found| self.text(found));
        let plain = plain.or_else(|| self.body.map(|body| self.decode(body)));
        if let Some(text) = plain.filter(|text| !text.trim().is_empty()) {
            bodies.push(Taken::body("text/plain", text.clone().into_bytes(), Some(text)));
        }
        if let Some(html) = find(&self.message, PR_HTML) {
            let text = match html.kind {
                BINARY => {
                    let page = find(&self.message, PR_CODE_PAGE).map(|p| Reader(p.value).u32());
                    decode(html.value, page.and_then(Result::ok).unwrap_or(self.code_page))
                }
                _ => self.text(html),
            };
            bodies.push(Taken::body("text/html", html.value.to_vec(), Some(text)));
        }
        if let Some(packed) = find(&self.message, PR_RTF).filter(|found| found.kind == BINARY) {
            let content = rtf::unpack(packed.value, room.bytes)?;
            bodies.push(Taken {
                role: Role::Attachment,
                ..Taken::body("application/rtf", content, None)
            });
        }
        Ok(bodies)
    }

    fn attachment(&self, attached: &Attached<'a>) -> Result<Taken, Refused> {
        let property = |id| find(&attached.properties, id);
        let mut names: Vec<String> = [PR_LONG_NAME, PR_SHORT_NAME]
            .into_iter()
            .filter_map(|id| property(id).map(|found| self.text(found)))
            .chain(attached.title.map(|title| self.decode(title)))
            .collect();
        if names.is_empty() {
            names.extend(property(PR_DISPLAY_NAME).map(|found| self.text(found)));
        }
        if names.iter().any(|name| name.len() > MAX_NAME) {
            return Err(Refused::Swollen);
        }
        let data = match property(PR_DATA).filter(|found| found.kind == OBJECT) {
            // A message inside is a stream of its own.
            Some(object) => object.value.get(INTERFACE..),
            None => attached.data.or_else(|| property(PR_DATA).map(|found| found.value)),
        };
        let declared = property(PR_MIME_TAG).map(|found| self.text(found).to_ascii_lowercase());
        let declared = declared.filter(|declared| media_type::is_plausible(declared));
        Ok(Taken::file(names, declared, data.unwrap_or_default().to_vec()))
    }

    fn text(&self, property: &Property<'_>) -> String {
        match property.kind {
            WIDE => {
                let units =
                    property.value.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
                let text: String =
                    char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect();
                text.trim_end_matches('\0').to_owned()
            }
            _ => self.decode(property.value),
        }
    }

    fn decode(&self, bytes: &[u8]) -> String {
        decode(bytes, self.code_page)
    }
}

/// Reads text in a Windows code page, to its first NUL.
fn decode(bytes: &[u8], code_page: u32) -> String {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    let label = match code_page {
        0 => String::new(),
        932 => "shift_jis".into(),
        949 => "euc-kr".into(),
        936 | 54936 => "gbk".into(),
        950 => "big5".into(),
        20127 => "us-ascii".into(),
        20866 => "koi8-r".into(),
        page @ 28591..=28606 => format!("iso-8859-{}", page - 28590),
        65001 => "utf-8".into(),
        page => format!("cp{page}"),
    };
    charset::decode(&label, &bytes[..end]).0
}

fn find<'p, 'a>(properties: &'p [Property<'a>], id: u16) -> Option<&'p Property<'a>> {
    properties.iter().find(|property| property.id == id)
}

/// Reads a list of MAPI properties, and keeps those that anybody asks for.
fn properties<'a>(data: &'a [u8], seen: &mut usize) -> Result<Vec<Property<'a>>, Refused> {
    const WANTED: [u16; 9] = [
        PR_BODY,
        PR_RTF,
        PR_HTML,
        PR_DISPLAY_NAME,
        PR_DATA,
        PR_SHORT_NAME,
        PR_LONG_NAME,
        PR_MIME_TAG,
        PR_CODE_PAGE,
    ];
    let mut reader = Reader(data);
    let mut found = Vec::new();
    for _ in 0..reader.u32()? {
        *seen += 1;
        if *seen > MAX_TNEF_ATTRIBUTES {
            return Err(Refused::Swollen);
        }
        let (kind, id) = (reader.u16()?, reader.u16()?);
        if id >= NAMED {
            reader.take(16)?;
            match reader.u32()? {
                0 => drop(reader.u32()?),
                _ => {
                    let length = reader.u32()? as usize;
                    reader.padded(length)?;
                }
            }
        }
        let values = match kind {
            TEXT | WIDE | OBJECT | BINARY => reader.u32()?,
            _ if kind & MANY != 0 => reader.u32()?,
            _ => 1,
        };
        for nr in 0..values {
            *seen += usize::from(nr > 0);
            if *seen > MAX_TNEF_ATTRIBUTES {
                return Err(Refused::Swollen);
            }
            let value = reader.value(kind & !MANY)?;
            if nr == 0 && WANTED.contains(&id) {
                found.push(Property { id, kind: kind & !MANY, value });
            }
        }
    }
    Ok(found)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Refused> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Refused::Broken)?;
        self.0 = rest;
        Ok(taken)
    }

    /// What is padded to four bytes; at the very end the padding may be missing.
    fn padded(&mut self, length: usize) -> Result<&'a [u8], Refused> {
        let taken = self.take(length)?;
        let padding = (length.wrapping_neg() % 4).min(self.0.len());
        self.take(padding)?;
        Ok(taken)
    }

    fn value(&mut self, kind: u16) -> Result<&'a [u8], Refused> {
        match kind {
            0x0002 | LONG | 0x0004 | 0x000a | 0x000b => self.take(4),
            0x0005 | 0x0006 | 0x0007 | 0x0014 | 0x0040 => self.take(8),
            0x0048 => self.take(16),
            TEXT | WIDE | OBJECT | BINARY => {
                let length = self.u32()? as usize;
                self.padded(length)
            }
            0x0001 => Ok(&[]),
            _ => Err(Refused::Broken),
        }
    }

    fn u16(&mut self) -> Result<u16, Refused> {
        array(self.take(2)?, 0).map(u16::from_le_bytes).ok_or(Refused::Broken)
    }

    fn u32(&mut self) -> Result<u32, Refused> {
        array(self.take(4)?, 0).map(u32::from_le_bytes).ok_or(Refused::Broken)
    }
}
