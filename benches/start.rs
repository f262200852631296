//! How long a start takes, and a listing of 100 cases, on a ledger of 1,000,000 entries with 10,000
//! open cases. Results and how to read them: docs/benchmarks.md.
//!
//! The vault is made through the library: real boxes, keys in the cabinet, packs, an index. It takes
//! about 1 GB under `TMPDIR`, and a minute or two.

#[path = "../tests/support/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kluis::casebook::Filter;
use kluis::casebook::detail::{self, ContactDetail, LetterDetail};
use kluis::clock::Clock;
use kluis::ids::{CaseId, Digest, EpochId, ItemId, LetterId, random};
use kluis::keys::epoch::EpochPublic;
use kluis::keys::epoch_note::EpochNote;
use kluis::keys::note::Vkey;
use kluis::ledger::entry::{Entry, Fact};
use kluis::letter::{Envelope, Headers, Protection, Source};
use kluis::secret::Personal;
use kluis::store::{Batch, Store};
use kluis::vault::manifest::Manifest;
use kluis::vault::seal::{self, Inner, Kind, Place, SealedBox};
use world::World;

const ENTRIES: u64 = 1_000_000;
const OPEN: u64 = 10_000;
const LISTED: u32 = 100;
const ROUNDS: usize = 7;
/// Threads that make letters: their batches share barriers.
const MAKERS: usize = 16;

fn main() {
    // `cargo test --benches` and `cargo bench -- --list` run nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let world = World::found();
    let begun = Instant::now();
    fill(&world);
    println!("made in {:.1} s", begun.elapsed().as_secs_f64());
    let mut starts = Vec::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let server = runtime.block_on(world.serve());
        starts.push(begun.elapsed());
        if round + 1 == ROUNDS {
            let mut listings = Vec::new();
            let mut client = world.log_in("anna").expect("logs in");
            let status = client.status().expect("answers");
            for _ in 0..ROUNDS {
                let begun = Instant::now();
                let cases = client.queue(Filter::Next(LISTED)).expect("lists");
                listings.push(begun.elapsed());
                assert_eq!(cases.len(), LISTED as usize);
            }
            println!("{} entries, {} open cases", status.entries, status.cases.1);
            report("list 100 cases", listings);
        }
        runtime.block_on(server.stop());
    }
    report("start", starts);
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let [first, .., last] = times[..] else { return };
    let median = times[times.len() / 2];
    println!("{what}: median {median:.1?} of {} ({first:.1?} to {last:.1?})", times.len());
}

/// Puts cases into the vault until the ledger is long enough.
fn fill(world: &World) {
    let (store, _) = Store::open(&world.state(), &world.cabinet_key()).expect("opens");
    let maker = Maker { epoch: epoch(world), store: &store, now: Clock::System.minutes() };
    let opened = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..MAKERS {
            scope.spawn(|| {
                while store.size() < ENTRIES {
                    maker.case(opened.fetch_add(1, Ordering::Relaxed) < OPEN);
                }
            });
        }
    });
}

/// The public half that boxes are sealed to.
fn epoch(world: &World) -> EpochPublic {
    let read = |name: &str| std::fs::read_to_string(world.state().join(name)).expect("is read");
    let admin: Vkey = read("admin.pub").trim().parse().expect("a key");
    let note = EpochNote::parse_signed(&read("epochs/1.note"), &admin.public);
    note.expect("a note").public()
}

/// Makes cases as letters and members would have.
struct Maker<'a> {
    epoch: EpochPublic,
    store: &'a Store,
    now: u64,
}

