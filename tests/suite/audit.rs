//! The ledger against whoever would change it: an auditor with public keys finds every edit, and
//! a member finds that a server was set back.

use kluis::case::{self, Case};
use kluis::casebook::state::State;
use kluis::casebook::{Act, Filter};
use kluis::ids::{CaseId, Digest, VaultId};
use kluis::ledger::entry::{Entry, Fact};
use kluis::ledger::{self, Audit, checkpoint};
use kluis::staff::agent::Opener;
use kluis::staff::client::{Client, Error};
use kluis::staff::sealing::Sealing;
use kluis::staff::seen::Seen;

use kluis::casebook::detail::NoteSubject;

use crate::mail_client::letter;
use crate::thief::copy;
use crate::way::{deliver, runtime};
use crate::world::{MAILBOX, Server, World};

fn public(world: &World) -> [u8; 32] {
    checkpoint::parse_vkey(&world.checkpoint_key).expect("a public key").1
}

fn audit(
    world: &World,
    entries: &[Vec<u8>],
    head: &str,
    earlier: Option<&str>,
) -> Result<Audit, ledger::Error> {
    ledger::audit(entries.iter().map(Vec::as_slice), head, earlier, &public(world))
}

fn send(server: &Server, seed: u64, letters: u64) {
    for n in 0..letters {
        assert_eq!(deliver(server, false, &[MAILBOX], &letter(seed, n, 3_000)), [250]);
    }
}

/// Copies everything that the server has, the cabinet key included.
fn keep(world: &World) -> tempfile::TempDir {
    let kept = tempfile::tempdir().expect("a directory");
    copy(&world.state(), &kept.path().join("state"));
    copy(&world.cabinet_key(), &kept.path().join("key"));
    kept
}

/// Sets the server back to what was kept.
fn set_back(world: &World, kept: &tempfile::TempDir) {
    for (from, to) in [("state", world.state()), ("key", world.cabinet_key())] {
        std::fs::remove_dir_all(&to).expect("removes");
        copy(&kept.path().join(from), &to);
    }
}

#[test]
fn an_export_is_verified_and_each_way_to_change_it_found_and_named() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    send(&server, 51, 3);
    let mut olga = world.log_in("olga").expect("logs in");
    let (_, early) = olga.ledger().expect("exports");
    send(&server, 52, 2);
    world.log_in("anna").expect("logs in").queue(Filter::All).expect("lists");
    let (entries, head) = olga.ledger().expect("exports");
    runtime.block_on(server.stop());

    let found = audit(&world, &entries, &head, Some(&early)).expect("is as it was");
    assert_eq!((found.vault, found.covered), (world.vault, entries.len() as u64));
    assert_eq!(found.entries, found.covered);
    let size = found.covered;
    let other = checkpoint::public_key(&[1; 32]);
    let foreign = ledger::audit(entries.iter().map(Vec::as_slice), &head, None, &other);
    assert_eq!(foreign, Err(ledger::Error::BadCheckpoint));

    // Every single entry, in each way.
    for at in 0..entries.len() {
        let seq = at as u64;
        let changed = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut entries = entries.clone();
            change(&mut entries);
            audit(&world, &entries, &head, Some(&early)).expect_err("was changed")
        };
        let edited = changed(&|entries| {
            let mut entry = Entry::from_bytes(&entries[at]).expect("an entry");
            entry.minute ^= 1;
            entries[at] = entry.to_bytes();
        });
        assert!(matches!(edited, ledger::Error::Differs(_)), "{at}: {edited}");
        assert_eq!(changed(&|entries| entries[at].truncate(3)), ledger::Error::Unreadable(seq));
        let dropped = changed(&|entries| drop(entries.remove(at)));
        if at + 1 == entries.len() {
            assert_eq!(dropped, ledger::Error::Short { covers: size, found: size - 1 });
        } else {
            assert_eq!(dropped, ledger::Error::OutOfOrder(seq));
            assert_eq!(changed(&|e| e.swap(at, at + 1)), ledger::Error::OutOfOrder(seq));
        }
        let doubled = changed(&|entries| entries.insert(at, entries[at].clone()));
        assert_eq!(doubled, ledger::Error::OutOfOrder(seq + 1));
        // Dropped, and those behind it numbered anew.
        let renumbered = changed(&|entries| {
            entries.remove(at);
            for (seq, bytes) in (0..).zip(entries.iter_mut()) {
                *bytes = Entry { seq, ..Entry::from_bytes(bytes).expect("an entry") }.to_bytes();
            }
        });
        let is_named =
            matches!(renumbered, ledger::Error::Differs(_) | ledger::Error::Short { .. });
        assert!(is_named, "{at}: {renumbered}");
        let cut = changed(&|entries| entries.truncate(at));
        assert!(matches!(cut, ledger::Error::Short { .. }), "{at}: {cut}");
    }
    // An earlier export against a later head, and heads in the wrong order.
    assert_eq!(audit(&world, &entries, &early, Some(&head)), Err(ledger::Error::Unrelated));
    // Behind what the head covers nothing is proven, and the audit says how far it reaches.
    let late = audit(&world, &entries, &early, None).expect("covers the first ones");
    assert!(late.covered < late.entries);
}

