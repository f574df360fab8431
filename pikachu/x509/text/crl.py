"""A CRL as text, in the style of ``openssl crl -text``."""

from __future__ import annotations

from itertools import islice
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.crl import parse_crl_summary
from pikachu.x509.text.descriptions import algorithm_text, first, moment_text, name_text, serial_hex
from pikachu.x509.text.lines import Lines
from pikachu.x509.text.sections import add_extensions, add_signature, extensions_in, signed_parts

_TIMES: Final = (der.UTC_TIME, der.GENERALIZED_TIME)


def crl_text(crl: bytes, maximum_entries: int = 100) -> str:
    """Format a DER CRL, with its first *maximum_entries* entries, as text, without verifying its signature.

    Counting a million entries takes about 0.2 s, so call it in a worker pool.

    :raises MalformedRequest: *crl* is malformed.
    """
    summary = parse_crl_summary(crl)
    tbs, algorithm, signature = signed_parts(crl, "a CRL")
    fields = tbs.children()
    version, following = 1, next(fields)
    if following.tag == der.INTEGER:
        version, following = 2, next(fields)
    lines = Lines()
    lines.add(0, "Certificate Revocation List (CRL):")
    lines.add(1, "Data:")
    lines.add(2, f"Version: {version} (0x{version - 1:x})")
    lines.add(2, f"Signature Algorithm: {algorithm_text(following)}")
    lines.add(2, f"Issuer: {name_text(next(fields))}")
    lines.add(2, f"Last Update: {moment_text(next(fields))}")
    rest = list(fields)
    if rest and rest[0].tag in _TIMES:
        lines.add(2, f"Next Update: {moment_text(rest.pop(0))}")
    else:
        lines.add(2, "Next Update: NONE")
    if rest and rest[-1].tag == 0xA0:
        add_extensions(lines, 2, "CRL extensions:", extensions_in(first(rest.pop())))
    if rest:
        more = summary.entries > maximum_entries
        shown = f"; the first {maximum_entries:,} are shown" if more else ""
        lines.add(1, f"Revoked Certificates ({summary.entries:,}{shown}):")
        for entry in islice(rest[0].children(), maximum_entries):
            _add_entry(lines, entry)
    else:
        lines.add(1, "No Revoked Certificates.")
    add_signature(lines, algorithm, signature)
    return lines.text


def _add_entry(lines: Lines, entry: der.Element) -> None:
    parts = entry.expect(der.SEQUENCE).sub()
    if len(parts) not in (2, 3):
        raise MalformedRequest("an entry of the CRL is malformed")
    lines.add(2, f"Serial Number: {serial_hex(parts[0].expect(der.INTEGER))}")
    lines.add(3, f"Revocation Date: {moment_text(parts[1])}")
    if len(parts) == 3:
        add_extensions(lines, 3, "CRL entry extensions:", extensions_in(parts[2]))
