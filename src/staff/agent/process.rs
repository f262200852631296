//! Starts the agent as a process of its own, and is that process.
//!
//! `kluis unlock` runs its own program again with the one argument `agent`. All it must know,
//! the passphrase among it, goes through a pipe: nothing stands in arguments or the environment.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::wire::{self, Start, Started};
use super::{Agent, Error};
use crate::keys::Passphrase;
use crate::keys::staff::StaffKey;
use crate::secret::{clear_stack, harden_process};
use crate::staff::home::HomeError;

/// What an agent is started with.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Where it listens.
    pub socket: &'a Path,
    /// The member's key file.
    pub key: &'a Path,
    /// The member's name.
    pub member: &'a str,
    /// How long it lives, in whole seconds.
    pub life: Duration,
}

/// An agent's first word in the list of processes, whatever it was started by.
const NAME: &str = "kluis";
/// The hidden subcommand.
const SUBCOMMAND: &str = "agent";

/// Starts an agent; returns when it listens, or says why it does not. `program` is this program.
///
/// # Errors
/// [`Error::Unlock`], or [`Error::Unlocked`] if one runs already.
pub fn spawn(program: &Path, plan: &Plan<'_>, passphrase: &Passphrase) -> Result<(), Error> {
    let (socket, key) = (std::path::absolute(plan.socket)?, std::path::absolute(plan.key)?);
    let mut process = Command::new(program)
        .arg0(NAME)
        .arg(SUBCOMMAND)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let start = Start {
        socket: socket.as_os_str().as_bytes(),
        key: key.as_os_str().as_bytes(),
        member: plan.member,
        seconds: plan.life.as_secs(),
        passphrase: passphrase.expose(),
    };
    let told = process.stdin.take().ok_or(Error::Malformed).and_then(|mut pipe| {
        wire::write(&mut pipe, &start)?;
        Ok(())
    });
    let heard = told.and_then(|()| {
        let mut pipe = process.stdout.take().ok_or(Error::Malformed)?;
        let frame = wire::read(&mut pipe).map_err(|_| Error::Malformed)?;
        minicbor::decode(&frame).map_err(|_| Error::Malformed)
    });
    let failure = match heard {
        Ok(Started::Ready) => return Ok(()),
        Ok(Started::Refused(error)) => error.into(),
        Ok(Started::Occupied) => Error::Unlocked,
        Ok(Started::Open) => {
            HomeError::Open(socket.parent().unwrap_or(Path::new("/")).to_owned()).into()
        }
        Ok(Started::NoSocket(number)) => {
            number.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error).into()
        }
        Err(error) => error,
    };
    // An agent that is not ready ends; it is waited for, so that none is left behind.
    let _ = process.kill();
    process.wait()?;
    Err(failure)
}

/// Is the agent: what the hidden subcommand runs. `input` and `output` are the standard ones.
///
/// Reports once whether it is ready, closes `output`, and returns when the key is locked again.
///
/// # Errors
/// The process could not be closed to onlookers, or nobody told it what to do.
pub fn child(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    harden_process()?;
    // For whoever lists processes: the kernel would call it by the last part of a path, `exe`.
    let _ = rustix::thread::set_name(c"kluis");
    // A session of its own: the terminal's end is not the agent's. It may be one already.
    let _ = rustix::process::setsid();
    let (started, life) = {
        let frame = wire::read(&mut input)?;
        let start: Start<'_> =
            minicbor::decode(&frame).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        (begin(&start), Duration::from_secs(start.seconds))
    };
    drop(input);
    clear_stack();
    let (agent, key, member) = match started {
        Ok(begun) => begun,
        Err(started) => return wire::write(&mut output, &started),
    };
    wire::write(&mut output, &Started::Ready)?;
    drop(output);
    agent.serve(&key, &member, life)
}

fn begin(start: &Start<'_>) -> Result<(Agent, StaffKey, String), Started> {
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    // The socket first: an agent that runs is noticed before a second of work is spent.
    let agent = Agent::listen(path(start.socket)).map_err(|error| match error {
        Error::Unlocked => Started::Occupied,
        Error::Home(HomeError::Open(_)) => Started::Open,
        Error::Io(error) | Error::Home(HomeError::Io { error, .. }) => {
            Started::NoSocket(error.raw_os_error())
        }
        _ => Started::NoSocket(None),
    })?;
    let passphrase = Passphrase::new(start.passphrase.to_owned());
    let key = StaffKey::unlock(path(start.key), &passphrase).map_err(Started::Refused)?;
    Ok((agent, key, start.member.to_owned()))
}
