# mypy: allow-untyped-calls
"""One-time challenge passwords in EST requests (EST-2, CHP-2)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Principal, Role
from pikachu.core.model.policies import Approval, Policy
from pikachu.server.pools import immediate_pools
from pikachu.storage.store import Store
from tests.protocols.est.refusals import refused
from tests.support.connections import Plain
from tests.support.deferreds import result_of
from tests.support.est import EST, est_server, path
from tests.support.people import HeldPool
from tests.support.pki import make_csr, make_key
from tests.support.stack import Response


@pytest.fixture
def alice(est: EST) -> Principal:
    """The owner of the challenge passwords."""
    return est.account("owner")


def test_challenge(est: EST, alice: Principal) -> None:
    """EST-2: an available one authenticates and is consumed; its owner owns the certificate."""
    text = est.challenge(alice)
    _, csr = make_csr(challenge=text)
    found = est.certificate(est.enroll(csr))
    record = result_of(est.stack.app.store.certificate_by_serial(found.serial_number))
    assert record.owner_id == alice.owner_id
    (challenge,) = result_of(est.stack.app.challenge_passwords.list(alice, ListQuery())).items
    assert challenge.consumed_serial == found.serial_number
    event = est.events("create")[-1].event
    assert event.actor == f"challenge password {text[:8]}"
    assert event.details["authenticated_by"] == "challenge password"
    assert text not in str(event)
    assert text.encode() not in found.public_bytes(Encoding.DER)


def test_only_once(est: EST, alice: Principal) -> None:
    """CHP-2: another request with it is refused and recorded; the same one gives the same certificate."""
    text = est.challenge(alice)
    _, csr = make_csr(challenge=text)
    _, other = make_csr(subject="other.example.com", challenge=text)
    first = est.certificate(est.enroll(csr))
    refused(est.enroll(other), 401)
    assert est.events("failed login")[-1].event.details["reason"] == "it was used before"
    assert est.certificate(est.enroll(csr)) == first
    est.stack.clock.advance(601)
    refused(est.enroll(csr), 401)
    assert est.issued() == 1


def test_wrong_and_expired(est: EST, alice: Principal) -> None:
    """CHP-2: refused, recorded, and after too many of them the address has to wait with others like them."""
    text = est.challenge(alice)
    est.stack.clock.advance(61 * 60)
    for wrong in (text, "0" * 32, "secret", "x" * 200):
        refused(est.enroll(make_csr(challenge=wrong)[1]), 401)
    assert len(est.events("failed login")) == 4
    for _ in range(30):
        est.enroll(make_csr(challenge="0" * 32)[1])
    refused(est.enroll(make_csr(challenge="0" * 32)[1]), 429)
    est.certificate(est.enroll(make_csr(challenge=est.challenge(alice))[1]))


def test_refused_request_keeps_it(est: EST, alice: Principal) -> None:
    """A request that is refused for another reason does not use the challenge password up."""
    est.policy("strict", use_for_est=True, owner_id=alice.owner_id, system=False)
    text = est.challenge(alice)
    _, csr = make_csr(challenge=text)
    refused(est.enroll(csr[:-4] + bytes(4)), 400)
    refused(est.enroll(csr, label="nosuchlabel"), 404)
    est.certificate(est.enroll(csr))


def test_with_a_password(est: EST, alice: Principal) -> None:
    """An authenticated client may also use a challenge password, whose owner then owns the certificate."""
    _, csr = make_csr(challenge=est.challenge(alice))
    found = est.certificate(est.enroll(csr, user="alice"))
    assert result_of(est.stack.app.store.certificate_by_serial(found.serial_number)).owner_id == alice.owner_id
    assert est.certificate(est.enroll(csr, user="alice")) == found
    _, wrong = make_csr(challenge="0" * 32)
    refused(est.enroll(wrong, user="alice"), 400)


# --- many at once -----------------------------------------------------------------------------


class Crowd:
    """Requests that are all under way at once: the issuing key waits until it is let go."""

    def __init__(self, est: EST, pool: HeldPool) -> None:
        self.est = est
        self.pool = pool

    def post(self, requests: list[bytes]) -> list[Response]:
        """All of them on connections of their own, and all answers."""
        connections = []
        for csr in requests:
            connection = Plain(self.est.site, self.est.stack.clock)
            body = base64.b64encode(csr)
            top = f"POST {path('simpleenroll')} HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\n"
            connection.deliver(f"{top}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            connections.append(connection)
        for _ in range(len(requests) + 1):
            while self.pool.waiting:
                self.pool.waiting.pop().callback(None)
        return [Response.parse(connection.transport.value()) for connection in connections]


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    """A server with an RSA key, which signs elsewhere."""
    pool = HeldPool()
    with est_server(tmp_path, key_types=["rsa2048"], pools=replace(immediate_pools(), signing=pool)) as est:
        yield Crowd(est, pool)


def test_a_hundred_requests_with_one(crowd: Crowd) -> None:
    """CHP-2: exactly one of them gets a certificate."""
    text = crowd.est.challenge(crowd.est.account("owner"))
    key = make_key("p256")
    requests = [make_csr(subject=f"device{number}", challenge=text, key=key)[1] for number in range(100)]
    answers = crowd.post(requests)
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) == 1
    assert {status for status in statuses if status != 200} <= {401, 429}
    assert crowd.est.issued() == 1


def test_a_hundred_copies_of_one_request(crowd: Crowd) -> None:
    """CHP-2: all get the same certificate, and none of them counts as a failure."""
    text = crowd.est.challenge(crowd.est.account("owner"))
    _, csr = make_csr(challenge=text)
    answers = crowd.post([csr] * 100)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert crowd.est.issued() == 1
    assert crowd.est.events("failed login") == []


def test_a_client_that_leaves(crowd: Crowd) -> None:
    """The first of two copies hangs up; the second gets the certificate all the same."""
    text = crowd.est.challenge(crowd.est.account("owner"))
    _, csr = make_csr(challenge=text)
    body = base64.b64encode(csr)
    data = f"POST {path('simpleenroll')} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    first, second = (Plain(crowd.est.site, crowd.est.stack.clock) for _ in range(2))
    first.send(data)
    second.send(data)
    first.transport.loseConnection()
    crowd.pool.waiting.pop().callback(None)
    assert Response.parse(second.transport.value()).status == 200
    assert crowd.est.issued() == 1


# --- with approval ----------------------------------------------------------------------------


def test_reserved_while_it_waits(est: EST, alice: Principal) -> None:
    """Reserved when accepted, free again when rejected; its expiry counts at request time."""
    manual: Policy = est.policy("manual", approval=Approval.MANUAL)
    text = est.challenge(alice)
    _, csr = make_csr(challenge=text)
    assert est.enroll(csr).status == 202
    assert est.enroll(csr).status == 202
    _, other = make_csr(subject="other.example.com", challenge=text)
    refused(est.enroll(other), 401)
    (waiting,) = est.approvals()
    assert waiting.policy == manual.name
    est.stack.clock.advance(61 * 60)
    est.approve(waiting.id)
    est.certificate(est.enroll(csr))


def test_who_made_a_request(est: EST, alice: Principal) -> None:
    """ROL-1: the owner of its challenge password and who created that for them; of a batch, too."""
    est.policy("manual", approval=Approval.MANUAL)
    root = est.account("root", Role.ADMIN)
    _, text = result_of(est.stack.app.challenge_passwords.create(root, alice.owner_id))
    assert est.enroll(make_csr(challenge=text)[1]).status == 202
    (waiting,) = est.approvals()
    assert waiting.requester_ids == {alice.owner_id, root.owner_id}


def test_free_when_rejected(est: EST, alice: Principal) -> None:
    est.policy("manual", approval=Approval.MANUAL)
    text = est.challenge(alice)
    assert est.enroll(make_csr(challenge=text)[1]).status == 202
    (waiting,) = est.approvals()
    est.reject(waiting.id)
    assert est.enroll(make_csr(challenge=text)[1]).status == 202


@pytest.mark.parametrize("suspended", ["owner", "bob"])
@pytest.mark.parametrize("operation", ["simpleenroll", "serverkeygen"])
def test_suspended_after_authentication(tmp_path: Path, operation: str, suspended: str) -> None:
    """Both accounts vouch for a request: who signed in, and who made the challenge password.

    The one or the other is suspended after it was authenticated, before the request is recorded.
    """
    before_begin: list[Callable[[], object]] = []

    class LateStore:
        """A store before whose next request something else happens."""

        def __init__(self, store: Store) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        def begin(self, *arguments: Any) -> Any:
            """Record a request."""
            while before_begin:
                before_begin.pop()()
            return self._store.begin(*arguments)

    with est_server(tmp_path, wrap_store=LateStore) as est:
        people = {name: est.account(name) for name in ("owner", "bob")}
        csr = make_csr(challenge=est.challenge(people["owner"]))[1]
        account_id = people[suspended].owner_id
        assert account_id is not None
        before_begin.append(lambda: result_of(est.stack.app.accounts.suspend(SYSTEM, account_id)))
        count = est.issued()
        refused(est.enroll(csr, operation, user="bob"), 403)
        assert before_begin == []
        assert est.issued() == count
