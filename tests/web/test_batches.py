"""Enrollment batches: pages, REST, enrollment with their passwords, and what happens after an interruption (ENR-1)."""

from __future__ import annotations

import csv
import io
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

import pytest

from pikachu.accounts.batches import BatchOrder, BatchPassword, EnrollmentBatches
from pikachu.auth.authenticator import account_principal
from pikachu.core.errors import StoreUnavailable
from pikachu.core.model.batches import BatchState
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import SYSTEM
from pikachu.web.ui.enrollment_scripts import Device, scripts_zip
from pikachu.x509.bound_names import read_bound_names
from pikachu.x509.csr import parse_csr
from tests.protocols.est.refusals import refused
from tests.protocols.test_bound_challenges import csr_of
from tests.support.deferreds import failure_of, result_of
from tests.support.est import EST, est_site
from tests.support.pdf import page_texts, scanned_codes
from tests.support.rest import REST, make_rest
from tests.support.stack import Stack, build_core
from tests.support.visitor import Pages, asks_again, make_pages, text_of

NAMES = "pump-001,pump-001.example.com\npump-002,pump-002.example.com,192.0.2.2\npump-003\n"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "core")
    yield made
    made.close()


@pytest.fixture
def rest(stack: Stack) -> REST:
    return make_rest(stack)


@pytest.fixture
def pages(stack: Stack) -> Pages:
    return make_pages(stack)


def rows_of(exported: str) -> list[dict[str, str]]:
    """Return the rows of a streamed CSV."""
    return list(csv.DictReader(line for line in exported.split("\r\n") if "," in line))


def csr_for(path: Path, folder: bytes, name: str) -> bytes:
    """Return the DER CSR that the configuration in a zip makes with openssl."""
    with zipfile.ZipFile(io.BytesIO(folder)) as archive:
        archive.extractall(path)
    script = (path / name / "enroll.sh").read_text()
    arguments = next(line for line in script.splitlines() if "openssl req" in line).partition("openssl ")[2].split()
    subprocess.run(["openssl", *arguments], cwd=path / name, check=True, capture_output=True)
    pem = (path / name / "device.csr").read_bytes()
    return subprocess.run(["openssl", "req", "-outform", "DER"], input=pem, check=True, capture_output=True).stdout


def test_pages(tmp_path: Path, stack: Stack, pages: Pages) -> None:
    """From a list of names to devices: form, progress, CSV, scripts with which a device enrolls, end."""
    alice, root, bob = (pages.visitor(name) for name in ("alice", "root", "bob"))
    assert "No batches yet" in alice.get("/batches")
    assert "System" in alice.get("/batches/new")
    fields = {"label": "Hamburg", "policy": "System", "names": NAMES, "attributes": "O=Example", "validity": "3d"}
    path = alice.post("/batches", fields).headers["Location"]
    page = alice.get(path)
    assert "0 of 3 enrolled" in text_of(page)
    assert "Open" in text_of(page)
    exported = alice.get(f"{path}/passwords")
    rows = rows_of(exported)
    assert [row["Subject"] for row in rows] == [f"CN=pump-00{number},O=Example" for number in (1, 2, 3)]
    assert rows[1]["Subject alternative names"] == "DNS:pump-002.example.com IP:192.0.2.2"
    assert {row["Label"] for row in rows} == {"Hamburg"}
    assert all(len(row["Challenge password"]) == 32 for row in rows)
    csr = csr_for(tmp_path, alice.request("GET", f"{path}/scripts").body, "pump-002")
    est = EST(stack, est_site(stack))
    certificate = est.certificate(est.enroll(csr))
    assert "192.0.2.2" in str(certificate.extensions)
    assert "1 of 3 enrolled" in text_of(alice.get(path))
    assert "Hamburg Open 1 of 3 enrolled System alice" in text_of(alice.get("/batches?state=open&q=hamb&sort=label"))
    assert "Nothing matches" in alice.get("/batches?state=ended")
    assert f"{certificate.serial_number:x}" in alice.get(f"{path}/passwords")
    assert rows[1]["Challenge password"] not in alice.get(f"{path}/passwords")
    listed = text_of(alice.get("/challenge-passwords?label=Hamburg"))
    assert listed.count("Available") > listed.count("Consumed") >= 1
    bob.get(path, status=404)
    assert bob.post(f"{path}/end", {"confirm": "end"}).status == 404
    views = {"type": "view"}
    assert result_of(stack.app.store.events(ListQuery(filters=views))).items == ()
    assert "Downloads are recorded" in text_of(root.get(path))
    root.get(f"{path}/passwords")
    (event,) = result_of(stack.app.store.events(ListQuery(filters=views))).items
    assert (event.event.actor, event.event.resource_type, event.event.resource_name) == ("root", "batch", "Hamburg")
    assert asks_again(alice.post(f"{path}/end", {"confirm": "x"}))
    assert "The batch was ended." in text_of(alice.follow(alice.post(f"{path}/end", {"confirm": "end"})))
    assert alice.post(f"{path}/end", {"confirm": "end"}).status == 409
    refused(est.enroll(csr_for(tmp_path / "again", _zip_of(rows[0]), "pump-001")), 401)


