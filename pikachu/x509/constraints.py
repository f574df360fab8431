"""What the CAs above a certificate allow it: pathLenConstraint and nameConstraints, judged before issuing.

RFC 5280 sections 4.2.1.9, 4.2.1.10 and 6.1.4.  A certificate outside them would be refused by whoever checks it.
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
        permitted, excluded = _subtrees(one.permitted), _subtrees(one.excluded)
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
    # Those who look for a host name in the subject when there is none elsewhere apply the constraints there, too.
    if not hosts and _HOST_NAME.fullmatch(subject.common_name):
        yield _DNS, subject.common_name.encode()


class _Hosts:
    """Host names that subtrees begin with, found by the suffixes of a name instead of one after the other."""

    def __init__(self) -> None:
        self.equal: set[str] = set()
        self.below: set[str] = set()

    def add(self, host: str) -> None:
        """Add a host, or with a dot in front all hosts below it."""
        (self.below if host.startswith(".") else self.equal).add(host)

    def hold(self, host: str, *, proper: bool = False) -> bool:
        """Return whether *host* is one of them or below one.

        :param proper: something must stand before the dot.
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
    """The permitted or the excluded subtrees of a CA, arranged by kind: a name is folded once and then looked up.

    :ivar kinds: tags that there are subtrees of.
    """

    def __init__(self, bases: Iterable[GeneralName]) -> None:
        self.kinds = frozenset(tag for tag, _ in bases)
        self._dns = _Hosts()
        self._every_dns_name = False
        # What follows the first label, for wildcards.
        self._dns_parents: set[str] = set()
        self._email_hosts = _Hosts()
        self._addresses: set[tuple[str, str]] = set()
        self._uri_hosts = _Hosts()
        # Octets of an address → its networks, each with its mask.
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
        # Only a certificate that has such a name fails where the CA's can't be read.
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
        """Return whether a name may lie within one of the subtrees; what can't be judged may."""
        if tag not in (_EMAIL, _DNS, _DIRECTORY, _URI, _IP):
            return True
        if tag == _URI and _URI_HOST.fullmatch(content.decode("latin-1")) is None:
            return True
        # A wildcard stands for one label: *.example.com holds the excluded www.example.com.
        if tag == _DNS and content.startswith(b"*.") and content[2:].decode("latin-1").lower() in self._dns_parents:
            return True
        return self.hold(tag, content)


def _address(content: bytes) -> tuple[str, str]:
    """Return the local part, whose case counts, and the host of an e-mail address."""
    local, _, host = content.decode("latin-1").rpartition("@")
    return local, host.lower()


@functools.lru_cache(maxsize=32)
def _subtrees(bases: tuple[GeneralName, ...]) -> _Subtrees:
    return _Subtrees(bases)
