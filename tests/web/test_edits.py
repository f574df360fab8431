"""Concurrent edits of one object: the second is refused, in REST (RFC 9110 section 13.1.1) and on pages."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pikachu.core.model.list_queries import ListQuery
from tests.support.deferreds import result_of
from tests.support.rest import REST, csr_pem, make_rest
from tests.support.stack import Response, Stack, build_core
from tests.support.visitor import Pages, Visitor, text_of

EXTENSIONS = "[ v3_ext ]\nextendedKeyUsage = clientAuth\n"
THEIRS = "[ v3_ext ]\nextendedKeyUsage = serverAuth\n# theirs\n"
MINE = "[ v3_ext ]\nextendedKeyUsage = codeSigning\n# mine\n"


@dataclass(frozen=True)
class Kind:
    """Objects that have versions, and how REST changes one.

    :param make: the path of a new one.
    :param change: a body for PATCH, another one for each word.
    :param names_changer: whether it is known who changed one.
    """

    make: Callable[[REST], str]
    change: Callable[[str], dict[str, Any]]
    put: Callable[[str], dict[str, Any]] | None
    deletable: bool = True
    names_changer: bool = True


def _policy(rest: REST) -> str:
    body = {"name": "web", "validity_days": 30, "extensions": EXTENSIONS}
    return f"/policies/{rest.good('POST', '/policies', body, who='alice', status=201)['id']}"


def _template(rest: REST) -> str:
    body = {"name": "web", "profile_type": "Device", "content": EXTENSIONS}
    return f"/templates/{rest.good('POST', '/templates', body, who='alice', status=201)['id']}"


def _policy_body(word: str) -> dict[str, Any]:
    return {"name": "web", "validity_days": 30, "extensions": f"{EXTENSIONS}# {word}\n"}


KINDS = {
    "policy": Kind(_policy, lambda word: {"extensions": f"{EXTENSIONS}# {word}\n"}, _policy_body),
    "template": Kind(
        _template,
        lambda word: {"content": f"{EXTENSIONS}# {word}\n"},
        lambda word: {"name": word, "profile_type": "Device", "content": EXTENSIONS},
    ),
    "default policy": Kind(
        lambda _: "/policies/0",
        lambda word: {"extensions": f"{EXTENSIONS}# {word}\n"},
        lambda word: {**_policy_body(word), "name": "System", "system": True},
        deletable=False,
    ),
    "user": Kind(
        lambda rest: f"/users/{rest.accounts['bob'].id}",
        lambda word: {"email": f"{word}@example.com"},
        None,
        names_changer=False,
    ),
}
#: Lists of identities are replaced as a whole.
IDENTITIES = {"identities": "pump-1\n"}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def tag(response: Response) -> str:
    found = response.headers["ETag"]
    assert re.fullmatch('"[0-9a-f]+"', found)
    return found


class TestREST:
    @every_kind
    def test_a_stale_change_is_refused(self, rest: REST, kind: Kind) -> None:
        """412 for each method, which says by whom and when it was changed, and changes and records nothing."""
        path = kind.make(rest)
        seen = tag(rest.call("GET", path, who="root"))
        changed = rest.call("PATCH", path, kind.change("theirs"), who="root", headers={"If-Match": seen})
        assert changed.status == 200, changed.body
        now = tag(changed)
        assert now != seen
        assert tag(rest.call("GET", path, who="root")) == now
        events = len(result_of(rest.stack.app.store.events(ListQuery(limit=1000))).items)
        methods: list[tuple[str, dict[str, Any] | None]] = [("PATCH", kind.change("mine"))]
        if kind.put is not None:
            methods.append(("PUT", kind.put("mine")))
        if kind.deletable:
            methods.append(("DELETE", None))
        for method, body in methods:
            for stale in (seen, f'"0", {seen}', f"W/{now}", '"not-ours"'):
                problem = rest.bad(412, method, path, body, who="root", headers={"If-Match": stale})
                assert problem["type"] == "urn:pikachu:problem:edit-conflict"
                assert "after you loaded it. Your changes were not saved. GET it again" in problem["detail"]
                if kind.names_changer:
                    assert re.match(r"This .* was changed by root on 20..-..-.. at ..:..:.. UTC, ", problem["detail"])
        assert tag(rest.call("GET", path, who="root")) == now
        assert len(result_of(rest.stack.app.store.events(ListQuery(limit=1000))).items) == events
        if kind.put is not None:
            replaced = rest.call("PUT", path, kind.put("mine"), who="root", headers={"If-Match": f'"0", {now}'})
            assert replaced.status == 200, replaced.body
            # What is stored is not, byte for byte, what was sent (RFC 9110 section 9.3.4).
            assert "ETag" not in replaced.headers
        if kind.deletable:
            now = tag(rest.call("HEAD", path, who="root"))
            assert rest.call("DELETE", path, who="root", headers={"If-Match": now}).status == 204

    @every_kind
    def test_without_a_tag_any_version_is_changed(self, rest: REST, kind: Kind) -> None:
        """As before, and with an asterisk."""
        path = kind.make(rest)
        headers: dict[str, str]
        for number, headers in enumerate(({}, {"If-Match": "*"})):
            rest.good("PATCH", path, kind.change(f"word{number}"), who="root", headers=headers)
            if kind.put is not None:
                rest.good("PUT", path, kind.put(f"word{number}"), who="root", headers=headers)
        if kind.deletable:
            assert rest.call("DELETE", path, who="root").status == 204
            assert rest.call("DELETE", path, who="root", headers={"If-Match": '"1"'}).status == 404

    @every_kind
    @pytest.mark.parametrize("value", ["", "1", '"1', "1, 2", '"1" "2"', "W/", '"' + "1" * 5000 + '"', "*, *"])
    def test_no_list_of_tags(self, rest: REST, kind: Kind, value: str) -> None:
        """400, and nothing is changed."""
        path = kind.make(rest)
        before = rest.call("GET", path, who="root").body
        rest.bad(400, "PATCH", path, kind.change("mine"), who="root", headers={"If-Match": value})
        assert rest.call("GET", path, who="root").body == before

    def test_a_change_of_some_fields_loses_no_others(self, rest: REST) -> None:
        """PATCH without a tag is made on what is there."""
        path = _policy(rest)
        rest.good("PATCH", path, {"validity_days": 7}, who="root")
        changed = rest.good("PATCH", path, {"name": "other"}, who="alice")
        assert (changed["validity_days"], changed["name"]) == (7, "other")

    def test_a_stale_list_of_identities(self, rest: REST) -> None:
        """Neither replaced nor deleted; without the header it is, and so is the current version."""
        made = rest.call("POST", "/identity-lists", {"name": "pumps", **IDENTITIES}, who="root")
        path, seen = made.headers["Location"].removeprefix("/api/v1"), tag(made)
        assert tag(rest.call("GET", path, who="root")) == seen
        assert rest.call("PUT", path, IDENTITIES, who="root", headers={"If-Match": seen}).status == 200
        for method, body in (("PUT", IDENTITIES), ("DELETE", None)):
            problem = rest.bad(412, method, path, body, who="root", headers={"If-Match": seen})
            assert problem["detail"].startswith("This list was changed by root on 20")
        rest.good("PUT", path, IDENTITIES, who="root")
        now = tag(rest.call("GET", path, who="root"))
        assert rest.call("DELETE", path, who="root", headers={"If-Match": now}).status == 204

    def test_new_objects_have_a_tag(self, rest: REST) -> None:
        """The ETag of 201 is that of the object at its address."""
        bodies: dict[str, dict[str, object]] = {
            "/policies": _policy_body("x"),
            "/templates": {"name": "x", "profile_type": "Device", "content": EXTENSIONS},
            "/users": {"username": "carol", "email": "c@example.com", "password": "a long password"},
        }
        for path, body in bodies.items():
            made = rest.call("POST", path, body, who="root")
            assert made.status == 201, made.body
            address = made.headers["Location"].removeprefix("/api/v1")
            assert tag(made) == tag(rest.call("GET", address, who="root"))

    def test_files_edited_by_hand(self, rest: REST) -> None:
        """An edit of the default policy's files makes a new version, by an unnamed person."""
        seen = tag(rest.call("GET", "/policies/0", who="root"))
        (rest.stack.files.folder / "validity.conf").write_text("100\n")
        rest.clock.advance(2)
        problem = rest.bad(412, "PATCH", "/policies/0", {"validity_days": 5}, who="root", headers={"If-Match": seen})
        assert problem["detail"].startswith("This policy was changed on 20")
        assert rest.good("GET", "/policies/0", who="root")["validity_days"] == 100

    def test_the_description_tells_it(self, rest: REST) -> None:
        """API-2: each conditional method documents the header and 412, and each response with an ETag documents it."""
        paths = rest.good("GET", "/openapi.json")["paths"]
        for path in ("/api/v1/policies/{id}", "/api/v1/templates/{id}", "/api/v1/users/{id}"):
            for method, operation in paths[path].items():
                conditional = method in ("put", "patch", "delete")
                names = [one["name"] for one in operation["parameters"]]
                assert ("If-Match" in names) is conditional, (path, method)
                assert ("412" in operation["responses"]) is conditional
                success = operation["responses"].get("200", {})
                assert ("ETag" in success.get("headers", {})) is (method in ("get", "patch"))


