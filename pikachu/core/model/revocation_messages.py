"""Revocations as they are told to subscribers of the MQTT broker (MQT-2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pikachu.core.model.certificates import RevocationReason


@dataclass(frozen=True, slots=True)
class RevocationMessage:
    """One revocation, hold or release, in its place in the sequence of its issuing CA.

    :param seq: 1, 2, 3, … of each issuing CA's key; a subscriber that misses one sees the gap.
    :param revoked_at: ``None`` for a release from hold, as *reason*.
    :param crl_number: the number of the issuing CA's newest CRL when the message was numbered.
    """

    issuer_id: int
    seq: int
    serial: int
    revoked_at: datetime | None
    reason: RevocationReason | None
    crl_number: int
