//! Installing beside a mail system: what `make install` puts where, the service's confinement, and
//! how it talks to the service manager.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kluis::casebook::Filter;

use crate::disks::has_program;
use crate::mail_client::{Client, letter};
use crate::postfix_of_ours::run as run_to_its_end;
use crate::way::skipped;
use crate::world::{KLUIS, MAILBOX, Process, World};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_service_is_confined_as_far_as_it_says() {
    if !has_program("systemd-analyze") {
        return skipped("the service's confinement", "systemd-analyze is not installed");
    }
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(project().join("docs/systemd/kluis.service"))
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&judged.stdout);
    let (_, score) = said.split_once("exposure level for kluis.service: ").expect("a score");
    let score: f64 =
        score.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    println!("exposure {score}");
    assert!(score <= 1.5, "{said}");
}

#[test]
fn what_is_installed_is_all_taken_away_again_and_nothing_else() {
    let root = tempfile::tempdir().expect("a directory");
    let strange = root.path().join("usr/local/bin/other");
    std::fs::create_dir_all(strange.parent().expect("a folder")).expect("makes");
    std::fs::write(&strange, b"x").expect("writes");
    let run = |arguments: &[&str]| {
        let done = Command::new("bash")
            .arg(project().join(".ci/install"))
            .args(arguments)
            .env("DESTDIR", root.path())
            .output()
            .expect("starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    run(&[KLUIS]);
    let files = || crate::thief::files(root.path());
    let names: Vec<String> = files()
        .iter()
        .map(|file| file.strip_prefix(root.path()).expect("in there").display().to_string())
        .collect();
    for name in [
        "usr/local/bin/kluis",
        "usr/local/lib/systemd/system/kluis.service",
        "usr/local/lib/systemd/system/kluis.socket",
        "usr/lib/sysusers.d/kluis.conf",
        "usr/local/share/man/man1/kluis.1",
        "usr/local/share/man/man1/kluis-serve.1",
        "usr/local/share/bash-completion/completions/kluis",
        "usr/local/share/zsh/site-functions/_kluis",
        "usr/local/share/fish/vendor_completions.d/kluis.fish",
    ] {
        assert!(names.iter().any(|found| found == name), "{name} of {names:?}");
    }
    let page = std::fs::read_to_string(root.path().join("usr/local/share/man/man1/kluis-get.1"));
    assert!(page.expect("is there").contains("despite"));
    // Again over itself: an upgrade.
    run(&[KLUIS]);
    run(&["--remove"]);
    assert_eq!(files(), [strange]);
}

#[test]
fn the_service_manager_is_told_when_letters_are_taken() {
    let world = World::found();
    let place = world.root.path().join("notify");
    let told = UnixDatagram::bind(&place).expect("binds");
    told.set_read_timeout(Some(Duration::from_secs(30))).expect("is set");
    let server = world.spawn(&[("NOTIFY_SOCKET", place.to_str().expect("text"))]);
    let mut said = [0; 256];
    let length = told.recv(&mut said).expect("is told");
    assert_eq!(&said[..length].trim_ascii(), b"READY=1");
    Client::greet(server.smtp.expect("listens"), false).expect("greets");
    server.kill();
}

#[test]
fn a_socket_that_systemd_bound_is_served() {
    if !has_program("systemd-socket-activate") {
        return skipped("sockets that are handed over", "systemd-socket-activate is not installed");
    }
    let world = World::found();
    let [smtp, _] = world.fix_ports();
    let mut starter = Command::new("systemd-socket-activate")
        .args(["--listen", &smtp.to_string(), KLUIS, "serve"])
        .arg(world.state())
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(world.log()).expect("a log"))
        .spawn()
        .expect("starts");
    // The first connection starts the server, which finds its own address taken, by this very socket.
    let mut greeted = false;
    for _ in 0..300 {
        greeted = Client::greet(smtp, false).is_ok();
        if greeted || starter.try_wait().expect("is asked").is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = starter.kill();
    let _ = starter.wait();
    let log = std::fs::read_to_string(world.log()).unwrap_or_default();
    assert!(greeted, "{log}");
    assert!(!log.contains("no setting names"), "{log}");
}

/// Where systemd cannot be had as the first process of namespaces of its own, that is said and no
/// more: it is the machine that lacks something, and no package mends that.
#[test]
fn a_real_systemd_installs_starts_restarts_upgrades_and_removes_it() {
    let day = Command::new("timeout")
        .args(["--kill-after=20", "400", "bash"])
        .arg(project().join(".ci/under-systemd"))
        .arg(KLUIS)
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&day.stdout);
    let errors = String::from_utf8_lossy(&day.stderr);
    if day.status.code() == Some(69) {
        println!("SKIPPED a day under systemd: {errors}");
        return;
    }
    assert!(day.status.success(), "{said}\n{errors}");
    let score =
        said.lines().find_map(|line| line.strip_prefix("exposure level for kluis.service: "));
    assert!(score.and_then(|n| n.parse::<f64>().ok()).is_some_and(|n| n <= 1.5), "{said}");
    let steps: Vec<&str> = said.lines().filter(|line| !line.starts_with("exposure")).collect();
    let wanted = [
        "active",
        "a member is in",
        "parsed 1",
        "active",
        "parsed 3",
        "kept by the mail server 75",
        "systemctl restart kluis",
        "parsed 4",
        "letters are parsed by a confined child under seccomp",
        "active",
        "removed",
    ];
    assert_eq!(steps, wanted, "{errors}");
}

/// The children of a process.
fn children(of: u32) -> Vec<i32> {
    let parent = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let pids = std::fs::read_dir("/proc").expect("/proc is there");
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| parent(pid) == Some(of)).collect()
}

