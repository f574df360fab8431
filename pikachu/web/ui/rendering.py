"""Render page templates to bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.bccache import Bucket
from jinja2.runtime import Context
from markupsafe import Markup, escape

from pikachu import __version__
from pikachu.core.errors import PikachuError
from pikachu.core.model.times import rfc3339
from pikachu.core.sentences import sentence
from pikachu.web.ui.browser_names import browser_name
from pikachu.web.ui.navigation import NOTES, shortcut
from pikachu.web.ui.static import StaticFiles
from pikachu.web.ui.tables import ListView
from pikachu.x509.private_key_input import without_private_keys

_COMMAND: Final = re.compile("`([^`]{1,200})`")
FOLDER: Final = Path(__file__).parents[2] / "templates" / "html"


_compiled: Final[dict[str, bytes]] = {}


class _CompiledTemplates(BytecodeCache):
    """Compiled templates, for all servers of this process: compiling one takes up to 0.1 s."""

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in _compiled:
            bucket.bytecode_from_string(_compiled[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        _compiled[bucket.key] = bucket.bytecode_to_string()


class Renderer:
    """Renders pages; every value is escaped, and an undefined name is an error.

    :param static: the files that pages refer to.
    :param body_limit: bytes of the largest form that the server takes.
    """

    def __init__(self, static: StaticFiles, body_limit: int) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            bytecode_cache=_CompiledTemplates(),
        )
        self._environment.filters.update(moment=moment, day=day, duration=duration, cells=cells, browser=browser_name)
        self._environment.filters.update(error_text=error_text, error_field=error_field, sentence=sentence)
        self._environment.filters.update(marked=marked, without_private_keys=_without_private_keys)
        self._environment.globals.update(
            version=__version__, static=static.url, nav_link=_nav_link, body_limit=body_limit
        )

    def render(self, template: str, context: Mapping[str, object]) -> bytes:
        """Render a page in UTF-8."""
        return self._environment.get_template(template).render(context).encode("utf-8", "replace")


def moment(value: datetime | None) -> Markup:
    """Format a time in UTC; a script adds the local time as a tooltip."""
    if value is None:
        return Markup('<span class="mute">\u2013</span>')
    text = value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return Markup('<time class="moment" datetime="{}">{}<span class="utc"> UTC</span></time>').format(
        rfc3339(value), text
    )


def day(value: datetime | None) -> str:
    """Format the day in UTC."""
    return "\u2013" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d")


def duration(value: timedelta | None) -> str:
    """Format a duration in its two greatest units."""
    if value is None:
        return "\u2013"
    left = int(value.total_seconds())
    units = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            units.append(f"{count} {unit}")
    return " ".join(units[:2]) or "0 s"


def marked(text: str) -> Markup:
    """Return a message for a page, with the commands between its backticks as code."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def error_text(error: PikachuError | str) -> str:
    """Return the message of an error of a form as a sentence."""
    return sentence(error if isinstance(error, str) else error.public)


def error_field(error: PikachuError | str | None) -> str:
    """Return the name of the field that an error of a form is about, or an empty string."""
    return error.field if isinstance(error, PikachuError) else ""


def _without_private_keys(value: object) -> object:
    """Return the value of a field that is shown again, without private keys that were pasted by mistake."""
    return without_private_keys(value) if isinstance(value, str) else value


def cells(row: Markup, view: ListView, item: object) -> Markup:
    """Arrange the cells of a list's row as its columns are chosen, with their labels, which phones show beside them.

    :raises ValueError: when the row has not one cell for each column.
    """
    _, *texts = row.split("<td")
    contents = dict(zip(view.cells, texts, strict=True))
    label = Markup('<td data-label="{}" data-part="{}"')
    arranged = []
    for heading in view.headings:
        content = contents.get(heading.name)
        if content is None:
            assert heading.text is not None  # noqa: S101 - a column has a cell or a text
            content = Markup(">{}</td>").format(heading.text(item) or "\u2013")
        arranged.append(label.format(heading.label, heading.part) + content)
    return Markup("").join(arranged)


@pass_context
def _nav_link(context: Context, path: str, label: str) -> Markup:
    """Return a link of the menu, marked when it leads to the current page or a parent of it."""
    current: Any = context.get("current_path", "")
    mark = Markup(' aria-current="page"') if path == current else Markup("")
    visit: Any = context.get("visit")
    waiting = visit.waiting if path == "/ra/approvals" and visit is not None else 0
    badge = Markup(' <span class="badge warn">{}<span class="sr"> waiting</span></span>').format(waiting)
    note = Markup(' <span class="note">{}</span>').format(NOTES[path]) if path in NOTES else ""
    key = Markup(' data-key="{}"').format(shortcut(path)) if shortcut(path) else ""
    attributes = Markup("{}{}").format(mark, key)
    return Markup('<a href="{}"{}>{}{}{}</a>').format(path, attributes, label, badge if waiting else "", note)
