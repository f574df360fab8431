"""OCSP requests and responses (RFC 6960) as text, in the manner of ``openssl ocsp -req_text`` and ``-resp_text``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME
from pikachu.x509.crl import REASON_CODE
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import extension_text
from pikachu.x509.ocsp import NONCE
from pikachu.x509.text.certificate import certificate_text
from pikachu.x509.text.descriptions import algorithm_text, first, moment_text, name_text, serial_hex
from pikachu.x509.text.lines import Lines
from pikachu.x509.text.sections import add_extensions, add_signature, extensions_in

_MAXIMUM_SHOWN: Final = 100
_MAXIMUM_CERTIFICATES: Final = 8
_BASIC: Final = "1.3.6.1.5.5.7.48.1.1"
_STATUSES: Final = ("successful", "malformedRequest", "internalError", "tryLater", "(4)", "sigRequired", "unauthorized")
_CERTIFICATE_STATUSES: Final = {0x80: "good", 0xA1: "revoked", 0x82: "unknown"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A certificate that an OCSP message names (CertID)."""

    algorithm: str
    name_hash: bytes
    key_hash: bytes
    serial: str


def _asked(element: der.Element) -> Asked:
    parts = element.expect(der.SEQUENCE).sub()
    if len(parts) != 4:
        raise MalformedRequest("a certificate is not named as OCSP wants it")
    return Asked(
        algorithm_text(parts[0]),
        parts[1].expect(der.OCTET_STRING).content,
        parts[2].expect(der.OCTET_STRING).content,
        serial_hex(parts[3].expect(der.INTEGER)),
    )


def _add_asked(lines: Lines, depth: int, asked: Asked) -> None:
    lines.add(depth, "Certificate ID:")
    lines.add(depth + 1, f"Hash Algorithm: {asked.algorithm}")
    lines.add(depth + 1, f"Issuer Name Hash: {asked.name_hash.hex().upper()}")
    lines.add(depth + 1, f"Issuer Key Hash: {asked.key_hash.hex().upper()}")
    lines.add(depth + 1, f"Serial Number: {asked.serial.upper()}")


def asked_for(request: bytes) -> list[Asked]:
    """The certificates that a DER OCSPRequest asks about, up to a hundred.

    :raises MalformedRequest: it is none.
    """
    body = next(part for part in _request(request) if part.tag == der.SEQUENCE)
    return [_asked(first(one)) for one in islice(body.children(), _MAXIMUM_SHOWN)]


def _request(request: bytes) -> list[der.Element]:
    """The fields of the TBSRequest, of which one is the list."""
    fields = first(der.parse(request, der.SEQUENCE)).expect(der.SEQUENCE).sub()
    if sum(field.tag == der.SEQUENCE for field in fields) != 1:
        raise MalformedRequest("this is not an OCSP request")
    return fields


def ocsp_request_text(request: bytes) -> str:
    """Everything that a DER OCSPRequest says.

    :raises MalformedRequest: it is none.
    """
    lines = Lines()
    lines.add(0, "OCSP Request Data:")
    for field in _request(request):
        if field.tag == 0xA0:
            lines.add(1, f"Version: {first(field).integer() + 1}")
        elif field.tag == 0xA1:
            name = Extension(SUBJECT_ALTERNATIVE_NAME, False, der.sequence(first(field).whole))
            lines.add(1, f"Requestor Name: {extension_text(name)[0]}")
        elif field.tag == der.SEQUENCE:
            lines.add(1, "Requestor List:")
            for one in islice(field.children(), _MAXIMUM_SHOWN):
                _add_asked(lines, 2, _asked(first(one)))
        elif field.tag == 0xA2:
            add_extensions(lines, 1, "Request Extensions:", extensions_in(first(field)))
    signature = der.parse(request).sub()[1:]
    if signature:
        lines.add(1, "Signature:")
        lines.octets(2, signature[0].content)
    return lines.text


def nonce_of(message: bytes) -> str | None:
    """The nonce in a DER OCSPRequest, in hexadecimal digits."""
    for field in _request(message):
        if field.tag == 0xA2:
            for extension in extensions_in(first(field)):
                if extension.oid == NONCE:
                    return extension_text(extension)[0]
    return None


@dataclass(frozen=True, slots=True)
class Answered:
    """One certificate's status.

    :param status: ``good``, ``revoked`` or ``unknown``.
    :param times: thisUpdate, and nextUpdate where there is one.
    """

    asked: Asked
    status: str
    detail: der.Element
    times: tuple[der.Element, ...]
    extensions: der.Element | None


