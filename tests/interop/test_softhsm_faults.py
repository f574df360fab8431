"""Outages of the token of a CA, and recovery without a restart (HSM-1)."""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pikachu.core.errors import ConfigError
from pikachu.http.tree import Tree
from pikachu.server.downloads import download_tree
from tests.protocols.ocsp.server import OCSPServer
from tests.support import ocsp
from tests.support.crl_parts import WITH_PARTS, check_listed, check_revocation, issue_named
from tests.support.deferreds import result_of
from tests.support.est import EST, est_site
from tests.support.pki import make_csr, make_key
from tests.support.scep import SCEP, scep_site
from tests.support.scep_client import csr
from tests.support.server import wait_until
from tests.support.softhsm import PIN, SoftToken, soft_token
from tests.support.stack import Stack, ask, make_files, open_stack

pytestmark = pytest.mark.interop


@dataclass
class TokenCA:
    """A CA whose keys are in a token."""

    stack: Stack
    token: SoftToken

    def est_status(self) -> tuple[int, str | None]:
        """Enroll over EST; the status and Retry-After."""
        est = EST(self.stack, est_site(self.stack))
        answer = est.enroll(make_csr()[1], user="alice")
        return answer.status, answer.headers.get("Retry-After")

    def scep_status(self) -> int:
        """Enroll over SCEP; the HTTP status."""
        scep = SCEP(self.stack, scep_site(self.stack))
        client = scep.client()
        return scep.post(client.pkcs_req(csr(client.key, challenge=scep.admin_challenge()))).status

    def ocsp_status(self, serial: int) -> str:
        """The status of a certificate, in an answer that verifies."""
        server = OCSPServer(self.stack)
        answer = server.post(ocsp.request(server.cert_id(serial)))
        return ocsp.verify(answer.body, self.stack.issuer().certificate, self.stack.app.authority.now()).status

    def ready(self) -> tuple[str, str]:
        """The state and the message of the check."""
        tree = Tree()
        for name, resource in download_tree(self.stack.app).items():
            tree.putChild(name, resource)
        self.stack.clock.advance(11)
        document = json.loads(ask(self.stack.site(tree), self.stack.clock, "/readyz").body)
        assert str(self.token.folder) not in json.dumps(document)
        assert PIN not in json.dumps(document)
        return document["checks"]["pkcs11"], document["messages"]["pkcs11"]


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenCA]:
    """An EC and an RSA CA in one token, with delta CRLs and shards, and the account alice."""
    token = soft_token(tmp_path / "token", monkeypatch)
    changes = {**token.settings(ec="pikachu-ec", rsa="pikachu-rsa"), **WITH_PARTS}
    files = make_files(tmp_path / "ca", ("p256", "rsa2048"), changes=changes)
    for number, name in enumerate(("ec", "rsa"), 1):
        token.import_key(files.issuers[name].key, f"pikachu-{name}", number)
        (files.folder / f"{name}.key").unlink()
    stack = open_stack(files)
    stack.app.publisher.begin()
    made = TokenCA(stack, token)
    EST(stack, est_site(stack)).account("alice")
    yield made
    stack.close()


def cryptoki(ca: TokenCA, function: str, *arguments: Any) -> None:
    """Call the library from outside of the server, in its process."""
    library = ctypes.CDLL(str(ca.token.module))
    assert getattr(library, function)(*arguments) == 0


def close_sessions(ca: TokenCA) -> None:
    """Somebody else in the process closes all sessions, which ends the login, too."""
    slots, count = (ctypes.c_ulong * 8)(), ctypes.c_ulong(8)
    cryptoki(ca, "C_GetSlotList", 1, ctypes.byref(slots), ctypes.byref(count))
    for slot in slots[: count.value]:
        cryptoki(ca, "C_CloseAllSessions", ctypes.c_ulong(slot))


def restart_library(ca: TokenCA) -> None:
    """The library forgets everything, as after an update of its daemon."""
    cryptoki(ca, "C_Finalize", None)
    cryptoki(ca, "C_Initialize", None)


def take_away(ca: TokenCA) -> None:
    ca.token.take_away()
    restart_library(ca)


def reinitialize(ca: TokenCA) -> None:
    """The token was initialized anew, so its keys are gone."""
    ca.token.take_away()
    ca.token.initialize()
    restart_library(ca)


def wrong_pin(ca: TokenCA) -> None:
    ca.token.write_pin("0000-wrong")
    close_sessions(ca)


def right_pin(ca: TokenCA) -> None:
    ca.token.write_pin(PIN)


def lose_pin_file(ca: TokenCA) -> None:
    ca.token.pin_file.unlink()
    close_sessions(ca)


def empty_pin_file(ca: TokenCA) -> None:
    ca.token.pin_file.write_text("\n", encoding="ascii")
    close_sessions(ca)


