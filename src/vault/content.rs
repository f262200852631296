//! Opens the content of an item: on several cores, in order, in constant memory (vault-format §3).
//!
//! Where sealed chunks come from is the business of the caller, who gives them one after the other;
//! each is opened and checked in a buffer of the worker that took it, and handed on when its turn
//! has come. Nothing is handed on that did not pass every check. The buffers held plaintext, so
//! they are wiped at the end.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use super::Error;
use super::chunk::{self, BODY, ChunkKey, RECORD};

/// A sealed chunk in a worker's buffer: its number, and where ciphertext ‖ tag lie.
pub type Fetched = (usize, Range<usize>);

/// Fetches the next sealed chunk into a buffer of [`RECORD`] bytes: each once, in order of their
/// numbers as far as calls are in order; nothing when there are no more.
pub type Fetch<'a, E> = dyn Fn(&mut [u8]) -> Result<Option<Fetched>, E> + Sync + 'a;

/// Takes content, piece by piece.
pub type Sink<'a, E> = dyn FnMut(&[u8]) -> Result<(), E> + Send + 'a;

/// Opens content of `length` bytes that was sealed under `keys`: `fetch` is asked by `workers`
/// threads at once, `sink` gets the true content in order.
///
/// # Errors
/// [`Error::Tampered`] if a chunk does not hold or there are not as many keys as there must be,
/// [`Error::Missing`] if `fetch` leaves one out; what `fetch` and `sink` say. `sink` may have got a
/// true beginning of the content then.
pub fn open<E: From<Error> + Send>(
    keys: &[ChunkKey],
    length: u64,
    workers: NonZeroUsize,
    fetch: &Fetch<'_, E>,
    sink: &mut Sink<'_, E>,
) -> Result<(), E> {
    if keys.is_empty() && length == 0 {
        return Ok(());
    }
    let is_possible = length <= keys.len() as u64 * BODY as u64;
    if !is_possible || chunk::bodies(length) != keys.len() as u64 {
        return Err(Error::Tampered.into());
    }
    let line =
        Line { turn: Mutex::new(Turn { next: 0, ended: None, sink }), moved: Condvar::new() };
    let workers = workers.get().min(keys.len());
    if workers == 1 {
        line.work(keys, length, fetch);
    } else {
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| line.work(keys, length, fetch));
            }
        });
    }
    let turn = line.turn.into_inner().unwrap_or_else(PoisonError::into_inner);
    match turn.ended {
        Some(Some(error)) => Err(error),
        None if turn.next == keys.len() => Ok(()),
        _ => Err(Error::Missing.into()),
    }
}

/// Workers in line before the sink.
struct Line<'a, 'b, E> {
    turn: Mutex<Turn<'a, 'b, E>>,
    moved: Condvar,
}

struct Turn<'a, 'b, E> {
    /// The number of the chunk whose turn it is.
    next: usize,
    /// Why nobody goes on: the first error, or nothing if a worker was lost.
    ended: Option<Option<E>>,
    sink: &'a mut Sink<'b, E>,
}

impl<'a, 'b, E: From<Error>> Line<'a, 'b, E> {
    /// Fetches, opens and hands on until there is nothing more, or nobody goes on.
    fn work(&self, keys: &[ChunkKey], length: u64, fetch: &Fetch<'_, E>) {
        let _leaving = Leaving(self);
        let mut buffer = Zeroizing::new(vec![0; RECORD]);
        loop {
            match fetch(&mut buffer) {
                Ok(Some((index, sealed))) => {
                    let opened = keys.get(index).ok_or(Error::Tampered).and_then(|key| {
                        let sealed = buffer.get_mut(sealed).ok_or(Error::Tampered)?;
                        chunk::true_part(chunk::open_found(key, sealed)?, index, length)
                    });
                    match opened {
                        Ok(content) if self.hand_on(index, content) => {}
                        Ok(_) => return,
                        Err(error) => return self.end(Some(error.into())),
                    }
                }
                Ok(None) => return,
                Err(error) => return self.end(Some(error)),
            }
        }
    }

    /// Hands content on when its turn has come; says whether to go on.
    fn hand_on(&self, index: usize, content: &[u8]) -> bool {
        let mut turn = self.turn();
        while turn.next != index && turn.ended.is_none() {
            turn = self.moved.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        if turn.ended.is_some() {
            return false;
        }
        match (turn.sink)(content) {
            Ok(()) => turn.next += 1,
            Err(error) => turn.ended = Some(Some(error)),
        }
        let goes_on = turn.ended.is_none();
        drop(turn);
        self.moved.notify_all();
        goes_on
    }

    fn end(&self, error: Option<E>) {
        self.turn().ended.get_or_insert(error);
        self.moved.notify_all();
    }

    fn turn(&self) -> MutexGuard<'_, Turn<'a, 'b, E>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker that panics must not leave the others waiting for its turn.
struct Leaving<'l, 'a, 'b, E: From<Error>>(&'l Line<'a, 'b, E>);

impl<E: From<Error>> Drop for Leaving<'_, '_, '_, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::vault::TAG;
    use crate::vault::chunk::{Base, SealedChunk};

