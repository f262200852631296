//! The connection to a server: TCP, TLS with a certificate that holds, and the sieve in front of what
//! is read.

use std::fmt;
use std::io::{self, BufReader};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;

use super::sieve::{Cutter, Heard};
use super::source::Fault;
use super::{Account, Security};

/// Bytes read at once.
const AT_ONCE: usize = 16 * 1024;
/// Responses to one command, at most: a list has a line for each mail. One that is longer is asked
/// for in halves.
const RESPONSES: usize = 100_000;
/// Bytes of a line before TLS, at most.
const GREETING: u64 = 8 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What the client library reads from and writes to.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    cutter: Cutter,
    ready: Vec<u8>,
    given: usize,
    shared: Arc<Shared>,
}

/// What is known of the connection beside what the library is told.
#[derive(Debug, Default)]
pub(super) struct Shared {
    heard: Mutex<Heard>,
    most: AtomicUsize,
    responses: AtomicUsize,
    is_too_long: AtomicBool,
    is_too_many: AtomicBool,
}

impl Shared {
    /// What the server said.
    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a command: the literals of a response may have so many bytes.
    pub(super) fn allow(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.responses.store(0, Ordering::Relaxed);
    }

    /// Takes a response in; gives what goes on of it.
    fn sift(&self, response: &[u8]) -> io::Result<Vec<u8>> {
        let mut heard = self.heard();
        let sifted = heard.sift(response).unwrap_or_default();
        let responses = self.responses.fetch_add(1, Ordering::Relaxed) + 1;
        if responses > RESPONSES || heard.is_too_much {
            self.is_too_many.store(true, Ordering::Relaxed);
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many responses"));
        }
        Ok(sifted)
    }

    /// Whether the connection ended because there were more responses.
    pub(super) fn is_too_many(&self) -> bool {
        self.is_too_many.load(Ordering::Relaxed)
    }

    /// Whether the connection ended because a response was longer.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long.load(Ordering::Relaxed)
    }
}

impl Wire {
    /// Connects, with TLS as the settings want it. Also says whether the server's greeting was read
    /// already.
    pub(super) async fn connect(account: &Account) -> Result<(Self, Arc<Shared>, bool), Fault> {
        let tcp = TcpStream::connect((account.host.as_str(), account.port)).await;
        let mut tcp = tcp.map_err(|_| Fault::Lost)?;
        tcp.set_nodelay(true).map_err(|_| Fault::Lost)?;
        let stream: Box<dyn Stream> = match account.security {
            Security::None => Box::new(tcp),
            Security::Implicit => secure(account, tcp).await?,
            Security::Starttls => {
                ask_for_tls(&mut tcp).await?;
                secure(account, tcp).await?
            }
        };
        let shared = Arc::new(Shared::default());
        let (cutter, ready) = (Cutter::default(), Vec::new());
        let wire = Self { stream, cutter, ready, given: 0, shared: Arc::clone(&shared) };
        Ok((wire, shared, account.security == Security::Starttls))
    }
}

/// Says STARTTLS (RFC 9051 §6.2.1). Nothing may come behind its OK before TLS: that would be read as
/// if it had come through it.
async fn ask_for_tls(tcp: &mut TcpStream) -> Result<(), Fault> {
    let mut reader = tokio::io::BufReader::new(&mut *tcp);
    let greeting = plain_line(&mut reader).await?;
    if !greeting.to_ascii_uppercase().starts_with("* OK") {
        return Err(Fault::Protocol);
    }
    let asked = async {
        reader.get_mut().write_all(b"s1 STARTTLS\r\n").await?;
        reader.get_mut().flush().await
    };
    asked.await.map_err(|_| Fault::Lost)?;
    loop {
        let line = plain_line(&mut reader).await?.to_ascii_uppercase();
        if line.starts_with("S1 OK") {
            break;
        }
        if line.starts_with("S1 ") {
            return Err(Fault::Tls);
        }
    }
    if reader.buffer().is_empty() { Ok(()) } else { Err(Fault::Tls) }
}

async fn plain_line<R: AsyncRead + Unpin>(
    reader: &mut tokio::io::BufReader<R>,
) -> Result<String, Fault> {
    let mut line = Vec::new();
    let read = reader.take(GREETING).read_until(b'\n', &mut line).await;
    match read {
        Ok(_) if line.ends_with(b"\n") => Ok(String::from_utf8_lossy(&line).into_owned()),
        _ => Err(Fault::Lost),
    }
}

async fn secure(account: &Account, tcp: TcpStream) -> Result<Box<dyn Stream>, Fault> {
    let config = tls(account.ca.as_deref())?;
    let name = ServerName::try_from(account.host.clone()).map_err(|_| Fault::Tls)?;
    let secured = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    Ok(Box::new(secured.map_err(|_| Fault::Tls)?))
}

/// Certificates hold if the system trusts who signed them, or this file does.
fn tls(ca: Option<&Path>) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let extra = ca.map(anchors).transpose()?.unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider));
    let verifier = verifier.map_err(|_| Fault::Tls)?;
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|_| Fault::Tls)?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(config.with_no_client_auth())
}

/// The certificates in a file, in PEM.
pub(super) fn anchors(file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let opened = std::fs::File::open(file).map_err(|_| Fault::File)?;
    let read =
        CertificateDer::pem_reader_iter(BufReader::new(opened)).collect::<Result<Vec<_>, _>>();
    read.ok().filter(|anchors| !anchors.is_empty()).ok_or(Fault::File)
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.given < this.ready.len() {
                let rest = &this.ready[this.given..];
                let given = &rest[..rest.len().min(buffer.remaining())];
                buffer.put_slice(given);
                this.given += given.len();
                return Poll::Ready(Ok(()));
            }
            let most = this.shared.most.load(Ordering::Relaxed);
            let response = this.cutter.next(most).map_err(|_| {
                this.shared.is_too_long.store(true, Ordering::Relaxed);
                io::Error::new(io::ErrorKind::InvalidData, "a response is too long")
            })?;
            if let Some(response) = response {
                this.ready = this.shared.sift(&response)?;
                this.given = 0;
                continue;
            }
            let mut bytes = [0; AT_ONCE];
            let mut room = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut room))?;
            if room.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.cutter.push(room.filled());
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}
