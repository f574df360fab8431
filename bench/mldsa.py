"""The rows about ML-DSA-65, beside P-256."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing

from cryptography.hazmat.primitives.asymmetric import mldsa

from bench.enrollment import each, est_load
from bench.figures import Figure, median_of
from bench.messages import certificate_request, est_requests, ocsp_posts, p256_requests
from bench.place import Place, add_mldsa
from bench.run import Run
from bench.status import ocsp_load, rate_of

_P256 = "P-256"
# An answer with ML-DSA signatures takes six kilobytes.
_ASKED = 200
_NONCES = 4000


def measure_mldsa(run: Run) -> list[Figure]:
    """Enroll ML-DSA-65 keys at an ML-DSA-65 CA, and ask for their status; the same with P-256."""
    rates: list[dict[str, Callable[[], float]]] = []
    with ExitStack() as stack:
        for issuer, csrs in (("mldsa", _mldsa_requests), ("ec", p256_requests)):
            place = run.place()
            if issuer == "mldsa":
                add_mldsa(place)
            stack.enter_context(run.server(place))
            rates.append(_measures(run, place, issuer, csrs))
        measured = median_of(run.sizes.repeats, *(measure for side in rates for measure in side.values()))
    works = list(rates[0])
    return [
        Figure("mldsa", f"{work}, ML-DSA-65", ours, "/s", theirs, _P256)
        for work, ours, theirs in zip(works, measured, measured[len(works) :], strict=False)
    ]


def _measures(
    run: Run, place: Place, issuer: str, csrs: Callable[[int, str], list[bytes]]
) -> dict[str, Callable[[], float]]:
    """Return what measures each work at the running server of *place*."""
    # Certificates to ask about, and the password, which takes long once.
    run.whole_load(est_load(place.https, est_requests(csrs(_ASKED, "asked"), place.basic)))
    serials = _serials(place, "asked")
    batches = [csrs(run.sizes.enrollments, f"{issuer}{number}") for number in range(run.sizes.repeats)]
    ca = place.issuer(issuer)
    ahead = ocsp_posts(ca, serials)
    run.whole_load(ocsp_load(place.http, ahead, most=len(ahead)))
    nonces = ocsp_posts(ca, (serials * (_NONCES // len(serials)))[:_NONCES], nonce=True)
    return {
        "EST enroll, keep-alive TLS, durable": each(
            run, [est_load(place.https, est_requests(batch, place.basic)) for batch in batches]
        ),
        "OCSP signed ahead, keep-alive": rate_of(run, ocsp_load(place.http, ahead)),
        "OCSP with nonce, keep-alive": rate_of(run, ocsp_load(place.http, nonces)),
    }


def _mldsa_requests(count: int, prefix: str) -> list[bytes]:
    """Return PKCS #10 for distinct ML-DSA-65 keys and names."""
    names = (f"{prefix}-{number:06}.bench.example" for number in range(count))
    return [certificate_request(mldsa.MLDSA65PrivateKey.generate(), name, [name]) for name in names]


def _serials(place: Place, prefix: str) -> list[int]:
    with closing(sqlite3.connect(f"file:{place.database}?mode=ro", uri=True)) as database:
        query = "SELECT serial FROM certificates WHERE common_name LIKE ?"
        return [int(row[0], 16) for row in database.execute(query, (f"{prefix}-%",))]
