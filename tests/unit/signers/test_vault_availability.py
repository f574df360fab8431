"""Vault counts as unreachable after several failures, and as reachable after several successes (VLT-2)."""

from __future__ import annotations

import pytest

from pikachu.signers.vault.availability import Availability


@pytest.mark.parametrize(
    ("outcomes", "reachable"),
    [
        ("0f", True),
        ("0f 0f 0f 0f", True),
        ("0f 0f 1f", False),
        ("0f 1f 1s 1f 0f 0f", True),
        ("0f 1f 1s 1f 1f 1f", False),
        ("0f 4f", True),
        ("0f 5f", False),
        ("0f 0f 1f 9s 9s", False),
        ("0f 0f 1f 9s 9f 9s 9s", False),
        ("0f 0f 1f 1s 1s 1s", True),
        ("0f 0f 1f 1s 1s 1s 0f 0f", True),
        ("0f 0f 1f 1s 1s 1s 0f 0f 1f", False),
    ],
)
def test_outcomes(outcomes: str, reachable: bool) -> None:
    """Each is the seconds since the one before, and whether the call failed or succeeded."""
    now = 100.0
    availability = Availability(lambda: now)
    for outcome in outcomes.split():
        now += int(outcome[0])
        if outcome[1] == "f":
            availability.failed("It is away.")
        else:
            availability.succeeded()
    assert availability.is_reachable is reachable
    assert (availability.reason != "") is (outcomes[-1] == "f" or not reachable)
