"""Roles that may use a policy, wherever one is used: pages, REST, batches, EST and SCEP's accounts (ROL-1)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, Role
from pikachu.core.model.policies import POLICY_ROLES
from pikachu.ra.policies import NO_EXTENSIONS_POLICY
from tests.support.deferreds import result_of
from tests.support.est import EST, est_site
from tests.support.pki import make_csr
from tests.support.rest import REST, csr_pem, open_rest
from tests.support.stack import DEFAULT_EXTENSIONS, Stack, build_core
from tests.support.visitor import Pages, make_pages, text_of

STAFF_ONLY = "staff only"
STAFF = [Role.OPERATOR, Role.ADMIN]
REFUSED = "can't use the policy"
DEMOTIONS = pytest.mark.parametrize(("before", "after"), [(Role.USER, Role.AUDITOR), (Role.OPERATOR, Role.USER)])


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = build_core(tmp_path_factory.mktemp("core"))
    yield made
    made.close()


@pytest.fixture
def pages(stack: Stack) -> Pages:
    """Pages with an operator too."""
    made = make_pages(stack)
    made.add("olga", Role.OPERATOR)
    return made


@pytest.fixture
def rest(stack: Stack, pages: Pages) -> REST:
    """REST for the same people, and a policy for staff."""
    made = open_rest(stack)
    for name, account in pages.accounts.items():
        made.accounts[name] = account
        made.tokens[name] = made.token(name)
    add_policy(made, STAFF_ONLY, STAFF)
    return made


def add_policy(rest: REST, name: str, roles: list[Role] | None = None, **more: object) -> int:
    """The id of a new system policy, which EST and SCEP use by its label."""
    body = {"name": name, "validity_days": 9, "extensions": DEFAULT_EXTENSIONS, "system": True, "use_for_est": True}
    body |= {"use_for_scep": True, **more} | ({} if roles is None else {"roles": roles})
    return int(rest.good("POST", "/policies", body, who="root", status=201)["id"])


def restrict_system(rest: REST, roles: list[Role]) -> None:
    """Let only these roles use System."""
    rest.good("PATCH", "/policies/0", {"roles": roles}, who="root")


def options(page: str) -> set[str]:
    """The values of all options."""
    return set(re.findall(r'<option value="([^"]*)"', page))


def test_rest_field(rest: REST) -> None:
    """A policy lists the three roles unless it says otherwise; what is omitted stays, and each change is recorded."""
    every = add_policy(rest, "every")
    assert rest.good("GET", f"/policies/{every}", who="alice")["roles"] == list(POLICY_ROLES)
    rest.good("PATCH", f"/policies/{every}", {"roles": ["admin", "operator", "admin"]}, who="root")
    body = {"name": "every", "validity_days": 8, "extensions": DEFAULT_EXTENSIONS, "system": True}
    assert rest.good("PUT", f"/policies/{every}", body, who="root")["roles"] == STAFF
    query = ListQuery(limit=1, filters={"type": "update", "resource_name": "every"})
    (event,) = result_of(rest.stack.app.store.events(query)).items
    assert event.event.details["roles"] == STAFF
    for wrong in ([], ["auditor"], ["user", "auditor"], ["king"]):
        assert "roles" in rest.bad(400, "PATCH", f"/policies/{every}", {"roles": wrong}, who="root")["detail"]


def test_certificates(rest: REST) -> None:
    """Accounts that may not use a policy issue nothing under it, and are told so."""
    body = {"csr": csr_pem(), "policy": STAFF_ONLY}
    problem = rest.bad(403, "POST", "/certificates", body, who="alice")
    assert f"The role user {REFUSED} “{STAFF_ONLY}”" in problem["detail"]
    rest.good("POST", "/certificates", body, who="olga", status=201)
    rest.good("POST", "/certificates", {**body, "csr": csr_pem()}, who="root", status=201)


def test_system(rest: REST) -> None:
    """System, and None with it, is for the roles that System lists; an edit of it by another version is refused."""
    tag = rest.call("GET", "/policies/0", who="root").headers["ETag"]
    restrict_system(rest, STAFF)
    assert rest.good("GET", "/policies/0", who="alice")["roles"] == STAFF
    stale = rest.call("PATCH", "/policies/0", {"roles": ["user"]}, who="root", headers={"If-Match": tag})
    assert stale.status == 412
    for policy in ({}, {"policy": "System"}, {"policy": NO_EXTENSIONS_POLICY}):
        rest.bad(403, "POST", "/certificates", {"csr": csr_pem(), **policy}, who="alice")
        rest.good("POST", "/certificates", {"csr": csr_pem(), **policy}, who="olga", status=201)
    # Its texts change, and the roles stay.
    rest.good("PATCH", "/policies/0", {"validity_days": 77}, who="root")
    assert rest.good("GET", "/policies/0", who="root")["roles"] == STAFF
    rest.bad(403, "PATCH", "/policies/0", {"roles": ["user"]}, who="olga")


def test_own_policies(rest: REST) -> None:
    """Only administrators choose roles, and a policy of one's own is no way around the limits of others."""
    body = {"name": "mine", "validity_days": 9, "extensions": DEFAULT_EXTENSIONS}
    rest.bad(403, "POST", "/policies", {**body, "roles": ["user"]}, who="alice")
    mine = rest.good("POST", "/policies", body, who="alice", status=201)["id"]
    rest.good("PATCH", f"/policies/{mine}", {"roles": STAFF}, who="root")
    rest.bad(403, "PATCH", f"/policies/{mine}", {"roles": list(POLICY_ROLES)}, who="alice")
    assert rest.good("PATCH", f"/policies/{mine}", {"validity_days": 3}, who="alice")["roles"] == STAFF
    rest.bad(403, "POST", "/certificates", {"csr": csr_pem(), "policy": "mine"}, who="alice")
    restrict_system(rest, STAFF)
    for method, path, sent in (
        ("POST", "/policies", {**body, "name": "another"}),
        ("PATCH", f"/policies/{mine}", {"validity_days": 4}),
    ):
        problem = rest.bad(403, method, path, sent, who="alice")
        assert "can't create or change policies of its own" in problem["detail"]
    rest.good("POST", "/policies", {**body, "name": "of olga"}, who="olga", status=201)


