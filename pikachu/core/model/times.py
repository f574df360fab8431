"""Aware UTC datetimes and their RFC 3339 format."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(seconds: float) -> datetime:
    """Return the UTC datetime, in whole seconds, for seconds since 1970."""
    return datetime.fromtimestamp(int(seconds), UTC)


def rfc3339(moment: datetime) -> str:
    """Format a datetime in RFC 3339, such as ``2026-01-31T12:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