    struct Sealed {
        content: Vec<u8>,
        keys: Vec<ChunkKey>,
        chunks: Vec<SealedChunk>,
    }

    fn sealed(length: usize) -> Sealed {
        let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let (keys, chunks) = chunk::seal(&Base::fresh(), &content, NonZeroUsize::MIN);
        Sealed { content, keys, chunks }
    }

    /// Opens what `next` gives for each number with some workers.
    fn opened(
        sealed: &Sealed,
        workers: usize,
        next: impl Fn(usize) -> Result<Option<Vec<u8>>, Error> + Sync,
        length: usize,
    ) -> (Result<(), Error>, Vec<u8>) {
        let (mut content, at) = (Vec::new(), AtomicUsize::new(0));
        let fetch = |buffer: &mut [u8]| {
            let index = at.fetch_add(1, Ordering::Relaxed);
            let Some(bytes) = next(index)? else { return Ok(None) };
            buffer[7..7 + bytes.len()].copy_from_slice(&bytes);
            Ok(Some((index, 7..7 + bytes.len())))
        };
        let workers = NonZeroUsize::new(workers).expect("not zero");
        let mut sink = |part: &[u8]| {
            content.extend_from_slice(part);
            Ok(())
        };
        let result = open(&sealed.keys, length as u64, workers, &fetch, &mut sink);
        (result, content)
    }

    #[test]
    fn content_comes_out_in_order_whoever_opened_it() {
        for length in [0, 1, 4096, 5000, BODY, BODY + 1, 9 * BODY + 77] {
            let sealed = sealed(length);
            let next = |i: usize| Ok(sealed.chunks.get(i).map(|chunk| chunk.bytes().to_vec()));
            for workers in [1, 4] {
                let (result, content) = opened(&sealed, workers, next, length);
                assert_eq!(result, Ok(()), "{length} bytes, {workers} workers");
                assert!(content == sealed.content);
            }
        }
    }

    #[test]
    fn a_chunk_that_does_not_hold_ends_it_and_only_a_true_beginning_was_handed_on() {
        let length = 9 * BODY + 77;
        let sealed = sealed(length);
        for workers in [1, 4] {
            for at in [0, BODY, BODY + TAG - 1] {
                let next = |i: usize| {
                    let mut bytes = sealed.chunks.get(i).map(|chunk| chunk.bytes().to_vec());
                    if let Some(bytes) = bytes.as_mut().filter(|_| i == 5) {
                        bytes[at] ^= 1;
                    }
                    Ok(bytes)
                };
                let (result, content) = opened(&sealed, workers, next, length);
                assert_eq!(result, Err(Error::Tampered));
                assert!(content.len() <= 5 * BODY && sealed.content.starts_with(&content));
            }
            let (result, content) = opened(&sealed, workers, |_| Err(Error::NoKey), length);
            assert_eq!((result, content.len()), (Err(Error::NoKey), 0));
        }
    }

    #[test]
    fn a_chunk_that_is_missing_or_in_the_place_of_another_is_noticed() {
        let length = 3 * BODY;
        let sealed = sealed(length);
        let chunk = |i: usize| sealed.chunks.get(i).map(|chunk| chunk.bytes().to_vec());
        let (result, _) = opened(&sealed, 2, |i| Ok(chunk(i).filter(|_| i < 2)), length);
        assert_eq!(result, Err(Error::Missing));
        let (result, _) = opened(&sealed, 2, |i| Ok(chunk(if i == 1 { 0 } else { i })), length);
        assert_eq!(result, Err(Error::Tampered));
        for wrong in [0, length - BODY, length + 1, usize::MAX] {
            assert_eq!(opened(&sealed, 2, |i| Ok(chunk(i)), wrong).0, Err(Error::Tampered));
        }
    }

    #[test]
    fn a_sink_that_refuses_ends_it() {
        let length = 6 * BODY;
        let sealed = sealed(length);
        let at = AtomicUsize::new(0);
        let fetch = |buffer: &mut [u8]| {
            let index = at.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = sealed.chunks.get(index) else { return Ok(None) };
            buffer[..chunk.bytes().len()].copy_from_slice(chunk.bytes());
            Ok(Some((index, 0..chunk.bytes().len())))
        };
        let workers = NonZeroUsize::new(3).expect("not zero");
        let mut taken = 0;
        let mut sink = |_: &[u8]| {
            taken += 1;
            if taken < 3 { Ok(()) } else { Err(Error::NoKey) }
        };
        let result = open(&sealed.keys, length as u64, workers, &fetch, &mut sink);
        assert_eq!((result, taken), (Err(Error::NoKey), 3));
    }
}
