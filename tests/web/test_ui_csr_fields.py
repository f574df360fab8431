"""Pages: the fields of a new CSR, and the template that fills them (CSR-1)."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest

from pikachu.auth.authenticator import account_principal
from pikachu.inventory.templates import TemplateDraft
from pikachu.web.ui.csrs import EXAMPLE
from pikachu.x509.csr import CertificationRequest, parse_csr
from tests.support.deferreds import result_of
from tests.support.stack import Response, build_core
from tests.support.visitor import Pages, Visitor, make_pages, text_of

PATH = "/csrs/generate"
SERVER = """\
[ req ]
prompt = no
distinguished_name = dn
req_extensions = asked
[ dn ]
0.DC = com
1.DC = example
O = Example
CN = www.example.com
[ asked ]
keyUsage = critical, digitalSignature
subjectAltName = DNS:www.example.com, dirName:directory
extendedKeyUsage = serverAuth
[ directory ]
CN = a directory
"""
SHORT = "[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = short.example.com\nOU = Lab\n"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    stack = build_core(tmp_path_factory.mktemp("core"))
    yield make_pages(stack)
    stack.close()


class Form:
    """The form as a browser without JavaScript fills it and sends it."""

    def __init__(self, pages: Pages, visitor: Visitor) -> None:
        self.pages, self.visitor = pages, visitor
        principal = account_principal(pages.accounts["alice"], "192.0.2.1")
        key = result_of(pages.stack.app.keys.generate(principal, "mine", "ed25519"))
        self.templates = {
            name: str(result_of(pages.stack.app.templates.add(principal, TemplateDraft(name, "CSR", text))).id)
            for name, text in ((f"server {key.id}", SERVER), (f"short {key.id}", SHORT))
        }
        self.server, self.short = self.templates.values()
        self.fields = {"key": str(key.id), "mode": "fields", "text": EXAMPLE, "loaded": "", "template": ""}

    def send(self, **changes: str) -> Response:
        """Change fields and send the form; what the answer shows is the form's content then."""
        self.fields.update(changes)
        response = self.visitor.post(PATH, self.fields, page=PATH)
        self.fields.pop("action", None)
        page = response.body.decode()
        if response.status != 303:
            inputs = re.findall(r'<input id="[^"]*" name="([^"]+)" type="text" value="([^"]*)"', page)
            inputs += re.findall(r'<input type="hidden" name="(loaded)" value="([^"]*)"', page)
            inputs += re.findall(r'<textarea id="[^"]*" name="([^"]+)"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
            self.fields = {name: value for name, value in self.fields.items() if not name.startswith("attribute-")}
            self.fields.update({name: html.unescape(value) for name, value in inputs})
        return response

    def generate(self, **changes: str) -> CertificationRequest:
        """Send the form, which creates a CSR."""
        response = self.send(**changes)
        assert response.status == 303, text_of(response.body.decode())
        stored = result_of(self.pages.stack.app.store.csr(int(response.headers["Location"].rpartition("/")[2])))
        return parse_csr(stored.der)


@pytest.fixture
def form(pages: Pages, alice: Visitor) -> Form:
    return Form(pages, alice)


def names(csr: CertificationRequest) -> list[str]:
    return [name.text for name in csr.names]


def test_fields(form: Form) -> None:
    """A subject and SANs without any template, or OpenSSL syntax."""
    csr = form.generate(common_name="pump.example.com", adds_name="1", sans="192.0.2.1", country="DE", unit="Lab")
    assert csr.subject == "CN=pump.example.com,OU=Lab,C=DE"
    assert names(csr) == ["DNS:pump.example.com", "IP:192.0.2.1"]


def test_a_template_fills_the_fields(form: Form) -> None:
    """The fields are used as they are, in the template's order; its other extensions and names are kept."""
    page = form.send(template=form.server).body.decode()
    assert "The fields are filled from the template" in page
    assert "dirName:CN=a directory" in page
    assert (form.fields["common_name"], form.fields["organization"]) == ("www.example.com", "Example")
    assert form.fields["sans"] == "DNS:www.example.com"
    unchanged = form.generate()
    assert unchanged.subject == "CN=www.example.com,O=Example,DC=example,DC=com"
    csr = form.generate(common_name="pump-77.example.com", sans="pump-77.example.com", locality="Berlin")
    assert csr.subject == "CN=pump-77.example.com,L=Berlin,O=Example,DC=example,DC=com"
    assert names(csr) == ["DNS:pump-77.example.com", "dirName:CN=a directory"]
    assert [one.oid for one in csr.extensions] == [one.oid for one in unchanged.extensions]


def test_edits_are_kept(form: Form) -> None:
    """Another template replaces what the first one filled, and nothing that was edited."""
    form.send(template=form.server)
    form.send(template=form.short, common_name="pump-77.example.com")
    assert form.fields["common_name"] == "pump-77.example.com"
    assert (form.fields["unit"], form.fields["organization"], form.fields["sans"]) == ("Lab", "", "")
    assert form.fields["text"].strip() == SHORT.strip()
    assert form.generate().subject == "OU=Lab,CN=pump-77.example.com"


def test_an_edited_configuration_is_used_or_refused(form: Form) -> None:
    """A template does not overwrite it, and it is not thrown away for the fields."""
    edited = EXAMPLE.replace("device.example.com", "pump-77.example.com")
    page = form.send(template=form.server, text=edited).body.decode()
    assert "Your configuration is kept" in page
    response = form.send()
    assert response.status == 400
    assert "You edited the configuration" in text_of(response.body.decode())
    assert "pump-77.example.com" in form.fields["text"]
    csr = form.generate(mode="text")
    assert (csr.subject, names(csr)) == ("CN=pump-77.example.com,O=Example", ["DNS:pump-77.example.com"])


def test_wrong_values(form: Form) -> None:
    """Each wrong name has its message; everything typed is shown again."""
    response = form.send(common_name="a", sans="b_c\n192.0.2.0/24")
    assert response.status == 400
    assert "Remove the underscore" in text_of(response.body.decode())
    assert form.fields["sans"] == "b_c\n192.0.2.0/24"
    assert "This is a network" in form.send(action="preview").body.decode()
    assert "country code" in text_of(form.send(sans="ok.example.com", country="D1").body.decode())
    assert "Enter a subject or" in text_of(form.send(common_name="", sans="", country="").body.decode())


def test_foreign_templates(form: Form, pages: Pages) -> None:
    """Another user's template fills nothing."""
    bob = pages.visitor("bob")
    assert bob.post(PATH, {"template": form.server, "key": ""}, page=PATH).status == 404
    assert bob.request("GET", f"{PATH}?template={form.server}").status == 404
