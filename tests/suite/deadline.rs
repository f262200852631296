//! The legal month against the vectors that were worked out by hand.

use std::collections::BTreeSet;

use jiff::ToSpan;
use jiff::civil::{Date, date};
use kluis::request::deadline::{due, is_holiday};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/identity.json")).expect("the vectors are JSON")
}

fn day(value: &Value) -> Date {
    value.as_str().and_then(|text| text.parse().ok()).expect("a vector holds dates")
}

#[test]
fn every_deadline_vector_holds() {
    let vectors = vectors();
    let rows = vectors["deadlines"].as_array().expect("deadline vectors");
    assert!(rows.len() >= 15);
    for row in rows {
        let due = due(day(&row["received"]));
        assert_eq!(due.one_month_raw, day(&row["one_month_raw"]), "{row}");
        assert_eq!(due.one_month_due, day(&row["one_month_due"]), "{row}");
        assert_eq!(due.three_months_raw, day(&row["three_months_raw"]), "{row}");
        assert_eq!(due.three_months_due, day(&row["three_months_due"]), "{row}");
    }
}

#[test]
fn the_holidays_of_a_year_are_the_listed_ones_and_no_others() {
    let vectors = vectors();
    let years = vectors["holidays_be"].as_object().expect("holiday vectors");
    assert!(years.len() >= 4);
    for (year, listed) in years {
        let listed: BTreeSet<Date> =
            listed.as_array().expect("a list of days").iter().map(day).collect();
        let first = date(year.parse().expect("a year"), 1, 1);
        let found: BTreeSet<Date> = first
            .series(1.day())
            .take_while(|date| date.year() == first.year())
            .filter(|&date| is_holiday(date))
            .collect();
        assert_eq!(found, listed, "{year}");
    }
}
