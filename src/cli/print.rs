//! What a command shows: text for people or lines of JSON, and nothing that a letter smuggled in.
//!
//! Every string that came from a letter passes [`terminal_safe`] or [`terminal_text`] before it
//! stands in a line for people; JSON lines are made safe as a whole, by escapes.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;

use super::Error;

/// What a command has to say, and whether it found problems.
#[derive(Default)]
pub(super) struct Report {
    /// For people.
    pub(super) text: String,
    /// For programs: one value a line.
    pub(super) json: Vec<Value>,
    /// Something is wrong: exit code 1.
    pub(super) problems: bool,
}

impl Report {
    /// A report of one JSON value.
    #[must_use]
    pub(super) fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json: vec![json], problems: false }
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    /// What the system says; a reader who went away is no error.
    pub(super) fn print(&self, as_json: bool) -> Result<(), Error> {
        let mut text = String::new();
        if as_json {
            for value in &self.json {
                text.push_str(&json_line(value));
                text.push('\n');
            }
        } else if !self.text.is_empty() {
            text.push_str(self.text.trim_end_matches('\n'));
            text.push('\n');
        }
        write_out(text.as_bytes())
    }
}

/// Writes bytes to standard output. A reader who went away has seen enough.
///
/// # Errors
/// What the system says.
pub(super) fn write_out(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(format!("writing to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// What stands for a character that must not reach a terminal.
const HARMLESS: char = char::REPLACEMENT_CHARACTER;

/// Whether a terminal would obey `c`, or an eye be misled by it, instead of showing it: control
/// characters (C0, DEL, C1), directions and their overrides, invisible formatting, tags, and
/// characters that end a line without being one.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// `text` as one harmless line: white space becomes a space, what a terminal would obey is shown
/// as U+FFFD.
#[must_use]
pub(super) fn terminal_safe(text: &str) -> String {
    let shown = |c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_unsafe(c) => HARMLESS,
        c => c,
    };
    text.trim_matches(['\n', '\r', '\t', ' ']).chars().map(shown).collect()
}

/// `text` as harmless lines, each behind `margin`, so that a letter cannot pass for what the
/// program says itself.
#[must_use]
pub(super) fn terminal_text(text: &str, margin: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 64);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for line in text.trim_end().lines() {
        let tabs = line.trim_end().replace('\t', "    ");
        let line: String = tabs.chars().map(|c| if is_unsafe(c) { HARMLESS } else { c }).collect();
        let _ = writeln!(shown, "{}", format!("{margin}{line}").trim_end());
    }
    shown
}

/// One line of JSON in which every character that [`terminal_safe`] would replace is an escape.
#[must_use]
pub(super) fn json_line(value: &Value) -> String {
    let mut line = String::new();
    // Such characters stand inside strings only, where an escape means the same.
    for c in value.to_string().chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(c);
        }
    }
    line
}

