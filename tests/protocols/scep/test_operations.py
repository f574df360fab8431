"""Public operations, GetCert, GetCRL, paths and HTTP (RFC 8894 sections 3.3.4, 3.3.5, 3.5 and 4)."""

from __future__ import annotations

from pathlib import Path

import pytest
from asn1crypto import cms
from cryptography import x509

from pikachu.core.errors import ConfigError
from pikachu.core.model.certificates import RevocationReason
from pikachu.x509 import der
from tests.support.deferreds import result_of
from tests.support.pki import make_ca
from tests.support.reference_work import BATCH, cost_in_signatures
from tests.support.scep import BAD_CERT_ID, BAD_REQUEST, FAILURE, SCEP, SUCCESS, scep_server_in
from tests.support.scep_client import CertRep, as_query, csr, read_degenerate, subject
from tests.support.stack import ask

PATHS = ["/scep", "/scep/", "/scep/pkiclient.exe", "/cgi-bin/pkiclient.exe", "/cgi-bin/pkiclient.exe/"]


def test_capabilities(scep: SCEP) -> None:
    """Exactly this, without a blank line."""
    response = scep.get_scep("GetCACaps")
    assert response.headers["Content-Type"] == "text/plain"
    assert response.body == b"AES\nPOSTPKIOperation\nRenewal\nSHA-256\nSHA-384\nSHA-512\nSCEPStandard"


@pytest.mark.parametrize("switch", ["allow_sha1_3des", "legacy"])
def test_capabilities_with_old_algorithms(tmp_path: Path, switch: str) -> None:
    """Listed only where they are accepted."""
    with scep_server_in(tmp_path / "server", changes={("SCEP", switch): "true"}) as scep:
        lines = scep.get_scep("GetCACaps").body.split(b"\n")
    assert lines == b"AES DES3 POSTPKIOperation Renewal SHA-1 SHA-256 SHA-384 SHA-512 SCEPStandard".split()


def test_ca_certificate(scep: SCEP) -> None:
    """The CA acts itself: one DER certificate."""
    response = scep.get_scep("GetCACert")
    assert response.headers["Content-Type"] == "application/x-x509-ca-cert"
    assert response.headers["Cache-Control"] == "max-age=300"
    assert response.body == scep.stack.issuer().certificate.der


def test_ca_certificates_with_an_ra(ra: SCEP) -> None:
    """RA and chain; the RA certificate has the key usage that clients look for."""
    response = ra.get_scep("GetCACert")
    assert response.headers["Content-Type"] == "application/x-x509-ca-ra-cert"
    certificates, crls = read_degenerate(response.body)
    assert set(ra.stack.issuer().chain) < set(certificates)
    assert len(certificates) == 3
    assert crls == []
    usage = x509.load_der_x509_certificate(ra.recipient()).extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment


def test_the_ra_certificate_stays(ra: SCEP) -> None:
    """SCEP-2: it is in the database; it is renewed in time, and messages for the one before are still read."""
    client = ra.client()
    once = ra.restart()
    assert once.recipient() == client.recipient
    again = once.restart()
    ra.stack.app = again.stack.app
    again.stack.clock.advance(320 * 86400)
    assert again.recipient() != client.recipient
    # The client knows the former certificate, so that signs the answer.
    again.leaf(again.enroll_scep(client, challenge=again.admin_challenge()))
    new = again.client()
    again.leaf(again.enroll_scep(new, "new", again.admin_challenge(), transaction_id="new"))
    again.stack.clock.advance(60 * 86400)
    assert new.read(again.post(client.pkcs_req()).body, again.recipient()).fail_info == BAD_CERT_ID


def test_never_an_ra(tmp_path: Path) -> None:
    """A server that could not read a message does not start."""
    with (
        pytest.raises(ConfigError, match=r"\[SCEP\] ra: never"),
        scep_server_in(tmp_path / "server", ("p256",), changes={("SCEP", "ra"): "never"}),
    ):
        pass


@pytest.mark.parametrize("message", [b"", b"0", b"1", b"CAIdentifier", b"trust%20point", b"%00%ff"])
@pytest.mark.parametrize("operation", ["GetCACaps", "GetCACert"])
def test_any_ca_identifier(scep: SCEP, operation: str, message: bytes) -> None:
    """Never 404."""
    assert scep.get_scep(operation, message=message).body == scep.get_scep(operation).body


@pytest.mark.parametrize("operation", ["getcacert", "GETCACERT"])
def test_operations_in_any_case(scep: SCEP, operation: str) -> None:
    """Clients write operations in any case."""
    assert scep.get_scep(operation).status == 200


def test_no_next_ca(scep: SCEP) -> None:
    """None is announced, and the capability is not there."""
    response = scep.get_scep("GetNextCACert")
    assert response.status == 404
    assert b"GetNextCACert" not in scep.get_scep("GetCACaps").body


