"""The subjectAltName of a CSR: which of its names a certificate contains, and which are passed over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sized
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from pikachu.core.errors import BadCSR, MalformedRequest, PikachuError
from pikachu.x509 import der
from pikachu.x509.extension_text import general_name_text, object_name
from pikachu.x509.names import EMAIL_ADDRESS, Name
from pikachu.x509.requested_name import requested_name
from pikachu.x509.san import (
    DEFAULT_LIMIT,
    GeneralName,
    NameKind,
    check_a_labels,
    check_directory_names,
    directory_name,
    other_name_parts,
    other_name_text,
    parse_general_name,
)

#: The type-ids that policies may name by a word.
OTHER_NAMES: Final = {
    "UPN": "1.3.6.1.4.1.311.20.2.3",
    "NAIRealm": "1.3.6.1.5.5.7.8.8",
    "krb5": "1.3.6.1.5.2.2",
    "hardwareModuleName": "1.3.6.1.5.5.7.8.4",
}
# The outer tag of the values (MS-WCCE section 2.2.2.7.7.4, RFC 7585, 4556, 4108, 4985, 6120, 9598).
_VALUE_TAGS: Final = {
    OTHER_NAMES["UPN"]: der.UTF8_STRING,
    OTHER_NAMES["NAIRealm"]: der.UTF8_STRING,
    OTHER_NAMES["krb5"]: der.SEQUENCE,
    OTHER_NAMES["hardwareModuleName"]: der.SEQUENCE,
    "1.3.6.1.5.5.7.8.5": der.UTF8_STRING,
    "1.3.6.1.5.5.7.8.7": der.IA5_STRING,
    "1.3.6.1.5.5.7.8.9": der.UTF8_STRING,
}
_NEVER_COPIED: Final = {0xA3: "x400Address", 0xA5: "ediPartyName"}
_MAXIMUM_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class RequestedNames:
    """The names of a requested subjectAltName.

    :ivar copied: the checked names for the certificate.
    :ivar ignored: the texts of the names of kinds that are not copied, at most twenty of them.
    :ivar directories: the names in *copied* directoryNames.
    :ivar is_exact: whether *copied* has the bytes that were received.
    """

    copied: tuple[GeneralName, ...] = ()
    ignored: tuple[str, ...] = ()
    directories: tuple[Name, ...] = ()
    is_exact: bool = True

    def with_added(self, value: bytes) -> RequestedNames:
        """Return these names, followed by checked ones.

        :param value: DER GeneralNames; empty for none.
        :raises BadCSR: there are too many names then.
        """
        if not value:
            return self
        copied = (*self.copied, *map(parse_general_name, der.parse(value, der.SEQUENCE).sub()))
        _check_number(copied)
        check_a_labels(b" ".join(name.der for name in copied))
        return replace(self, copied=copied)

    def with_subject_addresses(self, subject: Name) -> RequestedNames:
        """Return these names, followed by the email addresses of the subject that they lack.

        RFC 5280 section 4.1.2.6 demands that an address in the subject is a subject alternative name, too.

        :raises BadCSR: there are too many names then.
        """
        if not subject.values(EMAIL_ADDRESS):
            return self
        copied = (*self.copied, *_missing_addresses(subject, self.copied))
        _check_number(copied)
        return replace(self, copied=copied)


def _missing_addresses(subject: Name, names: Iterable[GeneralName]) -> Iterator[GeneralName]:
    present = {name.der for name in names}
    for address in dict.fromkeys(subject.values(EMAIL_ADDRESS)):
        encoded = der.implicit(NameKind.EMAIL.value & 0x1F, address.encode())
        # An address that is none stays in the subject only, where lint finds it.
        with suppress(BadCSR):
            if encoded not in present:
                yield parse_general_name(der.parse(encoded))


def requested_names(value: bytes, other_names: Collection[str] = ()) -> RequestedNames:
    """Read and check the value of a requested subjectAltName extension.

    :param value: DER GeneralNames.
    :param other_names: the type-ids of the otherNames that are copied.
    :raises MalformedRequest: *value* is not GeneralNames, or a name of a copied kind is malformed.
    :raises BadCSR: there are no or too many names, or one of a copied kind that no certificate should contain.
    """
    element = der.parse(value, der.SEQUENCE)
    check_a_labels(element.content)
    copied: list[GeneralName] = []
    ignored: list[str] = []
    directories: list[Name] = []
    size = 0
    is_exact = True
    for child in element.children():
        if not _is_copied(child, other_names):
            ignored.append(_text(child) if len(ignored) < _MAXIMUM_SHOWN else "")
            continue
        _check_number(copied, more=1)
        if child.tag == NameKind.DIRECTORY.value:
            size += child.end - child.start
            check_directory_names(size)
            directories.append(directory_name(child, requested_name))
            copied.append(GeneralName(NameKind.DIRECTORY, directories[-1].text, der.explicit(4, directories[-1].der)))
        elif child.tag == NameKind.OTHER.value:
            copied.append(_other_name(child))
        else:
            copied.append(parse_general_name(child))
        is_exact = is_exact and copied[-1].der == child.whole
    if not copied and not ignored:
        raise BadCSR("the subjectAltName extension is empty")
    shown = tuple(ignored[:_MAXIMUM_SHOWN])
    if len(ignored) > _MAXIMUM_SHOWN:
        shown = (*shown, f"and {len(ignored) - _MAXIMUM_SHOWN} more")
    return RequestedNames(tuple(copied), shown, tuple(directories), is_exact)


def _check_number(names: Sized, more: int = 0) -> None:
    if len(names) + more > DEFAULT_LIMIT:
        raise BadCSR(f"more than {DEFAULT_LIMIT} subject alternative names")


def _is_copied(name: der.Element, other_names: Collection[str]) -> bool:
    if name.tag in _NEVER_COPIED:
        return False
    if name.tag != NameKind.OTHER.value:
        return True
    try:
        return next(name.children()).oid() in other_names
    except (MalformedRequest, StopIteration):
        return False


def _text(name: der.Element) -> str:
    if name.tag in _NEVER_COPIED:
        return _NEVER_COPIED[name.tag]
    try:
        return general_name_text(name)
    except (PikachuError, LookupError):
        return "otherName"


def _other_name(element: der.Element) -> GeneralName:
    oid, value = other_name_parts(element)
    if value.tag != _VALUE_TAGS.get(oid, value.tag):
        raise BadCSR(f"an otherName of the type {object_name(oid)} has a value of another type")
    if oid == OTHER_NAMES["hardwareModuleName"]:
        _check_hardware_module(value)
    return GeneralName(NameKind.OTHER, other_name_text(oid, value), element.whole)


def _check_hardware_module(value: der.Element) -> None:
    """Check a HardwareModuleName (RFC 4108 section 5)."""
    fields = value.sub()
    if [field.tag for field in fields] != [der.OBJECT_IDENTIFIER, der.OCTET_STRING]:
        raise BadCSR("a hardwareModuleName has a type and a serial number")
    fields[0].oid()
