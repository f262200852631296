//! What a person does to a case: what the case allows, what the role allows, and what it changes.
//!
//! With a clock that stands still, so that the days are the same on every day this runs.

use std::sync::Barrier;

use jiff::civil::{Date, date};
use kluis::casebook::detail::NoteSubject;
use kluis::casebook::state::days;
use kluis::casebook::{Act, Filter, NewBox, NewChunk, Recording};
use kluis::ids::{Address, CaseId, EpochId, ItemId, LetterId};
use kluis::ledger::entry::Fact;
use kluis::staff::client::{Client, Error};
use kluis::staff::sealing::Sealing;
use kluis::vault::seal::Kind;
use tokio::runtime::Runtime;

use crate::opened::{PERSON, only_case};
use crate::way::{count, deliver, runtime};
use crate::world::{MAILBOX, Server, World};

/// Noon in Brussels of a day.
fn noon(day: Date) -> u64 {
    let noon = day.at(12, 0, 0, 0).in_tz("Europe/Brussels").expect("a time");
    u64::try_from(noon.timestamp().as_second()).expect("after 1970")
}

/// Monday 5 October 2026: one month ends on 5 November, three on 5 January.
const RECEIVED: Date = date(2026, 10, 5);
const ONE_MONTH: Date = date(2026, 11, 5);
const THREE_MONTHS: Date = date(2027, 1, 5);

fn letter(n: u8, subject: &str) -> Vec<u8> {
    format!(
        "From: {PERSON}\r\nTo: {MAILBOX}\r\nSubject: {subject}\r\n\
         Message-ID: <{n}@client.example>\r\n\r\nGraag inzage ({n}).\r\n"
    )
    .into_bytes()
}

/// A vault that took one letter on [`RECEIVED`], and the letter's case.
fn world_with_case(runtime: &Runtime) -> (World, CaseId) {
    let world = World::found_at(noon(RECEIVED));
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(1, "inzage")), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = only_case(&mut anna).card.case;
    runtime.block_on(server.stop());
    (world, case)
}

fn reason(client: &Client, case: CaseId, act: Act) -> Recording {
    let mut sealing = Sealing::new(case, act, client.sealing().expect("an epoch"));
    sealing.note(NoteSubject::Reason, "because it is so", None, Vec::new());
    sealing.finish()
}

fn does(client: &mut Client, case: CaseId, act: Act) {
    client.record(reason(client, case, act)).unwrap_or_else(|error| panic!("{act:?}: {error}"));
}

/// The act is refused in these words, and nothing is recorded.
fn refused(server: &Server, client: &mut Client, case: CaseId, act: Act, expected: &str) {
    let before = server.casebook.store().size();
    match client.record(reason(client, case, act)) {
        Err(Error::Refused(why)) => assert_eq!(why, expected, "{act:?}"),
        other => panic!("{act:?}: {:?}", other.map_err(|error| error.to_string())),
    }
    assert_eq!(server.casebook.store().size(), before, "{act:?}");
}

/// Serves on this day, with anna at the desk.
fn on(world: &mut World, runtime: &Runtime, day: Date, work: impl FnOnce(&Server, &mut Client)) {
    world.set_time(noon(day));
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    work(&server, &mut anna);
    runtime.block_on(server.stop());
}

