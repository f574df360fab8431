"""Pages: rows of lists are selected, and an action is done on all of them as a job (JOB-1), without JavaScript."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest

from pikachu.core.model.people import AccountState
from pikachu.core.model.requests import RequestState
from pikachu.operations.job_runner import GROUP
from tests.support.deferreds import result_of
from tests.support.ra import stored_request, waiting_request
from tests.support.stack import Response
from tests.support.visitor import Pages, Visitor, text_of


def finish(pages: Pages) -> None:
    """Let the runner's rests pass."""
    pages.clock.pump([1.0] * 20)


def certificates(pages: Pages, count: int, name: str = "alice") -> list[int]:
    """Ids of new certificates."""
    owner = pages.accounts[name].id
    return [pages.stack.issue(f"device{number:02}.example.com", owner_id=owner).record.id for number in range(count)]


def hidden(page: str, form: str) -> dict[str, str]:
    """The hidden fields of the form with that action."""
    text = page.partition(f'action="{form}"')[2].partition("</form>")[0]
    assert text, page
    pattern = r'<input type="hidden" name="([^"]*)" value="([^"]*)">'
    return {name: html.unescape(value) for name, value in re.findall(pattern, text)}


def send(visitor: Visitor, path: str, fields: Mapping[str, str | list[str]]) -> Response:
    """Submit a form with all its fields."""
    body = urlencode(fields, doseq=True).encode()
    return visitor.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})


def ask(visitor: Visitor, path: str, action: str, **fields: str | list[str]) -> str:
    """The question about selected rows of the list at *path*."""
    response = send(visitor, "/jobs/new", {**hidden(visitor.get(path), "/jobs/new"), "action": action, **fields})
    assert response.status == 200, response.body
    return response.body.decode()


def confirm(visitor: Visitor, question: str, number: int, **fields: str) -> Response:
    """The answer to it."""
    return send(visitor, "/jobs", {**hidden(question, "/jobs"), "confirm": str(number), **fields})


def test_selected_rows(pages: Pages, alice: Visitor) -> None:
    """Ticked rows are revoked after the number was typed; the job's page shows each outcome."""
    ids = certificates(pages, 4)
    question = ask(alice, "/certificates?q=device", "revoke", rows="selected", id=[str(ids[0]), str(ids[2])])
    assert "Revoke 2 certificates" in text_of(question)
    assert 'data-typed="2"' in question
    assert 'href="/certificates?q=device"' in question
    wrong = confirm(alice, question, 3, reason="superseded")
    assert wrong.status == 409
    assert '<option value="superseded" selected>' in wrong.body.decode()
    page = alice.follow(confirm(alice, question, 2, reason="superseded"))
    assert "Revoke 2 certificates" in text_of(page)
    assert "2 of 2" in text_of(page)
    assert len(re.findall(r'<td [^>]*><span class="badge good">Done</span></td>', page)) == 2
    for index, identity in enumerate(ids):
        assert bool(result_of(pages.stack.app.store.certificate(identity)).revoked_at) is (index in (0, 2))
    assert f'href="/certificates/{ids[0]}"' in page


def test_page_and_all(pages: Pages, alice: Visitor) -> None:
    """All rows of a page, or all that match the filters; 409 when they are others by now."""
    certificates(pages, 14)
    pages.stack.issue("other.example.com", owner_id=pages.accounts["alice"].id)
    path = "/certificates?q=device&limit=10"
    assert "All 10 on this page" in text_of(alice.get(path))
    assert "All 14 that match" in text_of(alice.get(path))
    assert 'value="all"' not in alice.get("/certificates?q=device0")
    assert "Delete 10 certificates" in text_of(ask(alice, path, "delete", rows="page"))
    question = ask(alice, path, "delete", rows="all")
    assert "Delete 14 certificates" in text_of(question)
    certificates(pages, 1)
    late = confirm(alice, question, 14, revoke="")
    assert late.status == 409
    assert "has 15 objects now, not 14" in text_of(late.body.decode())
    question = ask(alice, path, "delete", rows="all")
    page = alice.follow(confirm(alice, question, 15, revoke="superseded"))
    assert f"{GROUP} of 15" in text_of(page)
    assert "Refresh" in text_of(page)
    finish(pages)
    page = alice.get("/jobs/1?state=done")
    assert "15 of 15" in text_of(page)
    assert "Completed" in text_of(page)
    assert re.search(r'<td [^>]*class="name">device00\.example\.com</td>', page)
    assert re.findall(r'<td [^>]*class="name one"[^>]*><a [^>]*>([^<]*)', alice.get("/certificates")) == [
        "other.example.com"
    ]


