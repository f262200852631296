//! From the bytes of a file to grey pixels, right side up.
//!
//! What a file claims is looked at before anything is taken from memory; what it is, is told by its
//! first bytes and never by its name. PDF pages are drawn.

use std::io::Cursor;
use std::sync::Arc;

use hayro::hayro_interpret::InterpreterSettings;
use hayro::hayro_syntax::Pdf;
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use minicbor::{Decode, Encode};

use super::Grey;

/// Pixels that a picture may claim.
pub const MOST_PIXELS: u64 = 50_000_000;
/// Bytes that decoding one may take.
pub const MOST_BYTES: u64 = 256 << 20;
/// Pages of a PDF that are drawn.
pub const MOST_PAGES: usize = 3;
/// The longer side of what is read: a letter of a card that fills it is 60 pixels high.
pub const MOST_EDGE: usize = 3000;

/// Dots of an inch at which a page is drawn, and points of an inch.
const DOTS: f32 = 220.0;
const POINTS: f32 = 72.0;

/// Why a file gives no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum DecodeError {
    /// No kind of picture that is read here.
    #[n(0)]
    #[error("it is no JPEG, PNG, WebP, TIFF or PDF")]
    NoPicture,
    /// It claims more pixels than are read.
    #[n(1)]
    #[error("it claims more than 50 million pixels")]
    TooLarge,
    /// It breaks off, or is not what it says.
    #[n(2)]
    #[error("it is damaged")]
    Damaged,
    /// It ended the child that read it.
    #[n(3)]
    #[error("the confined child crashed")]
    Crashed,
    /// The child did not come to an end with it.
    #[n(4)]
    #[error("the confined child ran out of time")]
    TimedOut,
}

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of the kinds that one decoder reads.
    Raster(ImageFormat),
    /// Pages.
    Pdf,
    /// What phones of one maker take. Another program makes a JPEG of it first (`sandbox::heif`).
    Heif,
}

impl Kind {
    /// The kind of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let begins = |with: &[u8]| bytes.starts_with(with);
        if begins(b"\xff\xd8\xff") {
            Some(Self::Raster(ImageFormat::Jpeg))
        } else if begins(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Raster(ImageFormat::Png))
        } else if begins(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Some(Self::Raster(ImageFormat::WebP))
        } else if begins(b"II*\0") || begins(b"MM\0*") {
            Some(Self::Raster(ImageFormat::Tiff))
        } else if bytes.get(4..8) == Some(b"ftyp")
            && [b"heic", b"heix", b"mif1", b"hevc", b"heim"]
                .iter()
                .any(|brand| bytes.get(8..12) == Some(*brand))
        {
            Some(Self::Heif)
        } else if bytes[..bytes.len().min(1024)].windows(5).any(|part| part == b"%PDF-") {
            Some(Self::Pdf)
        } else {
            None
        }
    }
}

/// Pages of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Grey, right side up, at most [`MOST_EDGE`] long.
    pub drawn: Vec<Grey>,
    /// Whether there are others behind them.
    pub has_more: bool,
}

/// [`MOST_PAGES`] pages of a PDF behind the first `skipped`, or the picture that is first in any other file.
///
/// # Errors
/// See [`DecodeError`].
pub fn pages(bytes: &[u8], skipped: usize) -> Result<Pages, DecodeError> {
    match Kind::of(bytes) {
        Some(Kind::Raster(format)) => {
            let has_more = format == ImageFormat::Tiff && has_second_directory(bytes);
            Ok(Pages { drawn: vec![raster(bytes, format)?], has_more })
        }
        Some(Kind::Pdf) => pdf(bytes, skipped),
        Some(Kind::Heif) | None => Err(DecodeError::NoPicture),
    }
}

/// Whether a TIFF has a second picture, or may have one: a file of which that cannot be told has one
/// (TIFF 6.0, section 2: the place of the next directory stands behind the entries of the first).
fn has_second_directory(bytes: &[u8]) -> bool {
    const ENTRY: usize = 12;
    let is_little = bytes.starts_with(b"II");
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
        Some(match is_little {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        })
    };
    let next = || {
        let first = number(4, 4)?;
        let entries = number(first, 2)?;
        number(first + 2 + entries * ENTRY, 4)
    };
    next() != Some(0)
}

