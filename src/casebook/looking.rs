//! The pictures of a letter are looked at before they are sealed: whether they show an identity
//! document, and what it says. What found no place in time was not looked at: nothing is refused for
//! it, and no letter waits for long.
//!
//! Which pictures, and in which order, is decided here for both sides; who looks is lent.

use std::cmp::Reverse;
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::receive::Cut;
use super::{AskReader, Casebook, scanning};
use crate::identity::document::Sight;
use crate::identity::picture::decode::{DecodeError, Kind};
use crate::ids::Digest;
use crate::letter::{self, Item, Letter, Role, Scan};
use crate::sandbox::heif;

/// For looking at the pictures of one letter.
pub(super) const LOOK_TIME: Duration = Duration::from_secs(20);
/// How long after it came nobody looks any more, whatever parser and virus scanner took: the rest of the
/// time that a letter has is for sealing it.
const LOOKED_BY: Duration = Duration::from_secs(45);
/// Pictures of one letter that are looked at.
pub const MOST_PICTURES: usize = 8;
/// A picture whose sides are both no longer than so many pixels is a sign or a logo: no line of a
/// document could be read on it.
const TINY: u32 = 160;
/// Segments of a JPEG that are passed over to find its sides.
const MOST_SEGMENTS: usize = 64;

/// Who brings a letter, as far as those mind whose pictures wait, too: letters of equal ones share their
/// places. Who that is it does not tell.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bringer(Digest);

impl Bringer {
    /// Whoever is known by these words.
    #[must_use]
    pub fn of(words: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for word in words {
            hasher.update(&(word.len() as u64).to_le_bytes());
            hasher.update(word.as_bytes());
        }
        Self(Digest::new(*hasher.finalize().as_bytes()))
    }
}

/// What looks at a picture on the spot: what it shows, or nothing if it could not look.
pub type AskNow<'a> = dyn Fn(&[u8]) -> Option<Sight> + 'a;

impl Casebook {
    /// Has the pictures of a letter looked at that came at `begun`, those that matter most first.
    pub(super) async fn look_at(&self, cut: &mut Cut, bringer: Bringer, begun: Instant) {
        let Cut { letter, contents, .. } = cut;
        let mut seen = unseen(letter, contents);
        if let Some(look) = &self.reader {
            let end = (Instant::now() + LOOK_TIME).min(begun + LOOKED_BY);
            for at in pictures(letter, contents) {
                let (is_phones, asked) = match letter.items.get(at) {
                    Some(item) => {
                        let content = scanning::content(item, &mut contents[at]).await;
                        (is_phones(&content), ask(look, bringer, &content, end).await)
                    }
                    None => {
                        let content = &letter.contained[at - letter.items.len()].content;
                        (is_phones(content), ask(look, bringer, content, end).await)
                    }
                };
                let is_costly = asked.as_ref().is_none_or(|sight| {
                    matches!(sight.refused, Some(DecodeError::Crashed | DecodeError::TimedOut))
                });
                seen[at] = asked.map(|sight| sight.to_bytes());
                // What ends children, or takes all of their time, has them for one picture; that of a phone
                // ends another program first. And a look that cannot be over in time is not begun.
                if is_costly && !is_phones || Instant::now() >= end {
                    break;
                }
            }
        }
        letter.looked(&seen);
    }
}

/// What each item shows, by a reader that is asked on the spot.
pub fn look_with(
    letter: &Letter,
    contents: &[Vec<u8>],
    reader: Option<&AskNow<'_>>,
) -> Vec<Option<Vec<u8>>> {
    let mut seen = unseen(letter, contents);
    let Some(reader) = reader else { return seen };
    let wanted = pictures(letter, contents);
    for (at, (item, stored)) in
        all(letter, contents).enumerate().filter(|(at, _)| wanted.contains(at))
    {
        let sight = match letter::is_stored_as_content(item) {
            true => reader(stored),
            false => reader(&Zeroizing::new(letter::content(item, stored))),
        };
        seen[at] = sight.map(|sight| sight.to_bytes());
    }
    seen
}

async fn ask(look: &AskReader, bringer: Bringer, content: &[u8], end: Instant) -> Option<Sight> {
    tokio::time::timeout_at(end, look(bringer, content)).await.ok().flatten()
}

