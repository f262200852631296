//! Whether a letter is answered by itself, with a notice: a matter of who wrote, and of how often.
//!
//! Two machines that answer each other never stop, and an answer to a sender who is somebody else
//! hits a bystander. So the gate lets only letters through that a person wrote and that the sender's
//! domain stands for (RFC 3834 §2, RFC 5230 §4.5), and budgets hold whatever it lets through by
//! mistake. Who is refused still has a case: only the notice stays away.

use minicbor::{Decode, Encode};

use crate::identity::origin::Origin;
use crate::letter::{Envelope, Finding, Letter, Source};

/// Why no notice is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Silence {
    /// Notices are switched off.
    #[n(0)]
    Off,
    /// There is no one usable address that wrote.
    #[n(1)]
    NoAuthor,
    /// The reverse-path is empty or another address than the author's.
    #[n(2)]
    OtherSender,
    /// The sender's domain does not stand for the letter, or nobody looked.
    #[n(3)]
    NotAligned,
    /// A machine wrote it.
    #[n(4)]
    Automatic,
    /// A list or a mass mailing carried it.
    #[n(5)]
    Bulk,
    /// It asks for silence.
    #[n(6)]
    Asked,
    /// It is a report or an answer of a calendar.
    #[n(7)]
    Report,
    /// The address is that of a machine or of nobody.
    #[n(8)]
    Role,
    /// It came from one of our own addresses.
    #[n(9)]
    Ours,
    /// It was not sent to a mailbox of ours, but to the postmaster.
    #[n(10)]
    NotToUs,
    /// It came through too many servers.
    #[n(11)]
    Hops,
    /// It names a case, or answers a mail of ours, and did not join.
    #[n(12)]
    NamesCase,
    /// This sender had enough notices.
    #[n(13)]
    Sender,
    /// This domain had enough notices.
    #[n(14)]
    Domain,
    /// There were so many notices within an hour that something is wrong.
    #[n(15)]
    Breaker,
    /// No mail can be written to the address.
    #[n(16)]
    Unwritable,
}

impl Silence {
    /// In words, after "no notice:".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Off => "notices are switched off",
            Self::NoAuthor => "no usable address in From",
            Self::OtherSender => "the reverse-path is not the author's address",
            Self::NotAligned => "the sender's domain does not stand for the letter",
            Self::Automatic => "a machine wrote the letter",
            Self::Bulk => "a list or a mass mailing",
            Self::Asked => "the letter asks that no machine answers",
            Self::Report => "a report of a machine",
            Self::Role => "the address is that of a machine or of nobody",
            Self::Ours => "it came from an address of our own",
            Self::NotToUs => "it was not sent to the mailbox",
            Self::Hops => "it came through too many servers",
            Self::NamesCase => "it names a case that it could not join",
            Self::Sender => "this sender had notices enough, until none comes for thirty days",
            Self::Domain => "this domain had notices enough, until none writes from it for a day",
            Self::Unwritable => "no mail can be written to the address",
            Self::Breaker => "too many notices in one hour: all wait for a day",
        }
    }
}

/// `Received` fields from which on a letter has come a strange way.
pub const MOST_HOPS: u32 = 30;
/// Notices to one sender, until for [`SENDER_RESTS`] none of their letters opens a case. What answers
/// notices, at whatever pace, gets no more of them than that, for it never rests.
pub const TO_SENDER: usize = 2;
/// See [`TO_SENDER`], in minutes.
pub const SENDER_RESTS: u64 = 30 * DAY;
/// Notices to one domain, until for [`DOMAIN_RESTS`] none of its letters opens a case, unless everybody
/// has an address there. It bounds what answers notices from a new address each time.
pub const TO_DOMAIN: usize = 5;
/// See [`TO_DOMAIN`], in minutes.
pub const DOMAIN_RESTS: u64 = DAY;
/// Notices within an hour after which none goes out for [`MUTED`] minutes.
pub const ALL_AN_HOUR: usize = 60;
/// See [`ALL_AN_HOUR`].
pub const MUTED: u64 = DAY;
/// How far the budget of all looks back, in minutes.
pub const LOOKS_BACK: u64 = MUTED + HOUR;

const HOUR: u64 = 60;
const DAY: u64 = 24 * HOUR;

/// Local parts behind which nobody reads.
const ROLES: [&str; 15] = [
    "mailer-daemon",
    "postmaster",
    "hostmaster",
    "listserv",
    "majordomo",
    "mailman",
    "noreply",
    "no-reply",
    "no_reply",
    "no.reply",
    "donotreply",
    "do-not-reply",
    "do_not_reply",
    "nobody",
    "daemon",
];
/// How local parts of lists and of their machines begin and end.
const ROLE_STARTS: [&str; 6] = ["owner-", "bounce-", "bounces-", "bounce+", "bounces+", "prvs="];
const ROLE_ENDS: [&str; 7] =
    ["-owner", "-request", "-bounce", "-admin", "-noreply", "-no-reply", "-donotreply"];
