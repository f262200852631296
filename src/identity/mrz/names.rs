//! Names in the zone, and whether they can be those of a person on file.
//!
//! A zone has the letters A to Z only. `Jürgen` may stand there as JURGEN, JUERGEN or JUXXRGEN, each
//! legal (ICAO 9303-3 §6.A), so a name on file is compared as the set of what it may be written as,
//! never as one form. A name that fills its field may be cut off: then its beginning counts. Pure.

use std::fmt;

use icu_normalizer::DecomposingNormalizerBorrowed;

/// The names of a zone. `Debug` does not show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The primary identifier, words apart.
    pub surname: String,
    /// The secondary one; empty where there is none.
    pub given: String,
    /// The last place holds a letter: there may have been more.
    pub may_be_cut: bool,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("may_be_cut", &self.may_be_cut).finish_non_exhaustive()
    }
}

/// How a name on file and the names of a zone go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameMatch {
    /// The surname and a given name are the same.
    Agrees,
    /// What there is agrees, but it is only a surname, or an initial.
    Partly,
    /// It is another name.
    Differs,
}

/// Words of a name that are compared, and letters of each.
const MOST_WORDS: usize = 16;
const MOST_LETTERS: usize = 40;

impl Names {
    /// Of a field that holds both, apart by two fillers (ICAO 9303-3 §4.6).
    pub(super) fn of_field(field: &str) -> Self {
        let (surname, given) = field.trim_end_matches('<').split_once("<<").unwrap_or((field, ""));
        Self { surname: words(surname), given: words(given), may_be_cut: is_full(field) }
    }

    /// Of two fields, as old French cards have them.
    pub(super) fn of_fields(surname: &str, given: &str) -> Self {
        let may_be_cut = is_full(surname) || is_full(given);
        Self { surname: words(surname), given: words(given), may_be_cut }
    }

    /// Whether a name on file can be this one, whatever the order of its words.
    #[must_use]
    pub fn agrees(&self, on_file: &str) -> NameMatch {
        let record: Vec<Word> = written(on_file);
        let (surname, given) = (parts(&self.surname), parts(&self.given));
        if record.is_empty() || surname.is_empty() {
            return NameMatch::Differs;
        }
        let cut = self.may_be_cut && given.is_empty();
        let mut best = NameMatch::Differs;
        for (start, end) in runs(&record, &surname.concat(), cut) {
            let rest: Vec<&Word> = record[..start].iter().chain(&record[end..]).collect();
            let found = rest_agrees(&given, &rest, self.may_be_cut);
            if found == NameMatch::Agrees {
                return found;
            }
            best = if found == NameMatch::Differs { best } else { found };
        }
        let is_cut = best == NameMatch::Differs && self.may_be_cut;
        if is_cut && are_beginnings(&surname, &given, &record) { NameMatch::Partly } else { best }
    }

    /// Whether a name is the surname and one given name or more, in either order, and no other word.
    #[must_use]
    pub fn is_exactly(&self, name: &str) -> bool {
        let record: Vec<Word> = written(name);
        let (surname, given) = (parts(&self.surname), parts(&self.given));
        if record.is_empty() || surname.is_empty() || given.is_empty() {
            return false;
        }
        runs(&record, &surname.concat(), false).into_iter().any(|(start, end)| {
            let rest: Vec<&Word> = record[..start].iter().chain(&record[end..]).collect();
            let is_given =
                |word: &&Word| rest_agrees(&given, &[*word], self.may_be_cut) == NameMatch::Agrees;
            !rest.is_empty() && rest.iter().all(is_given)
        })
    }
}

