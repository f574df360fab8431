"""A CSR as text, in the style of ``openssl req -text``."""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.extension_text import object_name
from pikachu.x509.request_attributes import (
    CHALLENGE_PASSWORD,
    EXTENSION_REQUEST,
    MICROSOFT_EXTENSIONS,
    read_attributes,
)
from pikachu.x509.text.descriptions import name_text, value_text
from pikachu.x509.text.lines import Lines
from pikachu.x509.text.public_key import add_public_key
from pikachu.x509.text.sections import add_extensions, add_signature, signed_parts

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
    attributes = read_attributes(fields[3] if len(fields) == 4 else None)
    others = [
        (oid, values) for oid, values in attributes.values if oid not in (EXTENSION_REQUEST, MICROSOFT_EXTENSIONS)
    ]
    for oid, values in others:
        lines.add(3, f"{object_name(oid)}: {_attribute_text(oid, values)}")
    if not others:
        lines.add(3, "(none)")
    if attributes.extensions:
        add_extensions(lines, 2, "Requested Extensions:", list(attributes.extensions))
    if attributes.ignored:
        lines.add(2, "Ignored:")
        for part in attributes.ignored:
            lines.add(3, f"{object_name(part.oid)}: {part.reason}" if part.oid else part.reason)
    add_signature(lines, algorithm, signature)
    return lines.text


def _attribute_text(oid: str, values: tuple[bytes, ...]) -> str:
    if oid == CHALLENGE_PASSWORD:
        return "(not shown)"
    return ", ".join(value_text(der.parse(value)) for value in values[:_MAXIMUM_VALUES])
