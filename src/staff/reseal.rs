//! Sealing boxes of older epochs anew to the newest one, and their content with them where that is
//! wished.
//!
//! A box is opened, compared with what the ledger recorded, sealed, and opened again to see that it
//! is; only then is it handed in. What does not open is left as it is. Whoever stops this loses
//! nothing: the next call goes on.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::client::{Client, Error};
use super::renewal::Renewal;
use crate::casebook::keyring::Resealed;
use crate::casebook::protocol::{Request, Response};
use crate::casebook::{Opened, Standing};
use crate::ids::EpochId;
use crate::keys::epoch::{EpochPublic, EpochSecret};
use crate::secret::{Secret, clear_stack};
use crate::vault::chunk::{self, BODY, Base, ChunkKey};
use crate::vault::manifest::Manifest;
use crate::vault::seal::{self, Inner, Place};

/// Boxes that are asked for at a time: as many as one answer may have.
const AT_ONCE: u32 = 256;
/// Chunks after which the boxes that refer to them are handed in: 1 GiB of content.
const CHUNKS_AT_ONCE: usize = 4096;

/// Boxes and chunks that are tried for an estimate.
const TRIED: u32 = 64;
/// What all of it takes, of what sealing boxes takes: the rest is the server's (docs/benchmarks.md).
const BESIDE_BOXES: f64 = 1.25;
/// The same for content.
const BESIDE_BYTES: f64 = 4.5;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Boxes that were sealed anew.
    pub boxes: u64,
    /// Boxes that do not open, and were left as they are.
    pub unopened: u64,
    /// Bytes of content under new keys.
    pub bytes: u64,
}

/// What hears of it on the way.
pub type Tell<'a> = dyn FnMut(Progress) + 'a;

/// What the inner layer of a box held.
struct Message {
    manifest: Manifest,
    /// With its padding.
    bytes: Zeroizing<Vec<u8>>,
}

/// The newest epoch.
struct Newest<'a> {
    id: EpochId,
    public: EpochPublic,
    secret: &'a EpochSecret,
}

impl Client {
    /// Seals boxes of older epochs anew to the newest, `most` at the most.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn reseal(&mut self, most: u64, tell: &mut Tell<'_>) -> Result<Progress, Error> {
        self.reseal_all(most, None, tell)
    }

    /// As [`reseal`](Self::reseal), and the content under new keys, too: what was known of the old
    /// ones opens nothing of it.
    ///
    /// # Errors
    /// See [`Error`]; one member does this at a time.
    pub fn reseal_with_content(
        &mut self,
        most: u64,
        tell: &mut Tell<'_>,
    ) -> Result<Progress, Error> {
        let renewal = Renewal::begin(&mut self.stream)?;
        self.reseal_all(most, Some(renewal), tell)
    }

    fn reseal_all(
        &mut self,
        most: u64,
        mut renewal: Option<Renewal>,
        tell: &mut Tell<'_>,
    ) -> Result<Progress, Error> {
        let with_content = renewal.is_some();
        let (mut progress, mut after) = (Progress::default(), None);
        while progress.boxes < most {
            let most = u32::try_from(most - progress.boxes).unwrap_or(u32::MAX).min(AT_ONCE);
            let request = Request::ToReseal { after, most, with_content };
            let Response::Boxes { boxes } = self.ask(&request)? else {
                return Err(Error::Unexpected);
            };
            let Some(last) = boxes.last() else { break };
            after = Some((last.place.kind, last.place.item));
            let mut rest = &boxes[..];
            while !rest.is_empty() {
                let (some, behind) = rest.split_at(in_one_turn(rest));
                self.reseal_some(some, renewal.as_mut(), &mut progress, tell)?;
                rest = behind;
            }
        }
        Ok(progress)
    }

    /// Seals some boxes anew and hands them in.
    fn reseal_some(
        &mut self,
        boxes: &[Opened],
        mut renewal: Option<&mut Renewal>,
        progress: &mut Progress,
        tell: &mut Tell<'_>,
    ) -> Result<(), Error> {
        let (id, public) = self.sealing()?;
        for epoch in boxes.iter().filter_map(|opened| opened.epoch).chain([id]) {
            match self.epoch(epoch) {
                // What is not this member's to open is left as it is.
                Ok(_) | Err(Error::NoKey) => {}
                Err(error) => return Err(error),
            }
        }
        let (vault, epochs) = (self.vault, &self.epochs);
        let messages = on_every_core(boxes, |opened| {
            let inner = to_reseal(opened, id).filter(|_| opened.place.vault == vault);
            let (inner, epoch) = inner?;
            let opened = seal::open_message(inner, epochs.get(&epoch)?, opened.content);
            opened.ok().map(|(manifest, bytes)| Message { manifest, bytes })
        });
        if let Some(renewal) = &mut renewal {
            let manifests = messages.iter().flatten().map(|message| &message.manifest);
            let keys: Vec<&ChunkKey> = manifests.flat_map(|manifest| &manifest.chunks).collect();
            renewal.seal(&mut self.stream, &keys, &mut |bytes| {
                progress.bytes += bytes;
                tell(*progress);
            })?;
        }
        let newest = Newest { id, public, secret: self.epochs.get(&id).ok_or(Error::NoKey)? };
        let (renewal, pairs) = (renewal.as_deref(), boxes.iter().zip(messages).collect::<Vec<_>>());
        let sealed = on_every_core(&pairs, |(opened, message)| {
            sealed_anew(opened, message.as_ref()?, &newest, renewal)
        });
        let sealed: Vec<Resealed> = sealed.into_iter().flatten().collect();
        progress.unopened += (boxes.len() - sealed.len()) as u64;
        if !sealed.is_empty() {
            let Response::Kept { count } = self.ask(&Request::Reseal { boxes: sealed })? else {
                return Err(Error::Unexpected);
            };
            progress.boxes += count;
        }
        tell(*progress);
        Ok(())
    }
}

