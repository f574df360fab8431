"""OCSP: anybody may ask about anything."""

from __future__ import annotations

import base64

import pytest

from tests.hostile import inputs
from tests.hostile.target import Target, sampled
from tests.support.scep_client import algorithm, integer, octets, oid, tlv

SIZE = 10_000
HEADERS = {"Content-Type": "application/ocsp-request"}
NONCE = "1.3.6.1.5.5.7.48.1.2"


def certificate_id(serial: bytes) -> bytes:
    """A CertID of nobody."""
    return tlv(0x30, algorithm("1.3.14.3.2.26"), octets(bytes(20)), octets(bytes(20)), serial)


def ask(*requests: bytes, extensions: bytes = b"", requestor: bytes = b"") -> bytes:
    """An OCSPRequest."""
    return tlv(0x30, tlv(0x30, requestor, tlv(0x30, *requests), extensions))


def requests() -> dict[str, bytes]:
    """Requests of about 10 KB, by their peculiarity."""
    one = tlv(0x30, certificate_id(integer(1)))
    nonce = tlv(0x30, oid(NONCE), octets(octets(bytes(SIZE - 200))))
    extension = tlv(0x30, oid("1.2.3.4"), octets(b"\x05\x00"))
    return {
        **inputs.structures(SIZE),
        "many certificates": ask(*([one] * (SIZE // len(one)))),
        "huge serial": ask(tlv(0x30, certificate_id(integer(1 << 8 * (SIZE - 200))))),
        "negative serial": ask(tlv(0x30, certificate_id(integer(-(1 << 8 * (SIZE - 200)))))),
        "long nonce": ask(one, extensions=tlv(0xA2, tlv(0x30, nonce))),
        "many extensions": ask(one, extensions=tlv(0xA2, tlv(0x30, extension * (SIZE // len(extension))))),
        "long requestor": ask(one, requestor=tlv(0xA1, tlv(0xA4, inputs.long_name(inputs.MARKS, SIZE - 200)))),
        "empty": b"",
    }


@pytest.mark.parametrize("kind", sampled(sorted(requests()), 4))
@pytest.mark.parametrize("listener", ["http", "https"])
def test_requests(target: Target, kind: str, listener: str) -> None:
    """By POST and by GET, in the clear and over TLS."""
    body = requests()[kind]
    text = base64.b64encode(body).decode().replace("+", "%2B").replace("/", "%2F")

    def attack() -> None:
        assert target.send(listener, "/ocsp", body, HEADERS) in (200, 413)
        assert target.send(listener, f"/ocsp/{text}") in (200, 404, 413, 414)

    target.survives(attack)


@pytest.mark.parametrize(
    "text", ["/" * 60_000, "%2F" * 20_000, "A" * 60_000, "=" * 60_000, "-_" * 30_000, "%0A" * 20_000]
)
def test_addresses(target: Target, text: str) -> None:
    """Addresses that are no request."""
    target.survives(lambda: target.send("http", f"/ocsp/{text}"))
