//! What is held against the model: what members read, what a thief opens.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use kluis::casebook::Filter;
use kluis::casebook::state::Wrapped;
use kluis::ids::{EpochId, ItemId, StaffId};
use kluis::keys::epoch::EpochSecret;
use kluis::keys::wrapped;
use kluis::ledger::entry::Entry;
use kluis::letter::skeleton::Skeleton;
use kluis::staff::client::{Client, Error};
use kluis::vault::seal::Kind;

use super::Walk;
use super::model::{Boxed, Member};
use crate::thief::{Thief, files};
use crate::world::Server;

impl Walk {
    pub(super) fn learn(&mut self, item: ItemId, stored: &[u8]) {
        match self.contents.get(&item) {
            Some(known) => assert!(known == stored, "another content than before"),
            None => drop(self.contents.insert(item, stored.to_vec())),
        }
    }

    /// Holds the vault to the model while it serves.
    pub(super) fn look_around(&mut self, server: &Server) {
        self.assert_wrapped();
        let (mut adam, _) = self.admin().expect("logs in");
        let status = adam.status().expect("tells");
        assert_eq!(status.epoch, Some(self.model.newest));
        let mut by_epoch: BTreeMap<EpochId, u64> = BTreeMap::new();
        for boxed in self.model.boxes.iter().filter(|boxed| !boxed.is_forgotten()) {
            *by_epoch.entry(boxed.epoch()).or_default() += 1;
        }
        assert_eq!(status.by_epoch, by_epoch.into_iter().collect::<Vec<_>>());
        let (_, problems, more) = adam.check().expect("checks");
        assert_eq!((problems.as_slice(), more), (&[][..], 0));

        let (mut present, gone): (Vec<Member>, Vec<Member>) =
            self.model.members.iter().cloned().partition(|member| member.is_present);
        // The one who left last, and another.
        let other = self.pick(gone.iter().chain(&self.strangers).cloned().collect());
        for member in gone.last().into_iter().chain(&other) {
            let refused = self.world.log_in(&member.name);
            assert!(matches!(refused, Err(Error::Refused(_))), "{} is out", member.name);
        }
        let blind: Vec<Member> = present.iter().filter(|m| !m.reads()).cloned().collect();
        if let Some(member) = self.pick(blind) {
            let mut client = self.log_in(member.id).expect("logs in");
            let asked = client.queue(Filter::All);
            assert!(matches!(asked, Err(Error::Refused(why)) if why.contains("role")));
        }
        // On some days nobody reads, and a new epoch stays unproven.
        if self.one_in(3) {
            return;
        }
        present.retain(Member::reads);
        let thorough = self.below(present.len());
        for (i, member) in present.iter().enumerate() {
            let mut client = self.log_in(member.id).expect("logs in");
            self.settle(server, false);
            self.read(&mut client, member.id, i == thorough);
        }
    }

    /// Who the wrapped secrets open to, by every key that there ever was.
    pub(super) fn assert_wrapped(&self) {
        for (what, to) in &self.model.wrapped {
            let file = std::fs::read(self.wrapped_file(*what)).expect("is there");
            let known = self.model.members.iter().map(|member| (member, to.contains(&member.id)));
            // A stranger's number may be somebody else's by now.
            let strangers = self.strangers.iter().map(|member| (member, false));
            for (member, may) in known.chain(strangers) {
                if !member.is_present && !self.is_thorough() {
                    continue;
                }
                let key = &self.keys[&member.name];
                let opens = key.unwrap(&file).is_ok();
                assert_eq!(opens, may, "{what:?} and {}", member.name);
                if let (true, Wrapped::Epoch(epoch)) = (opens, what) {
                    let secret = wrapped::unwrap_epoch(&file, key).expect("is an epoch's");
                    assert_eq!(*secret.to_text(), self.secrets[epoch], "the same secret");
                }
            }
        }
        for file in files(&self.world.state().join("epochs")) {
            let name = file.file_name().expect("has one").to_str().expect("a plain name");
            let is_of = |epoch: &EpochId| {
                name.trim_start_matches('.').starts_with(&format!("{}.", epoch.0))
            };
            let is_gone = self.model.destroyed.iter().any(is_of);
            assert!(!is_gone || !name.contains(".age"), "{name} is left of a destroyed epoch");
        }
    }

    /// What a member can read is what the model says, and as it was delivered.
    pub(super) fn read(&mut self, client: &mut Client, who: StaffId, is_thorough: bool) {
        let kept = self.model.boxes.iter().filter(|boxed| boxed.is_kept_item());
        let (mut open, mut closed): (Vec<&Boxed>, Vec<&Boxed>) =
            kept.partition(|boxed| self.model.opens(who, boxed.epoch()));
        if !is_thorough {
            // One of each epoch: the secret is what opens or not.
            open.dedup_by_key(|boxed| boxed.epoch());
        }
        closed.dedup_by_key(|boxed| boxed.epoch());
        let open: Vec<ItemId> = open.iter().map(|boxed| boxed.item).collect();
        let closed: Vec<ItemId> = closed.iter().map(|boxed| boxed.item).collect();
        if !open.is_empty() {
            for view in &client.look(&open).expect("what is wrapped to them opens") {
                self.learn(view.id, &view.stored);
            }
        }
        for item in closed {
            assert!(matches!(client.look(&[item]), Err(Error::NoKey)), "is not wrapped to them");
            self.count("closed to a new member");
        }
        let is_gone = |boxed: &&Boxed| boxed.kind == Kind::Item && boxed.is_forgotten();
        let gone = self.model.boxes.iter().filter(is_gone).map(|boxed| boxed.item).collect();
        if let Some(item) = self.pick(gone) {
            assert!(matches!(client.look(&[item]), Err(Error::Forgotten)), "was forgotten");
        }
        if is_thorough && self.model.opens_all(who) {
            self.read_letters(client);
        }
    }

