//! What the network says of a letter's sender: SPF, DKIM and DMARC, found by ourselves or told by a
//! server in front of this one. Evidence of a domain, never of a person (design §11).

use minicbor::{Decode, Encode};

use crate::secret::Personal;

/// What was found out about where a letter came from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    /// Who looked.
    #[n(0)]
    pub by: Witness,
    /// The domain of the `From` address that was judged, in lower case.
    #[n(1)]
    pub author: Personal<String>,
    /// SPF of the reverse-path, or of the greeting where that is empty (RFC 7208).
    #[n(2)]
    pub spf: Outcome,
    /// The domain that SPF was about.
    #[n(3)]
    pub spf_domain: Personal<String>,
    /// Each DKIM signature that covers the whole body, in the order of the header (RFC 6376).
    #[n(4)]
    pub dkim: Vec<Signature>,
    /// DMARC of the author's domain (RFC 9989).
    #[n(5)]
    pub dmarc: Outcome,
    /// What the author's domain wants done with what fails; none if it says nothing.
    #[n(6)]
    pub policy: Option<Policy>,
    /// Whether every question was answered in time.
    #[n(7)]
    pub finished: bool,
    /// The fields of the server in front as they came.
    #[n(8)]
    pub fields: Vec<Personal<String>>,
}

/// Who looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Witness {
    /// This server.
    #[n(0)]
    Ourselves,
    /// The server in front of it, in `Authentication-Results` (RFC 8601).
    #[n(1)]
    Upstream,
}

/// How a check ended (RFC 8601 §2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// Nothing to check, or not checked.
    #[default]
    #[n(0)]
    None,
    /// It holds.
    #[n(1)]
    Pass,
    /// It does not.
    #[n(2)]
    Fail,
    /// It probably does not.
    #[n(3)]
    SoftFail,
    /// No statement.
    #[n(4)]
    Neutral,
    /// No answer from the DNS.
    #[n(5)]
    TempError,
    /// What was published or signed makes no sense.
    #[n(6)]
    PermError,
}

impl Outcome {
    /// As RFC 8601 writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }

    /// Reads what [`name`](Self::name) writes, and what others write for it; anything else is no
    /// statement.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "pass" => Self::Pass,
            "fail" | "hardfail" | "policy" => Self::Fail,
            "softfail" => Self::SoftFail,
            "temperror" => Self::TempError,
            "permerror" => Self::PermError,
            "none" => Self::None,
            _ => Self::Neutral,
        }
    }
}

/// What a domain wants done with what fails DMARC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Policy {
    /// Nothing.
    #[n(0)]
    None,
    /// To be looked at with suspicion.
    #[n(1)]
    Quarantine,
    /// To be refused.
    #[n(2)]
    Reject,
}

/// A DKIM signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Signature {
    /// Whether it holds.
    #[n(0)]
    pub outcome: Outcome,
    /// The domain that signed (`d=`), in lower case.
    #[n(1)]
    pub domain: Personal<String>,
    /// The name of its key (`s=`).
    #[n(2)]
    pub selector: Personal<String>,
}

/// Labels that a domain needs so that its subdomains are its own: nobody signs for `be`.
const LABELS_OF_AN_OWNER: usize = 2;

impl Origin {
    /// Of a letter from this domain nothing is known.
    #[must_use]
    pub fn unknown(by: Witness, author: String) -> Self {
        Self {
            by,
            author: Personal::new(author),
            spf: Outcome::None,
            spf_domain: Personal::default(),
            dkim: Vec::new(),
            dmarc: Outcome::None,
            policy: None,
            finished: true,
            fields: Vec::new(),
        }
    }

    /// Whether the domain of the letter's author stands for it: DMARC passes, or, where the domain
    /// publishes none, a DKIM signature or SPF of that domain or one above it does.
    ///
    /// `author` is the domain of the one `From` address as the letter was parsed; what was judged
    /// must have been the same.
    #[must_use]
    pub fn is_aligned(&self, author: &str) -> bool {
        if author.is_empty() || !author.eq_ignore_ascii_case(self.author.expose()) {
            return false;
        }
        let is_ours = |domain: &str| relates(self.author.expose(), domain);
        match self.dmarc {
            Outcome::Pass => true,
            Outcome::None => {
                let signed =
                    |one: &Signature| one.outcome == Outcome::Pass && is_ours(one.domain.expose());
                self.dkim.iter().any(signed)
                    || self.spf == Outcome::Pass && is_ours(self.spf_domain.expose())
            }
            _ => false,
        }
    }
}

