"""The same request at two nodes at once gives one certificate (HA-1, CHP-2, API-2)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from cryptography import x509

from pikachu.cli.session import done, every, operator
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Role
from tests.support import scep_client
from tests.support.fleet import basic, certificate_of, enroll, new_account, new_challenges
from tests.support.nodes import two_nodes
from tests.support.pki import make_csr
from tests.support.postgresql import running_postgresql
from tests.support.rest import csr_pem
from tests.support.server import DEADLINE, Server

pytestmark = pytest.mark.interop

PASSWORD = "the password of the fleet 4711"
#: Requests at each node.
COPIES = 4


@dataclass
class Nodes:
    """Two running nodes and an account's token."""

    both: tuple[Server, Server]
    token: str

    def names(self, subject: str) -> list[int]:
        """Return the serials of certificates of that common name."""
        with self.both[0].application() as app:
            rows = every(lambda query: app.store.certificates(query, app.authority.now()), ListQuery(q=subject))
            return [row.serial for row in rows if row.subject == f"CN={subject}"]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Both nodes run."""
    with running_postgresql() as postgresql:
        url = postgresql.url(postgresql.new_database())
        with two_nodes(tmp_path_factory.mktemp("nodes"), url, ("p256", "rsa2048")) as both:
            with both[0].application() as app:
                account = new_account(app, "fleet", PASSWORD, Role.USER)
                token = done(app.tokens.create(operator(), account, "fleet", None, None))[1]
                # It is locked out by one test, and that must not refuse what the others ask for.
                new_account(app, "guessed", PASSWORD, Role.USER)
            for node in both:
                node.start()
            yield Nodes(both, token)
            for node in both:
                assert node.stop() == 0
                assert "Traceback" not in node.log + node.console


Attempt = Callable[[Server, int], int | str | None]


def est_same_csr(nodes: Nodes, subject: str) -> Attempt:
    """One CSR with HTTP Basic: each copy gets the same certificate."""
    _, csr = make_csr(subject=subject)
    return lambda node, _: est(node, csr, basic("fleet", PASSWORD))


def est_same_challenge(nodes: Nodes, subject: str) -> Attempt:
    """One challenge password and a CSR of one's own for each: one gets a certificate."""
    challenge = new_challenges(nodes.both[0], 1)[0]
    return lambda node, _: est(node, make_csr(subject=subject, challenge=challenge)[1], {})


def est(node: Server, csr: bytes, headers: dict[str, str]) -> int | str | None:
    """Return the serial, ``None`` for one that has to ask again, or the status."""
    with node.client() as client:
        answer = enroll(client, csr, headers)
    if answer.status == 503:
        assert "Retry-After" in answer.headers
        return None
    return certificate_of(answer).serial_number if answer.status == 200 else f"{answer.status}"


def scep_same_transaction(nodes: Nodes, subject: str) -> Attempt:
    """One message, as a client sends it again when no answer comes."""
    recipient = nodes.both[0].files.issuers["rsa"].der
    client = scep_client.new_client(recipient)
    challenge = new_challenges(nodes.both[0], 1)[0]
    message = client.pkcs_req(scep_client.csr(client.key, subject, challenge), transaction_id=subject)
    return lambda node, _: scep(node, client, message, recipient)


def scep_same_challenge(nodes: Nodes, subject: str) -> Attempt:
    """One challenge password in several transactions."""
    recipient = nodes.both[0].files.issuers["rsa"].der
    challenge = new_challenges(nodes.both[0], 1)[0]

    def attempt(node: Server, number: int) -> int | str | None:
        client = scep_client.new_client(recipient, slot=number % 3)
        message = client.pkcs_req(
            scep_client.csr(client.key, subject, challenge), transaction_id=f"{subject} {node.folder.name} {number}"
        )
        return scep(node, client, message, recipient)

    return attempt


