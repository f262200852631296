//! What the operator decides about the inbox. Every field has a default that is fit for use behind
//! a mail server; the accepted recipients are the one thing without which nothing is taken.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ServerConfig;

use super::budget::Budget;

/// How the inbox behaves.
#[derive(Clone)]
pub struct Settings {
    /// Our name, in the greeting and in the answer to EHLO.
    pub hostname: String,
    /// Whom we take mail for.
    pub recipients: Recipients,
    /// Bytes of one letter, dots taken out.
    pub max_letter: usize,
    /// Bytes of all letters in flight.
    pub in_flight: usize,
    /// Connections at a time, of all listeners together.
    pub max_connections: usize,
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
    /// Bytes a second that a letter must come with, once [`rate_grace`](Self::rate_grace) is over.
    pub minimum_rate: u32,
    /// How long a letter may come slower than that.
    pub rate_grace: Duration,
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
    /// What happens to a letter with a CR or LF that stands alone.
    pub bare_newlines: BareNewlines,
    /// Networks whose clients are not slowed down. A Unix socket is always trusted.
    pub trusted: Vec<Network>,
    /// Certificate and key for STARTTLS; without them it is not offered (`tls::load`).
    pub tls: Option<Arc<ServerConfig>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "localhost".into(),
            recipients: Recipients::default(),
            max_letter: 64 * 1024 * 1024,
            in_flight: Budget::of_this_machine(),
            max_connections: 100,
            max_recipients: 100,
            soft_errors: 5,
            hard_errors: 15,
            tarpit: Duration::from_secs(1),
            command_timeout: Duration::from_secs(300),
            letter_timeout: Duration::from_secs(600),
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

/// What happens to a letter with a CR or LF that stands alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewlines {
    /// It is refused.
    #[default]
    Reject,
    /// LF becomes CRLF, CR becomes a space: for a mail server of ours that hands such letters on.
    /// Only over LMTP from a trusted client; the bytes kept are then not the bytes sent, and a
    /// signature over them may break. Neither ever ends a letter.
    Normalize,
}

/// The addresses we take mail for. Compared without regard to the case of ASCII letters, the local
/// part too: two people whose addresses differ in case alone do not exist in practice.
#[derive(Clone, Debug, Default)]
pub struct Recipients {
    addresses: HashSet<String>,
    postmaster: bool,
}

impl Recipients {
    /// Takes mail for `addresses`; with `postmaster` also for `postmaster`, alone or at any of
    /// their domains (RFC 5321 §4.5.1).
    pub fn new<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>, postmaster: bool) -> Self {
        let mut addresses: HashSet<String> = addresses
            .into_iter()
            .map(|address| address.as_ref().to_ascii_lowercase())
            .collect();
        if postmaster {
            let domains: HashSet<String> = addresses
                .iter()
                .filter_map(|address| address.rsplit_once('@'))
                .map(|(_, domain)| format!("postmaster@{domain}"))
                .collect();
            addresses.extend(domains);
        }
        Self {
            addresses,
            postmaster,
        }
    }

    /// Whether mail for `address` is taken.
    #[must_use]
    pub fn accept(&self, address: &str) -> bool {
        self.addresses.contains(&address.to_ascii_lowercase())
            || self.postmaster && address.eq_ignore_ascii_case("postmaster")
    }
}

/// Addresses that share their first bits: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// A network is written as an address, or as an address, a slash and a number of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network: an address, or an address, a slash and a number of bits")]
pub struct BadNetwork;

impl Network {
    /// This machine itself.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        vec![
            Self {
                first: Ipv4Addr::new(127, 0, 0, 0).into(),
                bits: 8,
            },
            Self {
                first: Ipv6Addr::LOCALHOST.into(),
                bits: 128,
            },
        ]
    }

    /// Whether `address` lies in it. An IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differ = u32::from(first) ^ u32::from(address);
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differ = u128::from(first) ^ u128::from(address);
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| BadNetwork)?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| BadNetwork)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits <= most {
            Ok(Self { first, bits })
        } else {
            Err(BadNetwork)
        }
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
        for address in [
            "",
            "@",
            "backoffice",
            "backoffice@other.example",
            "postmaster@c.example",
        ] {
            assert!(!ours.accept(address), "{address}");
        }
        let without = Recipients::new(["backoffice@jobexpert.be"], false);
        assert!(!without.accept("postmaster"));
        assert!(!without.accept("postmaster@jobexpert.be"));
    }

    #[test]
    fn a_network_contains_what_shares_its_bits() {
        for (network, address, inside) in [
            ("127.0.0.0/8", "127.1.2.3", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.255", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.0/8", "::ffff:10.9.9.9", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let network: Network = network.parse().expect("the network reads");
            let address: IpAddr = address.parse().expect("the address reads");
            assert_eq!(network.contains(address), inside, "{network:?} {address}");
        }
        for text in [
            "",
            "x",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(BadNetwork), "{text}");
        }
    }
}
