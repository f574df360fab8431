"""REST: errors at the level of HTTP (API-2, RFC 9457): paths, methods, types, hostile JSON, faults, time."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

import pytest

from pikachu.core.errors import IssuanceFailed, SignerUnavailable
from pikachu.core.interfaces import ISigner, ToBeSigned
from pikachu.web.dispatch import TIME_LIMIT
from tests.support.connections import Plain
from tests.support.reference_work import BATCH, costs_at_most
from tests.support.rest import REST, csr_pem


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("//api", 404),
        ("//api/", 404),
        ("//api/v2/certificates", 404),
        ("//requests/1", 404),
        ("/certificates/", 404),
        ("//api//v1//certificates", 404),
        ("/certificates/x", 404),
        ("/certificates/-1", 404),
        ("/certificates/1.0", 404),
        ("/certificates/0", 404),
        ("/certificates/%EF%BC%91", 404),
        ("/certificates/" + "9" * 19, 404),
        ("/certificates/" + "9" * 5000, 404),
        ("/certificates/%2e%2e", 404),
        ("/certificates/1%0d%0aX-Injected:1", 404),
        ("/%ff", 400),
    ],
)
def test_paths(rest: REST, path: str, status: int) -> None:
    """An unknown path gives a 404 problem, and never appears in a response header."""
    rest.bad(status, "GET", path, who="root")
    assert "X-Injected" not in rest.call("GET", path, who="root").headers


def test_methods(rest: REST) -> None:
    """405 names the methods allowed, for any request; a malformed method gives 501; HEAD is GET without a body."""
    response = rest.call("PUT", "/certificates", {}, who="root")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, POST")
    rest.bad(405, "DELETE", "/certificates", who="root")
    rest.bad(405, "OPTIONS", "/certificates", who="root")
    rest.bad(405, "BREW", "/certificates", who="root")
    rest.bad(501, "brew", "/certificates", who="root")
    head = rest.call("HEAD", "/certificates", who="root")
    assert head.headers["Content-Length"] == str(len(rest.call("GET", "/certificates", who="root").body))


@pytest.mark.parametrize(
    "host", ["", "a..b", "x" * 300, "\xff\xfe", "[::1", "-.-", "localhost:99999999", "ca:x", "a b"]
)
def test_hosts(rest: REST, host: str) -> None:
    """Whatever a client says our name is, it gets an answer that is no fault of ours."""
    response = rest.call("GET", "/certificates", who="root", headers={"Host": host})
    assert response.status in (200, 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx", "x"])
def test_types(rest: REST, kind: str) -> None:
    """A body that does not say that it is JSON is 415: no form of another site's can post here."""
    rest.bad(415, "POST", "/challenge-passwords", {}, who="alice", headers={"Content-Type": kind})


def test_good_types(rest: REST) -> None:
    """Parameters and case of the type count for nothing; without a body it is not needed."""
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        rest.good("POST", "/challenge-passwords", {}, who="alice", status=201, headers={"Content-Type": kind})
    rest.bad(415, "POST", "/challenge-passwords", {}, who="alice", headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"{}{}",
        b'{"user_id": NaN}',
        b'{"user_id": Infinity}',
        b'{"user_id": 1e999}',
        b'{"user_id": ' + b"9" * 5000 + b"}",
        b'{"user_id": 1, "user_id": 2}',
        b"\xff\xfe{\x00}\x00",
        b'{"\xff": 1}',
        b"[" * 500_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"validity_seconds": {"a": 1}}',
        b'{"__class__": 1}',
        b'{"' + b"x" * 100_000 + b'": 1}',
        b'{"\\ud800": 1}',
        b"{" + b",".join(b'"%d":0' % number for number in range(90_000)) + b"}",
    ],
)
def test_hostile_json(rest: REST, raw: bytes) -> None:
    """Bad JSON is 400 with one short line, quickly, and never a fault."""
    with costs_at_most(20 * BATCH):
        problem = rest.bad(400, "POST", "/challenge-passwords", raw=raw, who="alice")
    assert len(problem["detail"]) < 500


