//! Where a member's own files lie: keys and profile, the last checkpoint seen, the agent's socket.
//!
//! Folders are the XDG ones, `kluis` below each, mode 0700; `KLUIS_HOME` puts everything into one
//! folder instead, which is how a demo or a test leaves the real one alone.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::keys::{file, roster};

/// The folders of one member on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    state: PathBuf,
    runtime: PathBuf,
}

/// Why the member's files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither `HOME` nor `KLUIS_HOME` is set.
    #[error("neither HOME nor KLUIS_HOME names a folder")]
    Nowhere,
    /// A folder belongs to somebody else, or others may look into it.
    #[error("{0} must be yours alone (mode 0700)")]
    Open(PathBuf),
    /// The profile does not parse; the text says where.
    #[error("{path}: {problem}")]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and in which line.
        problem: String,
    },
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The longest profile and the longest checkpoint that is read, in bytes.
const LONGEST: usize = 64 << 10;

impl Home {
    /// The folders that the environment names. Creates nothing.
    ///
    /// # Errors
    /// [`HomeError::Nowhere`].
    pub fn find() -> Result<Self, HomeError> {
        Self::from_env(|name| env::var_os(name))
    }

    fn from_env(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, HomeError> {
        // A relative path there means nothing (XDG Base Directory Specification).
        let folder = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(one) = variable("KLUIS_HOME").filter(|one| !one.is_empty()) {
            let one = std::path::absolute(one).map_err(|_| HomeError::Nowhere)?;
            return Ok(Self::at(&one));
        }
        let below_home =
            |rest: &str| folder("HOME").map(|home| home.join(rest)).ok_or(HomeError::Nowhere);
        let config = folder("XDG_CONFIG_HOME").map_or_else(|| below_home(".config"), Ok)?;
        let state = folder("XDG_STATE_HOME").map_or_else(|| below_home(".local/state"), Ok)?;
        let runtime = folder("XDG_RUNTIME_DIR").unwrap_or_else(|| state.clone());
        let [config, state, runtime] = [config, state, runtime].map(|path| path.join("kluis"));
        Ok(Self { config, state, runtime })
    }

    /// Everything in one folder.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self { config: folder.clone(), state: folder.clone(), runtime: folder }
    }

    /// Makes the folders that are not there, mode 0700, and looks at those that are.
    ///
    /// # Errors
    /// [`HomeError::Open`] if one is not this user's alone.
    pub fn create(&self) -> Result<(), HomeError> {
        [&self.config, &self.state, &self.runtime].into_iter().try_for_each(|path| private(path))
    }

    /// The member's key, an age identity under a passphrase.
    #[must_use]
    pub fn staff_key(&self) -> PathBuf {
        self.config.join("staff.key")
    }

    /// The admin key, if this member is the admin.
    #[must_use]
    pub fn admin_key(&self) -> PathBuf {
        self.config.join("admin.key")
    }

    /// The key that the cabinet is backed up to, if this member holds one.
    #[must_use]
    pub fn backup_key(&self) -> PathBuf {
        self.config.join("backup.key")
    }

    /// Which server, and as whom.
    #[must_use]
    pub fn profile(&self) -> PathBuf {
        self.config.join("profile.toml")
    }

    /// The agent's socket.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.runtime.join("agent.sock")
    }

    /// The folder of the checkpoints seen last, one a vault (`seen`).
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.state.join("seen")
    }

    fn checkpoint(&self) -> PathBuf {
        self.state.join("checkpoint")
    }

    /// The last checkpoint this member saw; nothing is opened from a server that cannot prove that
    /// it has grown from it.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn last_checkpoint(&self) -> Result<Option<String>, HomeError> {
        read(&self.checkpoint())
    }

    /// Keeps the last checkpoint seen.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_checkpoint(&self, note: &str) -> Result<(), HomeError> {
        let path = self.checkpoint();
        file::replace(&path, note.as_bytes()).map_err(|error| HomeError::Io { path, error })
    }
}

/// Which server a member speaks to, and as whom: `profile.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The server's socket, here or forwarded by ssh.
    pub socket: PathBuf,
    /// The member's name in the roster.
    pub member: String,
    /// The member's key, if it is not `staff.key` beside this file: an `ssh-ed25519` key, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Minutes that `kluis unlock` keeps the key, 1 to 480.
    #[serde(default = "a_quarter")]
    pub unlock_minutes: u16,
}

fn a_quarter() -> u16 {
    15
}

/// The longest time a key stays unlocked: a working day.
const LONGEST_UNLOCK: u16 = 480;

impl Profile {
    /// A profile with the usual settings.
    #[must_use]
    pub fn new(socket: &Path, member: &str) -> Self {
        let (socket, member) = (socket.to_owned(), member.to_owned());
        Self { socket, member, key: None, unlock_minutes: a_quarter() }
    }

