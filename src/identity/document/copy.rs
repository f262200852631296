//! A sight as it rests beside its picture, and whether what it shows is a copy of a document.

use super::judge::LIKELY_SCORE;
use super::{Front, Page, Said, Sight, Window, Zone};
use crate::identity::evidence::{Known, Verdict};
use crate::identity::picture::decode::{DecodeError, MOST_PAGES};
use crate::letter::{Item, MAX_SIGHT};

/// A day; whether a document is one does not depend on it.
const ANY_DAY: jiff::civil::Date = jiff::civil::date(2026, 1, 1);

/// Signs of a line of a zone (ICAO 9303-4).
const LONGEST_LINE: usize = 44;
/// Signs of a zone that a reader changes.
const MOST_MENDED: usize = 8;
/// Signs of a value of the front.
const LONGEST_VALUE: usize = 100;
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
        let mut sight: Self =
            (bytes.len() <= MAX_SIGHT).then(|| minicbor::decode(bytes).ok())??;
        sight.pages.iter_mut().for_each(tidy);
        (sight.pages.len() <= MOST_PAGES).then_some(sight)
    }

    /// As an item keeps it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("memory takes what is written to it")
    }

    /// Nothing was seen, and why.
    #[must_use]
    pub const fn refused(why: DecodeError) -> Self {
        Self { pages: Vec::new(), refused: Some(why), is_cut: false, has_more: false }
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
        self.is_document(&self.verdict())
    }

    /// Whether it shows one, or might: a title or half a zone of which no more was read, and no page full
    /// of text. It is not forgotten for that, and does not leave unmasked.
    #[must_use]
    pub fn may_show_document(&self) -> bool {
        let verdict = self.verdict();
        let is_short = self.pages.iter().any(|page| page.lines <= MOST_LINES);
        self.is_document(&verdict) || verdict == Verdict::Unreadable && is_short
    }

    /// The same as [`shows_document`](Self::shows_document), where the verdict is known.
    #[must_use]
    pub fn is_document(&self, verdict: &Verdict) -> bool {
        let has_zone = self.pages.iter().any(|page| page.zone.is_some());
        if !has_zone && self.pages.iter().all(|page| page.lines > MOST_LINES) {
            return false;
        }
        match verdict {
            Verdict::NotADocument | Verdict::NotRead => false,
            Verdict::Unreadable => self
                .pages
                .iter()
                .any(|page| page.zone.as_ref().is_some_and(|zone| zone.score > LIKELY_SCORE)),
            _ => true,
        }
    }
}

/// Leaves out what can be neither a zone nor a value. A reader errs, and one that was taken over says
/// anything: all of it is judged, here and wherever the item is opened.
fn tidy(page: &mut Page) {
    let no_zone = page.zone.take_if(|zone| !is_zone(zone));
    // Where the zone is that was no zone, nobody knows.
    page.window = if no_zone.is_some() { Window::default() } else { Window::believed(page) };
    let Front { surname, given, birth, expiry, sex, nationality, number, national, .. } =
        &mut page.front;
    // A number is no name: what stands there may be printed.
    for name in [surname, given, nationality, sex] {
        name.take_if(|said| !is_said(said) || said.value.contains(char::is_numeric));
    }
    for other in [birth, expiry, number, national] {
        other.take_if(|said| !is_said(said));
    }
}

fn is_zone(zone: &Zone) -> bool {
    let is_sign = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'<';
    let is_line = |line: &String| line.len() <= LONGEST_LINE && line.bytes().all(is_sign);
    (2..=3).contains(&zone.lines.len())
        && zone.lines.iter().all(is_line)
        && zone.mended.len() <= MOST_MENDED
        && zone.mended.iter().all(|one| usize::from(one.line) <= zone.lines.len())
        && zone.score.is_finite()
        && are_finite(&zone.place)
}

fn is_said(said: &Said) -> bool {
    said.value.chars().count() <= LONGEST_VALUE
        && !said.value.contains(|c: char| c.is_control() || c == '<')
        && said.sure.is_finite()
        && are_finite(&said.place)
}

