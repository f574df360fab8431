"""REST: jobs (JOB-1): one action on many objects, with the rules and the rights of the single one."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import fail

import pytest

from pikachu.core.errors import Overloaded, StoreUnavailable
from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.jobs import FILE_LIFETIME, MAX_FILE, MAX_ROWS, JobState, RowOutcome, RowState
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM, AccountState, Role, Scope
from pikachu.operations.job_runner import GROUP, KEPT, JobRunner
from pikachu.storage.jobs import MAX_UNFINISHED
from pikachu.x509.pem import certificates_pem
from tests.support.deferreds import result_of
from tests.support.rest import REST, csr_pem, make_rest, open_rest
from tests.support.stack import Stack, build_core


def finish(rest: REST) -> None:
    """Let the runner's rests pass."""
    rest.clock.pump([1.0] * 40)


def create(rest: REST, who: str = "alice", *, status: int = 202, **body: Any) -> Any:
    """The document of a new job."""
    job = {"action": "revoke", "resource": "certificates", **body}
    return rest.good("POST", "/jobs", job, who=who, status=status)


def results(rest: REST, job: Any, who: str = "alice", **query: str) -> dict[int, tuple[str, str]]:
    """State and message by the object's id."""
    text = "".join(f"&{name}={value}" for name, value in query.items())
    found: dict[int, tuple[str, str]] = {}
    cursor = ""
    while cursor is not None:
        page = rest.good("GET", f"/jobs/{job['id']}/results?limit=7&cursor={cursor}{text}", who=who)
        found |= {one["object_id"]: (one["state"], one["message"]) for one in page["items"]}
        cursor = page["next_cursor"]
    return found


def events(stack: Stack, type_: str) -> list[dict[str, object]]:
    """The details of all events of that type."""
    page = result_of(stack.app.store.events(ListQuery(limit=1000, filters={"type": type_})))
    return [dict(record.event.details) for record in page.items]


@pytest.fixture
def mine(rest: REST) -> list[CertificateRecord]:
    """Twenty certificates of alice's."""
    owner = rest.accounts["alice"].id
    return [rest.stack.issue(f"device{number:02}.example.com", owner_id=owner).record for number in range(20)]


def test_ids(rest: REST, mine: list[CertificateRecord]) -> None:
    """Each object is done once, in the background, and events name the job."""
    ids = [one.id for one in mine[:12]]
    answer = rest.call("POST", "/jobs", {"action": "revoke", "resource": "certificates", "ids": [*ids, ids[0]],
                                         "arguments": {"reason": "superseded"}}, who="alice")  # fmt: skip
    assert answer.status == 202
    path = answer.headers["Location"].removeprefix("/api/v1")
    first = rest.good("GET", path, who="alice")
    assert (first["state"], first["total"], first["done"]) == ("running", 12, GROUP)
    finish(rest)
    job = rest.good("GET", path, who="alice")
    assert (job["state"], job["total"], job["done"], job["failed"]) == ("completed", 12, 12, 0)
    assert job["ended_at"] is not None
    assert job["requested_by"] == "alice"
    assert results(rest, job) == dict.fromkeys(ids, ("done", ""))
    assert [one["name"] for one in rest.good("GET", f"{path}/results?sort=id", who="alice")["items"]] == [
        one.common_name for one in mine[:12]
    ]
    revoked = rest.good("GET", "/certificates?status=revoked&limit=100", who="alice")["items"]
    assert {one["id"] for one in revoked} == set(ids)
    assert {one["reason"] for one in revoked} == {"superseded"}
    assert [details["job"] for details in events(rest.stack, "revoke")] == [job["id"]] * 12
    assert events(rest.stack, "complete") == [
        {"action": "revoke", "resource": "certificates", "total": 12, "done": 12, "failed": 0}
    ]


