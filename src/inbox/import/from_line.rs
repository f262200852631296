//! The line that opens a message in an mbox file: `From sender date`.
//!
//! Every writer spells the date its own way, but a weekday or a month, a time and a year are always
//! there. A line of text that begins with the word and says no date opens no message.

use jiff::civil;
use jiff::tz::TimeZone;

/// What a `From ` line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::inbox) struct FromLine {
    /// The first word behind `From `: the reverse-path, as most writers have it.
    pub(in crate::inbox) sender: Vec<u8>,
    /// When the message was put into the file, in seconds since 1970.
    pub(in crate::inbox) seconds: Option<u64>,
}

/// The longest line that may open a message, its end included: a reverse-path of the longest
/// (RFC 5321 §4.5.3.1.3), and a date.
pub(in crate::inbox) const LONGEST: usize = 1024;

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// Reads a line, with or without its end. None if it does not begin with `From ` and a word.
pub(in crate::inbox) fn parse(line: &[u8]) -> Option<FromLine> {
    let rest = line.strip_prefix(b"From ")?;
    if line.len() > LONGEST {
        return None;
    }
    let words: Vec<&[u8]> =
        rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    let sender = words.first()?.to_vec();
    Some(FromLine { sender, seconds: date(&words[1..]) })
}

/// The date among the words: month and day before the time, the year behind it, as asctime(3) and
/// all who followed it write; a zone in numbers is minded, any other is taken for UTC.
fn date(words: &[&[u8]]) -> Option<u64> {
    let at = words.iter().position(|word| time(word).is_some())?;
    let (hour, minute, second) = time(words[at])?;
    let before = &words[at.saturating_sub(4)..at];
    let month = before.iter().find_map(|word| month(word))?;
    let day = before.iter().find_map(|word| number(word, 1, 2))?;
    let after = words.get(at + 1..)?;
    let year = after.iter().find_map(|word| number(word, 4, 4))?;
    let offset = after.iter().find_map(|word| zone(word)).unwrap_or(0);
    let date = civil::Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    );
    let time = civil::Time::new(hour, minute, second, 0).ok()?;
    let moment = TimeZone::UTC.to_timestamp(date.ok()?.to_datetime(time)).ok()?;
    u64::try_from(moment.as_second() - offset).ok()
}

/// `HH:MM` or `HH:MM:SS`; a leap second is the one before it.
fn time(word: &[u8]) -> Option<(i8, i8, i8)> {
    let mut parts = word.split(|&byte| byte == b':');
    let mut part = || number(parts.next()?, 1, 2).and_then(|n| i8::try_from(n).ok());
    let (hour, minute) = (part()?, part()?);
    let second = part().unwrap_or(0).min(59);
    (word.contains(&b':') && hour < 24 && minute < 60).then_some((hour, minute, second))
}

fn month(word: &[u8]) -> Option<u64> {
    let lower = word.to_ascii_lowercase();
    let at = MONTHS.iter().position(|name| *name == lower)?;
    Some(at as u64 + 1)
}

/// A number of so many digits.
fn number(word: &[u8], least: usize, most: usize) -> Option<u64> {
    let fits = (least..=most).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(word).ok().filter(|_| fits)?.parse().ok()
}

/// `+0100`: seconds east of Greenwich.
fn zone(word: &[u8]) -> Option<i64> {
    let (sign, digits) = word.split_first()?;
    let east = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let number = i64::try_from(number(digits, 4, 4)?).ok()?;
    Some(east * (number / 100 * 3600 + number % 100 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_every_writer_is_read() {
        for (line, seconds) in [
            ("From a@b.example Mon Nov  2 10:11:12 2020\n", Some(1_604_311_872)),
            ("From a@b.example Mon Nov 02 10:11:12 +0000 2020\r\n", Some(1_604_311_872)),
            ("From a@b.example Mon, 02 Nov 2020 10:11:12 2020", Some(1_604_311_872)),
            ("From - Mon Nov 02 11:11:12 2020 +0100", Some(1_604_311_872)),
            ("From MAILER-DAEMON Mon Nov 2 10:11 CET 2020", Some(1_604_311_860)),
            ("From ???@??? Mon Nov 02 10:11:60 2020", Some(1_604_311_919)),
            ("From here on it is the 2nd of Nov", None),
            ("From a Mon Nov 31 10:11:12 2020", None),
            ("From a Mon Nov 2 25:11:12 2020", None),
            ("From a Mon Nov 2 10:11:12 20", None),
        ] {
            let parsed = parse(line.as_bytes()).expect("it begins as one");
            assert_eq!(parsed.seconds, seconds, "{line}");
        }
        assert_eq!(parse(b"From a@b Mon Nov 2 1:1 2020").expect("one").sender, b"a@b");
        for other in ["From: a@b", ">From a", "From \n", "from a Mon Nov 2 10:11:12 2020", ""] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
        let long = [b"From ".to_vec(), vec![b'x'; LONGEST]].concat();
        assert_eq!(parse(&long), None);
    }
}
