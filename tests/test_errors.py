"""docs/errors.md is the tables of the outlets: every class of failure, at every outlet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.errors import PikachuError, entry_of
from pikachu.protocols.download import download_resource as download
from pikachu.protocols.est import resource as est
from pikachu.protocols.ocsp import resource as ocsp
from pikachu.protocols.scep import server as scep
from pikachu.web.errors import OUTCOMES

DOCUMENT = Path(__file__).parent.parent / "docs" / "errors.md"
COLUMNS = ["Class", "REST, pages", "EST", "SCEP", "OCSP", "Downloads"]


def classes(of: type[PikachuError] = PikachuError) -> Iterator[type[PikachuError]]:
    """A class and all below it."""
    yield of
    for below in of.__subclasses__():
        if below.__module__ == "pikachu.core.errors":
            yield from classes(below)


def row(kind: type[PikachuError]) -> list[str]:
    """Return an error class's outcome in each protocol."""
    error = kind.__new__(kind)
    return [
        kind.__name__,
        str(entry_of(error, OUTCOMES).status),
        str(entry_of(error, est.STATUSES)),
        entry_of(error, scep.FAIL_INFO).name,
        entry_of(error, ocsp.STATUSES).name,
        str(entry_of(error, download.STATUSES)),
    ]


def documented() -> dict[str, list[str]]:
    """The rows of the table in the document."""
    rows = re.findall(r"^\| (\w+) \| (.*) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: [name, *cells.split(" | ")] for name, cells in rows if name != "Class"}


@pytest.mark.parametrize("kind", list(classes()), ids=lambda kind: kind.__name__)
def test_the_document_tells_what_the_outlets_do(kind: type[PikachuError]) -> None:
    """A class without a row, or with another answer than the code's, fails."""
    assert documented().get(kind.__name__) == row(kind), "| " + " | ".join(row(kind)) + " |"


def test_the_document_has_no_other_rows() -> None:
    """A class that was removed leaves the document too."""
    assert set(documented()) == {kind.__name__ for kind in classes()}
