"""What a request asks for and what it would get, as values that pages and REST show side by side (RA-3).

Nothing is decided here: the order is the one that would be signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pikachu.ca.issuance import IssuanceRequest
from pikachu.core.errors import PikachuError
from pikachu.core.interfaces import ToBeSigned
from pikachu.core.model.policies import Approval
from pikachu.x509 import der
from pikachu.x509.certificate import KEY_USAGE, SUBJECT_ALTERNATIVE_NAME, end_of_validity
from pikachu.x509.csr import CHALLENGE_PASSWORD, EXTENSION_REQUEST, MICROSOFT_EXTENSIONS, CertificationRequest
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import extension_text, object_name
from pikachu.x509.names import read_name, string_value
from pikachu.x509.spki import describe_spki

_MAXIMUM_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class AskedExtension:
    """An extension that a request asks for.

    :param outcome: ``granted``, ``replaced`` or ``dropped``; ``""`` where nothing was decided.
    :param why: one line.
    """

    oid: str
    name: str
    critical: bool
    text: tuple[str, ...]
    outcome: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Attribute:
    """Another attribute of a request; the value of a challengePassword is never told."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for.

    :param key: its type, or why it is not accepted.
    """

    subject: str
    key: str
    signature_algorithm: str
    extensions: tuple[AskedExtension, ...]
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class GivenExtension:
    """An extension that the certificate would have.

    :param origin: ``policy``, ``request`` or ``CA``.
    :param why: where it differs from what its origin says: one line.
    """

    oid: str
    name: str
    critical: bool
    text: tuple[str, ...]
    origin: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What would be signed; the serial number is chosen then.

    :param needs_approval: a person has to look at it first.
    :param remarks: what else the requester might not expect.
    """

    subject: str
    key: str
    policy: str
    issuer: str
    issuer_subject: str
    signature_algorithm: str
    not_before: datetime
    not_after: datetime
    validity_days: int
    extensions: tuple[GivenExtension, ...]
    needs_approval: bool
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """Both sides; *given* is ``None`` where it was refused (*refusal*) or decided before."""

    asked: Asked
    given: Given | None = None
    refusal: PikachuError | None = None


def preview_of(csr: CertificationRequest, order: IssuanceRequest, to_be_signed: ToBeSigned, now: datetime) -> Preview:
    """What *csr* asks for, and what the order that was made of it gives."""
    asked = [_with_outcome(extension, order) for extension in csr.extensions]
    return Preview(_asked(csr, asked), _given(csr, order, to_be_signed, now))


def one_sided(csr: CertificationRequest, refusal: PikachuError | None = None) -> Preview:
    """What *csr* asks for, where nothing is given."""
    return Preview(_asked(csr, [_asked_extension(extension) for extension in csr.extensions]), refusal=refusal)


def _asked(csr: CertificationRequest, extensions: Iterable[AskedExtension]) -> Asked:
    try:
        key = describe_spki(csr.spki_der).text
    except PikachuError as error:
        key = f"not accepted: {error.public}"
    algorithm = der.parse(csr.signature_algorithm_der).sub()
    return Asked(
        subject=csr.subject,
        key=key,
        signature_algorithm=object_name(algorithm[0].oid()) if algorithm else "none",
        extensions=tuple(extensions),
        attributes=tuple(
            Attribute(object_name(oid), _attribute_text(oid, values))
            for oid, values in csr.attributes
            if oid not in (EXTENSION_REQUEST, MICROSOFT_EXTENSIONS)
        ),
    )


def _attribute_text(oid: str, values: Sequence[bytes]) -> str:
    if oid == CHALLENGE_PASSWORD:
        return "present; it is not shown, and counts for nothing where an account asks"
    texts = []
    for value in values:
        try:
            text = string_value(der.parse(value))
        except PikachuError:
            text = None
        texts.append(text if text is not None and text.isprintable() else value.hex(":").upper())
    joined = ", ".join(texts)
    return joined if len(joined) <= _MAXIMUM_TEXT else f"{joined[:_MAXIMUM_TEXT]}…"


def _asked_extension(extension: Extension, outcome: str = "", why: str = "") -> AskedExtension:
    return AskedExtension(
        extension.oid,
        object_name(extension.oid),
        extension.critical,
        extension_text(extension),
        outcome,
        why,
    )


def _with_outcome(asked: Extension, order: IssuanceRequest) -> AskedExtension:
    given = next((one for one in order.extensions if one.oid == asked.oid), None)
    from_policy = any(one.oid == asked.oid for one in order.policy_extensions)
    if given == asked:
        why = "the policy says the same" if from_policy else ""
        return _asked_extension(asked, "granted", why)
    if given is not None:
        if given.value == asked.value:
            return _asked_extension(asked, "granted", f"{'critical' if given.critical else 'not critical'} there")
        return _asked_extension(asked, "replaced", "by the policy's" if from_policy else "by the CA's own")
    if asked.oid == SUBJECT_ALTERNATIVE_NAME:
        return _asked_extension(asked, "dropped", "the policy does not take names from requests")
    return _asked_extension(
        asked, "dropped", "only names are taken from requests, and the policy has no such extension"
    )


def _given_extension(given: Extension, csr: CertificationRequest, order: IssuanceRequest) -> GivenExtension:
    said = next((one for one in order.policy_extensions if one.oid == given.oid), None)
    asked = csr.extension(given.oid)
    if said is not None:
        origin, why = "policy", ""
        if said != given and given.oid == KEY_USAGE:
            why = "without what a key of this kind can't be used for"
        elif said != given:
            why = "critical, for there is no subject"
    elif asked is not None and asked.value == given.value and given.oid == SUBJECT_ALTERNATIVE_NAME:
        origin, why = "request", "critical, for there is no subject" if given.critical else ""
    else:
        origin, why = "CA", ""
    return GivenExtension(given.oid, object_name(given.oid), given.critical, extension_text(given), origin, why)


def _given(csr: CertificationRequest, order: IssuanceRequest, to_be_signed: ToBeSigned, now: datetime) -> Given:
    issuer = order.issuer
    remarks = []
    if to_be_signed.not_after < end_of_validity(now, order.days):
        remarks.append(f"the policy's {order.days} days are shortened to the end of the issuing CA's own validity")
    if csr.challenge_password is not None:
        remarks.append("the request's challengePassword is not copied")
    algorithm = der.parse(issuer.signer.algorithm).sub()[0].oid()
    return Given(
        subject=order.subject.text,
        key=order.key.text,
        policy=order.policy.name,
        issuer=issuer.name,
        issuer_subject=read_name(issuer.certificate.subject_der).text,
        signature_algorithm=object_name(algorithm),
        not_before=to_be_signed.not_before,
        not_after=to_be_signed.not_after,
        validity_days=order.days,
        extensions=tuple(_given_extension(extension, csr, order) for extension in order.extensions),
        needs_approval=order.policy.approval is Approval.MANUAL,
        remarks=tuple(remarks),
    )
