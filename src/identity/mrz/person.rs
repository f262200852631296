//! The number of a person in the optional data, by issuer.

use super::PersonNumber;
use super::layout::Format;
use crate::identity::numbers::NationalNumber;

/// A number of the person that the optional data holds.
pub(super) fn number(
    format: Format,
    issuer: &str,
    optional: [&str; 2],
    birth: &str,
) -> Option<PersonNumber> {
    let [first, second] = optional;
    let digits = |text: &str, count: usize| {
        let text = text.trim_end_matches('<');
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_card = format == Format::Td1;
    match issuer {
        "BEL" if is_card && second.bytes().any(|byte| byte != b'<') => {
            let number = NationalNumber::parse(second);
            Some(number.map_or(PersonNumber::BelgianUnproven, PersonNumber::Belgian))
        }
        "NLD" if is_card && digits(first.get(..9)?, 9) => Some(PersonNumber::Dutch),
        "NLD" if !is_card && digits(first, 9) => Some(PersonNumber::Dutch),
        "BGR" if digits(second, 10) => Some(PersonNumber::Bulgarian(is_egn_of(second, birth))),
        "BGR" if digits(first, 10) => Some(PersonNumber::Bulgarian(is_egn_of(first, birth))),
        "ROU" if format == Format::Td2 && digits(first, 7) => Some(PersonNumber::Romanian),
        "POL" if digits(second, 11) || digits(first, 11) => Some(PersonNumber::Polish),
        "ESP" if is_card && first.bytes().any(|byte| byte != b'<') => Some(PersonNumber::Spanish),
        "FIN" if is_card && first.bytes().any(|byte| byte != b'<') => Some(PersonNumber::Finnish),
        _ => None,
    }
}

/// A Bulgarian number begins with the birth date, its month 40 more from 2000 on.
fn is_egn_of(number: &str, birth: &str) -> bool {
    let month = |text: &str| text.get(2..4).and_then(|month| month.parse::<u8>().ok());
    let same = number.get(..2) == birth.get(..2) && number.get(4..6) == birth.get(4..6);
    let (of_number, of_birth) = (month(number), month(birth));
    same && (of_number == of_birth || of_number == of_birth.map(|month| month + 40))
}
