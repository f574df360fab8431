"""Drafts of forms: what is kept of a submitted form, and how it is filled in again (ROL-2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from html.parser import HTMLParser
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from pikachu.core.model.sign_in import Draft
from pikachu.web.ui.pages import PageRequest

#: The query parameter with the id of the draft to fill in.
DRAFT: Final = "draft"
#: Fields that are never kept: secrets, typed confirmations, and what each page sets itself.
SECRET_FIELDS: Final = frozenset(
    {"password", "confirmation", "current", "passphrase", "again", "secret", "code", "offer"}
)
_OWN_FIELDS: Final = frozenset({"csrf", "back", "from_page", "confirm"})
_PRIVATE_KEY: Final = "PRIVATE KEY-----"
_MAXIMUM_FIELDS: Final = 2000
_FILLED_BY_VALUE: Final = frozenset(
    {"text", "email", "number", "search", "date", "datetime-local", "hidden", "url", "tel", ""}
)
Attributes = list[tuple[str, str | None]]


def draft_of(visit: PageRequest) -> Draft:
    """Return the entries of the submitted form, without secrets and files."""
    fields = [
        (name, value)
        for name, value in visit.form.pairs()
        if name not in SECRET_FIELDS and name not in _OWN_FIELDS and _PRIVATE_KEY not in value
    ]
    return Draft(visit.form_page, visit.request.path.decode("ascii", "replace"), tuple(fields[:_MAXIMUM_FIELDS]))


def draft_location(draft: Draft, draft_id: int | None) -> str:
    """Return path and query of the draft's page; with an id, its form is filled in again there."""
    path, _, query = draft.page.partition("?")
    pairs = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != DRAFT]
    if draft_id is not None:
        pairs.append((DRAFT, str(draft_id)))
    return f"{path}?{urlencode(pairs)}" if pairs else path


def fill_in(html: str, draft: Draft) -> str:
    """Return the page with the draft's entries in the form that they were sent with."""
    filler = _Filler(draft)
    filler.feed(html)
    filler.close()
    return "".join(filler.output)


class _Filler(HTMLParser):
    """Copies a page, with other values in the fields of one form."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(convert_charrefs=False)
        self.output: list[str] = []
        self._draft = draft
        self._page_path = urlsplit(draft.page).path
        self._values: dict[str, list[str]] = {}
        for name, value in draft.fields:
            self._values.setdefault(name, []).append(value)
        self._used: dict[str, int] = {}
        self._inside = False
        self._select: str | None = None
        self._replaced: str | None = None

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        """Copy a start tag, changed where it has an entry."""
        text = self.get_starttag_text() or ""
        attributes = dict(attrs)
        name = attributes.get("name") or ""
        if tag == "form":
            action = attributes.get("action") or self._page_path
            post = (attributes.get("method") or "").lower() == "post"
            self._inside = post and action == self._draft.action
        elif self._inside and tag == "select":
            self._select = name if name in self._values else None
        elif self._inside and tag == "option" and self._select is not None:
            chosen = attributes.get("value") in self._values[self._select]
            text = _tag(tag, attrs, selected=chosen)
        elif self._inside and tag == "input":
            text = self._input(attrs, attributes, name) or text
        elif self._inside and tag == "textarea" and name in self._values:
            text += "\n" + escape(self._next(name))
            self._replaced = tag
        if self._replaced is None or tag == self._replaced:
            self.output.append(text)

    def _input(self, attrs: Attributes, attributes: Mapping[str, str | None], name: str) -> str | None:
        """Return the changed tag of an input, or None when it stays as it is."""
        kind = (attributes.get("type") or "").lower()
        if not name or name in _OWN_FIELDS or name in SECRET_FIELDS:
            return None
        if kind in ("checkbox", "radio"):
            return _tag("input", attrs, checked=(attributes.get("value") or "on") in self._values.get(name, ()))
        if kind in _FILLED_BY_VALUE and name in self._values:
            return _tag("input", [*((key, text) for key, text in attrs if key != "value"), ("value", self._next(name))])
        return None

    def _next(self, name: str) -> str:
        """Return the next value of a field that may be there several times."""
        position = self._used.get(name, 0)
        self._used[name] = position + 1
        values: Sequence[str] = self._values[name]
        return values[position] if position < len(values) else ""

    def handle_endtag(self, tag: str) -> None:
        """Copy an end tag."""
        if tag == self._replaced:
            self._replaced = None
        if tag == "form":
            self._inside = False
        elif tag == "select":
            self._select = None
        self._copy(f"</{tag}>")

    def _copy(self, text: str) -> None:
        if self._replaced is None:
            self.output.append(text)

    def handle_data(self, data: str) -> None:
        """Copy text."""
        self._copy(data)

    def handle_entityref(self, name: str) -> None:
        """Copy a named reference."""
        self._copy(f"&{name};")

    def handle_charref(self, name: str) -> None:
        """Copy a numeric reference."""
        self._copy(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        """Copy a comment."""
        self._copy(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        """Copy the document type."""
        self._copy(f"<!{decl}>")


def _tag(name: str, attrs: Attributes, **flags: bool) -> str:
    """Return a start tag, with its boolean attributes *flags* set or removed."""
    kept: Attributes = [(key, value) for key, value in attrs if key not in flags]
    kept += [(key, None) for key, is_set in flags.items() if is_set]
    texts = (f" {key}" if value is None else f' {key}="{escape(value)}"' for key, value in kept)
    return f"<{name}{''.join(texts)}>"
