//! The legal month: from the day a letter was received to the day an answer is due.
//!
//! GDPR Art. 12(3) gives one month from receipt, three when extended, both counted as Regulation
//! (EEC, Euratom) 1182/71 counts: the day of receipt is left out, the period ends with the same
//! date of the later month (or its last day), and a period that would end on a Saturday, Sunday or
//! public holiday ends with the next working day (Art. 3(1), 3(2)(c), 3(4)).
//!
//! Public holidays are the ten statutory Belgian ones. The list notified under Art. 2 may hold
//! more; leaving those out gives the earlier, safer date. Total: at the end of the calendar (year
//! 9999) dates stay where they are.

use std::sync::LazyLock;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The dates that follow from one date of receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// One month after receipt, whatever day of the week it is.
    pub one_month_raw: Date,
    /// The last day to answer, or to say that it takes longer (GDPR Art. 12(3)).
    pub one_month_due: Date,
    /// Three months after receipt, whatever day of the week it is. Counted from receipt, not from
    /// the end of the first month.
    pub three_months_raw: Date,
    /// The last day to answer after an extension.
    pub three_months_due: Date,
}

/// When an answer to something received on this day is due.
#[must_use]
pub fn due(received: Date) -> Due {
    let one_month_raw = received.saturating_add(1.month());
    let three_months_raw = received.saturating_add(3.months());
    Due {
        one_month_raw,
        one_month_due: working_day_from(one_month_raw),
        three_months_raw,
        three_months_due: working_day_from(three_months_raw),
    }
}

/// The day in Belgium at this moment (seconds since 1970-01-01T00:00:00Z): a letter of 23:30 UTC
/// on 31 December was received on 1 January. A moment after the year 9999 is its last day.
#[must_use]
pub fn received_on(seconds_since_epoch: u64) -> Date {
    i64::try_from(seconds_since_epoch)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or(Date::MAX, |moment| moment.to_zoned_datetime(BRUSSELS.clone()).date())
}

/// Where the organisation sits, and so whose midnight ends a day.
static BRUSSELS: LazyLock<TimeZone> = LazyLock::new(|| {
    TimeZone::get("Europe/Brussels").expect("the bundled time zones know Brussels")
});

/// Whether this is one of the ten statutory holidays (Royal Decree of 18-4-1974 Art. 1). A day
/// given in place of a holiday on a weekend is not one here.
#[must_use]
pub fn is_holiday(date: Date) -> bool {
    const FIXED: [(i8, i8); 7] = [(1, 1), (5, 1), (7, 21), (8, 15), (11, 1), (11, 11), (12, 25)];
    /// Easter Monday, Ascension, Whit Monday: days after Easter Sunday.
    const MOVING: [i32; 3] = [1, 39, 50];
    FIXED.contains(&(date.month(), date.day()))
        || MOVING.contains(
            &(i32::from(date.day_of_year()) - i32::from(easter(date.year()).day_of_year())),
        )
}

/// Whether it is a day that a period may end on: no Saturday, no Sunday, no holiday.
#[must_use]
pub fn is_working_day(date: Date) -> bool {
    !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday) && !is_holiday(date)
}

/// This day if it is a working day, else the next that is (Regulation 1182/71 Art. 3(4)).
#[must_use]
pub fn working_day_from(date: Date) -> Date {
    let mut day = date;
    while !is_working_day(day) {
        match day.tomorrow() {
            Ok(next) => day = next,
            Err(_) => return day,
        }
    }
    day
}

/// The day by which this many working days have passed after `date`, which itself is not counted.
#[must_use]
pub fn working_days_after(date: Date, count: u32) -> Date {
    (0..count).fold(date, |day, _| working_day_from(day.saturating_add(1.day())))
}