def test_all_that_filters_select(pages: Pages, alice: Visitor) -> None:
    """A job has the rows of its list, whatever the list was filtered by."""
    certificates(pages, 11)
    expiry, issuance = "expires=4000d&expires_from=2000-01-01", "issued=7d&issued_to=2100-01-01"
    for number, filters in enumerate(["status=valid", expiry, issuance, "key=EC", "issuer=ec&status=revoked"], 1):
        path = f"/certificates?{filters}&q=device&limit=10"
        assert "All 11 that match" in text_of(alice.get(path))
        page = alice.follow(confirm(alice, ask(alice, path, "revoke", rows="all"), 11, reason="superseded"))
        finish(pages)
        assert "11 of 11" in text_of(alice.get(f"/jobs/{number}")), page


def test_all_of_a_label(pages: Pages, alice: Visitor) -> None:
    """Of challenge passwords, those with a label and no others."""
    for label in ["pump"] * 11 + ["valve"]:
        alice.post("/challenge-passwords", {"label": label})
    path = "/challenge-passwords?label=pump&limit=10"
    alice.follow(confirm(alice, ask(alice, path, "delete", rows="all"), 11))
    finish(pages)
    assert "valve" in alice.get("/challenge-passwords")
    assert "pump" not in alice.get("/challenge-passwords")


@pytest.mark.parametrize("fields", [{}, {"rows": "page", "page": "x"}, {"rows": "all", "expected": "0"}])
def test_nothing_selected(pages: Pages, alice: Visitor, fields: dict[str, str]) -> None:
    """Without rows or an action there is no question."""
    certificates(pages, 1)
    above = {**hidden(alice.get("/certificates"), "/jobs/new"), "action": "revoke"}
    response = send(alice, "/jobs/new", {**above, **fields})
    assert response.status == 400
    assert "Select at least one row" in text_of(response.body.decode())
    response = send(alice, "/jobs/new", {**above, "action": "fly", "rows": "page"})
    assert response.status == 400


def test_back_is_local(pages: Pages, alice: Visitor) -> None:
    """No form leads to another server."""
    certificates(pages, 1)
    question = ask(alice, "/certificates", "revoke", rows="page", back="//evil.example.com/")
    assert "evil" not in question


def test_failures(pages: Pages, root: Visitor) -> None:
    """Rows that can't be done say why; the list of results is filtered, and is a CSV."""
    ids = certificates(pages, 2)
    pages.stack.revoke(result_of(pages.stack.app.store.certificate(ids[0])).serial)
    ca = pages.stack.issuer().certificate.serial
    own = result_of(pages.stack.app.store.certificate_by_serial(ca)).id
    question = ask(root, "/certificates", "delete", rows="selected", id=[*map(str, ids), str(own)])
    page = root.follow(confirm(root, question, 3))
    assert "Failed" in text_of(page)
    failed = root.get("/jobs/1?state=failed")
    assert f'data-label="ID" data-part="">{own}</td>' in failed
    assert f'data-label="ID" data-part="">{ids[0]}</td>' not in failed
    lines = root.get("/jobs/1?format=csv").splitlines()
    assert "ID,Name,State,Message,Ended (UTC)" in lines
    assert any(line.startswith(f"{own},") and ",Failed," in line for line in lines)


def test_cancel(pages: Pages, alice: Visitor) -> None:
    """A running job is cancelled on its page; one that has ended can't be."""
    certificates(pages, 12)
    question = ask(alice, "/certificates", "revoke", rows="page")
    alice.follow(confirm(alice, question, 12))
    page = alice.follow(send(alice, "/jobs/1/cancel", hidden(alice.get("/jobs/1"), "/jobs/1/cancel")))
    assert "The job was cancelled. 4 certificates were left as they are." in text_of(page)
    assert "/jobs/1/cancel" not in page
    assert "ended already" in text_of(alice.follow(alice.post("/jobs/1/cancel")))
    events = text_of(pages.visitor("root").get("/events?resource_type=job"))
    assert "cancel" in events


