//! The virus scanner is asked about what comes in before it is sealed. What it did not see in time was
//! not scanned, and is said to be so: nothing is refused for it.

use std::borrow::Cow;
use std::time::Duration;

use tokio::time::Instant;

use super::receive::Cut;
use super::{AskScanner, Casebook, blocking};
use crate::letter::{self, Item, Scan};

/// For scanning one letter, or the documents that come together; what is left then was not scanned.
pub(super) const SCAN_TIME: Duration = Duration::from_secs(20);
/// Bytes that are decoded where they are: for more a thread is asked that may work so long.
const SHORT: usize = 64 * 1024;

impl Casebook {
    /// Asks the virus scanner about every item, as it was sent and as it was taken out, and about
    /// what stands around them: headers, and what no reader shows.
    pub(super) async fn scan(&self, cut: &mut Cut) {
        let Cut { letter, skeleton, contents, around, .. } = cut;
        let mut said = Vec::with_capacity(contents.len() + letter.contained.len());
        if let Some(scan) = &self.scanner {
            let end = Instant::now() + SCAN_TIME;
            for (item, stored) in letter.items.iter().zip(contents) {
                let content = content(item, stored).await;
                said.push(Some(ask(scan, &content, end).await));
            }
            for one in &letter.contained {
                said.push(Some(ask(scan, &one.content, end).await));
            }
            if !skeleton.bytes.is_empty() {
                *around = Some(ask(scan, &skeleton.bytes, end).await);
            }
        }
        letter.scanned(&said, *around);
    }

    /// Asks the virus scanner about a document, if there is one; none is asked about a document that is
    /// not at hand as a whole.
    pub(super) async fn scan_document(&self, content: Option<&[u8]>, end: Instant) -> Option<Scan> {
        let scan = self.scanner.as_ref()?;
        Some(match content {
            Some(content) => ask(scan, content, end).await,
            None => Scan::NotScanned,
        })
    }

    /// Whether there is a virus scanner to ask.
    pub(super) fn scans(&self) -> bool {
        self.scanner.is_some()
    }
}

async fn ask(scan: &AskScanner, content: &[u8], end: Instant) -> Scan {
    tokio::time::timeout_at(end, scan(content)).await.unwrap_or(Scan::NotScanned)
}

/// What a person gets who opens the item. Decoding much is work, and none for this thread, which has
/// others to serve.
pub(super) async fn content<'a>(item: &Item, stored: &'a mut Vec<u8>) -> Cow<'a, [u8]> {
    if letter::is_stored_as_content(item) {
        return Cow::Borrowed(stored);
    }
    if stored.len() <= SHORT {
        return Cow::Owned(letter::content(item, stored));
    }
    let (item, lent) = (item.clone(), std::mem::take(stored));
    let (content, lent) = blocking(move || {
        let content = letter::content(&item, &lent);
        (content, lent)
    })
    .await;
    *stored = lent;
    Cow::Owned(content)
}
