"""Pages of enrollment policies (POL-1, POL-2, POL-4)."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator, Mapping

import pytest

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import Approval, PolicyLimits
from pikachu.inventory.templates import TemplateDraft
from tests.support.deferreds import result_of
from tests.support.stack import build_core
from tests.support.visitor import Pages, Visitor, asks_again, make_pages, text_of

EXTENSIONS = "[ v3_ext ]\nextendedKeyUsage = clientAuth\n"
NUMBERS = itertools.count(1)
#: What the form sends as it is shown at first.
BOXES = {"honour_names": "1", "same_key": "1"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"), key_types=("p256", "rsa2048"))
    yield make_pages(stack)
    stack.close()


def fields(**more: str) -> dict[str, str]:
    name = f"policy {next(NUMBERS)}"
    return {"name": name, "days": "30", "extensions": EXTENSIONS, **BOXES, **more}


def make(visitor: Visitor, sent: Mapping[str, str]) -> str:
    """The address of a new policy's page."""
    response = visitor.post("/policies/new", sent)
    assert response.status == 303, text_of(response.body.decode())
    return response.headers["Location"]


def rows(page: str) -> list[str]:
    """Return the text of each policy's row in the list."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return [text_of(f"<main>{one.partition('</tr>')[0]}") for one in body.split("<tr>")[1:]]


class TestList:
    def test_the_default_one_is_first(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """POL-1, POL-2: it shows as System, for admins to edit, for nobody to delete."""
        mine = fields(use_for_est="1", approval="manual")
        path = make(alice, mine)
        seen = rows(alice.get("/policies"))
        assert seen[0].startswith("System System N/A ")
        assert seen[0].endswith("View")
        (own,) = [one for one in seen if one.startswith(mine["name"])]
        assert own.startswith(f"{mine['name']} EST EST default Manual alice 30 d 20")
        assert own.endswith("extendedKeyUsage = clientAuth View Edit Delete")
        assert rows(root.get("/policies"))[0].endswith("View Edit")
        assert not [one for one in rows(pages.visitor("bob").get("/policies")) if one.startswith(mine["name"])]
        for name in ("Challenge Passwords", "New enrollment policy"):
            assert name in text_of(alice.get("/policies"))
        assert "used for SCEP" in text_of(alice.get("/policies"))
        alice.post(f"{path}/delete", {"confirm": "delete"})

    def test_pages(self, root: Visitor) -> None:
        """UI-2: page by page and back, the default one once, at the beginning; filters leave it out."""
        paths = [make(root, fields(system="1")) for _ in range(11)]
        first = root.get("/policies?limit=10&system=true")
        assert "System System" not in text_of(first)
        first = root.get("/policies?limit=10")
        assert rows(first)[0].startswith("System System N/A")
        assert len(rows(first)) == 10
        assert "Showing 1\u201310 of " in text_of(first)
        second = root.get(html.unescape(first.partition('rel="next" href="')[2].partition('"')[0]))
        assert rows(second)
        assert not [one for one in rows(second) if one.startswith("System System N/A")]
        assert not set(rows(first)) & set(rows(second))
        assert "Showing 11\u2013" in text_of(second)
        back = root.get(html.unescape(second.partition('rel="prev" href="')[2].partition('"')[0]))
        assert rows(back) == rows(first)
        csv = root.get("/policies?format=csv")
        assert csv.count("System,System,N/A") == 1
        for path in paths:
            root.post(f"{path}/delete", {"confirm": "delete"})


class TestForms:
    def test_life(self, pages: Pages, alice: Visitor) -> None:
        """POL-1: create, view, edit, delete with the word typed."""
        assert "extendedKeyUsage = serverAuth, clientAuth" in alice.get("/policies/new")
        sent = fields(use_for_scep="1")
        path = make(alice, sent)
        view = alice.get(path)
        assert f"/scep/{sent['name'].replace(' ', '%20')}" in view
        assert "Uses SCEP SCEP default User alice Validity 30 days" in text_of(view)
        edit = alice.get(f"{path}/edit")
        assert 'name="use_for_scep" value="1" checked' in edit
        assert 'name="use_for_est" value="1">' in edit
        changed = {**sent, "days": "60", "use_for_scep": ""}
        assert "was saved" in alice.follow(alice.post(f"{path}/edit", changed))
        assert "Validity 60 days" in text_of(alice.get(path))
        assert "will be permanently deleted" in alice.get(f"{path}/delete")
        assert asks_again(alice.post(f"{path}/delete", {"confirm": ""}))
        assert "was deleted" in alice.follow(alice.post(f"{path}/delete", {"confirm": "delete"}))
        alice.get(path, status=404)
        events = result_of(pages.stack.app.store.events(ListQuery(limit=3, filters={"resource_type": "policy"})))
        assert [one.event.type for one in events.items] == ["delete", "update", "create"]

    def test_limits(self, pages: Pages, alice: Visitor) -> None:
        """POL-4: all limits, the issuing CA and the approval go in, are shown, and come back as they were."""
        sent = fields(
            subject="CN=*.example.com,O=Acme",
            names="DNS:*.example.com\r\n\r\n IP:192.0.2.* ",
            max_days="90",
            own_subject="1",
            linked="1",
            exact_names="1",
            other_names="upn, 1.3.6.1.5.5.7.8.8 UPN 1.2.3",
            approval="manual",
            issuer="rsa",
            keys="RSA/3072",
        )
        del sent["honour_names"], sent["same_key"]
        path = make(alice, sent)
        account = pages.accounts["alice"]
        policy = result_of(pages.stack.app.store.policy(int(path.rpartition("/")[2])))
        expected = PolicyLimits(
            keys=("RSA/3072",),
            subject="CN=*.example.com,O=Acme",
            names=("DNS:*.example.com", "IP:192.0.2.*"),
            honour_names=False,
            max_days=90,
            own_subject=True,
            linked=True,
            same_key=False,
            exact_names=True,
            other_names=("1.3.6.1.4.1.311.20.2.3", "1.3.6.1.5.5.7.8.8", "1.2.3"),
        )
        assert policy.limits == expected
        assert (policy.approval, policy.issuer, policy.owner_id) == (Approval.MANUAL, "rsa", account.id)
        view = text_of(alice.get(path))
        for said in ("Allowed keys RSA/3072", "Issuing CA RSA", "Approval by one person", "Maximum validity 90 days"):
            assert said in view
        for said in ("Request's names left out", "Renewal needs a new key", "EST linking required"):
            assert said in view
        for said in (
            "Wrong string types refused",
            "Country codes two letters",
            "Copied otherNames 1.3.6.1.4.1.311.20.2.3",
        ):
            assert said in view
        edit = alice.get(f"{path}/edit")
        assert 'value="UPN NAIRealm 1.2.3"' in edit
        for one in ("own_subject", "linked", "exact_names"):
            assert f'name="{one}" value="1" checked' in edit
        for one in ("honour_names", "same_key", "use_for_est", "other_countries"):
            assert f'name="{one}" value="1">' in edit
        assert 'name="keys" value="RSA/3072" checked' in edit
        assert 'name="keys" value="RSA">' in edit
        assert "DNS:*.example.com\nIP:192.0.2.*</textarea>" in edit
        assert '<option value="rsa" selected>' in edit
        assert 'name="max_days" type="number" value="90"' in edit

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"name": ""}, "A policy's name is 1 to 64"),
            ({"other_names": "UPN e-mail"}, "Name types of otherName as UPN"),
            ({"other_names": "9.9"}, "Name types of otherName as UPN"),
            ({"name": "System"}, "System is the name of the default policy"),
            ({"days": "many"}, "Days is a whole number"),
            ({"days": "0"}, "A validity is 1 to 36500 days"),
            ({"max_days": "10"}, "exceeds the policy's own maximum of 10"),
            ({"issuer": "other"}, "The issuing CA is one of ec, rsa"),
            ({"keys": "DSA"}, "Allowed keys are"),
            ({"extensions": "[ v3_ext ]\nkeyUsage = x\n"}, "Line 2: keyUsage: unknown name"),
            ({"extensions": "[ v3_ext ]\nbasicConstraints = CA:TRUE\n"}, "for administrators only"),
            ({"system": "1"}, "A system policy is for administrators only"),
        ],
    )
    def test_refusals(self, alice: Visitor, changes: dict[str, str], reason: str) -> None:
        """POL-1, POL-4: errors are shown above the form, which keeps the typed values."""
        sent = fields(subject="CN=<typed>", **changes)
        response = alice.post("/policies/new", sent)
        assert response.status in (400, 403, 409, 422)
        page = response.body.decode()
        assert reason in text_of(page)
        assert 'value="CN=&lt;typed&gt;"' in page
        assert ("wrong-line" in page) == reason.startswith("Line")

    def test_defaults(self, alice: Visitor) -> None:
        """POL-3: the list shows the default, a form moves it, and who takes it away chooses the next one there."""
        sent = [fields(use_for_est="1"), fields(use_for_est="1")]
        paths = [make(alice, one) for one in sent]

        def defaults() -> list[bool]:
            seen = {row for row in rows(alice.get("/policies?limit=100")) if " EST default " in row}
            return [any(row.startswith(f"{one['name']} EST ") for row in seen) for one in sent]

        assert defaults() == [True, False]
        assert "without a label" in text_of(alice.get("/policies"))
        assert "next_default_est" not in alice.get(f"{paths[1]}/edit")
        alice.follow(alice.post(f"{paths[1]}/edit", {**sent[1], "default_for_est": "1"}))
        assert defaults() == [False, True]
        # Unflagged: the choice is in the same form.
        number = paths[0].rpartition("/")[2]
        form = alice.get(f"{paths[1]}/edit")
        assert f'<option value="{number}">{sent[0]["name"]}</option>' in form
        assert "none: the system's default applies" in text_of(form)
        kept = {**sent[1], "default_for_est": "1", "next_default_est": number}
        alice.follow(alice.post(f"{paths[1]}/edit", kept))
        assert defaults() == [False, True]
        alice.follow(alice.post(f"{paths[1]}/edit", {**kept, "use_for_est": ""}))
        assert defaults() == [True, False]
        alice.follow(alice.post(f"{paths[1]}/edit", sent[1]))
        dialog = alice.get(f"{paths[0]}/delete")
        assert "This policy is the default for EST" in text_of(dialog)
        assert "none: the system's default applies" in text_of(dialog)
        assert 'name="next_default_scep"' not in dialog
        number = paths[1].rpartition("/")[2]
        answer = alice.post(f"{paths[0]}/delete", {"confirm": "no", "next_default_est": number})
        assert f'<option value="{number}" selected>' in answer.body.decode()
        alice.follow(alice.post(f"{paths[0]}/delete", {"confirm": "delete", "next_default_est": number}))
        assert defaults() == [False, True]
        assert f"/.well-known/est/{sent[1]['name'].replace(' ', '%20')}/simpleenroll" in alice.get("/apis")
        label = sent[1]["name"].replace(" ", "%20")
        assert re.search(rf"<code>https://[^/<]+/\.well-known/est/{label}</code>", alice.get(paths[1]))
        alice.follow(alice.post(f"{paths[1]}/delete", {"confirm": "delete"}))
        assert defaults() == [False, False]

    def test_load_a_template(self, pages: Pages, alice: Visitor) -> None:
        """POL-1: the text of an ext template comes into the form, without a script, and what was typed stays."""
        text = "[ v3_ext ]\nnsComment = loaded\n"
        templates = pages.stack.app.templates
        loaded = result_of(templates.add(SYSTEM, TemplateDraft("for policies", "Device", text, True)))
        request = "[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = x\n"
        other = result_of(templates.add(SYSTEM, TemplateDraft("for requests", "Device", request, True)))
        form = alice.get(f"/policies/new?template={loaded.id}")
        assert "nsComment = loaded" in form
        assert f'<option value="{loaded.id}" selected>for policies (Device)</option>' in form
        assert "for requests" not in form
        path = make(alice, fields())
        for address in ("/policies/new", f"{path}/edit"):
            sent = {**fields(linked="1", keys="EC", names="DNS:*"), "template": str(loaded.id), "action": "load"}
            response = alice.post(address, sent)
            assert response.status == 200
            page = response.body.decode()
            assert "nsComment = loaded" in page
            assert f'value="{sent["name"]}"' in page
            assert 'name="linked" value="1" checked' in page
            assert 'name="keys" value="EC" checked' in page
            for wrong, status in ((str(other.id), 400), ("", 400), ("x", 400), ("999999", 404)):
                response = alice.post(address, {**sent, "template": wrong})
                assert response.status == status
                assert EXTENSIONS.strip() in html.unescape(response.body.decode())
        assert "nsComment" not in alice.get(path)
        assert "Choose a certificate template" in alice.get("/policies/new?template=x", status=400)

    def test_others(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """POL-1: others' are not found; a system one is seen by all and changed by admins."""
        sent = fields()
        path = make(alice, sent)
        bob = pages.visitor("bob")
        assert bob.post(f"{path}/edit", sent).status == 404
        assert bob.post(f"{path}/delete", {"confirm": "delete"}).status == 404
        assert 'name="system"' not in alice.get("/policies/new")
        root.post(f"{path}/edit", {**sent, "system": "1"})
        assert "Uses System User N/A" in text_of(bob.get(path))
        assert f'href="{path}/edit"' not in bob.get(path)
        assert alice.post(f"{path}/edit", sent).status == 403
        assert alice.post(f"{path}/delete", {"confirm": "delete"}).status == 403
        # An admin's change of a user's policy leaves it the user's.
        other = make(alice, fields())
        root.post(f"{other}/edit", fields(days="77"))
        assert "User alice Validity 77 days" in text_of(alice.get(other))


