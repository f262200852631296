//! The value of `Content-Type` and `Content-Disposition`: a kind and parameters.
//!
//! Parameters that are continued or carry a charset (RFC 2231) are joined as octets and decoded
//! once, with the charset that section 0 names. Broken ones are read as far as they make sense:
//! an unquoted value reaches to the next semicolon, the first of two equal names counts.

use super::{charset, transfer, words};

/// A kind (`text/plain`, `attachment`) and its parameters.
#[derive(Debug, Default)]
pub(super) struct Value {
    /// Lower case, without comments; empty if there is none.
    pub kind: String,
    /// A parameter was given twice, or broken.
    pub odd: bool,
    params: Vec<Param>,
}

#[derive(Debug)]
struct Param {
    /// Lower case, without the stars.
    name: String,
    section: Option<u32>,
    star: bool,
    value: Vec<u8>,
}

/// Parameters read of one field.
const MAX_PARAMS: usize = 256;

impl Value {
    /// Reads an unfolded field value.
    pub(super) fn parse(value: &[u8]) -> Self {
        let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
        let head = value[..end].trim_ascii();
        let word = head
            .iter()
            .position(|byte| byte.is_ascii_whitespace() || *byte == b'(')
            .unwrap_or(head.len());
        let kind = String::from_utf8_lossy(&head[..word]);
        let mut parsed =
            Self { kind: kind.trim_matches('"').to_ascii_lowercase(), ..Self::default() };
        let after = head[word..].trim_ascii();
        if after.contains(&b'=') {
            // `text/html charset=utf-8`: the semicolon was forgotten.
            parsed.odd = true;
            parsed.segments(after);
        }
        parsed.segments(value.get(end + 1..).unwrap_or_default());
        parsed
    }

