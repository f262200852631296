//! Sealing the boxes of older epochs anew, and removing the secrets that are of no use then.

use clap::Args;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::casebook::protocol::Status;
use crate::cli::session::Connection;
use crate::cli::{Error, Report, print};
use crate::staff::client::Client;
use crate::staff::reseal::{self, Progress};

/// Seal what older epochs hold to the newest one, and remove the older secrets
///
/// Opens each box's inner layer, compares it with what the ledger recorded, seals it to the newest
/// epoch under a new box key, and drops the old key; content is not touched, but with --chunks it gets
/// new keys, too: then what somebody had noted of the old ones opens nothing. It needs room for a
/// second copy of the content, until the sweeps of the next days remove the first, and stops while there
/// is still room for letters. Letters may arrive meanwhile. May be stopped at any time: what is
/// done is done, and the next call goes on. Once nothing is sealed to an older epoch its secret is
/// removed, which needs the admin role; sealing needs a member of the back office.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis keys reseal --dry-run\n  kluis keys reseal --limit 10000"
)]
pub(super) struct Reseal {
    /// Stop after so many boxes
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Seal the content anew, too, and not the boxes alone
    #[arg(long)]
    chunks: bool,
    /// Say how many boxes are sealed to which epoch, how much content they have and about how long it
    /// takes, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Reseal {
    pub(super) fn run(self, json: bool) -> Result<Report, Error> {
        let mut client = self.connection.open()?;
        let status = client.status()?;
        let old = older(&status);
        if self.dry_run {
            let lines: Vec<String> = status
                .by_epoch
                .iter()
                .map(|(epoch, boxes)| {
                    format!("epoch {}: {}", epoch.0, print::count(*boxes, "box", "boxes"))
                })
                .collect();
            let bytes = if self.chunks { status.old_content } else { 0 };
            let time = reseal::estimate(self.limit.map_or(old, |limit| old.min(limit)), bytes);
            let content = if self.chunks {
                format!(", with at most {} of content,", HumanBytes(bytes))
            } else {
                String::new()
            };
            let text = format!(
                "{}\n{}{content} would be sealed anew, in about {} on this machine; nothing was \
                 changed",
                lines.join("\n"),
                print::count(old, "box", "boxes"),
                HumanDuration(time)
            );
            let shown = json!({
                "boxes": old, "bytes": bytes, "seconds": time.as_secs_f64(), "dry_run": true
            });
            return Ok(Report::new(text, shown));
        }
        let bar = bar(json, self.limit.map_or(old, |limit| old.min(limit)));
        // An admin who reads nothing only removes what is over.
        let outcome = if old == 0 {
            Ok(Progress::default())
        } else {
            let most = self.limit.unwrap_or(u64::MAX);
            let tell = &mut |progress: Progress| {
                bar.set_position(progress.boxes);
                if progress.bytes > 0 {
                    bar.set_message(format!(", {} of content", HumanBytes(progress.bytes)));
                }
            };
            if self.chunks {
                client.reseal_with_content(most, tell)
            } else {
                client.reseal(most, tell)
            }
        };
        bar.finish_and_clear();
        let Progress { boxes: done, unopened, bytes } = outcome?;
        let left = older(&client.status()?);
        let gone = if left == 0 { removed(&mut client)? } else { Vec::new() };
        let mut text = format!("{} sealed anew", print::count(done, "box", "boxes"));
        if bytes > 0 {
            text.push_str(&format!(", and {} of content", HumanBytes(bytes)));
        }
        if unopened > 0 {
            text.push_str(&format!(
                "\n{} of the older epochs could not be opened, or not all of their content be read: \
                 `kluis get --verify-all` says which",
                print::count(unopened, "box", "boxes")
            ));
        }
        if left > 0 {
            text.push_str(&format!("\n{} left: run it again", print::count(left, "box", "boxes")));
        } else if gone.is_empty() {
            text.push_str("\nnothing is sealed to an older epoch");
            if self.chunks && done == 0 {
                text.push_str(
                    "; content gets new keys with the boxes of an older epoch: `kluis keys rotate` first",
                );
            }
        }
        for epoch in &gone {
            text.push_str(&format!("\nthe secret of epoch {epoch} is removed"));
        }
        let shown = json!({
            "boxes": done, "bytes": bytes, "unopened": unopened, "left": left, "destroyed": gone
        });
        Ok(Report { problems: unopened > 0, ..Report::new(text, shown) })
    }
}

/// The secrets that were removed; none if this member may not.
fn removed(client: &mut Client) -> Result<Vec<u32>, Error> {
    use crate::staff::client::Error as ClientError;
    match client.destroy_epochs() {
        Ok(epochs) => Ok(epochs.iter().map(|epoch| epoch.0).collect()),
        Err(ClientError::Refused(_)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn older(status: &Status) -> u64 {
    let old = status.by_epoch.iter().filter(|(epoch, _)| Some(*epoch) < status.epoch);
    old.map(|(_, boxes)| boxes).sum()
}

/// A bar on standard error; none for programs.
fn bar(json: bool, boxes: u64) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} boxes{msg}, {eta} left");
    ProgressBar::new(boxes).with_style(style.expect("a template"))
}
