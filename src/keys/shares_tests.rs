use proptest::prelude::*;

use super::*;
use crate::ids::CROCKFORD;
use crate::keys::epoch;
use crate::keys::sheet::{AtSheet, LINES, MOST, Misread, SYMBOLS, parse};

/// The sheets of a fresh key, and the key.
fn ceremony(threshold: u8, count: u8) -> (StaffKey, Vec<Sheet>) {
    let key = StaffKey::generate();
    let sheets = split(&key, threshold, count).expect("splits");
    (key, sheets)
}

/// The same sheet once more, by way of paper.
fn copy(sheet: &Sheet) -> Sheet {
    let mut read = parse(&sheet.lines()).expect("reads");
    assert_eq!(read.len(), 1);
    read.pop().expect("one")
}

/// Those sheets whose bit is set.
fn chosen(sheets: &[Sheet], bits: usize) -> Vec<Sheet> {
    let is_set = |(at, _): &(usize, &Sheet)| bits >> at & 1 == 1;
    sheets.iter().enumerate().filter(is_set).map(|(_, sheet)| copy(sheet)).collect()
}

fn why(sheets: &[Sheet]) -> Error {
    combine(sheets).err().expect("refused")
}

#[test]
fn any_k_sheets_rebuild_the_key_and_fewer_do_not() {
    for (threshold, count) in [(2, 2), (2, 3), (3, 5), (4, 7), (6, 6)] {
        let (key, sheets) = ceremony(threshold, count);
        let wrapped = epoch::wrap_to([key.recipient().for_age()], b"a secret");
        for bits in 1..1usize << count {
            let given = chosen(&sheets, bits);
            let (k, of) = (usize::from(threshold), given.len());
            if of < k {
                let wanted = Error::TooFew { given: of as u8, needed: threshold };
                assert_eq!(why(&given), wanted, "{bits:b}");
                continue;
            }
            let rebuilt = combine(&given).expect("rebuilds");
            assert_eq!(rebuilt.recipient(), key.recipient(), "{bits:b}");
            assert_eq!(rebuilt.unwrap(&wrapped).expect("opens").as_slice(), b"a secret");
        }
    }
}

#[test]
fn fewer_sheets_than_it_takes_say_nothing_of_the_key() {
    // Sheets that claim that fewer are enough: what they rebuild is another key.
    let (_, mut sheets) = ceremony(3, 5);
    sheets.truncate(2);
    sheets.iter_mut().for_each(|sheet| sheet.threshold = 2);
    assert_eq!(why(&sheets), Error::NotTheKey);
    // One share of the same key again and again: no byte of it tells the key's.
    let key = StaffKey::generate();
    let mut seen = vec![[false; 256]; 32];
    for _ in 0..6000 {
        let sheets = split(&key, 2, 2).expect("splits");
        for (seen, byte) in seen.iter_mut().zip(sheets[0].share.expose()) {
            seen[usize::from(*byte)] = true;
        }
    }
    // A value that no share ever has would rule out a byte of the key (RUSTSEC-2024-0398).
    assert!(seen.iter().flatten().all(|seen| *seen));
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let (key, sheets) = ceremony(3, 5);
    let [one, two, three] = [1, 2, 4].map(|bit| chosen(&sheets, bit).pop().expect("one"));
    assert_eq!(why(&[]), Error::TooFew { given: 0, needed: 2 });
    assert_eq!(why(&[copy(&one), two, copy(&one)]), Error::Twice { index: 1 });

    // The same key, split again: another ceremony.
    let again = split(&key, 3, 5).expect("splits");
    let stranger = copy(&again[1]);
    let ceremony = stranger.ceremony;
    assert_ne!(ceremony, one.ceremony);
    let wanted = Error::OtherCeremony { index: 2, ceremony };
    assert_eq!(why(&[copy(&one), stranger, copy(&three)]), wanted);

    // A share that somebody wrote himself, with right checks.
    let mut forged = copy(&sheets[1]);
    forged.share = Secret::filled(|share| share.fill(7));
    let forged = copy(&forged);
    assert_eq!(why(&[copy(&one), forged, copy(&three)]), Error::NotTheKey);
    let mut other_key = copy(&sheets[1]);
    other_key.recipient = [1; 10];
    assert_eq!(why(&[one, other_key, three]), Error::NotTheKey);
}

