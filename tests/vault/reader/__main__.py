"""Reads a kluis vault from the outside, by docs/vault-format.md alone.

    python3 tests/vault/reader DIR KEYDIR IDENTITIES OUT      everything in it, into the folder OUT
    python3 tests/vault/reader --say < JOBS                   one verdict a line (see `say`)
    python3 tests/vault/reader --certificate FILE KEY         verifies an erasure certificate
"""

import json
import os
import sys

import age
import boxes
import cbor
import certificate
import details
import ledger
from refusal import Refusal
from vault import Vault


def read(vault, out):
    """Opens everything; `out(name, bytes)` takes what there is. Gives what was refused."""
    refused, opened, contents = [], {}, {}
    for entry in vault.entries:
        if entry.fact == ledger.SERVER_KEY and entry.slot not in vault.gone:
            try:
                vault.server_key(entry)
            except Refusal as refusal:
                refused.append(refusal)
    for entry in vault.boxes():
        try:
            manifest = vault.open(entry)
            details.check(entry.kind, manifest.detail)
            content = vault.content(manifest)
        except Refusal as refusal:
            refused.append(refusal)
            continue
        name = f"{entry.kind}.{entry.letter.hex()}.{(entry.item or entry.letter).hex()}.{entry.slot.hex()}"
        opened[entry.seq] = manifest
        contents[entry.letter, entry.item] = content
        out(name + ".content", content)
        out(name + ".manifest", manifest.raw)
    for entry in vault.boxes():
        if entry.kind == ledger.LETTER and entry.seq in opened:
            letter = cbor.decode(opened[entry.seq].detail)
            skeleton = contents.get((entry.letter, letter.get(5)))
            if skeleton is not None:
                try:
                    raw = boxes.raw_message(letter, skeleton, lambda item: contents.get((entry.letter, item)))
                except Refusal as refusal:
                    refused.append(refusal)
                    continue
                out(f"raw.{entry.letter.hex()}", raw)
    out("root", vault.root)
    out("entries", b"".join(len(e.raw).to_bytes(4, "big") + e.raw for e in vault.entries))
    return refused + vault.wrong


def verdict(job):
    """What is said of one vault: `success`, or the first refusal with its file and offset."""
    try:
        vault = Vault(job["directory"], job["keys"], age.identities(job["secrets"]))
        if job.get("checkpoint") is not None:
            vault.verify(job["checkpoint"].encode())
        written = {}
        refused = read(vault, written.__setitem__)
    except Refusal as refusal:
        refused = [refusal]
    answer = {"expect": "success"}
    if refused:
        first = refused[0]
        answer = {"expect": first.what, "file": first.file, "offset": first.offset, "why": first.why}
    return answer


def say():
    """Jobs as JSON, one a line, from the standard input; verdicts as JSON to the standard output."""
    for line in sys.stdin:
        print(json.dumps(verdict(json.loads(line))), flush=True)


def certified(file, key):
    """Says which item was forgotten, or exits with what is wrong."""
    with open(file, "rb") as handle:
        data = handle.read()
    with open(key, encoding="ascii") as handle:
        published = handle.read()
    try:
        print(certificate.verify(data, published)[0].item.hex())
    except Refusal as refusal:
        sys.exit(str(refusal))


def main(arguments):
    if arguments == ["--say"]:
        return say()
    if arguments[:1] == ["--certificate"] and len(arguments) == 3:
        return certified(*arguments[1:])
    if len(arguments) != 4:
        sys.exit(__doc__)
    directory, keys, identities, folder = arguments
    with open(identities, encoding="ascii") as handle:
        secrets = age.identities(handle.read())

    def out(name, data):
        with open(os.path.join(folder, name), "wb") as handle:
            handle.write(data)

    try:
        refused = read(Vault(directory, keys, secrets), out)
    except Refusal as refusal:
        refused = [refusal]
    for refusal in refused:
        print(refusal, file=sys.stderr)
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
