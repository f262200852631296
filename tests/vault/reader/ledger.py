"""The ledger: entries, their tree (vault-format §6)."""

import hashlib

import cbor
from refusal import Refusal, future, tampered

KEYS = {
    0: "seq", 1: "minute", 2: "fact", 3: "case", 4: "letter", 5: "item", 6: "slot", 7: "address",
    8: "manifest", 9: "kind", 10: "due_one", 11: "due_three", 12: "epoch", 13: "staff", 14: "size",
    15: "hash", 16: "count", 17: "position", 18: "container", 19: "filter",
}
BYTES = {"letter": 16, "item": 16, "slot": 16, "container": 16, "address": 32, "manifest": 32, "hash": 32}
BITS = {"case": 35, "epoch": 32, "staff": 16, "size": 8, "filter": 8}
SERVER_KEY, FORGOTTEN, SLOT_DROPPED, ROTATED, REWRAPPED, DESTROYED = 4, 16, 17, 18, 40, 41
ADMIN_SIGNED = 47
ROSTER_SIGNED, EPOCH_SIGNED = 1, 2
LETTER, ITEM, CONTACT, NOTE, OUTGOING = 1, 2, 3, 4, 5
FACTS, LAST_KIND = {*range(30), 32, 33, 35, 36, 37, 38, 39, 40, 41, 42, 43, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61}, 5


class Entry:
    """An entry: its fields by name, None where absent; its exact bytes; the frame it stands in."""

    def __init__(self, file, at, raw, fields):
        self.file, self.at, self.raw = file, at, raw
        for name in KEYS.values():
            setattr(self, name, fields.get(name))

    @property
    def is_box(self):
        """Whether it records a box."""
        return None not in (self.kind, self.slot, self.address, self.manifest, self.letter, self.case)

    @property
    def brings_key(self):
        """Whether it brings a key into the cabinet."""
        return self.slot is not None and (self.address is not None or self.fact == SERVER_KEY)


def entry(raw, file, at, seq):
    try:
        map_ = cbor.decode(raw)
        if not isinstance(map_, dict):
            raise tampered("an entry is no map")
        fields = {KEYS[key]: value for key, value in map_.items() if key in KEYS}
        for name, value in fields.items():
            if name in BYTES:
                good = isinstance(value, bytes) and len(value) == BYTES[name]
            else:
                good = isinstance(value, int) and not isinstance(value, bool)
                low, high = (-(1 << 31), 1 << 31) if name.startswith("due") else (0, 1 << BITS.get(name, 64))
                good = good and low <= value < high
            if not good:
                raise tampered(f"the field {name} of an entry is malformed")
        if not {"seq", "minute", "fact"} <= fields.keys():
            raise tampered("an entry without position, minute or fact")
        if fields["seq"] != seq:
            raise tampered("an entry out of its place")
        if fields["fact"] not in FACTS or not 1 <= fields.get("kind", 1) <= LAST_KIND:
            raise future("a fact or a kind of box of a later version")
    except Refusal as refusal:
        raise refusal.place(file, at)
    return Entry(file, at, raw, fields)


def root(leaves):
    """The root of the tree over the exact bytes of entries (RFC 9162 §2.1.1)."""
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    if not level:
        return hashlib.sha256().digest()
    while len(level) > 1:
        pairs = [
            hashlib.sha256(b"\1" + level[i] + level[i + 1]).digest()
            for i in range(0, len(level) - 1, 2)
        ]
        level = pairs + level[2 * len(pairs) :]
    return level[0]
