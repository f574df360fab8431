"""Inspection: our text, and that of the openssl program beside it (UI-7)."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import pytest
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import AuthenticationFailed, MalformedRequest, NotAuthorized
from pikachu.core.model.people import ANONYMOUS, Principal, PrincipalKind, Role, Scope
from pikachu.inspection.openssl_program import OpenSSL
from pikachu.inspection.service import Inspected, Inspection
from pikachu.storage.store import open_store
from pikachu.x509 import der
from pikachu.x509.keys import generate_private_key, private_key_info
from pikachu.x509.pem import pem
from tests.support.deferreds import failure_of, result_of
from tests.support.interop import require
from tests.support.objects import CHALLENGE, OBJECTS, PASSPHRASE, leaf
from tests.support.pki import make_csr

READER = Principal(PrincipalKind.ACCOUNT, "alice", 1, Role.USER, frozenset({Scope.READ}))


@contextmanager
def inspection(openssl: OpenSSL | None = None) -> Iterator[Inspection]:
    """The service under test, at the present time, on an empty database."""
    clock = Clock()
    clock.advance(int(time.time()))
    store = open_store("sqlite://")
    try:
        yield Inspection(clock, store, ImmediatePool(), openssl or OpenSSL())
    finally:
        result_of(store.close())


def inspect(data: bytes, passphrase: str | None = None, openssl: OpenSSL | None = None) -> Inspected:
    """Return the result, with the comparison."""
    with inspection(openssl) as service:
        return result_of(Deferred.fromCoroutine(service.inspect(READER, data, passphrase, compare=True)))


def program(folder: Path, text: str) -> OpenSSL:
    """A program of that shell text in the place of openssl."""
    path = folder / "openssl"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    path.chmod(0o700)
    return OpenSSL(time_limit=1.0, program=str(path))


@pytest.mark.parametrize("name", OBJECTS)
def test_every_kind(name: str) -> None:
    """Each has facts, a text and a command; the program is asked where nothing secret goes to it."""
    require("openssl")
    kind, make = OBJECTS[name]
    found = inspect(make())
    assert found.kind == kind
    assert found.facts
    assert found.text
    assert found.command.startswith("openssl ")
    if kind in ("private_key", "pkcs12"):
        assert found.openssl is None
    else:
        assert found.openssl
        if "ML-DSA" not in name:
            assert "unable to load" not in found.openssl.lower()
            assert not found.openssl.startswith(("Usage:", "Error"))


def test_texts_agree() -> None:
    """The built-in text and OpenSSL's show the same fields of a certificate."""
    require("openssl")
    found = inspect(leaf().pem)
    assert found.openssl is not None
    for text in ("Version: 3 (0x2)", "Not After : ", "12:34:56:78:90", "X509v3 Subject Alternative Name", "P-256"):
        assert text in found.text or text.replace(":", "") in found.text.replace(":", "")
        assert text in found.openssl or "0x1234567890" in found.openssl
    assert found.command == "openssl x509 -noout -text -in FILE"
    assert inspect(leaf().der).command == "openssl x509 -inform DER -noout -text -in FILE"


def test_several_objects() -> None:
    """The facts are of the first, the text of all."""
    found = inspect(leaf().chain_pem)
    facts = dict(found.facts)
    assert facts["objects"] == 2
    assert facts["further"] == ("Certificate: CN=Example Issuing CA",)
    assert found.text.count("Certificate:\n") == 2


def test_a_challenge_password_is_not_shown_by_the_program_either() -> None:
    """openssl req -text would print it."""
    found = inspect(make_csr(challenge=CHALLENGE, sans=["a.example.com"])[1])
    assert CHALLENGE not in str((found.text, found.facts, found.openssl))
    assert "a.example.com" in (found.openssl or "a.example.com")


