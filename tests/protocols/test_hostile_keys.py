"""Hostile keys at every place that takes keys of strangers: the protocol's own error, quickly, and never a 500."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from pikachu.x509 import der
from pikachu.x509.pem import pem
from tests.protocols.est.refusals import refused
from tests.protocols.ocsp.server import OCSPServer
from tests.support import hostile_keys, ocsp, scep_client
from tests.support.est import EST, est_site
from tests.support.hostile_keys import PRIVATE_KEYS, PUBLIC_KEYS
from tests.support.reference_work import BATCH, cost_in_signatures
from tests.support.rest import REST, make_rest
from tests.support.scep import BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST, FAILURE, SCEP, scep_site
from tests.support.stack import build_core

# What a form, a message or an upload of 64 KiB can hold.
_LARGEST: Final = 40_000


@dataclass(frozen=True)
class Places:
    """One server, with a client for each protocol."""

    est: EST
    scep: SCEP
    rest: REST
    ocsp: OCSPServer

    # --- public keys --------------------------------------------------------------------

    def est_csr(self, public: bytes) -> None:
        """The key of a request."""
        refused(self.est.enroll(hostile_keys.csr(public), user="device"), 400)

    def est_server_keygen(self, public: bytes) -> None:
        """The key that a request for a new key names the kind by."""
        response = self.est.enroll(hostile_keys.csr(public), "serverkeygen", user="device")
        assert response.status in (200, 400), response.body

    def rest_csr(self, public: bytes) -> None:
        """The key of a request to issue, and of one to keep."""
        body = {"csr": pem("CERTIFICATE REQUEST", hostile_keys.csr(public))}
        for path in ("/certificates", "/csrs"):
            response = self.rest.call("POST", path, body, who="alice")
            assert response.status in (400, 422), response.body

    def scep_csr(self, public: bytes) -> None:
        """The key of a request in a good message, whose signer has another one."""
        client = self.scep.client()
        reply = self.scep.ask_scep(client, client.pkcs_req(hostile_keys.csr(public)))
        assert reply.status == FAILURE
        assert reply.fail_info in (BAD_REQUEST, BAD_MESSAGE_CHECK)

    def scep_signer(self, public: bytes) -> None:
        """The key of a message's signer, by issuer and serial number."""
        client = self.scep.client()
        message = client.with_certificate(hostile_keys.certificate(public)).pkcs_req()
        reply = self.scep.ask_scep(client, message)
        assert reply.status == FAILURE
        assert reply.fail_info in (BAD_ALG, BAD_MESSAGE_CHECK)

    def inspect(self, public: bytes) -> None:
        """The key itself, a certificate, a request, PKCS#7 and PKCS#12."""
        certificate = hostile_keys.certificate(public, is_ca=True)
        for data in (
            public,
            certificate,
            hostile_keys.csr(public),
            hostile_keys.pkcs7([certificate] * 3),
            hostile_keys.pkcs12(None, [certificate]),
        ):
            self.inspected(data)

    def ocsp_signature(self, public: bytes) -> None:
        """The certificate of somebody who signs a request; the signature is not looked at."""
        algorithm = der.sequence(der.oid("1.2.840.113549.1.1.11"), der.null())
        certificates = der.explicit(0, der.sequence(hostile_keys.certificate(public)))
        signature = der.explicit(0, der.sequence(algorithm, der.bit_string(bytes(256)), certificates))
        response = self.ocsp.post(ocsp.request(self.ocsp.cert_id(5, "rsa"), after=signature))
        assert response.status in (200, 413), response.body

    # --- private keys -------------------------------------------------------------------

    def inspected(self, data: bytes, passphrase: str | None = None) -> None:
        """Inspect *data*."""
        body = {"data": base64.b64encode(data).decode(), **({"passphrase": passphrase} if passphrase else {})}
        response = self.rest.call("POST", "/inspect", body, who="alice")
        assert response.status in (200, 400, 422), (response.status, response.body)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A server with an RSA and an EC issuing CA."""
    stack = build_core(tmp_path_factory.mktemp("server"), key_types=("rsa2048", "p256"))
    est = EST(stack, est_site(stack))
    est.account("device")
    yield Places(est, SCEP(stack, scep_site(stack)), make_rest(stack), OCSPServer(stack))
    stack.close()


def cheap(work: Callable[[], None]) -> None:
    """Do *work*, which must cost less than a batch of signatures."""
    work()
    assert cost_in_signatures(work) < BATCH


@pytest.mark.parametrize("name", [name for name, key in PUBLIC_KEYS.items() if len(key) < _LARGEST])
def test_public_keys(places: Places, name: str) -> None:
    """Refused in each protocol's words."""
    public = PUBLIC_KEYS[name]
    places.est_csr(public)
    places.scep_csr(public)
    for place in (places.rest_csr, places.scep_signer, places.inspect, places.ocsp_signature):
        cheap(lambda place=place: place(public))  # type: ignore[misc]