/// Whether each word of a zone is the beginning of one on file: where not all fits, issuers cut words off
/// in the middle, not only the last one (ICAO 9303-3 §4.6). One of them must say more than an initial does.
fn are_beginnings(surname: &[&str], given: &[&str], record: &[Word]) -> bool {
    const TELLING: usize = 4;
    let is_beginning = |word: &Word, part: &str| word.fits(part, true);
    let is_telling = surname.iter().any(|part| part.len() >= TELLING);
    let last = record.len().saturating_sub(surname.len());
    is_telling
        && (0..=last).any(|start| {
            let of_surname = record[start..].iter().zip(surname);
            let rest: Vec<&Word> =
                record[..start].iter().chain(record.iter().skip(start + surname.len())).collect();
            of_surname.len() == surname.len()
                && of_surname.clone().all(|(word, part)| is_beginning(word, part))
                && given.iter().all(|part| rest.iter().any(|word| is_beginning(word, part)))
        })
}

/// Whether the words of a name on file that are no surname are the given names.
fn rest_agrees(given: &[&str], rest: &[&Word], may_be_cut: bool) -> NameMatch {
    if given.is_empty() || rest.is_empty() {
        return NameMatch::Partly;
    }
    let last = given.len() - 1;
    // The whole of it in one: `ANNE<MARIE` for `Annemarie`.
    let joined = given.concat();
    let is_one = |word: &&Word| {
        word.fits(&joined, may_be_cut)
            || given
                .iter()
                .enumerate()
                .any(|(at, name)| name.len() > 1 && word.fits(name, may_be_cut && at == last))
    };
    if rest.iter().any(is_one) {
        return NameMatch::Agrees;
    }
    let initial = |word: &&Word| word.is_initial_of(given[0]) || word.begins_with_initial(given);
    if rest.iter().any(initial) { NameMatch::Partly } else { NameMatch::Differs }
}

/// The runs of words on file that together are this surname: `Van den Broeck`, `Vandenbroeck`.
fn runs(record: &[Word], surname: &str, may_be_cut: bool) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for start in 0..record.len() {
        let mut joined = Word::default();
        for (end, word) in record.iter().enumerate().skip(start) {
            joined.0.extend(word.0.iter().cloned());
            if joined.fits(surname, may_be_cut) {
                found.push((start, end + 1));
            }
        }
    }
    found
}

/// A word of a name on file: for each of its letters what may stand for it.
#[derive(Clone, Default)]
struct Word(Vec<Vec<String>>);

impl Word {
    /// Whether `name` is one of the ways to write it, or the beginning of one where it may be cut.
    fn fits(&self, name: &str, may_be_cut: bool) -> bool {
        // The places of the name that the letters so far may have come to.
        let mut places = vec![0];
        for letter in &self.0 {
            if may_be_cut && places.contains(&name.len()) {
                return true;
            }
            let mut next = Vec::new();
            for place in places {
                for form in letter {
                    let rest = &name[place..];
                    if rest.starts_with(form.as_str()) {
                        next.push(place + form.len());
                    } else if may_be_cut && form.starts_with(rest) {
                        return true;
                    }
                }
            }
            next.sort_unstable();
            next.dedup();
            places = next;
        }
        places.contains(&name.len())
    }

    /// Whether the word is one letter, the first of the name: `J.` of JEAN.
    fn is_initial_of(&self, name: &str) -> bool {
        self.0.len() == 1 && self.0[0].iter().any(|form| name.starts_with(form.as_str()))
    }

    /// Whether the zone has an initial only, and the word begins with it.
    fn begins_with_initial(&self, given: &[&str]) -> bool {
        let first = self.0.first().into_iter().flatten();
        let is_first = |initial: &str| first.clone().any(|form| form.starts_with(initial));
        given.iter().any(|name| name.len() == 1 && is_first(name))
    }
}

fn is_full(field: &str) -> bool {
    !field.ends_with('<')
}

fn words(field: &str) -> String {
    parts(field).join(" ")
}

fn parts(text: &str) -> Vec<&str> {
    text.split(['<', ' ']).filter(|word| !word.is_empty()).collect()
}

