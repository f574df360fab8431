"""More requests for serverkeygen than there is room for (RFC 7030 section 4.4)."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from pikachu.core.concurrency import WorkerPool
from pikachu.server.pools import immediate_pools
from tests.protocols.est.refusals import refused
from tests.support.connections import Plain
from tests.support.est import EST, PKCS10, basic, est_server, path
from tests.support.pki import make_csr
from tests.support.stack import Response

PLACES = 3


class Reactor:
    """Makes the calls of a pool's threads when the test wants them."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:  # noqa: N802
        self._calls.put(functools.partial(callable, *args, **kwargs))

    def make_a_call(self) -> None:
        """Wait for the next call, and make it."""
        self._calls.get(timeout=60)()


@dataclass
class Busy:
    """A server all of whose places for keys of devices are taken."""

    est: EST
    reactor: Reactor
    waiting: list[Plain]

    def post(self, csr: bytes, fields: dict[str, str]) -> None:
        """Send one more request, on a connection that waits for its answer."""
        body = base64.b64encode(csr)
        fields = {"Host": "localhost", **PKCS10, **fields, "Content-Length": str(len(body))}
        lines = [f"POST {path('serverkeygen')} HTTP/1.1", *(f"{key}: {text}" for key, text in fields.items()), "", ""]
        connection = Plain(self.est.site, self.est.stack.clock)
        assert connection.send("\r\n".join(lines).encode("ascii") + body) == b""
        self.waiting.append(connection)

    def finish(self) -> None:
        """Let the keys be made; everybody who waits gets one."""
        while self.waiting:
            self.reactor.make_a_call()
            connection = self.waiting.pop(0)
            answer = Response.parse(connection.received())
            assert answer.status == 200, answer.body
            assert answer.headers["Content-Type"].startswith("multipart/mixed")


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Busy]:
    """One thread makes keys, and two requests wait for it."""
    reactor = Reactor()
    server_keys = WorkerPool("server-keys", reactor, 1, queue=PLACES - 1)
    pools = replace(immediate_pools(), server_keys=server_keys)
    try:
        with est_server(tmp_path / "server", key_types=["rsa2048"], pools=pools) as est:
            est.account("alice")
            server = Busy(est, reactor, [])
            for number in range(PLACES):
                server.post(make_csr("rsa2048", f"device-{number}")[1], basic("alice"))
            yield server
    finally:
        server_keys.stopService()


def test_overload(busy: Busy) -> None:
    """An overload gives 503 with Retry-After, and does not consume the challenge password."""
    est = busy.est
    refusal = est.enroll(make_csr()[1], "serverkeygen", user="alice")
    refused(refusal, 503)
    assert int(refusal.headers["Retry-After"]) > 0
    _, challenged = make_csr(challenge=est.challenge(est.account("owner")))
    refused(est.enroll(challenged, "serverkeygen"), 503)
    assert est.issued() == 0
    busy.finish()
    assert est.issued() == PLACES
    busy.post(challenged, {})
    busy.finish()
    assert est.issued() == PLACES + 1


@pytest.mark.parametrize("operation", ["simpleenroll", "simplereenroll"])
def test_enrollment_does_not_wait(busy: Busy, operation: str) -> None:
    """Certificates for keys that devices made themselves are issued meanwhile."""
    est = busy.est
    tls = est.connect(est.identity())
    est.certificate(est.enroll(make_csr()[1], operation, tls=tls))
    assert len(busy.waiting) == PLACES
    assert all(connection.received() == b"" for connection in busy.waiting)
    busy.finish()
