//! Pictures of documents, machine-readable zones and numbers by themselves: what they say, and whether
//! they check.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::masking::Masking;
use super::session::Connection;
use super::unfinished::Unfinished;
use super::{Error, Report, masking, models, pictures, session};
use crate::identity::document::{self, Conclusion, What};
use crate::identity::evidence::{self, Evidence, FieldName, Known, Verdict};
use crate::identity::mask;
use crate::identity::mrz::{self, Mrz};
use crate::identity::numbers::{self, NationalKind, NationalNumber, NumberError};
use crate::identity::picture::decode::Kind;
use crate::identity::words::{self, Tongue};
use crate::ids::CaseId;
use crate::request::deadline;
use crate::sandbox::{MAX_REQUEST, heif};

/// Read a picture of an identity document, its machine-readable zone, or a number of Belgian papers
///
/// A picture is a JPEG, PNG, WebP, TIFF or PDF, or HEIC where heif-convert is installed; a confined child
/// reads it. A number that checks is no
/// proof that it was given out, and a document that checks is none that it is genuine.
#[derive(Args)]
#[command(after_help = "Examples:\n  kluis id card.jpg --json\n  \
                  kluis id --case K-7F3Q-9M2X --language nl\n  \
                  kluis id card.jpg --mask -o masked.png\n  \
                  kluis id --number nrn -            # read from standard input\n  \
                  kluis id --number kbo 0449.516.509\n  kluis id --mrz --json < lines.txt\n\n\
                  What is given as an argument others on this machine can see while it runs: give what\n\
                  is personal on standard input.\n\n\
                  Exit code: 0 valid or consistent, expired too; 1 not, or not read.")]
pub(super) struct Id {
    /// Check a number: which kind the argument is
    #[arg(long, value_name = "KIND")]
    number: Option<NumberKind>,
    /// Read the lines of a machine-readable zone from standard input
    #[arg(long, conflicts_with_all = ["number", "what", "case"])]
    mrz: bool,
    /// Say what the pictures of a case show, or one ITEM of it: what was seen when they came, and
    /// what nobody looked at is read here
    #[arg(long, value_name = "CASE", conflicts_with = "number")]
    case: Option<CaseId>,
    /// Write a masked picture, too: black but for names, validity and issuer as they were read
    #[arg(long, requires = "output", conflicts_with_all = ["number", "mrz", "case"])]
    mask: bool,
    /// The PNG to write; nothing is overwritten
    #[arg(short, long, value_name = "FILE", requires = "mask")]
    output: Option<PathBuf>,
    /// Say verdict and reasons in this language; JSON has them in English
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: Language,
    /// The picture, the number, or the item; `-` reads a picture or a number from standard input
    #[arg(value_name = "FILE", required_unless_present_any = ["mrz", "case"])]
    what: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
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

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Nl,
    Fr,
    De,
    En,
}

impl Language {
    const fn tongue(self) -> Tongue {
        match self {
            Self::Nl => Tongue::Nl,
            Self::Fr => Tongue::Fr,
            Self::De => Tongue::De,
            Self::En => Tongue::En,
        }
    }
}

impl Id {
    /// Runs it.
    ///
    /// # Errors
    /// The file or standard input cannot be read, or holds no zone.
    pub(super) fn run(self) -> Result<Report, Error> {
        let tongue = self.language.tongue();
        if let Some(case) = self.case {
            let item = self.what.as_ref().map(|start| start.to_string_lossy());
            return pictures::of_case(&self.connection, case, item.as_deref(), tongue);
        }
        match (self.number, self.what) {
            (Some(kind), Some(value)) => {
                let is_piped = value.as_os_str() == "-";
                let value = if is_piped { input()? } else { value.to_string_lossy().into_owned() };
                Ok(number(kind, &value))
            }
            (None, Some(path)) => picture(&path, self.output.as_deref(), tongue),
            _ => zone(&input()?, tongue),
        }
    }
}

