//! Masked pictures: no reader finds a zone, a number or a birth date in one, no decoder a code, nobody a
//! word in the file, and no pixel is lit but where a name, the validity or the issuer was drawn.

mod hidden;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use kluis::identity::picture::decode::DecodeError;
use pictures::{Part, Picture, Third, canvas, degrade};
use serde_json::Value;
use tempfile::TempDir;

use crate::heif::heic;

/// Whether what a test needs is there; a line that says that it was skipped if not.
pub(crate) fn can_run(test: &str) -> bool {
    let folder = std::env::var_os("KLUIS_MODELS")
        .map_or_else(|| PathBuf::from("/usr/share/kluis/models"), PathBuf::from);
    let has_models = folder.join("ch_PP-OCRv4_rec_infer.onnx").exists();
    let has_fonts = canvas::FONTS.iter().all(|font| Path::new(font).exists());
    if !has_models {
        println!("SKIPPED {test} the models are not there: kluis doctor --fetch-models");
    } else if !has_fonts {
        println!("SKIPPED {test} fonts-ocr-b, fonts-liberation2 or fonts-dejavu-core is missing");
    }
    has_models && has_fonts
}

fn has_program(test: &str, program: &str) -> bool {
    let found = Command::new(program).arg("--version").stderr(Stdio::null()).output().is_ok();
    if !found {
        println!("SKIPPED {test} {program} is not installed");
    }
    found
}

/// What `kluis id` says of a file, once it had the time to read it: what nobody read proves nothing.
fn id(path: &Path, more: &[&str]) -> Value {
    // One at a time: two that share a processor with other tests take twice as long, and may be late.
    static TURN: Mutex<()> = Mutex::new(());
    for _ in 0..TRIES {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = Command::new(env!("CARGO_BIN_EXE_kluis"));
        let output = command.args(["id", "--json"]).arg(path).args(more).output().expect("runs");
        let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        let said: Value = serde_json::from_slice(&text).expect("is JSON");
        if said["reason"] != DecodeError::TimedOut.to_string() {
            return said;
        }
        if let [.., "-o", written] = more {
            fs::remove_file(written).expect("is there, all black");
        }
    }
    panic!("not read within {TRIES} times 20 seconds");
}

/// A picture and its mask, in a folder.
struct Masked {
    _folder: TempDir,
    original: PathBuf,
    mask: PathBuf,
    said: Value,
}

fn masked(bytes: &[u8]) -> Masked {
    let folder = TempDir::new().expect("a folder");
    let (original, mask) = (folder.path().join("original"), folder.path().join("mask.png"));
    fs::write(&original, bytes).expect("is written");
    let said = id(&original, &["--mask", "-o", mask.to_str().expect("is text")]);
    Masked { _folder: folder, original, mask, said }
}

/// How often a file is read whose time was over.
pub(crate) const TRIES: u32 = 8;

/// The kinds of the chunks of a PNG, repeated ones once.
pub(crate) fn chunks(png: &[u8]) -> Vec<String> {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let mut at = 8;
    let mut kinds = Vec::new();
    while at < png.len() {
        let length = u32::from_be_bytes(png[at..at + 4].try_into().expect("four")) as usize;
        kinds.push(String::from_utf8_lossy(&png[at + 4..at + 8]).into_owned());
        at += length + 12;
    }
    assert_eq!(at, png.len(), "nothing stands behind the last chunk");
    kinds.dedup();
    kinds
}

pub(crate) const PIXELS_ALONE: [&str; 3] = ["IHDR", "IDAT", "IEND"];

impl Masked {
    fn shown(&self) -> Vec<&str> {
        let shown = self.said["masked"]["shown"].as_array().expect("is masked");
        shown.iter().map(|what| what.as_str().expect("a word")).collect()
    }
}

/// Codes that a decoder finds.
fn codes(path: &Path) -> Vec<String> {
    let read = Command::new("zbarimg").args(["--quiet", "--raw"]).arg(path).output();
    let read = String::from_utf8(read.expect("runs").stdout).expect("UTF-8");
    read.lines().map(str::to_owned).collect()
}

