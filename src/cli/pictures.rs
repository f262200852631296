//! What `kluis show`, `kluis who` and `kluis id --case` say of the pictures of a case.

use std::cell::Cell;
use std::collections::HashMap;

use serde_json::{Value, json};

use super::session::{self, Connection};
use super::{Error, Report, masking, models, print, queue, show};
use crate::casebook::detail::Picture;
use crate::identity::evidence::{FieldName, Verdict};
use crate::identity::numbers::find::masked;
use crate::identity::words::{self, Tongue};
use crate::ids::{CaseId, ItemId};
use crate::request::deadline;
use crate::staff::client::{CaseView, Client};
use crate::staff::pictures::{self, AskReader, Pictures, Reading, Shown};

/// What stands in the place of the number of a document.
const HIDDEN: &str = "•••";

/// What was seen in the pictures of a case when they came.
///
/// # Errors
/// See [`Error`].
pub(super) fn sealed(
    client: &mut Client,
    case: &CaseView,
    texts: &HashMap<ItemId, String>,
) -> Result<Pictures, Error> {
    let today = deadline::received_on(session::now());
    Ok(pictures::of(client, case, texts, today, &Reading::Sealed)?)
}

/// How many pictures of a case are which, as its listing says.
pub(super) fn counted(case: &CaseView) -> Value {
    let details = case.letters.iter().filter_map(|letter| letter.detail.as_ref());
    let states: Vec<Picture> =
        details.flat_map(|detail| &detail.items).filter_map(|item| item.picture).collect();
    let count = |which: Picture| states.iter().filter(|state| **state == which).count();
    json!({
        "documents": count(Picture::Document),
        "others": count(Picture::Other),
        "unreadable": count(Picture::Unreadable),
        "not_read": count(Picture::NotRead),
    })
}

/// The fields that speak against a document, in as few words as possible: both names are one.
fn against(verdict: &Verdict) -> Vec<&'static str> {
    let Verdict::Inconsistent(fields) = verdict else { return Vec::new() };
    let word = |field: &FieldName| match field {
        FieldName::Surname | FieldName::GivenNames => "name",
        FieldName::BirthDate => "birth date",
        FieldName::ExpiryDate => "expiry date",
        FieldName::DocumentNumber => "number",
        FieldName::Sex => "sex",
        FieldName::Nationality => "nationality",
        FieldName::Issuer => "issuer",
    };
    let mut words: Vec<&str> = fields.iter().map(word).collect();
    words.dedup();
    words
}

/// A verdict, as a line says it.
pub(super) fn verdict(verdict: &Verdict, tongue: Tongue) -> String {
    let against = against(verdict);
    let fields =
        if against.is_empty() { String::new() } else { format!(" ({})", against.join(", ")) };
    format!("{}{fields}: {}", verdict.word(), words::verdict(verdict, tongue))
}

/// What a line says of a picture.
pub(super) fn line(one: &Shown, tongue: Tongue) -> String {
    let mut line = verdict(&one.conclusion.evidence.verdict, tongue);
    if let Some(why) = one.conclusion.refused {
        line.push_str(&format!(", {}", words::refused(why, tongue)));
    }
    if let Some(other) = one.other_side {
        line.push_str(&format!("; its other side is {}", print::brief(&other)));
    }
    line
}

/// What is to be said of other cases, a line each.
pub(super) fn warnings(one: &Shown, tongue: Tongue) -> Vec<String> {
    let warning = |case: &CaseId| format!("{} {case}", words::also_in(tongue));
    one.also_in.iter().map(warning).collect()
}

/// What `kluis show` says, a line each.
pub(super) fn lines(pictures: &Pictures, case: CaseId) -> Vec<String> {
    let mut lines = Vec::new();
    for one in &pictures.shown {
        let item = print::brief(&one.item);
        lines.push(format!("{item}  {}", line(one, Tongue::En)));
        let beware = warnings(one, Tongue::En);
        lines.extend(beware.iter().map(|warning| format!("{item}  beware: {warning}")));
    }
    if pictures.not_read > 0 {
        let count = print::count(pictures.not_read, "picture", "pictures");
        lines.push(format!("not read: {count}; `kluis id --case {case}` reads what is there"));
    }
    if lines.is_empty() {
        lines.push(verdict(&Verdict::Absent, Tongue::En));
    }
    lines
}

