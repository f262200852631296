//! What the operator decides about the inbox. Every field has a default that is fit for use behind
//! a mail server; the accepted recipients are the one thing without which nothing is taken.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ServerConfig;

use super::budget::Budget;
pub use crate::config::{BareNewlines, Network};

/// How the inbox behaves.
#[derive(Clone)]
pub struct Settings {
    /// Our name, in the greeting and in the answer to EHLO.
    pub hostname: String,
    /// Whom we take mail for.
    pub recipients: Recipients,
    /// Bytes of one letter, dots taken out.
    pub max_letter: usize,
    /// Memory for all letters, wherever they come from: whoever else takes some shares it.
    pub room: Budget,
    /// Connections at a time, of all listeners together: of trusted clients, and as many of others.
    pub max_connections: usize,
    /// Connections at a time of one client that is not trusted; an IPv6 client is a /64.
    pub max_connections_per_client: usize,
    /// Letters in an hour of one client of a listener that faces the world.
    pub letters_per_hour: u32,
    /// Bytes since the last accepted letter that are read and thrown away, before a client is cut
    /// off.
    pub max_discarded: usize,
    /// For the header of a proxy.
    pub proxy_timeout: Duration,
    /// Accepted recipients of one letter.
    pub max_recipients: usize,
    /// Refused commands after which each further refusal is slow.
    pub soft_errors: u32,
    /// Refused commands after which the connection is closed.
    pub hard_errors: u32,
    /// How slow a slow refusal is.
    pub tarpit: Duration,
    /// From one answer to the end of the next command.
    pub command_timeout: Duration,
    /// From 354 to the end of the letter.
    pub letter_timeout: Duration,
    /// From the greeting or the last accepted letter to the beginning of the next one: however much is
    /// said meanwhile.
    pub fruitless_time: Duration,
    /// Bytes a second that a letter must come with, once [`rate_grace`](Self::rate_grace) is over.
    pub minimum_rate: u32,
    /// How long a letter may come slower than that.
    pub rate_grace: Duration,
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
    /// What happens to a letter with a CR or LF that stands alone.
    pub bare_newlines: BareNewlines,
    /// Networks whose clients are servers of ours, on listeners that do not face the world: their word
    /// counts, and they are not slowed down. A Unix socket is always trusted.
    pub trusted: Vec<Network>,
    /// Certificate and key for STARTTLS; without them it is not offered (`tls::Offered`).
    pub tls: Option<Arc<ServerConfig>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "localhost".into(),
            recipients: Recipients::default(),
            max_letter: 64 * 1024 * 1024,
            room: Budget::new(Budget::of_this_machine()),
            max_connections: 100,
            max_connections_per_client: 10,
            letters_per_hour: 60,
            max_discarded: 256 * 1024 * 1024,
            proxy_timeout: Duration::from_secs(5),
            max_recipients: 100,
            soft_errors: 5,
            hard_errors: 15,
            tarpit: Duration::from_secs(1),
            command_timeout: Duration::from_secs(300),
            letter_timeout: Duration::from_secs(600),
            fruitless_time: Duration::from_secs(1200),
            minimum_rate: 500,
            rate_grace: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(60),
            bare_newlines: BareNewlines::Reject,
            trusted: Network::loopback(),
            tls: None,
        }
    }
}

impl Settings {
    /// Whether the client at `address` is trusted; `None` is a Unix socket.
    #[must_use]
    pub fn trusts(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| self.trusted.iter().any(|network| network.contains(address)))
    }
}

/// The addresses we take mail for. Compared without regard to the case of ASCII letters, the local
/// part too: two people whose addresses differ in case alone do not exist in practice. A domain is the
/// same in its own letters and in ASCII (RFC 5891), whichever of both was published.
#[derive(Clone, Debug, Default)]
pub struct Recipients {
    addresses: HashSet<String>,
    postmaster: bool,
}

impl Recipients {
    /// Takes mail for `addresses`; with `postmaster` also for `postmaster`, alone or at any of
    /// their domains (RFC 5321 §4.5.1).
    pub fn new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>, postmaster: bool) -> Self {
        let mut addresses: HashSet<String> =
            addresses.into_iter().map(|address| comparable(address.as_ref())).collect();
        if postmaster {
            let domains: HashSet<String> = addresses
                .iter()
                .filter_map(|address| address.rsplit_once('@'))
                .map(|(_, domain)| format!("postmaster@{domain}"))
                .collect();
            addresses.extend(domains);
        }
        Self { addresses, postmaster }
    }

    /// Whether mail for `address` is taken.
    #[must_use]
    pub fn accept(&self, address: &str) -> bool {
        self.addresses.contains(&comparable(address))
            || self.postmaster && address.eq_ignore_ascii_case("postmaster")
    }
}

/// An address as it is compared: in lower case, its domain in ASCII. What is no domain stays as it is.
fn comparable(address: &str) -> String {
    let lower = address.to_ascii_lowercase();
    match lower.rsplit_once('@') {
        Some((local, domain)) if !domain.is_ascii() => {
            let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
            format!("{local}@{domain}")
        }
        _ => lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_compared_without_case_and_postmaster_has_many_names() {
        let ours = Recipients::new(["BackOffice@jobexpert.be", "x@b.example"], true);
        for address in [
            "backoffice@jobexpert.be",
            "BACKOFFICE@JobExpert.BE",
            "postmaster",
            "PostMaster",
            "postmaster@jobexpert.be",
            "Postmaster@B.EXAMPLE",
        ] {
            assert!(ours.accept(address), "{address}");
        }
        for address in ["", "@", "backoffice", "backoffice@other.example", "postmaster@c.example"] {
            assert!(!ours.accept(address), "{address}");
        }
        let without = Recipients::new(["backoffice@jobexpert.be"], false);
        assert!(!without.accept("postmaster"));
        assert!(!without.accept("postmaster@jobexpert.be"));
    }

    #[test]
    fn a_domain_is_the_same_in_its_own_letters_and_in_ascii() {
        let (own, ascii) = ("\u{fc}berlassung.example", "xn--berlassung-8db.example");
        for published in [own, ascii] {
            let ours = Recipients::new([format!("Datenschutz@{published}")], true);
            for domain in [
                own,
                ascii,
                "\u{dc}berlassung.EXAMPLE",
                "u\u{308}berlassung.example",
                "XN--BERLASSUNG-8DB.example",
            ] {
                assert!(ours.accept(&format!("datenschutz@{domain}")), "{published} {domain}");
                assert!(ours.accept(&format!("Postmaster@{domain}")), "{published} {domain}");
            }
            for address in [
                "datenschutz@uberlassung.example",
                "datenschutz@ueberlassung.example",
                "datenschutz@\u{fc}\u{fc}berlassung.example",
                "d\u{e4}tenschutz@\u{fc}berlassung.example",
                "datenschutz@\u{fc}berlassung.example.",
                "datenschutz@\u{200d}",
            ] {
                assert!(!ours.accept(address), "{published} {address}");
            }
        }
        // A local part has letters of its own, and they are not put into ASCII.
        let ours = Recipients::new(["priv\u{e9}@b.example"], false);
        assert!(ours.accept("Priv\u{e9}@B.example"));
        assert!(!ours.accept("priv\u{c9}@b.example") && !ours.accept("xn--priv-epa@b.example"));
    }
}
