"""Second factors of accounts."""

from __future__ import annotations

from dataclasses import dataclass, field

from pikachu.core.model.people import SealFor


@dataclass(frozen=True, slots=True)
class StoredTOTP:
    """An account's secret for time-based one-time passwords, sealed.

    :param last_step: the time step of the last accepted code; none up to it is accepted again.
    """

    id: int
    account_id: int
    sealed: bytes = field(repr=False)
    last_step: int


@dataclass(frozen=True, slots=True)
class NewTOTP:
    """A secret to store; *last_step* as in :class:`StoredTOTP`.

    :param recovery_digests: SHA-256 of each recovery code, which replace former ones.
    """

    account_id: int
    seal: SealFor = field(repr=False)
    last_step: int
    recovery_digests: tuple[bytes, ...] = field(repr=False)
