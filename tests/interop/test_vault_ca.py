"""The whole CA over a transit key of OpenBao: issuance, status, outages, fall-back (VLT-1, VLT-2, VLT-3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from twisted.internet.defer import Deferred

import pytest

from pikachu.http.tree import Tree
from pikachu.server.downloads import download_tree
from tests.protocols.ocsp.server import OCSPServer
from tests.support import ocsp, scep_client
from tests.support.crl_parts import WITH_PARTS, check_listed, check_revocation, issue_named
from tests.support.deferreds import result_of
from tests.support.est import EST, est_site
from tests.support.lint import check_certificate
from tests.support.pki import make_csr
from tests.support.relay import Fault, Relay
from tests.support.scep import SCEP, scep_site
from tests.support.server import wait_until
from tests.support.stack import Changes, Stack, ask, make_files, open_stack
from tests.support.vault import PKI_POLICY, POLICY, OpenBao, openbao
from tests.support.visitor import make_pages

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server for this file, in memory."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@dataclass
class VaultCA:
    """A CA whose key is in Vault, behind a relay.

    :ivar warnings: those of the start.
    :ivar mount: of the PKI engine; empty without one.
    :ivar checks: the states at ``/readyz`` when it was read last.
    :ivar messages: the messages there.
    """

    stack: Stack
    relay: Relay
    warnings: list[str]
    mount: str = ""
    checks: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)

    @property
    def est(self) -> EST:
        """Its EST server."""
        return EST(self.stack, est_site(self.stack))

    def enroll(self) -> int:
        """Return the status of a new enrollment by EST."""
        _, csr = make_csr()
        return self.est.enroll(csr, user="carol").status

    def ready(self, query: str = "") -> tuple[int, str, str]:
        """Return the status of ``/readyz``, and state and message of Vault if they are there."""
        self.stack.clock.advance(11)
        tree = Tree()
        for name, resource in download_tree(self.stack.app, {}).items():
            tree.putChild(name, resource)
        answer = ask(self.stack.site(tree), self.stack.clock, f"/readyz{query}")
        document = json.loads(answer.body)
        self.checks, self.messages = document["checks"], document.get("messages", {})
        return answer.status, self.checks.get("vault", ""), self.messages.get("vault", "")

    def tend(self) -> None:
        """Follow Vault as a running server does every two seconds."""
        assert self.stack.app.vault is not None
        result_of(Deferred.fromCoroutine(self.stack.app.vault.tend()))

    def recover(self) -> None:
        """Agree with the PKI engine as a running server does every ten seconds, and a minute later again."""
        for _ in range(2):
            result_of(Deferred.fromCoroutine(self.stack.app.engine_recovery.run()))
            self.stack.clock.advance(61)


@contextmanager
def vault_ca(
    bao: OpenBao,
    folder: Path,
    *,
    key_type: str = "p256",
    keeps_file: bool = False,
    changes: Changes | None = None,
    **settings: str,
) -> Iterator[VaultCA]:
    """Run a CA in memory whose key was imported; with ``signer="pki"`` into the PKI engine, too.

    :param changes: of other sections than [VAULT].
    """
    mount = f"pki-{folder.name}" if settings.get("signer") == "pki" else ""
    role = bao.approle(PKI_POLICY if mount else POLICY)
    with Relay(bao.port) as relay:
        more = {
            "retry_attempts": "1",
            "transit_key_ec": f"ec-{folder.name}",
            "transit_key_rsa": f"rsa-{folder.name}",
            **({"pki_ec_path": mount, "pki_rsa_path": mount, "role_default": "all"} if mount else {}),
            **settings,
        }
        changes = {**(changes or {}), **bao.settings(role, port=relay.port, **more)}
        files = make_files(folder / "ca", (key_type,), changes=changes)
        for name, issuer in files.issuers.items():
            bao.take(f"{name}-{folder.name}", issuer.key)
            if mount:
                bao.take_issuer(mount, issuer, "all")
            if not keeps_file:
                (files.folder / f"{name}.key").unlink()
        warnings: list[str] = []
        stack = open_stack(files, warn=warnings.append)
        stack.app.publisher.begin()
        ca = VaultCA(stack, relay, warnings, mount)
        ca.est.account("carol")
        try:
            yield ca
        finally:
            stack.close()


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_everything_is_signed_in_vault(bao: OpenBao, tmp_path: Path, key_type: str) -> None:
    """Certificates, CRLs, responder certificates and the RA of SCEP; no key of the CA is on this machine."""
    with vault_ca(bao, tmp_path, key_type=key_type) as ca:
        stack = ca.stack
        assert {path.name for path in stack.files.folder.glob("*.key")} == {"root.key", "https.key"}
        assert ca.ready()[:2] == (200, "ok")
        leaf = stack.issue()
        check_certificate(leaf.der, stack.issuer().chain)
        assert ca.enroll() == 200
        stack.revoke(leaf)
        result_of(stack.app.publisher.make(stack.issuer()))
        result_of(stack.app.responder.prepare())
        server = OCSPServer(stack)
        answer = server.post(ocsp.request(server.cert_id(leaf)))
        assert ocsp.verify(answer.body, stack.issuer().certificate, stack.app.authority.now()).status == "revoked"
        scep = SCEP(stack, scep_site(stack))
        reply = scep.enroll_scep(scep.client(), challenge=scep.admin_challenge())
        check_certificate(scep.leaf(reply), stack.issuer().chain)


def test_deltas_and_shards_are_signed_in_vault(bao: OpenBao, tmp_path: Path) -> None:
    """A revocation is on both within a second; those that Vault could not sign follow when it is back (CRL-D)."""
    with vault_ca(bao, tmp_path, changes=WITH_PARTS) as ca:
        stack, issuer = ca.stack, ca.stack.issuer()
        listed, late = check_revocation(stack), issue_named(stack, issuer)
        ca.relay.become(Fault.REFUSED)
        stack.revoke(late)
        stack.clock.advance(1)
        check_listed(stack, issuer, listed)
        ca.relay.become(Fault.NONE)
        for _ in range(4):
            ca.tend()
        stack.clock.advance(11)
        check_listed(stack, issuer, listed, late)


def test_without_fallback_nothing_is_issued(bao: OpenBao, tmp_path: Path) -> None:
    """EST and SCEP answer 503 with Retry-After, OCSP continues, and nothing needs a restart."""
    with vault_ca(bao, tmp_path, key_type="rsa2048") as ca:
        stack = ca.stack
        leaf = stack.issue()
        result_of(stack.app.responder.prepare())
        scep = SCEP(stack, scep_site(stack))
        client = scep.client()
        server = OCSPServer(stack)
        ca.relay.become(Fault.REFUSED)
        _, csr = make_csr()
        for _ in range(3):
            refused = ca.est.enroll(csr, user="carol")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
            assert refused.body == b"The issuing key can't be used now. Try again later.\n"
        late = scep.post(client.pkcs_req(scep_client.csr(client.key, challenge=scep.admin_challenge())))
        assert (late.status, late.headers["Retry-After"]) == (503, "10")
        status, state, message = ca.ready()
        assert (status, state) == (503, "unavailable")
        assert message == "Vault can't be reached (Connection refused). Start it."
        # A proxy keeps this server for OCSP and CRLs.
        assert ca.ready("?for=enrollment")[0] == 503
        assert ca.ready("?for=status")[0] == 200
        answer = server.post(ocsp.request(server.cert_id(leaf)))
        assert ocsp.verify(answer.body, stack.issuer().certificate, stack.app.authority.now()).status == "good"
        ca.relay.become(Fault.NONE)
        for _ in range(4):
            ca.tend()
        assert ca.est.enroll(csr, user="carol").status == 200
        assert ca.ready()[:2] == (200, "ok")


def test_key_files_sign_while_vault_is_away(bao: OpenBao, tmp_path: Path) -> None:
    """With a warning, an event, a text on every page, ``/readyz`` degraded; Vault signs again by itself."""
    with vault_ca(bao, tmp_path, keeps_file=True, fallback="true") as ca:
        stack = ca.stack
        assert not ca.warnings
        assert ca.enroll() == 200
        ca.relay.become(Fault.REFUSED)
        wait_until(lambda: ca.enroll() == 200, "the key file signs")
        ca.tend()
        status, state, message = ca.ready()
        assert (status, state) == (200, "degraded")
        assert (
            message == "Vault can't be reached (Connection refused). Start it. The key files sign until Vault is back."
        )
        text = "Vault is unreachable. The key files sign until it is back."
        pages = make_pages(stack)
        assert text in pages.visitor("alice").get("/keys")
        assert text in pages.visitor("root").get("/certificates")
        assert text not in pages.visitor().get("/login")
        (event,) = ca.est.events("fall back")
        assert event.event.details["signs"] == "key files"
        ca.relay.become(Fault.NONE)
        for _ in range(3):
            ca.tend()
        assert text not in pages.visitor("alice").get("/keys")
        (event,) = ca.est.events("return")
        assert event.event.details == {"signs": "Vault"}
        assert ca.ready()[:2] == (200, "ok")
        assert ca.enroll() == 200


def test_a_refusal_is_no_outage(bao: OpenBao, tmp_path: Path) -> None:
    """A permission is taken away so that nothing is signed, so the key file signs nothing either."""
    with vault_ca(bao, tmp_path, keeps_file=True, fallback="true") as ca:
        assert ca.enroll() == 200
        bao.approle(policy='path "none" { capabilities = ["read"] }')
        try:
            for _ in range(5):
                assert ca.enroll() == 503
                ca.tend()
            assert ca.ready()[:2] == (503, "unavailable")
            assert not ca.est.events("fall back")
        finally:
            bao.approle()
        assert ca.enroll() == 200


def test_another_key_in_the_file_signs_nothing(bao: OpenBao, tmp_path: Path) -> None:
    """A warning at the start says so."""
    with vault_ca(bao, tmp_path, keeps_file=True, fallback="true") as ca:
        folder = ca.stack.files.folder
        (folder / "ec.key").write_bytes((folder / "root.key").read_bytes())
        warnings: list[str] = []
        again = open_stack(ca.stack.files, warn=warnings.append)
        try:
            assert "is not the key of the certificate, so it signs nothing; move it away" in warnings[0]
        finally:
            again.close()


def test_started_while_vault_is_away(bao: OpenBao, tmp_path: Path) -> None:
    """The start asks Vault for nothing."""
    with vault_ca(bao, tmp_path) as ca:
        ca.relay.become(Fault.REFUSED)
        again = VaultCA(open_stack(ca.stack.files), ca.relay, [])
        try:
            assert again.enroll() == 503
            ca.relay.become(Fault.NONE)
            assert again.enroll() == 200
        finally:
            again.stack.close()