#[test]
fn a_fork_is_found_by_whoever_kept_a_checkpoint() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    send(&server, 53, 1);
    runtime.block_on(server.stop());
    let kept = keep(&world);
    let history = |seed, letters| {
        let server = runtime.block_on(world.serve());
        send(&server, seed, letters);
        let socket = world.state().join("kluis.sock");
        let olga = Client::connect(&socket, "olga", Opener::Key(world.key("olga")), None);
        let export = olga.expect("logs in").ledger().expect("exports");
        runtime.block_on(server.stop());
        export
    };
    let (first, shown) = history(54, 1);
    set_back(&world, &kept);
    let (second, head) = history(55, 3);
    assert!(second.len() > first.len());
    // Each is whole in itself, under the server's own key; together they are not.
    audit(&world, &first, &shown, None).expect("whole");
    audit(&world, &second, &head, None).expect("whole");
    let size = first.len() as u64;
    assert_eq!(audit(&world, &second, &head, Some(&shown)), Err(ledger::Error::Differs(size)));
}

/// The listings that an entry may stand for: ids in the order of the listing.
fn listings(vault: VaultId, before: &[Entry], entry: &Entry) -> Vec<Vec<[u8; 16]>> {
    let mut state = State::default();
    before.iter().for_each(|entry| state.apply(vault, entry));
    let mut cases: Vec<(CaseId, &Case)> =
        state.cases.iter().map(|(id, record)| (*id, &record.case)).collect();
    cases.sort_by_key(|(id, case)| (case.due(), *id));
    let letters = |wanted: &dyn Fn(&Case) -> bool| -> Vec<[u8; 16]> {
        let chosen = cases.iter().filter(|(_, case)| wanted(case));
        chosen.flat_map(|(id, _)| &state.cases[id].letters).map(|id| *id.as_bytes()).collect()
    };
    match entry.case {
        None => vec![letters(&|_| true), letters(&|case| case.state() != case::State::Closed)],
        Some(id) => {
            let notes = state.cases[&id].notes.iter().map(|id| *id.as_bytes()).collect();
            vec![letters(&|case| case.id == id), notes]
        }
    }
}

/// Computes every listing of an exported ledger again; gives how many there are, or the first
/// whose count and hash are of no listing at that position.
fn recount(vault: VaultId, exported: &[Vec<u8>]) -> Result<usize, u64> {
    let entries: Vec<Entry> =
        exported.iter().map(|bytes| Entry::from_bytes(bytes).expect("an entry")).collect();
    let mut listed = 0;
    for entry in entries.iter().filter(|entry| entry.kind == Fact::Listed) {
        let position = entry.position.filter(|&position| position <= entry.seq).ok_or(entry.seq)?;
        let is_true = listings(vault, &entries[..position as usize], entry).iter().any(|ids| {
            let hash = Digest::new(*blake3::hash(ids.as_flattened()).as_bytes());
            entry.count == Some(ids.len() as u64) && entry.hash == Some(hash)
        });
        if !is_true {
            return Err(entry.seq);
        }
        listed += 1;
    }
    Ok(listed)
}