# --- paths -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_paths(scep: SCEP, path: str) -> None:
    """With and without the program's name; HTTP/1.0 without Host as well."""
    client = scep.client(path=path)
    scep.leaf(scep.ask_scep(client, client.pkcs_req(csr(client.key, challenge=scep.admin_challenge())), path))
    old = ask(scep.site, scep.stack.clock, f"{path}?operation=GetCACert", headers={}, version="1.0")
    assert old.status == 200


@pytest.mark.parametrize("tail", ["", "/", "/pkiclient.exe", "/a/b/c"])
def test_labels(tmp_path: Path, tail: str) -> None:
    """SCEP-1: a label is a policy's name; that policy signs, with the CA that it names."""
    with scep_server_in(tmp_path / "server", ("rsa2048", "p256")) as scep:
        scep.policy("B 1.x", use_for_est=False, use_for_scep=True, days=5, issuer="ec")
        path = f"/scep/B%201.x{tail}"
        client = scep.client(path=path)
        reply = scep.ask_scep(client, client.pkcs_req(csr(client.key, challenge=scep.admin_challenge())), path)
        certificate = x509.load_der_x509_certificate(scep.leaf(reply))
        assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 5
        issuer = x509.load_der_x509_certificate(scep.stack.issuer("ec").certificate.der)
        certificate.verify_directly_issued_by(issuer)


@pytest.mark.parametrize("label", ["none", "b", "for EST", "%ff", "%00", "..", "a%2Fb", "PKICLIENT.EXE"])
def test_what_is_no_label(scep: SCEP, label: str) -> None:
    """404, for every operation; names are case-sensitive."""
    scep.policy("B", use_for_est=False, use_for_scep=True)
    scep.policy("for EST", use_for_scep=False)
    path = f"/scep/{label.replace(' ', '%20')}"
    for operation in ("GetCACaps", "GetCACert", "GetNextCACert"):
        assert scep.get_scep(operation, path).status == 404
    client = scep.client()
    response = scep.post(client.pkcs_req(), f"{path}?operation=PKIOperation")
    assert response.status == 404


def test_a_private_label(scep: SCEP) -> None:
    """Its owner's challenge passwords open it, others' don't."""
    alice, bob = scep.account("alice"), scep.account("bob")
    scep.policy("alice", system=False, owner_id=alice.owner_id, use_for_est=False, use_for_scep=True, days=3)
    client = scep.client()
    for owner, status in ((bob, FAILURE), (alice, SUCCESS)):
        request = csr(client.key, challenge=scep.challenge(owner))
        reply = scep.ask_scep(client, client.pkcs_req(request), "/scep/alice")
        assert reply.status == status


@pytest.mark.parametrize("path", ["/scepx", "/cgi-bin", "/cgi-bin/", "/cgi-bin/other", "/cgi-bin/pkiclient.exe2"])
def test_other_paths(scep: SCEP, path: str) -> None:
    """404 for paths that only resemble SCEP's."""
    assert scep.get_scep("GetCACert", path).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods(scep: SCEP, method: str) -> None:
    """405 with Allow; HEAD works."""
    response = ask(scep.site, scep.stack.clock, "/scep?operation=GetCACert", method)
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD, POST"
    assert ask(scep.site, scep.stack.clock, "/scep?operation=GetCACert", "HEAD").status == 200


def test_post_without_an_operation(scep: SCEP) -> None:
    """It is a PKIOperation, whatever its Content-Type."""
    client = scep.client()
    message = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        response = ask(scep.site, scep.stack.clock, "/scep", "POST", message, {"Content-Type": kind})
        scep.leaf(client.read(response.body, client.recipient))


def test_get_as_clients_write_it(scep: SCEP) -> None:
    """Unescaped characters, line breaks, missing padding, the URL alphabet of base64."""
    client = scep.client()
    message = client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))
    escaped = as_query(message)
    plain = escaped.replace(b"%2B", b"+").replace(b"%2F", b"/").replace(b"%3D", b"=")
    broken = b"%0A".join(plain[at : at + 64] for at in range(0, len(plain), 64))
    url_safe = plain.replace(b"+", b"-").replace(b"/", b"_")
    for text in (
        *(escaped, plain, broken, plain.rstrip(b"="), plain.replace(b"+", b"%20")),
        *(url_safe, url_safe.rstrip(b"="), url_safe.replace(b"_", b"%5F")),
    ):
        response = scep.get_scep("PKIOperation", message=text)
        scep.leaf(client.read(response.body, client.recipient))


# --- GetCert and GetCRL ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["scep", "ra"])
def test_get_cert(kind: str, request: pytest.FixtureRequest) -> None:
    """Any signature will do, and the transaction id means nothing."""
    scep: SCEP = request.getfixturevalue(kind)
    owner = scep.enrolled(scep.client())
    serial = x509.load_der_x509_certificate(owner.certificate).serial_number
    issuer = scep.stack.issuer().certificate
    anybody = scep.client(2)
    for number in (serial, serial):
        reply = scep.ask_scep(anybody, anybody.get_cert(issuer.subject_der, number, transaction_id="SSCEP id"))
        assert reply.certificates == [owner.certificate]
    own = scep.ask_scep(anybody, anybody.get_cert(issuer.issuer_der, issuer.serial))
    assert own.certificates == [issuer.der]


