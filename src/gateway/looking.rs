//! Who looks at the pictures that come in: one confined child at a time for the whole server, a fresh one
//! for each picture.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::casebook::AskReader;
use crate::sandbox::models::{self, Reader};

/// For one picture; then the child is ended, and the picture cannot be read.
const PICTURE_TIME: Duration = Duration::from_secs(18);
/// Pictures that wait for the child: more are not looked at, so that a flood of them costs the letters
/// of others no time.
const MOST_WAITING: usize = 8;
/// What the server's child is asked through.
struct Desk {
    reader: Reader,
    waiting: AtomicUsize,
}

/// One that waits, or is looked at.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    /// A place, if there is one.
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::AcqRel) < MOST_WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What pictures are looked at with, if the models are there.
pub(super) fn reader(program: &Path) -> Option<Box<AskReader>> {
    let folder = models::folder();
    let Some(reader) = Reader::new(program.to_owned(), folder.clone(), PICTURE_TIME) else {
        tracing::warn!(
            folder = %folder.display(),
            "copies of identity documents are not read: the models are not there (kluis doctor --fetch-models)"
        );
        return None;
    };
    let desk = Arc::new(Desk { reader, waiting: AtomicUsize::new(0) });
    Some(Box::new(move |picture| {
        let desk = Arc::clone(&desk);
        Box::pin(async move {
            let place = Place::take(&desk.waiting)?;
            let seen = desk.reader.look(picture).await;
            drop(place);
            seen
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_and_no_more_and_a_place_is_given_back() {
        let waiting = AtomicUsize::new(0);
        let places: Vec<_> = (0..MOST_WAITING).map(|_| Place::take(&waiting)).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(Place::take(&waiting).is_none());
        drop(places);
        assert_eq!(waiting.load(Ordering::Acquire), 0);
        assert!(Place::take(&waiting).is_some());
    }
}
