//! Message-IDs that only we can make: `k.<case>.<nonce>.<mac>@<domain>`.
//!
//! A reply or a bounce that names one belongs to its case; without the key nobody makes one up.
//! The MAC is BLAKE3 keyed, cut to 16 bytes, over everything before it.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use subtle::ConstantTimeEq as _;

use crate::ids::CaseId;

/// Bytes of the MAC.
const MAC: usize = 16;
/// Characters of a text that is looked at: a Message-ID is a line (RFC 5322 §2.1.1).
const MAX_TEXT: usize = 998;

/// A Message-ID for a mail of this case, without angle brackets. Give each mail its own `nonce`.
#[must_use]
pub fn compose_id(key: &[u8; 32], case: CaseId, nonce: [u8; 8], domain: &str) -> String {
    let named = named(case, nonce);
    let mac = BASE32_NOPAD.encode(&mac(key, &named)).to_ascii_lowercase();
    format!("{named}.{mac}@{domain}")
}

/// The case that a Message-ID names, if it is one of ours: with or without angle brackets, under
/// any domain, in any case of letters.
#[must_use]
pub fn verify_id(key: &[u8; 32], text: &str) -> Option<CaseId> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let (local, _) = text.trim().trim_start_matches('<').split_once('@')?;
    let local = local.to_ascii_lowercase();
    let mut parts = local.strip_prefix("k.")?.split('.');
    let (case, nonce, given) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let case: CaseId = case.parse().ok()?;
    let nonce = HEXLOWER.decode(nonce.as_bytes()).ok()?.try_into().ok()?;
    let given = BASE32_NOPAD.decode(given.to_ascii_uppercase().as_bytes()).ok()?;
    let right = mac(key, &named(case, nonce));
    bool::from(given.as_slice().ct_eq(&right)).then_some(case)
}

fn named(case: CaseId, nonce: [u8; 8]) -> String {
    format!("k.{case}.{}", HEXLOWER.encode(&nonce))
}

fn mac(key: &[u8; 32], named: &str) -> [u8; MAC] {
    let hash = blake3::keyed_hash(key, named.as_bytes());
    std::array::from_fn(|i| hash.as_bytes()[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[test]
    fn our_own_ids_come_home() {
        let case = CaseId::random();
        let id = compose_id(&KEY, case, [1, 2, 3, 4, 5, 6, 7, 8], "example.org");
        assert!(id.starts_with(&format!("k.{case}.0102030405060708.")), "{id}");
        assert!(id.ends_with("@example.org") && id.len() < 90);
        for text in [id.clone(), format!("<{id}>"), id.to_uppercase(), format!(" <{id}>\r\n")] {
            assert_eq!(verify_id(&KEY, &text), Some(case), "{text}");
        }
    }

    #[test]
    fn any_other_id_names_no_case() {
        let id = compose_id(&KEY, CaseId::random(), [9; 8], "example.org");
        assert_eq!(verify_id(&[8; 32], &id), None);
        let local = id.find('@').unwrap();
        for at in 0..local {
            for other in [b'a', b'2', b'.', b'@'] {
                let mut changed = id.clone().into_bytes();
                if changed[at].eq_ignore_ascii_case(&other) {
                    continue;
                }
                changed[at] = other;
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(verify_id(&KEY, &changed), None, "{changed}");
            }
        }
        for text in ["", "@", "k.@", "k...@x", "a@b", &"k.".repeat(600), &id[..local]] {
            assert_eq!(verify_id(&KEY, text), None, "{text}");
        }
        let (named, domain) = id.split_once('@').unwrap();
        assert_eq!(verify_id(&KEY, &format!("{named}aa@{domain}")), None);
        assert_eq!(
            verify_id(&KEY, &format!("{}@{domain}", named.rsplit_once('.').unwrap().0)),
            None
        );
    }
}
