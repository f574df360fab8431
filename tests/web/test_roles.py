"""Pages and REST for each role: what it sees and does (ROL-1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.people import SYSTEM, Role, Scope
from pikachu.core.model.policies import Approval
from tests.support.deferreds import result_of
from tests.support.rest import REST, csr_pem, make_rest
from tests.support.stack import DEFAULT_EXTENSIONS, build_core
from tests.support.visitor import Pages, make_pages, text_of

STAFF = {"olga": Role.OPERATOR, "audrey": Role.AUDITOR}


@dataclass
class World:
    """REST and pages over two cores, each with a user, an operator, an auditor and an administrator."""

    rest: REST
    pages: Pages


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    stacks = [build_core(tmp_path_factory.mktemp(name)) for name in ("rest", "pages")]
    rest, pages = make_rest(stacks[0]), make_pages(stacks[1])
    for name, role in STAFF.items():
        rest.add(name, role)
        pages.add(name, role)
    yield World(rest, pages)
    for stack in stacks:
        stack.close()


def certificate(rest: REST, who: str = "alice", **more: Any) -> int:
    """The id of a new certificate."""
    return int(rest.good("POST", "/certificates", {"csr": csr_pem(), **more}, who=who, status=201)["id"])


def waiting(rest: REST) -> int:
    """The id of a request of alice's that awaits approval."""
    body = {"name": "by hand", "validity_days": 9, "extensions": DEFAULT_EXTENSIONS, "approval": Approval.MANUAL}
    names = [one["name"] for one in rest.good("GET", "/policies", who="root")["items"]]
    if "by hand" not in names:
        rest.good("POST", "/policies", {**body, "system": True}, who="root", status=201)
    answer = rest.good("POST", "/certificates", {"csr": csr_pem(), "policy": "by hand"}, who="alice", status=202)
    return int(answer["id"])


def ids(rest: REST, path: str, **caller: Any) -> set[int]:
    """The ids of the newest rows of a list."""
    return {one["id"] for one in rest.good("GET", f"{path}{'&' if '?' in path else '?'}limit=1000", **caller)["items"]}


def test_operators_handle_what_is_everybodys(world: World) -> None:
    """An operator sees, revokes, renews, approves and rejects for others."""
    rest = world.rest
    issued = certificate(rest)
    assert issued in ids(rest, "/certificates", who="olga")
    assert issued in ids(rest, "/certificates?owner=alice", who="olga")
    assert rest.good("GET", f"/certificates/{issued}", who="olga")["owner"] == "alice"
    rest.good("POST", f"/certificates/{issued}/revocation", {"reason": "superseded"}, who="olga")
    first, second = waiting(rest), waiting(rest)
    assert {first, second} <= ids(rest, "/approvals", who="olga")
    rest.good("POST", f"/approvals/{first}/approval", who="olga")
    assert rest.good("GET", f"/approvals/{first}", who="alice")["certificate_id"]
    rest.good("POST", f"/approvals/{second}/rejection", {"reason": "no"}, who="olga")
    assert rest.good("GET", f"/approvals/{second}", who="alice")["decided_by"] == "olga"
    assert (
        rest.good("GET", "/statistics", who="olga")["certificates"]
        == rest.good("GET", "/statistics", who="root")["certificates"]
    )


def test_operators_see_nothing_personal(world: World) -> None:
    """Keys, templates, challenge passwords, tokens and accounts of others, and the CA's own certificates."""
    rest = world.rest
    key = rest.good("POST", "/keys", {"name": "alice's", "type": "EC"}, who="alice", status=201)["id"]
    issued = certificate(rest)
    for path in ("/keys", "/challenge-passwords", "/tokens", "/templates", "/policies"):
        assert {one.get("owner", one.get("user")) for one in rest.good("GET", path, who="olga")["items"]} <= {
            "olga",
            None,
        }
    rest.bad(404, "GET", f"/keys/{key}", who="olga")
    rest.bad(404, "POST", f"/certificates/{issued}/pfx", {"passphrase": "correct horse"}, who="olga")
    for path in ("/users", "/certificates?infrastructure=only"):
        rest.bad(403, "GET", path, who="olga")
    own = [one["id"] for one in rest.good("GET", "/certificates?infrastructure=only", who="audrey")["items"]]
    assert own
    rest.bad(404, "GET", f"/certificates/{own[0]}", who="olga")
    rest.bad(404, "POST", f"/certificates/{own[0]}/revocation", {}, who="olga")


