"""Pages of certificates (CRT-1 to CRT-3, CRT-5 to CRT-7)."""

from __future__ import annotations

import hashlib
import html
import re
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from pikachu.core.model.certificates import RevocationReason
from pikachu.web.certificate_files import certificate_filename
from tests.support.stack import Leaf
from tests.support.visitor import Pages, Visitor, text_of


def issue(pages: Pages, name: str = "device.example.com", owner: str | None = "alice", **more: object) -> Leaf:
    owner_id = None if owner is None else pages.accounts[owner].id
    return pages.stack.issue(name, owner_id=owner_id, **more)  # type: ignore[arg-type]


class TestList:
    def test_columns(self, pages: Pages, alice: Visitor) -> None:
        """CRT-1: ID, common name with a link, serial to copy, key, date, status, method; the user for admins."""
        leaf = issue(pages)
        text = alice.get("/certificates")
        assert f'href="/certificates/{leaf.record.id}">device.example.com</a>' in text
        assert f'data-copy="{leaf.serial:x}"' in text
        issued = leaf.record.created_at
        assert f'title="{issued:%Y-%m-%d %H:%M:%S} UTC">{issued:%Y-%m-%d} <span class="clock">{issued:%H:%M}<' in text
        for said in ("EC/prime256v1", "Valid", "EST"):
            assert said in text_of(text.replace("<wbr>", ""))
        assert ">User<" not in text
        admins = pages.visitor("root").get("/certificates")
        assert ">User<" in admins
        assert 'class="one" title="alice">alice</td>' in admins
        assert re.search(r'<select id="filter-infrastructure"[^>]*><option value="">Left out<', admins)

    def test_ones_own(self, pages: Pages, alice: Visitor) -> None:
        """CRT-7: users see their own, admins all; a certificate without an owner shows N/A."""
        issue(pages, "a.example.com")
        issue(pages, "b.example.com", "bob")
        issue(pages, "c.example.com", None)
        assert set(re.findall(r"[abc]\.example\.com", text_of(alice.get("/certificates")))) == {"a.example.com"}
        everything = text_of(pages.visitor("root").get("/certificates"))
        assert set(re.findall(r"[abc]\.example\.com", everything)) == {
            "a.example.com",
            "b.example.com",
            "c.example.com",
        }
        assert "N/A" in everything

    def test_filter_and_sort(self, pages: Pages, alice: Visitor) -> None:
        """UI-2: the state is in the address."""
        leaves = [issue(pages, f"device-{letter}.example.com") for letter in "cab"]
        pages.stack.revoke(leaves[0])
        pages.stack.revoke(leaves[1], RevocationReason.CERTIFICATE_HOLD)

        def shown(query: str) -> list[str]:
            found = re.findall(r'href="/certificates/\d+">device-(.)', alice.get(f"/certificates?{query}"))
            return [str(one) for one in found]

        assert shown("") == ["b", "a", "c"]
        assert shown("sort=common_name") == ["a", "b", "c"]
        assert shown("status=valid") == ["b"]
        assert shown("status=revoked&sort=-common_name") == ["c", "a"]
        assert shown("method=SCEP") == []
        assert shown("issuer=ec&q=device-a") == ["a"]
        assert shown(f"q={leaves[2].serial:x}") == ["b"]
        assert "On hold" in text_of(alice.get("/certificates"))
        assert "Nothing matches" in alice.get("/certificates?method=SCEP")

    def test_more_filters(self, pages: Pages, alice: Visitor) -> None:
        """CRT-1: on hold, expiry, issuance, policy, key and user, in the list and its CSV."""
        held, soon, _ = (
            issue(pages, f"device-{name}.example.com", days=days) for name, days in (("a", 30), ("b", 5), ("c", 30))
        )
        pages.stack.revoke(held, RevocationReason.CERTIFICATE_HOLD)
        today = f"{held.record.created_at:%Y-%m-%d}"
        for query, expected in {
            "status=on_hold": "a",
            "expires=7d": "b",
            "expires=5w&status=valid": "cb",
            f"expires_from={today}&expires_to={soon.record.not_after:%Y-%m-%d}": "b",
            "issued=1h": "cba",
            f"issued_to={today}&issued_from={today}": "cba",
            "issued_to=2001-01-01": "",
            "policy=nothing": "",
            "key=EC": "cba",
            "key=EC/prime256v1": "cba",
            "key=RSA": "",
        }.items():
            page = alice.get(f"/certificates?{query}")
            assert "".join(re.findall(r'href="/certificates/\d+">device-(.)', page)) == expected, query
            csv = alice.get(f"/certificates?{query}&format=csv")
            assert "".join(re.findall(r"\d,device-(.)", csv)) == expected, query
        page = alice.get("/certificates?expires=12d&key=EC/prime256v1")
        assert '<option value="12d" selected>' in page
        assert '<details class="more" open>' in page
        assert "owner" not in page
        assert "device-a" in pages.visitor("root").get("/certificates?owner=alice")
        assert "device-b" in alice.get(f"/certificates?key_sha256={soon.record.key_id.hex()}")

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("status=zzz", "Unknown status “zzz”. Use one of: valid, revoked, on_hold, expired."),
            ("sort=bogus", "This list can't be sorted by “bogus”."),
            ("colour=red", "This list has no filter “colour”."),
            ("owner=root", "This list has no filter “owner”."),
            ("expires=soon", "Unknown expires “soon”."),
            ("expires_to=tomorrow", "enter a date such as 2026-12-31"),
            ("key=DSA/1024", "“key” must be one of RSA"),
        ],
    )
    def test_unknown_filters(self, pages: Pages, alice: Visitor, query: str, reason: str) -> None:
        """UI-2: what a list doesn't know never shows everything as if it were the answer."""
        issue(pages)
        page = alice.get(f"/certificates?{query}", status=400)
        assert reason in text_of(page)
        assert "device.example.com" not in page
        assert 'href="/certificates">Clear' in page
        assert alice.request("GET", f"/certificates?{query}&format=csv").status == 400

    def test_pages(self, pages: Pages, alice: Visitor) -> None:
        """UI-2: which page of how many, the way back to the first one, and the size of the whole list."""
        for number in range(21):
            issue(pages, f"device-{number}.example.com")
        first = alice.get("/certificates?limit=10")
        assert "Showing 1\u201310 of 21, page 1 of 3" in text_of(first)
        assert "Export CSV (21 rows)" in text_of(first)
        assert ">First<" not in first
        after = alice.get(html.unescape(first.partition('rel="next" href="')[2].partition('"')[0]))
        assert "page 2 of 3" in text_of(after)
        assert '<a class="button plain" href="/certificates?limit=10">First</a>' in after
        assert "page" not in text_of(alice.get("/certificates?limit=25")).partition("of 21")[2][:6]

    def test_nothing_yet(self, alice: Visitor) -> None:
        """The empty list says what to do next."""
        text = alice.get("/certificates")
        assert "No certificates yet." in text
        assert 'href="/ra"' in text

    def test_csv(self, pages: Pages, alice: Visitor) -> None:
        """All rows, without what a spreadsheet would calculate."""
        issue(pages, "=HYPERLINK(1)")
        leaf = issue(pages)
        text = alice.get("/certificates?format=csv")
        assert "ID,Common name,SANs,Subject,Serial,Key,Issued (UTC),Expires (UTC),Status,Revoked (UTC),Reason," in text
        assert "Method,Policy,Issuing CA,SHA-256 fingerprint\r\n" in text
        at = f"{leaf.record.created_at:%Y-%m-%d %H:%M:%S}"
        name = "device.example.com"
        assert f"\r\n{leaf.record.id},{name},,CN={name},{leaf.serial:x},EC/prime256v1,{at}," in text
        assert f",ec,{hashlib.sha256(leaf.record.der).hexdigest()}\r\n" in text
        headings = re.findall("<th [^>]*>(?:<a [^>]*>)?([^<]+)", alice.get("/certificates"))
        assert headings[1:3] == ["Common name", "Serial"]
        assert ",'=HYPERLINK(1)," in text


