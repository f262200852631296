//! What each right needs: the part `[identity]` of kluis.toml.
//!
//! The defaults ask for as little as the harm of a mistake allows (EDPB Guidelines 01/2022 no. 69):
//! nothing where it is harmless to be wrong, more where data leaves, most where money or health is at
//! stake. L4, a copy of an identity document, cannot be a rule: asking for one as a standing
//! procedure is the offence itself (GBA 145/2022; AEPD PS/00003/2021). Pure.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::Deserialize;

use super::ladder::Level;

/// What somebody may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// No more advertising (GDPR Art. 21(2)).
    Marketing,
    /// No more mails of a list.
    Unsubscribe,
    /// Consent is withdrawn (Art. 7(3)).
    Withdrawal,
    /// A field of low risk is corrected (Art. 16).
    Rectification,
    /// The file of a candidate who never worked is erased (Art. 17).
    Erasure,
    /// Data is only kept (Art. 18).
    Restriction,
    /// An objection for a particular situation (Art. 21(1)).
    Objection,
    /// A copy of the data (Art. 15).
    Access,
    /// The data in a form that machines read (Art. 20).
    Portability,
    /// The file of somebody who worked is erased (Art. 17).
    ErasureWorked,
    /// A copy with pay or health in it.
    AccessSensitive,
    /// Wages go to another account.
    Account,
}

impl Right {
    /// Every right, with the word that stands for it on the command line.
    pub const WORDS: [(&'static str, Self); 12] = [
        ("marketing", Self::Marketing),
        ("unsubscribe", Self::Unsubscribe),
        ("withdrawal", Self::Withdrawal),
        ("rectification", Self::Rectification),
        ("erasure", Self::Erasure),
        ("restriction", Self::Restriction),
        ("objection", Self::Objection),
        ("access", Self::Access),
        ("portability", Self::Portability),
        ("erasure-worked", Self::ErasureWorked),
        ("access-sensitive", Self::AccessSensitive),
        ("account", Self::Account),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, right)| *right == self).map_or("", |(word, _)| word)
    }
}

impl FromStr for Right {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, right)| *right);
        found.ok_or_else(|| {
            format!("a right is one of {}", Self::WORDS.map(|(word, _)| word).join(", "))
        })
    }
}

/// The level that each right needs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cbor(map)]
pub struct Policy {
    /// No more advertising.
    #[n(0)]
    pub marketing: Level,
    /// No more mails of a list.
    #[n(1)]
    pub unsubscribe: Level,
    /// Consent is withdrawn.
    #[n(2)]
    pub withdrawal: Level,
    /// A field of low risk is corrected.
    #[n(3)]
    pub rectification: Level,
    /// The file of a candidate who never worked is erased.
    #[n(4)]
    pub erasure: Level,
    /// Data is only kept.
    #[n(5)]
    pub restriction: Level,
    /// An objection.
    #[n(6)]
    pub objection: Level,
    /// A copy of the data.
    #[n(7)]
    pub access: Level,
    /// The data in a form that machines read.
    #[n(8)]
    pub portability: Level,
    /// The file of somebody who worked is erased.
    #[n(9)]
    pub erasure_worked: Level,
    /// A copy with pay or health in it.
    #[n(10)]
    pub access_sensitive: Level,
    /// Wages go to another account.
    #[n(11)]
    pub account: Level,
    /// Whatever needs any proof at all, if the sender's address is new on file.
    #[n(12)]
    pub new_address: Level,
    /// For how many days an address is new.
    #[n(13)]
    pub new_address_days: u32,
    /// How long a copy of an identity document is kept once its case is decided.
    #[n(14)]
    pub forget_copy_after: CopyTime,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            marketing: Level::L0,
            unsubscribe: Level::L0,
            withdrawal: Level::L0,
            rectification: Level::L1,
            erasure: Level::L1,
            restriction: Level::L1,
            objection: Level::L1,
            access: Level::L2,
            portability: Level::L2,
            erasure_worked: Level::L2,
            access_sensitive: Level::L3,
            account: Level::L3,
            new_address: Level::L3,
            new_address_days: 30,
            forget_copy_after: CopyTime::default(),
        }
    }
}

/// How long a copy of an identity document is kept once its case is decided, in whole hours: no longer
/// than it takes to see that something was overlooked (EDPB Guidelines 01/2022 no. 78).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Deserialize)]
#[serde(try_from = "String")]
#[cbor(transparent)]
pub struct CopyTime(#[n(0)] u32);

/// Hours that a copy may be kept at most: thirty days.
const MOST_HOURS: u32 = 30 * 24;

/// A time is written as hours or days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time for copies: hours or days, \"0h\" to \"720h\", or \"0d\" to \"30d\"")]
pub struct BadTime;

impl CopyTime {
    /// So many hours; none if that is too long.
    #[must_use]
    pub fn hours(hours: u32) -> Option<Self> {
        (hours <= MOST_HOURS).then_some(Self(hours))
    }

    /// In minutes, the grain of the ledger.
    #[must_use]
    pub fn minutes(self) -> u64 {
        u64::from(self.0) * 60
    }
}

impl Default for CopyTime {
    fn default() -> Self {
        Self(72)
    }
}

impl fmt::Display for CopyTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}h", self.0)
    }
}

