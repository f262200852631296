//! Access tokens for XOAUTH2: client credentials (RFC 6749 §4.4) and refresh tokens (§6).
//!
//! A token is used until a few minutes before its time is over. A refresh token that the endpoint
//! replaces is written into its file, for the old one dies after some months.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use zeroize::{Zeroize as _, Zeroizing};

use super::source::Fault;
use super::{Account, Grant, Login, OAuth2, secret_in, wire};

/// Time for one request.
const TIME: Duration = Duration::from_secs(30);
/// Bytes of an answer, at most.
const LONGEST: u64 = 64 * 1024;
/// So long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// How long a token holds of which that is not said (RFC 6749 §5.1 recommends to say it).
const USUAL: u64 = 60 * 60;

/// Gets tokens, and keeps the newest.
pub(super) struct Tokens {
    account: Arc<Account>,
    newest: Mutex<Option<Newest>>,
}

struct Newest {
    token: Zeroizing<String>,
    until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

impl Tokens {
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self { account, newest: Mutex::default() }
    }

    fn newest(&self) -> MutexGuard<'_, Option<Newest>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest is not good any more, whatever was said of its time.
    pub(super) fn forget(&self) {
        *self.newest() = None;
    }

    /// A token that holds for a while.
    pub(super) async fn token(&self) -> Result<Zeroizing<String>, Fault> {
        if let Some(newest) = &*self.newest()
            && Instant::now() < newest.until
        {
            return Ok(newest.token.clone());
        }
        let account = Arc::clone(&self.account);
        let asked = tokio::task::spawn_blocking(move || match &account.login {
            Login::OAuth2(oauth2) => {
                ask(oauth2, account.ca.as_deref(), TIME.min(account.pace.connect))
            }
            Login::Password(_) => Err(Fault::Token),
        });
        let newest = asked.await.unwrap_or(Err(Fault::Token))?;
        let token = newest.token.clone();
        *self.newest() = Some(newest);
        Ok(token)
    }
}

/// Asks the endpoint. What it says when it refuses is not looked at: it may name the user.
fn ask(oauth2: &OAuth2, ca: Option<&Path>, time: Duration) -> Result<Newest, Fault> {
    let secret = oauth2.client_secret_file.as_deref().map(secret_in).transpose()?;
    let mut form = vec![("client_id", oauth2.client_id.as_str())];
    form.extend(secret.as_ref().map(|secret| ("client_secret", secret.as_str())));
    form.extend(oauth2.scope.as_ref().map(|scope| ("scope", scope.as_str())));
    let refresh;
    match &oauth2.grant {
        Grant::Client => form.push(("grant_type", "client_credentials")),
        Grant::Refresh(file) => {
            refresh = secret_in(file)?;
            form.extend([("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())]);
        }
    }
    let asked = Instant::now();
    let answer = post(&oauth2.token_url, ca, &form, time)?;
    if let (Grant::Refresh(file), Some(fresh)) = (&oauth2.grant, &answer.refresh_token)
        && let Err(error) = replace(file, fresh)
    {
        tracing::error!(
            kind = ?error.kind(),
            "a new refresh token could not be written into its file: the old one will die"
        );
    }
    let holds = Duration::from_secs(answer.expires_in.unwrap_or(USUAL).min(24 * USUAL));
    let token = Zeroizing::new(answer.access_token.clone());
    Ok(Newest { token, until: asked + holds.saturating_sub(MARGIN) })
}

fn post(
    url: &str,
    ca: Option<&Path>,
    form: &[(&str, &str)],
    time: Duration,
) -> Result<Answer, Fault> {
    let roots = match ca {
        None => RootCerts::PlatformVerifier,
        Some(file) => {
            let anchors = wire::anchors(file)?;
            let owned =
                |der: &rustls_pki_types::CertificateDer<'_>| Certificate::from_der(der).to_owned();
            RootCerts::from(anchors.iter().map(owned))
        }
    };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(roots)
        .build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(time))
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent();
    let mut answer = agent.post(url).send_form(form.iter().copied()).map_err(|_| Fault::Token)?;
    let text = answer.body_mut().with_config().limit(LONGEST).read_to_vec();
    let text = Zeroizing::new(text.map_err(|_| Fault::Token)?);
    serde_json::from_slice(&text).map_err(|_| Fault::Token)
}

/// Writes a secret in the place of another, so that a crash leaves one of the two.
fn replace(file: &Path, secret: &str) -> std::io::Result<()> {
    let folder = file.parent().ok_or(std::io::ErrorKind::NotFound)?;
    let mut name = file.file_name().ok_or(std::io::ErrorKind::NotFound)?.to_owned();
    name.push(".new");
    let fresh = folder.join(name);
    let _ = std::fs::remove_file(&fresh);
    let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    written.write_all(secret.as_bytes())?;
    written.write_all(b"\n")?;
    written.sync_all()?;
    std::fs::rename(&fresh, file)?;
    File::open(folder)?.sync_all()
}
