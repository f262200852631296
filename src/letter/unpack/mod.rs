//! Takes out what items hold that are made of other things: archives, TNEF, encoded messages.
//!
//! A container comes out whole or not at all, and stays an item itself, byte for byte; what was
//! taken out names it. A list is worked off, nothing recurses, and everything is bounded for the
//! letter as a whole. It happens in memory: no name from inside is ever a path.

mod rtf;
mod tnef;
mod zip;

use super::leaf::Packing;
use super::mime::{self, Findings};
use super::{
    Contained, Finding, Item, MAX_NAMES, Role, Storage, leaf, magic, media_type, transfer,
};
use crate::secret::Personal;

/// Items taken out of others, in one letter.
pub const MAX_CONTAINED: usize = 1000;
/// Bytes taken out, in one letter.
pub const MAX_UNPACKED: usize = 40 << 20;
/// How many times larger than the container its content may be.
pub const MAX_RATIO: usize = 100;
/// What every container may grow to, however small it is.
const FREE_CONTENT: usize = 1 << 20;
/// Containers in each other.
pub const MAX_LAYERS: u8 = 4;
/// Bytes of a name inside a container.
pub const MAX_NAME: usize = 1024;
/// Attributes, properties and values that are read of one TNEF stream.
pub const MAX_TNEF_ATTRIBUTES: usize = 100_000;

/// Why nothing was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// Not what it says, or a kind that is not read.
    Broken,
    /// Encrypted.
    Locked,
    /// Over a limit, or made to be.
    Swollen,
}

/// What may still be taken out.
struct Room {
    bytes: usize,
    items: usize,
}

/// One thing taken out of a container.
#[derive(Debug)]
struct Taken {
    names: Vec<String>,
    /// The media type that the container says.
    declared: Option<String>,
    role: Role,
    /// Its text, where it is a body: the container says how it is read.
    text: Option<String>,
    content: Vec<u8>,
}

impl Taken {
    fn file(names: Vec<String>, declared: Option<String>, content: Vec<u8>) -> Self {
        Self { names, declared, role: Role::Attachment, text: None, content }
    }

    fn body(media_type: &str, content: Vec<u8>, text: Option<String>) -> Self {
        let declared = Some(media_type.to_owned());
        Self { names: Vec::new(), declared, role: Role::Body, text, content }
    }
}

/// Takes out what the items of `raw` hold. `packings` says of each item what it is made of.
pub(super) fn all(
    raw: &[u8],
    items: &[Item],
    packings: &[Packing],
    findings: &mut Findings,
) -> Vec<Contained> {
    let mut work = Work { contained: Vec::new(), more: Vec::new(), bytes: 0, refused: 0 };
    for (nr, (item, &packing)) in items.iter().zip(packings).enumerate() {
        if packing != Packing::None {
            let body = raw.get(item.start..item.end).unwrap_or_default();
            let content = transfer::apart_or_decoded(item, body);
            let outer = Outer { nr, layer: 0, depth: item.depth };
            work.open(&content, packing, outer, findings);
        }
    }
    let mut at = 0;
    while at < work.contained.len() {
        let (packing, layer) = work.more[at];
        if packing != Packing::None {
            let content = std::mem::take(&mut work.contained[at].content);
            let outer = Outer { nr: items.len() + at, layer, depth: work.contained[at].item.depth };
            work.open(&content, packing, outer, findings);
            work.contained[at].content = content;
        }
        at += 1;
    }
    work.contained
}

/// Containers of a letter that may fail to open; after that no more are tried.
const MAX_REFUSED: usize = 32;

struct Work {
    contained: Vec<Contained>,
    /// Of each of them what it is made of, and how many containers are around it.
    more: Vec<(Packing, u8)>,
    /// What was unpacked so far, also what no item was made of.
    bytes: usize,
    /// Containers that were not opened, which cost time all the same.
    refused: usize,
}

/// The container that is being opened.
#[derive(Clone, Copy)]
struct Outer {
    nr: usize,
    layer: u8,
    depth: u8,
}

impl Work {
    fn open(&mut self, content: &[u8], packing: Packing, outer: Outer, findings: &mut Findings) {
        let room = Room {
            bytes: MAX_UNPACKED
                .saturating_sub(self.bytes)
                .min(content.len().saturating_mul(MAX_RATIO).max(FREE_CONTENT)),
            items: MAX_CONTAINED - self.contained.len(),
        };
        let taken = match packing {
            _ if outer.layer >= MAX_LAYERS || self.refused >= MAX_REFUSED => Err(Refused::Swollen),
            Packing::Zip => {
                zip::take(content, &room, findings).map(|taken| files(taken, outer, findings))
            }
            Packing::Office => zip::take(content, &room, findings).map(|mut taken| {
                // What is unpacked and left took its time, too.
                let all: usize = taken.iter().map(|one| one.content.len()).sum();
                taken.retain(|one| magic::is_picture(magic::of(beginning(&one.content))));
                self.bytes += all - taken.iter().map(|one| one.content.len()).sum::<usize>();
                files(taken, outer, findings)
            }),
            Packing::Tnef => tnef::take(content, &room).map(|taken| files(taken, outer, findings)),
            Packing::Message => message(content, outer, &room, findings),
            Packing::None | Packing::Other => Err(Refused::Broken),
        };
        let taken = taken.and_then(|taken| {
            let bytes: usize = taken.iter().map(|(one, _)| size(one)).sum();
            let fits = bytes <= room.bytes && taken.len() <= room.items;
            self.bytes += if fits { bytes } else { 0 };
            if fits { Ok(taken) } else { Err(Refused::Swollen) }
        });
        match taken {
            Ok(taken) => {
                for (contained, packing) in taken {
                    self.contained.push(contained);
                    self.more.push((packing, outer.layer + 1));
                }
            }
            Err(refused) => {
                self.refused += 1;
                findings.add(Finding::NotUnpacked);
                match refused {
                    Refused::Broken => {}
                    Refused::Locked => findings.add(Finding::LockedArchive),
                    Refused::Swollen => findings.add(Finding::SwollenArchive),
                }
            }
        }
    }
}

