"""OCSP responses: read back by pyca/cryptography, asn1crypto and the openssl command."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import ocsp as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as pyca
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.model.certificates import RevocationReason
from pikachu.protocols.ocsp.messages import decode_request
from pikachu.x509 import der, ocsp
from tests.support import pki
from tests.support.interop import require

PRODUCED = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
THIS = PRODUCED - timedelta(minutes=5)
NEXT = PRODUCED + timedelta(days=7)
CLASSICAL = ("rsa2048", "p256", "p384", "ed25519")


def issuer_hashes(ca: pki.Identity) -> ocsp.IssuerHashes:
    return ocsp.IssuerHashes(ca.subject_der, der.parse(pki.spki(ca.key)).sub()[1].content[1:])


def respond(
    signer: pki.Identity,
    singles: Sequence[bytes],
    *,
    certificates: Sequence[bytes] = (),
    produced_at: datetime = PRODUCED,
    **options: Any,
) -> bytes:
    responder = ocsp.responder_by_key(issuer_hashes(signer).key_hash)
    to_be_signed = ocsp.response_data(responder, produced_at, singles, **options)
    signature = pki.sign(signer.key, to_be_signed)
    return ocsp.assemble(to_be_signed, pki.signature_algorithm(signer.key), signature, certificates)


def verify(key: pki.PrivateKey, signature: bytes, data: bytes) -> None:
    if isinstance(key, rsa.RSAPrivateKey):
        key.public_key().verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        digest = pki.digest_for(key)
        assert digest is not None
        key.public_key().verify(signature, data, ec.ECDSA(digest))
    else:
        key.public_key().verify(signature, data)


@pytest.mark.parametrize("key_type", pki.KEY_TYPES)
def test_pyca_reads_and_verifies(key_type: str) -> None:
    """OCSP-2: with every kind of key, the issuer itself and a delegated responder."""
    ca = pki.make_ca(key_type)
    delegate = pki.make_ocsp_responder(ca, key_type)
    cert_id = issuer_hashes(ca).cert_id(0x1234)
    single = ocsp.single_response(cert_id.der, ocsp.GOOD, THIS, NEXT)
    for signer, certificates in ((ca, ()), (delegate, (delegate.der,))):
        response = pyca.load_der_ocsp_response(respond(signer, [single], certificates=certificates))
        assert response.response_status is pyca.OCSPResponseStatus.SUCCESSFUL
        verify(signer.key, response.signature, response.tbs_response_bytes)
        assert response.certificate_status is pyca.OCSPCertStatus.GOOD
        assert (response.serial_number, response.issuer_name_hash, response.issuer_key_hash) == (
            0x1234,
            cert_id.name_hash,
            cert_id.key_hash,
        )
        assert (response.this_update_utc, response.next_update_utc) == (THIS, NEXT)
        assert response.produced_at_utc == PRODUCED
        assert response.responder_key_hash == issuer_hashes(signer).key_hash
        assert response.responder_name is None
        assert [found.public_bytes(Encoding.DER) for found in response.certificates] == list(certificates)
        assert not list(response.extensions)
        assert not list(response.single_extensions)


def test_key_hash_is_that_of_the_key() -> None:
    """byKey is the SHA-1 of the key's bits, as RFC 5280 section 4.2.1.2 (1) computes key identifiers."""
    ca = pki.make_ca()
    assert issuer_hashes(ca).key_hash == x509.SubjectKeyIdentifier.from_public_key(ca.key.public_key()).digest


@pytest.mark.parametrize("reason", [None, *RevocationReason])
def test_revoked(reason: RevocationReason | None) -> None:
    """Time and reason; ``unspecified`` is left out."""
    at = datetime(2026, 4, 30, 23, 59, 59, tzinfo=UTC)
    ca = pki.make_ca()
    single = ocsp.single_response(issuer_hashes(ca).cert_id(5).der, ocsp.revoked(at, reason), THIS, NEXT)
    response = pyca.load_der_ocsp_response(respond(ca, [single]))
    assert response.certificate_status is pyca.OCSPCertStatus.REVOKED
    assert response.revocation_time_utc == at
    found = response.revocation_reason
    if not reason:
        assert found is None
    else:
        assert found is not None
        assert found.value == reason.wire_name


