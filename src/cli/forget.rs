//! Forgetting: the one thing that cannot be undone, so the plan is shown and the proof handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::error::USAGE;
use super::session::{self, Connection};
use super::{Error, Report, case, certificate, print};
use crate::casebook::detail::NoteSubject;
use crate::casebook::state::item_of;
use crate::casebook::{Act, Standing};
use crate::ids::{CaseId, ItemId, LetterId};
use crate::keys::file::write_new;
use crate::ledger::certificate::{Certificate, Proven};
use crate::staff::client::CaseView;
use crate::staff::sealing::Sealing;

/// Forget items: their keys are dropped, and nobody can open them any more
///
/// What an item was taken out of is forgotten with it, for it still holds the item, and so is what was
/// taken out of it; what was beside it in there is kept, an item by itself. With an enclosed message go
/// its parts; with what was encrypted goes the letter that was in it, its subject included. All of that
/// is shown, and you are asked; where nobody can be asked, `--plan` says which plan was seen. If
/// something else would go by now, nothing is forgotten. Each item gives a certificate, a file that proves
/// by itself what was forgotten, when and by whom, and says until when that is provisional; `kluis audit
/// certificate` fetches it again. A legal hold forbids it.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  kluis forget K-7F3Q-9M2X 1f0a33c2 --reason 'identity checked' --certificate erased.txt\n  kluis forget K-7F3Q-9M2X 1f0a33c2 --reason 'identity checked' --dry-run\n  kluis forget K-7F3Q-9M2X 1f0a33c2 --reason 'identity checked' --plan 5c01d7a49be2f036"
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
    /// Only say what would be forgotten, and the digest of that plan
    #[arg(long)]
    dry_run: bool,
    /// Do not ask: forget what `--dry-run` showed, if that is still the plan with this digest
    #[arg(long, value_name = "DIGEST", conflicts_with = "dry_run")]
    plan: Option<String>,
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
    /// It is what the letter that was encrypted in this one says of itself: its subject, say.
    LetterIn(ItemId),
    /// It is a part of this enclosed message, which has nothing of its own.
    PartOf(ItemId),
}

impl Forget {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        let reason = case::said(std::slice::from_ref(&self.reason))?;
        let mut client = self.connection.open()?;
        let view = client.case(self.case)?;
        let mut wanted = Vec::new();
        for start in &self.items {
            wanted.push(session::item_of(&view, start)?);
        }
        let parts = parts(&view, &wanted);
        let plan = plan(&view, &wanted, &parts);
        wanted.extend(parts.into_iter().map(|(part, _)| part));
        if plan.is_empty() {
            return Err(Error::new("all of it was forgotten before")
                .hint("`kluis show CASE` says what is kept"));
        }
        if view.card.held {
            return Err(Error::new("a legal hold is on the case")
                .hint("`kluis hold --lift CASE WORDS` lifts it, if the law allows"));
        }
        let kept = Kept { left: left(&view, &plan), unread: unread(&view, &wanted) };
        if self.dry_run {
            return Ok(planned(self.case, &plan, &kept));
        }
        let files = self
            .certificate
            .as_deref()
            .map_or_else(Vec::new, |path| certificate::files(path, plan.len()));
        files.iter().try_for_each(|path| certificate::is_free(path))?;
        self.was_seen(&plan, &kept, json)?;
        let mut sealing = Sealing::new(self.case, Act::Note, client.sealing()?);
        sealing.note(NoteSubject::Reason, &reason, None, Vec::new());
        let items: Vec<ItemId> = plan.iter().map(|doomed| doomed.item).collect();
        // Named is what was asked for: what holds it is not asked to take all of its content along.
        let reason = sealing.finish();
        let certificates = client.forget_planned(wanted, items.clone(), reason, self.now)?;
        let certificates = verified(certificates, &items, &client.checkpoint_key)?;
        self.report(&certificates, &files, &kept)
    }

    /// That a person saw this very plan: by its digest, or because they are shown it now.
    fn was_seen(&self, plan: &[Doomed], kept: &Kept, json: bool) -> Result<(), Error> {
        match &self.plan {
            Some(seen) if *seen == digest(self.case, plan) => return Ok(()),
            Some(_) => {
                return Err(Error::new(
                    "something else would be forgotten by now than this plan says: nothing was \
                     forgotten",
                )
                .hint("`--dry-run` shows what would be forgotten now, and its digest"));
            }
            None => {}
        }
        let no = Error::new("nothing was forgotten");
        if json || !std::io::stdin().is_terminal() {
            return Err(no.code(USAGE).hint(
                "nobody can be asked here: `--dry-run` shows what would be forgotten and the digest \
                 of that plan, `--plan DIGEST` forgets it",
            ));
        }
        let question =
            format!("{}\nForget all of it, for ever? [yes/no] ", words(plan, kept).trim_end());
        if case::is_yes(&question) {
            Ok(())
        } else {
            Err(no.hint("answer yes when you have seen what goes"))
        }
    }

    fn report(
        &self,
        certificates: &[(Certificate, Proven)],
        files: &[PathBuf],
        kept: &Kept,
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
        text.push_str(&kept.words());
        if !self.now {
            text.push_str(
                "Until the cabinet's key is rotated tonight, a thief of the running server could \
                 still find it; --now rotates at once.\n",
            );
        }
        if files.is_empty() {
            text.push_str("`kluis audit certificate ITEM` gives the certificates, now or later.\n");
        }
        let value = json!({
            "case": self.case.to_string(),
            "certificates": values,
            "taken_out_and_kept": texts(&kept.left),
            "letters_not_readable": texts(&kept.unread),
        });
        Ok(Report { problems, ..Report::new(text, value) })
    }
}