impl FromStr for CopyTime {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Self, BadTime> {
        let (number, hours) = match (text.strip_suffix('h'), text.strip_suffix('d')) {
            (Some(number), _) => (number, 1),
            (_, Some(number)) => (number, 24),
            _ => return Err(BadTime),
        };
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = is_number.then(|| number.parse().ok()).flatten().ok_or(BadTime)?;
        number.checked_mul(hours).and_then(Self::hours).ok_or(BadTime)
    }
}

impl TryFrom<String> for CopyTime {
    type Error = BadTime;

    fn try_from(text: String) -> Result<Self, BadTime> {
        text.parse()
    }
}

/// Days that an address may count as new, at most.
pub const MOST_DAYS: u32 = 365;

impl Policy {
    /// What this right needs of somebody who writes from an address that is new on file, or is not.
    #[must_use]
    pub fn needed(&self, right: Right, is_new: bool) -> Level {
        let level = match right {
            Right::Marketing => self.marketing,
            Right::Unsubscribe => self.unsubscribe,
            Right::Withdrawal => self.withdrawal,
            Right::Rectification => self.rectification,
            Right::Erasure => self.erasure,
            Right::Restriction => self.restriction,
            Right::Objection => self.objection,
            Right::Access => self.access,
            Right::Portability => self.portability,
            Right::ErasureWorked => self.erasure_worked,
            Right::AccessSensitive => self.access_sensitive,
            Right::Account => self.account,
        };
        if is_new && level > Level::L0 { level.max(self.new_address) } else { level }
    }

    /// Whether no right needs a copy of an identity document.
    #[must_use]
    pub fn asks_for_no_copy(&self) -> bool {
        let all = Right::WORDS.iter().map(|(_, right)| self.needed(*right, true));
        all.max().is_none_or(|level| level < Level::L4) && self.new_address < Level::L4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_each_right_needs_what_the_harm_of_a_mistake_asks_for() {
        let policy = Policy::default();
        let expected = [
            (Right::Marketing, Level::L0, Level::L0),
            (Right::Unsubscribe, Level::L0, Level::L0),
            (Right::Withdrawal, Level::L0, Level::L0),
            (Right::Rectification, Level::L1, Level::L3),
            (Right::Erasure, Level::L1, Level::L3),
            (Right::Restriction, Level::L1, Level::L3),
            (Right::Objection, Level::L1, Level::L3),
            (Right::Access, Level::L2, Level::L3),
            (Right::Portability, Level::L2, Level::L3),
            (Right::ErasureWorked, Level::L2, Level::L3),
            (Right::AccessSensitive, Level::L3, Level::L3),
            (Right::Account, Level::L3, Level::L3),
        ];
        assert_eq!(expected.len(), Right::WORDS.len());
        for (right, known, new) in expected {
            assert_eq!(policy.needed(right, false), known, "{right:?}");
            assert_eq!(policy.needed(right, true), new, "{right:?} from a new address");
            assert_eq!(right.word().parse(), Ok(right));
        }
        assert!(policy.asks_for_no_copy());
    }

    #[test]
    fn the_time_of_a_copy_is_hours_or_days_and_thirty_days_at_most() {
        assert_eq!(CopyTime::default().to_string().parse(), Ok(CopyTime(72)));
        assert_eq!(CopyTime::default().minutes(), 72 * 60);
        for (text, hours) in
            [("0h", 0), ("0d", 0), ("1h", 1), ("3d", 72), ("720h", 720), ("30d", 720)]
        {
            assert_eq!(text.parse(), Ok(CopyTime(hours)), "{text}");
        }
        for text in ["", "h", "72", "721h", "31d", "-1h", "+1h", "1.5h", "1w", "4294967295d", " 1h"]
        {
            assert_eq!(text.parse::<CopyTime>(), Err(BadTime), "{text:?}");
        }
    }

    #[test]
    fn a_rule_that_asks_for_a_copy_is_seen_wherever_it_hides() {
        for policy in [
            Policy { access: Level::L4, ..Policy::default() },
            Policy { account: Level::L4, ..Policy::default() },
            Policy { new_address: Level::L4, ..Policy::default() },
        ] {
            assert!(!policy.asks_for_no_copy());
        }
        let lax = Policy { new_address: Level::L1, ..Policy::default() };
        assert_eq!(lax.needed(Right::Account, true), Level::L3, "a new address lowers nothing");
    }
}
