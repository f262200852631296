//! Walks over the packets of a message without opening any (RFC 9580 §4.2): is it an encrypted
//! message at all, in a form that is opened, within limits, and whole?

use sequoia_openpgp as pgp;

use pgp::types::{AEADAlgorithm, SymmetricAlgorithm};

use super::{MAX_RECIPIENTS, Undecryptable};

/// Marker and padding packets that are passed over.
const MAX_IDLE: usize = 16;
/// Packets for passwords that are passed over.
const MAX_PASSWORDS: usize = 32;

/// The bytes from the first packet to the end of the encrypted container.
pub(super) fn message(bytes: &[u8]) -> Result<&[u8], Undecryptable> {
    let (mut recipients, mut passwords, mut idle) = (0, 0, 0);
    let mut at = 0;
    loop {
        let first = *bytes.get(at).ok_or(if at == 0 {
            Undecryptable::Malformed
        } else {
            Undecryptable::Truncated
        })?;
        let (count, limit) = match tag(first) {
            Some(1) => (&mut recipients, MAX_RECIPIENTS),
            Some(3) => (&mut passwords, MAX_PASSWORDS),
            Some(10 | 21) => (&mut idle, MAX_IDLE),
            Some(9) => return Err(Undecryptable::Unauthenticated),
            Some(18) => {
                let packet = Packet::parse(bytes, at)?;
                protected(&bytes[packet.body..packet.end])?;
                return Ok(&bytes[..packet.end]);
            }
            Some(20) => return Err(Undecryptable::LibrePgpOcb),
            _ => return Err(Undecryptable::Malformed),
        };
        let packet = Packet::parse(bytes, at)?;
        *count += 1;
        if *count > limit {
            return Err(Undecryptable::OverLimit);
        }
        if packet.is_streamed {
            return Err(Undecryptable::Malformed);
        }
        at = packet.end;
    }
}

/// The versions and algorithms of a SEIPD packet (RFC 9580 §5.13).
fn protected(body: &[u8]) -> Result<(), Undecryptable> {
    let is_known = match *body {
        [1, ..] => true,
        [2, cipher, aead, ..] => {
            SymmetricAlgorithm::from(cipher).is_supported()
                && AEADAlgorithm::from(aead).is_supported()
        }
        [] => return Err(Undecryptable::Truncated),
        _ => false,
    };
    if is_known { Ok(()) } else { Err(Undecryptable::Unsupported) }
}

const fn is_new(first: u8) -> bool {
    first & 0x40 != 0
}

/// The kind of packet that this byte begins, if it begins one.
fn tag(first: u8) -> Option<u8> {
    let tag = if is_new(first) { first & 0x3f } else { first >> 2 & 0x0f };
    (first & 0x80 != 0).then_some(tag)
}

/// Where a packet lies.
struct Packet {
    /// Where the first (or only) piece of its body begins.
    body: usize,
    /// Where the next packet begins.
    end: usize,
    /// In pieces or without a length: allowed for content only (§4.2.1.4).
    is_streamed: bool,
}

impl Packet {
    fn parse(bytes: &[u8], at: usize) -> Result<Self, Undecryptable> {
        if is_new(bytes[at]) { Self::parse_new(bytes, at) } else { Self::parse_old(bytes, at) }
    }

    fn parse_new(bytes: &[u8], at: usize) -> Result<Self, Undecryptable> {
        let mut length_at = at + 1;
        let mut body = None;
        loop {
            let first = usize::from(*bytes.get(length_at).ok_or(Undecryptable::Truncated)?);
            let (head, length, is_partial) = match first {
                0..192 => (1, first, false),
                192..224 => {
                    (2, ((first - 192) << 8) + number(bytes, length_at + 1, 1)? + 192, false)
                }
                224..255 => (1, 1 << (first & 31), true),
                _ => (5, number(bytes, length_at + 1, 4)?, false),
            };
            let start = length_at + head;
            let is_streamed = is_partial || body.is_some();
            let body = *body.get_or_insert(start);
            let end = start.checked_add(length).filter(|&end| end <= bytes.len());
            let end = end.ok_or(Undecryptable::Truncated)?;
            if !is_partial {
                return Ok(Self { body, end, is_streamed });
            }
            length_at = end;
        }
    }

