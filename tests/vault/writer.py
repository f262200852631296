"""Writes a whole vault by docs/vault-format.md: the same bytes at every run.

Everything random is drawn from a label, so nothing here is fit to keep a secret. A vector changes
one thing on the way: `hooks` maps the name of a step to a function that takes what the step made
and gives what is to stand there.
"""

import base64
import hashlib
import hmac
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "reader"))

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

import age
import boxes
import frames
import ledger
import notes
from blake3 import blake3, derive_key, keyed_hash

RAW, PUBLIC = serialization.Encoding.Raw, serialization.PublicFormat.Raw
MINUTE = 29_893_500


def draw(label, length=32):
    """Bytes that look random and are not."""
    out, count = b"", 0
    while len(out) < length:
        out += hashlib.sha256(f"kluis vectors {label} {count}".encode()).digest()
        count += 1
    return out[:length]


# CBOR


def cbor(value):
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    pairs = sorted(value.items())
    return head(5, len(pairs)) + b"".join(cbor(key) + cbor(field) for key, field in pairs)


def head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    size = next(s for s in range(4) if number < 1 << (8 << s))
    return bytes([major << 5 | 24 + size]) + number.to_bytes(1 << size, "big")


# age, signed notes


def encrypt(label, content, recipients):
    """An age v1 file for these `age1…` recipients."""
    file_key, text = draw(label + " file key", 16), "age-encryption.org/v1\n"
    for i, recipient in enumerate(recipients):
        public = age._bech32(recipient, "age")
        ephemeral = X25519PrivateKey.from_private_bytes(draw(f"{label} ephemeral {i}"))
        share = ephemeral.public_key().public_bytes(RAW, PUBLIC)
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
        wrap = age._hkdf(shared, share + public, b"age-encryption.org/v1/X25519")
        body = ChaCha20Poly1305(wrap).encrypt(bytes(12), file_key, None)
        text += f"-> X25519 {unpadded(share)}\n{unpadded(body)}\n"
    text += "---"
    mac = hmac.new(age._hkdf(file_key, b"", b"header"), text.encode(), hashlib.sha256).digest()
    nonce = draw(label + " nonce", 16)
    cipher = ChaCha20Poly1305(age._hkdf(file_key, nonce, b"payload"))
    pieces = [content[i : i + age.PIECE] for i in range(0, len(content), age.PIECE)] or [b""]
    sealed = b""
    for i, piece in enumerate(pieces):
        last = b"\1" if i == len(pieces) - 1 else b"\0"
        sealed += cipher.encrypt(i.to_bytes(11, "big") + last, piece, None)
    return f"{text} {unpadded(mac)}\n".encode() + nonce + sealed


def unpadded(data):
    return base64.b64encode(data).decode().rstrip("=")


def identity(label):
    """`AGE-SECRET-KEY-1…` of a drawn secret."""
    return age._to_bech32("age-secret-key-", draw(label)).upper()


def recipient(label):
    return age.recipient(draw(label))


def ed25519(label):
    key = Ed25519PrivateKey.from_private_bytes(draw(label))
    return key, key.public_key().public_bytes(RAW, PUBLIC)


def published(name, public):
    key = base64.b64encode(b"\1" + public).decode()
    return f"{name}+{notes._key_id(name, public).hex()}+{key}\n".encode()


def signed(text, name, label):
    key, public = ed25519(label)
    signature = base64.b64encode(notes._key_id(name, public) + key.sign(text.encode())).decode()
    return f"{text}\n— {name} {signature}\n".encode()


# Frames


def frame(kind, address, payload=b"", version=1, flags=0, reserved=bytes(12)):
    start = b"klus" + bytes([version, kind])
    length = len(payload).to_bytes(8, "little")
    crc = frames.crc32c(start + length + reserved + address + payload)
    return start + flags.to_bytes(2, "little") + length + crc.to_bytes(4, "little") + reserved + address + payload


def numbers(*values):
    return b"".join(value.to_bytes(8, "little") for value in values)


def fill(data, multiple):
    data += bytes(-len(data) % multiple)


class Grown:
    """A file that grows: groups of frames."""

    def __init__(self, top):
        self.data = bytearray(top)

    def group(self, makers):
        """Appends frames, each made by a function of the group's offset; gives their offsets."""
        fill(self.data, frames.GROUP)
        group, places = len(self.data), []
        for make in makers:
            fill(self.data, frames.ALIGN)
            places.append(len(self.data))
            self.data += make(group)
        return places


