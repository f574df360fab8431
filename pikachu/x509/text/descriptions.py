"""Text of the values in certificates, CSRs and CRLs: algorithms, names, times and numbers.

Nothing is validated: values that the CA would reject are shown as well.
"""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.certificate import parse_time
from pikachu.x509.extension_text import object_name
from pikachu.x509.names import Name, NameAttribute, escape_value, string_text

_MAXIMUM_ATTRIBUTES: Final = 64
_MAXIMUM_VALUE: Final = 2_000
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Names that OpenSSL 3.0 lacks, as in its newer versions.
_ALGORITHMS: Final = {
    "1.2.840.10040.4.1": "dsaEncryption",
    "1.2.840.10040.4.3": "dsaWithSHA1",
    "2.16.840.1.101.3.4.3.2": "dsa_with_SHA256",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
    "2.16.840.1.101.3.4.4.1": "ML-KEM-512",
    "2.16.840.1.101.3.4.4.2": "ML-KEM-768",
    "2.16.840.1.101.3.4.4.3": "ML-KEM-1024",
    "1.3.101.111": "X448",
    "1.3.14.3.2.26": "sha1",
    "1.2.840.113549.2.7": "hmacWithSHA1",
    "1.2.840.113549.2.9": "hmacWithSHA256",
    "1.2.840.113549.2.10": "hmacWithSHA384",
    "1.2.840.113549.2.11": "hmacWithSHA512",
    "1.2.840.113549.1.5.14": "PBMAC1",
    "1.2.840.113549.1.12.10.1.1": "keyBag",
    "1.2.840.113549.1.12.10.1.2": "pkcs8ShroudedKeyBag",
    "1.2.840.113549.1.12.10.1.3": "certBag",
    "1.2.840.113549.1.12.10.1.4": "crlBag",
    "1.2.840.113549.1.12.10.1.5": "secretBag",
    "1.2.840.113549.1.12.10.1.6": "safeContentsBag",
    "1.2.840.113549.3.7": "des-ede3-cbc",
    "1.3.14.3.2.7": "des-cbc",
    "1.2.840.113549.1.5.12": "PBKDF2",
    "1.2.840.113549.1.5.13": "PBES2",
    "1.3.6.1.4.1.11591.4.11": "scrypt",
    "1.2.840.113549.1.12.1.3": "pbeWithSHA1And3-KeyTripleDES-CBC",
    "1.2.840.113549.1.12.1.6": "pbeWithSHA1And40BitRC2-CBC",
    "2.16.840.1.101.3.4.1.2": "aes-128-cbc",
    "2.16.840.1.101.3.4.1.22": "aes-192-cbc",
    "2.16.840.1.101.3.4.1.42": "aes-256-cbc",
    "2.16.840.1.101.3.4.1.6": "aes-128-gcm",
    "2.16.840.1.101.3.4.1.46": "aes-256-gcm",
}


def algorithm_name(oid: str) -> str:
    """Return OpenSSL's name of an algorithm or a PKCS#12 bag type, or its OID when unknown."""
    return _ALGORITHMS.get(oid) or object_name(oid)


def algorithm_text(element: der.Element) -> str:
    """Return the name of the algorithm in an AlgorithmIdentifier.

    :raises MalformedRequest: *element* is malformed.
    """
    return algorithm_name(first(element.expect(der.SEQUENCE)).oid())


def first(element: der.Element) -> der.Element:
    """Return the first child of an element.

    :raises MalformedRequest: *element* is empty.
    """
    child = next(element.children(), None)
    if child is None:
        raise MalformedRequest("an ASN.1 structure is empty")
    return child


def shown(text: str) -> str:
    """Escape *text* when it contains characters that are invisible or change the display of others."""
    return text if text.isprintable() else escape_value(text)


def value_text(element: der.Element) -> str:
    """Format a character string as text, and any other value in hexadecimal."""
    text = _text_of(element)
    return f"#{element.whole[:_MAXIMUM_VALUE].hex()}" if text is None else shown(text)


def _text_of(element: der.Element) -> str | None:
    """Return the beginning of a character string, even if its bytes are not valid for its type."""
    text = string_text(element)
    return text if text is None or len(text) <= _MAXIMUM_VALUE else f"{text[:_MAXIMUM_VALUE]}…"


def name_of(element: der.Element) -> Name:
    """Parse a Name without the checks of :func:`pikachu.x509.names.parse_name`.

    :raises MalformedRequest: *element* is not a Name.
    """
    rdns: list[tuple[NameAttribute, ...]] = []
    for rdn in element.expect(der.SEQUENCE).children():
        if len(rdns) == _MAXIMUM_ATTRIBUTES:
            raise MalformedRequest(f"a name has more than {_MAXIMUM_ATTRIBUTES} parts")
        attributes: list[NameAttribute] = []
        for attribute in rdn.expect(der.SET).children():
            parts = attribute.expect(der.SEQUENCE).sub()
            if len(parts) != 2 or len(attributes) == _MAXIMUM_ATTRIBUTES:
                raise MalformedRequest("an attribute of a name has a type and a value")
            attributes.append(NameAttribute(parts[0].oid(), _text_of(parts[1]), parts[1].whole[:_MAXIMUM_VALUE]))
        rdns.append(tuple(attributes))
    return Name(element.whole, tuple(rdns))


def name_text(element: der.Element) -> str:
    """Format a Name as in RFC 4514.

    :raises MalformedRequest: *element* is not a Name.
    """
    return name_of(element).text or "(empty)"


def moment_text(element: der.Element) -> str:
    """Format a time in the style of openssl: ``Nov 25 15:20:32 2026 GMT``."""
    try:
        moment = parse_time(element)
    except MalformedRequest:
        return f"{shown(element.content.decode('latin-1'))} (not as RFC 5280 asks for)"
    return f"{_MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S} {moment.year} GMT"


def number_text(element: der.Element) -> str:
    """Format an INTEGER: a short one in decimal and hexadecimal, a long one in hexadecimal.

    :raises MalformedRequest: *element* is not an INTEGER or ENUMERATED.
    """
    content = element.content
    if element.tag not in (der.INTEGER, der.ENUMERATED) or not content:
        raise MalformedRequest("expected an ASN.1 integer")
    if len(content) > 8:
        return content.lstrip(b"\x00").hex(":")
    number = int.from_bytes(content, "big", signed=True)
    return f"{number} ({'-' if number < 0 else ''}0x{abs(number):x})"


def serial_hex(element: der.Element) -> str:
    """Format a serial number in hexadecimal without leading zeros, as everywhere in this CA."""
    return element.content.hex().lstrip("0") or "0"
