//! The files of this repository, and Rust source reduced to the paths that its code names.
//!
//! A lexer of a page, not a parser: comments, literals and test code are blanked out, what is left
//! is read as paths (`a::b::{c, d}` gives `a::b::c` and `a::b::d`). What a macro makes of its
//! input stays unseen.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `folder`, as (path from the root with `/`, content), in order. What is built,
/// and what is no text of ours, is left out.
pub(crate) fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be listed") {
        let path = entry.expect("a folder of the repository can be listed").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if !NOT_OURS.contains(&name.as_str()) && !path.join("CACHEDIR.TAG").exists() {
                collect(&path, found);
            }
        } else if path.is_file() && name != ".git" {
            let bytes = fs::read(&path).expect("a file of the repository can be read");
            let under = path.strip_prefix(root()).expect("found under the root");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            found.push((under.to_string_lossy().replace('\\', "/"), text));
        }
    }
}

const NOT_OURS: [&str; 4] = [".git", "target", "corpus", "artifacts"];

/// A path that code names.
#[derive(Debug, PartialEq)]
pub(crate) struct Named<'a> {
    /// Line, counted from 1.
    pub line: usize,
    /// `std::fs::File` as three.
    pub segments: Vec<&'a str>,
    /// Whether a `use` says it.
    pub imported: bool,
}

/// `source` with comments, literals and test code turned into spaces; lines stay where they are.
pub(crate) fn code(source: &str) -> String {
    let mut bytes = source.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let inside_word = at > 0 && is_word(bytes[at - 1]);
        let length = blank_length(&bytes[at..], inside_word);
        blank(&mut bytes[at..at + length]);
        at += length.max(1);
    }
    bytes.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b' ');
    without_tests(&mut bytes);
    String::from_utf8(bytes).expect("only ASCII is left")
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of the comment or literal that `rest` starts with, or 0.
fn blank_length(rest: &[u8], inside_word: bool) -> usize {
    let until = |needle: &[u8], from: usize| {
        let found = rest[from..].windows(needle.len()).position(|window| window == needle);
        found.map_or(rest.len(), |position| from + position + needle.len())
    };
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => comment_length(rest),
        [b'"', ..] => string_length(rest, b'"'),
        [b'r', ..] if !inside_word => {
            let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return 0;
            }
            let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
            until(&end, hashes + 2)
        }
        [b'b' | b'c', b'r', ..] if !inside_word => match blank_length(&rest[1..], false) {
            0 => 0,
            length => length + 1,
        },
        [b'\'', b'\\', ..] => string_length(rest, b'\''),
        // A lifetime has no closing quote behind its first character.
        [b'\'', ..] => {
            let width = rest[1..].iter().skip(1).take_while(|&&byte| byte & 0xC0 == 0x80).count();
            if rest.get(width + 2) == Some(&b'\'') { width + 3 } else { 0 }
        }
        _ => 0,
    }
}

fn string_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Blanks every item under `#[cfg(test)]`, up to its closing brace or its semicolon.
fn without_tests(code: &mut [u8]) {
    const MARKS: [&[u8]; 2] = [b"#[cfg(test)]", b"#[cfg(all(test,"];
    let mut at = 0;
    while at < code.len() {
        let Some(mark) = MARKS.iter().find(|mark| code[at..].starts_with(mark)) else {
            at += 1;
            continue;
        };
        let mut end = at + mark.len();
        let mut depth = 0;
        while end < code.len() {
            match code[end] {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            end += 1;
            if depth == 0 && matches!(code[end - 1], b'}' | b';') {
                break;
            }
        }
        blank(&mut code[at..end]);
        at = end;
    }
}

/// Every path in `code` (as [`code`] gives it), in order.
pub(crate) fn paths(code: &str) -> Vec<Named<'_>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let (mut at, mut imported) = (0, false);
    while at < tokens.len() {
        let (_, word) = tokens[at];
        let before = |back: usize| at.checked_sub(back).map_or("", |i| tokens[i].1);
        // A field, a method, or the rest of `<T>::…`: no path starts here.
        let continues = before(1) == "." || (before(1) == "::" && before(2) == ">");
        match word {
            "use" => (at, imported) = (at + 1, true),
            ";" => (at, imported) = (at + 1, false),
            _ if is_name(word) && !continues => {
                at = read_path(&tokens, at, &[], imported, &mut found);
            }
            _ => at += 1,
        }
    }
    found
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Reads the path at `at`, with its groups, behind `prefix`; gives where it ends.
fn read_path<'a>(
    tokens: &[(usize, &'a str)],
    mut at: usize,
    prefix: &[&'a str],
    imported: bool,
    found: &mut Vec<Named<'a>>,
) -> usize {
    let line = tokens[at].0;
    let mut segments = prefix.to_vec();
    loop {
        segments.push(tokens[at].1);
        at += 1;
        let ahead = |by: usize| tokens.get(at + by).map_or("", |token| token.1);
        if ahead(0) != "::" {
            break;
        }
        if is_name(ahead(1)) {
            at += 1;
        } else if ahead(1) == "{" {
            at += 2;
            while at < tokens.len() && tokens[at].1 != "}" {
                if tokens[at].1 == "as" {
                    at += 2;
                } else if is_name(tokens[at].1) {
                    at = read_path(tokens, at, &segments, imported, found);
                } else {
                    at += 1;
                }
            }
            return at + 1;
        } else {
            break;
        }
    }
    found.push(Named { line, segments, imported });
    at
}

/// Words, `::` and single other characters, with their lines.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let bytes = code.as_bytes();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let length = match bytes[at] {
            b':' if bytes.get(at + 1) == Some(&b':') => 2,
            byte if is_word(byte) => bytes[at..].iter().take_while(|&&byte| is_word(byte)).count(),
            _ => 1,
        };
        line += usize::from(bytes[at] == b'\n');
        if !bytes[at].is_ascii_whitespace() {
            tokens.push((line, &code[at..at + length]));
        }
        at += length;
    }
    tokens
}

#[test]
fn comments_literals_and_tests_are_not_code() {
    let source = r####"
//! crate::a
/* crate::b /* crate::c */ crate::d */
const A: &str = "crate::e \" crate::f"; const B: char = '"'; const C: &[u8] = br#"crate::g""#;
fn kept<'a>(c: char) -> &'a str { match c { '\'' | 'é' => crate::kept::x(), _ => r"crate::h" } }
#[cfg(test)]
use crate::i::{j, k};
#[cfg(test)]
mod tests { fn t() { if true { crate::l::m() } } }
use crate::also_kept;
"####;
    let code = code(source);
    let named = paths(&code);
    let ours: Vec<_> = named
        .iter()
        .filter(|named| named.segments[0] == "crate")
        .map(|named| (named.line, named.segments[1]))
        .collect();
    assert_eq!(ours, [(5, "kept"), (10, "also_kept")]);
}

#[test]
fn groups_are_read_as_the_paths_they_stand_for() {
    let code = code("use a::{b, c::{self, d as e}, f::*};\nfn g(x: ::h::I<j::K>) { x.y.z::<W>() }");
    let named: Vec<_> = paths(&code)
        .into_iter()
        .filter(|named| named.segments.len() > 1)
        .map(|named| (named.line, named.segments.join("::"), named.imported))
        .collect();
    let expected = [
        (1, "a::b", true),
        (1, "a::c::self", true),
        (1, "a::c::d", true),
        (1, "a::f", true),
        (2, "h::I", false),
        (2, "j::K", false),
    ];
    assert_eq!(named, expected.map(|(line, path, imported)| (line, path.to_owned(), imported)));
}
