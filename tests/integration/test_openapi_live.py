"""The OpenAPI document against the live routes (API-2): schemathesis makes requests of it, right and wrong ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.support.deferreds import result_of
from tests.support.server import Server, running_server

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
#: All but whether each request that the document allows is taken: no schema can say which names are free.  Wrong tokens
#: are tried by tests/web/test_api_authorization.py: here, their number locks the address for others.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> object:
    with running_server(tmp_path_factory.mktemp("openapi"), ("p256", "rsa2048")) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("phases", "examples"),
    [("examples,fuzzing", 3), pytest.param("examples,coverage,fuzzing", 50, marks=pytest.mark.soak)],
    ids=["sample", "soak"],
)
@pytest.mark.parametrize("role", list(Role))
def test_document_and_server_agree(server: Server, role: Role, phases: str, examples: int) -> None:
    """Every response is documented, none is a 500, and every operation needs its token."""
    with server.application() as app:
        # Ids that are tried first belong to nobody that is needed here.
        for number in range(20):
            name = f"{role.value}{number}"
            account = result_of(
                app.accounts.add_user(SYSTEM, name, "a@example.com", role, AccountState.ACTIVE, "password")
            )
            _, token = result_of(app.tokens.create(SYSTEM, account.id, "fuzz", None, 1))
    done = subprocess.run(
        [
            str(SCHEMATHESIS),
            "run",
            f"https://localhost:{server.ports['https']}/api/v1/openapi.json",
            "--tls-verify=false",
            f"--header=Authorization: Bearer {token}",
            f"--checks={','.join(CHECKS)}",
            f"--phases={phases}",
            f"--max-examples={examples}",
            "--generation-database=none",
            "--warnings=off",
            "--no-color",
        ],
        cwd=server.folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "internal error" not in server.log
