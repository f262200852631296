"""Frames, files that grow, packs, the cabinet (vault-format §1, §2, §5)."""

from functools import lru_cache
import struct
from typing import NamedTuple

from blake3 import blake3
from refusal import Refusal, future, tampered

HEADER, ALIGN, GROUP, UNIT = 64, 64, 512, 4096
CHUNK_PACK, BOX_PACK, LEDGER, CABINET, CABINET_KEY, PLAN = 0x01, 0x02, 0x03, 0x04, 0x05, 0x09
CHUNK, BOX, TABLE, END, ENTRIES, ADDED, DROPPED = 0x11, 0x12, 0x13, 0x14, 0x21, 0x31, 0x32
TYPES = {1, 2, 3, 4, 5, PLAN, CHUNK, BOX, TABLE, END, ENTRIES, ADDED, DROPPED}
DEAD, MAY_DIE = 1, {CHUNK_PACK, BOX_PACK, CHUNK, BOX}
LONGEST = {CHUNK: 262_160, BOX: 96 << 20}


class Frame(NamedTuple):
    at: int
    type: int
    address: bytes
    payload: bytes
    dead: bool

    @property
    def end(self):
        return self.at + HEADER + len(self.payload)

    @property
    def group(self):
        """Where the write that this frame of a growing file belongs to began."""
        return self.number({ENTRIES: 2, ADDED: 3, DROPPED: 3}.get(self.type, 4))

    def number(self, index):
        """The address as four integers: the one of this index."""
        return int.from_bytes(self.address[8 * index : 8 * index + 8], "little")


