"""Enrollment requests, intents to issue, and stored CSRs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pikachu.core.model.certificates import Method
from pikachu.core.model.people import Account

#: The states of a stored CSR.
CSR_STATES: Final = ("pending", "signed", "rejected")


class RequestState(StrEnum):
    """The state of a request: ``issuing`` means that an intent is stored and no certificate yet."""

    PENDING = "pending"
    ISSUING = "issuing"
    ISSUED = "issued"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Intent:
    """A certificate about to be signed, stored before the signature, so that every signed certificate is known.

    :param tbs: the DER TBSCertificate.
    :param process: who is going to sign: a node, or a command.
    :param device: the name of its device, or empty.
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
    device: str = ""


@dataclass(frozen=True, slots=True)
class NewRequest:
    """An enrollment request accepted by authentication and policy.

    :param dedupe: digest by which repeated requests are recognized; ``None`` for none.
    :param dedupe_seconds: seconds for which a repeated request gets the same result; ``None`` for no limit.
    :param transaction: lookup digest for polling (SCEP CertPoll), or ``None``.
    :param requester_key: SHA-256 of the SPKI that signed the SCEP request, or ``None``.
    :param actor_id: the account of *principal*, for the audit log.
    :param csr_id: the id of the submitted stored CSR, on which the result is recorded, or ``None``.
    :param actor_ids: accounts whose credentials vouch for it; they and the owner must be active when it is recorded.
    :param added_names: the subject alternative names that its challenge password adds, as DER GeneralNames.
    :param device: the name of the device that the certificate would be for, or empty.
    :param identity: the identity of a manufacturer's client certificate that was presented, or empty.
    :param cached_account: the account that has authenticated it, as it was cached; it must be unchanged.
    :param approvals: how many approvals its policy requires; 0 where it is issued at once.
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
    csr_id: int | None = None
    actor_ids: frozenset[int] = frozenset()
    added_names: bytes = b""
    device: str = ""
    identity: str = ""
    cached_account: Account | None = None
    approvals: int = 0


@dataclass(frozen=True, slots=True)
class FirstApproval:
    """The first of two approvals of a request.

    :param account_id: ``None``: it was given at the server's console.
    """

    account_id: int | None
    name: str
    given_at: datetime


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A stored enrollment request; a pending one is an *approval*.

    :param csr: empty once the certificate is issued.
    :param address: the requester's address.
    :param label: the label in the EST or SCEP path.
    :param csr_id: the id of the submitted stored CSR, or ``None``.
    :param added_names: the subject alternative names that its challenge password adds, as DER GeneralNames.
    :param identity: the identity of a manufacturer's client certificate that was presented, or empty.
    :param requester_ids: the accounts that made it beside its owner, also by a challenge password that they created.
    :param approvals_needed: one or two: as its policy said when it came, or says now, whichever is more.
    :param first_approval: the first of two, while whoever gave it may approve; ``None``: there is none.
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
    added_names: bytes = b""
    identity: str = ""
    requester_ids: frozenset[int] = frozenset()
    approvals_needed: int = 1
    first_approval: FirstApproval | None = None


@dataclass(frozen=True, slots=True)
class StoredCSR:
    """A certificate signing request stored for an account (CSR-1).

    :param key_id: the id of the stored key with which it was created, or ``None``.
    :param template: the name of the certificate template with which it was created, or ``None``.
    :param certificate_id: the id of the certificate last issued for it, or ``None``.
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


@dataclass(frozen=True, slots=True)
class NewCSR:
    """A certificate signing request to store; the fields are those of :class:`StoredCSR`."""

    name: str
    der: bytes
    subject: str
    key_type: str
    owner_id: int | None
    key_id: int | None = None
    template: str | None = None
