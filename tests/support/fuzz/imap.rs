//! Whatever an IMAP server sends, what comes out of the sieve is read whole by the client library, in
//! whichever pieces it came, and no response is longer than it may be.

use kluis::inbox::imap::sieve::{Cutter, Heard, TooLong, is_read};

/// Bytes that literals may have here.
const MOST: usize = 4096;

fn sifted(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, Heard, bool) {
    let (mut cutter, mut heard, mut out) = (Cutter::default(), Heard::default(), Vec::new());
    for piece in bytes.chunks(step) {
        cutter.push(piece);
        loop {
            match cutter.next(MOST) {
                Ok(Some(response)) => out.extend(heard.sift(&response)),
                Ok(None) => break,
                Err(TooLong) => return (out, heard, true),
            }
        }
    }
    (out, heard, false)
}

/// What the fuzzer and the ordinary test do with one input.
pub(crate) fn imap(bytes: &[u8]) {
    let whole = sifted(bytes, usize::MAX);
    for response in &whole.0 {
        assert!(is_read(response), "{:?}", String::from_utf8_lossy(response));
    }
    for step in [1, 7] {
        assert!(sifted(bytes, step) == whole, "in pieces of {step} it says something else");
    }
}