fn is_phones(content: &[u8]) -> bool {
    Kind::of(content) == Some(Kind::Heif)
}

/// What is known of each item without anybody looking: a tiny picture shows nothing.
fn unseen(letter: &Letter, contents: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    let is_nothing = |item: &Item, stored: &[u8]| {
        item.role != Role::Body && letter::is_stored_as_content(item) && is_tiny(stored)
    };
    let nothing = |(item, stored)| is_nothing(item, stored).then(|| Sight::default().to_bytes());
    all(letter, contents).map(nothing).collect()
}

/// The pictures of a letter that are to be looked at, by their numbers among its items and then among
/// what was taken out of those: attachments before what a text shows, the largest first.
/// [`MOST_PICTURES`] at the most, and none that the virus scanner warns of.
pub fn pictures(letter: &Letter, contents: &[Vec<u8>]) -> Vec<usize> {
    let is_wanted = |(_, (item, stored)): &(usize, (&Item, &[u8]))| {
        item.scan != Some(Scan::Infected) && is_picture(item, stored) && !is_tiny(stored)
    };
    let mut found: Vec<_> = all(letter, contents).enumerate().filter(is_wanted).collect();
    found.sort_by_key(|(_, (item, stored))| (item.content_id.is_some(), Reverse(stored.len())));
    found.into_iter().map(|(at, _)| at).take(MOST_PICTURES).collect()
}

fn all<'a>(
    letter: &'a Letter,
    contents: &'a [Vec<u8>],
) -> impl Iterator<Item = (&'a Item, &'a [u8])> {
    let leaves = letter.items.iter().zip(contents.iter().map(Vec::as_slice));
    leaves.chain(letter.contained.iter().map(|one| (&one.item, one.content.as_slice())))
}

/// Whether an item is a picture that can be read here, by its first bytes; where those are not at hand
/// decoded, by what the parser said of them. A text that a person wrote is none.
fn is_picture(item: &Item, stored: &[u8]) -> bool {
    if item.role == Role::Body {
        return false;
    }
    if letter::is_stored_as_content(item) {
        return Kind::of(stored).is_some_and(|kind| kind != Kind::Heif || heif::is_there());
    }
    let magic = item.magic.as_deref();
    magic.is_some_and(|magic| is_read(magic) || magic == "image/heic" && heif::is_there())
}

/// Whether pictures of this media type are read.
#[must_use]
pub fn is_read(media_type: &str) -> bool {
    let read =
        ["image/jpeg", "image/jpg", "image/png", "image/webp", "image/tiff", "application/pdf"];
    read.contains(&media_type)
}

/// Whether items of this media type may show an identity document, read or not.
#[must_use]
pub fn may_show(media_type: &str) -> bool {
    is_read(media_type) || media_type.starts_with("image/")
}

/// Whether a picture says of itself that it is tiny.
fn is_tiny(content: &[u8]) -> bool {
    let sides = match Kind::of(content) {
        Some(Kind::Raster(_)) => png(content).or_else(|| jpeg(content)),
        Some(_) => None,
        None => gif(content),
    };
    sides.is_some_and(|(width, height)| width <= TINY && height <= TINY)
}

/// The sides that a PNG claims.
fn png(content: &[u8]) -> Option<(u32, u32)> {
    let side = |at: usize| Some(u32::from_be_bytes(content.get(at..at + 4)?.try_into().ok()?));
    content.starts_with(b"\x89PNG").then(|| Some((side(16)?, side(20)?))).flatten()
}

/// The sides that a GIF claims.
fn gif(content: &[u8]) -> Option<(u32, u32)> {
    let side =
        |at: usize| Some(u32::from(u16::from_le_bytes(content.get(at..at + 2)?.try_into().ok()?)));
    content.starts_with(b"GIF8").then(|| Some((side(6)?, side(8)?))).flatten()
}

