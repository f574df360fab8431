"""Enrollment requests, intents to issue, and stored CSRs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from pikachu.core.model.certificates import Method


class RequestState(StrEnum):
    """Where a request stands: ``issuing`` means that an intent is stored and no certificate yet."""

    PENDING = "pending"
    ISSUING = "issuing"
    ISSUED = "issued"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be signed: stored before the signature, so that nothing signed is ever unknown.

    :param tbs: the DER TBSCertificate.
    :param process: who is going to sign: a node, or a command.
    """

    serial: int
    issuer_id: int
    tbs: bytes
    subject: str
    common_name: str
    key_type: str
    key_id: bytes
    not_before: datetime
    not_after: datetime
    policy: str
    process: str


@dataclass(frozen=True, slots=True)
class NewRequest:
    """An enrollment that authentication and policy have let through.

    :param dedupe: two requests with equal digests are one; ``None`` never repeats.
    :param dedupe_seconds: how long after it was made a request answers its repetition; ``None``: for ever.
    :param transaction: digest that finds the request again for polling (SCEP CertPoll), or ``None``.
    :param requester_key: SHA-256 of the SPKI that signed the SCEP request, or ``None``.
    :param subject_owner: the key may be certified again for the same owner or the same subject only.
    :param actor_id: the account of *principal*, for the audit log.
    :param csr_id: of the stored request that is handed in; what becomes of it is told there.
    :param actor_ids: accounts whose credentials vouch for it; they and the owner must be active when it is recorded.
    """

    method: Method
    csr: bytes
    subject: str
    key_type: str
    key_id: bytes
    policy: str
    issuer: str
    principal: str
    owner_id: int | None
    created_at: datetime
    address: str = ""
    actor_id: int | None = None
    dedupe: bytes | None = None
    dedupe_seconds: int | None = None
    transaction: bytes | None = None
    requester_key: bytes | None = None
    challenge_id: int | None = None
    label: str | None = None
    validity_days: int | None = None
    details: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    csr_id: int | None = None
    actor_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A stored request; one that waits for a person is an *approval*.

    :param csr: empty once the certificate is issued.
    :param address: where it came from.
    :param label: of the path that it came by (EST, SCEP).
    :param csr_id: of the request in somebody's keeping that was handed in, or ``None``.
    """

    id: int
    state: RequestState
    method: Method
    csr: bytes
    subject: str
    key_type: str
    key_id: bytes
    policy: str
    issuer: str
    principal: str
    owner_id: int | None
    created_at: datetime
    challenge_id: int | None
    requester_key: bytes | None
    validity_days: int | None
    serial: int | None
    certificate_id: int | None
    process: str | None
    decided_at: datetime | None = None
    decided_by: str | None = None
    reason: str | None = None
    address: str = ""
    label: str | None = None
    csr_id: int | None = None


@dataclass(frozen=True, slots=True)
class StoredCSR:
    """A certificate signing request that somebody keeps here (CSR-1).

    :param key_id: of the stored key that it was made with, or ``None``.
    :param template: the name of the certificate template that it was made with, or ``None``.
    :param certificate_id: of what was issued for it last, or ``None``.
    """

    id: int
    name: str
    der: bytes
    subject: str
    key_type: str
    owner_id: int | None
    created_at: datetime
    state: str = "pending"
    key_id: int | None = None
    template: str | None = None
    certificate_id: int | None = None
