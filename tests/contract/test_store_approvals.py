"""ROL-1: who may approve a request, decided by the transaction that records the approval, in each database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from pikachu.core.approvals import Approver
from pikachu.core.errors import Conflict, InactiveOwner, NotAuthorized, RequestError
from pikachu.core.interfaces import Begun
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Account, AccountState, NewAccount, NewChallengePassword, Role
from pikachu.core.model.policies import Approval, Policy
from pikachu.core.model.requests import RequestRecord, RequestState
from tests.support.databases import CONSOLE, NOW, Opened, event, seal

POLICY = "looked at"


@dataclass
class Desk:
    """A database with people and a policy that wants two approvals."""

    db: Opened
    people: dict[str, Account] = field(default_factory=dict)
    allows_own: bool = False

    def __post_init__(self) -> None:
        for name, role in (("root", Role.ADMIN), ("olga", Role.OPERATOR), ("otto", Role.OPERATOR), ("ulla", Role.USER)):
            new = NewAccount(name, f"{name}@example.com", role, AccountState.ACTIVE, None)
            added = Event("add", "user", name, "test", about_account=True)
            self.people[name] = self.db.get(self.db.store.add_account(new, added, NOW))
        policy = Policy(0, POLICY, 9, "[ v3_ext ]\n", system=True, approval=Approval.FOUR_EYES)
        self.policy = self.db.get(self.db.store.add_policy(policy, event(), NOW))

    def id(self, name: str) -> int:
        """The account's."""
        return self.people[name].id

    def request(
        self, owner: str | None = "ulla", *, made_by: str = "ulla", approvals: int = 2, challenge_id: int | None = None
    ) -> int:
        """The id of a request that waits."""
        request = self.db.request(
            owner_id=None if owner is None else self.id(owner),
            policy=POLICY,
            approvals=approvals,
            actor_ids=frozenset({self.id(made_by)}),
            challenge_id=challenge_id,
        )
        begun = self.db.get(self.db.store.begin(request, None, NOW))
        assert isinstance(begun, Begun)
        self.asked = request
        return begun.request_id

    def approve(self, request_id: int, who: str) -> RequestRecord:
        """As a person, or as ``console``."""
        if who == "console":
            approver = replace(CONSOLE, allows_own=self.allows_own)
        else:
            approver = Approver(who, self.id(who), self.allows_own)
        told = Event("approve", "request", str(request_id), who, actor_id=approver.account_id)
        return self.db.get(self.db.store.approve(request_id, self.db.intent(self.asked), approver, told, NOW))

    def change(self, name: str, **fields: object) -> None:
        """Change an account."""
        told = Event("update", "user", name, "root", actor_id=self.id("root"))
        changing = self.db.store.change_account(
            self.id(name),
            lambda one: (replace(one, **fields), told),  # type: ignore[arg-type]
            NOW,
        )
        self.db.get(changing)

    def use(self, approval: Approval) -> None:
        """Change the policy."""
        changed = replace(self.policy, approval=approval)
        self.policy = self.db.get(self.db.store.update_policy(changed, event("update"), NOW))

    def details(self) -> list[dict[str, object]]:
        """Of the approvals in the audit log, the oldest first."""
        events = self.db.get(self.db.store.events(ListQuery(filters={"type": "approve"}))).items
        return [dict(one.event.details) for one in reversed(events)]


@pytest.fixture
def desk(db: Opened) -> Desk:
    """With people."""
    return Desk(db)


