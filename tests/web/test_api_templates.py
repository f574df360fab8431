"""REST: certificate templates, and the files that they are made of (TPL-1, TPL-3, TPL-4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rest import REST, make_rest
from tests.support.stack import build_core

EXTENSIONS = "[ v3_ext ]\nextendedKeyUsage = serverAuth\n"
REQUEST = "[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = device.example.com\n"
BODY = {"name": "web", "profile_type": "TLS server", "content": EXTENSIONS}


class TestTemplates:
    def test_life(self, rest: REST) -> None:
        """TPL-3: made, read, changed, listed, deleted, each with its event."""
        made = rest.good("POST", "/templates", BODY, who="alice", status=201)
        assert made.items() >= BODY.items()
        assert (made["origin"], made["usages"], made["system"], made["owner"]) == ("manually", ["ext"], False, "alice")
        path = f"/templates/{made['id']}"
        assert rest.good("GET", path, who="alice") == made
        (listed,) = rest.good("GET", "/templates", who="alice")["items"]
        assert {**listed, "content": EXTENSIONS} == made
        assert "content" not in listed
        rest.clock.advance(60)
        changed = rest.good("PATCH", path, {"content": REQUEST + EXTENSIONS}, who="alice")
        assert (changed["usages"], changed["name"]) == (["req", "ext"], "web")
        assert changed["updated_at"] > changed["created_at"] == made["created_at"]
        replaced = rest.good("PUT", path, {**BODY, "name": "new"}, who="root")
        assert (replaced["name"], replaced["usages"], replaced["owner"]) == ("new", ["ext"], "alice")
        rest.good("DELETE", path, who="alice", status=204)
        rest.bad(404, "GET", path, who="alice")
        events = rest.good("GET", "/events?resource_type=template", who="alice")["items"]
        assert [(one["type"], one["actor"]) for one in events] == [
            ("delete", "alice"),
            ("update", "root"),
            ("update", "alice"),
            ("create", "alice"),
        ]

    def test_everybodys(self, rest: REST) -> None:
        """TPL-3: only admins change shared templates."""
        rest.bad(403, "POST", "/templates", {**BODY, "system": True}, who="alice")
        made = rest.good("POST", "/templates", {**BODY, "system": True}, who="root", status=201)
        assert (made["system"], made["owner"], made["owner_id"]) == (True, None, None)
        path = f"/templates/{made['id']}"
        assert rest.good("GET", path, who="bob") == made
        rest.bad(403, "PATCH", path, {"name": "x"}, who="bob")
        rest.bad(403, "DELETE", path, who="bob")
        rest.bad(403, "PUT", path, BODY, who="bob")
        assert rest.good("PATCH", path, {"system": False}, who="root")["owner"] == "root"
        rest.bad(404, "GET", path, who="bob")

    def test_validation(self, rest: REST) -> None:
        """TPL-3: validation saves nothing; the error names the line, in every operation that takes a text."""
        assert rest.good("POST", "/templates/validation", {"content": REQUEST}, who="bob") == {"usages": ["req"]}
        wrong = {"content": "[ v3_ext ]\n\nkeyUsage = digitalSignatur\n"}
        mine = rest.good("POST", "/templates", BODY, who="bob", status=201)["id"]
        for method, path, body in (
            ("POST", "/templates/validation", wrong),
            ("POST", "/templates", {**BODY, **wrong}),
            ("PUT", f"/templates/{mine}", {**BODY, **wrong}),
            ("PATCH", f"/templates/{mine}", wrong),
        ):
            detail = rest.bad(422, method, path, body, who="bob")["detail"]
            assert detail.startswith('Line 3: keyUsage: unknown name "digitalSignatur", did you mean')
        assert len(rest.good("GET", "/templates", who="bob")["items"]) == 1

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {**BODY, "name": ""},
            {**BODY, "name": "a\nb"},
            {**BODY, "profile_type": "x" * 65},
            {**BODY, "origin": "x"},
            {**BODY, "content": None},
        ],
    )
    def test_malformed(self, rest: REST, body: object) -> None:
        """Errors are refused."""
        rest.bad(400, "POST", "/templates", body, who="alice")

    def test_null_changes_nothing(self, rest: REST) -> None:
        """Nothing of a template can be null."""
        path = f"/templates/{rest.good('POST', '/templates', BODY, who='alice', status=201)['id']}"
        for name in ("name", "profile_type", "content", "system"):
            rest.bad(400, "PATCH", path, {name: None}, who="alice")

    def test_list(self, rest: REST) -> None:
        """TPL-3: by usage, type and text, sorted by what the list shows."""
        for number, content in enumerate((REQUEST, EXTENSIONS, REQUEST + EXTENSIONS)):
            body = {"name": f"t{number}", "profile_type": f"type {2 - number}", "content": content}
            rest.good("POST", "/templates", body, who="alice", status=201)

        def names(query: str) -> list[str]:
            return [one["name"] for one in rest.good("GET", f"/templates?{query}", who="alice")["items"]]

        assert names("usage=req&sort=id") == ["t0", "t2"]
        assert names("usage=ext&sort=-name") == ["t2", "t1"]
        assert names("sort=profile_type") == ["t2", "t1", "t0"]
        assert names("profile_type=type%201") == ["t1"]
        assert names("q=T0") == ["t0"]
        for bad in ("usage=any", "sort=content", "kind=x"):
            rest.bad(400, "GET", f"/templates?{bad}", who="alice")


class TestFiles:
    @pytest.fixture
    def own(self, tmp_path: Path) -> Path:
        """The operator's folder."""
        folder = tmp_path / "own"
        folder.mkdir()
        return folder

    @pytest.fixture
    def rest(self, tmp_path: Path, own: Path) -> Iterator[REST]:
        """REST of a server with that folder."""
        stack = build_core(tmp_path / "core", changes={("PATHS", "x509_templates"): str(own)})
        yield make_rest(stack)
        stack.close()

    def test_render(self, rest: REST) -> None:
        """TPL-4: files are listed with their variables; a rendered one becomes a template with its origin and type."""
        items = rest.good("GET", "/x509-templates", who="root")["items"]
        names = [one["name"] for one in items]
        assert names == sorted(names)
        found = rest.good("GET", "/x509-templates/tls_server_request.cnf.j2", who="root")
        assert found in items
        assert (found["own"], found["profile_type"], found["error"]) == (False, "TLS server", None)
        assert {"name": "common_name", "kind": "text", "default": "www.example.com"} in found["variables"]
        body = {"name": "shop", "variables": [{"name": "common_name", "value": "shop.example.org"}]}
        path = "/x509-templates/tls_server_request.cnf.j2/render"
        made = rest.good("POST", path, body, who="root", status=201)
        assert (made["name"], made["profile_type"], made["origin"]) == (
            "shop",
            "TLS server",
            "tls_server_request.cnf.j2",
        )
        assert (made["usages"], made["owner"]) == (["req"], "root")
        assert "CN = shop.example.org" in made["content"]
        assert rest.good("GET", f"/templates/{made['id']}", who="root") == made
        shared = rest.good("POST", path, {**body, "profile_type": "Shop", "system": True}, who="root", status=201)
        assert (shared["profile_type"], shared["owner"]) == ("Shop", None)

    def test_refusals(self, rest: REST) -> None:
        """TPL-4: unknown files, variables that are none, values that are more than values."""
        path = "/x509-templates/device.cnf.j2/render"
        rest.bad(404, "GET", "/x509-templates/none.cnf.j2", who="root")
        rest.bad(404, "POST", "/x509-templates/none.cnf.j2/render", {"name": "x"}, who="root")
        for variables in (
            [{"name": "none", "value": "x"}],
            [{"name": "unit", "value": "a\n[ v3_ext ]"}],
            [{"name": "also_server", "value": "perhaps"}],
            [{"name": "unit", "value": "a"}, {"name": "unit", "value": "b"}],
        ):
            rest.bad(400, "POST", path, {"name": "x", "variables": variables}, who="root")
        long = [{"name": "country", "value": "Germany"}]
        assert "Line 9: C: " in rest.bad(422, "POST", path, {"name": "x", "variables": long}, who="root")["detail"]
        assert rest.good("GET", "/templates", who="root")["items"] == []

    def test_own_folder(self, rest: REST, own: Path) -> None:
        """TPL-4: the operator's own file wins; a broken one is listed with its error."""
        (own / "device.cnf.j2").write_text("{# Ours: x #}[ v3_ext ]\nnsComment = {{ x }}\n")
        (own / "broken.cnf.j2").write_text("{{")
        found = {one["name"]: one for one in rest.good("GET", "/x509-templates", who="root")["items"]}
        assert found["device.cnf.j2"]["own"]
        assert found["device.cnf.j2"]["variables"] == [{"name": "x", "kind": "text", "default": None}]
        assert found["broken.cnf.j2"]["error"].startswith("line 1: ")
        rest.bad(400, "POST", "/x509-templates/device.cnf.j2/render", {"name": "x"}, who="root")
        detail = rest.bad(422, "POST", "/x509-templates/broken.cnf.j2/render", {"name": "x"}, who="root")["detail"]
        assert detail.startswith("broken.cnf.j2: line 1: ")
        own.rename(own.with_name("gone"))
        assert "x509_templates" in rest.bad(409, "GET", "/x509-templates", who="root")["detail"]