/// Bytes of what goes over the pipe to the parent, which takes so much and no more.
fn size(one: &Contained) -> usize {
    let texts = one.item.names.iter().chain(&one.item.text).map(|text| text.expose().len());
    one.content.len() + texts.sum::<usize>()
}

/// Items of what was taken out of an archive or a TNEF stream.
fn files(taken: Vec<Taken>, outer: Outer, findings: &mut Findings) -> Vec<(Contained, Packing)> {
    taken.into_iter().map(|one| file(one, outer, findings)).collect()
}

fn file(taken: Taken, outer: Outer, findings: &mut Findings) -> (Contained, Packing) {
    let Taken { names, declared, role, text, content } = taken;
    let look = beginning(&content);
    let magic = magic::of(look);
    let by_name = names.first().and_then(|name| media_type::known(name.as_bytes()));
    let declared = declared.as_deref().or(by_name).or(magic).unwrap_or(media_type::BYTES);
    if !content.is_empty() && magic::disagrees(declared, magic) {
        findings.add(Finding::TypeMismatch);
    }
    let packing = match declared {
        "message/rfc822" => Packing::Message,
        _ => Packing::of(look, magic),
    };
    let text = text.map(|text| leaf::readable(declared, text));
    let text = text.filter(|text| findings.keeps(text.len())).map(Personal::new);
    let mut kept: Vec<Personal<String>> = Vec::with_capacity(names.len());
    for name in names.into_iter().filter(|name| !name.is_empty()).map(Personal::new) {
        if !kept.contains(&name) && findings.keeps(name.expose().len()) {
            kept.push(name);
        }
    }
    let item = Item {
        start: 0,
        end: content.len(),
        role,
        media_type: declared.to_owned(),
        magic: magic.map(str::to_owned),
        names: kept,
        storage: Storage::AsItCame,
        transfer: TRANSFER.into(),
        text,
        depth: outer.depth,
        content_id: None,
        container: u32::try_from(outer.nr).ok(),
        scan: None,
        sight: None,
    };
    (Contained { item, content }, packing)
}

fn beginning(content: &[u8]) -> &[u8] {
    &content[..content.len().min(magic::LOOK)]
}

/// What stands for the transfer encoding of what came without one.
const TRANSFER: &str = "binary";

/// The leaves of an encoded message, decoded.
fn message(
    content: &[u8],
    outer: Outer,
    room: &Room,
    findings: &mut Findings,
) -> Result<Vec<(Contained, Packing)>, Refused> {
    let (items, packings) = mime::leaves(content, findings);
    let mut taken = Vec::with_capacity(items.len());
    let mut bytes = 0;
    for (item, packing) in items.into_iter().zip(packings) {
        let body = content.get(item.start..item.end).unwrap_or_default();
        bytes += body.len();
        // What comes out is never longer than what stands there.
        if bytes > room.bytes || taken.len() == room.items {
            return Err(Refused::Swollen);
        }
        let content = transfer::apart_or_decoded(&item, body);
        let item = Item {
            start: 0,
            end: content.len(),
            storage: Storage::AsItCame,
            transfer: TRANSFER.into(),
            depth: item.depth.saturating_add(outer.depth).saturating_add(1),
            container: u32::try_from(outer.nr).ok(),
            scan: None,
            sight: None,
            ..item
        };
        taken.push((Contained { item, content }, packing));
    }
    Ok(taken)
}

/// Whether what is said to be taken out of `items` items can be that: each names what came before
/// it, all of it is within the limits.
pub(super) fn is_plausible(items: usize, contained: &[Contained]) -> bool {
    let bytes: usize = contained.iter().map(size).sum();
    let each = contained.iter().enumerate().all(|(nr, one)| {
        let item = &one.item;
        item.container.is_some_and(|outer| (outer as usize) < items + nr)
            && (item.start, item.end) == (0, one.content.len())
            && item.storage == Storage::AsItCame
            && item.transfer == TRANSFER
    });
    each && contained.len() <= MAX_CONTAINED && bytes <= MAX_UNPACKED
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
