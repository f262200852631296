//! Tables of what happens to a case.

use super::*;

fn day(text: &str) -> Date {
    text.parse().expect("a date")
}

/// What happened, and on which day.
type Dated = (&'static str, Event);

/// Received on Monday 8 March 2027: due on 8 April, 8 June.
fn opened() -> Case {
    Case::open(CaseId::random(), Term::of(day("2027-03-08")))
}

fn after(events: &[Dated]) -> Case {
    events.iter().fold(opened(), |case, &(on, event)| step(case, day(on), event))
}

#[test]
fn a_case_goes_its_way_from_open_to_closed() {
    let case = after(&[]);
    assert_eq!((case.state(), case.due(), case.letters), (State::Open, day("2027-04-08"), 1));
    let case = after(&[("2027-03-09", Event::Asked)]);
    assert_eq!(case.state(), State::Asked);
    let case = after(&[
        ("2027-03-09", Event::Asked),
        ("2027-03-12", Event::LetterJoined),
        ("2027-03-15", Event::Decided),
        ("2027-03-15", Event::Answered),
        ("2027-03-15", Event::Delivered),
        ("2027-03-16", Event::Closed),
    ]);
    assert_eq!(case.state(), State::Closed);
    assert_eq!((case.letters, case.answers, case.delivered, case.failed), (2, 1, 1, 0));
    assert_eq!(case.decided, Some(day("2027-03-15")));
    assert_eq!(case.closed, Some(day("2027-03-16")));
}

#[test]
fn only_an_extension_told_in_time_moves_the_date_that_counts() {
    for (on, due) in [("2027-04-08", "2027-06-08"), ("2027-04-09", "2027-04-08")] {
        assert_eq!(after(&[(on, Event::Extended)]).due(), day(due), "{on}");
    }
    let paused = after(&[("2027-03-09", Event::Asked), ("2027-03-29", Event::AnsweredQuestion)]);
    assert_eq!(paused.due(), day("2027-04-08"));
}

#[test]
fn a_quick_question_pauses_and_a_late_one_does_not() {
    let answered = Event::AnsweredQuestion;
    let rows: &[(&[Dated], &str, Option<&str>)] = &[
        (&[], "2027-03-20", None),
        // Asked and answered the same day: no pause.
        (&[("2027-03-09", Event::Asked), ("2027-03-09", answered)], "2027-03-20", None),
        // Ten days; 18 April is a Sunday.
        (
            &[("2027-03-09", Event::Asked), ("2027-03-19", answered)],
            "2027-05-01",
            Some("2027-04-19"),
        ),
        // Still open: up to today.
        (&[("2027-03-09", Event::Asked)], "2027-03-11", Some("2027-04-12")),
        // The last quick day is Thursday the 11th.
        (
            &[("2027-03-11", Event::Asked), ("2027-03-12", answered)],
            "2027-03-20",
            Some("2027-04-09"),
        ),
        (&[("2027-03-12", Event::Asked), ("2027-03-22", answered)], "2027-03-25", None),
        // A letter ends the pause; the second answer adds nothing.
        (
            &[
                ("2027-03-09", Event::Asked),
                ("2027-03-10", Event::LetterJoined),
                ("2027-03-20", answered),
            ],
            "2027-03-20",
            Some("2027-04-09"),
        ),
        // Two questions add up.
        (
            &[
                ("2027-03-09", Event::Asked),
                ("2027-03-10", answered),
                ("2027-03-11", Event::Asked),
                ("2027-03-14", answered),
            ],
            "2027-03-20",
            Some("2027-04-12"),
        ),
        // Extended: from three months; 13 June is a Sunday.
        (
            &[
                ("2027-03-09", Event::Asked),
                ("2027-03-14", answered),
                ("2027-03-30", Event::Extended),
            ],
            "2027-04-20",
            Some("2027-06-14"),
        ),
        // Closed with a question open: the pause ends there.
        (
            &[("2027-03-09", Event::Asked), ("2027-03-10", Event::Closed)],
            "2027-12-01",
            Some("2027-04-09"),
        ),
        // A clock that runs backwards pauses nothing.
        (&[("2027-03-09", Event::Asked), ("2027-03-01", answered)], "2027-03-20", None),
    ];
    for (events, today, expected) in rows {
        assert_eq!(after(events).due_with_pause(day(today)), expected.map(day), "{events:?}");
    }
}

#[test]
fn a_letter_after_closing_begins_a_new_term_and_keeps_the_hold() {
    let term = Term::of(day("2027-05-31"));
    let case = after(&[
        ("2027-03-09", Event::Held),
        ("2027-03-10", Event::Extended),
        ("2027-03-10", Event::Answered),
        ("2027-03-12", Event::Decided),
        ("2027-03-12", Event::Closed),
        ("2027-05-31", Event::Reopened(term)),
    ]);
    assert_eq!((case.state(), case.due(), case.letters), (State::Open, day("2027-06-30"), 2));
    assert!(case.held && !case.is_answered() && case.decided.is_none());
    // Of a case that was never closed the old dates stay.
    let case = after(&[("2027-05-31", Event::Reopened(term))]);
    assert_eq!((case.due(), case.letters), (day("2027-04-08"), 2));
}

#[test]
fn an_odd_order_is_folded_all_the_same() {
    let early = Term::of(day("2027-03-01"));
    let late = Term::of(day("2027-03-20"));
    let odd = [
        Event::Opened(late),
        Event::AnsweredQuestion,
        Event::HoldLifted,
        Event::Delivered,
        Event::DeliveryFailed,
        Event::Closed,
        Event::Asked,
        Event::Closed,
        Event::Opened(early),
    ];
    let case = odd.iter().fold(opened(), |case, &event| step(case, day("2027-03-15"), event));
    assert_eq!(case.term, early);
    assert_eq!((case.state(), case.asked, case.held), (State::Closed, None, false));
    assert!(!case.is_answered());
    // Every order of any three events gives some case, and no panic.
    for a in odd {
        for b in odd {
            for c in odd {
                let case = [a, b, c].iter().fold(opened(), |case, &e| step(case, Date::MAX, e));
                assert!(case.due_with_pause(Date::MAX).is_none_or(|date| date >= case.due()));
            }
        }
    }
}

#[test]
fn a_person_may_do_what_fits_and_is_told_what_does_not() {
    const ASKED: &[Dated] = &[("2027-03-09", Event::Asked)];
    const EXTENDED: &[Dated] = &[("2027-03-09", Event::Extended)];
    const HELD: &[Dated] = &[("2027-03-09", Event::Held)];
    const DECIDED: &[Dated] = &[("2027-03-09", Event::Decided)];
    const ANSWERED: &[Dated] = &[("2027-03-09", Event::Answered)];
    const BOUNCED: &[Dated] =
        &[("2027-03-09", Event::Answered), ("2027-03-09", Event::DeliveryFailed)];
    const CLOSED: &[Dated] = &[("2027-03-09", Event::Closed)];
    type Row = (&'static [Dated], &'static str, Intent, Result<(), Refusal>);
    let rows: &[Row] = &[
        (&[], "2027-03-10", Intent::Ask, Ok(())),
        (ASKED, "2027-03-10", Intent::Ask, Err(Refusal::AlreadyAsked)),
        (CLOSED, "2027-03-10", Intent::Ask, Err(Refusal::Closed)),
        (ASKED, "2027-03-10", Intent::AnswerQuestion, Ok(())),
        (&[], "2027-03-10", Intent::AnswerQuestion, Err(Refusal::NothingAsked)),
        (&[], "2027-04-08", Intent::Extend, Ok(())),
        (&[], "2027-04-09", Intent::Extend, Err(Refusal::TooLateToExtend)),
        (EXTENDED, "2027-03-10", Intent::Extend, Err(Refusal::AlreadyExtended)),
        (CLOSED, "2027-03-10", Intent::Extend, Err(Refusal::Closed)),
        (&[], "2027-03-10", Intent::Hold, Ok(())),
        (CLOSED, "2027-03-10", Intent::Hold, Ok(())),
        (HELD, "2027-03-10", Intent::Hold, Err(Refusal::Held)),
        (HELD, "2027-03-10", Intent::LiftHold, Ok(())),
        (&[], "2027-03-10", Intent::LiftHold, Err(Refusal::NotHeld)),
        (HELD, "2027-03-10", Intent::Decide, Ok(())),
        (CLOSED, "2027-03-10", Intent::Decide, Err(Refusal::Closed)),
        (&[], "2027-12-31", Intent::Answer, Ok(())),
        (CLOSED, "2027-03-10", Intent::Answer, Err(Refusal::Closed)),
        (&[], "2027-03-10", Intent::Close, Err(Refusal::Undecided)),
        (BOUNCED, "2027-03-10", Intent::Close, Err(Refusal::Undecided)),
        (ANSWERED, "2027-03-10", Intent::Close, Ok(())),
        (DECIDED, "2027-03-10", Intent::Close, Ok(())),
        (CLOSED, "2027-03-10", Intent::Close, Err(Refusal::Closed)),
    ];
    for (events, today, intent, expected) in rows {
        assert_eq!(may(&after(events), day(today), *intent), *expected, "{events:?} {intent:?}");
    }
}

#[test]
fn a_legal_hold_beats_every_approval_and_retention_waits_for_the_close() {
    let member = StaffId(7);
    let retention = Ground::Retention(Digest::new([1; 32]));
    let held = ("2027-03-09", Event::Held);
    let lifted = ("2027-03-10", Event::HoldLifted);
    let closed = ("2027-03-11", Event::Closed);
    for ground in [Ground::Erasure, Ground::IdentityChecked, Ground::NotNeeded, retention] {
        let approval = Approval::by(member, ground);
        assert_eq!((approval.staff(), approval.ground()), (Some(member), ground));
        let open = if ground == retention { Err(Refusal::StillOpen) } else { Ok(()) };
        for (events, expected) in [
            (vec![], open),
            (vec![held], Err(Refusal::Held)),
            (vec![held, closed], Err(Refusal::Held)),
            (vec![held, lifted], open),
            (vec![held, lifted, closed], Ok(())),
        ] {
            assert_eq!(may_forget(&after(&events), &approval), expected, "{ground:?} {events:?}");
        }
    }
    for (approval, ground) in [
        (Approval::served_its_time(), Ground::ServedItsTime),
        (Approval::identity_checked(), Ground::IdentityChecked),
    ] {
        assert_eq!((approval.staff(), approval.ground()), (None, ground), "no person");
        assert_eq!(may_forget(&after(&[held, closed]), &approval), Err(Refusal::Held));
        assert_eq!(may_forget(&after(&[held, lifted]), &approval), Ok(()));
    }
}
