//! What of a page a mask leaves to be seen: lines that were read as names, as the last day of validity
//! or as who issued the document. Where they are, cut close to their letters, and nothing else.
//!
//! In doubt a line stays black: if its text is more than the value, if a zone is near, if other text
//! takes too much of it, if it is longer than its letters, if something with many strokes (a barcode
//! is read from a strip of a few pixels) is in it.

use minicbor::{Decode, Encode};

use super::band::Band;
use super::front::{self, Front, Said};
use super::tight::tight;
use super::{Seen, Zone};
use crate::identity::mrz;
use crate::identity::picture::{Grey, Point, Quad, between, distance};

/// Four corners, as those of a [`Quad`].
pub type Corners = [Point; 4];

/// What a line that is shown says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum What {
    /// The surname.
    #[n(0)]
    Surname,
    /// The given names.
    #[n(1)]
    Given,
    /// The last day of validity.
    #[n(2)]
    Expiry,
    /// Who issued the document.
    #[n(3)]
    Issuer,
}

impl What {
    /// As it is called in output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Surname => "surname",
            Self::Given => "given_names",
            Self::Expiry => "expiry_date",
            Self::Issuer => "issuer",
        }
    }
}

/// A line that is shown.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Shown {
    /// What it says.
    #[n(0)]
    pub what: What,
    /// Where.
    #[n(1)]
    pub place: Corners,
}

/// What a mask needs to know of a page.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Window {
    /// What is shown.
    #[n(0)]
    pub shown: Vec<Shown>,
    /// What stays black where it lies over that: other lines and what surrounds a zone.
    #[n(1)]
    pub hidden: Vec<Corners>,
}

/// Other lines over those that are shown, at most: a page with more of them is not shown at all.
const MOST_HIDDEN: usize = 60;
/// From here on a line is read surely enough to say that it holds nothing else.
const SURE: f32 = 0.85;
/// Letters of a name, at most.
const LONGEST_NAME: usize = 60;
/// No document that ended before is of any use, and many people were born before.
const EARLIEST_EXPIRY: i16 = 2015;
/// How far around a zone nothing is shown, in heights of its lines: one may have been overlooked.
const AROUND_ZONE: f32 = 1.3;
/// How much of a line others may take before it is not shown, of a hundred.
const MOST_TAKEN: usize = 25;

/// What of a page may be shown. `quads` is all that looks like text, read or not.
pub(super) fn of_page(
    grey: &Grey,
    (quads, seen): (&[Quad], &[Seen]),
    (bands, zone): (&[Band], Option<&Zone>),
    front: &Front,
) -> Window {
    let mut hidden: Vec<Quad> = bands.iter().filter_map(around_band).collect();
    hidden.extend(zone.and_then(around_zone));
    let zones = hidden.len();
    let mut shown: Vec<(Shown, Quad)> = Vec::new();
    for (what, line, letters) in candidates(seen, front, zone) {
        let Some(tight) = tight(grey, &line.quad, letters) else { continue };
        if !hidden[..zones].iter().any(|zone| zone.meets(&tight)) {
            shown.push((Shown { what, place: tight.0 }, line.quad));
        }
    }
    let is_shown =
        |quad: &Quad| shown.iter().any(|(_, own)| distance(own.middle(), quad.middle()) < 1.0);
    hidden.extend(quads.iter().filter(|quad| !is_shown(quad)));
    hidden.retain(|quad| shown.iter().any(|(one, _)| quad.meets(&Quad(one.place))));
    shown.retain(|(one, _)| taken(&Quad(one.place), &hidden) <= MOST_TAKEN);
    if hidden.len() > MOST_HIDDEN {
        return Window::default();
    }
    Window {
        shown: shown.into_iter().map(|(one, _)| one).collect(),
        hidden: hidden.into_iter().map(|quad| quad.0).collect(),
    }
}