#[test]
fn numbers_that_make_no_ceremony_and_ssh_keys_are_refused() {
    let key = StaffKey::generate();
    for (threshold, count) in [(0, 0), (1, 1), (1, 5), (6, 5), (2, MOST + 1), (255, 255)] {
        assert_eq!(split(&key, threshold, count).err(), Some(Error::Numbers));
    }
    assert_eq!(split(&key, MOST, MOST).expect("splits").len(), usize::from(MOST));
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/test/ssh_ed25519");
    let words = crate::keys::Passphrase::new("throwaway".into());
    let ssh = StaffKey::unlock(&file, &words).expect("unlocks");
    assert_eq!(split(&ssh, 2, 3).err(), Some(Error::NotSplit));
}

#[test]
fn a_wrong_character_anywhere_is_found_in_its_line() {
    let (_, sheets) = ceremony(2, 2);
    let text = sheets[0].lines().to_string();
    let (mut tried, mut located) = (0, 0);
    for (line, from) in (1u8..).zip(text.match_indices('\n').map(|(end, _)| end - 24)) {
        for (at, is) in text[from..from + 24].char_indices().filter(|(_, c)| *c != ' ') {
            for &other in CROCKFORD.iter().filter(|&&other| char::from(other) != is) {
                let mut wrong = text.clone();
                wrong.replace_range(from + at..=from + at, &char::from(other).to_string());
                let found = parse(&wrong).err().expect("refused");
                tried += 1;
                located +=
                    usize::from(found == AtSheet { sheet: 1, misread: Misread::Line { line } });
            }
            let mut wrong = text.clone();
            wrong.replace_range(from + at..=from + at, "U");
            let group = (at / 5) as u8 + 1;
            let misread = Misread::Character { line, group };
            assert_eq!(parse(&wrong).err(), Some(AtSheet { sheet: 1, misread }));
            wrong.replace_range(from + at..=from + at, "");
            let misread = Misread::Length { line, found: SYMBOLS - 1 };
            assert_eq!(parse(&wrong).err(), Some(AtSheet { sheet: 1, misread }));
        }
    }
    assert_eq!(tried, LINES * SYMBOLS * 31);
    // The check of a line has 20 bits: of a million slips one may be found by the whole sheet only.
    assert!(located + 3 >= tried, "{located} of {tried}");
}

#[test]
fn two_neighbours_swapped_and_lines_of_another_sheet_are_found() {
    let (_, sheets) = ceremony(2, 3);
    let text = sheets[0].lines().to_string();
    let symbols: Vec<(usize, char)> = text
        .match_indices('\n')
        .flat_map(|(end, _)| {
            text[end - 24..end].char_indices().map(move |(at, c)| (end - 24 + at, c))
        })
        .filter(|(_, c)| *c != ' ')
        .collect();
    assert_eq!(symbols.len(), LINES * SYMBOLS);
    for pair in symbols.windows(2).filter(|pair| pair[0].1 != pair[1].1) {
        let mut wrong = text.clone();
        wrong.replace_range(pair[0].0..=pair[0].0, &pair[1].1.to_string());
        wrong.replace_range(pair[1].0..=pair[1].0, &pair[0].1.to_string());
        assert!(parse(&wrong).is_err(), "{} and {}", pair[0].0, pair[1].0);
    }
    // Each line of the second sheet in the place of the first one's; lines 2 are the same.
    let lines = |sheet: &Sheet| sheet.lines().lines().map(str::to_owned).collect::<Vec<_>>();
    for at in [0, 2, 3, 4, 5] {
        let mut mixed = lines(&sheets[0]);
        mixed[at] = lines(&sheets[1])[at].clone();
        let found = parse(&mixed.join("\n")).err().expect("refused");
        assert_eq!(found, AtSheet { sheet: 1, misread: Misread::Mixed });
    }
    // Two lines that changed places, each under the other's number.
    let mut moved = lines(&sheets[0]);
    let (third, fourth) = (moved[2][1..].to_owned(), moved[3][1..].to_owned());
    moved[2] = format!("3{fourth}");
    moved[3] = format!("4{third}");
    let misread = Misread::Line { line: 3 };
    assert_eq!(parse(&moved.join("\n")).err(), Some(AtSheet { sheet: 1, misread }));
}

