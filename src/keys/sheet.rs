//! A sheet of paper that holds one share of the recovery key (vault-format §9).
//!
//! Sixty bytes, printed as six lines of five groups of four symbols. Each line ends with a check of
//! its own, so that a slip of the pen or of a finger is found where it is; the last one also checks
//! the whole sheet. SHA-256 and not BLAKE3: a sheet is read when nothing else is left, and then it
//! must be possible with what every language brings along.
//!
//! ```text
//! bytes   0 version 1 · 1 threshold · 2 count · 3 index · 4…9 ceremony
//!         10…19 of SHA-256(recipient as text) · 20…51 share · 52…59 of SHA-256("kluis sheet\n" ‖ 0…51)
//! line    its 10 bytes as 16 symbols, then 4 symbols of SHA-256("kluis sheet line\n" ‖ number ‖ bytes)
//! ```

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use zeroize::Zeroizing;

use super::staff::StaffRecipient;
use crate::ids::{CROCKFORD, crockford};
use crate::secret::Secret;

/// Lines of a sheet.
pub const LINES: usize = 6;
/// Symbols of a line, its check among them.
pub const SYMBOLS: usize = 20;
/// Symbols of a group.
pub const GROUP: usize = 4;
/// The most sheets of one ceremony.
pub const MOST: u8 = 16;
/// The fewest sheets that rebuild a key: a sheet alone says nothing.
pub const FEWEST: u8 = 2;

/// Bytes of a line.
const LINE: usize = 10;
/// Bytes of a sheet.
const BYTES: usize = LINES * LINE;
/// Where the share begins, and where the check of the sheet does.
const SHARE: usize = 20;
const CHECK: usize = 52;
/// The layout.
const VERSION: u8 = 1;
/// What the text of a QR code begins with; the symbols follow without a space.
const SCANNED: &str = "KLUIS:";

/// Why a text is no sheet. Says nothing of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    /// A line that is not there, or not where it belongs.
    #[error("line {line} of the sheet is missing")]
    Missing {
        /// Its number, from 1.
        line: u8,
    },
    /// Symbols too many or too few.
    #[error("line {line} has {found} letters and digits where {SYMBOLS} belong")]
    Length {
        /// Its number, from 1.
        line: u8,
        /// That many.
        found: usize,
    },
    /// A character that is on no sheet.
    #[error("line {line}, group {group}: a character that is on no sheet")]
    Character {
        /// The line's number, from 1.
        line: u8,
        /// The group's number in it, from 1.
        group: u8,
    },
    /// The check of a line does not fit.
    #[error("line {line} is not as it was printed: its check does not fit")]
    Line {
        /// Its number, from 1.
        line: u8,
    },
    /// Every line is right by itself, and they are not of one sheet.
    #[error("the lines are not of one sheet: the check of the sheet does not fit")]
    Mixed,
    /// Printed by a later version.
    #[error("the sheet was printed by a later version of kluis")]
    FutureVersion,
    /// Numbers that no sheet has.
    #[error("the sheet says numbers that no sheet has")]
    Numbers,
}

/// The name of a ceremony: random, the same on all its sheets, and on those of no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceremony(pub(super) [u8; 6]);

impl fmt::Display for Ceremony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// One share of the recovery key, and which one.
pub struct Sheet {
    /// Which ceremony it is of.
    pub ceremony: Ceremony,
    /// So many sheets rebuild the key.
    pub threshold: u8,
    /// So many sheets were printed.
    pub count: u8,
    /// Which one this is, from 1.
    pub index: u8,
    pub(super) recipient: [u8; 10],
    pub(super) share: Secret<[u8; 32]>,
}

/// What a sheet says of the recipient that it belongs to.
pub(super) fn fingerprint(recipient: &StaffRecipient) -> [u8; 10] {
    head(&[recipient.to_string().as_bytes()])
}

