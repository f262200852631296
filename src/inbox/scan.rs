//! Asks clamd whether something is malware (clamd(8), INSTREAM). What cannot be asked in time was not
//! scanned, and is said to be so: a letter is never refused for it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clamav_client::tokio::{Socket, Tcp, ping, scan_buffer};
use tokio::sync::Semaphore;

use crate::config::Endpoint;
use crate::letter::Scan;

/// Where clamd of this machine listens on Debian, if nothing is said.
pub const USUAL_PLACE: &str = "/run/clamav/clamd.ctl";
/// Conversations with clamd at a time: each holds one of its threads.
const AT_ONCE: usize = 8;
/// Bytes of one piece on the way.
const PIECE: usize = 64 * 1024;

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
                Endpoint::Unix(path) => scan_buffer(bytes, at(path), Some(PIECE)).await,
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

/// Reads an answer: `stream: OK`, `stream: NAME FOUND`, or anything else, an error.
fn read(answer: &[u8]) -> Scan {
    let answer = answer.strip_suffix(b"\0").unwrap_or(answer).trim_ascii();
    if answer == b"stream: OK" {
        Scan::Clean
    } else if answer.ends_with(b" FOUND") {
        Scan::Infected
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