/// About how long it takes to seal so many boxes anew, and so many bytes of content: from how long some
/// take here, in memory.
#[must_use]
pub fn estimate(boxes: u64, bytes: u64) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let epoch = EpochSecret::generate();
    let public = epoch.public();
    let begun = Instant::now();
    for _ in 0..TRIED {
        // Opened, sealed, opened again.
        let sealed = public.wrap(&[0; 1024]);
        let _ = (epoch.unwrap(&sealed), epoch.unwrap(&sealed));
    }
    let of_boxes = begun.elapsed().as_secs_f64() / f64::from(TRIED) * boxes as f64;
    let secret = Secret::random();
    let (mut keys, mut chunks) = chunk::seal(&Base::fresh(), &vec![0; BODY], NonZeroUsize::MIN);
    let (Some(mut key), Some(chunk)) = (keys.pop(), chunks.pop()) else { return Duration::ZERO };
    let mut sealed = chunk.bytes().to_vec();
    let begun = Instant::now();
    for _ in 0..TRIED {
        if let Ok(new) = chunk::reseal_in_place(&secret, &key, &mut sealed) {
            key = new;
        }
    }
    let of_bytes = begun.elapsed().as_secs_f64() / f64::from(TRIED) / BODY as f64 * bytes as f64;
    let time = (of_boxes * BESIDE_BOXES + of_bytes * BESIDE_BYTES) / cores;
    Duration::from_secs_f64(time).max(Duration::from_secs(1))
}

/// How many of these boxes are sealed anew before they are handed in; one at least.
fn in_one_turn(boxes: &[Opened]) -> usize {
    let mut chunks = 0;
    let fits = |opened: &&Opened| {
        chunks += opened.inner.as_ref().map_or(0, |inner| inner.chunks.len());
        chunks <= CHUNKS_AT_ONCE
    };
    boxes.iter().take_while(fits).count().max(1)
}

/// The inner layer of a box that is kept and sealed to an older epoch than this, and that epoch. Never
/// to one that is no newer: somebody may have taken its secret along.
fn to_reseal(opened: &Opened, newest: EpochId) -> Option<(&Inner, EpochId)> {
    match (opened.standing, &opened.inner, opened.epoch) {
        (Standing::Kept, Some(inner), Some(epoch)) if epoch < newest => Some((inner, epoch)),
        _ => None,
    }
}

/// A box sealed to the newest epoch: the same manifest, or one that names its chunks under their new
/// keys. Nothing if one of them was not sealed anew, or the box does not open again.
fn sealed_anew(
    opened: &Opened,
    message: &Message,
    newest: &Newest<'_>,
    renewal: Option<&Renewal>,
) -> Option<Resealed> {
    let old = &message.manifest.chunks;
    let (inner, content) = match renewal.filter(|_| !old.is_empty()) {
        None => {
            let sealed = newest.public.wrap(&message.bytes);
            let chunks = old.iter().map(ChunkKey::address).collect();
            (Inner { chunks, sealed }, None)
        }
        Some(renewal) => {
            let chunks: Vec<ChunkKey> = old.iter().map(|key| renewal.key(key)).collect();
            if !chunks.iter().all(|key| renewal.has(key)) {
                return None;
            }
            let mut manifest: Manifest = message.manifest.clone();
            manifest.chunks = chunks;
            let (inner, content) = seal::inner(&manifest, &newest.public);
            (inner, Some(content))
        }
    };
    seal::open_inner(&inner, newest.secret, content.unwrap_or(opened.content)).ok()?;
    let Place { kind, item, .. } = opened.place;
    Some(Resealed { kind, item, slot: opened.slot, inner, epoch: newest.id, content })
}

/// Does the same with each, on every core; the results in order.
fn on_every_core<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = all.len().div_ceil(cores).max(1);
    let of_some = |some: &[T]| {
        let done: Vec<R> = some.iter().map(&work).collect();
        clear_stack();
        done
    };
    std::thread::scope(|scope| {
        let of_some = &of_some;
        let threads: Vec<_> =
            all.chunks(share).map(|some| scope.spawn(move || of_some(some))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<R>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    })
}
