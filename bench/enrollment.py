"""The rows about enrolling: EST and SCEP."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from bench.figures import Figure, median_of
from bench.load import Load, addresses
from bench.messages import SCEP_SUCCESS, SCEPDevices, est_requests, p256_requests, rsa_keys, rsa_requests
from bench.openbao import NAME as OPENBAO
from bench.openbao import OpenBao, missing_openbao, openbao
from bench.peers import installed, scepserver
from bench.place import Place, enrolled_client
from bench.run import Run, milliseconds

_PEER = "scepserver"
_CONNECTIONS = 32
_MANY_CONNECTIONS = (32, 256)
_ADDRESSES = 8
# scepserver gives one serial number to several at once, and then fails: it is asked by few.
_PEER_CONNECTIONS = (1, 4)
_ISSUED = b"MII"


def measure_est(run: Run) -> list[Figure]:
    """EST over TLS; every answer follows the commit of its certificate, as OpenBao's do."""
    place = run.place()
    text = place.config.read_text()
    place.config.write_text(text.replace("[HTTPS]\n", "[HTTPS]\nrequest_client_certificate = true\n"))
    with run.server(place), ExitStack() as stack:
        # Once, so that the password is known: it takes long on purpose.
        run.load(est_load(place.https, est_requests(p256_requests(2, "first"), place.basic)))
        peer = None if missing_openbao() else stack.enter_context(openbao(run))
        return [
            _kept(run, place, peer),
            _rsa(run, place),
            _handshakes(run, place, peer),
            *(_slowest(run, place, connections) for connections in _MANY_CONNECTIONS),
        ]


def _kept(run: Run, place: Place, peer: OpenBao | None) -> Figure:
    """Enroll with HTTP Basic over kept connections."""
    csrs = _batches(run, "est")
    ours = [est_load(place.https, est_requests(batch, place.basic)) for batch in csrs]
    theirs = None if peer is None else [peer.load(batch, _CONNECTIONS) for batch in csrs]
    return _beside("EST enroll, P-256, keep-alive TLS, durable", run, ours, theirs, goal=2)


def _rsa(run: Run, place: Place) -> Figure:
    """Enroll RSA keys with HTTP Basic over kept connections."""
    keys = rsa_keys(run.data, run.sizes.keys)
    count, repeats = run.sizes.enrollments, run.sizes.repeats
    batches = [est_requests(rsa_requests(keys, count, f"est{batch}"), place.basic) for batch in range(repeats)]
    (rate,) = median_of(repeats, each(run, [est_load(place.https, batch) for batch in batches]))
    return Figure("est", "EST enroll, RSA-2048, keep-alive TLS, durable", rate, "/s", least=400, goal=2000)


def _handshakes(run: Run, place: Place, peer: OpenBao | None) -> Figure:
    """Enroll with a client certificate, with a connection and a full TLS handshake for each."""
    client, csrs = enrolled_client(place), _batches(run, "tls")
    loads = [est_load(place.https, est_requests(batch, close=True)) for batch in csrs]
    ours = [replace(load, reconnect=True, client=str(client)) for load in loads]
    theirs = None if peer is None else [peer.load(batch, _CONNECTIONS, close=True) for batch in csrs]
    return _beside("EST enroll, P-256, client certificate, a TLS handshake each", run, ours, theirs, goal=1.5)


def _slowest(run: Run, place: Place, connections: int) -> Figure:
    """Compare the slowest hundredth of enrollments with their median."""
    count = max(run.sizes.enrollments, 3 * connections)
    ratios, tails, medians = [], [], []
    for number in range(run.sizes.repeats):
        csrs = p256_requests(count, f"slow{connections}-{number}")
        load = est_load(place.https, est_requests(csrs, place.basic))
        # One address may not hold as many connections before it has authenticated.
        outcome = run.load(replace(load, connections=connections, sources=addresses(_ADDRESSES)))
        tails.append(milliseconds(outcome.p99))
        medians.append(milliseconds(outcome.median))
        ratios.append(outcome.p99 / outcome.median)
    work = f"EST, slowest hundredth, {connections} connections"
    middle = sorted(range(len(ratios)), key=ratios.__getitem__)[len(ratios) // 2]
    name = "their median"
    return Figure("est", work, tails[middle], "ms", medians[middle], name, least=4, goal=2.5, rising=False)


def _batches(run: Run, prefix: str) -> list[list[bytes]]:
    return [p256_requests(run.sizes.enrollments, f"{prefix}{number}") for number in range(run.sizes.repeats)]


def _beside(work: str, run: Run, ours: Sequence[Load], theirs: Sequence[Load] | None, *, goal: float) -> Figure:
    """Measure in turns with the peer, which stores its certificates on the disk, too."""
    sides = [ours] if theirs is None else [ours, theirs]
    rate, *peer_rates = median_of(run.sizes.repeats, *(each(run, side) for side in sides))
    peer_rate = peer_rates[0] if peer_rates else None
    return Figure("est", work, rate, "/s", peer_rate, OPENBAO, least=1, goal=goal, note=missing_openbao())


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
    return [Figure("scep", work, rate, "/s", theirs, _PEER, least=2, goal=3, note=missing)]


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
