"""Which CRLs the agent takes (MQT-1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pikachu.agent.crl_set import CRLSet
from pikachu.core.errors import PikachuError
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.crl import crl_pem
from tests.support.pki import Identity, brought, digest_for, make_ca

ROOT = make_ca("p256", "Root", slot=10)
FIRST = make_ca("p256", "CA", issuer=ROOT, slot=11)
# The next generation of the same CA: the same name, another key.
SECOND = make_ca("p384", "CA", issuer=ROOT, slot=12)
FOREIGN = make_ca("p256", "CA", slot=13)
# `brought` dates its CRLs from a day after the CA's begin.
NOW = FIRST.certificate.not_valid_before_utc + timedelta(days=1)


def parsed(identity: Identity) -> Certificate:
    return parse_certificate(identity.der)


def key_of(identity: Identity) -> bytes:
    return parsed(identity).key_identifier


def new_set(**numbers: int) -> CRLSet:
    least = {key_of({"first": FIRST, "second": SECOND}[name]): number for name, number in numbers.items()}
    return CRLSet([parsed(FIRST), parsed(SECOND)], least)


def damaged(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def extended(extension: x509.ExtensionType, *, critical: bool) -> bytes:
    """A CRL of FIRST with one more extension."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(FIRST.certificate.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
        .add_extension(x509.CRLNumber(9), critical=False)
        .add_extension(extension, critical=critical)
    )
    return builder.sign(FIRST.key, digest_for(FIRST.key)).public_bytes(serialization.Encoding.DER)


REFUSED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "garbage": lambda: b"\x30\x03\x02\x01\x01",
    "a certificate": lambda: FIRST.der,
    "PEM": lambda: crl_pem(brought(FIRST)),
    "cut short": lambda: brought(FIRST)[:-10],
    "with a tail": lambda: brought(FIRST) + b"\0",
    "a damaged signature": lambda: damaged(brought(FIRST)),
    "another CA's signature": lambda: brought(FIRST, signer=ROOT),
    "a foreign CA of the same name": lambda: brought(FOREIGN),
    "another CA": lambda: brought(ROOT),
    "expired": lambda: brought(FIRST, ends=timedelta(minutes=-1)),
    "expired now": lambda: brought(FIRST, ends=timedelta()),
    "not valid yet": lambda: brought(FIRST, begins=timedelta(minutes=6)),
    "a delta": lambda: brought(FIRST, delta=True),
    "a part of the revocations": lambda: extended(
        x509.IssuingDistributionPoint(None, None, True, False, None, False, False), critical=True
    ),
    "an unknown critical extension": lambda: extended(UNKNOWN, critical=True),
    "without a number": lambda: brought(FIRST, None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """It raises, and what was installed stays."""
    crls = new_set()
    crls.offer(brought(FIRST, 1), NOW)
    before = b"".join(crls.pem())
    with pytest.raises(PikachuError):
        crls.offer(REFUSED[name](), NOW)
    assert b"".join(crls.pem()) == before


def test_unknown_extensions_that_are_not_critical() -> None:
    assert new_set().offer(extended(UNKNOWN, critical=False), NOW) == (key_of(FIRST), True)


def test_a_clock_a_little_behind() -> None:
    """A CRL that was made just now by a CA whose clock is ahead."""
    assert new_set().offer(brought(FIRST, begins=timedelta(minutes=4)), NOW) == (key_of(FIRST), True)


def test_the_topic_names_the_ca() -> None:
    """A CRL of one generation on the topic of another."""
    with pytest.raises(PikachuError):
        new_set().offer(brought(FIRST), NOW, key_of(SECOND))
    assert new_set().offer(brought(SECOND), NOW, key_of(SECOND)) == (key_of(SECOND), True)


@pytest.mark.parametrize(("number", "is_newer"), [(0, False), (4, False), (5, False), (6, True), (1 << 100, True)])
def test_numbers_never_fall(number: int, is_newer: bool) -> None:
    crls = new_set()
    crls.offer(brought(FIRST, 5), NOW)
    assert crls.offer(brought(FIRST, number, revoked=7), NOW) == (key_of(FIRST), is_newer)
    assert crls.installed[key_of(FIRST)].number == (number if is_newer else 5)


@pytest.mark.parametrize(("number", "is_newer"), [(4, False), (5, True), (6, True)])
def test_numbers_never_fall_without_a_file(number: int, is_newer: bool) -> None:
    """The state of an earlier run has the number; the same CRL may be installed again."""
    crls = new_set(first=5)
    assert crls.offer(brought(FIRST, number), NOW) == (key_of(FIRST), is_newer)
    assert (key_of(FIRST) in crls.installed) == is_newer


def test_generations_have_numbers_of_their_own() -> None:
    """All are in one file, in the order of the configuration."""
    crls = new_set()
    crls.offer(brought(SECOND, 2), NOW)
    crls.offer(brought(FIRST, 9), NOW)
    assert b"".join(crls.pem()).count(b"BEGIN X509 CRL") == 2
    assert crls.numbers == {key_of(FIRST): 9, key_of(SECOND): 2}


@pytest.mark.parametrize(
    ("pem", "numbers", "problems"),
    [
        (b"", {}, 0),
        (b"not PEM at all", {}, 0),
        (b"-----BEGIN X509 CRL-----\nAAAA\n", {}, 1),
        (crl_pem(brought(FIRST, 3)), {FIRST: 3}, 0),
        (crl_pem(brought(FIRST, 3)) + crl_pem(brought(SECOND, 4)), {FIRST: 3, SECOND: 4}, 0),
        (crl_pem(brought(FIRST, 3)) + crl_pem(brought(FIRST, 2)), {FIRST: 3}, 0),
        (crl_pem(damaged(brought(FIRST, 3))) + crl_pem(brought(SECOND, 4)), {SECOND: 4}, 1),
        (crl_pem(brought(FOREIGN, 3)), {}, 1),
        # Expired, but still what the broker uses.
        (crl_pem(brought(FIRST, 3, ends=timedelta(minutes=-1))), {FIRST: 3}, 0),
    ],
)
def test_the_installed_file(pem: bytes, numbers: dict[Identity, int], problems: int) -> None:
    crls = new_set()
    assert len(crls.load(pem)) == problems
    assert {key: crl.number for key, crl in crls.installed.items()} == {
        key_of(ca): number for ca, number in numbers.items()
    }


def test_a_crl_goes_when_its_ca_has_expired() -> None:
    crls = new_set()
    crls.offer(brought(FIRST, 5), NOW)
    assert not crls.drop_ended(NOW)
    assert crls.drop_ended(parsed(FIRST).not_after)
    assert not crls.installed
