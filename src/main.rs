//! Arguments in, exit code out; the work is in the library.

use std::process::ExitCode;

/// What a letter leaves in memory is wiped, whoever held it.
#[global_allocator]
static MEMORY: kluis::secret::Wiping = kluis::secret::Wiping;

fn main() -> ExitCode {
    ExitCode::from(kluis::cli::run(std::env::args_os()))
}
