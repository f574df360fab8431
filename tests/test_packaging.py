"""The wheel and the tar.gz: their content, and a working installation from each (OPS-7)."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from pikachu import __version__

ROOT = Path(__file__).parents[1]
SOURCES = (
    *("pikachu", "twisted", "templates", "script", "docs"),
    *("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CONTRIBUTING.md", "SECURITY.md"),
)


class Packages(NamedTuple):
    """The packages built, and the names of the files in them."""

    wheel: Path
    wheel_names: frozenset[str]
    sdist: Path
    sdist_names: frozenset[str]


def build(source: Path, output: Path, kind: str) -> Path:
    code = f"import setuptools.build_meta as build; build.build_{kind}({str(output)!r})"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=source,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    (made,) = output.iterdir()
    return made


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    folder = tmp_path_factory.mktemp("packages")
    source = folder / "source"
    source.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in (*SOURCES, "config.ini", "tests"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    for kind in ("wheel", "sdist"):
        (folder / kind).mkdir()
    wheel = build(source, folder / "wheel", "wheel")
    sdist = build(source, folder / "sdist", "sdist")
    with zipfile.ZipFile(wheel) as archive:
        wheel_names = frozenset(archive.namelist())
    with tarfile.open(sdist) as tar:
        sdist_names = frozenset(one.name.partition("/")[2] for one in tar.getmembers() if one.isfile())
    return Packages(wheel, wheel_names, sdist, sdist_names)


def expected() -> set[str]:
    """Every file of the program: its modules, and what else lies among them, templates included."""
    folders = [ROOT / "pikachu", ROOT / "twisted"]
    found = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    found |= {ROOT / "pikachu" / path.relative_to(ROOT) for path in (ROOT / "templates").rglob("*") if path.is_file()}
    guide = ROOT / "docs" / "guide"
    found |= {ROOT / "pikachu" / "guide" / path.name for path in (*guide.glob("*.md"), *guide.glob("*.pdf"))}
    found |= {ROOT / "pikachu" / "guide" / "drawings" / path.name for path in guide.glob("drawings/*.svg")}
    return {
        str(path.relative_to(ROOT))
        for path in found
        if "__pycache__" not in path.parts and path.name not in ("dropin.cache", ".gitkeep")
    }


def test_the_wheel_has_the_program_and_nothing_else(packages: Packages) -> None:
    """Modules, migrations, templates and the twistd plugin; no tests."""
    metadata = {name for name in packages.wheel_names if ".dist-info/" in name}
    assert packages.wheel_names - metadata == expected()
    assert "twisted/plugins/pikachu_plugin.py" in packages.wheel_names
    assert "pikachu/guide/01-getting-started.md" in packages.wheel_names
    assert not [name for name in packages.wheel_names if name.startswith(("tests", "bench"))]
    assert packages.wheel.name.startswith(f"pikachu_ca-{__version__}-py3-none-any")


def test_the_tar_has_what_the_wheel_is_made_of(packages: Packages, tmp_path: Path) -> None:
    """A wheel from the tar.gz is the same."""
    assert {"config.ini", "README.md", "script/server", "setup.cfg", "pyproject.toml"} <= packages.sdist_names
    assert {"CONTRIBUTING.md", "SECURITY.md", "docs/errors.md", "docs/adr/README.md"} <= packages.sdist_names
    assert not [name for name in packages.sdist_names if name.startswith(("tests", "bench"))]
    (tmp_path / "wheel").mkdir()
    with tarfile.open(packages.sdist) as tar:
        tar.extractall(tmp_path, filter="data")
    wheel = build(tmp_path / packages.sdist.name.removesuffix(".tar.gz"), tmp_path / "wheel", "wheel")
    with zipfile.ZipFile(wheel) as archive:
        assert frozenset(archive.namelist()) == packages.wheel_names


@pytest.mark.slow
def test_distributions_are_reproducible(tmp_path: Path) -> None:
    """OPS-7: two builds of a commit, in different folders, are the same byte for byte; checksums and SBOM are true."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    folders = [tmp_path / "one", tmp_path / "another" / "folder"]
    ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for folder in folders[:1]:
        folder.mkdir()
        for name in (*SOURCES, "config.ini"):
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
            else:
                shutil.copy(ROOT / name, folder / name)
        for command in (("init", "--quiet"), ("add", "--all", "--force"), (*identity, "commit", "--quiet", "-m", "x")):
            subprocess.run(["git", *command], cwd=folder, check=True)
    subprocess.run(["git", "clone", "--quiet", folders[0], folders[1]], check=True)
    made = []
    for folder in folders:
        script = [sys.executable, "script/build_distribution.py", "made"]
        subprocess.run(script, cwd=folder, check=True, capture_output=True)
        made.append({one.name: one.read_bytes() for one in (folder / "made").iterdir()})
    assert made[0] == made[1]
    stem = f"pikachu-ca-{__version__}"
    packed = f"pikachu_ca-{__version__}"
    assert set(made[0]) == {
        *(f"{packed}-py3-none-any.whl", f"{packed}.tar.gz"),
        *(f"{stem}.cdx.json", f"{stem}.sha256"),
    }
    sums = made[0].pop(f"{stem}.sha256").decode().splitlines()
    assert sums == [f"{hashlib.sha256(made[0][line[66:]]).hexdigest()}  {line[66:]}" for line in sums]
    assert len(sums) == 3
    sbom = json.loads(made[0][f"{stem}.cdx.json"])
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    names = {one["name"] for one in sbom["components"]}
    assert names >= {"twisted", "cryptography", "sqlalchemy", "pyopenssl", "service-identity"}
    assert not names & {"pytest", "mypy", "psycopg", "playwright"}
    refs = {one["bom-ref"] for one in (*sbom["components"], sbom["metadata"]["component"])}
    assert refs == {one["ref"] for one in sbom["dependencies"]}
    assert refs >= {ref for one in sbom["dependencies"] for ref in one["dependsOn"]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_what_is_installed_works(packages: Packages, tmp_path: Path, kind: str) -> None:
    """OPS-7: installed from the wheel alone, or from the tar.gz, init makes a CA and twistd knows pikachu."""
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", fresh], check=True)
    python = fresh / "bin" / "python"
    (site,) = fresh.glob("lib/python*/site-packages")
    # What Pikachu needs is there already; the checkout is not: .pth files are not read a second time.
    (site / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install"]
    package = packages.wheel if kind == "wheel" else packages.sdist
    # The tar.gz is built with the setuptools that is there.
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    subprocess.run([*pip, *options, str(package)], check=True)

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    where = run(str(python), "-c", "import pikachu; print(pikachu.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    pikachu = str(fresh / "bin" / "pikachu")
    assert __version__ in run(pikachu, "version")
    (tmp_path / "config.ini").write_text(run(pikachu, "config", "--sample"))
    assert "made  var/pki/root.key" in run(pikachu, "init", "--rsa-bits", "2048")
    twistd = run(str(python), "-c", "from twisted.scripts.twistd import run; run()", "--help")
    assert [line for line in twistd.splitlines() if line.split()[:1] == ["pikachu"]]
