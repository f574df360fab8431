"""Pages of revocation and of the CAs (VA-1, UI-6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.cli.main import main
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.times import utc
from pikachu.core.recovery_interfaces import RecoveryDecision
from pikachu.x509.crl import assemble_crl, crl_entry, crl_pem, tbs_cert_list
from pikachu.x509.profile import Addresses
from tests.support.deferreds import result_of
from tests.support.pki import brought, make_ca
from tests.support.stack import Stack, build_core
from tests.support.visitor import Pages, make_pages, text_of


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    """Two issuing CAs below a root whose key is here."""
    stack = build_core(tmp_path, key_types=("p256", "rsa2048"))
    result_of(stack.app.publisher.begin())
    yield make_pages(stack)
    stack.close()


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Pages]:
    """The root's key is elsewhere."""
    stack = build_core(tmp_path / "offline", root_key=False)
    result_of(stack.app.publisher.begin())
    yield make_pages(stack)
    stack.close()


def revoked(stack: Stack, name: str, owner_id: int | None, minutes: int, **more: object) -> int:
    """The serial of a certificate that is revoked some minutes from now."""
    leaf = stack.issue(name, owner_id=owner_id, **more)  # type: ignore[arg-type]
    stack.clock.advance(60 * minutes)
    stack.revoke(leaf, RevocationReason.KEY_COMPROMISE)
    return leaf.serial


def test_revoked(pages: Pages) -> None:
    """VA-1: ID, subject, serial, date, reason; the newest first; users see their own."""
    owner = pages.accounts["alice"].id
    first = revoked(pages.stack, "first.example.com", owner, 0)
    revoked(pages.stack, "second.example.com", None, 5)
    revoked(pages.stack, "third.example.com", owner, 5, ca="rsa")
    pages.stack.issue("good.example.com", owner_id=owner)
    alice, root = pages.visitor("alice"), pages.visitor("root")

    def shown(text: str) -> list[str]:
        return [str(one) for one in re.findall(r">CN=(\w+)\.example\.com</a>", text)]

    text = alice.get("/va")
    assert shown(text) == ["third", "first"]
    assert "Key compromise" in text_of(text)
    assert f"{first:x}" in text
    assert ">User<" not in text
    assert shown(root.get("/va")) == ["third", "second", "first"]
    assert shown(root.get("/va?sort=revoked_at")) == ["first", "second", "third"]
    assert shown(root.get("/va?sort=common_name&limit=10")) == ["first", "second", "third"]
    assert shown(root.get("/va?issuer=rsa")) == ["third"]
    assert shown(root.get("/va?q=second")) == ["second"]
    assert f"{first:x}" in alice.get("/va?format=csv")


def test_crl(pages: Pages) -> None:
    """VA-1: *Download CRL*, and the decoded text, for everybody."""
    alice = pages.visitor("alice")
    text = alice.get("/va")
    assert 'href="/downloads/crl"' in text
    assert "Certificate Revocation List (CRL):" in text
    assert "No Revoked Certificates." in text
    assert "Nothing is revoked." in text
    serial = revoked(pages.stack, "device.example.com", None, 1)
    pages.stack.clock.advance(1)
    decoded = text_of(alice.get("/va/crl/ec"))
    assert f"{serial:X}" in decoded.replace(":", "").upper()
    assert "Entries 1" in decoded
    assert "Current" in decoded
    assert "Entries 0" in text_of(alice.get("/va/crl/rsa"))
    alice.get("/va/crl/none", status=404)
    alice.get("/va/crl/%3Cscript%3E", status=404)


def test_delta_and_shards(tmp_path: Path) -> None:
    """CRL-D: a revocation that only they have is shown with them, and can be downloaded."""
    changes = {("CRL", "delta"): "1h", ("CRL", "shards"): "2", ("CA", "public_url"): "http://ca.example.com"}
    stack = build_core(tmp_path / "parts", changes=changes)
    result_of(stack.app.publisher.begin())
    try:
        alice = make_pages(stack).visitor("alice")
        leaf = stack.issue(addresses=Addresses.under("http://ca.example.com", stack.issuer().certificate))
        stack.revoke(leaf)
        stack.clock.advance(1)
        page = alice.get("/va/crl/ec")
        text = text_of(page)
        assert "Delta CRL" in text
        assert "Entries 1" in text
        assert "Sharded CRLs" in text
        for path in ("/crl/ec-delta.pem", "/crl/ec-delta.crl", "/crl/ec-0.crl", "/crl/ec-1.crl"):
            assert f'href="{path}"' in page
        assert "Delta CRL" not in text_of(alice.get("/va/crl/root"))
        state = result_of(stack.app.ca_directory.crl("ec"))
        assert state.delta is not None
        assert [state.delta.entries, *sorted(crl.entries for crl in state.shards.values())] == [1, 0, 1]
    finally:
        stack.close()


