//! `kluis keys reseal --chunks`: the content of older epochs under keys that nobody knew.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use kluis::casebook::exchange::{AT_ONCE, SLOTS, Window};
use kluis::casebook::protocol::{Request, Response};
use kluis::ids::{Address, EpochId, ItemId};
use kluis::ledger::entry::Fact;
use kluis::staff::agent::Opener;
use kluis::staff::client::{Client, Error};
use kluis::staff::seen::Seen;

use crate::keyring::{dismiss, items, rotate};
use crate::log_in::{Line, refusal};
use crate::mail_client::letter;
use crate::thief::{Thief, files};
use crate::way::{deliver, entries, runtime};
use crate::world::{MAILBOX, Server, World};

fn content(client: &mut Client, server: &Server) -> Vec<(ItemId, Vec<u8>)> {
    let looked = client.look(&items(server)).expect("opens");
    looked.into_iter().map(|item| (item.id, item.stored.to_vec())).collect()
}

/// The addresses that live boxes of the staff refer to, as whoever has disk and cabinet key sees them.
fn chunks(world: &World) -> BTreeSet<[u8; 32]> {
    let thief = Thief::default().with(&world.state()).with(&world.cabinet_key());
    let boxes = thief.boxes();
    // Mails that the server sends by itself are not the staff's.
    let staffs = boxes.iter().filter(|entry| entry.epoch.is_some());
    let live = staffs.filter(|entry| thief.key(entry).is_some());
    live.filter_map(|entry| thief.outer(entry))
        .flat_map(|inner| inner.chunks.into_iter().map(|address| *address.as_bytes()))
        .collect()
}

/// A vault with a letter of two MB, and a new epoch that is proven.
fn a_letter_and_a_new_epoch(world: &World, server: &Server) {
    assert_eq!(deliver(server, false, &[MAILBOX], &letter(13, 1, 2 << 20)), [250]);
    rotate(world, &mut world.log_in("adam").expect("logs in"));
    world.log_in("anna").expect("logs in and proves");
}

/// Anna's line with an exchange, the window and the box with the most chunks of those that she may
/// seal anew.
fn begun(world: &World) -> (Line, Window, kluis::casebook::Opened) {
    let mut line = Line::open(world);
    line.log_in(world, "anna");
    let ask = Request::ToReseal { after: None, most: 64, with_content: true };
    let Response::Boxes { boxes } = line.ask(&ask) else { panic!("boxes are handed out") };
    let chunks = |opened: &kluis::casebook::Opened| {
        opened.inner.as_ref().map_or(0, |inner| inner.chunks.len())
    };
    let largest = boxes.into_iter().max_by_key(chunks).expect("there are boxes");
    assert!(matches!(line.ask(&Request::Exchange), Response::Exchange));
    let window = Window::receive(&line.0).expect("a byte").expect("a descriptor");
    (line, window, largest)
}

fn addresses(opened: &kluis::casebook::Opened) -> Vec<Address> {
    opened.inner.as_ref().expect("is kept").chunks.clone()
}

/// The packs of a vault.
fn packs(world: &World) -> usize {
    files(&world.state().join("packs")).len()
}

#[test]
fn content_that_is_sealed_anew_is_the_same_under_keys_that_nobody_knew() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    for n in 0..2 {
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter(13, n, 20 << 20)), [250]);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    let before = content(&mut anna, &server);
    let mut adam = world.log_in("adam").expect("logs in");
    adam.rotate_cabinet().expect("rotates");
    let old = chunks(&world);
    assert!(old.len() > 100, "{}", old.len());
    rotate(&world, &mut adam);
    let mut anna = world.log_in("anna").expect("logs in and proves");
    let done = anna.reseal_with_content(u64::MAX, &mut |_| ()).expect("seals");
    assert_eq!((done.boxes, done.unopened), (anna.status().expect("tells").by_epoch[0].1, 0));
    assert!(done.bytes > 28 << 20, "{}", done.bytes);
    assert!(content(&mut anna, &server) == before);
    adam.rotate_cabinet().expect("rotates");
    let new = chunks(&world);
    assert_eq!((new.len(), old.intersection(&new).count()), (old.len(), 0));
    assert_eq!(adam.destroy_epochs().expect("none is used"), [EpochId(1)]);
    let (_, problems, _) = anna.check().expect("checks");
    assert_eq!(problems, []);
    // Whoever was given content to seal it anew has looked at it.
    let looks = entries(&server).iter().filter(|e| e.kind == Fact::Looked).count();
    assert!(looks >= 2 * before.len() + items(&server).len(), "{looks}");
    runtime.block_on(server.stop());
}

