//! Names for things: random, meaningless, and safe to print.
//!
//! Nothing here is derived from a person, an address or a content, so an id may stand in the
//! ledger, in a log line and in a file name.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Why a written id was refused. Carries nothing of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct BadId(&'static str);

/// Fills an array from the kernel.
///
/// # Panics
/// If the kernel has no randomness to give: nothing may be sealed or named then.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    bytes
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            #[doc = concat!("Wraps ", stringify!($len), " bytes.")]
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or(BadId($word))
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                d.bytes()?
                    .try_into()
                    .map(Self)
                    .map_err(|_| decode::Error::message(concat!("not a valid ", $word)))
            }
        }
    };
}

bytes_id!(
    /// One vault: drawn at `init`, bound into every box, so that a box of another vault is refused.
    VaultId, 16, "vault id"
);
bytes_id!(
    /// One received letter, or one outgoing mail.
    LetterId, 16, "letter id"
);
bytes_id!(
    /// One item of a letter, or a note.
    ItemId, 16, "item id"
);
bytes_id!(
    /// One slot of the cabinet: drawn with the key it holds, never used twice.
    SlotId, 16, "slot id"
);
bytes_id!(
    /// The public name of a chunk or a box in the packs (vault-format §3).
    Address, 32, "address"
);
bytes_id!(
    /// A hash that commits to something kept elsewhere: a manifest, a signed file, a list of ids.
    Digest, 32, "digest"
);

macro_rules! random_id {
    ($($name:ident)*) => { $(
        impl $name {
            /// A fresh one, from the kernel.
            #[must_use]
            pub fn random() -> Self {
                Self(random())
            }
        }
    )* };
}
random_id!(VaultId LetterId ItemId SlotId);

/// A member of the roster, by number. Names stand in the signed roster only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct StaffId(#[n(0)] pub u16);

/// An epoch, by number, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct EpochId(#[n(0)] pub u32);

/// A case number as people say and type it: `K-7F3Q-9M2X`.
///
/// Seven random characters of Crockford's base 32 (35 bits) and one check character, which finds
/// every single wrong character and every swap of neighbours. Read back without regard to case,
/// spaces and dashes, with `O` for `0` and `I`, `L` for `1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
#[cbor(transparent)]
pub struct CaseId(#[n(0)] u64);

impl<'b, C> Decode<'b, C> for CaseId {
    /// A number of more than 35 bits is none: it would be written as another.
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        match d.u64()? {
            number if number >> (5 * CASE_SYMBOLS) == 0 => Ok(Self(number)),
            _ => Err(minicbor::decode::Error::message("a case number of more than 35 bits")),
        }
    }
}

impl CaseId {
    /// A fresh one, from the kernel. The caller looks whether it is taken.
    #[must_use]
    pub fn random() -> Self {
        Self(u64::from_le_bytes(random()) & ((1 << (5 * CASE_SYMBOLS)) - 1))
    }

    fn symbols(self) -> [u8; CASE_SYMBOLS] {
        std::array::from_fn(|i| (self.0 >> (5 * (CASE_SYMBOLS - 1 - i)) & 31) as u8)
    }

    /// The weighted sum over GF(32), weights the powers of a generator: distinct and not zero, so
    /// one wrong symbol or two neighbours swapped always change it.
    fn check(self) -> u8 {
        self.symbols().into_iter().fold(0, |sum, symbol| times_generator(sum ^ symbol))
    }
}

/// Random symbols in a case number; the check follows them.
const CASE_SYMBOLS: usize = 7;
/// Crockford's base 32: no I, L, O, U.
pub(crate) const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The value of a symbol of Crockford's base 32 as people type it: without regard to case, `O` for
/// `0`, `I` and `L` for `1`.
pub(crate) fn crockford(c: char) -> Option<u8> {
    let c = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    CROCKFORD.iter().position(|&x| char::from(x) == c).map(|at| at as u8)
}

/// Multiplies by x in GF(2)[x] modulo x⁵ + x² + 1.
const fn times_generator(value: u8) -> u8 {
    let doubled = value << 1;
    if doubled & 32 == 0 { doubled } else { doubled ^ 0b10_0101 }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("K-")?;
        let check = self.check();
        for (i, symbol) in self.symbols().into_iter().chain([check]).enumerate() {
            if i == 4 {
                f.write_str("-")?;
            }
            write!(f, "{}", CROCKFORD[usize::from(symbol)] as char)?;
        }
        Ok(())
    }
}

impl fmt::Debug for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaseId({self})")
    }
}

impl FromStr for CaseId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = BadId("case number");
        let mut symbols = Vec::with_capacity(CASE_SYMBOLS + 2);
        for c in text.trim().chars().filter(|c| !matches!(c, '-' | ' ')) {
            symbols.push(u64::from(crockford(c).ok_or(bad)?));
            if symbols.len() > CASE_SYMBOLS + 2 {
                return Err(bad);
            }
        }
        if symbols.len() == CASE_SYMBOLS + 2 {
            let prefix = symbols.remove(0);
            if CROCKFORD[prefix as usize] != b'K' {
                return Err(bad);
            }
        }
        let check = symbols.pop().ok_or(bad)?;
        if symbols.len() != CASE_SYMBOLS {
            return Err(bad);
        }
        let id = Self(symbols.into_iter().fold(0, |value, symbol| value << 5 | symbol));
        if u64::from(id.check()) == check { Ok(id) } else { Err(bad) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_number_reads_back_as_people_type_it() {
        for _ in 0..1000 {
            let id = CaseId::random();
            let text = id.to_string();
            assert_eq!(text.len(), 11);
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(text.to_lowercase().replace('0', "o").replace('1', "l").parse(), Ok(id));
            assert_eq!(text[2..].replace('-', " ").parse(), Ok(id));
        }
    }

    #[test]
    fn one_wrong_character_or_two_swapped_are_noticed() {
        let text = CaseId::random().to_string().into_bytes();
        let parse = |bytes: &[u8]| String::from_utf8_lossy(bytes).parse::<CaseId>();
        for at in (2..6).chain(7..11) {
            for &other in CROCKFORD {
                let mut changed = text.clone();
                changed[at] = other;
                assert_eq!(parse(&changed).is_ok(), changed == text);
            }
            let next = if at == 5 { 7 } else { at + 1 };
            if next < 11 {
                let mut swapped = text.clone();
                swapped.swap(at, next);
                assert_eq!(parse(&swapped).is_ok(), swapped == text);
            }
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "K", "K-", "K-7F3Q-9M2", "K-7F3Q-9M2XX1", "K-7U3Q-9M2X", "Ünïcode!"] {
            assert!(text.parse::<CaseId>().is_err(), "{text}");
        }
        assert!("abc".parse::<LetterId>().is_err());
    }
}