def version(page: str) -> str:
    found = re.search('name="version" value="([0-9]+)"', page)
    assert found, page
    return found[1]


POLICY = {"name": "web", "days": "30", "extensions": EXTENSIONS}
TEMPLATE = {"name": "web", "profile_type": "Device", "content": EXTENSIONS}


def make(visitor: Visitor, address: str, fields: dict[str, str]) -> str:
    response = visitor.post(f"{address}/new", fields)
    assert response.status == 303, response.body
    return response.headers["Location"].partition("?")[0]


@pytest.mark.parametrize(
    ("address", "fields", "text"),
    [("/policies", POLICY, "extensions"), ("/templates", TEMPLATE, "content"), ("/policies/0", POLICY, "extensions")],
    ids=["policy", "template", "default policy"],
)
class TestForms:
    def test_the_second_save_asks(
        self, pages: Pages, root: Visitor, address: str, fields: dict[str, str], text: str
    ) -> None:
        """Its form is there again, with what was typed and what is saved; saved once more, it replaces that."""
        path = address if address.endswith("/0") else make(root, address, fields)
        other = pages.visitor("root")
        mine = {**fields, "version": version(root.get(f"{path}/edit")), text: MINE}
        theirs = {**fields, "version": version(other.get(f"{path}/edit")), text: THEIRS}
        if "days" in fields:
            theirs["days"] = "44"
        # A mistake that is refused first does not make the form newer than it is.
        wrong = root.post(f"{path}/edit", {**mine, text: "nonsense"})
        assert wrong.status == 422
        assert "was saved" in other.follow(other.post(f"{path}/edit", theirs))
        mine["version"] = version(wrong.body.decode())
        answer = root.post(f"{path}/edit", mine)
        page = answer.body.decode()
        assert answer.status == 409
        assert re.search(r"This [a-z ]+ was changed by root on 20..-..-.. at ..:..:.. UTC, after you loaded it\.", page)
        assert "Your changes were not saved." in page
        assert html.escape(THEIRS.strip()) in page.partition('id="saved"')[2].partition("</pre>")[0]
        assert html.escape(MINE.strip()) in page.partition("<textarea")[2].partition("</textarea>")[0]
        if "days" in fields:
            assert "Validity (days) 44" in text_of(page)
            assert 'value="30"' in page
        assert "theirs" in root.get(path)
        assert "was saved" in root.follow(root.post(f"{path}/edit", {**mine, "version": version(page)}))
        assert "mine" in root.get(path)

    def test_a_form_that_is_no_form(
        self, pages: Pages, root: Visitor, address: str, fields: dict[str, str], text: str
    ) -> None:
        """A version that is none is refused."""
        path = address if address.endswith("/0") else make(root, address, fields)
        for wrong in ("", "x", "-1", "1" * 30, "1.5"):
            answer = root.post(f"{path}/edit", {**fields, text: MINE, "version": wrong})
            assert answer.status == 400
            assert "This form has expired. Reload it and submit it again." in answer.body.decode()
        assert "mine" not in root.get(path)