#[test]
fn a_box_that_names_chunks_which_are_not_there_or_too_few_is_not_kept() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    a_letter_and_a_new_epoch(&world, &server);
    let (mut line, _window, with_chunks) = begun(&world);
    for (change, why) in [
        (
            &(|chunks: &mut Vec<Address>| {
                chunks[0] = Address::new([9; 32]);
            }) as &dyn Fn(&mut Vec<Address>),
            "not there",
        ),
        (&|chunks: &mut Vec<Address>| chunks.clear(), "fewer or more"),
    ] {
        let mut inner = with_chunks.inner.clone().expect("opens");
        change(&mut inner.chunks);
        let new = kluis::casebook::keyring::Resealed {
            kind: with_chunks.place.kind,
            item: with_chunks.place.item,
            slot: with_chunks.slot,
            inner,
            epoch: EpochId(2),
            content: Some(kluis::ids::Digest::new([1; 32])),
        };
        let refused = refusal(line.ask(&Request::Reseal { boxes: vec![new] }));
        assert!(refused.contains(why), "{refused}");
    }
    runtime.block_on(server.stop());
}

#[test]
fn what_is_handed_in_and_never_named_leaves_nothing() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    a_letter_and_a_new_epoch(&world, &server);
    let before = packs(&world);
    let (mut line, window, opened) = begun(&world);
    let (new, sealed) = (Address::new([7; 32]), vec![9; 4096 + 16]);
    window.write(5, &sealed).expect("has room");
    let ask = Request::Renewed { chunks: vec![(new, 4112)], slot: Some(5), bytes: Vec::new() };
    assert!(matches!(line.ask(&ask), Response::Kept { count: 1 }));
    assert!(packs(&world) > before, "it is written ahead");
    // Named by a box of which another chunk is missing, it is kept no more than by none.
    let mut inner = opened.inner.clone().expect("is kept");
    inner.chunks.fill(Address::new([8; 32]));
    inner.chunks[0] = new;
    let named = kluis::casebook::keyring::Resealed {
        kind: opened.place.kind,
        item: opened.place.item,
        slot: opened.slot,
        inner,
        epoch: EpochId(2),
        content: Some(kluis::ids::Digest::new([1; 32])),
    };
    assert!(refusal(line.ask(&Request::Reseal { boxes: vec![named] })).contains("not there"));
    drop(line);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while packs(&world) != before && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(packs(&world), before);
    let mut anna = world.log_in("anna").expect("logs in");
    assert_eq!(anna.check().expect("checks").1, []);
    assert_eq!(anna.reseal_with_content(u64::MAX, &mut |_| ()).expect("goes on").unopened, 0);
    runtime.block_on(server.stop());
}

#[test]
fn whatever_does_not_fit_an_exchange_is_refused_and_the_line_goes_on() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    a_letter_and_a_new_epoch(&world, &server);
    let (mut line, window, opened) = begun(&world);
    let known = addresses(&opened);
    let one = Address::new([7; 32]);
    let chunks =
        |addresses: &[Address], slot| Request::Chunks { addresses: addresses.to_vec(), slot };
    let renewed = |chunks: Vec<(Address, u32)>, slot, bytes: &[u8]| Request::Renewed {
        chunks,
        slot,
        bytes: bytes.to_vec(),
    };
    let last = SLOTS as u32 - 1;
    for (request, why) in [
        (chunks(&[one], Some(0)), "a look comes first"),
        (chunks(&[known[0], one], None), "a look comes first"),
        (chunks(&vec![known[0]; AT_ONCE + 1], Some(0)), "too many"),
        (chunks(&known[..2], Some(last)), "no place"),
        (chunks(&known[..1], Some(u32::MAX)), "no place"),
        (renewed(vec![(one, 4112); AT_ONCE + 1], Some(0), &[]), "too many"),
        (renewed(vec![(one, 4112)], Some(last + 1), &[]), "no place"),
        (renewed(vec![(one, 4112)], None, &[0; 4111]), "no place"),
        (renewed(vec![(one, 4113)], Some(0), &[]), "not what was sealed"),
        (renewed(vec![(one, 16)], Some(0), &[]), "not what was sealed"),
        (renewed(vec![(one, u32::MAX)], Some(0), &[]), "not what was sealed"),
    ] {
        let refused = refusal(line.ask(&request));
        assert!(refused.contains(why), "{refused}");
    }
    // In the window and by the socket the same bytes come, of the same chunk.
    let Response::Chunks { lengths, bytes } = line.ask(&chunks(&known[..1], Some(last))) else {
        panic!("is given")
    };
    assert!(bytes.is_empty());
    let mut in_window = vec![0; lengths[0] as usize];
    window.read(SLOTS - 1, &mut in_window).expect("is there");
    let Response::Chunks { lengths: again, bytes } = line.ask(&chunks(&known[..1], None)) else {
        panic!("is given")
    };
    assert!(again == lengths && bytes == in_window);
    let Response::Bytes { bytes } = line.ask(&Request::Chunk { address: known[0] }) else {
        panic!("is given")
    };
    assert!(bytes == in_window);

    // Without an exchange there is nothing to take part in.
    let mut other = Line::open(&world);
    other.log_in(&world, "bert");
    let refused = refusal(other.ask(&renewed(vec![(one, 4112)], Some(0), &[])));
    assert!(refused.contains("no exchange"), "{refused}");
    runtime.block_on(server.stop());
}