def test_two_people_approve(desk: Desk) -> None:
    """The first approval is stored and signs nothing; with the second the intent is stored."""
    request_id = desk.request()
    waiting = desk.approve(request_id, "olga")
    assert (waiting.state, waiting.serial, waiting.decided_by) == (RequestState.PENDING, None, None)
    assert waiting.first_approval is not None
    first = waiting.first_approval
    assert (first.account_id, first.name, first.given_at) == (desk.id("olga"), "olga", NOW)
    assert desk.db.get(desk.db.store.request(request_id)) == waiting
    (listed,) = desk.db.get(desk.db.store.requests(ListQuery(filters={"approval": "true"}))).items
    assert listed == waiting
    approved = desk.approve(request_id, "root")
    assert (approved.state, approved.decided_by) == (RequestState.ISSUING, "root")
    assert approved.first_approval == first
    assert desk.details() == [{"approvals": "1 of 2"}, {"approvals": "2 of 2", "first_approved_by": "olga"}]
    with pytest.raises(Conflict):
        desk.approve(request_id, "otto")


def demote(desk: Desk) -> None:
    """The first approver is no operator any more."""
    desk.change("olga", role=Role.USER)


def suspend(desk: Desk) -> None:
    """The first approver is suspended."""
    desk.change("olga", state=AccountState.SUSPENDED)


def relax(desk: Desk) -> None:
    """The policy wants one approval now."""
    desk.use(Approval.MANUAL)


def waive(desk: Desk) -> None:
    """The policy wants none now."""
    desk.use(Approval.AUTOMATIC)


def nothing(_: Desk) -> None:
    """Nothing happens between the approvals."""


#: Who approves first, what happens, who approves then, and the outcome: the error, or whether a certificate is signed.
BETWEEN: tuple[tuple[str, Callable[[Desk], None], str, type[RequestError] | bool], ...] = (
    ("olga", nothing, "otto", True),
    ("olga", nothing, "console", True),
    ("console", nothing, "olga", True),
    ("olga", nothing, "olga", Conflict),
    ("console", nothing, "console", Conflict),
    ("olga", nothing, "ulla", NotAuthorized),
    ("olga", demote, "otto", False),
    ("olga", demote, "olga", NotAuthorized),
    ("olga", suspend, "otto", False),
    ("olga", suspend, "olga", InactiveOwner),
    # A request that came while two were wanted needs two: nobody gets around the second person by changing the policy.
    ("olga", relax, "olga", Conflict),
    ("olga", relax, "otto", True),
    ("olga", waive, "olga", Conflict),
)


@pytest.mark.parametrize(("first", "between", "second", "outcome"), BETWEEN)
def test_between_two_approvals(
    desk: Desk, first: str, between: Callable[[Desk], None], second: str, outcome: type[RequestError] | bool
) -> None:
    """An approval counts while whoever gave it may approve, and one person gives one."""
    request_id = desk.request()
    desk.approve(request_id, first)
    between(desk)
    if isinstance(outcome, bool):
        approved = desk.approve(request_id, second)
        assert (approved.state is RequestState.ISSUING) is outcome
        if not outcome:
            # It has taken the place of the first one.
            assert approved.first_approval is not None
            assert approved.first_approval.name == second
            assert desk.approve(request_id, "root").state is RequestState.ISSUING
        return
    with pytest.raises(outcome):
        desk.approve(request_id, second)
    assert desk.db.get(desk.db.store.request(request_id)).state is RequestState.PENDING


def test_a_policy_that_wants_two_by_now(desk: Desk) -> None:
    """A request that came while one was wanted needs two, until the policy wants one again."""
    desk.use(Approval.MANUAL)
    request_id, other = desk.request(approvals=1), desk.request(approvals=1)
    assert desk.db.get(desk.db.store.request(request_id)).approvals_needed == 1
    desk.use(Approval.FOUR_EYES)
    assert desk.db.get(desk.db.store.request(request_id)).approvals_needed == 2
    assert desk.approve(request_id, "olga").state is RequestState.PENDING
    assert desk.approve(request_id, "otto").state is RequestState.ISSUING
    assert desk.approve(other, "olga").state is RequestState.PENDING
    desk.use(Approval.MANUAL)
    assert desk.approve(other, "olga").state is RequestState.ISSUING


