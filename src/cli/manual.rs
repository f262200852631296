//! What a package brings beside the program: completions for shells and pages for man(1), made from
//! the command line itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde_json::json;

use super::{Cli, Error, Report, print};

/// Print completions for a shell
///
/// `make install` puts them where bash, zsh and fish look.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kluis completions bash > /usr/share/bash-completion/completions/kluis"
)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "kluis", &mut text);
        print::write_out(&text)?;
        Ok(Report::default())
    }
}

/// Write the pages for man(1), one for each command, into a folder
#[derive(Args)]
#[command(after_help = "Example:\n  kluis man /usr/local/share/man/man1")]
pub(super) struct Man {
    /// The folder
    folder: PathBuf,
}

impl Man {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn run(self) -> Result<Report, Error> {
        let failed = |error: std::io::Error| Error::io(self.folder.display(), &error);
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        clap_mangen::generate_to(Cli::command(), &self.folder).map_err(failed)?;
        let text = format!("written  {}", self.folder.display());
        Ok(Report::new(text, json!({ "folder": self.folder })))
    }
}