@pytest.mark.parametrize("name", ["DH 4423", "DSA 2203", "RSA 512", "RSA 16384", "Ed448 of 57", "EC, explicit P-256"])
def test_kinds_of_new_keys(places: Places, name: str) -> None:
    """Server-side key generation falls back to a kind that is accepted."""
    places.est_server_keygen(PUBLIC_KEYS[name])


@pytest.mark.parametrize("name", PRIVATE_KEYS)
def test_private_keys(places: Places, name: str) -> None:
    """Inspected alone and in PKCS#12, in the clear and under a passphrase that nobody needs."""
    private = PRIVATE_KEYS[name]
    for data in (private, hostile_keys.pkcs12(private)):
        cheap(lambda data=data: places.inspected(data))  # type: ignore[misc]
        places.inspected(data, "secret")


@pytest.mark.parametrize("name", ["DH 4423", "X25519 of 32", "EC, explicit P-256"])
def test_keys_of_recipients(places: Places, name: str) -> None:
    """An originator's key in recipientInfos is passed over: nothing is agreed upon here."""
    client = places.scep.client()
    recipient = hostile_keys.key_agreement_recipient(PUBLIC_KEYS[name])
    envelope = scep_client.split(scep_client.split(scep_client.envelope(b"x", client.recipient))[1])
    content = scep_client.members(scep_client.split(scep_client.split(envelope[2])[1])[1])
    content[1] = der.tlv(der.SET, recipient)
    enveloped = der.sequence(der.oid(scep_client.ENVELOPED_DATA), der.explicit(0, der.sequence(*content)))
    reply = places.scep.ask_scep(client, client.request(scep_client.PKCS_REQ, b"", enveloped=enveloped))
    assert reply.status == FAILURE
    cheap(lambda: places.inspected(enveloped))


@pytest.mark.parametrize("bits", [4096, 8192])
def test_a_genuine_key_is_inspected_cheaply(places: Places, bits: int) -> None:
    """Only its public half is shown, and nothing is proved about its factors."""
    private = hostile_keys.pkcs1(*hostile_keys.genuine_rsa(bits))
    for data in (private, hostile_keys.pkcs8(hostile_keys.RSA, der.null(), private), hostile_keys.pkcs12(private)):
        cheap(lambda data=data: places.inspected(data))  # type: ignore[misc]
    body = {"data": base64.b64encode(private).decode()}
    summary = places.rest.good("POST", "/inspect", body, who="alice")["summary"]
    assert summary["key"] == f"RSA/{bits}"
    assert summary["accepted"] == "yes"


# --- numbers that Python does not write in decimal digits --------------------------------


def extension(oid: str, value: bytes) -> bytes:
    """A certificate with that extension."""
    good = hostile_keys.certificate(hostile_keys.rsa_spki(hostile_keys.modulus(2048)))
    outer = der.parse(good).sub()
    added = der.sequence(der.sequence(der.oid(oid), der.octet_string(value)))
    tbs = der.sequence(outer[0].content, der.explicit(3, added))
    return der.sequence(tbs, outer[1].whole, outer[2].whole)


