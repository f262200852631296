//! The way into the vault: opened here, or asked of the server that has it open.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use minicbor::bytes::ByteVec;
use tokio::runtime::Runtime;

use crate::casebook::import::wire::{Ask, Said};
use crate::casebook::import::{About, Run, RunId, Taken};
use crate::casebook::protocol::{self, Request};
use crate::casebook::{self, Casebook};
use crate::secret::Personal;

/// Why nothing more is taken.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The casebook said no.
    #[error(transparent)]
    Casebook(#[from] casebook::Error),
    /// The server said no, in its words.
    #[error("{why}")]
    Refused {
        /// Its words.
        why: String,
        /// It may go better later.
        later: bool,
    },
    /// Nothing listens on the socket, or the connection broke.
    #[error("the server does not answer: {0}")]
    Broken(#[from] io::Error),
    /// The server answered something else than was asked.
    #[error("the server answered something unexpected")]
    Unexpected,
}

/// A run of imports, in this process or in the server.
pub struct Door(Way);

enum Way {
    Here { run: Arc<Run>, runtime: Runtime, casebook: Arc<Casebook> },
    There { socket: PathBuf, id: RunId, first: Mutex<UnixStream> },
}

/// What one thread brings letters with.
pub(super) enum Taker<'a> {
    Here { run: &'a Arc<Run>, runtime: &'a Runtime },
    There(UnixStream),
}

impl Door {
    /// A run in this process, which has the vault open.
    ///
    /// # Errors
    /// See [`Run::begin`].
    pub fn here(casebook: Arc<Casebook>, is_dry: bool) -> Result<Self, Failure> {
        // The confined children work in it; everything else has threads of its own.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let run = Run::begin(&casebook, is_dry)?;
        Ok(Self(Way::Here { run, runtime, casebook }))
    }

    /// A run in the server that listens on this socket.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn there(socket: &Path, is_dry: bool) -> Result<Self, Failure> {
        let (first, id) = connect(socket, None, is_dry)?;
        let (socket, first) = (socket.to_owned(), Mutex::new(first));
        Ok(Self(Way::There { socket, id, first }))
    }

    /// What one more thread brings letters with.
    pub(super) fn taker(&self) -> Result<Taker<'_>, Failure> {
        Ok(match &self.0 {
            Way::Here { run, runtime, .. } => Taker::Here { run, runtime },
            Way::There { socket, id, .. } => Taker::There(connect(socket, Some(*id), false)?.0),
        })
    }

    /// Makes durable what was taken. Gives how many letters of this run are.
    ///
    /// # Errors
    /// What the store or the server says.
    pub fn finish(&self) -> Result<u64, Failure> {
        match &self.0 {
            Way::Here { run, .. } => Ok(run.finish()?),
            Way::There { first, .. } => {
                let mut stream = first.lock().unwrap_or_else(PoisonError::into_inner);
                match ask(&mut stream, &Ask::Finish)? {
                    Said::Finished { kept } => Ok(kept),
                    _ => Err(Failure::Unexpected),
                }
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Way::Here { runtime, casebook, .. } = &self.0 {
            runtime.block_on(casebook.dismiss_parsers());
        }
    }
}

impl Taker<'_> {
    /// Brings a mail.
    pub(super) fn mail(
        &mut self,
        about: About,
        mail_from: String,
        raw: Vec<u8>,
    ) -> Result<Taken, Failure> {
        match self {
            Taker::Here { run, runtime } => Ok(runtime.block_on(run.mail(about, mail_from, raw))?),
            Taker::There(stream) => {
                let mail_from = Personal::new(mail_from);
                taken(ask(stream, &Ask::Mail { about: about.into(), mail_from, raw })?)
            }
        }
    }

    /// Brings documents that are one letter: name and content of each.
    pub(super) fn papers(
        &mut self,
        about: About,
        papers: &[(&[u8], &[u8])],
    ) -> Result<Taken, Failure> {
        match self {
            Taker::Here { run, .. } => {
                let papers = papers.iter().map(|(name, content)| run.paper(name, content));
                Ok(run.papers(about, papers.collect())?)
            }
            Taker::There(stream) => {
                let bytes = |bytes: &[u8]| ByteVec::from(bytes.to_vec());
                let papers =
                    papers.iter().map(|(name, content)| (bytes(name), bytes(content))).collect();
                taken(ask(stream, &Ask::Papers { about: about.into(), papers })?)
            }
        }
    }
}

fn taken(said: Said) -> Result<Taken, Failure> {
    match said {
        Said::Taken { case } => Ok(case.map_or(Taken::There, Taken::New)),
        _ => Err(Failure::Unexpected),
    }
}

fn connect(socket: &Path, join: Option<RunId>, dry: bool) -> Result<(UnixStream, RunId), Failure> {
    let mut stream = UnixStream::connect(socket)?;
    protocol::write(&mut stream, &Request::Import { join, dry })?;
    match said(&mut stream)? {
        Said::Running { id } => Ok((stream, id)),
        _ => Err(Failure::Unexpected),
    }
}

fn ask(stream: &mut UnixStream, asked: &Ask) -> Result<Said, Failure> {
    protocol::write(stream, asked)?;
    said(stream)
}

fn said(stream: &mut UnixStream) -> Result<Said, Failure> {
    match protocol::read(stream)? {
        Said::Refused { why, later } => Err(Failure::Refused { why, later }),
        said => Ok(said),
    }
}
