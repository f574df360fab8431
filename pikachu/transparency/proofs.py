"""Proofs in files: inclusion (C2SP tlog-proof) and consistency, each with the checkpoint to which it leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.transparency.checkpoints import (
    Checkpoint,
    VerifierKey,
    decode_hash,
    decode_text,
    encode_base64,
    open_checkpoint,
)
from pikachu.transparency.leaves import certificate_leaf
from pikachu.transparency.merkle import verify_consistency, verify_inclusion

_INCLUSION: Final = "c2sp.org/tlog-proof@v1"
_CONSISTENCY: Final = "pikachu-ca/consistency-proof@v1"
# A path in a tree of 2^63 leaves, twice for consistency.
_MAXIMUM_HASHES: Final = 128


@dataclass(frozen=True, slots=True)
class _File:
    number: int
    hashes: tuple[bytes, ...]
    note: str


def inclusion_file(index: int, hashes: Sequence[bytes], note: str) -> str:
    """Return the file of an inclusion proof.

    :param index: of the leaf.
    :param note: the signed checkpoint.
    """
    return _file(_INCLUSION, f"index {index}", hashes, note)


def consistency_file(old: int, hashes: Sequence[bytes], note: str) -> str:
    """Return the file of a consistency proof.

    :param old: the size of the log at the older checkpoint.
    :param note: the newer checkpoint, signed.
    """
    return _file(_CONSISTENCY, f"old {old}", hashes, note)


def verify_certificate_proof(data: bytes, certificate: bytes, key: VerifierKey) -> tuple[int, Checkpoint]:
    """Verify the inclusion proof of a DER certificate; return the index of its leaf, and the checkpoint.

    :raises MalformedRequest: when the proof is malformed, of another log, or does not show it.
    """
    parsed = _parse(data, _INCLUSION, "index")
    checkpoint = open_checkpoint(parsed.note, key)
    leaf = certificate_leaf(certificate)
    verify_inclusion(leaf, parsed.number, checkpoint.size, parsed.hashes, checkpoint.root)
    return parsed.number, checkpoint


def verify_consistency_proof(data: bytes, old: bytes, key: VerifierKey) -> tuple[Checkpoint, Checkpoint]:
    """Verify that a log continues an older checkpoint; return both checkpoints.

    :param old: the file with the older one.
    :raises MalformedRequest: when a file is malformed or of another log, or the proof does not show it.
    """
    parsed = _parse(data, _CONSISTENCY, "old")
    former = open_checkpoint(decode_text(old), key)
    checkpoint = open_checkpoint(parsed.note, key)
    if parsed.number != former.size:
        raise MalformedRequest(f"the proof is for a checkpoint of {parsed.number} entries, not of {former.size}")
    verify_consistency(former.size, checkpoint.size, parsed.hashes, former.root, checkpoint.root)
    return former, checkpoint


def _file(kind: str, number: str, hashes: Sequence[bytes], note: str) -> str:
    return "".join(f"{line}\n" for line in (kind, number, *map(encode_base64, hashes))) + f"\n{note}"


def _parse(data: bytes, kind: str, number: str) -> _File:
    head, separator, note = decode_text(data).partition("\n\n")
    lines = head.split("\n")
    if lines[0] != kind:
        raise MalformedRequest(f"the file is not a proof in the format {kind}")
    if not separator or len(lines) < 2 or not lines[1].startswith(f"{number} "):
        raise MalformedRequest("the proof is incomplete")
    value = lines[1].removeprefix(f"{number} ")
    parsed = parse_number(value, MAX_ID)
    if parsed is None or str(parsed) != value:
        raise MalformedRequest(f"{number} is not a number")
    if len(lines) - 2 > _MAXIMUM_HASHES:
        raise MalformedRequest(f"the proof has more than {_MAXIMUM_HASHES} hashes")
    return _File(parsed, tuple(map(decode_hash, lines[2:])), note)
