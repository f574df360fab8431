"""Checkpoints and proofs on pages, in REST and at ``/ca/audit.pub`` (TLG-1); they verify offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.operations.transparency import CheckpointSettings, TransparencyLog
from pikachu.server.downloads import download_tree
from pikachu.transparency.checkpoints import open_checkpoint, parse_verifier_key
from pikachu.transparency.proofs import verify_certificate_proof, verify_consistency_proof
from tests.support.databases import execute
from tests.support.deferreds import result_of
from tests.support.rest import REST, make_rest
from tests.support.stack import Stack, ask, build_core
from tests.support.visitor import make_pages, text_of

HOUR = 3600


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "core")
    yield made
    made.close()


@pytest.fixture
def rest(stack: Stack) -> REST:
    return make_rest(stack)


def public_key(stack: Stack) -> bytes:
    """The content of ``/ca/audit.pub``."""
    response = ask(stack.site(download_tree(stack.app)[b"ca"]), stack.clock, "/audit.pub")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    return response.body


def test_rest(stack: Stack, rest: REST) -> None:
    """Answers of REST verify with the public key alone; sizes that no checkpoint has are refused."""
    key = parse_verifier_key(public_key(stack))
    old = rest.call("GET", "/audit-checkpoint", who="root")
    assert "attachment" in old.headers["Content-Disposition"]
    size = open_checkpoint(old.body.decode(), key).size
    issued = stack.issue("pump-1.example.com")
    proof = rest.call("GET", f"/certificates/{issued.record.id}/inclusion-proof", who="root")
    assert verify_certificate_proof(proof.body, issued.record.der, key)[1].size > size
    growth = rest.call("GET", f"/audit-consistency?size={size}", who="root")
    former, newest = verify_consistency_proof(growth.body, old.body, key)
    assert (former.size, newest.size > size) == (size, True)
    rest.bad(404, "GET", f"/audit-consistency?size={newest.size + 100}", who="root")
    for wrong in ("-1", "one", "9" * 30, "1.0"):
        rest.bad(400, "GET", f"/audit-consistency?size={wrong}", who="root")


def test_pages(stack: Stack) -> None:
    """Both files are linked, from *Events* and from the page of a certificate."""
    key = parse_verifier_key(public_key(stack))
    root = make_pages(stack).visitor("root")
    issued = stack.issue("pump-1.example.com")
    assert 'href="/events/checkpoint"' in root.get("/events")
    note = root.request("GET", "/events/checkpoint").body.decode()
    assert open_checkpoint(note, key).size > 0
    path = f"/certificates/{issued.record.id}"
    assert f'href="{path}/proof"' in root.get(path)
    proof = root.request("GET", f"{path}/proof").body
    verify_certificate_proof(proof, issued.record.der, key)


def verified(rest: REST, **body: str) -> dict[str, object]:
    """Verify the audit log; return the result."""
    rest.good("POST", "/audit-verification", body, who="root", status=202)
    result: dict[str, object] = rest.good("GET", "/audit-verification", who="root")
    return result


def test_verification_against_a_checkpoint(stack: Stack, rest: REST) -> None:
    """REST verifies the log, too, and finds what the chain can't: a certificate was removed."""
    stack.issue("pump-1.example.com")
    early = rest.call("GET", "/audit-checkpoint", who="root").body.decode()
    size = int(early.splitlines()[1])
    stack.issue("pump-2.example.com")
    result = verified(rest, checkpoint=early)
    assert (result["state"], result["checkpoint_entries"], result["problem"]) == ("intact", size, None)
    assert result["log_entries"] == result_of(stack.app.store.log_state()).size
    late = rest.call("GET", "/audit-checkpoint", who="root").body.decode()
    rest.bad(400, "POST", "/audit-verification", {"checkpoint": early.replace("\n", "\nx", 1)}, who="root")
    rest.bad(400, "POST", "/audit-verification", {"checkpoint": "x" * 5000}, who="root")
    url = str(stack.app.store.database.url)
    execute(url, "DELETE FROM certificates WHERE common_name = 'pump-2.example.com'")
    for body in ({}, {"checkpoint": early}, {"checkpoint": late}):
        assert verified(rest, **body)["state"] == "changed"


def test_verification_on_the_page(stack: Stack) -> None:
    """A checkpoint is pasted or uploaded; a proof from it is downloaded, and verifies offline."""
    key = parse_verifier_key(public_key(stack))
    root = make_pages(stack).visitor("root")
    note = root.request("GET", "/events/checkpoint").body
    stack.issue("pump-1.example.com")
    page = text_of(root.follow(root.post("/events/verification", {"checkpoint": note.decode().replace("\n", "\r\n")})))
    assert "none changed or removed" in page
    assert "entries of the uploaded checkpoint" in page
    assert root.post("/events/verification", {"checkpoint": "nonsense"}).status == 400
    proof = root.post("/events/verification/consistency", {"checkpoint": note.decode()})
    assert proof.status == 200
    verify_consistency_proof(proof.body, note, key)
    assert root.post("/events/verification/consistency", {"checkpoint": "nonsense"}).status == 400


def test_a_stored_checkpoint(tmp_path: Path) -> None:
    """Without another one, the newest checkpoint in the folder counts; one that was changed is a finding."""
    folder = tmp_path / "kept"
    stack = build_core(tmp_path / "core", changes={("AUDIT", "checkpoint_dir"): str(folder)})
    rest = make_rest(stack)
    assert verified(rest)["checkpoint_entries"] is None
    folder.mkdir(exist_ok=True)
    note = rest.call("GET", "/audit-checkpoint", who="root").body
    (folder / "checkpoint.txt").write_bytes(note)
    assert verified(rest)["checkpoint_entries"] == int(note.splitlines()[1])
    (folder / "checkpoint.txt").write_bytes(note.replace(b"\n", b"\n1", 1))
    assert verified(rest)["state"] == "changed"
    stack.close()


def test_checkpoints_in_a_folder(stack: Stack, tmp_path: Path) -> None:
    """One is written at each interval in which the log has grown, by the leading node; a full disk stops nothing."""
    app, folder = stack.app, tmp_path / "kept"
    leads = [False]

    def made(target: Path) -> TransparencyLog:
        return TransparencyLog(
            store=app.store,
            clock=stack.clock,
            files=app.pools.files,
            is_leader=lambda: leads[0],
            settings=CheckpointSettings(target, HOUR),
        )

    log = made(folder)
    result_of(log.step())
    assert not folder.exists()
    leads[0] = True
    stack.issue("pump-1.example.com")
    for seconds, files in ((0, 2), (HOUR - 1, 2), (2, 2)):
        stack.clock.advance(seconds)
        result_of(log.step())
        assert len(list(folder.iterdir())) == files
    stack.issue("pump-2.example.com")
    stack.clock.advance(HOUR)
    result_of(log.step())
    assert len(list(folder.iterdir())) == 3
    newest = open_checkpoint((folder / "checkpoint.txt").read_text(), log.verifier)
    assert result_of(app.store.log_state()).size == newest.size
    (tmp_path / "file").write_text("")
    result_of(made(tmp_path / "file" / "below").step())
    assert result_of(app.store.log_state()).pending == 0
