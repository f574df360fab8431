"""Checkpoints, keys and proofs in files: what they say, and that nothing that was altered verifies (TLG-1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import MalformedRequest
from pikachu.core.log_interfaces import TreeHead
from pikachu.signers.checkpoint_signer import CheckpointSigner, new_checkpoint_key
from pikachu.transparency import merkle
from pikachu.transparency.checkpoints import MAXIMUM_SIZE, encode_base64, open_checkpoint, parse_verifier_key
from pikachu.transparency.leaves import certificate_leaf, event_leaf
from pikachu.transparency.proofs import (
    consistency_file,
    inclusion_file,
    verify_certificate_proof,
    verify_consistency_proof,
)

SIGNER: Final = CheckpointSigner(new_checkpoint_key())
OTHER: Final = CheckpointSigner(new_checkpoint_key())
KEY: Final = SIGNER.verifier
CERTIFICATE: Final = b"a certificate"
LEAVES: Final = [event_leaf(1, bytes(32)), certificate_leaf(CERTIFICATE), event_leaf(2, bytes(32))]


def head(size: int) -> TreeHead:
    """The head of the log with the first leaves."""
    return TreeHead(size, merkle.root_of(LEAVES[:size]))


def node(level: int, index: int) -> bytes:
    """A node of the log."""
    return merkle.root_of(LEAVES[index << level : (index + 1) << level])


NOTE: Final = SIGNER.note(head(3))
PROOF: Final = inclusion_file(1, merkle.inclusion_proof(1, 3, node), NOTE)
OLD: Final = SIGNER.note(head(2))
GROWTH: Final = consistency_file(2, merkle.consistency_proof(2, 3, node), NOTE)


def test_what_is_written_is_read() -> None:
    """Keys, checkpoints and proofs verify, also with the line ends of Windows and other signatures."""
    assert parse_verifier_key(KEY.text().encode()) == KEY
    checkpoint = open_checkpoint(NOTE, KEY)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (KEY.name, 3, head(3).root)
    assert verify_certificate_proof(PROOF.encode(), CERTIFICATE, KEY) == (1, checkpoint)
    assert verify_certificate_proof(PROOF.replace("\n", "\r\n").encode(), CERTIFICATE, KEY)[0] == 1
    old, new = verify_consistency_proof(GROWTH.encode(), OLD.encode(), KEY)
    assert (old.size, new.size) == (2, 3)
    witness = f"\u2014 witness.example.org {encode_base64(bytes(68))}\n"
    assert open_checkpoint(NOTE + witness, KEY).size == 3
    empty = SIGNER.note(head(0))
    verify_consistency_proof(consistency_file(0, [], NOTE).encode(), empty.encode(), KEY)


def lines(text: str, change: Callable[[list[str]], object]) -> str:
    """A text with its lines changed."""
    parts = text.split("\n")
    change(parts)
    return "\n".join(parts)


#: A hostile change of an inclusion proof → what is said.
PROOFS: Final = {
    "another root": (PROOF.replace(encode_base64(head(3).root), encode_base64(bytes(32))), "does not verify"),
    "another size": (PROOF.replace("\n3\n", "\n4\n"), "does not verify"),
    "another index": (PROOF.replace("index 1", "index 0"), "does not lead to"),
    "index beyond": (PROOF.replace("index 1", "index 3"), "is not in a log of 3"),
    "index with a sign": (PROOF.replace("index 1", "index +1"), "index is not a number"),
    "index with zeros": (PROOF.replace("index 1", "index 01"), "index is not a number"),
    "no index": (lines(PROOF, lambda parts: parts.pop(1)), "incomplete"),
    "swapped nodes": (lines(PROOF, lambda parts: parts.insert(2, parts.pop(3))), "does not lead to"),
    "a node missing": (lines(PROOF, lambda parts: parts.pop(2)), "does not lead to"),
    "a node more": (lines(PROOF, lambda parts: parts.insert(2, parts[2])), "does not lead to"),
    "no base64": (lines(PROOF, lambda parts: parts.__setitem__(2, "?")), "not base64"),
    "short hash": (lines(PROOF, lambda parts: parts.__setitem__(2, "AAAA")), "has 3 bytes"),
    "bits after the end": (lines(PROOF, lambda parts: parts.__setitem__(2, "AB==")), "not canonical"),
    "too many": (lines(PROOF, lambda parts: parts.__setitem__(slice(2, 2), parts[2:3] * 200)), "more than 128"),
    "without checkpoint": (PROOF.partition("\n\n")[0], "incomplete"),
    "without signature": (lines(PROOF, lambda parts: parts.__delitem__(slice(-3, None))), "no complete signature"),
    "truncated": (PROOF[:-10], "no complete signature"),
    "other format": (GROWTH, "not a proof in the format"),
    "of another log": (inclusion_file(1, merkle.inclusion_proof(1, 3, node), OTHER.note(head(3))), "is of the log"),
    "empty": ("", "not a proof"),
    "large": (PROOF + "x" * MAXIMUM_SIZE, "larger than"),
}


@pytest.mark.parametrize("what", PROOFS)
def test_hostile_proofs(what: str) -> None:
    """An altered proof does not verify."""
    text, said = PROOFS[what]
    assert text != PROOF
    with pytest.raises(MalformedRequest, match=said):
        verify_certificate_proof(text.encode(), CERTIFICATE, KEY)


def test_another_certificate() -> None:
    """A proof is about one certificate, and an event can't pass for one."""
    with pytest.raises(MalformedRequest, match="does not lead to"):
        verify_certificate_proof(PROOF.encode(), b"another", KEY)
    event = inclusion_file(0, merkle.inclusion_proof(0, 3, node), NOTE)
    with pytest.raises(MalformedRequest, match="does not lead to"):
        verify_certificate_proof(event.encode(), CERTIFICATE, KEY)