/// What is not forgotten, or may be not, and is to be said.
struct Kept {
    /// What was taken out of something that goes.
    left: Vec<ItemId>,
    /// Letters of what was asked for of which nobody knows which items enclose which.
    unread: Vec<LetterId>,
}

impl Kept {
    /// A line about each; none if there is nothing to say.
    fn words(&self) -> String {
        let mut text = String::new();
        if !self.left.is_empty() {
            let ids: Vec<String> = self.left.iter().map(print::brief).collect();
            let ids = ids.join(" ");
            text.push_str(&format!(
                "Taken out of it before, and kept unless you name them: {ids}\n"
            ));
        }
        for letter in &self.unread {
            let letter = print::brief(letter);
            text.push_str(&format!(
                "Letter {letter} cannot be read: if an item of it is an enclosed message, its parts \
                 are kept unless you name them\n"
            ));
        }
        text
    }
}

/// The parts of the enclosed messages among these items, and of which each is: such a message is an item
/// of length 0, and what can be read of it are those of greater depth that follow (vault-format §7).
fn parts(case: &CaseView, wanted: &[ItemId]) -> Vec<(ItemId, ItemId)> {
    let mut parts = Vec::new();
    for detail in case.letters.iter().filter_map(|letter| letter.detail.as_ref()) {
        for (at, message) in detail.items.iter().enumerate() {
            if !wanted.contains(&message.id) {
                continue;
            }
            // What was taken out of one of them is listed elsewhere, and goes with it.
            let beside = detail.items[at + 1..].iter().filter(|c| c.container == message.container);
            let inside = beside.take_while(|card| card.depth > message.depth);
            parts.extend(inside.map(|card| (card.id, message.id)));
        }
    }
    parts.retain(|(part, _)| !wanted.contains(part));
    parts
}

/// What goes: the items asked for and the parts of those that are messages, what they were taken out
/// of, and what was taken out of them. What was forgotten before is left out.
fn plan(case: &CaseView, wanted: &[ItemId], parts: &[(ItemId, ItemId)]) -> Vec<Doomed> {
    let containers = containers(case);
    let mut plan: Vec<Doomed> = Vec::new();
    let mut seen = BTreeSet::new();
    let asked = wanted.iter().map(|item| (*item, Why::Asked));
    let asked: Vec<(ItemId, Why)> =
        asked.chain(parts.iter().map(|(part, of)| (*part, Why::PartOf(*of)))).collect();
    for &(mut item, mut why) in &asked {
        while seen.insert(item) {
            plan.push(Doomed { item, why });
            let Some(container) = containers.get(&item).copied() else { break };
            (item, why) = (container, Why::Holds(item));
        }
    }
    let is_inside = |outer: ItemId| {
        around(outer, &containers).any(|outer| asked.iter().any(|(item, _)| *item == outer))
    };
    for (&item, &outer) in &containers {
        if is_inside(outer) && seen.insert(item) {
            plan.push(Doomed { item, why: Why::OutOf(outer) });
        }
    }
    for letter in &case.letters {
        let outer = letter.card.boxed.container.filter(|outer| is_inside(*outer));
        if let Some(outer) = outer {
            plan.push(Doomed { item: item_of(letter.id()), why: Why::LetterIn(outer) });
        }
    }
    let forgotten: BTreeSet<ItemId> = forgotten(case).collect();
    plan.retain(|doomed| !forgotten.contains(&doomed.item));
    plan
}

