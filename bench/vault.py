"""The row about enrolling with a key in Vault, and OpenBao as the home of a CA's key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from bench.enrollment import each, est_load
from bench.figures import Figure, median_of
from bench.load import Load
from bench.messages import est_requests, p256_requests
from bench.openbao import PROGRAM, missing_openbao
from bench.place import Place, pikachu
from bench.run import Run
from bench.server import Program
from tests.support.ports import free_port

_PEER = "OpenBao's transit/sign"
_TOKEN = "root"
_CONNECTIONS = 32
# Of a digest of 32 bytes.
_SIGN = {"input": "A" * 43 + "=", "prehashed": True, "marshaling_algorithm": "asn1"}


@contextmanager
def vault_place(run: Run, certificates: int = 0) -> Iterator[tuple[Place, int]]:
    """A CA that has issued so many, whose EC key is in OpenBao's transit engine, and OpenBao's port."""
    folder, port = run.folder("openbao"), free_port()
    folder.mkdir()
    token = folder / "token"
    token.write_text(f"{_TOKEN}\n")
    options = ["-dev", "-dev-no-store-token", f"-dev-root-token-id={_TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
    with Program([str(PROGRAM), "server", *options], folder) as vault:
        vault.wait_for_answer(port, b"GET /v1/sys/health HTTP/1.1\r\nHost: localhost\r\n\r\n", b'"sealed":false')
        place = run.place(certificates)
        text = place.config.read_text()
        section = f"[VAULT]\naddress = http://127.0.0.1:{port}\ntransit_key_rsa = none\n"
        place.config.write_text(text + section)
        output = pikachu(place.config, "vault", "setup", "--token-file", str(token))
        pikachu(place.config, "vault", "import", "ec", "--token-file", str(token))
        credentials = "\n".join(re.findall(r"^(?:role_id|secret_id) = .*$", output, re.MULTILINE))
        place.config.write_text(f"{text}{section}enabled = true\nsigner = transit\n{credentials}\n")
        yield place, port


def measure_vault(run: Run) -> list[Figure]:
    """EST where a transit key of OpenBao signs, next to OpenBao's own signatures with that key."""
    work = "EST enroll, P-256, key in OpenBao, durable"
    note = missing_openbao()
    if note:
        return [Figure("vault", work, None, "/s", least=0.5, note=note)]
    with vault_place(run) as (place, port):
        body = json.dumps(_SIGN).encode()
        head = f"POST /v1/transit/sign/pikachu-ec/sha2-256 HTTP/1.1\r\nHost: localhost\r\nX-Vault-Token: {_TOKEN}\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        signatures = Load(port, [request], _CONNECTIONS, 1_000_000, 60.0, expect=b"vault:v1:")
        count, repeats = run.sizes.enrollments, run.sizes.repeats
        with run.server(place):
            run.load(est_load(place.https, est_requests(p256_requests(2, "first"), place.basic)))
            batches = [est_requests(p256_requests(count, f"vault{batch}"), place.basic) for batch in range(repeats)]
            loads = [est_load(place.https, batch) for batch in batches]
            ours, theirs = median_of(repeats, each(run, loads), lambda: run.load(signatures).rate)
    return [Figure("vault", work, ours, "/s", theirs, _PEER, least=0.5)]
