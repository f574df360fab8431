"""pkilint in a process of its own: what it finds, and programs that never answer, end, or answer nonsense."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.model.lint import NOT_FINISHED, Severity
from pikachu.lint.linter import Pkilint, installed_linter
from pikachu.x509 import der
from tests.support.pki import make_ca, make_leaf


@pytest.fixture(scope="module")
def linter() -> Iterator[Pkilint]:
    linter = installed_linter()
    assert linter is not None
    yield linter
    linter.close()


def test_names_that_are_valid(linter: Pkilint) -> None:
    """pkilint knows the names of the public Internet only; those that RFC 5280 allows are no errors."""
    sans = ["DNS:device-1", "DNS:*.example.com", "URI:urn:uuid:1", "URI:http://ca:8090/x", "email:a@host"]
    found = linter.lint([make_leaf(make_ca("p256", "CA"), "x", sans=sans).der])
    assert linter.name.startswith("pkilint ")
    assert [one.severity for one in found if "invalid" in one.code] == [Severity.NOTICE] * 5
    assert not [one for one in found if one.severity is Severity.ERROR]


@pytest.mark.parametrize(
    "certificate",
    [b"", b"no certificate", der.sequence(der.null()), b"\x30\x80" * 5000, b"\x30\x84\xff\xff\xff\xff"],
)
def test_what_it_can_t_read(linter: Pkilint, certificate: bytes) -> None:
    """It raises for that; the next certificate is linted all the same."""
    good = make_leaf(make_ca("p256", "CA"), "x").der
    (raised, *_) = [one for one in linter.lint([certificate, good]) if one.severity is Severity.ERROR]
    assert raised.code == NOT_FINISHED
    assert not [one for one in linter.lint([good]) if one.severity is Severity.ERROR]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time\ntime.sleep(60)", "longer than 1 seconds"),
        ("while True: pass", "longer than 1 seconds"),
        ("import sys\nsys.stdin.readline()\nsys.exit(3)", "the status 3"),
        ("import sys\nsys.exit(1)", "ended"),
        (
            """
            import resource, sys
            resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
            sys.stdin.readline()
            bytearray(1 << 29)
            """,
            "the status 1",
        ),
        ("import sys\nsys.stdin.readline()\nprint('nonsense')", "no answer that can be read"),
    ],
)
def test_programs_that_do_not_finish(tmp_path: Path, program: str, reason: str) -> None:
    """An error among the findings, and the next lint has a process again."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(program))
    linter = Pkilint("0", 1, path)
    for _ in range(2):
        (found,) = linter.lint([b"x"])
        assert (found.severity, found.code) == (Severity.ERROR, NOT_FINISHED)
        assert reason in found.message
    path.write_text("import sys\nfor line in sys.stdin: print('[]', flush=True)")
    assert linter.lint([b"x"]) == ()
    assert linter.lint([b"x"]) == ()
    linter.close()
