//! Who gets in at the staff's door, what each may ask for there, and that it is entered before
//! anything is said.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use kluis::casebook::protocol::{self, MAX_BEFORE_LOG_IN, Request, Response};
use kluis::casebook::state::Wrapped;
use kluis::casebook::{Act, Filter, NewBox, Recording};
use kluis::ids::{Address, CaseId, Digest, EpochId, ItemId, LetterId, StaffId, VaultId, random};
use kluis::keys::challenge;
use kluis::ledger::entry::{Entry, Fact};
use kluis::staff::agent::Opener;
use kluis::staff::client::{Client, Error};
use kluis::staff::seen::Seen;
use kluis::vault::seal::{Inner, Kind};

use crate::mail_client::letter;
use crate::thief::{Thief, copy};
use crate::way::{count, deliver, entries, runtime};
use crate::world::{MAILBOX, World};

/// What a refused log-in says, whatever was wrong.
const REFUSED: &str = "no such member, or not its key";

/// A connection that speaks the protocol by hand.
pub(crate) struct Line(pub(crate) UnixStream);

struct Challenged {
    file: Vec<u8>,
    vault: VaultId,
    nonce: [u8; 16],
}

impl Line {
    pub(crate) fn open(world: &World) -> Self {
        let stream = UnixStream::connect(world.state().join("kluis.sock")).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("sets");
        Self(stream)
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Response {
        protocol::write(&mut self.0, request).expect("writes");
        protocol::read(&mut self.0).expect("answers")
    }

    fn hello(&mut self, member: &str) -> Challenged {
        match self.ask(&Request::Hello { member: member.into() }) {
            Response::Challenge { file, vault, nonce } => Challenged { file, vault, nonce },
            _ => panic!("no challenge"),
        }
    }

    /// Logs in as this member with that person's key; what the server says to the answer.
    pub(crate) fn log_in(&mut self, world: &World, member: &str) -> Response {
        let challenged = self.hello(member);
        self.ask(&Request::Answer { response: answer(world, member, &challenged) })
    }

    /// That the server ends the connection without another word.
    pub(crate) fn ends(mut self) {
        let mut rest = Vec::new();
        // It may be closed with our bytes unread.
        let _ = self.0.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
}

fn answer(world: &World, member: &str, challenged: &Challenged) -> [u8; 32] {
    let message = world.key(member).unwrap(&challenged.file).expect("opens");
    challenge::answer(&message, challenged.vault, &challenged.nonce, member).expect("a challenge")
}

pub(crate) fn refusal(response: Response) -> String {
    match response {
        Response::Refused { why } => why,
        _ => panic!("something was disclosed"),
    }
}

#[test]
fn whatever_is_wrong_with_a_log_in_the_refusal_is_the_same_and_entered() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let refusals = || -> Vec<Option<StaffId>> {
        let all = entries(&server);
        all.iter().filter(|e| e.kind == Fact::LogInRefused).map(|e| e.staff).collect()
    };

    // Nobody of that name; the holders of other keys are no members.
    for name in ["mallory", "carla", "recovery", "", "anna "] {
        let mut line = Line::open(&world);
        assert_eq!(refusal(line.ask(&Request::Hello { member: name.into() })), REFUSED);
        line.ends();
    }
    assert_eq!(refusals(), [None; 5]);

    // A member with another's key cannot read the challenge, and guesses.
    let with_berts_key = Client::connect(
        &world.state().join("kluis.sock"),
        "anna",
        Opener::Key(world.key("bert")),
        None,
    );
    assert!(matches!(with_berts_key, Err(Error::NoKey)));
    let mut line = Line::open(&world);
    let challenged = line.hello("anna");
    assert!(world.key("bert").unwrap(&challenged.file).is_err());
    assert_eq!(refusal(line.ask(&Request::Answer { response: random() })), REFUSED);
    line.ends();

    // The right answer of another connection, and of another member.
    let (mut first, mut second) = (Line::open(&world), Line::open(&world));
    let (mine, other) = (first.hello("anna"), second.hello("anna"));
    assert_ne!(mine.nonce, other.nonce);
    let response = answer(&world, "anna", &mine);
    assert_eq!(refusal(second.ask(&Request::Answer { response })), REFUSED);
    second.ends();
    let mut third = Line::open(&world);
    let berts = third.hello("bert");
    let as_bert = answer(&world, "bert", &berts);
    let mut fourth = Line::open(&world);
    fourth.hello("anna");
    assert_eq!(refusal(fourth.ask(&Request::Answer { response: as_bert })), REFUSED);
    fourth.ends();
    // They still serve where they belong.
    assert!(matches!(
        first.ask(&Request::Answer { response }),
        Response::Welcome { staff: StaffId(1), .. }
    ));
    let welcomed = third.ask(&Request::Answer { response: as_bert });
    assert!(matches!(welcomed, Response::Welcome { staff: StaffId(2), .. }));

    // An answer serves once, and a name is said once.
    for again in [Request::Answer { response }, Request::Hello { member: "olga".into() }] {
        assert!(refusal(first.ask(&again)).contains("logged in already"));
    }
    let mut line = Line::open(&world);
    assert_eq!(refusal(line.ask(&Request::Answer { response })), REFUSED);
    line.ends();

    let anna = Some(StaffId(1));
    assert_eq!(refusals()[5..], [anna, anna, anna, None]);
    assert_eq!(count(&server, Fact::LoggedIn), 2);
    runtime.block_on(server.stop());
}

/// A list of people on file, as far as anybody is asked to take it.
fn a_list() -> NewBox {
    let item = ItemId::random();
    NewBox {
        kind: Kind::Note,
        letter: LetterId::new(*item.as_bytes()),
        item,
        inner: Inner { chunks: Vec::new(), sealed: Vec::new() },
        content: Digest::new([0; 32]),
        epoch: EpochId(1),
        container: None,
        length: 0,
        is_copy: false,
    }
}

/// Everything a member may ask for, with what is there to ask about.
fn every_request(case: CaseId, item: ItemId, chunk: Address, note: Recording) -> Vec<Request> {
    let act = |act| Request::Record { recording: Recording { act, ..note.clone() } };
    vec![
        Request::Queue { filter: Filter::All },
        Request::Queue { filter: Filter::Case(case) },
        Request::Look { items: vec![item] },
        Request::Chunk { address: chunk },
        Request::Notes { case },
        Request::MailboxFiles,
        Request::ReplyTo { case },
        Request::MessageId { case },
        act(Act::Note),
        act(Act::Decide),
        act(Act::Hold),
        act(Act::OpenLetter),
        act(Act::Evidence),
        act(Act::Prove),
        act(Act::Doubt),
        act(Act::Copy),
        Request::Policy,
        Request::People,
        Request::ImportPeople { list: a_list(), count: 1 },
        Request::Numbers { case, letter: LetterId::random() },
        Request::SameCopies { case },
        Request::Unmask { items: vec![item], reason: note.clone() },
        Request::Forget { items: vec![item], reason: note, now: true, planned: None },
        Request::RotateCabinet,
        Request::Prove { epoch: EpochId(1), content: [0; 32] },
        Request::Log { from: 0 },
        Request::Checkpoint { since: 0 },
        Request::Status,
        Request::Check,
        Request::Sweep { dry: true },
        Request::Sweep { dry: false },
        Request::Roster,
        Request::SignRoster { note: String::new() },
        Request::AddEpoch { note: String::new(), file: Vec::new() },
        Request::WrappedFile { what: Wrapped::Epoch(EpochId(1)) },
        Request::WrappedFile { what: Wrapped::Mailbox(1) },
        Request::Rewrap { what: Wrapped::Epoch(EpochId(1)), version: 1, file: Vec::new() },
        Request::Rewrap { what: Wrapped::Mailbox(1), version: 1, file: Vec::new() },
        Request::ToReseal { after: None, most: 1, with_content: true },
        Request::Exchange,
        Request::Chunks { addresses: vec![chunk], slot: None },
        Request::Renewed { chunks: Vec::new(), slot: None, bytes: Vec::new() },
        Request::Reseal { boxes: Vec::new() },
        Request::DestroyEpochs,
        Request::Test,
        Request::HandOver { note: String::new(), roster: String::new() },
        Request::AddMailbox { note: String::new(), certificate: String::new(), file: Vec::new() },
        Request::ToDrill,
        Request::Drilled { nonce: [0; 16], answer: [0; 32], epochs: 1 },
    ]
}

/// A vault with one letter: its case, an item, a chunk of it.
fn one_letter(world: &World, server: &crate::world::Server) -> (CaseId, ItemId, Address) {
    assert_eq!(deliver(server, false, &[MAILBOX], &letter(41, 1, 90_000)), [250]);
    let thief = Thief::default().with(&world.state()).with(&world.cabinet_key());
    let boxes = thief.boxes();
    let large = boxes.iter().filter(|entry| entry.box_kind == Some(Kind::Item));
    let entry = large.max_by_key(|entry| entry.size).expect("has items");
    let chunk = thief.outer(entry).expect("opens").chunks[0];
    (entry.case.expect("has a case"), entry.item.expect("is an item"), chunk)
}

fn nothing_in(case: CaseId) -> Recording {
    Recording {
        case,
        act: Act::Note,
        boxes: Vec::new(),
        chunks: Vec::new(),
        mail: None,
        marks: Vec::new(),
        check: None,
    }
}

#[test]
fn before_the_log_in_nothing_is_understood_and_nothing_long_is_read() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let (case, item, chunk) = one_letter(&world, &server);
    let before = entries(&server).len();
    let requests = every_request(case, item, chunk, nothing_in(case));
    for request in &requests {
        // As the first word, and instead of the answer.
        let mut line = Line::open(&world);
        assert_eq!(refusal(line.ask(request)), REFUSED);
        line.ends();
        let mut line = Line::open(&world);
        line.hello("anna");
        assert_eq!(refusal(line.ask(request)), REFUSED);
        line.ends();
    }
    let after = entries(&server);
    assert_eq!(after.len(), before + 2 * requests.len());
    assert!(after[before..].iter().all(|entry| entry.kind == Fact::LogInRefused));

