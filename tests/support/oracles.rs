//! What must hold after any crash, looked at from outside: as a sender, as staff, as an auditor.
//!
//! Each rule is a plain comparison that gives a line for every violation, and the tests at the
//! foot show that it does.

use std::collections::{BTreeMap, BTreeSet};

use kluis::casebook::Filter;
use kluis::ids::CaseId;
use kluis::ledger::entry::{Entry, Fact};
#[cfg(kluis_lab)]
use kluis::ledger::{Checkpoint, audit, checkpoint, tree};
use kluis::letter::skeleton::Skeleton;
use kluis::staff::client::{Client, Error, LetterView};

/// What the senders were told.
#[derive(Default)]
pub(crate) struct Sent {
    /// Letters that were answered 250.
    pub(crate) kept: BTreeSet<Vec<u8>>,
    /// Letters that were given up without an answer: whole, or not there.
    pub(crate) given_up: BTreeSet<Vec<u8>>,
}

/// A case as staff find it.
#[derive(Clone)]
pub(crate) struct FoundCase {
    /// Each letter as both keys rebuild it, or what does not open.
    pub(crate) letters: Vec<Result<Vec<u8>, String>>,
    /// Notices, sent or not.
    pub(crate) notices: u32,
}

/// What staff and the ledger say.
#[derive(Clone, Default)]
pub(crate) struct Found {
    /// Every case.
    pub(crate) cases: BTreeMap<CaseId, FoundCase>,
    /// Cases that were opened, by the ledger.
    pub(crate) opened: BTreeSet<CaseId>,
    /// Letters received, by the ledger.
    pub(crate) received: usize,
}

