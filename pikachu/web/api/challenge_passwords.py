"""``/challenge-passwords``: one-time passwords for devices (CHP-1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final

from pikachu.accounts.challenge_passwords import MAX_VALIDITY, ChallengePasswords, Purpose
from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.constraints import OneOf, Range, Variant, Variants
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.people import ChallengePassword, Scope
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.web.api.bodies import extended
from pikachu.web.api.routes import NO_CONTENT, Answer, Call, Operation, Routes, created, listed

_STATUS: Final = OneOf(("available", "consumed", "expired"))


@dataclass(frozen=True, slots=True)
class NewChallengePassword:
    """The owner (the caller by default; other accounts for administrators), the lifetime, a label, and the names.

    With a ``subject`` (RFC 4514; empty for an empty one) only CSRs enroll whose subject is equal and whose subject
    alternative names are among ``sans`` (``DNS:``, ``IP:``, ``email:``, ``URI:``); the certificate gets all of these.
    """

    VARIANTS: ClassVar = Variants((Variant(("subject",), ("sans",)), Variant(())))
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "validity_seconds": 86400,
        "label": "pump 1",
        "subject": "CN=pump-001",
        "sans": ["DNS:pump-001.example.com"],
    }

    user_id: int | None = None
    validity_seconds: Annotated[int, Range(1, int(MAX_VALIDITY.total_seconds()))] | None = None
    label: str | None = None
    subject: str | None = None
    sans: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ChallengePasswordSummary:
    """A challenge password without its text; ``status`` is available, consumed or expired.

    ``subject`` and ``sans`` are the names that it is bound to, or null.
    """

    id: int
    prefix: str
    status: Annotated[str, _STATUS]
    owner: str | None
    created_at: datetime
    expires_at: datetime
    consumed_at: datetime | None
    consumed_by_serial: str | None
    label: str
    subject: str | None
    sans: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class NewChallengePasswordDocument(ChallengePasswordSummary):
    """A new challenge password."""

    password: str


@dataclass(frozen=True, slots=True)
class Revealed:
    """The text of a challenge password."""

    id: int
    password: str


@dataclass(frozen=True, slots=True)
class ExpiredDeletion:
    """``everybody``: the expired ones of all accounts, for administrators; else the caller's own."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"everybody": False}

    everybody: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """Number of deleted challenge passwords."""

    deleted: int


class ChallengePasswordsAPI(Routes):
    """One-time passwords."""

    def __init__(
        self,
        *,
        challenge_passwords: ChallengePasswords,
        authority: CertificateAuthority,
        inventory: CertificateQueries,
    ) -> None:
        self._challenge_passwords = challenge_passwords
        self._now: Callable[[], datetime] = authority.now
        self._inventory = inventory

    @Operation(
        "POST",
        "/challenge-passwords",
        scope=Scope.ENROLL,
        summary="Make a one-time password for one enrollment",
        body=NewChallengePassword,
        answer=NewChallengePasswordDocument,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """Create a challenge password; ``…/{id}/password`` returns its text again."""
        body = call.take(NewChallengePassword)
        validity = None if body.validity_seconds is None else timedelta(seconds=body.validity_seconds)
        purpose = Purpose(body.label or "", body.subject, body.sans or ())
        challenge, text = await self._challenge_passwords.create(call.principal, body.user_id, validity, purpose)
        names = await self._inventory.owner_names(call.principal, [challenge.owner_id])
        document = extended(NewChallengePasswordDocument, _summary(challenge, self._now(), names), password=text)
        return created(f"/challenge-passwords/{challenge.id}", document, secret=True)

    @Operation(
        "GET",
        "/challenge-passwords",
        scope=Scope.READ,
        summary="Challenge passwords without their text: one's own, or for admins all",
        answer=ChallengePasswordSummary,
        listed=True,
        filters={"status": "status", "label": "label"},
        choices={"status": _STATUS.choices},
        owner="owner_id",
        sorts=("id", "created_at", "expires_at", "label", "prefix", "status", "user", "validity"),
    )
    async def list(self, call: Call) -> Answer:
        """List challenge passwords; ``q`` is a prefix of the first 8 digits, or words of label and names."""
        page = await self._challenge_passwords.list(call.principal, call.list_query())
        names = await self._inventory.owner_names(call.principal, [challenge.owner_id for challenge in page.items])
        now = self._now()
        return listed(page, lambda challenge: _summary(challenge, now, names))

    @Operation(
        "GET",
        "/challenge-passwords/<id>",
        scope=Scope.READ,
        summary="One challenge password without its text",
        answer=ChallengePasswordSummary,
    )
    async def get(self, call: Call) -> Answer:
        """Return a challenge password with its status."""
        challenge = await self._challenge_passwords.get(call.principal, call.id)
        names = await self._inventory.owner_names(call.principal, [challenge.owner_id])
        return Answer(200, _summary(challenge, self._now(), names))

    @Operation(
        "GET",
        "/challenge-passwords/<id>/password",
        scope=Scope.ENROLL,
        summary="The text of a challenge password; that an admin looked at another's is recorded",
        answer=Revealed,
    )
    async def reveal(self, call: Call) -> Answer:
        """Return the text, for the owner and administrators."""
        return Answer(200, Revealed(call.id, await self._challenge_passwords.reveal(call.principal, call.id)))

    @Operation(
        "DELETE",
        "/challenge-passwords/<id>",
        scope=Scope.ENROLL,
        summary="Delete a challenge password",
        statuses=(204,),
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a challenge password; 409 while a pending request reserves it."""
        await self._challenge_passwords.delete(call.principal, call.id)
        return NO_CONTENT

    @Operation(
        "POST",
        "/challenge-passwords/expired-deletion",
        scope=Scope.ENROLL,
        summary="Delete all expired challenge passwords of one's own, or for admins of everybody",
        body=ExpiredDeletion,
        answer=Deleted,
    )
    async def delete_expired(self, call: Call) -> Answer:
        """Delete expired challenge passwords (CHP-1)."""
        everybody = call.take(ExpiredDeletion).everybody
        return Answer(200, Deleted(await self._challenge_passwords.delete_expired(call.principal, everybody=everybody)))


def _summary(challenge: ChallengePassword, now: datetime, names: OwnerNames) -> ChallengePasswordSummary:
    """Return the summary; a reserved challenge password can't be used any more, so it counts as consumed."""
    status = "available" if challenge.expires_at > now else "expired"
    if challenge.consumed_at is not None or challenge.reserved_by is not None:
        status = "consumed"
    serial = challenge.consumed_serial
    return ChallengePasswordSummary(
        id=challenge.id,
        prefix=challenge.prefix,
        status=status,
        owner=names.get(challenge.owner_id),
        created_at=challenge.created_at,
        expires_at=challenge.expires_at,
        consumed_at=challenge.consumed_at,
        consumed_by_serial=None if serial is None else format_serial(serial),
        label=challenge.label,
        subject=None if challenge.names is None else challenge.names.subject,
        sans=None if challenge.names is None else challenge.names.sans,
    )
