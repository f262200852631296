//! What the network says of a sender: SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 9989).
//!
//! Of a letter that comes from outside all three are asked of the DNS; of one that a server of ours
//! hands on, that server's word is read (`upstream`), or, if it is not named, DKIM and DMARC by
//! DKIM alone are looked at, since its own address says nothing. It is evidence and never a reason to refuse:
//! what is not answered in time is said to be unfinished. A panic of the library that reads the
//! header costs the evidence of one letter, and it sees no letter that is made to keep it busy.

mod upstream;

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::common::to_a_label;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, MessageAuthenticator, SpfOutput,
    SpfResult,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::{Delivery, clients};
use crate::identity::origin::{Origin, Outcome, Policy, Signature, Witness};
use crate::letter::RawHeader;
use crate::secret::Personal;

/// How the origin of letters is looked at.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name, for SPF macros.
    pub hostname: String,
    /// Whether the DNS is asked.
    pub ask: bool,
    /// The server in front whose `Authentication-Results` count; empty if there is none.
    pub upstream: String,
    /// Whom to ask; the system's resolvers if it is empty.
    pub resolvers: Vec<SocketAddr>,
    /// For all questions about one letter.
    pub deadline: Duration,
}

/// Answers that the resolver remembers.
const CACHED: u64 = 2048;
/// The longest that an answer is remembered, whatever it says.
const LONGEST_MEMORY: Duration = Duration::from_secs(3600);
/// For one question to one resolver, and how often it is asked.
const QUESTION_TIME: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// Letters looked at together, and those of one client among them: whose name server is silent keeps
/// its own waiting, and not everybody's. One that finds no place in its time is said to be unfinished.
const AT_ONCE: usize = 32;
const AT_ONCE_OF_ONE: usize = 8;
/// DKIM signatures of a letter that is looked at: each may cost a hash of the whole.
const MAX_SIGNATURES: usize = 10;
/// Bytes of a letter that is hashed where it is: it takes less than a millisecond.
const SHORT: usize = 512 * 1024;

/// Looks at where letters come from.
pub struct Checker {
    settings: Settings,
    authenticator: Option<MessageAuthenticator>,
    places: Places,
}

impl Checker {
    /// A checker; without a resolver on this machine it asks nobody.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let authenticator = if settings.ask { authenticator(&settings.resolvers) } else { None };
        if settings.ask && authenticator.is_none() {
            tracing::warn!("no resolver: SPF, DKIM and DMARC are not looked at");
        }
        Self { settings, authenticator, places: Places::default() }
    }

    /// What the network says of a letter's sender; nothing where nobody is to be asked.
    pub async fn look(&self, delivery: &Delivery) -> Option<Origin> {
        let header = RawHeader::of(&delivery.raw);
        let author = header.author_domain();
        // A mailbox elsewhere is not behind that server: who writes to it can write its name.
        let is_behind = delivery.trusted && delivery.fetched.is_none();
        if is_behind && !self.settings.upstream.is_empty() {
            return upstream::read(&header, &self.settings.upstream, &author);
        }
        let authenticator = self.authenticator.as_ref()?;
        let client: Option<IpAddr> = match (&delivery.envelope.client, delivery.trusted) {
            (Some(client), false) => client.expose().parse().ok(),
            _ => None,
        };
        let signatures = header.values("DKIM-Signature").count();
        if client.is_none() && signatures == 0 {
            return None;
        }
        let question = Question {
            raw: &delivery.raw,
            author,
            client,
            reads_header: signatures <= MAX_SIGNATURES && !header.is_over() && !header.is_odd(),
            helo: delivery.envelope.helo.expose(),
            mail_from: delivery.envelope.mail_from.expose(),
            hostname: &self.settings.hostname,
        };
        let asked = async {
            let _place = self.places.take(client).await;
            caught(question.ask(authenticator)).await
        };
        match tokio::time::timeout(self.settings.deadline, asked).await {
            Ok(Some(found)) => Some(found),
            Ok(None) => {
                tracing::error!("looking at a letter's origin ended in a panic");
                Some(question.unanswered())
            }
            Err(_) => Some(question.unanswered()),
        }
    }
}

/// Where letters wait to be looked at.
struct Places {
    all: Semaphore,
    /// Of the clients that have letters here.
    of_one: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Semaphore::new(AT_ONCE), of_one: Mutex::default() }
    }
}

impl Places {
    /// Waits for a place; first among those of the same client, so that those who wait there hold none.
    async fn take(
        &self,
        client: Option<IpAddr>,
    ) -> (Option<OwnedSemaphorePermit>, Option<SemaphorePermit<'_>>) {
        let own = match client {
            Some(client) => self.of(client).acquire_owned().await.ok(),
            // All mail comes from a server of ours.
            None => None,
        };
        (own, self.all.acquire().await.ok())
    }

    fn of(&self, client: IpAddr) -> Arc<Semaphore> {
        let mut known = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, places| places.strong_count() > 0);
        let places = known.entry(clients::key(client)).or_default();
        places.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Semaphore::new(AT_ONCE_OF_ONE));
            *places = Arc::downgrade(&new);
            new
        })
    }
}

/// Runs a future up to its end or its panic.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}

