"""Scripts that enroll the devices of a batch over EST, as a zip (ENR-1)."""

from __future__ import annotations

import io
import re
import shlex
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pikachu.core.model.people import BoundNames
from pikachu.web.ui.client_commands import PKCS7, PKCS10
from pikachu.web.ui.device_commands import Enrollment, powershell_script, request_configuration
from pikachu.x509.names import parse_name

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_FOLDER: Final = 60
# A fixed time, so that the same batch gives the same file.
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_README: Final = """Enrollment scripts of the batch "{label}"

Each folder is for one device. Give a folder to its device only: request.cnf contains the device's challenge password,
which can be used once, until {expires}.

On the device, run enroll.sh (needs openssl and curl): it creates device.key, and stores the certificate in device.crt.
Or run enroll.ps1 in PowerShell 7.3 or later: it trusts root.crt, and stores key and certificate in device.pfx.

Compare the fingerprint of root.crt with the one that your administrator tells you.
"""
_KEY: Final = "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout device.key -config request.cnf"


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a batch.

    :param names: with a subject; openssl ignores the challenge password of a request without one.
    :param password: its challenge password.
    """

    names: BoundNames
    password: str = field(repr=False)


def scripts_zip(label: str, expires: str, url: str, root_pem: bytes, devices: Iterable[Device]) -> bytes:
    """Return a zip with a folder for each device: its request.cnf, enroll.sh and enroll.ps1.

    :param expires: when the challenge passwords expire.
    :param url: base URL of the HTTPS server.
    :param root_pem: the certificates that the scripts trust.
    """
    buffer, enroll = io.BytesIO(), f"{url}/.well-known/est/simpleenroll"
    folders: set[str] = set()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "README.txt", _README.format(label=label, expires=expires))
        _add(archive, "root.crt", root_pem.decode("ascii"))
        for device in devices:
            folder = _folder(device.names, folders)
            _add(archive, f"{folder}/root.crt", root_pem.decode("ascii"))
            _add(archive, f"{folder}/request.cnf", f"{request_configuration(device.names, device.password)}\n")
            _add(archive, f"{folder}/enroll.sh", _shell(enroll), mode=0o755)
            _add(archive, f"{folder}/enroll.ps1", _powershell(device, enroll))
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, text: str, mode: int = 0o600) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = mode << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, text.encode("utf-8"))


def _folder(names: BoundNames, taken: set[str]) -> str:
    """Return the name of a device's folder, which no other device has, also where case does not count."""
    text = parse_name(names.subject_der).common_name
    base = _UNSAFE.sub("_", text)[:_MAX_FOLDER].strip("._") or "device"
    name, number = base, 2
    while name.lower() in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name.lower())
    return name


def _shell(url: str) -> str:
    return f"""#!/bin/sh
# Enrolls this device: creates a key and a CSR, and stores the certificate in device.crt.
set -eu
umask 077
cd "$(dirname "$0")"
[ -e device.csr ] || openssl {_KEY} -out device.csr
curl --fail --silent --show-error --cacert root.crt {PKCS10} --data-binary @device.csr \\
    {shlex.quote(url)} |
    {PKCS7} -out device.crt
echo "The certificate is in device.crt."
"""


def _powershell(device: Device, url: str) -> str:
    script = powershell_script(Enrollment(device.names, device.password), url)
    return f"$ErrorActionPreference = 'Stop'\nSet-Location $PSScriptRoot\n{script}\n"
