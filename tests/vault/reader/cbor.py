"""CBOR as far as the vault uses it (RFC 8949): integers, bytes, text, arrays, maps, booleans."""

from refusal import tampered

DEEPEST = 16


def decode(data):
    """The one item that `data` is."""
    value, end = first(data)
    if end != len(data):
        raise tampered("bytes behind the CBOR")
    return value


def first(data):
    """The first item of `data`, and where it ends."""
    return _item(memoryview(data), 0, 0)


def _item(data, at, depth):
    if depth > DEEPEST or at >= len(data):
        raise tampered("CBOR ends early, or is too deep")
    major, short = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        if short not in (20, 21):
            raise tampered("CBOR of a kind that is not used")
        return short == 21, at
    if short < 24:
        number = short
    elif short < 28:
        size = 1 << (short - 24)
        if at + size > len(data):
            raise tampered("CBOR ends early")
        number = int.from_bytes(data[at : at + size], "big")
        at += size
    else:
        raise tampered("CBOR of indefinite length")
    if major == 0:
        return number, at
    if major == 1:
        return -1 - number, at
    if major in (2, 3):
        if at + number > len(data):
            raise tampered("CBOR ends early")
        content = bytes(data[at : at + number])
        at += number
        if major == 2:
            return content, at
        try:
            return content.decode("utf-8"), at
        except UnicodeDecodeError:
            raise tampered("text in CBOR is not UTF-8") from None
    if major == 4:
        if number > len(data) - at:
            raise tampered("CBOR ends early")
        items = []
        for _ in range(number):
            value, at = _item(data, at, depth + 1)
            items.append(value)
        return items, at
    if major == 5:
        fields = {}
        for _ in range(number):
            key, at = _item(data, at, depth + 1)
            if not isinstance(key, int) or isinstance(key, bool):
                raise tampered("a map's key is no integer")
            if key in fields:
                raise tampered("a map's key twice")
            fields[key], at = _item(data, at, depth + 1)
        return fields, at
    raise tampered("CBOR with a tag")
