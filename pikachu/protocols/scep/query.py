"""What SCEP says in the URL of a request, and the body that lists capabilities (RFC 8894 sections 3.5 and 4.1)."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from pikachu.core.errors import MalformedRequest

_MAX_PARAMETERS: Final = 16
# Clients break lines in base64 or use the URL alphabet, and software between us and them turns "+" into a space.
_BASE64: Final = bytes.maketrans(b" -_", b"++/")
_LINE_BREAKS: Final = b"\r\n\t"


class Operation(StrEnum):
    """The operations of RFC 8894."""

    GET_CA_CAPS = "GetCACaps"
    GET_CA_CERT = "GetCACert"
    GET_NEXT_CA_CERT = "GetNextCACert"
    PKI_OPERATION = "PKIOperation"


_OPERATIONS: Final = {operation.value.lower().encode("ascii"): operation for operation in Operation}


@dataclass(frozen=True, slots=True)
class SCEPQuery:
    """The parameters of a request's URL.

    :param operation: ``None`` when the URL names none, which with POST means PKIOperation.
    :param message: percent-decoded; of a PKIOperation by GET a message in base64 (:meth:`der`), of the others the
        identifier of a CA, which may be anything.
    """

    operation: Operation | None
    message: bytes | None

    def der(self) -> bytes:
        """The message of a PKIOperation by GET.

        :raises MalformedRequest: when there is none, or it is not base64.
        """
        text = (self.message or b"").translate(_BASE64, _LINE_BREAKS).rstrip(b"=")
        if not text:
            raise MalformedRequest("the request has no message")
        try:
            return binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
        except binascii.Error:
            raise MalformedRequest("the message is not base64") from None


def parse_query(raw_uri: bytes) -> SCEPQuery:
    """Read the URL as it came: "+" is a plus sign, and "/" and "=" may stand unescaped.

    :param raw_uri: from the request line; path and query.
    :raises MalformedRequest: when the operation is unknown, or a parameter is there twice with two values.
    """
    _path, _mark, query = raw_uri.partition(b"?")
    found: dict[bytes, bytes] = {}
    parameters = query.split(b"&", _MAX_PARAMETERS)
    if len(parameters) > _MAX_PARAMETERS:
        raise MalformedRequest("the request has too many parameters")
    for parameter in parameters:
        name, _equals, value = parameter.partition(b"=")
        key = unquote_to_bytes(name).lower()
        if key not in (b"operation", b"message"):
            continue
        decoded = unquote_to_bytes(value)
        if found.setdefault(key, decoded) != decoded:
            raise MalformedRequest("a parameter of the request is there twice")
    operation = None
    if b"operation" in found:
        operation = _OPERATIONS.get(found[b"operation"].lower())
        if operation is None:
            raise MalformedRequest("the operation is unknown")
    return SCEPQuery(operation, found.get(b"message"))


def capabilities(*, sha1_3des: bool = False, next_ca: bool = False) -> bytes:
    """The body of GetCACaps: one capability a line, with no blank line and none at the end.

    ``SHA-384`` is in no RFC, but strongSwan up to 5.9.10 takes a list without it for one without AES; a blank line
    it takes for every capability.

    :param sha1_3des: whether SHA-1 and triple DES are accepted.
    :param next_ca: whether GetNextCACert has an answer.
    """
    lines = ["AES", "POSTPKIOperation", "Renewal", "SHA-256", "SHA-384", "SHA-512", "SCEPStandard"]
    if sha1_3des:
        lines[1:1] = ["DES3"]
        lines.insert(lines.index("SHA-256"), "SHA-1")
    if next_ca:
        lines.insert(lines.index("POSTPKIOperation"), "GetNextCACert")
    return "\n".join(lines).encode("ascii")
