//! The way into the vault: opened here, or asked of the server that has it open.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use minicbor::bytes::ByteVec;
use tokio::runtime::Runtime;

use crate::casebook::import::wire::{Ask, Said};
use crate::casebook::import::{About, Run, RunId, Taken};
use crate::casebook::protocol::{self, Request};
use crate::casebook::{self, Casebook, PutError};
use crate::secret::Personal;

/// Bytes of a long document that are looked at to tell what it is.
const BEGINNING: u64 = 1024;

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

    /// Whether it takes documents of any length: the vault is open in this process.
    pub(super) fn takes_long(&self) -> bool {
        matches!(self, Taker::Here { .. })
    }

    /// Brings documents of any length that are one letter: name and file of each. `None` if one of
    /// them cannot be read, with its number and why.
    pub(super) fn long_papers(
        &mut self,
        about: About,
        papers: &[(&[u8], &File)],
    ) -> Result<Result<Taken, (usize, io::Error)>, Failure> {
        let Taker::Here { run, runtime } = self else { return Err(Failure::Unexpected) };
        let mut sealed = Vec::with_capacity(papers.len());
        for (nr, (name, file)) in papers.iter().enumerate() {
            let mut beginning = Vec::new();
            let read =
                file.try_clone().and_then(|file| file.take(BEGINNING).read_to_end(&mut beginning));
            if let Err(error) = read {
                return Ok(Err((nr, error)));
            }
            match run.long_paper(name, &beginning, *file) {
                Ok(paper) => sealed.push(paper),
                Err(PutError::Source(error)) => return Ok(Err((nr, error))),
                Err(PutError::Store(error)) => return Err(casebook::Error::from(error).into()),
            }
        }
        runtime.block_on(run.scan(about, &mut sealed, &vec![None; papers.len()]));
        Ok(Ok(run.papers(about, sealed)?))
    }

    /// Brings one document, if the vault is open in this process and it is not long; nothing is said
    /// of any other. The inner error: it cannot be read.
    pub(super) fn document(
        &mut self,
        about: About,
        name: &[u8],
        file: &File,
    ) -> Result<Result<Option<Taken>, io::Error>, Failure> {
        match self {
            Taker::Here { run, .. } => Ok(run.document(about, name, file)?),
            Taker::There(_) => Ok(Ok(None)),
        }
    }

    /// Brings documents that are one letter: name and content of each.
    pub(super) fn papers(
        &mut self,
        about: About,
        papers: &[(&[u8], &[u8])],
    ) -> Result<Taken, Failure> {
        match self {
            Taker::Here { run, runtime } => {
                let sealed = papers.iter().map(|(name, content)| run.paper(name, content));
                let mut sealed: Vec<_> = sealed.collect();
                let contents: Vec<_> = papers.iter().map(|(_, content)| Some(*content)).collect();
                runtime.block_on(run.scan(about, &mut sealed, &contents));
                Ok(run.papers(about, sealed)?)
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
