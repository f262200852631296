//! The legal month by itself: by when something received on a day must be answered.

use clap::Args;
use jiff::civil::Date;
use serde_json::json;

use super::{Error, Report, session};
use crate::request::deadline::{self, Due};

/// Say by when something received on a day must be answered
///
/// One calendar month from receipt, three when extended (GDPR Art. 12(3)), counted as Regulation
/// (EEC, Euratom) 1182/71 counts, with the public holidays of Belgium.
#[derive(Args)]
#[command(after_help = "Example:\n  kluis deadline 2026-11-25\n  kluis deadline today --json")]
pub(super) struct Deadline {
    /// The day of receipt, as 2026-11-25, or `today`
    date: String,
}

impl Deadline {
    /// Runs it.
    ///
    /// # Errors
    /// It is no date.
    pub(super) fn run(self) -> Result<Report, Error> {
        let received: Date = if self.date == "today" {
            deadline::received_on(session::now())
        } else {
            self.date.parse().map_err(|_| {
                Error::usage(format!("`{}` is not a date", super::print::short(&self.date, 40)))
                    .hint("write it as 2026-11-25")
            })?
        };
        let Due { one_month_raw, one_month_due, three_months_raw, three_months_due } =
            deadline::due(received);
        let moved = |raw: Date, due: Date| {
            if raw == due { String::new() } else { format!("  ({raw} is no working day)") }
        };
        let text = format!(
            "received  {received}\nanswer    {one_month_due}{}\nextended  {three_months_due}{}",
            moved(one_month_raw, one_month_due),
            moved(three_months_raw, three_months_due),
        );
        Ok(Report::new(
            text,
            json!({
                "received": received.to_string(),
                "one_month_raw": one_month_raw.to_string(),
                "one_month_due": one_month_due.to_string(),
                "three_months_raw": three_months_raw.to_string(),
                "three_months_due": three_months_due.to_string(),
            }),
        ))
    }
}
