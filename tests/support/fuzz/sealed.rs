//! What lies in files and comes over the socket: entries, checkpoints, notes, manifests, messages.
//! Anything is read or refused, never a panic.

use kluis::casebook::protocol::{self, Request, Response};
use kluis::keys::epoch_note::EpochNote;
use kluis::keys::note;
use kluis::keys::roster::Roster;
use kluis::ledger::checkpoint::{self, Checkpoint};
use kluis::ledger::entry::Entry;
use kluis::letter::skeleton::Skeleton;
use kluis::staff::openpgp;
use kluis::vault::manifest::Manifest;

/// The body.
pub(crate) fn sealed(bytes: &[u8]) {
    if let Ok(entry) = Entry::from_bytes(bytes) {
        assert_eq!(Entry::from_bytes(&entry.to_bytes()).as_ref(), Ok(&entry));
    }
    let _ = Manifest::from_bytes(bytes);
    let _ = Skeleton::decode(bytes);
    let _ = protocol::read::<Request>(&mut &bytes[..]);
    let _ = protocol::read::<Response>(&mut &bytes[..]);
    let _ = openpgp::decrypt(bytes, &[], &[], 1_800_000_000);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = note::verify(text, "kluis-admin", &[1; 32]);
        let _ = Checkpoint::verify(text, &[1; 32]);
        let _ = checkpoint::parse_vkey(text);
        let _ = Roster::parse_signed(text, &[1; 32]);
        let _ = EpochNote::parse_signed(text, &[1; 32]);
    }
}