/// Nobody reads more than names, validity and issuer in the mask of this picture.
fn is_hidden(picture: &Picture, of: &Masked) {
    let truth = &picture.truth;
    let kind = &picture.kind;
    let png = fs::read(&of.mask).expect("is written");
    assert_eq!(chunks(&png), PIXELS_ALONE, "{kind}");
    let again = id(&of.mask, &[]);
    let format = again["format"].as_str().unwrap_or("none");
    assert!(matches!(format, "none" | "front"), "{kind}: a zone in {again}");
    for field in ["document_number", "birth_date", "sex", "nationality"] {
        assert_eq!(again["fields"][field], Value::Null, "{kind}: {again}");
    }
    // Every line, whatever it may be: no number, and none with digits but the last day of validity.
    let days = usize::from(of.shown().contains(&"expiry_date"));
    for lines in [hidden::lines(&of.mask), hidden::other_lines(&of.mask)] {
        assert_eq!(hidden::numbers(truth, &lines), Vec::<String>::new(), "{kind}: {lines:?}");
        assert!(hidden::with_digits(&lines) <= days, "{kind}: {lines:?}");
    }
    assert_eq!(codes(&of.mask), Vec::<String>::new(), "{kind}");
    let mask = image::open(&of.mask).expect("is a picture").into_luma8();
    assert_eq!(hidden::lit(picture, &mask), (Vec::new(), 0), "{kind}: lit, and pixels astray");
}

/// What was looked for in the mask is found in the picture itself: else it proves nothing that it is
/// not in the mask.
fn is_found_unmasked(picture: &Picture, of: &Masked) {
    let kind = &picture.kind;
    let read = id(&of.original, &[]);
    for (field, value) in picture.truth.fields() {
        let value = Some(value).filter(|value| !value.is_empty());
        assert_eq!(read["fields"][field].as_str(), value, "{kind}: {field} in {read}");
    }
    let found = hidden::numbers(&picture.truth, &hidden::lines(&of.original));
    assert!(found.len() >= 4, "{kind}: {found:?}");
}