def test_names(stack: Stack, pages: Pages) -> None:
    """The page has the names; those that are not enrolled are a filter and a CSV, without their passwords."""
    alice, root = pages.visitor("alice"), pages.visitor("root")
    path = alice.post("/batches", {"label": "Hamburg", "policy": "System", "names": NAMES}).headers["Location"]
    texts = [row["Challenge password"] for row in rows_of(alice.get(f"{path}/passwords"))]
    est = EST(stack, est_site(stack))
    serial = est.certificate(est.enroll(csr_of(texts[0], "CN=pump-001"))).serial_number
    page = text_of(alice.get(path))
    assert f"CN=pump-001 DNS:pump-001.example.com Enrolled {serial:x}" in page
    assert "CN=pump-003 Available" in page
    assert "pump-001" not in alice.get(f"{path}?enrolled=false")
    listed = rows_of(alice.get(f"{path}?enrolled=false&format=csv"))
    assert [tuple(row.values()) for row in listed] == [
        ("CN=pump-002", "DNS:pump-002.example.com, IP:192.0.2.2", "Available", ""),
        ("CN=pump-003", "", "Available", ""),
    ]
    assert "pump-002" in alice.get(f"{path}?q=pump-002")
    root.get(path)
    assert result_of(stack.app.store.events(ListQuery(filters={"type": "view"}))).items == ()
    stack.clock.advance(8 * 86400)
    assert "CN=pump-003 Expired" in text_of(pages.visitor("alice").get(path))


def test_labels(stack: Stack, pages: Pages) -> None:
    """A sheet has a label with a QR code for each name that can be enrolled; an admin's download is recorded."""
    alice, root = pages.visitor("alice"), pages.visitor("root")
    path = alice.post("/batches", {"label": "Hamburg", "policy": "System", "names": NAMES}).headers["Location"]
    rows = rows_of(alice.get(f"{path}/passwords"))
    est = EST(stack, est_site(stack))
    est.certificate(est.enroll(csr_of(rows[0]["Challenge password"], "CN=pump-001")))
    sheet = alice.request("GET", f"{path}/labels?layout=label")
    assert sheet.headers["Content-Type"] == "application/pdf"
    assert "labels.pdf" in sheet.headers["Content-Disposition"]
    assert scanned_codes(sheet.body) == [row["Challenge password"] for row in rows[1:]]
    assert [text.split()[0] for text in page_texts(sheet.body)] == ["pump-002", "pump-003"]
    assert "/.well-known/est" in page_texts(sheet.body)[0].replace(" ", "")
    for query, message in (
        ("layout=x", "Choose a layout"),
        ("part=2", "Choose a part from 1 to 1."),
        ("part=0", "part"),
    ):
        refusal = alice.request("GET", f"{path}/labels?{query}")
        assert refusal.status == 400
        assert message in text_of(refusal.body.decode())
    assert root.request("GET", f"{path}/labels").status == 200
    (event,) = result_of(stack.app.store.events(ListQuery(filters={"type": "view"}))).items
    assert (event.event.actor, event.event.resource_name) == ("root", "Hamburg")
    alice.post(f"{path}/end", {"confirm": "end"})
    assert alice.request("GET", f"{path}/labels").status == 409


def test_labels_in_parts(pages: Pages) -> None:
    """A document has the labels of 240 names; the form offers the parts."""
    alice = pages.visitor("alice")
    names = "\n".join(f"pump-{number:03}" for number in range(250))
    path = alice.post("/batches", {"label": "Hamburg", "policy": "System", "names": names}).headers["Location"]
    assert "2 of 2" in alice.get(path)
    second = alice.request("GET", f"{path}/labels?part=2").body
    assert [name for name in page_texts(second)[0].split() if name.startswith("pump-")] == [
        f"pump-{number:03}" for number in range(240, 250)
    ]


