//! Somebody who copied files and keys: reads the vault's files by their format, not by its code.
//!
//! Takes every frame of every copy at its word, whatever file it lies in and whatever was dropped
//! or forgotten since, and tries every key on every slot. What a thief with these copies can open,
//! this opens. And a searcher for words in every form that bytes of a mail may take.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64_NOPAD, HEXLOWER, HEXUPPER};
use kluis::ids::{Address, SlotId, VaultId};
use kluis::keys::epoch::EpochSecret;
use kluis::ledger::entry::Entry;
use kluis::vault::chunk;
use kluis::vault::manifest::Manifest;
use kluis::vault::seal::{self, Inner};
use kluis::vault::slot::{self, Slot};

/// What was copied.
#[derive(Default)]
pub(crate) struct Thief {
    vault: Option<VaultId>,
    cabinet_keys: Vec<[u8; 32]>,
    slots: Vec<(SlotId, Slot)>,
    records: HashMap<Address, Vec<u8>>,
    entries: Vec<Entry>,
    epochs: Vec<EpochSecret>,
    box_keys: HashMap<SlotId, [u8; 32]>,
}

/// A frame of the vault's files: its type, its address field, its payload.
struct Frame<'a> {
    kind: u8,
    address: [u8; 32],
    payload: &'a [u8],
}

/// Frames start on multiples of 64 bytes: magic 4, version 1, type 1, flags 2, length 8, checksum
/// 4, reserved 12, address 32, payload.
fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    (0..bytes.len()).step_by(64).filter_map(|at| {
        let header = bytes.get(at..at + 64)?;
        if !header.starts_with(b"klus\x01") {
            return None;
        }
        let length = u64::from_le_bytes(header[8..16].try_into().ok()?);
        let payload = bytes.get(at + 64..)?.get(..usize::try_from(length).ok()?)?;
        Some(Frame { kind: header[5], address: header[32..].try_into().ok()?, payload })
    })
}

impl Thief {
    /// Copies what lies under `path`.
    pub(crate) fn with(mut self, path: &Path) -> Self {
        for file in files(path) {
            let bytes = std::fs::read(&file).expect("a copy can be read");
            frames(&bytes).for_each(|frame| self.take(&frame));
        }
        self
    }

    /// Has an epoch's secret, too.
    pub(crate) fn knowing(mut self, epoch: EpochSecret) -> Self {
        self.epochs.push(epoch);
        self
    }

    /// Has the key of a box, too.
    #[cfg(kluis_lab)]
    pub(crate) fn holding(mut self, slot: SlotId, key: [u8; 32]) -> Self {
        self.box_keys.insert(slot, key);
        self
    }

    fn take(&mut self, frame: &Frame<'_>) {
        let id = || frame.address[..16].try_into().expect("16 bytes");
        match frame.kind {
            0x03 => self.vault = Some(VaultId::new(id())),
            0x05 => self.cabinet_keys.extend(<[u8; 32]>::try_from(frame.payload)),
            0x11 | 0x12 => {
                self.records.insert(Address::new(frame.address), frame.payload.to_vec());
            }
            0x21 => {
                let mut decoder = minicbor::Decoder::new(frame.payload);
                let list = decoder.array_iter::<&minicbor::bytes::ByteSlice>().expect("a list");
                self.entries.extend(list.map(|bytes| {
                    Entry::from_bytes(bytes.expect("an entry is bytes")).expect("an entry")
                }));
            }
            0x31 => {
                let slot = frame.payload.try_into().expect("a slot has 48 bytes");
                self.slots.push((SlotId::new(id()), slot));
            }
            _ => {}
        }
    }

    /// All entries, as often as they were copied.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The keys of the cabinets that were copied.
    #[cfg(kluis_lab)]
    pub(crate) fn cabinet_keys(&self) -> &[[u8; 32]] {
        &self.cabinet_keys
    }

    /// Every entry that records a box, each once.
    pub(crate) fn boxes(&self) -> Vec<Entry> {
        let mut boxes: Vec<Entry> =
            self.entries.iter().filter(|entry| entry.boxed.is_some()).cloned().collect();
        boxes.sort_by_key(|entry| entry.seq);
        boxes.dedup_by_key(|entry| entry.seq);
        boxes
    }

