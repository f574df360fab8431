"""Faults of a real OpenBao and of the way to it: nothing is lost or signed twice, and no restart is needed (VLT-1).

Each row breaks something, and heals it, for keys in transit and for the PKI engine.  In between, enrollment says so in
the protocol's own way, OCSP continues for known certificates, and ``/readyz`` names the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.test_vault_ca import VaultCA, vault_ca
from tests.protocols.ocsp.server import OCSPServer
from tests.support import ocsp
from tests.support.deferreds import result_of
from tests.support.pki import make_ca, make_csr, make_leaf
from tests.support.relay import Fault
from tests.support.stack import Leaf
from tests.support.vault import PKI_POLICY, POLICY, OpenBao, openbao

pytestmark = [pytest.mark.interop, pytest.mark.slow]


@dataclass
class World:
    """A CA, the Vault that has its key, and the files between them.

    :ivar trust: the file of ``ca_cert_path``.
    :ivar policy: of the AppRole.
    """

    ca: VaultCA
    bao: OpenBao
    trust: Path
    policy: str

    def through(self, fault: Fault) -> None:
        """Let the relay behave so."""
        self.ca.relay.become(fault)

    def change_certificate(self) -> None:
        """Restart Vault with a TLS certificate of another CA."""
        self.bao.stop()
        self.bao.identity = make_leaf(
            make_ca("p256", name=f"TLS of Vault since {time.time_ns()}"), sans=["DNS:localhost"]
        )
        self.bao.start()

    def trust_certificate(self) -> None:
        """Trust the CA of Vault's certificate; nothing is restarted here."""
        assert self.bao.identity is not None
        assert self.bao.identity.issuer is not None
        self.trust.write_bytes(self.bao.identity.issuer.pem)

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

    def expire_tokens(self) -> None:
        """Give tokens that live for a second, and let the first of them expire."""
        self.bao.approle(self.policy, token_ttl="1s", token_max_ttl="1s")
        self.revoke_tokens()
        self.ca.ready()
        time.sleep(1.2)

    def restore(self) -> None:
        """Give the AppRole what it had."""
        self.bao.approle(self.policy, token_max_ttl=0)

    def deny(self, path: str) -> None:
        """Deny access to a path."""
        self.bao.approle(f'{self.policy}\npath "{path}" {{ capabilities = ["deny"] }}\n')

    def serials(self) -> set[str]:
        """The serial numbers that the PKI engine has."""
        return set(self.bao.operator().list(f"{self.ca.mount}/certs")) if self.ca.mount else set()

    def unseal(self) -> None:
        """Unseal Vault."""
        self.bao.unseal()
        self.bao.wait_until_active()


@dataclass(frozen=True)
class Row:
    """A fault.

    :ivar reason: part of the message of ``/readyz``; empty where clients notice nothing.
    :ivar check: the check there that has it.
    """

    break_it: Callable[[World], object]
    heal: Callable[[World], object]
    reason: str
    check: str = "vault"


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
    "cut midway": Row(
        lambda w: w.through(Fault.MIDWAY), lambda w: w.through(Fault.NONE), "No TLS connection|broke before the answer"
    ),
    "sealed": Row(lambda w: w.bao.seal(), World.unseal, "Vault is sealed. Unseal it."),
    "token revoked": Row(World.revoke_tokens, lambda w: None, ""),
    "token expired": Row(World.expire_tokens, World.restore, ""),
    "login refused": Row(lambda w: w.bind("192.0.2.0/24"), lambda w: w.bind(""), "refuses the login"),
    "permission denied": Row(
        lambda w: w.bao.approle(policy='path "none" { capabilities = ["read"] }'),
        World.restore,
        "denies access to transit/",
    ),
    "certificate changed": Row(World.change_certificate, World.trust_certificate, "TLS certificate"),
}
#: Those of the PKI engine alone.
ENGINE_ROWS = {
    "issuing denied": Row(
        lambda w: w.deny("+/issuer/+/sign-verbatim/*"), World.restore, "/sign-verbatim/all. Permit it", "pki_engine"
    ),
}
#: Retry-After and text: nothing was signed; or the engine may have signed, and the certificate is looked for.
ANSWERS = (
    ("10", b"The issuing key can't be used now. Try again later.\n"),
    ("5", b"this request is being worked on; ask again soon\n"),
)
TABLE = [
    *(("transit", name) for name in ROWS),
    *(("pki", name) for name in (*ROWS, *ENGINE_ROWS)),
]
#: These run on every push; the others take longer, or are like one of them.
QUICK = {
    ("transit", "slow"),
    ("transit", "token revoked"),
    ("pki", "cut midway"),
    ("pki", "token revoked"),
    ("pki", "issuing denied"),
}


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server that keeps its data, and speaks TLS."""
    identity = make_leaf(make_ca("p256", name="TLS of Vault"), sans=["DNS:localhost"])
    with openbao(tmp_path_factory.mktemp("openbao"), is_persistent=True, identity=identity) as server:
        yield server


@pytest.mark.parametrize(
    ("signer", "name"), [pytest.param(*one, marks=() if one in QUICK else pytest.mark.soak) for one in TABLE]
)
def test_fault(bao: OpenBao, tmp_path: Path, signer: str, name: str) -> None:
    """Break, look, heal, look."""
    row = {**ROWS, **ENGINE_ROWS}[name]
    trust = tmp_path / "vault-ca.pem"
    trust.write_bytes(b"" if bao.identity is None or bao.identity.issuer is None else bao.identity.issuer.pem)
    with vault_ca(bao, tmp_path, timeout="1s", ca_cert_path=str(trust), signer=signer) as ca:
        world = World(ca, bao, trust, PKI_POLICY if ca.mount else POLICY)
        stack, est = ca.stack, ca.est
        known = stack.issue("known.example.com")
        assert est.enroll(make_csr("p256", "first.example.com", slot=2)[1], user="carol").status == 200
        result_of(stack.app.responder.prepare())
        before, signed = est.issued(), world.serials()
        requests = [make_csr("p256", f"device{number}.example.com")[1] for number in range(3)]

        row.break_it(world)
        for csr in (*requests, *requests):
            answer = est.enroll(csr, user="carol")
            if row.reason:
                assert (answer.status, (answer.headers["Retry-After"], answer.body)) in ((503, one) for one in ANSWERS)
            else:
                assert answer.status == 200
            _known_is_good(ca, known)
        ca.tend()
        status, state, _ = ca.ready()
        if row.reason:
            assert (status, ca.checks[row.check]) == (503, "unavailable")
            message = ca.messages[row.check]
            assert any(part in message for part in row.reason.split("|")), message
        else:
            assert (status, state) == (200, "ok")
        _known_is_good(ca, known)

        row.heal(world)
        for _ in range(4):
            ca.tend()
        ca.recover()
        for csr in requests:
            assert est.enroll(csr, user="carol").status == 200
        assert ca.ready()[:2] == (200, "ok")
        _known_is_good(ca, known)
        # Every acknowledged certificate is there, and a repeated request got the one that was there.
        assert est.issued() - before == len(requests)
        assert len(world.serials() - signed) == (len(requests) if ca.mount else 0)


def _known_is_good(ca: VaultCA, leaf: Leaf) -> None:
    server = OCSPServer(ca.stack)
    for quick in (False, True):
        answer = server.post(ocsp.request(server.cert_id(leaf)), quick=quick)
        verified = ocsp.verify(answer.body, ca.stack.issuer().certificate, ca.stack.app.authority.now())
        assert verified.status == "good"
