"""The role of `deploy/ansible`: its linter, and a run on this machine, without systemd (OPS-1)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.ports import free_ports
from tests.support.server import ROOT

FOLDER = ROOT / "deploy" / "ansible"
PROGRAMS = Path(sys.executable).parent
PLAYBOOKS = ("install", "upgrade", "backup", "restore", "rotate-tls", "status")
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(1500)]


def _environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_CONFIG": str(FOLDER / "ansible.cfg"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "PYTHONPATH": str(home.with_name("dependencies")),
    }


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy outside of the repository: the linter writes beside what it reads."""
    shutil.copytree(FOLDER, tmp_path / "deploy" / "ansible")
    shutil.copytree(ROOT / "deploy" / "systemd", tmp_path / "deploy" / "systemd")
    return tmp_path / "deploy" / "ansible"


def _lint(folder: Path, what: str = ".") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAMS / "ansible-lint"), "--offline", "--nocolor", "--profile", "production", what],
        cwd=folder,
        env=_environment(folder / "home"),
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_lint(copy: Path) -> None:
    """ansible-lint finds nothing in its strictest profile, which includes the check of the syntax."""
    done = _lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stem for path in FOLDER.glob("*.yml")} == {*PLAYBOOKS, "inventory"}


def test_lint_finds_something(copy: Path) -> None:
    """A task that changes something at each run is found."""
    path = copy / "roles" / "pikachu" / "tasks" / "status.yml"
    path.write_text(path.read_text().replace("  changed_when: false\n", "", 1))
    done = _lint(copy, str(path.relative_to(copy)))
    assert done.returncode == 2
    assert "no-changed-when" in done.stdout


def test_units_and_commands() -> None:
    """The role installs units that exist, and their paths are the role's defaults."""
    tasks = (FOLDER / "roles" / "pikachu" / "tasks" / "units.yml").read_text()
    units = re.findall(r"pikachu[\w-]*\.(?:service|timer)", tasks)
    assert units
    defaults = yaml.safe_load((FOLDER / "roles" / "pikachu" / "defaults" / "main.yml").read_text())
    for unit in units:
        text = (ROOT / "deploy" / "systemd" / unit).read_text()
        assert defaults["pikachu_program"] in text or unit.endswith(".timer")
    service = (ROOT / "deploy" / "systemd" / "pikachu.service").read_text()
    for replaced in ("/opt/pikachu/bin", "/etc/pikachu/config.ini", "/var/lib/pikachu", "User=pikachu"):
        assert replaced in service


