"""Inspection of uploaded or pasted objects: recognise, decode and describe them (UI-7).  Store and log nothing."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from typing import Final

from pikachu.auth.permissions import can_view_certificate, require_scope
from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.interfaces import ICertificateReader, IClock, IWorkerPool
from pikachu.core.model.certificates import Infrastructure
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.inspection.comparison import chain_facts, key_facts
from pikachu.inspection.openssl_program import OpenSSL
from pikachu.inspection.recognition import Decoded, Fact, Kind, RecognisedObject, Value, decode, read
from pikachu.inspection.recognition.signed import has_challenge
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.key_encryption import FILE_ITERATIONS, bounded_in_all

_MAXIMUM_PASSPHRASE: Final = 1023
# Hexadecimal digits of a serial number of 20 bytes (RFC 5280 section 4.1.2.2).
_LONGEST_SERIAL: Final = 40
_MAXIMUM_TEXT: Final = 512 * 1024
_UNKNOWN_ROOT: Final = "The chain ends at a self-signed certificate that is no root of this CA."

_ARGUMENTS: Final = {
    Kind.CERTIFICATE: ("x509", "-noout", "-text"),
    Kind.CSR: ("req", "-noout", "-text"),
    Kind.CRL: ("crl", "-noout", "-text"),
    Kind.PKCS7: ("pkcs7", "-print_certs", "-noout", "-text"),
    Kind.OCSP_REQUEST: ("ocsp", "-req_text", "-reqin", "/dev/stdin"),
    Kind.OCSP_RESPONSE: ("ocsp", "-resp_text", "-noverify", "-respin", "/dev/stdin"),
    Kind.PUBLIC_KEY: ("pkey", "-pubin", "-noout", "-text_pub"),
    # These contain secrets: the command is shown, but the program does not run on this server.
    Kind.PKCS12: ("pkcs12", "-info", "-noout"),
    Kind.PRIVATE_KEY: ("pkey", "-noout", "-text_pub"),
}
_SECRET: Final = frozenset({Kind.PKCS12, Kind.PRIVATE_KEY})
_OCSP: Final = frozenset({Kind.OCSP_REQUEST, Kind.OCSP_RESPONSE})


@dataclass(frozen=True, slots=True)
class Inspected:
    """The result of inspecting uploaded or pasted objects.

    :ivar kind: the kind of the first object.
    :ivar title: the display name of that kind.
    :ivar facts: the fields of the first object, and the number of further objects.
    :ivar text: the text of all objects.
    :ivar command: the ``openssl`` command line for a file in the same encoding.
    :ivar openssl: the output of ``openssl`` for the first object; ``None`` when not requested or not available.
    :ivar locked: whether a passphrase would reveal more.
    :ivar further: display name of the kind and fields of each further object.
    """

    kind: Kind
    title: str
    facts: tuple[Fact, ...]
    text: str = field(repr=False)
    command: str
    openssl: str | None = field(repr=False)
    locked: bool
    further: tuple[tuple[str, tuple[Fact, ...]], ...] = ()


class Inspection:
    """Inspects PKI objects.

    :param store: looks up the certificates that this CA issued.
    :param pool: runs the decoding and waits for the ``openssl`` program.
    """

    def __init__(self, clock: IClock, store: ICertificateReader, pool: IWorkerPool, openssl: OpenSSL) -> None:
        self._clock = clock
        self._store = store
        self._pool = pool
        self._openssl = openssl

    async def inspect(
        self, actor: Principal, data: bytes, passphrase: str | None = None, *, compare: bool = False
    ) -> Inspected:
        """Inspect the objects in *data*: PEM, Base64 or DER.

        :param passphrase: decrypts a private key or a PKCS#12 file.
        :param compare: also run the ``openssl`` program.
        :raises MalformedRequest: *data* contains no readable object, or the passphrase is wrong.
        :raises TooLarge: more than 1 MiB.
        """
        require_scope(actor, Scope.READ)
        if passphrase and len(passphrase) > _MAXIMUM_PASSPHRASE:
            raise MalformedRequest(f"a passphrase has at most {_MAXIMUM_PASSPHRASE} characters")
        objects, inspected = await self._pool.run(self._inspect, data, passphrase or None, compare)
        certificates = [one for one in objects if one.kind is Kind.CERTIFICATE]
        if len(certificates) > 1:
            inspected = replace(inspected, facts=(*inspected.facts, ("chain_end", await self._end(certificates[-1]))))
        recognised = objects[0]
        if recognised.kind is not Kind.CERTIFICATE:
            return inspected
        return replace(inspected, facts=(*inspected.facts, *await self._known(actor, recognised, inspected)))

    async def _known(self, actor: Principal, recognised: RecognisedObject, inspected: Inspected) -> list[Fact]:
        """Return the ID and the status of a certificate that this CA issued and *actor* may view."""
        digits = str(dict(inspected.facts)["serial"])
        if len(digits) > _LONGEST_SERIAL:
            return []
        try:
            record = await self._store.certificate_by_serial(int(digits, 16))
        except NotFound:
            return []
        if record.der != recognised.der or not can_view_certificate(actor, record):
            return []
        return [("certificate_id", record.id), ("status", record.status(utc(self._clock.seconds())).value)]

    async def _end(self, last: RecognisedObject) -> str:
        """Return where a chain of certificates ends."""
        try:
            certificate = parse_certificate(last.der)
        except MalformedRequest:
            return "The last certificate can't be read."
        if certificate.issuer_der != certificate.subject_der:
            return "The chain does not end at a root: the last certificate was issued by another CA."
        try:
            record = await self._store.certificate_by_serial(certificate.serial)
        except NotFound:
            return _UNKNOWN_ROOT
        is_root = record.der == last.der and record.infrastructure is Infrastructure.ROOT
        return "The chain ends at a root of this CA." if is_root else _UNKNOWN_ROOT

    def _inspect(self, data: bytes, passphrase: str | None, compare: bool) -> tuple[list[RecognisedObject], Inspected]:
        now = utc(self._clock.seconds())
        objects = read(data)
        with bounded_in_all(FILE_ITERATIONS):
            decoded = [decode(each, now, passphrase) for each in objects]
        first = objects[0]
        pairs = list(zip(objects, decoded, strict=True))
        related = (*key_facts(pairs), *chain_facts(pairs, now))
        facts = (("form", first.form), *decoded[0].facts, *_following(objects, decoded), *related)
        arguments = _arguments(first)
        openssl_text = self._openssl.text(arguments, first.der) if compare and first.kind not in _SECRET else None
        return objects, Inspected(
            first.kind,
            first.kind.display_name,
            facts,
            _joined(decoded),
            _command(first),
            openssl_text,
            any(each.locked for each in decoded),
            tuple((one.kind.display_name, (("form", one.form), *contents.facts)) for one, contents in pairs[1:]),
        )


def _joined(decoded: list[Decoded]) -> str:
    """Return all texts joined, truncated to the maximum size."""
    text = "\n".join(each.text for each in decoded)
    return text if len(text) <= _MAXIMUM_TEXT else f"{text[:_MAXIMUM_TEXT]}\n… the rest is left out\n"


def _following(objects: list[RecognisedObject], decoded: list[Decoded]) -> list[Fact]:
    """Describe the objects after the first one."""
    if len(objects) == 1:
        return []
    descriptions = []
    for recognised, contents in zip(objects[1:], decoded[1:], strict=True):
        name: Value = next((value for label, value in contents.facts if label in ("subject", "issuer", "key")), "")
        descriptions.append(f"{recognised.kind.display_name}: {name}" if name else recognised.kind.display_name)
    return [("objects", len(objects)), ("further", tuple(descriptions))]


def _arguments(first: RecognisedObject) -> list[str]:
    """Return the arguments of ``openssl`` that read DER from standard input."""
    kind, *rest = _ARGUMENTS[first.kind]
    if first.kind not in _OCSP:
        rest = ["-inform", "DER", *rest]
    if first.kind is Kind.CSR and has_challenge(first.der):
        # Without this option the program prints the challenge password.
        rest += ["-reqopt", "no_attributes"]
    return [kind, *rest]


def _command(first: RecognisedObject) -> str:
    """Return the command line that shows the same object from a file."""
    kind, *rest = [word for word in _arguments(first) if word not in ("-inform", "DER")]
    if first.kind in _OCSP:
        return shlex.join(["openssl", kind, *(word if word != "/dev/stdin" else "FILE" for word in rest)])
    form = ["-inform", "DER"] if first.form == "DER" and first.kind is not Kind.PKCS12 else []
    return shlex.join(["openssl", kind, *form, *rest, "-in", "FILE"])
