"""The Inspect page (UI-7)."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator

import pytest

from pikachu.x509.pkcs12 import pkcs12_file
from tests.support.objects import CHALLENGE, OBJECTS, PASSPHRASE, authority, leaf, pfx
from tests.support.pki import key_pem, make_csr, make_key
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
