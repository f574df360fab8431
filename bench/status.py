"""The rows about OCSP: signed ahead, and with a nonce."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from bench.figures import Figure, median_of
from bench.load import Load
from bench.messages import OCSP_SUCCESSFUL, ocsp_gets, ocsp_posts
from bench.peers import installed, openssl_folder, openssl_ocsp
from bench.run import Run
from tests.support.ports import free_port

_PEER = "openssl ocsp"
_ASKED = 500
_CONNECTIONS = 32
_MOST = 400_000
# The least ratio and the goal of some ways to ask.
_BOUNDS = {"POST, keep-alive": (1.2, 3), "POST, a connection a request": (1.3, 1.8)}


def measure_ocsp(run: Run) -> list[Figure]:
    """Answers that were signed before; the peer signs each, and closes each connection."""
    ways = {
        "POST, keep-alive": (ocsp_posts, False),
        "GET, keep-alive": (ocsp_gets, False),
        "POST, a connection a request": (ocsp_posts, True),
        "GET, a connection a request": (ocsp_gets, True),
    }
    place = run.place(run.sizes.few)
    issuer, serials = place.issuer(), run.serials(place, _ASKED)
    with run.server(place, run.one_core), _Peer(run, nonce=False) as peer:
        # Every answer once, so that it is signed.
        run.whole_load(ocsp_load(place.http, ocsp_posts(issuer, serials), most=len(serials)))
        measures = [
            rate_of(run, ocsp_load(place.http, make(issuer, serials, close=close), reconnect=close))
            for make, close in ways.values()
        ]
        measured = median_of(run.sizes.repeats, *measures, *peer.measures)
    theirs = dict(zip(("POST", "GET"), measured[len(ways) :], strict=False))
    figures = []
    for way, rate in zip(ways, measured, strict=False):
        work, against = f"OCSP signed ahead, {way}", theirs.get(way.partition(",")[0])
        least, goal = _BOUNDS.get(way, (None, None))
        figures.append(Figure("ocsp", work, rate, "/s", against, _PEER, least=least, goal=goal, note=peer.note))
    return figures


def measure_nonce(run: Run) -> list[Figure]:
    """Answers that are signed while the client waits, with a key on P-256."""
    place = run.place(run.sizes.few)
    issuer = place.issuer()
    count = max(2000, int(8000 * run.sizes.seconds))
    serials = run.serials(place, _ASKED)
    asked = [secrets.choice(serials) for _ in range(count)]
    kept = ocsp_posts(issuer, asked, nonce=True)
    closed = ocsp_posts(issuer, asked, nonce=True, close=True)
    with run.server(place, run.one_core), _Peer(run, nonce=True) as peer:
        # Every status once, so that the database is not what is measured.
        run.whole_load(ocsp_load(place.http, ocsp_posts(issuer, serials, nonce=True), most=len(serials)))
        measures = [
            rate_of(run, ocsp_load(place.http, kept)),
            rate_of(run, ocsp_load(place.http, closed, reconnect=True)),
        ]
        ours, ours_closed, *theirs = median_of(run.sizes.repeats, *measures, *peer.measures)
    work = "OCSP with nonce, P-256, POST"
    against = theirs[0] if theirs else None
    return [
        Figure("ocsp-nonce", f"{work}, {way}", rate, "/s", against, _PEER, least=least, goal=goal, note=peer.note)
        for way, rate, least, goal in (
            ("keep-alive", ours, 1.2, 1.6),
            ("a connection a request", ours_closed, 0.8, 1.0),
        )
    ]


def ocsp_load(port: int, requests: list[bytes], *, most: int = _MOST, reconnect: bool = False) -> Load:
    """OCSP requests over several connections."""
    return Load(port, requests, _CONNECTIONS, most, 60.0, reconnect=reconnect, expect=OCSP_SUCCESSFUL)


def rate_of(run: Run, load: Load) -> Callable[[], float]:
    """Return what measures the rate of *load*."""
    return lambda: run.load(load).rate


class _Peer:
    """``openssl ocsp`` with as many certificates, asked a connection a request."""

    def __init__(self, run: Run, *, nonce: bool) -> None:
        self.note = ""
        self.measures: list[Callable[[], float]] = []
        if not installed("openssl"):
            self.note = "openssl not installed"
        elif not run.isolated:
            self.note = "peer needs a network namespace"
        self._program = None
        if self.note:
            return
        serials = [secrets.randbits(158) | 1 << 157 for _ in range(run.sizes.few)]
        folder = run.folder("openssl")
        issuer = openssl_folder(folder, serials, ())
        self._port = free_port()
        self._program = openssl_ocsp(folder, self._port, run.one_core)
        asked = serials[:_ASKED]
        if nonce:
            asked = [secrets.choice(asked) for _ in range(5000)]
        posts = ocsp_posts(issuer, asked, "/", nonce=nonce, close=True)
        self._question = posts[0]
        self.measures = [rate_of(run, ocsp_load(self._port, posts, reconnect=True))]
        if not nonce:
            gets = ocsp_gets(issuer, asked, "/", close=True)
            self.measures.append(rate_of(run, ocsp_load(self._port, gets, reconnect=True)))

    def __enter__(self) -> _Peer:
        if self._program is not None:
            # Not by connecting only: a connection without a request makes it wait for ever.
            self._program.__enter__().wait_for_answer(self._port, self._question, OCSP_SUCCESSFUL)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._program is not None:
            self._program.__exit__(None, None, None)
