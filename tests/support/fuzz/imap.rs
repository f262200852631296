//! Whatever an IMAP server sends, what comes out of the sieve is read whole by the client library, in
//! whichever pieces it came; nothing is lost between two responses, none is longer than it may be,
//! and what goes on is hardly longer than what came.

use kluis::inbox::imap::sieve::{Cutter, Heard, TooLong, is_read};

/// Bytes that literals may have here.
const MOST: usize = 4096;
/// Bytes by which a response may be longer when it is written anew.
const MORE: usize = 64;

fn sifted(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, Heard, bool) {
    let (mut cutter, mut heard, mut out) = (Cutter::default(), Heard::default(), Vec::new());
    let mut rest = bytes;
    for piece in bytes.chunks(step) {
        cutter.push(piece);
        loop {
            match cutter.next(MOST) {
                Ok(Some(response)) => {
                    rest = rest.strip_prefix(&response[..]).expect("the next bytes that came");
                    let written = heard.sift(&response);
                    if let Some(written) = &written {
                        assert!(written.len() <= 2 * response.len() + MORE);
                    }
                    out.extend(written);
                }
                Ok(None) => break,
                Err(TooLong) => return (out, heard, true),
            }
        }
    }
    assert!(cutter.is_empty() == rest.is_empty());
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