/// What stands in a reverse-path that names whom a list wrote to.
const BOUNCES: &str = "-bounces";

/// Domains where everybody has an address.
const PROVIDERS: [&str; 52] = [
    "gmail.com",
    "googlemail.com",
    "outlook.com",
    "outlook.be",
    "outlook.fr",
    "outlook.de",
    "hotmail.com",
    "hotmail.be",
    "hotmail.fr",
    "hotmail.nl",
    "live.com",
    "live.be",
    "live.nl",
    "live.fr",
    "msn.com",
    "yahoo.com",
    "yahoo.fr",
    "yahoo.de",
    "icloud.com",
    "me.com",
    "mac.com",
    "proton.me",
    "protonmail.com",
    "telenet.be",
    "skynet.be",
    "proximus.be",
    "scarlet.be",
    "voo.be",
    "gmx.de",
    "gmx.net",
    "gmx.com",
    "web.de",
    "t-online.de",
    "orange.fr",
    "wanadoo.fr",
    "free.fr",
    "laposte.net",
    "sfr.fr",
    "ziggo.nl",
    "kpnmail.nl",
    "home.nl",
    "xs4all.nl",
    "aol.com",
    "pt.lu",
    "edpnet.be",
    "base.be",
    "pandora.be",
    "posteo.de",
    "mailbox.org",
    "fastmail.com",
    "tuta.com",
    "hotmail.de",
];

/// Names that a registry of a country has below it, under which others have theirs.
const REGISTRIES: [&str; 11] =
    ["co", "com", "ac", "gov", "org", "net", "edu", "gouv", "or", "gv", "asso"];

/// A letter before the gate.
#[derive(Clone, Copy)]
pub struct Knock<'a> {
    /// The letter.
    pub letter: &'a Letter,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// What the network says of it.
    pub origin: Option<&'a Origin>,
    /// Every address of ours: those that mail is taken for, and those that we write to by ourselves.
    pub ours: &'a [String],
    /// Whether it names a case that it could not join.
    pub names_case: bool,
}

/// Whether the letter may be answered by itself.
///
/// # Errors
/// Why not: the first reason that was met.
pub fn gate(knock: &Knock<'_>) -> Result<(), Silence> {
    let Knock { letter, envelope, .. } = knock;
    let marks = letter.marks;
    let [author] = letter.headers.from.as_slice() else { return Err(Silence::NoAuthor) };
    let author = author.address.expose();
    let Some((local, domain)) = author.rsplit_once('@') else { return Err(Silence::NoAuthor) };
    let is_odd = [Finding::OddFrom, Finding::BadHeader, Finding::Unparsed]
        .iter()
        .any(|finding| letter.findings.contains(finding));
    let reply_to = letter.headers.reply_to.iter().map(|one| one.address.expose().as_str());
    let mut all = reply_to.chain([author.as_str(), envelope.mail_from.expose().as_str()]);
    let refusals = [
        (is_odd || local.is_empty() || domain.is_empty(), Silence::NoAuthor),
        (marks.report || marks.calendar, Silence::Report),
        (marks.automatic, Silence::Automatic),
        (marks.bulk, Silence::Bulk),
        (marks.asks_silence, Silence::Asked),
        (all.any(is_role), Silence::Role),
        (knock.ours.iter().any(|own| mailbox(own) == mailbox(author)), Silence::Ours),
        (!same(author, envelope.mail_from.expose()), Silence::OtherSender),
        (!is_to_us(knock), Silence::NotToUs),
        (letter.headers.received > MOST_HOPS, Silence::Hops),
        (knock.names_case, Silence::NamesCase),
        (!knock.origin.is_some_and(|origin| origin.is_aligned(domain)), Silence::NotAligned),
    ];
    refusals.into_iter().find(|(refuses, _)| *refuses).map_or(Ok(()), |(_, why)| Err(why))
}

/// Whether one of the recipients is a mailbox of ours, and not only its postmaster.
fn is_to_us(knock: &Knock<'_>) -> bool {
    knock.envelope.source == Source::Imap
        || knock
            .envelope
            .rcpt_to
            .iter()
            .any(|to| knock.ours.iter().any(|own| same(own, to.expose())))
}