/// Easter Sunday of a year of the Gregorian calendar, by the anonymous algorithm (Meeus,
/// "Astronomical Algorithms", ch. 8).
fn easter(year: i16) -> Date {
    let year_number = i32::from(year);
    let golden = year_number.rem_euclid(19);
    let (century, of_century) = (year_number.div_euclid(100), year_number.rem_euclid(100));
    let correction = (century - (century + 8).div_euclid(25) + 1).div_euclid(3);
    let epact = (19 * golden + century - century.div_euclid(4) - correction + 15).rem_euclid(30);
    let to_sunday =
        (32 + 2 * century.rem_euclid(4) + 2 * (of_century / 4) - epact - of_century % 4)
            .rem_euclid(7);
    let late = (golden + 11 * epact + 22 * to_sunday) / 451;
    let days = epact + to_sunday - 7 * late + 114;
    let (month, day) = ((days / 31) as i8, (days % 31 + 1) as i8);
    Date::new(year, month, day).expect("Easter lies between 22 March and 25 April")
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().expect("a date")
    }

    #[test]
    fn the_month_ends_where_the_regulation_says() {
        for (received, expected) in [
            ("2026-11-25", "2026-12-28"), // Christmas is a Friday
            ("2026-12-01", "2027-01-04"),
            ("2027-01-31", "2027-03-01"), // no 31 February, and the 28th is a Sunday
            ("2027-02-28", "2027-03-30"), // Easter Sunday, Easter Monday
            ("2027-03-05", "2027-04-05"),
            ("2027-03-31", "2027-04-30"),
            ("2027-04-06", "2027-05-07"), // Ascension
            ("2027-06-21", "2027-07-22"), // the national day
            ("2027-08-31", "2027-09-30"),
            ("2027-10-01", "2027-11-02"), // All Saints
            ("2028-01-31", "2028-02-29"), // a leap year
        ] {
            assert_eq!(due(day(received)).one_month_due, day(expected), "{received}");
        }
    }

    #[test]
    fn three_months_count_from_receipt() {
        for (received, raw, expected) in [
            ("2026-11-30", "2027-02-28", "2027-03-01"),
            ("2028-01-31", "2028-04-30", "2028-05-02"),
            ("2027-01-31", "2027-04-30", "2027-04-30"),
        ] {
            let due = due(day(received));
            assert_eq!(due.three_months_raw, day(raw), "{received}");
            assert_eq!(due.three_months_due, day(expected), "{received}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight_in_brussels() {
        for (moment, expected) in [
            ("1970-01-01T00:00:00Z", "1970-01-01"),
            ("2026-12-31T22:59:59Z", "2026-12-31"),
            ("2026-12-31T23:00:00Z", "2027-01-01"), // winter: one hour ahead
            ("2027-06-30T21:59:59Z", "2027-06-30"),
            ("2027-06-30T22:00:00Z", "2027-07-01"), // summer: two hours ahead
            ("2027-03-28T00:59:59Z", "2027-03-28"), // the clock changes an hour later
        ] {
            let seconds = moment.parse::<Timestamp>().expect("a moment").as_second();
            assert_eq!(received_on(seconds as u64), day(expected), "{moment}");
        }
        assert_eq!(received_on(u64::MAX), Date::MAX);
        assert_eq!(received_on(i64::MAX as u64), Date::MAX);
    }

    #[test]
    fn easter_falls_where_the_church_says() {
        for (year, month, day) in [
            (1583, 4, 10),
            (1818, 3, 22), // the earliest there is
            (1943, 4, 25), // the latest there is
            (1961, 4, 2),
            (2000, 4, 23),
            (2024, 3, 31),
            (2026, 4, 5),
            (2027, 3, 28),
            (2038, 4, 25),
            (2049, 4, 18), // an exception of the tables
            (2076, 4, 19), // the other exception
            (2200, 4, 6),
        ] {
            assert_eq!(easter(year), date(year, month, day));
        }
        for year in -9999..=9999 {
            let sunday = easter(year);
            if year >= 1583 {
                assert_eq!(sunday.weekday(), Weekday::Sunday, "{year}");
            }
        }
    }

    #[test]
    fn every_day_has_a_due_date_that_is_a_working_day_within_five_days_of_the_raw_one() {
        let mut received = date(1970, 1, 1);
        while received < date(2201, 1, 1) {
            let due = due(received);
            for (raw, end) in [
                (due.one_month_raw, due.one_month_due),
                (due.three_months_raw, due.three_months_due),
            ] {
                assert!(is_working_day(end) && raw <= end, "{received}");
                assert!(raw.saturating_add(5.days()) > end, "{received}");
            }
            assert!(due.one_month_raw > received.saturating_add(27.days()));
            received = received.tomorrow().expect("within the calendar");
        }
    }

    #[test]
    fn the_ends_of_the_calendar_stay_within_it() {
        assert_eq!(due(Date::MAX).three_months_due, Date::MAX);
        assert!(due(Date::MIN).one_month_due > Date::MIN);
    }

    #[test]
    fn working_days_skip_weekends_and_holidays() {
        for (from, count, expected) in [
            ("2027-03-24", 0, "2027-03-24"),
            ("2027-03-24", 3, "2027-03-30"), // Thursday, Friday, then Easter
            ("2027-03-27", 1, "2027-03-30"),
            ("2026-12-23", 2, "2026-12-28"),
        ] {
            assert_eq!(working_days_after(day(from), count), day(expected), "{from}");
        }
    }
}
