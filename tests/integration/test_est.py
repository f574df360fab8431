"""EST at a real server, with many clients at once (CHP-2, EST-3, EST-4, PQC-1)."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.policies import Approval
from tests.support.deferreds import result_of
from tests.support.est import PKCS10, basic, certificates_in
from tests.support.est_live import LiveEST, live_est
from tests.support.pki import KEY_TYPES, Identity, make_csr, make_key
from tests.support.server import Answer


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEST]:
    """A server with CAs of three families."""
    with live_est(tmp_path_factory.mktemp("server"), key_types=("p256", "rsa2048", "mldsa65")) as server:
        yield server


def enroll(
    est: LiveEST,
    csr: bytes,
    operation: str = "simpleenroll",
    *,
    user: str | None = None,
    identity: Identity | None = None,
    listener: str = "https",
    label: str | None = None,
) -> Answer:
    """POST on a connection of its own."""
    headers = {**PKCS10, **(basic(user) if user else {})}
    return est.server.ask(listener, est.path(operation, label), "POST", base64.b64encode(csr), headers, identity)


def certificate(answer: Answer) -> x509.Certificate:
    assert answer.status == 200, answer
    (found,) = certificates_in(answer.body)
    return found


def at_once(work: Callable[[bytes], Answer], requests: Sequence[bytes], threads: int = 25) -> list[Answer]:
    """All requests, *threads* at a time, the first of which start together."""
    barrier = threading.Barrier(threads)
    first = threading.local()

    def begin(csr: bytes) -> Answer:
        if not hasattr(first, "done"):
            first.done = True
            barrier.wait(30)
        return work(csr)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(begin, requests))


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_life_of_a_certificate(est: LiveEST, key_type: str) -> None:
    """EST-1 to EST-3, PQC-1: enroll with a password, renew with the certificate on both ports, be revoked."""
    name = f"life of {key_type}"
    key, csr = make_csr(key_type, name, ["DNS:a.example.com"], slot=40)
    first = certificate(enroll(est, csr, user="alice"))
    est.check(first)
    if key_type == "ed25519" or key_type.startswith("mldsa"):
        # Python's ssl module, with the system's OpenSSL, has no client certificates of all these kinds.
        return
    device = est.identity(key, first)
    for listener in ("https", "trusted_https"):
        _, again = make_csr(key_type, name, ["DNS:a.example.com"], slot=41 if listener == "https" else 42)
        est.check(certificate(enroll(est, again, "simplereenroll", identity=device, listener=listener)))
    est.revoke(first.serial_number)
    for listener in ("https", "trusted_https"):
        answer = enroll(est, csr, "simplereenroll", identity=device, listener=listener)
        assert (answer.status, answer.text) == (403, "the client certificate is revoked\n")


def test_certificate_required(est: LiveEST) -> None:
    """On the trusted port there is no handshake without one."""
    with pytest.raises((ssl.SSLError, OSError)):
        enroll(est, make_csr()[1], user="alice", listener="trusted_https")


def test_ml_dsa_ca(est: LiveEST) -> None:
    """PQC-1: a policy that has the ML-DSA CA sign."""
    owner = est.account("quantum")
    est.policy("ML-DSA", owner_id=owner.owner_id, system=False, issuer="mldsa")
    for key_type in ("mldsa44", "mldsa87", "p256"):
        found = certificate(enroll(est, make_csr(key_type, key_type)[1], user="quantum"))
        est.check(found, "mldsa")
    answer = est.server.ask("https", est.path("cacerts", "ML-DSA"))
    assert est.server.files.issuers["mldsa"].certificate in certificates_in(answer.body)


def test_one_challenge_for_a_hundred(tmp_path: Path) -> None:
    """CHP-2: a hundred requests with one challenge password: one certificate."""
    # The failures lock this address for a minute: a server of its own.
    with live_est(tmp_path) as est:
        owner = est.account("hundred")
        text = est.challenge(owner)
        key = make_key("p256")
        requests = [make_csr(subject=f"hundred {number}", challenge=text, key=key)[1] for number in range(100)]
        statuses = [answer.status for answer in at_once(lambda csr: enroll(est, csr), requests)]
        assert statuses.count(200) == 1, statuses
        assert set(statuses) <= {200, 401, 429}
        with est.server.application() as app:
            page = result_of(app.store.certificates(ListQuery(limit=100, q="hundred"), app.authority.now()))
            (challenge,) = result_of(app.challenge_passwords.list(owner, ListQuery())).items
        assert len(page.items) == 1
        assert challenge.consumed_serial == page.items[0].serial


@pytest.mark.parametrize("kind", ["challenge", "password"])
def test_a_hundred_copies(tmp_path: Path, kind: str) -> None:
    """A hundred copies of one request are one certificate, and no failure is counted."""
    with live_est(tmp_path, key_types=("rsa2048",)) as est:
        text = est.challenge(est.account("owner")) if kind == "challenge" else None
        _, csr = make_csr(subject="copies", challenge=text)
        user = None if text else "alice"
        answers = at_once(lambda one: enroll(est, one, user=user), [csr] * 100)
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        found = certificate(answers[0])
        est.check(found, "rsa")
        # Also after a crash.
        est.server.kill()
        est.server.start()
        assert certificate(enroll(est, csr, user=user)) == found


def test_a_hundred_copies_wait(tmp_path: Path) -> None:
    """A hundred copies make one row and all get 202; the pending request survives a crash."""
    with live_est(tmp_path) as est:
        est.policy("manual", approval=Approval.MANUAL)
        _, csr = make_csr(subject="waits")
        answers = at_once(lambda one: enroll(est, one, user="alice"), [csr] * 100)
        assert {answer.status for answer in answers} == {202}
        assert {answer.headers["Retry-After"] for answer in answers} == {"60"}
        (waiting,) = est.approvals()
        est.server.kill()
        est.server.start()
        assert enroll(est, csr, user="alice").status == 202
        approved = est.approve(waiting.id)
        found = certificate(enroll(est, csr, user="alice"))
        assert found.serial_number == approved.serial
        est.check(found)


def test_keep_alive(est: LiveEST) -> None:
    """One connection, many requests, the client's certificate the same for all."""
    key, csr = make_csr(subject="keep-alive")
    device = est.identity(key, certificate(enroll(est, csr, user="alice")))
    with est.server.client("trusted_https", device) as client:
        for number in range(20):
            body = base64.b64encode(make_csr(subject=f"keep-alive {number}")[1])
            answer = client.ask(est.path("simpleenroll"), "POST", body, PKCS10)
            found = certificate(answer)
        assert est.record(found.serial_number).method == "EST"
        est.revoke(device.certificate.serial_number)
        assert client.ask(est.path("simpleenroll"), "POST", body, PKCS10).status == 403


def test_clients_that_leave(est: LiveEST) -> None:
    """A client that hangs up before the response gets the same certificate when it repeats the request."""
    _, csr = make_csr("p256", "leaves")
    body = base64.b64encode(csr)
    client = est.server.client("https")
    client.connection.request("POST", est.path("simpleenroll"), body, {**PKCS10, **basic("alice")})
    client.close()
    found = certificate(enroll(est, csr, user="alice"))
    with est.server.application() as app:
        page = result_of(app.store.certificates(ListQuery(limit=100, q="leaves"), app.authority.now()))
    assert [record.serial for record in page.items] == [found.serial_number]
