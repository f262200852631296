//! Compressed RTF (MS-OXRTFCP): the body of a letter from Outlook, inside TNEF.
//!
//! A ring of 4 KiB that begins with what every RTF begins with; each flag bit says whether a byte
//! or a place in the ring follows. A place gives 17 bytes for two, so what comes out is at most nine
//! times what goes in.

use super::{Refused, array};

const COMPRESSED: &[u8; 4] = b"LZFu";
const UNCOMPRESSED: &[u8; 4] = b"MELA";
const HEADER: usize = 16;
const RING: usize = 4096;
/// What the ring begins with.
const BEGINNING: &[u8] = b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx";

/// The RTF, of at most `room` bytes.
pub(super) fn unpack(packed: &[u8], room: usize) -> Result<Vec<u8>, Refused> {
    let length = array(packed, 4).map(u32::from_le_bytes).ok_or(Refused::Broken)? as usize;
    let kind: [u8; 4] = array(packed, 8).ok_or(Refused::Broken)?;
    let data = packed.get(HEADER..).ok_or(Refused::Broken)?;
    if length > room {
        return Err(Refused::Swollen);
    }
    match &kind {
        UNCOMPRESSED => data.get(..length).map(<[u8]>::to_vec).ok_or(Refused::Broken),
        COMPRESSED => inflate(data, length),
        _ => Err(Refused::Broken),
    }
}

fn inflate(data: &[u8], length: usize) -> Result<Vec<u8>, Refused> {
    let mut ring = [b' '; RING];
    ring[..BEGINNING.len()].copy_from_slice(BEGINNING);
    let mut at = BEGINNING.len();
    let mut out = Vec::new();
    let mut bytes = data.iter().copied();
    let mut put = |byte: u8, at: &mut usize, ring: &mut [u8; RING]| {
        ring[*at] = byte;
        *at = (*at + 1) % RING;
        out.push(byte);
        out.len() > length
    };
    'all: while let Some(flags) = bytes.next() {
        for bit in 0..8 {
            let Some(first) = bytes.next() else { break 'all };
            if flags >> bit & 1 == 0 {
                if put(first, &mut at, &mut ring) {
                    return Err(Refused::Broken);
                }
                continue;
            }
            let Some(second) = bytes.next() else { return Err(Refused::Broken) };
            let place = usize::from(first) << 4 | usize::from(second >> 4);
            // A place that is where we are ends it.
            if place == at {
                break 'all;
            }
            for step in 0..usize::from(second & 15) + 2 {
                if put(ring[(place + step) % RING], &mut at, &mut ring) {
                    return Err(Refused::Broken);
                }
            }
        }
    }
    if out.len() == length { Ok(out) } else { Err(Refused::Broken) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_comes_out() {
        // MS-OXRTFCP §4.1.1.
        let packed = b"\x2d\x00\x00\x00\x2b\x00\x00\x00\x4c\x5a\x46\x75\xf1\xc5\xc7\xa7\x03\x00\x0a\x00\
            \x72\x63\x70\x67\x31\x32\x35\x42\x32\x0a\xf3\x20\x68\x65\x6c\x09\x00\x20\x62\x77\x05\xb0\x6c\x64\
            \x7d\x0a\x80\x0f\xa0";
        let rtf = b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n";
        assert_eq!(unpack(packed, 1000).as_deref(), Ok(&rtf[..]));
        assert_eq!(unpack(packed, 10), Err(Refused::Swollen));
        for length in 0..packed.len() - 2 {
            assert!(unpack(&packed[..length], 1000).is_err(), "{length}");
        }
        assert_eq!(BEGINNING.len(), 207);
    }
}
