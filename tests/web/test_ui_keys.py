"""Pages: stored keys, requests, PKCS#12 (KEY-1 to KEY-5, CSR-1 to CSR-3, CRT-4)."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import pkcs12

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.certificates import Method
from pikachu.core.model.list_queries import ListQuery
from pikachu.inventory.keys import CHOICES
from pikachu.inventory.templates import TemplateDraft
from pikachu.ra.enrollment import Issued
from pikachu.x509.csr import decode_csr_input, parse_csr, verify_csr
from pikachu.x509.keys import describe_private_key, generate_private_key, load_private_key, private_key_pem
from pikachu.x509.pem import pem
from pikachu.x509.pfx import read_file
from tests.support.deferreds import result_of
from tests.support.pki import make_csr
from tests.support.stack import Response
from tests.support.text_forms import TEXT_FORMS
from tests.support.visitor import Pages, Visitor, text_of

REQUEST = """\
[ req ]
prompt = no
distinguished_name = dn
attributes = more
req_extensions = asked
[ dn ]
O = Example
CN = device.example.com
[ more ]
challengePassword = a secret word
[ asked ]
keyUsage = critical, digitalSignature
subjectAltName = DNS:device.example.com
"""


@pytest.fixture
def alice(pages: Pages) -> Visitor:
    return pages.visitor("alice", confirmed=True)


def made(response: Response) -> str:
    """The path that a form leads to."""
    assert response.status == 303, text_of(response.body.decode())
    return response.headers["Location"]


def new_key(visitor: Visitor, family: str = "EC", choice: str = "", name: str = "mine") -> str:
    """The path of a new key."""
    return made(visitor.post("/generate", {"name": name, "type": family, f"choice-{family}": choice}))


def new_request(visitor: Visitor, key: str, **fields: str) -> str:
    """The path of a new request."""
    text = {"mode": "text", "text": REQUEST}
    return made(visitor.post("/csrs/generate", {"key": key.rpartition("/")[2], **text, **fields}))


def shown_pem(page: str, label: str) -> str:
    """The PEM block that a page shows."""
    found = re.search(f"-----BEGIN {label}-----.*?-----END {label}-----\n", html.unescape(page), re.DOTALL)
    assert found, page
    return found[0]


def event_types(pages: Pages) -> list[str]:
    query = ListQuery(sort="id", filters={"resource_type": "key"})
    return [one.event.type for one in result_of(pages.stack.app.store.events(query)).items]


# --- keys ------------------------------------------------------------------------------------


def test_empty_lists_lead_on(alice: Visitor) -> None:
    """Each list says what to do next."""
    assert 'href="/generate"' in alice.get("/keys")
    assert 'href="/csrs/generate"' in alice.get("/csrs")
    assert "Generate new key" in text_of(alice.get("/csrs/generate"))


@pytest.mark.parametrize(
    ("family", "choice"), [(one, choices[-1] if choices else "") for one, choices in CHOICES.items()]
)
def test_new_key(alice: Visitor, family: str, choice: str) -> None:
    """KEY-1 to KEY-3: each type by its form; the view has the public half, and the list all that KEY-2 says."""
    form = alice.get("/generate")
    for one, choices in CHOICES.items():
        assert f'value="{one}"' in form
        for text in choices:
            assert f'<option value="{text}"' in form
    path = new_key(alice, family, choice, "my first")
    page = alice.follow(alice.post("/generate", {"name": "second", "type": family, f"choice-{family}": choice}))
    assert "The key was generated." in page
    page = alice.get(path)
    assert "BEGIN PUBLIC KEY" in page
    assert "BEGIN PRIVATE KEY" not in page
    listed = text_of(alice.get(f"/keys?type={family}&q=first"))
    assert "my first" in listed
    assert (choice or family) in listed
    assert "of 1 " in listed
    assert alice.request("GET", f"{path}/public").body.decode() == shown_pem(page, "PUBLIC KEY")


def test_wrong_forms_are_shown_again(alice: Visitor) -> None:
    """A refused form keeps its values and names the error."""
    response = alice.post("/generate", {"name": " ", "type": "PQC", "choice-PQC": "mldsa65"})
    assert response.status == 400
    page = response.body.decode()
    assert "A key&#39;s name is 1 to 128 printable characters" in page
    assert re.search('value="PQC" id="type-PQC" checked', page)
    assert '<option value="mldsa65" selected>' in page
    assert alice.post("/generate", {"name": "x", "type": "DSA"}).status == 400
    assert alice.post("/generate", {"name": "x", "type": "RSA", "choice-RSA": "512"}).status == 400
    assert "No keys yet." in alice.get("/keys")


def test_private_key_is_asked_for_explicitly(pages: Pages, alice: Visitor) -> None:
    """KEY-3: a click of its own, after the password; recorded when it is seen and not before."""
    path = new_key(alice)
    public = shown_pem(alice.get(path), "PUBLIC KEY")
    pages.clock.advance(301)
    for action in ("private", "download"):
        assert alice.request("GET", f"{path}/{action}").headers["Location"].startswith("/confirm?next=")
        assert alice.post(f"{path}/{action}").headers["Location"].startswith("/confirm?next=")
    alice.confirm("alice")
    assert "BEGIN PRIVATE KEY" not in alice.get(f"{path}/private")
    assert event_types(pages) == ["create"]
    text = shown_pem(alice.post(f"{path}/private").body.decode(), "PRIVATE KEY")
    assert pem("PUBLIC KEY", describe_private_key(load_private_key(text)).spki) == public
    assert event_types(pages) == ["create", "view"]


def test_download(pages: Pages, alice: Visitor) -> None:
    """KEY-4: PKCS#8, open or under a passphrase that was typed twice alike."""
    path = new_key(alice, name="my/../key")
    alice.get(f"{path}/download")
    response = alice.post(f"{path}/download", {"passphrase": "", "again": ""})
    assert response.headers["Content-Disposition"] == 'attachment; filename="my_.._key.pem"'
    assert response.body.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    response = alice.post(f"{path}/download", {"passphrase": "correct horse", "again": "correct horse"})
    assert response.body.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    load_private_key(response.body, "correct horse")
    response = alice.post(f"{path}/download", {"passphrase": "correct horse", "again": "correct house"})
    assert response.status == 400
    assert "differ" in response.body.decode()
    assert event_types(pages) == ["create", "download", "download"]


