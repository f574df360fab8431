"""The rows about revoking: CRLs, and how soon OCSP tells of a revocation."""

from __future__ import annotations

import json
import secrets
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from bench.figures import Figure, median_of
from bench.fill import serials
from bench.messages import ocsp_posts
from bench.peers import installed, openssl_crl, openssl_folder
from bench.place import CHECKOUT, Place
from bench.rest import REST
from bench.run import Run, milliseconds

_PEER = "openssl ca -gencrl"
_SPARE = 500
_FEW = 10
# Long enough for CRLs to be made in between, short enough for some revocations to meet one being made.
_PAUSE = 0.2


def measure_crls(run: Run) -> list[Figure]:
    """Making, signing and publishing a CRL, in DER and PEM, against the time that OpenSSL needs for its PEM."""
    figures = []
    for count in run.sizes.lists:
        place = run.place(count + _SPARE, count)
        first: list[float] = []
        following: list[float] = []

        def ours(place: Place = place, first: list[float] = first, following: list[float] = following) -> float:
            seconds = _make(place)
            first.append(milliseconds(seconds["first"]))
            following.append(milliseconds(seconds["following"]))
            return first[-1]

        peer = None
        if installed("openssl"):
            folder = run.folder("openssl")
            openssl_folder(folder, (), (secrets.randbits(158) | 1 << 157 for _ in range(count)))

            def theirs(folder: Path = folder) -> float:
                return milliseconds(openssl_crl(folder))

            _, peer = median_of(run.sizes.repeats, ours, theirs)
        else:
            median_of(run.sizes.repeats, ours)
        note = "" if peer is not None else "openssl not installed"
        for work, values in (("in a running server", following), ("from the database", first)):
            figures.append(
                Figure(
                    *("crl", f"CRL of {count:,} revoked, {work}", statistics.median(values), "ms", peer, _PEER),
                    least=1 / 5,
                    goal=1 / 9,
                    rising=False,
                    note=note,
                )
            )
    return figures


def _make(place: Place) -> dict[str, float]:
    spare = serials(place.database, 1, _SPARE)[0][1]
    ended = subprocess.run(
        [sys.executable, "-m", "bench.crl", str(place.config), f"{spare:x}"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=300,
    )
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def measure_revocation(run: Run) -> list[Figure]:
    """From the beginning of a revocation by REST until OCSP says revoked, while CRLs are made beside it."""
    many = run.sizes.lists[-1]
    with ExitStack() as stack:
        sides = []
        for count in (_FEW, many):
            place = run.place(count + _SPARE, count)
            stack.enter_context(run.server(place))
            rest = stack.enter_context(REST(place))
            sides.append((place, rest, serials(place.database, run.sizes.revocations, _SPARE), list[float]()))
        if not rest.serves("/api/v1/certificates?limit=1"):
            return [Figure("revocation", "revocation until OCSP tells", None, "ms", note="REST is not served")]
        for number in range(run.sizes.revocations):
            for place, rest, chosen, times in sides:
                times.append(_revoke(place, rest, *chosen[number]))
                time.sleep(_PAUSE)
    small, large = (times for *_, times in sides)
    name = f"with {_FEW} revoked"
    work = f"revocation until OCSP tells, {many:,} revoked"
    return [
        Figure(
            *("revocation", f"{work}, median", statistics.median(large), "ms", statistics.median(small), name),
            least=1.2,
            goal=1.1,
            rising=False,
        ),
        Figure(
            *("revocation", f"{work}, slowest", max(large), "ms", max(small), name), least=2, goal=1.5, rising=False
        ),
    ]


def _revoke(place: Place, rest: REST, identity: int, serial: int) -> float:
    question = ocsp_posts(place.issuer(), [serial])[0]
    before = rest.plain(question)
    begun = time.perf_counter()
    rest.post(f"/api/v1/certificates/{identity}/revocation", {"reason": "superseded"})
    after = rest.plain(question)
    taken = time.perf_counter() - begun
    # An answer that tells of a revocation is longer by its time and reason.
    if len(after) < len(before) + 10:
        raise RuntimeError("OCSP does not tell of a revocation that REST has acknowledged")
    return milliseconds(taken)
