"""``/metrics`` over HTTP, and parts that don't answer (OPS-4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from twisted.internet.defer import Deferred, fail

import pytest

from pikachu.core.errors import StoreUnavailable
from pikachu.http.tree import Tree
from pikachu.protocols.download.metrics import MetricsResource
from pikachu.server.monitoring import build_metrics
from tests.support.deferreds import result_of
from tests.support.stack import Stack, ask, build_core


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "ca")
    yield made
    made.close()


def test_other_machines_are_refused(stack: Stack) -> None:
    """The answer says what to do."""
    tree = Tree()
    tree.putChild(b"metrics", MetricsResource(build_metrics(stack.app), stack.app.authenticator))
    answer = ask(stack.site(tree), stack.clock, "/metrics")
    assert answer.status == 403
    assert b"administrator's API token" in answer.body
    forwarded = ask(stack.site(tree), stack.clock, "/metrics", headers={"X-Forwarded-For": "127.0.0.1"})
    assert forwarded.status == 403


def test_a_store_that_fails_or_hangs(tmp_path: Path) -> None:
    """The other parts are there, and the answer names the missing ones."""

    class Broken:
        def __init__(self, store: object) -> None:
            self._store = store

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

        def job_counts(self) -> Deferred[dict[str, int]]:
            return fail(StoreUnavailable("locked"))

        def node_count(self) -> Deferred[int]:
            return Deferred()

    stack = build_core(tmp_path / "ca", wrap_store=Broken)
    collecting = build_metrics(stack.app).collect()
    for _ in range(40):
        stack.clock.advance(0.1)
    samples = result_of(collecting)
    failed = {labels[0] for labels, value in samples["pikachu_collection_failed"] if value}
    assert failed == {"jobs", "nodes"}
    assert samples["pikachu_build_info"]
    assert samples["pikachu_certificates"]
    stack.close()