@pytest.mark.parametrize(
    ("address", "fields", "text"), [("/policies", POLICY, "extensions"), ("/templates", TEMPLATE, "content")]
)
def test_what_was_changed_meanwhile_is_not_deleted(
    pages: Pages, alice: Visitor, root: Visitor, address: str, fields: dict[str, str], text: str
) -> None:
    """The page asks again; the word typed there deletes what it shows."""
    path = make(alice, address, fields)
    seen = version(alice.get(f"{path}/delete"))
    root.post(f"{path}/edit", {**fields, "version": seen, text: THEIRS})
    answer = alice.post(f"{path}/delete", {"confirm": "delete", "version": seen})
    assert answer.status == 409
    assert "was changed by root on" in answer.body.decode()
    alice.get(path)
    again = version(answer.body.decode())
    assert "was deleted" in alice.follow(alice.post(f"{path}/delete", {"confirm": "delete", "version": again}))


def test_no_form_without_a_version(pages: Pages, alice: Visitor, root: Visitor) -> None:
    """Each form that changes or deletes an object with versions: without the field it would overwrite anything."""
    policy, template = make(alice, "/policies", POLICY), make(alice, "/templates", TEMPLATE)
    user = f"/users/{pages.accounts['bob'].id}"
    forms: list[tuple[str, dict[str, str]]] = [
        (f"{policy}/edit", {**POLICY, "extensions": MINE}),
        (f"{policy}/delete", {"confirm": "delete"}),
        (f"{template}/edit", {**TEMPLATE, "content": MINE}),
        (f"{template}/delete", {"confirm": "delete"}),
        (f"{user}/edit", {"email": "mine@example.com", "role": "admin"}),
        ("/ra/validity", {"default_days": "123"}),
    ]
    for path, fields in forms:
        answer = root.post(path, {**fields, "version": ""})
        assert answer.status == 400, path
        assert "This form has expired." in answer.body.decode()
    assert "mine" not in alice.get(policy)
    assert "mine" not in alice.get(template)
    assert result_of(pages.stack.app.store.account(pages.accounts["bob"].id)).role == "user"
    assert "123" not in (pages.stack.files.folder / "validity.conf").read_text()