@dataclass
class Machine:
    """This machine with a prefix of the test's own."""

    folder: Path
    wheel: Path
    ports: dict[str, int] = field(default_factory=dict)

    def play(self, playbook: str, *options: str, code: int = 0, **variables: Any) -> str:
        """Run a playbook; its output."""
        done = subprocess.run(
            [
                *(str(PROGRAMS / "ansible-playbook"), "--inventory", str(self.folder / "inventory.yml")),
                *(*options, "--extra-vars", json.dumps(variables), str(FOLDER / f"{playbook}.yml")),
            ],
            env=_environment(self.folder / "home"),
            check=False,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def pikachu(self, *arguments: str) -> str:
        """Run a command of the installed program."""
        line = [str(self.folder / "program" / "bin" / "pikachu"), *arguments, "--config", str(self.config)]
        done = subprocess.run(
            line,
            env=_environment(self.folder / "home"),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def config(self) -> Path:
        """The configuration that the role has written."""
        return self.folder / "state" / "ca" / "config.ini"

    @property
    def backups(self) -> list[Path]:
        """The backups on the server."""
        return sorted((self.folder / "state" / "backups").glob("*.backup"))


def changes(output: str) -> int:
    """The number of changed tasks."""
    found = re.search(r"changed=(\d+) .*failed=0", output)
    assert found, output
    return int(found[1])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """This machine, with a wheel of this source and an inventory."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
            *("--wheel-dir", str(tmp_path / "wheels"), str(_source(tmp_path))),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    wheel = next((tmp_path / "wheels").glob("*.whl"))
    _link_dependencies(tmp_path / "dependencies")
    ports = dict(zip(("http", "scep", "https", "trusted"), free_ports(4), strict=True))
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    variables: Mapping[str, Any] = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "pikachu_become": False,
        "pikachu_manage_user": False,
        "pikachu_install_packages": False,
        "pikachu_user": os.getuid(),
        "pikachu_group": os.getgid(),
        "pikachu_wheel": str(wheel),
        # Dependencies are those of this environment (see _environment); tests/test_packaging.py installs them.
        "pikachu_pip_arguments": "--no-deps",
        "pikachu_python": sys.executable,
        "pikachu_program": str(tmp_path / "program"),
        "pikachu_releases": str(tmp_path / "releases"),
        "pikachu_state": str(tmp_path / "state"),
        "pikachu_service_manager": "command",
        "pikachu_listen": "127.0.0.1",
        **{f"pikachu_{name}_port": port for name, port in ports.items()},
        "pikachu_hostnames": ["localhost"],
        "pikachu_init_arguments": ["--rsa-bits", "2048"],
        "pikachu_backup_passphrase_file": str(passphrase),
    }
    (tmp_path / "inventory.yml").write_text(json.dumps({"pikachu": {"hosts": {"localhost": variables}}}))
    machine = Machine(tmp_path, wheel, ports)
    yield machine
    if machine.config.exists():
        machine.pikachu("stop")


def _link_dependencies(folder: Path) -> None:
    """A folder with what this environment has, but for this source."""
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "pikachu" not in path.name and path.suffix != ".pth":
            (folder / path.name).symlink_to(path)


def _source(folder: Path) -> Path:
    """A copy of what the wheel is built from: the build writes into its folder."""
    source = folder / "source"
    source.mkdir()
    for name in ("pikachu", "templates", "twisted", "docs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "MANIFEST.in", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    return source


def _variant(wheel: Path, version: str, edits: Mapping[str, Callable[[str], str]]) -> Path:
    """Write the wheel again with another version and with edited files; a name that it lacks is a new file."""
    name, former, rest = wheel.name.split("-", 2)
    made = wheel.with_name(f"{name}-{version}-{rest}")
    info = f"{name}-{former}.dist-info"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w") as target:
        contents = {path: source.read(path) for path in source.namelist()}
        for path, edit in edits.items():
            contents[path] = edit(contents.get(path, b"").decode()).encode()
        contents["pikachu/__init__.py"] = f'__version__ = "{version}"\n'.encode()
        metadata = contents[f"{info}/METADATA"].decode()
        contents[f"{info}/METADATA"] = metadata.replace(f"\nVersion: {former}\n", f"\nVersion: {version}\n").encode()
        rows = [f"{path.replace(info, f'{name}-{version}.dist-info')},," for path in contents]
        contents[f"{info}/RECORD"] = "\n".join(rows).encode()
        for path, content in contents.items():
            target.writestr(path.replace(info, f"{name}-{version}.dist-info"), content)
    return made


def test_from_nothing(machine: Machine) -> None:
    """Installed, unchanged by a second run, enrolled, with another TLS certificate, backed up and upgraded."""
    assert changes(machine.play("install", "--check")) > 0
    assert not machine.config.exists()
    assert changes(machine.play("install")) > 0
    assert changes(machine.play("install")) == 0
    assert "database" in machine.play("status")
    machine.pikachu("issue", "--subject", "CN=device-1.example.com")
    certificate = machine.config.with_name("var") / "pki" / "https.crt"
    before = certificate.read_bytes()
    machine.play("rotate-tls")
    assert certificate.read_bytes() != before
    newer = _variant(machine.wheel, "99.1", {})
    machine.play("upgrade", pikachu_wheel=str(newer), pikachu_backup_fetch=str(machine.folder / "fetched"))
    assert "99.1" in machine.pikachu("version")
    assert [path.name for path in (machine.folder / "fetched").iterdir()] == [path.name for path in machine.backups]
    assert "database" in machine.play("status")


def _next_schema(text: str) -> str:
    """Append a version to the schema's."""
    return re.sub(r"(?m)^(VERSIONS: .*)\)$", r'\1, "9999")', text)


@pytest.mark.soak
def test_failures(machine: Machine) -> None:
    """The CA runs as before after a failed upgrade, also after a migration; a backup never replaces a running CA.

    A version that fails before it changes anything, one that does not start, and one that has migrated the database.
    """
    machine.play("install")
    head = re.findall(r'"(\d{4})"', (ROOT / "pikachu" / "storage" / "migrate.py").read_text("utf-8").split("HEAD:")[0])[
        -1
    ]
    migration = f'revision = "9999"\ndown_revision = "{head}"\n\n\ndef upgrade() -> None:\n    """Change nothing."""\n'
    unstartable = {"pikachu/server/tap.py": lambda _: 'raise SystemExit("does not start")\n'}
    migrating = {
        "pikachu/storage/migrate.py": _next_schema,
        "pikachu/storage/migrations/versions/9999_test.py": lambda _: migration,
    }
    cases: tuple[tuple[str, Mapping[str, Callable[[str], str]], str], ...] = (
        ("99.1", {"pikachu/cli/main.py": lambda _: "raise SystemExit(3)\n"}, "Ask the new version"),
        ("99.2", unstartable, "The database is as it was"),
        ("99.3", {**unstartable, **migrating}, "The database had been migrated"),
    )
    for number, (version, edits, message) in enumerate(cases):
        machine.pikachu("issue", "--subject", f"CN=device-{number}.example.com")
        wheel = str(_variant(machine.wheel, version, edits))
        output = machine.play("upgrade", code=2, pikachu_wheel=wheel, pikachu_ready_timeout=4)
        assert message in output
        assert version not in machine.pikachu("version")
        assert "current" in machine.pikachu("migrate", "--check")
        assert f"device-{number}.example.com" in machine.pikachu("report", "certificates")
        machine.pikachu("health")
    machine.play("backup")
    newest = str(machine.backups[-1])
    assert "A server runs" in machine.play("restore", code=2, pikachu_restore_file=newest)
    newer = str(_variant(machine.wheel, "99.4", migrating))
    machine.play("upgrade", pikachu_wheel=newer)
    machine.pikachu("issue", "--subject", "CN=later.example.com")
    machine.pikachu("stop")
    assert changes(machine.play("restore", "--check", pikachu_restore_file=newest)) > 0
    machine.play("restore", pikachu_restore_file=newest)
    machine.pikachu("health")
    assert len(list(machine.config.parent.parent.glob("ca.replaced-*"))) == 2
    assert "later.example.com" not in machine.pikachu("report", "certificates")
    assert changes(machine.play("upgrade", pikachu_wheel=newer)) == 0
