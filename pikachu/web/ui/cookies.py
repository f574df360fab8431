"""Cookies of the pages (RFC 6265), all bound to this host, sent on HTTPS only and hidden from scripts."""

from __future__ import annotations

import base64
import binascii
from http.cookies import CookieError, SimpleCookie
from typing import Final

from pikachu.errors import SecretKeyChanged
from pikachu.http.request import BoundedRequest
from pikachu.sealing import Sealer

#: The secret of a session, or, before there is one, what a form is bound to.
SESSION: Final = "__Host-pikachu"
VISITOR: Final = "__Host-pikachu-visitor"
NOTICE: Final = "__Host-pikachu-notice"
_MAXIMUM: Final = 8192
_MAXIMUM_NOTICE: Final = 400


def read_cookies(request: BoundedRequest) -> dict[str, str]:
    """Those that the browser sent; none when the header can't be read."""
    header = b"; ".join(request.requestHeaders.getRawHeaders(b"Cookie") or ())
    if len(header) > _MAXIMUM:
        return {}
    parsed: SimpleCookie = SimpleCookie()
    try:
        parsed.load(header.decode("latin-1"))
    except CookieError:
        return {}
    return {name: one.value for name, one in parsed.items()}


def cookie(name: str, value: str, *, seconds: int | None = None) -> bytes:
    """A Set-Cookie value; without *seconds* it lasts as long as the browser runs."""
    age = "" if seconds is None else f"; Max-Age={seconds}"
    return f"{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}".encode("ascii")


def seal_notice(sealer: Sealer, text: str) -> str:
    """A notice for the next page: only this server can have written it."""
    return base64.urlsafe_b64encode(sealer.seal("notice", text[:_MAXIMUM_NOTICE].encode())).decode()


def open_notice(sealer: Sealer, value: str) -> str:
    """The notice in a cookie; empty when it is none."""
    try:
        return sealer.open("notice", base64.urlsafe_b64decode(value.encode("ascii", "replace"))).decode()
    except (SecretKeyChanged, ValueError, binascii.Error):
        return ""