/// Reads a picture and judges what it shows; with `output` a masked one is written there.
fn picture(path: &Path, output: Option<&Path>, tongue: Tongue) -> Result<Report, Error> {
    session::harden()?;
    if let Some(output) = output.filter(|output| output.exists()) {
        return Err(Error::io(output.display(), &std::io::ErrorKind::AlreadyExists.into()));
    }
    let failed = |error| Error::io(path.display(), &error);
    let most = MAX_REQUEST as u64 + 1;
    let mut file = Zeroizing::new(Vec::new());
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut file).map_err(failed)?;
    } else {
        let opened = File::open(path).map_err(failed)?;
        opened.take(most).read_to_end(&mut file).map_err(failed)?;
    }
    if Kind::of(&file) == Some(Kind::Heif) && !heif::is_there() {
        return Err(Error::new(
            "this is a HEIC picture, which is read where heif-convert is installed",
        )
        .hint("install it (Debian: libheif-examples)"));
    }
    let today = deadline::received_on(session::now());
    let known = Known { today, names: &[] };
    let (looked, masking) = match output {
        None => {
            let mut looks = masking::MOST_LOOKS;
            let whole = |first| masking::whole(&file, first, &mut looks);
            (models::look(&file)?.map(whole), None)
        }
        Some(_) => {
            let masking = masking::mask_whole(&file)?;
            (masking.as_ref().map(|masking| masking.sight.clone()), masking)
        }
    };
    let (conclusion, why) = match looked {
        None => {
            let why = "the models are not there: `kluis doctor --fetch-models` fetches them";
            (Conclusion::empty(Verdict::NotRead), Some(why.to_owned()))
        }
        Some(_) if file.len() > MAX_REQUEST => {
            (Conclusion::empty(Verdict::Unreadable), Some("it is too large".to_owned()))
        }
        Some(sight) => {
            let conclusion = document::conclude(&sight, known);
            let is_part = matches!(conclusion.evidence.verdict, Verdict::NotRead);
            let why = match conclusion.refused {
                Some(refused) => Some(refused.to_string()),
                None => is_part.then(|| "nobody looked at all of it".to_owned()),
            };
            (conclusion, why)
        }
    };
    let mut report = concluded(&conclusion, why, tongue);
    if let Some(output) = output {
        write_mask(masking.as_ref(), output, &mut report)?;
    }
    Ok(report)
}

/// Writes the masked picture, all black if nothing was read, and says so.
fn write_mask(masking: Option<&Masking>, output: &Path, report: &mut Report) -> Result<(), Error> {
    let pages = masking.map_or(&[][..], |masking| &masking.pages);
    let png = Zeroizing::new(mask::png(pages));
    let mut file = Unfinished::new(output)?;
    let written = file.file.write_all(&png);
    written.map_err(|error| Error::io(output.display(), &error))?;
    file.finish(output)?;
    let (words, shown) = match masking {
        Some(masking) if !masking.pages.is_empty() => (masking.words(), masking.shown()),
        _ => ("all black: nothing was read".to_owned(), Vec::new()),
    };
    report.text.push_str(&format!("masked           {}: {words}\n", output.display()));
    if let Some(json) = report.json.first_mut() {
        let shown: Vec<&str> = shown.into_iter().map(What::word).collect();
        json["masked"] = json!({ "file": output, "shown": shown });
    }
    Ok(())
}

fn concluded(conclusion: &Conclusion, why: Option<String>, tongue: Tongue) -> Report {
    let evidence = &conclusion.evidence;
    let format = match &conclusion.mrz {
        Some(mrz) => Some(mrz.format.word()),
        None => (!evidence.fields.is_empty()).then_some("front"),
    };
    let mut text = written(evidence, format, conclusion.mrz.as_ref(), tongue);
    let mut json = as_json(evidence, format, conclusion.mrz.as_ref(), &conclusion.contradicted);
    if let Some(why) = why {
        let said = conclusion.refused.map(|refused| words::refused(refused, tongue));
        text.push_str(&format!("{}\n", said.unwrap_or(&why)));
        json["reason"] = why.into();
    }
    Report { problems: !is_fine(&evidence.verdict), ..Report::new(text, json) }
}

