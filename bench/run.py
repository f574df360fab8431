"""The state that all rows of a run share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from bench.fill import filled, serials
from bench.load import Load, Outcome, run
from bench.messages import OCSP_SUCCESSFUL, ocsp_posts
from bench.place import Place, copied, founded
from bench.server import Server

_SETTLING = 1.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done.

    :param stored: certificates in the larger database; *few*: in the smaller one.
    :param lists: numbers of revoked certificates that CRLs are made of; the last is the largest.
    :param seconds: how long one load may take at most.
    :param enrollments: certificates that one load asks for at most.
    :param burst: devices that enroll at the same moment.
    :param repeats: how often each figure is taken; the table shows the median.
    :param lasting: seconds that a mixed load goes on for at least.
    """

    stored: int
    few: int
    lists: tuple[int, ...]
    seconds: float
    enrollments: int
    repeats: int
    keys: int
    revocations: int
    burst: int
    lasting: float = 0.0


QUICK = Sizes(10_000, 1_000, (1_000, 10_000), 0.7, 150, 1, 8, 8, 200)
USUAL = Sizes(100_000, 10_000, (10_000, 100_000), 2.0, 2_000, 3, 32, 30, 2_000)
FULL = Sizes(1_000_000, 10_000, (10_000, 100_000, 1_000_000), 4.0, 4_000, 3, 64, 50, 5_000)


@dataclass(slots=True)
class Run:
    """One run of the program.

    :param data: where keys and databases are kept for the next run.
    :param work: a folder of this run, removed at its end.
    :param isolated: whether this is a network namespace, so that programs that bind all addresses may be started.
    """

    data: Path
    work: Path
    sizes: Sizes
    isolated: bool
    _folders: Iterator[int] = field(default_factory=count)
    _base: Place | None = None

    @property
    def base(self) -> Place:
        """The CA that all servers are copies of."""
        if self._base is None:
            self._base = founded(self.data)
        return self._base

    def folder(self, name: str) -> Path:
        """A new folder's path."""
        return self.work / f"{name}-{next(self._folders)}"

    def place(self, certificates: int = 0, revoked: int = 0) -> Place:
        """A CA that has issued, and revoked, so many."""
        database = filled(self.data, self.base, certificates, revoked) if certificates else None
        return copied(self.base, self.folder("ca"), database)

    @property
    def one_core(self) -> set[int]:
        """The processor for a server that is to have one; the load runs on another, where there is another."""
        return {min(os.sched_getaffinity(0))}

    def load(self, load: Load) -> Outcome:
        """Run a load for at most this run's time."""
        return self.whole_load(replace(load, seconds=min(load.seconds, self.sizes.seconds)))

    def whole_load(self, load: Load) -> Outcome:
        """Run a load to its own end, for what has to be done before something is measured."""
        processors = os.sched_getaffinity(0)
        return run(load, max(processors) if len(processors) > 1 else None)

    @contextmanager
    def server(self, place: Place, processors: set[int] | None = None) -> Iterator[Server]:
        """The server of *place*, ready and at rest."""
        with Server(place, processors) as server:
            server.wait_for_answer(place.http, self.first_question(place), OCSP_SUCCESSFUL)
            server.wait_for_port(place.https)
            # What a server does once after its start, beside answering, is not what is measured.
            time.sleep(_SETTLING)
            yield server

    def first_question(self, place: Place) -> bytes:
        """An OCSP request that every copy of the CA can answer."""
        return ocsp_posts(place.issuer(), [self.base.samples["valid"]], close=True)[0]

    def serials(self, place: Place, most: int) -> list[int]:
        """Serials of valid certificates that were issued by EST."""
        return [serial for _, serial in serials(place.database, most)]


def milliseconds(seconds: float) -> float:
    """For people."""
    return seconds * 1000
