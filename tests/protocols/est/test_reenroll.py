"""simplereenroll (RFC 7030 section 4.2.2; EST-3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.lint import LintOverride
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import PolicyLimits
from pikachu.server.listeners import ClientCertificates
from pikachu.x509 import der
from pikachu.x509.csr import CHANGE_SUBJECT_NAME
from tests.protocols.est.refusals import refused
from tests.support.deferreds import result_of
from tests.support.est import EST, certificates_in, est_server
from tests.support.odd_requests import GOOD_NAME, UNCOPIED_NAMES, signed_csr
from tests.support.pki import Identity, make_ca, make_csr, make_leaf
from tests.support.stack import Response
from tests.unit.x509.requests import attribute, request, san

NAMES = ["DNS:device.example.com", "IP:192.0.2.9"]
REQUIRED = ClientCertificates.REQUIRED


def renew(est: EST, identity: Identity | None, csr: bytes, clients: ClientCertificates = REQUIRED) -> Response:
    """simplereenroll with a client certificate."""
    return est.enroll(csr, "simplereenroll", tls=est.connect(identity, clients=clients))


@pytest.mark.parametrize("clients", [ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED])
@pytest.mark.parametrize("same", [True, False])
def test_renewal(est: EST, clients: ClientCertificates, same: bool) -> None:
    """The same names; the same key, or a new one; owner and purposes stay."""
    owner = est.account("owner")
    device = est.identity(sans=NAMES, owner_id=owner.owner_id)
    key, csr = make_csr(sans=NAMES, key=device.key if same else None)
    found = est.certificate(renew(est, device, csr, clients))
    assert found.public_key() == key.public_key()
    assert found != device.certificate
    record = result_of(est.stack.app.store.certificate_by_serial(found.serial_number))
    assert record.owner_id == owner.owner_id
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.CLIENT_AUTH in set(purposes)
    # What was renewed can be renewed again.
    issuer = est.stack.files.issuers["ec"]
    est.certificate(renew(est, Identity(key, found, issuer), make_csr(sans=NAMES)[1], clients))


def test_order_of_names(est: EST) -> None:
    """SANs are a set, and names are compared as RFC 5280 says."""
    device = est.identity("Device One", sans=NAMES)
    _, csr = make_csr(subject="device  ONE", sans=list(reversed(NAMES)))
    est.certificate(renew(est, device, csr))


@pytest.mark.parametrize(
    ("subject", "sans"),
    [
        ("other.example.com", NAMES),
        ("device.example.com", []),
        ("device.example.com", NAMES[:1]),
        ("device.example.com", [*NAMES, "DNS:more.example.com"]),
        ("device.example.com", ["DNS:other.example.com", NAMES[1]]),
    ],
)
def test_other_names(est: EST, subject: str, sans: list[str]) -> None:
    """403."""
    refused(renew(est, est.identity(sans=NAMES), make_csr(subject=subject, sans=sans)[1]), 403)


def test_longer_subject(est: EST) -> None:
    device = est.identity()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
            x509.NameAttribute(NameOID.COMMON_NAME, "device.example.com"),
        ]
    )
    refused(renew(est, device, make_csr(subject=name)[1]), 403)


def test_change_subject_name(est: EST) -> None:
    """Without the right to it 400."""
    device = est.identity()
    wanted = attribute(CHANGE_SUBJECT_NAME, b"\x30\x02\x30\x00")
    refused(renew(est, device, request(attributes=[wanted], subject="CN=device.example.com")), 400)


def test_password_only(est: EST) -> None:
    """A password is no certificate."""
    refused(est.enroll(make_csr()[1], "simplereenroll", user="alice"), 403)
    challenge = est.challenge(est.account("owner"))
    refused(est.enroll(make_csr(challenge=challenge)[1], "simplereenroll"), 403)


def test_new_key_demanded(est: EST) -> None:
    """A policy can forbid the same key."""
    est.policy("rekey", limits=PolicyLimits(same_key=False))
    device = est.identity()
    refused(renew(est, device, make_csr(key=device.key)[1]), 400)
    est.certificate(renew(est, device, make_csr()[1]))


COUNTRY_CODE = "pikachu.country_code"
LENIENT = PolicyLimits(
    other_countries=True, other_names=("1.3.6.1.4.1.311.20.2.3", "1.3.6.1.5.5.7.8.8", "1.3.6.1.5.5.7.8.4", "1.2.3.4")
)


def place(country: bytes, common_name: bytes = der.utf8_string("x")) -> bytes:
    """A directoryName with a country and a common name, both encoded."""
    pairs = (("2.5.4.6", country), ("2.5.4.3", common_name))
    return der.explicit(4, der.sequence(*(der.set_of((der.sequence(der.oid(kind), one),)) for kind, one in pairs)))


@pytest.mark.parametrize(
    "name",
    [
        place(der.printable_string("XYZ")),
        place(der.printable_string("Atlantis")),
        place(der.utf8_string("DE")),
        place(der.printable_string("DE"), der.tlv(der.T61_STRING, b"M\xfcller")),
        place(der.utf8_string("XYZ"), der.tlv(der.PRINTABLE_STRING, b"a_b")),
        *(UNCOPIED_NAMES[kind] for kind in ("UPN", "NAIRealm", "hardwareModuleName")),
        der.explicit(0, der.oid("1.2.3.4") + der.explicit(0, der.tlv(der.GENERAL_STRING, b"a\xff"))),
    ],
    ids=bytes.hex,
)
def test_names_that_a_policy_allows(est: EST, name: bytes) -> None:
    """Renewal under the policy that issued, and again of the result; other names are refused."""
    override = LintOverride("Countries have other codes here.", "admin", est.stack.app.authority.now(), (COUNTRY_CODE,))
    est.policy("lenient", limits=LENIENT, lint_override=override)
    key = ec.derive_private_key(0xABCDEF0123456789, ec.SECP256R1())
    csr = signed_csr(key, "CN=device.example.com", (san(GOOD_NAME, name),))
    response = est.enroll(csr, user="alice")
    for _ in range(2):
        assert response.status == 200, response.body
        (found,) = certificates_in(response.body)
        device = Identity(key, found, est.stack.files.issuers["ec"])
        response = renew(est, device, csr)
    assert response.status == 200
    refused(renew(est, device, signed_csr(key, "CN=device.example.com", (san(GOOD_NAME),))), 403)


# --- certificates that are worth nothing ------------------------------------------------------


@pytest.mark.parametrize("operation", ["simpleenroll", "simplereenroll", "serverkeygen"])
@pytest.mark.parametrize("reason", [RevocationReason.KEY_COMPROMISE, RevocationReason.CERTIFICATE_HOLD])
def test_revoked(est: EST, operation: str, reason: RevocationReason) -> None:
    """403 at once, on a connection that stands too; a hold that ends counts no more."""
    device = est.identity()
    tls = est.connect(device, clients=REQUIRED)
    est.stack.revoke(device.certificate.serial_number, reason)
    assert "revoked" in refused(est.enroll(make_csr()[1], operation, tls=tls), 403)
    assert "revoked" in refused(est.enroll(make_csr()[1], operation, user="alice", tls=est.connect(device)), 403)
    if reason is RevocationReason.CERTIFICATE_HOLD:
        result_of(est.stack.app.authority.release(device.certificate.serial_number, SYSTEM))
        assert est.enroll(make_csr()[1], operation, tls=tls).status == 200


@pytest.mark.parametrize("clients", [ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED])
def test_expired(est: EST, clients: ClientCertificates) -> None:
    """403 in words, also on the trusted port."""
    device = est.identity(days=1)
    est.stack.clock.advance(86400)
    line = refused(renew(est, device, make_csr()[1], clients), 403)
    assert "expired" in line


@pytest.mark.parametrize("clients", [ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED])
def test_not_for_clients(est: EST, clients: ClientCertificates) -> None:
    """An extendedKeyUsage without clientAuth."""
    server_only = est.identity(purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    assert "clientAuth" in refused(renew(est, server_only, make_csr()[1], clients), 403)
    anything = est.identity(purposes=[])
    est.certificate(renew(est, anything, make_csr()[1], clients))


def test_deleted(est: EST) -> None:
    """A certificate that was deleted is not known any more."""
    device = est.identity()
    record = result_of(est.stack.app.store.certificate_by_serial(device.certificate.serial_number))
    result_of(est.stack.app.authority.delete(record, SYSTEM))
    refused(renew(est, device, make_csr()[1]), 403)


def test_foreign(est: EST) -> None:
    """403 where a certificate is optional; no handshake where one is required."""
    foreign = make_leaf(make_ca(name="Another CA"))
    refused(renew(est, foreign, make_csr()[1], ClientCertificates.OPTIONAL), 403)
    with pytest.raises(SSL.Error):
        renew(est, foreign, make_csr()[1], ClientCertificates.REQUIRED)
    with pytest.raises(SSL.Error):
        renew(est, None, make_csr()[1], ClientCertificates.REQUIRED)


def test_forged(est: EST) -> None:
    """A certificate under our CA's name and key identifier that our key has not signed."""
    real = est.stack.files.issuers["ec"]
    forger = make_ca(name="Test ec CA")
    forged = make_leaf(Identity(forger.key, real.certificate))
    assert forged.certificate.issuer == real.certificate.subject
    refused(renew(est, forged, make_csr()[1], ClientCertificates.OPTIONAL), 403)