/// At most `most` characters of a harmless line.
#[must_use]
pub(super) fn short(text: &str, most: usize) -> String {
    let safe = terminal_safe(text);
    if safe.chars().count() <= most {
        return safe;
    }
    let mut cut: String = safe.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Rows under a heading, in aligned columns; the last one runs free.
#[must_use]
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(heading[column].chars().count())
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    let heading: Vec<String> = heading.iter().map(|&word| word.to_owned()).collect();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// "1 letter", "2 letters".
#[must_use]
pub(super) fn count(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The date of so many days since 1970.
#[must_use]
pub(super) fn date(days: i32) -> Date {
    Date::constant(1970, 1, 1).saturating_add(i64::from(days).days())
}

/// A minute since 1970 as the time in Belgium, where due dates are counted.
#[must_use]
pub(super) fn moment(minute: u64) -> String {
    let zone = TimeZone::get("Europe/Brussels").unwrap_or(TimeZone::UTC);
    i64::try_from(minute.saturating_mul(60))
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(
            || "?".into(),
            |at| zone.to_datetime(at).strftime("%Y-%m-%d %H:%M").to_string(),
        )
}

/// How long before `now` a minute since 1970 was, in words.
#[must_use]
pub(super) fn ago(minute: u64, now: u64) -> String {
    let Some(minutes) = now.checked_sub(minute) else { return "ahead of the clock".into() };
    let words = match minutes {
        0 => return "just now".into(),
        1..60 => count(minutes, "minute", "minutes"),
        60..2880 => count(minutes / 60, "hour", "hours"),
        _ => count(minutes / 1440, "day", "days"),
    };
    format!("{words} ago")
}

/// A minute since 1970 as RFC 3339 writes it, for JSON.
#[must_use]
pub(super) fn timestamp(minute: u64) -> String {
    i64::try_from(minute.saturating_mul(60))
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(String::new, |at| at.to_string())
}

/// What a size bucket (binary logarithm) says.
#[must_use]
pub(super) fn size(bucket: u8) -> String {
    match bucket {
        0..10 => "≤ 1 KiB".into(),
        10..20 => format!("≤ {} KiB", 1u64 << (bucket - 10)),
        20..30 => format!("≤ {} MiB", 1u64 << (bucket - 20)),
        _ => format!("≤ {} GiB", 1u64 << (bucket.min(60) - 30)),
    }
}

/// So many bytes, for people.
#[must_use]
pub(super) fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}

/// The first characters of an id, as tables show it: unique among few.
#[must_use]
pub(super) fn brief(id: &impl ToString) -> String {
    id.to_string().chars().take(8).collect()
}

/// The words of an enum's variant: `NamesCase` is "names case". Our own words, never a letter's.
#[must_use]
pub(super) fn words(variant: &impl std::fmt::Debug) -> String {
    let name = format!("{variant:?}");
    let mut words = String::with_capacity(name.len() + 4);
    for (at, c) in name.chars().take_while(|c| c.is_ascii_alphanumeric()).enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_does_not_reach_it() {
        for hostile in [
            "\u{1b}[2J",
            "\u{9b}31m",
            "\u{7}",
            "\u{8}",
            "\u{7f}",
            "a\u{202e}gpj.exe",
            "\u{2066}",
            "\u{200f}",
            "\u{feff}",
            "\u{2028}",
            "\u{e0041}",
            "\u{0}",
        ] {
            let safe = terminal_safe(hostile);
            assert!(safe.contains(HARMLESS), "{hostile:?}");
            assert!(!safe.chars().any(is_unsafe), "{hostile:?}");
            let json = json_line(&Value::String(hostile.to_owned()));
            assert!(!json.chars().any(is_unsafe), "{hostile:?}");
            let back: String = serde_json::from_str(&json).expect("still JSON");
            assert_eq!(back, hostile);
        }
        assert_eq!(terminal_safe(" Zoë\r\n\tŁ 名 😀 "), "Zoë   Ł 名 😀");
    }

    #[test]
    fn every_line_of_a_letter_stands_behind_its_margin() {
        let shown = terminal_text("one\r\ntwo\rNotes:\u{1b}[1A\n\n\n", "  | ");
        assert_eq!(shown, "  | one\n  | two\n  | Notes:\u{fffd}[1A\n");
        assert_eq!(terminal_text("", "| "), "");
        assert_eq!(terminal_text("a\n\nb", "| "), "| a\n|\n| b\n");
    }

    #[test]
    fn columns_are_aligned_by_characters_and_long_ones_cut() {
        let rows = vec![vec!["é".into(), "x".into()], vec!["long".into(), "y".into()]];
        assert_eq!(table(&["a", "b"], &rows), "a     b\né     x\nlong  y\n");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("abcd", 4), "abcd");
    }

    #[test]
    fn sizes_and_names_of_variants_read_well() {
        assert_eq!([size(12), size(20), size(31)], ["≤ 4 KiB", "≤ 1 MiB", "≤ 2 GiB"]);
        assert_eq!(words(&crate::letter::Finding::NamesCase), "names case");
        assert_eq!(words(&Some(3)), "some");
        assert_eq!(date(0).to_string(), "1970-01-01");
        assert_eq!(moment(0), "1970-01-01 01:00");
        let since = |minutes: u64| ago(10_000 - minutes, 10_000);
        assert_eq!([since(0), since(1), since(59)], ["just now", "1 minute ago", "59 minutes ago"]);
        assert_eq!(
            [since(60), since(2879), since(2880)],
            ["1 hour ago", "47 hours ago", "2 days ago"]
        );
        assert_eq!(ago(11, 10), "ahead of the clock");
    }
}