def test_two_admins_replace_one_list(root: Visitor) -> None:
    """DEV-3: the second upload asks, and says what it would replace; so does the deletion."""
    made = root.post("/identity-lists", {"name": "pumps", **IDENTITIES})
    path = made.headers["Location"].partition("?")[0]
    seen = version(root.get(f"{path}/replace"))
    assert version(root.get(f"{path}/delete")) == seen
    wrong = root.post(f"{path}/replace", {"identities": "", "version": seen})
    assert version(wrong.body.decode()) == seen
    assert root.post(f"{path}/replace", {"identities": "a\nb\n", "version": seen}).status == 303
    answer = root.post(f"{path}/replace", {"identities": "mine\n", "version": seen})
    page = answer.body.decode()
    assert answer.status == 409
    assert "This list was changed by root on" in text_of(page)
    assert "Identities 2" in text_of(page)
    assert "mine" in page
    deletion = root.post(f"{path}/delete", {"confirm": "delete", "version": seen})
    assert deletion.status == 409
    assert root.post(f"{path}/replace", {"identities": "mine\n", "version": ""}).status == 400
    assert root.post(f"{path}/replace", {"identities": "mine\n", "version": version(page)}).status == 303
    again = version(root.get(f"{path}/delete"))
    assert root.post(f"{path}/delete", {"confirm": "delete", "version": again}).status == 303


