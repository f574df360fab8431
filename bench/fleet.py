"""Simulates how a fleet of devices renews its certificates: ``python -m bench.fleet``; see docs/scale.md.

No server and no clock is involved: a sample of the devices goes through simulated minutes, and what it does stands for
the whole fleet.  Rates grow in proportion to the fleet, so one sample tells of a million devices and of a hundred.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Final

from bench.figures import amount, markdown_table

MINUTE_SECONDS: Final = 60
DAY_SECONDS: Final = 86400
_SAMPLE: Final = 50_000
#: Lifetimes that are simulated, of which the first belongs to the rollout and isn't judged.
_LIFETIMES: Final = 4
_OUTAGE_AFTER: Final = 2
_LONGEST_WAIT_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Renewal:
    """A policy of the devices: when they ask for their next certificate.

    :param begins: the fraction of a certificate's lifetime after which its device begins to ask.
    :param jitter: the fraction of the lifetime over which devices spread that moment at random.
    :param look: seconds between the times at which a device looks whether it is due; 0: a timer wakes it.
    :param together: whether all devices look at the same times, as cron jobs of one image do.
    """

    name: str
    begins: float
    jitter: float = 0.0
    look: int = 0
    together: bool = False


POLICIES: Final = (
    Renewal("cron job at midnight, at 2/3 of the lifetime", 2 / 3, look=DAY_SECONDS, together=True),
    Renewal("cron job at the full hour, at 2/3", 2 / 3, look=3600, together=True),
    Renewal("twice a day at random times, at 2/3", 2 / 3, look=DAY_SECONDS // 2),
    Renewal("timer at 2/3", 2 / 3),
    Renewal("timer at random between 1/2 and 2/3", 1 / 2, jitter=1 / 6),
    Renewal("timer at random between 1/2 and 5/6", 1 / 2, jitter=1 / 3),
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices, and the CA that they renew at.

    :param lifetime: of certificates, in seconds.
    :param rollout: seconds within which all devices got their first certificate.
    :param capacity: enrollments a second; 0: without limit.
    :param outage: seconds for which the CA is away, after two lifetimes: policies that renew at 2/3 are busiest then.
    :param retry_after: what a refused device is told to wait, in seconds.
    """

    devices: int
    lifetime: int
    rollout: int
    capacity: float = 0.0
    outage: int = 0
    retry_after: int = 5


@dataclass(frozen=True, slots=True)
class Result:
    """The renewals of a simulated fleet after its first lifetime.

    :ivar mean: renewals a second.
    :ivar busiest_hour: devices a second that begin to ask, in the busiest hour.
    :ivar busiest_minute: likewise; the chance in a sample makes it too high by up to half where few begin in a minute.
    :ivar refused: refused attempts for each renewal.
    :ivar wait: the longest time in seconds between a device's first attempt and its certificate.
    :ivar overdue: devices whose certificate expired before they had the next one.
    """

    mean: float
    busiest_hour: float
    busiest_minute: float
    refused: float
    wait: int
    overdue: int


@dataclass(slots=True, eq=False)
class _Device:
    """One device of the sample.

    :ivar offset: the time of its looks, in seconds after a multiple of their interval.
    :ivar asked: the time of its first attempt at the next certificate; -1 when it isn't due.
    """

    offset: int
    issued: int = 0
    asked: int = -1
    refusals: int = 0
    is_overdue: bool = False


