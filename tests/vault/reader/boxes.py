"""Boxes, manifests, chunks, letters (vault-format §3, §4, §7)."""

import base64
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import age
import cbor
from blake3 import blake3, derive_key
from ledger import CONTACT, OUTGOING
from refusal import NO_KEY, Refusal, missing, tampered

BODY, LEAST = 262_144, 4096
FORGOTTEN = b"[kluis: forgotten]"


def decipher(key, sealed, place, why):
    try:
        return AESGCM(key).decrypt(bytes(12), sealed, place)
    except (InvalidTag, ValueError):
        raise tampered(why) from None


def padme(n, least, most):
    e = max(n, 2).bit_length() - 1
    s = e.bit_length()
    step = 1 << max(e - s, 0)
    step = max(step, least)
    if most is not None:
        step = min(step, most)
    return -(-max(n, 1) // step) * step


class Manifest:
    """What a box says, once both layers are open."""

    def __init__(self, raw):
        fields = cbor.decode(raw)
        if not isinstance(fields, dict):
            raise tampered("a manifest is no map")
        types = {0: bytes, 1: str, 2: bytes, 3: int, 4: bytes, 5: bytes}
        if any(type(fields.get(key)) is not kind for key, kind in types.items()):
            raise tampered("a manifest lacks a field, or one is malformed")
        if len(fields[0]) != 32 or fields[3] < 0 or len(fields[4]) % 64:
            raise tampered("a manifest's field has a wrong length")
        self.raw, self.media_type, self.name = raw, fields[1], fields[2]
        self.length, self.detail = fields[3], fields[5]
        self.chunks = [(fields[4][i : i + 32], fields[4][i + 32 : i + 64]) for i in range(0, len(fields[4]), 64)]


def open_box(sealed, key, entry, vault, epochs):
    """The manifest of a box and the addresses of its chunks; `epochs` maps a number to its secret."""
    place = bytes([entry.kind]) + vault + entry.letter + (entry.item or entry.letter) + entry.slot
    inner = cbor.decode(decipher(key, sealed, place, "a box does not open with its key in its place"))
    if not isinstance(inner, dict) or not all(isinstance(inner.get(i), bytes) for i in (0, 1)):
        raise tampered("an inner layer is malformed")
    padded = inner[1] if entry.kind in (CONTACT, OUTGOING) else _unsealed(inner[1], entry, epochs)
    _, end = cbor.first(padded)
    if any(padded[end:]):
        raise tampered("something but zeros behind a manifest")
    raw = padded[:end]
    if not hmac.compare_digest(blake3(raw), entry.manifest):
        raise tampered("a manifest is not the one in the ledger")
    manifest = Manifest(raw)
    addresses = b"".join(derive_key("kluis v1 address", key) for _, key in manifest.chunks)
    if addresses != inner[0]:
        raise tampered("the addresses of a box are not those of its keys")
    return manifest


def _unsealed(sealed, entry, epochs):
    if entry.epoch not in epochs:
        raise Refusal(NO_KEY, f"no secret of epoch {entry.epoch}")
    try:
        return age.decrypt(sealed, [epochs[entry.epoch]])
    except Refusal as refusal:
        raise Refusal(NO_KEY, refusal.why) from None


def content(manifest, records):
    """The content of a box, from the chunk records by address."""
    if not manifest.chunks and not manifest.length:
        return b""
    padded = padme(manifest.length, LEAST, BODY)
    if len(manifest.chunks) != -(-padded // BODY):
        raise tampered("a manifest has another number of chunks than its length wants")
    bodies = []
    for at, (digest, key) in zip(range(0, padded, BODY), manifest.chunks):
        length = min(BODY, padded - at)
        address = derive_key("kluis v1 address", key)
        candidates = records.get(address)
        if not candidates:
            raise missing(f"chunk {address.hex()}")
        bodies.append(_chunk(candidates, digest, key, length))
    whole = b"".join(bodies)
    if any(whole[manifest.length :]):
        raise tampered("the padding of the content is not zero")
    return whole[: manifest.length]


def _chunk(candidates, digest, key, length):
    """One body: equal chunks may lie in more than one pack, any good one will do."""
    refusal = None
    for record in candidates:
        try:
            if record.refusal is not None:
                raise record.refusal
            body = decipher(key, record.payload, None, "a chunk does not open")
            if not hmac.compare_digest(blake3(body), digest):
                raise tampered("a chunk has another content than the manifest says")
            if len(body) != length:
                raise tampered("a chunk has a wrong length")
            return body
        except Refusal as found:
            refusal = refusal or found.place(record.file, record.at)
    raise refusal


def raw_message(letter, skeleton, items):
    """The raw message of a letter; `items` gives the content of an item id, None if it was forgotten."""
    fields = cbor.decode(skeleton)
    joined, out, at = fields[0], [], 0
    cards = [card for card in letter[4] if card.get(4) is None]
    if len(fields[1]) != len(cards):
        raise tampered("a skeleton has another number of holes than its letter has items")
    for hole, card in zip(fields[1], cards):
        if not at <= hole[0] <= len(joined):
            raise tampered("the holes of a skeleton are not in order")
        body = items(card[0])
        out += [joined[at : hole[0]], FORGOTTEN if body is None else _stored(hole[1], body)]
        at = hole[0]
    out.append(joined[at:])
    return b"".join(out)


def _stored(storage, body):
    if storage[0] == 0:
        return body
    width, bare, closed = storage[1]
    text = base64.b64encode(body)
    end = b"\n" if bare else b"\r\n"
    lines = [text[i : i + width] for i in range(0, len(text), width)]
    return end.join(lines) + (end if closed and lines else b"")