fn raster(bytes: &[u8], format: ImageFormat) -> Result<Grey, DecodeError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|_| DecodeError::Damaged)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS || decoder.total_bytes() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    if width == 0 || height == 0 {
        return Err(DecodeError::Damaged);
    }
    let orientation = decoder.orientation().map_err(|_| DecodeError::Damaged)?;
    let decoded = DynamicImage::from_decoder(decoder).map_err(|_| DecodeError::Damaged)?;
    let decoded = on_white(decoded);
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let small = Grey { width, height, pixels: decoded.into_raw() }.within(MOST_EDGE);
    let turned = image::GrayImage::from_raw(small.width as u32, small.height as u32, small.pixels);
    let mut turned = DynamicImage::ImageLuma8(turned.ok_or(DecodeError::Damaged)?);
    turned.apply_orientation(orientation);
    let (width, height) = (turned.width() as usize, turned.height() as usize);
    Ok(Grey { width, height, pixels: turned.into_luma8().into_raw() })
}

/// Grey; what shows through lies on white paper.
fn on_white(decoded: DynamicImage) -> image::GrayImage {
    if !decoded.color().has_alpha() {
        return decoded.into_luma8();
    }
    let both = decoded.into_luma_alpha8();
    let (width, height) = both.dimensions();
    let mix = |pair: &[u8]| {
        let (shade, cover) = (u32::from(pair[0]), u32::from(pair[1]));
        ((shade * cover + 255 * (255 - cover)) / 255) as u8
    };
    let pixels = both.as_raw().chunks_exact(2).map(mix).collect();
    image::GrayImage::from_raw(width, height, pixels).unwrap_or_default()
}

