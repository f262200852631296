//! The lines of a machine-readable zone, made from what they say. Written from ICAO 9303 by itself:
//! nothing here comes from the reader that it tests.

use super::person::Person;

/// 7-3-1 over the characters.
pub fn digit(text: &str) -> char {
    let value = |c: char| match c {
        '0'..='9' => c as u32 - '0' as u32,
        'A'..='Z' => c as u32 - 'A' as u32 + 10,
        _ => 0,
    };
    let sum: u32 = text.chars().zip([7, 3, 1].into_iter().cycle()).map(|(c, w)| value(c) * w).sum();
    char::from_digit(sum % 10, 10).expect("is below ten")
}

fn padded(text: &str, length: usize) -> String {
    let mut out: String = text.chars().take(length).collect();
    while out.len() < length {
        out.push('<');
    }
    out
}

fn named(person: &Person, length: usize) -> String {
    let (surname, given) =
        (person.folded_surname().replace(' ', "<"), person.folded_given().replace(' ', "<"));
    padded(&format!("{surname}<<{given}"), length)
}

/// What is in it besides the person.
#[derive(Clone, Debug)]
pub struct Paper {
    pub code: &'static str,
    pub issuer: &'static str,
    pub number: String,
    pub expiry: String,
    pub optional: [String; 2],
    /// Of a long number, whether the filler counts.
    pub with_filler: bool,
}

pub fn td1(person: &Person, paper: &Paper) -> Vec<String> {
    let number = if paper.number.len() > 9 {
        let (first, rest) = paper.number.split_at(9);
        let counted =
            if paper.with_filler { format!("{first}<{rest}") } else { paper.number.clone() };
        format!("{first}<{rest}{}", digit(&counted))
    } else {
        let first = padded(&paper.number, 9);
        let check = digit(&first);
        format!("{first}{check}{}", paper.optional[0])
    };
    let one = padded(&format!("{}{}{number}", padded(paper.code, 2), padded(paper.issuer, 3)), 30);
    let birth = person.birth_six();
    let two = padded(
        &format!(
            "{birth}{}{}{}{}{}{}",
            digit(&birth),
            person.sex,
            paper.expiry,
            digit(&paper.expiry),
            padded(person.nationality, 3),
            paper.optional[1]
        ),
        29,
    );
    let composite = digit(&format!("{}{}{}{}", &one[5..30], &two[0..7], &two[8..15], &two[18..29]));
    vec![one, format!("{two}{composite}"), named(person, 30)]
}

pub fn td2(person: &Person, paper: &Paper) -> Vec<String> {
    let one = format!("{}{}{}", padded(paper.code, 2), padded(paper.issuer, 3), named(person, 31));
    vec![one, second(person, paper, 7, false)]
}

pub fn td3(person: &Person, paper: &Paper) -> Vec<String> {
    let one = format!("{}{}{}", padded(paper.code, 2), padded(paper.issuer, 3), named(person, 39));
    vec![one, second(person, paper, 14, true)]
}

fn second(person: &Person, paper: &Paper, optional: usize, has_check: bool) -> String {
    let number = padded(&paper.number, 9);
    let birth = person.birth_six();
    let rest = padded(&paper.optional[0], optional);
    let mut two = format!(
        "{number}{}{}{birth}{}{}{}{}{rest}",
        digit(&number),
        padded(person.nationality, 3),
        digit(&birth),
        person.sex,
        paper.expiry,
        digit(&paper.expiry)
    );
    if has_check {
        two.push(if rest.bytes().all(|byte| byte == b'<') { '<' } else { digit(&rest) });
    }
    let composite = digit(&format!("{}{}{}", &two[0..10], &two[13..20], &two[21..]));
    two.push(composite);
    two
}

/// French cards until 2021: `paper.number` is the twelve characters of year, month, department and
/// serial number, `paper.optional[0]` department and office.
pub fn old_french(person: &Person, paper: &Paper) -> Vec<String> {
    let surname = padded(&person.folded_surname().replace(' ', "<"), 25);
    let one = format!("IDFRA{surname}{}", padded(&paper.optional[0], 6));
    let given = padded(&person.folded_given().replace(' ', "<<"), 14);
    let birth = person.birth_six();
    let two = format!(
        "{}{}{given}{birth}{}{}",
        paper.number,
        digit(&paper.number),
        digit(&birth),
        person.sex
    );
    let composite = digit(&format!("{one}{two}"));
    vec![one, format!("{two}{composite}")]
}
