//! One letter that a mail server of this machine hands in, and how the server is asked to take it.
//!
//! A connection that opens with [`Request::HandIn`](super::protocol::Request::HandIn) from the user
//! that this process runs as brings one letter and is told what became of it, once it is durable.
//! What takes it is what takes letters off the wire (`socket::Desk::hand_in`), so all that holds for
//! those holds for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use minicbor::{Decode, Encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::import::wire;
use super::protocol::{MAX_MESSAGE, frame};
use super::socket::Desk;
use crate::letter::{Envelope, Source};
use crate::secret::Personal;

/// A letter that is handed in.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct HandedIn {
    /// The reverse-path, as far as it is known.
    #[n(0)]
    pub mail_from: Personal<String>,
    /// Whom it is for, as far as that is known.
    #[n(1)]
    pub rcpt_to: Vec<Personal<String>>,
    /// Its bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub raw: Vec<u8>,
}

impl HandedIn {
    /// The envelope, which no connection said, and the letter's bytes.
    #[must_use]
    pub fn into_parts(self) -> (Envelope, Vec<u8>) {
        let envelope = Envelope {
            mail_from: self.mail_from,
            rcpt_to: self.rcpt_to,
            helo: Personal::new(String::new()),
            client: None,
            source: Source::Lmtp,
            tls: false,
        };
        (envelope, self.raw)
    }
}

/// What is asked.
#[derive(Clone, Encode, Decode)]
pub enum Ask {
    /// Take this letter.
    #[n(0)]
    Take {
        /// The letter.
        #[n(0)]
        letter: HandedIn,
    },
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Said {
    /// The letter may come.
    #[n(0)]
    Ready,
    /// It is sealed and durable.
    #[n(1)]
    Kept,
    /// It could not be kept now.
    #[n(2)]
    Later,
    /// It will never be taken.
    #[n(3)]
    Never,
    /// Only the user that the server runs as may hand letters in.
    #[n(4)]
    Forbidden,
}

/// Makes room for a letter of so many bytes, which takes [`WHILE_READ`] times that while it is read;
/// none if there is no room now.
pub type HandIn = dyn Fn(usize) -> Option<Box<Take>> + Send + Sync;

/// Takes that letter, and says `Kept`, `Later` or `Never`.
pub type Take = dyn FnOnce(HandedIn) -> Pin<Box<dyn Future<Output = Said> + Send>> + Send;

/// Letters that are read from such connections at a time.
const AT_ONCE: usize = 4;
/// How often a letter is in memory while it is read: as a message, and by itself.
pub const WHILE_READ: usize = 2;
/// Time for a letter's turn, for the letter to come, and to take an answer.
const TURN_TIME: Duration = Duration::from_secs(60);
const READ_TIME: Duration = Duration::from_secs(60);
const WRITE_TIME: Duration = Duration::from_secs(60);

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Serves a connection that hands a letter in.
pub(super) async fn serve(stream: &mut UnixStream, desk: &Arc<Desk>) -> io::Result<()> {
    if !wire::is_same_user(stream) {
        tracing::warn!("another user wants to hand a letter in");
        return write(stream, Said::Forbidden).await;
    }
    let Some(hand_in) = desk.hand_in.get() else {
        return write(stream, Said::Later).await;
    };
    let Ok(Ok(_turn)) = tokio::time::timeout(TURN_TIME, TURNS.acquire()).await else {
        return write(stream, Said::Later).await;
    };
    write(stream, Said::Ready).await?;
    let asked = tokio::time::timeout(READ_TIME, read(stream, hand_in)).await;
    let said = match asked.map_err(|_| io::ErrorKind::TimedOut)?? {
        Some((Ask::Take { letter }, take)) => take(letter).await,
        None => Said::Later,
    };
    tracing::info!(?said, "a letter was handed in");
    write(stream, said).await
}

/// The letter and what takes it; none if there is no room for it.
async fn read(stream: &mut UnixStream, hand_in: &HandIn) -> io::Result<Option<(Ask, Box<Take>)>> {
    let length = stream.read_u32().await? as usize;
    if length > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let Some(take) = hand_in(length) else { return Ok(None) };
    // Room was made for just as many.
    let mut bytes = Vec::with_capacity(length);
    let read = stream.take(length as u64).read_to_end(&mut bytes).await?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let asked = minicbor::decode(&bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some((asked, take)))
}

async fn write(stream: &mut UnixStream, said: Said) -> io::Result<()> {
    let frame = frame(&said)?;
    let written = tokio::time::timeout(WRITE_TIME, stream.write_all(&frame));
    written.await.map_err(|_| io::ErrorKind::TimedOut)?
}
