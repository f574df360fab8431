"""Audit events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

#: Types of the resources that events are about.
RESOURCE_TYPES: Final = (
    *("certificate", "key", "CSR", "template", "policy", "challenge password", "configuration", "request", "token"),
    *(
        "audit log",
        "job",
        "batch",
        "preferences",
        "device",
        "identity list",
        "housekeeping",
        "backup",
        "user",
        "issuer",
        "CRL",
        "responder",
        "signer",
        "report",
        "log",
        "notice rule",
        "notice",
    ),
)
#: Types of the events of objects, and of those of accounts.
OBJECT_EVENT_TYPES: Final = (
    *("create", "update", "delete", "view", "download", "revoke", "release", "sign", "approve", "reject"),
    *("fail", "abandon", "upload", "recover", "keep", "drop", "rotate", "fall back", "return", "failed login"),
    *("complete", "cancel", "stop", "end", "import", "install", "reissue", "seal", "retire", "reinstate"),
    *("back up", "restore", "reload"),
)
ACCOUNT_EVENT_TYPES: Final = (
    *("add", "delete", "pending", "activated", "deactivated", "suspend", "login", "failed login", "logout"),
    *("force logout", "change password", "reset password", "role change", "bind certificate", "unbind certificate"),
    *("unlock", "add second factor", "remove second factor", "use recovery code", "renew recovery codes"),
    *("add passkey", "remove passkey"),
)


@dataclass(frozen=True, slots=True)
class Event:
    """An audit event before it is chained.

    :param type: ``create``, ``update``, ``delete``, ``revoke``, ``sign``, ``approve`` … (AUD-1), or for
        accounts ``login``, ``failed login`` … (AUD-2).
    :param details: JSON-serializable values; never a secret.
    :param owner_id: the owner of the object, who may see the event besides administrators.
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
    """An audit event in the hash chain: *hash* covers *previous* and all other fields."""

    id: int
    at: datetime
    event: Event
    previous: bytes
    hash: bytes
