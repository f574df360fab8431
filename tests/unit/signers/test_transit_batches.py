"""Signatures of one request to Vault's transit engine, in answers that OpenBao gives only when something is wrong."""

from __future__ import annotations

import base64
from typing import Any, cast

import pytest

from pikachu.signers.vault.client import VaultClient
from pikachu.signers.vault.faults import VaultRefused, VaultUnreachable
from pikachu.signers.vault.transit_keys import Transit, TransitKey

KEY = TransitKey("transit", "issuer")


class Scripted:
    """A client that answers each POST alike."""

    def __init__(self, results: object) -> None:
        self._results = results

    def write(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        """Return the answer."""
        return {"data": {"batch_results": self._results}}


def signed(content: bytes, version: int = 3) -> dict[str, object]:
    """Return the result for one digest."""
    return {"signature": f"vault:v{version}:{base64.b64encode(content).decode()}"}


def sign(results: object) -> list[object]:
    """Sign three digests."""
    transit = Transit(cast(VaultClient, Scripted(results)))
    return list(transit.sign_many(KEY, 3, [b"a", b"b", b"c"], "sha256", is_rsa=False))


def test_one_that_fails() -> None:
    """A refused digest, and a signature by another version, fail alone."""
    first, second, third = sign([signed(b"one"), {"error": "bad digest"}, signed(b"three", version=2)])
    assert first == b"one"
    assert isinstance(second, VaultRefused)
    assert second.reason == "Vault refuses transit/sign/issuer/sha2-256: bad digest"
    assert isinstance(third, VaultUnreachable)


@pytest.mark.parametrize("result", [None, {}, "text", {"signature": 1}, {"signature": "vault:v3:!"}])
def test_no_signature(result: object) -> None:
    """Nothing that is no signature is taken for one."""
    outcomes = sign([signed(b"one"), result, signed(b"three")])
    assert [isinstance(one, VaultUnreachable) for one in outcomes] == [False, True, False]


@pytest.mark.parametrize("results", [None, [], [signed(b"one")], {"signature": "vault:v3:AAAA"}, "text"])
def test_not_as_many_answers(results: object) -> None:
    """An answer without a result for each digest is not Vault's."""
    with pytest.raises(VaultUnreachable, match="not Vault's"):
        sign(results)
