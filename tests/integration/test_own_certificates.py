"""CAR-1 in a real server beside commands: a revoked CA, a reissued certificate, a responder of an offline root."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from pikachu.signers.files import load_certificates
from tests.support import ocsp
from tests.support.est import basic
from tests.support.pki import digest_for, make_csr
from tests.support.rotation import CA, RotatedServer, rotated_server
from tests.support.scep_client import csr, new_client
from tests.support.server import Server, running_server, wait_until

PUBLIC_URL = "http://ca.example.com:8080"
# Without it, a command revokes no issuing CA.
CONFIRMED = ("--confirm", "issuing_ca")
#: What another process changes is known to a running server within a second; the rest is the machine's.
WITHIN_SECONDS = 60.0


def chain_status(server: Server, certificate: x509.Certificate) -> str:
    """The status of an issuing CA by its root, or the OCSPResponseStatus of an error."""
    (root,) = load_certificates(server.folder / "root.crt", "root")
    request = ocsp.request(ocsp.cert_id(root, certificate.serial_number))
    answer = server.ask("http", "/ocsp", "POST", request, {"Content-Type": "application/ocsp-request"})
    if ocsp.status_of(answer.body):
        return f"error {ocsp.status_of(answer.body)}"
    return ocsp.verify(answer.body, root, datetime.now(UTC)).status


def refusals(rotated: RotatedServer) -> dict[str, str]:
    """Return each protocol's response to an enrollment."""
    _, request = make_csr(subject="refused")
    est = rotated.est_post("simpleenroll", request, headers=basic("alice"))
    body = json.dumps({"csr": base64.b64encode(request).decode()}).encode()
    headers = {"Authorization": f"Bearer {rotated.token}", "Content-Type": "application/json"}
    rest = rotated.server.ask("https", "/api/v1/certificates", "POST", body, headers)
    client = new_client(rotated.get("/scep?operation=GetCACert", "scep"))
    challenge = rotated.server.run("challenge", "create", "--user", "alice").strip()
    message = client.pkcs_req(csr(client.key, "refused", challenge))
    scep = rotated.server.ask("scep", "/scep?operation=PKIOperation", "POST", message)
    reply = client.read(scep.body, client.recipient)
    return {
        "EST": f"{est.status} {est.text}",
        "REST": f"{rest.status} {json.loads(rest.body)['detail']}",
        "SCEP": f"{reply.status} {reply.fail_info_text}",
    }


def test_a_ca_is_revoked_beside_a_running_server(tmp_path: Path) -> None:
    """The root's CRL and OCSP show it within a second, no protocol enrolls any more, and a restart changes nothing."""
    with rotated_server(tmp_path) as rotated:
        server, certificate = rotated.server, rotated.current()
        leaf = rotated.enroll("EST")
        wait_until(lambda: server.ask("http", "/crl/root.crl").status == 200, "the root's CRL is published")
        assert chain_status(server, certificate) == "good"
        begun = time.monotonic()
        server.run("revoke", f"{certificate.serial_number:x}", "--reason", "cACompromise", *CONFIRMED)
        wait_until(lambda: chain_status(server, certificate) == "revoked", "OCSP says revoked", WITHIN_SECONDS)
        listed = x509.load_der_x509_crl(rotated.get("/crl/root.crl"))
        assert [one.serial_number for one in listed] == [certificate.serial_number]
        assert time.monotonic() - begun < WITHIN_SECONDS
        for _ in range(2):
            found = refusals(rotated)
            for protocol, status in (("EST", "400"), ("REST", "422")):
                assert found[protocol].startswith(f"{status} "), found
                assert f"The issuing CA {CA} was revoked" in found[protocol]
            assert found["SCEP"].startswith("2 The issuing CA"), found
            assert rotated.ocsp_status(leaf, certificate) == "good"
            assert f"{CA}\tcurrent, revoked\t" in server.run("ca", "list")
            answer = server.ask("https", f"/status/{certificate.serial_number:x}")
            assert json.loads(answer.body)["status"] == "revoked"
            server.stop()
            server.start()
        rotated.switch_now()
        rotated.enroll("REST")


def test_a_certificate_with_addresses_is_adopted(tmp_path: Path) -> None:
    """``pikachu ca reissue``: same key and subject; certificates issued before still verify; no restart."""
    with rotated_server(tmp_path, changes={("CA", "public_url"): PUBLIC_URL}) as rotated:
        server, before = rotated.server, rotated.current()
        leaf = rotated.enroll("EST")
        printed = server.run("ca", "reissue", CA)
        wait_until(lambda: rotated.current() != before, "the new certificate is served", WITHIN_SECONDS)
        after = rotated.current()
        assert printed.startswith(f"{CA}: {after.serial_number:x} is valid until ")
        assert (after.subject, after.public_key()) == (before.subject, before.public_key())
        access = after.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        root = x509.load_pem_x509_certificate((server.folder / "root.crt").read_bytes())
        identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
        addresses = {one.access_method: one.access_location.value for one in access}
        assert addresses == {
            AuthorityInformationAccessOID.OCSP: f"{PUBLIC_URL}/ocsp",
            AuthorityInformationAccessOID.CA_ISSUERS: f"{PUBLIC_URL}/ca/{identifier}.cer",
        }
        assert rotated.get(f"/ca/{identifier}.cer") == root.public_bytes(Encoding.DER)
        (point,) = after.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name is not None
        assert [one.value for one in point.full_name] == [f"{PUBLIC_URL}/crl/{identifier}.crl"]
        for certificate in (before, after):
            assert chain_status(server, certificate) == "good"
            assert rotated.ocsp_status(leaf, certificate) == "good"
        rotated.enroll("SCEP")
        server.run("revoke", f"{before.serial_number:x}", "--reason", "superseded", *CONFIRMED)
        wait_until(lambda: chain_status(server, before) == "revoked", "the former certificate is revoked")
        rotated.enroll("REST")
        server.stop()
        server.start()
        assert rotated.current() == after
        rotated.enroll("EST")


def test_an_offline_root_answers_by_an_installed_responder(tmp_path: Path) -> None:
    """``pikachu ca responder``: unauthorized before, good within a second after, and after a restart."""
    with running_server(tmp_path / "server", root_key=False) as server:
        certificate = server.files.issuers["ec"].certificate
        assert chain_status(server, certificate) == f"error {ocsp.UNAUTHORIZED}"
        request = x509.load_pem_x509_csr(server.run("ca", "responder", "--csr").encode())
        root, now = server.files.root, datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(root.certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=90))
        )
        for extension in request.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        usage = request.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.OCSP_SIGNING]
        path = server.folder / "responder.crt"
        path.write_bytes(builder.sign(root.key, digest_for(root.key)).public_bytes(Encoding.PEM))
        assert server.run("ca", "responder", "--install", str(path)).startswith("root: OCSP answers until ")
        wait_until(lambda: chain_status(server, certificate) == "good", "the responder answers", WITHIN_SECONDS)
        server.stop()
        server.start()
        assert chain_status(server, certificate) == "good"
