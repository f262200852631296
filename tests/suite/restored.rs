//! The whole way of a vault through a restore: letters, keys that change, forgetting before and after
//! two backups, and everything that is said of the time since. What lived is there byte for byte, what
//! was forgotten is nowhere, and nobody who was sent away gets in again.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::BufReader;

use kluis::casebook::Filter;
use kluis::clock::Clock;
use kluis::ids::{ItemId, SlotId};
use kluis::keys::admin::AdminKey;
use kluis::keys::box_keys::Opened;
use kluis::keys::roster::{Member, Role, Roster};
use kluis::ledger::entry::{Entry, Fact};
use kluis::staff::client::Error as ClientError;
use kluis::staff::seen::Seen;
use kluis::store::{self, Store};
use kluis::upkeep;
use kluis::upkeep::replay::Since;

use crate::backup::{
    accept, as_stranger, back_up, back_up_here, dest, facts, forget, kluis, lose, note,
    replay_with, restore_with, send, verify, whole,
};
use crate::keyring::{dismiss, rotate};
use crate::thief::{Thief, files};
use crate::way::runtime;
use crate::world::World;

/// What is kept on the members' machines: the newest roster, and the first hand-over.
fn kept_notes(world: &World) -> [String; 2] {
    let folder = world.root.path().join("seen");
    let roster = Seen::in_dir(folder.clone()).roster_file(world.vault);
    let hand_over = folder.join(format!("{}.admin-2.note", world.vault));
    [roster, hand_over].map(|file| std::fs::read_to_string(file).expect("is kept"))
}

/// Every slot that some file of keys of the backup has a key for.
fn slots_in_backup(world: &World) -> BTreeSet<SlotId> {
    let mut slots = BTreeSet::new();
    for file in files(&dest(world).join("keys")) {
        let file = BufReader::new(std::fs::File::open(file).expect("opens"));
        let mut opened =
            Opened::begin(file, &world.key("carla")).unwrap_or_else(|_| panic!("opens"));
        while let Some(row) = opened.next_row().expect("is whole") {
            slots.insert(row.slot);
        }
    }
    slots
}

/// The slots that ever held the key of one of these items.
fn slots_of(entries: &[Entry], items: &[ItemId]) -> BTreeSet<SlotId> {
    let of = entries.iter().filter(|entry| entry.item.is_some_and(|item| items.contains(&item)));
    of.filter(|entry| entry.fills_slot()).filter_map(|entry| entry.slot).collect()
}

