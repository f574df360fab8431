"""REST: users, tokens, challenges, stored requests, policies, CAs (INT-2, USR-4, USR-6, CHP-1, CSR-3, POL-1)."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from pikachu.core.model.people import Scope
from pikachu.x509.crl import crl_pem
from tests.support.deferreds import result_of
from tests.support.pki import brought, make_csr
from tests.support.rest import REST, csr_pem, make_rest
from tests.support.stack import DEFAULT_EXTENSIONS, build_core

USER = {"username": "erin", "email": "erin@example.com", "password": "long enough"}
POLICY = {"name": "sensors", "validity_days": 90, "extensions": DEFAULT_EXTENSIONS}


class TestUsers:
    def test_life(self, rest: REST) -> None:
        """USR-4: pending, approved, suspended, activated, promoted, deleted."""
        made = rest.good("POST", "/users", USER, who="root", status=201)
        assert (made["role"], made["state"], made["source"]) == ("user", "pending", "local")
        assert "password" not in str(made)
        path = f"/users/{made['id']}"
        for change in ({"state": "active"}, {"state": "suspended"}, {"state": "active"}, {"role": "admin"}):
            assert rest.good("PATCH", path, change, who="root").items() >= change.items()
        both = {"email": "new@example.com", "role": "user", "state": "suspended"}
        assert rest.good("PATCH", path, both, who="root").items() >= both.items()
        types = [one["type"] for one in rest.good("GET", "/events?resource_name=erin", who="root")["items"]]
        assert types == ["suspend", "role change", "activated", "suspend", "activated", "add"]
        rest.good("POST", f"{path}/password", {"password": "another one"}, who="root", status=204)
        rest.good("DELETE", path, who="root", status=204)
        rest.bad(404, "GET", path, who="root")
        rest.bad(404, "DELETE", path, who="root")
        rest.bad(404, "PATCH", path, {"state": "active"}, who="root")
        (gone,) = rest.good("GET", "/users?state=deleted", who="root")["items"]
        assert (gone["id"], gone["username"], gone["state"], gone["email"]) == (made["id"], "erin", "deleted", "")
        assert gone["id"] not in [one["id"] for one in rest.good("GET", "/users", who="root")["items"]]
        again = rest.good("POST", "/users", USER, who="root", status=201)
        assert again["id"] > made["id"]

    def test_what_an_account_holds(self, rest: REST) -> None:
        """Revoked with the account's suspension or deletion, where the reason is given."""
        bob = rest.accounts["bob"].id
        ids = [rest.good("POST", "/certificates", {"csr": csr_pem()}, who="bob", status=201)["id"]]
        assert rest.good("GET", f"/users/{bob}", who="root")["valid_certificates"] == 1
        rest.bad(400, "PATCH", f"/users/{bob}", {"revoke": "privilegeWithdrawn"}, who="root")
        rest.bad(400, "PATCH", f"/users/{bob}", {"state": "suspended", "revoke": "because"}, who="root")
        change = {"state": "suspended", "revoke": "privilegeWithdrawn"}
        assert rest.good("PATCH", f"/users/{bob}", change, who="root")["valid_certificates"] == 0
        alice = rest.accounts["alice"].id
        ids.append(
            rest.good("POST", "/certificates", {"csr": csr_pem("other.example.com", slot=77)}, who="alice", status=201)[
                "id"
            ]
        )
        rest.bad(400, "DELETE", f"/users/{alice}?revoke=because", who="root")
        rest.good("DELETE", f"/users/{alice}?revoke=cessationOfOperation", who="root", status=204)
        found = [rest.good("GET", f"/certificates/{one}", who="root") for one in ids]
        assert [one["status"] for one in found] == ["revoked", "revoked"]
        assert [one["owner"] for one in found] == ["bob", "alice (deleted)"]

    def test_nothing_changes(self, rest: REST) -> None:
        """A PATCH that changes nothing writes no event."""
        path = f"/users/{rest.accounts['bob'].id}"
        before = rest.good("GET", "/events?resource_name=bob", who="root")["items"]
        for body in ({}, {"state": "active"}, {"role": "user", "email": "bob@example.com"}):
            rest.good("PATCH", path, body, who="root")
        assert rest.good("GET", "/events?resource_name=bob", who="root")["items"] == before

    def test_refusals(self, rest: REST) -> None:
        """USR-4: the last admin stays, nobody suspends or deletes themself, and invalid values are refused."""
        me = f"/users/{rest.accounts['root'].id}"
        rest.bad(409, "PATCH", me, {"role": "user"}, who="root")
        rest.bad(409, "PATCH", me, {"state": "suspended"}, who="root")
        rest.bad(409, "DELETE", me, who="root")
        bob = f"/users/{rest.accounts['bob'].id}"
        rest.bad(409, "PATCH", me, {"state": "pending"}, who="root")
        for body in ({"role": "owner"}, {"state": None}, {"email": "x"}, {"username": "x"}, {"password": "x"}):
            rest.bad(400, "PATCH", bob, body, who="root")
        for change in ({"username": ""}, {"username": "a b"}, {"email": "none"}, {"state": "suspended"}):
            rest.bad(400, "POST", "/users", {**USER, **change}, who="root")
        rest.bad(422, "POST", "/users", {**USER, "password": "short"}, who="root")
        rest.bad(409, "POST", "/users", {**USER, "username": "ALICE"}, who="root")
        assert [one["username"] for one in rest.good("GET", "/users?role=admin", who="root")["items"]] == ["root"]
        assert len(rest.good("GET", "/users?q=example.com&sort=username", who="root")["items"]) == 3