/// The words of a name on file: apart at spaces, hyphens and commas; apostrophes and dots fall away
/// (ICAO 9303-3 §4.6).
fn written(name: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for word in name.split(|c: char| c.is_whitespace() || "-‐‑–,;/".contains(c)) {
        let letters: Vec<_> =
            word.chars().take(MOST_LETTERS).map(forms).filter(|forms| !forms.is_empty()).collect();
        if !letters.is_empty() && words.len() < MOST_WORDS {
            words.push(Word(letters));
        }
    }
    words
}

/// What may stand for a letter; nothing for what is left out.
pub(in crate::identity) fn forms(letter: char) -> Vec<String> {
    let own = |forms: &[&str]| forms.iter().map(|form| (*form).to_owned()).collect();
    // The capital of ß is two letters, and its own form here too.
    let upper = Some(letter).filter(|letter| *letter == 'ß');
    let upper = upper.or_else(|| letter.to_uppercase().next()).unwrap_or(letter);
    match upper {
        'A'..='Z' => vec![upper.to_string()],
        'Ä' => own(&["AE", "A", "AXX"]),
        'Å' => own(&["AA", "A", "AXX"]),
        'Æ' => own(&["AE"]),
        'Ð' | 'Đ' => own(&["D", "DH", "DJ"]),
        'Ñ' => own(&["N", "NXX"]),
        'Ö' => own(&["OE", "O", "OXX"]),
        'Ø' => own(&["OE", "O"]),
        'Ü' => own(&["UE", "U", "UXX"]),
        'Þ' => own(&["TH"]),
        'ẞ' | 'ß' => own(&["SS"]),
        'Ĳ' => own(&["IJ"]),
        'Œ' => own(&["OE"]),
        'Ł' => own(&["L"]),
        'İ' | 'ı' => own(&["I"]),
        'Ŋ' => own(&["N"]),
        'Ħ' => own(&["H"]),
        'Ŧ' => own(&["T"]),
        // Everything else is written as its base letter: Š, É, Ș, Ț …
        _ => {
            let text = upper.to_string();
            let parts = DecomposingNormalizerBorrowed::new_nfd().normalize(&text).into_owned();
            let base = parts.chars().find(char::is_ascii_alphabetic);
            base.map(|base| vec![base.to_ascii_uppercase().to_string()]).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(field: &str) -> Names {
        Names::of_field(field)
    }

    #[test]
    fn a_name_on_file_agrees_however_a_zone_may_write_it() {
        for (field, on_file) in [
            ("DUPONT<<JEAN<PIERRE<L<<<<<<<<<", "Jean-Pierre Dupont"),
            ("VAN<DEN<BROECK<<JAN<<<<<<<<<<<", "Van den Broeck Jan"),
            ("VAN<DEN<BROECK<<JAN<<<<<<<<<<<", "Jan Vandenbroeck"),
            ("VANDENBROECK<<JAN<<<<<<<<<<<<<", "jan van den broeck"),
            ("MUELLER<<JURGEN<<<<<<<<<<<<<<<", "Jürgen Müller"),
            ("MULLER<<JUERGEN<<<<<<<<<<<<<<<", "Jürgen Müller"),
            ("MUXXLLER<<JUXXRGEN<<<<<<<<<<<<", "MÜLLER Jürgen"),
            ("DARTAGNAN<<CHARLES<<<<<<<<<<<<", "Charles d'Artagnan"),
            ("STEFANESCU<<TUDOR<<<<<<<<<<<<<", "Tudor Ștefănescu"),
            ("CALAPTEANU<<ION<<<<<<<<<<<<<<<", "Ion Călapțeanu"),
            ("LOEWE<<SOEREN<<<<<<<<<<<<<<<<<", "Søren Löwe"),
            ("WALESA<<LECH<<<<<<<<<<<<<<<<<<", "Lech Wałęsa"),
            ("STRASSER<<ANNE<MARIE<<<<<<<<<<", "Annemarie Straßer"),
            ("PAPANDROPOULOUS<<JONATHON<ALEC", "Jonathon Alec Papandropoulous"),
            ("PAPANDROPOULOUS<<JONATHON<ALEC", "Alecsander Papandropoulous"),
            ("YILMAZ<<IREM<<<<<<<<<<<<<<<<<<", "İrem Yılmaz"),
        ] {
            assert_eq!(names(field).agrees(on_file), NameMatch::Agrees, "{field} {on_file}");
        }
    }

    #[test]
    fn another_name_differs_and_less_than_a_name_agrees_in_part() {
        for (field, on_file, found) in [
            ("DUPONT<<JEAN<PIERRE<L<<<<<<<<<", "Marie Dupont", NameMatch::Differs),
            ("DUPONT<<JEAN<<<<<<<<<<<<<<<<<<", "Jean Dupond", NameMatch::Differs),
            ("DUPONT<<MARK<<<<<<<<<<<<<<<<<<", "Hark Dupont", NameMatch::Differs),
            ("DUPONT<<JEAN<<<<<<<<<<<<<<<<<<", "Dupont", NameMatch::Partly),
            ("DUPONT<<JEAN<<<<<<<<<<<<<<<<<<", "J. Dupont", NameMatch::Partly),
            ("DUPONT<<J<<<<<<<<<<<<<<<<<<<<<", "Jean Dupont", NameMatch::Partly),
            ("ARKFREITH<<<<<<<<<<<<<<<<<<<<<", "Arkfreith", NameMatch::Partly),
            ("DUPONT<<JEAN<<<<<<<<<<<<<<<<<<", "", NameMatch::Differs),
            ("DUPONT<<JEAN<<<<<<<<<<<<<<<<<<", "李 伟", NameMatch::Differs),
            ("<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<", "Jean Dupont", NameMatch::Differs),
        ] {
            assert_eq!(names(field).agrees(on_file), found, "{field} {on_file}");
        }
    }

    #[test]
    fn a_cut_name_is_compared_by_its_beginning_only() {
        let cut = names("BENNELONG<WOOLOOM<WA<WARN<<D<P");
        assert!(cut.may_be_cut);
        assert_eq!(cut.given, "D P");
        // Words are cut off in the middle of a name, too (ICAO 9303-3 §4.6.2); nothing is borne out by that.
        for (on_file, found) in [
            ("Dingo Potoroo Bennelong Wooloomooloo Warrandyte Warnambool", NameMatch::Partly),
            ("Bennelong Wooloomooloo Warrandyte Warnambool", NameMatch::Differs),
            ("Dingo Potoroo Bennelong Wooloomooloo Warrandyte Xarnambool", NameMatch::Differs),
            ("Dingo Xotoroo Bennelong Wooloomooloo Warrandyte Warnambool", NameMatch::Differs),
        ] {
            assert_eq!(cut.agrees(on_file), found, "{on_file}");
        }
        let cut = names("VILARCHAO<FERNANDEZ<<JOSE<RAMO");
        assert_eq!(cut.agrees("José Ramón Vilarchao Fernández"), NameMatch::Agrees);
        assert_eq!(cut.agrees("Ramiro Vilarchao Fernandez"), NameMatch::Differs);
        let cut = names("VERYLONGSURNAMETHATFILLSALLOFI");
        assert_eq!(cut.agrees("Verylongsurnamethatfillsallofit"), NameMatch::Partly);
        assert_eq!(cut.agrees("Verylongsurname"), NameMatch::Differs);
    }

    #[test]
    fn a_name_of_a_thousand_words_takes_no_time() {
        let long = "Müller-Jürgen ".repeat(1000);
        let begun = std::time::Instant::now();
        assert_eq!(names("MULLER<<HANS<<<<<<<<<<<<<<<<<<").agrees(&long), NameMatch::Differs);
        assert!(begun.elapsed() < std::time::Duration::from_secs(2));
    }
}
