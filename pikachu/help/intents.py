"""Which tools a question asks for, by its words, where no language model decides that (UI-11)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from pikachu.core.model.devices import DeviceState
from pikachu.help.terms import search_terms

# Names and serial numbers in a question: letters with a digit or a dot among them.
_WORD: Final = re.compile(r"[\w.*@:-]+")
_NAMES: Final = 2
_MAX_NAME: Final = 100
_SPAN: Final = re.compile(r"\b(\d{1,3}) (day|week|month)s?\b")
_DAYS: Final = {"day": 1, "week": 7, "month": 30}
_MAX_DAYS: Final = 366


class Call(NamedTuple):
    """A call of a tool."""

    tool: str
    arguments: Mapping[str, object]


def _stems(text: str) -> frozenset[str]:
    return frozenset(search_terms(text))


_MANY: Final = _stems("many number count statistics total")
_COUNTS: Final = _MANY | _stems("valid revoked expired certificates certificate")
_ENDS: Final = _stems("expire expires expiring end ends ending renew renewal until")
_CAS: Final = _stems("ca cas issuer issuing authority")
_WAITING: Final = _stems("wait waits waiting pending approval approvals approve")
_HEALTH: Final = _stems("health healthy ready status running database vault ldap signer")
_CRL: Final = _stems("crl crls")
_AGE: Final = _stems("old age fresh newest last latest issued updated due current")
_DEVICES: Final = _stems("device devices")
_DUE: Final = _stems("due renew renewal")
_OVERDUE: Final = _stems("overdue late")
_COMMAND: Final = _stems("command commands curl url address endpoint example")
#: The words that lead to the commands of a protocol; the first that occurs counts.
_PROTOCOLS: Final = {
    "scep": _stems("scep sscep"),
    "ocsp": _stems("ocsp"),
    "crl": _CRL,
    "rest": _stems("rest api token openapi"),
    "trust": _stems("root chain trust cacerts"),
    "est": _stems("est enroll enrollment estclient"),
}


def intended_calls(question: str) -> list[Call]:
    """Return the calls of tools that a question asks for."""
    terms = _stems(question)
    calls = [Call("find_certificates", {"name": name}) for name in _names(question)]
    if terms & _MANY or (len(terms & _COUNTS) >= 2 and _asks_which(question)):
        calls.append(Call("certificate_counts", {}))
    if terms & _ENDS and not terms & (_CAS | _CRL):
        days = _days(question)
        if days is not None:
            calls.append(Call("expiring_certificates", {"days": days}))
        elif terms & (_COUNTS | _WAITING):
            calls.append(Call("expiry_counts", {}))
    if terms & _WAITING:
        calls.append(Call("pending_approvals", {}))
    if terms & _CAS and terms & (_ENDS | _stems("valid")):
        calls.append(Call("issuing_cas", {}))
    if terms & _CRL and terms & (_AGE | _ENDS):
        calls.append(Call("crls", {}))
    if terms & _DEVICES:
        calls += [
            Call("devices_to_renew", {"state": state})
            for state, words in ((DeviceState.OVERDUE.value, _OVERDUE), (DeviceState.DUE.value, _DUE))
            if terms & words and (state == DeviceState.OVERDUE or _asks_which(question))
        ]
    if terms & _HEALTH:
        calls.append(Call("server_health", {}))
    if terms & _COMMAND:
        protocol = next((name for name, words in _PROTOCOLS.items() if terms & words), None)
        if protocol is not None:
            calls.append(Call("commands", {"protocol": protocol}))
    return calls


def _asks_which(question: str) -> bool:
    return re.match(r"\s*(which|what|how many|any|list|show)\b", question, re.IGNORECASE) is not None


def _days(question: str) -> int | None:
    """Return the span of time that a question names, in days."""
    text = question.lower()
    span = _SPAN.search(text)
    if span is not None:
        return min(_MAX_DAYS, max(1, int(span[1]) * _DAYS[span[2]]))
    if "today" in text or "tomorrow" in text:
        return 1 if "today" in text else 2
    named = re.search(r"\b(this|next|a|one) (week|month)\b", text)
    return None if named is None else _DAYS[named[2]]


def _names(question: str) -> list[str]:
    words = (word.strip(".:-") for word in _WORD.findall(question))
    names = (word for word in words if re.search(r"[^\W\d]", word) and re.search(r"[\d.]", word))
    return list(dict.fromkeys(name for name in names if len(name) <= _MAX_NAME))[:_NAMES]
