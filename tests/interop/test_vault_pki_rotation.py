"""Generations of a CA over OpenBao's PKI engine, and the roles that would lose certificates (VLT-1, VLT-4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.ca.bootstrap import RootFiles, issuing_certificate
from pikachu.ca.rotation import Rotation, RotationFiles, complete
from pikachu.core.errors import SignerUnavailable
from pikachu.core.model.certificates import format_serial
from pikachu.http.tree import Tree
from pikachu.server.downloads import download_tree
from pikachu.signers.files import load_certificates
from pikachu.signers.key_files import load_key
from pikachu.signers.references import read_reference
from pikachu.signers.vault.faults import VaultRefused, VaultUnreachable
from pikachu.signers.vault.pki_mount import PKIMount
from pikachu.storage.store import Store
from pikachu.x509.certificate import parse_certificate
from tests.interop.test_vault_pki import EngineCA, engine_ca
from tests.protocols.ocsp.server import OCSPServer
from tests.support import ocsp
from tests.support.deferreds import result_of
from tests.support.est import certificates_in
from tests.support.faults import FaultyStore
from tests.support.lint import check_certificate, check_chain
from tests.support.pki import make_csr
from tests.support.relay import Fault
from tests.support.stack import ask
from tests.support.vault import PKI_POLICY, OpenBao, openbao

pytestmark = pytest.mark.interop

URL = "http://ca.example.com"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server for this file, in memory."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


def files_of(ca: EngineCA) -> RotationFiles:
    """The files of the generations."""
    files = ca.stack.app.generations.files(ca.stack.issuer().name)
    assert files is not None
    return files


def rotation_of(ca: EngineCA) -> Rotation:
    """A rotation."""
    app = ca.stack.app
    return Rotation(files_of(ca), app.ca_keys, app.authority.now(), print)


def root_of(ca: EngineCA) -> RootFiles:
    """The root's files."""
    return RootFiles(ca.stack.files.folder / "root.key", ca.stack.files.folder / "root.crt")


def announce(ca: EngineCA, rotation: Rotation) -> bytes:
    """Announce the next generation; return its key identifier."""
    app, name = ca.stack.app, ca.stack.issuer().name
    coming = rotation.load()
    result_of(app.generations.install(name, coming, URL))
    result_of(app.generations.link(app.authority, name, coming, URL))
    rotation.announce(app.authority.now())
    return coming.certificate.key_identifier


def switch(ca: EngineCA) -> None:
    """Have the server switch to the announced generation."""
    app = ca.stack.app
    assert complete(files_of(ca), app.ca_keys, app.authority.now(), print)
    result_of(app.generations.update(app.issuers))


def enroll(ca: EngineCA, slot: int) -> x509.Certificate:
    """Return a new certificate."""
    return ca.est.certificate(ca.est.enroll(make_csr(slot=slot, subject=f"device {slot}")[1], user="alice"))


def ready(ca: EngineCA) -> tuple[str, str]:
    """Return state and message of the PKI engine at ``/readyz``."""
    ca.stack.clock.advance(11)
    tree = Tree()
    for name, resource in download_tree(ca.stack.app, {}).items():
        tree.putChild(name, resource)
    document = json.loads(ask(ca.stack.site(tree), ca.stack.clock, "/readyz").body)
    return document["checks"]["pki_engine"], document.get("messages", {}).get("pki_engine", "")


