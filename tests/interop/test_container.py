"""The files of `deploy/container`: linters of other projects, and every command and port in them (OPS-1).

No image is built here: machines of tests reach no registry of images.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from pikachu.agent.settings import load_settings
from pikachu.cli.main import parser
from pikachu.config.loading import load
from tests.support.server import ROOT

FOLDER = ROOT / "deploy" / "container"
PROGRAMS = Path(sys.executable).parent
# What docs/deployment.md has the operator make.
PREPARED = ("./config.ini", "./mqtt/", "./secrets/")
pytestmark = pytest.mark.interop


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAMS / program), *arguments], check=False, capture_output=True, text=True, timeout=120, cwd=FOLDER
    )


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services of the compose file, with what they take from anchors."""
    return dict(yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"])


def test_hadolint() -> None:
    """The linter finds nothing, not even what is worth a note."""
    done = _run("hadolint", "--failure-threshold", "info", "Containerfile")
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_something(tmp_path: Path) -> None:
    """An image that runs as root from any version is found."""
    path = tmp_path / "Containerfile"
    path.write_text("FROM debian\nUSER root\nCMD echo\n")
    assert _run("hadolint", str(path)).returncode == 1


def test_schema(tmp_path: Path) -> None:
    """The compose file fits the schema of the Compose specification, and one with a wrong key does not."""
    done = _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text("services: {ca: {image: x, read_onyl: true}}\n")
    assert _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(wrong)).returncode == 1


def _commands(services: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Every command of this program, in both files."""
    text = (FOLDER / "Containerfile").read_text("utf-8")
    found = [re.findall(r'"([^"]*)"', line) for line in re.findall(r"^ *CMD (\[.*\])$", text, re.MULTILINE)]
    for service in services.values():
        found.append(list(service.get("command", [])))
        found.append(list(service.get("healthcheck", {}).get("test", []))[1:])
    return [command for command in found if command and command[0] in ("pikachu", "twistd")]


def test_commands(services: dict[str, dict[str, Any]]) -> None:
    """Each is one that the program accepts, with the configuration in the volume or the agent's."""
    commands = _commands(services)
    assert len(commands) >= 4
    for program, *arguments in commands:
        if program == "pikachu":
            parsed = parser().parse_args(arguments)
            assert callable(parsed.run)
            config = parsed.config
        else:
            assert arguments[:-1] == ["--nodaemon", "--pidfile=", "pikachu", "--config"]
            config = arguments[-1]
        assert config in ("/var/lib/pikachu/config.ini", "/etc/pikachu-agent/agent.ini")


def test_ports(services: dict[str, dict[str, Any]]) -> None:
    """The image's and the compose file's ports are those of the shipped configuration."""
    shipped = {one.port for one in load(ROOT / "config.ini", {}).listeners}
    exposed = re.search(r"^EXPOSE (.*)$", (FOLDER / "Containerfile").read_text("utf-8"), re.MULTILINE)
    assert exposed
    assert {int(port) for port in exposed[1].split()} == shipped
    assert {int(port.rpartition(":")[2]) for port in services["ca"]["ports"]} <= shipped


def test_copied_files_exist() -> None:
    """The build gets what it installs and nothing else: neither keys nor databases."""
    allowed = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert all((ROOT / name).exists() for name in allowed)
    assert "config.ini" not in allowed
    assert "*" in (ROOT / ".dockerignore").read_text("utf-8").splitlines()


def test_hardening(services: dict[str, dict[str, Any]]) -> None:
    """No service has a capability, a root file system that can be written, or root's account."""
    text = (FOLDER / "Containerfile").read_text("utf-8")
    user = re.search(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert user
    assert int(user[1]) > 0
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert str(service.get("user", user[1])).partition(":")[0] != "0", name
        assert "privileged" not in service
        # Secrets are files.
        assert "environment" not in service


def test_names(services: dict[str, dict[str, Any]]) -> None:
    """Volumes, secrets and services that are named exist."""
    whole = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert set(service.get("secrets", [])) <= set(whole["secrets"])
        for volume in service.get("volumes", []):
            source = shlex.split(volume)[0].partition(":")[0]
            assert source in whole["volumes"] or source.startswith(PREPARED) or (FOLDER / source).is_file(), volume
        if (pid := service.get("pid", "")).startswith("service:"):
            assert pid.partition(":")[2] in services


def _mounted(whole: dict[str, Any], service: str) -> set[str]:
    """The paths in a container that come from outside, and of its folders."""
    entry = whole["services"][service]
    volumes = {str(volume).split(":")[1] for volume in entry["volumes"]}
    return volumes | {f"/run/secrets/{name}" for name in entry.get("secrets", [])}


def test_broker() -> None:
    """Broker and agent name the same files, each of which its container has; both have one account, as signals need."""
    whole = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    services = whole["services"]
    lines = (FOLDER / "mosquitto" / "mosquitto.conf").read_text("utf-8").splitlines()
    broker = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    settings, warnings = load_settings(FOLDER / "mosquitto" / "agent.ini", {})
    first, more_warnings = load_settings(FOLDER / "mosquitto" / "first_crl.ini", {})
    assert not warnings + more_warnings
    assert str(settings.crl_file) == str(first.crl_file) == broker["crlfile"]
    assert str(settings.section.pid_file) == broker["pid_file"]
    assert first.section.pid_file is None
    assert settings.broker is not None
    assert (settings.broker.host, str(settings.broker.port)) == ("broker", broker["listener"])
    assert services["broker"]["ports"] == [f"{broker['listener']}:{broker['listener']}"]
    named = {"broker": [broker[key] for key in ("cafile", "certfile", "keyfile", "crlfile", "acl_file", "pid_file")]}
    for service, one in (("agent", settings), ("first_crl", first)):
        section = one.section
        files = (section.ca_certificates, section.crl_file, section.mqtt_ca_cert, section.mqtt_client_cert)
        named[service] = [str(path) for path in (*files, section.mqtt_client_key, section.pid_file) if path]
    for service, paths in named.items():
        mounted = _mounted(whole, service)
        assert [path for path in paths if not mounted & {path, str(Path(path).parent)}] == [], service
    text = (FOLDER / "Containerfile").read_text("utf-8")
    assert f"USER {services['broker']['user']}" in text
    assert services["broker"]["init"] is True
    assert services["agent"]["pid"] == "service:broker"
    assert {urlsplit(url).netloc for url in (*settings.section.crl_urls, *first.section.crl_urls)} == {"ca:8080"}
    assert {"crl", "run"} <= set(whole["volumes"])


def test_every_service_tells_its_health(services: dict[str, dict[str, Any]]) -> None:
    """A service that stays has a health check, and one that ends is waited for."""
    for name, service in services.items():
        if service["restart"] == "no":
            waited = [
                other["depends_on"][name]["condition"]
                for other in services.values()
                if name in other.get("depends_on", {})
            ]
            assert waited == ["service_completed_successfully"]
        else:
            assert service["healthcheck"]["test"][0] == "CMD"
