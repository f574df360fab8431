"""OCSP while the issuing key, which signs its answers, can't be used."""

from __future__ import annotations

from pathlib import Path

from pikachu.core.errors import SignerUnavailable
from tests.protocols.ocsp.server import OCSPServer
from tests.support import ocsp
from tests.support.key_source import SCHEME, MemoryKeySource
from tests.support.stack import Leaf, make_files, open_stack


def test_known_answers_are_sent_as_long_as_they_are_valid(tmp_path: Path) -> None:
    """Past half of their validity they are renewed; where that fails, they are sent again, but never a wrong one."""
    files = make_files(tmp_path, changes={("OCSP", "ocsp_delegated"): "false", ("OCSP", "ocsp_validity"): "4d"})
    source = MemoryKeySource({"ec": files.issuers["ec"].key})
    (files.folder / "ec.key").write_text("memory:ec\n", encoding="ascii")
    stack = open_stack(files, sources={SCHEME: source})
    try:
        server = OCSPServer(stack)
        known, revoked, new = (stack.issue(name) for name in ("known", "revoked", "new"))

        def ask(leaf: Leaf, *extensions: bytes) -> bytes:
            return server.post(ocsp.request(server.cert_id(leaf), extensions=extensions)).body

        def status(leaf: Leaf) -> str:
            return ocsp.verify(ask(leaf), stack.issuer().certificate, stack.app.authority.now()).status

        assert status(known) == status(revoked) == "good"
        source.failure = SignerUnavailable("The token is away.")
        stack.clock.advance(3 * 86400)
        assert status(known) == "good"
        stack.revoke(revoked)
        bodies = (ask(revoked), ask(new), ask(known, ocsp.nonce_extension(b"a nonce")))
        assert [ocsp.status_of(body) for body in bodies] == [ocsp.TRY_LATER] * 3
        stack.clock.advance(2 * 86400)
        assert ocsp.status_of(ask(known)) == ocsp.TRY_LATER
        source.failure = None
        assert (status(known), status(revoked)) == ("good", "revoked")
    finally:
        stack.close()
