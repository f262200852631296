//! HTML as a person reads it: text, line by line, with the addresses of links beside them.
//!
//! One pass over the bytes, no tree, nothing recurses and nothing is fetched, so the depth of the
//! page costs nothing. What a browser would run or not show (scripts, styles, comments, the title)
//! is dropped; what it hides by a style is shown, for staff must see what was written. For the same
//! reason what has no end ends at once: a browser takes the rest of the page for a quote, a comment or
//! a script that nothing closes, and here the rest is read.

use mail_parser::decoders::html::add_html_token;
use memchr::{memchr, memchr_iter, memchr2};

/// The longest entity that is looked for, with its ampersand and semicolon.
const MAX_ENTITY: usize = 34;
/// Bytes of a link's address that are shown.
const MAX_ADDRESS: usize = 2048;

/// The text of a page.
pub(super) fn to_text(html: &str) -> String {
    let mut page = Page::new(html);
    while page.at < html.len() {
        page.step();
    }
    page.end_link();
    page.out.text
}

struct Page<'a> {
    html: &'a str,
    at: usize,
    out: Lines,
    /// The address of the open link, and where its text begins in what is written.
    link: Option<(String, usize)>,
    missing: Missing,
}

/// What was looked for up to the end of the page and is not there: nobody looks for it again, so that
/// a page costs what it is long.
#[derive(Default)]
struct Missing {
    /// The end of a tag or of anything else in angle brackets.
    bracket: bool,
    comment_end: bool,
    single_quote: bool,
    double_quote: bool,
    /// The ends of [`SILENT`] elements.
    ends: [bool; SILENT.len()],
}

/// Elements whose content is no text of the page.
const SILENT: [&str; 4] = ["script", "style", "title", "template"];

impl<'a> Page<'a> {
    fn new(html: &'a str) -> Self {
        Self { html, at: 0, out: Lines::default(), link: None, missing: Missing::default() }
    }

    fn bytes(&self) -> &[u8] {
        &self.html.as_bytes()[self.at..]
    }

    fn step(&mut self) {
        let rest = self.bytes();
        match memchr2(b'<', b'&', rest) {
            Some(0) if rest[0] == b'<' => self.markup(),
            Some(0) => self.entity(),
            next => {
                let end = self.at + next.unwrap_or(rest.len());
                self.out.write(&self.html[self.at..end]);
                self.at = end;
            }
        }
    }

    fn entity(&mut self) {
        let rest = self.bytes();
        let window = &rest[..rest.len().min(MAX_ENTITY)];
        let length = memchr(b';', window).map(|at| at + 1);
        let length = length.filter(|&length| {
            window[1..length - 1].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#')
        });
        let length = length.unwrap_or(1);
        let mut text = String::new();
        add_html_token(&mut text, &rest[..length], false);
        self.out.write(&text);
        self.at += length;
    }

