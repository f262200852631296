//! Memory that the server and one of its connections share: sealed chunks go through it instead of
//! through the socket.
//!
//! The server makes it and sends its descriptor once. It cannot grow or shrink, and each side reads and
//! writes it by calls, never by a mapping: whatever the other side does, a call gives bytes, and bytes
//! are checked where they arrive. Only ciphertext is ever written there. Over a socket that is
//! forwarded from another machine no descriptor comes; then the bytes go through the socket after all.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::vault::TAG;
use crate::vault::chunk::BODY;

/// Chunks of one request.
pub const AT_ONCE: usize = 16;
/// Places for chunks: one request's are fetched while another's are sealed anew, and a third's are
/// taken.
pub const SLOTS: usize = 3 * AT_ONCE;
/// Bytes of a place.
const SLOT: usize = (BODY + TAG).next_multiple_of(4096);

/// The shared memory.
pub struct Window(File);

impl Window {
    /// Fresh memory.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let make = |flags| rustix::fs::memfd_create("kluis-exchange", flags);
        // Where the machine wants it said that nothing in there is run; older kernels do not know it.
        let made = make(flags | MemfdFlags::NOEXEC_SEAL).or_else(|_| make(flags));
        let file = File::from(made?);
        file.set_len((SLOTS * SLOT) as u64)?;
        let seals = SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(Self(file))
    }

    /// Reads what lies in a place.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such place; what the system says.
    pub fn read(&self, slot: usize, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset(slot, bytes.len())?)
    }

    /// Writes into a place.
    ///
    /// # Errors
    /// As [`Window::read`].
    pub fn write(&self, slot: usize, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset(slot, bytes.len())?)
    }

    /// Sends the descriptor, with one byte that carries it.
    pub(in crate::casebook) fn send(&self, stream: impl AsFd) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [self.0.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let flags = SendFlags::NOSIGNAL;
        rustix::net::sendmsg(stream, &[IoSlice::new(&[0])], &mut ancillary, flags)?;
        Ok(())
    }

    /// Takes the descriptor, if one came with the byte.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side ended the connection; `InvalidData` if what came is no
    /// window.
    pub fn receive(stream: &UnixStream) -> io::Result<Option<Self>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let into = &mut [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        if rustix::net::recvmsg(stream, into, &mut ancillary, flags)?.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let descriptors = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let Some(descriptor): Option<OwnedFd> = descriptors.flatten().next() else {
            return Ok(None);
        };
        let file = File::from(descriptor);
        let about = file.metadata()?;
        if about.is_file() && about.len() == (SLOTS * SLOT) as u64 {
            Ok(Some(Self(file)))
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

fn offset(slot: usize, length: usize) -> io::Result<u64> {
    if slot < SLOTS && length <= SLOT {
        Ok((slot * SLOT) as u64)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads_in_its_place_only() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let window = Window::new().expect("memory");
        window.send(&there).expect("is sent");
        let other = Window::receive(&here).expect("a byte").expect("a descriptor");
        let last = [7; BODY + TAG];
        window.write(SLOTS - 1, &last).expect("fits");
        window.write(0, b"first").expect("fits");
        let mut bytes = [0; BODY + TAG];
        other.read(SLOTS - 1, &mut bytes).expect("is there");
        assert!(bytes == last);
        other.read(0, &mut bytes[..5]).expect("is there");
        assert_eq!(&bytes[..5], b"first");
        for (slot, length) in [(SLOTS, 1), (usize::MAX, 1), (0, SLOT + 1)] {
            assert!(other.write(slot, &vec![0; length]).is_err(), "{slot} {length}");
        }
    }

    #[test]
    fn a_window_keeps_its_size_whatever_the_other_side_tries() {
        let window = Window::new().expect("memory");
        for size in [0, 1, (SLOTS * SLOT + 1) as u64] {
            assert!(window.0.set_len(size).is_err());
        }
        assert!(window.0.write_all_at(b"x", (SLOTS * SLOT) as u64).is_err());
        assert!(rustix::fs::fcntl_add_seals(&window.0, SealFlags::WRITE).is_err());
    }

    #[test]
    fn a_byte_without_a_descriptor_is_no_window_and_another_file_is_refused() {
        let (here, there) = UnixStream::pair().expect("a pair");
        std::io::Write::write_all(&mut &there, &[0]).expect("written");
        assert!(Window::receive(&here).expect("a byte").is_none());
        let other = Window(tempfile::tempfile().expect("a file"));
        other.send(&there).expect("is sent");
        assert!(Window::receive(&here).is_err());
        drop(there);
        let ended = Window::receive(&here).err().map(|error| error.kind());
        assert_eq!(ended, Some(io::ErrorKind::UnexpectedEof));
    }
}
