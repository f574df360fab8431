"""The name by which a device is known over all of its certificates (see docs/adr/0037)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from pikachu.core.errors import PikachuError
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.names import Name, read_name
from pikachu.x509.search_text import fold

_SERIAL_NUMBER: Final = "2.5.4.5"
_SERIAL_NUMBER_DER: Final = b"\x06\x03\x55\x04\x05"
# Indexes of PostgreSQL hold no longer texts.
_MAX_KEY: Final = 400


def device_name(subject: Name, sans: Iterable[str]) -> str:
    """Return the name of the device with that subject, or an empty string without any name.

    :param sans: subject alternative names, such as ``DNS:a.example.com``.
    """
    serial_numbers = [value for value in subject.values(_SERIAL_NUMBER) if value.strip()]
    return serial_numbers[-1] if serial_numbers else _other_name(subject.common_name, sans)


def certified_device_name(certificate: bytes, common_name: str, sans: Sequence[str]) -> str:
    """Return the name of the device to which a certificate was issued, or an empty string without any name.

    :param common_name: that of the certificate, which is not parsed again for a name without a serial number.
    """
    if _SERIAL_NUMBER_DER in certificate:
        try:
            return device_name(read_name(parse_certificate(certificate).subject_der), sans)
        except PikachuError:
            pass
    return _other_name(common_name, sans)


def _other_name(common_name: str, sans: Iterable[str]) -> str:
    return common_name or next((text.partition(":")[2] for text in sans if text.partition(":")[2]), "")


def bound_device_key(subject_der: bytes, sans: Iterable[str]) -> str:
    """Return the folded name of the device that a challenge password is bound to."""
    return device_key(device_name(read_name(subject_der), sans))


def device_key(name: str) -> str:
    """Return the folded name, by which devices are compared; a longer one ends in a digest."""
    key = fold(name)
    return key if len(key) <= _MAX_KEY else f"{key[:_MAX_KEY]} {hashlib.sha256(key.encode()).hexdigest()}"