class TestTokens:
    def test_life(self, rest: REST) -> None:
        """USR-6: shown once, scoped, ended."""
        body = {"name": "ci", "scopes": ["read", "enroll"], "days": 30}
        made = rest.good("POST", "/tokens", body, who="alice", status=201)
        assert (made["scopes"], made["owner"]) == (["read", "enroll"], "alice")
        shown = rest.good("GET", f"/tokens/{made['id']}", who="alice")
        assert "token" not in shown
        assert rest.call("GET", "/tokens", who="alice").body.count(made["token"].encode()) == 0
        rest.good("GET", "/certificates", token=made["token"])
        rest.bad(403, "POST", "/tokens", {"name": "more"}, token=made["token"])
        rest.good("DELETE", f"/tokens/{made['id']}", who="alice", status=204)
        rest.bad(401, "GET", "/certificates", token=made["token"])

    def test_for_others(self, rest: REST) -> None:
        """Admins make tokens for others; others don't."""
        body = {"name": "gift", "user_id": rest.accounts["alice"].id}
        assert rest.good("POST", "/tokens", body, who="root", status=201)["owner"] == "alice"
        rest.bad(404, "POST", "/tokens", body, who="bob")
        rest.bad(400, "POST", "/tokens", {"name": "x", "scopes": ["admin"]}, who="alice")
        rest.bad(400, "POST", "/tokens", {"name": "x", "scopes": ["all"]}, who="alice")
        rest.bad(400, "POST", "/tokens", {"name": "x", "scopes": []}, who="alice")
        rest.bad(400, "POST", "/tokens", {"name": "x", "days": 0}, who="alice")
        rest.bad(400, "POST", "/tokens", {"name": "a\nb"}, who="alice")


