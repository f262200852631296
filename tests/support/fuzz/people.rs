//! Lists of people, and running text with national numbers in it.

use kluis::identity::numbers::find::{MASK, find, masked};
use kluis::identity::people::table::{MOST_PEOPLE, parse};

/// Characters of a field, and bytes of an address, as the table has them at most.
const LONGEST: usize = 500;
const LONGEST_ADDRESS: usize = 254;

/// Who is in a list has a name, and addresses that are some; what is refused says where. In any text what is
/// masked is digits, eleven at a time, and what is left has no number.
pub(crate) fn people(bytes: &[u8]) {
    match parse(bytes) {
        Ok(table) => {
            let people = &table.people.people;
            assert!(people.len() <= MOST_PEOPLE);
            for person in people {
                let name = person.name.expose();
                assert!(!name.trim().is_empty() && name.chars().count() <= 2 * LONGEST + 1);
                for address in &person.addresses {
                    let address = address.address.expose();
                    assert!(address.contains('@') && address.len() <= LONGEST_ADDRESS);
                }
            }
        }
        Err(faults) => assert!(!faults.is_empty() && faults.iter().all(|fault| fault.line > 0)),
    }
    let text = String::from_utf8_lossy(bytes);
    let found = find(&text);
    for range in &found {
        let digits = text[range.clone()].chars().filter(char::is_ascii_digit).count();
        assert_eq!(digits, 11);
    }
    assert!(found.windows(2).all(|two| two[0].end <= two[1].start), "in order and apart");
    let hidden = masked(&text);
    assert!(find(&hidden).is_empty());
    assert_eq!(hidden.chars().count(), text.chars().count());
    let changed = hidden.chars().zip(text.chars()).filter(|(new, old)| new != old);
    let changed: Vec<(char, char)> = changed.collect();
    assert_eq!(changed.len(), 11 * found.len());
    assert!(changed.iter().all(|(new, old)| *new == MASK && old.is_ascii_digit()));
}