def test_filter(rest: REST, mine: list[CertificateRecord]) -> None:
    """All that a list shows, if they are as many as expected; what comes later is not among them."""
    selected: Any = {"filter": {"q": "device1", "status": "valid"}}
    assert "20 objects" not in rest.bad(409, "POST", "/jobs", _job(**selected, expected=9), who="alice")["detail"]
    job = create(rest, **selected, expected=10)
    rest.stack.issue("device1-late.example.com", owner_id=rest.accounts["alice"].id)
    finish(rest)
    assert set(results(rest, job)) == {one.id for one in mine[10:]}
    # An administrator may select what is another's.
    theirs = {"owner_id": str(rest.accounts["alice"].id), "status": "valid"}
    job = create(rest, "root", filter=theirs, expected=11)
    finish(rest)
    assert rest.good("GET", f"/jobs/{job['id']}", who="root")["done"] == 11


def _job(**body: Any) -> dict[str, Any]:
    return {"action": "revoke", "resource": "certificates", **body}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (_job(), "either"),
        (_job(ids=[1], filter={}), "either"),
        (_job(filter={}), "either"),
        (_job(ids=[]), "1 to 1,000"),
        (_job(ids=list(range(1001))), "at most 1000"),
        (_job(filter={"color": "red"}, expected=1), "color"),
        (_job(filter={"status": "green"}, expected=1), "status"),
        (_job(filter={"status": 1}, expected=1), "must be a string"),
        (_job(filter={"limit": "1"}, expected=1), "limit"),
        (_job(filter={"q": ""}, expected=1), "“filter.q” is empty. Enter a value, or leave “q” out."),
        (_job(filter={"status": ""}, expected=1), "“filter.status” is empty."),
        (_job(ids=[1], arguments={"reason": "bored"}), "reason"),
        (_job(ids=[1], arguments={"revoke": "superseded"}), "takes no argument"),
        (_job(action="approve", ids=[1]), "not approve"),
        (_job(action="delete", resource="keys", ids=[1], arguments={"reason": "x"}), "takes no argument"),
    ],
)
def test_refused(rest: REST, body: dict[str, Any], text: str) -> None:
    """A request that makes no sense creates no job."""
    assert text in rest.bad(400, "POST", "/jobs", body, who="root")["detail"]
    assert rest.good("GET", "/jobs", who="root")["items"] == []


def test_too_many(rest: REST, mine: list[CertificateRecord]) -> None:
    """A job has a greatest number of rows, and an account of jobs."""
    rest.bad(400, "POST", "/jobs", _job(filter={}, expected=MAX_ROWS + 1), who="alice")
    rest.bad(409, "POST", "/jobs", _job(ids=[1], expected=2), who="alice")
    # Nothing runs while the clock stands still, after the first rows.
    for _ in range(MAX_UNFINISHED):
        create(rest, ids=list(range(70_000, 70_000 + GROUP + 1)))
    assert "unfinished" in rest.bad(409, "POST", "/jobs", _job(ids=[1]), who="alice")["detail"]
    create(rest, "bob", ids=[1])


def test_rights_of_each_row(rest: REST, mine: list[CertificateRecord]) -> None:
    """Others' objects are as if they did not exist; the rest is done."""
    others = rest.stack.issue("bobs.example.com", owner_id=rest.accounts["bob"].id).record
    job = create(rest, ids=[others.id, mine[0].id, 99_999])
    finish(rest)
    assert results(rest, job) == {
        others.id: ("failed", "There is no such certificate."),
        99_999: ("failed", "There is no such certificate."),
        mine[0].id: ("done", ""),
    }
    assert set(results(rest, job, state="failed")) == {others.id, 99_999}
    assert not result_of(rest.stack.app.store.certificate(others.id)).revoked_at
    # A token's scopes count, and an admin's actions are for admins.
    weak = rest.token("alice", Scope.READ)
    rest.bad(403, "POST", "/jobs", _job(ids=[1]), token=weak)
    rest.bad(403, "POST", "/jobs", _job(action="suspend", resource="users", ids=[1]), who="alice")
    rest.bad(404, "GET", f"/jobs/{job['id']}", who="bob")
    rest.bad(404, "DELETE", f"/jobs/{job['id']}", who="bob")


def test_suspended_account(rest: REST, mine: list[CertificateRecord]) -> None:
    """The job of an account stops when that is suspended, and does not go on when it is active again."""
    job = create(rest, ids=[one.id for one in mine])
    account = rest.accounts["alice"].id
    result_of(rest.stack.app.accounts.suspend(SYSTEM, account))
    finish(rest)
    stopped = rest.good("GET", f"/jobs/{job['id']}", who="root")
    assert (stopped["state"], stopped["done"]) == ("stopped", GROUP)
    assert "not active" in stopped["message"]
    assert events(rest.stack, "stop")[0]["done"] == GROUP
    result_of(rest.stack.app.accounts.activate(SYSTEM, account))
    finish(rest)
    assert rest.good("GET", f"/jobs/{job['id']}", who="root") == stopped


