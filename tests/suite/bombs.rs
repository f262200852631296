//! What kills, fills or stops a parser costs one child: the server is the same process, its next letter is
//! read as ever, and there are no more children than before.
#![cfg(kluis_lab)]

use kluis::casebook::Filter;
use kluis::letter::Finding;

use crate::mail_client::{Client as Sender, letter};
use crate::world::{MAILBOX, World};

/// Processes that this one started, by what /proc says.
fn children(parent: u32) -> usize {
    let entries = std::fs::read_dir("/proc").expect("/proc is there");
    let stats = entries.filter_map(|entry| {
        std::fs::read_to_string(entry.ok()?.path().join("stat"))
            .ok()
            .filter(|stat| !stat.is_empty())
    });
    let of_parent = |stat: &String| {
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        after.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    stats.filter(of_parent).count()
}

#[test]
fn a_bomb_a_crash_and_a_hang_cost_one_child_each_and_the_server_is_the_same_process() {
    let world = World::found();
    let mut process = world.spawn(&[]);
    let (smtp, pid) = (process.smtp.expect("listens"), process.child.id());
    let mut deliver = |raw: &[u8], what: &str| {
        let mut sender = Sender::greet(smtp, false).expect("greets");
        let answers = sender.send("lotte@client.example", &[MAILBOX], raw).expect("answers");
        assert_eq!(answers[0].code, 250, "{what}");
        assert!(process.child.try_wait().expect("its state").is_none(), "{what} ended the server");
        assert_eq!(process.child.id(), pid);
    };
    let honest = letter(77, 99, 9_000);
    deliver(&honest, "an honest letter");
    let before = children(pid);
    let mut sent = vec![("an honest letter", honest, false)];
    for (nr, how) in ["abort", "panic", "overflow", "allocate", "hang"].into_iter().enumerate() {
        let bomb = format!("X-Kluis-Lab: {how}\r\nSubject: bomb\r\n\r\n{how}\r\n").into_bytes();
        deliver(&bomb, how);
        sent.push((how, bomb, true));
        let next = letter(77, nr as u64, 9_000);
        deliver(&next, "the next letter");
        sent.push(("the next letter", next, false));
    }
    let after = children(pid);
    assert!(
        before > 0 && after <= before,
        "{after} children, and {before} after one honest letter"
    );
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    assert_eq!(cases.len(), sent.len());
    for (what, raw, is_bomb) in sent {
        let is_it = |case: &&kluis::staff::client::CaseView| {
            case.letters[0].detail.as_ref().is_some_and(|d| d.length == raw.len() as u64)
        };
        let mut found = cases.iter().filter(is_it);
        let case = found.find(|case| crate::way::raw(&mut anna, case) == raw).expect(what);
        let detail = case.letters[0].detail.as_ref().expect("opens");
        assert_eq!(detail.findings.contains(&Finding::Unparsed), is_bomb, "{what}");
    }
    drop(anna);
    process.kill();
}