def test_deletion(pages: Pages, alice: Visitor) -> None:
    """KEY-5: the word has to be typed; the page names the users of the key."""
    path = new_key(alice)
    assert "No CSR and no certificate uses this key." in text_of(alice.get(f"{path}/delete"))
    new_request(alice, path)
    assert "This key is in use: 1 stored request was made with it" in text_of(alice.get(f"{path}/delete"))
    for word in ("", "Delete", "remove"):
        assert alice.post(f"{path}/delete", {"confirm": word}).status == 409
    assert "The key was deleted." in alice.follow(alice.post(f"{path}/delete", {"confirm": "delete"}))
    alice.get(path, status=404)
    assert event_types(pages) == ["create", "delete"]


def test_admins_see_whose_it_is(pages: Pages, alice: Visitor) -> None:
    """KEY-2: the column *User* is for admins."""
    new_key(alice, name="hers")
    root = pages.visitor("root", confirmed=True)
    assert ">alice</td>" in root.get("/keys")
    assert "User" not in re.findall('<th scope="col".*?>(.*?)</th>', alice.get("/keys"))
    csv = root.request("GET", "/keys?format=csv").body.decode()
    assert "hers,EC,prime256v1," in csv
    assert ",alice" in csv


# --- requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CHOICES)
def test_new_request(alice: Visitor, family: str) -> None:
    """CSR-1 to CSR-3, PQC-1: preview, make, see, take, delete."""
    key = new_key(alice, family)
    form = alice.get(f"/csrs/generate?key={key.rpartition('/')[2]}")
    assert "CN = device.example.com" in form
    fields = {"key": key.rpartition("/")[2], "mode": "text", "text": REQUEST, "name": "first"}
    for preview in (
        alice.post("/csrs/preview", fields).body.decode(),
        alice.post("/csrs/generate", {**fields, "action": "preview"}).body.decode(),
    ):
        assert "DNS:device.example.com" in preview
        assert "a secret word" not in preview.partition('id="preview"')[2]
    assert "No certificate requests yet." in alice.get("/csrs")
    path = new_request(alice, key, name="first")
    page = alice.get(path)
    assert "a secret word" not in page
    told = text_of(page)
    for text in (
        "(not shown)",
        "X509v3 Key Usage critical Digital Signature",
        "DNS:device.example.com",
        "mine",
        "pending",
    ):
        assert text in told
    text = shown_pem(page, "CERTIFICATE REQUEST")
    verify_csr(parse_csr(decode_csr_input(text.encode())))
    assert alice.request("GET", f"{path}/download").body.decode() == text
    assert "first" in text_of(alice.get("/csrs?state=pending"))
    assert "Nothing matches." in alice.get("/csrs?state=signed")
    assert alice.post(f"{path}/delete", {"confirm": "no"}).status == 409
    assert "The request was deleted." in alice.follow(alice.post(f"{path}/delete", {"confirm": "delete"}))
    alice.get(path, status=404)


