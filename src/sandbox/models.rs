//! The models that read pictures: where they lie, the child that uses them, and whoever asks it.
//!
//! They are two files, known by their hashes; how they get there is told in `cli::models`. Without
//! them everything works but the reading of pictures, which then says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Semaphore;

use super::{Failure, Limits, Sandbox, heif};
use crate::identity::document::{self, Eyes, Sight};
use crate::identity::picture::decode::{DecodeError, Kind};
use crate::letter::MAX_SIGHT;

/// The hidden command that is a confined child: pictures in, what stands on them out. The folder of the
/// models follows.
pub const CONFINED_LOOK: &str = "confined-look";

/// Names the folder of the models, for whoever keeps them elsewhere.
const VARIABLE: &str = "KLUIS_MODELS";
/// Where they lie otherwise.
const FOLDER: &str = "/usr/share/kluis/models";

/// A model and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The name of its file.
    pub name: &'static str,
    hash: &'static str,
}

impl Model {
    /// Whether these bytes are it.
    #[must_use]
    pub fn is(&self, bytes: &[u8]) -> bool {
        is_hash(bytes, self.hash)
    }
}

/// Finds lines of text.
pub const DETECTION: Model = Model {
    name: "ch_PP-OCRv4_det_infer.onnx",
    hash: "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
};
/// Reads a line.
pub const RECOGNITION: Model = Model {
    name: "ch_PP-OCRv4_rec_infer.onnx",
    hash: "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
};

/// Seconds of a processor that one file is read for; then what is known is told. Not of a clock on the
/// wall: what is read of a picture must not depend on what else the machine does.
pub const BUDGET: i64 = 10;
/// What a child may take for one: its own budget, and decoding before it looks at a clock.
pub const LONGEST: Duration = Duration::from_secs(20);
/// By how much the child is more patient than whoever started it: letters come first. Not by more: what it
/// reads it must have read in its time, and where much else is at work this leaves it a quarter.
pub(super) const PATIENCE: i32 = 5;
/// Address space of the child: what it uses is less than half of it.
pub const MEMORY: u64 = 1 << 30;

/// The folder in which the models are looked for.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os(VARIABLE)
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| PathBuf::from(FOLDER), PathBuf::from)
}

/// Whether both are there and are what they must be.
#[must_use]
pub fn are_there(folder: &Path) -> bool {
    load(folder).is_some()
}

/// The two, detection first, if they are there and are what they must be.
#[must_use]
pub fn load(folder: &Path) -> Option<(Vec<u8>, Vec<u8>)> {
    let file = |model: &Model| {
        let bytes = fs::read(folder.join(model.name)).ok()?;
        model.is(&bytes).then_some(bytes)
    };
    Some((file(&DETECTION)?, file(&RECOGNITION)?))
}

/// Whether this is the SHA-256 of these bytes.
#[must_use]
pub fn is_hash(bytes: &[u8], hash: &str) -> bool {
    let hex: String =
        digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    hex == hash
}

/// Seconds that this process was on a processor.
#[must_use]
pub fn spent() -> i64 {
    clock_gettime(ClockId::ProcessCPUTime).tv_sec
}

/// The life of a child that reads pictures with the models in this folder.
pub fn child(folder: &Path) -> ! {
    static EYES: OnceLock<Eyes> = OnceLock::new();
    fn job(file: &[u8]) -> Vec<u8> {
        let begun = spent();
        let sight = EYES
            .get()
            .map(|eyes| document::look(eyes, file, &|| spent() - begun < BUDGET))
            .unwrap_or_default();
        sight.to_bytes()
    }
    // Threads that are started later on are as patient. One that cannot be is no reason to read nothing.
    let _ = rustix::process::nice(PATIENCE);
    // The first look at this clock asks for more than a confined child may.
    let _ = spent();
    super::child_main_with(
        || load(folder),
        |(detection, recognition)| {
            let eyes = Eyes::new(detection, recognition);
            // Threads cannot be started later on.
            rten::thread_pool().run(|| ());
            eyes.is_some_and(|eyes| EYES.set(eyes).is_ok())
        },
        job,
        MEMORY,
    )
}

/// Whoever has pictures read: one at a time, each by a child of its own. A picture that takes its child
/// over says of itself what it wants, and nothing of others.
pub struct Reader {
    program: PathBuf,
    sandbox: Sandbox,
    /// For making a JPEG of HEIC: one at a time, too.
    converter: Semaphore,
}

impl Reader {
    /// With children of `program` that use the models in `folder`, and may take so long for one
    /// picture; none if they are not there.
    #[must_use]
    pub fn new(program: PathBuf, folder: PathBuf, wall: Duration) -> Option<Self> {
        let limits = Limits { wall, answer: MAX_SIGHT };
        are_there(&folder).then(|| {
            let args = vec![CONFINED_LOOK.into(), folder.into_os_string()];
            let sandbox = Sandbox::new(program.clone(), args, 1, limits).each_alone();
            Self { program, sandbox, converter: Semaphore::new(1) }
        })
    }

    /// What a file shows; that it cannot be read, if the child died of it. Nothing if no child could be
    /// started, or the file is too long for one. To give up, drop the future.
    pub async fn look(&self, file: &[u8]) -> Option<Sight> {
        if Kind::of(file) != Some(Kind::Heif) || !heif::is_there() {
            return seen(self.sandbox.run(file).await);
        }
        let place = self.converter.acquire().await;
        let jpeg = heif::as_jpeg(&self.program, file).await;
        drop(place);
        match jpeg {
            Ok(jpeg) => seen(self.sandbox.run(&jpeg).await),
            Err(failure) => seen(Err(failure)),
        }
    }
}

/// What an answer says. A child may be taken over by what it reads: what is no sight, or longer than
/// one, is no answer.
fn seen(answer: Result<Vec<u8>, Failure>) -> Option<Sight> {
    let why = match answer {
        Ok(bytes) => match Sight::from_bytes(&bytes) {
            Some(sight) => return Some(sight),
            None => DecodeError::Crashed,
        },
        Err(Failure::Crashed | Failure::TooLarge) => DecodeError::Crashed,
        Err(Failure::TimedOut) => DecodeError::TimedOut,
        Err(Failure::Unavailable) => return None,
    };
    Some(Sight::refused(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_sight_says_that_the_picture_cannot_be_read() {
        let honest = Sight::refused(DecodeError::Damaged).to_bytes();
        let why = |answer| seen(answer).map(|sight| sight.refused);
        assert_eq!(why(Ok(honest.clone())), Some(Some(DecodeError::Damaged)));
        assert_eq!(why(Ok(Sight::default().to_bytes())), Some(None));
        // What breaks off, bytes that are none of ours, too many.
        let mut crooked = honest;
        crooked.truncate(2);
        for answer in
            [crooked, b"{}".to_vec(), Vec::new(), vec![0xff; 9], vec![0xa0; MAX_SIGHT + 1]]
        {
            assert_eq!(why(Ok(answer)), Some(Some(DecodeError::Crashed)));
        }
        assert_eq!(why(Err(Failure::Crashed)), Some(Some(DecodeError::Crashed)));
        assert_eq!(why(Err(Failure::TooLarge)), Some(Some(DecodeError::Crashed)));
        assert_eq!(why(Err(Failure::TimedOut)), Some(Some(DecodeError::TimedOut)));
        assert_eq!(why(Err(Failure::Unavailable)), None);
    }
}