    /// The key of a box, from whichever copy of a cabinet it opens in.
    pub(crate) fn key(&self, entry: &Entry) -> Option<[u8; 32]> {
        let id = entry.slot?;
        if let Some(key) = self.box_keys.get(&id) {
            return Some(*key);
        }
        let slots = self.slots.iter().filter(|(slot, _)| *slot == id);
        slots
            .flat_map(|(_, slot)| self.cabinet_keys.iter().map(move |key| (key, slot)))
            .find_map(|(key, slot)| slot::unwrap(key, id, slot).ok().map(|key| *key))
    }

    /// A box as it lies in a pack.
    pub(crate) fn sealed(&self, entry: &Entry) -> Option<&[u8]> {
        self.records.get(&entry.boxed?).map(Vec::as_slice)
    }

    /// A box without the server's layer.
    pub(crate) fn outer(&self, entry: &Entry) -> Option<Inner> {
        let place = entry.place(self.vault?)?;
        seal::open_outer(self.sealed(entry)?, &place, entry.slot?, &self.key(entry)?).ok()
    }

    /// All that a box says: the manifest, and the content it leads to.
    pub(crate) fn open(&self, entry: &Entry) -> Option<(Manifest, Vec<u8>)> {
        let (inner, recorded) = (self.outer(entry)?, entry.content?);
        let manifest = if entry.box_kind?.is_server_sealed() {
            seal::open_for_server(&inner, recorded).ok()?
        } else {
            self.epochs.iter().find_map(|epoch| seal::open_inner(&inner, epoch, recorded).ok())?
        };
        let mut content = Vec::new();
        for (i, key) in manifest.chunks.iter().enumerate() {
            let mut sealed = self.records.get(&key.address())?.clone();
            let body = chunk::open(key, key.address(), &mut sealed).ok()?;
            chunk::unpad(&mut content, body, i, manifest.length).ok()?;
        }
        Some((manifest, content))
    }
}

/// Every regular file under `path`.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let Ok(listed) = std::fs::read_dir(path) else { return Vec::new() };
    let paths = listed.map(|entry| entry.expect("can be listed").path());
    paths.flat_map(|path| files(&path)).collect()
}

/// Copies a directory with all regular files in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes the copy's directory");
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("found under it"));
        std::fs::create_dir_all(target.parent().expect("has a parent")).expect("makes a directory");
        std::fs::copy(&file, target).expect("copies");
    }
}

/// Searches for words in all their forms.
pub(crate) struct Search {
    needles: Vec<(String, Vec<u8>)>,
    /// The needles that begin with these two bytes.
    by_start: HashMap<[u8; 2], Vec<usize>>,
    starts: Vec<bool>,
}

impl Search {
    /// For each named word: as it is, in base64 wherever it may begin, quoted-printable, UTF-16,
    /// Latin-1, hexadecimal and percent-encoded.
    pub(crate) fn for_words<'a>(words: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut needles = Vec::new();
        for (name, word) in words {
            let forms = forms(word);
            needles
                .extend(forms.into_iter().map(|(form, bytes)| (format!("{name}: {form}"), bytes)));
        }
        Self::for_bytes(needles)
    }

    /// What it searches for: name and bytes.
    #[cfg(kluis_lab)]
    pub(crate) fn into_needles(self) -> Vec<(String, Vec<u8>)> {
        self.needles
    }

    /// For these bytes, each named.
    pub(crate) fn for_bytes(needles: Vec<(String, Vec<u8>)>) -> Self {
        let mut by_start: HashMap<[u8; 2], Vec<usize>> = HashMap::new();
        let mut starts = vec![false; 1 << 16];
        for (i, (_, needle)) in needles.iter().enumerate() {
            assert!(needle.len() >= 8, "short needles are found by chance");
            let start = [needle[0], needle[1]];
            starts[usize::from(u16::from_le_bytes(start))] = true;
            by_start.entry(start).or_default().push(i);
        }
        Self { needles, by_start, starts }
    }

    /// The names of what `bytes` contain, each once; also where lines break it.
    pub(crate) fn find(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = self.find_unbroken(bytes);
        let joined: Vec<u8> =
            bytes.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        found.extend(self.find_unbroken(&joined));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The names of what `bytes` contain without line breaks between.
    pub(crate) fn find_unbroken(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = vec![false; self.needles.len()];
        for (at, pair) in bytes.windows(2).enumerate() {
            if self.starts[usize::from(u16::from_le_bytes([pair[0], pair[1]]))] {
                for &i in &self.by_start[pair] {
                    found[i] |= bytes[at..].starts_with(&self.needles[i].1);
                }
            }
        }
        let names = self.needles.iter().zip(found).filter(|(_, found)| *found);
        names.map(|((name, _), _)| name.as_str()).collect()
    }
}