class _Simulation:
    """A sample of a fleet, in steps of a minute."""

    def __init__(self, fleet: Fleet, renewal: Renewal, sample: int, seed: int) -> None:
        self._fleet, self._renewal = fleet, renewal
        self._random = random.Random(seed)
        self._share = fleet.devices / sample
        self._due: defaultdict[int, list[_Device]] = defaultdict(list)
        self._devices = []
        for _ in range(sample):
            offset = 0 if renewal.together else self._random.randrange(max(1, renewal.look))
            device = _Device(offset, issued=self._random.randrange(max(1, fleet.rollout)))
            self._devices.append(device)
            self._plan(device)

    def run(self) -> Result:
        """Go through all lifetimes."""
        lifetime = self._fleet.lifetime
        begin, end = lifetime, _LIFETIMES * lifetime
        intervals = refused = wait = issued = 0
        begun: Counter[int] = Counter()
        room = 0.0
        for minute in range(0, end, MINUTE_SECONDS):
            room = self._room(room, minute)
            asking = self._due.pop(minute // MINUTE_SECONDS, [])
            # Nobody queues between two attempts, so the first to have asked isn't the first to be served.
            self._random.shuffle(asking)
            for device in asking:
                if device.asked < 0:
                    device.asked = minute
                    begun[minute // MINUTE_SECONDS] += minute >= begin
                if room < 1:
                    refused += minute >= begin
                    self._wait(device, minute)
                    continue
                room -= 1
                if minute >= begin:
                    issued += 1
                    intervals += minute - device.issued
                    wait = max(wait, minute - device.asked)
                device.is_overdue |= minute >= device.issued + lifetime
                device.issued, device.asked, device.refusals = minute, -1, 0
                self._plan(device)
        hours: Counter[int] = Counter()
        for minute, count in begun.items():
            hours[minute // 60] += count
        overdue = sum(one.is_overdue or one.issued + lifetime < end for one in self._devices)
        return Result(
            mean=self._fleet.devices * issued / intervals if issued else 0.0,
            busiest_hour=max(hours.values(), default=0) * self._share / 3600,
            busiest_minute=max(begun.values(), default=0) * self._share / MINUTE_SECONDS,
            refused=refused / issued if issued else math.inf,
            wait=wait,
            overdue=round(overdue * self._share),
        )

    def _room(self, left: float, now: int) -> float:
        """Return how many of the sample can be served in this minute."""
        fleet = self._fleet
        if 0 <= now - _OUTAGE_AFTER * fleet.lifetime < fleet.outage:
            return 0.0
        if not fleet.capacity:
            return math.inf
        limit = fleet.capacity * MINUTE_SECONDS / self._share
        # One device of the sample may need several minutes of a small capacity.
        return min(left + limit, max(limit, 1.0))

    def _plan(self, device: _Device) -> None:
        """Have a device ask when its new certificate is due."""
        renewal = self._renewal
        due = device.issued + int(self._fleet.lifetime * (renewal.begins + renewal.jitter * self._random.random()))
        if renewal.look:
            due += (device.offset - due) % renewal.look
        self._due[due // MINUTE_SECONDS].append(device)

    def _wait(self, device: _Device, now: int) -> None:
        """Have a refused device ask again: twice as late after each refusal, and up to half of that later."""
        wait = min(_LONGEST_WAIT_SECONDS, self._fleet.retry_after << min(device.refusals, 12))
        device.refusals += 1
        later = max(MINUTE_SECONDS, int(wait * (1 + self._random.random() / 2)))
        self._due[(now + later) // MINUTE_SECONDS].append(device)


def simulate(fleet: Fleet, renewal: Renewal, *, sample: int = _SAMPLE, seed: int = 1) -> Result:
    """Let a fleet renew by that policy for some lifetimes.

    :param sample: devices that are simulated, each of which stands for several.
    """
    return _Simulation(fleet, renewal, min(sample, fleet.devices), seed).run()


def rows(fleet: Fleet, sample: int = _SAMPLE) -> list[tuple[str, ...]]:
    """Return the table of all policies, whose first row is the headings."""
    table: list[tuple[str, ...]] = [
        ("devices renew", "mean", "busiest hour", "busiest minute", "refusals each", "longest wait", "overdue")
    ]
    for renewal in POLICIES:
        result = simulate(fleet, renewal, sample=sample)
        table.append(
            (
                renewal.name,
                f"{amount(result.mean)}/s",
                f"{amount(result.busiest_hour)}/s",
                f"{amount(result.busiest_minute)}/s",
                amount(result.refused),
                f"{result.wait / 3600:.1f} h",
                f"{result.overdue:,}",
            )
        )
    return table


def main() -> int:
    """Print what each policy does to the CA."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--lifetime", type=float, default=90, metavar="DAYS", help="of certificates")
    parser.add_argument("--rollout", type=float, default=7, metavar="DAYS", help="within which all began")
    parser.add_argument("--capacity", type=float, default=0, metavar="N", help="enrollments a second; 0: no limit")
    parser.add_argument("--outage", type=float, default=0, metavar="HOURS", help="for which the CA is away once")
    parser.add_argument("--sample", type=int, default=_SAMPLE, metavar="N", help="devices that are simulated")
    arguments = parser.parse_args()
    fleet = Fleet(
        devices=arguments.devices,
        lifetime=int(arguments.lifetime * DAY_SECONDS),
        rollout=int(arguments.rollout * DAY_SECONDS),
        capacity=arguments.capacity,
        outage=int(arguments.outage * 3600),
    )
    print(markdown_table(rows(fleet, arguments.sample)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
