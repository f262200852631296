//! What lies under a path: mailboxes, mails and documents, one after the other.
//!
//! A path that was given may be a symbolic link; inside a folder none is followed, and whatever is
//! neither file nor folder is left out and said. Names are bytes and stay bytes.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::from_line;
use super::mbox::Dialect;

/// What a path is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mailbox in one file; the dialect is told from the file if it is not said.
    Mbox(Option<Dialect>),
    /// A mailbox of one file a mail: folders `cur` and `new`, and more of them in `.Name`.
    Maildir,
    /// One mail.
    Eml,
    /// Documents: each file is one, whatever its name says.
    Documents,
}

/// Something to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) what: What,
    /// Length in bytes when it was found.
    pub(super) length: u64,
    /// The path was given by hand, so its last part may be a symbolic link.
    pub(super) is_given: bool,
    /// When the file was written last, or a mail was delivered into it; in seconds since 1970.
    pub(super) seconds: Option<u64>,
}

/// What one file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Mbox(Option<Dialect>),
    Mail,
    /// Its name from the folder that was given on, with slashes.
    Document(Vec<u8>),
}

/// What was not looked into, and why.
pub(super) struct Passed {
    pub(super) path: PathBuf,
    pub(super) why: Why,
}

/// Why something was passed over.
pub(super) enum Why {
    /// A symbolic link, a device, a pipe, a socket.
    NoFile,
    /// The system does not let us.
    Unreadable(io::Error),
}

/// What a walk calls for each thing it comes to; it goes on until told to stop.
pub(super) type Each<'a> = dyn FnMut(Result<Found, Passed>) -> ControlFlow<()> + 'a;

/// Calls `each` for everything under `path`, folders in the order of names.
pub(super) fn walk(path: &Path, kind: Option<Kind>, each: &mut Each<'_>) -> ControlFlow<()> {
    let unreadable = |error| Passed { path: path.to_owned(), why: Why::Unreadable(error) };
    let metadata = match std::fs::metadata(path) {
        Err(error) => return each(Err(unreadable(error))),
        Ok(metadata) => metadata,
    };
    let last = path.file_name().map_or(&[][..], OsStr::as_bytes);
    match (kind, metadata.is_dir()) {
        (Some(Kind::Mbox(_) | Kind::Eml), true) => {
            each(Err(unreadable(io::ErrorKind::IsADirectory.into())))
        }
        (Some(Kind::Maildir), false) => each(Err(unreadable(io::ErrorKind::NotADirectory.into()))),
        (_, false) => file(Given::ByHand, path, last, kind, &metadata, each),
        (Some(Kind::Maildir), true) => maildir(path, each),
        (_, true) => folder(path, kind, each),
    }
}

/// Everything in a folder and below. `kind` is none, or documents.
fn folder(top: &Path, kind: Option<Kind>, each: &mut Each<'_>) -> ControlFlow<()> {
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        if kind.is_none() && is_maildir(&path) {
            maildir(&path, each)?;
            continue;
        }
        let entries = match listed(&path) {
            Ok(entries) => entries,
            Err(error) => {
                each(Err(Passed { path, why: Why::Unreadable(error) }))?;
                continue;
            }
        };
        let mut folders = Vec::new();
        for path in entries {
            match std::fs::symlink_metadata(&path) {
                Err(error) => each(Err(Passed { path, why: Why::Unreadable(error) }))?,
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(metadata) => {
                    let name = path.strip_prefix(top).unwrap_or(&path).as_os_str().as_bytes();
                    file(Given::InAFolder, &path, name, kind, &metadata, each)?;
                }
            }
        }
        waiting.extend(folders.into_iter().rev());
    }
    ControlFlow::Continue(())
}

/// How a file came into view.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    ByHand,
    InAFolder,
}

