"""The CA over OpenBao's PKI engine: what it builds, what is refused, and what a crash loses: nothing (VLT-1, CFG-5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.core.errors import SignerUnavailable
from pikachu.core.model.certificates import Method, RevocationReason, format_serial
from pikachu.core.model.list_queries import ListQuery
from pikachu.signers.vault.pki_mount import PKIMount
from pikachu.storage.store import Store
from tests.protocols.ocsp.server import OCSPServer
from tests.support import ocsp, scep_client
from tests.support.deferreds import result_of
from tests.support.est import EST, est_site
from tests.support.faults import FaultySigner, FaultyStore
from tests.support.lint import check_certificate
from tests.support.pki import make_csr, make_key, make_name
from tests.support.relay import Fault, Relay
from tests.support.scep import SCEP, scep_site
from tests.support.stack import Stack, make_files, open_stack
from tests.support.vault import PKI_POLICY, POLICY, OpenBao, openbao

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server for this file, in memory."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@dataclass
class EngineCA:
    """A CA whose certificates the PKI engine builds.

    :ivar mount: of the engine.
    :ivar foreign: the serial numbers that were there before.
    """

    stack: Stack
    relay: Relay
    bao: OpenBao
    mount: str
    foreign: set[str] = field(default_factory=set)

    @property
    def est(self) -> EST:
        """Its EST server."""
        return EST(self.stack, est_site(self.stack))

    def serials(self) -> set[str]:
        """The serial numbers in the mount, as here."""
        return self._listed("certs")

    def revoked(self) -> set[str]:
        """The revoked ones there."""
        return self._listed("certs/revoked")

    def _listed(self, what: str) -> set[str]:
        return {
            format_serial(int(key.replace(":", ""), 16)) for key in self.bao.operator().list(f"{self.mount}/{what}")
        }

    def recover(self) -> None:
        """Do what a running server does every ten seconds."""
        result_of(Deferred.fromCoroutine(self.stack.app.engine_recovery.run()))

    def issued(self) -> set[str]:
        """The serial numbers of the subscribers' certificates in the database."""
        page = result_of(self.stack.app.store.certificates(ListQuery(limit=100), self.stack.app.authority.now()))
        return {format_serial(one.serial) for one in page.items if one.method is not Method.CA}


@contextmanager
def engine_ca(
    bao: OpenBao,
    folder: Path,
    *,
    key_type: str = "p256",
    keeps_file: bool = False,
    wrap_store: Callable[[Store], Any] | None = None,
    **settings: str,
) -> Iterator[EngineCA]:
    """Run a CA in memory whose key is in the PKI engine and in transit.

    :param keeps_file: its key is in a file instead of transit.
    """
    mount = f"pki-{folder.name}"
    role = bao.approle(PKI_POLICY)
    with Relay(bao.port) as relay:
        more = {
            "signer": "pki",
            "retry_attempts": "1",
            "pki_ec_path": mount,
            "pki_rsa_path": mount,
            "role_default": "all",
            "transit_key_ec": "none" if keeps_file else f"ec-{folder.name}",
            "transit_key_rsa": "none" if keeps_file else f"rsa-{folder.name}",
            **settings,
        }
        files = make_files(folder / "ca", (key_type,), changes=bao.settings(role, port=relay.port, **more))
        ((name, issuer),) = files.issuers.items()
        bao.take_issuer(mount, issuer, "all")
        if not keeps_file:
            bao.take(f"{name}-{folder.name}", issuer.key)
            (files.folder / f"{name}.key").unlink()
        stack = open_stack(files, wrap_store=wrap_store)
        stack.app.publisher.begin()
        ca = EngineCA(stack, relay, bao, mount)
        ca.foreign = ca.serials()
        ca.est.account("alice")
        try:
            yield ca
        finally:
            ca.stack.close()


