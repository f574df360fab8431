"""Reading and verifying what browsers answer (WebAuthn Level 3, sections 7.1 and 7.2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from webauthn.authentication.verify_authentication_response import verify_authentication_response
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    encode_cbor,
    parse_authentication_credential_json,
    parse_cbor,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.registration.verify_registration_response import verify_registration_response

from pikachu.auth.webauthn.challenges import LIFETIME, Challenge, Place
from pikachu.core.errors import AuthenticationFailed, MalformedRequest
from pikachu.core.model.passkeys import Passkey

T = TypeVar("T")

_ALGORITHMS: Final = (
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
)
#: Maximum length of an answer; without attestation it has less than 2 kB.
_MAXIMUM_ANSWER: Final = 16_384
#: Longer keys are RSA keys of more than 4096 bits.
_MAXIMUM_KEY: Final = 600
_MAXIMUM_ID: Final = 1023
_MILLISECONDS: Final = int(LIFETIME.total_seconds() * 1000)
_UNREADABLE: Final = "The answer of your passkey can't be read. Try again."


@dataclass(frozen=True, slots=True)
class Registered:
    """A new credential, verified."""

    credential_id: bytes
    public_key: bytes = field(repr=False)
    sign_count: int


def creation_options(place: Place, challenge: Challenge, username: str, present: list[Passkey]) -> dict[str, Any]:
    """Return the options for a new passkey; the authenticators of those that are *present* make no second one."""
    user = {"id": bytes_to_base64url(challenge.user_handle), "name": username, "displayName": username}
    return {
        "rp": {"id": place.host, "name": "Pikachu CA"},
        "user": user,
        "challenge": bytes_to_base64url(challenge.value),
        "pubKeyCredParams": [{"type": "public-key", "alg": int(one)} for one in _ALGORITHMS],
        "timeout": _MILLISECONDS,
        "excludeCredentials": _descriptors(place, present),
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }


def request_options(place: Place, challenge: Challenge, allowed: list[Passkey]) -> dict[str, Any]:
    """Return the options for signing in; with nothing *allowed*, by any passkey that the user chooses."""
    return {
        "rpId": place.host,
        "challenge": bytes_to_base64url(challenge.value),
        "timeout": _MILLISECONDS,
        "userVerification": "required",
        "allowCredentials": _descriptors(place, allowed),
    }


def _descriptors(place: Place, passkeys: list[Passkey]) -> list[dict[str, str]]:
    own = (one for one in passkeys if one.host == place.host)
    return [{"type": "public-key", "id": bytes_to_base64url(one.credential_id)} for one in own]


def registered(place: Place, challenge: Challenge, answer: str) -> Registered:
    """Verify the answer to :func:`creation_options`.

    :raises MalformedRequest: it is not right.
    """

    def verify() -> Registered:
        found = verify_registration_response(
            credential=_without_attestation(answer),
            expected_challenge=challenge.value,
            expected_rp_id=place.host,
            expected_origin=list(place.origins),
            require_user_verification=True,
            supported_pub_key_algs=list(_ALGORITHMS),
        )
        if len(found.credential_id) > _MAXIMUM_ID or len(found.credential_public_key) > _MAXIMUM_KEY:
            raise ValueError("too long")
        return Registered(found.credential_id, found.credential_public_key, found.sign_count)

    return _guarded(verify)


def _without_attestation(answer: str) -> dict[str, Any]:
    """Return the answer without an attestation, which none was asked for and none is believed."""
    content = _content(answer)
    attestation = parse_cbor(base64url_to_bytes(content["response"]["attestationObject"]))
    none = encode_cbor({"fmt": "none", "attStmt": {}, "authData": attestation["authData"]})
    return {**content, "response": {**content["response"], "attestationObject": bytes_to_base64url(none)}}


def credential_of(answer: str) -> tuple[bytes, bytes]:
    """Return the credential id and the user handle, which may be empty, of an answer; nothing is verified yet.

    :raises MalformedRequest: it can't be read.
    """

    def read() -> tuple[bytes, bytes]:
        credential = parse_authentication_credential_json(_content(answer))
        return credential.raw_id[: _MAXIMUM_ID + 1], credential.response.user_handle or b""

    return _guarded(read)


def verified_count(place: Place, challenge: Challenge, answer: str, passkey: Passkey) -> int:
    """Verify the answer to :func:`request_options` with the public key of *passkey*; return its counter.

    :raises AuthenticationFailed: it is not right.
    """

    def verify() -> int:
        found = verify_authentication_response(
            credential=_content(answer),
            expected_challenge=challenge.value,
            expected_rp_id=place.host,
            expected_origin=list(place.origins),
            credential_public_key=passkey.public_key,
            # The counter is compared in the statement that stores it.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
        return int(found.new_sign_count)

    try:
        return _guarded(verify)
    except MalformedRequest as error:
        raise AuthenticationFailed("Your passkey was not accepted. Try again.", **error.context) from error


def _content(answer: str) -> dict[str, Any]:
    if len(answer) > _MAXIMUM_ANSWER:
        raise ValueError("too long")
    content = json.loads(answer)
    if not isinstance(content, dict):
        raise TypeError("no object")
    return content


def _guarded(work: Callable[[], T]) -> T:
    """Return the result of *work*, all of whose failures are those of the answer that it reads."""
    try:
        return work()
    except Exception as error:
        raise MalformedRequest(_UNREADABLE, reason=f"{type(error).__name__}: {error}"[:200]) from error
