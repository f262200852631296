//! Zip archives (APPNOTE 6.3), read in memory.
//!
//! By the directory at the end, which is where most other programs look; some read entry after entry.
//! Entries that share bytes are refused, and a directory that does not fill its place. Where the two
//! ways of reading may give two archives, what the directory says is taken out and a finding tells: what
//! stands before an entry's bytes or behind them says something else of it, not all of them are needed,
//! two entries have one name or one has two, a folder has content, an entry is not in the directory, an end
//! is found in two places or the way to one of zip64 stands before it. Stored and deflated entries only; no
//! zip64, which no letter is large enough for, but where a program wrote its sizes without need.

use std::collections::HashSet;

use flate2::{Crc, Decompress, FlushDecompress, Status};
use memchr::memmem;

use super::{Finding, Findings, MAX_NAME, MAX_NAMES, Refused, Room, Taken, array};

const END: &[u8] = b"PK\x05\x06";
const END_LENGTH: usize = 22;
const CENTRAL: &[u8] = b"PK\x01\x02";
const CENTRAL_LENGTH: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_LENGTH: usize = 30;
/// Where readers of zip64 look for the way to another end: right before the one that all know.
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_LENGTH: usize = 20;
/// May stand before sum and sizes that are behind an entry's bytes.
const TOLD: &[u8] = b"PK\x07\x08";
/// The end record is searched within its own length and that of the longest comment.
const END_WITHIN: usize = END_LENGTH + u16::MAX as usize;

/// Encrypted, by the old way or the strong one.
const LOCKED: u16 = 1 | 1 << 6;
/// Sizes and sum stand behind the bytes, not before them.
const BEHIND: u16 = 1 << 3;
/// The name is UTF-8.
const UTF8: u16 = 1 << 11;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// WinZip's AES.
const AES: u16 = 99;

struct Entry<'a> {
    name: &'a [u8],
    /// Every name that some program shows, the directory's first.
    names: Vec<String>,
    flags: u16,
    method: u16,
    crc: u32,
    length: usize,
    packed: &'a [u8],
}

/// Takes every file out of an archive, or nothing.
pub(super) fn take(
    archive: &[u8],
    room: &Room,
    findings: &mut Findings,
) -> Result<Vec<Taken>, Refused> {
    let (entries, mut is_ambiguous) = entries(archive, room)?;
    if entries.iter().any(|entry| entry.flags & LOCKED != 0 || entry.method == AES) {
        return Err(Refused::Locked);
    }
    // What is said first, so that a bomb costs nothing; each one is held to it when it is unpacked.
    let said: usize = entries.iter().map(|entry| entry.length).fold(0, usize::saturating_add);
    if said > room.bytes {
        return Err(Refused::Swollen);
    }
    let mut taken = Vec::with_capacity(entries.len());
    for entry in entries {
        // A folder, too: in the bytes of what has no content another entry may hide.
        let (content, is_all) = unpack(&entry)?;
        let is_folder = entry.name.ends_with(b"/");
        // With content it is a file to one program and a folder to the next.
        is_ambiguous |= !is_all || (is_folder && !content.is_empty());
        if !is_folder || !content.is_empty() {
            taken.push(Taken::file(entry.names, None, content));
        }
    }
    if is_ambiguous {
        findings.add(Finding::AmbiguousArchive);
    }
    Ok(taken)
}

