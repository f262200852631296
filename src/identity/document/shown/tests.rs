use super::*;
use crate::identity::document::front;

const PAPER: u8 = 230;

/// A page with lines of text: each letter is one stroke, or two with a bar between them, which is not
/// at the same height in the next letter.
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
        let mut wide = 0;
        for (nr, letter) in text.chars().enumerate().filter(|(_, letter)| *letter != ' ') {
            let left = x + 6 + nr * LETTER.1;
            self.dark((left, y + 7), (3, LETTER.0));
            if letter.is_alphanumeric() && !"iIltfrT".contains(letter) {
                self.dark((left + 6, y + 7), (3, LETTER.0));
                self.dark((left, y + 7 + [3, 7, 11][wide % 3]), (9, [3, 2, 3][wide % 3]));
                wide += 1;
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
        .with((40, 116), "Dupont")
        .with((40, 170), "Voornamen")
        .with((40, 206), "Jean-Pierre")
        .with((40, 260), "Geboortedatum")
        .with((40, 296), "02.01.1978")
        .with((40, 350), "Geldig tot")
        .with((40, 386), "14.07.2028")
        .with((40, 440), "Rijksregisternummer")
        .with((40, 476), "78.01.02-301.23")
}

/// A page that says when somebody was born.
fn born() -> Sheet {
    Sheet::new().with((40, 260), "Geboortedatum").with((40, 296), "02.01.1978")
}

const LINES: [&str; 3] = [
    "IDBEL592345678<9815<<<<<<<<<<<",
    "7801022M2807144BEL780102301237",
    "DUPONT<<JEAN<PIERRE<L<<<<<<<<<",
];

#[test]
fn names_validity_and_issuer_are_shown_close_to_their_letters() {
    let window = card().window(&[], Some(&Zone::clear(&LINES)));
    let shown: Vec<What> = window.shown.iter().map(|one| one.what).collect();
    assert_eq!(shown, [What::Surname, What::Given, What::Expiry, What::Issuer]);
    let Quad([a, _, c, _]) = Quad(window.shown[0].place);
    let (left, right) = (46.0, 46.0 + 6.0 * 14.0);
    assert!((a.0 - left).abs() < 4.0 && (c.0 - right).abs() < 10.0, "{a:?} {c:?}");
    assert!((a.1 - 123.0).abs() < 4.0 && (c.1 - 139.0).abs() < 4.0, "{a:?} {c:?}");
    // What was not read surely is not shown.
    let mut faint = card();
    faint.seen[2].sure = 0.7;
    assert!(!faint.shown().contains(&What::Surname));
}

#[test]
fn a_line_that_holds_more_than_its_value_is_not_shown() {
    for name in ["Peeters 78010230123", "Peeters 592-3456789-81", "78.01.02-301.23", "PEETERS<<AN"]
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
        assert_eq!(born().with((40, 80), text).shown(), [], "{text}");
    }
    for date in [
        "14.07.2018 - 14.07.2028",
        "14.07.2028 592345678981",
        "02.01.1978",
        "Genk 14.07.2028",
        "14.07.28",
        "02.01.1977",
    ] {
        assert_eq!(born().with((40, 80), "Geldig tot").with((40, 116), date).shown(), [], "{date}");
    }
    for date in ["14.07.2028", "14 JUL 2028", "14 07 2028", "14 JUIL / JUL 2028"] {
        let sheet = born().with((40, 80), "Geldig tot").with((40, 116), date);
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
    assert!(of("14.07.2028", Some(&Zone::clear(&young))));
    assert!(!of("02.01.2018", Some(&Zone::clear(&young))), "it is the birth date in the zone");
    assert!(!of("14.07.2029", Some(&Zone::clear(&young))), "the zone has another");
    assert!(!of("14.07.2028", Some(&Zone::clear(&["IDBEL", "78"]))), "who knows what the zone has");
    assert!(!of("14.07.2028", None), "nobody read when they were born");
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
    // A child's, whose own label was read as no label, or whose label is another's.
    let child = |label: &str| {
        Sheet::new()
            .with((40, 80), "Geldig tot")
            .with((40, 116), label)
            .with((40, 152), "02.01.2018")
            .with((40, 240), "Geboortedatum")
            .with((40, 276), "03.04.2016")
            .shown()
    };
    for label in ["Geboortedatum", "Datum van geboorte", "Date of issue", "Geldig van"] {
        assert_eq!(child(label), [], "{label}");
    }
    // Old French cards have no last day in their zone.
    let old = ["IDFRAROUSSEAU<<<<<<<<<<<<<<<<<<<<<<<", "9409923102854CORINNE<<<<<<<6512068F0"];
    let old = Zone::clear(&old);
    assert!(of("14.07.2028", Some(&old)));
    assert!(!of("06.12.2065", Some(&old)), "the zone has those six digits");
}

#[test]
fn a_word_below_the_label_of_a_name_that_can_be_something_else_is_not_shown() {
    let of = |word: &str, zone: Option<&Zone>| {
        let sheet = Sheet::new().with((40, 80), "Naam / Surname").with((40, 116), word);
        !sheet.window(&[], zone).shown.is_empty()
    };
    for word in ["Vrouw", "HOMME", "Belg", "FRANÇAISE", "Nederlandse", "Genk", "BEL", "Lotte V"] {
        assert!(!of(word, None), "{word}");
    }
    assert!(of("Peeters", None) && of("De Man", None));
    // With a zone only its names are names, whatever they are.
    for (line, names) in [
        ("DUPONT<<JEAN<PIERRE<L<<<<<<<<<", &["Dupont", "DUPOND", "Jean-Pierre L", "Pierre"][..]),
        ("VAN<DEN<BROECK<<LOTTE<<<<<<<<<", &["Van den Broeck", "Vandenbroeck", "Van den Broek"]),
        ("MUELLER<<JURGEN<<<<<<<<<<<<<<<", &["Müller", "MULLER", "Jürgen"]),
        ("GARCIA<LOPEZ<<MARIA<<<<<<<<<<<", &["García", "López", "Garcia Lopez"]),
        ("BELG<<MARIE<<<<<<<<<<<<<<<<<<<", &["Belg"]),
        ("PAPANDROPOULOUS<<JONATHON<ALEC", &["Jonathon Alecsander", "Papandropoulous"]),
    ] {
        let zone = Zone::clear(&[LINES[0], LINES[1], line]);
        for name in names {
            assert!(of(name, Some(&zone)), "{name} {line}");
        }
        for word in ["Antwerpen", "Bree", "Belgisch", "Vrouw", "Duponcheel", "Lotte BELG", "Jean M"]
        {
            assert!(!of(word, Some(&zone)), "{word} {line}");
        }
    }
}

#[test]
fn a_line_is_the_value_of_the_nearest_label_only() {
    let below = |label: &str, word: &str| {
        let sheet = Sheet::new().with((40, 80), "Naam").with((40, 116), label);
        sheet.with((40, 152), word).shown()
    };
    for label in ["Geboorteplaats", "Gemeente", "Geslacht", "Nationaliteit", "Lieu de naissance"] {
        assert_eq!(below(label, "Vanhoutte"), [], "{label}");
    }
    assert_eq!(below("Name", "Vanhoutte"), [What::Surname], "the same in another language");
    let sheet = Sheet::new().with((40, 80), "Prénoms du père").with((40, 116), "Marcel");
    assert_eq!(sheet.shown(), []);
    let sheet = Sheet::new().with((40, 80), "Voornaam vrouw Genk: Lotte");
    assert_eq!(sheet.shown(), []);
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
fn bars_beside_a_long_name_are_not_in_what_is_shown() {
    let name = "Vandenbroucke Vanderstraeten Wijn";
    // Of a digit two of five lines are wide; narrow ones are two pixels.
    let with_bars = |gap: usize, (top, height): (usize, usize), lean: usize, bars: usize| {
        let mut sheet = Sheet::new().with((40, 80), "Naam").with((40, 116), name);
        let mut x = 46 + name.len() * LETTER.1 + gap;
        for bar in 0..bars {
            let wide = if bar % 5 < 2 { 5 } else { 2 };
            for row in 0..height {
                sheet.dark((x + row * lean / height, top + row), (wide, 1));
            }
            x += wide + if bar % 3 == 0 { 5 } else { 2 };
        }
        let Quad([a, _, _, d]) = sheet.seen[1].quad;
        let right = x as f32 + 6.0;
        sheet.seen[1].quad = Quad([a, (right, a.1), (right, d.1), d]);
        let shown = sheet.window(&[], None).shown;
        shown.into_iter().map(|one| one.place[1].0 as usize).max()
    };
    let end = 46 + name.len() * LETTER.1 + 4;
    assert!(with_bars(0, (123, 16), 0, 0).is_some_and(|right| right < end));
    for bars in [10, 19, 34] {
        for lean in [0, 3] {
            assert_eq!(with_bars(10, (123, 16), lean, bars), None, "as high: {bars} {lean}");
            assert_eq!(with_bars(10, (117, 28), lean, bars), None, "higher: {bars} {lean}");
        }
    }
    // Far off they are something else, and cut away.
    assert!(with_bars(60, (123, 16), 0, 19).is_some_and(|right| right < end));
    // Half as high, and few of them.
    assert_eq!(with_bars(10, (123, 9), 0, 19), None);
    assert_eq!(with_bars(10, (131, 8), 0, 34), None);
}

#[test]
fn a_window_that_no_reader_can_have_made_shows_nothing() {
    let line = |what, top: f32, height: f32| {
        let bottom = top + height;
        Shown { what, place: [(40.0, top), (300.0, top), (300.0, bottom), (40.0, bottom)] }
    };
    let all = [What::Surname, What::Given, What::Expiry, What::Issuer];
    let shown: Vec<Shown> =
        all.iter().enumerate().map(|(nr, what)| line(*what, 50.0 * nr as f32, 30.0)).collect();
    let hidden = vec![shown[0].place; MOST_HIDDEN];
    let window = Window { shown, hidden };
    let page = |window: Window| Page { width: 900, height: 600, window, ..Page::default() };
    let believed = |change: &dyn Fn(&mut Window)| {
        let mut window = window.clone();
        change(&mut window);
        Window::believed(&page(window)).shown.len()
    };
    assert_eq!(Window::believed(&page(window.clone())), window);
    assert_eq!(believed(&|window| window.shown.push(line(What::Issuer, 300.0, 30.0))), 0);
    assert_eq!(believed(&|window| window.shown[1].what = What::Surname), 0, "two surnames");
    assert_eq!(believed(&|window| window.hidden.push([(0.0, 0.0); 4])), 0);
    assert_eq!(believed(&|window| window.hidden[3][1].0 = f32::NAN), 0);
    assert_eq!(believed(&|window| window.shown[2].place[3].1 = f32::INFINITY), 0);
    assert_eq!(believed(&|window| window.shown[3] = line(What::Issuer, 200.0, 80.0)), 0, "high");
    // What lies near the zone is left out by itself.
    let mut near = page(window.clone());
    let place = [(40.0, 210.0), (800.0, 210.0), (800.0, 300.0), (40.0, 300.0)];
    near.zone = Some(Zone { place, ..Zone::clear(&LINES) });
    let left: Vec<What> = Window::believed(&near).shown.iter().map(|one| one.what).collect();
    assert_eq!(left, all[..3]);
}

#[test]
fn a_state_is_the_issuer_above_the_names_and_nowhere_else() {
    let on = |y: usize, text: &str, zone: Option<&Zone>| {
        let sheet =
            Sheet::new().with((40, 180), "Naam").with((40, 216), "Dupont").with((400, y), text);
        let window = sheet.window(&[], zone);
        window.shown.iter().any(|one| one.what == What::Issuer)
    };
    let of = |y: usize, text: &str| on(y, text, Some(&Zone::clear(&LINES)));
    assert!(of(20, "BEL") && of(20, "Royaume de Belgique") && on(20, "FRANCE", None));
    assert!(!of(300, "BEL") && !of(400, "BELGIUM"), "a nationality stands there");
    assert!(!on(300, "FRANCE", None) && !on(216, "Belgique", None), "or where they were born");
    assert!(!of(20, "FRA") && !of(20, "BEL 592345678") && !of(20, "BEL1"));
    assert!(!of(20, "FRANCE"), "the zone has another");
    // Without names beside the title only, and below a label nowhere.
    let titled = |y: usize| {
        let sheet = Sheet::new().with((40, 20), "IDENTITEITSKAART").with((400, y), "BELGIE");
        sheet.shown()
    };
    assert_eq!(
        (titled(20), titled(50), titled(300)),
        (vec![What::Issuer], vec![What::Issuer], vec![])
    );
    for label in ["Geboorteplaats", "Nationaliteit / Nationality", "Place of birth"] {
        let sheet = Sheet::new().with((40, 20), label).with((40, 56), "BELGIE");
        let sheet = sheet.with((40, 180), "Naam").with((40, 216), "Dupont");
        assert_eq!(sheet.shown(), [What::Surname], "{label}");
    }
    // Another card on the same picture, its back above its front.
    let far =
        Sheet::new().with((40, 20), "BELGIE").with((40, 500), "Naam").with((40, 536), "Dupont");
    assert_eq!(far.shown(), [What::Surname]);
}
