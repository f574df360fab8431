"""Declarations of the section ``[AUDIT]`` (TLG-1)."""

# Each field is declared by a call, so that the type checker compares its kind with its type.
# ruff: noqa: RUF009

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_types import PATH, duration, optional


@dataclass(frozen=True, slots=True)
class AuditSection(Section):
    """``[AUDIT]``."""

    NAME: ClassVar[str] = "AUDIT"
    ABOUT: ClassVar[str] = "Signed checkpoints of the log of all events and certificates, to be kept elsewhere."

    checkpoint_dir: Path | None = _key(
        optional(PATH), "", "A folder into which checkpoints are written, for something that copies them elsewhere."
    )
    checkpoint_interval: int = _key(
        duration("h", minimum=60), "1h", "How often, if the log has grown. A bare number is hours."
    )