/// Every entry of the directory, and whether another program may see others.
fn entries<'a>(archive: &'a [u8], room: &Room) -> Result<(Vec<Entry<'a>>, bool), Refused> {
    let tail = archive.len().saturating_sub(END_WITHIN);
    let end = tail + memmem::rfind(&archive[tail..], END).ok_or(Refused::Broken)?;
    let (count, size) = (u16_at(archive, end + 10)?, u32_at(archive, end + 12)? as usize);
    let offset = u32_at(archive, end + 16)? as usize;
    if u32_at(archive, end + 4)? != 0 || u16_at(archive, end + 8)? != count {
        return Err(Refused::Broken); // one of several volumes
    }
    if archive.len() < end + END_LENGTH {
        return Err(Refused::Broken);
    }
    if usize::from(count) > room.items {
        return Err(Refused::Swollen);
    }
    let start = end.checked_sub(size).ok_or(Refused::Broken)?;
    // What stands before the archive moves everything in it.
    let base = start.checked_sub(offset).ok_or(Refused::Broken)?;
    let mut entries = Vec::with_capacity(usize::from(count));
    let mut places = Vec::with_capacity(usize::from(count));
    let mut at = start;
    let mut is_ambiguous = has_other_end(archive, tail, end);
    // An archive of zip64 has its end and the way to it where ours has the directory, and is refused; where
    // the directory's last line holds them in its comment, both are right.
    let before = end.saturating_sub(LOCATOR_LENGTH);
    is_ambiguous |= archive[before..end].starts_with(LOCATOR);
    for _ in 0..count {
        let (entry, place, length, differs) = entry(&archive[..end], at, base, start)?;
        is_ambiguous |= differs;
        entries.push(entry);
        places.push(place);
        at += length;
    }
    if at != end {
        return Err(Refused::Broken);
    }
    places.sort_unstable();
    if places.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(Refused::Swollen);
    }
    let mut from = 0;
    for (begins, ends) in places.into_iter().chain([(start, end)]) {
        is_ambiguous |= memmem::find(&archive[from..begins], LOCAL).is_some();
        from = ends;
    }
    let mut seen = HashSet::with_capacity(entries.len());
    is_ambiguous |= !entries.iter().all(|entry| seen.insert(entry.name));
    Ok((entries, is_ambiguous))
}

/// Whether an end stands somewhere else, too, whose comment fills the rest as it should.
fn has_other_end(archive: &[u8], tail: usize, end: usize) -> bool {
    memmem::find_iter(&archive[tail..], END).map(|at| tail + at).any(|at| {
        let comment = u16_at(archive, at + 20).map_or(usize::MAX, usize::from);
        at != end && archive.len() - at == END_LENGTH.saturating_add(comment)
    })
}

/// The entry whose line of the directory begins at `at`, the place of its bytes, the length of the
/// line, and whether something else stands before the bytes.
fn entry(
    archive: &[u8],
    at: usize,
    base: usize,
    directory: usize,
) -> Result<(Entry<'_>, (usize, usize), usize, bool), Refused> {
    let line = archive.get(at..).filter(|line| line.starts_with(CENTRAL)).ok_or(Refused::Broken)?;
    let name_length = usize::from(u16_at(line, 28)?);
    if name_length > MAX_NAME {
        return Err(Refused::Swollen);
    }
    let more = usize::from(u16_at(line, 30)?) + usize::from(u16_at(line, 32)?);
    let (name, extra) = name_and_extra(line, CENTRAL_LENGTH, 28)?;
    let (size, length) = (u32_at(line, 20)? as usize, u32_at(line, 24)? as usize);
    let from = base + u32_at(line, 42)? as usize;
    let local =
        archive.get(from..).filter(|local| local.starts_with(LOCAL)).ok_or(Refused::Broken)?;
    let (local_name, local_extra) = name_and_extra(local, LOCAL_LENGTH, 26)?;
    let skip = LOCAL_LENGTH + local_name.len() + local_extra.len();
    let packed = local.get(skip..skip + size).ok_or(Refused::Broken)?;
    let to = from + skip + size;
    if to > directory {
        return Err(Refused::Swollen);
    }
    let (flags, method, crc) = (u16_at(line, 8)?, u16_at(line, 10)?, u32_at(line, 16)?);
    let (names, has_others) = names(name, local_name, [extra, local_extra], flags);
    let behind = &archive[to..directory];
    let differs =
        has_others || differs(line, local, local_extra)? || !is_told_behind(line, local, behind)?;
    let entry = Entry { name, names, flags, method, crc, length, packed };
    Ok((entry, (from, to), CENTRAL_LENGTH + name_length + more, differs))
}

