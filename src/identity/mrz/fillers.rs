//! Names whose fillers were read as letters.
//!
//! Nothing in the text tells the K that ends NOVAK from a filler behind it that was read as K, nor the LL in
//! ABDULLAH from the two that part a surname and a given name. So each way to read a name is given, the
//! likeliest first. Pure.

use super::layout::{Format, Place, at};
use super::names::Names;

/// Letters that fillers are read as (and are in no name three times at its end).
const LIKE_FILLER: [char; 7] = ['K', 'C', 'S', 'E', 'X', 'L', 'G'];
/// Fillers at the end of a name that may be read as letters, at least.
const LEAST_RUN: usize = 3;
/// Letters before two fillers that part a name, and from them to its end, at least.
const LEAST_BEFORE: usize = 2;
/// See [`LEAST_BEFORE`].
const LEAST_REST: usize = 4;

/// The lines with the fillers of their names put back, in each way, the likeliest first.
pub(super) fn put_back(format: Format, lines: &[String]) -> Vec<Vec<String>> {
    let mut found = vec![lines.to_vec()];
    let (first, second) = &format.places().names;
    // Where each name has a field of its own nothing stands between them.
    let may_part = second.is_none();
    for place in std::iter::once(first).chain(second) {
        let ways = readings(at(lines, place), may_part);
        found = ways
            .iter()
            .flat_map(|way| found.iter().map(move |lines| with(lines, place, way)))
            .collect();
    }
    found
}

fn with(lines: &[String], (nr, columns): &Place, field: &str) -> Vec<String> {
    let mut lines = lines.to_vec();
    lines[*nr].replace_range(columns.clone(), field);
    lines
}

/// What the name fields of these lines say.
pub(super) fn names(format: Format, lines: &[String]) -> Names {
    match &format.places().names {
        (both, None) => Names::of_field(at(lines, both)),
        (surname, Some(given)) => Names::of_fields(at(lines, surname), at(lines, given)),
    }
}

/// The ways to read a field that ends in a run of letters that fillers are read as; as it is, if it does
/// not. Only where that is so may two more of them stand between two names.
fn readings(field: &str, may_part: bool) -> Vec<String> {
    let letters: Vec<char> = field.chars().collect();
    let last = letters.iter().rev().find(|letter| **letter != '<').copied();
    let Some(letter) = last.filter(|letter| LIKE_FILLER.contains(letter)) else {
        return vec![field.to_owned()];
    };
    let is_run = |other: &&char| **other == letter || **other == '<';
    let start = letters.len() - letters.iter().rev().take_while(is_run).count();
    if letters[start..].iter().filter(|one| **one == letter).count() < LEAST_RUN {
        return vec![field.to_owned()];
    }
    let mut bare = letters.clone();
    bare[start..].fill('<');
    // The first of the run may be the name's own last letter, the more so if a filler follows.
    let own: &[bool] = match &letters[start.saturating_sub(1)..start + 2] {
        ['<', ..] => &[false],
        [_, first, '<'] if *first == letter => &[true, false],
        [_, first, _] if *first == letter => &[false, true],
        _ => &[false],
    };
    let parted = if may_part { parted(&bare[..start], letter) } else { None };
    let mut found = Vec::with_capacity(4);
    for at in parted.map(Some).into_iter().chain([None]) {
        for is_own in own {
            let mut way = bare.clone();
            if let Some(at) = at {
                way[at..at + 2].fill('<');
            }
            if *is_own {
                way[start] = letter;
            }
            found.push(way.into_iter().collect());
        }
    }
    found
}

/// Where two of this letter may part two names that nothing else parts: the only such place.
fn parted(name: &[char], letter: char) -> Option<usize> {
    let pairs = || name.windows(2).enumerate();
    let is_there = |at: usize| at >= LEAST_BEFORE && at + LEAST_REST <= name.len();
    let mut found = pairs().filter(|(at, pair)| *pair == [letter; 2] && is_there(*at));
    let is_parted = pairs().any(|(_, pair)| pair == ['<', '<']);
    let only = found.next().filter(|_| !is_parted)?;
    found.next().is_none().then_some(only.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The field with its fillers, in each way to read it.
    fn ways(field: &str, may_part: bool) -> Vec<String> {
        let found = readings(field, may_part);
        assert!(found.iter().all(|way| way.len() == field.len()));
        found.into_iter().map(|way| way.trim_end_matches('<').to_owned()).collect()
    }

    #[test]
    fn a_field_that_ends_in_fillers_is_as_it_is() {
        for field in [
            "ABDULLAH<<<<<<<<<<<<",
            "KESSLER<<<<<<<<<<<<<",
            "ROSSELL<<ELLA<<<<<<<",
            "BAKKER<<JAN<<<<<<<<<",
            "NOVAK<<<<<<<<<<<<<<<",
            "NOVAKK<<<<<<<<<<<<<<",
            "<<<<<<<<<<<<<<<<<<<<",
            "VERYLONGNAMETHATFILL",
        ] {
            assert_eq!(readings(field, true), [field]);
        }
    }

    #[test]
    fn what_may_be_a_letter_or_a_filler_is_read_both_ways() {
        for (field, wanted) in [
            ("DUPONT<<JEANKKKKKKKK", &["DUPONT<<JEAN", "DUPONT<<JEANK"][..]),
            ("NOVAKKKKKKKKKKKKKKKK", &["NOVA", "NOVAK"]),
            // A filler was read right behind it.
            ("NOVAK<<<KKK<<<<KK<<<", &["NOVAK", "NOVA"]),
            ("DUPONT<<JAN<KKKKKKKK", &["DUPONT<<JAN"]),
            ("DUPONT<<JAN<<<<KKKK<", &["DUPONT<<JAN"]),
            (
                "DUPONTKKJEANKKKKKKKK",
                &["DUPONT<<JEAN", "DUPONT<<JEANK", "DUPONTKKJEAN", "DUPONTKKJEANK"],
            ),
            ("ABDULLAH<LLLLLLLLLLL", &["ABDU<<AH", "ABDULLAH"]),
            // Other letters are no fillers here.
            ("ABDULLAH<KKKKKKKKKKK", &["ABDULLAH"]),
            ("KESSLER<<<<<<<LLLLLL", &["KESSLER"]),
            // One of two places, and nobody knows which.
            ("DALLENALLENA<LLLLLLL", &["DALLENALLENA"]),
            ("KKKKKKKKKKKKKKKKKKKK", &[""]),
        ] {
            assert_eq!(ways(field, true), wanted, "{field}");
        }
        assert_eq!(ways("ABDULLAH<LLLLLLLLLLL", false), ["ABDULLAH"], "a field of one name");
    }
}
