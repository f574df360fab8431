"""The rules about stored certificate templates (TPL-1, TPL-3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from pikachu.core.errors import AuthenticationFailed, BadTemplate, MalformedRequest, NotAuthorized, NotFound
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import ANONYMOUS, SYSTEM, Principal, Role, Scope
from pikachu.inventory.templates import CertificateTemplates, TemplateDraft, usages_of
from tests.support.deferreds import failure_of, result_of
from tests.support.people import CountingPool, HeldPool, World, make_world

EXTENSIONS = "[ v3_ext ]\nextendedKeyUsage = clientAuth\n"
REQUEST = "[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = device.example.com\n"


@dataclass
class Desk:
    """The rules, and people who use them."""

    world: World
    rules: CertificateTemplates
    pool: CountingPool
    admin: Principal
    alice: Principal
    bob: Principal


@pytest.fixture
def desk() -> Iterator[Desk]:
    world = make_world()
    people = [world.as_person(world.add(name, role)) for name, role in (("root", Role.ADMIN), ("alice", Role.USER))]
    people.append(world.as_person(world.add("bob")))
    pool = CountingPool()
    yield Desk(world, CertificateTemplates(world.store, world.clock, pool), pool, *people)
    result_of(world.store.close())


def draft(name: str = "web", **values: object) -> TemplateDraft:
    return replace(TemplateDraft(name, "TLS server", EXTENSIONS), **values)  # type: ignore[arg-type]


def names(desk: Desk, actor: Principal, **values: object) -> list[str]:
    query = replace(ListQuery(sort="id"), **values)  # type: ignore[arg-type]
    return [one.name for one in result_of(desk.rules.list(actor, query)).items]


def test_a_template_belongs_to_who_makes_it(desk: Desk) -> None:
    """TPL-3: name, type, origin, owner and times are stored and recorded; the event lacks the text."""
    made = result_of(desk.rules.add(desk.alice, draft(" web ", profile_type=" TLS server ")))
    assert (made.name, made.profile_type, made.origin) == ("web", "TLS server", "manually")
    assert (made.owner_id, made.content) == (desk.alice.owner_id, EXTENSIONS)
    assert made.created_at == made.updated_at == desk.world.now
    (event,) = desk.world.events("create")[-1:]
    assert (event.event.resource_type, event.event.resource_name, event.event.actor) == ("template", "web", "alice")
    assert event.event.owner_id == desk.alice.owner_id
    assert event.event.details == {
        "profile_type": "TLS server",
        "origin": "manually",
        "usages": ["ext"],
        "system": False,
        "ip": desk.alice.address,
    }


@pytest.mark.parametrize(
    ("content", "usages"), [(EXTENSIONS, ("ext",)), (REQUEST, ("req",)), (REQUEST + EXTENSIONS, ("req", "ext"))]
)
def test_usages_are_those_of_the_text(desk: Desk, content: str, usages: tuple[str, ...]) -> None:
    """TPL-1: a section [ req ] configures requests, [ v3_ext ] certificates; both are possible."""
    assert result_of(desk.rules.validate(desk.bob, content)) == set(usages)
    made = result_of(desk.rules.add(desk.alice, draft(content=content)))
    assert usages_of(made) == usages
    assert names(desk, desk.alice, filters={"usage": usages[0]}) == ["web"]
    turned = result_of(desk.rules.update(desk.alice, made.id, content=REQUEST))
    assert usages_of(turned) == ("req",)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", 0),
        ("[ other ]\nx = y\n", 0),
        ("[ v3_ext ]\n\nkeyUsage = digitalSignatur\n", 3),
        (REQUEST + "[ v3_ext ]\nbasicConstraints = CA:maybe\n", 7),
        ("[ v3_ext ]\n# " + "x" * 70_000, 0),
    ],
)
def test_a_wrong_text_is_not_kept(desk: Desk, content: str, line: int) -> None:
    """TPL-3: it is validated before it is saved, and the error names its line."""
    mine = result_of(desk.rules.add(desk.alice, draft()))
    for refused in (
        desk.rules.validate(desk.alice, content),
        desk.rules.add(desk.alice, draft(content=content)),
        desk.rules.update(desk.alice, mine.id, content=content),
    ):
        assert failure_of(refused, BadTemplate).line == line
    assert names(desk, desk.admin) == ["web"]
    assert result_of(desk.rules.get(desk.alice, mine.id)) == mine


def test_who_sees_what(desk: Desk) -> None:
    """TPL-3: users see their own and shared templates, admins all; a hidden one is not found."""
    mine = result_of(desk.rules.add(desk.alice, draft("mine")))
    shared = result_of(desk.rules.add(desk.admin, draft("shared", system=True)))
    assert shared.owner_id is None
    assert names(desk, desk.alice) == ["mine", "shared"]
    assert names(desk, desk.bob) == ["shared"]
    assert names(desk, desk.bob, owner_id=desk.alice.owner_id) == ["shared"]
    assert names(desk, desk.admin) == ["mine", "shared"]
    assert names(desk, desk.admin, owner_id=desk.bob.owner_id) == ["shared"]
    assert names(desk, replace(desk.admin, scopes=frozenset({Scope.READ}))) == ["shared"]
    assert result_of(desk.rules.get(desk.bob, shared.id)) == shared
    assert result_of(desk.rules.get(desk.admin, mine.id)) == mine
    for hidden in (
        desk.rules.get(desk.bob, mine.id),
        desk.rules.update(desk.bob, mine.id, name="x"),
        desk.rules.delete(desk.bob, mine.id),
        desk.rules.get(desk.bob, 99),
    ):
        assert failure_of(hidden, NotFound).public == "there is no such certificate template"


def test_nobody_without_an_account(desk: Desk) -> None:
    """API-1: anonymous people and restricted tokens do nothing here."""
    made = result_of(desk.rules.add(desk.alice, draft()))
    for refused in (
        desk.rules.validate(ANONYMOUS, EXTENSIONS),
        desk.rules.get(ANONYMOUS, made.id),
        desk.rules.list(ANONYMOUS, ListQuery()),
        desk.rules.add(ANONYMOUS, draft()),
        desk.rules.update(ANONYMOUS, made.id),
        desk.rules.delete(ANONYMOUS, made.id),
    ):
        failure_of(refused, AuthenticationFailed)
    reader = replace(desk.alice, scopes=frozenset({Scope.READ}))
    for refused in (
        desk.rules.add(reader, draft()),
        desk.rules.update(reader, made.id, name="x"),
        desk.rules.delete(reader, made.id),
    ):
        failure_of(refused, NotAuthorized)


def test_everybodys_are_changed_by_admins_only(desk: Desk) -> None:
    """TPL-3: a user neither creates, changes, deletes nor takes over a shared template."""
    shared = result_of(desk.rules.add(desk.admin, draft("shared", system=True)))
    mine = result_of(desk.rules.add(desk.alice, draft("mine")))
    for refused in (
        desk.rules.add(desk.alice, draft(system=True)),
        desk.rules.update(desk.alice, shared.id, content=REQUEST),
        desk.rules.update(desk.alice, shared.id, system=False),
        desk.rules.update(desk.alice, mine.id, system=True),
        desk.rules.delete(desk.alice, shared.id),
    ):
        failure_of(refused, NotAuthorized)
    # An admin's change leaves a template whose it is; everybody's becomes the admin's who takes it.
    assert result_of(desk.rules.update(desk.admin, mine.id, name="renamed")).owner_id == desk.alice.owner_id
    assert result_of(desk.rules.update(desk.admin, mine.id, system=True)).owner_id is None
    assert result_of(desk.rules.update(desk.admin, mine.id, system=False)).owner_id == desk.admin.owner_id
    result_of(desk.rules.delete(desk.admin, shared.id))
    assert names(desk, desk.admin) == ["renamed"]


def test_the_program_itself_makes_shared_ones_only(desk: Desk) -> None:
    """A template without an owner is shared, which the draft must state."""
    assert result_of(desk.rules.add(SYSTEM, draft(system=True))).owner_id is None
    failure_of(desk.rules.add(SYSTEM, draft()), MalformedRequest)


def test_changes_are_recorded(desk: Desk) -> None:
    """AUD-1: update and delete; the origin stays."""
    made = result_of(desk.rules.add(desk.alice, draft(origin="tls_server.cnf.j2")))
    desk.world.clock.advance(60)
    changed = result_of(desk.rules.update(desk.alice, made.id, name="new", profile_type="Device"))
    assert (changed.name, changed.profile_type, changed.origin) == ("new", "Device", "tls_server.cnf.j2")
    assert changed.created_at == made.created_at
    assert changed.updated_at == desk.world.now
    result_of(desk.rules.delete(desk.alice, made.id))
    failure_of(desk.rules.delete(desk.alice, made.id), NotFound)
    kinds = [one.event.type for one in desk.world.events() if one.event.resource_type == "template"]
    assert kinds == ["create", "update", "delete"]


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "x" * 129, "\u202e"])
def test_names_are_one_line(desk: Desk, text: str) -> None:
    """Names and types stand in lists and events: short, printable, on one line."""
    failure_of(desk.rules.add(desk.alice, draft(text)), MalformedRequest)
    failure_of(desk.rules.add(desk.alice, draft(profile_type=text)), MalformedRequest)


def test_two_changes_at_once_lose_nothing(desk: Desk) -> None:
    """A change waits for the one before it; a visitor who leaves does not stop it."""
    made = result_of(desk.rules.add(desk.alice, draft()))
    pool = HeldPool()
    rules = CertificateTemplates(desk.world.store, desk.world.clock, pool)
    first = rules.update(desk.alice, made.id, name="first")
    second = rules.update(desk.alice, made.id, profile_type="second")
    first.cancel()
    while pool.waiting:
        pool.waiting.pop(0).callback(None)
    changed = result_of(second)
    assert (changed.name, changed.profile_type) == ("first", "second")


def test_texts_are_read_in_the_pool(desk: Desk) -> None:
    """A long text takes milliseconds: not on the reactor."""
    before = len(desk.pool.work)
    result_of(desk.rules.validate(desk.alice, EXTENSIONS))
    result_of(desk.rules.add(desk.alice, draft()))
    assert len(desk.pool.work) == before + 2
