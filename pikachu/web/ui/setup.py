"""The set-up checklist (``/setup``): each step with what to do for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.operations.setup_checklist import SetupChecklist
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.server_location import ServerLocations
from pikachu.x509.certificate import Certificate

_FILE: Final = "pikachu-root.crt"


@dataclass(frozen=True, slots=True)
class System:
    """How an operating system or a browser takes a root certificate.

    :param commands: to copy, one after the other.
    :param about: what to do where there is no command.
    """

    name: str
    commands: tuple[str, ...] = ()
    about: str = ""


class SetupPages(Pages):
    """``/setup``.

    :param root: the root certificate; ``None`` where it is not configured.
    """

    def __init__(self, *, checklist: SetupChecklist, root: Certificate | None, locations: ServerLocations) -> None:
        self._checklist = checklist
        self._root = root
        self._locations = locations

    @page("GET", "/setup", audience=Audience.ADMIN)
    async def show(self, visit: PageRequest) -> PageReply:
        """Show all steps."""
        location = self._locations.of(visit)
        host = visit.host.rpartition(":")[0] or visit.host
        context = {
            "setup": await self._checklist.state(visit.principal),
            "secrets": self._checklist.secrets(visit.principal),
            "root": self._root,
            "fingerprint": "" if self._root is None else fingerprint(self._root.der),
            "systems": systems(location.http or location.https),
            "proposed_url": location.http or f"http://{host}",
        }
        return HtmlPage("setup/page.html", context)

    @page("POST", "/setup/<name>/confirm", audience=Audience.ADMIN)
    async def confirm(self, visit: PageRequest) -> PageReply:
        """Confirm a step."""
        await self._checklist.confirm(visit.principal, visit.path["name"])
        return Redirect("/setup", "Step confirmed. This is recorded in the audit log.")

    @page("POST", "/setup/<name>/withdraw", audience=Audience.ADMIN)
    async def withdraw(self, visit: PageRequest) -> PageReply:
        """Withdraw the confirmation of a step."""
        await self._checklist.withdraw(visit.principal, visit.path["name"])
        return Redirect("/setup", "Step reopened.")

    @page("POST", "/setup/dismiss", audience=Audience.ADMIN)
    async def dismiss(self, visit: PageRequest) -> PageReply:
        """Take the checklist from the dashboard."""
        await self._checklist.dismiss(visit.principal, dismissed=True)
        return Redirect("/", "The set-up checklist is no longer shown here. You find it on the Config page.")

    @page("POST", "/setup/resume", audience=Audience.ADMIN)
    async def resume(self, visit: PageRequest) -> PageReply:
        """Put the checklist back on the dashboard."""
        await self._checklist.dismiss(visit.principal, dismissed=False)
        return Redirect("/setup", "The checklist is on the dashboard until all steps are done.")


def fingerprint(der: bytes) -> str:
    """Return the SHA-256 fingerprint of a certificate as browsers and openssl show it."""
    return hashlib.sha256(der).digest().hex(":").upper()


def systems(base: str) -> tuple[System, ...]:
    """Return the ways to trust the root certificate at *base*."""
    url = f"{base}/ca/root"
    insecure = " --insecure" if base.startswith("https:") else ""
    fetch = f"curl --fail{insecure} --output {_FILE} {url}.crt"
    compare = f"openssl x509 -in {_FILE} -noout -fingerprint -sha256"
    skip = " -SkipCertificateCheck" if insecure else ""
    return (
        System(
            "Debian, Ubuntu",
            (fetch, compare, f"sudo cp {_FILE} /usr/local/share/ca-certificates/", "sudo update-ca-certificates"),
        ),
        System(
            "Fedora, RHEL, Rocky",
            (fetch, compare, f"sudo cp {_FILE} /etc/pki/ca-trust/source/anchors/", "sudo update-ca-trust"),
        ),
        System(
            "Windows (PowerShell as administrator)",
            (
                f"Invoke-WebRequest{skip} -Uri {url}.cer -OutFile pikachu-root.cer",
                "(Get-FileHash pikachu-root.cer -Algorithm SHA256).Hash",
                r"Import-Certificate -FilePath pikachu-root.cer -CertStoreLocation Cert:\LocalMachine\Root",
            ),
        ),
        System(
            "macOS",
            (
                fetch,
                compare,
                "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain " + _FILE,
            ),
        ),
        System(
            "Chromium on Linux",
            (fetch, compare, f'certutil -d sql:"$HOME/.pki/nssdb" -A -t C,, -n "Pikachu root CA" -i {_FILE}'),
        ),
        System(
            "Firefox",
            about="Open Settings, Privacy & Security, View Certificates, Authorities, Import; choose the downloaded "
            "file and trust it to identify websites.",
        ),
        System(
            "iOS, Android",
            about="Open the download on the device and install the profile or CA certificate; on iOS, then turn it on "
            "under Settings, General, About, Certificate Trust Settings.",
        ),
    )