fn same(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

fn is_role(address: &str) -> bool {
    let address = address.to_lowercase();
    let local = address.rsplit_once('@').map_or(address.as_str(), |(local, _)| local);
    let local = local.trim_matches('"');
    let plain = local.split('+').next().unwrap_or_default();
    let is_nobody = |name: &str| {
        let rest = plain.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    ROLES.iter().any(|name| is_nobody(name))
        || ROLE_STARTS.iter().any(|start| local.starts_with(start))
        || ROLE_ENDS.iter().any(|end| plain.ends_with(end))
        || local.contains(BOUNCES)
}

/// The mailbox behind an address: in lower case, without what stands behind a plus, and without the
/// dots that mean nothing at Gmail.
fn mailbox(address: &str) -> (String, String) {
    let address = address.trim().to_lowercase();
    let (local, domain) = address.rsplit_once('@').unwrap_or((&address, ""));
    let local = local.trim_matches('"');
    let local = local.split('+').next().unwrap_or_default();
    match domain {
        "gmail.com" | "googlemail.com" => (local.replace('.', ""), "gmail.com".into()),
        _ => (local.into(), domain.into()),
    }
}

/// Who has a domain, roughly: its last two labels, or three where a registry has the second. Where it is
/// not known to sit so deep all below it count as one, which costs a notice and never sends one.
fn owner(domain: &str) -> &str {
    let from = |dots: usize| domain.rmatch_indices('.').nth(dots).map_or(0, |(at, _)| at + 1);
    let (second, top) = domain[from(1)..].split_once('.').unwrap_or_default();
    let is_registry = top.len() == 2 && REGISTRIES.contains(&second);
    &domain[if is_registry { from(2) } else { from(1) }..]
}

/// What an address is counted as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// As a sender: its mailbox, but where not everybody has an address only up to its first digit.
    /// There a number is a program's: `ticket-1`, `ticket-2`.
    pub sender: String,
    /// As one of a domain; nothing where everybody has an address.
    pub domain: Option<String>,
}

impl Counted {
    /// What this address is counted as.
    #[must_use]
    pub fn of(address: &str) -> Self {
        let (local, domain) = mailbox(address);
        if PROVIDERS.contains(&domain.as_str()) {
            return Self { sender: format!("{local}@{domain}"), domain: None };
        }
        let owner = owner(&domain);
        let local = local.split(|letter: char| letter.is_ascii_digit()).next().unwrap_or_default();
        Self { sender: format!("{local}@{owner}"), domain: Some(owner.to_owned()) }
    }
}

/// A letter that opened a case.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// When, in minutes since 1970.
    pub minute: u64,
    /// Whether its sender was told.
    pub is_told: bool,
}

/// What budgets are counted from; all of it oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past<'a> {
    /// The minutes of all notices of the last [`LOOKS_BACK`].
    pub all: &'a [u64],
    /// The letters that the same sender opened a case with.
    pub of_sender: &'a [Visit],
    /// The same of everybody at the domain, if that counts.
    pub of_domain: &'a [Visit],
}

/// Whether one more notice may go out.
///
/// # Errors
/// Why not.
pub fn budget(past: &Past<'_>, now: u64) -> Result<(), Silence> {
    if is_broken(past.all, now) {
        return Err(Silence::Breaker);
    }
    if told(past.of_sender, SENDER_RESTS, now) >= TO_SENDER {
        return Err(Silence::Sender);
    }
    if told(past.of_domain, DOMAIN_RESTS, now) >= TO_DOMAIN {
        return Err(Silence::Domain);
    }
    Ok(())
}

/// How many were told since they rested last.
fn told(visits: &[Visit], rest: u64, now: u64) -> usize {
    let (mut told, mut after) = (0, now);
    for visit in visits.iter().rev() {
        if after.saturating_sub(visit.minute) >= rest {
            break;
        }
        told += usize::from(visit.is_told);
        after = visit.minute;
    }
    told
}

/// Whether so many notices went out within some hour of the last day that none may for now.
#[must_use]
pub fn is_broken(sent: &[u64], now: u64) -> bool {
    broken_until(sent).is_some_and(|until| now < until)
}

/// Until when none may go out, in minutes since 1970, if ever so many went out within an hour.
#[must_use]
pub fn broken_until(sent: &[u64]) -> Option<u64> {
    let mut minutes = sent.to_vec();
    minutes.sort_unstable();
    let hours = minutes.windows(ALL_AN_HOUR).rev();
    let ends = hours.map(|hour| (hour[0], hour[ALL_AN_HOUR - 1]));
    let mut broken = ends.filter(|(first, last)| last - first < HOUR);
    broken.next().map(|(_, last)| last.saturating_add(MUTED))
}

#[cfg(test)]
#[path = "notice_tests.rs"]
mod tests;