def up(number, multiple):
    return -(-number // multiple) * multiple


_CRC = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    _CRC.append(_byte)


@lru_cache(8192)
def crc32c(data):
    crc, table = 0xFFFFFFFF, _CRC
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def frame(data, at, file):
    """The true frame at `at`, or None. One of a later version is a refusal, whatever its checksum."""
    head = data[at : at + HEADER]
    if len(head) < HEADER or head[:4] != b"klus" or head[4] < 1:
        return None
    if head[4] > 1:
        raise future("a frame of a later version, or damaged", file, at)
    if head[20:32] != bytes(12):
        return None
    flags = int.from_bytes(head[6:8], "little")
    if head[5] not in TYPES or flags & ~(DEAD if head[5] in MAY_DIE else 0):
        raise future("a frame of a later version, or damaged", file, at)
    length = int.from_bytes(head[8:16], "little")
    payload = data[at + HEADER : at + HEADER + length]
    if len(payload) != length:
        return None
    if flags and head[5] in LONGEST:
        return Frame(at, head[5], head[32:64], payload, True)
    if crc32c(head[0:6] + head[8:16] + head[20:64] + payload) != int.from_bytes(head[16:20], "little"):
        return None
    return Frame(at, head[5], head[32:64], payload, bool(flags))


class Walk:
    """The true frames of a file that grows, one after the other, its head first.

    `bad` is then where the end of a write was cut off, None if nothing was.
    """

    def __init__(self, data, file, kinds):
        self.data, self.file, self.kinds, self.bad = data, file, kinds, None

    def __iter__(self):
        at = group = 0
        while at < len(self.data):
            found = frame(self.data, at, self.file)
            if found is None:
                end = min(up(at + 1, GROUP), len(self.data))
                if any(self.data[at:end]):
                    return self._torn(at)
                at = end
                continue
            if at > 0:
                if found.type not in self.kinds:
                    raise tampered("a frame that does not belong here", self.file, at)
                if found.group != group:
                    group = at
                if found.group != group:
                    raise tampered("a frame that was written elsewhere", self.file, at)
            yield found
            at = up(found.end, ALIGN)

    def _torn(self, bad):
        for behind in range(up(bad, ALIGN), len(self.data), ALIGN):
            if self.data[behind : behind + 4] == b"klus" and _group(self.data, behind, self.file) > bad:
                raise tampered("a place that is no frame, with a later write behind it", self.file, bad)
        self.bad = bad


def _group(data, at, file):
    try:
        found = frame(data, at, file)
    except Refusal:
        return 0
    return found.group if found is not None else 0


class Record(NamedTuple):
    """A record of a pack: its payload, or why there is none."""

    file: str
    at: int
    payload: bytes
    refusal: Refusal


class Pack:
    """The records of a pack by address, and what is wrong with it as a whole."""

    def __init__(self, data, file, vault):
        self.data, self.file, self.records, self.wrong = data, file, [], []
        self.wanted, self.has_dead = None, False
        try:
            self._head(vault)
        except Refusal as refusal:
            self.wrong.append(refusal)
        table = self._table()
        if table is None:
            self._scan()
        else:
            for i in range(0, len(table), 48):
                self._row(table[i : i + 32], *struct.unpack("<QQ", table[i + 32 : i + 48]))

    def _head(self, vault):
        head = frame(self.data, 0, self.file)
        if head is None or head.type not in (CHUNK_PACK, BOX_PACK) or head.payload:
            raise tampered("no head of a pack", self.file, 0)
        if head.address != vault + bytes(16):
            raise tampered("a pack of another vault", self.file, 0)
        self.has_dead = head.dead
        self.wanted = CHUNK if head.type == CHUNK_PACK else BOX

    def _table(self):
        """The rows of a closed pack; None if it is open, or its table is not true."""
        at = len(self.data) - HEADER
        try:
            end = frame(self.data, at, self.file) if at >= 0 and at % ALIGN == 0 else None
        except Refusal:
            end = None
        if end is None or end.type != END:
            return None
        try:
            table = frame(self.data, end.number(0), self.file)
        except Refusal:
            return None
        if table is None or table.type != TABLE or len(table.payload) % 48:
            return None
        return table.payload if blake3(table.payload) == table.address else None

    def _row(self, address, at, length):
        refusal = tampered("no true record where the table says", self.file, at)
        found = None
        try:
            found = frame(self.data, at, self.file)
        except Refusal as later:
            refusal = later
        if found is not None and found.dead and self.has_dead:
            return
        true = found is not None and not found.dead and found.type in LONGEST and self.wanted in (None, found.type)
        if true and found.address == address and len(found.payload) == length:
            self._add(found)
        else:
            self.wrong.append(refusal)
            self.records.append((address, Record(self.file, at, None, refusal)))

    def _add(self, found):
        """A box is held against its address at once; a chunk when its key is known."""
        refusal = None
        if found.type == BOX and blake3(found.payload) != found.address:
            refusal = tampered("a box that is not the one of its address", self.file, found.at)
            self.wrong.append(refusal)
        self.records.append((found.address, Record(self.file, found.at, found.payload, refusal)))

    def _behind_dead(self, found):
        """Where a scan goes on behind a dead record: its length is believed if something fits."""
        at = up(found.end, ALIGN)
        try:
            fits = at % UNIT == 0 or self.data[at : at + HEADER] in (bytes(HEADER), b"")
            fits = fits or self.data[at : at + 4] == b"klus" and frame(self.data, at, self.file) is not None
        except Refusal:
            fits = False
        return at if fits else up(found.at + 1, UNIT)

    def _scan(self):
        at = UNIT
        while at < len(self.data):
            try:
                found = frame(self.data, at, self.file)
            except Refusal:
                found = None
            if found is not None and found.dead:
                at = self._behind_dead(found)
                continue
            if found is not None and found.type in LONGEST and self.wanted in (None, found.type):
                if len(found.payload) <= LONGEST[found.type]:
                    self._add(found)
                else:
                    found = None
            elif found is not None and found.type not in (TABLE, END):
                found = None
            at = up(at + 1, UNIT) if found is None else up(found.end, ALIGN)