class TestView:
    def test_what_it_says(self, pages: Pages, alice: Visitor) -> None:
        """CRT-2: the summary, the text, the PEM."""
        leaf = issue(pages)
        page = alice.get(f"/certificates/{leaf.record.id}")
        said = text_of(page)
        for one in (
            "Public key EC/prime256v1",
            "Subject CN=device.example.com",
            "Issuer CN=Test ec CA",
            "Version 3",
            "Signature algorithm ecdsa-with-SHA256",
            f"{leaf.serial:x}",
            "Certificate: Data: Version: 3 (0x2)",
        ):
            assert one in said
        assert "No status address" in said
        pem = re.search(r"-----BEGIN CERTIFICATE-----[^<]*", page)
        assert pem
        assert x509.load_pem_x509_certificate(pem[0].encode()) == x509.load_der_x509_certificate(leaf.der)
        assert "User" not in said
        assert "User alice" in text_of(pages.visitor("root").get(f"/certificates/{leaf.record.id}"))

    def test_cross_links(self, pages: Pages, alice: Visitor, root: Visitor) -> None:
        """CRT-2: a certificate leads to its key, CSR, policy, issuer, events and user, and these lead back."""
        alice.post("/generate", {"name": "the key", "type": "EC", "choice-EC": "prime256v1"})
        key = re.findall(r'href="/keys/(\d+)"', alice.get("/keys"))[0]
        text = "[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = linked.example.com\n"
        alice.post("/csrs/generate", {"key": key, "name": "the CSR", "mode": "text", "text": text})
        page = alice.get("/ra?csr=1")
        csr = html.unescape(re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)[0])
        assert alice.post("/ra/sign", {"csr": csr, "csr_id": "1"}, page="/ra").status == 303
        address = re.findall(r'href="(/certificates/\d+)"', alice.get("/certificates"))[0]
        page = alice.get(address)
        said = text_of(page)
        assert "Extended key usage TLS Web Server Authentication" in said
        assert "Key usage Digital Signature" in said
        related = page[page.index("<h2>Related</h2>") :]
        links = dict(re.findall(r'<dt>([^<]+)</dt><dd><a href="([^"]+)">', related))
        assert list(links) == ["CSR", "Policy", "Device", "Issuing CA", "Events", "Same key"]
        links["Key"] = re.findall(r'href="(/keys/\d+)"', page)[0]
        for label, link in links.items():
            target = alice.get(html.unescape(link))
            if label in ("Key", "CSR", "Policy", "Device", "Issuing CA"):
                back = re.findall(r'href="(/certificates(?:/\d+|\?[^"]+))"', target)[0]
                assert back == address or f'href="{address}"' in alice.get(html.unescape(back)), label
        assert re.search(r"Showing \S+ of 1\b", text_of(alice.get(html.unescape(links["Events"]))))
        user = re.findall(r'href="(/users/\d+)"', root.get(address))[0]
        assert f'href="{address}"' in root.get(re.findall(r'href="(/certificates\?[^"]+)"', root.get(user))[0])

    @pytest.mark.parametrize(
        "name",
        [
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "' onmouseover='x",
            "\u202egnp.exe",
            "{{ 7*7 }}",
            "a\u200bb",
        ],
    )
    def test_hostile_names(self, pages: Pages, alice: Visitor, name: str) -> None:
        """A name is text, wherever it stands, and nothing in it is unseen."""
        leaf = issue(pages, name)
        pages.stack.revoke(leaf, RevocationReason.CERTIFICATE_HOLD)
        own = f"/certificates/{leaf.record.id}"
        for path in ("/certificates", own, *(f"{own}/{one}" for one in ("revoke", "release", "delete")), "/va"):
            page = alice.get(path)
            assert "<script>alert" not in page
            assert "<img" not in page
            assert "' onmouseover" not in page
            assert "49" not in re.findall(r"<h1>(.*?)</h1>", page)
            assert "\u202e" not in page
            assert "\u200b" not in page
        if name.isprintable():
            assert name in text_of(alice.get(own))

    @pytest.mark.parametrize("action", ["", "/download", "/revoke", "/release", "/delete"])
    def test_other_people_s(self, pages: Pages, alice: Visitor, action: str) -> None:
        """CRT-7: other users' ids are not found, like those that do not exist."""
        leaf = issue(pages, owner="bob")
        for identity in (str(leaf.record.id), "999999", "0", "9" * 30, "x"):
            alice.get(f"/certificates/{identity}{action}", status=404)
        if action in ("/revoke", "/release", "/delete"):
            word = {"confirm": action[1:]}
            assert alice.post(f"/certificates/{leaf.record.id}{action}", word).status == 404
        pages.visitor("root").get(f"/certificates/{leaf.record.id}{action}")


