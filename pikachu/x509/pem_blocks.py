"""PEM parser for pasted or uploaded text: RFC 7468 and, for keys, RFC 1421; also bare Base64.

The time is linear in the size of the input.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import MalformedRequest

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
        return decode_base64(self.body)


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
            body = content.replace(b"\r", b"").partition(b"\n\n")[2] if headers else content
            result.append(Block(name, data[start:position] + b"\n", headers, body))
    return result


def decode_base64(data: bytes) -> bytes:
    """Decode Base64, ignoring SP, HT, CR and LF, and rejecting every other character (RFC 8951 section 3.1).

    :raises MalformedRequest: *data* is not Base64.
    """
    try:
        return base64.b64decode(data.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error as error:
        raise MalformedRequest("the data is not base64") from error