def test_demoted_account(rest: REST) -> None:
    """Rights that an account loses while its job runs are missing for the rows that follow."""
    users = [rest.add(f"user{number}").id for number in range(GROUP + 3)]
    job = create(rest, "root", action="suspend", resource="users", ids=users)
    rest.add("boss")
    admin = rest.accounts["root"].id
    result_of(rest.stack.app.accounts.update(SYSTEM, rest.accounts["boss"].id, role=Role.ADMIN))
    result_of(rest.stack.app.accounts.update(SYSTEM, admin, role=Role.USER))
    finish(rest)
    outcomes = results(rest, job, "root")
    assert [outcomes[one][0] for one in users] == ["done"] * GROUP + ["failed"] * 3
    assert "administrators only" in outcomes[users[-1]][1]


def test_cancel(rest: REST, mine: list[CertificateRecord]) -> None:
    """Completed rows stay as they are, no more is begun, and a job that has ended can't be cancelled."""
    job = create(rest, ids=[one.id for one in mine])
    cancelled = rest.good("DELETE", f"/jobs/{job['id']}", who="alice")
    assert (cancelled["state"], cancelled["done"]) == ("cancelled", GROUP)
    finish(rest)
    assert rest.good("GET", f"/jobs/{job['id']}", who="alice") == cancelled
    assert len(results(rest, job, state="waiting")) == 20 - GROUP
    assert "cancelled" in rest.bad(409, "DELETE", f"/jobs/{job['id']}", who="alice")["detail"]
    assert events(rest.stack, "cancel")[0]["total"] == 20


def test_restart(rest: REST, mine: list[CertificateRecord]) -> None:
    """The rest of a job is done after a restart, and nothing twice."""
    job = create(rest, action="delete", ids=[one.id for one in mine], arguments={"revoke": "superseded"})
    result_of(rest.stack.app.job_runner.stop())
    again = rest.stack.restart()
    try:
        renewed = open_rest(again)
        renewed.tokens.update(rest.tokens)
        assert renewed.good("GET", f"/jobs/{job['id']}", who="alice")["done"] == GROUP
        again.app.job_runner.wake()
        finish(renewed)
        ended = renewed.good("GET", f"/jobs/{job['id']}", who="alice")
        assert (ended["state"], ended["done"], ended["failed"]) == ("completed", 20, 0)
        assert len(events(again, "delete")) == 20
        assert len(events(again, "revoke")) == 20
    finally:
        again.app.job_runner.stop()
        again.close()


