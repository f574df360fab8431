"""PEM parser for files and pasted or uploaded text: RFC 7468 and, for keys, RFC 1421; also bare Base64 and UTF-16.

The time is linear in the size of the input.
"""

from __future__ import annotations

import base64
import binascii
import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der

#: Labels of certificates: that of RFC 7468, an older one, and OpenSSL's, which appends trust settings.
CERTIFICATE_LABELS: Final = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_BEGIN: Final = b"-----BEGIN "
_DASHES: Final = b"-----"
_MAXIMUM_LABEL: Final = 64


@dataclass(frozen=True, slots=True)
class Block:
    """A PEM block.

    :ivar text: the complete block.
    :ivar headers: whether it has RFC 1421 headers, such as ``Proc-Type``.
    :ivar body: the Base64 lines.
    """

    label: str
    text: bytes
    headers: bool
    body: bytes

    def der(self) -> bytes:
        """Decode the body.

        :raises MalformedRequest: the body is not Base64.
        """
        # RFC 7468 section 3 counts these two as white space.
        return decode_base64(self.body.translate(None, b"\v\f"))


def blocks(data: bytes, labels: Sequence[str]) -> list[Block]:
    """Return the PEM blocks with one of *labels*, in order; other blocks and text are skipped.

    :raises MalformedRequest: a block has no END line.
    """
    result = []
    position = 0
    while (start := data.find(_BEGIN, position)) >= 0:
        label_start = start + len(_BEGIN)
        label_end = data.find(_DASHES, label_start, label_start + _MAXIMUM_LABEL)
        position = label_start
        if label_end < 0:
            continue
        label = data[label_start:label_end]
        ending = b"-----END " + label + _DASHES
        end = data.find(ending, label_end)
        if end < 0:
            raise MalformedRequest("a PEM block has no END line")
        position = end + len(ending)
        name = label.decode("ascii", "replace")
        if name in labels:
            content = data[label_end + len(_DASHES) : end]
            headers = b":" in content
            body = _without_headers(content) if headers else content
            result.append(Block(name, data[start:position] + b"\n", headers, body))
    return result


def _without_headers(content: bytes) -> bytes:
    """Return the lines after the RFC 1421 headers, with any kind of line breaks; some programs omit the empty line."""
    lines = content.strip().splitlines()
    last = max(index for index, line in enumerate(lines) if b":" in line)
    body = [line.strip() for line in lines[last + 1 :]]
    # A continued header ends at the empty line.
    return b"\n".join(body[body.index(b"") :] if b"" in body else body)


def labels_in(data: bytes) -> list[str]:
    """Return the label of each BEGIN line, in order, for messages about files without the expected block."""
    labels = []
    for part in data.split(_BEGIN)[1:]:
        label, dashes, _ = part[: _MAXIMUM_LABEL + len(_DASHES)].partition(_DASHES)
        if dashes and label.isascii():
            labels.append(label.decode("ascii"))
    return labels


def other_pem(data: bytes) -> str:
    """Return what a PEM text without the expected block contains, for messages; see :func:`labels_in`."""
    known = (label for label in labels_in(data) if label.replace(" ", "").isalnum())
    return next((f"a PEM block of the type {label}" for label in known), "PEM without a type")


def certificates_in(data: bytes) -> list[bytes]:
    """Return the DER certificates of all PEM blocks, in order, without the trust settings that OpenSSL may append.

    :raises MalformedRequest: a block has no END line, or its body is not Base64 or too short.
    """
    certificates = []
    for block in blocks(data, CERTIFICATE_LABELS):
        content = block.der()
        if block.label == "TRUSTED CERTIFICATE":
            content = der.element_at(content, 0, len(content)).whole
        certificates.append(content)
    return certificates


def decode_text(data: bytes) -> bytes:
    """Return text in UTF-16, or with a byte order mark, as plain UTF-8; other data, such as DER, unchanged.

    Editors and shells of Windows save text as UTF-16, some without a byte order mark.
    """
    if data[:1] == b"\x30":
        return data
    codec = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else _utf16_codec(data)
    if codec is not None:
        data = data.decode(codec, "replace").encode()
    return data.removeprefix(codecs.BOM_UTF8)


def _utf16_codec(data: bytes) -> str | None:
    """Return the codec of a text that is ASCII in UTF-16 at its beginning, or whose BEGIN line is in UTF-16."""
    if b"\0" not in data:
        return None
    beginning = data[:64]
    if len(beginning) >= 4 and len(beginning) % 2 == 0 and b"\0" in beginning:
        for codec, zeros in (("utf-16-le", beginning[1::2]), ("utf-16-be", beginning[::2])):
            if not any(zeros):
                return codec
    for codec in ("utf-16-le", "utf-16-be"):
        position = data.find(_BEGIN.decode("ascii").encode(codec))
        # Each byte order contains the pattern of the other one at odd offsets.
        if position >= 0 and position % 2 == 0:
            return codec
    return None


def decode_base64(data: bytes) -> bytes:
    """Decode Base64: ignore whitespace (RFC 7468 section 2), reject every other character (RFC 8951 section 3.1).

    :raises MalformedRequest: *data* is not Base64.
    """
    try:
        return base64.b64decode(data.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error as error:
        raise MalformedRequest("the data is not base64") from error
