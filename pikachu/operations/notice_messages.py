"""The texts and documents of notices, of their entries in the outbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from pikachu.core.model.notices import NoticeKind, NoticeMessage
from pikachu.core.model.times import rfc3339
from pikachu.core.notice_interfaces import Mail

_HEADINGS: Final = {
    NoticeKind.CERTIFICATES: "Certificates that expire",
    NoticeKind.AUTHORITY: "Certificates of the CA itself that expire",
    NoticeKind.CRLS: "CRLs and OCSP responders that grow old: they were not renewed in time",
    NoticeKind.DEVICES: "Devices that have not renewed in time",
    NoticeKind.BATCHES: "Batches with names that are not enrolled",
    NoticeKind.BACKUPS: "Backups that have failed or are overdue",
}
_FACTS: Final = {"serial": "serial number", "policy": "policy", "not_enrolled": "not enrolled"}
#: The verb before an entry's time.
_VERBS: Final = {
    NoticeKind.CERTIFICATES: "expires",
    NoticeKind.AUTHORITY: "expires",
    NoticeKind.CRLS: "expires",
    NoticeKind.DEVICES: "overdue since",
    NoticeKind.BATCHES: "ends",
    NoticeKind.BACKUPS: "since",
}


def mail_of(message: NoticeMessage, base_url: str) -> Mail:
    """Return the mail of a message.

    :param base_url: where the pages are; empty where that is not known.
    """
    if not message.count:
        return Mail(message.recipient, "Pikachu CA: test", "This is a test of notices.", message.uid)
    noun = "notice" if message.count == 1 else "notices"
    lines: list[str] = []
    for kind in NoticeKind:
        entries = [one for one in message.entries if one.get("kind") == kind.value]
        if entries:
            lines += [_HEADINGS[kind], "", *(_line(kind, one) for one in entries), ""]
    lines += _rest(message, len(message.entries))
    if base_url:
        lines += [f"{base_url}/expiry shows what expires.", ""]
    lines += ["This mail was sent by a rule on the page Notices of Pikachu CA."]
    return Mail(message.recipient, f"Pikachu CA: {message.count:,} {noun}", "\n".join(lines), message.uid)


def _line(kind: NoticeKind, entry: Mapping[str, object]) -> str:
    at = f"{_VERBS[kind]} {_time(entry):%Y-%m-%d %H:%M} UTC"
    facts = [f"{label} {entry[name]}" for name, label in _FACTS.items() if entry.get(name)]
    return f"- {entry.get('name', '')}: {'; '.join((at, *facts))}"


def _rest(message: NoticeMessage, named: int) -> Sequence[str]:
    left = message.count - named
    return [f"and {left:,} more.", ""] if left > 0 else []


def _time(entry: Mapping[str, object]) -> datetime:
    at = entry.get("at")
    return datetime.fromtimestamp(at if isinstance(at, int) else 0, UTC)


def entries_of(message: NoticeMessage) -> list[dict[str, object]]:
    """Return the notices that a message names, as JSON objects with times in RFC 3339."""
    return [{**one, "at": rfc3339(_time(one))} for one in message.entries]


def document_of(message: NoticeMessage, now: datetime) -> bytes:
    """Return the JSON document of a message, for webhooks and the MQTT broker."""
    document = {
        "v": 1,
        "id": message.uid,
        "sent_at": rfc3339(now),
        "count": message.count,
        "notices": entries_of(message),
    }
    return json.dumps(document, separators=(",", ":")).encode()
