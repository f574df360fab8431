"""Issuing CAs whose keys a key source keeps: issuance, outages, rotation (HSM-1, VLT-4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pikachu.ca.bootstrap import RootFiles
from pikachu.ca.rotation import Rotation, RotationFiles, complete
from pikachu.core.errors import ConfigError, SignerUnavailable
from pikachu.http.tree import Tree
from pikachu.server.downloads import download_tree
from pikachu.signers.references import KeyReference, read_reference
from tests.protocols.ocsp.server import OCSPServer
from tests.support import ocsp
from tests.support.deferreds import result_of
from tests.support.est import EST, est_site
from tests.support.key_source import SCHEME, MemoryKeySource
from tests.support.lint import check_certificate, check_chain
from tests.support.pki import make_csr
from tests.support.stack import Stack, ask, make_files, open_stack

AWAY = SignerUnavailable("The token is away. Plug it in.", retry_after=9)


@dataclass
class Elsewhere:
    """A CA whose key is elsewhere."""

    stack: Stack
    source: MemoryKeySource

    @property
    def files(self) -> RotationFiles:
        """Its files."""
        files = self.stack.app.generations.files("ec")
        assert files is not None
        return files

    def rotation(self) -> Rotation:
        """A rotation."""
        app = self.stack.app
        return Rotation(self.files, app.ca_keys, app.authority.now(), print)

    def root(self) -> RootFiles:
        """The root's files."""
        folder = self.stack.files.folder
        return RootFiles(folder / "root.key", folder / "root.crt")

    def switch(self) -> bytes:
        """Rotate at once; the new key identifier."""
        app, rotation = self.stack.app, self.rotation()
        rotation.certify(self.root(), 100, None)
        coming = rotation.load()
        result_of(app.generations.link(app.authority, "ec", coming, None))
        rotation.announce(app.authority.now())
        assert complete(self.files, app.ca_keys, app.authority.now(), print)
        result_of(app.generations.update(app.issuers))
        return coming.certificate.key_identifier


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    """A server whose key file is a reference file."""
    files = make_files(tmp_path / "ca")
    source = MemoryKeySource({"ec": files.issuers["ec"].key})
    (files.folder / "ec.key").write_text("# in a token\nmemory:ec\n", encoding="ascii")
    stack = open_stack(files, sources={SCHEME: source})
    stack.app.publisher.begin()
    yield Elsewhere(stack, source)
    stack.close()


def test_signs_elsewhere(elsewhere: Elsewhere) -> None:
    """Certificates, CRLs and the CA's own OCSP answers are signed by the source; nothing is asked at start."""
    stack = elsewhere.stack
    leaf = stack.issue()
    check_certificate(leaf.der, stack.issuer().chain)
    assert elsewhere.source.signatures > 0
    before = elsewhere.source.signatures
    stack.revoke(leaf)
    result_of(stack.app.publisher.make(stack.issuer()))
    assert elsewhere.source.signatures > before


def test_started_while_it_is_away(tmp_path: Path) -> None:
    """The server starts, says what is wrong, refuses to issue, and goes on by itself when the key is back."""
    files = make_files(tmp_path / "ca")
    source = MemoryKeySource({"ec": files.issuers["ec"].key}, failure=AWAY)
    (files.folder / "ec.key").write_text("memory:ec\n", encoding="ascii")
    stack = open_stack(files, sources={SCHEME: source})
    try:
        est = EST(stack, est_site(stack))
        est.account("alice")
        _, csr = make_csr()
        answer = est.enroll(csr, user="alice")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "9")
        assert b"The token is away" in answer.body
        tree = Tree()
        for name, resource in download_tree(stack.app, {}).items():
            tree.putChild(name, resource)
        ready = json.loads(ask(stack.site(tree), stack.clock, "/readyz").body)
        assert (ready["checks"][SCHEME], ready["messages"][SCHEME]) == ("unavailable", AWAY.public)
        source.failure = None
        assert est.enroll(csr, user="alice").status == 200
        stack.clock.advance(11)
        ready = json.loads(ask(stack.site(tree), stack.clock, "/readyz").body)
        assert ready["checks"][SCHEME] == "ok"
    finally:
        stack.close()