class TestChallengePasswords:
    def test_life(self, rest: REST) -> None:
        """CHP-1: 128 bits in upper-case hex; lists don't show it; its owner and admins see it again."""
        made = rest.good("POST", "/challenge-passwords", who="alice", status=201)
        assert len(made["password"]) == 32
        assert int(made["password"], 16) >= 0
        assert made["expires_at"] > made["created_at"]
        path = f"/challenge-passwords/{made['id']}"
        for place in ("/challenge-passwords", path):
            assert made["password"].encode() not in rest.call("GET", place, who="alice").body
        for who in ("alice", "root"):
            assert rest.good("GET", f"{path}/password", who=who)["password"] == made["password"]
        looked = rest.good("GET", "/events?type=view", who="root")["items"]
        assert [(one["actor"], one["resource_name"]) for one in looked] == [("root", made["prefix"])]
        rest.clock.advance(3601)
        assert rest.good("GET", path, who="alice")["status"] == "expired"
        assert len(rest.good("GET", "/challenge-passwords?status=expired", who="alice")["items"]) == 1
        everybody = {"everybody": True}
        rest.bad(403, "POST", "/challenge-passwords/expired-deletion", everybody, who="bob")
        assert rest.good("POST", "/challenge-passwords/expired-deletion", who="bob") == {"deleted": 0}
        assert rest.good("POST", "/challenge-passwords/expired-deletion", everybody, who="root") == {"deleted": 1}

    def test_choices(self, rest: REST) -> None:
        """An owner and a validity may be chosen; the owner by admins only."""
        alice = rest.accounts["alice"].id
        made = rest.good("POST", "/challenge-passwords", {"user_id": alice}, who="root", status=201)
        assert made["owner"] == "alice"
        rest.bad(404, "POST", "/challenge-passwords", {"user_id": alice}, who="bob")
        for seconds in (0, -5, 2**31 - 1):
            rest.bad(400, "POST", "/challenge-passwords", {"validity_seconds": seconds}, who="bob")

    def test_names(self, rest: REST) -> None:
        """ENR-1: label, subject and alternative names; lists filter, sort and search them."""
        names = {"label": " pump 1 ", "subject": "C=DE, O=Example, CN=pump", "sans": ["DNS:A.example.com", "IP:::1"]}
        made = rest.good("POST", "/challenge-passwords", names, who="alice", status=201)
        assert made["label"] == "pump 1"
        assert made["subject"] == "CN=pump,O=Example,C=DE"
        assert made["sans"] == ["DNS:A.example.com", "IP:::1"]
        plain = rest.good("POST", "/challenge-passwords", {"label": "a"}, who="alice", status=201)
        assert (plain["subject"], plain["sans"]) == (None, None)
        empty = {"subject": "", "sans": ["a.example.com", "A.EXAMPLE.com"]}
        assert rest.good("POST", "/challenge-passwords", empty, who="alice", status=201)["sans"] == [
            "DNS:a.example.com"
        ]
        for query, ids in (
            ("label=pump+1", [made["id"]]),
            ("label=pump", []),
            ("q=o%3Dexample", [made["id"]]),
            ("sort=-label&limit=2", [made["id"], plain["id"]]),
        ):
            items = rest.good("GET", f"/challenge-passwords?{query}", who="alice")["items"]
            assert [one["id"] for one in items] == ids
        for wrong in (
            {"sans": ["DNS:a"]},
            {"subject": ""},
            {"subject": "x"},
            {"subject": "CN="},
            {"subject": "CN=a", "sans": ["DNS:a b"]},
            {"subject": "CN=a", "sans": [f"DNS:n{number}" for number in range(101)]},
            {"label": "a\nb"},
        ):
            assert rest.call("POST", "/challenge-passwords", wrong, who="alice").status in (400, 422), wrong


class TestCSRs:
    @pytest.mark.parametrize("key_type", ["p256", "mldsa65"])
    def test_life(self, rest: REST, key_type: str) -> None:
        """CSR-1 to CSR-3: kept, listed, downloaded by owner and admins, deleted."""
        text = csr_pem("kept.example.com", key_type, challenge="SECRET-OF-DEVICE")
        made = rest.good("POST", "/csrs", {"csr": text}, who="alice", status=201)
        assert (made["name"], made["status"], made["owner"]) == ("kept.example.com", "pending", "alice")
        for who in ("alice", "root"):
            response = rest.call("GET", f"//requests/{made['id']}/download", who=who)
            assert response.body.decode() == text == made["pem"]
            assert response.headers["Content-Disposition"] == f'attachment; filename="request-{made["id"]}.csr"'
        rest.bad(404, "GET", f"//requests/{made['id']}/download", who="bob")
        rest.bad(401, "GET", f"//requests/{made['id']}/download")
        assert b"SECRET" not in rest.call("GET", "/csrs", who="alice").body
        assert "SECRET" not in str(rest.good("GET", "/events?limit=1000", who="root"))
        rest.good("DELETE", f"/csrs/{made['id']}", who="alice", status=204)
        rest.bad(404, "GET", f"//requests/{made['id']}/download", who="alice")

    def test_names(self, rest: REST) -> None:
        """A name that would be a header or a file elsewhere is only a name here."""
        for name in ('a"; filename="../x', "Müller", "<script>"):
            made = rest.good("POST", "/csrs", {"csr": csr_pem(), "name": name}, who="alice", status=201)
            assert made["name"] == name
            response = rest.call("GET", f"//requests/{made['id']}/download", who="alice")
            assert name not in str(response.headers)
        for name in ("a\r\nSet-Cookie: x=1", "x" * 129):
            rest.bad(400, "POST", "/csrs", {"csr": csr_pem(), "name": name}, who="alice")

    def test_broken(self, rest: REST) -> None:
        """A CSR with a bad signature is not stored."""
        der = bytearray(make_csr()[1])
        der[-1] ^= 1
        rest.bad(422, "POST", "/csrs", {"csr": base64.b64encode(der).decode()}, who="alice")


