//! Cards and pages of our own design: where things stand is like on real ones, how they look is not.

use super::canvas::{Canvas, Colour, Face};
use super::chance::Chance;
use super::codes;
use super::person::{Person, folded};
use super::zone::{self, Paper};
use super::{Part, Truth};

/// Pixels of a millimetre of what is drawn, before it is photographed.
pub const SCALE: f32 = 16.0;

/// Left, top, right, bottom, in millimetres.
pub type Extent = [f32; 4];

/// A side of a card, or a page.
#[derive(Clone)]
pub struct Side {
    pub canvas: Canvas,
    /// Width and height in millimetres.
    pub size: (f32, f32),
    /// Where the zone is; `None` without one.
    pub zone: Option<Extent>,
    /// Where what it says of its holder is, in print, in codes and in the photo.
    pub parts: Vec<(Part, Extent)>,
}

impl Side {
    fn new(chance: &mut Chance, size: (f32, f32)) -> Self {
        Self { canvas: ground(chance, size), size, zone: None, parts: Vec::new() }
    }

    /// A value whose capitals are so high, on the line `y`.
    fn value(&mut self, part: Part, size: f32, (x, y): (f32, f32), text: &str) {
        let end = self.canvas.text(Face::SansBold, mm(size), (mm(x), mm(y)), INK, text);
        let high = Face::SansBold.measures().0 * size;
        self.parts.push((part, [x, y - high, end / SCALE, y]));
    }

    /// A label, small, and what it names, below it.
    fn entry(&mut self, part: Part, (x, y): (f32, f32), label: &str, value: &str) {
        self.canvas.text(Face::Sans, mm(1.9), (mm(x), mm(y)), [70, 76, 96], label);
        self.value(part, 3.3, (x, y + 3.3), value);
    }

    fn photo(&mut self, chance: &mut Chance, (x, y): (f32, f32), (width, height): (f32, f32)) {
        portrait(&mut self.canvas, chance, (x, y), (width, height));
        self.parts.push((Part::Photo, [x, y, x + width, y + height]));
    }

    fn write_zone(&mut self, lines: &[String], at: (f32, f32), step: f32) {
        let zone = write_zone(&mut self.canvas, lines, at, step);
        self.zone = Some(zone);
        self.parts.push((Part::Zone, zone));
    }

    fn bars(&mut self, (x, y): (f32, f32), height: f32, digits: &str) {
        let at = (mm(x) as i32, mm(y) as i32);
        let wide = codes::bars(&mut self.canvas, at, (4, mm(height) as i32), digits);
        self.parts.push((Part::Code, [x, y, x + wide as f32 / SCALE, y + height]));
    }
}

/// A document.
#[derive(Clone)]
pub struct Card {
    pub kind: &'static str,
    pub truth: Truth,
    /// The side with the zone last.
    pub sides: Vec<Side>,
    pub altered: Option<&'static str>,
}

/// What was changed on a card after it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// The birth date in the zone, its check digit left.
    Birth,
    /// The last day of validity in the zone, its check digit left.
    Expiry,
    /// The number in the zone, its check digit left.
    Number,
    /// The birth date with its check digits, not the national number.
    BirthAndDigits,
    /// The sex, not the national number.
    Sex,
    /// The name in the zone, not the one on the front.
    Name,
}

impl Alteration {
    pub const ALL: [Self; 6] =
        [Self::Birth, Self::Expiry, Self::Number, Self::BirthAndDigits, Self::Sex, Self::Name];

    pub const fn field(self) -> &'static str {
        match self {
            Self::Birth | Self::BirthAndDigits => "birth_date",
            Self::Expiry => "expiry_date",
            Self::Number => "document_number",
            Self::Sex => "sex",
            Self::Name => "surname",
        }
    }
}

