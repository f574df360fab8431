"""Previews as JSON (RA-3)."""

from __future__ import annotations

from dataclasses import dataclass

from pikachu.core.errors import PikachuError
from pikachu.core.model.lint import Finding
from pikachu.ra.preview import Asked, Given, Preview
from pikachu.web.errors import problem_of


@dataclass(frozen=True, slots=True)
class Refusal:
    """The problem that signing would return; ``findings`` are the errors of lint."""

    status: int
    title: str
    detail: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class PreviewDocument:
    """The requested and the resulting certificate; ``given`` is null when issuance is refused or already decided."""

    asked: Asked
    given: Given | None
    refusal: Refusal | None


def preview_document(preview: Preview) -> PreviewDocument:
    """Return a preview as its document."""
    refusal = None if preview.refusal is None else _refusal(preview.refusal, preview.refusal_findings)
    return PreviewDocument(preview.asked, preview.given, refusal)


def _refusal(error: PikachuError, findings: tuple[Finding, ...]) -> Refusal:
    problem = problem_of(error)
    return Refusal(int(problem.status), problem.title, problem.detail, findings)
