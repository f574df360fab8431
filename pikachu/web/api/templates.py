"""``/templates`` and ``/x509-templates``: certificate templates, and the files that they are rendered from (TPL)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pikachu.config.configuration import Configuration
from pikachu.core.constraints import Length, Omissible, OneOf
from pikachu.core.errors import MalformedRequest
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.account_objects import CertificateTemplate
from pikachu.core.model.people import Scope
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.inventory.template_files import VariableKind, X509Template, X509Templates
from pikachu.inventory.templates import MAXIMUM_NAME, MAXIMUM_TYPE, CertificateTemplates, TemplateDraft, usages_of
from pikachu.web.api.bodies import extended
from pikachu.web.api.examples import EXTENSIONS, TEMPLATE
from pikachu.web.api.routes import NO_CONTENT, Answer, Call, Listed, Operation, Routes, created, listed, tagged
from pikachu.web.x509_rendering import JinjaText

_Name: TypeAlias = Annotated[str, Length(1, MAXIMUM_NAME)]
_ProfileType: TypeAlias = Annotated[str, Length(1, MAXIMUM_TYPE)]
_USAGES: Final = OneOf(("req", "ext"))
_Usage: TypeAlias = Annotated[str, _USAGES]


@dataclass(frozen=True, slots=True)
class TemplateBody:
    """A certificate template; with ``system`` it is visible to everyone (administrators only)."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"name": "Pump", "profile_type": "device", "content": TEMPLATE}

    name: _Name
    profile_type: _ProfileType
    content: str
    system: bool = False


@dataclass(frozen=True, slots=True)
class TemplateChange:
    """Omitted members stay unchanged."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"profile_type": "client"}

    name: Omissible[_Name] = None
    profile_type: Omissible[_ProfileType] = None
    content: Omissible[str] = None
    system: Omissible[bool] = None


@dataclass(frozen=True, slots=True)
class TemplateText:
    """The text of a certificate template."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"content": f"[ v3_ext ]\n{EXTENSIONS}"}

    content: str


@dataclass(frozen=True, slots=True)
class Validated:
    """``usages``: ``req`` where it configures requests, ``ext`` where it configures certificates."""

    usages: tuple[_Usage, ...]


@dataclass(frozen=True, slots=True)
class TemplateSummary:
    """A certificate template without its text; ``origin`` is ``manually`` or a ``.j2`` file."""

    id: int
    name: str
    profile_type: str
    origin: str
    usages: tuple[_Usage, ...]
    system: bool
    owner_id: int | None
    owner: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TemplateDocument(TemplateSummary):
    """A certificate template."""

    content: str


@dataclass(frozen=True, slots=True)
class VariableDocument:
    """A variable; a ``default`` of null means that a value is required."""

    name: str
    kind: VariableKind
    default: str | None


@dataclass(frozen=True, slots=True)
class X509TemplateDocument:
    """A file; ``own``: from the operator's folder; ``error``: the error in it."""

    name: str
    own: bool
    description: str
    profile_type: str
    variables: tuple[VariableDocument, ...]
    error: str | None


@dataclass(frozen=True, slots=True)
class VariableValue:
    """The value of one variable; flags are ``true`` or ``false``."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class RenderBody:
    """The certificate template to create; omitted variables have their defaults."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"name": "TLS client"}

    name: _Name
    profile_type: _ProfileType | None = None
    variables: tuple[VariableValue, ...] = ()
    system: bool = False


