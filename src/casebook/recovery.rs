//! The drill of the recovery key, as the server sees it.
//!
//! Whoever drills is given every secret as it lies wrapped, and a test that only the recovery key
//! opens. The right answer proves that enough sheets were there; that is entered, and nothing else
//! changes. Neither the key nor a sheet comes near the server.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::Error;
use super::protocol::Response;
use super::socket::{Desk, MAX_TESTS};
use crate::ids::{Digest, EpochId, StaffId, random};
use crate::keys::challenge::{Challenge, RECOVERY};
use crate::keys::file;
use crate::ledger::entry::{Entry, Fact};

/// Every secret as it lies wrapped, with what the admin signed of it.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct WrappedFiles {
    /// The signed roster in force.
    #[n(0)]
    pub roster: String,
    /// The epochs whose secret is there: number, signed note, `<n>.age`.
    #[n(1)]
    pub epochs: Vec<(EpochId, String, ByteVec)>,
    /// The mailbox's secrets: number, signed note, `<n>.age`.
    #[n(2)]
    pub mailbox: Vec<(u32, String, ByteVec)>,
}

/// Tests of the recovery key that were handed out, each with its nonce.
#[derive(Default)]
pub struct Drills(Mutex<Vec<Test>>);

/// A test of the recovery key.
struct Test {
    nonce: [u8; 16],
    challenge: Challenge,
    /// Of the key's public half: another may be in the roster when the answer comes.
    recovery: Digest,
}

/// The longest signed or wrapped file that is read, in bytes.
const LONGEST_FILE: usize = 2 << 20;

impl WrappedFiles {
    /// Reads them in a state directory, or in a copy of its `roster/`, `epochs/` and `mailbox/`.
    ///
    /// # Errors
    /// One of them is not there or cannot be read.
    pub fn read(dir: &Path, roster: u32) -> Result<Self, Error> {
        let bytes = |path: &Path, what| {
            let bytes = file::read(path, LONGEST_FILE).map_err(|_| Error::Unknown(what));
            bytes.map(|bytes| bytes.to_vec())
        };
        let text = |path: &Path, what| {
            String::from_utf8(bytes(path, what)?).map_err(|_| Error::Unknown(what))
        };
        let all = |folder: &str, file, note| -> Result<Vec<(u32, String, ByteVec)>, Error> {
            let folder = dir.join(folder);
            let numbers = numbered(&folder, file)?.into_iter().map(|number| -> Result<_, Error> {
                let signed = text(&folder.join(format!("{number}.note")), note)?;
                let wrapped = bytes(&folder.join(format!("{number}.age")), file)?;
                Ok((number, signed, ByteVec::from(wrapped)))
            });
            numbers.collect()
        };
        let epochs = all("epochs", "epoch file", "epoch note")?;
        let epochs = epochs.into_iter().map(|(number, note, file)| (EpochId(number), note, file));
        Ok(Self {
            roster: text(&dir.join("roster").join(format!("{roster}.note")), "roster")?,
            epochs: epochs.collect(),
            mailbox: all("mailbox", "mailbox key", "note of a mailbox key")?,
        })
    }
}

/// The numbers of the files `<n>.age` in a folder, ascending.
fn numbered(folder: &Path, what: &'static str) -> Result<Vec<u32>, Error> {
    let listed = std::fs::read_dir(folder).map_err(|_| Error::Unknown(what))?;
    let mut numbers: Vec<u32> = listed
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_wrapped = path.extension()? == "age";
            path.file_stem()?.to_str()?.parse().ok().filter(|_| is_wrapped)
        })
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl Desk {
    /// Every wrapped secret, and a test of the recovery key.
    pub(super) fn recovery_files(&self) -> Result<Response, Error> {
        let (version, recovery) = {
            let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
            (roster.version, roster.recovery.clone())
        };
        let files = WrappedFiles::read(&self.dir, version)?;
        let (vault, nonce) = (self.casebook.vault(), random());
        let (challenge, test) = Challenge::for_member(vault, RECOVERY, &recovery, &nonce);
        let mut drills = self.drills.0.lock().unwrap_or_else(PoisonError::into_inner);
        if drills.len() >= MAX_TESTS {
            drills.remove(0);
        }
        drills.push(Test { nonce, challenge, recovery: recovery.digest() });
        Ok(Response::ToDrill { files, test, nonce })
    }

    /// Takes the answer to a test; right, it is entered that `epochs` of them would open.
    pub(super) fn take_drill(
        &self,
        staff: StaffId,
        nonce: &[u8; 16],
        answer: &[u8; 32],
        epochs: u32,
    ) -> Result<u64, Error> {
        let test = {
            let mut drills = self.drills.0.lock().unwrap_or_else(PoisonError::into_inner);
            let at = drills.iter().position(|test| test.nonce == *nonce);
            at.map(|at| drills.remove(at))
        };
        let wrong = Error::Malformed("not what the test of the recovery key held");
        let Some(Test { challenge, recovery, .. }) = test else { return Err(wrong) };
        if !challenge.verify(answer) {
            return Err(wrong);
        }
        let entry = self.casebook.entry(Fact::RecoveryDrilled);
        let (staff, count, hash) = (Some(staff), Some(u64::from(epochs)), Some(recovery));
        self.casebook.record_fact(Entry { staff, count, hash, ..entry })
    }
}
