"""A client that is generated from the OpenAPI document (API-2)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pikachu.core.model.people import SYSTEM, AccountState, Role, Scope
from tests.support.deferreds import result_of
from tests.support.packages import require_package
from tests.support.rest import csr_pem
from tests.support.server import Server, running_server

pytestmark = pytest.mark.interop

GENERATOR = Path(sys.executable).with_name("openapi-python-client")
#: Uses the generated package: issue, list, get, revoke, and a refusal; prints what the answers contain.
PROGRAM = """
import json, sys, time
from generated import AuthenticatedClient
from generated.api.certificates import certificates_create, certificates_get, certificates_list, certificates_revoke
from generated.api.jobs import jobs_create, jobs_file, jobs_get, jobs_results
from generated.api.keys import keys_create, keys_get
from generated.models import (
    CertificateKey,
    JobArgumentsDocument,
    NewJobDocument,
    NewJobDocumentAction,
    NewJobDocumentResource,
    NewKey,
    Revocation,
    RevocationReason,
    SignRequest,
)

url, root, token, csr = sys.argv[1:]
with AuthenticatedClient(base_url=url, token=token, verify_ssl=root) as client:
    issued = certificates_create.sync(client=client, body=SignRequest(csr=csr))
    listed = certificates_list.sync(client=client, limit=10)
    revocation = Revocation(reason=RevocationReason.KEYCOMPROMISE)
    revoked = certificates_revoke.sync(issued.id, client=client, body=revocation)
    read = certificates_get.sync(issued.id, client=client)
    refused = certificates_create.sync(client=client, body=SignRequest(csr="no CSR"))
    key = keys_create.sync(client=client, body=NewKey(name="gateway", curve="prime256v1"))
    names = [f"gateway-{number}.example.com" for number in range(3)]
    ordered = [
        certificates_create.sync(
            client=client, body=SignRequest(subject=f"CN={name}", sans=[f"DNS:{name}"], key=CertificateKey(id=key.id))
        )
        for name in names
    ]

    def job(action, **arguments):
        body = NewJobDocument(
            action=action,
            resource=NewJobDocumentResource.CERTIFICATES,
            ids=[one.id for one in ordered],
            arguments=JobArgumentsDocument(**arguments),
        )
        made = jobs_create.sync(client=client, body=body)
        for _ in range(600):
            if jobs_get.sync(made.id, client=client).state.value != "running":
                break
            time.sleep(0.1)
        return made.id

    exported = job(NewJobDocumentAction.EXPORT, format_="csv")
    file = jobs_file.sync(exported, client=client).payload.read().decode()
    ended = jobs_results.sync(job(NewJobDocumentAction.REVOKE, reason="superseded"), client=client)
    used = {one.key_id for one in ordered} == {key.id}
    print(json.dumps({
        "key": [key.type_.value, keys_get.sync(key.id, client=client).name, used],
        "exported": [name in file for name in names],
        "job": sorted((one.name, one.state.value) for one in ended.items),
        "statuses": [certificates_get.sync(one.id, client=client).status.value for one in ordered],
        "serial": issued.serial,
        "listed": [one.serial for one in listed.items],
        "revoked": [revoked.status.value, read.status.value, read.reason.value],
        "refused": [refused.status, refused.title],
    }))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server."""
    require_package("openapi_python_client")
    with running_server(tmp_path_factory.mktemp("client")) as running:
        yield running


def run(*arguments: str | Path, folder: Path) -> str:
    """Run a program that has to succeed; return its standard output."""
    done = subprocess.run(arguments, cwd=folder, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_generated_client(server: Server, tmp_path: Path) -> None:
    """It is generated without a warning; issues, lists and revokes; reads the problem of a refusal; creates a key,
    issues for names with it, and exports and revokes the certificates as jobs (JOB-1).
    """
    with server.application() as app:
        account = result_of(
            app.accounts.add_user(SYSTEM, "alice", "a@example.com", Role.USER, AccountState.ACTIVE, "password")
        )
        scopes = frozenset({Scope.READ, Scope.ENROLL, Scope.REVOKE})
        _, token = result_of(app.tokens.create(SYSTEM, account.id, "client", scopes, 1))
    document = tmp_path / "openapi.json"
    document.write_bytes(server.ask("https", "/api/v1/openapi.json").body)
    url: str = json.loads(document.read_text())["servers"][0]["url"]
    assert url == f"https://localhost:{server.ports['https']}"
    settings = tmp_path / "settings.json"
    # The generated code is run as it is, without its formatter; the generator knows no media types of files.
    pattern = r'"((?:application|text)/[a-z0-9+-]+)": ?\{"schema": ?\{"type": ?"string"'
    files = set(re.findall(pattern, document.read_text()))
    assert "application/pkix-cert" in files
    overrides = dict.fromkeys(files, "application/octet-stream")
    settings.write_text(json.dumps({"post_hooks": [], "content_type_overrides": overrides}))
    run(
        *(GENERATOR, "generate", "--path", document, "--config", settings, "--meta", "none", "--fail-on-warning"),
        *("--output-path", tmp_path / "generated"),
        folder=tmp_path,
    )
    output = run(
        *(sys.executable, "-c", PROGRAM, url, server.folder / "root.crt", token, csr_pem()),
        folder=tmp_path,
    )
    result: dict[str, Any] = json.loads(output)
    assert result["serial"] in result["listed"]
    assert result["revoked"] == ["revoked", "revoked", "keyCompromise"]
    assert result["refused"][0] == 400
    assert result["key"] == ["EC", "gateway", True]
    assert result["exported"] == [True] * 3
    assert result["job"] == [[f"gateway-{number}.example.com", "done"] for number in range(3)]
    assert result["statuses"] == ["revoked"] * 3
