//! Every fault at every call: one scripted day, and each of its calls fails once, or for ever, in
//! each way it can; then the machine starts again on a disk without fault.
//!
//! What a caller need not notice (a signal, a part of a write) it must not notice. A fault that
//! passes refuses one thing at most, or stops the store; it never turns into a wrong answer.

use super::day::Day;
use super::disk::{Call, Crash, Fault, Wrong};
use super::model::{Stop, hold};
use crate::store::Store;
use crate::store::frame::SECTOR;

/// The seed of the scripted day.
const SEED: u64 = 20_261_129;

#[derive(Clone, Copy, Debug)]
enum Step {
    Letter,
    Letters,
    Look,
    Forget,
    Rotate,
    Checkpoint,
    Verify,
    /// Ends the process as it should end; the next step starts another.
    Close,
    /// Kills the process.
    Kill,
}

const SCRIPT: &[Step] = &[
    Step::Letter,
    Step::Look,
    Step::Letters,
    Step::Checkpoint,
    Step::Forget,
    Step::Letter,
    Step::Rotate,
    Step::Letter,
    Step::Close,
    Step::Forget,
    Step::Checkpoint,
    Step::Letter,
    Step::Kill,
    Step::Letter,
    Step::Rotate,
    Step::Forget,
    Step::Close,
    Step::Verify,
];

/// Goes through the script with a fault, crashes, recovers. Gives the calls it made.
fn live(fault: Option<Fault>, crash: Crash) -> Result<Vec<Call>, Stop> {
    let mut day = Day::new(SEED);
    day.disk.plan(fault);
    let founded = day.found();
    if day.excused(founded)?.is_none() {
        day.crash(crash);
        // Nobody was told that there is a vault: it may open, or say why not.
        drop(day.open());
        return Ok(day.disk.trace());
    }
    go(&mut day, fault)?;
    let trace = day.disk.trace();
    day.crash(crash);
    day.end()?;
    Ok(trace)
}

fn go(day: &mut Day, fault: Option<Fault>) -> Result<(), Stop> {
    let mut refused = day.disk.struck_hard();
    let mut store: Option<Store> = None;
    for step in SCRIPT {
        if store.is_none() {
            let opened = day.reopen();
            store = day.excused(opened)?;
        }
        if store.is_none() {
            // Another process tries again.
            let is_passed = !fault.is_some_and(|fault| fault.for_ever) && !day.disk.is_gone();
            hold!(!refused || !is_passed, "a fault that had passed kept the vault shut");
            refused = true;
            let opened = day.reopen();
            store = day.excused(opened)?;
            hold!(store.is_some() || !is_passed, "a fault that had passed kept the vault shut");
        }
        let Some(open) = &store else { return Ok(()) };
        let done = match step {
            Step::Letter => day.letter(open),
            Step::Letters => day.letters(open),
            Step::Look => day.look(open),
            Step::Forget => day.forget(open),
            Step::Rotate => day.rotate(open),
            Step::Checkpoint => day.checkpoint(open),
            Step::Verify => day.verify(open),
            Step::Close => {
                store = None;
                continue;
            }
            Step::Kill => {
                day.crash(Crash::Process);
                store = None;
                continue;
            }
        };
        if day.excused(done)?.is_none() {
            let was_once = fault.is_some_and(|fault| !fault.for_ever);
            hold!(!(refused && was_once), "{step:?} was refused by a fault that had passed");
            refused = true;
        }
        hold!(open.is_dead() || !day.disk.lost(), "a barrier failed, and the store goes on");
        if open.is_dead() {
            return day.after_death(open);
        }
        if day.disk.is_gone() {
            return Ok(());
        }
    }
    Ok(())
}

/// What is left by the crash that follows.
fn crashes(wrong: Wrong, at: u64) -> Vec<Crash> {
    let any = Crash::ALL[(at % Crash::ALL.len() as u64) as usize];
    match wrong {
        Wrong::Killed => vec![Crash::Process, Crash::Nothing, Crash::Pieces(SECTOR), any],
        _ => vec![any],
    }
}

#[test]
fn every_fault_at_every_call_is_survived() {
    let calls = match live(None, Crash::Nothing) {
        Ok(calls) => calls,
        Err(stop) => panic!("without a fault: {stop:?}"),
    };
    let (mut runs, mut bad) = (0, Vec::new());
    for (at, call) in (1..).zip(&calls) {
        for wrong in Wrong::ALL.into_iter().filter(|wrong| wrong.befalls(*call)) {
            for for_ever in [false, true].into_iter().filter(|ever| !ever || wrong != Wrong::Killed)
            {
                for crash in crashes(wrong, at) {
                    runs += 1;
                    let fault = Fault { at, wrong, for_ever };
                    let lived = std::panic::catch_unwind(|| live(Some(fault), crash));
                    let what = match lived {
                        Ok(Ok(_)) => continue,
                        Ok(Err(stop)) => format!("{stop:?}"),
                        Err(_) => "a panic".to_owned(),
                    };
                    println!("{call:?} {fault:?} {crash:?}: {what}");
                    bad.push(fault);
                }
            }
        }
    }
    println!("{} calls, {runs} runs with a fault", calls.len());
    assert!(calls.len() > 400 && runs > 4000, "{} calls, {runs} runs", calls.len());
    assert!(bad.is_empty(), "{} of {runs} runs went wrong", bad.len());
}
