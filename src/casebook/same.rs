//! The same picture in two open cases: one of them may not be from whom it says.
//!
//! The server cannot read what is sealed. Equal files that came within the same days have equal chunks
//! (design §5), and their addresses it knows: that is enough for a warning, and no more is compared.

use minicbor::{Decode, Encode};

use super::state::BoxRecord;
use super::{Casebook, Error};
use crate::ids::{Address, CaseId, ItemId};
use crate::vault::seal::Kind;

/// Boxes that are opened to compare, at most.
const MOST_COMPARED: usize = 1000;

/// A copy that came in another open case as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Same {
    /// The item of the case that was asked about.
    #[n(0)]
    pub item: ItemId,
    /// The other case.
    #[n(1)]
    pub case: CaseId,
}

impl Casebook {
    /// The copies of a case that came in another open case as well, and in which.
    ///
    /// # Errors
    /// `Unknown` for a case that does not exist; what the store says.
    pub fn same_copies(&self, case: CaseId) -> Result<Vec<Same>, Error> {
        let (own, others) = self.copies_of(case)?;
        let mut chunks: Vec<(ItemId, Vec<Address>)> = Vec::with_capacity(own.len());
        for record in &own {
            chunks.extend(self.chunks_of(record)?.map(|chunks| (record.place.item, chunks)));
        }
        let mut same = Vec::new();
        let is_alike = |other: &&BoxRecord| own.iter().any(|record| record.size == other.size);
        for other in others.iter().filter(is_alike).take(MOST_COMPARED) {
            let Some(theirs) = self.chunks_of(other)? else { continue };
            for (item, ours) in &chunks {
                let found = Same { item: *item, case: other.case };
                if *ours == theirs && !same.contains(&found) {
                    same.push(found);
                }
            }
        }
        Ok(same)
    }

    /// The copies of this case that are there, and those of all other open cases.
    fn copies_of(&self, case: CaseId) -> Result<(Vec<BoxRecord>, Vec<BoxRecord>), Error> {
        let state = self.state();
        let record = state.cases.get(&case).ok_or(Error::Unknown("case"))?;
        let boxes = |record: &super::state::CaseRecord| -> Vec<BoxRecord> {
            let copies = record.copies.items.iter().filter(|copy| copy.is_copy);
            let boxes = copies.filter_map(|copy| state.boxed(Kind::Item, copy.item));
            boxes.filter(|record| !record.forgotten).copied().collect()
        };
        let own = boxes(record);
        if own.is_empty() {
            return Ok((own, Vec::new()));
        }
        let is_other = |(id, other): &(&CaseId, &super::state::CaseRecord)| {
            **id != case && other.case.closed.is_none()
        };
        let others = state.cases.iter().filter(is_other).flat_map(|(_, other)| boxes(other));
        Ok((own, others.collect()))
    }

    /// The chunks of an item; nothing if it has none, or its box does not open.
    fn chunks_of(&self, record: &BoxRecord) -> Result<Option<Vec<Address>>, Error> {
        let inner = self.opened(record)?.inner;
        Ok(inner.map(|inner| inner.chunks).filter(|chunks| !chunks.is_empty()))
    }
}
