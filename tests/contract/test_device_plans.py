"""How SQLite finds the devices of a list: by an index, also of a million (DEV-1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from tests.support.databases import NOW, Opened, event, opened
from tests.support.query_plans import plans_of

#: One row by its id.
BY_ID = "SEARCH devices USING INTEGER PRIMARY KEY (rowid=?)"
#: The policies of devices, one seek for each.
POLICIES = {
    "SEARCH devices USING INDEX devices_kind",
    "SEARCH other USING INDEX devices_kind (policy>?)",
}
DUE = "SEARCH devices USING INDEX devices_due"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Devices of two owners and policies, of which one is retired."""
    with opened(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'pikachu.db'}", fsync=False) as one:
        for number in range(6):
            one.issue(
                f"pump-{number}",
                owner_id=1 + number % 2,
                policy="even" if number % 2 else "odd",
                intent={"not_after": NOW + timedelta(days=90)},
            )
        one.get(one.store.retire_device(1, RevocationReason.SUPERSEDED, lambda _: event(), NOW))
        yield one


def plan(db: Opened, query: ListQuery) -> list[set[str]]:
    """The plans of the statements that list devices."""
    return plans_of(db, "devices", lambda: db.get(db.store.devices(query, NOW)))


def steps(plans: list[set[str]]) -> set[str]:
    """The steps that read rows of devices."""
    return {step for each in plans for step in each if re.match(r"(SCAN|SEARCH) (devices|other)\b", step)}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"filters": {"policy": "even"}}, {"SEARCH devices USING INDEX devices_kind (policy=?)"}),
        (
            {"filters": {"method": "SCEP"}},
            {*POLICIES, "SEARCH devices USING INDEX devices_kind (policy=? AND method=?)"},
        ),
        (
            {"filters": {"policy": "even", "method": "EST"}},
            {"SEARCH devices USING INDEX devices_kind (policy=? AND method=?)"},
        ),
        ({"filters": {"state": "overdue"}}, {f"{DUE} (due_at<?)"}),
        ({"filters": {"state": "due"}}, {f"{DUE} (due_at>? AND due_at<?)"}),
        ({"filters": {"state": "ok"}}, {f"{DUE} (due_at>?)"}),
        # This index has retired devices only.
        ({"filters": {"state": "retired"}}, {"SCAN devices USING INDEX devices_retired"}),
        ({"owner_id": 2}, {"SEARCH devices USING INDEX devices_owner (owner_id=?)"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("sort", ["id", "-name", "due_at", "enrolled_at"])
def test_filters_seek(db: Opened, values: dict[str, object], expected: set[str], sort: str) -> None:
    """The rows of a filter are counted along its index, and few are then fetched by their ids."""
    found = steps(plan(db, ListQuery(sort=sort, count=True, **values)))  # type: ignore[arg-type]
    assert found - {BY_ID} == expected


@pytest.mark.parametrize(
    ("sort", "index"),
    [
        ("name", "INDEX devices_name"),
        ("due_at", "INDEX devices_due"),
        ("-enrolled_at", "INDEX devices_enrolled"),
        ("id", ""),
    ],
)
def test_pages_follow_an_index(db: Opened, sort: str, index: str) -> None:
    """Without a filter a page is read in its order, and only its rows, and those of equal names, are sorted."""
    plans = plan(db, ListQuery(sort=sort, limit=2))
    assert steps(plans) - {BY_ID} == {f"SCAN devices USING {index}" if index else "SCAN devices"}
    for each in plans:
        assert "USE TEMP B-TREE FOR ORDER BY" not in each or not any(step.startswith("SCAN") for step in each)
