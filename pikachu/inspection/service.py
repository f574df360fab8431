"""Inspection: what somebody brings, told apart and decoded (UI-7).  Nothing of it is stored or logged."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from typing import Final

from pikachu.auth.permissions import can_view, require_scope
from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.interfaces import ICertificateReader, IClock, IWorkerPool
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.inspection.openssl_program import OpenSSL
from pikachu.inspection.recognition import Decoded, Fact, Found, Kind, Value, decode, read
from pikachu.inspection.recognition.signed import has_challenge
from pikachu.x509.key_encryption import bounded_in_all

_MAXIMUM_PASSPHRASE: Final = 1023
# 20 octets (RFC 5280 section 4.1.2.2).
_LONGEST_SERIAL: Final = 40
_MAXIMUM_TEXT: Final = 512 * 1024
# Of hashing the passphrase, for all objects and all their parts together: a few seconds.
_MAXIMUM_ITERATIONS: Final = 4_000_000

_ARGUMENTS: Final = {
    Kind.CERTIFICATE: ("x509", "-noout", "-text"),
    Kind.CSR: ("req", "-noout", "-text"),
    Kind.CRL: ("crl", "-noout", "-text"),
    Kind.PKCS7: ("pkcs7", "-print_certs", "-noout", "-text"),
    Kind.OCSP_REQUEST: ("ocsp", "-req_text", "-reqin", "/dev/stdin"),
    Kind.OCSP_RESPONSE: ("ocsp", "-resp_text", "-noverify", "-respin", "/dev/stdin"),
    Kind.PUBLIC_KEY: ("pkey", "-pubin", "-noout", "-text_pub"),
    # These hold secrets: the command is told, but the program is not run here.
    Kind.PKCS12: ("pkcs12", "-info", "-noout"),
    Kind.PRIVATE_KEY: ("pkey", "-noout", "-text_pub"),
}
_SECRET: Final = frozenset({Kind.PKCS12, Kind.PRIVATE_KEY})
_OCSP: Final = frozenset({Kind.OCSP_REQUEST, Kind.OCSP_RESPONSE})


@dataclass(frozen=True, slots=True)
class Inspected:
    """What is told of what was brought.

    :ivar kind: of the first object.
    :ivar title: the kind for people.
    :ivar facts: of the first object, and how many follow.
    :ivar text: of all objects.
    :ivar command: of openssl, for a file as it was given.
    :ivar openssl: what that program says of the first object; ``None`` where it was not asked, or is not there.
    :ivar locked: a passphrase would tell more.
    """

    kind: Kind
    title: str
    facts: tuple[Fact, ...]
    text: str = field(repr=False)
    command: str
    openssl: str | None = field(repr=False)
    locked: bool


class Inspection:
    """Tells what an object is.

    :param store: knows which certificates were issued here.
    :param pool: for reading, and for waiting for the openssl program.
    """

    def __init__(self, clock: IClock, store: ICertificateReader, pool: IWorkerPool, openssl: OpenSSL) -> None:
        self._clock = clock
        self._store = store
        self._pool = pool
        self._openssl = openssl

    async def inspect(
        self, actor: Principal, data: bytes, passphrase: str | None = None, *, compare: bool = False
    ) -> Inspected:
        """The objects in *data*: PEM, base64 or DER.

        :param passphrase: of a private key or a PKCS#12 file.
        :param compare: ask the openssl program too.
        :raises MalformedRequest: nothing that can be read, or a wrong passphrase.
        :raises TooLarge: more than 1 MiB.
        """
        require_scope(actor, Scope.READ)
        if passphrase and len(passphrase) > _MAXIMUM_PASSPHRASE:
            raise MalformedRequest(f"a passphrase has at most {_MAXIMUM_PASSPHRASE} characters")
        found, inspected = await self._pool.run(self._inspect, data, passphrase or None, compare)
        if found.kind is not Kind.CERTIFICATE:
            return inspected
        return replace(inspected, facts=(*inspected.facts, *await self._known(actor, found, inspected)))

    async def _known(self, actor: Principal, found: Found, inspected: Inspected) -> list[Fact]:
        """Where this very certificate stands in the list, when it was issued here and *actor* may see it."""
        digits = str(dict(inspected.facts)["serial"])
        if len(digits) > _LONGEST_SERIAL:
            return []
        try:
            record = await self._store.certificate_by_serial(int(digits, 16))
        except NotFound:
            return []
        if record.der != found.der or not can_view(actor, record.owner_id):
            return []
        return [("certificate_id", record.id), ("status", record.status(utc(self._clock.seconds())).value)]

    def _inspect(self, data: bytes, passphrase: str | None, compare: bool) -> tuple[Found, Inspected]:
        now = utc(self._clock.seconds())
        found = read(data)
        with bounded_in_all(_MAXIMUM_ITERATIONS):
            decoded = [decode(one, now, passphrase) for one in found]
        first = found[0]
        facts = (("form", first.form), *decoded[0].facts, *_following(found, decoded))
        arguments = _arguments(first)
        theirs = self._openssl.text(arguments, first.der) if compare and first.kind not in _SECRET else None
        return first, Inspected(
            first.kind,
            first.kind.words,
            facts,
            _joined(decoded),
            _command(first),
            theirs,
            any(one.locked for one in decoded),
        )


def _joined(decoded: list[Decoded]) -> str:
    """All texts, up to a bound."""
    text = "\n".join(one.text for one in decoded)
    return text if len(text) <= _MAXIMUM_TEXT else f"{text[:_MAXIMUM_TEXT]}\n… the rest is left out\n"


def _following(found: list[Found], decoded: list[Decoded]) -> list[Fact]:
    """What comes after the first object."""
    if len(found) == 1:
        return []
    words = []
    for one, told in zip(found[1:], decoded[1:], strict=True):
        name: Value = next((value for label, value in told.facts if label in ("subject", "issuer", "key")), "")
        words.append(f"{one.kind.words}: {name}" if name else one.kind.words)
    return [("objects", len(found)), ("further", tuple(words))]


def _arguments(first: Found) -> list[str]:
    """For the program on standard input, in DER."""
    kind, *rest = _ARGUMENTS[first.kind]
    if first.kind not in _OCSP:
        rest = ["-inform", "DER", *rest]
    if first.kind is Kind.CSR and has_challenge(first.der):
        # The program would show the challenge password.
        rest += ["-reqopt", "no_attributes"]
    return [kind, *rest]


def _command(first: Found) -> str:
    """For a person, with a file."""
    kind, *rest = [word for word in _arguments(first) if word not in ("-inform", "DER")]
    if first.kind in _OCSP:
        return shlex.join(["openssl", kind, *(word if word != "/dev/stdin" else "FILE" for word in rest)])
    form = ["-inform", "DER"] if first.form == "DER" and first.kind is not Kind.PKCS12 else []
    return shlex.join(["openssl", kind, *form, *rest, "-in", "FILE"])
