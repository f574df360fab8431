"""Text of the common parts of certificates, CSRs and CRLs: extensions and the signature."""

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
    """Return the signed data, the algorithm and the signature of a signed structure.

    :param what: the expected structure, for the error message.
    :raises MalformedRequest: *data* does not have these three parts.
    """
    parts = der.parse(data, der.SEQUENCE).sub()
    if len(parts) != 3:
        raise MalformedRequest(f"this is not {what}")
    return parts[0].expect(der.SEQUENCE), parts[1].expect(der.SEQUENCE), parts[2].expect(der.BIT_STRING)


def extensions_in(element: der.Element) -> list[Extension]:
    """Return the extensions in their order, including repeated ones.

    :raises MalformedRequest: *element* is malformed.
    """
    extensions: list[Extension] = []
    for child in element.expect(der.SEQUENCE).children():
        parts = child.expect(der.SEQUENCE).sub()
        if len(parts) not in (2, 3):
            raise MalformedRequest("an extension has an OID, perhaps a criticality, and a value")
        if len(extensions) == _MAXIMUM_EXTENSIONS:
            raise MalformedRequest(f"there are more than {_MAXIMUM_EXTENSIONS} extensions")
        critical = len(parts) == 3 and parts[1].boolean()
        extensions.append(Extension(parts[0].oid(), critical, parts[-1].expect(der.OCTET_STRING).content))
    return extensions


def add_extensions(lines: Lines, depth: int, heading: str, extensions: list[Extension]) -> None:
    """Write the name, the criticality and the text of each extension."""
    lines.add(depth, heading)
    for extension in extensions:
        lines.add(depth + 1, f"{object_name(extension.oid)}:{' critical' if extension.critical else ''}")
        if len(extension.value) > _MAXIMUM_VALUE:
            lines.hexadecimal(depth + 2, extension.value)
        else:
            lines.extend(depth + 2, extension_text(extension))


def add_signature(lines: Lines, algorithm: der.Element, signature: der.Element) -> None:
    """Write the signature's algorithm and value, at the end of a text."""
    lines.add(1, f"Signature Algorithm: {algorithm_text(algorithm)}")
    lines.add(1, "Signature Value:")
    lines.hexadecimal(2, signature.content[1:])
