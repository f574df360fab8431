"""Previews as JSON (RA-3)."""

from __future__ import annotations

from dataclasses import dataclass

from pikachu.core.errors import PikachuError
from pikachu.ra.preview import Asked, Given, Preview
from pikachu.web.errors import problem_of


@dataclass(frozen=True, slots=True)
class Refusal:
    """What signing would be answered with."""

    status: int
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class PreviewDocument:
    """What a request asks for, and what would be given; ``given`` is null where that is refused or decided."""

    asked: Asked
    given: Given | None
    refusal: Refusal | None


def preview_document(preview: Preview) -> PreviewDocument:
    """A preview as it is sent."""
    refusal = None if preview.refusal is None else _refusal(preview.refusal)
    return PreviewDocument(preview.asked, preview.given, refusal)


def _refusal(error: PikachuError) -> Refusal:
    problem = problem_of(error)
    return Refusal(int(problem.status), problem.title, error.public)
