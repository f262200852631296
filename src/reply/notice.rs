//! The notice: your letter came, this is its number, this is the date by which we answer.
//!
//! Content-free: it says nothing about the person, quotes nothing, and is the same whether we know
//! them or not. Its form keeps other machines from answering it (RFC 3834 §3): null reverse-path,
//! `Auto-Submitted`, a subject that is only the case number. Whom one may be sent to, and how
//! often, is decided elsewhere. Pure.

use jiff::civil::Date;

use super::compose::{write, write_fields, write_text};
use super::{ComposeError, Heading, Language, Outgoing};
use crate::ids::CaseId;

/// All that a notice says.
#[derive(Clone, Debug)]
pub struct Notice {
    /// From our address to the envelope sender of the letter.
    pub heading: Heading,
    /// The number of the case.
    pub case: CaseId,
    /// The day by which the law wants an answer.
    pub due: Date,
    /// The language of the letter.
    pub language: Language,
}

impl Notice {
    /// Writes the mail.
    ///
    /// # Errors
    /// `BadField` for an address, date or message id that cannot stand in a mail.
    pub fn compose(&self) -> Result<Outgoing, ComposeError> {
        let template = match self.language {
            Language::Nl => include_str!("letters/nl/notice.txt"),
            Language::Fr => include_str!("letters/fr/notice.txt"),
            Language::De => include_str!("letters/de/notice.txt"),
            Language::En => include_str!("letters/en/notice.txt"),
        };
        let text = template
            .replace("{case}", &self.case.to_string())
            .replace("{due}", &written(self.due, self.language));
        let mut mail = Vec::new();
        write_fields(&mut mail, "", &self.heading.fields(&format!("[{}]", self.case))?);
        write(&mut mail, &["Auto-Submitted: auto-replied\r\n"]);
        write(&mut mail, &["X-Auto-Response-Suppress: All\r\n"]);
        write(&mut mail, &["MIME-Version: 1.0\r\n"]);
        write_text(&mut mail, &text);
        Outgoing::new("", self.heading.to.expose(), mail)
    }
}

/// A day as a letter writes it.
fn written(day: Date, language: Language) -> String {
    const NL: [&str; 12] = [
        "januari",
        "februari",
        "maart",
        "april",
        "mei",
        "juni",
        "juli",
        "augustus",
        "september",
        "oktober",
        "november",
        "december",
    ];
    const FR: [&str; 12] = [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ];
    const DE: [&str; 12] = [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ];
    const EN: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (months, mark) = match language {
        Language::Nl => (NL, ""),
        Language::Fr => (FR, if day.day() == 1 { "er" } else { "" }),
        Language::De => (DE, "."),
        Language::En => (EN, ""),
    };
    let month = months[usize::from(day.month().unsigned_abs()) - 1];
    format!("{}{mark} {month} {}", day.day(), day.year())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use mail_parser::MessageParser;

    use super::*;
    use crate::secret::Personal;

    const LANGUAGES: [Language; 4] = [Language::Nl, Language::Fr, Language::De, Language::En];

    fn notice(language: Language) -> Notice {
        Notice {
            heading: Heading {
                from: Personal::new("privacy@example.org".into()),
                to: Personal::new("lotte.peeters@example.net".into()),
                message_id: "k.1@example.org".into(),
                in_reply_to: Some(Personal::new("asked@example.net".into())),
                references: vec![],
                date: 1_792_000_000,
            },
            case: "K-0000-0000".parse().unwrap(),
            due: date(2026, 11, 16),
            language,
        }
    }

    #[test]
    fn a_notice_has_the_form_that_machines_do_not_answer() {
        let outgoing = notice(Language::Nl).compose().unwrap();
        assert_eq!(outgoing.envelope_from().expose(), "");
        assert_eq!(outgoing.envelope_to().expose(), "lotte.peeters@example.net");
        let mail = std::str::from_utf8(outgoing.mail()).unwrap();
        let (header, _) = mail.split_once("\r\n\r\n").unwrap();
        for line in [
            "Subject: [K-0000-0000]",
            "Auto-Submitted: auto-replied",
            "X-Auto-Response-Suppress: All",
            "In-Reply-To: <asked@example.net>",
            "References: <asked@example.net>",
            "Message-ID: <k.1@example.org>",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(header.split("\r\n").any(|found| found == line), "{line}");
        }
        assert!(!header.contains("Reply-To: p") && !header.contains("Bcc"));
    }

    #[test]
    fn every_language_gives_number_date_and_authority_and_nothing_of_the_person() {
        let days =
            ["16 november 2026", "16 novembre 2026", "16. November 2026", "16 November 2026"];
        let no_copy = [
            "U hoeft geen kopie van uw identiteitskaart te sturen",
            "Il n'est pas nécessaire d'envoyer une copie de votre carte d'identité",
            "Eine Kopie Ihres Personalausweises brauchen Sie nicht zu schicken",
            "You need not send a copy of your identity card",
        ];
        for ((language, day), no_copy) in LANGUAGES.into_iter().zip(days).zip(no_copy) {
            let outgoing = notice(language).compose().unwrap();
            let read = MessageParser::new().parse(outgoing.mail()).unwrap();
            let text = read.body_text(0).unwrap();
            for word in ["K-0000-0000", day, no_copy, "35, 1000 Br", "contact@apd-gba.be"] {
                assert!(text.contains(word), "{language:?} {word}");
            }
            for word in ["lotte", "peeters", "asked@", "{", "}"] {
                assert!(!text.to_lowercase().contains(word), "{language:?} {word}");
            }
            assert_eq!(crate::reply::language::guess(&text), language);
        }
    }

    #[test]
    fn the_first_of_a_month_is_written_as_each_language_does() {
        let first = date(2027, 8, 1);
        let all = LANGUAGES.map(|language| written(first, language));
        assert_eq!(all, ["1 augustus 2027", "1er août 2027", "1. August 2027", "1 August 2027"]);
    }
}
