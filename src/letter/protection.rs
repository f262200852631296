//! Whether a letter is encrypted or signed, decided by content and not by names.
//!
//! Mail programs and gateways on the way mangle PGP/MIME (RFC 3156): the multipart becomes mixed,
//! gets a footer beside it, parts are renamed, or text. The ciphertext is found all the same, and
//! the mangling is told.

use super::leaf::Packing;
use super::params::Value;
use super::{Item, Protection, Role};

/// The multipart that a part belongs to.
#[derive(Clone, Copy, Default)]
pub(super) struct Group {
    pub kind: Kind,
    /// The multipart is the message itself.
    pub outermost: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Encrypted,
    AppleDouble,
    #[default]
    Other,
}

/// What is remembered of a leaf until the whole letter has been seen.
pub(super) struct Trace {
    pub group: Group,
    pub cipher: Cipher,
    pub packing: Packing,
}

/// What the first bytes of a content are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    Nothing,
    /// An encrypted OpenPGP message, armored or not.
    OpenPgp,
    /// The version part of PGP/MIME (RFC 3156 §4).
    Version,
    /// CMS enveloped data (RFC 8551 §3.3).
    Enveloped,
    /// CMS signed data.
    Signed,
}

impl Cipher {
    /// Looks at the first bytes of a decoded content and at its declared type.
    pub(super) fn of(look: &[u8], media_type: &str, content: &Value) -> Self {
        let begin = look.strip_prefix(b"\xef\xbb\xbf").unwrap_or(look).trim_ascii_start();
        if begin.starts_with(ARMOR) || starts_with_session_key(look) {
            return Self::OpenPgp;
        }
        if media_type == "application/pgp-encrypted" || begin.trim_ascii_end() == b"Version: 1" {
            return Self::Version;
        }
        let smime = matches!(media_type, "application/pkcs7-mime" | "application/x-pkcs7-mime");
        if smime || look.starts_with(b"\x30") {
            let head = &look[..look.len().min(CMS_HEAD)];
            let holds = |oid: &[u8]| head.windows(oid.len()).any(|window| window == oid);
            if holds(ENVELOPED) || holds(AUTH_ENVELOPED) {
                return Self::Enveloped;
            }
            if holds(SIGNED) {
                return Self::Signed;
            }
        }
        match content.token("smime-type").as_deref() {
            Some("enveloped-data" | "authenveloped-data" | "authEnveloped-data") if smime => {
                Self::Enveloped
            }
            Some("signed-data") if smime => Self::Signed,
            _ => Self::Nothing,
        }
    }
}

const ARMOR: &[u8] = b"-----BEGIN PGP MESSAGE-----";
/// The content type stands within this many bytes of a CMS content info.
const CMS_HEAD: usize = 32;
/// 1.2.840.113549.1.7.3, .7.2 and .9.16.1.23, as DER object identifiers.
const ENVELOPED: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
const SIGNED: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const AUTH_ENVELOPED: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17";

/// Whether an OpenPGP packet that carries a session key comes first (RFC 9580 §5.1 and §5.3): the
/// tag, a plausible length, a known version.
fn starts_with_session_key(content: &[u8]) -> bool {
    let Some((&first, rest)) = content.split_first() else { return false };
    let (tag, length) = match first {
        0xc0..=0xff => match rest.first() {
            Some(0..=191) => (first & 0x3f, 1),
            Some(192..=223) => (first & 0x3f, 2),
            Some(255) => (first & 0x3f, 5),
            _ => return false,
        },
        // The length type of the old format: one, two or four octets.
        0x80..=0xbf if first & 3 < 3 => (first >> 2 & 0xf, 1 << (first & 3)),
        _ => return false,
    };
    matches!((tag, rest.get(length)), (1, Some(2 | 3 | 6)) | (3, Some(4..=6)))
}

/// How the letter is protected, and whether a mail program mangled the encryption.
pub(super) fn of(items: &[Item], traces: &[Trace], signed: bool) -> (Protection, bool) {
    let letter = Outermost { items, traces };
    if let Some(found) = letter.openpgp() {
        return found;
    }
    let blank = letter.is_blank();
    if let Some((nr, item)) = letter.find(|nr, _| traces[nr].cipher == Cipher::Enveloped)
        && (blank || item.media_type.ends_with("pkcs7-mime"))
    {
        return (Protection::Smime(nr), !item.media_type.ends_with("pkcs7-mime"));
    }
    let opaque = letter.find(|nr, item| {
        traces[nr].cipher == Cipher::Signed && item.media_type.ends_with("pkcs7-mime")
    });
    let protection = if signed || opaque.is_some() { Protection::Signed } else { Protection::None };
    (protection, letter.find(|nr, _| traces[nr].group.kind == Kind::Encrypted).is_some())
}

