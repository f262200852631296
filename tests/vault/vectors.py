"""The vectors: a vault by `writer`, one fault each, and what a reader must answer.

    python3 tests/vault/vectors.py          writes tests/vault/base/ and tests/vault/vectors.json

A vector names the files that differ from the base: `null` where one is gone, `{"copy": other}`
where it is another's content, else `[[offset, bytes taken out, base64 put in] …]`, from the end to
the start. `expect` is `success` or a word of vault-format §10; `file` and `offset` stand there where
the document fixes them.
"""

import base64
import json
import os
import shutil
import sys

import writer
from writer import ONE, Writer, cbor, draw, frame, numbers, recipient, resum, unpack

import frames
from blake3 import blake3, keyed_hash

BASE = Writer()
VECTORS = []
TAMPERED, MISSING, NO_KEY, FUTURE, SUCCESS = "tampered", "missing", "no key", "future version", "success"
FIRST, SECOND = "ledger/0000000000000000.log", "ledger/0000000000000012.log"


def files(made=BASE):
    return {name: bytearray(data) for name, data in made.files.items()}


def vector(name, expect, changed, file=None, offset=None, **more):
    """Adds a vector; `changed` are the files as they are in it."""
    assert name not in {v["name"] for v in VECTORS}, name
    change = {}
    for path in sorted(BASE.files.keys() | changed.keys()):
        if path not in changed:
            change[path] = None
        elif changed[path] != BASE.files.get(path):
            change[path] = difference(path, bytes(changed[path]))
    place = {key: value for key, value in (("file", file), ("offset", offset)) if value is not None}
    VECTORS.append({"name": name, "expect": expect, **place, **more, "change": change})


def difference(path, new):
    for other, data in BASE.files.items():
        if other != path and data == new:
            return {"copy": other}
    old = bytes(BASE.files.get(path, b""))
    if len(old) != len(new):
        front = len(os.path.commonprefix([old, new]))
        back = len(os.path.commonprefix([old[front:][::-1], new[front:][::-1]]))
        return [splice(front, len(old) - front - back, new[front : len(new) - back])]
    runs = []
    for at in (i for i in range(len(old)) if old[i] != new[i]):
        if runs and at - runs[-1][1] < 16:
            runs[-1][1] = at + 1
        else:
            runs.append([at, at + 1])
    return [splice(start, end - start, new[start:end]) for start, end in reversed(runs)]


def splice(at, taken, put):
    return [at, taken, base64.b64encode(put).decode()]


def patched(name, expect, path, at, new, file=None, offset=None, right_sum=None, **more):
    """A vector with other bytes in one place; `right_sum` is a frame whose checksum is made right."""
    now = files()
    now[path][at : at + len(new)] = new
    if right_sum is not None:
        resum(now[path], right_sum)
    vector(name, expect, now, file, offset, **more)


def built(name, expect, hooks, file=None, offset=None, **more):
    """A vector that the writer made: something else was sealed, signed or entered."""
    vector(name, expect, files(Writer(hooks)), file, offset, **more)


# Every field of every frame


FIELDS = {
    "magic": (0, b"klux"), "version": (4, b"\2"), "earlier version": (4, b"\0"), "type": (5, b"\x5f"),
    "flag": (6, b"\2"), "length": (8, b"\xf1"), "checksum": (16, b"\0\0\0\0"), "reserved": (24, b"\1"),
    "address": (47, b"\xee"), "payload": (64, b"\xa5\xa5"),
}
LATER = {"version", "type", "flag"}


def fields():
    at = BASE.at
    places = {
        "the head of a ledger": (FIRST, 0),
        "the head of a later ledger file": (SECOND, 0),
        "entries": at["looked entry"],
        "entries before a later file": at["epoch 2 proven entry"],
        "the head of a cabinet": ("cabinet.2", 0),
        "a slot": at["text slot"],
        "a slot behind the rotation": at["inner text slot"],
        "the cabinet's key": ("2.key", 0),
    }
    for what, (file, offset) in places.items():
        path = "keys/2.key" if file == "2.key" else file
        for field, (skip, new) in FIELDS.items():
            if field == "payload" and unpack(BASE.files[path], offset)[1] == 0:
                continue
            expect = FUTURE if field in LATER else TAMPERED
            patched(f"{what}, {field}", expect, path, offset + skip, new, file, offset)
    for what, pack in (("a chunk pack", "chunks 1"), ("a box pack", "boxes 2")):
        file, _ = at[pack]
        for field, (skip, new) in FIELDS.items():
            if field != "payload":
                expect = FUTURE if field in LATER else TAMPERED
                patched(f"the head of {what}, {field}", expect, file, skip, new, file, 0)
    for what, record in (("a chunk", "file chunk 1 record"), ("a box", "text record")):
        file, offset = at[record]
        for field, (skip, new) in FIELDS.items():
            expect = FUTURE if field in LATER else TAMPERED
            patched(f"{what}, {field}", expect, file, offset + skip, new, file, offset)
    for what, record in (("a chunk", "inner text chunk 0 record"), ("a box", "inner text record")):
        file, offset = at[record]
        for field, (skip, new) in FIELDS.items():
            patched(f"{what} of an open pack, {field}", MISSING, file, offset + skip, new)
    file, offset = at["boxes 1 table"]
    for field, (skip, new) in FIELDS.items():
        # The records say the same: a start closes such a pack again.
        patched(f"a table, {field}", SUCCESS, file, offset + skip, new)
    file, offset = at["boxes 1 end"]
    for field, (skip, new) in FIELDS.items():
        if field != "payload":
            patched(f"the end of a pack, {field}", SUCCESS, file, offset + skip, new)