#[test]
fn a_case_goes_its_way_and_its_dates_go_with_it() {
    let runtime = runtime();
    let (mut world, case) = world_with_case(&runtime);
    on(&mut world, &runtime, date(2026, 10, 7), |server, anna| {
        let card = only_case(anna).card;
        assert_eq!((card.received, card.due), (days(RECEIVED), days(ONE_MONTH)));
        assert_eq!((card.due_with_pause, card.extended, card.asked), (None, false, false));
        refused(server, anna, case, Act::Close, "nobody has decided or answered yet");
        refused(server, anna, case, Act::Resume, "no question is open");
        refused(server, anna, case, Act::LiftHold, "no legal hold is on the case");
        does(anna, case, Act::Ask);
        refused(server, anna, case, Act::Ask, "a question is open already");
        assert!(only_case(anna).card.asked);
    });
    on(&mut world, &runtime, date(2026, 10, 12), |_, anna| {
        // Five days of pause: shown beside the day that counts, which stays.
        let card = only_case(anna).card;
        assert_eq!(card.due, days(ONE_MONTH));
        assert_eq!(card.due_with_pause, Some(days(date(2026, 11, 10))));
        does(anna, case, Act::Resume);
        assert!(!only_case(anna).card.asked);
    });
    on(&mut world, &runtime, ONE_MONTH, |server, anna| {
        assert_eq!(only_case(anna).card.due_with_pause, Some(days(date(2026, 11, 10))));
        does(anna, case, Act::Extend);
        refused(server, anna, case, Act::Extend, "the case was extended already");
        let card = only_case(anna).card;
        assert_eq!((card.extended, card.due), (true, days(THREE_MONTHS)));
        does(anna, case, Act::Decide);
        assert_eq!(only_case(anna).card.decided, Some(days(ONE_MONTH)));
    });
    on(&mut world, &runtime, date(2026, 12, 1), |server, anna| {
        does(anna, case, Act::Close);
        for act in [Act::Decide, Act::Extend, Act::Ask, Act::Resume, Act::Close] {
            refused(server, anna, case, act, "the case is closed");
        }
        does(anna, case, Act::Note);
        assert!(anna.queue(Filter::Open).expect("lists").is_empty());
        assert_eq!(only_case(anna).card.closed, Some(days(date(2026, 12, 1))));
        let number = CaseId::random();
        refused(server, anna, number, Act::Decide, "there is no such case");
    });
    on(&mut world, &runtime, date(2027, 2, 1), |server, anna| {
        // Who writes again begins a new term.
        let ours = anna.message_id(case).expect("is given");
        let again = [format!("In-Reply-To: <{ours}>\r\n").into_bytes(), letter(2, "nog een vraag")];
        assert_eq!(deliver(server, false, &[MAILBOX], &again.concat()), [250]);
        let card = only_case(anna).card;
        assert_eq!((card.closed, card.decided, card.extended), (None, None, false));
        assert_eq!((card.received, card.due), (days(date(2027, 2, 1)), days(date(2027, 3, 1))));
        assert_eq!(card.letters.len(), 2);
    });
    on(&mut world, &runtime, date(2027, 3, 2), |server, anna| {
        let why = "the first month is over, within which an extension must be told";
        refused(server, anna, case, Act::Extend, why);
    });
}

#[test]
fn a_hold_keeps_everything_and_is_lifted_once() {
    let runtime = runtime();
    let (mut world, case) = world_with_case(&runtime);
    on(&mut world, &runtime, RECEIVED, |server, anna| {
        let item = only_case(anna).letters[0].detail.as_ref().expect("opens").items[0].id;
        does(anna, case, Act::Hold);
        refused(server, anna, case, Act::Hold, "a legal hold is on the case");
        assert!(only_case(anna).card.held);
        let before = server.casebook.store().size();
        let forgotten = anna.forget(vec![item], reason(anna, case, Act::Note), true);
        assert!(
            matches!(&forgotten, Err(Error::Refused(why)) if why == "a legal hold is on the case")
        );
        assert_eq!(server.casebook.store().size(), before);
        assert_eq!(anna.look(&[item]).expect("opens").len(), 1);
        // It holds what is kept, not the person's rights: the case goes on.
        does(anna, case, Act::Decide);
        does(anna, case, Act::Close);
    });
    // Not even what serves its time: the address stays as long as the hold.
    on(&mut world, &runtime, date(2026, 11, 30), |server, anna| {
        assert_eq!(tidied(server), 0);
        assert_eq!(anna.reply_to(case).expect("is kept").0.expose(), PERSON);
        does(anna, case, Act::LiftHold);
        refused(server, anna, case, Act::LiftHold, "no legal hold is on the case");
        assert_eq!(tidied(server), 1);
        assert!(matches!(anna.reply_to(case), Err(Error::Refused(_))));
        let item = only_case(anna).letters[0].detail.as_ref().expect("opens").items[0].id;
        let forgotten = anna.forget(vec![item], reason(anna, case, Act::Note), true);
        assert_eq!(forgotten.expect("forgets").len(), 1);
    });
}

