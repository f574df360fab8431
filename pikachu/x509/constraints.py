"""Constraints of the CAs in the chain: pathLenConstraint, nameConstraints and purposes, checked before issuance.

RFC 5280 sections 4.2.1.9, 4.2.1.10 and 6.1.4.  Relying parties reject a certificate that violates them.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import MalformedRequest, PolicyViolation
from pikachu.x509 import der
from pikachu.x509.certificate import (
    ANY_EXTENDED_KEY_USAGE,
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    OCSP_SIGNING,
    SUBJECT_ALTERNATIVE_NAME,
    Certificate,
)
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import object_name
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
    """Return the name constraints of a CA certificate, or ``None``.

    :raises MalformedRequest: they are malformed, or use minimum or maximum, which RFC 5280 forbids.
    """
    extension = certificate.extension(NAME_CONSTRAINTS)
    if extension is None:
        return None
    subtrees: dict[int, tuple[GeneralName, ...]] = {}
    for part in der.parse(extension.value, der.SEQUENCE).children():
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
    """Check that *chain* permits another CA certificate below it, if *extensions* are those of one.

    :param chain: from the issuing CA to the root.
    :raises PolicyViolation: a pathLenConstraint forbids it.
    """
    basic_constraints = next((extension for extension in extensions if extension.oid == BASIC_CONSTRAINTS), None)
    if basic_constraints is None or basic_constraints.value == der.sequence():
        return
    for below, authority in enumerate(chain):
        if authority.path_length is not None and authority.path_length <= below:
            raise PolicyViolation(
                f"the policy asks for a CA certificate, and a CA above it has pathlen {authority.path_length}"
            )


def check_purposes(chain: Sequence[Certificate], extensions: Iterable[Extension]) -> None:
    """Check that the purposes of a certificate are among those of every CA in *chain* that limits them.

    RFC 5280 leaves extendedKeyUsage of CAs undefined, but relying parties apply it to what is below.  A responder of
    the CA's own OCSP answers is an exception to them.

    :param chain: from the issuing CA to the root.
    :raises PolicyViolation: with the purpose that lies outside.
    """
    extension = next((extension for extension in extensions if extension.oid == EXTENDED_KEY_USAGE), None)
    if extension is None:
        return
    purposes = _purposes(extension.value)
    for authority in chain:
        limits = authority.extended_key_usage
        if limits is None or ANY_EXTENDED_KEY_USAGE in limits:
            continue
        for purpose in purposes:
            if purpose not in limits and purpose not in (OCSP_SIGNING, ANY_EXTENDED_KEY_USAGE):
                raise PolicyViolation(
                    f"the purpose {object_name(purpose)} lies outside the extendedKeyUsage of the CA, which is for "
                    f"{', '.join(sorted(map(object_name, limits)))}; choose another issuing CA, or leave it out"
                )


# Policies have few different values, and every certificate below a limited CA needs its own.
@functools.lru_cache(maxsize=256)
def _purposes(value: bytes) -> tuple[str, ...]:
    return tuple(purpose.oid() for purpose in der.parse(value, der.SEQUENCE).children())


def check_names(constraints: Sequence[NameConstraints], subject: Name, extensions: Iterable[Extension]) -> None:
    """Check that all names of a certificate are within the constraints of every CA in its chain.

    :param extensions: the extensions of the certificate to be signed.
    :raises PolicyViolation: with the kind of the name that violates them.
    """
    if not constraints:
        return
    names = tuple(_names(subject, extensions))
    for constraint in constraints:
        permitted, excluded = _subtrees(constraint.permitted), _subtrees(constraint.excluded)
        for tag, content in names:
            outside = tag in permitted.kinds and not permitted.hold(tag, content)
            if outside or (tag in excluded.kinds and excluded.touch(tag, content)):
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
    # Clients that fall back to the commonName as host name apply the constraints to it, too.
    if not hosts and _HOST_NAME.fullmatch(subject.common_name):
        yield _DNS, subject.common_name.encode()


class _Hosts:
    """Bases of subtrees by host name, looked up by the suffixes of a name instead of a linear search."""

    def __init__(self) -> None:
        self.equal: set[str] = set()
        self.below: set[str] = set()

    def add(self, host: str) -> None:
        """Add a host, or all hosts below it when *host* begins with a dot."""
        (self.below if host.startswith(".") else self.equal).add(host)

    def hold(self, host: str, *, proper: bool = False) -> bool:
        """Return whether *host* equals one of the bases or is below one.

        :param proper: whether a label must precede the dot.
        """
        if host in self.equal:
            return True
        position = host.find(".", int(proper))
        while position >= 0:
            if host[position:] in self.below:
                return True
            position = host.find(".", position + 1)
        return False


class _Subtrees:
    """The permitted or the excluded subtrees of a CA, indexed by kind: a name is case-folded once, then looked up.

    :ivar kinds: the tags of the subtrees.
    """

    def __init__(self, bases: Iterable[GeneralName]) -> None:
        self.kinds = frozenset(tag for tag, _ in bases)
        self._dns = _Hosts()
        self._every_dns_name = False
        # The names without their first label, to match wildcards.
        self._dns_parents: set[str] = set()
        self._email_hosts = _Hosts()
        self._addresses: set[tuple[str, str]] = set()
        self._uri_hosts = _Hosts()
        # Size of an address in bytes → networks with their masks.
        self._networks: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        self._directory_bases: list[bytes] = []
        for tag, base in bases:
            self._add(tag, base)

    def _add(self, tag: int, base: bytes) -> None:
        if tag == _IP:
            half = len(base) // 2
            if len(base) == 2 * half:
                mask = int.from_bytes(base[half:], "big")
                self._networks[half].add((int.from_bytes(base[:half], "big") & mask, mask))
            return
        if tag == _DIRECTORY:
            self._directory_bases.append(base)
            return
        limit = base.decode("latin-1").lower()
        if tag == _DNS:
            self._dns.add(limit)
            self._dns.below.add(limit if limit.startswith(".") else f".{limit}")
            self._every_dns_name = self._every_dns_name or limit in ("", ".")
            first, _, parent = limit.partition(".")
            if first:
                self._dns_parents.add(parent)
        elif tag == _EMAIL and "@" in limit:
            self._addresses.add(_address(base))
        elif tag == _EMAIL:
            self._email_hosts.add(limit)
        elif tag == _URI:
            self._uri_hosts.add(limit)

    @functools.cached_property
    def _directories(self) -> frozenset[Hashable]:
        # Parsed on demand, so that an unreadable base fails only certificates with a directory name.
        return frozenset(comparable(base) for base in self._directory_bases)

    def hold(self, tag: int, content: bytes) -> bool:
        """Return whether a name lies within one of the subtrees."""
        if tag == _IP:
            address = int.from_bytes(content, "big")
            return any(address & mask == network for network, mask in self._networks.get(len(content), ()))
        if tag == _DIRECTORY:
            rdns = comparable(content)
            return any(rdns[:depth] in self._directories for depth in range(len(rdns) + 1))
        name = content.decode("latin-1").lower()
        if tag == _DNS:
            return self._every_dns_name or self._dns.hold(name, proper=True)
        if tag == _EMAIL:
            return _address(content) in self._addresses or self._email_hosts.hold(name.rpartition("@")[2])
        if tag == _URI:
            match = _URI_HOST.fullmatch(name)
            return self._uri_hosts.hold("" if match is None else match[1])
        return False

    def touch(self, tag: int, content: bytes) -> bool:
        """Return whether a name may lie within one of the subtrees; ``True`` when this is undecidable."""
        if tag not in (_EMAIL, _DNS, _DIRECTORY, _URI, _IP):
            return True
        if tag == _URI and _URI_HOST.fullmatch(content.decode("latin-1")) is None:
            return True
        # A wildcard matches one label: *.example.com covers the excluded www.example.com.
        if tag == _DNS and content.startswith(b"*.") and content[2:].decode("latin-1").lower() in self._dns_parents:
            return True
        return self.hold(tag, content)


def _address(content: bytes) -> tuple[str, str]:
    """Return the local part, which is case-sensitive, and the host of an e-mail address."""
    local, _, host = content.decode("latin-1").rpartition("@")
    return local, host.lower()


@functools.lru_cache(maxsize=32)
def _subtrees(bases: tuple[GeneralName, ...]) -> _Subtrees:
    return _Subtrees(bases)
