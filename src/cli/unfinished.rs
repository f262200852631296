//! A file that gets its name when all of it was written and checked. Until then it has none, so that
//! nothing of it is left if this program is killed; where a file system knows no such file, one of ours.

use std::fs::{File, OpenOptions};
use std::io::Seek as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, open, rename, renameat_with};
use rustix::io::Errno;

use super::Error;
use crate::ids::ItemId;

/// Where the open files of this process are.
const OPEN_FILES: &str = "/proc/self/fd";

/// A file without its name.
pub(super) struct Unfinished {
    /// What is written into.
    pub(super) file: File,
    /// The name that it has meanwhile, if it needs one.
    path: Option<PathBuf>,
}

impl Unfinished {
    /// In the folder of the wanted name.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn new(wanted: &Path) -> Result<Self, Error> {
        let folder = wanted.parent().filter(|folder| !folder.as_os_str().is_empty());
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let nameless = open(folder.unwrap_or(Path::new(".")), flags, Mode::RUSR | Mode::WUSR);
        match nameless {
            Ok(file) if Path::new(OPEN_FILES).exists() => {
                Ok(Self { file: file.into(), path: None })
            }
            _ => Self::named(wanted),
        }
    }

    fn named(wanted: &Path) -> Result<Self, Error> {
        let mark: String = ItemId::random().to_string();
        let path = wanted.with_file_name(format!(".kluis-get-{mark}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| Error::io(wanted.display(), &error))?;
        Ok(Self { file, path: Some(path) })
    }

    /// The same in a file with a name of ours.
    fn copied(&self, wanted: &Path) -> Result<Self, Error> {
        let mut named = Self::named(wanted)?;
        let mut whole = &self.file;
        let copied = whole.rewind().and_then(|()| std::io::copy(&mut whole, &mut named.file));
        copied.map_err(|error| Error::io(wanted.display(), &error))?;
        Ok(named)
    }

    /// Gives it its name, which must be free.
    ///
    /// # Errors
    /// It is not, or the file system does not do it.
    pub(super) fn finish(self, wanted: &Path) -> Result<(), Error> {
        let named = match &self.path {
            None => {
                let open = format!("{OPEN_FILES}/{}", self.file.as_raw_fd());
                match linkat(CWD, open, CWD, wanted, AtFlags::SYMLINK_FOLLOW) {
                    // A file system that knows such files and cannot name them.
                    Err(errno) if errno != Errno::EXIST => {
                        return self.copied(wanted)?.finish(wanted);
                    }
                    linked => linked,
                }
            }
            Some(path) => match renameat_with(CWD, path, CWD, wanted, RenameFlags::NOREPLACE) {
                // A file system that cannot do both at once.
                Err(Errno::INVAL | Errno::NOSYS) if wanted.exists() => Err(Errno::EXIST),
                Err(Errno::INVAL | Errno::NOSYS) => rename(path, wanted),
                named => named,
            },
        };
        named.map_err(|errno| Error::io(wanted.display(), &errno.into()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_has_a_name_once_it_is_finished_and_takes_nobody_elses() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let there = || std::fs::read_dir(folder.path()).expect("lists").count();
        let wanted = folder.path().join("copy.pdf");
        for make in [Unfinished::new, Unfinished::named] {
            let mut file = make(&wanted).expect("is made");
            file.file.write_all(b"half").expect("is written");
            drop(file);
            assert_eq!(there(), 0, "nothing is left of what was not finished");
            let mut file = make(&wanted).expect("is made");
            file.file.write_all(b"whole").expect("is written");
            file.finish(&wanted).expect("is named");
            assert_eq!(std::fs::read(&wanted).expect("is there"), b"whole");
            let again = make(&wanted).expect("is made");
            assert!(again.finish(&wanted).is_err(), "nothing is overwritten");
            assert_eq!(std::fs::read(&wanted).expect("is there"), b"whole");
            std::fs::remove_file(&wanted).expect("is removed");
            assert_eq!(there(), 0);
        }
        // What cannot be named is copied into what can.
        let mut file = Unfinished::new(&wanted).expect("is made");
        file.file.write_all(b"whole").expect("is written");
        file.copied(&wanted).expect("is copied").finish(&wanted).expect("is named");
        drop(file);
        assert_eq!(std::fs::read(&wanted).expect("is there"), b"whole");
        std::fs::remove_file(&wanted).expect("is removed");
        assert_eq!(there(), 0);
        // Without a name nothing is to be seen meanwhile, whoever kills this program.
        let unfinished = Unfinished::new(&wanted).expect("is made");
        assert_eq!(there(), usize::from(unfinished.path.is_some()));
    }
}