def _zip_of(row: dict[str, str]) -> bytes:
    """Return a zip for one row of a CSV."""
    names = read_bound_names(row["Subject"], row["Subject alternative names"].split())
    assert names is not None
    return scripts_zip("x", "x", "https://ca.example.com", b"root", [Device(names, row["Challenge password"])])


def test_form_errors(pages: Pages) -> None:
    """The form is shown again with what was entered, and says what is wrong; a file counts before the text."""
    alice = pages.visitor("alice")
    for fields, status, message in (
        ({"label": "", "names": "a"}, 400, "Enter a label."),
        ({"label": "x", "names": ""}, 400, "Enter at least one name."),
        ({"label": "x", "names": "a,b c"}, 400, "Line 1: "),
        ({"label": "x", "names": "a", "validity": "400d"}, 400, "Enter a validity"),
        ({"label": "x", "names": "a", "policy": "nothing"}, 404, "no policy named"),
    ):
        response = alice.post("/batches", fields)
        assert response.status == status, fields
        assert message in text_of(response.body.decode())


def test_rest(rest: REST) -> None:
    """The same over REST: create, list, passwords, end."""
    body = {"label": "pumps", "policy": "System", "names": NAMES, "validity_seconds": 3600}
    made = rest.good("POST", "/batches", body, who="alice", status=201)
    assert (made["total"], made["enrolled"], made["owner"]) == (3, 0, "alice")
    path = f"/batches/{made['id']}"
    assert rest.good("GET", path, who="alice")["created"] == 3
    first = rest.good("GET", f"{path}/passwords?limit=2&sort=id", who="alice")
    assert [one["subject"] for one in first["items"]] == ["CN=pump-001", "CN=pump-002"]
    assert all(len(one["password"]) == 32 for one in first["items"])
    assert rest.good("GET", f"{path}/passwords?limit=2&sort=id&cursor={first['next_cursor']}", who="alice")["items"]
    assert rest.good("GET", "/events?type=view", who="root")["items"] == []
    rest.good("GET", f"{path}/passwords", who="root")
    assert len(rest.good("GET", "/events?type=view", who="root")["items"]) == 1
    assert [one["id"] for one in rest.good("GET", "/batches?state=open&q=pum", who="alice")["items"]] == [made["id"]]
    assert rest.good("GET", "/batches", who="bob")["items"] == []
    rest.bad(409, "POST", f"{path}/resumption", who="alice")
    waiting = rest.good("GET", f"{path}/names?enrolled=false&sort=id", who="alice")["items"]
    assert [(one["subject"], one["enrolled"], one["serial"]) for one in waiting] == [
        (f"CN=pump-00{number}", False, None) for number in (1, 2, 3)
    ]
    sheet = rest.call("GET", f"{path}/labels?layout=label", who="alice")
    assert scanned_codes(sheet.body) == [
        one["password"] for one in rest.good("GET", f"{path}/passwords?sort=id", who="alice")["items"]
    ]
    rest.bad(400, "GET", f"{path}/labels?part=2", who="alice")
    assert rest.good("POST", f"{path}/end", who="alice")["state"] == "ended"
    assert {one["password"] for one in rest.good("GET", f"{path}/passwords", who="alice")["items"]} == {None}
    rest.bad(400, "POST", "/batches", {**body, "label": " "}, who="alice")
    rest.bad(404, "POST", "/batches", {**body, "user_id": rest.accounts["alice"].id}, who="bob")
    for_alice = rest.good("POST", "/batches", {**body, "user_id": rest.accounts["alice"].id}, who="root", status=201)
    assert for_alice["owner"] == "alice"


def test_policy(stack: Stack, rest: REST) -> None:
    """The passwords enroll under the batch's policy, and under no other label; a stranger's policy can't be named."""
    est = EST(stack, est_site(stack))
    est.policy("five days", days=5)
    est.policy("standard", days=50)
    body = {"label": "pumps", "policy": "five days", "names": "a\nb"}
    made = rest.good("POST", "/batches", body, who="alice", status=201)
    passwords = rest.good("GET", f"/batches/{made['id']}/passwords?sort=id", who="alice")["items"]

    def csr(index: int) -> bytes:
        return csr_of(passwords[index]["password"], str(passwords[index]["subject"]))

    refused(est.enroll(csr(0), label="standard"), 403)
    found = est.certificate(est.enroll(csr(0)))
    assert (found.not_valid_after_utc - found.not_valid_before_utc).days == 5
    alice = rest.accounts["alice"].id
    est.policy("of alice", system=False, owner_id=alice)
    rest.bad(404, "POST", "/batches", {**body, "policy": "of alice"}, who="bob")
    rest.bad(404, "POST", "/batches", {**body, "policy": "of alice"}, who="root")
    rest.good("POST", "/batches", {**body, "policy": "of alice", "user_id": alice}, who="root", status=201)