class TestPolicies:
    def made(self, rest: REST, who: str = "alice", **changes: object) -> dict[str, Any]:
        found: dict[str, Any] = rest.good("POST", "/policies", {**POLICY, **changes}, who=who, status=201)
        return found

    def test_life(self, rest: REST) -> None:
        """POL-1, POL-4: made, used, changed, replaced, deleted."""
        limits = {"keys": ["EC"], "names": ["DNS:*.example.com"], "max_days": 90, "exact_names": True}
        limits |= {"other_names": ["1.3.6.1.4.1.311.20.2.3"]}
        made = self.made(rest, limits=limits)
        assert made["limits"].items() >= limits.items()
        assert (made["owner"], made["system"], made["approval"]) == ("alice", False, "automatic")
        signed = {"csr": csr_pem(), "policy": "sensors"}
        assert rest.good("POST", "/certificates", signed, who="alice", status=201)["policy"] == "sensors"
        rest.bad(404, "POST", "/certificates", {**signed, "csr": csr_pem()}, who="bob")
        rsa = {**signed, "csr": csr_pem(key_type="rsa2048")}
        assert "EC" in rest.bad(422, "POST", "/certificates", rsa, who="alice")["detail"]
        path = f"/policies/{made['id']}"
        changed = rest.good("PATCH", path, {"use_for_est": True, "issuer": "ec"}, who="alice")
        assert changed["limits"] == made["limits"]
        assert (changed["use_for_est"], changed["issuer"], changed["validity_days"]) == (True, "ec", 90)
        assert rest.good("PATCH", path, {"issuer": None}, who="alice")["issuer"] is None
        replaced = rest.good("PUT", path, {**POLICY, "validity_days": 10}, who="alice")
        assert (replaced["validity_days"], replaced["use_for_est"], replaced["limits"]["keys"]) == (10, False, [])
        rest.good("DELETE", path, who="alice", status=204)
        rest.bad(404, "GET", path, who="alice")

    def test_flags(self, rest: REST) -> None:
        """Any number are used for a protocol, one of an owner is its default; names are unique."""
        first = self.made(rest, use_for_est=True)
        second = self.made(rest, name="other", use_for_est=True)
        assert (first["default_for_est"], second["default_for_est"]) == (True, False)
        one, other = (f"/policies/{made['id']}" for made in (first, second))
        assert rest.good("PATCH", other, {"default_for_est": True}, who="alice")["default_for_est"] is True
        assert rest.good("GET", one, who="alice")["default_for_est"] is False
        rest.bad(400, "PATCH", other, {"default_for_scep": True}, who="alice")
        # A replacement that says nothing of it leaves the mark.
        replaced = rest.good("PUT", other, {**POLICY, "name": "other", "use_for_est": True}, who="alice")
        assert replaced["default_for_est"] is True
        rest.bad(409, "PATCH", f"{other}?next_default_est={first['id']}", {"validity_days": 9}, who="alice")
        rest.bad(400, "DELETE", f"{other}?next_default_est=x", who="alice")
        rest.bad(404, "DELETE", f"{other}?next_default_est=999", who="alice")
        rest.good("PATCH", f"{other}?next_default_est={first['id']}", {"use_for_est": False}, who="alice")
        assert rest.good("GET", one, who="alice")["default_for_est"] is True
        rest.good("PATCH", other, {"use_for_est": True}, who="alice")
        rest.good("DELETE", f"{one}?next_default_est={second['id']}", who="alice", status=204)
        assert rest.good("GET", other, who="alice")["default_for_est"] is True
        rest.good("DELETE", other, who="alice", status=204)
        self.made(rest, use_for_est=True)
        rest.bad(409, "POST", "/policies", POLICY, who="bob")
        self.made(rest, who="bob", name="of bob", use_for_est=True)
        rest.bad(403, "POST", "/policies", {**POLICY, "name": "all", "system": True}, who="alice")

    @pytest.mark.parametrize(
        "change",
        [
            {"name": ""},
            {"name": "a/b"},
            {"limits": {"keys": "EC"}},
            {"limits": {"colour": 1}},
            {"limits": {"exact_names": 1}},
            {"limits": {"keys": ["EC"] * 65}},
            {"limits": {"keys": [1]}},
            {"limits": None},
            {"approval": "maybe"},
            {"issuer": "nobody"},
            {"system": 1},
            {"days": 5},
        ],
    )
    def test_bad(self, rest: REST, change: dict[str, object]) -> None:
        """Errors are 400 and name the field."""
        problem = rest.bad(400, "POST", "/policies", {**POLICY, **change}, who="root")
        if change.keys() & {"limits", "approval", "system", "days"}:
            assert next(iter(change)) in problem["detail"]

    def test_types_of_other_names(self, rest: REST) -> None:
        """Usual names become OIDs; for other values the error names the field."""
        made = self.made(rest, limits={"other_names": ["upn", "krb5", "1.2.3", "UPN"]})
        assert made["limits"]["other_names"] == ["1.3.6.1.4.1.311.20.2.3", "1.3.6.1.5.2.2", "1.2.3"]
        for wrong in (["e-mail"], ["1.2.3"] * 65, [""], ["9.9"]):
            body = {**POLICY, "name": "wrong", "limits": {"other_names": wrong}}
            assert re.search("otherName|other_names", rest.bad(400, "POST", "/policies", body, who="root")["detail"])

    def test_bad_text(self, rest: REST) -> None:
        """A template's fault is 422 with its line."""
        wrong = {**POLICY, "extensions": "[ v3_ext ]\nkeyUsage = nonsense\n"}
        assert "Line 2" in rest.bad(422, "POST", "/policies", wrong, who="root")["detail"]


