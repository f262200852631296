//! The virus scanner of the member's machine: asked about what no scanner saw before.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::Error;
use crate::config::{Endpoint, LONGEST_SCANNED};
use crate::inbox::scan::Scanner;
use crate::letter::Scan;

/// For scanning what one command opens.
const SCAN_TIME: Duration = Duration::from_secs(60);

/// A clamd of this machine, and until when it is asked.
pub(super) struct Here {
    scanner: Scanner,
    runtime: Runtime,
    end: Instant,
}

impl Here {
    /// The clamd at this socket.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn at(socket: &Path) -> Result<Self, Error> {
        Self::by(Scanner::new(Endpoint::Unix(socket.to_owned()), SCAN_TIME, LONGEST_SCANNED))
    }

    /// The clamd where it usually is, if there is one.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn find() -> Result<Option<Self>, Error> {
        Scanner::of_this_machine(SCAN_TIME).map(Self::by).transpose()
    }

    fn by(scanner: Scanner) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("starting to scan", &error))?;
        Ok(Self { scanner, runtime, end: Instant::now() + SCAN_TIME })
    }

    /// What it says; that it saw nothing once the time is up.
    pub(super) fn ask(&self, content: &[u8]) -> Scan {
        let left = self.end.saturating_duration_since(Instant::now());
        let asked = async { tokio::time::timeout(left, self.scanner.scan(content)).await };
        self.runtime.block_on(asked).unwrap_or(Scan::NotScanned)
    }
}