#[test]
fn through_two_backups_new_keys_and_a_restore_what_lived_is_there_and_nothing_else() {
    let (mut world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut sent: Vec<_> = (0..4).map(|n| send(&server, n)).collect();
    back_up(&world);

    // New keys for everything: some boxes sealed anew, then all of them with their content.
    let mut adam = world.log_in("adam").expect("logs in");
    rotate(&world, &mut adam);
    let mut anna = world.log_in("anna").expect("logs in and proves");
    anna.reseal(3, &mut |_| ()).expect("seals");
    anna.reseal_with_content(u64::MAX, &mut |_| ()).expect("seals");
    sent.extend((4..6).map(|n| send(&server, n)));
    let mut gone = vec![forget(&mut anna, 1, false), forget(&mut anna, 2, true)];
    let size = back_up(&world)["entries"].as_u64().expect("a number");
    let found = verify(&world, Some("dirk"));
    assert_eq!((found.flaws.as_slice(), found.lost, found.opened), (&[][..], 0, Some(found.boxes)));

    // After it: forgetting, somebody is sent away, the admin key goes to somebody else.
    sent.push(send(&server, 6));
    gone.extend([forget(&mut anna, 3, true), forget(&mut anna, 5, false)]);
    dismiss(&world, &mut adam, "bert");
    let in_force = adam.roster().expect("is in force");
    adam.hand_over(&in_force, &world.admin(), &AdminKey::generate()).expect("is taken");
    anna = world.log_in("anna").expect("follows the hand-over");
    assert!(whole(&mut anna).iter().all(|letter| sent.contains(letter)));
    drop((adam, anna));
    runtime.block_on(server.stop());
    let erased = note(&world, size);
    let before = facts(&world);
    let slots = slots_of(&before, &gone);
    assert!(slots.len() > gone.len(), "some were sealed anew");
    assert!(
        slots_in_backup(&world).intersection(&slots).count() > 0,
        "the backup has keys of them"
    );
    let [roster, hand_over] = kept_notes(&world);
    lose(&world);

    restore_with(&world, "carla").expect("is restored");
    let is_shut = || {
        let opened = Store::open(&world.state(), &world.cabinet_key());
        matches!(opened, Err(store::Error::Unsettled))
    };
    assert!(is_shut());
    // Signed notes that lead nowhere change nothing.
    let since = Since::Notes(std::slice::from_ref(&erased));
    let forged = roster.replace("member 1 anna", "member 1 anne");
    for (signed, why) in [
        (vec![roster.clone()], "not to be believed"),
        (vec![hand_over.clone()], "no roster is there"),
        (vec![hand_over.clone(), forged], "not to be believed"),
        (vec!["no note\n".to_owned()], "not to be believed"),
    ] {
        let refused = replay_with(&world, &since, &signed).expect_err("is refused");
        assert!(refused.to_string().contains(why), "{refused}");
        assert!(is_shut());
    }
    let signed = [roster, hand_over];
    let settled = replay_with(&world, &since, &signed).expect("is settled");
    // Letter 6 came later; what was forgotten before is not there to be dropped.
    assert_eq!(
        (settled.replayed.dropped, settled.revoked.as_slice()),
        (2, &["bert".to_owned()][..])
    );

    let server = runtime.block_on(world.serve());
    assert!(matches!(world.log_in("anna"), Err(ClientError::Forked)));
    assert!(accept(&world, "anna").expect("is accepted").is_some_and(|gone| gone.from == size));
    let mut anna = world.log_in("anna").expect("goes on, with the admin key that she knows");
    let kept = whole(&mut anna);
    assert!(kept.len() == 2 && [0, 4].iter().all(|&n| kept.contains(&sent[n])));
    assert_eq!(anna.queue(Filter::All).expect("lists").len(), 6);
    for item in &gone {
        assert!(matches!(anna.look(&[*item]), Err(ClientError::Forgotten)));
    }
    let report = server.casebook.store().check(false, &|_, _| {}).expect("is read");
    assert!(report.is_clean() && report.lost == 0, "{:?}", report.problems);
    // Who was sent away is a stranger; who stayed is not.
    let members = ["anna", "olga", "dora", "adam"];
    assert!(members.iter().all(|name| as_stranger(&world, name).is_ok()));
    assert!(as_stranger(&world, "bert").is_err());
    drop(anna);
    runtime.block_on(server.stop());

    // Nobody finds a key of what was forgotten: in the new vault at once, in the backup after a week.
    let thief = Thief::default().with(&world.state()).with(&world.cabinet_key());
    let boxes = thief.boxes();
    let (lost, there): (Vec<_>, Vec<_>) =
        boxes.iter().partition(|entry| entry.item.is_some_and(|item| gone.contains(&item)));
    assert!(!lost.is_empty() && lost.iter().all(|entry| thief.key(entry).is_none()));
    assert!(
        there.iter().any(|entry| thief.key(entry).is_some()),
        "the thief can open what is there"
    );
    let days = |days: u64| 60 * Clock::System.minutes() + days * 86_400;
    let made = [6, 8].map(|day| {
        world.set_time(days(day));
        let gateway = world.open();
        let made = back_up_here(&gateway, &dest(&world)).expect("goes on in the same folder");
        drop(gateway);
        (made.keys_removed, slots_in_backup(&world).intersection(&slots).count())
    });
    assert!(made[0].0 == 0 && made[0].1 > 0 && made[1] == (2, 0), "{made:?}");
}

#[test]
fn a_restore_says_whose_roster_it_brought_back_and_the_newest_one_is_taken_before_it_serves() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    back_up(&world);
    let mut adam = world.log_in("adam").expect("logs in");
    dismiss(&world, &mut adam, "bert");
    drop(adam);
    runtime.block_on(server.stop());
    let newest = Seen::in_dir(world.root.path().join("seen")).roster_file(world.vault);
    let doctor = || {
        let state = world.state();
        let (_, said) = kluis(&[OsStr::new("doctor"), state.as_os_str()]);
        said.to_string().contains("its roster is the backup's")
    };
    assert!(!doctor());
    lose(&world);
    restore_with(&world, "carla").expect("is restored");
    let state = world.state();
    let replay = ["restore", "replay"].map(OsStr::new);
    let replay = [&replay[..], &[state.as_os_str()]].concat();
    let replay = [&replay[..], &["--no-erasures", "a test"].map(OsStr::new)].concat();
    let (code, said) = kluis(&replay);
    assert_eq!((code, said["roster"].as_u64()), (0, Some(1)), "{said}");
    assert!(said["members"].as_array().is_some_and(|names| names.iter().any(|n| n == "bert")));
    assert!(doctor(), "the doctor says so, too");

    // It was settled without the newest roster: that can be put in force before it serves.
    let folder = world.root.path().join("signed");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(newest, folder.join("roster.note")).expect("copies");
    let take = ["keys", "take"].map(OsStr::new);
    let take = [&take[..], &[folder.as_os_str(), state.as_os_str()]].concat();
    let (code, said) = kluis(&take);
    assert_eq!((code, said["version"].as_u64()), (0, Some(2)), "{said}");
    assert!(!doctor());
    let server = runtime.block_on(world.serve());
    assert!(as_stranger(&world, "anna").is_ok() && as_stranger(&world, "bert").is_err());
    runtime.block_on(server.stop());
}

