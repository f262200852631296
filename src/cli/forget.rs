//! Forgetting: the one thing that cannot be undone, so the plan is shown and the proof handed out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::session::{self, Connection};
use super::{Error, Report, case, print};
use crate::casebook::detail::NoteSubject;
use crate::casebook::{Act, Certificate};
use crate::ids::{CaseId, ItemId};
use crate::keys::file::write_new;
use crate::ledger::{Checkpoint, Entry, Fact, checkpoint, tree};
use crate::staff::client::CaseView;
use crate::staff::sealing::Sealing;

/// Forget items: their keys are dropped, and nobody can open them any more
///
/// What an item was taken out of is forgotten with it, for it still holds the item; the rest of
/// that, too, can then not be taken out again. Each item gives a certificate: the ledger entry, the
/// proof that it stands in the ledger, and the day from which on no copy of the key exists. A legal
/// hold forbids it.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis forget K-7F3Q-9M2X 1f0a33c2 --reason 'identity checked' --dry-run\n  kluis forget K-7F3Q-9M2X 1f0a33c2 --reason 'identity checked' -o certificates.json"
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
    /// Write the certificates to this file, which is never overwritten
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// One item that goes.
#[derive(Debug, PartialEq, Eq)]
struct Doomed {
    item: ItemId,
    /// What was asked for and is taken out of it; none if it was asked for itself.
    because_of: Option<ItemId>,
}

impl Forget {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let reason = case::said(std::slice::from_ref(&self.reason))?;
        if let Some(path) = self.output.as_ref().filter(|path| path.exists()) {
            return Err(Error::io(path.display(), &std::io::ErrorKind::AlreadyExists.into()));
        }
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
        if self.dry_run {
            return Ok(planned(self.case, &plan));
        }
        let mut sealing = Sealing::new(self.case, Act::Note, client.sealing()?);
        sealing.note(NoteSubject::Reason, &reason, None, Vec::new());
        let items: Vec<ItemId> = plan.iter().map(|doomed| doomed.item).collect();
        let certificates = client.forget(items.clone(), sealing.finish(), self.now)?;
        let certificates = verified(certificates, &items, &client.checkpoint_key)?;
        Ok(self.report(&certificates))
    }

    fn report(&self, certificates: &[(ItemId, Certificate)]) -> Report {
        let mut text = String::new();
        let mut values = Vec::new();
        for (item, certificate) in certificates {
            text.push_str(&format!(
                "{}  forgotten (entry {}); no copy of its key exists after {}\n",
                print::brief(item),
                certificate.seq,
                print::moment(certificate.horizon),
            ));
            let mut value = print::certificate(certificate);
            value["item"] = item.to_string().into();
            values.push(value);
        }
        if !self.now {
            text.push_str(
                "Until the cabinet's key is rotated tonight, a thief of the running server could \
                 still find it; --now rotates at once.\n",
            );
        }
        let value = json!({ "case": self.case.to_string(), "certificates": values });
        let mut problems = false;
        if let Some(path) = &self.output {
            let line = print::json_line(&value) + "\n";
            // They are not made a second time, so a full disk must not swallow them.
            match write_new(path, line.as_bytes()) {
                Ok(()) => text.push_str(&format!("certificates  {}\n", path.display())),
                Err(error) => {
                    problems = true;
                    text.push_str(&format!(
                        "{} was not written ({error}). The certificates:\n{line}",
                        path.display()
                    ));
                }
            }
        } else {
            text.push_str("-o FILE or --json would have kept the certificates.\n");
        }
        Report { problems, ..Report::new(text, value) }
    }
}

/// What goes: the items asked for, and what they were taken out of. What was forgotten before is
/// left out.
fn plan(case: &CaseView, wanted: &[ItemId]) -> Vec<Doomed> {
    let mut plan: Vec<Doomed> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut queue: Vec<Doomed> =
        wanted.iter().rev().map(|&item| Doomed { item, because_of: None }).collect();
    while let Some(doomed) = queue.pop() {
        if !seen.insert(doomed.item) {
            continue;
        }
        let letter = case.letters.iter().find_map(|letter| {
            let item = letter.card.items.iter().find(|item| item.0 == doomed.item)?;
            Some((letter, item.2))
        });
        let Some((letter, is_forgotten)) = letter else { continue };
        if let Some(container) = letter.card.boxed.container {
            queue.push(Doomed { item: container, because_of: Some(doomed.item) });
        }
        if !is_forgotten {
            plan.push(doomed);
        }
    }
    plan
}

fn planned(case: CaseId, plan: &[Doomed]) -> Report {
    let mut text = String::from("Would be forgotten:\n");
    let mut values: Vec<Value> = Vec::new();
    for Doomed { item, because_of } in plan {
        let why = because_of
            .map_or_else(String::new, |inner| format!("  holds {}", print::brief(&inner)));
        text.push_str(&format!("  {}{why}\n", print::brief(item)));
        values.push(json!({
            "item": item.to_string(),
            "because_of": because_of.map(|item| item.to_string()),
        }));
    }
    text.push_str("Nothing was forgotten.\n");
    let value = json!({ "case": case.to_string(), "would_forget": values, "dry_run": true });
    Report::new(text, value)
}

/// The certificates with the items that they are about, each held against the vault's key: one that
/// says `Forgotten` for every item that was asked for.
fn verified(
    certificates: Vec<Certificate>,
    asked: &[ItemId],
    key: &str,
) -> Result<Vec<(ItemId, Certificate)>, Error> {
    let bad = || {
        Error::new("a certificate does not hold")
            .hint("the items are forgotten, but the server cannot prove it: tell the admin")
    };
    let (vault, public) = checkpoint::parse_vkey(key)?;
    let mut verified = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        let head = Checkpoint::verify(&certificate.checkpoint, &public)?;
        let leaf = tree::leaf(&certificate.entry);
        let Certificate { seq, path, .. } = &certificate;
        let stands = tree::verify_inclusion(leaf, *seq, head.size, path, head.root);
        let entry = Entry::from_bytes(&certificate.entry)?;
        let holds = stands && head.vault == vault && entry.seq == *seq;
        let is_forgotten = entry.kind == Fact::Forgotten && entry.slot.is_some();
        let item = entry.item.filter(|_| holds && is_forgotten).ok_or_else(bad)?;
        verified.push((item, certificate));
    }
    let is_proven = |item: &ItemId| verified.iter().any(|(proven, _)| proven == item);
    if asked.iter().all(is_proven) { Ok(verified) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_must_say_that_the_very_item_was_forgotten() {
        use crate::ids::{LetterId, SlotId, VaultId};
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
                seq: 0,
                entry: entry.to_bytes(),
                path: Vec::new(),
                checkpoint: Checkpoint { vault, size: 1, root }.sign(&seed),
                horizon: 0,
                rotated: false,
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