/// A picture of a third by its number, which design it is, and what is shown of it.
type One = (Third, u64, &'static str, &'static [&'static str]);

/// Pictures that hide all but what is shown: just that of those that are easy to read, of others more
/// or less, as they are read.
fn all_hide(test: &str, set: &[One]) {
    if !can_run(test) || !has_program(test, "zbarimg") || !has_program(test, "tesseract") {
        return;
    }
    for (third, nr, kind, expected) in set {
        let picture = pictures::picture(*third, *nr);
        assert_eq!(picture.kind, *kind, "another picture than was meant");
        let of = masked(&picture.bytes);
        is_hidden(&picture, &of);
        if *third == Third::Easy {
            is_found_unmasked(&picture, &of);
            assert_eq!(of.shown(), *expected, "{kind}");
        }
        let is_shown = |what: &&&str| of.shown().contains(*what);
        assert_eq!(expected.iter().filter(is_shown).count(), expected.len(), "{kind}: {}", of.said);
    }
}

const NAMES: &[&str] = &["surname", "given_names"];
const ALL: &[&str] = &["surname", "given_names", "expiry_date"];
const ALL_AND_ISSUER: &[&str] = &["surname", "given_names", "expiry_date", "issuer"];

#[test]
fn of_cards_that_are_easy_to_read_names_and_validity_are_left() {
    let test = "of_cards_that_are_easy_to_read_names_and_validity_are_left";
    let set: [One; 5] = [
        (Third::Easy, 0, "old french, straight", &["surname", "given_names", "issuer"]),
        (Third::Easy, 4, "residence card, back, straight", &[]),
        (Third::Easy, 9, "passport, straight", ALL_AND_ISSUER),
        (Third::Easy, 12, "td1, both sides, straight", ALL),
        (Third::Easy, 13, "be new, both sides, straight", ALL),
    ];
    all_hide(test, &set);
}

#[test]
fn of_cards_on_a_desk_nothing_else_is_left() {
    let test = "of_cards_on_a_desk_nothing_else_is_left";
    let set: [One; 2] = [
        (Third::Middle, 1, "td2, on a desk", NAMES),
        (Third::Middle, 7, "be old, back, on a desk", &[]),
    ];
    all_hide(test, &set);
}

#[test]
fn of_poor_pictures_and_scans_nothing_else_is_left() {
    let test = "of_poor_pictures_and_scans_nothing_else_is_left";
    let set: [One; 5] = [
        (Third::Hard, 3, "be old, both sides, glare", &[]),
        (Third::Hard, 4, "be new, back, photocopy", &[]),
        (Third::Hard, 6, "td1, back, page", &[]),
        (Third::Hard, 12, "be new, back, motion", &[]),
        (Third::Hard, 13, "residence card, both sides, PDF scan", &[]),
    ];
    all_hide(test, &set);
}

#[test]
fn every_part_of_a_picture_is_where_it_is_said_to_be_drawn() {
    let test = "every_part_of_a_picture_is_where_it_is_said_to_be_drawn";
    if !can_run(test) {
        return;
    }
    let of = |third, numbers: &[u64]| -> Vec<Picture> {
        numbers.iter().map(|nr| pictures::picture(third, *nr)).collect()
    };
    let mut all = of(Third::Easy, &[0, 9, 12]);
    all.extend(of(Third::Middle, &[1, 7]));
    all.extend(of(Third::Hard, &[4, 6, 12, 13]));
    all.push(pictures::coded(0).0);
    let mut seen = Vec::new();
    for picture in all {
        assert!(picture.places.len() >= 2, "{}", picture.kind);
        for (part, contrast) in hidden::contrasts(&picture) {
            assert!(contrast > 40, "{}: {part:?} {contrast}", picture.kind);
            seen.push(part);
        }
        // A picture that is not masked is lit everywhere.
        if picture.extension != "pdf" {
            let white = image::GrayImage::from_pixel(300, 300, image::Luma([255]));
            let (lit, astray) = hidden::lit(&picture, &white);
            let is_hidden = |part: &&Part| !part.may_be_shown();
            let places = picture.places.iter().map(|place| &place.part).filter(is_hidden);
            assert!(places.into_iter().all(|part| lit.contains(part)) && astray > 9_000);
        }
    }
    for part in [Part::Surname, Part::Issuer, Part::Photo, Part::Zone, Part::Code, Part::National] {
        assert!(seen.contains(&part), "{part:?}");
    }
}

#[test]
fn of_altered_cards_nothing_else_is_left() {
    let test = "of_altered_cards_nothing_else_is_left";
    if !can_run(test) || !has_program(test, "zbarimg") || !has_program(test, "tesseract") {
        return;
    }
    for (nr, kind) in [(1, "be old, both sides, straight"), (5, "passport, straight")] {
        let picture = pictures::altered(nr);
        assert_eq!(picture.kind, kind);
        is_hidden(&picture, &masked(&picture.bytes));
    }
}

#[test]
fn codes_that_a_decoder_finds_in_a_picture_are_not_in_its_mask() {
    let test = "codes_that_a_decoder_finds_in_a_picture_are_not_in_its_mask";
    if !can_run(test) || !has_program(test, "zbarimg") || !has_program(test, "tesseract") {
        return;
    }
    for nr in 0..2 {
        let (picture, national) = pictures::coded(nr);
        let of = masked(&picture.bytes);
        let found = codes(&of.original);
        assert!(found.contains(&national), "the QR code: {found:?}");
        assert!(found.contains(&format!("0{national}")), "the bars: {found:?}");
        // Bars just below the surname do not hide it, and are not seen with it.
        assert!(of.shown().contains(&"surname"), "{:?}", of.shown());
        is_hidden(&picture, &of);
    }
}

#[test]
fn a_picture_of_a_phone_is_masked_like_any_other() {
    let test = "a_picture_of_a_phone_is_masked_like_any_other";
    if !can_run(test) || !has_program(test, "zbarimg") || !has_program(test, "tesseract") {
        return;
    }
    let picture = pictures::picture(Third::Easy, 9);
    let Some(bytes) = heic(test, &picture.bytes) else { return };
    let of = masked(&bytes);
    assert!(ALL.iter().all(|what| of.shown().contains(what)), "{}", of.said);
    is_hidden(&Picture { bytes, ..picture }, &of);
}

/// What must be in no mask.
const SECRET: &str = "85073003328";

/// A JPEG with all that one can carry besides pixels: a position, a thumbnail, words.
fn laden(jpeg: &[u8], thumbnail: &[u8]) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x0e\0\x02\0\0\0\x0c\0\0\0\x1a\0\0\0\x26".to_vec();
    tiff.extend(SECRET.as_bytes());
    tiff.push(0);
    // The second directory: a thumbnail of so many bytes, behind it.
    tiff.extend(b"\0\x02\x02\x01\0\x04\0\0\0\x01\0\0\0\x44\x02\x02\0\x04\0\0\0\x01");
    tiff.extend((thumbnail.len() as u32).to_be_bytes());
    tiff.extend([0; 4]);
    assert_eq!(tiff.len(), 0x44);
    tiff.extend(thumbnail);
    let exif = [b"Exif\0\0".to_vec(), tiff].concat();
    let words = |start: &[u8]| [start, b"<words>", SECRET.as_bytes(), b"</words>"].concat();
    let mut out = jpeg[..2].to_vec();
    for (mark, content) in [
        (0xe1, exif),
        (0xe1, words(b"http://ns.adobe.com/xap/1.0/\0")),
        (0xe2, words(b"ICC_PROFILE\0\x01\x01")),
        (0xed, words(b"Photoshop 3.0\0")),
        (0xfe, words(b"")),
    ] {
        out.extend([0xff, mark]);
        out.extend((content.len() as u16 + 2).to_be_bytes());
        out.extend(content);
    }
    out.extend(&jpeg[2..]);
    out.extend(SECRET.as_bytes());
    out
}

/// A PNG with words in it, before and behind its pixels.
fn laden_png(png: &[u8]) -> Vec<u8> {
    let chunk = |kind: &[u8], content: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(content);
        let length = (content.len() as u32).to_be_bytes();
        [&length[..], kind, content, &crc.sum().to_be_bytes()].concat()
    };
    let text = [b"Comment\0", SECRET.as_bytes()].concat();
    let international = [b"XML:com.adobe.xmp\0\0\0\0\0", SECRET.as_bytes()].concat();
    let header = 8 + 25;
    [
        &png[..header],
        &chunk(b"tEXt", &text),
        &chunk(b"iTXt", &international),
        &chunk(b"eXIf", &[b"MM\0*\0\0\0\x08\0\0\0\0\0\0", SECRET.as_bytes()].concat()),
        &png[header..],
        SECRET.as_bytes(),
    ]
    .concat()
}