/// A word in every form that it may take in the bytes of a mail or a file.
fn forms(word: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = word.as_bytes();
    let escaped = |mark: char, all: bool| -> String {
        let each = bytes.iter().map(|&byte| match byte {
            byte if byte.is_ascii_alphanumeric() && !all => char::from(byte).to_string(),
            byte => format!("{mark}{byte:02X}"),
        });
        each.collect()
    };
    let units = || word.encode_utf16();
    let mut forms = vec![
        ("as it is", bytes.to_vec()),
        ("quoted-printable", escaped('=', false).into_bytes()),
        ("quoted-printable, every byte", escaped('=', true).into_bytes()),
        ("percent", escaped('%', false).into_bytes()),
        ("percent, lower case", escaped('%', false).to_lowercase().into_bytes()),
        ("percent, every byte", escaped('%', true).into_bytes()),
        ("hexadecimal", HEXLOWER.encode(bytes).into_bytes()),
        ("hexadecimal, upper case", HEXUPPER.encode(bytes).into_bytes()),
        ("UTF-16LE", units().flat_map(u16::to_le_bytes).collect()),
        ("UTF-16BE", units().flat_map(u16::to_be_bytes).collect()),
    ];
    let latin: Option<Vec<u8>> = word.chars().map(|c| u8::try_from(c).ok()).collect();
    forms.extend(latin.map(|bytes| ("Latin-1", bytes)));
    // The part that any charset leaves alone.
    let plain: String = word.chars().filter(char::is_ascii).collect();
    forms.push(("its ASCII", plain.into_bytes()));
    for (before, name) in [(0, "base64"), (1, "base64 from 1"), (2, "base64 from 2")] {
        let shifted = [&[0; 2][..before], bytes].concat();
        let text = BASE64_NOPAD.encode(&shifted);
        // The characters that depend on what stands before and behind.
        let from = (before * 8).div_ceil(6);
        let to = shifted.len() * 8 / 6;
        forms.push((name, text.as_bytes()[from..to].to_vec()));
    }
    forms
}

#[test]
fn the_search_finds_a_word_in_each_form_and_where_lines_break_it() {
    let word = "é0123456789abcdefü";
    let search = Search::for_words([("word", word)]);
    let around = |before: &str| format!("{before}{word} behind");
    let base64 = |text: String| {
        let text = data_encoding::BASE64.encode(text.as_bytes());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(20)
            .map(|line| std::str::from_utf8(line).expect("ASCII"))
            .collect();
        lines.join("\r\n").into_bytes()
    };
    let utf16 =
        |bytes: fn(u16) -> [u8; 2]| around("x").encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let every_byte = |mark: &str| -> String {
        around("x").bytes().map(|byte| format!("{mark}{byte:02X}")).collect()
    };
    let latin: Vec<u8> =
        around("x").chars().map(|c| u8::try_from(c).expect("is in Latin-1")).collect();
    for (form, planted) in [
        ("as it is", around("x").into_bytes()),
        ("as it is", b"x\xc3\xa9012345\r\n6789abcdef\xc3\xbc".to_vec()),
        ("quoted-printable", b"x =C3=A90123456789abcdef=C3=BC=\r\n".to_vec()),
        ("quoted-printable, every byte", every_byte("=").into_bytes()),
        ("percent, every byte", every_byte("%").into_bytes()),
        ("percent", b"utf-8''%C3%A90123456789abcdef%C3%BC.pdf".to_vec()),
        ("percent, lower case", b"%c3%a90123456789abcdef%c3%bc".to_vec()),
        ("hexadecimal", HEXLOWER.encode(around("x").as_bytes()).into_bytes()),
        ("hexadecimal, upper case", HEXUPPER.encode(around("x").as_bytes()).into_bytes()),
        ("UTF-16LE", utf16(u16::to_le_bytes)),
        ("UTF-16BE", utf16(u16::to_be_bytes)),
        ("Latin-1", latin),
        ("its ASCII", b"\xff\xff0123456789abcdef\xff".to_vec()),
        ("base64", base64(around("abc"))),
        ("base64 from 1", base64(around("a"))),
        ("base64 from 2", base64(around("ab"))),
    ] {
        let found = search.find(&planted);
        assert!(found.contains(&format!("word: {form}").as_str()), "{form}: {found:?}");
    }
    assert_eq!(search.find(b"\xc3\xa90123456789abcde"), Vec::<&str>::new());
}
