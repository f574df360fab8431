"""Pages: what is wrong stands beside its field, as a sentence, and no private key is shown again (UI-4)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.passkeys import NewPasskey
from pikachu.core.model.people import Account
from pikachu.web.ui.rendering import marked
from pikachu.x509.pem import pem
from tests.support.databases import NOW, event
from tests.support.deferreds import result_of
from tests.support.page_paths import (
    device,
    identity_list,
    kept_request,
    made,
    notice_rule,
    own_certificate,
    policies,
    recovered,
    stored_key,
    templates,
    user,
)
from tests.support.pki import make_csr
from tests.support.ra import waiting_request
from tests.support.rest import REST
from tests.support.stack import MAIL_SERVER, build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

_LONG = "x" * 2000
_TEXT = "[ v3_ext ]\n"
CSR = pem("CERTIFICATE REQUEST", make_csr("p256", "device.example.com")[1])
_INVALID = "not-an-address"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    changes = {**MAIL_SERVER, ("HOUSEKEEPING", "challenge_passwords_kept"): "1"}
    stack = build_core(tmp_path_factory.mktemp("core"), root_key=False, changes=changes)
    made = make_pages(stack)
    alice = account_principal(made.accounts["alice"], "192.0.2.1")
    result_of(stack.app.keys.generate(alice, "first", "prime256v1"))
    # There is something for housekeeping.
    result_of(stack.app.challenge_passwords.create(alice, None, timedelta(seconds=1)))
    stack.clock.advance(3 * 86400)
    yield made
    stack.close()


Make = Callable[[Pages, Visitor], str]


@dataclass(frozen=True)
class Wrong:
    """A form with one wrong field.

    :param route: the path of the page that reads the form.
    :param name: of the wrong field.
    :param make: makes the object that the form is about, and returns the path.
    :param page: the page with the form, whose hidden fields are sent too.
    """

    route: str
    name: str
    fields: dict[str, str] = field(default_factory=dict)
    visitor: str = "root"
    method: str = "POST"
    make: Make | None = None
    page: str = ""


def _careful(pages: Pages) -> Account:
    """An account with a passkey."""
    if "careful" not in pages.accounts:
        passkey = NewPasskey(pages.add("careful").id, "phone", "ca.example.org", b"careful", b"", 0, b"", 1, ())
        result_of(pages.stack.app.store.add_passkey(passkey, 99, event(), NOW))
    return pages.accounts["careful"]


def _second_step(pages: Pages, visitor: Visitor) -> str:
    """The form for the code, after the password."""
    assert visitor.sign_in(_careful(pages).username).headers["Location"] == "/login/code"
    return "/login/code"


def _passkey_removal(pages: Pages, _visitor: Visitor) -> str:
    """The form that removes a passkey."""
    [stored] = result_of(pages.stack.app.store.passkeys_of(_careful(pages).id))
    return f"/account/passkeys/{stored.id}/remove"


def _housekeeping(_pages: Pages, visitor: Visitor) -> str:
    """The form for removal, after a count."""
    assert visitor.post("/housekeeping").status == 303
    return "/housekeeping/remove"


def _account_with_certificate(action: str) -> Make:
    """A page about bob, who has a valid certificate."""

    def make(pages: Pages, _visitor: Visitor) -> str:
        bob = pages.accounts["bob"]
        pages.stack.issue(owner_id=bob.id)
        return f"/users/{bob.id}{action}"

    return make


def _certificate_with_key(pages: Pages, visitor: Visitor) -> str:
    """The form for the PFX of a certificate whose key is kept."""
    answer = visitor.post("/certificates/new", {"source": "new", "common_name": "pfx.example.com", "key_type": "EC"})
    assert answer.status == 303, text_of(answer.body.decode())
    return re.sub(r"\?.*", "", answer.headers["Location"]) + "/pfx"


def _waiting(pages: Pages, _visitor: Visitor) -> str:
    """The form that rejects a request."""
    return f"/ra/approvals/{waiting_request(pages)}/reject"


def _saved_filter(pages: Pages, visitor: Visitor) -> str:
    """The form that renames a saved filter."""
    fields = {"path": "/certificates", "query": "q=pump", "name": "pumps"}
    assert visitor.post("/views/certificates/filters", fields).status == 303
    [saved] = result_of(pages.stack.app.store.preferences(pages.accounts["alice"].id)).filters
    return f"/views/certificates/filters/{saved.id}/rename"


_PASSWORDS = {"password": "a long password", "confirmation": "another password"}
FORMS = [
    Wrong("/login", "password", {"username": "alice", "password": "wrong"}, visitor=""),
    Wrong("/register", "username", {"username": "a"}, visitor=""),
    Wrong(
        "/register", "email", {"username": "newcomer", "email": _INVALID, "password": _LONG, "confirmation": _LONG}, ""
    ),
    Wrong("/register", "confirmation", {"username": "newcomer", **_PASSWORDS}, visitor=""),
    Wrong("/reset", "confirmation", _PASSWORDS, visitor=""),
    Wrong("/reset", "code", {"code": "1234", "password": "a long password", "confirmation": "a long password"}, ""),
    Wrong("/confirm", "password", {"password": "wrong"}),
    Wrong("/account/email", "email", {"email": _INVALID}),
    Wrong("/account/password", "confirmation", {"current": "password of root", **_PASSWORDS}),
    Wrong("/account/password", "current", {"password": _LONG, "confirmation": _LONG}),
    Wrong("/account/tokens", "name", {"scope": "read", "days": "5"}),
    Wrong("/account/tokens", "days", {"name": "a", "scope": "read", "days": "x"}),
    Wrong("/account/tokens", "days", {"name": "a", "scope": "read", "days": "99999"}),
    Wrong("/account/certificates", "pem", {"pem": "hello"}),
    Wrong("/account/certificates", "certificate"),
    Wrong("/users", "username", {"email": "a@example.com", "role": "user"}),
    Wrong("/users", "email", {"username": "newcomer", "email": _INVALID, "role": "user"}),
    Wrong("/users", "role", {"username": "newcomer", "email": "a@example.com", "role": "king"}),
    Wrong("/users", "confirmation", {"username": "newcomer", "role": "user", **_PASSWORDS}),
    Wrong("/users/<id>/edit", "email", {"email": _INVALID, "role": "user"}, make=user("/edit")),
    Wrong("/users/<id>/edit", "role", {"email": "a@example.com", "role": "king"}, make=user("/edit")),
    Wrong("/users/<id>/delete", "confirm", make=user("/delete")),
    Wrong("/generate", "name", {"type": "EC", "choice-EC": "prime256v1"}),
    Wrong("/generate", "choice-RSA", {"type": "RSA", "choice-RSA": "17", "name": "a"}),
    Wrong("/keys/import", "text", {"name": "a"}),
    Wrong("/keys/import", "text", {"name": "a", "text": "hello"}),
    Wrong(
        "/keys/<id>/download", "again", {"passphrase": "a", "again": "b"}, visitor="alice", make=stored_key("/download")
    ),
    Wrong(
        "/keys/<id>/download",
        "passphrase",
        {"passphrase": _LONG, "again": _LONG},
        visitor="alice",
        make=stored_key("/download"),
    ),
    Wrong("/keys/<id>/delete", "confirm", visitor="alice", make=stored_key("/delete")),
    Wrong("/csrs/upload", "csr"),
    Wrong("/csrs/upload", "csr", {"csr": "hello"}),
    Wrong("/csrs/generate", "key", {"mode": "text"}, visitor="alice"),
    Wrong("/certificates/new", "common_name", {"source": "new"}),
    Wrong("/certificates/new", "sans", {"source": "new", "sans": "IP:999"}),
    Wrong("/certificates/new", "country", {"source": "new", "common_name": "a", "country": "Germany"}),
    Wrong("/certificates/new", "days", {"source": "new", "common_name": "a", "days": "many"}),
    Wrong("/certificates/new", "days", {"source": "new", "common_name": "a", "days": "36500"}),
    Wrong("/certificates/new", "csr", {"source": "csr", "csr": "hello"}),
    Wrong("/certificates/new", "key", {"source": "stored", "common_name": "a"}, visitor="alice"),
    Wrong("/ra/sign", "csr"),
    Wrong("/ra", "csr", {"csr": "hello"}),
    Wrong("/ra/sign", "days", {"csr": "CSR", "days": "x"}),
    Wrong("/ra/validity", "default_days", {"default_days": "x"}),
    Wrong("/certificates/<id>/revoke", "confirm", make=own_certificate("/revoke")),
    Wrong(
        "/certificates/<id>/revoke", "reason", {"confirm": "revoke", "reason": "none"}, make=own_certificate("/revoke")
    ),
    Wrong("/certificates/<id>/delete", "confirm", make=own_certificate("/delete")),
    Wrong("/devices/<id>/retire", "confirm", {"reason": "superseded"}, make=device("/retire")),
    Wrong("/devices/<id>/retire", "reason", {"confirm": "retire"}, make=device("/retire")),
    Wrong("/challenge-passwords", "validity", {"validity": "long"}),
    Wrong("/challenge-passwords", "label", {"label": _LONG}),
    Wrong("/challenge-passwords", "sans", {"subject": "CN=a", "sans": "IP:999"}),
    Wrong("/batches", "label", {"names": "pump-1", "policy": "System"}),
    Wrong("/batches", "names", {"label": "a", "policy": "System"}),
    Wrong("/batches", "validity", {"label": "a", "names": "pump-1", "policy": "System", "validity": "long"}),
    Wrong("/policies/new", "name", {"days": "9", "extensions": _TEXT}),
    Wrong("/policies/new", "days", {"name": "a", "days": "x", "extensions": _TEXT}),
    Wrong("/policies/new", "days", {"name": "a", "days": "0", "extensions": _TEXT}),
    Wrong("/policies/new", "extensions", {"name": "a", "days": "9", "extensions": "[ v3_ext ]\nkeyUsage = x\n"}),
    Wrong("/policies/new", "issuer", {"name": "a", "days": "9", "extensions": _TEXT, "issuer": "none"}),
    Wrong(
        "/policies/<id>/edit",
        "days",
        {"name": "a", "days": "x", "extensions": _TEXT},
        visitor="alice",
        make=policies("/edit"),
    ),
    Wrong("/policies/<id>/delete", "confirm", visitor="alice", make=policies("/delete")),
    Wrong("/templates/new", "name", {"profile_type": "a", "content": _TEXT}),
    Wrong("/templates/new", "profile_type", {"name": "a", "content": _TEXT}),
    Wrong("/templates/new", "content", {"name": "a", "profile_type": "a", "content": "hello"}),
    Wrong(
        "/templates/<id>/edit",
        "content",
        {"name": "a", "profile_type": "a", "content": "hello"},
        visitor="alice",
        make=templates("/edit"),
    ),
    Wrong("/templates/<id>/delete", "confirm", visitor="alice", make=templates("/delete")),
    Wrong("/notices", "name", {"kind": "certificates", "days": "30", "addresses": "a@example.com"}),
    Wrong("/notices", "days", {"name": "a", "kind": "certificates", "days": "x"}),
    Wrong("/notices", "addresses", {"name": "a", "kind": "certificates", "days": "30", "addresses": _INVALID}),
    Wrong("/identity-lists", "name", {"identities": "a"}),
    Wrong("/identity-lists", "identities", {"name": "a"}),
    Wrong("/identity-lists/<id>/delete", "confirm", make=identity_list("/delete")),
    Wrong("/va/upload", "crl"),
    Wrong("/va/upload", "crl", {"crl": "hello"}),
    Wrong("/inspect", "data", {"data": "hello"}),
    Wrong("/batches/<id>/end", "confirm", visitor="alice", make=made("/batches", {"label": "x", "names": "a"}, "/end")),
    Wrong(
        "/challenge-passwords/<id>/delete", "confirm", visitor="alice", make=made("/challenge-passwords", {}, "/delete")
    ),
    Wrong("/challenge-passwords/delete-expired", "confirm"),
    Wrong("/challenge-passwords/delete-expired-system", "confirm"),
    Wrong("/csrs/<id>/delete", "confirm", visitor="alice", make=kept_request("/csrs", "/delete")),
    Wrong("/certificates/<id>/renew", "days", {"key": "new", "days": "x"}, make=own_certificate("/renew")),
    Wrong("/notices/<id>", "days", {"name": "a", "kind": "certificates", "days": "x"}, make=notice_rule("")),
    Wrong("/notices/<id>/delete", "confirm", make=notice_rule("/delete")),
    Wrong("/identity-lists/<id>/replace", "identities", make=identity_list("/replace")),
    Wrong("/users/<id>/password", "hours", {"hours": "9"}, make=user("/password")),
    Wrong("/jobs", "confirm", {"resource": "keys", "action": "delete", "rows": "page", "page": "1"}),
    Wrong(
        "/jobs",
        "policy",
        {"resource": "csrs", "action": "sign", "rows": "page", "page": "1", "policy": "none", "confirm": "1"},
    ),
    Wrong("/jobs", "reason", {"resource": "devices", "action": "retire", "rows": "page", "page": "1", "confirm": "1"}),
    Wrong("/x509-templates/<name>", "name", make=lambda *_: "/x509-templates/mqtt_broker.cnf.j2"),
    Wrong("/account/passkeys", "name", page="/account/passkeys/new"),
    Wrong("/account/passkeys/<id>/remove", "confirm", make=_passkey_removal),
    Wrong("/account/second-factor", "code", {"code": "12345"}, page="/account/second-factor/new"),
    Wrong("/account/second-factor/remove", "confirm"),
    Wrong("/login/code", "code", {"code": "12345"}, visitor="", make=_second_step),
    Wrong("/users/<id>/second-factor", "confirm", make=user("/second-factor")),
    Wrong("/users/<id>/<name>", "revoke", {"revoke": "none"}, make=_account_with_certificate("/suspend")),
    Wrong("/users/<id>/<name>", "confirm", {"revoke": "superseded"}, make=_account_with_certificate("/suspend")),
    Wrong("/certificates/<id>/pfx", "passphrase", visitor="alice", make=_certificate_with_key),
    Wrong(
        "/certificates/<id>/pfx",
        "again",
        {"passphrase": "a", "again": "b"},
        visitor="alice",
        make=_certificate_with_key,
    ),
    Wrong("/chat", "question"),
    Wrong("/chat", "question", {"question": _LONG}),
    Wrong("/events/verification", "checkpoint", {"checkpoint": ""}),
    Wrong("/events/verification", "checkpoint", {"checkpoint": "hello"}),
    Wrong("/events/verification/consistency", "checkpoint"),
    Wrong("/events/verification/consistency", "checkpoint", {"checkpoint": "hello"}),
    Wrong("/housekeeping/remove", "confirm", make=_housekeeping),
    Wrong("/notices/test", "channel", {"channel": "pigeon", "recipient": "a@example.com"}),
    Wrong("/notices/test", "recipient", {"channel": "mail", "recipient": _INVALID}),
    Wrong(
        "/ra/approvals/<id>/reject",
        "reason",
        {"reason": _LONG},
        make=_waiting,
    ),
    Wrong("/ra/csrs/<id>/reject", "reason", {"reason": _LONG}, make=kept_request("/ra/csrs", "/reject")),
    Wrong("/va/recovered/<id>/<name>", "confirm", make=recovered("/va/recovered/{}/keep")),
    Wrong("/va/recovered-all/<name>", "confirm", make=recovered("/va/recovered-all/keep")),
    Wrong(
        "/views/<list>/filters", "name", {"path": "/certificates", "query": "q=a"}, make=lambda *_: "/views/a/filters"
    ),
    Wrong("/views/<list>/filters/<id>/rename", "name", {"name": _LONG}, visitor="alice", make=_saved_filter),
    Wrong("/reports/file?from=2026-02-01&to=2026-01-01", "to", method="GET"),
    Wrong("/reports/file?from=yesterday&to=2026-01-01", "from", method="GET"),
]


@pytest.mark.parametrize("case", FORMS, ids=lambda case: case.name)
def test_wrong_field(pages: Pages, case: Wrong) -> None:
    """It is marked, described by the error and focused, and the error is a sentence."""
    visitor = pages.visitor(case.visitor or None, confirmed=bool(case.visitor) and case.route != "/confirm")
    path = case.route if case.make is None else case.make(pages, visitor)
    fields = {name: CSR if value == "CSR" else value for name, value in case.fields.items()}
    if case.page:
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', visitor.get(case.page))
        fields = {**{name: html.unescape(value) for name, value in hidden}, **fields}
    if case.method == "POST":
        response = visitor.post(path, fields, page=path if path in ("/register", "/reset", "/login/code") else None)
    else:
        response = visitor.request("GET", path)
    page = response.body.decode()
    assert 400 <= response.status < 500, (response.status, text_of(page))
    [tag] = re.findall(r'<(?:input|select|textarea)[^>]* aria-invalid="true"[^>]*>', page) or [text_of(page)]
    assert f' name="{case.name}"' in tag, tag
    assert f'aria-describedby="{case.name}-error' in tag
    assert re.findall(r"<[a-z]+ [^>]*\sautofocus", page) == [re.match(r".*?\sautofocus", tag)[0]]  # type: ignore[index]
    [beside] = re.findall(rf'<span class="wrong" id="{case.name}-error">([^<]*)</span>', page)
    text = html.unescape(beside)
    assert not text[0].islower()
    assert text.endswith((".", "!", "?"))
    assert f'role="alert">{beside}</p>' in page


#: Forms without a field that can be wrong by itself.
WITHOUT = {
    "buttons": {
        "/account/certificates/<id>/unbind",
        "/account/second-factor/codes",
        "/account/sessions/<id>/end",
        "/account/tokens/<id>/end",
        "/batches/<id>/resume",
        "/certificates/<id>/release",
        "/config/reload",
        "/challenge-passwords/<id>/reveal",
        "/devices/<id>/challenge-passwords",
        "/devices/<id>/reinstate",
        "/housekeeping",
        "/jobs/<id>/cancel",
        "/keys/<id>/private",
        "/logout",
        "/ra/approvals/<id>/approve",
        "/setup/<name>/confirm",
        "/setup/<name>/withdraw",
        "/setup/dismiss",
        "/setup/resume",
        "/users/<id>/sessions/<number>/end",
        "/users/<id>/unlock",
        "/va/crl/<ca>",
        "/views/<list>/filters/<id>/delete",
    },
    "choices of what exists": {
        "/account/display",
        "/account/sessions/end",
        "/jobs/new",
        "/users/<id>/sessions/end",
        "/views/<list>/columns",
    },
    "what the browser holds": {"/login/certificate", "/login/code/passkey", "/login/passkey"},
    "scripts, which show the page's own form": {
        "/certificates/<id>/renew/preview",
        "/certificates/new/preview",
        "/chat/stream",
        "/csrs/preview",
        "/session",
    },
}


def test_every_form_stands_in_the_table(pages: Pages) -> None:
    """A new form has to say here which fields can be wrong."""
    routes = {page.path for page in pages.resource.pages if page.method == "POST"}
    assert routes - {case.route for case in FORMS} == set().union(*WITHOUT.values())


def _private_keys() -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    pem_text, sec1, encrypted = (
        key.private_bytes(Encoding.PEM, form, encryption).decode()
        for form, encryption in (
            (PrivateFormat.PKCS8, NoEncryption()),
            (PrivateFormat.TraditionalOpenSSL, NoEncryption()),
            (PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")),
        )
    )
    bare = "".join(line for line in pem_text.splitlines() if not line.startswith("-"))
    return {
        "PKCS#8": pem_text,
        "SEC 1": sec1,
        "encrypted": encrypted,
        "base64": bare,
        "cut off": pem_text[:120],
        "among text": f"my key:\n{pem_text}thanks",
    }


KEYS = _private_keys()
#: Forms where something public is expected, with its field.
PUBLIC = {
    "/ra": ("csr", {}),
    "/ra/sign": ("csr", {}),
    "/csrs/upload": ("csr", {}),
    "/certificates/new": ("csr", {"source": "csr"}),
    "/account/certificates": ("pem", {}),
    "/va/upload": ("crl", {}),
}


@pytest.mark.parametrize("form", KEYS)
def test_private_key_by_mistake(pages: Pages, form: str) -> None:
    """It is named as such, wherever something public is expected, and is not in the answer."""
    key = KEYS[form]
    root = pages.visitor("root", confirmed=True)
    secret = max((line for line in key.splitlines() if not line.startswith("-")), key=len)[:40]
    for path, (name, fields) in PUBLIC.items():
        page = root.post(path, {name: key, **fields}).body.decode()
        assert "This is a private key, not a" in text_of(page), (path, text_of(page))
        assert secret not in page, path
        assert f'id="{name}-error"' in page, path


@pytest.mark.parametrize(("path", "name"), [("/ra", "csr"), ("/csrs/upload", "csr"), ("/account/certificates", "pem")])
def test_hello(pages: Pages, path: str, name: str) -> None:
    """Messages say what was expected, and how it begins; also for base64 of something else, and for another PEM."""
    root = pages.visitor("root", confirmed=True)
    begin = "-----BEGIN CERTIFICATE REQUEST-----" if name == "csr" else "-----BEGIN CERTIFICATE-----"
    for text in ("hello", "hellohello==", pem("PUBLIC KEY", b"0\x03\x02\x01\x05")):
        page = text_of(root.post(path, {name: text}).body.decode())
        assert (
            f"not a certificate{' request' if name == 'csr' else ''}. Use one in PEM, which begins with {begin}" in page
        )


def test_marked() -> None:
    """Commands in messages are code, and nothing else of them is HTML."""
    assert marked("run `pikachu <b>`, then `x`") == "run <code>pikachu &lt;b&gt;</code>, then <code>x</code>"


def test_key_beside_a_request(pages: Pages) -> None:
    """The form shows the CSR again, without the key that was pasted with it."""
    key = KEYS["PKCS#8"]
    page = (
        pages.visitor("root").post("/certificates/new", {"source": "csr", "csr": key + CSR, "days": "x"}).body.decode()
    )
    assert CSR.splitlines()[2] in page
    assert "PRIVATE KEY" not in page


def test_private_key_in_rest(rest: REST) -> None:
    """REST says the same, without any of it."""
    for key in KEYS.values():
        for path, body in (
            ("/certificates", {"csr": key}),
            ("/csrs", {"name": "a", "csr": key}),
            ("/account-certificates", {"pem": key}),
        ):
            problem = rest.bad(400, "POST", path, body, who="root")
            assert "This is a private key" in problem["detail"], (path, problem)
