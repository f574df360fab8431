"""A certificate as text, in the style of ``openssl x509 -text``."""

from __future__ import annotations

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.text.descriptions import algorithm_text, first, moment_text, name_text, number_text
from pikachu.x509.text.lines import Lines
from pikachu.x509.text.public_key import add_public_key
from pikachu.x509.text.sections import add_extensions, add_signature, extensions_in, signed_parts

_UNIQUE_IDENTIFIERS = {0x81: "Issuer Unique ID", 0x82: "Subject Unique ID"}


def certificate_text(certificate: bytes) -> str:
    """Format a DER certificate as text, without validating it or verifying its signature.

    :raises MalformedRequest: *certificate* is malformed.
    """
    tbs, algorithm, signature = signed_parts(certificate, "a certificate")
    fields = tbs.sub()
    version = 0
    if fields and fields[0].tag == 0xA0:
        version = first(fields.pop(0)).integer()
    if len(fields) < 6:
        raise MalformedRequest("this is not a certificate")
    serial, inner, issuer, validity, subject, spki = fields[:6]
    bounds = validity.expect(der.SEQUENCE).sub()
    if len(bounds) != 2 or not 0 <= version <= 9:
        raise MalformedRequest("this is not a certificate")
    lines = Lines()
    lines.add(0, "Certificate:")
    lines.add(1, "Data:")
    lines.add(2, f"Version: {version + 1} (0x{version:x})")
    lines.add(2, "Serial Number:")
    lines.add(3, number_text(serial))
    lines.add(2, f"Signature Algorithm: {algorithm_text(inner)}")
    lines.add(2, f"Issuer: {name_text(issuer)}")
    lines.add(2, "Validity")
    lines.add(3, f"Not Before: {moment_text(bounds[0])}")
    lines.add(3, f"Not After : {moment_text(bounds[1])}")
    lines.add(2, f"Subject: {name_text(subject)}")
    lines.add(2, "Subject Public Key Info:")
    add_public_key(lines, 3, spki)
    for optional in fields[6:]:
        if optional.tag in _UNIQUE_IDENTIFIERS:
            lines.add(2, f"{_UNIQUE_IDENTIFIERS[optional.tag]}:")
            lines.hexadecimal(3, optional.content[1:])
        elif optional.tag == 0xA3:
            add_extensions(lines, 2, "X509v3 extensions:", extensions_in(first(optional)))
        else:
            raise MalformedRequest("the certificate has a field in a place where it has none")
    add_signature(lines, algorithm, signature)
    return lines.text
