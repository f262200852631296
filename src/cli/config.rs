//! The settings: printed as an annotated sample, or a file of them checked.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Error, Report};
use crate::config::{Config, Endpoint, FILE, Outgoing};

/// Print every setting with its default and what it is for, or check a file of settings
#[derive(Args)]
#[command(after_help = "Example:\n  kluis config\n  kluis config /var/lib/kluis")]
pub(super) struct Settings {
    /// The state directory, or the file, to check
    dir: Option<PathBuf>,
    /// Print the annotated sample
    #[arg(long, conflicts_with = "dir")]
    sample: bool,
}

impl Settings {
    /// Runs it.
    ///
    /// # Errors
    /// What is wrong with the settings, with line and field.
    pub(super) fn run(self) -> Result<Report, Error> {
        let Some(path) = self.dir else {
            let sample = Config::sample();
            return Ok(Report::new(sample, json!({ "sample": sample })));
        };
        let file = if path.is_dir() { path.join(FILE) } else { path };
        let config = Config::load(&file)?;
        let smtp: Vec<String> = config.listen.smtp.iter().map(ToString::to_string).collect();
        let lmtp: Vec<String> = config
            .listen
            .lmtp
            .iter()
            .map(|place| match place {
                Endpoint::Tcp(address) => address.to_string(),
                Endpoint::Unix(path) => path.display().to_string(),
            })
            .collect();
        let outgoing = match &config.outgoing {
            Outgoing::Folder(folder) => format!("folder {}", folder.display()),
            Outgoing::Smtp(host) => format!("{}:{}", host.host, host.port),
        };
        let rows = [
            ("hostname", config.hostname.clone()),
            ("addresses", config.addresses.join(", ")),
            ("cabinet key", config.cabinet_key.display().to_string()),
            ("smtp", smtp.join(", ")),
            ("lmtp", lmtp.join(", ")),
            ("tls", if config.tls.is_some() { "yes" } else { "no" }.into()),
            ("outgoing", outgoing.clone()),
            ("checkpoints", config.checkpoints.to.join(", ")),
        ];
        let lines: Vec<String> = rows
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(word, value)| format!("{word:<12} {value}"))
            .collect();
        Ok(Report::new(
            format!("{} is well formed\n{}", file.display(), lines.join("\n")),
            json!({
                "file": file,
                "hostname": config.hostname,
                "addresses": config.addresses,
                "cabinet_key": config.cabinet_key,
                "smtp": smtp,
                "lmtp": lmtp,
                "tls": config.tls.is_some(),
                "outgoing": outgoing,
                "checkpoints": config.checkpoints.to,
            }),
        ))
    }
}