    /// Every letter is there once; one of which nothing is forgotten is as it was delivered.
    pub(super) fn read_letters(&mut self, client: &mut Client) {
        let cases = client.queue(Filter::All).expect("opens");
        let mut found = BTreeSet::new();
        for view in cases.iter().flat_map(|case| &case.letters) {
            let detail = view.detail.as_ref().expect("a letter box opens");
            let subject = detail.headers.subject.as_ref().expect("has a subject").expose();
            let number = subject.split(' ').nth(1).and_then(|word| word.parse().ok());
            let number: usize = number.expect("has a number");
            assert!(found.insert(number), "letter {number} is there twice");
            let skeleton = detail.skeleton.expect("a mail has one");
            let ids: Vec<ItemId> =
                [skeleton].into_iter().chain(detail.items.iter().map(|card| card.id)).collect();
            let known: Option<Vec<_>> = ids.iter().map(|id| self.contents.get(id)).collect();
            let forgotten = view.card.items.iter().any(|(_, _, forgotten)| *forgotten);
            if let (Some(known), false) = (known, forgotten) {
                let skeleton = Skeleton::decode(known[0]).expect("a skeleton");
                let contents: Vec<_> = known[1..].iter().map(|c| Some(c.as_slice())).collect();
                assert!(skeleton.rebuild(&contents) == self.letters[number], "letter {number}");
            }
        }
        assert_eq!(found.len(), self.letters.len());
        if let Some(case) = self.pick(cases) {
            let case = case.card.case;
            let notes = self.model.boxes.iter().filter(|b| b.kind == Kind::Note && b.case == case);
            assert_eq!(client.notes(case).expect("opens").len(), notes.count());
        }
    }

    /// Whoever has the disk as it is now and what these members took along opens what the model says.
    pub(super) fn assert_thief(&mut self, known: &BTreeSet<EpochId>) {
        let mut thief = Thief::default().with(&self.world.state()).with(&self.world.cabinet_key());
        for epoch in known {
            let secret = EpochSecret::from_text(&self.secrets[epoch]);
            thief = thief.knowing(secret.expect("a secret"));
        }
        let entries: HashMap<u64, Entry> =
            thief.boxes().into_iter().map(|entry| (entry.seq, entry)).collect();
        let (mut still, mut never) = (0, 0);
        for boxed in &self.model.boxes {
            for sealed in &boxed.sealed {
                let entry = entries.get(&sealed.seq).expect("is in the ledger");
                let opened = thief.open(entry);
                let knows = known.contains(&sealed.epoch);
                let may = sealed.dropped.is_none_or(|then| then == self.model.rotations);
                if sealed.dropped.is_none() {
                    assert_eq!(opened.is_some(), knows, "{boxed:?}");
                } else {
                    assert!(opened.is_none() || (knows && may), "a thief opens {boxed:?}");
                    still += u64::from(opened.is_some());
                    never += u64::from(knows && !may);
                }
                if let (Some((_, content)), Some(known)) = (opened, self.contents.get(&boxed.item))
                {
                    assert!(content == *known, "another content");
                }
            }
        }
        *self.counts.entry("dropped boxes open until the rotation".into()).or_default() += still;
        *self.counts.entry("dropped boxes shut to who has their epoch".into()).or_default() +=
            never;
    }

    /// Whoever left, and whom the vault does not know any more.
    pub(super) fn gone(&self) -> impl DoubleEndedIterator<Item = &Member> {
        let gone = self.model.members.iter().filter(|member| !member.is_present);
        self.strangers.iter().chain(gone)
    }

    /// Nobody who left opens with the key that they kept a secret, in a file old or new below these
    /// folders, but those that they could before.
    pub(super) fn assert_left_behind(&self, folders: &[PathBuf]) {
        let some = if self.is_thorough() { usize::MAX } else { 1 };
        for file in folders.iter().flat_map(|folder| files(folder)) {
            let bytes = std::fs::read(&file).expect("reads");
            if !bytes.starts_with(b"age-encryption.org/") {
                continue;
            }
            for member in self.gone().rev().take(some) {
                let Ok(secret) = wrapped::unwrap_epoch(&bytes, &self.keys[&member.name]) else {
                    continue;
                };
                let text = secret.to_text();
                // To one that was never signed for good nothing is sealed.
                let epoch = self.secrets.iter().find(|(_, known)| *known == &*text);
                let may = epoch.is_none_or(|(epoch, _)| member.could_open.contains(epoch));
                assert!(may, "{}: {} opens {epoch:?}", file.display(), member.name);
            }
        }
    }
}