@pytest.mark.parametrize(
    ("name", "filename"),
    [
        ("pump-1.example.com", "pump-1.example.com-12345678"),
        ("*.example.com", "example.com-12345678"),
        ("../../etc/passwd", "etc_passwd-12345678"),
        ("Pumpe Nord; filename=x", "Pumpe_Nord_filename_x-12345678"),
        ("水泵", "123456789abcdef"),
        ("x" * 200, "x" * 64 + "-12345678"),
        ("", "123456789abcdef"),
    ],
)
def test_file_names(pages: Pages, name: str, filename: str) -> None:
    """CRT-3: a file is named after its certificate, whatever that is named."""
    record = replace(issue(pages).record, serial=0x123456789ABCDEF, common_name=name, sans=())
    assert certificate_filename(record) == filename


def test_downloads(pages: Pages, alice: Visitor) -> None:
    """CRT-3: chain, PEM, DER, PKCS#7."""
    leaf = issue(pages)
    path = f"/certificates/{leaf.record.id}/download"
    own = x509.load_der_x509_certificate(leaf.der)
    chain = alice.request("GET", f"{path}?format=chain")
    assert (
        chain.headers["Content-Disposition"]
        == f'attachment; filename="{leaf.record.name}-{f"{leaf.serial:x}"[:8]}-chain.pem"'
    )
    found = x509.load_pem_x509_certificates(chain.body)
    assert (found[0], len(found)) == (own, 3)
    assert alice.request("GET", f"{path}?format=der").body == leaf.der
    assert x509.load_pem_x509_certificate(alice.request("GET", path).body) == own
    bundle = alice.request("GET", f"{path}?format=p7b").body
    assert own in pkcs7.load_der_pkcs7_certificates(bundle)
    alice.get(f"{path}?format=exe", status=400)


