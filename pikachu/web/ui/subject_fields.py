"""Form fields for the subject and the subject alternative names of a certificate or a CSR."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import Final

from pikachu.core.errors import errors_of
from pikachu.web.ui.forms import Form
from pikachu.x509.names import COMMON_NAME, COUNTRY, Name, attribute_name, build_name, is_known_type
from pikachu.x509.san import DEFAULT_LIMIT, GeneralName
from pikachu.x509.san_input import PREFIXES, TypedName, read_names, typed_texts, with_prefix

#: (field, OID, label, maximum length) of the attributes, in the order of the encoding.
ATTRIBUTES: Final = (
    ("country", COUNTRY, "Country (C)", 2),
    ("state", "2.5.4.8", "State or province (ST)", 128),
    ("locality", "2.5.4.7", "Locality (L)", 128),
    ("organization", "2.5.4.10", "Organization (O)", 64),
    ("unit", "2.5.4.11", "Organizational unit (OU)", 64),
    ("serial_number", "2.5.4.5", "Serial number of the device (serialNumber)", 64),
)
_COMMON_NAME: Final = "common_name"
_FIELDS: Final = {oid: name for name, oid, *_ in ATTRIBUTES} | {COMMON_NAME: _COMMON_NAME}
_OIDS: Final = {name: oid for oid, name in _FIELDS.items()}
# A field for a further attribute of a template: the OID, and a number that tells repeated ones apart.
_FURTHER: Final = re.compile(r"attribute-([0-9.]{3,64})-([0-9]{1,2})")
_SEPARATORS: Final = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True)
class SubjectFields:
    """The fields as typed.

    :ivar sans: names, one a line; the kind of a name without a prefix is guessed.
    :ivar adds_name: a common name that is a host name, an IP address or an e-mail address is a SAN, too.
    :ivar attributes: other attributes of the subject, by their field.
    """

    common_name: str = ""
    sans: str = ""
    adds_name: bool = True
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, form: Form) -> SubjectFields:
        """Read the submitted form; what is no text is left out."""
        values = form.values
        attributes = {name: values.get(name, "").strip() for name, *_ in ATTRIBUTES}
        attributes |= {name: text.strip() for name, text in values.items() if _oid_of(name) and name not in attributes}
        return cls(
            attributes.pop(_COMMON_NAME, ""),
            values.get("sans", "").replace("\r\n", "\n").strip(),
            "adds_name" in values,
            attributes,
        )

    @classmethod
    def of_template(cls, subject: Name, sans: tuple[GeneralName, ...]) -> SubjectFields:
        """Return the fields that a template fills."""
        attributes = {name: value for name, _, value in _slots(subject)}
        typed = [san.text for san in sans if san.kind in PREFIXES.values()]
        return cls(attributes.pop(_COMMON_NAME, ""), "\n".join(typed), adds_name=False, attributes=attributes)

    def merged(self, before: SubjectFields, after: SubjectFields) -> SubjectFields:
        """Return the fields of another template, *after*, with what was edited since *before*."""
        names = {*self.attributes, *after.attributes}

        def chosen(typed: str, old: str, new: str) -> str:
            return typed if typed != old else new

        attributes = {
            name: chosen(self.attributes.get(name, ""), before.attributes.get(name, ""), after.attributes.get(name, ""))
            for name in names
        }
        return replace(
            self,
            common_name=chosen(self.common_name, before.common_name, after.common_name),
            sans=chosen(self.sans, before.sans, after.sans),
            adds_name=after.adds_name if self.adds_name == before.adds_name else self.adds_name,
            attributes=attributes,
        )

    @property
    def further(self) -> list[tuple[str, str, str]]:
        """The fields that are not among :data:`ATTRIBUTES`: (field, label, value)."""
        known = {name for name, *_ in ATTRIBUTES}
        names = sorted(name for name, value in self.attributes.items() if name not in known and value)
        return [(name, attribute_name(_oid_of(name)), self.attributes[name]) for name in names]

    @property
    def subject_der(self) -> bytes:
        """The DER Name.

        :raises BadCSR: a value is not allowed.
        """
        return self.subject_like(None)

    def subject_like(self, template: Name | None) -> bytes:
        """Return the DER Name, with the attributes in the order of a template's subject.

        :raises BadCSR: a value is not allowed.
        """
        slots = [] if template is None else _slots(template)
        values = {**self.attributes, _COMMON_NAME: self.common_name}
        old = {name: value for name, _, value in slots}
        if template is not None and old == {name: value for name, value in values.items() if value}:
            return template.der
        added = [(name, oid) for name, oid, *_ in ATTRIBUTES if name not in old]
        added += [(name, _oid_of(name)) for name, *_ in self.further if name not in old]
        order = [(name, oid) for name, oid, _ in slots]
        if order and order[-1][0] == _COMMON_NAME:
            order[-1:-1] = added
        else:
            order += added
        if _COMMON_NAME not in old:
            order.append((_COMMON_NAME, COMMON_NAME))
        for name, oid in order:
            with errors_of(name):
                build_name([(oid, values[name])] if values.get(name) else [])
        return build_name([(oid, values[name]) for name, oid in order if values.get(name)])

    @property
    def has_attributes(self) -> bool:
        """Whether another attribute than the common name is filled in."""
        return any(self.attributes.values())

    @property
    def texts(self) -> list[str]:
        """The subject alternative names with their prefixes, first that of the common name."""
        typed = typed_texts(_SEPARATORS.split(self.sans))
        name = self._common_name_as_san() if self.adds_name else ""
        return [name, *typed] if name else typed

    @property
    def typed_names(self) -> tuple[TypedName, ...]:
        """Each of the first names, as many as are allowed, checked; that of the common name is not among them."""
        texts = islice(filter(None, dict.fromkeys(_SEPARATORS.split(self.sans))), DEFAULT_LIMIT)
        return tuple(
            TypedName(text, checked.name, checked.error)
            for text in texts
            for checked in read_names([with_prefix(text)])
        )

    @property
    def is_empty(self) -> bool:
        """Whether no name is typed."""
        return not (self.common_name or self.sans or self.has_attributes)

    def _common_name_as_san(self) -> str:
        text = with_prefix(self.common_name)
        is_name = "." in text or ":" in text.partition(":")[2] or text == "DNS:localhost"
        return text if self.common_name and is_name and read_names([text])[0].name is not None else ""


def _slots(subject: Name) -> list[tuple[str, str, str]]:
    """Return (field, OID, text) of each attribute of a name, in its order."""
    slots = []
    seen: Counter[str] = Counter()
    for rdn in subject.rdns:
        for attribute in rdn:
            oid, value = attribute.oid, attribute.value
            if value is None:
                continue
            is_first = not seen[oid]
            name = _FIELDS[oid] if oid in _FIELDS and is_first else f"attribute-{oid}-{seen[oid]}"
            seen[oid] += 1
            slots.append((name, oid, value))
    return slots


def _oid_of(name: str) -> str:
    """Return the OID of a field, or ``""`` for the name of none."""
    further = _FURTHER.fullmatch(name)
    if further is not None:
        return further[1] if is_known_type(further[1]) else ""
    return _OIDS.get(name, "")