class Interrupted:
    """A store that loses outcomes while it is told to."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.losing = False

    def __getattr__(self, name: str) -> Any:
        if name == "record_rows" and self.losing:
            return lambda *_: fail(StoreUnavailable("the database does not answer"))
        return getattr(self._store, name)


def test_lost_outcome(tmp_path: Path) -> None:
    """A row whose act was done, but whose outcome was not stored, is done once, and counts once."""
    wrapped: list[Interrupted] = []

    def wrap(store: Any) -> Interrupted:
        wrapped.append(Interrupted(store))
        return wrapped[0]

    stack = build_core(tmp_path, wrap_store=wrap)
    rest = make_rest(stack)
    owner = rest.accounts["alice"].id
    ids = [stack.issue(f"device{number}.example.com", owner_id=owner).record.id for number in range(3)]
    wrapped[0].losing = True
    job = create(rest, action="delete", ids=[*ids, 99_999])
    assert rest.good("GET", f"/jobs/{job['id']}", who="alice")["done"] == 0
    wrapped[0].losing = False
    stack.app.job_runner.wake()
    finish(rest)
    ended = rest.good("GET", f"/jobs/{job['id']}", who="alice")
    # The last one may have been deleted by the first attempt, for all that is known.
    assert (ended["state"], ended["done"]) == ("completed", 4)
    assert len(events(stack, "delete")) == 3
    stack.close()


def test_lost_outcome_of_a_refusal(tmp_path: Path) -> None:
    """Refusals whose outcome was lost are not taken for done."""
    wrapped: list[Interrupted] = []

    def wrap(store: Any) -> Interrupted:
        wrapped.append(Interrupted(store))
        return wrapped[0]

    stack = build_core(tmp_path, wrap_store=wrap)
    rest = make_rest(stack)
    certificate = stack.issue(owner_id=rest.accounts["alice"].id).record.id
    # Nobody suspends himself.
    bob, root = rest.accounts["bob"].id, rest.accounts["root"].id
    cases: list[tuple[str, dict[str, Any], int, int]] = [
        ("alice", {"action": "revoke", "resource": "certificates"}, certificate, 99_999),
        ("root", {"action": "suspend", "resource": "users"}, bob, root),
    ]
    for who, action, done, refused in cases:
        wrapped[0].losing = True
        job = create(rest, who, **action, ids=[done, refused])
        wrapped[0].losing = False
        stack.app.job_runner.wake()
        finish(rest)
        found = results(rest, job, who)
        assert (found[done][0], found[refused][0]) == ("done", "failed")
    stack.close()


def test_only_the_leader(rest: REST, mine: list[CertificateRecord]) -> None:
    """Another node than the leader leaves jobs alone."""
    runner = rest.stack.app.job_runner
    runner.stop()
    job = create(rest, ids=[mine[0].id])
    leading = False
    other = JobRunner(
        store=rest.stack.app.store, actions=rest.stack.app.job_actions, clock=rest.clock, is_leader=lambda: leading
    )
    other.wake()
    finish(rest)
    assert rest.good("GET", f"/jobs/{job['id']}", who="alice")["done"] == 0
    leading = True
    other.wake()
    finish(rest)
    assert rest.good("GET", f"/jobs/{job['id']}", who="alice")["state"] == "completed"


def test_turns(rest: REST, mine: list[CertificateRecord]) -> None:
    """A short job does not wait for the end of a long one."""
    long = create(rest, ids=list(range(80_000, 80_900)))
    short = create(rest, "bob", ids=[1])
    rest.clock.pump([0.01] * 6)
    assert rest.good("GET", f"/jobs/{short['id']}", who="bob")["state"] == "failed"
    assert rest.good("GET", f"/jobs/{long['id']}", who="alice")["state"] == "running"


class Refusing:
    """A store that has too much to do for one account."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.refused: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def account(self, account_id: int) -> Any:
        """Read an account."""
        return fail(Overloaded("busy")) if account_id == self.refused else self.store.account(account_id)


def test_a_job_that_waits_holds_up_no_other(tmp_path: Path) -> None:
    """Where the first job of a round has to be tried again, the next round begins with another."""
    wrapped: list[Refusing] = []

    def wrap(store: Any) -> Refusing:
        wrapped.append(Refusing(store))
        return wrapped[0]

    stack = build_core(tmp_path, wrap_store=wrap)
    rest = make_rest(stack)
    long = create(rest, ids=list(range(80_000, 80_020)))
    wrapped[0].refused = rest.accounts["alice"].id
    finish(rest)
    short = create(rest, "bob", ids=[1])
    for _ in range(4):
        finish(rest)
        stack.app.job_runner.wake()
    assert result_of(stack.app.store.job(short["id"])).state is JobState.FAILED
    assert result_of(stack.app.store.job(long["id"])).state is JobState.RUNNING
    stack.close()


def objects(rest: REST, resource: str) -> Iterator[int]:
    """Ids of new objects of alice's."""
    for number in range(2):
        name = f"name {resource} {number}"
        bodies: dict[str, Any] = {
            "keys": {"name": name, "type": "EC"},
            "csrs": {"csr": csr_pem(f"{number}.example.com")},
            "templates": {"name": name, "profile_type": "Device", "content": "[ v3_ext ]\n"},
            "challenge-passwords": {},
        }
        yield rest.good("POST", f"/{resource}", bodies[resource], who="alice", status=201)["id"]


