"""Challenges for passkeys: random, for one kind of ceremony in one browser, good for five minutes.

No row is stored for them: the browser keeps them sealed, and the row of a passkey keeps the time of the last accepted
one.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from pikachu.core.errors import MalformedRequest, SecretKeyChanged
from pikachu.core.interfaces import IClock
from pikachu.core.sealing import Sealer

#: How long a challenge is good.
LIFETIME: Final = timedelta(minutes=5)
_PURPOSE: Final = "passkey challenge"
_EXPIRED: Final = "The question to your passkey has expired. Try again."


class Ceremony(StrEnum):
    """The purpose of a challenge."""

    REGISTER = "register"
    SIGN_IN = "sign in"
    SECOND_STEP = "second step"


@dataclass(frozen=True, slots=True)
class Place:
    """The browser and the pages where a ceremony takes place.

    :param host: of the pages (RP ID); empty where browsers give no passkeys, such as on an IP address.
    :param origins: from which the pages may be shown, all with that host.
    :param binding: the CSRF token, which ties a challenge to the browser's session or, before one, to the browser.
    :param address: the peer's IP address.
    """

    host: str
    origins: tuple[str, ...]
    binding: str = field(repr=False)
    address: str

    @classmethod
    def of(cls, origins: tuple[str, ...], binding: str, address: str) -> Place:
        """Return the place of pages with these origins; the first one's host counts."""
        host = passkey_host(origins[0])
        own = tuple(dict.fromkeys(_normalised(one) for one in origins if passkey_host(one) == host))
        return cls(host, own, binding, address)

    def require_host(self) -> str:
        """Return the host.

        :raises MalformedRequest: browsers give no passkeys there.
        """
        if not self.host:
            raise MalformedRequest("Passkeys need a host name. Open these pages by their name, not by an IP address.")
        return self.host


def passkey_host(origin: str) -> str:
    """Return the host of an origin, or an empty string for an IP address or no host."""
    try:
        host = (urlsplit(origin).hostname or "").lower()
    except ValueError:
        # A Host header is what the client says.
        return ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return ""


def _normalised(origin: str) -> str:
    """Return an origin as browsers write it."""
    return origin.lower().removesuffix(":443")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge.

    :param at: microseconds since 1970.
    :param account_id: the account that it is for, or None before anybody signed in.
    :param user_handle: for a new passkey; otherwise empty.
    """

    value: bytes = field(repr=False)
    at: int
    account_id: int | None
    user_handle: bytes = field(repr=False)


class Challenges:
    """Makes challenges, and opens those that a browser sends back."""

    def __init__(self, sealer: Sealer, clock: IClock) -> None:
        self._sealer = sealer
        self._clock = clock

    def new(
        self, ceremony: Ceremony, place: Place, account_id: int | None = None, user_handle: bytes = b""
    ) -> tuple[Challenge, str]:
        """Return a new challenge, and the text to open it with."""
        challenge = Challenge(secrets.token_bytes(32), int(self._clock.seconds() * 1e6), account_id, user_handle)
        content = json.dumps([challenge.value.hex(), challenge.at, account_id, user_handle.hex()]).encode()
        sealed = self._sealer.seal(_PURPOSE, content, _row(ceremony, place))
        return challenge, base64.urlsafe_b64encode(sealed).decode()

    def open(self, ceremony: Ceremony, place: Place, text: str) -> Challenge:
        """Return the challenge that was made for that ceremony in the same browser on the same host.

        :raises MalformedRequest: it was not, or more than five minutes ago.
        """
        try:
            sealed = base64.urlsafe_b64decode(text.encode("ascii", "replace"))
            content = self._sealer.open(_PURPOSE, sealed, _row(ceremony, place))
        except (SecretKeyChanged, ValueError, binascii.Error):
            raise MalformedRequest(_EXPIRED) from None
        value, at, account_id, user_handle = json.loads(content)
        if abs(self._clock.seconds() - at / 1e6) > LIFETIME.total_seconds():
            raise MalformedRequest(_EXPIRED)
        return Challenge(bytes.fromhex(value), at, account_id, bytes.fromhex(user_handle))


def _row(ceremony: Ceremony, place: Place) -> bytes:
    return f"\0{ceremony}/{place.host}/{place.binding}".encode()
