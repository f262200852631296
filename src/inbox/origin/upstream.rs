//! What a server in front of this one found out: `Authentication-Results` (RFC 8601).
//!
//! Only the fields of the one server that is named count; it must remove what comes to it under its
//! own name (RFC 8601 §5), which `kluis doctor --mail` tries out. Two of its fields that say
//! different things of the same check are taken as no statement. Total: what makes no sense is passed
//! over.

use crate::identity::origin::{Origin, Outcome, Policy, Signature, Witness};
use crate::letter::RawHeader;
use crate::secret::Personal;

/// Fields of one server that are read, and bytes of each.
const MAX_FIELDS: usize = 16;
const MAX_FIELD: usize = 8 * 1024;
/// Results read of one field, and signatures kept of all.
const MAX_RESULTS: usize = 64;
const MAX_SIGNATURES: usize = 16;

/// What `server` says in a header about a letter from `author`'s domain; nothing if it
/// says nothing.
pub(super) fn read(header: &RawHeader<'_>, server: &str, author: &str) -> Option<Origin> {
    let mut fields = Vec::new();
    for value in header.values("Authentication-Results") {
        let text = String::from_utf8_lossy(&value[..value.len().min(MAX_FIELD)]).into_owned();
        let tokens = tokens(&text);
        if tokens.first().is_some_and(|name| name.text.eq_ignore_ascii_case(server)) {
            fields.push((text, tokens));
        }
    }
    if fields.is_empty() || fields.len() > MAX_FIELDS {
        return None;
    }
    let mut found = Origin::unknown(Witness::Upstream, author.to_owned());
    let (mut spf, mut dmarc) = (None, None);
    for (text, tokens) in fields {
        for result in results(&tokens) {
            match result.method.as_str() {
                "spf" => {
                    let about = result.property(&["smtp.mailfrom", "smtp.helo"]);
                    let domain = about.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
                    let said = (result.outcome, domain);
                    agree(&mut spf, said);
                }
                "dkim" if found.dkim.len() < MAX_SIGNATURES => {
                    let domain = match result.property(&["header.d"]) {
                        "" => result.property(&["header.i"]).rsplit('@').next().unwrap_or_default(),
                        domain => domain,
                    };
                    found.dkim.push(Signature {
                        outcome: result.outcome,
                        domain: Personal::new(domain.to_ascii_lowercase()),
                        selector: Personal::new(result.property(&["header.s"]).to_owned()),
                    });
                }
                "dmarc" => {
                    // Said of another author than the one we see, it is said of another letter.
                    let about = result.property(&["header.from"]);
                    let about = about.rsplit('@').next().unwrap_or_default();
                    let is_it = about.is_empty() || about.eq_ignore_ascii_case(author);
                    agree(&mut dmarc, if is_it { result.outcome } else { Outcome::Neutral });
                    found.policy = found.policy.or(policy(result.property(&["policy.dmarc", "p"])));
                }
                _ => {}
            }
        }
        found.fields.push(Personal::new(text));
    }
    if let Some(Some((outcome, domain))) = spf {
        (found.spf, found.spf_domain) = (outcome, Personal::new(domain));
    }
    found.dmarc = dmarc.map_or(Outcome::None, |said| said.unwrap_or(Outcome::Neutral));
    Some(found)
}

/// Keeps what is said once, or the same each time.
fn agree<T: PartialEq>(kept: &mut Option<Option<T>>, said: T) {
    *kept = Some(match kept.take() {
        None => Some(said),
        Some(before) => before.filter(|before| *before == said),
    });
}

fn policy(name: &str) -> Option<Policy> {
    match name.to_ascii_lowercase().as_str() {
        "none" => Some(Policy::None),
        "quarantine" => Some(Policy::Quarantine),
        "reject" => Some(Policy::Reject),
        _ => None,
    }
}

/// A word of a field: its text, and whether a semicolon stood before it.
struct Token {
    text: String,
    begins: bool,
}

/// Cuts a value into words, without comments; quotes are taken off.
fn tokens(value: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let (mut text, mut begins, mut open) = (String::new(), false, false);
    for c in value.chars().chain([' ']) {
        if escaped {
            escaped = false;
            if depth == 0 {
                text.push(c);
            }
            continue;
        }
        match c {
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => (quoted, open) = (!quoted, true),
            _ if quoted => text.push(c),
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            c if c.is_whitespace() || c == ';' => {
                if open {
                    let text = std::mem::take(&mut text);
                    tokens.push(Token { text, begins: std::mem::take(&mut begins) });
                    open = false;
                }
                begins |= c == ';';
            }
            c => {
                text.push(c);
                open = true;
            }
        }
    }
    tokens
}