def test_passphrases() -> None:
    """Asked for where one is needed, refused where it is wrong or absurd."""
    data = OBJECTS["PKCS#12"][1]()
    assert inspect(data).locked
    assert inspect(data, "").locked
    assert not inspect(data, PASSPHRASE).locked
    with pytest.raises(MalformedRequest, match="at most"):
        inspect(data, "x" * 2000)


def test_who_may() -> None:
    """People with an account, by tokens that may read."""
    enroller = Principal(PrincipalKind.ACCOUNT, "alice", 1, Role.USER, frozenset({Scope.ENROLL}))
    with inspection() as service:
        failure_of(Deferred.fromCoroutine(service.inspect(ANONYMOUS, leaf().der)), AuthenticationFailed)
        failure_of(Deferred.fromCoroutine(service.inspect(enroller, leaf().der)), NotAuthorized)


def test_a_missing_program() -> None:
    """Ours is enough."""
    found = inspect(leaf().der, openssl=OpenSSL(program="no-such-openssl"))
    assert found.openssl is None
    assert found.text


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    """After its time, together with what it holds."""
    started = time.monotonic()
    found = inspect(leaf().der, openssl=program(tmp_path, f"echo $$ > {tmp_path}/pid\nexec sleep 60"))
    assert found.openssl is None
    assert time.monotonic() - started < 50
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_program_that_writes_without_end(tmp_path: Path) -> None:
    """Endless output is truncated."""
    found = inspect(leaf().der, openssl=program(tmp_path, "exec yes"))
    assert found.openssl is not None
    assert len(found.openssl) < 300_000
    assert found.openssl.endswith("… the rest is left out\n")


def test_a_program_that_reads_nothing(tmp_path: Path) -> None:
    """A long input to a program that has ended."""
    assert OpenSSL.text(program(tmp_path, "echo done; exec 0<&-"), ["x509"], b"x" * 1_000_000) == "done\n"


def test_the_program_sees_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the environment of this process, and its input as it was given."""
    monkeypatch.setenv("PIKACHU_SECRET", "x")
    data = bytes(range(256)) * 2000
    text = program(tmp_path, "env; cat | wc -c; echo $*").text(["x509", "-noout"], data)
    assert text is not None
    assert "PIKACHU_SECRET" not in text
    assert "OPENSSL_CONF=/dev/null" in text
    assert text.endswith("512000\nx509 -noout\n")


def costly_key(iterations: int) -> bytes:
    """A private key under PBES2, in PEM."""
    plain = private_key_info(generate_private_key("prime256v1"))
    derived = hashlib.pbkdf2_hmac("sha256", PASSPHRASE.encode(), b"salt", iterations, 32)
    padder, encryptor = padding.PKCS7(128).padder(), Cipher(algorithms.AES(derived), modes.CBC(bytes(16))).encryptor()
    hidden = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    prf = der.sequence(der.oid("1.2.840.113549.2.9"), der.null())
    derivation = der.sequence(der.octet_string(b"salt"), der.integer(iterations), prf)
    scheme = der.sequence(der.oid("2.16.840.1.101.3.4.1.42"), der.octet_string(bytes(16)))
    parameters = der.sequence(der.sequence(der.oid("1.2.840.113549.1.5.12"), derivation), scheme)
    algorithm = der.sequence(der.oid("1.2.840.113549.1.5.13"), parameters)
    return pem("ENCRYPTED PRIVATE KEY", der.sequence(algorithm, der.octet_string(hidden))).encode()


def test_many_costly_passphrases() -> None:
    """UI-7: one key may cost a second; twenty of them, or files of many parts, must not cost minutes."""
    text = costly_key(1_000_000)
    found = inspect(text * 20, PASSPHRASE)
    assert ("accepted", "yes") in found.facts
    assert found.text.count("Subject Public Key Info") == 5
    assert found.text.count("would cost too much") == 15
    # Each request has its own measure.
    assert ("accepted", "yes") in inspect(text, PASSPHRASE).facts
