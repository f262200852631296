//! The pictures of one letter judged together, with the names that the letter gives.
//!
//! A front that came as one file and a zone that came as another belong together only if there is just
//! one of each in the letter, and they agree. Two people's papers are never put together.

use super::judge::{Holder, are_any_two};
use super::{Conclusion, Sight, conclude, sender};
use crate::identity::evidence::{Field, FieldName, Known, Reason, Standing, Verdict};
use crate::identity::mrz::Names;
use crate::identity::mrz::names::NameMatch;
use jiff::civil::Date;

/// What is known of the letter that pictures came with.
#[derive(Clone, Copy)]
pub struct Letter<'a> {
    /// The day.
    pub today: Date,
    /// Names in its `From`.
    pub from: &'a [&'a str],
    /// Its texts.
    pub texts: &'a [&'a str],
}

impl std::fmt::Debug for Letter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter").field("today", &self.today).finish_non_exhaustive()
    }
}

/// What a picture comes to.
#[derive(Clone, Debug)]
pub struct Judged {
    /// That.
    pub conclusion: Conclusion,
    /// The number of the picture that is its other side.
    pub other_side: Option<usize>,
}

/// Judges the pictures of a letter, in their order.
#[must_use]
pub fn together(sights: &[&Sight], letter: &Letter<'_>) -> Vec<Judged> {
    let mut judged: Vec<Judged> = sights
        .iter()
        .map(|sight| Judged { conclusion: alone(sight, letter), other_side: None })
        .collect();
    if let Some((front, zone)) = sides(sights, &judged) {
        let pages = [sights[front].pages.clone(), sights[zone].pages.clone()].concat();
        let both = alone(&Sight { pages, ..Sight::default() }, letter);
        if both.is_of_one() {
            judged[front] = Judged { conclusion: both.clone(), other_side: Some(zone) };
            judged[zone] = Judged { conclusion: both, other_side: Some(front) };
        }
    }
    judged
}

/// The only front without a zone, and the only zone without a front.
fn sides(sights: &[&Sight], judged: &[Judged]) -> Option<(usize, usize)> {
    let only = |is: &dyn Fn(usize) -> bool| {
        let mut found = (0..judged.len()).filter(|nr| is(*nr));
        found.next().filter(|_| found.next().is_none())
    };
    let is_front = |nr: usize| {
        judged[nr].conclusion.mrz.is_none() && !judged[nr].conclusion.evidence.fields.is_empty()
    };
    let has_names = |nr: usize| {
        sights[nr]
            .pages
            .iter()
            .any(|page| page.front.surname.is_some() || page.front.given.is_some())
    };
    let is_zone = |nr: usize| judged[nr].conclusion.mrz.is_some() && !has_names(nr);
    Some((only(&is_front)?, only(&is_zone)?))
}

