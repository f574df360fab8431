"""The ``*.cnf.j2`` files from which administrators create certificate templates (TPL-4).

Files are read at each use, so that changes take effect immediately.  The template language is given by the reader
passed in.
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
from pikachu.core.model.account_objects import CertificateTemplate
from pikachu.core.model.people import Principal, Scope
from pikachu.inventory.templates import CertificateTemplates, TemplateDraft

#: The files of the program.
SHIPPED_FOLDER: Final = Path(__file__).parents[1] / "templates" / "x509"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.cnf\.j2")
_SUFFIX: Final = ".cnf.j2"
_MAXIMUM_TITLE: Final = 64
_MAXIMUM_FILES: Final = 500
#: Maximum size of a file in bytes.
MAXIMUM_SOURCE: Final = 64 * 1024


class VariableKind(StrEnum):
    """The type of a variable."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a template.

    :param default: the default as text, or ``None`` if a value is required.
    """

    name: str
    kind: VariableKind
    default: str | None


class SourceText(Protocol):
    """The parsed text of a valid file."""

    @property
    def description(self) -> str:
        """The description in its first comment."""

    @property
    def profile_type(self) -> str | None:
        """The suggested profile type."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables, in order of appearance."""

    def render(self, values: Mapping[str, str]) -> str:
        """Render the text with *values* and defaults.

        :raises MalformedRequest: for an unknown variable, or a missing or invalid value.
        :raises BadTemplate: when the template fails with these values.
        """


#: Parses the text of a file; raises BadTemplate with the line of the error.
Read: TypeAlias = Callable[[str], SourceText]


@dataclass(frozen=True, slots=True)
class X509Template:
    """A template file.

    :param name: the name of the file.
    :param own: whether it is in the operator's folder.
    :param description: the description in its first comment.
    :param profile_type: the suggested profile type.
    :param error: the error of an invalid file, which has no variables.
    """

    name: str
    own: bool
    description: str
    profile_type: str
    variables: tuple[Variable, ...]
    error: str | None = None

    @property
    def title(self) -> str:
        """The part of the description before a colon, as a name for templates created from the file."""
        title, colon, _ = self.description.partition(":")
        return title if colon and len(title) <= _MAXIMUM_TITLE else self.name.removesuffix(_SUFFIX)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    own: bool
    read: Read

    def text(self) -> SourceText:
        """Read and parse the file.

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
        """Return the description of the file, also of an invalid one."""
        try:
            text = self.text()
        except BadTemplate as error:
            return X509Template(self.path.name, self.own, "", "Other", (), error.public)
        return X509Template(self.path.name, self.own, text.description, text.profile_type or "Other", text.variables)

    def render(self, values: Mapping[str, str]) -> str:
        """Render the file with *values*.

        :raises BadTemplate: naming the file.
        """
        try:
            return self.text().render(values)
        except BadTemplate as error:
            raise _named(self.path.name, error) from None


class X509Templates:
    """Operations of administrators on template files; for others all methods fail with AuthenticationFailed or
    NotAuthorized.

    They also fail with Conflict when the operator's folder can't be read.

    :param read: parses the text of a file.
    :param folder: the operator's folder; its files override shipped ones with the same name.
    :param pool: reads files and renders templates.
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
        """List all files by name; invalid ones have their error."""
        require_scope(actor, Scope.AUDIT)
        return await self._pool.run(lambda: tuple(file.describe() for file in self._files().values()))

    @uncancelled
    async def get(self, actor: Principal, name: str) -> X509Template:
        """Return a file's description.  Fails with NotFound."""
        require_scope(actor, Scope.AUDIT)
        return await self._pool.run(lambda: self._find(name).describe())

    @uncancelled
    async def text(self, actor: Principal, name: str, values: Mapping[str, str]) -> str:
        """Render a file with *values* and defaults.

        Fails with NotFound, MalformedRequest (naming the variable), and BadTemplate (naming an invalid file).  The
        result is not checked to be a certificate template.
        """
        require_scope(actor, Scope.ADMIN)
        return await self._pool.run(lambda: self._find(name).render(values))

    @uncancelled
    async def render(
        self, actor: Principal, name: str, values: Mapping[str, str], profile: str, profile_type: str, *, system: bool
    ) -> CertificateTemplate:
        """Render a file and store the result as a certificate template named *profile*.

        Fails like :meth:`text` and :meth:`CertificateTemplates.add`.
        """
        content = await self.text(actor, name, values)
        return await self._templates.add(actor, TemplateDraft(profile, profile_type, content, system, name))

    def _find(self, name: str) -> _File:
        file = self._files().get(name)
        if file is None:
            raise NotFound("there is no such template")
        return file

    def _files(self) -> dict[str, _File]:
        """Return all files by name, sorted."""
        files = {path.name: _File(path, False, self._read) for path in _folder(self._shipped)}
        if self._folder is not None:
            try:
                files.update({path.name: _File(path, True, self._read) for path in _folder(self._folder)})
            except OSError as error:
                raise Conflict(
                    f"[PATHS] x509_templates: {self._folder} can't be read ({error.strerror}); make the folder, or "
                    "remove the setting"
                ) from None
        return dict(sorted(files.items())[:_MAXIMUM_FILES])


def _folder(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]


def _named(name: str, error: BadTemplate) -> BadTemplate:
    """Return *error* with the file's name, since its line refers to the file and not to the rendered text."""
    return BadTemplate(0, f"{name}: {error.public}", line_of_file=error.line)
