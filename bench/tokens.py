"""The rows about keys that are not in files: OCSP with each kind, and enrolling with a key in a PKCS#11 token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.enrollment import each, est_load
from bench.figures import SAME, Figure, median_of
from bench.messages import est_requests, ocsp_posts, p256_requests
from bench.openbao import missing_openbao
from bench.peers import installed
from bench.place import Place
from bench.run import Run
from bench.status import ocsp_load, rate_of
from bench.vault import vault_place
from tests.support.softhsm import CONFIGURATION, SoftToken, find_library

_FILE = "key in a file"
_LABEL = "pikachu-ec"
_CERTIFICATES = 500
# Slower than with a file by no more than two runs of one program differ by.
_LEAST = 1 / SAME


def missing_token() -> str:
    """Return the note of rows that SoftHSM is missing for, or nothing."""
    return "" if installed("softhsm2-util") and find_library() is not None else "softhsm2 not installed"


def token_place(run: Run, certificates: int = 0) -> Place:
    """Make a CA that has issued so many, and whose EC key is in a token of SoftHSM."""
    module = find_library()
    if module is None:
        raise RuntimeError("libsofthsm2.so is not installed")
    place = run.place(certificates)
    token = SoftToken(place.folder / "softhsm", module)
    file = place.folder / "pki/ec.key"
    key = load_pem_private_key(file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RuntimeError(f"{file} has no EC key")
    token.import_key(key, _LABEL)
    file.unlink()
    section = "\n".join(f"{name} = {value}" for (_, name), value in token.settings(ec=_LABEL).items())
    place.config.write_text(f"{place.config.read_text()}[PKCS11]\n{section}\n")
    return replace(place, environment={CONFIGURATION: str(token.configuration)})


@contextmanager
def _in_vault(run: Run) -> Iterator[Place]:
    with vault_place(run, run.sizes.few) as (place, _):
        yield place


@contextmanager
def _in_token(run: Run) -> Iterator[Place]:
    yield token_place(run, run.sizes.few)


@contextmanager
def _in_file(run: Run) -> Iterator[Place]:
    yield run.place(run.sizes.few)


def measure_ocsp_keys(run: Run) -> list[Figure]:
    """Answers signed ahead by the issuing CA's own key (no responder's): in a file, in OpenBao, in a token."""
    homes = {
        _FILE: (_in_file, ""),
        "key in OpenBao": (_in_vault, missing_openbao()),
        "key in SoftHSM": (_in_token, missing_token()),
    }
    with ExitStack() as stack:
        measures: dict[str, Callable[[], float]] = {}
        for home, (make, note) in homes.items():
            if note:
                continue
            place = stack.enter_context(make(run))
            place.config.write_text(f"{place.config.read_text()}[OCSP]\nocsp_delegated = false\n")
            stack.enter_context(run.server(place, run.one_core))
            posts = ocsp_posts(place.issuer(), run.serials(place, _CERTIFICATES))
            run.whole_load(ocsp_load(place.http, posts, most=len(posts)))
            measures[home] = rate_of(run, ocsp_load(place.http, posts))
        rates = dict(zip(measures, median_of(run.sizes.repeats, *measures.values()), strict=True))
    figures = [Figure("ocsp-keys", f"OCSP signed ahead, {_FILE}", rates[_FILE], "/s")]
    for home, (_, note) in homes.items():
        if home != _FILE:
            work = f"OCSP signed ahead, {home}"
            figures.append(
                Figure("ocsp-keys", work, rates.get(home), "/s", rates[_FILE], _FILE, least=_LEAST, note=note)
            )
    return figures


def measure_token(run: Run) -> list[Figure]:
    """EST where a key in SoftHSM signs, next to one in a file."""
    work, note = "EST enroll, P-256, key in SoftHSM, durable", missing_token()
    if note:
        return [Figure("token", work, None, "/s", note=note)]
    count, repeats = run.sizes.enrollments, run.sizes.repeats
    with ExitStack() as stack:
        measures = []
        for place in (token_place(run), run.place()):
            stack.enter_context(run.server(place))
            run.load(est_load(place.https, est_requests(p256_requests(2, "first"), place.basic)))
            batches = [est_requests(p256_requests(count, f"token{batch}"), place.basic) for batch in range(repeats)]
            measures.append(each(run, [est_load(place.https, batch) for batch in batches]))
        ours, theirs = median_of(repeats, *measures)
    return [Figure("token", work, ours, "/s", theirs, _FILE)]
