"""REST: Idempotency-Key (API-2)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

import pytest
from sqlalchemy import select

from pikachu.core.errors import Conflict, Overloaded, PolicyViolation
from pikachu.core.idempotency_interfaces import IIdempotencyStore
from pikachu.core.sealing import Sealer
from pikachu.storage.idempotency import idempotency_keys
from pikachu.storage.store import open_store
from pikachu.web.api.idempotency import IdempotencyCache, SharedAnswers
from pikachu.web.api.routes import Answer
from pikachu.web.errors import HTTPProblem
from tests.support.deferreds import failure_of, result_of
from tests.support.rest import REST, csr_pem, make_rest, open_rest
from tests.support.stack import build_core


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


def test_a_certificate_once(rest: REST) -> None:
    """The same key and request: one certificate; another request with it: 422; another account: its own."""
    body = {"csr": csr_pem()}
    first = rest.good("POST", "/certificates", body, who="alice", headers=key("k"), status=201)
    assert rest.good("POST", "/certificates", body, who="alice", headers=key("k"), status=201) == first
    rest.bad(422, "POST", "/certificates", {"csr": csr_pem()}, who="alice", headers=key("k"))
    other = rest.good("POST", "/certificates", {"csr": csr_pem()}, who="bob", headers=key("k"), status=201)
    assert other["id"] != first["id"]
    again = rest.good("POST", "/certificates", body, who="alice", headers=key("another"), status=201)
    assert again["id"] != first["id"]
    assert len(rest.good("GET", "/certificates", who="root")["items"]) == 3


def test_a_certificate_after_a_restart(tmp_path: Path) -> None:
    """The key is stored with the request; after 24 hours it is forgotten."""
    stack = build_core(tmp_path)
    rest = make_rest(stack)
    body = {"csr": csr_pem()}
    first = rest.good("POST", "/certificates", body, who="alice", headers=key("k"), status=201)
    stack = stack.restart()
    try:
        reopened = open_rest(stack)
        reopened.tokens.update(rest.tokens)
        assert reopened.good("POST", "/certificates", body, who="alice", headers=key("k"), status=201) == first
        stack.clock.advance(86401)
        later = reopened.good("POST", "/certificates", body, who="alice", headers=key("k"), status=201)
        assert later["id"] != first["id"]
    finally:
        stack.close()


def test_other_objects_once(rest: REST) -> None:
    """A repetition gets the same answer; a failed request may be retried with the same key."""
    body = {"username": "frank", "email": "frank@example.com", "password": "long enough"}
    first = rest.call("POST", "/users", body, who="root", headers=key("k"))
    again = rest.call("POST", "/users", body, who="root", headers=key("k"))
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert again.headers["Location"] == first.headers["Location"]
    rest.bad(409, "POST", "/users", body, who="root")
    short = {**body, "username": "grace", "password": "x"}
    rest.bad(422, "POST", "/users", short, who="root", headers=key("g"))
    rest.good("POST", "/users", {**short, "password": "long enough"}, who="root", headers=key("g"), status=201)


def test_secrets_are_not_kept(rest: REST) -> None:
    """USR-6: a token is made and shown once; a repeated request gets an error that says so."""
    body = {"name": "ci"}
    rest.good("POST", "/tokens", body, who="alice", headers=key("k"), status=201)
    rest.bad(409, "POST", "/tokens", body, who="alice", headers=key("k"))
    assert [one["name"] for one in rest.good("GET", "/tokens", who="alice")["items"]].count("ci") == 1


@pytest.mark.parametrize("value", ["", " ", "a b", "x" * 256, "\xe9"])
def test_bad_keys(rest: REST, value: str) -> None:
    """A key is 1 to 255 visible ASCII characters."""
    rest.bad(400, "POST", "/challenge-passwords", {}, who="alice", headers=key(value))


class TestRepetitions:
    """The memory by itself."""

    def test_concurrent(self) -> None:
        """A hundred at once: the work is done once, and all get its answer."""
        memory, go, begun = IdempotencyCache(Clock()), Deferred[None](), []

        async def work() -> Answer:
            begun.append(1)
            await go
            return Answer(201, {"n": len(begun)})

        waiting = [Deferred.fromCoroutine(memory.once((1, "k"), b"f", work, durable=False)) for _ in range(100)]
        # One hangs up, and so does the one whose work it is.
        waiting[50].cancel()
        waiting[0].cancel()
        go.callback(None)
        bodies = {result_of(one).body for one in waiting[1:50] + waiting[51:]}
        assert (len(begun), bodies) == (1, {b'{"n":1}\n'})
        for one in (waiting[0], waiting[50]):
            one.addErrback(lambda _: None)

    def test_concurrent_failure(self) -> None:
        """Where the first fails the next one tries."""
        memory, turns, begun = IdempotencyCache(Clock()), [Deferred[None](), succeed(None)], []

        async def work() -> Answer:
            begun.append(1)
            await turns[len(begun) - 1]
            return Answer(201, {})

        first, second = (Deferred.fromCoroutine(memory.once((1, "k"), b"f", work, durable=False)) for _ in range(2))
        turns[0].errback(PolicyViolation("no"))
        failure_of(first, PolicyViolation)
        assert result_of(second).status == 201

    def test_bounds(self) -> None:
        """The oldest are dropped first, by number and by bytes; all after a day."""
        clock = Clock()
        memory, begun = IdempotencyCache(clock, maximum=10, maximum_size=1000), []

        async def work() -> Answer:
            begun.append(1)
            return Answer(201, b"x" * 10)

        def ask(name: str, kind: Any = work) -> Answer:
            return result_of(Deferred.fromCoroutine(memory.once((1, name), b"f", kind, durable=False)))

        for number in range(30):
            ask(str(number))
        ask("29")
        assert len(begun) == 30
        ask("0")
        assert len(begun) == 31

        async def large() -> Answer:
            return Answer(201, b"x" * 2000)

        ask("large", large)
        ask("29")
        ask("more")
        assert len(begun) == 33
        clock.advance(86401)
        ask("more")
        assert len(begun) == 34

    def test_refusals(self) -> None:
        """Another request with a key, and one whose answer is not shown again."""
        memory = IdempotencyCache(Clock())

        async def work() -> Answer:
            return Answer(201, {}, secret=True)

        result_of(Deferred.fromCoroutine(memory.once((1, "k"), b"f", work, durable=False)))
        failure_of(Deferred.fromCoroutine(memory.once((1, "k"), b"g", work, durable=False)), HTTPProblem)
        failure_of(Deferred.fromCoroutine(memory.once((1, "k"), b"f", work, durable=False)), Conflict)


class TestNodes:
    """Two caches of nodes that share a database."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def nodes(self, clock: Clock) -> tuple[IdempotencyCache, IdempotencyCache]:
        return self.caches(open_store("sqlite://"), clock)

    @staticmethod
    def caches(store: IIdempotencyStore, clock: Clock) -> tuple[IdempotencyCache, IdempotencyCache]:
        sealer = Sealer(b"k" * 32)
        first, second = (
            IdempotencyCache(clock, shared=SharedAnswers(store, clock, name, sealer)) for name in ("a", "b")
        )
        return first, second

    @staticmethod
    def once(
        node: IdempotencyCache, work: Callable[[], Coroutine[Any, Any, Answer]], fingerprint: bytes = b"f"
    ) -> Deferred[Answer]:
        return Deferred.fromCoroutine(node.once((1, "k"), fingerprint, work, durable=False))

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(201, {"n": 1}, headers={b"Location": b"/users/1"}),
            Answer(204),
            Answer(200, b"line\nline", b"text/plain; charset=utf-8"),
        ],
    )
    def test_the_same_answer(self, nodes: tuple[IdempotencyCache, IdempotencyCache], answer: Answer) -> None:
        """Each node gives that of the first one; another request with the key is refused by both."""
        made = []

        async def work() -> Answer:
            made.append(1)
            return answer

        for node in (*nodes, *nodes):
            assert result_of(self.once(node, work)) == answer.written()
            refused = failure_of(self.once(node, work, b"g"), HTTPProblem)
            assert refused.status == 422
        assert made == [1]

    def test_what_tells_no_password(self, clock: Clock) -> None:
        """The database gets no plain digest of a request: a password in it could be found by trying many."""
        store = open_store("sqlite://")
        first, _ = self.caches(store, clock)

        async def work() -> Answer:
            return Answer(201, {})

        result_of(self.once(first, work, b"plain digest"))
        rows = store.database.read(lambda tx: tx.query(select(idempotency_keys)))
        assert len(rows) == 1
        assert b"plain digest" not in rows[0]

    @pytest.mark.parametrize("answer", [Answer(201, {}, secret=True), Answer(200, b"x" * (64 * 1024 + 1))])
    def test_what_is_not_stored(self, nodes: tuple[IdempotencyCache, IdempotencyCache], answer: Answer) -> None:
        """Where an answer is shown once, or is too long, the other node says that the call was done."""

        async def work() -> Answer:
            return answer

        first, second = nodes
        result_of(self.once(first, work))
        failure_of(self.once(second, work), Conflict)

    def test_at_once(self, nodes: tuple[IdempotencyCache, IdempotencyCache], clock: Clock) -> None:
        """One node does it, and the other one waits for that."""
        go, begun = Deferred[None](), []

        async def work() -> Answer:
            begun.append(1)
            await go
            return Answer(201, {"n": len(begun)})

        first, second = (self.once(node, work) for node in nodes)
        clock.advance(1)
        go.callback(None)
        clock.advance(1)
        assert result_of(first).body == result_of(second).body == b'{"n":1}\n'
        assert begun == [1]

    def test_a_failure(self, nodes: tuple[IdempotencyCache, IdempotencyCache], clock: Clock) -> None:
        """Where the first node fails the other one tries."""
        turns, begun = [Deferred[None](), succeed(None)], []

        async def work() -> Answer:
            begun.append(1)
            await turns[len(begun) - 1]
            return Answer(201, {})

        first, second = (self.once(node, work) for node in nodes)
        turns[0].errback(PolicyViolation("no"))
        failure_of(first, PolicyViolation)
        clock.advance(1)
        assert result_of(second).status == 201

    def test_a_node_that_takes_long(self, nodes: tuple[IdempotencyCache, IdempotencyCache], clock: Clock) -> None:
        """The other one does not wait for ever."""

        async def work() -> Answer:
            await Deferred[None]()
            raise AssertionError

        first, second = (self.once(node, work) for node in nodes)
        clock.pump([0.25] * 100)
        failure_of(second, Overloaded)
        assert not first.called
