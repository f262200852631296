//! Sends canaries and waits for them (`casebook::canary`).

use std::sync::Arc;
use std::time::Duration;

use super::{Live, MessageIds};
use crate::casebook::Casebook;
use crate::casebook::canary::{Canary, Flown, Fly};
use crate::ids::CaseId;
use crate::reply::Heading;
use crate::reply::canary::CanaryMail;
use crate::reply::send::{self, SendError, Transport};
use crate::secret::Personal;

/// Between two looks at what came back.
const LOOK: Duration = Duration::from_millis(200);

/// What sends canaries: from `mailbox`, with the word of `upstream` forged into them if there is one.
pub(super) fn fly(
    casebook: Arc<Casebook>,
    live: Arc<Live>,
    ids: MessageIds,
    mailbox: String,
    upstream: String,
) -> Box<Fly> {
    let coop = Arc::new(Coop { casebook, live, ids, mailbox, upstream });
    Box::new(move |addresses, wait| {
        let coop = Arc::clone(&coop);
        Box::pin(async move {
            let mut canaries = Vec::with_capacity(addresses.len());
            for address in addresses {
                canaries.push(coop.send(address).await);
            }
            coop.wait(&mut canaries, wait).await;
            for (number, _) in &canaries {
                coop.casebook.forget_canary(*number);
            }
            canaries.into_iter().map(|(_, canary)| canary).collect()
        })
    })
}

struct Coop {
    casebook: Arc<Casebook>,
    live: Arc<Live>,
    ids: MessageIds,
    mailbox: String,
    upstream: String,
}

impl Coop {
    async fn send(&self, address: String) -> (CaseId, Canary) {
        let number = CaseId::random();
        let address = Personal::new(address);
        let mail = CanaryMail {
            heading: Heading {
                from: Personal::new(self.mailbox.clone()),
                to: address.clone(),
                message_id: self.ids.fresh(number),
                in_reply_to: None,
                references: Vec::new(),
                date: self.casebook.now(),
            },
            forged: (!self.upstream.is_empty())
                .then(|| (self.upstream.clone(), number.to_string())),
        };
        self.casebook.expect_canary(number);
        let transport = self.live.transport();
        let sent = match (mail.compose(), &*transport) {
            (_, Transport::Folder(_)) => Flown::NoWay,
            (Err(_), _) => Flown::Refused(None),
            (Ok(mail), transport) => match send::send(transport, &mail).await {
                Ok(()) => Flown::Taken,
                Err(SendError::Temporary(code) | SendError::Permanent(code)) => {
                    Flown::Refused(code)
                }
            },
        };
        (number, Canary { address, sent, back: None })
    }

    /// Waits until all are back that left, or the time is over.
    async fn wait(&self, canaries: &mut [(CaseId, Canary)], wait: Duration) {
        let end = tokio::time::Instant::now() + wait;
        loop {
            let mut is_missing = false;
            for (number, canary) in canaries.iter_mut() {
                if canary.sent == Flown::Taken && canary.back.is_none() {
                    canary.back = self.casebook.canary(*number);
                    is_missing |= canary.back.is_none();
                }
            }
            if !is_missing || tokio::time::Instant::now() >= end {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