#[test]
fn a_sheet_is_read_as_people_and_programs_give_it() {
    let (key, sheets) = ceremony(2, 2);
    let (lines, scanned) = (sheets[0].lines(), sheets[0].scanned());
    let page = sheets[0].page(key.recipient());
    for text in [
        lines.to_string(),
        lines.to_lowercase().replace('0', "o").replace('1', "l"),
        lines.replace("  ", ". ").replace('\n', "\r\n"),
        lines.replace("  ", ": ").replace(' ', "–"),
        format!("a scan\n\n{}\nand so on\n", lines.replace('\n', "\n\n")),
        page.to_string(),
        scanned.to_string(),
        format!("  {} \n", scanned.to_lowercase()),
    ] {
        // A line that begins with `l` is none: the number stays a digit.
        let text = text.replace("l  ", "1  ");
        let read = parse(&text).unwrap_or_else(|error| panic!("{error:?}: {text}"));
        assert_eq!(read.len(), 1, "{text}");
        assert_eq!(*read[0].lines(), *lines);
    }
    let both = format!("{}{}", *page, *sheets[1].page(key.recipient()));
    let read = parse(&both).expect("reads");
    assert_eq!(read.iter().map(|sheet| sheet.index).collect::<Vec<_>>(), [1, 2]);
    assert!(page.contains(&key.recipient().to_string()));
    assert!(page.lines().count() <= 60 && page.lines().all(|line| line.chars().count() <= 80));
    assert!(parse("").expect("nothing").is_empty());
}

#[test]
fn what_is_missing_and_what_is_later_is_said() {
    let (_, sheets) = ceremony(2, 2);
    let text = sheets[0].lines();
    let lines: Vec<&str> = text.lines().collect();
    for gone in 0..LINES {
        let rest: Vec<&str> =
            lines.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, line)| *line).collect();
        let misread = Misread::Missing { line: gone as u8 + 1 };
        assert_eq!(parse(&rest.join("\n")).err(), Some(AtSheet { sheet: 1, misread }));
    }
    let second = [lines.as_slice(), &lines[..3]].concat().join("\n");
    let misread = Misread::Missing { line: 4 };
    assert_eq!(parse(&second).err(), Some(AtSheet { sheet: 2, misread }));
    let scanned = sheets[0].scanned();
    let cut = parse(&scanned[..50]).err().expect("refused");
    assert_eq!(cut.misread, Misread::Length { line: 3, found: 4 });
    assert!(matches!(parse(&format!("{}0", *scanned)).err(), Some(AtSheet { sheet: 1, .. })));
}

/// A sheet of a later version, and one that says what none says, with right checks.
#[test]
fn numbers_of_no_sheet_and_versions_to_come_are_refused() {
    let (_, sheets) = ceremony(2, 2);
    type Change = fn(&mut Sheet);
    let changes: [Change; 4] = [
        |sheet| sheet.index = 0,
        |sheet| sheet.index = 3,
        |sheet| sheet.threshold = 1,
        |sheet| sheet.count = MOST + 1,
    ];
    for change in changes {
        let mut sheet = copy(&sheets[0]);
        change(&mut sheet);
        let found = parse(&sheet.lines()).err().expect("refused");
        assert_eq!(found.misread, Misread::Numbers);
    }
    assert_eq!(sheets[0].lines_of_version(2).1, Misread::FutureVersion);
    assert_eq!(sheets[0].lines_of_version(0).1, Misread::Numbers);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn any_ceremony_survives_paper_in_any_order(
        (threshold, count) in (2..=MOST).prop_flat_map(|count| (2..=count, Just(count))),
        seed in any::<u64>(),
    ) {
        let (key, sheets) = ceremony(threshold, count);
        // A shuffle: the order of hashes.
        let mut order: Vec<usize> = (0..sheets.len()).collect();
        order.sort_by_key(|at| *blake3::hash(&[seed.to_le_bytes(), (*at as u64).to_le_bytes()].concat()).as_bytes());
        let pages: String = order[..usize::from(threshold)]
            .iter()
            .map(|at| sheets[*at].page(key.recipient()).to_string())
            .collect();
        let read = parse(&pages).expect("reads");
        let rebuilt = combine(&read).expect("rebuilds");
        prop_assert_eq!(rebuilt.recipient(), key.recipient());
        let fewer = combine(&read[1..]).err();
        prop_assert_eq!(fewer, Some(Error::TooFew { given: threshold - 1, needed: threshold }));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "([1-6][ .:]{1,2}([0-9A-Za-z]{4}[ -]){5}\n|KLUIS:[0-9A-Z]{0,130}\n|\\PC{0,40}\n){0,12}") {
        // The body of the fuzz target `sheet`: what is read prints again as what was read.
        let sheets = parse(&text).unwrap_or_default();
        for one in &sheets {
            for again in [one.lines(), one.scanned()] {
                let again = parse(&again).expect("its own lines");
                prop_assert!(again.len() == 1 && *again[0].lines() == *one.lines());
            }
        }
        let _ = combine(&sheets);
    }
}
