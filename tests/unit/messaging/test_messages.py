"""Topics and payloads of CRLs and revocations (MQT-2)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pikachu.cms.identity import identify
from pikachu.cms.signed import prepare
from pikachu.core.errors import PikachuError
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.revocation_messages import RevocationMessage
from pikachu.messaging.mqtt.messages import (
    CRLReference,
    Kind,
    base_topic,
    decode_reference,
    encode_reference,
    parse_topic,
    prepare_revocation,
    subscriptions,
    verify_revocation,
)
from pikachu.x509.certificate import REVOCATION_SIGNING, parse_certificate
from tests.support.pki import Identity, make_ca, make_key, make_leaf, make_name, sign, signature_algorithm

KEY = bytes.fromhex("00ff" * 10)
CA = make_ca("p384", "CA", slot=11)
OTHER_CA = make_ca("p256", "CA", slot=12)
ISSUER = parse_certificate(CA.der)


def make_signer(
    issuer: Identity = CA, *, purpose: str | None = REVOCATION_SIGNING, days: int = 90, serial: int = 77
) -> Identity:
    """A certificate for revocation messages."""
    key = make_key("p256", 3)
    begin = CA.certificate.not_valid_before_utc
    builder = (
        x509.CertificateBuilder()
        .subject_name(make_name("Revocation messages"))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)]), critical=False)
    from tests.support.pki import digest_for

    signed = builder.sign(issuer.key, digest_for(issuer.key))
    return Identity(key, signed, issuer)


SIGNER = make_signer()
NOW = CA.certificate.not_valid_before_utc + timedelta(days=1)
MESSAGE = RevocationMessage(1, 5, 0x1F2E, datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), RevocationReason.KEY_COMPROMISE, 9)


def encode(message: RevocationMessage = MESSAGE, signer: Identity = SIGNER) -> bytes:
    unsigned = prepare_revocation(message, signer.der, signature_algorithm(signer.key), NOW)
    return unsigned.assemble(sign(signer.key, unsigned.to_be_signed))


def signed_text(text: bytes, signer: Identity = SIGNER) -> bytes:
    unsigned = prepare(
        text, signer=identify(signer.der), algorithm=signature_algorithm(signer.key), certificates=[signer.der]
    )
    return unsigned.assemble(sign(signer.key, unsigned.to_be_signed))


def with_fields(**changes: Any) -> bytes:
    fields = {"v": 1, "seq": 1, "serial": "1f", "revoked_at": "2026-01-02T03:04:05Z", "reason": "superseded"}
    fields |= {"crl_number": 3, **changes}
    return signed_text(json.dumps({key: value for key, value in fields.items() if value != "absent"}).encode())


def test_topics() -> None:
    base = base_topic("a/b", "ec", KEY)
    assert base == f"a/b/v1/ec/{KEY.hex()}"
    for kind in Kind:
        assert parse_topic("a/b", f"{base}/{kind}") == (KEY, kind)
    assert subscriptions("a/b") == ["a/b/v1/+/+/crl", "a/b/v1/+/+/crl-ref", "a/b/v1/+/+/revoked"]


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "x",
        f"pikachu/v2/ec/{KEY.hex()}/crl",
        f"other/v1/ec/{KEY.hex()}/crl",
        f"pikachu/v1/ec/{KEY.hex()}/crls",
        f"pikachu/v1/ec/{KEY.hex()}",
        f"pikachu/v1/ec/x/{KEY.hex()}/crl",
        f"pikachu/v1/ec/{KEY.hex().upper()}/crl",
        "pikachu/v1/ec//crl",
        "pikachu/v1/ec/0/crl",
        f"pikachu/v1/ec/{'00' * 65}/crl",
    ],
)
def test_other_topics(topic: str) -> None:
    with pytest.raises(PikachuError):
        parse_topic("pikachu", topic)


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        replace(MESSAGE, revoked_at=None, reason=None),
        replace(MESSAGE, serial=(1 << 159) - 1, seq=1 << 40, crl_number=0),
        *(replace(MESSAGE, reason=reason) for reason in RevocationReason),
    ],
)
def test_revocations_survive_the_way(message: RevocationMessage) -> None:
    received = verify_revocation(encode(message), ISSUER, NOW)
    for name in ("seq", "serial", "revoked_at", "reason", "crl_number"):
        assert getattr(received, name) == getattr(message, name)
    assert received.signer_serial == 77


WRONG: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "garbage": lambda: b"\x30\x80garbage",
    "JSON without a signature": lambda: b'{"v":1}',
    "cut short": lambda: encode()[:-5],
    "changed content": lambda: encode().replace(b'"1f2e"', b'"1f2f"'),
    "changed signature": lambda: encode()[:-1] + bytes([encode()[-1] ^ 1]),
    "too large": lambda: with_fields(more="x" * 20_000),
    "another CA's signer": lambda: encode(signer=make_signer(OTHER_CA)),
    "a device's certificate": lambda: encode(signer=make_leaf(CA, "device")),
    "no purpose": lambda: encode(signer=make_signer(purpose=None)),
    "another purpose": lambda: encode(signer=make_signer(purpose="1.3.6.1.5.5.7.3.9")),
    "the CA itself": lambda: encode(signer=CA),
    "an expired signer": lambda: encode(signer=make_signer(days=1)),
    "no object": lambda: signed_text(b"[]"),
    "no JSON": lambda: signed_text(b"\xff"),
    "deep JSON": lambda: signed_text(b"[" * 8000),
    "another version": lambda: with_fields(v=2),
    "a version that is true": lambda: with_fields(v=True),
    "no number": lambda: with_fields(seq="absent"),
    "number 0": lambda: with_fields(seq=0),
    "a negative number": lambda: with_fields(seq=-1),
    "a large number": lambda: with_fields(seq=1 << 63),
    "a fraction": lambda: with_fields(seq=1.5),
    "a number that is text": lambda: with_fields(seq="1"),
    "serial 0": lambda: with_fields(serial="0"),
    "a serial that is a number": lambda: with_fields(serial=31),
    "a long serial": lambda: with_fields(serial="f" * 43),
    "an unknown reason": lambda: with_fields(reason="boredom"),
    "no time": lambda: with_fields(revoked_at=None),
    "a time of a release": lambda: with_fields(reason="removeFromCRL"),
    "a local time": lambda: with_fields(revoked_at="2026-01-02 03:04:05"),
    "a day that is none": lambda: with_fields(revoked_at="2026-02-30T03:04:05Z"),
    "no CRL number": lambda: with_fields(crl_number=None),
}


@pytest.mark.parametrize("name", WRONG)
def test_revocations_that_are_not_taken(name: str) -> None:
    with pytest.raises(PikachuError):
        verify_revocation(WRONG[name](), ISSUER, NOW)


def test_later_versions_may_add_fields() -> None:
    assert verify_revocation(with_fields(more=1), ISSUER, NOW).seq == 1


def test_ec_p256_signatures_only_by_the_named_key() -> None:
    """The signer's key is P-256, whatever the CA's is."""
    assert isinstance(SIGNER.key, ec.EllipticCurvePrivateKey)
    assert len(encode()) < 2000


REFERENCE = CRLReference("http://ca.example.com/crl/00ff.crl", "ab" * 32, 12, datetime(2026, 1, 2, tzinfo=UTC))


def test_references_survive_the_way() -> None:
    assert decode_reference(encode_reference(REFERENCE)) == REFERENCE


@pytest.mark.parametrize(
    "changes",
    [
        {"url": 1},
        {"url": "x" * 5000},
        {"sha256": "ab"},
        {"sha256": "AB" * 32},
        {"sha256": None},
        {"crl_number": -1},
        {"crl_number": "12"},
        {"next_update": 5},
        {"next_update": "soon"},
    ],
)
def test_references_that_are_not_taken(changes: dict[str, Any]) -> None:
    document = json.loads(encode_reference(REFERENCE)) | changes
    with pytest.raises(PikachuError):
        decode_reference(json.dumps(document).encode())


def test_the_examples_of_the_document() -> None:
    """docs/mqtt.md: its payloads are read, and written with the same fields."""
    text = (Path(__file__).parents[3] / "docs" / "mqtt.md").read_text("utf-8")
    blocks = dict(re.findall(r"^```(crl-ref|revoked)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    reference = decode_reference(blocks["crl-ref"].encode())
    assert json.loads(encode_reference(reference)) == json.loads(blocks["crl-ref"])
    received = verify_revocation(signed_text(blocks["revoked"].encode()), ISSUER, NOW)
    again = RevocationMessage(
        1, received.seq, received.serial, received.revoked_at, received.reason, received.crl_number
    )
    start = encode(again).index(b'{"v":')
    assert json.JSONDecoder().raw_decode(encode(again)[start:].decode("latin-1"))[0] == json.loads(blocks["revoked"])
    assert f"`{REVOCATION_SIGNING}`" in text
