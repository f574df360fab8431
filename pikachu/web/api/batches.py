"""``/batches``: challenge passwords for a list of names (ENR-1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final

from pikachu.accounts.batches import DEFAULT_VALIDITY, BatchOrder, BatchPassword, EnrollmentBatches
from pikachu.accounts.challenge_passwords import MAX_VALIDITY
from pikachu.ca.issuance import CertificateAuthority
from pikachu.core.constraints import OneOf, Range
from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.batches import BatchState, EnrollmentBatch
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.people import ChallengePassword, Scope
from pikachu.documents.labels import LabelLayout
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.web.api.queries import whole_number
from pikachu.web.api.routes import FLAGS, Answer, Call, Operation, Routes, created, listed
from pikachu.web.batch_labels import PDF, labels_filename, labels_of, labels_pdf, parts_of

_STATE: Final = OneOf(tuple(BatchState))


@dataclass(frozen=True, slots=True)
class NewEnrollmentBatch:
    """A batch to create.

    ``names`` is CSV: in each line a common name (or a subject such as ``"CN=a,O=b"``) and any number of subject
    alternative names; at most 10,000 lines.  ``attributes`` are added to each common name.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "label": "pumps in Hamburg",
        "policy": "System",
        "names": "pump-001,pump-001.example.com\npump-002,pump-002.example.com,192.0.2.2\n",
        "attributes": "O=Example",
        "validity_seconds": 604800,
    }

    label: str
    policy: str
    names: str
    attributes: str | None = None
    user_id: int | None = None
    validity_seconds: Annotated[int, Range(1, int(MAX_VALIDITY.total_seconds()))] | None = None


@dataclass(frozen=True, slots=True)
class BatchDocument:
    """A batch: ``total`` names, for ``created`` of which there is a challenge password, and ``enrolled`` of them.

    ``problem`` says why no more challenge passwords are created, or is null.
    """

    id: int
    label: str
    policy: str
    state: Annotated[str, _STATE]
    owner: str | None
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    total: int
    created: int
    enrolled: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class BatchNameDocument:
    """A name of a batch; ``serial`` is that of its certificate, null for one that is not enrolled."""

    id: int
    subject: str | None
    sans: tuple[str, ...]
    expires_at: datetime
    enrolled: bool
    serial: str | None


@dataclass(frozen=True, slots=True)
class BatchPasswordDocument:
    """A challenge password of a batch; ``password`` is null for one that can't be used any more."""

    id: int
    subject: str | None
    sans: tuple[str, ...]
    expires_at: datetime
    password: str | None
    consumed_by_serial: str | None


