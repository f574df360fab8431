"""Which policy signs an EST request, what cacerts and csrattrs say of it (EST-1, POL-3, POL-4)."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.ca.issuers import IssuingCA
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.model.people import Role
from pikachu.core.model.policies import PolicyLimits
from pikachu.protocols.est.messages import decode_body
from pikachu.signers.key import KeySigner
from pikachu.x509 import der
from pikachu.x509.csr import CHALLENGE_PASSWORD
from pikachu.x509.spki import EC_PUBLIC_KEY, RSA_ENCRYPTION
from tests.protocols.est.refusals import refused
from tests.support.csrattrs import parse_csrattrs
from tests.support.est import EST, certificates_in, est_server, path
from tests.support.pki import make_ca, make_csr

ML_DSA = ["2.16.840.1.101.3.4.3.17", "2.16.840.1.101.3.4.3.18", "2.16.840.1.101.3.4.3.19"]


def policy_of(est: EST, found: x509.Certificate) -> object:
    """The policy that the audit event of the newest certificate names."""
    details = est.events("create")[-1].event.details
    assert details["serial"] == f"{found.serial_number:x}"
    return details["policy"]


# --- cacerts ----------------------------------------------------------------------------------


def test_cacerts(est: EST) -> None:
    """Anyone gets the chain of the CA that would sign, root included."""
    response = est.get("cacerts")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert response.headers["Content-Transfer-Encoding"] == "base64"
    files = est.stack.files
    found = {one.public_bytes(Encoding.DER) for one in certificates_in(response.body)}
    assert found == {files.issuers["ec"].der, files.root.der}
    head = est.send(path("cacerts"), "HEAD")
    assert head.headers["Content-Length"] == str(len(response.body))


def test_cacerts_of_several_cas(tmp_path: Path) -> None:
    """The chain of the CA that would sign on that path, so cacerts and certificates agree."""
    with est_server(tmp_path, key_types=["rsa2048", "p256", "mldsa44"]) as est:
        bob = est.account("bob")
        est.policy("to-ec", issuer="ec", owner_id=bob.owner_id, system=False)
        est.policy("to-mldsa", issuer="mldsa", owner_id=None, system=True)
        files = est.stack.files
        for label, name in ((None, "mldsa"), ("to-ec", "ec"), ("to-mldsa", "mldsa")):
            chain = {one.public_bytes(Encoding.DER) for one in certificates_in(est.get("cacerts", label).body)}
            assert chain == {files.issuers[name].der, files.root.der}
            _, csr = make_csr(subject=f"{label}.example.com")
            if label is not None:
                est.certificate(est.enroll(csr, user="bob", label=label), name)


def test_cacerts_during_a_rollover(est: EST) -> None:
    """The CA that follows is there before it signs."""
    root = est.stack.files.root
    coming = make_ca("p256", "Test ec CA", issuer=root, path_length=0)
    app = est.stack.app
    record = app.store.register_issuer("ec", coming.key_identifier, coming.der, app.authority.now())
    signer = KeySigner(coming.key, coming.der, (coming.der, root.der), ImmediatePool())
    app.issuers.add_next(IssuingCA(record, signer))
    found = {one.public_bytes(Encoding.DER) for one in certificates_in(est.get("cacerts").body)}
    assert found == {est.stack.files.issuers["ec"].der, coming.der, root.der}


# --- labels -----------------------------------------------------------------------------------


def test_label(est: EST) -> None:
    """POL-3: the label names the policy, escaped where it must be."""
    est.policy("Door locks_1.0", days=7, system=True, use_for_est=True)
    _, csr = make_csr()
    found = est.certificate(est.enroll(csr, label="Door locks_1.0", user="alice"))
    assert (found.not_valid_after_utc - found.not_valid_before_utc).days == 7
    assert policy_of(est, found) == "Door locks_1.0"
    assert est.events("create")[-1].event.details["label"] == "Door locks_1.0"
    assert est.get("cacerts", "Door locks_1.0").status == 200
    assert est.send("/.well-known/est/Door%20locks%5f1%2E0/cacerts", "GET").status == 200
    refused(est.enroll(csr, label="door locks_1.0", user="alice"), 404)
    refused(est.send("/.well-known/est/Door+locks_1.0/cacerts", "GET"), 404)


def test_labels_that_are_none(est: EST) -> None:
    """A policy that is not for EST, another user's, or none at all: 404."""
    bob = est.account("bob")
    est.policy("not for est", use_for_est=False)
    est.policy("of bob", system=False, owner_id=bob.owner_id)
    _, csr = make_csr()
    for label in ("not for est", "no such label", "System"):
        refused(est.get("cacerts", label), 404)
        refused(est.get("csrattrs", label), 404)
        refused(est.enroll(csr, label=label, user="alice"), 404)
    refused(est.enroll(csr, label="of bob", user="alice"), 404)
    est.account("root", Role.ADMIN)
    est.certificate(est.enroll(csr, label="of bob", user="bob"))