@pytest.mark.parametrize("resource", ["keys", "csrs", "templates", "challenge-passwords"])
def test_deletion(rest: REST, resource: str) -> None:
    """Other objects are deleted likewise, and their outcome has their name."""
    ids = list(objects(rest, resource))
    job = create(rest, action="delete", resource=resource, filter={}, expected=2)
    finish(rest)
    assert results(rest, job) == dict.fromkeys(ids, ("done", ""))
    assert all(one["name"] for one in rest.good("GET", f"/jobs/{job['id']}/results", who="alice")["items"])
    assert rest.good("GET", f"/{resource}", who="alice")["items"] == []


def test_policies_and_tokens(rest: REST) -> None:
    """Policies and API tokens are deleted; the default policy and what others own fail."""
    body = {"name": "mine", "validity_days": 5, "extensions": "[ v3_ext ]\n"}
    rest.good("POST", "/policies", body, who="alice", status=201)
    (mine,) = (one["id"] for one in rest.good("GET", "/policies", who="alice")["items"] if one["name"] == "mine")
    job = create(rest, action="delete", resource="policies", ids=[mine, 0])
    finish(rest)
    assert {identity: state for identity, (state, _) in results(rest, job).items()} == {mine: "done", 0: "failed"}
    new = rest.good("POST", "/tokens", {"name": "deploy"}, who="alice", status=201)["id"]
    others = rest.good("POST", "/tokens", {"name": "other"}, who="bob", status=201)["id"]
    job = create(rest, action="delete", resource="tokens", ids=[new, others])
    finish(rest)
    assert results(rest, job)[new][0] == "done"
    assert results(rest, job)[others][0] == "failed"


@pytest.mark.parametrize("format_", ["csv", "pem", "der"])
def test_export(rest: REST, mine: list[CertificateRecord], format_: str) -> None:
    """The file has what was selected, at the time of the job; only its owner gets it, which is recorded."""
    foreign = rest.stack.issue("foreign.example.com", owner_id=rest.accounts["bob"].id).record
    ids = [mine[3].id, foreign.id, mine[5].id]
    job = create(rest, action="export", ids=ids, arguments={"format": format_})
    rest.bad(409, "GET", f"/jobs/{job['id']}/file", who="alice")
    finish(rest)
    assert results(rest, job)[foreign.id] == ("failed", "There is no such certificate.")
    for record in (mine[3], mine[5]):
        rest.good("DELETE", f"/certificates/{record.id}", who="alice", status=204)
    path = f"/jobs/{job['id']}/file"
    body = dechunked(rest.call("GET", path, who="alice").body)
    assert rest.good("GET", f"/jobs/{job['id']}", who="alice")["size"] > 0
    if format_ == "csv":
        heading, *rows = csv.reader(io.StringIO(body.decode()))
        assert heading[:3] == ["ID", "Issued (UTC)", "Common name"]
        assert [row[2] for row in rows] == ["device03.example.com", "device05.example.com"]
    else:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            assert archive.testzip() is None
            suffix = ".pem" if format_ == "pem" else ".cer"
            assert archive.namelist() == [f"device0{n}.example.com-{mine[n].id}{suffix}" for n in (3, 5)]
            data = archive.read(archive.namelist()[0])
        assert data == (certificates_pem([mine[3].der]).encode() if format_ == "pem" else mine[3].der)
    rest.bad(403, "GET", path, who="root")
    rest.bad(404, "GET", path, who="bob")
    (details,) = events(rest.stack, "download")
    assert details["format"] == format_
    rest.clock.advance(FILE_LIFETIME.total_seconds())
    rest.bad(404, "GET", path, who="alice")
    create(rest, ids=[mine[0].id])
    finish(rest)
    assert rest.good("GET", f"/jobs/{job['id']}", who="alice")["size"] == 0


