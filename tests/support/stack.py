"""All rooms below HTTP as the server builds them, without threads: a database in a file, a clock that tests move.

Everything is done at once, so every Deferred has fired when it is returned (``result_of`` reads it).
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from twisted.internet.task import Clock
from twisted.web.resource import IResource

from pikachu.ca.issuance import IssuanceRequest
from pikachu.ca.issuers import IssuingCA
from pikachu.config.configuration import Configuration
from pikachu.config.loading import load
from pikachu.core.lint_interfaces import ICertificateLinter
from pikachu.core.model.certificates import CertificateRecord, Method, RevocationReason, StatusChange
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.requests import NewRequest
from pikachu.core.revocation_message_interfaces import IBroker
from pikachu.http.fast_path import FastPath
from pikachu.http.request import Limits, Site
from pikachu.server.admission import CredentialsCheck
from pikachu.server.application import Application, Pools
from pikachu.server.composition import SafetySettings, build
from pikachu.server.pools import immediate_pools
from pikachu.signers.ca_keys import KeySource
from pikachu.storage.migrate import migrate
from pikachu.storage.store import Store, open_store
from pikachu.x509.extension import Extension
from pikachu.x509.names import COMMON_NAME, build_name, parse_name
from pikachu.x509.profile import Addresses, leaf_extensions
from pikachu.x509.spki import describe_spki
from tests.support.connections import Plain
from tests.support.deferreds import result_of
from tests.support.issued_lint import check_issued
from tests.support.owners import add_owner
from tests.support.people import CHEAP
from tests.support.pki import Identity, PrivateKey, make_ca, make_key, make_leaf, spki

# The names that config.ini gives to issuing CAs, by the key types of ``tests.support.pki``.
ISSUER_NAMES: Final = {
    "p256": "ec",
    "p384": "ec",
    "rsa2048": "rsa",
    "mldsa44": "mldsa",
    "mldsa65": "mldsa",
    "mldsa87": "mldsa",
}
DEFAULT_EXTENSIONS: Final = """\
[ v3_ext ]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
"""

#: The settings of a mail server that does not answer.
MAIL_SERVER: Final = {
    ("SMTP", "enabled"): "true",
    ("SMTP", "host"): "127.0.0.1",
    ("SMTP", "port"): "1",
    ("SMTP", "security"): "none",
    ("SMTP", "sender"): "pikachu@example.com",
}

#: No test in memory cuts the power or guesses passwords, and few need the process of pkilint, which takes a second.
FAST: Final = SafetySettings(argon2=CHEAP, fsync=False, linter=lambda: None)

Changes = Mapping[tuple[str, str], str]


@functools.cache
def _empty_database() -> bytes:
    """A database without rows: migrations take longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.sqlite"
        migrate(f"sqlite:///{path}")
        return path.read_bytes()


@dataclass
class Files:
    """Files like those of ``pikachu init``, in one folder.

    :ivar root: the root, which has issued all of *issuers* (by name: ``ec``, ``rsa``, ``mldsa``).
    :ivar config: the path of ``config.ini``.
    """

    folder: Path
    root: Identity
    issuers: dict[str, Identity]
    config: Path

    def load(self) -> Configuration:
        """The configuration."""
        return load(self.config, os.environ)


