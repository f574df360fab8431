"""REST: recovered revocations, listed and decided by administrators."""

from __future__ import annotations

from pikachu.core.model.certificates import CertificateStatus, RevocationReason, format_serial
from tests.support.deferreds import result_of
from tests.support.recovered import recover
from tests.support.rest import REST

PATH = "/recovered-revocations"


def test_lists(rest: REST) -> None:
    """Filters, order, search, and pages by cursor."""
    leaf = rest.stack.issue("device.example.com")
    recover(rest.stack.app, rest.clock, leaf.serial)
    recover(rest.stack.app, rest.clock, 0x77, reason=RevocationReason.CERTIFICATE_HOLD)

    def serials(query: str) -> list[str]:
        return [one["serial"] for one in rest.good("GET", f"{PATH}?{query}", who="root")["items"]]

    digits = format_serial(leaf.serial)
    assert serials("") == serials("sort=-recovered_at") == ["77", digits]
    assert serials("sort=revoked_at") == [digits, "77"]
    first = rest.good("GET", f"{PATH}?limit=1&sort=id", who="root")
    assert serials(f"sort=id&cursor={first['next_cursor']}") == ["77"]
    assert serials("reason=certificateHold&decision=undecided&issuer=ec&q=7") == ["77"]
    assert serials("q=device.example") == [digits]
    assert serials("decision=drop") == []
    for query in ("decision=none", "reason=lost", "sort=serial", "colour=red"):
        rest.bad(400, "GET", f"{PATH}?{query}", who="root")
    (item,) = first["items"]
    assert {name: item[name] for name in ("issuer", "subject", "certificate_id", "reason", "decision")} == {
        "issuer": "ec",
        "subject": "CN=device.example.com",
        "certificate_id": leaf.record.id,
        "reason": "keyCompromise",
        "decision": None,
    }
    assert rest.good("GET", f"{PATH}/{item['id']}", who="root") == item
    rest.bad(404, "GET", f"{PATH}/99", who="root")


def test_decisions(rest: REST) -> None:
    """Once each, and all with their number only."""
    app = rest.stack.app
    leaf = rest.stack.issue("device.example.com")
    kept, dropped, *_ = recover(app, rest.clock, 0x77, leaf.serial, 0x78, 0x79)
    document = rest.good("POST", f"{PATH}/{kept}/decision", {"decision": "keep"}, who="root")
    assert (document["serial"], document["decision"]) == ("77", "keep")
    document = rest.good("POST", f"{PATH}/{dropped}/decision", {"decision": "drop"}, who="root")
    assert document["decision"] == "drop"
    assert result_of(app.statuses.status(leaf.serial)).status is CertificateStatus.VALID
    assert result_of(app.statuses.status(0x77)).status is CertificateStatus.REVOKED
    for one in (kept, dropped):
        rest.bad(409, "POST", f"{PATH}/{one}/decision", {"decision": "drop"}, who="root")
    rest.bad(404, "POST", f"{PATH}/99/decision", {"decision": "drop"}, who="root")
    for body in ({}, {"decision": "release"}, {"decision": None}):
        rest.bad(400, "POST", f"{PATH}/{kept}/decision", body, who="root")
        rest.bad(400, "POST", f"{PATH}/decision", {**body, "count": 2}, who="root")
    for count in (1, 3, 0):
        problem = rest.bad(409, "POST", f"{PATH}/decision", {"decision": "drop", "count": count}, who="root")
        assert "2 recovered revocations wait" in problem["detail"]
    for wrong in (-1, 1 << 63, "2", None):
        rest.bad(400, "POST", f"{PATH}/decision", {"decision": "drop", "count": wrong}, who="root")
    assert rest.good("POST", f"{PATH}/decision", {"decision": "drop", "count": 2}, who="root") == {"decided": 2}
    assert result_of(app.statuses.status(0x78)).status is None
    assert rest.good("GET", f"{PATH}?decision=undecided", who="root")["items"] == []
