//! What the documents say of the repository is so: links, paths, sections, tests and commands that
//! they name exist; nothing in any file tells of a machine or carries a secret.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::tree;

/// The documents: (path from the root, text).
fn documents() -> Vec<(String, String)> {
    let mut found: Vec<_> =
        tree::files("").into_iter().filter(|(p, _)| p.ends_with(".md")).collect();
    found.retain(|(path, _)| !path.starts_with("tests/"));
    found
}

/// The text without fenced blocks: (line from 1, line).
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// What stands between back-quotes in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// A heading as a link names it: lower case, spaces to dashes, other signs dropped.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// `a/../b` as `b`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// What a document at `from` links to and is not there, as `line: target`. `read` gives the text
/// of a file of the repository; for a folder, an empty one.
fn broken_links(from: &str, text: &str, read: impl Fn(&Path) -> Option<String>) -> Vec<String> {
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    let mut broken = Vec::new();
    for (line, prose) in prose(text) {
        for target in links(prose) {
            if target.starts_with("https://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() {
                Some(text.to_owned())
            } else {
                read(&normal(&folder.join(file)))
            };
            let found = there.is_some_and(|there| {
                section.is_empty()
                    || there.lines().any(|l| l.starts_with('#') && anchor(l) == section)
            });
            if !found {
                broken.push(format!("{line}: {target}"));
            }
        }
    }
    broken
}

fn read(path: &Path) -> Option<String> {
    let path = tree::root().join(path);
    if path.is_dir() {
        return Some(String::new());
    }
    // A picture is no text, and is there all the same.
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Fails with all of `broken`, if any.
fn none(what: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{what}:\n{}", broken.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in documents() {
        broken.extend(broken_links(&path, &text, read).iter().map(|b| format!("{path}:{b}")));
    }
    none("links that lead nowhere", &broken);
}

#[test]
fn a_broken_link_is_found() {
    let read = |path: &Path| (path == Path::new("docs/a.md")).then(|| "# One two, 3".to_owned());
    let text = "# Top\n[a](a.md) [b](../docs/a.md#one-two-3) [c](#top)\n```\n[d](no.md)\n```\n";
    assert_eq!(broken_links("docs/b.md", text, read), Vec::<String>::new());
    let text = "[a](b.md)\n[b](a.md#three) [c](#none)";
    assert_eq!(broken_links("docs/c.md", text, read), ["1: b.md", "2: a.md#three", "2: #none"]);
}

#[test]
fn every_path_in_back_quotes_exists() {
    let roots = ["src/", "docs/", "tests/", "benches/", "keys/", ".ci/", "fuzz/"];
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for (line, prose) in prose(&text) {
            for name in quoted(prose).filter(|name| roots.iter().any(|r| name.starts_with(r))) {
                let pattern = name.contains(['*', '<', '{', '…', ' ']);
                if !pattern && !tree::root().join(name).exists() {
                    broken.push(format!("{path}:{line}: {name}"));
                }
            }
        }
    }
    none("paths that do not exist", &broken);
}

#[test]
fn the_readme_names_every_document_and_every_make_target_exists() {
    let documents = documents();
    let readme = &documents.iter().find(|(path, _)| path == "README.md").expect("a README").1;
    let linked: HashSet<_> = readme.lines().flat_map(links).collect();
    let mut broken: Vec<_> = tree::files("docs")
        .into_iter()
        // A picture belongs to the document that shows it.
        .filter(|(path, _)| !path.ends_with(".png") && !path.ends_with(".jpg"))
        .filter(|(path, _)| !linked.contains(path.as_str()))
        .map(|(path, _)| format!("README.md does not name {path}"))
        .collect();

    let makefile = read(Path::new("Makefile")).expect("a Makefile");
    for (path, text) in &documents {
        for target in text.lines().flat_map(quoted).filter_map(|q| q.strip_prefix("make ")) {
            if !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
                broken.push(format!("{path}: make {target}"));
            }
        }
    }
    none("README and Makefile", &broken);
}

/// Names that a document gives as tests, `…::tests::name` or `suite::…::name`: the last words.
fn tests_named(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(quoted)
        .filter(|name| name.contains("::tests::") || name.starts_with("suite::"))
        .filter_map(|name| name.rsplit("::").next())
}

#[test]
fn every_test_that_a_document_names_exists() {
    let sources: String = ["src", "tests"]
        .into_iter()
        .flat_map(tree::files)
        .filter(|(path, _)| path.ends_with(".rs"))
        .map(|(_, text)| text)
        .collect();
    let mut broken = Vec::new();
    for (path, text) in documents() {
        let absent = |name: &&str| !sources.contains(&format!("fn {name}("));
        broken.extend(tests_named(&text).filter(absent).map(|name| format!("{path}: {name}")));
    }
    none("tests that do not exist", &broken);
    let named: Vec<_> = tests_named("`a::tests::b` `c::d` `suite::e::f`").collect();
    assert_eq!(named, ["b", "f"]);
}

