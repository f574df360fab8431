"""LNT-1: saving a policy lints it; errors stop it, unless an administrator accepts them with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Role
from pikachu.lint.linter import installed_linter
from pikachu.x509.pem import pem
from tests.support.deferreds import result_of
from tests.support.odd_requests import signed_csr
from tests.support.pki import make_key
from tests.support.rest import REST, csr_pem, open_rest
from tests.support.stack import DEFAULT_EXTENSIONS, Stack, make_files, open_stack
from tests.support.visitor import Pages, make_pages, text_of

GOOD: Final = DEFAULT_EXTENSIONS
BAD: Final = f"{GOOD}authorityInfoAccess = critical, OCSP;URI:http://ocsp.example.com\n"
CODES: Final = ["pikachu.criticality", "pkix.authority_information_access_extension_critical"]
REASON: Final = "An old client needs it."


@dataclass(frozen=True)
class Server:
    """One server with pkilint, for REST and pages."""

    stack: Stack
    rest: REST
    pages: Pages

    def save(self, name: str, text: str, who: str = "root", status: int = 201, **more: object) -> dict[str, Any]:
        """The answer to a new policy."""
        body = {"name": name, "validity_days": 30, "extensions": text, **more}
        if status == 201:
            made: dict[str, Any] = self.rest.good("POST", "/policies", body, who=who, status=status)
            return made
        return self.rest.bad(status, "POST", "/policies", body, who=who)

    def events(self, name: str) -> list[dict[str, object]]:
        """The details of the events about a policy, the newest first."""
        query = ListQuery(limit=5, filters={"resource_type": "policy", "resource_name": name})
        return [dict(one.event.details) for one in result_of(self.stack.app.store.events(query)).items]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    linter = installed_linter()
    assert linter is not None
    files = make_files(tmp_path_factory.mktemp("core"))
    stack = open_stack(files, linter=lambda: linter)
    pages, rest = make_pages(stack), open_rest(stack)
    rest.accounts.update(pages.accounts)
    rest.tokens.update({name: rest.token(name) for name in rest.accounts})
    rest.add("operator", Role.OPERATOR)
    yield Server(stack, rest, pages)
    linter.close()
    stack.close()


def severities(document: dict[str, Any]) -> set[str]:
    return {one["severity"] for one in document["findings"]}


def test_findings_in_rest(server: Server) -> None:
    """Each answer about one policy has them, and names the linter; lists have none."""
    made = server.save("good", GOOD, who="alice")
    assert "error" not in severities(made)
    assert made["linter"].startswith("pkilint ")
    assert made["lint_override"] is None
    assert server.rest.good("GET", f"/policies/{made['id']}", who="alice")["findings"] == made["findings"]
    assert server.rest.good("GET", "/policies/0", who="alice")["findings"]
    assert {one["findings"] for one in server.rest.good("GET", "/policies", who="alice")["items"]} == {None}


def test_errors_stop_it(server: Server) -> None:
    """The problem has the findings; operators and users can't accept them."""
    for who in ("alice", "operator", "root"):
        problem = server.save("bad", BAD, who=who, status=422)
        assert problem["type"] == "urn:pikachu:problem:lint-failed"
        assert [one["code"] for one in problem["findings"]] == CODES
        assert "must not be critical (RFC 5280 section 4.2.2.1)" in problem["detail"]
    for who in ("alice", "operator"):
        problem = server.save("bad", BAD, who=who, status=403, override_reason=REASON)
        assert "Only administrators" in problem["detail"]
    server.save("bad", BAD, status=400, override_reason="x" * 501)
    server.save("bad", BAD, status=422, override_reason="  ")
    server.save("bad", BAD, status=400, override_reason="two\nlines")


def test_override(server: Server) -> None:
    """It is recorded, stays with the text, marks certificates, and goes with the errors."""
    rest = server.rest
    alice = rest.accounts["alice"].id
    made = server.save("old client", BAD, override_reason=REASON, owner_id=alice)
    override = made["lint_override"]
    assert (override["reason"], override["by"], override["codes"]) == (REASON, "root", CODES)
    (created,) = server.events("old client")
    assert (created["lint_override"], created["lint_errors"]) == (REASON, CODES)
    path = f"/policies/{made['id']}"
    # The owner changes something else, but not the text, nor does another error come in with it.
    assert rest.good("PATCH", path, {"validity_days": 20}, who="alice")["lint_override"] == override
    rest.bad(422, "PATCH", path, {"extensions": BAD + "\n"}, who="alice")
    worse = f"{BAD}crlDistributionPoints = URI:nothing\n"
    rest.bad(422, "PATCH", path, {"extensions": worse}, who="root")
    issued = rest.good("POST", "/certificates", {"csr": csr_pem(), "policy": "old client"}, who="alice", status=201)
    assert issued["lint_override"] == REASON
    listed = rest.good("GET", "/certificates?policy=old%20client", who="alice")["items"]
    assert [one["lint_override"] for one in listed] == [REASON]
    page = text_of(server.pages.visitor("alice").get(f"/certificates/{issued['id']}"))
    assert f"old client Lint override Accepted errors {REASON}" in page
    changed = rest.good("PATCH", path, {"extensions": GOOD}, who="alice")
    assert changed["lint_override"] is None
    assert rest.good("GET", f"/certificates/{issued['id']}", who="alice")["lint_override"] == REASON