def test_known_answers_stay(elsewhere: Elsewhere) -> None:
    """OCSP has a responder of its own, so it goes on for every certificate while nothing can be issued."""
    stack = elsewhere.stack
    leaf = stack.issue()
    result_of(stack.app.responder.prepare())
    elsewhere.source.failure = AWAY
    server = OCSPServer(stack)
    answer = server.post(ocsp.request(server.cert_id(leaf)))
    assert ocsp.verify(answer.body, stack.issuer().certificate, stack.app.authority.now()).status == "good"
    with pytest.raises(SignerUnavailable):
        stack.issue("another")


def test_rotation(elsewhere: Elsewhere) -> None:
    """VLT-4: the next key is made in the same source; references move with the files, and every generation signs."""
    stack, old = elsewhere.stack, elsewhere.stack.issuer()
    identifier = elsewhere.switch()
    new = stack.issuer()
    assert (new.key_identifier, set(elsewhere.source.keys)) == (identifier, {"ec", "ec-2"})
    check_chain(new.certificate.der, [stack.files.root.der])
    files = elsewhere.files
    assert read_reference(files.ca.key, "the setting") == KeyReference(SCHEME, "ec-2")
    (former,) = files.former()
    assert read_reference(former.key, "the setting") == KeyReference(SCHEME, "ec")
    assert len(new.rollover) == 2
    # Both generations sign after a restart, and the next rotation follows the newest.
    elsewhere.stack = again = open_stack(stack.files, stack.clock, sources={SCHEME: elsewhere.source})
    try:
        again.app.publisher.begin()
        for issuer in again.app.issuers.all():
            if issuer.name == "ec":
                result_of(again.app.publisher.make(issuer))
        assert again.app.issuers.by_key_identifier(old.key_identifier) is not None
        elsewhere.switch()
        assert set(elsewhere.source.keys) == {"ec", "ec-2", "ec-3"}
    finally:
        again.close()
        elsewhere.stack = stack


def test_killed_before_the_key_was_made(elsewhere: Elsewhere) -> None:
    """The reference is written first, so the next run makes the key of that name, and no other."""
    elsewhere.source.failure = AWAY
    with pytest.raises(SignerUnavailable):
        elsewhere.rotation().key()
    assert read_reference(elsewhere.files.next.key, "the setting") == KeyReference(SCHEME, "ec-2")
    elsewhere.source.failure = None
    first = elsewhere.rotation().request().read_bytes()
    assert set(elsewhere.source.keys) == {"ec", "ec-2"}
    assert elsewhere.rotation().request().read_bytes() == first


def test_named_by_another_setting(tmp_path: Path) -> None:
    """Where no file stands at SUBCA_KEY_PATH, a setting names the first key; a rotation writes its reference."""
    files = make_files(tmp_path / "ca")
    source = MemoryKeySource({"ec": files.issuers["ec"].key})
    stack = open_stack(files, sources={SCHEME: source})
    try:
        (files.folder / "ec.key").unlink()
        held = stack.app.generations.files("ec")
        assert held is not None
        ca = RotationFiles(replace(held.ca, reference=KeyReference(SCHEME, "ec")))
        rotation = Rotation(ca, stack.app.ca_keys, stack.app.authority.now(), print)
        rotation.certify(RootFiles(files.folder / "root.key", files.folder / "root.crt"), None, None)
        assert read_reference(ca.ca.key, "the setting") == KeyReference(SCHEME, "ec")
        assert read_reference(ca.next.key, "the setting") == KeyReference(SCHEME, "ec-2")
    finally:
        stack.close()


def test_key_file_in_the_way(tmp_path: Path) -> None:
    """A key file can't become a reference file; the operator moves it away."""
    files = make_files(tmp_path / "ca")
    source = MemoryKeySource({"ec": files.issuers["ec"].key})
    stack = open_stack(files, sources={SCHEME: source})
    try:
        held = stack.app.generations.files("ec")
        assert held is not None
        rotation = Rotation(
            RotationFiles(replace(held.ca, reference=KeyReference(SCHEME, "ec"))),
            stack.app.ca_keys,
            stack.app.authority.now(),
            print,
        )
        with pytest.raises(ConfigError, match="move the file away"):
            rotation.key()
    finally:
        stack.close()


@pytest.mark.parametrize("text", ["pkcs11:object=ec", "nowhere:x"])
def test_no_such_source(tmp_path: Path, text: str) -> None:
    """A reference to a source that isn't configured is refused at start, by one line."""
    files = make_files(tmp_path / "ca")
    (files.folder / "ec.key").write_text(f"{text}\n", encoding="ascii")
    with pytest.raises(ConfigError, match="no key source") as caught:
        open_stack(files)
    assert "SUBCA_KEY_PATH_EC" in str(caught.value)