#[test]
fn an_address_lives_as_long_as_its_case_and_a_mail_seven_days_from_its_delivery() {
    let runtime = runtime();
    let (mut world, case) = world_with_case(&runtime);
    let _ = std::fs::remove_dir_all(world.outgoing());
    std::fs::write(world.outgoing(), "in the way").expect("writes");
    on(&mut world, &runtime, date(2026, 10, 6), |server, anna| {
        let draft = crate::answers::draft(case, Vec::new(), true);
        kluis::staff::answers::send(anna, draft, noon(date(2026, 10, 6))).expect("is recorded");
        assert_eq!(server.casebook.unfinished().len(), 1);
    });
    std::fs::remove_file(world.outgoing()).expect("removes");
    on(&mut world, &runtime, date(2026, 10, 30), |server, _| {
        crate::answers::wait_until("the delivery", || count(server, Fact::OutgoingDelivered) == 1);
        assert_eq!(tidied(server), 0);
    });
    on(&mut world, &runtime, date(2026, 11, 6), |server, anna| {
        assert_eq!(tidied(server), 0, "seven days, not from when it was written");
        assert_eq!(anna.reply_to(case).expect("is kept").0.expose(), PERSON);
    });
    on(&mut world, &runtime, date(2026, 11, 7), |server, anna| {
        assert_eq!(tidied(server), 1, "the mail");
        assert_eq!(anna.reply_to(case).expect("is kept").0.expose(), PERSON);
        does(anna, case, Act::Close);
        assert_eq!(tidied(server), 2, "and the address");
        assert!(matches!(anna.reply_to(case), Err(Error::Refused(_))));
    });
}

/// How many boxes were forgotten so far, after tidying up; the server does that by itself, too.
fn tidied(server: &Server) -> usize {
    server.casebook.tidy().expect("tidies");
    count(server, Fact::Forgotten)
}

#[test]
fn the_address_of_a_case_that_closes_at_once_is_kept_for_seven_days() {
    let runtime = runtime();
    let (mut world, case) = world_with_case(&runtime);
    on(&mut world, &runtime, RECEIVED, |server, anna| {
        does(anna, case, Act::Decide);
        does(anna, case, Act::Close);
        assert_eq!(tidied(server), 0);
    });
    on(&mut world, &runtime, date(2026, 10, 12), |server, _| {
        assert_eq!(tidied(server), 0);
    });
    on(&mut world, &runtime, date(2026, 10, 13), |server, anna| {
        assert_eq!(tidied(server), 1);
        assert!(matches!(anna.reply_to(case), Err(Error::Refused(_))));
    });
}

const FORBIDDEN: &str = "your role does not allow this";

fn forbidden<T>(server: &Server, what: &str, ask: impl FnOnce() -> Result<T, Error>) {
    let before = server.casebook.store().size();
    match ask() {
        Err(Error::Refused(why)) => assert_eq!(why, FORBIDDEN, "{what}"),
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what} is not refused"),
    }
    assert_eq!(server.casebook.store().size(), before, "{what} leaves no trace");
}

const ACTS: [Act; 13] = [
    Act::Note,
    Act::Decide,
    Act::Extend,
    Act::Ask,
    Act::Resume,
    Act::Hold,
    Act::LiftHold,
    Act::Close,
    Act::OpenLetter,
    Act::Answer,
    Act::Evidence,
    Act::Prove,
    Act::Doubt,
];