    fn parse_old(bytes: &[u8], at: usize) -> Result<Self, Undecryptable> {
        let size = match bytes[at] & 3 {
            3 => {
                return Ok(Self { body: at + 1, end: bytes.len(), is_streamed: true });
            }
            kind => 1 << kind,
        };
        let body = at + 1 + size;
        let end = body.checked_add(number(bytes, at + 1, size)?);
        let end = end.filter(|&end| end <= bytes.len()).ok_or(Undecryptable::Truncated)?;
        Ok(Self { body, end, is_streamed: false })
    }
}

/// A big-endian number of at most four bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Result<usize, Undecryptable> {
    let digits = bytes.get(at..at + size).ok_or(Undecryptable::Truncated)?;
    Ok(digits.iter().fold(0, |value, &digit| value << 8 | usize::from(digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet in the new format with a one-byte length.
    fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[0xc0 | tag, body.len() as u8], body].concat()
    }

    #[test]
    fn a_container_is_found_in_every_way_of_writing_its_length() {
        let recipient = packet(1, &[3; 10]);
        for container in [
            packet(18, &[1, 2, 3]),
            vec![0xd2, 255, 0, 0, 0, 2, 1, 9],
            [&[0xd2, 192, 8, 1][..], &[0; 199]].concat(),
            [&[0xd2, 0xe1, 1, 2, 0xe0, 3, 1, 4][..]].concat(),
        ] {
            let whole = [recipient.clone(), packet(10, b"PGP"), container].concat();
            assert_eq!(message(&whole), Ok(&whole[..]));
            for cut in 0..whole.len() {
                let why =
                    if cut == 0 { Undecryptable::Malformed } else { Undecryptable::Truncated };
                assert_eq!(message(&whole[..cut]), Err(why), "{cut}");
            }
            assert_eq!(message(&[&whole[..], b"\r\nrest"].concat()), Ok(&whole[..]));
        }
        let old = [&[0x84, 3, 3, 3, 3][..], &[0x85, 0, 1, 3], &packet(18, &[1])].concat();
        assert_eq!(message(&old), Ok(&old[..]));
    }

    #[test]
    fn what_is_not_opened_has_its_reason() {
        use Undecryptable as U;
        let recipient = packet(1, &[3; 10]);
        for (container, why) in [
            (packet(9, &[1; 40]), U::Unauthenticated),
            (vec![0xa7, 1, 2, 3], U::Unauthenticated),
            (packet(20, &[1; 40]), U::LibrePgpOcb),
            (packet(18, &[3; 40]), U::Unsupported),
            (packet(18, &[2, 9, 77, 1]), U::Unsupported),
            (packet(8, &[1; 40]), U::Malformed),
            (packet(2, &[4; 40]), U::Malformed),
            (vec![0xc1, 0xe0, 3, 0], U::Malformed),
            (vec![0x87, 3], U::Malformed),
            (vec![0x00], U::Malformed),
            (vec![0xd2, 255, 255, 255, 255, 255, 1], U::Truncated),
            (vec![0xd2, 0xfe, 1], U::Truncated),
        ] {
            assert_eq!(
                message(&[recipient.clone(), container.clone()].concat()),
                Err(why),
                "{container:x?}"
            );
        }
        assert_eq!(message(b""), Err(U::Malformed));
        assert_eq!(message(b"plain text"), Err(U::Malformed));
    }

    #[test]
    fn too_many_packets_before_the_container_are_refused() {
        for (tag, limit) in [(1, MAX_RECIPIENTS), (3, MAX_PASSWORDS), (10, MAX_IDLE)] {
            let many = |count: usize| [packet(tag, &[3]).repeat(count), packet(18, &[1])].concat();
            assert!(message(&many(limit)).is_ok());
            assert_eq!(message(&many(limit + 1)), Err(Undecryptable::OverLimit));
        }
    }
}
