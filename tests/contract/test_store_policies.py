"""The default policies of owners and protocols (POL-3): given, moved and taken away in every kind of database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from pikachu.core.errors import Conflict, EditConflict, NotFound
from pikachu.core.model.certificates import Method
from pikachu.core.model.lint import LintOverride
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Role
from pikachu.core.model.policies import LABEL_PROTOCOLS, POLICY_ROLES, Policy, PolicyLimits, SystemPolicySettings
from tests.support.databases import AS_0007, AS_0026, AS_0036, NOW, Opened, event, execute, opened


def _defaults(db: Opened, owner_id: int | None) -> dict[str, str | None]:
    """The names of the default policies."""
    found = {one.value: db.get(db.store.default_policy(one, owner_id)) for one in LABEL_PROTOCOLS}
    return {name: None if policy is None else policy.name for name, policy in found.items()}


@pytest.mark.parametrize("owner_id", [None, 1])
def test_default_policies(db: Opened, owner_id: int | None) -> None:
    """POL-3: the first is the default; the mark moves by choosing another, and only then."""

    def add(name: str, **values: object) -> Policy:
        policy = Policy(0, name, 30, "[ v3_ext ]\n", system=owner_id is None, owner_id=owner_id)
        return db.get(db.store.add_policy(replace(policy, **values), event(), NOW))  # type: ignore[arg-type]

    def update(policy: Policy, next_defaults: Mapping[Method, int] | None = None, **values: object) -> Policy:
        current = db.get(db.store.policy(policy.id))
        changed = replace(current, **values)  # type: ignore[arg-type]
        return db.get(db.store.update_policy(changed, event("update"), NOW, next_defaults or {}))

    def updated(name: str) -> list[dict[str, object]]:
        """The details of the updates of a policy, the oldest first."""
        query = ListQuery(limit=100, sort="id", filters={"type": "update", "resource_name": name})
        return [dict(one.event.details) for one in db.get(db.store.events(query)).items]

    add("unused")
    assert _defaults(db, owner_id) == {"EST": None, "SCEP": None}
    first, second = add("first", use_for_est=True), add("second", use_for_est=True, use_for_scep=True)
    assert _defaults(db, owner_id) == {"EST": "first", "SCEP": "second"}
    assert [one.name for one in db.get(db.store.labels(Method.EST, owner_id))] == ["first", "second"]
    # Others' changes, and further flags, leave it.
    other = db.get(db.store.add_policy(replace(first, name="bob's", system=False, owner_id=2), event(), NOW))
    assert other.default_for_est
    assert not update(first, use_for_scep=True).default_for_scep
    # Choosing another moves it; both have a new version, and the former one's is recorded.
    before = db.get(db.store.policy(first.id))
    assert update(second, default_for_est=True).default_for_est
    after = db.get(db.store.policy(first.id))
    assert not after.default_for_est
    assert after.version == before.version + 1
    assert updated("first")[-1] == {"default_for_est": False}
    with pytest.raises(EditConflict):
        db.get(db.store.update_policy(before, event("update"), NOW))
    assert _defaults(db, owner_id) == {"EST": "second", "SCEP": "second"}
    # Giving it up moves nothing by itself, unless the next one is chosen.
    update(second, default_for_scep=False)
    assert _defaults(db, owner_id) == {"EST": "second", "SCEP": None}
    update(second, {Method.EST: first.id}, use_for_est=False)
    assert _defaults(db, owner_id) == {"EST": "first", "SCEP": None}
    assert updated("first")[-1] == {"default_for_est": True}
    # No policy that doesn't suit.
    update(second, use_for_est=True)
    for chosen in (other.id, 99, first.id):
        with pytest.raises(NotFound):
            update(first, {Method.EST: chosen}, use_for_est=False)
    for protocol, values in ((Method.SCEP, {"use_for_est": False}), (Method.EST, {})):
        with pytest.raises(Conflict):
            update(first, {protocol: second.id}, **values)
    assert _defaults(db, owner_id) == {"EST": "first", "SCEP": None}
    db.get(db.store.delete_policy(first.id, lambda _: event("delete"), NOW, {Method.EST: second.id}))
    assert _defaults(db, owner_id) == {"EST": "second", "SCEP": None}
    db.get(db.store.delete_policy(second.id, lambda _: event("delete"), NOW))
    assert _defaults(db, owner_id) == {"EST": None, "SCEP": None}
    assert _defaults(db, 2) == {"EST": "bob's", "SCEP": None}


def test_a_policy_for_another_owner(db: Opened) -> None:
    """A mark stays with the owner whose default the policy was."""
    first = Policy(0, "first", 30, "[ v3_ext ]\n", use_for_est=True, owner_id=1)
    first = db.get(db.store.add_policy(first, event(), NOW))
    system = replace(first, name="system", system=True, owner_id=None)
    db.get(db.store.add_policy(system, event(), NOW))
    second = db.get(db.store.add_policy(replace(first, name="second", default_for_est=False), event(), NOW))
    moved = replace(first, system=True, owner_id=None)
    moved = db.get(db.store.update_policy(moved, event("update"), NOW, {Method.EST: second.id}))
    assert not moved.default_for_est
    assert (_defaults(db, None)["EST"], _defaults(db, 1)["EST"]) == ("system", "second")
    # To an owner without one, it is the first.
    moved = db.get(db.store.update_policy(replace(moved, system=False, owner_id=3), event("update"), NOW))
    assert moved.default_for_est


def test_one_default_in_the_database(database_url: str) -> None:
    """The database itself refuses a second one of an owner and protocol, whoever writes it."""
    with opened(database_url, fsync=False) as db:
        for name, values in (
            ("a", {"owner_id": 1}),
            ("b", {"owner_id": 1}),
            ("c", {"system": True}),
            ("d", {"system": True}),
        ):
            policy = Policy(0, name, 30, "[ v3_ext ]\n", use_for_est=True, use_for_scep=True)
            db.get(db.store.add_policy(replace(policy, **values), event(), NOW))
        for column in ("default_for_est", "default_for_scep"):
            for name in "bd":
                update = f"UPDATE policies SET {column} = 1 WHERE name = '{name}'"
                with pytest.raises(IntegrityError), db.store.database.writer.begin() as connection:
                    connection.exec_driver_sql(update)


def test_policies_of_an_earlier_version(database_url: str) -> None:
    """Migration 0008: what was used for a protocol is its owner's default; the oldest, should there be several."""
    flags: dict[str, object] = {"use_for_est": True, "use_for_scep": True}
    rows: tuple[tuple[str, dict[str, object]], ...] = (
        ("system EST", {"system": True, "use_for_est": True}),
        ("system SCEP", {"system": True, "use_for_scep": True}),
        ("alice both", {"owner_id": 1, **flags}),
        ("alice second", {"owner_id": 1, **flags}),
        ("bob none", {"owner_id": 2}),
        ("without an owner", flags),
    )
    with opened(database_url, fsync=False) as db:
        for name, values in rows:
            policy = replace(Policy(0, name, 30, "[ v3_ext ]\n"), **values)  # type: ignore[arg-type]
            db.get(db.store.add_policy(policy, event(), NOW))
    execute(database_url, *AS_0007)
    with opened(database_url, fsync=False) as db:
        assert _defaults(db, None) == {"EST": "system EST", "SCEP": "system SCEP"}
        assert _defaults(db, 1) == {"EST": "alice both", "SCEP": "alice both"}
        assert _defaults(db, 2) == {"EST": None, "SCEP": None}
        orphan = db.get(db.store.policy_by_name("without an owner"))
        assert orphan is not None
        assert (orphan.default_for_est, orphan.default_for_scep) == (False, False)


