//! How long `kluis backup`, `kluis backup verify` and `kluis restore` take, and how much memory: 5,000
//! items of together 1 GiB, through the program itself. Results and how to read them: docs/benchmarks.md.
//!
//! It takes about 5 GB under `TMPDIR`. `KLUIS_ITEMS` and `KLUIS_MIB` ask for another number of items, and
//! for other bytes.

#[path = "../tests/support/world.rs"]
mod world;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use world::{KLUIS, World};

const ITEMS: u64 = 5_000;
const MIB: u64 = 1024;
/// Items that are put in together.
const TOGETHER: u64 = 100;
/// Of so many items one comes later: the part of a second backup.
const LATER: u64 = 10;
const ROUNDS: usize = 5;
/// How often is looked how much memory a program takes.
const GLANCE: Duration = Duration::from_millis(2);

fn main() {
    // `cargo test --benches` and `cargo bench -- --list` run nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let items = wished("KLUIS_ITEMS").unwrap_or(ITEMS);
    let size = (wished("KLUIS_MIB").unwrap_or(MIB) << 20) / items;
    let world = World::found();
    let begun = Instant::now();
    put(&world, 0..items, size);
    println!("{items} items of {size} bytes put in, in {:.1} s", begun.elapsed().as_secs_f64());
    let place = |name: &str| world.root.path().join(name);
    let words = place("words");
    std::fs::write(&words, "correct horse battery staple\n").expect("is written");
    let key = place("keys/carla.key");
    let with_key: [&OsStr; 4] = [
        OsStr::new("--key-file"),
        key.as_os_str(),
        OsStr::new("--passphrase-file"),
        words.as_os_str(),
    ];

    let all = Load { items, bytes: items * size };
    let copies: Vec<_> =
        (0..ROUNDS).map(|round| copied(&world, &place(&format!("copy-{round}")))).collect();
    report("a copy of the packs, durable", &all, &copies);
    let dest = |round: usize| place(&format!("backup-{round}"));
    let rounds = |what: &dyn Fn(usize) -> Run| (0..ROUNDS).map(what).collect::<Vec<_>>();
    let first = rounds(&|round| {
        let _ = std::fs::remove_dir_all(dest(round.wrapping_sub(1)));
        backup(&world, &dest(round))
    });
    report("a first backup", &all, &first);
    let dest = dest(ROUNDS - 1);
    report("a backup with nothing new", &all, &rounds(&|_| backup(&world, &dest)));
    let few = items.div_ceil(LATER);
    let later = (0..ROUNDS as u64).map(|round| {
        let begin = items + round * few;
        put(&world, begin..begin + few, size);
        backup(&world, &dest)
    });
    report(
        "a backup with a tenth new",
        &Load { items: few, bytes: few * size },
        &later.collect::<Vec<_>>(),
    );
    let items = items + few * ROUNDS as u64;
    let all = Load { items, bytes: items * size };
    let verify: [&OsStr; 3] = [OsStr::new("backup"), OsStr::new("verify"), dest.as_os_str()];
    report("verify, without a key", &all, &rounds(&|_| run(&verify)));
    let opening = [&verify[..], &with_key].concat();
    report("verify, every box opened", &all, &rounds(&|_| run(&opening)));
    let restored = rounds(&|round| {
        let (dir, keys) = (place("again"), place("again.cabinet-key"));
        if round > 0 {
            for folder in [&dir, &keys] {
                std::fs::remove_dir_all(folder).expect("is removed");
            }
        }
        let restore = [OsStr::new("restore"), dest.as_os_str(), dir.as_os_str()];
        run(&[&restore[..], &with_key].concat())
    });
    report("a restore", &all, &restored);
}

fn wished(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Puts items in that do not repeat, as many letters with some each.
fn put(world: &World, numbers: std::ops::Range<u64>, size: u64) {
    let folder = world.root.path().join("items");
    let mut begin = numbers.start;
    while begin < numbers.end {
        std::fs::create_dir(&folder).expect("is made");
        let end = numbers.end.min(begin + TOGETHER);
        let files: Vec<PathBuf> = (begin..end).map(|n| item(&folder, n, size)).collect();
        let state = world.state();
        let arguments = [OsStr::new("put"), OsStr::new("--dir"), state.as_os_str()];
        let files: Vec<&OsStr> = files.iter().map(|file| file.as_os_str()).collect();
        run(&[&arguments[..], &files].concat());
        std::fs::remove_dir_all(&folder).expect("is removed");
        begin = end;
    }
}

fn item(folder: &Path, n: u64, size: u64) -> PathBuf {
    let path = folder.join(format!("{n}.bin"));
    let mut file = std::fs::File::create(&path).expect("is made");
    let mut bytes = vec![0; usize::try_from(size).expect("fits")];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut bytes);
    file.write_all(&bytes).expect("is written");
    path
}

/// How long a program took, and its peak of memory in kB.
struct Run {
    took: Duration,
    memory: u64,
}

fn backup(world: &World, dest: &Path) -> Run {
    let state = world.state();
    run(&[OsStr::new("backup"), dest.as_os_str(), OsStr::new("--dir"), state.as_os_str()])
}

/// Runs `kluis`, which must succeed.
fn run(arguments: &[&OsStr]) -> Run {
    let begun = Instant::now();
    let mut command = Command::new(KLUIS);
    let command = command.arg("--json").args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("starts");
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().expect("is asked") {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak =
            text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
        memory = memory.max(peak.and_then(|kb| kb.parse().ok()).unwrap_or(0));
        std::thread::sleep(GLANCE);
    };
    assert!(ended.success(), "{arguments:?}");
    Run { took: begun.elapsed(), memory }
}

/// What the disk can do: the packs copied by themselves, one after the other, each durable.
fn copied(world: &World, to: &Path) -> Run {
    let begun = Instant::now();
    std::fs::create_dir(to).expect("is made");
    for pack in std::fs::read_dir(world.state().join("packs")).expect("is read").flatten() {
        let copy = to.join(pack.file_name());
        std::fs::copy(pack.path(), &copy).expect("is copied");
        std::fs::File::open(&copy).and_then(|file| file.sync_all()).expect("is durable");
    }
    let took = begun.elapsed();
    std::fs::remove_dir_all(to).expect("is removed");
    Run { took, memory: 0 }
}

/// What is backed up.
struct Load {
    items: u64,
    bytes: u64,
}

fn report(what: &str, load: &Load, runs: &[Run]) {
    let mut times: Vec<f64> = runs.iter().map(|run| run.took.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let memory = runs.iter().map(|run| run.memory).max().unwrap_or(0) / 1000;
    println!(
        "{what}: median {median:.2} s of {} ({:.2} to {:.2}), {:.2} GB/s, {:.0} items/s, peak memory \
         {memory} MB",
        times.len(),
        times[0],
        times[times.len() - 1],
        load.bytes as f64 / 1e9 / median,
        load.items as f64 / median,
    );
}
