"""The client of Vault against OpenBao: tokens, faults, time limits, TLS (VLT-1, VLT-3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pikachu.core.errors import ConfigError
from pikachu.signers.vault.client import Patience, Timing, VaultClient, data_of
from pikachu.signers.vault.faults import VaultRefused, VaultUnreachable
from pikachu.signers.vault.tokens import AppRole, OperatorToken
from pikachu.signers.vault.transport import VaultAddress
from tests.support.pki import make_ca, make_leaf
from tests.support.relay import Fault, Relay
from tests.support.vault import POLICY, OpenBao, openbao

pytestmark = pytest.mark.interop

SIGN = {"input": "aGVsbG8="}


@dataclass
class Time:
    """A clock that goes on when it is told to, or when somebody sleeps."""

    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Go on at once."""
        self.pauses.append(seconds)
        self.now += seconds

    @property
    def timing(self) -> Timing:
        """Without jitter."""
        return Timing(self.monotonic, self.sleep, lambda: 1.0)


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server for this file, in memory, with a transit key."""
    with openbao(tmp_path_factory.mktemp("openbao")) as server:
        server.approle()
        server.api("POST", "transit/keys/issuer", {"type": "ecdsa-p256"})
        yield server


@pytest.fixture(scope="module")
def persistent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """One server that speaks TLS, and keeps its data while it is stopped."""
    identity = make_leaf(make_ca("p256", name="TLS of Vault"), sans=["DNS:localhost"])
    with openbao(tmp_path_factory.mktemp("persistent"), is_persistent=True, identity=identity) as server:
        yield server


@pytest.fixture
def time() -> Time:
    """The clock of a test."""
    return Time()


def client(bao: OpenBao, role: AppRole | OperatorToken, time: Time, url: str = "", retries: int = 3) -> VaultClient:
    """Return a client with the test's clock."""
    return VaultClient(VaultAddress(url or bao.url), role, patience=Patience(5.0, retries), timing=time.timing)


def accessors(bao: OpenBao) -> set[str]:
    """Return the tokens that Vault knows."""
    return set(bao.api("LIST", "auth/token/accessors")["data"]["keys"])


def revoke_tokens(bao: OpenBao) -> None:
    """Revoke every token of the AppRole."""
    for accessor in accessors(bao):
        if (
            bao.api("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]["path"]
            == "auth/approle/login"
        ):
            bao.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})


# --- tokens -----------------------------------------------------------------------------


def test_one_login_serves_many_calls(bao: OpenBao, time: Time) -> None:
    """Each login is a lease in Vault."""
    vault = client(bao, bao.approle(), time)
    before = accessors(bao)
    for _ in range(3):
        assert data_of(vault.write("transit/sign/issuer", SIGN))["signature"].startswith("vault:v1:")
    assert len(accessors(bao) - before) == 1


def test_a_token_is_renewed_at_half_of_its_lifetime(bao: OpenBao, time: Time) -> None:
    """The same token goes on."""
    vault = client(bao, bao.approle(), time)
    before = accessors(bao)
    vault.probe()
    (accessor,) = accessors(bao) - before
    time.now += 1700
    assert "last_renewal_time" not in data_of(vault.read("auth/token/lookup-self"))
    time.now += 200
    assert data_of(vault.read("auth/token/lookup-self"))["last_renewal_time"]
    assert accessors(bao) - before == {accessor}


@pytest.mark.parametrize(
    ("settings", "spoil"),
    [
        ({"token_type": "batch"}, lambda _: None),
        ({}, revoke_tokens),
        # Vault renews it for less than half of the lifetime that it had.
        ({"token_ttl": "1h"}, lambda bao: bao.api("POST", "sys/auth/approle/tune", {"max_lease_ttl": "25m"})),
    ],
    ids=["is not renewable", "was revoked", "has reached its maximum"],
)
def test_what_is_not_renewed_is_replaced(
    bao: OpenBao, time: Time, settings: dict[str, str], spoil: Callable[[OpenBao], None]
) -> None:
    """By a new login, before the old one has ended."""
    vault = client(bao, bao.approle(**{"token_type": "service", **settings}), time)
    try:
        first = data_of(vault.read("auth/token/lookup-self"))["id"]
        spoil(bao)
        time.now += 1900
        assert data_of(vault.read("auth/token/lookup-self"))["id"] != first
    finally:
        bao.api("POST", "sys/auth/approle/tune", {"max_lease_ttl": "768h"})
        bao.approle(token_type="service")


def test_a_revoked_token_is_replaced_within_the_call(bao: OpenBao, time: Time) -> None:
    """Nobody notices, and the time of the first has not come."""
    vault = client(bao, bao.approle(), time)
    vault.probe()
    revoke_tokens(bao)
    vault.write("transit/sign/issuer", SIGN, repeatable=False)