/// The lines that hold what may be shown, and nothing else, with the number of their letters.
fn candidates<'a>(
    seen: &'a [Seen],
    front: &Front,
    zone: Option<&Zone>,
) -> Vec<(What, &'a Seen, usize)> {
    let line = |said: &Option<Said>| -> Option<&'a Seen> {
        let place = said.as_ref()?.place;
        let is_it = |one: &&Seen| one.quad.0 == place && one.sure >= SURE;
        // All of the line is shown, what stands before its value, too.
        seen.iter().find(is_it).filter(|one| !front::has_number_in_label(&one.text))
    };
    let mut found = Vec::new();
    for (what, said) in [(What::Surname, &front.surname), (What::Given, &front.given)] {
        if let Some(one) = line(said)
            && is_name(front::value(&one.text))
        {
            found.push((what, one, count(&one.text)));
        }
    }
    if let (Some(one), Some(said)) = (line(&front.expiry), &front.expiry)
        && front::is_only_date(front::value(&one.text), &said.value)
        && is_expiry(&said.value, front, zone)
    {
        found.push((What::Expiry, one, count(&one.text)));
    }
    let is_value = |one: &Seen| front.places().contains(&one.quad.0);
    let code =
        zone.and_then(|zone| zone.lines.first()?.get(2..5)).map(|code| code.trim_end_matches('<'));
    // Its letters stand at the top; below the names they are a nationality.
    let top = found.iter().find(|(what, ..)| matches!(what, What::Surname | What::Given));
    let is_code = |one: &Seen| {
        code == Some(one.text.trim()) && top.is_some_and(|(_, top, _)| is_above(one, top))
    };
    let issuer = seen
        .iter()
        .find(|one| one.sure >= SURE && !is_value(one) && (is_state(&one.text) || is_code(one)));
    found.extend(issuer.map(|one| (What::Issuer, one, count(&one.text))));
    found
}

fn count(text: &str) -> usize {
    text.chars().filter(|letter| !letter.is_whitespace()).count()
}

/// Whether a text is nothing but names.
fn is_name(text: &str) -> bool {
    let letters = text.chars().filter(|letter| letter.is_alphabetic()).count();
    letters >= 2
        && text.chars().count() <= LONGEST_NAME
        && text.chars().all(|letter| {
            letter.is_alphabetic() || matches!(letter, ' ' | '-' | '\'' | '.' | ',' | '’' | '`')
        })
}

/// Whether a date that stands below the label of the validity can be its last day, and is not the
/// birth date.
fn is_expiry(value: &str, front: &Front, zone: Option<&Zone>) -> bool {
    let Ok(day) = value.parse::<jiff::civil::Date>() else { return false };
    let birth = front.birth.as_ref().and_then(|said| said.value.parse().ok());
    if day.year() < EARLIEST_EXPIRY || birth.is_some_and(|birth: jiff::civil::Date| birth >= day) {
        return false;
    }
    let Some(zone) = zone else { return true };
    // Six digits of the zone, of which the last two are no century: the front has all of them.
    let six = format!("{:02}{:02}{:02}", day.year() % 100, day.month(), day.day());
    let Ok(mrz) = mrz::read(&zone.lines.join("\n"), ANY_DAY) else { return false };
    let is_said = mrz.expiry.as_ref().and_then(|expiry| expiry.date);
    is_said.is_none_or(|expiry| expiry == day)
        && mrz.birth.date.is_none_or(|birth| birth != day)
        && !zone_births(&zone.lines).any(|birth| birth == six)
}

/// The day does not matter to what a zone says.
const ANY_DAY: jiff::civil::Date = jiff::civil::date(2026, 1, 1);

/// Where a zone has the birth date, in the layouts that there are.
fn zone_births(lines: &[String]) -> impl Iterator<Item = &str> {
    let second = lines.get(1).map(String::as_str).unwrap_or_default();
    let begins: &[usize] = match (lines.len(), second.len()) {
        (3, _) => &[0],
        (_, 36) => &[13, 27],
        _ => &[13],
    };
    begins.iter().filter_map(move |from| second.get(*from..from + 6))
}

/// States as documents name themselves, folded; those whose documents people here have.
const STATES: [&str; 34] = [
    "belgie",
    "belgique",
    "belgien",
    "belgium",
    "koninkrijkbelgie",
    "royaumedebelgique",
    "konigreichbelgien",
    "belgiebelgiquebelgien",
    "belgiebelgiquebelgienbelgium",
    "nederland",
    "netherlands",
    "koninkrijkdernederlanden",
    "kingdomofthenetherlands",
    "republiquefrancaise",
    "france",
    "bundesrepublikdeutschland",
    "federalrepublicofgermany",
    "deutschland",
    "grandducheduluxembourg",
    "luxembourg",
    "repubblicaitaliana",
    "italia",
    "espana",
    "reinodeespana",
    "republicaportuguesa",
    "portugal",
    "rzeczpospolitapolska",
    "polska",
    "romania",
    "republicofbulgaria",
    "suomifinland",
    "royaumedumaroc",
    "turkiyecumhuriyeti",
    "ukraine",
];

