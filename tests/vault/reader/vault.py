"""A whole vault: the ledger, the cabinet, the packs, and everything that they hold."""

import os
import re
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import age
import boxes
import cbor
import frames
import ledger
import notes
from blake3 import blake3, keyed_hash
from refusal import NO_KEY, Refusal, missing, tampered


class Vault:
    """An opened vault. Whatever concerns the whole of it has been checked."""

    def __init__(self, directory, key_directory, secrets):
        self.directory, self.key_directory = directory, key_directory
        if not os.path.isfile(os.path.join(directory, "kluis.toml")):
            raise missing("no vault", "kluis.toml")
        self.vault = None
        self._read_ledger()
        self._read_mark()
        self._read_cabinet()
        self._read_packs()
        self._read_signed()
        self._unwrap(secrets)

    # The ledger

    def _read_ledger(self):
        self.entries = []
        names = self._names("ledger", r"[0-9a-f]{16}\.log")
        if f"{0:016x}.log" not in names:
            raise missing("no ledger", f"ledger/{0:016x}.log")
        for name in names:
            file, last = f"ledger/{name}", name == names[-1]
            if int(name[:16], 16) != len(self.entries):
                raise missing("a file of the ledger", f"ledger/{len(self.entries):016x}.log")
            data = self._data(file)
            walk, first = frames.Walk(data, file, {frames.ENTRIES}), len(self.entries)
            for frame in walk:
                if frame.at > 0:
                    self._add_entries(frame, file)
                    continue
                self._head(frame, file, frames.LEDGER, first)
                if frame.number(3):
                    raise tampered("not the head of this ledger file", file, 0)
            if walk.bad == 0 and first == 0 or not data and first == 0:
                raise tampered("no head of a ledger", file, 0)
            if walk.bad is not None and not last:
                raise tampered("a ledger file with another behind it is cut off", file, walk.bad)
        self.root = ledger.root([e.raw for e in self.entries])

    def _add_entries(self, frame, file):
        if frame.number(0) != len(self.entries) or frame.number(3):
            raise tampered("entries out of their place", file, frame.at)
        try:
            raws = cbor.decode(frame.payload)
        except Refusal as refusal:
            raise refusal.place(file, frame.at)
        if not isinstance(raws, list) or len(raws) != frame.number(1) or not all(type(r) is bytes for r in raws):
            raise tampered("entries are malformed", file, frame.at)
        for raw in raws:
            self.entries.append(ledger.entry(raw, file, frame.at, len(self.entries)))

    def _read_mark(self):
        """The checkpoint of the last erasure, beside the cabinet's key."""
        path = os.path.join(self.key_directory, "checkpoint")
        if os.path.isfile(path):
            with open(path, "rb") as handle:
                note = handle.read()
            try:
                self.verify(note)
            except Refusal as refusal:
                raise refusal.place("checkpoint", None)

    # The cabinet

    def _read_cabinet(self):
        generations = [int(n[8:]) for n in self._names(".", r"cabinet\.[1-9][0-9]*")]
        if not generations:
            raise missing("no cabinet", "cabinet.1")
        self.generation = max(generations)
        file = f"cabinet.{self.generation}"
        key = self._cabinet_key()
        walk = frames.Walk(self._data(file), file, {frames.ADDED, frames.DROPPED})
        slots, added, begun, end = {}, 0, 0, 0
        for frame in walk:
            slot, end = frame.address[:16], frame.end
            if frame.at == 0:
                self._head(frame, file, frames.CABINET, self.generation)
                begun = frame.number(3)
                continue
            if frame.type == frames.DROPPED:
                if frame.payload:
                    raise tampered("a drop with a payload", file, frame.at)
                slots.pop(slot, None)
                continue
            added += 1
            if len(frame.payload) != 48:
                raise tampered("a slot has a wrong length", file, frame.at)
            slots[slot] = frame.payload
        if end == 0 or added < begun:
            place = end if walk.bad is None else walk.bad
            raise tampered("fewer slots than the cabinet was begun with", file, place)
        self._check_torn(slots, file, walk.bad)
        self.gone = {e.slot for e in self.entries if e.fact in (ledger.FORGOTTEN, ledger.SLOT_DROPPED)}
        self.keys, refused = {}, {}
        for slot, sealed in slots.items():
            try:
                self.keys[slot] = boxes.decipher(keyed_hash(key, slot), sealed, slot, "a slot does not open")
            except Refusal as refusal:
                refused[slot] = refusal.place(file, None)
        if refused and not self.keys:
            raise tampered("a key that does not open the cabinet", f"{self.generation}.key", 0)
        self.refused_keys = refused

    def _check_torn(self, slots, file, bad):
        if bad is None:
            return
        brought = [e for e in self.entries if e.brings_key]
        newest = [e for e in brought if (e.file, e.at) == (brought[-1].file, brought[-1].at)]
        gone = {e.slot for e in self.entries if e.fact in (ledger.FORGOTTEN, ledger.SLOT_DROPPED)}
        if any(e.slot not in slots and e.slot not in gone for e in newest):
            raise tampered("the end of the cabinet is damaged", file, bad)

    def _cabinet_key(self):
        file = f"{self.generation}.key"
        path = os.path.join(self.key_directory, file)
        if not os.path.isfile(path):
            raise missing("the key of the cabinet", file)
        with open(path, "rb") as handle:
            data = handle.read()
        head = frames.frame(data, 0, file)
        if head is None or len(data) != 96 or len(head.payload) != 32:
            raise tampered("no key of a cabinet", file, 0)
        self._head(head, file, frames.CABINET_KEY, self.generation)
        if head.number(3):
            raise tampered("not the key of this cabinet", file, 0)
        return head.payload

    def key(self, entry):
        """What lies in the slot of an entry."""
        if entry.slot in self.refused_keys:
            raise self.refused_keys[entry.slot]
        if entry.slot not in self.keys or entry.slot in self.gone:
            raise Refusal(NO_KEY, f"slot {entry.slot.hex()}", f"cabinet.{self.generation}")
        return self.keys[entry.slot]

    # The packs

    def _read_packs(self):
        self.records, self.wrong = {}, []
        for name in self._names("packs", r"[0-9a-f]{32}\.pack"):
            file = f"packs/{name}"
            pack = frames.Pack(self._data(file), file, self.vault)
            self.wrong += pack.wrong
            for address, record in pack.records:
                self.records.setdefault(address, []).append(record)

    # Roster and epochs

    def _read_signed(self):
        try:
            name, key = notes.published(self._data("admin.pub").decode("utf-8", "replace"))
        except Refusal as refusal:
            raise refusal.place("admin.pub", None)
        if name != notes.ADMIN:
            raise tampered("not the admin's key", "admin.pub")
        self.admins = [(key, None)]
        for entry in self.entries:
            if entry.fact == ledger.ADMIN_SIGNED:
                self._hand_over(entry)
        key = self.admins[-1][0]
        rosters = {}
        for file in self._names("roster", r"[1-9][0-9]*\.note"):
            data = self._data(f"roster/{file}")
            rosters[blake3(data)] = (f"roster/{file}", data)
        wanted = [e.hash for e in self.entries if e.fact == ledger.ROSTER_SIGNED]
        if not wanted or wanted[-1] not in rosters:
            raise missing("the roster that the ledger names", "roster")
        file, data = rosters[wanted[-1]]
        try:
            version, self.members, _ = notes.roster(notes.signed(data, name, key), self.vault)
        except Refusal as refusal:
            raise refusal.place(file, None)
        if file != f"roster/{version}.note":
            raise tampered("a roster under another version's name", file)
        self.epochs = {}
        for entry in self.entries:
            if entry.fact == ledger.EPOCH_SIGNED:
                self.epochs[entry.epoch] = self._epoch(entry)
            elif entry.fact == ledger.REWRAPPED and entry.epoch in self.epochs:
                self.epochs[entry.epoch] = self.epochs[entry.epoch][0], entry.hash
            elif entry.fact == ledger.DESTROYED:
                self.epochs.pop(entry.epoch, None)

    def _hand_over(self, entry):
        """The next admin key, and up to which epoch the one before counts."""
        file = f"admin/{entry.count}.note"
        data = self._data(file)
        if blake3(data) != entry.hash:
            raise tampered("a hand-over is not the one that the ledger names", file)
        old = self.admins[-1][0]
        try:
            number, before, key, epoch = notes.hand_over(notes.signed(data, notes.ADMIN, old), self.vault)
        except Refusal as refusal:
            raise refusal.place(file, None)
        if number != entry.count or number != len(self.admins) + 1 or before != old or key in dict(self.admins):
            raise tampered("a hand-over out of order", file)
        self.admins[-1] = (old, epoch)
        self.admins.append((key, None))

    def _signed_epoch(self, data, number):
        """The text of an epoch note by the admin in force, or by one before in their time."""
        for key, last in reversed(self.admins):
            if last is None or number <= last:
                try:
                    return notes.signed(data, notes.ADMIN, key)
                except Refusal as refusal:
                    wrong = refusal
        raise wrong

    def _epoch(self, entry):
        file = f"epochs/{entry.epoch}.note"
        data = self._data(file)
        if blake3(data) != entry.hash:
            raise tampered("an epoch note is not the one that the ledger names", file)
        try:
            number, public, digest = notes.epoch(self._signed_epoch(data, entry.epoch), self.vault)
        except Refusal as refusal:
            raise refusal.place(file, None)
        if number != entry.epoch:
            raise tampered("an epoch note of another number", file)
        return public, digest

    def _unwrap(self, secrets):
        """The secrets of epochs: given ones, and what given ones unwrap."""
        self.secrets, self.unwrapping = {}, []
        publics = {age.recipient(secret): secret for secret in secrets}
        for number, (public, digest) in self.epochs.items():
            file = f"epochs/{number}.age"
            data = self._data(file)
            if blake3(data) != digest:
                raise tampered("a wrapped epoch is not the one that its note names", file)
            if public in publics:
                self.secrets[number] = publics[public]
                continue
            try:
                inside = age.decrypt(data, secrets).decode()
                lines = inside.split("\n")
                if lines[0] != "# kluis secret: epoch" or lines[1] != f"# public key: {public}":
                    raise tampered("a wrapped epoch says something else", file)
                (secret,) = age.identities(inside)
                if age.recipient(secret) != public:
                    raise tampered("a wrapped epoch holds another key", file)
                self.secrets[number] = secret
            except Refusal as refusal:
                self.unwrapping.append((number, refusal.place(file, None)))

    # Boxes

    def boxes(self):
        """The entries that brought a box, and were not forgotten."""
        return [e for e in self.entries if e.is_box and e.slot not in self.gone]

    def open(self, entry):
        """The manifest of an entry's box."""
        records = self.records.get(entry.address)
        key = self.key(entry)
        if not records:
            raise missing(f"box {entry.address.hex()}")
        good = [record for record in records if record.refusal is None]
        if not good:
            raise records[0].refusal
        try:
            return boxes.open_box(good[0].payload, key, entry, self.vault, self.secrets)
        except Refusal as refusal:
            if refusal.what == NO_KEY:
                for number, found in self.unwrapping:
                    if number == entry.epoch and found.what != NO_KEY:
                        raise found from None
            raise

    def content(self, manifest):
        return boxes.content(manifest, self.records)

    def server_key(self, entry):
        """A key of the server's own, checked against the ledger."""
        key = self.key(entry)
        public = blake3(key)
        if entry.count == 1:
            public = Ed25519PrivateKey.from_private_bytes(key).public_key()
            public = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        if public != entry.hash:
            raise tampered("a key of the server's own is not that of the ledger", entry.file, entry.at)
        return key

    def verify(self, checkpoint):
        """Checks that the ledger extends a checkpoint."""
        keys = [e.hash for e in self.entries if e.fact == ledger.SERVER_KEY and e.count == 1]
        if not keys:
            raise tampered("a checkpoint, and no key for it in the ledger")
        size, root = notes.checkpoint(checkpoint, self.vault, keys[-1])
        if size > len(self.entries) or ledger.root([e.raw for e in self.entries[:size]]) != root:
            raise tampered("the ledger does not extend the checkpoint")

    # Files

    def _head(self, head, file, kind, number):
        """Checks the first frame of a file: what it is, whose, and its number."""
        if head.type != kind:
            raise tampered("not the head that it should have", file, 0)
        if kind != frames.CABINET_KEY and head.payload:
            raise tampered("a head with a payload", file, 0)
        self.vault = self.vault or head.address[:16]
        if head.address[:16] != self.vault:
            raise tampered("of another vault", file, 0)
        if head.number(2) != number:
            raise tampered("of another number than its name", file, 0)

    def _names(self, folder, pattern):
        path = os.path.join(self.directory, folder)
        if not os.path.isdir(path):
            return []
        return sorted(name for name in os.listdir(path) if re.fullmatch(pattern, name))

    def _data(self, file):
        path = os.path.join(self.directory, file)
        if not os.path.isfile(path):
            raise missing("a file is not there", file)
        with open(path, "rb") as handle:
            return handle.read()