def test_unknown() -> None:
    """RFC 6960 section 2.2: no word about the certificate."""
    ca = pki.make_ca()
    single = ocsp.single_response(issuer_hashes(ca).cert_id(5).der, ocsp.UNKNOWN, THIS, NEXT)
    assert pyca.load_der_ocsp_response(respond(ca, [single])).certificate_status is pyca.OCSPCertStatus.UNKNOWN


@pytest.mark.parametrize("size", [1, 16, 23, 32, 128])
def test_nonce(size: int) -> None:
    """Echoed, not critical."""
    ca = pki.make_ca()
    nonce = bytes(range(size))
    single = ocsp.single_response(issuer_hashes(ca).cert_id(5).der, ocsp.GOOD, THIS, NEXT)
    response = pyca.load_der_ocsp_response(respond(ca, [single], nonce=nonce))
    found = response.extensions.get_extension_for_class(x509.OCSPNonce)
    assert (found.value.nonce, found.critical) == (nonce, False)
    assert len(list(response.extensions)) == 1


def test_archive_cutoff() -> None:
    """How far back the responder remembers."""
    ca = pki.make_ca()
    cutoff = PRODUCED - timedelta(days=3650)
    single = ocsp.single_response(issuer_hashes(ca).cert_id(5).der, ocsp.GOOD, THIS, NEXT, cutoff)
    response = asn1.OCSPResponse.load(respond(ca, [single]), strict=True)
    [found] = response.response_data["responses"]
    assert found.archive_cutoff_value.native == cutoff


# asn1crypto encodes a year below 1000 with three digits.
moments = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 2**160 - 1),
            st.sampled_from([ocsp.SHA1, ocsp.SHA256, ocsp.SHA384, ocsp.SHA512]),
            st.booleans(),
            st.none() | st.tuples(moments, st.sampled_from(RevocationReason)),
        ),
        min_size=1,
        max_size=50,
    ),
    moments,
    st.none() | st.binary(min_size=1, max_size=128),
    st.binary(max_size=5000),
)
def test_several_certificates(
    answers: list[tuple[int, str, bool, tuple[datetime, RevocationReason] | None]],
    produced_at: datetime,
    nonce: bytes | None,
    signature: bytes,
) -> None:
    """One answer for each, in order, the CertID's bytes unchanged; every length of everything."""
    issuer = ocsp.IssuerHashes(b"\x30\x00", b"key")
    cert_ids = [issuer.cert_id(serial, algorithm, null=null) for serial, algorithm, null, _ in answers]
    singles = [
        ocsp.single_response(cert_id.der, ocsp.revoked(*revocation) if revocation else ocsp.GOOD, THIS, NEXT)
        for cert_id, (*_, revocation) in zip(cert_ids, answers, strict=True)
    ]
    to_be_signed = ocsp.response_data(ocsp.responder_by_key(bytes(20)), produced_at, singles, nonce=nonce)
    whole = ocsp.assemble(to_be_signed, bytes.fromhex("300a06082a8648ce3d040302"), signature)
    response = asn1.OCSPResponse.load(whole, strict=True)
    assert response["response_status"].native == "successful"
    basic = response.basic_ocsp_response
    assert basic["signature"].native == signature
    assert basic["tbs_response_data"].dump() == to_be_signed
    data = response.response_data
    assert data["version"].native == "v1"
    assert data["produced_at"].native == produced_at
    assert response.nonce_value is None if nonce is None else response.nonce_value.native == nonce
    assert len(data["responses"]) == len(answers)
    for single, cert_id, (serial, algorithm, _, revocation) in zip(data["responses"], cert_ids, answers, strict=True):
        assert single["cert_id"].dump() == cert_id.der
        assert single["cert_id"]["serial_number"].native == serial
        assert single["cert_id"]["hash_algorithm"]["algorithm"].dotted == algorithm
        assert (single["this_update"].native, single["next_update"].native) == (THIS, NEXT)
        status = single["cert_status"]
        assert status.name == ("revoked" if revocation else "good")
        if revocation:
            assert status.chosen["revocation_time"].native == revocation[0]