#[test]
fn a_chunk_that_is_sent_twice_does_not_take_the_place_of_the_next() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    a_letter_and_a_new_epoch(&world, &server);
    let (mut line, _window, opened) = begun(&world);
    let (one, two) = (Address::new([7; 32]), Address::new([8; 32]));
    let bytes = [[7; 4112], [7; 4112], [8; 4112]].concat();
    let chunks = vec![(one, 4112), (one, 4112), (two, 4112)];
    let ask = Request::Renewed { chunks, slot: None, bytes };
    assert!(matches!(line.ask(&ask), Response::Kept { count: 3 }));
    let mut inner = opened.inner.clone().expect("is kept");
    inner.chunks.fill(one);
    inner.chunks[1] = two;
    let named = kluis::casebook::keyring::Resealed {
        kind: opened.place.kind,
        item: opened.place.item,
        slot: opened.slot,
        inner,
        epoch: EpochId(2),
        content: Some(kluis::ids::Digest::new([1; 32])),
    };
    assert!(matches!(
        line.ask(&Request::Reseal { boxes: vec![named] }),
        Response::Kept { count: 1 }
    ));
    let look = Request::Look { items: vec![opened.place.item] };
    assert!(matches!(line.ask(&look), Response::Boxes { .. }));
    for (address, byte) in [(one, 7), (two, 8)] {
        let Response::Bytes { bytes } = line.ask(&Request::Chunk { address }) else {
            panic!("is given")
        };
        assert!(bytes == [byte; 4112]);
    }
    runtime.block_on(server.stop());
}

#[test]
fn one_member_at_a_time_seals_content_anew() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    a_letter_and_a_new_epoch(&world, &server);
    let (line, ..) = begun(&world);
    let mut bert = world.log_in("bert").expect("logs in");
    let refused = bert.reseal_with_content(u64::MAX, &mut |_| ());
    assert!(matches!(refused, Err(Error::Refused(why)) if why.contains("another connection")));
    assert!(bert.reseal(1, &mut |_| ()).expect("seals").boxes == 1, "boxes alone, meanwhile");
    drop(line);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let done = loop {
        match bert.reseal_with_content(u64::MAX, &mut |_| ()) {
            Err(Error::Refused(_)) if std::time::Instant::now() < until => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            done => break done.expect("seals"),
        }
    };
    assert!(done.boxes > 0 && done.bytes > 1 << 20, "{done:?}");
    runtime.block_on(server.stop());
}

#[test]
fn whoever_is_revoked_in_the_middle_is_given_no_chunk_more() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    a_letter_and_a_new_epoch(&world, &server);
    let (mut line, window, opened) = begun(&world);
    let chunks = Request::Chunks { addresses: addresses(&opened)[..1].to_vec(), slot: Some(0) };
    assert!(matches!(line.ask(&chunks), Response::Chunks { .. }));
    window.write(0, &[0; 4096]).expect("has room");
    dismiss(&world, &mut world.log_in("adam").expect("logs in"), "anna");
    // What was asked before it was known there may still be on its way; it is not answered.
    let _ = kluis::casebook::protocol::write(&mut line.0, &chunks);
    line.ends();
    let mut bytes = [1; 4096];
    window.read(0, &mut bytes).expect("is there");
    assert!(bytes == [0; 4096], "nothing comes into the window, either");
    runtime.block_on(server.stop());
}

