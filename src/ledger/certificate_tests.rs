use super::*;
use crate::ids::{Address, CaseId, Digest, ItemId, LetterId, SlotId, StaffId};
use crate::ledger::checkpoint;
use crate::ledger::tree::{self, Tree};
use crate::vault::seal::Kind;

const SEED: [u8; 32] = [8; 32];
const VAULT: VaultId = VaultId::new([0x1a; 16]);
/// 24 November 2026, a quarter past ten in Greenwich, in minutes since 1970.
const MINUTE: u64 = 29_925_255;

/// A ledger: something sealed, forgotten, and the cabinet given a new key.
fn entries() -> Vec<Entry> {
    let (letter, item, slot) = (LetterId::new([2; 16]), ItemId::new([3; 16]), SlotId::new([4; 16]));
    let of = |kind, minute| Entry {
        case: "K-0000-0000".parse::<CaseId>().ok(),
        letter: Some(letter),
        item: Some(item),
        slot: Some(slot),
        ..Entry::new(kind, minute)
    };
    let sealed = Entry {
        boxed: Some(Address::new([5; 32])),
        content: Some(Digest::new([6; 32])),
        box_kind: Some(Kind::Item),
        ..of(Fact::BoxSealed, MINUTE)
    };
    let forgotten = Entry { staff: Some(StaffId(2)), ..of(Fact::Forgotten, MINUTE + 10) };
    let rotated = Entry { count: Some(2), ..Entry::new(Fact::CabinetRotated, MINUTE + 700) };
    let plain = Entry::new(Fact::LoggedIn, MINUTE);
    let all = [plain.clone(), sealed, plain.clone(), forgotten, plain.clone(), rotated, plain];
    (0..).zip(all).map(|(seq, entry)| Entry { seq, ..entry }).collect()
}

/// The certificate of entry 3, with what entries 1 and 5 add.
fn certificate_of(entries: &[Entry], sealed: bool, rotated: bool) -> Certificate {
    let leaves: Vec<Vec<u8>> = entries.iter().map(Entry::to_bytes).collect();
    let mut tree = Tree::default();
    leaves.iter().for_each(|bytes| tree.append(tree::leaf(bytes)));
    let size = tree.size();
    let root = tree.root(size).expect("its own size");
    let proof = |index: u64| Proof {
        index,
        entry: leaves[index as usize].clone(),
        path: tree.inclusion(index, size).expect("within"),
    };
    Certificate {
        checkpoint: Checkpoint { vault: VAULT, size, root }.sign(&SEED),
        forgotten: proof(3),
        sealed: sealed.then(|| proof(1)),
        rotated: rotated.then(|| proof(5)),
    }
}

fn text(sealed: bool, rotated: bool) -> String {
    certificate_of(&entries(), sealed, rotated).to_text().expect("is a certificate")
}

fn check(text: impl AsRef<[u8]>) -> Result<Proven, Error> {
    verify(text.as_ref(), VAULT, &checkpoint::public_key(&SEED))
}

#[test]
fn a_certificate_says_what_it_proves_and_needs_only_the_key() {
    let file = text(true, true);
    let head = "kluis erasure certificate 1\n\
                vault 1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a\n\
                case K-0000-0000\n\
                letter 02020202020202020202020202020202\n\
                item 03030303030303030303030303030303\n\
                key 04040404040404040404040404040404\n\
                sealed 2026-11-24T10:15:00Z entry 1 box ";
    assert!(file.starts_with(head), "{file}");
    assert!(file.contains("\nforgotten 2026-11-24T10:25:00Z entry 3 by member 2\n"), "{file}");
    assert!(file.contains("\nnew-cabinet-key 2026-11-24T21:55:00Z entry 5 number 2\n"), "{file}");
    assert!(file.contains("\nprovisional until 2026-12-01T21:55:00Z\n\nc2sp.org/tlog-proof@v1\n"));
    assert_eq!(file.matches("\n\nc2sp.org/tlog-proof@v1\nextra ").count(), 3);

    let proven = check(&file).expect("holds");
    assert_eq!((proven.vault, proven.covered), (VAULT, 7));
    assert_eq!(Some(&proven.forgotten), entries().get(3));
    assert_eq!(proven.sealed.as_ref(), entries().get(1));
    assert_eq!(proven.rotated.as_ref(), entries().get(5));
}

#[test]
fn it_is_provisional_until_a_new_key_is_shown_and_the_backups_are_gone() {
    let week = 7 * 24 * 60;
    let waits = check(text(true, false)).expect("holds");
    assert_eq!(waits.horizon(), MINUTE + 10 + 24 * 60 + week);
    assert!(!waits.is_final(u64::MAX), "without a new key it is never final");
    let rotated = check(text(false, true)).expect("holds");
    assert_eq!(rotated.horizon(), MINUTE + 700 + week);
    assert!(!rotated.is_final(MINUTE + 699 + week) && rotated.is_final(MINUTE + 700 + week));
    assert!(text(false, false).contains("if the cabinet gets a new key within a day\n"));
}

#[test]
fn every_flipped_bit_of_a_certificate_is_refused() {
    for file in [text(true, true), text(false, true), text(true, false)] {
        let file = file.into_bytes();
        let mut parts = std::collections::BTreeSet::new();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                let error = check(&changed).expect_err("is refused");
                parts.insert(format!("{error}"));
            }
        }
        // Every sort of fault is told apart.
        for word in ["line 2 ", "path in proof 2", "checkpoint of proof 1", "entry in proof 1"] {
            assert!(parts.iter().any(|part| part.contains(word)), "{word}: {parts:#?}");
        }
    }
}