def test_no_empty_lists_of_extensions_and_no_fractions() -> None:
    """[1] is absent where there is nothing in it; times end in whole seconds and Z."""
    single = ocsp.single_response(ocsp.IssuerHashes(b"", b"").cert_id(5).der, ocsp.GOOD, THIS, NEXT)
    produced_at = PRODUCED.replace(microsecond=999_999)
    data = ocsp.response_data(ocsp.responder_by_key(bytes(20)), produced_at, [single])
    assert [part.tag for part in der.parse(data).children()] == [0xA2, der.GENERALIZED_TIME, der.SEQUENCE]
    assert der.parse(data).sub()[1].content == b"20260501120000Z"
    assert [part.tag for part in der.parse(single).children()] == [0x30, 0x80, der.GENERALIZED_TIME, 0xA0]


@pytest.mark.parametrize("first", [1, 100, 200, 65_400])
def test_lengths(first: int) -> None:
    """Every length has the form of DER, around the sizes at which it gets another byte."""
    for size in range(first, first + 160):
        response = ocsp.assemble(der.sequence(bytes(size)), der.sequence(der.null()), bytes(64))
        status, body = der.parse(response, der.SEQUENCE).sub()
        assert status.whole == b"\x0a\x01\x00"
        kind, basic = body.sub()[0].sub()
        assert kind.oid() == "1.3.6.1.5.5.7.48.1.1"
        assert len(der.parse(basic.content, der.SEQUENCE).sub()[0].content) == size


@pytest.mark.parametrize("status", ocsp.ResponseStatus)
def test_errors(status: ocsp.ResponseStatus) -> None:
    """Five bytes, not signed."""
    body = ocsp.error_response(status)
    assert body == bytes((0x30, 3, 10, 1, status))
    assert pyca.load_der_ocsp_response(body).response_status.value == status


def test_issuers_are_told_apart() -> None:
    """By the key as well as by the name, within one digest."""
    issuer = ocsp.IssuerHashes(b"name", b"key")
    rolled_over = ocsp.IssuerHashes(b"name", b"another key")
    renamed = ocsp.IssuerHashes(b"another name", b"key")
    cert_id = issuer.cert_id(1, ocsp.SHA256)
    assert issuer.matches(cert_id)
    assert not rolled_over.matches(cert_id)
    assert not renamed.matches(cert_id)
    assert not issuer.matches(cert_id._replace(algorithm=ocsp.SHA1))
    assert not issuer.matches(cert_id._replace(algorithm="1.2.840.113549.2.5"))
    assert cert_id.issuer_key in issuer.keys
    assert cert_id.key_hash == hashlib.sha256(b"key").digest()
    assert len({*issuer.keys, *rolled_over.keys, *renamed.keys}) == 12


@dataclass(frozen=True)
class Responder:
    """A CA, who signs for it, and their files for the openssl command."""

    ca: pki.Identity
    signer: pki.Identity
    ca_path: Path

    def check(self, folder: Path, response: bytes, leaves: Sequence[pki.Identity], *options: str) -> str:
        """Return the output of ``openssl ocsp -respin`` for *response*."""
        path = folder / "response.der"
        path.write_bytes(response)
        arguments = [
            "openssl",
            "ocsp",
            "-issuer",
            str(self.ca_path),
            "-CAfile",
            str(self.ca_path),
            "-respin",
            str(path),
        ]
        arguments += options
        for number, leaf in enumerate(leaves):
            arguments += ["-cert", str(leaf.write(folder, f"leaf{number}")[0])]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Response verify OK" in done.stderr
        assert "unknown" not in done.stderr
        return done.stdout