def test_a_usable_token_survives_a_failed_renewal(bao: OpenBao, time: Time) -> None:
    """Between half of its lifetime and the end there are many attempts."""
    role = bao.approle()
    with Relay(bao.port) as relay:
        vault = client(bao, role, time, f"http://localhost:{relay.port}")
        vault.probe()
        time.now += 1900
        relay.become(Fault.REFUSED)
        with pytest.raises(VaultUnreachable):
            vault.probe()
        relay.become(Fault.NONE)
        vault.probe()
        time.now += 10
        assert data_of(vault.read("auth/token/lookup-self"))["last_renewal_time"]


# --- refusals ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pki/sign-verbatim/x", "Vault denies access to pki/sign-verbatim/x. Permit it in the policy"),
        ("transit/sign/none", "Vault refuses transit/sign/none: signing key not found"),
        ("none/sign/issuer", "Nothing is mounted in Vault at none/sign/issuer. Enable the secrets engine there."),
    ],
)
def test_refusals_say_what_to_do(bao: OpenBao, time: Time, path: str, expected: str) -> None:
    """They are not repeated, cost no login, and Vault stays reachable; clients read nothing of it."""
    vault = client(bao, bao.approle(policy=POLICY + 'path "none/*" { capabilities = ["update"] }'), time)
    vault.probe()
    before = accessors(bao)
    for _ in range(5):
        with pytest.raises(VaultRefused) as raised:
            vault.write(path, SIGN)
        assert expected in raised.value.reason
        assert path not in raised.value.public
    assert accessors(bao) == before
    assert not time.pauses
    assert vault.availability.is_reachable


def test_a_missing_object_is_named(bao: OpenBao, time: Time) -> None:
    """An empty list of errors is an answer, too."""
    with pytest.raises(VaultRefused, match=r"Vault has no transit/keys/none\. Check the name") as raised:
        client(bao, bao.approle(), time).read("transit/keys/none")
    assert raised.value.status == 404


@pytest.mark.parametrize("wrong", ["role_id", "secret_id"])
def test_a_refused_login_names_no_secret(bao: OpenBao, time: Time, wrong: str) -> None:
    """The AppRole may have been removed, or its secret id have expired."""
    role = replace(bao.approle(), **{wrong: "tiger-tiger"})
    vault = client(bao, role, time)
    with pytest.raises(VaultRefused, match="refuses the login of Pikachu's AppRole") as raised:
        vault.probe()
    for secret in (role.role_id, role.secret_id):
        assert secret not in repr((raised.value.reason, raised.value.context, role))


def test_an_operators_token_is_used_as_it_is(bao: OpenBao, time: Time) -> None:
    """For the set-up, which no AppRole can do."""
    assert "transit/" in data_of(client(bao, OperatorToken(bao.token), time).read("sys/mounts"))
    with pytest.raises(VaultRefused, match="denies access"):
        client(bao, OperatorToken("none"), time).read("sys/mounts")


def test_lists_of_nothing_are_empty(bao: OpenBao, time: Time) -> None:
    """Vault answers 404 for those."""
    vault = client(bao, OperatorToken(bao.token), time)
    assert vault.list("sys/policies/acl")
    assert vault.list("identity/group/id") == []


# --- faults -----------------------------------------------------------------------------

FAULTS = [
    (Fault.REFUSED, "Vault can't be reached (Connection refused). Start it.", False),
    (Fault.GARBAGE, "The connection to Vault broke before the answer.", True),
    (Fault.CUT, "The connection to Vault broke before the answer.", True),
    (Fault.PAGE, "The answer is not Vault's. Check [VAULT] address.", True),
    (Fault.REDIRECT, "Vault redirects to another node. Name the active node, or a load balancer", True),
]


@pytest.mark.parametrize(("fault", "reason", "was_sent"), FAULTS, ids=lambda one: getattr(one, "name", None))
def test_faults(bao: OpenBao, time: Time, fault: Fault, reason: str, was_sent: bool) -> None:
    """Each is tried again with growing pauses, and what must not be done twice is not, once it may have arrived."""
    role = bao.approle()
    with Relay(bao.port) as relay:
        vault = client(bao, role, time, f"http://localhost:{relay.port}")
        vault.probe()
        relay.become(fault)
        with pytest.raises(VaultUnreachable) as raised:
            vault.write("transit/sign/issuer", SIGN, repeatable=False)
        assert reason in raised.value.reason
        assert raised.value.was_sent is was_sent
        assert time.pauses == ([] if was_sent else [0.3, 0.6, 1.2][: len(time.pauses)])
        time.pauses.clear()
        vault.availability.succeeded()
        # The second or third attempt succeeds.
        relay.become(fault)
        healing = iter([None, None])

        def sleep(seconds: float) -> None:
            time.sleep(seconds)
            if next(healing, 0) == 0 or len(time.pauses) == 2:
                relay.become(Fault.NONE)

        patient = VaultClient(
            VaultAddress(f"http://localhost:{relay.port}"),
            role,
            patience=Patience(5.0, 3),
            timing=Timing(time.monotonic, sleep, lambda: 1.0),
        )
        patient.write("transit/sign/issuer", SIGN)
        assert time.pauses == [0.3, 0.6]


