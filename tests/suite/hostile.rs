//! What a hostile or broken client of the staff's door asks for: it is refused, and neither it nor
//! anybody else is any worse off.

use kluis::casebook::detail::NoteSubject;
use kluis::casebook::state::State;
use kluis::casebook::{Act, Filter, Recording};
use kluis::ids::{CaseId, ItemId, LetterId, VaultId};
use kluis::ledger::entry::{Entry, Fact};
use kluis::letter::{Finding, Letter};
use kluis::staff::client::{Client, Error};
use kluis::staff::sealing::Sealing;
use tokio::runtime::Runtime;

use crate::mail_client::{Client as Sender, letter};
use crate::world::{MAILBOX, Server, World};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

fn deliver(server: &Server) {
    let mut sender = Sender::greet(server.smtp(), false).expect("greets");
    let answers = sender.send("lotte@client.example", &[MAILBOX], &letter(5, 1, 2_000));
    assert_eq!(answers.expect("answers")[0].code, 250);
}

fn note(client: &mut Client, case: CaseId) -> Recording {
    let mut sealing = Sealing::new(case, Act::Note, client.sealing().expect("can be sealed"));
    sealing.note(NoteSubject::Remark, "called", None, Vec::new());
    sealing.finish()
}

#[test]
fn what_is_empty_or_too_long_is_refused_and_the_next_request_served() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    deliver(&server);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = anna.queue(Filter::Open).expect("lists")[0].card.case;
    let size = server.casebook.store().size();

    let nothing = |act| Recording {
        case,
        act,
        boxes: vec![],
        chunks: vec![],
        mail: None,
        marks: vec![],
        check: None,
    };
    let mut long = note(&mut anna, case);
    long.boxes[0].inner.sealed = vec![0; (64 << 20) + 1];
    for recording in [nothing(Act::Note), nothing(Act::OpenLetter), long] {
        assert!(matches!(anna.record(recording), Err(Error::Refused(_))));
    }
    let many: Vec<ItemId> = (0..5000).map(|_| ItemId::random()).collect();
    assert!(matches!(anna.look(&many), Err(Error::Refused(why)) if why.contains("too many")));
    assert_eq!(server.casebook.store().size(), size, "nothing of it is entered");

    let honest = note(&mut anna, case);
    anna.record(honest).expect("is recorded");
    runtime.block_on(server.stop());
}

#[test]
fn a_length_that_no_content_has_is_no_reason_to_fall_over() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    deliver(&server);
    let mut anna = world.log_in("anna").expect("logs in");
    let case = anna.queue(Filter::Open).expect("lists")[0].card.case;
    let mut recording = note(&mut anna, case);
    recording.boxes[0].length = u64::MAX;
    // Refused or not: the connection lives.
    let _ = anna.record(recording);
    assert_eq!(anna.queue(Filter::Open).expect("lists").len(), 1);
    runtime.block_on(server.stop());
}

#[test]
fn a_letter_that_joins_a_case_while_it_is_closed_opens_it_again() {
    let (mut state, vault, case) = (State::default(), VaultId::random(), CaseId::random());
    let entry = |kind, minute| Entry { case: Some(case), ..Entry::new(kind, minute) };
    let dated = |kind, minute| Entry {
        letter: Some(LetterId::random()),
        due_one: Some(30),
        due_three: Some(90),
        ..entry(kind, minute)
    };
    state.apply(vault, &dated(Fact::CaseOpened, 0));
    state.apply(vault, &dated(Fact::LetterReceived, 0));
    let due = state.cases[&case].case.due();
    let later = 5 * 24 * 60;
    let joins = |minute| Entry {
        due_one: Some(35),
        due_three: Some(95),
        ..dated(Fact::LetterReceived, minute)
    };
    state.apply(vault, &joins(later));
    assert_eq!(state.cases[&case].case.due(), due, "an open case keeps its dates");
    state.apply(vault, &entry(Fact::Decided, later));
    state.apply(vault, &entry(Fact::Closed, later));
    state.apply(vault, &joins(later));
    let record = &state.cases[&case];
    assert_eq!((record.case.closed, record.letters.len()), (None, 3));
    assert!(record.case.due() > due, "its time begins again");
}

#[test]
fn a_media_type_longer_than_any_is_not_kept_as_one() {
    let header = format!("Content-Type: text/{}\r\n\r\nbody\r\n", "x".repeat(300));
    let letter = Letter::parse(header.as_bytes());
    assert_eq!(letter.items[0].media_type, "text/plain");
    assert!(letter.findings.contains(&Finding::BadHeader));
}
