"""OpenLDAP's server for tests, on the loopback interface, with a few people in it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.interop import require
from tests.support.pki import Identity, make_ca, make_leaf
from tests.support.ports import free_ports
from tests.support.server import wait_until

BASE: Final = "dc=example,dc=org"
PEOPLE: Final = f"ou=people,{BASE}"
ADMIN_GROUP: Final = f"cn=ca-admins,ou=groups,{BASE}"
#: The password of every person, and of the account that looks them up.
PASSWORD: Final = "correct horse 9"
SERVICE_DN: Final = f"cn=pikachu,{BASE}"
SERVICE_PASSWORD: Final = "service secret 7"
SLAPD: Final = shutil.which("slapd") or "/usr/sbin/slapd"

_CONFIGURATION: Final = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile {folder}/slapd.pid
sizelimit unlimited
{tls}
database mdb
suffix "{base}"
rootdn "cn=root,{base}"
rootpw root-secret
directory {folder}/data
dbnosync
overlay memberof
memberof-group-oc groupOfNames
overlay ppolicy
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{service}" read by anonymous auth by * none
"""
_ENTRIES: Final = f"""\
dn: {BASE}
objectClass: organization
objectClass: dcObject
o: Example
dc: example

dn: {SERVICE_DN}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: pikachu
userPassword: {SERVICE_PASSWORD}

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups
"""


def person(uid: str, common_name: str | None = None, *, mail: str | None = None, password: str = PASSWORD) -> str:
    """Return the LDIF of a person."""
    dn = f"uid={uid},{PEOPLE}"
    lines = [f"dn: {dn}", "objectClass: inetOrgPerson", f"cn: {common_name or uid}", "sn: x", f"uid: {uid}"]
    lines += [f"mail: {mail or f'{uid}@example.org'}", f"userPassword: {password}"]
    return "\n".join(lines) + "\n"


class Slapd:
    """A directory.

    :ivar ca: the CA of its TLS certificate, which is in *ca_path*, too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.tls_port = free_ports(2)
        self.ca = make_ca("p256", "Directory CA", slot=20)
        self.ca_path = folder / "directory-ca.crt"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True)
        self.ca_path.write_bytes(self.ca.pem)
        make_leaf(self.ca, "localhost", sans=["DNS:localhost", "IP:127.0.0.1"]).write(folder, "slapd")
        tls = "\n".join(
            f"TLS{name} {folder}/{file}"
            for name, file in (
                ("CACertificateFile", "directory-ca.crt"),
                ("CertificateFile", "slapd.crt"),
                ("CertificateKeyFile", "slapd.key"),
            )
        )
        self._write_configuration(tls)
        entries = [person("dora"), person("emil"), person("jörg", "Jörg Müller", mail="joerg@example.org")]
        (folder / "init.ldif").write_text("\n".join((_ENTRIES, *entries)), encoding="utf-8")
        run = [SLAPD, "-T", "add", "-q", "-f", f"{folder}/slapd.conf", "-l", f"{folder}/init.ldif"]
        subprocess.run(run, check=True, capture_output=True, timeout=60)

    def _write_configuration(self, tls: str) -> None:
        text = _CONFIGURATION.format(folder=self.folder, tls=tls, base=BASE, service=SERVICE_DN)
        (self.folder / "slapd.conf").write_text(text, encoding="utf-8")

    def restart(self, leaf: Identity | None = None) -> None:
        """Restart it, with another certificate if there is one."""
        self.stop()
        if leaf is not None:
            leaf.write(self.folder, "slapd")
        self.start()

    def refuse_tls(self) -> None:
        """Have neither StartTLS nor LDAPS from the next start on."""
        self._write_configuration("")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        urls = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        log = (self.folder / "slapd.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [SLAPD, "-f", str(self.folder / "slapd.conf"), "-h", urls, "-d", "0"], stdout=log, stderr=log
            )
        wait_until(self._answers, "slapd does not listen")

    def _answers(self) -> bool:
        url = f"ldap://127.0.0.1:{self.port}"
        done = subprocess.run(
            ["ldapwhoami", "-x", "-H", url, "-D", SERVICE_DN, "-w", SERVICE_PASSWORD], capture_output=True, check=False
        )
        return done.returncode == 0

    def pause(self) -> None:
        """Stop answering, with connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)

    def add(self, ldif: str) -> None:
        """Add entries."""
        self.modify(ldif, "-a")

    def modify(self, ldif: str, *options: str) -> None:
        """Apply changes in LDIF."""
        url = f"ldap://127.0.0.1:{self.port}"
        subprocess.run(
            ["ldapmodify", *options, "-x", "-H", url, "-D", f"cn=root,{BASE}", "-w", "root-secret"],
            input=ldif.encode(),
            check=True,
            capture_output=True,
            timeout=30,
        )

    def delete(self, dn: str) -> None:
        """Delete an entry."""
        self.modify(f"dn: {dn}\nchangetype: delete\n")

    def add_group(self, dn: str, *members: str) -> None:
        """Add a group with these members' DNs."""
        lines = [f"dn: {dn}", "objectClass: groupOfNames", *(f"member: {one}" for one in members)]
        self.add("\n".join(lines) + "\n")

    def settings(self, **changes: str) -> dict[tuple[str, str], str]:
        """Return the settings of ``[LDAP]`` for this directory, with *changes*."""
        settings = {
            "enabled": "true",
            "LDAP_HOST": "127.0.0.1",
            "LDAP_PORT": str(self.port),
            "BASE_DN": BASE,
            "PEOPLE_DN": PEOPLE,
            "ADMIN_DN": SERVICE_DN,
            "ADMIN_PASSWORD": SERVICE_PASSWORD,
            **changes,
        }
        return {("LDAP", key): text for key, text in settings.items()}


@contextmanager
def running_slapd(folder: Path | None = None) -> Iterator[Slapd]:
    """Run a directory; skips the test where slapd is not installed."""
    require(SLAPD, "ldapmodify")
    with tempfile.TemporaryDirectory() as made:
        directory = Slapd(folder or Path(made))
        try:
            directory.start()
            yield directory
        finally:
            directory.stop()
