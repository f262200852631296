//! Documents that came without a mail around them: each is an item, together they are a letter.

use std::num::NonZeroUsize;

use tokio::time::Instant;

use super::{About, Run, into_case, lock};
use crate::casebook::detail::{ContactDetail, ItemCard, ItemDetail, LetterDetail};
use crate::casebook::receive::{Arrival, Sealed, SealedItem, Sealing, converges};
use crate::casebook::scanning::SCAN_TIME;
use crate::casebook::{Casebook, Error};
use crate::ids::{Digest, ItemId, LetterId};
use crate::letter::{self, Envelope, Finding, Headers, Item, Protection, Scan};
use crate::secret::Personal;
use crate::store::{Batch, PutError, Repeats, Source, Staged, Staging};
use crate::vault::chunk::{self, Base, ChunkKey, SealedChunk};

/// A document, its content sealed.
pub struct Paper {
    name: Vec<u8>,
    pub(super) length: u64,
    item: Item,
    findings: Vec<Finding>,
    pub(super) keys: Vec<ChunkKey>,
    chunks: Vec<SealedChunk>,
    /// Chunks that are written already, of a long document.
    staged: Option<Staged>,
}

impl Run {
    /// Seals a document's content, so that it can be taken. `name` is the name of its file.
    #[must_use]
    pub fn paper(&self, name: &[u8], content: &[u8]) -> Paper {
        let mut paper = Paper::of(name, content.len() as u64, content);
        let fresh = Base::fresh();
        let base = if paper.converges() { &*self.base } else { &fresh };
        (paper.keys, paper.chunks) = chunk::seal(base, content, NonZeroUsize::MIN);
        paper
    }

    /// Seals a document of any length, in constant memory: its chunks are written ahead, and are gone
    /// again if it is not taken. `beginning` are its first bytes.
    ///
    /// # Errors
    /// It cannot be read, or the store says no.
    pub fn long_paper(
        &self,
        name: &[u8],
        beginning: &[u8],
        source: &dyn Source,
    ) -> Result<Paper, PutError> {
        let length = source.length().map_err(PutError::Source)?;
        let mut paper = Paper::of(name, length, beginning);
        let fresh = Base::fresh();
        let base = if paper.converges() { &*self.base } else { &fresh };
        let mut staging = if self.is_dry {
            Staging::nowhere(Repeats::Skip)
        } else {
            self.casebook.store().staging(Repeats::Skip)
        };
        let stored = staging.put(base, source)?;
        paper.staged = Some(staging.take()?);
        (paper.length, paper.keys) = (stored.length, stored.keys);
        Ok(paper)
    }
}

impl Run {
    /// Asks the virus scanner about documents, if there is one and they did not come before.
    /// `contents` are theirs, in their order; a long one has none here, and is not scanned.
    pub async fn scan(&self, about: About, papers: &mut [Paper], contents: &[Option<&[u8]>]) {
        if self.is_dry || !self.casebook.scans() {
            return;
        }
        let fingerprint = Fingerprint::of(papers, about);
        // Whatever came before is not sealed again. Should it not be there after all when that is
        // decided, nobody looked at it.
        let is_there = self.is_there(&lock(&self.under_way), &fingerprint);
        let end = Instant::now() + SCAN_TIME;
        for (paper, content) in papers.iter_mut().zip(contents) {
            let content = content.filter(|_| !is_there);
            let said = self.casebook.scan_document(content, end).await;
            paper.item.scan = said;
            match said {
                Some(Scan::Infected) => paper.findings.push(Finding::Infected),
                Some(Scan::NotScanned) => paper.findings.push(Finding::NotScanned),
                Some(Scan::Clean) | None => {}
            }
        }
    }
}

impl Paper {
    /// A document of this name and length that is not sealed yet. `beginning` are its first bytes.
    pub(super) fn of(name: &[u8], length: u64, beginning: &[u8]) -> Self {
        let (item, findings) = letter::document(name, length, beginning);
        let (keys, chunks, staged) = (Vec::new(), Vec::new(), None);
        Paper { name: name.to_vec(), length, item, findings, keys, chunks, staged }
    }

    /// Whether it shares its run's secret.
    pub(super) fn converges(&self) -> bool {
        converges(&self.item, usize::try_from(self.length).unwrap_or(usize::MAX))
    }
}

/// What tells that documents come again: their names and contents, in order (vault-format §7).
pub(super) struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    pub(super) fn new() -> Self {
        Self(blake3::Hasher::new_derive_key("kluis v1 documents"))
    }

    /// Adds a document with the hashes of its bodies.
    pub(super) fn add<'a>(
        &mut self,
        name: &[u8],
        length: u64,
        hashes: impl IntoIterator<Item = &'a [u8; 32]>,
    ) {
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name);
        self.0.update(&length.to_le_bytes());
        for hash in hashes {
            self.0.update(hash);
        }
    }

    /// Of all that were added, where they belong.
    pub(super) fn finish(&self, about: About) -> Digest {
        into_case(Digest::new(*self.0.finalize().as_bytes()), about.case)
    }

    pub(super) fn of(papers: &[Paper], about: About) -> Digest {
        let mut all = Self::new();
        for paper in papers {
            all.add(&paper.name, paper.length, paper.keys.iter().map(ChunkKey::hash));
        }
        all.finish(about)
    }
}

impl Casebook {
    /// Seals documents into `batch` as one letter.
    pub(super) fn seal_papers(
        &self,
        batch: &mut Batch,
        arrival: &Arrival,
        papers: Vec<Paper>,
        fingerprint: Digest,
    ) -> Result<Sealed, Error> {
        let letter = LetterId::random();
        let case = arrival.into.unwrap_or(arrival.fresh);
        let (epoch, public) = self.epoch()?;
        let mut sealing = Sealing { casebook: self, batch, case, epoch, public: &public, arrival };
        let mut detail = without_a_mail(&papers);
        for paper in papers {
            let id = ItemId::random();
            let Paper { name, length, item, findings, keys, chunks, staged } = paper;
            sealing.batch.staged.extend(staged);
            let mut card = ItemCard::of(id, &item);
            ItemCard::note_closed(std::slice::from_mut(&mut card), [&item].into_iter(), &findings);
            let sealed = SealedItem {
                media_type: &card.media_type,
                name: &name,
                length,
                keys,
                chunks,
                detail: ItemDetail::Leaf(Box::new(item)),
                container: None,
            };
            sealing.item(letter, id, sealed);
            detail.items.push(card);
        }
        sealing.letter(letter, &detail, arrival.into);
        let contact =
            ContactDetail { address: None, fingerprint, message_id: None, recipients: Vec::new() };
        let entry = self.add_contact(batch, case, letter, &contact);
        Ok(Sealed { case, letter, contact: (entry, contact), notice: None })
    }
}

/// What the letter says of itself: nobody wrote a header.
fn without_a_mail(papers: &[Paper]) -> LetterDetail {
    let mut findings: Vec<Finding> =
        papers.iter().flat_map(|paper| paper.findings.iter().copied()).collect();
    findings.sort_unstable();
    findings.dedup();
    LetterDetail {
        envelope: Envelope {
            mail_from: Personal::new(String::new()),
            rcpt_to: Vec::new(),
            helo: Personal::new(String::new()),
            client: None,
            source: letter::Source::File,
            tls: false,
        },
        headers: Headers::default(),
        findings,
        protection: Protection::None,
        items: Vec::with_capacity(papers.len()),
        skeleton: None,
        length: papers.iter().map(|paper| paper.length).sum(),
        signature: None,
        origin: None,
        silence: None,
    }
}
