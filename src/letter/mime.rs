//! Splits a raw message into leaf bodies.

use super::Letter;

/// Splits and reads a raw message.
pub(super) fn parse(raw: &[u8]) -> Letter {
    Letter::unparsed(raw)
}
