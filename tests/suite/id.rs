//! `kluis id`: numbers and zones by themselves, at the terminal.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

const CARD: &str = "IDBEL592345678<9815<<<<<<<<<<<\n7801022M2807144BEL780102301237\n\
                    DUPONT<<JEAN<PIERRE<L<<<<<<<<<\n";

/// The exit code and the JSON of one call.
fn id(arguments: &[&str], input: &str) -> (Option<i32>, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kluis"))
        .arg("id")
        .args(arguments)
        .arg("--json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("is piped");
    // Whoever has read enough closes its end.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    (output.status.code(), serde_json::from_slice(&text).expect("is JSON"))
}

#[test]
fn a_number_is_judged_and_a_national_one_tells_what_it_holds() {
    let (code, json) = id(&["--number", "nrn", "-"], "85.07.30-033.28\n");
    assert_eq!(code, Some(0));
    assert_eq!(json["valid"], true);
    assert_eq!(json["kind"], "NRN");
    assert_eq!(json["century"], 1900);
    assert_eq!(json["birth"], "1985-07-30");
    assert_eq!(json["sex"], "M");
    for (kind, good, bad) in [
        ("nrn", "98.47.28-997.65", "85.06.13-001.79"),
        ("card", "591-1917064-58", "000-0011032-25"),
        ("kbo", "BE 0449.516.509", "BE2000021323"),
        ("iban", "BE68 5390 0754 7034", "BE41 0918 1173 5141"),
        ("ogm", "+++010/8068/17183+++", "+++010/8068/17180+++"),
    ] {
        let (code, json) = id(&["--number", kind, good], "");
        assert_eq!((code, &json["valid"]), (Some(0), &Value::Bool(true)), "{good}");
        let (code, json) = id(&["--number", kind, bad], "");
        assert_eq!((code, &json["valid"]), (Some(1), &Value::Bool(false)), "{bad}");
        assert!(json["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    }
}

#[test]
fn a_national_number_whose_day_is_none_is_valid_and_says_so() {
    for (number, has_none) in
        [("72023000143", true), ("85073003328", false), ("92200006963", false)]
    {
        let (code, json) = id(&["--number", "nrn", "-"], number);
        assert_eq!((code, &json["valid"]), (Some(0), &Value::from(true)), "{number}");
        let warning = json["warning"].as_str();
        assert_eq!(warning.is_some_and(|warning| warning.contains("overflowed")), has_none);
    }
}

#[test]
fn the_lines_of_a_card_are_read_from_standard_input_field_by_field() {
    let (code, json) = id(&["--mrz"], CARD);
    assert_eq!(code, Some(0));
    assert_eq!(json["verdict"], "consistent");
    assert_eq!(json["format"], "TD1");
    assert_eq!(json["long_rule"], "with_filler");
    for (field, value, standing) in [
        ("document_number", "592345678981", "consistent"),
        ("surname", "DUPONT", "unproven"),
        ("given_names", "JEAN PIERRE L", "unproven"),
        ("birth_date", "1978-01-02", "consistent"),
        ("expiry_date", "2028-07-14", "consistent"),
        ("sex", "M", "consistent"),
        ("nationality", "BEL", "unproven"),
        ("issuer", "BEL", "consistent"),
    ] {
        assert_eq!(json["fields"][field], value, "{field}");
        assert_eq!(json["evidence"][field]["standing"], standing, "{field}");
    }
    assert!(json["checks"].as_object().expect("checks").values().all(|fits| fits == true));
    assert_eq!(json["repairs"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_wrong_field_is_named_and_what_was_mended_listed() {
    let (code, json) = id(&["--mrz"], &CARD.replace("2807144", "2907144"));
    assert_eq!((code, &json["verdict"]), (Some(1), &"inconsistent".into()));
    assert_eq!(json["inconsistent"], serde_json::json!(["expiry_date"]));
    assert_eq!(json["fields"]["surname"], "DUPONT");
    let (code, json) = id(&["--mrz"], &CARD.replace("7801022M", "78O1O22M"));
    assert_eq!((code, &json["verdict"]), (Some(0), &"consistent".into()));
    assert_eq!(
        json["repairs"][0],
        serde_json::json!({"line": 2, "column": 3, "from": "O", "to": "0"})
    );
}

#[test]
fn what_may_be_a_letter_or_a_filler_of_a_name_is_shown_both_ways() {
    let read_as = CARD.replace("JEAN<PIERRE<L<<<<<<<<<", "JANEKKKKKKKKKKKKKKKKKK");
    let (code, json) = id(&["--mrz"], &read_as);
    assert_eq!((code, &json["verdict"]), (Some(0), &"consistent".into()));
    assert_eq!(json["fields"]["given_names"], "JANE");
    assert_eq!(json["evidence"]["given_names"]["standing"], "unproven");
    let other = serde_json::json!([{"surname": "DUPONT", "given_names": "JANEK"}]);
    assert_eq!(json["other_names"], other);
    assert_eq!(id(&["--mrz"], CARD).1["other_names"], serde_json::json!([]));
}

#[test]
fn what_is_no_zone_or_too_long_is_an_error_with_a_hint() {
    for input in ["", "Beste,\nhierbij mijn vraag.\n", &"x".repeat(100_000)] {
        let (code, json) = id(&["--mrz"], input);
        assert_eq!(code, Some(1), "{json}");
        assert!(json["hint"].is_string() || json["error"].is_object() || json["error"].is_string());
    }
}