/// The sides that a JPEG claims, in the first frame header.
fn jpeg(content: &[u8]) -> Option<(u32, u32)> {
    let word =
        |at: usize| Some(u32::from(u16::from_be_bytes(content.get(at..at + 2)?.try_into().ok()?)));
    let mut at = 2;
    for _ in 0..MOST_SEGMENTS {
        match content.get(at..at + 2)? {
            [0xff, 0xc4 | 0xc8 | 0xcc] => {}
            [0xff, 0xc0..=0xcf] => return Some((word(at + 7)?, word(at + 5)?)),
            [0xff, _] => {}
            _ => return None,
        }
        at += 2 + word(at + 2)? as usize;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter with these files: each whether a text shows it, and its bytes.
    fn letter(files: &[(bool, &[u8])]) -> (Letter, Vec<Vec<u8>>) {
        let mut letter = Letter::unparsed(b"");
        let item = letter.items.remove(0);
        for (is_inline, bytes) in files {
            let content_id = is_inline.then(|| crate::secret::Personal::new("logo".to_owned()));
            letter.items.push(Item { content_id, end: bytes.len(), ..item.clone() });
        }
        (letter, files.iter().map(|(_, bytes)| bytes.to_vec()).collect())
    }

    fn png_of(width: u32, height: u32, length: usize) -> Vec<u8> {
        let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
        [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), sides, vec![0; length]].concat()
    }

    fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
        let table = b"\xff\xd8\xff\xe0\0\x04ab\xff\xc4\0\x03c\xff\xc2\0\x0b\x08";
        [&table[..], &height.to_be_bytes(), &width.to_be_bytes(), &[0; 30]].concat()
    }

    #[test]
    fn attachments_come_before_logos_and_larger_ones_first() {
        let (small, large) = (png_of(900, 600, 10), png_of(900, 600, 500));
        let files: [(bool, &[u8]); 7] = [
            (true, &large),
            (false, b"Beste"),
            (false, &small),
            (false, b"%PDF-1.7 and some more pages"),
            (false, &large),
            (false, b"GIF89a"),
            (false, b"\0\0\0\x18ftypheic"),
        ];
        let (mut letter, contents) = letter(&files);
        // What a phone makes, where the program is that reads it.
        let phone = Some(6).filter(|_| heif::is_there());
        let found: Vec<usize> = [4, 2, 3].into_iter().chain(phone).chain([0]).collect();
        assert_eq!(pictures(&letter, &contents), found);
        letter.items[4].scan = Some(Scan::Infected);
        letter.items[2].role = Role::Body;
        let left: Vec<usize> = found.into_iter().filter(|nr| ![4, 2].contains(nr)).collect();
        assert_eq!(pictures(&letter, &contents), left);
    }

    #[test]
    fn a_hundred_pictures_are_eight_and_a_tiny_one_is_none_and_known() {
        let picture = png_of(900, 600, 10);
        let files = vec![(false, picture.as_slice()); 100];
        let (letter_of_many, contents) = letter(&files);
        assert_eq!(pictures(&letter_of_many, &contents).len(), MOST_PICTURES);
        assert!(unseen(&letter_of_many, &contents).iter().all(Option::is_none));
        let (logo, sign) = (png_of(40, 40, 900), jpeg_of(120, 80));
        let (wide, high) = (png_of(40, 400, 900), jpeg_of(161, 80));
        let (dot, banner) = (b"GIF89a\x01\0\x01\0\x80", b"GIF89a\x58\x02\x50\0\x80");
        let files: [&[u8]; 6] = [&logo, &sign, &wide, &high, dot, banner];
        let (letter, contents) = letter(&files.map(|file| (false, file)));
        let known: Vec<bool> = unseen(&letter, &contents).iter().map(Option::is_some).collect();
        assert_eq!(known, [true, true, false, false, true, false]);
        let mut wanted = pictures(&letter, &contents);
        wanted.sort_unstable();
        assert_eq!(wanted, [2, 3]);
    }

    #[test]
    fn sides_are_read_of_what_breaks_off_or_lies_without_harm() {
        let whole = jpeg_of(40, 40);
        assert_eq!(jpeg(&whole), Some((40, 40)));
        for length in 0..whole.len() {
            let _ = (
                jpeg(&whole[..length]),
                png(&whole[..length]),
                gif(&b"GIF89a\0\0\0\0"[..length.min(10)]),
            );
        }
        // A segment of no length leads nowhere, and not for ever.
        let still = [&b"\xff\xd8"[..], &b"\xff\xe0\0\0".repeat(100)].concat();
        assert_eq!(jpeg(&still), None);
        assert_eq!(png(b"\x89PNG\r\n\x1a\n\0\0"), None);
    }
}
