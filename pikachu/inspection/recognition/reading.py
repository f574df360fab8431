"""Locate the objects in the input and identify their kinds by their structure."""

from __future__ import annotations

import re
from typing import Final

from pikachu.cms.ber import normalise
from pikachu.core.errors import MalformedRequest, TooLarge
from pikachu.inspection.recognition.kinds import Kind, RecognisedObject
from pikachu.x509 import der
from pikachu.x509.pem_blocks import blocks, decode_base64, decode_text
from pikachu.x509.unsupported_files import foreign_name, is_foreign

MAXIMUM_INPUT: Final = 1024 * 1024
MAXIMUM_OBJECTS: Final = 20
_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z0-9 #]{1,40})-----")
# Blocks without content of interest; openssl writes them before an EC key.
_IGNORED: Final = frozenset({"EC PARAMETERS", "DH PARAMETERS", "X9.42 DH PARAMETERS"})
_PLAIN: Final = (
    "CERTIFICATE, CERTIFICATE REQUEST, X509 CRL, PKCS7, CMS, PRIVATE KEY and PUBLIC KEY blocks, "
    "or base64 or binary DER, can be inspected"
)
_TIMES: Final = (der.UTC_TIME, der.GENERALIZED_TIME)


def read(data: bytes) -> list[RecognisedObject]:
    """Return the objects in *data*: PEM blocks with any text around them, Base64 of DER, or DER (BER for messages).

    :raises MalformedRequest: *data* contains no object, too many objects, or none of a known kind.
    :raises TooLarge: *data* exceeds :data:`MAXIMUM_INPUT` bytes.
    """
    if len(data) > MAXIMUM_INPUT:
        raise TooLarge(f"at most {MAXIMUM_INPUT // 1024} KiB can be inspected at once")
    data = decode_text(data)
    if not data.strip():
        raise MalformedRequest(f"there is nothing to inspect: {_PLAIN}")
    text = b"-----BEGIN " in data
    if data[:1] == b"\x30":
        try:
            return [_recognised("DER", data)]
        except MalformedRequest:
            # The text may begin with the digit 0, which is the tag of a SEQUENCE.
            if not text:
                raise
    if text:
        return _pem(data)
    try:
        binary = decode_base64(data)
    except MalformedRequest:
        foreign = foreign_name(data)
        known = f"this is {foreign}" if foreign else f"this is neither PEM nor base64 nor DER: {_PLAIN}"
        raise MalformedRequest(known) from None
    return [_recognised("base64", binary)]


def _pem(data: bytes) -> list[RecognisedObject]:
    labels = [match.decode("ascii") for match in _BEGIN.findall(data)]
    accepted_labels = [label for label in dict.fromkeys(labels) if label not in _IGNORED and not is_foreign(label)]
    if len(accepted_labels) > MAXIMUM_OBJECTS:
        raise MalformedRequest(f"at most {MAXIMUM_OBJECTS} objects can be inspected at once")
    recognised: list[RecognisedObject] = []
    for block in blocks(data, accepted_labels):
        if len(recognised) == MAXIMUM_OBJECTS:
            raise MalformedRequest(f"at most {MAXIMUM_OBJECTS} objects can be inspected at once")
        if block.headers and b"ENCRYPTED" in block.text and block.label.endswith("PRIVATE KEY"):
            recognised.append(RecognisedObject(Kind.PRIVATE_KEY, "PEM", block.text))
            continue
        content = block.der()
        if block.label == "TRUSTED CERTIFICATE":
            # OpenSSL appends its own trust settings to the certificate.
            content = der.element_at(content, 0, len(content)).whole
        recognised.append(_recognised("PEM", content))
    if not recognised:
        foreign = foreign_name(data)
        raise MalformedRequest(f"this is {foreign}" if foreign else f"no PEM block that is known: {_PLAIN}")
    return recognised


def _recognised(form: str, data: bytes) -> RecognisedObject:
    try:
        return RecognisedObject(kind_of(data), form, data)
    except MalformedRequest as error:
        # Messages and PKCS#12 files may be encoded in BER.
        try:
            normal = normalise(data)
        except MalformedRequest:
            raise error from None
        if normal == data:
            raise
        return RecognisedObject(kind_of(normal), form, normal)


def kind_of(data: bytes) -> Kind:
    """Identify the kind of the DER object *data* by its structure.

    :raises MalformedRequest: the structure is not that of a known kind.
    """
    whole = der.parse(data)
    parts = _first(whole, 12) if whole.tag == der.SEQUENCE else []
    tags = tuple(part.tag for part in parts)
    kind: Kind | None = None
    if tags[:1] == (der.INTEGER,):
        kind = _numbered(tags)
    elif tags[:1] == (der.OBJECT_IDENTIFIER,):
        kind = Kind.PKCS7 if tags[1:] in ((0xA0,), ()) else None
    elif tags[:1] == (der.ENUMERATED,):
        kind = Kind.OCSP_RESPONSE
    elif tags == (der.SEQUENCE, der.SEQUENCE, der.BIT_STRING):
        kind = _signed(parts[0])
    elif tags == (der.SEQUENCE, der.BIT_STRING):
        kind = Kind.PUBLIC_KEY
    elif tags == (der.SEQUENCE, der.OCTET_STRING):
        kind = Kind.PRIVATE_KEY
    elif tags in ((der.SEQUENCE,), (der.SEQUENCE, 0xA0)) and _is_ocsp_request(parts[0]):
        kind = Kind.OCSP_REQUEST
    if kind is None:
        raise MalformedRequest("this is ASN.1 data, but none of the kinds that can be inspected")
    return kind


def _first(element: der.Element, most: int) -> list[der.Element]:
    """Return the first *most* child elements."""
    return [child for _, child in zip(range(most), element.children(), strict=False)]


def _numbered(tags: tuple[int, ...]) -> Kind | None:
    """Identify a structure that begins with an INTEGER."""
    if tags[1:2] == (der.SEQUENCE,):
        # The third field of a PrivateKeyInfo is an OCTET STRING; a PFX may have a MacData there.
        return Kind.PRIVATE_KEY if tags[2:3] == (der.OCTET_STRING,) else Kind.PKCS12
    if tags[1:2] == (der.OCTET_STRING,):
        return Kind.PRIVATE_KEY
    if tags == (der.INTEGER, der.INTEGER):
        return Kind.PUBLIC_KEY
    return Kind.PRIVATE_KEY if tags[:9] == (der.INTEGER,) * 9 else None


def _signed(body: der.Element) -> Kind:
    """Identify a signed structure: certificate, CSR and CRL differ in the position of their times and keys."""
    fields = _first(body, 6)
    tags = tuple(field.tag for field in fields)
    if tags[:1] == (der.INTEGER,):
        if tags[1:3] == (der.SEQUENCE, der.SEQUENCE) and tags[3:] in ((), (0xA0,)):
            return Kind.CSR
        tags = tags[1:]
    return Kind.CRL if tags[2:3] and tags[2] in _TIMES else Kind.CERTIFICATE


def _is_ocsp_request(body: der.Element) -> bool:
    fields = [field for field in _first(body, 4) if field.tag not in (0xA0, 0xA1, 0xA2)]
    if len(fields) != 1 or fields[0].tag != der.SEQUENCE:
        return False
    requests = _first(fields[0], 1)
    parts = _first(requests[0], 1) if requests and requests[0].tag == der.SEQUENCE else []
    identifier = _first(parts[0], 4) if parts and parts[0].tag == der.SEQUENCE else []
    return [part.tag for part in identifier] == [der.SEQUENCE, der.OCTET_STRING, der.OCTET_STRING, der.INTEGER]