def test_batches(rest: REST) -> None:
    """Both the account that orders a batch and its owner need the role."""
    body = {"label": "pumps", "policy": STAFF_ONLY, "names": "a"}
    rest.bad(403, "POST", "/batches", body, who="alice")
    problem = rest.bad(403, "POST", "/batches", {**body, "user_id": rest.accounts["alice"].id}, who="root")
    assert REFUSED in problem["detail"]
    rest.good("POST", "/batches", body, who="olga", status=201)


@DEMOTIONS
def test_after_a_change_of_role(rest: REST, stack: Stack, before: Role, after: Role) -> None:
    """Previews, a batch's passwords and new batches of an account whose role may not use the policy any more."""
    policy = add_policy_for(rest, before)
    account = rest.add("dora", before)
    est = EST(stack, est_site(stack))
    body = {"label": "pumps", "policy": policy, "names": "a\nb"}
    batch = rest.good("POST", "/batches", body, who="dora", status=201)
    first, second = rest.good("GET", f"/batches/{batch['id']}/passwords?sort=id", who="dora")["items"]
    assert est.enroll(csr_of(first)).status == 200
    preview = {"csr": csr_pem(), "policy": policy}
    rest.good("POST", "/certificates/preview", preview, who="dora")
    result_of(stack.app.accounts.update(SYSTEM, account.id, role=after))
    stack.clock.advance(1)
    rest.bad(403, "POST", "/certificates/preview", preview, who="dora")
    rest.bad(403, "POST", "/batches", body, who="dora")
    rest.bad(403, "POST", "/batches", {**body, "user_id": account.id}, who="root")
    assert est.enroll(csr_of(second)).status == 403
    # As it was, so that the refusals above were for the role.
    result_of(stack.app.accounts.update(SYSTEM, account.id, role=before))
    stack.clock.advance(1)
    assert est.enroll(csr_of(second)).status == 200


@DEMOTIONS
def test_job_after_a_change_of_role(rest: REST, stack: Stack, before: Role, after: Role) -> None:
    """A job that renews certificates renews none from then on."""
    policy = add_policy_for(rest, before)
    account = rest.add("dora", before)
    body = {"subject": "CN=pump.example.com", "sans": [], "key": {"type": "Ed25519"}, "policy": policy}
    ids = [rest.good("POST", "/certificates", body, who="dora", status=201)["id"] for _ in range(4)]
    order = {"action": "renew", "resource": "certificates", "ids": ids}
    job = rest.good("POST", "/jobs", order, who="dora", status=202)
    result_of(stack.app.accounts.update(SYSTEM, account.id, role=after))
    rest.clock.pump([1.0] * 10)
    rows = rest.good("GET", f"/jobs/{job['id']}/results", who="root")["items"]
    # The first one was renewed while the job was ordered.
    assert sorted(row["state"] for row in rows) == ["done", "failed", "failed", "failed"]
    assert {row["message"] for row in rows if row["state"] == "failed"} == {
        "Accounts with the role auditor can't do this."
        if after is Role.AUDITOR
        else f"The role user {REFUSED} “{policy}”. Choose another policy, or have an administrator allow it."
    }