@pytest.mark.parametrize("key_type", ["p256", pytest.param("rsa2048", marks=pytest.mark.soak)])
def test_rotation(bao: OpenBao, tmp_path: Path, key_type: str) -> None:
    """The next key is in both engines; the former generation still signs its CRL, answers OCSP and is revoked from."""
    with engine_ca(bao, tmp_path, key_type=key_type) as ca:
        stack, old = ca.stack, ca.stack.issuer()
        certificate = enroll(ca, 2)
        rotation = rotation_of(ca)
        rotation.certify(root_of(ca), 100, None)
        identifier = announce(ca, rotation)
        # Until the switch, the current generation goes on issuing.
        assert enroll(ca, 3).issuer == certificate.issuer
        switch(ca)
        new = stack.issuer()
        assert new.key_identifier == identifier != old.key_identifier
        check_chain(new.certificate.der, [stack.files.root.der])
        assert str(read_reference(files_of(ca).ca.key, "the setting")).endswith("?version=2")
        later = enroll(ca, 4)
        check_certificate(later.public_bytes(Encoding.DER), new.chain)
        authority = later.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert authority == identifier
        points = later.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert points[0].full_name is not None
        assert points[0].full_name[0].value == f"{URL}/crl/{identifier.hex()}.crl"
        assert ready(ca)[0] == "ok"
        # The mount of one generation is that of all.
        assert {format_serial(one.serial_number) for one in (certificate, later)} <= ca.serials()
        stack.revoke(certificate.serial_number)
        ca.recover()
        assert ca.revoked() == {format_serial(certificate.serial_number)}
        for issuer in (old, new):
            result_of(stack.app.publisher.make(issuer))
        result_of(stack.app.responder.prepare())
        cert_id = ocsp.cert_id(old.certificate, certificate.serial_number)
        answer = OCSPServer(stack).post(ocsp.request(cert_id))
        assert ocsp.verify(answer.body, old.certificate, stack.app.authority.now()).status == "revoked"
        # And after a restart, with the next rotation.
        ca.stack = ca.stack.restart()
        assert ca.stack.issuer().key_identifier == identifier
        enroll(ca, 5)
        rotation = rotation_of(ca)
        rotation.certify(root_of(ca), 100, None)
        announce(ca, rotation)
        switch(ca)
        enroll(ca, 6)
        assert str(read_reference(files_of(ca).ca.key, "the setting")).endswith("?version=3")


def test_an_offline_root(bao: OpenBao, tmp_path: Path) -> None:
    """It signs a request; what it issued becomes an issuer of the mount."""
    with engine_ca(bao, tmp_path) as ca:
        request = x509.load_pem_x509_csr(rotation_of(ca).request().read_bytes())
        assert request.is_signature_valid
        root = root_of(ca)
        assert root.key is not None
        root_key = load_key(root.key, "the setting", None, "warn", print)
        issuer = load_certificates(root.certificate, "the setting")[0]
        app = ca.stack.app
        rotation = rotation_of(ca)
        encoding = issuing_certificate(
            rotation.key(), ca.stack.issuer().certificate.subject_der, root_key, issuer, 100, app.authority.now(), None
        )
        rotation.take([parse_certificate(encoding)])
        identifier = announce(ca, rotation)
        switch(ca)
        assert ca.stack.issuer().key_identifier == identifier
        assert ca.est.enroll(make_csr()[1], user="alice").status == 200


def test_a_key_in_a_file(bao: OpenBao, tmp_path: Path) -> None:
    """The next key is created in its file, and imported into the mount; an outage in between is no harm."""
    with engine_ca(bao, tmp_path, keeps_file=True) as ca:
        enroll(ca, 2)
        rotation = rotation_of(ca)
        rotation.certify(root_of(ca), 100, None)
        ca.relay.become(Fault.REFUSED)
        with pytest.raises(VaultUnreachable):
            announce(ca, rotation)
        assert files_of(ca).announced() is None
        ca.relay.become(Fault.NONE)
        rotation = rotation_of(ca)
        rotation.certify(root_of(ca), 100, None)
        identifier = announce(ca, rotation)
        switch(ca)
        later = enroll(ca, 3)
        authority = later.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert authority == identifier
        assert format_serial(later.serial_number) in ca.serials()


def test_a_run_that_ends_between_the_engines(bao: OpenBao, tmp_path: Path) -> None:
    """The next run makes another key, which both engines have; the request for the root is for that one."""
    denied = PKI_POLICY + 'path "transit/keys/+/import_version" { capabilities = ["deny"] }\n'
    with engine_ca(bao, tmp_path) as ca:
        bao.approle(denied)
        with pytest.raises(VaultRefused, match=r"denies access to transit/keys/.*/import_version"):
            rotation_of(ca).key()
        bao.approle(PKI_POLICY)
        rotation = rotation_of(ca)
        rotation.certify(root_of(ca), 100, None)
        announce(ca, rotation)
        switch(ca)
        assert ca.est.enroll(make_csr()[1], user="alice").status == 200


