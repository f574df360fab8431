"""What a page's coroutine gives: a page, another address, a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias

from twisted.web.resource import Resource

from pikachu.core.errors import PikachuError
from pikachu.web.errors import outcome_of


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """A page.

    :param template: below ``templates/html/``.
    :param context: what it shows.
    """

    template: str
    context: Mapping[str, object] = field(default_factory=dict)
    status: int = HTTPStatus.OK

    @classmethod
    def form(cls, template: str, context: Mapping[str, object], error: PikachuError | None = None) -> HtmlPage:
        """A page with a form: empty, or once more with what was sent and, as ``error``, why that was refused."""
        return cls(template, {**context, "error": error}, HTTPStatus.OK if error is None else outcome_of(error).status)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another page is to be looked at (303); the address is one of this server's own.

    :param notice: shown there, once.
    """

    location: str
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Download:
    """A file to keep."""

    body: bytes
    content_type: bytes
    filename: str

    @property
    def disposition(self) -> bytes:
        """Content-Disposition with a name that every system takes (RFC 6266)."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", self.filename).strip("._") or "download"
        return f'attachment; filename="{name[:120]}"'.encode("ascii")


@dataclass(frozen=True, slots=True)
class RawBody:
    """Something else than a page, for scripts of pages."""

    body: bytes
    content_type: bytes
    status: int = HTTPStatus.OK


#: A resource answers by itself: for what is sent bit by bit.
PageReply: TypeAlias = HtmlPage | Redirect | Download | RawBody | Resource
