//! What to ask for next, so that evidence reaches what a right needs: the least that helps, and never
//! more than was asked when the person was enrolled. A copy of an identity document comes last, and
//! only after a reasoned doubt (EDPB Guidelines 01/2022 no. 73–77). Pure.

use super::ladder::{ENOUGH_FIELDS, Evidence, Kind, Level, fields, reached};

/// What is known beside the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How well the sender is found among the people on file.
    pub found: Found,
    /// Whether a doubt was written down.
    pub doubted: bool,
}

/// How well a sender is found among the people on file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// By the address.
    Address,
    /// By the name only: the address is another.
    Name,
    /// Several people have the address.
    Several,
    /// Nobody is it.
    Nobody,
    /// There is no list.
    NoList,
}

/// Something to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The evidence is enough: a person accepts it.
    Accept,
    /// Bring the list of people on file.
    ImportPeople,
    /// Several people have this address: find out whose letter it is.
    ChoosePerson,
    /// Nobody on file has this address or name: ask by which contact they are known.
    AskWhichContact,
    /// Have them write from the address on file.
    WriteFromAddress,
    /// Send a single-use code to a contact on file.
    SendCode,
    /// Ask for details that are on file anyway, never for a national number.
    AskDetails,
    /// Or have them sign, or come by.
    SignOrCome,
    /// Ask for a masked copy of the front: the doubt is written down.
    AskMaskedCopy,
}

impl Step {
    /// Its word, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::ImportPeople => "import-people",
            Self::ChoosePerson => "choose-person",
            Self::AskWhichContact => "ask-which-contact",
            Self::WriteFromAddress => "write-from-address",
            Self::SendCode => "send-code",
            Self::AskDetails => "ask-details",
            Self::SignOrCome => "sign-or-come",
            Self::AskMaskedCopy => "ask-masked-copy",
        }
    }
}

/// What to do next for a right that needs this level.
#[must_use]
pub fn next(needed: Level, evidence: &[Evidence], standing: Standing) -> Vec<Step> {
    if reached(evidence) >= needed {
        return vec![Step::Accept];
    }
    let mut steps = Vec::new();
    steps.extend(match standing.found {
        Found::NoList => Some(Step::ImportPeople),
        Found::Several => Some(Step::ChoosePerson),
        Found::Nobody => Some(Step::AskWhichContact),
        Found::Address | Found::Name => None,
    });
    if needed == Level::L1 {
        steps.push(Step::WriteFromAddress);
    }
    if !evidence.iter().any(|one| one.kind == Kind::Challenge) {
        steps.push(Step::SendCode);
    }
    if needed >= Level::L3 {
        if fields(evidence).len() < ENOUGH_FIELDS {
            steps.push(Step::AskDetails);
        }
        steps.push(Step::SignOrCome);
    }
    if standing.doubted {
        steps.push(Step::AskMaskedCopy);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::ladder::Field;
    use super::*;

    fn of(kinds: &[Kind]) -> Vec<Evidence> {
        kinds.iter().map(|kind| Evidence::of(*kind, None, 0)).collect()
    }

    const ON_FILE: Standing = Standing { found: Found::Address, doubted: false };

    #[test]
    fn the_least_that_helps_is_asked_for() {
        let details = Evidence {
            fields: vec![Field::BirthDate, Field::Client],
            ..Evidence::of(Kind::Match, None, 0)
        };
        let with_details = [of(&[Kind::Address]), vec![details]].concat();
        for (needed, evidence, steps) in [
            (Level::L0, of(&[]), vec![Step::Accept]),
            (Level::L1, of(&[Kind::Address]), vec![Step::Accept]),
            (Level::L1, of(&[]), vec![Step::WriteFromAddress, Step::SendCode]),
            (Level::L2, of(&[Kind::Address]), vec![Step::SendCode]),
            (Level::L2, of(&[Kind::Challenge]), vec![Step::Accept]),
            (Level::L3, of(&[Kind::Challenge]), vec![Step::AskDetails, Step::SignOrCome]),
            (Level::L3, with_details, vec![Step::SendCode, Step::SignOrCome]),
            (Level::L3, of(&[]), vec![Step::SendCode, Step::AskDetails, Step::SignOrCome]),
            (Level::L3, of(&[Kind::InPerson]), vec![Step::Accept]),
        ] {
            assert_eq!(next(needed, &evidence, ON_FILE), steps, "{needed} {evidence:?}");
        }
        for (found, step) in [
            (Found::NoList, Step::ImportPeople),
            (Found::Several, Step::ChoosePerson),
            (Found::Nobody, Step::AskWhichContact),
        ] {
            assert_eq!(next(Level::L2, &[], Standing { found, ..ON_FILE })[0], step);
        }
    }

    #[test]
    fn a_copy_is_asked_for_after_a_doubt_and_never_else() {
        let found = [Found::Address, Found::Name, Found::Several, Found::Nobody, Found::NoList];
        for found in found {
            for needed in [Level::L0, Level::L1, Level::L2, Level::L3] {
                for kinds in [&[][..], &[Kind::Address], &[Kind::Challenge], &[Kind::Other]] {
                    let asks = |doubted| {
                        let steps = next(needed, &of(kinds), Standing { found, doubted });
                        assert!(!steps.is_empty());
                        steps.contains(&Step::AskMaskedCopy)
                    };
                    assert!(!asks(false), "{needed} {kinds:?}");
                    assert_eq!(asks(true), reached(&of(kinds)) < needed);
                }
            }
        }
    }
}
