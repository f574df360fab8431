"""The rows about what is stored: nothing may grow with it but the start."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

from bench.figures import Figure, median_of, same
from bench.load import Load
from bench.messages import OCSP_SUCCESSFUL, ocsp_posts
from bench.place import Place
from bench.rest import REST
from bench.run import Run, milliseconds
from bench.server import Server

_PAGES = {
    "first page": "limit=25",
    "by name": "limit=25&sort=common_name",
    "valid": "limit=25&status=valid",
    "expired": "limit=25&status=expired",
    "method": "limit=25&method=EST",
    "search": "limit=25&q=device-0000012",
}
_DEEP = 20
_LOOKS = 30


def measure_growth(run: Run) -> list[Figure]:
    """OCSP for certificates that were not asked for before, and pages of the list of certificates.

    Both servers run, and are asked in turns: what disturbs the machine disturbs them both.
    """
    small, large = run.sizes.few, run.sizes.stored
    works: dict[str, list[Callable[[], float]]] = {}
    served = True
    with ExitStack() as stack:
        for count in (small, large):
            place = run.place(count)
            stack.enter_context(run.server(place))
            rest = stack.enter_context(REST(place))
            works.setdefault("OCSP p99, not asked before", []).append(_ocsp(run, place))
            served = served and rest.serves("/api/v1/certificates?limit=1")
            if served:
                for work, query in _queries(rest).items():
                    works.setdefault(f"list, {work}", []).append(_looking(rest, query))
        found = {work: median_of(run.sizes.repeats, *measures) for work, measures in works.items()}
    name = f"with {small:,}"
    figures = [
        same("growth", f"{work}, {large:,} stored", "ms", many, few, name) for work, (few, many) in found.items()
    ]
    if not served:
        figures.append(Figure("growth", "list of certificates", None, "ms", note="REST is not served"))
    return figures


def _ocsp(run: Run, place: Place) -> Callable[[], float]:
    count = min(1000, run.sizes.few // 4)
    issuer = place.issuer()

    def p99() -> float:
        requests = ocsp_posts(issuer, run.serials(place, count))
        load = Load(place.http, requests, 2, count, 60.0, repeat=False, expect=OCSP_SUCCESSFUL)
        return milliseconds(run.load(load).p99)

    return p99


def _queries(rest: REST) -> dict[str, str]:
    cursor = None
    for _ in range(_DEEP - 1):
        query = "limit=25" + (f"&cursor={cursor}" if cursor else "")
        cursor = json.loads(rest.get(f"/api/v1/certificates?{query}"))["next_cursor"]
    return {**_PAGES, f"page {_DEEP}": f"limit=25&cursor={cursor}"}


def _looking(rest: REST, query: str) -> Callable[[], float]:
    def look() -> float:
        times = []
        for _ in range(_LOOKS):
            begun = time.perf_counter()
            rest.get(f"/api/v1/certificates?{query}")
            times.append(milliseconds(time.perf_counter() - begun))
        return statistics.median(times)

    return look


def measure_start(run: Run) -> list[Figure]:
    """From ``twistd`` to the first answer, and what the process then holds in memory."""
    count = run.sizes.stored
    place = run.place(count)
    question = run.first_question(place)
    memory: list[float] = []

    def start() -> float:
        with Server(place) as server:
            seconds = server.wait_for_answer(place.http, question, OCSP_SUCCESSFUL)
            # What is done once at the start, beside answering, is done by then.
            time.sleep(1.5)
            memory.append(server.memory()[0])
        return seconds

    (seconds,) = median_of(run.sizes.repeats, start)
    stored = f"{count:,} stored"
    return [
        Figure("start", f"start to first answer, {stored}", seconds, "s", least=3, goal=1.5, rising=False),
        Figure(
            *("start", f"resident memory, {stored}", statistics.median(memory), "MB"),
            least=250,
            goal=150,
            rising=False,
        ),
    ]