@pytest.mark.parametrize("key_type", ["p256", "rsa2048"])
def test_the_engine_builds_certificates(bao: OpenBao, tmp_path: Path, key_type: str) -> None:
    """EST and SCEP, revocation, CRL and OCSP; the engine has the certificates and the revocations."""
    with engine_ca(bao, tmp_path, key_type=key_type) as ca:
        stack = ca.stack
        before = ca.serials()
        _, csr = make_csr(sans=["DNS:device.example.com"])
        certificate = ca.est.certificate(ca.est.enroll(csr, user="alice"))
        assert ca.serials() - before == {format_serial(certificate.serial_number)}
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert usage.digital_signature
        scep = SCEP(stack, scep_site(stack))
        reply = scep.enroll_scep(scep.client(), challenge=scep.admin_challenge())
        check_certificate(scep.leaf(reply), stack.issuer().chain)
        assert len(ca.serials() - before) == 2
        stack.revoke(certificate.serial_number)
        ca.recover()
        assert ca.revoked() == {format_serial(certificate.serial_number)}
        result_of(stack.app.publisher.make(stack.issuer()))
        result_of(stack.app.responder.prepare())
        server = OCSPServer(stack)
        answer = server.post(ocsp.request(server.cert_id(certificate.serial_number)))
        assert ocsp.verify(answer.body, stack.issuer().certificate, stack.app.authority.now()).status == "revoked"


LOST = [
    pytest.param("record_signed", False, id="before the serial number is recorded"),
    pytest.param("record_signed", True, id="while the serial number is recorded"),
    pytest.param("complete", False, id="before the certificate is stored"),
    pytest.param("complete", True, id="while the certificate is stored"),
]


@pytest.mark.parametrize(("method", "after"), LOST)
@pytest.mark.parametrize("restarts", [False, True])
def test_nothing_is_lost_or_signed_twice(
    bao: OpenBao, tmp_path: Path, method: str, after: bool, restarts: bool
) -> None:
    """The database fails after the engine has signed: the same process, or the next one, finds the certificate."""
    stores: list[FaultyStore] = []

    def wrap(store: Store) -> Any:
        stores.append(FaultyStore(store))
        return stores[-1]

    with engine_ca(bao, tmp_path, wrap_store=wrap) as ca:
        _, csr = make_csr()
        stores[0].failing[method], stores[0].after = 1, after
        assert ca.est.enroll(csr, user="alice").status == 503
        (signed,) = ca.serials() - ca.foreign
        if restarts:
            ca.stack = ca.stack.restart()
            ca.stack.clock.advance(61)
        ca.recover()
        assert ca.issued() == {signed}
        certificate = ca.est.certificate(ca.est.enroll(csr, user="alice"))
        assert format_serial(certificate.serial_number) == signed
        assert ca.serials() - ca.foreign == {signed}


def test_a_cut_connection_loses_nothing(bao: OpenBao, tmp_path: Path) -> None:
    """The engine signs, and its answer is lost; a client that repeats its request gets that certificate."""
    with engine_ca(bao, tmp_path) as ca:
        assert ca.est.enroll(make_csr(slot=2)[1], user="alice").status == 200
        ca.foreign = ca.serials()
        _, csr = make_csr()
        ca.relay.become(Fault.CUT)
        answer = ca.est.enroll(csr, user="alice")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert answer.body == b"The issuing key can't be used now. Try again later.\n"
        ca.relay.become(Fault.NONE)
        assert ca.est.enroll(csr, user="alice").status == 503
        (signed,) = ca.serials() - ca.foreign
        ca.recover()
        assert format_serial(ca.est.certificate(ca.est.enroll(csr, user="alice")).serial_number) == signed
        assert ca.serials() - ca.foreign == {signed}
        (event,) = [one for one in ca.est.events("create") if one.event.details.get("recovered")]
        assert event.event.details["serial"] == signed


