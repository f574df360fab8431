"""The rules about the ``*.cnf.j2`` files that admins make certificate templates of (TPL-4).

Files are read when they are used: what an operator changes counts at once.  What their language is, is said by who
reads their texts, which is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from pikachu.auth.permissions import require_scope
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import BadTemplate, Conflict, NotFound
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.objects import CertificateTemplate
from pikachu.core.model.people import Principal, Scope
from pikachu.inventory.templates import CertificateTemplates, TemplateDraft

#: Those that come with the program.
SHIPPED_FOLDER: Final = Path(__file__).parents[1] / "templates" / "x509"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.cnf\.j2")
_SUFFIX: Final = ".cnf.j2"
_MAXIMUM_TITLE: Final = 64
_MAXIMUM_FILES: Final = 500
#: Octets of a file.
MAXIMUM_SOURCE: Final = 64 * 1024


class VariableKind(StrEnum):
    """What a variable's value is."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a template.

    :param default: as a person would type it; ``None``: it has none, and a value must be given.
    """

    name: str
    kind: VariableKind
    default: str | None


class SourceText(Protocol):
    """The text of a file, which was found right."""

    @property
    def description(self) -> str:
        """What it says of itself."""

    @property
    def profile_type(self) -> str | None:
        """That it suggests."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """In the order in which they first stand."""

    def render(self, values: Mapping[str, str]) -> str:
        """The text with *values*; what is not there has its default.

        :raises MalformedRequest: a value that there is no variable for, that is missing, or that can't be one.
        :raises BadTemplate: the template does not work with these values.
        """


#: Reads the text of a file; raises BadTemplate with the line that is wrong.
Read: TypeAlias = Callable[[str], SourceText]


@dataclass(frozen=True, slots=True)
class X509Template:
    """A file of the folders.

    :param name: of the file.
    :param own: it lies in the operator's folder.
    :param description: of its first comment.
    :param profile_type: that it suggests.
    :param error: what is wrong with the file; it has no variables then.
    """

    name: str
    own: bool
    description: str
    profile_type: str
    variables: tuple[Variable, ...]
    error: str | None = None

    @property
    def title(self) -> str:
        """What its description begins with, before a colon: a name for what is made of it."""
        title, colon, _ = self.description.partition(":")
        return title if colon and len(title) <= _MAXIMUM_TITLE else self.name.removesuffix(_SUFFIX)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    own: bool
    read: Read

    def text(self) -> SourceText:
        """Its text.

        :raises BadTemplate: when it can't be read.
        """
        try:
            with self.path.open("rb") as stream:
                return self.read(stream.read(MAXIMUM_SOURCE + 1).decode("utf-8"))
        except OSError as error:
            raise BadTemplate(0, f"it can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise BadTemplate(0, "it is not UTF-8") from None

    def describe(self) -> X509Template:
        """The file, whether it is right or not."""
        try:
            text = self.text()
        except BadTemplate as error:
            return X509Template(self.path.name, self.own, "", "Other", (), error.public)
        return X509Template(self.path.name, self.own, text.description, text.profile_type or "Other", text.variables)

    def render(self, values: Mapping[str, str]) -> str:
        """Its text with *values*.

        :raises BadTemplate: naming the file.
        """
        try:
            return self.text().render(values)
        except BadTemplate as error:
            raise _named(self.path.name, error) from None


class X509Templates:
    """What admins do with the folder; all methods fail with AuthenticationFailed and NotAuthorized for others.

    They also fail with Conflict when the operator's folder can't be read.

    :param read: what the files' language is.
    :param folder: the operator's own: its files win over shipped ones of the same name.
    :param pool: where files are read and templates are rendered.
    """

    def __init__(
        self,
        templates: CertificateTemplates,
        read: Read,
        folder: Path | None,
        pool: IWorkerPool,
        shipped: Path = SHIPPED_FOLDER,
    ) -> None:
        self._templates = templates
        self._read = read
        self._folder = folder
        self._shipped = shipped
        self._pool = pool

    @uncancelled
    async def list(self, actor: Principal) -> tuple[X509Template, ...]:
        """All files, by name; one that is broken says what is wrong."""
        require_scope(actor, Scope.ADMIN)
        return await self._pool.run(lambda: tuple(file.describe() for file in self._files().values()))

    @uncancelled
    async def get(self, actor: Principal, name: str) -> X509Template:
        """One file.  Fails with NotFound."""
        require_scope(actor, Scope.ADMIN)
        return await self._pool.run(lambda: self._find(name).describe())

    @uncancelled
    async def text(self, actor: Principal, name: str, values: Mapping[str, str]) -> str:
        """What a file becomes with *values*; variables that are not named have their defaults.

        Fails with NotFound, MalformedRequest (naming the variable), and BadTemplate (naming the file) for a file that
        is wrong; that the text is a certificate template is not checked.
        """
        require_scope(actor, Scope.ADMIN)
        return await self._pool.run(lambda: self._find(name).render(values))

    @uncancelled
    async def render(
        self, actor: Principal, name: str, values: Mapping[str, str], profile: str, profile_type: str, *, system: bool
    ) -> CertificateTemplate:
        """Keep what a file becomes as a certificate template named *profile*.

        Fails as :meth:`text` and :meth:`CertificateTemplates.add`.
        """
        content = await self.text(actor, name, values)
        return await self._templates.add(actor, TemplateDraft(profile, profile_type, content, system, name))

    def _find(self, name: str) -> _File:
        found = self._files().get(name)
        if found is None:
            raise NotFound("there is no such template")
        return found

    def _files(self) -> dict[str, _File]:
        """All files by name, in order."""
        found = {path.name: _File(path, False, self._read) for path in _folder(self._shipped)}
        if self._folder is not None:
            try:
                found.update({path.name: _File(path, True, self._read) for path in _folder(self._folder)})
            except OSError as error:
                raise Conflict(
                    f"[PATHS] x509_templates: {self._folder} can't be read ({error.strerror}); make the folder, or "
                    "remove the setting"
                ) from None
        return dict(sorted(found.items())[:_MAXIMUM_FILES])


def _folder(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]


def _named(name: str, error: BadTemplate) -> BadTemplate:
    """*error* as one of the file, so that nobody looks for its line in the text that is made of it."""
    return BadTemplate(0, f"{name}: {error.public}", line_of_file=error.line)
