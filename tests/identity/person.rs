//! People who do not exist.

use super::chance::Chance;

/// Somebody.
#[derive(Clone, Debug)]
pub struct Person {
    pub surname: String,
    pub given: String,
    /// Year, month, day.
    pub birth: (u16, u8, u8),
    pub sex: char,
    pub nationality: &'static str,
}

const SURNAMES: [&str; 72] = [
    "Peeters",
    "Janssens",
    "Maes",
    "Jacobs",
    "Willems",
    "Mertens",
    "Claes",
    "Goossens",
    "Wouters",
    "De Smet",
    "Van den Broeck",
    "Vandevelde",
    "Dupont",
    "Lambert",
    "Dubois",
    "Lefèvre",
    "Martin",
    "Leroy",
    "Müller",
    "Schröder",
    "Weiß",
    "Krüger",
    "Schmitz",
    "Kowalski",
    "Wiśniewski",
    "Nowak",
    "Zieliński",
    "Popescu",
    "Ionescu",
    "Stănescu",
    "Ivanov",
    "Dimitrova",
    "Petrov",
    "Rossi",
    "Esposito",
    "D'Angelo",
    "García López",
    "Fernández",
    "Silva",
    "Sousa Pereira",
    "Yılmaz",
    "Demir",
    "El Amrani",
    "Benali",
    "Bouazza",
    "Haddad",
    "Diallo",
    "Mbeki",
    "Tshibanda",
    "Okafor",
    "Nguyen",
    "Singh",
    "Kaur",
    "Virtanen",
    "Korhonen",
    "Van Hecke",
    "Desmedt",
    "Vermeulen",
    "Verhaegen",
    "Hendrickx",
    "Cools",
    "Baert",
    "Michiels",
    "Aerts",
    "Quintens",
    "Xhonneux",
    "Wijngaert",
    "Zwaenepoel",
    "Fontaine",
    "Gérard",
    "Bastiaensen",
    "Ouedraogo",
];

const WOMEN: [&str; 28] = [
    "Lotte",
    "Marie Louise",
    "Nadia",
    "Fatima Zohra",
    "Ulrike Katia",
    "Eva",
    "Petra",
    "Sofie",
    "An",
    "Els",
    "Chloé",
    "Inès",
    "Anna Maria",
    "Katarzyna",
    "Ioana",
    "Giulia",
    "Carmen",
    "Inês",
    "Ayşe",
    "Aïcha",
    "Grace",
    "Thi Mai",
    "Harpreet",
    "Aino",
    "Geneviève",
    "Joke",
    "Zoë",
    "Griet",
];

const MEN: [&str; 28] = [
    "Jan",
    "Jean Pierre",
    "Youssef",
    "Mohamed Amine",
    "Jürgen",
    "Kevin",
    "Pieter Jan",
    "Bram",
    "Tom",
    "Luc",
    "Théo",
    "Noël",
    "Marek",
    "Piotr",
    "Andrei",
    "Luca",
    "José",
    "João",
    "Mehmet",
    "Karim",
    "Emeka",
    "Van Duc",
    "Gurpreet",
    "Mikko",
    "François Xavier",
    "Koen",
    "Xavier",
    "Dirk",
];

impl Person {
    pub fn any(chance: &mut Chance, nationality: &'static str) -> Self {
        let woman = chance.percent(50);
        let given = if woman { chance.pick(&WOMEN) } else { chance.pick(&MEN) };
        Self {
            surname: chance.pick(&SURNAMES).to_owned(),
            given: given.to_owned(),
            birth: (
                1950 + chance.below(56) as u16,
                1 + chance.below(12) as u8,
                1 + chance.below(28) as u8,
            ),
            sex: if woman { 'F' } else { 'M' },
            nationality,
        }
    }

    /// Another one, to put in this one's place.
    pub fn other_surname(&self, chance: &mut Chance) -> String {
        loop {
            let other = chance.pick(&SURNAMES);
            if folded(other) != self.folded_surname() {
                return other.to_owned();
            }
        }
    }

    pub fn birth_six(&self) -> String {
        let (year, month, day) = self.birth;
        format!("{:02}{month:02}{day:02}", year % 100)
    }

    pub fn folded_surname(&self) -> String {
        folded(&self.surname)
    }

    pub fn folded_given(&self) -> String {
        folded(&self.given)
    }

    /// A national number that is right.
    pub fn national_number(&self, chance: &mut Chance) -> String {
        let series = 2 * (1 + chance.below(480)) - u64::from(self.sex == 'M');
        let nine = format!("{}{series:03}", self.birth_six());
        let prefix = if self.birth.0 >= 2000 { "2" } else { "" };
        let number: u64 = format!("{prefix}{nine}").parse().expect("digits");
        format!("{nine}{:02}", 97 - number % 97)
    }
}

/// As a zone writes a name (ICAO 9303-3 §6.A).
pub fn folded(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars().flat_map(char::to_uppercase) {
        match letter {
            'A'..='Z' | ' ' => out.push(letter),
            '-' => out.push(' '),
            'Ä' => out.push_str("AE"),
            'Ö' => out.push_str("OE"),
            'Ü' => out.push_str("UE"),
            'ß' => out.push_str("SS"),
            'À' | 'Á' | 'Â' | 'Ã' | 'Ă' => out.push('A'),
            'È' | 'É' | 'Ê' | 'Ë' => out.push('E'),
            'Ì' | 'Í' | 'Î' | 'Ï' | 'İ' => out.push('I'),
            'Ò' | 'Ó' | 'Ô' | 'Õ' => out.push('O'),
            'Ù' | 'Ú' | 'Û' => out.push('U'),
            'Ç' => out.push('C'),
            'Ñ' | 'Ń' => out.push('N'),
            'Ś' | 'Ş' => out.push('S'),
            'Ł' => out.push('L'),
            _ => {}
        }
    }
    out
}