def test_two_admins_edit_one_account(pages: Pages, root: Visitor) -> None:
    """USR-4: neither role nor e-mail is silently reset."""
    path = f"/users/{pages.accounts['bob'].id}/edit"
    seen = version(root.get(path))
    other = pages.visitor("root")
    saved = other.post(path, {"email": "new@example.com", "role": "user", "version": seen})
    assert saved.status == 303
    mine = {"email": "bob@example.com", "role": "admin", "version": seen}
    answer = root.post(path, mine)
    page = answer.body.decode()
    assert answer.status == 409
    assert "E-mail new@example.com Role user State active" in text_of(page)
    assert 'value="bob@example.com"' in page
    wrong = root.post(path, {**mine, "email": "no address"})
    assert version(wrong.body.decode()) == seen
    assert root.post(path, {**mine, "version": version(page)}).status == 303
    account = result_of(pages.stack.app.store.account(pages.accounts["bob"].id))
    assert (account.email, account.role) == ("bob@example.com", "admin")


def test_two_admins_set_the_default_validity(pages: Pages, root: Visitor) -> None:
    """RA-4: the second one sees the first one's number."""
    seen = version(root.get("/ra").partition('action="/ra/validity"')[2])
    assert root.post("/ra/validity", {"default_days": "100", "version": seen}).status == 303
    answer = root.post("/ra/validity", {"default_days": "200", "version": seen})
    page = answer.body.decode()
    assert answer.status == 409
    assert "This policy was changed by root on" in page
    assert 'value="100"' in page
    again = version(page.partition('action="/ra/validity"')[2])
    assert root.post("/ra/validity", {"default_days": "200", "version": again}).status == 303
    assert "365" not in (pages.stack.files.folder / "validity.conf").read_text()


LIMITS = {("LIMITS", name): "2" for name in ("keys", "csrs", "templates", "tokens", "challenge_passwords", "policies")}
POSTS: dict[str, tuple[str, Callable[[int], dict[str, object]]]] = {
    "keys": ("/keys", lambda n: {"name": f"key {n}", "type": "Ed25519"}),
    "templates": ("/templates", lambda n: {"name": f"t {n}", "profile_type": "Device", "content": EXTENSIONS}),
    "tokens": ("/tokens", lambda n: {"name": f"token {n}"}),
    "challenge_passwords": ("/challenge-passwords", lambda _: {}),
    "policies": ("/policies", lambda n: {"name": f"p {n}", "validity_days": 1, "extensions": EXTENSIONS}),
}


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[REST]:
    """REST with quotas of two."""
    stack: Stack = build_core(tmp_path, changes=LIMITS)
    yield make_rest(stack)
    stack.close()


@pytest.mark.parametrize("setting", POSTS)
def test_quotas_of_the_configuration(narrow: REST, setting: str) -> None:
    """[LIMITS]: 409 that names the limit and what to do; deleting one makes room; administrators have no limit."""
    path, body = POSTS[setting]
    made = []
    # A token of alice's is there already.
    for number in range(1 if setting == "tokens" else 2):
        made.append(narrow.good("POST", path, body(number), who="alice", status=201)["id"])
    problem = narrow.bad(409, "POST", path, body(7), who="alice")
    assert problem["type"] == "urn:pikachu:problem:quota-exceeded"
    assert problem["detail"].startswith("This account has reached its limit of 2 ")
    assert problem["detail"].endswith(f"ask an administrator to raise [LIMITS] {setting}.")
    assert narrow.call("DELETE", f"{path}/{made[0]}", who="alice").status == 204
    narrow.good("POST", path, body(8), who="alice", status=201)
    for number in range(10, 14):
        narrow.good("POST", path, body(number), who="root", status=201)


def test_quota_of_csrs(narrow: REST) -> None:
    """The same for CSRs that are uploaded."""
    for number in range(3):
        answer = narrow.call("POST", "/csrs", {"name": f"r {number}", "csr": csr_pem()}, who="alice")
        assert answer.status == (201 if number < 2 else 409), answer.body
    assert "limit of 2 CSRs." in json.loads(answer.body)["detail"]