fn authenticator(resolvers: &[SocketAddr]) -> Option<MessageAuthenticator> {
    let config = if resolvers.is_empty() {
        hickory_resolver::system_conf::read_system_conf().ok()?.0
    } else {
        let servers = resolvers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        });
        ResolverConfig::from_parts(None, Vec::new(), servers.collect())
    };
    let mut options = ResolverOpts::default();
    options.timeout = QUESTION_TIME;
    options.attempts = ATTEMPTS;
    options.cache_size = CACHED;
    options.validate = false;
    options.positive_max_ttl = Some(LONGEST_MEMORY);
    options.negative_max_ttl = Some(LONGEST_MEMORY);
    MessageAuthenticator::new(config, options).ok()
}

/// What is asked about one letter.
struct Question<'a> {
    raw: &'a [u8],
    author: String,
    client: Option<IpAddr>,
    reads_header: bool,
    helo: &'a str,
    mail_from: &'a str,
    hostname: &'a str,
}

impl Question<'_> {
    /// What is said when no answer comes.
    fn unanswered(&self) -> Origin {
        let dmarc = Outcome::TempError;
        let unknown = Origin::unknown(Witness::Ourselves, self.author.clone());
        Origin { dmarc, finished: false, ..unknown }
    }

    async fn ask(&self, authenticator: &MessageAuthenticator) -> Origin {
        let mut found = Origin::unknown(Witness::Ourselves, self.author.clone());
        let mut spf = SpfOutput::new(String::new()).with_result(SpfResult::None);
        if let Some(client) = self.client {
            spf = self.spf(authenticator, client).await;
            found.spf = of_spf(spf.result());
            found.spf_domain = Personal::new(spf.domain().to_ascii_lowercase());
        }
        if !self.reads_header {
            // What was not looked at did not pass, whatever SPF says.
            return Origin { dmarc: Outcome::PermError, finished: false, ..found };
        }
        let parse = || AuthenticatedMessage::parse(self.raw);
        // A thread that says that it blocks is a thread more to wake.
        let is_short = self.raw.len() <= SHORT;
        let parsed = if is_short { parse() } else { tokio::task::block_in_place(parse) };
        // It passes over a signature that leaves the end of the body open (l=).
        let Some(message) = parsed else { return found };
        let dkim = authenticator.verify_dkim(&message).await;
        found.dkim = dkim.iter().filter_map(signature).collect();
        let passes = dkim.iter().any(|one| *one.result() == DkimResult::Pass);
        if (self.client.is_some() || passes) && !self.author.is_empty() {
            self.dmarc(authenticator, &message, &dkim, &spf, &mut found).await;
        }
        found
    }

    async fn spf(&self, authenticator: &MessageAuthenticator, client: IpAddr) -> SpfOutput {
        let parameters = if self.mail_from.is_empty() {
            SpfParameters::verify_ehlo(client, self.helo, self.hostname)
        } else {
            SpfParameters::verify_mail_from(client, self.helo, self.hostname, self.mail_from)
        };
        authenticator.verify_spf(parameters).await
    }

    async fn dmarc(
        &self,
        authenticator: &MessageAuthenticator,
        message: &AuthenticatedMessage<'_>,
        dkim: &[DkimOutput<'_>],
        spf: &SpfOutput,
        found: &mut Origin,
    ) {
        let sender = self.mail_from.rsplit_once('@').map_or(self.helo, |(_, domain)| domain);
        let parameters = DmarcParameters::new(message, dkim, sender, spf);
        let said = authenticator.verify_dmarc(parameters).await;
        // Two readers of one header may see two authors: then what is said is said of the other one.
        let is_same = matches!(message.froms(), [from] if {
            let domain = from.rsplit_once('@').map_or("", |(_, domain)| domain);
            to_a_label(domain).eq_ignore_ascii_case(&to_a_label(&self.author))
        });
        if !is_same {
            found.dmarc = Outcome::PermError;
            return;
        }
        found.policy = said.dmarc_record().map(|_| match said.policy() {
            mail_auth::dmarc::Policy::Reject => Policy::Reject,
            mail_auth::dmarc::Policy::Quarantine => Policy::Quarantine,
            _ => Policy::None,
        });
        found.dmarc = match said.result() {
            DmarcResult::Pass => Outcome::Pass,
            DmarcResult::Fail(_) => Outcome::Fail,
            DmarcResult::TempError(_) => Outcome::TempError,
            DmarcResult::PermError(_) => Outcome::PermError,
            DmarcResult::None => Outcome::None,
        };
    }
}

fn of_spf(result: SpfResult) -> Outcome {
    match result {
        SpfResult::Pass => Outcome::Pass,
        SpfResult::Fail => Outcome::Fail,
        SpfResult::SoftFail => Outcome::SoftFail,
        SpfResult::Neutral => Outcome::Neutral,
        SpfResult::TempError => Outcome::TempError,
        SpfResult::PermError => Outcome::PermError,
        SpfResult::None => Outcome::None,
    }
}

fn signature(output: &DkimOutput<'_>) -> Option<Signature> {
    let read = output.signature()?;
    Some(Signature {
        outcome: match output.result() {
            DkimResult::Pass => Outcome::Pass,
            DkimResult::Neutral(_) | DkimResult::Fail(_) => Outcome::Fail,
            DkimResult::PermError(_) => Outcome::PermError,
            DkimResult::TempError(_) => Outcome::TempError,
            DkimResult::None => Outcome::None,
        },
        domain: Personal::new(read.d.to_ascii_lowercase()),
        selector: Personal::new(read.s.clone()),
    })
}
