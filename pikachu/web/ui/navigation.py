"""The menu (UI-1); entries that a role can't use are hidden."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

_GROUPS: Final = (
    ("", (("/certificates/new", "New certificate", False), ("/", "Dashboard", False))),
    (
        "Issue",
        (
            ("/certificates", "Certs", False),
            ("/devices", "Devices", False),
            ("/ra", "RA (sign)", False),
            ("/ra/approvals", "Approvals", False),
            ("/csrs", "CSRs", False),
            ("/keys", "Keys", False),
        ),
    ),
    (
        "Enrollment",
        (
            ("/policies", "Enrollment", False),
            ("/challenge-passwords", "Challenge Passwords", False),
            ("/batches", "Batches", False),
        ),
    ),
    ("Templates", (("/templates", "Certificate Templates", False), ("/x509-templates", "Templates", True))),
    ("Authority", (("/ca", "CA (RSA/EC)", False), ("/va", "VA (CRL)", False))),
    (
        "Monitor",
        (
            ("/expiry", "Expiry", False),
            ("/events", "Events", False),
            ("/reports", "Reports", True),
            ("/jobs", "Jobs", False),
            ("/inspect", "Inspect", False),
            ("/logs", "Logs", True),
        ),
    ),
    ("Administration", (("/users", "Users", True), ("/config", "Config", True))),
    ("Help", (("/apis", "APIs", False), ("/help", "Help", False), ("/chat", "ChatPikachu", False))),
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


def navigation(*, admin: bool) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (heading, [(path, label)]) of each group with entries for the role."""
    groups = []
    for heading, links in _GROUPS:
        shown = [(path, label) for path, label, admins_only in links if admin or not admins_only]
        if shown:
            groups.append((heading, shown))
    return groups


def current(path: str) -> str:
    """Return the path of the menu entry that *path* lies at or below."""
    paths = ["/account", *(link[0] for _, links in _GROUPS for link in links)]
    matches = [one for one in paths if path == one or (one != "/" and path.startswith(one + "/"))]
    return max(matches, key=len, default="/keys" if path == "/generate" else "")