/// The numbers of the sections of `vault-format` that a text cites.
fn cited(text: &str) -> impl Iterator<Item = &str> {
    text.split("vault-format §").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    })
}

/// Whether a heading of `document` starts with this number.
fn has_section(document: &str, number: &str) -> bool {
    document.lines().filter(|line| line.starts_with('#')).any(|line| {
        let heading = line.trim_start_matches('#').trim_start().trim_start_matches('§');
        let digits =
            heading.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(heading.len());
        heading[..digits].trim_end_matches('.') == number
    })
}

#[test]
fn every_cited_section_of_the_format_exists() {
    let format = read(Path::new("docs/vault-format.md")).expect("docs/vault-format.md");
    let mut broken = Vec::new();
    for (path, text) in tree::files("src").into_iter().chain(documents()) {
        let absent = |number: &&str| !has_section(&format, number);
        broken.extend(cited(&text).filter(absent).map(|number| format!("{path}: §{number}")));
    }
    none("sections of docs/vault-format.md that do not exist", &broken);
}

#[test]
fn a_citation_is_read_and_its_section_found() {
    let text = concat!("vault-format", " §3. And (vault-format", " §4.2), vault-format", " §12");
    assert_eq!(cited(text).collect::<Vec<_>>(), ["3", "4.2", "12"]);
    let document = "# Vault\n## 3. Chunks\n### 4.2 Boxes\n";
    assert!(has_section(document, "3") && has_section(document, "4.2"));
    assert!(!has_section(document, "4") && !has_section(document, "12"));
}

/// What no file may say: places on a machine where it was written, hosts that packages come from.
/// In halves, so that this file does not say it either.
const UNWANTED: [(&str, &str); 9] = [
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/tm", "p/w"),
    ("crates", ".io"),
    ("py", "pi.org"),
    ("npm", "js."),
    ("deb.de", "bian.org"),
    ("artif", "actory"),
    ("jfr", "og"),
];

/// What is unwanted in a text, as `line: word`.
fn unwanted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for word in UNWANTED.map(|(a, b)| [a, b].concat()) {
            if line.contains(&word) {
                found.push(format!("{number}: {word}"));
            }
        }
    }
    found
}

#[test]
fn no_file_tells_of_a_machine_or_a_registry() {
    let mut found = Vec::new();
    for (path, text) in tree::files("") {
        if path.ends_with("Cargo.lock") {
            // Every source is the public index, said in one way.
            let index = ["registry+https://github.com/rust-lang/", "crates", ".io-index"].concat();
            let odd = |line: &&str| line.starts_with("source = ") && !line.contains(&index);
            found.extend(text.lines().filter(odd).map(|line| format!("{path}: {line}")));
        } else {
            found.extend(unwanted(&text).iter().map(|what| format!("{path}:{what}")));
        }
    }
    none("places and hosts", &found);
    let line = ["see /ro", "ot/x"].concat();
    assert_eq!(unwanted(&line).len(), 1);
}

/// Whether a text contains a whole secret key, not just the words that one starts with.
fn has_secret(text: &str) -> bool {
    let age = ["AGE-SECRET", "-KEY-1"].concat();
    let age_key = |rest: &str| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() >= 50;
    let block = ["PRIVATE KEY", "-----"].concat();
    let pgp_block = ["PRIVATE KEY BLOCK", "-----"].concat();
    let is_base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=');
    let long_line = |rest: &str| {
        let mut lines = rest.lines().skip(1).take(8).map(str::trim);
        lines.any(|line| line.len() >= 40 && line.bytes().all(is_base64))
    };
    text.split(&age).skip(1).any(age_key)
        || text.split(&block).skip(1).any(long_line)
        || text.split(&pgp_block).skip(1).any(long_line)
}

#[test]
fn no_secret_key_lies_outside_keys_and_tests() {
    let found: Vec<_> = tree::files("")
        .into_iter()
        .filter(|(path, _)| !path.starts_with("keys/") && !path.starts_with("tests/"))
        .filter(|(_, text)| has_secret(text))
        .map(|(path, _)| path)
        .collect();
    none("files with a secret key", &found);
    let secret = ["AGE-SECRET", "-KEY-1", &"Q".repeat(58)].concat();
    assert!(has_secret(&secret) && !has_secret("`AGE-SECRET-KEY-1…`"));
    let pem = ["-----BEGIN PRIVATE KEY", "-----\n", &"MC4C".repeat(16), "\n"].concat();
    assert!(has_secret(&pem) && !has_secret("-----BEGIN PRIVATE KEY-----\n"));
}