def test_recovered_revocations(pages: Pages) -> None:
    """The published CRL has a revocation that the database lacks: admins read what to do."""
    app, clock = pages.stack.app, pages.stack.clock
    root, alice = pages.visitor("root"), pages.visitor("alice")
    assert "pikachu recovered" not in root.get("/va")
    issuer, now = pages.stack.issuer(), utc(clock.seconds())
    tbs = tbs_cert_list(
        algorithm=issuer.signer.algorithm,
        issuer_der=issuer.certificate.subject_der,
        updates=(now, issuer.certificate.not_after),
        entries=crl_entry(0x1234, now, RevocationReason.KEY_COMPROMISE),
        number=1000,
        authority_key_identifier=issuer.key_identifier,
    )
    crl = assemble_crl(tbs, issuer.signer.algorithm, result_of(issuer.signer.sign(tbs)))
    app.publisher.paths(issuer)[0].write_bytes(crl)
    result_of(app.publisher.begin())
    assert "1 revocation is known only from the published CRL" in text_of(root.get("/va"))
    assert "pikachu recovered" not in alice.get("/va")
    result_of(app.recovery.decide_all(SYSTEM, RecoveryDecision.KEEP))
    assert "pikachu recovered" not in root.get("/va")


def test_make_a_crl(pages: Pages) -> None:
    """For admins, at once."""
    root, alice = pages.visitor("root"), pages.visitor("alice")
    assert "Publish now" not in alice.get("/va")
    assert "Publish now" in root.get("/va")
    assert alice.post("/va/crl/ec").status == 403
    page = root.follow(root.post("/va/crl/ec"))
    assert "CRL 2 of ec was published." in text_of(page)
    assert "Number 2" in text_of(page)
    assert root.post("/va/crl/none").status == 404


def test_a_crl_that_runs_out(pages: Pages) -> None:
    """An expired CRL is shown as out of date."""
    pages.stack.app.publisher.stop()
    pages.stack.clock.advance(8 * 86400)
    assert "Overdue" in text_of(pages.visitor("root").get("/va"))
    assert "Overdue" in text_of(pages.visitor("root").get("/ca"))


def test_upload(offline: Pages) -> None:
    """An admin brings an offline root's CRL, as a file or pasted."""
    root, alice = offline.visitor("root"), offline.visitor("alice")
    assert "/va/upload" in root.get("/va")
    assert "/va/upload" not in alice.get("/va")
    assert "key is offline" in text_of(alice.get("/va"))
    form = root.get("/va/upload")
    assert "CN=Test root" in form
    good = crl_pem(brought(offline.stack.files.root, 12)).decode()
    assert alice.post("/va/upload", {"crl": good}).status == 403
    for wrong, status in (
        ("", 400),
        ("nonsense <script>", 400),
        (crl_pem(brought(make_ca("p256", "Stranger"))).decode(), 400),
    ):
        response = root.post("/va/upload", {"crl": wrong})
        assert response.status == status
        assert b'role="alert"' in response.body
        assert b"<script>" not in response.body.replace(b"<script src", b"")
    page = root.follow(root.post("/va/upload", {"crl": good}))
    assert "CRL 12 of CN=Test root was published." in text_of(page)
    older = crl_pem(brought(offline.stack.files.root, 11)).decode()
    assert root.post("/va/upload", {"crl": older}).status == 409
    assert root.post("/va/crl/root").status == 409
    boundary = "x" * 20
    csrf = root.csrf()
    newer = brought(offline.stack.files.root, 13)
    parts = (
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{csrf}\r\n--{boundary}\r\n'
            'Content-Disposition: form-data; name="file"; filename="root.crl"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        + newer
        + f"\r\n--{boundary}--\r\n".encode()
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert "CRL 13" in text_of(root.follow(root.request("POST", "/va/upload", parts, kind)))


def test_ca(pages: Pages) -> None:
    """UI-6: root and sub certificates of both CAs, what signs where, *Download the CA chain*."""
    text = pages.visitor("alice").get("/ca")
    said = text_of(text)
    assert 'href="/downloads/chain"' in text
    for one in ("CN=Test ec CA", "CN=Test rsa CA", "CN=Test root", "EC/prime256v1", "RSA/2048", "SCEP", "Default"):
        assert one in said
    for path in ("/ca/ec", "/ca/rsa", "/ca/root"):
        assert f'href="{path}"' in text
        view = text_of(pages.visitor("alice").get(path))
        assert "Certificate: Data:" in view
        assert "CA:TRUE" in view
    pages.visitor("alice").get("/ca/mldsa", status=404)


def test_generations(pages: Pages) -> None:
    """UI-6, VLT-4: the next key with the date of its switch, then the former one, each with a page and a CRL."""
    stack, alice = pages.stack, pages.visitor("alice")
    issuers = stack.app.issuers

    def rotate(*arguments: str) -> None:
        assert main(["ca", "rotate", "rsa", "--config", str(stack.files.config), *arguments]) == 0
        result_of(stack.app.generations.update(issuers))

    before = issuers.named("rsa")
    rotate()
    coming = issuers.next("rsa")
    assert coming is not None
    said = text_of(alice.get("/ca"))
    assert "rsa Next" in said
    assert "Becomes the current one" in said
    assert "certificates from the switch on" in said
    assert "rsa Current" in said
    page = alice.get(f"/ca/{coming.key_identifier.hex()}")
    assert "Next" in text_of(page)
    assert f"/ca/{coming.key_identifier.hex()}/chain.pem" in page
    rotate("--now")
    said = text_of(alice.get("/ca"))
    assert "rsa Former" in said
    assert "rsa Next" not in said
    former = f"{before.key_identifier.hex()}"
    assert "until the last of its certificates has expired" in text_of(alice.get(f"/ca/{former}"))
    assert "Current" in text_of(alice.get(f"/va/crl/{former}"))
    assert f"/va/crl/{former}" in alice.get("/va")
    assert issuers.named("rsa").key_identifier == coming.key_identifier