def test_scep_after_a_cut_connection(bao: OpenBao, tmp_path: Path) -> None:
    """Clients are told when to ask again; the same message gets the certificate that the engine has signed."""
    with engine_ca(bao, tmp_path, key_type="rsa2048") as ca:
        scep = SCEP(ca.stack, scep_site(ca.stack))
        scep.enroll_scep(scep.client(), challenge=scep.admin_challenge())
        ca.foreign = ca.serials()
        client = scep.client(slot=2)
        message = client.pkcs_req(scep_client.csr(client.key, challenge=scep.admin_challenge()))
        ca.relay.become(Fault.MIDWAY)
        answer = scep.post(message)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        ca.relay.become(Fault.NONE)
        again = scep.post(message)
        assert (again.status, again.headers["Retry-After"]) == (503, "5")
        (signed,) = ca.serials() - ca.foreign
        ca.recover()
        certificate = x509.load_der_x509_certificate(scep.leaf(scep.ask_scep(client, message)))
        assert format_serial(certificate.serial_number) == signed
        assert ca.serials() - ca.foreign == {signed}


def test_an_intent_that_was_never_signed_is_given_up(bao: OpenBao, tmp_path: Path) -> None:
    """A minute later, as the engine could answer no more; then the request is new."""
    with engine_ca(bao, tmp_path) as ca:
        assert ca.est.enroll(make_csr(slot=2)[1], user="alice").status == 200
        ca.foreign = ca.serials()
        _, csr = make_csr()
        ca.relay.become(Fault.PAGE)
        assert ca.est.enroll(csr, user="alice").status == 503
        ca.relay.become(Fault.NONE)
        ca.recover()
        assert ca.est.enroll(csr, user="alice").status == 503
        ca.stack.clock.advance(61)
        ca.recover()
        assert ca.est.enroll(csr, user="alice").status == 200
        assert ca.serials() - ca.foreign == ca.issued() & (ca.serials() - ca.foreign)
        assert len(ca.serials() - ca.foreign) == 1


REFUSALS = [
    pytest.param({"role_est": "missing"}, PKI_POLICY, "", id="role missing"),
    pytest.param({"pki_ec_path": "nowhere"}, PKI_POLICY, "nowhere", id="mount missing"),
    pytest.param({}, POLICY, "", id="permission denied"),
]


@pytest.mark.parametrize(("settings", "policy", "reason"), REFUSALS)
def test_refusals_of_vault(bao: OpenBao, tmp_path: Path, settings: dict[str, str], policy: str, reason: str) -> None:
    """503 for clients, the reason for operators, and nothing stays in doubt."""
    with engine_ca(bao, tmp_path, keeps_file=False, wrap_store=None, **settings) as ca:
        bao.approle(policy)
        assert ca.est.enroll(make_csr()[1], user="alice").status == 503
        assert not ca.issued()
        assert not ca.stack.app.authority.uncertain
        issuer = ca.stack.issuer()
        assert issuer.engine is not None
        if reason:
            with pytest.raises(SignerUnavailable, match=reason):
                result_of(issuer.engine.check())
        page = result_of(ca.stack.app.store.requests(ListQuery(limit=10)))
        assert [one.state.value for one in page.items] == ["failed"]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.GARBAGE, Fault.CUT])
def test_outages(bao: OpenBao, tmp_path: Path, fault: Fault) -> None:
    """Clients are told when to ask again, and it goes on without a restart."""
    with engine_ca(bao, tmp_path) as ca:
        ca.relay.become(fault)
        _, csr = make_csr()
        answer = ca.est.enroll(csr, user="alice")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        ca.relay.become(Fault.NONE)
        assert ca.est.enroll(csr, user="alice").status == 200
        assert len(ca.issued()) == 1
        assert ca.issued() == ca.serials() - ca.foreign


def test_pages_of_serial_numbers(bao: OpenBao, tmp_path: Path) -> None:
    """Each is listed once."""
    with engine_ca(bao, tmp_path) as ca:
        for slot in range(2, 8):
            assert ca.est.enroll(make_csr(slot=slot, subject=f"device {slot}")[1], user="alice").status == 200
        mount = PKIMount(bao.operator(), ca.mount, 2)
        found: list[int] = []
        while page := mount.serials(found[-1] if found else None):
            found += page
        assert sorted(found) == sorted(set(found))
        assert {format_serial(serial) for serial in found} == ca.serials()