/// The items of the outermost message: what an enclosed one carries does not protect the letter.
struct Outermost<'a> {
    items: &'a [Item],
    traces: &'a [Trace],
}

impl<'a> Outermost<'a> {
    fn find(&self, wanted: impl Fn(usize, &Item) -> bool) -> Option<(u32, &'a Item)> {
        let found =
            self.items.iter().enumerate().find(|(nr, item)| item.depth == 0 && wanted(*nr, item));
        found.and_then(|(nr, item)| Some((u32::try_from(nr).ok()?, item)))
    }

    fn is_ciphertext(&self, nr: usize) -> bool {
        self.traces[nr].cipher == Cipher::OpenPgp
    }

    /// Whether nobody wrote anything that can be read.
    fn is_blank(&self) -> bool {
        self.find(|_, item| {
            item.role == Role::Body
                && item.text.as_ref().is_some_and(|text| !text.expose().trim().is_empty())
        })
        .is_none()
    }

    fn openpgp(&self) -> Option<(Protection, bool)> {
        let found = |nr: u32, mangled| Some((Protection::OpenPgp(nr), mangled));
        let group = |nr: usize| self.traces[nr].group;
        // As RFC 3156 §4 wants it: the message is multipart/encrypted, version part, ciphertext.
        if let Some((nr, _)) =
            self.find(|nr, _| self.is_ciphertext(nr) && group(nr).kind == Kind::Encrypted)
        {
            let before = nr as usize;
            let in_place =
                group(before).outermost && before == 1 && self.traces[0].cipher == Cipher::Version;
            return found(nr, !in_place);
        }
        // Inline: text that begins with armor; of an alternative's two, the plain one.
        if let Some((nr, _)) = self.find(|nr, item| {
            item.role == Role::Body && item.media_type == "text/plain" && self.is_ciphertext(nr)
        }) {
            return found(nr, false);
        }
        // Ciphertext beside a version part, or beside no text at all.
        let expected = self.is_blank()
            || self.find(|nr, _| self.traces[nr].cipher == Cipher::Version).is_some();
        if let Some((nr, _)) = self.find(|nr, _| expected && self.is_ciphertext(nr)) {
            return found(nr, true);
        }
        // A multipart/encrypted whose type was rewritten: its source stands there as text.
        let (nr, _) = self.find(|_, item| {
            item.text.as_ref().is_some_and(|text| {
                let text = text.expose();
                text.contains("application/pgp-encrypted")
                    && text.contains("\n-----BEGIN PGP MESSAGE-----")
            })
        })?;
        found(nr, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(look: &[u8]) -> Cipher {
        Cipher::of(look, "application/octet-stream", &Value::default())
    }

    #[test]
    fn content_decides_what_is_ciphertext() {
        assert!(cipher(b"\r\n-----BEGIN PGP MESSAGE-----\r\n") == Cipher::OpenPgp);
        assert!(cipher(b"-----BEGIN PGP PUBLIC KEY BLOCK-----") == Cipher::Nothing);
        assert!(cipher(b"-----BEGIN PGP SIGNATURE-----") == Cipher::Nothing);
        assert!(cipher(b"Version: 1\r\n") == Cipher::Version);
        assert!(cipher(b"\x85\x01\x0c\x03\xaa\xbb") == Cipher::OpenPgp);
        assert!(cipher(b"\x84\x5e\x03\xaa") == Cipher::OpenPgp);
        assert!(cipher(b"\xc1\x5e\x03\xaa") == Cipher::OpenPgp);
        assert!(cipher(b"\xc1\xc0\x4c\x06") == Cipher::OpenPgp);
        assert!(cipher(b"\xc3\x0d\x04\x09") == Cipher::OpenPgp);
        assert!(cipher(b"\x99\x01\x0d\x04") == Cipher::Nothing, "a public key");
        assert!(cipher(b"\x85\x01") == Cipher::Nothing);
        assert!(
            cipher(b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0")
                == Cipher::Enveloped
        );
        assert!(
            cipher(b"\x30\x82\x05\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")
                == Cipher::Signed
        );
        assert!(cipher(b"") == Cipher::Nothing);
    }
}
