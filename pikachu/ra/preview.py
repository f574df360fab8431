"""Previews: the content of a CSR beside the certificate that it would get, for pages and REST (RA-3).

Nothing is decided here: the preview shows the issuance request that would be signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pikachu.ca.issuance import IssuanceRequest, lint_issuance
from pikachu.core.errors import LintFailed, MalformedRequest, PikachuError
from pikachu.core.interfaces import ToBeSigned
from pikachu.core.model.lint import Finding, by_severity
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
    """An extension in a CSR.

    :param outcome: ``granted``, ``replaced``, ``dropped`` or ``ignored``; ``""`` without a decision.
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
    """Another attribute of a CSR, or a part of it that can't be read.

    :param text: its values; that of a challengePassword is never shown.
    :param outcome: ``ignored``; ``""`` for a challengePassword.
    :param why: one line.
    """

    name: str
    text: str
    outcome: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The content of a CSR.

    :param key: the key type, or why the key is not accepted.
    """

    subject: str
    key: str
    signature_algorithm: str
    extensions: tuple[AskedExtension, ...]
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class GivenExtension:
    """An extension of the certificate.

    :param origin: ``policy``, ``request`` or ``CA``.
    :param why: one line, when it differs from the extension in its origin.
    """

    oid: str
    name: str
    critical: bool
    text: tuple[str, ...]
    origin: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """The content of the certificate, without its serial number, which is chosen at issuance.

    :param needs_approval: the request waits for approval first.
    :param remarks: further differences from the CSR.
    :param findings: those of lint (LNT-1).
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
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """A CSR and its certificate.

    :param asked: the content of the CSR.
    :param given: the content of the certificate; ``None`` when it is refused (*refusal*) or already decided.
    """

    asked: Asked
    given: Given | None = None
    refusal: PikachuError | None = None

    @property
    def refusal_findings(self) -> tuple[Finding, ...]:
        """The errors of lint for which it is refused."""
        return self.refusal.findings if isinstance(self.refusal, LintFailed) else ()


def preview_of(
    csr: CertificationRequest, issuance: IssuanceRequest, to_be_signed: ToBeSigned, now: datetime
) -> Preview:
    """Return the preview of a CSR and the issuance that was decided for it."""
    extensions = [_with_outcome(extension, issuance) for extension in csr.extensions]
    return Preview(_request_content(csr, extensions), _certificate_content(csr, issuance, to_be_signed, now))


def one_sided(csr: CertificationRequest, refusal: PikachuError | None = None) -> Preview:
    """Return the preview of a CSR without a certificate."""
    extensions = [_requested_extension(extension) for extension in csr.extensions]
    return Preview(_request_content(csr, extensions), refusal=refusal)


def _request_content(csr: CertificationRequest, extensions: Iterable[AskedExtension]) -> Asked:
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
        attributes=(
            *(
                _attribute(oid, values)
                for oid, values in csr.attributes
                if oid not in (EXTENSION_REQUEST, MICROSOFT_EXTENSIONS)
            ),
            *(
                Attribute(object_name(part.oid) or "Unreadable part", "", "ignored", part.reason)
                for part in csr.ignored
            ),
        ),
    )


def _attribute(oid: str, values: Sequence[bytes]) -> Attribute:
    text = _attribute_text(oid, values)
    if oid == CHALLENGE_PASSWORD:
        return Attribute(object_name(oid), text)
    return Attribute(object_name(oid), text, "ignored", "Attributes are not copied into certificates.")


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


def _requested_extension(extension: Extension, outcome: str = "", why: str = "") -> AskedExtension:
    return AskedExtension(
        extension.oid,
        object_name(extension.oid),
        extension.critical,
        extension_text(extension),
        outcome,
        why,
    )


