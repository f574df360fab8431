"""The Inspect page (UI-7)."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from pikachu.x509.pkcs12 import pkcs12_file
from tests.support.objects import CHALLENGE, OBJECTS, PASSPHRASE, authority, leaf, pfx
from tests.support.pki import key_pem, make_ca, make_csr, make_key, make_leaf
from tests.support.stack import Response, build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    yield make_pages(stack)
    stack.close()


def upload(visitor: Visitor, content: bytes, passphrase: str = "") -> Response:
    """Send the form with a file."""
    parts = [
        b'name="csrf"\r\n\r\n' + visitor.csrf().encode(),
        b'name="data"\r\n\r\n',
        b'name="passphrase"\r\n\r\n' + passphrase.encode(),
        b'name="file"; filename="x"\r\nContent-Type: application/octet-stream\r\n\r\n' + content,
    ]
    mark = b"--a-mark-that-is-in-no-file"
    body = (
        b"".join(mark + b"\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + mark + b"--\r\n"
    )
    kind = f"multipart/form-data; boundary={mark[2:].decode()}"
    return visitor.request("POST", "/inspect", body, {"Content-Type": kind})


def area(page: str) -> str:
    """Return the values of the form."""
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert found
    return html.unescape(found[1])


def test_chains_and_keys(pages: Pages, alice: Visitor) -> None:
    """Every object is decoded, certificates are checked as a chain, and keys are compared; a key is not redisplayed."""
    files = pages.stack.files
    issuer, root = next(iter(files.issuers.values())), files.root
    chain = [make_leaf(issuer, "pump.example.com").pem, issuer.pem, root.pem]
    said = text_of(upload(alice, b"".join(chain)).body.decode())
    assert "Each certificate issued by the next, and valid now yes" in said
    assert "ends at a root of this CA" in said
    assert (said.count("the signature verifies"), "Object 3: Certificate" in said) == (2, True)
    strange = [leaf().pem, authority().pem]
    said = text_of(upload(alice, b"".join(strange)).body.decode())
    assert "is no root of this CA" in said
    said = text_of(upload(alice, b"".join(reversed(strange))).body.decode())
    assert "the order is wrong, or a certificate is missing" in said
    assert "does not end at a root" in said
    forged = make_ca(name="Example Issuing CA")
    assert "does not verify" in text_of(upload(alice, leaf().pem + forged.pem).body.decode())
    not_ca = make_leaf(leaf(), "below.example.com")
    assert "is not that of a CA" in text_of(upload(alice, not_ca.pem + leaf().pem).body.decode())
    for key in (leaf().key, make_key("p256")):
        text = (leaf().pem + key_pem(key)).decode()
        response = alice.post("/inspect", {"data": text}).body.decode()
        is_same = key is leaf().key
        assert ("its key is that of CN=device.example.com" in text_of(response)) is is_same
        assert ("no certificate has its key" in text_of(response)) is not is_same
        assert "PRIVATE KEY" not in area(response)
    assert "Nothing you paste is stored or logged" in text_of(alice.get("/inspect"))


def _key_forms() -> dict[str, str]:
    rsa, curve = make_key("rsa2048"), make_key("p256")
    pkcs8 = curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "PKCS#8": pkcs8,
        "PKCS#1": rsa.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode(),
        "OpenSSH": curve.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
        "PuTTY": "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\n" + "QUJDREVG" * 8,
        "base64": "".join(line for line in pkcs8.splitlines() if not line.startswith("-")),
    }


KEY_FORMS = _key_forms()


@pytest.mark.parametrize("form", KEY_FORMS)
def test_key_among_others(alice: Visitor, form: str) -> None:
    """An unencrypted key isn't shown again: alone, in an answer with an error, or beside an encrypted one."""
    text = KEY_FORMS[form]
    secret = max((line for line in text.splitlines() if not line.startswith("-")), key=len)[:40]
    locked = make_key("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
    pasted = [text] if form == "base64" else [text, locked + text, text + "-----BEGIN JUNK-----\n!"]
    for data in pasted:
        assert secret not in area(alice.post("/inspect", {"data": data}).body.decode()), data
    for fields in ({}, {"passphrase": "wrong"}):
        assert area(alice.post("/inspect", {"data": locked, **fields}).body.decode()).strip() == locked.strip()


@pytest.mark.parametrize("name", OBJECTS)
def test_kinds(alice: Visitor, name: str) -> None:
    """Pasted or uploaded: the page shows the kind, the fields, the text and the command."""
    make = OBJECTS[name][1]
    data = make()
    response = upload(alice, data)
    assert response.status == 200, response.body
    said = text_of(response.body.decode())
    assert "Detected: " in said
    assert "openssl " in said
    text = data.decode() if not data.startswith(b"\x30") else base64.b64encode(data).decode()
    assert text_of(alice.post("/inspect", {"data": text}).body.decode()).count("Detected: ") == 1


def test_a_certificate(alice: Visitor) -> None:
    """Both texts stand beside each other, and Clear leads to the empty form."""
    page = alice.post("/inspect", {"data": leaf().pem.decode()}).body.decode()
    said = text_of(page)
    assert "Detected: Certificate" in said
    assert "CN=device.example.com" in said
    assert "Not After" in said
    assert "openssl x509 -noout -text -in FILE" in said
    assert area(page).strip() == leaf().pem.decode().strip()
    assert '<a class="button plain" href="/inspect">Clear</a>' in page
    assert area(alice.get("/inspect")) == ""


def test_what_was_issued_here_has_a_link(pages: Pages, alice: Visitor) -> None:
    """To its page, for those who may see it."""
    issued = pages.stack.issue("here.example.com", owner_id=pages.accounts["alice"].id)
    link = f'<a href="/certificates/{issued.record.id}">'
    assert link in upload(alice, issued.der).body.decode()
    assert link not in upload(pages.visitor("bob"), issued.der).body.decode()


def test_our_own_pfx_opens(alice: Visitor) -> None:
    """CRT-4: a PKCS#12 file of this CA can be inspected."""
    data = pkcs12_file(leaf().key, leaf().der, [authority().der], PASSPHRASE, "from here")
    said = text_of(upload(alice, data, PASSPHRASE).body.decode())
    assert "from here" in said
    assert "CN=Example Issuing CA" in said


def test_pkcs12_asks_for_its_passphrase(alice: Visitor) -> None:
    """The form keeps the file, in base64, until it is opened."""
    page = upload(alice, pfx()).body.decode()
    assert "enter its passphrase" in text_of(page)
    kept = area(page)
    assert base64.b64decode(kept) == pfx() or kept
    wrong = alice.post("/inspect", {"data": kept, "passphrase": "wrong"})
    assert wrong.status == 400
    assert "does not open" in text_of(wrong.body.decode())
    assert area(wrong.body.decode()).strip() == kept.strip()
    opened = alice.post("/inspect", {"data": kept, "passphrase": PASSPHRASE}).body.decode()
    assert "my device" in text_of(opened)
    assert area(opened) == ""
    assert PASSPHRASE not in opened


def test_a_private_key_does_not_stay(alice: Visitor) -> None:
    """Nothing of it comes back but its public half."""
    pem = key_pem(make_key("p256")).decode()
    page = alice.post("/inspect", {"data": pem}).body.decode()
    assert "EC/prime256v1" in text_of(page)
    assert "BEGIN PUBLIC KEY" in page
    assert pem.splitlines()[1] not in page


def test_a_challenge_password_is_not_shown(alice: Visitor) -> None:
    """Neither by us nor by openssl."""
    page = upload(alice, make_csr(challenge=CHALLENGE)[1]).body.decode()
    assert "present, not shown" in text_of(page)
    assert CHALLENGE not in page


def test_hostile_text(alice: Visitor) -> None:
    """Pasted text can't become markup."""
    response = alice.post("/inspect", {"data": "<script>alert(1)</script></textarea>"})
    assert response.status == 400
    page = response.body.decode()
    assert "<script>alert" not in page
    assert "neither PEM nor base64" in text_of(page)


def test_nothing_is_cached(alice: Visitor) -> None:
    """The answer stays in no cache."""
    assert upload(alice, leaf().der).headers["Cache-Control"] == "no-store"