def test_progress(pages: Pages, alice: Visitor) -> None:
    """The part of the page that its script loads again."""
    certificates(pages, 12)
    alice.follow(confirm(alice, ask(alice, "/certificates", "revoke", rows="page"), 12))
    assert 'data-panels="/jobs/1/progress"' in alice.get("/jobs/1")
    part = alice.get("/jobs/1/progress")
    assert "<html" not in part
    assert f'max="12" value="{GROUP}"' in part
    finish(pages)
    assert "data-ended" in alice.get("/jobs/1/progress")
    assert "data-ended" not in alice.get("/jobs/1")
    assert "data-panels" not in alice.get("/jobs/1")


def test_list(pages: Pages, alice: Visitor, root: Visitor) -> None:
    """Users see their own jobs, administrators all; filters and sorting as in every list."""
    certificates(pages, 1)
    alice.follow(confirm(alice, ask(alice, "/certificates", "revoke", rows="page"), 1))
    root.follow(confirm(root, ask(root, "/certificates", "delete", rows="page"), 1))
    finish(pages)
    assert re.findall(r'<td [^>]*class="name"><a [^>]*>([^<]*)', alice.get("/jobs")) == ["Revoke 1 certificate"]
    assert "Delete 1 certificate" in root.get("/jobs")
    assert "Revoke" not in root.get("/jobs?action=delete&sort=-total").partition("<tbody>")[2].partition("</tbody>")[0]
    assert "alice" in root.get("/jobs?format=csv")


def test_approvals(pages: Pages, alice: Visitor, root: Visitor) -> None:
    """Administrators approve or reject requests; users export theirs."""
    requests = [waiting_request(pages, common_name=f"device{number}.example.com") for number in range(3)]
    page = alice.get("/ra/approvals")
    assert 'value="export"' in page
    assert not re.search(r'value="(approve|reject)"', page)
    question = ask(root, "/ra/approvals?state=pending", "reject", rows="selected", id=[str(requests[0])])
    root.follow(confirm(root, question, 1, reason="Retired."))
    record = result_of(pages.stack.app.store.request(requests[0]))
    assert (record.state, record.reason) == (RequestState.REJECTED, "Retired.")
    root.follow(confirm(root, ask(root, "/ra/approvals?state=pending", "approve", rows="page"), 2))
    finish(pages)
    states = [result_of(pages.stack.app.store.request(one)).state for one in requests[1:]]
    assert states == [RequestState.ISSUED] * 2


def test_users(pages: Pages, root: Visitor) -> None:
    """Accounts that wait are activated together, and suspended with their certificates."""
    waiting = [pages.add(f"waiting{number}", state=AccountState.PENDING).id for number in range(3)]
    root.follow(confirm(root, ask(root, "/users?state=pending", "activate", rows="page"), 3))
    accounts = [result_of(pages.stack.app.store.account(one)) for one in waiting]
    assert {account.state for account in accounts} == {AccountState.ACTIVE}
    certificate = certificates(pages, 1, "bob")[0]
    bob = pages.accounts["bob"].id
    question = ask(root, "/users", "suspend", rows="selected", id=[str(bob)])
    root.follow(confirm(root, question, 1, revoke="cessationOfOperation"))
    finish(pages)
    assert result_of(pages.stack.app.store.account(bob)).state is AccountState.SUSPENDED
    assert result_of(pages.stack.app.store.certificate(certificate)).revoked_at


def test_others_are_deleted(pages: Pages, alice: Visitor) -> None:
    """Keys, CSRs, templates and challenge passwords."""
    alice.post("/generate", {"name": "one", "type": "Ed25519"})
    stored_request(pages)
    alice.post("/templates/new", {"name": "mine", "profile_type": "Device", "content": "[ v3_ext ]\n"})
    alice.post("/challenge-passwords")
    for path in ("/keys", "/csrs", "/templates", "/challenge-passwords"):
        done = confirm(alice, ask(alice, path, "delete", rows="page"), 1)
        finish(pages)
        assert "1 of 1" in text_of(alice.follow(done))
        assert "/jobs/new" not in alice.get(path)


