//! Forgetting: the one thing that cannot be undone, so the plan is shown and the proof handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::session::{self, Connection};
use super::{Error, Report, case, certificate, print};
use crate::casebook::Act;
use crate::casebook::detail::NoteSubject;
use crate::ids::{CaseId, ItemId};
use crate::keys::file::write_new;
use crate::ledger::certificate::{Certificate, Proven};
use crate::staff::client::{CaseView, LetterView};
use crate::staff::sealing::Sealing;

/// Forget items: their keys are dropped, and nobody can open them any more
///
/// What an item was taken out of is forgotten with it, for it still holds the item, and so is what was
/// taken out of it; what was beside it in there is kept, an item by itself. Each item gives a
/// certificate, a file that proves by itself what was forgotten, when and by whom, and says until
/// when that is provisional; `kluis audit certificate` fetches it again. A legal hold forbids it.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis forget K-7F3Q-9M2X 1f0a33c2 --reason 'identity checked' --dry-run\n  kluis forget K-7F3Q-9M2X 1f0a33c2 --reason 'identity checked' --certificate erased.txt"
)]
pub(super) struct Forget {
    /// The case number
    #[arg(value_name = "CASE")]
    case: CaseId,
    /// Items of the case: the first digits of their ids are enough
    #[arg(required = true, value_name = "ITEM")]
    items: Vec<String>,
    /// Why, in your own words
    #[arg(long, value_name = "WORDS")]
    reason: String,
    /// Rotate the cabinet's key at once, not in the coming night
    #[arg(long)]
    now: bool,
    /// Only say what would be forgotten
    #[arg(long)]
    dry_run: bool,
    /// Write the certificate to this file, those of further items to the same name with -2, -3 …;
    /// nothing is overwritten
    #[arg(short = 'o', long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// One item that goes.
#[derive(Debug, PartialEq, Eq)]
struct Doomed {
    item: ItemId,
    why: Why,
}

/// Why an item goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Asked,
    /// It holds this one.
    Holds(ItemId),
    /// It was taken out of this one.
    OutOf(ItemId),
}

impl Forget {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let reason = case::said(std::slice::from_ref(&self.reason))?;
        let mut client = self.connection.open()?;
        let view = client.case(self.case)?;
        let mut wanted = Vec::new();
        for start in &self.items {
            wanted.push(session::item_of(&view, start)?);
        }
        let plan = plan(&view, &wanted);
        if plan.is_empty() {
            return Err(Error::new("all of it was forgotten before")
                .hint("`kluis show CASE` says what is kept"));
        }
        if view.card.held {
            return Err(Error::new("a legal hold is on the case")
                .hint("`kluis hold --lift CASE WORDS` lifts it, if the law allows"));
        }
        let left = left(&view, &plan);
        if self.dry_run {
            return Ok(planned(self.case, &plan, &left));
        }
        let files = self
            .certificate
            .as_deref()
            .map_or_else(Vec::new, |path| certificate::files(path, plan.len()));
        files.iter().try_for_each(|path| certificate::is_free(path))?;
        let mut sealing = Sealing::new(self.case, Act::Note, client.sealing()?);
        sealing.note(NoteSubject::Reason, &reason, None, Vec::new());
        let items: Vec<ItemId> = plan.iter().map(|doomed| doomed.item).collect();
        // Named is what was asked for: what holds it is not asked to take all of its content along.
        let certificates = client.forget(wanted, sealing.finish(), self.now)?;
        let certificates = verified(certificates, &items, &client.checkpoint_key)?;
        self.report(&certificates, &files, &left)
    }

    fn report(
        &self,
        certificates: &[(Certificate, Proven)],
        files: &[PathBuf],
        left: &[ItemId],
    ) -> Result<Report, Error> {
        let mut text = String::new();
        let mut values = Vec::new();
        let mut problems = false;
        for (at, (certificate, proven)) in certificates.iter().enumerate() {
            let seq = proven.forgotten.seq;
            text.push_str(&format!(
                "{}  forgotten (entry {seq}); no copy of its key exists after {}\n",
                proven.forgotten.item.map_or_else(String::new, |item| print::brief(&item)),
                print::moment(proven.horizon()),
            ));
            if let Some(path) = files.get(at) {
                let written = certificate.to_text()?;
                match write_new(path, written.as_bytes()) {
                    Ok(()) => text.push_str(&format!("certificate  {}\n", path.display())),
                    Err(error) => {
                        problems = true;
                        text.push_str(&format!(
                            "{} was not written ({error}): `kluis audit certificate {seq}` gives it\n",
                            path.display()
                        ));
                    }
                }
            }
            values.push(certificate::value(certificate, proven)?);
        }
        text.push_str(&stays(left));
        if !self.now {
            text.push_str(
                "Until the cabinet's key is rotated tonight, a thief of the running server could \
                 still find it; --now rotates at once.\n",
            );
        }
        if files.is_empty() {
            text.push_str("`kluis audit certificate ITEM` gives the certificates, now or later.\n");
        }
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        let value = json!({ "case": self.case.to_string(), "certificates": values, "taken_out_and_kept": left });
        Ok(Report { problems, ..Report::new(text, value) })
    }
}

