"""Builds wheel, tar.gz, checksums and SBOM of the last commit; see ``script/dist``."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAME = "pikachu-ca"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?[^;]*(?:;\s*(.*))?")


def main(target: Path) -> None:
    """Build everything into *target*; files of earlier builds of the same version are replaced."""
    epoch = int(_git("log", "-1", "--format=%ct"))
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        source, output = Path(temporary, "source"), Path(temporary, "output")
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(source, filter="data")
        output.mkdir()
        wheel = _build(source, output, "wheel", epoch)
        sdist = _build(source, output, "sdist", epoch)
        contents = {wheel.name: wheel.read_bytes(), sdist.name: _normalized(sdist, epoch)}
    version = wheel.name.split("-")[1]
    contents[f"{NAME}-{version}.cdx.json"] = _sbom(version, contents[wheel.name], epoch)
    sums = "".join(f"{_digest(content)}  {name}\n" for name, content in contents.items())
    contents[f"{NAME}-{version}.sha256"] = sums.encode()
    for name, content in contents.items():
        (target / name).write_bytes(content)
        print(target / name)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _build(source: Path, output: Path, kind: str, epoch: int) -> Path:
    """Build one package and return its path."""
    before = set(output.iterdir())
    code = f"import setuptools.build_meta as build; build.build_{kind}({str(output)!r})"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    subprocess.run(command, cwd=source, env=environment, check=True, stdout=subprocess.DEVNULL)
    (made,) = set(output.iterdir()) - before
    return made


def _normalized(sdist: Path, epoch: int) -> bytes:
    """Return a tar.gz with sorted members, one time, and no owners."""
    packed = io.BytesIO()
    with (
        tarfile.open(sdist) as old,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=epoch) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            clean = tarfile.TarInfo(member.name)
            clean.type, clean.linkname, clean.size, clean.mtime = member.type, member.linkname, member.size, epoch
            clean.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(clean, old.extractfile(member) if member.isreg() else None)
    return packed.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sbom(version: str, wheel: bytes, epoch: int) -> bytes:
    """Return a CycloneDX 1.5 document with the required packages, in the versions that this build was tested with."""
    depends: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    _collect(NAME, depends, versions)
    versions[NAME] = version
    components = [_component(name, "library", versions) for name in sorted(depends) if name != NAME]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, _digest(wheel))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                **_component(NAME, "application", versions),
                "hashes": [{"alg": "SHA-256", "content": _digest(wheel)}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": _purl(name, versions), "dependsOn": [_purl(one, versions) for one in sorted(depends[name])]}
            for name in sorted(depends)
        ],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _collect(name: str, depends: dict[str, list[str]], versions: dict[str, str], extras: Iterable[str] = ()) -> None:
    """Add a package and all that it needs; what is not needed on this platform is not installed, and left out."""
    found = distribution(name)
    versions[name] = found.version
    needed = depends.setdefault(name, [])
    for requirement in found.requires or ():
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            continue
        other = re.sub(r"[-_.]+", "-", match[1]).lower()
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", match[3] or "")
        if (extra and extra[1] not in extras) or other in needed:
            continue
        try:
            distribution(other)
        except PackageNotFoundError:
            continue
        needed.append(other)
        if other not in depends:
            _collect(other, depends, versions, [one.strip() for one in (match[2] or "").split(",")])


def _component(name: str, kind: str, versions: dict[str, str]) -> dict[str, object]:
    purl = _purl(name, versions)
    return {"type": kind, "bom-ref": purl, "name": name, "version": versions[name], "purl": purl}


def _purl(name: str, versions: dict[str, str]) -> str:
    return f"pkg:pypi/{name}@{versions[name]}"


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
