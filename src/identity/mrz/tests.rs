//! Zones of real layouts, official and made up: what each field says, what can be mended, and what
//! cannot.

use jiff::civil::{Date, date};
use serde_json::Value;

use super::*;

const TODAY: Date = date(2026, 11, 30);

fn vectors(kind: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("../../../tests/vectors/identity.json")).expect("JSON");
    all[kind].as_array().expect("vectors").clone()
}

fn lines_of(row: &Value, key: &str) -> String {
    let lines = row[key].as_array().expect("lines").iter();
    lines.map(|line| line.as_str().expect("text")).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_vector_is_read_as_it_says() {
    let mut count = 0;
    for row in vectors("mrz") {
        let (id, expect) = (row["id"].as_str().expect("id"), &row["expect"]);
        // Two are a second line alone.
        if row["format"].as_str().is_some_and(|format| format.ends_with("-L2")) {
            let line = row["lines"][0].as_str().expect("a line");
            let (body, digit) = line.split_at(line.len() - 1);
            let parts = [&body[..10], &body[13..20], &body[21..]];
            let digit = digit.parse::<u8>().ok();
            assert_eq!(check_digit(parts), digit, "{id}");
            continue;
        }
        let mrz = read(&lines_of(&row, "lines"), TODAY).expect(id);
        assert_eq!(Some(mrz.format.word()), row["format"].as_str(), "{id}");
        assert!(mrz.fits(), "{id}: {:?}", mrz.checks);
        assert!(mrz.repairs.is_empty(), "{id}");
        let text = |key: &str, is: Option<String>| {
            if let Some(wanted) = expect[key].as_str() {
                assert_eq!(is.as_deref(), Some(wanted), "{id}: {key}");
            }
        };
        text("doc_no", Some(mrz.number.clone()));
        text("surname", Some(mrz.names.surname.clone()));
        text("given", Some(mrz.names.given.clone()));
        text("dob", mrz.birth.date.map(|date| date.to_string()));
        text("expiry", mrz.expiry.and_then(|expiry| expiry.date).map(|date| date.to_string()));
        text("issuer", Some(mrz.issuer.clone()));
        text("nationality", mrz.nationality.clone());
        text("optional2", Some(mrz.optional[1].clone()));
        text("long_rule", mrz.long_rule.map(|rule| rule.word().to_owned()));
        if expect["specimen"] == true {
            assert!(mrz.is_specimen, "{id}");
        }
        count += 1;
    }
    assert_eq!(count, 18);
}

#[test]
fn belgian_cards_are_taken_by_either_rule_and_the_rule_is_said() {
    for (first, rule) in [
        ("IDBEL592345678<9815<<<<<<<<<<<", LongRule::WithFiller),
        ("IDBEL598765432<1064<<<<<<<<<<<", LongRule::Icao),
        ("IDBEL000590696<1015<<<<<<<<<<<", LongRule::Icao),
        ("IDBEL000590240<6013<<<<<<<<<<<", LongRule::WithFiller),
    ] {
        let text =
            format!("{first}\n7801022M2807144BEL780102301237\nDUPONT<<JEAN<<<<<<<<<<<<<<<<<<");
        let mrz = read(&text, TODAY).expect("is one");
        assert_eq!(mrz.long_rule, Some(rule), "{first}");
        assert_eq!(mrz.check(Checked::Number), Some(true));
        assert_eq!(mrz.number.len(), 12);
    }
}

#[test]
fn a_wrong_field_costs_that_field_only_and_says_where() {
    let good = "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<";
    for (from, to, of, at) in [
        ("7408122", "7408132", Checked::Birth, (2, 7)),
        ("1204159", "1304159", Checked::Expiry, (2, 15)),
        ("D231458907", "D231458917", Checked::Number, (1, 15)),
    ] {
        let mrz = read(&good.replace(from, to), TODAY).expect("is one");
        let wrong: Vec<_> = mrz.checks.iter().filter(|check| !check.fits).collect();
        assert_eq!((wrong[0].of, wrong[0].at), (of, at));
        assert_eq!(mrz.names.surname, "ERIKSSON");
        assert_eq!(mrz.sex, Some(Sex::Female));
    }
}

#[test]
fn letters_for_digits_are_mended_and_listed() {
    let rows = vectors("mrz_repair");
    let row = rows.iter().find(|row| row["id"] == "o-for-0-numeric").expect("is there");
    let (input, wanted) = (lines_of(row, "input"), lines_of(row, "expect"));
    let mrz = read(&input, TODAY).expect("is one");
    assert_eq!(mrz.lines.join("\n"), wanted);
    let changed = input.chars().zip(wanted.chars()).filter(|(a, b)| a != b).count();
    assert_eq!(mrz.repairs.len(), changed);
    assert!(mrz.fits() && !mrz.is_ambiguous && !mrz.is_name_mended());
}

#[test]
fn fillers_read_as_letters_come_back_and_the_name_is_unproven() {
    let text = "IDBEL592345678<9815<<<<<<<<<<<\n7801022M2807144BEL780102301237\nDUPONTKKJEAN<PIERRE<LKKKKKKKKK";
    let mrz = read(text, TODAY).expect("is one");
    assert_eq!(mrz.lines[2], "DUPONT<<JEAN<PIERRE<L<<<<<<<<<");
    assert!(mrz.is_name_mended());
    // A name with such letters in it stays.
    for name in ["BAKKER<<JAN<<<<<<<<<<<<<<<<<<<", "ROSSELL<<ELLA<<<<<<<<<<<<<<<<<"] {
        let mrz =
            read(&text.replace("DUPONTKKJEAN<PIERRE<LKKKKKKKKK", name), TODAY).expect("is one");
        assert_eq!(mrz.lines[2], name);
        assert!(!mrz.is_name_mended());
    }
}

#[test]
fn a_lost_or_surplus_filler_and_merged_lines_are_put_right() {
    let good = [
        "I<UTOD231458907<<<<<<<<<<<<<<<",
        "7408122F1204159UTO<<<<<<<<<<<6",
        "ERIKSSON<<ANNA<MARIA<<<<<<<<<<",
    ];
    for text in [
        good.concat(),
        format!("IUTOD231458907<<<<<<<<<<<<<<<\n{}\n{}", good[1], good[2]),
        format!("{}\n7408122F1204159UTO<<<<<<<<<<6\n{}", good[0], good[2]),
        format!("{}\n7408122F1204159UTO<<<<<<<<<<<<<6\n{}", good[0], good[2]),
        format!("Republic of Utopia\n\n{}\n{}\n{}\n12 March", good[0], good[1], good[2]),
        good.join("\n").to_lowercase().replace("<<", "«"),
        good.join("\n").replace('<', "&lt;"),
        good.map(|line| line.chars().map(|c| format!("{c} ")).collect::<String>()).join("\r\n"),
    ] {
        let mrz = read(&text, TODAY).expect("is one");
        assert_eq!(mrz.lines, good, "{text}");
        assert!(mrz.fits() && !mrz.is_ambiguous);
    }
}

#[test]
fn one_unreadable_place_is_found_if_one_character_alone_fits_and_two_may_be_in_doubt() {
    let text = "IDBEL592345678<9815<<<<<<<<<<<\n78?1022M2807144BEL780102301237\nDUPONT<<JEAN<<<<<<<<<<<<<<<<<<";
    let mrz = read(text, TODAY).expect("is one");
    assert!(mrz.fits() && !mrz.is_ambiguous);
    assert_eq!(mrz.birth.date, Some(date(1978, 1, 2)));
    // In a number of letters and digits a class of look-alikes fits every time.
    let pass = "P<BELVANDEVELDE<<LOTTE<MARIE<<<<<<<<<<<<<<<<\nGA30?922<0BEL9104174F2903013<<<<<<<<<<<<<<06";
    let mrz = read(pass, TODAY).expect("is one");
    assert!(mrz.fits() && mrz.is_ambiguous);
    // Three places are not guessed.
    let mrz = read(&text.replace("78?1022", "???1022"), TODAY).expect("is one");
    assert!(!mrz.fits());
}

#[test]
fn look_alikes_that_no_check_digit_tells_apart_are_named() {
    let number = |number: &str| {
        let body = format!("{number}{}", check_digit([number]).expect("a digit"));
        let second = format!("{body}UTO7408122F1204159<<<<<<<<<<<<<<0");
        let parts = [&second[..10], &second[13..20], &second[21..43]];
        let composite = check_digit(parts).expect("a digit");
        let text = format!("P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\n{second}{composite}");
        read(&text, TODAY).expect("is one")
    };
    let mrz = number("1898902C3");
    assert!(mrz.fits());
    assert!(mrz.look_alikes.contains(&"L898902C3".to_owned()));
    assert!(number("00X123456").look_alikes.contains(&"OOX123456".to_owned()));
    // A Belgian card has digits only: nothing looks like them.
    let text = "IDBEL592345678<9815<<<<<<<<<<<\n7801022M2807144BEL780102301237\nDUPONT<<JEAN<<<<<<<<<<<<<<<<<<";
    assert!(read(text, TODAY).expect("is one").look_alikes.is_empty());
}

#[test]
fn centuries_are_told_by_the_number_of_the_person_else_by_age_else_not_at_all() {
    let on = |today, century| OnBirth { today, century };
    for (text, century, wanted) in [
        ("780102", None, Some(date(1978, 1, 2))),
        ("040229", None, Some(date(2004, 2, 29))),
        ("170730", Some(2000), Some(date(2017, 7, 30))),
        ("170730", None, None),
        ("260105", None, Some(date(1926, 1, 5))),
        ("260105", Some(2000), Some(date(2026, 1, 5))),
        ("270105", Some(2000), None),
        ("490101", None, Some(date(1949, 1, 1))),
        ("850230", None, None),
        ("85<<<<", None, None),
        ("<<<<<<", None, None),
    ] {
        let read = MrzDate::birth(text, on(TODAY, century));
        assert_eq!(read.date, wanted, "{text} {century:?}");
    }
    assert_eq!(MrzDate::birth("85<<<<", on(TODAY, None)).year, Some(1985));
    assert!(MrzDate::birth("85<<<<", on(TODAY, None)).is_sound);
    assert!(!MrzDate::birth("850230", on(TODAY, None)).is_sound);
    assert_eq!(MrzDate::expiry("040229").date, Some(date(2004, 2, 29)));
}

#[test]
fn numbers_of_the_person_are_known_by_issuer() {
    let of = |id: &str| {
        let row = vectors("mrz").into_iter().find(|row| row["id"] == id).expect("is there");
        read(&lines_of(&row, "lines"), TODAY).expect("is one").person
    };
    assert!(
        matches!(of("be-eid-old"), Some(PersonNumber::Belgian(number)) if number.century() == 1900)
    );
    assert!(
        matches!(of("be-born2004"), Some(PersonNumber::Belgian(number)) if number.century() == 2000)
    );
    assert_eq!(of("nl-old-bsn"), Some(PersonNumber::Dutch));
    assert_eq!(of("bg"), Some(PersonNumber::Bulgarian(true)));
    assert_eq!(of("it-cie"), None);
}

#[test]
fn text_without_a_zone_is_none_and_any_text_is_read_without_harm() {
    for text in
        ["", "Dag", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nB", &"<".repeat(4000), &"I<".repeat(2000)]
    {
        let _ = read(text, TODAY);
    }
    assert_eq!(read("Beste, hierbij mijn vraag.", TODAY).err(), Some(MrzError::NoSuchFormat));
    assert_eq!(read(&"x".repeat(LONGEST + 1), TODAY).err(), Some(MrzError::TooLong));
    let odd = "I<UTOD2314589é7<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<";
    assert!(read(odd, TODAY).expect("is one").fits());
    let mut seed = 7_u64;
    for _ in 0..2000 {
        let mut line = || {
            (0..30)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    char::from(b"ABCIOK019<<<?"[(seed >> 33) as usize % 13])
                })
                .collect::<String>()
        };
        let text = format!("ID{}\n{}\n{}", &line()[2..], line(), line());
        let _ = read(&text, TODAY);
    }
}
