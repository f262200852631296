//! To whom a secret was wrapped, as the signed notes of epochs and of the mailbox's keys list it.

use super::roster::{Error, Lines, MOST_MEMBERS, Member, Roster, Rule, is_name, named, unique};
use super::staff::StaffRecipient;

/// The readers of a roster and its recovery recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readers {
    /// Names and keys, by number of the member.
    pub members: Vec<(String, StaffRecipient)>,
    /// The recovery recipient.
    pub recovery: StaffRecipient,
}

impl Readers {
    /// Those of this roster.
    #[must_use]
    pub fn of(roster: &Roster) -> Self {
        let mut readers: Vec<&Member> = roster.readers().collect();
        readers.sort_by_key(|member| member.id);
        let named = |member: &Member| (member.name.clone(), member.recipient.clone());
        Self {
            members: readers.into_iter().map(named).collect(),
            recovery: roster.recovery.clone(),
        }
    }

    pub(super) fn parse(lines: &mut Lines<'_>) -> Result<Self, Error> {
        let mut members = Vec::new();
        while let Some(rest) = lines.optional("reader ") {
            members.push(named(rest)?);
        }
        Ok(Self { members, recovery: lines.parsed("recovery ")? })
    }

    /// The one way to write them, behind `text`.
    pub(super) fn write(&self, text: &mut String) {
        for (name, recipient) in &self.members {
            text.push_str(&format!("reader {name} {recipient}\n"));
        }
        text.push_str(&format!("recovery {}\n", self.recovery));
    }

    pub(super) fn broken_rule(&self) -> Option<Rule> {
        let keys = self.members.iter().map(|(_, recipient)| recipient);
        let keys = keys.chain([&self.recovery]).map(ToString::to_string);
        let checks = [
            (Rule::TooMany, self.members.len() > MOST_MEMBERS),
            (Rule::Name, !self.members.iter().all(|(name, _)| is_name(name))),
            (Rule::Unique, !unique(self.members.iter().map(|(name, _)| name))),
            (Rule::SameKey, !unique(keys)),
            (Rule::TwoReaders, self.members.len() < 2),
        ];
        checks.into_iter().find_map(|(rule, is_broken)| is_broken.then_some(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::roster::tests::sample;

    #[test]
    fn readers_stand_by_number_however_the_roster_lists_them() {
        let (mut roster, _) = sample();
        let before = Readers::of(&roster);
        assert!(before.members.len() > 1);
        roster.members.reverse();
        assert_eq!(Readers::of(&roster), before);
    }

    #[test]
    fn readers_that_no_roster_could_have_break_a_rule() {
        let (roster, _) = sample();
        let good = Readers::of(&roster);
        assert_eq!(good.broken_rule(), None);
        let broken = |edit: &dyn Fn(&mut Readers)| {
            let mut readers = good.clone();
            edit(&mut readers);
            readers.broken_rule()
        };
        assert_eq!(broken(&|r| r.members.truncate(1)), Some(Rule::TwoReaders));
        assert_eq!(broken(&|r| r.members[1].0 = r.members[0].0.clone()), Some(Rule::Unique));
        assert_eq!(broken(&|r| r.members[1].1 = r.members[0].1.clone()), Some(Rule::SameKey));
        assert_eq!(broken(&|r| r.recovery = r.members[0].1.clone()), Some(Rule::SameKey));
        assert_eq!(broken(&|r| r.members[0].0 = "Not a name".into()), Some(Rule::Name));
        let many = good.members.iter().cycle().take(MOST_MEMBERS + 1).cloned().collect();
        assert_eq!(broken(&|r| r.members = Vec::clone(&many)), Some(Rule::TooMany));
    }
}
