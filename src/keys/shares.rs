//! Splits the recovery key into sheets, of which any k rebuild it and fewer say nothing.
//!
//! Shamir's scheme over GF(2⁸), byte by byte, with x = the number of the sheet. What is rebuilt is
//! held against the recipient that every sheet names, so a wrong sheet is never taken for a right
//! one. How a sheet is written is the business of [`super::sheet`].

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use super::sheet::{self, Ceremony, Sheet};
use super::staff::StaffKey;
use crate::ids::random;
use crate::secret::Secret;

/// Why sheets were not made, or do not rebuild a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Numbers that make no ceremony.
    #[error(
        "2 sheets or more rebuild a key, of at most {most} and no more than there are",
        most = sheet::MOST
    )]
    Numbers,
    /// An ssh key: it has no 32 bytes that could be split.
    #[error("only an age identity can be split")]
    NotSplit,
    /// One sheet was given twice.
    #[error("sheet {index} is there twice")]
    Twice {
        /// Its number.
        index: u8,
    },
    /// A sheet of another ceremony than the first one.
    #[error("sheet {index} is of another ceremony ({ceremony}) than the first one")]
    OtherCeremony {
        /// Its number.
        index: u8,
        /// Its ceremony.
        ceremony: Ceremony,
    },
    /// Fewer sheets than are needed.
    #[error("{given} of the {needed} sheets that it takes")]
    TooFew {
        /// So many.
        given: u8,
        /// So many rebuild the key.
        needed: u8,
    },
    /// They fit together and rebuild something else than the key that they name.
    #[error("the sheets do not rebuild the key that they name: one of them is forged")]
    NotTheKey,
}

/// Splits `key` into `count` sheets, any `threshold` of which rebuild it: one ceremony.
///
/// # Errors
/// [`Error::Numbers`], [`Error::NotSplit`].
pub fn split(key: &StaffKey, threshold: u8, count: u8) -> Result<Vec<Sheet>, Error> {
    if !sheet::are_numbers(threshold, count) {
        return Err(Error::Numbers);
    }
    let secret = key.secret().ok_or(Error::NotSplit)?;
    let (k, n) = (usize::from(threshold), usize::from(count));
    let shares = Gf256::split_bytes(k, n, secret.expose(), UnwrapErr(SysRng));
    let shares = Zeroizing::new(shares.expect("the numbers were checked"));
    let (ceremony, recipient) = (Ceremony(random()), sheet::fingerprint(key.recipient()));
    let sheet = |share: &Vec<u8>| Sheet {
        ceremony,
        threshold,
        count,
        index: share[0],
        recipient,
        share: Secret::filled(|place| place.copy_from_slice(&share[1..])),
    };
    Ok(shares.iter().map(sheet).collect())
}

/// Rebuilds the key from sheets of one ceremony, as many as it takes or more: all of them count.
///
/// # Errors
/// See [`Error`].
pub fn combine(sheets: &[Sheet]) -> Result<StaffKey, Error> {
    let too_few = |needed| Error::TooFew { given: sheets.len() as u8, needed };
    let first = sheets.first().ok_or(too_few(sheet::FEWEST))?;
    for (at, one) in sheets.iter().enumerate() {
        let Sheet { index, .. } = *one;
        if one.ceremony != first.ceremony {
            return Err(Error::OtherCeremony { index, ceremony: one.ceremony });
        }
        if sheets[..at].iter().any(|other| other.index == index) {
            return Err(Error::Twice { index });
        }
        // One ceremony has one of each; who writes it otherwise knows what he does.
        let head = |sheet: &Sheet| (sheet.threshold, sheet.count, sheet.recipient);
        if head(one) != head(first) {
            return Err(Error::NotTheKey);
        }
    }
    if sheets.len() < usize::from(first.threshold) {
        return Err(too_few(first.threshold));
    }
    let shares = sheets.iter().map(|sheet| {
        let mut share = Vec::with_capacity(33);
        share.push(sheet.index);
        share.extend_from_slice(sheet.share.expose());
        share
    });
    let shares: Zeroizing<Vec<Vec<u8>>> = Zeroizing::new(shares.collect());
    let rebuilt = Zeroizing::new(Gf256::combine_bytes(shares.as_slice()).expect("distinct, not 0"));
    let secret = Secret::filled(|secret: &mut [u8; 32]| secret.copy_from_slice(&rebuilt));
    let key = StaffKey::from_secret(&secret);
    if sheet::fingerprint(key.recipient()) == first.recipient {
        Ok(key)
    } else {
        Err(Error::NotTheKey)
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
