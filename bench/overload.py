"""The rows about load that comes all at once, and about memory under lasting load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from bench.burst import Burst, run_burst
from bench.enrollment import est_load
from bench.figures import Figure
from bench.load import Outcome, addresses
from bench.messages import est_requests, ocsp_posts, p256_requests
from bench.place import Place, enrolled_client
from bench.rest import REST
from bench.run import Run
from bench.status import ocsp_load

_ADDRESSES = 50
_ROUNDS = 6


def measure_burst(run: Run) -> list[Figure]:
    """Devices that all enroll at once, and what OCSP does meanwhile."""
    place = run.place(run.sizes.few)
    count = run.sizes.burst
    requests = est_requests(p256_requests(count, "burst"), close=True)
    serials = run.serials(place, 200)
    text = place.config.read_text()
    place.config.write_text(text.replace("[HTTPS]\n", "[HTTPS]\nrequest_client_certificate = true\n"))
    with run.server(place):
        clients = (str(enrolled_client(place)),)
        run.whole_load(ocsp_load(place.http, ocsp_posts(place.issuer(), serials), most=len(serials)))
        asking = ocsp_load(place.http, ocsp_posts(place.issuer(), serials))
        before = run.load(asking)
        beside: list[Outcome] = []
        thread = threading.Thread(target=lambda: beside.append(run.load(asking)))
        thread.start()
        outcome = run_burst(Burst(place.https, requests, clients, addresses(_ADDRESSES)))
        thread.join()
    if outcome.failed:
        raise RuntimeError(f"{outcome.failed} of {count} devices got neither a certificate nor 503: {outcome.failure}")
    work = f"burst of {count:,} devices from {_ADDRESSES} addresses"
    return [
        Figure("burst", f"{work}: served with one retry", 100 * outcome.served / count, "%", least=100),
        Figure("burst", f"{work}: served at once", 100 * outcome.first / count, "%"),
        Figure("burst", f"{work}: until all had their certificates", outcome.seconds, "s", rising=False),
        Figure("burst", f"OCSP during the {work}", beside[0].rate, "/s", before.rate, "before it", least=0.5),
    ]


def measure_mixed(run: Run) -> list[Figure]:
    """Resident memory after enrollments, OCSP and lists in turns, against the memory after the first of them."""
    place = run.place(run.sizes.few)
    with run.server(place) as server, REST(place) as rest:
        works = _works(run, place, rest)
        memory: list[float] = []
        end = time.perf_counter() + run.sizes.lasting
        while len(memory) < _ROUNDS or time.perf_counter() < end:
            for work in works:
                work(len(memory))
            memory.append(server.memory()[0])
    name = "after a third of it"
    return [
        Figure(
            *("mixed", "resident memory after a mixed load", memory[-1], "MB", memory[len(memory) // 3 - 1], name),
            least=1.1,
            rising=False,
        )
    ]


def _works(run: Run, place: Place, rest: REST) -> Sequence[Callable[[int], object]]:
    """Return the works of one round, each of which is told its number."""
    count, serials = run.sizes.enrollments, run.serials(place, 200)
    issuer = place.issuer()

    def enroll(number: int) -> None:
        run.load(est_load(place.https, est_requests(p256_requests(count, f"mixed{number}"), place.basic)))

    def ask(number: int) -> None:
        posts = ocsp_posts(issuer, serials, nonce=number % 2 == 1)
        run.load(ocsp_load(place.http, posts))

    def look(number: int) -> None:
        for page in range(10):
            rest.get(f"/api/v1/certificates?limit=100&q=device-{number}{page}")

    return enroll, ask, look