@dataclass(frozen=True, slots=True)
class Basic:
    """A BasicOCSPResponse: who answers, when, what."""

    responder: str
    produced_at: der.Element
    answers: list[Answered]
    extensions: der.Element | None
    algorithm: der.Element
    signature: der.Element
    certificates: list[bytes]


def response_status(response: bytes) -> str:
    """The responseStatus of a DER OCSPResponse by its name.

    :raises MalformedRequest: it is none.
    """
    status = first(der.parse(response, der.SEQUENCE)).expect(der.ENUMERATED).integer()
    return _STATUSES[status] if 0 <= status < len(_STATUSES) else str(status)


def basic_response(response: bytes) -> Basic | None:
    """What is inside a DER OCSPResponse; ``None`` for an error or another type of answer.

    :raises MalformedRequest: it is none.
    """
    parts = der.parse(response, der.SEQUENCE).sub()
    if len(parts) < 2:
        return None
    typed = first(parts[1].expect(0xA0)).expect(der.SEQUENCE).sub()
    if len(typed) != 2 or typed[0].oid() != _BASIC:
        return None
    basic = der.parse(typed[1].expect(der.OCTET_STRING).content, der.SEQUENCE).sub()
    if not 3 <= len(basic) <= 4:
        raise MalformedRequest("this is not an OCSP response")
    fields = basic[0].expect(der.SEQUENCE).sub()
    if fields and fields[0].tag == 0xA0:
        del fields[0]
    if len(fields) < 3:
        raise MalformedRequest("this is not an OCSP response")
    certificates = list(islice(first(basic[3]).children(), _MAXIMUM_CERTIFICATES)) if len(basic) == 4 else []
    return Basic(
        responder=_responder(fields[0]),
        produced_at=fields[1].expect(der.GENERALIZED_TIME),
        answers=[_answered(one) for one in islice(fields[2].expect(der.SEQUENCE).children(), _MAXIMUM_SHOWN)],
        extensions=first(fields[3]) if len(fields) > 3 else None,
        algorithm=basic[1].expect(der.SEQUENCE),
        signature=basic[2].expect(der.BIT_STRING),
        certificates=[one.whole for one in certificates],
    )


def _responder(element: der.Element) -> str:
    inside = first(element)
    return inside.content.hex(":").upper() if element.tag == 0xA2 else name_text(inside)


def _answered(element: der.Element) -> Answered:
    parts = element.expect(der.SEQUENCE).sub()
    if len(parts) < 3 or parts[1].tag not in _CERTIFICATE_STATUSES:
        raise MalformedRequest("an answer in the OCSP response is malformed")
    following = [first(part) for part in parts[3:] if part.tag == 0xA0][:1]
    extensions = next((first(part) for part in parts[3:] if part.tag == 0xA1), None)
    status = _CERTIFICATE_STATUSES[parts[1].tag]
    return Answered(_asked(parts[0]), status, parts[1], (parts[2], *following), extensions)


def ocsp_response_text(response: bytes) -> str:
    """Everything that a DER OCSPResponse says, with the certificates in it.

    :raises MalformedRequest: it is none.
    """
    lines = Lines()
    lines.add(0, "OCSP Response Data:")
    lines.add(1, f"OCSP Response Status: {response_status(response)}")
    basic = basic_response(response)
    if basic is None:
        return lines.text
    lines.add(1, "Response Type: Basic OCSP Response")
    lines.add(1, f"Responder Id: {basic.responder}")
    lines.add(1, f"Produced At: {moment_text(basic.produced_at)}")
    lines.add(1, "Responses:")
    for answer in basic.answers:
        _add_asked(lines, 1, answer.asked)
        lines.add(1, f"Cert Status: {answer.status}")
        lines.extend(1, _revocation(answer))
        for label, time in zip(("This Update", "Next Update"), answer.times, strict=False):
            lines.add(1, f"{label}: {moment_text(time)}")
        if answer.extensions is not None:
            add_extensions(lines, 1, "Response Single Extensions:", extensions_in(answer.extensions))
    if basic.extensions is not None:
        add_extensions(lines, 1, "Response Extensions:", extensions_in(basic.extensions))
    add_signature(lines, basic.algorithm, basic.signature)
    for certificate in basic.certificates:
        lines.extend(0, certificate_text(certificate).splitlines())
    return lines.text


def _revocation(answer: Answered) -> Iterator[str]:
    if answer.status != "revoked":
        return
    for part in answer.detail.children():
        if part.tag == der.GENERALIZED_TIME:
            yield f"Revocation Time: {moment_text(part)}"
        elif part.tag == 0xA0:
            yield f"Revocation Reason: {extension_text(Extension(REASON_CODE, False, first(part).whole))[0]}"