def test_a_cas_certificate(est: EST) -> None:
    """The root's own certificate, shown as a client's, proves nothing here."""
    refused(renew(est, est.stack.files.root, make_csr()[1], ClientCertificates.OPTIONAL), 403)


# --- client_ca --------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED])
@pytest.mark.parametrize("depth", [0, 1])
def test_manufacturers_certificate(tmp_path: Path, clients: ClientCertificates, depth: int) -> None:
    """EST-2: one of ``client_ca`` enrolls, with intermediates; nobody owns it; it renews nothing."""
    maker = make_ca(name="Maker root")
    (tmp_path / "maker.crt").write_bytes(maker.pem)
    issuer = make_ca(name="Maker sub CA", issuer=maker) if depth else maker
    born = make_leaf(issuer, "serial 1", sans=["DNS:device.example.com"])
    settings = {("TRUSTED_HTTPS", "client_ca"): str(tmp_path / "maker.crt")}
    with est_server(tmp_path / "another", changes=settings) as est:
        est.account("alice")
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            tls = est.connect(born, clients=clients, version=version)
            assert est.get_on(tls, "cacerts").status == 200
            found = est.certificate(est.enroll(make_csr()[1], tls=tls))
            record = result_of(est.stack.app.store.certificate_by_serial(found.serial_number))
            assert record.owner_id is None
            _, csr = make_csr(subject="serial 1", sans=["DNS:device.example.com"])
            refused(est.enroll(csr, "simplereenroll", tls=tls), 403)
            again = est.connect(clients=clients, version=version, resume=tls)
            est.certificate(est.enroll(make_csr()[1], tls=again))
