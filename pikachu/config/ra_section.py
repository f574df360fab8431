"""Declarations of the section ``[RA]`` (ROL-1)."""

# Each field is declared by a call, so that the type checker compares its kind with its type.

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_types import BOOLEAN


@dataclass(frozen=True, slots=True)
class RASection(Section):
    """``[RA]``."""

    NAME: ClassVar[str] = "RA"
    ABOUT: ClassVar[str] = "Approving enrollments by hand, where a policy asks for it."
    UPPER: ClassVar[frozenset[str]] = frozenset()

    # An installation of a version without this setting keeps working as it did; the shipped file says false.
    self_approval: bool = _key(
        BOOLEAN,
        "true",
        "Whether people may approve requests that they made, also by a challenge password of theirs.",
    )