# Checksums that are right, over something wrong


def sums():
    at, other = BASE.at, draw("another vault", 16)
    for what, path, file in (
        ("a ledger", FIRST, None), ("a later ledger file", SECOND, SECOND), ("a cabinet", "cabinet.2", "cabinet.2"),
        ("a cabinet's key", "keys/2.key", "2.key"), ("a chunk pack", at["chunks 1"][0], at["chunks 1"][0]),
        ("a box pack", at["boxes 2"][0], at["boxes 2"][0]),
    ):
        patched(f"{what} of another vault", TAMPERED, path, 32, other, file, file and 0, right_sum=0)
    patched("a ledger file of another number", TAMPERED, SECOND, 48, numbers(13), SECOND, 0, right_sum=0)
    patched("a cabinet of another generation", TAMPERED, "cabinet.2", 48, numbers(3), "cabinet.2", 0, right_sum=0)
    patched("a cabinet's key of another generation", TAMPERED, "keys/2.key", 48, numbers(1), "2.key", 0, right_sum=0)
    patched("a cabinet begun with more slots", TAMPERED, "cabinet.2", 56, numbers(99), "cabinet.2", right_sum=0)
    patched("a head of another type, ledger", TAMPERED, FIRST, 5, b"\4", FIRST, 0, right_sum=0)
    patched("a head of another type, cabinet", TAMPERED, "cabinet.2", 5, b"\3", "cabinet.2", 0, right_sum=0)
    patched("a head of another type, key", TAMPERED, "keys/2.key", 5, b"\4", "2.key", 0, right_sum=0)
    patched("a head of another type, pack", TAMPERED, at["boxes 2"][0], 5, b"\3", at["boxes 2"][0], 0, right_sum=0)
    patched("a head of another pack's type", TAMPERED, at["boxes 1"][0], 5, b"\1", at["boxes 1"][0], right_sum=0)
    for what, index, value in (("first number", 0, 14), ("count", 1, 9), ("group", 2, 64), ("zero", 3, 1)):
        file, place = at["looked entry"]
        patched(f"entries with another {what}", TAMPERED, file, place + 32 + 8 * index, numbers(value), file, place, right_sum=place)
    file, place = at["inner text slot"]
    patched("a slot of another group", TAMPERED, file, place + 56, numbers(64), file, place, right_sum=place)
    patched("a slot that is a drop", TAMPERED, file, place + 5, b"\x32", file, place, right_sum=place)
    patched("a slot of another id", NO_KEY, file, place + 32, b"\0", right_sum=place)
    file, place = at["drop"]
    patched("a drop that is a slot", TAMPERED, file, place + 5, b"\x31", file, place, right_sum=place)
    patched("a drop of another slot", SUCCESS, file, place + 32, b"\0", right_sum=place)
    file, place = at["text slot"]
    patched("a slot with another tag", TAMPERED, file, place + 64 + 47, b"\0", right_sum=place)
    patched("a slot with another key in it", TAMPERED, file, place + 64, b"\0", right_sum=place)
    patched("a cabinet's key of other bytes", TAMPERED, "keys/2.key", 64, b"\0", "2.key", 0, right_sum=0)
    file, place = at["file chunk 1 record"]
    patched("a chunk with another tag", TAMPERED, file, place + 64 + unpack(BASE.files[file], place)[1] - 1, b"\0", right_sum=place)
    patched("a chunk with other bytes", TAMPERED, file, place + 70, b"\0", right_sum=place)
    patched("a chunk at another address", TAMPERED, file, place + 40, b"\0", file, place, right_sum=place)
    patched("a chunk that is a box", TAMPERED, file, place + 5, b"\x12", file, place, right_sum=place)
    file, place = at["inner text chunk 0 record"]
    patched("a chunk of an open pack at another address", MISSING, file, place + 40, b"\0", right_sum=place)
    file, place = at["text record"]
    patched("a box with other bytes", TAMPERED, file, place + 70, b"\0", file, place, right_sum=place)
    patched("a box at another address", TAMPERED, file, place + 40, b"\0", file, place, right_sum=place)
    tables()
    dead()