    fn markup(&mut self) {
        let rest = &self.html.as_bytes()[self.at..];
        if rest.starts_with(b"<!--") {
            return self.comment();
        }
        if matches!(rest.get(1), Some(b'!' | b'?')) {
            let end = if self.missing.bracket { None } else { memchr(b'>', rest) };
            return match end {
                Some(end) => self.at += end + 1,
                None => self.bracket(),
            };
        }
        let closes = rest.get(1) == Some(&b'/');
        let start = 1 + usize::from(closes);
        let name = rest[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if self.missing.bracket || !rest.get(start).is_some_and(u8::is_ascii_alphabetic) {
            self.out.write("<");
            self.at += 1;
            return;
        }
        let Some(length) = self.end_of_tag(&rest[start + name..]) else { return self.bracket() };
        let tag = String::from_utf8_lossy(&rest[start..start + name]).to_ascii_lowercase();
        let inside = self.at + start + name;
        let attributes = &self.html[inside..inside + length - 1];
        match (tag.as_str(), closes) {
            ("a", false) => {
                let address = attribute(attributes, "href");
                self.end_link();
                self.link = address.map(|address| (address, self.out.text.len()));
            }
            ("a", true) => self.end_link(),
            ("img", false) => {
                if let Some(words) = attribute(attributes, "alt").filter(|alt| !alt.is_empty()) {
                    self.out.write(&format!("[{words}]"));
                }
            }
            ("pre", _) => {
                self.out.end_line(1);
                self.out.keeps_lines = !closes;
            }
            ("li", false) => {
                self.out.end_line(1);
                self.out.write("* ");
            }
            ("td" | "th", false) => self.out.write("  "),
            _ => self.out.end_line(lines_after(&tag)),
        }
        self.at = inside + length;
        // Inside of a drawing a slash ends an element at once, elsewhere it says nothing: shown for
        // nothing are a few lines of a script, not read would be what somebody wrote.
        let is_silent = !closes && !attributes.trim_ascii_end().ends_with('/');
        if let Some(nr) = SILENT.iter().position(|silent| is_silent && *silent == tag) {
            self.pass_to_end_of(nr);
        }
    }

    /// A bracket that nothing closes, and so none after it: they are text.
    fn bracket(&mut self) {
        self.missing.bracket = true;
        self.out.write("<");
        self.at += 1;
    }

    /// Passes over a comment; if it has no end, over its beginning.
    fn comment(&mut self) {
        let rest = self.bytes();
        // `<!-->` is a whole comment, and one that is closed by `--!>` is closed, too (HTML
        // §13.2.5.43 and after).
        let is_end = |at: &usize| {
            let body = rest.get(2..*at).unwrap_or_default();
            body.ends_with(b"--") || body.ends_with(b"--!")
        };
        let end =
            if self.missing.comment_end { None } else { memchr_iter(b'>', rest).find(is_end) };
        self.missing.comment_end = end.is_none();
        self.at += end.map_or(4, |end| end + 1);
    }

    /// Where a tag ends whose name was passed over: behind its `>`, one in quotes not counted. A quote
    /// that nothing closes is none.
    fn end_of_tag(&mut self, rest: &[u8]) -> Option<usize> {
        let (mut at, mut before) = (0, b' ');
        while let Some(&byte) = rest.get(at) {
            let quote = match byte {
                b'>' => return Some(at + 1),
                // It is one only where a value begins.
                b'"' if before == b'=' => Some(&mut self.missing.double_quote),
                b'\'' if before == b'=' => Some(&mut self.missing.single_quote),
                _ => None,
            };
            if let Some(is_missing) = quote.filter(|is_missing| !**is_missing) {
                match memchr(byte, &rest[at + 1..]) {
                    Some(length) => at += length + 1,
                    None => *is_missing = true,
                }
            }
            if !byte.is_ascii_whitespace() {
                before = byte;
            }
            at += 1;
        }
        None
    }

    /// Passes over what is no text, up to the tag that ends it; if there is none, it is text.
    fn pass_to_end_of(&mut self, nr: usize) {
        if self.missing.ends[nr] {
            return;
        }
        let (rest, tag) = (self.bytes(), SILENT[nr]);
        let is_end = |at: &usize| {
            let name = rest.get(at + 2..at + 2 + tag.len());
            rest.get(at + 1) == Some(&b'/')
                && name.is_some_and(|name| name.eq_ignore_ascii_case(tag.as_bytes()))
        };
        let end = memchr_iter(b'<', rest).find(is_end);
        self.missing.ends[nr] = end.is_none();
        self.at += end.unwrap_or(0);
    }

    fn end_link(&mut self) {
        let Some((address, from)) = self.link.take() else { return };
        let shown = self.out.text[from.min(self.out.text.len())..].trim();
        let bare = address.strip_prefix("mailto:").unwrap_or(&address);
        // A page's own sections lead nowhere; an address that is its own text says it already.
        if !bare.is_empty() && !bare.starts_with('#') && shown != bare && shown != address {
            self.out.write(&format!(" <{address}>"));
        }
    }
}

/// The value of an attribute, its entities decoded, cut at [`MAX_ADDRESS`] bytes.
fn attribute(attributes: &str, name: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>'));
        let (found, after) = rest.split_at(end.unwrap_or(rest.len()));
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('=').map(str::trim_start) {
            None => ("", after),
            Some(value) => match value.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    value[1..].split_once(quote).unwrap_or((&value[1..], ""))
                }
                _ => {
                    let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>');
                    value.split_at(end.unwrap_or(value.len()))
                }
            },
        };
        if found.eq_ignore_ascii_case(name) {
            let value = &value[..value.floor_char_boundary(MAX_ADDRESS)];
            let mut page = Page::new(value.trim());
            while page.at < page.html.len() {
                match page.bytes() {
                    [b'&', ..] => page.entity(),
                    _ => {
                        let next = page.html[page.at..].find('&');
                        let end = next.map_or(page.html.len(), |next| page.at + next);
                        page.out.write(&page.html[page.at..end]);
                        page.at = end;
                    }
                }
            }
            return Some(page.out.text);
        }
        if next.len() >= rest.len() || next.trim_start_matches(['>', '/', ' ']).is_empty() {
            return None;
        }
        rest = next;
    }
}

/// How many line ends an element wants around it.
fn lines_after(tag: &str) -> u8 {
    match tag {
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "blockquote" | "ul" | "ol" | "table" => 2,
        "br" | "div" | "tr" | "hr" | "li" | "dt" | "dd" | "dl" | "section" | "article"
        | "header" | "footer" | "address" | "form" | "center" | "fieldset" | "body" => 1,
        _ => 0,
    }
}

/// Text that is written word by word: white space runs together, lines end where elements do.
#[derive(Default)]
struct Lines {
    text: String,
    /// White space came since the last word.
    space: bool,
    /// Line ends that are owed before the next word.
    ends: u8,
    /// Line ends are kept.
    keeps_lines: bool,
}

