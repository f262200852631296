//! Names of folders, as they stand in a command.

use base64::Engine as _;
use base64::alphabet::Alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// A name in quotes. What is ASCII stands as it is, so a name that a server shows and that decodes to
/// nothing can be used all the same; anything else is written in modified UTF-7 (RFC 3501 §5.1.3).
pub(super) fn quoted(name: &str) -> String {
    let name = if name.is_ascii() { name.to_owned() } else { modified_utf7(name) };
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

fn modified_utf7(name: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    let alphabet = Alphabet::new(alphabet).expect("64 characters");
    let engine = GeneralPurpose::new(&alphabet, NO_PAD);
    let (mut written, mut shifted) = (String::new(), Vec::new());
    let flush = |written: &mut String, shifted: &mut Vec<u8>| {
        if !shifted.is_empty() {
            written.push_str(&format!("&{}-", engine.encode(&shifted)));
            shifted.clear();
        }
    };
    for character in name.chars() {
        match character {
            '&' => {
                flush(&mut written, &mut shifted);
                written.push_str("&-");
            }
            ' '..='~' => {
                flush(&mut written, &mut shifted);
                written.push(character);
            }
            other => {
                let mut units = [0; 2];
                let units = other.encode_utf16(&mut units);
                shifted.extend(units.iter().flat_map(|unit| unit.to_be_bytes()));
            }
        }
    }
    flush(&mut written, &mut shifted);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_encoded() {
        for (name, written) in [
            ("INBOX", "\"INBOX\""),
            ("a \"b\" \\c", "\"a \\\"b\\\" \\\\c\""),
            // No modified UTF-7 at all, and kept as it is.
            ("R&D", "\"R&D\""),
            ("Envoyés & reçus", "\"Envoy&AOk-s &- re&AOc-us\""),
            // The example of the standard.
            ("~peter/mail/台北/日本語", "\"~peter/mail/&U,BTFw-/&ZeVnLIqe-\""),
        ] {
            assert_eq!(quoted(name), written);
        }
    }
}
