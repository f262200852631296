"""What a manifest says beside content, by the kind of its box (vault-format §7)."""

import cbor
from ledger import CONTACT, ITEM, LETTER, NOTE
from refusal import future, tampered

SOURCES, ROLES, PROTECTIONS, SUBJECTS, FINDINGS, STORAGES, DETAILS = 4, 3, 4, 10, 18, 2, 2
PICTURES = 4


def check(kind, detail):
    """Refuses a detail that is malformed, or that says something of a later version."""
    try:
        if kind == LETTER:
            _letter(cbor.decode(detail))
        elif kind == ITEM:
            _item(cbor.decode(detail))
        elif kind == NOTE:
            _known(cbor.decode(detail)[1], SUBJECTS)
        elif kind == CONTACT and len(cbor.decode(detail)[1]) != 32:
            raise tampered("a fingerprint has a wrong length")
    except (KeyError, IndexError, TypeError):
        raise tampered("a detail is malformed") from None


def _letter(fields):
    _known(fields[0][4], SOURCES)
    for finding in fields[2]:
        _known(finding, FINDINGS)
    _known(fields[3][0], PROTECTIONS)
    for card in fields[4]:
        _known(card[1], ROLES)
        if card.get(5) is not None:
            _known(card[5], PICTURES)


def _item(detail):
    _known(detail[0], DETAILS)
    if detail[0] == 0:
        leaf = detail[1][0]
        _known(leaf[2], ROLES)
        _known(leaf[6][0], STORAGES)


def _known(number, count):
    if not isinstance(number, int) or number < 0:
        raise tampered("an enumeration is malformed")
    if number >= count:
        raise future("an enumeration says something of a later version")
