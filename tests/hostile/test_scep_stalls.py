"""SCEP: anybody may send anything."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from urllib.parse import quote

import pytest
from cryptography import x509

from tests.hostile import inputs
from tests.hostile.target import Target, sampled
from tests.support import scep_client
from tests.support.scep_client import integer, issuer_and_serial, octets, printable, split, tlv

PATH = "/scep?operation=PKIOperation"
SIZE = 60_000

Attack = Callable[[Target], object]


def client(target: Target) -> scep_client.SCEPClient:
    """A client that knows the RSA issuing CA."""
    return scep_client.new_client(target.server.files.issuers["rsa"].der)


def post(target: Target, message: bytes, status: tuple[int, ...] = (200, 400, 413)) -> None:
    """Send a PKIOperation."""
    answer = target.send("scep", PATH, message, {"Content-Type": "application/x-pki-message"})
    assert answer in status, answer


@pytest.mark.parametrize("kind", sampled(sorted(inputs.names(100)), always=["name of combining marks"]))
@pytest.mark.parametrize("operation", ["GetCRL", "GetCert", "CertPoll", "subject of the CSR", "subject of the signer"])
def test_names(target: Target, operation: str, kind: str) -> None:
    """Names of strangers are bounded before they are folded."""
    name = inputs.names(SIZE - 8000)[kind]
    one = client(target)
    if operation == "GetCRL":
        message = one.get_crl(name, 1)
    elif operation == "GetCert":
        message = one.get_cert(name, 1)
    elif operation == "CertPoll":
        message = one.cert_poll(name, name[:0] + inputs.long_name("x", 100, kind=inputs.COMMON_NAME))
    elif operation == "subject of the CSR":
        csr = scep_client.csr(one.key)
        info, *rest = scep_client.members(split(csr)[1])
        version, _, *others = scep_client.members(split(info)[1])
        message = one.pkcs_req(tlv(0x30, tlv(0x30, version, name, *others), *rest))
    else:
        message = one.with_certificate(inputs.with_subject(one.certificate, name)).pkcs_req()
    target.survives(lambda: post(target, message))


@pytest.mark.parametrize("kind", sampled(sorted(inputs.structures(100)), 4))
def test_structures(target: Target, kind: str) -> None:
    """Nothing that is no message: as the message, as its content, in the envelope, and as the signer."""
    structure = inputs.structures(SIZE)[kind]
    small = inputs.structures(SIZE // 3)[kind]
    one = client(target)

    def attack() -> None:
        post(target, structure)
        post(target, tlv(0x30, scep_client.oid(scep_client.SIGNED_DATA), tlv(0xA0, structure)))
        post(target, one.pkcs_req(small))
        post(target, one.with_certificate(inputs.with_extensions(one.certificate, small)).pkcs_req())
        post(target, one.with_certificate(inputs.with_spki(one.certificate, small)).pkcs_req())

    target.survives(attack)


@pytest.mark.parametrize("count", [50, 300])
def test_many_messages(target: Target, count: int) -> None:
    """As many of the dearest good messages as one client can send, one after the other."""
    one = client(target)
    message = one.get_crl(issuer_and_serial_name(one.certificate), 1)

    def attack() -> None:
        for _ in range(count):
            post(target, message)

    target.survives(attack)


def issuer_and_serial_name(certificate: bytes) -> bytes:
    """The issuer's name."""
    return scep_client.members(split(issuer_and_serial(certificate))[1])[0]


def test_attributes_and_certificates(target: Target) -> None:
    """Thousands of attributes, values, certificates, recipients, signers."""
    one = client(target)
    message = one.pkcs_req()
    oid, content = scep_client.members(split(message)[1])
    signed = scep_client.members(split(split(content)[1])[1])
    certificates = next(part for part in signed if part[0] == 0xA0)
    many = tlv(0xA0, split(certificates)[1] * (SIZE // len(certificates)))
    signers = signed[-1]
    many_signers = tlv(0x31, split(signers)[1] * (SIZE // len(signers)))

    def rebuilt(replaced: bytes, element: bytes) -> bytes:
        parts = [element if part is replaced else part for part in signed]
        return tlv(0x30, oid, tlv(0xA0, tlv(0x30, *parts)))

    def attack() -> None:
        post(target, rebuilt(certificates, many))
        post(target, rebuilt(signers, many_signers))
        post(target, one.pkcs_req(transaction_id="9" * SIZE))
        post(target, one.pkcs_req(transaction_id="\u0300" * 255))

    target.survives(attack)


@pytest.mark.parametrize(
    "text", ["A" * 60_000, "%41" * 20_000, "+" * 60_000, "=" * 60_000, "%0A" * 20_000, "-_" * 30_000]
)
def test_get(target: Target, text: str) -> None:
    """Messages in the address."""
    target.survives(lambda: target.send("scep", f"{PATH}&message={text}"))


def test_get_of_a_message(target: Target) -> None:
    """A message of the largest size, escaped as much as can be."""
    message = client(target).get_crl(inputs.long_name(inputs.MARKS, 12_000), 1)
    text = "".join(f"%{byte:02X}" for byte in base64.b64encode(message))
    assert quote(text)
    target.survives(lambda: target.send("scep", f"{PATH}&message={text[:60_000]}"))


def test_other_parts(target: Target) -> None:
    """Numbers and texts inside a message that opens."""
    one = client(target)
    serials = [integer(1 << 400_000), integer(-(1 << 400_000)), octets(b"x" * SIZE), printable("1" * SIZE)]
    name = inputs.long_name("Test rsa CA", 100, kind=inputs.COMMON_NAME)
    messages = [one.request(scep_client.GET_CERT, tlv(0x30, name, serial)) for serial in serials]

    def attack() -> None:
        for message in messages:
            post(target, message)

    target.survives(attack)


@pytest.mark.parametrize("count", [20, pytest.param(60, marks=pytest.mark.soak)])
def test_crls_that_nobody_reads(target: Target, count: int) -> None:
    """A small message is answered with a CRL of any size: those that are sent share its memory."""
    one = client(target)
    message = one.get_crl(issuer_and_serial_name(one.certificate), 1)
    issuer = x509.load_der_x509_certificate(target.server.files.issuers["rsa"].der)
    key_identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    (path,) = target.server.folder.rglob(f"{key_identifier}.crl")
    crl = path.read_bytes()
    size = 8_000_000
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(message)}\r\n\r\n".encode()
    peaks: list[int] = []

    def attack() -> None:
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(target.connect("scep", 4096)) for _ in range(count)]
            for connection in connections:
                connection.sendall(head + message)
            for connection in connections:
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
            peaks.append(target.server.memory())

    # What is sent is never looked at here, so it need not be a CRL.
    path.write_bytes(crl + bytes(size))
    try:
        attack()
        before = target.server.memory()
        target.survives(attack)
        target.record("MB of memory at most", round(max(peaks) / 1e6))
        assert max(peaks) <= before + 6 * size, f"memory grew from {before} to {max(peaks)} bytes"
    finally:
        path.write_bytes(crl)