/// What goes: the items asked for, what they were taken out of, and what was taken out of them. What
/// was forgotten before is left out.
fn plan(case: &CaseView, wanted: &[ItemId]) -> Vec<Doomed> {
    let containers = containers(case);
    let mut plan: Vec<Doomed> = Vec::new();
    let mut seen = BTreeSet::new();
    for &asked in wanted {
        let (mut item, mut why) = (asked, Why::Asked);
        while seen.insert(item) {
            plan.push(Doomed { item, why });
            let Some(container) = containers.get(&item).copied().flatten() else { break };
            (item, why) = (container, Why::Holds(item));
        }
    }
    for (&item, &container) in &containers {
        let outer = |item: &ItemId| containers.get(item).copied().flatten();
        let mut around = around(container, outer);
        if around.any(|outer| wanted.contains(&outer)) && seen.insert(item) {
            let why = container.map_or(Why::Asked, Why::OutOf);
            plan.push(Doomed { item, why });
        }
    }
    let is_forgotten = |item: ItemId| {
        let mut all = case.letters.iter().flat_map(|letter| &letter.card.items);
        all.any(|(id, _, is_forgotten)| *id == item && *is_forgotten)
    };
    plan.retain(|doomed| !is_forgotten(doomed.item));
    plan
}

/// Every item of a case, and what it was taken out of.
fn containers(case: &CaseView) -> BTreeMap<ItemId, Option<ItemId>> {
    let of_letter = |letter: &LetterView| {
        let items = letter.card.items.iter();
        items.map(|(item, ..)| (*item, container(letter, *item))).collect::<Vec<_>>()
    };
    case.letters.iter().flat_map(of_letter).collect()
}

/// What is around an item, from what it was taken out of outwards.
fn around(
    container: Option<ItemId>,
    outer: impl Fn(&ItemId) -> Option<ItemId>,
) -> impl Iterator<Item = ItemId> {
    // Nothing is in itself: a list that says so ends nowhere else.
    std::iter::successors(container, outer).take(MOST_AROUND)
}

/// Containers in each other: those of an encrypted letter around those of what was in it.
const MOST_AROUND: usize = 64;

/// What an item was taken out of: another of its letter, or what the letter was encrypted in.
fn container(letter: &LetterView, item: ItemId) -> Option<ItemId> {
    let cards = letter.detail.as_ref().map_or(&[][..], |detail| &detail.items);
    let card = cards.iter().find(|card| card.id == item);
    let outer = card.and_then(|card| cards.get(card.container? as usize));
    outer.map(|card| card.id).or(letter.card.boxed.container)
}

