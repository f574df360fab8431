"""The query of SCEP URLs and the body of GetCACaps (RFC 8894 sections 4.1 and 3.5)."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from pikachu.core.errors import MalformedRequest

_MAX_PARAMETERS: Final = 16
# Clients break lines in base64 or use the URL alphabet, and intermediaries turn "+" into a space.
_BASE64: Final = bytes.maketrans(b" -_", b"++/")
_LINE_BREAKS: Final = b"\r\n\t"
_SEQUENCE: Final = b"\x30"


class Operation(StrEnum):
    """The operations of RFC 8894."""

    GET_CA_CAPS = "GetCACaps"
    GET_CA_CERT = "GetCACert"
    GET_NEXT_CA_CERT = "GetNextCACert"
    PKI_OPERATION = "PKIOperation"


_OPERATIONS: Final = {operation.value.lower().encode("ascii"): operation for operation in Operation}


@dataclass(frozen=True, slots=True)
class SCEPQuery:
    """The query parameters of a request.

    :param operation: ``None`` when absent, which with POST means PKIOperation.
    :param message: percent-decoded; the base64 message of a PKIOperation by GET (:meth:`der`), otherwise a CA
        identifier, which may be anything.
    """

    operation: Operation | None
    message: bytes | None

    def der(self) -> bytes:
        """Return the DER message of a PKIOperation by GET.

        :raises MalformedRequest: like :func:`decode_message`.
        """
        return decode_message(self.message or b"")


def decode_message(data: bytes) -> bytes:
    """Decode a message in base64, of either alphabet, with or without line breaks and padding.

    :raises MalformedRequest: when *data* is empty, or not base64.
    """
    # A space at the beginning is no plus sign: no DER is written so.
    text = data.lstrip(b" ").translate(_BASE64, _LINE_BREAKS).rstrip(b"=")
    if not text:
        raise MalformedRequest("the request has no message")
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise MalformedRequest("the message is not base64") from None


def message_in(body: bytes) -> bytes:
    """Return the message in the body of a POST: DER, or base64 from clients that send what they would put into a GET.

    :raises MalformedRequest: when *body* is empty, or neither.
    """
    if body[:1] == _SEQUENCE:
        return body
    decoded = decode_message(body)
    # Letters of garbage may happen to be base64.
    return decoded if decoded[:1] == _SEQUENCE else body


def parse_query(raw_uri: bytes) -> SCEPQuery:
    """Parse the raw URI: "+" is a plus sign, and "/" and "=" may be unescaped.

    :param raw_uri: path and query from the request line.
    :raises MalformedRequest: when the operation is unknown, or a parameter has two different values.
    """
    _path, _mark, query = raw_uri.partition(b"?")
    values: dict[bytes, bytes] = {}
    parameters = query.split(b"&", _MAX_PARAMETERS)
    if len(parameters) > _MAX_PARAMETERS:
        raise MalformedRequest("the request has too many parameters")
    for parameter in parameters:
        name, _equals, value = parameter.partition(b"=")
        key = unquote_to_bytes(name).lower()
        if key not in (b"operation", b"message"):
            continue
        decoded = unquote_to_bytes(value)
        if values.setdefault(key, decoded) != decoded:
            raise MalformedRequest("a parameter of the request is there twice")
    operation = None
    if b"operation" in values:
        operation = _OPERATIONS.get(values[b"operation"].lower())
        if operation is None:
            raise MalformedRequest("the operation is unknown")
    return SCEPQuery(operation, values.get(b"message"))


def capabilities(*, sha1_3des: bool = False, next_ca: bool = False) -> bytes:
    """Return the body of GetCACaps: one capability per line, without blank lines or a final newline.

    ``SHA-384`` is in no RFC, but strongSwan up to 5.9.10 assumes no AES without it, and interprets a blank line as
    every capability.

    :param sha1_3des: whether SHA-1 and triple DES are accepted.
    :param next_ca: whether a next CA certificate is announced.
    """
    names = ["AES", "POSTPKIOperation", "Renewal", "SHA-256", "SHA-384", "SHA-512", "SCEPStandard"]
    if sha1_3des:
        names[1:1] = ["DES3"]
        names.insert(names.index("SHA-256"), "SHA-1")
    if next_ca:
        names.insert(names.index("POSTPKIOperation"), "GetNextCACert")
    return "\n".join(names).encode("ascii")