class BatchesAPI(Routes):
    """Enrollment batches.

    :param files_pool: builds sheets of labels.
    """

    def __init__(
        self,
        *,
        batches: EnrollmentBatches,
        authority: CertificateAuthority,
        inventory: CertificateQueries,
        files_pool: IWorkerPool,
    ) -> None:
        self._batches = batches
        self._pool = files_pool
        self._now: Callable[[], datetime] = authority.now
        self._inventory = inventory

    @Operation(
        "POST",
        "/batches",
        scope=Scope.ENROLL,
        summary="Make a challenge password for each of a list of names",
        body=NewEnrollmentBatch,
        answer=BatchDocument,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """Create a batch; its challenge passwords are created in the background."""
        body = call.take(NewEnrollmentBatch)
        validity = DEFAULT_VALIDITY if body.validity_seconds is None else timedelta(seconds=body.validity_seconds)
        order = BatchOrder(body.label, body.policy, body.names, body.attributes or "", body.user_id, validity)
        batch = await self._batches.create(call.principal, order)
        return created(f"/batches/{batch.id}", await self._document(call, batch))

    @Operation(
        "GET",
        "/batches",
        scope=Scope.READ,
        summary="Batches: one's own, or for admins all",
        answer=BatchDocument,
        listed=True,
        filters={"state": "state", "policy": "policy"},
        choices={"state": _STATE.choices},
        owner="owner_id",
        sorts=("id", "created_at", "expires_at", "label", "policy", "total", "enrolled", "state", "user"),
    )
    async def list(self, call: Call) -> Answer:
        """List batches; ``q`` is words of label, policy and owner."""
        page = await self._batches.list(call.principal, call.list_query())
        names = await self._inventory.owner_names(call.principal, [batch.owner_id for batch in page.items])
        now = self._now()
        return listed(page, lambda batch: _document(batch, now, names))

    @Operation("GET", "/batches/<id>", scope=Scope.READ, summary="One batch with its progress", answer=BatchDocument)
    async def get(self, call: Call) -> Answer:
        """Return a batch."""
        return Answer(200, await self._document(call, await self._batches.get(call.principal, call.id)))

    @Operation(
        "GET",
        "/batches/<id>/names",
        scope=Scope.READ,
        summary="The names of a batch, and which of them are enrolled",
        answer=BatchNameDocument,
        listed=True,
        filters={"enrolled": "enrolled"},
        choices={"enrolled": FLAGS},
        sorts=("id",),
    )
    async def names(self, call: Call) -> Answer:
        """List names without their passwords; ``q`` is words of the names."""
        return listed(await self._batches.names(call.principal, call.id, call.list_query()), _name)

    @Operation(
        "GET",
        "/batches/<id>/labels",
        scope=(Scope.READ, Scope.ENROLL),
        summary="Labels to print, with the challenge passwords of a batch as QR codes",
        query=("layout", "part"),
        choices={"layout": tuple(LabelLayout)},
        files=(PDF.decode(),),
    )
    async def labels(self, call: Call) -> Answer:
        """Return a PDF for up to 240 names; ``part`` 2 is for the next 240.  ``layout``: ``a4`` (24 labels on a sheet,
        default) or ``label`` (100 by 50 mm each).  Names that can't be enrolled any more are left out; 409 for none.
        """
        part = whole_number(call.query.get("part", "1"), "part")
        batch = await self._batches.get(call.principal, call.id)
        if not 1 <= part <= parts_of(batch):
            raise MalformedRequest(f"“part” must be a number from 1 to {parts_of(batch)}.")
        labels = await labels_of(await self._batches.passwords(call.principal, call.id), part)
        layout = LabelLayout(call.query.get("layout") or LabelLayout.A4)
        body = await self._pool.run(labels_pdf, batch, f"{call.origin}/.well-known/est", labels, layout)
        name = f'attachment; filename="{labels_filename(batch, part)}"'
        return Answer(200, body, PDF, {b"Content-Disposition": name.encode("ascii")})

    @Operation(
        "GET",
        "/batches/<id>/passwords",
        scope=Scope.ENROLL,
        summary="The challenge passwords of a batch; that an admin looked at another's is recorded",
        answer=BatchPasswordDocument,
        listed=True,
        sorts=("id",),
    )
    async def passwords(self, call: Call) -> Answer:
        """List challenge passwords with their texts, for the owner and administrators."""
        fetch = await self._batches.passwords(call.principal, call.id)
        return listed(await fetch(call.list_query()), _password)

    @Operation(
        "POST",
        "/batches/<id>/end",
        scope=Scope.ENROLL,
        summary="Let the unused challenge passwords of a batch expire",
        answer=BatchDocument,
    )
    async def end(self, call: Call) -> Answer:
        """End a batch; 409 if it was ended."""
        return Answer(200, await self._document(call, await self._batches.end(call.principal, call.id)))

    @Operation(
        "POST",
        "/batches/<id>/resumption",
        scope=Scope.ENROLL,
        summary="Create the missing challenge passwords of a stopped batch",
        answer=BatchDocument,
    )
    async def resume(self, call: Call) -> Answer:
        """Resume a batch; 409 unless its state is ``stopped``."""
        await self._batches.resume(call.principal, call.id)
        return Answer(200, await self._document(call, await self._batches.get(call.principal, call.id)))

    async def _document(self, call: Call, batch: EnrollmentBatch) -> BatchDocument:
        names = await self._inventory.owner_names(call.principal, [batch.owner_id])
        return _document(batch, self._now(), names)


def _document(batch: EnrollmentBatch, now: datetime, names: OwnerNames) -> BatchDocument:
    return BatchDocument(
        id=batch.id,
        label=batch.label,
        policy=batch.policy,
        state=batch.state(now).value,
        owner=names.get(batch.owner_id),
        created_at=batch.created_at,
        expires_at=batch.expires_at,
        ended_at=batch.ended_at,
        total=batch.total,
        created=batch.created,
        enrolled=batch.enrolled,
        problem=batch.problem or None,
    )


def _name(challenge: ChallengePassword) -> BatchNameDocument:
    serial = challenge.consumed_serial
    return BatchNameDocument(
        id=challenge.id,
        subject=None if challenge.names is None else challenge.names.subject,
        sans=() if challenge.names is None else challenge.names.sans,
        expires_at=challenge.expires_at,
        enrolled=challenge.consumed_at is not None,
        serial=None if serial is None else format_serial(serial),
    )


def _password(one: BatchPassword) -> BatchPasswordDocument:
    challenge = one.challenge
    serial = challenge.consumed_serial
    return BatchPasswordDocument(
        id=challenge.id,
        subject=None if challenge.names is None else challenge.names.subject,
        sans=() if challenge.names is None else challenge.names.sans,
        expires_at=challenge.expires_at,
        password=one.text or None,
        consumed_by_serial=None if serial is None else format_serial(serial),
    )