impl Sheet {
    fn bytes(&self) -> Zeroizing<[u8; BYTES]> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        bytes[..4].copy_from_slice(&[VERSION, self.threshold, self.count, self.index]);
        bytes[4..10].copy_from_slice(&self.ceremony.0);
        bytes[10..SHARE].copy_from_slice(&self.recipient);
        bytes[SHARE..CHECK].copy_from_slice(self.share.expose());
        let check: [u8; 8] = sheet_check(&bytes[..CHECK]);
        bytes[CHECK..].copy_from_slice(&check);
        bytes
    }

    fn of(bytes: &[u8; BYTES]) -> Result<Self, Misread> {
        if bytes[0] != VERSION {
            return Err(if bytes[0] > VERSION { Misread::FutureVersion } else { Misread::Numbers });
        }
        if sheet_check(&bytes[..CHECK]) != bytes[CHECK..] {
            return Err(Misread::Mixed);
        }
        let [threshold, count, index] = [bytes[1], bytes[2], bytes[3]];
        if !are_numbers(threshold, count) || !(1..=count).contains(&index) {
            return Err(Misread::Numbers);
        }
        let part = |from: usize| &bytes[from..];
        Ok(Self {
            ceremony: Ceremony(*part(4).first_chunk().expect("sixty bytes")),
            threshold,
            count,
            index,
            recipient: *part(10).first_chunk().expect("sixty bytes"),
            share: Secret::filled(|share| share.copy_from_slice(&bytes[SHARE..CHECK])),
        })
    }

    /// The six lines that are typed, each with its number.
    #[must_use]
    pub fn lines(&self) -> Zeroizing<String> {
        let bytes = self.bytes();
        let mut text = Zeroizing::new(String::with_capacity(LINES * 32));
        for (number, line) in (1..).zip(bytes.as_chunks::<LINE>().0) {
            text.push(char::from(b'0' + number));
            text.push(' ');
            for (at, symbol) in symbols(number, line).into_iter().enumerate() {
                if at % GROUP == 0 {
                    text.push(' ');
                }
                text.push(char::from(symbol));
            }
            text.push('\n');
        }
        text
    }

    /// What its QR code says: all lines without their numbers.
    #[must_use]
    pub fn scanned(&self) -> Zeroizing<String> {
        let bytes = self.bytes();
        let mut text = Zeroizing::new(String::with_capacity(SCANNED.len() + LINES * SYMBOLS));
        text.push_str(SCANNED);
        for (number, line) in (1..).zip(bytes.as_chunks::<LINE>().0) {
            text.extend(symbols(number, line).into_iter().map(char::from));
        }
        text
    }

    /// The whole page: what it is, the lines, the QR code. Black on white, at most 80 columns wide
    /// and 60 lines long, of a typeface whose letters are all of one width.
    #[must_use]
    pub fn page(&self, recipient: &StaffRecipient) -> Zeroizing<String> {
        let Self { index, count, threshold, ceremony, .. } = self;
        let mut page = Zeroizing::new(String::with_capacity(LONGEST_PAGE));
        let head = format!(
            "KLUIS RECOVERY SHEET {index} OF {count}\n\n\
             Any {threshold} of the {count} sheets rebuild the recovery key of\n\
             \u{20}   {recipient}\n\
             Fewer say nothing about it. Ceremony {ceremony}.\n\n"
        );
        let foot = "\n\
             Keep it in a sealed envelope, apart from the other sheets. Never photograph it.\n\
             Try it every year, with others:  kluis keys drill -\n\
             Digits, and letters but for I, L, O and U. The code says the same.\n\n";
        for part in [&head, self.lines().as_str(), foot, &self.code(), "\n"] {
            page.push_str(part);
        }
        page
    }

    /// The QR code, two rows a line.
    fn code(&self) -> Zeroizing<String> {
        let code = QrCode::with_error_correction_level(self.scanned().as_bytes(), EcLevel::M)
            .expect("a sheet fits into a code");
        Zeroizing::new(code.render::<Dense1x2>().quiet_zone(true).build())
    }
}

/// The longest page, in bytes: room for it is taken at once, so that no copy is left behind.
const LONGEST_PAGE: usize = 8 << 10;

/// Whether a ceremony can have these numbers.
pub(super) fn are_numbers(threshold: u8, count: u8) -> bool {
    (FEWEST..=count).contains(&threshold) && count <= MOST
}

fn symbols(number: u8, line: &[u8; LINE]) -> [u8; SYMBOLS] {
    let value = line.iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
    let value = value << 20 | u128::from(line_check(number, line));
    std::array::from_fn(|at| CROCKFORD[(value >> (5 * (SYMBOLS - 1 - at)) & 31) as usize])
}

/// Twenty bits.
fn line_check(number: u8, line: &[u8; LINE]) -> u32 {
    let [a, b, c] = head(&[b"kluis sheet line\n", &[number], line]);
    u32::from_be_bytes([0, a, b, c]) >> 4
}

fn sheet_check(bytes: &[u8]) -> [u8; 8] {
    head(&[b"kluis sheet\n", bytes])
}

/// The first bytes of the SHA-256 of `parts`.
fn head<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let all = Zeroizing::new(parts.concat());
    *digest(&SHA256, &all).as_ref().first_chunk().expect("shorter than the hash")
}

/// A sheet on its way from paper, line by line.
#[derive(Default)]
pub struct Draft(Vec<Secret<[u8; LINE]>>);

impl Draft {
    /// The number of the line that comes next, from 1; `None` when all are there.
    #[must_use]
    pub fn next(&self) -> Option<u8> {
        (self.0.len() < LINES).then_some(self.0.len() as u8 + 1)
    }

    /// Takes the next line, without its number. A line that is refused can be given again.
    ///
    /// # Errors
    /// See [`Misread`].
    pub fn line(&mut self, text: &str) -> Result<(), Misread> {
        let line = self.next().ok_or(Misread::Mixed)?;
        let mut value = Zeroizing::new(0u128);
        let mut found = 0;
        for c in text.chars().filter(|c| !is_between(*c)) {
            let group = (found / GROUP) as u8 + 1;
            let symbol = crockford(c).ok_or(Misread::Character { line, group })?;
            *value = *value << 5 | u128::from(symbol);
            found += 1;
        }
        if found != SYMBOLS {
            return Err(Misread::Length { line, found });
        }
        let bytes = Zeroizing::new((*value >> 20).to_be_bytes());
        let bytes: &[u8; LINE] = bytes.last_chunk().expect("sixteen bytes");
        if u128::from(line_check(line, bytes)) != *value & 0xf_ffff {
            return Err(Misread::Line { line });
        }
        self.0.push(Secret::filled(|kept| *kept = *bytes));
        Ok(())
    }

