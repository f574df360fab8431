"""Pages: a certificate from a name, on one page and without JavaScript (ISS-1)."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

import pytest
from cryptography import x509

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.policies import Policy
from pikachu.x509.pem import pem
from tests.support.deferreds import result_of
from tests.support.pki import make_csr
from tests.support.ra import MANUAL, waiting_request
from tests.support.stack import DEFAULT_EXTENSIONS, Response, build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

PATH = "/certificates/new"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    made = make_pages(stack)
    rules = stack.app.policy_administration
    result_of(rules.add(SYSTEM, Policy(0, "servers", 90, DEFAULT_EXTENSIONS, system=True)))
    yield made
    stack.close()


def send(visitor: Visitor, fields: Mapping[str, str], *, after: str = "") -> Response:
    return visitor.post(PATH + after, {"source": "new", "kind": "ed25519", **fields}, page=PATH)


def newest(pages: Pages) -> CertificateRecord:
    return result_of(pages.stack.app.store.certificates(ListQuery(limit=1), pages.stack.app.authority.now())).items[0]


def sans(record: CertificateRecord) -> list[str]:
    return list(record.sans)


def certificate_count(pages: Pages) -> int:
    app = pages.stack.app
    return len(result_of(app.store.certificates(ListQuery(limit=100), app.authority.now())).items)


def key_count(pages: Pages) -> int:
    return len(result_of(pages.stack.app.store.keys(ListQuery(limit=100))).items)


def test_the_form(alice: Visitor) -> None:
    """It is one click away everywhere; policy, validity and issuing CA are prefilled."""
    for page in ("/", "/certificates", PATH):
        assert f'href="{PATH}"' in alice.get(page)
    page = alice.get(PATH)
    assert re.search(r'name="days"[^>]* value="365"', page)
    assert re.search(r'value="System"[^>]* selected', page)
    assert 'value="servers" data-days="90"' in page
    assert "Enter a name to see the certificate." in page
    assert 'id="source-new" checked' in page


def test_a_name_to_a_certificate(pages: Pages, alice: Visitor) -> None:
    """One button issues it; its page has the downloads, the key among them, and the way to the next one."""
    before = key_count(pages)
    fields = {"common_name": "pump.example.com", "adds_name": "1", "policy": "servers", "organization": "Example"}
    response = send(alice, {**fields, "sans": "192.0.2.7\r\nops@example.com, URI:urn:a:b"})
    page = alice.follow(response)
    assert "Certificate issued." in page
    record = newest(pages)
    assert (record.subject, record.policy) == ("CN=pump.example.com,O=Example", "servers")
    assert sans(record) == ["DNS:pump.example.com", "IP:192.0.2.7", "email:ops@example.com", "URI:urn:a:b"]
    assert record.owner_id == pages.accounts["alice"].id
    assert key_count(pages) == before + 1
    here = f"/certificates/{record.id}"
    for link in (f"{here}/download?format=chain", f"{here}/download?format=der", f"{here}/pfx", PATH):
        assert f'href="{html.escape(link)}"' in page
    found = re.search(r'href="/keys/(\d+)/download"', page)
    assert found
    assert ">pump.example.com</a>" in page


def test_sent_twice(pages: Pages, alice: Visitor) -> None:
    """A form that is submitted twice issues once."""
    fields = {"common_name": "twice.example.com", "once": "the same"}
    first, again = send(alice, fields), send(alice, fields)
    assert first.headers["Location"] == again.headers["Location"]


def test_the_common_name_is_no_san_unless_wanted(pages: Pages, alice: Visitor) -> None:
    """Neither without the tick, nor when it is the name of a thing or a person."""
    assert send(alice, {"common_name": "a.example.com"}).status == 303
    assert sans(newest(pages)) == []
    assert send(alice, {"common_name": "Pump 7", "adds_name": "1"}).status == 303
    assert (newest(pages).subject, sans(newest(pages))) == ("CN=Pump 7", [])
    assert send(alice, {"common_name": "a@example.com", "adds_name": "1"}).status == 303
    assert sans(newest(pages)) == ["email:a@example.com"]


def test_preview(pages: Pages, alice: Visitor) -> None:
    """The button Preview and the script's request show the same; nothing is issued, and no key is created."""
    before, keys = certificate_count(pages), key_count(pages)
    fields = {"common_name": "seen.example.com", "adds_name": "1", "days": "30", "action": "preview"}
    for after in ("", "/preview"):
        response = send(alice, fields, after=after)
        assert response.status == 200
        for said in ("CN=seen.example.com", "DNS:seen.example.com", "Ed25519", "30 days", "of the new key"):
            assert said in response.body.decode(), said
    assert (certificate_count(pages), key_count(pages)) == (before, keys)