def test_cas(rest: REST) -> None:
    """INT-3: the issuing CAs by name, with their chains, for anyone."""
    items = rest.good("GET", "/cas")["items"]
    assert [(one["name"], one["default"]) for one in items] == [("ec", True)]
    chain = x509.load_pem_x509_certificates(items[0]["chain_pem"].encode())
    assert len(chain) == 2
    assert items[0]["subject"] == chain[0].subject.rfc4514_string()
    assert rest.good("GET", "/cas/ec") == items[0]
    assert items[0]["text"].startswith("Certificate:\n")
    rest.bad(404, "GET", "/cas/rsa")


def test_all_generations(rest: REST) -> None:
    """UI-6: the root is listed too, and each key by its identifier, with its use and state."""
    root = rest.good("GET", "/cas?generation=root")["items"]
    assert [(one["name"], one["subject"], one["issuer"]) for one in root] == [("root", "CN=Test root", "CN=Test root")]
    everything = rest.good("GET", "/cas?generation=all")["items"]
    assert [one["generation"] for one in everything] == ["current", "root"]
    for one in everything:
        assert one["work"]
        assert rest.good("GET", f"/cas/{one['key_identifier']}") == one
    assert rest.good("GET", "/cas?generation=next")["items"] == []
    assert "“generation” must be one of" in rest.bad(400, "GET", "/cas?generation=last")["detail"]