def long_numbers(size: int) -> dict[str, bytes]:
    """Objects with an INTEGER or ENUMERATED of so many bytes, wherever one is shown."""
    content = b"\x7f" * size
    number, implicit = der.tlv(der.INTEGER, content), der.implicit(0, content)
    enumerated = der.tlv(der.ENUMERATED, content)
    good = hostile_keys.certificate(hostile_keys.rsa_spki(hostile_keys.modulus(2048)))
    outer = der.parse(good).sub()
    fields = [field.whole for field in outer[0].sub()]
    pbes2 = der.sequence(
        der.oid("1.2.840.113549.1.5.13"),
        der.sequence(
            der.sequence(der.oid("1.2.840.113549.1.5.12"), der.sequence(der.octet_string(b"saltsalt"), number)),
            der.sequence(der.oid("2.16.840.1.101.3.4.1.42"), der.octet_string(bytes(16))),
        ),
    )
    mac = der.sequence(
        der.sequence(der.sequence(der.oid("1.3.14.3.2.26"), der.null()), der.octet_string(bytes(20))),
        der.octet_string(b"saltsalt"),
        number,
    )
    pfx = [part.whole for part in der.parse(hostile_keys.pkcs12()).sub()]
    request = der.sequence(der.explicit(0, number), der.sequence(der.sequence(ocsp_cert_id())))
    return {
        "OCSP response status": der.sequence(enumerated),
        "OCSP request version": der.sequence(request),
        "certificate version": der.sequence(
            der.sequence(der.explicit(0, number), *fields[1:]), outer[1].whole, outer[2].whole
        ),
        "serial number": der.sequence(der.sequence(fields[0], number, *fields[2:]), outer[1].whole, outer[2].whole),
        "CSR version": der.sequence(
            der.sequence(number, *fields[5:7], der.explicit(0, b"")), outer[1].whole, outer[2].whole
        ),
        "pathlen": extension("2.5.29.19", der.sequence(der.boolean(True), number)),
        "CRL number": extension("2.5.29.20", number),
        "delta CRL indicator": extension("2.5.29.27", number),
        "reason code": extension("2.5.29.21", enumerated),
        "inhibitAnyPolicy": extension("2.5.29.54", number),
        "policyConstraints": extension("2.5.29.36", der.sequence(implicit)),
        "TLS feature": extension("1.3.6.1.5.5.7.1.24", der.sequence(number)),
        "authority's serial number": extension("2.5.29.35", der.sequence(der.implicit(2, content))),
        "iterations of a private key": der.sequence(pbes2, der.octet_string(bytes(64))),
        "iterations of a MAC": der.sequence(*pfx, mac),
        "version of a private key": der.sequence(
            number, *[part.whole for part in der.parse(good).sub()[1:2]], der.octet_string(b"x")
        ),
        "version of a PKCS#12 file": der.sequence(number, *pfx[1:]),
        "RSA exponent": hostile_keys.rsa_spki(hostile_keys.modulus(2048), int.from_bytes(content, "big")),
        "RSA modulus": hostile_keys.rsa_spki(int.from_bytes(content, "big")),
        "DSA parameters": hostile_keys.dsa_spki(int.from_bytes(content, "big")),
        "salt of RSASSA-PSS": der.sequence(
            outer[0].whole,
            der.sequence(
                der.oid("1.2.840.113549.1.1.10"), der.sequence(der.explicit(2, number), der.explicit(3, number))
            ),
            outer[2].whole,
        ),
    }


def ocsp_cert_id() -> bytes:
    """A CertID of nobody."""
    algorithm = der.sequence(der.oid("1.3.14.3.2.26"), der.null())
    return der.sequence(algorithm, der.octet_string(bytes(20)), der.octet_string(bytes(20)), der.integer(5))


@pytest.mark.parametrize("size", [9, 1024, 1025, 1026, 1790, 20_000])
@pytest.mark.parametrize("name", long_numbers(1))
def test_long_numbers(places: Places, name: str, size: int) -> None:
    """Shown in hexadecimal digits, or refused; with a passphrase and without."""
    data = long_numbers(size)[name]
    places.inspected(data)
    places.inspected(data, "secret")
