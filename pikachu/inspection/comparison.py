"""Relations of inspected objects: the chain of certificates, and who has whose key (UI-7)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.inspection.recognition import Decoded, Fact, Kind, RecognisedObject
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import describe_spki

_KEYS: Final = frozenset({Kind.PRIVATE_KEY, Kind.PUBLIC_KEY, Kind.CSR})


def chain_facts(objects: Sequence[tuple[RecognisedObject, Decoded]], now: datetime) -> list[Fact]:
    """Check the certificates as a chain in their order, each issued by the next; no facts for fewer than two."""
    found = [(one.der, decoded) for one, decoded in objects if one.kind is Kind.CERTIFICATE]
    if len(found) < 2:
        return []
    try:
        certificates = [parse_certificate(data) for data, _ in found]
    except MalformedRequest as error:
        return [("chain_complete", False), ("chain", (f"A certificate can't be read: {error.public}",))]
    names = [_name(decoded) for _, decoded in found]
    problems = [*_out_of_time(certificates, names, now)]
    lines = []
    for (number, (subject, issuer)), (_, authority) in zip(
        enumerate(pairwise(certificates), 1), pairwise([decoded for _, decoded in found]), strict=True
    ):
        problem = _link_problem(subject, issuer, authority)
        good = f"issued by {names[number]}; the signature verifies"
        lines.append(f"{number}. {names[number - 1]}: {problem or good}.")
        if problem:
            problems.append(problem)
    return [("chain_complete", not problems), ("chain", (*lines, *_out_of_time(certificates, names, now)))]


def _out_of_time(certificates: Sequence[Certificate], names: Sequence[str], now: datetime) -> Iterator[str]:
    for certificate, name in zip(certificates, names, strict=True):
        if now > certificate.not_after:
            yield f"{name} has expired."
        elif now < certificate.not_before:
            yield f"{name} is not valid yet."


def _link_problem(subject: Certificate, issuer: Certificate, authority: Decoded) -> str:
    """Return why *issuer* has not issued *subject*, or an empty string."""
    if subject.issuer_der != issuer.subject_der:
        return "the next certificate is not its issuer; the order is wrong, or a certificate is missing"
    if not dict(authority.facts)["certificate_authority"]:
        return "the next certificate has its issuer's name, but is not that of a CA"
    try:
        verify_signature(
            describe_spki(issuer.spki_der),
            subject.signature_algorithm_der,
            subject.signature,
            subject.tbs,
            allow_sha1=True,
            failure=MalformedRequest,
        )
    except PikachuError as error:
        return f"the next certificate has its issuer's name, but {error.public}"
    return ""


def key_facts(objects: Sequence[tuple[RecognisedObject, Decoded]]) -> list[Fact]:
    """Compare the keys of CSRs and of public and private keys with those of the certificates."""
    certificates = []
    for one, decoded in objects:
        if one.kind is Kind.CERTIFICATE:
            try:
                digest = hashlib.sha256(parse_certificate(one.der).spki_der).hexdigest()
            except MalformedRequest:
                continue
            certificates.append((digest, _name(decoded)))
    lines = []
    for one, decoded in objects:
        key = dict(decoded.facts).get("public_key_sha256")
        if one.kind not in _KEYS or key is None or not certificates:
            continue
        same = [name for certified, name in certificates if certified == key]
        what = one.kind.display_name
        lines.append(f"{what}: its key is that of {', '.join(same)}" if same else f"{what}: no certificate has its key")
    return [("key_match", tuple(lines))] if lines else []


def _name(decoded: Decoded) -> str:
    return str(dict(decoded.facts).get("subject") or "a certificate without a subject")