fn file(
    given: Given,
    path: &Path,
    name: &[u8],
    kind: Option<Kind>,
    metadata: &Metadata,
    each: &mut Each<'_>,
) -> ControlFlow<()> {
    if !metadata.is_file() {
        return each(Err(Passed { path: path.to_owned(), why: Why::NoFile }));
    }
    let what = match kind {
        Some(Kind::Mbox(dialect)) => What::Mbox(dialect),
        Some(Kind::Eml) => What::Mail,
        None if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("eml")) => {
            What::Mail
        }
        None if is_mbox(path, given == Given::ByHand) => What::Mbox(None),
        _ => What::Document(name.to_vec()),
    };
    let seconds = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    each(Ok(Found {
        path: path.to_owned(),
        what,
        length: metadata.len(),
        is_given: given == Given::ByHand,
        seconds: seconds.map(|since| since.as_secs()),
    }))
}

/// The mails of a Maildir, then those of its subfolders (Maildir++).
fn maildir(top: &Path, each: &mut Each<'_>) -> ControlFlow<()> {
    for part in ["cur", "new"] {
        let part = top.join(part);
        match listed(&part) {
            Err(error) => each(Err(Passed { path: part, why: Why::Unreadable(error) }))?,
            Ok(entries) => entries.iter().try_for_each(|path| mail(path, each))?,
        }
    }
    let subfolders = match listed(top) {
        Ok(subfolders) => subfolders,
        Err(error) => {
            return each(Err(Passed { path: top.to_owned(), why: Why::Unreadable(error) }));
        }
    };
    for path in subfolders {
        let name = path.file_name().map_or(&[][..], OsStr::as_bytes);
        let is_folder = std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if name.starts_with(b".") && is_folder && is_maildir(&path) {
            maildir(&path, each)?;
        }
    }
    ControlFlow::Continue(())
}

/// One file of a Maildir. Its name begins with the second of its delivery; flags say nothing of it.
fn mail(path: &Path, each: &mut Each<'_>) -> ControlFlow<()> {
    let name = path.file_name().map_or(&[][..], OsStr::as_bytes);
    if name.starts_with(b".") {
        return ControlFlow::Continue(());
    }
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) => {
            return each(Err(Passed { path: path.to_owned(), why: Why::Unreadable(error) }));
        }
        Ok(metadata) => metadata,
    };
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let delivered = std::str::from_utf8(&name[..digits]).ok().and_then(|text| text.parse().ok());
    let delivered = delivered.filter(|_| name.get(digits) == Some(&b'.') && digits >= DIGITS);
    file(Given::InAFolder, path, name, Some(Kind::Eml), &metadata, &mut |found| {
        each(found.map(|found| Found { seconds: delivered.or(found.seconds), ..found }))
    })
}

/// Digits of a second in this age of the world: since September 2001.
const DIGITS: usize = 10;

/// The entries of a folder in the order of their names.
fn listed(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort_unstable();
    Ok(entries)
}

fn is_maildir(path: &Path) -> bool {
    let is_folder =
        |name| std::fs::symlink_metadata(path.join(name)).is_ok_and(|metadata| metadata.is_dir());
    is_folder("cur") && is_folder("new")
}

/// Whether a file begins with a `From ` line that says a date, and a header field.
fn is_mbox(path: &Path, is_given: bool) -> bool {
    let mut begin = Vec::with_capacity(2 * from_line::LONGEST);
    let most = 2 * from_line::LONGEST as u64;
    let read = open(path, is_given).and_then(|file| file.take(most).read_to_end(&mut begin));
    if read.is_err() || !begin.starts_with(b"From ") {
        return false;
    }
    let mut lines = begin.split(|&byte| byte == b'\n');
    let first = lines.next().and_then(from_line::parse);
    let second = lines.next().unwrap_or_default();
    let field = second.split(|&byte| byte == b':').next().unwrap_or_default();
    let is_field = field.len() < second.len() && field.iter().all(u8::is_ascii_graphic);
    first.is_some_and(|line| line.seconds.is_some()) && (is_field || second.trim_ascii().is_empty())
}

/// Opens a file to read, and nothing that became something else since it was found.
pub(super) fn open(path: &Path, is_given: bool) -> io::Result<File> {
    // A pipe would wait for its other end.
    let mut flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    flags.set(rustix::fs::OFlags::NOFOLLOW, !is_given);
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
