"""PKCS#7 and CMS messages (RFC 5652) as text: signers, recipients, certificates and CRLs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.text.certificate import certificate_text
from pikachu.x509.text.crl import crl_text
from pikachu.x509.text.descriptions import (
    algorithm_name,
    algorithm_text,
    first,
    name_text,
    number_text,
    serial_hex,
    value_text,
)
from pikachu.x509.text.lines import Lines

_TYPES: Final = {
    "1.2.840.113549.1.7.1": "data",
    "1.2.840.113549.1.7.2": "signedData",
    "1.2.840.113549.1.7.3": "envelopedData",
    "1.2.840.113549.1.7.4": "signedAndEnvelopedData",
    "1.2.840.113549.1.7.5": "digestedData",
    "1.2.840.113549.1.7.6": "encryptedData",
    "1.2.840.113549.1.9.16.1.4": "TSTInfo",
    "1.2.840.113549.1.9.16.1.9": "compressedData",
    "1.2.840.113549.1.9.16.1.23": "authEnvelopedData",
    "2.16.840.1.101.2.1.2.78.5": "asymmetricKeyPackage",
}
_ATTRIBUTES: Final = {
    "1.2.840.113549.1.9.3": "contentType",
    "1.2.840.113549.1.9.4": "messageDigest",
    "1.2.840.113549.1.9.5": "signingTime",
    "1.2.840.113549.1.9.15": "S/MIME Capabilities",
    "2.16.840.1.113733.1.9.2": "SCEP messageType",
    "2.16.840.1.113733.1.9.3": "SCEP pkiStatus",
    "2.16.840.1.113733.1.9.4": "SCEP failInfo",
    "2.16.840.1.113733.1.9.5": "SCEP senderNonce",
    "2.16.840.1.113733.1.9.6": "SCEP recipientNonce",
    "2.16.840.1.113733.1.9.7": "SCEP transactionID",
}
_SIGNED: Final = "1.2.840.113549.1.7.2"
_ENVELOPED: Final = ("1.2.840.113549.1.7.3", "1.2.840.113549.1.9.16.1.23")
_MAXIMUM_PARTS: Final = 64


@dataclass
class Message:
    """The text of a message, by parts.

    :ivar type: the name of the content type.
    :ivar content: lines about the content.
    :ivar signers: the lines for each signer.
    :ivar recipients: one line for each recipient.
    """

    type: str
    content: list[str] = field(default_factory=list)
    certificates: list[bytes] = field(default_factory=list)
    crls: list[bytes] = field(default_factory=list)
    signers: list[list[str]] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)


def read_message(data: bytes) -> Message:
    """Parse a DER ContentInfo, without verification or decryption.

    :raises MalformedRequest: *data* is malformed.
    """
    parts = der.parse(data, der.SEQUENCE).sub()
    if not 1 <= len(parts) <= 2:
        raise MalformedRequest("this is not a CMS message")
    oid = parts[0].oid()
    message = Message(_TYPES.get(oid) or algorithm_name(oid))
    if len(parts) == 1:
        return message
    content = first(parts[1].expect(0xA0))
    if oid == _SIGNED:
        _read_signed(message, content)
    elif oid in _ENVELOPED:
        _read_enveloped(message, content)
    else:
        message.content.append(f"{len(content.content):,} octets")
    return message


def _bounded_children(element: der.Element) -> list[der.Element]:
    children: list[der.Element] = []
    for child in element.children():
        if len(children) == _MAXIMUM_PARTS:
            raise MalformedRequest("the message has too many parts")
        children.append(child)
    return children


def _read_signed(message: Message, element: der.Element) -> None:
    fields = _bounded_children(element.expect(der.SEQUENCE))
    if len(fields) < 4:
        raise MalformedRequest("this is not signed data")
    encapsulated = _bounded_children(fields[2].expect(der.SEQUENCE))
    if not encapsulated:
        raise MalformedRequest("this is not signed data")
    kind = encapsulated[0].oid()
    size = f"{len(encapsulated[1].content):,} octets" if len(encapsulated) > 1 else "absent"
    message.content.append(f"{_TYPES.get(kind) or algorithm_name(kind)}: {size}")
    for optional in fields[3:-1]:
        members = [member.whole for member in _bounded_children(optional) if member.tag == der.SEQUENCE]
        if optional.tag == 0xA0:
            message.certificates += members
        elif optional.tag == 0xA1:
            message.crls += members
    message.signers += [_signer(signer) for signer in _bounded_children(fields[-1].expect(der.SET))]


def _signer(element: der.Element) -> list[str]:
    fields = _bounded_children(element.expect(der.SEQUENCE))
    if len(fields) < 5:
        raise MalformedRequest("this is not a signature of a message")
    lines = [_identifier(fields[1]), f"Digest Algorithm: {algorithm_text(fields[2])}"]
    signed = fields[3] if fields[3].tag == 0xA0 else None
    algorithm = fields[4] if signed is not None else fields[3]
    lines.append(f"Signature Algorithm: {algorithm_text(algorithm)}")
    for attribute in [] if signed is None else _bounded_children(signed):
        parts = _bounded_children(attribute.expect(der.SEQUENCE))
        if len(parts) != 2:
            raise MalformedRequest("this is not a signed attribute")
        oid = parts[0].oid()
        values = ", ".join(_attribute_value(value) for value in _bounded_children(parts[1].expect(der.SET)))
        lines.append(f"{_ATTRIBUTES.get(oid) or algorithm_name(oid)}: {values}")
    return lines


def _attribute_value(value: der.Element) -> str:
    if value.tag == der.OBJECT_IDENTIFIER:
        oid = value.oid()
        return _TYPES.get(oid) or algorithm_name(oid)
    if value.tag == der.OCTET_STRING:
        return value.content.hex(":")
    if value.tag in (der.UTC_TIME, der.GENERALIZED_TIME):
        return value.content.decode("latin-1") if value.content.isalnum() else value.content.hex()
    return number_text(value) if value.tag == der.INTEGER else value_text(value)


def _identifier(element: der.Element) -> str:
    """Format an IssuerAndSerialNumber or a key identifier."""
    if element.tag != der.SEQUENCE:
        return f"Key Identifier: {element.content.hex(':').upper()}"
    parts = _bounded_children(element)
    if len(parts) != 2:
        raise MalformedRequest("a certificate is not named by issuer and serial number")
    return f"Issuer: {name_text(parts[0])}; Serial Number: {serial_hex(parts[1])}"


def _read_enveloped(message: Message, element: der.Element) -> None:
    fields = [field for field in _bounded_children(element.expect(der.SEQUENCE)) if field.tag not in (0xA0, 0xA1)]
    if len(fields) < 3:
        raise MalformedRequest("this is not enveloped data")
    for recipient in _bounded_children(fields[1].expect(der.SET)):
        if recipient.tag != der.SEQUENCE:
            message.recipients.append("another kind of recipient (key agreement, password, …)")
            continue
        parts = _bounded_children(recipient)
        if len(parts) != 4:
            raise MalformedRequest("a recipient of the message is malformed")
        message.recipients.append(f"{_identifier(parts[1])}; Key Encryption: {algorithm_text(parts[2])}")
    encrypted = _bounded_children(fields[2].expect(der.SEQUENCE))
    if len(encrypted) < 2:
        raise MalformedRequest("this is not enveloped data")
    kind = encrypted[0].oid()
    size = sum(len(part.content) for part in encrypted[2:])
    message.content.append(
        f"{_TYPES.get(kind) or algorithm_name(kind)}: {size:,} octets, encrypted with {algorithm_text(encrypted[1])}"
    )


def cms_text(data: bytes) -> str:
    """Format a DER ContentInfo, and its certificates and CRLs, as text.

    :raises MalformedRequest: *data* is malformed.
    """
    message = read_message(data)
    lines = Lines()
    lines.add(0, f"CMS Message: {message.type}")
    for content in message.content:
        lines.add(1, f"Content: {content}")
    for recipient in message.recipients:
        lines.add(1, f"Recipient: {recipient}")
    for signer in message.signers:
        lines.add(1, "Signer:")
        lines.extend(2, signer)
    lines.add(1, f"Certificates: {len(message.certificates)}")
    lines.add(1, f"CRLs: {len(message.crls)}")
    for certificate in message.certificates:
        lines.extend(0, certificate_text(certificate).splitlines())
    for crl in message.crls:
        lines.extend(0, crl_text(crl).splitlines())
    return lines.text
