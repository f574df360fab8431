"""Cookies of the pages (RFC 6265), all bound to this host, HTTPS only and inaccessible to scripts."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import SecretKeyChanged
from pikachu.core.sealing import Sealer

#: Cookie that the CSRF token is bound to before there is a session.
VISITOR: Final = "__Host-pikachu-visitor"
NOTICE: Final = "__Host-pikachu-notice"
#: Cookie with the proof that a password was right, for the second step of a sign-in.
PENDING: Final = "__Host-pikachu-pending"
#: Cookie with the attempt to sign in with a provider.
ATTEMPT: Final = "__Host-pikachu-attempt"
#: Cookie with a secret for the next page, which shows it once.
SHOWN_ONCE: Final = "__Host-pikachu-once"
_MAXIMUM_NOTICE: Final = 400


def cookie(name: str, value: str, *, seconds: int | None = None) -> bytes:
    """Return a Set-Cookie value; without *seconds* it is a session cookie."""
    max_age = "" if seconds is None else f"; Max-Age={seconds}"
    return f"{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{max_age}".encode("ascii")


@dataclass(frozen=True, slots=True)
class Notice:
    """A message above a page.

    :param kind: ``good`` or ``warn``.
    """

    text: str = ""
    kind: str = "good"


NO_NOTICE: Final = Notice()


def seal_secret(sealer: Sealer, location: str, secret: str) -> str:
    """Seal a text that only the page at *location* may show, once."""
    return base64.urlsafe_b64encode(sealer.seal("shown once", f"{location}\n{secret}".encode())).decode()


def open_secret(sealer: Sealer, location: str, value: str) -> str:
    """Return the secret in a cookie; empty when its seal is invalid or it is for another page."""
    try:
        text = sealer.open("shown once", base64.urlsafe_b64decode(value.encode("ascii", "replace"))).decode()
    except (SecretKeyChanged, ValueError, binascii.Error):
        return ""
    page, _, secret = text.partition("\n")
    return secret if page == location else ""


def seal_notice(sealer: Sealer, notice: Notice) -> str:
    """Seal a notice for the next page, so that only this server can have written it."""
    content = f"{notice.kind} {notice.text[:_MAXIMUM_NOTICE]}"
    return base64.urlsafe_b64encode(sealer.seal("notice", content.encode())).decode()


def open_notice(sealer: Sealer, value: str) -> Notice:
    """Return the notice in a cookie; empty when its seal is invalid."""
    try:
        text = sealer.open("notice", base64.urlsafe_b64decode(value.encode("ascii", "replace"))).decode()
    except (SecretKeyChanged, ValueError, binascii.Error):
        return NO_NOTICE
    kind, _, text = text.partition(" ")
    return Notice(text, kind)
