//! Pictures of identity documents that nobody has: the set on which reading is measured.
//!
//! Everything follows from a seed, so that two machines measure the same pictures. The designs are
//! our own and resemble no state's; the names, numbers and faces are nobody's; each card says
//! SPECIMEN. What is right is known, because it was drawn.
//!
//! [`picture`] gives the set of each third of the table in `docs/identity.md`; the seeds were fixed
//! before anything was tuned.

pub mod canvas;
pub mod card;
pub mod chance;
pub mod codes;
pub mod degrade;
pub mod other;
pub mod person;
pub mod zone;

use chance::Chance;

/// How hard a picture is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Third {
    /// Tilted by two degrees at most, letters of 24 pixels and more, a good JPEG.
    Easy,
    /// A phone over a desk: any of four rotations, 15 degrees aslant, letters of 16 pixels and more.
    Middle,
    /// 25 degrees, letters of 12 pixels, glare, motion, photocopies, two sides on a page, scans.
    Hard,
}

impl Third {
    /// In the order of the table.
    pub const ALL: [Self; 3] = [Self::Easy, Self::Middle, Self::Hard];

    /// As it is called in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Middle => "middle",
            Self::Hard => "hard",
        }
    }

    /// Where its seeds begin. Fixed before anything was tuned; never changed.
    pub const fn seed(self) -> u64 {
        match self {
            Self::Easy => 0x6b6c_7569_7301_0000,
            Self::Middle => 0x6b6c_7569_7302_0000,
            Self::Hard => 0x6b6c_7569_7303_0000,
        }
    }
}

/// Where the seeds of altered cards begin.
pub const ALTERED_SEED: u64 = 0x6b6c_7569_7304_0000;
/// Where the seeds of pictures that are no documents begin.
pub const OTHER_SEED: u64 = 0x6b6c_7569_7305_0000;
/// Where the seeds of cards with codes for machines begin.
pub const CODED_SEED: u64 = 0x6b6c_7569_7306_0000;
/// Pictures of each third.
pub const PER_THIRD: u64 = 300;
/// Altered cards.
pub const ALTERED: u64 = 150;
/// Pictures that are no documents.
pub const OTHERS: u64 = 500;

/// What a document says, as its zone says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// The lines of the zone.
    pub lines: Vec<String>,
    /// Its number, without fillers.
    pub document_number: String,
    /// Surname, words apart.
    pub surname: String,
    /// Given names, words apart.
    pub given_names: String,
    /// `YYYY-MM-DD`.
    pub birth_date: String,
    /// `YYYY-MM-DD`; empty where the document says none.
    pub expiry_date: String,
    /// `M` or `F`.
    pub sex: String,
    /// Three letters, or `D`; empty where the document says none.
    pub nationality: String,
    /// Three letters, or `D`.
    pub issuer: String,
}

impl Truth {
    /// Each field by the name that `kluis id` gives it.
    pub fn fields(&self) -> [(&'static str, &str); 8] {
        [
            ("document_number", &self.document_number),
            ("surname", &self.surname),
            ("given_names", &self.given_names),
            ("birth_date", &self.birth_date),
            ("expiry_date", &self.expiry_date),
            ("sex", &self.sex),
            ("nationality", &self.nationality),
            ("issuer", &self.issuer),
        ]
    }
}

/// What a document says of its holder, by where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Surname,
    Given,
    Expiry,
    Issuer,
    Birth,
    Birthplace,
    Sex,
    Nationality,
    Number,
    National,
    Photo,
    Zone,
    Code,
}

impl Part {
    /// Whether a mask may show it.
    pub const fn may_be_shown(self) -> bool {
        matches!(self, Self::Surname | Self::Given | Self::Expiry | Self::Issuer)
    }
}

/// Four corners, in parts of the width and the height of the picture as it is seen.
pub type Corners = [(f32, f32); 4];

/// Where a part of a document is in the picture.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub part: Part,
    /// From the top of its capitals to the line on which they stand.
    pub corners: Corners,
    /// The same with a millimetre around it: accents, what hangs below the line.
    pub around: Corners,
}

/// A picture, and what is on it.
#[derive(Clone)]
pub struct Picture {
    /// The file.
    pub bytes: Vec<u8>,
    /// What kind of file: `jpg`, `png`, `webp`, `tiff`, `pdf`.
    pub extension: &'static str,
    /// Which design it is, and what happened to it; for sorting failures by cause.
    pub kind: String,
    /// What was drawn.
    pub truth: Truth,
    /// Where it was drawn.
    pub places: Vec<Place>,
    /// Of an altered card, the field that is not what its check digit or its other side says.
    pub altered: Option<&'static str>,
}

/// The `nr`th picture of a third.
pub fn picture(third: Third, nr: u64) -> Picture {
    let mut chance = Chance::new(third.seed() + nr);
    let card = card::any(&mut chance, None);
    degrade::photographed(&mut chance, third, card)
}

/// The `nr`th altered card: as easy to read as can be, so that nothing but the alteration is wrong.
pub fn altered(nr: u64) -> Picture {
    let mut chance = Chance::new(ALTERED_SEED + nr);
    let alteration =
        card::Alteration::ALL[usize::try_from(nr).unwrap_or(0) % card::Alteration::ALL.len()];
    let card = card::any(&mut chance, Some(alteration));
    degrade::photographed(&mut chance, Third::Easy, card)
}

/// The `nr`th card with codes for machines on it, and the national number that they have.
pub fn coded(nr: u64) -> (Picture, String) {
    let mut chance = Chance::new(CODED_SEED + nr);
    let (card, national) = card::coded(&mut chance);
    (degrade::photographed(&mut chance, Third::Easy, card), national)
}

/// The `nr`th picture that is no document, and what it is.
pub fn other(nr: u64) -> (Vec<u8>, &'static str, &'static str) {
    other::any(&mut Chance::new(OTHER_SEED + nr), nr)
}
