"""State of the agent across restarts, for monitoring and for ``--check`` (MQT-1)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pikachu.agent.crl_set import InstalledCRL
from pikachu.core.atomic_files import replace_file
from pikachu.core.errors import StoreUnavailable
from pikachu.core.model.times import rfc3339

_MAX_SIZE: Final = 1 << 20
# Counters: names and meanings.
COUNTERS: Final[Mapping[str, str]] = {
    "crls_installed": "CRLs that were installed.",
    "crls_rejected": "CRLs that were not taken: damaged, forged, expired or of another CA.",
    "messages": "Revocation messages whose signature was verified.",
    "messages_rejected": "Revocation messages that were not taken.",
    "messages_repeated": "Revocation messages that had arrived before.",
    "gaps": "Times that revocation messages were missing.",
    "downloads": "CRLs that were downloaded.",
    "downloads_failed": "Downloads that failed.",
    "reload_failures": "Times that the broker could not be told to read the file.",
    "sessions_ended": "Sessions of revoked clients that the broker was told to end.",
}


@dataclass
class AgentState:
    """The state of one agent.

    :ivar numbers: the greatest CRL number of each CA that was ever installed.
    :ivar sequences: the newest number of the revocation messages of each CA.
    :ivar is_reload_due: whether the broker has not read the file since it has changed.
    """

    numbers: dict[bytes, int] = field(default_factory=dict)
    sequences: dict[bytes, int] = field(default_factory=dict)
    is_reload_due: bool = True
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))


def read_state(path: Path) -> AgentState | None:
    """Return the state of an earlier run; None when there is none that can be read."""
    try:
        with path.open("rb") as stream:
            document = json.loads(stream.read(_MAX_SIZE))
        cas = document["cas"]
        return AgentState(
            numbers={bytes.fromhex(key): int(one["number"]) for key, one in cas.items() if one["number"] is not None},
            sequences={bytes.fromhex(key): int(one["seq"]) for key, one in cas.items() if one["seq"] is not None},
            is_reload_due=bool(document["reload_due"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_state(
    path: Path, state: AgentState, installed: Mapping[bytes, InstalledCRL], names: Mapping[bytes, str], now: datetime
) -> None:
    """Write the state.

    :param names: of the CAs, by their key identifiers.
    :raises StoreUnavailable: it can't be written.
    """
    document = {
        "version": 1,
        "updated_at": rfc3339(now),
        "reload_due": state.is_reload_due,
        "cas": {key.hex(): _describe(key, state, installed.get(key), names[key]) for key in names},
        "counters": state.counters,
    }
    _replace(path, json.dumps(document, indent=1).encode("ascii") + b"\n")


def _describe(key: bytes, state: AgentState, crl: InstalledCRL | None, name: str) -> dict[str, Any]:
    return {
        "ca": name,
        "number": state.numbers.get(key),
        "seq": state.sequences.get(key),
        "this_update": None if crl is None else rfc3339(crl.this_update),
        "next_update": None if crl is None else rfc3339(crl.next_update),
        "entries": None if crl is None else crl.entries,
    }


def _replace(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise StoreUnavailable(f"{path} can't be written: {error.strerror}") from error


def write_metrics(
    path: Path, state: AgentState, installed: Mapping[bytes, InstalledCRL], is_connected: bool, now: datetime
) -> None:
    """Write the metrics in Prometheus' text format.

    :raises StoreUnavailable: they can't be written.
    """
    lines = [*_metrics(state, installed, is_connected, now)]
    _replace(path, ("\n".join(lines) + "\n").encode("ascii"))


def _metrics(
    state: AgentState, installed: Mapping[bytes, InstalledCRL], is_connected: bool, now: datetime
) -> Iterator[str]:
    def family(name: str, kind: str, meaning: str, values: Mapping[str, float]) -> Iterator[str]:
        full = f"pikachu_agent_{name}"
        yield f"# HELP {full} {meaning}"
        yield f"# TYPE {full} {kind}"
        for labels, value in values.items():
            yield f"{full}{labels} {value:.17g}"

    crls = {f'{{key="{key.hex()[:16]}"}}': crl for key, crl in installed.items()}
    yield from family("up_timestamp_seconds", "gauge", "When the agent wrote this.", {"": now.timestamp()})
    yield from family("mqtt_connected", "gauge", "Whether it is connected with the broker.", {"": float(is_connected)})
    yield from family(
        "reload_due", "gauge", "Whether the broker has not read the newest file.", {"": float(state.is_reload_due)}
    )
    yield from family(
        "crl_number", "gauge", "The number of the installed CRL.", {one: crl.number for one, crl in crls.items()}
    )
    yield from family(
        "crl_entries", "gauge", "The entries of the installed CRL.", {one: crl.entries for one, crl in crls.items()}
    )
    yield from family(
        "crl_next_update_timestamp_seconds",
        "gauge",
        "When the installed CRL expires.",
        {one: crl.next_update.timestamp() for one, crl in crls.items()},
    )
    for name, meaning in COUNTERS.items():
        yield from family(f"{name}_total", "counter", meaning, {"": state.counters[name]})
