"""Verifies an erasure certificate with a public key alone, by docs/vault-format.md §9."""

import base64
import binascii
import hashlib
import re
from datetime import datetime, timedelta, timezone

import ledger
import notes
from refusal import future, tampered

HEADER = "c2sp.org/tlog-proof@v1\n"
SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DAY = 24 * 60


def verify(data, published):
    """The entries that a certificate proves: forgotten, sealed or None, rotated or None."""
    name, key = notes.published(published)
    vault = bytes.fromhex(name.removeprefix("kluis/"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise tampered("a certificate is not UTF-8") from None
    title = re.match(r"kluis erasure certificate (0|[1-9][0-9]*)\n", text)
    if title is None:
        raise tampered("no certificate")
    if title[1] != "1":
        raise future("a certificate of a later version")
    words, *proofs = text.split("\n" + HEADER)
    if not 1 <= len(proofs) <= 3 or len(data) > 128 << 10:
        raise tampered("not one to three proofs")
    proven = [_proof(proof, vault, key) for proof in proofs]
    if len({checkpoint for _, checkpoint in proven}) != 1:
        raise tampered("more than one checkpoint")
    forgotten, *more = [entry for entry, _ in proven]
    if forgotten.fact != ledger.FORGOTTEN or forgotten.slot is None or forgotten.item is None:
        raise tampered("an entry that forgets nothing")
    rotated = more.pop() if more and more[-1].fact == ledger.ROTATED else None
    sealed = more.pop() if more else None
    if more or rotated is not None and rotated.seq <= forgotten.seq:
        raise tampered("an entry that does not belong into a certificate")
    if sealed is not None and (
        sealed.address is None or sealed.slot != forgotten.slot or sealed.seq >= forgotten.seq
    ):
        raise tampered("an entry of another box")
    if words != _words(vault, forgotten, sealed, rotated):
        raise tampered("words that are not those of the entries")
    return forgotten, sealed, rotated


def _proof(text, vault, key):
    form = r"extra ([A-Za-z0-9+/=]+)\nindex (0|[1-9][0-9]{0,19})\n((?:[A-Za-z0-9+/]{43}=\n){0,64})\n"
    match = re.match(form, text)
    if match is None:
        raise tampered("no proof")
    # Between two proofs lies an empty line, of which the separator took the one half.
    checkpoint = text[match.end() :]
    size, root = notes.checkpoint(checkpoint.encode(), vault, key)
    raw, index = _decoded(match[1]), int(match[2])
    path = [_decoded(line) for line in match[3].split("\n") if line]
    if index >= size or _root(raw, index, size, path) != root:
        raise tampered("a path that does not lead to the root")
    return ledger.entry(raw, "certificate", 0, index), checkpoint


def _decoded(text):
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise tampered("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise tampered("base64 written in another way")
    return data


def _root(leaf, index, size, path):
    """RFC 9162 §2.1.3.2."""
    at, last = index, size - 1
    node = hashlib.sha256(b"\0" + leaf).digest()
    for step in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            node = hashlib.sha256(b"\1" + step + node).digest()
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + step).digest()
        at, last = at >> 1, last >> 1
    return node if last == 0 else None


def _case(number):
    digits = [number >> shift & 31 for shift in range(30, -5, -5)]
    check = 0
    for value in digits:
        check = (check ^ value) << 1
        if check & 32:
            check ^= 0b100101
    symbols = "".join(SYMBOLS[value] for value in [*digits, check])
    return f"K-{symbols[:4]}-{symbols[4:]}"


def _time(minute):
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _words(vault, forgotten, sealed, rotated):
    lines = ["kluis erasure certificate 1", f"vault {vault.hex()}"]
    if forgotten.case is not None:
        lines.append(f"case {_case(forgotten.case)}")
    if forgotten.letter is not None:
        lines.append(f"letter {forgotten.letter.hex()}")
    lines += [f"item {forgotten.item.hex()}", f"key {forgotten.slot.hex()}"]
    if sealed is not None:
        lines.append(f"sealed {_time(sealed.minute)} entry {sealed.seq} box {sealed.address.hex()}")
    by = "the built-in rule for what has served its time" if forgotten.staff is None else f"member {forgotten.staff}"
    lines.append(f"forgotten {_time(forgotten.minute)} entry {forgotten.seq} by {by}")
    if rotated is not None:
        lines.append(f"new-cabinet-key {_time(rotated.minute)} entry {rotated.seq} number {rotated.count or 0}")
        lines.append(f"provisional until {_time(rotated.minute + 7 * DAY)}")
    else:
        until = _time(forgotten.minute + 8 * DAY)
        lines.append(f"provisional until {until} if the cabinet gets a new key within a day")
    return "\n".join(lines) + "\n"