/// Whether a text is nothing but the name of a state.
fn is_state(text: &str) -> bool {
    let is_word = |letter: char| letter.is_alphabetic() || matches!(letter, ' ' | '\'' | '/' | '-');
    text.chars().all(is_word) && STATES.contains(&front::plain(text).as_str())
}

/// Whether a line stands above another, by its own height at least.
fn is_above(one: &Seen, other: &Seen) -> bool {
    let ((x, y), (other_x, other_y)) = (one.quad.middle(), other.quad.middle());
    let (ux, uy) = other.quad.along();
    (other_y - y) * ux - (other_x - x) * uy > other.quad.height()
}

/// Corners around the lines of a band.
fn around_band(band: &Band) -> Option<Quad> {
    let (first, last) = (band.lines.first()?, band.lines.last()?);
    Some(grown(&Quad([first.0[0], first.0[1], last.0[2], last.0[3]]), first.height()))
}

fn around_zone(zone: &Zone) -> Option<Quad> {
    let quad = Quad(zone.place);
    let height = quad.height() / zone.lines.len().max(1) as f32;
    (height > 0.0).then(|| grown(&quad, height))
}

/// Larger on every side by so many heights of a line.
fn grown(quad: &Quad, line: f32) -> Quad {
    let by = line * AROUND_ZONE;
    let (ux, uy) = quad.along();
    let [a, b, c, d] = quad.0;
    let moved = |(x, y): Point, along: f32, across: f32| {
        (x + (ux * along - uy * across) * by, y + (uy * along + ux * across) * by)
    };
    Quad([moved(a, -1.0, -1.0), moved(b, 1.0, -1.0), moved(c, 1.0, 1.0), moved(d, -1.0, 1.0)])
}

