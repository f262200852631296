//! Numbers and machine-readable zones by themselves: what they say, and whether they check.

use std::io::Read as _;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Error, Report, session};
use crate::identity::evidence::{self, Evidence, Known, Verdict};
use crate::identity::mrz::{self, Mrz};
use crate::identity::numbers::{self, NationalKind, NationalNumber, NumberError};
use crate::request::deadline;

/// Check a number of Belgian papers, or read a machine-readable zone
///
/// A number that checks is no proof that it was given out, and lines that check are none that a
/// document is genuine.
#[derive(Args)]
#[command(
    group(clap::ArgGroup::new("what").required(true)),
    after_help = "Examples:\n  kluis id --number nrn -            # read from standard input\n  \
                  kluis id --number kbo 0449.516.509\n  kluis id --mrz --json < lines.txt\n\n\
                  What is given as an argument others on this machine can see while it runs: give what\n\
                  is personal on standard input.\n\n\
                  Exit code: 0 valid or consistent, expired too; 1 not."
)]
pub(super) struct Id {
    /// Which number VALUE is
    #[arg(long, value_name = "KIND", group = "what", requires = "value")]
    number: Option<NumberKind>,
    /// Read the lines of a machine-readable zone from standard input
    #[arg(long, group = "what", conflicts_with = "value")]
    mrz: bool,
    /// The number; `-` reads it from standard input
    value: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum NumberKind {
    /// National number or BIS number
    Nrn,
    /// Electronic identity card
    Card,
    /// Enterprise (KBO/BCE)
    Kbo,
    /// Account
    Iban,
    /// Structured communication (OGM/VCS)
    Ogm,
}

impl Id {
    /// Runs it.
    ///
    /// # Errors
    /// Standard input cannot be read, or holds no zone.
    pub(super) fn run(self) -> Result<Report, Error> {
        match (self.number, self.value) {
            (Some(kind), Some(value)) => {
                let value = if value == "-" { input()? } else { value };
                Ok(number(kind, &value))
            }
            _ => zone(&input()?),
        }
    }
}

fn input() -> Result<String, Error> {
    let mut bytes = Vec::new();
    let most = mrz::LONGEST as u64 + 1;
    let read = std::io::stdin().lock().take(most).read_to_end(&mut bytes);
    read.map_err(|error| Error::io("reading standard input", &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn number(kind: NumberKind, value: &str) -> Report {
    let judged: Result<Option<NationalNumber>, NumberError> = match kind {
        NumberKind::Nrn => NationalNumber::parse(value).map(Some),
        NumberKind::Card => numbers::card(value).map(|()| None),
        NumberKind::Kbo => numbers::enterprise(value).map(|()| None),
        NumberKind::Iban => numbers::iban(value).map(|()| None),
        NumberKind::Ogm => numbers::communication(value).map(|()| None),
    };
    let mut json = json!({ "valid": judged.is_ok() });
    let mut text = match &judged {
        Ok(_) => "valid".to_owned(),
        Err(error) => {
            json["reason"] = error.to_string().into();
            format!("not valid: {error}")
        }
    };
    if matches!(kind, NumberKind::Nrn) {
        let national = judged.as_ref().ok().and_then(Option::as_ref);
        json["kind"] = NationalKind::guess(value).map(NationalKind::word).into();
        json["century"] = national.map(NationalNumber::century).into();
        let birth = national.and_then(NationalNumber::birth).map(|birth| birth.to_string());
        let sex = national.and_then(NationalNumber::sex).map(|sex| sex.letter().to_string());
        if let Some(number) = national {
            text = format!(
                "valid\nkind     {}\ncentury  {}\nborn     {}\nsex      {}",
                number.kind().word(),
                number.century(),
                birth.as_deref().unwrap_or("not said"),
                sex.as_deref().unwrap_or("not said"),
            );
        }
        json["birth"] = birth.into();
        json["sex"] = sex.into();
    }
    Report { problems: judged.is_err(), ..Report::new(text, json) }
}

fn zone(text: &str) -> Result<Report, Error> {
    let today = deadline::received_on(session::now());
    let mrz = mrz::read(text, today).map_err(|error| {
        Error::new(error.to_string())
            .hint("two lines of 36 or 44 characters, or three of 30, of A to Z, 0 to 9 and <")
    })?;
    let evidence = evidence::judge(&mrz, Known { today, names: &[] });
    let is_fine = matches!(evidence.verdict, Verdict::Consistent | Verdict::Expired);
    Ok(Report {
        problems: !is_fine,
        ..Report::new(written(&mrz, &evidence), as_json(&mrz, &evidence))
    })
}

fn written(mrz: &Mrz, evidence: &Evidence) -> String {
    let mut text = format!("verdict          {}\n", evidence.verdict.word());
    text.push_str(&format!("format           {}\n", mrz.format.word()));
    for field in &evidence.fields {
        let value = if field.value.is_empty() { "-" } else { &field.value };
        let (name, reason) = (field.name.word(), field.standing.reason().words());
        text.push_str(&format!("{name:15}  {value:20}  {}: {reason}\n", field.standing.word()));
    }
    for names in &mrz.other_names {
        text.push_str(&format!("or the names     {}, {}\n", names.surname, names.given));
    }
    if let Some(rule) = mrz.long_rule {
        text.push_str(&format!("long number by   {}\n", rule.word()));
    }
    if !mrz.repairs.is_empty() {
        text.push_str(&format!("read with {} corrections\n", mrz.repairs.len()));
    }
    text
}

fn as_json(mrz: &Mrz, evidence: &Evidence) -> Value {
    let both = |names: &mrz::Names| json!({"surname": names.surname, "given_names": names.given});
    let mut json = json!({
        "verdict": evidence.verdict.word(),
        "format": mrz.format.word(),
        "fields": {},
        "evidence": {},
        "checks": {},
        "long_rule": mrz.long_rule.map(mrz::LongRule::word),
        "look_alikes": mrz.look_alikes,
        "names_may_be_cut": mrz.names.may_be_cut,
        "other_names": mrz.other_names.iter().map(both).collect::<Vec<_>>(),
    });
    if let Verdict::Inconsistent(which) = &evidence.verdict {
        json["inconsistent"] = which.iter().map(|name| name.word()).collect();
    }
    for field in &evidence.fields {
        let value = Some(field.value.as_str()).filter(|value| !value.is_empty());
        json["fields"][field.name.word()] = value.into();
        json["evidence"][field.name.word()] = json!({
            "standing": field.standing.word(),
            "reason": field.standing.reason().words(),
        });
    }
    for check in &mrz.checks {
        json["checks"][check.of.word()] = check.fits.into();
    }
    let repair = |repair: &mrz::Repair| {
        json!({
            "line": repair.line,
            "column": repair.column,
            "from": repair.from.map(String::from),
            "to": repair.to.map(String::from),
        })
    };
    json["repairs"] = mrz.repairs.iter().map(repair).collect();
    json
}
