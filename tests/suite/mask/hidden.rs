//! What must not be in a mask: looked for in every line that two readers read, and pixel by pixel where
//! the picture was drawn.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use image::GrayImage;
use kluis::identity::picture::decode;
use kluis::identity::picture::detect::Detector;
use kluis::identity::picture::recognise::Recogniser;
use kluis::identity::picture::{Grey, Quad};
use kluis::sandbox::models;
use pictures::{Part, Picture, Truth};

/// Digits of a line that may be in a name, read badly.
const FEW: usize = 3;

/// Every line that our own reader reads in a file, from either end: two texts for each place.
pub(super) fn lines(path: &Path) -> Vec<[String; 2]> {
    static EYES: OnceLock<(Detector, Recogniser)> = OnceLock::new();
    let (detector, recogniser) = EYES.get_or_init(|| {
        let load =
            |model: models::Model| fs::read(models::folder().join(model.name)).expect("is there");
        let detector = Detector::new(load(models::DETECTION)).expect("is a model");
        (detector, Recogniser::new(load(models::RECOGNITION)).expect("is a model"))
    });
    let pages = decode::pages(&fs::read(path).expect("is there"), 0).expect("is a picture");
    let read = |page: &Grey, quad: &Quad| {
        recogniser.read(page, quad).map(|heard| heard.text).unwrap_or_default()
    };
    let of_page = |page: &Grey| -> Vec<[String; 2]> {
        let quads = detector.lines(page);
        quads.iter().map(|quad| [read(page, quad), read(page, &quad.turned())]).collect()
    };
    pages.drawn.iter().flat_map(of_page).collect()
}

/// Every line that another reader reads.
pub(super) fn other_lines(path: &Path) -> Vec<[String; 2]> {
    let read = Command::new("tesseract").arg(path).args(["-", "--psm", "11"]).output();
    let read = read.expect("runs").stdout;
    String::from_utf8_lossy(&read).lines().map(|line| [line.into(), String::new()]).collect()
}

/// Letters and digits alone, letters that look like a digit as that digit.
fn folded(text: &str) -> String {
    let fold = |letter: char| match letter.to_ascii_uppercase() {
        'O' | 'Q' => '0',
        'I' | 'L' => '1',
        'Z' => '2',
        'S' => '5',
        'G' => '6',
        'B' => '8',
        other => other,
    };
    text.chars().filter(char::is_ascii_alphanumeric).map(fold).collect()
}

/// A date as documents print it and as zones have it.
fn dates(iso: &str) -> Vec<String> {
    let Some((year, rest)) = iso.split_once('-') else { return Vec::new() };
    let (month, day) = rest.split_once('-').expect("is a date");
    let short = &year[2..];
    vec![
        format!("{day}{month}{year}"),
        format!("{year}{month}{day}"),
        format!("{day}{month}{short}"),
        format!("{short}{month}{day}"),
    ]
}

/// Six signs in a row of each number and of the birth date, forward and backward; what the last day of
/// validity has, too, is left out.
fn needles(truth: &Truth) -> Vec<String> {
    let mut numbers = vec![truth.document_number.clone()];
    numbers.extend(dates(&truth.birth_date));
    numbers.extend(truth.lines.iter().map(|line| line.replace('<', "")));
    let turned = |text: &String| text.chars().rev().collect::<String>();
    let mut found = Vec::new();
    for number in &numbers {
        let signs: Vec<char> = number.chars().collect();
        let is_number =
            |six: &&[char]| six.iter().filter(|sign| sign.is_ascii_digit()).count() >= 4;
        let sixes = signs.windows(6).filter(is_number).map(|six| folded(&String::from_iter(six)));
        found.extend(sixes.flat_map(|six| [turned(&six), six]));
    }
    let last: Vec<String> =
        dates(&truth.expiry_date).iter().flat_map(|date| [turned(date), date.clone()]).collect();
    found.retain(|six| !last.iter().any(|date| date.contains(six.as_str())));
    found
}

/// What of the numbers and the birth date stands in these lines.
pub(super) fn numbers(truth: &Truth, lines: &[[String; 2]]) -> Vec<String> {
    let mut texts: Vec<String> = lines.iter().flatten().map(|text| folded(text)).collect();
    // Pieces of one number may be lines of their own.
    texts.extend([0, 1].map(|end| lines.iter().map(|line| folded(&line[end])).collect::<String>()));
    let is_there = |six: &String| texts.iter().any(|text| text.contains(six.as_str()));
    needles(truth).into_iter().filter(is_there).collect()
}

/// Lines that have more digits than a name that was read badly.
pub(super) fn with_digits(lines: &[[String; 2]]) -> usize {
    let many = |text: &String| text.chars().filter(char::is_ascii_digit).count() > FEW;
    lines.iter().filter(|line| line.iter().any(many)).count()
}

/// The parts of a document of which a pixel is lit that must not be, and how many pixels are lit
/// beside all that may be.
pub(super) fn lit(picture: &Picture, mask: &GrayImage) -> (Vec<Part>, usize) {
    let (width, height) = (mask.width() as f32, mask.height() as f32);
    let (mut parts, mut astray) = (Vec::new(), 0);
    for (x, y, _) in mask.enumerate_pixels().filter(|(.., pixel)| pixel.0[0] > 0) {
        let point = ((x as f32 + 0.5) / width, (y as f32 + 0.5) / height);
        let holds = |corners| Quad(corners).holds(point);
        for place in picture.places.iter().filter(|place| !place.part.may_be_shown()) {
            if holds(place.corners) && !parts.contains(&place.part) {
                parts.push(place.part);
            }
        }
        let mut shown = picture.places.iter().filter(|place| place.part.may_be_shown());
        astray += usize::from(!shown.any(|place| holds(place.around)));
    }
    (parts, astray)
}

/// How much darker the ink in the place of each part is than what is around it.
pub(super) fn contrasts(picture: &Picture) -> Vec<(Part, i32)> {
    let page = decode::pages(&picture.bytes, 0).expect("is a picture").drawn.remove(0);
    let (width, height) = (page.width as f32, page.height as f32);
    let shades = |corners: pictures::Corners| -> Vec<u8> {
        let reach = |of: fn(&(f32, f32)) -> f32, end: usize| {
            let all = corners.iter().map(of).map(|part| part * end as f32);
            let low = all.clone().fold(f32::MAX, f32::min).max(0.0) as usize;
            low..(all.fold(0.0, f32::max).ceil() as usize).min(end)
        };
        let (across, down) = (reach(|at| at.0, page.width), reach(|at| at.1, page.height));
        let places = down.flat_map(|y| across.clone().map(move |x| (x, y)));
        let held = places.filter(|(x, y)| {
            Quad(corners).holds(((*x as f32 + 0.5) / width, (*y as f32 + 0.5) / height))
        });
        let mut shades: Vec<u8> = held.map(|(x, y)| page.pixels[y * page.width + x]).collect();
        shades.sort_unstable();
        shades
    };
    let of = |place: &pictures::Place| {
        let shades = shades(place.corners);
        let at = |part: usize| i32::from(shades[shades.len() * part / 20]);
        (place.part, at(17) - at(1))
    };
    picture.places.iter().map(of).collect()
}
