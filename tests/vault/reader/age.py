"""age v1 files, binary, opened with X25519 identities (C2SP age)."""

import base64
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from refusal import NO_KEY, Refusal, future, tampered

PIECE = 65536
SYMBOLS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def identities(text):
    """The X25519 secrets of an age identity file."""
    lines = (line.strip() for line in text.splitlines())
    return [_bech32(line, "age-secret-key-") for line in lines if line.startswith("AGE-SECRET-KEY-1")]


def recipient(secret):
    """`age1…` of a secret."""
    return _to_bech32("age", _public(secret))


def stanzas(file):
    """The stanzas of the header: (arguments, body), and where the MAC's line starts."""
    version, at = _line(file, 0)
    if version.startswith("age-encryption.org/") and version != "age-encryption.org/v1":
        raise future("an age file of another version")
    if version != "age-encryption.org/v1":
        raise tampered("no age file")
    found = []
    while True:
        line, end = _line(file, at)
        if line.startswith("---"):
            return found, at
        if not line.startswith("-> ") or "" in line.split(" "):
            raise tampered("a stanza of the age header is malformed")
        at, body = end, ""
        while True:
            piece, at = _line(file, at)
            body += piece
            if len(piece) < 64:
                break
        found.append((line[3:].split(" "), _base64(body)))


def decrypt(file, secrets):
    """The content, opened with one of the secrets."""
    found, end = stanzas(file)
    file_key = None
    for arguments, body in found:
        if arguments[0] != "X25519":
            continue
        if len(arguments) != 2 or len(body) != 32 or len(_base64(arguments[1])) != 32:
            raise tampered("an X25519 stanza is malformed")
        for secret in secrets:
            file_key = file_key or _unwrap(_base64(arguments[1]), body, secret)
    if file_key is None:
        raise Refusal(NO_KEY, "none of the keys opens the age file")
    line, start = _line(file, end)
    mac = hmac.new(_hkdf(file_key, b"", b"header"), file[: end + 3], hashlib.sha256).digest()
    if not line.startswith("--- ") or not hmac.compare_digest(_base64(line[4:]), mac):
        raise tampered("the MAC of the age header is wrong")
    cipher = ChaCha20Poly1305(_hkdf(file_key, file[start : start + 16], b"payload"))
    pieces, at, count = [], start + 16, 0
    while True:
        piece = file[at : at + PIECE + 16]
        at += PIECE + 16
        last = at >= len(file)
        nonce = count.to_bytes(11, "big") + (b"\1" if last else b"\0")
        try:
            pieces.append(cipher.decrypt(nonce, piece, None))
        except (InvalidTag, ValueError):
            raise tampered("a piece of the age file does not open") from None
        if last:
            if count > 0 and not pieces[-1]:
                raise tampered("the age file ends with an empty piece")
            return b"".join(pieces)
        count += 1


def _unwrap(share, body, secret):
    try:
        shared = X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(share))
        key = _hkdf(shared, share + _public(secret), b"age-encryption.org/v1/X25519")
        file_key = ChaCha20Poly1305(key).decrypt(bytes(12), body, None)
    except (InvalidTag, ValueError):
        return None
    return file_key if len(file_key) == 16 else None


def _public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )


def _hkdf(secret, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)


def _line(file, at):
    end = file.find(b"\n", at)
    line = file[at:end] if end >= 0 else b"\xff"
    if any(not 0x20 <= byte <= 0x7E for byte in line):
        raise tampered("the age header is malformed")
    return line.decode(), end + 1


def _base64(text):
    """Base 64 without padding, in its one form."""
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise tampered("base 64 in the age header is malformed") from None
    if base64.b64encode(value).decode().rstrip("=") != text:
        raise tampered("base 64 in the age header is malformed")
    return value


def _bech32(text, prefix):
    text = text.lower()
    digits = [SYMBOLS.index(symbol) for symbol in text[len(prefix) + 1 :]]
    if _polymod(_expand(prefix) + digits) != 1:
        raise tampered("a bech32 string has a wrong checksum")
    number = 0
    for digit in digits[:-6]:
        number = number << 5 | digit
    bits = 5 * len(digits[:-6])
    return (number >> bits % 8).to_bytes(bits // 8, "big")


def _to_bech32(prefix, value):
    bits = 8 * len(value)
    count = -(-bits // 5)
    number = int.from_bytes(value, "big") << 5 * count - bits
    digits = [number >> 5 * (count - 1 - i) & 31 for i in range(count)]
    check = _polymod(_expand(prefix) + digits + [0] * 6) ^ 1
    digits += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(SYMBOLS[d] for d in digits)


def _expand(prefix):
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _polymod(values):
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= term if top >> i & 1 else 0
    return check
