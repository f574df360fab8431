"""The number of modules between the bytes of an EST request and its stored certificate."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from tests.support.est import EST, est_server
from tests.support.pki import make_csr, make_key
from tests.test_architecture import layer, within

MAX_MODULES = 20


def modules_run(send: Callable[[], object]) -> list[str]:
    """Return the modules in the order in which *send* runs them: from the EST resource until the row is written."""
    modules: dict[str, None] = {}

    def trace(frame: FrameType, event: str, argument: object) -> None:
        code, module = frame.f_code, str(frame.f_globals.get("__name__"))
        if event == "call" and within(module, "pikachu"):
            if modules or module == "pikachu.protocols.est.resource":
                modules[module] = None
        elif event == "return" and code.co_name == "complete" and module == "pikachu.storage.issuance":
            sys.setprofile(None)

    sys.setprofile(trace)
    try:
        send()
    finally:
        sys.setprofile(None)
    return list(modules)


def with_password(est: EST) -> Callable[[], object]:
    """Return simpleenroll with HTTP Basic."""
    est.account("alice")
    csr = make_csr()[1]
    return lambda: est.certificate(est.enroll(csr, user="alice"))


def with_challenge(est: EST) -> Callable[[], object]:
    """Return simpleenroll with a challenge password."""
    csr = make_csr(challenge=est.challenge(est.account("alice")))[1]
    return lambda: est.certificate(est.enroll(csr))


def with_certificate(est: EST) -> Callable[[], object]:
    """Return simpleenroll with a client certificate."""
    tls = est.connect(est.identity())
    csr = make_csr(key=make_key("p256", 2))[1]
    return lambda: est.certificate(est.enroll(csr, tls=tls))


@pytest.mark.parametrize("prepare", [with_password, with_challenge, with_certificate])
def test_an_enrollment_runs_through_few_modules(tmp_path: Path, prepare: Callable[[EST], Callable[[], object]]) -> None:
    """The first request after the start: every module that is called is counted, if it decides, waits or writes.

    That is all from layer 3 up, apart from the HTTP server and the composition; the layers below are pure functions and
    values, which can be read one by one.
    """
    with est_server(tmp_path) as est:
        modules = modules_run(prepare(est))
    others = ("pikachu.http", "pikachu.server")
    steps = [name for name in modules if layer(name) >= 3 and not any(within(name, package) for package in others)]
    assert {"pikachu.ra.enrollment", "pikachu.ca.issuance", "pikachu.storage.issuance"} <= set(steps)
    advice = "merge two, or move what is pure into core or x509"
    assert len(steps) <= MAX_MODULES, f"{len(steps)} modules ({advice}): {', '.join(steps)}"