#[test]
fn a_cut_a_doubled_and_a_swapped_part_are_refused() {
    let file = text(true, true);
    for end in 0..file.len() {
        assert!(check(&file.as_bytes()[..end]).is_err(), "cut at {end}");
    }
    let separator = "\n\nc2sp.org/tlog-proof@v1\n";
    let starts: Vec<usize> = file.match_indices(separator).map(|(at, _)| at + 1).collect();
    let (head, first, second) =
        (&file[..starts[0]], &file[starts[0]..starts[1]], &file[starts[1]..starts[2]]);
    let third = &file[starts[2]..];
    assert!(check([head, first, second, third].concat()).is_ok());
    for parts in [
        vec![head, second, first, third],
        vec![head, first, third, second],
        vec![head, first, second, second, third],
        vec![head, first, second],
        vec![head, first, third],
        vec![head, first],
        vec![head],
        vec![first, second, third],
        vec![head, first, second, third, "\n"],
        vec![head, first, second, third, third],
    ] {
        assert!(check(parts.concat()).is_err());
    }
    assert!(check(file.replace('\n', "\r\n")).is_err());
    assert!(check(format!("{file}{}", "\n".repeat(LONGEST))).is_err());
    assert_eq!(check(""), Err(Error::NotACertificate));
    assert_eq!(check("kluis roster 1\n"), Err(Error::NotACertificate));
}

#[test]
fn what_does_not_belong_is_told_from_what_was_altered() {
    let file = text(true, true);
    let other = VaultId::new([9; 16]);
    let foreign = verify(file.as_bytes(), other, &checkpoint::public_key(&SEED));
    assert_eq!(foreign, Err(Error::OtherVault { of: VAULT, key: other }));
    let foreign = verify(file.as_bytes(), VAULT, &checkpoint::public_key(&[1; 32]));
    assert_eq!(foreign, Err(Error::Altered(Part::Checkpoint(1))));
    let later = file.replacen("certificate 1\n", "certificate 2\n", 1);
    assert_eq!(check(later), Err(Error::FutureVersion));

    // What is in the ledger, and says something else.
    let changed = |at: usize, change: &dyn Fn(&mut Entry)| {
        let mut all = entries();
        change(&mut all[at]);
        let certificate = certificate_of(&all, true, true);
        certificate.prove(VAULT, &checkpoint::public_key(&SEED)).expect_err("is refused")
    };
    assert_eq!(changed(3, &|entry| entry.kind = Fact::Looked), Error::OtherFact(3));
    assert_eq!(changed(3, &|entry| entry.kind = Fact::SlotDropped), Error::OtherFact(3));
    assert_eq!(changed(3, &|entry| entry.slot = None), Error::OtherFact(3));
    assert_eq!(changed(3, &|entry| entry.item = None), Error::OtherFact(3));
    assert_eq!(changed(1, &|entry| entry.slot = Some(SlotId::new([7; 16]))), Error::OtherFact(1));
    assert_eq!(changed(1, &|entry| entry.boxed = None), Error::OtherFact(1));
    assert_eq!(changed(5, &|entry| entry.kind = Fact::LoggedIn), Error::OtherFact(5));

    // A rotation from before the forgetting proves nothing.
    let mut all = entries();
    all.swap(3, 5);
    (0..).zip(&mut all).for_each(|(seq, entry)| entry.seq = seq);
    let mut early = certificate_of(&all, true, true);
    std::mem::swap(&mut early.forgotten, early.rotated.as_mut().expect("is there"));
    let refused = early.prove(VAULT, &checkpoint::public_key(&SEED));
    assert_eq!(refused, Err(Error::OtherFact(3)));
}

#[test]
fn an_entry_of_a_later_version_is_named_as_such() {
    let mut all: Vec<Vec<u8>> = entries().iter().map(Entry::to_bytes).collect();
    let at = all[3].windows(2).position(|w| w == [0x02, 16]).expect("the fact is in there");
    all[3].splice(at + 1..=at + 1, [0x18, 200]);
    let mut tree = Tree::default();
    all.iter().for_each(|bytes| tree.append(tree::leaf(bytes)));
    let root = tree.root(7).expect("its own size");
    let certificate = Certificate {
        checkpoint: Checkpoint { vault: VAULT, size: 7, root }.sign(&SEED),
        forgotten: Proof {
            index: 3,
            entry: all[3].clone(),
            path: tree.inclusion(3, 7).expect("within"),
        },
        sealed: None,
        rotated: None,
    };
    let public = checkpoint::public_key(&SEED);
    assert_eq!(certificate.prove(VAULT, &public), Err(Error::FutureVersion));
}

#[test]
fn a_witness_may_sign_the_checkpoint_too() {
    let mut certificate = certificate_of(&entries(), true, true);
    certificate.checkpoint += "— witness.example/w AAAAAAAA\n";
    let file = certificate.to_text().expect("is a certificate");
    assert!(check(&file).is_ok());
    // A flipped bit there changes nothing that is proven, or is refused.
    for at in file.match_indices("witness.example").map(|(at, _)| at) {
        let mut changed = file.clone().into_bytes();
        changed[at] ^= 1;
        if let Ok(proven) = check(&changed) {
            assert_eq!(proven, check(&file).expect("holds"));
        }
    }
}