impl Lines {
    fn end_line(&mut self, ends: u8) {
        self.ends = self.ends.max(ends);
    }

    fn write(&mut self, text: &str) {
        for c in text.chars() {
            if self.keeps_lines && c == '\n' {
                self.ends = self.ends.saturating_add(1).min(2);
            } else if c.is_whitespace() {
                self.space = true;
            } else {
                if !self.text.is_empty() && self.ends > 0 {
                    self.text.extend(std::iter::repeat_n('\n', usize::from(self.ends)));
                } else if !self.text.is_empty() && self.space {
                    self.text.push(' ');
                }
                (self.ends, self.space) = (0, false);
                self.text.push(c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_like_a_letter() {
        for (html, text) in [
            ("<p>Beste,</p>\n<p>ik wil <b>inzage</b>.</p>", "Beste,\n\nik wil inzage."),
            ("a<br>b<BR/>c", "a\nb\nc"),
            ("<div>a</div><div>b</div>", "a\nb"),
            ("<ul><li>een<li>twee</ul>x", "* een\n* twee\n\nx"),
            ("<table><tr><td>a<td>b<tr><td>c</table>", "a b\nc"),
            ("a  \n\t b&nbsp;c", "a b c"),
            ("<pre>a\n b</pre>", "a\nb"),
            ("caf&eacute; &amp; &#8364; &#x20ac; &lt;b&gt;", "café & € € <b>"),
            ("&nosuch; & &; a&b", "&nosuch; & &; a&b"),
            ("<img src=http://x.example/1.gif alt='ons logo'>", "[ons logo]"),
            ("1 < 2 <> 3", "1 < 2 <> 3"),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
    }

    #[test]
    fn what_is_no_text_is_dropped_and_nothing_after_it() {
        for html in [
            "a<script>if (1 < 2) { x('<p>') }</script>b",
            "a<STYLE>p { color: red }</style >b",
            "a<!-- <p> -- > -->b",
            "a<!-->b",
            "a<!doctype html>b",
            "a<?php x ?>b",
            "<title>x</title>ab",
            "a<template><p>x</p></template>b",
            "a<span title='>' data-x=\"<p>\">b</span>",
            "a<span title=it's>b</span>",
        ] {
            assert_eq!(to_text(html), "ab", "{html}");
        }
        assert_eq!(to_text("a<p style='display:none'>verborgen</p>"), "a\n\nverborgen");
        for odd in ["<", "</", "<!--", "<!-", "<a href=", "<a href='", "<script", "&", "&#", "&#x;"]
        {
            let _ = to_text(odd);
            assert!(to_text(&format!("a {odd}")).starts_with('a'));
        }
    }

    #[test]
    fn what_nothing_closes_takes_no_text_with_it() {
        for (html, text) in [
            ("<p class=\"x>een</p><p>twee</p>", "een\n\ntwee"),
            ("<a href='http://a.example>een</a> twee", "een <http://a.example> twee"),
            ("<a href=\"http://a.example>een</a> \"twee\" <b>x", "x <http://a.example>een</a>>"),
            ("een <!-- twee <b>drie</b>", "een twee drie"),
            ("<!-- nul -->een <!-- twee", "een twee"),
            ("<style>een <b>twee</b>", "een twee"),
            ("<script>nul</script>een <script>twee", "een twee"),
            ("<title>een <title>twee", "een twee"),
            ("een <b twee drie", "een <b twee drie"),
            ("een <b title='>' twee <i drie", "een <b title='>' twee <i drie"),
            ("een <!doctype twee <b", "een <!doctype twee <b"),
            ("een <!-- > <!-- twee > <i>drie</i>", "een > twee > drie"),
            ("een &amp; <b &eacute;", "een & <b é"),
            ("<svg><style/></svg>een<style>nul</style>", "een"),
            ("<svg><title />een</svg><STYLE / >twee<style></style><title></title>", "eentwee"),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
    }

    #[test]
    fn links_say_where_they_lead() {
        for (html, text) in [
            (
                "<a href='https://a.example/x?a=1&amp;b=2'>hier</a>",
                "hier <https://a.example/x?a=1&b=2>",
            ),
            ("<a href=https://a.example>https://a.example</a>", "https://a.example"),
            ("<a href=mailto:a@b.example>a@b.example</a>", "a@b.example"),
            (
                "<a class=\"x\" HREF = \"http://evil.example\">http://bank.example</a>.",
                "http://bank.example <http://evil.example>.",
            ),
            ("<a href='é&amp;é'>a</a>", "a <é&é>"),
            ("<a name=x>a</a> <a href=#top>b</a>", "a b"),
            ("<a href=http://a.example>open", "open <http://a.example>"),
            (
                "<a href=http://a.example>a<a href=http://b.example>b</a>",
                "a <http://a.example>b <http://b.example>",
            ),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
    }
}
