"""OCSP requests and responses."""

from __future__ import annotations

from pikachu.inspection.recognition.kinds import Decoded, Fact
from pikachu.inspection.recognition.signed import moment
from pikachu.x509.text.descriptions import algorithm_text
from pikachu.x509.text.ocsp import (
    CertificateID,
    basic_response,
    nonce_of,
    ocsp_request_text,
    ocsp_response_text,
    requested_certificates,
    response_status,
)


def request(data: bytes) -> Decoded:
    """Decode an OCSP request.

    :raises MalformedRequest: *data* is not an OCSP request.
    """
    text = ocsp_request_text(data)
    certificate_ids = requested_certificates(data)
    facts: tuple[Fact, ...] = (
        ("certificates", len(certificate_ids)),
        ("serials", tuple(certificate_id.serial for certificate_id in certificate_ids)),
        *_issuer(certificate_ids),
        ("nonce", nonce_of(data) or "none"),
    )
    return Decoded(facts, text)


def response(data: bytes) -> Decoded:
    """Decode an OCSP response.

    :raises MalformedRequest: *data* is not an OCSP response.
    """
    text = ocsp_response_text(data)
    facts: list[Fact] = [("response_status", response_status(data))]
    basic = basic_response(data)
    if basic is not None:
        facts += [
            ("responder", basic.responder),
            ("produced_at", moment(basic.produced_at)),
            ("statuses", tuple(f"{answer.certificate_id.serial}: {answer.status}" for answer in basic.answers)),
            *_issuer([answer.certificate_id for answer in basic.answers]),
        ]
        if basic.answers:
            times = basic.answers[0].times
            facts.append(("this_update", moment(times[0])))
            facts.append(("next_update", moment(times[1]) if len(times) > 1 else None))
        facts.append(("signature_algorithm", algorithm_text(basic.algorithm)))
        facts.append(("certificates", len(basic.certificates)))
    return Decoded(tuple(facts), text)


def _issuer(certificate_ids: list[CertificateID]) -> list[Fact]:
    """Return how the first CertID identifies the issuer."""
    if not certificate_ids:
        return []
    return [("hash_algorithm", certificate_ids[0].algorithm), ("issuer_key_hash", certificate_ids[0].key_hash.hex())]
