"""Lock-outs that nodes share (HA-1, USR-3)."""

from __future__ import annotations

from twisted.internet.task import Clock

import pytest

from pikachu.auth.rate_limit import PAIR_LIMIT, GuessLimits
from pikachu.core.errors import RateLimited

ADDRESS = "192.0.2.1"


class Nodes:
    """Two nodes; what one sends, the other one receives at once.

    :ivar sent: all texts.
    """

    def __init__(self) -> None:
        self.sent: list[str] = []
        clock = Clock()
        self.first = GuessLimits(clock, share=lambda text: self._send(self.second, text), digest=self._digest)
        self.second = GuessLimits(clock, share=lambda text: self._send(self.first, text), digest=self._digest)

    @staticmethod
    def _digest(key: str) -> str:
        return key.encode().hex()

    def _send(self, to: GuessLimits, text: str) -> None:
        self.sent.append(text)
        to.count_shared(text)


def test_guesses_are_counted_together() -> None:
    """Turns at the nodes give no more guesses than one node does."""
    nodes = Nodes()
    for number in range(PAIR_LIMIT):
        node = (nodes.first, nodes.second)[number % 2]
        node.check_password("admin", ADDRESS)
        node.password_failed("admin", ADDRESS)
    for node in (nodes.first, nodes.second):
        with pytest.raises(RateLimited):
            node.check_password("Admin", ADDRESS)
        node.check_password("another", ADDRESS)
    assert "admin" not in " ".join(nodes.sent), "a password may have been typed there"


@pytest.mark.parametrize("known", [None, "token 1"])
def test_secrets(known: str | None) -> None:
    """Invalid tokens and challenge passwords count together, too."""
    nodes = Nodes()
    while not nodes.first.secret_failed(ADDRESS, known):
        nodes.second.check_secret(ADDRESS, known)
    with pytest.raises(RateLimited):
        nodes.second.check_secret(ADDRESS, known)


def test_an_address_is_familiar_to_all() -> None:
    """An account that has signed in on one node is not locked out on another by strangers; it is told once a day."""
    nodes = Nodes()
    for _ in range(3):
        nodes.first.password_succeeded("admin", ADDRESS)
    assert len(nodes.sent) == 1
    number = 0
    while not nodes.first.password_failed("admin", f"198.51.100.{number}"):
        number += 1
    with pytest.raises(RateLimited):
        nodes.second.check_password("admin", "203.0.113.1")
    nodes.second.check_password("admin", ADDRESS)


def test_texts_of_a_newer_version() -> None:
    """Unknown parts are ignored."""
    limits = GuessLimits(Clock())
    limits.count_shared("another=1 pair=2 nothing")
