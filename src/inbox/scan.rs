//! Asks clamd whether something is malware (clamd(8), FILDES and INSTREAM). What cannot be asked in
//! time was not scanned, and is said to be so: a letter is never refused for it.
//!
//! A clamd on this machine is handed a file that exists in memory only. What is streamed to it
//! instead it would first write, unsealed, into its own directory, and scan a third more slowly.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clamav_client::tokio::{Socket, Tcp, ping, scan_buffer};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::config::Endpoint;
use crate::letter::Scan;

/// Where clamd of this machine listens on Debian, if nothing is said.
pub const USUAL_PLACE: &str = "/run/clamav/clamd.ctl";
/// Conversations with clamd at a time: each holds one of its threads.
const AT_ONCE: usize = 8;
/// Bytes of one piece on the way.
const PIECE: usize = 64 * 1024;
/// Bytes of an answer: no name of a signature is as long.
const LONGEST_ANSWER: u64 = 4096;

/// Asks one clamd.
pub struct Scanner {
    place: Endpoint,
    deadline: Duration,
    places: Semaphore,
}

impl Scanner {
    /// Asks the clamd that listens there; one answer may take as long as `deadline`.
    #[must_use]
    pub fn new(place: Endpoint, deadline: Duration) -> Self {
        Self { place, deadline, places: Semaphore::new(AT_ONCE) }
    }

    /// The clamd of this machine, if it has one where Debian puts it.
    #[must_use]
    pub fn of_this_machine(deadline: Duration) -> Option<Self> {
        let place = PathBuf::from(USUAL_PLACE);
        place.exists().then(|| Self::new(Endpoint::Unix(place), deadline))
    }

    /// What clamd says of these bytes.
    pub async fn scan(&self, bytes: &[u8]) -> Scan {
        let asked = async {
            let _place = self.places.acquire().await.map_err(io::Error::other)?;
            match &self.place {
                Endpoint::Unix(path) => scan_in_memory(bytes, path).await,
                Endpoint::Tcp(address) => {
                    let to = Tcp { host_address: *address };
                    scan_buffer(bytes, to, Some(PIECE)).await
                }
            }
        };
        match tokio::time::timeout(self.deadline, asked).await {
            Ok(Ok(answer)) => read(&answer),
            Ok(Err(_)) | Err(_) => Scan::NotScanned,
        }
    }

    /// Whether clamd answers.
    pub async fn is_there(&self) -> bool {
        let asked = async {
            match &self.place {
                Endpoint::Unix(path) => ping(at(path)).await,
                Endpoint::Tcp(address) => ping(Tcp { host_address: *address }).await,
            }
        };
        let answer = tokio::time::timeout(self.deadline, asked).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer == clamav_client::PONG))
    }
}

fn at(path: &Path) -> Socket<&Path> {
    Socket { socket_path: path }
}

/// Hands clamd a file that is nowhere but in memory (clamd(8), FILDES).
async fn scan_in_memory(bytes: &[u8], path: &Path) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path).await?;
    let mut file = File::from(memfd_create("kluis-scan", MemfdFlags::CLOEXEC)?);
    for piece in bytes.chunks(PIECE) {
        file.write_all(piece)?;
        tokio::task::consume_budget().await;
    }
    stream.write_all(b"zFILDES\0").await?;
    stream.async_io(Interest::WRITABLE, || send_descriptor(&stream, &file)).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Sends one descriptor, with the one byte that it must travel with (unix(7), `SCM_RIGHTS`).
fn send_descriptor(stream: &UnixStream, file: &File) -> io::Result<()> {
    let descriptors = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Reads an answer: `stream: OK` or `fd[9]: OK`, the same with `NAME FOUND`, or anything else, an
/// error.
fn read(answer: &[u8]) -> Scan {
    let answer = answer.strip_suffix(b"\0").unwrap_or(answer).trim_ascii();
    if answer.ends_with(b" FOUND") {
        return Scan::Infected;
    }
    let named = answer.strip_suffix(b": OK");
    let number = named.and_then(|named| named.strip_prefix(b"fd[")?.strip_suffix(b"]"));
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if named == Some(b"stream") || number.is_some_and(is_number) {
        Scan::Clean
    } else {
        Scan::NotScanned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_words_say_that_it_is_clean() {
        for (answer, scan) in [
            (&b"stream: OK\0"[..], Scan::Clean),
            (b"stream: OK", Scan::Clean),
            (b"fd[9]: OK\0", Scan::Clean),
            (b"fd[10]: Win.Test.EICAR_HDB-1 FOUND\0", Scan::Infected),
            (b"fd[10]: Can't access file ERROR\0", Scan::NotScanned),
            (b"fd[]: OK", Scan::NotScanned),
            (b"fd[1]: OK]: OK", Scan::NotScanned),
            (b"No file descriptor received. ERROR\0", Scan::NotScanned),
            (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", Scan::Infected),
            (b"INSTREAM size limit exceeded. ERROR\0", Scan::NotScanned),
            (b"stream: OK FOUND", Scan::Infected),
            (b"stream: Can't allocate memory ERROR\0", Scan::NotScanned),
            (b"UNKNOWN COMMAND\0", Scan::NotScanned),
            (b"OK", Scan::NotScanned),
            (b"", Scan::NotScanned),
            (b"stream: OKstream: OK", Scan::NotScanned),
        ] {
            assert_eq!(read(answer), scan, "{}", String::from_utf8_lossy(answer));
        }
    }
}