def test_get_cert_of_what_is_not_here(scep: SCEP) -> None:
    """badCertId."""
    owner = scep.enrolled(scep.client())
    serial = x509.load_der_x509_certificate(owner.certificate).serial_number
    issuer = scep.stack.issuer().certificate
    foreign = make_ca("p256", "Foreign").subject_der
    for name, number in (
        (issuer.subject_der, serial + 1),
        (issuer.subject_der, 0),
        (issuer.subject_der, -serial),
        (issuer.subject_der, 1 << 4000),
        (foreign, serial),
    ):
        reply = scep.ask_scep(owner, owner.get_cert(name, number))
        assert (reply.status, reply.fail_info) == (FAILURE, BAD_CERT_ID)


@pytest.mark.parametrize("kind", ["scep", "ra"])
def test_get_crl(kind: str, request: pytest.FixtureRequest) -> None:
    """The newest one, whether the serial number is known or not, and no certificate with it."""
    scep: SCEP = request.getfixturevalue(kind)
    owner = scep.enrolled(scep.client())
    serial = x509.load_der_x509_certificate(owner.certificate).serial_number
    scep.stack.revoke(serial, RevocationReason.SUPERSEDED)
    issuer = scep.stack.issuer()
    result_of(scep.stack.app.publisher.make(issuer))
    for number in (serial, 1, -1):
        reply = scep.ask_scep(owner, owner.get_crl(issuer.certificate.subject_der, number))
        assert reply.certificates == []
        (crl,) = reply.crls
        found = x509.load_der_x509_crl(crl)
        assert found.get_revoked_certificate_by_serial_number(serial) is not None
    foreign = make_ca("p256", "Foreign").subject_der
    assert scep.ask_scep(owner, owner.get_crl(foreign, serial)).fail_info == BAD_CERT_ID


@pytest.mark.parametrize("unit", ["\u0301\u0316", "\u0f73", "\ufdfa", "\u202e", "a"])
@pytest.mark.parametrize("size", [8000, 60_000])
def test_the_cost_of_a_long_issuer(scep: SCEP, unit: str, size: int) -> None:
    """Anybody may ask, so 29,000 combining marks must not stop everybody: a clear failure, at once."""
    client = scep.client()
    value = (unit * size).encode()[:size].decode("utf-8", "ignore")
    issuer = der.sequence(der.set_of([der.sequence(der.oid("2.5.4.4"), der.utf8_string(value))]))
    for message in (client.get_crl(issuer, 1), client.get_cert(issuer, scep.stack.issuer().certificate.serial)):
        replies: list[CertRep] = []

        def ask(message: bytes = message, replies: list[CertRep] = replies) -> None:
            replies.append(scep.ask_scep(client, message))

        assert cost_in_signatures(ask) < BATCH
        expected = BAD_CERT_ID if size == 8000 else BAD_REQUEST
        assert {(reply.status, reply.fail_info) for reply in replies} <= {(FAILURE, expected), (FAILURE, BAD_CERT_ID)}


def test_get_crl_before_there_is_one(scep: SCEP) -> None:
    """badCertId: nothing was published yet."""
    client = scep.client()
    reply = scep.ask_scep(client, client.get_crl(subject(client.recipient), 1))
    assert reply.fail_info == BAD_CERT_ID


# --- dump_dir ----------------------------------------------------------------------------


def test_dumps(tmp_path: Path) -> None:
    """SCEP-4: raw request and answer, readable by their owner only, names that no client can choose."""
    folder = tmp_path / "dump"
    with scep_server_in(tmp_path / "server", changes={("SCEP", "dump_dir"): str(folder)}) as scep:
        client = scep.client()
        message = client.pkcs_req(csr(client.key), transaction_id="../../../etc/x" + "y" * 200)
        answer = scep.post(message).body
        scep.post(b"garbage")
    assert folder.stat().st_mode & 0o777 == 0o700
    files = sorted(folder.iterdir())
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}
    contents = [one.read_bytes() for one in files]
    assert sorted(contents) == sorted([message, answer, b"garbage"])
    assert any("etcx" in one.name and len(one.name) < 120 for one in files)


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    """SCEP-4: enrolling goes on."""
    (tmp_path / "dump").write_bytes(b"a file")
    with scep_server_in(tmp_path / "server", changes={("SCEP", "dump_dir"): str(tmp_path / "dump")}) as scep:
        scep.leaf(scep.enroll_scep(scep.client(), challenge=scep.admin_challenge()))


def test_the_signers_certificate_goes_along(scep: SCEP) -> None:
    """That one, and no other."""
    client = scep.client()
    response = scep.post(client.pkcs_req(csr(client.key)))
    signed = cms.ContentInfo.load(response.body, strict=True)["content"]
    assert [one.dump() for one in signed["certificates"]] == [client.recipient]