/// The verdict of a case and its pictures; of each field how it stands, and what it says if `values`.
pub(super) fn to_json(pictures: &Pictures, values: bool) -> Value {
    let one = |one: &Shown| {
        let found = &one.conclusion;
        let fields = &found.evidence.fields;
        let mut value = json!({
            "item": one.item.to_string(),
            "letter": one.letter.to_string(),
            "verdict": found.evidence.verdict.word(),
            "sentence": words::verdict(&found.evidence.verdict, Tongue::En),
            "inconsistent": found.contradicted.iter().map(|name| name.word()).collect::<Vec<_>>(),
            "reason": found.refused.map(|why| why.to_string()),
            "format": format(one),
            "evidence": fields.iter().map(|field| (field.name.word().to_owned(), json!({
                "standing": field.standing.word(),
                "reason": field.standing.reason().words(),
            }))).collect::<serde_json::Map<_, _>>(),
            "other_side": one.other_side.map(|item| item.to_string()),
            "also_in": one.also_in.iter().map(CaseId::to_string).collect::<Vec<_>>(),
        });
        if values {
            let fields = fields.iter().filter(|field| field.name != FieldName::DocumentNumber);
            value["fields"] = fields
                .map(|field| (field.name.word().to_owned(), json!(masked(&field.value))))
                .collect::<serde_json::Map<_, _>>()
                .into();
            value["read_now"] = json!(one.is_new);
        }
        value
    };
    let verdict = pictures.verdict();
    json!({
        "verdict": verdict.word(),
        "sentence": words::verdict(&verdict, Tongue::En),
        "inconsistent": against(&verdict),
        "not_read": pictures.not_read,
        "pictures": pictures.shown.iter().map(one).collect::<Vec<_>>(),
    })
}

fn format(one: &Shown) -> Option<&'static str> {
    let found = &one.conclusion;
    match &found.mrz {
        Some(mrz) => Some(mrz.format.word()),
        None => (!found.evidence.fields.is_empty()).then_some("front"),
    }
}

/// `kluis id --case`: reads what was not read, and says what each picture shows.
///
/// # Errors
/// See [`Error`].
pub(super) fn of_case(
    connection: &Connection,
    case: CaseId,
    item: Option<&str>,
    tongue: Tongue,
) -> Result<Report, Error> {
    let mut client = connection.open()?;
    let (mut cases, _) = queue::open_and_list(&mut client, crate::casebook::Filter::Case(case))?;
    let view = cases.pop().ok_or_else(show::not_readable)?;
    let item = item.map(|start| session::item_of(&view, start)).transpose()?;
    let texts = show::texts(&mut client, &view)?;
    let reader = models::Here::find()?;
    let looks = Cell::new(masking::MOST_LOOKS);
    let look = |content: &[u8]| {
        let first = reader.as_ref().and_then(|here| here.look(content))?;
        let mut left = looks.get();
        let whole = masking::whole(content, first, &mut left);
        looks.set(left);
        Some(whole)
    };
    let reading = Reading::Now(reader.as_ref().map(|_| &look as &AskReader<'_>), item);
    let today = deadline::received_on(session::now());
    let found = pictures::of(&mut client, &view, &texts, today, &reading)?;
    let mut text = format!("{case}  {}\n", verdict(&found.verdict(), tongue));
    for one in &found.shown {
        text.push('\n');
        text.push_str(&written(one, tongue));
    }
    let is_unread = |one: &Shown| {
        matches!(one.conclusion.evidence.verdict, Verdict::NotRead) && reader.is_none()
    };
    let mut json = to_json(&found, true);
    json["case"] = json!(case.to_string());
    if found.shown.iter().any(is_unread) {
        let why = "the models are not there: `kluis doctor --fetch-models` fetches them";
        text.push_str(&format!("\n{why}\n"));
        json["reason"] = json!(why);
    }
    if let Some(is_noted) = found.is_noted {
        text.push_str(match is_noted {
            true => {
                "\nwhat was found now is forgotten after the decision, like what was seen before\n"
            }
            false => "\nwhat was found now could not be noted: your role does not allow it\n",
        });
    }
    json["noted"] = json!(found.is_noted);
    let is_fine = matches!(found.verdict(), Verdict::Consistent | Verdict::Expired);
    Ok(Report { problems: !is_fine, ..Report::new(text, json) })
}

fn written(one: &Shown, tongue: Tongue) -> String {
    let item = print::brief(&one.item);
    let mut text = format!("item             {item}\nverdict          {}\n", line(one, tongue));
    text.push_str(&format!("format           {}\n", format(one).unwrap_or("-")));
    for warning in warnings(one, tongue) {
        text.push_str(&format!("beware           {warning}\n"));
    }
    for field in &one.conclusion.evidence.fields {
        let value = match field.name {
            _ if field.value.is_empty() => "-".to_owned(),
            FieldName::DocumentNumber => HIDDEN.to_owned(),
            _ => print::terminal_safe(&masked(&field.value)),
        };
        let reason = words::reason(field.standing.reason(), tongue);
        let (name, standing) = (field.name.word(), field.standing.word());
        text.push_str(&format!("{name:15}  {value:20}  {standing}: {reason}\n"));
    }
    text
}
