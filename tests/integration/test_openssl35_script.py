"""``script/openssl35``: where the programs come from, and what is left when that fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.interop import require
from tests.support.server import ROOT

ARCHIVE = "http://mirror.example.org/debian"
ONE_LINE = f"deb {ARCHIVE} SUITE main contrib\ndeb http://security.example.org/debian SUITE-security main\n"
DEB822 = f"Types: deb\nURIs: {ARCHIVE}\nSuites: SUITE SUITE-updates\nComponents: main\n"


def os_release() -> Mapping[str, str]:
    """Return the fields of ``/etc/os-release``."""
    lines = Path("/etc/os-release").read_text("utf-8").splitlines()
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


@dataclass
class Machine:
    """A machine whose openssl, curl, mmdebstrap and apt sources are the test's."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "bin").mkdir()
        (self.folder / "sources.list.d").mkdir()
        (self.folder / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{self.folder}/sources.list";\n'
            f'Dir::Etc::sourceparts "{self.folder}/sources.list.d";\n'
        )
        self.program("openssl", "echo OpenSSL 3.0.17")
        self.program("curl", "echo curl 7.88.1 libcurl/7.88.1 OpenSSL/3.0.17")
        self.program("mmdebstrap", f'printf "%s\\n" "$@" >{self.folder}/arguments; echo no network; exit 1')

    def program(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        environment = {
            **os.environ,
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "APT_CONFIG": str(self.folder / "apt.conf"),
            "PIKACHU_OPENSSL35": str(self.cache / "openssl35"),
        }
        return subprocess.run(
            [str(ROOT / "script" / "openssl35")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.interop
@pytest.mark.parametrize(
    ("name", "text"), [("sources.list", ONE_LINE), ("sources.list.d/debian.sources", DEB822)], ids=["list", "deb822"]
)
@pytest.mark.parametrize("suite", ["CODENAME", "stable", "oldstable"])
def test_the_archive_is_the_machines_own(machine: Machine, name: str, text: str, suite: str) -> None:
    """Sources are read in both formats; nothing half-made is left when they can't be reached."""
    require("apt-get")
    release = os_release()
    if release["ID"] != "debian":
        pytest.skip("this machine is not Debian")
    (machine.folder / name).write_text(text.replace("SUITE", suite).replace("CODENAME", release["VERSION_CODENAME"]))
    done = machine.run()
    assert done.returncode == 1
    assert "no network" in done.stderr
    source = (machine.folder / "arguments").read_text().splitlines()[-1]
    assert f"] {ARCHIVE} trixie main" in source
    assert [one.name for one in machine.cache.iterdir()] == ["openssl35.lock"]


@pytest.mark.interop
def test_other_archives_are_tried_too(machine: Machine) -> None:
    """Another project's archive may name Debian's release, and come first."""
    require("apt-get")
    release = os_release()
    if release["ID"] != "debian":
        pytest.skip("this machine is not Debian")
    sources = ONE_LINE.replace("SUITE", release["VERSION_CODENAME"])
    (machine.folder / "sources.list").write_text(sources.replace(ARCHIVE, "http://a.example.org/other") + sources)
    machine.program("mmdebstrap", f'for last; do :; done; echo "$last" >>{machine.folder}/arguments; exit 1')
    assert machine.run().returncode == 1
    tried = (machine.folder / "arguments").read_text()
    assert "] http://a.example.org/other trixie main\n" in tried
    assert f"] {ARCHIVE} trixie main\n" in tried


def test_without_a_source(machine: Machine) -> None:
    """Apt sources without a Debian archive give one line of error."""
    require("apt-get")
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr == "openssl35: the apt sources of this machine name no archive of Debian\n"
    assert not (machine.folder / "arguments").exists()


def test_nothing_is_done_where_the_programs_are_new(machine: Machine) -> None:
    """The machine's own are taken."""
    machine.program("openssl", "echo OpenSSL 3.5.1")
    machine.program("curl", "echo curl 8.14.1 libcurl/8.14.1 OpenSSL/3.5.1")
    done = machine.run()
    assert done.returncode == 0
    assert not machine.cache.exists()
    # One of them alone will not do.
    machine.program("curl", "echo curl 7.88.1 libcurl/7.88.1 OpenSSL/3.0.17")
    assert machine.run().returncode == 1