def test_rejected_between(desk: Desk) -> None:
    """Nobody approves what one person has rejected."""
    request_id = desk.request()
    desk.approve(request_id, "olga")
    desk.db.get(desk.db.store.reject(request_id, "otto", "no", event("reject"), NOW))
    with pytest.raises(Conflict):
        desk.approve(request_id, "root")


@pytest.mark.parametrize("approvals", [1, 2])
@pytest.mark.parametrize(
    ("made_by", "owner"), [("olga", "olga"), ("olga", "ulla"), ("ulla", "olga"), ("olga", None)], ids=str
)
def test_own_requests(desk: Desk, made_by: str, owner: str | None, approvals: int) -> None:
    """Neither who made it approves it nor whose it becomes, first or second, unless the setting allows it."""
    desk.use(Approval.FOUR_EYES if approvals == 2 else Approval.MANUAL)
    request_id, other = (desk.request(owner, made_by=made_by, approvals=approvals) for _ in range(2))
    with pytest.raises(NotAuthorized, match="self_approval"):
        desk.approve(request_id, "olga")
    # The console is not restricted, and nobody signs by a refusal.
    assert desk.db.get(desk.db.store.request(request_id)).state is RequestState.PENDING
    desk.allows_own = True
    desk.approve(request_id, "olga")
    if approvals == 2:
        # What the setting allowed does not count when it no longer does.
        desk.allows_own = False
        assert desk.approve(request_id, "otto").state is RequestState.PENDING
        desk.approve(other, "otto")
        with pytest.raises(NotAuthorized, match="self_approval"):
            desk.approve(other, "olga")


@pytest.mark.parametrize("creator", ["olga", None])
def test_the_creator_of_a_challenge_password(desk: Desk, creator: str | None) -> None:
    """An account that created it for somebody else has made the request, too; the console has not."""
    actor = None if creator is None else desk.id(creator)
    created = Event("create", "challenge password", "12345678", "x", owner_id=desk.id("ulla"), actor_id=actor)
    new = NewChallengePassword(b"hmac", "12345678", seal, desk.id("ulla"), NOW + timedelta(hours=1))
    challenge = desk.db.get(desk.db.store.add_challenge(new, created, NOW))
    request_id = desk.request("ulla", challenge_id=challenge.id)
    ids = desk.db.get(desk.db.store.request(request_id)).requester_ids
    assert ids == {desk.id("ulla"), *(() if actor is None else (actor,))}
    if creator is not None:
        with pytest.raises(NotAuthorized):
            desk.approve(request_id, creator)
    assert desk.approve(request_id, "otto").first_approval is not None


def test_both_of_two_at_once(desk: Desk) -> None:
    """Two approvals that were both about to be the first: the later one is the second."""
    request_id = desk.request()
    intents = [desk.db.intent(desk.asked) for _ in range(2)]
    told = Event("approve", "request", str(request_id), "x")
    asked = [
        desk.db.store.approve(request_id, intent, Approver(name, desk.id(name), allows_own=False), told, NOW)
        for intent, name in zip(intents, ("olga", "otto"), strict=True)
    ]
    states = [desk.db.get(one).state for one in asked]
    assert sorted(states) == [RequestState.ISSUING, RequestState.PENDING]


def test_one_person_twice_at_once(desk: Desk) -> None:
    """From two browsers: one approval is recorded."""
    request_id = desk.request()
    told = Event("approve", "request", str(request_id), "x")
    olga = Approver("olga", desk.id("olga"), allows_own=False)
    asked = [desk.db.store.approve(request_id, desk.db.intent(desk.asked), olga, told, NOW) for _ in range(2)]
    outcomes: list[object] = []
    for one in asked:
        try:
            outcomes.append(desk.db.get(one).state)
        except Conflict:
            outcomes.append(Conflict)
    assert sorted(outcomes, key=str) == sorted([RequestState.PENDING, Conflict], key=str)
