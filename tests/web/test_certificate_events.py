"""Events about certificates (AUD-1): each holds the subject, the actor and the address, whichever way it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.cli.main import main
from pikachu.core.model.certificates import Method, RevocationReason
from pikachu.core.model.events import EventRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Principal
from pikachu.core.model.policies import Approval, Policy
from pikachu.inventory.csrs import RequestSource
from pikachu.ra.enrollment import Issued, Pending
from pikachu.x509.crl import crl_pem
from pikachu.x509.pem import pem
from tests.support.deferreds import result_of
from tests.support.est import EST, est_site
from tests.support.pki import brought, make_csr
from tests.support.rest import REST, open_rest
from tests.support.scep import SCEP, scep_site
from tests.support.scep_client import SCEPClient, csr, rsa_key, self_signed
from tests.support.stack import Stack, build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

NAME = "device-7.example.com"
SUBJECT = f"CN={NAME}"
MANUAL = "waits for a person"
ADDRESS = "192.0.2.7"
#: Where alice was when she made what others decide about.
ALICE = "192.0.2.3"


@dataclass
class World:
    """One server, and everything that reaches it."""

    stack: Stack
    pages: Pages
    rest: REST
    est: EST
    scep: SCEP

    @property
    def alice(self) -> Principal:
        """The owner of everything."""
        return account_principal(self.pages.accounts["alice"], ALICE)

    @property
    def browser(self) -> Visitor:
        """The administrator's browser."""
        return self.pages.visitor("root", confirmed=True)

    def csr(self) -> bytes:
        """A request of a new key."""
        return make_csr("p256", NAME)[1]

    def certificate(self, reason: RevocationReason | None = None) -> int:
        """The id of a certificate of alice's, that may be on hold."""
        issued = result_of(self.stack.app.registration.sign(self.alice, self.csr(), Method.UI))
        assert isinstance(issued, Issued)
        if reason is not None:
            result_of(self.stack.app.authority.revoke(issued.record.serial, reason, SYSTEM))
        return issued.record.id

    def serial(self, certificate_id: int) -> str:
        """The serial number of a certificate."""
        return f"{result_of(self.stack.app.store.certificate(certificate_id)).serial:x}"

    def waiting(self) -> int:
        """The id of a request of alice's that waits for approval."""
        waiting = result_of(self.stack.app.registration.sign(self.alice, self.csr(), Method.UI, policy=MANUAL))
        assert isinstance(waiting, Pending)
        return waiting.request_id

    def kept(self) -> int:
        """The id of a CSR of alice's."""
        return result_of(self.stack.app.requests.store(self.alice, "a CSR", self.csr())).id

    def with_key(self) -> int:
        """The id of a certificate whose key is kept here."""
        app = self.stack.app
        key = result_of(app.keys.generate(self.alice, "a key", "prime256v1"))
        text = f"[req]\nprompt = no\ndistinguished_name = dn\n[dn]\nCN = {NAME}\n"
        made = result_of(app.requests.generate(self.alice, "a CSR", RequestSource(key.id, text=text)))
        issued = result_of(app.registration.sign(self.alice, made.id, Method.UI))
        assert isinstance(issued, Issued)
        return issued.record.id

    def command(self, *arguments: str) -> None:
        """Run ``pikachu``."""
        assert main([*arguments, "--config", str(self.stack.files.config)]) == 0

    def events(self) -> list[EventRecord]:
        """Return the recorded events, the oldest first."""
        return list(result_of(self.stack.app.store.events(ListQuery(limit=1000, sort="id"))).items)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A server with all protocols, whose root is offline."""
    stack = build_core(tmp_path, key_types=("rsa2048",), root_key=False)
    result_of(stack.app.publisher.begin())
    pages, rest = make_pages(stack), open_rest(stack)
    manual = Policy(0, MANUAL, 30, stack.app.policies.default.extensions, system=True, approval=Approval.MANUAL)
    result_of(stack.app.policy_administration.add(SYSTEM, manual))
    rest.accounts = pages.accounts
    rest.tokens["root"] = rest.token("root")
    # Whoever asks first for the state of OCSP has its responder's certificate issued.
    pages.visitor("root").get("/")
    yield World(stack, pages, rest, EST(stack, est_site(stack)), SCEP(stack, scep_site(stack)))
    stack.close()


Act = Callable[[], object]


@dataclass(frozen=True)
class Way:
    """One way to an event.

    :param prepare: makes what is acted on, and gives the act.
    :param kinds: (type, resource type) of what the act records, in order.
    :param actor: the beginning of the actor's name.
    :param address: of the client; ``None``: there is none.
    :param subject: the subject of the events.
    """

    prepare: Callable[[World], Act]
    kinds: tuple[tuple[str, str], ...]
    actor: str = "root"
    address: str | None = ADDRESS
    subject: str | None = SUBJECT


def _page(path: str, make: Callable[[World], int], **form: str) -> Callable[[World], Act]:
    def prepare(world: World) -> Act:
        browser, identity = world.browser, make(world)
        return lambda: _done(browser.post(path.format(identity), form))

    return prepare


def _done(response: Any) -> None:
    assert response.status in (200, 303), response.body


def _api(
    method: str, path: str, make: Callable[[World], int], body: object = None, *, status: int = 200
) -> Callable[[World], Act]:
    def prepare(world: World) -> Act:
        identity = make(world)
        return lambda: world.rest.good(method, path.format(identity), body, who="root", status=status)

    return prepare


def _command(make: Callable[[World], object], *arguments: str) -> Callable[[World], Act]:
    def prepare(world: World) -> Act:
        identity = str(make(world))
        return lambda: world.command(*(one.format(identity) for one in arguments))

    return prepare


def _valid(world: World) -> int:
    return world.certificate()


def _held(world: World) -> int:
    return world.certificate(RevocationReason.CERTIFICATE_HOLD)


def _nothing(_: World) -> int:
    return 0


def _sign_page(world: World) -> Act:
    browser, text = world.browser, pem("CERTIFICATE REQUEST", world.csr())
    return lambda: _done(browser.post("/ra/sign", {"csr": text}, page="/ra"))


def _sign_api(world: World) -> Act:
    body = {"csr": pem("CERTIFICATE REQUEST", world.csr())}
    return lambda: world.rest.good("POST", "/certificates", body, who="root", status=201)


def _est(operation: str) -> Callable[[World], Act]:
    def prepare(world: World) -> Act:
        challenge = result_of(world.stack.app.challenge_passwords.create(world.alice))[1]
        request = make_csr("p256", NAME, challenge=challenge)[1]
        return lambda: _done(world.est.enroll(request, operation))

    return prepare


def _scep_client(world: World) -> SCEPClient:
    return SCEPClient(rsa_key(1), self_signed(rsa_key(1)), world.scep.recipient())


def _scep(world: World) -> Act:
    client = _scep_client(world)
    challenge = result_of(world.stack.app.challenge_passwords.create(world.alice))[1]
    message = client.pkcs_req(csr(client.key, NAME, challenge))
    return lambda: world.scep.leaf(world.scep.ask_scep(client, message))


def _scep_renewal(world: World) -> Act:
    client = world.scep.enrolled(_scep_client(world), NAME)
    message = client.renewal_req(csr(client.key, NAME), transaction_id="renewal")
    return lambda: world.scep.leaf(world.scep.ask_scep(client, message))


def _upload(world: World) -> str:
    return crl_pem(brought(world.stack.files.root, 12)).decode()


def _upload_page(world: World) -> Act:
    browser, text = world.browser, _upload(world)
    return lambda: _done(browser.post("/va/upload", {"crl": text}))


def _upload_api(world: World) -> Act:
    body = {"crl": _upload(world)}
    return lambda: world.rest.good("POST", "/crls/root", body, who="root", status=201)


CREATED = (("create", "certificate"),)
REVOKED = (("revoke", "certificate"),)
RELEASED = (("release", "certificate"),)
DELETED = (("delete", "certificate"),)
APPROVED = (("approve", "request"),)
REJECTED = (("reject", "request"),)
UPLOADED = (("upload", "CRL"),)
CLI: dict[str, Any] = {"actor": "cli (", "address": None}
DEVICE = {"actor": "challenge password "}

WAYS = {
    "create by page": Way(_sign_page, CREATED),
    "create by REST": Way(_sign_api, CREATED),
    "create by EST": Way(_est("simpleenroll"), CREATED, **DEVICE),
    "create by EST serverkeygen": Way(_est("serverkeygen"), CREATED, **DEVICE),
    "create by SCEP": Way(_scep, CREATED, **DEVICE),
    "create by SCEP renewal": Way(_scep_renewal, CREATED, actor=""),
    "revoke by page": Way(_page("/certificates/{}/revoke", _valid, confirm="revoke", reason="superseded"), REVOKED),
    "hold by page": Way(_page("/certificates/{}/revoke", _valid, confirm="revoke", reason="certificateHold"), REVOKED),
    "revoke by REST": Way(_api("POST", "/certificates/{}/revocation", _valid, {"reason": "superseded"}), REVOKED),
    "hold by REST": Way(_api("POST", "/certificates/{}/revocation", _valid, {"reason": "certificateHold"}), REVOKED),
    "revoke by command": Way(_command(lambda world: world.serial(_valid(world)), "revoke", "{}"), REVOKED, **CLI),
    "release by page": Way(_page("/certificates/{}/release", _held), RELEASED),
    "release by REST": Way(_api("DELETE", "/certificates/{}/revocation", _held), RELEASED),
    "release by command": Way(_command(lambda world: world.serial(_held(world)), "release", "{}"), RELEASED, **CLI),
    "delete by page": Way(_page("/certificates/{}/delete", _valid, confirm="delete"), DELETED),
    "delete by REST": Way(_api("DELETE", "/certificates/{}", _valid, status=204), DELETED),
    "approve by page": Way(_page("/ra/approvals/{}/approve", World.waiting), APPROVED),
    "approve by REST": Way(_api("POST", "/approvals/{}/approval", World.waiting), APPROVED),
    "approve by command": Way(_command(World.waiting, "approval", "approve", "{}"), APPROVED, **CLI),
    "reject by page": Way(_page("/ra/approvals/{}/reject", World.waiting, reason="no"), REJECTED),
    "reject by REST": Way(_api("POST", "/approvals/{}/rejection", World.waiting, {"reason": "no"}), REJECTED),
    "reject by command": Way(_command(World.waiting, "approval", "reject", "{}"), REJECTED, **CLI),
    "reject a CSR by page": Way(_page("/ra/csrs/{}/reject", World.kept, reason="no"), (("reject", "CSR"),)),
    "reject a CSR by REST": Way(_api("POST", "/csrs/{}/rejection", World.kept, {"reason": "no"}), (("reject", "CSR"),)),
    "sign a CSR by REST": Way(
        lambda world: _api("POST", "/certificates", _nothing, {"csr_id": world.kept()}, status=201)(world),
        (("create", "certificate"), ("sign", "CSR")),
    ),
    "PKCS#12 by page": Way(
        _page("/certificates/{}/pfx", World.with_key, passphrase="correct horse", again="correct horse"),
        (("download", "key"),),
    ),
    "CRL by page": Way(_page("/va/crl/rsa", _nothing), (("create", "CRL"),), subject=None),
    "CRL by REST": Way(_api("POST", "/crls/rsa", _nothing, status=201), (("create", "CRL"),), subject=None),
    "upload of a CRL by page": Way(_upload_page, UPLOADED, subject=None),
    "upload of a CRL by REST": Way(_upload_api, UPLOADED, subject=None),
}


@pytest.mark.parametrize("name", WAYS)
def test_events(world: World, name: str) -> None:
    """Subject, actor with the account, and address."""
    way = WAYS[name]
    act = way.prepare(world)
    before = len(world.events())
    act()
    new = world.events()[before:]
    assert tuple((one.event.type, one.event.resource_type) for one in new)[: len(way.kinds)] == way.kinds
    for record in new[: len(way.kinds)]:
        event = record.event
        assert event.details.get("ip") == way.address
        assert event.details.get("subject") == way.subject
        assert event.actor.startswith(way.actor)
        if way.actor == "root":
            assert event.actor_id == world.pages.accounts["root"].id


def test_approved(world: World) -> None:
    """The event of an approved issuance names the requester and the requester's address."""
    result_of(world.stack.app.registration.approve(SYSTEM, world.waiting()))
    event = world.events()[-1].event
    assert (event.type, event.resource_type, event.actor) == ("create", "certificate", "alice")
    assert event.details["subject"] == SUBJECT
    assert event.details["ip"] == ALICE


def test_search(world: World) -> None:
    """A device's whole life is found by its name."""
    first = world.certificate()
    for reason in ("certificateHold", "superseded"):
        world.rest.good("POST", f"/certificates/{first}/revocation", {"reason": reason}, who="root")
    world.rest.good("DELETE", f"/certificates/{first}", who="root", status=204)
    found = world.rest.good("GET", f"/events?q={NAME}", who="root")["items"]
    assert [one["type"] for one in found] == ["delete", "revoke", "revoke", "create"]
    assert "revoke" in text_of(world.browser.get(f"/events?q={NAME}&type=revoke"))
