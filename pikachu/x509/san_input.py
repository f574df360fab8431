"""Subject alternative names as people and programs type them: ``DNS:``, ``IP:``, ``email:``, ``URI:`` and a value."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import idna

from pikachu.core.errors import MalformedRequest, RequestError
from pikachu.x509 import der
from pikachu.x509.san import DEFAULT_LIMIT, MAXIMUM_A_LABELS, GeneralName, NameKind, parse_general_name

#: The prefixes that are accepted, as they are written.
PREFIXES: Final = {"DNS": NameKind.DNS, "IP": NameKind.IP, "email": NameKind.EMAIL, "URI": NameKind.URI}
_KINDS: Final = {prefix.lower(): kind for prefix, kind in PREFIXES.items()}
_FORMS: Final = "DNS:host.example.com, IP:192.0.2.1, email:name@example.com or URI:https://example.com/"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^0-9]")
_MAXIMUM_SHOWN: Final = 60
# Characters; each becomes at least one octet, and RFC 1035 allows 253 of these.
_MAXIMUM_DOMAIN: Final = 253
# The dots that UTS #46 takes for label separators, and what stands before a domain.
_SEPARATORS: Final = re.compile("[.\u3002\uff0e\uff61@:]")


@dataclass(frozen=True, slots=True)
class TypedName:
    """One typed name.

    :ivar text: as typed.
    :ivar name: the checked name; ``None``: it is wrong.
    :ivar error: what is wrong, and what to enter instead; empty for a right one.
    """

    text: str
    name: GeneralName | None
    error: str = ""


def with_prefix(text: str) -> str:
    """Return a typed name with the prefix of its kind, which is guessed where it has none."""
    text = text.strip()
    if text.partition(":")[0].strip().lower() in _KINDS:
        return text
    if _is_address(text.strip("[]")) or _is_network(text):
        return f"IP:{text}"
    if _SCHEME.match(text) or "://" in text:
        return f"URI:{text}"
    return f"email:{text}" if "@" in text else f"DNS:{text}"


def typed_texts(texts: Iterable[str]) -> list[str]:
    """Return the typed names with their prefixes, without empty ones.

    Of too many names, only one more than is allowed is returned, for :func:`parse_names` to refuse.
    """
    return [with_prefix(text) for text in islice((text for text in texts if text.strip()), DEFAULT_LIMIT + 1)]


def read_names(texts: Iterable[str]) -> tuple[TypedName, ...]:
    """Check each typed name; equal names are returned once.

    Names with more internationalized labels than one extension may have are wrong, before any of these is converted.
    """
    typed: list[TypedName] = []
    known = set()
    labels: set[str] = set()
    for text in texts:
        labels.update(label for label in _SEPARATORS.split(text) if _is_internationalized(label))
        try:
            if len(labels) > MAXIMUM_A_LABELS:
                raise MalformedRequest(f"Use at most {MAXIMUM_A_LABELS} internationalized labels in all names.")
            name = _read(text)
        except RequestError as error:
            typed.append(TypedName(text, None, error.public))
            continue
        if name.comparable not in known:
            known.add(name.comparable)
            typed.append(TypedName(text, name))
    return tuple(typed)


def parse_names(texts: Sequence[str]) -> tuple[GeneralName, ...]:
    """Return the checked names, equal ones once.

    :raises MalformedRequest: with a message for each wrong one.
    """
    if len(texts) > DEFAULT_LIMIT:
        raise MalformedRequest(f"Enter at most {DEFAULT_LIMIT} subject alternative names.")
    typed = read_names(texts)
    wrong = [f"{_shown(one.text)}: {one.error}" for one in typed if one.name is None]
    if wrong:
        raise MalformedRequest(" ".join(wrong))
    return tuple(one.name for one in typed if one.name is not None)


def _read(text: str) -> GeneralName:
    prefix, colon, value = text.strip().partition(":")
    kind = _KINDS.get(prefix.strip().lower())
    value = value.strip()
    if not colon or kind is None:
        raise MalformedRequest(f"Write a subject alternative name as {_FORMS}.")
    if not value:
        raise MalformedRequest(f"Enter a value after “{prefix.strip()}:”.")
    content = _address(value) if kind is NameKind.IP else _ascii(kind, value)
    if kind is NameKind.DNS and _is_address(value.strip("[]")):
        raise MalformedRequest("This is an IP address. Write it as “IP:…”.")
    try:
        return parse_general_name(der.parse(der.tlv(kind.value, content)))
    except RequestError as error:
        raise MalformedRequest(_advice(kind, value, error.public)) from error


def _advice(kind: NameKind, value: str, reason: str) -> str:
    domain = value if kind is NameKind.DNS else value.rpartition("@")[2]
    if kind is NameKind.DNS and "@" in value:
        return "This is an e-mail address. Write it as “email:…”."
    if kind is NameKind.DNS and "://" in value:
        return "This is a URI. Write it as “URI:…”, or enter the host name only."
    if kind is not NameKind.URI and domain.endswith("."):
        return "Remove the dot at the end."
    if kind is NameKind.DNS and "*" in value:
        return "A wildcard stands alone, first, and before at least two labels, such as “*.example.com”."
    if kind is NameKind.DNS and "_" in value:
        return "Remove the underscore: a host name consists of letters, digits, hyphens and dots."
    if kind is NameKind.EMAIL:
        return "Enter an e-mail address such as “name@example.com”."
    if kind is NameKind.URI:
        return f"Enter an absolute URI such as “https://example.com/”: {reason}."
    return f"Enter a host name such as “host.example.com”: {reason}."


def _ascii(kind: NameKind, value: str) -> bytes:
    """Return the value in ASCII; the domain of a host name or an e-mail address as A-labels (RFC 5891)."""
    if value.isascii():
        return value.encode("ascii")
    if kind is NameKind.URI:
        raise MalformedRequest("Write the host of the URI in its ASCII form (xn--…), and other characters as %XX.")
    local, at, domain = value.rpartition("@")
    if not local.isascii():
        raise MalformedRequest("The part before “@” must be ASCII. Enter another e-mail address.")
    if len(domain) > _MAXIMUM_DOMAIN:
        raise MalformedRequest(f"A host name has at most {_MAXIMUM_DOMAIN} characters. Shorten it.")
    wildcard = "*." if kind is NameKind.DNS and domain.startswith("*.") else ""
    try:
        return (local + at + wildcard).encode("ascii") + idna.encode(domain.removeprefix(wildcard), uts46=True)
    except (idna.IDNAError, UnicodeError):
        raise MalformedRequest(
            "This is no valid internationalized domain name. Check its spelling, or enter its ASCII form (xn--…)."
        ) from None


def _address(value: str) -> bytes:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise MalformedRequest(_address_advice(value)) from None
    if getattr(address, "scope_id", None) is not None:
        raise MalformedRequest("Remove the zone (“%…”) from the IPv6 address.")
    if address.is_unspecified:
        raise MalformedRequest("The unspecified address can't be certified. Enter the address of one host.")
    return address.packed


def _address_advice(value: str) -> str:
    if _is_address(value.strip("[]")):
        return "Remove the brackets around the IPv6 address."
    if _is_network(value):
        return "This is a network. Enter the address of one host, without “/…”."
    if re.fullmatch(r"\d+(\.\d+){3}", value):
        return "Enter an IPv4 address of four numbers from 0 to 255, without leading zeros."
    if re.search(r":\d+$", value) and _is_address(value.rpartition(":")[0].strip("[]")):
        return "Remove the port."
    return "Enter an IPv4 address such as “192.0.2.1” or an IPv6 address such as “2001:db8::1”."


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_internationalized(label: str) -> bool:
    return not label.isascii() or label[:4].lower() == "xn--"


def _is_network(text: str) -> bool:
    return "/" in text and _is_address(text.partition("/")[0])


def _shown(text: str) -> str:
    printable = "".join(character if character.isprintable() else "�" for character in text.strip())
    return f"“{printable if len(printable) <= _MAXIMUM_SHOWN else printable[:_MAXIMUM_SHOWN] + '…'}”"