/// What an answer and its mailbox need.
fn cannot_answer(server: &Server, client: &mut Client, case: CaseId, reason: &Recording) {
    let item = ItemId::random();
    forbidden(server, "forgetting", || client.forget(vec![item], reason.clone(), false));
    forbidden(server, "the mailbox's keys", || client.mailbox_keys().map(drop));
    forbidden(server, "the address", || client.reply_to(case));
    forbidden(server, "a message id", || client.message_id(case));
}

#[test]
fn a_role_allows_what_it_allows_and_nothing_else() {
    let runtime = runtime();
    let (world, case) = world_with_case(&runtime);
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let item = only_case(&mut anna).letters[0].detail.as_ref().expect("opens").items[0].id;
    let recorded = |act| Recording { act, ..reason(&anna, case, Act::Note) };

    // The data protection officer reads and remarks, and decides nothing.
    let mut dora = world.log_in("dora").expect("logs in");
    assert_eq!(only_case(&mut dora).letters.len(), 1);
    assert_eq!(dora.look(&[item]).expect("opens").len(), 1);
    for act in ACTS.into_iter().filter(|act| *act != Act::Note) {
        forbidden(&server, &format!("{act:?}"), || dora.record(recorded(act)));
    }
    cannot_answer(&server, &mut dora, case, &recorded(Act::Note));
    // What shows who asks they may see, too; bring the list they may not.
    assert_eq!(dora.people().expect("opens"), None);
    dora.policy().expect("is told");
    let nobody = kluis::identity::people::People::default();
    forbidden(&server, "a list of people", || dora.import_people(&nobody).map(drop));
    does(&mut dora, case, Act::Note);
    assert_eq!(dora.notes(case).expect("lists").len(), 1);

    // The auditor verifies, and reads nothing.
    let mut olga = world.log_in("olga").expect("logs in");
    for act in ACTS {
        forbidden(&server, &format!("{act:?}"), || olga.record(recorded(act)));
    }
    cannot_answer(&server, &mut olga, case, &recorded(Act::Note));
    forbidden(&server, "the queue", || olga.queue(Filter::All).map(drop));
    forbidden(&server, "an item", || olga.look(&[item]).map(drop));
    forbidden(&server, "the notes", || olga.notes(case).map(drop));
    forbidden(&server, "the people on file", || olga.people().map(drop));
    olga.status().expect("says");
    assert!(!olga.ledger().expect("is given").0.is_empty());
    assert_eq!(olga.check().expect("checks").1, []);

    // Rotating and sweeping are for the admin.
    for client in [&mut anna, &mut dora, &mut olga] {
        forbidden(&server, "rotating", || client.rotate_cabinet());
        forbidden(&server, "sweeping", || client.sweep(false).map(drop));
        forbidden(&server, "what a sweep would do", || client.sweep(true).map(drop));
    }
    runtime.block_on(server.stop());
}

#[test]
fn of_two_members_who_do_the_same_at_once_one_is_refused() {
    let runtime = runtime();
    let (world, case) = world_with_case(&runtime);
    let server = runtime.block_on(world.serve());
    let mut members = ["anna", "bert"].map(|name| world.log_in(name).expect("logs in"));
    for (act, fact, rounds) in [
        (Act::Extend, Fact::Extended, 1),
        (Act::Decide, Fact::Decided, 0),
        (Act::Ask, Fact::Asked, 1),
        (Act::Resume, Fact::Resumed, 1),
        (Act::Hold, Fact::HeldForLaw, 1),
        (Act::LiftHold, Fact::HoldLifted, 1),
        (Act::Close, Fact::Closed, 1),
    ] {
        let gate = Barrier::new(members.len());
        std::thread::scope(|scope| {
            for member in &mut members {
                let gate = &gate;
                scope.spawn(move || {
                    let recording = reason(member, case, act);
                    gate.wait();
                    let _ = member.record(recording);
                });
            }
        });
        // A decision may be taken twice: the later one counts.
        let expected = if rounds == 0 { members.len() } else { rounds };
        assert_eq!(count(&server, fact), expected, "{act:?}");
    }
    runtime.block_on(server.stop());
}