impl Maker<'_> {
    /// A case with one letter of three items; one that was read, answered and closed unless `open`.
    fn case(&self, open: bool) {
        let case = CaseId::random();
        let letter = LetterId::random();
        let mut batch = Batch { announced: Some(self.store.announce()), ..Batch::default() };
        let due = (self.now / 1440) as i32 + (letter.as_bytes()[0] % 30) as i32;
        batch.entries.push(Entry {
            case: Some(case),
            due_one: Some(due),
            due_three: Some(due + 60),
            ..Entry::new(Fact::CaseOpened, self.now)
        });
        // Only what a listing of open cases opens is wrapped to the epoch: the rest has its length.
        let staff = |manifest: &Manifest| {
            if open {
                return seal::inner(manifest, &self.epoch);
            }
            let sealed = [0; 23].map(|_| random::<32>()).concat();
            (Inner { chunks: Vec::new(), sealed }, Digest::new(random()))
        };
        let detail = letter_detail();
        let (inner, digest) = staff(&Manifest::note(detail::to_bytes(&detail)));
        self.keep(
            &mut batch,
            Fact::LetterReceived,
            case,
            Kind::Letter,
            letter,
            None,
            (&inner, digest),
        );
        for _ in 0..3 {
            let (inner, digest) = staff(&Manifest::note(vec![0; 300]));
            let item = Some(ItemId::random());
            self.keep(
                &mut batch,
                Fact::BoxSealed,
                case,
                Kind::Item,
                letter,
                item,
                (&inner, digest),
            );
        }
        let contact = ContactDetail {
            address: Some(Personal::new(format!("{letter}@client.example"))),
            fingerprint: Digest::new(random()),
            message_id: Some(Personal::new(format!("{case}@client.example"))),
            recipients: vec![Personal::new(world::MAILBOX.to_owned())],
        };
        let (inner, digest) = seal::inner_for_server(&Manifest::note(detail::to_bytes(&contact)));
        let kept = (&inner, digest);
        let contact =
            self.keep(&mut batch, Fact::BoxSealed, case, Kind::Contact, letter, None, kept);
        let (inner, digest) = seal::inner_for_server(&Manifest::note(vec![0; 600]));
        let notice = LetterId::random();
        let kept = (&inner, digest);
        let notice =
            self.keep(&mut batch, Fact::NoticeHeld, case, Kind::Outgoing, notice, None, kept);
        self.store.commit(batch).expect("commits");
        if !open {
            let fact = |kind| Entry { case: Some(case), ..Entry::new(kind, self.now) };
            let forgotten = |slot| Entry { slot: Some(slot), ..fact(Fact::Forgotten) };
            let mut entries =
                [Fact::Listed, Fact::Looked, Fact::Looked, Fact::Decided, Fact::Answered]
                    .map(fact)
                    .to_vec();
            entries.push(fact(Fact::Closed));
            entries.extend([contact, notice].map(forgotten));
            let announced = Some(self.store.announce());
            let batch = Batch { entries, announced, ..Batch::default() };
            self.store.commit(batch).expect("commits");
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what one entry says of one box")]
    fn keep(
        &self,
        batch: &mut Batch,
        fact: Fact,
        case: CaseId,
        kind: Kind,
        letter: LetterId,
        item: Option<ItemId>,
        (inner, content): (&Inner, Digest),
    ) -> kluis::ids::SlotId {
        let item = item.unwrap_or(ItemId::new(*letter.as_bytes()));
        let place = Place { kind, vault: self.store.vault(), letter, item };
        let sealed: SealedBox = seal::outer(inner, place);
        let slot = sealed.slot();
        batch.entries.push(Entry {
            case: Some(case),
            epoch: (!kind.is_server_sealed()).then_some(EpochId(1)),
            size: Some(12),
            ..Entry::of_box(fact, self.now, &sealed, content)
        });
        batch.boxes.push(sealed);
        slot
    }
}

fn letter_detail() -> LetterDetail {
    let text = |text: &str| Personal::new(text.to_owned());
    LetterDetail {
        envelope: Envelope {
            mail_from: text("someone@client.example"),
            rcpt_to: vec![text(world::MAILBOX)],
            helo: text("client.example"),
            client: Some(text("192.0.2.7")),
            source: Source::Smtp,
            tls: true,
        },
        headers: Headers { subject: Some(text("My data, please")), ..Headers::default() },
        findings: Vec::new(),
        protection: Protection::None,
        items: Vec::new(),
        skeleton: Some(ItemId::random()),
        length: 270_000,
        signature: None,
        origin: None,
        silence: None,
    }
}