    // A message that is too long ends the connection when its length is read; so does one that is
    // none. The longest that is allowed is read.
    let hello = |length: usize| {
        let mut line = Line::open(&world);
        let name = "x".repeat(length);
        let frame = protocol::frame(&Request::Hello { member: name }).expect("is short enough");
        line.0.write_all(&frame).expect("writes");
        (frame.len() - 4, line)
    };
    let (overhead, _) = hello(1000);
    let overhead = overhead - 1000;
    let (length, mut line) = hello(MAX_BEFORE_LOG_IN - overhead);
    assert_eq!(length, MAX_BEFORE_LOG_IN);
    assert_eq!(refusal(protocol::read(&mut line.0).expect("answers")), REFUSED);
    hello(MAX_BEFORE_LOG_IN - overhead + 1).1.ends();
    for bytes in [&u32::MAX.to_be_bytes()[..], &[0, 0, 0, 3, 0xff, 0xff, 0xff], &[0; 4]] {
        let mut line = Line::open(&world);
        line.0.write_all(bytes).expect("writes");
        line.ends();
    }
    let mut line = Line::open(&world);
    line.hello("anna");
    line.0.write_all(&(MAX_BEFORE_LOG_IN as u32 + 1).to_be_bytes()).expect("writes");
    line.ends();
    // The door still opens.
    assert!(matches!(Line::open(&world).log_in(&world, "anna"), Response::Welcome { .. }));
    runtime.block_on(server.stop());
}

