"""The words for what stands in certificates, requests and lists: algorithms, names, moments, numbers.

Nothing here judges: what the rules of this authority would refuse is shown all the same.
"""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import BadCSR, MalformedRequest
from pikachu.x509 import der
from pikachu.x509.certificate import parse_time
from pikachu.x509.extension_text import object_name
from pikachu.x509.names import Name, NameAttribute, escape_value, string_value

_MAXIMUM_ATTRIBUTES: Final = 64
_MAXIMUM_VALUE: Final = 2_000
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# What the names of OpenSSL 3.0 leave out here, in the words of its newer versions.
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
    """OpenSSL's name of an algorithm or of a part of PKCS#12, or its object identifier."""
    return _ALGORITHMS.get(oid) or object_name(oid)


def algorithm_text(element: der.Element) -> str:
    """The name of the algorithm in an AlgorithmIdentifier.

    :raises MalformedRequest: it is none.
    """
    return algorithm_name(first(element.expect(der.SEQUENCE)).oid())


def first(element: der.Element) -> der.Element:
    """The first element inside of one.

    :raises MalformedRequest: there is none.
    """
    found = next(element.children(), None)
    if found is None:
        raise MalformedRequest("an ASN.1 structure is empty")
    return found


def shown(text: str) -> str:
    """*text* with what can't be seen, or would change how the rest looks, in hexadecimal digits."""
    return text if text.isprintable() else escape_value(text)


def value_text(element: der.Element) -> str:
    """A value as text where it is a character string, else in hexadecimal digits."""
    text = _text_of(element)
    return f"#{element.whole[:_MAXIMUM_VALUE].hex()}" if text is None else shown(text)


def _text_of(element: der.Element) -> str | None:
    """The beginning of a character string, also of one whose octets are not what its type says."""
    try:
        text = string_value(element)
    except BadCSR:
        text = element.content.decode("latin-1")
    return text if text is None or len(text) <= _MAXIMUM_VALUE else f"{text[:_MAXIMUM_VALUE]}…"


def name_of(element: der.Element) -> Name:
    """A Name as it is, also where it breaks the rules that :func:`pikachu.x509.names.parse_name` holds it to.

    :raises MalformedRequest: it is no Name.
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
    """A Name in the form of RFC 4514.

    :raises MalformedRequest: it is no Name.
    """
    return name_of(element).text or "(empty)"


def moment_text(element: der.Element) -> str:
    """A time as openssl writes it: ``Nov 25 15:20:32 2026 GMT``."""
    try:
        moment = parse_time(element)
    except MalformedRequest:
        return f"{shown(element.content.decode('latin-1'))} (not as RFC 5280 asks for)"
    return f"{_MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S} {moment.year} GMT"


def number_text(element: der.Element) -> str:
    """An INTEGER: a short one in both notations, a long one in hexadecimal digits.

    :raises MalformedRequest: it is none.
    """
    content = element.content
    if element.tag not in (der.INTEGER, der.ENUMERATED) or not content:
        raise MalformedRequest("expected an ASN.1 integer")
    if len(content) > 8:
        return content.lstrip(b"\x00").hex(":")
    number = int.from_bytes(content, "big", signed=True)
    return f"{number} ({'-' if number < 0 else ''}0x{abs(number):x})"


def serial_hex(element: der.Element) -> str:
    """A serial number as this authority writes it: hexadecimal digits without leading zeros."""
    return element.content.hex().lstrip("0") or "0"
