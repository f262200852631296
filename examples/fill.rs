//! Makes a vault of so many items of so many random bytes, each with its box and its entry, for
//! measuring `kluis check`: `cargo run --release --example fill -- DIR 10000 200000`.

use std::path::Path;

use kluis::config::{Config, FILE};
use kluis::ids::{EpochId, ItemId, LetterId, VaultId};
use kluis::keys::epoch::EpochSecret;
use kluis::ledger::{Entry, Fact};
use kluis::store::{Batch, Repeats, Store, default_cabinet_key_dir};
use kluis::vault::chunk::Base;
use kluis::vault::manifest::Manifest;
use kluis::vault::seal::{self, Kind, Place};

/// Items of one commit.
const AT_ONCE: usize = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, items, size] = arguments.as_slice() else { return Err("DIR ITEMS SIZE".into()) };
    let (dir, items, size) = (Path::new(dir), items.parse::<usize>()?, size.parse::<usize>()?);
    let store = Store::create(dir, &default_cabinet_key_dir(dir), VaultId::random())?;
    std::fs::write(dir.join(FILE), Config::text_for(dir, &["backoffice@jobexpert.be"]))?;
    let epoch = EpochSecret::generate().public();
    let mut content = vec![0; size];
    let mut seed = 0u64;
    for from in (0..items).step_by(AT_ONCE) {
        let mut staging = store.staging(Repeats::Write);
        let mut batch = Batch::default();
        for _ in from..items.min(from + AT_ONCE) {
            seed += 1;
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
            let stored = staging.put(&Base::fresh(), &content.as_slice())?;
            let manifest = Manifest::new("", b"", stored.length, stored.keys, Vec::new());
            let (inner, digest) = seal::inner(&manifest, &epoch);
            let (letter, item) = (LetterId::random(), ItemId::random());
            let place = Place { kind: Kind::Item, vault: store.vault(), letter, item };
            let sealed = seal::outer(&inner, place);
            batch.entries.push(Entry {
                epoch: Some(EpochId(1)),
                ..Entry::of_box(Fact::BoxSealed, 1, &sealed, digest)
            });
            batch.boxes.push(sealed);
        }
        batch.staged.push(staging.take()?);
        store.commit(batch)?;
    }
    Ok(())
}