def add_policy_for(rest: REST, role: Role) -> str:
    """The name of a policy that the role may use: one for staff only, or one for all."""
    if role is Role.OPERATOR:
        return STAFF_ONLY
    add_policy(rest, "for all")
    return "for all"


def csr_of(password: dict[str, str]) -> bytes:
    """Return the CSR that a password of a batch is bound to."""
    return make_csr(subject=password["subject"].removeprefix("CN="), challenge=password["password"])[1]


def test_devices(rest: REST, stack: Stack) -> None:
    """EST by account, by challenge password, by certificate and by nobody: the account's role counts, by each path."""
    est = EST(stack, est_site(stack))
    user, operator = est.account("uwe"), est.account("otto", Role.OPERATOR)
    for name, status in (("uwe", 403), ("otto", 200)):
        response = est.enroll(make_csr()[1], label=STAFF_ONLY, user=name)
        assert response.status == status, response.body
    assert REFUSED.encode() in est.enroll(make_csr()[1], label=STAFF_ONLY, user="uwe").body
    for owner, status in ((user, 403), (operator, 200)):
        request = make_csr(challenge=est.challenge(owner))[1]
        assert est.enroll(request, label=STAFF_ONLY).status == status
    # The role of the account as it is now, within a second.
    result_of(stack.app.accounts.update(SYSTEM, operator.owner_id or 0, role=Role.USER))
    stack.clock.advance(1)
    assert est.enroll(make_csr(challenge=est.challenge(operator))[1], label=STAFF_ONLY).status == 403


def test_the_default_of_a_protocol(rest: REST, stack: Stack) -> None:
    """The path without a label uses its default policy for those who may use it, and no other one for the rest."""
    est = EST(stack, est_site(stack))
    est.account("uwe")
    assert est.enroll(make_csr()[1], user="uwe").status == 403
    found = result_of(stack.app.store.policy_by_name(STAFF_ONLY))
    assert found is not None
    rest.good("PATCH", f"/policies/{found.id}", {"roles": ["user"]}, who="root")
    assert est.enroll(make_csr()[1], user="uwe").status == 200


def test_offered_to_who_may(rest: REST, pages: Pages) -> None:
    """The forms that issue, and the addresses of devices, name no policy that the role can't use."""
    restrict_system(rest, STAFF)
    add_policy(rest, "for all")
    for path in ("/certificates/new", "/ra", "/batches/new"):
        offered = options(pages.visitor("alice").get(path))
        assert "for all" in offered, path
        assert not {STAFF_ONLY, "System", NO_EXTENSIONS_POLICY} & offered, path
        assert {STAFF_ONLY, "System", NO_EXTENSIONS_POLICY} <= options(pages.visitor("olga").get(path)), path
    assert "staff%20only" not in pages.visitor("alice").get("/apis")
    assert "staff%20only" in pages.visitor("olga").get("/apis")


def test_form(pages: Pages) -> None:
    """Administrators tick the roles; all are ticked in the form of a new policy, and users see no boxes."""
    root = pages.visitor("root")
    page = root.get("/policies/new")
    assert all(f'name="role_{role}" value="1" checked' in page for role in POLICY_ROLES)
    sent = {"name": "ticked", "days": "30", "extensions": DEFAULT_EXTENSIONS, "system": "1", "roles": "1"}
    none = root.post("/policies/new", sent)
    assert "Choose at least one of the roles" in text_of(none.body.decode())
    made = root.post("/policies/new", {**sent, "role_operator": "1"})
    path = made.headers["Location"].partition("?")[0]
    assert "Roles operator" in text_of(root.get(path))
    edit = root.get(f"{path}/edit")
    assert 'name="role_operator" value="1" checked' in edit
    assert 'name="role_user" value="1">' in edit
    assert 'name="role_user"' not in pages.visitor("alice").get("/policies/new")


def test_system_page(rest: REST, pages: Pages) -> None:
    """System's roles are edited on its page, and a page that somebody else has changed shows theirs."""
    root = pages.visitor("root")
    page = root.get("/policies/0/edit")
    assert 'name="role_user" value="1" checked' in page
    sent = {"days": "365", "extensions": pages.stack.app.policies.default.extensions, "roles": "1", "role_admin": "1"}
    assert root.post("/policies/0/edit", sent).status == 303
    assert rest.good("GET", "/policies/0", who="root")["roles"] == ["admin"]
    stale = root.post("/policies/0/edit", {**sent, "role_user": "1", "version": "1"})
    assert "Roles Administrators" in text_of(stale.body.decode())
    assert rest.good("GET", "/policies/0", who="root")["roles"] == ["admin"]