def test_roles(db: Opened) -> None:
    """ROL-1: the roles of a policy and of the default one are kept, and a change of the latter is recorded with it."""
    store, staff = db.store, (Role.OPERATOR, Role.ADMIN)
    policy = Policy(0, "staff", 30, "[ v3_ext ]\n", system=True, roles=staff)
    assert db.get(store.add_policy(policy, event(), NOW)).roles == staff
    assert db.get(store.system_settings()) == SystemPolicySettings()
    override = LintOverride("An old client needs it.", "admin", NOW, ("pikachu.criticality",))
    for settings in (SystemPolicySettings(staff, override), SystemPolicySettings((Role.USER,))):
        db.get(store.set_system_settings(settings, event("update"), NOW))
        assert db.get(store.system_settings()) == settings
    assert len(db.get(store.events(ListQuery(filters={"type": "update"}))).items) == 2


def test_roles_after_an_upgrade(database_url: str) -> None:
    """ROL-1: what exists stays for everybody who enrolls."""
    with opened(database_url) as db:
        policy = Policy(0, "old", 30, "[ v3_ext ]\n", system=True, roles=(Role.ADMIN,))
        number = db.get(db.store.add_policy(policy, event(), NOW)).id
    execute(database_url, *AS_0026)
    with opened(database_url) as db:
        assert db.get(db.store.policy(number)).roles == POLICY_ROLES
        assert db.get(db.store.system_settings()) == SystemPolicySettings()


def test_lint_override(db: Opened) -> None:
    """LNT-1: the override of a policy is kept, and goes when it is saved without."""
    override = LintOverride("An old client needs it.", "admin", NOW, ("pikachu.criticality", "pkix.x"))
    policy = Policy(0, "old client", 30, "[ v3_ext ]\n", system=True, lint_override=override)
    added = db.get(db.store.add_policy(policy, event(), NOW))
    assert added.lint_override == override
    assert db.get(db.store.update_policy(replace(added, lint_override=None), event(), NOW)).lint_override is None


def test_lint_override_after_an_upgrade(database_url: str) -> None:
    """Policies that allow other country codes go on doing so."""
    with opened(database_url) as db:
        for name, limits in (("abroad", PolicyLimits(other_countries=True)), ("home", PolicyLimits())):
            db.get(db.store.add_policy(Policy(0, name, 30, "[ v3_ext ]\n", system=True, limits=limits), event(), NOW))
    execute(database_url, *AS_0036)
    with opened(database_url) as db:
        abroad, home = (db.get(db.store.policy_by_name(name)) for name in ("abroad", "home"))
        assert abroad is not None
        assert abroad.lint_override is not None
        assert abroad.lint_override.codes == ("pikachu.country_code",)
        assert home is not None
        assert home.lint_override is None
