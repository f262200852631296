//! Answering: composed and locked here, recorded, sent by the gateway. Never in clear.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::session::{self, Connection};
use super::{Error, Report, case, unmask};
use crate::identity::ladder::Kind;
use crate::ids::CaseId;
use crate::letter::media_type;
use crate::reply::answer::Attachment;
use crate::reply::{Language, MAX_MAIL, language};
use crate::secret::Personal;
use crate::staff::answers::{self, Draft};

/// Answer a case, encrypted
///
/// The answer is encrypted to the key that was confirmed for the case, or locked with a code
/// (--code) that you tell the person by another channel: telephone, letter, text message. Without
/// either there is no answer. What shows who asked is what `kluis who --accept` accepted last, or is said
/// and accepted here with --proof; it is kept.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis answer K-7F3Q-9M2X --text answer.txt --attach file.pdf --proof 'match:birth date and client number agree'\n  kluis answer K-7F3Q-9M2X --text - --code --proof in-person:'came to the office'\n\nKinds of proof:\n  address     the letter came, authenticated, from the address on file\n  challenge   a code sent to a contact on file came back\n  match       two details that you hold agree\n  signature   a signature with a key known to be theirs\n  id          a masked copy of an identity document agrees\n  in-person   the person was there\n  checkdoc    Checkdoc was asked about the document, and has no hit\n  other       something else, which the words explain"
)]
pub(super) struct Answer {
    /// The case number
    #[arg(value_name = "CASE")]
    case: CaseId,
    /// The text of the answer, UTF-8; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// The subject, which only who opens the answer sees
    #[arg(long, value_name = "WORDS")]
    subject: Option<String>,
    /// An item of the case that goes with it: the first digits of its id are enough. No copy of an
    /// identity document, nor what nobody could look at
    #[arg(long = "item", value_name = "ITEM")]
    items: Vec<String>,
    /// A file that goes with it
    #[arg(long = "attach", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Lock it with a code, even if a key is confirmed
    #[arg(long)]
    code: bool,
    /// What shows that the person is who they say, and how; else what `kluis who --accept` accepted last
    #[arg(long, value_name = "KIND:WORDS", value_parser = parse_proof)]
    proof: Option<(Kind, String)>,
    /// The language of the cover letter; else that of the text
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<Spoken>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Spoken {
    Nl,
    Fr,
    De,
    En,
}

impl From<Spoken> for Language {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Nl => Language::Nl,
            Spoken::Fr => Language::Fr,
            Spoken::De => Language::De,
            Spoken::En => Language::En,
        }
    }
}

fn parse_proof(text: &str) -> Result<(Kind, String), String> {
    let (kind, words) = text.split_once(':').unwrap_or((text, ""));
    let kind = kind.trim().parse()?;
    if words.trim().is_empty() {
        return Err("words that explain it come after the colon".into());
    }
    Ok((kind, words.trim().to_owned()))
}

impl Answer {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`]; nothing was recorded then, and nothing leaves.
    pub(super) fn run(self) -> Result<Report, Error> {
        let text = text(&self.text)?;
        let files = self.files.iter().map(|file| attachment(file)).collect::<Result<_, _>>()?;
        let mut client = self.connection.open()?;
        let mut items = Vec::new();
        if !self.items.is_empty() {
            let view = client.case(self.case)?;
            for start in &self.items {
                items.push(session::item_of(&view, start)?);
            }
            unmask::may_be_sent(&mut client, &view, &items)?;
        }
        let draft = Draft {
            case: self.case,
            subject: self.subject.unwrap_or_else(|| self.case.to_string()),
            language: self.language.map_or_else(|| language::guess(&text), Language::from),
            text,
            items,
            files,
            proof: self.proof,
            with_code: self.code,
        };
        let sent = answers::send(&mut client, draft, session::now())?;
        let key = sent.key.map(Personal::into_exposed);
        let code = sent.code.map(|code| code.expose().to_string());
        let lock = match (&key, &code) {
            (_, Some(code)) => format!(
                "It opens with this code:\n\n  {code}\n\nTell it by another channel, never by mail. It is kept nowhere."
            ),
            (Some(key), None) => format!("It opens with the key {key}."),
            (None, None) => String::new(),
        };
        Ok(Report::new(
            format!("{}: the answer is on its way. {lock}", self.case),
            json!({ "case": self.case.to_string(), "code": code, "key": key }),
        ))
    }
}

fn text(path: &Path) -> Result<String, Error> {
    let limit = MAX_MAIL as u64;
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::io("standard input", &error))?;
        bytes
    } else {
        case::read_at_most(path, limit)?
    };
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::usage(format!("{} is not UTF-8 text", path.display()))
            .hint("save it as UTF-8, or send it with --attach")
    })?;
    if text.trim().is_empty() {
        return Err(Error::usage("the answer is empty").hint("write it into the file of --text"));
    }
    Ok(text)
}

fn attachment(path: &Path) -> Result<Attachment, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Error::usage(format!("{} has no name that can stand in a mail", path.display()))
            .hint("rename it")
    })?;
    Ok(Attachment {
        name: Personal::new(name.to_owned()),
        media_type: media_type::of(name).to_owned(),
        content: Personal::new(case::read_at_most(path, MAX_MAIL as u64)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_names_its_kind_and_is_explained() {
        assert_eq!(
            parse_proof("in-person: came: twice"),
            Ok((Kind::InPerson, "came: twice".into()))
        );
        assert!(parse_proof("belief:x").expect_err("no kind").contains("challenge"));
        for silent in ["id", "id:", "id:  "] {
            assert!(parse_proof(silent).expect_err(silent).contains("words"));
        }
    }
}
