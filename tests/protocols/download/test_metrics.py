"""``/metrics`` over HTTP, and parts that don't answer (OPS-4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from twisted.internet.defer import Deferred, fail

import pytest

from pikachu.core.errors import StoreUnavailable
from pikachu.http.tree import Tree
from pikachu.operations.metric_names import METRICS
from pikachu.protocols.download.metrics import MetricsResource
from pikachu.server.monitoring import build_metrics
from pikachu.x509.profile import Addresses
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


def test_parts_of_crls(tmp_path: Path) -> None:
    """CRL-D: a delta CRL by itself, shards together; neither where they are off."""
    parts = [name for name in METRICS if name.startswith("pikachu_crl_part")]
    for number, (delta, shards, expected) in enumerate(
        (
            ("", "", {}),
            ("1h", "", {"delta": 1.0}),
            ("", "4", {"shards": 4.0}),
            ("1h", "2", {"delta": 1.0, "shards": 2.0}),
        )
    ):
        changes = {("CRL", "delta"): delta, ("CRL", "shards"): shards, ("CA", "public_url"): "http://ca.example.com"}
        stack = build_core(tmp_path / str(number), changes=changes)
        result_of(stack.app.publisher.begin())
        addresses = Addresses.under("http://ca.example.com", stack.issuer().certificate)
        for _ in range(3):
            stack.revoke(stack.issue(addresses=addresses))
        result_of(stack.app.publisher.make(stack.issuer()))
        result_of(stack.app.publisher.parts.publish(stack.issuer()))
        samples = result_of(build_metrics(stack.app).collect())
        key = stack.issuer().key_identifier.hex()[:16]
        values = {
            name: {labels[2]: value for labels, value in samples[name] if labels[:2] == ("ec", key)} for name in parts
        }
        assert values["pikachu_crl_parts"] == expected
        assert values["pikachu_crl_part_entries"] == dict.fromkeys(expected, 3.0)
        published = stack.app.publisher.parts.published(stack.issuer())
        for kind in expected:
            crls = [crl for part, crl in published.items() if (part == "delta") == (kind == "delta")]
            assert values["pikachu_crl_part_number"][kind] == max(crl.number for crl in crls)
            assert values["pikachu_crl_part_size_bytes"][kind] == max(crl.size for crl in crls)
            for name, times in (
                ("this_update", [crl.this_update for crl in crls]),
                ("next_update", [crl.next_update for crl in crls]),
            ):
                metric = f"pikachu_crl_part_{name}_timestamp_seconds"
                assert values[metric][kind] == min(times).timestamp()
        stack.close()


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
