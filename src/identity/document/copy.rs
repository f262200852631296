//! A sight as it rests beside its picture, and whether what it shows is a copy of a document.

use super::Sight;
use super::judge::LIKELY_SCORE;
use crate::identity::evidence::{Known, Verdict};
use crate::identity::picture::decode::DecodeError;
use crate::letter::{Item, MAX_SIGHT};

/// A day; whether a document is one does not depend on it.
const ANY_DAY: jiff::civil::Date = jiff::civil::date(2026, 1, 1);

/// Lines of a page on which a card may lie whose front alone is there. A page with more of them that has
/// the words of a card is a form, or a letter, and is not forgotten for it.
const MOST_LINES: u32 = 40;

impl Sight {
    /// What was seen in an item; nothing if nobody looked, or a later version did.
    #[must_use]
    pub fn of(item: &Item) -> Option<Self> {
        Self::from_bytes(item.sight.as_ref()?.expose())
    }

    /// From what a child answered, or what an item keeps; nothing if it is no sight.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MAX_SIGHT).then(|| minicbor::decode(bytes).ok()).flatten()
    }

    /// As an item keeps it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("memory takes what is written to it")
    }

    /// Nothing was seen, and why.
    #[must_use]
    pub const fn refused(why: DecodeError) -> Self {
        Self { pages: Vec::new(), refused: Some(why) }
    }

    /// What it comes to by itself, on no day and with nothing known besides.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        super::conclude(self, Known { today: ANY_DAY, names: &[] }).evidence.verdict
    }

    /// Whether it shows what looks like an identity document, readable or not: what is to be forgotten
    /// once nobody needs it. A word like "identity card" alone makes none, nor does a page full of text:
    /// letters and forms have those words.
    #[must_use]
    pub fn shows_document(&self) -> bool {
        let has_zone = self.pages.iter().any(|page| page.zone.is_some());
        if !has_zone && self.pages.iter().all(|page| page.lines > MOST_LINES) {
            return false;
        }
        match self.verdict() {
            Verdict::NotADocument | Verdict::NotRead => false,
            Verdict::Unreadable => self
                .pages
                .iter()
                .any(|page| page.zone.as_ref().is_some_and(|zone| zone.score > LIKELY_SCORE)),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Front, Page, Zone};
    use super::*;

    fn page(lines: &[&str], front: Front) -> Sight {
        let zone = Zone {
            lines: lines.iter().map(ToString::to_string).collect(),
            mended: Vec::new(),
            is_clear: true,
            fits: true,
            score: -0.1,
            place: [(0.0, 0.0); 4],
            names_agree: true,
        };
        let zone = Some(zone).filter(|_| !lines.is_empty());
        Sight { pages: vec![Page { zone, front, ..Page::default() }], refused: None }
    }

    const CARD: [&str; 3] = [
        "IDBEL592345678<9815<<<<<<<<<<<",
        "7801022M2807144BEL780102301237",
        "DUPONT<<JEAN<PIERRE<L<<<<<<<<<",
    ];

    #[test]
    fn a_zone_is_a_copy_of_a_document_and_a_letter_about_one_is_none() {
        assert!(page(&CARD, Front::default()).shows_document());
        // Read badly, and yet somebody's.
        assert!(page(&[CARD[0], "7801022M28071", CARD[2]], Front::default()).shows_document());
        let titled = Front { has_title: true, ..Front::default() };
        assert!(!page(&[], titled.clone()).shows_document());
        let front = Front { labels: 4, ..titled };
        assert!(page(&[], front.clone()).shows_document());
        let mut form = page(&[], front.clone());
        form.pages[0].lines = MOST_LINES + 1;
        assert!(!form.shows_document(), "a form is not forgotten");
        let mut zone = page(&CARD, front);
        zone.pages[0].lines = MOST_LINES + 1;
        assert!(zone.shows_document(), "a card on a page with text is");
        assert!(!page(&[], Front::default()).shows_document());
        assert!(!Sight::refused(DecodeError::Crashed).shows_document());
        assert!(!Sight::default().shows_document());
    }

    #[test]
    fn a_sight_comes_back_as_it_was_kept_and_nothing_else_does() {
        let sight = page(&CARD, Front::default());
        let kept = sight.to_bytes();
        let again = Sight::from_bytes(&kept).expect("is a sight");
        assert_eq!(again.to_bytes(), kept);
        for broken in [&kept[..kept.len() - 1], b"", b"\xff", b"\x80", &[0xa0; MAX_SIGHT + 1]] {
            assert!(Sight::from_bytes(broken).is_none(), "{} bytes", broken.len());
        }
        assert!(!format!("{sight:?}").contains("DUPONT"));
    }
}
