"""PKCS#12 files: their protection and, with the passphrase, their contents."""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import BadPublicKey, MalformedRequest, UnsupportedAlgorithm
from pikachu.inspection.recognition.cms import subject_of
from pikachu.inspection.recognition.keys import encryption_text, public_half
from pikachu.inspection.recognition.kinds import Decoded, Fact
from pikachu.x509.block_ciphers import WRONG_PASSPHRASE
from pikachu.x509.keys import load_private_key
from pikachu.x509.pfx import (
    CERTIFICATE_BAG,
    DATA,
    KEY_BAGS,
    Bag,
    File,
    check_passphrase,
    open_content,
    read_file,
)
from pikachu.x509.text import certificate_text
from pikachu.x509.text.descriptions import algorithm_name, algorithm_text, shown
from pikachu.x509.text.lines import Lines

_MAXIMUM_KEYS: Final = 4


def pkcs12(data: bytes, passphrase: str | None) -> Decoded:
    """Decode a PFX; without its passphrase, show only how it is protected.

    :raises MalformedRequest: *data* is not a PFX, or the passphrase is wrong.
    """
    file = read_file(data)
    lines = Lines()
    lines.add(0, "PKCS#12 File:")
    facts: list[Fact] = [("mac", _mac_text(file)), ("parts", tuple(_protections(file)))]
    lines.add(1, f"MAC: {_mac_text(file)}")
    lines.extend(1, (f"Part: {text}" for text in _protections(file)))
    locked = file.mac is not None or any(content.oid != DATA for content in file.contents)
    if locked and not passphrase:
        if not _has_empty_passphrase(file):
            return Decoded((*facts, ("passphrase", "needed")), lines.text, locked=True)
    elif passphrase:
        check_passphrase(file, passphrase)
    return _opened(file, passphrase or "", facts, lines)


def _has_empty_passphrase(file: File) -> bool:
    """Return whether the MAC verifies with an empty passphrase; ``False`` also when that would cost too much."""
    try:
        return check_passphrase(file, "")
    except (MalformedRequest, UnsupportedAlgorithm):
        return False


def _mac_text(file: File) -> str:
    if file.mac is None:
        return "none"
    return f"{algorithm_text(file.mac.algorithm)}, {file.mac.iterations:,} iterations"


def _protections(file: File) -> list[str]:
    """Describe the encryption of each ContentInfo."""
    descriptions = []
    for content in file.contents:
        if content.oid == DATA:
            descriptions.append("not encrypted as a whole")
        else:
            descriptions.append(
                "encrypted for a certificate" if content.encryption is None else encryption_text(content.encryption)
            )
    return descriptions


def _opened(file: File, passphrase: str, facts: list[Fact], lines: Lines) -> Decoded:
    subjects: list[str] = []
    keys: list[str] = []
    names: list[str] = []
    texts: list[str] = []
    failures: list[str] = []
    for content in file.contents:
        try:
            bags = open_content(content, passphrase)
        except UnsupportedAlgorithm as error:
            failures.append(error.public)
            continue
        for bag in bags:
            name = shown(bag.friendly_name)
            if name and name not in names:
                names.append(name)
            label = f"{algorithm_name(bag.oid)}{f', friendlyName: {name}' if name else ''}"
            lines.add(1, f"Bag: {label}{f', localKeyID: {bag.local_key_id[:32].hex()}' if bag.local_key_id else ''}")
            if bag.oid == CERTIFICATE_BAG:
                texts.append(certificate_text(bag.value))
                subjects.append(subject_of(bag.value))
            elif bag.oid in KEY_BAGS and len(keys) < _MAXIMUM_KEYS:
                kind, text = _key(bag, passphrase)
                keys.append(kind)
                texts.append(text)
    facts += [("friendly_names", tuple(names)), ("certificates", tuple(subjects)), ("private_keys", tuple(keys))]
    if failures:
        facts.append(("not_opened", tuple(failures)))
        lines.extend(1, failures)
    for text in texts:
        lines.extend(0, text.splitlines())
    return Decoded(tuple(facts), lines.text)


def _key(bag: Bag, passphrase: str) -> tuple[str, str]:
    """Return the type and the text of the public half of the private key in *bag*."""
    try:
        facts, text = public_half(load_private_key(bag.value, passphrase))
    except (BadPublicKey, MalformedRequest, UnsupportedAlgorithm) as error:
        if error.public == WRONG_PASSPHRASE:
            raise
        return f"not accepted: {error.public}", f"Private-Key: {error.public}\n"
    return str(dict(facts)["key"]), text
