"""Text of extensions, in the style of ``openssl x509 -text``.

Nothing is validated: malformed and unknown values are shown as far as possible, then in hexadecimal.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.x509 import der
from pikachu.x509.certificate import parse_time
from pikachu.x509.extension import Extension
from pikachu.x509.names import escape_value, read_name, string_value
from pikachu.x509.template.object_names import LONG

_MAXIMUM_LINES: Final = 200
_HEX_IN_LINE: Final = 24
_MAXIMUM_BITS: Final = 64
# OpenSSL 3.0 does not know the last three.
_NAMES: Final = {oid: name for name, oid in LONG.items()} | {
    "1.3.6.1.4.1.11129.2.4.2": "CT Precertificate SCTs",
    "1.3.6.1.4.1.11129.2.4.3": "CT Precertificate Poison",
    "1.3.6.1.4.1.311.20.2": "Microsoft Certificate Template Name",
    "1.3.6.1.4.1.311.21.7": "Microsoft Certificate Template",
    "1.3.6.1.4.1.311.25.2": "Microsoft Account Identifier",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}
_KEY_USAGE: Final = (
    "Digital Signature",
    "Non Repudiation",
    "Key Encipherment",
    "Data Encipherment",
    "Key Agreement",
    "Certificate Sign",
    "CRL Sign",
    "Encipher Only",
    "Decipher Only",
)
_CERTIFICATE_TYPES: Final = (
    "SSL Client",
    "SSL Server",
    "S/MIME",
    "Object Signing",
    "Unused",
    "SSL CA",
    "S/MIME CA",
    "Object Signing CA",
)
_TLS_FEATURES: Final = {5: "status_request", 17: "status_request_v2"}
_CPS: Final = "1.3.6.1.5.5.7.2.1"
_USER_NOTICE: Final = "1.3.6.1.5.5.7.2.2"


def object_name(oid: str) -> str:
    """Return the long name of an object identifier, or the OID itself when it is unknown."""
    return _NAMES.get(oid, oid)


def extension_text(extension: Extension) -> tuple[str, ...]:
    """Return the lines of text for an extension."""
    decode = _DECODERS.get(extension.oid)
    try:
        if decode is None:
            text = string_value(der.parse(extension.value))
            lines = [_shown(text)] if text is not None else list(_hex(extension.value))
        else:
            lines = list(decode(der.parse(extension.value)))
    except (PikachuError, ValueError, LookupError):
        return ("this can't be read", *_hex(extension.value))
    if len(lines) > _MAXIMUM_LINES:
        return (*lines[:_MAXIMUM_LINES], f"… and {len(lines) - _MAXIMUM_LINES} more")
    return tuple(lines) or ("nothing",)


def general_name_text(element: der.Element) -> str:
    """Format a GeneralName as ``DNS:a.example.com``, ``IP:192.0.2.1`` …, without validating it.

    :raises MalformedRequest: *element* is not DER.
    """
    tag, content = element.tag, element.content
    if tag in _PLAIN_NAMES:
        return f"{_PLAIN_NAMES[tag]}:{_shown(content.decode('latin-1'))}"
    if tag == 0x87:
        return f"IP:{_address(content)}"
    if tag == 0x88:
        return f"RID:{object_name(der.oid_text(content))}"
    if tag == 0xA4:
        return f"dirName:{read_name(element.sub()[0].whole).text}"
    if tag == 0xA0:
        parts = element.sub()
        value = parts[1].sub()[0]
        text = string_value(value)
        return f"otherName:{object_name(parts[0].oid())};{_digits(value.whole) if text is None else _shown(text)}"
    return f"0x{tag:02x}:{_digits(content)}"


_PLAIN_NAMES: Final = {0x81: "email", 0x82: "DNS", 0x86: "URI"}


def _address(content: bytes) -> str:
    if len(content) in (4, 16):
        return str(ipaddress.ip_address(content))
    if len(content) in (8, 32):
        half = len(content) // 2
        return f"{ipaddress.ip_address(content[:half])}/{ipaddress.ip_address(content[half:])}"
    return _digits(content)


def _shown(text: str) -> str:
    """Escape *text* when it contains characters that are not printable."""
    return escape_value(text) if not text.isprintable() else text


def _digits(content: bytes) -> str:
    return content.hex(":").upper()


def _hex(content: bytes) -> Iterator[str]:
    for start in range(0, len(content), _HEX_IN_LINE):
        yield _digits(content[start : start + _HEX_IN_LINE])


def _names(element: der.Element) -> list[str]:
    return [general_name_text(child) for child in element.children()]


def _joined(texts: Iterable[str], empty: str = "none") -> Iterator[str]:
    yield ", ".join(texts) or empty


def _basic_constraints(element: der.Element) -> Iterator[str]:
    parts = element.expect(der.SEQUENCE).sub()
    authority = bool(parts) and parts[0].tag == der.BOOLEAN and parts[0].boolean()
    lengths = [f"pathlen:{part.integer()}" for part in parts if part.tag == der.INTEGER]
    return _joined([f"CA:{str(authority).upper()}", *lengths])


def _bits(names: tuple[str, ...]) -> Callable[[der.Element], Iterator[str]]:
    def decode(element: der.Element) -> Iterator[str]:
        content = element.expect(der.BIT_STRING).content
        if len(content) > _MAXIMUM_BITS // 8 + 1:
            raise MalformedRequest("there are more named bits than anybody has named")
        numbers = range((len(content) - 1) * 8)
        set_bits = [number for number in numbers if content[1 + number // 8] & (0x80 >> number % 8)]
        return _joined(names[number] if number < len(names) else f"bit {number}" for number in set_bits)

    return decode


def _purposes(element: der.Element) -> Iterator[str]:
    return _joined(object_name(purpose.oid()) for purpose in element.expect(der.SEQUENCE).children())


def _key_identifier(element: der.Element) -> Iterator[str]:
    yield _digits(element.expect(der.OCTET_STRING).content)


def _authority_key_identifier(element: der.Element) -> Iterator[str]:
    for part in element.expect(der.SEQUENCE).children():
        if part.tag == 0x80:
            yield f"keyid:{_digits(part.content)}"
        elif part.tag == 0xA1:
            yield from _names(part)
        else:
            yield f"serial:{_digits(part.content)}"


def _alternative_names(element: der.Element) -> Iterator[str]:
    yield from _names(element.expect(der.SEQUENCE))


def _information_access(element: der.Element) -> Iterator[str]:
    for description in element.expect(der.SEQUENCE).children():
        method, place = description.sub()
        yield f"{object_name(method.oid())} - {general_name_text(place)}"


def _distribution_points(element: der.Element) -> Iterator[str]:
    for point in element.expect(der.SEQUENCE).children():
        for part in point.children():
            if part.tag == 0xA0:
                for name in part.children():
                    yield from _names(name) if name.tag == 0xA0 else [f"relative name: {_digits(name.content)}"]
            elif part.tag == 0xA2:
                yield f"CRL issuer: {', '.join(_names(part))}"
            else:
                yield f"reasons: {_digits(part.content)}"


def _policies(element: der.Element) -> Iterator[str]:
    for information in element.expect(der.SEQUENCE).children():
        parts = information.sub()
        yield f"Policy: {object_name(parts[0].oid())}"
        for qualifier in parts[1].children() if len(parts) > 1 else ():
            kind, value = qualifier.sub()
            if kind.oid() == _CPS:
                yield f"  CPS: {_shown(value.content.decode('latin-1'))}"
            elif kind.oid() == _USER_NOTICE:
                for part in value.children():
                    text = string_value(part) if part.tag != der.SEQUENCE else None
                    yield f"  User Notice: {_digits(part.content) if text is None else _shown(text)}"
            else:
                yield f"  {object_name(kind.oid())}: {_digits(value.content)}"


def _name_constraints(element: der.Element) -> Iterator[str]:
    for part in element.expect(der.SEQUENCE).children():
        kind = "Permitted" if part.tag == 0xA0 else "Excluded"
        for subtree in part.children():
            yield f"{kind}: {general_name_text(subtree.sub()[0])}"


def _tls_features(element: der.Element) -> Iterator[str]:
    numbers = [feature.integer() for feature in element.expect(der.SEQUENCE).children()]
    return _joined(_TLS_FEATURES.get(number, str(number)) for number in numbers)


def _present(element: der.Element) -> Iterator[str]:
    element.expect(der.NULL)
    yield "present"


def _number(element: der.Element) -> Iterator[str]:
    yield str(element.integer())


def _reason(element: der.Element) -> Iterator[str]:
    number = element.expect(der.ENUMERATED).integer()
    yield _REASONS.get(number, str(number))


def _issuing_distribution_point(element: der.Element) -> Iterator[str]:
    for part in element.expect(der.SEQUENCE).children():
        if part.tag == 0xA0:
            for name in part.children():
                yield from _names(name) if name.tag == 0xA0 else [f"relative name: {_digits(name.content)}"]
        else:
            label = _ISSUING_FLAGS.get(part.tag, f"0x{part.tag:02x}")
            yield label if part.content == b"\xff" else f"{label}: {_digits(part.content)}"


def _moment(element: der.Element) -> Iterator[str]:
    yield f"{parse_time(element):%Y-%m-%d %H:%M:%S} UTC"


def _policy_mappings(element: der.Element) -> Iterator[str]:
    for mapping in element.expect(der.SEQUENCE).children():
        issuers, subjects = mapping.sub()
        yield f"{object_name(issuers.oid())} : {object_name(subjects.oid())}"


def _policy_constraints(element: der.Element) -> Iterator[str]:
    labels = {0x80: "Require Explicit Policy", 0x81: "Inhibit Policy Mapping"}
    for part in element.expect(der.SEQUENCE).children():
        yield f"{labels[part.tag]}: {part.implicit_integer()}"


_REASONS: Final = {
    0: "Unspecified",
    1: "Key Compromise",
    2: "CA Compromise",
    3: "Affiliation Changed",
    4: "Superseded",
    5: "Cessation Of Operation",
    6: "Certificate Hold",
    8: "Remove From CRL",
    9: "Privilege Withdrawn",
    10: "AA Compromise",
}
_ISSUING_FLAGS: Final = {
    0x81: "Only User Certificates",
    0x82: "Only CA Certificates",
    0x83: "Only Some Reasons",
    0x84: "Indirect CRL",
    0x85: "Only Attribute Certificates",
}
_DECODERS: Final[dict[str, Callable[[der.Element], Iterator[str]]]] = {
    "2.5.29.14": _key_identifier,
    "2.5.29.15": _bits(_KEY_USAGE),
    "2.5.29.17": _alternative_names,
    "2.5.29.18": _alternative_names,
    "2.5.29.19": _basic_constraints,
    "2.5.29.20": _number,
    "2.5.29.21": _reason,
    "2.5.29.24": _moment,
    "2.5.29.27": _number,
    "2.5.29.28": _issuing_distribution_point,
    "2.5.29.29": _alternative_names,
    "2.5.29.30": _name_constraints,
    "2.5.29.31": _distribution_points,
    "2.5.29.32": _policies,
    "2.5.29.33": _policy_mappings,
    "2.5.29.35": _authority_key_identifier,
    "2.5.29.36": _policy_constraints,
    "2.5.29.37": _purposes,
    "2.5.29.46": _distribution_points,
    "2.5.29.54": _number,
    "1.3.6.1.5.5.7.1.1": _information_access,
    "1.3.6.1.5.5.7.1.11": _information_access,
    "1.3.6.1.5.5.7.1.24": _tls_features,
    "1.3.6.1.5.5.7.48.1.5": _present,
    "2.16.840.1.113730.1.1": _bits(_CERTIFICATE_TYPES),
}