fn are_finite(place: &[(f32, f32)]) -> bool {
    place.iter().all(|(x, y)| x.is_finite() && y.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::{Mended, Shown, What};
    use super::*;

    fn page(lines: &[&str], front: Front) -> Sight {
        let zone = Some(Zone::clear(lines)).filter(|_| !lines.is_empty());
        Sight { pages: vec![Page { zone, front, ..Page::default() }], ..Sight::default() }
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
        assert!(page(&[], titled.clone()).may_show_document(), "nor does it leave unmasked");
        assert!(!page(&[], Front::default()).may_show_document());
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
    fn what_can_be_no_zone_and_no_value_is_left_out_and_too_many_pages_are_no_sight() {
        let honest = page(&CARD, Front::default());
        let comes_back = |change: &dyn Fn(&mut Page)| {
            let mut sight = honest.clone();
            change(&mut sight.pages[0]);
            Sight::from_bytes(&sight.to_bytes()).expect("is a sight").pages.remove(0)
        };
        let zone = |change: fn(&mut Zone)| {
            comes_back(&|page| change(page.zone.as_mut().expect("has one"))).zone.is_some()
        };
        let name = |value: &str, sure: f32| {
            let said = Said { value: value.into(), sure, ..Said::default() };
            let back = comes_back(&|page| page.front.surname = Some(said.clone()));
            assert!(back.zone.is_some(), "the rest stays");
            back.front.surname.is_some()
        };
        assert!(zone(|_| ()) && name("Van den Broeck", 0.9));
        assert!(!zone(|zone| zone.lines = vec!["I".repeat(29); 24]));
        assert!(!zone(|zone| zone.lines[0].push('?')));
        assert!(!zone(|zone| zone.lines[0] = "A".repeat(45)));
        assert!(!zone(|zone| zone.score = f32::NAN));
        assert!(!zone(|zone| zone.place[0].0 = f32::INFINITY));
        assert!(!zone(|zone| {
            zone.mended = vec![Mended { line: 9, column: 1, from: '0', to: 'O' }];
        }));
        assert!(!name("85073003328", 0.9) && !name("A\u{1b}[2J", 0.9) && !name("A", f32::NAN));
        assert!(!name(&"A".repeat(101), 0.9));
        let many = Sight { pages: vec![Page::default(); MOST_PAGES + 1], ..Sight::default() };
        assert!(Sight::from_bytes(&many.to_bytes()).is_none());
    }

    #[test]
    fn a_window_that_no_reader_made_is_left_out_with_what_it_shows() {
        let line = |top: f32| {
            let bottom = top + 20.0;
            [(40.0, top), (300.0, top), (300.0, bottom), (40.0, bottom)]
        };
        let mut honest = page(&CARD, Front::default());
        let one = Shown { what: What::Surname, place: line(50.0) };
        honest.pages[0] = Page {
            width: 900,
            height: 600,
            window: Window { shown: vec![one.clone()], hidden: vec![line(90.0)] },
            ..honest.pages[0].clone()
        };
        honest.pages[0].zone.as_mut().expect("has one").place = line(400.0);
        let comes_back = |change: &dyn Fn(&mut Page)| {
            let mut sight = honest.clone();
            change(&mut sight.pages[0]);
            let back = Sight::from_bytes(&sight.to_bytes()).expect("is a sight").pages.remove(0);
            back.window.shown.len()
        };
        let zone = |change: fn(&mut Zone)| {
            comes_back(&|page| change(page.zone.as_mut().expect("has one")))
        };
        assert_eq!(comes_back(&|_| ()), 1);
        assert_eq!(comes_back(&|page| page.window.shown = vec![one.clone(); 9]), 0);
        assert_eq!(comes_back(&|page| page.window.hidden = vec![line(90.0); 61]), 0);
        assert_eq!(comes_back(&|page| page.window.shown[0].place[1].0 = f32::NAN), 0);
        assert_eq!(comes_back(&|page| page.height = 100), 0, "it is as high as a page");
        assert_eq!(
            comes_back(&|page| page.window.shown[0].place = line(410.0)),
            0,
            "it lies in the zone"
        );
        assert_eq!(zone(|zone| zone.lines[0].push('?')), 0, "who knows where the zone is");
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