const fn is_fine(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Consistent | Verdict::Expired)
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
        // The counter of a day overflows into days and months that are none; or somebody made a mistake.
        let no_day = national.is_some_and(|number| number.has_no_such_day());
        let warning =
            "the day in it is none of its month: its counter overflowed, or it is somebody's error";
        json["warning"] = no_day.then_some(warning).into();
        if let Some(number) = national {
            text = format!(
                "valid\nkind     {}\ncentury  {}\nborn     {}\nsex      {}",
                number.kind().word(),
                number.century(),
                birth.as_deref().unwrap_or("not said"),
                sex.as_deref().unwrap_or("not said"),
            );
            if no_day {
                text.push_str(&format!("\nbeware   {warning}"));
            }
        }
        json["birth"] = birth.into();
        json["sex"] = sex.into();
    }
    Report { problems: judged.is_err(), ..Report::new(text, json) }
}

fn zone(text: &str, tongue: Tongue) -> Result<Report, Error> {
    let today = deadline::received_on(session::now());
    let mrz = mrz::read(text, today).map_err(|error| {
        Error::new(error.to_string())
            .hint("two lines of 36 or 44 characters, or three of 30, of A to Z, 0 to 9 and <")
    })?;
    let evidence = evidence::judge(&mrz, Known { today, names: &[] });
    let contradicted = match &evidence.verdict {
        Verdict::Inconsistent(which) => which.clone(),
        _ => Vec::new(),
    };
    let format = Some(mrz.format.word());
    let text = written(&evidence, format, Some(&mrz), tongue);
    let json = as_json(&evidence, format, Some(&mrz), &contradicted);
    Ok(Report { problems: !is_fine(&evidence.verdict), ..Report::new(text, json) })
}

fn written(evidence: &Evidence, format: Option<&str>, mrz: Option<&Mrz>, tongue: Tongue) -> String {
    let verdict = words::verdict(&evidence.verdict, tongue);
    let mut text = format!("verdict          {}: {verdict}\n", evidence.verdict.word());
    text.push_str(&format!("format           {}\n", format.unwrap_or("-")));
    for field in &evidence.fields {
        let value = if field.value.is_empty() { "-" } else { &field.value };
        let value = super::print::terminal_safe(value);
        let (name, reason) = (field.name.word(), words::reason(field.standing.reason(), tongue));
        text.push_str(&format!("{name:15}  {value:20}  {}: {reason}\n", field.standing.word()));
    }
    for names in mrz.iter().flat_map(|mrz| &mrz.other_names) {
        let [surname, given] =
            [&names.surname, &names.given].map(|name| super::print::terminal_safe(name));
        text.push_str(&format!("or the names     {surname}, {given}\n"));
    }
    if let Some(rule) = mrz.and_then(|mrz| mrz.long_rule) {
        text.push_str(&format!("long number by   {}\n", rule.word()));
    }
    let repairs = mrz.map_or(0, |mrz| mrz.repairs.len());
    if repairs > 0 {
        text.push_str(&format!("read with {repairs} corrections\n"));
    }
    text
}

fn as_json(
    evidence: &Evidence,
    format: Option<&str>,
    mrz: Option<&Mrz>,
    contradicted: &[FieldName],
) -> Value {
    let both = |names: &mrz::Names| json!({"surname": names.surname, "given_names": names.given});
    let others = mrz.map(|mrz| mrz.other_names.iter().map(both).collect::<Vec<_>>());
    let mut json = json!({
        "verdict": evidence.verdict.word(),
        "format": format,
        "fields": {},
        "evidence": {},
        "checks": {},
        "repairs": [],
        "long_rule": mrz.and_then(|mrz| mrz.long_rule).map(mrz::LongRule::word),
        "look_alikes": mrz.map(|mrz| mrz.look_alikes.clone()).unwrap_or_default(),
        "names_may_be_cut": mrz.is_some_and(|mrz| mrz.names.may_be_cut),
        "other_names": others.unwrap_or_default(),
    });
    if !contradicted.is_empty() {
        json["inconsistent"] = contradicted.iter().map(|name| name.word()).collect();
    }
    for field in &evidence.fields {
        let value = Some(field.value.as_str()).filter(|value| !value.is_empty());
        json["fields"][field.name.word()] = value.into();
        json["evidence"][field.name.word()] = json!({
            "standing": field.standing.word(),
            "reason": field.standing.reason().words(),
        });
    }
    let Some(mrz) = mrz else { return json };
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