def test_wrong_names(pages: Pages, alice: Visitor) -> None:
    """Each wrong name has its message, and the form keeps everything that was typed."""
    keys = key_count(pages)
    typed = {"common_name": "a.example.com", "sans": "b_c.example.com\r\n192.0.2.0/24\r\nok.example.com", "unit": "Lab"}
    for fields in (typed, {**typed, "action": "preview"}):
        response = send(alice, fields)
        page = response.body.decode()
        text = text_of(page)
        assert response.status == (200 if "action" in fields else 400)
        assert "b_c.example.com : Remove the underscore" in text
        assert "192.0.2.0/24 : This is a network." in text
        assert "\nb_c.example.com\n192.0.2.0/24\nok.example.com</textarea>" in page
        assert 'value="a.example.com"' in page
        assert 'value="Lab"' in page
        assert "<details open>" in page
    many = "\n".join(f"b_{number}.example.com" for number in range(2000))
    page = send(alice, {"sans": many, "action": "preview"}).body.decode()
    assert "Enter at most 100 subject alternative names." in text_of(page)
    assert page.count("Remove the underscore") == 2 * 100  # Each stands in an attribute, too.
    assert "Enter a subject or" in text_of(send(alice, {}).body.decode())
    assert "country code" in text_of(send(alice, {"common_name": "a", "country": "D1"}).body.decode())
    assert key_count(pages) == keys


def test_refused_by_the_policy(pages: Pages, alice: Visitor) -> None:
    """The reason stands beside the form; no key is left."""
    keys = key_count(pages)
    response = send(alice, {"common_name": "a.example.com", "days": "36000"})
    assert response.status == 422
    assert "outlive" in text_of(response.body.decode())
    assert key_count(pages) == keys


def test_a_stored_key(pages: Pages, alice: Visitor, root: Visitor) -> None:
    """One's own keys to choose from; of others none, not even for an administrator."""
    principal = account_principal(pages.accounts["alice"], "192.0.2.1")
    key = result_of(pages.stack.app.keys.generate(principal, "my own key", "ed25519"))
    assert "my own key" in alice.get(PATH)
    assert "my own key" not in root.get(PATH)
    page = alice.get(f"{PATH}?key={key.id}")
    assert 'id="source-stored" checked' in page
    response = send(alice, {"source": "stored", "key": str(key.id), "common_name": "own.example.com"})
    assert response.status == 303
    assert newest(pages).key_id == key.key_id
    response = send(root, {"source": "stored", "key": str(key.id), "common_name": "own.example.com"})
    assert response.status == 403
    assert send(alice, {"source": "stored", "key": "x", "common_name": "a"}).status == 400


def test_a_csr(pages: Pages, alice: Visitor) -> None:
    """Its names and its key; the name fields don't count."""
    csr = pem("CERTIFICATE REQUEST", make_csr("p256", "csr.example.com", ["DNS:csr.example.com"])[1])
    fields = {"source": "csr", "csr": csr, "common_name": "ignored.example.com"}
    assert "csr.example.com" in text_of(send(alice, {**fields, "action": "preview"}).body.decode())
    assert send(alice, fields).status == 303
    assert (newest(pages).subject, sans(newest(pages))) == ("CN=csr.example.com", ["DNS:csr.example.com"])
    assert "Paste a CSR" in text_of(send(alice, {"source": "csr"}).body.decode())
    assert send(alice, {"source": "csr", "csr": "nonsense"}).status == 400
    uploaded = x509.load_der_x509_certificate(newest(pages).der)
    assert uploaded.subject.rfc4514_string() == "CN=csr.example.com"


def test_approval(pages: Pages, alice: Visitor) -> None:
    """Under a policy that requires approval, the page of the approval follows."""
    waiting_request(pages, "bob")
    response = send(alice, {"common_name": "waits.example.com", "policy": MANUAL})
    assert response.status == 303
    assert response.headers["Location"].startswith("/ra/approvals/")
    assert "as soon as an administrator approves it" in alice.follow(response)


def test_on_the_device(pages: Pages, alice: Visitor, root: Visitor) -> None:
    """A challenge password that is bound to the names, with commands that have them; no certificate, and no key yet."""
    before, keys = certificate_count(pages), key_count(pages)
    fields = {"source": "device", "common_name": "far.example.com", "adds_name": "1", "sans": "192.0.2.9"}
    assert "The device chooses its key" in send(alice, {**fields, "action": "preview"}).body.decode()
    response = send(alice, fields)
    assert response.status == 303, response.body
    path = response.headers["Location"]
    page = text_of(alice.follow(response))
    for said in (
        "CN=far.example.com",
        "IP:192.0.2.9",
        "challengePassword = ",
        "simpleenroll",
        "estclient",
        "powershell",
    ):
        assert said in page, said
    assert (certificate_count(pages), key_count(pages)) == (before, keys)
    (challenge,) = result_of(
        pages.stack.app.store.challenges(ListQuery(limit=1), pages.stack.app.authority.now())
    ).items
    assert challenge.names is not None
    assert challenge.names.sans == ("DNS:far.example.com", "IP:192.0.2.9")
    assert challenge.label == "far.example.com"
    # The password of another account is not shown to an administrator without a record.
    root.get(path, status=404)


def test_a_policy_that_devices_cannot_use(pages: Pages, alice: Visitor) -> None:
    """The message says what to do; with a label the commands use it."""
    fields = {"source": "device", "common_name": "far.example.com"}
    assert "enable it for EST or SCEP" in text_of(send(alice, {**fields, "policy": "servers"}).body.decode())
    policy = Policy(0, "for devices", 30, DEFAULT_EXTENSIONS, system=True, use_for_est=True)
    result_of(pages.stack.app.policy_administration.add(SYSTEM, policy))
    page = alice.follow(send(alice, {**fields, "policy": "for devices"}))
    assert "/.well-known/est/for%20devices/simpleenroll" in page
    assert "sscep" not in page