    /// Reads the profile; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read or does not parse.
    pub fn load(home: &Home) -> Result<Option<Self>, HomeError> {
        let path = home.profile();
        let Some(text) = read(&path)? else { return Ok(None) };
        Self::parse(&text).map(Some).map_err(|problem| HomeError::Profile { path, problem })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let profile: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
            format!("line {line}: {}", error.message())
        })?;
        if !roster::is_name(&profile.member) {
            return Err("member: not a member's name".to_owned());
        }
        if !(1..=LONGEST_UNLOCK).contains(&profile.unlock_minutes) {
            return Err(format!("unlock_minutes: 1 to {LONGEST_UNLOCK}"));
        }
        Ok(profile)
    }

    /// Writes the profile, in the place of the one before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, home: &Home) -> Result<(), HomeError> {
        let path = home.profile();
        let written = toml::to_string(self)
            .map_err(io::Error::other)
            .and_then(|text| file::replace(&path, text.as_bytes()));
        written.map_err(|error| HomeError::Io { path, error })
    }

    /// Where the member's key lies.
    #[must_use]
    pub fn key_file(&self, home: &Home) -> PathBuf {
        self.key.clone().unwrap_or_else(|| home.staff_key())
    }

    /// How long `kluis unlock` keeps the key.
    #[must_use]
    pub fn unlock_time(&self) -> Duration {
        Duration::from_secs(u64::from(self.unlock_minutes) * 60)
    }
}

fn read(path: &Path) -> Result<Option<String>, HomeError> {
    let io = |error| HomeError::Io { path: path.to_owned(), error };
    match file::read(path, LONGEST) {
        Ok(bytes) => String::from_utf8(bytes.to_vec())
            .map(Some)
            .map_err(|_| io(io::ErrorKind::InvalidData.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(error)),
    }
}

/// Makes a folder of this user's alone, or finds that it is one.
pub(super) fn private(path: &Path) -> Result<(), HomeError> {
    let io = |error| HomeError::Io { path: path.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
    let found = fs::metadata(path).map_err(io)?;
    if found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(HomeError::Open(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_environment_says_where_and_relative_paths_say_nothing() {
        let find = |variables: &[(&str, &str)]| {
            Home::from_env(|name| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| OsString::from(value))
            })
        };
        let home = find(&[("HOME", "/h"), ("XDG_STATE_HOME", "odd")]).expect("found");
        assert_eq!(home.staff_key(), Path::new("/h/.config/kluis/staff.key"));
        assert_eq!(home.checkpoint(), Path::new("/h/.local/state/kluis/checkpoint"));
        assert_eq!(home.agent_socket(), Path::new("/h/.local/state/kluis/agent.sock"));
        let home = find(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("XDG_RUNTIME_DIR", "/r")])
            .expect("found");
        assert_eq!(home.profile(), Path::new("/c/kluis/profile.toml"));
        assert_eq!(home.agent_socket(), Path::new("/r/kluis/agent.sock"));
        let home = find(&[("KLUIS_HOME", "/one"), ("XDG_RUNTIME_DIR", "/r")]).expect("found");
        assert_eq!(home.admin_key(), Path::new("/one/admin.key"));
        assert_eq!(home.agent_socket(), Path::new("/one/agent.sock"));
        assert!(matches!(find(&[("KLUIS_HOME", "")]), Err(HomeError::Nowhere)));
    }

    #[test]
    fn folders_are_made_private_and_an_open_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::at(&folder.path().join("a/b"));
        home.create().expect("made");
        let path = folder.path().join("a/b");
        assert_eq!(fs::metadata(&path).expect("is there").mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).expect("opened");
        assert!(matches!(home.create(), Err(HomeError::Open(open)) if open == path));
    }

    #[test]
    fn a_profile_and_a_checkpoint_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::at(folder.path());
        assert!(Profile::load(&home).expect("no error").is_none());
        assert_eq!(home.last_checkpoint().expect("no error"), None);
        let mut profile = Profile::new(Path::new("/srv/kluis/kluis.sock"), "lotte");
        profile.save(&home).expect("saved");
        profile.key = Some("/h/.ssh/id_ed25519".into());
        profile.save(&home).expect("saved again");
        assert_eq!(Profile::load(&home).expect("reads"), Some(profile.clone()));
        assert_eq!(profile.key_file(&home), Path::new("/h/.ssh/id_ed25519"));
        assert_eq!(profile.unlock_time(), Duration::from_secs(900));
        home.keep_checkpoint("one\n").expect("kept");
        home.keep_checkpoint("two\n").expect("kept");
        assert_eq!(home.last_checkpoint().expect("reads").as_deref(), Some("two\n"));
    }

    #[test]
    fn a_wrong_profile_is_refused_with_its_line() {
        let good = "socket = \"/s\"\nmember = \"lotte\"\n";
        assert!(Profile::parse(good).is_ok());
        for (text, wanted) in [
            (format!("{good}unlock = 3\n"), "line 3: unknown field"),
            (format!("{good}unlock_minutes = 0\n"), "unlock_minutes"),
            (format!("{good}unlock_minutes = 481\n"), "unlock_minutes"),
            ("socket = \"/s\"\nmember = \"Lotte!\"\n".to_owned(), "member"),
            ("socket = \"/s\"\nmember = 3\n".to_owned(), "line 2"),
        ] {
            let problem = Profile::parse(&text).expect_err("refused");
            assert!(problem.contains(wanted), "{problem}");
        }
    }
}