class PackFile:
    """A pack that is being written."""

    def __init__(self, vault, kind):
        self.kind, self.rows, self.places = kind, b"", {}
        self.data = bytearray(frame(kind, vault + bytes(16)))
        fill(self.data, frames.UNIT)

    def unit(self, records):
        """One write: (name, address, payload) each."""
        for name, address, payload in records:
            fill(self.data, frames.ALIGN)
            at = len(self.data)
            self.places[name] = at
            self.data += frame(frames.CHUNK if self.kind == frames.CHUNK_PACK else frames.BOX, address, payload)
            self.rows += address + numbers(at, len(payload))
        fill(self.data, frames.UNIT)

    def close(self):
        at = len(self.data)
        self.data += frame(frames.TABLE, blake3(self.rows), self.rows)
        fill(self.data, frames.ALIGN)
        self.data += frame(frames.END, numbers(at, len(self.rows) // 48, 0, 0))
        self.places["table"], self.places["end"] = at, len(self.data) - 64


# The vault


class Writer:
    """The vault of the vectors; `files` is what it consists of, `at` where its parts lie."""

    def __init__(self, hooks=None):
        self.hooks, self.used = hooks or {}, set()
        self.vault = draw("vault", 16)
        self.files, self.at = {}, {}
        self.entries, self.groups, self.slots, self.sealed = [], [], {}, []
        self.chunks, self.boxes, self.names = [], [], []
        self._signed()
        self._history()
        self._ledger()
        self._cabinet()
        self._packs()
        unused = set(self.hooks) - self.used
        if unused:
            raise ValueError(f"no such step: {unused}")

    def hook(self, step, value):
        """What the step made, or what is to stand there."""
        if step in self.hooks:
            self.used.add(step)
            return self.hooks[step](value)
        return value

    def _signed(self):
        _, admin = ed25519("admin")
        self.files["kluis.toml"] = b"# the settings are not of the format\n"
        self.files["admin.pub"] = published(notes.ADMIN, admin)
        _, public = ed25519("key checkpoint")
        self.files["checkpoint.pub"] = published("kluis/" + self.vault.hex(), public)
        people = f"member 1 anna backoffice {recipient('anna')}\nmember 2 bert dpo {recipient('bert')}\n"
        text = f"kluis roster 1\nversion 1\nvault {self.vault.hex()}\n{people}recovery {recipient('recovery')}\n"
        text += f"backup carla {recipient('carla')}\nbackup dirk {recipient('dirk')}\n"
        self.files["roster/1.note"] = signed(self.hook("roster", text), notes.ADMIN, self.hook("roster signer", "admin"))
        for number in (1, 2):
            self._epoch(number)

    def _epoch(self, number):
        name = f"epoch {number}"
        secret = f"# kluis secret: epoch\n# public key: {recipient(name)}\n{identity(name)}\n"
        readers = [recipient(who) for who in ("anna", "bert", "recovery")]
        self.files[f"epochs/{number}.age"] = encrypt(name, secret.encode(), readers)
        digest = blake3(self.files[f"epochs/{number}.age"]).hex()
        text = f"kluis epoch 1\nvault {self.vault.hex()}\nnumber {number}\npublic {recipient(name)}\nfile {digest}\n"
        text += f"reader anna {readers[0]}\nreader bert {readers[1]}\nrecovery {readers[2]}\n"
        self.files[f"epochs/{number}.note"] = signed(self.hook(name, text), notes.ADMIN, "admin")

    # Sealing

    def content(self, name, data):
        """Chunks of a content; gives the chunk keys."""
        padded = bytearray(data)
        padded += bytes(boxes.padme(len(data), boxes.LEAST, boxes.BODY) - len(data))
        padded = bytes(self.hook(f"{name} padded", padded))
        base = derive_key("kluis v1 chunk", draw(name + " window") + bytes([1, 0, 1]))
        keys, records = [], []
        for i in range(0, len(padded), boxes.BODY):
            body = padded[i : i + boxes.BODY]
            digest = blake3(body)
            key = keyed_hash(base, digest)
            sealed = AESGCM(key).encrypt(bytes(12), body, None)
            address = derive_key("kluis v1 address", key)
            keys.append(self.hook(f"{name} key {len(keys)}", digest + key))
            records.append((f"{name} chunk {len(records)}", address, sealed))
        self.chunks[-1] += self.hook(f"{name} chunks", records)
        return b"".join(self.hook(f"{name} keys", keys))

    def box(self, name, fact, kind, letter, item, detail, more=None, content=None, epoch=1, media_type=""):
        """Seals a box and enters it."""
        keys = b"" if content is None else self.content(name, content)
        length = 0 if content is None else len(content)
        manifest = {0: draw(name + " salt"), 1: media_type, 2: b"", 3: length, 4: keys, 5: detail}
        manifest = self.hook(f"{name} manifest", manifest)
        raw = self.hook(f"{name} M", cbor(manifest))
        addresses = [derive_key("kluis v1 address", keys[i + 32 : i + 64]) for i in range(0, len(keys), 64)]
        if kind in (ledger.CONTACT, ledger.OUTGOING):
            sealed = self.hook(f"{name} S", raw)
        else:
            padded = raw + bytes(boxes.padme(len(raw), 512, None) - len(raw))
            padded = self.hook(f"{name} padded M", padded)
            sealed = encrypt(name, padded, self.hook(f"{name} recipients", [recipient(f"epoch {epoch}")]))
            sealed = self.hook(f"{name} S", sealed)
        inner = self.hook(f"{name} inner", {0: b"".join(addresses), 1: sealed})
        slot, key = draw(name + " slot", 16), draw(name + " EK")
        place = bytes([kind]) + self.vault + letter + (item or letter) + slot
        place = self.hook(f"{name} place", place)
        layer = self.hook(f"{name} layer", cbor(inner))
        box = self.hook(f"{name} X", AESGCM(key).encrypt(bytes(12), layer, place))
        address = blake3(box)
        self.boxes[-1] += self.hook(f"{name} box", [(name, address, box)])
        self.slots[name] = (slot, key)
        fields = {4: letter, 6: slot, 7: address, 8: blake3(raw), 9: kind, **(more or {})}
        if item is not None:
            fields[5] = item
        if kind not in (ledger.CONTACT, ledger.OUTGOING):
            fields[12] = epoch
        self.enter(name, fact, {3: CASE, **fields})

    def enter(self, name, fact, fields=None):
        number = sum(len(frame) for group in [*self.groups, self.group] for frame in group)
        entry = self.hook(f"{name} entry", {0: number, 1: MINUTE + number, 2: fact, **(fields or {})})
        self.names.append(name)
        self.group[-1].append((name, self.hook(f"{name} entry bytes", cbor(entry))))

    def commit(self, closes=False):
        """What was entered since is one group: of the ledger, of the cabinet, of the packs."""
        self.groups.append(self.group)
        self.sealed.append((dict(self.slots), closes))
        self.slots = {}
        self.begin()

    def begin(self):
        self.group = [[]]
        self.chunks.append([])
        self.boxes.append([])

    # What happened

    def _history(self):
        self.begin()
        self.enter("created", 0)
        self.enter("roster signed", 1, {15: blake3(self.files["roster/1.note"])})
        self._sign_epoch(1)
        for count, name in ((1, "key checkpoint"), (2, "key message-id")):
            slot, key = draw(name + " slot", 16), draw(name)
            public = ed25519(name)[1] if count == 1 else blake3(key)
            self.slots[name] = (slot, key)
            self.enter(name, 4, {6: slot, 15: self.hook(f"{name} public", public), 16: count})
        self.commit()
        self.enter("epoch 1 proven", 3, {12: 1, 13: 1})
        self.commit()
        self._first_letter()
        self.enter("looked", 15, {3: CASE, 4: ONE, 5: draw("photo", 16), 13: 1})
        self.group.append([])
        self.enter("listed", 14, {13: 1, 15: blake3(ONE), 16: 1, 17: 12, 19: 1})
        self.commit()
        note = {0: CASE, 1: 0, 2: "a remark", 3: ONE, 4: b""}
        note_id = draw("note", 16)
        self.box("note", 10, ledger.NOTE, note_id, None, cbor(self.hook("note detail", note)), {13: 1, 14: 12})
        self.commit(closes=True)
        self._sign_epoch(2)
        self.enter("epoch 2 proven", 3, {12: 2, 13: 1})
        self.commit()
        self._second_letter()
        mail = cbor({0: "backoffice@jobexpert.example", 1: "lotte@client.example", 2: b"Subject: K\r\n\r\nciphertext\r\n"})
        self.box("outgoing", 10, ledger.OUTGOING, draw("mail", 16), None, b"", {14: 12}, content=mail)
        self.enter("delivered", 12, {3: CASE, 4: draw("mail", 16)})
        self.commit()
        self.enter("photo forgotten", 16, {3: CASE, 4: ONE, 5: draw("photo", 16), 6: draw("photo slot", 16), 13: 1})
        self.commit()
        self.enter("rotated", 18, {16: 2})
        self.commit()
        self._opened_letter()
        contact = {3: CASE, 4: TWO, 5: TWO, 6: draw("second contact slot", 16)}
        self.enter("contact forgotten", 16, contact)
        self.commit()

    def _sign_epoch(self, number):
        digest = blake3(self.files[f"epochs/{number}.note"])
        self.enter(f"epoch {number} signed", 2, {12: number, 15: digest})

    def _first_letter(self):
        parts = [("text", b"Dear sirs, what do you keep about me?\r\n", [0, []])]
        parts.append(("photo", draw("photo content", 3000), [1, [76, False, True]]))
        parts.append(("file", draw("file content", 270_000), [1, [64, True, False]]))
        self.enter("case", 7, {3: CASE, 10: 20_790, 11: 20_851})
        self._letter("letter", ONE, 8, parts, b"Subject: my data\r\n\r\n", {})
        self._contact("contact", ONE)
        self.commit()

    def _second_letter(self):
        parts = [("second text", b"-----BEGIN PGP MESSAGE-----\r\n", [0, []])]
        self._letter("second letter", TWO, 8, parts, b"Subject: again\r\n\r\n", {10: 20_790, 11: 20_851}, epoch=2)
        self._contact("second contact", TWO)
        self.enter("redelivered", 9, {3: CASE, 4: TWO})
        self.commit()

    def _opened_letter(self):
        parts = [("inner text", b"what was inside\r\n", [0, []])]
        container = {13: 1, 18: draw("second text", 16)}
        self._letter("opened letter", THREE, 27, parts, b"Subject: inside\r\n\r\n", container, epoch=2)
        self.commit()

    def _contact(self, name, letter):
        detail = {0: "lotte@client.example", 1: blake3(letter), 2: "1@client.example", 3: ["backoffice@jobexpert.example"]}
        self.box(name, 10, ledger.CONTACT, letter, None, cbor(self.hook(f"{name} detail", detail)))

    def _letter(self, name, letter, fact, parts, header, more, epoch=1):
        cards, holes = [], []
        container = {key: value for key, value in more.items() if key in (13, 18)}
        for part, body, storage in parts:
            leaf = {0: 0, 1: len(body), 2: 0, 3: "text/plain", 5: [], 6: storage, 7: "7bit", 9: 0}
            detail = cbor(self.hook(f"{part} detail", [0, [leaf]]))
            size = {14: (boxes.padme(len(body), boxes.LEAST, boxes.BODY) - 1).bit_length(), **container}
            self.box(part, 10, ledger.ITEM, letter, draw(part, 16), detail, size, body, epoch, "text/plain")
            cards.append({0: draw(part, 16), 1: 0, 2: "text/plain", 3: 0})
            holes.append({0: len(header), 1: storage})
        skeleton, joined = draw(name + " skeleton", 16), self.hook(f"{name} skeleton", {0: header + b"end", 1: holes})
        self.box(f"{name} skeleton", 10, ledger.ITEM, letter, skeleton, cbor([1, []]), {14: 12, **container}, cbor(joined), epoch)
        mailbox = {1: "lotte@client.example"}
        envelope = {0: "lotte@client.example", 1: ["backoffice@jobexpert.example"], 2: "client.example", 4: 0, 5: False}
        headers = {0: [mailbox], 1: [], 2: [], 3: "my data", 6: [], 7: 1}
        detail = {0: envelope, 1: headers, 2: [], 3: [0, []], 4: cards, 5: skeleton, 6: 100}
        detail = cbor(self.hook(f"{name} detail", detail))
        if fact == 27:
            more = {**more, 14: 12}
        self.box(name, fact, ledger.LETTER, letter, None, detail, more, epoch=epoch)

    # Files

    def _ledger(self):
        first, total = 0, 0
        grown = None
        for i, group in enumerate(self.groups):
            if i in (0, SECOND_FILE):
                first, grown = total, Grown(frame(frames.LEDGER, self.vault + numbers(total, 0)))
                file = f"ledger/{first:016x}.log"
            makers, names = [], []
            for entries in group:
                number = total
                total += len(entries)
                payload = self.hook(f"frame {number} payload", cbor([raw for _, raw in entries]))
                address = lambda group, number=number, count=len(entries): numbers(number, count, group, 0)
                makers.append(lambda group, address=address, payload=payload, number=number: frame(
                    frames.ENTRIES, self.hook(f"frame {number} address", address(group)), payload
                ))
                names.append([name for name, _ in entries])
                self.entries += [raw for _, raw in entries]
            for place, members in zip(grown.group(makers), names):
                self.at.update({f"{name} entry": (file, place) for name in members})
            self.files[file] = grown.data

    def _cabinet(self):
        key, generation = self.hook("CK", draw("cabinet key")), 2
        self.files["keys/2.key"] = bytearray(frame(frames.CABINET_KEY, self.vault + numbers(generation, 0), key))
        gone = {"photo"}
        before, after = self.sealed[:ROTATED], self.sealed[ROTATED:]
        kept = [item for slots, _ in before for item in slots.items() if item[0] not in gone]
        kept = self.hook("kept slots", kept)
        grown = Grown(frame(frames.CABINET, self.vault + numbers(generation, len(kept))))
        for name, slot in kept:
            fill(grown.data, frames.ALIGN)
            self.at[name + " slot"] = ("cabinet.2", len(grown.data))
            grown.data += self._slot(key, name, *slot, 0)
        for slots, _ in after:
            if slots:
                makers = [lambda group, name=name, slot=slot: self._slot(key, name, *slot, group) for name, slot in slots.items()]
                for name, place in zip(slots, grown.group(makers)):
                    self.at[name + " slot"] = ("cabinet.2", place)
        drop = draw("second contact slot", 16)
        (place,) = grown.group([lambda group: frame(frames.DROPPED, drop + numbers(0, group))])
        self.at["drop"] = ("cabinet.2", place)
        self.files["cabinet.2"] = grown.data

    def _slot(self, key, name, slot, value, group):
        sealed = AESGCM(keyed_hash(key, slot)).encrypt(bytes(12), value, slot)
        sealed = self.hook(f"{name} slot", sealed)
        return frame(frames.ADDED, slot + numbers(MINUTE, group), sealed)

    def _packs(self):
        for kind, name, written in ((frames.CHUNK_PACK, "chunks", self.chunks), (frames.BOX_PACK, "boxes", self.boxes)):
            number = 1
            pack = PackFile(self.vault, kind)
            for records, (_, closes) in zip(written, self.sealed):
                if records:
                    pack.unit(records)
                if closes:
                    pack.close()
                    self._put(pack, f"{name} {number}")
                    number, pack = number + 1, PackFile(self.vault, kind)
            self._put(pack, f"{name} {number}")

    def _put(self, pack, name):
        file = f"packs/{draw(name, 16).hex()}.pack"
        self.files[file] = pack.data
        self.at[name] = (file, 0)
        for part, place in pack.places.items():
            self.at[f"{name} {part}" if part in ("table", "end") else f"{part} record"] = (file, place)


CASE = 0x5_1234_5678
ONE, TWO, THREE = draw("letter one", 16), draw("letter two", 16), draw("letter three", 16)
SECOND_FILE, ROTATED = 6, 9


def unpack(data, at):
    """Header fields of the frame at `at`: type, length, address."""
    return data[at + 5], struct.unpack("<Q", data[at + 8 : at + 16])[0], bytes(data[at + 32 : at + 64])


def resum(data, at):
    """Makes the checksum of the frame at `at` right again."""
    length = unpack(data, at)[1]
    covered = data[at : at + 6] + data[at + 8 : at + 16] + data[at + 20 : at + 64 + length]
    data[at + 16 : at + 20] = frames.crc32c(bytes(covered)).to_bytes(4, "little")
