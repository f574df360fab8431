"""Verification of ID tokens (OpenID Connect Core section 3.1.3.7)."""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pikachu.core.errors import AuthenticationFailed

#: Signatures with a public key only: neither ``none`` nor HMAC, whose key would be the client secret.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LEEWAY_SECONDS: Final = 60
_MAXIMUM_AGE_SECONDS: Final = 600
_MAXIMUM_SIZE: Final = 64 * 1024
_MAXIMUM_SUBJECT: Final = 255


class UnknownKey(Exception):
    """No key of the set verifies the signature; the provider may have new ones."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The values that an ID token has to have.

    :param now: seconds since 1970.
    :param authenticated_after: seconds since 1970 after which the user must have authenticated; ``None``: any time.
    """

    issuer: str
    client_id: str
    nonce: str
    now: float
    authenticated_after: float | None = None


def verified_claims(token: str, keys: Mapping[str, Any], expected: Expected) -> dict[str, Any]:
    """Return the claims of an ID token.

    :param keys: the provider's JWK Set.
    :raises UnknownKey: the signature does not verify with any of the keys.
    :raises AuthenticationFailed: anything else is wrong.
    """
    # Imported late: only a server with a provider needs it.
    from joserfc import errors, jwk, jwt

    if len(token) > _MAXIMUM_SIZE:
        raise _refused("the ID token is too long")
    try:
        # A set with one unreadable key, such as of a new type, still has the others.
        usable = [jwk.import_key(one) for one in keys.get("keys", ()) if _is_usable(one)]
        claims = jwt.decode(token, jwk.KeySet(usable), algorithms=list(ALGORITHMS)).claims
    except (errors.BadSignatureError, errors.InvalidKeyIdError) as error:
        raise UnknownKey from error
    except errors.JoseError as error:
        raise _refused(f"the ID token is wrong: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _refused("the ID token is malformed") from error
    _check(claims, expected)
    return dict(claims)


def _is_usable(key: object) -> bool:
    return isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"


def _check(claims: Mapping[str, Any], expected: Expected) -> None:
    if claims.get("iss") != expected.issuer:
        raise _refused("the ID token is of another issuer")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or expected.client_id not in audiences:
        raise _refused("the ID token is for another client")
    party = claims.get("azp")
    if (len(audiences) > 1 or party is not None) and party != expected.client_id:
        raise _refused("the ID token was issued to another client")
    issued, expires = _time(claims, "iat"), _time(claims, "exp")
    if expires <= expected.now - _LEEWAY_SECONDS:
        raise _refused("the ID token has expired")
    if not expected.now - _MAXIMUM_AGE_SECONDS <= issued <= expected.now + _LEEWAY_SECONDS:
        raise _refused("the ID token was not issued just now; compare the clocks")
    if "nbf" in claims and _time(claims, "nbf") > expected.now + _LEEWAY_SECONDS:
        raise _refused("the ID token is not valid yet")
    nonce = claims.get("nonce")
    # Not compared as UTF-8: JSON can have characters that have none.
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(errors="replace"), expected.nonce.encode()):
        raise _refused("the ID token is for another sign-in")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= _MAXIMUM_SUBJECT or not subject.isprintable():
        raise _refused("the ID token names nobody")
    after = expected.authenticated_after
    if after is not None and _time(claims, "auth_time") < after - _LEEWAY_SECONDS:
        raise _refused("the provider did not ask for credentials again")


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # JSON as Python reads it has NaN, which is neither before nor after any time.
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise _refused(f"the ID token lacks {name}")
    return float(value)


def _refused(reason: str) -> AuthenticationFailed:
    return AuthenticationFailed(f"The provider's answer was refused: {reason}. Sign in again.", reason=reason)
