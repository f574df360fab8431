"""The simulation of a fleet's renewals: what its policies differ in, and what a small CA or an outage does to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.figures import markdown_table
from bench.fleet import DAY_SECONDS, POLICIES, Fleet, Renewal, Result, rows, simulate

FLEET = Fleet(devices=100_000, lifetime=30 * DAY_SECONDS, rollout=7 * DAY_SECONDS)
AT_TWO_THIRDS = Renewal("timer", 2 / 3)
SPREAD = Renewal("spread", 1 / 2, jitter=1 / 3)
MIDNIGHT = Renewal("cron", 2 / 3, look=DAY_SECONDS, together=True)


def run(fleet: Fleet = FLEET, renewal: Renewal = AT_TWO_THIRDS) -> Result:
    return simulate(fleet, renewal, sample=1000)


@pytest.mark.parametrize("renewal", POLICIES, ids=lambda one: one.name)
def test_every_policy_renews_in_time(renewal: Renewal) -> None:
    """Nobody is refused or overdue where the CA has no limit."""
    result = run(renewal=renewal)
    assert (result.refused, result.wait, result.overdue) == (0, 0, 0)
    longest = renewal.begins + renewal.jitter + renewal.look / FLEET.lifetime
    assert FLEET.devices / FLEET.lifetime / longest <= result.mean <= FLEET.devices / FLEET.lifetime / renewal.begins
    assert result.mean < result.busiest_hour <= result.busiest_minute


def test_jitter_lowers_the_peak() -> None:
    """A cron job has the devices of a day ask in one minute."""
    timer, spread, midnight = run(), run(renewal=SPREAD), run(renewal=MIDNIGHT)
    assert spread.busiest_hour < timer.busiest_hour < midnight.busiest_hour / 5
    assert midnight.busiest_minute > FLEET.devices / 8 / 60


def test_rates_are_in_proportion_to_the_fleet() -> None:
    large = run(replace(FLEET, devices=100 * FLEET.devices))
    assert large.busiest_hour == pytest.approx(100 * run().busiest_hour)


def test_ca_that_is_fast_enough() -> None:
    """Refused devices ask again, and all have their certificates within the hour."""
    result = run(replace(FLEET, capacity=20), MIDNIGHT)
    assert result.refused > 1
    assert 0 < result.wait < 2 * 3600
    assert result.overdue == 0


def test_ca_that_is_too_slow() -> None:
    """Below the mean rate certificates expire."""
    result = run(replace(FLEET, capacity=0.01))
    assert result.overdue > FLEET.devices / 2


def test_ca_that_serves_nobody() -> None:
    result = run(replace(FLEET, capacity=1e-12))
    assert (result.mean, result.overdue) == (0, FLEET.devices)


def test_outage() -> None:
    """It hurts when it is longer than what is left of the certificates."""
    day = run(replace(FLEET, outage=DAY_SECONDS))
    assert DAY_SECONDS - 60 <= day.wait < DAY_SECONDS + 2 * 3600
    assert day.overdue == 0
    assert run(replace(FLEET, outage=12 * DAY_SECONDS)).overdue > 0


def test_table() -> None:
    """It has a row for each policy, in Markdown."""
    lines = markdown_table(rows(replace(FLEET, devices=100), sample=100)).splitlines()
    assert len(lines) == 2 + len(POLICIES)
    assert {line.count("|") for line in lines} == {8}
    assert markdown_table([("a|b",), ("c",)]) == "| a\\|b |\n|---|\n| c |"