def _signed_otherwise(ca: EngineCA, **changes: Any) -> Callable[[bytes], bytes]:
    """Return a function that makes another certificate of the engine's, signed by the same CA."""
    identity = ca.stack.files.issuers["ec"]

    def change(encoding: bytes) -> bytes:
        one = x509.load_der_x509_certificate(encoding)
        builder = (
            x509.CertificateBuilder()
            .subject_name(make_name(changes["subject"]) if changes["subject"] else one.subject)
            .issuer_name(one.issuer)
            .public_key(changes["key"].public_key() if changes["key"] else one.public_key())
            .serial_number(one.serial_number + 1)
            .not_valid_before(one.not_valid_before_utc + changes["begin"])
            .not_valid_after(one.not_valid_after_utc + changes["end"])
        )
        for extension in one.extensions:
            if extension.oid != changes["without"]:
                builder = builder.add_extension(extension.value, extension.critical)
        if changes["names"]:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("evil.example")]), False)
        signer = make_key("p256", 9) if changes["forged"] else identity.key
        return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)

    return change


ANOTHER: dict[str, dict[str, Any]] = {
    "another key": {"key": make_key("p256", 7)},
    "another subject": {"subject": "somebody else"},
    "longer": {"end": timedelta(seconds=1)},
    "shorter": {"end": -timedelta(days=1)},
    "not valid yet": {"begin": timedelta(hours=1)},
    "more names": {"names": True},
    "usage lost": {"without": x509.KeyUsage.oid},
    "forged": {"forged": True},
}


@pytest.mark.parametrize("name", ANOTHER)
def test_another_certificate_is_refused(bao: OpenBao, tmp_path: Path, name: str) -> None:
    """It is not stored, not handed out, and revoked in the engine where that takes it for its own."""
    with engine_ca(bao, tmp_path) as ca:
        issuer = ca.stack.issuer()
        signer = issuer.signer = FaultySigner(issuer.signer)
        nothing = {"key": None, "subject": "", "begin": timedelta(), "end": timedelta(), "without": None}
        signer.change = _signed_otherwise(ca, **{**nothing, "names": False, "forged": False, **ANOTHER[name]})
        assert ca.est.enroll(make_csr()[1], user="alice").status == 500
        assert not ca.issued()
        assert len(ca.revoked()) == (0 if name == "forged" else 1)


ASKING: dict[str, list[x509.ExtensionType]] = {
    "a CA certificate": [x509.BasicConstraints(True, None)],
    "other usages": [x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING])],
    "its own CRL": [
        x509.CRLDistributionPoints(
            [x509.DistributionPoint([x509.UniformResourceIdentifier("http://evil.example/")], None, None, None)]
        )
    ],
    "its own key identifier": [x509.SubjectKeyIdentifier(b"\1" * 20)],
}


@pytest.mark.parametrize("name", ASKING)
def test_what_the_engine_would_copy_is_refused(bao: OpenBao, tmp_path: Path, name: str) -> None:
    """Before the engine signs."""
    with engine_ca(bao, tmp_path) as ca:
        _, csr = make_csr(extensions=ASKING[name])
        answer = ca.est.enroll(csr, user="alice")
        assert answer.status == 400, (answer.status, answer.body)
        assert b"PKI engine can't issue this certificate" in answer.body
        assert ca.serials() == ca.foreign


def test_holds_stay_here_and_revocations_are_repeated(bao: OpenBao, tmp_path: Path) -> None:
    """While Vault is away, revocations wait; a new process compares anew."""
    with engine_ca(bao, tmp_path) as ca:
        serials = [
            ca.est.certificate(ca.est.enroll(make_csr(slot=slot, subject=f"d{slot}")[1], user="alice")).serial_number
            for slot in (2, 3)
        ]
        ca.stack.revoke(serials[0], RevocationReason.CERTIFICATE_HOLD)
        ca.recover()
        assert not ca.revoked()
        ca.relay.become(Fault.REFUSED)
        ca.stack.revoke(serials[1], RevocationReason.KEY_COMPROMISE)
        with pytest.raises(SignerUnavailable):
            ca.recover()
        ca.relay.become(Fault.NONE)
        ca.stack = ca.stack.restart()
        ca.recover()
        ca.recover()
        assert ca.revoked() == {format_serial(serials[1])}
