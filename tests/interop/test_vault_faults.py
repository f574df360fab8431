"""Faults of a real OpenBao and of the way to it: nothing is lost or signed twice, and no restart is needed (VLT-1).

Each row breaks something, and heals it.  In between, enrollment says so in the protocol's own way, OCSP goes on for
known certificates, and ``/readyz`` names the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.test_vault_ca import VaultCA, vault_ca
from tests.protocols.ocsp.server import OCSPServer
from tests.support import ocsp
from tests.support.deferreds import result_of
from tests.support.pki import Identity, make_ca, make_csr, make_leaf
from tests.support.relay import Fault
from tests.support.stack import Leaf
from tests.support.vault import OpenBao, openbao

pytestmark = [pytest.mark.interop, pytest.mark.slow]


@dataclass
class World:
    """A CA, the Vault that has its key, and the files between them.

    :ivar trust: the file of ``ca_cert_path``.
    :ivar identity: Vault's TLS certificate at the beginning.
    """

    ca: VaultCA
    bao: OpenBao
    trust: Path
    identity: Identity

    def through(self, fault: Fault) -> None:
        """Let the relay behave so."""
        self.ca.relay.become(fault)

    def present(self, identity: Identity) -> None:
        """Restart Vault with another TLS certificate."""
        self.bao.stop()
        self.bao.identity = identity
        self.bao.start()

    def bind(self, networks: str) -> None:
        """Permit the logins of the AppRole from these networks only, and end its tokens."""
        self.bao.api("POST", "auth/approle/role/pikachu", {"token_bound_cidrs": networks})
        self.bao.api("POST", "auth/approle/role/pikachu", {"secret_id_bound_cidrs": networks})
        self.revoke_tokens()

    def revoke_tokens(self) -> None:
        """Revoke every token that a login gave."""
        for accessor in self.bao.api("LIST", "auth/token/accessors")["data"]["keys"]:
            about = self.bao.api("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
            if about["path"] == "auth/approle/login":
                self.bao.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})

    def unseal(self) -> None:
        """Unseal Vault."""
        self.bao.unseal()
        self.bao.wait_until_active()


OTHER_CA = make_ca("p256", name="TLS of somebody else", slot=1)


def _trust(world: World, pem: bytes) -> None:
    world.trust.write_bytes(pem)


def _restore_certificate(world: World) -> None:
    # The new CA is trusted from now on; nothing is restarted here.
    _trust(world, OTHER_CA.pem)


@dataclass(frozen=True)
class Row:
    """A fault.

    :ivar reason: part of the message of ``/readyz``; empty where clients notice nothing.
    """

    break_it: Callable[[World], object]
    heal: Callable[[World], object]
    reason: str


ROWS = {
    "stopped": Row(
        lambda w: w.bao.stop(), lambda w: w.bao.start(), "No TLS connection to Vault is possible|can't be reached"
    ),
    "refused": Row(lambda w: w.through(Fault.REFUSED), lambda w: w.through(Fault.NONE), "can't be reached"),
    "slow": Row(lambda w: w.through(Fault.SILENT), lambda w: w.through(Fault.NONE), "did not answer|accept"),
    "garbage": Row(lambda w: w.through(Fault.GARBAGE), lambda w: w.through(Fault.NONE), "No TLS connection"),
    "cut": Row(
        lambda w: w.through(Fault.CUT), lambda w: w.through(Fault.NONE), "No TLS connection|broke before the answer"
    ),
    "sealed": Row(lambda w: w.bao.seal(), World.unseal, "Vault is sealed. Unseal it."),
    "token revoked": Row(World.revoke_tokens, lambda w: None, ""),
    "login refused": Row(lambda w: w.bind("192.0.2.0/24"), lambda w: w.bind(""), "refuses the login"),
    "permission denied": Row(
        lambda w: w.bao.approle(policy='path "none" { capabilities = ["read"] }'),
        lambda w: w.bao.approle(),
        "denies access to transit/",
    ),
    "certificate changed": Row(
        lambda w: w.present(make_leaf(OTHER_CA, sans=["DNS:localhost"])), _restore_certificate, "TLS certificate"
    ),
}
#: The others run on every push; these take longer, or are like one of them.
LONG = {"stopped", "sealed", "cut", "permission denied", "refused", "garbage", "login refused", "certificate changed"}


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server that keeps its data, and speaks TLS."""
    identity = make_leaf(make_ca("p256", name="TLS of Vault"), sans=["DNS:localhost"])
    with openbao(tmp_path_factory.mktemp("openbao"), is_persistent=True, identity=identity) as server:
        yield server


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.soak) if one in LONG else one for one in ROWS])
def test_fault(bao: OpenBao, tmp_path: Path, name: str) -> None:
    """Break, look, heal, look."""
    row = ROWS[name]
    assert bao.identity is not None
    assert bao.identity.issuer is not None
    trust = tmp_path / "vault-ca.pem"
    trust.write_bytes(bao.identity.issuer.pem)
    with vault_ca(bao, tmp_path, timeout="1s", ca_cert_path=str(trust)) as ca:
        world = World(ca, bao, trust, bao.identity)
        stack, est = ca.stack, ca.est
        known = stack.issue("known.example.com")
        result_of(stack.app.responder.prepare())
        before = est.issued()
        requests = [make_csr("p256", f"device{number}.example.com")[1] for number in range(3)]

        row.break_it(world)
        for csr in (*requests, *requests):
            answer = est.enroll(csr, user="carol")
            if row.reason:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
                assert answer.body == b"The issuing key can't be used now. Try again later.\n"
            else:
                assert answer.status == 200
            _known_is_good(ca, known)
        ca.tend()
        status, state, message = ca.ready()
        if row.reason:
            assert (status, state) == (503, "unavailable")
            assert any(part in message for part in row.reason.split("|")), message
        else:
            assert (status, state) == (200, "ok")
        _known_is_good(ca, known)

        row.heal(world)
        for _ in range(4):
            ca.tend()
        for csr in requests:
            assert est.enroll(csr, user="carol").status == 200
        assert ca.ready()[:2] == (200, "ok")
        _known_is_good(ca, known)
        # Every acknowledged certificate is there, and a repeated request got the one that was there.
        assert est.issued() - before == len(requests)


def _known_is_good(ca: VaultCA, leaf: Leaf) -> None:
    server = OCSPServer(ca.stack)
    for quick in (False, True):
        answer = server.post(ocsp.request(server.cert_id(leaf)), quick=quick)
        verified = ocsp.verify(answer.body, ca.stack.issuer().certificate, ca.stack.app.authority.now())
        assert verified.status == "good"
