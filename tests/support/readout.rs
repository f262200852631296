//! A vault read out whole through the library, as the second reader in `tests/vault/reader` does
//! it: what there is by name, and what was refused.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use kluis::casebook::detail::{
    ContactDetail, ItemDetail, LetterDetail, NoteDetail, from_bytes as detail,
};
use kluis::ids::{EpochId, ItemId, LetterId, SlotId, VaultId};
use kluis::keys::admins::Admins;
use kluis::keys::epoch::EpochSecret;
use kluis::keys::note::Vkey;
use kluis::keys::roster;
use kluis::ledger::entry::{CHECKPOINT_KEY, Entry, Fact};
use kluis::ledger::{Checkpoint, checkpoint};
use kluis::letter::skeleton::Skeleton;
use kluis::store::{self, Store};
use kluis::vault::seal::{self, Kind};
use kluis::vault::{self, chunk, manifest::Manifest};

/// Why something was not given out: a word of vault-format §10, and the place if it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) what: &'static str,
    /// The path below the state directory, or below that of the cabinet's key.
    pub(crate) file: Option<String>,
    pub(crate) offset: Option<u64>,
    pub(crate) why: String,
}

impl Refusal {
    fn at(what: &'static str, file: &str, why: impl ToString) -> Self {
        Self { what, file: Some(file.to_owned()), offset: None, why: why.to_string() }
    }
}

/// Everything that a vault gives out, by name.
pub(crate) type Content = BTreeMap<String, Vec<u8>>;

/// Which vault, with which keys.
pub(crate) struct Place<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) keys: &'a Path,
    /// Secrets of epochs.
    pub(crate) epochs: &'a HashMap<EpochId, EpochSecret>,
    /// A checkpoint that the ledger must extend.
    pub(crate) checkpoint: Option<&'a str>,
}

/// Opens the vault and reads everything; what concerns the whole of it is the one refusal.
pub(crate) fn read(place: &Place<'_>) -> (Content, Vec<Refusal>) {
    let read = || {
        let (store, _) = Store::open(place.dir, place.keys).map_err(|e| place.refusal(e))?;
        let reading = Reading::begin(place, &store)?;
        Ok(reading.read())
    };
    read().unwrap_or_else(|refusal| (Content::new(), vec![refusal]))
}

impl Place<'_> {
    /// The store's error in the words of the format.
    pub(crate) fn refusal(&self, error: store::Error) -> Refusal {
        let why = error.to_string();
        let (what, file, offset) = match error {
            store::Error::Vault(error) => (word(error), None, None),
            store::Error::Damaged { file, offset, .. } => ("tampered", Some(file), Some(offset)),
            store::Error::Later { file, offset } => ("future version", Some(file), Some(offset)),
            store::Error::Older { file } => ("tampered", Some(file), None),
            store::Error::Absent { file, .. } => ("missing", Some(file), None),
            store::Error::NotAVault => {
                ("missing", Some(self.dir.join("ledger/0000000000000000.log")), None)
            }
            other => panic!("{other}"),
        };
        Refusal { what, file: file.map(|file| self.name(file)), offset, why }
    }

    fn name(&self, file: PathBuf) -> String {
        let inside = file.strip_prefix(self.dir).or_else(|_| file.strip_prefix(self.keys));
        inside.expect("a file of the vault").display().to_string()
    }
}

fn word(error: vault::Error) -> &'static str {
    match error {
        vault::Error::Missing => "missing",
        vault::Error::Tampered => "tampered",
        vault::Error::NoKey => "no key",
        vault::Error::FutureVersion => "future version",
    }
}

struct Reading<'a> {
    place: &'a Place<'a>,
    store: &'a Store,
    vault: VaultId,
    entries: Vec<Entry>,
    gone: HashSet<SlotId>,
}

impl<'a> Reading<'a> {
    fn begin(place: &'a Place<'a>, store: &'a Store) -> Result<Self, Refusal> {
        let refuse = |e| place.refusal(e);
        let entries = store.entries(0, usize::MAX).map_err(refuse)?;
        let gone = entries.iter().filter(|e| e.empties_slot()).filter_map(|e| e.slot).collect();
        let this = Self { place, store, vault: store.vault(), entries, gone };
        this.signed()?;
        this.extends()?;
        Ok(this)
    }

