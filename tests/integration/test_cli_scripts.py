"""``script/server``, ``script/test`` and ``.ci/run`` (RUN-3)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [("script/server", "sh"), ("script/test", "sh"), ("script/openssl35", "sh"), (".ci/run", "bash")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder, with a space in its name, that looks like a clone."""
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT / "script", folder / "script")
    for name in ("setup.cfg", "pyproject.toml", "config.ini"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return path


def run(script: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script)],
        cwd="/",
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(("name", "shell"), SCRIPTS)
def test_syntax(name: str, shell: str) -> None:
    """POSIX shell for what people run; executable; no absolute path of a machine."""
    path = ROOT / name
    subprocess.run([shell, "-n", str(path)], check=True)
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("script", ["server", "test"])
def test_python_is_missing(checkout: Path, tmp_path: Path, script: str) -> None:
    """RUN-3: says which package is missing."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "dirname", "cksum"):
        os.symlink(str(shutil.which(name)), tools / name)
    program(tools, "python3", "exit 1\n")
    done = run(checkout / "script" / script, PATH=str(tools))
    assert done.returncode == 1
    assert done.stderr == (
        "Python 3.11 or newer is missing; on Debian and Ubuntu: apt-get install python3 python3-venv\n"
    )


def test_the_python_that_is_named_is_too_old(checkout: Path, tmp_path: Path) -> None:
    python = program(tmp_path / "old", "python2", "exit 1\n")
    done = run(checkout / "script" / "server", PYTHON=str(python))
    assert done.returncode == 1
    assert done.stderr == f"PYTHON={python} is no Python 3.11 or newer; name another one\n"


def test_venv_is_missing(checkout: Path, tmp_path: Path) -> None:
    """Debian ships venv in a package of its own."""
    python = program(tmp_path / "bare", "python3", 'case "$2" in *ensurepip*) exit 1;; esac\n')
    done = run(checkout / "script" / "server", PYTHON=str(python))
    assert done.returncode == 1
    assert done.stderr == "the package python3-venv is missing; on Debian and Ubuntu: apt-get install python3-venv\n"


def test_what_is_installed_is_not_installed_again(checkout: Path, tmp_path: Path) -> None:
    """A second start is quick: pip runs when setup.cfg has changed, or the folder was moved."""
    calls = tmp_path / "calls"
    tool = program(tmp_path / "tool", "tool", "printf '[HTTPS]\\tport\\t8443\\tfile\\n'\n")
    venv = (
        f'echo "$@" >>"{calls}"\n'
        'if [ "$2" = venv ]; then\n'
        '  mkdir -p .venv/bin && cp "$0" .venv/bin/python\n'
        f"  cp '{tool}' .venv/bin/pikachu && cp '{tool}' .venv/bin/twistd\n"
        "fi\n"
    )
    python = program(tmp_path / "fake", "python3", venv)
    server = checkout / "script" / "server"

    def installations() -> int:
        calls.write_text("")
        done = run(server, PYTHON=str(python))
        assert done.returncode == 0, done.stderr
        assert "Pikachu CA: https://localhost:8443/" in done.stdout.splitlines()
        return sum("pip install" in line for line in calls.read_text().splitlines())

    assert installations() == 1
    assert installations() == 0
    with (checkout / "setup.cfg").open("a") as stream:
        stream.write("\n")
    assert installations() == 1
    moved = checkout.with_name("moved")
    checkout.rename(moved)
    server = moved / "script" / "server"
    assert installations() == 1
