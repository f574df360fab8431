"""A CSR as text, in the style of ``openssl req -text``."""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.csr import CHALLENGE_PASSWORD, EXTENSION_REQUEST, MICROSOFT_EXTENSIONS
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import object_name
from pikachu.x509.text.descriptions import first, name_text, value_text
from pikachu.x509.text.lines import Lines
from pikachu.x509.text.public_key import add_public_key
from pikachu.x509.text.sections import add_extensions, add_signature, extensions_in, signed_parts

_MAXIMUM_ATTRIBUTES: Final = 64
_MAXIMUM_VALUES: Final = 16


def csr_text(request: bytes) -> str:
    """Format a DER CSR as text, with the value of a challenge password hidden.

    :raises MalformedRequest: *request* is malformed.
    """
    info, algorithm, signature = signed_parts(request, "a certificate request")
    fields = info.sub()
    if not 3 <= len(fields) <= 4:
        raise MalformedRequest("this is not a certificate request")
    version = fields[0].integer()
    if not 0 <= version <= 9:
        raise MalformedRequest("this is not a certificate request")
    lines = Lines()
    lines.add(0, "Certificate Request:")
    lines.add(1, "Data:")
    lines.add(2, f"Version: {version + 1} (0x{version:x})")
    lines.add(2, f"Subject: {name_text(fields[1])}")
    lines.add(2, "Subject Public Key Info:")
    add_public_key(lines, 3, fields[2])
    lines.add(2, "Attributes:")
    requested: list[der.Element] = []
    others = 0
    for oid, values in _attributes(fields[3]) if len(fields) == 4 else ():
        if oid in (EXTENSION_REQUEST, MICROSOFT_EXTENSIONS):
            requested += values
        else:
            others += 1
            shown = "(not shown)" if oid == CHALLENGE_PASSWORD else ", ".join(value_text(value) for value in values)
            lines.add(3, f"{object_name(oid)}: {shown}")
    if not others:
        lines.add(3, "(none)")
    for extensions in requested:
        add_extensions(lines, 2, "Requested Extensions:", extensions_in(extensions))
    add_signature(lines, algorithm, signature)
    return lines.text


def requested_extensions(fields: list[der.Element]) -> list[Extension]:
    """Return the requested extensions, from the fields of a CertificationRequestInfo.

    :raises MalformedRequest: they are malformed.
    """
    return [
        extension
        for oid, values in (_attributes(fields[3]) if len(fields) == 4 else ())
        if oid in (EXTENSION_REQUEST, MICROSOFT_EXTENSIONS)
        for value in values
        for extension in extensions_in(value)
    ]


def _attributes(element: der.Element) -> list[tuple[str, list[der.Element]]]:
    attributes: list[tuple[str, list[der.Element]]] = []
    for attribute in element.expect(0xA0).children():
        parts = attribute.expect(der.SEQUENCE).sub()
        if len(parts) != 2 or len(attributes) == _MAXIMUM_ATTRIBUTES:
            raise MalformedRequest("the attributes of the certificate request can't be read")
        values = parts[1].expect(der.SET).sub()
        if len(values) > _MAXIMUM_VALUES:
            raise MalformedRequest(f"an attribute of the certificate request has more than {_MAXIMUM_VALUES} values")
        attributes.append((first(attribute).oid(), values))
    return attributes
