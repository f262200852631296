//! The Postfix of Debian in front: what it hands on is one letter here, too, nothing is lost while we
//! are down, and what a pipe says with its exit code it understands as we mean it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kluis::casebook::Filter;
use kluis::inbox::{Delivery, Kind, Verdict};

use crate::inbox::{Fate, SENDER, Server, settings};
use crate::mail_client::{Client, letter, stuffed};
use crate::postfix_of_ours::{Postfix, meeting_place, missing, run};
use crate::world::{KLUIS, MAILBOX, World};

/// What comes before a false end of a letter, the dot, and what comes behind it.
const BEFORE: [&str; 6] = ["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\0"];
const DOTS: [&str; 3] = [".", "..", ". "];
const AFTER: [&str; 4] = ["\r\n", "\n", "\r", "\r\r\n"];

/// Sends a letter with this in its middle, and a second letter behind that, as if it had ended there.
/// Gives the letters that the server at the other end says it took.
fn smuggle(client: &mut Client, n: usize, form: &str) -> usize {
    let head = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\n");
    let stream = format!(
        "Subject: outer {n}\r\n\r\nfirst{form}MAIL FROM:<x@y.example>\r\nRCPT TO:<{MAILBOX}>\r\n\
         DATA\r\nSubject: inner {n}\r\n\r\nsecond\r\n.\r\nNOOP end\r\n"
    );
    client.write(head.as_bytes()).expect("written");
    for code in [250, 250, 354] {
        assert_eq!(client.answer().expect("an answer").code, code);
    }
    client.write(stream.as_bytes()).expect("written");
    // Of the first letter, of NOOP, and of what lies between if that was followed.
    let mut codes = Vec::new();
    while let Ok(answer) = client.answer() {
        codes.push((answer.code, answer.text));
        let text = &codes.last().expect("one").1;
        // Postfix and we answer NOOP, and nothing else, so.
        if *text == "250 2.0.0 Ok\r\n"
            || codes.len() > 1 && *text == "250 2.0.0 OK\r\n" && {
                let followed = codes.iter().any(|(code, _)| *code == 354);
                !followed || codes.len() >= 6
            }
        {
            break;
        }
    }
    let is_followed = codes.iter().any(|(code, _)| *code == 354);
    let mut taken = usize::from(codes.first().is_some_and(|(code, _)| *code == 250));
    if is_followed {
        taken += usize::from(codes.get(4).is_some_and(|(code, _)| *code == 250));
    }
    taken
}

/// Waits until Postfix has handed on all that it took, by their numbers; gives how many that are. It is
/// what it took, letter for letter: none became two on the way.
fn hands_on_what_it_took(
    postfix: &Postfix,
    behind: &Server,
    mut theirs: BTreeMap<usize, usize>,
) -> usize {
    let all: usize = theirs.values().sum();
    let end = Instant::now() + Duration::from_secs(120);
    postfix.drain();
    while behind.letters().len() < all && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut came: BTreeMap<usize, usize> = BTreeMap::new();
    for letter in behind.letters() {
        let text = String::from_utf8_lossy(&letter.raw).into_owned();
        let subjects: Vec<&str> =
            text.lines().filter(|line| line.starts_with("Subject: ")).collect();
        let number = subjects[0].rsplit(' ').next().expect("a number");
        *came.entry(number.parse().expect("a number")).or_default() += 1;
        assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']), "{text:?}");
    }
    theirs.retain(|_, taken| *taken > 0);
    assert_eq!(came, theirs, "{}", postfix.log());
    all
}

/// The same in chunks that say their length (RFC 3030 §2), cut within the form if it is two. Nothing in
/// a chunk is an end or a command: whoever followed one would answer more often than it was asked.
fn smuggle_in_chunks(client: &mut Client, n: usize, form: &str, chunks: usize) -> (usize, Vec<u8>) {
    let before = format!("Subject: outer {n}\r\n\r\nfirst");
    let content = format!(
        "{before}{form}MAIL FROM:<x@y.example>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\n\
         Subject: inner {n}\r\n\r\nsecond\r\n.\r\nNOOP end\r\n"
    );
    let cut = if chunks == 2 { before.len() + n % (form.len() + 1) } else { 0 };
    let mut stream = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{MAILBOX}>\r\n");
    if chunks == 2 {
        stream += &format!("BDAT {cut}\r\n{}", &content[..cut]);
    }
    stream += &format!("BDAT {} LAST\r\n{}QUIT\r\n", content.len() - cut, &content[cut..]);
    client.write(stream.as_bytes()).expect("written");
    let mut codes = Vec::new();
    while let Ok(answer) = client.answer() {
        codes.push(answer.code);
    }
    let asked = 2 + chunks + 1;
    assert!(codes.len() <= asked, "{form:?} in {chunks}: {codes:?}");
    assert!(!codes.contains(&354), "{form:?} in {chunks}: {codes:?}");
    let taken = usize::from(codes.len() == asked && codes[asked - 2] == 250);
    (taken, content.into_bytes())
}

