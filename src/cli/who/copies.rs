//! What `kluis who` and `kluis show` say of copies of identity documents: until when they are kept, and
//! who checked one.

use serde_json::{Value, json};

use super::member;
use super::words::{Say, say};
use crate::casebook::CaseCard;
use crate::casebook::copies::{CheckCard, CopyCard};
use crate::cli::print;
use crate::keys::roster::Roster;
use crate::reply::Language;

/// Whether there is something to say.
pub(in crate::cli) fn is_any(card: &CaseCard) -> bool {
    !card.copies.is_empty() || !card.checks.is_empty()
}

/// A word and what is said, a line each.
pub(in crate::cli) fn lines(
    card: &CaseCard,
    roster: &Roster,
    language: Language,
) -> Vec<(&'static str, String)> {
    let copies = card.copies.iter();
    let copies =
        copies.map(|copy| (say(Say::Copy, language), copy_line(card, copy, roster, language)));
    let checks = card.checks.iter();
    let checks =
        checks.map(|check| (say(Say::Checked, language), check_line(check, roster, language)));
    copies.chain(checks).collect()
}

fn copy_line(card: &CaseCard, copy: &CopyCard, roster: &Roster, language: Language) -> String {
    let says = copy.by.map(|by| member(roster, by));
    let (what, minute) = match (copy.is_copy, copy.forgotten, copy.due) {
        (_, Some(minute), _) => (Say::CopyGone, minute),
        (false, None, _) => (Say::NotACopy, 0),
        (true, None, None) => (Say::CopyWaits, 0),
        (true, None, Some(_)) if card.held => (Say::CopyHeld, 0),
        (true, None, Some(minute)) => (Say::CopyGoes, minute),
    };
    let line = say(what, language)
        .replace("{item}", &print::brief(&copy.item))
        .replace("{date}", &print::moment(minute));
    says.map_or(line.clone(), |says| format!("{line} ({says})"))
}

fn check_line(check: &CheckCard, roster: &Roster, language: Language) -> String {
    let line = say(Say::CheckedBy, language)
        .replace("{member}", &member(roster, check.staff))
        .replace("{date}", &print::moment(check.minute));
    check.item.map_or(line.clone(), |item| format!("{line} ({})", print::brief(&item)))
}

/// The copies and the checks.
pub(in crate::cli) fn json(card: &CaseCard, roster: &Roster) -> (Value, Value) {
    let copies = card.copies.iter().map(|copy| {
        let due = copy.due.filter(|_| copy.is_copy && copy.forgotten.is_none() && !card.held);
        json!({
            "item": copy.item.to_string(),
            "is_copy": copy.is_copy,
            "by": copy.by.map(|by| member(roster, by)),
            "forgotten_on": due.map(print::timestamp),
            "forgotten": copy.forgotten.map(print::timestamp),
        })
    });
    let checks = card.checks.iter().map(|check| {
        json!({
            "by": member(roster, check.staff),
            "time": print::timestamp(check.minute),
            "item": check.item.map(|item| item.to_string()),
        })
    });
    (copies.collect(), checks.collect())
}
