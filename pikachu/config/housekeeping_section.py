"""Declarations of the section ``[HOUSEKEEPING]`` (OPS-6)."""

# Each field is declared by a call, so that the type checker compares its kind with its type.

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_types import duration, optional

_DAY = 86400


@dataclass(frozen=True, slots=True)
class HousekeepingSection(Section):
    """``[HOUSEKEEPING]``."""

    NAME: ClassVar[str] = "HOUSEKEEPING"
    ABOUT: ClassVar[str] = (
        "How long the server keeps what is over. `pikachu housekeeping --dry-run` shows what would be removed."
    )

    challenge_passwords_kept: int | None = _key(
        optional(duration("d", minimum=_DAY)),
        "90d",
        "Challenge passwords of no batch, from use or expiration. A bare number is days; empty keeps them.",
    )
    jobs_kept: int = _key(duration("d", minimum=7 * _DAY), "90d", "Jobs with their rows, from their end.")
    events_kept: int | None = _key(
        optional(duration("d", minimum=30 * _DAY)),
        "",
        "Events; empty keeps them. The audit log is verified first, and its rest stays verifiable.",
    )
    dumps_kept: int | None = _key(
        optional(duration("d", minimum=_DAY)), "30d", "Messages in the folder of [SCEP] dump_dir; empty keeps them."
    )
    logs_kept: int | None = _key(
        optional(duration("d", minimum=_DAY)),
        "",
        "Log files that were put aside; empty keeps [LOGGING] log_rotate_count of them.",
    )
