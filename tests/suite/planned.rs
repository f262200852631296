//! What a person saw is what is forgotten: at a terminal they are shown the plan and asked, a script names
//! the plan that somebody looked at, and whatever a colleague changes in between makes a new one necessary.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Stdio};

use kluis::casebook::Act;
use kluis::ids::{CaseId, ItemId};
use kluis::ledger::entry::Fact;
use kluis::staff::client::{Client, Error};
use kluis::vault::seal::Kind;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::forget::recording;
use crate::inside::{
    MARKS, deliver_one, dry_run, everything, goes, item_of, letter, named, protected, readable,
};
use crate::keyring::program;
use crate::opened::{gpg, open_with};
use crate::scan::run;
use crate::way::{count, entries, runtime};
use crate::world::{Server, World};

/// `kluis forget` of an item, as anna types it at a terminal.
struct AtTerminal {
    child: Child,
    terminal: File,
    said: String,
}

impl AtTerminal {
    /// Runs it until it asks.
    fn begin(world: &World, case: CaseId, item: ItemId) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&terminal).expect("is ours");
        unlockpt(&terminal).expect("is open");
        let name = ptsname(&terminal, Vec::new()).expect("has a name");
        let person = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(std::ffi::OsStr::from_bytes(name.as_bytes()))
            .expect("opens");
        let arguments = ["forget", &case.to_string(), &item.to_string(), "--reason", "seen"];
        let child = program(world, "anna", &arguments)
            .stdin(Stdio::from(person))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kluis runs");
        let mut this = Self { child, terminal: File::from(terminal), said: String::new() };
        let stderr = this.child.stderr.as_mut().expect("is piped");
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"[yes/no] ") {
            let length = stderr.read(&mut byte).expect("is read");
            assert_eq!(length, 1, "{}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
        this.said = String::from_utf8(said).expect("text");
        this
    }

    /// Answers; gives the exit code, and what was said then.
    fn answer(mut self, words: &str) -> (i32, String) {
        self.terminal.write_all(words.as_bytes()).expect("is typed");
        let output = self.child.wait_with_output().expect("ends");
        let all = [output.stdout, output.stderr].concat();
        (output.status.code().expect("ends"), String::from_utf8(all).expect("text"))
    }
}

fn notes(server: &Server) -> usize {
    entries(server).iter().filter(|entry| entry.box_kind == Some(Kind::Note)).count()
}

/// Forgets the plan of this digest; gives the exit code and what was said.
fn forget_plan(world: &World, case: CaseId, item: ItemId, plan: &Value) -> (i32, Value) {
    let (case, item) = (case.to_string(), item.to_string());
    let plan = plan.as_str().expect("text");
    run(world, &["forget", &case, &item, "--reason", "seen", "--plan", plan])
}

#[test]
fn at_a_terminal_the_plan_is_shown_and_only_a_yes_forgets() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let case = deliver_one(&server, &mut anna, &letter());
    let view = anna.case(case).expect("is there");
    let deep = item_of(&mut anna, &view, "MARK-DEEP");
    let plan: Vec<String> = goes(&dry_run(&world, case, deep), "out_of").into_keys().collect();
    assert_eq!(plan.len(), 3);
    for no in ["no\n", "\n", "y\n", "yes please\n", "\u{4}"] {
        let (code, said) = AtTerminal::begin(&world, case, deep).answer(no);
        assert!(code == 1 && said.contains("nothing was forgotten"), "{no:?}: {said}");
    }
    assert_eq!((count(&server, Fact::Forgotten), notes(&server)), (0, 0));
    let asked = AtTerminal::begin(&world, case, deep);
    let is_shown = |item: &String| asked.said.contains(&item[..8]);
    assert!(plan.iter().all(is_shown), "{}", asked.said);
    let (code, said) = asked.answer("yes\n");
    assert_eq!((code, count(&server, Fact::Forgotten)), (0, 3), "{said}");
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn where_nobody_can_be_asked_only_a_plan_that_is_named_is_forgotten() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let case = deliver_one(&server, &mut anna, &letter());
    let view = anna.case(case).expect("is there");
    let [deep, beside] = ["MARK-DEEP", "MARK-BESIDE"].map(|mark| item_of(&mut anna, &view, mark));
    let (number, item) = (case.to_string(), deep.to_string());
    let forget = ["forget", number.as_str(), item.as_str(), "--reason", "seen"];
    let (code, said) = run(&world, &forget);
    assert_eq!(code, 2, "{said}");
    assert!(said["hint"].as_str().expect("a hint").contains("--plan"), "{said}");
    let other = &dry_run(&world, case, beside)["plan"];
    for wrong in [other, &"".into(), &"0".into()] {
        let (code, said) = forget_plan(&world, case, deep, wrong);
        assert_eq!(code, 1, "{said}");
        assert!(said["error"].as_str().expect("text").contains("nothing was forgotten"), "{said}");
        assert!(said["hint"].as_str().expect("a hint").contains("--dry-run"), "{said}");
    }
    assert_eq!((count(&server, Fact::Forgotten), notes(&server)), (0, 0));
    let plan = &dry_run(&world, case, deep)["plan"];
    assert_eq!(plan, &dry_run(&world, case, deep)["plan"], "it says the same each time");
    let (code, said) = forget_plan(&world, case, deep, plan);
    assert_eq!((code, count(&server, Fact::Forgotten)), (0, 3), "{said}");
    drop(anna);
    runtime.block_on(server.stop());
}

