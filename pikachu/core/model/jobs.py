"""Jobs: one action on many objects, one row after the other (JOB-1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Scope

#: Maximum number of rows of a job: as far as lists count exactly, so that everybody knows the number they confirm.
MAX_ROWS: Final = 10_000
#: Maximum size of the file of a job, in bytes; the objects after that fail.
MAX_FILE: Final = 64 * 1024 * 1024
#: How long the file of a job can be downloaded after its end.
FILE_LIFETIME: Final = timedelta(days=7)


class JobAction(StrEnum):
    """The action of a job; each one is also an action on a single object."""

    REVOKE = "revoke"
    RENEW = "renew"
    DELETE = "delete"
    APPROVE = "approve"
    REJECT = "reject"
    ACTIVATE = "activate"
    SUSPEND = "suspend"
    EXPORT = "export"
    RETIRE = "retire"
    SIGN = "sign"


class JobResource(StrEnum):
    """The kind of a job's objects, by the name of their list in REST."""

    CERTIFICATES = "certificates"
    APPROVALS = "approvals"
    KEYS = "keys"
    CSRS = "csrs"
    TEMPLATES = "templates"
    CHALLENGE_PASSWORDS = "challenge-passwords"
    USERS = "users"
    POLICIES = "policies"
    TOKENS = "tokens"
    DEVICES = "devices"


class ExportFormat(StrEnum):
    """The format of the file of an export: one CSV, or a zip of certificates."""

    CSV = "csv"
    PEM = "pem"
    DER = "der"


class JobState(StrEnum):
    """The state of a job; a completed one of which nothing was done and something failed is *failed*."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


class RowState(StrEnum):
    """The state of one object of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobArguments:
    """The arguments of an action, the same for each row.

    :param reason: of a revocation (its name in RFC 5280), or of a rejection (free text).
    :param revoke: the reason for revoking the certificates of what is deleted or suspended; ``None``: don't.
    :param format: of an export.
    :param policy: the name of the policy under which CSRs are signed; ``None``: the default policy.
    """

    reason: str | None = None
    revoke: str | None = None
    format: str | None = None
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class JobSelection:
    """The objects of a job: their ids, or all that a list shows.

    :param query: its text, owner and filters count.
    :param expected: the number of objects that the requester has confirmed; ``None`` for ids only.
    """

    ids: tuple[int, ...] = ()
    query: ListQuery | None = None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to create.

    :param actor: the name of the account that acts.
    :param owner_id: the account; its rights count at the time of each act.
    :param scopes: the scopes that it acts with, as far as its role still has them.
    :param address: of the client, for audit events.
    """

    action: JobAction
    resource: JobResource
    arguments: JobArguments
    ids: tuple[int, ...]
    actor: str
    owner_id: int
    scopes: frozenset[Scope]
    address: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    :param total: the number of rows; *done* and *failed* of them have ended.
    :param message: why it was stopped, or empty.
    :param size: of its file, in bytes; 0 without one.
    """

    id: int
    action: JobAction
    resource: JobResource
    arguments: JobArguments
    state: JobState
    actor: str
    owner_id: int
    scopes: frozenset[Scope]
    address: str
    created_at: datetime
    ended_at: datetime | None
    total: int
    done: int
    failed: int
    message: str
    size: int = 0

    def has_file(self, now: datetime) -> bool:
        """Return whether its file can be downloaded: it has ended, and not too long ago."""
        return self.size > 0 and self.ended_at is not None and self.ended_at + FILE_LIFETIME > now

    @property
    def left(self) -> int:
        """The number of rows that have not ended."""
        return self.total - self.done - self.failed


@dataclass(frozen=True, slots=True)
class JobRow:
    """One object of a job.

    :param id: its position among the rows of all jobs.
    :param name: of the object; empty until the row has ended, and where the actor may not see the object.
    :param message: why it failed, or what was created, or empty.
    """

    id: int
    object_id: int
    name: str
    state: RowState
    message: str
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """The outcome of a row: done, or failed.

    :param message: why it failed, or what was created.
    :param content: its part of the job's file.
    """

    row_id: int
    name: str
    state: RowState
    message: str = ""
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FilePart:
    """An object's part of the file of a job."""

    row_id: int
    object_id: int
    name: str
    content: bytes = field(repr=False)


#: Returns the audit event for a job, as it is after the change.
JobEvent = Callable[[Job], Event]
