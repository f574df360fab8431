"""OCSP requests and responses."""

from __future__ import annotations

from pikachu.inspection.recognition.kinds import Decoded, Fact
from pikachu.inspection.recognition.signed import moment
from pikachu.x509.text.descriptions import algorithm_text
from pikachu.x509.text.ocsp import (
    Asked,
    asked_for,
    basic_response,
    nonce_of,
    ocsp_request_text,
    ocsp_response_text,
    response_status,
)


def request(data: bytes) -> Decoded:
    """An OCSP request.

    :raises MalformedRequest: it is none.
    """
    text = ocsp_request_text(data)
    asked = asked_for(data)
    facts: tuple[Fact, ...] = (
        ("certificates", len(asked)),
        ("serials", tuple(one.serial for one in asked)),
        *_issuer(asked),
        ("nonce", nonce_of(data) or "none"),
    )
    return Decoded(facts, text)


def response(data: bytes) -> Decoded:
    """An OCSP response.

    :raises MalformedRequest: it is none.
    """
    text = ocsp_response_text(data)
    facts: list[Fact] = [("response_status", response_status(data))]
    basic = basic_response(data)
    if basic is not None:
        facts += [
            ("responder", basic.responder),
            ("produced_at", moment(basic.produced_at)),
            ("statuses", tuple(f"{one.asked.serial}: {one.status}" for one in basic.answers)),
            *_issuer([one.asked for one in basic.answers]),
        ]
        if basic.answers:
            times = basic.answers[0].times
            facts.append(("this_update", moment(times[0])))
            facts.append(("next_update", moment(times[1]) if len(times) > 1 else None))
        facts.append(("signature_algorithm", algorithm_text(basic.algorithm)))
        facts.append(("certificates", len(basic.certificates)))
    return Decoded(tuple(facts), text)


def _issuer(asked: list[Asked]) -> list[Fact]:
    """How the issuer of the first certificate is named."""
    if not asked:
        return []
    return [("hash_algorithm", asked[0].algorithm), ("issuer_key_hash", asked[0].key_hash.hex())]
