"""The gate before the libraries: which keys go on, and that the others are refused for less than a signature costs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pikachu.cms.identity import identify
from pikachu.core.errors import BadPublicKey, MalformedRequest, RequestError, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.keys import KEY_NAMES, describe_private_key, describe_spki, generate_private_key, load_private_key
from pikachu.x509.loading.certificates import check_certificate_key, load_certificate, load_tls_certificate
from pikachu.x509.loading.public_keys import MESSAGES, load_public_key, read_public_key
from tests.support import hostile_keys
from tests.support.hostile_keys import PRIVATE_KEYS, PUBLIC_KEYS
from tests.support.pki import spki
from tests.support.reference_work import BATCH, cost_in_signatures


def refused(work: Callable[[], object], *errors: type[RequestError]) -> None:
    """Run *work*, which fails with one of *errors* at less than the cost of a batch of signatures."""
    with pytest.raises(errors):
        work()

    def again() -> None:
        with suppress(RequestError):
            work()

    assert cost_in_signatures(again) < BATCH


@pytest.mark.parametrize("name", PUBLIC_KEYS)
def test_public_keys_are_refused(name: str) -> None:
    """As the key of a request, of a message's signer, and of a certificate that a library is to hold."""
    public = PUBLIC_KEYS[name]
    refused(lambda: describe_spki(public), BadPublicKey)
    refused(lambda: load_public_key(read_public_key(public, MESSAGES)), BadPublicKey)
    certificate = hostile_keys.certificate(public)
    with pytest.raises((UnsupportedAlgorithm, MalformedRequest)):
        identify(certificate).public_key()


@pytest.mark.parametrize("name", [name for name in PUBLIC_KEYS if "off the curve" not in name])
def test_certificates_are_refused(name: str) -> None:
    """Whatever holds them, before their kind is known to a library."""
    certificate = hostile_keys.certificate(PUBLIC_KEYS[name])
    for load in (check_certificate_key, load_certificate, load_tls_certificate):
        with pytest.raises((BadPublicKey, MalformedRequest)):
            load(certificate)


@pytest.mark.parametrize("data", [b"", b"\x30\x00", der.sequence(der.sequence(), der.null(), der.null())])
def test_no_certificate(data: bytes) -> None:
    """A structure that has no key."""
    with pytest.raises(MalformedRequest):
        check_certificate_key(data)


@pytest.mark.parametrize("name", [name for name in KEY_NAMES if name not in ("rsa3072", "rsa4096")])
def test_every_kind_that_is_made_here_is_loaded(name: str) -> None:
    """Public, private, and in a certificate."""
    key = generate_private_key(name)
    public = spki(key)
    assert describe_private_key(key) == describe_spki(public)
    certificate = hostile_keys.certificate(public)
    assert identify(certificate).public_key() == key.public_key()
    load_tls_certificate(certificate)
    load_certificate(certificate)


@pytest.mark.parametrize("bits", [2048, 3072, 4096, 8192])
@pytest.mark.parametrize("exponent", [65537, 2**64 - 59])
def test_rsa_keys_within_bounds(bits: int, exponent: int) -> None:
    """Each size, with the usual and the largest exponent."""
    described = describe_spki(hostile_keys.rsa_spki(hostile_keys.modulus(bits), exponent))
    assert described.text == f"RSA/{bits}"


@pytest.mark.parametrize(("bits", "exponent"), [(1024, 65537), (1024, 3), (1536, 17), (2048, 3)])
def test_small_keys_sign_messages_only(bits: int, exponent: int) -> None:
    """Small RSA keys of old devices may sign messages, but are not certified."""
    public = hostile_keys.rsa_spki(hostile_keys.modulus(bits), exponent)
    assert isinstance(identify(hostile_keys.certificate(public)).public_key(), rsa.RSAPublicKey)
    with pytest.raises(BadPublicKey):
        describe_spki(public)


# --- private keys ------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRIVATE_KEYS)
def test_private_keys_are_refused(name: str) -> None:
    """None is validated by a library."""
    refused(lambda: load_private_key(PRIVATE_KEYS[name]), MalformedRequest, UnsupportedAlgorithm, BadPublicKey)


@pytest.mark.parametrize("bits", [4096, 8192])
def test_a_genuine_key_is_loaded_without_validation(bits: int) -> None:
    """Proving the primes of the larger one takes a library some seconds."""
    n, e, d, p, q, *rest = hostile_keys.genuine_rsa(bits)
    data = hostile_keys.pkcs1(n, e, d, p, q, *rest)
    assert cost_in_signatures(lambda: load_private_key(data)) < BATCH
    key = load_private_key(data)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.private_numbers().p == p
    # The exponent that Euler's function gives, as older programs write it.
    larger = pow(e, -1, (p - 1) * (q - 1))
    assert load_private_key(hostile_keys.pkcs1(n, e, larger, p, q, *rest)).public_key() == key.public_key()


def test_forms_of_ec_keys() -> None:
    """With and without the point, the point compressed, zeros before the scalar, and none."""
    key = ec.derive_private_key(0xABCDEF, ec.SECP256R1())
    points = [
        key.public_key().public_bytes(serialization.Encoding.X962, form)
        for form in (serialization.PublicFormat.UncompressedPoint, serialization.PublicFormat.CompressedPoint)
    ]
    for scalar in (b"\xab\xcd\xef", bytes(29) + b"\xab\xcd\xef", bytes(30) + b"\xab\xcd\xef"):
        for point in (b"", *points):
            sec1 = hostile_keys.sec1(scalar, public=point)
            for data in (sec1, hostile_keys.pkcs8(hostile_keys.EC, der.oid(hostile_keys.P256), sec1)):
                assert load_private_key(data).public_key() == key.public_key()


def test_a_passphrase_of_half_a_character() -> None:
    """JSON can hold one, UTF-8 can't."""
    begin, end = (f"-----{word} RSA PRIVATE KEY-----" for word in ("BEGIN", "END"))
    pem = f"{begin}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,{{}}\n\n{{}}\n{end}"
    for vector in ("00" * 16, "00", "xx" * 16):
        with pytest.raises(MalformedRequest):
            load_private_key(pem.format(vector, "AAAA" * 16), "\ud800")
