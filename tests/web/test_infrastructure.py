"""CAR-1: what pages and REST let somebody do with the CA's own certificates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pikachu.ca.service_certificates import OCSP
from pikachu.cli.session import operator
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from tests.support.deferreds import result_of
from tests.support.rest import REST
from tests.support.stack import Stack, build_core
from tests.support.visitor import make_pages

#: The role of a certificate → whether *Revoke* and *Delete* are offered with the root's key here, and without.
OFFERED = {
    "root": ((False, False), (False, False)),
    "issuing_ca": ((True, False), (False, False)),
    "ocsp_responder": ((True, False), (True, False)),
    "https": ((True, False), (True, False)),
    None: ((True, True), (True, True)),
}


@pytest.fixture(params=[True, False], ids=["root here", "root offline"])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Stack, bool]]:
    """A core, and whether the root's key is on this server."""
    stack = build_core(tmp_path, root_key=request.param)
    yield stack, request.param
    stack.close()


def own(rest: REST, role: str) -> dict[str, Any]:
    """One of the CA's own certificates."""
    listed = rest.good("GET", "/certificates?infrastructure=only", who="root")["items"]
    return next(one for one in listed if one["infrastructure"] == role)


def test_offers(either: tuple[Stack, bool]) -> None:
    """Pages offer nothing that this server then refuses, in the list and on the certificate's page."""
    stack, root_key = either
    result_of(stack.app.credentials.get(stack.issuer(), OCSP))
    stack.issue("device.example.com")
    visitor = make_pages(stack).visitor("root")
    query = ListQuery(limit=100, filters={"infrastructure": "include"})
    everything = result_of(stack.app.inventory.certificates(operator(), query)).items
    assert {one.infrastructure for one in everything} == OFFERED.keys()
    listed = visitor.get("/certificates?infrastructure=include")
    for one in everything:
        path = f"/certificates/{one.id}"
        expected = OFFERED[one.infrastructure][0 if root_key else 1]
        for html in (visitor.get(path), listed):
            offered = tuple(f'href="{path}/{action}"' in html for action in ("revoke", "delete"))
            assert offered == expected, one.infrastructure


@pytest.mark.parametrize("by_serial", [False, True], ids=["by id", "by serial number"])
@pytest.mark.parametrize("reason", ["cACompromise", "certificateHold"])
def test_an_issuing_ca_must_be_confirmed(rest: REST, by_serial: bool, reason: str) -> None:
    """Over REST a list of ids or serial numbers never ends a CA by mistake; repeating it needs no confirmation."""
    ca = own(rest, "issuing_ca")
    path = "/revocations" if by_serial else f"/certificates/{ca['id']}/revocation"
    body = {"reason": reason, **({"serial": ca["serial"]} if by_serial else {})}
    for wrong in ({}, {"confirm": None}):
        problem = rest.bad(409, "POST", path, {**body, **wrong}, who="root")
        assert problem["type"] == "urn:pikachu:problem:confirmation-required"
        assert "“confirm” set to “issuing_ca”" in problem["detail"]
    rest.bad(400, "POST", path, {**body, "confirm": "root"}, who="root")
    assert own(rest, "issuing_ca")["status"] == "valid"
    assert rest.good("POST", path, {**body, "confirm": "issuing_ca"}, who="root")["status"] == "revoked"
    assert rest.good("POST", path, body, who="root")["status"] == "revoked"


def test_other_certificates_need_no_confirmation(rest: REST) -> None:
    """Subscribers' certificates and those of services; naming a role that they don't have changes nothing."""
    stack = rest.stack
    result_of(stack.app.credentials.get(stack.issuer(), OCSP))
    for one in (own(rest, "ocsp_responder"), {"id": stack.issue("device.example.com").record.id}):
        body = {"reason": "superseded"}
        assert rest.good("POST", f"/certificates/{one['id']}/revocation", body, who="root")["status"] == "revoked"
    last = stack.issue("other.example.com").record
    body = {"reason": "superseded", "confirm": "issuing_ca"}
    assert rest.good("POST", f"/certificates/{last.id}/revocation", body, who="root")["status"] == "revoked"


def test_a_job_revokes_no_issuing_ca(rest: REST) -> None:
    """Its row fails with the way to do it; the rest is done."""
    ca, device = own(rest, "issuing_ca"), rest.stack.issue("device.example.com").record
    body = {"action": "revoke", "resource": "certificates", "ids": [ca["id"], device.id]}
    job = rest.good("POST", "/jobs", {**body, "arguments": {"reason": "superseded"}}, who="root", status=202)
    rest.stack.clock.pump([0.1] * 20)
    rows = rest.good("GET", f"/jobs/{job['id']}/results?sort=id", who="root")["items"]
    assert [one["state"] for one in rows] == ["failed", "done"]
    assert "issuing CA" in rows[0]["message"]
    assert own(rest, "issuing_ca")["status"] == "valid"


def test_a_hold_does_not_confirm_a_revocation(rest: REST) -> None:
    """An issuing CA on hold can be released, so that by id, by serial number or by a job it is not ended by mistake."""
    ca = own(rest, "issuing_ca")
    path = f"/certificates/{ca['id']}/revocation"
    rest.good("POST", path, {"reason": "certificateHold", "confirm": "issuing_ca"}, who="root")
    body = {"reason": "superseded"}
    for where, what in ((path, body), ("/revocations", {**body, "serial": ca["serial"]})):
        assert rest.bad(409, "POST", where, what, who="root")["type"] == "urn:pikachu:problem:confirmation-required"
    order = {"action": "revoke", "resource": "certificates", "ids": [ca["id"]], "arguments": body}
    job = rest.good("POST", "/jobs", order, who="root", status=202)
    rest.stack.clock.pump([0.1] * 20)
    (row,) = rest.good("GET", f"/jobs/{job['id']}/results", who="root")["items"]
    assert (row["state"], "issuing CA" in row["message"]) == ("failed", True)
    assert own(rest, "issuing_ca")["reason"] == "certificateHold"
    body = {"reason": "superseded", "confirm": "issuing_ca"}
    assert rest.good("POST", path, body, who="root")["reason"] == "superseded"


@pytest.mark.parametrize("role", ["root", "issuing_ca", "ocsp_responder", "https"])
def test_none_is_deleted_before_it_has_expired(rest: REST, role: str) -> None:
    """Not even a revoked one: clients ask for its status."""
    stack = rest.stack
    result_of(stack.app.credentials.get(stack.issuer(), OCSP))
    record = own(rest, role)
    if role == "ocsp_responder":
        serial = int(record["serial"], 16)
        result_of(stack.app.authority.revoke(serial, RevocationReason.SUPERSEDED, SYSTEM))
    for query in ("", "?revoke=superseded"):
        problem = rest.bad(409, "DELETE", f"/certificates/{record['id']}{query}", who="root")
        assert problem["detail"] == "One of the CA's own certificates can't be deleted before it has expired."
