"""The document about directories: its commands lead to a sign-in with OpenLDAP's slapd (USR-5)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.interop import require
from tests.support.ports import free_ports
from tests.support.server import TWISTD, environment

pytestmark = pytest.mark.interop


@pytest.mark.slow
def test_the_guide_leads_to_a_sign_in(tmp_path: Path) -> None:
    """The commands of docs/ldap.md work as they stand there; only the ports are other ones."""
    require("slapd", "slapadd", "curl", "openssl")
    root = Path(__file__).parents[2]
    commands = "\n".join(re.findall(r"^```sh\n(.*?)^```$", (root / "docs" / "ldap.md").read_text("utf-8"), re.M | re.S))
    ports = dict(zip(("10389", "8080", "8443", "4443", "8090"), map(str, free_ports(5)), strict=True))
    edit = " ".join(f"-e 's/^\\(.*port = \\){old}$/\\1{new}/'" for old, new in ports.items())
    sample = "pikachu config --sample > config.ini"
    assert sample in commands
    for old, new in ports.items():
        commands = commands.replace(f":{old}", f":{new}").replace(f"= {old}", f"= {new}")
    commands = commands.replace(sample, f"{sample}\nsed -i {edit} -e 's/^;listen =.*/listen = 127.0.0.1/' config.ini")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pikachu").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from pikachu.cli.main import run; run()" "$@"\n', encoding="utf-8"
    )
    (programs / "pikachu").chmod(0o755)
    (programs / "twistd").symlink_to(TWISTD)
    environ = {**environment(), "PATH": f"{programs}:{os.environ['PATH']}:/usr/sbin"}
    try:
        finished = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", commands],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        _end_daemons(tmp_path)
    assert finished.returncode == 0, (finished.stdout, finished.stderr)
    assert "localhost: works" in finished.stdout
    assert "password   right" in finished.stdout
    assert "subject=CN = dora-laptop" in finished.stdout or "subject=CN=dora-laptop" in finished.stdout
    assert re.search(r"\tdora\tdora@example.org\tadmin\tactive\tldap\t", finished.stdout)


def _end_daemons(folder: Path) -> None:
    """Kill the servers that were started with files of *folder*; both have become daemons."""
    for one in psutil.process_iter(["cmdline", "cwd"]):
        command = one.info["cmdline"] or ()
        if (one.info["cwd"] == str(folder) and "twistd" in " ".join(command)) or f"{folder}/" in " ".join(command):
            one.kill()