    /// The roster and the epochs, as the gateway verifies them.
    fn signed(&self) -> Result<(), Refusal> {
        let read = |name: &str| {
            std::fs::read_to_string(self.place.dir.join(name))
                .map_err(|e| Refusal::at("missing", name, e))
        };
        let admin: Vkey = read("admin.pub")?
            .trim()
            .parse()
            .map_err(|e| Refusal::at("tampered", "admin.pub", e))?;
        let mut admins = Admins::founding(self.vault, admin);
        for entry in self.entries.iter().filter(|e| e.kind == Fact::AdminSigned) {
            let name = format!("admin/{}.note", entry.count.unwrap_or_default());
            let text = read(&name)?;
            if Some(roster::digest(&text)) != entry.hash {
                return Err(Refusal::at("tampered", &name, "not the note of the ledger"));
            }
            admins.follow(&text).map_err(|e| Refusal::at(signed_word(e), &name, e))?;
        }
        let wanted = self.entries.iter().rev().find(|e| e.kind == Fact::RosterSigned);
        let wanted = wanted.and_then(|e| e.hash);
        let rosters = std::fs::read_dir(self.place.dir.join("roster")).into_iter().flatten();
        let named = rosters.flatten().find_map(|entry| {
            let text = std::fs::read_to_string(entry.path()).ok()?;
            (Some(roster::digest(&text)) == wanted).then_some((entry.file_name(), text))
        });
        let (name, text) = named.ok_or(Refusal::at("missing", "roster", "no such roster"))?;
        let name = format!("roster/{}", name.display());
        let parsed = admins.roster(&text).map_err(|e| Refusal::at(signed_word(e), &name, e))?;
        if parsed.vault != self.vault || name != format!("roster/{}.note", parsed.version) {
            return Err(Refusal::at("tampered", &name, "of another vault or version"));
        }
        for entry in self.entries.iter().filter(|e| e.kind == Fact::EpochSigned) {
            let (Some(epoch), Some(hash)) = (entry.epoch, entry.hash) else { continue };
            let name = format!("epochs/{}.note", epoch.0);
            let text = read(&name)?;
            if roster::digest(&text) != hash {
                return Err(Refusal::at("tampered", &name, "not the note of the ledger"));
            }
            let note = admins.epoch(&text).map_err(|e| Refusal::at(signed_word(e), &name, e))?;
            if note.vault != self.vault || note.number != epoch {
                return Err(Refusal::at("tampered", &name, "of another vault or number"));
            }
            if self.is_destroyed(epoch) {
                continue;
            }
            let file = format!("epochs/{}.age", epoch.0);
            let wrapped = std::fs::read(self.place.dir.join(&file))
                .map_err(|e| Refusal::at("missing", &file, e))?;
            let anew = |e: &&Entry| e.kind == Fact::ReWrapped && e.epoch == Some(epoch);
            let anew = self.entries.iter().rev().find(anew).and_then(|e| e.hash);
            let is_it = anew.map_or_else(
                || note.is_of(&wrapped),
                |hash| blake3::hash(&wrapped) == *hash.as_bytes(),
            );
            if !is_it {
                return Err(Refusal::at("tampered", &file, "not the file of its note"));
            }
        }
        Ok(())
    }

    fn is_destroyed(&self, epoch: EpochId) -> bool {
        let destroyed = |e: &Entry| e.kind == Fact::EpochDestroyed && e.epoch == Some(epoch);
        self.entries.iter().any(destroyed)
    }

    fn extends(&self) -> Result<(), Refusal> {
        let Some(note) = self.place.checkpoint else { return Ok(()) };
        let key = |e: &&Entry| e.kind == Fact::ServerKey && e.count == Some(CHECKPOINT_KEY);
        let public = self.entries.iter().rev().find(key).and_then(|e| e.hash);
        let public = public.expect("a vault has a checkpoint key");
        let head = Checkpoint::verify(note, public.as_bytes())
            .map_err(|e| Refusal { file: None, ..Refusal::at("tampered", "", e) })?;
        if head.vault == self.vault && self.store.root(head.size) == Some(head.root) {
            return Ok(());
        }
        Err(Refusal { file: None, ..Refusal::at("tampered", "", "does not extend the checkpoint") })
    }

    fn read(&self) -> (Content, Vec<Refusal>) {
        let (mut content, mut refused) = (Content::new(), Vec::new());
        let own = self.entries.iter().filter(|e| e.kind == Fact::ServerKey);
        for entry in own.filter(|e| e.slot.is_some_and(|slot| !self.gone.contains(&slot))) {
            if let Err(refusal) = self.own_key(entry) {
                refused.push(refusal);
            }
        }
        let mut contents = HashMap::new();
        let mut letters = Vec::new();
        for entry in &self.entries {
            let (Some(at), Some(slot), Some(_)) =
                (entry.place(self.vault), entry.slot, entry.content.and(entry.case))
            else {
                continue;
            };
            if self.gone.contains(&slot) {
                continue;
            }
            match self.open(entry, at, slot) {
                Ok((manifest, bytes)) => {
                    let kind = at.kind as u8 + 1;
                    let name = format!("{kind}.{}.{}.{slot}", at.letter, at.item);
                    content.insert(format!("{name}.manifest"), manifest.to_bytes().to_vec());
                    content.insert(format!("{name}.content"), bytes.clone());
                    contents.insert((at.letter, at.item), bytes);
                    if at.kind == Kind::Letter {
                        letters.push((at.letter, manifest));
                    }
                }
                Err(refusal) => refused.push(refusal),
            }
        }
        for (letter, manifest) in letters {
            if let Some(raw) = raw(letter, &manifest, &contents) {
                content.insert(format!("raw.{letter}"), raw);
            }
        }
        let root = self.store.root(self.store.size()).expect("of all entries");
        content.insert("root".into(), root.as_bytes().to_vec());
        let exact = self.store.entry_bytes(0, usize::MAX).expect("read before");
        let framed =
            exact.iter().flat_map(|e| (e.len() as u32).to_be_bytes().into_iter().chain(e.clone()));
        content.insert("entries".into(), framed.collect());
        refused.extend(self.check());
        (content, refused)
    }