def test_operators_see_events_of_issuance(world: World) -> None:
    """Events about others' certificates and requests, but not about their accounts, keys and tokens."""
    rest = world.rest
    certificate(rest)
    rest.good("POST", "/keys", {"name": "another of alice's", "type": "EC"}, who="alice", status=201)
    rest.good("POST", "/keys", {"name": "olga's", "type": "EC"}, who="olga", status=201)
    everything = rest.good("GET", "/events?limit=1000", who="audrey")["items"]
    seen = rest.good("GET", "/events?limit=1000", who="olga")["items"]
    issuance = {"certificate", "CSR", "request", "batch", "device", "CRL", "responder", "issuer"}
    expected = [one["id"] for one in everything if one["resource_type"] in issuance or one["owner"] == "olga"]
    assert [one["id"] for one in seen] == expected
    assert {"key", "certificate"} <= {one["resource_type"] for one in seen}
    paged, cursor = [], ""
    while cursor is not None:
        page = rest.good("GET", f"/events?limit=2&cursor={cursor}", who="olga")
        paged += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert paged == expected
    for query in (
        "type=create",
        "resource_type=key",
        "resource_type=certificate&type=create",
        "q=device",
        "actor=olga",
    ):
        mine = [one["id"] for one in rest.good("GET", f"/events?limit=1000&{query}", who="olga")["items"]]
        assert mine == [one for one in ids_in_order(rest, query) if one in expected], query
    hidden = next(one["id"] for one in everything if one["id"] not in expected)
    rest.bad(404, "GET", f"/events/{hidden}", who="olga")
    assert rest.good("GET", f"/events/{expected[0]}", who="olga")["id"] == expected[0]
    alices = f"/events?owner_id={rest.accounts['alice'].id}"
    assert {one["resource_type"] for one in rest.good("GET", alices, who="olga")["items"]} <= issuance


def ids_in_order(rest: REST, query: str) -> list[int]:
    """The ids of all events that match, newest first."""
    return [one["id"] for one in rest.good("GET", f"/events?limit=1000&{query}", who="audrey")["items"]]


def test_operators_see_jobs_of_issuance(world: World) -> None:
    """A job on certificates is seen by operators, and cancelled by them; one on keys is not."""
    rest = world.rest

    def job(who: str, resource: str) -> int:
        body = {"action": "delete", "resource": resource, "ids": list(range(90_000, 90_100))}
        return int(rest.good("POST", "/jobs", body, who=who, status=202)["id"])

    on_certificates, on_keys, own = job("alice", "certificates"), job("alice", "keys"), job("olga", "keys")
    seen = ids(rest, "/jobs", who="olga")
    assert {on_certificates, own} <= seen
    assert on_keys not in seen
    rest.bad(404, "GET", f"/jobs/{on_keys}", who="olga")
    rest.bad(403, "DELETE", f"/jobs/{on_certificates}", who="audrey")
    assert rest.good("DELETE", f"/jobs/{on_certificates}", who="olga")["state"] == "cancelled"
    assert {on_certificates, on_keys, own} <= ids(rest, "/jobs", who="audrey")
    rest.clock.pump([1.0] * 5)


def test_auditors_read_all_and_change_nothing(world: World) -> None:
    """Every list is an administrator's, and no method but GET changes anything."""
    rest = world.rest
    certificate(rest)
    for path in ("/certificates", "/csrs", "/approvals", "/keys", "/templates", "/policies", "/events", "/users"):
        assert ids(rest, path, who="audrey") == ids(rest, path, who="root"), path
    job = {"action": "delete", "resource": "keys", "ids": [90_000]}
    own = rest.good("POST", "/jobs", job, who="alice", status=202)["id"]
    for route in rest.resource.routes:
        if route.method != "GET" and route.path.startswith("/api/v1"):
            path = route.path.removeprefix("/api/v1")
            for name in ("<id>", "<name>", "<ca>"):
                path = path.replace(name, "1" if name == "<id>" else "ec")
            body: object = {"passphrase": "correct horse"} if path.endswith("/pfx") else {}
            if path.startswith("/jobs"):
                path = path.replace("/1", f"/{own}")
                body = job
            status = rest.call(route.method, path, body, who="audrey").status
            allowed = path.startswith(
                (
                    "/sessions",
                    "/account-certificates",
                    "/passkeys",
                    "/tokens",
                    "/inspect",
                    "/audit-verification",
                    "/templates/validation",
                    "/csrs/preview",
                )
            )
            assert status == 403 or allowed, f"{route.method} {path}: {status}"


