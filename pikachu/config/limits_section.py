"""Declarations of the section ``[LIMITS]``."""

# Each field is declared by a call, so that the type checker compares its kind with its type.

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Final

from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_types import number, size
from pikachu.core.model.account_objects import Quotas

_MOST: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class LimitsSection(Section):
    """``[LIMITS]``."""

    NAME: ClassVar[str] = "LIMITS"
    ABOUT: ClassVar[str] = (
        "How many objects of each kind an account may own (administrators, and objects without an owner, are not "
        "limited), and what clients that have not authenticated may hold; 0 sets no limit."
    )

    keys: int = _key(number(0, _MOST), "1000", "Stored private keys.")
    csrs: int = _key(number(0, _MOST), "1000", "Stored certificate signing requests.")
    templates: int = _key(number(0, _MOST), "500", "Certificate templates.")
    tokens: int = _key(number(0, _MOST), "100", "API tokens.")
    challenge_passwords: int = _key(
        number(0, _MOST), "10000", "Challenge passwords that were not used, including expired ones."
    )
    policies: int = _key(number(0, _MOST), "100", "Enrollment policies.")
    connections: int = _key(
        number(0, _MOST),
        "800",
        "Connections without credentials; the busiest address makes room for new ones.",
    )
    connections_per_address: int = _key(
        number(0, _MOST), "200", "The same for one address, or one IPv6 network of 64 bits."
    )
    body_bytes: int = _key(size(0, 1 << 36), "32M", "Memory for request bodies that came without credentials.")
    body_bytes_per_address: int = _key(size(0, 1 << 36), "4M", "The same for one address.")

    @property
    def quotas(self) -> Quotas:
        """The limits of accounts as an argument of the store."""
        return Quotas(**{quota.name: getattr(self, quota.name) for quota in fields(Quotas)})
