//! Canaries: mails that this server sends to itself, through every address that people may write to,
//! and waits for. What comes back shows that the way of a letter is open, and what it does to a letter.
//!
//! A connection that opens with [`Request::Canaries`](super::protocol::Request::Canaries) from the user
//! that this process runs as asks for them. A canary is known by a Message-ID of ours; it is sealed like
//! any letter, with the reports that belong to no case, and opens none.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use minicbor::{Decode, Encode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::import::wire;
use super::protocol::frame;
use super::receive::Mail;
use super::socket::Desk;
use super::{Casebook, lock};
use crate::identity::origin::Origin;
use crate::ids::CaseId;
use crate::letter::{Letter, RawHeader, Source};
use crate::secret::Personal;

/// A canary, and what became of it.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Canary {
    /// Whom it was sent to.
    #[n(0)]
    pub address: Personal<String>,
    /// Whether the next server took it; its code if it refused with one.
    #[n(1)]
    pub sent: Flown,
    /// How it came back.
    #[n(2)]
    pub back: Option<Back>,
}

/// How a canary left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Flown {
    /// The next server took it.
    #[n(0)]
    Taken,
    /// It did not, with this code if it said one.
    #[n(1)]
    Refused(#[n(0)] Option<u16>),
    /// There is no server to give it to: answers go into a folder.
    #[n(2)]
    NoWay,
}

/// How a canary came back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Back {
    /// Seconds after it left.
    #[n(0)]
    pub seconds: u64,
    /// Over what.
    #[n(1)]
    pub source: Source,
    /// Whether the connection was encrypted.
    #[n(2)]
    pub tls: bool,
    /// What the network says of its sender.
    #[n(3)]
    pub origin: Option<Origin>,
    /// It came back as a report that it could not be delivered.
    #[n(4)]
    pub bounced: bool,
    /// The word of a server in front that was forged into it is still there.
    #[n(5)]
    pub kept_forgery: bool,
}

/// Sends canaries to these addresses, and waits for them at most as long.
pub type Fly = dyn Fn(Vec<String>, Duration) -> Pin<Box<dyn Future<Output = Vec<Canary>> + Send>>
    + Send
    + Sync;

/// Canaries under way at a time, and how long one may be waited for.
pub const MOST: usize = 32;
/// See [`MOST`].
pub const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Time to take an answer.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// The canaries that are waited for, by the case number in their Message-ID.
#[derive(Default)]
pub(super) struct Aloft(HashMap<CaseId, (u64, Option<Back>)>);

/// Serves a connection that asks for canaries.
pub(super) async fn serve(
    stream: &mut UnixStream,
    desk: &Arc<Desk>,
    addresses: Vec<String>,
    seconds: u64,
) -> io::Result<()> {
    let canaries = match desk.canaries.get() {
        Some(fly) if wire::is_same_user(stream) && addresses.len() <= MOST => {
            fly(addresses, Duration::from_secs(seconds).min(LONGEST_WAIT)).await
        }
        _ => Vec::new(),
    };
    let frame = frame(&canaries)?;
    let written = tokio::time::timeout(WRITE_TIME, stream.write_all(&frame));
    written.await.map_err(|_| io::ErrorKind::TimedOut)?
}

impl Casebook {
    /// From now on a canary with this number is waited for.
    pub fn expect_canary(&self, number: CaseId) {
        lock(&self.aloft).0.insert(number, (self.clock.seconds(), None));
    }

    /// How a canary came back, if it did.
    #[must_use]
    pub fn canary(&self, number: CaseId) -> Option<Back> {
        lock(&self.aloft).0.get(&number)?.1.clone()
    }

    /// It is not waited for any more.
    pub fn forget_canary(&self, number: CaseId) {
        lock(&self.aloft).0.remove(&number);
    }

    /// Whether a letter is a mail of ours that came back by itself.
    pub(super) fn is_our_own(&self, letter: &Letter) -> Option<CaseId> {
        letter.headers.message_id.as_ref().and_then(|id| (self.case_of)(id.expose()))
    }

    /// Notes a canary that came back, by itself or in a report.
    pub(super) fn note_canary(&self, mail: &Mail, letter: &Letter) {
        let reported = letter.report.as_ref().and_then(|report| report.message_id.as_ref());
        let reported = reported.and_then(|id| (self.case_of)(id.expose()));
        let Some(number) = self.is_our_own(letter).or(reported) else { return };
        let mut aloft = lock(&self.aloft);
        let Some((left, back)) = aloft.0.get_mut(&number) else { return };
        let forged = number.to_string();
        let header = RawHeader::of(&mail.raw);
        let mut results = header.values("Authentication-Results");
        let kept_forgery = results.any(|value| String::from_utf8_lossy(value).contains(&forged));
        back.get_or_insert(Back {
            seconds: self.clock.seconds().saturating_sub(*left),
            source: mail.envelope.source,
            tls: mail.envelope.tls,
            origin: mail.origin.clone(),
            bounced: reported.is_some(),
            kept_forgery,
        });
    }
}
