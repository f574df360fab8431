"""Housekeeping (OPS-6): old events go, and what is left verifies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pikachu.core.errors import Conflict, NotAuthorized
from pikachu.core.model.people import SYSTEM, Principal, PrincipalKind, Role, Scope
from tests.support.databases import execute
from tests.support.deferreds import result_of
from tests.support.stack import Stack, build_core, make_files, open_stack

MONTH = timedelta(days=30)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "core")
    made.issue("pump-1.example.com")
    made.clock.advance(2 * MONTH.total_seconds())
    made.issue("pump-2.example.com")
    yield made
    made.close()


def test_old_events(stack: Stack) -> None:
    """A dry run removes nothing; then the same events go, which is recorded, and a checkpoint proves what was there."""
    app = stack.app
    kept = result_of(app.transparency.checkpoint(SYSTEM))
    planned = result_of(app.housekeeping.old_events(SYSTEM, MONTH))
    assert planned.count > 0
    count = result_of(app.store.verify_events())
    assert result_of(app.housekeeping.prune_events(SYSTEM, MONTH)) == planned
    assert result_of(app.store.verify_events()) == count + 1
    recorded = result_of(app.store.event(count + 1)).event
    assert (recorded.type, recorded.details["events"]) == ("delete", f"1-{planned.last}")
    head, pruned = result_of(app.transparency.verify(SYSTEM, kept.note.encode()))
    assert pruned is not None
    assert (pruned.count, head.size > kept.size) == (planned.last, True)
    assert app.transparency.opened(pruned.note.encode()).size >= planned.last
    assert result_of(app.housekeeping.prune_events(SYSTEM, MONTH)).count == 0


def test_evidence_stays(stack: Stack, tmp_path: Path) -> None:
    """Nothing is removed from an audit log that was changed."""
    execute(str(stack.app.store.database.url), "UPDATE audit_events SET actor = 'nobody' WHERE id = 1")
    with pytest.raises(Conflict, match="event 1 is not what was recorded"):
        result_of(stack.app.housekeeping.prune_events(SYSTEM, MONTH))
    assert result_of(stack.app.store.event(1)).event.actor == "nobody"


def test_admins_only(stack: Stack) -> None:
    """Auditors and users remove nothing, and see no dry run."""
    user = Principal(PrincipalKind.ACCOUNT, "alice", 1, Role.USER, frozenset({Scope.READ}))
    auditor = replace(user, role=Role.AUDITOR, scopes=frozenset({Scope.READ, Scope.AUDIT}))
    for actor in (user, auditor):
        for call in (stack.app.housekeeping.old_events, stack.app.housekeeping.prune_events):
            with pytest.raises(NotAuthorized):
                result_of(call(actor, MONTH))
        for everything in (stack.app.housekeeping.plan, stack.app.housekeeping.clean):
            with pytest.raises(NotAuthorized):
                result_of(everything(actor))


#: Ages in days of files below a server's folder → whether they go; dumps are kept for 30 days, log files for 40.
FILES = {
    "dump/20250101T000000.000000Z-A1-00ff00.request.der": (31, True),
    "dump/20250101T000000.000001Z-A1-00ff00.answer.der": (29, False),
    "dump/notes.txt": (400, False),
    "logs/pikachu[1].log": (400, False),
    "logs/pikachu[1].log.1": (41, True),
    "logs/pikachu[1].log.2": (39, False),
    "logs/pikachu1.log.3": (400, False),
    "logs/pikachu[1].log.old": (400, False),
}


def test_all_of_it(tmp_path: Path) -> None:
    """A dry run tells what goes; then it goes by itself, on the leading node, which is recorded once."""
    files = make_files(
        tmp_path / "core",
        changes={
            ("SCEP", "dump_dir"): str(tmp_path / "dump"),
            ("LOGGING", "log_file"): str(tmp_path / "logs/pikachu[1].log"),
            ("HOUSEKEEPING", "logs_kept"): "40d",
            ("HOUSEKEEPING", "events_kept"): "120d",
        },
    )
    stack = open_stack(files)
    app = stack.app
    result_of(app.challenge_passwords.create(SYSTEM))
    stack.clock.advance(100 * 86400)
    result_of(app.challenge_passwords.create(SYSTEM))
    for name, (days, _) in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        written = stack.clock.seconds() - days * 86400
        os.utime(path, (written, written))
    planned = result_of(app.housekeeping.plan(SYSTEM))
    assert {one.name: one.old.count for one in planned} == {
        "challenge passwords": 1,
        "jobs": 0,
        "SCEP messages": 1,
        "log files": 1,
        "temporary files": 0,
        "events": 0,
    }
    count = result_of(app.store.verify_events())
    result_of(app.housekeeping.step())
    assert {name: not (tmp_path / name).exists() for name in FILES} == {name: gone for name, (_, gone) in FILES.items()}
    recorded = result_of(app.store.event(count + 1)).event
    assert recorded.resource_type == "housekeeping"
    assert dict(recorded.details) == {"challenge passwords": 1, "SCEP messages": 1, "log files": 1}
    result_of(app.housekeeping.step())
    assert result_of(app.store.verify_events()) == count + 1
    assert app.housekeeping.removed["challenge passwords"] == 1
    stack.clock.advance(2 * 86400 + 30 * 86400)
    pruned = {one.name: one.old.count for one in result_of(app.housekeeping.clean(SYSTEM))}["events"]
    assert pruned > 0
    assert result_of(app.housekeeping.old_events(SYSTEM, timedelta(days=120))).count == 0
    result_of(app.transparency.verify(SYSTEM))
    stack.close()
