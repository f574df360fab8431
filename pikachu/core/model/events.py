"""Audit events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Event:
    """An audit event before it is chained.

    :param type: ``create``, ``update``, ``delete``, ``revoke``, ``sign``, ``approve`` … (AUD-1), or of
        accounts ``login``, ``failed login`` … (AUD-2).
    :param details: values that JSON can hold; never a secret.
    :param owner_id: whose object it is: who besides admins may see the event.
    """

    type: str
    resource_type: str
    resource_name: str
    actor: str
    details: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    owner_id: int | None = None
    actor_id: int | None = None
    about_account: bool = False


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An audit event in the chain: *hash* covers *previous* and everything else."""

    id: int
    at: datetime
    event: Event
    previous: bytes
    hash: bytes
