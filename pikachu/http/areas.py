"""The parts of the server that metrics tell apart (OPS-4)."""

from __future__ import annotations

from typing import Final

#: The names by the first segment of a path; everything else is ``pages``.
_AREAS: Final = {
    b".well-known": "est",
    b"api": "api",
    b"ca": "downloads",
    b"cgi-bin": "scep",
    b"crl": "crl",
    b"downloads": "downloads",
    b"expired": "status",
    b"healthz": "health",
    b"metrics": "metrics",
    b"ocsp": "ocsp",
    b"readyz": "health",
    b"requests": "api",
    b"scep": "scep",
    b"static": "static",
    b"status": "status",
}


def area_of(path: bytes) -> str:
    """Return the part of the server that a path belongs to, one of a few names whatever clients send."""
    return _AREAS.get(path[1:].partition(b"/")[0], "pages")
