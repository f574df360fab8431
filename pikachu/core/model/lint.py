"""Findings of lint: deviations of a certificate from RFC 5280 and its updates (LNT-1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pikachu.core.constraints import Length

#: The reason of an override, in characters.
OVERRIDE_REASON: Final = Length(1, 500)
#: The code of the error about a linter that did not finish, whose verdict is unknown.
NOT_FINISHED: Final = "pikachu.linter_not_finished"


class Severity(StrEnum):
    """The severity of a finding; an error stops the certificate."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"
    INFO = "info"


_ORDER: Final = {severity: number for number, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation.

    :param code: names the rule: ``pikachu.…`` is of this program, anything else of pkilint.
    :param message: one sentence, with the section of the standard.
    :param where: the part of the certificate; empty when the message names it.
    """

    severity: Severity
    code: str
    message: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class LintOverride:
    """An administrator's decision to accept errors of a policy.

    :param by: the name of the administrator.
    :param codes: the codes of the errors that it accepts.
    """

    reason: str
    by: str
    at: datetime
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LintReport:
    """The result of a lint.

    :param linter: name and version of the program that ran beside the rules of this one; ``None``: none is installed.
    """

    findings: tuple[Finding, ...] = ()
    linter: str | None = None

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop a certificate."""
        return errors_of(self.findings)

    @property
    def is_finished(self) -> bool:
        """Whether the linter gave its verdict; another lint of the same may have one."""
        return all(finding.code != NOT_FINISHED for finding in self.findings)


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings of severity error."""
    return tuple(finding for finding in findings if finding.severity is Severity.ERROR)


def not_accepted(findings: Iterable[Finding], override: LintOverride | None) -> tuple[Finding, ...]:
    """Return the errors that *override* does not accept."""
    codes = () if override is None else override.codes
    return tuple(finding for finding in errors_of(findings) if finding.code not in codes)


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return each finding once, errors first."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: _ORDER[finding.severity]))


def summary(findings: Sequence[Finding]) -> str:
    """Return the messages of some findings in one line."""
    shown = " ".join(finding.message for finding in findings[:3])
    return shown if len(findings) <= 3 else f"{shown} And {len(findings) - 3} more."