#[test]
fn a_roster_that_the_backup_has_or_that_is_older_brings_nobody_back() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut adam = world.log_in("adam").expect("logs in");
    dismiss(&world, &mut adam, "bert");
    back_up(&world);
    drop(adam);
    runtime.block_on(server.stop());
    let [older, same] = [1, 2].map(|version| {
        let file = world.state().join(format!("roster/{version}.note"));
        std::fs::read_to_string(file).expect("is there")
    });
    lose(&world);
    restore_with(&world, "carla").expect("is restored");
    let since = Since::Nothing("a test");
    let refused = replay_with(&world, &since, std::slice::from_ref(&older));
    assert!(matches!(refused, Err(upkeep::Error::OldRoster { offered: 1, known: 2 })));
    // One that says it is newer and does not verify is not passed over: it may be the newest, of an
    // admin key whose hand-over was left out.
    let newer = same.replace("version 2", "version 3");
    let refused = replay_with(&world, &since, &[same.clone(), newer]);
    assert!(matches!(refused, Err(upkeep::Error::Signed(_))));
    // What a server that serves refuses is refused here.
    let bert = Roster::parse_signed(&older, &world.admin().vkey().public).expect("is signed");
    let bert = bert.member("bert").expect("was there").clone();
    let known = Roster::parse_signed(&same, &world.admin().vkey().public).expect("is signed");
    let unfit = |change: &dyn Fn(&mut Roster)| {
        let mut roster = Roster { version: 3, ..known.clone() };
        change(&mut roster);
        let note = roster.sign(&world.admin()).expect("keeps the rules");
        match replay_with(&world, &since, &[note]) {
            Err(upkeep::Error::UnfitRoster { version: 3, why }) => why,
            other => panic!("{:?}", other.err()),
        }
    };
    let given_again = &|roster: &mut Roster| {
        roster.members.push(Member { name: "greta".into(), ..bert.clone() });
    };
    assert!(unfit(given_again).contains("belonged to somebody else"));
    let without_admin = &|roster: &mut Roster| {
        for member in &mut roster.members {
            member.roles.remove(&Role::Admin);
        }
        roster.members.retain(|member| !member.roles.is_empty());
    };
    assert!(unfit(without_admin).contains("no admin"));
    let settled = replay_with(&world, &since, &[older, same]).expect("the newer of them counts");
    assert_eq!((settled.roster.version, settled.revoked.len()), (2, 0));
    let signed = facts(&world).iter().filter(|entry| entry.kind == Fact::RosterSigned).count();
    assert_eq!(signed, 2, "nothing was entered for it");
}
