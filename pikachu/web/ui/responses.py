"""Results of a page's coroutine: a page, a redirect, a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeAlias

from twisted.web.resource import Resource

from pikachu.core.errors import PikachuError
from pikachu.web.errors import outcome_of

# A local path: without a second slash or backslash, which browsers read as another host.
_OWN_PATH: Final = re.compile(r"/(?![/\\])[!-~]{0,1000}")


def own_path(text: str, otherwise: str = "/") -> str:
    """Return *text* when it is a local path, else *otherwise*, which prevents open redirects (UI-5)."""
    return text if _OWN_PATH.fullmatch(text) and "\\" not in text else otherwise


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """An HTML page.

    :param template: below ``templates/html/``.
    :param context: its variables.
    """

    template: str
    context: Mapping[str, object] = field(default_factory=dict)
    status: int = HTTPStatus.OK

    @classmethod
    def form(cls, template: str, context: Mapping[str, object], error: PikachuError | None = None) -> HtmlPage:
        """Return a page with a form: empty, or redisplayed with the submitted values and the *error*."""
        return cls(template, {**context, "error": error}, HTTPStatus.OK if error is None else outcome_of(error).status)


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect (303) to a local path.

    :param notice: shown there, once; *notice_kind* is ``good`` or ``warn``.
    :param secret: for the page there, once, as :attr:`pikachu.web.ui.pages.PageRequest.secret`.
    """

    location: str
    notice: str = ""
    notice_kind: str = "good"
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ExternalRedirect:
    """A redirect (302) to an address of another server, which this server has composed."""

    location: str


@dataclass(frozen=True, slots=True)
class Download:
    """A file to download."""

    body: bytes
    content_type: bytes
    filename: str

    @property
    def disposition(self) -> bytes:
        """Return the Content-Disposition with a name that every system accepts (RFC 6266)."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", self.filename).strip("._") or "download"
        return f'attachment; filename="{name[:120]}"'.encode("ascii")


@dataclass(frozen=True, slots=True)
class RawBody:
    """A body other than HTML, for scripts of pages."""

    body: bytes
    content_type: bytes
    status: int = HTTPStatus.OK


#: A Resource writes its response itself, which allows streaming.
PageReply: TypeAlias = HtmlPage | Redirect | ExternalRedirect | Download | RawBody | Resource
