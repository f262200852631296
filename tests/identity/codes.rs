//! Codes for machines: a QR code, and bars of the kind "2 of 5 interleaved", which have digits only.

use qrcode::{Color, EcLevel, QrCode};

use super::canvas::{Canvas, Colour};

const INK: Colour = [20, 20, 24];
const PAPER: Colour = [250, 250, 250];

/// A QR code of this text whose upper left corner is here, each of its squares so many pixels wide,
/// with the quiet border that readers want; how wide all of it is.
pub fn qr(canvas: &mut Canvas, (x, y): (i32, i32), square: i32, text: &str) -> i32 {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).expect("fits");
    let count = code.width() as i32;
    let edge = (count + 8) * square;
    canvas.rectangle(x, y, edge, edge, PAPER);
    for (at, colour) in code.to_colors().into_iter().enumerate() {
        let (column, row) = (at as i32 % count, at as i32 / count);
        if colour == Color::Dark {
            let place = (x + (column + 4) * square, y + (row + 4) * square);
            canvas.rectangle(place.0, place.1, square, square, INK);
        }
    }
    edge
}

/// Which of the five lines of a digit are wide.
const WIDE: [&str; 10] =
    ["nnwwn", "wnnnw", "nwnnw", "wwnnn", "nnwnw", "wnwnn", "nwwnn", "nnnww", "wnnwn", "nwnwn"];

/// Bars for an even number of digits, the narrow ones so many pixels wide; how wide all of it is.
pub fn bars(
    canvas: &mut Canvas,
    (x, y): (i32, i32),
    (narrow, height): (i32, i32),
    digits: &str,
) -> i32 {
    let mut lines = "nnnn".to_owned();
    let digits: Vec<usize> = digits.bytes().map(|digit| usize::from(digit - b'0')).collect();
    for pair in digits.chunks_exact(2) {
        for (bar, gap) in WIDE[pair[0]].chars().zip(WIDE[pair[1]].chars()) {
            lines.extend([bar, gap]);
        }
    }
    lines.push_str("wnn");
    let width = |line: char| if line == 'w' { 3 * narrow } else { narrow };
    let all: i32 = lines.chars().map(width).sum::<i32>() + 20 * narrow;
    canvas.rectangle(x, y, all, height, PAPER);
    let mut at = x + 10 * narrow;
    for (nr, line) in lines.chars().enumerate() {
        if nr % 2 == 0 {
            canvas.rectangle(at, y, width(line), height, INK);
        }
        at += width(line);
    }
    all
}