#[test]
fn whatever_postfix_takes_in_chunks_for_one_letter_is_one_letter_here() {
    if let Some(why) = missing() {
        return println!("SKIPPED whatever_postfix_takes_in_chunks_is_one_letter_here {why}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let socket = meeting_place(dir.path()).join("lmtp.sock");
    let keep = |_: &Delivery| -> Fate { Box::pin(async { Verdict::Accepted }) };
    let behind = Server::deciding(Kind::Lmtp, Some(&socket), settings(), keep);
    let alone = Server::start(Kind::Smtp, settings());
    let postfix = Postfix::start(dir, &format!("lmtp:unix:{}", socket.display()), "");
    let (mut theirs, mut matrix) = (BTreeMap::new(), String::new());
    let mut n = 0;
    for chunks in [1, 2] {
        for before in BEFORE {
            for dot in DOTS {
                for after in AFTER {
                    let form = format!("{before}{dot}{after}");
                    let (taken, _) = smuggle_in_chunks(&mut postfix.client(), n, &form, chunks);
                    theirs.insert(n, taken);
                    let heard = alone.letters().len();
                    let (ours, sent) =
                        smuggle_in_chunks(&mut alone.client(false), n, &form, chunks);
                    let kept = alone.letters().split_off(heard);
                    assert_eq!(kept.len(), ours, "{form:?} in {chunks}");
                    // Byte for byte, or not at all: only where every line ends as it must.
                    assert!(kept.iter().all(|letter| letter.raw == sent), "{form:?} in {chunks}");
                    let is_clean = !form.replace("\r\n", "").contains(['\r', '\n', '\0']);
                    assert_eq!(ours, usize::from(is_clean), "{form:?} in {chunks}");
                    matrix += &format!("{form:?} in {chunks}: Postfix {taken}, we {ours}\n");
                    n += 1;
                }
            }
        }
    }
    println!("{matrix}");
    let all = hands_on_what_it_took(&postfix, &behind, theirs);
    assert!(all >= 48, "Postfix takes a letter of many kinds: {all}");
}

#[test]
fn whatever_postfix_takes_for_one_letter_is_one_letter_here() {
    if let Some(why) = missing() {
        return println!("SKIPPED whatever_postfix_takes_for_one_letter_is_one_letter_here {why}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let socket = meeting_place(dir.path()).join("lmtp.sock");
    let keep = |_: &Delivery| -> Fate { Box::pin(async { Verdict::Accepted }) };
    let behind = Server::deciding(Kind::Lmtp, Some(&socket), settings(), keep);
    let alone = Server::start(Kind::Smtp, settings());
    let postfix = Postfix::start(dir, &format!("lmtp:unix:{}", socket.display()), "");
    let mut theirs = BTreeMap::new();
    let mut ours = BTreeMap::new();
    let mut n = 0;
    let mut matrix = String::new();
    for before in BEFORE {
        for dot in DOTS {
            for after in AFTER {
                let form = format!("{before}{dot}{after}");
                theirs.insert(n, smuggle(&mut postfix.client(), n, &form));
                let heard = alone.letters().len();
                ours.insert(n, smuggle(&mut alone.client(false), n, &form));
                let kept = alone.letters().len() - heard;
                assert_eq!(kept, ours[&n], "{form:?}");
                // Two letters only where everybody sees the end of one.
                let ends = before.ends_with("\r\n") && dot == "." && after == "\r\n";
                assert!(ours[&n] <= if ends { 2 } else { 1 }, "{form:?}");
                matrix += &format!("{form:?}: Postfix {}, we {}\n", theirs[&n], ours[&n]);
                n += 1;
            }
        }
    }
    println!("{matrix}");
    let all = hands_on_what_it_took(&postfix, &behind, theirs);
    assert!(all >= 72, "Postfix takes a letter of nearly every kind: {all}");
}

/// The letters of all cases.
fn kept(world: &World) -> Vec<Vec<u8>> {
    let mut anna = world.log_in("anna").expect("logs in");
    let cases = anna.queue(Filter::All).expect("lists");
    let mut kept: Vec<_> = cases
        .iter()
        .flat_map(|case| {
            assert_eq!(case.letters.len(), 1);
            Some(crate::way::raw(&mut anna, case))
        })
        .collect();
    kept.sort();
    kept
}

/// Without the lines that servers put before it on the way.
fn body(raw: &[u8]) -> &[u8] {
    let start = b"From: Load";
    let at = raw.windows(start.len()).position(|part| part == start).expect("the letter begins so");
    &raw[at..]
}

#[test]
fn while_we_are_down_postfix_keeps_the_letters_and_none_is_lost_or_doubled() {
    if let Some(why) = missing() {
        return println!("SKIPPED while_we_are_down_postfix_keeps_the_letters {why}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let socket = meeting_place(dir.path()).join("lmtp.sock");
    let world = World::found();
    let file = world.state().join("kluis.toml");
    let config = std::fs::read_to_string(&file).expect("is read");
    let config = config.replace("lmtp = [\"127.0.0.1:0\"]", &format!("lmtp = [{socket:?}]"));
    std::fs::write(&file, config).expect("is written");
    let postfix = Postfix::start(dir, &format!("lmtp:unix:{}", socket.display()), "");

    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut send = |postfix: &Postfix, count: usize| {
        let mut client = postfix.client();
        for _ in 0..count {
            let raw = letter(51, sent.len() as u64, 60_000);
            let answers = client.send_wire(SENDER, &[MAILBOX], &stuffed(&raw)).expect("answers");
            assert_eq!(answers[0].code, 250, "{}", answers[0].text);
            sent.push(raw);
        }
    };
    // Nobody is there; then somebody who is killed while letters come, three times.
    send(&postfix, 10);
    for round in 0..3 {
        let process = world.spawn(&[]);
        send(&postfix, 5);
        std::thread::sleep(Duration::from_millis(300 + 200 * round));
        process.kill();
        send(&postfix, 5);
    }
    let _process = world.spawn(&[]);
    postfix.drain();
    assert!(!postfix.log().contains("status=bounced"), "{}", postfix.log());
    let kept = kept(&world);
    let mut came: Vec<&[u8]> = kept.iter().map(|raw| body(raw)).collect();
    came.sort_unstable();
    sent.sort_unstable();
    assert_eq!(came.len(), 40, "{}", postfix.log());
    assert!(came == sent, "letters came as others than they were sent");
}

#[test]
fn postfix_understands_what_a_pipe_says() {
    if let Some(why) = missing() {
        return println!("SKIPPED postfix_understands_what_a_pipe_says {why}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let world = World::found();
    // It pipes as nobody, who then has to have the vault.
    let nobody = 65_534;
    let program = dir.path().join("kluis");
    std::fs::copy(KLUIS, &program).expect("copies");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
        .expect("permissions");
    for above in [world.root.path(), world.state().parent().expect("a folder")] {
        let permissions = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(above, permissions).expect("permissions");
    }
    let own = |path: &Path| run(Command::new("chown").args(["-R", "nobody"]).arg(path));
    own(&world.state());
    own(&world.cabinet_key());
    let service = format!(
        "kluis unix - n n - 4 pipe\n  flags=Rq user=nobody null_sender= argv={} receive {} \
         --from=${{sender}} --to=${{recipient}}\n",
        program.display(),
        world.state().display()
    );
    let postfix = Postfix::start(dir, "kluis:", &service);
    let serve = || {
        let mut server = Command::new(&program)
            .arg("serve")
            .arg(world.state())
            .uid(nobody)
            // Nobody may not write into what the tests remember of keys.
            .env_remove("KLUIS_LAB_RECORD")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let stdout = server.stdout.take().expect("is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)
            .expect("is read");
        assert!(line.starts_with("listens"), "{line}");
        server
    };
    let end = |mut server: std::process::Child| {
        server.kill().expect("is killed");
        server.wait().expect("ends");
    };
    let send = |from: &str, raw: &[u8]| {
        let answers = postfix.client().send(from, &[MAILBOX], raw).expect("answers");
        assert_eq!(answers[0].code, 250);
    };

    // Beside a server, from somebody and from nobody.
    let server = serve();
    send(SENDER, &letter(52, 0, 5_000));
    send("", &letter(52, 1, 5_000));
    postfix.drain();
    // The vault is away for now: 75, and the letter waits.
    end(server);
    let (file, away) = (world.state().join("kluis.toml"), world.state().join("away"));
    std::fs::rename(&file, &away).expect("moves");
    send(SENDER, &letter(52, 2, 5_000));
    let until = Instant::now() + Duration::from_secs(60);
    while !postfix.log().contains("status=deferred") {
        assert!(Instant::now() < until, "{}", postfix.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::rename(&away, &file).expect("moves");
    // Nothing serves, and it goes on by itself.
    postfix.drain();
    assert!(!postfix.log().contains("status=bounced"), "{}", postfix.log());
    // In circles: it goes back.
    send("", &[&b"Received: by x\r\n".repeat(60)[..], &letter(52, 3, 5_000)].concat());
    postfix.drain();
    assert_eq!(postfix.log().matches("status=bounced").count(), 1, "{}", postfix.log());

    let server = serve();
    let kept = kept(&world);
    end(server);
    let mut came: Vec<&[u8]> = kept.iter().map(|raw| body(raw)).collect();
    came.sort_unstable();
    let mut sent: Vec<Vec<u8>> = (0..3).map(|n| letter(52, n, 5_000)).collect();
    sent.sort_unstable();
    assert!(came == sent, "{}", postfix.log());
}