def test_an_unreachable_vault_costs_no_time(bao: OpenBao, time: Time) -> None:
    """Calls fail at once, only probes are made, and after three of them everything is as before."""
    role = bao.approle()
    with Relay(bao.port) as relay:
        vault = client(bao, role, time, f"http://localhost:{relay.port}")
        vault.probe()
        relay.become(Fault.CUT)
        with pytest.raises(VaultUnreachable):
            vault.read("transit/keys/issuer")
        assert not vault.availability.is_reachable
        connections = relay.connections
        for _ in range(3):
            with pytest.raises(VaultUnreachable, match="broke before the answer"):
                vault.read("transit/keys/issuer")
        assert relay.connections == connections
        with pytest.raises(VaultUnreachable):
            vault.probe()
        relay.become(Fault.NONE)
        for _ in range(2):
            vault.probe()
            assert not vault.availability.is_reachable
        vault.probe()
        assert vault.availability.is_reachable
        vault.read("transit/keys/issuer")


def test_a_silent_vault_is_given_up(bao: OpenBao) -> None:
    """All attempts together take at most twice the time of one."""
    role = bao.approle()
    time = Time()
    with Relay(bao.port) as relay:
        vault = VaultClient(
            VaultAddress(f"http://localhost:{relay.port}"), role, patience=Patience(0.2, 50), timing=time.timing
        )
        relay.become(Fault.SILENT)
        with pytest.raises(VaultUnreachable, match=r"Vault did not answer within 0\.\d+ seconds\."):
            vault.read("transit/keys/issuer")
    assert sum(time.pauses) < 0.4


def test_a_vault_that_comes_back_is_used_again(persistent: OpenBao, time: Time) -> None:
    """Sealed or stopped, and without a restart here."""
    role = persistent.approle()
    persistent.api("POST", "transit/keys/issuer", {"type": "ecdsa-p256"})
    vault = VaultClient(VaultAddress(persistent.url, False), role, patience=Patience(5.0, 0), timing=time.timing)
    vault.probe()
    persistent.seal()
    with pytest.raises(VaultUnreachable, match=r"Vault is sealed. Unseal it."):
        vault.write("transit/sign/issuer", SIGN)
    persistent.unseal()
    persistent.wait_until_active()
    vault.write("transit/sign/issuer", SIGN)
    persistent.stop()
    with pytest.raises(VaultUnreachable, match="can't be reached"):
        vault.write("transit/sign/issuer", SIGN)
    persistent.start()
    vault.write("transit/sign/issuer", SIGN)


# --- TLS --------------------------------------------------------------------------------


def test_tls_is_verified(persistent: OpenBao, time: Time, tmp_path: Path) -> None:
    """With the configured CA; a changed certificate is refused until its CA is trusted, without a restart."""
    assert persistent.identity is not None
    assert persistent.identity.issuer is not None
    other = make_ca("p256", name="TLS of somebody else", slot=1)
    trust = tmp_path / "ca.pem"
    trust.write_bytes(persistent.identity.issuer.pem)
    url, role = persistent.url, persistent.approle()
    vault = VaultClient(VaultAddress(url, True, trust), role, timing=time.timing)
    vault.probe()
    for address in (VaultAddress(url), VaultAddress(url.replace("localhost", "127.0.0.1"), True, trust)):
        with pytest.raises(VaultUnreachable, match="TLS certificate is not accepted") as raised:
            VaultClient(address, role, timing=time.timing).probe()
        assert not raised.value.was_sent
    persistent.stop()
    persistent.identity = make_leaf(other, sans=["DNS:localhost"])
    persistent.start()
    with pytest.raises(VaultUnreachable, match="TLS certificate is not accepted"):
        vault.probe()
    trust.write_bytes(other.pem)
    vault.probe()


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_trust_anchors_that_cant_be_read_stop_the_start(tmp_path: Path, content: bytes | None) -> None:
    """That fault is local (a TLS error at each call would tell less)."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"\[VAULT\] ca_cert_path: .*ca\.pem holds no certificate") as raised:
        VaultClient(VaultAddress("https://localhost:1", True, path), AppRole("a", "b"))
    assert "\n" not in str(raised.value)


def test_the_environment_counts_for_nothing(bao: OpenBao, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not its tokens, proxies and trust anchors either."""
    for name in ("VAULT_ADDR", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", bao.token)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    vault = client(bao, bao.approle(), time)
    vault.probe()
    with pytest.raises(VaultRefused, match="denies"):
        vault.read("sys/mounts")
