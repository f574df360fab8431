"""Text of the subject alternative names of issued certificates, for lists, pages and search.

Nothing is validated: what can't be decoded is left out.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import idna

from pikachu.core.errors import PikachuError
from pikachu.x509 import der
from pikachu.x509.extension_text import general_name_text

_SAN_OID: Final = b"\x06\x03\x55\x1d\x11"
#: Maximum number of names that are shown and searched.
MAX_NAMES: Final = 200
# Bytes of the longest value whose texts are remembered.
_REMEMBERED_SIZE: Final = 1024
# A whole label, of the length that DNS permits.
_A_LABEL: Final = re.compile(r"(?<![A-Za-z0-9-])xn--[A-Za-z0-9-]{1,59}(?![A-Za-z0-9-])", re.IGNORECASE | re.ASCII)


def certificate_sans(certificate: bytes) -> tuple[str, ...]:
    """Return the subject alternative names of a DER certificate, such as ``DNS:a.example.com`` or ``IP:192.0.2.1``."""
    if _SAN_OID not in certificate:
        return ()
    try:
        fields = next(der.parse(certificate, der.SEQUENCE).children()).expect(der.SEQUENCE).sub()
        extensions = next(field for field in fields if field.tag == 0xA3).sub()[0]
        for extension in extensions.expect(der.SEQUENCE).children():
            # Compared before its parts are decoded, since every issuance passes here.
            if certificate.startswith(_SAN_OID, extension.start):
                return san_texts(extension.sub()[-1].expect(der.OCTET_STRING).content)
    except (PikachuError, LookupError, StopIteration):
        pass
    return ()


def san_texts(value: bytes) -> tuple[str, ...]:
    """Return the texts of the names of a subjectAltName extension's value.

    :raises MalformedRequest: when it is not DER.
    """
    return _remembered_texts(value) if len(value) <= _REMEMBERED_SIZE else _texts(value)


def _texts(value: bytes) -> tuple[str, ...]:
    return tuple(text for name in der.parse(value, der.SEQUENCE).sub()[:MAX_NAMES] if (text := _text(name)))


# An issuance needs the texts of its names for the device's name, and again when the certificate is stored.
_remembered_texts = functools.lru_cache(maxsize=512)(_texts)


def _text(name: der.Element) -> str:
    try:
        return general_name_text(name)
    except (PikachuError, LookupError):
        return ""


def unicode_form(text: str) -> str:
    """Return *text* with its A-labels (``xn--…``, RFC 5890) as U-labels; invalid ones are left as they are."""
    if "xn--" not in text and "xn--" not in text.lower():
        return text
    return _A_LABEL.sub(lambda match: _u_label(match[0].lower()), text)


# Cached, as the certificates of one owner often share a domain.
@functools.lru_cache(maxsize=1024)
def _u_label(label: str) -> str:
    try:
        return idna.ulabel(label)
    except (idna.IDNAError, UnicodeError):
        return label