#[test]
fn content_that_two_letters_share_is_sealed_anew_once() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let long = letter(13, 1, 2 << 20);
    assert_eq!(deliver(&server, false, &[MAILBOX], &long), [250]);
    let text = String::from_utf8(long).expect("is text");
    let other = text.replace("<1.13@client.example>", "<2.13@client.example>");
    assert_eq!(deliver(&server, false, &[MAILBOX], other.as_bytes()), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let before = content(&mut anna, &server);
    let old = chunks(&world);
    rotate(&world, &mut world.log_in("adam").expect("logs in"));
    let mut anna = world.log_in("anna").expect("logs in and proves");
    let done = anna.reseal_with_content(u64::MAX, &mut |_| ()).expect("seals");
    assert!((1 << 20..3 << 20).contains(&done.bytes), "{done:?}");
    assert!(content(&mut anna, &server) == before);
    world.log_in("adam").expect("logs in").rotate_cabinet().expect("rotates");
    let new = chunks(&world);
    assert_eq!((new.len(), old.intersection(&new).count()), (old.len(), 0));
    runtime.block_on(server.stop());
}

#[test]
fn a_box_with_a_damaged_chunk_is_left_as_it_is_and_the_others_are_sealed_anew() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    a_letter_and_a_new_epoch(&world, &server);
    let (line, _, opened) = begun(&world);
    drop(line);
    let damaged = addresses(&opened)[2];
    let found = files(&world.state().join("packs")).into_iter().find_map(|file| {
        let bytes = std::fs::read(&file).expect("is read");
        let at = bytes.windows(32).position(|window| window == damaged.as_bytes())?;
        Some((file, bytes, at))
    });
    let (file, mut bytes, at) = found.expect("lies in a pack");
    bytes[at + 5000] ^= 1;
    std::fs::write(file, bytes).expect("written");
    let mut anna = world.log_in("anna").expect("logs in");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let done = loop {
        match anna.reseal_with_content(u64::MAX, &mut |_| ()) {
            Err(Error::Refused(_)) if std::time::Instant::now() < until => {}
            done => break done.expect("goes through"),
        }
    };
    let status = anna.status().expect("tells");
    assert_eq!(done.unopened, 1);
    assert_eq!(status.by_epoch, [(EpochId(1), 1), (EpochId(2), done.boxes)]);
    let left = entries(&server);
    let left = left.iter().rev().find(|entry| entry.item == Some(opened.place.item));
    assert_eq!(left.map(|entry| entry.kind), Some(Fact::Looked), "it was not sealed anew");
    assert!(anna.look(&[opened.place.item]).is_err());
    runtime.block_on(server.stop());
}

/// Whatever comes is passed on, but for descriptors: as a socket does that another machine forwards.
fn forwarded(to: std::path::PathBuf, at: &std::path::Path) {
    fn pass_on(mut from: UnixStream, mut to: UnixStream) {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    }
    let listener = UnixListener::bind(at).expect("binds");
    std::thread::spawn(move || {
        for here in listener.incoming().map_while(Result::ok) {
            let there = UnixStream::connect(&to).expect("connects");
            let back = (there.try_clone().expect("clones"), here.try_clone().expect("clones"));
            std::thread::spawn(move || pass_on(here, there));
            std::thread::spawn(move || pass_on(back.0, back.1));
        }
    });
}

#[test]
fn over_a_socket_that_is_forwarded_from_another_machine_content_goes_through_it() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    assert_eq!(deliver(&server, false, &[MAILBOX], &letter(14, 1, 20 << 20)), [250]);
    let mut anna = world.log_in("anna").expect("logs in");
    let (before, old) = (content(&mut anna, &server), chunks(&world));
    rotate(&world, &mut world.log_in("adam").expect("logs in"));
    world.log_in("anna").expect("logs in and proves");

    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("kluis.sock");
    forwarded(world.state().join("kluis.sock"), &socket);
    let seen = Seen::in_dir(dir.path().join("seen"));
    let key = Opener::Key(world.key("anna"));
    let mut far = Client::connect(&socket, "anna", key, Some(&seen)).expect("logs in");
    let done = far.reseal_with_content(u64::MAX, &mut |_| ()).expect("seals");
    assert!(done.unopened == 0 && done.bytes > 14 << 20, "{done:?}");
    assert!(content(&mut far, &server) == before);
    world.log_in("adam").expect("logs in").rotate_cabinet().expect("rotates");
    let new = chunks(&world);
    assert_eq!((new.len(), old.intersection(&new).count()), (old.len(), 0));
    assert_eq!(far.check().expect("checks").1, []);
    runtime.block_on(server.stop());
}
