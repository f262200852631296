//! Pictures and pages that are no identity documents: invoices, CVs, payslips, bank cards, photos.

use super::canvas::{Canvas, Face};
use super::chance::Chance;
use super::degrade;
use super::person::Person;

/// Any of them: the file, its extension, what it is.
pub fn any(chance: &mut Chance, nr: u64) -> (Vec<u8>, &'static str, &'static str) {
    let (canvas, kind) = match nr % 7 {
        0 => (invoice(chance), "invoice"),
        1 => (curriculum(chance), "CV"),
        2 => (payslip(chance), "payslip"),
        3 => (bank_card(chance), "bank card"),
        4 => (photo(chance), "photo"),
        5 => (ticket(chance), "ticket"),
        _ => (badge(chance), "badge"),
    };
    if nr % 7 < 3 && chance.percent(25) {
        return (degrade::pdf(&[degrade::jpeg(&canvas, 70)]), "pdf", kind);
    }
    (degrade::somehow(chance, canvas), "jpg", kind)
}

const INK: [u8; 3] = [30, 30, 36];

struct Page {
    canvas: Canvas,
    y: f32,
    face: Face,
    size: f32,
}

impl Page {
    fn new(chance: &mut Chance) -> Self {
        let size = chance.between(19.0, 27.0);
        let face = chance.pick(&[Face::Sans, Face::Serif, Face::Plain]);
        Self { canvas: Canvas::new(1100, 1556, [250; 3]), y: 110.0, face, size }
    }

    fn line(&mut self, text: &str) {
        self.canvas.text(self.face, self.size, (90.0, self.y), INK, text);
        self.y += self.size * 1.5;
    }

    fn columns(&mut self, parts: &[&str]) {
        for (nr, part) in parts.iter().enumerate() {
            let x = 90.0 + 920.0 * nr as f32 / parts.len() as f32;
            self.canvas.text(self.face, self.size, (x, self.y), INK, part);
        }
        self.y += self.size * 1.5;
    }

    fn title(&mut self, text: &str) {
        self.canvas.text(Face::SansBold, self.size * 1.8, (90.0, self.y), INK, text);
        self.y += self.size * 3.0;
    }
}

fn date(chance: &mut Chance) -> String {
    format!("{:02}/{:02}/{}", 1 + chance.below(28), 1 + chance.below(12), 1960 + chance.below(70))
}

fn invoice(chance: &mut Chance) -> Canvas {
    let person = Person::any(chance, "BEL");
    let mut page = Page::new(chance);
    page.title(chance.pick(&["FACTUUR", "FACTURE", "RECHNUNG", "INVOICE"]));
    page.line(&format!("{} {}", person.given, person.surname));
    page.line("Stationsstraat 12, 3600 Genk");
    let (nr, day) = (chance.digits(8), date(chance));
    page.columns(&["Nr.", &nr, "Datum", &day]);
    page.line(&format!("BTW BE 0449.516.509   IBAN BE71 0961 2345 {}", chance.digits(4)));
    page.y += 40.0;
    for _ in 0..4 + chance.below(14) {
        let (count, price) =
            (chance.digits(1), format!("{},{}", chance.digits(3), chance.digits(2)));
        page.columns(&["Levering <artikel>", &count, &price, &price]);
    }
    page.line("+++010/8068/17183+++");
    page.line("<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<");
    page.canvas
}

fn curriculum(chance: &mut Chance) -> Canvas {
    let person = Person::any(chance, "BEL");
    let mut page = Page::new(chance);
    page.title("Curriculum vitae");
    let born = date(chance);
    for (label, value) in [
        ("Naam", person.surname.as_str()),
        ("Voornaam", &person.given),
        ("Geboortedatum", &born),
        ("Nationaliteit", "Belg"),
        ("Rijbewijs", "B"),
    ] {
        page.columns(&[label, value]);
    }
    if chance.percent(30) {
        let national = person.national_number(chance);
        page.columns(&["Rijksregisternummer", &national]);
    }
    for _ in 0..6 + chance.below(12) {
        let years = format!("{} - {}", 1995 + chance.below(15), 2010 + chance.below(15));
        page.columns(&[&years, "Magazijnier, Genk"]);
    }
    page.canvas
}

fn payslip(chance: &mut Chance) -> Canvas {
    let person = Person::any(chance, "BEL");
    let mut page = Page::new(chance);
    page.title(chance.pick(&["LOONBRIEF", "FICHE DE PAIE", "LOHNABRECHNUNG"]));
    page.line(&format!("Naam  {} {}", person.surname, person.given));
    let national = person.national_number(chance);
    page.columns(&["Rijksregisternummer", &national]);
    let born = date(chance);
    page.columns(&["Geboortedatum", &born, "Geslacht", "M"]);
    for word in ["Bruto", "RSZ", "Belastbaar", "Bedrijfsvoorheffing", "Maaltijdcheques", "Netto"] {
        let amount = format!("{}.{},{}", chance.digits(1), chance.digits(3), chance.digits(2));
        page.columns(&[word, &amount]);
    }
    page.line(&format!("IBAN BE71 0961 2345 {}", chance.digits(4)));
    page.canvas
}

