"""Stored certificate templates: validation, visibility and changes (TPL-1, TPL-3).

Used by pages and REST.  A template without an owner is shared: everybody may see it, and administrators may change it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from twisted.internet.defer import Deferred, DeferredLock

from pikachu.auth.permissions import can_view, is_admin, require_changeable, require_scope, scope_to_owner
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest, NotAuthorized, NotFound
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.account_objects import CertificateTemplate
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.optimistic_locking import Versions, repeat, require_version
from pikachu.x509.template import parse

#: The origin of templates that were not rendered from a file.
MANUALLY: Final = "manually"
#: Suggested values; any text is accepted.
PROFILE_TYPES: Final = (
    "Root CA",
    "Sub CA",
    "TLS server",
    "TLS client",
    "OCSP responder",
    "MQTT broker",
    "Device",
    "Code signing",
    "Other",
)
MAXIMUM_NAME: Final = 128
MAXIMUM_TYPE: Final = 64
_UNKNOWN: Final = "there is no such certificate template"
_KIND: Final = "certificate template"


@dataclass(frozen=True, slots=True)
class TemplateDraft:
    """A certificate template to store.

    :param system: whether it is shared, without an owner (administrators only).
    :param origin: ``manually``, the ``.j2`` file from which it was rendered, or the file of which it was imported.
    """

    name: str
    profile_type: str
    content: str
    system: bool = False
    origin: str = MANUALLY


class CertificateTemplates:
    """Operations of principals on certificate templates.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized without the role or scope,
    and with StoreUnavailable.  They run to completion even if their Deferred is cancelled.

    :param pool: parses texts, since a long one blocks.
    """

    def __init__(self, store: IStore, clock: IClock, pool: IWorkerPool) -> None:
        self._store = store
        self._clock = clock
        self._pool = pool
        # Serializes the changes of this process; those of others are detected by the version.
        self._changes = DeferredLock()

    @uncancelled
    async def validate(self, actor: Principal, content: str) -> frozenset[str]:
        """Return the usages of a text: ``req``, ``ext`` or both.  Fails with BadTemplate and its line."""
        require_scope(actor, Scope.READ)
        return await self._usages(content)

    @uncancelled
    async def get(self, actor: Principal, template_id: int) -> CertificateTemplate:
        """Return a visible template.  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        return await self._visible(actor, template_id)

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[CertificateTemplate]:
        """List the actor's and shared templates; for administrators all, or ``query.owner_id``'s and shared ones.

        Filters: ``usage`` (``req`` or ``ext``), ``profile_type``.
        """
        return await self._store.templates(scope_to_owner(actor, query))

    @uncancelled
    async def add(self, actor: Principal, draft: TemplateDraft) -> CertificateTemplate:
        """Create a template of the actor, or with ``system`` a shared one (administrators only).

        Fails with MalformedRequest, QuotaExceeded, and with BadTemplate and its line.
        """
        require_scope(actor, Scope.ENROLL)
        template = await self._checked(actor, draft, actor.owner_id)
        event = self._event(actor, "create", template)
        return await self._store.add_template(template, event, self._now())

    @uncancelled
    async def update(
        self,
        actor: Principal,
        template_id: int,
        *,
        name: str | None = None,
        profile_type: str | None = None,
        content: str | None = None,
        system: bool | None = None,
        expected: Versions = None,
    ) -> CertificateTemplate:
        """Update the actor's template, or any for administrators; ``None`` keeps a field.  The origin is kept.

        :param expected: the versions that may be replaced.

        Fails like :meth:`add`, with NotFound, and with EditConflict.
        """

        async def change() -> CertificateTemplate:
            before = await self._visible(actor, template_id)
            _require_own(actor, before)
            require_version(expected, before.version, _KIND, before.updated_by, before.updated_at)
            draft = TemplateDraft(
                before.name if name is None else name,
                before.profile_type if profile_type is None else profile_type,
                before.content if content is None else content,
                before.owner_id is None if system is None else system,
                before.origin,
            )
            owner_id = actor.owner_id if before.owner_id is None else before.owner_id
            template = replace(await self._checked(actor, draft, owner_id), id=before.id, version=before.version)
            return await self._store.update_template(template, self._event(actor, "update", template), self._now())

        _require_scopes(actor)
        return await self._changes.run(lambda: Deferred.fromCoroutine(repeat(change, expected)))

    @uncancelled
    async def delete(self, actor: Principal, template_id: int, *, expected: Versions = None) -> None:
        """Delete the actor's template, or any for administrators; CSRs and policies created with it are kept.

        :param expected: the versions that may be deleted.

        Fails with NotFound, EditConflict.
        """

        def decide(template: CertificateTemplate) -> Event:
            _require_visible(actor, template)
            _require_own(actor, template)
            require_version(expected, template.version, _KIND, template.updated_by, template.updated_at)
            return self._event(actor, "delete", template)

        _require_scopes(actor)
        await self._store.delete_template(template_id, decide, self._now())

    # --- authorization ------------------------------------------------------------------------

    async def _visible(self, actor: Principal, template_id: int) -> CertificateTemplate:
        template = await self._store.template(template_id)
        _require_visible(actor, template)
        return template

    # --- validation --------------------------------------------------------

    async def _checked(self, actor: Principal, draft: TemplateDraft, owner_id: int | None) -> CertificateTemplate:
        """Validate *draft* and return its template.

        :param owner_id: the owner, unless it is shared.
        """
        if draft.system and not is_admin(actor):
            raise NotAuthorized("a certificate template for everybody is for administrators only")
        if not draft.system and owner_id is None:
            raise MalformedRequest("a certificate template is everybody's or a user's; say which")
        name = _line(draft.name, "a template's name", MAXIMUM_NAME, "name")
        profile_type = _line(draft.profile_type, "a profile type", MAXIMUM_TYPE, "profile_type")
        usages = await self._usages(draft.content)
        now = self._now()
        return CertificateTemplate(
            0,
            name,
            profile_type,
            draft.origin,
            draft.content,
            "req" in usages,
            "ext" in usages,
            None if draft.system else owner_id,
            now,
            now,
        )

    async def _usages(self, content: str) -> frozenset[str]:
        return await self._pool.run(functools.partial(_usages_of, content))

    def _event(self, actor: Principal, type_: str, template: CertificateTemplate) -> Event:
        return event_by(
            actor,
            type_,
            "template",
            template.name,
            template.owner_id,
            profile_type=template.profile_type,
            origin=template.origin,
            usages=usages_of(template),
            system=template.owner_id is None,
        )

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def usages_of(template: CertificateTemplate) -> tuple[str, ...]:
    """Return the usages: ``req``, ``ext`` or both."""
    flags = (("req", template.for_requests), ("ext", template.for_extensions))
    return tuple(usage for usage, is_set in flags if is_set)


def _require_scopes(actor: Principal) -> None:
    require_scope(actor, Scope.READ)
    require_scope(actor, Scope.ENROLL)


def _require_visible(actor: Principal, template: CertificateTemplate) -> None:
    if template.owner_id is not None and not can_view(actor, template.owner_id):
        raise NotFound(_UNKNOWN)


def _require_own(actor: Principal, template: CertificateTemplate) -> None:
    if template.owner_id is None and not is_admin(actor):
        raise NotAuthorized("a certificate template for everybody is changed by admins only; copy it instead")
    require_changeable(actor, template, _KIND)


def _usages_of(content: str) -> frozenset[str]:
    return parse(content).usages


def _line(text: str, what: str, maximum: int, field: str) -> str:
    text = text.strip()
    if not 1 <= len(text) <= maximum or not text.isprintable():
        raise MalformedRequest(f"{what} is 1 to {maximum} printable characters", field=field)
    return text