def test_a_version_that_only_transit_has(bao: OpenBao, tmp_path: Path) -> None:
    """It can't be brought into the PKI engine, so it is not announced."""
    with engine_ca(bao, tmp_path) as ca:
        bao.api("POST", f"transit/keys/ec-{tmp_path.name}/rotate")
        with pytest.raises(VaultRefused, match="has a version that was created in Vault"):
            rotation_of(ca).key()
        rotation_of(ca)._files.next.key.write_text(f"vault:transit/ec-{tmp_path.name}?version=2\n")
        rotation = rotation_of(ca)
        rotation.certify(root_of(ca), 100, None)
        with pytest.raises(VaultRefused, match="does not have the key of the certificate"):
            announce(ca, rotation)
        assert files_of(ca).announced() is None


def test_a_lost_certificate_of_the_former_generation(bao: OpenBao, tmp_path: Path) -> None:
    """The database fails after the engine has signed, and the CA is switched before the certificate is found."""
    stores: list[FaultyStore] = []

    def wrap(store: Store) -> Any:
        stores.append(FaultyStore(store))
        return stores[-1]

    with engine_ca(bao, tmp_path, wrap_store=wrap) as ca:
        rotation = rotation_of(ca)
        rotation.certify(root_of(ca), 100, None)
        announce(ca, rotation)
        _, csr = make_csr()
        stores[0].failing["record_signed"] = 1
        assert ca.est.enroll(csr, user="alice").status == 503
        (signed,) = ca.serials() - ca.foreign
        former = ca.stack.issuer()
        switch(ca)
        ca.recover()
        (certificate,) = certificates_in(ca.est.enroll(csr, user="alice").body)
        assert format_serial(certificate.serial_number) == signed
        record = result_of(ca.stack.app.store.certificate_by_serial(certificate.serial_number))
        assert record.issuer_id == former.id
        assert ca.serials() - ca.foreign == {signed}


ROLES: dict[str, tuple[dict[str, object], str]] = {
    "no_store": ({"no_store": True}, "has no_store = true"),
    "leases": ({"generate_lease": True}, "has generate_lease = true"),
    "backdated": ({"not_before_duration": "1h"}, "has not_before_duration = 3600s"),
}


@pytest.mark.parametrize("name", ROLES)
def test_roles_that_lose_certificates(bao: OpenBao, tmp_path: Path, name: str) -> None:
    """Nothing is signed by them, the reason is at ``/readyz`` and in the first run after a start; no restart is due."""
    settings, reason = ROLES[name]
    with engine_ca(bao, tmp_path) as ca:
        path = f"{ca.mount}/roles/all"
        bao.api("POST", path, {"key_type": "any", "max_ttl": "87600h", **settings})
        assert ca.est.enroll(make_csr()[1], user="alice").status == 503
        assert ca.serials() == ca.foreign
        with pytest.raises(SignerUnavailable) as raised:
            ca.recover()
        assert reason in raised.value.public
        state, message = ready(ca)
        assert state == "unavailable"
        assert reason in message
        bao.api("POST", path, {"key_type": "any", "max_ttl": "87600h"})
        assert ca.est.enroll(make_csr(slot=2, subject="device 2")[1], user="alice").status == 200
        assert ready(ca)[0] == "ok"
        ca.recover()


def test_an_issuer_that_was_replaced(bao: OpenBao, tmp_path: Path) -> None:
    """Its id is found again by key and name, and the default issuer of the mount does not matter."""
    with engine_ca(bao, tmp_path) as ca:
        assert ca.est.enroll(make_csr()[1], user="alice").status == 200
        mount = PKIMount(bao.operator(), ca.mount)
        (issuer,) = mount.issuers()
        bao.api("DELETE", f"{ca.mount}/issuer/{issuer.id}")
        bao.api("POST", f"{ca.mount}/root/generate/internal", {"common_name": "another CA", "key_type": "ec"})
        assert ca.est.enroll(make_csr(slot=2, subject="device 2")[1], user="alice").status == 503
        state, message = ready(ca)
        assert state == "unavailable"
        assert f"The mount {ca.mount} has no issuer for the certificate of the issuing CA" in message
        mount.import_certificates([issuer.certificate])
        assert ca.est.enroll(make_csr(slot=3, subject="device 3")[1], user="alice").status == 200
        assert ready(ca)[0] == "ok"