#[test]
fn who_has_no_right_to_something_is_told_nothing_of_it() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let (case, item, chunk) = one_letter(&world, &server);
    let mut olga = Line::open(&world);
    assert!(matches!(olga.log_in(&world, "olga"), Response::Welcome { staff: StaffId(3), .. }));
    let before = entries(&server).len();
    let mut refused = 0;
    for request in every_request(case, item, chunk, nothing_in(case)) {
        let is_public = matches!(
            request,
            Request::Log { .. }
                | Request::Checkpoint { .. }
                | Request::Status
                | Request::Check
                | Request::Roster
        );
        let is_chunk = matches!(request, Request::Chunk { .. } | Request::Chunks { .. });
        match olga.ask(&request) {
            Response::Refused { why } if is_chunk => assert_eq!(why, "a look comes first"),
            Response::Refused { why } => assert_eq!(why, "your role does not allow this"),
            _ => {
                assert!(is_public);
                continue;
            }
        }
        refused += 1;
    }
    assert_eq!(refused, 44);
    assert_eq!(entries(&server).len(), before, "nothing was looked at, recorded or forgotten");
    // The cabinet's key is rotated by an admin, and none of these is one.
    for name in ["anna", "bert", "olga"] {
        let mut line = Line::open(&world);
        line.log_in(&world, name);
        assert_eq!(refusal(line.ask(&Request::RotateCabinet)), "your role does not allow this");
    }
    assert_eq!(count(&server, Fact::CabinetRotated), 0);
    runtime.block_on(server.stop());
}

#[test]
fn a_chunk_is_given_to_the_connection_that_looked_at_its_item() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let (case, item, chunk) = one_letter(&world, &server);
    let other = entries(&server)
        .into_iter()
        .find(|e| e.box_kind == Some(Kind::Item) && e.item != Some(item))
        .and_then(|entry| entry.item)
        .expect("there is another item");
    let mut anna = Line::open(&world);
    anna.log_in(&world, "anna");
    let ask = Request::Chunk { address: chunk };
    assert_eq!(refusal(anna.ask(&ask)), "a look comes first");
    // Neither a listing nor a look at another item will do, nor one that is refused.
    assert!(matches!(
        anna.ask(&Request::Queue { filter: Filter::Case(case) }),
        Response::Cases { .. }
    ));
    assert!(matches!(anna.ask(&Request::Look { items: vec![other] }), Response::Boxes { .. }));
    assert_eq!(refusal(anna.ask(&ask)), "a look comes first");
    let unknown = ItemId::random();
    refusal(anna.ask(&Request::Look { items: vec![item, unknown] }));
    assert_eq!(refusal(anna.ask(&ask)), "a look comes first");
    assert_eq!(count(&server, Fact::Looked), 1);

    assert!(matches!(anna.ask(&Request::Look { items: vec![item] }), Response::Boxes { .. }));
    assert!(matches!(anna.ask(&ask), Response::Bytes { .. }));
    assert_eq!(count(&server, Fact::Looked), 2);
    let mut bert = Line::open(&world);
    bert.log_in(&world, "bert");
    assert_eq!(refusal(bert.ask(&ask)), "a look comes first");
    runtime.block_on(server.stop());
}