#: A hostile pair of consistency proof and older checkpoint → what is said.
GROWTHS: Final = {
    "another old checkpoint": (GROWTH, SIGNER.note(TreeHead(2, bytes(32))), "does not lead to"),
    "old size": (GROWTH, SIGNER.note(head(1)), "for a checkpoint of 2 entries, not of 1"),
    "old of another log": (GROWTH, OTHER.note(head(2)), "is of the log"),
    "forged signature": (GROWTH, OLD.replace("\n2\n", "\n1\n"), "does not verify"),
    "shrunk": (consistency_file(3, [], OLD), NOTE, "can't begin with one of 3"),
    "no hashes": (consistency_file(2, [], NOTE), OLD, "does not lead to"),
    "same size": (consistency_file(3, [], NOTE), SIGNER.note(TreeHead(3, bytes(32))), "does not lead to"),
    "not empty at first": (consistency_file(0, [], NOTE), SIGNER.note(TreeHead(0, bytes(32))), "does not lead to"),
}


@pytest.mark.parametrize("what", GROWTHS)
def test_hostile_growth(what: str) -> None:
    """A log that was rewritten has no consistency proof."""
    text, old, said = GROWTHS[what]
    with pytest.raises(MalformedRequest, match=said):
        verify_consistency_proof(text.encode(), old.encode(), KEY)


KEYS: Final = {
    "other hash": KEY.text().replace(KEY.key_id.hex(), "00000000"),
    "other name": "x" + KEY.text(),
    "no name": KEY.text().partition("+")[2],
    "other algorithm": f"{KEY.name}+{KEY.key_id.hex()}+{encode_base64(bytes([2]) + KEY.key)}",
    "short": f"{KEY.name}+{KEY.key_id.hex()}+{encode_base64(bytes([1]) + KEY.key[:-1])}",
    "PEM": "-----BEGIN PUBLIC KEY-----",
    "empty": "",
}


@pytest.mark.parametrize("what", KEYS)
def test_hostile_keys(what: str) -> None:
    """Only a complete verifier key of Ed25519 is one."""
    with pytest.raises(MalformedRequest):
        parse_verifier_key(KEYS[what].encode())


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give an error of the request, and nothing else."""
    for call in (
        lambda: parse_verifier_key(data),
        lambda: verify_certificate_proof(data, CERTIFICATE, KEY),
        lambda: verify_certificate_proof(PROOF.encode()[:40] + data, CERTIFICATE, KEY),
        lambda: verify_consistency_proof(GROWTH.encode(), data, KEY),
    ):
        with pytest.raises(MalformedRequest):
            call()