impl Origin {
    /// Whether that is enough to say that the author's domain sent the letter: DMARC passes, or, where
    /// the domain publishes none, a DKIM signature of it does. SPF alone speaks of the way, not of the
    /// author.
    #[must_use]
    pub fn is_vouched_for(&self, author: &str) -> bool {
        let without_spf = Self { spf: Outcome::None, ..self.clone() };
        without_spf.is_aligned(author)
    }
}

/// Whether `domain` is `author` or a domain above it that somebody owns.
fn relates(author: &str, domain: &str) -> bool {
    let (author, domain) = (author.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let is_owned =
        domain.split('.').filter(|label| !label.is_empty()).count() >= LABELS_OF_AN_OWNER;
    author == domain
        || is_owned && author.strip_suffix(&domain).is_some_and(|front| front.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(author: &str) -> Origin {
        Origin::unknown(Witness::Ourselves, author.into())
    }

    fn signed(domain: &str, outcome: Outcome) -> Vec<Signature> {
        vec![Signature {
            outcome,
            domain: Personal::new(domain.into()),
            selector: Personal::new("s".into()),
        }]
    }

    #[test]
    fn dmarc_decides_where_a_domain_publishes_it() {
        for (dmarc, aligned) in [
            (Outcome::Pass, true),
            (Outcome::Fail, false),
            (Outcome::TempError, false),
            (Outcome::PermError, false),
        ] {
            let dkim = signed("example.net", Outcome::Pass);
            let found = Origin { dmarc, dkim, ..origin("example.net") };
            assert_eq!(found.is_aligned("Example.NET"), aligned, "{dmarc:?}");
            assert!(!found.is_aligned("example.org"), "another author");
            assert!(!found.is_aligned(""));
        }
    }

    #[test]
    fn without_dmarc_the_domain_itself_or_one_above_it_must_stand_for_the_letter() {
        for (author, domain, aligned) in [
            ("example.net", "example.net", true),
            ("mail.example.net", "EXAMPLE.net", true),
            ("example.net", "mail.example.net", false),
            ("example.net", "notexample.net", false),
            ("notexample.net", "example.net", false),
            ("example.net", "net", false),
            ("example.net", "", false),
            ("example.net", "sendgrid.example", false),
        ] {
            let dkim = Origin { dkim: signed(domain, Outcome::Pass), ..origin(author) };
            assert_eq!(dkim.is_aligned(author), aligned, "{author} {domain}");
            let failed = Origin { dkim: signed(domain, Outcome::Fail), ..origin(author) };
            assert!(!failed.is_aligned(author));
            let spf = Personal::new(domain.to_owned());
            let spf = Origin { spf: Outcome::Pass, spf_domain: spf, ..origin(author) };
            assert_eq!(spf.is_aligned(author), aligned, "{author} {domain}");
            assert_eq!(dkim.is_vouched_for(author), aligned, "{author} {domain}");
            assert!(!spf.is_vouched_for(author), "SPF speaks of the way");
        }
        let passed = Origin { dmarc: Outcome::Pass, ..origin("example.net") };
        assert!(passed.is_vouched_for("example.net") && !passed.is_vouched_for("example.org"));
    }

    #[test]
    fn an_outcome_reads_back_as_it_is_written() {
        use Outcome::{Fail, Neutral, None, Pass, PermError, SoftFail, TempError};
        for outcome in [None, Pass, Fail, SoftFail, Neutral, TempError, PermError] {
            assert_eq!(Outcome::named(outcome.name()), outcome);
        }
        assert_eq!(Outcome::named("PASS"), Pass);
        assert_eq!(Outcome::named("passed"), Neutral);
    }
}