def scep(node: Server, client: scep_client.SCEPClient, message: bytes, recipient: bytes) -> int | str | None:
    """Return the serial, ``None`` for one that has to ask again, or the status."""
    answer = node.ask("scep", "/scep?operation=PKIOperation", "POST", message)
    if answer.status == 503:
        return None
    assert answer.status == 200, answer.text
    reply = client.read(answer.body, recipient)
    if reply.status == "3":
        return None
    if reply.status != "0":
        return f"SCEP {reply.status}"
    return next(
        certificate.serial_number
        for certificate in map(x509.load_der_x509_certificate, reply.certificates)
        if certificate.subject != certificate.issuer and "Test" not in certificate.subject.rfc4514_string()
    )


def rest_same_key(nodes: Nodes, subject: str) -> Attempt:
    """One Idempotency-Key and body."""
    body = json.dumps({"csr": csr_pem(subject)}).encode()
    headers = {
        "Authorization": f"Bearer {nodes.token}",
        "Content-Type": "application/json",
        "Idempotency-Key": subject,
    }

    def attempt(node: Server, _: int) -> int | str | None:
        answer = node.ask("https", "/api/v1/certificates", "POST", body, headers)
        if answer.status == 503:
            return None
        return int(json.loads(answer.body)["serial"], 16) if answer.status == 201 else f"{answer.status} {answer.text}"

    return attempt


@pytest.mark.parametrize(
    ("kind", "refusals"),
    [
        (est_same_csr, set()),
        (est_same_challenge, {"401", "409"}),
        (scep_same_transaction, set()),
        (scep_same_challenge, {"SCEP 2"}),
        (rest_same_key, set()),
    ],
)
def test_at_once(nodes: Nodes, kind: Callable[[Nodes, str], Attempt], refusals: set[str]) -> None:
    """However many copies come to both nodes, there is one certificate, and each copy that succeeds gets it."""
    subject = f"{kind.__name__}.example.com"
    attempt = kind(nodes, subject)
    results: list[int | str] = []
    problems: list[BaseException] = []
    together = threading.Barrier(2 * COPIES)

    def work(node: Server, number: int) -> None:
        try:
            together.wait(DEADLINE)
            end = time.monotonic() + DEADLINE
            while (result := attempt(node, number)) is None:
                assert time.monotonic() < end, "it is never answered"
                time.sleep(0.2)
            results.append(result)
        except BaseException as error:
            problems.append(error)

    threads = [
        threading.Thread(target=work, args=(node, number), daemon=True)
        for node in nodes.both
        for number in range(COPIES)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * DEADLINE)
    assert not problems
    assert len(results) == len(threads)
    serials = {result for result in results if isinstance(result, int)}
    assert len(serials) == 1, results
    assert {result for result in results if isinstance(result, str)} <= refusals
    assert nodes.names(subject) == list(serials)


def test_a_key_of_what_issues_nothing(nodes: Nodes) -> None:
    """API-2: copies at both nodes store one CSR, and are answered alike; another request with the key is refused."""
    headers = {
        "Authorization": f"Bearer {nodes.token}",
        "Content-Type": "application/json",
        "Idempotency-Key": "a-stored-CSR",
    }
    bodies = [json.dumps({"csr": csr_pem(f"{name}.example.com")}).encode() for name in ("stored", "other")]
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(node.ask, "https", "/api/v1/csrs", "POST", bodies[0], headers) for node in nodes.both * 3]
        answers = [one.result() for one in asked]
    assert {answer.status for answer in answers} == {201}, answers
    assert len({answer.body for answer in answers}) == 1
    for node in nodes.both:
        assert node.ask("https", "/api/v1/csrs", "POST", bodies[1], headers).status == 422
    stored = nodes.both[0].ask("https", "/api/v1/csrs", headers={"Authorization": headers["Authorization"]})
    assert len(json.loads(stored.body)["items"]) == 1


def test_sessions_and_lock_outs(nodes: Nodes) -> None:
    """Guesses at both nodes count together, so that the second node refuses what the first has locked."""
    first, second = nodes.both
    wrong = basic("guessed", "a wrong one")
    _, csr = make_csr(subject="guesser")

    def guess(node: Server) -> int:
        with node.client() as client:
            return enroll(client, csr, wrong).status

    statuses = [guess((first, second)[number % 2]) for number in range(14)]
    assert statuses[:8] == [401] * 8
    assert {guess(first), guess(second)} == {429}