/// What a copy of the files says happened last; the copy is made the moment this is called.
fn last_in_a_copy(world: &World) -> Vec<Entry> {
    let copies = tempfile::tempdir().expect("a directory");
    copy(&world.state().join("ledger"), copies.path());
    Thief::default().with(copies.path()).entries().to_vec()
}

#[test]
fn what_is_disclosed_is_in_the_ledger_before_the_answer_comes() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let (case, item, _) = one_letter(&world, &server);
    let mut anna = Line::open(&world);
    let challenged = anna.hello("anna");
    let response = answer(&world, "anna", &challenged);
    let anna_did = |kind: Fact| {
        let entries = last_in_a_copy(&world);
        let last = entries.last().expect("is not empty");
        assert_eq!((last.kind, last.staff), (kind, Some(StaffId(1))));
        last.clone()
    };
    assert!(matches!(anna.ask(&Request::Answer { response }), Response::Welcome { .. }));
    anna_did(Fact::LoggedIn);
    assert!(matches!(anna.ask(&Request::Queue { filter: Filter::Open }), Response::Cases { .. }));
    assert_eq!(anna_did(Fact::Listed).count, Some(1));
    assert!(matches!(anna.ask(&Request::Look { items: vec![item] }), Response::Boxes { .. }));
    assert_eq!(anna_did(Fact::Looked).item, Some(item));
    assert!(matches!(anna.ask(&Request::Notes { case }), Response::Boxes { .. }));
    assert_eq!(anna_did(Fact::Listed).case, Some(case));
    // The address that an answer goes to says who wrote.
    assert!(matches!(anna.ask(&Request::ReplyTo { case }), Response::Contact { .. }));
    assert_eq!(anna_did(Fact::Looked).case, Some(case));
    runtime.block_on(server.stop());
}

#[test]
fn a_server_killed_at_its_answer_knows_of_the_look_when_it_starts_again() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let (_, item, _) = one_letter(&world, &server);
    runtime.block_on(server.stop());
    let process = world.spawn(&[("RUST_LOG", "off")]);
    let mut anna = Line::open(&world);
    anna.log_in(&world, "anna");
    assert!(matches!(anna.ask(&Request::Queue { filter: Filter::Open }), Response::Cases { .. }));
    assert!(matches!(anna.ask(&Request::Look { items: vec![item] }), Response::Boxes { .. }));
    process.kill();
    let gateway = world.open();
    let entries = gateway.casebook.store().entries(0, usize::MAX).expect("reads");
    let kinds: Vec<Fact> = entries.iter().rev().take(3).map(|entry| entry.kind).collect();
    assert_eq!(kinds, [Fact::Looked, Fact::Listed, Fact::LoggedIn]);
    assert_eq!(entries.last().and_then(|entry| entry.item), Some(item));
}

#[test]
fn a_member_who_never_saw_the_vault_takes_its_key_and_holds_it_to_that() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let seen = Seen::in_dir(world.root.path().join("anna"));
    let socket = world.state().join("kluis.sock");
    let connect = || Client::connect(&socket, "anna", Opener::Key(world.key("anna")), Some(&seen));
    let anna = connect().expect("logs in");
    assert_eq!(anna.checkpoint_key, world.checkpoint_key);
    let last = seen.last(world.vault).expect("reads").expect("is kept");
    assert_eq!(last.size, entries(&server).len() as u64);
    // A file that was touched, or that pins another key, opens nothing.
    let file = world.root.path().join("anna").join(format!("{}.checkpoint", world.vault));
    let text = std::fs::read_to_string(&file).expect("is there");
    let other = kluis::ledger::checkpoint::vkey(world.vault, &[7; 32]);
    for touched in [
        text.replacen(&format!("\n{}\n", last.size), &format!("\n{}\n", last.size - 1), 1),
        text.replacen(&world.checkpoint_key, &other, 1),
        String::new(),
    ] {
        assert_ne!(touched, text);
        std::fs::write(&file, &touched).expect("writes");
        assert!(matches!(connect(), Err(Error::Forked)));
    }
    std::fs::write(&file, &text).expect("writes");
    connect().expect("logs in");
    runtime.block_on(server.stop());
}