/// Name and extra fields behind a header of this length, their lengths being said at `said` in it.
fn name_and_extra(header: &[u8], length: usize, said: usize) -> Result<(&[u8], &[u8]), Refused> {
    let [name, extra] = [u16_at(header, said)?, u16_at(header, said + 2)?].map(usize::from);
    let rest = header.get(length..).and_then(|rest| rest.split_at_checked(name));
    let (name, rest) = rest.ok_or(Refused::Broken)?;
    Ok((name, rest.get(..extra).ok_or(Refused::Broken)?))
}

/// The extra fields of this kind, as far as they are whole.
fn fields(mut extra: &[u8], wanted: u16) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let kind = u16_at(extra, 0).ok()?;
        let field = extra.get(4..)?.get(..usize::from(u16_at(extra, 2).ok()?))?;
        extra = &extra[4 + field.len()..];
        Some((kind, field))
    })
    .filter_map(move |(kind, field)| (kind == wanted).then_some(field))
}

/// Whether what stands before the bytes of an entry says something else than its line of the directory,
/// its name aside.
fn differs(line: &[u8], local: &[u8], extra: &[u8]) -> Result<bool, Refused> {
    let flags = u16_at(local, 6)?;
    let mut differs = (flags ^ u16_at(line, 8)?) & LOCKED != 0;
    differs |= u16_at(local, 8)? != u16_at(line, 10)?;
    // Whoever reads from the front finds the end of what is deflated by itself; of what is stored nothing
    // says it.
    let may_follow = flags & BEHIND != 0 && u16_at(local, 8)? == DEFLATED;
    let wide = zip64(extra);
    differs |= fields(extra, ZIP64).nth(1).is_some();
    for (nr, (here, there)) in [(14, 16), (22, 24), (18, 20)].into_iter().enumerate() {
        let (here, there) = (u32_at(local, here)?, u64::from(u32_at(line, there)?));
        // A size of all ones stands in a field of its own, the length first.
        let here = match (here, wide, nr) {
            (u32::MAX, Some(sizes), 1 | 2) => sizes[nr - 1],
            _ => u64::from(here),
        };
        differs |= here != there && !(here == 0 && may_follow);
    }
    Ok(differs)
}

/// The kind of an extra field that holds sizes of eight bytes.
const ZIP64: u16 = 1;

/// Length and size in the extra field of zip64 before an entry's bytes, if it is there and has both.
fn zip64(extra: &[u8]) -> Option<[u64; 2]> {
    let field = fields(extra, ZIP64).next()?;
    let [length, size] = [0, 8].map(|at| array(field, at).map(u64::from_le_bytes));
    length.zip(size).map(|(length, size)| [length, size])
}

/// Whether sum and sizes stand `behind` an entry's bytes as its line of the directory says them, if what
/// stands before the bytes says that they are there: with a mark before them or without one, in four bytes
/// each or in eight.
fn is_told_behind(line: &[u8], local: &[u8], behind: &[u8]) -> Result<bool, Refused> {
    if u16_at(local, 6)? & BEHIND == 0 {
        return Ok(true);
    }
    let sum = line.get(16..20).ok_or(Refused::Broken)?;
    let sizes = [u32_at(line, 20)?, u32_at(line, 24)?];
    let short = sizes.map(u32::to_le_bytes).concat();
    let long = sizes.map(|size| u64::from(size).to_le_bytes()).concat();
    let said = |rest: &[u8]| {
        rest.strip_prefix(sum).is_some_and(|r| r.starts_with(&short) || r.starts_with(&long))
    };
    Ok(said(behind) || behind.strip_prefix(TOLD).is_some_and(said))
}