/// How much of a quadrilateral others take, of a hundred.
fn taken(quad: &Quad, others: &[Quad]) -> usize {
    const STEPS: usize = 20;
    let [a, b, c, d] = quad.0;
    let mut count = 0;
    for down in 0..STEPS {
        for across in 0..STEPS {
            let part = |nr: usize| (nr as f32 + 0.5) / STEPS as f32;
            let (left, right) = (between(a, d, part(down)), between(b, c, part(down)));
            let point = between(left, right, part(across));
            count += usize::from(others.iter().any(|other| other.holds(point)));
        }
    }
    count * 100 / (STEPS * STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: u8 = 230;

    /// A page with lines of text: for each letter three strokes in the middle of its place.
    struct Sheet {
        grey: Grey,
        seen: Vec<Seen>,
    }

    /// Height of a line and of its letters, and the width of a letter.
    const LINE: f32 = 30.0;
    const LETTER: (usize, usize) = (16, 14);

    impl Sheet {
        fn new() -> Self {
            Self { grey: Grey::new(900, 600, PAPER), seen: Vec::new() }
        }

        fn dark(&mut self, (x, y): (usize, usize), (width, height): (usize, usize)) {
            for row in y..y + height {
                self.grey.pixels[row * 900 + x..row * 900 + x + width].fill(30);
            }
        }

        fn with(mut self, (x, y): (usize, usize), text: &str) -> Self {
            for (nr, letter) in text.chars().enumerate().filter(|(_, letter)| *letter != ' ') {
                let left = x + 6 + nr * LETTER.1;
                let strokes = if letter.is_alphanumeric() { 2 } else { 1 };
                for stroke in 0..strokes {
                    self.dark((left + stroke * 6, y + 7), (3, LETTER.0));
                }
            }
            let right = x as f32 + 12.0 + (text.chars().count() * LETTER.1) as f32;
            let (x, y) = (x as f32, y as f32);
            let quad = Quad([(x, y), (right, y), (right, y + LINE), (x, y + LINE)]);
            self.seen.push(Seen { text: text.into(), sure: 0.95, quad });
            self
        }

        fn window(&self, bands: &[Band], zone: Option<&Zone>) -> Window {
            let quads: Vec<Quad> = self.seen.iter().map(|one| one.quad).collect();
            let front = front::read(&self.seen);
            of_page(&self.grey, (&quads, &self.seen), (bands, zone), &front)
        }

        fn shown(&self) -> Vec<What> {
            self.window(&[], None).shown.into_iter().map(|one| one.what).collect()
        }
    }

    fn card() -> Sheet {
        Sheet::new()
            .with((40, 20), "BELGIE")
            .with((40, 80), "Naam / Surname")
            .with((40, 116), "Van den Broeck")
            .with((40, 170), "Voornamen")
            .with((40, 206), "Jean-Pierre")
            .with((40, 260), "Geboortedatum")
            .with((40, 296), "02.01.1978")
            .with((40, 350), "Geldig tot")
            .with((40, 386), "14.07.2028")
            .with((40, 440), "Rijksregisternummer")
            .with((40, 476), "78.01.02-301.23")
    }

    fn zone(lines: &[&str]) -> Zone {
        Zone {
            lines: lines.iter().map(ToString::to_string).collect(),
            mended: Vec::new(),
            is_clear: true,
            fits: true,
            score: -0.1,
            place: [(0.0, 0.0); 4],
            names_agree: true,
        }
    }

    const LINES: [&str; 3] = [
        "IDBEL592345678<9815<<<<<<<<<<<",
        "7801022M2807144BEL780102301237",
        "DUPONT<<JEAN<PIERRE<L<<<<<<<<<",
    ];

    #[test]
    fn names_validity_and_issuer_are_shown_close_to_their_letters() {
        let window = card().window(&[], Some(&zone(&LINES)));
        let shown: Vec<What> = window.shown.iter().map(|one| one.what).collect();
        assert_eq!(shown, [What::Surname, What::Given, What::Expiry, What::Issuer]);
        let Quad([a, _, c, _]) = Quad(window.shown[0].place);
        let (left, right) = (46.0, 46.0 + 14.0 * 14.0);
        assert!((a.0 - left).abs() < 4.0 && (c.0 - right).abs() < 10.0, "{a:?} {c:?}");
        assert!((a.1 - 123.0).abs() < 4.0 && (c.1 - 139.0).abs() < 4.0, "{a:?} {c:?}");
        // What was not read surely is not shown.
        let mut faint = card();
        faint.seen[2].sure = 0.7;
        assert!(!faint.shown().contains(&What::Surname));
    }

    #[test]
    fn a_line_that_holds_more_than_its_value_is_not_shown() {
        for name in
            ["Peeters 78010230123", "Peeters 592-3456789-81", "78.01.02-301.23", "PEETERS<<AN"]
        {
            let sheet = Sheet::new().with((40, 80), "Naam").with((40, 116), name);
            assert_eq!(sheet.shown(), [], "{name}");
            let beside = Sheet::new().with((40, 80), &format!("Naam: {name}"));
            assert_eq!(beside.shown(), [], "{name}");
        }
        for text in ["Naam: Peeters", "1. Naam: Peeters"] {
            assert_eq!(Sheet::new().with((40, 80), text).shown(), [What::Surname], "{text}");
        }
        for text in [
            "Naam 78.01.02-301.23: Peeters",
            "Voornaam (592-3456789-81): Lotte",
            "Geldig tot 592-3456789-81: 14.07.2028",
            "Geldig tot 02.01.1978： 14.07.2028",
        ] {
            assert_eq!(Sheet::new().with((40, 80), text).shown(), [], "{text}");
        }
        for date in [
            "14.07.2018 - 14.07.2028",
            "14.07.2028 592345678981",
            "02.01.1978",
            "Genk 14.07.2028",
            "14.07.28",
        ] {
            let sheet = Sheet::new().with((40, 80), "Geldig tot").with((40, 116), date);
            assert_eq!(sheet.shown(), [], "{date}");
        }
        for date in ["14.07.2028", "14 JUL 2028", "14 07 2028", "14 JUIL / JUL 2028"] {
            let sheet = Sheet::new().with((40, 80), "Geldig tot").with((40, 116), date);
            assert_eq!(sheet.shown(), [What::Expiry], "{date}");
        }
    }

    #[test]
    fn a_date_that_is_or_may_be_the_birth_date_is_not_shown() {
        let of = |date: &str, zone: Option<&Zone>| {
            let sheet = Sheet::new().with((40, 80), "Geldig tot").with((40, 116), date);
            !sheet.window(&[], zone).shown.is_empty()
        };
        let young = ["IDBEL592345678<9815<<<<<<<<<<<", "1801027M2807144BEL180102301236", LINES[2]];
        assert!(of("14.07.2028", Some(&zone(&young))));
        assert!(!of("02.01.2018", Some(&zone(&young))), "it is the birth date in the zone");
        assert!(!of("14.07.2029", Some(&zone(&young))), "the zone has another");
        assert!(!of("14.07.2028", Some(&zone(&["IDBEL", "78"]))), "who knows what the zone has");
        // Of the same day, or before it.
        let both = |born: &str| {
            Sheet::new()
                .with((40, 80), "Geboortedatum")
                .with((40, 116), born)
                .with((40, 180), "Geldig tot")
                .with((40, 216), "14.07.2028")
                .shown()
        };
        assert_eq!((both("14.07.2028"), both("02.01.1978")), (vec![], vec![What::Expiry]));
    }

    #[test]
    fn nothing_is_shown_near_a_zone_and_other_text_is_cut_away() {
        let quad =
            |top: f32| Quad([(40.0, top), (500.0, top), (500.0, top + 20.0), (40.0, top + 20.0)]);
        let band = |top: f32| Band { lines: vec![quad(top), quad(top + 28.0)], weight: 60 };
        let sheet = Sheet::new().with((40, 80), "Naam").with((40, 116), "Van den Broeck");
        assert_eq!(sheet.window(&[band(400.0)], None).shown.len(), 1);
        for top in [110.0, 128.0, 155.0, 70.0] {
            assert_eq!(sheet.window(&[band(top)], None), Window::default(), "{top}");
        }
        // Text of which a part lies over the name: that part is hidden; most of it, and all is.
        let mut over = Sheet::new().with((40, 80), "Naam").with((40, 116), "Van den Broeck");
        let number = |x: f32, y: f32| Seen {
            text: "78010230123".into(),
            sure: 0.3,
            quad: Quad([(x, y), (x + 150.0, y), (x + 150.0, y + 30.0), (x, y + 30.0)]),
        };
        over.seen.push(number(220.0, 116.0));
        let window = over.window(&[], None);
        assert_eq!((window.shown.len(), window.hidden.len()), (1, 1));
        over.seen.push(number(90.0, 118.0));
        assert!(over.window(&[], None).shown.is_empty());
    }

    #[test]
    fn bars_beside_below_or_in_a_line_are_not_in_what_is_shown() {
        let name = || Sheet::new().with((40, 80), "Naam").with((40, 116), "Vandenbroeck");
        // Below it, within what the detector took for the line.
        let mut below = name();
        for bar in 0..60 {
            below.dark((44 + bar * 3, 143), (1, 20));
        }
        let window = below.window(&[], None);
        assert_eq!(window.shown.len(), 1);
        assert!(window.shown[0].place.iter().all(|(_, y)| *y < 143.0), "{:?}", window.shown);
        // Across its letters.
        let mut within = name();
        for bar in 0..60 {
            within.dark((44 + bar * 3, 118), (1, 20));
        }
        assert!(within.window(&[], None).shown.is_empty());
        // Behind it, far enough to be something else and unread.
        let mut behind = name();
        let Quad([a, _, _, d]) = behind.seen[1].quad;
        behind.seen[1].quad = Quad([a, (600.0, a.1), (600.0, d.1), d]);
        for bar in 0..60 {
            behind.dark((300 + bar * 3, 123), (1, 16));
        }
        let window = behind.window(&[], None);
        assert!(window.shown.iter().all(|one| one.place[1].0 < 300.0), "{:?}", window.shown);
    }

    #[test]
    fn a_state_is_the_issuer_and_its_letters_only_above_the_names() {
        let of = |y: usize, text: &str| {
            let sheet = Sheet::new()
                .with((40, 180), "Naam")
                .with((40, 216), "Van den Broeck")
                .with((400, y), text);
            let window = sheet.window(&[], Some(&zone(&LINES)));
            window.shown.iter().any(|one| one.what == What::Issuer)
        };
        assert!(of(20, "BEL") && of(20, "Royaume de Belgique") && of(400, "BELGIUM"));
        assert!(!of(300, "BEL"), "a nationality stands there");
        assert!(!of(20, "FRA") && !of(20, "BEL 592345678") && !of(20, "BEL1"));
    }
}