fn bank_card(chance: &mut Chance) -> Canvas {
    let person = Person::any(chance, "BEL");
    let colour = chance.pick(&[[40u8, 80, 160], [30, 110, 80], [160, 40, 60], [200, 200, 206]]);
    let mut canvas = Canvas::new(1300, 840, [120, 100, 80]);
    canvas.rectangle(60, 60, 1180, 720, colour);
    canvas.rectangle(150, 280, 150, 120, [214, 190, 120]);
    let ink = if colour[0] > 190 { INK } else { [245; 3] };
    canvas.text(Face::SansBold, 60.0, (140.0, 160.0), ink, "BANCONTACT");
    let number: Vec<String> = (0..4).map(|_| chance.digits(4)).collect();
    canvas.text(Face::OcrB, 72.0, (140.0, 520.0), ink, &number.join(" "));
    canvas.text(Face::OcrB, 40.0, (140.0, 610.0), ink, "VALID THRU 09/29");
    let name = person.folded_surname();
    canvas.text(
        Face::OcrB,
        44.0,
        (140.0, 700.0),
        ink,
        &format!("{} {name}", person.folded_given()),
    );
    canvas
}

fn photo(chance: &mut Chance) -> Canvas {
    let (width, height) = (900 + chance.index(500), 700 + chance.index(500));
    let mut canvas = Canvas::new(width, height, [128; 3]);
    let (a, b) = (chance.between(0.002, 0.02), chance.between(0.002, 0.02));
    let tint: Vec<f32> = (0..3).map(|_| chance.between(0.4, 1.0)).collect();
    for y in 0..height {
        for x in 0..width {
            let value = 128.0 + 100.0 * ((x as f32 * a).sin() * (y as f32 * b).cos());
            let from = (y * width + x) * 3;
            for part in 0..3 {
                canvas.pixels[from + part] = (value * tint[part]).clamp(0.0, 255.0) as u8;
            }
        }
    }
    for _ in 0..3 + chance.below(20) {
        let centre = (chance.between(0.0, width as f32), chance.between(0.0, height as f32));
        let reach = (chance.between(10.0, 160.0), chance.between(10.0, 160.0));
        let colour = [chance.below(256) as u8, chance.below(256) as u8, chance.below(256) as u8];
        canvas.ellipse(centre, reach, colour);
    }
    if chance.percent(30) {
        // A row of bars, as on a fence, or of chevrons, as on a road.
        for nr in 0..40 {
            canvas.rectangle(20 + nr * 24, height as i32 / 2, 10, 60, [20; 3]);
        }
        canvas.text(
            Face::SansBold,
            60.0,
            (40.0, height as f32 * 0.8),
            [250, 220, 40],
            "<<<<<<<<<<<<<<<<<<<<<<<<<<",
        );
    }
    canvas
}

/// A boarding pass: letters and digits of a fixed width, in lines.
fn ticket(chance: &mut Chance) -> Canvas {
    let person = Person::any(chance, "BEL");
    let mut canvas = Canvas::new(1400, 620, [248; 3]);
    let mut y = 90.0;
    let face = chance.pick(&[Face::Mono, Face::OcrB]);
    let rows = [
        format!("{}/{} MR", person.folded_surname(), person.folded_given()),
        format!("BRU-LIS  SN{}  {}", chance.digits(4), date(chance)),
        format!("GATE B{}  SEAT {}A  SEQ {}", chance.digits(2), chance.digits(2), chance.digits(3)),
        format!("ETKT {}{}", chance.digits(3), chance.digits(10)),
        format!(
            "M1{:<20}E{}BRULISSN {}",
            person.folded_surname(),
            chance.letters("ABCDEFGHJKLMNPQRSTUVWXYZ", 6),
            chance.digits(4)
        ),
        format!("{}>{}<<{}", chance.digits(10), chance.digits(8), chance.digits(12)),
    ];
    for row in rows {
        canvas.text(face, 44.0, (60.0, y), INK, &row);
        y += 84.0;
    }
    canvas
}

/// A card of a company or a shop, with a photo and a number.
fn badge(chance: &mut Chance) -> Canvas {
    let person = Person::any(chance, "BEL");
    let mut canvas = Canvas::new(1200, 760, [236, 240, 244]);
    canvas.ellipse((240.0, 330.0), (120.0, 150.0), [190, 150, 120]);
    canvas.text(Face::SansBold, 64.0, (460.0, 130.0), [20, 80, 140], "JOB EXPERT");
    canvas.text(Face::Sans, 40.0, (460.0, 240.0), INK, &format!("Naam: {}", person.surname));
    canvas.text(Face::Sans, 40.0, (460.0, 310.0), INK, &format!("Voornaam: {}", person.given));
    let born = date(chance);
    canvas.text(Face::Sans, 40.0, (460.0, 380.0), INK, &format!("Geboren: {born}"));
    let number = chance.digits(12);
    canvas.text(Face::Mono, 44.0, (460.0, 470.0), INK, &format!("Nr. {number}"));
    canvas.text(Face::Sans, 34.0, (460.0, 560.0), INK, "Geldig tot 12/2028");
    canvas
}
