"""The menu (UI-1); entries that a role can't use are hidden."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from pikachu.auth.permissions import Audience, in_audience
from pikachu.core.model.people import Principal

_GROUPS: Final = (
    ("", (("/certificates/new", "New certificate", Audience.REQUESTER), ("/", "Dashboard", Audience.USER))),
    (
        "Issue",
        (
            ("/certificates", "Certs", Audience.USER),
            ("/devices", "Devices", Audience.USER),
            ("/ra", "RA (sign)", Audience.REQUESTER),
            ("/ra/approvals", "Approvals", Audience.USER),
            ("/csrs", "CSRs", Audience.USER),
            ("/keys", "Keys", Audience.USER),
        ),
    ),
    (
        "Enrollment",
        (
            ("/policies", "Enrollment", Audience.USER),
            ("/challenge-passwords", "Challenge Passwords", Audience.USER),
            ("/batches", "Batches", Audience.USER),
            ("/identity-lists", "Identity lists", Audience.STAFF),
        ),
    ),
    (
        "Templates",
        (("/templates", "Certificate Templates", Audience.USER), ("/x509-templates", "Templates", Audience.AUDITOR)),
    ),
    ("Authority", (("/ca", "CA (RSA/EC)", Audience.USER), ("/va", "VA (CRL)", Audience.USER))),
    (
        "Monitor",
        (
            ("/expiry", "Expiry", Audience.USER),
            ("/events", "Events", Audience.USER),
            ("/reports", "Reports", Audience.AUDITOR),
            ("/jobs", "Jobs", Audience.USER),
            ("/inspect", "Inspect", Audience.USER),
            ("/logs", "Logs", Audience.AUDITOR),
        ),
    ),
    (
        "Administration",
        (
            ("/users", "Users", Audience.AUDITOR),
            ("/notices", "Notices", Audience.AUDITOR),
            ("/housekeeping", "Housekeeping", Audience.ADMIN),
            ("/config", "Config", Audience.AUDITOR),
        ),
    ),
    (
        "Help",
        (("/apis", "APIs", Audience.USER), ("/help", "Help", Audience.USER), ("/chat", "ChatPikachu", Audience.USER)),
    ),
)
#: What tells entries of similar names apart.
NOTES: Final = MappingProxyType({"/templates": "for CSRs and policies", "/x509-templates": "files to create them from"})

#: The key after ``g`` that opens a page of the menu.
SHORTCUTS: Final = MappingProxyType(
    {
        "h": "/",
        "n": "/certificates/new",
        "c": "/certificates",
        "d": "/devices",
        "r": "/ra",
        "a": "/ra/approvals",
        "q": "/csrs",
        "k": "/keys",
        "p": "/policies",
        "x": "/expiry",
        "e": "/events",
        "j": "/jobs",
        "u": "/users",
    }
)
_KEYS: Final = {path: key for key, path in SHORTCUTS.items()}


def shortcut(path: str) -> str:
    """Return the key after ``g`` that opens that page, or an empty string."""
    return _KEYS.get(path, "")


def navigation(principal: Principal) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (heading, [(path, label)]) of each group with entries for the role of *principal*."""
    groups = []
    for heading, links in _GROUPS:
        shown = [(path, label) for path, label, audience in links if in_audience(principal, audience)]
        if shown:
            groups.append((heading, shown))
    return groups


def current(path: str) -> str:
    """Return the path of the menu entry that *path* lies at or below."""
    paths = ["/account", *(link[0] for _, links in _GROUPS for link in links)]
    matches = [one for one in paths if path == one or (one != "/" and path.startswith(one + "/"))]
    return max(matches, key=len, default="/keys" if path == "/generate" else "")