/// Delivers letters `from..from + 2`; each is parsed.
fn are_parsed(world: &World, server: &Process, from: u64) {
    let mut client = Client::greet(server.smtp.expect("listens"), false).expect("greets");
    for n in from..from + 2 {
        let answers = client.send("lotte@client.example", &[MAILBOX], &letter(65, n, 20_000));
        assert_eq!(answers.expect("answers")[0].code, 250);
    }
    let mut anna = world.log_in("anna").expect("logs in");
    for case in anna.queue(Filter::All).expect("lists") {
        let detail = case.letters[0].detail.as_ref().expect("opens");
        assert_eq!(detail.findings, []);
        assert!(detail.headers.subject.is_some());
        assert_eq!(detail.items.len(), 2, "its text and its attachment");
    }
}

/// What takes the program's place understands nothing of what this server says to its children.
#[test]
fn an_upgrade_under_a_running_server_costs_no_letter_its_parts() {
    let world = World::found();
    let place = world.root.path().join("bin");
    std::fs::create_dir(&place).expect("a folder");
    let program = place.join("kluis");
    std::fs::copy(KLUIS, &program).expect("copies");
    let server = world.spawn_from(&program, &[]);
    are_parsed(&world, &server, 0);
    for way in ["another", "gone"] {
        let new = place.join("new");
        std::fs::write(&new, "#!/bin/sh\ncat >/dev/null\n").expect("writes");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&new, mode).expect("permissions");
        match way {
            "another" => std::fs::rename(&new, &program).expect("takes its place"),
            _ => std::fs::remove_file(&program).expect("goes away"),
        }
        // Those that were started before are no proof.
        let old = children(server.child.id());
        assert!(!old.is_empty());
        for pid in &old {
            let pid = rustix::process::Pid::from_raw(*pid).expect("a process id");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("ours");
        }
        are_parsed(&world, &server, if way == "another" { 2 } else { 4 });
        let now = children(server.child.id());
        for pid in &now {
            let called = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
            assert_eq!(called.trim_end(), "kluis", "whatever the file is called now");
        }
        assert!(now.iter().any(|pid| !old.contains(pid)), "a child was born");
    }
    server.kill();
}

/// As the service has it: its user, who gains no rights, and a /proc that shows nothing but its own.
#[test]
fn children_start_where_other_processes_are_hidden() {
    let test = "children_start_where_other_processes_are_hidden";
    if !rustix::process::geteuid().is_root() || !has_program("unshare") || !has_program("setpriv") {
        return skipped(test, "needs root, unshare and setpriv");
    }
    let hidden = "mount -t proc -o hidepid=invisible proc /proc";
    let tried = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--", "sh", "-c", hidden])
        .output()
        .expect("starts");
    if !tried.status.success() {
        return skipped(test, &String::from_utf8_lossy(&tried.stderr));
    }
    let world = World::found();
    let program = world.root.path().join("kluis");
    std::fs::copy(KLUIS, &program).expect("copies");
    for path in [world.root.path(), &program] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("permissions");
    }
    for path in [world.state(), world.cabinet_key()] {
        run_to_its_end(Command::new("chown").args(["-R", "nobody"]).arg(path));
    }
    let script = world.root.path().join("confined");
    let text = format!(
        "#!/bin/sh\nunset KLUIS_LAB_RECORD\nexec unshare --mount --propagation private -- sh -c \
         '{hidden} && exec setpriv --reuid 65534 --regid 65534 \
         --clear-groups --no-new-privs --bounding-set -all -- {} \"$@\"' sh \"$@\"\n",
        program.display()
    );
    std::fs::write(&script, text).expect("writes");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("permissions");
    let server = world.spawn_from(&script, &[]);
    let log = std::fs::read_to_string(world.log()).unwrap_or_default();
    assert!(server.smtp.is_some(), "{log}");
    let pid = server.child.id();
    let owner = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    assert!(owner.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{owner}");
    are_parsed(&world, &server, 6);
    server.kill();
}