/// What was taken out of something that goes, however deep it was in it, and stays: an item by itself.
fn left(case: &CaseView, plan: &[Doomed]) -> Vec<ItemId> {
    let goes = |item: ItemId| plan.iter().any(|doomed| doomed.item == item);
    let containers = containers(case);
    let mut left = Vec::new();
    for letter in &case.letters {
        for (item, _, is_forgotten) in &letter.card.items {
            let outer = |item: &ItemId| containers.get(item).copied().flatten();
            let mut around = around(outer(item), outer);
            if !is_forgotten && !goes(*item) && around.any(goes) {
                left.push(*item);
            }
        }
    }
    left
}

/// One line about what stays; none if nothing does.
fn stays(left: &[ItemId]) -> String {
    if left.is_empty() {
        return String::new();
    }
    let ids: Vec<String> = left.iter().map(print::brief).collect();
    format!("Taken out of it before, and kept unless you name them: {}\n", ids.join(" "))
}

fn planned(case: CaseId, plan: &[Doomed], left: &[ItemId]) -> Report {
    let mut text = String::from("Would be forgotten:\n");
    let mut values: Vec<Value> = Vec::new();
    for Doomed { item, why } in plan {
        let (words, holds, out_of) = match why {
            Why::Asked => (String::new(), None, None),
            Why::Holds(inner) => (format!("  holds {}", print::brief(inner)), Some(inner), None),
            Why::OutOf(outer) => (format!("  out of {}", print::brief(outer)), None, Some(outer)),
        };
        text.push_str(&format!("  {}{words}\n", print::brief(item)));
        values.push(json!({
            "item": item.to_string(),
            "because_of": holds.map(ToString::to_string),
            "out_of": out_of.map(ToString::to_string),
        }));
    }
    text.push_str(&stays(left));
    text.push_str("Nothing was forgotten.\n");
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    let value = json!({
        "case": case.to_string(),
        "would_forget": values,
        "taken_out_and_kept": left,
        "dry_run": true,
    });
    Report::new(text, value)
}

/// The certificates with what they prove, each held against the vault's key: one for every item that
/// was asked for.
fn verified(
    certificates: Vec<Certificate>,
    asked: &[ItemId],
    key: &str,
) -> Result<Vec<(Certificate, Proven)>, Error> {
    let mut verified = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        let proven = certificate::prove(&certificate, key)?;
        verified.push((certificate, proven));
    }
    let is_proven =
        |item: &ItemId| verified.iter().any(|(_, proven)| proven.forgotten.item == Some(*item));
    if asked.iter().all(is_proven) { Ok(verified) } else { Err(certificate::unproven()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_must_say_that_the_very_item_was_forgotten() {
        use crate::ids::{LetterId, SlotId, VaultId};
        use crate::ledger::proof::Proof;
        use crate::ledger::{Checkpoint, Entry, Fact, checkpoint, tree};
        let (vault, seed, item) = (VaultId::random(), [4; 32], ItemId::random());
        let key = checkpoint::vkey(vault, &checkpoint::public_key(&seed));
        let certificate = |kind, seq, of: ItemId| {
            let entry = Entry {
                seq,
                letter: Some(LetterId::random()),
                item: Some(of),
                slot: Some(SlotId::random()),
                ..Entry::new(kind, 9)
            };
            let mut tree = tree::Tree::default();
            tree.append(tree::leaf(&entry.to_bytes()));
            let root = tree.root(1).expect("its own size");
            vec![Certificate {
                checkpoint: Checkpoint { vault, size: 1, root }.sign(&seed),
                forgotten: Proof { index: 0, entry: entry.to_bytes(), path: Vec::new() },
                sealed: None,
                rotated: None,
            }]
        };
        let holds = |certificates| verified(certificates, &[item], &key).is_ok();
        assert!(holds(certificate(Fact::Forgotten, 0, item)));
        assert!(!holds(certificate(Fact::Looked, 0, item)), "a look is no forgetting");
        assert!(!holds(certificate(Fact::Forgotten, 3, item)), "an entry of another place");
        assert!(!holds(certificate(Fact::Forgotten, 0, ItemId::random())), "another item");
        assert!(!holds(Vec::new()), "nothing at all");
    }
}