    fn own_key(&self, entry: &Entry) -> Result<(), Refusal> {
        let slot = entry.slot.expect("has a slot");
        let key = self.store.box_key(slot).map_err(|e| self.place.refusal(e))?;
        let public = if entry.count == Some(CHECKPOINT_KEY) {
            checkpoint::public_key(&key)
        } else {
            *blake3::hash(key.as_slice()).as_bytes()
        };
        if entry.hash.is_some_and(|hash| *hash.as_bytes() == public) {
            return Ok(());
        }
        Err(Refusal {
            file: None,
            ..Refusal::at("tampered", "", "another key of the server's own")
        })
    }

    fn open(
        &self,
        entry: &Entry,
        at: seal::Place,
        slot: SlotId,
    ) -> Result<(Manifest, Vec<u8>), Refusal> {
        let read = || -> Result<(Manifest, Vec<u8>), store::Error> {
            let address = entry.boxed.expect("has a place");
            let key = self.store.box_key(slot)?;
            let inner = seal::open_outer(&self.store.read_box(&address)?, &at, slot, &key)?;
            let recorded = entry.content.expect("is checked by the caller");
            let manifest = if at.kind.is_server_sealed() {
                seal::open_for_server(&inner, recorded)?
            } else {
                let secret = entry.epoch.and_then(|epoch| self.place.epochs.get(&epoch));
                seal::open_inner(&inner, secret.ok_or(vault::Error::NoKey)?, recorded)?
            };
            match at.kind {
                Kind::Letter => drop(detail::<LetterDetail>(&manifest.detail)?),
                Kind::Item => drop(detail::<ItemDetail>(&manifest.detail)?),
                Kind::Contact => drop(detail::<ContactDetail>(&manifest.detail)?),
                Kind::Note => drop(detail::<NoteDetail>(&manifest.detail)?),
                Kind::Outgoing => {}
            }
            let content = self.content(&manifest)?;
            Ok((manifest, content))
        };
        read().map_err(|e| self.place.refusal(e))
    }

    fn content(&self, manifest: &Manifest) -> Result<Vec<u8>, store::Error> {
        let mut content = Vec::new();
        for (i, key) in manifest.chunks.iter().enumerate() {
            let address = key.address();
            let mut sealed = self.store.read_chunk(&address)?;
            chunk::unpad(
                &mut content,
                chunk::open(key, address, &mut sealed)?,
                i,
                manifest.length,
            )?;
        }
        if content.len() as u64 == manifest.length {
            Ok(content)
        } else {
            Err(vault::Error::Tampered.into())
        }
    }

    /// What `kluis check` says beyond that.
    fn check(&self) -> Vec<Refusal> {
        let report = self.store.check(false, &|_, _| {}).expect("checks");
        let refusal = |problem: &store::Problem| Refusal {
            what: match problem.what {
                what if what.contains("later version") => "future version",
                what if what.contains("not there") || what.contains("missing") => "missing",
                _ => "tampered",
            },
            file: Some(self.place.name(problem.file.clone())),
            offset: Some(problem.offset),
            why: problem.what.to_owned(),
        };
        report.problems.iter().map(refusal).collect()
    }
}

fn signed_word(error: roster::Error) -> &'static str {
    if error == roster::Error::FutureVersion { "future version" } else { "tampered" }
}

fn raw(
    letter: LetterId,
    manifest: &Manifest,
    contents: &HashMap<(LetterId, ItemId), Vec<u8>>,
) -> Option<Vec<u8>> {
    let letter_detail: LetterDetail = detail(&manifest.detail).expect("read before");
    let skeleton = Skeleton::decode(contents.get(&(letter, letter_detail.skeleton?))?)?;
    let ids = letter_detail.items.iter();
    let parts: Vec<_> =
        ids.map(|card| contents.get(&(letter, card.id)).map(Vec::as_slice)).collect();
    Some(skeleton.rebuild(&parts))
}