    /// The sheet.
    ///
    /// # Errors
    /// See [`Misread`].
    pub fn finish(self) -> Result<Sheet, Misread> {
        self.next().map_or(Ok(()), |line| Err(Misread::Missing { line }))?;
        let all = Secret::<[u8; BYTES]>::filled(|all| {
            for (place, line) in all.as_chunks_mut().0.iter_mut().zip(&self.0) {
                *place = *line.expose();
            }
        });
        Sheet::of(all.expose())
    }
}

/// What people and printers put between symbols.
fn is_between(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{feff}')
}

/// A sheet of a text that holds several, by its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtSheet {
    /// Which sheet of the text, from 1.
    pub sheet: usize,
    /// What is wrong with it.
    pub misread: Misread,
}

impl fmt::Display for AtSheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.misread.fmt(f)
    }
}

impl std::error::Error for AtSheet {}

/// All sheets of a text: printed pages, typed lines with their numbers, or what a QR code says.
/// Everything else in it is passed over. Total: any text gives sheets or says what is wrong.
///
/// # Errors
/// The first sheet that is not right.
pub fn parse(text: &str) -> Result<Vec<Sheet>, AtSheet> {
    let mut sheets = Vec::new();
    let mut draft: Option<Draft> = None;
    for line in text.lines().map(|line| line.trim_matches(is_between)) {
        let sheet = sheets.len() + 1;
        let at = |misread| AtSheet { sheet, misread };
        if let Some(rest) = scanned(line) {
            end(draft.take()).map_err(at)?;
            sheets.push(whole(rest).map_err(at)?);
        } else if let Some((number, rest)) = numbered(line) {
            if number == 1 {
                end(draft.take()).map_err(at)?;
            }
            let under_way = draft.get_or_insert_default();
            if under_way.next() != Some(number) {
                return Err(at(Misread::Missing { line: under_way.next().unwrap_or(1) }));
            }
            under_way.line(rest).map_err(at)?;
            if under_way.next().is_none() {
                sheets.extend(draft.take().map(Draft::finish).transpose().map_err(at)?);
            }
        }
    }
    let sheet = sheets.len() + 1;
    end(draft).map_err(|misread| AtSheet { sheet, misread })?;
    Ok(sheets)
}

/// Refuses a sheet that has not all of its lines.
fn end(draft: Option<Draft>) -> Result<(), Misread> {
    let line = draft.and_then(|draft| draft.next());
    line.map_or(Ok(()), |line| Err(Misread::Missing { line }))
}

/// The number of a line, and what stands behind it.
fn numbered(line: &str) -> Option<(u8, &str)> {
    let (number, rest) = line.split_at_checked(1)?;
    let number = number.parse().ok().filter(|number| (1..=LINES as u8).contains(number))?;
    let symbols = rest.strip_prefix(|c: char| c.is_whitespace() || matches!(c, '.' | ':' | ')'))?;
    Some((number, symbols))
}

/// What a QR code says, behind its first word.
fn scanned(line: &str) -> Option<&str> {
    let head = line.get(..SCANNED.len())?;
    head.eq_ignore_ascii_case(SCANNED).then(|| &line[SCANNED.len()..])
}

fn whole(symbols: &str) -> Result<Sheet, Misread> {
    let mut draft = Draft::default();
    let symbols: Zeroizing<Vec<char>> =
        Zeroizing::new(symbols.chars().filter(|c| !is_between(*c)).collect());
    let mut rest = symbols.as_slice();
    while let Some(line) = draft.next() {
        let length = if usize::from(line) == LINES { rest.len() } else { SYMBOLS.min(rest.len()) };
        let (here, after) = rest.split_at(length);
        let here: Zeroizing<String> = Zeroizing::new(here.iter().collect());
        draft.line(&here)?;
        rest = after;
    }
    draft.finish()
}

#[cfg(test)]
impl Sheet {
    /// Its lines as another version would print them, and what is said of them.
    pub(super) fn lines_of_version(&self, version: u8) -> (String, Misread) {
        let mut bytes = self.bytes();
        bytes[0] = version;
        let check: [u8; 8] = sheet_check(&bytes[..CHECK]);
        bytes[CHECK..].copy_from_slice(&check);
        let text: String = (1..)
            .zip(bytes.as_chunks::<LINE>().0)
            .map(|(number, line)| {
                format!("{number} {}\n", String::from_utf8_lossy(&symbols(number, line)))
            })
            .collect();
        let misread = parse(&text).err().expect("refused").misread;
        (text, misread)
    }
}
