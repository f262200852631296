"""Signed notes, checkpoints, rosters, epoch notes (vault-format §9)."""

import base64
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from refusal import future, tampered

ADMIN = "kluis-admin"
ROLES = ["backoffice", "admin", "dpo", "auditor"]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}\Z")


def published(line):
    """The name and the Ed25519 key of a published key's line."""
    parts = line.strip().split("+", 2)
    if len(parts) != 3:
        raise tampered("no published key")
    name, key_id, key = parts[0], parts[1], _base64(parts[2])
    if len(key) != 33 or key[0] != 1 or key_id != _key_id(name, key[1:]).hex():
        raise tampered("a published key is malformed")
    return name, key[1:]


def _key_id(name, key):
    return hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4]


def signed(data, name, key):
    """The text of a note that `name` signed with `key`."""
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise tampered("a signed note is not UTF-8") from None
    text, separator, signatures = note.rpartition("\n\n")
    text += "\n"
    if not separator or not signatures.endswith("\n") or re.search(r"[\0-\x09\x0b-\x1f\x7f-\x9f]", note):
        raise tampered("no signed note")
    good = False
    for line in signatures[:-1].split("\n"):
        match = re.fullmatch(r"— ([^ +]+) ([A-Za-z0-9+/=]+)", line)
        if match is None:
            raise tampered("a signature line is malformed")
        signature = _base64(match[2])
        if match[1] != name or signature[:4] != _key_id(name, key):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature[4:], text.encode())
        except InvalidSignature:
            raise tampered("a signature is wrong") from None
        good = True
    if not good:
        raise tampered(f"a note that {name} did not sign")
    return text


def checkpoint(data, vault, key):
    """How many entries a checkpoint covers, and their root."""
    origin = "kluis/" + vault.hex()
    lines = signed(data, origin, key).split("\n")
    if len(lines) != 4 or lines[0] != origin or not re.fullmatch(r"0|[1-9][0-9]{0,19}", lines[1]):
        raise tampered("no checkpoint of this vault")
    root = _base64(lines[2])
    if len(root) != 32:
        raise tampered("no checkpoint of this vault")
    return int(lines[1]), root


def roster(text, vault):
    """The members of a roster: number → (name, roles, recipient)."""
    lines = _opened(text, "roster")
    version = _field(lines, 0, "version", r"[1-9][0-9]*")
    if _field(lines, 1, "vault", r"[0-9a-f]{32}") != vault.hex():
        raise tampered("a roster of another vault")
    at, members, backups = 2, {}, []
    while at < len(lines) and lines[at].startswith("member "):
        parts = lines[at].split(" ", 4)
        if len(parts) != 5 or not re.fullmatch(r"0|[1-9][0-9]*", parts[1]):
            raise tampered("a member's line is malformed")
        number, roles = int(parts[1]), parts[3].split(",")
        if members and number <= max(members) or number > 0xFFFF:
            raise tampered("members are not in order")
        if not NAME.match(parts[2]) or [r for r in ROLES if r in roles] != roles:
            raise tampered("a member's name or roles are malformed")
        members[number] = (parts[2], roles, _recipient(parts[4]))
        at += 1
    recovery = _recipient(_field(lines, at, "recovery", r".+"))
    for line in lines[at + 1 :]:
        parts = line.split(" ", 2)
        if len(parts) != 3 or parts[0] != "backup" or not NAME.match(parts[1]):
            raise tampered("a backup key's line is malformed")
        if backups and parts[1] <= backups[-1][0]:
            raise tampered("backup keys are not in order")
        backups.append((parts[1], _recipient(parts[2])))
    names = [name for name, _, _ in members.values()]
    keys = [key for _, _, key in members.values()] + [recovery] + [key for _, key in backups]
    if len(set(names)) < len(names) or len(set(keys)) < len(keys):
        raise tampered("a name or a key twice in the roster")
    if len(readers(members)) < 2 or len(backups) < 2 or len(members) > 256 or len(backups) > 64:
        raise tampered("a roster with too few or too many")
    return int(version), members, recovery


def readers(members):
    """Name and recipient of those who read, by number."""
    return [(n, key) for _, (n, roles, key) in sorted(members.items()) if {"backoffice", "dpo"} & set(roles)]


def epoch(text, vault):
    """(number, public key, BLAKE3 of the wrapped secret) of an epoch note."""
    lines = _opened(text, "epoch")
    if _field(lines, 0, "vault", r"[0-9a-f]{32}") != vault.hex():
        raise tampered("an epoch of another vault")
    number = int(_field(lines, 1, "number", r"[1-9][0-9]*"))
    public = _field(lines, 2, "public", r"age1[0-9a-z]+")
    file = bytes.fromhex(_field(lines, 3, "file", r"[0-9a-f]{64}"))
    wrapped = lines[4:-1]
    if len(wrapped) < 2:
        raise tampered("an epoch with fewer than two readers")
    for line in wrapped:
        parts = line.split(" ", 2)
        if len(parts) != 3 or parts[0] != "reader" or not NAME.match(parts[1]):
            raise tampered("a reader's line is malformed")
        _recipient(parts[2])
    _recipient(_field(lines, len(lines) - 1, "recovery", r".+"))
    return number, public, file


def hand_over(text, vault):
    """(number, key before, new key, highest epoch) of the note that hands the admin key over."""
    lines = _opened(text, "admin")
    if _field(lines, 0, "vault", r"[0-9a-f]{32}") != vault.hex():
        raise tampered("an admin key of another vault")
    number = int(_field(lines, 1, "number", r"[1-9][0-9]*"))
    (one, before), (two, key) = (published(_field(lines, at, name, r".+")) for at, name in [(2, "before"), (3, "key")])
    if one != ADMIN or two != ADMIN or len(lines) != 6:
        raise tampered("a hand-over is malformed")
    _field(lines, 5, "mailbox", r"0|[1-9][0-9]*")
    return number, before, key, int(_field(lines, 4, "epoch", r"0|[1-9][0-9]*"))


def _opened(text, what):
    lines = text.split("\n")[:-1]
    match = re.fullmatch(rf"kluis {what} ([1-9][0-9]*)", lines[0])
    if match is None:
        raise tampered(f"no {what}")
    if match[1] != "1":
        raise future(f"a {what} of a later version")
    return lines[1:]


def _field(lines, at, name, pattern):
    match = re.fullmatch(rf"{name} ({pattern})", lines[at]) if at < len(lines) else None
    if match is None:
        raise tampered(f"the line {name} is missing or malformed")
    return match[1]


def _recipient(text):
    if not re.fullmatch(r"age1[0-9a-z]+|ssh-ed25519 [A-Za-z0-9+/=]+", text):
        raise tampered("a recipient is malformed")
    return text


def _base64(text):
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise tampered("base 64 is malformed") from None