def test_a_key_leads_to_its_requests(alice: Visitor) -> None:
    """KEY-1: the page of a key links to its CSRs, and to no other; an id that is none is answered, not ignored."""
    first, second = new_key(alice, name="first"), new_key(alice, name="second")
    for name in ("one", "two"):
        new_request(alice, first, name=f"request {name}")
    new_request(alice, second, name="other request")
    page = alice.get(first)
    (path,) = re.findall(r'<a href="(/csrs\?key_id=\d+)">2 CSRs</a>', page)
    found = text_of(alice.get(path))
    assert "request one" in found
    assert "request two" in found
    assert "other request" not in found
    for wrong in ("x", "-1", "1' OR '1", "9" * 40):
        assert "key_id is the id of a key" in text_of(alice.get("/csrs?key_id=" + quote(wrong), status=400))


def test_request_by_a_stored_template(pages: Pages, alice: Visitor) -> None:
    """CSR-1, CSR-2: the template is chosen from the list, and the view names it."""
    principal = account_principal(pages.accounts["alice"], "192.0.2.1")
    templates = pages.stack.app.templates
    mine = result_of(templates.add(principal, TemplateDraft("devices", "Device", REQUEST)))
    result_of(templates.add(principal, TemplateDraft("server", "TLS server", "[ v3_ext ]\nkeyUsage = cRLSign\n")))
    key = new_key(alice)
    form = alice.get(f"/csrs/generate?template={mine.id}")
    assert f'<option value="{mine.id}" selected>devices</option>' in form
    assert "server</option>" not in form
    assert 'name="common_name" type="text" value="device.example.com"' in form
    names = {"common_name": "device.example.com", "organization": "Example", "sans": "DNS:device.example.com"}
    chosen = {"mode": "fields", "template": str(mine.id), "loaded": str(mine.id), "text": REQUEST}
    path = new_request(alice, key, **chosen, **names)
    assert "devices" in text_of(alice.get(path))
    alice.post(f"{key}/delete", {"confirm": "delete"})
    assert "whose stored key has been deleted" in text_of(alice.get(path))


def test_wrong_requests_are_shown_again(pages: Pages, alice: Visitor) -> None:
    """TPL-2: the line that is wrong is named, in the preview and when it is to be made."""
    key = new_key(alice).rpartition("/")[2]
    fields = {"key": key, "mode": "text", "text": REQUEST.replace("keyUsage", "keyUse"), "name": "kept"}
    assert "line 12" in alice.post("/csrs/preview", fields).body.decode()
    response = alice.post("/csrs/generate", fields)
    assert response.status == 422
    page = response.body.decode()
    assert "Line 12" in page
    assert 'value="kept"' in page
    assert "keyUse =" in page
    # Somebody else's key, and none.
    bob = pages.visitor("bob", confirmed=True)
    for wrong, status in ((key, 404), ("", 400), ("1 or 1", 400)):
        assert bob.post("/csrs/generate", {"key": wrong, "mode": "text", "text": REQUEST}).status == status


def test_upload(alice: Visitor) -> None:
    """CSR-1: a file in DER, or a text in PEM or base64; errors are shown."""
    csr = make_csr("p256", "other.example.com")[1]
    path = made(alice.post("/csrs/upload", {"csr": pem("CERTIFICATE REQUEST", csr), "name": ""}))
    assert "other.example.com" in text_of(alice.get(path))
    body = (
        b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n'
        + alice.csrf().encode()
        + b'\r\n--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nfrom a file'
        + b'\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="a.csr"\r\n'
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + csr
        + b"\r\n--x--\r\n"
    )
    response = alice.request("POST", "/csrs/upload", body, {"Content-Type": "multipart/form-data; boundary=x"})
    assert "from a file" in text_of(alice.follow(response))
    for text, status in (("", 400), ("hello", 400), (pem("CERTIFICATE REQUEST", csr[:-2] + b"xx"), 422)):
        response = alice.post("/csrs/upload", {"csr": text, "name": "kept"})
        assert response.status == status
        assert 'value="kept"' in response.body.decode()