def swap_keys(ca: TokenCA) -> None:
    """Another key has the label."""
    ca.token.take_away()
    ca.token.initialize()
    ca.token.import_key(make_key("p256", 7), "pikachu-ec", 1)
    ca.token.import_key(ca.stack.files.issuers["rsa"].key, "pikachu-rsa", 2)
    restart_library(ca)


def double_label(ca: TokenCA) -> None:
    """Two keys have it."""
    ca.token.copy_away()
    ca.token.import_key(make_key("p256", 7), "pikachu-ec", 9)
    restart_library(ca)


def bring_back(ca: TokenCA) -> None:
    ca.token.bring_back()
    restart_library(ca)


FAULTS: dict[str, tuple[Callable[[TokenCA], None], str, Callable[[TokenCA], None]]] = {
    "token away": (take_away, "no token labelled 'pikachu'", bring_back),
    "token initialized again": (reinitialize, "no private key with label 'pikachu-ec'", bring_back),
    "wrong PIN": (wrong_pin, "refused the PIN", right_pin),
    "PIN file missing": (lose_pin_file, "pin_file can't be read", right_pin),
    "PIN file empty": (empty_pin_file, "pin_file is empty", right_pin),
    "another key": (swap_keys, "is not the key of the CA's certificate", bring_back),
    "two keys": (double_label, "2 private keys with label 'pikachu-ec'", bring_back),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_outage_and_recovery(ca: TokenCA, fault: str) -> None:
    """EST and SCEP answer 503 with Retry-After, /readyz says why, OCSP continues; then all works again by itself."""
    break_it, message, mend = FAULTS[fault]
    leaf = ca.stack.issue()
    result_of(ca.stack.app.responder.prepare())
    assert ca.ready() == ("ok", "Ready.")
    assert (ca.est_status()[0], ca.scep_status()) == (200, 200)
    break_it(ca)
    status, retry_after = ca.est_status()
    assert (status, int(retry_after or 0) > 0) == (503, True)
    # The RA's key is no token's, so SCEP messages are still read.
    assert ca.scep_status() in (200, 503)
    state, text = ca.ready()
    assert state == "unavailable"
    assert re.search(message, text), text
    assert ca.ocsp_status(leaf.serial) == "good"
    mend(ca)
    # A key that is not found has the server log in again every two seconds only.
    wait_until(lambda: ca.est_status()[0] == 200, "the CA issues again")
    assert ca.ready() == ("ok", "Ready.")
    assert ca.scep_status() == 200


@pytest.mark.parametrize("disturb", [close_sessions, restart_library])
def test_lost_sessions(ca: TokenCA, disturb: Callable[[TokenCA], None]) -> None:
    """Nobody notices: the token is found again within the same request."""
    for _ in range(3):
        assert ca.est_status()[0] == 200
        disturb(ca)
    assert ca.est_status()[0] == 200


def test_deltas_and_shards_are_signed_in_the_token(ca: TokenCA) -> None:
    """A revocation is on both within a second; those of an outage follow when the token is back (CRL-D)."""
    stack = ca.stack
    for name in ("ec", "rsa"):
        issuer = stack.issuer(name)
        listed, late = check_revocation(stack, name), issue_named(stack, issuer)
        ca.token.take_away()
        stack.revoke(late)
        stack.clock.advance(1)
        check_listed(stack, issuer, listed)
        ca.token.bring_back()
        wait_until(lambda: ca.ready()[0] == "ok", "the token is back")
        stack.clock.advance(11)
        check_listed(stack, issuer, listed, late)


def test_a_wrong_pin_is_tried_once(ca: TokenCA) -> None:
    """However often a signature is asked for: most tokens lock after a few attempts."""
    assert ca.est_status()[0] == 200
    wrong_pin(ca)
    assert ca.est_status()[0] == 503
    assert "is not tried again" in ca.ready()[1]
    # The server would log in now if it tried: only the file counts.
    for _ in range(5):
        assert ca.est_status()[0] == 503
    right_pin(ca)
    assert ca.est_status()[0] == 200


def test_missing_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That can only be mended by hand, so the start is refused."""
    token = soft_token(tmp_path / "token", monkeypatch)
    changes = {**token.settings(ec="pikachu-ec"), ("PKCS11", "module"): str(tmp_path / "none.so")}
    files = make_files(tmp_path / "ca", changes=changes)
    with pytest.raises(ConfigError, match=r"\[PKCS11\] module: .*install the library"):
        open_stack(files)


def test_readable_pin_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a key file that others can read."""
    token = soft_token(tmp_path / "token", monkeypatch)
    token.pin_file.chmod(0o644)
    with pytest.raises(ConfigError, match=r"\[PKCS11\] pin_file: .*chmod 600"):
        open_stack(make_files(tmp_path / "ca", changes=token.settings(ec="pikachu-ec")))