def test_secrets_stay_with_their_owners(world: World) -> None:
    """No private key, challenge password or PFX is shown to auditors and operators, not even for a page's address."""
    pages = world.pages
    owner = account_principal(pages.accounts["alice"], "192.0.2.1")
    key = result_of(pages.stack.app.keys.generate(owner, "alice's", "ed25519")).id
    challenge, _ = result_of(pages.stack.app.challenge_passwords.create(owner))
    for name, status in (("olga", 404), ("audrey", 403)):
        visitor = pages.visitor(name, confirmed=True)
        for path in (f"/keys/{key}/private", f"/keys/{key}/download", f"/challenge-passwords/{challenge.id}/text"):
            visitor.get(path, status=status)
    page = text_of(pages.visitor("audrey", confirmed=True).get(f"/challenge-passwords/{challenge.id}"))
    assert "Auditors can't view challenge passwords" in page
    # Nor one of their own, from when they had another role.
    former = pages.add("former", Role.USER)
    own, _ = result_of(pages.stack.app.challenge_passwords.create(account_principal(former, "192.0.2.1")))
    visitor = pages.visitor("former")
    assert "Copy" in visitor.get(f"/challenge-passwords/{own.id}")
    result_of(pages.stack.app.accounts.update(SYSTEM, former.id, role=Role.AUDITOR))
    assert "Auditors can't view challenge passwords" in text_of(visitor.get(f"/challenge-passwords/{own.id}"))
    assert "data-copy-from" not in visitor.get("/challenge-passwords")


def test_operators_renew_under_policies_of_owners(world: World) -> None:
    """A certificate under its owner's policy is renewed under it, and the operator's own are not issued."""
    rest = world.rest
    body = {"name": "for renewal", "validity_days": 9, "extensions": DEFAULT_EXTENSIONS}
    rest.good("POST", "/policies", body, who="alice", status=201)
    issued = certificate(rest, policy="for renewal")
    for who in ("olga", "root"):
        renewed = rest.good("POST", f"/certificates/{issued}/renewal", {}, who=who, status=201)
        found = rest.good("GET", f"/certificates/{renewed['id']}", who="alice")
        assert (found["owner"], found["policy"]) == ("alice", "for renewal")
    rest.bad(403, "POST", f"/certificates/{issued}/renewal", {}, who="audrey")
    rest.bad(404, "POST", f"/certificates/{issued}/renewal", {}, who="bob")
    rest.bad(404, "POST", "/certificates", {"csr": csr_pem(), "policy": "for renewal"}, who="olga")


def test_tokens_of_administrators_use_policies_of_others_by_scope(world: World) -> None:
    """A token without the scope of administrators uses no more policies than it sees."""
    rest = world.rest
    body = {"name": "own of alice", "validity_days": 9, "extensions": DEFAULT_EXTENSIONS}
    rest.good("POST", "/policies", body, who="alice", status=201)
    _, lesser = result_of(
        rest.stack.app.tokens.create(SYSTEM, rest.accounts["root"].id, "lesser", frozenset({Scope.ENROLL, Scope.READ}))
    )
    order = {"csr": csr_pem(), "policy": "own of alice"}
    rest.bad(404, "POST", "/certificates", order, token=lesser)
    rest.good("POST", "/certificates", order, who="root", status=201)


def test_auditors_read_users_configuration_and_log(world: World) -> None:
    """They see accounts and settings without a form, and secrets are masked."""
    visitor = world.pages.visitor("audrey", confirmed=True)
    account = visitor.get(f"/users/{world.pages.accounts['alice'].id}")
    assert "Reset password" not in account
    assert "/edit" not in account
    assert "SECRET_KEY" in visitor.get("/config").upper()
    assert "Verify audit log" in visitor.get("/events")
    assert visitor.post("/events/verification").status == 303