class TestRevoke:
    def test_the_word(self, pages: Pages, alice: Visitor) -> None:
        """CRT-5: without it nothing happens, and the form comes back as it was filled."""
        leaf = issue(pages)
        path = f"/certificates/{leaf.record.id}"
        form = alice.get(f"{path}/revoke")
        for name in ("keyCompromise", "cessationOfOperation", "certificateHold", "aACompromise"):
            assert f'value="{name}"' in form
        for typed in ("", "REVOKE", "delete"):
            response = alice.post(f"{path}/revoke", {"confirm": typed, "reason": "superseded"})
            assert response.status == 409
            assert b'value="superseded" selected' in response.body
            assert b"Type the word revoke" in response.body
        assert alice.post(f"{path}/revoke", {"confirm": "revoke", "reason": "removeFromCRL"}).status == 400
        assert "Valid" in text_of(alice.get(path))
        page = alice.follow(alice.post(f"{path}/revoke", {"confirm": " revoke ", "reason": "keyCompromise"}))
        assert "was revoked" in text_of(page)
        assert "Key compromise" in text_of(page)
        assert f"{path}/revoke" not in page
        record = pages.stack.changes[-1]
        assert record.serial == leaf.serial

    def test_once(self, pages: Pages, alice: Visitor) -> None:
        """A revoked certificate stays revoked, with its reason."""
        leaf = issue(pages)
        pages.stack.revoke(leaf, RevocationReason.SUPERSEDED)
        path = f"/certificates/{leaf.record.id}"
        assert "already revoked" in text_of(alice.get(f"{path}/revoke"))
        assert alice.post(f"{path}/revoke", {"confirm": "revoke", "reason": "keyCompromise"}).status == 409
        assert "nothing to release" in text_of(alice.get(f"{path}/release"))
        assert alice.post(f"{path}/release").status == 409

    def test_hold(self, pages: Pages, alice: Visitor) -> None:
        """CRT-5: hold, release, hold, final."""
        leaf = issue(pages)
        path = f"/certificates/{leaf.record.id}"
        held = alice.follow(alice.post(f"{path}/revoke", {"confirm": "revoke", "reason": "certificateHold"}))
        assert "On hold" in text_of(held)
        assert f"{path}/release" in held
        assert "was released" in text_of(alice.follow(alice.post(f"{path}/release")))
        assert "Valid" in text_of(alice.get(path))
        alice.post(f"{path}/revoke", {"confirm": "revoke", "reason": "certificateHold"})
        assert 'value="certificateHold"' not in alice.get(f"{path}/revoke")
        final = alice.follow(alice.post(f"{path}/revoke", {"confirm": "revoke", "reason": "keyCompromise"}))
        assert "Revoked" in text_of(final)
        assert f"{path}/release" not in final


def test_delete(pages: Pages, alice: Visitor) -> None:
    """CRT-6: needs the typed word, warns if it was not revoked, and removes it from every list."""
    leaf = issue(pages)
    path = f"/certificates/{leaf.record.id}"
    assert "Unless it is revoked" in text_of(alice.get(f"{path}/delete"))
    assert alice.post(f"{path}/delete", {"confirm": "yes"}).status == 409
    pages.stack.revoke(leaf)
    assert "stays revoked" in text_of(alice.get(f"{path}/delete"))
    page = alice.follow(alice.post(f"{path}/delete", {"confirm": "delete"}))
    assert "was deleted" in text_of(page)
    assert "No certificates yet." in page
    alice.get(path, status=404)