    fn segments(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let Some(stop) = rest.iter().position(|&byte| matches!(byte, b'=' | b';')) else {
                self.odd |= !rest.trim_ascii().is_empty();
                return;
            };
            let name = rest[..stop].trim_ascii();
            if rest[stop] == b';' {
                self.odd |= !name.is_empty();
                rest = &rest[stop + 1..];
                continue;
            }
            let (value, length, odd) = value(&rest[stop + 1..]);
            self.odd |= odd || name.is_empty();
            if self.params.len() == MAX_PARAMS {
                self.odd = true;
                return;
            }
            if !name.is_empty() {
                self.add(name, value);
            }
            rest = rest.get(stop + 1 + length..).unwrap_or_default();
        }
    }

    fn add(&mut self, name: &[u8], value: Vec<u8>) {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let star = name.ends_with('*');
        let bare = name.strip_suffix('*').unwrap_or(&name);
        let (base, section) = match bare.rsplit_once('*') {
            Some((base, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                (base, digits.parse().ok())
            }
            _ => (bare, None),
        };
        let param = Param { name: base.to_owned(), section, star, value };
        self.odd |= self.params.iter().any(|other| {
            other.name == param.name
                && other.section == param.section
                && (other.star == param.star || param.section.is_some())
        });
        self.params.push(param);
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Param> {
        self.params.iter().filter(move |param| param.name == name)
    }

    /// The first plain value of a parameter, or else the joined one, as octets.
    pub(super) fn octets(&self, name: &str) -> Option<Vec<u8>> {
        self.named(name)
            .find(|param| param.section.is_none() && !param.star)
            .map(|param| param.value.clone())
            .or_else(|| Some(self.extended(name)?.1))
    }

    /// The first plain or joined value, as text, cut at the first space or comment.
    pub(super) fn token(&self, name: &str) -> Option<String> {
        let octets = self.octets(name)?;
        let octets = octets.trim_ascii();
        let end = octets
            .iter()
            .position(|byte| byte.is_ascii_whitespace() || *byte == b'(')
            .unwrap_or(octets.len());
        Some(String::from_utf8_lossy(&octets[..end]).into_owned())
    }

    /// Every value of a parameter, decoded, the extended one first; and whether every charset was
    /// known.
    pub(super) fn texts(&self, name: &str) -> (Vec<String>, bool) {
        let mut texts = Vec::new();
        let mut all_known = true;
        if let Some((label, octets)) = self.extended(name) {
            let (text, known) = charset::decode(&label, &octets);
            all_known &= known;
            texts.push(text);
        }
        for param in self.named(name).filter(|param| param.section.is_none() && !param.star) {
            let decoded = words::decode(&param.value, None);
            all_known &= decoded.known;
            texts.push(decoded.text);
        }
        (texts, all_known)
    }

    /// The charset and the octets of an extended parameter (RFC 2231 §3 and §4), sections joined.
    fn extended(&self, name: &str) -> Option<(String, Vec<u8>)> {
        let mut sections: Vec<&Param> =
            self.named(name).filter(|param| param.section.is_some()).collect();
        if sections.is_empty() {
            sections.extend(self.named(name).find(|param| param.star));
        }
        sections.sort_by_key(|param| param.section);
        sections.dedup_by_key(|param| param.section);
        let first = sections.first()?;
        let (mut label, mut octets) = (String::new(), Vec::new());
        for param in &sections {
            let mut coded = param.value.as_slice();
            if std::ptr::eq(*param, *first) && param.star {
                // charset'language'value: an apostrophe after the second is the value's own.
                let mut parts = coded.splitn(3, |&byte| byte == b'\'');
                if let (Some(charset), Some(_), Some(value)) =
                    (parts.next(), parts.next(), parts.next())
                {
                    label = String::from_utf8_lossy(charset).into_owned();
                    coded = value;
                }
            }
            if param.star {
                octets.extend(transfer::unescape(coded, b'%'));
            } else {
                octets.extend_from_slice(coded);
            }
        }
        Some((label, octets))
    }
}

/// A parameter's value at the start of `text`: the value, its length with the semicolon after it,
/// and whether it is broken.
fn value(text: &[u8]) -> (Vec<u8>, usize, bool) {
    let lead = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if text.get(lead) != Some(&b'"') {
        let end = text.iter().position(|&byte| byte == b';').unwrap_or(text.len());
        return (text[..end].trim_ascii().to_vec(), end + 1, false);
    }
    let mut value = Vec::new();
    let mut at = lead + 1;
    loop {
        match text.get(at) {
            None => return (value, text.len(), true),
            Some(b'"') => break,
            Some(b'\\') if at + 1 < text.len() => {
                value.push(text[at + 1]);
                at += 2;
            }
            Some(&byte) => {
                value.push(byte);
                at += 1;
            }
        }
    }
    let tail = &text[at + 1..];
    let end = tail.iter().position(|&byte| byte == b';').unwrap_or(tail.len());
    let junk = tail[..end].trim_ascii();
    (value, at + 1 + end + 1, !junk.is_empty() && !junk.starts_with(b"("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &str) -> Vec<String> {
        Value::parse(value.as_bytes()).texts("filename").0
    }

    #[test]
    fn a_character_split_anywhere_over_sections_is_whole_again() {
        let octets = "a€b".as_bytes();
        for split in 0..=octets.len() {
            let coded =
                |bytes: &[u8]| bytes.iter().map(|b| format!("%{b:02X}")).collect::<String>();
            let value = format!(
                "attachment; filename*0*=UTF-8''{}; filename*1*={}.pdf",
                coded(&octets[..split]),
                coded(&octets[split..])
            );
            assert_eq!(names(&value), ["a€b.pdf"], "{value}");
        }
        // Sections out of order, the second not encoded, charset inherited from section 0.
        let value = "attachment; filename*1=ij.doc; filename*0*=iso-8859-1'nl'caf%E9";
        assert_eq!(names(value), ["caféij.doc"]);
        assert_eq!(names("x; filename*0*=iso-8859-1''a; filename*1*=%E9"), ["aé"]);
        assert_eq!(
            names("x; filename*0*=iso-2022-jp''%1B$B%25; filename*1*=O%25m!<%1B%28B"),
            ["ハロー"]
        );
    }

    #[test]
    fn apostrophes_are_only_syntax_where_a_star_says_so() {
        assert_eq!(names("x; filename*=utf-8''O'Brien.txt"), ["O'Brien.txt"]);
        assert_eq!(names(r#"x; filename*0="it 's 'x"; filename*1=".eml""#), ["it 's 'x.eml"]);
        assert_eq!(names("x; filename*0*=''a%2E; filename*1=b"), ["a.b"]);
        assert_eq!(names("x; filename*=no-apostrophes%2Etxt"), ["no-apostrophes.txt"]);
    }

    #[test]
    fn every_name_is_given_the_extended_one_first() {
        assert_eq!(
            names("x; filename=\"F_.exe\"; filename*=utf-8''F%C3%BC.jpg"),
            ["Fü.jpg", "F_.exe"]
        );
        assert_eq!(names("x; filename=\"=?utf-8?Q?F=C3=BC?=.jpg\""), ["Fü.jpg"]);
        assert_eq!(names("x; filename=a; filename=b"), ["a", "b"]);
    }

    #[test]
    fn malformed_values_keep_what_makes_sense() {
        for (value, kind, charset, odd) in [
            ("text/html; charset=utf-8", "text/html", Some("utf-8"), false),
            ("TEXT/HTML; CHARSET=UTF-8", "text/html", Some("UTF-8"), false),
            ("text/html;", "text/html", None, false),
            ("text/html;;charset=utf-8;", "text/html", Some("utf-8"), false),
            ("text/html; ; charset = utf-8", "text/html", Some("utf-8"), false),
            ("text/html;iso-8859-1", "text/html", None, true),
            ("text/html;iso-8859-1; charset=utf-8", "text/html", Some("utf-8"), true),
            ("text/html charset=utf-8", "text/html", Some("utf-8"), true),
            ("text/html; charset=utf-8; charset=latin1", "text/html", Some("utf-8"), true),
            ("text/html; charset=\"utf-8\" (Unicode)", "text/html", Some("utf-8"), false),
            ("text/html (page); charset=us-ascii (plain)", "text/html", Some("us-ascii"), false),
            ("text/html; charset=\"utf-8", "text/html", Some("utf-8"), true),
            ("text/html; charset=\"utf-8\"x", "text/html", Some("utf-8"), true),
            ("text/html; =utf-8", "text/html", None, true),
            ("text/html; charset=", "text/html", Some(""), false),
            ("text/html; charset", "text/html", None, true),
            ("\"text/html\"; charset=utf-8", "text/html", Some("utf-8"), false),
            ("text/html; charset*=us-ascii'en'utf-8", "text/html", Some("utf-8"), false),
            ("; charset=utf-8", "", Some("utf-8"), false),
            ("", "", None, false),
        ] {
            let parsed = Value::parse(value.as_bytes());
            assert_eq!(parsed.kind, kind, "{value}");
            assert_eq!(parsed.token("charset").as_deref(), charset, "{value}");
            assert_eq!(parsed.odd, odd, "{value}");
        }
        assert_eq!(names("attachment; filename=my file (1).pdf; size=3"), ["my file (1).pdf"]);
        assert_eq!(names(r#"attachment; filename="a;b \"c\".pdf""#), [r#"a;b "c".pdf"#]);
    }

    #[test]
    fn parameters_without_end_are_not_all_read() {
        let value = format!("text/plain; {}", "a=b;".repeat(100_000));
        let parsed = Value::parse(value.as_bytes());
        assert_eq!(parsed.params.len(), MAX_PARAMS);
        assert!(parsed.odd);
    }
}
