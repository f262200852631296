//! The checkpoint beside the cabinet's key, written with each erasure (vault-format §5).
//!
//! Whoever puts an older ledger and an older cabinet back beside it is told: what was forgotten
//! since would be read again.

use std::path::PathBuf;

use super::cabinet::Place;
use super::disk::{self, Durable};
use super::log::History;
use super::{Error, cabinet};
use crate::ids::Digest;
use crate::ledger::Checkpoint;
use crate::vault;

/// The name of the file.
const NAME: &str = "checkpoint";

fn path(place: &Place) -> PathBuf {
    place.keys.join(NAME)
}

/// Writes the checkpoint of the ledger as it is. A ledger without a key for checkpoints has none.
pub(super) fn write(place: &Place, slots: &cabinet::Slots, history: &History) -> Result<(), Error> {
    let Some((slot, _)) = history.checkpoint_key else { return Ok(()) };
    // Without the key there is no checkpoint at all; that it is lost, the opening says.
    let Ok(seed) = slots.open(slot) else { return Ok(()) };
    let size = history.tree.size();
    let root = history.tree.root(size).ok_or(vault::Error::Missing)?;
    let note = Checkpoint { vault: place.vault, size, root }.sign(&seed);
    let new = place.keys.join(format!("{NAME}.new"));
    if place.disk.exists(&new)? {
        place.disk.remove(&new)?;
    }
    place.disk.create_with(&new, note.as_bytes(), Durable::Key)?;
    place
        .disk
        .rename(&new, &path(place))
        .map_err(Error::io("the checkpoint cannot be put beside the cabinet's key"))?;
    place.disk.sync_dir(disk::parent(&new))
}

/// Refuses a ledger that does not extend the checkpoint there.
pub(super) fn verify(place: &Place, history: &History) -> Result<(), Error> {
    let path = path(place);
    if !place.disk.exists(&path)? {
        return Ok(());
    }
    let note = String::from_utf8(place.disk.read(&path)?).unwrap_or_default();
    let public = history.checkpoint_key.map_or(Digest::new([0; 32]), |(_, public)| public);
    let Ok(head) = Checkpoint::verify(&note, public.as_bytes()) else {
        return Err(Error::damaged(&path, 0, "not a checkpoint of this vault"));
    };
    if head.vault == place.vault && history.tree.root(head.size) == Some(head.root) {
        return Ok(());
    }
    Err(Error::Older { file: path })
}