@pytest.mark.interop
@pytest.mark.parametrize("delegated", [False, True])
@pytest.mark.parametrize("key_type", CLASSICAL)
def test_openssl_accepts(tmp_path: Path, key_type: str, delegated: bool) -> None:
    """OCSP-1, OCSP-2: three certificates, three statuses, in one response."""
    require("openssl")
    ca = pki.make_ca(key_type)
    signer = pki.make_ocsp_responder(ca, key_type) if delegated else ca
    responder = Responder(ca, signer, ca.write(tmp_path, "ca")[0])
    leaves = [pki.make_leaf(ca, f"device {number}", key_type=key_type) for number in range(3)]
    now = datetime.now(UTC)
    statuses = [ocsp.GOOD, ocsp.revoked(now - timedelta(days=1), RevocationReason.KEY_COMPROMISE), ocsp.UNKNOWN]
    singles = [
        ocsp.single_response(
            issuer_hashes(ca).cert_id(leaf.certificate.serial_number).der,
            status,
            now - timedelta(minutes=5),
            now + timedelta(days=7),
        )
        for leaf, status in zip(leaves, statuses, strict=True)
    ]
    response = respond(signer, singles, certificates=[signer.der] if delegated else [], produced_at=now)
    said = responder.check(tmp_path, response, leaves, "-no_nonce")
    for number, status in enumerate(("good", "revoked", "unknown")):
        assert f"leaf{number}.crt: {status}" in said
    assert "Reason: keyCompromise" in said


@pytest.mark.interop
def test_openssl_checks_its_nonce(tmp_path: Path) -> None:
    """openssl refuses a response with another nonce than its own."""
    require("openssl")
    ca = pki.make_ca()
    leaf = pki.make_leaf(ca)
    responder = Responder(ca, ca, ca.write(tmp_path, "ca")[0])
    leaf_path, _ = leaf.write(tmp_path, "leaf0")
    request_path = tmp_path / "request.der"
    subprocess.run(
        ["openssl", "ocsp", "-issuer", responder.ca_path, "-sha256", "-cert", leaf_path, "-reqout", request_path],
        check=True,
        capture_output=True,
    )
    request = decode_request(request_path.read_bytes())
    now = datetime.now(UTC)
    singles = [
        ocsp.single_response(cert_id.der, ocsp.GOOD, now, now + timedelta(days=7)) for cert_id in request.cert_ids
    ]
    response = respond(ca, singles, produced_at=now, nonce=request.nonce)
    said = responder.check(tmp_path, response, [], "-reqin", str(request_path), "-resp_text")
    assert "OCSP Nonce" in said
    assert "Cert Status: good" in said
    with pytest.raises(AssertionError, match="Nonce Verify error"):
        responder.check(tmp_path, respond(ca, singles, nonce=b"other"), [], "-reqin", str(request_path))


@pytest.mark.interop
@pytest.mark.parametrize("key_type", CLASSICAL)
def test_gnutls_accepts_a_delegated_responder(tmp_path: Path, key_type: str) -> None:
    """It finds the responder's certificate in the response."""
    require("ocsptool")
    ca = pki.make_ca(key_type)
    delegate = pki.make_ocsp_responder(ca, key_type)
    now = datetime.now(UTC)
    single = ocsp.single_response(issuer_hashes(ca).cert_id(5).der, ocsp.GOOD, now, now + timedelta(days=7))
    path = tmp_path / "response.der"
    path.write_bytes(respond(delegate, [single], certificates=[delegate.der], produced_at=now, nonce=bytes(23)))
    done = subprocess.run(
        ["ocsptool", "--verify-response", "--load-response", path, "--load-trust", ca.write(tmp_path, "ca")[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verifying OCSP Response: Success" in done.stdout
