"""Pages of certificate templates and of the files that they are made of (TPL-3, TPL-4)."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.errors import BadTemplate, MalformedRequest
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.inventory.templates import TemplateDraft
from pikachu.web.ui.numbered_lines import numbered
from tests.support.deferreds import result_of
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, asks_again, make_pages, text_of

EXTENSIONS = "[ v3_ext ]\nextendedKeyUsage = serverAuth\n"
REQUEST = "[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = <device>.example.com\n"
WRONG = "[ v3_ext ]\n\nkeyUsage = <b>bold\n"
FIELDS = {"name": "web", "profile_type": "TLS server", "content": EXTENSIONS}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's folder."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, own: Path) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"), changes={("PATHS", "x509_templates"): str(own)})
    yield make_pages(stack)
    stack.close()


def make(visitor: Visitor, **fields: str) -> str:
    """The address of a new template's page."""
    response = visitor.post("/templates/new", {**FIELDS, **fields})
    assert response.status == 303, text_of(response.body.decode())
    return response.headers["Location"]


def row(page: str, name: str) -> str:
    """Return the text of a template's row in the list."""
    rows = [one.partition("</tr>")[0] for one in page.split("<tr>")]
    (found,) = [text_of(f"<main>{one}") for one in rows if f">{name}</a>" in one]
    return found