@pytest.mark.parametrize(
    "target",
    [
        "/.well-known/est",
        "/.well-known/est/",
        "/.well-known/est/unknown",
        "/.well-known/est/CACERTS",
        "/.well-known/est/cacerts/cacerts",
        "/.well-known/est/fullcmc/cacerts",
        "/.well-known/est/fullcmc",
        "/.well-known/est//cacerts",
        "/.well-known/est/cacerts/",
        "/.well-known/est/%2e%2e/cacerts",
        "/.well-known/est/../cacerts",
        "/.well-known/est/a%2Fb/cacerts",
        "/.well-known/est/a%00/cacerts",
        "/.well-known/est/%c3%a9/cacerts",
        "/.well-known/est/a/b/cacerts",
        "/.well-known/est/" + "a" * 300 + "/cacerts",
        "/.well-known/est/" + "a" * 20_000 + "/cacerts",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_paths_that_are_none(est: EST, target: str, method: str) -> None:
    """404, whatever the method."""
    assert est.send(target, method, b"x" if method != "GET" else b"").status == 404


# --- POL-3 ------------------------------------------------------------------------------------


def test_order_of_choice(est: EST) -> None:
    """POL-3: the label, the requester's own, the system one for EST, the default; the event names the policy.

    A default of one's own comes before the system's.
    """
    carol = est.account("carol", Role.ADMIN)
    key, csr = make_csr()
    found = est.certificate(est.enroll(csr, user="carol"))
    assert policy_of(est, found) == "System"
    est.policy("system", system=True, use_for_est=True, days=3)
    chosen = ["system", "own", "labelled"]
    for number, name in enumerate(chosen):
        if name == "own":
            est.policy("own", system=False, owner_id=carol.owner_id, days=4)
        if name == "labelled":
            est.policy("labelled", system=False, owner_id=carol.owner_id, days=5)
        _, csr = make_csr(subject=f"device{number}", key=None if number else key)
        label = "labelled" if name == "labelled" else None
        found = est.certificate(est.enroll(csr, user="carol", label=label))
        assert policy_of(est, found) == name
        assert (found.not_valid_after_utc - found.not_valid_before_utc).days == 3 + number
    # alice has no policy of her own.
    found = est.certificate(est.enroll(make_csr(subject="alice")[1], user="alice"))
    assert policy_of(est, found) == "system"
    # The owner of a challenge password counts, and of a client certificate.
    found = est.certificate(est.enroll(make_csr(subject="c", challenge=est.challenge(carol))[1]))
    assert policy_of(est, found) == "own"
    device = est.identity("d", owner_id=carol.owner_id)
    found = est.certificate(est.enroll(make_csr(subject="e")[1], tls=est.connect(device)))
    assert policy_of(est, found) == "own"


def test_the_default_policys_label(est: EST) -> None:
    """A policy flagged for SCEP only is no policy for EST."""
    est.policy("scep", system=True, use_for_est=False, use_for_scep=True)
    found = est.certificate(est.enroll(make_csr()[1], user="alice"))
    assert policy_of(est, found) == "System"


# --- csrattrs and limits ----------------------------------------------------------------------


def test_nothing_demanded(est: EST) -> None:
    """204."""
    response = est.get("csrattrs")
    assert response.status == 204
    assert response.body == b""
    assert est.send(path("csrattrs"), "HEAD").status == 204


@pytest.mark.parametrize(
    ("keys", "oids"),
    [
        (("EC/secp384r1",), [EC_PUBLIC_KEY, "1.2.840.10045.4.3.3"]),
        (("RSA/3072",), [RSA_ENCRYPTION, "1.2.840.113549.1.1.11"]),
        (("PQC/mldsa65",), ["2.16.840.1.101.3.4.3.18"]),
        (("Ed25519",), ["1.3.101.112"]),
        (("RSA",), [RSA_ENCRYPTION, "1.2.840.113549.1.1.11"]),
        (("EC",), [EC_PUBLIC_KEY]),
        (("PQC",), ML_DSA),
        (("RSA/2048", "RSA/4096"), [RSA_ENCRYPTION, "1.2.840.113549.1.1.11"]),
        (("RSA/2048", "EC/prime256v1"), [RSA_ENCRYPTION, EC_PUBLIC_KEY]),
        (("EC/secp384r1", "EC/prime256v1", "Ed25519"), [EC_PUBLIC_KEY, "1.3.101.112"]),
        (("RSA", "EC", "Ed25519", "PQC"), [RSA_ENCRYPTION, EC_PUBLIC_KEY, "1.3.101.112", *ML_DSA]),
    ],
)
def test_key_attributes(est: EST, keys: tuple[str, ...], oids: list[str]) -> None:
    """The key types that are allowed, one or several: each refusal of a key was announced."""
    est.policy("keys", limits=PolicyLimits(keys=keys))
    response = est.get("csrattrs")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/csrattrs"
    assert response.headers["Content-Transfer-Encoding"] == "base64"
    assert len(response.body) <= 1024
    assert [one.oid for one in parse_csrattrs(decode_body(response.body))] == oids
    offered = {"rsa2048": "RSA/2048", "p256": "EC/prime256v1", "ed25519": "Ed25519", "mldsa65": "PQC/mldsa65"}
    for key_type, text in offered.items():
        response = est.enroll(make_csr(key_type)[1], user="alice")
        if text in keys or text.partition("/")[0] in keys:
            est.certificate(response)
        else:
            assert f"a key of type {' or '.join(keys)}" in refused(response, 400)


def test_values_of_key_attributes(est: EST) -> None:
    """One attribute for each algorithm names all curves and sizes; a whole family of RSA has no sizes."""
    est.policy("keys", limits=PolicyLimits(keys=("EC/secp384r1", "RSA/4096", "EC/prime256v1", "RSA/3072")))
    attributes = {one.oid: one.values for one in parse_csrattrs(decode_body(est.get("csrattrs").body))}
    assert attributes == {
        EC_PUBLIC_KEY: (der.oid("1.3.132.0.34"), der.oid("1.2.840.10045.3.1.7")),
        RSA_ENCRYPTION: (der.integer(3072), der.integer(4096)),
    }


def test_a_family_of_keys_beside_a_size(est: EST) -> None:
    """Any size of RSA includes the one that is named."""
    est.policy("keys", limits=PolicyLimits(keys=("RSA", "RSA/4096")))
    first, *_ = parse_csrattrs(decode_body(est.get("csrattrs").body))
    assert (first.oid, first.values) == (RSA_ENCRYPTION, ())


def test_demands_are_named(est: EST) -> None:
    """The error lists everything a request lacks of the policy's demands."""
    est.policy("strict", limits=PolicyLimits(keys=("EC/secp384r1",), linked=True))
    attributes = parse_csrattrs(decode_body(est.get("csrattrs").body))
    assert CHALLENGE_PASSWORD in [one.oid for one in attributes]
    line = refused(est.enroll(make_csr()[1], user="alice"), 400)
    assert "challengePassword" in line
    assert "EC/secp384r1" in line


@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        (PolicyLimits(keys=("EC/prime256v1", "EC/secp384r1")), {}, {"key_type": "rsa2048"}),
        (PolicyLimits(keys=("RSA",)), {"key_type": "rsa2048"}, {"key_type": "p256"}),
        (PolicyLimits(subject="CN=*.example.com"), {}, {"subject": "elsewhere"}),
        (PolicyLimits(names=("DNS:*.example.com",)), {"sans": ["DNS:a.example.com"]}, {"sans": ["DNS:b.example.org"]}),
        (PolicyLimits(names=("DNS:*.example.com",)), {}, {"sans": ["DNS:a.example.com", "IP:192.0.2.1"]}),
    ],
)
def test_limits(est: EST, limits: PolicyLimits, good: dict[str, object], bad: dict[str, object]) -> None:
    """POL-4: 400 with the reason."""
    est.policy("limits", limits=limits)
    refused(est.enroll(make_csr(**bad)[1], user="alice"), 400)  # type: ignore[arg-type]
    est.certificate(est.enroll(make_csr(**good)[1], user="alice"))  # type: ignore[arg-type]