/// One result of a field.
struct Result {
    /// In lower case, without its version.
    method: String,
    outcome: Outcome,
    properties: Vec<(String, String)>,
}

impl Result {
    fn property(&self, names: &[&str]) -> &str {
        let of = |name: &&str| self.properties.iter().find(|(known, _)| known == name);
        names.iter().find_map(of).map_or("", |(_, value)| value.as_str())
    }
}

/// The results behind the server's name.
fn results(tokens: &[Token]) -> Vec<Result> {
    let mut results: Vec<Result> = Vec::new();
    for token in tokens.iter().skip(1) {
        let Some((name, value)) = token.text.split_once('=') else { continue };
        let name = name.trim().to_ascii_lowercase();
        if token.begins {
            if results.len() == MAX_RESULTS {
                break;
            }
            let method = name.split('/').next().unwrap_or_default().to_owned();
            results.push(Result { method, outcome: Outcome::named(value), properties: Vec::new() });
        } else if let Some(last) = results.last_mut() {
            last.properties.push((name, value.to_owned()));
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "mx.agency.example";

    fn of(header: &str) -> Option<Origin> {
        let raw = format!("{header}\r\n\r\nbody\r\n");
        read(&RawHeader::of(raw.as_bytes()), SERVER, "example.net")
    }

    #[test]
    fn what_the_server_in_front_says_is_read_as_it_is_written() {
        let found = of(
            "Authentication-Results: mx.agency.example;\r\n\tdkim=pass (2048-bit key; secure) \
             header.d=Example.net header.i=@example.net header.s=\"k;1\" header.b=abc;\r\n\
             \tspf=pass (mx.agency.example: 192.0.2.1 is permitted) smtp.mailfrom=lotte@example.net;\r\n\
             \tdmarc=pass (p=reject dis=none) header.from=example.net policy.dmarc=reject",
        )
        .expect("it says something");
        assert_eq!((found.spf, found.dmarc), (Outcome::Pass, Outcome::Pass));
        assert_eq!(found.spf_domain.expose(), "example.net");
        assert_eq!(found.policy, Some(Policy::Reject));
        let [signature] = found.dkim.as_slice() else { panic!("one signature") };
        assert_eq!(signature.domain.expose(), "example.net");
        assert_eq!(signature.selector.expose(), "k;1");
        assert!(found.is_aligned("example.net"));
        assert_eq!(found.fields.len(), 1);
    }

    #[test]
    fn what_others_say_counts_for_nothing() {
        for header in [
            "Authentication-Results: mx.other.example; dmarc=pass header.from=example.net",
            "Authentication-Results: (mx.agency.example;) other; dmarc=pass",
            "X-Authentication-Results: mx.agency.example; dmarc=pass",
            "Subject: Authentication-Results: mx.agency.example; dmarc=pass",
            "Subject: x\r\n Authentication-Results: mx.agency.example; dmarc=pass",
            "Authentication-Results:",
        ] {
            assert_eq!(of(header), None, "{header}");
        }
        let body = "A: b\r\n\r\nAuthentication-Results: mx.agency.example; dmarc=pass";
        assert_eq!(of(body), None);
    }

    #[test]
    fn no_comment_and_no_quote_makes_a_pass() {
        for text in [
            "none",
            "dmarc=fail header.from=example.net",
            "dmarc=fail (; dmarc=pass header.from=example.net)",
            "dmarc=fail reason=\"; dmarc=pass\" header.from=example.net",
            "dmarc=fail (\\); dmarc=pass)",
            "x=y dmarc=pass",
            "dmarc=pass header.from=example.org",
            "dmarc=passed",
            "dmarc=pass; dmarc=fail",
            "dkim=pass header.d=example.org",
            "dkim=fail header.d=example.net",
            "spf=pass smtp.mailfrom=lotte@example.org",
        ] {
            let found = of(&format!("Authentication-Results: mx.agency.example; {text}"));
            assert!(!found.expect("it says something").is_aligned("example.net"), "{text}");
        }
    }

    #[test]
    fn two_fields_that_differ_are_no_statement_and_two_that_add_up_are_one() {
        let field = |text: &str| format!("Authentication-Results: mx.agency.example; {text}\r\n");
        let forged = format!("{}{}", field("dmarc=fail"), field("dmarc=pass").trim_end());
        assert!(!of(&forged).expect("something").is_aligned("example.net"));
        let parts = format!(
            "{}{}",
            field("dkim=pass header.d=example.net"),
            field("dmarc=pass header.from=example.net").trim_end()
        );
        let found = of(&parts).expect("something");
        assert!(found.is_aligned("example.net"));
        assert_eq!((found.dkim.len(), found.fields.len()), (1, 2));
        assert_eq!(of(field("dmarc=pass").repeat(MAX_FIELDS + 1).trim_end()), None);
    }
}