class FailingStore:
    """A store whose database is lost after some parts of a batch were written."""

    def __init__(self, stack: Stack, parts: int = 2) -> None:
        self._store = stack.app.store
        self._left = parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def fill_batch(self, *arguments: Any) -> Any:
        """Write a part of a batch."""
        self._left -= 1
        if self._left < 0:
            raise StoreUnavailable("lost")
        return self._store.fill_batch(*arguments)


def batches_of(stack: Stack, store: Any) -> EnrollmentBatches:
    """Return the batches of another process, which creates two passwords at a time."""
    app = stack.app
    return EnrollmentBatches(
        store=store, sealer=app.sealer, clock=app.clock, policies=app.policies, pool=app.pools.inspection, chunk=2
    )


async def _first_page(batches: EnrollmentBatches, batch_id: int) -> Page[BatchPassword]:
    fetch = await batches.passwords(SYSTEM, batch_id)
    return await fetch(ListQuery(sort="id"))


def test_interrupted(stack: Stack) -> None:
    """Another process continues where one was interrupted: each name once."""
    text = "\n".join(f"pump-{number:03}" for number in range(7))
    interrupted = batches_of(stack, FailingStore(stack))
    batch = result_of(interrupted.create(SYSTEM, BatchOrder("pumps", "System", text)))
    batch = result_of(interrupted.get(SYSTEM, batch.id))
    assert (batch.created, batch.state(stack.app.authority.now())) == (4, BatchState.CREATING)
    failure_of(interrupted.fill(), StoreUnavailable)
    result_of(stack.app.batches.fill())
    assert result_of(interrupted.get(SYSTEM, batch.id)).created == 7
    page = result_of(Deferred.fromCoroutine(_first_page(interrupted, batch.id)))
    assert [one.challenge.names.subject for one in page.items if one.challenge.names] == [
        f"CN=pump-{number:03}" for number in range(7)
    ]
    assert len({one.text for one in page.items}) == 7


def test_quota(tmp_path: Path) -> None:
    """A batch that the quota has no room for is refused; one that loses its room stops, and can be resumed."""
    stack = build_core(tmp_path / "core", changes={("LIMITS", "challenge_passwords"): "5"})
    try:
        rest = make_rest(stack)
        body = {"label": "x", "policy": "System", "names": "a\nb\nc\nd\ne\nf"}
        assert "this needs 6 more" in rest.bad(409, "POST", "/batches", body, who="alice")["detail"]
        owner = account_principal(rest.accounts["alice"], "192.0.2.7")
        interrupted = batches_of(stack, FailingStore(stack, 1))
        batch = result_of(interrupted.create(owner, BatchOrder("pumps", "System", "a\nb\nc\nd")))
        others = [rest.good("POST", "/challenge-passwords", {}, who="alice", status=201)["id"] for _ in range(3)]
        result_of(stack.app.batches.fill())
        path = f"/batches/{batch.id}"
        stopped = rest.good("GET", path, who="alice")
        assert (stopped["state"], stopped["created"]) == ("stopped", 2)
        assert "[LIMITS] challenge_passwords" in stopped["problem"]
        for one in others:
            rest.good("DELETE", f"/challenge-passwords/{one}", who="alice", status=204)
        rest.good("POST", f"{path}/resumption", who="alice")
        assert rest.good("GET", path, who="alice")["created"] == 4
    finally:
        stack.close()


def test_odd_names(tmp_path: Path) -> None:
    """The configuration holds any name: quotes, dollars, several attributes in one RDN; names that are alike."""
    subjects = ['CN=a+serialNumber=7,O=B\\, \\"C\\" $x\\;#,C=DE', "CN=A", "CN=a", "CN=z\u00fcrich/..\\\\x"]
    devices = []
    for subject in subjects:
        names = read_bound_names(subject, ["URI:https://example.com/?a,b", "a.example.com"])
        assert names is not None
        devices.append(Device(names, "0" * 32))
    archive = scripts_zip("x", "x", "https://ca.example.com", b"root", devices)
    for folder, device in zip(("a", "A-2", "a-3", "z_rich_.._x"), devices, strict=True):
        csr = parse_csr(csr_for(tmp_path / folder, archive, folder))
        assert csr.subject == device.names.subject
        assert {name.text for name in csr.names} == set(device.names.sans)
        assert csr.challenge_password == "0" * 32