class TestList:
    def test_own_and_shipped(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """TPL-3: name, originating template, profile type, created, user (N/A for shipped ones), badges, actions."""
        shipped = TemplateDraft("shipped", "Device", REQUEST + EXTENSIONS, True, "device.cnf.j2")
        result_of(pages.stack.app.templates.add(SYSTEM, shipped))
        make(alice, name="mine")
        seen = alice.get("/templates")
        assert row(seen, "mine").startswith("mine manually TLS server 20")
        assert row(seen, "mine").endswith("alice ext View Edit Delete")
        assert row(seen, "shipped").startswith("shipped device.cnf.j2 Device 20")
        assert row(seen, "shipped").endswith("N/A req ext View Copy")
        assert row(root.get("/templates"), "shipped").endswith("N/A req ext View Edit Delete")
        assert "configures certificate signing requests" in text_of(seen)
        assert ">mine</a>" not in pages.visitor("bob").get("/templates")
        assert row(root.get("/templates?q=min"), "mine").endswith("alice ext View Edit Delete")
        assert ">shipped</a>" not in alice.get("/templates?usage=req&q=mine")
        assert ">shipped</a>" in alice.get("/templates?usage=req")

    def test_csv(self, alice: Visitor) -> None:
        """UI-2: the list as CSV."""
        make(alice, name="=csv")
        lines = alice.get("/templates?format=csv&q=csv").splitlines()
        assert "Name,Originating template,Profile type,Created (UTC),User,Usage" in lines
        (line,) = [one for one in lines if "=csv" in one]
        assert line.startswith("'=csv,manually,TLS server,20")
        assert line.endswith(",alice,ext")


class TestForms:
    def test_life(self, pages: Pages, alice: Visitor) -> None:
        """TPL-3: create, view, edit, download, delete."""
        assert "[ v3_ext ]" in alice.get("/templates/new")
        path = make(alice, content=REQUEST)
        view = alice.get(path)
        assert "web" in text_of(view)
        assert "Profile type TLS server Originating template manually Usage req User alice" in text_of(view)
        assert html.escape("CN = <device>.example.com") in view
        assert "<device>" not in view
        download = alice.request("GET", f"{path}/download")
        assert download.body.decode() == REQUEST
        assert download.headers["Content-Disposition"] == 'attachment; filename="web.cnf"'
        assert html.escape(REQUEST) in alice.get(f"{path}/edit")
        changed = alice.post(f"{path}/edit", {**FIELDS, "name": "new", "content": EXTENSIONS.replace("\n", "\r\n")})
        assert "saved" in alice.follow(changed)
        assert alice.request("GET", f"{path}/download").body.decode() == EXTENSIONS
        assert "Use in a policy" in alice.get(path)
        copied = alice.get(f"/templates/new?copy={path.rpartition('/')[2]}")
        assert 'value="new (copy)"' in copied
        assert html.escape(EXTENSIONS) in copied
        assert "will be gone" in alice.get(f"{path}/delete")
        assert asks_again(alice.post(f"{path}/delete", {"confirm": "yes"}))
        alice.get(path)
        assert "deleted" in alice.follow(alice.post(f"{path}/delete", {"confirm": "delete"}))
        alice.get(path, status=404)
        query = ListQuery(limit=3, filters={"resource_type": "template"})
        events = [one.event.type for one in result_of(pages.stack.app.store.events(query)).items]
        assert events == ["delete", "update", "create"]

    def test_the_error_stands_beside_its_line(self, alice: Visitor) -> None:
        """TPL-3: a wrong text is not saved; the line is marked, with the reason beside it, and what was typed stays."""
        path = make(alice, name="kept")
        for address in ("/templates/new", f"{path}/edit"):
            response = alice.post(address, {**FIELDS, "name": "wrong", "content": WRONG})
            assert response.status == 422
            page = response.body.decode()
            assert 'value="wrong"' in page
            assert html.escape(WRONG) in page
            assert page.count('<tr class="wrong" id="wrong-line">') == 1
            marked = text_of("<main>" + page.partition('id="wrong-line">')[2].partition("</tr>")[0])
            assert marked.startswith("3 keyUsage = <b>bold keyUsage: unknown name")
            assert "<b>" not in page
        assert ">wrong</a>" not in alice.get("/templates")
        assert html.escape(EXTENSIONS) in alice.get(path)

    def test_errors_without_a_line(self, alice: Visitor) -> None:
        """The text as a whole, a name, a type: the reason stands above the form."""
        for fields, reason in (
            ({"content": "x = y\n"}, "neither a section [ req ] nor a section [ v3_ext ]"),
            ({"name": " "}, "A template's name is 1 to 128 printable characters"),
            ({"profile_type": "x" * 65}, "A profile type is 1 to 64 printable characters"),
        ):
            response = alice.post("/templates/new", {**FIELDS, **fields})
            assert response.status in (400, 422)
            assert reason in text_of(response.body.decode())
            assert "wrong-line" not in response.body.decode()
        assert alice.post("/templates/new", {}).status in (400, 422)

    def test_check_saves_nothing(self, alice: Visitor) -> None:
        """TPL-3: the text can be checked without saving it."""
        fields = {**FIELDS, "name": "checked", "content": REQUEST + EXTENSIONS, "action": "check"}
        path = make(alice)
        for address in ("/templates/new", f"{path}/edit"):
            response = alice.post(address, fields)
            assert response.status == 200
            assert "Valid configuration: req ext" in text_of(response.body.decode())
            assert alice.post(address, {**fields, "content": WRONG}).status == 422
        assert ">checked</a>" not in alice.get("/templates")

    def test_everybodys(self, alice: Visitor, root: Visitor) -> None:
        """TPL-3: admins make and change what is for everybody; others see and copy it."""
        assert 'name="system"' not in alice.get("/templates/new")
        assert alice.post("/templates/new", {**FIELDS, "system": "1"}).status == 403
        path = make(root, name="all", system="1")
        assert "User N/A" in text_of(alice.get(path))
        assert f'href="{path}/edit"' not in alice.get(path)
        assert alice.post(f"{path}/edit", FIELDS).status == 403
        assert alice.post(f"{path}/delete", {"confirm": "delete"}).status == 403
        assert "checked" in root.get(f"{path}/edit").partition('name="system"')[2].partition(">")[0]
        root.post(f"{path}/edit", {**FIELDS, "system": "1"})
        assert "User N/A" in text_of(root.get(path))
        root.post(f"{path}/edit", FIELDS)
        assert "User root" in text_of(root.get(path))
        alice.get(path, status=404)

    def test_others_are_not_found(self, pages: Pages, alice: Visitor) -> None:
        """TPL-3: neither read nor changed nor copied."""
        path = make(alice)
        bob = pages.visitor("bob")
        for address, fields in ((f"{path}/edit", FIELDS), (f"{path}/delete", {"confirm": "delete"})):
            assert bob.post(address, fields).status == 404
        bob.get(f"/templates/new?copy={path.rpartition('/')[2]}", status=404)
        assert html.escape(EXTENSIONS) in alice.get(path)


class TestFiles:
    def test_render(self, root: Visitor) -> None:
        """TPL-4: choose a file, fill in its variables, render: a template with its origin and type."""
        listed = root.get("/x509-templates")
        assert "tls_server_request.cnf.j2" in listed
        form = root.get("/x509-templates/tls_server_request.cnf.j2")
        assert 'name="v-common_name"' in form
        assert 'value="www.example.com"' in form
        assert 'value="TLS server request"' in form
        fields = {
            "v-common_name": "shop.example.org",
            "v-dns_names": "shop.example.org",
            "name": "Shop",
            "profile_type": "TLS server",
        }
        preview = root.post("/x509-templates/tls_server_request.cnf.j2", {**fields, "action": "preview"})
        assert preview.status == 200
        assert "CN = shop.example.org" in preview.body.decode()
        assert ">Shop</a>" not in root.get("/templates")
        view = root.follow(root.post("/x509-templates/tls_server_request.cnf.j2", fields))
        assert "Rendered from tls_server_request.cnf.j2." in text_of(view)
        assert "Originating template tls_server_request.cnf.j2 Usage req User root" in text_of(view)
        assert 'href="/x509-templates/tls_server_request.cnf.j2"' in view
        assert "CN = shop.example.org" in view

    def test_flags(self, root: Visitor) -> None:
        """A box that is not ticked is false, whatever the default is."""
        page = "/x509-templates/ocsp_extensions.cnf.j2"
        fields = {"name": "OCSP", "profile_type": "OCSP responder"}
        assert 'name="v-no_check" value="true" checked' in root.get(page)
        assert "noCheck" not in root.follow(root.post(page, fields))
        assert "noCheck" in root.follow(root.post(page, {**fields, "v-no_check": "true"}))

    def test_errors(self, root: Visitor) -> None:
        """TPL-4: a value that can't be one is named; a wrong text is shown with its line."""
        page = "/x509-templates/device.cnf.j2"
        fields = {"name": "x", "profile_type": "Device", "v-unit": "Sensors"}
        response = root.post(page, {**fields, "v-common_name": "a\n[ v3_ext ]"})
        assert response.status == 400
        assert "common_name holds a control character or a line break" in text_of(response.body.decode())
        assert 'value="Sensors"' in response.body.decode()
        response = root.post(page, {**fields, "v-country": "Germany"})
        assert response.status == 422
        marked = response.body.decode().partition('id="wrong-line">')[2].partition("</tr>")[0]
        assert "C = Germany" in marked
        assert "must have 2 characters" in marked
        root.get("/x509-templates/none.cnf.j2", status=404)

    def test_own_files(self, own: Path, root: Visitor) -> None:
        """TPL-4: the operator's own win; a broken one is shown with its error and can't be used."""
        (own / "device.cnf.j2").write_text("{# Ours: mine #}[ v3_ext ]\nnsComment = {{ remark }}\n")
        (own / "broken.cnf.j2").write_text("[ v3_ext ]\n{% if %}\n")
        try:
            listed = text_of(root.get("/x509-templates"))
            assert "device.cnf.j2 Ours: mine Other 1 own Use" in listed
            assert "broken.cnf.j2 broken line 2: Expected an expression" in listed
            assert 'name="v-remark"' in root.get("/x509-templates/device.cnf.j2")
            assert '<form method="post"><input' not in root.get("/x509-templates/broken.cnf.j2")
            response = root.post("/x509-templates/broken.cnf.j2", {"name": "x", "profile_type": "x"})
            assert response.status == 422
            assert "broken.cnf.j2: line 2" in text_of(response.body.decode())
        finally:
            for path in own.iterdir():
                path.unlink()

    def test_list(self, root: Visitor) -> None:
        """UI-2: filtered, sorted, page by page."""
        assert "ocsp" not in text_of(root.get("/x509-templates?q=mqtt")).partition("Legend")[0].lower()
        first = root.get("/x509-templates?limit=10&sort=-name")
        assert first.index("tls_server_request") < first.index("mqtt_broker")
        following = html.unescape(first.partition('rel="next" href="')[2].partition('"')[0])
        second = root.get(following)
        assert "ca_extensions.cnf.j2" in second
        assert "Showing 11\u201311 of 11" in text_of(second)
        assert 'rel="prev"' in second


def test_only_the_lines_around_are_shown() -> None:
    """A long text is not shown as a whole."""
    text = "\n".join(f"line {number}" for number in range(1, 1001))
    shown = numbered(text, BadTemplate(500, "x: y"))
    assert (shown[0].number, shown[-1].number) == (488, 512)
    assert [one.number for one in shown if one.reason == "x: y"] == [500]
    assert numbered(text, BadTemplate(0, "x")) == numbered(text, MalformedRequest("x")) == numbered(text, None) == ()
