"""ID tokens and the exchange with an OpenID Connect provider: hostile answers (ROL-2)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import pytest

from pikachu.auth.oidc.provider import Attempt, Provider
from pikachu.config.oidc_section import OIDCSection
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import AuthenticationFailed, Unavailable
from tests.support.deferreds import failure_of, result_of

pytest.importorskip("joserfc", reason="joserfc is not installed")
from joserfc import jwk, jws, jwt

ISSUER = "https://id.example.com"
NOW = 1_800_000_000
DEEP = b'{"alg": "ES256", "x": %s%s}' % (b"[" * 20_000, b"]" * 20_000)
Claims = dict[str, Any]
KEY = jwk.ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
OTHER = jwk.ECKey.generate_key("P-256", {"kid": "one"})
SETTINGS = OIDCSection(
    enabled=True,
    label="Example",
    issuer=ISSUER,
    client_id="pikachu",
    client_secret_file=None,
    scopes="openid profile",
    username_claim="preferred_username",
    group_claim="groups",
    admin_group="",
    operator_group="",
    auditor_group="",
    user_group="",
    timeout=10,
)


@dataclass
class FakeClient:
    """A provider that answers what a test says.

    :ivar asked: the addresses of its calls.
    """

    token: str = ""
    keys: list[Any] = field(default_factory=lambda: [KEY])
    issuer: str = ISSUER
    status: int = 200
    down: bool = False
    asked: list[str] = field(default_factory=list)
    form: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, object] = field(default_factory=dict)

    def get(self, url: str) -> dict[str, Any]:
        self.asked.append(url)
        if self.down:
            raise Unavailable("the provider is down")
        if url.endswith("/keys"):
            return {"keys": [{"kty": "new"}, *(key.as_dict(private=False) for key in self.keys)]}
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        paths = ("/authorize?tenant=1", "/token", "/keys")
        endpoints = {name: ISSUER + path for name, path in zip(names, paths, strict=True)}
        return {"issuer": self.issuer, **endpoints, **self.document}

    def post(self, url: str, body: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        self.asked.append(url)
        self.form, self.headers = parse_qs(body), headers
        return self.status, {"id_token": self.token, "access_token": "x"} if self.token else {"error": "invalid_grant"}


@dataclass
class World:
    client: FakeClient
    clock: Clock
    provider: Provider

    def redeem(self, *, again: bool = False) -> Deferred[Claims]:
        attempt = Attempt("state", "nonce", "verifier", "https://ca.example.org/login/oidc/callback", NOW)
        return Deferred.fromCoroutine(self.provider.redeem(attempt, "code", again=again))


@pytest.fixture
def world() -> World:
    client, clock = FakeClient(), Clock()
    clock.advance(NOW)
    provider = Provider(settings=SETTINGS, client_secret=None, client=client, pool=ImmediatePool(), clock=clock)
    return World(client, clock, provider)


def claims(**changes: Any) -> Claims:
    made = {"iss": ISSUER, "aud": "pikachu", "sub": "1", "nonce": "nonce", "iat": NOW, "exp": NOW + 300, **changes}
    return {name: value for name, value in made.items() if value is not None}


def signed(content: Claims, key: Any = KEY, **header: Any) -> str:
    return str(jwt.encode({"alg": "ES256", "kid": "one", **header}, content, key))


def unsigned(header: dict[str, Any], content: Claims, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(content).encode(), signature)
    return ".".join(encoded(part) for part in parts)


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def test_a_good_answer(world: World) -> None:
    """The claims of a token that is right in every way; the keys are asked for once."""
    world.client.token = signed(claims(aud=["pikachu", "other"], azp="pikachu", groups=["a"]))
    assert result_of(world.redeem())["groups"] == ["a"]
    assert world.client.form["code_verifier"] == ["verifier"]
    assert world.client.form["client_id"] == ["pikachu"]
    result_of(world.redeem())
    assert len([url for url in world.client.asked if url.endswith(("/keys", "configuration"))]) == 2


def changed(token: str, content: Claims) -> str:
    """Put other claims between the header and the signature of a token."""
    header, _, signature = token.split(".")
    return f"{header}.{unsigned({}, content).split('.')[1]}.{signature}"


HOSTILE: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned({"alg": "none"}, claims()),
    "alg None": lambda: unsigned({"alg": "None", "kid": "one"}, claims()),
    "HMAC with the public key": lambda: jwt.encode(
        {"alg": "HS256"}, claims(), jwk.OctKey.import_key(json.dumps(KEY.as_dict(private=False)))
    ),
    "HMAC header over an EC signature": lambda: unsigned({"alg": "HS256", "kid": "one"}, claims(), b"x" * 32),
    "key of the token's own": lambda: signed(claims(), OTHER, jwk=OTHER.as_dict(private=False)),
    "key of somebody else": lambda: signed(claims(), OTHER),
    "unknown key id": lambda: signed(claims(), kid="two"),
    "unknown critical header": lambda: unsigned({"alg": "ES256", "crit": ["x"], "x": 1}, claims(), b"x" * 64),
    "changed claims": lambda: ".".join(
        (signed(claims()).split(".")[0], *signed(claims(sub="2")).split(".")[1:2], "AAAA")
    ),
    "another issuer": lambda: signed(claims(iss="https://id.example.com.evil.example")),
    "no issuer": lambda: signed(claims(iss=None)),
    "another audience": lambda: signed(claims(aud="other")),
    "no audience": lambda: signed(claims(aud=None)),
    "audience as an object": lambda: signed(claims(aud={"pikachu": 1})),
    "several audiences": lambda: signed(claims(aud=["pikachu", "other"])),
    "another party": lambda: signed(claims(azp="other")),
    "expired": lambda: signed(claims(iat=NOW - 500, exp=NOW - 61)),
    "no expiry": lambda: signed(claims(exp=None)),
    "expiry as a text": lambda: signed(claims(exp=str(NOW + 300))),
    "expiry true": lambda: signed(claims(exp=True)),
    "issued long ago": lambda: signed(claims(iat=NOW - 3600)),
    "issued in the future": lambda: signed(claims(iat=NOW + 120)),
    "not valid yet": lambda: signed(claims(nbf=NOW + 120)),
    "expiry that is no number": lambda: signed(claims(exp=float("nan"))),
    "expiry without an end": lambda: signed(claims(exp=float("inf"))),
    "nonce without UTF-8": lambda: jws.serialize_compact(
        {"alg": "ES256", "kid": "one"}, json.dumps(claims(nonce="\ud800")), KEY
    ),
    "deep header": lambda: f"{encoded(DEEP)}.{encoded(b'{}')}.{encoded(b'x' * 64)}",
    "deep claims": lambda: jws.serialize_compact({"alg": "ES256", "kid": "one"}, DEEP, KEY),
    "no nonce": lambda: signed(claims(nonce=None)),
    "another nonce": lambda: signed(claims(nonce="other")),
    "nonce as a list": lambda: signed(claims(nonce=["nonce"])),
    "no subject": lambda: signed(claims(sub=None)),
    "empty subject": lambda: signed(claims(sub="")),
    "subject as a number": lambda: signed(claims(sub=1)),
    "subject with a line": lambda: signed(claims(sub="1\n2")),
    "long subject": lambda: signed(claims(sub="x" * 256)),
    "huge token": lambda: signed(claims(x="x" * 70_000)),
    "no token": lambda: "",
    "two parts": lambda: "a.b",
    "no base64": lambda: "\u00e4.\u00e4.\u00e4",
    "no object": lambda: unsigned({"alg": "ES256"}, [], b"x" * 64),  # type: ignore[arg-type]
    "encrypted": lambda: "a.b.c.d.e",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tokens(world: World, name: str) -> None:
    """Each is refused, and says so without the token."""
    world.client.token = HOSTILE[name]()
    refusal = failure_of(world.redeem(), AuthenticationFailed)
    assert "Sign in again." in refusal.public
    assert not world.client.token or world.client.token not in str(refusal.context)


def test_credentials_asked_for_again(world: World) -> None:
    """A confirmation needs a recent authentication at the provider."""
    world.client.token = signed(claims(auth_time=NOW + 5))
    result_of(world.redeem(again=True))
    for wrong in (NOW - 3600, None, "now"):
        world.client.token = signed(claims(auth_time=wrong))
        failure_of(world.redeem(again=True), AuthenticationFailed)


def test_new_keys(world: World) -> None:
    """Keys are read again for a token with an unknown one, but not for each."""
    world.client.token = signed(claims())
    result_of(world.redeem())
    new = jwk.RSAKey.generate_key(2048, {"kid": "two"})
    world.client.keys = [new]
    world.client.token = signed(claims(), new, alg="RS256", kid="two")
    world.clock.advance(31)
    result_of(world.redeem())
    for _ in range(5):
        world.client.token = signed(claims(), OTHER, kid="three")
        failure_of(world.redeem(), AuthenticationFailed)
    assert len([url for url in world.client.asked if url.endswith("/keys")]) == 2


def test_the_request(world: World) -> None:
    """PKCE with S256, and another state, nonce and verifier each time; credentials again where that is asked for."""
    first, location = result_of(Deferred.fromCoroutine(world.provider.begin("https://ca.example.org/cb")))
    second, again = result_of(Deferred.fromCoroutine(world.provider.begin("https://ca.example.org/cb", again=True)))
    query = parse_qs(urlsplit(location).query)
    assert query["tenant"] == ["1"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["state"] == [first.state]
    assert first.verifier not in location
    assert len({first.state, first.nonce, first.verifier, second.state, second.nonce, second.verifier}) == 6
    assert "prompt" not in query
    assert parse_qs(urlsplit(again).query)["prompt"] == ["login"]


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_endpoints_without_tls(world: World, name: str) -> None:
    """A provider with TLS leads to none without it, nor to another kind of address."""
    for address in ("http://id.example.com/x", "file:///etc/passwd", "javascript:alert(1)", "", 1, None):
        world.client.document = {name: address}
        provider = Provider(
            settings=SETTINGS, client_secret=None, client=world.client, pool=ImmediatePool(), clock=world.clock
        )
        failure_of(Deferred.fromCoroutine(provider.begin("https://ca.example.org/cb")), Unavailable)


def test_other_answers(world: World) -> None:
    """A refused code, another issuer's document, and no answer at all."""
    world.client.status = 400
    failure_of(world.redeem(), AuthenticationFailed)
    other = FakeClient(issuer="https://evil.example.org")
    provider = Provider(settings=SETTINGS, client_secret="s e", client=other, pool=ImmediatePool(), clock=world.clock)
    failure_of(Deferred.fromCoroutine(provider.begin("https://ca.example.org/cb")), Unavailable)
    down = Provider(
        settings=SETTINGS, client_secret=None, client=FakeClient(down=True), pool=ImmediatePool(), clock=world.clock
    )
    failure_of(Deferred.fromCoroutine(down.begin("https://ca.example.org/cb")), Unavailable)


def test_a_client_secret(world: World) -> None:
    """It goes into the header, form-encoded (RFC 6749 section 2.3.1)."""
    client = FakeClient(token=signed(claims()))
    provider = Provider(settings=SETTINGS, client_secret="s:e%", client=client, pool=ImmediatePool(), clock=world.clock)
    attempt = Attempt("state", "nonce", "verifier", "https://ca.example.org/cb", NOW)
    result_of(Deferred.fromCoroutine(provider.redeem(attempt, "code")))
    assert base64.b64decode(client.headers["Authorization"].removeprefix("Basic ")) == b"pikachu:s%3Ae%25"
    assert "client_id" not in client.form
