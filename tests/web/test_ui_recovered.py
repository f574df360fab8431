"""Pages of recovered revocations: the list, the decisions, and the notices that lead there."""

from __future__ import annotations

import re

from pikachu.core.model.certificates import CertificateStatus, RevocationReason, format_serial
from tests.support.deferreds import result_of
from tests.support.recovered import recover
from tests.support.visitor import Pages, text_of

LINK = 'href="/va/recovered?decision=undecided"'


def test_notices(pages: Pages) -> None:
    """Administrators are led to the list while something waits for a decision."""
    root, alice = pages.visitor("root"), pages.visitor("alice")
    for path in ("/", "/live/panels", "/va"):
        assert LINK not in root.get(path)
    recover(pages.stack.app, pages.clock, 0x77, 0x78)
    for path in ("/", "/live/panels", "/va"):
        page = root.get(path)
        assert LINK in page
        assert "2 revocations are known only from the published CRL" in page
        assert LINK not in alice.get(path)
    root.post("/va/recovered-all/keep", {"confirm": "2"})
    for path in ("/", "/live/panels", "/va"):
        assert LINK not in root.get(path)


def test_the_list(pages: Pages) -> None:
    """Filters, order, search, pages and CSV."""
    leaf = pages.stack.issue("device.example.com")
    recover(pages.stack.app, pages.clock, leaf.serial)
    recover(pages.stack.app, pages.clock, *range(0x7701, 0x770A), reason=RevocationReason.CERTIFICATE_HOLD)
    root = pages.visitor("root")

    def shown(query: str) -> list[str]:
        return re.findall(r'<code class="serial" data-copy="(\w+)"', root.get(f"/va/recovered?{query}"))

    digits = format_serial(leaf.serial)
    held = [f"770{number}" for number in range(1, 10)]
    assert shown("") == [*held[::-1], digits]
    assert shown("sort=id") == [digits, *held]
    assert shown("sort=revoked_at&limit=10") == [digits, *held]
    assert shown("reason=keyCompromise") == shown("q=device") == [digits]
    assert shown("q=7703&decision=undecided&issuer=ec&reason=certificateHold") == ["7703"]
    assert shown("decision=keep") == []
    assert f'href="/certificates/{leaf.record.id}"' in root.get("/va/recovered")
    assert "10 revocations wait for a decision" in root.get("/va/recovered")
    csv = root.get("/va/recovered?format=csv&sort=id")
    assert "ID,Serial,Subject,Issuing CA,Revoked (UTC),Reason,Recovered (UTC),Decision\r\n" in csv
    assert f"1,{digits},CN=device.example.com,ec," in csv
    assert csv.count(",Undecided\r\n") == 10


def test_decide_on_one(pages: Pages) -> None:
    """The word is typed; afterwards nothing is left to decide."""
    app, root = pages.stack.app, pages.visitor("root")
    leaf = pages.stack.issue("device.example.com")
    kept, released = recover(app, pages.clock, 0x77, leaf.serial)
    assert "This can't be undone." in text_of(root.get(f"/va/recovered/{kept}/keep"))
    assert "A revocation that was right is undone" in text_of(root.get(f"/va/recovered/{released}/release"))
    for word in ("", "release", "drop"):
        text = root.post(f"/va/recovered/{kept}/keep", {"confirm": word}).body.decode()
        assert "Type the word keep to confirm" in text
    response = root.post(f"/va/recovered/{kept}/keep", {"confirm": "keep"})
    assert (response.status, response.headers["Location"]) == (303, "/va/recovered?decision=undecided")
    assert "Certificate 77 stays revoked." in root.get("/va/recovered")
    root.post(f"/va/recovered/{released}/release", {"confirm": "release"})
    assert "was released." in root.get("/va/recovered")
    assert result_of(app.statuses.status(leaf.serial)).status is CertificateStatus.VALID
    assert result_of(app.statuses.status(0x77)).status is CertificateStatus.REVOKED
    again = root.post(f"/va/recovered/{kept}/release", {"confirm": "release"})
    assert again.status == 409
    assert "does not wait for a decision any more" in again.body.decode()
    assert "<form method" not in root.get(f"/va/recovered/{kept}/release").partition("<main")[2]
    for path in ("99/keep", "1/drop", "x/keep", "1/none"):
        root.get(f"/va/recovered/{path}", status=404)
    assert root.post("/va/recovered/99/keep", {"confirm": "keep"}).status == 404


def test_decide_on_all(pages: Pages) -> None:
    """The number is typed, so what has arrived since is not decided unseen."""
    app, root = pages.stack.app, pages.visitor("root")
    recover(app, pages.clock, 0x77, 0x78)
    assert 'data-typed="2"' in root.get("/va/recovered-all/release")
    recover(app, pages.clock, 0x79)
    for number in ("2", "", "release"):
        response = root.post("/va/recovered-all/release", {"confirm": number})
        assert response.status == 409
        assert 'data-typed="3"' in response.body.decode()
    assert root.post("/va/recovered-all/release", {"confirm": "3"}).status == 303
    assert "3 certificates released." in root.get("/va/recovered")
    assert result_of(app.statuses.status(0x77)).status is None
    recover(app, pages.clock, 0x80)
    root.post("/va/recovered-all/keep", {"confirm": "1"})
    assert "1 certificate kept revoked." in root.get("/va/recovered")
    for word in ("keep", "release"):
        assert "No recovered revocation waits for a decision." in root.get(f"/va/recovered-all/{word}", status=409)
    root.get("/va/recovered-all/drop", status=404)
