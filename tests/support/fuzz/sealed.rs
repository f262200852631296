//! What lies in files and comes over the socket: entries, checkpoints, notes, manifests, messages.
//! Anything is read or refused, never a panic; what is read is written again as what was read; and
//! what is signed is no more than what was signed.

use kluis::casebook::protocol::{self, Request, Response};
use kluis::keys::epoch_note::EpochNote;
use kluis::keys::note;
use kluis::keys::roster::Roster;
use kluis::ledger::checkpoint::{self, Checkpoint};
use kluis::ledger::entry::Entry;
use kluis::letter::skeleton::Skeleton;
use kluis::staff::openpgp;
use kluis::vault::manifest::Manifest;
use minicbor::{Decode, Encode};

/// The seed of whoever signs here, and who it is.
const SEED: [u8; 32] = [1; 32];
const ADMIN: &str = "kluis-admin";

/// The body.
pub(crate) fn sealed(bytes: &[u8]) {
    if let Ok(entry) = Entry::from_bytes(bytes) {
        assert_eq!(Entry::from_bytes(&entry.to_bytes()).as_ref(), Ok(&entry));
    }
    if let Ok((manifest, _)) = Manifest::from_bytes(bytes) {
        let written = manifest.to_bytes();
        let (again, digest) = Manifest::from_bytes(&written).expect("its own bytes");
        assert!(again.to_bytes() == written);
        assert!(digest == kluis::vault::manifest::digest(&written));
    }
    let _ = Skeleton::decode(bytes);
    crosses_the_socket::<Request>(bytes);
    crosses_the_socket::<Response>(bytes);
    let _ = openpgp::decrypt(bytes, &[], &[], 1_800_000_000);
    if let Ok(text) = std::str::from_utf8(bytes) {
        is_refused_unsigned(text);
        if note::is_text(text) {
            reads_when_signed(text);
        }
        if let Ok((vault, public)) = checkpoint::parse_vkey(text) {
            assert_eq!(checkpoint::vkey(vault, &public), text.trim());
        }
        if let Some(found) = checkpoint::in_text(text) {
            assert!(found.lines().all(|line| text.contains(line)));
        }
    }
}

/// A message is read from its frame, and written as that frame again.
fn crosses_the_socket<M: for<'b> Decode<'b, ()> + Encode<()>>(bytes: &[u8]) {
    let _ = protocol::read::<M>(&mut &bytes[..]);
    let Ok(message) = minicbor::decode::<M>(bytes) else { return };
    let frame = protocol::frame(&message).expect("no longer than it came");
    let again: M = protocol::read(&mut &frame[..]).expect("its own frame");
    assert!(protocol::frame(&again).expect("the same") == frame);
}

/// Nobody signed these, whatever they say.
fn is_refused_unsigned(text: &str) {
    let public = note::public_of(&SEED);
    assert!(note::verify(text, ADMIN, &public).is_none());
    assert!(Checkpoint::verify(text, &public).is_err());
    assert!(Roster::parse_signed(text, &public).is_err());
    assert!(EpochNote::parse_signed(text, &public).is_err());
}

/// What was signed is read as its own text and as no other, under its own name.
fn reads_when_signed(text: &str) {
    let public = note::public_of(&SEED);
    let signed = note::sign(text, ADMIN, &SEED);
    if signed.len() <= note::LONGEST {
        assert_eq!(note::verify(&signed, ADMIN, &public), Some(text));
    }
    assert_eq!(note::verify(&signed, "kluis-other", &public), None);
    assert_eq!(note::verify(&signed, ADMIN, &[2; 32]), None);
    assert_eq!(note::verify(&format!("x{signed}"), ADMIN, &public), None, "another text");
    if let Ok(roster) = Roster::parse_signed(&signed, &public) {
        assert_eq!(roster.to_text(), text);
    }
    if let Ok(epoch) = EpochNote::parse_signed(&signed, &public) {
        assert_eq!(epoch.to_text(), text);
    }
    // A checkpoint is signed by its vault.
    let origin = text.lines().next().unwrap_or_default();
    if origin.strip_prefix("kluis/").is_some_and(|id| id.parse::<kluis::ids::VaultId>().is_ok()) {
        let signed = note::sign(text, origin, &SEED);
        if let Ok(checkpoint) = Checkpoint::verify(&signed, &public) {
            assert_eq!(checkpoint.sign(&SEED), signed);
        }
    }
}