def test_crls(rest: REST) -> None:
    """VA-1, VA-2: each CA's newest CRL; an admin has one made, and brings no CRL of a CA whose key is here."""
    assert [one["number"] for one in rest.good("GET", "/crls")["items"]] == [None, None]
    rest.bad(404, "GET", "/crls/ec")
    rest.bad(404, "GET", "/crls/none")
    made = rest.good("POST", "/crls/ec", who="root", status=201)
    assert (made["ca"], made["entries"], made["made_here"]) == ("ec", 0, True)
    crl = x509.load_pem_x509_crl(made["pem"].encode())
    assert made["number"] == crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert made["this_update"] == f"{crl.last_update_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert rest.good("GET", f"/crls/{made['key_identifier']}") == made
    listed = rest.good("GET", "/crls")["items"][0]
    assert listed.items() <= made.items()
    rest.bad(409, "POST", "/crls/ec", {"crl": made["pem"]}, who="root")
    rest.bad(404, "POST", "/crls/none", who="root")


def test_parts_of_crls(tmp_path: Path) -> None:
    """CRL-D: the list and the single CRL have the delta CRL and the shards, which are served at their paths."""
    changes = {("CRL", "delta"): "1h", ("CRL", "shards"): "2", ("CA", "public_url"): "http://ca.example.com"}
    stack = build_core(tmp_path, changes=changes)
    result_of(stack.app.publisher.begin())
    rest = make_rest(stack)
    listed = rest.good("GET", "/crls")["items"][0]
    single = rest.good("GET", "/crls/ec")
    assert listed.items() <= single.items()
    key = listed["key_identifier"]
    assert listed["delta"]["der_path"] == f"/crl/{key}-delta.crl"
    assert [one["pem_path"] for one in listed["shards"]] == [f"/crl/{key}-0.pem", f"/crl/{key}-1.pem"]
    for part, one in zip(("delta", "0", "1"), (listed["delta"], *listed["shards"]), strict=True):
        der_path, _ = stack.app.publisher.folder.paths(stack.issuer().key_identifier, part)
        crl = x509.load_der_x509_crl(der_path.read_bytes())
        assert one["number"] == crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        assert (one["entries"], one["size"]) == (0, der_path.stat().st_size)
        assert one["next_update"] == f"{crl.next_update_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert [one["shards"] for one in rest.good("GET", "/crls")["items"]][1:] == [[]]
    stack.close()


def test_an_offline_roots_crl(tmp_path: Path) -> None:
    """An admin brings it, in PEM."""
    stack = build_core(tmp_path, root_key=False)
    rest = make_rest(stack)
    pem = crl_pem(brought(stack.files.root, 9)).decode()
    rest.bad(409, "POST", "/crls/root", who="root")
    rest.bad(400, "POST", "/crls/root", {"crl": "nonsense"}, who="root")
    rest.bad(400, "POST", "/crls/root", {"crl": ""}, who="root")
    rest.bad(403, "POST", "/crls/root", {"crl": pem}, who="alice")
    made = rest.good("POST", "/crls/root", {"crl": pem}, who="root", status=201)
    assert (made["number"], made["pem"], made["made_here"]) == (9, pem, False)
    assert rest.good("GET", "/crls/root") == made
    events = rest.good("GET", "/events?resource_type=CRL", who="root")["items"]
    assert [(one["type"], one["actor"]) for one in events] == [("upload", "root")]
    rest.bad(409, "POST", "/crls/root", {"crl": crl_pem(brought(stack.files.root, 8)).decode()}, who="root")
    stack.close()


def test_status(rest: REST) -> None:
    """CRT-8: hexadecimal with or without 0x; an unknown serial number gives 200 with "not found"."""
    leaf = rest.stack.issue(owner_id=rest.accounts["alice"].id)
    for text in (f"{leaf.serial:x}", f"0x{leaf.serial:X}", f"00{leaf.serial:x}"):
        assert rest.good("GET", f"/status/{text}") == {"serial": f"{leaf.serial:x}", "status": "valid"}
    assert rest.good("GET", "/status/1f") == {"serial": "1f", "status": "not found"}
    for text in ("xyz", "0", "-1", "1" * 50, "%00", "1%0d%0aX"):
        rest.bad(400, "GET", f"/status/{text}")


def test_scopes_are_named(rest: REST) -> None:
    """A refusal names the missing scope."""
    token = rest.token("alice", Scope.READ)
    assert "enroll" in rest.bad(403, "POST", "/csrs", {"csr": csr_pem()}, token=token)["detail"]
