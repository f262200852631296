//! A run over the staff's socket, for whoever runs as the same user as the server (design §10).
//!
//! A connection that opens with [`Request::Import`](super::super::protocol::Request::Import) from
//! that user speaks these messages and no others, framed as all are. Several connections may join
//! one run. What a message brings is taken before it is answered, and durable after `Finish`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{About, Run, RunId, Taken};
use crate::casebook::protocol::{MAX_MESSAGE, frame};
use crate::casebook::state::{date, days};
use crate::casebook::{Casebook, Error, blocking};
use crate::ids::CaseId;
use crate::secret::Personal;
use crate::store;

/// What a run is asked.
#[derive(Clone, Encode, Decode)]
pub enum Ask {
    /// Take a stored mail.
    #[n(0)]
    Mail {
        /// Where it belongs.
        #[n(0)]
        about: Belongs,
        /// Its reverse-path.
        #[n(1)]
        mail_from: Personal<String>,
        /// Its bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        raw: Vec<u8>,
    },
    /// Take documents as one letter.
    #[n(1)]
    Papers {
        /// Where it belongs.
        #[n(0)]
        about: Belongs,
        /// Name and content of each.
        #[n(1)]
        papers: Vec<(ByteVec, ByteVec)>,
    },
    /// Make durable what was taken.
    #[n(2)]
    Finish,
}

/// [`About`] as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Belongs {
    /// Day of receipt, in days since 1970.
    #[n(0)]
    pub received: Option<i32>,
    /// The case it is put into.
    #[n(1)]
    pub case: Option<CaseId>,
}

impl From<About> for Belongs {
    fn from(about: About) -> Self {
        Self { received: about.received.map(days), case: about.case }
    }
}

impl From<Belongs> for About {
    fn from(belongs: Belongs) -> Self {
        Self { received: belongs.received.and_then(date), case: belongs.case }
    }
}

/// What a run answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Said {
    /// The run that was begun or joined.
    #[n(0)]
    Running {
        /// Its name, to join it.
        #[cbor(n(0), with = "minicbor::bytes")]
        id: RunId,
    },
    /// What was brought is taken: into this case, or none because it is there already.
    #[n(1)]
    Taken {
        /// The case.
        #[n(0)]
        case: Option<CaseId>,
    },
    /// All that was taken is durable.
    #[n(2)]
    Finished {
        /// Letters of this run that are.
        #[n(0)]
        kept: u64,
    },
    /// It was not taken, and nothing more of this run will be.
    #[n(3)]
    Refused {
        /// One sentence without content.
        #[n(0)]
        why: String,
        /// It may go better later.
        #[n(1)]
        later: bool,
    },
}

/// Time without a message after which a connection ends.
const IDLE_TIME: Duration = Duration::from_secs(15 * 60);
/// Time to take one answer.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// Serves one connection of a run: begins it, or joins the one that is named.
pub(in crate::casebook) async fn serve(
    stream: &mut UnixStream,
    casebook: &Arc<Casebook>,
    join: Option<RunId>,
    is_dry: bool,
) -> io::Result<()> {
    if !is_same_user(stream) {
        tracing::warn!("another user asked for an import");
        let why = "only the user that the server runs as may import".into();
        return write(stream, &Said::Refused { why, later: false }).await;
    }
    let run = match join {
        Some(id) => Run::join(casebook, id),
        None => Run::begin(casebook, is_dry),
    };
    let run = match run {
        Ok(run) => run,
        Err(error) => return write(stream, &refused(&error)).await,
    };
    write(stream, &Said::Running { id: run.id() }).await?;
    loop {
        let asked = tokio::time::timeout(IDLE_TIME, read(stream)).await;
        let said = answer(&run, asked.map_err(|_| io::ErrorKind::TimedOut)??).await;
        write(stream, &said).await?;
    }
}

/// Whether the other end runs as the same user as this process.
pub(in crate::casebook) fn is_same_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

async fn answer(run: &Arc<Run>, asked: Ask) -> Said {
    let here = Arc::clone(run);
    let outcome = match asked {
        Ask::Mail { about, mail_from, raw } => {
            run.mail(about.into(), mail_from.into_exposed(), raw).await.map(taken)
        }
        Ask::Papers { about, papers } => {
            let (mut sealed, papers) = blocking(move || {
                let sealed = papers.iter().map(|(name, content)| here.paper(name, content));
                (sealed.collect::<Vec<_>>(), papers)
            })
            .await;
            let contents: Vec<_> = papers.iter().map(|(_, content)| Some(&content[..])).collect();
            run.scan(about.into(), &mut sealed, &contents).await;
            let here = Arc::clone(run);
            blocking(move || here.papers(about.into(), sealed).map(taken)).await
        }
        Ask::Finish => blocking(move || here.finish().map(|kept| Said::Finished { kept })).await,
    };
    outcome.unwrap_or_else(|error| refused(&error))
}

fn taken(taken: Taken) -> Said {
    let case = match taken {
        Taken::New(case) => Some(case),
        Taken::There => None,
    };
    Said::Taken { case }
}

fn refused(error: &Error) -> Said {
    let later = matches!(
        error,
        Error::Busy
            | Error::NoEpoch
            | Error::NoParser
            | Error::Store(store::Error::Full | store::Error::Dead)
    );
    Said::Refused { why: error.to_string(), later }
}

async fn read(stream: &mut UnixStream) -> io::Result<Ask> {
    let length = stream.read_u32().await? as usize;
    if length > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes).await?;
    minicbor::decode(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

async fn write(stream: &mut UnixStream, said: &Said) -> io::Result<()> {
    let frame = frame(said)?;
    let written = tokio::time::timeout(WRITE_TIME, stream.write_all(&frame));
    written.await.map_err(|_| io::ErrorKind::TimedOut)?
}
