//! Mails checkpoints to outsiders: when the casebook says that one is due, to whom the settings name.
//!
//! Who could not be reached is tried again with every tick, until the next one is due; who was
//! refused for good waits for that. Log lines count outsiders in the order of the settings and name
//! none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Live, SEND_GRACE, TICK};
use crate::casebook::{self, Casebook, Dispatch};
use crate::reply::checkpoint::CheckpointMail;
use crate::reply::send::{self, SendError};
use crate::store;

/// After everybody was refused for good.
const PAUSE: Duration = Duration::from_secs(60 * 60);

/// Mails checkpoints.
pub struct Mailer {
    casebook: Arc<Casebook>,
    live: Arc<Live>,
    mailbox: String,
    round: Option<Round>,
}

/// A checkpoint on its way.
struct Round {
    dispatch: Dispatch,
    /// Who does not have it yet.
    waiting: BTreeSet<String>,
}

impl Mailer {
    pub(super) fn new(casebook: Arc<Casebook>, live: Arc<Live>, mailbox: String) -> Self {
        Self { casebook, live, mailbox, round: None }
    }

    /// Mails what is due until `stop` is done; a mail under way then gets [`SEND_GRACE`].
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let step = self.step();
            tokio::pin!(step);
            let done = tokio::select! {
                done = &mut step => done,
                () = &mut stop => {
                    let _ = tokio::time::timeout(SEND_GRACE, step).await;
                    return;
                }
            };
            let pause = done.unwrap_or_else(|error| {
                tracing::error!(%error, "no checkpoint could be made");
                TICK
            });
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Begins a round if one is due, and tries everybody who waits. Gives the time until the next
    /// look.
    ///
    /// # Errors
    /// What the casebook says.
    pub async fn step(&mut self) -> Result<Duration, casebook::Error> {
        let outsiders = self.live.outsiders();
        if outsiders.is_empty() {
            self.round = None;
            return Ok(TICK);
        }
        if self.casebook.dispatch_is_due() {
            let dispatch = tokio::task::block_in_place(|| self.casebook.dispatch())?;
            let waiting = outsiders.iter().cloned().collect();
            self.round = Some(Round { dispatch, waiting });
        }
        let Some(mut round) = self.round.take() else { return Ok(TICK) };
        round.waiting.retain(|to| outsiders.contains(to));
        let takers = self.try_all(&mut round, &outsiders).await;
        let is_over = round.waiting.is_empty();
        if takers > 0 {
            note(&self.casebook, &round.dispatch, takers, is_over).await?;
            tracing::info!(takers, waiting = round.waiting.len(), "a checkpoint was mailed");
        }
        if !is_over {
            self.round = Some(round);
        }
        Ok(if takers == 0 && is_over { PAUSE } else { TICK })
    }

    /// Gives how many took it now.
    async fn try_all(&self, round: &mut Round, outsiders: &[String]) -> u64 {
        let mut takers = 0;
        for (number, to) in (1..).zip(outsiders) {
            if !round.waiting.contains(to) {
                continue;
            }
            match self.send_one(&round.dispatch, to).await {
                Ok(()) => {
                    takers += 1;
                    self.live.took(to, self.casebook.now() / 60);
                }
                Err(error @ SendError::Temporary(_)) => {
                    tracing::warn!(%error, outsider = number, "a checkpoint waits");
                    continue;
                }
                Err(error @ SendError::Permanent(_)) => {
                    tracing::error!(%error, outsider = number, "a checkpoint was refused for good");
                }
            }
            round.waiting.remove(to);
        }
        takers
    }

    async fn send_one(&self, dispatch: &Dispatch, to: &str) -> Result<(), SendError> {
        let mail = CheckpointMail::compose(dispatch, &self.mailbox, to, self.casebook.now());
        let mail = mail.map_err(|_| SendError::Permanent(None))?;
        send::send(&self.live.transport(), mail.outgoing()).await
    }
}

/// Notes who took it. While the disk is full it waits here, or each tick would send it again.
async fn note(
    casebook: &Arc<Casebook>,
    dispatch: &Dispatch,
    takers: u64,
    all: bool,
) -> Result<(), casebook::Error> {
    loop {
        match tokio::task::block_in_place(|| casebook.dispatched(dispatch, takers, all)) {
            Err(casebook::Error::Store(store::Error::Full)) => {
                tracing::error!("the disk is full: a checkpoint that was mailed cannot be noted");
                tokio::time::sleep(TICK).await;
            }
            other => return other,
        }
    }
}
