//! Attacks on a server's files and its door by somebody on the same machine. Those on rosters, epochs
//! and challenges stand in `keyring` and `log_in`, a box in the place of another in `forget`.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use kluis::ledger::entry::Fact;

use crate::mail_client::letter;
use crate::thief::copy;
use crate::way::{count, deliver, runtime, skipped};
use crate::world::{MAILBOX, World};

#[test]
fn another_users_process_does_not_reach_the_staffs_door() {
    if !rustix::process::geteuid().is_root() {
        return skipped("another user at the staff's door", "only root can be another user");
    }
    if !crate::disks::has_program("perl") {
        return skipped("another user at the staff's door", "perl is not installed");
    }
    let (world, runtime) = (World::found(), runtime());
    let server = runtime.block_on(world.serve());
    // The folders around it stand open: the socket's own mode must do.
    let open = std::fs::Permissions::from_mode(0o755);
    for folder in [world.root.path().to_owned(), world.state()] {
        std::fs::set_permissions(folder, open.clone()).expect("opened");
    }
    let ask = "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die;
        print connect(S, sockaddr_un($ARGV[0])) ? 'connected' : $!{EACCES} ? 'refused' : $!";
    let ask_as = |user: u32| {
        let mut command = Command::new("perl");
        command.args(["-e", ask]).arg(world.state().join("kluis.sock"));
        let output = command.uid(user).gid(user).current_dir("/").output().expect("runs");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(ask_as(0), "connected");
    assert_eq!(ask_as(65_534), "refused");
    assert_eq!(count(&server, Fact::LogInRefused), 0, "the kernel said it");
    runtime.block_on(server.stop());
}

#[test]
fn the_cabinet_of_another_vault_stops_the_start() {
    let runtime = runtime();
    let [world, other] = [1, 2].map(|n| {
        let world = World::found();
        let server = runtime.block_on(world.serve());
        assert_eq!(deliver(&server, false, &[MAILBOX], &letter(41, n, 2_000)), [250]);
        runtime.block_on(server.stop());
        world
    });
    let kept = tempfile::tempdir().expect("a folder");
    let (cabinet, key) = (kept.path().join("cabinet.1"), kept.path().join("key"));
    std::fs::copy(world.state().join("cabinet.1"), &cabinet).expect("copies");
    copy(&world.cabinet_key(), &key);
    let put = |cabinet: &Path, key: &Path| {
        std::fs::copy(cabinet, world.state().join("cabinet.1")).expect("copies");
        std::fs::remove_dir_all(world.cabinet_key()).expect("removed");
        copy(key, &world.cabinet_key());
    };
    let does_open = || std::panic::catch_unwind(|| drop(world.open())).is_ok();
    // The cabinet, its key, and both: an attacker has one of their own that opens.
    let (others, others_key) = (other.state().join("cabinet.1"), other.cabinet_key());
    for (cabinet, key) in [(&others, &key), (&cabinet, &others_key), (&others, &others_key)] {
        put(cabinet, key);
        assert!(!does_open(), "{} with {}", cabinet.display(), key.display());
    }
    put(&cabinet, &key);
    assert!(does_open(), "with its own it opens as before");
}
