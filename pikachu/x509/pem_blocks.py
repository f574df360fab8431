"""Finding one request or key in what people send: DER, PEM with text around it, or plain base64.

Times are linear in the input; PEM is that of RFC 7468 and, for keys, RFC 1421.
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
    """One PEM block.

    :ivar text: the whole block.
    :ivar headers: whether it has RFC 1421 headers, such as ``Proc-Type``.
    :ivar body: its base64 lines.
    """

    label: str
    text: bytes
    headers: bool
    body: bytes

    def der(self) -> bytes:
        """What it holds.

        :raises MalformedRequest: its body is not base64.
        """
        return decode_base64(self.body)


def blocks(data: bytes, labels: Sequence[str]) -> list[Block]:
    """The PEM blocks with one of *labels*, in order; others and text between are passed over.

    :raises MalformedRequest: a block has no end.
    """
    found = []
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
            inside = data[label_end + len(_DASHES) : end]
            headers = b":" in inside
            body = inside.replace(b"\r", b"").partition(b"\n\n")[2] if headers else inside
            found.append(Block(name, data[start:position] + b"\n", headers, body))
    return found


def decode_base64(data: bytes) -> bytes:
    """Base64 with SP, HT, CR and LF ignored and every other character refused (RFC 8951 section 3.1).

    :raises MalformedRequest: it is none.
    """
    try:
        return base64.b64decode(data.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error as error:
        raise MalformedRequest("the data is not base64") from error