def test_export(pages: Pages, alice: Visitor) -> None:
    """An export asks for the format, and for no number; its page leads to the file."""
    ids = certificates(pages, 3)
    question = ask(alice, "/certificates", "export", rows="selected", id=[str(ids[0]), str(ids[2])])
    assert "Export 2 certificates" in text_of(question)
    assert "data-typed" not in question
    sent = send(alice, "/jobs", {**hidden(question, "/jobs"), "format": "pem"})
    path = sent.headers["Location"]
    finish(pages)
    page = alice.get(path)
    assert f'href="{path}/file"' in page
    file = alice.request("GET", f"{path}/file")
    assert file.headers["Content-Type"] == "application/zip"
    assert f'href="{path}/file"' not in pages.visitor("root").get(path)


def test_policies(pages: Pages, root: Visitor) -> None:
    """All policies that match are deleted, but the default policy."""
    fields = {"days": "9", "extensions": "[ v3_ext ]\n"}
    for name in ("one", "two"):
        root.post("/policies/new", {"name": name, **fields})
    count = root.get("/policies").count('name="id"')
    done = confirm(root, ask(root, "/policies", "delete", rows="page"), count)
    finish(pages)
    page = text_of(root.follow(done))
    assert f"{count - 1} of {count}" in page
    assert root.get("/policies").count('name="id"') == 1


# --- back to the list (single actions) ------------------------------------------------------


def opened(visitor: Visitor, path: str, before: str) -> str:
    """A form that was opened from the page *before*."""
    response = visitor.request("GET", path, headers={"Referer": f"https://ca.example.org{before}"})
    assert response.status == 200
    return response.body.decode()


@pytest.mark.parametrize("action", ["revoke", "delete"])
def test_back_to_the_filtered_list(pages: Pages, alice: Visitor, action: str) -> None:
    """After an action from a list, and after Cancel, the list has the same filters as before, with a notice."""
    identity = certificates(pages, 1)[0]
    path, before = f"/certificates/{identity}/{action}", "/certificates?q=device&limit=10&sort=not_after"
    form = opened(alice, path, before)
    assert f'data-cancel href="{html.escape(before)}"' in form
    fields = hidden(form, path)
    assert fields["back"] == before
    again = send(alice, path, {**fields, "confirm": "wrong"})
    assert hidden(again.body.decode(), path)["back"] == before
    done = send(alice, path, {**fields, "confirm": action, "reason": "superseded", "revoke": "superseded"})
    assert (done.status, done.headers["Location"]) == (303, before)
    assert "The certificate device00.example.com was" in text_of(alice.follow(done))


@pytest.mark.parametrize(
    "before",
    ["", "/", "/login?next=/certificates", "//evil.example.com/certificates", "/certificates/7", "/events?q=x"],
)
def test_opened_elsewhere(pages: Pages, alice: Visitor, before: str) -> None:
    """A form that no list led to leads where it always did."""
    identity = certificates(pages, 1)[0]
    path = f"/certificates/{identity}/delete"
    form = opened(alice, path, before)
    assert f'data-cancel href="/certificates/{identity}"' in form
    fields = hidden(form, path)
    assert "back" not in fields
    fields["back"] = before
    done = send(alice, path, {**fields, "confirm": "delete", "revoke": "superseded"})
    assert done.headers["Location"] == "/certificates"


def test_object_page_is_gone_after_deletion(pages: Pages, alice: Visitor) -> None:
    """Cancel leads back to the object's page, but a deletion to the list."""
    identity = certificates(pages, 1)[0]
    path = f"/certificates/{identity}/delete"
    form = opened(alice, path, f"/certificates/{identity}")
    assert f'data-cancel href="/certificates/{identity}"' in form
    done = send(alice, path, {**hidden(form, path), "confirm": "delete", "revoke": "superseded"})
    assert done.headers["Location"] == "/certificates"
