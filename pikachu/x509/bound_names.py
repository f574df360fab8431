"""Names that a challenge password is bound to: reading them as people type them, and holding CSRs to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pikachu.core.errors import MalformedRequest, NotAuthorized
from pikachu.core.model.people import BoundNames
from pikachu.x509 import der
from pikachu.x509.csr import CertificationRequest
from pikachu.x509.names import name_from_text, parse_name, same_text
from pikachu.x509.san import encode_san, parse_general_name
from pikachu.x509.san_input import parse_names, typed_texts

#: Characters of a CSR's names in the audit log.
_MAXIMUM_SHOWN: Final = 500


def read_bound_names(subject: str | None, sans: Sequence[str]) -> BoundNames | None:
    """Return the names of a new challenge password, or None without *subject* and *sans*.

    :param subject: RFC 4514 or the other forms of :func:`name_from_text`; empty or ``/`` for an empty subject.
    :param sans: with or without the prefix of their kind; empty texts are skipped.
    :raises MalformedRequest, BadCSR: when a name is not acceptable; there are alternative names only; there are none.
    """
    typed = typed_texts(sans)
    if subject is None:
        if typed:
            raise MalformedRequest("Enter the subject as well, or / for an empty one.")
        return None
    name = parse_name(name_from_text(subject.strip()))
    names = parse_names(typed)
    if name.is_empty and not names:
        raise MalformedRequest("Enter at least one subject alternative name for an empty subject.")
    texts = tuple(one.text for one in names)
    return BoundNames(name.text, texts, name.der, encode_san(names) if names else b"")


def names_to_add(csr: CertificationRequest, bound: BoundNames) -> bytes:
    """Require that a CSR asks for bound names only, and return those that it lacks.

    Its subject must be the same but for the case of letters and spaces, and each of its subject alternative names, of
    whatever kind, must be one of the bound.

    :returns: DER GeneralNames; empty when it lacks none.
    :raises NotAuthorized: when it asks for another name.
    :raises MalformedRequest, BadCSR: when its subjectAltName can't be read.
    """
    if not same_text(bound.subject_der, csr.subject_der):
        raise NotAuthorized(
            "The challenge password is bound to another subject. Request that subject, or create another challenge "
            "password.",
            names=csr.subject[:_MAXIMUM_SHOWN],
        )
    requested = csr.requested_names()
    names = [parse_general_name(one) for one in der.parse(bound.san_der).sub()] if bound.san_der else []
    known = {name.comparable for name in names}
    others = [name.text for name in requested.copied if name.comparable not in known] + list(requested.ignored)
    if others:
        raise NotAuthorized(
            "The challenge password is not bound to all subject alternative names of the request. Remove the other "
            "ones, or create another challenge password.",
            names=", ".join(others)[:_MAXIMUM_SHOWN],
        )
    present = {name.comparable for name in requested.copied}
    lacking = [name for name in names if name.comparable not in present]
    return encode_san(lacking) if lacking else b""