def test_names_not_honoured(est: EST) -> None:
    """A policy can leave the request's names out."""
    est.policy("without", limits=PolicyLimits(honour_names=False))
    found = est.certificate(est.enroll(make_csr(sans=["DNS:a.example.com"])[1], user="alice"))
    with pytest.raises(x509.ExtensionNotFound):
        found.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_names_of_the_policy(est: EST) -> None:
    """A policy's own subjectAltName replaces the request's."""
    est.policy("own names", extensions="[ v3_ext ]\nsubjectAltName = DNS:fixed.example.com\n")
    found = est.certificate(est.enroll(make_csr(sans=["DNS:a.example.com"])[1], user="alice"))
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fixed.example.com"]


def test_extensions_are_not_the_clients(est: EST) -> None:
    """No CA:TRUE, keyUsage or purposes of the request's choice."""
    asked = [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING, x509.oid.ExtendedKeyUsageOID.CODE_SIGNING]),
    ]
    found = est.certificate(est.enroll(make_csr(extensions=asked)[1], user="alice"))
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    purposes = set(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH}


def test_own_subject(est: EST) -> None:
    """``subject = own``."""
    est.policy("own", limits=PolicyLimits(own_subject=True))
    tls = est.connect(est.identity("device.example.com"))
    est.certificate(est.enroll(make_csr()[1], tls=tls))
    refused(est.enroll(make_csr(subject="other.example.com")[1], tls=tls), 403)


def test_clamped(tmp_path: Path) -> None:
    """A policy's validity ends with the CA's."""
    with est_server(tmp_path / "another") as est:
        est.account("alice")
        est.policy("long", days=36500)
        found = est.certificate(est.enroll(make_csr()[1], user="alice"))
        assert found.not_valid_after_utc == est.stack.issuer().certificate.not_after
