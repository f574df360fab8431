"""What the CAs above a certificate allow it: pathLenConstraint and nameConstraints, judged before issuing.

RFC 5280 sections 4.2.1.9, 4.2.1.10 and 6.1.4.  A certificate outside them would be refused by whoever checks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.errors import MalformedRequest, PolicyViolation
from pikachu.x509 import der
from pikachu.x509.certificate import BASIC_CONSTRAINTS, SUBJECT_ALTERNATIVE_NAME, Certificate
from pikachu.x509.extension import Extension
from pikachu.x509.names import EMAIL_ADDRESS, Name, comparable

NAME_CONSTRAINTS: Final = "2.5.29.30"

_EMAIL: Final = 0x81
_DNS: Final = 0x82
_DIRECTORY: Final = 0xA4
_URI: Final = 0x86
_IP: Final = 0x87
_KINDS: Final = {
    0xA0: "otherName",
    _EMAIL: "email",
    _DNS: "DNS",
    _DIRECTORY: "directory",
    _URI: "URI",
    _IP: "IP",
    0x88: "RID",
}
_HOST_NAME: Final = re.compile(r"(\*\.)?([A-Za-z0-9_-]+\.)+[A-Za-z0-9-]+")
_URI_HOST: Final = re.compile(r"[^:/?#]+://(?:[^/?#]*@)?([A-Za-z0-9._-]+)(?::[0-9]*)?(?:[/?#].*)?", re.DOTALL)

GeneralName = tuple[int, bytes]
"""The tag of a GeneralName and its content octets."""


@dataclass(frozen=True, slots=True)
class NameConstraints:
    """The subtrees of one CA certificate."""

    permitted: tuple[GeneralName, ...]
    excluded: tuple[GeneralName, ...]


def read_name_constraints(certificate: Certificate) -> NameConstraints | None:
    """The name constraints of a CA certificate; ``None`` when it has none.

    :raises MalformedRequest: when they can't be read, or have minimum or maximum, which RFC 5280 does not allow.
    """
    found = certificate.extension(NAME_CONSTRAINTS)
    if found is None:
        return None
    subtrees: dict[int, tuple[GeneralName, ...]] = {}
    for part in der.parse(found.value, der.SEQUENCE).children():
        if part.tag not in (0xA0, 0xA1) or part.tag in subtrees:
            raise MalformedRequest("the name constraints of a CA can't be read")
        subtrees[part.tag] = tuple(_base(subtree) for subtree in part.children())
    return NameConstraints(subtrees.get(0xA0, ()), subtrees.get(0xA1, ()))


def _base(subtree: der.Element) -> GeneralName:
    parts = subtree.expect(der.SEQUENCE).sub()
    if len(parts) != 1:
        raise MalformedRequest("the name constraints of a CA have a minimum or maximum")
    return parts[0].tag, parts[0].content


def check_path_length(chain: Sequence[Certificate], extensions: Iterable[Extension]) -> None:
    """That a CA certificate may stand below *chain*.

    :param chain: from the issuing CA to the root.
    :raises PolicyViolation: when it may not.
    """
    found = next((one for one in extensions if one.oid == BASIC_CONSTRAINTS), None)
    if found is None or found.value == der.sequence():
        return
    for below, authority in enumerate(chain):
        if authority.path_length is not None and authority.path_length <= below:
            raise PolicyViolation(
                f"the policy asks for a CA certificate, and a CA above it has pathlen {authority.path_length}"
            )


def check_names(constraints: Sequence[NameConstraints], subject: Name, extensions: Iterable[Extension]) -> None:
    """That all names of a certificate are within the constraints of every CA above it.

    :param extensions: of the certificate that is about to be signed.
    :raises PolicyViolation: with the kind of the name that is not.
    """
    if not constraints:
        return
    names = tuple(_names(subject, extensions))
    for one in constraints:
        for tag, content in names:
            permitted = [base for kind, base in one.permitted if kind == tag]
            excluded = [base for kind, base in one.excluded if kind == tag]
            if not permitted and not excluded:
                continue
            if (permitted and not any(_is_within(tag, content, base) for base in permitted)) or any(
                _touches(tag, content, base) for base in excluded
            ):
                kind = _KINDS.get(tag, "unknown")
                raise PolicyViolation(f"a {kind} name lies outside the name constraints of the CA", name=content.hex())


def _names(subject: Name, extensions: Iterable[Extension]) -> Iterator[GeneralName]:
    hosts = False
    for extension in extensions:
        if extension.oid == SUBJECT_ALTERNATIVE_NAME:
            for element in der.parse(extension.value, der.SEQUENCE).children():
                hosts = hosts or element.tag == _DNS
                yield element.tag, element.content
    if not subject.is_empty:
        yield _DIRECTORY, subject.der
    for address in subject.values(EMAIL_ADDRESS):
        yield _EMAIL, address.encode()
    # Those who look for a host name in the subject when there is none elsewhere apply the constraints there, too.
    if not hosts and _HOST_NAME.fullmatch(subject.common_name):
        yield _DNS, subject.common_name.encode()


def _is_within(tag: int, content: bytes, base: bytes) -> bool:
    if tag == _IP:
        half = len(base) // 2
        masked = (octet & mask for octet, mask in zip(content, base[half:], strict=False))
        return len(content) == half and bytes(masked) == bytes(a & b for a, b in zip(base, base[half:], strict=False))
    if tag == _DIRECTORY:
        wanted = comparable(base)
        return comparable(content)[: len(wanted)] == wanted
    name, limit = content.decode("latin-1").lower(), base.decode("latin-1").lower()
    if tag == _DNS:
        return _is_below(name, limit) if limit.startswith(".") else name == limit or _is_below(name, "." + limit)
    if tag == _EMAIL and "@" in limit:
        local, _, host = content.decode("latin-1").rpartition("@")
        wanted_local, _, wanted_host = base.decode("latin-1").rpartition("@")
        return (local, host.lower()) == (wanted_local, wanted_host.lower())
    if tag == _EMAIL:
        host = name.rpartition("@")[2]
    elif tag == _URI:
        match = _URI_HOST.fullmatch(name)
        host = "" if match is None else match[1]
    else:
        return False
    return host.endswith(limit) if limit.startswith(".") else host == limit


def _is_below(name: str, suffix: str) -> bool:
    return suffix == "." or (name.endswith(suffix) and len(name) > len(suffix))


def _touches(tag: int, content: bytes, base: bytes) -> bool:
    """Whether a name may be one of an excluded subtree; what can't be judged may be."""
    if tag not in (_EMAIL, _DNS, _DIRECTORY, _URI, _IP):
        return True
    if tag == _URI and _URI_HOST.fullmatch(content.decode("latin-1")) is None:
        return True
    if tag == _DNS and content.startswith(b"*."):
        # A wildcard stands for one label: *.example.com holds the excluded www.example.com.
        first, _, rest = base.decode("latin-1").lower().partition(".")
        if first and rest == content[2:].decode("latin-1").lower():
            return True
    return _is_within(tag, content, base)