def make_files(
    folder: Path,
    key_types: Iterable[str] = ("p256",),
    *,
    root_key_type: str = "p256",
    root_key: bool = True,
    changes: Changes | None = None,
) -> Files:
    """Keys, certificates, an empty database and ``config.ini``.

    :param key_types: of the issuing CAs, at most one of each family; the first is ``[CA] mode``.
    :param root_key: whether the root's key is here too; else the root is offline.
    :param changes: (section, key) → text of further settings; they win over those made here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    root = make_ca(root_key_type, "Test root", path_length=1, slot=10)
    issuers: dict[str, Identity] = {}
    settings: dict[tuple[str, str], str] = {
        ("DEFAULT", "secret_key_file"): "secret_key",
        ("DEFAULT", "listen"): "127.0.0.1",
        ("CA", "ROOT_CERT_PATH"): "root.crt",
        ("HTTPS", "ssl_cert"): "https.crt",
        ("HTTPS", "ssl_key"): "https.key",
        ("PATHS", "crl_path"): "crl/ca.crl",
        ("PATHS", "server_ext_cfg"): "server_ext.cnf",
        ("PATHS", "validity_conf"): "validity.conf",
        ("PATHS", "db_path"): "pikachu.sqlite",
        ("CRL", "crl_delay"): "0.5s",
    }
    root.write(folder, "root")
    if root_key:
        settings["CA", "ROOT_KEY_PATH"] = "root.key"
    for slot, key_type in enumerate(key_types, 11):
        name = ISSUER_NAMES[key_type]
        settings.setdefault(("CA", "mode"), name.upper())
        issuer = make_ca(key_type, f"Test {name} CA", issuer=root, path_length=0, slot=slot)
        issuer.write(folder, name)
        (folder / f"{name}-chain.crt").write_bytes(issuer.chain_pem)
        settings["CA", f"SUBCA_KEY_PATH_{name.upper()}"] = f"{name}.key"
        settings["CA", f"SUBCA_CERT_PATH_{name.upper()}"] = f"{name}.crt"
        settings["CA", f"CHAIN_FILE_PATH_{name.upper()}"] = f"{name}-chain.crt"
        issuers[name] = issuer
    https = make_leaf(next(iter(issuers.values())), "localhost", sans=["DNS:localhost", "IP:127.0.0.1"])
    https.write(folder, "https")
    (folder / "https.crt").write_bytes(https.pem + (https.issuer.pem if https.issuer else b""))
    (folder / "secret_key").write_text("0f6c1d2e9a8b74650f6c1d2e9a8b7465\n", encoding="ascii")
    (folder / "secret_key").chmod(0o600)
    (folder / "server_ext.cnf").write_text(DEFAULT_EXTENSIONS, encoding="utf-8")
    (folder / "validity.conf").write_text("365\n", encoding="ascii")
    (folder / "pikachu.sqlite").write_bytes(_empty_database())
    settings.update(changes or {})
    sections: dict[str, list[str]] = {}
    for (section, key), text in settings.items():
        sections.setdefault(section, []).append(f"{key} = {text}\n")
    config = folder / "config.ini"
    config.write_text("".join(f"[{name}]\n{''.join(lines)}\n" for name, lines in sections.items()), encoding="utf-8")
    return Files(folder, root, issuers, config)


@dataclass(frozen=True)
class Leaf:
    """A certificate that was issued here, with its key."""

    record: CertificateRecord
    key: PrivateKey

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.record.der

    @property
    def serial(self) -> int:
        """Its serial number."""
        return self.record.serial


@dataclass
class Stack:
    """A core, and short ways to use it.

    :ivar changes: the changes that the store has published.
    """

    files: Files
    app: Application
    clock: Clock
    changes: list[StatusChange] = field(default_factory=list)

    def issuer(self, name: str | None = None) -> IssuingCA:
        """The current issuing CA of that name; the default one."""
        return self.app.issuers.default if name is None else self.app.issuers.named(name)

    def issue(
        self,
        common_name: str = "device.example.com",
        *,
        ca: str | None = None,
        days: int = 30,
        key: PrivateKey | None = None,
        key_type: str = "p256",
        owner_id: int | None = None,
        addresses: Addresses | None = None,
        extensions: Iterable[Extension] = (),
    ) -> Leaf:
        """A new certificate, issued as the RA would have it done.

        :param addresses: for AIA and CDP.
        :param extensions: of the policy.
        """
        add_owner(self.app.store, result_of, owner_id, self.app.authority.now())
        issuer = self.issuer(ca)
        key = key or make_key(key_type, 1)
        described = describe_spki(spki(key))
        subject = parse_name(build_name([(COMMON_NAME, common_name)]))
        policy = self.app.policies.default
        made = leaf_extensions(
            policy=tuple(extensions),
            requested_names=None,
            subject_der=subject.der,
            key=described,
            issuer=issuer.certificate,
            addresses=addresses,
        )
        order = IssuanceRequest(
            issuer=issuer, policy=policy, subject=subject, key=described, extensions=made, days=days
        )
        request = NewRequest(
            method=Method.EST,
            csr=b"",
            subject=subject.text,
            key_type=described.text,
            key_id=described.key_id,
            policy=policy.name,
            issuer=issuer.name,
            principal="test",
            owner_id=owner_id,
            created_at=self.app.authority.now(),
        )
        return Leaf(result_of(self.app.authority.issue(request, order, {})), key)

    def revoke(self, leaf: Leaf | int, reason: RevocationReason = RevocationReason.UNSPECIFIED) -> CertificateRecord:
        """Revoke a certificate, or a serial."""
        serial = leaf if isinstance(leaf, int) else leaf.serial
        return result_of(self.app.authority.revoke(serial, reason, SYSTEM))

    def release(self, leaf: Leaf) -> CertificateRecord:
        """Release from hold."""
        return result_of(self.app.authority.release(leaf.serial, SYSTEM))

    def delete(self, leaf: Leaf) -> None:
        """Delete from the lists."""
        result_of(self.app.authority.delete(leaf.record, SYSTEM))

    def site(self, resource: IResource, quick: FastPath | None = None, limits: Limits | None = None) -> Site:
        """A site over *resource*."""
        admission = CredentialsCheck(self.app.authenticator, self.app.sessions)
        return Site(resource, self.clock, limits, quick, admission=admission)

    def close(self) -> None:
        """As the server when it ends; nothing that was issued has an error of lint (LNT-1)."""
        check_issued(self.app, self.clock.seconds())
        self.app.publisher.stop()
        if self.app.directory is not None:
            self.app.directory.stop()
        result_of(self.app.store.close())

    def restart(self) -> Stack:
        """End, and begin again with the same files at the same time."""
        self.close()
        return open_stack(self.files, self.clock)


def open_stack(
    files: Files,
    clock: Clock | None = None,
    *,
    pools: Pools | None = None,
    process: str = "test",
    warn: Callable[[str], None] | None = None,
    wrap_store: Callable[[Store], Any] | None = None,
    sources: Mapping[str, KeySource] | None = None,
    broker: IBroker | None = None,
    linter: Callable[[], ICertificateLinter | None] = FAST.linter,
) -> Stack:
    """A core over *files*.

    :param clock: shows the real time when it is none.
    :param warn: called with each warning; without it a warning fails the test.
    :param wrap_store: returns the store that the core uses, such as one that fails.
    :param sources: what keeps keys, in place of what the configuration names.
    :param broker: the connection with an MQTT broker.
    :param linter: as in :class:`SafetySettings`.
    """
    if clock is None:
        clock = Clock()
        clock.advance(int(time.time()))
    if pools is None:
        pools = immediate_pools()

    def refuse(text: str) -> None:
        raise AssertionError(f"unexpected warning: {text}")

    def open_wrapped(*args: Any, **kwargs: Any) -> Any:
        store = open_store(*args, **kwargs)
        return store if wrap_store is None else wrap_store(store)

    safety = replace(FAST, open_store=open_wrapped, broker=lambda *_: broker, linter=linter)
    if sources is not None:
        safety = replace(safety, key_sources=lambda *_: sources)
    app = build(files.load(), clock, pools, None, process, warn or refuse, safety)
    stack = Stack(files, app, clock)
    app.store.subscribe(stack.changes.extend)
    return stack


def build_core(
    folder: Path,
    clock: Clock | None = None,
    key_types: Iterable[str] = ("p256",),
    *,
    root_key_type: str = "p256",
    root_key: bool = True,
    changes: Changes | None = None,
    pools: Pools | None = None,
    wrap_store: Callable[[Store], Any] | None = None,
) -> Stack:
    """A complete stack in *folder*; see :func:`make_files` and :func:`open_stack`.  Close it."""
    files = make_files(folder, key_types, root_key_type=root_key_type, root_key=root_key, changes=changes)
    return open_stack(files, clock, pools=pools, wrap_store=wrap_store)


@dataclass(frozen=True)
class Response:
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes, *, head: bool = False) -> Response:
        """Read one answer that must be the only one in *raw*, with a length unless it has no body."""
        top, separator, body = raw.partition(b"\r\n\r\n")
        assert separator, f"no whole header in {raw[:200]!r}"
        line, *fields = top.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for text in fields:
            name, _, value = text.partition(": ")
            twice = name.lower() in {known.lower() for known in headers}
            assert name.lower() == "set-cookie" or not twice, f"{name} stands twice"
            headers[name] = value
        status = int(line.split(" ")[1])
        if head:
            assert body == b""
        elif status not in (204, 304) and headers.get("Transfer-Encoding") != "chunked":
            assert int(headers["Content-Length"]) == len(body), top
        return cls(status, headers, body, raw)


def ask(
    site: Any,
    clock: Clock,
    target: str | bytes,
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    version: str = "1.1",
) -> Response:
    """Send one request on a connection of its own, and give the answer.

    :param target: of the request line, as it is.
    """
    path = target.encode("ascii") if isinstance(target, str) else target
    fields = {"Host": "ca.example.org", **(headers or {})}
    if body or method in ("POST", "PUT"):
        fields.setdefault("Content-Length", str(len(body)))
    top = b"%s %s HTTP/%s\r\n" % (method.encode("ascii"), path, version.encode("ascii"))
    top += b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in fields.items())
    connection = Plain(site, clock)
    connection.deliver(top + b"\r\n" + body)
    raw = connection.received()
    for _ in range(2000):
        clock.advance(0)
        more = connection.received()
        if not more:
            break
        raw += more
    hang_up: Any = connection.transport
    hang_up.loseConnection()
    return Response.parse(raw, head=method == "HEAD")
