"""What certificates, requests and CRLs have in common, as text: extensions and the signature."""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import extension_text, object_name
from pikachu.x509.text.descriptions import algorithm_text
from pikachu.x509.text.lines import Lines

_MAXIMUM_EXTENSIONS: Final = 100
_MAXIMUM_VALUE: Final = 32 * 1024


def signed_parts(data: bytes, what: str) -> tuple[der.Element, der.Element, der.Element]:
    """What is signed, the algorithm, and the signature, of a structure that has these three.

    :raises MalformedRequest: it has not.
    """
    parts = der.parse(data, der.SEQUENCE).sub()
    if len(parts) != 3:
        raise MalformedRequest(f"this is not {what}")
    return parts[0].expect(der.SEQUENCE), parts[1].expect(der.SEQUENCE), parts[2].expect(der.BIT_STRING)


def extensions_in(element: der.Element) -> list[Extension]:
    """The extensions as they stand there, also one that stands twice.

    :raises MalformedRequest: these are no extensions.
    """
    found: list[Extension] = []
    for child in element.expect(der.SEQUENCE).children():
        parts = child.expect(der.SEQUENCE).sub()
        if len(parts) not in (2, 3):
            raise MalformedRequest("an extension has an OID, perhaps a criticality, and a value")
        if len(found) == _MAXIMUM_EXTENSIONS:
            raise MalformedRequest(f"there are more than {_MAXIMUM_EXTENSIONS} extensions")
        critical = len(parts) == 3 and parts[1].boolean()
        found.append(Extension(parts[0].oid(), critical, parts[-1].expect(der.OCTET_STRING).content))
    return found


def add_extensions(lines: Lines, depth: int, heading: str, extensions: list[Extension]) -> None:
    """Write each extension by its name, whether it is critical, and what it says."""
    lines.add(depth, heading)
    for extension in extensions:
        lines.add(depth + 1, f"{object_name(extension.oid)}:{' critical' if extension.critical else ''}")
        if len(extension.value) > _MAXIMUM_VALUE:
            lines.octets(depth + 2, extension.value)
        else:
            lines.extend(depth + 2, extension_text(extension))


def add_signature(lines: Lines, algorithm: der.Element, signature: der.Element) -> None:
    """Write the signature's algorithm and octets, as the end of a text."""
    lines.add(1, f"Signature Algorithm: {algorithm_text(algorithm)}")
    lines.add(1, "Signature Value:")
    lines.octets(2, signature.content[1:])
