"""Stored CSRs: created from stored keys and templates, or uploaded (CSR-1 to CSR-3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pikachu.auth.permissions import Sphere, get_visible, require_changeable, require_scope, scope_to_owner
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.requests import NewCSR, StoredCSR
from pikachu.core.model.times import utc
from pikachu.inventory.keys import MAXIMUM_NAME, Keys, checked_name
from pikachu.inventory.new_certificates import CertificateNames
from pikachu.inventory.templates import CertificateTemplates
from pikachu.signers.key import sign_request
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME, assemble
from pikachu.x509.csr import CertificationRequest, decode_csr_input, parse_csr, verify_csr
from pikachu.x509.keys import KEY_NAMES, PrivateKey
from pikachu.x509.names import Name
from pikachu.x509.placeholder_keys import placeholder_public_key
from pikachu.x509.request_info import request_for, request_info, with_names
from pikachu.x509.request_text import RequestView, view_request
from pikachu.x509.san import GeneralName, parse_san
from pikachu.x509.signature import request_algorithm
from pikachu.x509.spki import describe_spki
from pikachu.x509.template import certification_request_info, parse
from pikachu.x509.text.csr import csr_text

_UNNAMED: Final = "unnamed"
_KIND: Final = "certificate signing request"


@dataclass(frozen=True, slots=True)
class RequestSource:
    """The key, the template and the names of a CSR to create.

    :param key_id: the id of the stored key.
    :param template_id: the id of a stored certificate template of usage ``req``, or ``None`` with *text*.
    :param text: the text of a template.
    :param names: names in place of those of the template, which may then be missing.
    """

    key_id: int
    template_id: int | None = None
    text: str | None = None
    names: CertificateNames | None = None


@dataclass(frozen=True, slots=True)
class TemplateNames:
    """The names that a template gives to CSRs.

    :param content: the text of the template.
    """

    subject: Name
    sans: tuple[GeneralName, ...]
    content: str


@dataclass(frozen=True, slots=True)
class RequestPreview:
    """The content of a CSR before it is signed.

    :param text: its text form without the signature.
    """

    view: RequestView
    text: str


class CertificateRequests:
    """Creates and stores CSRs.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized without the role or scope,
    with NotFound for an invisible key or template, with BadTemplate and its line, with BadCSR for a request that no CA
    here accepts, and with StoreUnavailable.

    :param pool: parses texts and signs CSRs.
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
        """Return the content of the CSR without signing or storing it."""
        require_scope(actor, Scope.READ)
        key = await self._keys.get(actor, source.key_id)
        text, _ = await self._template(actor, source)
        return await self._pool.run(_preview, text, source.names, key.spki)

    @uncancelled
    async def names_of(self, actor: Principal, template_id: int) -> TemplateNames:
        """Return the subject and the subject alternative names of a stored certificate template."""
        require_scope(actor, Scope.READ)
        stored = await self._templates.get(actor, template_id)
        return await self._pool.run(_names_of, stored.content)

    @uncancelled
    async def generate(self, actor: Principal, name: str, source: RequestSource) -> StoredCSR:
        """Create, sign and store a CSR of the actor.

        :param name: empty for its common name.

        Also fails with MalformedRequest (name), UnsupportedAlgorithm (digest).
        """
        require_scope(actor, Scope.ENROLL)
        text, template = await self._template(actor, source)
        key, private_key = await self._keys.opened(actor, source.key_id)
        der = await self._pool.run(_sign, text, source.names, key.spki, private_key)
        csr = parse_csr(der)
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
            NewCSR(name, der, csr.subject, key.key_type, actor.owner_id, key_id=key.id, template=template),
            event,
            self._now(),
        )

    @uncancelled
    async def store(self, actor: Principal, name: str, data: bytes) -> StoredCSR:
        """Verify and store an uploaded CSR.

        :param name: empty for its common name.
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
        """Return a visible CSR (CSR-3).  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        return await get_visible(actor, self._store.csr(csr_id), _KIND, Sphere.ISSUANCE)

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[StoredCSR]:
        """List the actor's CSRs; for who sees all those of ``query.owner_id``, or all."""
        return await self._store.csrs(scope_to_owner(actor, query, Sphere.ISSUANCE))

    @uncancelled
    async def delete(self, actor: Principal, csr_id: int) -> None:
        """Delete a visible CSR.  Fails with NotFound."""

        def decide(csr: StoredCSR) -> Event:
            require_changeable(actor, csr, _KIND, Sphere.ISSUANCE)
            return event_by(actor, "delete", "CSR", csr.name, csr.owner_id, subject=csr.subject)

        require_scope(actor, Scope.ENROLL)
        await self._store.delete_csr(csr_id, decide, self._now())

    def _now(self) -> datetime:
        return utc(self._clock.seconds())

    async def _template(self, actor: Principal, source: RequestSource) -> tuple[str | None, str | None]:
        """Return (text, name of the stored template)."""
        if source.template_id is None and source.text is None and source.names is not None:
            return None, None
        if (source.template_id is None) == (source.text is None):
            raise MalformedRequest("name a certificate template or give its text, one of the two")
        if source.template_id is None:
            return source.text, None
        stored = await self._templates.get(actor, source.template_id)
        return stored.content, stored.name


def _name(name: str, csr: CertificationRequest) -> str:
    return checked_name(name.strip() or csr.common_name[:MAXIMUM_NAME] or _UNNAMED, "a request's name")


def _info(text: str | None, names: CertificateNames | None, spki: bytes) -> tuple[bytes, str | None]:
    """Return the CertificationRequestInfo, and the digest to sign it with."""
    if text is None and names is not None:
        return request_for(names.subject_der, names.sans, spki), None
    template = parse(text or "").request()
    if names is None:
        return certification_request_info(template, spki), template.digest
    extensions = with_names(template.extensions(spki), names.subject_der, names.sans)
    return request_info(names.subject_der, spki, extensions, template.attributes), template.digest


def _names_of(text: str) -> TemplateNames:
    spki = placeholder_public_key(KEY_NAMES[0])
    info, _ = _info(text, None, spki)
    csr = parse_csr(assemble(info, request_algorithm(describe_spki(spki), None).der, b""))
    extension = csr.extension(SUBJECT_ALTERNATIVE_NAME)
    sans = () if extension is None else parse_san(extension.value, allow_other_name=True)
    return TemplateNames(csr.name, sans, text)


def _preview(text: str | None, names: CertificateNames | None, spki: bytes) -> RequestPreview:
    info, digest = _info(text, names, spki)
    unsigned = assemble(info, request_algorithm(describe_spki(spki), digest).der, b"")
    return RequestPreview(view_request(_checked(unsigned)), csr_text(unsigned).partition("    Signature Value:")[0])


def _sign(text: str | None, names: CertificateNames | None, spki: bytes, private_key: PrivateKey) -> bytes:
    info, digest = _info(text, names, spki)
    der = sign_request(private_key, info, digest)
    verify_csr(_checked(der))
    return der


def _checked(der: bytes) -> CertificationRequest:
    """Parse a new CSR like a CA that copies its names, to report what that CA would refuse."""
    csr = parse_csr(der)
    csr.requested_names()
    return csr