/// Judges one picture.
fn alone(sight: &Sight, letter: &Letter<'_>) -> Conclusion {
    let plain = conclude(sight, Known { today: letter.today, names: &[] });
    let Some(names) = names_of(&plain) else { return plain };
    let texts = sender::within_bounds(letter.texts);
    let mut known = sender::claimed(letter.from, &texts);
    // Who names somebody else than themselves says nothing of themselves.
    if known.is_empty() {
        known.extend(texts.iter().filter_map(|text| sender::mentioned(text, &names)));
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    if plain.mrz.is_some() {
        return conclude(sight, Known { today: letter.today, names: &known });
    }
    front_with_names(plain, &names, &known)
}

/// The names that a document says.
fn names_of(found: &Conclusion) -> Option<Names> {
    if let Some(mrz) = &found.mrz {
        return Some(mrz.names.clone());
    }
    let value = |name: FieldName| {
        let field = found.evidence.fields.iter().find(|field| field.name == name);
        field.map(|field| upper(&field.value)).unwrap_or_default()
    };
    let (surname, given) = (value(FieldName::Surname), value(FieldName::GivenNames));
    (!surname.is_empty()).then_some(Names { surname, given, may_be_cut: false })
}

/// A name as a zone would have it, as far as that is one way only.
fn upper(name: &str) -> String {
    let words = name.split([' ', '-', '\'', '.']).filter(|word| !word.is_empty());
    let word = |word: &str| -> String {
        word.chars()
            .flat_map(|sign| crate::identity::mrz::names::forms(sign).into_iter().take(1))
            .collect()
    };
    words.map(word).collect::<Vec<_>>().join(" ")
}

/// Holds the names of a front against those that the letter gives.
fn front_with_names(mut found: Conclusion, names: &Names, known: &[&str]) -> Conclusion {
    let matches: Vec<NameMatch> = known.iter().map(|name| names.agrees(name)).collect();
    let standing = if matches.contains(&NameMatch::Agrees) {
        Standing::Consistent(Reason::NameOfSender)
    } else if matches.contains(&NameMatch::Partly) {
        Standing::Unproven(Reason::PartOfName)
    } else if matches.is_empty() {
        return found;
    } else {
        Standing::Inconsistent(Reason::OtherName)
    };
    let is_name = |field: &Field| matches!(field.name, FieldName::Surname | FieldName::GivenNames);
    for field in found.evidence.fields.iter_mut().filter(|field| is_name(field)) {
        if !field.value.is_empty() {
            field.standing = standing;
        }
    }
    if matches!(standing, Standing::Inconsistent(_)) {
        let fields = found.evidence.fields.iter();
        found.contradicted =
            fields.filter(|field| field.standing == standing).map(|field| field.name).collect();
        if found.evidence.verdict != Verdict::Specimen {
            found.evidence.verdict = Verdict::Inconsistent(found.contradicted.clone());
        }
    }
    found
}

/// The one verdict of a case with these copies: what speaks most against one of them; that none is
/// there, if none is. `not_read` says whether there are pictures that nobody looked at.
#[must_use]
pub fn summed(found: &[&Conclusion], not_read: bool) -> Verdict {
    let verdicts = found.iter().map(|one| &one.evidence.verdict);
    // Papers of two people, of whom at most one asks.
    let holders: Vec<Holder> =
        found.iter().filter_map(|one| one.mrz.as_ref()).map(Holder::of).collect();
    let several = are_any_two(&holders, |one, other| !one.is(other)).then_some(&Verdict::Ambiguous);
    let weight = |verdict: &Verdict| match verdict {
        Verdict::Inconsistent(_) => 7,
        Verdict::Ambiguous => 6,
        Verdict::Specimen => 5,
        Verdict::Expired => 4,
        Verdict::Consistent => 3,
        Verdict::Unreadable => 2,
        Verdict::NotRead => 1,
        Verdict::NotADocument | Verdict::Absent => 0,
    };
    let unread = not_read.then_some(&Verdict::NotRead);
    let worst = verdicts.chain(unread).chain(several).max_by_key(|verdict| weight(verdict));
    worst.filter(|verdict| weight(verdict) > 0).cloned().unwrap_or(Verdict::Absent)
}

#[cfg(test)]
mod tests {
    use super::super::{Front, Page, Said, Zone};
    use super::*;

    const TODAY: Date = jiff::civil::date(2026, 11, 30);
    const CARD: [&str; 3] = [
        "IDBEL592345678<9815<<<<<<<<<<<",
        "7801022M2807144BEL780102301237",
        "DUPONT<<JEAN<PIERRE<L<<<<<<<<<",
    ];

    fn said(value: &str) -> Option<Said> {
        Some(Said { value: value.into(), sure: 0.99, ..Said::default() })
    }

    fn zone() -> Sight {
        zone_of(CARD[2])
    }

    fn zone_of(names: &str) -> Sight {
        let zone = Zone::clear(&[CARD[0], CARD[1], names]);
        Sight { pages: vec![Page { zone: Some(zone), ..Page::default() }], ..Sight::default() }
    }

    fn front(surname: &str, given: &str) -> Sight {
        let front = Front {
            surname: said(surname),
            given: said(given),
            birth: said("1978-01-02"),
            has_title: true,
            labels: 5,
            ..Front::default()
        };
        Sight { pages: vec![Page { front, ..Page::default() }], ..Sight::default() }
    }

    fn judged(sights: &[&Sight], from: &[&str], texts: &[&str]) -> Vec<Judged> {
        together(sights, &Letter { today: TODAY, from, texts })
    }

    fn standing(one: &Judged, name: FieldName) -> Standing {
        let fields = &one.conclusion.evidence.fields;
        fields.iter().find(|field| field.name == name).expect("is there").standing
    }

    fn verdict(one: &Judged) -> &Verdict {
        &one.conclusion.evidence.verdict
    }

    #[test]
    fn a_name_is_borne_out_by_the_letter_contradicted_by_it_or_neither() {
        let other = Verdict::Inconsistent(vec![FieldName::Surname, FieldName::GivenNames]);
        let by_letter = Standing::Consistent(Reason::NameOfSender);
        for sight in [zone(), front("Dupont", "Jean-Pierre L")] {
            let one = |from: &[&str], texts: &[&str]| judged(&[&sight], from, texts).remove(0);
            let same = one(&["Jean Dupont"], &[]);
            assert_eq!(verdict(&same), &Verdict::Consistent);
            assert_eq!(standing(&same, FieldName::Surname), by_letter);
            assert_eq!(verdict(&one(&["Lotte Vermeulen"], &[])), &other);
            let below = "Beste,\nGroeten\nLotte Vermeulen";
            assert_eq!(verdict(&one(&[], &[below])), &other);
            // What the text says bears it out where nobody else is named as who writes.
            let father = "Voor mijn vader, Jean Dupont.";
            assert_eq!(standing(&one(&[], &[father]), FieldName::Surname), by_letter);
            assert_eq!(verdict(&one(&["Lotte Vermeulen"], &[father])), &other);
            // A name of somebody in the text denies nothing.
            for texts in [&[][..], &["Geachte mevrouw Katrien Janssens"]] {
                let none = one(&["privacy"], texts);
                assert_eq!(verdict(&none), &Verdict::Consistent);
                assert!(matches!(standing(&none, FieldName::Surname), Standing::Unproven(_)));
            }
        }
    }

    #[test]
    fn one_front_and_one_zone_that_agree_are_one_document() {
        let both =
            judged(&[&front("Dupont", "Jean Pierre L"), &Sight::default(), &zone()], &[], &[]);
        let sides: Vec<Option<usize>> = both.iter().map(|one| one.other_side).collect();
        assert_eq!(sides, [Some(2), None, Some(0)]);
        for side in [&both[0], &both[2]] {
            assert_eq!(verdict(side), &Verdict::Consistent);
            assert_eq!(standing(side, FieldName::Surname), Standing::Consistent(Reason::Front));
        }
        assert_eq!(verdict(&both[1]), &Verdict::NotADocument);
    }

    #[test]
    fn papers_of_two_people_are_never_put_together() {
        let apart = |sights: &[&Sight]| {
            let judged = judged(sights, &[], &[]);
            assert!(judged.iter().all(|one| one.other_side.is_none()));
            for one in &judged {
                let surname = standing(one, FieldName::Surname);
                assert_ne!(surname, Standing::Consistent(Reason::Front));
            }
        };
        let (own, other) = (front("Dupont", "Jean Pierre L"), front("Vermeulen", "Lotte"));
        // A brother's: the surname alone is the same.
        apart(&[&front("Dupont", "Karel"), &zone()]);
        apart(&[&other, &zone()]);
        apart(&[&own, &other, &zone()]);
        apart(&[&own, &zone(), &zone()]);
    }

    #[test]
    fn the_verdict_of_a_case_is_what_speaks_most_against_a_copy() {
        let inconsistent = Verdict::Inconsistent(vec![FieldName::Surname]);
        let sum = |verdicts: &[Verdict], not_read| {
            let found: Vec<Conclusion> = verdicts.iter().cloned().map(Conclusion::empty).collect();
            summed(&found.iter().collect::<Vec<_>>(), not_read)
        };
        assert_eq!(sum(&[], false), Verdict::Absent);
        assert_eq!(sum(&[Verdict::NotADocument], false), Verdict::Absent);
        assert_eq!(sum(&[Verdict::NotADocument], true), Verdict::NotRead);
        assert_eq!(sum(&[Verdict::Consistent, inconsistent.clone()], true), inconsistent);
        assert_eq!(sum(&[Verdict::Consistent, Verdict::Unreadable], true), Verdict::Consistent);
        // Two people's papers: both may be in order, and at most one of them asks.
        let letter = Letter { today: TODAY, from: &[], texts: &[] };
        let other = zone_of("PEETERS<<AN<<<<<<<<<<<<<<<<<<<");
        let (own, other) = (alone(&zone(), &letter), alone(&other, &letter));
        assert_eq!(other.evidence.verdict, Verdict::Consistent);
        assert_eq!(summed(&[&own, &own], false), Verdict::Consistent);
        assert_eq!(summed(&[&own, &other], false), Verdict::Ambiguous);
        // The same card twice, a letter of it misread.
        let again = alone(&zone_of("DUPOMT<<JEAN<PIERRE<L<<<<<<<<<"), &letter);
        assert_eq!(summed(&[&own, &again], false), Verdict::Consistent);
        // A twin's, whose name is as near to it, has a number of its own; a passport of the same person has
        // the same name.
        let with = |number: &str, names: &str| {
            let zone = Zone::clear(&[number, SECOND, names]);
            let page = Page { zone: Some(zone), ..Page::default() };
            alone(&Sight { pages: vec![page], ..Sight::default() }, &letter)
        };
        const SECOND: &str = "7801022M2807144BEL780102301233";
        let another = "IDBEL594444444<0369<<<<<<<<<<<";
        assert!(with(another, CARD[2]).mrz.is_some_and(|mrz| mrz.fits()));
        let twin = with(another, "DUPONT<<JEAN<PIERRO<L<<<<<<<<<");
        assert_eq!(summed(&[&own, &twin], false), Verdict::Ambiguous);
        for same in [CARD[2], "DUPONT<<JEAN<PIERRE<LOUIS<<<<<", "DUPONT<<JEAN<<<<<<<<<<<<<<<<<<"] {
            assert_eq!(summed(&[&own, &with(another, same)], false), Verdict::Consistent, "{same}");
        }
    }
}
