"""``/inspect``: decode a pasted or uploaded object (UI-7)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from markupsafe import Markup, escape

from pikachu.auth.permissions import Audience
from pikachu.core.errors import PikachuError, errors_of
from pikachu.inspection.recognition import Fact, Kind, Value
from pikachu.inspection.service import Inspected, Inspection
from pikachu.web.ui.forms import Form
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.rendering import moment
from pikachu.web.ui.responses import HtmlPage, PageReply
from pikachu.x509.private_key_input import without_unencrypted_keys

_TEMPLATE: Final = "inspect/page.html"
_SECRET: Final = frozenset({Kind.PRIVATE_KEY, Kind.PKCS12})
_SECRET_TITLES: Final = frozenset(kind.display_name for kind in _SECRET)
_LABELS: Final = {
    "certificate_authority": "CA certificate",
    "crls": "CRLs",
    "fingerprint_sha256": "SHA-256 fingerprint",
    "form": "Encoding",
    "issuer_key_hash": "Issuer's key hash",
    "key_identifier": "Key identifier (SHA-1)",
    "mac": "MAC",
    "public_key_sha256": "SHA-256 of the public key",
    "self_issued": "Issuer is the subject",
    "accepted": "Accepted here",
    "chain": "Chain",
    "chain_complete": "Each certificate issued by the next, and valid now",
    "chain_end": "End of the chain",
    "key_match": "Keys",
    "certificate_id": "Issued here",
}
_CODE_FIELDS: Final = frozenset(
    {"serial", "serials", "fingerprint_sha256", "issuer_key_hash", "key_identifier", "public_key_sha256", "nonce"}
)


class InspectionPages(Pages):
    """The inspection page; nothing is stored or logged."""

    def __init__(self, *, inspection: Inspection) -> None:
        self._inspection = inspection

    @page("GET", "/inspect", audience=Audience.USER)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the empty form, which *Clear* links to."""
        return HtmlPage(_TEMPLATE, {"data": "", "result": None})

    @page("POST", "/inspect", audience=Audience.USER, keeps_draft=False)
    async def inspect(self, visit: PageRequest) -> PageReply:
        """Show the decoded object, also in openssl's output."""
        data, redisplayed = _submitted_data(visit.form)
        try:
            passphrase = visit.form.whole_text("passphrase")
            with errors_of("file" if visit.form.data("file") else "data"):
                result = await self._inspection.inspect(visit.principal, data, passphrase, compare=True)
        except PikachuError as error:
            context: dict[str, object] = {"data": without_unencrypted_keys(redisplayed), "result": None}
            return HtmlPage.form(_TEMPLATE, context, error)
        if (result.kind in _SECRET or _has_secret(result)) and not result.locked:
            # A secret must not stay on the screen.
            redisplayed = ""
        redisplayed = without_unencrypted_keys(redisplayed)
        further = [(title, labelled_fields(fields)) for title, fields in result.further]
        facts = labelled_fields(result.facts)
        return HtmlPage(_TEMPLATE, {"data": redisplayed, "result": result, "facts": facts, "further": further})


def _has_secret(result: Inspected) -> bool:
    """Return whether a further object is a secret."""
    return any(title in _SECRET_TITLES for title, _ in result.further)


def _submitted_data(form: Form) -> tuple[bytes, str]:
    """Return the submitted data, a file before a text, and the text that redisplays it in the form."""
    upload = form.data("file")
    if not upload:
        return form.data("data"), form.values.get("data", "")
    try:
        text = upload.decode("ascii")
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable() or ("-----BEGIN " in text and "\0" not in text):
        return upload, text
    return upload, base64.encodebytes(upload).decode("ascii")


def labelled_fields(facts: Sequence[Fact]) -> list[tuple[str, Markup]]:
    """Return the labels and values of an object's fields for the page."""
    return [
        (_LABELS.get(name) or name.replace("_", " ").capitalize(), _format_value(name, value))
        for name, value in facts
        if value not in (None, (), "")
    ]


def _format_value(name: str, value: Value) -> Markup:
    if isinstance(value, bool):
        return escape("yes" if value else "no")
    if name == "certificate_id":
        return Markup('<a href="/certificates/{}">Certificate {}</a>').format(value, value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, tuple):
        items = Markup("").join(Markup("<li>{}</li>").format(_format_value(name, one)) for one in value)
        return Markup('<ul class="values">{}</ul>').format(items)
    if name in _CODE_FIELDS:
        return Markup("<code>{}</code>").format(value)
    return escape(value)
