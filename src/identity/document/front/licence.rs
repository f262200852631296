//! Driving licences of the European Union: no words on their front but numbers, the same everywhere
//! (Directive 2006/126/EC, Annex I), in a column: 1 surname, 2 given names, 3 birth, 4a and 4b from and
//! until when, 4c by whom, 4d a number of the person, 5 the number of the licence.
//!
//! Nothing is read of one. It is told from other pages, so that it does not leave as if it were none.

use super::{ASIDE, date};
use crate::identity::document::Seen;

/// What lines of one begin with, in the order in which they stand; those that lists of other things
/// have, too, need their point.
const NUMBERS: [(&str, bool); 8] = [
    ("1.", true),
    ("2.", true),
    ("3.", true),
    ("4a", false),
    ("4b", false),
    ("4c", false),
    ("4d", false),
    ("5.", true),
];
/// The first and the last of the numbers that no other list has.
const OWN: std::ops::RangeInclusive<usize> = 3..=6;
/// Numbers in a column, at least, those that are a licence's own among them, and dates behind any.
const LEAST: usize = 4;
const LEAST_OWN: usize = 1;
const LEAST_DATES: usize = 2;

/// Whether the lines of a page have the numbers of a driving licence in a column, and dates.
pub(super) fn is_one(seen: &[Seen]) -> bool {
    let numbered: Vec<(usize, &Seen)> =
        seen.iter().filter_map(|one| Some((number(&one.text)?, one))).collect();
    let dates = seen.iter().filter(|one| has_date(&one.text)).count();
    dates >= LEAST_DATES && numbered.iter().any(|(_, first)| is_column(first, &numbered))
}

/// Which of the numbers a line begins with.
fn number(text: &str) -> Option<usize> {
    let signs: String = text.chars().filter(|sign| !sign.is_whitespace()).collect();
    let signs = signs.to_ascii_lowercase();
    NUMBERS.iter().position(|(number, has_point)| {
        let rest = signs.strip_prefix(number);
        // `4bis`, `4cm`: another letter makes it another word, and `1.50` is an amount.
        rest.is_some_and(|rest| match rest.chars().next() {
            None => true,
            Some(next) if *has_point => !next.is_ascii_digit() || has_date(rest),
            Some(next) => next == '.' || next.is_ascii_digit(),
        })
    })
}

fn has_date(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '/');
    // A number may stand before it without a space.
    let from = |at: usize| {
        text.get(at..at + 10).is_some_and(|ten| ten.chars().all(is_part) && date(ten).is_some())
    };
    (0..text.len()).any(from)
}

/// Whether enough of the numbers stand below this one, each further down than those before it.
fn is_column(first: &Seen, numbered: &[(usize, &Seen)]) -> bool {
    let height = first.quad.height().max(1.0);
    let ((left, top), _) = first.quad.ends();
    let (ux, uy) = first.quad.along();
    let mut column: Vec<(usize, f32)> = numbered
        .iter()
        .filter_map(|(nr, other)| {
            let ((x, y), _) = other.quad.ends();
            let (along, off) = ((x - left) * ux + (y - top) * uy, (y - top) * ux - (x - left) * uy);
            (along.abs() < ASIDE * height).then_some((*nr, off))
        })
        .collect();
    column.sort_by_key(|(nr, _)| *nr);
    column.dedup_by_key(|(nr, _)| *nr);
    let falls = column.windows(2).all(|two| two[0].1 < two[1].1);
    let own = column.iter().filter(|(nr, _)| OWN.contains(nr)).count();
    falls && own >= LEAST_OWN && column.len() >= LEAST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::picture::Quad;

    fn page(lines: &[(f32, f32, &str)]) -> Vec<Seen> {
        let one = |(x, y, text): &(f32, f32, &str)| {
            let (right, bottom) = (x + 10.0 * text.chars().count() as f32, y + 20.0);
            let quad = Quad([(*x, *y), (right, *y), (right, bottom), (*x, bottom)]);
            Seen { text: (*text).into(), sure: 0.95, quad }
        };
        lines.iter().map(one).collect()
    }

    const LICENCE: [(f32, f32, &str); 9] = [
        (300.0, 10.0, "RIJBEWIJS"),
        (300.0, 50.0, "1. PEETERS"),
        (300.0, 80.0, "2. LOTTE"),
        (300.0, 110.0, "3. 02.01.1978 GENK"),
        (300.0, 140.0, "4a. 14.07.2018"),
        (520.0, 140.0, "4c. Stad Genk"),
        (300.0, 170.0, "4b.14.07.2028"),
        (520.0, 170.0, "4d. 78010230123"),
        (300.0, 200.0, "5. 1234567890"),
    ];

    #[test]
    fn a_driving_licence_is_told_by_its_numbers() {
        assert!(is_one(&page(&LICENCE)));
        // Aslant, some of it unread, dates apart from their numbers.
        let mut aslant = page(&LICENCE[2..7]);
        for seen in &mut aslant {
            seen.quad = Quad(seen.quad.0.map(|(x, y)| (500.0 - y, x)));
        }
        assert!(is_one(&aslant));
        let apart = [
            (300.0, 50.0, "1."),
            (300.0, 80.0, "2."),
            (300.0, 110.0, "3."),
            (340.0, 110.0, "02.01.1978"),
            (300.0, 140.0, "4a."),
            (340.0, 140.0, "14.07.2018"),
        ];
        assert!(is_one(&page(&apart)));
    }

    #[test]
    fn lists_of_other_things_are_no_driving_licence() {
        let without = |leave: &dyn Fn(&str) -> bool| {
            let left: Vec<_> = LICENCE.iter().filter(|line| !leave(line.2)).copied().collect();
            is_one(&page(&left))
        };
        assert!(!without(&|text| text.starts_with('4')), "any list has 1, 2, 3, 5");
        assert!(!without(&|text| text.contains(".20") || text.contains(".19")), "no dates");
        let row: Vec<_> = LICENCE
            .iter()
            .enumerate()
            .map(|(nr, line)| (200.0 * nr as f32, 50.0, line.2))
            .collect();
        assert!(!is_one(&page(&row)), "not in a column");
        let mixed: Vec<_> = LICENCE.iter().map(|line| (line.0, 300.0 - line.1, line.2)).collect();
        assert!(!is_one(&page(&mixed)), "in no order");
        let invoice = [
            (90.0, 50.0, "1 Levering <artikel>"),
            (90.0, 80.0, "2.50 EUR 02/01/2026"),
            (90.0, 110.0, "3.10 EUR 02/02/2026"),
            (90.0, 140.0, "4bis Levering"),
            (90.0, 170.0, "5.00 EUR"),
        ];
        assert!(!is_one(&page(&invoice)));
    }
}
