"""Interface of linters of other projects (LNT-1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pikachu.core.model.lint import Finding


class ICertificateLinter(Protocol):
    """A linter of certificates."""

    @property
    def name(self) -> str:
        """Its name and version, such as ``pkilint 0.13.3``."""

    def lint(self, certificates: Sequence[bytes]) -> tuple[Finding, ...]:
        """Return the findings about DER certificates, each once.  Blocks: call it in a worker pool.

        A linter that does not finish is an error among the findings.
        """
