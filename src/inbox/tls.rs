//! Certificate and key for STARTTLS, from PEM files.
//!
//! Both can be taken anew while they are in use: a handshake takes what is in use then, and a session
//! keeps what it began with.
//!
//! No session is resumed: nothing a client got from one listener means anything to another
//! (RFC 8446 §4.6.1), and a mailbox's traffic is too small to miss it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

/// Why certificate and key cannot be used. Names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not PEM, or holds nothing of the kind that is wanted.
    #[error("no {wanted} in PEM form in {}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// Both were read, and do not work together.
    #[error("the certificate in {} does not work with the key in {}", certificate.display(), key.display())]
    Unusable {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// The reason.
        source: rustls::Error,
    },
}

/// What STARTTLS is offered with.
pub struct Offered {
    config: Arc<ServerConfig>,
    in_use: Arc<InUse>,
}

/// The certificate and key that the next handshake takes.
#[derive(Debug)]
struct InUse(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for InUse {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Offered {
    /// Reads the certificate with its chain (leaf first) and the private key (PKCS #8, PKCS #1 or
    /// SEC 1).
    ///
    /// # Errors
    /// If a file cannot be read, holds nothing of its kind, or the two do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let in_use = Arc::new(InUse(RwLock::new(read(certificate, key)?)));
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Unusable {
                certificate: certificate.into(),
                key: key.into(),
                source,
            })?;
        let mut config =
            builder.with_no_client_auth().with_cert_resolver(Arc::clone(&in_use) as Arc<_>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), in_use })
    }

    /// Reads both anew: from the next handshake on they are what is offered.
    ///
    /// # Errors
    /// As for [`Offered::load`]; what was in use stays.
    pub fn renew(&self, certificate: &Path, key: &Path) -> Result<(), TlsError> {
        let fresh = read(certificate, key)?;
        *self.in_use.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// For the inbox.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let refuse = |path: &Path, wanted, error| match error {
        pem::Error::Io(source) => TlsError::Read { path: path.into(), source },
        _ => TlsError::NotPem { path: path.into(), wanted },
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(|error| refuse(certificate, "certificate", error))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| refuse(key, "private key", error))?;
    CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider()).map(Arc::new).map_err(
        |source| TlsError::Unusable { certificate: certificate.into(), key: key.into(), source },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_and_key_load_and_every_fault_names_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("the file is written");
            path
        };
        let pair = || rcgen::generate_simple_self_signed(vec!["mx.example".into()]);
        let (ours, other) = (pair().expect("a pair"), pair().expect("a pair"));
        let certificate = place("cert.pem", &ours.cert.pem());
        let key = place("key.pem", &ours.signing_key.serialize_pem());
        let other_key = place("other.pem", &other.signing_key.serialize_pem());
        let empty = place("empty.pem", "nothing\n");
        let missing = dir.path().join("missing.pem");

        let offered = Offered::load(&certificate, &key).expect("works");
        assert!(offered.renew(&certificate, &key).is_ok());
        let fault = |certificate: &Path, key: &Path| {
            let refused = offered.renew(certificate, key).expect_err("it is refused").to_string();
            let loaded = Offered::load(certificate, key).err().expect("it is refused").to_string();
            assert_eq!(loaded, refused);
            refused
        };
        assert!(fault(&missing, &key).starts_with("cannot read "));
        assert!(fault(&missing, &key).ends_with("missing.pem"));
        assert!(fault(&certificate, &missing).ends_with("missing.pem"));
        assert!(fault(&empty, &key).starts_with("no certificate in PEM form in "));
        assert!(fault(&certificate, &empty).starts_with("no private key in PEM form in "));
        assert!(fault(&certificate, &certificate).starts_with("no private key"));
        assert!(fault(&certificate, &other_key).ends_with("other.pem"));
    }
}