@pytest.mark.parametrize(
    ("role", "resource"),
    [(Role.ADMIN, "users"), (Role.AUDITOR, "users"), (Role.AUDITOR, "certificates"), (Role.OPERATOR, "certificates")],
)
def test_files_of_former_rights(rest: REST, mine: list[CertificateRecord], role: Role, resource: str) -> None:
    """A file about others needs the rights that wrote it: neither another role nor a lesser token gets it."""
    name = f"former_{role.value}"
    account = rest.add(name, role)
    ids = [mine[0].id if resource == "certificates" else rest.accounts["alice"].id]
    job = create(rest, name, action="export", resource=resource, ids=ids, arguments={"format": "csv"})
    own = rest.stack.issue(f"{name}.example.com", owner_id=account.id).record
    other = create(rest, "alice", action="export", ids=[mine[0].id], arguments={"format": "csv"})
    finish(rest)
    path = f"/jobs/{job['id']}/file"
    _, lesser = result_of(rest.stack.app.tokens.create(SYSTEM, account.id, "lesser", frozenset({Scope.READ})))
    assert "rights" in rest.bad(403, "GET", path, token=lesser)["detail"]
    assert rest.call("GET", path, who=name).status == 200
    result_of(rest.stack.app.accounts.update(SYSTEM, account.id, role=Role.USER))
    assert "rights" in rest.bad(403, "GET", path, who=name)["detail"]
    # One's own is for every token of one's own that reads.
    job = create(rest, name, action="export", ids=[own.id], arguments={"format": "csv"})
    finish(rest)
    assert rest.call("GET", f"/jobs/{job['id']}/file", token=lesser).status == 200
    assert rest.call("GET", f"/jobs/{other['id']}/file", who="alice").status == 200


@pytest.mark.parametrize("resource", ["keys", "csrs", "templates", "challenge-passwords", "users"])
def test_export_of_others(rest: REST, resource: str) -> None:
    """A CSV of other objects, with a line for each, and without secrets."""
    ids = [rest.accounts["alice"].id] if resource == "users" else list(objects(rest, resource))
    job = create(rest, action="export", resource=resource, ids=ids, arguments={"format": "csv"})
    finish(rest)
    body = dechunked(rest.call("GET", f"/jobs/{job['id']}/file", who="alice").body)
    rows = list(csv.reader(io.StringIO(body.decode())))
    assert len(rows) == 1 + len(ids)
    assert len({len(row) for row in rows}) == 1
    assert "PRIVATE" not in str(rows)


@pytest.mark.parametrize(
    ("resource", "arguments"),
    [("certificates", {}), ("certificates", {"format": "csv", "reason": "x"}), ("keys", {"format": "pem"})],
)
def test_wrong_exports(rest: REST, resource: str, arguments: dict[str, str]) -> None:
    """An export needs a format that its objects have, and nothing else."""
    create(rest, action="export", resource=resource, ids=[1], arguments=arguments, status=400)


def test_bound_of_an_export(rest: REST, mine: list[CertificateRecord]) -> None:
    """Objects without room in the file fail, and the message says what to do."""
    job = create(rest, action="export", ids=[one.id for one in mine], arguments={"format": "csv"})
    rows = result_of(rest.stack.app.store.begin_rows(job["id"], 1))
    assert rows
    full = [RowOutcome(rows[0].id, "x", RowState.DONE, content=b"x" * MAX_FILE)]
    result_of(rest.stack.app.store.record_rows(job["id"], full, rest.stack.app.authority.now()))
    finish(rest)
    outcomes = list(results(rest, job).values())
    assert ("failed", "The file has 64 MiB already. Export this one in another job.") in outcomes


def dechunked(body: bytes) -> bytes:
    """Return the content of a chunked body."""
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        content, body = content + body[:length], body[length + 2 :]
        if not length:
            break
    return content


def test_users(rest: REST) -> None:
    """Pending accounts are approved, suspended ones activated; oneself can't be suspended."""
    adding = rest.stack.app.accounts.add_user(
        SYSTEM, "waiting", "w@example.com", Role.USER, AccountState.PENDING, "long enough"
    )
    pending, alice = result_of(adding).id, rest.accounts["alice"].id
    ids = [pending, alice, rest.accounts["root"].id]
    job = create(rest, "root", action="suspend", resource="users", ids=ids)
    finish(rest)
    assert [state for state, _ in results(rest, job, "root").values()].count("failed") == 1
    job = create(rest, "root", action="activate", resource="users", filter={"state": "suspended"}, expected=2)
    finish(rest)
    assert results(rest, job, "root") == dict.fromkeys((pending, alice), ("done", ""))