def test_import(pages: Pages, alice: Visitor) -> None:
    """An existing key as text or file; after a refusal name and alias are still there, the secrets are not."""
    assert 'href="/keys/import"' in alice.get("/keys")
    private = private_key_pem(generate_private_key("prime256v1"), "a passphrase")
    for fields, named in (
        ({"text": ""}, "Choose a file"),
        ({"text": "hello"}, "No private key found"),
        ({"text": private}, "passphrase"),
        ({"text": private, "passphrase": "another one"}, "passphrase"),
    ):
        response = alice.post("/keys/import", {"name": "my name", "alias": "my alias", **fields})
        page = response.body.decode()
        assert (response.status, 'value="my name"' in page, 'value="my alias"' in page) == (400, True, True)
        assert named in text_of(page)
        assert "ENCRYPTED" not in page
        assert "another one" not in page
    path = made(alice.post("/keys/import", {"name": "my name", "text": private, "passphrase": "a passphrase"}))
    assert "EC" in text_of(alice.get(path))
    protection = serialization.BestAvailableEncryption(b"secret")
    key = ed25519.Ed25519PrivateKey.generate()
    file = pkcs12.serialize_key_and_certificates(b"Mine", key, None, None, protection)
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % part
        for part in (
            (b"csrf", b"", alice.csrf().encode()),
            (b"name", b"", b"from a file"),
            (b"file", b'; filename="a.p12"', file),
            (b"text", b"", b""),
            (b"passphrase", b"", b"secret"),
        )
    )
    response = alice.request(
        "POST", "/keys/import", body + b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert "from a file" in text_of(alice.follow(response))
    assert event_types(pages) == ["create", "create"]


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_text_forms(alice: Visitor, form: str) -> None:
    """CSR-1, RA-1: a file in every form of a text, stored and previewed for signing."""
    csr = make_csr("p256", "text.example.com")[1]
    for action in ("/csrs/upload", "/ra"):
        content = TEXT_FORMS[form]("NEW CERTIFICATE REQUEST", csr)
        fields = {b"csrf": alice.csrf(action).encode(), b"policy": b"System", b"name": b"", b"csr": b""}
        parts = [b'"%s"\r\n\r\n%s' % field for field in fields.items()] + [
            b'"file"; filename="a.txt"\r\n\r\n' + content
        ]
        body = b"".join(b"--limit\r\nContent-Disposition: form-data; name=%s\r\n" % part for part in parts)
        headers = {"Content-Type": "multipart/form-data; boundary=limit"}
        response = alice.request("POST", action, body + b"--limit--\r\n", headers)
        page = response.body.decode() if response.status == 200 else alice.follow(response)
        assert "text.example.com" in text_of(page)


# --- PKCS#12 ---------------------------------------------------------------------------------


def certificate(pages: Pages, visitor: Visitor, family: str) -> int:
    """The id of a certificate of alice's whose key is kept here."""
    path = new_request(visitor, new_key(visitor, family))
    principal = account_principal(pages.accounts["alice"], "192.0.2.1")
    csr = result_of(pages.stack.app.requests.get(principal, int(path.rpartition("/")[2])))
    issued = result_of(pages.stack.app.registration.sign(principal, csr.der, Method.UI))
    assert isinstance(issued, Issued)
    return issued.record.id


def test_pfx(pages: Pages, alice: Visitor) -> None:
    """CRT-4: after the password, under a passphrase."""
    path = f"/certificates/{certificate(pages, alice, 'EC')}/pfx"
    assert 'name="passphrase"' in alice.get(path)
    response = alice.post(path, {"passphrase": "correct horse", "again": "correct horse"})
    assert re.fullmatch(
        'attachment; filename="device.example.com-[0-9a-f]{8}.pfx"', response.headers["Content-Disposition"]
    )
    key, leaf, chain = pkcs12.load_key_and_certificates(response.body, b"correct horse")
    assert (key is not None, leaf is not None, len(chain)) == (True, True, 2)
    assert alice.post(path, {"passphrase": "", "again": ""}).status == 400
    assert alice.post(path, {"passphrase": "one", "again": "two"}).status == 400
    pages.clock.advance(301)
    assert alice.request("GET", path).status == 303
    assert alice.post(path, {"passphrase": "correct horse"}).headers["Location"].startswith("/confirm?next=")


def test_compatible_pfx(pages: Pages, alice: Visitor) -> None:
    """CRT-4: for old programs, by a box that is not ticked."""
    path = f"/certificates/{certificate(pages, alice, 'EC')}/pfx"
    assert re.search(r'name="compatible"(?![^>]* checked)', alice.get(path))
    for fields, digest in (({}, "2.16.840.1.101.3.4.2.1"), ({"compatible": "1"}, "1.3.14.3.2.26")):
        response = alice.post(path, {"passphrase": "secret", "again": "secret", **fields})
        mac = read_file(response.body).mac
        assert mac is not None
        assert mac.algorithm.sub()[0].oid() == digest


def test_no_pfx(pages: Pages, alice: Visitor) -> None:
    """CRT-4: the page says so for ML-DSA, and for a key not stored here."""
    path = f"/certificates/{certificate(pages, alice, 'PQC')}/pfx"
    assert "few programs read ML-DSA keys in PKCS#12" in text_of(alice.get(path))
    assert alice.post(path, {"passphrase": "correct horse"}).status == 422
    path = f"/certificates/{pages.stack.issue(owner_id=pages.accounts['alice'].id).record.id}/pfx"
    assert "is not kept here" in text_of(alice.get(path))
    assert alice.post(path, {"passphrase": "correct horse"}).status == 404
