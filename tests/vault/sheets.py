#!/usr/bin/env python3
"""Rebuilds the recovery key from sheets, without kluis: vault-format §9, nothing but Python itself.

    python3 sheets.py < typed-sheets.txt > recovery.key

Reads lines `n  XXXX XXXX XXXX XXXX XXXX`, six for each sheet, and writes an age identity file.
"""
import hashlib
import sys

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def line_bytes(number, text):
    symbols = "".join(text.upper().split()).translate(str.maketrans("OIL", "011"))
    if len(symbols) != 20:
        sys.exit(f"line {number}: {len(symbols)} symbols where 20 belong")
    value = 0
    for symbol in symbols:
        value = value << 5 | CROCKFORD.index(symbol)
    data = (value >> 20).to_bytes(10, "big")
    check = hashlib.sha256(b"kluis sheet line\n" + bytes([number]) + data).digest()
    if int.from_bytes(check[:3], "big") >> 4 != value & 0xFFFFF:
        sys.exit(f"line {number}: its check does not fit")
    return data


def sheets(text):
    lines = [line.split(None, 1) for line in text.splitlines()]
    lines = [words for words in lines if len(words) == 2 and words[0] in "123456"]
    for start in range(0, len(lines), 6):
        six = lines[start : start + 6]
        if [number for number, _ in six] != list("123456"):
            sys.exit("a sheet has six lines, 1 to 6")
        data = b"".join(line_bytes(int(number), rest) for number, rest in six)
        if hashlib.sha256(b"kluis sheet\n" + data[:52]).digest()[:8] != data[52:]:
            sys.exit("the lines are not of one sheet")
        if data[0] != 1:
            sys.exit("not a sheet of version 1")
        yield data


def times(a, b):  # in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1
    product = 0
    while b:
        product ^= a * (b & 1)
        a = a << 1 ^ (0x11B if a & 128 else 0)
        b >>= 1
    return product


def inverse(a):
    return next(b for b in range(1, 256) if times(a, b) == 1)


def rebuilt(all_sheets):
    shares = {data[3]: data[20:52] for data in all_sheets}
    if len({data[:3] + data[4:20] for data in all_sheets}) != 1 or len(shares) < all_sheets[0][1]:
        sys.exit("too few sheets of one ceremony")
    secret = bytearray(32)
    for x, share in shares.items():  # Lagrange's polynomials at 0
        weight = 1
        for other in shares:
            if other != x:
                weight = times(weight, times(other, inverse(other ^ x)))
        for i, byte in enumerate(share):
            secret[i] ^= times(weight, byte)
    return bytes(secret)


def bech32(prefix, data):  # BIP-173
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]
    check = 1
    head = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    for value in head + values + [0] * 6:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, g in enumerate([0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]):
            check ^= g if top >> i & 1 else 0
    values += [(check ^ 1) >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(BECH32[value] for value in values)


print(bech32("age-secret-key-", rebuilt(list(sheets(sys.stdin.read())))).upper())
