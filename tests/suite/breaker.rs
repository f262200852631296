//! When so many notices go out that something is wrong, no more do for a day, whatever is started anew,
//! and `kluis keys status` says so.

use kluis::case::notice::{ALL_AN_HOUR, Silence};
use kluis::casebook::Filter;
use kluis::ledger::entry::Fact;
use serde_json::{Value, json};

use crate::keyring::{kluis, program};
use crate::notices::{START, believe, letter_from, wait_for};
use crate::way::{count, deliver_from, runtime};
use crate::world::{Server, World};

const DAY: u64 = 24 * 60 * 60;

/// What the status says of notices: its line, and in JSON.
fn status(world: &World) -> (Option<String>, Value) {
    let text = program(world, "anna", &["keys", "status"]).output().expect("kluis runs");
    assert!(text.status.success(), "{}", String::from_utf8_lossy(&text.stderr));
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    let line = text.lines().find_map(|line| line.strip_prefix("notices  ").map(str::trim));
    let output = kluis(world, "anna", &["keys", "status"]);
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (line.map(str::to_owned), all["notices_stopped_until"].clone())
}

/// Letters number `from` to `to`, each from a domain of its own that stands for it.
fn write(server: &Server, from: usize, to: usize) {
    for n in from..to {
        let address = format!("lotte@d{n}.example");
        let raw = letter_from(&address, &n.to_string(), "", "Dag");
        assert_eq!(deliver_from(server, &address, &raw), [250]);
    }
}

/// Why no notice went out, of all letters.
fn silences(world: &World) -> Vec<Silence> {
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let silence = |case: &kluis::staff::client::CaseView| {
        case.letters[0].detail.as_ref().expect("opens").silence
    };
    cases.iter().filter_map(silence).collect()
}

#[test]
fn too_many_notices_in_an_hour_stop_all_for_a_day_and_the_status_says_until_when() {
    const OVER: usize = 3;
    let (mut world, runtime) = (World::found_at(START), runtime());
    believe(&world);
    let server = runtime.block_on(world.serve());
    write(&server, 0, ALL_AN_HOUR - 1);
    wait_for("all are told", || count(&server, Fact::NoticeEnded) == ALL_AN_HOUR - 1);
    assert_eq!(status(&world), (None, Value::Null), "nothing is wrong yet");
    write(&server, ALL_AN_HOUR - 1, ALL_AN_HOUR + OVER);
    wait_for("the last is told", || count(&server, Fact::NoticeEnded) == ALL_AN_HOUR);
    assert_eq!(silences(&world), [Silence::Breaker; OVER]);
    // 2 November 2026, ten in the morning in Brussels, and a day.
    let said = "stopped until 2026-11-03 10:00: so many went out within an hour that something is \
                wrong; `kluis queue` has the cases";
    let stopped = (Some(said.to_owned()), json!("2026-11-03T09:00:00Z"));
    assert_eq!(status(&world), stopped);
    runtime.block_on(server.stop());

    // Neither a restart nor an hour changes that; nor the last minute of the day.
    let mut written = ALL_AN_HOUR + OVER;
    for (n, later) in [0, 3 * 60 * 60, DAY - 60].into_iter().enumerate() {
        world.set_time(START + later);
        let server = runtime.block_on(world.serve());
        write(&server, written, written + 1);
        written += 1;
        assert_eq!(count(&server, Fact::NoticeDue), ALL_AN_HOUR, "after {later} seconds");
        assert_eq!(silences(&world), vec![Silence::Breaker; OVER + n + 1]);
        assert_eq!(status(&world), stopped);
        runtime.block_on(server.stop());
    }
    world.set_time(START + DAY);
    let server = runtime.block_on(world.serve());
    write(&server, written, written + 1);
    wait_for("one is told again", || count(&server, Fact::NoticeEnded) == ALL_AN_HOUR + 1);
    assert_eq!(status(&world), (None, Value::Null));
    runtime.block_on(server.stop());
    assert_eq!(world.delivered().len(), ALL_AN_HOUR + 1);
}
