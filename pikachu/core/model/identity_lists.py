"""Lists of identities: the devices that may enroll under a policy (DEV-3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class IdentityList:
    """A list of identities: serial numbers of IDevIDs, or names of devices.

    :param entries: their number.
    :param version: differs after each upload; the entries have it.
    """

    id: int
    name: str
    entries: int
    updated_at: datetime
    updated_by: str
    version: int
