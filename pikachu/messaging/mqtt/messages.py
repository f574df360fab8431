"""Topics and payloads of CRLs and revocations (MQT-2; docs/mqtt.md has the format for other subscribers).

Below ``<prefix>/v1/<ca>/<key identifier>/`` there is one generation of an issuing CA: its CRL in DER (``crl``,
retained), or where to get a large one (``crl-ref``, retained JSON), and each revocation (``revoked``, CMS SignedData
over JSON).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pikachu.cms.identity import identify
from pikachu.cms.signed import Unsigned, parse_signed_data, prepare
from pikachu.core.errors import MalformedRequest, MessageCheckFailed
from pikachu.core.model.certificates import RevocationReason, format_serial, parse_serial
from pikachu.core.model.revocation_messages import RevocationMessage
from pikachu.core.model.times import rfc3339
from pikachu.x509.certificate import REVOCATION_SIGNING, Certificate, parse_certificate
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import describe_spki

VERSION: Final = 1
#: The reason of a release from hold; of CRLReason (RFC 5280 section 5.3.1), but no reason to revoke.
RELEASED: Final = "removeFromCRL"
#: Bytes of a revocation message; with its certificate, it has about 1,200.
MAX_REVOCATION_SIZE: Final = 16 * 1024
MAX_REFERENCE_SIZE: Final = 4 * 1024
# Greater than every number that the CA's database can give.
_MAX_NUMBER: Final = 1 << 63
_KEY_IDENTIFIER: Final = re.compile(r"(?:[0-9a-f]{2}){1,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"


class Kind(StrEnum):
    """The last level of a topic."""

    CRL = "crl"
    CRL_REFERENCE = "crl-ref"
    REVOKED = "revoked"


def base_topic(prefix: str, ca: str, key_identifier: bytes) -> str:
    """Return what the topics of one generation of an issuing CA begin with."""
    return f"{prefix}/v{VERSION}/{ca}/{key_identifier.hex()}"


def subscriptions(prefix: str) -> list[str]:
    """Return the topic filters for everything that all issuing CAs publish."""
    return [f"{prefix}/v{VERSION}/+/+/{kind}" for kind in Kind]


def parse_topic(prefix: str, topic: str) -> tuple[bytes, Kind]:
    """Return the key identifier and the kind of message of a topic.

    :raises MalformedRequest: it is none of ours.
    """
    levels = topic.removeprefix(f"{prefix}/v{VERSION}/").split("/")
    if not topic.startswith(f"{prefix}/v{VERSION}/") or len(levels) != 3:
        raise MalformedRequest("the topic is none of a CRL or a revocation")
    try:
        kind = Kind(levels[2])
    except ValueError:
        raise MalformedRequest("the topic is none of a CRL or a revocation") from None
    if not _KEY_IDENTIFIER.fullmatch(levels[1]):
        raise MalformedRequest("the topic has no key identifier")
    return bytes.fromhex(levels[1]), kind


# --- large CRLs ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CRLReference:
    """Where to get a CRL that is too large for the broker.

    :param sha256: of the DER, in hex.
    """

    url: str
    sha256: str
    crl_number: int
    next_update: datetime


def encode_reference(reference: CRLReference) -> bytes:
    """Return the JSON of a reference."""
    return _json(
        {
            "url": reference.url,
            "sha256": reference.sha256,
            "crl_number": reference.crl_number,
            "next_update": rfc3339(reference.next_update),
        }
    )


def decode_reference(payload: bytes) -> CRLReference:
    """Parse a reference, which nobody has signed: the CRL's own signature counts.

    :raises MalformedRequest: it is malformed.
    """
    fields = _fields(payload, MAX_REFERENCE_SIZE, {"url", "sha256", "crl_number", "next_update"})
    url, sha256 = fields["url"], fields["sha256"]
    if not isinstance(url, str) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise MalformedRequest("the reference to a CRL is malformed")
    return CRLReference(url, sha256, _number(fields["crl_number"]), _time(fields["next_update"]))


# --- revocations --------------------------------------------------------------------------


def prepare_revocation(message: RevocationMessage, certificate: bytes, algorithm: bytes, now: datetime) -> Unsigned:
    """Return the SignedData of a revocation, ready to be signed.

    :param certificate: DER, of the signer; the message contains it.
    :param algorithm: the DER AlgorithmIdentifier of its signatures.
    """
    document = {
        "v": VERSION,
        "seq": message.seq,
        "serial": format_serial(message.serial),
        "revoked_at": None if message.revoked_at is None else rfc3339(message.revoked_at),
        "reason": RELEASED if message.reason is None else message.reason.wire_name,
        "crl_number": message.crl_number,
    }
    return prepare(
        _json(document),
        signer=identify(certificate),
        algorithm=algorithm,
        signing_time=now,
        certificates=(certificate,),
    )


@dataclass(frozen=True, slots=True)
class ReceivedRevocation:
    """A revocation whose signature was verified.

    :param signer_serial: the serial number of the signer's certificate, which may be revoked itself.
    """

    seq: int
    serial: int
    revoked_at: datetime | None
    reason: RevocationReason | None
    crl_number: int
    signer_serial: int


def verify_revocation(payload: bytes, issuer: Certificate, now: datetime) -> ReceivedRevocation:
    """Verify and parse a revocation message.

    :param issuer: the CA whose key identifier its topic has.
    :raises MalformedRequest: it is malformed.
    :raises UnsupportedAlgorithm: its algorithms are not accepted.
    :raises MessageCheckFailed: its signature does not verify, or its signer may not sign for that CA.
    """
    if len(payload) > MAX_REVOCATION_SIZE:
        raise MalformedRequest("the revocation message is too large")
    signed = parse_signed_data(payload)
    signer = parse_certificate(signed.verify().certificate)
    _check_signer(signer, issuer, now)
    names = {"v", "seq", "serial", "revoked_at", "reason", "crl_number"}
    fields = _fields(signed.content or b"", MAX_REVOCATION_SIZE, names)
    if fields["v"] != VERSION or isinstance(fields["v"], bool):
        raise MalformedRequest("the version of the revocation message is not known")
    serial, reason, at = fields["serial"], fields["reason"], fields["revoked_at"]
    if not isinstance(serial, str) or not isinstance(reason, str) or (at is None) != (reason == RELEASED):
        raise MalformedRequest("the revocation message is malformed")
    seq = _number(fields["seq"])
    if not seq:
        raise MalformedRequest("the revocation message has no number")
    return ReceivedRevocation(
        seq=seq,
        serial=parse_serial(serial),
        revoked_at=None if at is None else _time(at),
        reason=None if at is None else RevocationReason.from_name(reason),
        crl_number=_number(fields["crl_number"]),
        signer_serial=signer.serial,
    )


def _check_signer(signer: Certificate, issuer: Certificate, now: datetime) -> None:
    """Require a certificate for this purpose that *issuer* has issued."""
    if signer.is_ca or REVOCATION_SIGNING not in (signer.extended_key_usage or ()):
        raise MessageCheckFailed("the signer's certificate is not one for revocation messages")
    if not signer.not_before <= now < signer.not_after:
        raise MessageCheckFailed("the signer's certificate is not valid now")
    if signer.issuer_der != issuer.subject_der:
        raise MessageCheckFailed("another CA has issued the signer's certificate")
    verify_signature(
        describe_spki(issuer.spki_der),
        signer.signature_algorithm_der,
        signer.signature,
        signer.tbs,
        failure=MessageCheckFailed,
    )


# --- JSON ---------------------------------------------------------------------------------


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _fields(data: bytes, limit: int, names: set[str]) -> dict[str, Any]:
    """Return the fields of an object that has all of *names*; later versions may add others.

    :raises MalformedRequest: it is too large, or no such object.
    """
    if len(data) > limit:
        raise MalformedRequest("the message is too large")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedRequest("the message is not JSON") from None
    if not isinstance(document, dict) or not names <= document.keys():
        raise MalformedRequest("the message lacks a field")
    return document


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_NUMBER:
        raise MalformedRequest("a number in the message is not one")
    return value


def _time(value: object) -> datetime:
    try:
        return datetime.strptime(str(value), _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise MalformedRequest("a time in the message is not one") from None
