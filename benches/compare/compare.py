#!/usr/bin/env python3
"""Runs kluis and what people use instead on the same bytes in the same run, and writes the table.

    compare.py [--rounds 7] [--only ROW,…] [--work DIR] [--size BYTES] [--files COUNT] [--write FILE]

Rounds alternate between the programs; a figure is the median of its rounds. Needs `target/release`
built, root (for Postfix), the peers on the path or in `$KLUIS_PEERS/bin` (`install` makes them), and
memory for a few GiB in /dev/shm. `make bench-compare` does all of that.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
KLUIS = Path(os.environ.get("KLUIS", TARGET / "release/kluis"))
LOAD = Path(os.environ.get("KLUIS_LOAD", TARGET / "release/examples/load"))
PEERS = Path(os.environ.get("KLUIS_PEERS", TARGET / "peers"))
MAILBOX = "backoffice@jobexpert.be"
PASS = "a passphrase for a throwaway vault"
LETTERS = 2000
CONNECTIONS = 20
# An attachment of 200 kB, in base64 in lines of 76 characters.
LETTER_SIZE = 200_000 * 78 // 57
# Random bytes made at once: Python refuses 256 MiB and more.
PIECE = 64 << 20
# Memory that is touched before each run.
WARMED = 2 << 30
BEGIN = "<!-- bench-compare: from here on written by `make bench-compare` -->"
END = "<!-- bench-compare: to here -->"
ROWS = ["null", "tmpfs", "disk", "files", "get", "letters"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, **more):
    more.setdefault("stdout", subprocess.DEVNULL)
    more.setdefault("stderr", subprocess.PIPE)
    more.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(part) for part in command], **more)
    if done.returncode != 0:
        say((done.stderr or b"").decode(errors="replace")[-2000:])
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return done.stdout


def timed(*command, **more):
    begun = time.monotonic()
    run(*command, **more)
    return time.monotonic() - begun


def environment(**more):
    peers = f"{PEERS}/bin"
    return {**os.environ, "PATH": f"{peers}:{os.environ['PATH']}", **more}


def warm():
    """A virtual machine may have given free memory back to its host, and whoever comes next waits for
    it: here that is nobody who is measured."""
    with tempfile.TemporaryFile(dir="/dev/shm") as scratch:
        for _ in range(WARMED // PIECE):
            scratch.write(bytes(PIECE))


class Contest:
    """One kind of work, done by several programs in turns."""

    def __init__(self, name, unit, programs, target):
        self.name, self.unit, self.programs, self.target = name, unit, programs, target
        self.figures = {program: [] for program in programs}

    def play(self, rounds):
        for nr in range(rounds):
            for program, (work, _) in self.programs.items():
                warm()
                self.figures[program].append(work(nr))
                say(f"{self.name}, round {nr + 1}: {program} {self.figures[program][-1]:.3f} {self.unit}")
        return self

    def medians(self):
        return {program: statistics.median(got) for program, got in self.figures.items()}

    def rows(self):
        medians = self.medians()
        first = next(iter(medians))
        for program, median in medians.items():
            got = self.figures[program]
            ratio = "" if program == first else f"{medians[first] / median:.2f}"
            command = self.programs[program][1]
            yield (self.name, program, f"{median:.3g} {self.unit}",
                   f"{min(got):.3g} to {max(got):.3g}", ratio, self.target if ratio else "",
                   f"`{command}`")


def vault(place):
    """A vault of its own; gives its state directory."""
    secret = place / "passphrase"
    secret.write_text(PASS + "\n")
    state = place / "vault"
    run(KLUIS, "init", state, "--address", MAILBOX, "--generate", place / "keys",
        "--passphrase-file", secret)
    return state


def fresh(place):
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def fill(file, size):
    numbers = random.Random(1)
    with open(file, "wb") as out:
        for at in range(0, size, PIECE):
            out.write(numbers.randbytes(min(PIECE, size - at)))


def gigabytes(size, seconds):
    return size / seconds / 1e9


def kluis_bench(args):
    return json.loads(run(KLUIS, "bench", "--json", "--dir", args.disk, "--size", args.size,
                          "--rounds", 1, stdout=subprocess.PIPE))


def row_null(args, content):
    """Put to nowhere, against what encrypts a file for somebody."""
    identity = args.memory / "age.key"
    run("age-keygen", "-o", identity)
    recipient = re.search(r"age1\w+", identity.read_text())[0]
    home = fresh(args.memory / "gnupg")
    home.chmod(0o700)
    gpg = environment(GNUPGHOME=str(home))
    run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "bench@example.be", "rsa3072",
        "encrypt", env=gpg)
    null = open(os.devnull, "wb")
    size = content.stat().st_size

    def to_null(*command, env):
        return lambda _: gigabytes(size, timed(*command, stdout=null, env=env))

    ceilings = []

    def kluis(_):
        said = kluis_bench(args)
        ceilings.append(said["put_null_gbps"] / said["ceiling_gbps"])
        return said["put_null_gbps"]

    yield Contest("put 1 GiB to nowhere", "GB/s", {
        "kluis": (kluis, "kluis bench --json --rounds 1 (put_null_gbps)"),
        "age": (to_null("age", "-r", recipient, content, env=environment()),
                "age -r RECIPIENT FILE > /dev/null"),
        "rage": (to_null("rage", "-r", recipient, content, env=environment()),
                 "rage -r RECIPIENT FILE > /dev/null"),
        "gpg": (to_null("gpg", "--batch", "--trust-model", "always", "--compress-algo", "none",
                        "-e", "-r", "bench@example.be", "-o", "-", content, env=gpg),
                "gpg --compress-algo none -e -r KEY -o - FILE > /dev/null"),
        "openssl (no hash, no tag)": (
            to_null("openssl", "enc", "-aes-256-ctr", "-pass", "pass:x", "-pbkdf2", "-in", content,
                    env=environment()),
            "openssl enc -aes-256-ctr -pbkdf2 -in FILE > /dev/null"),
    }, "age 2.1, rage 4, gpg 10").play(args.rounds)
    yield ("put 1 GiB to nowhere", "the ceiling of this machine", "", "",
           f"{statistics.median(ceilings):.2f}", "0.90", "`put_null_gbps / ceiling_gbps`")


def repositories(args, place):
    """What makes an empty repository, and what stores paths in it, for each backup program."""
    restic = environment(RESTIC_PASSWORD=PASS, RESTIC_REPOSITORY=str(place / "restic"),
                         RESTIC_CACHE_DIR=str(place / "restic-cache"))
    rustic = environment(RUSTIC_PASSWORD=PASS, RUSTIC_REPOSITORY=str(place / "rustic"),
                         RUSTIC_CACHE_DIR=str(place / "rustic-cache"), HOME=str(place))
    borg = environment(BORG_PASSPHRASE=PASS, BORG_REPO=str(place / "borg"),
                       BORG_BASE_DIR=str(place / "borg-base"))
    return {
        "restic": (restic, ["restic", "init"], ["restic", "backup", "--compression", "off"],
                   "restic backup --compression off"),
        "rustic": (rustic, ["rustic", "init", "--set-compression", "0"], ["rustic", "backup"],
                   "rustic backup (init --set-compression 0)"),
        "borg": (borg, ["borg", "init", "-e", "repokey-blake2"],
                 ["borg", "create", "-C", "none", "::a{now:%s%f}"],
                 "borg create -C none (init -e repokey-blake2)"),
    }


def kluis_store(place, verb, *paths):
    state = vault(place)
    arguments = [KLUIS, verb, "--dir", state, *paths]
    return state, arguments


def row_tmpfs(args, content):
    size = content.stat().st_size
    place = args.memory / "repositories"

    def kluis(_):
        _, command = kluis_store(fresh(place), "put", content)
        took = timed(*command)
        shutil.rmtree(place)
        return gigabytes(size, took)

    def peer(name):
        def work(_):
            env, make, store, _ = repositories(args, fresh(place))[name]
            run(*make, env=env)
            took = timed(*store, content, env=env)
            shutil.rmtree(place)
            return gigabytes(size, took)
        return work

    programs = {"kluis": (kluis, "kluis put FILE")}
    for name, (*_, shown) in repositories(args, place).items():
        programs[name] = (peer(name), f"{shown} FILE")
    yield Contest("put 1 GiB into tmpfs", "GB/s", programs, "7").play(args.rounds)


def row_disk(args, content):
    size = content.stat().st_size
    place = args.disk / "put"

    def kluis(_):
        _, command = kluis_store(fresh(place), "put", content)
        took = timed(*command)
        shutil.rmtree(place)
        return gigabytes(size, took)

    def dd(_):
        target = args.disk / "dd"
        took = timed("dd", f"if={content}", f"of={target}", "bs=4M", "oflag=direct")
        target.unlink()
        return gigabytes(size, took)

    yield Contest("put 1 GiB to disk, durable", "GB/s", {
        "kluis": (kluis, "kluis put FILE"),
        "dd": (dd, "dd if=FILE of=… bs=4M oflag=direct"),
    }, "0.85").play(args.rounds)


def row_get(args, _content):
    puts = []

    def get(_):
        said = kluis_bench(args)
        puts.append(said["put_null_gbps"])
        return said["get_null_gbps"]

    yield Contest("get 1 GiB, verified", "GB/s", {
        "kluis get": (get, "kluis bench --json --rounds 1 (get_null_gbps)"),
        "kluis put": (lambda nr: puts[nr], "put_null_gbps of the same call"),
    }, "0.75").play(args.rounds)


def files(args):
    folder = args.memory / "files"
    if not folder.exists():
        folder.mkdir()
        numbers = random.Random(5)
        for nr in range(args.files):
            (folder / f"{nr}.pdf").write_bytes(numbers.randbytes(numbers.randint(20_000, 400_000)))
    return folder


def row_files(args, _content):
    folder = files(args)
    size = sum(path.stat().st_size for path in folder.iterdir())
    place = args.memory / "repositories"
    again = {}

    def kluis(nr):
        state, command = kluis_store(fresh(place), "import", folder)
        took = timed(*command)
        packs = set((state / "packs").iterdir())
        again.setdefault("kluis", []).append(gigabytes(size, timed(*command)))
        if set((state / "packs").iterdir()) != packs:
            say("the second import made new packs")
        shutil.rmtree(place)
        return gigabytes(size, took)

    def peer(name):
        def work(_):
            env, make, store, _ = repositories(args, fresh(place))[name]
            run(*make, env=env)
            took = timed(*store, folder, env=env)
            again.setdefault(name, []).append(gigabytes(size, timed(*store, folder, env=env)))
            shutil.rmtree(place)
            return gigabytes(size, took)
        return work

    programs = {"kluis": (kluis, "kluis import DIR")}
    for name, (*_, shown) in repositories(args, place).items():
        programs[name] = (peer(name), f"{shown} DIR")
    first = Contest(f"import {args.files} files of 20 to 400 kB into tmpfs", "GB/s", programs, "3")
    yield first.play(args.rounds)
    shown = {name: (None, f"{command}, again") for name, (_, command) in programs.items()}
    second = Contest("the same files again", "GB/s", shown, "")
    second.figures = again
    yield second
    yield ("the same files again", "kluis, first time", "", "",
           f"{second.medians()['kluis'] / first.medians()['kluis']:.2f}", "3", "`kluis import DIR`")


def listens(port):
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def row_letters(args, _content):
    ours, theirs = free_port(), free_port()
    queue = args.disk / "postfix"
    state = vault(fresh(args.disk / "letters"))
    settings = state / "kluis.toml"
    settings.write_text(settings.read_text().replace('"127.0.0.1:2525"', f'"127.0.0.1:{ours}"'))
    log = open(args.disk / "serve.log", "wb")
    serve = subprocess.Popen([KLUIS, "serve", state], stdout=log, stderr=log)
    run(HERE / "postfix", "start", queue, theirs)

    def load(port, seed, count=LETTERS):
        said = run(LOAD, "--addr", f"127.0.0.1:{port}", "--letters", count, "--size", LETTER_SIZE,
                   "--connections", CONNECTIONS, "--seed", seed, stdout=subprocess.PIPE).decode()
        rate = re.search(r"^(\d+) letters in .* ([\d.]+) letters/s", said)
        assert rate and int(rate[1]) == count, said
        return float(rate[2])

    def postfix(nr):
        rate = load(theirs, nr + 1)
        kept = int(run(HERE / "postfix", "count", queue, stdout=subprocess.PIPE))
        assert kept == LETTERS, f"{kept} letters in Postfix's queue"
        run(HERE / "postfix", "empty", queue)
        return rate

    try:
        for port in (ours, theirs):
            listens(port)
            load(port, 1000, 100)
        run(HERE / "postfix", "empty", queue)
        shown = (f"load --addr … --letters {LETTERS} --size {LETTER_SIZE} "
                 f"--connections {CONNECTIONS} --seed ROUND")
        yield Contest(f"accept {LETTERS} letters with 200 kB attachments", "letters/s", {
            "kluis": (lambda nr: load(ours, nr + 1), shown),
            "postfix": (postfix, shown),
        }, "1.0").play(args.rounds)
    finally:
        run(HERE / "postfix", "stop", queue)
        serve.send_signal(signal.SIGTERM)
        serve.wait()


def versions():
    asked = [["age", "--version"], ["rage", "--version"], ["gpg", "--version"],
             ["openssl", "version"], ["restic", "version"], ["rustic", "--version"],
             ["borg", "--version"], ["postconf", "-d", "-h", "mail_version"]]
    for command in asked:
        said = subprocess.run(command, env=environment(), capture_output=True, text=True)
        yield f"{command[0]} {said.stdout.splitlines()[0].removeprefix(command[0]).strip()}"


def machine():
    about = Path("/proc/cpuinfo").read_text()
    cpu = re.search(r"model name\s*: (.*)", about)
    has = [name for name in ("avx2", "vaes", "avx512f") if re.search(rf"^flags.*\b{name}\b", about, re.M)]
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1]) >> 20
    return (f"{cpu[1] if cpu else os.uname().machine} ({' '.join(has)}), {os.cpu_count()} cores, {memory} GiB, "
            f"Linux {'.'.join(os.uname().release.split('.')[:2])}")


def table(args, results):
    commit = run("git", "-C", ROOT, "rev-parse", "--short", "HEAD", stdout=subprocess.PIPE)
    lines = [
        f"Machine: {machine()}. Commit {commit.decode().strip()}. Median of {args.rounds} rounds, "
        f"alternating. {time.strftime('%Y-%m-%d')}.", "",
        "Programs: " + ", ".join(versions()) + ".", "",
        "| Work | Program | Median | Range | kluis is so many times as fast | Wanted | Command |",
        "|---|---|---|---|---|---|---|",
    ]
    return lines + ["| " + " | ".join(row) + " |" for row in results]


def write(file, lines):
    text = file.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    file.write_text(before + BEGIN + "\n\n" + "\n".join(lines) + "\n\n" + END + after)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", type=lambda text: text.split(","), default=ROWS)
    parser.add_argument("--work", type=Path, default=TARGET, help="a folder on the disk to measure")
    parser.add_argument("--size", type=int, default=1 << 30)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--write", type=Path, help="put the table into this file, between its marks")
    args = parser.parse_args()
    # What was started is stopped, and what was made removed, also when somebody ends this early.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with (tempfile.TemporaryDirectory(prefix="bench-", dir=args.work) as disk,
          tempfile.TemporaryDirectory(prefix="kluis-bench-", dir="/dev/shm") as memory):
        args.disk, args.memory = Path(disk), Path(memory)
        content = args.memory / "content"
        if set(args.only) & {"null", "tmpfs", "disk"}:
            fill(content, args.size)
        results = []
        for name in args.only:
            for result in globals()[f"row_{name}"](args, content):
                results.extend(result.rows() if isinstance(result, Contest) else [result])
        lines = table(args, results)
    print("\n".join(lines))
    if args.write:
        write(args.write, lines)


if __name__ == "__main__":
    main()
