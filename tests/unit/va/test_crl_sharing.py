"""Publishers of several nodes: one leads, the others have its CRL on their disks (HA-1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from pikachu.ca.leadership import TERM_SECONDS, Leadership
from pikachu.va.crl_files import CRLSettings
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.va.crl_sharing import SharedCRLs
from pikachu.x509.profile import Addresses
from tests.support.deferreds import result_of
from tests.support.stack import Stack
from tests.unit.va.publishing import DAY
from tests.unit.va.publishing import serials as serials_of


def serials(der: bytes) -> list[int]:
    """Return the serials on a CRL."""
    return serials_of(x509.load_der_x509_crl(der))


@dataclass
class Node:
    """A publisher with a folder of its own.

    :ivar leads: whether it is the leader.
    :ivar parts: the settings of delta CRLs and shards.
    """

    stack: Stack
    folder: Path
    leads: bool
    parts: Mapping[str, Any] = field(default_factory=dict)
    publisher: CRLPublisher = field(init=False)

    def __post_init__(self) -> None:
        app = self.stack.app
        settings = CRLSettings(7 * DAY, 0.5, self.folder, self.folder / "ca.crl", **self.parts)
        self.publisher = CRLPublisher(
            self.stack.clock,
            app.store,
            app.issuers,
            app.pools.files,
            settings,
            app.recovery,
            shared=SharedCRLs(app.store),
            is_leader=lambda: self.leads,
        )
        app.store.subscribe(self.publisher.changed)
        result_of(self.publisher.begin())

    def crl(self) -> bytes:
        """Return the CRL on this node's disk."""
        return self.publisher.paths(self.stack.issuer())[0].read_bytes()

    def follow(self) -> bytes:
        """Take what others have published, and return the CRL on disk."""
        result_of(self.publisher.follow())
        return self.crl()


@pytest.fixture
def nodes(stack: Stack, tmp_path: Path) -> tuple[Node, Node]:
    """The leader and a follower."""
    stack.app.publisher.stop()
    return Node(stack, tmp_path / "leader", leads=True), Node(stack, tmp_path / "follower", leads=False)


def test_the_follower_has_the_leaders_crl(stack: Stack, nodes: tuple[Node, Node]) -> None:
    """Byte by byte, with PEM and bundle; only the leader makes one after a revocation, and the number rises."""
    leader, follower = nodes
    assert follower.crl() == leader.crl()
    first = follower.publisher.published(stack.issuer())
    leaf = stack.issue()
    stack.revoke(leaf)
    stack.clock.advance(1)
    assert serials(leader.crl()) == [leaf.serial]
    assert serials(follower.crl()) == [], "it makes none"
    assert follower.follow() == leader.crl()
    second = follower.publisher.published(stack.issuer())
    assert second.number > first.number
    assert second.pem_path.read_bytes() == (leader.folder / second.pem_path.name).read_bytes()
    assert (follower.folder / "ca.crl").read_bytes() == (leader.folder / "ca.crl").read_bytes()


def test_take_over(stack: Stack, nodes: tuple[Node, Node]) -> None:
    """The next leader publishes what the former one has not, and the former one follows."""
    leader, follower = nodes
    leader.leads = False
    leaf = stack.issue()
    stack.revoke(leaf)
    stack.clock.advance(1)
    assert serials(leader.crl()) == serials(follower.follow()) == []
    follower.leads = True
    result_of(follower.publisher.begin())
    assert serials(follower.crl()) == [leaf.serial]
    assert leader.follow() == follower.crl()


def test_an_administrator_publishes_on_any_node(stack: Stack, nodes: tuple[Node, Node]) -> None:
    """Each node makes a CRL on request; the store orders them, so that no later one has a smaller number."""
    leader, follower = nodes
    numbers = [result_of(node.publisher.make(stack.issuer())).number for node in (leader, follower, leader, follower)]
    assert numbers == sorted(set(numbers))
    assert leader.follow() == follower.follow()


def test_a_lost_file_comes_back(stack: Stack, nodes: tuple[Node, Node]) -> None:
    """The follower takes a CRL that is missing on its disk from the database."""
    leader, follower = nodes
    expected = leader.crl()
    follower.publisher.paths(stack.issuer())[0].unlink()
    stack.clock.advance(61)
    assert follower.follow() == expected


def test_delta_and_shards_are_shared(stack: Stack, tmp_path: Path) -> None:
    """CRL-D: each node has the bytes of the leader's, also of a lost file; the next leader goes on."""
    stack.app.publisher.stop()
    url = "http://ca.example.com"
    settings = {"delta": 3600, "shards": 2, "public_url": url}
    leader, follower = (Node(stack, tmp_path / name, name == "leader", settings) for name in ("leader", "follower"))

    def parts(node: Node) -> dict[str, bytes]:
        return {
            path.name[40:]: path.read_bytes() for path in node.folder.glob(f"{stack.issuer().key_identifier.hex()}-*")
        }

    def deltas(node: Node) -> list[int]:
        return serials(parts(node)["-delta.crl"])

    follower.follow()
    assert parts(follower) == parts(leader)
    assert parts(leader).keys() == {f"-{part}.{suffix}" for part in ("delta", "0", "1") for suffix in ("crl", "pem")}
    addresses = Addresses.under(url, stack.issuer().certificate)
    leaf = stack.issue(addresses=addresses)
    stack.revoke(leaf)
    stack.clock.advance(1)
    assert (deltas(leader), deltas(follower)) == ([leaf.serial], [])
    follower.follow()
    assert parts(follower) == parts(leader)
    (follower.folder / f"{stack.issuer().key_identifier.hex()}-delta.crl").unlink()
    stack.clock.advance(61)
    follower.follow()
    assert parts(follower) == parts(leader)
    leader.leads, follower.leads = False, True
    result_of(follower.publisher.begin())
    other = stack.issue(addresses=addresses)
    stack.revoke(other)
    stack.clock.advance(1)
    assert deltas(follower) == [leaf.serial, other.serial]
    leader.follow()
    assert parts(follower) == parts(leader)
    follower.publisher.stop()
    leader.publisher.stop()


def test_leadership_ends_with_its_term(stack: Stack) -> None:
    """A node that can't renew its lease leads no more, also when its clock was set back."""
    store, clock = stack.app.store, stack.clock
    leadership = Leadership(store, clock, "node:1")
    assert not leadership.is_leader()
    assert result_of(leadership.renew())
    assert not result_of(leadership.renew()), "it led before"
    assert leadership.is_leader()
    clock.advance(TERM_SECONDS)
    assert not leadership.is_leader()
    assert result_of(leadership.renew())
    result_of(leadership.resign())
    assert not leadership.is_leader()
