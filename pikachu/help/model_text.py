"""Removal of secrets from questions to a language model, and of addresses from its answers (UI-11; docs/adr/0053)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

#: What a question has in the place of a secret, and a text in the place of an address.
REMOVED: Final = "(removed)"
ADDRESS_REMOVED: Final = "(address removed)"
MAX_ANSWER: Final = 8_000

_SECRETS: Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)",
        # API tokens of this server and of Vault, those of others, and web tokens.
        r"\bpik_[\w-]{8,}",
        r"\bhv[sbr]\.[\w-]{8,}",
        r"\b(?:sk|ghp|glpat|xox[a-z])[-_][\w-]{16,}",
        r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*",
        r"(?<=bearer )\S{8,}",
        # Challenge passwords.
        r"\b[0-9a-f]{32}\b",
        r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",
        r"\b(?P<name>(?:pass(?:word|phrase|wd)?|pin|secret(?:[ _-]?(?:key|id))?|api[ _-]?key|token)"
        r"\s*(?:is\s*[:=]?|[:=])\s*)(?P<value>\S+)",
    )
)
_ADDRESS: Final = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{1,20}://|\bwww\.|\bjavascript:|\bdata:|\bmailto:)[^\s<>\"'`]*", re.I
)
# Control characters but tab and line feed, and those that change the direction or are not seen.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_CITATION: Final = re.compile(r"\[(\d{1,2})\]")
_TRAILING: Final = ".,;:!?)]}*"


class Segment(NamedTuple):
    """A part of a text; *path* is that of the source which it names, or empty."""

    text: str
    path: str = ""


def without_secrets(text: str) -> str:
    """Return a question without what looks like a private key, a password or a token."""
    for pattern in _SECRETS:
        text = pattern.sub(lambda match: (match.groupdict().get("name") or "") + REMOVED, text)
    return text


def harmless(text: str, known: Sequence[str], *, is_complete: bool) -> str:
    """Return the text of a model without hidden characters, and without addresses that are not known.

    :param known: texts of this server; addresses of the servers that they name may be shown.
    :param is_complete: otherwise a last word, which may be the beginning of an address, is left out.
    """
    text = _HIDDEN.sub("", text.replace("\r\n", "\n"))
    if len(text) > MAX_ANSWER:
        text, is_complete = text[:MAX_ANSWER], False
    if not is_complete:
        text = text[: max(text.rfind(" "), text.rfind("\n")) + 1]

    origins = {_origin(address) for one in known for address in _ADDRESS.findall(one)} - {None}

    def shown(match: re.Match[str]) -> str:
        address = match[0].rstrip(_TRAILING)
        if _origin(address) in origins:
            return match[0]
        return ADDRESS_REMOVED + match[0][len(address) :]

    return _ADDRESS.sub(shown, text).strip()


def _origin(address: str) -> tuple[str, str] | None:
    """Return scheme, host and port of a URL of the web; ``None`` for anything else."""
    try:
        parts = urlsplit(address.rstrip(_TRAILING))
    except ValueError:
        return None
    is_web = parts.scheme in ("http", "https") and parts.netloc and "@" not in parts.netloc
    return (parts.scheme, parts.netloc) if is_web else None


def segments(text: str, paths: Sequence[str]) -> tuple[Segment, ...]:
    """Return a text in parts, where ``[1]`` names the first of *paths*."""
    parts: list[Segment] = []
    end = 0
    for citation in _CITATION.finditer(text):
        number = int(citation[1])
        if 1 <= number <= len(paths):
            if citation.start() > end:
                parts.append(Segment(text[end : citation.start()]))
            parts.append(Segment(citation[0], paths[number - 1]))
            end = citation.end()
    if end < len(text):
        parts.append(Segment(text[end:]))
    return tuple(parts)
