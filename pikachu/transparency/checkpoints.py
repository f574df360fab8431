"""Signed checkpoints of the log (C2SP tlog-checkpoint, signed-note): origin, size and root hash, signed with Ed25519.

The public key is written as C2SP's verifier key, ``name+key id+base64``; its name is the origin of the log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.transparency.merkle import HASH_SIZE
from pikachu.x509 import der
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import describe_spki

#: Bytes of the longest accepted file with a checkpoint or a proof; those of this program have less than 8 KiB.
MAXIMUM_SIZE: Final = 1 << 16
_ED25519: Final = 1
_KEY_SIZE: Final = 32
_SIGNATURE_SIZE: Final = 64
_KEY_ID_SIZE: Final = 4
_MAXIMUM_SIGNATURES: Final = 16
_ALGORITHM: Final = der.sequence(der.oid("1.3.101.112"))
_NAME: Final = re.compile(r"[!-*,-~]{1,200}")
_DASH: Final = "\u2014 "


def decode_base64(text: str, what: str) -> bytes:
    """Decode canonical base64.

    :raises MalformedRequest: naming *what*.
    """
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        raise MalformedRequest(f"{what} is not base64") from None
    if encode_base64(value) != text:
        raise MalformedRequest(f"{what} is not canonical base64")
    return value


def encode_base64(value: bytes) -> str:
    """Encode as base64 with padding."""
    return base64.b64encode(value).decode("ascii")


def decode_hash(text: str) -> bytes:
    """Decode a hash in base64.

    :raises MalformedRequest: when it is none.
    """
    value = decode_base64(text, "a hash")
    if len(value) != HASH_SIZE:
        raise MalformedRequest(f"a hash has {len(value)} bytes, not {HASH_SIZE}")
    return value


def decode_text(data: bytes) -> str:
    """Decode a file with a checkpoint or a proof; line ends of Windows are accepted.

    :raises MalformedRequest: when it is too large or not text.
    """
    if len(data) > MAXIMUM_SIZE:
        raise MalformedRequest(f"the file is larger than {MAXIMUM_SIZE} bytes")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise MalformedRequest("the file is not UTF-8 text") from None


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public key of a log.

    :param name: the log's origin.
    :param key: the Ed25519 public key, 32 bytes.
    """

    name: str
    key: bytes

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that name this key in signatures."""
        return hashlib.sha256(b"%s\n%c%s" % (self.name.encode("ascii"), _ED25519, self.key)).digest()[:_KEY_ID_SIZE]

    def text(self) -> str:
        """Return the content of ``audit.pub``."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([_ED25519]) + self.key)}\n"


def parse_verifier_key(data: bytes) -> VerifierKey:
    """Parse the content of ``audit.pub``.

    :raises MalformedRequest: when it is no verifier key of Ed25519.
    """
    name, _, rest = decode_text(data).strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    if not _NAME.fullmatch(name) or not encoded:
        raise MalformedRequest("the public key is not in the form name+key id+base64")
    value = decode_base64(encoded, "the public key")
    if value[:1] != bytes([_ED25519]) or len(value) != 1 + _KEY_SIZE:
        raise MalformedRequest("the public key is not of Ed25519")
    key = VerifierKey(name, value[1:])
    if key.key_id.hex() != key_id:
        raise MalformedRequest("the public key does not match its key id")
    return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log.

    :param size: the number of leaves.
    :param note: the signed text from which it was parsed.
    """

    origin: str
    size: int
    root: bytes
    note: str


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """Return the text to sign."""
    return f"{origin}\n{size}\n{encode_base64(root)}\n"


def signed_note(text: str, key: VerifierKey, signature: bytes) -> str:
    """Return a signed checkpoint."""
    return f"{text}\n{_DASH}{key.name} {encode_base64(key.key_id + signature)}\n"


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Parse a signed checkpoint and verify its signature and origin.

    :raises MalformedRequest: when it is malformed, of another log, or not signed with that key.
    """
    text, separator, signatures = note.partition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise MalformedRequest("the checkpoint has no complete signature")
    text += "\n"
    checkpoint = _parse(text, note)
    if checkpoint.origin != key.name:
        raise MalformedRequest(f"the checkpoint is of the log {checkpoint.origin[:80]}, not of {key.name}")
    lines = signatures[:-1].split("\n")
    if len(lines) > _MAXIMUM_SIGNATURES:
        raise MalformedRequest(f"the checkpoint has more than {_MAXIMUM_SIGNATURES} signatures")
    own = [signature for line in lines if (signature := _signature(line, key)) is not None]
    if not own:
        raise MalformedRequest("the checkpoint is not signed with this key")
    spki = der.sequence(_ALGORITHM, der.bit_string(key.key))
    for signature in own:
        verify_signature(describe_spki(spki), _ALGORITHM, signature, text.encode(), failure=_refused)
    return checkpoint


def _refused(_: str) -> MalformedRequest:
    return MalformedRequest("the signature of the checkpoint does not verify with this key")


def _parse(text: str, note: str) -> Checkpoint:
    lines = text.split("\n")
    # Lines after the third are extensions, which are signed but unused.
    if len(lines) < 4 or not _NAME.fullmatch(lines[0]):
        raise MalformedRequest("the checkpoint does not begin with origin, size and root hash")
    size = parse_number(lines[1], MAX_ID)
    if size is None or str(size) != lines[1]:
        raise MalformedRequest("the size of the checkpoint is not a number")
    return Checkpoint(lines[0], size, decode_hash(lines[2]), note)


def _signature(line: str, key: VerifierKey) -> bytes | None:
    """Return the signature of that key in a line; ``None`` for one of another key.

    :raises MalformedRequest: when the line is malformed.
    """
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _NAME.fullmatch(name):
        raise MalformedRequest("a signature line of the checkpoint is malformed")
    value = decode_base64(encoded, "a signature of the checkpoint")
    if name != key.name or value[:_KEY_ID_SIZE] != key.key_id:
        return None
    if len(value) != _KEY_ID_SIZE + _SIGNATURE_SIZE:
        raise MalformedRequest("a signature of the checkpoint has a wrong length")
    return value[_KEY_ID_SIZE:]