class TemplatesAPI(Routes):
    """Certificate templates."""

    def __init__(self, *, templates: CertificateTemplates, inventory: CertificateQueries) -> None:
        self._templates: CertificateTemplates = templates
        self._inventory = inventory

    @Operation(
        "POST",
        "/templates",
        scope=Scope.ENROLL,
        summary="Keep a certificate template",
        body=TemplateBody,
        answer=TemplateDocument,
        statuses=(201,),
        tagged=True,
    )
    async def create(self, call: Call) -> Answer:
        """Create a template (TPL-3); 422 with the line of an error."""
        body = call.take(TemplateBody)
        draft = TemplateDraft(body.name, body.profile_type, body.content, body.system)
        template = await self._templates.add(call.principal, draft)
        return created(
            f"/templates/{template.id}", await _document(self._inventory, call, template), version=template.version
        )

    @Operation(
        "POST",
        "/templates/validation",
        scope=Scope.READ,
        summary="Check the text of a certificate template; nothing is kept",
        body=TemplateText,
        answer=Validated,
    )
    async def validate(self, call: Call) -> Answer:
        """Validate a template's text (TPL-3); 422 with the line of an error."""
        usages = await self._templates.validate(call.principal, call.take(TemplateText).content)
        return Answer(200, Validated(tuple(usage for usage in map(str, _USAGES.choices) if usage in usages)))

    @Operation(
        "GET",
        "/templates",
        scope=Scope.READ,
        summary="Certificate templates without their texts: one's own and everybody's, or for admins all",
        answer=TemplateSummary,
        listed=True,
        filters={"usage": "usage", "profile_type": "profile_type"},
        choices={"usage": _USAGES.choices},
        owner="owner_id",
        sorts=("id", "created_at", "name", "profile_type", "origin", "updated_at", "user"),
    )
    async def list(self, call: Call) -> Answer:
        """List templates; ``usage`` is ``req`` or ``ext``."""
        page = await self._templates.list(call.principal, call.list_query())
        names = await self._inventory.owner_names(call.principal, [one.owner_id for one in page.items])
        return listed(page, lambda one: _summary(one, names))

    @Operation(
        "GET",
        "/templates/<id>",
        scope=Scope.READ,
        summary="One certificate template",
        answer=TemplateDocument,
        tagged=True,
    )
    async def get(self, call: Call) -> Answer:
        """Return a template (TPL-3)."""
        template = await self._templates.get(call.principal, call.id)
        return tagged(await _document(self._inventory, call, template), template.version)

    @Operation(
        "PUT",
        "/templates/<id>",
        scope=(Scope.READ, Scope.ENROLL),
        summary="Replace a certificate template; its origin stays",
        body=TemplateBody,
        answer=TemplateDocument,
        tagged=True,
    )
    async def replace(self, call: Call) -> Answer:
        """Replace a template; omitted members get their defaults."""
        body = call.take(TemplateBody)
        changed = await self._templates.update(
            call.principal,
            call.id,
            name=body.name,
            profile_type=body.profile_type,
            content=body.content,
            system=body.system,
            expected=call.expected,
        )
        return Answer(200, await _document(self._inventory, call, changed))

    @Operation(
        "PATCH",
        "/templates/<id>",
        scope=(Scope.READ, Scope.ENROLL),
        summary="Change a certificate template",
        body=TemplateChange,
        answer=TemplateDocument,
        tagged=True,
    )
    async def update(self, call: Call) -> Answer:
        """Update a template; omitted members stay unchanged."""
        body = call.take(TemplateChange)
        changes = {name: getattr(body, name) for name in call.present}
        changed = await self._templates.update(call.principal, call.id, **changes, expected=call.expected)
        return tagged(await _document(self._inventory, call, changed), changed.version)

    @Operation(
        "DELETE",
        "/templates/<id>",
        scope=(Scope.READ, Scope.ENROLL),
        summary="Delete a certificate template",
        statuses=(204,),
        tagged=True,
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a template; the objects created from it are kept."""
        await self._templates.delete(call.principal, call.id, expected=call.expected)
        return NO_CONTENT


class X509TemplatesAPI(Routes):
    """Jinja templates that certificate templates are rendered from; administrators only."""

    def __init__(
        self,
        *,
        templates: CertificateTemplates,
        config: Configuration,
        files_pool: IWorkerPool,
        inventory: CertificateQueries,
    ) -> None:
        self._files = X509Templates(templates, JinjaText, config.paths.x509_templates, files_pool)
        self._inventory = inventory

    @Operation(
        "GET",
        "/x509-templates",
        scope=Scope.AUDIT,
        summary="Files that certificate templates are rendered from; the operator's own precede shipped ones",
        answer=X509TemplateDocument,
        listed=True,
        sorts=(),
    )
    async def list(self, call: Call) -> Answer:
        """List the files by name on one page (TPL-4)."""
        files = await self._files.list(call.principal)
        return Answer(200, Listed(tuple(_file(one) for one in files), None))

    @Operation(
        "GET",
        "/x509-templates/<name>",
        scope=Scope.AUDIT,
        summary="One file with its variables and their defaults",
        answer=X509TemplateDocument,
    )
    async def get(self, call: Call) -> Answer:
        """Return a file with its variables (TPL-4)."""
        return Answer(200, _file(await self._files.get(call.principal, call.path["name"])))

    @Operation(
        "POST",
        "/x509-templates/<name>/render",
        scope=(Scope.ADMIN, Scope.ENROLL),
        summary="Make a certificate template of a file",
        body=RenderBody,
        answer=TemplateDocument,
        statuses=(201,),
    )
    async def render(self, call: Call) -> Answer:
        """Render a file to a certificate template (TPL-4); 422 with the line of an error, in the file or in the
        rendered text.
        """
        body, name = call.take(RenderBody), call.path["name"]
        values = {one.name: one.value for one in body.variables}
        if len(values) != len(body.variables):
            raise MalformedRequest("“variables” has the same name twice.")
        kind = body.profile_type
        if kind is None:
            kind = (await self._files.get(call.principal, name)).profile_type
        template = await self._files.render(call.principal, name, values, body.name, kind, system=body.system)
        return created(f"/templates/{template.id}", await _document(self._inventory, call, template))


async def _document(inventory: CertificateQueries, call: Call, template: CertificateTemplate) -> TemplateDocument:
    names = await inventory.owner_names(call.principal, [template.owner_id])
    return extended(TemplateDocument, _summary(template, names), content=template.content)


def _summary(template: CertificateTemplate, names: OwnerNames) -> TemplateSummary:
    return TemplateSummary(
        id=template.id,
        name=template.name,
        profile_type=template.profile_type,
        origin=template.origin,
        usages=usages_of(template),
        system=template.owner_id is None,
        owner_id=template.owner_id,
        owner=names.get(template.owner_id),
        created_at=template.created_at,
        updated_at=template.updated_at,
    )


def _file(template: X509Template) -> X509TemplateDocument:
    variables = tuple(VariableDocument(one.name, one.kind, one.default) for one in template.variables)
    return X509TemplateDocument(
        template.name, template.own, template.description, template.profile_type, variables, template.error
    )
