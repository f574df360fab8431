"""Devices: names with their certificates over time (DEV-1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pikachu.core.model.certificates import Method, RevocationReason

#: A certificate is to be renewed in the last third of its lifetime, but no earlier than this before its end.
MAX_WINDOW_SECONDS: Final = 30 * 86400
#: The longest time for which a device is due before it is overdue.
MAX_DUE_SECONDS: Final = MAX_WINDOW_SECONDS // 2


class DeviceState(StrEnum):
    """The state of a device at one time.

    ``due``: its certificate is to be renewed; ``overdue``: half of the time for that has passed, or it has no valid
    certificate; ``retired``: nothing is issued to it.
    """

    OK = "ok"
    DUE = "due"
    OVERDUE = "overdue"
    RETIRED = "retired"


def renewal_times(not_before: int, not_after: int) -> tuple[int, int]:
    """Return when the renewal of a certificate is due, and when it is overdue, in seconds since 1970."""
    window = min((not_after - not_before) // 3, MAX_WINDOW_SECONDS)
    return not_after - window, not_after - window // 2


@dataclass(frozen=True, slots=True)
class Device:
    """A device: the certificates of one name and owner.

    :param name: as in its newest certificate: the serialNumber of the subject, else the common name, else the first
        subject alternative name.
    :param policy: of the last enrollment, like *method* and *address*, which is empty where it is not known.
    :param certificates: the number of its certificates that were not deleted.
    :param created_at: the first enrollment.
    :param enrolled_at: the last enrollment.
    :param not_after: the end of its current certificate.
    :param due_at: when the renewal of its current certificate is due; ``None`` without a certificate that is in force.
    :param overdue_at: from when the renewal is overdue; ``None`` as *due_at*.
    :param certificate_id: its current certificate: the newest that is neither revoked nor deleted, or ``None``.
    """

    id: int
    name: str
    owner_id: int | None
    policy: str
    method: Method
    address: str
    certificates: int
    created_at: datetime
    enrolled_at: datetime
    not_after: datetime
    due_at: datetime | None
    overdue_at: datetime | None
    retired_at: datetime | None = None
    retired_reason: RevocationReason | None = None
    certificate_id: int | None = None

    def state(self, now: datetime) -> DeviceState:
        """Return the state at a time."""
        if self.retired_at is not None:
            return DeviceState.RETIRED
        if self.due_at is None or self.overdue_at is None or self.overdue_at <= now:
            return DeviceState.OVERDUE
        return DeviceState.DUE if self.due_at <= now else DeviceState.OK