def test_approvals(rest: REST) -> None:
    """Pending requests are approved or rejected; one that was decided meanwhile fails."""
    policy = {"name": "manual", "validity_days": 9, "extensions": "[ v3_ext ]\n", "approval": "manual", "system": True}
    rest.good("POST", "/policies", policy, who="root", status=201)
    ids = [
        rest.good("POST", "/certificates", {"csr": csr_pem(f"d{number}.example.com"), "policy": "manual"}, who="alice",
                  status=202)["id"]
        for number in range(3)
    ]  # fmt: skip
    job = create(rest, "root", action="reject", resource="approvals", ids=[ids[0]], arguments={"reason": "Retired."})
    finish(rest)
    assert rest.good("GET", f"/approvals/{ids[0]}", who="root")["reason"] == "Retired."
    rest.bad(409, "POST", "/jobs", _job(action="approve", resource="approvals", filter={}, expected=3), who="root")
    job = create(rest, "root", action="approve", resource="approvals", filter={}, expected=2)
    again = create(rest, "root", action="approve", resource="approvals", ids=ids)
    finish(rest)
    issued = [rest.good("GET", f"/approvals/{one}", who="root")["certificate_id"] for one in ids[1:]]
    assert results(rest, job, "root") == {
        one: ("done", f"Certificate {new} was issued.") for one, new in zip(ids[1:], issued, strict=True)
    }
    assert {state for state, _ in results(rest, again, "root").values()} == {"failed"}
    assert all(details.get("job") == job["id"] for details in events(rest.stack, "approve"))


def test_renewal(rest: REST) -> None:
    """Certificates are renewed one after the other, each once, and the outcome names the new one."""
    policy = {"name": "servers", "validity_days": 9, "extensions": "[ v3_ext ]\n", "system": True}
    rest.good("POST", "/policies", policy, who="root", status=201)
    body = {"subject": "CN=pump.example.com", "sans": [], "key": {"type": "Ed25519"}, "policy": "servers"}
    old = [rest.good("POST", "/certificates", body, who="alice", status=201) for _ in range(3)]
    ids = [one["id"] for one in old]
    rest.good("POST", f"/certificates/{ids[1]}/revocation", {}, who="alice")
    job = create(rest, action="renew", ids=ids)
    finish(rest)
    outcomes = results(rest, job)
    assert [outcomes[one][0] for one in ids] == ["done", "failed", "done"]
    new = {int(text.split()[1]) for state, text in outcomes.values() if state == "done"}
    issued = rest.good("GET", "/certificates?sort=-id&limit=100", who="alice")["items"]
    assert {one["id"] for one in issued} == {*ids, *new}
    assert len(new) == 2
    renewed = [details for details in events(rest.stack, "create") if "renews" in details]
    assert {details["renews"] for details in renewed} == {old[0]["serial"], old[2]["serial"]}
    assert {details["job"] for details in renewed} == {job["id"]}


def test_old_jobs_are_forgotten(rest: REST, mine: list[CertificateRecord]) -> None:
    """Jobs and their rows are deleted some months after their end."""
    old = create(rest, ids=[mine[0].id])
    finish(rest)
    rest.clock.advance(KEPT.total_seconds() + 60)
    new = create(rest, ids=[mine[1].id])
    finish(rest)
    assert [one["id"] for one in rest.good("GET", "/jobs", who="alice")["items"]] == [new["id"]]
    rest.bad(404, "GET", f"/jobs/{old['id']}/results", who="alice")


def test_lists(rest: REST, mine: list[CertificateRecord]) -> None:
    """Jobs are filtered and sorted; users see their own."""
    first = create(rest, ids=[mine[0].id, mine[1].id])
    second = create(rest, "root", action="delete", resource="keys", ids=[1])
    finish(rest)

    def ids(query: str, who: str = "root") -> list[int]:
        return [one["id"] for one in rest.good("GET", f"/jobs?{query}", who=who)["items"]]

    assert ids("") == [second["id"], first["id"]]
    assert ids("", "alice") == [first["id"]]
    assert ids("sort=total") == [second["id"], first["id"]]
    assert ids("action=delete&resource=keys&state=failed") == [second["id"]]
    assert ids(f"owner_id={rest.accounts['alice'].id}") == [first["id"]]
    assert ids("q=alice") == [first["id"]]
    rest.bad(400, "GET", "/jobs?state=asleep", who="root")