@pytest.mark.parametrize(
    ("name", "seen", "hidden"),
    [
        ("alice", {"/certificates/new", "/ra", "/keys"}, {"/users", "/config", "/logs", "/x509-templates"}),
        ("olga", {"/certificates/new", "/ra", "/ra/approvals"}, {"/users", "/config", "/logs", "/x509-templates"}),
        ("audrey", {"/users", "/config", "/logs", "/events"}, {"/certificates/new", "/ra"}),
        ("root", {"/users", "/config", "/logs", "/certificates/new", "/ra", "/x509-templates"}, set()),
    ],
)
def test_menu(world: World, name: str, seen: set[str], hidden: set[str]) -> None:
    """UI-1: the menu has what the role can use, and the header its name."""
    page = world.pages.visitor(name).get("/")
    menu = page.partition('<nav id="nav"')[2].partition("</nav>")[0]
    links = {part.partition('"')[0] for part in menu.split('href="')[1:]}
    assert seen <= links
    assert not hidden & links
    role = world.pages.accounts[name].role
    assert (f">{role.value.capitalize()}</span>" in page) == (role is not Role.USER)


def test_narrow_tokens_of_staff(world: World) -> None:
    """A token without the scopes operate and audit has the rights of a user, and can't change what it only reads."""
    rest = world.rest
    issued = certificate(rest)
    for name, scope in (("olga", Scope.READ), ("audrey", Scope.READ), ("root", Scope.READ)):
        assert issued not in ids(rest, "/certificates", token=rest.token(name, scope))
    reading = rest.token("root", Scope.READ, Scope.AUDIT, Scope.REVOKE, Scope.ENROLL)
    assert issued in ids(rest, "/certificates", token=reading)
    rest.bad(403, "POST", f"/certificates/{issued}/revocation", {}, token=reading)
    key = rest.good("POST", "/keys", {"name": "alice's again", "type": "EC"}, who="alice", status=201)["id"]
    rest.bad(403, "DELETE", f"/keys/{key}", token=reading)
    operating = rest.token("root", Scope.READ, Scope.OPERATE, Scope.REVOKE)
    rest.bad(404, "GET", f"/keys/{key}", token=operating)
    rest.good("POST", f"/certificates/{issued}/revocation", {}, token=operating)


def test_roles_change(world: World) -> None:
    """The last administrator keeps the role; another role takes effect at once, also for tokens."""
    rest = world.rest
    root = rest.accounts["root"].id
    for role in ("operator", "auditor"):
        assert "last" in rest.bad(409, "PATCH", f"/users/{root}", {"role": role}, who="root")["detail"]
    rest.add("eve")
    path = f"/users/{rest.accounts['eve'].id}"
    assert rest.good("PATCH", path, {"role": "operator"}, who="root")["role"] == "operator"
    rest.bad(403, "GET", "/users", who="eve")
    assert rest.good("PATCH", path, {"role": "auditor"}, who="root")["role"] == "auditor"
    # The token was created with a user's scopes, of which an auditor has only one.
    rest.bad(403, "POST", "/keys", {"name": "x", "type": "EC"}, who="eve")
    rest.good("GET", "/certificates", who="eve")
    rest.bad(403, "GET", "/users", who="eve")
    result_of(rest.stack.app.accounts.update(SYSTEM, rest.accounts["eve"].id, role=Role.USER))


def test_staff_sees_identity_lists(world: World) -> None:
    """DEV-3: operators and auditors see the lists and look identities up; administrators change them."""
    root = world.pages.visitor("root")
    path = root.post("/identity-lists", {"name": "pumps", "identities": "pump-1"}).headers["Location"].partition("?")[0]
    for name in STAFF:
        visitor = world.pages.visitor(name)
        listed, shown = visitor.get("/identity-lists"), visitor.get(f"{path}?identity=PUMP-1")
        assert "pumps" in listed
        assert "is on this list" in text_of(shown)
        for address in ("/identity-lists/new", f"{path}/replace", f"{path}/delete"):
            assert address not in listed + shown, (name, address)
        assert visitor.post(f"{path}/replace", {"identities": "mine"}).status == 403
    assert f"{path}/replace" in root.get("/identity-lists")
    assert "Administrators change the lists" in text_of(world.pages.visitor("olga").get("/identity-lists"))
    assert 'href="/identity-lists"' in world.pages.visitor("audrey").get("/")
    assert 'href="/identity-lists"' not in world.pages.visitor("alice").get("/")