/// Words on the documents of a language: surname, given names, sex, nationality, born, valid until,
/// number of the card, national number.
type Labels = [&'static str; 8];
const DUTCH: Labels = [
    "Naam",
    "Voornamen",
    "Geslacht",
    "Nationaliteit",
    "Geboortedatum",
    "Geldig tot",
    "Kaartnummer",
    "Rijksregisternummer",
];
const FRENCH: Labels = [
    "Nom",
    "Prénoms",
    "Sexe",
    "Nationalité",
    "Date de naissance",
    "Expire le",
    "N° carte",
    "N° registre national",
];
const GERMAN: Labels = [
    "Name",
    "Vornamen",
    "Geschlecht",
    "Staatsangehörigkeit",
    "Geburtsdatum",
    "Gültig bis",
    "Karten-Nr.",
    "Nationalregisternummer",
];
const ENGLISH: Labels = [
    "Surname",
    "Given names",
    "Sex",
    "Nationality",
    "Date of birth",
    "Expiry date",
    "Card No",
    "National Register No",
];

/// Any document of the set.
pub fn any(chance: &mut Chance, alteration: Option<Alteration>) -> Card {
    match alteration {
        // These need a national number, or a front.
        Some(Alteration::BirthAndDigits | Alteration::Sex) => belgian(chance, alteration),
        Some(Alteration::Name) if chance.percent(50) => belgian(chance, alteration),
        Some(Alteration::Name) => passport(chance, alteration),
        _ => match chance.below(100) {
            0..40 => belgian(chance, alteration),
            40..50 => residence(chance, alteration),
            50..72 => european(chance, alteration),
            72..80 => td2(chance, alteration),
            80..93 => passport(chance, alteration),
            _ => old_french(chance, alteration),
        },
    }
}

fn date_six(chance: &mut Chance) -> (String, (u16, u8, u8)) {
    let day =
        (2027 + chance.below(9) as u16, 1 + chance.below(12) as u8, 1 + chance.below(28) as u8);
    (format!("{:02}{:02}{:02}", day.0 % 100, day.1, day.2), day)
}

fn truth(
    person: &Person,
    paper: &Paper,
    expiry: Option<(u16, u8, u8)>,
    lines: Vec<String>,
    names: (usize, usize),
) -> Truth {
    let iso = |(year, month, day): (u16, u8, u8)| format!("{year:04}-{month:02}-{day:02}");
    let (surname, given) = if names.1 > 0 {
        let cut = |text: String, most: usize| {
            text.chars().take(most).collect::<String>().trim().to_owned()
        };
        (
            cut(person.folded_surname(), names.0),
            cut(person.folded_given().replace(' ', "  "), names.1).replace("  ", " "),
        )
    } else {
        let whole: String = format!("{}  {}", person.folded_surname(), person.folded_given())
            .chars()
            .take(names.0)
            .collect();
        let (surname, given) = whole.split_once("  ").unwrap_or((&whole, ""));
        (surname.trim().to_owned(), given.trim().to_owned())
    };
    Truth {
        lines,
        document_number: paper.number.clone(),
        surname,
        given_names: given,
        birth_date: iso(person.birth),
        expiry_date: expiry.map(iso).unwrap_or_default(),
        sex: person.sex.to_string(),
        nationality: if expiry.is_some() { person.nationality.to_owned() } else { String::new() },
        issuer: paper.issuer.to_owned(),
    }
}

/// A number like `592-3456789-81`.
fn card_number(chance: &mut Chance) -> String {
    let ten = format!("59{}", chance.digits(8));
    let rest = ten.parse::<u64>().expect("digits") % 97;
    format!("{ten}{:02}", if rest == 0 { 97 } else { rest })
}

/// Swaps a digit of a line for another whose weight tells.
fn spoil(line: &mut String, column: usize) {
    let digit = line.as_bytes()[column];
    let other = if digit == b'3' { '6' } else { '3' };
    line.replace_range(column..=column, &other.to_string());
}

/// Changes the lines of a zone as somebody would who knows nothing of check digits.
fn altered(lines: &mut [String], alteration: Alteration, kind: &str) {
    let (number, birth, expiry) = match kind {
        "td1" => ((0, 7), (1, 1), (1, 9)),
        _ => ((1, 4), (1, 14), (1, 22)),
    };
    match alteration {
        Alteration::Birth => spoil(&mut lines[birth.0], birth.1),
        Alteration::Expiry => spoil(&mut lines[expiry.0], expiry.1),
        Alteration::Number => spoil(&mut lines[number.0], number.1),
        _ => {}
    }
}

fn belgian(chance: &mut Chance, alteration: Option<Alteration>) -> Card {
    let mut person = Person::any(chance, "BEL");
    // Belgian cards have two given names and an initial.
    if chance.percent(30) {
        let initial = chance.letters("ABCDEFGHIJLMNPRSTV", 1);
        person.given = format!("{} {initial}", person.given);
    }
    let number = card_number(chance);
    let national = person.national_number(chance);
    let (expiry, expires) = date_six(chance);
    let is_new = chance.percent(50);
    let paper = Paper {
        code: "ID",
        issuer: "BEL",
        number,
        expiry,
        optional: [String::new(), national.clone()],
        with_filler: !is_new,
    };
    let shown = person.clone();
    match alteration {
        Some(Alteration::BirthAndDigits) => {
            person.birth.2 = if person.birth.2 == 9 { 8 } else { 9 };
            person.birth.1 = person.birth.1 % 12 + 1;
        }
        Some(Alteration::Sex) => person.sex = if person.sex == 'F' { 'M' } else { 'F' },
        Some(Alteration::Name) => person.surname = person.other_surname(chance),
        _ => {}
    }
    let mut lines = zone::td1(&person, &paper);
    let truth = truth(&person, &paper, Some(expires), lines.clone(), (30, 0));
    if let Some(alteration) = alteration {
        altered(&mut lines, alteration, "td1");
    }
    let labels = [chance.pick(&[DUTCH, FRENCH, GERMAN]), ENGLISH];
    let front = front(chance, &shown, &paper, expires, &labels, is_new);
    let back = back(chance, &lines, Some(&national), &labels);
    let needs_front = alteration == Some(Alteration::Name);
    let (kind, sides) = match (needs_front || chance.percent(55), is_new) {
        (true, true) => ("be new, both sides", vec![front, back]),
        (true, false) => ("be old, both sides", vec![front, back]),
        (false, true) => ("be new, back", vec![back]),
        (false, false) => ("be old, back", vec![back]),
    };
    Card { kind, truth, sides, altered: alteration.map(Alteration::field) }
}

/// A Belgian card, both sides, with the national number in codes for machines: bars and a QR code on
/// the back as readers want them, and bars on the front so close below the surname that they nearly
/// touch it. Gives the national number, too.
pub fn coded(chance: &mut Chance) -> (Card, String) {
    let person = Person::any(chance, "BEL");
    let national = person.national_number(chance);
    let (expiry, expires) = date_six(chance);
    let paper = Paper {
        code: "ID",
        issuer: "BEL",
        number: card_number(chance),
        expiry,
        optional: [String::new(), national.clone()],
        with_filler: false,
    };
    let lines = zone::td1(&person, &paper);
    let labels = [chance.pick(&[DUTCH, FRENCH, GERMAN]), ENGLISH];
    let mut front = front(chance, &person, &paper, expires, &labels, true);
    let mut back = back(chance, &lines, Some(&national), &labels);
    let digits = format!("0{national}");
    front.bars((31.0, 14.9), 1.4, &digits);
    back.bars((4.0, 19.5), 8.0, &digits);
    let edge = codes::qr(&mut back.canvas, (mm(64.0) as i32, mm(17.0) as i32), 8, &national);
    let edge = edge as f32 / SCALE;
    back.parts.push((Part::Code, [64.0, 17.0, 64.0 + edge, 17.0 + edge]));
    let truth = truth(&person, &paper, Some(expires), lines, (30, 0));
    let card = Card { kind: "coded, both sides", truth, sides: vec![front, back], altered: None };
    (card, national)
}

fn residence(chance: &mut Chance, alteration: Option<Alteration>) -> Card {
    let person = Person::any(chance, "");
    let nationality = chance.pick(&["MAR", "TUR", "UKR", "COD", "CMR", "IND", "SYR", "BRA", "USA"]);
    let person = Person { nationality, ..person };
    let (expiry, expires) = date_six(chance);
    let national = person.national_number(chance);
    let paper = Paper {
        code: chance.pick(&["ID", "IR", "AR"]),
        issuer: "BEL",
        number: format!("B{}", chance.digits(9)),
        expiry,
        optional: [String::new(), national.clone()],
        with_filler: false,
    };
    let mut lines = zone::td1(&person, &paper);
    let truth = truth(&person, &paper, Some(expires), lines.clone(), (30, 0));
    if let Some(alteration) = alteration {
        altered(&mut lines, alteration, "td1");
    }
    let labels = [chance.pick(&[DUTCH, FRENCH]), ENGLISH];
    let front = front(chance, &person, &paper, expires, &labels, true);
    let back = back(chance, &lines, Some(&national), &labels);
    let (kind, sides) = if chance.percent(40) {
        ("residence card, both sides", vec![front, back])
    } else {
        ("residence card, back", vec![back])
    };
    Card { kind, truth, sides, altered: alteration.map(Alteration::field) }
}

fn european(chance: &mut Chance, alteration: Option<Alteration>) -> Card {
    let issuer = chance.pick(&["NLD", "D", "POL", "ITA", "PRT", "ESP", "BGR", "FIN", "FRA", "LUX"]);
    let person = Person::any(chance, issuer);
    let (expiry, expires) = date_six(chance);
    let german = "0123456789CFGHJKLMNPRTVWXYZ";
    let any = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let dutch = "ABCDEFGHIJKLMNPQRSTUVWXYZ";
    let (code, number, optional) = match issuer {
        "NLD" => {
            let number = format!(
                "{}{}{}",
                chance.letters(dutch, 2),
                chance.letters("123456789ABCDEFGHJKLMNPRSTUVWXYZ", 6),
                chance.digits(1)
            );
            ("I", number, [String::new(), String::new()])
        }
        "D" => ("ID", format!("L{}", chance.letters(german, 8)), [String::new(), "2108".into()]),
        "POL" => {
            ("I", format!("{}{}", chance.letters(any, 3), chance.digits(6)), Default::default())
        }
        "ITA" => {
            let number =
                format!("CA{}{}", chance.digits(5), chance.letters("ABCDEFGHJKLMNPRSTUVWXYZ", 2));
            ("C", number, Default::default())
        }
        "PRT" => {
            let number =
                format!("{}{}{}", chance.digits(9), chance.letters("WXYZ", 2), chance.digits(1));
            ("I", number, Default::default())
        }
        "ESP" => {
            let dni =
                format!("{}{}", chance.digits(8), chance.letters("TRWAGMYFPDXBNJZSQVHLCKE", 1));
            ("ID", format!("BAA{}", chance.digits(6)), [dni, String::new()])
        }
        "BGR" => {
            let month = person.birth.1 + if person.birth.0 >= 2000 { 40 } else { 0 };
            let egn = format!(
                "{:02}{month:02}{:02}{}",
                person.birth.0 % 100,
                person.birth.2,
                chance.digits(4)
            );
            ("ID", chance.digits(9), [String::new(), egn])
        }
        "FIN" => {
            let code = format!("{}<{}", chance.digits(6), chance.digits(4));
            ("I", format!("XM{}", chance.digits(7)), [code, String::new()])
        }
        "FRA" => ("ID", chance.letters("0123456789CFGHJKLMNPRTVWXYZ", 9), Default::default()),
        _ => (
            "ID",
            format!("{}{}", chance.letters("ABCDEFGHJKL", 2), chance.digits(6)),
            Default::default(),
        ),
    };
    let paper = Paper { code, issuer, number, expiry, optional, with_filler: false };
    let mut lines = zone::td1(&person, &paper);
    let truth = truth(&person, &paper, Some(expires), lines.clone(), (30, 0));
    if let Some(alteration) = alteration {
        altered(&mut lines, alteration, "td1");
    }
    let own = match issuer {
        "D" => GERMAN,
        "FRA" | "LUX" => FRENCH,
        "NLD" => DUTCH,
        _ => ENGLISH,
    };
    let labels = [own, ENGLISH];
    let back = back(chance, &lines, None, &labels);
    let sides = if chance.percent(40) {
        vec![front(chance, &person, &paper, expires, &labels, true), back]
    } else {
        vec![back]
    };
    Card {
        kind: if sides.len() > 1 { "td1, both sides" } else { "td1, back" },
        truth,
        sides,
        altered: alteration.map(Alteration::field),
    }
}

fn td2(chance: &mut Chance, alteration: Option<Alteration>) -> Card {
    let issuer = chance.pick(&["ROU", "D"]);
    let person = Person::any(chance, issuer);
    let (expiry, expires) = date_six(chance);
    let (number, optional) = if issuer == "D" {
        (chance.letters("0123456789CFGHJKLMNPRTVWXYZ", 9), String::new())
    } else {
        let letters = chance.letters("ABCDEFGHKLMNPRSTVXZ", 2);
        (
            format!("{letters}{}", chance.digits(6)),
            format!("{}{}", if person.sex == 'M' { 1 } else { 2 }, chance.digits(6)),
        )
    };
    let paper = Paper {
        code: "ID",
        issuer,
        number,
        expiry,
        optional: [optional, String::new()],
        with_filler: false,
    };
    let mut lines = zone::td2(&person, &paper);
    let truth = truth(&person, &paper, Some(expires), lines.clone(), (31, 0));
    if let Some(alteration) = alteration {
        altered(&mut lines, alteration, "td2");
    }
    let labels = [if issuer == "D" { GERMAN } else { FRENCH }, ENGLISH];
    let side = page(chance, &person, &paper, Some(expires), &labels, &lines, (105.0, 74.0));
    Card { kind: "td2", truth, sides: vec![side], altered: alteration.map(Alteration::field) }
}

fn passport(chance: &mut Chance, alteration: Option<Alteration>) -> Card {
    let issuer = chance.pick(&["BEL", "BEL", "NLD", "D", "FRA", "ITA", "MAR", "TUR", "UKR", "ROU"]);
    let mut person = Person::any(chance, issuer);
    let (expiry, expires) = date_six(chance);
    let letters = chance.letters("ABCDEFGHJKLMNPRSTVXZ", 2);
    let paper = Paper {
        code: "P",
        issuer,
        number: format!("{letters}{}", chance.digits(if issuer == "BEL" { 6 } else { 7 })),
        expiry,
        optional: [
            if chance.percent(20) { chance.digits(9) } else { String::new() },
            String::new(),
        ],
        with_filler: false,
    };
    let shown = person.clone();
    if alteration == Some(Alteration::Name) {
        person.surname = person.other_surname(chance);
    }
    let mut lines = zone::td3(&person, &paper);
    let truth = truth(&person, &paper, Some(expires), lines.clone(), (39, 0));
    if let Some(alteration) = alteration {
        altered(&mut lines, alteration, "td3");
    }
    let own = match issuer {
        "BEL" => chance.pick(&[DUTCH, FRENCH, GERMAN]),
        "NLD" => DUTCH,
        "D" => GERMAN,
        "FRA" | "MAR" => FRENCH,
        _ => ENGLISH,
    };
    let side = page(chance, &shown, &paper, Some(expires), &[own, ENGLISH], &lines, (125.0, 88.0));
    Card { kind: "passport", truth, sides: vec![side], altered: alteration.map(Alteration::field) }
}

fn old_french(chance: &mut Chance, alteration: Option<Alteration>) -> Card {
    let person = Person::any(chance, "FRA");
    let number = format!(
        "{:02}{:02}{}{}",
        12 + chance.below(9),
        1 + chance.below(12),
        chance.pick(&["751", "591", "921", "2A1"]),
        chance.digits(5)
    );
    let paper = Paper {
        code: "ID",
        issuer: "FRA",
        number,
        expiry: String::new(),
        optional: [format!("{}{}", chance.digits(3), chance.digits(3)), String::new()],
        with_filler: false,
    };
    let mut lines = zone::old_french(&person, &paper);
    let truth = truth(&person, &paper, None, lines.clone(), (25, 14));
    match alteration {
        Some(Alteration::Birth) => spoil(&mut lines[1], 28),
        Some(_) => spoil(&mut lines[1], 8),
        None => {}
    }
    let altered =
        alteration.map(|a| if a == Alteration::Birth { "birth_date" } else { "document_number" });
    let side = page(chance, &person, &paper, None, &[FRENCH, FRENCH], &lines, (105.0, 74.0));
    Card { kind: "old french", truth, sides: vec![side], altered }
}

// --- drawing ---

const INK: Colour = [24, 26, 34];

fn mm(length: f32) -> f32 {
    length * SCALE
}

/// A tinted surface with fine waves, so that letters do not stand on nothing.
fn ground(chance: &mut Chance, size: (f32, f32)) -> Canvas {
    let tint = chance.pick(&[
        [226u8, 232, 240],
        [236, 228, 222],
        [222, 236, 226],
        [238, 234, 218],
        [230, 226, 238],
    ]);
    let mut canvas = Canvas::new(mm(size.0) as usize, mm(size.1) as usize, tint);
    let (phase, step) = (chance.between(0.0, 6.0), chance.between(1.6, 3.2));
    let depth = chance.between(4.0, 14.0);
    for y in 0..canvas.height {
        for x in 0..canvas.width {
            let (fx, fy) = (x as f32 / SCALE, y as f32 / SCALE);
            let wave =
                ((fy + (fx * 0.35 + phase).sin() * 1.8) * std::f32::consts::TAU / step).sin();
            let from = (y * canvas.width + x) * 3;
            for pixel in &mut canvas.pixels[from..from + 3] {
                *pixel = (f32::from(*pixel) + wave * depth * 0.5).clamp(0.0, 255.0) as u8;
            }
        }
    }
    canvas
}

/// A face that is nobody's.
fn portrait(
    canvas: &mut Canvas,
    chance: &mut Chance,
    (x, y): (f32, f32),
    (width, height): (f32, f32),
) {
    let back = chance.pick(&[[200u8, 204, 210], [212, 206, 198]]);
    canvas.rectangle(mm(x) as i32, mm(y) as i32, mm(width) as i32, mm(height) as i32, back);
    let skin = chance.pick(&[[196u8, 160, 136], [150, 112, 88], [110, 78, 58], [214, 182, 160]]);
    let cloth = chance.pick(&[[60u8, 70, 96], [90, 60, 60], [50, 80, 66]]);
    let centre = (mm(x + width / 2.0), mm(y + height * 0.42));
    canvas.ellipse((centre.0, mm(y + height * 0.95)), (mm(width * 0.4), mm(height * 0.22)), cloth);
    canvas.ellipse(
        (centre.0, centre.1 - mm(height * 0.04)),
        (mm(width * 0.29), mm(height * 0.31)),
        [52, 40, 34],
    );
    canvas.ellipse(centre, (mm(width * 0.24), mm(height * 0.28)), skin);
    for side in [-0.1, 0.1] {
        let eye = (centre.0 + mm(width * side), centre.1 - mm(height * 0.03));
        canvas.ellipse(eye, (mm(width * 0.035), mm(height * 0.02)), [30, 30, 30]);
    }
}

fn label(labels: &[Labels; 2], nr: usize) -> String {
    if labels[0][nr] == labels[1][nr] {
        labels[0][nr].to_owned()
    } else {
        format!("{} / {}", labels[0][nr], labels[1][nr])
    }
}

fn printed(chance: &mut Chance, (year, month, day): (u16, u8, u8)) -> String {
    let between = chance.pick(&[".", " ", "/", "."]);
    format!("{day:02}{between}{month:02}{between}{year}")
}

fn specimen(canvas: &mut Canvas, at: (f32, f32), size: f32) {
    canvas.lettered(
        Face::SansBold,
        mm(size),
        (mm(at.0), mm(at.1)),
        [190, 40, 40],
        0.75,
        None,
        "SPECIMEN",
    );
}

fn front(
    chance: &mut Chance,
    person: &Person,
    paper: &Paper,
    expires: (u16, u8, u8),
    labels: &[Labels; 2],
    is_new: bool,
) -> Side {
    let mut side = Side::new(chance, (85.6, 54.0));
    let title = match labels[0][0] {
        "Naam" => "IDENTITEITSKAART",
        "Nom" => "CARTE D'IDENTITE",
        "Name" => "PERSONALAUSWEIS",
        _ => "IDENTITY CARD",
    };
    side.canvas.text(Face::SansBold, mm(3.6), (mm(4.0), mm(5.6)), [40, 60, 120], title);
    side.canvas.text(Face::Sans, mm(2.6), (mm(52.0), mm(5.4)), [40, 60, 120], "IDENTITY CARD");
    let (photo, text) = if is_new { (4.0, 31.0) } else { (59.0, 5.0) };
    side.photo(chance, (photo, 10.0), (22.5, 29.0));
    side.entry(Part::Surname, (text, 11.0), &label(labels, 0), &person.surname);
    side.entry(Part::Given, (text, 18.0), &label(labels, 1), &person.given);
    side.entry(Part::Sex, (text, 25.0), &label(labels, 2), &person.sex.to_string());
    side.entry(Part::Nationality, (text + 22.0, 25.0), &label(labels, 3), person.nationality);
    let born = printed(chance, person.birth);
    side.entry(Part::Birth, (text, 32.0), &label(labels, 4), &born);
    let until = printed(chance, expires);
    side.entry(Part::Expiry, (text, 39.0), &label(labels, 5), &until);
    let number = match paper.number.len() {
        12 if paper.issuer == "BEL" => {
            format!("{}-{}-{}", &paper.number[..3], &paper.number[3..10], &paper.number[10..])
        }
        _ => paper.number.clone(),
    };
    side.entry(Part::Number, (text, 46.0), &label(labels, 6), &number);
    specimen(&mut side.canvas, (photo, 45.5), 4.2);
    side
}

/// Where the first letter of a zone stands, and how its lines follow: a tenth of an inch a letter.
const PITCH: f32 = 2.54;

fn write_zone(
    canvas: &mut Canvas,
    lines: &[String],
    (left, first): (f32, f32),
    step: f32,
) -> [f32; 4] {
    let (high, wide) = Face::OcrB.measures();
    let size = mm(PITCH) / wide;
    for (nr, line) in lines.iter().enumerate() {
        let y = first + step * nr as f32;
        canvas.lettered(
            Face::OcrB,
            size,
            (mm(left), mm(y)),
            [16, 16, 20],
            1.0,
            Some(mm(PITCH)),
            line,
        );
    }
    let cap = high * size / SCALE;
    let right = left + PITCH * lines[0].len() as f32;
    [left, first - cap, right, first + step * (lines.len() - 1) as f32]
}

/// Height in millimetres of a capital in a zone.
pub fn letter_height() -> f32 {
    let (high, wide) = Face::OcrB.measures();
    high * PITCH / wide
}

fn back(
    chance: &mut Chance,
    lines: &[String],
    national: Option<&str>,
    labels: &[Labels; 2],
) -> Side {
    let mut side = Side::new(chance, (85.6, 54.0));
    let place = chance.pick(&["Genk", "Liège", "Gent", "Eupen", "Antwerpen", "Namur"]);
    let word = if labels[0][0] == "Nom" {
        "Lieu de naissance / Place of birth"
    } else {
        "Geboorteplaats / Place of birth"
    };
    side.entry(Part::Birthplace, (5.0, 6.0), word, place);
    if let Some(national) = national {
        let shown = format!(
            "{}.{}.{}-{}.{}",
            &national[..2],
            &national[2..4],
            &national[4..6],
            &national[6..9],
            &national[9..]
        );
        side.entry(Part::National, (5.0, 14.0), &label(labels, 7), &shown);
    }
    // A chip, or what stands for one.
    side.canvas.rectangle(
        mm(62.0) as i32,
        mm(6.0) as i32,
        mm(12.0) as i32,
        mm(10.0) as i32,
        [204, 180, 110],
    );
    for line in 1..4 {
        side.canvas.rectangle(
            mm(62.0) as i32,
            mm(6.0 + 2.5 * line as f32) as i32,
            mm(12.0) as i32,
            3,
            [120, 100, 60],
        );
    }
    specimen(&mut side.canvas, (34.0, 27.0), 5.0);
    side.write_zone(lines, (4.7, 37.2), 5.6);
    side
}

fn page(
    chance: &mut Chance,
    person: &Person,
    paper: &Paper,
    expires: Option<(u16, u8, u8)>,
    labels: &[Labels; 2],
    lines: &[String],
    size: (f32, f32),
) -> Side {
    let mut side = Side::new(chance, size);
    let is_large = size.0 > 110.0;
    let title = match (is_large, labels[0][0]) {
        (true, "Naam") => "PASPOORT",
        (true, "Nom") => "PASSEPORT",
        (true, "Name") => "REISEPASS",
        (true, _) => "PASSPORT",
        (false, "Name") => "PERSONALAUSWEIS",
        (false, "Nom") => "CARTE NATIONALE D'IDENTITE",
        (false, _) => "IDENTITY CARD",
    };
    side.canvas.text(Face::SansBold, mm(3.8), (mm(4.0), mm(6.0)), [40, 60, 120], title);
    side.value(Part::Issuer, 3.4, (size.0 * 0.66, 6.0), paper.issuer);
    side.value(Part::Number, 3.4, (size.0 * 0.76, 6.0), &paper.number);
    let photo = if is_large { (33.0, 41.0) } else { (25.0, 32.0) };
    side.photo(chance, (4.0, 10.0), photo);
    let text = photo.0 + 8.0;
    let shout = chance.percent(50);
    let written = |text: &str| if shout { text.to_uppercase() } else { text.to_owned() };
    let mut y = 12.0;
    let step = if is_large { 8.2 } else { 7.4 };
    let born = printed(chance, person.birth);
    let sex = person.sex.to_string();
    let rows = [
        (Part::Surname, 0, written(&person.surname)),
        (Part::Given, 1, written(&person.given)),
        (Part::Nationality, 3, person.nationality.to_owned()),
        (Part::Birth, 4, born),
        (Part::Sex, 2, sex),
    ];
    for (part, nr, value) in rows {
        side.entry(part, (text, y), &label(labels, nr), &value);
        y += step;
    }
    if let Some(expires) = expires {
        let until = printed(chance, expires);
        side.entry(Part::Expiry, (text + 30.0, y - step), &label(labels, 5), &until);
    }
    specimen(&mut side.canvas, (size.0 * 0.72, if is_large { 40.0 } else { 30.0 }), 4.6);
    let left = (size.0 - PITCH * lines[0].len() as f32) / 2.0;
    side.write_zone(lines, (left, size.1 - 13.0), 6.4);
    side
}

/// As a name is written in a zone.
pub fn folded_name(name: &str) -> String {
    folded(name)
}