#[test]
fn nothing_that_a_file_carries_beside_its_pixels_is_in_the_mask() {
    let test = "nothing_that_a_file_carries_beside_its_pixels_is_in_the_mask";
    if !can_run(test) {
        return;
    }
    let mut page = canvas::Canvas::new(900, 560, [235; 3]);
    for (nr, (label, value)) in [
        ("Surname", "Peeters"),
        ("Given names", "Lotte"),
        ("Date of birth", "30.07.1985"),
        ("Expiry date", "14.07.2031"),
    ]
    .iter()
    .enumerate()
    {
        let y = 90.0 + 90.0 * nr as f32;
        page.text(canvas::Face::Sans, 22.0, (60.0, y), [60; 3], label);
        page.text(canvas::Face::SansBold, 38.0, (60.0, y + 38.0), [10; 3], value);
    }
    page.text(canvas::Face::SansBold, 40.0, (60.0, 46.0), [10; 3], "IDENTITY CARD");
    let jpeg = degrade::jpeg(&page, 90);
    for file in [laden(&jpeg, &jpeg), laden_png(&degrade::png(&page))] {
        let of = masked(&file);
        assert_eq!(of.shown(), ["surname", "given_names", "expiry_date"], "{}", of.said);
        let png = fs::read(&of.mask).expect("is written");
        assert_eq!(chunks(&png), PIXELS_ALONE);
        for word in [SECRET.as_bytes(), b"Exif", b"Adobe", b"adobe", b"ICC", b"\xff\xd8\xff"] {
            assert!(!png.windows(word.len()).any(|part| part == word), "{word:?}");
        }
        assert!(png.len() < 20_000, "{} bytes", png.len());
        let mode = fs::metadata(&of.mask).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_pdf_gives_its_first_three_pages_and_a_file_that_is_there_is_kept() {
    let test = "a_pdf_gives_its_first_three_pages_and_a_file_that_is_there_is_kept";
    if !can_run(test) {
        return;
    }
    let page = |name: &str, number: &str| {
        let mut page = canvas::Canvas::new(900, 636, [250; 3]);
        page.text(canvas::Face::Sans, 24.0, (90.0, 120.0), [60; 3], "Surname");
        page.text(canvas::Face::SansBold, 44.0, (90.0, 164.0), [10; 3], name);
        page.text(canvas::Face::Sans, 24.0, (90.0, 240.0), [60; 3], "National Register No");
        page.text(canvas::Face::SansBold, 44.0, (90.0, 284.0), [10; 3], number);
        degrade::jpeg(&page, 90)
    };
    // The second has a number where the name should be, and more than the name beside it.
    let pages = [
        page("Peeters", SECRET),
        page("85.07.30-033.28", SECRET),
        page("Claes 85073003328", SECRET),
        page("Janssens", SECRET),
    ];
    // Small pages: drawing large ones takes long in a build for tests.
    let mut pdf = degrade::pdf(&pages);
    for (large, small) in [("[0 0 595 842]", "[0 0 297 210]"), ("q 595 0 0 842", "q 297 0 0 210")] {
        let (large, small) = (large.as_bytes(), small.as_bytes());
        while let Some(at) = pdf.windows(large.len()).position(|part| part == large) {
            pdf[at..at + small.len()].copy_from_slice(small);
        }
    }
    let of = masked(&pdf);
    let png = image::open(&of.mask).expect("is a picture").into_luma8();
    let (width, height) = png.dimensions();
    assert_eq!(of.shown(), ["surname"], "{}", of.said);
    let each = (height - 16) / 3;
    assert!(width <= 1600 && each <= 1600 && each < width, "{width} {height}");
    let lit = |from: u32| {
        let rows = (from..from + each).flat_map(|y| (0..width).map(move |x| (x, y)));
        rows.filter(|(x, y)| png.get_pixel(*x, *y).0[0] > 0).count()
    };
    let of_page = [lit(0), lit(each + 8), lit(2 * (each + 8))];
    assert!(of_page[0] > 500, "{of_page:?}");
    assert_eq!(of_page[1..], [0, 0], "a number is shown");
    // Nothing is overwritten, and nothing is left of what was not finished.
    let before = fs::read(&of.mask).expect("is there");
    let again = id(&of.original, &["--mask", "-o", of.mask.to_str().expect("is text")]);
    assert!(again["error"].is_string(), "{again}");
    assert_eq!(fs::read(&of.mask).expect("is there"), before);
    let folder = of.mask.parent().expect("in a folder");
    assert_eq!(fs::read_dir(folder).expect("is listed").count(), 2);
}

#[test]
fn a_driving_licence_is_not_taken_for_another_picture_and_is_all_black() {
    let test = "a_driving_licence_is_not_taken_for_another_picture_and_is_all_black";
    if !can_run(test) {
        return;
    }
    let rows = [
        "1. Peeters",
        "2. Lotte",
        "3. 30.07.1985 Genk",
        "4a. 14.07.2021   4c. Stad Genk",
        "4b. 14.07.2031",
        "5. 1234567890",
    ];
    let drawn = |rows: &[&str]| {
        let mut page = canvas::Canvas::new(1000, 620, [236, 222, 226]);
        page.text(canvas::Face::SansBold, 44.0, (340.0, 70.0), [40, 60, 120], "RIJBEWIJS");
        for (nr, row) in rows.iter().enumerate() {
            let at = (340.0, 150.0 + 66.0 * nr as f32);
            page.text(canvas::Face::Sans, 36.0, at, [20; 3], row);
        }
        masked(&degrade::jpeg(&page, 90))
    };
    let of = drawn(&rows);
    assert_eq!(
        (of.said["verdict"].as_str(), of.shown()),
        (Some("unreadable"), vec![]),
        "{}",
        of.said
    );
    let png = image::open(&of.mask).expect("is a picture").into_luma8();
    assert!(png.pixels().all(|pixel| pixel.0 == [0]));
    // The word alone makes no licence: a CV has it.
    let of = drawn(&rows[..2]);
    assert_eq!(of.said["verdict"], "not a document", "{}", of.said);
}

#[test]
fn what_nobody_read_is_all_black() {
    let nowhere = TempDir::new().expect("a folder");
    let file = nowhere.path().join("card.jpg");
    let mut page = canvas::Canvas::new(400, 300, [200; 3]);
    page.rectangle(10, 10, 200, 100, [20; 3]);
    for (bytes, models) in [
        (degrade::jpeg(&page, 80), Some(nowhere.path())),
        (b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(), None),
        (degrade::jpeg(&page, 80)[..60].to_vec(), None),
    ] {
        let mask = nowhere.path().join("mask.png");
        let _ = fs::remove_file(&mask);
        fs::write(&file, bytes).expect("is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kluis"));
        command.arg("id").arg(&file).arg("--mask").arg("-o").arg(&mask);
        models.iter().for_each(|folder| {
            command.env("KLUIS_MODELS", folder);
        });
        let output = command.output().expect("runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("all black"), "{said}");
        assert_eq!(output.status.code(), Some(1));
        let png = image::open(&mask).expect("is a picture").into_luma8();
        assert!(png.pixels().all(|pixel| pixel.0 == [0]));
    }
}

/// The pictures in `docs/identity.md`: the name of each, and what it is made of.
fn examples() -> Vec<(&'static str, Picture)> {
    vec![
        ("card", pictures::picture(Third::Easy, 13)),
        ("passport", pictures::picture(Third::Easy, 9)),
        ("codes", pictures::coded(0).0),
    ]
}

/// How wide they are, and bytes of a file at most.
const WIDTH: u32 = 460;
const LARGEST: usize = 60 << 10;

#[test]
fn the_pictures_in_the_documents_are_what_is_drawn_now() {
    let test = "the_pictures_in_the_documents_are_what_is_drawn_now";
    if !can_run(test) {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/identity");
    let small = |picture: image::DynamicImage| {
        let height = WIDTH * picture.height() / picture.width();
        picture.resize_exact(WIDTH, height, image::imageops::FilterType::Triangle)
    };
    for (name, picture) in examples() {
        let of = masked(&picture.bytes);
        let whole = image::load_from_memory(&picture.bytes).expect("is a picture");
        let mask = small(image::open(&of.mask).expect("is a picture")).into_luma8();
        let whole = small(whole).into_rgb8();
        let files = [format!("{name}.jpg"), format!("{name}-masked.png")];
        let [whole_file, mask_file] = files.map(|file| folder.join(file));
        if std::env::var_os("KLUIS_DRAW_EXAMPLES").is_some() {
            fs::create_dir_all(&folder).expect("is made");
            let mut jpeg = Vec::new();
            image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 70)
                .encode_image(&whole)
                .expect("is written");
            fs::write(&whole_file, jpeg).expect("is written");
            mask.save(&mask_file).expect("is written");
        }
        for file in [&whole_file, &mask_file] {
            assert!(fs::read(file).expect("is there").len() <= LARGEST, "{}", file.display());
        }
        // Another processor may round otherwise, and JPEG keeps no pixel as it is.
        let there = image::open(&whole_file).expect("is a picture").into_rgb8();
        assert_eq!(there.dimensions(), whole.dimensions(), "{name}");
        let off: u64 = there.iter().zip(whole.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(off < 8 * there.len() as u64, "{name}: `make examples-id` draws it anew");
        let there = image::open(&mask_file).expect("is a picture").into_luma8();
        assert_eq!(there.dimensions(), mask.dimensions(), "{name}");
        let other = there.iter().zip(mask.iter()).filter(|(a, b)| a.abs_diff(**b) > 60).count();
        assert!(other * 200 < there.len(), "{name}: `make examples-id` draws it anew");
        let lit = there.iter().filter(|pixel| **pixel > 60).count();
        assert!(lit > 300, "{name}: something is shown");
    }
}
