//! Cuts a raw message into skeleton and contents, and puts it together again.
//!
//! The skeleton is the raw message with every leaf body cut out, so that keeping it keeps no
//! forgotten ID copy alive (design §5). `rebuild(cut(raw)) == raw`, always: ingest compares before
//! it seals. Here decoding is done by plain code on ranges that `letter::mime` only proposes: a
//! range or recipe that does not give the identical bytes is not used.

use minicbor::{Decode, Encode};

use super::{Letter, MAX_ITEMS, Storage, answer, transfer, unpack};

/// A raw message without its leaf bodies (vault-format §7).
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Skeleton {
    /// The raw bytes that belong to no item, joined.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
    /// Where in `bytes` each item's body goes, ascending, and how it is made from the content.
    #[n(1)]
    pub holes: Vec<Hole>,
}

/// The place of one item in a skeleton.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hole {
    /// Offset into the skeleton's bytes.
    #[n(0)]
    pub at: u64,
    /// How the stored content becomes the raw body.
    #[n(1)]
    pub storage: Storage,
}

/// What stands in a rebuilt message where an item was forgotten.
pub const FORGOTTEN: &[u8] = b"[kluis: forgotten]";

/// Cuts every item's body out of `raw`: the skeleton, and the contents to store, in item order.
///
/// Nothing that `letter` says is trusted, since a sandboxed child made it. `None` if its ranges
/// are out of bounds, overlap or go backwards, or if there are more than [`MAX_ITEMS`]: then seal
/// [`Letter::unparsed`]. A recipe that does not give the identical bytes is not used; what the
/// hole says is how the content is stored. Contents and skeleton together are no longer than `raw`.
#[must_use]
pub fn cut(raw: &[u8], letter: &Letter) -> Option<(Skeleton, Vec<Vec<u8>>)> {
    if letter.items.len() > MAX_ITEMS {
        return None;
    }
    let mut skeleton =
        Skeleton { bytes: Vec::new(), holes: Vec::with_capacity(letter.items.len()) };
    let mut contents = Vec::with_capacity(letter.items.len());
    let mut from = 0;
    for item in &letter.items {
        skeleton.bytes.extend_from_slice(raw.get(from..item.start)?);
        let body = raw.get(item.start..item.end)?;
        let (storage, content) = match transfer::apart(&item.storage, body) {
            Some(content) => (item.storage.clone(), content),
            None => (Storage::AsItCame, body.to_vec()),
        };
        skeleton.holes.push(Hole { at: skeleton.bytes.len() as u64, storage });
        contents.push(content);
        from = item.end;
    }
    skeleton.bytes.extend_from_slice(raw.get(from..)?);
    Some((skeleton, contents))
}

/// Cuts as the parser proposed if that gives `raw` again bit for bit, else keeps it whole, as one
/// item, with a finding; so also if it proposed more than the parser's limits. Nothing is sealed that was not compared here first, but for what was taken
/// out of items: that is the child's word, within limits, and its container is kept beside it.
#[must_use]
pub fn cut_or_whole(parsed: Option<Letter>, raw: &[u8]) -> (Letter, Skeleton, Vec<Vec<u8>>) {
    if let Some(mut letter) = parsed
        && answer::is_within_limits(&letter)
        && unpack::is_plausible(letter.items.len(), &letter.contained)
        && let Some((skeleton, contents)) = cut(raw, &letter)
        && skeleton.gives(&contents, raw)
    {
        // What was stored is what counts, not what was proposed.
        for (item, hole) in letter.items.iter_mut().zip(&skeleton.holes) {
            item.storage = hole.storage.clone();
        }
        return (letter, skeleton, contents);
    }
    let letter = Letter::unparsed(raw);
    let (skeleton, contents) = cut(raw, &letter).expect("the whole message is one valid range");
    (letter, skeleton, contents)
}

impl Skeleton {
    /// The raw message, bit for bit. `contents` are in item order; one that is `None`, or not
    /// there, was forgotten and leaves [`FORGOTTEN`] in its place.
    #[must_use]
    pub fn rebuild(&self, contents: &[Option<&[u8]>]) -> Vec<u8> {
        let mut raw = Vec::with_capacity(self.bytes.len());
        self.each_piece(contents, &mut |piece| {
            raw.extend_from_slice(piece);
            true
        });
        raw
    }