/// What was forgotten before.
fn forgotten(case: &CaseView) -> impl Iterator<Item = ItemId> {
    case.letters.iter().flat_map(|letter| {
        let is_forgotten = letter.card.boxed.standing == Standing::Forgotten;
        let items = letter.card.items.iter().filter(|(_, _, is_forgotten)| *is_forgotten);
        items.map(|(item, ..)| *item).chain(is_forgotten.then(|| item_of(letter.id())))
    })
}

/// Every item of a case that was taken out of another, and out of which: as the ledger says it, so that
/// it is known of a letter that cannot be read, too.
fn containers(case: &CaseView) -> BTreeMap<ItemId, ItemId> {
    case.letters.iter().flat_map(|letter| letter.card.out_of.iter().copied()).collect()
}

/// An item and what is around it, outwards.
fn around(item: ItemId, containers: &BTreeMap<ItemId, ItemId>) -> impl Iterator<Item = ItemId> {
    // Nothing is in itself: a list that says so ends nowhere else.
    std::iter::successors(Some(item), |item| containers.get(item).copied()).take(MOST_AROUND)
}

/// Containers in each other: those of an encrypted letter around those of what was in it.
const MOST_AROUND: usize = 64;

/// What was taken out of something that goes, however deep it was in it, and stays: an item by itself.
fn left(case: &CaseView, plan: &[Doomed]) -> Vec<ItemId> {
    let goes: BTreeSet<ItemId> = plan.iter().map(|doomed| doomed.item).collect();
    let containers = containers(case);
    let forgotten: BTreeSet<ItemId> = forgotten(case).collect();
    let stays = |(item, outer): &(&ItemId, &ItemId)| {
        let goes = |item: &ItemId| goes.contains(item);
        !forgotten.contains(*item)
            && !goes(item)
            && around(**outer, &containers).any(|outer| goes(&outer))
    };
    containers.iter().filter(stays).map(|(item, _)| *item).collect()
}

/// The letters of these items that cannot be read.
fn unread(case: &CaseView, wanted: &[ItemId]) -> Vec<LetterId> {
    let unread = case.letters.iter().filter(|letter| {
        let is_kept = letter.card.boxed.standing != Standing::Forgotten;
        let mut items = letter.card.items.iter();
        letter.detail.is_none() && is_kept && items.any(|(item, ..)| wanted.contains(item))
    });
    unread.map(|letter| letter.id()).collect()
}

fn texts<T: ToString>(ids: &[T]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

impl Why {
    /// In words, as a field of JSON, and the other item that it is about.
    fn said(&self) -> (&'static str, &'static str, Option<&ItemId>) {
        match self {
            Self::Asked => ("", "", None),
            Self::Holds(inner) => ("  holds ", "because_of", Some(inner)),
            Self::OutOf(outer) => ("  out of ", "out_of", Some(outer)),
            Self::LetterIn(outer) => ("  the letter in ", "letter_in", Some(outer)),
            Self::PartOf(message) => ("  part of ", "part_of", Some(message)),
        }
    }
}

/// The plan as a person is shown it.
fn words(plan: &[Doomed], kept: &Kept) -> String {
    let mut text = String::from("Would be forgotten:\n");
    for Doomed { item, why } in plan {
        let (words, _, other) = why.said();
        let of = other.map_or_else(String::new, print::brief);
        text.push_str(&format!("  {}{words}{of}\n", print::brief(item)));
    }
    text + &kept.words()
}

/// Digits of a plan's digest: enough that no two plans of a case have the same.
const DIGEST: usize = 16;

/// What names a plan: the case and what goes, in whatever order.
fn digest(case: CaseId, plan: &[Doomed]) -> String {
    let items: BTreeSet<ItemId> = plan.iter().map(|doomed| doomed.item).collect();
    let mut hasher = blake3::Hasher::new();
    hasher.update(case.to_string().as_bytes());
    for item in items {
        hasher.update(item.to_string().as_bytes());
    }
    hasher.finalize().to_hex()[..DIGEST].to_owned()
}

fn planned(case: CaseId, plan: &[Doomed], kept: &Kept) -> Report {
    let digest = digest(case, plan);
    let text = format!("{}Nothing was forgotten.\nplan  {digest}\n", words(plan, kept));
    let mut values: Vec<Value> = Vec::new();
    for Doomed { item, why } in plan {
        let (_, field, other) = why.said();
        let mut value = json!({
            "item": item.to_string(),
            "because_of": null,
            "out_of": null,
            "letter_in": null,
            "part_of": null,
        });
        if let Some(other) = other {
            value[field] = other.to_string().into();
        }
        values.push(value);
    }
    let value = json!({
        "case": case.to_string(),
        "plan": digest,
        "would_forget": values,
        "taken_out_and_kept": texts(&kept.left),
        "letters_not_readable": texts(&kept.unread),
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
