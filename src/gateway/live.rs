//! What a running server takes anew on SIGHUP: the TLS certificate and its key, the smarthost's
//! password, whom checkpoints go to, and how long copies of identity documents are kept.
//!
//! No session ends for it; what begins afterwards takes what is new. Each part is judged by itself: a
//! file that is wrong is named, and what it was to replace stays. What else changed in `kluis.toml`
//! waits for the next start.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use tokio_rustls::rustls::ServerConfig;
use zeroize::Zeroizing;

use super::Error;
use crate::config::{Config, FILE, Outgoing as Way, SmtpTls};
use crate::identity::policy::CopyTime;
use crate::inbox::tls::Offered;
use crate::reply::send::{Smarthost, Tls, Transport};
use crate::secret::Secret;

/// What is in force.
pub struct Live {
    file: PathBuf,
    config: Mutex<Config>,
    tls: Option<Offered>,
    transport: RwLock<Arc<Transport>>,
    /// When each outsider took a checkpoint last, in minutes since 1970.
    taken: Mutex<BTreeMap<String, u64>>,
    reloaded: Notify,
}

impl Live {
    /// Reads the files that the configuration names.
    pub(super) fn load(config: &Config) -> Result<Self, Error> {
        let tls = config.tls.as_ref().map(|tls| Offered::load(&tls.certificate, &tls.key));
        Ok(Self {
            file: config.dir().join(FILE),
            tls: tls.transpose()?,
            transport: RwLock::new(Arc::new(transport(config)?)),
            taken: Mutex::default(),
            reloaded: Notify::new(),
            config: Mutex::new(config.clone()),
        })
    }

    /// What STARTTLS is offered with.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(Offered::config)
    }

    /// Where mail goes.
    pub(super) fn transport(&self) -> Arc<Transport> {
        Arc::clone(&self.transport.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whom checkpoints go to.
    pub(super) fn outsiders(&self) -> Vec<String> {
        self.config().checkpoints.to.clone()
    }

    /// How long copies of identity documents are kept once their case is decided.
    pub(super) fn copy_time(&self) -> CopyTime {
        self.config().identity.forget_copy_after
    }

    /// Done when something was taken anew.
    pub(super) async fn reloaded(&self) {
        self.reloaded.notified().await;
    }

    /// Notes that this outsider took a checkpoint in this minute since 1970.
    pub(super) fn took(&self, outsider: &str, minute: u64) {
        self.taken().insert(outsider.to_owned(), minute);
    }

    /// When each outsider took one last, in the order of the settings; none if not since the start.
    pub(super) fn last_taken(&self) -> Vec<Option<u64>> {
        let outsiders = self.outsiders();
        let taken = self.taken();
        outsiders.iter().map(|outsider| taken.get(outsider).copied()).collect()
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes anew what can be taken anew, and logs what was and what was not.
    pub fn reload(&self) {
        let mut config = self.config();
        let mut next = config.clone();
        match Config::load(&self.file) {
            Ok(read) => {
                take_over(&mut next, &read);
                if next != read {
                    tracing::warn!(
                        file = %self.file.display(),
                        "other settings changed, too: they count from the next start"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "wrong settings: the old ones stay"),
        }
        if let (Some(offered), Some(tls)) = (&self.tls, &next.tls) {
            match offered.renew(&tls.certificate, &tls.key) {
                Ok(()) => tracing::info!("the TLS certificate and its key were read again"),
                Err(error) => {
                    tracing::error!(%error, "the old TLS certificate stays");
                    next.tls.clone_from(&config.tls);
                }
            }
        }
        match transport(&next) {
            Ok(fresh) => {
                let mut current = self.transport.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(fresh);
                tracing::info!("where mail goes out was read again");
            }
            Err(error) => {
                tracing::error!(%error, "the old password of the mail server stays");
                next.outgoing.clone_from(&config.outgoing);
            }
        }
        if next.identity.forget_copy_after != config.identity.forget_copy_after {
            let after = next.identity.forget_copy_after;
            tracing::info!(%after, "copies of identity documents are kept for another time");
        }
        tracing::info!(outsiders = next.checkpoints.to.len(), "checkpoints go out");
        *config = next;
        self.reloaded.notify_one();
    }
}

/// Of `read` takes what counts without a new start.
fn take_over(config: &mut Config, read: &Config) {
    config.checkpoints.clone_from(&read.checkpoints);
    config.identity.forget_copy_after = read.identity.forget_copy_after;
    if config.tls.is_some() && read.tls.is_some() {
        config.tls.clone_from(&read.tls);
    }
    if let (Way::Smtp(ours), Way::Smtp(theirs)) = (&mut config.outgoing, &read.outgoing) {
        ours.username.clone_from(&theirs.username);
        ours.password_file.clone_from(&theirs.password_file);
    }
}

/// Where the configuration sends mail. The password is read here, from its file.
fn transport(config: &Config) -> Result<Transport, Error> {
    let smarthost = match &config.outgoing {
        Way::Folder(folder) => return Ok(Transport::Folder(folder.clone())),
        Way::Smtp(smarthost) => smarthost,
    };
    let credentials = match (&smarthost.username, &smarthost.password_file) {
        (Some(user), Some(file)) => {
            let failed = |source| Error::Io { what: format!("reading {}", file.display()), source };
            let text = Zeroizing::new(std::fs::read_to_string(file).map_err(failed)?);
            let password = text.lines().next().unwrap_or_default().to_owned();
            if password.is_empty() {
                let empty =
                    io::Error::new(io::ErrorKind::InvalidData, "no password in its first line");
                return Err(failed(empty));
            }
            Some((user.clone(), Secret::new(password)))
        }
        _ => None,
    };
    Ok(Transport::Smtp(Smarthost {
        host: smarthost.host.clone(),
        port: smarthost.port,
        tls: match smarthost.tls {
            SmtpTls::Starttls => Tls::Required,
            SmtpTls::Implicit => Tls::Implicit,
            SmtpTls::None => Tls::None,
        },
        credentials,
        helo: config.hostname.clone(),
    }))
}
