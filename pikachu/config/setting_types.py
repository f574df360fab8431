"""Kinds of settings: conversion of a text to a value, and of a value to a text.

``parse`` raises ValueError with the expected form; the caller adds the file, the section, the key and the actual text.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

from pikachu.core.number_parsing import parse_number

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

MASK: Final = "********"

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TRUTH: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
# Match up to the last "@", so that a password with an unescaped "@" is masked completely.
_URL_PASSWORD: Final = re.compile(r"(://[^:@/]*:)(.*)(@)", re.DOTALL)
_URL_QUERY_PASSWORD: Final = re.compile(r"([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)
_PLACEHOLDERS: Final = re.compile(
    r"(changeme|changethis|replaceme|replacethis).*"
    r"|(this|is|a|my|your|the|super|top|very|flask|pikachu)*(secretkey|secret|password|key)(here)?[0-9]*"
)

_LDAP_HOST: Final = re.compile(r"(ldaps?://)?([A-Za-z0-9_.-]+|\[?[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+\]?)/?")


class Secret:
    """A text that ``repr``, ``str`` and log lines never reveal."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        first, second = (text.encode("utf-8", "surrogatepass") for text in (self._text, other._text))
        return hmac.compare_digest(first, second)

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of setting.

    :param parse: converts the text, with the folder of the file, to the value; raises ValueError.
    :param show: converts the value to text, with secrets masked.
    :param secret: whether messages must not contain the text.
    """

    parse: Callable[[str, Path], T]
    show: Callable[[T], str]
    secret: bool = False


def optional(kind: Kind[T]) -> Kind[T | None]:
    """Return the same kind, with None for an empty text."""
    return Kind(
        lambda text, folder: kind.parse(text, folder) if text else None,
        lambda value: "" if value is None else kind.show(value),
        kind.secret,
    )


def mask_url(text: str) -> str:
    """Return the URL with its password, and passwords, keys and tokens in its query, masked."""
    return _URL_QUERY_PASSWORD.sub(rf"\g<1>{MASK}", _URL_PASSWORD.sub(rf"\g<1>{MASK}\g<3>", text))


def _number(text: str, minimum: int, maximum: int, expected: str) -> int:
    number = parse_number(text, maximum, minimum=minimum)
    if number is None:
        raise ValueError(expected)
    return number


def number(minimum: int, maximum: int) -> Kind[int]:
    """Return the kind for a whole number from *minimum* to *maximum*."""
    expected = f"expected a number from {minimum} to {maximum}"
    return Kind(lambda text, _: _number(text, minimum, maximum, expected), str)


def duration(bare: str, minimum: int = 1, maximum: int = 3660 * 86400) -> Kind[int]:
    """Return the kind for a duration in seconds, written ``90s``, ``20m``, ``10h``, ``4d`` or ``2w``.

    :param bare: the unit of a bare number: ``s``, ``m``, ``h``, ``d`` or ``w``.
    :param minimum: seconds; *maximum* likewise.
    """

    def parse(text: str, folder: Path) -> int:
        match = re.fullmatch(r"([0-9]{1,9})\s*([smhdw]?)", text.lower())
        if match is None:
            raise ValueError("expected a duration such as 90s, 20m, 10h or 4d")
        seconds = int(match[1]) * _UNITS[match[2] or bare]
        if not minimum <= seconds <= maximum:
            raise ValueError(f"expected a duration from {_show_duration(minimum)} to {_show_duration(maximum)}")
        return seconds

    return Kind(parse, _show_duration)


def _show_duration(seconds: int) -> str:
    for unit in "dhm":
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def size(minimum: int, maximum: int) -> Kind[int]:
    """Return the kind for a size in bytes, written ``10240``, ``64K`` or ``10M``."""
    expected = (
        f"expected a number of bytes from {_show_size(minimum)} to {_show_size(maximum)}, such as 10240, 64K or 1M"
    )

    def parse(text: str, folder: Path) -> int:
        match = re.fullmatch(r"([0-9]{1,12})\s*([kmg]?)", text.lower())
        value = int(match[1]) * _SIZES[match[2]] if match else -1
        if not minimum <= value <= maximum:
            raise ValueError(expected)
        return value

    return Kind(parse, _show_size)


def _show_size(value: int) -> str:
    for unit in "gmk":
        if value and value % _SIZES[unit] == 0:
            return f"{value // _SIZES[unit]}{unit.upper()}"
    return str(value)


def _fraction(text: str, folder: Path) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?s?", text):
        raise ValueError("expected seconds, such as 0.5, below 1000")
    return float(text.removesuffix("s"))


def _boolean(text: str, folder: Path) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def choice(names: type[E], aliases: Mapping[str, E] | None = None) -> Kind[E]:
    """Return the kind for one of an enum's values, in any case.

    :param aliases: additional accepted texts, in lower case.
    """
    known = {name.value.lower(): name for name in names} | dict(aliases or {})
    expected = f"expected {' or '.join(name.value for name in names)}"

    def parse(text: str, folder: Path) -> E:
        try:
            return known[text.lower()]
        except KeyError:
            raise ValueError(expected) from None

    return Kind(parse, lambda value: value.value)


def _path(text: str, folder: Path) -> Path:
    if not text:
        raise ValueError("expected the name of a file or folder")
    # A relative path is relative to the configuration file (RUN-1); an absolute one is unchanged.
    return folder / text


def _url(text: str, folder: Path) -> str:
    expected = "expected a URL such as https://host or http://host:8080, without query or password"
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        raise ValueError(expected) from None
    if not valid or parts.query or parts.fragment or re.search(r"[\s\"'<>\\]", text):
        raise ValueError(expected)
    return text.rstrip("/")


def _addresses(text: str, folder: Path) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_address(part.strip())) for part in text.split(",")) if text else ()
    except ValueError:
        raise ValueError("expected IP addresses of this machine, such as 127.0.0.1, ::1, or nothing for all") from None


def _networks(text: str, folder: Path) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",")) if text else ()
    except ValueError:
        raise ValueError("expected addresses and networks, such as 192.0.2.10, 10.0.0.0/8, 2001:db8::/32") from None


def _external_url(text: str, folder: Path) -> str:
    if not re.fullmatch(
        r"https://([A-Za-z0-9]([A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(:[1-9][0-9]{0,4})?/?", text
    ):
        raise ValueError("expected a URL such as https://ca.example.com or https://ca.example.com:8443, without path")
    return text.rstrip("/")


def _topic(text: str, folder: Path) -> str:
    """Parse the beginning of MQTT topics (MQTT 5.0 section 4.7): levels without wildcards."""
    if len(text) > 128 or text.startswith("$") or not all(text.split("/")) or set(text) & set("+#\ufffd"):
        raise ValueError("expected levels of a topic such as site/pikachu, without + and #")
    return text


def _ldap_hosts(text: str, folder: Path) -> tuple[str, ...]:
    """Return the hosts, which all have the scheme of the first."""
    hosts = tuple(part.strip() for part in text.split(",")) if text else ()
    schemes = {host.partition("://")[0] if "://" in host else "" for host in hosts}
    if len(schemes) > 1 or not all(map(_LDAP_HOST.fullmatch, hosts)):
        raise ValueError(
            "expected host names or addresses, separated by commas, or all of them as ldaps://host; their port stands "
            "in LDAP_PORT"
        )
    return tuple(host.rstrip("/") for host in hosts)


def _secret_key(text: str, folder: Path) -> Secret:
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    if _PLACEHOLDERS.fullmatch(plain):
        raise ValueError("this is a placeholder; remove it, set secret_key_file and run `pikachu init`")
    if len(text) < 16 or len(set(text)) < 5:
        raise ValueError(
            "too short or too simple (16 characters at least); set secret_key_file instead and run `pikachu init`"
        )
    return Secret(text)


def _database_url(text: str, folder: Path) -> Secret:
    match = re.fullmatch(r"(sqlite|postgresql|postgres)(\+[a-z0-9]+)?://(.*)", text)
    if match is None:
        raise ValueError("expected postgresql://user:password@host/name or sqlite:///file")
    # sqlite:///file is relative, sqlite:////file absolute.
    relative = re.fullmatch(r"/([^/:?][^?]*)(\?.*)?", match[3]) if match[1] == "sqlite" else None
    if relative is None:
        return Secret(text)
    return Secret(f"{match[1]}{match[2] or ''}:///{folder / relative[1]}{relative[2] or ''}")


def _pattern(expected: str, pattern: str) -> Callable[[str, Path], str]:
    def parse(text: str, folder: Path) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(expected)
        return text

    return parse


TEXT: Final[Kind[str]] = Kind(lambda text, _: text, mask_url)
SECRET: Final[Kind[Secret]] = Kind(lambda text, _: Secret(text), lambda _: MASK, secret=True)
SECRET_KEY: Final[Kind[Secret]] = Kind(_secret_key, lambda _: MASK, secret=True)
DATABASE_URL: Final[Kind[Secret]] = Kind(_database_url, lambda value: mask_url(value.reveal()), secret=True)
PATH: Final[Kind[Path]] = Kind(_path, str)
URL: Final[Kind[str]] = Kind(_url, str)
BOOLEAN: Final[Kind[bool]] = Kind(_boolean, lambda value: "true" if value else "false")
FRACTION: Final[Kind[float]] = Kind(_fraction, lambda value: f"{value:g}s")
ADDRESSES: Final[Kind[tuple[str, ...]]] = Kind(_addresses, ", ".join)
NETWORKS: Final[Kind[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]]] = Kind(
    _networks, lambda networks: ", ".join(map(str, networks))
)
EXTERNAL_URL: Final[Kind[str]] = Kind(_external_url, str)
HEADER_NAME: Final[Kind[str]] = Kind(
    _pattern("expected the name of a header, such as Client-Cert", r"[A-Za-z0-9!#$%&'*+.^_`|~-]{0,64}"), str
)
PORT: Final[Kind[int]] = Kind(
    lambda text, _: _number(text, 0, 65535, "expected a port from 1 to 65535, or 0 to turn the listener off"), str
)
REMOTE_PORT: Final[Kind[int]] = Kind(lambda text, _: _number(text, 1, 65535, "expected a port from 1 to 65535"), str)
MAIL_ADDRESS: Final[Kind[str]] = Kind(
    _pattern(
        "expected an e-mail address such as pikachu@example.com",
        r"|[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,180}[A-Za-z0-9])?",
    ),
    str,
)
KEY_ID: Final[Kind[str]] = Kind(
    _pattern("expected a name of letters, digits, dots and hyphens", r"[A-Za-z0-9._-]{1,64}"), str
)
TOPIC: Final[Kind[str]] = Kind(_topic, str)
LDAP_HOSTS: Final[Kind[tuple[str, ...]]] = Kind(_ldap_hosts, ", ".join)
LDAP_ATTRIBUTE: Final[Kind[str]] = Kind(
    _pattern("expected the name of an attribute, such as memberOf", r"[A-Za-z][A-Za-z0-9.-]*"), str
)
USER_FILTER: Final[Kind[str]] = Kind(
    _pattern(
        "expected an LDAP filter that compares an attribute with {username}, such as (uid={username})",
        r"\(.*[A-Za-z0-9]=\{username\}\).*",
    ),
    str,
)
USER_DN: Final[Kind[str]] = Kind(
    _pattern(
        "expected a DN that begins with {username}, such as uid={username},ou=people,dc=example,dc=org",
        r"|[A-Za-z][A-Za-z0-9.-]*=\{username\}[+,].+",
    ),
    str,
)
DISABLED_FILTER: Final[Kind[str]] = Kind(
    _pattern("expected an LDAP filter, such as (pwdAccountLockedTime=*)", r"|\(.+\)"), str
)