def test_size(rest: REST) -> None:
    """A body has at most 1 MiB."""
    rest.bad(413, "POST", "/challenge-passwords", raw=b" " * (1024 * 1024 + 1), who="alice")
    rest.bad(400, "POST", "/challenge-passwords", raw=b" " * (1024 * 1024), who="alice")


def test_two_tokens(rest: REST) -> None:
    """Two Authorization fields prove nothing."""
    token = rest.tokens["alice"]
    connection = Plain(rest.site, rest.clock)
    lines = ["GET /api/v1/certificates HTTP/1.1", "Host: x", *[f"Authorization: Bearer {token}"] * 2, "", ""]
    assert connection.send("\r\n".join(lines).encode()).startswith(b"HTTP/1.1 401 ")


def test_unavailable(rest: REST) -> None:
    """An unavailable signer gives 503 with Retry-After."""
    issuer = rest.stack.issuer()
    issuer.signer = BrokenSigner(issuer.signer, SignerUnavailable("the issuing key can't be used now", retry_after=7))
    response = rest.call("POST", "/certificates", {"csr": csr_pem()}, who="alice")
    assert (response.status, response.headers["Retry-After"]) == (503, "7")


@pytest.mark.parametrize("error", [IssuanceFailed("the signature does not verify"), ZeroDivisionError("secret 42")])
def test_faults(rest: REST, error: Exception) -> None:
    """A fault is 500 with the id by which the log has it, and nothing else of it."""
    issuer = rest.stack.issuer()
    issuer.signer = BrokenSigner(issuer.signer, error)
    with capturedLogs() as logged:
        problem = rest.bad(500, "POST", "/certificates", {"csr": csr_pem()}, who="alice")
    assert "42" not in problem["detail"].replace(problem["failure_id"], "")
    assert problem["instance"] == f"urn:pikachu:failure:{problem['failure_id']}"
    assert problem["failure_id"] in [event.get("failure_id") for event in logged]


class SlowSigner:
    """A signer that waits to be told what comes of it."""

    def __init__(self, whole: ISigner) -> None:
        self.whole = whole
        self.certificate = whole.certificate
        self.chain = whole.chain
        self.algorithm = whole.algorithm
        self.asked: list[tuple[ToBeSigned, Deferred[bytes]]] = []

    def sign_certificate(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        """Wait."""
        self.asked.append((to_be_signed, Deferred()))
        return self.asked[-1][1]

    def sign(self, data: bytes) -> Deferred[bytes]:
        """Sign at once."""
        return self.whole.sign(data)


class BrokenSigner(SlowSigner):
    """A signer that fails."""

    def __init__(self, whole: ISigner, error: Exception) -> None:
        super().__init__(whole)
        self._error = error

    def sign_certificate(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        """Fail."""
        return fail(self._error)


@pytest.fixture
def slow(rest: REST) -> SlowSigner:
    """The signer of all certificates from now on."""
    issuer = rest.stack.issuer()
    made = SlowSigner(issuer.signer)
    issuer.signer = made
    return made


def begin(rest: REST) -> Plain:
    """Send a request for a certificate."""
    body = json.dumps({"csr": csr_pem()}).encode()
    lines = (
        "POST /api/v1/certificates HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Authorization: Bearer {rest.tokens['alice']}",
        f"Content-Length: {len(body)}",
    )
    connection = Plain(rest.site, rest.clock)
    assert connection.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body) == b""
    return connection


def test_slow(rest: REST, slow: SlowSigner) -> None:
    """A request over the time limit gives 503; the issuance completes and is not lost."""
    connection = begin(rest)
    rest.clock.advance(TIME_LIMIT + 1)
    assert connection.received().startswith(b"HTTP/1.1 503 ")
    to_be_signed, done = slow.asked[0]
    slow.whole.sign_certificate(to_be_signed).chainDeferred(done)
    assert len(rest.good("GET", "/certificates", who="alice")["items"]) == 1


def test_hanging_up(rest: REST, slow: SlowSigner) -> None:
    """A client that hangs up while a certificate is being signed does not lose it."""
    begin(rest).server.connectionLost(Failure(ConnectionDone()))
    to_be_signed, done = slow.asked[0]
    slow.whole.sign_certificate(to_be_signed).chainDeferred(done)
    assert len(rest.good("GET", "/certificates", who="alice")["items"]) == 1
