//! What the agent and its clients say: a length of four bytes, big-endian, and a CBOR item.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use minicbor::{CborLen, Decode, Encode};
use zeroize::Zeroizing;

use super::LONGEST_FILE;
use crate::keys::UnlockError;

/// The longest frame, in bytes: a file and what says that it is one.
const LONGEST_FRAME: usize = LONGEST_FILE + 1024;

/// What a client asks.
#[derive(Encode, Decode, CborLen)]
pub(super) enum Request<'b> {
    /// Unwrap an age file.
    #[n(0)]
    Unwrap(#[cbor(b(0), with = "minicbor::bytes")] &'b [u8]),
    /// Say whose key it is, and for how long.
    #[n(1)]
    Status,
    /// End.
    #[n(2)]
    Lock,
}

/// What the agent answers.
#[derive(Encode, Decode, CborLen)]
pub(super) enum Report<'b> {
    /// The message.
    #[n(0)]
    Unwrapped(#[cbor(b(0), with = "minicbor::bytes")] &'b [u8]),
    /// The member, and the whole seconds left.
    #[n(1)]
    Status(#[b(0)] &'b str, #[n(1)] u64),
    /// It ends, and the socket is gone.
    #[n(2)]
    Locked,
    /// The file did not open, or is nothing that the agent opens.
    #[n(3)]
    NotForThisKey,
    /// The request was none.
    #[n(4)]
    Malformed,
}

/// What a new agent is told, over its standard input.
#[derive(Encode, Decode, CborLen)]
pub(super) struct Start<'b> {
    #[cbor(b(0), with = "minicbor::bytes")]
    pub(super) socket: &'b [u8],
    #[cbor(b(1), with = "minicbor::bytes")]
    pub(super) key: &'b [u8],
    #[b(2)]
    pub(super) member: &'b str,
    #[n(3)]
    pub(super) seconds: u64,
    #[b(4)]
    pub(super) passphrase: &'b str,
}

/// What it says then, over its standard output, once.
#[derive(Encode, Decode, CborLen)]
pub(super) enum Started {
    /// The socket listens.
    #[n(0)]
    Ready,
    /// The key did not unlock.
    #[n(1)]
    Refused(#[n(0)] UnlockError),
    /// Another agent runs.
    #[n(2)]
    Occupied,
    /// The socket's folder is not this user's alone.
    #[n(3)]
    Open,
    /// The socket could not be made; the number is the system's.
    #[n(4)]
    NoSocket(#[n(0)] Option<i32>),
}

/// Writes one frame.
pub(super) fn write<T: Encode<()> + CborLen<()>>(to: &mut impl Write, item: &T) -> io::Result<()> {
    let length = minicbor::len(item);
    // Reserved at once: it may hold a secret, and a vector that grows leaves copies behind.
    let mut frame = Zeroizing::new(Vec::with_capacity(4 + length));
    frame.extend_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes());
    minicbor::encode(item, &mut *frame).map_err(io::Error::other)?;
    to.write_all(&frame)?;
    to.flush()
}

/// Reads one frame.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if it is longer than a frame may be.
pub(super) fn read(from: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut frame)?;
    Ok(frame)
}

/// Whether the other end runs as the same user.
pub(super) fn is_own_user(stream: &UnixStream) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(peer.uid == rustix::process::geteuid())
}

/// A stream that must be done by a point in time, however slowly the other end drips.
pub(super) struct Timed<'a> {
    stream: &'a UnixStream,
    until: Instant,
}

impl<'a> Timed<'a> {
    pub(super) fn new(stream: &'a UnixStream, until: Instant) -> Self {
        Self { stream, until }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
