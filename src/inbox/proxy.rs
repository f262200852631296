//! The PROXY header, versions 1 and 2, with which a proxy says whose connection it passes on.
//!
//! A listener demands it or forbids it: where it were optional, a client could claim any address.
//! Who may send one is decided before (`connection`), by the address of the socket.

use std::net::IpAddr;

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

/// Bytes of a header at most: of version 1 with its CRLF, and of version 2 as every sender must be
/// able to keep to.
const MAX_V1: usize = 107;
const MAX_V2: usize = 536;

/// What stands in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// More bytes are wanted.
    Unfinished,
    /// So many bytes, and the client that it names; none if the proxy speaks for itself.
    Client(usize, Option<IpAddr>),
    /// It is no header, or none for a connection of this kind.
    Malformed,
}

/// Reads the header at the front of `bytes`.
#[must_use]
pub fn heading(bytes: &[u8]) -> Heading {
    let (most, starts) = match bytes.first() {
        None => return Heading::Unfinished,
        Some(b'P') => (MAX_V1, &b"PROXY "[..]),
        Some(_) => (MAX_V2, &b"\r\n\r\n\0\r\nQUIT\n"[..]),
    };
    let known = starts.len().min(bytes.len());
    if bytes[..known] != starts[..known] {
        return Heading::Malformed;
    }
    let seen = &bytes[..bytes.len().min(most)];
    match ProxyHeader::parse(seen, ParseConfig { include_tlvs: false, ..ParseConfig::default() }) {
        Ok((header, length)) => match header.proxied_address() {
            None => Heading::Client(length, None),
            Some(address) if address.protocol == Protocol::Stream => {
                Heading::Client(length, Some(address.source.ip().to_canonical()))
            }
            Some(_) => Heading::Malformed,
        },
        Err(Error::BufferTooShort) if seen.len() < most => Heading::Unfinished,
        Err(_) => Heading::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    /// What is said of all of it, and that nothing is said of less.
    fn whole(bytes: &[u8]) -> Heading {
        let said = heading(&[bytes, b"EHLO x\r\n"].concat());
        if let Heading::Client(length, _) = said {
            assert_eq!(length, bytes.len());
            for at in 0..length {
                assert_eq!(heading(&bytes[..at]), Heading::Unfinished, "{at} bytes");
            }
        }
        said
    }

    #[test]
    fn both_versions_name_the_client() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 25];
        let mut v6 = vec![0; 36];
        v6[..2].copy_from_slice(&[0x20, 0x01]);
        v6[15] = 1;
        let mut with_more = v4.to_vec();
        with_more.extend_from_slice(&[5, 0, 3, b'x', b'y', b'z']);
        for (bytes, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\r\n".to_vec(), address("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::1 ::1 12345 25\r\n".to_vec(), address("2001:db8::1")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n".to_vec(), address("192.0.2.7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN whatever it says\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), address("192.0.2.7")),
            (v2(0x21, 0x11, &with_more), address("192.0.2.7")),
            (v2(0x21, 0x21, &v6), address("2001::1")),
            (v2(0x21, 0x00, b""), None),
            (v2(0x20, 0x00, b""), None),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            assert_eq!(whole(&bytes), Heading::Client(bytes.len(), client), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_or_too_long_is_refused_at_once() {
        for bytes in [
            b"EHLO x\r\n".to_vec(),
            b"PROXYTCP4 192.0.2.7 10.0.0.1 1 25\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.7 10.0.0.1 1 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.777 10.0.0.1 1 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 25\n........".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 70000 25\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 ::1 1 25\r\n".to_vec(),
            [b"PROXY UNKNOWN ", &[b'x'; 120][..], b"\r\n"].concat(),
            b"\r\n".repeat(8),
            v2(0x31, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x21, 0x11, &[0; 4]),
            v2(0x21, 0x11, &[0; 600]),
        ] {
            assert_eq!(whole(&bytes), Heading::Malformed, "{bytes:?}");
        }
    }
}
