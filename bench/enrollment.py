"""The rows about enrolling: EST and SCEP."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.figures import Figure, median_of
from bench.load import Load
from bench.messages import SCEP_SUCCESS, SCEPDevices, est_requests, p256_requests, rsa_keys, rsa_requests
from bench.peers import installed, scepserver
from bench.run import Run

_PEER = "scepserver"
_CONNECTIONS = 32
# scepserver gives one serial number to several at once, and then fails: it is asked by few.
_PEER_CONNECTIONS = (1, 4)
_ISSUED = b"MII"


def measure_est(run: Run) -> list[Figure]:
    """EST with HTTP Basic over TLS; every answer follows the commit of its certificate."""
    count, repeats = run.sizes.enrollments, run.sizes.repeats
    keys = rsa_keys(run.data, run.sizes.keys)
    kinds: list[tuple[str, Callable[[str], list[bytes]], float]] = [
        ("P-256", lambda prefix: p256_requests(count, prefix), 2000),
        ("RSA-2048", lambda prefix: rsa_requests(keys, count, prefix), 2000),
    ]
    place = run.place()
    figures = []
    with run.server(place):
        # Once, so that the password is known: it takes long on purpose.
        run.load(est_load(place.https, est_requests(p256_requests(2, "first"), place.basic)))
        for kind, make, goal in kinds:
            batches = [est_requests(make(f"est{batch}"), place.basic) for batch in range(repeats)]
            (rate,) = median_of(repeats, each(run, [est_load(place.https, batch) for batch in batches]))
            work = f"EST enroll, {kind}, keep-alive TLS, durable"
            figures.append(Figure("est", work, rate, "/s", least=400, goal=goal))
    return figures


def measure_scep(run: Run) -> list[Figure]:
    """SCEP without challenge passwords, RSA-2048 throughout."""
    count, repeats = run.sizes.enrollments // 2, run.sizes.repeats
    work = "SCEP enroll, RSA-2048, durable"
    devices = SCEPDevices(rsa_keys(run.data, run.sizes.keys))
    place = run.place()
    missing = "" if installed(_PEER) else "scepserver not installed"
    if not run.isolated:
        missing = "peer needs a network namespace"
    with run.server(place) as server:
        server.wait_for_port(place.scep)
        authority = _authority(place.scep)
        batches = [devices.requests(authority, count, "/scep") for _ in range(repeats)]
        ours = each(run, [_scep_load(place.scep, batch) for batch in batches])
        theirs = None
        if missing:
            (rate,) = median_of(repeats, ours)
        else:
            peer, port = scepserver(run.folder("scepserver"))
            with peer:
                peer.wait_for_port(port)
                authority = _authority(port)
                few = [[devices.requests(authority, count, "/scep") for _ in range(repeats)] for _ in _PEER_CONNECTIONS]
                loads = [
                    [replace(_scep_load(port, batch), connections=number, tolerant=True) for batch in batches]
                    for number, batches in zip(_PEER_CONNECTIONS, few, strict=True)
                ]
                rate, *rates = median_of(repeats, ours, *(each(run, one) for one in loads))
                theirs = max(rates)
    return [Figure("scep", work, rate, "/s", theirs, _PEER, least=0.5, goal=1.5, note=missing)]


def each(run: Run, loads: Sequence[Load]) -> Callable[[], float]:
    """One load after the other: no request is asked twice."""
    rest = iter(loads)
    return lambda: run.load(next(rest)).rate


def est_load(port: int, requests: list[bytes]) -> Load:
    return Load(port, requests, _CONNECTIONS, len(requests), 60.0, tls=True, repeat=False, expect=_ISSUED)


def _scep_load(port: int, requests: list[bytes]) -> Load:
    return Load(port, requests, _CONNECTIONS // 2, len(requests), 60.0, repeat=False, expect=SCEP_SUCCESS)


def _authority(port: int) -> bytes:
    """The certificate that messages are encrypted for."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/scep?operation=GetCACert")
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"GetCACert on port {port} was answered with {answer.status}")
    return content
