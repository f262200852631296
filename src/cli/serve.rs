//! Serving: opens the vault, says what it found and where it listens, runs until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use sd_notify::NotifyState;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::session::{self, absolute};
use super::{Error, Report, STATE_DIR, print};
use crate::gateway::{self, Addresses, Gateway, Live};
use crate::lab;
use crate::store::Opening;

/// Take letters, keep them, and answer the staff side
///
/// Runs until SIGINT or SIGTERM: letters that came to their end are kept and answered first. At
/// SIGHUP the TLS certificate, the mail server's password and whom checkpoints go to are read again,
/// and no connection ends. Says on standard output where it listens, one line, and logs to standard
/// error (RUST_LOG, at first `info`). Holds no key that opens a letter.
#[derive(Args)]
#[command(after_help = "Example:\n  sudo -u kluis kluis serve /var/lib/kluis")]
pub(super) struct Serve {
    /// The state directory that `kluis init` made
    #[arg(default_value = STATE_DIR)]
    dir: PathBuf,
}

impl Serve {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        let program = session::program()?;
        session::harden()?;
        log_to_stderr();
        let dir = absolute(&self.dir)?;
        let runtime = tokio::runtime::Runtime::new()
            .map_err(|error| Error::io("starting the server's threads", &error))?;
        runtime.block_on(async {
            let signals =
                Signals::listen().map_err(|error| Error::io("listening for signals", &error))?;
            let gateway = Gateway::open(&dir, &program, lab::clock())?;
            tell(&gateway.opening);
            let stop = signals.stop(gateway.live());
            let mut told = Ok(());
            let ready = |addresses: &Addresses| {
                told = listens(addresses, json);
                say(NotifyState::Ready);
            };
            let ran = gateway.run(ready, stop).await;
            ran.map_err(|error: gateway::Error| Error::from(error))?;
            tracing::info!("stopped");
            told.map(|()| Report::default())
        })
    }
}

/// The signals that the server knows.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they are waited for, and end nothing by themselves.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Done at SIGINT or SIGTERM. At SIGHUP files are read again, and no letter is cut off.
    async fn stop(mut self, live: Arc<Live>) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => break,
                _ = self.terminate.recv() => break,
                _ = self.hangup.recv() => tokio::task::block_in_place(|| live.reload()),
            }
        }
        say(NotifyState::Stopping);
        tracing::info!("stopping");
    }
}

/// Tells the service manager, if there is one that wants to know (sd_notify(3)).
fn say(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(kind = ?error.kind(), "the service manager could not be told");
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second one in the same process, in a test, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A log on a full disk must not end the thread that writes to it.
        .log_internal_errors(false)
        .try_init();
}

/// What the opening found.
fn tell(opening: &Opening) {
    let Opening { entries, slots, packs, .. } = opening;
    tracing::info!(entries, slots, packs, "the vault is open");
    for file in &opening.quarantined {
        tracing::warn!(file = %file.display(), "the end of a write that a crash cut off was set aside");
    }
    if opening.forgets_finished > 0 {
        tracing::warn!(boxes = opening.forgets_finished, "an interrupted forgetting was finished");
    }
    if opening.rotation_settled {
        tracing::warn!("an interrupted rotation of the cabinet's key was settled");
    }
    if opening.index_rebuilt {
        tracing::info!("the index was made again");
    }
    if opening.tables_mended > 0 {
        tracing::warn!(
            packs = opening.tables_mended,
            "the tables of packs were damaged and made again from what the packs hold"
        );
    }
    if opening.lost > 0 {
        tracing::error!(
            boxes = opening.lost,
            "keys are missing in the cabinet though nobody forgot them: see kluis check"
        );
    }
}

fn listens(addresses: &Addresses, json: bool) -> Result<(), Error> {
    let list = |sockets: &[std::net::SocketAddr]| -> Vec<String> {
        sockets.iter().map(ToString::to_string).collect()
    };
    let [smtp, mx, lmtp] = [&addresses.smtp, &addresses.mx, &addresses.lmtp].map(|a| list(a));
    let line = if json {
        let socket = &addresses.socket;
        print::json_line(&json!({ "smtp": smtp, "mx": mx, "lmtp": lmtp, "socket": socket }))
    } else {
        let mut line = format!("staff {}", addresses.socket.display());
        for (word, places) in [("smtp", &smtp), ("mx", &mx), ("lmtp", &lmtp)] {
            for place in places {
                line.push_str(&format!(", {word} {place}"));
            }
        }
        format!("listens: {line}")
    };
    print::write_out(format!("{line}\n").as_bytes())
}