fn is_changed(result: Result<Vec<kluis::ledger::certificate::Certificate>, Error>) -> bool {
    matches!(result, Err(Error::Refused(why)) if why.contains("changed meanwhile"))
}

/// What the server is asked, by whatever program.
#[test]
fn the_server_forgets_what_was_planned_or_nothing() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut anna = world.log_in("anna").expect("logs in");
    let case = deliver_one(&server, &mut anna, &letter());
    let view = anna.case(case).expect("is there");
    let [deep, other] = ["MARK-DEEP", "MARK-TEXT"].map(|mark| item_of(&mut anna, &view, mark));
    let [packed, all] = ["deep.zip", "all.zip"].map(|name| named(&mut anna, &view, name));
    let act = |anna: &mut Client, planned: &[ItemId]| {
        let reason = recording(anna, case, Act::Note);
        anna.forget_planned(vec![deep], planned.to_vec(), reason, false)
    };
    // Less than goes, more than goes, something else; in whatever order.
    assert!(is_changed(act(&mut anna, &[deep, packed])));
    assert!(is_changed(act(&mut anna, &[deep, packed, all, other])));
    assert!(is_changed(act(&mut anna, &[deep, packed, other])));
    assert!(is_changed(act(&mut anna, &[])));
    assert_eq!((count(&server, Fact::Forgotten), notes(&server)), (0, 0), "nothing was done");
    assert_eq!(act(&mut anna, &[all, deep, packed]).expect("is as planned").len(), 3);
    drop(anna);
    runtime.block_on(server.stop());
}

#[test]
fn what_a_colleague_forgets_between_plan_and_act_makes_a_new_plan_necessary() {
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    let mut bert = world.log_in("bert").expect("logs in");
    let case = deliver_one(&server, &mut bert, &letter());
    let view = bert.case(case).expect("is there");
    let text = item_of(&mut bert, &view, "MARK-TEXT");
    let packed = named(&mut bert, &view, "deep.zip");
    let seen = dry_run(&world, case, text);
    assert_eq!(goes(&seen, "out_of").len(), 3, "all.zip, letter.eml and the text");
    // While anna looks at the question.
    let asked = AtTerminal::begin(&world, case, text);
    let reason = recording(&bert, case, Act::Note);
    assert_eq!(bert.forget(vec![packed], reason, false).expect("is forgotten").len(), 3);
    let (code, said) = asked.answer("yes\n");
    assert!(code == 1 && said.contains("changed meanwhile"), "{said}");
    // Between her look and her script.
    let (code, said) = forget_plan(&world, case, text, &seen["plan"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!((count(&server, Fact::Forgotten), notes(&server)), (3, 1), "of bert alone");
    let seen = dry_run(&world, case, text);
    let (code, said) = forget_plan(&world, case, text, &seen["plan"]);
    assert_eq!((code, count(&server, Fact::Forgotten)), (0, 5), "{said}");
    drop(bert);
    runtime.block_on(server.stop());
}

#[test]
fn what_a_colleague_opens_between_plan_and_act_makes_a_new_plan_necessary() {
    for is_asked in [true, false] {
        let (world, runtime) = (World::found(), runtime());
        let Some(gpg) = gpg(&world, "opening between plan and act") else { return };
        let server = runtime.block_on(world.serve());
        let mut bert = world.log_in("bert").expect("logs in");
        let case = deliver_one(&server, &mut bert, &protected(&gpg));
        let view = bert.case(case).expect("is there");
        let ciphertext = view.letters[0].detail.as_ref().expect("opens").items[1].id;
        let seen = dry_run(&world, case, ciphertext);
        let planned: Vec<String> = goes(&seen, "out_of").into_keys().collect();
        assert_eq!(planned, [ciphertext.to_string()], "the ciphertext alone was shown");
        let asked = is_asked.then(|| AtTerminal::begin(&world, case, ciphertext));
        open_with(&mut bert, None, &view).expect("opens");
        if let Some(asked) = asked {
            let (code, said) = asked.answer("yes\n");
            assert!(code == 1 && said.contains("changed meanwhile"), "{said}");
        } else {
            let (code, said) = forget_plan(&world, case, ciphertext, &seen["plan"]);
            assert_eq!(code, 1, "{said}");
        }
        assert_eq!((count(&server, Fact::Forgotten), notes(&server)), (0, 0));
        let left = readable(&mut bert, case);
        assert!(everything().iter().all(|mark| left.contains(mark)), "{left:?}");
        assert!(MARKS.iter().all(|mark| left.contains(mark)));
        drop(bert);
        runtime.block_on(server.stop());
    }
}
