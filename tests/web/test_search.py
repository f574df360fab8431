"""Search and subject alternative names in pages and REST (UI-2, CRT-1, CRT-2)."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from pikachu.x509.extension import Extension
from tests.support.rest import REST
from tests.support.stack import Leaf, Stack
from tests.support.visitor import Pages, Visitor, text_of

QUERIES = (
    *("ärzte", "ÄRZTE", "A\u0308rzte", "北京", "京", "北 ärz"),
    *("bücher", "BÜCHER.ex", "dns:xn--bcher", "10.1.2.3", "prime256v1 bücher"),
)
NAMES = (x509.DNSName("xn--bcher-kva.example"), x509.IPAddress(ip_address("10.1.2.3")))


def issue(stack: Stack, owner_id: int, common_name: str, *names: x509.GeneralName) -> Leaf:
    """Return a certificate with these subject alternative names."""
    value = x509.SubjectAlternativeName(names).public_bytes()
    extensions = [Extension("2.5.29.17", not common_name, value)] if names else []
    return stack.issue(common_name, owner_id=owner_id, extensions=extensions)


@pytest.mark.parametrize("q", QUERIES)
def test_pages_find_any_script(pages: Pages, alice: Visitor, q: str) -> None:
    """UI-2: the list and its CSV find subjects and SANs in any form."""
    owner = pages.accounts["alice"].id
    wanted = issue(pages.stack, owner, "Ärzte 北京", *NAMES)
    issue(pages.stack, owner, "other.example.com", x509.DNSName("other.example.com"))
    page = alice.get(f"/certificates?q={quote(q)}")
    assert f'href="/certificates/{wanted.record.id}"' in page
    assert "other.example.com" not in page
    assert "indexed" not in text_of(page)
    csv = alice.get(f"/certificates?format=csv&q={quote(q)}")
    assert f'Ärzte 北京,"DNS:xn--bcher-kva.example, IP:10.1.2.3",CN=Ärzte 北京,{wanted.serial:x},' in csv
    assert "other.example.com" not in csv


def test_names_on_pages(pages: Pages, alice: Visitor) -> None:
    """CRT-2: SANs are listed, A-labels also as U-labels; a name that the list shows already is not repeated."""
    owner = pages.accounts["alice"].id
    leaf = issue(pages.stack, owner, "device.example.com", x509.DNSName("device.example.com"), *NAMES)
    for path in ("/certificates", f"/certificates/{leaf.record.id}"):
        text = text_of(alice.get(path))
        assert "DNS:xn--bcher-kva.example (bücher.example)" in text
        assert "IP:10.1.2.3" in text
    assert "DNS:device.example.com" not in text_of(alice.get("/certificates"))
    assert "DNS:device.example.com" in text_of(alice.get(f"/certificates/{leaf.record.id}"))


def test_hostile_sans(pages: Pages, alice: Visitor) -> None:
    """A SAN is text, wherever it stands."""
    value = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "<script>alert(1)</script>")]))
    leaf = issue(pages.stack, pages.accounts["alice"].id, "device", value)
    for path in ("/certificates", f"/certificates/{leaf.record.id}"):
        page = alice.get(path)
        assert "alert(1)" in page
        assert "<script>alert" not in page


@pytest.mark.parametrize("q", QUERIES)
def test_rest_finds_any_script(rest: REST, q: str) -> None:
    """UI-2: REST finds the same, and has the names as a list."""
    owner = rest.accounts["alice"].id
    wanted = issue(rest.stack, owner, "Ärzte 北京", *NAMES)
    issue(rest.stack, owner, "other.example.com", x509.DNSName("other.example.com"))
    answer = rest.good("GET", f"/certificates?q={quote(q)}", who="alice")
    assert [one["id"] for one in answer["items"]] == [wanted.record.id]
    assert answer["items"][0]["sans"] == ["DNS:xn--bcher-kva.example", "IP:10.1.2.3"]
    assert "unindexed" not in answer
    document = rest.good("GET", f"/certificates/{wanted.record.id}", who="alice")
    assert document["sans"] == answer["items"][0]["sans"]