def _with_outcome(requested: Extension, issuance: IssuanceRequest) -> AskedExtension:
    granted = next((extension for extension in issuance.extensions if extension.oid == requested.oid), None)
    from_policy = any(extension.oid == requested.oid for extension in issuance.policy_extensions)
    if requested.oid == SUBJECT_ALTERNATIVE_NAME and granted is not None and not from_policy:
        return _requested_extension(requested, "granted", _difference(requested, granted, issuance))
    if granted == requested:
        why = "the policy says the same" if from_policy else ""
        return _requested_extension(requested, "granted", why)
    if granted is not None:
        if granted.value == requested.value:
            why = f"{'critical' if granted.critical else 'not critical'} there"
            return _requested_extension(requested, "granted", why)
        return _requested_extension(requested, "replaced", "by the policy's" if from_policy else "by the CA's own")
    if requested.oid == SUBJECT_ALTERNATIVE_NAME and issuance.ignored_names:
        return _requested_extension(requested, "ignored", "the policy does not copy names of these kinds")
    if requested.oid == SUBJECT_ALTERNATIVE_NAME:
        return _requested_extension(requested, "dropped", "the policy does not take names from requests")
    if not _is_readable(requested):
        return _requested_extension(requested, "ignored", "its value can't be read")
    return _requested_extension(
        requested, "dropped", "only names are taken from requests, and the policy has no such extension"
    )


def _difference(requested: Extension, granted: Extension, issuance: IssuanceRequest) -> str:
    """Return in which way the names of the certificate differ from the requested ones."""
    differences = []
    if issuance.ignored_names:
        differences.append(f"without {', '.join(issuance.ignored_names)}, which the policy does not copy")
    elif granted.value != requested.value:
        is_longer = len(der.parse(granted.value).sub()) > len(der.parse(requested.value).sub())
        differences.append("with the subject's email address" if is_longer else "with the string types of RFC 5280")
    if granted.critical != requested.critical:
        differences.append(f"{'critical' if granted.critical else 'not critical'} there")
    return "; ".join(differences)


def _is_readable(extension: Extension) -> bool:
    try:
        der.parse(extension.value)
    except MalformedRequest:
        return False
    return True


def _granted_extension(granted: Extension, issuance: IssuanceRequest) -> GivenExtension:
    of_policy = next((extension for extension in issuance.policy_extensions if extension.oid == granted.oid), None)
    if of_policy is not None:
        origin, why = "policy", ""
        if of_policy != granted and granted.oid == KEY_USAGE:
            why = "without what a key of this kind can't be used for"
        elif of_policy != granted:
            why = "critical, for there is no subject"
    elif granted.oid == SUBJECT_ALTERNATIVE_NAME:
        origin, why = "request", "critical, for there is no subject" if granted.critical else ""
    else:
        origin, why = "CA", ""
    return GivenExtension(granted.oid, object_name(granted.oid), granted.critical, extension_text(granted), origin, why)


def _certificate_content(
    csr: CertificationRequest, issuance: IssuanceRequest, to_be_signed: ToBeSigned, now: datetime
) -> Given:
    issuer = issuance.issuer
    remarks = []
    if to_be_signed.not_after < end_of_validity(now, issuance.days):
        remarks.append(f"the policy's {issuance.days} days are shortened to the end of the validity of the CA's chain")
    if csr.subject_der != csr.received_subject_der:
        remarks.append("the subject is encoded again: a value had a wrong string type")
    if csr.attribute(CHALLENGE_PASSWORD) is not None:
        remarks.append("the request's challengePassword is not copied")
    algorithm = der.parse(issuer.signer.algorithm).sub()[0].oid()
    return Given(
        subject=issuance.subject.text,
        key=issuance.key.text,
        policy=issuance.policy.name,
        issuer=issuer.name,
        issuer_subject=read_name(issuer.certificate.subject_der).text,
        signature_algorithm=object_name(algorithm),
        not_before=to_be_signed.not_before,
        not_after=to_be_signed.not_after,
        validity_days=issuance.days,
        extensions=tuple(_granted_extension(extension, issuance) for extension in issuance.extensions),
        needs_approval=bool(issuance.policy.approval.needed),
        remarks=tuple(remarks),
        findings=by_severity(lint_issuance(issuance)),
    )