fn pdf(bytes: &[u8], skipped: usize) -> Result<Pages, DecodeError> {
    let pdf = Pdf::new(Arc::new(bytes.to_vec())).map_err(|_| DecodeError::Damaged)?;
    let cache = RenderCache::new();
    let interpreter = InterpreterSettings::default();
    let mut drawn = Vec::new();
    for page in pdf.pages().iter().skip(skipped).take(MOST_PAGES) {
        let (width, height) = page.render_dimensions();
        let edge = width.max(height);
        if !edge.is_finite() || width < 1.0 || height < 1.0 {
            return Err(DecodeError::Damaged);
        }
        // A page of any size is drawn as large as can be read, and no larger.
        let scale = (DOTS / POINTS).min(MOST_EDGE as f32 / edge);
        let settings = PixmapSettings { x_scale: scale, y_scale: scale, bg_color: WHITE };
        let pixels =
            hayro::render(page, &cache, &interpreter, &RenderSettings::default(), &settings);
        let (width, height) = (usize::from(pixels.width()), usize::from(pixels.height()));
        let grey = |pixel: &[u8]| {
            let [red, green, blue] = [0, 1, 2].map(|part| u32::from(pixel[part]));
            ((red * 299 + green * 587 + blue * 114) / 1000) as u8
        };
        let pixels = pixels.data_as_u8_slice().chunks_exact(4).map(grey).collect();
        drawn.push(Grey { width, height, pixels });
    }
    let has_more = pdf.pages().len() > skipped.saturating_add(drawn.len());
    if drawn.is_empty() { Err(DecodeError::Damaged) } else { Ok(Pages { drawn, has_more }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32, alpha: bool) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        let picture = if alpha {
            DynamicImage::new_rgba8(width, height)
        } else {
            DynamicImage::new_luma8(width, height)
        };
        picture.write_to(&mut out, ImageFormat::Png).expect("is written");
        out.into_inner()
    }

    #[test]
    fn a_picture_becomes_grey_and_what_shows_through_white() {
        let one = |alpha| pages(&png(40, 30, alpha), 0).expect("is one");
        let drawn = |shade| vec![Grey::new(40, 30, shade)];
        assert_eq!(one(false), Pages { drawn: drawn(0), has_more: false });
        assert_eq!(one(true), Pages { drawn: drawn(255), has_more: false });
    }

    /// Wide, its left half black, in this format.
    fn half(format: ImageFormat) -> Vec<u8> {
        let mut picture = image::GrayImage::from_pixel(64, 32, image::Luma([255]));
        for (x, _, pixel) in picture.enumerate_pixels_mut() {
            pixel.0[0] = if x < 32 { 0 } else { 255 };
        }
        let mut out = Cursor::new(Vec::new());
        let picture = DynamicImage::from(picture).into_rgb8();
        picture.write_to(&mut out, format).expect("is written");
        out.into_inner()
    }

    #[test]
    fn every_format_is_read() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff] {
            let drawn = pages(&half(format), 0).expect("is one").drawn.remove(0);
            assert_eq!((drawn.width, drawn.height), (64, 32), "{format:?}");
            assert!(drawn.at((8.0, 16.0)) < 20.0 && drawn.at((56.0, 16.0)) > 235.0, "{format:?}");
        }
    }

    /// What a camera says of how it was held (EXIF 2.32, tag 0x0112): where the black half is then.
    #[test]
    fn a_picture_is_put_as_its_camera_says_before_it_is_read() {
        let jpeg = half(ImageFormat::Jpeg);
        let (left, right, top, below) = ((8.0, 16.0), (56.0, 16.0), (16.0, 8.0), (16.0, 56.0));
        for (orientation, black, white) in [
            (1u8, left, right),
            (2, right, left),
            (3, right, left),
            (4, left, right),
            (5, top, below),
            (6, top, below),
            (7, below, top),
            (8, below, top),
        ] {
            let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
            exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
            let length = (exif.len() as u16 + 2).to_be_bytes();
            let with = [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat();
            let drawn = pages(&with, 0).expect("is one").drawn.remove(0);
            let is_turned = orientation > 4;
            let sides = if is_turned { (32, 64) } else { (64, 32) };
            assert_eq!((drawn.width, drawn.height), sides, "{orientation}");
            assert!(drawn.at(black) < 20.0 && drawn.at(white) > 235.0, "{orientation}");
        }
    }

    #[test]
    fn a_claim_is_refused_before_anything_is_taken_for_it() {
        let mut claims = png(8, 8, false);
        claims[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        // The sum of the header is wrong now, too; either is reason enough.
        assert!(pages(&claims, 0).is_err());
        for bytes in [&b""[..], b"text", b"\xff\xd8\xff", b"%PDF-1.4", b"II*\0", b"RIFF0000WEBP"] {
            assert!(pages(bytes, 0).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_tiff_with_another_page_or_one_that_breaks_off_has_more_than_is_drawn() {
        let mut file = Cursor::new(Vec::new());
        DynamicImage::new_luma8(40, 30).write_to(&mut file, ImageFormat::Tiff).expect("is written");
        let file = file.into_inner();
        assert!(file.starts_with(b"II") && !pages(&file, 0).expect("is one").has_more);
        let first = u32::from_le_bytes(file[4..8].try_into().expect("four")) as usize;
        let entries = u16::from_le_bytes(file[first..first + 2].try_into().expect("two"));
        let next = first + 2 + 12 * usize::from(entries);
        let mut two = file.clone();
        two[next] = 8;
        assert!(pages(&two, 0).expect("is one").has_more);
        // The other order of bytes, by hand: no entries, then where the next directory is.
        let big = |next: u8| [b"MM\0*\0\0\0\x08\0\0\0\0\0".as_slice(), &[next]].concat();
        assert!(has_second_directory(&big(9)) && !has_second_directory(&big(0)));
        for length in 0..next + 4 {
            assert!(has_second_directory(&file[..length]), "{length}: nobody knows");
        }
    }

    #[test]
    fn the_kind_is_told_by_the_first_bytes() {
        assert_eq!(Kind::of(b"\xff\xd8\xff\xe0"), Some(Kind::Raster(ImageFormat::Jpeg)));
        assert_eq!(Kind::of(b"\0\0\0\x18ftypheic\0\0"), Some(Kind::Heif));
        assert_eq!(Kind::of(b"junk%PDF-1.7"), Some(Kind::Pdf));
        assert_eq!(Kind::of(b"<svg>"), None);
    }
}
