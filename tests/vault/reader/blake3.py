"""BLAKE3, from its paper: hash, keyed hash, key derivation; 32 bytes out.

All chunks of an input are compressed side by side: one Python integer holds the same state word of
every chunk, in lanes of 64 bits of which the lower 32 are used. That makes pure Python fast enough.
"""

from array import array
from functools import lru_cache
import sys

IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
    0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
KEYED_HASH, DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 16, 32, 64
BLOCK, CHUNK = 64, 1024


@lru_cache(4096)
def blake3(data):
    return _digest(data, IV, 0)


@lru_cache(4096)
def keyed_hash(key, data):
    return _digest(data, _words(key), KEYED_HASH)


@lru_cache(4096)
def derive_key(context, material):
    inner = _digest(context.encode(), IV, DERIVE_KEY_CONTEXT)
    return _digest(material, _words(inner), DERIVE_KEY_MATERIAL)


def _digest(data, key, mode):
    whole, rest = divmod(len(data), CHUNK)
    if rest == 0 and whole > 0:
        whole, rest = whole - 1, CHUNK
    values = _chunks(data[: whole * CHUNK], whole, 0, CHUNK, key, mode, 0) if whole else []
    last_is_root = ROOT if whole == 0 else 0
    values += _chunks(data[whole * CHUNK :], 1, whole, rest, key, mode, last_is_root)
    while len(values) > 1:
        root = ROOT if len(values) == 2 else 0
        pairs = len(values) // 2
        left, right = values[0 : 2 * pairs : 2], values[1 : 2 * pairs : 2]
        block = [_lanes(v[i] for v in left) for i in range(8)]
        block += [_lanes(v[i] for v in right) for i in range(8)]
        parents = _compress([k * _ones(pairs) for k in key], block, 0, BLOCK, mode | PARENT | root, pairs)
        values = _unlanes(parents, pairs) + values[2 * pairs :]
    return b"".join(w.to_bytes(4, "little") for w in values[0])


def _chunks(data, count, first, length, key, mode, root):
    """The chaining values of `count` chunks of `length` bytes each."""
    blocks = max(1, -(-length // BLOCK))
    padded = data if length == blocks * BLOCK else data + bytes(blocks * BLOCK - length)
    words = array("I", padded)
    if sys.byteorder != "little":
        words.byteswap()
    value = [k * _ones(count) for k in key]
    counter = _lanes(range(first, first + count))
    for b in range(blocks):
        flags = mode | (CHUNK_START if b == 0 else 0)
        if b == blocks - 1:
            flags |= CHUNK_END | root
        size = min(BLOCK, length - b * BLOCK)
        block = [_lanes(words[b * 16 + i :: blocks * 16]) for i in range(16)]
        value = _compress(value, block, counter, size, flags, count)
    return _unlanes(value, count)


def _compress(value, m, counter, size, flags, count):
    ones = _ones(count)
    mask = 0xFFFFFFFF * ones
    v = list(value) + [k * ones for k in IV[:4]] + [counter, 0, size * ones, flags * ones]

    def g(a, b, c, d, x, y):
        v[a] = (v[a] + v[b] + x) & mask
        t = v[d] ^ v[a]
        v[d] = (t >> 16 | t << 16) & mask
        v[c] = (v[c] + v[d]) & mask
        t = v[b] ^ v[c]
        v[b] = (t >> 12 | t << 20) & mask
        v[a] = (v[a] + v[b] + y) & mask
        t = v[d] ^ v[a]
        v[d] = (t >> 8 | t << 24) & mask
        v[c] = (v[c] + v[d]) & mask
        t = v[b] ^ v[c]
        v[b] = (t >> 7 | t << 25) & mask

    for _ in range(7):
        for i in range(4):
            g(i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            g(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[i] for i in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


@lru_cache(512)
def _ones(count):
    return int.from_bytes(b"\1\0\0\0\0\0\0\0" * count, "little")


def _lanes(words):
    lanes = array("Q", words)
    if sys.byteorder != "little":
        lanes.byteswap()
    return int.from_bytes(lanes.tobytes(), "little")


def _unlanes(value, count):
    columns = []
    for word in value:
        lanes = array("Q", word.to_bytes(8 * count, "little"))
        if sys.byteorder != "little":
            lanes.byteswap()
        columns.append(lanes)
    return list(zip(*columns))


def _words(key):
    return tuple(int.from_bytes(key[i : i + 4], "little") for i in range(0, 32, 4))