#[test]
fn an_auditor_computes_every_listing_again() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    anna.queue(Filter::All).expect("lists nothing");
    send(&server, 56, 3);
    let cases = anna.queue(Filter::All).expect("lists");
    let case = cases[1].card.case;
    for act in [Act::Note, Act::Extend, Act::Decide, Act::Close] {
        let mut sealing = Sealing::new(case, act, anna.sealing().expect("is proven"));
        sealing.note(NoteSubject::Remark, "said by phone", None, Vec::new());
        anna.record(sealing.finish()).expect("is recorded");
        anna.queue(Filter::Open).expect("lists");
        anna.notes(case).expect("lists");
    }
    let open = anna.queue(Filter::Open).expect("lists");
    assert!(open.iter().all(|view| view.card.case != case));
    anna.case(case).expect("lists");
    anna.queue(Filter::All).expect("lists");
    let (entries, head) = anna.ledger().expect("exports");
    runtime.block_on(server.stop());
    audit(&world, &entries, &head, None).expect("is as it was");
    assert_eq!(recount(world.vault, &entries), Ok(13));

    // A listing that says another number, or hides what it opened, is found.
    let at = entries
        .iter()
        .rposition(|bytes| Entry::from_bytes(bytes).is_ok_and(|e| e.kind == Fact::Listed))
        .expect("there is a listing");
    let entry = Entry::from_bytes(&entries[at]).expect("an entry");
    for lie in [
        Entry { count: Some(2), ..entry.clone() },
        Entry { hash: Some(Digest::new([0; 32])), ..entry.clone() },
        Entry { case: Some(case), ..entry.clone() },
        Entry { position: Some(0), ..entry.clone() },
        Entry { position: Some(u64::MAX), ..entry.clone() },
        Entry { position: None, ..entry.clone() },
    ] {
        let mut entries = entries.clone();
        entries[at] = lie.to_bytes();
        assert_eq!(recount(world.vault, &entries), Err(entry.seq));
    }
}

#[test]
fn a_listing_says_what_it_opened_also_while_letters_come_in() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut members: Vec<_> =
        ["anna", "bert", "anna", "bert"].map(|name| world.log_in(name).expect("logs in")).into();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let server = &server;
            scope.spawn(move || send(server, 60 + seed, 15));
        }
        for client in &mut members {
            scope.spawn(|| {
                for _ in 0..15 {
                    client.queue(Filter::All).expect("lists");
                }
            });
        }
    });
    let (entries, _) = members[0].ledger().expect("exports");
    runtime.block_on(server.stop());
    assert_eq!(recount(world.vault, &entries), Ok(60));
}

#[test]
fn a_server_that_was_set_back_is_refused_by_who_saw_more() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    send(&server, 57, 1);
    world.log_in("anna").expect("logs in");
    runtime.block_on(server.stop());
    let kept = keep(&world);

    let server = runtime.block_on(world.serve());
    send(&server, 58, 4);
    world.log_in("anna").expect("logs in");
    let socket = world.state().join("kluis.sock");
    let berts = Seen::in_dir(world.root.path().join("bert"));
    let as_bert = || Client::connect(&socket, "bert", Opener::Key(world.key("bert")), Some(&berts));
    runtime.block_on(server.stop());
    set_back(&world, &kept);

    // Shorter than what anna saw. It starts all the same: it cannot know.
    let server = runtime.block_on(world.serve());
    let last =
        |seen: &Seen| seen.last(world.vault).expect("reads").map(|checkpoint| checkpoint.size);
    let annas = Seen::in_dir(world.root.path().join("seen"));
    let saw = last(&annas);
    assert!(matches!(world.log_in("anna"), Err(Error::Forked)));
    // Grown beyond it on another way.
    send(&server, 59, 8);
    assert!(server.casebook.store().size() > saw.expect("saw something"));
    assert!(matches!(world.log_in("anna"), Err(Error::Forked)));
    assert_eq!(last(&annas), saw, "what was seen is not given up");
    // Who never saw more has nothing to hold it to.
    as_bert().expect("logs in");
    assert!(last(&berts) > saw);
    runtime.block_on(server.stop());
}