impl Found {
    /// Opens everything that there is.
    pub(crate) fn by(client: &mut Client) -> Result<Self, Error> {
        let mut found = Self::default();
        for view in client.queue(Filter::All)? {
            let letters = view.letters.iter().map(|letter| rebuilt(client, letter)).collect();
            let (sent, refused, unknown) = view.card.notices;
            let notices = view.card.notices_held + sent + refused + unknown;
            let case = FoundCase { letters, notices };
            found.cases.insert(view.card.case, case);
        }
        for entry in client.ledger()?.0.iter().map(|bytes| Entry::from_bytes(bytes)) {
            let entry = entry.expect("an entry");
            match entry.kind {
                Fact::LetterReceived => found.received += 1,
                Fact::CaseOpened => found.opened.extend(entry.case),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The raw bytes of a letter, out of its skeleton and its items.
pub(crate) fn rebuilt(client: &mut Client, letter: &LetterView) -> Result<Vec<u8>, String> {
    let detail = letter.detail.as_ref().ok_or("a letter box does not open")?;
    let mut ids = vec![detail.skeleton.expect("a mail has one")];
    ids.extend(detail.items.iter().map(|card| card.id));
    let listed: BTreeSet<_> = letter.card.items.iter().map(|(id, ..)| *id).collect();
    if listed != ids.iter().copied().collect() {
        return Err("the ledger and the letter box name other items".into());
    }
    let views = client.look(&ids).map_err(|error| format!("an item does not open: {error}"))?;
    let (skeleton, items) = views.split_first().ok_or("no skeleton came")?;
    let skeleton = Skeleton::decode(&skeleton.stored).ok_or("a skeleton that is none")?;
    let contents: Vec<_> = items.iter().map(|view| Some(view.stored.as_slice())).collect();
    Ok(skeleton.rebuild(&contents))
}

/// Holds what is there against what was promised: kept, whole or absent, once; no case without its
/// letter, and no notice, since no domain stands for these letters.
pub(crate) fn letters(sent: &Sent, found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut copies: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (id, case) in &found.cases {
        for letter in &case.letters {
            match letter {
                Ok(raw) => *copies.entry(raw).or_default() += 1,
                Err(why) => wrong.push(format!("half: a letter of {id}: {why}")),
            }
        }
        if case.letters.len() != 1 {
            wrong.push(format!("case: {id} has {} letters, 1 came", case.letters.len()));
        }
        if case.notices != 0 {
            wrong.push(format!("notice: {id} has {}", case.notices));
        }
    }
    if found.cases.keys().copied().collect::<BTreeSet<_>>() != found.opened {
        wrong.push("case: the ledger opened other cases than there are".into());
    }
    for raw in &sent.kept {
        if !copies.contains_key(raw.as_slice()) {
            wrong.push(format!("lost: {}", name(raw)));
        }
    }
    for (raw, count) in &copies {
        if *count != 1 {
            wrong.push(format!("not once: {count} times {}", name(raw)));
        }
        if !sent.kept.contains(*raw) && !sent.given_up.contains(*raw) {
            wrong.push(format!("half: nobody sent {}", name(raw)));
        }
    }
    let there: usize = copies.values().sum();
    if found.received != there {
        wrong.push(format!("case: {} letters in the ledger, {there} for staff", found.received));
    }
    wrong
}

/// A letter by its subject.
fn name(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
    format!("{:?}, {} bytes", subject.unwrap_or("no subject"), raw.len())
}

/// Holds a ledger against its head and every checkpoint that was ever seen.
#[cfg(kluis_lab)]
pub(crate) fn ledger(
    entries: &[Vec<u8>],
    head: &str,
    seen: &[Checkpoint],
    key: &str,
) -> Vec<String> {
    let (vault, public) = checkpoint::parse_vkey(key).expect("the vault's key");
    let mut wrong = Vec::new();
    match audit(entries.iter().map(Vec::as_slice), head, None, &public) {
        Ok(audit) if audit.vault == vault && audit.covered == audit.entries => {}
        Ok(audit) => wrong.push(format!("audit: {} of {} proven", audit.covered, audit.entries)),
        Err(error) => wrong.push(format!("audit: {error}")),
    }
    let mut tree = tree::Tree::default();
    entries.iter().for_each(|bytes| tree.append(tree::leaf(bytes)));
    for seen in seen {
        if tree.root(seen.size) != Some(seen.root) {
            wrong.push(format!("contradicted: the checkpoint of {} entries", seen.size));
        }
    }
    wrong
}

#[cfg(kluis_lab)]
mod tests {
    use super::*;
    use crate::mail_client::letter;
    use kluis::ids::VaultId;

    fn honest() -> (Sent, Found) {
        let raws = || (0..4).map(|n| letter(1, n, 2_000));
        let sent = Sent { kept: raws().collect(), given_up: [letter(1, 9, 2_000)].into() };
        let case = |raw| FoundCase { letters: vec![Ok(raw)], notices: 0 };
        let cases: BTreeMap<_, _> = raws().map(|raw| (CaseId::random(), case(raw))).collect();
        let found = Found { opened: cases.keys().copied().collect(), received: cases.len(), cases };
        (sent, found)
    }

    /// The first words of what is found wrong after `spoil`.
    fn spoilt(spoil: impl FnOnce(&mut Sent, &mut Found, CaseId)) -> BTreeSet<String> {
        let (mut sent, mut found) = honest();
        let first = *found.cases.keys().next().expect("a case");
        spoil(&mut sent, &mut found, first);
        let word = |line: String| line.split(':').next().unwrap_or_default().to_owned();
        letters(&sent, &found).into_iter().map(word).collect()
    }

    fn words<const N: usize>(words: [&str; N]) -> BTreeSet<String> {
        words.map(str::to_owned).into()
    }

    #[test]
    fn every_violation_about_letters_is_reported() {
        assert_eq!(spoilt(|_, _, _| {}), words([]));
        assert_eq!(
            spoilt(|_, f, c| f.cases.get_mut(&c).expect("is there").notices = 1),
            words(["notice"])
        );
        assert_eq!(spoilt(|_, f, _| f.opened.clear()), words(["case"]));
        assert_eq!(spoilt(|_, f, _| f.received += 1), words(["case"]));
        let lost = |_: &mut Sent, f: &mut Found, c| {
            f.cases.remove(&c);
            f.opened.remove(&c);
            f.received -= 1;
        };
        assert_eq!(spoilt(lost), words(["lost"]));
        let half = |_: &mut Sent, f: &mut Found, c| {
            let Ok(raw) = &mut f.cases.get_mut(&c).expect("is there").letters[0] else { panic!() };
            raw.pop();
        };
        assert_eq!(spoilt(half), words(["lost", "half"]));
        let closed = |_: &mut Sent, f: &mut Found, c| {
            f.cases.get_mut(&c).expect("is there").letters[0] = Err("closed".into());
            f.received -= 1;
        };
        assert_eq!(spoilt(closed), words(["lost", "half"]));
        let twice = |_: &mut Sent, f: &mut Found, c| {
            let again = CaseId::random();
            f.cases.insert(again, f.cases[&c].clone());
            f.opened.insert(again);
            f.received += 1;
        };
        assert_eq!(spoilt(twice), words(["not once"]));
        let empty = |s: &mut Sent, f: &mut Found, c| {
            let Ok(raw) = f.cases.get_mut(&c).expect("is there").letters.remove(0) else {
                panic!()
            };
            s.kept.remove(&raw);
            f.received -= 1;
        };
        assert_eq!(spoilt(empty), words(["case"]));
        // A letter without an answer may be there or not, if it is whole.
        let given_up = |s: &mut Sent, f: &mut Found, c: CaseId| {
            let raw = f.cases[&c].letters[0].clone().expect("whole");
            s.kept.remove(&raw);
            s.given_up.insert(raw);
        };
        assert_eq!(spoilt(given_up), words([]));
    }

    #[test]
    fn a_ledger_that_contradicts_a_checkpoint_is_reported() {
        let (vault, seed) = (VaultId::random(), [5; 32]);
        let key = checkpoint::vkey(vault, &checkpoint::public_key(&seed));
        let entries = |minute: u64| -> Vec<Vec<u8>> {
            let entry = |seq| Entry { seq, ..Entry::new(Fact::Looked, minute + seq) };
            (0..9).map(|seq| entry(seq).to_bytes()).collect()
        };
        let signed = |entries: &[Vec<u8>]| {
            let mut tree = tree::Tree::default();
            entries.iter().for_each(|bytes| tree.append(tree::leaf(bytes)));
            let root = tree.root(tree.size()).expect("its own size");
            Checkpoint { vault, size: tree.size(), root }
        };
        let (here, other) = (entries(7), entries(8));
        let head = signed(&here).sign(&seed);
        let (early, forked) = (signed(&here[..4]), signed(&other[..4]));
        assert_eq!(ledger(&here, &head, &[early], &key), [""; 0]);
        assert_eq!(ledger(&here, &head, &[forked], &key).len(), 1);
        assert_eq!(ledger(&here[..8], &head, &[], &key).len(), 1);
        // The whole ledger was rolled back, its head with it: what was seen before tells.
        let old = signed(&here[..3]).sign(&seed);
        assert_eq!(ledger(&here[..3], &old, &[signed(&here)], &key).len(), 1);
    }
}
