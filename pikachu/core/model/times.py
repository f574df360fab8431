"""Aware UTC moments, and their RFC 3339 form."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(seconds: float) -> datetime:
    """The UTC datetime, in whole seconds, of a number of seconds since 1970."""
    return datetime.fromtimestamp(int(seconds), UTC)


def rfc3339(moment: datetime) -> str:
    """``2026-01-31T12:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