/// An honest note, to be spoilt.
fn spoilt(
    client: &Client,
    case: CaseId,
    act: Act,
    spoil: impl FnOnce(&mut Recording),
) -> Recording {
    let mut recording = reason(client, case, act);
    spoil(&mut recording);
    recording
}

#[test]
fn what_does_not_fit_together_is_refused_and_nothing_of_it_is_kept() {
    let runtime = runtime();
    let (world, case) = world_with_case(&runtime);
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let letter = only_case(&mut anna).letters[0].id();
    let item = only_case(&mut anna).letters[0].card.items[0].0;
    let looked = server.casebook.look(anna.staff, &[item]).expect("opens").remove(0);
    let address = looked.inner.expect("is kept").chunks[0];
    let chunk = |address: Address| NewChunk { address, bytes: vec![0; 1024 + 16] };
    let opening = |spoil: &dyn Fn(&mut NewBox)| {
        spoilt(&anna, case, Act::OpenLetter, |recording| spoil(&mut recording.boxes[0]))
    };
    let random = LetterId::random();
    let as_letter = |new: &mut NewBox, letter: LetterId| {
        (new.kind, new.letter, new.item) = (Kind::Letter, letter, ItemId::new(*letter.as_bytes()));
    };
    let spoilt = [
        ("a mail that is no answer", spoilt(&anna, case, Act::Note, |r| r.mail = Some(vec![1]))),
        ("an answer without a mail", spoilt(&anna, case, Act::Answer, |_| {})),
        (
            "a note that is not its own letter",
            spoilt(&anna, case, Act::Note, |r| r.boxes[0].letter = letter),
        ),
        (
            "a letter in a note",
            spoilt(&anna, case, Act::Note, |r| as_letter(&mut r.boxes[0], random)),
        ),
        ("a contact", spoilt(&anna, case, Act::OpenLetter, |r| r.boxes[0].kind = Kind::Contact)),
        (
            "an outgoing mail",
            spoilt(&anna, case, Act::OpenLetter, |r| r.boxes[0].kind = Kind::Outgoing),
        ),
        ("a letter from nowhere", opening(&|new| as_letter(new, random))),
        ("a letter that is there", opening(&|new| as_letter(new, letter))),
        ("an item from nowhere", opening(&|new| new.kind = Kind::Item)),
        (
            "an item of a letter that came otherwise",
            opening(&|new| {
                (new.kind, new.letter, new.container) = (Kind::Item, letter, Some(item))
            }),
        ),
        (
            "a container that is not there",
            opening(&|new| {
                as_letter(new, random);
                new.container = Some(ItemId::random());
            }),
        ),
        (
            "an epoch that is not there",
            spoilt(&anna, case, Act::Note, |r| r.boxes[0].epoch = EpochId(99)),
        ),
        (
            "the same box twice",
            spoilt(&anna, case, Act::Note, |r| r.boxes.push(r.boxes[0].clone())),
        ),
        (
            "a chunk that is missing",
            spoilt(&anna, case, Act::Note, |r| r.boxes[0].inner.chunks = vec![address]),
        ),
        (
            "a chunk of nothing",
            spoilt(&anna, case, Act::Note, |r| r.chunks.push(chunk(Address::new([7; 32])))),
        ),
        (
            "a chunk that is there",
            spoilt(&anna, case, Act::Note, |r| {
                r.boxes[0].inner.chunks = vec![address];
                r.chunks.push(chunk(address));
            }),
        ),
    ];
    for (what, recording) in spoilt {
        let before = server.casebook.store().size();
        let answered = anna.record(recording);
        assert!(matches!(answered, Err(Error::Refused(_))), "{what} is not refused");
        assert_eq!(server.casebook.store().size(), before, "{what}");
    }
    assert_eq!(anna.look(&[item]).expect("opens").len(), 1);
    assert_eq!(anna.check().expect("checks").1, []);
    runtime.block_on(server.stop());
}
