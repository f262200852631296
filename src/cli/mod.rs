//! The command line: one file per command family, one table that names them all.
//!
//! Text for people on standard output, or JSON with `--json`; errors on standard error, with a hint
//! and an exit code that says whose turn it is (`error`). Commands of the staff side log in through
//! `session`; those of the server's side work on the state directory. Nothing that a letter says
//! reaches a terminal un-encoded (`print`).

mod answer;
mod audit;
mod backup;
mod bench;
mod case;
mod certificate;
mod check;
mod config;
mod deadline;
mod demo;
mod doctor;
mod error;
mod forget;
mod id;
mod import;
mod init;
mod judging;
mod key;
mod keys;
mod manual;
mod masking;
mod models;
mod people;
mod pictures;
mod print;
mod queue;
mod receive;
mod recover;
mod recovery;
mod restore;
mod scanner;
mod serve;
mod session;
mod show;
mod sweep;
mod unfinished;
mod unmask;
mod who;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use error::Error;
use print::Report;

use crate::letter::Letter;
use crate::sandbox::models::CONFINED_LOOK;
use crate::{sandbox, staff};

/// Where a server's state lies unless it is said.
const STATE_DIR: &str = "/var/lib/kluis";
/// The hidden command that is a confined child: raw messages in, parsed letters out.
const CONFINED_PARSE: &str = "confined-parse";
/// The hidden command that is a confined child: pictures in, masked pixels out. The folder of the models
/// follows, if what stands on them is to be read first.
const CONFINED_MASK: &str = "confined-mask";
/// The hidden command that is a member's agent.
const AGENT: &str = "agent";

/// The mailbox that answers privacy requests, and a vault that it cannot read itself
#[derive(Parser)]
#[command(name = "kluis", bin_name = "kluis", version, arg_required_else_help = true, after_help = AFTER)]
struct Cli {
    /// Print JSON, errors too
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
To see it at work: demo
Server side: init serve import put receive check backup restore sweep doctor bench config
Your own key: key unlock lock whoami
Staff side: queue show get who people note confirm-key decide ask resume extend hold answer forget close
Keys and proof: keys audit
By itself: deadline id
For packages: completions man

Exit codes:
  0   done, and nothing is wrong
  1   it failed, or problems were found
  2   the command line or a file that it names is wrong
  65  of `kluis receive` alone, see there
  75  try later: the server does not answer, or something else is at work
  77  not permitted: a wrong key or passphrase, or a role that does not allow it";

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value a process")]
enum Command {
    Demo(demo::Demo),
    Init(init::Init),
    Serve(serve::Serve),
    Import(import::Import),
    Put(import::Put),
    Receive(receive::Receive),
    Check(check::Check),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Sweep(sweep::Sweep),
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
    Config(config::Settings),
    Key(key::Key),
    Unlock(key::Unlock),
    Lock(key::Lock),
    Whoami(key::Whoami),
    Queue(queue::Queue),
    Show(show::Show),
    Get(show::Get),
    Who(who::Who),
    People(people::People),
    Note(case::Note),
    ConfirmKey(case::ConfirmKey),
    Decide(case::Decide),
    Ask(case::Ask),
    Resume(case::Resume),
    Extend(case::Extend),
    Hold(case::Hold),
    Answer(answer::Answer),
    Forget(forget::Forget),
    Close(case::Close),
    Keys(keys::Keys),
    Audit(audit::Audit),
    Deadline(deadline::Deadline),
    Id(id::Id),
    Completions(manual::Completions),
    Man(manual::Man),
}

impl Command {
    fn run(self, json: bool) -> Result<Report, Error> {
        match self {
            Command::Demo(it) => it.run(json),
            Command::Init(it) => it.run(),
            Command::Serve(it) => it.run(json),
            Command::Import(it) => it.run(json),
            Command::Put(it) => it.run(),
            Command::Receive(it) => it.run(),
            Command::Check(it) => it.run(json),
            Command::Backup(it) => it.run(json),
            Command::Restore(it) => it.run(json),
            Command::Sweep(it) => it.run(json),
            Command::Doctor(it) => it.run(),
            Command::Bench(it) => it.run(json),
            Command::Config(it) => it.run(),
            Command::Key(it) => it.run(),
            Command::Unlock(it) => it.run(),
            Command::Lock(it) => it.run(),
            Command::Whoami(it) => it.run(),
            Command::Queue(it) => it.run(),
            Command::Show(it) => it.run(),
            Command::Get(it) => it.run(json),
            Command::Who(it) => it.run(),
            Command::People(it) => it.run(),
            Command::Note(it) => it.run(),
            Command::ConfirmKey(it) => it.run(json),
            Command::Decide(it) => it.run(),
            Command::Ask(it) => it.run(),
            Command::Resume(it) => it.run(),
            Command::Extend(it) => it.run(),
            Command::Hold(it) => it.run(),
            Command::Answer(it) => it.run(),
            Command::Forget(it) => it.run(json),
            Command::Close(it) => it.run(),
            Command::Keys(it) => it.run(json),
            Command::Audit(it) => it.run(),
            Command::Deadline(it) => it.run(),
            Command::Id(it) => it.run(),
            Command::Completions(it) => it.run(),
            Command::Man(it) => it.run(),
        }
    }
}

/// Runs the program with these arguments, the first of which is its own name; gives the exit code.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(code) = hidden(&arguments) {
        return code;
    }
    let wants_json = arguments.iter().any(|argument| argument == "--json");
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let code = unparsed(&error, wants_json);
            // A mail server sends a letter back for another code; whoever wrote the command line mends
            // it. What cannot be parsed has no command: the word decides, wherever it stands.
            let is_piped = arguments.iter().skip(1).any(|word| word == "receive");
            return if is_piped && code == error::USAGE { error::LATER } else { code };
        }
    };
    let outcome = cli.command.run(cli.json).and_then(|report| {
        report.print(cli.json)?;
        Ok(report.problems)
    });
    crate::lab::linger();
    match outcome {
        Ok(false) => error::OK,
        Ok(true) => error::FAILED,
        Err(error) => fail(&error, cli.json),
    }
}