def dead():
    file, place = BASE.at["contact record"]
    length = unpack(BASE.files[file], place)[1]

    def marked(name, expect, head, record, punched, *offset):
        now = files()
        now[file][6], now[file][place + 6] = head, record
        if punched:
            now[file][place + 64 : place + 64 + length] = bytes(length)
        vector(name, expect, now, *offset)

    marked("a pack that may have dead records and has none", SUCCESS, 1, 0, False)
    marked("a dead record in a pack that has none", TAMPERED, 0, 1, False, file, place)
    marked("a dead record", MISSING, 1, 1, False)
    marked("a dead record that was punched", MISSING, 1, 1, True)
    marked("a record that was punched and is not dead", TAMPERED, 1, 0, True, file, place)
    marked("a record with a flag of a later version", FUTURE, 1, 2, False, file, place)


def tables():
    file, place = BASE.at["boxes 1 table"]
    length = unpack(BASE.files[file], place)[1]
    second = BASE.at["contact record"][1]

    def table(name, expect, change, offset):
        now = files()
        payload = bytearray(now[file][place + 64 : place + 64 + length])
        change(payload)
        now[file][place:] = frame(frames.TABLE, blake3(bytes(payload)), bytes(payload))
        writer.fill(now[file], 64)
        now[file] += frame(frames.END, numbers(place, len(payload) // 48, 0, 0))
        vector(name, expect, now, file if offset is not None else None, offset)

    def row(payload, new, at):
        i = next(i for i in range(0, len(payload), 48) if payload[i + 32 : i + 40] == numbers(second))
        payload[i + at : i + at + len(new)] = new

    def leave_out(payload):
        i = next(i for i in range(0, len(payload), 48) if payload[i + 32 : i + 40] == numbers(second))
        del payload[i : i + 48]

    table("a table that is written again", SUCCESS, lambda payload: None, None)
    table("a row with another offset", TAMPERED, lambda p: row(p, numbers(second + 64), 32), second + 64)
    table("a row with another length", TAMPERED, lambda p: row(p, numbers(17), 40), second)
    table("a row with another address", MISSING, lambda p: row(p, b"\0", 0), None)
    table("a row with an offset beyond the file", TAMPERED, lambda p: row(p, numbers(1 << 40), 32), 1 << 40)
    table("a row that is not there", MISSING, leave_out, None)
    table("a row twice", SUCCESS, lambda p: p.extend(p[:48]), None)
    table("a table of half a row", SUCCESS, lambda p: p.extend(bytes(24)), None)


# Files


def structure():
    at = BASE.at
    for path, file, expect in (
        (FIRST, FIRST, MISSING), ("cabinet.2", None, MISSING), ("keys/2.key", "2.key", MISSING),
        (at["chunks 1"][0], None, MISSING), (at["chunks 2"][0], None, MISSING), (at["boxes 1"][0], None, MISSING),
        ("admin.pub", "admin.pub", MISSING), ("roster/1.note", "roster", MISSING),
        ("epochs/1.note", "epochs/1.note", MISSING), ("epochs/2.age", "epochs/2.age", MISSING),
    ):
        now = files()
        del now[path]
        vector(f"without {kind_of(path)}", expect, now, file)
    now = files()
    now["ledger/000000000000000d.log"] = now.pop(SECOND)
    vector("a ledger file under another number", MISSING, now, SECOND)
    now = files()
    del now[SECOND]
    vector("without the newest ledger file", NO_KEY, now)
    now = files()
    now["cabinet.10"] = now.pop("cabinet.2")
    vector("a cabinet under another generation's name, its key missing", MISSING, now, "10.key")
    now = files()
    now["cabinet.1"], now["cabinet.3.new"], now["keys/1.key"] = b"old", b"half", b"old"
    vector("rests of other generations", SUCCESS, now)
    now = files()
    now["packs/readme.txt"], now["packs/" + "g" * 32 + ".pack"], now["quarantine/x"] = b"x", b"x", b"x"
    vector("files that are none of the format", SUCCESS, now)
    one, two = at["boxes 1"][0], at["boxes 2"][0]
    now = files()
    now[one], now[two] = now[two], now[one]
    vector("two packs under each other's names", SUCCESS, now)
    now = files()
    now["packs/" + draw("copy", 16).hex() + ".pack"] = now[one]
    vector("a pack twice", SUCCESS, now)
    cuts()
    swaps()


def kind_of(path):
    names = {path: name for name, (path, place) in BASE.at.items() if place == 0}
    return {FIRST: "the ledger", "cabinet.2": "a cabinet", "keys/2.key": "the cabinet's key"}.get(path, names.get(path, path))


def cuts():
    at = BASE.at

    def cut(name, expect, path, length, file=None, offset=None, **more):
        now = files()
        now[path] = now[path][:length] if length >= 0 else now[path] + bytes(-length)
        vector(name, expect, now, file, offset, **more)

    def more(name, expect, path, data, file=None, offset=None):
        now = files()
        now[path] += data
        vector(name, expect, now, file, offset)

    cut("an empty ledger", TAMPERED, FIRST, 0, FIRST, 0)
    cut("a ledger cut inside its head", TAMPERED, FIRST, 40, FIRST, 0)
    file, place = at["note entry"]
    cut("a ledger file with another behind it, cut", TAMPERED, FIRST, place + 70, FIRST, place)
    cut("a ledger file with another behind it, cut between frames", MISSING, FIRST, place, "ledger/%016x.log" % 15)
    cut("an empty newest ledger file", NO_KEY, SECOND, 0)
    file, place = at["contact forgotten entry"]
    cut("the newest entries cut off, what they forgot dropped", NO_KEY, file, place + 100)
    cut("the newest entries cut off, with a checkpoint", TAMPERED, file, place + 100, checkpoint=checkpoint())
    more("zeros behind a ledger", SUCCESS, SECOND, bytes(700))
    more("rests of a write behind a ledger", SUCCESS, SECOND, bytes(512 - len(BASE.files[SECOND]) % 512) + b"klus rest")
    cut("an empty cabinet", TAMPERED, "cabinet.2", 0, "cabinet.2", 0)
    cut("a cabinet cut in what it was begun with", TAMPERED, "cabinet.2", at["text slot"][1] + 20, "cabinet.2", at["text slot"][1])
    cut("a cabinet cut behind what it was begun with", TAMPERED, "cabinet.2", at["opened letter slot"][1] + 20, "cabinet.2", at["opened letter slot"][1])
    cut("a cabinet without its newest slots", NO_KEY, "cabinet.2", at["inner text slot"][1])
    cut("a cabinet without its drops", SUCCESS, "cabinet.2", at["drop"][1])
    more("rests of a write behind a cabinet", SUCCESS, "cabinet.2", bytes(512 - len(BASE.files["cabinet.2"]) % 512) + b"rest")
    cut("an empty key", TAMPERED, "keys/2.key", 0, "2.key", 0)
    cut("a key cut", TAMPERED, "keys/2.key", 90, "2.key", 0)
    more("a key with something behind it", TAMPERED, "keys/2.key", b"\0", "2.key", 0)
    closed, opened = at["boxes 1"][0], at["boxes 2"][0]
    cut("a closed pack without its end", SUCCESS, closed, len(BASE.files[closed]) - 64)
    cut("a closed pack without its table", SUCCESS, closed, at["boxes 1 table"][1])
    cut("a closed pack cut inside a record", MISSING, closed, at["note record"][1] + 100)
    cut("an open pack cut inside a record", MISSING, opened, at["opened letter record"][1] + 100)
    more("zeros behind a closed pack", SUCCESS, closed, bytes(4096))
    more("rests of a write behind an open pack", SUCCESS, opened, b"klus rest of a write")
    more("rests of a write behind a closed pack", SUCCESS, closed, b"\1" * 64)


def swaps():
    at = BASE.at

    def swap(name, expect, one, two, file=None, offset=None):
        now = files()
        (path, a), (path_b, b) = at[one], at[two]
        assert path == path_b
        size_a, size_b = (frames.up(64 + unpack(now[path], x)[1], 64) for x in (a, b))
        first, second = now[path][a : a + size_a], now[path][b : b + size_b]
        assert size_a == size_b and a != b
        now[path][a : a + size_a], now[path][b : b + size_b] = second, first
        vector(name, expect, now, file, offset)

    now = files()
    path, a = at["text chunk 0 record"]
    b = at["photo chunk 0 record"][1]
    size = 64 + unpack(now[path], a)[1]
    now[path][a : a + size], now[path][b : b + size] = now[path][b : b + size], now[path][a : a + size]
    vector("two chunks of a closed pack change places", TAMPERED, now, path, a)
    path, a = at["second text chunk 0 record"]
    swap("two chunks of an open pack change places", SUCCESS, "second text chunk 0 record", "second letter skeleton chunk 0 record")
    swap("two slots change places", SUCCESS, "text slot", "note slot")
    file, a = at["looked entry"]
    b = at["listed entry"][1]
    now = files()
    looked, listed = bytes(now[file][a:b]), bytes(now[file][b : frames.up(b + 64, 512)])
    now[file][a : a + len(looked) + len(listed)] = listed + looked
    vector("two frames of entries change places", TAMPERED, now, file, a)
    now = files()
    file, a = at["epoch 1 proven entry"]
    now[file][a:a] = now[file][a : a + 512]
    vector("a frame of entries twice", TAMPERED, now, file, a + 512)
    now = files()
    file, a = at["epoch 1 proven entry"]
    del now[file][a : a + 512]
    vector("a frame of entries taken out", TAMPERED, now, file, a)
    now = files()
    file, a = at["epoch 1 proven entry"]
    now[file][a : a + 512] = bytes(512)
    vector("a frame of entries overwritten with zeros", TAMPERED, now, file)
    now = files()
    file, a = at["inner text slot"]
    now[file] += bytes(-len(now[file]) % 512) + now[file][a : a + 112]
    vector("an old slot behind the others", TAMPERED, now, file, len(now[file]) - 112)
    now = files()
    file, a = at["text slot"]
    now[file][a : a + 128] = now[file][a + 128 : a + 256]
    vector("a slot of the beginning twice, another gone", NO_KEY, now)


# What was sealed


def sealed():
    text, inner = "inner text", "opened letter"

    def put(key, value):
        return lambda fields: {**fields, key: value}

    def flip(data):
        return bytes([data[0] ^ 1]) + bytes(data[1:])

    def nonzero(padded):
        padded[-1] = 7
        return padded

    built("an unknown key in a manifest", SUCCESS, {f"{text} manifest": put(9, "later")})
    built("an unknown key in an inner layer", SUCCESS, {f"{text} inner": put(7, [1, {2: b"x"}])})
    built("an unknown key in an entry", SUCCESS, {"looked entry": put(40, b"later")})
    built("an unknown key in a detail", SUCCESS, {"note detail": put(30, True)})
    built("an unknown key in a letter", SUCCESS, {f"{inner} detail": put(31, [[]])})
    built("an unknown key in a skeleton", SUCCESS, {f"{inner} skeleton": put(31, 5)})
    built("a fact of a later version", FUTURE, {"looked entry": put(2, 30)}, *BASE.at["looked entry"])
    built("a reserved fact", FUTURE, {"delivered entry": put(2, 34)}, *BASE.at["delivered entry"])
    built("a kind of box of a later version", FUTURE, {"note entry": put(9, 6)}, *BASE.at["note entry"])
    built("a filter of a later version", SUCCESS, {"listed entry": put(19, 200)})
    built("a key of the server's own of a later version", SUCCESS, {"key message-id entry": put(16, 9)})
    built("a role of a later version", FUTURE, {f"{text} detail": lambda d: [0, [{**d[1][0], 2: 3}]]})
    built("a storage of a later version", FUTURE, {f"{text} detail": lambda d: [0, [{**d[1][0], 6: [2, []]}]]})
    built("a detail of an item of a later version", FUTURE, {f"{text} detail": lambda d: [2, []]})
    built("a subject of a note of a later version", FUTURE, {"note detail": put(1, 20)})
    built("a finding of a later version", FUTURE, {f"{inner} detail": put(2, [250])})
    built("a protection of a later version", FUTURE, {f"{inner} detail": put(3, [4, []])})
    built("a source of a later version", FUTURE, {f"{inner} detail": lambda d: {**d, 0: {**d[0], 4: 4}}})
    built("a roster of a later version", FUTURE, {"roster": lambda t: t.replace("roster 1", "roster 2", 1)}, "roster/1.note")
    built("an epoch note of a later version", FUTURE, {"epoch 2": lambda t: t.replace("epoch 1", "epoch 2", 1)}, "epochs/2.note")

    built("padding of a content that is not zero", TAMPERED, {f"{text} padded": nonzero})
    built("content longer than its length wants", TAMPERED, {f"{text} padded": lambda p: p + bytes(4096)})
    built("content shorter than its length wants", TAMPERED, {f"{text} manifest": put(3, 5000)})
    built("a length of nothing with content", TAMPERED, {f"{text} manifest": put(3, 0)})
    built("a length without content", TAMPERED, {"note manifest": put(3, 5)})
    built("a length that no content has", TAMPERED, {f"{text} manifest": put(3, (1 << 64) - 1)})
    built("chunks in another order", TAMPERED, {"file keys": lambda keys: keys[::-1]})
    built("a chunk too many", TAMPERED, {"outgoing keys": lambda keys: keys * 2})
    built("a chunk too few", TAMPERED, {"file keys": lambda keys: keys[:1]})
    built("a chunk's digest that is another's", TAMPERED, {f"{text} key 0": flip})
    built("a chunk's key that is another's", MISSING, {f"{text} key 0": lambda key: key[:32] + draw("another key")})
    built("a chunk in two packs", SUCCESS, {"outgoing chunks": lambda c: c + chunk_of("text")})
    built("a chunk that was never written", MISSING, {f"{text} chunks": lambda c: []})
    built("a box that was never written", MISSING, {f"{text} box": lambda b: []})
    built("addresses that are not those of the keys", TAMPERED, {f"{text} inner": put(0, draw("address"))})
    built("an inner layer without addresses", TAMPERED, {f"{text} inner": put(0, b"")})
    built("an inner layer with half an address", TAMPERED, {f"{text} inner": lambda i: {**i, 0: i[0] + bytes(16)}})
    built("an inner layer that is no map", TAMPERED, {f"{text} layer": lambda layer: cbor([1, 2])})
    built("an inner layer cut off", TAMPERED, {f"{text} layer": lambda layer: layer[:-9]})
    built("a manifest without its salt", TAMPERED, {"note manifest": lambda m: {k: v for k, v in m.items() if k}})
    built("a manifest with another salt than the ledger's", TAMPERED, {"note padded M": lambda p: p.replace(draw("note salt"), draw("other salt"))})
    built("a manifest whose hash is not the ledger's", TAMPERED, {"note entry": put(8, draw("hash"))})
    built("a salt of 31 bytes", TAMPERED, {"note manifest": put(0, bytes(31))})
    built("chunk keys of a wrong length", TAMPERED, {"outgoing manifest": lambda m: {**m, 4: m[4] + bytes(32)}})
    built("a name that is text", TAMPERED, {"note manifest": put(2, "text")})
    built("a manifest that is no map", TAMPERED, {"note M": lambda m: cbor([1, 2, 3])})
    built("padding of a manifest that is not zero", TAMPERED, {"note padded M": lambda p: p[:-1] + b"\1"})
    built("more padding of a manifest", SUCCESS, {"note padded M": lambda p: p + bytes(512)})
    built("no padding of a manifest", SUCCESS, {"note padded M": lambda p: p.rstrip(b"\0") + b"\0"})
    built("padding of a server's manifest", SUCCESS, {"contact S": lambda s: s + bytes(3)})
    built("something behind a server's manifest", TAMPERED, {"contact S": lambda s: s + b"\1"})

    for what, change in (
        ("kind", lambda p: bytes([p[0] ^ 3]) + p[1:]), ("vault", lambda p: p[:1] + bytes(16) + p[17:]),
        ("letter", lambda p: p[:17] + bytes(16) + p[33:]), ("item", lambda p: p[:33] + bytes(16) + p[49:]),
        ("slot", lambda p: p[:49] + bytes(16)),
    ):
        built(f"a box sealed for another {what}", TAMPERED, {f"{text} place": change})
    built("an entry that names another letter", TAMPERED, {"note entry": put(4, ONE)})
    built("an entry that names another item", TAMPERED, {f"{text} entry": put(5, draw("another item", 16))})
    built("an entry that names another slot", NO_KEY, {f"{text} entry": put(6, draw("another slot", 16))})
    built("an entry that names another kind", TAMPERED, {"note entry": put(9, 2)})
    built("an entry that names another box", TAMPERED, {"note entry": lambda e: {**e, 7: box_of("text")}})
    built("an entry that names no box", MISSING, {"note entry": put(7, draw("no box"))})
    built("a slot with the key of another box", TAMPERED, {"note slot": lambda s: other_slot("note")})

    both = [recipient("epoch 2"), recipient("anna")]
    built("an inner layer with two recipients", SUCCESS, {f"{text} recipients": lambda r: both})
    built("an inner layer of another epoch", NO_KEY, {f"{text} recipients": lambda r: [recipient("epoch 1")]})
    built("an inner layer that is no age file", NO_KEY, {f"{text} S": lambda s: b"not age"})
    built("an inner layer with a changed age header", NO_KEY, {f"{text} S": lambda s: s.replace(b"--- ", b"--- A", 1)})
    built("an inner layer with a cut age file", NO_KEY, {f"{text} S": lambda s: s[:-20]})
    built("an inner layer of age v2", NO_KEY, {f"{text} S": lambda s: s.replace(b"/v1", b"/v2", 1)})
    built("an entry that names another epoch", NO_KEY, {f"{text} entry": put(12, 1)})
    built("an entry that names an epoch that is not there", NO_KEY, {f"{text} entry": put(12, 7)})
    built("an entry that names no epoch", NO_KEY, {f"{text} entry": lambda e: {k: v for k, v in e.items() if k != 12}})
    vector("without the secret of epoch 2", NO_KEY, files(), epochs=[1])
    vector("without any secret", NO_KEY, files(), epochs=[])


def chunk_of(name):
    """The record of a chunk of the base."""
    file, at = BASE.at[f"{name} chunk 0 record"]
    _, length, address = unpack(BASE.files[file], at)
    return [(f"{name} again", address, bytes(BASE.files[file][at + 64 : at + 64 + length]))]


def box_of(name):
    file, at = BASE.at[f"{name} record"]
    return unpack(BASE.files[file], at)[2]


def other_slot(name):
    slot = draw(name + " slot", 16)
    return writer.AESGCM(keyed_hash(draw("cabinet key"), slot)).encrypt(bytes(12), draw("another EK"), slot)


# What was entered and signed


def entered():
    file, at = BASE.at["looked entry"]

    def put(key, value):
        return lambda fields: {**fields, key: value}

    def raw(name, expect, change, **more):
        place = (file, at) if expect != SUCCESS else ()
        built(name, expect, {"looked entry bytes": change}, *place, **more)

    raw("an entry that is no map", TAMPERED, lambda e: cbor([1]))
    raw("an entry with something behind it", TAMPERED, lambda e: e + b"\0")
    raw("an entry cut off", TAMPERED, lambda e: e[:-1])
    raw("an entry of nothing", TAMPERED, lambda e: b"")
    raw("integers longer than they need be", SUCCESS, lambda e: e.replace(b"\x02\x0f", b"\x02\x18\x0f", 1))
    raw("keys in another order", SUCCESS, swapped)
    built("an entry without its minute", TAMPERED, {"looked entry": lambda e: {k: v for k, v in e.items() if k != 1}}, file, at)
    built("an entry out of its place", TAMPERED, {"looked entry": put(0, 99)}, file, at)
    built("a case number of 36 bits", TAMPERED, {"looked entry": put(3, 1 << 35)}, file, at)
    built("a letter id of 15 bytes", TAMPERED, {"looked entry": put(4, bytes(15))}, file, at)
    built("an address that is a number", TAMPERED, {"note entry": put(7, 5)}, *BASE.at["note entry"])
    built("a member of 17 bits", TAMPERED, {"looked entry": put(13, 1 << 16)}, file, at)
    built("a fact that is text", TAMPERED, {"looked entry": put(2, "looked")}, file, at)
    number = BASE.names.index("looked")
    built("entries that are no array", TAMPERED, {f"frame {number} payload": lambda p: cbor({0: 1})}, file, at)
    built("entries with something behind them", TAMPERED, {f"frame {number} payload": lambda p: p + b"\0"}, file, at)
    built("entries that are no byte strings", TAMPERED, {f"frame {number} payload": lambda p: cbor([1])}, file, at)
    built("an unfinished forgetting", SUCCESS, {"kept slots": lambda kept: kept + [("photo", (draw("photo slot", 16), draw("photo EK")))]})
    built("a slot that no entry names", SUCCESS, {"kept slots": lambda kept: kept + [("nobody", (draw("nobody slot", 16), draw("nobody EK")))]})
    built("a slot that is not there", NO_KEY, {"kept slots": lambda kept: [k for k in kept if k[0] != "text"]})
    built("a checkpoint key that is not the ledger's", TAMPERED, {"key checkpoint public": lambda p: draw("another")})
    built("a Message-ID key that is not the ledger's", TAMPERED, {"key message-id public": lambda p: draw("another")})
    signatures()
    checkpoints()


def swapped(entry):
    """The first two pairs of an entry in the other order."""
    fields = entry[1:]
    first = fields[: fields.index(b"\x01\x1a")]
    second = fields[len(first) : len(first) + 6]
    return entry[:1] + second + first + fields[len(first) + 6 :]


def signatures():
    built("a roster that the admin did not sign", TAMPERED, {"roster signer": lambda s: "carla"}, "roster/1.note")
    built("a roster of another vault", TAMPERED, {"roster": lambda t: t.replace(BASE.vault.hex(), bytes(16).hex())}, "roster/1.note")
    built("a roster with one reader", TAMPERED, {"roster": lambda t: t.replace(" dpo ", " auditor ")}, "roster/1.note")
    built("a roster with one backup key", TAMPERED, {"roster": lambda t: t[: t.index("backup dirk")]}, "roster/1.note")
    built("a roster with a key twice", TAMPERED, {"roster": lambda t: t.replace(recipient("dirk"), recipient("carla"))}, "roster/1.note")
    built("a roster with members out of order", TAMPERED, {"roster": lambda t: t.replace("member 1 ", "member 3 ")}, "roster/1.note")
    built("a roster with an unknown role", TAMPERED, {"roster": lambda t: t.replace("backoffice", "boss")}, "roster/1.note")
    built("a roster of another version than its name", TAMPERED, {"roster": lambda t: t.replace("version 1", "version 2")}, "roster/1.note")
    built("a roster with a line too many", TAMPERED, {"roster": lambda t: t + "more\n"}, "roster/1.note")
    built("an epoch note of another vault", TAMPERED, {"epoch 2": lambda t: t.replace(BASE.vault.hex(), bytes(16).hex())}, "epochs/2.note")
    built("an epoch note of another number", TAMPERED, {"epoch 2": lambda t: t.replace("number 2", "number 3")}, "epochs/2.note")
    built("an epoch note with one reader", TAMPERED, {"epoch 2": lambda t: "".join(line for line in t.splitlines(True) if "bert" not in line)}, "epochs/2.note")
    built("an epoch note of another file", TAMPERED, {"epoch 2": lambda t: t.replace(blake3(BASE.files["epochs/2.age"]).hex(), blake3(b"").hex())}, "epochs/2.age")
    patched("a roster that was changed", MISSING, "roster/1.note", 20, b"9", "roster")
    patched("an epoch note that was changed", TAMPERED, "epochs/1.note", 20, b"9", "epochs/1.note")
    patched("a wrapped epoch that was changed", TAMPERED, "epochs/1.age", 300, b"\0", "epochs/1.age")
    now = files()
    now["epochs/1.age"], now["epochs/2.age"] = now["epochs/2.age"], now["epochs/1.age"]
    vector("two wrapped epochs under each other's names", TAMPERED, now, "epochs/1.age")
    now = files()
    now["admin.pub"] = writer.published("kluis-admin", writer.ed25519("carla")[1])
    vector("another admin's key", TAMPERED, now, "roster/1.note")
    patched("an admin's key with another key id", TAMPERED, "admin.pub", 12, b"00000000", "admin.pub")
    now = files()
    now["roster/2.note"] = writer.signed("kluis roster 1\nversion 2\n", "kluis-admin", "admin")
    vector("a roster that the ledger does not name", SUCCESS, now)


def checkpoint(size=None, root=None, vault=None, label="key checkpoint", change=None):
    import ledger

    size = len(BASE.entries) if size is None else size
    root = ledger.root(BASE.entries[:size]) if root is None else root
    origin = "kluis/" + (vault or BASE.vault).hex()
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    return (change or (lambda note: note))(writer.signed(text, origin, label).decode())


def checkpoints():
    def check(name, expect, note):
        vector(name, expect, files(), checkpoint=note)

    other = writer.signed("x\n", "witness.example", "witness").decode().split("\n\n")[1]
    check("the newest checkpoint", SUCCESS, checkpoint())
    check("an earlier checkpoint", SUCCESS, checkpoint(7))
    check("the checkpoint of no entries", SUCCESS, checkpoint(0))
    check("a checkpoint with a witness", SUCCESS, checkpoint(change=lambda note: note + other))
    check("a checkpoint of more entries than there are", TAMPERED, checkpoint(len(BASE.entries) + 1, draw("root")))
    check("a checkpoint with another root", TAMPERED, checkpoint(root=draw("root")))
    check("a checkpoint of another vault", TAMPERED, checkpoint(vault=bytes(16)))
    check("a checkpoint signed with another key", TAMPERED, checkpoint(label="carla"))
    check("a checkpoint that was changed behind its signature", TAMPERED, checkpoint(change=lambda n: n.replace(f"\n{len(BASE.entries)}\n", "\n7\n")))
    check("a checkpoint with a leading zero", TAMPERED, forged(f"\n{len(BASE.entries)}\n", f"\n0{len(BASE.entries)}\n"))
    check("a checkpoint without a signature", TAMPERED, checkpoint(change=lambda n: n.split("\n\n")[0] + "\n\n"))
    check("a checkpoint that only a witness signed", TAMPERED, checkpoint(change=lambda n: n.split("\n\n")[0] + "\n\n" + other))
    for name, expect, note in (
        ("the last erasure's checkpoint", SUCCESS, checkpoint(20)),
        ("the last erasure's checkpoint, of more entries than there are", TAMPERED, checkpoint(len(BASE.entries) + 1, draw("root"))),
        ("the last erasure's checkpoint, of another root", TAMPERED, checkpoint(20, draw("root"))),
        ("the last erasure's checkpoint, signed with another key", TAMPERED, checkpoint(label="carla")),
        ("the last erasure's checkpoint, empty", TAMPERED, ""),
    ):
        now = files()
        now["keys/checkpoint"] = note.encode()
        vector(name, expect, now, "checkpoint" if expect != SUCCESS else None)
    check("a checkpoint with a good and a bad signature", TAMPERED, checkpoint(change=spoilt))


def forged(old, new):
    note = checkpoint().split("\n\n")[0] + "\n"
    origin = "kluis/" + BASE.vault.hex()
    return writer.signed(note.replace(old, new), origin, "key checkpoint").decode()


def spoilt(note):
    line = note.split("\n\n")[1].rstrip("\n")
    mark, encoded = line.rsplit(" ", 1)
    signature = bytearray(base64.b64decode(encoded))
    signature[20] ^= 1
    return note + f"{mark} {base64.b64encode(signature).decode()}\n"


def main():
    vector("the vault as it is", SUCCESS, files())
    fields()
    sums()
    structure()
    sealed()
    entered()
    here = os.path.dirname(os.path.abspath(__file__))
    target = sys.argv[1] if len(sys.argv) > 1 else here
    shutil.rmtree(os.path.join(target, "base"), ignore_errors=True)
    for path, data in BASE.files.items():
        path = os.path.join(target, "base", path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as handle:
            handle.write(data)
    secrets = {str(n): writer.identity(f"epoch {n}") for n in (1, 2)}
    with open(os.path.join(target, "vectors.json"), "w", encoding="utf-8") as handle:
        lines = ",\n".join(json.dumps(v, ensure_ascii=False) for v in VECTORS)
        handle.write(f'{{"epochs": {json.dumps(secrets)}, "vectors": [\n{lines}\n]}}\n')
    print(len(VECTORS))


if __name__ == "__main__":
    main()
