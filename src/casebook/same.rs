//! The same picture in two open cases: one of them may not be from whom it says.
//!
//! The server cannot read what is sealed. Equal files that came within the same days have equal chunks
//! (design §5), and their addresses it knows: that is enough for a warning, and no more is compared.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::state::{BoxRecord, CaseRecord};
use super::{Casebook, Error, WINDOW_MINUTES};
use crate::ids::{Address, CaseId, ItemId};
use crate::vault::seal::Kind;

/// Boxes that are opened to compare, at most: of more the newest.
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
        for other in &others {
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

    /// The copies of this case that are there, and those of all other open cases that may be the same.
    fn copies_of(&self, case: CaseId) -> Result<(Vec<BoxRecord>, Vec<BoxRecord>), Error> {
        let state = self.state();
        let record = state.cases.get(&case).ok_or(Error::Unknown("case"))?;
        let boxes = |record: &CaseRecord| -> Vec<BoxRecord> {
            let copies = record.copies.items.iter().filter(|copy| copy.is_copy);
            let boxes = copies.filter_map(|copy| state.boxed(Kind::Item, copy.item));
            boxes.filter(|record| !record.forgotten).copied().collect()
        };
        let own = boxes(record);
        let is_other = |(id, other): &(&CaseId, &CaseRecord)| {
            **id != case && other.case.closed.is_none() && !own.is_empty()
        };
        let others = state.cases.iter().filter(is_other).flat_map(|(_, other)| boxes(other));
        let others = newest(&own, others);
        Ok((own, others))
    }

    /// The chunks of an item; nothing if it has none, or its box does not open.
    fn chunks_of(&self, record: &BoxRecord) -> Result<Option<Vec<Address>>, Error> {
        let inner = self.opened(record)?.inner;
        Ok(inner.map(|inner| inner.chunks).filter(|chunks| !chunks.is_empty()))
    }
}

/// Of these the newest that may be the same file as one of `own`: as large, and of the same days.
fn newest(own: &[BoxRecord], others: impl Iterator<Item = BoxRecord>) -> Vec<BoxRecord> {
    let mut found: BTreeMap<(u64, u64), BoxRecord> = BTreeMap::new();
    for other in others {
        let is_alike = |record: &BoxRecord| {
            record.size == other.size && record.minute.abs_diff(other.minute) <= WINDOW_MINUTES
        };
        if own.iter().any(is_alike) {
            found.insert((other.minute, other.seq), other);
            if found.len() > MOST_COMPARED {
                found.pop_first();
            }
        }
    }
    found.into_values().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, LetterId, SlotId, VaultId};
    use crate::vault::seal::Place;

    fn record(seq: u64, minute: u64, size: u8) -> BoxRecord {
        let (kind, vault) = (Kind::Item, VaultId::random());
        BoxRecord {
            place: Place { kind, vault, letter: LetterId::random(), item: ItemId::random() },
            slot: SlotId::random(),
            address: Address::new([0; 32]),
            content: Digest::new([0; 32]),
            epoch: None,
            case: CaseId::random(),
            container: None,
            size,
            minute,
            seq,
            forgotten: false,
        }
    }

    #[test]
    fn of_many_that_may_be_the_same_the_newest_are_compared() {
        let own = [record(0, 20_000, 17)];
        let many = || (1..=3 * MOST_COMPARED as u64).map(|nr| record(nr, 10_000 + nr, 17));
        // In whatever order they come.
        for others in [many().collect::<Vec<_>>(), many().rev().collect()] {
            let found: Vec<u64> = newest(&own, others.into_iter()).iter().map(|r| r.seq).collect();
            let wanted: Vec<u64> =
                (2 * MOST_COMPARED as u64 + 1..=3 * MOST_COMPARED as u64).collect();
            assert!(found.iter().rev().eq(&wanted), "{}", found.len());
        }
    }

    #[test]
    fn what_has_another_size_or_came_weeks_before_or_after_takes_no_place() {
        let own = [record(0, 100_000, 17), record(1, 500_000, 19)];
        let (first, last) = (100_000 - WINDOW_MINUTES, 100_000 + WINDOW_MINUTES);
        let others = [
            record(2, 100_000, 18),
            record(3, first, 17),
            record(4, first - 1, 17),
            record(5, last, 17),
            record(6, last + 1, 17),
            record(7, 500_000, 17),
            record(8, 500_000, 19),
        ];
        let found: Vec<u64> = newest(&own, others.into_iter()).iter().map(|r| r.seq).collect();
        assert_eq!(found, [8, 5, 3]);
        assert!(newest(&[], [record(2, 0, 17)].into_iter()).is_empty());
    }
}