/// Commands that this program gives to itself. They come before the command line is looked at: a
/// confined child does nothing else first.
fn hidden(arguments: &[OsString]) -> Option<u8> {
    match arguments.get(1)?.to_str()? {
        CONFINED_PARSE => sandbox::child_main(parse),
        CONFINED_LOOK => sandbox::models::child(Path::new(arguments.get(2)?)),
        sandbox::heif::CONFINED_CONVERT => sandbox::heif::child(Path::new(arguments.get(2)?)),
        #[cfg(kluis_lab)]
        "confined-convert-probe" => {
            sandbox::heif::probe(arguments.get(2)?.to_str()?, arguments.get(3..)?)
        }
        CONFINED_MASK => masking::child(arguments.get(2).map(Path::new)),
        #[cfg(kluis_lab)]
        "confined-probe" => {
            let rest = arguments.iter().skip(2);
            sandbox::probe::child_main(rest.map(|word| word.to_string_lossy().into_owned()))
        }
        AGENT => {
            // Whoever started it is told through the pipe, and by nothing else. Whoever waits for
            // a descriptor that it leaked must not wait as long as the agent lives.
            // Not through the buffer of standard input, which would keep the passphrase.
            let ended = sandbox::close_inherited()
                .and_then(|()| std::io::stdin().as_fd().try_clone_to_owned())
                .and_then(|input| staff::agent::child(File::from(input), std::io::stdout()));
            Some(if ended.is_ok() { error::OK } else { error::FAILED })
        }
        _ => None,
    }
}

/// A raw message in, its `Letter` as CBOR out.
fn parse(raw: &[u8]) -> Vec<u8> {
    #[cfg(kluis_lab)]
    sandbox::probe::poison(raw);
    minicbor::to_vec(Letter::parse(raw)).expect("memory takes what is written to it")
}

/// Help and version are no errors; anything else is one of usage.
fn unparsed(error: &clap::Error, json: bool) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let shown = print::write_out(error.render().to_string().as_bytes());
            return shown.map_or_else(|error| fail(&error, json), |()| error::OK);
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !json => {
            let _ = std::io::stderr().write_all(error.render().to_string().as_bytes());
            return error::USAGE;
        }
        _ => {}
    }
    let rendered = error.render().to_string();
    let (text, usage) = rendered.split_once("\n\nUsage: ").unwrap_or((&rendered, ""));
    let text = text.trim_start_matches("error: ").trim();
    let command = usage.lines().next().map(command_of).unwrap_or_default();
    fail(&Error::usage(text).hint(format!("`kluis {command}--help` explains it")), json)
}

/// The words of a command in its line of usage, without options and values.
fn command_of(usage: &str) -> String {
    let words = usage.split_whitespace().skip(1);
    let names = words.take_while(|word| {
        word.bytes().all(|c| c.is_ascii_lowercase() || c == b'-') && !word.starts_with('-')
    });
    names.fold(String::new(), |command, word| command + word + " ")
}

fn fail(error: &Error, json: bool) -> u8 {
    let text = if json { error.to_json() + "\n" } else { error.to_text() };
    // If nobody listens, the exit code still says it.
    let _ = std::io::stderr().write_all(text.as_bytes());
    error.code
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_command_explains_itself() {
        let command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            let name = sub.get_name();
            assert!(sub.get_about().is_some(), "{name} says what it does");
            assert!(AFTER.contains(name), "{name} stands in the overview");
            let leaves: Vec<_> = sub.get_subcommands().collect();
            let leaves = if leaves.is_empty() { vec![sub] } else { leaves };
            for leaf in leaves {
                let example = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(example.contains(&format!("kluis {name}")), "{name} shows an example");
            }
        }
    }

    #[test]
    fn the_command_in_a_line_of_usage_is_found() {
        assert_eq!(command_of("kluis key new [OPTIONS] <NAME>"), "key new ");
        assert_eq!(command_of("kluis <COMMAND>"), "");
        assert_eq!(command_of("kluis show --raw <LETTER> <CASE>"), "show ");
    }
}