def test_default_policy(server: Server) -> None:
    """Also where its text is changed in the file: what has errors issues nothing, and the page says why."""
    rest = server.rest
    rest.bad(422, "PATCH", "/policies/0", {"extensions": BAD}, who="root")
    changed = rest.good("PATCH", "/policies/0", {"extensions": BAD, "override_reason": REASON}, who="root")
    assert changed["lint_override"]["reason"] == REASON
    assert rest.good("GET", "/policies/0", who="alice")["lint_override"]["codes"] == CODES
    rest.good("POST", "/certificates", {"csr": csr_pem()}, who="alice", status=201)
    rest.good("PATCH", "/policies/0", {"extensions": GOOD}, who="root")
    server.stack.files.load().paths.server_ext_cfg.write_text(BAD)
    result_of(server.stack.app.policies.reload_default())
    assert "error" in severities(rest.good("GET", "/policies/0", who="alice"))
    problem = rest.bad(422, "POST", "/certificates", {"csr": csr_pem()}, who="alice")
    assert [one["code"] for one in problem["findings"]] == ["pikachu.criticality"]
    server.stack.files.load().paths.server_ext_cfg.write_text(GOOD)
    result_of(server.stack.app.policies.reload_default())


def test_pages(server: Server) -> None:
    """The form shows the errors, and administrators a field for the reason."""
    sent = {"name": "on pages", "days": "30", "extensions": BAD, "honour_names": "1", "same_key": "1"}
    root, alice = (server.pages.visitor(name) for name in ("root", "alice"))
    for visitor, sees_field in ((alice, False), (root, True)):
        response = visitor.post("/policies/new", sent)
        assert response.status == 422
        shown = response.body.decode()
        assert "pikachu.criticality" in shown
        assert ('name="override"' in shown) is sees_field
    assert alice.post("/policies/new", {**sent, "override": REASON}).status == 403
    saved = root.post("/policies/new", {**sent, "override": REASON})
    view = root.follow(saved)
    told = text_of(view)
    assert "on pages Lint override" in told
    assert f": {REASON}" in told
    assert "Checked with the server's own rules and pkilint " in told
    # The form keeps it without typing it again.
    path = saved.headers["Location"].partition("?")[0]
    assert root.post(f"{path}/edit", {**sent, "days": "20"}).status == 303
    assert "Lint override" in root.get(path)


def test_preview(server: Server) -> None:
    """The preview has what is found about the request itself; it can't be signed, and that tells the same."""
    subject = "CN=x,emailAddress=nobody"
    csr = pem("CERTIFICATE REQUEST", signed_csr(make_key("p256"), subject, ()))  # type: ignore[arg-type]
    problem = server.rest.bad(422, "POST", "/certificates", {"csr": csr}, who="alice")
    refusal = server.rest.good("POST", "/certificates/preview", {"csr": csr}, who="alice")["refusal"]
    assert refusal["findings"] == problem["findings"]
    assert {one["code"] for one in refusal["findings"]} == {
        "pikachu.name_attribute",
        "pikachu.subject_email_not_in_san",
    }


def test_subject_addresses(server: Server) -> None:
    """RFC 5280 section 4.1.2.6: the CA adds them to the subjectAltName, where the policy copies names."""
    csr = pem("CERTIFICATE REQUEST", signed_csr(make_key("p256", 7), "CN=x,emailAddress=a@example.com", ()))  # type: ignore[arg-type]
    made = server.rest.good("POST", "/certificates", {"csr": csr}, who="alice", status=201)
    assert made["sans"] == ["email:a@example.com"]
    server.save("no names", GOOD, who="alice", limits={"honour_names": False})
    problem = server.rest.bad(422, "POST", "/certificates", {"csr": csr, "policy": "no names"}, who="alice")
    assert [one["code"] for one in problem["findings"]] == ["pikachu.subject_email_not_in_san"]