class TestDefault:
    def test_edit(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """POL-2: admins edit validity and extensions, which stand in the files at once; nobody deletes it."""
        paths = pages.stack.app.config.paths
        assert alice.post("/policies/0/edit", {"days": "3", "extensions": EXTENSIONS}).status == 403
        assert 'href="/policies/0/edit"' not in alice.get("/policies/0")
        form = root.get("/policies/0/edit")
        assert 'name="name"' not in form
        assert 'name="use_for_est"' not in form
        response = root.post("/policies/0/edit", {"days": "77", "extensions": EXTENSIONS.replace("\n", "\r\n")})
        assert "System was saved" in root.follow(response)
        assert paths.server_ext_cfg.read_text() == EXTENSIONS
        assert paths.validity_conf.read_text().strip().endswith("77")
        assert rows(alice.get("/policies"))[0].startswith("System System N/A 77 d")
        for wrong in ({"days": "x", "extensions": EXTENSIONS}, {"days": "5", "extensions": "[ v3_ext ]\nx = y\n"}):
            assert root.post("/policies/0/edit", wrong).status in (400, 422)
        assert paths.server_ext_cfg.read_text() == EXTENSIONS
        assert "can't be deleted" in html.unescape(root.get("/policies/0/delete"))
        assert root.post("/policies/0/delete", {"confirm": "delete", "version": "1"}).status == 409