    /// Whether the skeleton and these contents give `raw`, bit for bit.
    fn gives(&self, contents: &[Vec<u8>], raw: &[u8]) -> bool {
        let contents: Vec<_> = contents.iter().map(|content| Some(content.as_slice())).collect();
        let mut rest = raw;
        let same = self.each_piece(&contents, &mut |piece| match rest.strip_prefix(piece) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        });
        same && rest.is_empty()
    }

    /// Gives `sink` the raw message piece by piece, as long as it wants more; says whether it did.
    fn each_piece(&self, contents: &[Option<&[u8]>], sink: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut from = 0;
        for (nr, hole) in self.holes.iter().enumerate() {
            let at = usize::try_from(hole.at).unwrap_or(usize::MAX).clamp(from, self.bytes.len());
            let goes_on = sink(&self.bytes[from..at])
                && match contents.get(nr).copied().flatten() {
                    Some(content) => transfer::each_piece(&hole.storage, content, sink),
                    None => sink(FORGOTTEN),
                };
            if !goes_on {
                return false;
            }
            from = at;
        }
        sink(&self.bytes[from..])
    }

    /// The skeleton as CBOR (vault-format §7).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes every byte")
    }

    /// Reads a skeleton back. `None` if the bytes are not exactly one, if its holes are more than
    /// [`MAX_ITEMS`], out of order or out of bounds.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let skeleton: Self = decoder.decode().ok()?;
        let ordered = skeleton.holes.is_sorted_by_key(|hole| hole.at)
            && skeleton.holes.last().is_none_or(|hole| hole.at <= skeleton.bytes.len() as u64);
        (decoder.position() == bytes.len() && skeleton.holes.len() <= MAX_ITEMS && ordered)
            .then_some(skeleton)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\n\r\nBeste\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        iVBORw0KGgo=\r\n\r\n--b--\r\n";

    fn parts() -> (Letter, Skeleton, Vec<Vec<u8>>) {
        let letter = Letter::parse(RAW);
        let (skeleton, contents) = cut(RAW, &letter).expect("an honest letter can be cut");
        (letter, skeleton, contents)
    }

    fn all(contents: &[Vec<u8>]) -> Vec<Option<&[u8]>> {
        contents.iter().map(|content| Some(content.as_slice())).collect()
    }

    #[test]
    fn a_letter_comes_back_bit_for_bit_and_is_stored_decoded() {
        let (_, skeleton, contents) = parts();
        assert_eq!(contents, [b"Beste".to_vec(), b"\x89PNG\r\n\x1a\n".to_vec()]);
        assert_eq!(skeleton.rebuild(&all(&contents)), RAW);
        let again = Skeleton::decode(&skeleton.encode()).expect("a skeleton reads back");
        assert!(again == skeleton);
        assert!(!skeleton.bytes.windows(5).any(|window| window == b"Beste"));
    }

    #[test]
    fn a_forgotten_item_leaves_a_marked_hole_and_nothing_else_changes() {
        let (_, skeleton, contents) = parts();
        let text = String::from_utf8_lossy(RAW);
        let hole = text.replace("iVBORw0KGgo=\r\n", "[kluis: forgotten]");
        assert_eq!(skeleton.rebuild(&[Some(&contents[0]), None]), hole.as_bytes());
        assert_eq!(skeleton.rebuild(&[Some(&contents[0])]), hole.as_bytes());
    }

    #[test]
    fn a_lying_letter_is_refused() {
        for (start, end) in
            [(0, RAW.len() + 1), (usize::MAX, usize::MAX), (9, 8), (0, RAW.len() - 1)]
        {
            let (mut letter, ..) = parts();
            (letter.items[0].start, letter.items[0].end) = (start, end);
            assert!(cut(RAW, &letter).is_none(), "{start}..{end}");
        }
        let (mut letter, ..) = parts();
        letter.items.swap(0, 1);
        assert!(cut(RAW, &letter).is_none());
        let (mut letter, ..) = parts();
        (letter.items[0].start, letter.items[0].end) = (0, 0);
        letter.items = vec![letter.items[0].clone(); MAX_ITEMS + 1];
        assert!(cut(RAW, &letter).is_none());
    }

    #[test]
    fn a_recipe_that_does_not_reproduce_is_not_used() {
        for (width, bare, closed) in [
            (0, false, false),
            (4, false, true),
            (12, true, true),
            (12, false, false),
            (u32::MAX, false, true),
        ] {
            let (mut letter, ..) = parts();
            letter.items[0].storage = Storage::Base64 { width, bare, closed };
            letter.items[1].storage = Storage::Base64 { width, bare, closed };
            let (skeleton, contents) = cut(RAW, &letter).expect("the ranges are honest");
            assert!(skeleton.holes.iter().all(|hole| hole.storage == Storage::AsItCame));
            assert_eq!(skeleton.rebuild(&all(&contents)), RAW);
        }
    }

    #[test]
    fn what_is_no_skeleton_is_refused_and_a_made_up_one_harmless() {
        let (_, skeleton, _) = parts();
        let good = skeleton.encode();
        for length in 0..good.len() {
            assert!(Skeleton::decode(&good[..length]).is_none());
        }
        assert!(Skeleton::decode(&[&good[..], b"\0"].concat()).is_none());
        let hole =
            |at| Hole { at, storage: Storage::Base64 { width: 3, bare: true, closed: true } };
        let bad =
            Skeleton { bytes: b"abc".to_vec(), holes: vec![hole(2), hole(1), hole(u64::MAX)] };
        assert!(Skeleton::decode(&bad.encode()).is_none());
        assert_eq!(bad.rebuild(&[Some(b"1"), Some(b"2"), Some(b"3")]), b"ab12c3");
    }
}
