"""The row about nodes: two on one PostgreSQL against one."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bench.enrollment import est_load
from bench.figures import Figure, median_of
from bench.load import Load
from bench.messages import est_requests, p256_requests
from bench.peers import installed
from bench.place import ACCOUNT, Place, pikachu
from bench.run import Run
from tests.support.postgresql import PostgreSQL, postgresql_folder

_PEER = "one node"
#: The least ratio, and the one where there are as many processors as two nodes, the database and the load can use.
_LEAST, _LEAST_OF_MANY = 0.9, 1.3
_MANY = 4


def missing_postgresql() -> str:
    """Return the note of rows that PostgreSQL is missing for, or nothing."""
    is_here = installed("initdb") or glob.glob("/usr/lib/postgresql/*/bin/initdb")
    return "" if is_here else "postgresql not installed"


@contextmanager
def _node_places(run: Run) -> Iterator[tuple[Place, Place]]:
    """Two nodes of one CA, on a PostgreSQL that waits for its disk."""
    with postgresql_folder() as folder:
        database = PostgreSQL(folder)
        database.create()
        database.start("")
        try:
            places = run.place(), run.place()
            url = database.url(database.new_database())
            for place in places:
                place.config.write_text(f"{place.config.read_text()}[DATABASE]\nurl = {url}\n")
            first, password = places[0].config, str(places[0].folder / "password")
            pikachu(first, "init", "--admin-password-file", password)
            email = f"{ACCOUNT}@bench.example"
            pikachu(first, "user", "add", ACCOUNT, "--email", email, "--role", "admin", "--password-file", password)
            yield places
        finally:
            database.stop("fast")


def measure_nodes(run: Run) -> list[Figure]:
    """EST at two nodes, each with half of the connections, and at one of them while it is alone."""
    cores = len(os.sched_getaffinity(0))
    least = _LEAST_OF_MANY if cores >= _MANY else _LEAST
    work, note = "EST enroll, P-256, two nodes on PostgreSQL, durable", missing_postgresql()
    if note:
        return [Figure("nodes", work, None, "/s", None, _PEER, least=least, note=note)]
    count, repeats = run.sizes.enrollments, run.sizes.repeats
    with _node_places(run) as (first, second), run.server(first):
        requests = iter(
            [est_requests(p256_requests(count, f"node{batch}"), first.basic) for batch in range(2 * repeats)]
        )

        def alone() -> float:
            return run.load(est_load(first.https, next(requests))).rate

        def together() -> float:
            with run.server(second):
                _warm_up(run, second)
                both: Load = replace(est_load(first.https, next(requests)), more_ports=(second.https,))
                return run.load(both).rate

        _warm_up(run, first)
        one, two = median_of(repeats, alone, together)
    return [Figure("nodes", work, two, "/s", one, _PEER, least=least)]


def _warm_up(run: Run, place: Place) -> None:
    """Enroll once, so that the password is known."""
    run.load(est_load(place.https, est_requests(p256_requests(2, f"first-{place.https}"), place.basic)))