/// The content of an entry, and whether all of its bytes were needed for it.
fn unpack(entry: &Entry<'_>) -> Result<(Vec<u8>, bool), Refused> {
    let (content, is_all) = match entry.method {
        STORED => (entry.packed.to_vec(), true),
        DEFLATED => inflate(entry.packed, entry.length)?,
        _ => return Err(Refused::Broken),
    };
    let mut crc = Crc::new();
    crc.update(&content);
    let holds = content.len() == entry.length && crc.sum() == entry.crc;
    if holds { Ok((content, is_all)) } else { Err(Refused::Broken) }
}

/// Bytes that room is made for at a time: what is said of the length may be a lie.
const STEP: usize = 1 << 20;

/// What is packed, and whether it ends where the bytes do: another entry may hide behind it.
fn inflate(packed: &[u8], length: usize) -> Result<(Vec<u8>, bool), Refused> {
    let mut inflater = Decompress::new(false);
    let mut content = Vec::new();
    loop {
        // One byte more than there may be, so that more of it shows.
        let left = (length + 1).saturating_sub(content.len());
        if left == 0 {
            return Err(Refused::Swollen);
        }
        content.reserve_exact(left.min(STEP));
        let read = inflater.total_in() as usize;
        let before = content.len();
        let status = inflater
            .decompress_vec(&packed[read.min(packed.len())..], &mut content, FlushDecompress::None)
            .map_err(|_| Refused::Broken)?;
        if status == Status::StreamEnd {
            return Ok((content, inflater.total_in() == packed.len() as u64));
        }
        if inflater.total_in() as usize == read && content.len() == before {
            return Err(Refused::Broken); // the end is missing
        }
    }
}

/// The kind of an extra field that holds the name in UTF-8, behind a version and a sum over the other one
/// (Info-ZIP). Some programs show it instead, and not all of those look at the sum.
const UNICODE_NAME: u16 = 0x7075;
const UNICODE_NAME_AT: usize = 5;

/// Every name that some program shows, as far as limits go: the directory's, the one before the bytes,
/// those in extra fields. And whether there is more than the first.
fn names(name: &[u8], local: &[u8], extras: [&[u8]; 2], flags: u16) -> (Vec<String>, bool) {
    let mut names = vec![in_words(name, flags)];
    let mut has_others = local != name;
    let in_extras = extras.into_iter().flat_map(|extra| fields(extra, UNICODE_NAME));
    let in_extras = in_extras.filter_map(|field| field.get(UNICODE_NAME_AT..));
    for (other, flags) in [(local, flags)].into_iter().chain(in_extras.map(|name| (name, UTF8))) {
        let is_short = other.len() <= MAX_NAME;
        let other = if is_short { in_words(other, flags) } else { String::new() };
        has_others |= !is_short || other != names[0];
        if is_short && !names.contains(&other) && names.len() < MAX_NAMES {
            names.push(other);
        }
    }
    (names, has_others)
}

/// A name, UTF-8 if it is that, else as DOS wrote it, in which every byte is some character.
fn in_words(name: &[u8], flags: u16) -> String {
    match std::str::from_utf8(name) {
        Ok(name) => name.to_owned(),
        Err(_) if flags & UTF8 != 0 => String::from_utf8_lossy(name).into_owned(),
        Err(_) => name.iter().map(|&byte| dos(byte)).collect(),
    }
}

/// Code page 437.
fn dos(byte: u8) -> char {
    match byte {
        0..=127 => char::from(byte),
        128.. => DOS.chars().nth(usize::from(byte) - 128).unwrap_or('\u{fffd}'),
    }
}

const DOS: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Refused> {
    array(bytes, at).map(u16::from_le_bytes).ok_or(Refused::Broken)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Refused> {
    array(bytes, at).map(u32::from_le_bytes).ok_or(Refused::Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_an_old_name_is_some_character_and_no_two_the_same() {
        assert_eq!(DOS.chars().count(), 128);
        let all: std::collections::HashSet<char> = (0..=255).map(dos).collect();
        assert_eq!(all.len(), 256);
        assert_eq!((dos(0x82), dos(0xe1), dos(0xff)), ('é', 'ß', '\u{a0}'));
    }
}
