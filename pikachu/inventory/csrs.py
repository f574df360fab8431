"""The rules about stored certificate requests: made of stored keys and templates, or brought along (CSR-1 to CSR-3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pikachu.auth.permissions import get_visible, require_scope, require_visible, scope_to_owner
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.events import Event
from pikachu.core.model.lists import ListQuery, Page
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.requests import NewCSR, StoredCSR
from pikachu.core.model.times import utc
from pikachu.inventory.keys import MAXIMUM_NAME, Keys, checked_name
from pikachu.inventory.templates import CertificateTemplates
from pikachu.signers.key import sign_request
from pikachu.x509.certificate import assemble
from pikachu.x509.csr import CertificationRequest, decode_csr_input, parse_csr, verify_csr
from pikachu.x509.keys import PrivateKey
from pikachu.x509.request_text import RequestView, view_request
from pikachu.x509.signature import request_algorithm
from pikachu.x509.spki import describe_spki
from pikachu.x509.template import certification_request_info, parse
from pikachu.x509.text.csr import csr_text

_UNNAMED: Final = "unnamed"
_KIND: Final = "certificate signing request"


@dataclass(frozen=True, slots=True)
class RequestSource:
    """By what a request is made.

    :param key_id: of the stored key.
    :param template_id: of a stored certificate template of usage ``req``; ``None`` where *text* is given.
    :param text: such a text itself.
    """

    key_id: int
    template_id: int | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class RequestPreview:
    """What a request would say.

    :param text: all of it, but for the signature.
    """

    view: RequestView
    text: str


class CertificateRequests:
    """Makes requests, and keeps them.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope do not
    reach, with NotFound for a key or a template that the actor does not see, with BadTemplate and its line, with
    BadCSR where no CA here would take such a request, and with StoreUnavailable.

    :param pool: where texts are read and requests are signed.
    """

    def __init__(
        self, store: IStore, keys: Keys, templates: CertificateTemplates, pool: IWorkerPool, clock: IClock
    ) -> None:
        self._store = store
        self._keys = keys
        self._templates = templates
        self._pool = pool
        self._clock = clock

    @uncancelled
    async def preview(self, actor: Principal, source: RequestSource) -> RequestPreview:
        """What the request would say; nothing is signed, and nothing is kept."""
        require_scope(actor, Scope.READ)
        key = await self._keys.get(actor, source.key_id)
        text, _ = await self._template(actor, source)
        return await self._pool.run(_preview, text, key.spki)

    @uncancelled
    async def generate(self, actor: Principal, name: str, source: RequestSource) -> StoredCSR:
        """A new request of the actor's own, signed with the key.

        :param name: empty: its common name.

        Fails with MalformedRequest (name), UnsupportedAlgorithm (digest) too.
        """
        require_scope(actor, Scope.ENROLL)
        text, template = await self._template(actor, source)
        key, private_key = await self._keys.opened(actor, source.key_id)
        made = await self._pool.run(_make, text, key.spki, private_key)
        csr = parse_csr(made)
        name = _name(name, csr)
        more = {} if template is None else {"template": template}
        event = event_by(
            actor,
            "create",
            "CSR",
            name,
            actor.owner_id,
            subject=csr.subject,
            key=key.key_type,
            key_name=key.name,
            **more,
        )
        return await self._store.add_csr(
            NewCSR(name, made, csr.subject, key.key_type, actor.owner_id, key_id=key.id, template=template),
            event,
            self._now(),
        )

    @uncancelled
    async def store(self, actor: Principal, name: str, data: bytes) -> StoredCSR:
        """Keep a request that was made elsewhere, once its signature is verified.

        :param name: empty: its common name.
        :param data: PEM, DER or base64.

        Fails with MalformedRequest, TooLarge, BadCSR, UnsupportedAlgorithm.
        """
        require_scope(actor, Scope.ENROLL)
        csr = parse_csr(decode_csr_input(data))
        key = verify_csr(csr)
        name = _name(name, csr)
        event = event_by(actor, "create", "CSR", name, actor.owner_id, subject=csr.subject, key=key.text)
        return await self._store.add_csr(
            NewCSR(name, csr.der, csr.subject, key.text, actor.owner_id), event, self._now()
        )

    @uncancelled
    async def get(self, actor: Principal, csr_id: int) -> StoredCSR:
        """One of one's own, or any for admins (CSR-3).  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        return await get_visible(actor, self._store.csr(csr_id), _KIND)

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[StoredCSR]:
        """One's own; for admins those of ``query.owner_id``, or all."""
        return await self._store.csrs(scope_to_owner(actor, query))

    @uncancelled
    async def delete(self, actor: Principal, csr_id: int) -> None:
        """Fails with NotFound."""

        def decide(csr: StoredCSR) -> Event:
            require_visible(actor, csr, _KIND)
            return event_by(actor, "delete", "CSR", csr.name, csr.owner_id, subject=csr.subject)

        require_scope(actor, Scope.ENROLL)
        await self._store.delete_csr(csr_id, decide, self._now())

    def _now(self) -> datetime:
        return utc(self._clock.seconds())

    async def _template(self, actor: Principal, source: RequestSource) -> tuple[str, str | None]:
        """(text, name of the stored template)."""
        if (source.template_id is None) == (source.text is None):
            raise MalformedRequest("name a certificate template or give its text, one of the two")
        if source.template_id is None:
            return source.text or "", None
        found = await self._templates.get(actor, source.template_id)
        return found.content, found.name


def _name(name: str, csr: CertificationRequest) -> str:
    return checked_name(name.strip() or csr.common_name[:MAXIMUM_NAME] or _UNNAMED, "a request's name")


def _preview(text: str, spki: bytes) -> RequestPreview:
    template = parse(text).request()
    algorithm = request_algorithm(describe_spki(spki), template.digest)
    # The signature is all that is missing: reading the rest finds what a CA would refuse.
    unsigned = assemble(certification_request_info(template, spki), algorithm.der, b"")
    return RequestPreview(view_request(parse_csr(unsigned)), csr_text(unsigned).partition("    Signature Value:")[0])


def _make(text: str, spki: bytes, private_key: PrivateKey) -> bytes:
    template = parse(text).request()
    made = sign_request(private_key, certification_request_info(template, spki), template.digest)
    verify_csr(parse_csr(made))
    return made
